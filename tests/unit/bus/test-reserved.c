/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reserved channels, which outlive the connection that opened them. */
#include "bus/bus-internal.h"
#include "bus/gpadl-map.h"
#include "reserved-fixture.h"

/* Over UNLOAD and a new connection, which goes on with it after the close. */
static void test_outlives(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);
    VmbusMsgOffer offer = *fixture_offer(fix);
    uint32_t gpadl = chan->gpadl;

    reserved_echo(fix, chan);
    g_assert_true(vsc_unload(fix->vsc));
    g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
    reserved_assert_open(fix, true);
    reserved_echo(fix, chan);
    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, 0);
    reserved_assert_open(fix, true);
    reserved_echo(fix, chan);
    reserved_close(fix, chan, 1, 15);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, gpadl));
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    g_array_append_val(fix->vsc->offers, offer);
    fixture_still_works(fix);
}

/* Within one connection it is as any other channel. */
static void test_same_connection(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);
    uint32_t gpadl = chan->gpadl;

    reserved_echo(fix, chan);
    reserved_close(fix, chan, 0, VMBUS_MESSAGE_SINT);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, gpadl));
    fixture_still_works(fix);
}

static void test_closed_disconnected(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);

    g_assert_true(vsc_unload(fix->vsc));
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
    reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_IDLE);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* Closed in a new connection before it asks for the offers: offered then. */
static void test_closed_early(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);

    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
    g_assert_true(vsc_request_offers(fix->vsc));
    g_assert_cmpuint(fix->vsc->offers->len, ==, 1);
    fixture_still_works(fix);
    g_assert_true(vsc_unload(fix->vsc));
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
}

/* The same, and its device leaves: its GPADLs, one of them mapped, go too. */
static void test_closed_early_leaves(Fixture *fix, gconstpointer data)
{
    for (int withdraw = 0; withdraw < 2; withdraw++) {
        VscChannel *chan = reserved_open(fix);
        VmbusGpadlMap *map;
        const char *why;

        map = vmbus_channel_map_gpadl(fix->device.chan, chan->gpadl, &why);
        g_assert_nonnull(map);
        g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
        g_assert_true(vsc_close_reserved(chan, RESERVED_VP, RESERVED_SINT));
        if (withdraw) {
            vmbus_bus_withdraw(fix->bus, fix->device.chan);
        } else {
            vmbus_bus_rescind(fix->bus, fix->device.chan);
            g_assert_cmpuint(fix->device.released, ==, 1);
        }
        fixture_check(fix);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
        g_assert_false(vsc_teardown_gpadl(fix->vsc, 1, chan->gpadl));
        vmbus_gpadl_unmap(map);
        vsc_abandon(chan);
        vsc_machine_reset(fix->machine);
        device_offer(&fix->device, fix->bus, 1);
    }
}

/* Each way that a connection ends, one after the other. */
static void test_ends(Fixture *fix, gconstpointer data)
{
    static const uint32_t versions[] = {VMBUS_VERSION_6_0, VMBUS_VERSION_0_13,
                                        VMBUS_VERSION_2_4, VMBUS_VERSION(9, 9),
                                        VMBUS_VERSION_1_1};
    VscChannel *chan = reserved_open(fix);

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        bool good = vsc_connect(fix->vsc, versions[i]);

        g_assert_true(good == vmbus_version_known(versions[i]));
        fixture_check(fix);
        g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OPEN);
        reserved_echo(fix, chan);
    }
    g_assert_true(vsc_request_offers(fix->vsc));
    g_assert_cmpuint(fix->vsc->offers->len, ==, 0);
    /* 1.1 knows no such channel, and may close what is left of one. */
    g_assert_true(vsc_close_reserved(chan, RESERVED_VP, RESERVED_SINT));
    vsc_abandon(chan);
    fixture_check(fix);
}

static void test_reset(Fixture *fix, gconstpointer data)
{
    for (int unloaded = 0; unloaded < 2; unloaded++) {
        VscChannel *chan = reserved_open(fix);

        if (unloaded) {
            g_assert_true(vsc_unload(fix->vsc));
        }
        vsc_machine_reset(fix->machine);
        reserved_assert_open(fix, false);
        g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_IDLE);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
        vsc_abandon(chan);
        fixture_connect(fix);
        fixture_still_works(fix);
    }
}

/* All versions that have it; the host's numbers whatever was agreed. */
static void test_versions(Fixture *fix, gconstpointer data)
{
    static const uint32_t versions[] = {VMBUS_VERSION_4_0, VMBUS_VERSION_4_1,
                                        VMBUS_VERSION_5_0, VMBUS_VERSION_5_1,
                                        VMBUS_VERSION_5_2, VMBUS_VERSION_5_3,
                                        VMBUS_VERSION_6_0};

    fix->vsc->asked = VMBUS_FEATURE_GUEST_SIGNAL;
    fix->device.echo = true;
    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        VscChannel *chan;

        g_assert_true(vsc_connect(fix->vsc, versions[i]));
        g_assert_true(vsc_request_offers(fix->vsc));
        chan = vsc_open_reserved(fix->vsc, fixture_offer(fix), 2, 2,
                                 RESERVED_VP, RESERVED_SINT);
        g_assert_nonnull(chan);
        reserved_echo(fix, chan);
        reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
    }
}

/* The next connection uses the same numbers for its own memory. */
static void test_same_gpadl(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix), *second;
    uint32_t gpadl = chan->gpadl;
    Device other = {0};

    g_assert_true(vsc_unload(fix->vsc));
    device_offer(&other, fix->bus, 2);
    other.echo = true;
    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, 1);
    fix->vsc->next_gpadl = gpadl;
    /* So many pages that there are bodies, which name no channel. */
    g_assert_cmpuint(vsc_create_gpadl(fix->vsc, 2, 100, 80), ==, gpadl);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 2, gpadl));
    fix->vsc->next_gpadl = gpadl;
    second = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_nonnull(second);
    g_assert_cmpuint(second->gpadl, ==, gpadl);
    fixture_check(fix);
    reserved_echo(fix, chan);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 2);
    g_assert_true(vsc_close_reserved(chan, RESERVED_VP, RESERVED_SINT));
    fixture_check(fix);
    /* Each is torn down by its own channel. */
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, gpadl));
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
    vsc_close(second);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    vsc_abandon(chan);
    vsc_machine_reset(fix->machine);
    device_free(&other);
}

/* An id of the channel's own cannot be used twice; closed, it opens again. */
static void test_reopened(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);
    GpadlCase again = gpadl_good;
    VmbusMsg msg;
    uint32_t len;

    fixture_connect(fix);
    g_assert_true(vsc_close_reserved(chan, RESERVED_VP, RESERVED_SINT));
    again.id = chan->gpadl;
    fixture_refused(fix, &msg, gpadl_case_message(&msg, &again),
                    "A GPADL's id is in use.");
    fixture_created(fix, 1, again.id, 0x8000ffff);
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 1;
    msg.open.gpadl = chan->gpadl;
    msg.open.downstream_offset = 2;
    fixture_post(fix, &msg, sizeof(msg.open));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpuint(msg.open_result.status, ==, 0);
    fixture_check(fix);
    vsc_close(chan);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    reserved_assert_open(fix, false);
}

/* What a device has mapped stays, and can be mapped again. */
static void test_mapped(Fixture *fix, gconstpointer data)
{
    VmbusGpadlMap *map, *second;
    uint32_t id, gone;
    VscChannel *chan;
    const char *why;

    fixture_connect(fix);
    id = vsc_create_gpadl(fix->vsc, 1, 50, 2);
    gone = vsc_create_gpadl(fix->vsc, 1, 60, 2);
    map = vmbus_channel_map_gpadl(fix->device.chan, gone, &why);
    g_assert_nonnull(map);
    /* Torn down and still mapped: the connection takes it with it. */
    g_assert_false(vsc_teardown_gpadl(fix->vsc, 1, gone));
    chan = vsc_open_reserved(fix->vsc, fixture_offer(fix), 2, 2, RESERVED_VP,
                             RESERVED_SINT);
    g_assert_nonnull(chan);
    g_assert_true(vsc_unload(fix->vsc));
    fixture_check(fix);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 2);
    second = vmbus_channel_map_gpadl(fix->device.chan, id, &why);
    g_assert_nonnull(second);
    vmbus_gpadl_unmap(map);
    g_assert_true(vsc_close_reserved(chan, RESERVED_VP, RESERVED_SINT));
    fixture_check(fix);
    g_assert_true(vmbus_gpadl_map_write(second, 0, 0, "x", 1));
    vmbus_gpadl_unmap(second);
    g_assert_null(vmbus_channel_map_gpadl(fix->device.chan, id, &why));
    vsc_abandon(chan);
    reserved_assert_open(fix, false);
}

/* A corrupt one is closed, and waits for the guest as it would open. */
static void test_corrupt(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);

    g_assert_true(vsc_unload(fix->vsc));
    chan->out.control->write_index = 4;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    reserved_assert_open(fix, false);
    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, 0);
    reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
}

/* The host takes the device away, in each state of the connection. */
static void test_rescinded(Fixture *fix, gconstpointer data)
{
    for (int state = 0; state < 6; state++) {
        VscChannel *chan = reserved_open(fix);
        bool withdraw = state & 1;
        VmbusMsg msg;

        fix->device.released = 0;
        if (state >= 2) {
            g_assert_true(vsc_unload(fix->vsc));
        }
        if (state >= 4) {
            fixture_connect(fix);
        }
        if (withdraw) {
            vmbus_bus_withdraw(fix->bus, fix->device.chan);
            fix->device.chan = NULL;
        } else {
            vmbus_bus_rescind(fix->bus, fix->device.chan);
        }
        fixture_check(fix);
        g_assert_cmpuint(fix->device.opened, ==, fix->device.closed);
        if (state < 2) {
            /* It hears of it, closes, and hears that this is done. */
            g_assert_true(
                vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
            g_assert_true(vsc_close_reserved(chan, RESERVED_VP, RESERVED_SINT));
            g_assert_cmpuint(fix->device.released, ==, 0);
            reserved_put_open(fix, &msg, 1, chan->gpadl);
            reserved_open_refused(
                fix, &msg, "The guest opened a channel that was withdrawn.");
            vsc_machine_reset(fix->machine);
        }
        g_assert_cmpuint(fix->device.released, ==, !withdraw);
        g_assert_null(fix->device.chan);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
        fixture_silence(fix);
        vsc_abandon(chan);
        vsc_machine_reset(fix->machine);
        vsc_machine_reset_ram(fix->machine);
        device_offer(&fix->device, fix->bus, 1);
    }
}

/* Packets that came before: the device hears of them, and may ask for more. */
static void offer_subchannels(Device *device)
{
    const char *why;

    device->signal_hook = NULL;
    g_assert_false(vmbus_channel_offer_subchannels(device->chan, 1, &device_ops,
                                                   device, &why));
    g_assert_cmpstr(why, ==,
                    "Sub-channels are not for a channel that the guest "
                    "reserved.");
}

static void test_packets_before(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;
    uint32_t len;

    fixture_connect(fix);
    reserved_put_open(fix, &msg, 1, vsc_create_gpadl(fix->vsc, 1, 10, 6));
    *(uint32_t *)vsc_machine_page(fix->machine, 10) = 64;
    fix->device.signal_hook = offer_subchannels;
    fixture_post(fix, &msg, sizeof(msg.open_reserved));
    g_assert_true(
        vsc_machine_take(fix->machine, RESERVED_VP, RESERVED_SINT, &msg, &len));
    g_assert_cmpuint(msg.open_result.status, ==, 0);
    g_assert_null(fix->device.signal_hook);
    vsc_machine_reset(fix->machine);
    reserved_assert_open(fix, false);
}

/*
 * The guest does not read its slot for a while.  Its UNLOAD waits, as it will
 * want to know what became of the channel; a new kernel does not.
 */
static void test_answer_waits(Fixture *fix, gconstpointer data)
{
    static const uint32_t expected[] = {VMBUS_MSG_OPENCHANNEL_RESULT,
                                        VMBUS_MSG_CLOSE_RESERVED_RESPONSE};

    for (int i = 0; i < 6; i++) {
        bool closing = i & 1, new_kernel = i >= 4, queued = i & 2;
        VscChannel *chan = NULL;
        VmbusMsg msg;
        uint32_t len;

        if (closing) {
            chan = reserved_open(fix);
            vsc_head(&msg, VMBUS_MSG_CLOSE_RESERVED);
            msg.close_reserved.relid = 1;
            msg.close_reserved.target_vp = RESERVED_VP;
            msg.close_reserved.target_sint = RESERVED_SINT;
        } else {
            fixture_connect(fix);
            reserved_put_open(fix, &msg, 1,
                              vsc_create_gpadl(fix->vsc, 1, 10, 6));
        }
        fix->machine->slots[RESERVED_VP][RESERVED_SINT].len =
            8; /* another one's message */
        if (queued) {
            /* An answer of no interest is in the way. */
            VmbusMsg first;

            fix->machine->slots[0][VMBUS_MESSAGE_SINT].len = 8;
            vsc_head(&first, VMBUS_MSG_MODIFYCHANNEL);
            fixture_post(fix, &first, sizeof(first.modify_channel));
        }
        fixture_post(fix, &msg, sizeof(msg.close_reserved) + 8);
        if (new_kernel) {
            memset(fix->machine->slots[0], 0, sizeof(fix->machine->slots[0]));
            g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
            g_assert_cmpuint(fix->machine->under_way.len, ==, 0);
        } else {
            vsc_head(&msg, VMBUS_MSG_UNLOAD);
            fixture_post(fix, &msg, sizeof(msg.header));
            g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_CONNECTED);
            if (queued) {
                g_assert_true(vsc_next(fix->vsc, &msg, &len));
                g_assert_true(vsc_expect(
                    fix->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg, 16));
            }
            vsc_machine_take(fix->machine, RESERVED_VP, RESERVED_SINT, &msg,
                             &len);
            g_assert_true(vsc_machine_take(fix->machine, RESERVED_VP,
                                           RESERVED_SINT, &msg, &len));
            g_assert_cmpuint(msg.header.type, ==, expected[closing]);
            g_assert_cmpuint(msg.open_result.relid, ==, 1);
            g_assert_true(
                vsc_expect(fix->vsc, VMBUS_MSG_UNLOAD_RESPONSE, &msg, 8));
        }
        fixture_check(fix);
        if (chan) {
            vsc_abandon(chan);
        }
        vsc_machine_reset(fix->machine);
        vsc_machine_reset_ram(fix->machine);
        reserved_assert_open(fix, false);
    }
}

/* The checker of invariants knows them. */

#define BREAK(fix, what, value, sentence)                                      \
    do {                                                                       \
        __typeof__(what) old = what;                                           \
        what = value;                                                          \
        g_assert_cmpstr(vmbus_bus_check((fix)->bus), ==, sentence);            \
        what = old;                                                            \
        fixture_check(fix);                                                    \
    } while (0)

static void test_check(Fixture *fix, gconstpointer data)
{
    VscChannel *guest = reserved_open(fix);
    VmbusChannel *chan = fix->device.chan;

    BREAK(fix, chan->index, 1,
          "A channel is reserved that is a sub-channel, or interrupts.");
    g_assert_true(vsc_unload(fix->vsc));
    BREAK(fix, chan->reserved, false,
          "A channel has outlived its connection and is not reserved.");
    BREAK(fix, chan->outlived, false,
          "A channel is offered and nobody is connected.");
    BREAK(fix, chan->gpadl->key, 5, "A GPADL stands under another one's id.");
    BREAK(fix, chan->gpadl->in_use, false,
          "An open channel has the GPADL of another.");
    BREAK(fix, chan->gpadl->id, 5, "A GPADL's key is not its own.");
    chan->state = VMBUS_CHANNEL_IDLE;
    g_assert_cmpstr(vmbus_bus_check(fix->bus), ==,
                    "A channel is reserved that is not open.");
    chan->state = VMBUS_CHANNEL_OPEN;
    vsc_abandon(guest);
    vsc_machine_reset(fix->machine);
}

/* Two are in flight with the ids of another; the guest floods with them. */
static void test_flood(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);
    VmbusMsg msg;

    for (int i = 0; i < 100; i++) {
        reserved_put_open(fix, &msg, 1, chan->gpadl);
        vsc_post(fix->vsc, &msg, sizeof(msg.open_reserved));
        fixture_check(fix);
    }
    g_assert_cmpint(vsc_post(fix->vsc, &msg, sizeof(msg.open_reserved)), ==,
                    VMBUS_POST_BUSY);
    vsc_machine_reset(fix->machine);
    vsc_abandon(chan);
    reserved_assert_open(fix, false);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/reserved/outlives", test_outlives);
    FIXTURE_TEST("/reserved/same-connection", test_same_connection);
    FIXTURE_TEST("/reserved/closed-disconnected", test_closed_disconnected);
    FIXTURE_TEST("/reserved/closed-early", test_closed_early);
    FIXTURE_TEST("/reserved/closed-early/leaves", test_closed_early_leaves);
    FIXTURE_TEST("/reserved/ends", test_ends);
    FIXTURE_TEST("/reserved/reset", test_reset);
    FIXTURE_TEST("/reserved/versions", test_versions);
    FIXTURE_TEST("/reserved/same-gpadl", test_same_gpadl);
    FIXTURE_TEST("/reserved/reopened", test_reopened);
    FIXTURE_TEST("/reserved/mapped", test_mapped);
    FIXTURE_TEST("/reserved/corrupt", test_corrupt);
    FIXTURE_TEST("/reserved/rescinded", test_rescinded);
    FIXTURE_TEST("/reserved/packets-before", test_packets_before);
    FIXTURE_TEST("/reserved/answer-waits", test_answer_waits);
    FIXTURE_TEST("/reserved/check", test_check);
    FIXTURE_TEST("/reserved/flood", test_flood);
    return g_test_run();
}
