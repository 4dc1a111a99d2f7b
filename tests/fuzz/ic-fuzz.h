/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's driver of an integration service, on the real bus: it answers
 * requests, nearly right or not at all.
 */
#ifndef IC_FUZZ_H
#define IC_FUZZ_H

#include "bus-fuzz.h"
#include "devices/ic.h"

#define IC_FUZZ_SECOND UINT64_C(1000000000)

typedef struct IcFuzz {
    VscMachine *machine;
    Vsc *vsc;
    VmbusChannel *host; /* NULL: withdrawn */
    const VmbusOffer *offer;
    const VmbusChannelOps *ops;
    void *engine;
    VscChannel *guest; /* NULL: closed */
    uint8_t request[IC_MAX_MESSAGE_SIZE + 64];
    uint32_t request_len;
    /* Makes the body of a good answer out of the request's. */
    void (*answer)(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *answer);
} IcFuzz;

/* Offers the engine, and lets a guest connect. */
void ic_fuzz_start(IcFuzz *f);
/* A step of the guest, or of the machine around the device. */
void ic_fuzz_step(IcFuzz *f, FuzzInput *in);
/* Closes the channel, if it is open, and opens it with large rings. */
void ic_fuzz_reopen(IcFuzz *f);
/* Answers all requests well; @in may be at its end. */
void ic_fuzz_answer_all(IcFuzz *f, FuzzInput *in);
/* What must hold between two steps. */
void ic_fuzz_check(const IcFuzz *f, const IcPort *port);
/* The part of it that holds for an engine that was loaded. */
void ic_fuzz_check_port(const IcFuzz *f, const IcPort *port);
/* Withdraws the device and frees bus and guest; the engine stays. */
void ic_fuzz_end(IcFuzz *f);

#endif
