/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-echo: sends each packet back as its completion.  A device for tests, as
 * pc-testdev is: no guest has a driver for it.  It shows how a device runs its
 * channel in an IOThread.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/qdev-properties.h"
#include "system/iothread.h"
#include "bus/vmbus-protocol.h"
#include "devices/echo-protocol.h"
#include "hv-bridge.h"
#include "hv-listen.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_ECHO "hv-echo"
OBJECT_DECLARE_SIMPLE_TYPE(HvEcho, HV_ECHO)

/* In one turn: a guest that goes on writing would have the thread else. */
#define MAX_PACKETS 256

/* In a state: whether a packet is owed, its transaction id, its data. */
#define STATE_HEAD (1 + sizeof(uint64_t))

struct HvEcho {
    HvDevice parent_obj;

    IOThread *iothread; /* NULL: the main loop */

    /* The channel's thread, or the big lock while that rests. */
    bool owes; /* what is below is to be sent back; there was no room */
    uint64_t trans_id;
    uint32_t len;
    uint8_t data[VMBUS_MAX_PACKET_SIZE];
};

static AioContext *echo_context(HvEcho *echo)
{
    return echo->iothread ? iothread_get_aio_context(echo->iothread)
                          : qemu_get_aio_context();
}

static bool echo_open(VmbusChannel *chan, void *opaque)
{
    HvEcho *echo = opaque;

    echo->owes = false;
    hv_channel_set_aio_context(chan, echo_context(echo));
    return true;
}

/* Nothing of the device is under way when signal() has returned. */
static void echo_close(VmbusChannel *chan, void *opaque)
{
    HvEcho *echo = opaque;

    echo->owes = false;
}

static VmbusRingResult send_back(HvEcho *echo, VmbusChannel *chan)
{
    struct iovec iov = {echo->data, echo->len};
    VmbusRingResult result =
        vmbus_channel_send(chan, VMBUS_PKT_COMP, 0, echo->trans_id, &iov, 1);

    echo->owes = result == VMBUS_RING_FULL;
    return result;
}

static bool take(HvEcho *echo, VmbusChannel *chan)
{
    VmbusPacket pkt;

    if (vmbus_channel_receive(chan, &pkt) != VMBUS_RING_OK) {
        return false;
    }
    echo->trans_id = pkt.trans_id;
    echo->len = pkt.data_len;
    memcpy(echo->data, pkt.data, pkt.data_len);
    return true;
}

static void echo_signal(VmbusChannel *chan, void *opaque)
{
    HvEcho *echo = opaque;
    unsigned packets = 0;

    /* The point of an IOThread; a mistake here would deadlock some day. */
    g_assert(bql_locked() == !echo->iothread);
    while (packets < MAX_PACKETS && (echo->owes || take(echo, chan)) &&
           send_back(echo, chan) == VMBUS_RING_OK) {
        packets++;
    }
    vmbus_channel_flush(chan);
    if (packets == MAX_PACKETS) {
        vmbus_channel_again(chan);
    }
    trace_hv_echo(vmbus_channel_index(chan), packets, echo->owes);
}

static const VmbusChannelOps echo_channel_ops = {
    .open = echo_open,
    .close = echo_close,
    .signal = echo_signal,
};

static const VmbusOffer echo_offer = {
    .name = "echo",
    .class_id = ECHO_CLASS,
    .instance_id = ECHO_INSTANCE,
};

static void *echo_create(HvDevice *dev, Error **errp)
{
    HvEcho *echo = HV_ECHO(dev);

    if (echo->iothread) {
        object_ref(OBJECT(echo->iothread));
    }
    return echo;
}

static void echo_destroy(HvDevice *dev)
{
    HvEcho *echo = HV_ECHO(dev);

    if (echo->iothread) {
        object_unref(OBJECT(echo->iothread));
    }
}

static GByteArray *echo_save(HvDevice *dev)
{
    HvEcho *echo = HV_ECHO(dev);
    GByteArray *blob = g_byte_array_new();
    uint64_t trans_id = cpu_to_le64(echo->trans_id);
    uint8_t owes = echo->owes;

    g_byte_array_append(blob, &owes, sizeof(owes));
    g_byte_array_append(blob, (uint8_t *)&trans_id, sizeof(trans_id));
    g_byte_array_append(blob, echo->data, echo->owes ? echo->len : 0);
    return blob;
}

static const char *echo_load(HvDevice *dev, const void *data, size_t len)
{
    HvEcho *echo = HV_ECHO(dev);
    const uint8_t *from = data;

    if (len < STATE_HEAD || from[0] > 1 ||
        len - STATE_HEAD > (from[0] ? sizeof(echo->data) : 0)) {
        return "this is not the state of an echo device";
    }
    echo->owes = from[0];
    echo->trans_id = ldq_le_p(from + 1);
    echo->len = len - STATE_HEAD;
    memcpy(echo->data, from + STATE_HEAD, echo->len);
    if (dev->chan && vmbus_channel_is_open(dev->chan)) {
        hv_channel_set_aio_context(dev->chan, echo_context(echo));
    }
    return NULL;
}

static void echo_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
}

static const Property echo_props[] = {
    DEFINE_PROP_LINK("iothread", HvEcho, iothread, TYPE_IOTHREAD, IOThread *),
};

static void echo_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V echo device for tests";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, echo_props);
    hc->offer = &echo_offer;
    hc->channel_ops = &echo_channel_ops;
    hc->create = echo_create;
    hc->destroy = echo_destroy;
    hc->save = echo_save;
    hc->load = echo_load;
    hc->describe = echo_describe;
}

static const TypeInfo echo_type_info = {
    .name = TYPE_HV_ECHO,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvEcho),
    .class_init = echo_class_init,
};

static void echo_register_types(void)
{
    type_register_static(&echo_type_info);
}

type_init(echo_register_types)
