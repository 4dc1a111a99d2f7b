/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_scsi.h: SCSI controllers on VMBus
 */

#pragma once

#include "qemu_capabilities.h"
#include "domain_conf.h"
#include "virjson.h"

bool qemuVMBusIsSCSI(const virDomainControllerDef *controller);
int qemuVMBusValidateDriveAddress(const virDomainDeviceInfo *info);
int qemuVMBusValidateSCSI(const virDomainControllerDef *controller,
                          const virDomainDef *def,
                          virQEMUCaps *qemuCaps);
virJSONValue *qemuVMBusBuildSCSIProps(const virDomainControllerDef *controller,
                                      virJSONValue **mapping);
