/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backup of a guest that is late, silent, gone or against it. */
#include "vss-fixture.h"

/* The deadline holds, to the nanosecond, and the caller is told by then. */
static void test_never_answers(VssFixture *f, const void *data)
{
    FakeMessage msg;

    vss_freeze(f);
    vss_pass(f, 30 * SECOND - 1);
    vss_assert_state(f, VMBUS_VSS_CHECKING, VMBUS_VSS_NO_REASON);
    vss_pass(f, 1);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_TIMEOUT);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    /* One request lies in the ring; a second one does not join it. */
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_UNANSWERED);
    vss_pass(f, 3600 * SECOND);
    vss_pop(f, IC_VSS_HOT_BACKUP, &msg);
    vss_answer_to(f, &msg, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_TIMEOUT);
    g_assert_cmpuint(vss_info(f).late, ==, 1);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vss_freeze_all(f);
}

/* A freeze that comes too late is thawed as soon as it is known. */
static void late_freeze(VssFixture *f, uint32_t status)
{
    FakeMessage late;

    vss_freeze(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_pop(f, IC_VSS_FREEZE, &late);
    vss_pass(f, 30 * SECOND);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_TIMEOUT);
    vss_pass(f, 3600 * SECOND);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_UNTHAWED);
    vss_answer_to(f, &late, status);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_TIMEOUT);
    g_assert_cmpuint(vss_info(f).late, ==, 1);
    g_assert_cmpuint(vss_info(f).freezes, ==, 0);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_TIMEOUT);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    vss_freeze_all(f);
}

static void test_late_freeze(VssFixture *f, const void *data)
{
    late_freeze(f, IC_STATUS_OK);
}

/* Linux gives up after 15 minutes, and its daemon may go on. */
static void test_late_refusal(VssFixture *f, const void *data)
{
    late_freeze(f, IC_STATUS_FAIL);
}

/* What one job was answered is not taken for the next one. */
static void test_late_for_another(VssFixture *f, const void *data)
{
    FakeMessage late;

    vss_freeze(f);
    vss_pop(f, IC_VSS_HOT_BACKUP, &late);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_CANCELLED);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_UNANSWERED);
    vss_answer_to(f, &late, IC_STATUS_OK);
    g_assert_cmpuint(vss_info(f).late, ==, 1);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_CANCELLED);

    /* An answer with an id that is used again. */
    vss_freeze(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_pop(f, IC_VSS_FREEZE, &late);
    fake_answer_with(&f->chan, &late.header, late.body, late.body_len);
    vss_answer_to(f, &late, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FROZEN, VMBUS_VSS_NO_REASON);
}

/* A guest that fails to freeze is thawed: it may have frozen a part. */
static void test_refused(VssFixture *f, const void *data)
{
    vss_freeze(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_answer(f, IC_VSS_FREEZE, IC_STATUS_FAIL);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_REFUSED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_REFUSED);
    vss_freeze_all(f);
}

/* A caller that dies: the host thaws when the hold is over. */
static void test_hold_over(VssFixture *f, const void *data)
{
    vss_freeze_all(f);
    vss_pass(f, HOLD - 1);
    vss_assert_state(f, VMBUS_VSS_FROZEN, VMBUS_VSS_NO_REASON);
    vss_pass(f, 1);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_HOLD_OVER);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);
}

static void test_limit(VssFixture *f, const void *data)
{
    uint64_t end, granted;

    vss_freeze_all(f);
    end = f->now + LIMIT;
    while (f->now + SECOND < end) {
        vss_pass(f, SECOND);
        g_assert_cmpint(vmbus_vss_renew(f->vss, f->job, 0, &granted), ==,
                        VMBUS_VSS_OK);
        g_assert_cmpuint(granted, ==, MIN(HOLD, end - f->now));
    }
    vss_run_until(f, end);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_LIMIT);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_LIMIT);
}

/* A daemon that died refuses until there is a new one: once a second. */
static void test_thaw_refused(VssFixture *f, const void *data)
{
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    for (int i = 0; i < 100; i++) {
        vss_answer(f, IC_VSS_THAW, IC_STATUS_FAIL);
        vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_THAWED);
        g_assert_cmpuint(f->wake, ==, f->now + SECOND);
        vss_pass(f, SECOND - 1);
        g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
        vss_pass(f, 1);
    }
    g_assert_cmpuint(vss_info(f).thaws_refused, ==, 100);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_FAIL);
    /* Whoever cannot wait for it. */
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_IDLE, VMBUS_VSS_NO_REASON);
}

/* The ring is full where each request would be sent. */
static void test_no_room(VssFixture *f, const void *data)
{
    static const uint8_t operations[] = {IC_VSS_HOT_BACKUP, IC_VSS_FREEZE,
                                         IC_VSS_THAW};

    f->chan.send_result = VMBUS_RING_FULL;
    vss_freeze(f);
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
        if (operations[i] == IC_VSS_THAW) {
            vss_pass(f, HOLD);
            /* Room is what it waits for, and no timer. */
            g_assert_cmpuint(f->wake, ==, UINT64_MAX);
        }
        f->chan.send_result = VMBUS_RING_OK;
        fake_signal(&f->chan);
        f->chan.send_result = VMBUS_RING_FULL;
        vss_answer(f, operations[i], IC_STATUS_OK);
    }
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);
}

/* While the machine is stopped the times pass, and nothing is sent. */
static void test_stop(VssFixture *f, const void *data)
{
    vss_freeze_all(f);
    vmbus_vss_set_running(f->vss, false);
    vss_pass(f, HOLD);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_HOLD_OVER);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vmbus_vss_tick(f->vss);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vmbus_vss_set_running(f->vss, true);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);

    /* In the middle of a freeze. */
    vss_freeze(f);
    vmbus_vss_set_running(f->vss, false);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vss_pass(f, 30 * SECOND);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_TIMEOUT);
    vmbus_vss_set_running(f->vss, true);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

/* A guest that closes the service while frozen is thawed when it is back. */
static void test_gone(VssFixture *f, const void *data)
{
    FakeMessage msg;

    vss_freeze_all(f);
    fake_close(&f->chan);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    g_assert_true(vmbus_vss_owes_thaw(f->vss));
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    g_assert_cmpint(vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED), ==,
                    VMBUS_VSS_NOT_OPEN);
    vss_open_ready(f);
    vss_assert_state(f, VMBUS_VSS_THAWING, VMBUS_VSS_GONE);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);

    /* In each of the other states. */
    vss_freeze(f);
    fake_close(&f->chan);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    vss_open_ready(f);
    vss_freeze(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    fake_close(&f->chan);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    vss_open_ready(f);
    vss_pop(f, IC_VSS_THAW, &msg);
    fake_message_clear(&msg);
    fake_close(&f->chan);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    vss_open_ready(f);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    fake_close(&f->chan);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
}

/* A reset machine has nothing frozen: its next guest is left alone. */
static void test_reset(VssFixture *f, const void *data)
{
    vss_freeze_all(f);
    fake_close(&f->chan);
    vmbus_vss_reset(f->vss);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_RESET);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    /* The same for one that was to be thawed. */
    vss_open_ready(f);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vss_freeze_all(f);
    vss_pass(f, HOLD);
    fake_close(&f->chan);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);
    vmbus_vss_reset(f->vss);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_RESET);
    vss_open_ready(f);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vmbus_vss_reset(f->vss);
    vss_assert_state(f, VMBUS_VSS_IDLE, VMBUS_VSS_NO_REASON);
}

/* A ring that breaks in the middle of sending, in each state. */
static void test_corrupt(VssFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_CORRUPT;
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    vss_open_ready(f);
    vss_freeze(f);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    vss_open_ready(f);
    vss_freeze_all(f);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    vss_pass(f, HOLD);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);
    g_assert_true(vmbus_vss_owes_thaw(f->vss));
    vss_open_ready(f);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_HOLD_OVER);
}

/* A guest that floods the service is no longer read, and no job hangs. */
static void test_flood(VssFixture *f, const void *data)
{
    vss_freeze_all(f);
    for (int i = 0; i <= IC_MAX_REFUSED; i++) {
        fake_push(&f->chan, VMBUS_PKT_DATA_INBAND, "x", 1);
    }
    fake_signal(&f->chan);
    g_assert_cmpint(vss_info(f).service, ==, VMBUS_VSS_UNUSABLE);
    vss_assert_state(f, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
    fake_close(&f->chan);
    vss_open_ready(f);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
}

/* Whatever the guest sends: deadlines and holds end what they should. */
static void test_noise(VssFixture *f, const void *data)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    unsigned frozen = 0;

    for (int i = 0; i < 50000; i++) {
        int what = g_rand_int_range(rand, 0, 16);

        if (!f->chan.open) {
            vss_open_ready(f);
        }
        if (what < 3) {
            vss_freeze(f);
        } else if (what == 3) {
            vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
        } else if (what == 4 && !g_rand_int_range(rand, 0, 20)) {
            fake_close(&f->chan);
            if (g_rand_boolean(rand)) {
                vmbus_vss_reset(f->vss);
            }
        } else if (what == 5) {
            vmbus_vss_set_running(f->vss, g_rand_int_range(rand, 0, 4));
        } else if (what == 6) {
            fake_send_garbage(&f->chan, rand);
        } else if (what < 14 && fake_pending(&f->chan)) {
            FakeMessage msg;

            fake_pop_message(&f->chan, &msg);
            vss_answer_to(f, &msg,
                          g_rand_int_range(rand, 0, 8) ? 0 : IC_STATUS_FAIL);
        } else {
            vss_pass(f, g_rand_int_range(rand, 0, 12) * SECOND);
        }
        g_assert_cmpuint(fake_pending(&f->chan), <=, 1);
        frozen += f->last.state == VMBUS_VSS_FROZEN;
        if (vss_info(f).state == VMBUS_VSS_FROZEN) {
            g_assert_true(vmbus_vss_owes_thaw(f->vss));
            g_assert_cmpuint(f->wake, <=, f->now + HOLD);
        }
    }
    g_assert_cmpuint(frozen, >, 1000);
}

#define ADD(path, fn, setup)                                                   \
    g_test_add("/vss-faults/" path, VssFixture, NULL, setup, fn, vss_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("never-answers", test_never_answers, vss_setup_ready);
    ADD("late-freeze", test_late_freeze, vss_setup_ready);
    ADD("late-refusal", test_late_refusal, vss_setup_ready);
    ADD("late-for-another", test_late_for_another, vss_setup_ready);
    ADD("refused", test_refused, vss_setup_ready);
    ADD("hold-over", test_hold_over, vss_setup_ready);
    ADD("limit", test_limit, vss_setup_ready);
    ADD("thaw-refused", test_thaw_refused, vss_setup_ready);
    ADD("no-room", test_no_room, vss_setup_ready);
    ADD("stop", test_stop, vss_setup_ready);
    ADD("gone", test_gone, vss_setup_ready);
    ADD("reset", test_reset, vss_setup_ready);
    ADD("corrupt", test_corrupt, vss_setup_ready);
    ADD("flood", test_flood, vss_setup_ready);
    ADD("noise", test_noise, vss_setup_ready);
    return g_test_run();
}
