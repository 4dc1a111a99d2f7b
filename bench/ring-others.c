/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What our rings are compared with: a handover of buffers that costs no more
 * than its two copies, and a ring as one writes it when nobody measures.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "ring-bench.h"

/* Handover: slots, two indexes, no signals; who waits looks again. */

typedef struct Handover {
    uint8_t slots[RING_BYTES];
    uint64_t written __attribute__((aligned(128)));
    uint64_t read __attribute__((aligned(128)));
} Handover;

static void *handover_set_up(Run *run)
{
    void *mem;

    if (posix_memalign(&mem, 4096, sizeof(Handover))) {
        abort();
    }
    return memset(mem, 0, sizeof(Handover));
}

static void handover_tear_down(Run *run)
{
    free(run->opaque);
}

/* Waits until *@index is not @old; a peer that does not run gets its turn. */
static uint64_t await_change(const uint64_t *index, uint64_t old)
{
    for (unsigned i = 0;; i++) {
        uint64_t now = __atomic_load_n(index, __ATOMIC_ACQUIRE);

        if (now != old) {
            return now;
        }
        if (i % 1024 == 1023) {
            sched_yield();
        }
        __builtin_ia32_pause();
    }
}

static void handover_send(Run *run)
{
    Handover *h = run->opaque;
    const uint64_t slots = RING_BYTES / run->size;
    const uint32_t batch = MIN(run->batch, slots / 4);
    uint64_t data[MAX_SIZE / 8] = {0}, number = 0, read = 0;
    bool last;

    do {
        last = run_stopped(run);
        for (uint32_t i = 0; i < (last ? 1 : batch); i++, number++) {
            if (number - read == slots) {
                __atomic_store_n(&h->written, number, __ATOMIC_RELEASE);
                read = await_change(&h->read, read);
            }
            data[0] = last ? END : number;
            memcpy(h->slots + number % slots * run->size, data, run->size);
        }
        __atomic_store_n(&h->written, number, __ATOMIC_RELEASE);
    } while (!last);
}

static void handover_receive(Run *run)
{
    Handover *h = run->opaque;
    const uint64_t slots = RING_BYTES / run->size;
    const uint32_t batch = MIN(run->batch, slots / 4);
    uint64_t data[MAX_SIZE / 8], number = 0, written = 0;

    for (;; number++) {
        if (number == written) {
            __atomic_store_n(&h->read, number, __ATOMIC_RELEASE);
            written = await_change(&h->written, written);
        }
        memcpy(data, h->slots + number % slots * run->size, run->size);
        if (!run_take(run, data)) {
            return;
        }
        if (number % batch == batch - 1) {
            __atomic_store_n(&h->read, number + 1, __ATOMIC_RELEASE);
        }
    }
}

const Column column_handover = {
    "handover",        true,          true,
    handover_set_up,   handover_send, handover_receive,
    handover_tear_down};

/* Naive: a lock, an allocation and a signal for each packet. */

typedef struct Naive {
    pthread_mutex_t lock;
    uint64_t written, read; /* packets */
    uint8_t slots[RING_BYTES];
} Naive;

static void *naive_set_up(Run *run)
{
    Naive *n = g_new0(Naive, 1);

    pthread_mutex_init(&n->lock, NULL);
    return n;
}

static void naive_tear_down(Run *run)
{
    g_free(run->opaque);
}

static void naive_put(Run *run, const uint64_t *data)
{
    Naive *n = run->opaque;
    const uint64_t slots = RING_BYTES / run->size;
    void *packet = malloc(run->size);
    bool done = false;

    memcpy(packet, data, run->size);
    while (!done) {
        pthread_mutex_lock(&n->lock);
        if (n->written - n->read < slots) {
            memcpy(n->slots + n->written % slots * run->size, packet,
                   run->size);
            n->written++;
            done = true;
        }
        pthread_mutex_unlock(&n->lock);
        if (!done) {
            sched_yield();
        }
    }
    free(packet);
    bell_ring(&run->to_receiver);
}

static void naive_send(Run *run)
{
    uint64_t data[MAX_SIZE / 8] = {0}, number = 0;

    while (!run_stopped(run)) {
        data[0] = number++;
        naive_put(run, data);
    }
    data[0] = END;
    naive_put(run, data);
}

static void naive_receive(Run *run)
{
    Naive *n = run->opaque;
    const uint64_t slots = RING_BYTES / run->size;
    bool more = true;

    while (more) {
        void *packet = NULL;

        pthread_mutex_lock(&n->lock);
        if (n->written != n->read) {
            packet = malloc(run->size);
            memcpy(packet, n->slots + n->read % slots * run->size, run->size);
            n->read++;
        }
        pthread_mutex_unlock(&n->lock);
        if (packet) {
            more = run_take(run, packet);
            free(packet);
        } else {
            bell_wait(&run->to_receiver);
        }
    }
}

const Column column_naive = {"naive",        false,      true,
                             naive_set_up,   naive_send, naive_receive,
                             naive_tear_down};
