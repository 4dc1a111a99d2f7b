/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-kvp: the key-value service.
 *
 * Time limits are on QEMU_CLOCK_REALTIME: a caller gets an answer while the
 * machine is stopped, too.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "devices/ic.h"
#include "devices/kvp.h"
#include "hv-bridge.h"
#include "hv-kvp.h"
#include "hv-service-events.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_KVP "hv-kvp"
OBJECT_DECLARE_SIMPLE_TYPE(HvKvp, HV_KVP)

struct HvKvp {
    HvDevice parent_obj;

    VmbusKvp *engine;
    QEMUTimer *timer;
};

static const VMBusServiceState qapi_states[] = {
    [VMBUS_KVP_CLOSED] = VM_BUS_SERVICE_STATE_CLOSED,
    [VMBUS_KVP_NEGOTIATING] = VM_BUS_SERVICE_STATE_NEGOTIATING,
    [VMBUS_KVP_READY] = VM_BUS_SERVICE_STATE_READY,
};

static void kvp_ended(void *opaque, const VmbusKvpJob *job)
{
    trace_hv_kvp_ended(job->id, vmbus_kvp_result_sentence(job->result),
                       job->status);
    hv_kvp_send_ended(job);
    hv_service_changed();
}

static void kvp_changed(void *opaque, VmbusKvpState state)
{
    trace_hv_kvp_change(vmbus_kvp_state_name(state));
    hv_service_changed();
}

static void kvp_wake_at(void *opaque, uint64_t when_ns)
{
    HvKvp *kvp = opaque;

    if (when_ns > INT64_MAX) {
        timer_del(kvp->timer);
    } else {
        timer_mod_ns(kvp->timer, when_ns);
    }
}

static uint64_t kvp_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static const VmbusKvpOps kvp_ops = {
    .ended = kvp_ended,
    .changed = kvp_changed,
    .wake_at = kvp_wake_at,
    .now_ns = kvp_now_ns,
};

static void kvp_timer(void *opaque)
{
    vmbus_kvp_tick(((HvKvp *)opaque)->engine);
}

static void *kvp_create(HvDevice *dev, Error **errp)
{
    HvKvp *kvp = HV_KVP(dev);

    kvp->timer = timer_new_ns(QEMU_CLOCK_REALTIME, kvp_timer, kvp);
    kvp->engine = vmbus_kvp_new(&kvp_ops, kvp);
    return kvp->engine;
}

static void kvp_destroy(HvDevice *dev)
{
    HvKvp *kvp = HV_KVP(dev);

    vmbus_kvp_free(kvp->engine);
    timer_free(kvp->timer);
}

static GByteArray *kvp_save(HvDevice *dev)
{
    return vmbus_kvp_save(HV_KVP(dev)->engine);
}

static const char *kvp_load(HvDevice *dev, const void *data, size_t len)
{
    return vmbus_kvp_load(HV_KVP(dev)->engine, dev->chan, data, len);
}

static void kvp_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    VMBusKvpInfo *out = g_new0(VMBusKvpInfo, 1);
    VmbusKvpInfo kvp;

    vmbus_kvp_info(HV_KVP(dev)->engine, &kvp);
    out->state = qapi_states[kvp.state];
    out->framework_version = hv_version_string(kvp.framework_version);
    out->message_version = hv_version_string(kvp.message_version);
    out->jobs = kvp.jobs;
    out->answer_missing = kvp.answer_missing;
    out->requests = kvp.requests;
    info->kvp = out;
    hv_describe_service(info, vmbus_kvp_port(HV_KVP(dev)->engine));
}

VmbusKvp *hv_kvp_find(Error **errp)
{
    HvDevice *dev = hv_device_find(TYPE_HV_KVP, errp);

    return dev ? HV_KVP(dev)->engine : NULL;
}

static void kvp_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V key-value service (data exchange)";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    hc->offer = &vmbus_kvp_offer;
    hc->channel_ops = &vmbus_kvp_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = kvp_create;
    hc->destroy = kvp_destroy;
    hc->save = kvp_save;
    hc->load = kvp_load;
    hc->describe = kvp_describe;
}

static const TypeInfo kvp_type_info = {
    .name = TYPE_HV_KVP,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvKvp),
    .class_init = kvp_class_init,
};

static void kvp_register_types(void)
{
    type_register_static(&kvp_type_info);
}

type_init(kvp_register_types)
