/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What always holds between two calls of the bus. */
#include "bus/bus-internal.h"

typedef struct RingCheck {
    const VmbusChannel *chan;
    const char *why;
} RingCheck;

static void check_rings(void *arg)
{
    RingCheck *check = arg;

    check->why = vmbus_ring_in_check(&check->chan->in);
    if (!check->why) {
        check->why = vmbus_ring_out_check(&check->chan->out);
    }
}

static const char *check_closed(const VmbusChannel *chan)
{
    if (chan->mapping || chan->gpadl || chan->routed || chan->listening ||
        chan->listener || chan->started) {
        return "A channel that is not open holds what an open one does.";
    }
    if (chan->target_vp != VMBUS_VP_NONE) {
        return "A channel that is not open has a processor.";
    }
    return NULL;
}

static const char *check_open(const VmbusChannel *chan)
{
    if (!chan->mapping || !chan->gpadl || !chan->listening || !chan->packet) {
        return "An open channel lacks what it needs.";
    }
    if (chan->routed != (chan->target_vp != VMBUS_VP_NONE)) {
        return "A channel's route and processor disagree.";
    }
    if (!chan->gpadl->in_use || chan->gpadl->relid != chan->relid ||
        vmbus_gpadl_find_for(&chan->bus->gpadls, chan->relid,
                             chan->gpadl->id) != chan->gpadl) {
        return "An open channel has the GPADL of another.";
    }
    if ((chan->in.mem.size + chan->out.mem.size) / VMBUS_PAGE_SIZE + 2 !=
        chan->mapping->page_count) {
        return "A channel's rings are not those of its mapping.";
    }
    if (chan->started == (chan->bus->held || chan->bus->quiet)) {
        return "A channel is at work in a machine that is not, or the reverse.";
    }
    return NULL;
}

static const char *check_reserved(const VmbusChannel *chan)
{
    if (chan->outlived && !chan->reserved) {
        return "A channel has outlived its connection and is not reserved.";
    }
    if (chan->reserved && chan->state != VMBUS_CHANNEL_OPEN &&
        chan->state != VMBUS_CHANNEL_CORRUPT) {
        return "A channel is reserved that is not open.";
    }
    if (chan->reserved && (chan->index || chan->routed)) {
        return "A channel is reserved that is a sub-channel, or interrupts.";
    }
    return NULL;
}

static const char *check_channel(const VmbusBus *bus, const VmbusChannel *chan,
                                 uint32_t relid)
{
    const char *why;

    if (chan->bus != bus || chan->relid != relid) {
        return "A channel stands under another one's relid.";
    }
    if (bus->state == VMBUS_DISCONNECTED && !chan->outlived &&
        (chan->state != VMBUS_CHANNEL_IDLE || chan->reserved)) {
        return "A channel is offered and nobody is connected.";
    }
    why = check_reserved(chan);
    if (why) {
        return why;
    }
    if (!chan->ops && chan->state != VMBUS_CHANNEL_RESCINDED) {
        return "A channel's device and state disagree.";
    }
    if (chan->primary && (chan->primary->state != VMBUS_CHANNEL_OPEN ||
                          chan->state == VMBUS_CHANNEL_RESCINDED)) {
        return "A sub-channel has outlived its primary channel.";
    }
    if ((chan->to_send & VMBUS_SEND_OFFER) &&
        chan->state != VMBUS_CHANNEL_IDLE) {
        return "A channel is to be offered twice.";
    }
    if (!(chan->to_send & VMBUS_SEND_TORNDOWN) !=
        (!chan->torndown || !chan->torndown->len)) {
        return "A channel has GPADLs to answer for, and no message.";
    }
    if ((chan->to_send & VMBUS_SEND_RESCIND) &&
        chan->state != VMBUS_CHANNEL_RESCINDED) {
        return "A channel that was not withdrawn is to be rescinded.";
    }
    return chan->state == VMBUS_CHANNEL_OPEN ? check_open(chan)
                                             : check_closed(chan);
}

/* Those of earlier connections, of which @in_use are counted up. */
static const char *check_kept(const VmbusBus *bus, unsigned *in_use)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, bus->gpadls.kept);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VmbusGpadl *gpadl = value;
        const VmbusChannel *chan = bus->channels[gpadl->relid];

        *in_use += gpadl->in_use;
        if (!gpadl->kept || !chan ||
            (bus->state == VMBUS_DISCONNECTED && !chan->outlived)) {
            return "A GPADL has outlived its connection, and its channel not.";
        }
    }
    return NULL;
}

static const char *check_messages(const VmbusBus *bus, unsigned to_send)
{
    if (bus->senders.length != to_send) {
        return "The list of channels that have messages is wrong.";
    }
    if (bus->waiting_count > VMBUS_MAX_WAITING ||
        bus->waiting_head >= VMBUS_MAX_WAITING) {
        return "The queue of the guest's messages is broken.";
    }
    if (bus->pumping || bus->held || bus->waits) {
        return NULL;
    }
    if (bus->restart) {
        return "A new connection waits for an old one.";
    }
    if (!bus->in_flight &&
        (bus->reply.len || bus->waiting_count ||
         (!bus->paused && (to_send || bus->send_alloffers)))) {
        return "A message waits for nothing.";
    }
    return NULL;
}

/* First, as other events may come while it waits for the channels. */
static const char *check_all_rings(VmbusBus *bus)
{
    const char *why = NULL;

    for (uint32_t i = 1; i < VMBUS_RELID_COUNT && !why; i++) {
        RingCheck check = {.chan = bus->channels[i]};

        if (check.chan && check.chan->state == VMBUS_CHANNEL_OPEN &&
            check.chan->listening) {
            vmbus_channel_call(check.chan, check_rings, &check);
            why = check.why;
        }
    }
    if (bus->close_broken) {
        vmbus_bus_pump(bus);
    }
    return why;
}

const char *vmbus_bus_check(VmbusBus *bus)
{
    const char *why = check_all_rings(bus);
    unsigned to_send = 0, open = 0, in_use = 0;
    GHashTableIter iter;
    gpointer value;

    if (!why) {
        why = vmbus_gpadl_table_check(&bus->gpadls);
    }
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT && !why; i++) {
        const VmbusChannel *chan = bus->channels[i];

        if (chan) {
            to_send += chan->to_send != 0;
            open += chan->state == VMBUS_CHANNEL_OPEN;
            why = check_channel(bus, chan, i);
        }
    }
    if (why) {
        return why;
    }
    g_hash_table_iter_init(&iter, bus->gpadls.by_id);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        in_use += ((const VmbusGpadl *)value)->in_use;
    }
    why = check_kept(bus, &in_use);
    if (why) {
        return why;
    }
    if (in_use != open) {
        return "A GPADL is in use by no channel.";
    }
    if ((bus->state == VMBUS_CONNECTED) != (bus->version != 0)) {
        return "The bus is connected without a version.";
    }
    if (bus->version < VMBUS_VERSION_6_0 && (bus->features || bus->paused)) {
        return "The bus has features that its version has not.";
    }
    if (bus->state == VMBUS_DISCONNECTED &&
        (g_hash_table_size(bus->gpadls.by_id) || bus->offers_requested)) {
        return "Something of a connection has outlived it.";
    }
    if (!bus->interrupt_page !=
        (bus->version == 0 || bus->version >= VMBUS_VERSION_2_4)) {
        return "The interrupt page and the version disagree.";
    }
    return check_messages(bus, to_send);
}
