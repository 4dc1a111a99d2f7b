/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each sentence by which the storage service refuses a packet. */
#include "storvsp-fixture.h"

/* The last packet was refused so; and that is all that it did. */
static void expect(Fixture *f, const char *sentence)
{
    g_assert_cmpstr(f->adapter.sentence, ==, sentence);
    f->adapter.sentence = NULL;
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    fixture_check(f);
}

static void expect_status(Fixture *f, StorPacket *packet, uint32_t status,
                          const char *sentence)
{
    g_assert_true(vsc_storage_call(&f->guest, packet));
    g_assert_cmphex(packet->header.status, ==, status);
    expect(f, sentence);
}

/* A request that was refused fails in the guest, too, and says why. */
static void expect_srb(Fixture *f, unsigned channel, uint32_t status,
                       const char *sentence)
{
    VscStorageAnswer answer;

    g_assert_true(vsc_storage_next(&f->guest, channel, &answer));
    g_assert_cmphex(answer.packet.header.status, ==, status);
    g_assert_cmphex(answer.packet.srb.srb_status, ==,
                    STOR_SRB_INVALID_REQUEST | STOR_SRB_AUTOSENSE_VALID);
    g_assert_cmphex(answer.packet.srb.scsi_status, ==, 2);
    g_assert_cmpuint(answer.packet.srb.data_transfer_length, ==, 0);
    g_assert_cmpuint(answer.packet.srb.sense_length, ==, 18);
    g_assert_cmphex(answer.packet.srb.sense[2], ==, 5);
    g_assert_cmphex(answer.packet.srb.sense[12], ==, 0x24);
    expect(f, sentence);
}

static void test_header(Fixture *f, gconstpointer data)
{
    uint64_t bytes = STOR_BEGIN_INITIALIZATION;
    VscStorageAnswer answer;

    fixture_open(f, false);
    g_assert_true(vsc_send(f->guest.chan[0], VMBUS_PKT_DATA_INBAND, 1, 3,
                           &bytes, sizeof(bytes)));
    g_assert_true(vsc_storage_next(&f->guest, 0, &answer));
    g_assert_cmphex(answer.packet.header.status, ==,
                    STOR_STATUS_INVALID_PARAMETER);
    expect(f, "A storage packet is shorter than its header.");
}

static void test_operation(Fixture *f, gconstpointer data)
{
    static const uint32_t unknown[] = {0, 14, 0xffffffff};
    static const uint32_t host[] = {STOR_COMPLETE_IO, STOR_REMOVE_DEVICE,
                                    STOR_ENUMERATE_BUS};

    fixture_open(f, true);
    for (unsigned i = 0; i < 3; i++) {
        StorPacket packet = {.header.operation = unknown[i]};

        expect_status(f, &packet, STOR_STATUS_INVALID_DEVICE_REQUEST,
                      "A storage packet has an unknown operation.");
        packet = (StorPacket){.header.operation = host[i]};
        expect_status(f, &packet, STOR_STATUS_INVALID_DEVICE_REQUEST,
                      "The guest sent a storage packet that only the host "
                      "sends.");
    }
}

static void test_primary_only(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = 1};
    VscStorageAnswer answer;

    fixture_open(f, true);
    g_assert_true(vsc_storage_create_subchannels(&f->guest, 1, RING_PAGES));
    g_assert_true(vsc_storage_send(&f->guest, 1, 3, &packet));
    g_assert_true(vsc_storage_next(&f->guest, 1, &answer));
    g_assert_cmphex(answer.packet.header.status, ==,
                    STOR_STATUS_INVALID_DEVICE_REQUEST);
    expect(f, "The guest sent a storage packet on a sub-channel that is for "
              "the primary channel.");
}

static void out_of_order(Fixture *f, uint32_t operation)
{
    StorPacket packet = {.header.operation = operation};

    expect_status(f, &packet, STOR_STATUS_INVALID_DEVICE_STATE,
                  "A storage packet is out of the order of initialization.");
}

/* In each phase all that does not belong there is refused. */
static void test_order(Fixture *f, gconstpointer data)
{
    static const uint32_t steps[] = {
        STOR_BEGIN_INITIALIZATION, STOR_QUERY_PROTOCOL_VERSION,
        STOR_QUERY_PROPERTIES, STOR_END_INITIALIZATION};
    static const uint32_t later[] = {STOR_RESET_LUN, STOR_RESET_ADAPTER,
                                     STOR_RESET_BUS, STOR_EXECUTE_SRB};

    fixture_open(f, false);
    for (unsigned phase = 0; phase <= G_N_ELEMENTS(steps); phase++) {
        StorPacket packet = {.version.major_minor = STOR_VERSION_6_2};

        for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
            if (i != phase) {
                out_of_order(f, steps[i]);
            }
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(later) && phase < 4; i++) {
            out_of_order(f, later[i]);
        }
        if (phase < 3) {
            out_of_order(f, STOR_FCHBA_DATA);
            out_of_order(f, STOR_CREATE_SUB_CHANNELS);
        }
        if (phase < G_N_ELEMENTS(steps)) {
            packet.header.operation = steps[phase];
            g_assert_true(vsc_storage_call(&f->guest, &packet));
            g_assert_cmphex(packet.header.status, ==, 0);
        }
    }
}

/* A request before the end of initialization fails in the guest. */
static void test_early_request(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = 1};
    VmbusMsg msg;

    fixture_open(f, false);
    g_assert_true(fixture_io(f, 0, 1, STOR_DATA_IN, 4096));
    expect_srb(f, 0, STOR_STATUS_INVALID_DEVICE_STATE,
               "A storage packet is out of the order of initialization.");
    /* On a sub-channel, too, which may come before. */
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_BEGIN_INITIALIZATION),
                    ==, 0);
    packet = (StorPacket){.header.operation = STOR_QUERY_PROTOCOL_VERSION,
                          .version.major_minor = STOR_VERSION_5_1};
    g_assert_true(vsc_storage_call(&f->guest, &packet));
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_QUERY_PROPERTIES), ==,
                    0);
    packet = (StorPacket){.header.operation = STOR_CREATE_SUB_CHANNELS,
                          .subchannel_count = 1};
    g_assert_true(vsc_storage_call(&f->guest, &packet));
    g_assert_true(vsc_expect(f->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    f->guest.chan[1] = vsc_open(f->vsc, &msg.offer, 4, 4, 0);
    g_assert_nonnull(f->guest.chan[1]);
    g_assert_true(fixture_io(f, 1, 1, STOR_DATA_IN, 4096));
    expect_srb(f, 1, STOR_STATUS_INVALID_DEVICE_STATE,
               "A storage packet is out of the order of initialization.");
}

static void test_version(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = 1};

    fixture_open(f, false);
    f->guest.packet_len = 48;
    g_assert_true(vsc_storage_initialize(&f->guest, STOR_VERSION_4_2, false));
    expect_status(f, &packet, STOR_STATUS_INVALID_DEVICE_REQUEST,
                  "A storage packet needs a later version of the protocol.");
}

static void test_unknown_version(Fixture *f, gconstpointer data)
{
    static const uint16_t versions[] = {
        0, STOR_VERSION(2, 0), STOR_VERSION(5, 0), STOR_VERSION(6, 1), 0xffff};

    fixture_open(f, false);
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_BEGIN_INITIALIZATION),
                    ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(versions); i++) {
        StorPacket packet = {.header.operation = STOR_QUERY_PROTOCOL_VERSION,
                             .version.major_minor = versions[i]};

        expect_status(f, &packet, STOR_STATUS_REVISION_MISMATCH,
                      "The guest asked for a version of the storage protocol "
                      "that is not known.");
    }
}

static void test_short(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_EXECUTE_SRB};

    fixture_open(f, true);
    g_assert_true(
        vsc_send(f->guest.chan[0], VMBUS_PKT_DATA_INBAND, 1, 3, &packet, 40));
    f->guest.packet_len = 48;
    expect_srb(f, 0, STOR_STATUS_INVALID_PARAMETER,
               "A storage packet is too short for its operation.");
}

static void test_unanswerable(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_BEGIN_INITIALIZATION};

    fixture_open(f, false);
    g_assert_true(vsc_send(f->guest.chan[0], VMBUS_PKT_DATA_INBAND, 0, 3,
                           &packet, sizeof(packet)));
    expect(f, "A storage packet does not ask for an answer.");
    g_assert_true(vsc_send(f->guest.chan[0], VMBUS_PKT_COMP, 0, 3, &packet,
                           sizeof(packet)));
    expect(f, "A storage packet is of a type that has no answer.");
    fixture_silent(f, 0);
}

static void test_fc(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_FCHBA_DATA};

    fixture_open(f, true);
    expect_status(f, &packet, STOR_STATUS_INVALID_DEVICE_REQUEST,
                  "The guest asked an adapter for names that only fibre "
                  "channel has.");
}

static void test_subchannels(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = SUBCHANNELS + 1};

    fixture_open(f, true);
    expect_status(f, &packet, STOR_STATUS_INVALID_PARAMETER,
                  "The guest asked for more sub-channels than there are.");
    g_assert_true(vsc_storage_create_subchannels(&f->guest, 1, RING_PAGES));
    packet = (StorPacket){.header.operation = STOR_CREATE_SUB_CHANNELS,
                          .subchannel_count = 1};
    expect_status(f, &packet, STOR_STATUS_INVALID_PARAMETER,
                  "The guest asked for sub-channels a second time.");
}

static void fill_bus(Fixture *f)
{
    static const VmbusChannelOps none;
    VmbusOffer offer = {.name = "filler", .class_id.b[0] = 9};
    const char *err = NULL;

    for (unsigned i = 0; i < VMBUS_RELID_COUNT; i++) {
        memcpy(&offer.instance_id.b[4], &i, sizeof(i));
        if (!vmbus_bus_offer(f->machine->bus, &offer, &none, NULL, &err)) {
            return;
        }
    }
    g_assert_not_reached();
}

static void withdraw_filler(VmbusChannel *chan, void *opaque)
{
    VmbusChannelInfo info;

    vmbus_channel_info(chan, &info);
    if (!strcmp(info.offer.name, "filler")) {
        g_ptr_array_add(opaque, chan);
    }
}

static void test_bus_full(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) fillers = g_ptr_array_new();
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = 2};
    VmbusMsg msg;
    uint32_t len;

    fixture_open(f, true);
    fill_bus(f);
    expect_status(f, &packet, STOR_STATUS_DEVICE_BUSY,
                  "The bus has no room for the sub-channels.");
    vmbus_bus_foreach(f->machine->bus, withdraw_filler, fillers);
    for (guint i = 0; i < fillers->len; i++) {
        vmbus_bus_withdraw(f->machine->bus, fillers->pdata[i]);
    }
    while (vsc_next(f->vsc, &msg, &len)) {
    }
}

/* Requests */

typedef struct BadRequest {
    const char *sentence;
    uint8_t cdb_len, data_in;
    uint32_t transfer; /* bytes */
    uint32_t memory;   /* bytes in the range; 0: none */
    uint64_t gfn;
} BadRequest;

static const BadRequest bad_requests[] = {
    {"A SCSI request has no command.", 0, STOR_DATA_IN, 512, 512, 1},
    {"A SCSI request has a command that is too long.", 17, STOR_DATA_IN, 512,
     512, 1},
    {"A SCSI request has a command that is too long.", 255, STOR_DATA_NONE, 0,
     0, 1},
    {"A SCSI request transfers more than the adapter can.", 10, STOR_DATA_IN,
     (1 << 20) + 1, 4096, 1},
    {"A SCSI request transfers more than the adapter can.", 10, STOR_DATA_IN,
     UINT32_MAX, 4096, 1},
    {"A SCSI request transfers data in no direction.", 10, STOR_DATA_NONE, 512,
     512, 1},
    {"A SCSI request transfers data in no direction.", 10, 255, 512, 512, 1},
    {"A SCSI request transfers data and names no memory.", 10, STOR_DATA_IN,
     512, 0, 1},
    {"A SCSI request names less memory than it transfers.", 10, STOR_DATA_IN,
     513, 512, 1},
    {"A SCSI request names memory beyond 52 bits.", 10, STOR_DATA_IN, 512, 512,
     UINT64_C(1) << 40},
    {"A SCSI request names memory beyond 52 bits.", 10, STOR_DATA_IN, 512, 512,
     UINT64_MAX >> 12},
};

static void test_requests(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_requests); i++) {
        const BadRequest *bad = &bad_requests[i];
        const uint8_t cdb[16] = {0x28};
        StorPacket packet;

        vsc_storage_srb(&f->guest, &packet, 0, cdb, 16, bad->data_in,
                        bad->transfer);
        packet.srb.cdb_length = bad->cdb_len;
        if (bad->memory) {
            g_assert_true(vsc_storage_send_range(&f->guest, 0, 9, &packet,
                                                 &bad->gfn, 0, bad->memory));
        } else {
            g_assert_true(vsc_storage_send(&f->guest, 0, 9, &packet));
        }
        expect_srb(f, 0, STOR_STATUS_INVALID_PARAMETER, bad->sentence);
    }
    g_assert_cmpuint(f->adapter.refused, ==, G_N_ELEMENTS(bad_requests));
    g_assert_cmpuint(f->adapter.submitted, ==, 0);
    /* And the channel works. */
    g_assert_true(fixture_io(f, 0, 1, STOR_DATA_IN, 4096));
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 1);
}

/* A guest that sends what cannot be answered does not keep the thread. */
static void refill(void *opaque)
{
    Fixture *f = opaque;
    StorPacket packet = {.header.operation = STOR_BEGIN_INITIALIZATION};
    VmbusPacketDescriptor desc = {.type = VMBUS_PKT_COMP};
    bool signal;

    while (vsc_ring_write(&f->guest.chan[0]->out, &desc, sizeof(desc), &packet,
                          sizeof(packet), &signal)) {
    }
}

static void test_flood(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    f->adapter.on_refusal = refill;
    f->adapter.on_refusal_opaque = f;
    refill(f);
    storvsp_run(storvsp_channel(f->adapter.vsp, 0));
    g_assert_cmpuint(f->adapter.refused, ==, 512);
    g_assert_true(f->adapter.later[0]);
}

/* Packets of every kind: the service minds none, and stays in order. */
static void test_random(Fixture *f, gconstpointer data)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    unsigned refused = 0, opens = 0;

    for (unsigned i = 0; i < 60000; i++) {
        VscStorageAnswer answer;
        StorPacket packet = {0};
        uint64_t gfns[8];

        if (!f->guest.chan[0] || g_rand_int_range(rand, 0, 500) == 0) {
            vsc_storage_close(&f->guest);
            vsc_machine_reset_ram(f->machine);
            fixture_open(f, g_rand_boolean(rand));
            opens++;
        }
        for (unsigned j = 0; j < sizeof(packet); j++) {
            ((uint8_t *)&packet)[j] =
                g_rand_int_range(rand, 0, g_rand_boolean(rand) ? 3 : 256);
        }
        packet.header.operation = g_rand_boolean(rand)
                                      ? STOR_EXECUTE_SRB
                                      : g_rand_int_range(rand, 0, 15);
        packet.srb.data_transfer_length = g_rand_int_range(rand, 0, 20000);
        if (g_rand_boolean(rand)) {
            packet.srb.cdb_length = 1 + g_rand_int_range(rand, 0, 16);
        }
        for (unsigned j = 0; j < G_N_ELEMENTS(gfns); j++) {
            gfns[j] = g_rand_int_range(rand, 0, PAGES);
        }
        if (g_rand_boolean(rand)) {
            uint32_t offset = g_rand_int_range(rand, 0, 4096);

            vsc_storage_send_range(&f->guest, 0, i + 1, &packet, gfns, offset,
                                   1 + g_rand_int_range(rand, 0, 28000));
        } else {
            vsc_storage_send(&f->guest, 0, i + 1, &packet);
        }
        fixture_run(f);
        while (f->adapter.taken->len > 5) {
            adapter_finish(&f->adapter, &result_good);
        }
        while (vsc_storage_next(&f->guest, 0, &answer)) {
            g_assert_cmpuint(answer.packet.header.operation, ==,
                             STOR_COMPLETE_IO);
        }
        fixture_check(f);
        refused = f->adapter.refused;
    }
    g_assert_cmpuint(opens, >, 50);
    g_assert_cmpuint(refused, >, 1000);
    g_assert_cmpuint(f->adapter.submitted, >, 500);
    g_assert_cmpuint(f->adapter.resets, >, 100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("refusals/header", test_header);
    ADD("refusals/operation", test_operation);
    ADD("refusals/primary-only", test_primary_only);
    ADD("refusals/order", test_order);
    ADD("refusals/early-request", test_early_request);
    ADD("refusals/version", test_version);
    ADD("refusals/unknown-version", test_unknown_version);
    ADD("refusals/short", test_short);
    ADD("refusals/unanswerable", test_unanswerable);
    ADD("refusals/fc", test_fc);
    ADD("refusals/subchannels", test_subchannels);
    ADD("refusals/bus-full", test_bus_full);
    ADD("refusals/requests", test_requests);
    ADD("refusals/flood", test_flood);
    ADD("refusals/random", test_random);
    return g_test_run();
}
