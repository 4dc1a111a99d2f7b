/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wire format of the integration services: heartbeat, shutdown, and the
 * framework that they share.  All fields are little-endian.
 *
 * Sources: Linux include/linux/hyperv.h and drivers/hv/hv_util.c,
 * OpenVMM hyperv_ic_protocol and vmbus_ring (pipe packets).
 *
 *  packet descriptor   in-band data, transaction id 0 (a pipe has none)
 *  IcPipeHeader        what makes the channel a message pipe
 *  IcHeader            whose message, which versions, request or answer
 *  body                IcHeader.message_size bytes
 */
#ifndef VMBUS_IC_PROTOCOL_H
#define VMBUS_IC_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define IC_VERSION(major, minor)  ((uint32_t)(major) << 16 | (minor))
#define IC_VERSION_MAJOR(version) ((uint16_t)((version) >> 16))
#define IC_VERSION_MINOR(version) ((uint16_t)((version)&0xffff))

#define IC_PIPE_DATA 1

typedef struct IcPipeHeader {
    uint32_t type; /* IC_PIPE_DATA */
    uint32_t size; /* bytes that follow, without padding */
} IcPipeHeader;
_Static_assert(sizeof(IcPipeHeader) == 8, "IcPipeHeader");

typedef enum IcMessageType {
    IC_MESSAGE_NEGOTIATE = 0,
    IC_MESSAGE_HEARTBEAT = 1,
    IC_MESSAGE_KVP = 2,
    IC_MESSAGE_SHUTDOWN = 3,
    IC_MESSAGE_TIMESYNC = 4,
    IC_MESSAGE_VSS = 5,
    IC_MESSAGE_RDV = 6,
    IC_MESSAGE_GUEST_INTERFACE = 7,
} IcMessageType;

#define IC_FLAG_TRANSACTION 1
#define IC_FLAG_REQUEST     2
#define IC_FLAG_RESPONSE    4

typedef struct IcWireVersion {
    uint16_t major;
    uint16_t minor;
} IcWireVersion;
_Static_assert(sizeof(IcWireVersion) == 4, "IcWireVersion");

typedef struct IcHeader {
    IcWireVersion framework_version;
    uint16_t message_type; /* IcMessageType */
    IcWireVersion message_version;
    uint16_t message_size; /* bytes of the body */
    uint32_t status;       /* HRESULT; in an answer */
    uint8_t transaction_id;
    uint8_t flags; /* IC_FLAG_* */
    uint8_t reserved[2];
} __attribute__((packed)) IcHeader;
_Static_assert(sizeof(IcHeader) == 20, "IcHeader");
_Static_assert(offsetof(IcHeader, message_type) == 4, "message_type");
_Static_assert(offsetof(IcHeader, message_size) == 10, "message_size");
_Static_assert(offsetof(IcHeader, status) == 12, "status");
_Static_assert(offsetof(IcHeader, transaction_id) == 16, "transaction_id");

/*
 * In a request, IcWireVersion of the framework and then of the messages
 * follow, as many as the counts say.  In an answer both counts are 1, and the
 * chosen pair follows; or both are 0: there is nothing in common.
 */
typedef struct IcNegotiate {
    uint16_t framework_count;
    uint16_t message_count;
    uint32_t reserved;
} IcNegotiate;
_Static_assert(sizeof(IcNegotiate) == 8, "IcNegotiate");

/* Largest message between host and guest, header included (OpenVMM). */
#define IC_MAX_MESSAGE_SIZE 13312

/* Heartbeat. */

typedef struct IcHeartbeat {
    uint64_t sequence;          /* the guest answers with it plus one */
    uint32_t application_state; /* IcApplicationState; message version 3 */
    uint32_t reserved;
} IcHeartbeat;
_Static_assert(sizeof(IcHeartbeat) == 16, "IcHeartbeat");
_Static_assert(offsetof(IcHeartbeat, application_state) == 8,
               "application_state");

/* A guest may answer with the sequence alone. */
#define IC_HEARTBEAT_MIN_SIZE 8

typedef enum IcApplicationState {
    IC_APPLICATION_UNKNOWN = 0,
    IC_APPLICATION_HEALTHY = 1,
    IC_APPLICATION_CRITICAL = 2,
    IC_APPLICATION_STOPPED = 3,
} IcApplicationState;

/* Shutdown. */

#define IC_SHUTDOWN_FORCE     1
#define IC_SHUTDOWN_RESTART   2
#define IC_SHUTDOWN_HIBERNATE 4

#define IC_SHUTDOWN_TEXT_UNITS 1024

typedef struct IcShutdown {
    uint32_t reason;       /* SHTDN_REASON_* of the Windows SDK */
    uint32_t timeout_secs; /* 0: the guest's default */
    uint32_t flags;        /* IC_SHUTDOWN_* */
    /*
     * 2048 bytes of text; no open guest reads them (Linux and FreeBSD skip
     * the field, OpenVMM sends zeros), and none says how they are encoded.
     * UTF-16 with a final NUL, like every other text of these services.
     */
    uint16_t text[IC_SHUTDOWN_TEXT_UNITS];
} IcShutdown;
_Static_assert(sizeof(IcShutdown) == 12 + 2048, "IcShutdown");
_Static_assert(offsetof(IcShutdown, text) == 12, "text");

#define IC_SHUTDOWN_REASON_PLANNED 0x80000000u

/* Statuses, as HRESULT. */
#define IC_STATUS_OK                   0x00000000u
#define IC_STATUS_FAIL                 0x80004005u
#define IC_STATUS_NOT_READY            0x80070015u
#define IC_STATUS_NOT_SUPPORTED        0x80070032u
#define IC_STATUS_SHUTDOWN_IN_PROGRESS 0x8007045bu
#define IC_STATUS_MACHINE_LOCKED       0x800704f7u

/* clang-format off */
#define IC_HEARTBEAT_CLASS                                              \
    VMBUS_GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f,      \
               0x3b, 0xd5, 0x42, 0x2d)
#define IC_HEARTBEAT_INSTANCE                                           \
    VMBUS_GUID(0xfd149e91, 0x82e0, 0x4a7d, 0xaf, 0xa6, 0x2a, 0x41,      \
               0x66, 0xcb, 0xd7, 0xc0)
#define IC_SHUTDOWN_CLASS                                               \
    VMBUS_GUID(0x0e0b6031, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9,      \
               0x0c, 0xed, 0x39, 0xdb)
#define IC_SHUTDOWN_INSTANCE                                            \
    VMBUS_GUID(0xb6650ff7, 0x33bc, 0x4840, 0x80, 0x48, 0xe0, 0x67,      \
               0x67, 0x86, 0xf3, 0x93)
/* clang-format on */

#endif
