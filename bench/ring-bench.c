/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * usage: ring-bench [SECONDS [COLUMN]]: runs every column, or one, once for
 * each size and mode (SECONDS each, default 0.1) and prints a line of JSON for
 * each.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ring-bench.h"

static const uint32_t sizes[] = {64, 512, 4096};
static const Column *const columns[] = {
    &column_handover,
    &column_host_to_guest,
    &column_guest_to_host,
    &column_naive,
};

void bell_ring(Bell *bell)
{
    uint64_t one = 1;

    __atomic_fetch_add(&bell->rung, 1, __ATOMIC_SEQ_CST);
    if (write(bell->fd, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

static bool bell_heard(Bell *bell)
{
    uint64_t rung = __atomic_load_n(&bell->rung, __ATOMIC_ACQUIRE);
    bool heard = rung != bell->heard;

    bell->heard = rung;
    return heard;
}

void bell_wait(Bell *bell)
{
    uint64_t count;

    for (unsigned i = 0; i < LOOKS; i++) {
        if (bell_heard(bell)) {
            return;
        }
        __builtin_ia32_pause();
    }
    while (!bell_heard(bell)) {
        if (read(bell->fd, &count, sizeof(count)) != sizeof(count)) {
            abort();
        }
    }
}

typedef struct Side {
    Run *run;
    void (*work)(Run *run);
    int cpu;
    const char *name; /* for profiles */
    pthread_barrier_t *start;
} Side;

/* The @n-th processor that this process may use; the last if there are less. */
static int nth_cpu(int n)
{
    cpu_set_t set;
    int found = 0;

    sched_getaffinity(0, sizeof(set), &set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            found = cpu;
            if (n-- == 0) {
                break;
            }
        }
    }
    return found;
}

static void *run_side(void *opaque)
{
    Side *side = opaque;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(side->cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    pthread_setname_np(pthread_self(), side->name);
    pthread_barrier_wait(side->start);
    side->work(side->run);
    return NULL;
}

static void say(const char *name, const char *mode, uint32_t size,
                uint64_t packets, double seconds, uint64_t signals)
{
    printf("{\"column\": \"%s\", \"mode\": \"%s\", \"size\": %u, "
           "\"packets_per_s\": %.0f, \"bytes_per_s\": %.0f, "
           "\"signals_per_packet\": %.6f}\n",
           name, mode, size, packets / seconds, packets * size / seconds,
           (double)signals / packets);
    fflush(stdout);
}

static void measure(const Column *column, uint32_t size, uint32_t batch,
                    double seconds)
{
    Run run = {.size = size, .batch = batch};
    pthread_barrier_t start;
    pthread_t threads[2];
    Side sides[] = {
        {&run, column->send, nth_cpu(0), "sender", &start},
        {&run, column->receive, nth_cpu(1), "receiver", &start},
    };
    gint64 began;
    double spent;

    run.to_receiver.fd = eventfd(0, EFD_CLOEXEC);
    run.to_sender.fd = eventfd(0, EFD_CLOEXEC);
    run.opaque = column->set_up(&run);
    pthread_barrier_init(&start, NULL, 3);
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, run_side, &sides[i]);
    }
    pthread_barrier_wait(&start);
    began = g_get_monotonic_time();
    g_usleep(seconds * 1e6);
    __atomic_store_n(&run.stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    spent = (g_get_monotonic_time() - began) / 1e6;
    column->tear_down(&run);
    close(run.to_receiver.fd);
    close(run.to_sender.fd);
    say(column->name, batch == 1 ? "single" : "batched", size, run.packets,
        spent, run.to_receiver.rung + run.to_sender.rung);
}

/* One thread, one copy: what the caches give. */
static void measure_memcpy(uint32_t size, double seconds)
{
    uint8_t *ring = g_malloc0(RING_BYTES), data[MAX_SIZE] = {0};
    gint64 began = g_get_monotonic_time();
    uint64_t packets = 0;
    double spent;

    do {
        for (uint32_t at = 0; at + size <= RING_BYTES; at += size) {
            memcpy(ring + at, data, size);
            __asm__ volatile("" : : "r"(ring + at) : "memory");
            packets++;
        }
        spent = (g_get_monotonic_time() - began) / 1e6;
    } while (spent < seconds);
    say("memcpy", "batched", size, packets, spent, 0);
    g_free(ring);
}

int main(int argc, char **argv)
{
    const char *only = argc > 2 ? argv[2] : NULL;
    double seconds = argc > 1 ? atof(argv[1]) : 0.1;

    if (seconds <= 0) {
        fprintf(stderr, "usage: ring-bench [SECONDS [COLUMN]]\n");
        return 2;
    }
    for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
        if (!only || !strcmp(only, "memcpy")) {
            measure_memcpy(sizes[s], seconds);
        }
        for (size_t c = 0; c < G_N_ELEMENTS(columns); c++) {
            if (only && strcmp(only, columns[c]->name)) {
                continue;
            }
            if (columns[c]->batched) {
                measure(columns[c], sizes[s], BATCH, seconds);
            }
            if (columns[c]->single) {
                measure(columns[c], sizes[s], 1, seconds);
            }
        }
    }
    return 0;
}
