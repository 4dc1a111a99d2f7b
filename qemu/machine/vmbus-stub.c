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

VMBusRingDump *qmp_vmbus_dump_ring(uint32_t relid, VMBusRing ring, Error **errp)
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

VMBusJob *qmp_vmbus_kvp_list(VMBusKvpPool pool, bool has_timeout_ms,
                             uint32_t timeout_ms, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusJob *qmp_vmbus_kvp_get(VMBusKvpPool pool, const char *key, bool has_direct,
                            bool direct, bool has_timeout_ms,
                            uint32_t timeout_ms, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusJob *qmp_vmbus_kvp_set(VMBusKvpPool pool, const char *key,
                            const char *value, bool has_type, VMBusKvpType type,
                            bool has_timeout_ms, uint32_t timeout_ms,
                            Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusJob *qmp_vmbus_kvp_delete(VMBusKvpPool pool, const char *key,
                               bool has_timeout_ms, uint32_t timeout_ms,
                               Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusJob *qmp_vmbus_ip_get(const char *adapter, bool has_timeout_ms,
                           uint32_t timeout_ms, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusJob *qmp_vmbus_ip_set(const char *adapter, VMBusIpSettings *settings,
                           bool has_timeout_ms, uint32_t timeout_ms,
                           Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusKvpJobInfo *qmp_query_vmbus_kvp(uint64_t id, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

VMBusJob *qmp_vmbus_fcopy_start(const char *fd, const char *path,
                                bool has_overwrite, bool overwrite,
                                bool has_create_path, bool create_path,
                                bool has_step_timeout_ms,
                                uint32_t step_timeout_ms, bool has_hold_ms,
                                uint32_t hold_ms, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}

void qmp_vmbus_fcopy_resume(uint64_t job, Error **errp)
{
    no_vmbus(errp);
}

void qmp_vmbus_fcopy_cancel(uint64_t job, Error **errp)
{
    no_vmbus(errp);
}

VMBusFcopyJobInfo *qmp_query_vmbus_fcopy(uint64_t id, Error **errp)
{
    no_vmbus(errp);
    return NULL;
}
