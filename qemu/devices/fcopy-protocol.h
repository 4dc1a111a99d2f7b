/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wire format of file copy (the guest service interface).  All fields are
 * little-endian; texts are UTF-16 with a final NUL.
 *
 * Source: Linux include/uapi/linux/hyperv.h and drivers/hv/hv_fcopy.c.
 */
#ifndef VMBUS_FCOPY_PROTOCOL_H
#define VMBUS_FCOPY_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

typedef enum FcopyWireOperation {
    FCOPY_OP_START = 0,
    FCOPY_OP_WRITE = 1,
    FCOPY_OP_COMPLETE = 2,
    FCOPY_OP_CANCEL = 3,
} FcopyWireOperation;

typedef struct FcopyWireHeader {
    uint32_t operation; /* FcopyWireOperation */
    uint8_t service[2][16];
} __attribute__((packed)) FcopyWireHeader;
_Static_assert(sizeof(FcopyWireHeader) == 36, "FcopyWireHeader");

#define FCOPY_OVERWRITE   1
#define FCOPY_CREATE_PATH 2

/* Units, with the final NUL. */
#define FCOPY_MAX_PATH 260

typedef struct FcopyWireStart {
    FcopyWireHeader header;
    uint16_t name[FCOPY_MAX_PATH];
    uint16_t directory[FCOPY_MAX_PATH];
    uint32_t flags; /* FCOPY_* */
    uint64_t size;  /* bytes of the file */
} __attribute__((packed)) FcopyWireStart;
_Static_assert(sizeof(FcopyWireStart) == 1088, "FcopyWireStart");
_Static_assert(offsetof(FcopyWireStart, directory) == 556, "directory");
_Static_assert(offsetof(FcopyWireStart, size) == 1080, "size");

#define FCOPY_FRAGMENT 6144

typedef struct FcopyWireWrite {
    FcopyWireHeader header;
    uint32_t reserved;
    uint64_t offset;
    uint32_t size; /* bytes of data that count */
    uint8_t data[FCOPY_FRAGMENT];
} __attribute__((packed)) FcopyWireWrite;
_Static_assert(sizeof(FcopyWireWrite) == 6196, "FcopyWireWrite");
_Static_assert(offsetof(FcopyWireWrite, data) == 52, "data");

/* Statuses of answers, as HRESULT, beside those of ic-protocol.h. */
#define FCOPY_STATUS_EXISTS    0x80070050u
#define FCOPY_STATUS_INVALID   0x80070057u
#define FCOPY_STATUS_DISK_FULL 0x80070070u

/* clang-format off */
#define IC_FCOPY_CLASS                                                  \
    VMBUS_GUID(0x34d14be3, 0xdee4, 0x41c8, 0x9a, 0xe7, 0x6b, 0x17,      \
               0x49, 0x77, 0xc1, 0x92)
#define IC_FCOPY_INSTANCE                                               \
    VMBUS_GUID(0xeb765408, 0x105f, 0x49b6, 0xb4, 0xaa, 0xc1, 0x23,      \
               0xb6, 0x4d, 0x17, 0xd4)
/* clang-format on */

#endif
