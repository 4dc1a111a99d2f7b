/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-vss: the backup service, with its QMP commands and event.
 *
 * Deadlines and hold times are on QEMU_CLOCK_REALTIME.  The virtual clock
 * stands while the machine is stopped, and a caller's "ten seconds" would last
 * until somebody starts it; the host clock can be set, and a step of an hour
 * would keep the guest frozen for an hour.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "hw/qdev-properties.h"
#include "migration/misc.h"
#include "system/runstate.h"
#include "devices/ic.h"
#include "devices/vss.h"
#include "hv-bridge.h"
#include "hv-service-events.h"
#include "hv-vss.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_VSS "hv-vss"
OBJECT_DECLARE_SIMPLE_TYPE(HvVss, HV_VSS)

struct HvVss {
    HvDevice parent_obj;

    uint32_t freeze_limit; /* seconds */
    VmbusVss *engine;
    QEMUTimer *timer;
    VMChangeStateEntry *runstate_entry;
    NotifierWithReturn migration_notifier;
    Notifier powerdown_notifier;
    Error *unplug_blocker; /* NULL: it may be unplugged */
};

#define DEFAULT_HOLD_MS    10000
#define DEFAULT_TIMEOUT_MS 60000

static const VMBusVssState qapi_states[] = {
    [VMBUS_VSS_IDLE] = VM_BUS_VSS_STATE_IDLE,
    [VMBUS_VSS_CHECKING] = VM_BUS_VSS_STATE_CHECKING,
    [VMBUS_VSS_FREEZING] = VM_BUS_VSS_STATE_FREEZING,
    [VMBUS_VSS_FROZEN] = VM_BUS_VSS_STATE_FROZEN,
    [VMBUS_VSS_THAWING] = VM_BUS_VSS_STATE_THAWING,
    [VMBUS_VSS_FAILED] = VM_BUS_VSS_STATE_FAILED,
};

/* VMBUS_VSS_NO_REASON has none. */
static const VMBusVssReason qapi_reasons[] = {
    [VMBUS_VSS_DISABLED] = VM_BUS_VSS_REASON_DISABLED,
    [VMBUS_VSS_NOT_PREPARED] = VM_BUS_VSS_REASON_NOT_READY,
    [VMBUS_VSS_REFUSED] = VM_BUS_VSS_REASON_REFUSED,
    [VMBUS_VSS_TIMEOUT] = VM_BUS_VSS_REASON_TIMEOUT,
    [VMBUS_VSS_HOLD_OVER] = VM_BUS_VSS_REASON_HOLD_OVER,
    [VMBUS_VSS_LIMIT] = VM_BUS_VSS_REASON_LIMIT,
    [VMBUS_VSS_CANCELLED] = VM_BUS_VSS_REASON_CANCELLED,
    [VMBUS_VSS_THAWED] = VM_BUS_VSS_REASON_THAWED,
    [VMBUS_VSS_SHUTDOWN] = VM_BUS_VSS_REASON_SHUTDOWN,
    [VMBUS_VSS_MIGRATION] = VM_BUS_VSS_REASON_MIGRATION,
    [VMBUS_VSS_MOVED] = VM_BUS_VSS_REASON_MOVED,
    [VMBUS_VSS_GONE] = VM_BUS_VSS_REASON_GONE,
    [VMBUS_VSS_RESET] = VM_BUS_VSS_REASON_RESET,
    [VMBUS_VSS_NOT_THAWED] = VM_BUS_VSS_REASON_NOT_THAWED,
    [VMBUS_VSS_LAPSED] = VM_BUS_VSS_REASON_LAPSED,
};

static const VMBusVssService qapi_services[] = {
    [VMBUS_VSS_CLOSED] = VM_BUS_VSS_SERVICE_CLOSED,
    [VMBUS_VSS_NEGOTIATING] = VM_BUS_VSS_SERVICE_NEGOTIATING,
    [VMBUS_VSS_READY] = VM_BUS_VSS_SERVICE_READY,
    [VMBUS_VSS_UNUSABLE] = VM_BUS_VSS_SERVICE_UNUSABLE,
};

/* Without the device nobody would thaw the guest. */
static void update_unplug_blocker(HvVss *vss, VmbusVssState state)
{
    bool busy = (state != VMBUS_VSS_IDLE && state != VMBUS_VSS_FAILED) ||
                vmbus_vss_owes_thaw(vss->engine);

    if (busy && !vss->unplug_blocker) {
        error_setg(&vss->unplug_blocker,
                   "the guest is frozen, or may be: thaw it first");
        qdev_add_unplug_blocker(DEVICE(vss), vss->unplug_blocker);
    } else if (!busy && vss->unplug_blocker) {
        qdev_del_unplug_blocker(DEVICE(vss), vss->unplug_blocker);
        error_free(vss->unplug_blocker);
        vss->unplug_blocker = NULL;
    }
}

static void vss_changed(void *opaque, const VmbusVssInfo *info)
{
    bool has_reason = info->reason != VMBUS_VSS_NO_REASON;

    update_unplug_blocker(opaque, info->state);
    trace_hv_vss_change(vmbus_vss_state_name(info->state), info->job,
                        has_reason ? vmbus_vss_reason_sentence(info->reason)
                                   : "");
    qapi_event_send_vmbus_vss_change(qapi_states[info->state], info->job,
                                     has_reason, qapi_reasons[info->reason]);
    hv_service_changed();
}

static void vss_wake_at(void *opaque, uint64_t when_ns)
{
    HvVss *vss = opaque;

    if (when_ns > INT64_MAX) {
        timer_del(vss->timer);
    } else {
        timer_mod_ns(vss->timer, when_ns);
    }
}

static uint64_t vss_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static const VmbusVssOps vss_ops = {
    .changed = vss_changed,
    .wake_at = vss_wake_at,
    .now_ns = vss_now_ns,
};

static void vss_timer(void *opaque)
{
    vmbus_vss_tick(((HvVss *)opaque)->engine);
}

static void runstate_changed(void *opaque, bool running, RunState state)
{
    vmbus_vss_set_running(((HvVss *)opaque)->engine, running);
}

/*
 * A migration begins; the guest runs on, and has time to thaw.  What is not
 * done when it stops goes on at the destination, see vmbus_vss_save().
 */
static int migration_changed(NotifierWithReturn *notifier,
                             MigrationEvent *event, Error **errp)
{
    HvVss *vss = container_of(notifier, HvVss, migration_notifier);

    if (event->type == MIG_EVENT_PRECOPY_SETUP) {
        vmbus_vss_thaw(vss->engine, VMBUS_VSS_MIGRATION);
    }
    return 0;
}

/* The power button: a frozen guest could not shut down. */
static void powerdown_requested(Notifier *notifier, void *data)
{
    HvVss *vss = container_of(notifier, HvVss, powerdown_notifier);

    vmbus_vss_thaw(vss->engine, VMBUS_VSS_SHUTDOWN);
}

static void *vss_create(HvDevice *dev, Error **errp)
{
    HvVss *vss = HV_VSS(dev);

    if (!vss->freeze_limit || vss->freeze_limit > 86400) {
        error_setg(errp, "freeze-limit is given in seconds, from 1 to 86400");
        return NULL;
    }
    vss->timer = timer_new_ns(QEMU_CLOCK_REALTIME, vss_timer, vss);
    vss->engine = vmbus_vss_new(&vss_ops, vss, vss->freeze_limit *
                                (uint64_t)NANOSECONDS_PER_SECOND);
    vmbus_vss_set_running(vss->engine, runstate_is_running());
    vss->runstate_entry = qdev_add_vm_change_state_handler(
        DEVICE(dev), runstate_changed, vss);
    migration_add_notifier(&vss->migration_notifier, migration_changed);
    vss->powerdown_notifier.notify = powerdown_requested;
    qemu_register_powerdown_notifier(&vss->powerdown_notifier);
    return vss->engine;
}

static void vss_destroy(HvDevice *dev)
{
    HvVss *vss = HV_VSS(dev);

    if (vss->unplug_blocker) {
        qdev_del_unplug_blocker(DEVICE(dev), vss->unplug_blocker);
        error_free(vss->unplug_blocker);
        vss->unplug_blocker = NULL;
    }
    notifier_remove(&vss->powerdown_notifier);
    migration_remove_notifier(&vss->migration_notifier);
    qemu_del_vm_change_state_handler(vss->runstate_entry);
    vmbus_vss_free(vss->engine);
    timer_free(vss->timer);
}

static GByteArray *vss_save(HvDevice *dev)
{
    return vmbus_vss_save(HV_VSS(dev)->engine);
}

static const char *vss_load(HvDevice *dev, const void *data, size_t len)
{
    HvVss *vss = HV_VSS(dev);
    const char *why = vmbus_vss_load(vss->engine, dev->chan, data, len);
    VmbusVssInfo info;

    vmbus_vss_info(vss->engine, &info);
    update_unplug_blocker(vss, info.state);
    return why;
}

/* After the bus has closed all channels. */
static void vss_reset_exit(Object *obj, ResetType type)
{
    HvVss *vss = HV_VSS(obj);

    if (DEVICE(obj)->realized) {
        vmbus_vss_reset(vss->engine);
    }
}

static VMBusVssInfo *describe(HvVss *vss)
{
    VMBusVssInfo *out = g_new0(VMBusVssInfo, 1);
    VmbusVssInfo v;

    vmbus_vss_info(vss->engine, &v);
    out->state = qapi_states[v.state];
    out->service = qapi_services[v.service];
    out->framework_version = hv_version_string(v.framework_version);
    out->message_version = hv_version_string(v.message_version);
    out->thaw_owed = vmbus_vss_owes_thaw(vss->engine);
    out->job = v.job;
    out->freezes = v.freezes;
    out->thaws = v.thaws;
    out->thaws_refused = v.thaws_refused;
    out->late_answers = v.late;
    if (v.reason != VMBUS_VSS_NO_REASON) {
        out->has_reason = true;
        out->reason = qapi_reasons[v.reason];
        out->message = g_strdup(vmbus_vss_reason_sentence(v.reason));
    }
    if (v.state == VMBUS_VSS_CHECKING || v.state == VMBUS_VSS_FREEZING ||
        v.state == VMBUS_VSS_FROZEN) {
        out->has_left_ms = true;
        out->left_ms = v.left_ns / SCALE_MS;
    }
    if (v.state == VMBUS_VSS_FROZEN) {
        out->has_frozen_ms = true;
        out->frozen_ms = v.frozen_ns / SCALE_MS;
    }
    return out;
}

static void vss_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    info->vss = describe(HV_VSS(dev));
    hv_describe_service(info, vmbus_vss_port(HV_VSS(dev)->engine));
}

static HvVss *find(Error **errp)
{
    Object *obj = object_resolve_path_type("", TYPE_HV_VSS, NULL);

    if (!obj || !DEVICE(obj)->realized) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "the machine has no hv-vss device");
        return NULL;
    }
    return HV_VSS(obj);
}

static void complain(VmbusVssResult result, Error **errp)
{
    error_set(errp,
              result == VMBUS_VSS_NOT_OPEN ? ERROR_CLASS_DEVICE_NOT_ACTIVE :
                                             ERROR_CLASS_GENERIC_ERROR,
              "%s", vmbus_vss_result_sentence(result));
}

void hv_vss_thaw_for_shutdown(void)
{
    HvVss *vss = find(NULL);

    if (vss) {
        vmbus_vss_thaw(vss->engine, VMBUS_VSS_SHUTDOWN);
    }
}

VMBusVssInfo *qmp_query_vmbus_vss(Error **errp)
{
    HvVss *vss = find(errp);

    return vss ? describe(vss) : NULL;
}

VMBusVssJob *qmp_vmbus_vss_freeze(bool has_hold_ms, uint32_t hold_ms,
                                  bool has_timeout_ms, uint32_t timeout_ms,
                                  Error **errp)
{
    HvVss *vss = find(errp);
    VmbusVssResult result;
    VMBusVssJob *job;
    uint64_t id;

    if (!vss) {
        return NULL;
    }
    if (migration_is_running()) {
        error_setg(errp, "the machine is being migrated; freeze it when it "
                   "has arrived");
        return NULL;
    }
    if (!has_hold_ms) {
        hold_ms = MIN(DEFAULT_HOLD_MS, vss->freeze_limit * 1000ULL);
    }
    if (!has_timeout_ms) {
        timeout_ms = DEFAULT_TIMEOUT_MS;
    }
    result = vmbus_vss_freeze(vss->engine, (uint64_t)hold_ms * SCALE_MS,
                              (uint64_t)timeout_ms * SCALE_MS, &id);
    if (result != VMBUS_VSS_OK) {
        complain(result, errp);
        return NULL;
    }
    job = g_new0(VMBusVssJob, 1);
    job->job = id;
    return job;
}

VMBusVssHold *qmp_vmbus_vss_renew(uint64_t job, bool has_hold_ms,
                                  uint32_t hold_ms, Error **errp)
{
    HvVss *vss = find(errp);
    VmbusVssResult result;
    VMBusVssHold *hold;
    uint64_t granted;

    if (!vss) {
        return NULL;
    }
    if (has_hold_ms && !hold_ms) {
        complain(VMBUS_VSS_BAD_HOLD, errp);
        return NULL;
    }
    result = vmbus_vss_renew(vss->engine, job,
                             has_hold_ms ? (uint64_t)hold_ms * SCALE_MS : 0,
                             &granted);
    if (result != VMBUS_VSS_OK) {
        complain(result, errp);
        return NULL;
    }
    hold = g_new0(VMBusVssHold, 1);
    hold->hold_ms = granted / SCALE_MS;
    return hold;
}

void qmp_vmbus_vss_thaw(Error **errp)
{
    HvVss *vss = find(errp);
    VmbusVssResult result;

    if (!vss) {
        return;
    }
    result = vmbus_vss_thaw(vss->engine, VMBUS_VSS_THAWED);
    if (result != VMBUS_VSS_OK) {
        complain(result, errp);
    }
}

static const Property vss_props[] = {
    DEFINE_PROP_UINT32("freeze-limit", HvVss, freeze_limit, 300),
};

static void vss_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    dc->desc = "Hyper-V backup (volume snapshot) service";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, vss_props);
    rc->phases.exit = vss_reset_exit;
    hc->offer = &vmbus_vss_offer;
    hc->channel_ops = &vmbus_vss_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = vss_create;
    hc->destroy = vss_destroy;
    hc->save = vss_save;
    hc->load = vss_load;
    hc->describe = vss_describe;
}

static const TypeInfo vss_type_info = {
    .name = TYPE_HV_VSS,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvVss),
    .class_init = vss_class_init,
};

static void vss_register_types(void)
{
    type_register_static(&vss_type_info);
}

type_init(vss_register_types)
