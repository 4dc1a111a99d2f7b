/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_address.h: which devices are on VMBus, and their instance ids
 */

#pragma once

#include "domain_conf.h"
#include "virjson.h"

/* The bus of a vmbus-bridge has this name whatever the bridge's id is. */
#define QEMU_VMBUS_NAME "vmbus"

const char *qemuVMBusDeviceKind(const virDomainDeviceDef *dev);

int qemuVMBusAssignAddresses(virDomainDef *def);
int qemuVMBusEnsureAddress(virDomainDef *def,
                           virDomainDeviceDef *dev);
int qemuVMBusValidateAddresses(const virDomainDef *def);
int qemuVMBusValidateAddress(const virDomainDeviceDef *dev);
int qemuVMBusBuildAddressProps(virJSONValue *props,
                               const virDomainDeviceInfo *info);
