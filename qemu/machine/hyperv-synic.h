/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What hyperv.c offers beyond QEMU's include/hw/hyperv/hyperv.h: to the
 * software Hyper-V interface, which feeds it hypercalls and EOMs, and to the
 * VMBus bridge.  All functions want the big QEMU lock held unless they say
 * otherwise; of those in hyperv.h hyperv_set_event_flag() and
 * hyperv_sint_route_set_sint() do not, as long as the caller has a reference to
 * the route.
 */
#ifndef HW_VMBUS_HYPERV_SYNIC_H
#define HW_VMBUS_HYPERV_SYNIC_H

#include "hw/hyperv/hyperv.h"

/*
 * Puts @msg into the message slot of @sint of @cs and raises the SINT.
 * Only for producers that run under the software interface, where the big
 * lock keeps producers apart.
 * Returns 0, -EAGAIN (slot taken; the pending flag is set, so the guest will
 * write EOM) or -ENXIO (no message page).
 */
int hyperv_synic_deliver(CPUState *cs, uint32_t sint,
                         const struct hyperv_message *msg);

/* The guest freed a slot of @cs (EOM, or EOI of a SINT): try waiting posts. */
void hyperv_synic_slot_free(CPUState *cs);

/* True if virtual processor @vp_index exists and has a SynIC. */
bool hyperv_synic_exists(uint32_t vp_index);

/* The CPU is being unplugged: its routes are dead from now on. */
void hyperv_synic_remove(CPUState *cs);

/*
 * Forgets event flag @eventno, which a guest that is gone may have left set:
 * the next hyperv_set_event_flag() then raises the SINT again.
 */
void hyperv_clear_event_flag(HvSintRoute *sint_route, unsigned eventno);

/*
 * Drops the message that hyperv_post_msg() accepted for @sint_route, if one
 * is under way; its callback is not called any more.
 */
void hyperv_cancel_msg(HvSintRoute *sint_route);

/*
 * True if the message that hyperv_post_msg() accepted for @sint_route is in its
 * slot or was given up, and only its callback is still to come.
 */
bool hyperv_msg_is_done(const HvSintRoute *sint_route);

/*
 * POST_MESSAGE with its input already copied out of guest memory.  Takes the
 * big lock if the caller does not hold it.  Returns a HV_STATUS_*.
 */
uint16_t hyperv_post_message_input(const struct hyperv_post_message_input *in);

/* SIGNAL_EVENT, decoded.  Any thread.  Returns a HV_STATUS_*. */
uint16_t hyperv_signal_connection(uint32_t conn_id, uint16_t flag);

#endif
