/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices that leave and wait until the guest has let go. */
#include "fixture.h"

static void rescind(Fixture *fix)
{
    VmbusMsg msg;

    vmbus_bus_rescind(fix->bus, fix->device.chan);
    fixture_check(fix);
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    g_assert_cmpuint(msg.relid.relid, ==, 1);
    fixture_silence(fix);
    g_assert_cmpuint(fix->device.released, ==, 0);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_RESCINDED);
    g_assert_true(vmbus_channel_opaque(fix->device.chan) == &fix->device);
}

static void let_go(Fixture *fix, uint32_t relid)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = relid;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_null(fix->machine->refused);
}

static void assert_released(Fixture *fix)
{
    g_assert_cmpuint(fix->device.released, ==, 1);
    g_assert_null(fix->device.chan);
    fixture_check(fix);
}

/* The guest closes, takes its GPADL back and lets go, as Linux does. */
static void test_open(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    rescind(fix);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    vmbus_bus_rescind(fix->bus, fix->device.chan); /* no second message */
    fixture_silence(fix);
    vsc_close(chan);
    g_assert_cmpuint(fix->device.released, ==, 0);
    let_go(fix, 1);
    assert_released(fix);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
}

static void test_offered(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    rescind(fix);
    let_go(fix, 1);
    assert_released(fix);
    /* Its relid is free again. */
    device_offer(&fix->device, fix->bus, 1);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.relid, ==, 1);
}

static void test_corrupt(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    chan->out.control->write_index = 1;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    rescind(fix);
    vsc_close(chan);
    let_go(fix, 1);
    assert_released(fix);
}

/* Nobody has it: not connected, not asked for, or still to be told. */
static void test_unseen(Fixture *fix, gconstpointer data)
{
    vmbus_bus_rescind(fix->bus, fix->device.chan);
    assert_released(fix);
    device_offer(&fix->device, fix->bus, 1);
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    vmbus_bus_rescind(fix->bus, fix->device.chan);
    g_assert_cmpuint(fix->device.released, ==, 2);
    fixture_check(fix);
    fixture_silence(fix);
}

/* The offer waits behind other messages and is never sent. */
static void test_unsent(Fixture *fix, gconstpointer data)
{
    Device others[3] = {0};
    VmbusMsg msg;

    for (uint32_t i = 0; i < G_N_ELEMENTS(others); i++) {
        device_offer(&others[i], fix->bus, 2 + i);
    }
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    fixture_post(fix, &msg, sizeof(msg.header));
    vmbus_bus_rescind(fix->bus, others[2].chan);
    g_assert_cmpuint(others[2].released, ==, 1);
    fixture_check(fix);
    for (uint32_t relid = 1; relid < 4; relid++) {
        g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
        g_assert_cmpuint(msg.offer.relid, ==, relid);
    }
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_ALLOFFERS_DELIVERED, &msg, 8));
    for (uint32_t i = 0; i < G_N_ELEMENTS(others); i++) {
        device_free(&others[i]);
    }
}

/* The guest ends without a word about the channel. */
static void test_guest_ends(Fixture *fix, gconstpointer data)
{
    for (unsigned how = 0; how < 3; how++) {
        fixture_connect(fix);
        fix->device.released = 0;
        rescind(fix);
        if (how == 0) {
            g_assert_true(vsc_unload(fix->vsc));
        } else if (how == 1) {
            vsc_machine_reset(fix->machine);
        } else {
            g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_4_0));
        }
        assert_released(fix);
        device_offer(&fix->device, fix->bus, 1);
    }
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* By force: the device goes now, the guest may let go later. */
static void test_force(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusChannel *host = fix->device.chan;
    VmbusChannelInfo info;

    rescind(fix);
    vmbus_bus_withdraw(fix->bus, fix->device.chan);
    fixture_check(fix);
    fixture_silence(fix);
    vmbus_channel_info(host, &info);
    g_assert_cmpint(info.state, ==, VMBUS_CHANNEL_RESCINDED);
    g_assert_null(vmbus_channel_opaque(host));
    /* The relid is not given away before the guest has let go. */
    device_offer(&fix->device, fix->bus, 1);
    vmbus_channel_info(fix->device.chan, &info);
    g_assert_cmpuint(info.relid, ==, 2);
    vsc_close(chan);
    let_go(fix, 1);
    g_assert_cmpuint(fix->device.released, ==, 0);
}

static void withdraw_in_it(Device *device)
{
    vmbus_bus_withdraw(device->bus, device->chan);
    vmbus_bus_rescind(device->bus, device->chan);
}

/* What a machine may do whose device ends in released(). */
static void test_withdraw_in_released(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fix->device.bus = fix->bus;
    fix->device.release_hook = withdraw_in_it;
    fixture_connect(fix);
    rescind(fix);
    let_go(fix, 1);
    assert_released(fix);
    /* And with the offer of it still in the slot. */
    device_offer(&fix->device, fix->bus, 1);
    vmbus_bus_rescind(fix->bus, fix->device.chan);
    let_go(fix, 1); /* waits behind our messages */
    g_assert_cmpuint(fix->device.released, ==, 1);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    g_assert_cmpuint(fix->device.released, ==, 2);
    fixture_check(fix);
}

static void test_no_callback(Fixture *fix, gconstpointer data)
{
    static const VmbusChannelOps ops = {0};
    VmbusOffer offer = {.class_id = {{9}}, .instance_id = {{9}}};
    VmbusChannel *chan;
    const char *err;

    chan = vmbus_bus_offer(fix->bus, &offer, &ops, NULL, &err);
    g_assert_nonnull(chan);
    vmbus_bus_rescind(fix->bus, chan);
    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, 1);
}

/* The bus itself ends while a guest holds on. */
static void test_bus_ends(Fixture *fix, gconstpointer data)
{
    fixture_connect(fix);
    rescind(fix);
    /* The tear-down says if anything was left. */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/rescind/open", test_open);
    FIXTURE_TEST("/rescind/offered", test_offered);
    FIXTURE_TEST("/rescind/corrupt", test_corrupt);
    FIXTURE_TEST("/rescind/unseen", test_unseen);
    FIXTURE_TEST("/rescind/unsent", test_unsent);
    FIXTURE_TEST("/rescind/guest-ends", test_guest_ends);
    FIXTURE_TEST("/rescind/force", test_force);
    FIXTURE_TEST("/rescind/withdraw-in-released", test_withdraw_in_released);
    FIXTURE_TEST("/rescind/no-callback", test_no_callback);
    FIXTURE_TEST("/rescind/bus-ends", test_bus_ends);
    return g_test_run();
}
