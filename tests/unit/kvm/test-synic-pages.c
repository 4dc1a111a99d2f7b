/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "kvm/synic-pages.h"

#include <glib.h>

typedef union Page {
    HvMessage slot[HV_ABI_SINT_COUNT];
    uint8_t byte[HV_ABI_PAGE_SIZE];
} Page;

static Page *page_new(void)
{
    Page *page = NULL;

    g_assert_cmpint(
        posix_memalign((void **)&page, HV_ABI_PAGE_SIZE, sizeof(*page)), ==, 0);
    memset(page, 0, sizeof(*page));
    return page;
}

static HvMessage message_of(uint8_t fill)
{
    HvMessage msg = {.type = 1, .payload_size = 200, .sender = 77};

    memset(msg.payload, fill, sizeof(msg.payload));
    return msg;
}

static void test_post(void)
{
    Page *page = page_new();
    HvMessage msg = message_of(0x5a);

    /* What a guest may have left behind is overwritten. */
    page->slot[2].flags = 0xff;
    msg.flags = HVMSG_FLAG_PENDING;
    g_assert_cmpint(hv_message_slot_post(page, 2, &msg), ==, HV_SLOT_POSTED);
    msg.flags = 0;
    g_assert_cmpmem(&page->slot[2], sizeof(msg), &msg, sizeof(msg));
    /* No other slot was touched. */
    g_assert_cmphex(page->slot[1].type | page->slot[3].type, ==, 0);
    g_assert_cmphex(page->slot[3].payload[0] | page->slot[1].payload[239], ==,
                    0);
    free(page);
}

static void test_busy(void)
{
    Page *page = page_new();
    HvMessage first = message_of(1), second = message_of(2);

    hv_message_slot_post(page, 15, &first);
    g_assert_cmpint(hv_message_slot_post(page, 15, &second), ==, HV_SLOT_BUSY);
    g_assert_cmphex(page->slot[15].flags, ==, HVMSG_FLAG_PENDING);
    g_assert_cmphex(page->slot[15].payload[0], ==, 1);
    /* The guest frees it, and the next one clears the flag. */
    page->slot[15].type = HVMSG_NONE_TYPE;
    g_assert_cmpint(hv_message_slot_post(page, 15, &second), ==,
                    HV_SLOT_POSTED);
    g_assert_cmphex(page->slot[15].flags, ==, 0);
    g_assert_cmphex(page->slot[15].payload[0], ==, 2);
    free(page);
}

static void test_post_bounds(void)
{
    Page *page = page_new();
    HvMessage msg = message_of(1), none = {0};

    g_assert_cmpint(hv_message_slot_post(page, 16, &msg), ==, HV_SLOT_INVALID);
    g_assert_cmpint(hv_message_slot_post(page, UINT_MAX, &msg), ==,
                    HV_SLOT_INVALID);
    g_assert_cmpint(hv_message_slot_post(page, 0, &none), ==, HV_SLOT_INVALID);
    g_assert_cmphex(page->slot[0].type, ==, 0);
    free(page);
}

#define RACE_MESSAGES 50000

typedef struct Race {
    Page *page;
    uint32_t eoms;  /* of the guest */
    uint32_t taken; /* messages that it took */
    bool stop;
} Race;

/* Takes messages like Linux: type, payload, swap to NONE, flag, EOM. */
static void *polling_guest(void *opaque)
{
    Race *race = opaque;
    HvMessage *slot = &race->page->slot[2];
    uint32_t expect = 1;

    while (expect <= RACE_MESSAGES) {
        uint32_t type = __atomic_load_n(&slot->type, __ATOMIC_ACQUIRE);
        uint64_t *word = (uint64_t *)slot->payload;
        size_t i;

        if (type == HVMSG_NONE_TYPE) {
            continue;
        }
        /* Every word of it is there once the type is. */
        for (i = 0; i < HV_ABI_PAYLOAD / 8; i++) {
            g_assert_cmpuint(__atomic_load_n(&word[i], __ATOMIC_RELAXED), ==,
                             expect);
        }
        g_assert_cmpuint(slot->payload_size, ==, 200);
        expect++;
        g_assert_true(__atomic_compare_exchange_n(
            &slot->type, &type, HVMSG_NONE_TYPE, false, __ATOMIC_SEQ_CST,
            __ATOMIC_SEQ_CST));
        if (__atomic_load_n(&slot->flags, __ATOMIC_SEQ_CST) &
            HVMSG_FLAG_PENDING) {
            __atomic_fetch_add(&race->eoms, 1, __ATOMIC_SEQ_CST);
        }
    }
    return NULL;
}

/*
 * After BUSY the host waits for an EOM and for nothing else, so a lost flag
 * hangs this test; a watchdog turns that into a failure.
 */
static void test_race(void)
{
    Race race = {.page = page_new()};
    GThread *guest = g_thread_new("guest", polling_guest, &race);
    gint64 limit = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    uint32_t seen = 0, busy = 0, n, w;

    for (n = 1; n <= RACE_MESSAGES;) {
        HvMessage msg = message_of(0);

        for (w = 0; w < HV_ABI_PAYLOAD / 8; w++) {
            ((uint64_t *)msg.payload)[w] = n;
        }
        if (hv_message_slot_post(race.page, 2, &msg) == HV_SLOT_POSTED) {
            n++;
            continue;
        }
        busy++;
        while (__atomic_load_n(&race.eoms, __ATOMIC_SEQ_CST) == seen) {
            g_assert_cmpint(g_get_monotonic_time(), <, limit);
        }
        seen = __atomic_load_n(&race.eoms, __ATOMIC_SEQ_CST);
    }
    g_thread_join(guest);
    g_test_message("%u posts found the slot busy", busy);
    free(race.page);
}

/* A guest that scribbles on its page harms only itself. */
static void *scribbling_guest(void *opaque)
{
    Race *race = opaque;
    uint32_t *type = &race->page->slot[2].type;

    while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
        __atomic_store_n(type, HVMSG_NONE_TYPE, __ATOMIC_RELAXED);
        __atomic_store_n(type, 0xffffffff, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_scribble(void)
{
    Race race = {.page = page_new()};
    GThread *guest = g_thread_new("guest", scribbling_guest, &race);
    HvMessage msg = message_of(9);
    int i;

    for (i = 0; i < 200000; i++) {
        g_assert_cmpint(hv_message_slot_post(race.page, 2, &msg), !=,
                        HV_SLOT_INVALID);
    }
    __atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
    g_thread_join(guest);
    g_assert_cmphex(race.page->slot[1].type | race.page->slot[3].type, ==, 0);
    free(race.page);
}

static void test_event(void)
{
    Page *page = page_new();

    g_assert_true(hv_event_flag_set(page, 2, 0));
    g_assert_false(hv_event_flag_set(page, 2, 0));
    g_assert_true(hv_event_flag_set(page, 2, 2047));
    g_assert_cmphex(page->byte[2 * 256], ==, 0x01);
    g_assert_cmphex(page->byte[2 * 256 + 255], ==, 0x80);
    g_assert_cmphex(page->byte[2 * 256 - 1] | page->byte[3 * 256], ==, 0);
    /* The guest took it: the next one raises the SINT anew. */
    page->byte[2 * 256] = 0;
    g_assert_true(hv_event_flag_set(page, 2, 0));
    g_assert_true(hv_event_flag_set(page, 15, 2047));
    g_assert_cmphex(page->byte[4095], ==, 0x80);
    free(page);
}

static void test_event_bounds(void)
{
    Page *page = page_new();
    size_t i;

    g_assert_false(hv_event_flag_set(page, 2, 2048));
    g_assert_false(hv_event_flag_set(page, 2, UINT_MAX));
    g_assert_false(hv_event_flag_set(page, 16, 0));
    g_assert_false(hv_event_flag_set(page, UINT_MAX, 0));
    for (i = 0; i < sizeof(page->byte); i++) {
        g_assert_cmphex(page->byte[i], ==, 0);
    }
    free(page);
}

#define RACE_FLAGS 200000

static void *flag_setter(void *opaque)
{
    Race *race = opaque;
    uint32_t raised = 0;
    int i;

    for (i = 0; i < RACE_FLAGS; i++) {
        raised += hv_event_flag_set(race->page, 2, 5);
    }
    __atomic_fetch_add(&race->eoms, raised, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Two hosts set, a guest clears: each 0 -> 1 is reported exactly once. */
static void test_event_race(void)
{
    Race race = {.page = page_new()};
    uint8_t *byte = &race.page->byte[2 * 256];
    GThread *a = g_thread_new("a", flag_setter, &race);
    GThread *b = g_thread_new("b", flag_setter, &race);
    uint32_t cleared = 0;
    int i;

    for (i = 0; i < RACE_FLAGS; i++) {
        cleared += !!(__atomic_exchange_n(byte, 0, __ATOMIC_SEQ_CST));
    }
    g_thread_join(a);
    g_thread_join(b);
    cleared += !!*byte;
    g_assert_cmpuint(cleared, ==, race.eoms);
    g_assert_cmpuint(cleared, >, 0);
    free(race.page);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/slot/post", test_post);
    g_test_add_func("/slot/busy", test_busy);
    g_test_add_func("/slot/bounds", test_post_bounds);
    g_test_add_func("/slot/race", test_race);
    g_test_add_func("/slot/scribble", test_scribble);
    g_test_add_func("/event/set", test_event);
    g_test_add_func("/event/bounds", test_event_bounds);
    g_test_add_func("/event/race", test_event_race);
    return g_test_run();
}
