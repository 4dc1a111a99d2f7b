/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time synchronization in a saved machine: wherever it is loaded, a sync with
 * the time of that place comes first.
 */
#include "devices/ic-state.h"
#include "fake-channel.h"
#include "golden.h"
#include "item.h"

#define SECOND UINT64_C(1000000000)

typedef struct Side {
    VmbusChannel chan;
    VmbusTimesync *ts;
    uint64_t now, wake;
    unsigned changes, synced;
    bool asked;
    VmbusTimesyncResult result;
} Side;

static void changed(void *opaque, VmbusTimesyncState state)
{
    ((Side *)opaque)->changes++;
}

static void synced(void *opaque, bool asked, VmbusTimesyncResult result,
                   uint32_t status)
{
    Side *side = opaque;

    side->synced++;
    side->asked = asked;
    side->result = result;
}

static void clocks(void *opaque, VmbusTimesyncClocks *clocks)
{
    clocks->wall = clocks->reference = ((Side *)opaque)->now / 100;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Side *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Side *)opaque)->now;
}

static const VmbusTimesyncOps ops = {changed, synced, clocks, wake_at, now_ns};

static void set_up(Side *side, uint64_t now)
{
    *side = (Side){.now = now, .wake = UINT64_MAX};
    side->ts = vmbus_timesync_new(&ops, side, true);
    fake_init(&side->chan, &vmbus_timesync_channel_ops, side->ts);
}

static void tear_down(Side *side)
{
    fake_clear(&side->chan);
    vmbus_timesync_free(side->ts);
}

/* Answers the next message, which has @flags and was made at @made. */
static void answer_of(Side *side, uint8_t flags, uint64_t made)
{
    FakeMessage msg;
    uint64_t parent;

    fake_pop_message(&side->chan, &msg);
    memcpy(&parent, msg.body, sizeof(parent));
    g_assert_cmpuint(GUINT64_FROM_LE(parent), ==, made / 100);
    g_assert_cmpuint(msg.body[msg.body_len == sizeof(IcTimesync) ? 24 : 16], ==,
                     flags);
    fake_answer(&side->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&side->chan);
}

static void answer(Side *side, uint8_t flags)
{
    answer_of(side, flags, side->now);
}

/* The states, all of them reached at 1000 s. */

#define THEN (1000 * SECOND)

static void closed(Side *side)
{
}

static void asking(Side *side)
{
    fake_open(&side->chan);
}

static void syncing(Side *side)
{
    fake_open(&side->chan);
    fake_negotiate(&side->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
}

static void ready(Side *side)
{
    syncing(side);
    answer(side, IC_TIMESYNC_SYNC);
}

static void ordered(Side *side)
{
    ready(side);
    vmbus_timesync_sync(side->ts);
}

/* An order waits behind a sync without an answer. */
static void waiting(Side *side)
{
    ordered(side);
    vmbus_timesync_sync(side->ts);
}

static void old(Side *side)
{
    FakeMessage msg;
    IcTimesync body;

    fake_open(&side->chan);
    fake_negotiate(&side->chan, IC_VERSION(1, 0), IC_VERSION(1, 0));
    fake_pop_message(&side->chan, &msg);
    memcpy(&body, msg.body, sizeof(body));
    body.child_time = GUINT64_TO_LE(side->now / 100 - 77);
    msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    fake_answer_with(&side->chan, &msg.header, &body, sizeof(body));
    fake_message_clear(&msg);
    fake_signal(&side->chan);
}

/* What comes next, on the machine that loaded the state and runs. */

static void opens(Side *side)
{
    if (side->chan.open) {
        fake_close(&side->chan);
    }
    ready(side);
}

static void syncs(Side *side)
{
    answer(side, IC_TIMESYNC_SYNC);
    g_assert_cmpuint(side->synced, ==, 1);
    g_assert_false(side->asked);
    g_assert_cmpuint(side->wake, ==, side->now + 5 * SECOND);
}

/* The old one is in the ring: it is answered, and a new one follows. */
static void syncs_again(Side *side)
{
    g_assert_cmpuint(fake_pending(&side->chan), ==, 1);
    answer_of(side, IC_TIMESYNC_SYNC, THEN);
    g_assert_cmpuint(side->synced, ==, 1);
    answer(side, IC_TIMESYNC_SYNC);
    g_assert_cmpuint(side->synced, ==, 2);
}

static void order_is_answered(Side *side)
{
    answer_of(side, IC_TIMESYNC_SYNC, THEN);
    g_assert_true(side->asked);
    answer(side, IC_TIMESYNC_SYNC);
    g_assert_false(side->asked);
}

static void both_are_answered(Side *side)
{
    answer_of(side, IC_TIMESYNC_SYNC, THEN);
    g_assert_true(side->asked);
    side->asked = false;
    answer(side, IC_TIMESYNC_SYNC);
    g_assert_true(side->asked);
}

static void offset_is_kept(Side *side)
{
    VmbusTimesyncInfo info;

    vmbus_timesync_info(side->ts, &info);
    g_assert_true(info.has_offset);
    g_assert_cmpint(info.offset, ==, -77);
    syncs(side);
}

typedef struct Case {
    const char *name;
    void (*prepare)(Side *side);
    void (*goes_on)(Side *side);
} Case;

static const Case cases[] = {
    {"timesync-closed", closed, opens},
    {"timesync-asking", asking, opens},
    {"timesync-syncing", syncing, syncs_again},
    {"timesync-ready", ready, syncs},
    {"timesync-ordered", ordered, order_is_answered},
    {"timesync-waiting", waiting, both_are_answered},
    {"timesync-old", old, offset_is_kept},
};

static const char *load(Side *side, const void *data, size_t len)
{
    return vmbus_timesync_load(side->ts, &side->chan, data, len);
}

static void test_golden(gconstpointer data)
{
    const Case *c = data;
    g_autoptr(GByteArray) now = NULL;
    g_autoptr(GByteArray) golden = NULL;
    g_autoptr(GByteArray) again = NULL;
    Side here, there;

    set_up(&here, THEN);
    c->prepare(&here);
    now = vmbus_timesync_save(here.ts);
    golden = golden_read(c->name, now->data, now->len);
    g_assert_cmpmem(now->data, now->len, golden->data, golden->len);

    set_up(&there, 5000 * SECOND);
    vmbus_timesync_set_running(there.ts, false);
    fake_take_over(&there.chan, &here.chan);
    g_assert_cmpstr(load(&there, golden->data, golden->len), ==, NULL);
    g_assert_cmpuint(there.changes + there.synced, ==, 0);
    g_assert_cmpuint(there.wake, ==, UINT64_MAX);
    again = vmbus_timesync_save(there.ts);
    g_assert_cmpmem(again->data, again->len, golden->data, golden->len);
    there.now += SECOND;
    vmbus_timesync_set_running(there.ts, true);
    c->goes_on(&there);
    tear_down(&here);
    tear_down(&there);
}

typedef struct Damage {
    void (*prepare)(Side *side);
    uint16_t tag;
    uint64_t value;
    bool cookie; /* of the first request instead */
} Damage;

static const Damage damages[] = {
    {ready, 1, false, false}, /* ready, and owes no sync */
    {closed, 1, true, false}, /* closed, and owes one */
    {closed, 2, true, false}, /* closed, and an order waits */
    {asking, 2, true, false}, /* the same before versions are agreed */
    {closed, 8, true, false}, /* closed, and knows the guest's clock */
    {syncing, 0, 2, true},    /* a sample that was asked for */
    {syncing, 0, 4, true},    /* no such request */
};

static void test_damaged(gconstpointer data)
{
    const Damage *damage = data;
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) before = NULL;
    g_autoptr(GByteArray) after = NULL;
    Side here, there;
    uint32_t size;
    uint8_t *at;

    set_up(&here, THEN);
    damage->prepare(&here);
    blob = vmbus_timesync_save(here.ts);
    at = blob->data + sizeof(VmbusBlobHead);
    size = blob->len - sizeof(VmbusBlobHead);
    if (damage->cookie) {
        at = item_find(at, size, IC_STATE_PORT, &size);
        at = item_find(at, size, 32, &size) + 8;
    } else {
        at = item_find(at, size, damage->tag, &size);
    }
    memcpy(at, &damage->value, sizeof(damage->value));
    set_up(&there, THEN);
    there.chan.open = here.chan.open;
    before = vmbus_timesync_save(there.ts);
    g_assert_cmpstr(
        load(&there, blob->data, blob->len), ==,
        "The saved time synchronization does not agree with itself.");
    after = vmbus_timesync_save(there.ts);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);
    tear_down(&here);
    tear_down(&there);
}

/* A machine without a reference counter knows version 4 no more. */
static void test_no_reference(void)
{
    g_autoptr(GByteArray) blob = NULL;
    VmbusTimesync *with;
    Side here, there;

    set_up(&here, THEN);
    ready(&here);
    blob = vmbus_timesync_save(here.ts);
    set_up(&there, THEN);
    there.chan.open = true;
    with = there.ts;
    there.ts = vmbus_timesync_new(&ops, &there, false);
    g_assert_cmpstr(
        load(&there, blob->data, blob->len), ==,
        "The saved service has agreed on versions that were not offered.");
    vmbus_timesync_free(with);
    tear_down(&here);
    tear_down(&there);
}

/* An order whose guest goes away in the other machine has its end there. */
static void test_order_is_gone(void)
{
    g_autoptr(GByteArray) blob = NULL;
    Side here, there;

    set_up(&here, THEN);
    ordered(&here);
    blob = vmbus_timesync_save(here.ts);
    set_up(&there, THEN);
    there.chan.open = true;
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==, NULL);
    fake_close(&there.chan);
    g_assert_cmpuint(there.synced, ==, 1);
    g_assert_true(there.asked);
    g_assert_cmpint(there.result, ==, VMBUS_TIMESYNC_GONE);
    tear_down(&here);
    tear_down(&there);
}

static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(13);
    g_autoptr(GByteArray) blob = NULL;
    unsigned loaded = 0, refused = 0;
    Side here;

    set_up(&here, THEN);
    waiting(&here);
    blob = vmbus_timesync_save(here.ts);
    for (guint i = 0; i < 5000 + blob->len; i++) {
        bool cut = i < blob->len;
        guint len = cut ? i : blob->len;
        g_autofree uint8_t *copy = g_memdup2(blob->data, len);
        int flips = cut ? 0 : g_rand_int_range(rand, 1, 4);
        Side there;

        while (flips--) {
            copy[g_rand_int_range(rand, 0, len)] ^=
                1u << g_rand_int_range(rand, 0, 8);
        }
        set_up(&there, THEN);
        there.chan.open = true;
        if (load(&there, copy, len)) {
            refused++;
        } else {
            loaded++;
            vmbus_timesync_sync(there.ts);
            fake_push_garbage(&there.chan, rand);
            fake_signal(&there.chan);
            fake_close(&there.chan);
        }
        tear_down(&there);
    }
    g_assert_cmpuint(loaded, >, 100);
    g_assert_cmpuint(refused, >, 1000);
    tear_down(&here);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/state/golden/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_golden);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path =
            g_strdup_printf("/state/timesync/damaged/%zu", i);

        g_test_add_data_func(path, &damages[i], test_damaged);
    }
    g_test_add_func("/state/timesync/no-reference", test_no_reference);
    g_test_add_func("/state/timesync/order-is-gone", test_order_is_gone);
    g_test_add_func("/state/timesync/noise", test_noise);
    return g_test_run();
}
