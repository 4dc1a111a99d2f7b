/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Versions 0.13 and 1.1, whose channels share one interrupt. */
#include "fixture.h"

static void connect_old(Fixture *fix, uint32_t version)
{
    g_assert_true(vsc_connect(fix->vsc, version));
    g_assert_true(vsc_request_offers(fix->vsc));
    g_assert_true(fixture_info(fix).interrupt_page);
    g_assert_cmpuint(fix->machine->shared_conn_id, ==, 2);
    g_assert_cmpuint(fix->machine->mapped, ==, 1);
    fixture_check(fix);
    fixture_silence(fix);
}

static void initiate(VmbusMsg *msg, uint32_t version, uint64_t page)
{
    vsc_head(msg, VMBUS_MSG_INITIATE_CONTACT);
    msg->initiate_contact.version = version;
    msg->initiate_contact.interrupt_page = page;
}

/* Sizes and fields that the versions differ in. */
static void test_offer(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;
    uint32_t len;

    for (int later = 0; later < 2; later++) {
        g_assert_true(vsc_connect(fix->vsc, later ? VMBUS_VERSION_1_1
                                                  : VMBUS_VERSION_0_13));
        vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
        fixture_post(fix, &msg, sizeof(msg.header));
        g_assert_true(vsc_next(fix->vsc, &msg, &len));
        g_assert_cmpuint(msg.header.type, ==, VMBUS_MSG_OFFERCHANNEL);
        g_assert_cmpuint(len, ==, later ? 196 : 190);
        g_assert_cmpuint(msg.offer.relid, ==, 1);
        g_assert_cmphex(msg.offer.monitor_id, ==, 0xff);
        g_assert_cmpuint(msg.offer.dedicated_interrupt, ==, later);
        g_assert_true(later == (msg.offer.connection_id != 0));
        g_assert_true(vsc_next(fix->vsc, &msg, &len));
    }
}

static void test_version_response(Fixture *fix, gconstpointer data)
{
    static const uint8_t accepted[16] = {15, 0, 0, 0, 0,  0, 0, 0,
                                         1,  0, 0, 0, 13, 0, 0, 0};
    VmbusMsg msg;
    uint32_t len;

    initiate(&msg, VMBUS_VERSION_0_13, 0x5000);
    msg.initiate_contact.target_vp = 0xffffffff; /* padding, then */
    fixture_post(fix, &msg, sizeof(msg.initiate_contact));
    g_assert_true(vsc_next(fix->vsc, &msg, &len));
    g_assert_cmpmem(&msg, len, accepted, sizeof(accepted));
    g_assert_cmpuint(fixture_info(fix).target_vp, ==, 0);
}

/* Packets in both directions, in so many words of the bitmaps. */
static void talk(Fixture *fix, Device *devices, unsigned count)
{
    g_autofree VscChannel **chans = g_new(VscChannel *, count);
    uint8_t buf[64];

    g_assert_cmpuint(fix->vsc->offers->len, ==, count);
    for (unsigned i = 0; i < count; i++) {
        /* The target means nothing then. */
        chans[i] = vsc_open(fix->vsc,
                            &g_array_index(fix->vsc->offers, VmbusMsgOffer, i),
                            2, 2, 0x12345678);
        g_assert_nonnull(chans[i]);
        fixture_check(fix);
    }
    for (unsigned i = 0; i < count; i++) {
        Device *device = i ? &devices[i] : &fix->device;

        g_assert_true(vsc_send(chans[i], VMBUS_PKT_DATA_INBAND, 0, i, "x", 1));
        g_assert_cmpuint(device->packets, ==, 1);
        device->packets = 0;
        /* Of the host's half, this channel's bit alone is set. */
        for (uint32_t word = 0; word < 256; word++) {
            uint64_t bits = vsc_interrupt_bits(fix->vsc, false)[word];

            g_assert_cmphex(bits, ==,
                            word == chans[i]->relid / 64
                                ? 1ull << (chans[i]->relid % 64)
                                : 0);
        }
        g_assert_true(vsc_interrupted(chans[i]));
        g_assert_cmpuint(vsc_receive(chans[i], buf, sizeof(buf)), ==, 24);
    }
    for (unsigned i = 0; i < count; i++) {
        vsc_close(chans[i]);
        fixture_check(fix);
    }
}

static void test_traffic(Fixture *fix, gconstpointer data)
{
    Device devices[130] = {0};

    fix->device.echo = true;
    for (unsigned i = 1; i < G_N_ELEMENTS(devices); i++) {
        device_offer(&devices[i], fix->bus, i + 1);
        devices[i].echo = true;
    }
    connect_old(fix, VMBUS_VERSION_0_13);
    talk(fix, devices, G_N_ELEMENTS(devices));
    vsc_machine_reset_ram(fix->machine);
    connect_old(fix, VMBUS_VERSION_1_1);
    talk(fix, devices, G_N_ELEMENTS(devices));
    for (unsigned i = 1; i < G_N_ELEMENTS(devices); i++) {
        device_free(&devices[i]);
    }
}

/* What the host writes into the page, a migration must know of. */
static void test_dirty(Fixture *fix, gconstpointer data)
{
    const uint8_t *page, *dirty;
    VscChannel *chan;

    fix->device.echo = true;
    connect_old(fix, VMBUS_VERSION_0_13);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    page = vsc_machine_page(fix->machine, fix->vsc->interrupt_gfn);
    dirty = fix->machine->dirty + (page - fix->machine->ram);
    g_assert_cmpuint(dirty[0], ==, 0);
    g_assert_cmpuint(dirty[2048], ==, 0);
    g_assert_true(vsc_send(chan, VMBUS_PKT_DATA_INBAND, 0, 0, "x", 1));
    g_assert_cmpuint(dirty[0], ==, 1);
    g_assert_cmpuint(dirty[2048], ==, 1);
    g_assert_cmpuint(dirty[8], ==, 0);
    vsc_close(chan);
}

/* Every bit set: the one open channel hears of it, and all are cleared. */
static void test_hostile_bits(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;
    uint64_t *bits;

    connect_old(fix, VMBUS_VERSION_0_13);
    bits = vsc_interrupt_bits(fix->vsc, true);
    memset(bits, 0xff, 2048);
    g_assert_true(vsc_machine_signal(fix->machine, 2));
    g_assert_cmpuint(fix->device.signalled, ==, 0);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    memset(bits, 0xff, 2048);
    g_assert_true(vsc_machine_signal(fix->machine, 2));
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(bits[i], ==, 0);
    }
    /* Nothing new: nobody is called. */
    g_assert_true(vsc_machine_signal(fix->machine, 2));
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    vsc_close(chan);
    fixture_still_works(fix);
}

static void reset_bus(Device *device)
{
    vmbus_bus_reset(device->bus);
}

/* A device's signal() ends the connection, and the page with it. */
static void test_page_goes_meanwhile(Fixture *fix, gconstpointer data)
{
    VscChannel *chan;

    connect_old(fix, VMBUS_VERSION_0_13);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    fix->device.bus = fix->bus;
    fix->device.signal_hook = reset_bus;
    memset(vsc_interrupt_bits(fix->vsc, true), 0xff, 2048);
    g_assert_true(vsc_machine_signal(fix->machine, 2));
    g_assert_cmpuint(fix->device.signalled, ==, 1);
    g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    vsc_abandon(chan);
}

static void contact_refused(Fixture *fix, uint64_t page, const char *sentence)
{
    static const uint32_t versions[] = {VMBUS_VERSION_0_13, VMBUS_VERSION_1_1};
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        initiate(&msg, versions[i], page);
        fixture_refused(fix, &msg, sizeof(msg.initiate_contact), sentence);
        g_assert_true(
            vsc_expect(fix->vsc, VMBUS_MSG_VERSION_RESPONSE, &msg, 16));
        /* There is no other way to say no to so old a guest. */
        g_assert_cmpuint(msg.version_response.supported, ==, 0);
        g_assert_cmpuint(msg.version_response.connection_state, ==, 0);
        g_assert_cmpint(fixture_info(fix).state, ==, VMBUS_DISCONNECTED);
        g_assert_cmpuint(fix->machine->mapped, ==, 0);
        g_assert_cmpuint(fix->machine->shared_conn_id, ==, 0);
        fixture_silence(fix);
    }
}

static void test_refused(Fixture *fix, gconstpointer data)
{
    static const uint64_t bad[] = {0, 1, 0x5008, 0x5fff, UINT64_MAX};
    static const uint64_t outside[] = {1024ull << 12, 1ull << 40,
                                       0xfffffffffffff000};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        contact_refused(fix, bad[i],
                        "The interrupt page is not at the address of a page.");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(outside); i++) {
        contact_refused(fix, outside[i],
                        "The interrupt page is not in the guest's memory.");
    }
    fix->machine->fail_listen = true;
    contact_refused(
        fix, 0x5000,
        "The machine cannot listen for the interrupt page's signals.");
    fix->machine->fail_listen = false;
    connect_old(fix, VMBUS_VERSION_1_1);
    fixture_still_works(fix);
}

static void test_old_machine(Fixture *fix, gconstpointer data)
{
    fix->machine->ops.listen_shared = NULL;
    fix->machine->ops.unlisten_shared = NULL;
    contact_refused(fix, 0x5000,
                    "The machine has no interrupts for so old a version.");
    g_assert_cmphex(vsc_negotiate(fix->vsc), ==, VMBUS_VERSION_5_3);
}

/* Later versions share their memory with nobody. */
static void test_later(Fixture *fix, gconstpointer data)
{
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_2_4));
    g_assert_false(fixture_info(fix).interrupt_page);
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_false(vsc_machine_signal(fix->machine, 2));
    /* A late signal of an earlier connection finds nothing. */
    vmbus_bus_interrupt_page_signalled(fix->bus);
}

static void test_step_down(Fixture *fix, gconstpointer data)
{
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_3_0));
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_still_works(fix);
    g_assert_true(vsc_unload(fix->vsc));
    connect_old(fix, VMBUS_VERSION_0_13);
    fixture_still_works(fix);
    g_assert_true(vsc_unload(fix->vsc));
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_cmpuint(fix->machine->shared_conn_id, ==, 0);
    vmbus_bus_set_max_version(fix->bus, VMBUS_VERSION_0_13);
    g_assert_cmphex(vsc_negotiate(fix->vsc), ==, VMBUS_VERSION_0_13);
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_still_works(fix);
    vmbus_bus_set_max_version(fix->bus, VMBUS_VERSION_1_1);
    g_assert_cmphex(vsc_negotiate(fix->vsc), ==, VMBUS_VERSION_1_1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/interrupt-page/offer", test_offer);
    FIXTURE_TEST("/interrupt-page/version-response", test_version_response);
    FIXTURE_TEST("/interrupt-page/traffic", test_traffic);
    FIXTURE_TEST("/interrupt-page/dirty", test_dirty);
    FIXTURE_TEST("/interrupt-page/hostile-bits", test_hostile_bits);
    FIXTURE_TEST("/interrupt-page/page-goes-meanwhile",
                 test_page_goes_meanwhile);
    FIXTURE_TEST("/interrupt-page/refused", test_refused);
    FIXTURE_TEST("/interrupt-page/old-machine", test_old_machine);
    FIXTURE_TEST("/interrupt-page/later", test_later);
    FIXTURE_TEST("/interrupt-page/step-down", test_step_down);
    return g_test_run();
}
