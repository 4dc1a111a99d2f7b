/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "bus/blob.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "saved states are little-endian, and copied as they are"
#endif

const char vmbus_blob_unknown[] =
    "The saved state has a part that this version does not know.";

GByteArray *vmbus_blob_new(uint32_t magic, uint32_t version)
{
    VmbusBlobHead head = {.magic = magic, .version = version};
    GByteArray *blob = g_byte_array_new();

    g_byte_array_append(blob, (const guint8 *)&head, sizeof(head));
    return blob;
}

void vmbus_blob_put(GByteArray *blob, uint16_t tag, const void *data,
                    uint32_t len)
{
    VmbusBlobItemHead head = {.tag = tag, .len = len};

    g_byte_array_append(blob, (const guint8 *)&head, sizeof(head));
    g_byte_array_append(blob, data, len);
}

guint vmbus_blob_open(GByteArray *blob, uint16_t tag)
{
    vmbus_blob_put(blob, tag, NULL, 0);
    return blob->len;
}

void vmbus_blob_close(GByteArray *blob, guint place)
{
    uint32_t len = blob->len - place;

    memcpy(blob->data + place - sizeof(len), &len, sizeof(len));
}

static uint64_t load_member(const void *record, const VmbusBlobField *field)
{
    uint64_t value = 0;

    memcpy(&value, (const uint8_t *)record + field->offset, field->size);
    return value;
}

void vmbus_blob_put_fields(GByteArray *blob, const VmbusBlobField *fields,
                           size_t count, const void *record)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = load_member(record, &fields[i]);

        vmbus_blob_put(blob, fields[i].tag, &value, sizeof(value));
    }
}

static const char *next_item(const uint8_t **data, size_t *len,
                             VmbusBlobItem *item)
{
    VmbusBlobItemHead head;

    if (*len < sizeof(head)) {
        return "The saved state ends inside an item.";
    }
    memcpy(&head, *data, sizeof(head));
    if (head.reserved) {
        return "The saved state is damaged: an item's head is not zero.";
    }
    if (head.len > *len - sizeof(head)) {
        return "The saved state has an item that is longer than the rest.";
    }
    *item = (VmbusBlobItem){
        .tag = head.tag, .len = head.len, .data = *data + sizeof(head)};
    *data += sizeof(head) + head.len;
    *len -= sizeof(head) + head.len;
    return NULL;
}

static const char *read_field(const VmbusBlobField *field,
                              const VmbusBlobItem *item, void *record)
{
    uint64_t value;

    if (item->len != sizeof(value)) {
        return "The saved state has a number that is not of 8 bytes.";
    }
    memcpy(&value, item->data, sizeof(value));
    if (value > field->max) {
        return "The saved state has a number that is out of range.";
    }
    memcpy((uint8_t *)record + field->offset, &value, field->size);
    return NULL;
}

/* The index of the field with @tag, or @count. */
static size_t find_field(const VmbusBlobField *fields, size_t count,
                         uint16_t tag)
{
    size_t i;

    for (i = 0; i < count && fields[i].tag != tag; i++) {
    }
    return i;
}

const char *vmbus_blob_read(const uint8_t *data, size_t len,
                            const VmbusBlobField *fields, size_t count,
                            void *record, VmbusBlobItemFn *other, void *opaque)
{
    uint64_t seen = 0;
    VmbusBlobItem item;

    g_assert(count <= VMBUS_BLOB_FIELDS);
    while (len) {
        const char *why = next_item(&data, &len, &item);
        size_t i;

        if (why) {
            return why;
        }
        i = find_field(fields, count, item.tag);
        if (i < count) {
            if (seen >> i & 1) {
                return "The saved state has a number twice.";
            }
            seen |= 1ull << i;
            why = read_field(&fields[i], &item, record);
        } else {
            why = other ? other(opaque, &item) : vmbus_blob_unknown;
        }
        if (why == vmbus_blob_unknown && (item.tag & VMBUS_BLOB_OPTIONAL)) {
            why = NULL;
        }
        if (why) {
            return why;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!(seen >> i & 1) && !fields[i].optional) {
            return "The saved state lacks a number.";
        }
    }
    return NULL;
}

const char *vmbus_blob_begin(const uint8_t **data, size_t *len, uint32_t magic,
                             uint32_t version)
{
    VmbusBlobHead head;

    if (*len < sizeof(head)) {
        return "The saved state is shorter than its head.";
    }
    memcpy(&head, *data, sizeof(head));
    if (head.magic != magic) {
        return "The saved state is of another kind.";
    }
    if (head.version == 0 || head.version > version) {
        return "The saved state is of a later version than this one.";
    }
    *data += sizeof(head);
    *len -= sizeof(head);
    return NULL;
}
