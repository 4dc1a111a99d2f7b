/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel without a bus: the functions of bus/channel.h on two queues, and
 * the guest's end of them for the test.
 */
#ifndef FAKE_CHANNEL_H
#define FAKE_CHANNEL_H

#include <glib.h>

#include "bus/channel.h"
#include "bus/vmbus-protocol.h"
#include "devices/ic-protocol.h"

struct VmbusChannel {
    const VmbusChannelOps *ops;
    void *opaque;
    bool open;
    unsigned opens, closes;
    GQueue unpublished; /* GBytes to the guest, not flushed yet */
    GQueue to_guest;    /* GBytes that the guest can see */
    GQueue to_host;     /* GBytes, the packet type in the first two bytes */
    uint8_t *current;   /* what the last receive handed out */
    /* What send answers while it is not OK; CORRUPT closes, as the bus does. */
    VmbusRingResult send_result;
    bool corrupt_on_receive;
    /* Called when to_host is empty; may push. */
    void (*refill)(VmbusChannel *chan);
    void *refill_opaque;
};

void fake_init(VmbusChannel *chan, const VmbusChannelOps *ops, void *opaque);
void fake_clear(VmbusChannel *chan);
void fake_open(VmbusChannel *chan);
void fake_close(VmbusChannel *chan);
void fake_open_or_close(VmbusChannel *chan);
void fake_signal(VmbusChannel *chan);
/* What is in @from's rings goes to @to, as in a migration. */
void fake_take_over(VmbusChannel *to, VmbusChannel *from);

/* Next packet to the guest, or NULL; the caller frees it. */
GBytes *fake_pop(VmbusChannel *chan);
unsigned fake_pending(const VmbusChannel *chan);
/* A packet of the guest; it waits until fake_signal(). */
void fake_push(VmbusChannel *chan, uint16_t type, const void *data, size_t len);

/* A message of an integration service, taken apart; body is in bytes. */
typedef struct FakeMessage {
    GBytes *bytes; /* whole packet payload */
    IcPipeHeader pipe;
    IcHeader header;
    const uint8_t *body;
    size_t body_len;
} FakeMessage;

/* Pops the next message and checks what holds for all; fails if none. */
void fake_pop_message(VmbusChannel *chan, FakeMessage *msg);
void fake_message_clear(FakeMessage *msg);
/* Answers @msg as Linux does: the same bytes, flags turned round. */
void fake_answer(VmbusChannel *chan, const FakeMessage *msg);
/* Answers with this header and body in a correct pipe packet. */
void fake_answer_with(VmbusChannel *chan, const IcHeader *header,
                      const void *body, size_t len);
/* Pops the negotiation, chooses these versions, and signals. */
void fake_negotiate(VmbusChannel *chan, uint32_t framework, uint32_t message);
/* Random packet: anything from noise to a nearly right answer. */
void fake_push_garbage(VmbusChannel *chan, GRand *rand);
/* Pushes it, and signals. */
void fake_send_garbage(VmbusChannel *chan, GRand *rand);

#endif
