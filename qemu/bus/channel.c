/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening and closing a channel, and a device's view of it. */
#include "bus/bus-internal.h"

/* A control page and one page of data: the smallest ring. */
#define MIN_RING_PAGES 2u

/*
 * Some 200 ns, less than a tenth of what a signal costs the guest; measured by
 * bench/ring.
 */
#define LOOKS_WHEN_EMPTY 300

static void mark_dirty(void *opaque, VmbusMapping *mapping, uint64_t offset,
                       uint32_t len)
{
    VmbusBus *bus = opaque;

    bus->ops->mark_dirty(bus->opaque, mapping, offset, len);
}

void vmbus_channel_notify_guest(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;
    uint16_t flag = chan->event_flag;

    if (!chan->routed) {
        return;
    }
    if (bus->interrupt_page) {
        /* The one flag that older guests look at, before their page. */
        vmbus_interrupt_page_set(bus, chan->relid);
        flag = 0;
    }
    bus->ops->signal(bus->opaque, chan->route, flag);
}

static void signal_guest(VmbusChannel *chan, VmbusRingCommit commit,
                         VmbusRingCounters *counters)
{
    if (commit == VMBUS_COMMIT_NOTHING) {
        return;
    }
    if (commit == VMBUS_COMMIT_SIGNAL && chan->routed) {
        counters->signals_sent++;
        vmbus_channel_notify_guest(chan);
    } else {
        counters->signals_suppressed++;
    }
}

/* Opening */

/* Before 2.4 all interrupts go to VP 0, and the field is something else. */
static uint32_t target_of(const VmbusBus *bus, const VmbusMsgOpen *msg)
{
    return bus->interrupt_page ? 0 : msg->target_vp;
}

const char *vmbus_channel_validate_open(const VmbusChannel *chan,
                                        const VmbusMsgOpen *msg,
                                        const uint64_t **pages, uint32_t *count)
{
    const VmbusBus *bus = chan->bus;
    const VmbusGpadl *gpadl =
        vmbus_gpadl_find_for(&bus->gpadls, chan->relid, msg->gpadl);
    const char *why = NULL;

    if (chan->state == VMBUS_CHANNEL_RESCINDED) {
        return "The guest opened a channel that was withdrawn.";
    }
    if (chan->state != VMBUS_CHANNEL_OFFERED) {
        return "The guest opened a channel that it has not closed.";
    }
    if (!gpadl) {
        return "The GPADL of the rings does not exist.";
    }
    if (gpadl->relid != chan->relid) {
        return "The GPADL of the rings belongs to another channel.";
    }
    if (gpadl->tearing_down && !bus->gpadls.held) {
        return "The GPADL of the rings is being torn down.";
    }
    *pages = vmbus_gpadl_ring_pages(gpadl, count, &why);
    if (why) {
        return why;
    }
    if (*count < 2 * MIN_RING_PAGES ||
        msg->downstream_offset < MIN_RING_PAGES ||
        msg->downstream_offset > *count - MIN_RING_PAGES) {
        return "The offset of the ring to the guest is out of range.";
    }
    if (target_of(bus, msg) != VMBUS_VP_NONE &&
        !bus->ops->vp_exists(bus->opaque, target_of(bus, msg))) {
        return "The virtual processor for a channel does not exist.";
    }
    return NULL;
}

const char *vmbus_channel_map(VmbusChannel *chan, VmbusGpadl *gpadl,
                              const uint64_t *pages, uint32_t count)
{
    VmbusBus *bus = chan->bus;

    if (!chan->packet) {
        chan->packet = bus->gpadls.reallocate(NULL, VMBUS_MAX_PACKET_SIZE);
        if (!chan->packet) {
            return "There is no memory for a channel's packets.";
        }
    }
    chan->mapping = bus->ops->map(bus->opaque, pages, count);
    if (!chan->mapping) {
        return "The rings are not in the guest's memory.";
    }
    chan->gpadl = gpadl;
    gpadl->in_use = true;
    return NULL;
}

void vmbus_channel_ring_memory(VmbusChannel *chan, uint32_t offset,
                               VmbusRingMem *in, VmbusRingMem *out)
{
    uint32_t pages = chan->mapping->page_count;

    vmbus_ring_mem_init(in, chan->mapping, 0, offset, mark_dirty, chan->bus);
    vmbus_ring_mem_init(out, chan->mapping, offset, pages - offset, mark_dirty,
                        chan->bus);
}

static const char *set_up_rings(VmbusChannel *chan, uint32_t offset)
{
    VmbusRingMem in, out;
    const char *why;

    vmbus_channel_ring_memory(chan, offset, &in, &out);
    why = vmbus_ring_in_init(&chan->in, &in);
    return why ? why : vmbus_ring_out_init(&chan->out, &out);
}

const char *vmbus_channel_route(VmbusChannel *chan, uint32_t vp)
{
    VmbusBus *bus = chan->bus;

    chan->target_vp = vp;
    if (vp != VMBUS_VP_NONE) {
        if (!bus->ops->prepare_signal(bus->opaque, chan, vp, bus->sint,
                                      &chan->route)) {
            return "The machine cannot signal the channel's processor.";
        }
        chan->routed = true;
    }
    if (!bus->ops->listen(bus->opaque, chan, chan->signal_id)) {
        return "The machine cannot listen for the channel's signals.";
    }
    chan->listening = true;
    return NULL;
}

static const char *attach(VmbusChannel *chan, const VmbusMsgOpen *msg,
                          const uint64_t *pages, uint32_t count)
{
    VmbusGpadl *gpadl =
        vmbus_gpadl_find_for(&chan->bus->gpadls, chan->relid, msg->gpadl);
    const char *why = vmbus_channel_map(chan, gpadl, pages, count);

    if (!why) {
        why = set_up_rings(chan, msg->downstream_offset);
    }
    return why ? why : vmbus_channel_route(chan, target_of(chan->bus, msg));
}

void vmbus_channel_detach(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;
    VmbusGpadl *gpadl = chan->gpadl;

    if (chan->listening) {
        chan->listening = false;
        bus->ops->unlisten(bus->opaque, chan, chan->signal_id);
    }
    if (chan->routed) {
        chan->routed = false;
        bus->ops->release_signal(bus->opaque, chan, chan->route);
    }
    chan->target_vp = VMBUS_VP_NONE;
    if (chan->mapping) {
        bus->ops->unmap(bus->opaque, chan->mapping);
        chan->mapping = NULL;
    }
    chan->gpadl = NULL;
    if (gpadl) {
        gpadl->in_use = false;
        if (gpadl->tearing_down && !gpadl->maps) {
            vmbus_gpadl_tear_down(chan, gpadl);
        }
    }
}

/* Is another channel signalled by this connection id? */
static bool signal_id_taken(const VmbusChannel *chan, uint32_t id)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        const VmbusChannel *other = chan->bus->channels[i];

        if (other && other != chan && other->listening &&
            other->signal_id == id) {
            return true;
        }
    }
    return false;
}

const char *vmbus_channel_choose_signals(VmbusChannel *chan,
                                         const VmbusMsgOpen2 *msg)
{
    chan->signal_id = msg ? msg->connection_id : chan->connection_id;
    chan->event_flag = msg ? msg->event_flag : chan->relid;
    if (chan->event_flag >= VMBUS_RELID_COUNT) {
        return "The event flag for a channel is out of range.";
    }
    if (chan->signal_id < VMBUS_CONNECTION_ID_FIRST_FREE ||
        chan->signal_id > VMBUS_CONNECTION_ID_MASK) {
        return "The connection id for a channel is out of range.";
    }
    if (signal_id_taken(chan, chan->signal_id)) {
        return "The connection id for a channel is another one's.";
    }
    return NULL;
}

const char *vmbus_channel_open(VmbusChannel *chan, const VmbusMsgOpen *msg,
                               const VmbusMsgOpen2 *msg2)
{
    VmbusBus *bus = chan->bus;
    const uint64_t *pages = NULL;
    uint32_t count = 0;
    const char *why = vmbus_channel_validate_open(chan, msg, &pages, &count);
    bool accepted;

    if (!why) {
        why = vmbus_channel_choose_signals(chan, msg2);
    }
    if (why) {
        return why;
    }
    why = attach(chan, msg, pages, count);
    if (why) {
        vmbus_channel_detach(chan);
        return why;
    }
    chan->broken = false;
    chan->state = VMBUS_CHANNEL_OPEN;
    chan->opening = true;
    accepted = chan->ops->open(chan, chan->opaque);
    chan->opening = false;
    if (!accepted) {
        chan->state = VMBUS_CHANNEL_OFFERED;
        vmbus_channel_detach(chan);
        return "The device refused to open the channel.";
    }
    vmbus_bus_event(bus, VMBUS_EVENT_CHANNEL_OPENED, chan->offer.name,
                    chan->relid, "");
    if (chan->broken) {
        /* The guest hears that the open failed, so it will not close it. */
        vmbus_channel_close(chan, VMBUS_CHANNEL_OFFERED);
        return "The rings were corrupt when the channel was opened.";
    }
    if (chan->in.read != chan->in.write_seen) {
        /* Packets from before we listened; their signal went nowhere. */
        chan->ops->signal(chan, chan->opaque);
    }
    return NULL;
}

void vmbus_channel_close(VmbusChannel *chan, VmbusChannelState next)
{
    if (chan->state != VMBUS_CHANNEL_OPEN || chan->closing) {
        return;
    }
    chan->closing = true;
    vmbus_subchannels_drop(chan);
    chan->ops->close(chan, chan->opaque);
    chan->closing = false;
    chan->state = next;
    vmbus_channel_detach(chan);
    vmbus_bus_event(chan->bus, VMBUS_EVENT_CHANNEL_CLOSED, chan->offer.name,
                    chan->relid, "");
}

/* While the device is in open() or close(), its caller does the closing. */
void vmbus_channel_corrupt(VmbusChannel *chan, const char *why)
{
    chan->corruptions++;
    chan->corruption = why;
    chan->broken = true;
    vmbus_bus_event(chan->bus, VMBUS_EVENT_CORRUPT, chan->offer.name,
                    chan->relid, why);
    if (!chan->opening) {
        vmbus_channel_close(chan, VMBUS_CHANNEL_CORRUPT);
        /* A GPADL may have waited for this to be torn down. */
        vmbus_bus_pump(chan->bus);
    }
}

const char *vmbus_channel_retarget(VmbusChannel *chan, uint32_t vp)
{
    VmbusBus *bus = chan->bus;
    void *route = NULL;

    if (chan->state == VMBUS_CHANNEL_RESCINDED) {
        return "The guest modified a channel that was withdrawn.";
    }
    if (chan->state != VMBUS_CHANNEL_OPEN) {
        return "The guest modified a channel that is not open.";
    }
    /* Interrupts are switched off, or left off, by OPENCHANNEL alone. */
    if (!chan->routed) {
        return "The guest modified a channel that has interrupts off.";
    }
    if (vp == VMBUS_VP_NONE || !bus->ops->vp_exists(bus->opaque, vp)) {
        return "The virtual processor for a channel does not exist.";
    }
    if (!bus->ops->prepare_signal(bus->opaque, chan, vp, bus->sint, &route)) {
        return "The machine cannot signal the channel's processor.";
    }
    bus->ops->release_signal(bus->opaque, chan, chan->route);
    chan->route = route;
    chan->target_vp = vp;
    return NULL;
}

/* The device's side */

bool vmbus_channel_is_open(const VmbusChannel *chan)
{
    return chan->state == VMBUS_CHANNEL_OPEN && !chan->broken;
}

void *vmbus_channel_opaque(const VmbusChannel *chan)
{
    return chan->opaque;
}

void vmbus_channel_signalled(VmbusChannel *chan)
{
    chan->signals_received++;
    if (vmbus_channel_is_open(chan)) {
        chan->ops->signal(chan, chan->opaque);
    }
}

static void publish_read(VmbusChannel *chan)
{
    signal_guest(chan, vmbus_ring_in_commit(&chan->in), &chan->in_counters);
}

/*
 * The ring was empty: looks again for a moment, in which a guest that goes on
 * writing need not signal, and then asks for signals.
 */
static VmbusRingResult look_again(VmbusChannel *chan, const char **why)
{
    VmbusRingResult result = VMBUS_RING_EMPTY;

    for (int i = 0; i < LOOKS_WHEN_EMPTY && result == VMBUS_RING_EMPTY; i++) {
        result = vmbus_ring_in_poll(&chan->in, why);
    }
    if (result == VMBUS_RING_EMPTY) {
        vmbus_ring_in_mask(&chan->in, false);
        /* A packet that came while signals were masked had none. */
        result = vmbus_ring_in_poll(&chan->in, why);
        if (result == VMBUS_RING_OK) {
            vmbus_ring_in_mask(&chan->in, true);
        }
    }
    return result;
}

VmbusRingResult vmbus_channel_receive(VmbusChannel *chan, VmbusPacket *pkt)
{
    VmbusRingResult result;
    const char *why = NULL;
    uint32_t len;

    if (!vmbus_channel_is_open(chan)) {
        return VMBUS_RING_CLOSED;
    }
    vmbus_ring_in_mask(&chan->in, true);
    result = vmbus_ring_in_take(&chan->in, chan->packet, VMBUS_MAX_PACKET_SIZE,
                                &len, &why);
    if (result == VMBUS_RING_EMPTY) {
        publish_read(chan);
        result = look_again(chan, &why);
        if (result == VMBUS_RING_EMPTY) {
            return VMBUS_RING_EMPTY;
        }
        if (result == VMBUS_RING_OK) {
            result = vmbus_ring_in_take(&chan->in, chan->packet,
                                        VMBUS_MAX_PACKET_SIZE, &len, &why);
        }
    }
    if (result == VMBUS_RING_OK) {
        why = vmbus_packet_parse(chan->packet, len, pkt);
        if (why) {
            result = VMBUS_RING_CORRUPT;
        }
    }
    if (result == VMBUS_RING_CORRUPT) {
        vmbus_channel_corrupt(chan, why);
        return result;
    }
    chan->in_counters.packets++;
    chan->in_counters.bytes += pkt->data_len;
    return VMBUS_RING_OK;
}

void vmbus_channel_flush(VmbusChannel *chan)
{
    if (vmbus_channel_is_open(chan)) {
        signal_guest(chan, vmbus_ring_out_commit(&chan->out),
                     &chan->out_counters);
    }
}

static VmbusRingResult find_room(VmbusChannel *chan, uint32_t total,
                                 const char **why)
{
    VmbusRingResult result = vmbus_ring_out_room(&chan->out, total, why);

    if (result != VMBUS_RING_FULL) {
        return result;
    }
    /*
     * The guest must know of all packets before it computes its free space,
     * and it may be waiting for room itself before it reads ours.
     */
    vmbus_channel_flush(chan);
    publish_read(chan);
    result = vmbus_ring_out_wait(&chan->out, total, why);
    if (result == VMBUS_RING_FULL) {
        chan->out_counters.full++;
    }
    return result;
}

VmbusRingResult vmbus_channel_send(VmbusChannel *chan, uint16_t type,
                                   uint16_t flags, uint64_t trans_id,
                                   const struct iovec *iov, int iovcnt)
{
    const uint32_t head = sizeof(VmbusPacketDescriptor);
    VmbusPacketDescriptor desc;
    VmbusRingResult result;
    const char *why = NULL;
    size_t len = 0;

    if (!vmbus_channel_is_open(chan)) {
        return VMBUS_RING_CLOSED;
    }
    for (int i = 0; i < iovcnt; i++) {
        /* Lengths are 16 bits of 8 bytes on the wire. */
        if (iov[i].iov_len > UINT16_MAX * 8u - head - len) {
            return VMBUS_RING_TOO_LARGE;
        }
        len += iov[i].iov_len;
    }
    desc = (VmbusPacketDescriptor){
        .type = type,
        .offset8 = head / 8,
        .len8 = (head + len + 7) / 8,
        .flags = flags,
        .trans_id = trans_id,
    };
    result = find_room(chan, desc.len8 * 8u + sizeof(VmbusPacketTrailer), &why);
    if (result == VMBUS_RING_CORRUPT) {
        vmbus_channel_corrupt(chan, why);
    }
    if (result != VMBUS_RING_OK) {
        return result;
    }
    vmbus_ring_out_put(&chan->out, &desc, iov, iovcnt);
    chan->out_counters.packets++;
    chan->out_counters.bytes += len;
    return VMBUS_RING_OK;
}

void vmbus_channel_info(const VmbusChannel *chan, VmbusChannelInfo *info)
{
    bool open = chan->mapping;

    *info = (VmbusChannelInfo){
        .offer = chan->offer,
        .subchannel_index = chan->index,
        .state = chan->state,
        .reserved = chan->reserved,
        .relid = chan->relid,
        .connection_id =
            chan->listening ? chan->signal_id : chan->connection_id,
        .target_vp = chan->target_vp,
        .in_size = open ? chan->in.mem.size : 0,
        .out_size = open ? chan->out.mem.size : 0,
        .signals_received = chan->signals_received,
        .in = chan->in_counters,
        .out = chan->out_counters,
        .corruptions = chan->corruptions,
        .corruption = chan->corruption,
    };
}
