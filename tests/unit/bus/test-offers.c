/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offers, and what guests do with the channels. */
#include "fixture.h"

static void test_offer_fields(Fixture *fix, gconstpointer data)
{
    const VmbusMsgOffer *msg;

    fixture_connect(fix);
    msg = fixture_offer(fix);
    g_assert_true(
        vmbus_guid_equal(&msg->instance_id, &fix->device.offer.instance_id));
    g_assert_cmpuint(msg->relid, ==, 1);
    g_assert_cmpuint(msg->mmio_megabytes, ==, 7);
    g_assert_cmpuint(msg->dedicated_interrupt, ==, 1);
    g_assert_cmpuint(msg->connection_id, >, 16);
    g_assert_cmpuint(msg->monitor_allocated, ==, 0);
    g_assert_cmpuint(msg->flags, ==, 0);
    g_assert_cmpuint(msg->subchannel_index, ==, 0);
}

static void test_pipe_offer(Fixture *fix, gconstpointer data)
{
    static const VmbusChannelOps ops;
    VmbusOffer offer = {
        .name = "pipe",
        .class_id = {{1}},
        .instance_id = {{2}},
        .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
        .pipe = true,
        .user_defined = {0xaa, 0xbb},
    };
    const VmbusMsgOffer *msg;
    const char *err;

    offer.user_defined[115] = 0xcc;
    g_assert_nonnull(vmbus_bus_offer(fix->bus, &offer, &ops, NULL, &err));
    fixture_connect(fix);
    msg = vsc_find_offer(fix->vsc, &offer.class_id);
    g_assert_nonnull(msg);
    g_assert_cmphex(msg->flags, ==,
                    VMBUS_OFFER_ENUMERATE_INTERFACE | VMBUS_OFFER_NAMED_PIPE);
    g_assert_cmpuint(msg->user_defined[0], ==, VMBUS_PIPE_MESSAGE);
    g_assert_cmpuint(msg->user_defined[3], ==, 0);
    g_assert_cmphex(msg->user_defined[4], ==, 0xaa);
    g_assert_cmphex(msg->user_defined[5], ==, 0xbb);
    g_assert_cmphex(msg->user_defined[119], ==, 0xcc);
}

static void test_offers_once(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    fixture_refused(fix, &msg, sizeof(msg.header),
                    "The offers have been delivered already.");
    fixture_still_works(fix);
    /* A new connection gets them again, with the same relids. */
    fixture_connect(fix);
    g_assert_cmpuint(fixture_offer(fix)->relid, ==, 1);
}

static void count_channels(VmbusChannel *chan, void *opaque)
{
    VmbusChannelInfo info;
    unsigned *count = opaque;

    vmbus_channel_info(chan, &info);
    g_assert_cmpuint(info.relid, ==, ++*count);
}

/* All relids that there are, more than one message slot could hold. */
static void test_full_bus(Fixture *fix, gconstpointer data)
{
    Device *devices = g_new0(Device, VMBUS_RELID_COUNT);
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    const char *err = NULL;
    unsigned count = 0;

    for (uint32_t i = 2; i < VMBUS_RELID_COUNT; i++) {
        device_offer(&devices[i], fix->bus, i);
    }
    devices[0].offer = fix->device.offer;
    devices[0].offer.instance_id.b[8] = 0xff;
    g_assert_null(vmbus_bus_offer(fix->bus, &devices[0].offer, &device_ops,
                                  &devices[0], &err));
    g_assert_cmpstr(err, ==, "The bus has no room for another channel.");

    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, VMBUS_RELID_COUNT - 1);
    for (guint i = 0; i < fix->vsc->offers->len; i++) {
        const VmbusMsgOffer *msg =
            &g_array_index(fix->vsc->offers, VmbusMsgOffer, i);

        g_assert_cmpuint(msg->relid, >, 0);
        g_assert_cmpuint(msg->relid, <, VMBUS_RELID_COUNT);
        g_assert_true(
            g_hash_table_add(seen, GUINT_TO_POINTER(msg->connection_id)));
    }
    vmbus_bus_foreach(fix->bus, count_channels, &count);
    g_assert_cmpuint(count, ==, VMBUS_RELID_COUNT - 1);
    for (uint32_t i = 2; i < VMBUS_RELID_COUNT; i++) {
        vmbus_bus_withdraw(fix->bus, devices[i].chan);
        device_free(&devices[i]);
    }
    fixture_check(fix);
    vsc_machine_reset(fix->machine);
    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, 1);
    fixture_still_works(fix);
    g_free(devices);
}

static void test_instance_taken(Fixture *fix, gconstpointer data)
{
    const char *err = NULL;

    g_assert_null(vmbus_bus_offer(fix->bus, &fix->device.offer, &device_ops,
                                  &fix->device, &err));
    g_assert_cmpstr(err, ==, "Another device has this instance id.");
}

static void test_open_close(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 4);
    VmbusChannelInfo info = fixture_channel(fix);

    g_assert_cmpint(info.state, ==, VMBUS_CHANNEL_OPEN);
    g_assert_true(vmbus_channel_is_open(fix->device.chan));
    g_assert_cmpuint(info.in_size, ==, 3 * VMBUS_PAGE_SIZE);
    g_assert_cmpuint(info.out_size, ==, 3 * VMBUS_PAGE_SIZE);
    g_assert_cmpuint(info.target_vp, ==, 1);
    g_assert_cmpstr(info.offer.name, ==, "test");
    g_assert_cmpuint(fix->device.opened, ==, 1);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
    vsc_close(chan);
    fixture_check(fix);
    info = fixture_channel(fix);
    g_assert_cmpint(info.state, ==, VMBUS_CHANNEL_OFFERED);
    g_assert_cmpuint(info.in_size, ==, 0);
    g_assert_cmpuint(info.target_vp, ==, VMBUS_VP_NONE);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    fixture_still_works(fix);
}

static void test_uneven_rings(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;

    fixture_connect(fix);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 300, 0);
    g_assert_nonnull(chan);
    g_assert_cmpuint(fixture_channel(fix).in_size, ==, VMBUS_PAGE_SIZE);
    g_assert_cmpuint(fixture_channel(fix).out_size, ==, 299 * VMBUS_PAGE_SIZE);
    vsc_close(chan);
}

static void test_interrupts_off(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;
    uint8_t buf[64];

    fixture_connect(fix);
    fix->device.echo = true;
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, VMBUS_VP_NONE);
    g_assert_nonnull(chan);
    g_assert_cmpuint(fix->machine->routes, ==, 0);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 0, "12345678", 8));
    g_assert_cmpuint(fix->machine->signals, ==, 0);
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 24);
    fixture_check(fix);
    vsc_close(chan);
}

static void test_gpadl_sizes(Fixture *fix, gconstpointer data)
{
    /* Around what one header (26) and one body (28) message hold. */
    static const uint32_t counts[] = {1,  25, 26, 27, 53,   54,
                                      55, 81, 82, 83, 1000, 8190};

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        uint32_t id = vsc_create_gpadl(fix->vsc, 1, 0, counts[i]);

        g_assert_cmpuint(id, !=, 0);
        fixture_check(fix);
        g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, id));
        fixture_check(fix);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    }
    fixture_still_works(fix);
}

/* The answer comes when the channel is closed, as Hyper-V's does. */
static void test_teardown_in_use(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsg msg;

    g_assert_false(vsc_teardown_gpadl(fix->vsc, chan->relid, chan->gpadl));
    fixture_check(fix);
    fixture_silence(fix);
    g_assert_cmpuint(fix->machine->mapped, ==, 1);
    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = chan->relid;
    msg.gpadl_teardown.gpadl = chan->gpadl;
    fixture_refused(fix, &msg, sizeof(msg.gpadl_teardown),
                    "The guest tore down a GPADL twice.");
    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = chan->relid;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg, 12));
    g_assert_cmpuint(msg.gpadl_torndown.gpadl, ==, chan->gpadl);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    vsc_abandon(chan);
    fixture_still_works(fix);
}

static void test_hot_plug(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    VmbusMsg msg;

    fixture_connect(fix);
    device_offer(&other, fix->bus, 2);
    fixture_check(fix);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.relid, ==, 2);
    vmbus_bus_withdraw(fix->bus, other.chan);
    fixture_check(fix);
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    g_assert_cmpuint(msg.relid.relid, ==, 2);
    /* The same device again: offered when the guest has let go of the old. */
    device_offer(&other, fix->bus, 2);
    fixture_check(fix);
    fixture_silence(fix);
    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = 2;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.relid, ==, 3);
    fixture_still_works(fix);
    device_free(&other);
}

/* Not told yet: no offer, and so no rescind either. */
static void test_withdraw_unseen(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    VmbusMsg msg;
    uint32_t len;

    device_offer(&other, fix->bus, 2);
    vmbus_bus_withdraw(fix->bus, other.chan);
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    device_offer(&other, fix->bus, 2);
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    fixture_post(fix, &msg, sizeof(msg.header));
    /* The first offer is in the slot, the second one under way. */
    vmbus_bus_withdraw(fix->bus, other.chan);
    device_offer(&other, fix->bus, 3);
    vmbus_bus_withdraw(fix->bus, other.chan);
    fixture_check(fix);
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpuint(msg.offer.relid, ==, 1);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.relid, ==, 2);
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    g_assert_cmpuint(msg.relid.relid, ==, 2);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_ALLOFFERS_DELIVERED, &msg, 8));
    fixture_silence(fix);
    device_free(&other);
}

static void test_withdraw_open(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsg msg;

    g_assert_false(vsc_teardown_gpadl(fix->vsc, chan->relid, chan->gpadl));
    vmbus_bus_withdraw(fix->bus, fix->device.chan);
    fixture_check(fix);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg, 12));
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    /* Linux may still close it, and gets no complaint. */
    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = chan->relid;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_null(fix->machine->refused);
    vsc_abandon(chan);
    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = 1;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_null(fix->machine->refused);
    fixture_silence(fix);
}

/* A guest has no driver and lets go; the next connection gets the offer. */
static void test_release_offered(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    g_assert_cmpuint(vsc_create_gpadl(fix->vsc, 1, 0, 3), !=, 0);
    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = 1;
    fixture_post(fix, &msg, sizeof(msg.relid));
    fixture_silence(fix);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_IDLE);
    fixture_connect(fix);
    fixture_still_works(fix);
}

static void modify(VmbusMsg *msg, uint32_t relid, uint32_t vp)
{
    vsc_head(msg, VMBUS_MSG_MODIFYCHANNEL);
    msg->modify_channel.relid = relid;
    msg->modify_channel.target_vp = vp;
}

static void test_modify_channel(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsg msg;

    modify(&msg, chan->relid, 3);
    fixture_post(fix, &msg, sizeof(msg.modify_channel));
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg, 16));
    g_assert_cmpuint(msg.modify_channel_response.status, ==, 0);
    g_assert_cmpuint(fixture_channel(fix).target_vp, ==, 3);
    fix->device.echo = true;
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 0, "", 1));
    g_assert_false(vsc_interrupted(chan));
    chan->target_vp = 3;
    g_assert_true(vsc_interrupted(chan));
    vsc_close(chan);
}

/* Before 5.3 there is no response. */
static void test_modify_channel_silent(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;
    VmbusMsg msg;

    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_4_1));
    g_assert_true(vsc_request_offers(fix->vsc));
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    modify(&msg, chan->relid, 2);
    fixture_post(fix, &msg, sizeof(msg.modify_channel));
    fixture_silence(fix);
    g_assert_cmpuint(fixture_channel(fix).target_vp, ==, 2);
    vsc_close(chan);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/offers/offer-fields", test_offer_fields);
    FIXTURE_TEST("/offers/pipe-offer", test_pipe_offer);
    FIXTURE_TEST("/offers/offers-once", test_offers_once);
    FIXTURE_TEST("/offers/full-bus", test_full_bus);
    FIXTURE_TEST("/offers/instance-taken", test_instance_taken);
    FIXTURE_TEST("/offers/open-close", test_open_close);
    FIXTURE_TEST("/offers/uneven-rings", test_uneven_rings);
    FIXTURE_TEST("/offers/interrupts-off", test_interrupts_off);
    FIXTURE_TEST("/offers/gpadl-sizes", test_gpadl_sizes);
    FIXTURE_TEST("/offers/teardown-in-use", test_teardown_in_use);
    FIXTURE_TEST("/offers/hot-plug", test_hot_plug);
    FIXTURE_TEST("/offers/withdraw-unseen", test_withdraw_unseen);
    FIXTURE_TEST("/offers/withdraw-open", test_withdraw_open);
    FIXTURE_TEST("/offers/release-offered", test_release_offered);
    FIXTURE_TEST("/offers/modify-channel", test_modify_channel);
    FIXTURE_TEST("/offers/modify-channel-silent", test_modify_channel_silent);
    return g_test_run();
}
