/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs of the key-value service: what they do, and what is refused. */
#include "kvp-fixture.h"

static void test_offer(void)
{
    static const uint8_t class_id[] = {0xe7, 0xf4, 0xa0, 0xa9, 0x45, 0x5a,
                                       0x96, 0x4d, 0xb8, 0x27, 0x8a, 0x84,
                                       0x1e, 0x8c, 0x03, 0xe6};

    g_assert_cmpmem(&vmbus_kvp_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_kvp_offer.pipe);
}

static void test_versions(KvpFixture *f, const void *data)
{
    static const uint8_t body[] = {
        2, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0,
        1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0,
    };
    static const uint32_t versions[] = {IC_VERSION(1, 0), IC_VERSION(3, 0),
                                        IC_VERSION(4, 0), IC_VERSION(5, 0)};
    static const uint32_t frameworks[] = {IC_VERSION(1, 0), IC_VERSION(3, 0)};
    VmbusKvpInfo info;
    FakeMessage msg;

    fake_open(&f->chan);
    g_assert_cmpint(f->state, ==, VMBUS_KVP_NEGOTIATING);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpmem(msg.body, msg.body_len, body, sizeof(body));
    fake_message_clear(&msg);
    for (int i = 0; i < 8; i++) {
        fake_close(&f->chan);
        fake_open(&f->chan);
        fake_negotiate(&f->chan, frameworks[i / 4], versions[i % 4]);
        vmbus_kvp_info(f->kvp, &info);
        g_assert_cmpint(info.state, ==, VMBUS_KVP_READY);
        g_assert_cmphex(info.message_version, ==, versions[i % 4]);
        g_assert_cmphex(info.framework_version, ==, frameworks[i / 4]);
        kvp_start(f, VMBUS_KVP_SET);
        kvp_answer(f, 0, NULL);
        g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
    }
}

static VmbusKvpResult refuse(KvpFixture *f, const VmbusKvpRequest *req)
{
    uint64_t id = 0;
    VmbusKvpResult result = vmbus_kvp_start(f->kvp, req, &id);

    g_assert_cmpint(result, !=, VMBUS_KVP_OK);
    g_assert_cmpuint(id, ==, 0);
    return result;
}

static void test_not_open(KvpFixture *f, const void *data)
{
    VmbusKvpRequest req = kvp_request(VMBUS_KVP_LIST);
    IcHeader header = {.flags = 5, .message_size = GUINT16_TO_LE(16)};

    g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_NOT_READY);
    fake_answer_with(&f->chan, &header, (uint8_t[16]){0}, 16);
    fake_signal(&f->chan);
    g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_UNUSABLE);
    fake_close(&f->chan);
    g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_NOT_OPEN);
    g_assert_cmpuint(f->ends, ==, 0);
}

static void test_bad_requests(KvpFixture *f, const void *data)
{
    g_autofree char *key254 = g_strnfill(254, 'k');
    g_autofree char *key255 = g_strnfill(255, 'k');
    g_autofree char *value1022 = g_strnfill(1022, 'v');
    g_autofree char *value1023 = g_strnfill(1023, 'v');
    g_autoptr(GString) wide = g_string_new(NULL);
    VmbusKvpRequest req = kvp_request(VMBUS_KVP_SET);
    uint64_t id;

#define REFUSE(member, value, expected)                                        \
    do {                                                                       \
        req = kvp_request(VMBUS_KVP_SET);                                      \
        req.member = (value);                                                  \
        g_assert_cmpint(refuse(f, &req), ==, expected);                        \
    } while (0)
    REFUSE(operation, VMBUS_KVP_OPERATIONS, VMBUS_KVP_BAD_REQUEST);
    REFUSE(timeout_ns, 0, VMBUS_KVP_BAD_REQUEST);
    REFUSE(pool, VMBUS_KVP_POOLS, VMBUS_KVP_BAD_POOL);
    REFUSE(key, NULL, VMBUS_KVP_NO_KEY);
    REFUSE(key, "", VMBUS_KVP_NO_KEY);
    REFUSE(key, "\xff", VMBUS_KVP_KEY_NOT_UTF8);
    REFUSE(key, key255, VMBUS_KVP_KEY_TOO_LONG);
    REFUSE(text, NULL, VMBUS_KVP_NO_VALUE);
    REFUSE(text, "\xc3", VMBUS_KVP_VALUE_NOT_UTF8);
    REFUSE(text, value1023, VMBUS_KVP_VALUE_TOO_LONG);
    REFUSE(type, VMBUS_KVP_U64, VMBUS_KVP_VALUE_TYPE);
    req.type = VMBUS_KVP_U32;
    req.number = UINT64_C(1) << 32;
    g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_VALUE_TYPE);
    /* In bytes of UTF-8: a Linux guest would cut it. */
    for (int i = 0; i < 683; i++) {
        g_string_append(wide, "\xe2\x82\xac");
    }
    REFUSE(text, wide->str, VMBUS_KVP_VALUE_TOO_LONG);
    REFUSE(key, wide->str, VMBUS_KVP_KEY_TOO_LONG);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);

    req = kvp_request(VMBUS_KVP_SET);
    req.key = key254;
    req.text = value1022;
    g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
    for (int op = VMBUS_KVP_FIND; op <= VMBUS_KVP_DELETE; op++) {
        req = kvp_request(op);
        req.key = key255;
        g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_KEY_TOO_LONG);
    }
}

static void test_set(KvpFixture *f, const void *data)
{
    VmbusKvpRequest req = kvp_request(VMBUS_KVP_SET);
    KvpWireMessage wire;
    uint64_t id;

    for (int pool = 0; pool < VMBUS_KVP_POOLS; pool++) {
        req.pool = pool;
        req.key = "K\xc3\xa4y";
        req.text = "\xf0\x9f\x92\xa4";
        g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
        wire = kvp_peek(f);
        g_assert_cmpuint(wire.header.operation, ==, 1);
        g_assert_cmpuint(wire.header.pool, ==, pool);
        g_assert_cmpuint(wire.item.type, ==, 1);
        g_assert_cmpuint(wire.item.key_size, ==, 8);
        g_assert_cmpmem(wire.item.key, 8, "K\0\xe4\0y\0\0\0", 8);
        g_assert_cmpuint(wire.item.value_size, ==, 6);
        g_assert_cmpmem(wire.item.value, 6, "\x3d\xd8\xa4\xdc\0\0", 6);
        kvp_answer(f, 0, NULL);
        g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
        g_assert_cmpuint(f->last_id, ==, id);
    }
    req.type = VMBUS_KVP_U32;
    req.number = 0x12345678;
    g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
    wire = kvp_peek(f);
    g_assert_cmpuint(wire.item.type, ==, 4);
    g_assert_cmpuint(wire.item.value_size, ==, 4);
    g_assert_cmpmem(wire.item.value, 5, "\x78\x56\x34\x12\0", 5);
}

static void test_delete(KvpFixture *f, const void *data)
{
    KvpWireMessage wire;

    kvp_start(f, VMBUS_KVP_DELETE);
    wire = kvp_peek(f);
    g_assert_cmpuint(wire.header.operation, ==, 2);
    g_assert_cmpuint(wire.remove.key_size, ==, 8);
    g_assert_cmpmem(wire.remove.key, 8, "k\0e\0y\0\0\0", 8);
    kvp_answer(f, 0, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
    kvp_start(f, VMBUS_KVP_DELETE);
    kvp_answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_NO_SUCH_KEY);
}

static void test_get(KvpFixture *f, const void *data)
{
    KvpWireMessage wire;
    const VmbusKvpJob *job;
    VmbusKvpItem *got;
    uint64_t id = kvp_start(f, VMBUS_KVP_GET);

    wire = kvp_peek(f);
    g_assert_cmpuint(wire.header.operation, ==, 0);
    g_assert_cmpuint(wire.item.key_size, ==, 8);
    wire.item.type = GUINT32_TO_LE(1);
    wire.item.value_size =
        2 * (kvp_put_text(wire.item.value, 1024, "value") + 1);
    kvp_answer(f, 0, &wire);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmpuint(job->items->len, ==, 1);
    got = job->items->pdata[0];
    g_assert_cmpstr(got->key, ==, "key");
    g_assert_cmpstr(got->text, ==, "value");

    id = kvp_start(f, VMBUS_KVP_GET);
    wire.item.value_size = GUINT32_TO_LE(3);
    kvp_answer(f, 0, &wire);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_BAD_ANSWER);
    g_assert_cmpstr(job->refusal, ==,
                    kvp_refusal_sentence(KVP_REFUSED_VALUE_ODD));
    g_assert_cmpstr(vmbus_kvp_port(f->kvp)->last_refusal, ==, job->refusal);
}

static void test_list(KvpFixture *f, const void *data)
{
    uint64_t id = kvp_start(f, VMBUS_KVP_LIST);
    KvpWireMessage wire;
    const VmbusKvpJob *job;

    for (int i = 0; i < 3; i++) {
        g_autofree char *key = g_strdup_printf("key%d", i);

        wire = kvp_peek(f);
        g_assert_cmpuint(wire.header.operation, ==, 3);
        g_assert_cmpuint(wire.enumerate.index, ==, i);
        kvp_answer_item(f, key, "v");
    }
    g_assert_cmpuint(f->ends, ==, 0);
    kvp_answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    g_assert_cmpuint(f->ends, ==, 1);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmphex(job->status, ==, KVP_STATUS_NO_MORE_ITEMS);
    g_assert_cmpuint(job->items->len, ==, 3);
    g_assert_cmpstr(((VmbusKvpItem *)job->items->pdata[2])->key, ==, "key2");
    g_assert_false(job->truncated);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
}

static void test_find(KvpFixture *f, const void *data)
{
    uint64_t id = kvp_start(f, VMBUS_KVP_FIND);
    const VmbusKvpJob *job;

    kvp_answer_item(f, "keys", "a");
    kvp_answer_item(f, "Key", "b");
    kvp_answer_item(f, "key", "c");
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmpuint(job->items->len, ==, 1);
    g_assert_cmpstr(((VmbusKvpItem *)job->items->pdata[0])->text, ==, "c");
    id = kvp_start(f, VMBUS_KVP_FIND);
    kvp_answer_item(f, "keys", "a");
    kvp_answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_NO_SUCH_KEY);
    g_assert_cmpuint(job->items->len, ==, 0);
}

/* One request at a time; the others wait for their turn, in order. */
static void test_one_at_a_time(KvpFixture *f, const void *data)
{
    VmbusKvpRequest req = kvp_request(VMBUS_KVP_LIST);
    uint64_t ids[VMBUS_KVP_MAX_JOBS];
    VmbusKvpInfo info;

    for (int i = 0; i < VMBUS_KVP_MAX_JOBS; i++) {
        ids[i] = kvp_start(f, VMBUS_KVP_SET);
    }
    g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_TOO_MANY_JOBS);
    for (int i = 0; i < VMBUS_KVP_MAX_JOBS; i++) {
        g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
        vmbus_kvp_info(f->kvp, &info);
        g_assert_cmpuint(info.jobs, ==, VMBUS_KVP_MAX_JOBS - i);
        g_assert_cmpint(vmbus_kvp_job(f->kvp, ids[i])->state, ==,
                        VMBUS_KVP_RUNNING);
        if (i < VMBUS_KVP_MAX_JOBS - 1) {
            g_assert_cmpint(vmbus_kvp_job(f->kvp, ids[i + 1])->state, ==,
                            VMBUS_KVP_WAITING);
        }
        kvp_answer(f, 0, NULL);
        g_assert_cmpuint(f->last_id, ==, ids[i]);
    }
    vmbus_kvp_info(f->kvp, &info);
    g_assert_cmpuint(info.requests, ==, VMBUS_KVP_MAX_JOBS);
    /* The last ones are kept. */
    g_assert_null(
        vmbus_kvp_job(f->kvp, ids[VMBUS_KVP_MAX_JOBS - VMBUS_KVP_KEPT - 1]));
    g_assert_nonnull(
        vmbus_kvp_job(f->kvp, ids[VMBUS_KVP_MAX_JOBS - VMBUS_KVP_KEPT]));
    g_assert_null(vmbus_kvp_job(f->kvp, 0));
}

static void test_names(void)
{
    static const char *const pools[] = {"external",      "guest",
                                        "auto",          "auto-external",
                                        "auto-internal", "unknown"};
    static const char *const states[] = {"closed", "negotiating", "ready",
                                         "unknown"};

    for (int i = 0; i < 6; i++) {
        g_assert_cmpstr(vmbus_kvp_pool_name(i), ==, pools[i]);
    }
    for (int i = 0; i < 4; i++) {
        g_assert_cmpstr(vmbus_kvp_state_name(i), ==, states[i]);
    }
    for (int i = 0; i <= VMBUS_KVP_RESULTS; i++) {
        g_assert_nonnull(vmbus_kvp_result_sentence(i));
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(vmbus_kvp_result_sentence(i), !=,
                            vmbus_kvp_result_sentence(j));
        }
    }
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/kvp/" path, KvpFixture, NULL, setup_fn, fn, kvp_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvp/offer", test_offer);
    ADD("versions", kvp_setup, test_versions);
    ADD("not-open", kvp_setup, test_not_open);
    ADD("bad-requests", kvp_setup_ready, test_bad_requests);
    ADD("set", kvp_setup_ready, test_set);
    ADD("delete", kvp_setup_ready, test_delete);
    ADD("get", kvp_setup_ready, test_get);
    ADD("list", kvp_setup_ready, test_list);
    ADD("find", kvp_setup_ready, test_find);
    ADD("one-at-a-time", kvp_setup_ready, test_one_at_a_time);
    g_test_add_func("/kvp/names", test_names);
    return g_test_run();
}
