/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved state as bytes: a magic number and a version, then items of a tag, a
 * length and that many bytes.  All numbers are little-endian.  An item may
 * hold items itself.
 *
 * Later versions add items.  A reader that does not know a tag refuses the
 * state, unless the tag says that it may be skipped.
 */
#ifndef VMBUS_BLOB_H
#define VMBUS_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* Bit of a tag: a reader that does not know it may skip the item. */
#define VMBUS_BLOB_OPTIONAL 0x8000u

typedef struct VmbusBlobHead {
    uint32_t magic;
    uint32_t version;
} VmbusBlobHead;
_Static_assert(sizeof(VmbusBlobHead) == 8, "head of a saved state");

/* An item's head; unaligned in the stream. */
typedef struct VmbusBlobItemHead {
    uint16_t tag;
    uint16_t reserved; /* 0 */
    uint32_t len;
} VmbusBlobItemHead;
_Static_assert(sizeof(VmbusBlobItemHead) == 8, "head of an item");

/* Begins a state. */
GByteArray *vmbus_blob_new(uint32_t magic, uint32_t version);
void vmbus_blob_put(GByteArray *blob, uint16_t tag, const void *data,
                    uint32_t len);
/* Begins an item that holds items; what it returns goes to _close(). */
guint vmbus_blob_open(GByteArray *blob, uint16_t tag);
void vmbus_blob_close(GByteArray *blob, guint place);

/*
 * A number of a structure.  On the wire it has 8 bytes.  All that is in a
 * first version is required; what a later one adds has to keep the value that
 * the structure had before it was read.
 */
typedef struct VmbusBlobField {
    uint16_t tag;
    uint8_t size; /* of the member: 1, 2, 4 or 8 bytes */
    bool optional;
    uint16_t offset; /* of the member */
    uint64_t max;
} VmbusBlobField;

#define VMBUS_BLOB_FIELD(tag_, type, member, max_)                             \
    {                                                                          \
        .tag = (tag_), .size = sizeof(((type *)0)->member),                    \
        .offset = offsetof(type, member), .max = (max_)                        \
    }
/* A field that older states lack; the member keeps its value then. */
#define VMBUS_BLOB_LATER(tag_, type, member, max_)                             \
    {                                                                          \
        .tag = (tag_), .size = sizeof(((type *)0)->member), .optional = true,  \
        .offset = offsetof(type, member), .max = (max_)                        \
    }
/* At most so many fields in one table, with tags below VMBUS_BLOB_FIELDS. */
#define VMBUS_BLOB_FIELDS 64

void vmbus_blob_put_fields(GByteArray *blob, const VmbusBlobField *fields,
                           size_t count, const void *record);

typedef struct VmbusBlobItem {
    uint16_t tag;
    uint32_t len;
    const uint8_t *data; /* inside the blob */
} VmbusBlobItem;

/* Takes an item that is not in the table of fields: NULL, or a sentence. */
typedef const char *VmbusBlobItemFn(void *opaque, const VmbusBlobItem *item);
/* What it returns for a tag that it does not know. */
extern const char vmbus_blob_unknown[];

/*
 * Reads @len bytes of items: numbers to @record, the others to @other.
 * Returns NULL, or a static sentence.
 */
const char *vmbus_blob_read(const uint8_t *data, size_t len,
                            const VmbusBlobField *fields, size_t count,
                            void *record, VmbusBlobItemFn *other, void *opaque);

/* Checks the head, and moves both past it.  NULL, or a static sentence. */
const char *vmbus_blob_begin(const uint8_t **data, size_t *len, uint32_t magic,
                             uint32_t version);

#endif
