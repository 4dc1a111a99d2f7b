/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/fcopy-protocol.h"
#include "devices/fcopy.h"
#include "devices/ic.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)
#define FAIL   0x80004005u

typedef struct Fixture {
    VmbusChannel chan;
    VmbusFcopy *fc;
    uint64_t now, wake;
    GString *file;
    bool hold_reads; /* the file is slow */
    uint64_t read_offset;
    uint32_t read_len;
    unsigned reads, progresses, changes, ends;
    VmbusFcopyState state;
    VmbusFcopyResult result;
    GByteArray *guest; /* the file in the guest */
} Fixture;

static void give(Fixture *f, uint64_t id)
{
    vmbus_fcopy_data(f->fc, id, f->read_offset, f->file->str + f->read_offset,
                     f->read_len);
}

static void read_file(void *opaque, uint64_t id, uint64_t offset, uint32_t len)
{
    Fixture *f = opaque;

    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(len, <=, 6144);
    f->reads++;
    f->read_offset = offset;
    f->read_len = len;
    if (!f->hold_reads) {
        give(f, id);
    }
}

static void progress(void *opaque, const VmbusFcopyCopy *copy)
{
    ((Fixture *)opaque)->progresses++;
}

static void changed(void *opaque, const VmbusFcopyCopy *copy)
{
    Fixture *f = opaque;

    f->changes++;
    f->state = copy->state;
    f->result = copy->result;
    f->ends += vmbus_fcopy_state_ended(copy->state);
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Fixture *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Fixture *)opaque)->now;
}

static const VmbusFcopyOps ops = {read_file, progress, changed, wake_at,
                                  now_ns};

static void setup(Fixture *f, const void *data)
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

static void open_ready(Fixture *f)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(1, 1));
}

static void setup_ready(Fixture *f, const void *data)
{
    setup(f, data);
    open_ready(f);
}

static void teardown(Fixture *f, const void *data)
{
    vmbus_fcopy_free(f->fc);
    fake_clear(&f->chan);
    g_string_free(f->file, TRUE);
    g_byte_array_unref(f->guest);
}

static VmbusFcopyRequest request_of(const Fixture *f)
{
    return (VmbusFcopyRequest){
        .path = "/tmp/dir/file",
        .size = f->file->len,
        .step_ns = 10 * SECOND,
        .hold_ns = 30 * SECOND,
    };
}

static uint64_t start(Fixture *f)
{
    VmbusFcopyRequest req = request_of(f);
    uint64_t id = 0;

    g_assert_cmpint(vmbus_fcopy_start(f->fc, &req, &id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

static VmbusFcopyResult try_start(Fixture *f)
{
    VmbusFcopyRequest req = request_of(f);
    uint64_t id;

    return vmbus_fcopy_start(f->fc, &req, &id);
}

/* What is asked next; -1: nothing. */
static int next_operation(Fixture *f)
{
    GBytes *bytes = g_queue_peek_head(&f->chan.to_guest);
    const uint8_t *data;

    if (!bytes) {
        return -1;
    }
    data = g_bytes_get_data(bytes, NULL);
    return data[28];
}

/* Answers as Linux's driver does; keeps what is written. */
static void answer(Fixture *f, uint32_t status)
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

static void expect(Fixture *f, FcopyWireOperation operation, uint32_t status)
{
    g_assert_cmpint(next_operation(f), ==, operation);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 1);
    answer(f, status);
}

static const VmbusFcopyCopy *finish(Fixture *f, uint64_t id)
{
    while (next_operation(f) >= 0) {
        answer(f, 0);
    }
    g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    return vmbus_fcopy_copy(f->fc, id);
}

static void assert_copied(Fixture *f, uint64_t id)
{
    const VmbusFcopyCopy *copy = finish(f, id);
    g_autofree char *sum = g_compute_checksum_for_data(
        G_CHECKSUM_SHA256, (const guchar *)f->file->str, f->file->len);

    g_assert_cmpint(copy->state, ==, VMBUS_FCOPY_DONE);
    g_assert_cmpint(copy->result, ==, VMBUS_FCOPY_OK);
    g_assert_cmpuint(copy->copied, ==, f->file->len);
    g_assert_cmpstr(copy->sha256, ==, sum);
    g_assert_cmpmem(f->guest->data, f->guest->len, f->file->str, f->file->len);
}

static void test_offer(void)
{
    static const uint8_t class_id[] = {0xe3, 0x4b, 0xd1, 0x34, 0xe4, 0xde,
                                       0xc8, 0x41, 0x9a, 0xe7, 0x6b, 0x17,
                                       0x49, 0x77, 0xc1, 0x92};

    g_assert_cmpmem(&vmbus_fcopy_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_fcopy_offer.pipe);
}

static void test_versions(Fixture *f, const void *data)
{
    static const uint8_t body[] = {2, 0, 1, 0, 0, 0, 0, 0, 1, 0,
                                   0, 0, 3, 0, 0, 0, 1, 0, 1, 0};
    VmbusFcopyInfo info;
    FakeMessage msg;

    fake_open(&f->chan);
    fake_pop_message(&f->chan, &msg);
    g_assert_cmpmem(msg.body, msg.body_len, body, sizeof(body));
    fake_message_clear(&msg);
    for (int i = 0; i < 2; i++) {
        fake_close(&f->chan);
        fake_open(&f->chan);
        fake_negotiate(&f->chan, i ? IC_VERSION(3, 0) : IC_VERSION(1, 0),
                       IC_VERSION(1, 1));
        vmbus_fcopy_info(f->fc, &info);
        g_assert_cmpint(info.service, ==, VMBUS_FCOPY_SERVICE_READY);
        g_assert_cmphex(info.message_version, ==, IC_VERSION(1, 1));
        assert_copied(f, start(f));
    }
}

static void test_not_open(Fixture *f, const void *data)
{
    IcHeader header = {.flags = 5, .message_size = GUINT16_TO_LE(16)};

    g_assert_cmpint(try_start(f), ==, VMBUS_FCOPY_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(try_start(f), ==, VMBUS_FCOPY_NOT_READY);
    fake_answer_with(&f->chan, &header, (uint8_t[16]){0}, 16);
    fake_signal(&f->chan);
    g_assert_cmpint(try_start(f), ==, VMBUS_FCOPY_UNUSABLE);
    g_assert_cmpuint(f->changes, ==, 0);
}

static void test_messages(Fixture *f, const void *data)
{
    VmbusFcopyRequest req = request_of(f);
    FcopyWireStart wire;
    FakeMessage msg;
    uint64_t id;

    for (int flags = 0; flags < 4; flags++) {
        fake_close(&f->chan);
        open_ready(f);
        req.overwrite = flags & 1;
        req.create_path = flags & 2;
        g_assert_cmpint(vmbus_fcopy_start(f->fc, &req, &id), ==,
                        VMBUS_FCOPY_OK);
        fake_pop_message(&f->chan, &msg);
        g_assert_cmpuint(msg.body_len, ==, 1088);
        memcpy(&wire, msg.body, sizeof(wire));
        g_assert_cmpuint(wire.header.operation, ==, 0);
        g_assert_cmpuint(wire.flags, ==, flags);
        g_assert_cmpuint(wire.size, ==, 20000);
        g_assert_cmpmem(msg.body + 36, 10, "f\0i\0l\0e\0\0\0", 10);
        /* With its separator: else Linux neither finds nor makes it. */
        g_assert_cmpmem(msg.body + 556, 20, "/\0t\0m\0p\0/\0d\0i\0r\0/\0\0\0",
                        20);
        fake_message_clear(&msg);
    }
}

static void test_copy(Fixture *f, const void *data)
{
    uint64_t id = start(f);
    VmbusFcopyInfo info;

    expect(f, FCOPY_OP_START, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_COPYING);
    for (int i = 0; i < 4; i++) {
        vmbus_fcopy_info(f->fc, &info);
        g_assert_cmpuint(info.copy->copied, ==, i * 6144);
        expect(f, FCOPY_OP_WRITE, 0);
    }
    g_assert_cmpuint(f->progresses, ==, 4);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_COMPLETING);
    expect(f, FCOPY_OP_COMPLETE, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_DONE);
    assert_copied(f, id);
    vmbus_fcopy_info(f->fc, &info);
    g_assert_null(info.copy);
    g_assert_cmpuint(info.copies, ==, 1);
    g_assert_cmpuint(f->ends, ==, 1);
}

static void test_sizes(Fixture *f, const void *data)
{
    static const unsigned sizes[] = {0, 1, 6143, 6144, 6145, 12288};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_string_set_size(f->file, sizes[i]);
        memset(f->file->str, 'x', sizes[i]);
        assert_copied(f, start(f));
    }
}

static void test_start_refused(Fixture *f, const void *data)
{
    static const struct {
        uint32_t status;
        VmbusFcopyResult result;
    } table[] = {
        {0x80070050, VMBUS_FCOPY_EXISTS},
        {0x80070070, VMBUS_FCOPY_DISK_FULL},
        {0x80070057, VMBUS_FCOPY_INVALID},
        {0x80070032, VMBUS_FCOPY_NOT_SUPPORTED},
        {FAIL, VMBUS_FCOPY_START_FAILED},
        {1, VMBUS_FCOPY_START_FAILED},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        uint64_t id = start(f);
        const VmbusFcopyCopy *copy;

        expect(f, FCOPY_OP_START, table[i].status);
        copy = vmbus_fcopy_copy(f->fc, id);
        g_assert_cmpint(copy->state, ==, VMBUS_FCOPY_FAILED);
        g_assert_cmpint(copy->result, ==, table[i].result);
        g_assert_cmphex(copy->status, ==, table[i].status);
        g_assert_null(copy->sha256);
        /* There is no file to drop. */
        g_assert_cmpint(next_operation(f), ==, -1);
        g_assert_cmpuint(f->wake, ==, UINT64_MAX);
    }
}

static void test_complete_fails(Fixture *f, const void *data)
{
    g_string_set_size(f->file, 0);
    start(f);
    expect(f, FCOPY_OP_START, 0);
    expect(f, FCOPY_OP_COMPLETE, FAIL);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_COMPLETE_FAILED);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
}

/* The fragment that found the disk full is sent again. */
static void test_resume_disk_full(Fixture *f, const void *data)
{
    uint64_t id = start(f);

    expect(f, FCOPY_OP_START, 0);
    expect(f, FCOPY_OP_WRITE, 0);
    expect(f, FCOPY_OP_WRITE, FCOPY_STATUS_DISK_FULL);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_STOPPED);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_DISK_FULL);
    g_assert_cmpint(next_operation(f), ==, -1);
    g_assert_cmpuint(f->wake, ==, 130 * SECOND);
    g_assert_cmpint(try_start(f), ==, VMBUS_FCOPY_BUSY);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_NOT_STOPPED);
    expect(f, FCOPY_OP_WRITE, FCOPY_STATUS_DISK_FULL);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpuint(f->reads, ==, 2);
    assert_copied(f, id);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_ENDED);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id + 1), ==,
                    VMBUS_FCOPY_NO_SUCH_COPY);
}

/* After another error the file may be nobody's: it is begun anew. */
static void test_resume_failed(Fixture *f, const void *data)
{
    uint64_t id = start(f);
    GBytes *bytes;

    expect(f, FCOPY_OP_START, 0);
    expect(f, FCOPY_OP_WRITE, 0);
    expect(f, FCOPY_OP_WRITE, FAIL);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_WRITE_FAILED);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_OK);
    bytes = g_queue_peek_head(&f->chan.to_guest);
    g_assert_cmpint(next_operation(f), ==, FCOPY_OP_START);
    /* It may overwrite what it wrote. */
    g_assert_cmpuint(
        ((const uint8_t *)g_bytes_get_data(bytes, NULL))[28 + 1076], ==,
        FCOPY_OVERWRITE);
    assert_copied(f, id);
    g_assert_cmpuint(f->ends, ==, 1);
}

static void test_not_resumed(Fixture *f, const void *data)
{
    start(f);
    expect(f, FCOPY_OP_START, 0);
    expect(f, FCOPY_OP_WRITE, FCOPY_STATUS_DISK_FULL);
    f->now = f->wake - 1;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_STOPPED);
    f->now++;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLING);
    expect(f, FCOPY_OP_CANCEL, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_NOT_RESUMED);
}

static void test_cancel(Fixture *f, const void *data)
{
    uint64_t id = start(f);

    /* While the guest creates it. */
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id + 1), ==,
                    VMBUS_FCOPY_NO_SUCH_COPY);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLING);
    expect(f, FCOPY_OP_START, 0);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    expect(f, FCOPY_OP_CANCEL, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_WAS_CANCELLED);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_ENDED);

    /* While it is read, and while it is stopped. */
    for (int i = 0; i < 2; i++) {
        f->hold_reads = i == 0;
        id = start(f);
        expect(f, FCOPY_OP_START, 0);
        if (i == 1) {
            expect(f, FCOPY_OP_WRITE, FAIL);
        }
        g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
        give(f, id); /* too late */
        vmbus_fcopy_read_failed(f->fc, id, VMBUS_FCOPY_READ_FAILED);
        expect(f, FCOPY_OP_CANCEL, FAIL);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    }

    /* Before anything is sent. */
    f->chan.send_result = VMBUS_RING_FULL;
    id = start(f);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    g_assert_cmpint(next_operation(f), ==, -1);
    assert_copied(f, start(f));
}

static void test_cancel_resumed(Fixture *f, const void *data)
{
    uint64_t id = start(f);

    expect(f, FCOPY_OP_START, 0);
    expect(f, FCOPY_OP_WRITE, FAIL);
    vmbus_fcopy_resume(f->fc, id);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_OK);
    expect(f, FCOPY_OP_START, 0);
    expect(f, FCOPY_OP_CANCEL, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    g_assert_cmpint(next_operation(f), ==, -1);
}

static void test_cancel_too_late(Fixture *f, const void *data)
{
    uint64_t id;

    g_string_set_size(f->file, 0);
    id = start(f);
    expect(f, FCOPY_OP_START, 0);
    g_assert_cmpint(vmbus_fcopy_cancel(f->fc, id), ==, VMBUS_FCOPY_TOO_LATE);
    assert_copied(f, id);
}

static void test_read_fails(Fixture *f, const void *data)
{
    static const VmbusFcopyResult results[] = {VMBUS_FCOPY_READ_FAILED,
                                               VMBUS_FCOPY_FILE_CHANGED,
                                               VMBUS_FCOPY_READ_TIMEOUT};

    f->hold_reads = true;
    for (int i = 0; i < 4; i++) {
        uint64_t id = start(f);

        expect(f, FCOPY_OP_START, 0);
        g_assert_cmpint(next_operation(f), ==, -1);
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
        expect(f, FCOPY_OP_CANCEL, 0);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
        g_assert_cmpint(f->result, ==, results[i == 3 ? 1 : i]);
    }
}

/* A guest that does not answer; its late answer frees the way. */
static void test_timeout(Fixture *f, const void *data)
{
    for (int steps = 0; steps < 6; steps++) {
        unsigned ends = f->ends;

        start(f);
        for (int i = 0; i < steps; i++) {
            answer(f, 0);
        }
        f->now = f->wake - 1;
        vmbus_fcopy_tick(f->fc);
        g_assert_cmpuint(f->ends, ==, ends);
        f->now++;
        vmbus_fcopy_tick(f->fc);
        g_assert_cmpuint(f->ends, ==, ends + 1);
        g_assert_cmpint(f->result, ==, VMBUS_FCOPY_TIMEOUT);
        g_assert_cmpint(try_start(f), ==, VMBUS_FCOPY_ANSWER_MISSING);
        answer(f, 0);
        expect(f, FCOPY_OP_CANCEL, 0);
        g_assert_cmpint(next_operation(f), ==, -1);
    }
    assert_copied(f, start(f));
}

static void test_timeout_cancel(Fixture *f, const void *data)
{
    uint64_t id = start(f);

    vmbus_fcopy_cancel(f->fc, id);
    f->now = f->wake;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_CANCELLED);
    answer(f, 0);
    expect(f, FCOPY_OP_CANCEL, 0);
    assert_copied(f, start(f));
}

static void test_gone(Fixture *f, const void *data)
{
    for (int steps = 0; steps < 6; steps++) {
        start(f);
        for (int i = 0; i < steps; i++) {
            answer(f, 0);
        }
        fake_close(&f->chan);
        g_assert_cmpint(f->state, ==, VMBUS_FCOPY_FAILED);
        g_assert_cmpint(f->result, ==, VMBUS_FCOPY_GONE);
        g_assert_cmpuint(f->ends, ==, steps + 1);
        open_ready(f);
        g_assert_cmpint(next_operation(f), ==, -1);
    }
}

static void test_full(Fixture *f, const void *data)
{
    uint64_t id = start(f);

    expect(f, FCOPY_OP_START, 0);
    f->chan.send_result = VMBUS_RING_FULL;
    answer(f, 0);
    g_assert_cmpint(next_operation(f), ==, -1);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    assert_copied(f, id);

    /* Its time goes by while there is no room: the file is dropped later. */
    start(f);
    expect(f, FCOPY_OP_START, 0);
    f->chan.send_result = VMBUS_RING_FULL;
    answer(f, 0);
    f->now = f->wake;
    vmbus_fcopy_tick(f->fc);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_TIMEOUT);
    g_assert_cmpint(try_start(f), ==, VMBUS_FCOPY_ANSWER_MISSING);
    f->chan.send_result = VMBUS_RING_OK;
    fake_signal(&f->chan);
    expect(f, FCOPY_OP_CANCEL, 0);
    assert_copied(f, start(f));
}

static void test_send_fails(Fixture *f, const void *data)
{
    f->chan.send_result = VMBUS_RING_TOO_LARGE;
    start(f);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_RING_TOO_SMALL);
    f->chan.send_result = VMBUS_RING_CORRUPT;
    start(f);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_GONE);
    g_assert_cmpuint(f->ends, ==, 2);
}

static void test_kept(Fixture *f, const void *data)
{
    uint64_t first = 0, last = 0;

    g_string_set_size(f->file, 0);
    for (int i = 0; i <= VMBUS_FCOPY_KEPT; i++) {
        last = start(f);
        first = first ? first : last;
        finish(f, last);
    }
    g_assert_null(vmbus_fcopy_copy(f->fc, first));
    g_assert_nonnull(vmbus_fcopy_copy(f->fc, first + 1));
    g_assert_nonnull(vmbus_fcopy_copy(f->fc, last));
}

/* Paths */

static void test_paths(void)
{
    static const struct {
        const char *path, *directory, *name;
    } table[] = {
        {"/file", "/", "file"},
        {"/a/b/c d", "/a/b/", "c d"},
        {"/a\\b", "/", "a\\b"},
        {"/..a/b..", "/..a/", "b.."},
        {"C:\\file", "C:\\", "file"},
        {"c:/a\\b/c", "c:/a\\b/", "c"},
        {"C:\\a/b\\c", "C:\\a/b\\", "c"},
        {"/\xc3\xa4/\xe2\x82\xac", "/\xc3\xa4/", "\xe2\x82\xac"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *directory = NULL;
        g_autofree char *name = NULL;

        g_assert_cmpint(
            vmbus_fcopy_split_path(table[i].path, &directory, &name), ==,
            VMBUS_FCOPY_OK);
        g_assert_cmpstr(directory, ==, table[i].directory);
        g_assert_cmpstr(name, ==, table[i].name);
    }
}

static void test_bad_paths(Fixture *f, const void *data)
{
    static const struct {
        const char *path;
        VmbusFcopyResult result;
    } table[] = {
        {NULL, VMBUS_FCOPY_PATH_NO_NAME},
        {"", VMBUS_FCOPY_PATH_NO_NAME},
        {"/", VMBUS_FCOPY_PATH_NO_NAME},
        {"/dir/", VMBUS_FCOPY_PATH_NO_NAME},
        {"C:\\dir\\", VMBUS_FCOPY_PATH_NO_NAME},
        {"file", VMBUS_FCOPY_PATH_RELATIVE},
        {"C:file", VMBUS_FCOPY_PATH_RELATIVE},
        {"\\\\server\\share", VMBUS_FCOPY_PATH_RELATIVE},
        {"/a/../b", VMBUS_FCOPY_PATH_DOTS},
        {"/a/./b", VMBUS_FCOPY_PATH_DOTS},
        {"/..", VMBUS_FCOPY_PATH_DOTS},
        {"C:\\a\\..\\b", VMBUS_FCOPY_PATH_DOTS},
        {"/a\nb", VMBUS_FCOPY_PATH_CHARACTER},
        {"C:\\a:b", VMBUS_FCOPY_PATH_CHARACTER},
        {"C:\\a*", VMBUS_FCOPY_PATH_CHARACTER},
        {"/a\xff", VMBUS_FCOPY_PATH_NOT_UTF8},
    };
    g_autofree char *long_name = g_strdup_printf("/%0260d", 0);
    g_autofree char *longest_name = g_strdup_printf("/%0259d", 0);
    g_autofree char *long_directory = g_strdup_printf("/%0258d/a", 0);
    g_autofree char *longest = g_strdup_printf("/%0257d/a", 0);
    g_autofree char *endless = g_strdup_printf("/%01000d", 0);
    VmbusFcopyRequest req = request_of(f);
    uint64_t id;

#define TRY(text, expected)                                                    \
    do {                                                                       \
        req.path = (text);                                                     \
        g_assert_cmpint(vmbus_fcopy_start(f->fc, &req, &id), ==, expected);    \
    } while (0)
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        TRY(table[i].path, table[i].result);
    }
    TRY(long_name, VMBUS_FCOPY_NAME_TOO_LONG);
    TRY(long_directory, VMBUS_FCOPY_DIRECTORY_TOO_LONG);
    TRY(endless, VMBUS_FCOPY_DIRECTORY_TOO_LONG);
    req.step_ns = 0;
    TRY("/a", VMBUS_FCOPY_BAD_REQUEST);
    req.step_ns = SECOND;
    g_assert_cmpint(next_operation(f), ==, -1);
    g_assert_cmpuint(f->changes, ==, 0);
    TRY(longest_name, VMBUS_FCOPY_OK);
    finish(f, id);
    TRY(longest, VMBUS_FCOPY_OK);
}

static void test_names(void)
{
    static const char *const states[] = {"starting", "copying",    "completing",
                                         "stopped",  "cancelling", "done",
                                         "failed",   "cancelled",  "unknown"};
    static const char *const services[] = {"closed", "negotiating", "ready",
                                           "unknown"};

    for (int i = 0; i < 9; i++) {
        g_assert_cmpstr(vmbus_fcopy_state_name(i), ==, states[i]);
    }
    for (int i = 0; i < 4; i++) {
        g_assert_cmpstr(vmbus_fcopy_service_name(i), ==, services[i]);
    }
    for (int i = 0; i <= VMBUS_FCOPY_RESULTS; i++) {
        g_assert_nonnull(vmbus_fcopy_result_sentence(i));
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(vmbus_fcopy_result_sentence(i), !=,
                            vmbus_fcopy_result_sentence(j));
        }
    }
}

/* Whatever happens, each copy ends once, and there is always a time limit. */
static void test_random(void)
{
    static const uint32_t statuses[] = {0, 0,    0,
                                        0, FAIL, FCOPY_STATUS_DISK_FULL};
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    unsigned started = 0, done = 0;
    VmbusFcopyInfo info;
    Fixture f = {0};
    uint64_t id = 0;

    setup(&f, NULL);
    for (int i = 0; i < 100000; i++) {
        switch (g_rand_int_range(rand, 0, 64)) {
        case 0:
            if (f.chan.open) {
                fake_close(&f.chan);
            } else {
                fake_open(&f.chan);
            }
            break;
        case 1 ... 4:
            vmbus_fcopy_info(f.fc, &info);
            if (info.service == VMBUS_FCOPY_SERVICE_NEGOTIATING &&
                fake_pending(&f.chan)) {
                fake_negotiate(&f.chan, IC_VERSION(3, 0), IC_VERSION(1, 1));
            }
            break;
        case 5 ... 9:
            started += try_start(&f) == VMBUS_FCOPY_OK;
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
                give(&f, id);
            }
            break;
        case 23 ... 24:
            f.chan.send_result =
                g_rand_boolean(rand) ? VMBUS_RING_OK : VMBUS_RING_FULL;
            break;
        case 25 ... 26:
            fake_push_garbage(&f.chan, rand);
            fake_signal(&f.chan);
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
    teardown(&f, NULL);
}

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/fcopy/" path, Fixture, NULL, setup_fn, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fcopy/offer", test_offer);
    ADD("versions", setup, test_versions);
    ADD("not-open", setup, test_not_open);
    ADD("messages", setup_ready, test_messages);
    ADD("copy", setup_ready, test_copy);
    ADD("sizes", setup_ready, test_sizes);
    ADD("start-refused", setup_ready, test_start_refused);
    ADD("complete-fails", setup_ready, test_complete_fails);
    ADD("resume-disk-full", setup_ready, test_resume_disk_full);
    ADD("resume-failed", setup_ready, test_resume_failed);
    ADD("not-resumed", setup_ready, test_not_resumed);
    ADD("cancel", setup_ready, test_cancel);
    ADD("cancel-resumed", setup_ready, test_cancel_resumed);
    ADD("cancel-too-late", setup_ready, test_cancel_too_late);
    ADD("read-fails", setup_ready, test_read_fails);
    ADD("timeout", setup_ready, test_timeout);
    ADD("timeout-cancel", setup_ready, test_timeout_cancel);
    ADD("gone", setup_ready, test_gone);
    ADD("full", setup_ready, test_full);
    ADD("send-fails", setup_ready, test_send_fails);
    ADD("kept", setup_ready, test_kept);
    g_test_add_func("/fcopy/paths", test_paths);
    ADD("bad-paths", setup_ready, test_bad_paths);
    g_test_add_func("/fcopy/names", test_names);
    g_test_add_func("/fcopy/random", test_random);
    return g_test_run();
}
