/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-vmbus, and its HMP face `info vmbus`.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/util.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "bus/vmbus-protocol.h"
#include "devices/ic.h"
#include "hv-bridge.h"

static const VMBusChannelState qapi_states[] = {
    [VMBUS_CHANNEL_IDLE] = VM_BUS_CHANNEL_STATE_IDLE,
    [VMBUS_CHANNEL_OFFERED] = VM_BUS_CHANNEL_STATE_OFFERED,
    [VMBUS_CHANNEL_OPEN] = VM_BUS_CHANNEL_STATE_OPEN,
    [VMBUS_CHANNEL_CORRUPT] = VM_BUS_CHANNEL_STATE_CORRUPT,
    [VMBUS_CHANNEL_RESCINDED] = VM_BUS_CHANNEL_STATE_RESCINDED,
};

static VMBusRingInfo *describe_ring(uint32_t size, const VmbusRingCounters *c)
{
    VMBusRingInfo *info = g_new0(VMBusRingInfo, 1);

    info->size = size;
    info->packets = c->packets;
    info->bytes = c->bytes;
    info->signals_sent = c->signals_sent;
    info->signals_suppressed = c->signals_suppressed;
    info->full = c->full;
    return info;
}

static VMBusChannelInfo *describe_channel(VmbusChannel *chan)
{
    VMBusChannelInfo *info = g_new0(VMBusChannelInfo, 1);
    VmbusChannelInfo c;

    vmbus_channel_info(chan, &c);
    info->relid = c.relid;
    info->connection_id = c.connection_id;
    info->subchannel = c.subchannel_index;
    info->reserved = c.reserved;
    info->state = qapi_states[c.state];
    if (c.state == VMBUS_CHANNEL_OPEN && c.target_vp != VMBUS_VP_NONE) {
        info->has_target_vp = true;
        info->target_vp = c.target_vp;
    }
    info->signals_received = c.signals_received;
    info->in = describe_ring(c.in_size, &c.in);
    info->out = describe_ring(c.out_size, &c.out);
    info->corruptions = c.corruptions;
    info->corruption = g_strdup(c.corruption);
    return info;
}

void hv_describe_service(VMBusDeviceInfo *info, const IcPort *port)
{
    info->service = g_new0(VMBusServiceInfo, 1);
    info->service->sent = port->sent;
    info->service->answered = port->answered;
    info->service->refused = port->refused;
    info->service->last_refusal = g_strdup(port->last_refusal);
}

static char *guid_string(const VmbusGuid *guid)
{
    char text[VMBUS_GUID_STRLEN + 1];

    return g_strdup(vmbus_guid_format(guid, text));
}

typedef struct ChannelsOf {
    HvBridge *bridge;
    VmbusChannel *primary; /* NULL: of no device */
    VMBusChannelInfoList **tail;
} ChannelsOf;

static void add_channel(VmbusChannel *chan, void *opaque)
{
    ChannelsOf *of = opaque;
    VmbusChannel *primary = vmbus_channel_primary(chan);

    if (primary && !hv_bridge_find_device(of->bridge, primary)) {
        primary = NULL;
    }
    if (primary == of->primary) {
        QAPI_LIST_APPEND(of->tail, describe_channel(chan));
    }
}

static VMBusChannelInfoList *describe_channels(HvBridge *bridge,
                                               VmbusChannel *primary)
{
    VMBusChannelInfoList *list = NULL;
    ChannelsOf of = {bridge, primary, &list};

    vmbus_bus_foreach(hv_bridge_bus(bridge), add_channel, &of);
    return list;
}

static VMBusDeviceInfo *describe_device(HvDevice *dev)
{
    HvDeviceClass *hc = VMBUS_DEVICE_GET_CLASS(dev);
    VMBusDeviceInfo *info = g_new0(VMBusDeviceInfo, 1);
    VmbusChannelInfo c;

    vmbus_channel_info(dev->chan, &c);
    info->id = g_strdup(DEVICE(dev)->id);
    info->qom_path = object_get_canonical_path(OBJECT(dev));
    info->driver = g_strdup(object_get_typename(OBJECT(dev)));
    info->class_id = guid_string(&c.offer.class_id);
    info->instance_id = guid_string(&c.offer.instance_id);
    info->channels = describe_channels(hv_device_bridge(dev), dev->chan);
    hc->describe(dev, info);
    return info;
}

static VMBusDeviceInfoList *describe_devices(HvBridge *bridge)
{
    BusState *qbus = QLIST_FIRST(&DEVICE(bridge)->child_bus);
    VMBusDeviceInfoList *list = NULL;
    BusChild *kid;

    /* The newest child comes first on a bus, so prepending restores the
     * order in which the devices were made. */
    QTAILQ_FOREACH(kid, &qbus->children, sibling) {
        HvDevice *dev = VMBUS_DEVICE(kid->child);

        if (dev->chan) {
            QAPI_LIST_PREPEND(list, describe_device(dev));
        }
    }
    return list;
}

VMBusInfo *qmp_query_vmbus(Error **errp)
{
    VMBusInfo *info = g_new0(VMBusInfo, 1);
    HvBridge *bridge = hv_bridge_find();
    VmbusBusInfo b;

    if (!bridge) {
        return info;
    }
    vmbus_bus_info(hv_bridge_bus(bridge), &b);
    info->present = true;
    info->connected = b.state == VMBUS_CONNECTED;
    info->max_version = g_strdup(hv_bridge_max_version(bridge));
    if (info->connected) {
        info->version = hv_version_string(b.version);
        info->has_target_vp = true;
        info->target_vp = b.target_vp;
        info->has_message_sint = true;
        info->message_sint = b.message_sint;
    }
    info->gpadls = b.gpadl_count;
    info->connects = b.connects;
    info->messages_in = b.messages_in;
    info->messages_out = b.messages_out;
    info->messages_refused = b.messages_refused;
    info->devices = describe_devices(bridge);
    info->withdrawn = describe_channels(bridge, NULL);
    return info;
}

static void print_channel(Monitor *mon, const VMBusChannelInfo *c)
{
    monitor_printf(mon, "  %s %u: %s, connection 0x%x",
                   c->subchannel ? "sub-channel" : "channel", c->relid,
                   VMBusChannelState_str(c->state), c->connection_id);
    if (c->has_target_vp) {
        monitor_printf(mon, ", VP %u", c->target_vp);
    }
    monitor_printf(mon, ", %" PRIu64 " signals received\n",
                   c->signals_received);
    monitor_printf(mon,
                   "    in:  %u bytes, %" PRIu64 " packets, %" PRIu64
                   " signals sent\n",
                   c->in->size, c->in->packets, c->in->signals_sent);
    monitor_printf(mon,
                   "    out: %u bytes, %" PRIu64 " packets, %" PRIu64
                   " signals sent, %" PRIu64 " times full\n",
                   c->out->size, c->out->packets, c->out->signals_sent,
                   c->out->full);
    if (c->corruption) {
        monitor_printf(mon, "    corrupt %" PRIu64 " times: %s\n",
                       c->corruptions, c->corruption);
    }
}

static void print_device(Monitor *mon, const VMBusDeviceInfo *dev)
{
    VMBusChannelInfoList *c;

    monitor_printf(mon, "%s%s%s\n  class %s, instance %s\n", dev->driver,
                   dev->id ? " " : "", dev->id ? dev->id : "", dev->class_id,
                   dev->instance_id);
    if (dev->heartbeat) {
        monitor_printf(mon, "  heartbeat: %s, applications %s\n",
                       VMBusHeartbeatState_str(dev->heartbeat->state),
                       VMBusApplicationState_str(dev->heartbeat->application));
    }
    if (dev->shutdown) {
        monitor_printf(mon, "  shutdown: %s\n",
                       VMBusShutdownState_str(dev->shutdown->state));
    }
    if (dev->timesync) {
        monitor_printf(mon, "  time: %s\n",
                       VMBusTimesyncState_str(dev->timesync->state));
    }
    if (dev->vss) {
        monitor_printf(mon, "  backup: %s, service %s\n",
                       VMBusVssState_str(dev->vss->state),
                       VMBusVssService_str(dev->vss->service));
    }
    if (dev->service) {
        monitor_printf(mon,
                       "  %" PRIu64 " requests sent, %" PRIu64
                       " answered, %" PRIu64 " packets refused%s%s\n",
                       dev->service->sent, dev->service->answered,
                       dev->service->refused,
                       dev->service->last_refusal ? "; the last time: " : "",
                       dev->service->last_refusal ?: "");
    }
    for (c = dev->channels; c; c = c->next) {
        print_channel(mon, c->value);
    }
}

static void hmp_info_vmbus(Monitor *mon, const QDict *qdict)
{
    g_autoptr(VMBusInfo) info = qmp_query_vmbus(&error_abort);
    VMBusDeviceInfoList *dev;
    VMBusChannelInfoList *chan;

    if (!info->present) {
        monitor_printf(mon, "The machine has no VMBus.\n");
        return;
    }
    if (info->connected) {
        monitor_printf(mon, "VMBus %s, messages to VP %u SINT %u, ",
                       info->version, info->target_vp, info->message_sint);
    } else {
        monitor_printf(mon, "VMBus, no guest connected, ");
    }
    monitor_printf(mon,
                   "%u GPADLs, messages: %" PRIu64 " in, %" PRIu64
                   " out, %" PRIu64 " refused\n",
                   info->gpadls, info->messages_in, info->messages_out,
                   info->messages_refused);
    for (dev = info->devices; dev; dev = dev->next) {
        print_device(mon, dev->value);
    }
    if (info->withdrawn) {
        monitor_printf(mon, "withdrawn, and kept by the guest\n");
    }
    for (chan = info->withdrawn; chan; chan = chan->next) {
        print_channel(mon, chan->value);
    }
}

static void vmbus_register_hmp(void)
{
    monitor_register_hmp("vmbus", true, hmp_info_vmbus);
}

type_init(vmbus_register_hmp)
