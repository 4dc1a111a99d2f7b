/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus.h: VMBus in the QEMU driver
 */

#pragma once

#include "qemu_capabilities.h"
#include "qemu_vmbus_address.h"
#include "qemu_vmbus_scsi.h"
#include "domain_conf.h"
#include "vircommand.h"

int qemuVMBusDefPostParse(virDomainDef *def,
                          virQEMUCaps *qemuCaps,
                          virDomainXMLOption *xmlopt,
                          unsigned int parseFlags);

int qemuVMBusValidate(const virDomainDef *def,
                      virQEMUCaps *qemuCaps);
int qemuVMBusBuildCommandLine(virCommand *cmd,
                              const virDomainDef *def,
                              virQEMUCaps *qemuCaps);

void qemuVMBusFillDomainCaps(virQEMUCaps *qemuCaps,
                             virDomainCaps *domCaps);
