/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_shutdown.h: shutting a guest down by way of its shutdown service
 */

#pragma once

#include "domain_conf.h"

typedef enum {
    QEMU_VMBUS_SHUTDOWN_ACCEPTED = 0,
    QEMU_VMBUS_SHUTDOWN_NOT_READY,
    QEMU_VMBUS_SHUTDOWN_IN_PROGRESS,
    QEMU_VMBUS_SHUTDOWN_LOCKED,
    QEMU_VMBUS_SHUTDOWN_NOT_SUPPORTED,
    QEMU_VMBUS_SHUTDOWN_FAILED,
    QEMU_VMBUS_SHUTDOWN_GONE,

    QEMU_VMBUS_SHUTDOWN_LAST
} qemuVMBusShutdownResult;

/* Part of a domain's private data; nothing of it outlives the daemon, because
 * nobody waits for an answer then. */
typedef struct {
    unsigned int answers; /* how many the guest has given */
    int result;           /* the last one: qemuVMBusShutdownResult, or -1 */
    unsigned int status;  /* of the last one: an HRESULT */
} qemuVMBusShutdownState;

int qemuVMBusShutdown(virDomainObj *vm,
                      unsigned int flags,
                      bool restart);
void qemuVMBusHandleEvent(virDomainObj *vm,
                          const char *name,
                          const char *details);
