/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-shutdown: the shutdown service, with its QMP command and event.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "devices/ic.h"
#include "devices/shutdown.h"
#include "hv-bridge.h"
#include "hv-service-events.h"
#include "hv-vss.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_SHUTDOWN "hv-shutdown"
OBJECT_DECLARE_SIMPLE_TYPE(HvShutdown, HV_SHUTDOWN)

struct HvShutdown {
    HvDevice parent_obj;

    VmbusShutdown *engine;
};

static const VMBusShutdownState qapi_states[] = {
    [VMBUS_SHUTDOWN_CLOSED] = VM_BUS_SHUTDOWN_STATE_CLOSED,
    [VMBUS_SHUTDOWN_NEGOTIATING] = VM_BUS_SHUTDOWN_STATE_NEGOTIATING,
    [VMBUS_SHUTDOWN_READY] = VM_BUS_SHUTDOWN_STATE_READY,
    [VMBUS_SHUTDOWN_REQUESTED] = VM_BUS_SHUTDOWN_STATE_REQUESTED,
    [VMBUS_SHUTDOWN_ACCEPTED] = VM_BUS_SHUTDOWN_STATE_ACCEPTED,
};

static const VMBusShutdownMode qapi_modes[] = {
    [VMBUS_SHUTDOWN_POWEROFF] = VM_BUS_SHUTDOWN_MODE_POWERDOWN,
    [VMBUS_SHUTDOWN_REBOOT] = VM_BUS_SHUTDOWN_MODE_REBOOT,
    [VMBUS_SHUTDOWN_HIBERNATE] = VM_BUS_SHUTDOWN_MODE_HIBERNATE,
};

/* The engine's modes stand in the order of the schema's. */
QEMU_BUILD_BUG_ON((int)VM_BUS_SHUTDOWN_MODE_HIBERNATE !=
                  (int)VMBUS_SHUTDOWN_HIBERNATE);

/* Of answers of the guest; the others are errors of the command. */
static const VMBusShutdownResult qapi_results[] = {
    [VMBUS_SHUTDOWN_OK] = VM_BUS_SHUTDOWN_RESULT_ACCEPTED,
    [VMBUS_SHUTDOWN_NOT_READY] = VM_BUS_SHUTDOWN_RESULT_NOT_READY,
    [VMBUS_SHUTDOWN_IN_PROGRESS] = VM_BUS_SHUTDOWN_RESULT_IN_PROGRESS,
    [VMBUS_SHUTDOWN_LOCKED] = VM_BUS_SHUTDOWN_RESULT_LOCKED,
    [VMBUS_SHUTDOWN_NOT_SUPPORTED] = VM_BUS_SHUTDOWN_RESULT_NOT_SUPPORTED,
    [VMBUS_SHUTDOWN_FAILED] = VM_BUS_SHUTDOWN_RESULT_FAILED,
    [VMBUS_SHUTDOWN_GONE] = VM_BUS_SHUTDOWN_RESULT_GONE,
};

static void shutdown_answered(void *opaque, VmbusShutdownMode mode,
                              VmbusShutdownResult result, uint32_t status)
{
    trace_hv_shutdown_answered(vmbus_shutdown_result_sentence(result), status);
    qapi_event_send_vmbus_shutdown_response(qapi_modes[mode],
                                            qapi_results[result], status);
    hv_service_shutdown_answered(result == VMBUS_SHUTDOWN_OK
                                     ? NULL
                                     : vmbus_shutdown_result_sentence(result));
}

static void shutdown_changed(void *opaque, VmbusShutdownState state)
{
    trace_hv_shutdown_change(vmbus_shutdown_state_name(state));
    hv_service_changed();
}

static const VmbusShutdownOps shutdown_ops = {
    .answered = shutdown_answered,
    .changed = shutdown_changed,
};

static void *shutdown_create(HvDevice *dev, Error **errp)
{
    HvShutdown *sd = HV_SHUTDOWN(dev);

    sd->engine = vmbus_shutdown_new(&shutdown_ops, sd);
    return sd->engine;
}

static void shutdown_destroy(HvDevice *dev)
{
    vmbus_shutdown_free(HV_SHUTDOWN(dev)->engine);
}

static GByteArray *shutdown_save(HvDevice *dev)
{
    return vmbus_shutdown_save(HV_SHUTDOWN(dev)->engine);
}

static const char *shutdown_load(HvDevice *dev, const void *data, size_t len)
{
    return vmbus_shutdown_load(HV_SHUTDOWN(dev)->engine, dev->chan, data, len);
}

static void shutdown_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    VMBusShutdownInfo *out = g_new0(VMBusShutdownInfo, 1);
    VmbusShutdownInfo sd;

    vmbus_shutdown_info(HV_SHUTDOWN(dev)->engine, &sd);
    out->state = qapi_states[sd.state];
    out->framework_version = hv_version_string(sd.framework_version);
    out->message_version = hv_version_string(sd.message_version);
    out->requests = sd.requests;
    info->shutdown = out;
    hv_describe_service(info, vmbus_shutdown_port(HV_SHUTDOWN(dev)->engine));
}

void qmp_vmbus_shutdown(bool has_mode, VMBusShutdownMode mode, bool has_force,
                        bool force, bool has_timeout, uint32_t timeout,
                        const char *message, Error **errp)
{
    HvDevice *dev = hv_device_find(TYPE_HV_SHUTDOWN, errp);
    VmbusShutdownRequest req = {
        .mode = has_mode ? (VmbusShutdownMode)mode : VMBUS_SHUTDOWN_POWEROFF,
        .force = has_force && force,
        .timeout_secs = has_timeout ? timeout : 0,
        .message = message,
    };
    VmbusShutdownResult result;

    if (!dev) {
        return;
    }
    result = vmbus_shutdown_request(HV_SHUTDOWN(dev)->engine, &req);
    if (result == VMBUS_SHUTDOWN_NOT_OPEN) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_ACTIVE, "%s",
                  vmbus_shutdown_result_sentence(result));
    } else if (result != VMBUS_SHUTDOWN_OK) {
        error_setg(errp, "%s", vmbus_shutdown_result_sentence(result));
    } else {
        hv_vss_thaw_for_shutdown();
    }
}

static void shutdown_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V shutdown service";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    hc->offer = &vmbus_shutdown_offer;
    hc->channel_ops = &vmbus_shutdown_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = shutdown_create;
    hc->destroy = shutdown_destroy;
    hc->save = shutdown_save;
    hc->load = shutdown_load;
    hc->describe = shutdown_describe;
}

static const TypeInfo shutdown_type_info = {
    .name = TYPE_HV_SHUTDOWN,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvShutdown),
    .class_init = shutdown_class_init,
};

static void shutdown_register_types(void)
{
    type_register_static(&shutdown_type_info);
}

type_init(shutdown_register_types)
