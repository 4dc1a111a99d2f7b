/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus.h: VMBus in the QEMU driver
 */

#pragma once

#include "qemu_capabilities.h"
#include "domain_conf.h"
#include "vircommand.h"
#include "virjson.h"

int qemuVMBusDefPostParse(virDomainDef *def,
                          virQEMUCaps *qemuCaps,
                          virDomainXMLOption *xmlopt,
                          unsigned int parseFlags);

int qemuVMBusAssignAddresses(virDomainDef *def);
int qemuVMBusEnsureAddress(virDomainDef *def,
                           virDomainDeviceDef *dev);

int qemuVMBusValidate(const virDomainDef *def,
                      virQEMUCaps *qemuCaps);
int qemuVMBusValidateAddress(const virDomainDeviceDef *dev);
int qemuVMBusValidateDriveAddress(const virDomainDeviceInfo *info);
int qemuVMBusValidateSCSI(const virDomainControllerDef *controller,
                          const virDomainDef *def,
                          virQEMUCaps *qemuCaps);

int qemuVMBusBuildCommandLine(virCommand *cmd,
                              const virDomainDef *def,
                              virQEMUCaps *qemuCaps);
int qemuVMBusBuildAddressProps(virJSONValue *props,
                               const virDomainDeviceInfo *info);
virJSONValue *qemuVMBusBuildSCSIProps(const virDomainControllerDef *controller,
                                      virJSONValue **mapping);

void qemuVMBusFillDomainCaps(virQEMUCaps *qemuCaps,
                             virDomainCaps *domCaps);
