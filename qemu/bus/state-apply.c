/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was read and compared becomes the state of the bus. */
#include "bus/state-format.h"
#include "bus/state.h"

static VmbusChannel *new_ghost(VmbusBus *bus, const SavedChannel *saved)
{
    VmbusOffer offer = {
        .name = saved->name,
        .instance_id = saved->instance,
        .class_id = saved->class_id,
    };
    VmbusChannel *chan = vmbus_bus_add(bus, &offer, saved->relid);

    chan->index = saved->subchannel;
    return chan;
}

/* Primary channels come first, as the others need theirs. */
static VmbusChannel *place_channel(const StateLoader *loader,
                                   SavedChannel *saved, bool primaries)
{
    VmbusBus *bus = loader->bus;

    if (primaries == vmbus_state_is_subchannel(saved)) {
        return NULL;
    }
    if (vmbus_state_is_subchannel(saved)) {
        saved->chan =
            vmbus_subchannel_add(vmbus_state_find_primary(loader, saved)->chan,
                                 saved->subchannel, saved->relid);
    } else if (!saved->chan) {
        saved->chan = new_ghost(bus, saved);
    }
    bus->channels[saved->relid] = saved->chan;
    return saved->chan;
}

static void apply_channel(VmbusChannel *chan, const SavedChannel *saved)
{
    chan->relid = saved->relid;
    chan->connection_id = saved->connection_id;
    if (saved->to_send & VMBUS_SEND_TORNDOWN) {
        if (!chan->torndown) {
            chan->torndown = g_array_new(FALSE, FALSE, sizeof(uint32_t));
        }
        g_array_append_val(chan->torndown, saved->torndown_gpadl);
        g_array_append_vals(chan->torndown, saved->torndown,
                            saved->torndown_count);
    }
    chan->signals_received = saved->signals_received;
    chan->corruptions = saved->corruptions;
    chan->corruption = saved->corruption;
    chan->reserved = saved->reserved;
    chan->outlived = saved->outlived;
    chan->fault = NULL;
    chan->in_counters = saved->in;
    chan->out_counters = saved->out;
    /* An open one is opened when its GPADL is there. */
    chan->state = saved->state == VMBUS_CHANNEL_OPEN ? VMBUS_CHANNEL_OFFERED
                                                     : saved->state;
}

static void apply_channels(StateLoader *loader)
{
    VmbusBus *bus = loader->bus;

    memset(bus->channels, 0, sizeof(bus->channels));
    for (guint i = 0; i < 2 * loader->channels->len; i++) {
        guint len = loader->channels->len;
        SavedChannel *saved =
            &g_array_index(loader->channels, SavedChannel, i % len);
        VmbusChannel *chan = place_channel(loader, saved, i < len);

        if (chan) {
            apply_channel(chan, saved);
        }
    }
    for (guint i = 0; i < loader->senders->len; i++) {
        uint32_t relid = g_array_index(loader->senders, uint32_t, i);
        VmbusChannel *chan = bus->channels[relid];

        for (guint j = 0; j < loader->channels->len; j++) {
            SavedChannel *saved =
                &g_array_index(loader->channels, SavedChannel, j);

            if (saved->relid == relid) {
                vmbus_bus_send_later(chan, saved->to_send);
            }
        }
    }
}

static void apply_connection(StateLoader *loader)
{
    const SavedBus *saved = &loader->saved;
    VmbusBus *bus = loader->bus;

    bus->state = saved->state;
    bus->messages_in = saved->messages_in;
    bus->messages_out = saved->messages_out;
    bus->messages_refused = saved->messages_refused;
    bus->connects = saved->connects;
    memcpy(bus->waiting, loader->waiting, sizeof(bus->waiting));
    bus->waiting_head = 0;
    bus->waiting_count = loader->waiting_count;
    bus->reply = loader->reply;
    bus->flying = loader->flying;
    bus->in_flight = loader->flying.len != 0;
    if (saved->state == VMBUS_CONNECTED) {
        bus->version = saved->version;
        bus->features = saved->features;
        bus->paused = saved->paused;
        bus->client_id = saved->client_id;
        bus->target_vp = saved->target_vp;
        bus->sint = saved->sint;
        bus->offers_requested = saved->offers_requested;
        bus->send_alloffers = saved->send_alloffers;
    }
}

static const char *apply_gpadl(VmbusBus *bus, const SavedGpadl *saved)
{
    const VmbusChannel *chan = bus->channels[saved->relid];
    const char *why = NULL;
    VmbusGpadl *gpadl;

    if (!chan || (chan->state == VMBUS_CHANNEL_IDLE && !saved->kept)) {
        return "A GPADL is for a channel that the guest has not got.";
    }
    if (saved->received > saved->declared) {
        return "A GPADL has more pages than were declared.";
    }
    gpadl = vmbus_gpadl_begin(&bus->gpadls, saved->relid, saved->id,
                              saved->range_count,
                              saved->declared * sizeof(uint64_t), &why);
    if (!gpadl) {
        return why;
    }
    /* Whoever fails here removes all of them. */
    why = vmbus_gpadl_append(&bus->gpadls, gpadl, saved->words,
                             saved->received * sizeof(uint64_t));
    gpadl->tearing_down = saved->tearing_down;
    if (!why && saved->kept) {
        if (!gpadl->complete) {
            return "A GPADL was kept and is not complete.";
        }
        vmbus_gpadl_keep(&bus->gpadls, gpadl);
    }
    return why;
}

/* First those of earlier connections, whose ids may be in use again. */
static const char *apply_gpadls(StateLoader *loader)
{
    for (guint i = 0; i < 2 * loader->gpadls->len; i++) {
        guint len = loader->gpadls->len;
        const SavedGpadl *saved =
            &g_array_index(loader->gpadls, SavedGpadl, i % len);
        const char *why = NULL;

        if (saved->kept == (i < len)) {
            why = apply_gpadl(loader->bus, saved);
        }
        if (why) {
            return why;
        }
    }
    return NULL;
}

static bool index_valid(const VmbusRingMem *mem, uint32_t index)
{
    return index < mem->size && index % 8 == 0;
}

static const char *apply_rings(VmbusChannel *chan, const SavedRings *saved)
{
    VmbusRingMem in, out;

    vmbus_channel_ring_memory(chan, saved->downstream_offset, &in, &out);
    if (!index_valid(&in, saved->in_read) ||
        !index_valid(&in, saved->in_published) ||
        !index_valid(&in, saved->in_write_seen) ||
        !index_valid(&out, saved->out_write) ||
        !index_valid(&out, saved->out_read_seen) ||
        saved->out_pending >= out.size) {
        return "A ring's index is out of range.";
    }
    chan->in = (VmbusRingIn){
        .mem = in,
        .read = saved->in_read,
        .published = saved->in_published,
        .write_seen = saved->in_write_seen,
        .masked = saved->in_masked,
    };
    chan->out = (VmbusRingOut){
        .mem = out,
        .write = saved->out_write,
        .published = saved->out_write,
        .read_seen = saved->out_read_seen,
        .pending = saved->out_pending,
    };
    /*
     * A guest that writes to an index of ours harms its channel, not its
     * migration.
     */
    chan->fault = vmbus_ring_in_resume(&chan->in);
    if (!chan->fault) {
        chan->fault = vmbus_ring_out_resume(&chan->out);
    }
    return NULL;
}

static const char *apply_open(VmbusBus *bus, const SavedChannel *saved)
{
    bool chosen =
        bus->features & VMBUS_FEATURE_GUEST_SIGNAL && !saved->reserved;
    VmbusMsgOpen2 msg2 = {
        .open = {.relid = saved->relid,
                 .gpadl = saved->rings.gpadl,
                 .target_vp = saved->rings.target_vp,
                 .downstream_offset = saved->rings.downstream_offset},
        .connection_id = saved->rings.signal_id,
        .event_flag = saved->rings.event_flag,
    };
    const VmbusMsgOpen *msg = &msg2.open;
    VmbusChannel *chan = saved->chan;
    const uint64_t *pages = NULL;
    uint32_t count = 0;
    VmbusGpadl *gpadl;
    const char *why;

    why = vmbus_channel_validate_open(chan, msg, &pages, &count);
    if (!why) {
        why = vmbus_channel_choose_signals(chan, chosen ? &msg2 : NULL);
    }
    if (why) {
        return why;
    }
    gpadl = vmbus_gpadl_find_for(&bus->gpadls, chan->relid, msg->gpadl);
    if (gpadl->in_use) {
        return "Two channels have their rings in one GPADL.";
    }
    why = vmbus_channel_map(chan, gpadl, pages, count);
    if (!why) {
        why = apply_rings(chan, &saved->rings);
    }
    if (!why) {
        why = vmbus_channel_route(chan, msg->target_vp);
    }
    if (why) {
        vmbus_channel_detach(chan);
        return why;
    }
    vmbus_channel_opened(chan);
    chan->old_fault = saved->rings.broken;
    if (chan->old_fault) {
        chan->fault = chan->corruption ? chan->corruption : "";
    }
    return NULL;
}

const char *vmbus_state_apply(StateLoader *loader)
{
    VmbusBus *bus = loader->bus;
    const char *why;

    bus->held = true;
    bus->gpadls.held = true;
    apply_channels(loader);
    apply_connection(loader);
    if (loader->saved.interrupt_gfn) {
        why = vmbus_interrupt_page_attach(bus, loader->saved.interrupt_gfn
                                                   << VMBUS_PAGE_SHIFT);
        if (why) {
            return why;
        }
    }
    why = apply_gpadls(loader);
    if (why) {
        return why;
    }
    for (guint i = 0; i < loader->channels->len; i++) {
        SavedChannel *saved = &g_array_index(loader->channels, SavedChannel, i);

        why = saved->has_rings ? apply_open(bus, saved) : NULL;
        if (why) {
            loader->guilty = saved;
            return why;
        }
    }
    return vmbus_bus_check(bus);
}

/*
 * Devices have not been told of anything, so none is to be closed, and none
 * that left in the saved machine leaves this one.
 */
void vmbus_state_undo(VmbusBus *bus)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = bus->channels[i];

        if (chan && chan->state == VMBUS_CHANNEL_OPEN) {
            chan->state = VMBUS_CHANNEL_OFFERED;
            chan->fault = NULL;
            vmbus_channel_detach(chan);
        } else if (chan && chan->ops) {
            chan->state = VMBUS_CHANNEL_IDLE;
        }
    }
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i] && bus->channels[i]->primary) {
            vmbus_bus_forget_channel(bus->channels[i]);
        }
    }
    bus->gpadls.held = false;
    bus->held = true; /* there is no message that could be cancelled */
    vmbus_bus_reset(bus);
}
