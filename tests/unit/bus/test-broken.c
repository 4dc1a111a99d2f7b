/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the moment when a channel's thread finds its ring corrupt and the
 * moment when the bus's thread closes it, anything may happen.  Here the second
 * comes when the test says so.
 */
#include "fixture.h"
#include "bus/state.h"

static const char out_of_range[] =
    "The write index of the ring to the host is out of range.";

/* Opens the channel and breaks it; its close waits. */
static VscChannel *broken(Fixture *fix)
{
    VscChannel *chan = fixture_open(fix, 2);

    fix->machine->hold_broken = true;
    chan->out.control->write_index = 4;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_CORRUPT);
    g_assert_cmpuint(fix->device.closed, ==, 0);
    fixture_check(fix);
    return chan;
}

static void assert_told_once(Fixture *fix)
{
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    g_assert_cmpstr(fix->machine->corrupt, ==, out_of_range);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(fixture_channel(fix).corruptions, ==, 1);
    g_assert_cmpstr(fixture_channel(fix).corruption, ==, out_of_range);
}

/* Nothing is read or written any more, at once. */
static void test_at_once(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    struct iovec iov = {(void *)"x", 1};
    VmbusRingControl before;
    VmbusPacket pkt;

    g_assert_false(vmbus_channel_is_open(fix->device.chan));
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    g_assert_cmpstr(fixture_channel(fix).corruption, ==, out_of_range);
    /* The guest mends it, which is of no use. */
    chan->out.control->write_index = 0;
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 1, "x", 1));
    before = *chan->in.control;
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_CLOSED);
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, &iov, 1), ==,
                    VMBUS_RING_CLOSED);
    vmbus_channel_flush(fix->device.chan);
    vmbus_channel_again(fix->device.chan);
    g_assert_false(vmbus_channel_has_packet(fix->device.chan));
    g_assert_cmpmem(chan->in.control, sizeof(before), &before, sizeof(before));
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    vsc_machine_settle(fix->machine);
    fixture_check(fix);
    assert_told_once(fix);
    /* What comes late does nothing. */
    vmbus_channel_close_broken(fix->device.chan);
    assert_told_once(fix);
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_close(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    vsc_close(chan);
    fixture_check(fix);
    assert_told_once(fix);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    vsc_machine_settle(fix->machine);
    assert_told_once(fix);
    fixture_still_works(fix);
}

/* What was to close the first opening does not close the second. */
static void test_reopen(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    vsc_close(chan);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_nonnull(chan);
    vmbus_channel_close_broken(fix->device.chan);
    fixture_check(fix);
    assert_told_once(fix);
    g_assert_true(vmbus_channel_is_open(fix->device.chan));
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_modify(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_MODIFYCHANNEL);
    msg.modify_channel.relid = chan->relid;
    msg.modify_channel.target_vp = 2;
    fixture_refused(fix, &msg, sizeof(msg.modify_channel),
                    "The guest modified a channel that is not open.");
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg,
                             sizeof(msg.modify_channel_response)));
    g_assert_cmphex(msg.modify_channel_response.status, !=, 0);
    vsc_machine_settle(fix->machine);
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_open_again(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = chan->relid;
    msg.open.openid = 5;
    msg.open.gpadl = chan->gpadl;
    msg.open.downstream_offset = 2;
    fixture_open_refused(fix, &msg.open,
                         "The guest opened a channel that it has not closed.");
    vsc_machine_settle(fix->machine);
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_teardown(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = chan->relid;
    msg.gpadl_teardown.gpadl = chan->gpadl;
    fixture_post(fix, &msg, sizeof(msg.gpadl_teardown));
    fixture_silence(fix);
    /* It waited for the close. */
    vsc_machine_settle(fix->machine);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg,
                             sizeof(msg.gpadl_torndown)));
    assert_told_once(fix);
    vsc_abandon(chan);
}

static void test_rescind(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    VmbusMsg msg;

    vmbus_bus_rescind(fix->bus, fix->device.chan);
    fixture_check(fix);
    assert_told_once(fix);
    vsc_machine_settle(fix->machine);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg,
                             sizeof(msg.relid)));
    g_assert_cmpuint(fix->device.closed, ==, 1);
    vsc_abandon(chan);
}

static void test_withdraw(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    vmbus_bus_withdraw(fix->bus, fix->device.chan);
    fixture_check(fix);
    vsc_machine_settle(fix->machine);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    vsc_abandon(chan);
}

static void test_reset(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    vsc_machine_reset(fix->machine);
    fixture_check(fix);
    assert_told_once(fix);
    vsc_machine_settle(fix->machine);
    vsc_abandon(chan);
    fixture_connect(fix);
    fixture_still_works(fix);
}

static void test_reconnect(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    fixture_connect(fix);
    assert_told_once(fix);
    vsc_machine_settle(fix->machine);
    vsc_abandon(chan);
    fixture_still_works(fix);
}

/* The machine stops and goes on. */
static void test_stop(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    vmbus_bus_quiesce(fix->bus);
    fixture_check(fix);
    g_assert_cmpuint(fix->device.closed, ==, 0);
    g_assert_false(vmbus_bus_resume(fix->bus));
    fixture_check(fix);
    vsc_machine_settle(fix->machine);
    assert_told_once(fix);
    vsc_close(chan);
    fixture_still_works(fix);
}

/* It is saved before the close, which follows where it is loaded. */
static void test_save(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) again = NULL;
    g_autofree char *why = NULL;
    const char *err = NULL;

    vmbus_bus_quiesce(fix->bus);
    blob = vmbus_bus_save(fix->bus, false, &err);
    g_assert_cmpstr(err, ==, NULL);
    g_assert_true(vmbus_bus_load(fix->bus, blob->data, blob->len, &why));
    fixture_check(fix);
    /* The reset before the load has closed it. */
    assert_told_once(fix);
    /* As open as its device was, whose state comes after this. */
    g_assert_true(vmbus_channel_is_open(fix->device.chan));
    again = vmbus_bus_save(fix->bus, false, &err);
    g_assert_cmpmem(again->data, again->len, blob->data, blob->len);
    fix->device.opened++;
    g_assert_true(vmbus_bus_resume(fix->bus));
    fixture_check(fix);
    g_assert_cmpuint(fix->device.closed, ==, 2);
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CORRUPT], ==, 2);
    g_assert_cmpstr(fix->machine->corrupt, ==, out_of_range);
    g_assert_cmpuint(fixture_channel(fix).corruptions, ==, 1);
    vsc_close(chan);
    fixture_still_works(fix);
}

/* A machine that waits handles other events: among them this one. */
static void close_while_waiting(Device *device)
{
    if (device->closed) {
        vmbus_channel_close_broken(device->chan);
    }
}

static void test_within_close(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);

    fix->device.hook = close_while_waiting;
    vsc_close(chan);
    fix->device.hook = NULL;
    fixture_check(fix);
    assert_told_once(fix);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    fixture_still_works(fix);
}

static VmbusChannel *other_chan;

static void close_other_while_waiting(Device *device)
{
    if (device->closed) {
        vmbus_channel_close_broken(other_chan);
        g_assert_true(vmbus_channel_listener(other_chan));
    }
}

/* The same for another channel, whose turn comes after that. */
static void test_within_close_of_another(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    VscChannel *chan, *chan2;

    device_offer(&other, fix->bus, 2);
    chan = broken(fix);
    chan2 = vsc_open(
        fix->vsc, &g_array_index(fix->vsc->offers, VmbusMsgOffer, 1), 2, 2, 1);
    g_assert_nonnull(chan2);
    other_chan = fix->device.chan;
    other.hook = close_other_while_waiting;
    vsc_close(chan2);
    fixture_check(fix);
    g_assert_cmpuint(other.closed, ==, 1);
    assert_told_once(fix);
    vsc_close(chan);
    device_free(&other);
    fixture_still_works(fix);
}

static void test_subchannels(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = broken(fix);
    const char *err;

    g_assert_false(vmbus_channel_offer_subchannels(
        fix->device.chan, 1, &device_ops, &fix->device, &err));
    g_assert_cmpstr(err, ==, "Sub-channels are for a channel that is open.");
    vsc_machine_settle(fix->machine);
    vsc_close(chan);
    fixture_still_works(fix);
}

/* The device asks to be called again, and is, until it has had enough. */
static void ask_again(Device *device)
{
    if (device->signalled < 5) {
        vmbus_channel_again(device->chan);
    }
}

static void test_again(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    fix->device.signal_hook = ask_again;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpuint(fix->device.signalled, ==, 5);
    /* The guest signalled once. */
    g_assert_cmpuint(fixture_channel(fix).signals_received, ==, 1);
    fix->device.signal_hook = NULL;
    vsc_close(chan);
}

/* A machine that polls sees packets only for a device that waits for them. */
static void test_has_packet(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusPacket pkt;

    fix->device.quiet = true;
    g_assert_false(vmbus_channel_has_packet(fix->device.chan));
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 1, "x", 1));
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 2, "y", 1));
    g_assert_true(vmbus_channel_has_packet(fix->device.chan));
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_false(vmbus_channel_has_packet(fix->device.chan));
    fix->device.quiet = false;
    vmbus_channel_polled(fix->device.chan);
    g_assert_cmpuint(fix->device.trans_id, ==, 2);
    g_assert_false(vmbus_channel_has_packet(fix->device.chan));
    g_assert_cmpuint(fixture_channel(fix).signals_received, ==, 1);
    vsc_close(chan);
    g_assert_false(vmbus_channel_has_packet(fix->device.chan));
}

/* While it polls the guest signals nothing, and again when it has ended. */
static void test_polled(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    const uint32_t *mask = &chan->out.control->interrupt_mask;
    VmbusChannel *host = fix->device.chan;

    vmbus_channel_set_polled(host, true);
    g_assert_cmpuint(*mask, ==, 1);
    for (int i = 1; i <= 3; i++) {
        g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, i, "x", 1));
        g_assert_cmpuint(fix->device.signalled, ==, i - 1);
        g_assert_true(vmbus_channel_has_packet(host));
        vmbus_channel_polled(host);
        g_assert_cmpuint(fix->device.trans_id, ==, i);
        g_assert_false(vmbus_channel_has_packet(host));
        /* The device has found the ring empty, and yet: */
        g_assert_cmpuint(*mask, ==, 1);
    }
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 4, "x", 1));
    vmbus_channel_set_polled(host, false);
    g_assert_cmpuint(*mask, ==, 0);
    g_assert_true(vmbus_channel_has_packet(host));
    vmbus_channel_polled(host);
    g_assert_cmpuint(fix->device.trans_id, ==, 4);
    g_assert_cmpuint(fixture_channel(fix).signals_received, ==, 0);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 5, "x", 1));
    g_assert_cmpuint(fixture_channel(fix).signals_received, ==, 1);
    g_assert_cmpuint(fix->device.trans_id, ==, 5);
    /* A device that wants none gets none after it, either. */
    vmbus_channel_hold(host);
    vmbus_channel_set_polled(host, true);
    vmbus_channel_set_polled(host, false);
    g_assert_cmpuint(*mask, ==, 1);
    vsc_close(chan);
    vmbus_channel_set_polled(host, true);
    chan = fixture_open(fix, 2);
    g_assert_cmpuint(chan->out.control->interrupt_mask, ==, 0);
    vsc_close(chan);
}

/* Signals that come while the machine is stopped wait for it. */
static void test_signal_while_stopped(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    vmbus_bus_quiesce(fix->bus);
    fixture_check(fix);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 1, "x", 1));
    g_assert_cmpuint(fix->device.signalled, ==, 0);
    vmbus_bus_quiesce(fix->bus);
    g_assert_false(vmbus_bus_resume(fix->bus));
    fixture_check(fix);
    g_assert_cmpuint(fix->device.packets, ==, 1);
    vsc_close(chan);
    /* Opened while it is stopped: the device waits, too. */
    vmbus_bus_quiesce(fix->bus);
    vsc_machine_reset_ram(fix->machine);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_nonnull(chan);
    fixture_check(fix);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 2, "y", 1));
    g_assert_cmpuint(fix->device.packets, ==, 1);
    g_assert_false(vmbus_bus_resume(fix->bus));
    g_assert_cmpuint(fix->device.packets, ==, 2);
    vsc_close(chan);
    fixture_still_works(fix);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/broken/at-once", test_at_once);
    FIXTURE_TEST("/broken/close", test_close);
    FIXTURE_TEST("/broken/reopen", test_reopen);
    FIXTURE_TEST("/broken/modify", test_modify);
    FIXTURE_TEST("/broken/open-again", test_open_again);
    FIXTURE_TEST("/broken/teardown", test_teardown);
    FIXTURE_TEST("/broken/rescind", test_rescind);
    FIXTURE_TEST("/broken/withdraw", test_withdraw);
    FIXTURE_TEST("/broken/reset", test_reset);
    FIXTURE_TEST("/broken/reconnect", test_reconnect);
    FIXTURE_TEST("/broken/stop", test_stop);
    FIXTURE_TEST("/broken/save", test_save);
    FIXTURE_TEST("/broken/within-close", test_within_close);
    FIXTURE_TEST("/broken/within-close-of-another",
                 test_within_close_of_another);
    FIXTURE_TEST("/broken/subchannels", test_subchannels);
    FIXTURE_TEST("/thread/again", test_again);
    FIXTURE_TEST("/thread/has-packet", test_has_packet);
    FIXTURE_TEST("/thread/polled", test_polled);
    FIXTURE_TEST("/thread/signal-while-stopped", test_signal_while_stopped);
    return g_test_run();
}
