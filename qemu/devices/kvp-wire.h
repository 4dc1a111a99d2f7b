/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of the key-value service: made of what is to be asked, and taken
 * apart with every length, terminator and surrogate checked.
 */
#ifndef VMBUS_KVP_WIRE_H
#define VMBUS_KVP_WIRE_H

#include "devices/kvp-protocol.h"
#include "devices/kvp.h"

/* Text that Linux's driver and daemon keep whole, in both encodings. */
#define KVP_KEY_UNITS   (KVP_MAX_KEY_SIZE / 2 - 2)
#define KVP_KEY_BYTES   (KVP_MAX_KEY_SIZE - 1)
#define KVP_VALUE_UNITS (KVP_MAX_VALUE_SIZE / 2 - 2)
#define KVP_VALUE_BYTES (KVP_MAX_VALUE_SIZE - 1)

/* Why an answer, or an item of it, is refused. */
typedef enum KvpRefusal {
    KVP_REFUSED_SHORT,
    KVP_REFUSED_KEY_SIZE,
    KVP_REFUSED_KEY_ODD,
    KVP_REFUSED_KEY_TERMINATOR,
    KVP_REFUSED_KEY_TEXT,
    KVP_REFUSED_VALUE_TYPE,
    KVP_REFUSED_VALUE_SIZE,
    KVP_REFUSED_VALUE_ODD,
    KVP_REFUSED_VALUE_TERMINATOR,
    KVP_REFUSED_VALUE_TEXT,
    KVP_REFUSED_NUMBER_SIZE,
    KVP_REFUSED_IP_SHORT,
    KVP_REFUSED_IP_TERMINATOR,
    KVP_REFUSED_IP_TEXT,
    KVP_REFUSED_IP_COUNT,
    KVP_REFUSED_IP_PREFIX,
    KVP_REFUSAL_COUNT,
} KvpRefusal;

const char *kvp_refusal_sentence(KvpRefusal refusal);

/* Any of the service's messages. */
typedef struct KvpRequestBody {
    union {
        KvpWireMessage message;
        KvpWireIpText ip_text;
        KvpWireIpBinary ip_binary;
    };
    uint16_t len; /* bytes to send */
} KvpRequestBody;

/*
 * Makes the message of @req at an agreed @version; ENUMERATE for LIST and FIND,
 * with index 0.  VMBUS_KVP_OK, or why there is none.
 */
VmbusKvpResult kvp_put_request(KvpRequestBody *body, const VmbusKvpRequest *req,
                               uint32_t version);
void kvp_put_index(KvpRequestBody *body, uint32_t index);
/* The part of it for IP settings; kvp-ip.c. */
VmbusKvpResult kvp_put_ip_request(KvpRequestBody *body,
                                  const VmbusKvpRequest *req, uint32_t version);

/*
 * Read the body of an answer.  NULL, or a static sentence, and then nothing is
 * to be freed.  The answer to GET has no key: *@item has @key.
 */
const char *kvp_read_enumerated(const uint8_t *body, uint32_t len,
                                VmbusKvpItem **item);
const char *kvp_read_got(const uint8_t *body, uint32_t len, const char *key,
                         VmbusKvpItem **item);
const char *kvp_read_ip(const uint8_t *body, uint32_t len, uint32_t version,
                        VmbusKvpIp *ip);

/*
 * UTF-8 into @units units of UTF-16, the rest zeros and at least one of them.
 * How many units it takes, or -1: not valid, or too long.
 */
int kvp_put_text(void *wire, size_t units, const char *text);
/* @count units, in the wire's order and alignment, as UTF-8; NULL if invalid.
 * The caller frees it. */
char *kvp_get_text(const void *wire, size_t count);

#endif
