/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every other message that the bus refuses. */
#include "fixture.h"

static void test_short(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint32_t type, len;
    } least[] = {
        {VMBUS_MSG_OPENCHANNEL, 148},     {VMBUS_MSG_CLOSECHANNEL, 12},
        {VMBUS_MSG_GPADL_HEADER, 20},     {VMBUS_MSG_GPADL_BODY, 16},
        {VMBUS_MSG_GPADL_TEARDOWN, 16},   {VMBUS_MSG_RELID_RELEASED, 12},
        {VMBUS_MSG_INITIATE_CONTACT, 40}, {VMBUS_MSG_TL_CONNECT_REQUEST, 40},
        {VMBUS_MSG_MODIFYCHANNEL, 16},    {VMBUS_MSG_OPEN_RESERVED, 28},
        {VMBUS_MSG_CLOSE_RESERVED, 20},
    };
    VmbusMsg msg;

    fixture_connect(fix);
    for (uint32_t len = 0; len < 8; len++) {
        vsc_head(&msg, VMBUS_MSG_UNLOAD);
        fixture_refused(fix, &msg, len, "The guest sent less than a message.");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(least); i++) {
        for (uint32_t len = 8; len < least[i].len; len++) {
            vsc_head(&msg, least[i].type);
            fixture_refused(
                fix, &msg, len,
                "The guest sent a message that is too short for its type.");
        }
    }
    fixture_still_works(fix);
}

static void test_unknown_type(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {0, 30, 0x80000005, 0xffffffff};
    VmbusMsg msg;

    for (int connected = 0; connected < 2; connected++) {
        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
            vsc_head(&msg, types[i]);
            fixture_refused(fix, &msg, sizeof(msg),
                            "The guest sent a message of an unknown type.");
        }
        fixture_connect(fix);
    }
    fixture_still_works(fix);
}

static void test_from_host(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {1,  2,  4,  6,  10, 12, 15,
                                     17, 20, 23, 24, 26, 28};
    VmbusMsg msg;

    for (int connected = 0; connected < 2; connected++) {
        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
            vsc_head(&msg, types[i]);
            fixture_refused(fix, &msg, sizeof(msg),
                            "The guest sent a message that only hosts do.");
            fixture_refused(fix, &msg, sizeof(msg.header),
                            "The guest sent a message that only hosts do.");
        }
        fixture_connect(fix);
    }
    fixture_still_works(fix);
}

static void test_too_early(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {3, 5, 7, 8, 9, 11, 13, 16, 18, 21, 22};
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        vsc_head(&msg, types[i]);
        fixture_refused(fix, &msg, sizeof(msg),
                        "The guest sent a message before it was connected.");
    }
    fixture_silence(fix);
    fixture_connect(fix);
    fixture_still_works(fix);
}

static void test_later_version(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint32_t version, type;
    } cases[] = {
        {VMBUS_VERSION_3_0, VMBUS_MSG_OPEN_RESERVED},
        {VMBUS_VERSION_3_0, VMBUS_MSG_TL_CONNECT_REQUEST},
        {VMBUS_VERSION_4_0, VMBUS_MSG_MODIFYCHANNEL},
        {VMBUS_VERSION_5_3, VMBUS_MSG_MODIFY_CONNECTION},
        {VMBUS_VERSION_5_3, VMBUS_MSG_PAUSE},
        {VMBUS_VERSION_5_3, VMBUS_MSG_RESUME},
    };
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(vsc_connect(fix->vsc, cases[i].version));
        g_assert_true(vsc_request_offers(fix->vsc));
        vsc_head(&msg, cases[i].type);
        fixture_refused(fix, &msg, sizeof(msg),
                        "The guest sent a message of a later version.");
        fixture_still_works(fix);
    }
}

static void test_tl_connect(Fixture *fix, gconstpointer data)
{
    static const char sentence[] =
        "No service of the host listens for the guest's socket.";
    VmbusMsg msg, reply;

    vsc_head(&msg, VMBUS_MSG_TL_CONNECT_REQUEST);
    memset(&msg.tl_connect_request.endpoint_id, 0x11, 16);
    memset(&msg.tl_connect_request.service_id, 0x22, 16);
    fixture_connect(fix);
    fixture_refused(fix, &msg, sizeof(msg.tl_connect_request), sentence);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_TL_CONNECT_RESULT, &reply,
                             sizeof(reply.tl_connect_result)));
    g_assert_cmphex(reply.tl_connect_result.status, ==, 0xc0000236);
    g_assert_cmpmem(&reply.tl_connect_result.endpoint_id, 32,
                    &msg.tl_connect_request.endpoint_id, 32);
    fixture_still_works(fix);
    /* 4.0 has the request, and no result. */
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_4_0));
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_refused(fix, &msg, sizeof(msg.tl_connect_request), sentence);
    fixture_still_works(fix);
}

static void relid_refused(Fixture *fix, uint32_t type, uint32_t relid,
                          const char *sentence)
{
    VmbusMsg msg;

    vsc_head(&msg, type);
    msg.relid.relid = relid;
    fixture_refused(fix, &msg, sizeof(msg.relid), sentence);
    fixture_silence(fix);
}

static void test_close(Fixture *fix, gconstpointer data)
{
    static const uint32_t relids[] = {0, 2, 2048, 0xffffffff};

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(relids); i++) {
        relid_refused(fix, VMBUS_MSG_CLOSECHANNEL, relids[i],
                      "The guest closed a channel that it has not got.");
    }
    relid_refused(fix, VMBUS_MSG_CLOSECHANNEL, 1,
                  "The guest closed a channel that is not open.");
    fixture_still_works(fix);
}

static void test_release(Fixture *fix, gconstpointer data)
{
    static const uint32_t relids[] = {0, 2, 2048, 0xffffffff};
    VscChannel *chan;

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(relids); i++) {
        relid_refused(fix, VMBUS_MSG_RELID_RELEASED, relids[i],
                      "The guest released a channel that it has not got.");
    }
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    relid_refused(fix, VMBUS_MSG_RELID_RELEASED, 1,
                  "The guest released a channel that it has not closed.");
    vsc_close(chan);
    fixture_still_works(fix);
}

static void modify_refused(Fixture *fix, uint32_t relid, uint32_t vp,
                           const char *sentence)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_MODIFYCHANNEL);
    msg.modify_channel.relid = relid;
    msg.modify_channel.target_vp = vp;
    fixture_refused(fix, &msg, sizeof(msg.modify_channel), sentence);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg,
                             sizeof(msg.modify_channel_response)));
    g_assert_cmpuint(msg.modify_channel_response.relid, ==, relid);
    g_assert_cmphex(msg.modify_channel_response.status, ==, 0x8000ffff);
    fixture_silence(fix);
}

static void test_modify(Fixture *fix, gconstpointer data)
{
    static const uint32_t vps[] = {VSC_MAX_VPS, 0x80000000, 0xffffffff};
    VscChannel *chan;

    fixture_connect(fix);
    modify_refused(fix, 9, 0,
                   "The guest modified a channel that it has not got.");
    modify_refused(fix, 0xffffffff, 0,
                   "The guest modified a channel that it has not got.");
    modify_refused(fix, 1, 0, "The guest modified a channel that is not open.");
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, VMBUS_VP_NONE);
    modify_refused(fix, 1, 0,
                   "The guest modified a channel that has interrupts off.");
    vsc_close(chan);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(vps); i++) {
        modify_refused(fix, 1, vps[i],
                       "The virtual processor for a channel does not exist.");
    }
    fix->machine->fail_prepare = true;
    modify_refused(fix, 1, 0,
                   "The machine cannot signal the channel's processor.");
    fix->machine->fail_prepare = false;
    g_assert_cmpuint(fixture_channel(fix).target_vp, ==, 1);
    g_assert_cmpuint(fix->machine->routes, ==, 1);
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_rescinded(Fixture *fix, gconstpointer data)
{
    VmbusMsgOpen open;
    Device other = {0};
    VmbusMsg msg;

    device_offer(&other, fix->bus, 2);
    fixture_connect(fix);
    vmbus_bus_withdraw(fix->bus, other.chan);
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    open = fixture_open_message(fix);
    open.relid = 2;
    fixture_open_refused(fix, &open,
                         "The guest opened a channel that was withdrawn.");
    modify_refused(fix, 2, 0,
                   "The guest modified a channel that was withdrawn.");
    fixture_still_works(fix);
    device_free(&other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/refusals/short", test_short);
    FIXTURE_TEST("/refusals/unknown-type", test_unknown_type);
    FIXTURE_TEST("/refusals/from-host", test_from_host);
    FIXTURE_TEST("/refusals/too-early", test_too_early);
    FIXTURE_TEST("/refusals/later-version", test_later_version);
    FIXTURE_TEST("/refusals/tl-connect", test_tl_connect);
    FIXTURE_TEST("/refusals/close", test_close);
    FIXTURE_TEST("/refusals/release", test_release);
    FIXTURE_TEST("/refusals/modify", test_modify);
    FIXTURE_TEST("/refusals/rescinded", test_rescinded);
    return g_test_run();
}
