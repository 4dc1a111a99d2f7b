/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kvp-fixture.h"

static void ended(void *opaque, const VmbusKvpJob *job)
{
    KvpFixture *f = opaque;

    f->ends++;
    f->last_id = job->id;
    f->result = job->result;
    g_assert_cmpint(job->state, ==, VMBUS_KVP_ENDED);
}

static void changed(void *opaque, VmbusKvpState state)
{
    ((KvpFixture *)opaque)->state = state;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((KvpFixture *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((KvpFixture *)opaque)->now;
}

static const VmbusKvpOps ops = {ended, changed, wake_at, now_ns};

void kvp_setup(KvpFixture *f, const void *data)
{
    f->now = 100 * SECOND;
    f->wake = UINT64_MAX;
    f->kvp = vmbus_kvp_new(&ops, f);
    fake_init(&f->chan, &vmbus_kvp_channel_ops, f->kvp);
}

void kvp_open_ready(KvpFixture *f)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(f->state, ==, VMBUS_KVP_READY);
}

void kvp_setup_ready(KvpFixture *f, const void *data)
{
    kvp_setup(f, data);
    kvp_open_ready(f);
}

void kvp_teardown(KvpFixture *f, const void *data)
{
    vmbus_kvp_free(f->kvp);
    fake_clear(&f->chan);
}

VmbusKvpRequest kvp_request(VmbusKvpOperation operation)
{
    return (VmbusKvpRequest){
        .operation = operation,
        .pool = VMBUS_KVP_GUEST,
        .key = operation == VMBUS_KVP_LIST ? NULL : "key",
        .text = "value",
        .timeout_ns = 10 * SECOND,
    };
}

uint64_t kvp_start(KvpFixture *f, VmbusKvpOperation operation)
{
    VmbusKvpRequest req = kvp_request(operation);
    uint64_t id = 0;

    g_assert_cmpint(vmbus_kvp_start(f->kvp, &req, &id), ==, VMBUS_KVP_OK);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

void kvp_answer(KvpFixture *f, uint32_t status, const void *body)
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

KvpWireMessage kvp_peek(KvpFixture *f)
{
    GBytes *bytes = g_queue_peek_head(&f->chan.to_guest);
    KvpWireMessage wire;

    g_assert_nonnull(bytes);
    g_assert_cmpuint(g_bytes_get_size(bytes), ==, 28 + sizeof(wire));
    memcpy(&wire, (const uint8_t *)g_bytes_get_data(bytes, NULL) + 28,
           sizeof(wire));
    return wire;
}

KvpWireMessage kvp_item(const char *key, const char *value)
{
    KvpWireMessage wire = {0};
    KvpWireValue *out = &wire.enumerate.item;

    out->type = GUINT32_TO_LE(KVP_TYPE_STRING);
    out->key_size = 2 * (kvp_put_text(out->key, 256, key) + 1);
    out->value_size = 2 * (kvp_put_text(out->value, 1024, value) + 1);
    return wire;
}

void kvp_answer_item(KvpFixture *f, const char *key, const char *value)
{
    KvpWireMessage wire = kvp_item(key, value);

    kvp_answer(f, 0, &wire);
}
