/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs of the key-value service. */
#include "devices/ic.h"
#include "devices/kvp-wire.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)
#define V4     IC_VERSION(4, 0)

typedef struct Fixture {
    VmbusChannel chan;
    VmbusKvp *kvp;
    VmbusKvpState state;
    uint64_t now, wake;
    unsigned ends;
    uint64_t last_id;
    VmbusKvpResult result;
} Fixture;

static void ended(void *opaque, const VmbusKvpJob *job)
{
    Fixture *f = opaque;

    f->ends++;
    f->last_id = job->id;
    f->result = job->result;
    g_assert_cmpint(job->state, ==, VMBUS_KVP_ENDED);
}

static void changed(void *opaque, VmbusKvpState state)
{
    ((Fixture *)opaque)->state = state;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Fixture *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Fixture *)opaque)->now;
}

static const VmbusKvpOps ops = {ended, changed, wake_at, now_ns};

static void setup(Fixture *f, const void *data)
{
    f->now = 100 * SECOND;
    f->wake = UINT64_MAX;
    f->kvp = vmbus_kvp_new(&ops, f);
    fake_init(&f->chan, &vmbus_kvp_channel_ops, f->kvp);
}

static void open_ready(Fixture *f, uint32_t version)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), version);
    g_assert_cmpint(f->state, ==, VMBUS_KVP_READY);
}

static void setup_ready(Fixture *f, const void *data)
{
    setup(f, data);
    open_ready(f, V4);
}

static void teardown(Fixture *f, const void *data)
{
    vmbus_kvp_free(f->kvp);
    fake_clear(&f->chan);
}

static VmbusKvpRequest request_of(VmbusKvpOperation operation)
{
    return (VmbusKvpRequest){
        .operation = operation,
        .pool = VMBUS_KVP_GUEST,
        .key = operation == VMBUS_KVP_LIST ? NULL : "key",
        .text = "value",
        .timeout_ns = 10 * SECOND,
    };
}

static uint64_t start(Fixture *f, VmbusKvpOperation operation)
{
    VmbusKvpRequest req = request_of(operation);
    uint64_t id = 0;

    g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

static VmbusKvpResult refuse(Fixture *f, const VmbusKvpRequest *req)
{
    uint64_t id = 0;
    VmbusKvpResult result = vmbus_kvp_start(f->kvp, req, &id);

    g_assert_cmpint(result, !=, VMBUS_KVP_OK);
    g_assert_cmpuint(id, ==, 0);
    return result;
}

/* Answers the next request with @body, as long as the request. */
static void answer(Fixture *f, uint32_t status, const void *body)
{
    g_autofree uint8_t *copy = NULL;
    FakeMessage msg;

    fake_pop_message(&f->chan, &msg);
    g_assert_cmpuint(msg.header.message_type, ==, IC_MESSAGE_KVP);
    copy = g_memdup2(body ? body : msg.body, msg.body_len);
    msg.header.status = GUINT32_TO_LE(status);
    msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    fake_answer_with(&f->chan, &msg.header, copy, msg.body_len);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
}

/* Looks at the next request without taking it. */
static KvpWireMessage peek(Fixture *f)
{
    GBytes *bytes = g_queue_peek_head(&f->chan.to_guest);
    KvpWireMessage wire;

    g_assert_nonnull(bytes);
    g_assert_cmpuint(g_bytes_get_size(bytes), ==, 28 + sizeof(wire));
    memcpy(&wire, (const uint8_t *)g_bytes_get_data(bytes, NULL) + 28,
           sizeof(wire));
    return wire;
}

static KvpWireMessage item(const char *key, const char *value)
{
    KvpWireMessage wire = {0};
    KvpWireValue *out = &wire.enumerate.item;

    out->type = GUINT32_TO_LE(KVP_TYPE_STRING);
    out->key_size = 2 * (kvp_put_text(out->key, 256, key) + 1);
    out->value_size = 2 * (kvp_put_text(out->value, 1024, value) + 1);
    return wire;
}

static void answer_item(Fixture *f, const char *key, const char *value)
{
    KvpWireMessage wire = item(key, value);

    answer(f, 0, &wire);
}

static void test_offer(void)
{
    static const uint8_t class_id[] = {0xe7, 0xf4, 0xa0, 0xa9, 0x45, 0x5a,
                                       0x96, 0x4d, 0xb8, 0x27, 0x8a, 0x84,
                                       0x1e, 0x8c, 0x03, 0xe6};

    g_assert_cmpmem(&vmbus_kvp_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_kvp_offer.pipe);
}

static void test_versions(Fixture *f, const void *data)
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
        start(f, VMBUS_KVP_SET);
        answer(f, 0, NULL);
        g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
    }
}

static void test_not_open(Fixture *f, const void *data)
{
    VmbusKvpRequest req = request_of(VMBUS_KVP_LIST);
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

static void test_bad_requests(Fixture *f, const void *data)
{
    g_autofree char *key254 = g_strnfill(254, 'k');
    g_autofree char *key255 = g_strnfill(255, 'k');
    g_autofree char *value1022 = g_strnfill(1022, 'v');
    g_autofree char *value1023 = g_strnfill(1023, 'v');
    g_autoptr(GString) wide = g_string_new(NULL);
    VmbusKvpRequest req = request_of(VMBUS_KVP_SET);
    uint64_t id;

#define REFUSE(member, value, expected)                                        \
    do {                                                                       \
        req = request_of(VMBUS_KVP_SET);                                       \
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

    req = request_of(VMBUS_KVP_SET);
    req.key = key254;
    req.text = value1022;
    g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
    for (int op = VMBUS_KVP_FIND; op <= VMBUS_KVP_DELETE; op++) {
        req = request_of(op);
        req.key = key255;
        g_assert_cmpint(refuse(f, &req), ==, VMBUS_KVP_KEY_TOO_LONG);
    }
}

static void test_set(Fixture *f, const void *data)
{
    VmbusKvpRequest req = request_of(VMBUS_KVP_SET);
    KvpWireMessage wire;
    uint64_t id;

    for (int pool = 0; pool < VMBUS_KVP_POOLS; pool++) {
        req.pool = pool;
        req.key = "K\xc3\xa4y";
        req.text = "\xf0\x9f\x92\xa4";
        g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
        wire = peek(f);
        g_assert_cmpuint(wire.header.operation, ==, 1);
        g_assert_cmpuint(wire.header.pool, ==, pool);
        g_assert_cmpuint(wire.item.type, ==, 1);
        g_assert_cmpuint(wire.item.key_size, ==, 8);
        g_assert_cmpmem(wire.item.key, 8, "K\0\xe4\0y\0\0\0", 8);
        g_assert_cmpuint(wire.item.value_size, ==, 6);
        g_assert_cmpmem(wire.item.value, 6, "\x3d\xd8\xa4\xdc\0\0", 6);
        answer(f, 0, NULL);
        g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
        g_assert_cmpuint(f->last_id, ==, id);
    }
    req.type = VMBUS_KVP_U32;
    req.number = 0x12345678;
    g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
    wire = peek(f);
    g_assert_cmpuint(wire.item.type, ==, 4);
    g_assert_cmpuint(wire.item.value_size, ==, 4);
    g_assert_cmpmem(wire.item.value, 5, "\x78\x56\x34\x12\0", 5);
}

static void test_delete(Fixture *f, const void *data)
{
    KvpWireMessage wire;

    start(f, VMBUS_KVP_DELETE);
    wire = peek(f);
    g_assert_cmpuint(wire.header.operation, ==, 2);
    g_assert_cmpuint(wire.remove.key_size, ==, 8);
    g_assert_cmpmem(wire.remove.key, 8, "k\0e\0y\0\0\0", 8);
    answer(f, 0, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
    start(f, VMBUS_KVP_DELETE);
    answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_NO_SUCH_KEY);
}

static void test_get(Fixture *f, const void *data)
{
    KvpWireMessage wire;
    const VmbusKvpJob *job;
    VmbusKvpItem *got;
    uint64_t id = start(f, VMBUS_KVP_GET);

    wire = peek(f);
    g_assert_cmpuint(wire.header.operation, ==, 0);
    g_assert_cmpuint(wire.item.key_size, ==, 8);
    wire.item.type = GUINT32_TO_LE(1);
    wire.item.value_size =
        2 * (kvp_put_text(wire.item.value, 1024, "value") + 1);
    answer(f, 0, &wire);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmpuint(job->items->len, ==, 1);
    got = job->items->pdata[0];
    g_assert_cmpstr(got->key, ==, "key");
    g_assert_cmpstr(got->text, ==, "value");

    id = start(f, VMBUS_KVP_GET);
    wire.item.value_size = GUINT32_TO_LE(3);
    answer(f, 0, &wire);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_BAD_ANSWER);
    g_assert_cmpstr(job->refusal, ==,
                    kvp_refusal_sentence(KVP_REFUSED_VALUE_ODD));
    g_assert_cmpstr(vmbus_kvp_port(f->kvp)->last_refusal, ==, job->refusal);
}

static void test_list(Fixture *f, const void *data)
{
    uint64_t id = start(f, VMBUS_KVP_LIST);
    KvpWireMessage wire;
    const VmbusKvpJob *job;

    for (int i = 0; i < 3; i++) {
        g_autofree char *key = g_strdup_printf("key%d", i);

        wire = peek(f);
        g_assert_cmpuint(wire.header.operation, ==, 3);
        g_assert_cmpuint(wire.enumerate.index, ==, i);
        answer_item(f, key, "v");
    }
    g_assert_cmpuint(f->ends, ==, 0);
    answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    g_assert_cmpuint(f->ends, ==, 1);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmphex(job->status, ==, KVP_STATUS_NO_MORE_ITEMS);
    g_assert_cmpuint(job->items->len, ==, 3);
    g_assert_cmpstr(((VmbusKvpItem *)job->items->pdata[2])->key, ==, "key2");
    g_assert_false(job->truncated);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
}

/* An item that is no good is left out; the others are told all the same. */
static void test_list_skips(Fixture *f, const void *data)
{
    uint64_t id = start(f, VMBUS_KVP_LIST);
    KvpWireMessage bad = item("bad", "v");
    const VmbusKvpJob *job;

    bad.enumerate.item.key_size = GUINT32_TO_LE(7);
    answer_item(f, "a", "v");
    answer(f, 0, &bad);
    answer_item(f, "b", "v");
    answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmpuint(job->items->len, ==, 2);
    g_assert_cmpuint(job->skipped, ==, 1);
    g_assert_cmpstr(job->refusal, ==,
                    kvp_refusal_sentence(KVP_REFUSED_KEY_ODD));
}

static void test_list_fails(Fixture *f, const void *data)
{
    uint64_t id = start(f, VMBUS_KVP_LIST);

    answer_item(f, "a", "v");
    answer(f, IC_STATUS_FAIL, NULL);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, id)->result, ==, VMBUS_KVP_FAILED);
}

/* A guest that has items for ever. */
static void test_list_endless(Fixture *f, const void *data)
{
    uint64_t id = start(f, VMBUS_KVP_LIST);
    g_autofree char *large = g_strnfill(1022, 'v');
    const VmbusKvpJob *job;

    for (int i = 0; i < VMBUS_KVP_MAX_ITEMS; i++) {
        g_assert_cmpuint(f->ends, ==, 0);
        answer_item(f, "a", "v");
    }
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_true(job->truncated);
    g_assert_cmpuint(job->items->len, ==, VMBUS_KVP_MAX_ITEMS);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);

    id = start(f, VMBUS_KVP_LIST);
    while (f->ends == 1) {
        answer_item(f, "ab", large);
    }
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_true(job->truncated);
    g_assert_cmpuint(job->items->len, ==, VMBUS_KVP_MAX_BYTES / 1024);

    id = start(f, VMBUS_KVP_FIND);
    while (f->ends == 2) {
        answer_item(f, "a", "v");
    }
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_true(job->truncated);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_NO_SUCH_KEY);
}

static void test_find(Fixture *f, const void *data)
{
    uint64_t id = start(f, VMBUS_KVP_FIND);
    const VmbusKvpJob *job;

    answer_item(f, "keys", "a");
    answer_item(f, "Key", "b");
    answer_item(f, "key", "c");
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_OK);
    g_assert_cmpuint(job->items->len, ==, 1);
    g_assert_cmpstr(((VmbusKvpItem *)job->items->pdata[0])->text, ==, "c");
    id = start(f, VMBUS_KVP_FIND);
    answer_item(f, "keys", "a");
    answer(f, KVP_STATUS_NO_MORE_ITEMS, NULL);
    job = vmbus_kvp_job(f->kvp, id);
    g_assert_cmpint(job->result, ==, VMBUS_KVP_NO_SUCH_KEY);
    g_assert_cmpuint(job->items->len, ==, 0);
}

static void test_statuses(Fixture *f, const void *data)
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
        uint64_t id = start(f, VMBUS_KVP_SET);

        answer(f, table[i].status, NULL);
        g_assert_cmpint(f->result, ==, table[i].result);
        g_assert_cmphex(vmbus_kvp_job(f->kvp, id)->status, ==, table[i].status);
    }
}

/* One request at a time; the others wait for their turn, in order. */
static void test_one_at_a_time(Fixture *f, const void *data)
{
    VmbusKvpRequest req = request_of(VMBUS_KVP_LIST);
    uint64_t ids[VMBUS_KVP_MAX_JOBS];
    VmbusKvpInfo info;

    for (int i = 0; i < VMBUS_KVP_MAX_JOBS; i++) {
        ids[i] = start(f, VMBUS_KVP_SET);
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
        answer(f, 0, NULL);
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

/* A guest that does not answer, and then does. */
static void test_deadline(Fixture *f, const void *data)
{
    uint64_t first = start(f, VMBUS_KVP_LIST), second;
    VmbusKvpInfo info;

    f->now += SECOND;
    second = start(f, VMBUS_KVP_SET);
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
    second = start(f, VMBUS_KVP_SET);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, second)->state, ==,
                    VMBUS_KVP_WAITING);
    answer_item(f, "late", "v");
    g_assert_cmpuint(f->ends, ==, 2);
    g_assert_cmpuint(vmbus_kvp_port(f->kvp)->refused, ==, 0);
    g_assert_cmpint(vmbus_kvp_job(f->kvp, second)->state, ==,
                    VMBUS_KVP_RUNNING);
    answer(f, 0, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
    vmbus_kvp_info(f->kvp, &info);
    g_assert_false(info.answer_missing);
}

/* The whole of a list has one deadline, not each of its steps. */
static void test_deadline_list(Fixture *f, const void *data)
{
    start(f, VMBUS_KVP_LIST);
    for (int i = 0; i < 9; i++) {
        f->now += SECOND;
        answer_item(f, "a", "v");
    }
    f->now += SECOND;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_TIMEOUT);
}

static void test_gone(Fixture *f, const void *data)
{
    start(f, VMBUS_KVP_LIST);
    start(f, VMBUS_KVP_SET);
    fake_close(&f->chan);
    g_assert_cmpuint(f->ends, ==, 2);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_GONE);
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    open_ready(f, V4);
    start(f, VMBUS_KVP_SET);
    answer(f, 0, NULL);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_OK);
}

static void test_full(Fixture *f, const void *data)
{
    uint64_t id;

    f->chan.send_result = VMBUS_RING_FULL;
    start(f, VMBUS_KVP_SET);
    f->chan.send_result = VMBUS_RING_OK;
    id = start(f, VMBUS_KVP_DELETE);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_signal(&f->chan);
    g_assert_cmpuint(peek(f).header.operation, ==, KVP_OP_SET);
    answer(f, 0, NULL);
    answer(f, 0, NULL);
    g_assert_cmpuint(f->last_id, ==, id);

    /* The one that found no room is gone when there is some. */
    f->chan.send_result = VMBUS_RING_FULL;
    start(f, VMBUS_KVP_SET);
    f->now += 10 * SECOND;
    vmbus_kvp_tick(f->kvp);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_TIMEOUT);
    f->chan.send_result = VMBUS_RING_OK;
    start(f, VMBUS_KVP_DELETE);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
    fake_signal(&f->chan);
    g_assert_cmpuint(peek(f).header.operation, ==, KVP_OP_DELETE);
}

static void test_send_fails(Fixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    start(f, VMBUS_KVP_SET);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_RING_TOO_SMALL);
    g_assert_cmpuint(f->ends, ==, 1);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    start(f, VMBUS_KVP_SET);
    g_assert_cmpuint(f->ends, ==, 2);
    g_assert_cmpint(f->result, ==, VMBUS_KVP_GONE);
    g_assert_cmpint(f->state, ==, VMBUS_KVP_CLOSED);
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

static void random_answer(Fixture *f, GRand *rand)
{
    KvpWireMessage wire = item("key", "value");
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
    answer(f, g_rand_boolean(rand) ? 0 : KVP_STATUS_NO_MORE_ITEMS, body);
}

static void random_start(Fixture *f, GRand *rand, unsigned *started)
{
    VmbusKvpRequest req =
        request_of(g_rand_int_range(rand, 0, VMBUS_KVP_OPERATIONS + 1));
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
    Fixture f = {0};
    VmbusKvpInfo info;

    setup(&f, NULL);
    for (int i = 0; i < 60000; i++) {
        switch (g_rand_int_range(rand, 0, 40)) {
        case 0:
            if (f.chan.open) {
                fake_close(&f.chan);
            } else {
                fake_open(&f.chan);
            }
            break;
        case 1 ... 3:
            if (f.state == VMBUS_KVP_NEGOTIATING && fake_pending(&f.chan)) {
                fake_negotiate(&f.chan, IC_VERSION(3, 0),
                               g_rand_boolean(rand) ? V4 : IC_VERSION(5, 0));
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
            fake_push_garbage(&f.chan, rand);
            fake_signal(&f.chan);
            break;
        }
        vmbus_kvp_info(f.kvp, &info);
        g_assert_cmpuint(started - f.ends, ==, info.jobs);
        g_assert_true(!info.jobs == (f.wake == UINT64_MAX));
        g_assert_cmpuint(vmbus_kvp_port(f.kvp)->in_flight, <=, 1);
    }
    g_assert_cmpuint(started, >, 1000);
    teardown(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/kvp/" path, Fixture, NULL, setup_fn, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvp/offer", test_offer);
    ADD("versions", setup, test_versions);
    ADD("not-open", setup, test_not_open);
    ADD("bad-requests", setup_ready, test_bad_requests);
    ADD("set", setup_ready, test_set);
    ADD("delete", setup_ready, test_delete);
    ADD("get", setup_ready, test_get);
    ADD("list", setup_ready, test_list);
    ADD("list-skips", setup_ready, test_list_skips);
    ADD("list-fails", setup_ready, test_list_fails);
    ADD("list-endless", setup_ready, test_list_endless);
    ADD("find", setup_ready, test_find);
    ADD("statuses", setup_ready, test_statuses);
    ADD("one-at-a-time", setup_ready, test_one_at_a_time);
    ADD("deadline", setup_ready, test_deadline);
    ADD("deadline-list", setup_ready, test_deadline_list);
    ADD("gone", setup_ready, test_gone);
    ADD("full", setup_ready, test_full);
    ADD("send-fails", setup_ready, test_send_fails);
    g_test_add_func("/kvp/names", test_names);
    g_test_add_func("/kvp/random", test_random);
    return g_test_run();
}
