/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two pages that a virtual processor's SynIC shares with its guest: 16
 * message slots, and 16 times 2048 event flags.  The guest may write to
 * either at any time; both functions touch them by atomics only, and trust
 * nothing that they read.
 */
#ifndef KVM_SYNIC_PAGES_H
#define KVM_SYNIC_PAGES_H

#include <stdbool.h>

#include "kvm/hv-abi.h"

typedef enum HvSlotResult {
    HV_SLOT_POSTED,
    HV_SLOT_BUSY,    /* pending flag is set: the guest will write EOM */
    HV_SLOT_INVALID, /* SINT out of range, or a message of type NONE */
} HvSlotResult;

/*
 * Puts @msg into the slot of @sint of the message page @page (4096 bytes,
 * aligned), if the slot is free.  The type becomes visible last, so that a
 * guest that polls it never sees a half-written message.  One host thread at
 * a time may post to a page.  The caller raises the SINT after
 * HV_SLOT_POSTED, and marks the page dirty unless HV_SLOT_INVALID.
 *
 * Linux frees a slot by compare-and-swap of the type to NONE, and then reads
 * the pending flag (vmbus_signal_eom); TLFS 11.10.3 has the same order.
 */
HvSlotResult hv_message_slot_post(void *page, unsigned sint,
                                  const HvMessage *msg);

/*
 * Sets event flag @flag (0 to 2047) of @sint in the event page @page.  True:
 * it was clear before, and the caller raises the SINT.  False: it was set
 * already, or a number is out of range.  Any number of threads.
 */
bool hv_event_flag_set(void *page, unsigned sint, unsigned flag);

/* Clears an event flag; numbers out of range do nothing.  Any thread. */
void hv_event_flag_clear(void *page, unsigned sint, unsigned flag);

#endif
