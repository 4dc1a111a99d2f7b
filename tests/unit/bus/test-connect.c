/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How connections begin and end, and messages in between. */
#include "fixture.h"

static const uint32_t all_versions[] = {
    VMBUS_VERSION_0_13, VMBUS_VERSION_1_1, VMBUS_VERSION_2_4, VMBUS_VERSION_3_0,
    VMBUS_VERSION_4_0,  VMBUS_VERSION_4_1, VMBUS_VERSION_5_0, VMBUS_VERSION_5_1,
    VMBUS_VERSION_5_2,  VMBUS_VERSION_5_3, VMBUS_VERSION_6_0,
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

    initiate(&msg, VMBUS_VERSION(6, 1), 0, 2);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, refused, sizeof(refused));
}

static void test_unknown_versions(Fixture *fix, gconstpointer data)
{
    static const uint32_t versions[] = {
        0,
        VMBUS_VERSION(0, 12),
        VMBUS_VERSION(1, 0),
        VMBUS_VERSION(2, 5),
        VMBUS_VERSION(3, 1),
        VMBUS_VERSION(5, 4),
        VMBUS_VERSION(6, 1),
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
    g_assert_cmpuint(fix->machine->mapped, ==,
                     fixture_info(fix).interrupt_page);
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

/* Offers are in the slot, under way, and not even made. */
static void test_reset_with_offers(Fixture *fix, gconstpointer data)
{
    Device others[3] = {0};
    VmbusMsg msg;

    for (uint32_t i = 0; i < G_N_ELEMENTS(others); i++) {
        device_offer(&others[i], fix->bus, 2 + i);
    }
    for (int unload = 0; unload < 2; unload++) {
        g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
        vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
        fixture_post(fix, &msg, sizeof(msg.header));
        g_assert_cmpuint(fix->machine->under_way.len, !=, 0);
        if (unload) {
            vsc_head(&msg, VMBUS_MSG_UNLOAD);
            fixture_post(fix, &msg, sizeof(msg.header));
            g_assert_true(
                vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
            g_assert_true(
                vsc_expect(fix->vsc, VMBUS_MSG_UNLOAD_RESPONSE, &msg, 8));
            fixture_silence(fix);
        } else {
            reset_now(fix);
        }
    }
    fixture_connect(fix);
    g_assert_cmpuint(fix->vsc->offers->len, ==, 4);
    fixture_still_works(fix);
    for (uint32_t i = 0; i < G_N_ELEMENTS(others); i++) {
        device_free(&others[i]);
    }
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
    FIXTURE_TEST("/connect/versions", test_versions);
    FIXTURE_TEST("/connect/version-response", test_version_response);
    FIXTURE_TEST("/connect/unknown-versions", test_unknown_versions);
    FIXTURE_TEST("/connect/max-version", test_max_version);
    FIXTURE_TEST("/connect/old-connection-id", test_old_connection_id);
    FIXTURE_TEST("/connect/message-sint", test_message_sint);
    FIXTURE_TEST("/connect/bad-sint", test_bad_sint);
    FIXTURE_TEST("/connect/bad-target-vp", test_bad_target_vp);
    FIXTURE_TEST("/connect/no-vp-at-all", test_no_vp_at_all);
    FIXTURE_TEST("/connect/old-target-vp", test_old_target_vp);
    FIXTURE_TEST("/connect/one-monitor-page", test_one_monitor_page);
    FIXTURE_TEST("/connect/reconnect", test_reconnect);
    FIXTURE_TEST("/connect/reconnect-slot-full", test_reconnect_slot_full);
    FIXTURE_TEST("/connect/unload-closes", test_unload_closes);
    FIXTURE_TEST("/connect/unload-slot-full", test_unload_slot_full);
    FIXTURE_TEST("/connect/reset", test_reset);
    FIXTURE_TEST("/connect/reset-with-offers", test_reset_with_offers);
    FIXTURE_TEST("/connect/queue", test_queue);
    FIXTURE_TEST("/connect/lost-message", test_lost_message);
    FIXTURE_TEST("/connect/late-delivery", test_late_delivery);
    FIXTURE_TEST("/connect/bad-connection", test_bad_connection);
    FIXTURE_TEST("/connect/events", test_events);
    FIXTURE_TEST("/connect/free-while-open", test_free_while_open);
    return g_test_run();
}
