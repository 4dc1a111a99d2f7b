/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vss-fixture.h"

static void changed(void *opaque, const VmbusVssInfo *info)
{
    VssFixture *f = opaque;

    g_assert_true(info->state != f->last.state ||
                  info->reason != f->last.reason);
    f->changes++;
    f->last = *info;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((VssFixture *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((VssFixture *)opaque)->now;
}

static const VmbusVssOps ops = {changed, wake_at, now_ns};

void vss_setup(VssFixture *f, const void *data)
{
    f->now = 100 * SECOND;
    f->wake = UINT64_MAX;
    f->vss = vmbus_vss_new(&ops, f, LIMIT);
    fake_init(&f->chan, &vmbus_vss_channel_ops, f->vss);
}

void vss_open_ready(VssFixture *f)
{
    fake_open(&f->chan);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(5, 0));
}

void vss_setup_ready(VssFixture *f, const void *data)
{
    vss_setup(f, data);
    vss_open_ready(f);
}

void vss_teardown(VssFixture *f, const void *data)
{
    fake_clear(&f->chan);
    vmbus_vss_free(f->vss);
}

VmbusVssInfo vss_info(VssFixture *f)
{
    VmbusVssInfo info;

    vmbus_vss_info(f->vss, &info);
    return info;
}

void vss_assert_state(VssFixture *f, VmbusVssState state, VmbusVssReason reason)
{
    g_assert_cmpstr(vmbus_vss_state_name(vss_info(f).state), ==,
                    vmbus_vss_state_name(state));
    g_assert_cmpint(vss_info(f).reason, ==, reason);
    g_assert_cmpint(f->last.state, ==, state);
    g_assert_cmpint(f->last.reason, ==, reason);
}

void vss_run_until(VssFixture *f, uint64_t until)
{
    while (f->wake <= until) {
        f->now = MAX(f->now, f->wake);
        vmbus_vss_tick(f->vss);
        g_assert_cmpuint(f->wake, >, f->now);
    }
    f->now = until;
}

void vss_pass(VssFixture *f, uint64_t ns)
{
    vss_run_until(f, f->now + ns);
}

void vss_pop(VssFixture *f, uint8_t operation, FakeMessage *msg)
{
    IcVss body;

    fake_pop_message(&f->chan, msg);
    g_assert_cmpuint(msg->header.message_type, ==, IC_MESSAGE_VSS);
    g_assert_cmpuint(msg->body_len, ==, sizeof(body));
    memcpy(&body, msg->body, sizeof(body));
    g_assert_cmpuint(body.operation, ==, operation);
    g_assert_cmpuint(fake_pending(&f->chan), ==, 0);
}

void vss_answer_to(VssFixture *f, FakeMessage *msg, uint32_t status)
{
    msg->header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    msg->header.status = GUINT32_TO_LE(status);
    fake_answer_with(&f->chan, &msg->header, msg->body, msg->body_len);
    fake_message_clear(msg);
    fake_signal(&f->chan);
}

void vss_answer(VssFixture *f, uint8_t operation, uint32_t status)
{
    FakeMessage msg;

    vss_pop(f, operation, &msg);
    vss_answer_to(f, &msg, status);
}

VmbusVssResult vss_freeze(VssFixture *f)
{
    return vmbus_vss_freeze(f->vss, HOLD, 30 * SECOND, &f->job);
}

void vss_freeze_all(VssFixture *f)
{
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_OK);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    vss_answer(f, IC_VSS_FREEZE, IC_STATUS_OK);
    vss_assert_state(f, VMBUS_VSS_FROZEN, VMBUS_VSS_NO_REASON);
}
