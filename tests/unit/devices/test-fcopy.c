/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the copying of files does, up to the resuming of one that stopped, and
 * what it refuses. */
#include "fcopy-fixture.h"

static void test_offer(void)
{
    static const uint8_t class_id[] = {0xe3, 0x4b, 0xd1, 0x34, 0xe4, 0xde,
                                       0xc8, 0x41, 0x9a, 0xe7, 0x6b, 0x17,
                                       0x49, 0x77, 0xc1, 0x92};

    g_assert_cmpmem(&vmbus_fcopy_offer.class_id, 16, class_id, 16);
    g_assert_true(vmbus_fcopy_offer.pipe);
}

static void test_versions(FcopyFixture *f, const void *data)
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
        fcopy_assert_copied(f, fcopy_start(f));
    }
}

static void test_not_open(FcopyFixture *f, const void *data)
{
    IcHeader header = {.flags = 5, .message_size = GUINT16_TO_LE(16)};

    g_assert_cmpint(fcopy_try_start(f), ==, VMBUS_FCOPY_NOT_OPEN);
    fake_open(&f->chan);
    g_assert_cmpint(fcopy_try_start(f), ==, VMBUS_FCOPY_NOT_READY);
    fake_answer_with(&f->chan, &header, (uint8_t[16]){0}, 16);
    fake_signal(&f->chan);
    g_assert_cmpint(fcopy_try_start(f), ==, VMBUS_FCOPY_UNUSABLE);
    g_assert_cmpuint(f->changes, ==, 0);
}

static void test_messages(FcopyFixture *f, const void *data)
{
    VmbusFcopyRequest req = fcopy_request(f);
    FcopyWireStart wire;
    FakeMessage msg;
    uint64_t id;

    for (int flags = 0; flags < 4; flags++) {
        fake_close(&f->chan);
        fcopy_open_ready(f);
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

static void test_copy(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);
    VmbusFcopyInfo info;

    fcopy_expect(f, FCOPY_OP_START, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_COPYING);
    for (int i = 0; i < 4; i++) {
        vmbus_fcopy_info(f->fc, &info);
        g_assert_cmpuint(info.copy->copied, ==, i * 6144);
        fcopy_expect(f, FCOPY_OP_WRITE, 0);
    }
    g_assert_cmpuint(f->progresses, ==, 4);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_COMPLETING);
    fcopy_expect(f, FCOPY_OP_COMPLETE, 0);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_DONE);
    fcopy_assert_copied(f, id);
    vmbus_fcopy_info(f->fc, &info);
    g_assert_null(info.copy);
    g_assert_cmpuint(info.copies, ==, 1);
    g_assert_cmpuint(f->ends, ==, 1);
}

static void test_sizes(FcopyFixture *f, const void *data)
{
    static const unsigned sizes[] = {0, 1, 6143, 6144, 6145, 12288};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_string_set_size(f->file, sizes[i]);
        memset(f->file->str, 'x', sizes[i]);
        fcopy_assert_copied(f, fcopy_start(f));
    }
}

/* The fragment that found the disk full is sent again. */
static void test_resume_disk_full(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);

    fcopy_expect(f, FCOPY_OP_START, 0);
    fcopy_expect(f, FCOPY_OP_WRITE, 0);
    fcopy_expect(f, FCOPY_OP_WRITE, FCOPY_STATUS_DISK_FULL);
    g_assert_cmpint(f->state, ==, VMBUS_FCOPY_STOPPED);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_DISK_FULL);
    g_assert_cmpint(fcopy_next_operation(f), ==, -1);
    g_assert_cmpuint(f->wake, ==, 130 * SECOND);
    g_assert_cmpint(fcopy_try_start(f), ==, VMBUS_FCOPY_BUSY);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_NOT_STOPPED);
    fcopy_expect(f, FCOPY_OP_WRITE, FCOPY_STATUS_DISK_FULL);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpuint(f->reads, ==, 2);
    fcopy_assert_copied(f, id);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_ENDED);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id + 1), ==,
                    VMBUS_FCOPY_NO_SUCH_COPY);
}

/* After another error the file may be nobody's: it is begun anew. */
static void test_resume_failed(FcopyFixture *f, const void *data)
{
    uint64_t id = fcopy_start(f);
    GBytes *bytes;

    fcopy_expect(f, FCOPY_OP_START, 0);
    fcopy_expect(f, FCOPY_OP_WRITE, 0);
    fcopy_expect(f, FCOPY_OP_WRITE, IC_STATUS_FAIL);
    g_assert_cmpint(f->result, ==, VMBUS_FCOPY_WRITE_FAILED);
    g_assert_cmpint(vmbus_fcopy_resume(f->fc, id), ==, VMBUS_FCOPY_OK);
    bytes = g_queue_peek_head(&f->chan.to_guest);
    g_assert_cmpint(fcopy_next_operation(f), ==, FCOPY_OP_START);
    /* It may overwrite what it wrote. */
    g_assert_cmpuint(
        ((const uint8_t *)g_bytes_get_data(bytes, NULL))[28 + 1076], ==,
        FCOPY_OVERWRITE);
    fcopy_assert_copied(f, id);
    g_assert_cmpuint(f->ends, ==, 1);
}

static void test_kept(FcopyFixture *f, const void *data)
{
    uint64_t first = 0, last = 0;

    g_string_set_size(f->file, 0);
    for (int i = 0; i <= VMBUS_FCOPY_KEPT; i++) {
        last = fcopy_start(f);
        first = first ? first : last;
        fcopy_finish(f, last);
    }
    g_assert_null(vmbus_fcopy_copy(f->fc, first));
    g_assert_nonnull(vmbus_fcopy_copy(f->fc, first + 1));
    g_assert_nonnull(vmbus_fcopy_copy(f->fc, last));
}

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

static void test_bad_paths(FcopyFixture *f, const void *data)
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
    VmbusFcopyRequest req = fcopy_request(f);
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
    g_assert_cmpint(fcopy_next_operation(f), ==, -1);
    g_assert_cmpuint(f->changes, ==, 0);
    TRY(longest_name, VMBUS_FCOPY_OK);
    fcopy_finish(f, id);
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

#define ADD(path, setup_fn, fn)                                                \
    g_test_add("/fcopy/" path, FcopyFixture, NULL, setup_fn, fn, fcopy_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fcopy/offer", test_offer);
    ADD("versions", fcopy_setup, test_versions);
    ADD("not-open", fcopy_setup, test_not_open);
    ADD("messages", fcopy_setup_ready, test_messages);
    ADD("copy", fcopy_setup_ready, test_copy);
    ADD("sizes", fcopy_setup_ready, test_sizes);
    ADD("resume-disk-full", fcopy_setup_ready, test_resume_disk_full);
    ADD("resume-failed", fcopy_setup_ready, test_resume_failed);
    ADD("kept", fcopy_setup_ready, test_kept);
    g_test_add_func("/fcopy/paths", test_paths);
    ADD("bad-paths", fcopy_setup_ready, test_bad_paths);
    g_test_add_func("/fcopy/names", test_names);
    return g_test_run();
}
