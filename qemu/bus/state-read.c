/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a state to its end, without a look at the bus. */
#include "bus/state-format.h"
#include "bus/state.h"

/* Texts in a state are for people; a longer one is cut. */
#define TEXT_MAX 200u

static const char *read_fields(const uint8_t *data, size_t len, unsigned which,
                               void *record, VmbusBlobItemFn *other,
                               void *opaque)
{
    return vmbus_blob_read(data, len, vmbus_state_fields[which].fields,
                           vmbus_state_fields[which].count, record, other,
                           opaque);
}

static const char *letter_item(void *opaque, const VmbusBlobItem *item)
{
    VmbusLetter *letter = opaque;

    if (item->tag != LETTER_MESSAGE) {
        return vmbus_blob_unknown;
    }
    if (item->len > VMBUS_MAX_MESSAGE) {
        return "The saved state has a message that is too long.";
    }
    memcpy(letter->msg.bytes, item->data, item->len);
    letter->len = item->len;
    return NULL;
}

static const char *read_letter(const VmbusBlobItem *item, VmbusLetter *letter)
{
    *letter = (VmbusLetter){0};
    return read_fields(item->data, item->len, STATE_FIELDS_LETTER, letter,
                       letter_item, letter);
}

static const char *read_letter_out(const VmbusBlobItem *item,
                                   VmbusLetter *letter)
{
    const char *why;

    if (letter->len) {
        return "The saved state has a message twice.";
    }
    why = read_letter(item, letter);
    if (!why && letter->len < sizeof(VmbusMsgHeader)) {
        return "The saved state has a message that is too short.";
    }
    return why;
}

/* A copy that lives for ever; there are as many as states are loaded. */
static const char *intern_text(const VmbusBlobItem *item)
{
    char text[TEXT_MAX + 1];
    size_t len = MIN(item->len, TEXT_MAX);

    for (size_t i = 0; i < len; i++) {
        text[i] = g_ascii_isprint(item->data[i]) ? item->data[i] : '?';
    }
    text[len] = '\0';
    return g_intern_string(text);
}

static const char *read_guid(const VmbusBlobItem *item, VmbusGuid *guid,
                             bool *has)
{
    if (item->len != sizeof(*guid) || *has) {
        return "The saved state has an id that is not of 16 bytes, or twice.";
    }
    memcpy(guid, item->data, sizeof(*guid));
    *has = true;
    return NULL;
}

static const char *channel_item(void *opaque, const VmbusBlobItem *item)
{
    SavedChannel *saved = opaque;

    switch (item->tag) {
    case CHANNEL_INSTANCE:
        return read_guid(item, &saved->instance, &saved->has_instance);
    case CHANNEL_CLASS:
        return read_guid(item, &saved->class_id, &saved->has_class);
    case CHANNEL_NAME:
        saved->name = intern_text(item);
        return NULL;
    case CHANNEL_CORRUPTION:
        saved->corruption = intern_text(item);
        return NULL;
    case CHANNEL_TORNDOWN:
        if (item->len % sizeof(uint32_t) ||
            item->len / sizeof(uint32_t) >= VMBUS_GPADL_MAX_COUNT) {
            return "The saved state has a list of GPADLs that is damaged.";
        }
        saved->torndown = item->data;
        saved->torndown_count = item->len / sizeof(uint32_t);
        return NULL;
    case CHANNEL_RINGS:
        if (saved->has_rings) {
            return "The saved state has the rings of a channel twice.";
        }
        saved->has_rings = true;
        return read_fields(item->data, item->len, STATE_FIELDS_RINGS,
                           &saved->rings, NULL, NULL);
    default:
        return vmbus_blob_unknown;
    }
}

static const char *gpadl_item(void *opaque, const VmbusBlobItem *item)
{
    SavedGpadl *saved = opaque;

    if (item->tag != GPADL_WORDS) {
        return vmbus_blob_unknown;
    }
    if (saved->words || item->len % sizeof(uint64_t)) {
        return "The saved state has a GPADL whose pages are damaged.";
    }
    saved->words = item->data;
    saved->received = item->len / sizeof(uint64_t);
    return NULL;
}

static const char *read_channel(StateLoader *loader, const VmbusBlobItem *item)
{
    SavedChannel saved = {0};
    const char *why;

    if (loader->channels->len >= VMBUS_RELID_COUNT) {
        return "The saved state has too many channels.";
    }
    why = read_fields(item->data, item->len, STATE_FIELDS_CHANNEL, &saved,
                      channel_item, &saved);
    g_array_append_val(loader->channels, saved);
    return why;
}

static const char *read_gpadl(StateLoader *loader, const VmbusBlobItem *item)
{
    SavedGpadl saved = {0};
    const char *why;

    if (loader->gpadls->len >= VMBUS_GPADL_MAX_COUNT) {
        return "The saved state has too many GPADLs.";
    }
    why = read_fields(item->data, item->len, STATE_FIELDS_GPADL, &saved,
                      gpadl_item, &saved);
    g_array_append_val(loader->gpadls, saved);
    return why;
}

static const char *read_senders(StateLoader *loader, const VmbusBlobItem *item)
{
    if (loader->has_senders || item->len % sizeof(uint32_t) ||
        item->len / sizeof(uint32_t) > VMBUS_RELID_COUNT) {
        return "The saved state has a list of messages that is damaged.";
    }
    loader->has_senders = true;
    g_array_set_size(loader->senders, item->len / sizeof(uint32_t));
    if (item->len) {
        memcpy(loader->senders->data, item->data, item->len);
    }
    return NULL;
}

static const char *bus_item(void *opaque, const VmbusBlobItem *item)
{
    StateLoader *loader = opaque;

    switch (item->tag) {
    case BUS_WAITING:
        if (loader->waiting_count == VMBUS_MAX_WAITING) {
            return "The saved state has too many messages of the guest.";
        }
        return read_letter(item, &loader->waiting[loader->waiting_count++]);
    case BUS_REPLY:
        return read_letter_out(item, &loader->reply);
    case BUS_FLYING:
        return read_letter_out(item, &loader->flying);
    case BUS_CHANNEL:
        return read_channel(loader, item);
    case BUS_GPADL:
        return read_gpadl(loader, item);
    case BUS_SENDERS:
        return read_senders(loader, item);
    case BUS_CLIENT_ID:
        return read_guid(item, &loader->saved.client_id,
                         &loader->saved.has_client_id);
    default:
        return vmbus_blob_unknown;
    }
}

const char *vmbus_state_read(StateLoader *loader, const uint8_t *data,
                             size_t len)
{
    const char *why;

    if (len > VMBUS_STATE_MAX) {
        return "The saved state is too large.";
    }
    why = vmbus_blob_begin(&data, &len, STATE_MAGIC, STATE_VERSION);
    return why ? why
               : read_fields(data, len, STATE_FIELDS_BUS, &loader->saved,
                             bus_item, loader);
}
