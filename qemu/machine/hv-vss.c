/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-vss: the backup service.
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
#include "hw/qdev-properties.h"
#include "migration/misc.h"
#include "system/runstate.h"
#include "devices/ic.h"
#include "hv-service-events.h"
#include "hv-vss.h"
#include "trace/trace-hw_vmbus.h"

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
    update_unplug_blocker(opaque, info->state);
    trace_hv_vss_change(vmbus_vss_state_name(info->state), info->job,
                        vmbus_vss_reason_sentence(info->reason) ?: "");
    hv_vss_send_change(info);
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
    vss->engine = vmbus_vss_new(
        &vss_ops, vss, vss->freeze_limit * (uint64_t)NANOSECONDS_PER_SECOND);
    vmbus_vss_set_running(vss->engine, runstate_is_running());
    vss->runstate_entry =
        qdev_add_vm_change_state_handler(DEVICE(dev), runstate_changed, vss);
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

static void vss_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    info->vss = hv_vss_describe(HV_VSS(dev));
    hv_describe_service(info, vmbus_vss_port(HV_VSS(dev)->engine));
}

HvVss *hv_vss_find(Error **errp)
{
    HvDevice *dev = hv_device_find(TYPE_HV_VSS, errp);

    return dev ? HV_VSS(dev) : NULL;
}

void hv_vss_thaw_for_shutdown(void)
{
    HvVss *vss = hv_vss_find(NULL);

    if (vss) {
        vmbus_vss_thaw(vss->engine, VMBUS_VSS_SHUTDOWN);
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
