/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "kvm/synic-pages.h"

/*
 * How often a post starts anew because the guest freed the slot between our
 * look and our pending flag.  A guest that does so more often toggles the
 * type on purpose; it then has to write EOM by itself.
 */
#define SLOT_ATTEMPTS 4

static bool slot_fill(HvMessage *slot, const HvMessage *msg)
{
    const uint8_t *from = (const uint8_t *)msg;
    uint8_t *to = (uint8_t *)slot;
    uint32_t none = HVMSG_NONE_TYPE;
    unsigned i;

    /* Words of 8 bytes, so that no guest access sees a torn field. */
    for (i = 8; i < sizeof(*msg); i += 8) {
        uint64_t word;

        memcpy(&word, from + i, sizeof(word));
        __atomic_store_n((uint64_t *)(to + i), word, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&slot->payload_size, msg->payload_size, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->flags, 0, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n(&slot->type, &none, msg->type, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

HvSlotResult hv_message_slot_post(void *page, unsigned sint,
                                  const HvMessage *msg)
{
    HvMessage *slot = (HvMessage *)page + sint;
    unsigned i;

    if (sint >= HV_ABI_SINT_COUNT || msg->type == HVMSG_NONE_TYPE) {
        return HV_SLOT_INVALID;
    }
    for (i = 0; i < SLOT_ATTEMPTS; i++) {
        if (__atomic_load_n(&slot->type, __ATOMIC_ACQUIRE) == HVMSG_NONE_TYPE &&
            slot_fill(slot, msg)) {
            return HV_SLOT_POSTED;
        }
        __atomic_fetch_or(&slot->flags, HVMSG_FLAG_PENDING, __ATOMIC_SEQ_CST);
        /*
         * A guest that freed the slot before it could see the flag writes no
         * EOM: look again.
         */
        if (__atomic_load_n(&slot->type, __ATOMIC_SEQ_CST) != HVMSG_NONE_TYPE) {
            return HV_SLOT_BUSY;
        }
    }
    return HV_SLOT_BUSY;
}

bool hv_event_flag_set(void *page, unsigned sint, unsigned flag)
{
    uint8_t *byte;
    uint8_t bit;

    if (sint >= HV_ABI_SINT_COUNT || flag >= HV_ABI_FLAGS) {
        return false;
    }
    byte = (uint8_t *)page + sint * (HV_ABI_FLAGS / 8) + flag / 8;
    bit = 1u << (flag % 8);
    return !(__atomic_fetch_or(byte, bit, __ATOMIC_SEQ_CST) & bit);
}

void hv_event_flag_clear(void *page, unsigned sint, unsigned flag)
{
    uint8_t *byte;

    if (sint >= HV_ABI_SINT_COUNT || flag >= HV_ABI_FLAGS) {
        return;
    }
    byte = (uint8_t *)page + sint * (HV_ABI_FLAGS / 8) + flag / 8;
    __atomic_fetch_and(byte, (uint8_t)~(1u << (flag % 8)), __ATOMIC_SEQ_CST);
}
