/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Message slots and event flags, while the guest writes to the same pages
 * between the host's accesses.
 */
#include <stdlib.h>

#include "fuzz.h"
#include "kvm/synic-pages.h"

#define MAX_CHANGES 4

typedef struct Change {
    unsigned countdown; /* 0: done */
    uint16_t at;        /* a multiple of 4 */
    uint32_t value;
} Change;

static uint8_t *page;
static Change changes[MAX_CHANGES];
static bool changed; /* since the step began */

/* Of the code of the pages, by touch.h. */
void fuzz_touch(void);

void fuzz_touch(void)
{
    for (unsigned i = 0; i < MAX_CHANGES; i++) {
        Change *change = &changes[i];

        if (change->countdown && --change->countdown == 0) {
            memcpy(page + change->at, &change->value, sizeof(change->value));
            changed = true;
        }
    }
}

static uint32_t guest_value(FuzzInput *in)
{
    return fuzz_chance(in, 60) ? 0 : fuzz_value(in, 4, 1, 4);
}

/* Mostly the type of a slot, or the word that its flags are in. */
static uint16_t guest_place(FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    return how < 0xe0 ? how % HV_ABI_SINT_COUNT * sizeof(HvMessage) +
                            (how & 0x80 ? 4 : 0)
                      : fuzz_below(in, HV_ABI_PAGE_SIZE / 4) * 4;
}

static void post(FuzzInput *in)
{
    unsigned sint = fuzz_value(in, 4, 0, HV_ABI_SINT_COUNT);
    HvMessage msg = {.type = fuzz_value(in, 4, 0, 3),
                     .payload_size = fuzz_u8(in)};
    HvMessage *slot = (HvMessage *)page + sint % HV_ABI_SINT_COUNT;
    g_autofree uint8_t *before = g_memdup2(page, HV_ABI_PAGE_SIZE);
    HvMessage was;
    HvSlotResult result;

    memcpy(&was, slot, sizeof(was));
    memset(msg.payload, fuzz_u8(in), sizeof(msg.payload));
    result = hv_message_slot_post(page, sint, &msg);
    fuzz_require((result == HV_SLOT_INVALID) ==
                     (sint >= HV_ABI_SINT_COUNT || !msg.type),
                 "A post was refused for no reason, or not refused.");
    if (changed) {
        return;
    }
    switch (result) {
    case HV_SLOT_POSTED:
        memcpy(msg.reserved, was.reserved, sizeof(msg.reserved));
        fuzz_require(!was.type && !memcmp(slot, &msg, sizeof(msg)),
                     "A message in a slot is not the one that was posted.");
        break;
    case HV_SLOT_BUSY:
        was.flags |= HVMSG_FLAG_PENDING;
        fuzz_require(was.type && !memcmp(slot, &was, sizeof(was)),
                     "A slot that was busy has changed.");
        break;
    case HV_SLOT_INVALID:
        break;
    }
    memcpy(before + sint % HV_ABI_SINT_COUNT * sizeof(*slot), slot,
           sizeof(*slot));
    fuzz_require(!memcmp(before, page, HV_ABI_PAGE_SIZE),
                 "A post has changed another slot.");
}

static void set_flag(FuzzInput *in)
{
    unsigned sint = fuzz_value(in, 4, 0, HV_ABI_SINT_COUNT);
    unsigned flag = fuzz_value(in, 4, 0, HV_ABI_FLAGS);
    bool valid = sint < HV_ABI_SINT_COUNT && flag < HV_ABI_FLAGS;
    g_autofree uint8_t *before = g_memdup2(page, HV_ABI_PAGE_SIZE);
    unsigned byte = sint * (HV_ABI_FLAGS / 8) + flag / 8;
    bool was_clear = valid && !(page[byte] >> (flag % 8) & 1);
    bool result = hv_event_flag_set(page, sint, flag);

    if (changed) {
        return;
    }
    fuzz_require(result == was_clear, "A flag's old state is wrong.");
    if (valid) {
        before[byte] |= 1u << (flag % 8);
    }
    fuzz_require(!memcmp(before, page, HV_ABI_PAGE_SIZE),
                 "A flag has changed another one.");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};

    if (posix_memalign((void **)&page, HV_ABI_PAGE_SIZE, HV_ABI_PAGE_SIZE)) {
        return 0;
    }
    memset(page, 0, HV_ABI_PAGE_SIZE);
    memset(changes, 0, sizeof(changes));
    while (!fuzz_end(&in)) {
        uint8_t what = fuzz_u8(&in) % 8;

        changed = false;
        if (what < 3) {
            post(&in);
        } else if (what < 5) {
            set_flag(&in);
        } else if (what < 6) {
            uint16_t at = guest_place(&in);
            uint32_t value = guest_value(&in);

            memcpy(page + at, &value, sizeof(value));
        } else {
            changes[fuzz_below(&in, MAX_CHANGES)] =
                (Change){.countdown = 1 + fuzz_below(&in, 80),
                         .at = guest_place(&in),
                         .value = guest_value(&in)};
        }
    }
    free(page);
    return 0;
}
