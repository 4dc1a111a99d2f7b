/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine beneath the bus, in one process: guest memory, message slots and
 * event flags.  It does what a guest's hypervisor does, counts what the bus
 * asks of it, and fails on demand.
 */
#ifndef VSC_MACHINE_H
#define VSC_MACHINE_H

#include <glib.h>

#include "bus/bus.h"
#include "bus/vmbus-protocol.h"

#define VSC_MAX_VPS 4

typedef struct VscSlot {
    uint32_t len; /* 0: free */
    VmbusMsg msg;
} VscSlot;

/*
 * Somebody who listens for a channel's signals.  There is one thread, so what a
 * channel's thread leaves to the bus's is done when the guest's call ends.
 */
typedef struct VscListener {
    struct VscMachine *machine;
    VmbusChannel *chan;
    uint32_t conn_id;
    bool started;
    bool waking, signalled; /* while it was stopped or waking */
    bool broken;            /* to be closed */
} VscListener;

/* Guest page frames are not contiguous on the host if @scattered. */
typedef struct VscMachine {
    VmbusMachineOps ops; /* a test may take one away */
    VmbusBus *bus;
    uint8_t *ram;
    uint8_t *dirty; /* one byte for each of @ram: the host said it wrote it */
    uint32_t page_count, pages_used;
    bool scattered;
    uint32_t vp_count;

    VscSlot slots[VSC_MAX_VPS][VMBUS_SINT_COUNT];
    VscSlot under_way; /* accepted from the bus, its slot was full */
    uint32_t under_way_vp;
    uint8_t under_way_sint;
    uint64_t flags[VSC_MAX_VPS][VMBUS_SINT_COUNT][VMBUS_RELID_COUNT / 64];
    GHashTable *listeners;   /* connection id -> VscListener */
    uint32_t shared_conn_id; /* of the interrupt page; 0: none */

    /* To be set by tests. */
    bool fail_map, fail_prepare, fail_listen;
    int fail_post;    /* negative errno that post_message() returns, or 0 */
    bool hold_broken; /* leave broken channels to vsc_machine_settle() */
    /* The guest's interrupt handler, if not NULL: when a flag is set. */
    void (*interrupt)(void *opaque);
    void *interrupt_opaque;

    /* What was asked. */
    unsigned mapped, routes; /* not yet undone */
    unsigned signals, cancelled;
    unsigned events[VMBUS_EVENT_CORRUPT + 1];
    const char *refused, *corrupt; /* the last sentences, or NULL */
    GString *log;                  /* if not NULL: a line an event */
} VscMachine;

VscMachine *vsc_machine_new(uint32_t pages, bool scattered);
/* Frees the bus too. */
void vsc_machine_free(VscMachine *machine);

/* Takes @count pages of guest memory; returns the number of the first. */
uint64_t vsc_machine_alloc(VscMachine *machine, uint32_t count);
/* Forgets all that was taken by vsc_machine_alloc(), and zeroes it. */
void vsc_machine_reset_ram(VscMachine *machine);
uint8_t *vsc_machine_page(VscMachine *machine, uint64_t gfn);

/* The guest reads its slot and says EOM.  False if the slot is empty. */
bool vsc_machine_take(VscMachine *machine, uint32_t vp, uint8_t sint,
                      VmbusMsg *msg, uint32_t *len);
/* Was the flag set?  Clears it. */
bool vsc_machine_take_flag(VscMachine *machine, uint32_t vp, uint8_t sint,
                           uint16_t flag);
/* The guest's signal-event hypercall; false if nobody listens. */
bool vsc_machine_signal(VscMachine *machine, uint32_t conn_id);
/* Closes the channels that were found corrupt. */
void vsc_machine_settle(VscMachine *machine);
/* The same, unless a test holds that back. */
void vsc_machine_call_ends(VscMachine *machine);
/* A machine reset: the slots, flags and the bus. */
void vsc_machine_reset(VscMachine *machine);

#endif
