/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heartbeat and shutdown as the first version saved them: they are loaded, say
 * what they said, and the service goes on from there.
 */
#include "devices/ic-state.h"
#include "fake-channel.h"
#include "golden.h"

#define SECOND UINT64_C(1000000000)

typedef struct Side {
    VmbusChannel chan;
    VmbusHeartbeat *hb; /* or NULL */
    VmbusShutdown *sd;
    uint64_t now, wake;
    unsigned answers;
    VmbusShutdownResult result;
} Side;

static void hb_changed(void *opaque, const VmbusHeartbeatInfo *info)
{
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

    g_assert_cmpint(mode, ==, VMBUS_SHUTDOWN_HIBERNATE);
    side->answers++;
    side->result = result;
}

static void sd_changed(void *opaque, VmbusShutdownState state)
{
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
    } else {
        vmbus_shutdown_free(side->sd);
    }
}

static GByteArray *save(const Side *side)
{
    return side->hb ? vmbus_heartbeat_save(side->hb)
                    : vmbus_shutdown_save(side->sd);
}

static void answer_one(Side *side)
{
    FakeMessage msg;

    fake_pop_message(&side->chan, &msg);
    fake_answer(&side->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&side->chan);
}

static void tick(Side *side)
{
    side->now = side->wake;
    vmbus_heartbeat_tick(side->hb);
}

/* The states: what the guest and the host have done until then. */

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
                   side->hb ? IC_VERSION(3, 0) : IC_VERSION(3, 2));
}

/* Two beats have no answer, and half of a period is over. */
static void beating(Side *side)
{
    ready(side);
    answer_one(side);
    tick(side);
    tick(side);
    side->now += SECOND / 2;
}

static void lost(Side *side)
{
    beating(side);
    for (int i = 0; i < 4; i++) {
        tick(side);
    }
}

static void request(Side *side)
{
    VmbusShutdownRequest req = {.mode = VMBUS_SHUTDOWN_HIBERNATE,
                                .force = true,
                                .message = "for a reason"};

    g_assert_cmpint(vmbus_shutdown_request(side->sd, &req), ==,
                    VMBUS_SHUTDOWN_OK);
}

static void asked(Side *side)
{
    ready(side);
    request(side);
}

static void unsent(Side *side)
{
    ready(side);
    side->chan.send_result = VMBUS_RING_FULL;
    request(side);
}

static void accepted(Side *side)
{
    asked(side);
    answer_one(side);
}

/* What comes next, on the machine that loaded the state. */

static void goes_on_closed(Side *side)
{
    side->chan.open = false;
    ready(side);
}

static void goes_on_beating(Side *side)
{
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_info(side->hb, &info);
    g_assert_cmpint(info.state, ==, VMBUS_HEARTBEAT_OK);
    g_assert_cmpuint(info.sequence, ==, 1);
    g_assert_cmpuint(info.sent, ==, 3);
    g_assert_cmpuint(info.received, ==, 1);
    g_assert_cmpuint(side->now - info.last_ns, ==, 4 * SECOND + SECOND / 2);
    g_assert_cmpuint(side->wake - side->now, ==, 3 * SECOND / 2);
    /* Its next beat has the number that is due. */
    tick(side);
    answer_one(side);
    vmbus_heartbeat_info(side->hb, &info);
    g_assert_cmpuint(info.sequence, ==, 4);
}

static void goes_on_lost(Side *side)
{
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_info(side->hb, &info);
    g_assert_cmpint(info.state, ==, VMBUS_HEARTBEAT_LOST);
    tick(side);
    answer_one(side);
    vmbus_heartbeat_info(side->hb, &info);
    g_assert_cmpint(info.state, ==, VMBUS_HEARTBEAT_OK);
}

static void goes_on_unsent(Side *side)
{
    static const uint16_t text[] = {'f', 'o', 'r', ' '};
    FakeMessage msg;

    fake_signal(&side->chan);
    fake_pop_message(&side->chan, &msg);
    g_assert_cmpmem(msg.body + offsetof(IcShutdown, text), sizeof(text), text,
                    sizeof(text));
    fake_answer(&side->chan, &msg);
    fake_message_clear(&msg);
    fake_signal(&side->chan);
    g_assert_cmpuint(side->answers, ==, 1);
    g_assert_cmpint(side->result, ==, VMBUS_SHUTDOWN_OK);
}

static void goes_on_in_progress(Side *side)
{
    VmbusShutdownRequest req = {.mode = VMBUS_SHUTDOWN_POWEROFF};

    g_assert_cmpint(vmbus_shutdown_request(side->sd, &req), ==,
                    VMBUS_SHUTDOWN_IN_PROGRESS);
    fake_close(&side->chan);
}

static void goes_on_ready(Side *side)
{
    if (side->sd) {
        request(side);
    } else {
        tick(side);
    }
    answer_one(side);
}

/* The guest's answer to the question of before, which the guest still has. */
static void goes_on_asking(Side *side)
{
    Side before;

    set_up(&before, side->hb != NULL, SECOND);
    fake_open(&before.chan);
    g_queue_push_tail(&side->chan.to_guest, fake_pop(&before.chan));
    tear_down(&before);
    fake_negotiate(&side->chan, IC_VERSION(3, 0),
                   side->hb ? IC_VERSION(3, 0) : IC_VERSION(3, 2));
    goes_on_ready(side);
}

typedef struct Case {
    const char *name;
    bool heartbeat;
    void (*prepare)(Side *side);
    void (*goes_on)(Side *side);
} Case;

static const Case cases[] = {
    {"heartbeat-closed", true, closed, goes_on_closed},
    {"heartbeat-asking", true, asking, goes_on_asking},
    {"heartbeat-ready", true, ready, goes_on_ready},
    {"heartbeat-beating", true, beating, goes_on_beating},
    {"heartbeat-lost", true, lost, goes_on_lost},
    {"shutdown-closed", false, closed, goes_on_closed},
    {"shutdown-asking", false, asking, goes_on_asking},
    {"shutdown-ready", false, ready, goes_on_ready},
    {"shutdown-asked", false, asked, goes_on_in_progress},
    {"shutdown-unsent", false, unsent, goes_on_unsent},
    {"shutdown-accepted", false, accepted, goes_on_in_progress},
};

static VmbusBlobItemHead head_at(const uint8_t *data, size_t len)
{
    VmbusBlobItemHead head;

    g_assert_cmpuint(len, >=, sizeof(head));
    memcpy(&head, data, sizeof(head));
    g_assert_cmpuint(head.len, <=, len - sizeof(head));
    return head;
}

/* The item of @new with @tag. */
static const uint8_t *find(const uint8_t *new, size_t len, uint16_t tag,
                           uint32_t *found_len)
{
    while (len) {
        VmbusBlobItemHead head = head_at(new, len);

        if (head.tag == tag) {
            *found_len = head.len;
            return new + sizeof(head);
        }
        new += sizeof(head) + head.len;
        len -= sizeof(head) + head.len;
    }
    g_error("the state has no item %u any more", tag);
}

/*
 * Each item of @old is in @new with the same bytes.  A list may have become
 * longer, and there may be items that are new.
 */
static void assert_contains(const uint8_t *new, size_t new_len,
                            const uint8_t *old, size_t old_len)
{
    while (old_len) {
        VmbusBlobItemHead head = head_at(old, old_len);
        uint32_t len;
        const uint8_t *item = find(new, new_len, head.tag, &len);

        old += sizeof(head);
        if (head.tag == IC_STATE_PORT) {
            assert_contains(item, len, old, head.len);
        } else {
            g_assert_cmpuint(len, >=, head.len);
            g_assert_cmpmem(item, head.len, old, head.len);
        }
        old += head.len;
        old_len -= sizeof(head) + head.len;
    }
}

static void assert_same(const GByteArray *new, const GByteArray *golden)
{
    const size_t head = sizeof(VmbusBlobHead);

    if (new->len == golden->len) {
        g_assert_cmpmem(new->data, new->len, golden->data, golden->len);
    }
    assert_contains(new->data + head, new->len - head, golden->data + head,
                    golden->len - head);
}

static void test_golden(gconstpointer data)
{
    const Case *c = data;
    g_autoptr(GByteArray) now = NULL;
    g_autoptr(GByteArray) golden = NULL;
    g_autoptr(GByteArray) again = NULL;
    Side here, there;

    set_up(&here, c->heartbeat, 1000 * SECOND);
    c->prepare(&here);
    now = save(&here);
    golden = golden_read(c->name, now->data, now->len);
    /* What has happened is still saved as it was. */
    assert_same(now, golden);

    set_up(&there, c->heartbeat, 5000 * SECOND);
    there.chan.open = c->prepare != closed;
    g_assert_cmpstr(c->heartbeat
                        ? vmbus_heartbeat_load(there.hb, &there.chan,
                                               golden->data, golden->len)
                        : vmbus_shutdown_load(there.sd, &there.chan,
                                              golden->data, golden->len),
                    ==, NULL);
    again = save(&there);
    assert_same(again, golden);
    c->goes_on(&there);
    tear_down(&here);
    tear_down(&there);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/state/golden/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_golden);
    }
    return g_test_run();
}
