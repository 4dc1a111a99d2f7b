/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMBUS_GUID_H
#define VMBUS_GUID_H

#include <stdint.h>
#include <string.h>

/*
 * A GUID as it stands on the wire: the first three fields little-endian, the
 * last eight bytes as printed.
 */
typedef struct VmbusGuid {
    uint8_t b[16];
} VmbusGuid;

/* Makes a GUID from its printed fields: 57164f39-9115-4e78-ab55-382f3bd5422d
 * is VMBUS_GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, ..., 0x2d). */
#define VMBUS_GUID(d1, d2, d3, b8, b9, b10, b11, b12, b13, b14, b15)       \
    {                                                                      \
        {                                                                  \
            (d1) & 0xff, ((d1) >> 8) & 0xff, ((d1) >> 16) & 0xff,          \
            ((d1) >> 24) & 0xff, (d2) & 0xff, ((d2) >> 8) & 0xff,          \
            (d3) & 0xff, ((d3) >> 8) & 0xff, b8, b9, b10, b11, b12, b13,   \
            b14, b15                                                       \
        }                                                                  \
    }

#define VMBUS_GUID_STRLEN 36

static inline int vmbus_guid_equal(const VmbusGuid *x, const VmbusGuid *y)
{
    return !memcmp(x, y, sizeof(*x));
}

/*
 * Writes the printed form (lower case, no braces) and a final NUL to @out,
 * which has room for VMBUS_GUID_STRLEN + 1 bytes.  Returns @out.
 */
char *vmbus_guid_format(const VmbusGuid *guid, char *out);

#endif
