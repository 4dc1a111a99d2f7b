/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets through open channels, and their signals. */
#include "fixture.h"

static void send_ok(VscChannel *chan, const void *data, uint32_t len)
{
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 1, 0x1122334455667788,
                           data, len));
}

static void test_receive(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    send_ok(chan, "hello, host", 11);
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    g_assert_cmpuint(fix->device.packets, ==, 1);
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_EMPTY);
    g_assert_cmpuint(fix->device.type, ==, VMBUS_PKT_DATA_INBAND);
    g_assert_cmpuint(fix->device.flags, ==, 1);
    g_assert_cmphex(fix->device.trans_id, ==, 0x1122334455667788);
    g_assert_cmpmem(fix->device.data->data, fix->device.data->len,
                    "hello, host\0\0\0\0", 16);
    vsc_close(chan);
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, NULL), ==,
                    VMBUS_RING_CLOSED);
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, NULL, 0), ==,
                    VMBUS_RING_CLOSED);
    vmbus_channel_flush(fix->device.chan);
    vmbus_channel_signalled(fix->device.chan);
    g_assert_cmpuint(fix->device.signalled, ==, 1);
}

static void test_send(Fixture *fix, gconstpointer data)
{
    struct iovec iov[2] = {{(void *)"hello,", 6}, {(void *)" guest", 6}};
    VscChannel *chan = fixture_open(fix, 2);
    const VmbusPacketDescriptor *desc;
    uint64_t buf[32];

    g_assert_cmpint(
        vmbus_channel_send(fix->device.chan, VMBUS_PKT_COMP, 0, 42, iov, 2), ==,
        VMBUS_RING_OK);
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 0);
    g_assert_false(vsc_interrupted(chan));
    vmbus_channel_flush(fix->device.chan);
    g_assert_true(vsc_interrupted(chan));
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 32);
    desc = (void *)buf;
    g_assert_cmpuint(desc->type, ==, VMBUS_PKT_COMP);
    g_assert_cmpuint(desc->trans_id, ==, 42);
    g_assert_cmpmem(desc + 1, 16, "hello, guest\0\0\0", 16);
    vmbus_channel_flush(fix->device.chan);
    g_assert_false(vsc_interrupted(chan));
    vsc_close(chan);
}

/* A burst costs one signal each way. */
static void test_burst(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 4);
    VmbusChannelInfo info;
    uint64_t buf[32];

    fix->device.quiet = true;
    for (int i = 0; i < 100; i++) {
        send_ok(chan, "12345678", 8);
    }
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    fix->device.quiet = false;
    fix->device.echo = true;
    vmbus_channel_signalled(fix->device.chan);
    g_assert_cmpuint(fix->device.packets, ==, 100);
    g_assert_cmpuint(fix->machine->signals, ==, 1);
    for (int i = 0; i < 100; i++) {
        g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 24);
    }
    info = fixture_channel(fix);
    g_assert_cmpuint(info.signals_received, ==, 2);
    g_assert_cmpuint(info.in.packets, ==, 100);
    g_assert_cmpuint(info.in.bytes, ==, 800);
    g_assert_cmpuint(info.in.signals_sent, ==, 0);
    g_assert_cmpuint(info.in.signals_suppressed, ==, 1);
    g_assert_cmpuint(info.out.packets, ==, 100);
    g_assert_cmpuint(info.out.bytes, ==, 800);
    g_assert_cmpuint(info.out.signals_sent, ==, 1);
    g_assert_cmpuint(info.out.signals_suppressed, ==, 0);
    vsc_close(chan);
    /* Counters count on. */
    g_assert_cmpuint(fixture_channel(fix).in.packets, ==, 100);
}

/* No signals while the host drains, and again when it found nothing. */
static void test_masked_while_draining(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 4);
    const uint32_t *mask = &chan->out.control->interrupt_mask;
    VmbusPacket pkt;

    fix->device.quiet = true;
    g_assert_cmpuint(*mask, ==, 0);
    send_ok(chan, "1", 1);
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    g_assert_cmpuint(*mask, ==, 0);
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(*mask, ==, 1);
    send_ok(chan, "2", 1);
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    /* Nothing is given back before the ring is empty, then all of it. */
    g_assert_cmpuint(chan->out.control->read_index, ==, 0);
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_EMPTY);
    g_assert_cmpuint(*mask, ==, 0);
    g_assert_cmpuint(chan->out.control->read_index, ==,
                     chan->out.control->write_index);
    send_ok(chan, "3", 1);
    g_assert_cmpuint(fix->device.signalled, ==, 2);
    vsc_close(chan);
}

/* The host's ring is full: it waits, and the guest's reading wakes it. */
static void test_full(Fixture *fix, gconstpointer data)
{
    g_autofree uint8_t *large = g_malloc0(1000);
    struct iovec iov = {large, 1000};
    VscChannel *chan = fixture_open(fix, 2);
    VmbusChannelInfo info;
    uint64_t buf[200];
    int sent = 0;

    while (vmbus_channel_send(fix->device.chan, 6, 0, sent, &iov, 1) ==
           VMBUS_RING_OK) {
        sent++;
    }
    g_assert_cmpint(sent, ==, 3);
    /* What was written has been published: else no room could come. */
    g_assert_true(vsc_interrupted(chan));
    g_assert_cmpuint(chan->in.control->pending_send_size, ==, 1024);
    info = fixture_channel(fix);
    g_assert_cmpuint(info.out.full, ==, 1);
    g_assert_cmpuint(info.out.packets, ==, 3);
    g_assert_cmpuint(fix->device.signalled, ==, 0);
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 1016);
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, sent, &iov, 1),
                    ==, VMBUS_RING_OK);
    g_assert_cmpuint(chan->in.control->pending_send_size, ==, 0);
    vmbus_channel_flush(fix->device.chan);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==, 1016);
    }
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    vsc_close(chan);
}

/* The guest's ring is full: it waits, and the host's reading wakes it. */
static void test_guest_full(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    uint8_t text[1000] = {0};
    int sent = 0;

    fix->device.quiet = true;
    while (vsc_send(chan, 6, 0, sent, text, sizeof(text))) {
        sent++;
    }
    g_assert_cmpint(sent, ==, 3);
    vsc_ring_want_room(&chan->out, 1024);
    fix->device.quiet = false;
    vmbus_channel_signalled(fix->device.chan);
    g_assert_true(vsc_interrupted(chan));
    g_assert_cmpuint(fixture_channel(fix).in.signals_sent, ==, 1);
    vsc_ring_want_room(&chan->out, 0);
    g_assert_true(vsc_send(chan, 6, 0, 3, text, sizeof(text)));
    g_assert_false(vsc_interrupted(chan));
    g_assert_cmpuint(fixture_channel(fix).in.signals_sent, ==, 1);
    vsc_close(chan);
}

static void send_one_more(void *opaque)
{
    VscChannel *chan = opaque;

    chan->vsc->machine->interrupt = NULL;
    g_assert_cmpuint(chan->out.control->interrupt_mask, ==, 1);
    send_ok(chan, "one more", 8);
}

/* A packet that comes after the host saw none and before it unmasks. */
static void test_late_packet(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    uint8_t text[1000] = {0};

    fix->device.quiet = true;
    while (vsc_send(chan, 6, 0, 0, text, sizeof(text))) {
    }
    vsc_ring_want_room(&chan->out, 1024);
    fix->machine->interrupt = send_one_more;
    fix->machine->interrupt_opaque = chan;
    fix->device.quiet = false;
    vmbus_channel_signalled(fix->device.chan);
    g_assert_cmpuint(fix->device.packets, ==, 4);
    g_assert_cmpmem(fix->device.data->data, fix->device.data->len, "one more",
                    8);
    g_assert_cmpuint(fix->device.signalled, ==, 2);
    g_assert_cmpuint(chan->out.control->interrupt_mask, ==, 0);
    vsc_close(chan);
}

/* Both rings full: the host gives what it has read back before it waits. */
static void test_both_full(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    struct iovec iov = {(uint8_t[1000]){0}, 1000};
    uint8_t text[1000] = {0};
    VmbusPacket pkt;

    fix->device.quiet = true;
    while (vsc_send(chan, 6, 0, 0, text, sizeof(text))) {
    }
    vsc_ring_want_room(&chan->out, 1024);
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(vsc_ring_free(&chan->out), <=, 1024);
    while (vmbus_channel_send(fix->device.chan, 6, 0, 0, &iov, 1) ==
           VMBUS_RING_OK) {
    }
    g_assert_cmpuint(vsc_ring_free(&chan->out), >, 1024);
    g_assert_cmpuint(fixture_channel(fix).in.signals_sent, ==, 1);
    vsc_close(chan);
}

/* With an answer the guest has the room that its question took. */
static void test_room_with_answer(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    struct iovec iov = {(void *)"answer", 6};
    uint8_t text[2500] = {0};
    VmbusPacket pkt;

    fix->device.quiet = true;
    send_ok(chan, text, sizeof(text));
    g_assert_false(vsc_send(chan, 6, 0, 0, text, sizeof(text)));
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, &iov, 1), ==,
                    VMBUS_RING_OK);
    vmbus_channel_flush(fix->device.chan);
    send_ok(chan, text, sizeof(text));
    vsc_close(chan);
}

static void test_too_large(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    g_autofree uint8_t *buf = g_malloc0(4096);
    struct iovec iov[3] = {{buf, 4096 - 24}, {buf, SIZE_MAX}, {buf, 8}};

    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, iov, 1), ==,
                    VMBUS_RING_TOO_LARGE);
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, iov, 3), ==,
                    VMBUS_RING_TOO_LARGE);
    iov[0].iov_len = 65535 * 8 - 16 + 1;
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, iov, 1), ==,
                    VMBUS_RING_TOO_LARGE);
    g_assert_cmpuint(chan->in.control->pending_send_size, ==, 0);
    iov[0].iov_len = 4096 - 32;
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, iov, 1), ==,
                    VMBUS_RING_OK);
    vsc_close(chan);
}

/* The largest packet that the host takes, and one more. */
static void test_max_packet(Fixture *fix, gconstpointer data)
{
    g_autofree uint8_t *text = g_malloc0(VMBUS_MAX_PACKET_SIZE);
    VscChannel *chan;

    fixture_connect(fix);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 16, 2, 0);
    memset(text, 0x5a, VMBUS_MAX_PACKET_SIZE);
    send_ok(chan, text, VMBUS_MAX_PACKET_SIZE - 16);
    g_assert_cmpmem(fix->device.data->data, fix->device.data->len, text,
                    VMBUS_MAX_PACKET_SIZE - 16);
    send_ok(chan, text, VMBUS_MAX_PACKET_SIZE - 8);
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_CORRUPT);
    g_assert_cmpstr(fix->machine->corrupt, ==,
                    "A packet is larger than the host takes.");
    vsc_close(chan);
    fixture_still_works(fix);
}

/* Packets that came before the open, whose signal nobody heard. */
static void test_early_packets(Fixture *fix, gconstpointer data)
{
    VmbusPacketDescriptor desc = {.type = VMBUS_PKT_DATA_INBAND};
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsg msg;
    bool signal;

    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = 1;
    fixture_post(fix, &msg, sizeof(msg.relid));
    g_assert_true(
        vsc_ring_write(&chan->out, &desc, sizeof(desc), "x", 1, &signal));
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 1;
    msg.open.gpadl = chan->gpadl;
    msg.open.downstream_offset = 2;
    fixture_post(fix, &msg, sizeof(msg.open));
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg, 20));
    g_assert_cmpuint(fix->device.packets, ==, 1);
    vsc_close(chan);
}

/* The ring to the guest is broken: found when the device sends. */
static void test_corrupt_send(Fixture *fix, gconstpointer data)
{
    struct iovec iov = {(uint8_t[4000]){0}, 4000};
    VscChannel *chan = fixture_open(fix, 2);

    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, &iov, 1), ==,
                    VMBUS_RING_OK);
    chan->in.control->read_index = 12;
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, &iov, 1), ==,
                    VMBUS_RING_CORRUPT);
    fixture_check(fix);
    g_assert_cmpuint(fix->device.closed, ==, 0);
    vsc_machine_settle(fix->machine);
    fixture_check(fix);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpstr(fix->machine->corrupt, ==,
                    "The read index of the ring to the guest is out of range.");
    g_assert_cmpint(vmbus_channel_send(fix->device.chan, 6, 0, 0, &iov, 1), ==,
                    VMBUS_RING_CLOSED);
    vsc_close(chan);
    fixture_still_works(fix);
}

/* One broken channel does nothing to another. */
static void test_corrupt_alone(Fixture *fix, gconstpointer data)
{
    VscChannel *chan, *chan2;
    Device other = {0};

    device_offer(&other, fix->bus, 2);
    fixture_connect(fix);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    chan2 = vsc_open(
        fix->vsc, &g_array_index(fix->vsc->offers, VmbusMsgOffer, 1), 2, 2, 1);
    other.echo = true;
    chan->out.control->write_index = 3;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    g_assert_true(vmbus_channel_is_open(other.chan));
    send_ok(chan2, "still here", 10);
    g_assert_cmpuint(other.packets, ==, 1);
    g_assert_true(vsc_interrupted(chan2));
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    vsc_close(chan2);
    vsc_close(chan);
    fixture_still_works(fix);
    device_free(&other);
}

/* A device may say good-bye in its close(). */
static void send_in_close(Device *device)
{
    struct iovec iov = {(void *)"bye", 3};

    if (device->closed) {
        device->result = vmbus_channel_send(device->chan, 6, 0, 0, &iov, 1);
        vmbus_channel_flush(device->chan);
    }
}

static void test_send_in_close(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    fix->device.hook = send_in_close;
    vsc_close(chan);
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_OK);
    fix->device.hook = NULL;
    fixture_still_works(fix);
}

/* And finds the ring broken there: it is closed once. */
static void receive_in_close(Device *device)
{
    VmbusPacket pkt;

    if (device->closed) {
        device->result = vmbus_channel_receive(device->chan, &pkt);
    }
}

static void test_corrupt_in_close(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    fix->device.hook = receive_in_close;
    chan->out.control->write_index = 5;
    vsc_close(chan);
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_CORRUPT);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    fix->device.hook = NULL;
    fixture_still_works(fix);
}

static void test_corrupt_withdraw(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsg msg;

    chan->out.control->write_index = 5;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    vmbus_bus_withdraw(fix->bus, fix->device.chan);
    fixture_check(fix);
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    g_assert_cmpuint(fix->device.closed, ==, 1);
    vsc_abandon(chan);
}

/* The ring's pages do not follow each other on the host. */
static void test_scattered(Fixture *fix, gconstpointer data)
{
    g_autofree uint8_t *text = g_malloc(9000);
    uint8_t *buf = g_malloc(9016);
    VscChannel *chan = fixture_open(fix, 5);

    fix->device.echo = true;
    for (int i = 0; i < 50; i++) {
        memset(text, i, 9000);
        text[8999 - i] = 0xff;
        send_ok(chan, text, 9000);
        g_assert_cmpuint(vsc_receive(chan, buf, 9016), ==, 9016);
        g_assert_cmpmem(buf + 16, 9000, text, 9000);
    }
    g_free(buf);
    vsc_close(chan);
    fixture_check(fix);
}

static void test_guid(void)
{
    VmbusGuid guid = VMBUS_GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38,
                                0x2f, 0x3b, 0xd5, 0x42, 0x2d);
    char out[VMBUS_GUID_STRLEN + 1];

    g_assert_cmpstr(vmbus_guid_format(&guid, out), ==,
                    "57164f39-9115-4e78-ab55-382f3bd5422d");
    g_assert_cmphex(guid.b[0], ==, 0x39);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guid", test_guid);
    FIXTURE_TEST("/channel/receive", test_receive);
    FIXTURE_TEST("/channel/send", test_send);
    FIXTURE_TEST("/channel/burst", test_burst);
    FIXTURE_TEST("/channel/masked-while-draining", test_masked_while_draining);
    FIXTURE_TEST("/channel/full", test_full);
    FIXTURE_TEST("/channel/guest-full", test_guest_full);
    FIXTURE_TEST("/channel/late-packet", test_late_packet);
    FIXTURE_TEST("/channel/both-full", test_both_full);
    FIXTURE_TEST("/channel/room-with-answer", test_room_with_answer);
    FIXTURE_TEST("/channel/too-large", test_too_large);
    FIXTURE_TEST("/channel/max-packet", test_max_packet);
    FIXTURE_TEST("/channel/early-packets", test_early_packets);
    FIXTURE_TEST("/channel/send-in-close", test_send_in_close);
    FIXTURE_TEST("/channel/corrupt/send", test_corrupt_send);
    FIXTURE_TEST("/channel/corrupt/alone", test_corrupt_alone);
    FIXTURE_TEST("/channel/corrupt/in-close", test_corrupt_in_close);
    FIXTURE_TEST("/channel/corrupt/withdraw", test_corrupt_withdraw);
    g_test_add("/channel/scattered", Fixture, GINT_TO_POINTER(TRUE),
               fixture_set_up, test_scattered, fixture_tear_down);
    return g_test_run();
}
