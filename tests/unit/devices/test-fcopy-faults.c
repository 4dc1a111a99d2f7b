/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies that are cancelled, and those of a guest that is late, silent, gone or
 * against it, or of a host that cannot read the file. */
#include "fcopy-fixture.h"

static void test_start_refused(FcopyFixture *f, const void *data)
{
    static const struct {
        uint32_t status;
        VmbusFcopyResult result;
    } table[] = {
        {0x80070050, VMBUS_FCOPY_EXISTS},
        {0x80070070, VMBUS_FCOPY_DISK_FULL},
        {0x80070057, VMBUS_FCOPY_INVALID},
        {0x80070032, VMBUS_FCOPY_NOT_SUPPORTED},
        {IC_STATUS_FAIL, VMBUS_FCOPY_START_FAILED},
        {1, VMBUS_FCOPY_START_FAILED},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        uint64_t id = fcopy_start(f);
        const VmbusFcopyCopy *copy;

        fcopy_expect(f, FCOPY_OP_START, table[i].status);
        copy = vmbus_fcopy_copy(f->fc, id);
        g_assert_cmpint(copy->state, ==, VMBUS_FCOPY_FAILED);
        g_assert_cmpint(copy->result, ==, table[i].result);
        g_assert_cmphex(copy->status, ==, table[i].status);
        g_assert_null(copy->sha256);
        /* There is no file to drop. */
        g_assert_cmpint(fcopy_next_operation(f), ==, -1);
        g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    }
}

static void test_complete_fails(FcopyFixture *f, const void *data)
{
    g_string_set_size(f->file, 0);
    fcopy_start(f);
    fcopy_expect(f, FCOPY_OP_START, 0);
    fcopy_expect(f, FCOPY_OP_COMPLETE, IC_STATUS_FAIL);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_COMPLETE_FAILED);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
}

static void test_not_resumed(FcopyFixture *f, const void *data)
{
    fcopy_start(f);
    fcopy_expect(f, FCOPY_OP_START, 0);
    fcopy_expect(f, FCOPY_OP_WRITE, FCOPY_STATUS_DISK_FULL);
    f->now = f->wake - 1;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_STOPPED);
    f->now++;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLING);
    fcopy_expect(f, FCOPY_OP_CANCEL, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_NOT_RESUMED);
}

static void test_cancel(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);

    /* While the guest creates it. */
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id + 1), ==,
                    VMBUS_FCOPY_NO_SUCH_COPY);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLING);
    fcopy_expect(f, FCOPY_OP_START, 0);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    fcopy_expect(f, FCOPY_OP_CANCEL, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_WAS_CANCELLED);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_ENDED);

    /* While it is read, and while it is stopped. */
    for (int i = 0; i < 2; i++) {
        f->hold_reads = i == 0;
        id = fcopy_start(f);
        fcopy_expect(f, FCOPY_OP_START, 0);
        if (i == 1) {
            fcopy_expect(f, FCOPY_OP_WRITE, IC_STATUS_FAIL);
        }
        g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
        fcopy_give(f, id); /* too late */
        vmbus_fcopy_read_failed(f->fc, id, VMBUS_FCOPY_READ_FAILED);
        fcopy_expect(f, FCOPY_OP_CANCEL, IC_STATUS_FAIL);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    }

    /* Before anything is sent. */
    f->chan.send_result = VMBUS_RING_FULL;
    id = fcopy_start(f);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpint(fcopy_next_operation(f), ==, -1);
    fcopy_assert_copied(f, fcopy_start(f));
}

static void test_cancel_resumed(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);

    fcopy_expect(f, FCOPY_OP_START, 0);
    fcopy_expect(f, FCOPY_OP_WRITE, IC_STATUS_FAIL);
    vmbus_fcopy_resume(f->fc, id);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    fcopy_expect(f, FCOPY_OP_START, 0);
    fcopy_expect(f, FCOPY_OP_CANCEL, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    g_assert_cmpint(fcopy_next_operation(f), ==, -1);
}

static void test_cancel_too_late(FcopyFixture *f, const void *data)
{
    uint64_t id;

    g_string_set_size(f->file, 0);
    id = fcopy_start(f);
    fcopy_expect(f, FCOPY_OP_START, 0);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_TOO_LATE);
    fcopy_assert_copied(f, id);
}

static void test_read_fails(FcopyFixture *f, const void *data)
{
    static const VmbusFcopyResult results[] = {VMBUS_FCOPY_READ_FAILED,
                                               VMBUS_FCOPY_FILE_CHANGED,
                                               VMBUS_FCOPY_READ_TIMEOUT};

    f->hold_reads = true;
    for (int i = 0; i < 4; i++) {
        uint64_t id = fcopy_start(f);

        fcopy_expect(f, FCOPY_OP_START, 0);
        g_assert_cmpint(fcopy_next_operation(f), ==, -1);
        vmbus_fcopy_data(f->fc, id + 1, 0, "", 0);
        vmbus_fcopy_data(f->fc, id, 1, "", 0);
        vmbus_fcopy_read_failed(f->fc, id + 1, results[0]);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_COPYING);
        if (i < 2) {
            vmbus_fcopy_read_failed(f->fc, id, results[i]);
        } else if (i == 2) {
            f->now = f->wake;
            vmbus_fcopy_tick(f->fc);
        } else { /* less than was asked for */
            vmbus_fcopy_data(f->fc, id, 0, "abc", 3);
        }
        fcopy_expect(f, FCOPY_OP_CANCEL, 0);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
        g_assert_cmpint(f->result, ==, results[i == 3 ? 1 : i]);
    }
}

/* A guest that does not answer; its late answer frees the way. */
static void test_timeout(FcopyFixture *f, const void *data)
{
    for (int steps = 0; steps < 6; steps++) {
        unsigned ends = f->ends;

        fcopy_start(f);
        for (int i = 0; i < steps; i++) {
            fcopy_answer(f, 0);
        }
        f->now = f->wake - 1;
        vmbus_fcopy_tick(f->fc);
        g_assert_cmpuint(f->ends, ==, ends);
        f->now++;
        vmbus_fcopy_tick(f->fc);
        g_assert_cmpuint(f->ends, ==, ends + 1);
        g_assert_cmpint(f->result, ==, VMBUS_FCOPY_TIMEOUT);
        g_assert_cmpint(fcopy_try_start(f), ==, VMBUS_FCOPY_ANSWER_MISSING);
        fcopy_answer(f, 0);
        fcopy_expect(f, FCOPY_OP_CANCEL, 0);
        g_assert_cmpint(fcopy_next_operation(f), ==, -1);
    }
    fcopy_assert_copied(f, fcopy_start(f));
}

static void test_timeout_cancel(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);

    vmbus_fcopy_cancel(f->fc, id);
    f->now = f->wake;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    fcopy_answer(f, 0);
    fcopy_expect(f, FCOPY_OP_CANCEL, 0);
    fcopy_assert_copied(f, fcopy_start(f));
}

static void test_gone(FcopyFixture *f, const void *data)
{
    for (int steps = 0; steps < 6; steps++) {
        fcopy_start(f);
        for (int i = 0; i < steps; i++) {
            fcopy_answer(f, 0);
        }
        fake_close(&f->chan);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
        g_assert_cmpint(f->result, ==, VMBUS_FCOPY_GONE);
        g_assert_cmpuint(f->ends, ==, steps + 1);
        fcopy_open_ready(f);
        g_assert_cmpint(fcopy_next_operation(f), ==, -1);
    }
}

static void test_full(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);

    fcopy_expect(f, FCOPY_OP_START, 0);
    f->chan.send_result = VMBUS_RING_FULL;
    fcopy_answer(f, 0);
    g_assert_cmpint(fcopy_next_operation(f), ==, -1);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    fcopy_assert_copied(f, id);

    /* Its time goes by while there is no room: the file is dropped later. */
    fcopy_start(f);
    fcopy_expect(f, FCOPY_OP_START, 0);
    f->chan.send_result = VMBUS_RING_FULL;
    fcopy_answer(f, 0);
    f->now = f->wake;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_TIMEOUT);
    g_assert_cmpint(fcopy_try_start(f), ==, VMBUS_FCOPY_ANSWER_MISSING);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    fcopy_expect(f, FCOPY_OP_CANCEL, 0);
    fcopy_assert_copied(f, fcopy_start(f));
}

static void test_send_fails(FcopyFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    fcopy_start(f);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_RING_TOO_SMALL);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    fcopy_start(f);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_GONE);
    g_assert_cmpuint(f->ends, ==, 2);
}

/* Whatever happens, each copy ends once, and there is always a time limit. */
static void test_random(void)
{
    static const uint32_t statuses[] = {
        0, 0, 0, 0, IC_STATUS_FAIL, FCOPY_STATUS_DISK_FULL};
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    unsigned started = 0, done = 0;
    VmbusFcopyInfo info;
    FcopyFixture f = {0};
    uint64_t id = 0;

    fcopy_setup(&f, NULL);
    for (int i = 0; i < 100000; i++) {
        switch (g_rand_int_range(rand, 0, 64)) {
        case 0:
            fake_open_or_close(&f.chan);
            break;
        case 1 ... 4:
            vmbus_fcopy_info(f.fc, &info);
            if (info.service == VMBUS_FCOPY_SERVICE_NEGOTIATING &&
                fake_pending(&f.chan)) {
                fake_negotiate(&f.chan, IC_VERSION(3, 0), IC_VERSION(1, 1));
            }
            break;
        case 5 ... 9:
            started += fcopy_try_start(&f) == VMBUS_FCOPY_OK;
            break;
        case 10:
            vmbus_fcopy_cancel(f.fc, id);
            break;
        case 11 ... 15:
            vmbus_fcopy_resume(f.fc, id);
            break;
        case 16:
            f.now += 3 * SECOND;
            vmbus_fcopy_tick(f.fc);
            break;
        case 17:
            f.hold_reads = g_rand_boolean(rand);
            break;
        case 18 ... 22:
            if (f.hold_reads && f.read_len) {
                fcopy_give(&f, id);
            }
            break;
        case 23 ... 24:
            f.chan.send_result =
                g_rand_boolean(rand) ? VMBUS_RING_OK : VMBUS_RING_FULL;
            break;
        case 25 ... 26:
            fake_send_garbage(&f.chan, rand);
            break;
        default:
            vmbus_fcopy_info(f.fc, &info);
            if (fake_pending(&f.chan) &&
                info.service == VMBUS_FCOPY_SERVICE_READY) {
                FakeMessage msg;

                fake_pop_message(&f.chan, &msg);
                msg.header.status = statuses[g_rand_int_range(rand, 0, 6)];
                fake_answer(&f.chan, &msg);
                fake_message_clear(&msg);
                fake_signal(&f.chan);
            }
            break;
        }
        vmbus_fcopy_info(f.fc, &info);
        g_assert_cmpuint(started - f.ends, ==, info.copy != NULL);
        g_assert_true(!info.copy == (f.wake == UINT64_MAX));
        g_assert_cmpuint(vmbus_fcopy_port(f.fc)->in_flight, <=, 1);
        id = info.copy ? info.copy->id : id;
        done += f.state == VMBUS_FCOPY_DONE;
    }
    g_assert_cmpuint(started, >, 100);
    g_assert_cmpuint(done, >, 100);
    fcopy_teardown(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/fcopy/" path, FcopyFixture, NULL, setup_fn, fn, fcopy_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("start-refused", fcopy_setup_ready, test_start_refused);
    ADD("complete-fails", fcopy_setup_ready, test_complete_fails);
    ADD("not-resumed", fcopy_setup_ready, test_not_resumed);
    ADD("cancel", fcopy_setup_ready, test_cancel);
    ADD("cancel-resumed", fcopy_setup_ready, test_cancel_resumed);
    ADD("cancel-too-late", fcopy_setup_ready, test_cancel_too_late);
    ADD("read-fails", fcopy_setup_ready, test_read_fails);
    ADD("timeout", fcopy_setup_ready, test_timeout);
    ADD("timeout-cancel", fcopy_setup_ready, test_timeout_cancel);
    ADD("gone", fcopy_setup_ready, test_gone);
    ADD("full", fcopy_setup_ready, test_full);
    ADD("send-fails", fcopy_setup_ready, test_send_fails);
    g_test_add_func("/fcopy/random", test_random);
    return g_test_run();
}
