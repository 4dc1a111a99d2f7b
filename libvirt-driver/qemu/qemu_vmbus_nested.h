/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_nested.h: a warning of storage that a guest's own hypervisor
 * takes away
 */

#pragma once

#include "domain_conf.h"
#include "virdomainjob.h"

void qemuVMBusWarnNested(virDomainObj *vm,
                         virDomainAsyncJob asyncJob);
