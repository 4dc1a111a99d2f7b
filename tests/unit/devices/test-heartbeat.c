/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/heartbeat.h"
#include "devices/ic.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)

typedef struct Fixture {
    VmbusChannel chan;
    VmbusHeartbeat *hb;
    uint64_t now, wake;
    unsigned changes;
    VmbusHeartbeatInfo last;
} Fixture;

static void changed(void *opaque, const VmbusHeartbeatInfo *info)
{
    Fixture *f = opaque;

    f->changes++;
    f->last = *info;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    Fixture *f = opaque;

    f->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    Fixture *f = opaque;

    return f->now;
}

static const VmbusHeartbeatOps ops = {changed, wake_at, now_ns};

static void setup(Fixture *f, const void *data)
{
    f->now = 100 * SECOND;
    f->wake = UINT64_MAX;
    f->hb = vmbus_heartbeat_new(&ops, f);
    fake_init(&f->chan, &vmbus_heartbeat_channel_ops, f->hb);
}

static void setup_ready(Fixture *f, const void *data)
{
    setup(f, data);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
}

static void teardown(Fixture *f, const void *data)
{
    fake_clear(&f->chan);
    vmbus_heartbeat_free(f->hb);
}

static VmbusHeartbeatState state(Fixture *f)
{
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_info(f->hb, &info);
    return info.state;
}

/* Lets time pass; ticks exactly when the engine asked for it. */
static void run_until(Fixture *f, uint64_t until)
{
    while (f->wake <= until) {
        g_assert_cmpuint(f->wake, >, f->now);
        f->now = f->wake;
        vmbus_heartbeat_tick(f->hb);
    }
    f->now = until;
}

/* Takes the next request apart; returns its sequence. */
static uint64_t pop_request(Fixture *f, FakeMessage *msg)
{
    uint64_t sequence;

    fake_pop_message(&f->chan, msg);
    g_assert_cmpuint(msg->header.message_type, ==, IC_MESSAGE_HEARTBEAT);
    g_assert_cmpuint(msg->body_len, ==, 16);
    memcpy(&sequence, msg->body, 8);
    return GUINT64_FROM_LE(sequence);
}

/* Answers the next request as Linux does, @extra added to its sequence. */
static uint64_t answer_full(Fixture *f, int extra, uint32_t application,
                            size_t len, uint32_t status)
{
    IcHeartbeat body = {0};
    FakeMessage msg;
    uint64_t sequence = pop_request(f, &msg);

    body.sequence = GUINT64_TO_LE(sequence + extra);
    body.application_state = GUINT32_TO_LE(application);
    msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    msg.header.message_size = GUINT16_TO_LE(len);
    msg.header.status = GUINT32_TO_LE(status);
    fake_answer_with(&f->chan, &msg.header, &body, len);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
    return sequence;
}

static uint64_t answer(Fixture *f)
{
    return answer_full(f, 1, 0, 16, 0);
}

static void test_offer(void)
{
    static const uint8_t class_id[] = {0x39, 0x4f, 0x16, 0x57, 0x15, 0x91,
                                       0x78, 0x4e, 0xab, 0x55, 0x38, 0x2f,
                                       0x3b, 0xd5, 0x42, 0x2d};

    g_assert_cmpmem(&vmbus_heartbeat_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_heartbeat_offer.pipe);
}

static void test_versions(Fixture *f, const void *data)
{
    static const uint8_t body[] = {2, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0,
                                   3, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0};
    VmbusHeartbeatInfo info;
    FakeMessage msg;

    fake_open(&f->chan);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpmem(msg.body, msg.body_len, body, sizeof(body));
    fake_message_clear(&msg);
    vmbus_heartbeat_info(f->hb, &info);
    g_assert_cmphex(info.framework_version, ==, 0);
    g_assert_cmphex(info.message_version, ==, 0);
    g_assert_cmpint(info.state, ==, VMBUS_HEARTBEAT_NO_CONTACT);
    fake_close(&f->chan);

    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(1, 0), IC_VERSION(1, 0));
    vmbus_heartbeat_info(f->hb, &info);
    g_assert_cmphex(info.framework_version, ==, IC_VERSION(1, 0));
    g_assert_cmphex(info.message_version, ==, IC_VERSION(1, 0));
    g_assert_cmpint(info.state, ==, VMBUS_HEARTBEAT_NO_CONTACT);
}

/* Sequences grow, one each two seconds, the first at once. */
static void test_period(Fixture *f, const void *data)
{
    VmbusHeartbeatInfo info;
    uint64_t start = f->now;

    for (uint64_t i = 0; i < 10; i++) {
        run_until(f, start + i * 2 * SECOND);
        g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
        f->now += SECOND / 10;
        g_assert_cmpuint(answer(f), ==, i + 1);
        g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
    }
    vmbus_heartbeat_info(f->hb, &info);
    g_assert_cmpuint(info.sent, ==, 10);
    g_assert_cmpuint(info.received, ==, 10);
    g_assert_cmpuint(info.sequence, ==, 10);
    g_assert_cmpuint(info.refused, ==, 0);
    g_assert_cmpuint(info.last_ns, ==, f->now);
    g_assert_cmpuint(f->changes, ==, 1);
}

/* An early or a needless tick does no harm. */
static void test_early_tick(Fixture *f, const void *data)
{
    answer(f);
    for (int i = 0; i < 10; i++) {
        f->now += SECOND / 10;
        vmbus_heartbeat_tick(f->hb);
    }
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_close(&f->chan);
    vmbus_heartbeat_tick(f->hb);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_NO_CONTACT);
}

/* A timer that comes late asks once, not once for each period missed. */
static void test_late_tick(Fixture *f, const void *data)
{
    answer(f);
    f->now += 5 * SECOND;
    vmbus_heartbeat_tick(f->hb);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    g_assert_cmpuint(f->wake, >, f->now);
}

static void test_lost(Fixture *f, const void *data)
{
    uint64_t answered;

    answer(f);
    answered = f->now;
    run_until(f, answered + 6 * SECOND - 1);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
    run_until(f, answered + 6 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_LOST);
    g_assert_cmpuint(f->changes, ==, 2);

    /* It is told once; requests go on. */
    run_until(f, answered + 60 * SECOND);
    g_assert_cmpuint(f->changes, ==, 2);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 30);

    /* The guest comes back and answers the oldest first. */
    g_assert_cmpuint(answer(f), ==, 2);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
    g_assert_cmpuint(f->changes, ==, 3);
    for (int i = 0; i < 29; i++) {
        answer(f);
    }
    g_assert_cmpuint(f->last.refused, ==, 0);
    run_until(f, f->now + 2 * SECOND);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
}

/* A guest that hangs for a day does not find a day's requests. */
static void test_hang(Fixture *f, const void *data)
{
    answer(f);
    run_until(f, f->now + 86400 * SECOND);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 64);
    answer(f);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
    run_until(f, f->now + 2 * SECOND);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 64);
}

static void test_never_answered(Fixture *f, const void *data)
{
    fake_open(&f->chan);
    run_until(f, f->now + 5 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_NO_CONTACT);
    run_until(f, f->now + SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);

    /* Services may start late (KVP's daemon): still good. */
    f->now += 50 * SECOND;
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
    answer(f);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
}

static void test_incompatible(Fixture *f, const void *data)
{
    IcHeader header = {.flags = 5, .message_size = GUINT16_TO_LE(16)};

    fake_open(&f->chan);
    fake_answer_with(&f->chan, &header, (uint8_t[16]){0}, 16);
    fake_signal(&f->chan);
    g_assert_cmpint(vmbus_heartbeat_port(f->hb)->state, ==, IC_INCOMPATIBLE);
    run_until(f, f->now + 60 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
    g_assert_cmpuint(f->last.sent, ==, 0);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
}

static void test_application(Fixture *f, const void *data)
{
    static const VmbusApplicationState states[] = {
        VMBUS_APPLICATION_UNKNOWN,  VMBUS_APPLICATION_HEALTHY,
        VMBUS_APPLICATION_CRITICAL, VMBUS_APPLICATION_STOPPED,
        VMBUS_APPLICATION_UNKNOWN, /* 4 is not defined */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(states); i++) {
        answer_full(f, 1, i, 16, 0);
        g_assert_cmpint(f->last.application, ==, states[i]);
        g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_OK);
        run_until(f, f->now + 2 * SECOND);
    }
    g_assert_cmpuint(f->changes, ==, G_N_ELEMENTS(states));
    answer_full(f, 1, 1, 12, 0);
    g_assert_cmpint(f->last.application, ==, VMBUS_APPLICATION_HEALTHY);
    run_until(f, f->now + 2 * SECOND);
    answer_full(f, 1, 1, 8, 0);
    g_assert_cmpint(f->last.application, ==, VMBUS_APPLICATION_UNKNOWN);

    /* What is known of them stays while the guest is lost. */
    run_until(f, f->now + 2 * SECOND);
    answer_full(f, 1, 2, 16, 0);
    run_until(f, f->now + 10 * SECOND);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_LOST);
    g_assert_cmpint(f->last.application, ==, VMBUS_APPLICATION_CRITICAL);
    fake_close(&f->chan);
    g_assert_cmpint(f->last.application, ==, VMBUS_APPLICATION_UNKNOWN);
}

/* Message version 1.0 has no application state, whatever the bytes are. */
static void test_application_version_1(Fixture *f, const void *data)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(1, 0));
    answer_full(f, 1, IC_APPLICATION_CRITICAL, 16, 0);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_OK);
    g_assert_cmpint(f->last.application, ==, VMBUS_APPLICATION_UNKNOWN);
}

static void test_sequence(Fixture *f, const void *data)
{
    g_assert_cmpuint(answer_full(f, 0, 0, 16, 0), ==, 1);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
    run_until(f, f->now + 2 * SECOND);
    answer_full(f, 2, 0, 16, 0);
    run_until(f, f->now + 2 * SECOND);
    answer_full(f, -1, 0, 16, 0);
    g_assert_cmpstr(vmbus_heartbeat_port(f->hb)->last_refusal, ==,
                    "the guest answered a heartbeat with a wrong sequence "
                    "number");
    run_until(f, f->now + 2 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
    g_assert_cmpuint(f->last.refused, ==, 2);
    g_assert_cmpuint(f->last.received, ==, 1);
    g_assert_cmpuint(f->last.sequence, ==, 1);
}

static void test_error(Fixture *f, const void *data)
{
    answer_full(f, 1, 0, 16, IC_STATUS_FAIL);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_NO_CONTACT);
    g_assert_cmpstr(vmbus_heartbeat_port(f->hb)->last_refusal, ==,
                    "the guest answered a heartbeat with an error");
    run_until(f, f->now + 6 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
}

static void test_short(Fixture *f, const void *data)
{
    answer_full(f, 1, 0, 7, 0);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_NO_CONTACT);
    g_assert_cmpuint(
        vmbus_heartbeat_port(f->hb)->refusals[IC_REFUSED_SHORT_BODY], ==, 1);
}

static void test_paused(Fixture *f, const void *data)
{
    answer(f);
    vmbus_heartbeat_set_running(f->hb, false);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_PAUSED);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    vmbus_heartbeat_set_running(f->hb, false);
    g_assert_cmpuint(f->changes, ==, 2);
    vmbus_heartbeat_tick(f->hb);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);

    /* The clock stands meanwhile: no loss after it. */
    vmbus_heartbeat_set_running(f->hb, true);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_OK);
    run_until(f, f->now + 2 * SECOND);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    run_until(f, f->now + 4 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_LOST);
    vmbus_heartbeat_set_running(f->hb, false);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_PAUSED);

    /* An answer that was in the ring counts, though nothing is told. */
    answer(f);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_PAUSED);
    vmbus_heartbeat_set_running(f->hb, true);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_OK);
}

static void test_paused_at_open(Fixture *f, const void *data)
{
    vmbus_heartbeat_set_running(f->hb, false);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_PAUSED);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    vmbus_heartbeat_set_running(f->hb, true);
    g_assert_cmpuint(f->wake, ==, f->now);
    vmbus_heartbeat_tick(f->hb);
    answer(f);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
}

static void test_full(Fixture *f, const void *data)
{
    answer(f);
    f->chan.send_result = VMBUS_RING_FULL;
    run_until(f, f->now + 3 * SECOND);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    g_assert_cmpuint(answer(f), ==, 2);

    /* Room that comes while the machine stands waits for it. */
    f->chan.send_result = VMBUS_RING_FULL;
    run_until(f, f->now + 2 * SECOND);
    vmbus_heartbeat_set_running(f->hb, false);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

static void test_reopen(Fixture *f, const void *data)
{
    VmbusHeartbeatInfo info;

    answer(f);
    fake_close(&f->chan);
    g_assert_cmpint(f->last.state, ==, VMBUS_HEARTBEAT_NO_CONTACT);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    vmbus_heartbeat_info(f->hb, &info);
    g_assert_cmphex(info.message_version, ==, 0);
    f->now += 100 * SECOND;
    fake_open(&f->chan);
    run_until(f, f->now + SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_NO_CONTACT);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
    g_assert_cmpuint(answer(f), ==, 2);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_OK);
}

static void test_corrupt(Fixture *f, const void *data)
{
    answer(f);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    run_until(f, f->now + 2 * SECOND);
    g_assert_cmpint(state(f), ==, VMBUS_HEARTBEAT_NO_CONTACT);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
}

static void test_names(void)
{
    static const char *const names[] = {"no-contact", "ok", "lost", "paused",
                                        "unknown"};
    static const char *const apps[] = {"unknown", "healthy", "critical",
                                       "stopped", "unknown"};

    for (int i = 0; i < 5; i++) {
        g_assert_cmpstr(vmbus_heartbeat_state_name(i), ==, names[i]);
        g_assert_cmpstr(vmbus_application_state_name(i), ==, apps[i]);
    }
}

static void test_random(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(30);
    Fixture f = {0};
    unsigned seen[4] = {0};

    setup(&f, NULL);
    for (int i = 0; i < 100000; i++) {
        switch (g_rand_int_range(rand, 0, 64)) {
        case 0:
            if (f.chan.open) {
                fake_close(&f.chan);
            } else {
                fake_open(&f.chan);
                fake_negotiate(&f.chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
            }
            break;
        case 1:
            vmbus_heartbeat_set_running(f.hb, g_rand_int_range(rand, 0, 4));
            break;
        case 2 ... 10:
            f.now += g_rand_int_range(rand, 0, 3) * SECOND;
            vmbus_heartbeat_tick(f.hb);
            break;
        case 11 ... 16:
            if (fake_pending(&f.chan)) {
                answer_full(&f, g_rand_int_range(rand, -1, 3),
                            g_rand_int_range(rand, 0, 6),
                            g_rand_int_range(rand, 0, 17), 0);
            }
            break;
        case 17:
            if (f.chan.open) {
                f.chan.send_result =
                    g_rand_boolean(rand) ? VMBUS_RING_OK : VMBUS_RING_FULL;
            }
            break;
        default:
            fake_send_garbage(&f.chan, rand);
            break;
        }
        if (!f.chan.open) {
            f.chan.send_result = VMBUS_RING_OK;
        }
        seen[state(&f)]++;
    }
    for (int i = 0; i < 4; i++) {
        g_assert_cmpuint(seen[i], >, 100);
    }
    teardown(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/heartbeat/" path, Fixture, NULL, setup_fn, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/heartbeat/offer", test_offer);
    ADD("versions", setup, test_versions);
    ADD("period", setup_ready, test_period);
    ADD("early-tick", setup_ready, test_early_tick);
    ADD("late-tick", setup_ready, test_late_tick);
    ADD("lost", setup_ready, test_lost);
    ADD("hang", setup_ready, test_hang);
    ADD("never-answered", setup, test_never_answered);
    ADD("incompatible", setup, test_incompatible);
    ADD("application", setup_ready, test_application);
    ADD("application-version-1", setup, test_application_version_1);
    ADD("sequence", setup_ready, test_sequence);
    ADD("error", setup_ready, test_error);
    ADD("short", setup_ready, test_short);
    ADD("paused", setup_ready, test_paused);
    ADD("paused-at-open", setup, test_paused_at_open);
    ADD("full", setup_ready, test_full);
    ADD("reopen", setup_ready, test_reopen);
    ADD("corrupt", setup_ready, test_corrupt);
    g_test_add_func("/heartbeat/names", test_names);
    g_test_add_func("/heartbeat/random", test_random);
    return g_test_run();
}
