/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What packets may look like, and what becomes of broken ones. */
#include "bus/packet.h"
#include "fixture.h"

static void corrupt_in(Fixture *fix, VscChannel *chan, const char *why)
{
    unsigned closed = fix->device.closed;
    uint64_t before = fixture_channel(fix).corruptions;

    vsc_machine_signal(fix->machine, chan->connection_id);
    fixture_check(fix);
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_CORRUPT);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    g_assert_cmpuint(fixture_channel(fix).corruptions, ==, before + 1);
    g_assert_cmpstr(fixture_channel(fix).corruption, ==, why);
    g_assert_cmpstr(fix->machine->corrupt, ==, why);
    g_assert_cmpuint(fix->device.closed, ==, closed + 1);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_false(vmbus_channel_is_open(fix->device.chan));
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, NULL), ==,
                    VMBUS_RING_CLOSED);
    /* Nobody listens any more. */
    g_assert_false(vsc_machine_signal(fix->machine, chan->connection_id));
    vsc_close(chan);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OFFERED);
    fixture_still_works(fix);
}

/* Writes @len bytes as they are; the device is told by corrupt_in(). */
static VscChannel *broken_packet(Fixture *fix, const void *packet, uint32_t len)
{
    VscChannel *chan;

    vsc_machine_reset_ram(fix->machine);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_nonnull(chan);
    vsc_ring_copy_in(&chan->out, 0, packet, len);
    chan->out.control->write_index = len + 8;
    return chan;
}

static void test_corrupt_index(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);

    chan->out.control->write_index = 4096;
    corrupt_in(fix, chan,
               "The write index of the ring to the host is out of range.");
}

/* A teardown that waited for the close is answered when the host closes. */
static void test_corrupt_torndown(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsg msg;

    g_assert_false(vsc_teardown_gpadl(fix->vsc, chan->relid, chan->gpadl));
    chan->out.control->write_index = 4;
    vsc_machine_signal(fix->machine, chan->connection_id);
    fixture_check(fix);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg, 12));
    g_assert_cmpuint(msg.gpadl_torndown.gpadl, ==, chan->gpadl);
    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = chan->relid;
    fixture_post(fix, &msg, sizeof(msg.relid));
    vsc_abandon(chan);
    fixture_still_works(fix);
}

static void test_corrupt_packets(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint16_t words[4]; /* type, offset8, len8, flags */
        const char *why;
    } cases[] = {
        {{6, 2, 3, 2}, "A packet has unknown flags."},
        {{6, 2, 3, 0x8001}, "A packet has unknown flags."},
        {{0, 2, 3, 0}, "A packet is of an unknown type."},
        {{1, 2, 3, 0}, "A packet is of an unknown type."},
        {{8, 2, 3, 0}, "A packet is of an unknown type."},
        {{0xffff, 2, 3, 0}, "A packet is of an unknown type."},
        {{6, 1, 3, 0}, "A packet's payload begins inside its descriptor."},
        {{6, 4, 3, 0}, "A packet's payload begins behind its end."},
        {{6, 2, 4, 0}, "A packet reaches beyond what the guest has written."},
        {{9, 2, 3, 0}, "A GPA-direct packet has no list of ranges."},
        {{9, 3, 3, 0}, "A GPA-direct packet's list of ranges is empty."},
        {{7, 2, 3, 0}, "A transfer-page packet has no list of ranges."},
    };

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t packet[3] = {0};

        memcpy(packet, cases[i].words, 8);
        corrupt_in(fix, broken_packet(fix, packet, sizeof(packet)),
                   cases[i].why);
    }
}

/* A packet whose list is @words, the first of which has the range count. */
static uint32_t list_packet(uint64_t *packet, uint16_t type, uint32_t ranges,
                            const uint64_t *words, uint32_t count)
{
    VmbusPacketDescriptor desc = {
        .type = type, .offset8 = 3 + count, .len8 = 3 + count};

    memcpy(packet, &desc, sizeof(desc));
    packet[2] = (uint64_t)ranges << 32;
    memcpy(packet + 3, words, count * 8);
    return (3 + count) * 8;
}

#define RANGE(bytes, offset) ((uint64_t)(offset) << 32 | (uint32_t)(bytes))

static void test_corrupt_gpa_direct(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint32_t ranges, count;
        uint64_t words[4];
        const char *why;
    } cases[] = {
        {1, 0, {0}, "A list of guest memory has fewer ranges than it claims."},
        {2,
         2,
         {RANGE(4096, 0), 5},
         "A list of guest memory has fewer ranges than it claims."},
        {0x80000001,
         2,
         {RANGE(4096, 0), 5},
         "A list of guest memory has fewer ranges than it claims."},
        {0xffffffff,
         4,
         {RANGE(1, 0), 5, RANGE(1, 0), 5},
         "A list of guest memory has fewer ranges than it claims."},
        {1, 2, {RANGE(0, 0), 5}, "A range of guest memory is empty."},
        {1,
         2,
         {RANGE(1, 4096), 5},
         "A range of guest memory begins behind its first page."},
        {1,
         2,
         {RANGE(0xffffffff, 4095), 5},
         "A range of guest memory lists too few pages."},
        {1,
         2,
         {RANGE(0xfffff001, 0), 5},
         "A range of guest memory lists too few pages."},
        {1,
         2,
         {RANGE(4096, 1), 5},
         "A range of guest memory lists too few pages."},
        {1,
         3,
         {RANGE(8192, 0), 5, 1ull << 52},
         "A page number of guest memory is out of range."},
    };

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t packet[8];
        uint32_t len =
            list_packet(packet, VMBUS_PKT_DATA_GPA_DIRECT, cases[i].ranges,
                        cases[i].words, cases[i].count);

        corrupt_in(fix, broken_packet(fix, packet, len), cases[i].why);
    }
}

static void test_corrupt_xfer_pages(Fixture *fix, gconstpointer data)
{
    uint64_t words[2] = {RANGE(100, 0), RANGE(100, 100)}, packet[8];

    fixture_connect(fix);
    list_packet(packet, VMBUS_PKT_DATA_XFER_PAGES, 3, words, 2);
    corrupt_in(fix, broken_packet(fix, packet, 40),
               "A transfer-page packet has fewer ranges than it claims.");
    list_packet(packet, VMBUS_PKT_DATA_XFER_PAGES, 0xffffffff, words, 2);
    corrupt_in(fix, broken_packet(fix, packet, 40),
               "A transfer-page packet has fewer ranges than it claims.");
}

static void test_gpa_direct(Fixture *fix, gconstpointer data)
{
    uint64_t words[] = {RANGE(4097, 4095), 7, 8, RANGE(1, 0), 1ull << 51};
    VscChannel *chan = fixture_open(fix, 2);
    uint64_t packet[10];
    uint32_t len;
    VmbusRangeIter iter;
    VmbusRange range;
    VmbusPacket pkt;

    len = list_packet(packet, VMBUS_PKT_DATA_GPA_DIRECT, 2, words, 5);
    packet[len / 8] = 0x6161616161616161; /* payload */
    ((VmbusPacketDescriptor *)packet)->len8++;
    vsc_ring_copy_in(&chan->out, 0, packet, len + 8);
    chan->out.control->write_index = len + 16;
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(pkt.header_len, ==, len);
    g_assert_cmpmem(pkt.data, pkt.data_len, "aaaaaaaa", 8);
    vmbus_packet_ranges(&pkt, &iter);
    g_assert_true(vmbus_range_iter_next(&iter, &range));
    g_assert_cmpuint(range.byte_count, ==, 4097);
    g_assert_cmpuint(range.byte_offset, ==, 4095);
    g_assert_cmpuint(range.page_count, ==, 2);
    g_assert_cmpuint(vmbus_range_page(&range, 0), ==, 7);
    g_assert_cmpuint(vmbus_range_page(&range, 1), ==, 8);
    g_assert_true(vmbus_range_iter_next(&iter, &range));
    g_assert_cmpuint(range.page_count, ==, 1);
    g_assert_cmpuint(vmbus_range_page(&range, 0), ==, 1ull << 51);
    g_assert_false(vmbus_range_iter_next(&iter, &range));
    /* What the guest does to its ring now changes nothing in our copy. */
    memset(vsc_machine_page(fix->machine, chan->first_gfn + 1), 0xff, 4096);
    g_assert_cmpmem(pkt.data, pkt.data_len, "aaaaaaaa", 8);
    vsc_close(chan);
}

static void test_xfer_pages(Fixture *fix, gconstpointer data)
{
    uint64_t words[] = {RANGE(100, 0), RANGE(100, 100)};
    VscChannel *chan = fixture_open(fix, 2);
    uint64_t packet[8];
    uint32_t len = list_packet(packet, VMBUS_PKT_DATA_XFER_PAGES, 2, words, 2);
    VmbusPacket pkt;

    vsc_ring_copy_in(&chan->out, 0, packet, len);
    chan->out.control->write_index = len + 8;
    g_assert_cmpint(vmbus_channel_receive(fix->device.chan, &pkt), ==,
                    VMBUS_RING_OK);
    g_assert_cmpuint(pkt.type, ==, VMBUS_PKT_DATA_XFER_PAGES);
    vsc_close(chan);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/packet/gpa-direct", test_gpa_direct);
    FIXTURE_TEST("/packet/xfer-pages", test_xfer_pages);
    FIXTURE_TEST("/packet/corrupt/index", test_corrupt_index);
    FIXTURE_TEST("/packet/corrupt/torndown", test_corrupt_torndown);
    FIXTURE_TEST("/packet/corrupt/packets", test_corrupt_packets);
    FIXTURE_TEST("/packet/corrupt/gpa-direct", test_corrupt_gpa_direct);
    FIXTURE_TEST("/packet/corrupt/xfer-pages", test_corrupt_xfer_pages);
    return g_test_run();
}
