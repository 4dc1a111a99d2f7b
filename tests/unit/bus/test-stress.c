/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host and guest on two threads, each asleep until the other one signals: a
 * lost wake-up stops both, and the watchdog says so.  And a guest that writes
 * all over its rings while the host uses them.
 */
#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/ring.h"
#include "vsc-ring.h"

#define PACKETS  200000u
#define MAX_DATA 600u
#define WATCHDOG 120 /* seconds */

/*
 * A line that the other side raises.  Not of GLib's mutexes, which the thread
 * sanitizer does not understand.
 */
typedef struct Doorbell {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned rung;
    uint64_t total;
} Doorbell;

static void ring_bell(Doorbell *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->rung++;
    bell->total++;
    pthread_cond_signal(&bell->cond);
    pthread_mutex_unlock(&bell->lock);
}

static void wait_bell(Doorbell *bell)
{
    pthread_mutex_lock(&bell->lock);
    while (!bell->rung) {
        pthread_cond_wait(&bell->cond, &bell->lock);
    }
    bell->rung = 0;
    pthread_mutex_unlock(&bell->lock);
}

typedef struct Stress {
    uint8_t *ram;
    uint8_t **pages;
    VmbusMapping mapping;
    VscRing guest;
    Doorbell to_host, to_guest;
    unsigned stop;
} Stress;

static VmbusRingMem stress_new(Stress *s, uint32_t pages, bool scattered)
{
    VmbusRingMem mem;

    *s = (Stress){
        .to_host = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0},
        .to_guest = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0},
    };
    s->ram = g_malloc0((size_t)pages * VMBUS_PAGE_SIZE);
    s->pages = g_new(uint8_t *, pages);
    for (uint32_t i = 0; i < pages; i++) {
        s->pages[i] =
            s->ram + (size_t)(scattered ? pages - 1 - i : i) * VMBUS_PAGE_SIZE;
    }
    s->mapping = (VmbusMapping){.page_count = pages, .pages = s->pages};
    vsc_ring_init(&s->guest, s->pages, pages);
    vmbus_ring_mem_init(&mem, &s->mapping, 0, pages, NULL, NULL);
    return mem;
}

static void stress_free(Stress *s)
{
    vsc_ring_destroy(&s->guest);
    g_free(s->pages);
    g_free(s->ram);
}

/* Both sides know what packet @i holds. */
static uint32_t packet_data(uint32_t i, uint8_t *buf)
{
    uint32_t x = i * 2654435761u + 12345;
    uint32_t len = (x >> 8) % MAX_DATA;

    for (uint32_t j = 0; j < len; j++) {
        buf[j] = (x >> (j % 23)) + j;
    }
    return len;
}

static void check_packet(const uint64_t *buf, uint32_t got, uint32_t i)
{
    const VmbusPacketDescriptor *desc = (const void *)buf;
    uint8_t data[MAX_DATA];
    uint32_t len = packet_data(i, data);

    g_assert_cmpuint(got, ==, 16 + (len + 7) / 8 * 8);
    g_assert_cmpuint(desc->trans_id, ==, i);
    g_assert_cmpmem(desc + 1, len, data, len);
}

static gpointer guest_writer(gpointer opaque)
{
    Stress *s = opaque;
    uint8_t data[MAX_DATA];

    for (uint32_t i = 0; i < PACKETS; i++) {
        VmbusPacketDescriptor desc = {.trans_id = i};
        uint32_t len = packet_data(i, data);
        bool signal;

        while (!vsc_ring_write(&s->guest, &desc, 16, data, len, &signal)) {
            uint32_t total = 16 + (len + 7) / 8 * 8 + 8;

            vsc_ring_want_room(&s->guest, total);
            if (vsc_ring_free(&s->guest) <= total) {
                wait_bell(&s->to_guest);
            }
            vsc_ring_want_room(&s->guest, 0);
        }
        if (signal) {
            ring_bell(&s->to_host);
        }
    }
    return NULL;
}

static void host_reader(Stress *s, VmbusRingIn *in)
{
    uint64_t buf[128];
    const char *why;
    uint32_t i = 0, len;

    while (i < PACKETS) {
        VmbusRingResult result =
            vmbus_ring_in_take(in, buf, sizeof(buf), &len, &why);

        if (result == VMBUS_RING_OK) {
            vmbus_ring_in_mask(in, true);
            check_packet(buf, len, i++);
            /* Sometimes in the middle of a batch. */
            if (i % 61) {
                continue;
            }
        } else {
            g_assert_cmpint(result, ==, VMBUS_RING_EMPTY);
        }
        if (vmbus_ring_in_commit(in) == VMBUS_COMMIT_SIGNAL) {
            ring_bell(&s->to_guest);
        }
        if (result == VMBUS_RING_EMPTY) {
            vmbus_ring_in_mask(in, false);
            if (vmbus_ring_in_poll(in, &why) == VMBUS_RING_EMPTY) {
                wait_bell(&s->to_host);
            }
        }
    }
}

static void test_to_host(gconstpointer scattered)
{
    VmbusRingMem mem;
    VmbusRingIn in;
    GThread *guest;
    Stress s;

    mem = stress_new(&s, 4, GPOINTER_TO_INT(scattered));
    g_assert_null(vmbus_ring_in_init(&in, &mem));
    guest = g_thread_new("guest", guest_writer, &s);
    host_reader(&s, &in);
    g_thread_join(guest);
    g_test_message("%u packets, %" G_GUINT64_FORMAT
                   " signals to the host, %" G_GUINT64_FORMAT " back",
                   PACKETS, s.to_host.total, s.to_guest.total);
    /* Fewer than one a packet: else the masks do nothing. */
    g_assert_cmpuint(s.to_host.total, <, PACKETS);
    stress_free(&s);
}

static gpointer guest_reader(gpointer opaque)
{
    Stress *s = opaque;
    uint64_t buf[128];
    uint32_t i = 0, len;

    while (i < PACKETS) {
        vsc_ring_mask(&s->guest, true);
        while ((len = vsc_ring_read(&s->guest, buf, sizeof(buf)))) {
            check_packet(buf, len, i++);
            if (i % 53 == 0 && vsc_ring_read_done(&s->guest)) {
                ring_bell(&s->to_host);
            }
        }
        if (vsc_ring_read_done(&s->guest)) {
            ring_bell(&s->to_host);
        }
        if (!vsc_ring_mask(&s->guest, false) && i < PACKETS) {
            wait_bell(&s->to_guest);
        }
    }
    return NULL;
}

static void commit(Stress *s, VmbusRingOut *out)
{
    if (vmbus_ring_out_commit(out) == VMBUS_COMMIT_SIGNAL) {
        ring_bell(&s->to_guest);
    }
}

static void host_writer(Stress *s, VmbusRingOut *out)
{
    uint8_t data[MAX_DATA];
    const char *why;

    for (uint32_t i = 0; i < PACKETS; i++) {
        uint32_t len = packet_data(i, data);
        VmbusPacketDescriptor desc = {
            .trans_id = i, .offset8 = 2, .len8 = 2 + (len + 7) / 8};
        uint32_t total = desc.len8 * 8 + 8;
        struct iovec iov = {data, len};

        while (vmbus_ring_out_room(out, total, &why) != VMBUS_RING_OK) {
            commit(s, out);
            if (vmbus_ring_out_wait(out, total, &why) == VMBUS_RING_OK) {
                break;
            }
            wait_bell(&s->to_host);
        }
        vmbus_ring_out_put(out, &desc, &iov, 1);
        if (i % 17 == 0) {
            commit(s, out);
        }
    }
    commit(s, out);
}

static void test_to_guest(gconstpointer scattered)
{
    VmbusRingMem mem;
    VmbusRingOut out;
    GThread *guest;
    Stress s;

    mem = stress_new(&s, 4, GPOINTER_TO_INT(scattered));
    g_assert_null(vmbus_ring_out_init(&out, &mem));
    guest = g_thread_new("guest", guest_reader, &s);
    host_writer(&s, &out);
    g_thread_join(guest);
    g_test_message("%u packets, %" G_GUINT64_FORMAT
                   " signals to the guest, %" G_GUINT64_FORMAT " back",
                   PACKETS, s.to_guest.total, s.to_host.total);
    g_assert_cmpuint(s.to_guest.total, <, PACKETS);
    stress_free(&s);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* Plausible indexes and lengths, so that the host gets far. */
static gpointer scribbler(gpointer opaque)
{
    Stress *s = opaque;
    uint32_t *control = (uint32_t *)s->guest.control;
    uint32_t state = 1;

    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        uint32_t r = next_random(&state);
        uint32_t *at;

        if (r % 4 == 0) {
            at = &control[r % 5 == 4 ? 16 : r % 5];
        } else {
            at = (uint32_t *)(s->pages[1 + r % 3] + r % 1024 * 4);
        }
        r = next_random(&state);
        __atomic_store_n(at, r % 8 ? r % 1600 * 8 : r * 0x10001,
                         __ATOMIC_RELAXED);
        if (r % 3 == 0) { /* a descriptor of a packet that fits */
            __atomic_store_n((uint32_t *)(s->pages[1 + r % 3]) + r % 512 * 2,
                             2u << 16, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static void test_scribbler(void)
{
    uint64_t *buf = g_malloc(16384);
    uint8_t data[64] = {0};
    struct iovec iov = {data, sizeof(data)};
    VmbusPacketDescriptor desc = {.offset8 = 2, .len8 = 10};
    unsigned results[VMBUS_RING_CLOSED + 1] = {0};
    VmbusRingMem mem;
    VmbusRingOut out;
    VmbusRingIn in;
    GThread *guest;
    Stress s;

    mem = stress_new(&s, 4, true);
    g_assert_null(vmbus_ring_in_init(&in, &mem));
    g_assert_null(vmbus_ring_out_init(&out, &mem));
    guest = g_thread_new("guest", scribbler, &s);
    /* A busy machine may run the other thread late. */
    for (int i = 0;
         i < 300000 || !results[VMBUS_RING_OK] || !results[VMBUS_RING_CORRUPT];
         i++) {
        const char *why = NULL;
        uint32_t len = 0;
        VmbusRingResult result =
            vmbus_ring_in_take(&in, buf, 16384, &len, &why);

        results[result]++;
        if (result == VMBUS_RING_OK) {
            const VmbusPacketDescriptor *got = (void *)buf;

            g_assert_cmpuint(len, ==, got->len8 * 8);
            g_assert_cmpuint(got->offset8 * 8, <=, len);
            g_assert_cmpuint(got->offset8, >=, 2);
        } else if (result == VMBUS_RING_CORRUPT) {
            g_assert_nonnull(why);
        }
        vmbus_ring_in_commit(&in);
        result = vmbus_ring_out_room(&out, 88, &why);
        if (result == VMBUS_RING_FULL) {
            vmbus_ring_out_commit(&out);
            result = vmbus_ring_out_wait(&out, 88, &why);
        }
        if (result == VMBUS_RING_OK) {
            vmbus_ring_out_put(&out, &desc, &iov, 1);
            vmbus_ring_out_commit(&out);
        }
        g_assert_null(vmbus_ring_in_check(&in));
        g_assert_null(vmbus_ring_out_check(&out));
    }
    __atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
    g_thread_join(guest);
    g_test_message("%u packets taken, %u times corrupt, %u times empty",
                   results[VMBUS_RING_OK], results[VMBUS_RING_CORRUPT],
                   results[VMBUS_RING_EMPTY]);
    stress_free(&s);
    g_free(buf);
}

static gpointer watchdog(gpointer unused)
{
    sleep(WATCHDOG);
    g_printerr("A wake-up was lost: both sides wait for a signal.\n");
    abort();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_thread_unref(g_thread_new("watchdog", watchdog, NULL));
    g_test_add_data_func("/stress/to-host", GINT_TO_POINTER(FALSE),
                         test_to_host);
    g_test_add_data_func("/stress/to-host/scattered", GINT_TO_POINTER(TRUE),
                         test_to_host);
    g_test_add_data_func("/stress/to-guest", GINT_TO_POINTER(FALSE),
                         test_to_guest);
    g_test_add_data_func("/stress/to-guest/scattered", GINT_TO_POINTER(TRUE),
                         test_to_guest);
    g_test_add_func("/stress/scribbler", test_scribbler);
    return g_test_run();
}
