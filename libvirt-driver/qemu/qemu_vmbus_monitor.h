/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_monitor.h: what is said to QEMU's monitor about VMBus
 */

#pragma once

#include "qemu_monitor.h"

int qemuVMBusMonitorShutdown(qemuMonitor *mon,
                             bool restart,
                             char **refusal);
int qemuVMBusMonitorGetFlag(qemuMonitor *mon,
                            const char *path,
                            const char *name,
                            bool *value);
