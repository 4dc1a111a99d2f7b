/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the bus refuses of reserved channels, and to do with them. */
#include "reserved-fixture.h"

static void test_open_refused(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;
    uint32_t gpadl;

    fixture_connect(fix);
    gpadl = vsc_create_gpadl(fix->vsc, 1, 10, 6);
    reserved_put_open(fix, &msg, 7, gpadl);
    reserved_open_refused(
        fix, &msg, "The guest opened a reserved channel that it has not got.");
    msg.open_reserved.relid = 0xffffffff;
    reserved_open_refused(
        fix, &msg, "The guest opened a reserved channel that it has not got.");
    reserved_put_open(fix, &msg, 1, gpadl + 1);
    reserved_open_refused(fix, &msg, "The GPADL of the rings does not exist.");
    reserved_put_open(fix, &msg, 1, gpadl);
    msg.open_reserved.downstream_offset = 0xffffffff;
    reserved_open_refused(
        fix, &msg, "The offset of the ring to the guest is out of range.");
    reserved_put_open(fix, &msg, 1, gpadl);
    fix->machine->fail_map = true;
    reserved_open_refused(fix, &msg,
                          "The rings are not in the guest's memory.");
    fix->machine->fail_map = false;
    fix->machine->fail_listen = true;
    reserved_open_refused(
        fix, &msg, "The machine cannot listen for the channel's signals.");
    fix->machine->fail_listen = false;
    fix->device.refuse = true;
    reserved_open_refused(fix, &msg, "The device refused to open the channel.");
    fix->device.refuse = false;
    reserved_assert_open(fix, false);
    fixture_still_works(fix);
}

/* Nobody would hear the answer, so there is none. */
static void test_open_target(Fixture *fix, gconstpointer data)
{
    static const uint32_t sints[] = {0, 16, 0x105, 0xffffffff};
    static const uint32_t vps[] = {VSC_MAX_VPS, 0x80000000, 0xffffffff};
    VmbusMsg msg;

    fixture_connect(fix);
    reserved_put_open(fix, &msg, 1, vsc_create_gpadl(fix->vsc, 1, 10, 6));
    for (size_t i = 0; i < G_N_ELEMENTS(sints); i++) {
        msg.open_reserved.target_sint = sints[i];
        fixture_refused(fix, &msg, sizeof(msg.open_reserved),
                        "The synthetic interrupt for a reserved channel's "
                        "answer is out of range.");
        fixture_silence(fix);
    }
    msg.open_reserved.target_sint = RESERVED_SINT;
    for (size_t i = 0; i < G_N_ELEMENTS(vps); i++) {
        msg.open_reserved.target_vp = vps[i];
        fixture_refused(fix, &msg, sizeof(msg.open_reserved),
                        "The virtual processor for a reserved channel's "
                        "answer does not exist.");
        fixture_silence(fix);
    }
    reserved_assert_open(fix, false);
    fixture_still_works(fix);
}

static void receive_in_open(Device *device)
{
    VmbusPacket pkt;

    device->result = vmbus_channel_receive(device->chan, &pkt);
    device->hook = NULL;
}

static void test_open_corrupt(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    reserved_put_open(fix, &msg, 1, vsc_create_gpadl(fix->vsc, 1, 10, 6));
    *(uint32_t *)vsc_machine_page(fix->machine, 10) = 8;
    fix->device.hook = receive_in_open;
    reserved_open_refused(
        fix, &msg, "The rings were corrupt when the channel was opened.");
    reserved_assert_open(fix, false);
    fixture_still_works(fix);
}

static void test_open_twice(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);
    VmbusMsg msg;

    reserved_put_open(fix, &msg, 1, chan->gpadl);
    reserved_open_refused(fix, &msg,
                          "The guest opened a channel that it has not closed.");
    reserved_echo(fix, chan);
    g_assert_true(vsc_unload(fix->vsc));
    reserved_echo(fix, chan);
    reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
    /* The same for one that is open in the usual way, and stays so. */
    chan = fixture_open(fix, 2);
    reserved_put_open(fix, &msg, 1, chan->gpadl);
    reserved_open_refused(fix, &msg,
                          "The guest opened a channel that it has not closed.");
    vsc_close(chan);
    fixture_still_works(fix);
}

static void close_refused(Fixture *fix, uint32_t relid, uint32_t vp,
                          uint32_t sint, const char *sentence)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_CLOSE_RESERVED);
    msg.close_reserved.relid = relid;
    msg.close_reserved.target_vp = vp;
    msg.close_reserved.target_sint = sint;
    fixture_refused(fix, &msg, sizeof(msg.close_reserved), sentence);
    fixture_silence(fix);
}

static void test_close_refused(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;

    close_refused(fix, 1, RESERVED_VP, RESERVED_SINT,
                  "The guest closed a reserved channel that it has not got.");
    fixture_connect(fix);
    close_refused(fix, 2, RESERVED_VP, RESERVED_SINT,
                  "The guest closed a reserved channel that it has not got.");
    close_refused(fix, 0xffffffff, RESERVED_VP, RESERVED_SINT,
                  "The guest closed a reserved channel that it has not got.");
    close_refused(fix, 1, RESERVED_VP, RESERVED_SINT,
                  "The guest closed a reserved channel that is not open.");
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    close_refused(fix, 1, RESERVED_VP, RESERVED_SINT,
                  "The guest closed a channel as a reserved one, which it is "
                  "not.");
    vsc_close(chan);
    chan = reserved_open(fix);
    for (int i = 0; i < 2; i++) {
        close_refused(fix, 1, RESERVED_VP, 0,
                      "The synthetic interrupt for a reserved channel's answer "
                      "is out of range.");
        close_refused(fix, 1, RESERVED_VP, 0x102,
                      "The synthetic interrupt for a reserved channel's answer "
                      "is out of range.");
        close_refused(fix, 1, VSC_MAX_VPS, RESERVED_SINT,
                      "The virtual processor for a reserved channel's answer "
                      "does not exist.");
        reserved_assert_open(fix, true);
        vsc_unload(fix->vsc);
    }
    reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
    fixture_connect(fix);
    fixture_still_works(fix);
}

/* What may not be done to a reserved channel, in each connection. */
static void test_others_refused(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = reserved_open(fix);
    GpadlCase gpadl = gpadl_good;
    const char *why;
    VmbusMsg msg;

    for (int i = 0; i < 2; i++) {
        vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
        msg.relid.relid = 1;
        fixture_refused(
            fix, &msg, sizeof(msg.relid),
            "The guest closed a reserved channel as if it were another.");
        vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
        msg.relid.relid = 1;
        fixture_refused(fix, &msg, sizeof(msg.relid),
                        "The guest released a channel that it has not closed.");
        fixture_refused(fix, &msg, gpadl_case_message(&msg, &gpadl),
                        "A GPADL is for a channel that the guest has "
                        "reserved.");
        fixture_created(fix, 1, gpadl.id, 0x8000ffff);
        vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
        msg.gpadl_teardown.relid = 1;
        msg.gpadl_teardown.gpadl = chan->gpadl;
        fixture_refused(fix, &msg, sizeof(msg.gpadl_teardown),
                        "The guest tore down a GPADL of a reserved channel.");
        vsc_head(&msg, VMBUS_MSG_MODIFYCHANNEL);
        msg.modify_channel.relid = 1;
        fixture_refused(fix, &msg, sizeof(msg.modify_channel),
                        "The guest modified a reserved channel.");
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg, 16));
        g_assert_cmphex(msg.modify_channel_response.status, ==, 0x8000ffff);
        g_assert_false(vmbus_channel_offer_subchannels(
            fix->device.chan, 1, &device_ops, &fix->device, &why));
        g_assert_cmpstr(why, ==,
                        "Sub-channels are not for a channel that the guest "
                        "reserved.");
        fixture_silence(fix);
        reserved_echo(fix, chan);
        fixture_connect(fix);
    }
    reserved_close(fix, chan, RESERVED_VP, RESERVED_SINT);
}

static void test_subchannel(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    const char *why;
    VmbusMsg msg;

    g_assert_true(vmbus_channel_offer_subchannels(
        fix->device.chan, 1, &device_ops, &fix->device, &why));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    reserved_put_open(fix, &msg, 2, vsc_create_gpadl(fix->vsc, 2, 50, 6));
    reserved_open_refused(
        fix, &msg, "The guest opened a sub-channel as a reserved channel.");
    vsc_close(chan);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/reserved/open/refused", test_open_refused);
    FIXTURE_TEST("/reserved/open/target", test_open_target);
    FIXTURE_TEST("/reserved/open/corrupt", test_open_corrupt);
    FIXTURE_TEST("/reserved/open/twice", test_open_twice);
    FIXTURE_TEST("/reserved/close/refused", test_close_refused);
    FIXTURE_TEST("/reserved/others-refused", test_others_refused);
    FIXTURE_TEST("/reserved/subchannel", test_subchannel);
    return g_test_run();
}
