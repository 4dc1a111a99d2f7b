/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections, offers, opening and closing, as guests do it. */
#include "fixture.h"

static const uint32_t all_versions[] = {
    VMBUS_VERSION_2_4, VMBUS_VERSION_3_0, VMBUS_VERSION_4_0, VMBUS_VERSION_4_1,
    VMBUS_VERSION_5_0, VMBUS_VERSION_5_1, VMBUS_VERSION_5_2, VMBUS_VERSION_5_3,
};

static void test_versions(Fixture *fix, gconstpointer data)
{
    for (size_t i = 0; i < G_N_ELEMENTS(all_versions); i++) {
        uint32_t version = all_versions[i];

        g_assert_true(vmbus_version_known(version));
        g_assert_true(vsc_connect(fix->vsc, version));
        fixture_check(fix);
        g_assert_cmphex(fixture_info(fix).version, ==, version);
        g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_CONNECTED);
        g_assert_cmpuint(fixture_info(fix).connects, ==, i + 1);
        g_assert_true(vsc_request_offers(fix->vsc));
        g_assert_cmpuint(fix->vsc->offers->len, ==, 1);
        fixture_still_works(fix);
        g_assert_true(vsc_unload(fix->vsc));
        g_assert_cmpuint(fixture_info(fix).version, ==, 0);
        g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
        fixture_check(fix);
        fixture_silence(fix);
    }
}

static void initiate(VmbusMsg *msg, uint32_t version, uint32_t vp, uint8_t sint)
{
    vsc_head(msg, VMBUS_MSG_INITIATE_CONTACT);
    msg->initiate_contact.version = version;
    msg->initiate_contact.target_vp = vp;
    msg->initiate_contact.msg_sint = sint;
}

/* Size and fields of the answer, byte for byte. */
static void test_version_response(Fixture *fix, gconstpointer data)
{
    static const uint8_t before_5[16] = {15, 0, 0, 0, 0, 0, 0, 0,
                                         1,  0, 0, 0, 1, 0, 4, 0};
    static const uint8_t from_5[16] = {15, 0, 0, 0, 0, 0, 0, 0,
                                       1,  0, 0, 0, 1, 0, 0, 0};
    static const uint8_t refused[16] = {15};
    VmbusMsg msg;
    uint32_t len;

    initiate(&msg, VMBUS_VERSION_4_1, 0, 0);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, before_5, sizeof(before_5));

    initiate(&msg, VMBUS_VERSION_5_2, 0, 2);
    fix->vsc->conn_id = VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, from_5, sizeof(from_5));

    initiate(&msg, VMBUS_VERSION_6_0, 0, 2);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, refused, sizeof(refused));
}

static void test_unknown_versions(Fixture *fix, gconstpointer data)
{
    static const uint32_t versions[] = {
        0,
        VMBUS_VERSION_0_13,
        VMBUS_VERSION_1_1,
        VMBUS_VERSION(2, 5),
        VMBUS_VERSION(3, 1),
        VMBUS_VERSION(5, 4),
        VMBUS_VERSION_6_0,
        0xffffffff,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_assert_false(vmbus_version_known(versions[i]));
        g_assert_false(vsc_connect(fix->vsc, versions[i]));
        g_assert_cmpstr(
            fix->machine->refused, ==,
            "The guest asked for a version that the bus does not accept.");
        fixture_check(fix);
        g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
    }
    fixture_connect(fix);
    fixture_still_works(fix);
}

static void test_max_version(Fixture *fix, gconstpointer data)
{
    g_assert_cmphex(vsc_negotiate(fix->vsc), ==, VMBUS_VERSION_5_3);
    vmbus_bus_set_max_version(fix->bus, VMBUS_VERSION_4_1);
    g_assert_cmphex(vsc_negotiate(fix->vsc), ==, VMBUS_VERSION_4_1);
    vmbus_bus_set_max_version(fix->bus, VMBUS_VERSION_5_0);
    g_assert_cmphex(vsc_negotiate(fix->vsc), ==, VMBUS_VERSION_5_0);
}

/* 5.x on the old connection: OpenVMM takes it, and then SINT 2. */
static void test_old_connection_id(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    initiate(&msg, VMBUS_VERSION_5_3, 0, 9);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
    g_assert_cmpuint(msg.version_response.supported, ==, 1);
    g_assert_cmpuint(fixture_info(fix).message_sint, ==, 2);
}

static void test_message_sint(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;

    fix->vsc->sint = 15;
    fix->vsc->vp = 3;
    fixture_connect(fix);
    g_assert_cmpuint(fixture_info(fix).message_sint, ==, 15);
    g_assert_cmpuint(fixture_info(fix).target_vp, ==, 3);
    /* Events come to the same SINT. */
    fix->device.echo = true;
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 1);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 0, "", 1));
    g_assert_true(vsc_interrupted(chan));
    vsc_close(chan);
}

static void test_bad_sint(Fixture *fix, gconstpointer data)
{
    static const uint8_t sints[] = {0, 16, 255};
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(sints); i++) {
        fix->vsc->conn_id = VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
        initiate(&msg, VMBUS_VERSION_5_3, 0, sints[i]);
        fixture_refused(
            fix, &msg, sizeof(msg.initiate_contact),
            "The synthetic interrupt for messages is out of range.");
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
        g_assert_cmpuint(msg.version_response.supported, ==, 0);
        g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
    }
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* The answer goes to VP 0, which a guest is likely to have. */
static void test_bad_target_vp(Fixture *fix, gconstpointer data)
{
    static const uint32_t vps[] = {VSC_MAX_VPS, 0x7fffffff, 0xffffffff};
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(vps); i++) {
        fix->vsc->conn_id = VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
        initiate(&msg, VMBUS_VERSION_5_3, vps[i], 2);
        fixture_refused(fix, &msg, sizeof(msg.initiate_contact),
                        "The virtual processor for messages does not exist.");
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
        g_assert_cmpuint(msg.version_response.supported, ==, 1);
        g_assert_cmpuint(msg.version_response.connection_state, ==, 2);
        g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
    }
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* Not even VP 0 is there: the answer is dropped and counted. */
static void test_no_vp_at_all(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fix->machine->vp_count = 0;
    initiate(&msg, VMBUS_VERSION_4_0, 0, 0);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_cmpuint(fixture_info(fix).messages_refused, ==, 2);
    fixture_silence(fix);
    fix->machine->vp_count = VSC_MAX_VPS;
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* 2.4 knows no target; what stands there does not matter. */
static void test_old_target_vp(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    initiate(&msg, VMBUS_VERSION_2_4, 0xffffffff, 0);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
    g_assert_cmpuint(msg.version_response.supported, ==, 1);
    g_assert_cmpuint(fixture_info(fix).target_vp, ==, 0);
}

static void test_one_monitor_page(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    for (int i = 0; i < 2; i++) {
        initiate(&msg, VMBUS_VERSION_4_0, 0, 0);
        msg.initiate_contact.monitor_page1 = i == 0 ? 0x1000 : 0;
        msg.initiate_contact.monitor_page2 = i == 1 ? 0x2000 : 0;
        fixture_refused(fix, &msg, sizeof(msg.initiate_contact),
                        "The guest gave one monitor page, not two or none.");
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
        g_assert_cmpuint(msg.version_response.connection_state, ==, 2);
    }
    initiate(&msg, VMBUS_VERSION_4_0, 0, 0);
    msg.initiate_contact.monitor_page1 = 0x1000;
    msg.initiate_contact.monitor_page2 = 0x2000;
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
    g_assert_cmpuint(msg.version_response.connection_state, ==, 0);
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_still_works(fix);
}

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

static void crash_and_reconnect(Fixture *fix, uint32_t version)
{
    VscChannel *chan = fixture_open(fix, 2);
    uint32_t gpadl = vsc_create_gpadl(fix->vsc, 1, 0, 40);

    g_assert_cmpuint(gpadl, !=, 0);
    vsc_abandon(chan);
    vsc_machine_reset_ram(fix->machine);
    g_assert_true(vsc_connect(fix->vsc, version));
    fixture_check(fix);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_cmpuint(fix->machine->routes, ==, 0);
    g_assert_cmpuint(fix->device.closed, ==, fix->device.opened);
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_still_works(fix);
}

static void test_reconnect(Fixture *fix, gconstpointer data)
{
    for (size_t i = 0; i < G_N_ELEMENTS(all_versions); i++) {
        crash_and_reconnect(fix, all_versions[i]);
        vsc_machine_reset_ram(fix->machine);
    }
}

/* The dead kernel's slot is full and stays so; the new one is elsewhere. */
static void test_reconnect_slot_full(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fix->vsc->vp = 2;
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    fixture_post(fix, &msg, sizeof(msg.header));
    for (int i = 0; i < VMBUS_RELID_COUNT; i++) {
        if (vsc_post(fix->vsc, &msg, sizeof(msg.header)) == VMBUS_POST_BUSY) {
            break;
        }
    }
    fixture_check(fix);
    g_assert_cmpuint(fix->machine->under_way.len, !=, 0);
    fix->vsc->vp = 0;
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_4_0));
    fixture_check(fix);
    g_assert_cmpuint(fix->machine->cancelled, ==, 1);
    g_assert_true(vsc_request_offers(fix->vsc));
    memset(&fix->machine->slots[2], 0, sizeof(fix->machine->slots[2]));
    fixture_still_works(fix);
}

static void test_unload_closes(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    vsc_abandon(chan);
    g_assert_true(vsc_unload(fix->vsc));
    fixture_check(fix);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_IDLE);
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* Linux in a crash says UNLOAD and reads its slots only after that. */
static void test_unload_slot_full(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;
    uint32_t len;

    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    fixture_post(fix, &msg, sizeof(msg.header));
    vsc_head(&msg, VMBUS_MSG_UNLOAD);
    fixture_post(fix, &msg, sizeof(msg.header));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpuint(msg.header.type, ==, VMBUS_MSG_OFFERCHANNEL);
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpuint(msg.header.type, ==, VMBUS_MSG_UNLOAD_RESPONSE);
    g_assert_cmpuint(len, ==, 8);
    fixture_check(fix);
    fixture_silence(fix);
}

static void reset_now(Fixture *fix)
{
    vsc_machine_reset(fix->machine);
    fixture_check(fix);
    g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_IDLE);
    g_assert_cmpuint(fix->machine->under_way.len, ==, 0);
    fixture_silence(fix);
    vsc_machine_reset_ram(fix->machine);
}

static void test_reset(Fixture *fix, gconstpointer data)
{
    uint64_t gfns[100] = {0};
    VscChannel *chan;
    VmbusMsg msg;

    reset_now(fix); /* disconnected */
    vsc_connect(fix->vsc, VMBUS_VERSION_5_3);
    reset_now(fix); /* connected */
    fixture_connect(fix);
    reset_now(fix); /* offered */
    fixture_connect(fix);
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    vsc_connect(fix->vsc, VMBUS_VERSION_5_3);
    vsc_post(fix->vsc, &msg, sizeof(msg.header));
    vsc_post(fix->vsc, &msg, sizeof(msg.header));
    reset_now(fix); /* with a message under way and one waiting */
    fixture_connect(fix);
    vsc_post_gpadl(fix->vsc, 1, 5, gfns, 27);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
    reset_now(fix); /* with a GPADL */
    chan = fixture_open(fix, 2);
    vsc_abandon(chan);
    reset_now(fix); /* open */
    chan = fixture_open(fix, 2);
    chan->out.control->write_index = 1;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    vsc_abandon(chan);
    reset_now(fix); /* corrupt */
    fixture_connect(fix);
    fixture_still_works(fix);
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

/* 16 messages wait, the 17th is sent back, and none is lost or reordered. */
static void test_queue(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;
    int i;

    fixture_connect(fix);
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 999;
    /* One answer in the slot, one under way, and then 16 that wait. */
    for (i = 0; i < 18; i++) {
        msg.open.openid = i;
        g_assert_cmpint(vsc_post(fix->vsc, &msg, sizeof(msg.open)), ==,
                        VMBUS_POST_OK);
        fixture_check(fix);
    }
    for (int j = 0; j < 5; j++) {
        msg.open.openid = i;
        g_assert_cmpint(vsc_post(fix->vsc, &msg, sizeof(msg.open)), ==,
                        VMBUS_POST_BUSY);
        fixture_check(fix);
    }
    for (int j = 0; j < 18; j++) {
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg, 20));
        g_assert_cmpuint(msg.open_result.openid, ==, j);
        fixture_check(fix);
    }
    fixture_still_works(fix);
}

static void test_lost_message(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    fix->machine->fail_post = -EIO;
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 999;
    fixture_post(fix, &msg, sizeof(msg.open));
    g_assert_cmpstr(fix->machine->refused, ==,
                    "The machine did not take a message for the guest.");
    fix->machine->fail_post = 0;
    fixture_still_works(fix);
}

static void test_late_delivery(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    /* Nothing was under way. */
    vmbus_bus_message_delivered(fix->bus, 0);
    fixture_check(fix);
    /* It was, and failed. */
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    fixture_post(fix, &msg, sizeof(msg.open));
    fixture_post(fix, &msg, sizeof(msg.open));
    fix->machine->under_way.len = 0;
    vmbus_bus_message_delivered(fix->bus, -EIO);
    g_assert_cmpstr(fix->machine->refused, ==,
                    "A message did not reach the guest.");
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg, 20));
    fixture_still_works(fix);
}

static void test_bad_connection(Fixture *fix, gconstpointer data)
{
    static const uint32_t ids[] = {0, 2, 3, 5, 0x2001, 0xffffffff};
    VmbusMsg msg;
    uint8_t large[241] = {0};

    initiate(&msg, VMBUS_VERSION_5_3, 0, 2);
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_assert_cmpint(vmbus_bus_post(fix->bus, ids[i], &msg, 40), ==,
                        VMBUS_POST_INVALID);
    }
    g_assert_cmpint(vmbus_bus_post(fix->bus, 1, large, sizeof(large)), ==,
                    VMBUS_POST_INVALID);
    fixture_check(fix);
    fixture_silence(fix);
}

static void test_events(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;

    fix->machine->log = g_string_new("");
    chan = fixture_open(fix, 2);
    vsc_close(chan);
    vsc_unload(fix->vsc);
    g_assert_cmpstr(fix->machine->log->str, ==,
                    "2 INITIATE_CONTACT 0x50003 \n"
                    "0  0x50003 \n"
                    "3 VERSION_RESPONSE 0xf \n"
                    "2 REQUESTOFFERS 0x0 \n"
                    "3 OFFERCHANNEL 0x1 \n"
                    "3 ALLOFFERS_DELIVERED 0x4 \n"
                    "2 GPADL_HEADER 0xe1e10 \n"
                    "3 GPADL_CREATED 0xa \n"
                    "2 OPENCHANNEL 0x1 \n"
                    "4 test 0x1 \n"
                    "3 OPENCHANNEL_RESULT 0x6 \n"
                    "2 CLOSECHANNEL 0x1 \n"
                    "5 test 0x1 \n"
                    "2 GPADL_TEARDOWN 0xe1e10 \n"
                    "3 GPADL_TORNDOWN 0xc \n"
                    "2 UNLOAD 0x0 \n"
                    "1  0x50003 \n"
                    "3 UNLOAD_RESPONSE 0x11 \n");
    g_assert_cmpuint(fixture_info(fix).messages_in, ==, 7);
    g_assert_cmpuint(fixture_info(fix).messages_out, ==, 7);
    g_assert_cmpuint(fixture_info(fix).messages_refused, ==, 0);
}

static void test_free_while_open(Fixture *fix, gconstpointer data)
{
    /* The tear-down frees the bus and looks for what is left. */
    vsc_abandon(fixture_open(fix, 2));
    g_assert_cmpuint(vsc_create_gpadl(fix->vsc, 1, 0, 30), !=, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/bus/versions", test_versions);
    FIXTURE_TEST("/bus/version-response", test_version_response);
    FIXTURE_TEST("/bus/unknown-versions", test_unknown_versions);
    FIXTURE_TEST("/bus/max-version", test_max_version);
    FIXTURE_TEST("/bus/old-connection-id", test_old_connection_id);
    FIXTURE_TEST("/bus/message-sint", test_message_sint);
    FIXTURE_TEST("/bus/bad-sint", test_bad_sint);
    FIXTURE_TEST("/bus/bad-target-vp", test_bad_target_vp);
    FIXTURE_TEST("/bus/no-vp-at-all", test_no_vp_at_all);
    FIXTURE_TEST("/bus/old-target-vp", test_old_target_vp);
    FIXTURE_TEST("/bus/one-monitor-page", test_one_monitor_page);
    FIXTURE_TEST("/bus/offer-fields", test_offer_fields);
    FIXTURE_TEST("/bus/pipe-offer", test_pipe_offer);
    FIXTURE_TEST("/bus/offers-once", test_offers_once);
    FIXTURE_TEST("/bus/full-bus", test_full_bus);
    FIXTURE_TEST("/bus/instance-taken", test_instance_taken);
    FIXTURE_TEST("/bus/open-close", test_open_close);
    FIXTURE_TEST("/bus/uneven-rings", test_uneven_rings);
    FIXTURE_TEST("/bus/interrupts-off", test_interrupts_off);
    FIXTURE_TEST("/bus/reconnect", test_reconnect);
    FIXTURE_TEST("/bus/reconnect-slot-full", test_reconnect_slot_full);
    FIXTURE_TEST("/bus/unload-closes", test_unload_closes);
    FIXTURE_TEST("/bus/unload-slot-full", test_unload_slot_full);
    FIXTURE_TEST("/bus/reset", test_reset);
    FIXTURE_TEST("/bus/gpadl-sizes", test_gpadl_sizes);
    FIXTURE_TEST("/bus/teardown-in-use", test_teardown_in_use);
    FIXTURE_TEST("/bus/hot-plug", test_hot_plug);
    FIXTURE_TEST("/bus/withdraw-unseen", test_withdraw_unseen);
    FIXTURE_TEST("/bus/withdraw-open", test_withdraw_open);
    FIXTURE_TEST("/bus/release-offered", test_release_offered);
    FIXTURE_TEST("/bus/modify-channel", test_modify_channel);
    FIXTURE_TEST("/bus/modify-channel-silent", test_modify_channel_silent);
    FIXTURE_TEST("/bus/queue", test_queue);
    FIXTURE_TEST("/bus/lost-message", test_lost_message);
    FIXTURE_TEST("/bus/late-delivery", test_late_delivery);
    FIXTURE_TEST("/bus/bad-connection", test_bad_connection);
    FIXTURE_TEST("/bus/events", test_events);
    FIXTURE_TEST("/bus/free-while-open", test_free_while_open);
    return g_test_run();
}
