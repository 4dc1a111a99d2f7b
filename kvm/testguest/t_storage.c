/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that means harm to a storage adapter, and to the disks behind it:
 * SCSI commands, memory and packets made up at random, and channels that close
 * while disks are at work.  Unit 0 is a disk of a MiB or more, unit 1 a CD,
 * and unit 2 a disk that is slow.
 */
#include "devices/storvsp-protocol.h"
#include "hostile.h"

#define PAGES      64 /* of both rings */
#define MAX_TAGS   128
#define MAX_RANGES 4
#define AREA_PAGES 64 /* where requests have their data */
#define BLOCK      512u
#define IO_BYTES   65536
#define CHECK_COND 2
#define ROUNDS     8000
#define SLOW       16   /* requests for the slow disk */
#define SLOW_MS    2500 /* it would take longer than that for them */
#define UNTOUCHED  0x55

struct request {
    StorPacket packet;
    unsigned ranges;
    struct {
        VmbusGpaRange head;
        uint64_t pfn[IO_BYTES / PAGE_SIZE + 1];
        unsigned pages;
    } range[MAX_RANGES];
};

static const VmbusGuid scsi_class = STOR_SCSI_CLASS;
static struct vb_channel *ch;
static uint8_t *area;
static bool busy[MAX_TAGS];
static unsigned in_flight, answers, strange;
static StorPacket last;

/* The next completion; false if none comes in time. */
static bool take(uint64_t us)
{
    VmbusPacketDescriptor desc;

    for (;;) {
        if (!vb_read_packet(ch, &desc, &last, sizeof(last), us)) {
            return false;
        }
        if (desc.type == VMBUS_PKT_COMP) {
            break;
        }
    }
    answers++;
    if (desc.trans_id >= MAX_TAGS || !busy[desc.trans_id]) {
        print("# an answer to %lu, which was not asked\n", desc.trans_id);
        strange++;
        return true;
    }
    busy[desc.trans_id] = false;
    in_flight--;
    return true;
}

static bool take_all(void)
{
    while (in_flight && take(VB_TIMEOUT_US)) {
    }
    return !in_flight;
}

static bool has_room(uint32_t bytes)
{
    volatile VmbusRingControl *out = ch->out;
    uint32_t used = (ch->out_write + ch->size - out->read_index) % ch->size;

    return ch->size - used > bytes + 64;
}

/* A tag that is free, and room; perhaps after some answers. */
static bool prepare(uint64_t *tag)
{
    while (in_flight == MAX_TAGS || !has_room(4096)) {
        if (!take(VB_TIMEOUT_US)) {
            return false;
        }
    }
    for (*tag = 0; busy[*tag]; ++*tag) {
    }
    return true;
}

static bool send_request(const struct request *r)
{
    static uint8_t data[4096];
    VmbusPacketDescriptor desc = {
        .type = r->ranges ? VMBUS_PKT_DATA_GPA_DIRECT : VMBUS_PKT_DATA_INBAND,
        .flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
    };
    uint32_t len = 0, counts[2] = {0, r->ranges};
    uint64_t tag;

    if (!prepare(&tag)) {
        return false;
    }
    desc.trans_id = tag;
    if (r->ranges) {
        memcpy(data, counts, sizeof(counts));
        len = sizeof(counts);
    }
    for (unsigned i = 0; i < r->ranges; i++) {
        uint32_t pfns = r->range[i].pages * sizeof(uint64_t);

        memcpy(data + len, &r->range[i].head, sizeof(VmbusGpaRange));
        len += sizeof(VmbusGpaRange);
        memcpy(data + len, r->range[i].pfn, pfns);
        len += pfns;
    }
    desc.offset8 = (sizeof(desc) + len) / 8;
    memcpy(data + len, &r->packet, sizeof(r->packet));
    len += sizeof(r->packet);
    desc.len8 = (sizeof(desc) + len) / 8;
    busy[tag] = true;
    in_flight++;
    vb_send(ch, &desc, data, len);
    return true;
}

/* One request and its answer. */
static bool call(struct request *r)
{
    return take_all() && send_request(r) && take_all();
}

static void make(struct request *r, StorOperation operation)
{
    memset(r, 0, sizeof(*r));
    r->packet.header.operation = operation;
    r->packet.header.flags = 1;
}

static void add_memory(struct request *r, const void *at, uint32_t bytes)
{
    uint64_t first = (uintptr_t)at / PAGE_SIZE;
    unsigned n = r->ranges++;

    r->range[n].head.byte_count = bytes;
    r->range[n].head.byte_offset = (uintptr_t)at % PAGE_SIZE;
    r->range[n].pages =
        (r->range[n].head.byte_offset + bytes + PAGE_SIZE - 1) / PAGE_SIZE;
    for (unsigned i = 0; i < r->range[n].pages; i++) {
        r->range[n].pfn[i] = first + i;
    }
}

static void make_io(struct request *r, uint8_t lun, uint8_t opcode,
                    uint32_t block, uint32_t blocks)
{
    StorSrb *srb = &r->packet.srb;

    make(r, STOR_EXECUTE_SRB);
    srb->lun = lun;
    srb->cdb_length = 10;
    srb->cdb[0] = opcode;
    srb->cdb[2] = block >> 24;
    srb->cdb[3] = block >> 16;
    srb->cdb[4] = block >> 8;
    srb->cdb[5] = block;
    srb->cdb[7] = blocks >> 8;
    srb->cdb[8] = blocks;
    srb->data_in = opcode == 0x28 ? STOR_DATA_IN : STOR_DATA_OUT;
    srb->data_transfer_length = blocks * BLOCK;
    srb->sense_length = STOR_MAX_SENSE;
}

static bool simple(StorOperation operation, uint16_t version)
{
    struct request r;

    make(&r, operation);
    if (version) {
        r.packet.version.major_minor = version;
    }
    return call(&r) && !last.header.status;
}

/* Opens the channel and agrees; what was on its way is forgotten. */
static bool begin(void)
{
    memset(busy, 0, sizeof(busy));
    in_flight = 0;
    return vb_open(ch, 0, PAGES) && simple(STOR_BEGIN_INITIALIZATION, 0) &&
           simple(STOR_QUERY_PROTOCOL_VERSION, STOR_VERSION_6_2) &&
           simple(STOR_QUERY_PROPERTIES, 0) &&
           simple(STOR_END_INITIALIZATION, 0);
}

static bool connect(void)
{
    if (!vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL) ||
        !vb_request_offers()) {
        return false;
    }
    ch = vb_find(&scsi_class);
    return ch && begin();
}

/* Until the unit has told what happened to it. */
static bool unit_ready(uint8_t lun)
{
    struct request r;

    for (unsigned i = 0; i < 10; i++) {
        make(&r, STOR_EXECUTE_SRB);
        r.packet.srb.lun = lun;
        r.packet.srb.cdb_length = 6;
        r.packet.srb.data_in = STOR_DATA_NONE;
        if (!call(&r)) {
            return false;
        }
        if ((last.srb.srb_status & STOR_SRB_STATUS_MASK) == STOR_SRB_SUCCESS &&
            !last.srb.scsi_status) {
            return true;
        }
    }
    return false;
}

/* What is written to the disk is read back. */
static bool disk_is_good(void)
{
    static uint32_t seed;
    struct request r;
    uint8_t *back = area + IO_BYTES;

    if (!take_all() || !unit_ready(0)) {
        return false;
    }
    seed++;
    for (uint32_t i = 0; i < IO_BYTES; i++) {
        area[i] = (i * 7 + seed * 31) ^ i >> 8;
    }
    make_io(&r, 0, 0x2a, 64, IO_BYTES / BLOCK);
    add_memory(&r, area, IO_BYTES);
    if (!call(&r) || last.srb.data_transfer_length != IO_BYTES) {
        return false;
    }
    memset(back, 0, IO_BYTES);
    make_io(&r, 0, 0x28, 64, IO_BYTES / BLOCK);
    add_memory(&r, back, IO_BYTES);
    return call(&r) && last.srb.data_transfer_length == IO_BYTES &&
           !memcmp(area, back, IO_BYTES);
}

/* Random requests */

static uint32_t pick(uint32_t below)
{
    return hostile_random() % below;
}

static uint8_t random_opcode(void)
{
    static const uint8_t known[] = {
        0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1d,
        0x1e, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x3b, 0x3c, 0x41, 0x42,
        0x43, 0x44, 0x46, 0x4a, 0x4d, 0x51, 0x52, 0x55, 0x5a, 0x5e, 0x5f,
        0x7f, 0x88, 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa1, 0xa3,
        0xa4, 0xa8, 0xaa, 0xad, 0xae, 0xaf, 0xbd, 0xbe,
    };

    return pick(8) ? known[pick(ARRAY_LEN(known))] : hostile_random();
}

static uint8_t usual_length(uint8_t opcode)
{
    static const uint8_t lengths[] = {6, 10, 10, 16, 16, 12, 12, 12};

    return lengths[opcode >> 5];
}

static void random_cdb(StorSrb *srb)
{
    uint8_t opcode = random_opcode();

    srb->cdb_length = pick(16) ? usual_length(opcode) : hostile_random();
    /* Small numbers, so that some are good places and lengths. */
    for (unsigned i = 1; i < sizeof(srb->sense); i++) {
        srb->sense[i] = pick(3) ? 0 : hostile_random() >> pick(32);
    }
    srb->cdb[0] = opcode;
}

static uint32_t random_bytes(void)
{
    static const uint32_t odd[] = {0,      1,          4,         36,
                                   255,    BLOCK,      PAGE_SIZE, 8 * BLOCK,
                                   0xffff, 0x7fffffff, 0xffffffff};

    return pick(4) ? pick(129) * BLOCK : odd[pick(ARRAY_LEN(odd))];
}

static void random_memory(struct request *r, uint32_t bytes)
{
    unsigned count = pick(16) ? 1 : pick(MAX_RANGES + 1);

    for (unsigned i = 0; i < count; i++) {
        uint32_t most = AREA_PAGES * PAGE_SIZE - IO_BYTES - PAGE_SIZE;
        uint32_t at = pick(most) & (pick(2) ? ~0u : ~(BLOCK - 1));
        uint32_t len = bytes <= IO_BYTES ? bytes : pick(IO_BYTES);
        unsigned page;

        add_memory(r, area + at, len ? len : 1);
        page = pick(r->range[i].pages);
        if (!pick(16)) {
            uint64_t bad = hostile_addresses[pick(hostile_address_count)];

            if (!hostile_is_ram(bad)) {
                r->range[i].pfn[page] = bad / PAGE_SIZE;
            }
        }
    }
}

/* A list of memory that contradicts itself: no packet at all. */
static void spoil(struct request *r)
{
    unsigned i = pick(MAX_RANGES);

    switch (pick(4)) {
    case 0:
        r->range[i].head.byte_count = hostile_random();
        break;
    case 1:
        r->range[i].head.byte_offset = hostile_random();
        break;
    case 2:
        r->range[i].pages = pick(4);
        break;
    default:
        r->ranges = 1 + pick(MAX_RANGES);
        break;
    }
}

static void make_random(struct request *r)
{
    StorSrb *srb = &r->packet.srb;
    uint32_t bytes = random_bytes();

    make(r, STOR_EXECUTE_SRB);
    random_cdb(srb);
    srb->lun = pick(32) ? pick(2) : hostile_random();
    srb->target = pick(32) ? 0 : hostile_random();
    srb->path = pick(64) ? 0 : hostile_random();
    srb->data_in = pick(32) ? pick(3) : hostile_random();
    srb->data_transfer_length = bytes;
    srb->sense_length = pick(8) ? STOR_MAX_SENSE : hostile_random();
    srb->srb_flags = pick(8) ? 0 : hostile_random();
    random_memory(r, bytes);
}

static void random_requests(void)
{
    unsigned sent, before = answers;
    struct request r;

    for (sent = 0; sent < ROUNDS; sent++) {
        make_random(&r);
        if (!send_request(&r)) {
            break;
        }
    }
    tap(take_all() && sent == ROUNDS && answers - before == sent && !strange,
        "each request is answered, and once", "%u of %u answers, %u strange",
        answers - before, sent, strange);
}

/* Resets of units and of the bus, in the midst of it. */
static void random_resets(void)
{
    static const StorOperation resets[] = {STOR_RESET_LUN, STOR_RESET_ADAPTER,
                                           STOR_RESET_BUS};
    unsigned sent = 0;
    struct request r;
    bool ok = true;

    for (unsigned i = 0; i < 1000 && ok; i++) {
        if (i % 20 == 19) {
            make(&r, resets[pick(ARRAY_LEN(resets))]);
            r.packet.srb.lun = pick(4);
        } else {
            make_io(&r, 0, 0x28, pick(1024), 8);
            add_memory(&r, area + pick(32) * PAGE_SIZE, 8 * BLOCK);
        }
        ok = send_request(&r);
        sent += ok;
    }
    tap(take_all() && ok && !strange, "resets leave nothing behind",
        "%u sent, %u not answered, %u strange", sent, in_flight, strange);
}

static void send_noise(void)
{
    uint8_t noise[200];
    VmbusPacketDescriptor desc = {
        .type = pick(4) ? VMBUS_PKT_DATA_GPA_DIRECT : pick(12),
        .flags = pick(4) ? 1 : hostile_random(),
        .trans_id = hostile_random(),
        .offset8 = pick(4) ? 2 + pick(8) : hostile_random(),
        .len8 = 2 + sizeof(noise) / 8,
    };

    for (unsigned i = 0; i < sizeof(noise); i++) {
        noise[i] = pick(2) ? 0 : hostile_random() >> pick(32);
    }
    vb_send(ch, &desc, noise, sizeof(noise));
}

/*
 * Among good ones, packets that are none: the channel closes on those, and
 * opens again.
 */
static void random_packets(void)
{
    unsigned good = 0, rounds = 150;
    struct request r;

    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned n = 0; n < 20; n++) {
            make_random(&r);
            if (n > 10) {
                spoil(&r);
            }
            send_request(&r);
            if (n > 15) {
                send_noise();
            }
        }
        vb_signal(ch);
        good += vb_close(ch) && begin();
    }
    tap(good == rounds, "a channel with broken packets can be opened again",
        "%u of %u times", good, rounds);
}

/* What the guest has back is its own: nothing arrives there any more. */
static void close_at_work(void)
{
    struct request r;
    unsigned changed = 0, sent = 0;
    bool ok = true;
    uint64_t start, took;

    for (unsigned i = 0; i < SLOW; i++) {
        make_io(&r, 2, 0x28, i * 8, 8);
        add_memory(&r, area + i * PAGE_SIZE, PAGE_SIZE);
        sent += send_request(&r);
    }
    start = time_us();
    ok = vb_close(ch);
    took = (time_us() - start) / 1000;
    memset(area, UNTOUCHED, SLOW * PAGE_SIZE);
    delay_us(1500000);
    for (unsigned i = 0; i < SLOW * PAGE_SIZE; i++) {
        changed += area[i] != UNTOUCHED;
    }
    tap(ok && sent == SLOW && !changed, "no data arrives after the close",
        "%u requests, %u bytes have changed", sent, changed);
    tap(took < SLOW_MS, "the close does not wait for a slow disk",
        "it took %lu ms", took);
    tap(begin() && disk_is_good(), "and the channel opens again", "it doesn't");
}

static void run(const char *name, void (*batch)(void))
{
    print("# %s\n", name);
    batch();
    tap(disk_is_good(), name, "afterwards the disk does not work");
}

void test_storage(void)
{
    if (!hv_present() || !(cpuid(0x40000003).eax >> 2 & 1)) {
        tap_skip("storage", "the machine has no hv-synic");
        return;
    }
    vb_init();
    area = alloc_pages(AREA_PAGES);
    if (!tap(connect() && disk_is_good(), "a disk that works", "it doesn't")) {
        return;
    }
    run("requests at random", random_requests);
    run("resets at random", random_resets);
    run("packets of noise", random_packets);
    run("requests at random once more", random_requests);
    run("a channel that is closed at work", close_at_work);
    tap(vb_close(ch) && vb_unload(), "and the end", "no answer");
}
