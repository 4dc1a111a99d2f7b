/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state that was read is compared with this machine, then applied.  It may
 * come from anywhere, so nothing in it is believed: what is applied is what a
 * guest could have brought about by messages.
 */
#include "bus/state-format.h"
#include "bus/state.h"

/* Comparing */

/* Of GPADLs of this connection. */
static bool has_gpadls(const StateLoader *loader)
{
    for (guint i = 0; i < loader->gpadls->len; i++) {
        if (!g_array_index(loader->gpadls, SavedGpadl, i).kept) {
            return true;
        }
    }
    return false;
}

static const char *validate_connection(const StateLoader *loader)
{
    const VmbusBus *bus = loader->bus;
    const SavedBus *saved = &loader->saved;

    if (saved->state == VMBUS_DISCONNECTED) {
        if (saved->version || saved->offers_requested ||
            saved->send_alloffers || saved->interrupt_gfn || saved->features ||
            saved->paused || has_gpadls(loader)) {
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

bool vmbus_state_is_subchannel(const SavedChannel *saved)
{
    return saved->subchannel && saved->state != VMBUS_CHANNEL_RESCINDED;
}

SavedChannel *vmbus_state_find_primary(const StateLoader *loader,
                                       const SavedChannel *saved)
{
    for (guint i = 0; i < loader->channels->len; i++) {
        SavedChannel *other = &g_array_index(loader->channels, SavedChannel, i);

        if (!other->subchannel && !other->reserved &&
            other->state == VMBUS_CHANNEL_OPEN &&
            vmbus_guid_equal(&other->instance, &saved->instance) &&
            vmbus_guid_equal(&other->class_id, &saved->class_id)) {
            return other;
        }
    }
    return NULL;
}

static const char *validate_reserved(const SavedChannel *saved)
{
    if (saved->outlived && !saved->reserved) {
        return "The saved state has a channel that outlived its connection and "
               "is not reserved.";
    }
    if (saved->reserved &&
        (saved->subchannel || (saved->state != VMBUS_CHANNEL_OPEN &&
                               saved->state != VMBUS_CHANNEL_CORRUPT))) {
        return "The saved state has a reserved channel that cannot be one.";
    }
    if (saved->reserved && saved->has_rings &&
        saved->rings.target_vp != VMBUS_VP_NONE) {
        return "The saved state has a reserved channel with interrupts.";
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
    if (vmbus_state_is_subchannel(saved) &&
        !vmbus_state_find_primary(loader, saved)) {
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
        ((!idle && !saved->outlived) || saved->reserved != saved->outlived ||
         saved->to_send)) {
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
    return validate_reserved(saved);
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
        if (vmbus_state_is_subchannel(a) && vmbus_state_is_subchannel(b) &&
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
    } else if ((why = vmbus_state_apply(&loader))) {
        *err = explain(&loader, why);
        vmbus_state_undo(bus);
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
        vmbus_channel_break(chan, chan->old_fault ? NULL : fault);
        vmbus_channel_close_broken(chan);
        return;
    }
    vmbus_channel_notify_guest(chan);
    vmbus_channel_kick(chan);
    vmbus_channel_start(chan);
}

static void send_again(VmbusBus *bus)
{
    VmbusLetter letter = bus->flying;

    vmbus_bus_send_letter(bus, &letter);
}

bool vmbus_bus_resume(VmbusBus *bus)
{
    bool loaded = bus->held;

    bus->quiet = false;
    bus->held = false;
    bus->gpadls.held = false;
    if (loaded) {
        vmbus_gpadls_tear_down_unused(bus);
    }
    if (loaded && bus->in_flight) {
        send_again(bus);
    }
    vmbus_bus_pump(bus);
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = bus->channels[i];

        if (!chan || chan->state != VMBUS_CHANNEL_OPEN || chan->started) {
            continue;
        }
        if (loaded) {
            poke(chan);
        } else {
            vmbus_channel_start(chan);
        }
    }
    return loaded;
}
