/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Key-value jobs of a guest that is late, silent, gone or against them. */
#include "kvp-fixture.h"

/* An item that is no good is left out; the others are told all the same. */
static void test_list_skips(KvpFixture *f, const void *data)
{
    uint64_t id = kvp_start(f, VMBUS_KVP_LIST);
    KvpWireMessage bad = kvp_item("bad", "v");
    const VmbusKvpJob *job;

    bad.enumerate.item.key_size = GUINT32_TO_LE(7);
    kvp_answer_item(f, "a", "v");
    kvp_answer(f, 0, &bad);
    kvp_answer_item(f, "b", "v");
    kvp_answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmpuint(job->items->len, ==, 2);
    g_assert_cmpuint(job->skipped, ==, 1);
    g_assert_cmpstr(job->refusal, ==,
                    kvp_refusal_sentence(KVP_REFUSED_KEY_ODD));
}

static void test_list_fails(KvpFixture *f, const void *data)
{
    uint64_t id = kvp_start(f, VMBUS_KVP_LIST);

    kvp_answer_item(f, "a", "v");
    kvp_answer(f, IC_STATUS_FAIL, NULL);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, id)->result, ==, VMBUS_KVP_FAILED);
}

/* A guest that has items for ever. */
static void test_list_endless(KvpFixture *f, const void *data)
{
    uint64_t id = kvp_start(f, VMBUS_KVP_LIST);
    g_autofree char *large = g_strnfill(1022, 'v');
    const VmbusKvpJob *job;

    for (int i = 0; i < VMBUS_KVP_MAX_ITEMS; i++) {
        g_assert_cmpuint(f->ends, ==, 0);
        kvp_answer_item(f, "a", "v");
    }
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_true(job->truncated);
    g_assert_cmpuint(job->items->len, ==, VMBUS_KVP_MAX_ITEMS);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);

    id = kvp_start(f, VMBUS_KVP_LIST);
    while (f->ends == 1) {
        kvp_answer_item(f, "ab", large);
    }
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_true(job->truncated);
    g_assert_cmpuint(job->items->len, ==, VMBUS_KVP_MAX_BYTES / 1024);

    id = kvp_start(f, VMBUS_KVP_FIND);
    while (f->ends == 2) {
        kvp_answer_item(f, "a", "v");
    }
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_true(job->truncated);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_NO_SUCH_KEY);
}

static void test_statuses(KvpFixture *f, const void *data)
{
    static const struct {
        uint32_t status;
        VmbusKvpResult result;
    } table[] = {
        {0, VMBUS_KVP_OK},
        {0x80070103, VMBUS_KVP_NO_SUCH_KEY},
        {0x80041002, VMBUS_KVP_NO_SUCH_ADAPTER},
        {0x80070032, VMBUS_KVP_NOT_SUPPORTED},
        {0x80070057, VMBUS_KVP_INVALID},
        {0x8007048f, VMBUS_KVP_NOT_CONNECTED},
        {0x80004005, VMBUS_KVP_FAILED},
        {1, VMBUS_KVP_FAILED},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        uint64_t id = kvp_start(f, VMBUS_KVP_SET);

        kvp_answer(f, table[i].status, NULL);
        g_assert_cmpint(f->result, ==, table[i].result);
        g_assert_cmphex(vmbus_kvp_job(f->kvp, id)->status, ==, table[i].status);
    }
}

/* A guest that does not answer, and then does. */
static void test_deadline(KvpFixture *f, const void *data)
{
    uint64_t first = kvp_start(f, VMBUS_KVP_LIST), second;
    VmbusKvpInfo info;

    f->now += SECOND;
    second = kvp_start(f, VMBUS_KVP_SET);
    g_assert_cmpuint(f->wake, ==, 110 * SECOND);
    f->now = f->wake - 1;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpuint(f->ends, ==, 0);
    f->now = f->wake;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpuint(f->ends, ==, 1);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, first)->result, ==,
                    VMBUS_KVP_TIMEOUT);
    vmbus_kvp_info(f->kvp, &info);
    g_assert_true(info.answer_missing);
    g_assert_cmpuint(f->wake, ==, 111 * SECOND);
    f->now = f->wake;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, second)->result, ==,
                    VMBUS_KVP_NEVER_SENT);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    /* The late answer belongs to nobody, and frees the way. */
    second = kvp_start(f, VMBUS_KVP_SET);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, second)->state, ==,
                    VMBUS_KVP_WAITING);
    kvp_answer_item(f, "late", "v");
    g_assert_cmpuint(f->ends, ==, 2);
    g_assert_cmpuint(vmbus_kvp_port(f->kvp)->refused, ==, 0);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, second)->state, ==,
                    VMBUS_KVP_RUNNING);
    kvp_answer(f, 0, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
    vmbus_kvp_info(f->kvp, &info);
    g_assert_false(info.answer_missing);
}

/* The whole of a list has one deadline, not each of its steps. */
static void test_deadline_list(KvpFixture *f, const void *data)
{
    kvp_start(f, VMBUS_KVP_LIST);
    for (int i = 0; i < 9; i++) {
        f->now += SECOND;
        kvp_answer_item(f, "a", "v");
    }
    f->now += SECOND;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_TIMEOUT);
}

static void test_gone(KvpFixture *f, const void *data)
{
    kvp_start(f, VMBUS_KVP_LIST);
    kvp_start(f, VMBUS_KVP_SET);
    fake_close(&f->chan);
    g_assert_cmpuint(f->ends, ==, 2);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_GONE);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    kvp_open_ready(f);
    kvp_start(f, VMBUS_KVP_SET);
    kvp_answer(f, 0, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
}

static void test_full(KvpFixture *f, const void *data)
{
    uint64_t id;

    f->chan.send_result = VMBUS_RING_FULL;
    kvp_start(f, VMBUS_KVP_SET);
    f->chan.send_result = VMBUS_RING_OK;
    id = kvp_start(f, VMBUS_KVP_DELETE);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_signal(&f->chan);
    g_assert_cmpuint(kvp_peek(f).header.operation, ==, KVP_OP_SET);
    kvp_answer(f, 0, NULL);
    kvp_answer(f, 0, NULL);
    g_assert_cmpuint(f->last_id, ==, id);

    /* The one that found no room is gone when there is some. */
    f->chan.send_result = VMBUS_RING_FULL;
    kvp_start(f, VMBUS_KVP_SET);
    f->now += 10 * SECOND;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_TIMEOUT);
    f->chan.send_result = VMBUS_RING_OK;
    kvp_start(f, VMBUS_KVP_DELETE);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_signal(&f->chan);
    g_assert_cmpuint(kvp_peek(f).header.operation, ==, KVP_OP_DELETE);
}

static void test_send_fails(KvpFixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    kvp_start(f, VMBUS_KVP_SET);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_RING_TOO_SMALL);
    g_assert_cmpuint(f->ends, ==, 1);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    kvp_start(f, VMBUS_KVP_SET);
    g_assert_cmpuint(f->ends, ==, 2);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_GONE);
    g_assert_cmpint(f->state, ==, VMBUS_KVP_CLOSED);
}

static void random_answer(KvpFixture *f, GRand *rand)
{
    KvpWireMessage wire = kvp_item("key", "value");
    uint8_t *bytes = (uint8_t *)&wire;
    g_autofree uint8_t *body = NULL;

    if (!fake_pending(&f->chan) || f->state != VMBUS_KVP_READY) {
        return;
    }
    for (int i = g_rand_int_range(rand, 0, 4); i > 0; i--) {
        bytes[g_rand_int_range(rand, 0, 32)] = g_rand_int(rand);
    }
    body = g_malloc0(sizeof(KvpWireIpText));
    memcpy(body, &wire, sizeof(wire));
    kvp_answer(f, g_rand_boolean(rand) ? 0 : KVP_STATUS_NO_MORE_ITEMS, body);
}

static void random_start(KvpFixture *f, GRand *rand, unsigned *started)
{
    VmbusKvpRequest req =
        kvp_request(g_rand_int_range(rand, 0, VMBUS_KVP_OPERATIONS + 1));
    uint64_t id;

    req.pool = g_rand_int_range(rand, 0, 6);
    req.timeout_ns = g_rand_int_range(rand, 0, 5) * SECOND;
    *started += vmbus_kvp_start(f->kvp, &req, &id) == VMBUS_KVP_OK;
}

/* Whatever happens, each job ends once, and none is late by more than a tick.
 */
static void test_random(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(77);
    unsigned started = 0;
    KvpFixture f = {0};
    VmbusKvpInfo info;

    kvp_setup(&f, NULL);
    for (int i = 0; i < 60000; i++) {
        switch (g_rand_int_range(rand, 0, 40)) {
        case 0:
            fake_open_or_close(&f.chan);
            break;
        case 1 ... 3:
            if (f.state == VMBUS_KVP_NEGOTIATING && fake_pending(&f.chan)) {
                fake_negotiate(&f.chan, IC_VERSION(3, 0),
                               g_rand_boolean(rand) ? IC_VERSION(4, 0)
                                                    : IC_VERSION(5, 0));
            }
            break;
        case 4 ... 14:
            random_start(&f, rand, &started);
            break;
        case 15 ... 29:
            random_answer(&f, rand);
            break;
        case 30 ... 34:
            f.now += SECOND / 4;
            vmbus_kvp_tick(f.kvp);
            break;
        default:
            fake_send_garbage(&f.chan, rand);
            break;
        }
        vmbus_kvp_info(f.kvp, &info);
        g_assert_cmpuint(started - f.ends, ==, info.jobs);
        g_assert_true(!info.jobs == (f.wake == UINT64_MAX));
        g_assert_cmpuint(vmbus_kvp_port(f.kvp)->in_flight, <=, 1);
    }
    g_assert_cmpuint(started, >, 1000);
    kvp_teardown(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/kvp/" path, KvpFixture, NULL, setup_fn, fn, kvp_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("list-skips", kvp_setup_ready, test_list_skips);
    ADD("list-fails", kvp_setup_ready, test_list_fails);
    ADD("list-endless", kvp_setup_ready, test_list_endless);
    ADD("statuses", kvp_setup_ready, test_statuses);
    ADD("deadline", kvp_setup_ready, test_deadline);
    ADD("deadline-list", kvp_setup_ready, test_deadline_list);
    ADD("gone", kvp_setup_ready, test_gone);
    ADD("full", kvp_setup_ready, test_full);
    ADD("send-fails", kvp_setup_ready, test_send_fails);
    g_test_add_func("/kvp/random", test_random);
    return g_test_run();
}
