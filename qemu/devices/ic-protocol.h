/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wire format of the integration services: heartbeat, shutdown, time
 * synchronization, backup (VSS), and the framework that they share.  All
 * fields are little-endian.
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

/* Time synchronization.  Times are 100 ns since 1601, UTC. */

#define IC_TIMESYNC_SYNC   1 /* set the clock */
#define IC_TIMESYNC_SAMPLE 2 /* take notice */

/* Message versions 1 and 3. */
typedef struct IcTimesync {
    uint64_t parent_time;
    uint64_t child_time; /* the guest's, in an answer; Linux leaves it */
    uint64_t round_trip_time;
    uint8_t flags; /* IC_TIMESYNC_* */
    uint8_t reserved[3];
} __attribute__((packed)) IcTimesync;
_Static_assert(sizeof(IcTimesync) == 28, "IcTimesync");
_Static_assert(offsetof(IcTimesync, flags) == 24, "flags");

/* Message version 4. */
typedef struct IcTimesyncRef {
    uint64_t parent_time;
    /* The partition's reference time at that moment, 100 ns. */
    uint64_t reference_time;
    uint8_t flags;   /* IC_TIMESYNC_* */
    uint8_t leap;    /* as in NTP; 0: none announced */
    uint8_t stratum; /* as in NTP; 0: unspecified */
    uint8_t reserved[5];
} __attribute__((packed)) IcTimesyncRef;
_Static_assert(sizeof(IcTimesyncRef) == 24, "IcTimesyncRef");
_Static_assert(offsetof(IcTimesyncRef, flags) == 16, "flags");

/* 1601 to 1970, in 100 ns. */
#define IC_TIME_UNIX_EPOCH 116444736000000000ull

/* Backup (VSS). */

typedef enum IcVssOperation {
    IC_VSS_HOT_BACKUP = 2, /* can the guest take part? */
    IC_VSS_FREEZE = 5,
    IC_VSS_THAW = 6,
} IcVssOperation;

/*
 * What Linux reads of a message.  Hyper-V's freeze goes on with lists of LUNs
 * whose layout nobody has published.
 */
typedef struct IcVss {
    uint8_t operation; /* IcVssOperation */
    uint8_t reserved[7];
    uint32_t flags; /* in the answer to IC_VSS_HOT_BACKUP */
} IcVss;
_Static_assert(sizeof(IcVss) == 12, "IcVss");
_Static_assert(offsetof(IcVss, flags) == 8, "flags");

/* Statuses, as HRESULT. */
#define IC_STATUS_OK                   0x00000000u
#define IC_STATUS_FAIL                 0x80004005u
#define IC_STATUS_NOT_READY            0x80070015u
#define IC_STATUS_NOT_SUPPORTED        0x80070032u
#define IC_STATUS_SHUTDOWN_IN_PROGRESS 0x8007045bu
#define IC_STATUS_MACHINE_LOCKED       0x800704f7u
/* VSS_E_HOLD_WRITES_TIMEOUT: writes were not held until the thaw. */
#define IC_STATUS_NOT_HELD 0x80042314u

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
#define IC_TIMESYNC_CLASS                                               \
    VMBUS_GUID(0x9527e630, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a,      \
               0xb0, 0x17, 0x5c, 0xaf)
#define IC_TIMESYNC_INSTANCE                                            \
    VMBUS_GUID(0x2dd1ce17, 0x079e, 0x403c, 0xb3, 0x52, 0xa1, 0x92,      \
               0x1e, 0xe2, 0x07, 0xee)
#define IC_VSS_CLASS                                                    \
    VMBUS_GUID(0x35fa2e29, 0xea23, 0x4236, 0x96, 0xae, 0x3a, 0x6e,      \
               0xba, 0xcb, 0xa4, 0x40)
#define IC_VSS_INSTANCE                                                 \
    VMBUS_GUID(0x2450ee40, 0x33bf, 0x4fbd, 0x89, 0x2e, 0x9f, 0xb0,      \
               0x6e, 0x92, 0x14, 0xcf)
/* clang-format on */

#endif
