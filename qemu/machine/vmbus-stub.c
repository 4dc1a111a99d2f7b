/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands in a QEMU whose target has no VMBus.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"

static void no_vmbus(Error **errp)
{
    error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
              "this target of QEMU has no VMBus");
}

VMBusInfo *qmp_query_vmbus(Error **errp)
{
    return g_new0(VMBusInfo, 1);
}

void qmp_vmbus_device_withdraw(const char *id, Error **errp)
{
    no_vmbus(errp);
}

VMBusRingDump *qmp_vmbus_dump_ring(uint32_t relid, VMBusRing ring,
                                   Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

void qmp_vmbus_shutdown(bool has_mode, VMBusShutdownMode mode, bool has_force,
                        bool force, bool has_timeout, uint32_t timeout,
                        const char *message, Error **errp)
{
    no_vmbus(errp);
}

void qmp_vmbus_timesync(Error **errp)
{
    no_vmbus(errp);
}

VMBusVssInfo *qmp_query_vmbus_vss(Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusVssJob *qmp_vmbus_vss_freeze(bool has_hold_ms, uint32_t hold_ms,
                                  bool has_timeout_ms, uint32_t timeout_ms,
                                  Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusVssHold *qmp_vmbus_vss_renew(uint64_t job, bool has_hold_ms,
                                  uint32_t hold_ms, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

void qmp_vmbus_vss_thaw(Error **errp)
{
    no_vmbus(errp);
}
