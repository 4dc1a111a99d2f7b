/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage service on the real bus: a guest that does nearly as Linux, and
 * a machine that ends requests in any order and way.
 */
#include "bus-fuzz.h"
#include "devices/storvsp.h"
#include "vsc-storage.h"

#define PAGES       128
#define SUBCHANNELS 3

typedef struct Storage {
    VscMachine *machine;
    Vsc *vsc;
    StorVsp *vsp;
    VmbusChannel *host;
    VscStorage guest;
    GPtrArray *taken; /* requests that the machine has */
    bool at_once, hold_resets;
    unsigned pauses;
    uint64_t next_id;
    bool later[STOR_MAX_CHANNELS];
    StorChannel *resetting;

} Storage;

static void take_all(Storage *s)
{
    VmbusMsg msg;
    uint32_t len;

    while (vsc_next(s->vsc, &msg, &len)) {
    }
}

/* The machine */

static void submit(void *opaque, StorRequest *req)
{
    const StorResult good = {.srb_status = STOR_SRB_SUCCESS,
                             .transferred = UINT32_MAX};
    Storage *s = opaque;
    uint64_t sum = 0;

    fuzz_require(req->cdb_length > 0 && req->cdb_length <= STOR_MAX_CDB,
                 "A request has a bad command.");
    fuzz_require(req->data_in <= STOR_DATA_NONE &&
                     (req->data_in == STOR_DATA_NONE) == !req->data_len,
                 "A request has a bad direction.");
    for (uint32_t i = 0; i < req->segment_count; i++) {
        fuzz_require(req->segments[i].len && req->segments[i].gpa < UINT64_C(1)
                                                                        << 52,
                     "A request has bad memory.");
        sum += req->segments[i].len;
    }
    fuzz_require(sum == req->data_len, "A request's memory has another size.");
    fuzz_require(!s->pauses, "A request began in a pause.");
    if (s->at_once) {
        storvsp_complete(req, &good);
    } else {
        req->machine = s;
        g_ptr_array_add(s->taken, req);
    }
}

static void cancel(void *opaque, StorRequest *req)
{
    const StorResult aborted = {.srb_status = STOR_SRB_ABORTED};
    Storage *s = opaque;

    fuzz_require(!req->machine || g_ptr_array_remove(s->taken, req),
                 "A request was cancelled that has ended.");
    storvsp_complete(req, &aborted);
}

static void reset(void *opaque, StorChannel *ch, const StorReset *r)
{
    Storage *s = opaque;

    for (guint i = s->taken->len; i-- > 0;) {
        StorRequest *req = s->taken->pdata[i];

        if (r->kind == STOR_RESET_ALL || req->lun == r->lun) {
            cancel(s, req);
        }
    }
    if (s->hold_resets) {
        s->resetting = ch;
    } else {
        storvsp_reset_done(ch);
    }
}

static void offer_subchannels(void *opaque, StorChannel *ch, uint16_t count)
{
    Storage *s = opaque;
    const char *why = NULL;

    vmbus_channel_offer_subchannels(s->host, count, &storvsp_channel_ops,
                                    s->vsp, &why);
    storvsp_subchannels_offered(ch, why);
}

static void run_later(void *opaque, StorChannel *ch)
{
    ((Storage *)opaque)->later[storvsp_channel_index(ch)] = true;
}

static void refused(void *opaque, StorChannel *ch, const char *sentence)
{
    fuzz_require(sentence && *sentence, "A refusal has no sentence.");
}

static const StorVspOps ops = {.submit = submit,
                               .cancel = cancel,
                               .reset = reset,
                               .offer_subchannels = offer_subchannels,
                               .run_later = run_later,
                               .refused = refused};

static void run(Storage *s)
{
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *ch = storvsp_channel(s->vsp, i);

        if (s->later[i] && ch) {
            s->later[i] = false;
            storvsp_run(ch);
        }
    }
}

static void finish(Storage *s, FuzzInput *in)
{
    StorResult result = {.srb_status = STOR_SRB_SUCCESS};
    StorRequest *req;
    StorChannel *ch;

    if (!s->taken->len) {
        return;
    }
    req = g_ptr_array_steal_index_fast(s->taken, fuzz_below(in, s->taken->len));
    ch = req->channel;
    if (fuzz_chance(in, 40)) {
        result.srb_status = fuzz_u8(in);
        result.scsi_status = fuzz_u8(in);
        result.sense_length = fuzz_u8(in);
        fuzz_copy(in, result.sense, sizeof(result.sense));
    }
    result.transferred = fuzz_value(in, 4, 0, 4096);
    storvsp_complete(req, &result);
    if (fuzz_chance(in, 80)) {
        storvsp_flush(ch);
    }
}

/* The guest */

static void connect(Storage *s)
{
    take_all(s);
    fuzz_require(vsc_connect(s->vsc, VMBUS_VERSION_5_3) &&
                     vsc_request_offers(s->vsc),
                 "A good guest could not connect.");
}

static void reopen(Storage *s, uint32_t pages)
{
    vsc_storage_abandon(&s->guest);
    connect(s);
    vsc_machine_reset_ram(s->machine);
    fuzz_require(
        vsc_storage_open(&s->guest, s->vsc,
                         vsc_find_offer(s->vsc, &storvsp_scsi_offer.class_id),
                         pages),
        "A good guest could not open a storage adapter.");
}

static void initialize(Storage *s, FuzzInput *in)
{
    static const uint16_t versions[] = {STOR_VERSION_6_2, STOR_VERSION_6_0,
                                        STOR_VERSION_5_1, STOR_VERSION_4_2};
    uint16_t version = versions[fuzz_u8(in) % G_N_ELEMENTS(versions)];

    if (s->guest.chan[0] && !s->pauses) {
        s->guest.packet_len = version == STOR_VERSION_4_2 ? 48 : 64;
        vsc_storage_initialize(&s->guest, version, false);
    }
}

static unsigned channel(Storage *s, FuzzInput *in)
{
    unsigned index = fuzz_u8(in) % (SUBCHANNELS + 1);

    return s->guest.chan[index] ? index : 0;
}

static void make_packet(Storage *s, FuzzInput *in, StorPacket *packet)
{
    const uint8_t cdb[16] = {fuzz_u8(in)};

    vsc_storage_srb(&s->guest, packet, fuzz_u8(in) % 4, cdb, 16,
                    fuzz_value(in, 1, 0, 3), fuzz_value(in, 4, 0, 20000));
    packet->srb.cdb_length = fuzz_value(in, 1, 1, 16);
    packet->header.operation = STOR_EXECUTE_SRB;
    if (fuzz_chance(in, 30)) {
        packet->header.operation = fuzz_value(in, 4, 0, 16);
        fuzz_copy(in, packet->bytes, fuzz_below(in, 53));
    }
}

/* A list of up to three ranges, nearly right. */
static uint32_t make_ranges(FuzzInput *in, uint8_t *list)
{
    VmbusGpaDirectHeader head = {.range_count = 1 + fuzz_u8(in) % 3};
    uint32_t len = sizeof(head);

    for (unsigned i = 0; i < head.range_count; i++) {
        VmbusGpaRange range = {fuzz_value(in, 4, 1, 9000),
                               fuzz_value(in, 4, 0, 4096)};
        unsigned pages = fuzz_chance(in, 90)
                             ? (range.byte_offset % 4096 +
                                (uint64_t)range.byte_count + 4095) /
                                   4096
                             : fuzz_u8(in);

        memcpy(list + len, &range, sizeof(range));
        len += sizeof(range);
        for (unsigned j = 0; j < MIN(pages, 4); j++) {
            uint64_t page = fuzz_value(in, 8, 0, PAGES);

            memcpy(list + len, &page, sizeof(page));
            len += sizeof(page);
        }
    }
    if (fuzz_chance(in, 5)) {
        head.range_count = fuzz_value(in, 4, 0, 5);
    }
    memcpy(list, &head, sizeof(head));
    return len;
}

static void request(Storage *s, FuzzInput *in)
{
    unsigned index = channel(s, in);
    VscChannel *chan = s->guest.chan[index];
    struct {
        VmbusPacketDescriptor desc;
        uint8_t list[256];
    } head = {.desc = {.type = VMBUS_PKT_DATA_INBAND,
                       .flags = !fuzz_chance(in, 3),
                       .trans_id = ++s->next_id}};
    uint32_t len = sizeof(head.desc);
    StorPacket packet;
    bool signal;

    if (!chan) {
        return;
    }
    make_packet(s, in, &packet);
    if (packet.srb.data_transfer_length && fuzz_chance(in, 95)) {
        head.desc.type = VMBUS_PKT_DATA_GPA_DIRECT;
        len += make_ranges(in, head.list);
    } else if (fuzz_chance(in, 5)) {
        head.desc.type = fuzz_value(in, 2, 6, 6);
    }
    if (vsc_ring_write(&chan->out, &head, len, &packet,
                       fuzz_chance(in, 5) ? fuzz_below(in, 65)
                                          : s->guest.packet_len,
                       &signal) &&
        signal) {
        vsc_machine_signal(s->machine, chan->connection_id);
    }
}

static void take_answers(Storage *s, FuzzInput *in)
{
    unsigned index = channel(s, in), count = fuzz_u8(in);
    VscStorageAnswer answer;

    while (s->guest.chan[index] && count-- &&
           vsc_storage_next(&s->guest, index, &answer)) {
        fuzz_require(answer.packet.header.operation == STOR_COMPLETE_IO &&
                         answer.type == VMBUS_PKT_COMP,
                     "The host sent an answer that is none.");
        fuzz_require(answer.trans_id <= s->next_id ||
                         answer.trans_id == VSC_STORAGE_INIT,
                     "The host answered what it was not asked.");
        fuzz_require(answer.len >= 48 && answer.len <= 64,
                     "The host sent an answer of a wrong size.");
    }
}

static void subchannels(Storage *s, FuzzInput *in)
{
    if (s->guest.chan[0] && !s->guest.chan[1] && !s->pauses) {
        take_all(s);
        vsc_storage_create_subchannels(&s->guest, 1 + fuzz_u8(in) % 4, 4);
    }
}

/* The guest breaks a ring: the channel closes, soon. */
static void corrupt(Storage *s, FuzzInput *in)
{
    unsigned index = channel(s, in);
    uint8_t how = fuzz_u8(in);
    VscChannel *chan = s->guest.chan[index];
    VscRing *ring;

    if (!chan) {
        return;
    }
    ring = how & 1 ? &chan->in : &chan->out;
    *(how & 2 ? &ring->control->read_index : &ring->control->write_index) =
        fuzz_value(in, 4, 0, 64) * 8;
    vsc_machine_signal(s->machine, chan->connection_id);
    reopen(s, 4);
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Storage *s, FuzzInput *in)
{
    StorVspConfig config = {.max_subchannels = SUBCHANNELS,
                            .max_transfer_bytes = 1 << 16};
    StorVsp *other = storvsp_new(&config, &ops, s);
    g_autoptr(GByteArray) blob = storvsp_save(s->vsp);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = storvsp_load(other, s->host, copy, blob->len);

    fuzz_require(spoiled || !why, why);
    if (!spoiled) {
        g_autoptr(GByteArray) again = storvsp_save(other);

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    storvsp_free(other);
    if (vmbus_channel_is_open(s->host)) {
        vmbus_channel_adopt_subchannels(s->host, &storvsp_channel_ops, s->vsp);
    }
}

static void pause_or_go(Storage *s, FuzzInput *in)
{
    if (fuzz_chance(in, 50)) {
        s->pauses++;
        storvsp_pause(s->vsp);
    } else if (s->pauses) {
        s->pauses--;
        storvsp_unpause(s->vsp);
    }
}

static void settings(Storage *s, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    s->at_once = how & 1;
    s->hold_resets = how & 2;
    if (s->resetting && storvsp_channel(s->vsp, 0)) {
        storvsp_reset_done(s->resetting);
    }
    s->resetting = NULL;
}

static void step(Storage *s, FuzzInput *in)
{
    switch (fuzz_u8(in) % 32) {
    case 0 ... 11:
        request(s, in);
        break;
    case 12 ... 17:
        finish(s, in);
        break;
    case 18 ... 20:
        take_answers(s, in);
        break;
    case 21:
    case 22:
        initialize(s, in);
        break;
    case 23:
        subchannels(s, in);
        break;
    case 24:
        corrupt(s, in);
        break;
    case 25:
        vsc_storage_close(&s->guest);
        reopen(s, 2 + fuzz_below(in, 10));
        break;
    case 26:
        vsc_machine_reset(s->machine);
        reopen(s, 4);
        break;
    case 27:
        save_and_load(s, in);
        break;
    case 28:
        pause_or_go(s, in);
        break;
    case 29:
        storvsp_enumerate(s->vsp);
        break;
    case 30:
        settings(s, in);
        break;
    default:
        run(s);
        break;
    }
}

static void check(Storage *s)
{
    const char *why = vmbus_bus_check(s->machine->bus);
    uint64_t under_way = 0;

    fuzz_require(!why, why);
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *ch = storvsp_channel(s->vsp, i);
        StorChannelInfo info;

        if (ch) {
            storvsp_channel_info(ch, &info);
            fuzz_require(info.in_flight <= STOR_MAX_REQUESTS,
                         "A channel has too many requests.");
        }
    }
    for (guint i = 0; i < s->taken->len; i++) {
        under_way++;
    }
    fuzz_require(under_way <= STOR_MAX_REQUESTS * (SUBCHANNELS + 1),
                 "The machine has too many requests.");
}

/* A guest that behaves is served, whatever went before. */
static void recover(Storage *s)
{
    const uint8_t cdb[6] = {0};
    VscStorageAnswer answer;
    StorPacket packet;

    while (s->pauses) {
        s->pauses--;
        storvsp_unpause(s->vsp);
    }
    vsc_machine_reset(s->machine);
    s->at_once = true;
    s->hold_resets = false;
    reopen(s, 6);
    fuzz_require(s->taken->len == 0, "A closed adapter has requests.");
    fuzz_require(vsc_storage_initialize(&s->guest, STOR_VERSION_6_2, false),
                 "A good guest could not initialize its adapter.");
    vsc_storage_srb(&s->guest, &packet, 0, cdb, 6, STOR_DATA_NONE, 0);
    fuzz_require(vsc_storage_send(&s->guest, 0, 1, &packet) &&
                     vsc_storage_next(&s->guest, 0, &answer) &&
                     answer.trans_id == 1 &&
                     answer.packet.srb.srb_status == STOR_SRB_SUCCESS,
                 "A good guest's request was not answered.");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    StorVspConfig config = {.max_subchannels = SUBCHANNELS,
                            .max_transfer_bytes = 1 << 16};
    FuzzInput in = {data, size};
    VmbusOffer offer = storvsp_scsi_offer;
    const char *err = NULL;
    Storage s = {.machine = vsc_machine_new(PAGES, false),
                 .taken = g_ptr_array_new()};

    s.vsc = vsc_new(s.machine);
    s.vsp = storvsp_new(&config, &ops, &s);
    offer.instance_id.b[0] = 1;
    s.host = vmbus_bus_offer(s.machine->bus, &offer, &storvsp_channel_ops,
                             s.vsp, &err);
    fuzz_require(s.host, "The bus refused a device.");
    reopen(&s, 6);
    if (fuzz_u8(&in) & 1) {
        initialize(&s, &in);
    }
    for (unsigned i = 0; i < 400 && !fuzz_end(&in); i++) {
        step(&s, &in);
        check(&s);
    }
    recover(&s);
    vsc_storage_close(&s.guest);
    vmbus_bus_withdraw(s.machine->bus, s.host);
    take_all(&s);
    vsc_free(s.vsc);
    vsc_machine_free(s.machine);
    storvsp_free(s.vsp);
    g_ptr_array_unref(s.taken);
    return 0;
}
