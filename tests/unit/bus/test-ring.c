/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's rings against a guest's, over the same pages. */
#include <glib.h>

#include "bus/ring.h"
#include "vsc-ring.h"

#define ROOM 16384u

typedef struct Pair {
    uint8_t *ram, *dirty;
    uint8_t **pages;
    uint32_t count;
    VmbusMapping mapping;
    VscRing guest;
    VmbusRingIn in;   /* of the host, if the guest writes */
    VmbusRingOut out; /* if it reads */
} Pair;

static void note_dirty(void *opaque, VmbusMapping *mapping, uint64_t offset,
                       uint32_t len)
{
    Pair *pair = opaque;

    for (uint64_t i = offset; i < offset + len; i++) {
        size_t page = mapping->pages[i / VMBUS_PAGE_SIZE] - pair->ram;

        pair->dirty[page + i % VMBUS_PAGE_SIZE] = 1;
    }
}

/* Another page stands before the ring's, so that its first is not page 0. */
static void pair_new(Pair *pair, uint32_t data_pages, bool scattered)
{
    pair->count = data_pages + 2;
    pair->ram = g_malloc0((size_t)pair->count * VMBUS_PAGE_SIZE);
    pair->dirty = g_malloc0((size_t)pair->count * VMBUS_PAGE_SIZE);
    pair->pages = g_new(uint8_t *, pair->count);
    for (uint32_t i = 0; i < pair->count; i++) {
        uint32_t frame = scattered ? pair->count - 1 - i : i;

        pair->pages[i] = pair->ram + (size_t)frame * VMBUS_PAGE_SIZE;
    }
    pair->mapping =
        (VmbusMapping){.page_count = pair->count, .pages = pair->pages};
    vsc_ring_init(&pair->guest, pair->pages + 1, pair->count - 1);
}

static void pair_free(Pair *pair)
{
    vsc_ring_destroy(&pair->guest);
    g_free(pair->pages);
    g_free(pair->dirty);
    g_free(pair->ram);
}

/* Both sides begin at @start. */
static void begin_at(Pair *pair, uint32_t start, bool to_host)
{
    VmbusRingMem mem;

    pair->guest.control->read_index = start;
    pair->guest.control->write_index = start;
    pair->guest.next_read = start;
    vmbus_ring_mem_init(&mem, &pair->mapping, 1, pair->count - 1, note_dirty,
                        pair);
    g_assert_cmpuint(mem.size, ==, (pair->count - 2) * VMBUS_PAGE_SIZE);
    g_assert_cmpstr(to_host ? vmbus_ring_in_init(&pair->in, &mem)
                            : vmbus_ring_out_init(&pair->out, &mem),
                    ==, NULL);
}

static void pattern(uint8_t *buf, uint32_t len, uint32_t seed)
{
    for (uint32_t i = 0; i < len; i++) {
        buf[i] = seed * 31 + i * 7 + (i >> 8);
    }
}

static VmbusRingCommit guest_writes(Pair *pair, const void *data, uint32_t len,
                                    uint64_t id)
{
    VmbusPacketDescriptor desc = {.type = VMBUS_PKT_DATA_INBAND,
                                  .trans_id = id};
    bool signal;

    if (!vsc_ring_write(&pair->guest, &desc, sizeof(desc), data, len,
                        &signal)) {
        return VMBUS_COMMIT_NOTHING;
    }
    return signal ? VMBUS_COMMIT_SIGNAL : VMBUS_COMMIT_QUIET;
}

/* The next packet is there, and is @data padded. */
static void host_takes(Pair *pair, const uint8_t *data, uint32_t len,
                       uint64_t id)
{
    static uint64_t buf[ROOM / 8];
    const VmbusPacketDescriptor *desc = (void *)buf;
    const char *why = NULL;
    uint32_t got = 0;

    g_assert_cmpint(vmbus_ring_in_take(&pair->in, buf, ROOM, &got, &why), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(got, ==, 16 + (len + 7) / 8 * 8);
    g_assert_cmpuint(desc->trans_id, ==, id);
    g_assert_cmpmem(desc + 1, len, data, len);
}

static void host_finds_nothing(Pair *pair)
{
    uint64_t buf[16];
    const char *why;
    uint32_t len;

    g_assert_cmpint(vmbus_ring_in_take(&pair->in, buf, sizeof(buf), &len, &why),
                    ==, VMBUS_RING_EMPTY);
    g_assert_cmpint(vmbus_ring_in_poll(&pair->in, &why), ==, VMBUS_RING_EMPTY);
}

static VmbusRingResult host_room(Pair *pair, uint32_t total)
{
    const char *why = NULL;

    return vmbus_ring_out_room(&pair->out, total, &why);
}

static void host_puts(Pair *pair, const void *data, uint32_t len, uint64_t id)
{
    struct iovec iov[3] = {
        {(void *)data, len / 3},
        {(uint8_t *)data + len / 3, 0},
        {(uint8_t *)data + len / 3, len - len / 3},
    };
    VmbusPacketDescriptor desc = {
        .type = VMBUS_PKT_DATA_INBAND,
        .offset8 = 2,
        .len8 = 2 + (len + 7) / 8,
        .trans_id = id,
    };

    g_assert_cmpint(host_room(pair, desc.len8 * 8 + 8), ==, VMBUS_RING_OK);
    vmbus_ring_out_put(&pair->out, &desc, iov, 3);
}

static void guest_reads(Pair *pair, const uint8_t *data, uint32_t len,
                        uint64_t id)
{
    static uint64_t buf[ROOM / 8];
    static const uint8_t zeros[8];
    const VmbusPacketDescriptor *desc = (void *)buf;
    uint32_t padded = (len + 7) / 8 * 8;

    g_assert_cmpuint(vsc_ring_read(&pair->guest, buf, ROOM), ==, 16 + padded);
    g_assert_cmpuint(desc->trans_id, ==, id);
    g_assert_cmpmem(desc + 1, len, data, len);
    g_assert_cmpmem((uint8_t *)(desc + 1) + len, padded - len, zeros,
                    padded - len);
}

/* Three packets from each place in the ring, so that each part wraps. */
static void test_wrap(gconstpointer scattered)
{
    static const uint32_t lens[] = {0, 1, 8, 9, 23, 160};
    uint8_t data[160];

    for (uint32_t pages = 1; pages <= 3; pages++) {
        Pair pair;

        pair_new(&pair, pages, GPOINTER_TO_INT(scattered));
        for (uint32_t start = 0; start < pages * VMBUS_PAGE_SIZE; start += 8) {
            begin_at(&pair, start, true);
            g_assert_cmpint(!pair.in.mem.linear, ==,
                            pages > 1 && GPOINTER_TO_INT(scattered));
            for (uint32_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                pattern(data, lens[i], start + i);
                guest_writes(&pair, data, lens[i], start + i);
            }
            for (uint32_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                pattern(data, lens[i], start + i);
                host_takes(&pair, data, lens[i], start + i);
            }
            host_finds_nothing(&pair);
            begin_at(&pair, start, false);
            for (uint32_t i = 0; i < pages; i++) {
                memset(pair.pages[2 + i], 0xee, VMBUS_PAGE_SIZE);
            }
            for (uint32_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                pattern(data, lens[i], start + i);
                host_puts(&pair, data, lens[i], start + i);
            }
            g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==,
                            VMBUS_COMMIT_SIGNAL);
            for (uint32_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                pattern(data, lens[i], start + i);
                guest_reads(&pair, data, lens[i], start + i);
            }
            g_assert_cmpuint(vsc_ring_read(&pair.guest, data, 160), ==, 0);
        }
        pair_free(&pair);
    }
}

/* The largest packet leaves 8 bytes free, wherever it begins. */
static void test_largest(gconstpointer scattered)
{
    uint32_t len = 2 * VMBUS_PAGE_SIZE - 8 - 8 - 16;
    g_autofree uint8_t *data = g_malloc(len);
    Pair pair;

    pair_new(&pair, 2, GPOINTER_TO_INT(scattered));
    for (uint32_t start = 0; start < 2 * VMBUS_PAGE_SIZE; start += 40) {
        pattern(data, len, start);
        begin_at(&pair, start, false);
        g_assert_cmpint(host_room(&pair, 2 * VMBUS_PAGE_SIZE), ==,
                        VMBUS_RING_TOO_LARGE);
        g_assert_cmpint(host_room(&pair, 0xffffffff), ==, VMBUS_RING_TOO_LARGE);
        host_puts(&pair, data, len, 1);
        g_assert_cmpint(host_room(&pair, 8), ==, VMBUS_RING_FULL);
        vmbus_ring_out_commit(&pair.out);
        guest_reads(&pair, data, len, 1);
        begin_at(&pair, start, true);
        g_assert_cmpint(guest_writes(&pair, data, len, 2), ==,
                        VMBUS_COMMIT_SIGNAL);
        host_takes(&pair, data, len, 2);
        host_finds_nothing(&pair);
    }
    pair_free(&pair);
}

/* A ring filled with small packets is never quite full. */
static void test_fill(void)
{
    const uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t sent = 0;
    Pair pair;

    pair_new(&pair, 1, false);
    begin_at(&pair, 80, false);
    while (host_room(&pair, 32) == VMBUS_RING_OK) {
        host_puts(&pair, data, 8, sent++);
    }
    g_assert_cmpuint(sent, ==, (VMBUS_PAGE_SIZE - 8) / 32);
    vmbus_ring_out_commit(&pair.out);
    g_assert_cmpuint(vsc_ring_free(&pair.guest), >=, 8);
    for (uint32_t i = 0; i < sent; i++) {
        guest_reads(&pair, data, 8, i);
    }
    vsc_ring_read_done(&pair.guest);
    g_assert_cmpint(host_room(&pair, VMBUS_PAGE_SIZE - 8), ==, VMBUS_RING_OK);
    pair_free(&pair);
}

static void test_signal_new_packets(void)
{
    Pair pair;
    uint8_t data[8] = {0};

    pair_new(&pair, 1, false);
    begin_at(&pair, 0, false);
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_NOTHING);
    host_puts(&pair, data, 8, 1);
    host_puts(&pair, data, 8, 2);
    host_puts(&pair, data, 8, 3);
    /* Nothing is to be seen before the commit, then all of it. */
    g_assert_cmpuint(vsc_ring_read(&pair.guest, data, 8), ==, 0);
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_SIGNAL);
    host_puts(&pair, data, 8, 4);
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_QUIET);
    guest_reads(&pair, data, 8, 1);
    vsc_ring_read_done(&pair.guest);
    host_puts(&pair, data, 8, 5);
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_QUIET);
    for (int i = 2; i <= 5; i++) {
        guest_reads(&pair, data, 8, i);
    }
    vsc_ring_read_done(&pair.guest);
    host_puts(&pair, data, 8, 6);
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_SIGNAL);
    /* Read, and masked: the guest looks again before it unmasks. */
    guest_reads(&pair, data, 8, 6);
    vsc_ring_read_done(&pair.guest);
    vsc_ring_mask(&pair.guest, true);
    host_puts(&pair, data, 8, 7);
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_QUIET);
    g_assert_true(vsc_ring_mask(&pair.guest, false));
    g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==, VMBUS_COMMIT_NOTHING);
    pair_free(&pair);
}

static void test_mask(void)
{
    const char *why;
    Pair pair;
    uint8_t data[8] = {0};

    pair_new(&pair, 1, false);
    begin_at(&pair, 0, true);
    g_assert_cmpint(guest_writes(&pair, data, 8, 1), ==, VMBUS_COMMIT_SIGNAL);
    vmbus_ring_in_mask(&pair.in, true);
    host_takes(&pair, data, 8, 1);
    vmbus_ring_in_commit(&pair.in);
    g_assert_cmpint(guest_writes(&pair, data, 8, 2), ==, VMBUS_COMMIT_QUIET);
    host_takes(&pair, data, 8, 2);
    host_finds_nothing(&pair);
    vmbus_ring_in_commit(&pair.in);
    g_assert_cmpint(guest_writes(&pair, data, 8, 3), ==, VMBUS_COMMIT_QUIET);
    vmbus_ring_in_mask(&pair.in, false);
    g_assert_cmpint(vmbus_ring_in_poll(&pair.in, &why), ==, VMBUS_RING_OK);
    host_takes(&pair, data, 8, 3);
    vmbus_ring_in_commit(&pair.in);
    g_assert_cmpint(guest_writes(&pair, data, 8, 4), ==, VMBUS_COMMIT_SIGNAL);
    pair_free(&pair);
}

/*
 * The guest waits until more than @pending bytes are free; @before are free
 * when the host commits and @after when it has.
 */
static VmbusRingCommit commit_with(uint32_t pending, uint32_t before,
                                   uint32_t after, uint32_t features)
{
    VmbusRingCommit commit;
    Pair pair;

    pair_new(&pair, 1, false);
    begin_at(&pair, 1024, true);
    pair.in.read = (1024 + after - before) % VMBUS_PAGE_SIZE;
    pair.guest.control->write_index =
        (1024 + VMBUS_PAGE_SIZE - before) % VMBUS_PAGE_SIZE;
    pair.guest.control->pending_send_size = pending;
    pair.guest.control->feature_bits = features;
    commit = vmbus_ring_in_commit(&pair.in);
    g_assert_cmpuint(pair.guest.control->read_index, ==, pair.in.read);
    pair_free(&pair);
    return commit;
}

static void test_signal_room(void)
{
    static const struct {
        uint32_t pending, before, after;
        VmbusRingCommit commit;
    } cases[] = {
        {0, 8, 4096, VMBUS_COMMIT_QUIET}, /* does not wait */
        {64, 8, 64, VMBUS_COMMIT_QUIET},  /* exactly is not enough */
        {64, 8, 72, VMBUS_COMMIT_SIGNAL},
        {64, 64, 72, VMBUS_COMMIT_SIGNAL},
        {64, 72, 80, VMBUS_COMMIT_QUIET}, /* had it before */
        {64, 72, 4096, VMBUS_COMMIT_QUIET},
        {64, 8, 4096, VMBUS_COMMIT_SIGNAL},
        {60, 8, 64, VMBUS_COMMIT_SIGNAL},
        /* Some guests ask for the ring's size less 1: empty. */
        {4095, 8, 4088, VMBUS_COMMIT_QUIET},
        {4095, 8, 4096, VMBUS_COMMIT_SIGNAL},
        {4096, 8, 4096, VMBUS_COMMIT_QUIET}, /* never */
        {0xffffffff, 8, 4096, VMBUS_COMMIT_QUIET},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(
            commit_with(cases[i].pending, cases[i].before, cases[i].after, 1),
            ==, cases[i].commit);
        /* A guest that does not know the feature polls. */
        g_assert_cmpint(commit_with(cases[i].pending, cases[i].before,
                                    cases[i].after, 0xfffffffe),
                        ==, VMBUS_COMMIT_QUIET);
    }
    g_assert_cmpint(commit_with(64, 8, 8, 1), ==, VMBUS_COMMIT_NOTHING);
}

static void test_wait_for_room(void)
{
    g_autofree uint8_t *data = g_malloc0(VMBUS_PAGE_SIZE);
    const char *why = NULL;
    Pair pair;

    pair_new(&pair, 1, false);
    begin_at(&pair, 0, false);
    g_assert_cmpuint(pair.guest.control->feature_bits, ==, 1);
    host_puts(&pair, data, 1000, 1);
    host_puts(&pair, data, 3000, 2);
    vmbus_ring_out_commit(&pair.out);
    g_assert_cmpint(host_room(&pair, 1024), ==, VMBUS_RING_FULL);
    g_assert_cmpint(vmbus_ring_out_wait(&pair.out, 1024, &why), ==,
                    VMBUS_RING_FULL);
    g_assert_cmpuint(pair.guest.control->pending_send_size, ==, 1024);
    /* 48 bytes are free; 1024 more make 1072: enough, and the guest says so. */
    guest_reads(&pair, data, 1000, 1);
    g_assert_true(vsc_ring_read_done(&pair.guest));
    host_puts(&pair, data, 1000, 3);
    g_assert_cmpuint(pair.guest.control->pending_send_size, ==, 0);
    vmbus_ring_out_commit(&pair.out);
    guest_reads(&pair, data, 3000, 2);
    g_assert_false(vsc_ring_read_done(&pair.guest));
    pair_free(&pair);
}

/* The guest made room between the first look and the wish: no wait. */
static void test_room_at_last_look(void)
{
    g_autofree uint8_t *data = g_malloc0(VMBUS_PAGE_SIZE);
    const char *why = NULL;
    Pair pair;

    pair_new(&pair, 1, false);
    begin_at(&pair, 0, false);
    host_puts(&pair, data, 4000, 1);
    vmbus_ring_out_commit(&pair.out);
    g_assert_cmpint(host_room(&pair, 1024), ==, VMBUS_RING_FULL);
    guest_reads(&pair, data, 4000, 1);
    vsc_ring_read_done(&pair.guest);
    g_assert_cmpint(vmbus_ring_out_wait(&pair.out, 1024, &why), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(pair.guest.control->pending_send_size, ==, 0);
    pair_free(&pair);
}

static const uint32_t bad_indexes[] = {
    1, 4, 7, 4095, 4096, 4104, 8192, 0x7ffffff8, 0xfffffff8, 0xffffffff};

static void test_hostile_indexes(void)
{
    static uint8_t data[64];
    uint64_t buf[16];
    Pair pair;

    pair_new(&pair, 1, false);
    for (size_t i = 0; i < G_N_ELEMENTS(bad_indexes); i++) {
        const char *why = NULL;
        uint32_t len;

        begin_at(&pair, 0, true);
        /* What was seen before stays good; the next look finds it. */
        guest_writes(&pair, data, 8, 1);
        host_takes(&pair, data, 8, 1);
        guest_writes(&pair, data, 8, 2);
        host_takes(&pair, data, 8, 2);
        pair.guest.control->write_index = bad_indexes[i];
        pair.guest.control->pending_send_size = 64;
        g_assert_cmpint(vmbus_ring_in_commit(&pair.in), ==, VMBUS_COMMIT_QUIET);
        g_assert_cmpint(vmbus_ring_in_poll(&pair.in, &why), ==,
                        VMBUS_RING_CORRUPT);
        why = NULL;
        g_assert_cmpint(
            vmbus_ring_in_take(&pair.in, buf, sizeof(buf), &len, &why), ==,
            VMBUS_RING_CORRUPT);
        g_assert_cmpstr(
            why, ==,
            "The write index of the ring to the host is out of range.");
        g_assert_null(vmbus_ring_in_check(&pair.in));
        pair.guest.control->pending_send_size = 0;

        begin_at(&pair, 0, false);
        host_puts(&pair, data, 64, 1);
        vmbus_ring_out_commit(&pair.out);
        pair.guest.control->read_index = bad_indexes[i];
        host_puts(&pair, data, 64, 2);
        g_assert_cmpint(vmbus_ring_out_commit(&pair.out), ==,
                        VMBUS_COMMIT_QUIET);
        why = NULL;
        g_assert_cmpint(vmbus_ring_out_room(&pair.out, 4088, &why), ==,
                        VMBUS_RING_CORRUPT);
        g_assert_cmpstr(
            why, ==,
            "The read index of the ring to the guest is out of range.");
        why = NULL;
        g_assert_cmpint(vmbus_ring_out_wait(&pair.out, 4088, &why), ==,
                        VMBUS_RING_CORRUPT);
        g_assert_nonnull(why);
        g_assert_null(vmbus_ring_out_check(&pair.out));
    }
    pair_free(&pair);
}

/* The guest's copy of our own index means nothing to us. */
static void test_own_index(void)
{
    uint8_t data[8] = {9};
    Pair pair;

    pair_new(&pair, 1, false);
    begin_at(&pair, 0, true);
    guest_writes(&pair, data, 8, 1);
    pair.guest.control->read_index = 0xfffffff1;
    host_takes(&pair, data, 8, 1);
    vmbus_ring_in_commit(&pair.in);
    g_assert_cmpuint(pair.guest.control->read_index, ==, 32);
    begin_at(&pair, 0, false);
    host_puts(&pair, data, 8, 1);
    vmbus_ring_out_commit(&pair.out);
    pair.guest.control->write_index = 0xfffffff1;
    host_puts(&pair, data, 8, 2);
    vmbus_ring_out_commit(&pair.out);
    g_assert_cmpuint(pair.guest.control->write_index, ==, 64);
    guest_reads(&pair, data, 8, 1);
    guest_reads(&pair, data, 8, 2);
    pair_free(&pair);
}

static void test_hostile_descriptors(void)
{
    static const struct {
        uint16_t offset8, len8;
        uint32_t written; /* bytes between the indexes */
        const char *why;
    } cases[] = {
        {2, 2, 8, "The ring holds less than the smallest packet."},
        {2, 2, 16, "The ring holds less than the smallest packet."},
        {0, 2, 24, "A packet's payload begins inside its descriptor."},
        {1, 2, 24, "A packet's payload begins inside its descriptor."},
        {2, 1, 24, "A packet's payload begins behind its end."},
        {2, 0, 24, "A packet's payload begins behind its end."},
        {3, 2, 24, "A packet's payload begins behind its end."},
        {0xffff, 2, 24, "A packet's payload begins behind its end."},
        {2, 3, 24, "A packet reaches beyond what the guest has written."},
        {2, 0xffff, 24, "A packet reaches beyond what the guest has written."},
        {2, 511, 4088, "A packet reaches beyond what the guest has written."},
        {2, 17, 144, "A packet is larger than the host takes."},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmbusPacketDescriptor desc = {.offset8 = cases[i].offset8,
                                      .len8 = cases[i].len8};
        const char *why = NULL;
        uint64_t buf[16]; /* 128 bytes */
        uint32_t len;
        Pair pair;

        pair_new(&pair, 1, false);
        begin_at(&pair, 4088, true);
        vsc_ring_copy_in(&pair.guest, 4088, &desc, sizeof(desc));
        pair.guest.control->write_index = (4088 + cases[i].written) % 4096;
        g_assert_cmpint(
            vmbus_ring_in_take(&pair.in, buf, sizeof(buf), &len, &why), ==,
            VMBUS_RING_CORRUPT);
        g_assert_cmpstr(why, ==, cases[i].why);
        pair_free(&pair);
    }
}

/* Each byte that the host changes is told to migration. */
static void test_dirty(gconstpointer scattered)
{
    g_autofree uint8_t *data = g_malloc(6000);
    g_autofree uint8_t *before = NULL;
    size_t size;
    Pair pair;

    pattern(data, 6000, 5);
    pair_new(&pair, 3, GPOINTER_TO_INT(scattered));
    size = (size_t)pair.count * VMBUS_PAGE_SIZE;
    before = g_malloc(size);
    for (int to_host = 0; to_host < 2; to_host++) {
        const char *why = NULL;

        memset(pair.ram, 0xee, size);
        memset(pair.dirty, 0, size);
        memcpy(before, pair.ram, size);
        begin_at(&pair, 8000, to_host);
        /* begin_at() writes the indexes as a guest does. */
        memcpy(before + (pair.pages[1] - pair.ram), pair.pages[1], 8);
        if (to_host) {
            guest_writes(&pair, data, 6000, 1);
            memcpy(before, pair.ram, size);
            vmbus_ring_in_mask(&pair.in, true);
            host_takes(&pair, data, 6000, 1);
            vmbus_ring_in_commit(&pair.in);
            vmbus_ring_in_mask(&pair.in, false);
        } else {
            host_puts(&pair, data, 6000, 1);
            vmbus_ring_out_commit(&pair.out);
            vmbus_ring_out_wait(&pair.out, 12000, &why);
        }
        for (size_t i = 0; i < size; i++) {
            g_assert_true(pair.ram[i] == before[i] || pair.dirty[i]);
        }
    }
    pair_free(&pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/ring/wrap", GINT_TO_POINTER(FALSE), test_wrap);
    g_test_add_data_func("/ring/wrap/scattered", GINT_TO_POINTER(TRUE),
                         test_wrap);
    g_test_add_data_func("/ring/largest", GINT_TO_POINTER(FALSE), test_largest);
    g_test_add_data_func("/ring/largest/scattered", GINT_TO_POINTER(TRUE),
                         test_largest);
    g_test_add_func("/ring/fill", test_fill);
    g_test_add_func("/ring/signal/new-packets", test_signal_new_packets);
    g_test_add_func("/ring/signal/mask", test_mask);
    g_test_add_func("/ring/signal/room", test_signal_room);
    g_test_add_func("/ring/wait-for-room", test_wait_for_room);
    g_test_add_func("/ring/room-at-last-look", test_room_at_last_look);
    g_test_add_func("/ring/hostile/indexes", test_hostile_indexes);
    g_test_add_func("/ring/hostile/own-index", test_own_index);
    g_test_add_func("/ring/hostile/descriptors", test_hostile_descriptors);
    g_test_add_data_func("/ring/dirty", GINT_TO_POINTER(FALSE), test_dirty);
    g_test_add_data_func("/ring/dirty/scattered", GINT_TO_POINTER(TRUE),
                         test_dirty);
    return g_test_run();
}
