/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/timesync.h"
#include "devices/ic.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)
#define WALL   UINT64_C(134000000000000000) /* in 2025 */

typedef struct Fixture {
    VmbusChannel chan;
    VmbusTimesync *ts;
    uint64_t now, wake;
    unsigned changes, synced, reads;
    VmbusTimesyncState state;
    VmbusTimesyncResult result;
    uint32_t status;
    bool asked;
} Fixture;

static void changed(void *opaque, VmbusTimesyncState state)
{
    Fixture *f = opaque;

    f->changes++;
    f->state = state;
}

static void synced(void *opaque, bool asked, VmbusTimesyncResult result,
                   uint32_t status)
{
    Fixture *f = opaque;

    f->synced++;
    f->asked = asked;
    f->result = result;
    f->status = status;
}

static void clocks(void *opaque, VmbusTimesyncClocks *out)
{
    Fixture *f = opaque;

    f->reads++;
    out->wall = WALL + f->now / 100;
    out->reference = f->now / 100;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Fixture *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Fixture *)opaque)->now;
}

static const VmbusTimesyncOps ops = {changed, synced, clocks, wake_at, now_ns};

static void setup_with(Fixture *f, bool has_reference)
{
    f->now = 100 * SECOND;
    f->wake = UINT64_MAX;
    f->ts = vmbus_timesync_new(&ops, f, has_reference);
    fake_init(&f->chan, &vmbus_timesync_channel_ops, f->ts);
}

static void setup(Fixture *f, const void *data)
{
    setup_with(f, true);
}

static void setup_ready(Fixture *f, const void *data)
{
    setup(f, data);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
}

static void setup_old(Fixture *f, const void *data)
{
    setup(f, data);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(1, 0), IC_VERSION(1, 0));
}

static void teardown(Fixture *f, const void *data)
{
    fake_clear(&f->chan);
    vmbus_timesync_free(f->ts);
}

static VmbusTimesyncInfo info(Fixture *f)
{
    VmbusTimesyncInfo info;

    vmbus_timesync_info(f->ts, &info);
    return info;
}

static const char *last_refusal(Fixture *f)
{
    return vmbus_timesync_port(f->ts)->last_refusal;
}

/* Lets time pass; ticks exactly when the engine asked for it. */
static void run_until(Fixture *f, uint64_t until)
{
    while (f->wake <= until) {
        g_assert_cmpuint(f->wake, >=, f->now);
        f->now = f->wake;
        vmbus_timesync_tick(f->ts);
    }
    f->now = until;
}

/* Pops a message of version 4 that was made at @made. */
static void pop_ref(Fixture *f, uint8_t flags, uint64_t made, FakeMessage *msg)
{
    IcTimesyncRef body;

    fake_pop_message(&f->chan, msg);
    g_assert_cmpuint(msg->header.message_type, ==, IC_MESSAGE_TIMESYNC);
    g_assert_cmpuint(msg->body_len, ==, sizeof(body));
    memcpy(&body, msg->body, sizeof(body));
    g_assert_cmpuint(body.flags, ==, flags);
    g_assert_cmpuint(GUINT64_FROM_LE(body.parent_time), ==, WALL + made / 100);
    g_assert_cmpuint(GUINT64_FROM_LE(body.reference_time), ==, made / 100);
    g_assert_cmpuint(body.leap | body.stratum, ==, 0);
}

static void answer_with(Fixture *f, FakeMessage *msg, uint32_t status)
{
    msg->header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    msg->header.status = GUINT32_TO_LE(status);
    fake_answer_with(&f->chan, &msg->header, msg->body, msg->body_len);
    fake_message_clear(msg);
    fake_signal(&f->chan);
}

static void answer(Fixture *f, uint8_t flags)
{
    FakeMessage msg;

    pop_ref(f, flags, f->now, &msg);
    answer_with(f, &msg, IC_STATUS_OK);
}

static void test_offer(void)
{
    static const uint8_t class_id[] = {0x30, 0xe6, 0x27, 0x95, 0xae, 0xd0,
                                       0x7b, 0x49, 0xad, 0xce, 0xe8, 0x0a,
                                       0xb0, 0x17, 0x5c, 0xaf};

    g_assert_cmpmem(&vmbus_timesync_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_timesync_offer.pipe);
}

/* Counts and versions of the negotiation, on the wire. */
static void check_versions(Fixture *f, const uint8_t *body, size_t len)
{
    FakeMessage msg;

    fake_open(&f->chan);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpmem(msg.body, msg.body_len, body, len);
    fake_message_clear(&msg);
    fake_close(&f->chan);
}

static void test_versions(Fixture *f, const void *data)
{
    static const uint8_t body[] = {2, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0,
                                   0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0};
    static const uint32_t framework[] = {IC_VERSION(1, 0), IC_VERSION(3, 0)};
    static const uint32_t message[] = {IC_VERSION(1, 0), IC_VERSION(3, 0),
                                       IC_VERSION(4, 0)};

    check_versions(f, body, sizeof(body));
    for (size_t i = 0; i < G_N_ELEMENTS(framework); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(message); j++) {
            FakeMessage msg;

            fake_open(&f->chan);
            g_assert_cmpint(info(f).state, ==, VMBUS_TIMESYNC_NEGOTIATING);
            fake_negotiate(&f->chan, framework[i], message[j]);
            g_assert_cmpint(info(f).state, ==, VMBUS_TIMESYNC_READY);
            g_assert_cmphex(info(f).framework_version, ==, framework[i]);
            g_assert_cmphex(info(f).message_version, ==, message[j]);
            fake_pop_message(&f->chan, &msg);
            g_assert_cmpuint(msg.body_len, ==, j == 2 ? 24 : 28);
            fake_message_clear(&msg);
            fake_close(&f->chan);
            g_assert_cmphex(info(f).message_version, ==, 0);
        }
    }
}

/* Without a reference counter nothing that needs one is offered. */
static void test_no_reference(void)
{
    static const uint8_t body[] = {2, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0,
                                   3, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0};
    Fixture f = {0};

    setup_with(&f, false);
    check_versions(&f, body, sizeof(body));
    fake_open(&f.chan);
    fake_negotiate(&f.chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(info(&f).state, ==, VMBUS_TIMESYNC_UNUSABLE);
    g_assert_cmpint(vmbus_timesync_sync(f.ts), ==, VMBUS_TIMESYNC_NOT_USABLE);
    teardown(&f, NULL);
}

/* A sync first, then a sample every five seconds. */
static void test_period(Fixture *f, const void *data)
{
    uint64_t start = f->now;

    answer(f, IC_TIMESYNC_SYNC);
    g_assert_cmpuint(f->synced, ==, 1);
    g_assert_false(f->asked);
    g_assert_cmpuint(info(f).last_sync_ns, ==, start);
    for (uint64_t i = 1; i <= 10; i++) {
        run_until(f, start + i * 5 * SECOND - 1);
        g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
        run_until(f, start + i * 5 * SECOND);
        answer(f, IC_TIMESYNC_SAMPLE);
    }
    g_assert_cmpuint(info(f).syncs, ==, 1);
    g_assert_cmpuint(info(f).samples, ==, 10);
    g_assert_cmpuint(info(f).answers, ==, 11);
    g_assert_cmpuint(info(f).last_sync_ns, ==, start);
    g_assert_cmpuint(f->synced, ==, 1);
    g_assert_cmpuint(vmbus_timesync_port(f->ts)->refused, ==, 0);
}

static void test_old_format(Fixture *f, const void *data)
{
    FakeMessage msg;
    IcTimesync body;

    fake_pop_message(&f->chan, &msg);
    g_assert_cmpuint(msg.body_len, ==, 28);
    memcpy(&body, msg.body, sizeof(body));
    g_assert_cmpuint(GUINT64_FROM_LE(body.parent_time), ==,
                     WALL + f->now / 100);
    g_assert_cmpuint(body.child_time, ==, 0);
    g_assert_cmpuint(body.round_trip_time, ==, 0);
    g_assert_cmpuint(body.flags, ==, IC_TIMESYNC_SYNC);
    answer_with(f, &msg, IC_STATUS_OK);
    /* Linux sends back the zero that it got. */
    g_assert_false(info(f).has_offset);
}

/* A guest of an old version may tell its own time. */
static void test_offset(Fixture *f, const void *data)
{
    static const int64_t offsets[] = {36000000000, -5, 0};

    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        FakeMessage msg;
        IcTimesync body;

        vmbus_timesync_sync(f->ts);
        fake_pop_message(&f->chan, &msg);
        memcpy(&body, msg.body, sizeof(body));
        body.child_time = GUINT64_TO_LE(WALL + f->now / 100 + offsets[i]);
        msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
        fake_answer_with(&f->chan, &msg.header, &body, sizeof(body));
        fake_message_clear(&msg);
        fake_signal(&f->chan);
        g_assert_true(info(f).has_offset);
        g_assert_cmpint(info(f).offset, ==, offsets[i]);
        f->now += SECOND;
        if (!i) { /* the one that we asked for while the first was due */
            fake_pop_message(&f->chan, &msg);
            answer_with(f, &msg, IC_STATUS_OK);
        }
    }
    fake_close(&f->chan);
    g_assert_false(info(f).has_offset);
}

/* An answer that is too short for it tells no time, and is good otherwise. */
static void test_short_answer(Fixture *f, const void *data)
{
    FakeMessage msg;

    fake_pop_message(&f->chan, &msg);
    msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    msg.header.message_size = GUINT16_TO_LE(23);
    fake_answer_with(&f->chan, &msg.header, "AAAAAAAABBBBBBBBCCCCCCC", 23);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
    g_assert_false(info(f).has_offset);
    g_assert_cmpuint(f->synced, ==, 1);
    g_assert_cmpint(f->result, ==, VMBUS_TIMESYNC_OK);
}

static void test_sync(Fixture *f, const void *data)
{
    answer(f, IC_TIMESYNC_SYNC);
    f->now += SECOND;
    g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_OK);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_cmpuint(f->synced, ==, 2);
    g_assert_true(f->asked);
    g_assert_cmpint(f->result, ==, VMBUS_TIMESYNC_OK);
    /* The period begins anew. */
    g_assert_cmpuint(f->wake, ==, f->now + 5 * SECOND);
}

/* Not held up by a sample without an answer; the time is the later one. */
static void test_sync_passes_sample(Fixture *f, const void *data)
{
    FakeMessage sample;

    answer(f, IC_TIMESYNC_SYNC);
    run_until(f, f->now + 5 * SECOND);
    pop_ref(f, IC_TIMESYNC_SAMPLE, f->now, &sample);
    f->now += 1000 * SECOND;
    vmbus_timesync_tick(f->ts);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vmbus_timesync_sync(f->ts);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_cmpint(f->result, ==, VMBUS_TIMESYNC_OK);
    answer_with(f, &sample, IC_STATUS_OK);
    g_assert_cmpuint(f->synced, ==, 2);
}

/* Any number of orders during one sync make one more, with one answer. */
static void test_sync_during_sync(Fixture *f, const void *data)
{
    FakeMessage first;

    pop_ref(f, IC_TIMESYNC_SYNC, f->now, &first);
    for (int i = 0; i < 1000; i++) {
        g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_OK);
    }
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    f->now += SECOND;
    answer_with(f, &first, IC_STATUS_OK);
    g_assert_false(f->asked);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_true(f->asked);
    g_assert_cmpuint(f->synced, ==, 2);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

static void test_refusals(Fixture *f, const void *data)
{
    FakeMessage msg;

    g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_NOT_READY);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(9, 0));
    g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_NOT_USABLE);
    g_assert_cmpuint(f->synced, ==, 0);
    fake_close(&f->chan);
    g_assert_cmpuint(f->synced, ==, 0);

    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    answer(f, IC_TIMESYNC_SYNC);
    vmbus_timesync_sync(f->ts);
    pop_ref(f, IC_TIMESYNC_SYNC, f->now, &msg);
    answer_with(f, &msg, IC_STATUS_FAIL);
    g_assert_cmpint(f->result, ==, VMBUS_TIMESYNC_REFUSED);
    g_assert_cmphex(f->status, ==, IC_STATUS_FAIL);
    g_assert_cmpstr(last_refusal(f), ==,
                    "the guest answered a time message with an error");
}

/* Each order gets its end when the guest goes away. */
static void test_gone(Fixture *f, const void *data)
{
    FakeMessage msg;

    /* The first sync is nobody's. */
    fake_close(&f->chan);
    g_assert_cmpuint(f->synced, ==, 0);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_cmpuint(f->synced, ==, 1);

    vmbus_timesync_sync(f->ts);
    pop_ref(f, IC_TIMESYNC_SYNC, f->now, &msg);
    vmbus_timesync_sync(f->ts);
    fake_message_clear(&msg);
    fake_close(&f->chan);
    g_assert_cmpuint(f->synced, ==, 2);
    g_assert_cmpint(f->result, ==, VMBUS_TIMESYNC_GONE);
    g_assert_true(f->asked);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);

    /* Nothing of it is left in the next opening. */
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_false(f->asked);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

/* Nothing while it stands; one sync, with the new time, when it runs. */
static void test_stop(Fixture *f, const void *data)
{
    answer(f, IC_TIMESYNC_SYNC);
    vmbus_timesync_set_running(f->ts, false);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    vmbus_timesync_tick(f->ts);
    g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_OK);
    vmbus_timesync_set_running(f->ts, false);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    f->now += 60 * SECOND;
    vmbus_timesync_set_running(f->ts, true);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_true(f->asked);
    vmbus_timesync_set_running(f->ts, true);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);

    vmbus_timesync_set_running(f->ts, false);
    vmbus_timesync_set_running(f->ts, true);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_false(f->asked);
    g_assert_cmpuint(f->synced, ==, 3);
}

/* A guest that opens the service in a machine that stops meanwhile. */
static void test_stop_while_negotiating(Fixture *f, const void *data)
{
    fake_open(&f->chan);
    vmbus_timesync_set_running(f->ts, false);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    f->now += SECOND;
    vmbus_timesync_set_running(f->ts, true);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

/* A message that found no room is made anew when there is some. */
static void test_no_room(Fixture *f, const void *data)
{
    answer(f, IC_TIMESYNC_SYNC);
    f->chan.send_result = VMBUS_RING_FULL;
    run_until(f, f->now + 5 * SECOND);
    g_assert_cmpuint(info(f).samples, ==, 0);
    vmbus_timesync_sync(f->ts);
    f->now += SECOND;
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    answer(f, IC_TIMESYNC_SYNC);
    g_assert_true(f->asked);
    g_assert_cmpuint(info(f).syncs, ==, 2);
}

/* A ring that breaks in the middle of sending. */
static void test_corrupt(Fixture *f, const void *data)
{
    answer(f, IC_TIMESYNC_SYNC);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    g_assert_cmpint(vmbus_timesync_sync(f->ts), ==, VMBUS_TIMESYNC_OK);
    g_assert_cmpint(info(f).state, ==, VMBUS_TIMESYNC_CLOSED);
    g_assert_cmpuint(f->synced, ==, 2);
    g_assert_cmpint(f->result, ==, VMBUS_TIMESYNC_GONE);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
}

/* A guest that never answers gets a sync and, in years, no more. */
static void test_silent(Fixture *f, const void *data)
{
    f->now += 86400 * 365 * SECOND;
    vmbus_timesync_tick(f->ts);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
}

static void test_noise(Fixture *f, const void *data)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);

    for (int i = 0; i < 20000; i++) {
        if (!f->chan.open) {
            fake_open(&f->chan);
            fake_negotiate(&f->chan, IC_VERSION(3, 0),
                           IC_VERSION(g_rand_boolean(rand) ? 4 : 3, 0));
        }
        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
            vmbus_timesync_sync(f->ts);
            break;
        case 1:
            vmbus_timesync_set_running(f->ts, g_rand_boolean(rand));
            break;
        case 2:
            f->now += g_rand_int_range(rand, 0, 10) * SECOND;
            vmbus_timesync_tick(f->ts);
            break;
        case 3:
            if (!g_rand_int_range(rand, 0, 20)) {
                fake_close(&f->chan);
            }
            break;
        default:
            fake_send_garbage(&f->chan, rand);
            break;
        }
        while (fake_pending(&f->chan) > 4) {
            g_bytes_unref(fake_pop(&f->chan));
        }
    }
    g_assert_cmpuint(vmbus_timesync_port(f->ts)->refused, >, 1000);
}

static void test_sentences(void)
{
    for (int i = VMBUS_TIMESYNC_OK; i <= VMBUS_TIMESYNC_GONE; i++) {
        for (int j = VMBUS_TIMESYNC_OK; j < i; j++) {
            g_assert_cmpstr(vmbus_timesync_result_sentence(i), !=,
                            vmbus_timesync_result_sentence(j));
        }
    }
    g_assert_cmpstr(vmbus_timesync_result_sentence(99), ==,
                    "The result of the synchronization is unknown.");
    g_assert_cmpstr(vmbus_timesync_state_name(VMBUS_TIMESYNC_UNUSABLE), ==,
                    "unusable");
    g_assert_cmpstr(vmbus_timesync_state_name(99), ==, "unknown");
}

#define ADD(path, fn, setup)                                                   \
    g_test_add("/timesync/" path, Fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/timesync/offer", test_offer);
    g_test_add_func("/timesync/no-reference", test_no_reference);
    g_test_add_func("/timesync/sentences", test_sentences);
    ADD("versions", test_versions, setup);
    ADD("period", test_period, setup_ready);
    ADD("old-format", test_old_format, setup_old);
    ADD("offset", test_offset, setup_old);
    ADD("short-answer", test_short_answer, setup_old);
    ADD("sync", test_sync, setup_ready);
    ADD("sync-passes-sample", test_sync_passes_sample, setup_ready);
    ADD("sync-during-sync", test_sync_during_sync, setup_ready);
    ADD("refusals", test_refusals, setup);
    ADD("gone", test_gone, setup_ready);
    ADD("stop", test_stop, setup_ready);
    ADD("stop-while-negotiating", test_stop_while_negotiating, setup);
    ADD("no-room", test_no_room, setup_ready);
    ADD("corrupt", test_corrupt, setup_ready);
    ADD("silent", test_silent, setup_ready);
    ADD("noise", test_noise, setup);
    return g_test_run();
}
