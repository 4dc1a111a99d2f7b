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

/* Nobody else writes it; whoever reads it sees all of it. */
static void count(uint64_t *counter, uint64_t by)
{
    __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static void signal_guest(VmbusChannel *chan, VmbusRingCommit commit,
                         VmbusRingCounters *counters)
{
    if (commit == VMBUS_COMMIT_NOTHING) {
        return;
    }
    if (commit == VMBUS_COMMIT_SIGNAL && chan->routed) {
        count(&counters->signals_sent, 1);
        vmbus_channel_notify_guest(chan);
    } else {
        count(&counters->signals_suppressed, 1);
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
    if (!bus->ops->listen(bus->opaque, chan, chan->signal_id,
                          &chan->listener)) {
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
        bus->ops->unlisten(bus->opaque, chan->listener);
        chan->listener = NULL;
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

void vmbus_channel_opened(VmbusChannel *chan)
{
    __atomic_store_n(&chan->broken, false, __ATOMIC_RELAXED);
    chan->told = false;
    chan->own_kick = false;
    chan->state = VMBUS_CHANNEL_OPEN;
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
    chan->fault = NULL;
    chan->old_fault = false;
    vmbus_channel_opened(chan);
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
    if (vmbus_channel_broken(chan)) {
        /* The guest hears that the open failed, so it will not close it. */
        vmbus_channel_close(chan, VMBUS_CHANNEL_OFFERED);
        return "The rings were corrupt when the channel was opened.";
    }
    if (chan->in.read != chan->in.write_seen) {
        /* Packets from before we listened; their signal went nowhere. */
        vmbus_channel_kick(chan);
    }
    vmbus_channel_start(chan);
    return NULL;
}

static void tell_corrupt(VmbusChannel *chan)
{
    if (vmbus_channel_broken(chan) && !chan->told) {
        chan->told = true;
        vmbus_bus_event(chan->bus, VMBUS_EVENT_CORRUPT, chan->offer.name,
                        chan->relid, chan->corruption ? chan->corruption : "");
    }
}

void vmbus_channel_close(VmbusChannel *chan, VmbusChannelState next)
{
    VmbusBus *bus = chan->bus;

    if (chan->state != VMBUS_CHANNEL_OPEN || chan->closing) {
        return;
    }
    chan->closing = true;
    tell_corrupt(chan);
    bus->waits++;
    vmbus_subchannels_drop(chan);
    vmbus_channel_stop(chan);
    chan->ops->close(chan, chan->opaque);
    bus->waits--;
    /* A request of the device may have been the one to find it. */
    tell_corrupt(chan);
    chan->closing = false;
    chan->state = next;
    vmbus_channel_detach(chan);
    vmbus_bus_event(bus, VMBUS_EVENT_CHANNEL_CLOSED, chan->offer.name,
                    chan->relid, "");
}

void vmbus_channel_break(VmbusChannel *chan, const char *why)
{
    if (why) {
        count(&chan->corruptions, 1);
        __atomic_store_n(&chan->corruption, why, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&chan->broken, true, __ATOMIC_RELEASE);
}

/* On the channel's thread; during open() its caller does the closing. */
static void found_corrupt(VmbusChannel *chan, const char *why)
{
    vmbus_channel_break(chan, why);
    if (!chan->opening) {
        chan->bus->ops->defer_close(chan->bus->opaque, chan->listener);
    }
}

typedef struct Reroute {
    VmbusChannel *chan;
    void *route;
} Reroute;

static void reroute(void *arg)
{
    Reroute *change = arg;

    change->chan->route = change->route;
}

const char *vmbus_channel_retarget(VmbusChannel *chan, uint32_t vp)
{
    VmbusBus *bus = chan->bus;
    Reroute change = {.chan = chan};
    void *old = chan->route;

    if (chan->state == VMBUS_CHANNEL_RESCINDED) {
        return "The guest modified a channel that was withdrawn.";
    }
    if (!vmbus_channel_is_open(chan)) {
        return "The guest modified a channel that is not open.";
    }
    /* Interrupts are switched off, or left off, by OPENCHANNEL alone. */
    if (!chan->routed) {
        return "The guest modified a channel that has interrupts off.";
    }
    if (vp == VMBUS_VP_NONE || !bus->ops->vp_exists(bus->opaque, vp)) {
        return "The virtual processor for a channel does not exist.";
    }
    if (!bus->ops->prepare_signal(bus->opaque, chan, vp, bus->sint,
                                  &change.route)) {
        return "The machine cannot signal the channel's processor.";
    }
    /* Its thread may be about to signal. */
    vmbus_channel_call(chan, reroute, &change);
    bus->ops->release_signal(bus->opaque, chan, old);
    chan->target_vp = vp;
    return NULL;
}

/* The device's side */

bool vmbus_channel_is_open(const VmbusChannel *chan)
{
    return chan->state == VMBUS_CHANNEL_OPEN && !vmbus_channel_broken(chan);
}

void *vmbus_channel_opaque(const VmbusChannel *chan)
{
    return chan->opaque;
}

void vmbus_channel_signalled(VmbusChannel *chan)
{
    if (chan->own_kick) {
        chan->own_kick = false;
    } else {
        count(&chan->signals_received, 1);
    }
    if (vmbus_channel_is_open(chan)) {
        chan->ops->signal(chan, chan->opaque);
    }
}

bool vmbus_channel_has_packet(const VmbusChannel *chan)
{
    /* While it is masked, the device waits for something else. */
    return vmbus_channel_is_open(chan) && !chan->in.masked &&
           vmbus_ring_in_ready(&chan->in);
}

void vmbus_channel_polled(VmbusChannel *chan)
{
    if (vmbus_channel_is_open(chan)) {
        chan->ops->signal(chan, chan->opaque);
    }
}

void vmbus_channel_set_polled(VmbusChannel *chan, bool polled)
{
    if (vmbus_channel_is_open(chan)) {
        vmbus_ring_in_set_polled(&chan->in, polled);
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
        found_corrupt(chan, why);
        return result;
    }
    count(&chan->in_counters.packets, 1);
    count(&chan->in_counters.bytes, pkt->data_len);
    return VMBUS_RING_OK;
}

void vmbus_channel_hold(VmbusChannel *chan)
{
    if (vmbus_channel_is_open(chan)) {
        vmbus_ring_in_mask(&chan->in, true);
    }
}

void vmbus_channel_flush(VmbusChannel *chan)
{
    if (!vmbus_channel_is_open(chan)) {
        return;
    }
    /*
     * A guest that gets an answer counts on the room that the question took:
     * Linux's services never try again when their ring is full.
     */
    publish_read(chan);
    signal_guest(chan, vmbus_ring_out_commit(&chan->out), &chan->out_counters);
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
    result = vmbus_ring_out_wait(&chan->out, total, why);
    if (result == VMBUS_RING_FULL) {
        count(&chan->out_counters.full, 1);
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
        found_corrupt(chan, why);
    }
    if (result != VMBUS_RING_OK) {
        return result;
    }
    vmbus_ring_out_put(&chan->out, &desc, iov, iovcnt);
    count(&chan->out_counters.packets, 1);
    count(&chan->out_counters.bytes, len);
    return VMBUS_RING_OK;
}

void vmbus_channel_info(const VmbusChannel *chan, VmbusChannelInfo *info)
{
    bool open = chan->mapping;
    bool broken =
        chan->state == VMBUS_CHANNEL_OPEN && vmbus_channel_broken(chan);

    *info = (VmbusChannelInfo){
        .offer = chan->offer,
        .subchannel_index = chan->index,
        .state = broken ? VMBUS_CHANNEL_CORRUPT : chan->state,
        .reserved = chan->reserved,
        .relid = chan->relid,
        .connection_id =
            chan->listening ? chan->signal_id : chan->connection_id,
        .target_vp = chan->target_vp,
        .in_size = open ? chan->in.mem.size : 0,
        .out_size = open ? chan->out.mem.size : 0,
        .signals_received =
            __atomic_load_n(&chan->signals_received, __ATOMIC_RELAXED),
        .in = vmbus_channel_counters(&chan->in_counters),
        .out = vmbus_channel_counters(&chan->out_counters),
        .corruptions = __atomic_load_n(&chan->corruptions, __ATOMIC_RELAXED),
        .corruption = __atomic_load_n(&chan->corruption, __ATOMIC_RELAXED),
    };
}
