/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The storage service and a guest that does all as Linux does. */
#include "storvsp-fixture.h"

static StorPhase phase(Fixture *f)
{
    StorVspInfo info;

    storvsp_info(f->adapter.vsp, &info);
    return info.phase;
}

static void test_offer(Fixture *f, gconstpointer data)
{
    const VmbusMsgOffer *offer =
        vsc_find_offer(f->vsc, &storvsp_scsi_offer.class_id);

    g_assert_nonnull(offer);
    g_assert_cmpuint(offer->flags, ==, VMBUS_OFFER_ENUMERATE_INTERFACE);
    g_assert_cmpuint(offer->subchannel_index, ==, 0);
}

static void test_initialize(Fixture *f, gconstpointer data)
{
    static const struct {
        uint16_t highest;
        uint32_t packet_len;
        uint16_t subchannels;
    } cases[] = {
        {STOR_VERSION_6_2, 64, SUBCHANNELS},
        {STOR_VERSION_6_0, 64, SUBCHANNELS},
        {STOR_VERSION_5_1, 64, SUBCHANNELS},
        {STOR_VERSION_4_2, 48, 0},
    };
    StorVspInfo info;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        fixture_open(f, false);
        g_assert_cmpint(phase(f), ==, STOR_OPEN);
        f->guest.packet_len = cases[i].packet_len;
        g_assert_true(
            vsc_storage_initialize(&f->guest, cases[i].highest, false));
        storvsp_info(f->adapter.vsp, &info);
        g_assert_cmpint(info.phase, ==, STOR_READY);
        g_assert_cmphex(info.version, ==, cases[i].highest);
        g_assert_cmpuint(f->guest.properties.max_transfer_bytes, ==, 1 << 20);
        g_assert_cmpuint(f->guest.properties.max_subchannels, ==,
                         cases[i].subchannels);
        g_assert_cmpuint(f->guest.properties.flags, ==,
                         cases[i].subchannels ? STOR_PROPERTY_MULTI_CHANNEL
                                              : 0);
        g_assert_cmpuint(f->adapter.refused, ==, 0);
        vsc_storage_close(&f->guest);
        g_assert_cmpint(phase(f), ==, STOR_CLOSED);
    }
}

/* A version that is not known is refused, and the next one may do. */
static void test_versions(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_QUERY_PROTOCOL_VERSION,
                         .version.major_minor = STOR_VERSION(7, 0)};

    fixture_open(f, false);
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_BEGIN_INITIALIZATION),
                    ==, 0);
    g_assert_true(vsc_storage_call(&f->guest, &packet));
    g_assert_cmphex(packet.header.status, ==, STOR_STATUS_REVISION_MISMATCH);
    packet = (StorPacket){.header.operation = STOR_QUERY_PROTOCOL_VERSION,
                          .version.major_minor = STOR_VERSION_6_0};
    g_assert_true(vsc_storage_call(&f->guest, &packet));
    g_assert_cmphex(packet.header.status, ==, 0);
    g_assert_cmphex(packet.version.major_minor, ==, STOR_VERSION_6_0);
}

static void test_fc(Fixture *f, gconstpointer data)
{
    const VmbusMsgOffer *offer =
        vsc_find_offer(f->vsc, &storvsp_fc_offer.class_id);

    g_assert_nonnull(offer);
    g_assert_true(vsc_storage_open(&f->guest, f->vsc, offer, RING_PAGES));
    g_assert_true(vsc_storage_initialize(&f->guest, STOR_VERSION_6_2, true));
    g_assert_cmpuint(f->guest.names.primary_active, ==, 1);
    g_assert_cmpuint(f->guest.names.primary_port[6], ==, 7);
    g_assert_cmpuint(f->guest.names.primary_node[1], ==, 9);
    /* It may ask again. */
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_FCHBA_DATA), ==, 0);
}

/* What the machine gets of a request, and the guest of its end. */
static void test_request(Fixture *f, gconstpointer data)
{
    const uint8_t cdb[16] = {0x8a, [9] = 1, [13] = 9};
    const uint64_t gfns[] = {50, 51, 60, 10, 11};
    StorPacket packet;
    StorRequest *req;
    StorSrb srb;

    fixture_open(f, true);
    vsc_storage_srb(&f->guest, &packet, 7, cdb, 16, STOR_DATA_OUT, 18000);
    packet.srb.path = 1;
    packet.srb.target = 2;
    g_assert_true(
        vsc_storage_send_range(&f->guest, 0, 77, &packet, gfns, 100, 18500));
    g_assert_cmpuint(f->adapter.taken->len, ==, 1);
    req = f->adapter.taken->pdata[0];
    g_assert_cmpuint(req->path, ==, 1);
    g_assert_cmpuint(req->target, ==, 2);
    g_assert_cmpuint(req->lun, ==, 7);
    g_assert_cmpmem(req->cdb, req->cdb_length, cdb, 16);
    g_assert_cmpuint(req->data_in, ==, STOR_DATA_OUT);
    g_assert_cmpuint(req->data_len, ==, 18000);
    /* Neighbours are one; the last one ends with the transfer. */
    g_assert_cmpuint(req->segment_count, ==, 3);
    g_assert_cmphex(req->segments[0].gpa, ==, 50 * 4096 + 100);
    g_assert_cmpuint(req->segments[0].len, ==, 8192 - 100);
    g_assert_cmphex(req->segments[1].gpa, ==, 60 * 4096);
    g_assert_cmpuint(req->segments[1].len, ==, 4096);
    g_assert_cmphex(req->segments[2].gpa, ==, 10 * 4096);
    g_assert_cmpuint(req->segments[2].len, ==, 18000 - 3 * 4096 + 100);
    fixture_silent(f, 0);
    adapter_finish(&f->adapter, &result_good);
    srb = fixture_answer(f, 0, 77);
    g_assert_cmpuint(srb.srb_status, ==, STOR_SRB_SUCCESS);
    g_assert_cmpuint(srb.scsi_status, ==, 0);
    g_assert_cmpuint(srb.data_transfer_length, ==, 18000);
    g_assert_cmpuint(srb.lun, ==, 7);
    g_assert_cmpuint(srb.sense_length, ==, 0);
    /* Without data. */
    g_assert_true(fixture_io(f, 0, 78, STOR_DATA_NONE, 0));
    req = f->adapter.taken->pdata[0];
    g_assert_cmpuint(req->segment_count, ==, 0);
    g_assert_cmpuint(req->data_in, ==, STOR_DATA_NONE);
    adapter_finish(&f->adapter, &result_good);
    srb = fixture_answer(f, 0, 78);
    g_assert_cmpuint(srb.data_transfer_length, ==, 0);
}

static void test_statuses(Fixture *f, gconstpointer data)
{
    static const struct {
        uint8_t srb, scsi, want;
    } cases[] = {
        {STOR_SRB_SUCCESS, 0, STOR_SRB_SUCCESS},
        {STOR_SRB_SUCCESS, 0x02, STOR_SRB_ERROR},
        {STOR_SRB_SUCCESS, 0x08, STOR_SRB_BUSY},
        {STOR_SRB_SUCCESS, 0x28, STOR_SRB_BUSY},
        {STOR_SRB_SUCCESS, 0x18, STOR_SRB_ERROR},
        {STOR_SRB_INVALID_LUN, 0, STOR_SRB_INVALID_LUN},
        {STOR_SRB_DATA_OVERRUN, 0, STOR_SRB_DATA_OVERRUN},
        {STOR_SRB_ABORTED, 0, STOR_SRB_ABORTED},
    };

    fixture_open(f, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        StorResult result = {.srb_status = cases[i].srb,
                             .scsi_status = cases[i].scsi};
        StorSrb srb;

        g_assert_true(fixture_io(f, 0, 1 + i, STOR_DATA_IN, 512));
        adapter_finish(&f->adapter, &result);
        srb = fixture_answer(f, 0, 1 + i);
        g_assert_cmphex(srb.srb_status, ==, cases[i].want);
        g_assert_cmphex(srb.scsi_status, ==, cases[i].scsi);
        g_assert_cmpuint(srb.data_transfer_length, ==, 0);
    }
}

static void sense_case(Fixture *f, uint32_t flags, uint8_t want)
{
    const uint8_t cdb[6] = {0};
    StorResult result;
    StorPacket packet;
    StorSrb srb;

    storvsp_check_condition(&result, STOR_SRB_SUCCESS, 2, 0x3a, 1);
    result.sense_length = STOR_MAX_SENSE;
    result.sense[19] = 0x99;
    vsc_storage_srb(&f->guest, &packet, 0, cdb, 6, STOR_DATA_NONE, 0);
    packet.srb.srb_flags = flags;
    g_assert_true(vsc_storage_send(&f->guest, 0, 5, &packet));
    adapter_finish(&f->adapter, &result);
    srb = fixture_answer(f, 0, 5);
    g_assert_cmphex(srb.scsi_status, ==, 2);
    g_assert_cmpuint(srb.sense_length, ==, want);
    g_assert_cmphex(srb.srb_status, ==,
                    STOR_SRB_ERROR | (want ? STOR_SRB_AUTOSENSE_VALID : 0));
    g_assert_cmphex(srb.sense[0], ==, want ? 0x70 : 0);
    g_assert_cmphex(srb.sense[2], ==, want ? 2 : 0);
    g_assert_cmphex(srb.sense[12], ==, want ? 0x3a : 0);
    g_assert_cmphex(srb.sense[13], ==, want ? 1 : 0);
    g_assert_cmphex(srb.sense[19], ==, want == 20 ? 0x99 : 0);
}

/* Sense comes with the answer, as much as fits the version. */
static void test_sense(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    sense_case(f, 0, STOR_MAX_SENSE);
    sense_case(f, STOR_SRB_FLAG_DISABLE_AUTOSENSE, 0);
    vsc_storage_close(&f->guest);
    fixture_open(f, false);
    f->guest.packet_len = 48;
    g_assert_true(vsc_storage_initialize(&f->guest, STOR_VERSION_4_2, false));
    sense_case(f, 0, STOR_MAX_SENSE_4_2);
}

/* Requests end in any order, and one signal does for many. */
static void test_order(Fixture *f, gconstpointer data)
{
    VmbusChannelInfo info;
    uint64_t signals;

    fixture_open(f, true);
    for (unsigned i = 0; i < 10; i++) {
        g_assert_true(fixture_io(f, 0, 1 + i, STOR_DATA_IN, 4096));
    }
    g_assert_cmpuint(f->adapter.taken->len, ==, 10);
    vmbus_channel_info(f->adapter.chan, &info);
    signals = info.out.signals_sent;
    for (unsigned i = 10; i-- > 0;) {
        StorRequest *req = f->adapter.taken->pdata[i];

        g_ptr_array_remove_index(f->adapter.taken, i);
        storvsp_complete(req, &result_good);
    }
    fixture_silent(f, 0);
    storvsp_flush(storvsp_channel(f->adapter.vsp, 0));
    vmbus_channel_info(f->adapter.chan, &info);
    g_assert_cmpuint(info.out.signals_sent, ==, signals + 1);
    for (unsigned i = 10; i-- > 0;) {
        fixture_answer(f, 0, 1 + i);
    }
    fixture_silent(f, 0);
}

static void test_subchannels(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    g_assert_true(
        vsc_storage_create_subchannels(&f->guest, SUBCHANNELS, RING_PAGES));
    for (unsigned i = 0; i <= SUBCHANNELS; i++) {
        g_assert_true(fixture_io(f, i, 10 + i, STOR_DATA_IN, 8192));
    }
    g_assert_cmpuint(f->adapter.taken->len, ==, 1 + SUBCHANNELS);
    for (unsigned i = 0; i <= SUBCHANNELS; i++) {
        adapter_finish(&f->adapter, &result_good);
        fixture_answer(f, i, 10 + i);
        fixture_silent(f, i);
    }
    /* One closes, with what is under way on it; the others stay. */
    g_assert_true(fixture_io(f, 1, 20, STOR_DATA_IN, 8192));
    g_assert_true(fixture_io(f, 2, 21, STOR_DATA_IN, 8192));
    vsc_close(f->guest.chan[1]);
    f->guest.chan[1] = NULL;
    g_assert_cmpuint(f->adapter.cancelled, ==, 1);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 2, 21);
    /* All are gone with the primary one, and come again. */
    g_assert_true(fixture_io(f, 2, 22, STOR_DATA_IN, 8192));
    vsc_storage_close(&f->guest);
    g_assert_cmpuint(f->adapter.cancelled, ==, 2);
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    fixture_open(f, true);
    g_assert_true(vsc_storage_create_subchannels(&f->guest, 1, RING_PAGES));
    g_assert_true(fixture_io(f, 1, 30, STOR_DATA_IN, 8192));
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 1, 30);
}

static void test_enumerate(Fixture *f, gconstpointer data)
{
    /* Before initialization has ended, the guest looks by itself. */
    storvsp_enumerate(f->adapter.vsp);
    fixture_open(f, false);
    storvsp_enumerate(f->adapter.vsp);
    g_assert_true(vsc_storage_initialize(&f->guest, STOR_VERSION_6_2, false));
    fixture_run(f);
    fixture_silent(f, 0);
    g_assert_cmpuint(f->guest.enumerations, ==, 0);
    /* Nor before its first request: Linux would use a queue it has not. */
    storvsp_enumerate(f->adapter.vsp);
    storvsp_enumerate(f->adapter.vsp);
    fixture_run(f);
    fixture_silent(f, 0);
    g_assert_cmpuint(f->guest.enumerations, ==, 0);
    f->adapter.at_once = true;
    g_assert_true(fixture_io(f, 0, 1, STOR_DATA_IN, 512));
    fixture_answer(f, 0, 1);
    fixture_run(f);
    fixture_silent(f, 0);
    g_assert_cmpuint(f->guest.enumerations, ==, 1);
    storvsp_enumerate(f->adapter.vsp);
    fixture_run(f);
    fixture_silent(f, 0);
    g_assert_cmpuint(f->guest.enumerations, ==, 2);
}

static void test_reset(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_RESET_LUN, .srb.lun = 2};
    VscStorageAnswer answer;
    unsigned aborted = 0;

    fixture_open(f, true);
    for (unsigned i = 1; i <= 8; i++) {
        g_assert_true(fixture_io(f, 0, i, STOR_DATA_OUT, 4096));
    }
    g_assert_true(vsc_storage_send(&f->guest, 0, VSC_STORAGE_RESET, &packet));
    while (vsc_storage_next(&f->guest, 0, &answer) &&
           answer.trans_id != VSC_STORAGE_RESET) {
        g_assert_cmphex(answer.packet.srb.srb_status, ==, STOR_SRB_ABORTED);
        g_assert_cmpuint(answer.trans_id % 4, ==, 2);
        aborted++;
    }
    g_assert_cmpuint(aborted, ==, 2);
    g_assert_cmphex(answer.packet.header.status, ==, 0);
    g_assert_cmpint(f->adapter.reset.kind, ==, STOR_RESET_ONE_LUN);
    g_assert_cmpuint(f->adapter.taken->len, ==, 6);
    /* Linux's error handler resets the bus, and waits for all. */
    packet = (StorPacket){.header.operation = STOR_RESET_BUS};
    f->adapter.hold_resets = true;
    g_assert_true(vsc_storage_send(&f->guest, 0, VSC_STORAGE_RESET, &packet));
    g_assert_true(fixture_io(f, 0, 99, STOR_DATA_OUT, 4096));
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    for (unsigned i = 0; i < 6; i++) {
        g_assert_true(vsc_storage_next(&f->guest, 0, &answer));
        g_assert_cmphex(answer.packet.srb.srb_status, ==, STOR_SRB_ABORTED);
    }
    fixture_silent(f, 0);
    /* The request behind the reset waits for it. */
    storvsp_reset_done(storvsp_channel(f->adapter.vsp, 0));
    fixture_run(f);
    g_assert_true(vsc_storage_next(&f->guest, 0, &answer));
    g_assert_cmpuint(answer.trans_id, ==, VSC_STORAGE_RESET);
    g_assert_cmpuint(f->adapter.taken->len, ==, 1);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 99);
    f->adapter.hold_resets = false;
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_RESET_ADAPTER), ==, 0);
    g_assert_cmpuint(f->adapter.resets, ==, 3);
}

/* A channel closes while a reset is under way. */
static void test_close_in_reset(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_RESET_BUS};
    StorChannel *ch;

    fixture_open(f, true);
    ch = storvsp_channel(f->adapter.vsp, 0);
    f->adapter.hold_resets = true;
    g_assert_true(vsc_storage_send(&f->guest, 0, VSC_STORAGE_RESET, &packet));
    vsc_storage_close(&f->guest);
    storvsp_reset_done(ch);
    fixture_open(f, true);
    fixture_silent(f, 0);
}

/* A guest that does not read its ring loses nothing. */
static void test_full_ring(Fixture *f, gconstpointer data)
{
    unsigned sent = 0, answered = 0;
    VscStorageAnswer answer;

    fixture_open(f, true);
    f->adapter.at_once = true;
    while (sent < 5000 && fixture_io(f, 0, 1 + sent, STOR_DATA_IN, 4096)) {
        sent++;
    }
    /* The host has stopped to read: memory is bounded. */
    g_assert_cmpuint(sent, <, 5000);
    g_assert_cmpuint(f->adapter.submitted, <=, sent);
    storvsp_enumerate(f->adapter.vsp);
    fixture_run(f);
    g_assert_true(f->adapter.submitted < sent);
    do {
        while (vsc_storage_next(&f->guest, 0, &answer)) {
            g_assert_cmpuint(answer.trans_id, ==, 1 + answered);
            answered++;
        }
        fixture_run(f);
    } while (vsc_storage_next(&f->guest, 0, &answer) && ++answered);
    g_assert_cmpuint(answered, ==, sent);
    g_assert_cmpuint(f->guest.enumerations, ==, 1);
    fixture_silent(f, 0);
}

/* Requests beyond the limit stay in the guest's ring. */
static void test_limit(Fixture *f, gconstpointer data)
{
    const VmbusMsgOffer *offer =
        vsc_find_offer(f->vsc, &storvsp_scsi_offer.class_id);
    unsigned sent = 0, answered = 0;
    VscStorageAnswer answer;

    g_assert_true(vsc_storage_open(&f->guest, f->vsc, offer, 65));
    g_assert_true(vsc_storage_initialize(&f->guest, STOR_VERSION_6_2, false));
    while (sent < 3000 && fixture_io(f, 0, 1 + sent, STOR_DATA_IN, 4096)) {
        sent++;
        fixture_run(f);
    }
    g_assert_cmpuint(sent, >, STOR_MAX_REQUESTS);
    g_assert_cmpuint(f->adapter.taken->len, ==, STOR_MAX_REQUESTS);
    while (answered < sent) {
        adapter_finish(&f->adapter, &result_good);
        fixture_run(f);
        while (vsc_storage_next(&f->guest, 0, &answer)) {
            answered++;
        }
        g_assert_cmpuint(f->adapter.taken->len, <=, STOR_MAX_REQUESTS);
    }
    fixture_silent(f, 0);
}

/* ... and so do those that name too much memory. */
static void test_segment_limit(Fixture *f, gconstpointer data)
{
    unsigned sent = 0;

    fixture_open(f, true);
    /* 256 pages each, none beside another. */
    for (unsigned i = 0; i < 400; i++) {
        while (!fixture_io(f, 0, 1 + sent, STOR_DATA_IN, 1 << 20) && i < 400) {
            fixture_run(f);
            i++;
        }
        sent++;
    }
    g_assert_cmpuint(f->adapter.taken->len, ==, STOR_MAX_SEGMENTS / 256);
    while (f->adapter.taken->len) {
        adapter_finish(&f->adapter, &result_good);
        fixture_run(f);
    }
}

static void test_pause(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    g_assert_true(fixture_io(f, 0, 1, STOR_DATA_IN, 4096));
    storvsp_pause(f->adapter.vsp);
    storvsp_pause(f->adapter.vsp);
    g_assert_true(fixture_io(f, 0, 2, STOR_DATA_IN, 4096));
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 1);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 1);
    storvsp_unpause(f->adapter.vsp);
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    storvsp_unpause(f->adapter.vsp);
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 1);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 2);
}

static void test_machine_reset(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_true(fixture_io(f, 0, 1 + i, STOR_DATA_OUT, 65536));
    }
    vsc_machine_reset(f->machine);
    g_assert_cmpuint(f->adapter.cancelled, ==, 20);
    g_assert_cmpint(phase(f), ==, STOR_CLOSED);
    vsc_storage_abandon(&f->guest);
    vsc_machine_reset_ram(f->machine);
    g_assert_cmphex(vsc_negotiate(f->vsc), !=, 0);
    g_assert_true(vsc_request_offers(f->vsc));
    fixture_open(f, true);
    g_assert_true(fixture_io(f, 0, 1, STOR_DATA_OUT, 65536));
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 1);
}

/* The guest breaks its ring: what it asked for is cancelled. */
static void test_corrupt(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_true(fixture_io(f, 0, 1 + i, STOR_DATA_OUT, 65536));
    }
    /* Found when an answer is sent. */
    f->guest.chan[0]->in.control->read_index = 0xfffffff8;
    for (unsigned i = 0; i < 2000 && f->adapter.taken->len; i++) {
        adapter_finish(&f->adapter, &result_good);
        fixture_io(f, 0, 100 + i, STOR_DATA_OUT, 4096);
    }
    g_assert_cmpuint(f->machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    g_assert_cmpint(phase(f), ==, STOR_CLOSED);
}

static void absent_case(Fixture *f, const uint8_t *cdb, uint32_t len,
                        uint8_t want, uint32_t transferred, uint8_t first)
{
    uint8_t bytes[STOR_ABSENT_DATA];
    StorRequest req = {.data_in = len ? STOR_DATA_IN : STOR_DATA_NONE,
                       .data_len = len,
                       .cdb_length = 6};
    StorResult result;

    memcpy(req.cdb, cdb, 6);
    storvsp_answer_absent(&req, bytes, &result);
    g_assert_cmphex(result.srb_status, ==, want);
    g_assert_cmpuint(result.transferred, ==, transferred);
    g_assert_cmphex(bytes[0], ==, first);
}

static void test_absent(Fixture *f, gconstpointer data)
{
    static const uint8_t inquiry[6] = {0x12}, vital[6] = {0x12, 1, 0x80},
                         report[6] = {0xa0}, ready[6] = {0};

    absent_case(f, inquiry, 255, STOR_SRB_SUCCESS, 36, 0x7f);
    absent_case(f, inquiry, 5, STOR_SRB_SUCCESS, 5, 0x7f);
    absent_case(f, inquiry, 0, STOR_SRB_SUCCESS, 0, 0x7f);
    absent_case(f, vital, 255, STOR_SRB_INVALID_REQUEST, 0, 0);
    absent_case(f, report, 4096, STOR_SRB_SUCCESS, 8, 0);
    absent_case(f, ready, 0, STOR_SRB_INVALID_LUN, 0, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("offer", test_offer);
    ADD("initialize", test_initialize);
    ADD("versions", test_versions);
    g_test_add("/storvsp/fc", Fixture, "fc", fixture_setup, test_fc,
               fixture_teardown);
    ADD("request", test_request);
    ADD("statuses", test_statuses);
    ADD("sense", test_sense);
    ADD("order", test_order);
    ADD("subchannels", test_subchannels);
    ADD("enumerate", test_enumerate);
    ADD("reset", test_reset);
    ADD("close-in-reset", test_close_in_reset);
    ADD("full-ring", test_full_ring);
    ADD("limit", test_limit);
    ADD("segment-limit", test_segment_limit);
    ADD("pause", test_pause);
    ADD("machine-reset", test_machine_reset);
    ADD("corrupt", test_corrupt);
    ADD("absent", test_absent);
    return g_test_run();
}
