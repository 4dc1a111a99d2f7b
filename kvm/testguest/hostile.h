/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that means harm.  A batch of bad input is fine if QEMU lives, each
 * request that has an error reply got one, and a well-behaved connection
 * works afterwards.
 */
#ifndef TESTGUEST_HOSTILE_H
#define TESTGUEST_HOSTILE_H

#include "vmbus.h"

struct hostile_batch {
    const char *name;
    void (*run)(void);
    unsigned min_cpus;
};

/* Runs the batches, with a round trip of a good guest after each. */
void hostile_run(const struct hostile_batch *batches, unsigned count);

/* Connects and asks for offers; the heartbeat channel, or NULL (and a failed
 * test point). */
struct vb_channel *hostile_connect(void);

/* Does @addr keep what is written there? */
bool hostile_is_ram(uint64_t addr);
/* Addresses that are no RAM, or no good place for a page. */
extern const uint64_t hostile_addresses[];
extern const unsigned hostile_address_count;

uint32_t hostile_random(void);

/* Batches of t_hostile_vmbus.c and t_hostile_ring.c. */
void hostile_messages(void);
void hostile_rings(void);

#endif
