/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Version 6.0, and what its features bring. */
#include "fixture.h"

#define CONN_ID 0x123456
#define FLAG    1999

static void connect_with(Fixture *fix, uint32_t features)
{
    fix->vsc->asked = features;
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_6_0));
    g_assert_cmphex(fix->vsc->features, ==, features);
    g_assert_cmphex(fixture_info(fix).features, ==, features);
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_check(fix);
    fixture_silence(fix);
}

static void initiate(VmbusMsg *msg, uint32_t version, uint32_t features)
{
    vsc_head(msg, VMBUS_MSG_INITIATE_CONTACT);
    msg->initiate_contact.version = version;
    msg->initiate_contact.msg_sint = 2;
    msg->initiate_contact.feature_flags = features;
}

/* Asked for all, and for what only earlier versions answer. */
static void test_response(Fixture *fix, gconstpointer data)
{
    static const uint8_t all[20] = {15, 0, 0, 0, 0, 0, 0,    0, 1, 0,
                                    0,  0, 1, 0, 0, 0, 0x2d, 0, 0, 0};
    static const uint8_t failed[20] = {15, 0, 0, 0, 0, 0, 0,    0, 1, 2,
                                       0,  0, 0, 0, 0, 0, 0x2d, 0, 0, 0};
    static const uint8_t none[20] = {15, 0, 0, 0, 0, 0, 0, 0, 1, 0,
                                     0,  0, 1, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t before[16] = {15, 0, 0, 0, 0, 0, 0, 0,
                                       1,  0, 0, 0, 1, 0, 0, 0};
    VmbusMsg msg;
    uint32_t len;

    initiate(&msg, VMBUS_VERSION_6_0, 0xffffffff);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact2));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, all, sizeof(all));

    initiate(&msg, VMBUS_VERSION_6_0, 0xffffffff);
    msg.initiate_contact.target_vp = 99;
    fixture_post(fix, &msg, sizeof(msg.initiate_contact2));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, failed, sizeof(failed));

    initiate(&msg, VMBUS_VERSION_6_0, 0);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, none, sizeof(none));

    initiate(&msg, VMBUS_VERSION_5_3, 0xffffffff);
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, before, sizeof(before));
    g_assert_cmphex(fixture_info(fix).features, ==, 0);
}

static void test_client_id(Fixture *fix, gconstpointer data)
{
    static const VmbusGuid none;
    VmbusGuid id = VMBUS_GUID(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    VmbusBusInfo info;
    VmbusMsg msg;

    fix->vsc->client_id = id;
    connect_with(fix, VMBUS_FEATURE_CLIENT_ID);
    info = fixture_info(fix);
    g_assert_true(vmbus_guid_equal(&info.client_id, &id));
    g_assert_true(vsc_unload(fix->vsc));
    info = fixture_info(fix);
    g_assert_true(vmbus_guid_equal(&info.client_id, &none));
    /* Sent and not announced: it is not read. */
    connect_with(fix, 0);
    info = fixture_info(fix);
    g_assert_true(vmbus_guid_equal(&info.client_id, &none));

    for (uint32_t len = 40; len < 56; len++) {
        initiate(&msg, VMBUS_VERSION_6_0, VMBUS_FEATURE_CLIENT_ID);
        fixture_refused(
            fix, &msg, len,
            "The guest says that it has a client id, and sends none.");
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
        g_assert_cmpuint(msg.version_response.supported, ==, 0);
    }
    connect_with(fix, VMBUS_FEATURE_CLIENT_ID);
    fixture_still_works(fix);
}

/* The guest's own numbers, other ones at each open. */
static void test_signals(Fixture *fix, gconstpointer data)
{
    uint32_t offered;

    connect_with(fix, VMBUS_FEATURE_GUEST_SIGNAL);
    offered = fixture_channel(fix).connection_id;
    for (int i = 0; i < 2; i++) {
        VscChannel *chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 1);

        g_assert_nonnull(chan);
        fixture_check(fix);
        g_assert_cmphex(fixture_channel(fix).connection_id, ==, 0xabc001);
        g_assert_false(vsc_machine_signal(fix->machine, offered));
        vsc_close(chan);
        g_assert_cmphex(fixture_channel(fix).connection_id, ==, offered);
        fixture_still_works(fix);
    }
    /* Without the feature the host's numbers are back. */
    connect_with(fix, 0);
    fixture_still_works(fix);
}

static VmbusMsg open2(Fixture *fix)
{
    VmbusMsgOpen open = fixture_open_message(fix);
    VmbusMsg msg = {.open = open};

    msg.open2.connection_id = CONN_ID;
    msg.open2.event_flag = FLAG;
    return msg;
}

static void open2_refused(Fixture *fix, const VmbusMsg *open, uint32_t len,
                          const char *sentence)
{
    VmbusMsg msg;

    fixture_refused(fix, open, len, sentence);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg, 20));
    g_assert_cmphex(msg.open_result.status, ==, 0x8000ffff);
    g_assert_cmpuint(g_hash_table_size(fix->machine->listeners), ==,
                     fix->device.opened - fix->device.closed);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    fixture_silence(fix);
}

static void test_signals_refused(Fixture *fix, gconstpointer data)
{
    static const uint32_t ids[] = {0, 1, 2, 4, 16, 0x1000000, 0xffffffff};
    static const uint16_t flags[] = {2048, 4096, 0xffff};
    VmbusMsg msg, good;

    connect_with(fix, VMBUS_FEATURE_GUEST_SIGNAL);
    good = msg = open2(fix);
    for (uint32_t len = sizeof(msg.open); len < sizeof(msg.open2); len++) {
        open2_refused(
            fix, &msg, len,
            "The guest opened a channel and did not say how to signal it.");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        msg.open2.connection_id = ids[i];
        open2_refused(fix, &msg, sizeof(msg.open2),
                      "The connection id for a channel is out of range.");
    }
    msg = good;
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        msg.open2.event_flag = flags[i];
        open2_refused(fix, &msg, sizeof(msg.open2),
                      "The event flag for a channel is out of range.");
    }
    fixture_post(fix, &good, sizeof(good.open2));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg, 20));
    g_assert_cmphex(msg.open_result.status, ==, 0);
    g_assert_cmphex(fixture_channel(fix).connection_id, ==, CONN_ID);
}

static void test_signals_taken(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    VmbusMsg msg, reply;

    device_offer(&other, fix->bus, 2);
    connect_with(fix, VMBUS_FEATURE_GUEST_SIGNAL);
    msg = open2(fix);
    fixture_post(fix, &msg, sizeof(msg.open2));
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &reply, 20));
    msg.open.relid = 2;
    msg.open.gpadl = vsc_create_gpadl(fix->vsc, 2, 20, 6);
    fixture_refused(fix, &msg, sizeof(msg.open2),
                    "The connection id for a channel is another one's.");
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &reply, 20));
    g_assert_cmphex(reply.open_result.status, ==, 0x8000ffff);
    msg.open2.connection_id++; /* the flag may be shared */
    fixture_post(fix, &msg, sizeof(msg.open2));
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &reply, 20));
    g_assert_cmphex(reply.open_result.status, ==, 0);
    vsc_machine_reset(fix->machine);
    g_assert_cmpuint(other.opened, ==, 1);
    g_assert_cmpuint(other.closed, ==, 1);
    device_free(&other);
}

static void modify(Fixture *fix, uint64_t page1, uint64_t page2, uint8_t state)
{
    VmbusMsg msg;
    uint32_t len;

    vsc_head(&msg, VMBUS_MSG_MODIFY_CONNECTION);
    msg.modify_connection.monitor_page1 = page1;
    msg.modify_connection.monitor_page2 = page2;
    fix->machine->refused = NULL;
    fixture_post(fix, &msg, sizeof(msg.modify_connection));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpuint(msg.header.type, ==, VMBUS_MSG_MODIFY_CONNECTION_RESPONSE);
    g_assert_cmpuint(len, ==, 9);
    g_assert_cmpuint(msg.modify_connection_response.connection_state, ==,
                     state);
    g_assert_cmpstr(fix->machine->refused, ==,
                    state ? "The guest gave one monitor page, not two or none."
                          : NULL);
}

static void test_modify_connection(Fixture *fix, gconstpointer data)
{
    connect_with(fix, VMBUS_FEATURE_MODIFY_CONNECTION);
    modify(fix, 0x1000, 0x2000, 0);
    modify(fix, 0, 0, 0);
    modify(fix, 0, 0x2000, 2);
    modify(fix, UINT64_MAX, 0, 2);
    modify(fix, UINT64_MAX, UINT64_MAX, 0); /* never read */
    fixture_still_works(fix);
}

static void test_not_asked(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {VMBUS_MSG_MODIFY_CONNECTION,
                                     VMBUS_MSG_PAUSE, VMBUS_MSG_RESUME};
    VmbusMsg msg;

    connect_with(fix, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        vsc_head(&msg, types[i]);
        fixture_refused(
            fix, &msg, sizeof(msg),
            "The guest sent a message of a feature that it did not ask for.");
        fixture_silence(fix);
    }
    fixture_still_works(fix);
}

static void send(Fixture *fix, uint32_t type)
{
    VmbusMsg msg;

    vsc_head(&msg, type);
    fixture_post(fix, &msg, sizeof(msg.header));
}

static void pause_bus(Fixture *fix)
{
    VmbusMsg msg;
    uint32_t len;

    send(fix, VMBUS_MSG_PAUSE);
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpuint(msg.header.type, ==, VMBUS_MSG_PAUSE_RESPONSE);
    g_assert_cmpuint(len, ==, 8);
    g_assert_true(fixture_info(fix).paused);
    fixture_silence(fix);
}

static void test_pause(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    VmbusMsg msg;

    connect_with(fix, VMBUS_FEATURE_PAUSE_RESUME);
    send(fix, VMBUS_MSG_RESUME); /* not paused: nothing happens */
    pause_bus(fix);
    device_offer(&other, fix->bus, 2);
    fixture_check(fix);
    fixture_silence(fix);
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    fixture_refused(fix, &msg, sizeof(msg),
                    "The guest sent a message while it had paused the bus.");
    vsc_head(&msg, VMBUS_MSG_PAUSE);
    fixture_refused(fix, &msg, sizeof(msg.header),
                    "The guest sent a message while it had paused the bus.");
    fixture_silence(fix);
    send(fix, VMBUS_MSG_RESUME);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_cmpuint(msg.offer.relid, ==, 2);
    g_assert_false(fixture_info(fix).paused);
    fixture_still_works(fix);
    device_free(&other);
}

/* Each way out of a pause. */
static void test_pause_ends(Fixture *fix, gconstpointer data)
{
    connect_with(fix, VMBUS_FEATURE_PAUSE_RESUME);
    pause_bus(fix);
    g_assert_true(vsc_unload(fix->vsc));
    g_assert_false(fixture_info(fix).paused);
    connect_with(fix, VMBUS_FEATURE_PAUSE_RESUME);
    pause_bus(fix);
    connect_with(fix, VMBUS_FEATURE_PAUSE_RESUME);
    pause_bus(fix);
    vsc_machine_reset(fix->machine);
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* Data goes on while messages do not. */
static void test_pause_traffic(Fixture *fix, gconstpointer data)
{
    uint8_t buf[64];
    VscChannel *chan;

    fix->device.echo = true;
    connect_with(fix, VMBUS_FEATURE_PAUSE_RESUME);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 1);
    pause_bus(fix);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 1, "x", 1));
    g_assert_true(vsc_interrupted(chan));
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 24);
    send(fix, VMBUS_MSG_RESUME);
    vsc_close(chan);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/features/response", test_response);
    FIXTURE_TEST("/features/client-id", test_client_id);
    FIXTURE_TEST("/features/signals", test_signals);
    FIXTURE_TEST("/features/signals/refused", test_signals_refused);
    FIXTURE_TEST("/features/signals/taken", test_signals_taken);
    FIXTURE_TEST("/features/modify-connection", test_modify_connection);
    FIXTURE_TEST("/features/not-asked", test_not_asked);
    FIXTURE_TEST("/features/pause", test_pause);
    FIXTURE_TEST("/features/pause/ends", test_pause_ends);
    FIXTURE_TEST("/features/pause/traffic", test_pause_traffic);
    return g_test_run();
}
