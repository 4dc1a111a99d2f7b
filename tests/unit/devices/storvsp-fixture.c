/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storvsp-fixture.h"

const StorResult result_good = {.srb_status = STOR_SRB_SUCCESS,
                                .transferred = UINT32_MAX};

static void submit(void *opaque, StorRequest *req)
{
    Adapter *a = opaque;
    uint64_t sum = 0;

    a->submitted++;
    g_assert_null(req->machine);
    g_assert_cmpuint(req->cdb_length, >, 0);
    g_assert_cmpuint(req->cdb_length, <=, STOR_MAX_CDB);
    for (uint32_t i = 0; i < req->segment_count; i++) {
        g_assert_cmpuint(req->segments[i].len, >, 0);
        sum += req->segments[i].len;
    }
    g_assert_cmpuint(sum, ==, req->data_len);
    if (a->at_once) {
        storvsp_complete(req, &a->result);
    } else {
        req->machine = a;
        g_ptr_array_add(a->taken, req);
    }
}

static void cancel(void *opaque, StorRequest *req)
{
    const StorResult aborted = {.srb_status = STOR_SRB_ABORTED};
    Adapter *a = opaque;

    a->cancelled++;
    if (a->hold_cancels) {
        return;
    }
    g_assert_true(g_ptr_array_remove(a->taken, req));
    storvsp_complete(req, &aborted);
}

static void reset(void *opaque, StorChannel *ch, const StorReset *r)
{
    Adapter *a = opaque;

    a->resets++;
    a->reset = *r;
    for (guint i = a->taken->len; i-- > 0;) {
        StorRequest *req = a->taken->pdata[i];

        if (r->kind == STOR_RESET_ALL || req->lun == r->lun) {
            cancel(a, req);
        }
    }
    if (!a->hold_resets) {
        storvsp_reset_done(ch);
    }
}

static void offer_subchannels(void *opaque, StorChannel *ch, uint16_t count)
{
    Adapter *a = opaque;
    const char *why = NULL;

    if (!a->hold_offers) {
        vmbus_channel_offer_subchannels(a->chan, count, &storvsp_channel_ops,
                                        a->vsp, &why);
        storvsp_subchannels_offered(ch, why);
    }
}

static void run_later(void *opaque, StorChannel *ch)
{
    ((Adapter *)opaque)->later[storvsp_channel_index(ch)] = true;
}

static void refused(void *opaque, StorChannel *ch, const char *sentence)
{
    Adapter *a = opaque;

    a->refused++;
    a->sentence = sentence;
    if (a->on_refusal) {
        a->on_refusal(a->on_refusal_opaque);
    }
}

static void begin_batch(void *opaque)
{
    g_assert_cmpuint(((Adapter *)opaque)->batches++, ==, 0);
}

static void end_batch(void *opaque)
{
    g_assert_cmpuint(((Adapter *)opaque)->batches--, ==, 1);
}

static const StorVspOps ops = {
    .submit = submit,
    .cancel = cancel,
    .reset = reset,
    .offer_subchannels = offer_subchannels,
    .run_later = run_later,
    .begin_batch = begin_batch,
    .end_batch = end_batch,
    .refused = refused,
};

void adapter_new(Adapter *a, bool fc)
{
    StorVspConfig config = {
        .fc = fc,
        .names = {.primary_active = 1,
                  .primary_port = {1, 2, 3, 4, 5, 6, 7},
                  .primary_node = {8, 9}},
        .max_subchannels = SUBCHANNELS,
        .max_transfer_bytes = 1 << 20,
    };

    *a = (Adapter){.vsp = storvsp_new(&config, &ops, a),
                   .taken = g_ptr_array_new(),
                   .result = result_good};
}

void adapter_finish(Adapter *a, const StorResult *result)
{
    StorRequest *req = a->taken->pdata[0];
    StorChannel *ch = req->channel;

    g_ptr_array_remove_index(a->taken, 0);
    storvsp_complete(req, result);
    storvsp_flush(ch);
}

void fixture_setup(Fixture *f, gconstpointer data)
{
    VmbusOffer offer = data ? storvsp_fc_offer : storvsp_scsi_offer;
    const char *err = NULL;

    offer.instance_id.b[0] = 1;
    f->machine = vsc_machine_new(PAGES, false);
    f->vsc = vsc_new(f->machine);
    adapter_new(&f->adapter, data);
    f->adapter.chan = vmbus_bus_offer(
        f->machine->bus, &offer, &storvsp_channel_ops, f->adapter.vsp, &err);
    g_assert_nonnull(f->adapter.chan);
    g_assert_cmphex(vsc_negotiate(f->vsc), !=, 0);
    g_assert_true(vsc_request_offers(f->vsc));
}

void fixture_teardown(Fixture *f, gconstpointer data)
{
    fixture_check(f);
    vsc_storage_close(&f->guest);
    fixture_check(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    vmbus_bus_withdraw(f->machine->bus, f->adapter.chan);
    vsc_free(f->vsc);
    vsc_machine_free(f->machine);
    storvsp_free(f->adapter.vsp);
    g_ptr_array_unref(f->adapter.taken);
}

void fixture_open(Fixture *f, bool ready)
{
    const VmbusMsgOffer *offer =
        vsc_find_offer(f->vsc, &storvsp_scsi_offer.class_id);

    g_assert_nonnull(offer);
    g_assert_true(vsc_storage_open(&f->guest, f->vsc, offer, RING_PAGES));
    if (ready) {
        g_assert_true(
            vsc_storage_initialize(&f->guest, STOR_VERSION_6_2, false));
    }
}

void fixture_run(Fixture *f)
{
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *ch = storvsp_channel(f->adapter.vsp, i);

        while (f->adapter.later[i]) {
            f->adapter.later[i] = false;
            f->adapter.runs++;
            if (ch) {
                storvsp_run(ch);
            }
        }
    }
}

void fixture_check(Fixture *f)
{
    unsigned sum = 0;

    g_assert_null(vmbus_bus_check(f->machine->bus));
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *ch = storvsp_channel(f->adapter.vsp, i);
        StorChannelInfo info;

        if (ch) {
            storvsp_channel_info(ch, &info);
            g_assert_cmpuint(info.in_flight, >=,
                             info.requests - info.completed);
            sum += info.requests - info.completed;
        }
    }
    g_assert_cmpuint(f->adapter.taken->len, ==, sum);
}

bool fixture_io(Fixture *f, unsigned channel, uint64_t id, uint8_t data_in,
                uint32_t len)
{
    uint8_t cdb[10] = {data_in == STOR_DATA_IN ? 0x28 : 0x2a, [8] = len / 512};
    uint64_t gfns[300];
    StorPacket packet;

    for (unsigned i = 0; i < G_N_ELEMENTS(gfns); i++) {
        gfns[i] = 100 + 2 * i;
    }
    vsc_storage_srb(&f->guest, &packet, id % 4, cdb, sizeof(cdb), data_in, len);
    return len ? vsc_storage_send_range(&f->guest, channel, id, &packet, gfns,
                                        0, len)
               : vsc_storage_send(&f->guest, channel, id, &packet);
}

StorSrb fixture_answer(Fixture *f, unsigned channel, uint64_t id)
{
    VscStorageAnswer answer;

    g_assert_true(vsc_storage_next(&f->guest, channel, &answer));
    g_assert_cmpuint(answer.trans_id, ==, id);
    g_assert_cmpuint(answer.type, ==, VMBUS_PKT_COMP);
    g_assert_cmpuint(answer.len, ==, f->guest.packet_len);
    g_assert_cmpuint(answer.packet.header.operation, ==, STOR_COMPLETE_IO);
    return answer.packet.srb;
}

void fixture_silent(Fixture *f, unsigned channel)
{
    VscStorageAnswer answer;

    g_assert_false(vsc_storage_next(&f->guest, channel, &answer));
}
