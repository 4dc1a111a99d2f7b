/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every OPENCHANNEL that the bus refuses. */
#include "bus/bus-internal.h"
#include "fixture.h"

static void test_open_unknown(Fixture *fix, gconstpointer data)
{
    static const uint32_t relids[] = {0, 2, 2047, 2048, 0xffffffff};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(relids); i++) {
        open.relid = relids[i];
        fixture_open_refused(fix, &open,
                             "The guest opened a channel that it has not got.");
    }
    fixture_still_works(fix);
}

/* Known to us, and not offered in this connection. */
static void test_open_unoffered(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 1;
    fixture_open_refused(fix, &msg.open,
                         "The guest opened a channel that it has not got.");
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_still_works(fix);
}

static void test_open_offset(Fixture *fix, gconstpointer data)
{
    static const uint32_t offsets[] = {0, 1,          5,          6,
                                       7, 0x7fffffff, 0xfffffffe, 0xffffffff};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        open.downstream_offset = offsets[i];
        fixture_open_refused(
            fix, &open, "The offset of the ring to the guest is out of range.");
    }
    /* Too small for two rings, at any offset. */
    for (uint32_t pages = 1; pages <= 3; pages++) {
        open.gpadl = vsc_create_gpadl(fix->vsc, 1, 20, pages);
        for (uint32_t i = 0; i < 5; i++) {
            open.downstream_offset = i;
            fixture_open_refused(
                fix, &open,
                "The offset of the ring to the guest is out of range.");
        }
    }
    fixture_still_works(fix);
}

static void test_open_target_vp(Fixture *fix, gconstpointer data)
{
    static const uint32_t vps[] = {VSC_MAX_VPS, 0x80000000, 0xfffffffe};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(vps); i++) {
        open.target_vp = vps[i];
        fixture_open_refused(
            fix, &open, "The virtual processor for a channel does not exist.");
    }
    fixture_still_works(fix);
}

static void test_open_gpadl(Fixture *fix, gconstpointer data)
{
    GpadlCase h = gpadl_good;
    Device other = {0};
    VmbusMsgOpen open;
    VmbusMsg msg;

    device_offer(&other, fix->bus, 2);
    fixture_connect(fix);
    open = fixture_open_message(fix);
    open.gpadl++;
    fixture_open_refused(fix, &open, "The GPADL of the rings does not exist.");
    open.gpadl = 0;
    fixture_open_refused(fix, &open, "The GPADL of the rings does not exist.");
    open.gpadl = vsc_create_gpadl(fix->vsc, 2, 10, 6);
    fixture_open_refused(fix, &open,
                         "The GPADL of the rings belongs to another channel.");

    h.pfns = 1;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &h));
    open.gpadl = h.id;
    fixture_open_refused(fix, &open, "The GPADL of the rings is not complete.");

    h = gpadl_good; /* two ranges: one page each */
    h.id = 78;
    h.rangecount = 2;
    h.buflen = 32;
    h.byte_count = 8;
    h.pfns = 3;
    h.pfn = 8;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &h));
    fixture_created(fix, 1, h.id, 0);
    open.gpadl = h.id;
    fixture_open_refused(fix, &open,
                         "The GPADL of the rings has more than one range.");

    h = gpadl_good;
    for (int i = 0; i < 2; i++) {
        h.id = 79 + i;
        h.byte_offset = i ? 8 : 0;
        h.byte_count = VMBUS_PAGE_SIZE + (i ? 0 : 8);
        fixture_post(fix, &msg, gpadl_case_message(&msg, &h));
        fixture_created(fix, 1, h.id, 0);
        open.gpadl = h.id;
        fixture_open_refused(
            fix, &open, "The GPADL of the rings is not one of whole pages.");
    }
    fixture_still_works(fix);
    device_free(&other);
}

static void test_open_twice(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsgOpen open = fixture_open_message(fix);
    VmbusMsg msg;

    fixture_open_refused(fix, &open,
                         "The guest opened a channel that it has not closed.");
    /* Not even if the host has closed it. */
    chan->out.control->write_index = 4;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    fixture_open_refused(fix, &open,
                         "The guest opened a channel that it has not closed.");
    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = 1;
    fixture_refused(fix, &msg, sizeof(msg.relid),
                    "The guest released a channel that it has not closed.");
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_open_indexes(Fixture *fix, gconstpointer data)
{
    static const char *const sentences[] = {
        "The write index of the ring to the host is out of range.",
        "The read index of the ring to the host is out of range.",
        "The write index of the ring to the guest is out of range.",
        "The read index of the ring to the guest is out of range.",
    };
    static const uint32_t bad[] = {4, 2 * VMBUS_PAGE_SIZE, 0xfffffff8};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t *page = vsc_machine_page(fix->machine, 10 + i / 2 * 3);
        uint32_t *index = (uint32_t *)page + i % 2;

        for (size_t j = 0; j < G_N_ELEMENTS(bad); j++) {
            *index = bad[j];
            fixture_open_refused(fix, &open, sentences[i]);
            *index = 0;
        }
    }
    fixture_still_works(fix);
}

static void test_open_machine(Fixture *fix, gconstpointer data)
{
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    fix->machine->fail_map = true;
    fixture_open_refused(fix, &open,
                         "The rings are not in the guest's memory.");
    fix->machine->fail_map = false;
    fix->machine->fail_prepare = true;
    fixture_open_refused(fix, &open,
                         "The machine cannot signal the channel's processor.");
    fix->machine->fail_prepare = false;
    fix->machine->fail_listen = true;
    fixture_open_refused(
        fix, &open, "The machine cannot listen for the channel's signals.");
    fix->machine->fail_listen = false;
    fix->device.refuse = true;
    fixture_open_refused(fix, &open, "The device refused to open the channel.");
    fix->device.refuse = false;
    /* Pages that are no RAM. */
    open.gpadl = vsc_create_gpadl(fix->vsc, 1, 1020, 6);
    fixture_open_refused(fix, &open,
                         "The rings are not in the guest's memory.");
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_cmpuint(fix->machine->routes, ==, 0);
    fixture_still_works(fix);
}

static void receive_in_open(Device *device)
{
    VmbusPacket pkt;

    device->result = vmbus_channel_receive(device->chan, &pkt);
    device->hook = NULL;
}

/* The device finds the ring corrupt in its open(). */
static void test_open_corrupt(Fixture *fix, gconstpointer data)
{
    VmbusMsgOpen open;
    uint32_t *index;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    index = (uint32_t *)vsc_machine_page(fix->machine, 10);
    *index = 8; /* a packet cannot be that small */
    fix->device.hook = receive_in_open;
    fixture_open_refused(fix, &open,
                         "The rings were corrupt when the channel was opened.");
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_CORRUPT);
    g_assert_cmpuint(fix->device.opened, ==, 1);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    *index = 0;
    fixture_still_works(fix);
}

static void *no_memory(void *mem, size_t size)
{
    return NULL;
}

static void test_open_no_memory(Fixture *fix, gconstpointer data)
{
    VmbusReallocFn *normal = fix->bus->gpadls.reallocate;
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = fixture_open_message(fix);
    fix->bus->gpadls.reallocate = no_memory;
    fixture_open_refused(fix, &open,
                         "There is no memory for a channel's packets.");
    fix->bus->gpadls.reallocate = normal;
    fixture_still_works(fix);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/open/unknown", test_open_unknown);
    FIXTURE_TEST("/open/unoffered", test_open_unoffered);
    FIXTURE_TEST("/open/offset", test_open_offset);
    FIXTURE_TEST("/open/target-vp", test_open_target_vp);
    FIXTURE_TEST("/open/gpadl", test_open_gpadl);
    FIXTURE_TEST("/open/twice", test_open_twice);
    FIXTURE_TEST("/open/indexes", test_open_indexes);
    FIXTURE_TEST("/open/machine", test_open_machine);
    FIXTURE_TEST("/open/corrupt", test_open_corrupt);
    FIXTURE_TEST("/open/no-memory", test_open_no_memory);
    return g_test_run();
}
