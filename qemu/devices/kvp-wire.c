/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/kvp-wire.h"

#include <string.h>

static const char *const refusal_sentences[KVP_REFUSAL_COUNT] = {
    [KVP_REFUSED_SHORT] = "the guest's answer is too short for an item",
    [KVP_REFUSED_KEY_SIZE] =
        "the guest's item has a key whose size is out of range",
    [KVP_REFUSED_KEY_ODD] =
        "the guest's item has a key of an odd number of bytes",
    [KVP_REFUSED_KEY_TERMINATOR] = "the guest's item has a key without an end",
    [KVP_REFUSED_KEY_TEXT] = "the guest's item has a key that is no UTF-16",
    [KVP_REFUSED_VALUE_TYPE] =
        "the guest's item has a value of an unknown type",
    [KVP_REFUSED_VALUE_SIZE] =
        "the guest's item has a value whose size is out of range",
    [KVP_REFUSED_VALUE_ODD] =
        "the guest's item has a value of an odd number of bytes",
    [KVP_REFUSED_VALUE_TERMINATOR] =
        "the guest's item has a value without an end",
    [KVP_REFUSED_VALUE_TEXT] = "the guest's item has a value that is no UTF-16",
    [KVP_REFUSED_NUMBER_SIZE] = "the guest's item has a number of a wrong size",
    [KVP_REFUSED_IP_SHORT] = "the guest's answer is too short for IP settings",
    [KVP_REFUSED_IP_TERMINATOR] =
        "the guest's IP settings have a text without an end",
    [KVP_REFUSED_IP_TEXT] =
        "the guest's IP settings have a text that is no UTF-16",
    [KVP_REFUSED_IP_COUNT] =
        "the guest's IP settings have more addresses than a message holds",
    [KVP_REFUSED_IP_PREFIX] =
        "the guest's IP settings have a prefix longer than an address",
};

const char *kvp_refusal_sentence(KvpRefusal refusal)
{
    return (unsigned)refusal < KVP_REFUSAL_COUNT ? refusal_sentences[refusal]
                                                 : NULL;
}

int kvp_put_text(void *wire, size_t units, const char *text)
{
    g_autofree gunichar2 *wide = NULL;
    glong count;

    memset(wire, 0, units * 2);
    wide = g_utf8_to_utf16(text, -1, NULL, &count, NULL);
    if (!wide || (size_t)count >= units) {
        return -1;
    }
    for (glong i = 0; i < count; i++) {
        wide[i] = GUINT16_TO_LE(wide[i]);
    }
    memcpy(wire, wide, count * 2);
    return count;
}

char *kvp_get_text(const void *wire, size_t count)
{
    g_autofree gunichar2 *wide = g_new(gunichar2, count + 1);
    glong taken;
    char *text;

    memcpy(wide, wire, count * 2);
    for (size_t i = 0; i < count; i++) {
        wide[i] = GUINT16_FROM_LE(wide[i]);
    }
    wide[count] = 0;
    text = g_utf16_to_utf8(wide, count, &taken, NULL, NULL);
    /* A NUL inside is no text either. */
    if (text && (size_t)taken != count) {
        g_clear_pointer(&text, g_free);
    }
    return text;
}

void vmbus_kvp_item_free(VmbusKvpItem *item)
{
    if (item) {
        g_free(item->key);
        g_free(item->text);
        g_free(item);
    }
}

static VmbusKvpResult put_key(uint8_t *wire, uint32_t *size, const char *key)
{
    int units;

    if (!key || !*key) {
        return VMBUS_KVP_NO_KEY;
    }
    /* Measured first: a caller may give any length. */
    if (strnlen(key, KVP_KEY_BYTES + 1) > KVP_KEY_BYTES) {
        return VMBUS_KVP_KEY_TOO_LONG;
    }
    if (!g_utf8_validate(key, -1, NULL)) {
        return VMBUS_KVP_KEY_NOT_UTF8;
    }
    units = kvp_put_text(wire, KVP_MAX_KEY_SIZE / 2, key);
    if (units < 0 || units > KVP_KEY_UNITS) {
        return VMBUS_KVP_KEY_TOO_LONG;
    }
    *size = GUINT32_TO_LE((units + 1) * 2);
    return VMBUS_KVP_OK;
}

static VmbusKvpResult put_value(KvpWireValue *wire, const VmbusKvpRequest *req)
{
    uint32_t number = GUINT32_TO_LE((uint32_t)req->number);
    int units;

    switch (req->type) {
    case VMBUS_KVP_U32:
        if (req->number > UINT32_MAX) {
            return VMBUS_KVP_VALUE_TYPE;
        }
        wire->type = GUINT32_TO_LE(KVP_TYPE_U32);
        wire->value_size = GUINT32_TO_LE(sizeof(number));
        memcpy(wire->value, &number, sizeof(number));
        return VMBUS_KVP_OK;
    case VMBUS_KVP_STRING:
        break;
    default:
        return VMBUS_KVP_VALUE_TYPE;
    }
    if (!req->text) {
        return VMBUS_KVP_NO_VALUE;
    }
    if (strnlen(req->text, KVP_VALUE_BYTES + 1) > KVP_VALUE_BYTES) {
        return VMBUS_KVP_VALUE_TOO_LONG;
    }
    if (!g_utf8_validate(req->text, -1, NULL)) {
        return VMBUS_KVP_VALUE_NOT_UTF8;
    }
    units = kvp_put_text(wire->value, KVP_MAX_VALUE_SIZE / 2, req->text);
    if (units < 0 || units > KVP_VALUE_UNITS) {
        return VMBUS_KVP_VALUE_TOO_LONG;
    }
    wire->type = GUINT32_TO_LE(KVP_TYPE_STRING);
    wire->value_size = GUINT32_TO_LE((units + 1) * 2);
    return VMBUS_KVP_OK;
}

/* A key is checked for FIND, too, though it is not sent. */
static VmbusKvpResult put_item_request(KvpWireMessage *wire,
                                       const VmbusKvpRequest *req)
{
    uint8_t unused[KVP_MAX_KEY_SIZE];
    uint32_t size, value_size;
    VmbusKvpResult result;

    if ((unsigned)req->pool >= VMBUS_KVP_POOLS) {
        return VMBUS_KVP_BAD_POOL;
    }
    wire->header.pool = req->pool;
    switch (req->operation) {
    case VMBUS_KVP_FIND:
        wire->header.operation = KVP_OP_ENUMERATE;
        return put_key(unused, &size, req->key);
    case VMBUS_KVP_GET:
        wire->header.operation = KVP_OP_GET;
        /* Linux copies as much of the value as the host says it takes. */
        value_size = GUINT32_TO_LE(KVP_MAX_VALUE_SIZE);
        wire->item.value_size = value_size;
        result = put_key(wire->item.key, &size, req->key);
        wire->item.key_size = size;
        return result;
    case VMBUS_KVP_SET:
        wire->header.operation = KVP_OP_SET;
        result = put_key(wire->item.key, &size, req->key);
        if (result == VMBUS_KVP_OK) {
            wire->item.key_size = size;
            result = put_value(&wire->item, req);
        }
        return result;
    case VMBUS_KVP_DELETE:
        wire->header.operation = KVP_OP_DELETE;
        result = put_key(wire->remove.key, &size, req->key);
        wire->remove.key_size = size;
        return result;
    default:
        wire->header.operation = KVP_OP_ENUMERATE;
        return VMBUS_KVP_OK;
    }
}

VmbusKvpResult kvp_put_request(KvpRequestBody *body, const VmbusKvpRequest *req,
                               uint32_t version)
{
    memset(body, 0, sizeof(*body));
    if ((unsigned)req->operation >= VMBUS_KVP_OPERATIONS || !req->timeout_ns) {
        return VMBUS_KVP_BAD_REQUEST;
    }
    if (req->operation == VMBUS_KVP_GET_IP ||
        req->operation == VMBUS_KVP_SET_IP) {
        return kvp_put_ip_request(body, req, version);
    }
    body->len = sizeof(body->message);
    return put_item_request(&body->message, req);
}

void kvp_put_index(KvpRequestBody *body, uint32_t index)
{
    body->message.enumerate.index = GUINT32_TO_LE(index);
}

/* A text of @size bytes in a field of @max; its terminator is counted. */
static const char *read_text(const uint8_t *wire, uint32_t size, uint32_t max,
                             KvpRefusal first, char **text)
{
    /* The refusals of a key and of a value stand in the same order. */
    enum { SIZE, ODD, TERMINATOR, TEXT };

    if (size < 2 || size > max) {
        return kvp_refusal_sentence(first + SIZE);
    }
    if (size % 2) {
        return kvp_refusal_sentence(first + ODD);
    }
    if (wire[size - 2] || wire[size - 1]) {
        return kvp_refusal_sentence(first + TERMINATOR);
    }
    *text = kvp_get_text(wire, size / 2 - 1);
    return *text ? NULL : kvp_refusal_sentence(first + TEXT);
}

static const char *read_number(const KvpWireValue *wire, VmbusKvpItem *item,
                               uint32_t size)
{
    uint32_t u32;
    uint64_t u64;

    item->type = size == sizeof(u32) ? VMBUS_KVP_U32 : VMBUS_KVP_U64;
    if (GUINT32_FROM_LE(wire->value_size) != size) {
        return kvp_refusal_sentence(KVP_REFUSED_NUMBER_SIZE);
    }
    if (size == sizeof(u32)) {
        memcpy(&u32, wire->value, sizeof(u32));
        item->number = GUINT32_FROM_LE(u32);
    } else {
        memcpy(&u64, wire->value, sizeof(u64));
        item->number = GUINT64_FROM_LE(u64);
    }
    return NULL;
}

static const char *read_value(const KvpWireValue *wire, VmbusKvpItem *item)
{
    switch (GUINT32_FROM_LE(wire->type)) {
    case KVP_TYPE_STRING:
    case KVP_TYPE_EXPAND_STRING:
        item->type = VMBUS_KVP_STRING;
        return read_text(wire->value, GUINT32_FROM_LE(wire->value_size),
                         sizeof(wire->value), KVP_REFUSED_VALUE_SIZE,
                         &item->text);
    case KVP_TYPE_U32:
        return read_number(wire, item, sizeof(uint32_t));
    case KVP_TYPE_LINUX_U64:
    case KVP_TYPE_U64:
        return read_number(wire, item, sizeof(uint64_t));
    default:
        return kvp_refusal_sentence(KVP_REFUSED_VALUE_TYPE);
    }
}

/* Takes over @key, which may be NULL with a reason in @why. */
static const char *finish_item(const KvpWireValue *wire, char *key,
                               const char *why, VmbusKvpItem **item)
{
    VmbusKvpItem *new = g_new0(VmbusKvpItem, 1);

    new->key = key;
    if (!why) {
        why = read_value(wire, new);
    }
    if (why) {
        g_clear_pointer(&new, vmbus_kvp_item_free);
    }
    *item = new;
    return why;
}

const char *kvp_read_enumerated(const uint8_t *body, uint32_t len,
                                VmbusKvpItem **item)
{
    KvpWireMessage wire;
    const KvpWireValue *value = &wire.enumerate.item;
    char *key = NULL;
    const char *why;

    *item = NULL;
    if (len < sizeof(wire)) {
        return kvp_refusal_sentence(KVP_REFUSED_SHORT);
    }
    memcpy(&wire, body, sizeof(wire));
    why = read_text(value->key, GUINT32_FROM_LE(value->key_size),
                    sizeof(value->key), KVP_REFUSED_KEY_SIZE, &key);
    return finish_item(value, key, why, item);
}

const char *kvp_read_got(const uint8_t *body, uint32_t len, const char *key,
                         VmbusKvpItem **item)
{
    KvpWireMessage wire = {0};
    const uint32_t need = offsetof(KvpWireMessage, item) + sizeof(wire.item);

    *item = NULL;
    if (len < need) {
        return kvp_refusal_sentence(KVP_REFUSED_SHORT);
    }
    memcpy(&wire, body, need);
    return finish_item(&wire.item, g_strdup(key), NULL, item);
}
