/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/state-format.h"
#include "bus/state.h"

#define U32 UINT32_MAX
#define U64 UINT64_MAX

#define B(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedBus, member, max)
static const VmbusBlobField bus_fields[] = {
    B(1, state, VMBUS_CONNECTED),
    B(2, version, U32),
    B(3, target_vp, U32),
    B(4, sint, VMBUS_SINT_COUNT - 1),
    B(5, offers_requested, 1),
    B(6, send_alloffers, 1),
    B(7, messages_in, U64),
    B(8, messages_out, U64),
    B(9, messages_refused, U64),
    B(10, connects, U64),
    B(11, interrupt_gfn, U64 >> VMBUS_PAGE_SHIFT),
    VMBUS_BLOB_LATER(12, SavedBus, features, U32),
    VMBUS_BLOB_LATER(13, SavedBus, paused, 1),
};

#define L(tag, member, max) VMBUS_BLOB_FIELD(tag, VmbusLetter, member, max)
static const VmbusBlobField letter_fields[] = {
    L(1, conn_id, U32),
    L(2, vp, U32),
    L(3, sint, VMBUS_SINT_COUNT - 1),
    VMBUS_BLOB_LATER(4, VmbusLetter, reserved, 1),
};

#define C(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedChannel, member, max)
static const VmbusBlobField channel_fields[] = {
    C(1, subchannel, UINT16_MAX),
    C(2, relid, VMBUS_RELID_COUNT - 1),
    C(3, connection_id, 0xffffff),
    C(4, state, VMBUS_CHANNEL_RESCINDED),
    C(5, to_send, VMBUS_SEND_OFFER | VMBUS_SEND_TORNDOWN | VMBUS_SEND_RESCIND),
    C(6, torndown_gpadl, U32),
    C(7, signals_received, U64),
    C(8, corruptions, U64),
    C(9, in.packets, U64),
    C(10, in.bytes, U64),
    C(11, in.signals_sent, U64),
    C(12, in.signals_suppressed, U64),
    C(13, in.full, U64),
    C(14, out.packets, U64),
    C(15, out.bytes, U64),
    C(16, out.signals_sent, U64),
    C(17, out.signals_suppressed, U64),
    C(18, out.full, U64),
    VMBUS_BLOB_LATER(19, SavedChannel, rescinding, 1),
    VMBUS_BLOB_LATER(20, SavedChannel, reserved, 1),
    VMBUS_BLOB_LATER(21, SavedChannel, outlived, 1),
};

#define R(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedRings, member, max)
static const VmbusBlobField ring_fields[] = {
    R(1, gpadl, U32),
    R(2, target_vp, U32),
    R(3, downstream_offset, U32),
    R(4, in_read, U32),
    R(5, in_published, U32),
    R(6, in_write_seen, U32),
    R(7, in_masked, 1),
    R(8, out_write, U32),
    R(9, out_read_seen, U32),
    R(10, out_pending, U32),
    VMBUS_BLOB_LATER(11, SavedRings, signal_id, VMBUS_CONNECTION_ID_MASK),
    VMBUS_BLOB_LATER(12, SavedRings, event_flag, VMBUS_RELID_COUNT - 1),
    VMBUS_BLOB_LATER(13, SavedRings, broken, 1),
};

#define G(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedGpadl, member, max)
static const VmbusBlobField gpadl_fields[] = {
    G(1, id, U32),
    G(2, relid, VMBUS_RELID_COUNT - 1),
    G(3, range_count, UINT16_MAX),
    G(4, declared, UINT16_MAX / 8),
    G(5, tearing_down, 1),
    VMBUS_BLOB_LATER(6, SavedGpadl, kept, 1),
};

const StateFields vmbus_state_fields[STATE_FIELDS_COUNT] = {
    [STATE_FIELDS_BUS] = {bus_fields, G_N_ELEMENTS(bus_fields)},
    [STATE_FIELDS_LETTER] = {letter_fields, G_N_ELEMENTS(letter_fields)},
    [STATE_FIELDS_CHANNEL] = {channel_fields, G_N_ELEMENTS(channel_fields)},
    [STATE_FIELDS_RINGS] = {ring_fields, G_N_ELEMENTS(ring_fields)},
    [STATE_FIELDS_GPADL] = {gpadl_fields, G_N_ELEMENTS(gpadl_fields)},
};

static void put_fields(GByteArray *blob, unsigned which, const void *record)
{
    vmbus_blob_put_fields(blob, vmbus_state_fields[which].fields,
                          vmbus_state_fields[which].count, record);
}

static void put_letter(GByteArray *blob, uint16_t tag,
                       const VmbusLetter *letter)
{
    guint place = vmbus_blob_open(blob, tag);

    put_fields(blob, STATE_FIELDS_LETTER, letter);
    vmbus_blob_put(blob, LETTER_MESSAGE, letter->msg.bytes, letter->len);
    vmbus_blob_close(blob, place);
}

static void put_text(GByteArray *blob, uint16_t tag, const char *text)
{
    if (text) {
        vmbus_blob_put(blob, tag, text, strlen(text));
    }
}

static void put_rings(GByteArray *blob, const VmbusChannel *chan)
{
    SavedRings rings = {
        .gpadl = chan->gpadl->id,
        .target_vp = chan->target_vp,
        .downstream_offset = chan->out.mem.first_page,
        .in_read = chan->in.read,
        .in_published = chan->in.published,
        .in_write_seen = chan->in.write_seen,
        .in_masked = chan->in.masked,
        .out_write = chan->out.write,
        .out_read_seen = chan->out.read_seen,
        .out_pending = chan->out.pending,
        .signal_id = chan->signal_id,
        .event_flag = chan->event_flag,
        .broken =
            vmbus_channel_broken(chan) || (chan->fault && chan->old_fault),
    };
    guint place = vmbus_blob_open(blob, CHANNEL_RINGS);

    put_fields(blob, STATE_FIELDS_RINGS, &rings);
    vmbus_blob_close(blob, place);
}

static void put_channel(GByteArray *blob, const VmbusChannel *chan)
{
    SavedChannel saved = {
        .subchannel = chan->index,
        .relid = chan->relid,
        .connection_id = chan->connection_id,
        .state = chan->state,
        .to_send = chan->to_send,
        .torndown_gpadl = chan->to_send & VMBUS_SEND_TORNDOWN
                              ? g_array_index(chan->torndown, uint32_t, 0)
                              : 0,
        .signals_received = chan->signals_received,
        .corruptions = chan->corruptions,
        .in = chan->in_counters,
        .out = chan->out_counters,
        .rescinding = chan->state == VMBUS_CHANNEL_RESCINDED && chan->ops,
        .reserved = chan->reserved,
        .outlived = chan->outlived,
    };
    guint place = vmbus_blob_open(blob, BUS_CHANNEL);

    vmbus_blob_put(blob, CHANNEL_INSTANCE, &chan->offer.instance_id,
                   sizeof(VmbusGuid));
    vmbus_blob_put(blob, CHANNEL_CLASS, &chan->offer.class_id,
                   sizeof(VmbusGuid));
    put_text(blob, CHANNEL_NAME, chan->offer.name);
    put_text(blob, CHANNEL_CORRUPTION, chan->corruption);
    put_fields(blob, STATE_FIELDS_CHANNEL, &saved);
    if (chan->torndown && chan->torndown->len > 1) {
        vmbus_blob_put(blob, CHANNEL_TORNDOWN,
                       &g_array_index(chan->torndown, uint32_t, 1),
                       (chan->torndown->len - 1) * sizeof(uint32_t));
    }
    if (chan->state == VMBUS_CHANNEL_OPEN) {
        put_rings(blob, chan);
    }
    vmbus_blob_close(blob, place);
}

static void put_gpadl(GByteArray *blob, const VmbusGpadl *gpadl)
{
    SavedGpadl saved = {
        .id = gpadl->id,
        .relid = gpadl->relid,
        .range_count = gpadl->range_count,
        .declared = gpadl->declared,
        .tearing_down = gpadl->tearing_down,
        .kept = gpadl->kept,
    };
    guint place = vmbus_blob_open(blob, BUS_GPADL);

    put_fields(blob, STATE_FIELDS_GPADL, &saved);
    vmbus_blob_put(blob, GPADL_WORDS, gpadl->words,
                   gpadl->received * sizeof(uint64_t));
    vmbus_blob_close(blob, place);
}

static gint by_id(gconstpointer a, gconstpointer b)
{
    const VmbusGpadl *x = a, *y = b;

    if (x->id == y->id) {
        return x->relid < y->relid ? -1 : x->relid > y->relid;
    }
    return x->id < y->id ? -1 : 1;
}

/* In the order of their ids, so that equal buses have equal states. */
static void put_gpadls(GByteArray *blob, const VmbusBus *bus)
{
    GList *list = g_list_sort(vmbus_gpadl_list(&bus->gpadls), by_id);

    for (GList *link = list; link; link = link->next) {
        put_gpadl(blob, link->data);
    }
    g_list_free(list);
}

static void put_messages(GByteArray *blob, const VmbusBus *bus, bool flying)
{
    GArray *relids = g_array_new(FALSE, FALSE, sizeof(uint32_t));

    for (unsigned i = 0; i < bus->waiting_count; i++) {
        put_letter(blob, BUS_WAITING,
                   &bus->waiting[(bus->waiting_head + i) % VMBUS_MAX_WAITING]);
    }
    if (bus->reply.len) {
        put_letter(blob, BUS_REPLY, &bus->reply);
    }
    if (flying) {
        put_letter(blob, BUS_FLYING, &bus->flying);
    }
    for (GList *link = bus->senders.head; link; link = link->next) {
        g_array_append_val(relids, ((VmbusChannel *)link->data)->relid);
    }
    vmbus_blob_put(blob, BUS_SENDERS, relids->data,
                   relids->len * sizeof(uint32_t));
    g_array_free(relids, TRUE);
}

static const char *validate_rest(const VmbusBus *bus)
{
    if (bus->pumping || (bus->restart && !bus->held)) {
        return "The bus is saved in the middle of a message.";
    }
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        const VmbusChannel *chan = bus->channels[i];

        if (!chan || chan->state != VMBUS_CHANNEL_OPEN) {
            continue;
        }
        if (chan->opening || chan->closing) {
            return "The bus is saved while a device opens or closes.";
        }
        if (chan->started) {
            return "The bus is saved while a channel is at work.";
        }
        if (chan->out.write != chan->out.published &&
            !vmbus_channel_broken(chan)) {
            return "The bus is saved with packets that were not published.";
        }
    }
    return NULL;
}

GByteArray *vmbus_bus_save(const VmbusBus *bus, bool delivered,
                           const char **err)
{
    bool flying = bus->in_flight && (!delivered || bus->held);
    SavedBus saved = {
        .state = bus->state,
        .version = bus->version,
        .target_vp = bus->target_vp,
        .sint = bus->sint,
        .offers_requested = bus->offers_requested,
        .send_alloffers = bus->send_alloffers,
        .messages_in = bus->messages_in,
        .messages_out = bus->messages_out + (bus->in_flight && !flying),
        .messages_refused = bus->messages_refused,
        .connects = bus->connects,
        .interrupt_gfn = bus->interrupt_gfn,
        .features = bus->features,
        .paused = bus->paused,
    };
    GByteArray *blob;

    *err = validate_rest(bus);
    if (*err) {
        return NULL;
    }
    blob = vmbus_blob_new(STATE_MAGIC, STATE_VERSION);
    put_fields(blob, STATE_FIELDS_BUS, &saved);
    if (bus->features & VMBUS_FEATURE_CLIENT_ID) {
        vmbus_blob_put(blob, BUS_CLIENT_ID, &bus->client_id,
                       sizeof(bus->client_id));
    }
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i]) {
            put_channel(blob, bus->channels[i]);
        }
    }
    put_gpadls(blob, bus);
    put_messages(blob, bus, flying);
    if (blob->len > VMBUS_STATE_MAX) {
        *err = "The state of the bus is larger than a state may be.";
        g_byte_array_unref(blob);
        return NULL;
    }
    return blob;
}
