/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMBus as it stands on the wire: messages, rings and packets.
 *
 * All numbers are little-endian, and so must the host be.  Layouts agree with
 * Linux' include/linux/hyperv.h and OpenVMM's vmbus_core and vmbus_ring.
 */
#ifndef VMBUS_PROTOCOL_H
#define VMBUS_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "bus/guid.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "VMBus needs a little-endian host"
#endif

#define VMBUS_PAGE_SIZE  4096u
#define VMBUS_PAGE_SHIFT 12

/* Versions: major << 16 | minor. */
#define VMBUS_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

#define VMBUS_VERSION_0_13 VMBUS_VERSION(0, 13) /* Windows Server 2008 */
#define VMBUS_VERSION_1_1  VMBUS_VERSION(1, 1)  /* Windows 7 */
#define VMBUS_VERSION_2_4  VMBUS_VERSION(2, 4)  /* Windows 8 */
#define VMBUS_VERSION_3_0  VMBUS_VERSION(3, 0)  /* Windows 8.1 */
#define VMBUS_VERSION_4_0  VMBUS_VERSION(4, 0)  /* Windows 10 */
#define VMBUS_VERSION_4_1  VMBUS_VERSION(4, 1)  /* Windows 10 1709 */
#define VMBUS_VERSION_5_0  VMBUS_VERSION(5, 0)
#define VMBUS_VERSION_5_1  VMBUS_VERSION(5, 1) /* Windows 10 1803 */
#define VMBUS_VERSION_5_2  VMBUS_VERSION(5, 2) /* Windows Server 2019 */
#define VMBUS_VERSION_5_3  VMBUS_VERSION(5, 3) /* Windows Server 2022 */
#define VMBUS_VERSION_6_0  VMBUS_VERSION(6, 0)

/* Features, which 6.0 and later versions agree on one by one. */
#define VMBUS_FEATURE_GUEST_SIGNAL       0x01u /* VmbusMsgOpen2 */
#define VMBUS_FEATURE_REDIRECT_INTERRUPT 0x02u
#define VMBUS_FEATURE_MODIFY_CONNECTION  0x04u
#define VMBUS_FEATURE_CLIENT_ID          0x08u /* VmbusMsgInitiateContact2 */
#define VMBUS_FEATURE_CONFIDENTIAL       0x10u
#define VMBUS_FEATURE_PAUSE_RESUME       0x20u
#define VMBUS_FEATURE_SERVER_MONITOR     0x40u
#define VMBUS_FEATURE_PINNED_MEMORY      0x80u

/* Connections on which a guest posts its messages. */
#define VMBUS_MESSAGE_CONNECTION_ID             1
#define VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID 4

/* What a guest signals after it has set bits in its interrupt page. */
#define VMBUS_EVENT_CONNECTION_ID 2

/* Where messages and event flags arrive unless the guest says otherwise. */
#define VMBUS_MESSAGE_SINT 2
#define VMBUS_SINT_COUNT   16

#define VMBUS_MAX_MESSAGE 240 /* bytes of payload of a SynIC message */

/*
 * Relids are 1 to 2047: they are the numbers of event flags, of which a SINT
 * has 2048, and Linux takes flag 0 for something else.
 */
#define VMBUS_RELID_COUNT 2048

/* Connection ids have 24 bits; the host's own services have the first ones. */
#define VMBUS_CONNECTION_ID_MASK       0xffffffu
#define VMBUS_CONNECTION_ID_FIRST_FREE 17u

/* Target VP of a channel that shall not interrupt. */
#define VMBUS_VP_NONE 0xffffffffu

typedef enum VmbusMessageType {
    VMBUS_MSG_INVALID = 0,
    VMBUS_MSG_OFFERCHANNEL = 1,
    VMBUS_MSG_RESCIND_CHANNELOFFER = 2,
    VMBUS_MSG_REQUESTOFFERS = 3,
    VMBUS_MSG_ALLOFFERS_DELIVERED = 4,
    VMBUS_MSG_OPENCHANNEL = 5,
    VMBUS_MSG_OPENCHANNEL_RESULT = 6,
    VMBUS_MSG_CLOSECHANNEL = 7,
    VMBUS_MSG_GPADL_HEADER = 8,
    VMBUS_MSG_GPADL_BODY = 9,
    VMBUS_MSG_GPADL_CREATED = 10,
    VMBUS_MSG_GPADL_TEARDOWN = 11,
    VMBUS_MSG_GPADL_TORNDOWN = 12,
    VMBUS_MSG_RELID_RELEASED = 13,
    VMBUS_MSG_INITIATE_CONTACT = 14,
    VMBUS_MSG_VERSION_RESPONSE = 15,
    VMBUS_MSG_UNLOAD = 16,
    VMBUS_MSG_UNLOAD_RESPONSE = 17,
    VMBUS_MSG_OPEN_RESERVED = 18,
    VMBUS_MSG_CLOSE_RESERVED = 19,
    VMBUS_MSG_CLOSE_RESERVED_RESPONSE = 20,
    VMBUS_MSG_TL_CONNECT_REQUEST = 21,
    VMBUS_MSG_MODIFYCHANNEL = 22,
    VMBUS_MSG_TL_CONNECT_RESULT = 23,
    VMBUS_MSG_MODIFYCHANNEL_RESPONSE = 24,
    VMBUS_MSG_MODIFY_CONNECTION = 25,
    VMBUS_MSG_MODIFY_CONNECTION_RESPONSE = 26,
    VMBUS_MSG_PAUSE = 27,
    VMBUS_MSG_PAUSE_RESPONSE = 28,
    VMBUS_MSG_RESUME = 29,
    VMBUS_MSG_COUNT
} VmbusMessageType;

/* Statuses of results; the values are those of OpenVMM. */
#define VMBUS_STATUS_SUCCESS            0u
#define VMBUS_STATUS_UNSUCCESSFUL       0x8000ffffu
#define VMBUS_STATUS_CONNECTION_REFUSED 0xc0000236u

/* VmbusMsgVersionResponse.connection_state */
#define VMBUS_CONNECT_SUCCESSFUL           0
#define VMBUS_CONNECT_FAILED_LOW_RESOURCES 1
#define VMBUS_CONNECT_FAILED_UNKNOWN       2

/* VmbusMsgOffer.flags */
#define VMBUS_OFFER_ENUMERATE_INTERFACE 0x0001
#define VMBUS_OFFER_NAMED_PIPE          0x0010
#define VMBUS_OFFER_LOOPBACK            0x0100
#define VMBUS_OFFER_PARENT              0x0200
#define VMBUS_OFFER_TLNPI_PROVIDER      0x2000

/* First four bytes of a pipe's user-defined data. */
#define VMBUS_PIPE_BYTE    0u
#define VMBUS_PIPE_MESSAGE 4u

typedef struct VmbusMsgHeader {
    uint32_t type; /* VmbusMessageType */
    uint32_t reserved;
} VmbusMsgHeader;
_Static_assert(sizeof(VmbusMsgHeader) == 8, "message header");

typedef struct VmbusMsgOffer {
    VmbusMsgHeader header;
    VmbusGuid class_id;
    VmbusGuid instance_id;
    uint32_t reserved[4];
    uint16_t flags;
    uint16_t mmio_megabytes;
    uint8_t user_defined[120];
    uint16_t subchannel_index;
    uint16_t mmio_megabytes_optional;
    uint32_t relid;
    uint8_t monitor_id;
    uint8_t monitor_allocated;
    uint16_t dedicated_interrupt; /* bit 0; this and the next from 1.1 on */
    uint32_t connection_id;
} VmbusMsgOffer;
_Static_assert(sizeof(VmbusMsgOffer) == 196, "offer");
_Static_assert(offsetof(VmbusMsgOffer, user_defined) == 60, "offer");
_Static_assert(offsetof(VmbusMsgOffer, relid) == 184, "offer");
_Static_assert(offsetof(VmbusMsgOffer, dedicated_interrupt) == 190, "offer");

/* RESCIND_CHANNELOFFER, CLOSECHANNEL, RELID_RELEASED,
 * CLOSE_RESERVED_RESPONSE */
typedef struct VmbusMsgRelid {
    VmbusMsgHeader header;
    uint32_t relid;
} VmbusMsgRelid;
_Static_assert(sizeof(VmbusMsgRelid) == 12, "relid message");

typedef struct VmbusMsgOpen {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t openid;
    uint32_t gpadl;
    uint32_t target_vp;         /* from 2.4 on; before, VP 0 is meant */
    uint32_t downstream_offset; /* pages; where the host-to-guest ring is */
    uint8_t user_defined[120];
} VmbusMsgOpen;
_Static_assert(sizeof(VmbusMsgOpen) == 148, "open");

/* With VMBUS_FEATURE_GUEST_SIGNAL. */
typedef struct VmbusMsgOpen2 {
    VmbusMsgOpen open;
    uint32_t connection_id; /* what the guest will signal */
    uint16_t event_flag;    /* what it wants to be signalled by */
    uint16_t flags;         /* of VMBUS_FEATURE_REDIRECT_INTERRUPT */
} VmbusMsgOpen2;
_Static_assert(sizeof(VmbusMsgOpen2) == 156, "open");
_Static_assert(offsetof(VmbusMsgOpen2, event_flag) == 152, "open");

typedef struct VmbusMsgOpenResult {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t openid;
    uint32_t status;
} VmbusMsgOpenResult;
_Static_assert(sizeof(VmbusMsgOpenResult) == 20, "open result");

typedef struct VmbusMsgGpadlHeader {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t gpadl;
    uint16_t range_buflen; /* bytes of all ranges, in all messages */
    uint16_t rangecount;
    /* Ranges follow: VmbusGpaRange, then its page numbers; not aligned. */
} VmbusMsgGpadlHeader;
_Static_assert(sizeof(VmbusMsgGpadlHeader) == 20, "GPADL header");

typedef struct VmbusMsgGpadlBody {
    VmbusMsgHeader header;
    uint32_t msgnumber;
    uint32_t gpadl;
    /* More of the ranges follows. */
} VmbusMsgGpadlBody;
_Static_assert(sizeof(VmbusMsgGpadlBody) == 16, "GPADL body");

typedef struct VmbusMsgGpadlCreated {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t gpadl;
    uint32_t status;
} VmbusMsgGpadlCreated;
_Static_assert(sizeof(VmbusMsgGpadlCreated) == 20, "GPADL created");

typedef struct VmbusMsgGpadlTeardown {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t gpadl;
} VmbusMsgGpadlTeardown;
_Static_assert(sizeof(VmbusMsgGpadlTeardown) == 16, "GPADL teardown");

typedef struct VmbusMsgGpadlTorndown {
    VmbusMsgHeader header;
    uint32_t gpadl;
} VmbusMsgGpadlTorndown;
_Static_assert(sizeof(VmbusMsgGpadlTorndown) == 12, "GPADL torndown");

typedef struct VmbusMsgInitiateContact {
    VmbusMsgHeader header;
    uint32_t version;
    uint32_t target_vp;
    union {
        uint64_t interrupt_page; /* before 5.0; of use before 2.4 only */
        struct {
            uint8_t msg_sint; /* 5.0 and later */
            uint8_t msg_vtl;  /* 5.1 and later */
            uint16_t reserved;
            uint32_t feature_flags; /* 6.0 and later */
        };
    };
    uint64_t monitor_page1; /* host to guest */
    uint64_t monitor_page2; /* guest to host */
} VmbusMsgInitiateContact;
_Static_assert(sizeof(VmbusMsgInitiateContact) == 40, "initiate contact");

/* With VMBUS_FEATURE_CLIENT_ID. */
typedef struct VmbusMsgInitiateContact2 {
    VmbusMsgInitiateContact contact;
    VmbusGuid client_id; /* which kind of driver it is */
} VmbusMsgInitiateContact2;
_Static_assert(sizeof(VmbusMsgInitiateContact2) == 56, "initiate contact");

/* Before 6.0; older guests take the part that they know. */
typedef struct VmbusMsgVersionResponse {
    VmbusMsgHeader header;
    uint8_t supported;
    uint8_t connection_state;
    uint16_t reserved;
    /* From 5.0 the connection for later messages, else the version. */
    uint32_t connection_id;
} VmbusMsgVersionResponse;
_Static_assert(sizeof(VmbusMsgVersionResponse) == 16, "version response");

/* For a version of 6.0 or later that is supported. */
typedef struct VmbusMsgVersionResponse2 {
    VmbusMsgVersionResponse response;
    uint32_t features; /* those asked for that the host has */
} VmbusMsgVersionResponse2;
_Static_assert(sizeof(VmbusMsgVersionResponse2) == 20, "version response");

typedef struct VmbusMsgModifyConnection {
    VmbusMsgHeader header;
    uint64_t monitor_page1; /* host to guest */
    uint64_t monitor_page2; /* guest to host */
} VmbusMsgModifyConnection;
_Static_assert(sizeof(VmbusMsgModifyConnection) == 24, "modify connection");

/* One byte of payload on the wire: 9 in all. */
typedef struct VmbusMsgModifyConnectionResponse {
    VmbusMsgHeader header;
    uint8_t connection_state; /* VMBUS_CONNECT_* */
} __attribute__((packed)) VmbusMsgModifyConnectionResponse;
_Static_assert(sizeof(VmbusMsgModifyConnectionResponse) == 9,
               "modify response");

/* A channel that stays open when its connection ends. */
typedef struct VmbusMsgOpenReserved {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t target_vp; /* where the OPENCHANNEL_RESULT goes; no interrupts */
    uint32_t target_sint;
    uint32_t gpadl;
    uint32_t downstream_offset; /* pages; where the host-to-guest ring is */
} VmbusMsgOpenReserved;
_Static_assert(sizeof(VmbusMsgOpenReserved) == 28, "open reserved");

typedef struct VmbusMsgCloseReserved {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t target_vp; /* where the response goes */
    uint32_t target_sint;
} VmbusMsgCloseReserved;
_Static_assert(sizeof(VmbusMsgCloseReserved) == 20, "close reserved");

typedef struct VmbusMsgTlConnectRequest {
    VmbusMsgHeader header;
    VmbusGuid endpoint_id;
    VmbusGuid service_id;
} VmbusMsgTlConnectRequest;
_Static_assert(sizeof(VmbusMsgTlConnectRequest) == 40, "connect request");

typedef struct VmbusMsgTlConnectResult {
    VmbusMsgHeader header;
    VmbusGuid endpoint_id;
    VmbusGuid service_id;
    uint32_t status;
} VmbusMsgTlConnectResult;
_Static_assert(sizeof(VmbusMsgTlConnectResult) == 44, "connect result");

typedef struct VmbusMsgModifyChannel {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t target_vp;
} VmbusMsgModifyChannel;
_Static_assert(sizeof(VmbusMsgModifyChannel) == 16, "modify channel");

typedef struct VmbusMsgModifyChannelResponse {
    VmbusMsgHeader header;
    uint32_t relid;
    uint32_t status;
} VmbusMsgModifyChannelResponse;
_Static_assert(sizeof(VmbusMsgModifyChannelResponse) == 16, "modify response");

/* Any message, with the alignment that all of them need. */
typedef union VmbusMsg {
    VmbusMsgHeader header;
    VmbusMsgOffer offer;
    VmbusMsgRelid relid;
    VmbusMsgOpen open;
    VmbusMsgOpen2 open2;
    VmbusMsgOpenResult open_result;
    VmbusMsgGpadlHeader gpadl_header;
    VmbusMsgGpadlBody gpadl_body;
    VmbusMsgGpadlCreated gpadl_created;
    VmbusMsgGpadlTeardown gpadl_teardown;
    VmbusMsgGpadlTorndown gpadl_torndown;
    VmbusMsgInitiateContact initiate_contact;
    VmbusMsgInitiateContact2 initiate_contact2;
    VmbusMsgVersionResponse version_response;
    VmbusMsgVersionResponse2 version_response2;
    VmbusMsgModifyConnection modify_connection;
    VmbusMsgModifyConnectionResponse modify_connection_response;
    VmbusMsgOpenReserved open_reserved;
    VmbusMsgCloseReserved close_reserved;
    VmbusMsgTlConnectRequest tl_connect_request;
    VmbusMsgTlConnectResult tl_connect_result;
    VmbusMsgModifyChannel modify_channel;
    VmbusMsgModifyChannelResponse modify_channel_response;
    uint8_t bytes[VMBUS_MAX_MESSAGE];
} VmbusMsg;
_Static_assert(sizeof(VmbusMsg) == VMBUS_MAX_MESSAGE, "message");

/* A stretch of guest memory; the numbers of its pages follow. */
typedef struct VmbusGpaRange {
    uint32_t byte_count;
    uint32_t byte_offset; /* in the first page */
} VmbusGpaRange;
_Static_assert(sizeof(VmbusGpaRange) == 8, "GPA range");

/* First page of a ring; the data begins with the next page. */
typedef struct VmbusRingControl {
    uint32_t write_index; /* bytes from the start of the data */
    uint32_t read_index;
    uint32_t interrupt_mask; /* the reader's: do not signal new packets */
    /* The writer's: signal when more bytes than this are free; 0: no need. */
    uint32_t pending_send_size;
    uint32_t reserved[12];
    uint32_t feature_bits; /* the writer's */
} VmbusRingControl;
_Static_assert(sizeof(VmbusRingControl) == 68, "ring control");
_Static_assert(offsetof(VmbusRingControl, feature_bits) == 64, "features");

#define VMBUS_RING_FEATURE_PENDING_SEND_SIZE 1u

typedef struct VmbusPacketDescriptor {
    uint16_t type;
    uint16_t offset8; /* where the payload begins, in 8 bytes */
    uint16_t len8;    /* with this descriptor, without the trailer */
    uint16_t flags;
    uint64_t trans_id;
} VmbusPacketDescriptor;
_Static_assert(sizeof(VmbusPacketDescriptor) == 16, "packet descriptor");

/* After each packet; neither Linux nor Windows reads it back. */
typedef struct VmbusPacketTrailer {
    uint32_t reserved;
    uint32_t start; /* index of the packet that ends here */
} VmbusPacketTrailer;
_Static_assert(sizeof(VmbusPacketTrailer) == 8, "packet trailer");

#define VMBUS_PKT_DATA_INBAND     0x6
#define VMBUS_PKT_DATA_XFER_PAGES 0x7
#define VMBUS_PKT_DATA_GPADL      0x8
#define VMBUS_PKT_DATA_GPA_DIRECT 0x9
#define VMBUS_PKT_CANCEL_REQUEST  0xa
#define VMBUS_PKT_COMP            0xb

#define VMBUS_PKT_FLAG_COMPLETION_REQUESTED 1u

/* Follows the descriptor of VMBUS_PKT_DATA_GPA_DIRECT; then the ranges. */
typedef struct VmbusGpaDirectHeader {
    uint32_t reserved;
    uint32_t range_count;
} VmbusGpaDirectHeader;
_Static_assert(sizeof(VmbusGpaDirectHeader) == 8, "GPA direct header");

/* Follows the descriptor of VMBUS_PKT_DATA_XFER_PAGES; then the ranges. */
typedef struct VmbusXferPageHeader {
    uint16_t set_id;
    uint8_t sender_owns_set;
    uint8_t reserved;
    uint32_t range_count;
} VmbusXferPageHeader;
_Static_assert(sizeof(VmbusXferPageHeader) == 8, "transfer page header");

typedef struct VmbusXferPageRange {
    uint32_t byte_count;
    uint32_t byte_offset;
} VmbusXferPageRange;
_Static_assert(sizeof(VmbusXferPageRange) == 8, "transfer page range");

#endif
