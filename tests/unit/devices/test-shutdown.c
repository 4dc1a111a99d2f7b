/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/ic.h"
#include "devices/shutdown.h"
#include "fake-channel.h"

typedef struct Fixture {
    VmbusChannel chan;
    VmbusShutdown *sd;
    unsigned changes, answers;
    VmbusShutdownState state;
    VmbusShutdownMode mode;
    VmbusShutdownResult result;
    uint32_t status;
} Fixture;

static void answered(void *opaque, VmbusShutdownMode mode,
                     VmbusShutdownResult result, uint32_t status)
{
    Fixture *f = opaque;

    f->answers++;
    f->mode = mode;
    f->result = result;
    f->status = status;
}

static void changed(void *opaque, VmbusShutdownState state)
{
    Fixture *f = opaque;

    f->changes++;
    f->state = state;
}

static const VmbusShutdownOps ops = {answered, changed};

static void setup(Fixture *f, const void *data)
{
    f->sd = vmbus_shutdown_new(&ops, f);
    fake_init(&f->chan, &vmbus_shutdown_channel_ops, f->sd);
}

static void setup_ready(Fixture *f, const void *data)
{
    setup(f, data);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 2));
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_READY);
}

static void teardown(Fixture *f, const void *data)
{
    fake_clear(&f->chan);
    vmbus_shutdown_free(f->sd);
}

static VmbusShutdownResult request(Fixture *f, VmbusShutdownMode mode,
                                   bool force)
{
    VmbusShutdownRequest req = {.mode = mode, .force = force};

    return vmbus_shutdown_request(f->sd, &req);
}

/* Pops the request that the guest sees. */
static void pop_request(Fixture *f, IcShutdown *body)
{
    FakeMessage msg;

    fake_pop_message(&f->chan, &msg);
    g_assert_cmpuint(msg.header.message_type, ==, IC_MESSAGE_SHUTDOWN);
    g_assert_cmpuint(msg.body_len, ==, 2060);
    memcpy(body, msg.body, sizeof(*body));
    fake_message_clear(&msg);
}

/* Answers the request as Linux does: the same body, a status. */
static void answer(Fixture *f, uint32_t status)
{
    FakeMessage msg;

    fake_pop_message(&f->chan, &msg);
    msg.header.status = GUINT32_TO_LE(status);
    fake_answer(&f->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
}

static void test_offer(void)
{
    static const uint8_t class_id[] = {0x31, 0x60, 0x0b, 0x0e, 0x13, 0x52,
                                       0x34, 0x49, 0x81, 0x8b, 0x38, 0xd9,
                                       0x0c, 0xed, 0x39, 0xdb};

    g_assert_cmpmem(&vmbus_shutdown_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_shutdown_offer.pipe);
}

static void test_versions(Fixture *f, const void *data)
{
    static const uint8_t body[] = {
        2, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0,
        1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 1, 0, 3, 0, 2, 0,
    };
    VmbusShutdownInfo info;
    FakeMessage msg;

    fake_open(&f->chan);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_NEGOTIATING);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpmem(msg.body, msg.body_len, body, sizeof(body));
    fake_message_clear(&msg);
    for (int i = 0; i < 4; i++) {
        uint32_t version = i ? IC_VERSION(3, i - 1) : IC_VERSION(1, 0);

        fake_close(&f->chan);
        fake_open(&f->chan);
        fake_negotiate(&f->chan, IC_VERSION(3, 0), version);
        vmbus_shutdown_info(f->sd, &info);
        g_assert_cmpint(info.state, ==, VMBUS_SHUTDOWN_READY);
        g_assert_cmphex(info.message_version, ==, version);
    }
}

static void test_not_open(Fixture *f, const void *data)
{
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, true), ==,
                    VMBUS_SHUTDOWN_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, true), ==,
                    VMBUS_SHUTDOWN_NOT_READY);
    fake_close(&f->chan);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, true), ==,
                    VMBUS_SHUTDOWN_NOT_OPEN);
    g_assert_cmpuint(f->answers, ==, 0);
}

static void test_incompatible(Fixture *f, const void *data)
{
    IcHeader header = {.flags = 5, .message_size = GUINT16_TO_LE(16)};

    fake_open(&f->chan);
    fake_answer_with(&f->chan, &header, (uint8_t[16]){0}, 16);
    fake_signal(&f->chan);
    g_assert_cmpint(vmbus_shutdown_port(f->sd)->state, ==, IC_INCOMPATIBLE);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_NOT_READY);
}

static void test_flags(Fixture *f, const void *data)
{
    for (int mode = 0; mode < 3; mode++) {
        for (int force = 0; force < 2; force++) {
            uint32_t flags = (mode == 1 ? 2 : mode == 2 ? 4 : 0) | force;
            IcShutdown body;

            fake_close(&f->chan);
            fake_open(&f->chan);
            fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 2));
            g_assert_cmpint(request(f, mode, force), ==, VMBUS_SHUTDOWN_OK);
            pop_request(f, &body);
            g_assert_cmpuint(GUINT32_FROM_LE(body.flags), ==, flags);
            g_assert_cmphex(GUINT32_FROM_LE(body.reason), ==, 0x80000000);
            g_assert_cmpuint(body.timeout_secs, ==, 0);
            g_assert_cmpuint(body.text[0], ==, 0);
        }
    }
}

static void test_mode_versions(Fixture *f, const void *data)
{
    static const uint32_t versions[] = {IC_VERSION(1, 0), IC_VERSION(3, 0),
                                        IC_VERSION(3, 1)};

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        fake_open(&f->chan);
        fake_negotiate(&f->chan, IC_VERSION(3, 0), versions[i]);
        g_assert_cmpint(request(f, VMBUS_SHUTDOWN_HIBERNATE, false), ==,
                        VMBUS_SHUTDOWN_TOO_OLD);
        g_assert_cmpint(request(f, VMBUS_SHUTDOWN_HIBERNATE, true), ==,
                        VMBUS_SHUTDOWN_TOO_OLD);
        g_assert_cmpint(request(f, 3, false), ==, VMBUS_SHUTDOWN_NOT_SUPPORTED);
        g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
        g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, false), ==,
                        VMBUS_SHUTDOWN_OK);
        fake_close(&f->chan);
    }
}

static void test_reason_and_timeout(Fixture *f, const void *data)
{
    VmbusShutdownRequest req = {.reason = 0x80040001, .timeout_secs = 90};
    IcShutdown body;

    g_assert_cmpint(vmbus_shutdown_request(f->sd, &req), ==, VMBUS_SHUTDOWN_OK);
    pop_request(f, &body);
    g_assert_cmphex(GUINT32_FROM_LE(body.reason), ==, 0x80040001);
    g_assert_cmpuint(GUINT32_FROM_LE(body.timeout_secs), ==, 90);
}

/* The text of a request with @message, as UTF-8 again. */
static char *text_of(Fixture *f, const char *message)
{
    VmbusShutdownRequest req = {.message = message};
    IcShutdown body;
    uint16_t text[IC_SHUTDOWN_TEXT_UNITS];

    if (f->chan.open) {
        fake_close(&f->chan);
    }
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 2));
    g_assert_cmpint(vmbus_shutdown_request(f->sd, &req), ==, VMBUS_SHUTDOWN_OK);
    pop_request(f, &body);
    memcpy(text, body.text, sizeof(text));
    g_assert_cmpuint(text[IC_SHUTDOWN_TEXT_UNITS - 1], ==, 0);
    for (int i = 0; i < IC_SHUTDOWN_TEXT_UNITS; i++) {
        text[i] = GUINT16_FROM_LE(text[i]);
    }
    return g_utf16_to_utf8(text, -1, NULL, NULL, NULL);
}

static void test_text(Fixture *f, const void *data)
{
    g_autofree char *plain = text_of(f, "Backup at 02:00");
    g_autofree char *wide = text_of(f, "Gr\xc3\xbc\xc3\x9f"
                                       "e \xf0\x9f\x92\xa4");
    g_autofree char *invalid = text_of(f, "a\xff"
                                          "b");
    g_autofree char *many = g_strnfill(5000, 'x');
    g_autofree char *cut = text_of(f, many);
    g_autoptr(GString) zs = g_string_new("");
    g_autofree char *halves = NULL;

    g_assert_cmpstr(plain, ==, "Backup at 02:00");
    g_assert_cmpstr(wide, ==,
                    "Gr\xc3\xbc\xc3\x9f"
                    "e \xf0\x9f\x92\xa4");
    g_assert_cmpstr(invalid, ==,
                    "a\xef\xbf\xbd"
                    "b");
    g_assert_cmpuint(strlen(cut), ==, 1023);
    for (int i = 0; i < 2000; i++) {
        g_string_append(zs, "\xf0\x9f\x92\xa4");
    }
    /* 1023 units hold 511 pairs; half a pair is not sent. */
    halves = text_of(f, zs->str);
    g_assert_nonnull(halves);
    g_assert_cmpuint(strlen(halves), ==, 511 * 4);
}

static void test_statuses(Fixture *f, const void *data)
{
    static const struct {
        uint32_t status;
        VmbusShutdownResult result;
    } table[] = {
        {0x80070015, VMBUS_SHUTDOWN_NOT_READY},
        {0x800704f7, VMBUS_SHUTDOWN_LOCKED},
        {0x8007045b, VMBUS_SHUTDOWN_IN_PROGRESS},
        {0x80070032, VMBUS_SHUTDOWN_NOT_SUPPORTED},
        {0x80004005, VMBUS_SHUTDOWN_FAILED},
        {1, VMBUS_SHUTDOWN_FAILED},
        {0xffffffff, VMBUS_SHUTDOWN_FAILED},
        {0, VMBUS_SHUTDOWN_OK},
    };
    VmbusShutdownInfo info;

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, false), ==,
                        VMBUS_SHUTDOWN_OK);
        g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_REQUESTED);
        g_assert_cmpuint(f->answers, ==, i);
        answer(f, table[i].status);
        g_assert_cmpuint(f->answers, ==, i + 1);
        g_assert_cmpint(f->result, ==, table[i].result);
        g_assert_cmphex(f->status, ==, table[i].status);
        g_assert_cmpint(f->mode, ==, VMBUS_SHUTDOWN_REBOOT);
        vmbus_shutdown_info(f->sd, &info);
        g_assert_cmphex(info.last_status, ==, table[i].status);
        g_assert_cmpint(f->state, ==,
                        table[i].status ? VMBUS_SHUTDOWN_READY
                                        : VMBUS_SHUTDOWN_ACCEPTED);
    }
    g_assert_cmpuint(info.requests, ==, G_N_ELEMENTS(table));
}

static void test_one_at_a_time(Fixture *f, const void *data)
{
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_OK);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, false), ==,
                    VMBUS_SHUTDOWN_IN_PROGRESS);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, true), ==,
                    VMBUS_SHUTDOWN_IN_PROGRESS);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    answer(f, 0);
    g_assert_cmpint(f->mode, ==, VMBUS_SHUTDOWN_POWEROFF);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_ACCEPTED);
}

/* Who accepted and never goes down is asked again by force only. */
static void test_accepted(Fixture *f, const void *data)
{
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_OK);
    answer(f, 0);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_IN_PROGRESS);
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, true), ==,
                    VMBUS_SHUTDOWN_OK);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_REQUESTED);
    answer(f, 0);
    g_assert_cmpint(f->mode, ==, VMBUS_SHUTDOWN_REBOOT);
    g_assert_cmpuint(f->answers, ==, 2);

    /* The end of the guest is no second answer; a new guest is asked anew. */
    fake_close(&f->chan);
    g_assert_cmpuint(f->answers, ==, 2);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_CLOSED);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 2));
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_OK);
}

static void test_gone(Fixture *f, const void *data)
{
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, false), ==,
                    VMBUS_SHUTDOWN_OK);
    fake_close(&f->chan);
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmpint(f->result, ==, VMBUS_SHUTDOWN_GONE);
    g_assert_cmpint(f->mode, ==, VMBUS_SHUTDOWN_REBOOT);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_CLOSED);
}

static void test_full(Fixture *f, const void *data)
{
    IcShutdown body;

    f->chan.send_result = VMBUS_RING_FULL;
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_REBOOT, true), ==,
                    VMBUS_SHUTDOWN_OK);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_REQUESTED);
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    pop_request(f, &body);
    g_assert_cmpuint(GUINT32_FROM_LE(body.flags), ==, 3);
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);

    /* Closed while it waits for room. */
    fake_close(&f->chan);
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 2));
    f->chan.send_result = VMBUS_RING_FULL;
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_OK);
    f->answers = 0;
    fake_close(&f->chan);
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmpint(f->result, ==, VMBUS_SHUTDOWN_GONE);
    f->chan.send_result = VMBUS_RING_OK;
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(3, 2));
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

static void test_send_fails(Fixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_FAILED);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_READY);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_NOT_OPEN);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_CLOSED);
    g_assert_cmpuint(f->answers, ==, 0);
}

static void push_noise(VmbusChannel *chan)
{
    fake_push(chan, VMBUS_PKT_DATA_INBAND, "noise", 5);
}

/* A muted channel gives no answer any more, and says so. */
static void test_flood(Fixture *f, const void *data)
{
    g_assert_cmpint(request(f, VMBUS_SHUTDOWN_POWEROFF, false), ==,
                    VMBUS_SHUTDOWN_OK);
    f->chan.refill = push_noise;
    fake_signal(&f->chan);
    f->chan.refill = NULL;
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmpint(f->result, ==, VMBUS_SHUTDOWN_GONE);
    g_assert_cmpint(f->state, ==, VMBUS_SHUTDOWN_NEGOTIATING);
}

static void test_names(void)
{
    static const char *const names[] = {"closed",    "negotiating", "ready",
                                        "requested", "accepted",    "unknown"};

    for (int i = 0; i < 6; i++) {
        g_assert_cmpstr(vmbus_shutdown_state_name(i), ==, names[i]);
    }
    for (int i = 0; i <= VMBUS_SHUTDOWN_GONE; i++) {
        g_assert_nonnull(vmbus_shutdown_result_sentence(i));
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(vmbus_shutdown_result_sentence(i), !=,
                            vmbus_shutdown_result_sentence(j));
        }
    }
    g_assert_nonnull(vmbus_shutdown_result_sentence(99));
}

static void test_random(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(40);
    Fixture f = {0};
    unsigned accepted = 0, results[VMBUS_SHUTDOWN_GONE + 1] = {0};
    unsigned seen[VMBUS_SHUTDOWN_ACCEPTED + 1] = {0};
    VmbusShutdownResult result;

    setup(&f, NULL);
    for (int i = 0; i < 100000; i++) {
        switch (g_rand_int_range(rand, 0, 32)) {
        case 0:
            fake_open_or_close(&f.chan);
            break;
        case 1:
            if (f.state == VMBUS_SHUTDOWN_NEGOTIATING &&
                fake_pending(&f.chan)) {
                fake_negotiate(&f.chan, IC_VERSION(3, 0), IC_VERSION(3, 1));
            }
            break;
        case 2 ... 8:
            result =
                request(&f, g_rand_int_range(rand, 0, 4), g_rand_boolean(rand));
            results[result]++;
            accepted += result == VMBUS_SHUTDOWN_OK;
            break;
        case 9 ... 12:
            if (f.state == VMBUS_SHUTDOWN_REQUESTED && fake_pending(&f.chan)) {
                answer(&f, g_rand_boolean(rand) ? 0 : g_rand_int(rand));
            }
            break;
        default:
            fake_send_garbage(&f.chan, rand);
            break;
        }
        seen[f.state]++;
        /* Each request that was sent is answered once, sooner or later. */
        g_assert_cmpuint(accepted - f.answers, ==,
                         f.state == VMBUS_SHUTDOWN_REQUESTED);
    }
    for (int i = 0; i <= VMBUS_SHUTDOWN_ACCEPTED; i++) {
        g_assert_cmpuint(seen[i], >, 100);
    }
    g_assert_cmpuint(results[VMBUS_SHUTDOWN_IN_PROGRESS], >, 100);
    g_assert_cmpuint(accepted, >, 100);
    teardown(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/shutdown/" path, Fixture, NULL, setup_fn, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/shutdown/offer", test_offer);
    ADD("versions", setup, test_versions);
    ADD("not-open", setup, test_not_open);
    ADD("incompatible", setup, test_incompatible);
    ADD("flags", setup_ready, test_flags);
    ADD("mode-versions", setup, test_mode_versions);
    ADD("reason-and-timeout", setup_ready, test_reason_and_timeout);
    ADD("text", setup, test_text);
    ADD("statuses", setup_ready, test_statuses);
    ADD("one-at-a-time", setup_ready, test_one_at_a_time);
    ADD("accepted", setup_ready, test_accepted);
    ADD("gone", setup_ready, test_gone);
    ADD("full", setup_ready, test_full);
    ADD("send-fails", setup_ready, test_send_fails);
    ADD("flood", setup_ready, test_flood);
    g_test_add_func("/shutdown/names", test_names);
    g_test_add_func("/shutdown/random", test_random);
    return g_test_run();
}
