/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wire format of the key-value service (data exchange).  All fields are
 * little-endian; texts are UTF-16 with a final NUL.
 *
 * Sources: Linux include/uapi/linux/hyperv.h and drivers/hv/hv_kvp.c, OpenVMM
 * hyperv_ic_protocol (the binary form of IP settings, message version 5).
 */
#ifndef VMBUS_KVP_PROTOCOL_H
#define VMBUS_KVP_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

typedef enum KvpWireOperation {
    KVP_OP_GET = 0,
    KVP_OP_SET = 1,
    KVP_OP_DELETE = 2,
    KVP_OP_ENUMERATE = 3,
    KVP_OP_GET_IP = 4,
    KVP_OP_SET_IP = 5,
} KvpWireOperation;

/* Sizes in bytes, with the final NUL. */
#define KVP_MAX_KEY_SIZE   512
#define KVP_MAX_VALUE_SIZE 2048

/* Types of a value, as Windows' registry has them. */
#define KVP_TYPE_STRING        1
#define KVP_TYPE_EXPAND_STRING 2
#define KVP_TYPE_U32           4
#define KVP_TYPE_LINUX_U64     8 /* what Linux takes for 64 bits */
#define KVP_TYPE_U64           11

typedef struct KvpWireHeader {
    uint8_t operation; /* KvpWireOperation */
    uint8_t pool;      /* VmbusKvpPool */
} KvpWireHeader;
_Static_assert(sizeof(KvpWireHeader) == 2, "KvpWireHeader");

typedef struct KvpWireValue {
    uint32_t type; /* KVP_TYPE_* */
    uint32_t key_size;
    uint32_t value_size;
    uint8_t key[KVP_MAX_KEY_SIZE];
    uint8_t value[KVP_MAX_VALUE_SIZE];
} __attribute__((packed)) KvpWireValue;
_Static_assert(sizeof(KvpWireValue) == 2572, "KvpWireValue");

/* GET, SET, DELETE and ENUMERATE; always as long as the longest. */
typedef struct KvpWireMessage {
    KvpWireHeader header;
    uint16_t reserved;
    union {
        KvpWireValue item; /* GET and SET */
        struct {
            uint32_t key_size;
            uint8_t key[KVP_MAX_KEY_SIZE];
        } __attribute__((packed)) remove; /* DELETE */
        struct {
            uint32_t index;
            KvpWireValue item;
        } __attribute__((packed)) enumerate;
    };
} __attribute__((packed)) KvpWireMessage;
_Static_assert(sizeof(KvpWireMessage) == 2580, "KvpWireMessage");
_Static_assert(offsetof(KvpWireMessage, item.key) == 16, "key");
_Static_assert(offsetof(KvpWireMessage, item.value) == 528, "value");
_Static_assert(offsetof(KvpWireMessage, remove.key) == 8, "key of DELETE");
_Static_assert(offsetof(KvpWireMessage, enumerate.item) == 8, "item");

#define KVP_FAMILY_IPV4 1
#define KVP_FAMILY_IPV6 2

/* IP settings as text; lists are separated by semicolons. */
#define KVP_IP_ADAPTER_UNITS 128
#define KVP_IP_LIST_UNITS    1024
#define KVP_IP_GATEWAY_UNITS 512

typedef struct KvpWireIpText {
    KvpWireHeader header;
    uint16_t adapter[KVP_IP_ADAPTER_UNITS];
    uint8_t family; /* KVP_FAMILY_*, or both */
    uint8_t dhcp;
    uint16_t addresses[KVP_IP_LIST_UNITS];
    uint16_t subnets[KVP_IP_LIST_UNITS];
    uint16_t gateways[KVP_IP_GATEWAY_UNITS];
    uint16_t dns[KVP_IP_LIST_UNITS];
} __attribute__((packed)) KvpWireIpText;
_Static_assert(sizeof(KvpWireIpText) == 7428, "KvpWireIpText");
_Static_assert(offsetof(KvpWireIpText, family) == 258, "family");
_Static_assert(offsetof(KvpWireIpText, dns) == 5380, "dns");

/* IP settings as numbers, from message version 5 on. */
#define KVP_IP_MAX_ADDRESSES 64
#define KVP_IP_MAX_GATEWAYS  5

typedef struct KvpWireIpBinary {
    KvpWireHeader header;
    uint16_t reserved;
    uint32_t address4_count, address6_count;
    uint32_t gateway4_count, gateway6_count;
    uint32_t dns4_count, dns6_count;
    uint16_t adapter[KVP_IP_ADAPTER_UNITS];
    uint8_t family;
    uint8_t dhcp;
    uint16_t reserved2;
    uint8_t address4[KVP_IP_MAX_ADDRESSES][4]; /* network byte order */
    uint8_t address6[KVP_IP_MAX_ADDRESSES][16];
    uint8_t subnet4[KVP_IP_MAX_ADDRESSES][4]; /* as a mask */
    uint32_t subnet6[KVP_IP_MAX_ADDRESSES];   /* length of the prefix */
    uint8_t gateway4[KVP_IP_MAX_GATEWAYS][4];
    uint8_t gateway6[KVP_IP_MAX_GATEWAYS][16];
    uint8_t dns4[KVP_IP_MAX_ADDRESSES][4];
    uint8_t dns6[KVP_IP_MAX_ADDRESSES][16];
    uint16_t origin[2 * KVP_IP_MAX_ADDRESSES];
} __attribute__((packed)) KvpWireIpBinary;
_Static_assert(sizeof(KvpWireIpBinary) == 3716, "KvpWireIpBinary");
_Static_assert(offsetof(KvpWireIpBinary, adapter) == 28, "adapter");
_Static_assert(offsetof(KvpWireIpBinary, address4) == 288, "address4");
_Static_assert(offsetof(KvpWireIpBinary, dns6) == 2436, "dns6");

/* Statuses of answers, as HRESULT, beside those of ic-protocol.h. */
#define KVP_STATUS_NO_MORE_ITEMS 0x80070103u /* or: there is no such key */
#define KVP_STATUS_NO_ADAPTER    0x80041002u
#define KVP_STATUS_INVALID       0x80070057u
#define KVP_STATUS_NOT_CONNECTED 0x8007048fu

/* clang-format off */
#define IC_KVP_CLASS                                                    \
    VMBUS_GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb8, 0x27, 0x8a, 0x84,      \
               0x1e, 0x8c, 0x03, 0xe6)
#define IC_KVP_INSTANCE                                                 \
    VMBUS_GUID(0x242ff919, 0x07db, 0x4180, 0x9c, 0x2e, 0xb8, 0x6c,      \
               0xb6, 0x8c, 0x8c, 0x55)
/* clang-format on */

#endif
