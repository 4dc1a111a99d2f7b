/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the backup service does, and what it refuses. */
#include "vss-fixture.h"

static void test_offer(void)
{
    static const uint8_t class_id[] = {0x29, 0x2e, 0xfa, 0x35, 0x23, 0xea,
                                       0x36, 0x42, 0x96, 0xae, 0x3a, 0x6e,
                                       0xba, 0xcb, 0xa4, 0x40};

    g_assert_cmpmem(&vmbus_vss_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_vss_offer.pipe);
}

static void test_versions(VssFixture *f, const void *data)
{
    static const uint8_t body[] = {2, 0, 1, 0, 0, 0, 0, 0, 1, 0,
                                   0, 0, 3, 0, 0, 0, 5, 0, 0, 0};
    static const uint32_t framework[] = {IC_VERSION(1, 0), IC_VERSION(3, 0)};

    for (size_t i = 0; i < G_N_ELEMENTS(framework); i++) {
        FakeMessage msg;

        g_assert_cmpint(vss_info(f).service, ==, VMBUS_VSS_CLOSED);
        fake_open(&f->chan);
        fake_pop_message(&f->chan, &msg);
        g_assert_cmpmem(msg.body, msg.body_len, body, sizeof(body));
        fake_message_clear(&msg);
        fake_close(&f->chan);
        fake_open(&f->chan);
        g_assert_cmpint(vss_info(f).service, ==, VMBUS_VSS_NEGOTIATING);
        fake_negotiate(&f->chan, framework[i], IC_VERSION(5, 0));
        g_assert_cmpint(vss_info(f).service, ==, VMBUS_VSS_READY);
        g_assert_cmphex(vss_info(f).framework_version, ==, framework[i]);
        g_assert_cmphex(vss_info(f).message_version, ==, IC_VERSION(5, 0));
        vss_freeze_all(f);
        fake_close(&f->chan);
        vmbus_vss_reset(f->vss);
    }
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(vss_info(f).service, ==, VMBUS_VSS_UNUSABLE);
}

/* Each state on the way, with its times. */
static void test_life(VssFixture *f, const void *data)
{
    uint64_t start = f->now;

    g_assert_cmpint(vss_info(f).state, ==, VMBUS_VSS_IDLE);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_OK);
    vss_assert_state(f, VMBUS_VSS_CHECKING, VMBUS_VSS_NO_REASON);
    g_assert_cmpuint(vss_info(f).left_ns, ==, 30 * SECOND);
    f->now += SECOND;
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FREEZING, VMBUS_VSS_NO_REASON);
    g_assert_cmpuint(vss_info(f).left_ns, ==, 29 * SECOND);
    g_assert_true(vmbus_vss_owes_thaw(f->vss));
    f->now += SECOND;
    vss_answer(f, IC_VSS_FREEZE, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FROZEN, VMBUS_VSS_NO_REASON);
    f->now += SECOND;
    g_assert_cmpuint(vss_info(f).left_ns, ==, HOLD - SECOND);
    g_assert_cmpuint(vss_info(f).frozen_ns, ==, SECOND);
    g_assert_cmpuint(f->wake, ==, start + 2 * SECOND + HOLD);
    g_assert_cmpint(vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED), ==, VMBUS_VSS_OK);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_IDLE, VMBUS_VSS_NO_REASON);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    g_assert_cmpuint(vss_info(f).freezes, ==, 1);
    g_assert_cmpuint(vss_info(f).thaws, ==, 1);
    g_assert_cmpuint(vss_info(f).late, ==, 0);
    g_assert_cmpuint(vss_info(f).job, ==, 1);
}

static void test_ten_thousand(VssFixture *f, const void *data)
{
    for (unsigned i = 1; i <= 10000; i++) {
        vss_freeze_all(f);
        g_assert_cmpuint(f->job, ==, i);
        if (i % 3) {
            vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
        } else {
            vss_pass(f, HOLD);
        }
        if (!(i % 7)) {
            vss_answer(f, IC_VSS_THAW, IC_STATUS_FAIL);
            vss_pass(f, SECOND);
        }
        vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
        g_assert_false(vmbus_vss_owes_thaw(f->vss));
        vss_pass(f, SECOND);
    }
    g_assert_cmpuint(vss_info(f).freezes, ==, 10000);
    g_assert_cmpuint(vss_info(f).thaws, ==, 10000);
    g_assert_cmpuint(vss_info(f).thaws_refused, ==, 10000 / 7);
    g_assert_cmpuint(vmbus_vss_port(f->vss)->refused, ==, 0);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

/* Not open, not ready, disabled: three errors with three sentences. */
static void test_three_errors(VssFixture *f, const void *data)
{
    const char *sentences[4];

    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_NOT_OPEN);
    sentences[0] = vmbus_vss_result_sentence(VMBUS_VSS_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_NOT_READY);
    sentences[1] = vmbus_vss_result_sentence(VMBUS_VSS_NOT_READY);
    g_assert_cmpuint(vss_info(f).job, ==, 0);
    g_assert_cmpuint(f->changes, ==, 0);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(5, 0));

    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_OK);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_FAIL);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_DISABLED);
    sentences[2] = vmbus_vss_reason_sentence(VMBUS_VSS_DISABLED);
    g_assert_cmphex(vss_info(f).last_status, ==, IC_STATUS_FAIL);
    /* Nothing was frozen, so nothing is thawed. */
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_OK);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_NOT_READY);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_NOT_PREPARED);
    sentences[3] = vmbus_vss_reason_sentence(VMBUS_VSS_NOT_PREPARED);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(sentences[i], !=, sentences[j]);
        }
    }
    /* It is no sin to have failed. */
    vss_freeze_all(f);
}

static void test_not_usable(VssFixture *f, const void *data)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(6, 0));
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_NOT_USABLE);
    g_assert_cmpint(vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED), ==,
                    VMBUS_VSS_NOT_USABLE);
}

static void test_stopped(VssFixture *f, const void *data)
{
    vmbus_vss_set_running(f->vss, false);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_STOPPED);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vmbus_vss_set_running(f->vss, true);
    vss_freeze_all(f);
}

static void test_bad_times(VssFixture *f, const void *data)
{
    static const struct {
        uint64_t hold, timeout;
    } bad[] = {
        {0, SECOND},
        {LIMIT + 1, SECOND},
        {UINT64_MAX, SECOND},
        {SECOND, 0},
        {SECOND, VMBUS_VSS_MAX_TIMEOUT_NS + 1},
        {SECOND, UINT64_MAX},
    };
    uint64_t granted;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_cmpint(
            vmbus_vss_freeze(f->vss, bad[i].hold, bad[i].timeout, &f->job), ==,
            VMBUS_VSS_BAD_HOLD);
    }
    g_assert_cmpuint(f->changes, ==, 0);
    vss_freeze_all(f);
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, LIMIT + 1, &granted), ==,
                    VMBUS_VSS_BAD_HOLD);
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, UINT64_MAX, &granted), ==,
                    VMBUS_VSS_BAD_HOLD);
}

/* The second of two freezes is told so, wherever the first one is. */
static void test_two(VssFixture *f, const void *data)
{
    FakeMessage msg;
    uint64_t first, other;

    vss_freeze(f);
    first = f->job;
    g_assert_cmpint(vmbus_vss_freeze(f->vss, HOLD, SECOND, &other), ==,
                    VMBUS_VSS_BUSY);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    g_assert_cmpint(vmbus_vss_freeze(f->vss, HOLD, SECOND, &other), ==,
                    VMBUS_VSS_BUSY);
    vss_answer(f, IC_VSS_FREEZE, IC_STATUS_OK);
    g_assert_cmpint(vmbus_vss_freeze(f->vss, HOLD, SECOND, &other), ==,
                    VMBUS_VSS_BUSY);
    g_assert_cmpuint(vss_info(f).job, ==, first);
    g_assert_cmpuint(f->wake, ==, f->now + HOLD);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    g_assert_cmpint(vmbus_vss_freeze(f->vss, HOLD, SECOND, &other), ==,
                    VMBUS_VSS_UNTHAWED);
    vss_pop(f, IC_VSS_THAW, &msg);
    vss_answer_to(f, &msg, IC_STATUS_OK);
    vss_freeze_all(f);
}

static void test_renew(VssFixture *f, const void *data)
{
    uint64_t granted = 0;

    g_assert_cmpint(vmbus_vss_renew(f->vss, 0, 0, &granted), ==,
                    VMBUS_VSS_NOT_FROZEN);
    vss_freeze_all(f);
    vss_pass(f, 8 * SECOND);
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, 0, &granted), ==,
                    VMBUS_VSS_OK);
    g_assert_cmpuint(granted, ==, HOLD);
    vss_pass(f, 9 * SECOND);
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, 2 * SECOND, &granted), ==,
                    VMBUS_VSS_OK);
    g_assert_cmpuint(granted, ==, 2 * SECOND);
    /* By whoever holds it, and nobody else. */
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job - 1, 0, &granted), ==,
                    VMBUS_VSS_NOT_FROZEN);
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job + 1, 0, &granted), ==,
                    VMBUS_VSS_NOT_FROZEN);
    vss_pass(f, 2 * SECOND);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_HOLD_OVER);
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, 0, &granted), ==,
                    VMBUS_VSS_NOT_FROZEN);
}

/* A hold whose end has come, but not its timer, is over. */
static void test_renew_too_late(VssFixture *f, const void *data)
{
    uint64_t granted;

    vss_freeze_all(f);
    f->now += HOLD;
    g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, 0, &granted), ==,
                    VMBUS_VSS_NOT_FROZEN);
}

/* Its daemon ended, or somebody else thawed it: the copy is worth nothing. */
static void test_lapsed(VssFixture *f, const void *data)
{
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_NOT_HELD);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_LAPSED);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    /* A thaw that nobody asked for has a reason already. */
    vss_freeze_all(f);
    vss_pass(f, HOLD);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_NOT_HELD);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    /* The next freeze is another one. */
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_IDLE, VMBUS_VSS_NO_REASON);
}

/* With no freeze known of, a guest is asked to thaw all the same. */
static void test_thaw_idle(VssFixture *f, const void *data)
{
    g_assert_cmpint(vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED), ==, VMBUS_VSS_OK);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_IDLE, VMBUS_VSS_NO_REASON);
    /* A guest with no daemon: that is said, and not repeated. */
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_FAIL);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_NOT_THAWED);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    /* What is no wish of the administrator asks for nothing. */
    vmbus_vss_thaw(f->vss, VMBUS_VSS_SHUTDOWN);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_MIGRATION);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_close(&f->chan);
    g_assert_cmpint(vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED), ==,
                    VMBUS_VSS_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED), ==,
                    VMBUS_VSS_NOT_READY);
}

static void test_thaw_freezing(VssFixture *f, const void *data)
{
    FakeMessage msg;

    vss_freeze(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_pop(f, IC_VSS_FREEZE, &msg);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_CANCELLED);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vss_answer_to(f, &msg, IC_STATUS_OK);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_CANCELLED);
}

/* A freeze that has not been sent needs no thaw. */
static void test_thaw_unsent(VssFixture *f, const void *data)
{
    vss_freeze(f);
    f->chan.send_result = VMBUS_RING_FULL;
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FREEZING, VMBUS_VSS_NO_REASON);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_CANCELLED);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

/* Why it is thawed is remembered, and thawing goes its usual way. */
static void test_reasons(VssFixture *f, const void *data)
{
    static const VmbusVssReason reasons[] = {VMBUS_VSS_SHUTDOWN,
                                             VMBUS_VSS_MIGRATION};

    for (size_t i = 0; i < G_N_ELEMENTS(reasons); i++) {
        vss_freeze_all(f);
        vmbus_vss_thaw(f->vss, reasons[i]);
        vss_assert_state(f, VMBUS_VSS_THAWING, reasons[i]);
        vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
        vss_assert_state(f, VMBUS_VSS_FAILED, reasons[i]);
        vss_freeze(f);
        vmbus_vss_thaw(f->vss, reasons[i]);
        vss_assert_state(f, VMBUS_VSS_FAILED, reasons[i]);
        vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    }
}

static void test_words(void)
{
    for (int i = VMBUS_VSS_OK; i <= VMBUS_VSS_NOT_FROZEN; i++) {
        for (int j = VMBUS_VSS_OK; j < i; j++) {
            g_assert_cmpstr(vmbus_vss_result_sentence(i), !=,
                            vmbus_vss_result_sentence(j));
        }
    }
    g_assert_null(vmbus_vss_reason_sentence(VMBUS_VSS_NO_REASON));
    for (int i = VMBUS_VSS_DISABLED; i <= VMBUS_VSS_LAPSED; i++) {
        g_assert_nonnull(vmbus_vss_reason_sentence(i));
        for (int j = VMBUS_VSS_DISABLED; j < i; j++) {
            g_assert_cmpstr(vmbus_vss_reason_sentence(i), !=,
                            vmbus_vss_reason_sentence(j));
        }
    }
    g_assert_null(vmbus_vss_reason_sentence(99));
    g_assert_cmpstr(vmbus_vss_result_sentence(99), ==,
                    "The result of the request is unknown.");
    g_assert_cmpstr(vmbus_vss_state_name(99), ==, "unknown");
}

#define ADD(path, fn, setup)                                                   \
    g_test_add("/vss/" path, VssFixture, NULL, setup, fn, vss_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vss/offer", test_offer);
    g_test_add_func("/vss/words", test_words);
    ADD("versions", test_versions, vss_setup);
    ADD("life", test_life, vss_setup_ready);
    ADD("ten-thousand", test_ten_thousand, vss_setup_ready);
    ADD("three-errors", test_three_errors, vss_setup);
    ADD("not-usable", test_not_usable, vss_setup);
    ADD("stopped", test_stopped, vss_setup_ready);
    ADD("bad-times", test_bad_times, vss_setup_ready);
    ADD("two", test_two, vss_setup_ready);
    ADD("renew", test_renew, vss_setup_ready);
    ADD("renew-too-late", test_renew_too_late, vss_setup_ready);
    ADD("lapsed", test_lapsed, vss_setup_ready);
    ADD("thaw-idle", test_thaw_idle, vss_setup_ready);
    ADD("thaw-freezing", test_thaw_freezing, vss_setup_ready);
    ADD("thaw-unsent", test_thaw_unsent, vss_setup_ready);
    ADD("reasons", test_reasons, vss_setup_ready);
    return g_test_run();
}
