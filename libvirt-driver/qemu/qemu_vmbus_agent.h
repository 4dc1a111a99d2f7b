/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_agent.h: channels on which QEMU speaks the guest agent's protocol
 */

#pragma once

#include "qemu_capabilities.h"
#include "domain_conf.h"
#include "virjson.h"

bool qemuVMBusHasAgent(const virDomainDef *def);
int qemuVMBusAddAgent(virDomainDef *def,
                      virQEMUCaps *qemuCaps,
                      virDomainXMLOption *xmlopt);
int qemuVMBusValidateAgents(const virDomainDef *def,
                            virQEMUCaps *qemuCaps);
virJSONValue *qemuVMBusBuildAgentProps(const virDomainDef *def,
                                       const virDomainChrDef *chr);
