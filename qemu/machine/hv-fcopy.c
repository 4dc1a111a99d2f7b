/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-fcopy: file copy into the guest, with its QMP commands and events.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "system/runstate.h"
#include "devices/fcopy.h"
#include "devices/ic.h"
#include "hv-bridge.h"
#include "hv-file.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_FCOPY "hv-fcopy"
OBJECT_DECLARE_SIMPLE_TYPE(HvFcopy, HV_FCOPY)

#define DEFAULT_STEP_MS    60000
#define DEFAULT_HOLD_MS    60000
#define PROGRESS_PERIOD_MS 250

struct HvFcopy {
    HvDevice parent_obj;

    VmbusFcopy *engine;
    QEMUTimer *timer;
    VMChangeStateEntry *runstate_entry;
    HvFileReader reader; /* of the copy that has not ended */
    int64_t progress_ms; /* when the last event was sent */
};

static const VMBusServiceState qapi_services[] = {
    [VMBUS_FCOPY_SERVICE_CLOSED] = VM_BUS_SERVICE_STATE_CLOSED,
    [VMBUS_FCOPY_SERVICE_NEGOTIATING] = VM_BUS_SERVICE_STATE_NEGOTIATING,
    [VMBUS_FCOPY_SERVICE_READY] = VM_BUS_SERVICE_STATE_READY,
};

static const VMBusFcopyState qapi_states[] = {
    [VMBUS_FCOPY_STARTING] = VM_BUS_FCOPY_STATE_STARTING,
    [VMBUS_FCOPY_COPYING] = VM_BUS_FCOPY_STATE_COPYING,
    [VMBUS_FCOPY_COMPLETING] = VM_BUS_FCOPY_STATE_COMPLETING,
    [VMBUS_FCOPY_STOPPED] = VM_BUS_FCOPY_STATE_STOPPED,
    [VMBUS_FCOPY_CANCELLING] = VM_BUS_FCOPY_STATE_CANCELLING,
    [VMBUS_FCOPY_DONE] = VM_BUS_FCOPY_STATE_DONE,
    [VMBUS_FCOPY_FAILED] = VM_BUS_FCOPY_STATE_FAILED,
    [VMBUS_FCOPY_CANCELLED] = VM_BUS_FCOPY_STATE_CANCELLED,
};

/* Of copies that stopped or ended; the others are errors of commands. */
static const VMBusFcopyResult qapi_results[VMBUS_FCOPY_RESULTS] = {
    [VMBUS_FCOPY_OK] = VM_BUS_FCOPY_RESULT_OK,
    [VMBUS_FCOPY_RING_TOO_SMALL] = VM_BUS_FCOPY_RESULT_RING_TOO_SMALL,
    [VMBUS_FCOPY_GONE] = VM_BUS_FCOPY_RESULT_GONE,
    [VMBUS_FCOPY_TIMEOUT] = VM_BUS_FCOPY_RESULT_TIMEOUT,
    [VMBUS_FCOPY_READ_FAILED] = VM_BUS_FCOPY_RESULT_READ_FAILED,
    [VMBUS_FCOPY_READ_TIMEOUT] = VM_BUS_FCOPY_RESULT_READ_TIMEOUT,
    [VMBUS_FCOPY_FILE_CHANGED] = VM_BUS_FCOPY_RESULT_FILE_CHANGED,
    [VMBUS_FCOPY_EXISTS] = VM_BUS_FCOPY_RESULT_EXISTS,
    [VMBUS_FCOPY_DISK_FULL] = VM_BUS_FCOPY_RESULT_DISK_FULL,
    [VMBUS_FCOPY_NOT_SUPPORTED] = VM_BUS_FCOPY_RESULT_NOT_SUPPORTED,
    [VMBUS_FCOPY_INVALID] = VM_BUS_FCOPY_RESULT_INVALID,
    [VMBUS_FCOPY_START_FAILED] = VM_BUS_FCOPY_RESULT_START_FAILED,
    [VMBUS_FCOPY_WRITE_FAILED] = VM_BUS_FCOPY_RESULT_WRITE_FAILED,
    [VMBUS_FCOPY_COMPLETE_FAILED] = VM_BUS_FCOPY_RESULT_COMPLETE_FAILED,
    [VMBUS_FCOPY_WAS_CANCELLED] = VM_BUS_FCOPY_RESULT_CANCELLED,
    [VMBUS_FCOPY_NOT_RESUMED] = VM_BUS_FCOPY_RESULT_NOT_RESUMED,
};

/* The file */

static void fcopy_read(void *opaque, uint64_t id, uint64_t offset, uint32_t len)
{
    hv_file_read(&((HvFcopy *)opaque)->reader, id, offset, len);
}

static void file_was_read(Object *owner, uint64_t id, uint64_t offset,
                          const void *data, uint32_t len)
{
    vmbus_fcopy_data(HV_FCOPY(owner)->engine, id, offset, data, len);
}

static void file_read_failed(Object *owner, uint64_t id, bool changed)
{
    vmbus_fcopy_read_failed(HV_FCOPY(owner)->engine, id,
                            changed ? VMBUS_FCOPY_FILE_CHANGED
                                    : VMBUS_FCOPY_READ_FAILED);
}

static const HvFileOps file_ops = {
    .done = file_was_read,
    .failed = file_read_failed,
};

/* What the engine tells */

static void fcopy_progress(void *opaque, const VmbusFcopyCopy *copy)
{
    HvFcopy *fc = opaque;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    if (now >= fc->progress_ms + PROGRESS_PERIOD_MS) {
        fc->progress_ms = now;
        qapi_event_send_vmbus_fcopy_progress(copy->id, copy->copied,
                                             copy->size);
    }
}

static bool has_result(const VmbusFcopyCopy *copy)
{
    return copy->state == VMBUS_FCOPY_STOPPED ||
           vmbus_fcopy_state_ended(copy->state);
}

static void fcopy_changed(void *opaque, const VmbusFcopyCopy *copy)
{
    HvFcopy *fc = opaque;
    bool result = has_result(copy);

    trace_hv_fcopy_change(
        copy->id, vmbus_fcopy_state_name(copy->state), copy->copied,
        result ? vmbus_fcopy_result_sentence(copy->result) : "");
    if (vmbus_fcopy_state_ended(copy->state)) {
        hv_file_let_go(&fc->reader);
    }
    qapi_event_send_vmbus_fcopy_change(copy->id, qapi_states[copy->state],
                                       copy->copied, result,
                                       qapi_results[copy->result]);
}

static void fcopy_wake_at(void *opaque, uint64_t when_ns)
{
    HvFcopy *fc = opaque;

    if (when_ns > INT64_MAX) {
        timer_del(fc->timer);
    } else {
        timer_mod_ns(fc->timer, when_ns);
    }
}

/* It goes on while the machine is stopped: a copy always ends. */
static uint64_t fcopy_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static const VmbusFcopyOps fcopy_ops = {
    .read = fcopy_read,
    .progress = fcopy_progress,
    .changed = fcopy_changed,
    .wake_at = fcopy_wake_at,
    .now_ns = fcopy_now_ns,
};

static void fcopy_timer(void *opaque)
{
    vmbus_fcopy_tick(((HvFcopy *)opaque)->engine);
}

/* After a load, the guest may have the file of a copy that stayed behind. */
static void runstate_changed(void *opaque, bool running, RunState state)
{
    if (running) {
        vmbus_fcopy_tick(((HvFcopy *)opaque)->engine);
    }
}

static void *fcopy_create(HvDevice *dev, Error **errp)
{
    HvFcopy *fc = HV_FCOPY(dev);

    fc->timer = timer_new_ns(QEMU_CLOCK_REALTIME, fcopy_timer, fc);
    fc->reader.owner = OBJECT(dev);
    fc->reader.ops = &file_ops;
    fc->engine = vmbus_fcopy_new(&fcopy_ops, fc);
    fc->runstate_entry =
        qdev_add_vm_change_state_handler(DEVICE(dev), runstate_changed, fc);
    return fc->engine;
}

static void fcopy_destroy(HvDevice *dev)
{
    HvFcopy *fc = HV_FCOPY(dev);

    qemu_del_vm_change_state_handler(fc->runstate_entry);
    hv_file_let_go(&fc->reader);
    vmbus_fcopy_free(fc->engine);
    timer_free(fc->timer);
}

static GByteArray *fcopy_save(HvDevice *dev)
{
    return vmbus_fcopy_save(HV_FCOPY(dev)->engine);
}

static const char *fcopy_load(HvDevice *dev, const void *data, size_t len)
{
    return vmbus_fcopy_load(HV_FCOPY(dev)->engine, dev->chan, data, len);
}

static void fcopy_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    VMBusFcopyInfo *out = g_new0(VMBusFcopyInfo, 1);
    VmbusFcopyInfo fc;

    vmbus_fcopy_info(HV_FCOPY(dev)->engine, &fc);
    out->state = qapi_services[fc.service];
    out->framework_version = hv_version_string(fc.framework_version);
    out->message_version = hv_version_string(fc.message_version);
    out->copies = fc.copies;
    if (fc.copy) {
        out->has_job = true;
        out->job = fc.copy->id;
    }
    info->fcopy = out;
    hv_describe_service(info, vmbus_fcopy_port(HV_FCOPY(dev)->engine));
}

/* QMP */

static HvFcopy *find(Error **errp)
{
    HvDevice *dev = hv_device_find(TYPE_HV_FCOPY, errp);

    return dev ? HV_FCOPY(dev) : NULL;
}

static void check(VmbusFcopyResult result, Error **errp)
{
    if (result != VMBUS_FCOPY_OK) {
        error_set(errp,
                  result == VMBUS_FCOPY_NOT_OPEN ? ERROR_CLASS_DEVICE_NOT_ACTIVE
                                                 : ERROR_CLASS_GENERIC_ERROR,
                  "%s", vmbus_fcopy_result_sentence(result));
    }
}

VMBusJob *qmp_vmbus_fcopy_start(const char *fd, const char *path,
                                bool has_overwrite, bool overwrite,
                                bool has_create_path, bool create_path,
                                bool has_step_timeout_ms,
                                uint32_t step_timeout_ms, bool has_hold_ms,
                                uint32_t hold_ms, Error **errp)
{
    HvFcopy *fc = find(errp);
    HvFile *file = fc ? hv_file_get(fd, errp) : NULL;
    VmbusFcopyRequest req = {
        .path = path,
        .overwrite = has_overwrite && overwrite,
        .create_path = has_create_path && create_path,
        .step_ns = (has_step_timeout_ms ? step_timeout_ms : DEFAULT_STEP_MS) *
                   (uint64_t)SCALE_MS,
        .hold_ns =
            (has_hold_ms ? hold_ms : DEFAULT_HOLD_MS) * (uint64_t)SCALE_MS,
    };
    VmbusFcopyResult result;
    VMBusJob *job;
    bool busy;
    uint64_t id;

    if (!file) {
        return NULL;
    }
    /* Else reads that never end could use up the pool's threads. */
    if (fc->reader.abandoned) {
        error_setg(errp, "the host still reads the file of an earlier copy");
        hv_file_unref(file);
        return NULL;
    }
    busy = fc->reader.file != NULL;
    if (!busy) {
        fc->reader.file = file;
    }
    req.size = file->st.st_size;
    result = vmbus_fcopy_start(fc->engine, &req, &id);
    if (result != VMBUS_FCOPY_OK) {
        check(result, errp);
        if (!busy) {
            fc->reader.file = NULL;
        }
        hv_file_unref(file);
        return NULL;
    }
    job = g_new0(VMBusJob, 1);
    job->job = id;
    return job;
}

void qmp_vmbus_fcopy_resume(uint64_t job, Error **errp)
{
    HvFcopy *fc = find(errp);

    if (fc) {
        check(vmbus_fcopy_resume(fc->engine, job), errp);
    }
}

void qmp_vmbus_fcopy_cancel(uint64_t job, Error **errp)
{
    HvFcopy *fc = find(errp);

    if (fc) {
        check(vmbus_fcopy_cancel(fc->engine, job), errp);
    }
}

VMBusFcopyJobInfo *qmp_query_vmbus_fcopy(uint64_t id, Error **errp)
{
    HvFcopy *fc = find(errp);
    const VmbusFcopyCopy *copy = fc ? vmbus_fcopy_copy(fc->engine, id) : NULL;
    VMBusFcopyJobInfo *out;

    if (!copy) {
        if (fc) {
            check(VMBUS_FCOPY_NO_SUCH_COPY, errp);
        }
        return NULL;
    }
    out = g_new0(VMBusFcopyJobInfo, 1);
    out->job = copy->id;
    out->state = qapi_states[copy->state];
    out->path = g_strdup(copy->path);
    out->size = copy->size;
    out->copied = copy->copied;
    out->status = copy->status;
    out->sha256 = g_strdup(copy->sha256);
    if (has_result(copy)) {
        out->has_result = true;
        out->result = qapi_results[copy->result];
        out->message = g_strdup(vmbus_fcopy_result_sentence(copy->result));
    }
    return out;
}

static void fcopy_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V file copy (guest service interface)";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    hc->offer = &vmbus_fcopy_offer;
    hc->channel_ops = &vmbus_fcopy_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = fcopy_create;
    hc->destroy = fcopy_destroy;
    hc->save = fcopy_save;
    hc->load = fcopy_load;
    hc->describe = fcopy_describe;
}

static const TypeInfo fcopy_type_info = {
    .name = TYPE_HV_FCOPY,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvFcopy),
    .class_init = fcopy_class_init,
};

static void fcopy_register_types(void)
{
    type_register_static(&fcopy_type_info);
}

type_init(fcopy_register_types)
