/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The integration services in a saved machine, without a bus. */
#include "devices/ic-state.h"
#include "fake-channel.h"
#include "item.h"

#define SECOND UINT64_C(1000000000)

typedef struct Side {
    VmbusChannel chan;
    VmbusHeartbeat *hb;
    VmbusShutdown *sd;
    uint64_t now, wake;
    unsigned changes, answers;
    VmbusHeartbeatState state;
    VmbusShutdownResult result;
    VmbusShutdownMode mode;
} Side;

static void hb_changed(void *opaque, const VmbusHeartbeatInfo *info)
{
    Side *side = opaque;

    side->changes++;
    side->state = info->state;
}

static void hb_wake_at(void *opaque, uint64_t when_ns)
{
    ((Side *)opaque)->wake = when_ns;
}

static uint64_t hb_now_ns(void *opaque)
{
    return ((Side *)opaque)->now;
}

static void sd_answered(void *opaque, VmbusShutdownMode mode,
                        VmbusShutdownResult result, uint32_t status)
{
    Side *side = opaque;

    side->answers++;
    side->mode = mode;
    side->result = result;
}

static void sd_changed(void *opaque, VmbusShutdownState state)
{
    ((Side *)opaque)->changes++;
}

static const VmbusHeartbeatOps hb_ops = {hb_changed, hb_wake_at, hb_now_ns};
static const VmbusShutdownOps sd_ops = {sd_answered, sd_changed};

static void set_up(Side *side, bool heartbeat, uint64_t now)
{
    *side = (Side){.now = now, .wake = UINT64_MAX};
    if (heartbeat) {
        side->hb = vmbus_heartbeat_new(&hb_ops, side);
        fake_init(&side->chan, &vmbus_heartbeat_channel_ops, side->hb);
    } else {
        side->sd = vmbus_shutdown_new(&sd_ops, side);
        fake_init(&side->chan, &vmbus_shutdown_channel_ops, side->sd);
    }
}

static void tear_down(Side *side)
{
    fake_clear(&side->chan);
    if (side->hb) {
        vmbus_heartbeat_free(side->hb);
    }
    if (side->sd) {
        vmbus_shutdown_free(side->sd);
    }
}

static GByteArray *save(const Side *side)
{
    return side->hb ? vmbus_heartbeat_save(side->hb)
                    : vmbus_shutdown_save(side->sd);
}

static const char *load(Side *side, const void *data, size_t len)
{
    return side->hb ? vmbus_heartbeat_load(side->hb, &side->chan, data, len)
                    : vmbus_shutdown_load(side->sd, &side->chan, data, len);
}

/* The channel moves with its packets, and then the service. */
static void move(Side *from, Side *to)
{
    g_autoptr(GByteArray) blob = save(from);
    g_autoptr(GByteArray) again = NULL;
    unsigned changes = to->changes;

    to->chan.send_result = from->chan.send_result;
    fake_take_over(&to->chan, &from->chan);
    g_assert_cmpstr(load(to, blob->data, blob->len), ==, NULL);
    g_assert_cmpuint(to->changes, ==, changes);
    g_assert_cmpuint(to->answers, ==, 0);
    g_assert_cmpuint(to->chan.opens + to->chan.closes, ==, 0);
    again = save(to);
    g_assert_cmpmem(again->data, again->len, blob->data, blob->len);
}

static void answer_one(Side *side)
{
    FakeMessage msg;

    fake_pop_message(&side->chan, &msg);
    fake_answer(&side->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&side->chan);
}

static void beat(Side *side)
{
    g_assert_cmpuint(side->wake, >=, side->now);
    side->now = side->wake;
    vmbus_heartbeat_tick(side->hb);
}

static void open_ready(Side *side)
{
    fake_open(&side->chan);
    fake_negotiate(&side->chan, IC_VERSION(3, 0),
                   side->hb ? IC_VERSION(3, 0) : IC_VERSION(3, 2));
}

static VmbusHeartbeatInfo beat_info(const Side *side)
{
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_info(side->hb, &info);
    return info;
}

static void test_heartbeat(void)
{
    Side here, there;

    set_up(&here, true, 1000 * SECOND);
    open_ready(&here);
    answer_one(&here);
    beat(&here);
    beat(&here); /* two are not answered */
    here.now += SECOND / 2;
    /* The other machine's clock is younger than the last answer. */
    set_up(&there, true, 10 * SECOND);
    move(&here, &there);
    g_assert_cmpint(beat_info(&there).state, ==, VMBUS_HEARTBEAT_OK);
    g_assert_cmpuint(beat_info(&there).sequence, ==, 1);
    g_assert_cmpuint(beat_info(&there).sent, ==, 3);
    g_assert_cmpuint(there.now - beat_info(&there).last_ns, ==,
                     here.now - beat_info(&here).last_ns);
    /* The period goes on, and is not begun anew. */
    g_assert_cmpuint(there.wake - there.now, ==, here.wake - here.now);
    answer_one(&there);
    answer_one(&there);
    g_assert_cmpuint(beat_info(&there).sequence, ==, 3);
    g_assert_cmpuint(beat_info(&there).refused, ==, 0);
    for (int i = 0; i < 10; i++) {
        beat(&there);
        answer_one(&there);
    }
    g_assert_cmpint(beat_info(&there).state, ==, VMBUS_HEARTBEAT_OK);
    g_assert_cmpuint(beat_info(&there).received, ==, 13);
    tear_down(&here);
    tear_down(&there);
}

/* A guest that was silent for a while is found lost when its time is up. */
static void test_heartbeat_lost(void)
{
    Side here, there;

    set_up(&here, true, 1000 * SECOND);
    open_ready(&here);
    answer_one(&here);
    here.now += 5 * SECOND;
    set_up(&there, true, 2000 * SECOND);
    move(&here, &there);
    there.now += SECOND;
    vmbus_heartbeat_tick(there.hb);
    g_assert_cmpint(there.state, ==, VMBUS_HEARTBEAT_LOST);
    tear_down(&here);
    tear_down(&there);
}

/* The machine that loads does not run yet; only that is told, and then. */
static void test_heartbeat_paused(void)
{
    Side here, there;

    set_up(&here, true, 1000 * SECOND);
    open_ready(&here);
    answer_one(&here);
    set_up(&there, true, 2000 * SECOND);
    vmbus_heartbeat_set_running(there.hb, false);
    move(&here, &there);
    g_assert_cmpint(beat_info(&there).state, ==, VMBUS_HEARTBEAT_PAUSED);
    g_assert_cmpuint(there.wake, ==, UINT64_MAX);
    vmbus_heartbeat_set_running(there.hb, true);
    g_assert_cmpint(there.state, ==, VMBUS_HEARTBEAT_OK);
    beat(&there);
    tear_down(&here);
    tear_down(&there);
}

/* In each state of the negotiation. */
static void test_port_states(gconstpointer data)
{
    bool heartbeat = GPOINTER_TO_INT(data);
    Side here, there;

    set_up(&here, heartbeat, SECOND);
    set_up(&there, heartbeat, SECOND);
    move(&here, &there); /* closed */
    fake_open(&there.chan);
    tear_down(&here);

    set_up(&here, heartbeat, SECOND);
    move(&there, &here); /* the guest has the question */
    fake_negotiate(&here.chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
    tear_down(&there);

    set_up(&there, heartbeat, SECOND);
    move(&here, &there); /* ready */
    g_assert_cmpint((heartbeat ? vmbus_heartbeat_port(there.hb)
                               : vmbus_shutdown_port(there.sd))
                        ->state,
                    ==, IC_READY);
    fake_close(&there.chan);
    fake_open(&there.chan);
    tear_down(&there);
    tear_down(&here);

    /* No room for the question yet. */
    set_up(&here, heartbeat, SECOND);
    here.chan.send_result = VMBUS_RING_FULL;
    fake_open(&here.chan);
    set_up(&there, heartbeat, SECOND);
    move(&here, &there);
    there.chan.send_result = VMBUS_RING_OK;
    fake_signal(&there.chan);
    fake_negotiate(&there.chan, IC_VERSION(3, 0), IC_VERSION(3, 0));
    tear_down(&there);
    tear_down(&here);
}

static VmbusShutdownResult ask(Side *side)
{
    VmbusShutdownRequest req = {.mode = VMBUS_SHUTDOWN_REBOOT,
                                .message = "for a reason"};

    return vmbus_shutdown_request(side->sd, &req);
}

/* The answer to a request comes once, where the guest is then. */
static void test_shutdown(void)
{
    Side here, there;

    set_up(&here, false, 0);
    open_ready(&here);
    g_assert_cmpint(ask(&here), ==, VMBUS_SHUTDOWN_OK);
    set_up(&there, false, 0);
    move(&here, &there);
    g_assert_cmpint(ask(&there), ==, VMBUS_SHUTDOWN_IN_PROGRESS);
    answer_one(&there);
    g_assert_cmpuint(there.answers, ==, 1);
    g_assert_cmpint(there.result, ==, VMBUS_SHUTDOWN_OK);
    g_assert_cmpint(there.mode, ==, VMBUS_SHUTDOWN_REBOOT);
    g_assert_cmpuint(here.answers, ==, 0);
    tear_down(&here);

    set_up(&here, false, 0);
    move(&there, &here); /* accepted */
    g_assert_cmpint(ask(&here), ==, VMBUS_SHUTDOWN_IN_PROGRESS);
    fake_close(&here.chan);
    g_assert_cmpuint(here.answers, ==, 0);
    tear_down(&here);
    tear_down(&there);
}

/* A request that found no room is sent by the other machine. */
static void test_shutdown_no_room(void)
{
    static const uint16_t text[] = {'f', 'o', 'r', ' '};
    FakeMessage msg;
    Side here, there;

    set_up(&here, false, 0);
    open_ready(&here);
    here.chan.send_result = VMBUS_RING_FULL;
    g_assert_cmpint(ask(&here), ==, VMBUS_SHUTDOWN_OK);
    set_up(&there, false, 0);
    move(&here, &there);
    there.chan.send_result = VMBUS_RING_OK;
    fake_signal(&there.chan);
    fake_pop_message(&there.chan, &msg);
    g_assert_cmpuint(msg.body_len, ==, sizeof(IcShutdown));
    g_assert_cmpmem(msg.body + offsetof(IcShutdown, text), sizeof(text), text,
                    sizeof(text));
    fake_message_clear(&msg);
    tear_down(&here);
    tear_down(&there);
}

/* Refusals */

typedef struct Damage {
    bool heartbeat;
    int inner; /* tag inside the port, or -1 */
    uint16_t tag;
    uint64_t value;
    const char *sentence;
} Damage;

static const Damage damages[] = {
    {true, -1, 1, 9, "The saved state has a number that is out of range."},
    {true, -1, 3, 0, "The saved heartbeat does not agree with itself."},
    {true, IC_STATE_PORT, 1, IC_CLOSED,
     "The saved service is open and its channel is not, or the reverse."},
    {true, IC_STATE_PORT, 2, IC_VERSION(9, 0),
     "The saved service has agreed on versions that were not offered."},
    {true, IC_STATE_PORT, 3, IC_VERSION(3, 9),
     "The saved service has agreed on versions that were not offered."},
    {true, IC_STATE_PORT, 32, 0x0000000000ff0007,
     "The saved service has a request of another service."},
    {false, -1, 1, VMBUS_SHUTDOWN_CLOSED,
     "The saved shutdown service does not agree with itself."},
    {false, IC_STATE_PORT, 5, 1,
     "The saved shutdown service does not agree with itself."},
    {false, IC_STATE_PORT, 1, IC_UNUSABLE,
     "The saved service has versions that it has not agreed on."},
    {true, IC_STATE_PORT, 1, IC_INCOMPATIBLE,
     "The saved service has versions that it has not agreed on."},
};

static void test_damaged(gconstpointer data)
{
    const Damage *damage = data;
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) before = NULL;
    g_autoptr(GByteArray) after = NULL;
    Side here, there;
    uint8_t *at;
    uint32_t size;

    set_up(&here, damage->heartbeat, 100 * SECOND);
    open_ready(&here);
    if (damage->heartbeat) {
        beat(&here);
    } else {
        ask(&here);
    }
    blob = save(&here);
    at = blob->data + sizeof(VmbusBlobHead);
    size = blob->len - sizeof(VmbusBlobHead);
    if (damage->inner >= 0) {
        at = item_find(at, size, damage->inner, &size);
    }
    at = item_find(at, size, damage->tag, &size);
    g_assert_cmpuint(size, >=, sizeof(damage->value));
    memcpy(at, &damage->value, sizeof(damage->value));
    set_up(&there, damage->heartbeat, SECOND);
    there.chan.open = true;
    before = save(&there);
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==, damage->sentence);
    after = save(&there);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);
    tear_down(&here);
    tear_down(&there);
}

/* The services of one state are not those of another. */
static void test_other_service(void)
{
    g_autoptr(GByteArray) blob = NULL;
    Side here, there;

    set_up(&here, true, SECOND);
    set_up(&there, false, SECOND);
    blob = save(&here);
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==,
                    "The saved state is of another kind.");
    tear_down(&here);
    tear_down(&there);
}

static void test_noise(gconstpointer data)
{
    bool heartbeat = GPOINTER_TO_INT(data);
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    g_autoptr(GByteArray) blob = NULL;
    unsigned loaded = 0, refused = 0;
    Side here, there;

    set_up(&here, heartbeat, 100 * SECOND);
    open_ready(&here);
    if (heartbeat) {
        beat(&here);
        beat(&here);
    } else {
        here.chan.send_result = VMBUS_RING_FULL;
        ask(&here);
    }
    blob = save(&here);
    for (guint i = 0; i < 3000 + blob->len; i++) {
        bool cut = i < blob->len;
        guint len = cut ? i : blob->len;
        g_autofree uint8_t *copy = g_memdup2(blob->data, len);
        int flips = cut ? 0 : g_rand_int_range(rand, 1, 4);

        while (flips--) {
            copy[g_rand_int_range(rand, 0, len)] ^=
                1u << g_rand_int_range(rand, 0, 8);
        }
        set_up(&there, heartbeat, 7 * SECOND);
        there.chan.open = true;
        if (load(&there, copy, len)) {
            refused++;
        } else {
            loaded++;
            if (heartbeat) {
                for (int j = 0; j < 5 && there.wake != UINT64_MAX; j++) {
                    there.now = MAX(there.now, there.wake);
                    vmbus_heartbeat_tick(there.hb);
                }
            } else {
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
    g_test_add_func("/state/device/heartbeat", test_heartbeat);
    g_test_add_func("/state/device/heartbeat-lost", test_heartbeat_lost);
    g_test_add_func("/state/device/heartbeat-paused", test_heartbeat_paused);
    g_test_add_data_func("/state/device/port/heartbeat", GINT_TO_POINTER(1),
                         test_port_states);
    g_test_add_data_func("/state/device/port/shutdown", GINT_TO_POINTER(0),
                         test_port_states);
    g_test_add_func("/state/device/shutdown", test_shutdown);
    g_test_add_func("/state/device/shutdown-no-room", test_shutdown_no_room);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strdup_printf("/state/device/damaged/%zu", i);

        g_test_add_data_func(path, &damages[i], test_damaged);
    }
    g_test_add_func("/state/device/other-service", test_other_service);
    g_test_add_data_func("/state/device/noise/heartbeat", GINT_TO_POINTER(1),
                         test_noise);
    g_test_add_data_func("/state/device/noise/shutdown", GINT_TO_POINTER(0),
                         test_noise);
    return g_test_run();
}
