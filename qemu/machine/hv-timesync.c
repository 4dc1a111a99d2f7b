/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-timesync: the host's clock for the guest, with its QMP command and event.
 *
 * The time is the host's UTC, whatever -rtc says: a machine whose clock is to
 * be another one does without this device.  Its own deadlines are on the
 * virtual clock, as a stopped guest needs no samples.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "system/runstate.h"
#include "devices/ic.h"
#include "devices/timesync.h"
#include "hv-bridge.h"
#include "hv-service-events.h"
#include "hv-reference.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_TIMESYNC "hv-timesync"
OBJECT_DECLARE_SIMPLE_TYPE(HvTimesync, HV_TIMESYNC)

struct HvTimesync {
    HvDevice parent_obj;

    VmbusTimesync *engine;
    QEMUTimer *timer;
    VMChangeStateEntry *runstate_entry;
    bool has_reference;
};

static const VMBusTimesyncState qapi_states[] = {
    [VMBUS_TIMESYNC_CLOSED] = VM_BUS_TIMESYNC_STATE_CLOSED,
    [VMBUS_TIMESYNC_NEGOTIATING] = VM_BUS_TIMESYNC_STATE_NEGOTIATING,
    [VMBUS_TIMESYNC_READY] = VM_BUS_TIMESYNC_STATE_READY,
    [VMBUS_TIMESYNC_UNUSABLE] = VM_BUS_TIMESYNC_STATE_UNUSABLE,
};

static void timesync_changed(void *opaque, VmbusTimesyncState state)
{
    trace_hv_timesync_change(vmbus_timesync_state_name(state));
    hv_service_changed();
}

/* Only what was asked for makes an event: a guest opens at will. */
static void timesync_synced(void *opaque, bool asked,
                            VmbusTimesyncResult result, uint32_t status)
{
    trace_hv_timesync_answered(vmbus_timesync_result_sentence(result), status);
    if (asked) {
        qapi_event_send_vmbus_timesync_response(
            result == VMBUS_TIMESYNC_OK     ? VM_BUS_TIMESYNC_RESULT_ACCEPTED
            : result == VMBUS_TIMESYNC_GONE ? VM_BUS_TIMESYNC_RESULT_GONE
                                            : VM_BUS_TIMESYNC_RESULT_FAILED,
            status);
        hv_service_synced(result == VMBUS_TIMESYNC_OK
                              ? NULL
                              : vmbus_timesync_result_sentence(result));
    }
}

static void timesync_clocks(void *opaque, VmbusTimesyncClocks *clocks)
{
    HvTimesync *ts = opaque;

    clocks->reference = ts->has_reference ? hv_reference_time() : 0;
    clocks->wall =
        qemu_clock_get_ns(QEMU_CLOCK_HOST) / 100 + IC_TIME_UNIX_EPOCH;
    trace_hv_timesync_clocks(clocks->wall, clocks->reference);
}

static void timesync_wake_at(void *opaque, uint64_t when_ns)
{
    HvTimesync *ts = opaque;

    if (when_ns > INT64_MAX) {
        timer_del(ts->timer);
    } else {
        timer_mod(ts->timer, when_ns);
    }
}

static uint64_t timesync_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static const VmbusTimesyncOps timesync_ops = {
    .changed = timesync_changed,
    .synced = timesync_synced,
    .clocks = timesync_clocks,
    .wake_at = timesync_wake_at,
    .now_ns = timesync_now_ns,
};

static void timesync_timer(void *opaque)
{
    vmbus_timesync_tick(((HvTimesync *)opaque)->engine);
}

static void runstate_changed(void *opaque, bool running, RunState state)
{
    vmbus_timesync_set_running(((HvTimesync *)opaque)->engine, running);
}

static void *timesync_create(HvDevice *dev, Error **errp)
{
    HvTimesync *ts = HV_TIMESYNC(dev);

    ts->has_reference = hv_reference_exists();
    ts->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, timesync_timer, ts);
    ts->engine = vmbus_timesync_new(&timesync_ops, ts, ts->has_reference);
    vmbus_timesync_set_running(ts->engine, runstate_is_running());
    ts->runstate_entry =
        qdev_add_vm_change_state_handler(DEVICE(dev), runstate_changed, ts);
    return ts->engine;
}

static void timesync_destroy(HvDevice *dev)
{
    HvTimesync *ts = HV_TIMESYNC(dev);

    qemu_del_vm_change_state_handler(ts->runstate_entry);
    vmbus_timesync_free(ts->engine);
    timer_free(ts->timer);
}

static GByteArray *timesync_save(HvDevice *dev)
{
    return vmbus_timesync_save(HV_TIMESYNC(dev)->engine);
}

static const char *timesync_load(HvDevice *dev, const void *data, size_t len)
{
    return vmbus_timesync_load(HV_TIMESYNC(dev)->engine, dev->chan, data, len);
}

static void timesync_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    VmbusTimesync *engine = HV_TIMESYNC(dev)->engine;
    VMBusTimesyncInfo *out = g_new0(VMBusTimesyncInfo, 1);
    VmbusTimesyncInfo ts;

    vmbus_timesync_info(engine, &ts);
    out->state = qapi_states[ts.state];
    out->framework_version = hv_version_string(ts.framework_version);
    out->message_version = hv_version_string(ts.message_version);
    out->syncs = ts.syncs;
    out->samples = ts.samples;
    out->answers = ts.answers;
    if (ts.last_sync_ns) {
        out->has_age_ms = true;
        out->age_ms = (timesync_now_ns(NULL) - ts.last_sync_ns) / SCALE_MS;
    }
    if (ts.has_offset) {
        out->has_offset_us = true;
        out->offset_us = ts.offset / 10;
    }
    info->timesync = out;
    hv_describe_service(info, vmbus_timesync_port(engine));
}

void qmp_vmbus_timesync(Error **errp)
{
    HvDevice *dev = hv_device_find(TYPE_HV_TIMESYNC, errp);
    VmbusTimesyncResult result;

    if (!dev) {
        return;
    }
    result = vmbus_timesync_sync(HV_TIMESYNC(dev)->engine);
    if (result != VMBUS_TIMESYNC_OK) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_ACTIVE, "%s",
                  vmbus_timesync_result_sentence(result));
    }
}

static void timesync_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V time synchronization service";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    hc->offer = &vmbus_timesync_offer;
    hc->channel_ops = &vmbus_timesync_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = timesync_create;
    hc->destroy = timesync_destroy;
    hc->save = timesync_save;
    hc->load = timesync_load;
    hc->describe = timesync_describe;
}

static const TypeInfo timesync_type_info = {
    .name = TYPE_HV_TIMESYNC,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvTimesync),
    .class_init = timesync_class_init,
};

static void timesync_register_types(void)
{
    type_register_static(&timesync_type_info);
}

type_init(timesync_register_types)
