/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage service in a saved machine.  Requests that the machine has not
 * finished are part of it, and answers that the guest's ring had no room for.
 */
#include "bus/blob.h"
#include "devices/storvsp-internal.h"

#include <string.h>

#define STOR_STATE_MAGIC   0x726f7473 /* "stor" */
#define STOR_STATE_VERSION 1

enum {
    STATE_CHANNEL = 32, /* items of the adapter */
    CHANNEL_REPLY = 32, /* items of a channel */
    CHANNEL_REQUEST,
    CHANNEL_DONE,
    REQUEST_SRB = 32, /* items of a request */
    REQUEST_SEGMENTS,
};

typedef struct SavedVsp {
    uint8_t phase;
    uint16_t version;
    uint16_t subchannels;
    uint8_t enumerate;
    uint64_t enumerations;
    uint8_t asked;
} SavedVsp;

typedef struct SavedChannel {
    uint8_t index;
    uint64_t next_id, requests, completed, refused;
    uint8_t reply_waits, resetting;
    uint8_t reset_kind, reset_path, reset_target, reset_lun;
} SavedChannel;

/* A request, or an answer. */
typedef struct SavedItem {
    uint64_t id, trans_id;
    uint8_t len; /* of the answer */
} SavedItem;

typedef struct SavedSegment {
    uint64_t gpa;
    uint32_t len;
    uint32_t reserved;
} SavedSegment;
_Static_assert(sizeof(SavedSegment) == 16, "saved segment");

#define V(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedVsp, member, max)
static const VmbusBlobField vsp_fields[] = {
    V(1, phase, STOR_READY),
    V(2, version, UINT16_MAX),
    V(3, subchannels, STOR_MAX_CHANNELS - 1),
    V(4, enumerate, 1),
    V(5, enumerations, UINT64_MAX),
    V(6, asked, 1),
};

#define C(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedChannel, member, max)
static const VmbusBlobField channel_fields[] = {
    C(1, index, STOR_MAX_CHANNELS - 1),
    C(2, next_id, UINT64_MAX),
    C(3, requests, UINT64_MAX),
    C(4, completed, UINT64_MAX),
    C(5, refused, UINT64_MAX),
    C(6, reply_waits, 1),
    C(7, resetting, 1),
    C(8, reset_kind, STOR_RESET_ALL),
    C(9, reset_path, UINT8_MAX),
    C(10, reset_target, UINT8_MAX),
    C(11, reset_lun, UINT8_MAX),
};

#define I(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedItem, member, max)
static const VmbusBlobField item_fields[] = {
    I(1, id, UINT64_MAX),
    I(2, trans_id, UINT64_MAX),
    I(3, len, sizeof(StorPacket)),
};

/* Saving */

static guint open_item(GByteArray *blob, uint16_t tag, uint64_t id,
                       uint64_t trans_id, uint32_t len)
{
    SavedItem saved = {.id = id, .trans_id = trans_id, .len = len};
    guint place = vmbus_blob_open(blob, tag);

    vmbus_blob_put_fields(blob, item_fields, G_N_ELEMENTS(item_fields), &saved);
    return place;
}

static void save_answer(GByteArray *blob, uint16_t tag,
                        const StorAnswer *answer)
{
    guint place = open_item(blob, tag, 0, answer->trans_id, answer->len);

    vmbus_blob_put(blob, REQUEST_SRB, &answer->packet, sizeof(answer->packet));
    vmbus_blob_close(blob, place);
}

static void save_request(GByteArray *blob, const StorItem *item)
{
    guint place = open_item(blob, CHANNEL_REQUEST, item->pub.id, item->trans_id,
                            item->answer_len);
    guint segments;

    vmbus_blob_put(blob, REQUEST_SRB, &item->srb, sizeof(item->srb));
    segments = vmbus_blob_open(blob, REQUEST_SEGMENTS);
    for (uint32_t i = 0; i < item->pub.segment_count; i++) {
        SavedSegment saved = {.gpa = item->segments[i].gpa,
                              .len = item->segments[i].len};

        g_byte_array_append(blob, (const guint8 *)&saved, sizeof(saved));
    }
    vmbus_blob_close(blob, segments);
    vmbus_blob_close(blob, place);
}

static void save_channel(GByteArray *blob, const StorChannel *ch)
{
    SavedChannel saved = {
        .index = ch->index,
        .next_id = ch->next_id,
        .requests = ch->requests,
        .completed = ch->completed,
        .refused = ch->refused,
        .reply_waits = ch->reply_waits,
        .resetting = ch->resetting,
        .reset_kind = ch->reset.kind,
        .reset_path = ch->reset.path,
        .reset_target = ch->reset.target,
        .reset_lun = ch->reset.lun,
    };
    guint place = vmbus_blob_open(blob, STATE_CHANNEL);

    vmbus_blob_put_fields(blob, channel_fields, G_N_ELEMENTS(channel_fields),
                          &saved);
    if (ch->reply_waits || ch->resetting) {
        save_answer(blob, CHANNEL_REPLY, &ch->reply);
    }
    for (const GList *l = ch->in_flight.head; l; l = l->next) {
        save_request(blob, l->data);
    }
    for (const GList *l = ch->done.head; l; l = l->next) {
        save_answer(blob, CHANNEL_DONE, &((StorItem *)l->data)->answer);
    }
    vmbus_blob_close(blob, place);
}

GByteArray *storvsp_save(const StorVsp *vsp)
{
    GByteArray *blob = vmbus_blob_new(STOR_STATE_MAGIC, STOR_STATE_VERSION);
    SavedVsp saved = {
        .phase = stor_phase(vsp),
        .version = g_atomic_int_get(&vsp->version),
        .subchannels = vsp->subchannels,
        .enumerate = g_atomic_int_get(&vsp->enumerate),
        .enumerations = vsp->enumerations,
        .asked = g_atomic_int_get(&vsp->asked),
    };

    vmbus_blob_put_fields(blob, vsp_fields, G_N_ELEMENTS(vsp_fields), &saved);
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        if (vsp->channels[i].open) {
            save_channel(blob, &vsp->channels[i]);
        }
    }
    return blob;
}

/* Loading */

static const char *load_srb(StorItem *item, const StorSrb *srb)
{
    item->srb = *srb;
    if (srb->cdb_length == 0 || srb->cdb_length > STOR_MAX_CDB) {
        return "The saved storage adapter has a request with a bad command.";
    }
    if (srb->data_in > STOR_DATA_IN && srb->data_transfer_length) {
        return "The saved storage adapter has a request in no direction.";
    }
    item->pub.path = srb->path;
    item->pub.target = srb->target;
    item->pub.lun = srb->lun;
    item->pub.cdb_length = srb->cdb_length;
    memcpy(item->pub.cdb, srb->cdb, srb->cdb_length);
    item->pub.data_len = srb->data_transfer_length;
    item->pub.data_in =
        srb->data_transfer_length ? srb->data_in : STOR_DATA_NONE;
    return NULL;
}

static const char *load_segments(StorItem *item, const uint8_t *data,
                                 uint32_t count)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        SavedSegment saved;

        memcpy(&saved, data + i * sizeof(saved), sizeof(saved));
        if (!saved.len || saved.len > STOR_MAX_TRANSFER ||
            saved.gpa >= UINT64_C(1) << 52) {
            return "The saved storage adapter has a request with bad memory.";
        }
        sum += saved.len;
        item->segments[i] = (StorSegment){saved.gpa, saved.len};
    }
    item->pub.segment_count = count;
    if (sum != item->pub.data_len) {
        return "The saved storage adapter has a request with memory of "
               "another size.";
    }
    return NULL;
}

/* The parts of a request or an answer, before they are checked. */
typedef struct LoadedItem {
    SavedItem saved;
    VmbusBlobItem srb, segments;
} LoadedItem;

static const char *item_part(void *opaque, const VmbusBlobItem *part)
{
    LoadedItem *loaded = opaque;

    switch (part->tag) {
    case REQUEST_SRB:
        loaded->srb = *part;
        return NULL;
    case REQUEST_SEGMENTS:
        loaded->segments = *part;
        return NULL;
    default:
        return vmbus_blob_unknown;
    }
}

static const char *read_item(LoadedItem *loaded, const VmbusBlobItem *item,
                             size_t srb_size)
{
    const char *why;

    memset(loaded, 0, sizeof(*loaded));
    why = vmbus_blob_read(item->data, item->len, item_fields,
                          G_N_ELEMENTS(item_fields), &loaded->saved, item_part,
                          loaded);
    if (why) {
        return why;
    }
    if (loaded->srb.len != srb_size ||
        loaded->segments.len % sizeof(SavedSegment) ||
        loaded->saved.len < STOR_PACKET_SIZE_4_2) {
        return "The saved storage adapter has a request of a wrong size.";
    }
    return NULL;
}

static const char *load_answer(StorAnswer *answer, const VmbusBlobItem *item)
{
    LoadedItem loaded;
    const char *why = read_item(&loaded, item, sizeof(StorPacket));

    if (!why) {
        answer->trans_id = loaded.saved.trans_id;
        answer->len = loaded.saved.len;
        memcpy(&answer->packet, loaded.srb.data, sizeof(answer->packet));
    }
    return why;
}

static const char *load_request(StorChannel *ch, const VmbusBlobItem *item)
{
    LoadedItem loaded;
    const char *why = read_item(&loaded, item, sizeof(StorSrb));
    StorItem *new;
    StorSrb srb;

    if (why) {
        return why;
    }
    if (storvsp_find(ch, loaded.saved.id)) {
        return "The saved storage adapter has two requests with one id.";
    }
    memcpy(&srb, loaded.srb.data, sizeof(srb));
    new = stor_item_new(ch, loaded.segments.len / sizeof(SavedSegment));
    new->pub.id = loaded.saved.id;
    new->trans_id = loaded.saved.trans_id;
    new->answer_len = loaded.saved.len;
    stor_item_queue(new, &ch->in_flight);
    why = load_srb(new, &srb);
    if (!why) {
        why = load_segments(new, loaded.segments.data,
                            loaded.segments.len / sizeof(SavedSegment));
    }
    ch->segments += new->pub.segment_count;
    return why;
}

static const char *load_done(StorChannel *ch, const VmbusBlobItem *item)
{
    StorItem *new = stor_item_new(ch, 0);

    stor_item_queue(new, &ch->done);
    return load_answer(&new->answer, item);
}

/* A channel while its state is read. */
typedef struct LoadingChannel {
    StorChannel *ch; /* filled */
    SavedChannel saved;
    bool has_reply;
} LoadingChannel;

static const char *channel_item(void *opaque, const VmbusBlobItem *item)
{
    LoadingChannel *loading = opaque;
    StorChannel *ch = loading->ch;

    if (stor_unanswered(ch) > STOR_MAX_REQUESTS) {
        return "The saved storage adapter has too many requests.";
    }
    switch (item->tag) {
    case CHANNEL_REPLY:
        loading->has_reply = true;
        return load_answer(&ch->reply, item);
    case CHANNEL_REQUEST:
        return load_request(ch, item);
    case CHANNEL_DONE:
        return load_done(ch, item);
    default:
        return vmbus_blob_unknown;
    }
}

static const char *validate_channel(const LoadingChannel *loading)
{
    const SavedChannel *saved = &loading->saved;

    if (loading->has_reply != (saved->reply_waits || saved->resetting) ||
        (saved->reply_waits && saved->resetting)) {
        return "The saved storage adapter has an answer that nobody waits "
               "for, or the reverse.";
    }
    for (const GList *l = loading->ch->in_flight.head; l; l = l->next) {
        if (((StorItem *)l->data)->pub.id >= saved->next_id) {
            return "The saved storage adapter has a request from the future.";
        }
    }
    return NULL;
}

static const char *load_channel(void *opaque, const VmbusBlobItem *item)
{
    StorVsp *vsp = opaque;
    StorChannel fresh = {.vsp = vsp};
    LoadingChannel loading = {.ch = &fresh};
    const char *why;

    if (item->tag != STATE_CHANNEL) {
        return vmbus_blob_unknown;
    }
    why = vmbus_blob_read(item->data, item->len, channel_fields,
                          G_N_ELEMENTS(channel_fields), &loading.saved,
                          channel_item, &loading);
    if (!why) {
        why = validate_channel(&loading);
    }
    if (!why && vsp->channels[loading.saved.index].open) {
        why = "The saved storage adapter has a channel twice.";
    }
    if (why) {
        stor_forget_items(&fresh);
        return why;
    }
    fresh.index = loading.saved.index;
    fresh.open = fresh.resubmit = fresh.stalled = true;
    fresh.next_id = loading.saved.next_id;
    fresh.requests = loading.saved.requests;
    fresh.completed = loading.saved.completed;
    fresh.refused = loading.saved.refused;
    fresh.reply_waits = loading.saved.reply_waits;
    fresh.resetting = loading.saved.resetting;
    fresh.reset =
        (StorReset){loading.saved.reset_kind, loading.saved.reset_path,
                    loading.saved.reset_target, loading.saved.reset_lun};
    vsp->channels[fresh.index] = fresh;
    for (GList *l = fresh.in_flight.head; l; l = l->next) {
        ((StorItem *)l->data)->pub.channel = &vsp->channels[fresh.index];
    }
    for (GList *l = fresh.done.head; l; l = l->next) {
        ((StorItem *)l->data)->pub.channel = &vsp->channels[fresh.index];
    }
    return NULL;
}

static const char *validate(const StorVsp *vsp, const SavedVsp *saved,
                            const VmbusChannel *chan)
{
    bool open = vsp->channels[0].open;

    if (open != vmbus_channel_is_open(chan) ||
        open != (saved->phase != STOR_CLOSED)) {
        return "The saved storage adapter is open and its channel is not, or "
               "the reverse.";
    }
    if ((saved->phase >= STOR_VERSIONED) != (saved->version != 0) ||
        (saved->version && !stor_version_known(saved->version))) {
        return "The saved storage adapter has a version that is not known.";
    }
    if (saved->subchannels > vsp->config.max_subchannels) {
        return "The saved storage adapter has more sub-channels than this "
               "one.";
    }
    for (unsigned i = 1; i < STOR_MAX_CHANNELS; i++) {
        const VmbusChannel *sub = vmbus_channel_subchannel(chan, i);

        if (vsp->channels[i].open && i > saved->subchannels) {
            return "The saved storage adapter has a channel that was not "
                   "offered.";
        }
        if (vsp->channels[i].open != (sub && vmbus_channel_is_open(sub))) {
            return "The saved storage adapter has a sub-channel open and the "
                   "bus has not, or the reverse.";
        }
    }
    return NULL;
}

static void forget(StorVsp *vsp)
{
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *ch = &vsp->channels[i];

        stor_forget_items(ch);
        ch->open = ch->resubmit = ch->reply_waits = ch->resetting = false;
        ch->chan = NULL;
    }
}

const char *storvsp_load(StorVsp *vsp, VmbusChannel *chan, const void *data,
                         size_t len)
{
    const uint8_t *bytes = data;
    SavedVsp saved = {0};
    const char *why =
        vmbus_blob_begin(&bytes, &len, STOR_STATE_MAGIC, STOR_STATE_VERSION);

    forget(vsp);
    if (!why) {
        why = vmbus_blob_read(bytes, len, vsp_fields, G_N_ELEMENTS(vsp_fields),
                              &saved, load_channel, vsp);
    }
    if (!why) {
        why = validate(vsp, &saved, chan);
    }
    if (why) {
        forget(vsp);
        return why;
    }
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *ch = &vsp->channels[i];

        if (ch->open) {
            ch->chan = i ? vmbus_channel_subchannel(chan, i) : chan;
        }
    }
    vsp->subchannels = saved.subchannels;
    vsp->enumerations = saved.enumerations;
    g_atomic_int_set(&vsp->enumerate, saved.enumerate);
    g_atomic_int_set(&vsp->asked, saved.asked);
    g_atomic_int_set(&vsp->version, saved.version);
    g_atomic_int_set(&vsp->phase, saved.phase);
    return NULL;
}
