/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qemu/timer.h"
#include "net/net.h"
#include "system/runstate.h"
#include "hv-agent-services.h"
#include "hv-bridge.h"

/* The caller frees it; empty if there is no such device. */
static VMBusDeviceInfo *describe(const char *type)
{
    VMBusDeviceInfo *info = g_new0(VMBusDeviceInfo, 1);
    HvDevice *dev = hv_device_find(type, NULL);

    if (dev) {
        VMBUS_DEVICE_GET_CLASS(dev)->describe(dev, info);
    }
    return info;
}

static bool services_has_device(void *opaque, const char *type)
{
    return hv_device_find(type, NULL);
}

static bool services_running(void *opaque)
{
    return runstate_is_running();
}

static int64_t services_now_ms(void *opaque)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static int64_t services_wall_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_HOST);
}

static void services_shutdown(void *opaque, VMBusShutdownMode mode,
                              Error **errp)
{
    qmp_vmbus_shutdown(true, mode, false, false, false, 0, NULL, errp);
}

static void services_sync(void *opaque, Error **errp)
{
    qmp_vmbus_timesync(errp);
}

static uint64_t services_freeze(void *opaque, uint32_t hold_ms,
                                uint32_t timeout_ms, Error **errp)
{
    g_autoptr(VMBusVssJob) job =
        qmp_vmbus_vss_freeze(true, hold_ms, true, timeout_ms, errp);

    return job ? job->job : 0;
}

static void services_thaw(void *opaque, Error **errp)
{
    qmp_vmbus_vss_thaw(errp);
}

static uint64_t services_kvp_list(void *opaque, uint32_t timeout_ms,
                                  Error **errp)
{
    g_autoptr(VMBusJob) job =
        qmp_vmbus_kvp_list(VM_BUS_KVP_POOL_AUTO, true, timeout_ms, errp);

    return job ? job->job : 0;
}

static uint64_t services_ip_get(void *opaque, const char *mac,
                                uint32_t timeout_ms, Error **errp)
{
    g_autoptr(VMBusJob) job = qmp_vmbus_ip_get(mac, true, timeout_ms, errp);

    return job ? job->job : 0;
}

static VMBusHeartbeatInfo *services_heartbeat(void *opaque)
{
    g_autoptr(VMBusDeviceInfo) info = describe("hv-heartbeat");

    return g_steal_pointer(&info->heartbeat);
}

static VMBusTimesyncInfo *services_timesync(void *opaque)
{
    g_autoptr(VMBusDeviceInfo) info = describe("hv-timesync");

    return g_steal_pointer(&info->timesync);
}

static VMBusVssInfo *services_vss(void *opaque)
{
    return qmp_query_vmbus_vss(&error_abort);
}

static VMBusKvpJobInfo *services_kvp_job(void *opaque, uint64_t job)
{
    return qmp_query_vmbus_kvp(job, NULL);
}

static void add_nic(NICState *nic, void *opaque)
{
    const uint8_t *mac = nic->conf->macaddr.a;
    HvAgentNic *one = g_new0(HvAgentNic, 1);

    one->name = g_strdup(qemu_get_queue(nic)->name);
    one->mac = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
                               mac[2], mac[3], mac[4], mac[5]);
    g_ptr_array_add(opaque, one);
}

static GPtrArray *services_nics(void *opaque)
{
    GPtrArray *nics =
        g_ptr_array_new_with_free_func((GDestroyNotify)hv_agent_nic_free);

    qemu_foreach_nic(add_nic, nics);
    return nics;
}

void hv_agent_services_init(HvAgentServices *services)
{
    *services = (HvAgentServices){
        .has_device = services_has_device,
        .running = services_running,
        .now_ms = services_now_ms,
        .wall_ns = services_wall_ns,
        .shutdown = services_shutdown,
        .sync = services_sync,
        .freeze = services_freeze,
        .thaw = services_thaw,
        .kvp_list = services_kvp_list,
        .ip_get = services_ip_get,
        .heartbeat = services_heartbeat,
        .timesync = services_timesync,
        .vss = services_vss,
        .kvp_job = services_kvp_job,
        .nics = services_nics,
    };
}

bool hv_agent_services_open(void)
{
    g_autoptr(VMBusDeviceInfo) heartbeat = describe("hv-heartbeat");
    g_autoptr(VMBusDeviceInfo) shutdown = describe("hv-shutdown");
    g_autoptr(VMBusDeviceInfo) timesync = describe("hv-timesync");
    g_autoptr(VMBusDeviceInfo) vss = describe("hv-vss");
    g_autoptr(VMBusDeviceInfo) kvp = describe("hv-kvp");

    return (heartbeat->heartbeat && heartbeat->heartbeat->message_version) ||
           (shutdown->shutdown && shutdown->shutdown->message_version) ||
           (timesync->timesync && timesync->timesync->message_version) ||
           (vss->vss && vss->vss->message_version) ||
           (kvp->kvp && kvp->kvp->message_version);
}
