/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Key-value exchange and file copy in a saved machine: what is under way stays
 * behind, and what the guest still owes does not. */
#include "devices/fcopy-protocol.h"
#include "devices/fcopy.h"
#include "devices/ic-state.h"
#include "devices/kvp-protocol.h"
#include "devices/kvp.h"
#include "fake-channel.h"
#include "golden.h"
#include "item.h"

#define SECOND UINT64_C(1000000000)

typedef struct Side {
    VmbusChannel chan;
    VmbusKvp *kvp; /* or NULL */
    VmbusFcopy *fc;
    uint64_t now, wake;
    unsigned ends, changes;
    VmbusKvpResult kvp_result;
    VmbusFcopyResult fc_result;
} Side;

static void kvp_ended(void *opaque, const VmbusKvpJob *job)
{
    Side *side = opaque;

    side->ends++;
    side->kvp_result = job->result;
}

static void kvp_changed(void *opaque, VmbusKvpState state)
{
    ((Side *)opaque)->changes++;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Side *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Side *)opaque)->now;
}

static void fc_read(void *opaque, uint64_t id, uint64_t offset, uint32_t len)
{
    static const uint8_t zeros[FCOPY_FRAGMENT];

    vmbus_fcopy_data(((Side *)opaque)->fc, id, offset, zeros, len);
}

static void fc_progress(void *opaque, const VmbusFcopyCopy *copy)
{
}

static void fc_changed(void *opaque, const VmbusFcopyCopy *copy)
{
    Side *side = opaque;

    side->ends += vmbus_fcopy_state_ended(copy->state);
    side->fc_result = copy->result;
}

static const VmbusKvpOps kvp_ops = {kvp_ended, kvp_changed, wake_at, now_ns};
static const VmbusFcopyOps fc_ops = {fc_read, fc_progress, fc_changed, wake_at,
                                     now_ns};

static void set_up(Side *side, bool kvp)
{
    *side = (Side){.now = 100 * SECOND, .wake = UINT64_MAX};
    if (kvp) {
        side->kvp = vmbus_kvp_new(&kvp_ops, side);
        fake_init(&side->chan, &vmbus_kvp_channel_ops, side->kvp);
    } else {
        side->fc = vmbus_fcopy_new(&fc_ops, side);
        fake_init(&side->chan, &vmbus_fcopy_channel_ops, side->fc);
    }
}

static void tear_down(Side *side)
{
    fake_clear(&side->chan);
    g_clear_pointer(&side->kvp, vmbus_kvp_free);
    g_clear_pointer(&side->fc, vmbus_fcopy_free);
}

static GByteArray *save(const Side *side)
{
    return side->kvp ? vmbus_kvp_save(side->kvp) : vmbus_fcopy_save(side->fc);
}

static const char *load(Side *side, const void *data, size_t len)
{
    return side->kvp ? vmbus_kvp_load(side->kvp, &side->chan, data, len)
                     : vmbus_fcopy_load(side->fc, &side->chan, data, len);
}

/* The channel moves with its packets, and then the service. */
static void move(Side *from, Side *to)
{
    g_autoptr(GByteArray) blob = save(from);
    g_autoptr(GByteArray) again = NULL;

    fake_take_over(&to->chan, &from->chan);
    g_assert_cmpstr(load(to, blob->data, blob->len), ==, NULL);
    g_assert_cmpuint(to->changes, ==, 0);
    again = save(to);
    g_assert_cmpmem(again->data, again->len, blob->data, blob->len);
}

static void answer(Side *side, uint32_t status)
{
    FakeMessage msg;

    fake_pop_message(&side->chan, &msg);
    msg.header.status = GUINT32_TO_LE(status);
    fake_answer(&side->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&side->chan);
}

static int next_operation(const Side *side)
{
    GBytes *bytes = g_queue_peek_head((GQueue *)&side->chan.to_guest);

    return bytes ? ((const uint8_t *)g_bytes_get_data(bytes, NULL))[28] : -1;
}

static uint64_t ask(Side *side)
{
    VmbusKvpRequest req = {
        .operation = VMBUS_KVP_DELETE, .key = "key", .timeout_ns = 10 * SECOND};
    uint64_t id = 0;

    g_assert_cmpint(vmbus_kvp_start(side->kvp, &req, &id), ==, VMBUS_KVP_OK);
    return id;
}

static VmbusFcopyResult copy(Side *side, uint64_t *id)
{
    VmbusFcopyRequest req = {
        .path = "/tmp/file", .size = 20000, .step_ns = 10 * SECOND};

    return vmbus_fcopy_start(side->fc, &req, id);
}

/* States: what host and guest have done until then. */

static void closed(Side *side)
{
}

static void asking(Side *side)
{
    fake_open(&side->chan);
}

static void ready(Side *side)
{
    fake_open(&side->chan);
    fake_negotiate(&side->chan, IC_VERSION(3, 0),
                   side->kvp ? IC_VERSION(4, 0) : IC_VERSION(1, 1));
}

static void busy(Side *side)
{
    uint64_t id;

    ready(side);
    if (side->kvp) {
        ask(side);
        ask(side);
    } else {
        g_assert_cmpint(copy(side, &id), ==, VMBUS_FCOPY_OK);
        answer(side, 0);
    }
}

static void no_room(Side *side)
{
    uint64_t id;

    ready(side);
    if (side->kvp) {
        side->chan.send_result = VMBUS_RING_FULL;
        ask(side);
    } else {
        g_assert_cmpint(copy(side, &id), ==, VMBUS_FCOPY_OK);
        side->chan.send_result = VMBUS_RING_FULL;
        answer(side, 0);
    }
    side->chan.send_result = VMBUS_RING_OK;
}

static const struct {
    const char *name;
    void (*prepare)(Side *side);
} scenarios[] = {
    {"closed", closed}, {"asking", asking},   {"ready", ready},
    {"busy", busy},     {"no-room", no_room},
};

/* Saved by the first version: they are loaded, and mean what they meant. */
static void test_golden(gconstpointer data)
{
    unsigned number = GPOINTER_TO_UINT(data);
    bool kvp = number % 2;
    g_autofree char *name = g_strdup_printf("%s-%s", kvp ? "kvp" : "fcopy",
                                            scenarios[number / 2].name);
    g_autoptr(GByteArray) now = NULL;
    g_autoptr(GByteArray) golden = NULL;
    g_autoptr(GByteArray) again = NULL;
    Side here, there;

    set_up(&here, kvp);
    scenarios[number / 2].prepare(&here);
    now = save(&here);
    golden = golden_read(name, now->data, now->len);
    set_up(&there, kvp);
    there.chan.open = here.chan.open;
    g_assert_cmpstr(load(&there, golden->data, golden->len), ==, NULL);
    again = save(&there);
    g_assert_cmpmem(again->data, again->len, now->data, now->len);
    tear_down(&here);
    tear_down(&there);
}

/* The answer to what was asked elsewhere frees the way, and is nobody's. */
static void test_kvp(void)
{
    VmbusKvpInfo info;
    Side here, there;
    uint64_t id;

    set_up(&here, true);
    busy(&here);
    set_up(&there, true);
    move(&here, &there);
    vmbus_kvp_info(there.kvp, &info);
    g_assert_cmpint(info.state, ==, VMBUS_KVP_READY);
    g_assert_cmpuint(info.jobs, ==, 0);
    g_assert_true(info.answer_missing);
    id = ask(&there);
    g_assert_cmpuint(id, ==, 3);
    g_assert_cmpuint(there.chan.to_guest.length, ==, 1);
    answer(&there, 0);
    g_assert_cmpuint(there.ends, ==, 0);
    g_assert_cmpuint(vmbus_kvp_port(there.kvp)->refused, ==, 0);
    answer(&there, KVP_STATUS_NO_MORE_ITEMS);
    g_assert_cmpuint(there.ends, ==, 1);
    g_assert_cmpint(there.kvp_result, ==, VMBUS_KVP_NO_SUCH_KEY);
    /* Where it was asked, the jobs have their deadlines. */
    here.now += 10 * SECOND;
    vmbus_kvp_tick(here.kvp);
    g_assert_cmpuint(here.ends, ==, 2);
    tear_down(&here);
    tear_down(&there);
}

/* A request that found no room is not sent by the other machine. */
static void test_kvp_no_room(void)
{
    Side here, there;

    set_up(&here, true);
    no_room(&here);
    set_up(&there, true);
    move(&here, &there);
    fake_signal(&there.chan);
    g_assert_cmpint(next_operation(&there), ==, -1);
    ask(&there);
    answer(&there, 0);
    g_assert_cmpint(there.kvp_result, ==, VMBUS_KVP_OK);
    tear_down(&here);
    tear_down(&there);
}

/* loadvm in a machine that has jobs: they end. */
static void test_kvp_over(void)
{
    g_autoptr(GByteArray) blob = NULL;
    Side here, there;

    set_up(&here, true);
    ready(&here);
    blob = save(&here);
    set_up(&there, true);
    busy(&there);
    ask(&there);
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==, NULL);
    g_assert_cmpuint(there.ends, ==, 3);
    g_assert_cmpint(there.kvp_result, ==, VMBUS_KVP_GONE);
    g_assert_cmpuint(there.wake, ==, UINT64_MAX);
    /* Numbers are not used twice. */
    g_assert_cmpuint(ask(&there), ==, 4);
    tear_down(&here);
    tear_down(&there);
}

/* The guest is told to drop the file, with its next answer or by a tick. */
static void test_fcopy(gconstpointer data)
{
    bool by_tick = GPOINTER_TO_INT(data);
    Side here, there;
    uint64_t id;

    set_up(&here, false);
    if (by_tick) {
        no_room(&here);
    } else {
        busy(&here);
    }
    set_up(&there, false);
    move(&here, &there);
    if (by_tick) {
        g_assert_cmpint(next_operation(&there), ==, -1);
        vmbus_fcopy_tick(there.fc);
    } else {
        g_assert_cmpint(copy(&there, &id), ==, VMBUS_FCOPY_ANSWER_MISSING);
        g_assert_cmpint(next_operation(&there), ==, FCOPY_OP_WRITE);
        answer(&there, 0);
    }
    g_assert_cmpint(next_operation(&there), ==, FCOPY_OP_CANCEL);
    answer(&there, 0);
    g_assert_cmpint(copy(&there, &id), ==, VMBUS_FCOPY_OK);
    while (next_operation(&there) >= 0) {
        answer(&there, 0);
    }
    g_assert_cmpuint(there.ends, ==, 1);
    g_assert_cmpint(there.fc_result, ==, VMBUS_FCOPY_OK);
    tear_down(&here);
    tear_down(&there);
}

/* A copy that begins before the file is dropped has it dropped first. */
static void test_fcopy_at_once(gconstpointer data)
{
    bool cancel = GPOINTER_TO_INT(data);
    Side here, there;
    uint64_t id;

    set_up(&here, false);
    no_room(&here);
    set_up(&there, false);
    move(&here, &there);
    g_assert_cmpint(copy(&there, &id), ==, VMBUS_FCOPY_OK);
    g_assert_cmpint(next_operation(&there), ==, FCOPY_OP_CANCEL);
    if (cancel) {
        g_assert_cmpint(vmbus_fcopy_cancel(there.fc, id), ==, VMBUS_FCOPY_OK);
        answer(&there, 0);
        g_assert_cmpint(there.fc_result, ==, VMBUS_FCOPY_WAS_CANCELLED);
    } else {
        answer(&there, 0x80004005);
        while (next_operation(&there) >= 0) {
            answer(&there, 0);
        }
        g_assert_cmpint(there.fc_result, ==, VMBUS_FCOPY_OK);
    }
    g_assert_cmpuint(there.ends, ==, 1);
    tear_down(&here);
    tear_down(&there);
}

static void test_fcopy_over(void)
{
    g_autoptr(GByteArray) blob = NULL;
    Side here, there;

    set_up(&here, false);
    ready(&here);
    blob = save(&here);
    set_up(&there, false);
    busy(&there);
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==, NULL);
    g_assert_cmpuint(there.ends, ==, 1);
    g_assert_cmpint(there.fc_result, ==, VMBUS_FCOPY_GONE);
    g_assert_cmpuint(there.wake, ==, UINT64_MAX);
    vmbus_fcopy_tick(there.fc);
    tear_down(&here);
    tear_down(&there);
}

/* Refusals */

static const struct {
    bool kvp;
    int inner;
    uint16_t tag;
    uint64_t value;
    const char *sentence;
} damages[] = {
    {true, -1, 1, 0, "The saved key-value service does not agree with itself."},
    {true, IC_STATE_PORT, 5, 1,
     "The saved key-value service does not agree with itself."},
    {true, IC_STATE_PORT, 3, IC_VERSION(4, 1),
     "The saved service has agreed on versions that were not offered."},
    {false, -1, 1, 0,
     "The saved file copy service does not agree with itself."},
    {false, -1, 3, 2, "The saved state has a number that is out of range."},
    {false, IC_STATE_PORT, 5, 1,
     "The saved file copy service does not agree with itself."},
    {false, IC_STATE_PORT, 1, IC_UNUSABLE,
     "The saved service has versions that it has not agreed on."},
};

static void test_damaged(gconstpointer data)
{
    unsigned i = GPOINTER_TO_UINT(data);
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) before = NULL;
    g_autoptr(GByteArray) after = NULL;
    Side here, there;
    uint32_t size;
    uint8_t *at;

    set_up(&here, damages[i].kvp);
    busy(&here);
    blob = save(&here);
    at = blob->data + sizeof(VmbusBlobHead);
    size = blob->len - sizeof(VmbusBlobHead);
    if (damages[i].inner >= 0) {
        at = item_find(at, size, damages[i].inner, &size);
    }
    at = item_find(at, size, damages[i].tag, &size);
    memcpy(at, &damages[i].value, sizeof(uint64_t));
    set_up(&there, damages[i].kvp);
    there.chan.open = true;
    before = save(&there);
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==,
                    damages[i].sentence);
    after = save(&there);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);
    tear_down(&here);
    tear_down(&there);
}

static void test_noise(gconstpointer data)
{
    bool kvp = GPOINTER_TO_INT(data);
    g_autoptr(GRand) rand = g_rand_new_with_seed(12);
    g_autoptr(GByteArray) blob = NULL;
    unsigned loaded = 0, refused = 0;
    Side here, there;

    set_up(&here, kvp);
    busy(&here);
    blob = save(&here);
    for (guint i = 0; i < 3000 + blob->len; i++) {
        bool cut = i < blob->len;
        guint len = cut ? i : blob->len;
        g_autofree uint8_t *bytes = g_memdup2(blob->data, len);
        int flips = cut ? 0 : g_rand_int_range(rand, 1, 4);
        uint64_t id;

        while (flips--) {
            bytes[g_rand_int_range(rand, 0, len)] ^=
                1u << g_rand_int_range(rand, 0, 8);
        }
        set_up(&there, kvp);
        there.chan.open = true;
        if (load(&there, bytes, len)) {
            refused++;
        } else {
            loaded++;
            if (!kvp) {
                vmbus_fcopy_tick(there.fc);
                copy(&there, &id);
            } else if (vmbus_kvp_port(there.kvp)->state == IC_READY) {
                ask(&there);
            }
            fake_push_garbage(&there.chan, rand);
            fake_signal(&there.chan);
            fake_close(&there.chan);
        }
        tear_down(&there);
    }
    g_assert_cmpuint(loaded, >, 100);
    g_assert_cmpuint(refused, >, blob->len);
    tear_down(&here);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(scenarios); i++) {
        g_autofree char *path =
            g_strdup_printf("/state/%s/golden/%s", i % 2 ? "kvp" : "fcopy",
                            scenarios[i / 2].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_golden);
    }
    g_test_add_func("/state/kvp/busy", test_kvp);
    g_test_add_func("/state/kvp/no-room", test_kvp_no_room);
    g_test_add_func("/state/kvp/over", test_kvp_over);
    g_test_add_data_func("/state/fcopy/busy", GINT_TO_POINTER(0), test_fcopy);
    g_test_add_data_func("/state/fcopy/no-room", GINT_TO_POINTER(1),
                         test_fcopy);
    g_test_add_data_func("/state/fcopy/at-once", GINT_TO_POINTER(0),
                         test_fcopy_at_once);
    g_test_add_data_func("/state/fcopy/at-once-cancelled", GINT_TO_POINTER(1),
                         test_fcopy_at_once);
    g_test_add_func("/state/fcopy/over", test_fcopy_over);
    for (unsigned i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strdup_printf("/state/kvp/damaged/%u", i);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_damaged);
    }
    g_test_add_data_func("/state/kvp/noise", GINT_TO_POINTER(1), test_noise);
    g_test_add_data_func("/state/fcopy/noise", GINT_TO_POINTER(0), test_noise);
    return g_test_run();
}
