/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage protocol as it stands on the wire.  Layouts and numbers agree
 * with Linux' drivers/scsi/storvsc_drv.c and OpenVMM's storvsp_protocol and
 * scsi_defs.  All numbers are little-endian.
 *
 * The guest sends packets that ask for a completion; each is answered by one
 * COMPLETE_IO with the same transaction id.  The host sends ENUMERATE_BUS and
 * REMOVE_DEVICE of its own accord, with the transaction id 0.
 */
#ifndef VMBUS_STORVSP_PROTOCOL_H
#define VMBUS_STORVSP_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "bus/guid.h"

/* Class ids of the offers. */
#define STOR_SCSI_CLASS                                                        \
    VMBUS_GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, \
               0xdc, 0x7f)
#define STOR_FC_CLASS                                                          \
    VMBUS_GUID(0x2f9bcc4a, 0x0069, 0x4af3, 0xb7, 0x6b, 0x6f, 0xd0, 0xbe, 0x52, \
               0x8c, 0xda)
/*
 * The faster way to a disk that is on an emulated IDE controller, too: one
 * disk an offer, one channel.  Its instance id says which disk, by the printed
 * fields (IDE channel, device, 0x8899, zeros): Linux takes bytes 4 and 5 as
 * the number of its target.  Old Windows drivers look at StorIdeOffer instead.
 */
#define STOR_IDE_CLASS                                                         \
    VMBUS_GUID(0x32412632, 0x86cb, 0x44a2, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, \
               0x54, 0xf5)

/* At the head of the user-defined data of an offer of STOR_IDE_CLASS. */
typedef struct StorIdeOffer {
    uint16_t reserved;
    uint8_t path; /* IDE channel */
    uint8_t target;
    uint32_t reserved2;
    uint32_t flags; /* STOR_IDE_OFFER_EMULATED */
    uint32_t reserved3[3];
} StorIdeOffer;
_Static_assert(sizeof(StorIdeOffer) == 24, "IDE offer");
_Static_assert(offsetof(StorIdeOffer, flags) == 8, "IDE offer");
#define STOR_IDE_OFFER_EMULATED 0x2u

/* Versions: major << 8 | minor. */
#define STOR_VERSION(major, minor) ((uint16_t)((major) << 8 | (minor)))
#define STOR_VERSION_4_2           STOR_VERSION(4, 2) /* Windows 7 */
#define STOR_VERSION_5_1           STOR_VERSION(5, 1) /* Windows 8: sub-channels */
#define STOR_VERSION_6_0           STOR_VERSION(6, 0) /* Windows 8.1 */
#define STOR_VERSION_6_2           STOR_VERSION(6, 2) /* Windows 10 */

typedef enum StorOperation {
    STOR_COMPLETE_IO = 1,
    STOR_REMOVE_DEVICE = 2,
    STOR_EXECUTE_SRB = 3,
    STOR_RESET_LUN = 4,
    STOR_RESET_ADAPTER = 5,
    STOR_RESET_BUS = 6,
    STOR_BEGIN_INITIALIZATION = 7,
    STOR_END_INITIALIZATION = 8,
    STOR_QUERY_PROTOCOL_VERSION = 9,
    STOR_QUERY_PROPERTIES = 10,
    STOR_ENUMERATE_BUS = 11,
    STOR_FCHBA_DATA = 12,
    STOR_CREATE_SUB_CHANNELS = 13,
    STOR_OPERATION_COUNT
} StorOperation;

/* NTSTATUS values in StorHeader.status of a completion. */
#define STOR_STATUS_SUCCESS                0x00000000u
#define STOR_STATUS_BUFFER_OVERFLOW        0x80000005u
#define STOR_STATUS_DEVICE_BUSY            0x80000011u
#define STOR_STATUS_INVALID_PARAMETER      0xc000000du
#define STOR_STATUS_INVALID_DEVICE_REQUEST 0xc0000010u
#define STOR_STATUS_REVISION_MISMATCH      0xc0000059u
#define STOR_STATUS_DEVICE_DOES_NOT_EXIST  0xc00000c0u
#define STOR_STATUS_CANCELLED              0xc0000120u
#define STOR_STATUS_INVALID_DEVICE_STATE   0xc0000184u
#define STOR_STATUS_IO_DEVICE_ERROR        0xc0000185u

typedef struct StorHeader {
    uint32_t operation; /* StorOperation */
    uint32_t flags;     /* bit 0: completion wanted */
    uint32_t status;
} StorHeader;
_Static_assert(sizeof(StorHeader) == 12, "storage header");

/* StorSrb.srb_status: a status in the low six bits, and flags. */
#define STOR_SRB_SUCCESS         0x01
#define STOR_SRB_ABORTED         0x02
#define STOR_SRB_ERROR           0x04
#define STOR_SRB_BUSY            0x05
#define STOR_SRB_INVALID_REQUEST 0x06
#define STOR_SRB_DATA_OVERRUN    0x12
#define STOR_SRB_INVALID_LUN     0x20
#define STOR_SRB_STATUS_MASK     0x3f
#define STOR_SRB_AUTOSENSE_VALID 0x80

/* StorSrb.srb_flags, of those that matter here. */
#define STOR_SRB_FLAG_DISABLE_AUTOSENSE 0x00000020u

/* StorSrb.data_in */
#define STOR_DATA_OUT  0 /* from the guest to the device */
#define STOR_DATA_IN   1
#define STOR_DATA_NONE 2

#define STOR_MAX_CDB 16
/* What fits; 4.2 has two bytes less. */
#define STOR_MAX_SENSE     20
#define STOR_MAX_SENSE_4_2 18

typedef struct StorSrb {
    uint16_t length;
    uint8_t srb_status;
    uint8_t scsi_status;
    uint8_t port;
    uint8_t path;
    uint8_t target;
    uint8_t lun;
    uint8_t cdb_length;
    uint8_t sense_length;
    uint8_t data_in;
    uint8_t reserved;
    uint32_t data_transfer_length;
    union {
        uint8_t cdb[STOR_MAX_CDB];
        uint8_t sense[STOR_MAX_SENSE];
    };
    /* From 5.1 on. */
    uint16_t reserved2;
    uint8_t queue_tag;
    uint8_t queue_action;
    uint32_t srb_flags;
    uint32_t timeout; /* seconds */
    uint32_t queue_sort_key;
} StorSrb;
_Static_assert(sizeof(StorSrb) == 52, "SRB");
_Static_assert(offsetof(StorSrb, cdb_length) == 8, "SRB");
_Static_assert(offsetof(StorSrb, data_transfer_length) == 12, "SRB");
_Static_assert(offsetof(StorSrb, cdb) == 16, "SRB");
_Static_assert(offsetof(StorSrb, srb_flags) == 40, "SRB");

/* Bytes of a StorSrb before 5.1. */
#define STOR_SRB_SIZE_4_2 36u
_Static_assert(offsetof(StorSrb, reserved2) == STOR_SRB_SIZE_4_2, "SRB");

typedef struct StorVersion {
    uint16_t major_minor;
    uint16_t revision; /* of Windows' source; 0 */
} StorVersion;
_Static_assert(sizeof(StorVersion) == 4, "storage version");

#define STOR_PROPERTY_MULTI_CHANNEL 0x1u

typedef struct StorProperties {
    uint32_t reserved;
    uint16_t max_subchannels; /* beside the primary channel */
    uint16_t reserved2;
    uint32_t flags; /* STOR_PROPERTY_* */
    uint32_t max_transfer_bytes;
    uint32_t reserved3[2];
} StorProperties;
_Static_assert(sizeof(StorProperties) == 24, "storage properties");
_Static_assert(offsetof(StorProperties, max_transfer_bytes) == 12,
               "storage properties");

/* Names of a fibre channel adapter, most significant byte first. */
typedef struct StorFcNames {
    uint8_t primary_active;
    uint8_t reserved[3];
    uint8_t primary_port[8];
    uint8_t primary_node[8];
    uint8_t secondary_port[8];
    uint8_t secondary_node[8];
} StorFcNames;
_Static_assert(sizeof(StorFcNames) == 36, "fibre channel names");

typedef struct StorPacket {
    StorHeader header;
    union {
        StorSrb srb;
        StorProperties properties;
        StorVersion version;
        StorFcNames fc;
        uint16_t subchannel_count;
        uint8_t bytes[sizeof(StorSrb)];
    };
} StorPacket;
_Static_assert(sizeof(StorPacket) == 64, "storage packet");
_Static_assert(offsetof(StorPacket, srb) == 12, "storage packet");

/* A packet of 4.2. */
#define STOR_PACKET_SIZE_4_2 (sizeof(StorHeader) + STOR_SRB_SIZE_4_2)

#endif
