/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmbus-bridge: carries the protocol of qemu/bus on QEMU's virtual CPUs,
 * memory and main loop.  Everything here runs under the big QEMU lock, which
 * is the bus's thread, except what a channel in an IOThread asks of the machine
 * (bus.h): to signal, to mark memory dirty and to close a broken channel.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "hw/hotplug.h"
#include "hw/qdev-properties.h"
#include "bus/vmbus-protocol.h"
#include "guest-mem.h"
#include "hv-bridge.h"
#include "hv-listen.h"
#include "hv-vmstate.h"
#include "hyperv-synic.h"
#include "trace/trace-hw_vmbus.h"

typedef struct HvBus {
    BusState parent_obj;
} HvBus;

struct HvBridge {
    VMBusBridge parent_obj;

    HvBus *qbus;
    VmbusBus *bus;
    char *max_version;
    VMChangeStateEntry *runstate_entry;

    HvSintRoute *msg_route; /* where messages go now */
    uint32_t msg_vp;
    uint8_t msg_sint;

    HvListener *page_listener; /* of the interrupt page, or NULL */
    int64_t last_warning_ns;
};

#define HV_BRIDGE(obj) ((HvBridge *)VMBUS_BRIDGE(obj))

HvBridge *hv_bridge_find(void)
{
    VMBusBridge *bridge = vmbus_bridge_find();

    return bridge && HV_BRIDGE(bridge)->bus ? HV_BRIDGE(bridge) : NULL;
}

VmbusBus *hv_bridge_bus(HvBridge *bridge)
{
    return bridge->bus;
}

HvBridge *hv_device_bridge(HvDevice *dev)
{
    return HV_BRIDGE(qdev_get_parent_bus(DEVICE(dev))->parent);
}

HvDevice *hv_bridge_find_device(HvBridge *bridge, const VmbusChannel *chan)
{
    BusChild *kid;

    QTAILQ_FOREACH(kid, &BUS(bridge->qbus)->children, sibling) {
        if (VMBUS_DEVICE(kid->child)->chan == chan) {
            return VMBUS_DEVICE(kid->child);
        }
    }
    return NULL;
}

const char *hv_bridge_max_version(HvBridge *bridge)
{
    return bridge->max_version;
}

static bool bridge_vp_exists(void *opaque, uint32_t vp_index)
{
    return hyperv_synic_exists(vp_index);
}

static void message_posted(void *opaque, int status)
{
    HvBridge *bridge = opaque;

    vmbus_bus_message_delivered(bridge->bus, status);
}

static void drop_msg_route(HvBridge *bridge)
{
    if (bridge->msg_route) {
        hyperv_cancel_msg(bridge->msg_route);
        hyperv_sint_route_unref(bridge->msg_route);
        bridge->msg_route = NULL;
    }
}

/* Routes messages to @sint of @vp, unless they are; false if that can't be. */
static bool set_msg_route(HvBridge *bridge, uint32_t vp, uint8_t sint)
{
    if (bridge->msg_vp != vp || bridge->msg_sint != sint) {
        drop_msg_route(bridge);
    }
    if (!bridge->msg_route) {
        bridge->msg_route =
            hyperv_sint_route_new(vp, sint, message_posted, bridge);
        bridge->msg_vp = vp;
        bridge->msg_sint = sint;
    }
    return bridge->msg_route;
}

static int bridge_post_message(void *opaque, uint32_t vp, uint8_t sint,
                               const void *payload, uint32_t len)
{
    HvBridge *bridge = opaque;
    struct hyperv_message msg = {
        .header.message_type = HV_MESSAGE_VMBUS,
        .header.payload_size = len,
    };

    if (len > sizeof(msg.payload)) {
        return -EMSGSIZE;
    }
    if (!set_msg_route(bridge, vp, sint)) {
        return -ENXIO;
    }
    memcpy(msg.payload, payload, len);
    return hyperv_post_msg(bridge->msg_route, &msg);
}

bool hv_bridge_message_delivered(HvBridge *bridge)
{
    return bridge->msg_route && hyperv_msg_is_done(bridge->msg_route);
}

void hv_bridge_raise_message_sint(HvBridge *bridge)
{
    VmbusBusInfo info;

    vmbus_bus_info(bridge->bus, &info);
    if (info.state == VMBUS_CONNECTED &&
        set_msg_route(bridge, info.target_vp, info.message_sint)) {
        hyperv_sint_route_set_sint(bridge->msg_route);
    }
}

static void bridge_cancel_message(void *opaque)
{
    drop_msg_route(opaque);
}

static bool bridge_prepare_signal(void *opaque, VmbusChannel *chan, uint32_t vp,
                                  uint8_t sint, void **route)
{
    HvSintRoute *r = hyperv_sint_route_new(vp, sint, NULL, NULL);
    VmbusChannelInfo info;

    if (!r) {
        return false;
    }
    vmbus_channel_info(chan, &info);
    hyperv_clear_event_flag(r, info.relid);
    *route = r;
    return true;
}

static void bridge_release_signal(void *opaque, VmbusChannel *chan, void *route)
{
    hyperv_sint_route_unref(route);
}

static void bridge_signal(void *opaque, void *route, uint16_t flag)
{
    hyperv_set_event_flag(route, flag);
}

static bool bridge_listen(void *opaque, VmbusChannel *chan, uint32_t conn_id,
                          void **listener)
{
    HvBridge *bridge = opaque;

    *listener = hv_listener_new(bridge->bus, chan, conn_id);
    return *listener;
}

static void bridge_unlisten(void *opaque, void *listener)
{
    hv_listener_free(listener);
}

static void bridge_start(void *opaque, void *listener)
{
    hv_listener_start(listener);
}

static void bridge_stop(void *opaque, void *listener)
{
    hv_listener_stop(listener);
}

static void bridge_kick(void *opaque, void *listener)
{
    hv_listener_kick(listener);
}

static void bridge_call(void *opaque, void *listener, void (*fn)(void *arg),
                        void *arg)
{
    hv_listener_call(listener, fn, arg);
}

static void bridge_defer_close(void *opaque, void *listener)
{
    hv_listener_defer_close(listener);
}

static bool bridge_listen_shared(void *opaque, uint32_t conn_id)
{
    HvBridge *bridge = opaque;

    bridge->page_listener = hv_listener_new(bridge->bus, NULL, conn_id);
    if (bridge->page_listener) {
        hv_listener_start(bridge->page_listener);
    }
    return bridge->page_listener;
}

static void bridge_unlisten_shared(void *opaque, uint32_t conn_id)
{
    HvBridge *bridge = opaque;

    hv_listener_stop(bridge->page_listener);
    hv_listener_free(bridge->page_listener);
    bridge->page_listener = NULL;
}

static VmbusMapping *bridge_map(void *opaque, const uint64_t *gfns,
                                uint32_t count)
{
    return guest_mem_map(gfns, count);
}

static void bridge_unmap(void *opaque, VmbusMapping *mapping)
{
    guest_mem_unmap(mapping);
}

static void bridge_mark_dirty(void *opaque, VmbusMapping *mapping,
                              uint64_t offset, uint32_t len)
{
    guest_mem_mark_dirty(mapping, offset, len);
}

/* A guest decides how often this happens, so the log gets one line in ten
 * seconds; counters and traces have the rest. */
static void warn_limited(HvBridge *bridge, const char *name,
                         const char *sentence)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (bridge->last_warning_ns &&
        now - bridge->last_warning_ns < 10 * NANOSECONDS_PER_SECOND) {
        return;
    }
    bridge->last_warning_ns = now;
    warn_report("VMBus %s: %s", name, sentence);
}

static void bridge_event(void *opaque, const VmbusEvent *event)
{
    switch (event->kind) {
    case VMBUS_EVENT_CONNECTED:
        trace_vmbus_connected(event->id >> 16, event->id & 0xffff);
        break;
    case VMBUS_EVENT_DISCONNECTED:
        trace_vmbus_disconnected(event->name);
        break;
    case VMBUS_EVENT_MESSAGE_IN:
        trace_vmbus_message_in(event->name, event->id);
        break;
    case VMBUS_EVENT_MESSAGE_OUT:
        trace_vmbus_message_out(event->name, event->id);
        break;
    case VMBUS_EVENT_CHANNEL_OPENED:
        trace_vmbus_channel_opened(event->name, event->id);
        break;
    case VMBUS_EVENT_CHANNEL_CLOSED:
        trace_vmbus_channel_closed(event->name, event->id);
        break;
    case VMBUS_EVENT_REFUSED:
        trace_vmbus_refused(event->name, event->id, event->sentence);
        break;
    case VMBUS_EVENT_CORRUPT:
        trace_vmbus_corrupt(event->name, event->id, event->sentence);
        warn_limited(opaque, event->name, event->sentence);
        break;
    }
}

static const VmbusMachineOps bridge_ops = {
    .vp_exists = bridge_vp_exists,
    .post_message = bridge_post_message,
    .cancel_message = bridge_cancel_message,
    .prepare_signal = bridge_prepare_signal,
    .release_signal = bridge_release_signal,
    .signal = bridge_signal,
    .listen = bridge_listen,
    .unlisten = bridge_unlisten,
    .start = bridge_start,
    .stop = bridge_stop,
    .kick = bridge_kick,
    .call = bridge_call,
    .defer_close = bridge_defer_close,
    .listen_shared = bridge_listen_shared,
    .unlisten_shared = bridge_unlisten_shared,
    .map = bridge_map,
    .unmap = bridge_unmap,
    .mark_dirty = bridge_mark_dirty,
    .event = bridge_event,
};

static uint16_t receive_message(const struct hyperv_post_message_input *in,
                                void *opaque)
{
    HvBridge *bridge = opaque;

    if (in->message_type != HV_MESSAGE_VMBUS) {
        return HV_STATUS_INVALID_PARAMETER;
    }
    switch (vmbus_bus_post(bridge->bus,
                           in->connection_id & HV_CONNECTION_ID_MASK,
                           in->payload, in->payload_size)) {
    case VMBUS_POST_OK:
        return HV_STATUS_SUCCESS;
    case VMBUS_POST_BUSY:
        return HV_STATUS_INSUFFICIENT_BUFFERS;
    default:
        return HV_STATUS_INVALID_CONNECTION_ID;
    }
}

static const uint32_t message_connections[] = {
    VMBUS_MESSAGE_CONNECTION_ID,
    VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID,
};

static bool parse_version(const char *str, uint32_t *version)
{
    unsigned major, minor;
    char end;

    if (sscanf(str, "%u.%u%c", &major, &minor, &end) != 2 ||
        major > UINT16_MAX || minor > UINT16_MAX) {
        return false;
    }
    *version = major << 16 | minor;
    return vmbus_version_known(*version);
}

static bool check_machine(HvBridge *bridge, Error **errp)
{
    if (!vmbus_bridge_find()) {
        error_setg(errp, "a machine can have only one vmbus-bridge");
        return false;
    }
    if (!hyperv_is_synic_enabled()) {
        error_setg(errp, "vmbus-bridge needs the CPU flag hv-synic (and "
                         "hv-vpindex, which it depends on): add both to -cpu");
        return false;
    }
    return true;
}

static void release_connections(unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        hyperv_set_msg_handler(message_connections[i], NULL, NULL);
    }
}

static bool claim_connections(HvBridge *bridge, Error **errp)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(message_connections); i++) {
        if (hyperv_set_msg_handler(message_connections[i], receive_message,
                                   bridge)) {
            error_setg(errp,
                       "vmbus-bridge needs message connection %u, which "
                       "another device has: remove that device",
                       message_connections[i]);
            release_connections(i);
            return false;
        }
    }
    return true;
}

static void bridge_realize(DeviceState *dev, Error **errp)
{
    HvBridge *bridge = HV_BRIDGE(dev);
    uint32_t version = 0;

    if (!check_machine(bridge, errp)) {
        return;
    }
    if (bridge->max_version && !parse_version(bridge->max_version, &version)) {
        error_setg(errp,
                   "'%s' is not a VMBus version that this bridge has; "
                   "give one such as 5.3",
                   bridge->max_version);
        return;
    }
    if (!hyperv_are_vmbus_recommended_features_enabled()) {
        warn_report("some Windows versions start their VMBus driver only with "
                    "the CPU flags hv-stimer, hv-vapic and hv-runtime: add "
                    "them to -cpu");
    }
    if (!claim_connections(bridge, errp)) {
        return;
    }
    bridge->bus = vmbus_bus_new(&bridge_ops, bridge);
    if (version) {
        vmbus_bus_set_max_version(bridge->bus, version);
    }
    bridge->qbus = (HvBus *)qbus_new(TYPE_VMBUS, dev, "vmbus");
    qbus_set_hotplug_handler(BUS(bridge->qbus), OBJECT(bridge));
    bridge->runstate_entry = qdev_add_vm_change_state_handler(
        dev, hv_bridge_vm_state_changed, bridge);
}

static void bridge_unrealize(DeviceState *dev)
{
    HvBridge *bridge = HV_BRIDGE(dev);

    release_connections(ARRAY_SIZE(message_connections));
    vmbus_bus_free(bridge->bus);
    bridge->bus = NULL;
    drop_msg_route(bridge);
    qemu_del_vm_change_state_handler(bridge->runstate_entry);
}

static void bridge_reset_hold(Object *obj, ResetType type)
{
    HvBridge *bridge = HV_BRIDGE(obj);

    if (bridge->bus) {
        vmbus_bus_reset(bridge->bus);
    }
}

static void bridge_unplug_request(HotplugHandler *handler, DeviceState *dev,
                                  Error **errp)
{
    HvDevice *hv = VMBUS_DEVICE(dev);
    HvDeviceClass *hc = VMBUS_DEVICE_GET_CLASS(hv);

    if (hc->unplug_request) {
        hc->unplug_request(hv);
    } else {
        hv_device_request_unplug(hv);
    }
}

static void bridge_unplug(HotplugHandler *handler, DeviceState *dev,
                          Error **errp)
{
    qdev_unrealize(dev);
}

static char *bridge_unit_address(const SysBusDevice *dev)
{
    return g_strdup("0");
}

static const Property bridge_props[] = {
    DEFINE_PROP_UINT8("irq", VMBusBridge, irq, 7),
    DEFINE_PROP_STRING("max-version", HvBridge, max_version),
};

static void bridge_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    SysBusDeviceClass *sbc = SYS_BUS_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);
    HotplugHandlerClass *hc = HOTPLUG_HANDLER_CLASS(klass);

    dc->realize = bridge_realize;
    dc->unrealize = bridge_unrealize;
    dc->vmsd = &vmstate_hv_bridge;
    dc->desc = "Hyper-V VMBus";
    dc->fw_name = "vmbus";
    dc->user_creatable = true;
    set_bit(DEVICE_CATEGORY_BRIDGE, dc->categories);
    device_class_set_props(dc, bridge_props);
    sbc->explicit_ofw_unit_address = bridge_unit_address;
    rc->phases.hold = bridge_reset_hold;
    hc->unplug_request = bridge_unplug_request;
    hc->unplug = bridge_unplug;
}

static const TypeInfo bridge_type_info = {
    .name = TYPE_VMBUS_BRIDGE,
    .parent = TYPE_SYS_BUS_DEVICE,
    .instance_size = sizeof(HvBridge),
    .class_init = bridge_class_init,
    .interfaces = (InterfaceInfo[]){{TYPE_HOTPLUG_HANDLER}, {}},
};

static char *bus_dev_path(DeviceState *dev)
{
    char uuid[UUID_STR_LEN];

    qemu_uuid_unparse(&VMBUS_DEVICE(dev)->instanceid, uuid);
    return g_strdup_printf("vmbus/%s", uuid);
}

static char *bus_fw_dev_path(DeviceState *dev)
{
    char uuid[UUID_STR_LEN];

    qemu_uuid_unparse(&VMBUS_DEVICE(dev)->instanceid, uuid);
    return g_strdup_printf("%s@%s", qdev_fw_name(dev), uuid);
}

static void bus_class_init(ObjectClass *klass, void *data)
{
    BusClass *bc = BUS_CLASS(klass);

    bc->get_dev_path = bus_dev_path;
    bc->get_fw_dev_path = bus_fw_dev_path;
}

static const TypeInfo bus_type_info = {
    .name = TYPE_VMBUS,
    .parent = TYPE_BUS,
    .instance_size = sizeof(HvBus),
    .class_init = bus_class_init,
};

static void vmbus_register_types(void)
{
    type_register_static(&bridge_type_info);
    type_register_static(&bus_type_info);
}

type_init(vmbus_register_types)
