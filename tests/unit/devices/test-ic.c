/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The framework of the integration services: versions, requests, rings. */
#include "ic-fixture.h"

static void test_offer(IcFixture *f, const void *data)
{
    static const uint8_t body[] = {
        2, 0, 3, 0, 0, 0, 0, 0, /* counts */
        1, 0, 0, 0, 3, 0, 0, 0, /* framework 1.0, 3.0 */
        1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0,
    };
    FakeMessage msg;

    g_assert_cmpint(f->port.state, ==, IC_NEGOTIATING);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpuint(msg.header.message_type, ==, IC_MESSAGE_NEGOTIATE);
    g_assert_cmpuint(msg.header.transaction_id, ==, 0);
    g_assert_cmpmem(msg.body, msg.body_len, body, sizeof(body));
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_message_clear(&msg);
}

static void test_agree(IcFixture *f, const void *data)
{
    fake_negotiate(&f->chan, IC_VERSION(1, 0), IC_VERSION(3, 0));
    g_assert_cmpint(f->last_state, ==, IC_READY);
    g_assert_cmphex(f->port.framework_version, ==, IC_VERSION(1, 0));
    g_assert_cmphex(f->port.message_version, ==, IC_VERSION(3, 0));
    g_assert_cmpuint(f->port.refused, ==, 0);
}

static void test_request(IcFixture *f, const void *data)
{
    FakeMessage msg;

    g_assert_cmpint(ic_send(&f->port, "body", 4, 77), ==, IC_SEND_OK);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpuint(msg.header.message_type, ==, IC_FIXTURE_TYPE);
    g_assert_cmpuint(msg.header.framework_version.major, ==, 3);
    g_assert_cmpuint(msg.header.message_version.major, ==, 4);
    g_assert_cmpmem(msg.body, msg.body_len, "body", 4);
    fake_answer(&f->chan, &msg);
    g_assert_cmpuint(f->answers, ==, 0);
    fake_signal(&f->chan);
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmpuint(f->last.cookie, ==, 77);
    g_assert_cmpuint(f->last.status, ==, 0);
    g_assert_cmpmem(f->last_body, f->last.body_len, "body", 4);
    g_assert_cmpuint(f->port.in_flight, ==, 0);

    /* The same answer once more is stale. */
    fake_answer(&f->chan, &msg);
    fake_signal(&f->chan);
    g_assert_cmpuint(f->answers, ==, 1);
    ic_assert_refused(f, IC_REFUSED_NOT_ASKED, 1);
    fake_message_clear(&msg);
}

/* Answers may come in any order, and ids wrap around those still waiting. */
static void test_order_and_wrap(IcFixture *f, const void *data)
{
    FakeMessage waiting, msg;

    g_assert_cmpint(ic_send(&f->port, "old!", 4, 1000), ==, IC_SEND_OK);
    fake_pop_message(&f->chan, &waiting);
    for (unsigned i = 0; i < 600; i++) {
        g_assert_cmpint(ic_send(&f->port, "body", 4, i), ==, IC_SEND_OK);
        fake_pop_message(&f->chan, &msg);
        g_assert_cmpuint(msg.header.transaction_id, !=,
                         waiting.header.transaction_id);
        fake_answer(&f->chan, &msg);
        fake_message_clear(&msg);
        fake_signal(&f->chan);
        g_assert_cmpuint(f->last.cookie, ==, i);
    }
    fake_answer(&f->chan, &waiting);
    fake_message_clear(&waiting);
    fake_signal(&f->chan);
    g_assert_cmpuint(f->last.cookie, ==, 1000);
    g_assert_cmpuint(f->port.refused, ==, 0);
}

static void test_limit(IcFixture *f, const void *data)
{
    FakeMessage msg;

    for (int i = 0; i < IC_FIXTURE_IN_FLIGHT; i++) {
        g_assert_cmpint(ic_send(&f->port, "body", 4, i), ==, IC_SEND_OK);
    }
    g_assert_cmpint(ic_send(&f->port, "body", 4, 9), ==, IC_SEND_LIMIT);
    fake_pop_message(&f->chan, &msg);
    fake_answer(&f->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
    g_assert_cmpint(ic_send(&f->port, "body", 4, 9), ==, IC_SEND_OK);
}

static void test_full(IcFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_FULL;
    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_FULL);
    g_assert_cmpuint(f->port.in_flight, ==, 0);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpuint(f->rooms, ==, 1);
    fake_signal(&f->chan);
    g_assert_cmpuint(f->rooms, ==, 1);
}

static void test_negotiation_full(IcFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_FULL;
    fake_open(&f->chan);
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(f->port.state, ==, IC_READY);
    g_assert_cmpuint(f->rooms, ==, 0);
}

static void test_ring_too_small(IcFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    fake_open(&f->chan);
    g_assert_cmpint(f->port.state, ==, IC_UNUSABLE);
    ic_assert_refused(f, IC_REFUSED_RING_TOO_SMALL, 1);
}

static void test_too_large(IcFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_TOO_LARGE);
    g_assert_cmpint(f->port.state, ==, IC_READY);
}

static void test_corrupt(IcFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_CORRUPT;
    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_NOT_READY);
    g_assert_cmpint(f->port.state, ==, IC_CLOSED);
    g_assert_cmpuint(f->chan.closes, ==, 1);
    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_NOT_READY);

    fake_open(&f->chan);
    f->chan.corrupt_on_receive = true;
    fake_signal(&f->chan);
    g_assert_cmpint(f->port.state, ==, IC_CLOSED);
    g_assert_cmpuint(f->chan.closes, ==, 2);
    fake_signal(&f->chan);
}

static void test_corrupt_at_open(IcFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_CORRUPT;
    fake_open(&f->chan);
    g_assert_cmpint(f->port.state, ==, IC_CLOSED);
}

/* Nothing of an earlier opening may match after a reopening. */
static void test_reopen(IcFixture *f, const void *data)
{
    FakeMessage msg;

    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_OK);
    g_assert_cmpint(ic_send(&f->port, "body", 4, 6), ==, IC_SEND_OK);
    fake_pop_message(&f->chan, &msg);
    fake_close(&f->chan);
    g_assert_cmpint(f->last_state, ==, IC_CLOSED);
    g_assert_cmpuint(f->port.in_flight, ==, 0);
    g_assert_cmphex(f->port.message_version, ==, 0);
    fake_open(&f->chan);
    fake_answer(&f->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
    ic_assert_refused(f, IC_REFUSED_NOT_ASKED, 1);
    g_assert_cmpuint(f->answers, ==, 0);
}

/* A service may send the next request from within an answer (KVP does). */
static void test_chain(IcFixture *f, const void *data)
{
    FakeMessage msg;

    f->chain = 10;
    g_assert_cmpint(ic_send(&f->port, "body", 4, 10), ==, IC_SEND_OK);
    for (int i = 10; i >= 0; i--) {
        fake_pop_message(&f->chan, &msg);
        fake_answer(&f->chan, &msg);
        fake_message_clear(&msg);
        fake_signal(&f->chan);
        g_assert_cmpuint(f->last.cookie, ==, i);
    }
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add(path, IcFixture, NULL, setup_fn, fn, ic_fixture_clear)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/ic/offer", ic_fixture_open, test_offer);
    ADD("/ic/agree", ic_fixture_open, test_agree);
    ADD("/ic/request", ic_fixture_ready, test_request);
    ADD("/ic/order-and-wrap", ic_fixture_ready, test_order_and_wrap);
    ADD("/ic/limit", ic_fixture_ready, test_limit);
    ADD("/ic/full", ic_fixture_ready, test_full);
    ADD("/ic/negotiation-full", ic_fixture_init, test_negotiation_full);
    ADD("/ic/ring-too-small", ic_fixture_init, test_ring_too_small);
    ADD("/ic/too-large", ic_fixture_ready, test_too_large);
    ADD("/ic/corrupt", ic_fixture_ready, test_corrupt);
    ADD("/ic/corrupt-at-open", ic_fixture_init, test_corrupt_at_open);
    ADD("/ic/reopen", ic_fixture_ready, test_reopen);
    ADD("/ic/chain", ic_fixture_ready, test_chain);
    return g_test_run();
}
