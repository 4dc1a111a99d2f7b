/* SPDX-License-Identifier: GPL-2.0-or-later */
/* More channels of one device. */
#include "fixture.h"

static bool add(Fixture *fix, uint16_t count, const char **err)
{
    bool added = vmbus_channel_offer_subchannels(
        fix->device.chan, count, &device_ops, &fix->device, err);

    fixture_check(fix);
    g_assert_true(added == !*err);
    return added;
}

/* The next offer, which is of a sub-channel. */
static VmbusMsgOffer next_offer(Fixture *fix, uint16_t index)
{
    VmbusMsg msg;

    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.subchannel_index, ==, index);
    g_assert_true(vmbus_guid_equal(&msg.offer.instance_id,
                                   &fix->device.offer.instance_id));
    g_assert_true(
        vmbus_guid_equal(&msg.offer.class_id, &fix->device.offer.class_id));
    return msg.offer;
}

static VscChannel *open_offer(Fixture *fix, const VmbusMsgOffer *offer)
{
    VscChannel *chan = vsc_open(fix->vsc, offer, 2, 2, offer->relid % 4);

    g_assert_nonnull(chan);
    fixture_check(fix);
    return chan;
}

static void expect_rescind(Fixture *fix, uint32_t relid)
{
    VmbusMsg msg;

    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    g_assert_cmpuint(msg.relid.relid, ==, relid);
}

static void let_go(Fixture *fix, uint32_t relid)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = relid;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_null(fix->machine->refused);
}

static void count_channel(VmbusChannel *chan, void *opaque)
{
    VmbusChannelInfo info;
    unsigned *counts = opaque;

    vmbus_channel_info(chan, &info);
    g_assert_cmpuint(info.subchannel_index, ==, vmbus_channel_index(chan));
    counts[info.state]++;
}

static unsigned count(Fixture *fix, VmbusChannelState state)
{
    unsigned counts[VMBUS_CHANNEL_RESCINDED + 1] = {0};

    vmbus_bus_foreach(fix->bus, count_channel, counts);
    return counts[state];
}

static void test_traffic(Fixture *fix, gconstpointer data)
{
    VscChannel *chans[4];
    VmbusMsgOffer offers[3], offer;
    const char *err;
    uint8_t buf[64];

    fix->device.echo = true;
    chans[0] = fixture_open(fix, 2);
    g_assert_true(add(fix, 2, &err));
    for (uint16_t i = 1; i < 3; i++) {
        offers[i] = next_offer(fix, i);
        g_assert_cmpuint(offers[i].relid, ==, 1 + i);
    }
    chans[1] = open_offer(fix, &offers[1]);
    chans[2] = open_offer(fix, &offers[2]);
    /* One more; its index goes on. */
    g_assert_true(add(fix, 1, &err));
    offer = next_offer(fix, 3);
    chans[3] = open_offer(fix, &offer);
    for (unsigned i = 0; i < G_N_ELEMENTS(chans); i++) {
        g_assert_true(vsc_send(chans[i], VMBUS_PKT_DATA_INBAND, 0, i, "x", 1));
        for (unsigned j = 0; j < G_N_ELEMENTS(chans); j++) {
            g_assert_true(vsc_interrupted(chans[j]) == (i == j));
        }
        g_assert_cmpuint(vsc_receive(chans[i], buf, sizeof(buf)), ==, 24);
    }
    /* The guest closes one and opens it again. */
    vsc_close(chans[2]);
    g_assert_cmpuint(count(fix, VMBUS_CHANNEL_OPEN), ==, 3);
    fixture_check(fix);
    vsc_close(chans[3]);
    vsc_close(chans[1]);
    vsc_close(chans[0]);
}

/* As Linux' vmbus_close(): first the sub-channels, then the primary one. */
static void test_primary_closed(Fixture *fix, gconstpointer data)
{
    VscChannel *primary, *sub;
    VmbusMsgOffer offer;
    const char *err;
    VmbusMsg msg;

    primary = fixture_open(fix, 2);
    g_assert_true(add(fix, 2, &err));
    offer = next_offer(fix, 1);
    next_offer(fix, 2);
    sub = open_offer(fix, &offer);
    vsc_close(sub);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(count(fix, VMBUS_CHANNEL_OFFERED), ==, 2);
    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = primary->relid;
    fixture_post(fix, &msg, sizeof(msg.relid));
    expect_rescind(fix, 2);
    expect_rescind(fix, 3);
    g_assert_cmpuint(count(fix, VMBUS_CHANNEL_RESCINDED), ==, 2);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, primary->relid, primary->gpadl));
    vsc_abandon(primary);
    fixture_silence(fix);

    /* Open again: the new ones wait until the old ones are let go. */
    primary = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_true(add(fix, 1, &err));
    fixture_silence(fix);
    let_go(fix, 3);
    fixture_silence(fix);
    let_go(fix, 2);
    offer = next_offer(fix, 1);
    g_assert_cmpuint(offer.relid, ==, 4);
    sub = open_offer(fix, &offer);
    vsc_abandon(sub);
    vsc_abandon(primary);
}

/* Each way in which the primary channel ends while all are open. */
static void test_ends(Fixture *fix, gconstpointer data)
{
    for (int how = 0; how < 5; how++) {
        VscChannel *primary = fixture_open(fix, 2), *sub;
        unsigned opened = fix->device.opened;
        VmbusMsgOffer offer;
        const char *err;

        g_assert_true(add(fix, 3, &err));
        offer = next_offer(fix, 1);
        next_offer(fix, 2);
        next_offer(fix, 3);
        sub = open_offer(fix, &offer);
        g_assert_cmpuint(fix->device.opened, ==, opened + 1);
        if (how == 0) {
            g_assert_true(add(fix, 2, &err)); /* in the slot, and under way */
        }
        switch (how) {
        case 0:
            vsc_machine_reset(fix->machine);
            break;
        case 1:
            g_assert_true(vsc_unload(fix->vsc));
            break;
        case 2:
            g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_3_0));
            break;
        case 3:
            primary->out.control->write_index = 1;
            vsc_machine_signal(fix->machine, primary->connection_id);
            g_assert_cmpint(fixture_channel(fix).state, ==,
                            VMBUS_CHANNEL_CORRUPT);
            for (uint32_t relid = 2; relid < 5; relid++) {
                expect_rescind(fix, relid);
            }
            break;
        default:
            vmbus_bus_withdraw(fix->bus, fix->device.chan);
            for (uint32_t relid = 2; relid < 5; relid++) {
                expect_rescind(fix, relid);
            }
            expect_rescind(fix, 1);
        }
        fixture_check(fix);
        g_assert_cmpuint(fix->device.closed, ==, fix->device.opened);
        g_assert_cmpuint(count(fix, VMBUS_CHANNEL_OPEN), ==, 0);
        g_assert_cmpuint(fix->machine->mapped, ==, 0);
        vsc_abandon(sub);
        vsc_abandon(primary);
        vsc_machine_reset(fix->machine);
        vsc_machine_reset_ram(fix->machine);
        g_assert_cmpuint(count(fix, VMBUS_CHANNEL_IDLE), ==, how < 4);
    }
}

/* A sub-channel with a lower relid than its primary channel. */
static void test_low_relid(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    VscChannel *primary;
    VmbusMsgOffer offer;
    const char *err;
    VmbusMsg msg;

    device_offer(&other, fix->bus, 2);
    vmbus_bus_withdraw(fix->bus, fix->device.chan);
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    g_assert_true(vsc_request_offers(fix->vsc));
    primary = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_true(vmbus_channel_offer_subchannels(other.chan, 1, &device_ops,
                                                  &other, &err));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.relid, ==, 1);
    offer = msg.offer;
    vsc_abandon(open_offer(fix, &offer));
    vsc_abandon(primary);
    vsc_machine_reset(fix->machine);
    fixture_check(fix);
    g_assert_cmpuint(other.opened, ==, 2);
    g_assert_cmpuint(other.closed, ==, 2);
    g_assert_cmpuint(count(fix, VMBUS_CHANNEL_IDLE), ==, 1);
    device_free(&other);
}

/* What breaks a sub-channel harms no other. */
static void test_corrupt(Fixture *fix, gconstpointer data)
{
    VscChannel *primary = fixture_open(fix, 2), *sub;
    VmbusMsgOffer offer;
    const char *err;

    g_assert_true(add(fix, 1, &err));
    offer = next_offer(fix, 1);
    sub = open_offer(fix, &offer);
    sub->out.control->write_index = 7;
    vsc_machine_signal(fix->machine, sub->connection_id);
    g_assert_cmpuint(count(fix, VMBUS_CHANNEL_CORRUPT), ==, 1);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OPEN);
    fixture_silence(fix);
    vsc_close(sub);
    sub = open_offer(fix, &offer);
    vsc_close(sub);
    vsc_close(primary);
}

static const char *early_err;

static void offer_in_open(Device *device)
{
    if (device->opened != device->closed) {
        g_assert_false(vmbus_channel_offer_subchannels(
            device->chan, 1, &device_ops, device, &early_err));
    }
}

static void find_sub(VmbusChannel *chan, void *opaque)
{
    if (vmbus_channel_index(chan)) {
        *(VmbusChannel **)opaque = chan;
    }
}

static void test_refused(Fixture *fix, gconstpointer data)
{
    VmbusChannel *sub = NULL;
    const char *err;

    g_assert_false(add(fix, 1, &err));
    g_assert_cmpstr(err, ==, "Sub-channels are for a channel that is open.");
    fixture_connect(fix);
    g_assert_false(add(fix, 1, &err));
    g_assert_cmpstr(err, ==, "Sub-channels are for a channel that is open.");
    fix->device.hook = offer_in_open;
    vsc_abandon(vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0));
    fix->device.hook = NULL;
    g_assert_cmpstr(early_err, ==,
                    "Sub-channels are for a channel that is open.");
    g_assert_false(add(fix, VMBUS_RELID_COUNT - 1, &err));
    g_assert_cmpstr(err, ==, "The bus has no room for the sub-channels.");
    g_assert_false(add(fix, UINT16_MAX, &err));
    fixture_silence(fix);
    g_assert_true(add(fix, VMBUS_RELID_COUNT - 2, &err));
    g_assert_false(add(fix, 1, &err));
    g_assert_cmpstr(err, ==, "The bus has no room for the sub-channels.");
    vmbus_bus_foreach(fix->bus, find_sub, &sub);
    g_assert_false(vmbus_channel_offer_subchannels(sub, 1, &device_ops,
                                                   &fix->device, &err));
    g_assert_cmpstr(err, ==, "A sub-channel cannot have sub-channels.");
    vsc_machine_reset(fix->machine);
    g_assert_cmpuint(count(fix, VMBUS_CHANNEL_IDLE), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/subchannel/traffic", test_traffic);
    FIXTURE_TEST("/subchannel/primary-closed", test_primary_closed);
    FIXTURE_TEST("/subchannel/ends", test_ends);
    FIXTURE_TEST("/subchannel/low-relid", test_low_relid);
    FIXTURE_TEST("/subchannel/corrupt", test_corrupt);
    FIXTURE_TEST("/subchannel/refused", test_refused);
    return g_test_run();
}
