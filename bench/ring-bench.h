/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two threads, each on a processor of its own, one that sends and one that
 * receives; every column of the benchmark is a pair of functions.
 */
#ifndef RING_BENCH_H
#define RING_BENCH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define RING_BYTES (128u * 1024) /* of data, in every ring */
#define BATCH      32            /* packets of one commit */
#define MAX_SIZE   4096
/* Who waits looks so often before it sleeps: for some 30 microseconds. */
#define LOOKS 1000

/*
 * A doorbell: what an interrupt is for the thread that waits for it.  To ring
 * it costs a system call, as it does in QEMU.  Who waits looks for a while
 * before it sleeps, as QEMU's event loop and KVM's halted processors do.
 */
typedef struct Bell {
    int fd;
    uint64_t rung; /* how often; atomic */
    uint64_t heard __attribute__((aligned(128)));
} Bell;

typedef struct Run {
    uint32_t size;    /* bytes of payload */
    uint32_t batch;   /* packets of one commit */
    bool stop;        /* the time is over; atomic */
    uint64_t packets; /* received, each with its own number */
    Bell to_receiver, to_sender;
    void *opaque;
} Run;

typedef struct Column {
    const char *name;
    bool batched, single; /* which batch sizes it has */
    void *(*set_up)(Run *run);
    /* Sends numbers 0, 1, ... until @run->stop, then END. */
    void (*send)(Run *run);
    /* Receives until END. */
    void (*receive)(Run *run);
    void (*tear_down)(Run *run);
} Column;

/* The number of the last packet. */
#define END UINT64_MAX

void bell_ring(Bell *bell);
/* Waits until it rang since the last call. */
void bell_wait(Bell *bell);

static inline bool run_stopped(Run *run)
{
    return __atomic_load_n(&run->stop, __ATOMIC_RELAXED);
}

/* The receiver has the payload at @data; false at the end. */
static inline bool run_take(Run *run, const uint64_t *data)
{
    if (*data == END) {
        return false;
    }
    g_assert_cmpuint(*data, ==, run->packets);
    run->packets++;
    return true;
}

extern const Column column_host_to_guest, column_guest_to_host;
extern const Column column_naive, column_handover;

#endif
