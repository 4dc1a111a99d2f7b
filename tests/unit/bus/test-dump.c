/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dumps of rings, good and bad. */
#include "bus/dump.h"
#include "fixture.h"

typedef struct Dump {
    unsigned controls, packets, sentences;
    VmbusDumpControl control;
    VmbusDumpPacket first, last;
    const char *sentence;
} Dump;

static void note(void *opaque, const VmbusDumpControl *control,
                 const VmbusDumpPacket *packet, const char *sentence)
{
    Dump *dump = opaque;

    g_assert_cmpuint(!!control + !!packet + !!sentence, ==, 1);
    if (control) {
        dump->controls++;
        dump->control = *control;
    } else if (packet) {
        if (!dump->packets++) {
            dump->first = *packet;
        }
        dump->last = *packet;
    } else {
        dump->sentences++;
        dump->sentence = sentence;
    }
}

/* Dumps, and checks that nothing was changed by it. */
static Dump dump_ring(Fixture *fix, VmbusDumpRing which)
{
    size_t size = (size_t)fix->machine->page_count * VMBUS_PAGE_SIZE;
    g_autofree uint8_t *ram = g_malloc(size);
    unsigned signals = fix->machine->signals;
    Dump dump = {0};

    memcpy(ram, fix->machine->ram, size);
    g_assert_null(vmbus_channel_dump(fix->device.chan, which, note, &dump));
    g_assert_cmpmem(ram, size, fix->machine->ram, size);
    g_assert_cmpuint(fix->machine->signals, ==, signals);
    g_assert_cmpuint(dump.controls, ==, 1);
    fixture_check(fix);
    return dump;
}

static void send_some(VscChannel *chan, unsigned count)
{
    uint8_t data[80];

    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = i;
    }
    for (unsigned i = 0; i < count; i++) {
        g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 1, 100 + i, data,
                               sizeof(data)));
    }
}

static void test_to_host(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    Dump dump;

    dump = dump_ring(fix, VMBUS_DUMP_TO_HOST);
    g_assert_cmpuint(dump.packets + dump.sentences, ==, 0);
    g_assert_cmpuint(dump.control.size, ==, 4096);
    g_assert_cmpuint(dump.control.feature_bits, ==, 1);

    fix->device.quiet = true;
    send_some(chan, 3);
    for (int i = 0; i < 2; i++) {
        dump = dump_ring(fix, VMBUS_DUMP_TO_HOST);
        g_assert_cmpuint(dump.packets, ==, 3);
        g_assert_cmpuint(dump.sentences, ==, 0);
        g_assert_cmpuint(dump.control.write_index, ==, 3 * 104);
        g_assert_cmpuint(dump.control.end, ==, 3 * 104);
        g_assert_cmpuint(dump.control.host_index, ==, 0);
        g_assert_cmpuint(dump.first.index, ==, 0);
        g_assert_cmpuint(dump.first.type, ==, VMBUS_PKT_DATA_INBAND);
        g_assert_cmpuint(dump.first.flags, ==, 1);
        g_assert_cmpuint(dump.first.trans_id, ==, 100);
        g_assert_cmpuint(dump.first.header_len, ==, 16);
        g_assert_cmpuint(dump.first.len, ==, 96);
        g_assert_cmpuint(dump.first.shown, ==, 64);
        for (unsigned j = 0; j < 64; j++) {
            g_assert_cmpuint(dump.first.bytes[j], ==, j);
        }
        g_assert_cmpuint(dump.last.index, ==, 2 * 104);
        g_assert_cmpuint(dump.last.trans_id, ==, 102);
    }
    /* The device can still take them. */
    fix->device.quiet = false;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpuint(fix->device.packets, ==, 3);
    g_assert_cmpuint(dump_ring(fix, VMBUS_DUMP_TO_HOST).packets, ==, 0);
    vsc_close(chan);
}

/* What the host put in and did not publish is shown as well. */
static void test_to_guest(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    struct iovec iov = {(void *)"12345", 5};
    uint8_t buf[64];
    Dump dump;

    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(
            vmbus_channel_send(fix->device.chan, VMBUS_PKT_COMP, 0, i, &iov, 1),
            ==, VMBUS_RING_OK);
        if (i == 1) {
            vmbus_channel_flush(fix->device.chan);
        }
    }
    vsc_receive(chan, buf, sizeof(buf));
    dump = dump_ring(fix, VMBUS_DUMP_TO_GUEST);
    g_assert_cmpuint(dump.packets, ==, 3);
    g_assert_cmpuint(dump.control.write_index, ==, 2 * 32);
    g_assert_cmpuint(dump.control.host_index, ==, 4 * 32);
    g_assert_cmpuint(dump.control.read_index, ==, 32);
    g_assert_cmpuint(dump.first.trans_id, ==, 1);
    g_assert_cmpuint(dump.first.type, ==, VMBUS_PKT_COMP);
    g_assert_cmpuint(dump.first.shown, ==, 8);
    g_assert_cmpmem(dump.first.bytes, 5, "12345", 5);
    vmbus_channel_flush(fix->device.chan);
    vsc_close(chan);
}

/* Packets lie across the end of the ring. */
static void test_wrap(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    Dump dump;

    send_some(chan, 30);
    fix->device.quiet = true;
    send_some(chan, 30);
    dump = dump_ring(fix, VMBUS_DUMP_TO_HOST);
    g_assert_cmpuint(dump.packets, ==, 30);
    g_assert_cmpuint(dump.sentences, ==, 0);
    g_assert_cmpuint(dump.last.trans_id, ==, 129);
    g_assert_cmpuint(dump.last.bytes[63], ==, 63);
    vsc_close(chan);
}

static void test_too_many(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 8);
    Dump dump;

    fix->device.quiet = true;
    for (unsigned i = 0; i < 257; i++) {
        g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, i, "", 0));
    }
    dump = dump_ring(fix, VMBUS_DUMP_TO_HOST);
    g_assert_cmpuint(dump.packets, ==, 256);
    g_assert_cmpstr(dump.sentence, ==,
                    "There are more packets than a dump shows.");
    vsc_close(chan);
}

static void bad_dump(Fixture *fix, VmbusDumpRing which, unsigned packets,
                     const char *sentence)
{
    Dump dump = dump_ring(fix, which);

    g_assert_cmpuint(dump.packets, ==, packets);
    g_assert_cmpuint(dump.sentences, ==, 1);
    g_assert_cmpstr(dump.sentence, ==, sentence);
}

static void test_hostile(Fixture *fix, gconstpointer data)
{
    static const uint32_t indexes[] = {1,    4,          4096,
                                       4097, 0x80000000, 0xffffffff};
    VscChannel *chan = fixture_open(fix, 2);
    VmbusPacketDescriptor bad = {.type = 6, .offset8 = 1, .len8 = 10};
    uint32_t *write = &chan->out.control->write_index;
    uint32_t *read = &chan->in.control->read_index;

    fix->device.quiet = true;
    for (size_t i = 0; i < G_N_ELEMENTS(indexes); i++) {
        *write = *read = indexes[i];
        bad_dump(fix, VMBUS_DUMP_TO_HOST, 0,
                 "The guest's index is out of range.");
        bad_dump(fix, VMBUS_DUMP_TO_GUEST, 0,
                 "The guest's index is out of range.");
    }
    *write = *read = 0;
    send_some(chan, 2);
    vsc_ring_copy_in(&chan->out, 104, &bad, sizeof(bad));
    bad_dump(fix, VMBUS_DUMP_TO_HOST, 1,
             "A packet's payload begins inside its descriptor.");
    bad.offset8 = 11;
    vsc_ring_copy_in(&chan->out, 104, &bad, sizeof(bad));
    bad_dump(fix, VMBUS_DUMP_TO_HOST, 1,
             "A packet's payload begins behind its end.");
    bad.offset8 = 2;
    bad.len8 = 0xffff;
    vsc_ring_copy_in(&chan->out, 104, &bad, sizeof(bad));
    bad_dump(fix, VMBUS_DUMP_TO_HOST, 1,
             "A packet reaches beyond what the guest has written.");
    *write = 104 + 16;
    bad_dump(fix, VMBUS_DUMP_TO_HOST, 1,
             "The ring holds less than the smallest packet.");
    /* The guest claims that it has read what is not written. */
    *read = 8;
    bad_dump(fix, VMBUS_DUMP_TO_GUEST, 0,
             "A packet's payload begins inside its descriptor.");
    vsc_close(chan);
}

static void test_closed(Fixture *fix, gconstpointer data)
{
    Dump dump = {0};

    g_assert_cmpstr(
        vmbus_channel_dump(fix->device.chan, VMBUS_DUMP_TO_HOST, note, &dump),
        ==, "The channel is closed: it has no rings.");
    fixture_connect(fix);
    g_assert_cmpstr(
        vmbus_channel_dump(fix->device.chan, VMBUS_DUMP_TO_GUEST, note, &dump),
        ==, "The channel is closed: it has no rings.");
    g_assert_cmpuint(dump.controls, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/dump/to-host", test_to_host);
    FIXTURE_TEST("/dump/to-guest", test_to_guest);
    FIXTURE_TEST("/dump/wrap", test_wrap);
    g_test_add("/dump/wrap/scattered", Fixture, GINT_TO_POINTER(TRUE),
               fixture_set_up, test_wrap, fixture_tear_down);
    FIXTURE_TEST("/dump/too-many", test_too_many);
    FIXTURE_TEST("/dump/hostile", test_hostile);
    FIXTURE_TEST("/dump/closed", test_closed);
    return g_test_run();
}
