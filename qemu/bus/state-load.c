/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state that was read is compared with this machine, then applied.  It may
 * come from anywhere, so nothing in it is believed: what is applied is what a
 * guest could have brought about by messages.
 */
#include "bus/state-format.h"
#include "bus/state.h"

/* Comparing */

static const char *validate_connection(const StateLoader *loader)
{
    const VmbusBus *bus = loader->bus;
    const SavedBus *saved = &loader->saved;

    if (saved->state == VMBUS_DISCONNECTED) {
        if (saved->version || saved->offers_requested ||
            saved->send_alloffers || saved->interrupt_gfn || saved->features ||
            saved->paused || loader->gpadls->len) {
            return "The saved state has parts of a connection, and none.";
        }
        return NULL;
    }
    if (!vmbus_version_known(saved->version) ||
        saved->version > bus->max_version) {
        return "The guest is connected with a version that this bus does not "
               "accept.";
    }
    if (!saved->interrupt_gfn != (saved->version >= VMBUS_VERSION_2_4)) {
        return "The saved state has an interrupt page, or none, in spite of "
               "its version.";
    }
    if ((saved->features & ~vmbus_version_features(saved->version)) ||
        (saved->paused && !(saved->features & VMBUS_FEATURE_PAUSE_RESUME))) {
        return "The guest is connected with features that this bus does not "
               "have.";
    }
    if (saved->sint == 0) {
        return "The synthetic interrupt for messages is out of range.";
    }
    if (!bus->ops->vp_exists(bus->opaque, saved->target_vp)) {
        return "The virtual processor for messages does not exist.";
    }
    return NULL;
}

/* Ghosts do not count: nothing is left of them but their relids. */
static bool is_subchannel(const SavedChannel *saved)
{
    return saved->subchannel && saved->state != VMBUS_CHANNEL_RESCINDED;
}

static SavedChannel *find_primary(const StateLoader *loader,
                                  const SavedChannel *saved)
{
    for (guint i = 0; i < loader->channels->len; i++) {
        SavedChannel *other = &g_array_index(loader->channels, SavedChannel, i);

        if (!other->subchannel && other->state == VMBUS_CHANNEL_OPEN &&
            vmbus_guid_equal(&other->instance, &saved->instance) &&
            vmbus_guid_equal(&other->class_id, &saved->class_id)) {
            return other;
        }
    }
    return NULL;
}

static const char *validate_channel(const StateLoader *loader,
                                    const SavedChannel *saved)
{
    bool idle = saved->state == VMBUS_CHANNEL_IDLE;

    if (!saved->has_instance || !saved->has_class) {
        return "The saved state has a channel of no device.";
    }
    if (is_subchannel(saved) && !find_primary(loader, saved)) {
        return "The saved state has a sub-channel of no open channel.";
    }
    if (saved->relid == 0 ||
        saved->connection_id < VMBUS_CONNECTION_ID_FIRST_FREE) {
        return "The saved state has a channel whose ids are out of range.";
    }
    if (saved->has_rings != (saved->state == VMBUS_CHANNEL_OPEN)) {
        return "The saved state has rings without an open channel, or the "
               "reverse.";
    }
    if (loader->saved.state == VMBUS_DISCONNECTED &&
        (!idle || saved->to_send)) {
        return "The saved state has a channel in use and no connection.";
    }
    if (saved->rescinding && saved->state != VMBUS_CHANNEL_RESCINDED) {
        return "The saved state has a device that leaves, and stays.";
    }
    if ((saved->to_send & VMBUS_SEND_OFFER && !idle) ||
        (saved->to_send & VMBUS_SEND_RESCIND &&
         saved->state != VMBUS_CHANNEL_RESCINDED)) {
        return "The saved state has a channel whose messages do not fit it.";
    }
    return NULL;
}

/* The device of ours that a channel belongs to. */
static VmbusChannel *find_device(const VmbusBus *bus, const SavedChannel *saved)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = bus->channels[i];

        if (chan &&
            vmbus_guid_equal(&chan->offer.instance_id, &saved->instance) &&
            vmbus_guid_equal(&chan->offer.class_id, &saved->class_id)) {
            return chan;
        }
    }
    return NULL;
}

static const char *validate_unique(const StateLoader *loader, guint index)
{
    const SavedChannel *a =
        &g_array_index(loader->channels, SavedChannel, index);

    for (guint i = 0; i < index; i++) {
        const SavedChannel *b =
            &g_array_index(loader->channels, SavedChannel, i);

        if (a->relid == b->relid || a->connection_id == b->connection_id) {
            return "The saved state has two channels with the same id.";
        }
        if (is_subchannel(a) && is_subchannel(b) &&
            a->subchannel == b->subchannel &&
            vmbus_guid_equal(&a->instance, &b->instance)) {
            return "The saved state has a sub-channel twice.";
        }
        if (a->chan && a->chan == b->chan) {
            return "The saved state has a device twice.";
        }
    }
    return NULL;
}

static const char *validate_channels(StateLoader *loader)
{
    for (guint i = 0; i < loader->channels->len; i++) {
        SavedChannel *saved = &g_array_index(loader->channels, SavedChannel, i);
        const char *why;

        loader->guilty = saved;
        why = validate_channel(loader, saved);
        if (why) {
            return why;
        }
        /* A device that the guest has to let go may be gone here already. */
        if (!saved->subchannel &&
            (saved->state != VMBUS_CHANNEL_RESCINDED || saved->rescinding)) {
            saved->chan = find_device(loader->bus, saved);
            if (!saved->chan && !saved->rescinding) {
                return "The saved machine has a device that this one has not.";
            }
        }
        why = validate_unique(loader, i);
        if (why) {
            return why;
        }
    }
    loader->guilty = NULL;
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = loader->bus->channels[i];
        bool named = false;

        for (guint j = 0; chan && j < loader->channels->len; j++) {
            named |=
                g_array_index(loader->channels, SavedChannel, j).chan == chan;
        }
        if (chan && !named) {
            loader->extra = chan;
            return "This machine has a device that the saved one has not.";
        }
    }
    return NULL;
}

static const char *validate_senders(const StateLoader *loader)
{
    guint expected = 0;

    for (guint i = 0; i < loader->channels->len; i++) {
        const SavedChannel *saved =
            &g_array_index(loader->channels, SavedChannel, i);
        guint times = 0;

        for (guint j = 0; j < loader->senders->len; j++) {
            times +=
                g_array_index(loader->senders, uint32_t, j) == saved->relid;
        }
        if (times != (saved->to_send != 0)) {
            return "The saved state has a list of messages that does not fit "
                   "the channels.";
        }
        expected += times;
    }
    return expected == loader->senders->len
               ? NULL
               : "The saved state has a message of no channel.";
}

static const char *validate_all(StateLoader *loader)
{
    const char *why = validate_connection(loader);

    if (!why) {
        why = validate_channels(loader);
    }
    return why ? why : validate_senders(loader);
}

/* Applying */

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

    if (primaries == is_subchannel(saved)) {
        return NULL;
    }
    if (is_subchannel(saved)) {
        saved->chan = vmbus_subchannel_add(find_primary(loader, saved)->chan,
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

    if (!chan || chan->state == VMBUS_CHANNEL_IDLE) {
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
    return why;
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
    bool chosen = bus->features & VMBUS_FEATURE_GUEST_SIGNAL;
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
    gpadl = vmbus_gpadl_find(&bus->gpadls, msg->gpadl);
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
    chan->broken = false;
    chan->state = VMBUS_CHANNEL_OPEN;
    return NULL;
}

static const char *apply_all(StateLoader *loader)
{
    VmbusBus *bus = loader->bus;

    bus->held = true;
    bus->gpadls.held = true;
    apply_channels(loader);
    apply_connection(loader);
    if (loader->saved.interrupt_gfn) {
        const char *why = vmbus_interrupt_page_attach(
            bus, loader->saved.interrupt_gfn << VMBUS_PAGE_SHIFT);

        if (why) {
            return why;
        }
    }
    for (guint i = 0; i < loader->gpadls->len; i++) {
        const char *why =
            apply_gpadl(bus, &g_array_index(loader->gpadls, SavedGpadl, i));

        if (why) {
            return why;
        }
    }
    for (guint i = 0; i < loader->channels->len; i++) {
        SavedChannel *saved = &g_array_index(loader->channels, SavedChannel, i);
        const char *why = saved->has_rings ? apply_open(bus, saved) : NULL;

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
static void undo(VmbusBus *bus)
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

static char *explain(const StateLoader *loader, const char *why)
{
    char text[VMBUS_GUID_STRLEN + 1];

    if (loader->extra) {
        vmbus_guid_format(&loader->extra->offer.instance_id, text);
        return g_strdup_printf("VMBus device %s (%s): %s", text,
                               loader->extra->offer.name, why);
    }
    if (loader->guilty) {
        vmbus_guid_format(&loader->guilty->instance, text);
        return g_strdup_printf(
            "VMBus device %s (%s): %s", text,
            loader->guilty->name ? loader->guilty->name : "?", why);
    }
    return g_strdup_printf("VMBus: %s", why);
}

bool vmbus_bus_load(VmbusBus *bus, const void *data, size_t len, char **err)
{
    StateLoader loader = {
        .bus = bus,
        .channels = g_array_new(FALSE, FALSE, sizeof(SavedChannel)),
        .gpadls = g_array_new(FALSE, FALSE, sizeof(SavedGpadl)),
        .senders = g_array_new(FALSE, FALSE, sizeof(uint32_t)),
    };
    const char *why;

    *err = NULL;
    vmbus_bus_reset(bus);
    why = vmbus_state_read(&loader, data, len);
    if (!why) {
        why = validate_all(&loader);
    }
    if (why) {
        *err = explain(&loader, why);
    } else if ((why = apply_all(&loader))) {
        *err = explain(&loader, why);
        undo(bus);
    }
    g_array_free(loader.channels, TRUE);
    g_array_free(loader.gpadls, TRUE);
    g_array_free(loader.senders, TRUE);
    return !*err;
}

/* The rings were not touched; the other side may have missed a signal. */
static void poke(VmbusChannel *chan)
{
    const char *fault = chan->fault;

    chan->fault = NULL;
    if (fault) {
        vmbus_channel_corrupt(chan, fault);
        return;
    }
    vmbus_channel_notify_guest(chan);
    if (vmbus_channel_is_open(chan)) {
        chan->ops->signal(chan, chan->opaque);
    }
}

bool vmbus_bus_resume(VmbusBus *bus)
{
    if (!bus->held) {
        return false;
    }
    bus->held = false;
    bus->gpadls.held = false;
    vmbus_gpadls_tear_down_unused(bus);
    if (bus->in_flight) {
        VmbusLetter letter = bus->flying;

        vmbus_bus_send_letter(bus, &letter);
    }
    vmbus_bus_pump(bus);
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = bus->channels[i];

        if (chan && chan->state == VMBUS_CHANNEL_OPEN) {
            poke(chan);
        }
    }
    return true;
}
