/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The storage service in a saved machine. */
#include "bus/blob.h"
#include "bus/state.h"
#include "storvsp-fixture.h"

/* The machine is saved, and is then what was saved. */
static void save_and_load(Fixture *f, bool running)
{
    g_autoptr(GByteArray) bus = NULL;
    g_autoptr(GByteArray) vsp = NULL;
    g_autofree char *why = NULL;
    const char *err = NULL;

    storvsp_pause(f->adapter.vsp);
    vmbus_bus_quiesce(f->machine->bus);
    bus = vmbus_bus_save(f->machine->bus, false, &err);
    g_assert_nonnull(bus);
    vsp = storvsp_save(f->adapter.vsp);
    vmbus_bus_load(f->machine->bus, bus->data, bus->len, &why);
    g_assert_null(why);
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
    g_assert_null(
        storvsp_load(f->adapter.vsp, f->adapter.chan, vsp->data, vsp->len));
    if (vmbus_channel_is_open(f->adapter.chan)) {
        vmbus_channel_adopt_subchannels(f->adapter.chan, &storvsp_channel_ops,
                                        f->adapter.vsp);
    }
    if (running) {
        vmbus_bus_resume(f->machine->bus);
        storvsp_unpause(f->adapter.vsp);
        fixture_run(f);
    }
}

static void test_phases(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_QUERY_PROTOCOL_VERSION,
                         .version.major_minor = STOR_VERSION_6_0};
    StorVspInfo info;

    save_and_load(f, true);
    fixture_open(f, false);
    save_and_load(f, true);
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_BEGIN_INITIALIZATION),
                    ==, 0);
    save_and_load(f, true);
    g_assert_true(vsc_storage_call(&f->guest, &packet));
    g_assert_cmphex(packet.header.status, ==, 0);
    save_and_load(f, true);
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_QUERY_PROPERTIES), ==,
                    0);
    save_and_load(f, true);
    g_assert_cmphex(vsc_storage_simple(&f->guest, STOR_END_INITIALIZATION), ==,
                    0);
    save_and_load(f, true);
    storvsp_info(f->adapter.vsp, &info);
    g_assert_cmpint(info.phase, ==, STOR_READY);
    g_assert_cmphex(info.version, ==, STOR_VERSION_6_0);
    storvsp_enumerate(f->adapter.vsp);
    save_and_load(f, true);
    fixture_silent(f, 0);
    g_assert_cmpuint(f->guest.enumerations, ==, 0);
    /* What the guest was not told yet it is told on the other machine. */
    f->adapter.at_once = true;
    g_assert_true(fixture_io(f, 0, 1, STOR_DATA_IN, 512));
    fixture_answer(f, 0, 1);
    save_and_load(f, true);
    fixture_silent(f, 0);
    g_assert_cmpuint(f->guest.enumerations, ==, 1);
}

/* Requests under way are begun again, and answered once. */
static void test_requests(Fixture *f, gconstpointer data)
{
    fixture_open(f, true);
    g_assert_true(
        vsc_storage_create_subchannels(&f->guest, SUBCHANNELS, RING_PAGES));
    for (unsigned i = 0; i <= SUBCHANNELS; i++) {
        g_assert_true(fixture_io(f, i, 10 + i, STOR_DATA_IN, 65536));
        g_assert_true(fixture_io(f, i, 20 + i, STOR_DATA_OUT, 512));
    }
    save_and_load(f, true);
    g_assert_cmpuint(f->adapter.taken->len, ==, 2 * (1 + SUBCHANNELS));
    for (unsigned i = 0; i <= SUBCHANNELS; i++) {
        StorRequest *req = f->adapter.taken->pdata[0];

        g_assert_cmpuint(req->segment_count, ==, 16);
        g_assert_cmphex(req->segments[15].gpa, ==, 130 * 4096);
        g_assert_cmpuint(req->cdb[0], ==, 0x28);
        g_assert_cmpuint(req->lun, ==, (10 + i) % 4);
        adapter_finish(&f->adapter, &result_good);
        adapter_finish(&f->adapter, &result_good);
        g_assert_cmpuint(fixture_answer(f, i, 10 + i).data_transfer_length, ==,
                         65536);
        fixture_answer(f, i, 20 + i);
        fixture_silent(f, i);
    }
    g_assert_cmpuint(f->adapter.taken->len, ==, 0);
}

/* Those that the machine has saved itself are left to it. */
static void test_adopted(Fixture *f, gconstpointer data)
{
    StorRequest *req;

    fixture_open(f, true);
    for (unsigned i = 1; i <= 3; i++) {
        g_assert_true(fixture_io(f, 0, i, STOR_DATA_IN, 4096));
    }
    req = f->adapter.taken->pdata[1];
    g_assert_cmpuint(req->id, ==, 1);
    save_and_load(f, false);
    req = storvsp_find(storvsp_channel(f->adapter.vsp, 0), 1);
    g_assert_nonnull(req);
    g_assert_null(storvsp_find(storvsp_channel(f->adapter.vsp, 0), 3));
    req->machine = f;
    vmbus_bus_resume(f->machine->bus);
    storvsp_unpause(f->adapter.vsp);
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 2);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 1);
    g_ptr_array_insert(f->adapter.taken, 0, req);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 2);
    adapter_finish(&f->adapter, &result_good);
    fixture_answer(f, 0, 3);
}

/* Answers that the ring has no room for. */
static void test_full_ring(Fixture *f, gconstpointer data)
{
    unsigned sent = 0, answered = 0;
    VscStorageAnswer answer;

    fixture_open(f, true);
    while (fixture_io(f, 0, 1 + sent, STOR_DATA_IN, 4096)) {
        sent++;
    }
    for (unsigned i = 0; i < 3; i++) {
        while (f->adapter.taken->len) {
            adapter_finish(&f->adapter, &result_good);
        }
        fixture_run(f);
        save_and_load(f, true);
    }
    while (answered < sent) {
        while (vsc_storage_next(&f->guest, 0, &answer)) {
            g_assert_cmpuint(answer.trans_id, ==, 1 + answered);
            answered++;
        }
        while (f->adapter.taken->len) {
            adapter_finish(&f->adapter, &result_good);
        }
        fixture_run(f);
        save_and_load(f, true);
    }
    fixture_silent(f, 0);
}

static void test_reset(Fixture *f, gconstpointer data)
{
    StorPacket packet = {.header.operation = STOR_RESET_LUN,
                         .srb = {.path = 1, .target = 1, .lun = 5}};
    VscStorageAnswer answer;

    fixture_open(f, true);
    f->adapter.hold_resets = true;
    g_assert_true(vsc_storage_send(&f->guest, 0, 44, &packet));
    f->adapter.reset = (StorReset){STOR_RESET_ALL, 0, 0, 0};
    f->adapter.hold_resets = false;
    save_and_load(f, true);
    g_assert_cmpuint(f->adapter.resets, ==, 2);
    g_assert_cmpint(f->adapter.reset.kind, ==, STOR_RESET_ONE_LUN);
    g_assert_cmpuint(f->adapter.reset.lun, ==, 5);
    g_assert_true(vsc_storage_next(&f->guest, 0, &answer));
    g_assert_cmpuint(answer.trans_id, ==, 44);
}

/* Bytes that are no state of this adapter */

static void expect(Fixture *f, const GByteArray *blob, const char *sentence)
{
    const char *why =
        storvsp_load(f->adapter.vsp, f->adapter.chan, blob->data, blob->len);

    g_assert_cmpstr(why, ==, sentence);
    g_assert_null(storvsp_channel(f->adapter.vsp, 0));
}

/* What a state consists of; a test spoils one number. */
typedef struct State {
    uint64_t phase, version, subchannels, index, next_id, reply_waits,
        resetting, id, answer_len, twice, second_id;
    bool reply;
    StorSrb srb;
    uint64_t gpa;
    uint32_t len, srb_len;
} State;

static const State good = {
    .phase = STOR_READY,
    .version = STOR_VERSION_6_2,
    .next_id = 5,
    .id = 4,
    .second_id = 3,
    .answer_len = 64,
    .srb = {.cdb_length = 6, .data_in = 1, .data_transfer_length = 4096},
    .gpa = 4096,
    .len = 4096,
    .srb_len = sizeof(StorSrb),
};

static void put(GByteArray *blob, uint16_t tag, uint64_t value)
{
    vmbus_blob_put(blob, tag, &value, sizeof(value));
}

static void put_request(GByteArray *blob, const State *s, uint64_t id)
{
    struct {
        uint64_t gpa;
        uint32_t len, reserved;
    } segment = {s->gpa, s->len, 0};
    guint place = vmbus_blob_open(blob, 33);

    put(blob, 1, id);
    put(blob, 2, 1000);
    put(blob, 3, s->answer_len);
    vmbus_blob_put(blob, 32, &s->srb, s->srb_len);
    vmbus_blob_put(blob, 33, &segment, sizeof(segment));
    vmbus_blob_close(blob, place);
}

static void put_channel(GByteArray *blob, const State *s)
{
    guint place = vmbus_blob_open(blob, 32);

    put(blob, 1, s->index);
    put(blob, 2, s->next_id);
    put(blob, 3, 2); /* requests of all times */
    put(blob, 4, 0);
    put(blob, 5, 0);
    put(blob, 6, s->reply_waits);
    put(blob, 7, s->resetting);
    for (uint16_t tag = 8; tag <= 11; tag++) {
        put(blob, tag, 0);
    }
    put_request(blob, s, s->id);
    put_request(blob, s, s->second_id);
    vmbus_blob_close(blob, place);
}

static GByteArray *make(const State *s)
{
    GByteArray *blob = vmbus_blob_new(0x726f7473, 1);

    put(blob, 1, s->phase);
    put(blob, 2, s->version);
    put(blob, 3, s->subchannels);
    put(blob, 4, 0);
    put(blob, 5, 0);
    put(blob, 6, 1);
    put_channel(blob, s);
    if (s->twice) {
        put_channel(blob, s);
    }
    return blob;
}

static void refuse(Fixture *f, const State *s, const char *sentence)
{
    g_autoptr(GByteArray) blob = make(s);

    expect(f, blob, sentence);
}

static State spoil(size_t offset, uint64_t value)
{
    State s = good;

    memcpy((uint8_t *)&s + offset, &value, sizeof(value));
    return s;
}

static void test_refusals(Fixture *f, gconstpointer data)
{
    static const struct {
        size_t offset;
        uint64_t value;
        const char *sentence;
    } cases[] = {
        {offsetof(State, phase), STOR_CLOSED,
         "The saved storage adapter is open and its channel is not, or the "
         "reverse."},
        {offsetof(State, version), STOR_VERSION(6, 1),
         "The saved storage adapter has a version that is not known."},
        {offsetof(State, version), 0,
         "The saved storage adapter has a version that is not known."},
        {offsetof(State, subchannels), SUBCHANNELS + 1,
         "The saved storage adapter has more sub-channels than this one."},
        {offsetof(State, next_id), 4,
         "The saved storage adapter has a request from the future."},
        {offsetof(State, second_id), 4,
         "The saved storage adapter has two requests with one id."},
        {offsetof(State, reply_waits), 1,
         "The saved storage adapter has an answer that nobody waits for, or "
         "the reverse."},
        {offsetof(State, answer_len), 47,
         "The saved storage adapter has a request of a wrong size."},
        {offsetof(State, twice), 1,
         "The saved storage adapter has a channel twice."},
        {offsetof(State, gpa), UINT64_C(1) << 52,
         "The saved storage adapter has a request with bad memory."},
    };
    g_autoptr(GByteArray) blob = make(&good);
    State s;

    fixture_open(f, true);
    vsc_storage_close(&f->guest);
    fixture_open(f, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        s = spoil(cases[i].offset, cases[i].value);
        refuse(f, &s, cases[i].sentence);
    }
    s = good;
    s.len = 4095;
    refuse(f, &s,
           "The saved storage adapter has a request with memory of another "
           "size.");
    s = good;
    s.len = 0;
    refuse(f, &s, "The saved storage adapter has a request with bad memory.");
    s = good;
    s.srb_len = 51;
    refuse(f, &s, "The saved storage adapter has a request of a wrong size.");
    s = good;
    s.srb.cdb_length = 17;
    refuse(f, &s,
           "The saved storage adapter has a request with a bad command.");
    s = good;
    s.srb.data_in = 2;
    refuse(f, &s, "The saved storage adapter has a request in no direction.");
    s = good;
    s.index = 1;
    refuse(f, &s,
           "The saved storage adapter is open and its channel is not, or the "
           "reverse.");
    blob->data[0]++;
    expect(f, blob, "The saved state is of another kind.");
    /* What is not spoilt is taken. */
    blob->data[0]--;
    g_assert_null(
        storvsp_load(f->adapter.vsp, f->adapter.chan, blob->data, blob->len));
    storvsp_run(storvsp_channel(f->adapter.vsp, 0));
    g_assert_cmpuint(f->adapter.taken->len, ==, 2);
}

static void test_other_subchannels(Fixture *f, gconstpointer data)
{
    static const char why[] = "The saved storage adapter has a sub-channel "
                              "open and the bus has not, or the reverse.";
    g_autoptr(GByteArray) both = NULL;
    g_autoptr(GByteArray) one = NULL;

    fixture_open(f, true);
    g_assert_true(vsc_storage_create_subchannels(&f->guest, 1, RING_PAGES));
    both = storvsp_save(f->adapter.vsp);
    vsc_close(f->guest.chan[1]);
    f->guest.chan[1] = NULL;
    one = storvsp_save(f->adapter.vsp);
    expect(f, both, why);
    g_assert_null(
        storvsp_load(f->adapter.vsp, f->adapter.chan, one->data, one->len));
}

static void test_too_many(Fixture *f, gconstpointer data)
{
    GByteArray *blob = vmbus_blob_new(0x726f7473, 1);
    State s = good;
    guint place;

    fixture_open(f, true);
    put(blob, 1, STOR_READY);
    put(blob, 2, STOR_VERSION_6_2);
    put(blob, 3, 0);
    put(blob, 4, 0);
    put(blob, 5, 0);
    place = vmbus_blob_open(blob, 32);
    put(blob, 1, 0);
    put(blob, 2, 5000);
    for (uint16_t tag = 3; tag <= 11; tag++) {
        put(blob, tag, 0);
    }
    for (unsigned i = 0; i < STOR_MAX_REQUESTS + 2; i++) {
        put_request(blob, &s, i);
    }
    vmbus_blob_close(blob, place);
    expect(f, blob, "The saved storage adapter has too many requests.");
    g_byte_array_unref(blob);
}

/* Any bytes: a sentence, or a state that can be run. */
static void test_random(Fixture *f, gconstpointer data)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(6);
    g_autoptr(GByteArray) blob = NULL;
    unsigned taken = 0, refused = 0;

    fixture_open(f, true);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(fixture_io(f, 0, 1 + i, STOR_DATA_IN, 8192));
    }
    storvsp_pause(f->adapter.vsp);
    blob = storvsp_save(f->adapter.vsp);
    while (f->adapter.taken->len) {
        adapter_finish(&f->adapter, &result_good);
    }
    for (unsigned i = 0; i < 20000; i++) {
        g_autofree uint8_t *bytes = g_memdup2(blob->data, blob->len);
        size_t len = g_rand_boolean(rand)
                         ? blob->len
                         : (size_t)g_rand_int_range(rand, 0, blob->len);

        bytes[g_rand_int_range(rand, 0, blob->len)] ^=
            1 << g_rand_int_range(rand, 0, 8);
        if (storvsp_load(f->adapter.vsp, f->adapter.chan, bytes, len)) {
            refused++;
        } else {
            taken++;
        }
    }
    g_assert_cmpuint(refused, >, 5000);
    g_assert_cmpuint(taken, >, 100);
    g_assert_null(
        storvsp_load(f->adapter.vsp, f->adapter.chan, blob->data, blob->len));
    storvsp_unpause(f->adapter.vsp);
    fixture_run(f);
    g_assert_cmpuint(f->adapter.taken->len, ==, 4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("state/phases", test_phases);
    ADD("state/requests", test_requests);
    ADD("state/adopted", test_adopted);
    ADD("state/full-ring", test_full_ring);
    ADD("state/reset", test_reset);
    ADD("state/refusals", test_refusals);
    ADD("state/other-subchannels", test_other_subchannels);
    ADD("state/too-many", test_too_many);
    ADD("state/random", test_random);
    return g_test_run();
}
