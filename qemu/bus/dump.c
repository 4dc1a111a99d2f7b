/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/bus-internal.h"
#include "bus/dump.h"

static uint32_t load(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static VmbusDumpControl read_control(const VmbusChannel *chan,
                                     VmbusDumpRing which)
{
    const VmbusRingMem *mem =
        which == VMBUS_DUMP_TO_HOST ? &chan->in.mem : &chan->out.mem;
    VmbusDumpControl control = {
        .size = mem->size,
        .write_index = load(&mem->control->write_index),
        .read_index = load(&mem->control->read_index),
        .interrupt_mask = load(&mem->control->interrupt_mask),
        .pending_send_size = load(&mem->control->pending_send_size),
        .feature_bits = load(&mem->control->feature_bits),
    };

    /* Of the two indexes one is ours, and ours is not what the page says. */
    if (which == VMBUS_DUMP_TO_HOST) {
        control.host_index = control.first = chan->in.read;
        control.end = control.write_index;
    } else {
        control.first = control.read_index;
        control.host_index = control.end = chan->out.write;
    }
    return control;
}

/* Returns the bytes that the packet takes, or 0 with a sentence in @why. */
static uint32_t read_packet(const VmbusRingMem *mem, uint32_t index,
                            uint32_t avail, VmbusDumpPacket *packet,
                            const char **why)
{
    const uint32_t trailer = sizeof(VmbusPacketTrailer);
    VmbusPacketDescriptor desc;

    if (avail < sizeof(desc) + trailer) {
        *why = "The ring holds less than the smallest packet.";
        return 0;
    }
    vmbus_ring_peek(mem, index, &desc, sizeof(desc));
    *why = vmbus_ring_check_packet(&desc, avail, UINT32_MAX);
    if (*why) {
        return 0;
    }
    *packet = (VmbusDumpPacket){
        .index = index,
        .type = desc.type,
        .flags = desc.flags,
        .header_len = desc.offset8 * 8u,
        .len = desc.len8 * 8u,
        .trans_id = desc.trans_id,
    };
    packet->shown = MIN(packet->len - sizeof(desc), VMBUS_DUMP_BYTES);
    vmbus_ring_peek(mem, vmbus_ring_advance(mem, index, sizeof(desc)),
                    packet->bytes, packet->shown);
    return packet->len + trailer;
}

static const char *dump_packets(const VmbusRingMem *mem,
                                const VmbusDumpControl *control,
                                VmbusDumpFn *emit, void *opaque)
{
    uint32_t index = control->first, avail;
    const char *why = NULL;

    if (!vmbus_ring_index_valid(mem, control->first) ||
        !vmbus_ring_index_valid(mem, control->end)) {
        return "The guest's index is out of range.";
    }
    avail = vmbus_ring_distance(mem, control->first, control->end);
    for (uint32_t i = 0; avail; i++) {
        VmbusDumpPacket packet;
        uint32_t taken;

        if (i == VMBUS_DUMP_PACKETS) {
            return "There are more packets than a dump shows.";
        }
        taken = read_packet(mem, index, avail, &packet, &why);
        if (!taken) {
            return why;
        }
        emit(opaque, NULL, &packet, NULL);
        index = vmbus_ring_advance(mem, index, taken);
        avail -= taken;
    }
    return NULL;
}

typedef struct Dump {
    const VmbusChannel *chan;
    VmbusDumpRing which;
    VmbusDumpFn *emit;
    void *opaque;
} Dump;

static void dump_ring(void *arg)
{
    const Dump *dump = arg;
    const VmbusChannel *chan = dump->chan;
    VmbusDumpControl control = read_control(chan, dump->which);
    const char *why;

    dump->emit(dump->opaque, &control, NULL, NULL);
    why = dump_packets(dump->which == VMBUS_DUMP_TO_HOST ? &chan->in.mem
                                                         : &chan->out.mem,
                       &control, dump->emit, dump->opaque);
    if (why) {
        dump->emit(dump->opaque, NULL, NULL, why);
    }
}

const char *vmbus_channel_dump(const VmbusChannel *chan, VmbusDumpRing which,
                               VmbusDumpFn *emit, void *opaque)
{
    Dump dump = {chan, which, emit, opaque};

    if (!chan->mapping) {
        return "The channel is closed: it has no rings.";
    }
    vmbus_channel_call(chan, dump_ring, &dump);
    vmbus_bus_pump(chan->bus);
    return NULL;
}
