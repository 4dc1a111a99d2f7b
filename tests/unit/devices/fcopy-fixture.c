/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fcopy-fixture.h"

void fcopy_give(FcopyFixture *f, uint64_t id)
{
    vmbus_fcopy_data(f->fc, id, f->read_offset, f->file->str + f->read_offset,
                     f->read_len);
}

static void read_file(void *opaque, uint64_t id, uint64_t offset, uint32_t len)
{
    FcopyFixture *f = opaque;

    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(len, <=, 6144);
    f->reads++;
    f->read_offset = offset;
    f->read_len = len;
    if (!f->hold_reads) {
        fcopy_give(f, id);
    }
}

static void progress(void *opaque, const VmbusFcopyCopy *copy)
{
    ((FcopyFixture *)opaque)->progresses++;
}

static void changed(void *opaque, const VmbusFcopyCopy *copy)
{
    FcopyFixture *f = opaque;

    f->changes++;
    f->state = copy->state;
    f->result = copy->result;
    f->ends += vmbus_fcopy_state_ended(copy->state);
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((FcopyFixture *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((FcopyFixture *)opaque)->now;
}

static const VmbusFcopyOps ops = {read_file, progress, changed, wake_at,
                                  now_ns};

void fcopy_setup(FcopyFixture *f, const void *data)
{
    f->now = 100 * SECOND;
    f->wake = UINT64_MAX;
    f->fc = vmbus_fcopy_new(&ops, f);
    f->file = g_string_new(NULL);
    f->guest = g_byte_array_new();
    for (int i = 0; i < 20000; i++) {
        g_string_append_c(f->file, 'a' + i % 23);
    }
    fake_init(&f->chan, &vmbus_fcopy_channel_ops, f->fc);
}

void fcopy_open_ready(FcopyFixture *f)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(1, 1));
}

void fcopy_setup_ready(FcopyFixture *f, const void *data)
{
    fcopy_setup(f, data);
    fcopy_open_ready(f);
}

void fcopy_teardown(FcopyFixture *f, const void *data)
{
    vmbus_fcopy_free(f->fc);
    fake_clear(&f->chan);
    g_string_free(f->file, TRUE);
    g_byte_array_unref(f->guest);
}

VmbusFcopyRequest fcopy_request(const FcopyFixture *f)
{
    return (VmbusFcopyRequest){
        .path = "/tmp/dir/file",
        .size = f->file->len,
        .step_ns = 10 * SECOND,
        .hold_ns = 30 * SECOND,
    };
}

uint64_t fcopy_start(FcopyFixture *f)
{
    VmbusFcopyRequest req = fcopy_request(f);
    uint64_t id = 0;

    g_assert_cmpint(vmbus_fcopy_start(f->fc, &req, &id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

VmbusFcopyResult fcopy_try_start(FcopyFixture *f)
{
    VmbusFcopyRequest req = fcopy_request(f);
    uint64_t id;

    return vmbus_fcopy_start(f->fc, &req, &id);
}

int fcopy_next_operation(FcopyFixture *f)
{
    GBytes *bytes = g_queue_peek_head(&f->chan.to_guest);
    const uint8_t *data;

    if (!bytes) {
        return -1;
    }
    data = g_bytes_get_data(bytes, NULL);
    return data[28];
}

void fcopy_answer(FcopyFixture *f, uint32_t status)
{
    FcopyWireWrite write;
    FakeMessage msg;

    fake_pop_message(&f->chan, &msg);
    g_assert_cmpuint(msg.header.message_type, ==, 7);
    if (msg.body[0] == FCOPY_OP_WRITE && !status) {
        g_assert_cmpuint(msg.body_len, ==, sizeof(write));
        memcpy(&write, msg.body, sizeof(write));
        g_assert_cmpuint(write.offset, ==, f->guest->len);
        g_byte_array_append(f->guest, write.data, write.size);
    } else if (msg.body[0] == FCOPY_OP_START) {
        g_byte_array_set_size(f->guest, 0);
    }
    msg.header.status = GUINT32_TO_LE(status);
    fake_answer(&f->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&f->chan);
}

void fcopy_expect(FcopyFixture *f, FcopyWireOperation operation,
                  uint32_t status)
{
    g_assert_cmpint(fcopy_next_operation(f), ==, operation);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    fcopy_answer(f, status);
}

const VmbusFcopyCopy *fcopy_finish(FcopyFixture *f, uint64_t id)
{
    while (fcopy_next_operation(f) >= 0) {
        fcopy_answer(f, 0);
    }
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    return vmbus_fcopy_copy(f->fc, id);
}

void fcopy_assert_copied(FcopyFixture *f, uint64_t id)
{
    const VmbusFcopyCopy *copy = fcopy_finish(f, id);
    g_autofree char *sum = g_compute_checksum_for_data(
        G_CHECKSUM_SHA256, (const guchar *)f->file->str, f->file->len);

    g_assert_cmpint(copy->state, ==, VMBUS_FCOPY_DONE);
    g_assert_cmpint(copy->result, ==, VMBUS_FCOPY_OK);
    g_assert_cmpuint(copy->copied, ==, f->file->len);
    g_assert_cmpstr(copy->sha256, ==, sum);
    g_assert_cmpmem(f->guest->data, f->guest->len, f->file->str, f->file->len);
}
