/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the framework of the integration services refuses. */
#include "ic-fixture.h"

/* Answers the negotiation with @body; the request's id, type and size. */
static void choose(IcFixture *f, const void *body, size_t len, uint32_t status)
{
    IcHeader header = {
        .message_size = GUINT16_TO_LE(len),
        .status = GUINT32_TO_LE(status),
        .flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE,
    };

    fake_answer_with(&f->chan, &header, body, len);
    fake_signal(&f->chan);
}

static void test_nothing_in_common(IcFixture *f, const void *data)
{
    /* Linux leaves versions of its own behind zero counts. */
    uint16_t body[8] = {0, 0, 0, 0, GUINT16_TO_LE(3), 0, GUINT16_TO_LE(4)};

    choose(f, body, sizeof(body), 0);
    g_assert_cmpint(f->port.state, ==, IC_INCOMPATIBLE);
    ic_assert_refused(f, IC_REFUSED_NOTHING_IN_COMMON, 1);
    g_assert_cmphex(f->port.message_version, ==, 0);
    g_assert_cmpint(ic_send(&f->port, "x", 1, 0), ==, IC_SEND_NOT_READY);
}

typedef struct Choice {
    const char *name;
    uint16_t counts[2];
    uint16_t version[4];
    size_t len;
    uint32_t status;
    IcRefusal refusal;
} Choice;

static const Choice bad_choices[] = {
    {"counts-1-0", {1, 0}, {3, 0, 4, 0}, 16, 0, IC_REFUSED_NEGOTIATE_COUNTS},
    {"counts-0-1", {0, 1}, {3, 0, 4, 0}, 16, 0, IC_REFUSED_NEGOTIATE_COUNTS},
    {"counts-2-1", {2, 1}, {3, 0, 4, 0}, 16, 0, IC_REFUSED_NEGOTIATE_COUNTS},
    {"counts-65535",
     {65535, 65535},
     {3, 0, 4, 0},
     16,
     0,
     IC_REFUSED_NEGOTIATE_COUNTS},
    {"framework", {1, 1}, {2, 0, 4, 0}, 16, 0, IC_REFUSED_FRAMEWORK_VERSION},
    {"framework-minor",
     {1, 1},
     {3, 1, 4, 0},
     16,
     0,
     IC_REFUSED_FRAMEWORK_VERSION},
    {"message", {1, 1}, {3, 0, 2, 0}, 16, 0, IC_REFUSED_MESSAGE_VERSION},
    {"message-newer", {1, 1}, {3, 0, 5, 0}, 16, 0, IC_REFUSED_MESSAGE_VERSION},
    {"no-counts", {1, 1}, {3, 0, 4, 0}, 7, 0, IC_REFUSED_NEGOTIATE_SHORT},
    {"empty", {1, 1}, {3, 0, 4, 0}, 0, 0, IC_REFUSED_NEGOTIATE_SHORT},
    {"no-versions", {1, 1}, {3, 0, 4, 0}, 8, 0, IC_REFUSED_NEGOTIATE_SHORT},
    {"half-versions", {1, 1}, {3, 0, 4, 0}, 15, 0, IC_REFUSED_NEGOTIATE_SHORT},
    {"error",
     {1, 1},
     {3, 0, 4, 0},
     16,
     IC_STATUS_FAIL,
     IC_REFUSED_NEGOTIATE_STATUS},
};

static void test_bad_choice(IcFixture *f, const void *data)
{
    const Choice *c = data;
    uint16_t body[8] = {0};

    for (int i = 0; i < 4; i++) {
        body[4 + i] = GUINT16_TO_LE(c->version[i]);
    }
    body[0] = GUINT16_TO_LE(c->counts[0]);
    body[1] = GUINT16_TO_LE(c->counts[1]);
    choose(f, body, c->len, c->status);
    g_assert_cmpint(f->port.state, ==, IC_UNUSABLE);
    ic_assert_refused(f, c->refusal, 1);
    g_assert_cmphex(f->port.framework_version, ==, 0);

    /* A second, good answer comes too late: it was not asked for. */
    body[0] = body[1] = GUINT16_TO_LE(1);
    body[4] = GUINT16_TO_LE(3);
    body[6] = GUINT16_TO_LE(4);
    body[5] = body[7] = 0;
    choose(f, body, sizeof(body), 0);
    g_assert_cmpint(f->port.state, ==, IC_UNUSABLE);
    g_assert_cmpuint(f->port.refusals[IC_REFUSED_NOT_ASKED], ==, 1);

    /* A new opening is a new chance. */
    fake_close(&f->chan);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(f->port.state, ==, IC_READY);
}

typedef struct BadPacket {
    const char *name;
    uint16_t packet_type;
    uint32_t pipe_type;
    int pipe_extra; /* added to the right size */
    uint16_t message_type;
    int body_extra;
    uint8_t id_extra;
    uint8_t flags;
    size_t cut; /* send only so many bytes; 0: all */
    IcRefusal refusal;
} BadPacket;

static const BadPacket bad_packets[] = {
    {"packet-type", 11, 1, 0, IC_FIXTURE_TYPE, 0, 0, 5, 0,
     IC_REFUSED_PACKET_TYPE},
    {"empty", 6, 1, 0, IC_FIXTURE_TYPE, 0, 0, 5, 1, IC_REFUSED_PIPE_TYPE},
    {"pipe-type", 6, 2, 0, IC_FIXTURE_TYPE, 0, 0, 5, 0, IC_REFUSED_PIPE_TYPE},
    {"pipe-size", 6, 1, 9, IC_FIXTURE_TYPE, 0, 0, 5, 0, IC_REFUSED_PIPE_SIZE},
    {"pipe-size-wrap", 6, 1, -40, IC_FIXTURE_TYPE, 0, 0, 5, 0,
     IC_REFUSED_PIPE_SIZE},
    {"pipe-size-short", 6, 1, -5, IC_FIXTURE_TYPE, 0, 0, 5, 0,
     IC_REFUSED_NO_HEADER},
    {"cut-header", 6, 1, -16, IC_FIXTURE_TYPE, 0, 0, 5, 16,
     IC_REFUSED_NO_HEADER},
    {"body-size", 6, 1, 0, IC_FIXTURE_TYPE, 1, 0, 5, 0, IC_REFUSED_BODY_SIZE},
    {"body-size-max", 6, 1, 0, IC_FIXTURE_TYPE, 65531, 0, 5, 0,
     IC_REFUSED_BODY_SIZE},
    {"body-short", 6, 1, 0, IC_FIXTURE_TYPE, -1, 0, 5, 0,
     IC_REFUSED_SHORT_BODY},
    {"request", 6, 1, 0, IC_FIXTURE_TYPE, 0, 0, 3, 0, IC_REFUSED_FLAGS},
    {"both", 6, 1, 0, IC_FIXTURE_TYPE, 0, 0, 7, 0, IC_REFUSED_FLAGS},
    {"no-transaction", 6, 1, 0, IC_FIXTURE_TYPE, 0, 0, 4, 0, IC_REFUSED_FLAGS},
    {"id", 6, 1, 0, IC_FIXTURE_TYPE, 0, 1, 5, 0, IC_REFUSED_NOT_ASKED},
    {"id-wrap", 6, 1, 0, IC_FIXTURE_TYPE, 0, 254, 5, 0, IC_REFUSED_NOT_ASKED},
    {"type", 6, 1, 0, IC_FIXTURE_TYPE + 1, 0, 0, 5, 0, IC_REFUSED_OTHER_TYPE},
    {"negotiate", 6, 1, 0, 0, 0, 0, 5, 0, IC_REFUSED_OTHER_TYPE},
};

static void test_bad_packet(IcFixture *f, const void *data)
{
    const BadPacket *b = data;
    uint8_t packet[32];
    IcPipeHeader pipe = {
        .type = GUINT32_TO_LE(b->pipe_type),
        .size = GUINT32_TO_LE(24 + b->pipe_extra),
    };
    FakeMessage msg;

    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_OK);
    fake_pop_message(&f->chan, &msg);
    msg.header.message_type = GUINT16_TO_LE(b->message_type);
    msg.header.message_size = GUINT16_TO_LE(4 + b->body_extra);
    msg.header.transaction_id += b->id_extra;
    msg.header.flags = b->flags;
    memcpy(packet, &pipe, 8);
    memcpy(packet + 8, &msg.header, 20);
    memcpy(packet + 28, "body", 4);
    if (b->cut == 1) {
        memset(packet, 0, 8);
    }
    fake_push(&f->chan, b->packet_type, packet, b->cut ? b->cut : 32);
    fake_signal(&f->chan);
    ic_assert_refused(f, b->refusal, 1);
    g_assert_cmpuint(f->answers, ==, 0);
    fake_message_clear(&msg);

    /* It harmed nothing: the request is still waiting for its answer. */
    g_assert_cmpint(f->port.state, ==, IC_READY);
    g_assert_cmpuint(f->port.in_flight, ==, 1);
}

static void test_no_pipe_header(IcFixture *f, const void *data)
{
    fake_push(&f->chan, VMBUS_PKT_DATA_INBAND, "", 0);
    fake_signal(&f->chan);
    ic_assert_refused(f, IC_REFUSED_NO_PIPE_HEADER, 1);
}

static void test_oversized(IcFixture *f, const void *data)
{
    g_autofree uint8_t *big = g_malloc0(IC_MAX_MESSAGE_SIZE + 1);
    IcHeader header = {.flags = 5};

    fake_answer_with(&f->chan, &header, big,
                     IC_MAX_MESSAGE_SIZE + 1 - sizeof(header));
    fake_signal(&f->chan);
    ic_assert_refused(f, IC_REFUSED_PACKET_SIZE, 1);
}

/* An error may come without a body. */
static void test_error_without_body(IcFixture *f, const void *data)
{
    FakeMessage msg;

    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_OK);
    fake_pop_message(&f->chan, &msg);
    msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    msg.header.status = GUINT32_TO_LE(IC_STATUS_FAIL);
    msg.header.message_size = 0;
    fake_answer_with(&f->chan, &msg.header, NULL, 0);
    fake_signal(&f->chan);
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmphex(f->last.status, ==, IC_STATUS_FAIL);
    fake_message_clear(&msg);
}

static void test_service_refuses(IcFixture *f, const void *data)
{
    FakeMessage msg;

    f->refuse_with = "the test refuses";
    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_OK);
    fake_pop_message(&f->chan, &msg);
    fake_answer(&f->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
    g_assert_cmpuint(f->port.refusals[IC_REFUSED_BY_SERVICE], ==, 1);
    g_assert_cmpstr(f->port.last_refusal, ==, "the test refuses");
    g_assert_cmpuint(f->port.in_flight, ==, 0);
}

static void push_noise(VmbusChannel *chan)
{
    unsigned *count = chan->refill_opaque;

    (*count)++;
    fake_push(chan, VMBUS_PKT_DATA_INBAND, "noise", 5);
}

/* A guest that writes as fast as we read must not keep the thread. */
static void test_flood(IcFixture *f, const void *data)
{
    unsigned count = 0;

    f->chan.refill = push_noise;
    f->chan.refill_opaque = &count;
    fake_signal(&f->chan);
    g_assert_cmpint(f->last_state, ==, IC_MUTED);
    g_assert_cmpuint(count, ==, IC_MAX_REFUSED + 1);
    g_assert_cmpuint(f->port.refusals[IC_REFUSED_FLOOD], ==, 1);
    g_assert_cmpstr(f->port.last_refusal, ==,
                    ic_refusal_sentence(IC_REFUSED_FLOOD));
    fake_signal(&f->chan);
    g_assert_cmpuint(count, ==, IC_MAX_REFUSED + 1);
    g_assert_cmpint(ic_send(&f->port, "body", 4, 5), ==, IC_SEND_NOT_READY);
    f->chan.refill = NULL;
    fake_close(&f->chan);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(f->port.state, ==, IC_READY);
}

static void test_sentences(void)
{
    for (int i = 0; i < IC_REFUSAL_COUNT; i++) {
        const char *sentence = ic_refusal_sentence(i);

        if (i == IC_REFUSED_BY_SERVICE) {
            g_assert_null(sentence);
            continue;
        }
        g_assert_nonnull(sentence);
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(sentence, !=, ic_refusal_sentence(j));
        }
    }
    g_assert_null(ic_refusal_sentence(IC_REFUSAL_COUNT));
    g_assert_cmpstr(ic_state_name(IC_MUTED), ==, "muted");
    g_assert_cmpstr(ic_state_name(99), ==, "unknown");
}

static void test_random(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(20);
    IcFixture f = {0};
    GBytes *bytes;
    unsigned ready = 0;

    ic_fixture_init(&f, NULL);
    for (int i = 0; i < 200000; i++) {
        switch (g_rand_int_range(rand, 0, 16)) {
        case 0:
            if (f.chan.open) {
                fake_close(&f.chan);
            }
            break;
        case 1:
            if (!f.chan.open) {
                fake_open(&f.chan);
                if (g_rand_boolean(rand)) {
                    fake_negotiate(&f.chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
                }
            }
            break;
        case 2:
            ic_send(&f.port, "body", 4, i);
            break;
        case 3:
            f.chan.send_result =
                g_rand_int_range(rand, 0, 4) ? VMBUS_RING_OK : VMBUS_RING_FULL;
            if (f.chan.send_result && f.chan.open && g_rand_boolean(rand)) {
                f.chan.send_result = VMBUS_RING_CORRUPT;
            }
            break;
        case 4:
            if ((bytes = fake_pop(&f.chan))) {
                g_bytes_unref(bytes);
            }
            break;
        default:
            fake_push_garbage(&f.chan, rand);
            if (g_rand_boolean(rand)) {
                fake_signal(&f.chan);
            }
            break;
        }
        if (!f.chan.open) {
            f.chan.send_result = VMBUS_RING_OK;
        }
        ready += f.port.state == IC_READY;
        g_assert_cmpuint(f.port.in_flight, <=, IC_FIXTURE_IN_FLIGHT);
        g_assert_cmpint(f.port.state == IC_CLOSED, ==, !f.chan.open);
    }
    /* The noise must have reached what it is meant to test. */
    g_assert_cmpuint(ready, >, 1000);
    g_assert_cmpuint(f.answers, >, 50);
    for (int i = 0; i < IC_REFUSED_NEGOTIATE_STATUS; i++) {
        if (i != IC_REFUSED_PACKET_SIZE) {
            g_test_message("%s: %" G_GUINT64_FORMAT, ic_refusal_sentence(i),
                           f.port.refusals[i]);
            g_assert_cmpuint(f.port.refusals[i], >, 0);
        }
    }
    ic_fixture_clear(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add(path, IcFixture, NULL, setup_fn, fn, ic_fixture_clear)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/ic/nothing-in-common", ic_fixture_open, test_nothing_in_common);
    for (size_t i = 0; i < G_N_ELEMENTS(bad_choices); i++) {
        g_autofree char *path =
            g_strdup_printf("/ic/bad-choice/%s", bad_choices[i].name);

        g_test_add(path, IcFixture, &bad_choices[i], ic_fixture_open,
                   test_bad_choice, ic_fixture_clear);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad_packets); i++) {
        g_autofree char *path =
            g_strdup_printf("/ic/bad-packet/%s", bad_packets[i].name);

        g_test_add(path, IcFixture, &bad_packets[i], ic_fixture_ready,
                   test_bad_packet, ic_fixture_clear);
    }
    ADD("/ic/no-pipe-header", ic_fixture_ready, test_no_pipe_header);
    ADD("/ic/oversized", ic_fixture_ready, test_oversized);
    ADD("/ic/error-without-body", ic_fixture_ready, test_error_without_body);
    ADD("/ic/service-refuses", ic_fixture_ready, test_service_refuses);
    ADD("/ic/flood", ic_fixture_ready, test_flood);
    g_test_add_func("/ic/sentences", test_sentences);
    g_test_add_func("/ic/random", test_random);
    return g_test_run();
}
