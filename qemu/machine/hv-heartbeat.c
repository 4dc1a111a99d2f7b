/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-heartbeat: the heartbeat service on QEMU's clock, with its QMP event.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vmbus.h"
#include "system/runstate.h"
#include "devices/heartbeat.h"
#include "devices/ic.h"
#include "hv-bridge.h"
#include "hv-service-events.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_HEARTBEAT "hv-heartbeat"
OBJECT_DECLARE_SIMPLE_TYPE(HvHeartbeat, HV_HEARTBEAT)

struct HvHeartbeat {
    HvDevice parent_obj;

    VmbusHeartbeat *engine;
    QEMUTimer *timer;
    VMChangeStateEntry *runstate_entry;
};

static const VMBusHeartbeatState qapi_states[] = {
    [VMBUS_HEARTBEAT_NO_CONTACT] = VM_BUS_HEARTBEAT_STATE_NO_CONTACT,
    [VMBUS_HEARTBEAT_OK] = VM_BUS_HEARTBEAT_STATE_OK,
    [VMBUS_HEARTBEAT_LOST] = VM_BUS_HEARTBEAT_STATE_LOST,
    [VMBUS_HEARTBEAT_PAUSED] = VM_BUS_HEARTBEAT_STATE_PAUSED,
};

static const VMBusApplicationState qapi_applications[] = {
    [VMBUS_APPLICATION_UNKNOWN] = VM_BUS_APPLICATION_STATE_UNKNOWN,
    [VMBUS_APPLICATION_HEALTHY] = VM_BUS_APPLICATION_STATE_HEALTHY,
    [VMBUS_APPLICATION_CRITICAL] = VM_BUS_APPLICATION_STATE_CRITICAL,
    [VMBUS_APPLICATION_STOPPED] = VM_BUS_APPLICATION_STATE_STOPPED,
};

static void heartbeat_changed(void *opaque, const VmbusHeartbeatInfo *info)
{
    trace_hv_heartbeat_change(vmbus_heartbeat_state_name(info->state),
                              vmbus_application_state_name(info->application));
    qapi_event_send_vmbus_heartbeat_change(
        qapi_states[info->state], qapi_applications[info->application]);
    hv_service_changed();
}

static void heartbeat_wake_at(void *opaque, uint64_t when_ns)
{
    HvHeartbeat *hb = opaque;

    if (when_ns > INT64_MAX) {
        timer_del(hb->timer);
    } else {
        timer_mod(hb->timer, when_ns);
    }
}

static uint64_t heartbeat_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static const VmbusHeartbeatOps heartbeat_ops = {
    .changed = heartbeat_changed,
    .wake_at = heartbeat_wake_at,
    .now_ns = heartbeat_now_ns,
};

static void heartbeat_timer(void *opaque)
{
    vmbus_heartbeat_tick(((HvHeartbeat *)opaque)->engine);
}

static void runstate_changed(void *opaque, bool running, RunState state)
{
    vmbus_heartbeat_set_running(((HvHeartbeat *)opaque)->engine, running);
}

static void *heartbeat_create(HvDevice *dev, Error **errp)
{
    HvHeartbeat *hb = HV_HEARTBEAT(dev);

    hb->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, heartbeat_timer, hb);
    hb->engine = vmbus_heartbeat_new(&heartbeat_ops, hb);
    vmbus_heartbeat_set_running(hb->engine, runstate_is_running());
    hb->runstate_entry =
        qdev_add_vm_change_state_handler(DEVICE(dev), runstate_changed, hb);
    return hb->engine;
}

static void heartbeat_destroy(HvDevice *dev)
{
    HvHeartbeat *hb = HV_HEARTBEAT(dev);

    qemu_del_vm_change_state_handler(hb->runstate_entry);
    vmbus_heartbeat_free(hb->engine);
    timer_free(hb->timer);
}

static GByteArray *heartbeat_save(HvDevice *dev)
{
    return vmbus_heartbeat_save(HV_HEARTBEAT(dev)->engine);
}

static const char *heartbeat_load(HvDevice *dev, const void *data, size_t len)
{
    return vmbus_heartbeat_load(HV_HEARTBEAT(dev)->engine, dev->chan, data,
                                len);
}

static void heartbeat_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    VMBusHeartbeatInfo *out = g_new0(VMBusHeartbeatInfo, 1);
    VmbusHeartbeatInfo hb;

    vmbus_heartbeat_info(HV_HEARTBEAT(dev)->engine, &hb);
    out->state = qapi_states[hb.state];
    out->application = qapi_applications[hb.application];
    out->framework_version = hv_version_string(hb.framework_version);
    out->message_version = hv_version_string(hb.message_version);
    out->sequence = hb.sequence;
    out->sent = hb.sent;
    out->received = hb.received;
    if (hb.last_ns) {
        out->has_age_ms = true;
        out->age_ms = (heartbeat_now_ns(NULL) - hb.last_ns) / SCALE_MS;
    }
    info->heartbeat = out;
    hv_describe_service(info, vmbus_heartbeat_port(HV_HEARTBEAT(dev)->engine));
}

static void heartbeat_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V heartbeat service";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    hc->offer = &vmbus_heartbeat_offer;
    hc->channel_ops = &vmbus_heartbeat_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = heartbeat_create;
    hc->destroy = heartbeat_destroy;
    hc->save = heartbeat_save;
    hc->load = heartbeat_load;
    hc->describe = heartbeat_describe;
}

static const TypeInfo heartbeat_type_info = {
    .name = TYPE_HV_HEARTBEAT,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvHeartbeat),
    .class_init = heartbeat_class_init,
};

static void heartbeat_register_types(void)
{
    type_register_static(&heartbeat_type_info);
}

type_init(heartbeat_register_types)
