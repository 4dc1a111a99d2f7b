/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage service with a machine that does things later: its channels'
 * threads are not the bus's.
 */
#include "bus/bus.h"
#include "storvsp-fixture.h"

static StorChannel *channel(Fixture *f, unsigned index)
{
    return storvsp_channel(f->adapter.vsp, index);
}

static void ask_for_subchannels(Fixture *f, uint16_t count)
{
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = count};

    g_assert_true(vsc_storage_send(&f->guest, 0, 70, &packet));
}

static uint32_t status_of(Fixture *f, uint64_t id)
{
    VscStorageAnswer answer;

    g_assert_true(vsc_storage_next(&f->guest, 0, &answer));
    g_assert_cmpuint(answer.trans_id, ==, id);
    return answer.packet.header.status;
}

static void test_offers(Fixture *f, gconstpointer data)
{
    const char *why = NULL;

    fixture_open(f, true);
    f->adapter.hold_offers = true;
    ask_for_subchannels(f, 2);
    fixture_silent(f, 0);
    /* The guest sends on, and waits its turn. */
    g_assert_true(fixture_io(f, 0, 71, STOR_DATA_IN, 4096));
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    g_assert_true(vmbus_channel_offer_subchannels(
        f->adapter.chan, 2, &storvsp_channel_ops, f->adapter.vsp, &why));
    storvsp_subchannels_offered(channel(f, 0), NULL);
    storvsp_run(channel(f, 0));
    g_assert_cmphex(status_of(f, 70), ==, STOR_STATUS_SUCCESS);
    g_assert_cmpuint(f->adapter.taken->len, ==, 1);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 71);
    /* Nobody waits for a second one. */
    storvsp_subchannels_offered(channel(f, 0), NULL);
    storvsp_run(channel(f, 0));
    fixture_silent(f, 0);
}

static void test_no_offers(Fixture *f, gconstpointer data)
{
    static const char why[] = "The bus has no room for the sub-channels.";

    fixture_open(f, true);
    f->adapter.hold_offers = true;
    ask_for_subchannels(f, 2);
    storvsp_subchannels_offered(channel(f, 0), why);
    storvsp_run(channel(f, 0));
    g_assert_cmphex(status_of(f, 70), ==, STOR_STATUS_DEVICE_BUSY);
    g_assert_cmpstr(f->adapter.sentence, ==, why);
    /* So the guest may ask again. */
    f->adapter.hold_offers = false;
    g_assert_true(vsc_storage_create_subchannels(&f->guest, 1, RING_PAGES));
}

static void test_close_before_offers(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    f->adapter.hold_offers = true;
    ask_for_subchannels(f, 2);
    vsc_storage_close(&f->guest);
    f->adapter.hold_offers = false;
    fixture_open(f, true);
    storvsp_subchannels_offered(channel(f, 0), NULL);
    storvsp_run(channel(f, 0));
    fixture_silent(f, 0);
    g_assert_true(vsc_storage_create_subchannels(&f->guest, 1, RING_PAGES));
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    StorChannelInfo info;

    fixture_open(f, true);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_true(fixture_io(f, 0, 10 + i, STOR_DATA_IN, 8192));
    }
    f->adapter.hold_cancels = true;
    storvsp_cancel(channel(f, 0));
    g_assert_cmpuint(f->adapter.cancelled, ==, 5);
    /* They end one by one, and no guest hears of it. */
    for (unsigned left = 5; left > 0; left--) {
        storvsp_channel_info(channel(f, 0), &info);
        g_assert_cmpuint(info.in_flight, ==, left);
        adapter_finish(&f->adapter, &result_good);
    }
    storvsp_channel_info(channel(f, 0), &info);
    g_assert_cmpuint(info.in_flight, ==, 0);
    fixture_silent(f, 0);
    /* Nor is anything taken any more. */
    g_assert_true(fixture_io(f, 0, 20, STOR_DATA_IN, 8192));
    storvsp_run(channel(f, 0));
    g_assert_cmpuint(f->adapter.submitted, ==, 5);
    f->adapter.hold_cancels = false;
    vsc_storage_close(&f->guest);
    g_assert_cmpuint(f->adapter.cancelled, ==, 5);
    fixture_open(f, true);
    g_assert_true(fixture_io(f, 0, 30, STOR_DATA_IN, 8192));
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 30);
}

/* While nothing is taken, a guest need not signal, and an IOThread not look. */
static void test_hold(Fixture *f, gconstpointer data)
{
    VmbusRingControl *control;

    fixture_open(f, true);
    control = f->guest.chan[0]->out.control;
    g_assert_cmpuint(control->interrupt_mask, ==, 0);
    storvsp_pause(f->adapter.vsp);
    g_assert_true(fixture_io(f, 0, 10, STOR_DATA_IN, 8192));
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    g_assert_cmpuint(control->interrupt_mask, ==, 1);
    g_assert_false(vmbus_channel_has_packet(f->adapter.chan));
    storvsp_unpause(f->adapter.vsp);
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 1);
    g_assert_cmpuint(control->interrupt_mask, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("later/offers", test_offers);
    ADD("later/no-offers", test_no_offers);
    ADD("later/close-before-offers", test_close_before_offers);
    ADD("later/cancel", test_cancel);
    ADD("later/hold", test_hold);
    return g_test_run();
}
