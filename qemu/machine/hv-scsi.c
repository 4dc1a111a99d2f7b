/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qemu/defer-call.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/boards.h"
#include "hw/hotplug.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "system/runstate.h"
#include "hv-scsi.h"
#include "trace/trace-hw_vmbus.h"

#define PAGE_BYTES 4096u

/* The service's calls */

static void begin_batch(void *opaque)
{
    defer_call_begin();
}

static void end_batch(void *opaque)
{
    defer_call_end();
}

static void packet_refused(void *opaque, StorChannel *channel,
                           const char *sentence)
{
    trace_hv_scsi_refused(storvsp_channel_index(channel), sentence);
}

static const StorVspOps vsp_ops = {
    .submit = hv_scsi_submit,
    .cancel = hv_scsi_cancel,
    .reset = hv_scsi_reset,
    .offer_subchannels = hv_scsi_offer_subchannels,
    .run_later = hv_scsi_run_later,
    .begin_batch = begin_batch,
    .end_batch = end_batch,
    .refused = packet_refused,
};

/* A machine that is stopped, perhaps to be moved, begins no request. */
static void set_stopped(HvScsi *s, bool stopped)
{
    if (s->stopped != stopped) {
        s->stopped = stopped;
        if (stopped) {
            hv_scsi_pause(s);
            hv_scsi_finish_work(s);
        } else {
            storvsp_unpause(s->vsp);
        }
    }
}

static void runstate_changed(void *opaque, bool running, RunState state)
{
    set_stopped(opaque, !running);
}

/* The device */

static unsigned count_queues(const HvScsi *s)
{
    unsigned count = s->num_queues ?: current_machine->smp.max_cpus;

    return MIN(count, STOR_MAX_CHANNELS);
}

static void *scsi_create(HvDevice *dev, Error **errp)
{
    HvScsi *s = HV_SCSI(dev);
    unsigned queues = count_queues(s);
    StorVspConfig config = {
        .fc = VMBUS_DEVICE_GET_CLASS(dev)->offer == &storvsp_fc_offer,
        .names.primary_active = 1,
        .max_subchannels = queues - 1,
        .max_transfer_bytes = s->max_transfer,
    };

    if (s->num_queues > STOR_MAX_CHANNELS) {
        error_setg(errp, "num-queues is at most %u", STOR_MAX_CHANNELS);
        return NULL;
    }
    if (s->max_transfer < PAGE_BYTES || s->max_transfer > STOR_MAX_TRANSFER ||
        s->max_transfer % PAGE_BYTES) {
        error_setg(errp, "max-transfer is a multiple of %u from %u to %u",
                   PAGE_BYTES, PAGE_BYTES, STOR_MAX_TRANSFER);
        return NULL;
    }
    if (config.fc && (!s->wwpn || !s->wwnn)) {
        error_setg(errp, "hv-fc needs the names of its port and its node: "
                         "give wwpn and wwnn");
        return NULL;
    }
    stq_be_p(config.names.primary_port, s->wwpn);
    stq_be_p(config.names.primary_node, s->wwnn);
    if (!hv_scsi_channels_init(s, queues, errp)) {
        return NULL;
    }
    s->vsp = storvsp_new(&config, &vsp_ops, s);
    scsi_bus_init(&s->bus, sizeof(s->bus), DEVICE(s), &hv_scsi_bus_info);
    qbus_set_hotplug_handler(BUS(&s->bus), OBJECT(s));
    s->stopped = false;
    set_stopped(s, !runstate_is_running());
    s->runstate_entry =
        qdev_add_vm_change_state_handler(DEVICE(s), runstate_changed, s);
    return s;
}

static void scsi_destroy(HvDevice *dev)
{
    HvScsi *s = HV_SCSI(dev);

    hv_scsi_stop_leaving(s);
    qemu_del_vm_change_state_handler(s->runstate_entry);
    hv_scsi_channels_cleanup(s);
    storvsp_free(s->vsp);
    s->vsp = NULL;
}

static GByteArray *scsi_save(HvDevice *dev)
{
    return storvsp_save(HV_SCSI(dev)->vsp);
}

static const char *scsi_load(HvDevice *dev, const void *data, size_t len)
{
    HvScsi *s = HV_SCSI(dev);
    const char *why = storvsp_load(s->vsp, dev->chan, data, len);

    if (!why) {
        hv_scsi_channels_loaded(s);
    }
    return why;
}

static void scsi_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    HvScsi *s = HV_SCSI(dev);
    VMBusStorageInfo *out = g_new0(VMBusStorageInfo, 1);
    StorChannelInfo all;
    StorVspInfo vsp;

    storvsp_info(s->vsp, &vsp);
    out->state = g_strdup(storvsp_phase_name(vsp.phase));
    if (vsp.version) {
        out->version =
            hv_version_string((vsp.version >> 8) << 16 | (vsp.version & 0xff));
    }
    out->enumerations = vsp.enumerations;
    hv_scsi_sum(s, &all);
    out->in_flight = all.in_flight;
    out->requests = all.requests;
    out->completed = all.completed;
    out->refused = all.refused;
    out->last_refusal = g_strdup(all.last_refusal);
    info->storage = out;
}

static const Property scsi_props[] = {
    DEFINE_PROP_UINT16("num-queues", HvScsi, num_queues, 0),
    DEFINE_PROP_UINT32("max-transfer", HvScsi, max_transfer, 512 * 1024),
    DEFINE_PROP_LINK("iothread", HvScsi, iothread, TYPE_IOTHREAD, IOThread *),
    DEFINE_PROP_IOTHREAD_VQ_MAPPING_LIST("iothread-vq-mapping", HvScsi,
                                         iothread_mapping),
};

static void scsi_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);
    HotplugHandlerClass *hpc = HOTPLUG_HANDLER_CLASS(klass);

    dc->desc = "Hyper-V SCSI adapter";
    dc->fw_name = "scsi";
    set_bit(DEVICE_CATEGORY_STORAGE, dc->categories);
    device_class_set_props(dc, scsi_props);
    hc->offer = &storvsp_scsi_offer;
    hc->channel_ops = &hv_scsi_channel_ops;
    hc->create = scsi_create;
    hc->unplug_request = hv_scsi_leave;
    hc->destroy = scsi_destroy;
    hc->save = scsi_save;
    hc->load = scsi_load;
    hc->describe = scsi_describe;
    hpc->pre_plug = hv_scsi_disk_pre_plug;
    hpc->plug = hv_scsi_disk_plug;
    hpc->unplug = hv_scsi_disk_unplug;
}

static const TypeInfo scsi_type_info = {
    .name = TYPE_HV_SCSI,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvScsi),
    .class_init = scsi_class_init,
    .interfaces = (InterfaceInfo[]){{TYPE_HOTPLUG_HANDLER}, {}},
};

/* The same to its disks; a guest shows it as a port of fibre channel. */
static const Property fc_props[] = {
    DEFINE_PROP_UINT64("wwpn", HvScsi, wwpn, 0),
    DEFINE_PROP_UINT64("wwnn", HvScsi, wwnn, 0),
};

static void fc_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "Hyper-V fibre channel adapter";
    device_class_set_props(dc, fc_props);
    VMBUS_DEVICE_CLASS(klass)->offer = &storvsp_fc_offer;
}

static const TypeInfo fc_type_info = {
    .name = TYPE_HV_FC,
    .parent = TYPE_HV_SCSI,
    .class_init = fc_class_init,
};

static void scsi_register_types(void)
{
    type_register_static(&scsi_type_info);
    type_register_static(&fc_type_info);
}

type_init(scsi_register_types)
