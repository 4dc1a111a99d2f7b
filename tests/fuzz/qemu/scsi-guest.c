/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "hw/hyperv/hyperv.h"
#include "hyperv-synic.h"
#include "devices/storvsp.h"
#include "scsi-guest.h"

#define AREA_BYTES (FUZZ_AREA * VMBUS_PAGE_SIZE)
#define LIST_BYTES 2048

static uint8_t *area(ScsiGuest *g)
{
    return vsc_machine_page(&g->m->vsc, FUZZ_AREA_GFN);
}

void scsi_guest_init(ScsiGuest *g, FuzzMachine *m)
{
    *g = (ScsiGuest){
        .m = m,
        .vsc = vsc_new(&m->vsc),
        .requests = g_new(ScsiRequest, SCSI_MAX_REQUESTS),
        .paint = g_malloc(AREA_BYTES),
        .allowed = g_malloc0(AREA_BYTES),
    };
    memset(area(g), 0, AREA_BYTES);
    memset(g->allowed, 1, AREA_BYTES);
    scsi_guest_paint(g);
}

/* Memory */

/* Where @gpa is in the area, or AREA_BYTES. */
static uint32_t in_area(uint64_t gpa)
{
    uint64_t first = (uint64_t)FUZZ_AREA_GFN * VMBUS_PAGE_SIZE;

    return gpa >= first && gpa - first < AREA_BYTES ? gpa - first : AREA_BYTES;
}

void scsi_guest_check_memory(ScsiGuest *g)
{
    for (unsigned page = 0; page < FUZZ_AREA; page++) {
        uint32_t at = page * VMBUS_PAGE_SIZE;

        if (!memcmp(area(g) + at, g->paint + at, VMBUS_PAGE_SIZE)) {
            continue;
        }
        for (uint32_t i = at; i < at + VMBUS_PAGE_SIZE; i++) {
            fuzz_require(area(g)[i] == g->paint[i] || g->allowed[i],
                         "Memory changed that no request had named.");
        }
    }
}

/* Bytes that differ from page to page and within a page. */
void scsi_guest_paint(ScsiGuest *g)
{
    for (unsigned page = 0; page < FUZZ_AREA; page++) {
        uint32_t at = page * VMBUS_PAGE_SIZE;

        if (!memchr(g->allowed + at, 1, VMBUS_PAGE_SIZE)) {
            continue;
        }
        for (uint32_t i = 0; i < VMBUS_PAGE_SIZE; i++) {
            g->paint[at + i] = (i * 5) ^ (i >> 8) ^ page;
        }
        memcpy(area(g) + at, g->paint + at, VMBUS_PAGE_SIZE);
        memset(g->allowed + at, 0, VMBUS_PAGE_SIZE);
    }
}

/* The host may write to it; or the guest does. */
static void allow(ScsiGuest *g, uint64_t gpa, uint32_t len)
{
    uint32_t at = in_area(gpa);

    if (at < AREA_BYTES) {
        memset(g->allowed + at, 1, MIN(len, AREA_BYTES - at));
    }
}

static bool is_ring(uint64_t gfn)
{
    return gfn - FUZZ_RING_GFN < FUZZ_RINGS;
}

/* The guest's parameters, where the command's data begins. */
static void put_parameters(ScsiGuest *g, const ScsiRequest *req,
                           const ScsiCommand *cmd)
{
    uint32_t left = MIN(cmd->parameter_len, req->data_len), done = 0;

    for (unsigned i = 0; i < req->count && left; i++) {
        uint32_t at = in_area(req->pieces[i].gpa);
        uint32_t len = MIN(req->pieces[i].len, left);

        if (at < AREA_BYTES) {
            len = MIN(len, AREA_BYTES - at);
            allow(g, req->pieces[i].gpa, len);
            memcpy(area(g) + at, cmd->parameters + done, len);
        }
        done += len;
        left -= len;
    }
}

/* Opening and closing */

void scsi_guest_take_messages(ScsiGuest *g)
{
    VmbusMsg msg;
    uint32_t len;

    while (vsc_next(g->vsc, &msg, &len)) {
    }
}

void scsi_guest_open(ScsiGuest *g)
{
    const VmbusMsgOffer *offer;

    scsi_guest_take_messages(g);
    fuzz_require(vsc_connect(g->vsc, VMBUS_VERSION_5_3) &&
                     vsc_request_offers(g->vsc),
                 "A good guest could not connect.");
    vsc_machine_reset_ram(&g->m->vsc);
    offer = vsc_find_offer(g->vsc, &storvsp_scsi_offer.class_id);
    fuzz_require(offer, "A good guest sees no adapter.");
    fuzz_require(vsc_storage_open(&g->storage, g->vsc, offer, 8),
                 "A good guest could not open its adapter.");
    g->spoiled = g->begun = false;
}

void scsi_guest_close(ScsiGuest *g, bool polite)
{
    const char *why;

    if (polite) {
        vsc_storage_close(&g->storage);
    } else {
        vsc_storage_abandon(&g->storage);
        scsi_guest_take_messages(g);
        fuzz_require(vsc_connect(g->vsc, VMBUS_VERSION_5_3),
                     "A good guest could not connect again.");
    }
    /* From here on its memory is the guest's own. */
    scsi_guest_check_memory(g);
    scsi_guest_paint(g);
    fuzz_machine_pump();
    why = fuzz_machine_check_idle();
    fuzz_require(!why, why);
    fuzz_disks_hold(false);
    fuzz_machine_pump();
    scsi_guest_check_memory(g);
    g->waiting = g->sent = 0;
    g->alone = NULL;
}

/* Requests */

static uint64_t choose_page(FuzzInput *in, uint64_t next)
{
    static const uint64_t odd[] = {
        0,
        0x9f,
        0xa0,
        0xc0,
        0xf0,
        0xff,
        0x100,
        0xfff,
        0x1000,
        0xfec00,
        0xfed00,
        0xfee00,
        0xffff0,
        0xfffff,
        0x100000,
        UINT64_C(1) << 40,
        (UINT64_C(1) << 40) - 1,
        FUZZ_RING_GFN,
        FUZZ_RING_GFN + 1,
        FUZZ_RING_GFN + 8,
        FUZZ_RING_GFN + 9,
        FUZZ_AREA_GFN + FUZZ_AREA - 1,
        FUZZ_AREA_GFN + FUZZ_AREA,
    };
    uint8_t how = fuzz_u8(in);
    uint64_t page;

    if (how < 0xd4) {
        page = next;
    } else if (how < 0xe4) { /* nearly its neighbour */
        page = next + how % 4;
    } else if (how < 0xf4) {
        page = FUZZ_AREA_GFN + fuzz_below(in, FUZZ_AREA);
    } else if (how < 0xfc) {
        page = odd[fuzz_below(in, G_N_ELEMENTS(odd))];
    } else {
        /* More is taken for a broken ring. */
        page = fuzz_number(in, 8) >> 12;
    }
    /* The messages there are not what is tested. */
    return page - FUZZ_SYNIC_GFN < 16 ? FUZZ_AREA_GFN : page;
}

static void add_piece(ScsiRequest *req, uint64_t gpa, uint32_t len,
                      uint32_t *left)
{
    len = MIN(len, *left);
    if (len && req->count < SCSI_MAX_PIECES) {
        req->pieces[req->count++] = (ScsiPiece){gpa, len};
        *left -= len;
    }
}

static uint32_t add_range(FuzzInput *in, uint8_t *list, uint32_t room,
                          uint32_t bytes, ScsiRequest *req, uint32_t *left)
{
    VmbusGpaRange range = {bytes, 0};
    uint64_t next = FUZZ_AREA_GFN + fuzz_u8(in) % (FUZZ_AREA - 32);
    uint32_t len = sizeof(range), pages, offset;

    if (fuzz_chance(in, 30)) {
        range.byte_offset = fuzz_chance(in, 50) ? fuzz_below(in, 8) * 512
                                                : fuzz_below(in, 4096);
    }
    offset = range.byte_offset;
    pages = (offset + bytes + VMBUS_PAGE_SIZE - 1) / VMBUS_PAGE_SIZE;
    if (len + pages * 8 > room) {
        return 0;
    }
    memcpy(list, &range, sizeof(range));
    for (uint32_t i = 0; i < pages; i++) {
        uint64_t page = choose_page(in, next++);
        uint32_t part = MIN(bytes, VMBUS_PAGE_SIZE - offset);

        memcpy(list + len, &page, sizeof(page));
        len += sizeof(page);
        add_piece(req, page * VMBUS_PAGE_SIZE + offset, part, left);
        bytes -= part;
        offset = 0;
    }
    return len;
}

/* The list after a GPA direct packet's descriptor; its length. */
static uint32_t make_ranges(FuzzInput *in, uint32_t data_len, uint8_t *list,
                            ScsiRequest *req)
{
    VmbusGpaDirectHeader head = {.range_count = 0};
    uint32_t want = 1 + (fuzz_chance(in, 25) ? fuzz_below(in, 3) : 0);
    uint32_t len = sizeof(head), left = data_len, more = data_len, got;

    for (uint32_t i = 0; i < want; i++) {
        uint32_t bytes = MAX(more, 1);

        if (i + 1 < want) {
            bytes = 1 + fuzz_below(in, MIN(bytes, 65535));
        } else if (fuzz_chance(in, 5)) { /* too little, or too much */
            bytes = 1 + fuzz_below(in, 9000);
        }
        got = add_range(in, list + len, LIST_BYTES - len,
                        MIN(bytes, 128 * VMBUS_PAGE_SIZE), req, &left);
        if (!got) {
            break;
        }
        head.range_count++;
        len += got;
        more -= MIN(more, bytes);
    }
    memcpy(list, &head, sizeof(head));
    return len;
}

/* What the host may do to the guest's memory from now on. */
static void expect_writes(ScsiGuest *g, const ScsiRequest *req)
{
    for (unsigned i = 0; req->data_in && i < req->count; i++) {
        allow(g, req->pieces[i].gpa, req->pieces[i].len);
        g->spoiled |= is_ring(req->pieces[i].gpa / VMBUS_PAGE_SIZE);
    }
}

/* Writes @packet with the list, if it has one, to the ring. */
static bool write_packet(ScsiGuest *g, unsigned channel, uint64_t trans_id,
                         const uint8_t *list, uint32_t list_len,
                         const StorPacket *packet, uint32_t len, uint16_t flags)
{
    VscChannel *chan = g->storage.chan[channel];
    struct {
        VmbusPacketDescriptor desc;
        uint8_t list[LIST_BYTES];
    } head = {.desc = {.type = list_len ? VMBUS_PKT_DATA_GPA_DIRECT
                                        : VMBUS_PKT_DATA_INBAND,
                       .flags = flags,
                       .trans_id = trans_id}};
    bool signal;

    g->begun = true;
    if (list_len) {
        memcpy(head.list, list, list_len);
    }
    if (!vsc_ring_write(&chan->out, &head, sizeof(head.desc) + list_len, packet,
                        len, &signal)) {
        return false;
    }
    if (signal) {
        hyperv_signal_connection(chan->connection_id, 0);
    }
    return true;
}

/* Takes account of a request just before it is sent. */
static ScsiRequest *new_request(ScsiGuest *g, unsigned channel)
{
    ScsiRequest *req = &g->requests[g->sent];

    memset(req, 0, offsetof(ScsiRequest, pieces));
    req->channel = channel;
    return req;
}

static void sent(ScsiGuest *g, ScsiRequest *req)
{
    req->asked = true;
    g->sent++;
    g->alone = g->waiting++ ? NULL : req;
}

static bool can_send(const ScsiGuest *g, unsigned channel)
{
    return g->sent < SCSI_MAX_REQUESTS && !g->spoiled &&
           g->storage.chan[channel];
}

bool scsi_guest_send(ScsiGuest *g, FuzzInput *in, unsigned channel, uint8_t lun,
                     const ScsiCommand *cmd)
{
    uint8_t list[LIST_BYTES];
    uint32_t list_len = 0;
    StorPacket packet;
    ScsiRequest *req;

    if (!can_send(g, channel)) {
        return false;
    }
    req = new_request(g, channel);
    vsc_storage_srb(&g->storage, &packet, lun, cmd->cdb, sizeof(cmd->cdb),
                    cmd->data_in, cmd->data_len);
    packet.srb.cdb_length = cmd->length;
    packet.srb.target = fuzz_chance(in, 2) ? fuzz_u8(in) : 0;
    packet.srb.path = fuzz_chance(in, 2) ? fuzz_u8(in) : 0;
    packet.srb.srb_flags =
        fuzz_chance(in, 3) ? STOR_SRB_FLAG_DISABLE_AUTOSENSE : 0;
    if (cmd->data_len && fuzz_u8(in) < 0xfc) {
        list_len = make_ranges(in, cmd->data_len, list, req);
        /* A list of nothing is taken for a broken ring. */
        g->spoiled |= list_len == sizeof(VmbusGpaDirectHeader);
    }
    req->lun = packet.srb.path || packet.srb.target ? 0xff : lun;
    memcpy(req->cdb, cmd->cdb, sizeof(req->cdb));
    req->data_in = cmd->data_in == STOR_DATA_IN;
    req->data_len = cmd->data_len;
    req->block_size = fuzz_machine_block_size(lun);
    put_parameters(g, req, cmd);
    expect_writes(g, req);
    if (!write_packet(g, channel, g->sent + 1, list, list_len, &packet,
                      g->storage.packet_len,
                      VMBUS_PKT_FLAG_COMPLETION_REQUESTED)) {
        return false;
    }
    sent(g, req);
    return true;
}

void scsi_guest_send_reset(ScsiGuest *g, unsigned channel, uint32_t operation,
                           uint8_t lun)
{
    StorPacket packet = {.header.operation = operation, .srb.lun = lun};
    ScsiRequest *req;

    if (!can_send(g, channel)) {
        return;
    }
    req = new_request(g, channel);
    req->lun = 0xff;
    if (write_packet(g, channel, g->sent + 1, NULL, 0, &packet,
                     g->storage.packet_len,
                     VMBUS_PKT_FLAG_COMPLETION_REQUESTED)) {
        sent(g, req);
    }
}

void scsi_guest_send_odd(ScsiGuest *g, FuzzInput *in, unsigned channel)
{
    uint32_t len =
        fuzz_chance(in, 80) ? g->storage.packet_len : fuzz_below(in, 65);
    bool answer = !fuzz_chance(in, 10);
    StorPacket packet = {.header.operation = fuzz_value(in, 4, 0, 16)};
    ScsiRequest *req;

    if (!can_send(g, channel)) {
        return;
    }
    fuzz_copy(in, packet.bytes, fuzz_below(in, 53));
    req = new_request(g, channel);
    req->lun = 0xff;
    if (write_packet(g, channel, g->sent + 1, NULL, 0, &packet, len,
                     answer ? VMBUS_PKT_FLAG_COMPLETION_REQUESTED : 0) &&
        answer) {
        sent(g, req);
    }
}

/* Answers */

static bool overlap(const ScsiRequest *req)
{
    for (unsigned i = 0; i < req->count; i++) {
        for (unsigned j = 0; j < i; j++) {
            const ScsiPiece *a = &req->pieces[i], *b = &req->pieces[j];

            if (a->gpa < b->gpa + b->len && b->gpa < a->gpa + a->len) {
                return true;
            }
        }
    }
    return false;
}

/* The blocks that a request moved are the same on both sides. */
static void compare_blocks(ScsiGuest *g, const ScsiRequest *req, uint32_t len)
{
    uint64_t offset = scsi_block(req->cdb) * req->block_size;
    const FuzzDisk *disk;

    if (req->lun >= FUZZ_LUNS ||
        req->block_size != fuzz_machine_block_size(req->lun) ||
        (!scsi_is_read(req->cdb) && !scsi_is_write(req->cdb))) {
        return;
    }
    fuzz_require(!len || req->data_in == scsi_is_read(req->cdb),
                 "A request moved blocks the other way.");
    fuzz_require(len == scsi_block_count(req->cdb) * req->block_size,
                 "A request that succeeded moved less than its blocks.");
    if (overlap(req)) {
        return;
    }
    disk = &g->m->disks[req->lun];
    for (unsigned i = 0; i < req->count && len; i++) {
        uint32_t at = in_area(req->pieces[i].gpa);
        uint32_t part = MIN(req->pieces[i].len, len);

        for (uint32_t j = 0; j < part && at + j < AREA_BYTES; j++) {
            fuzz_require(req->data_in || offset + j < FUZZ_DISK_STORE
                             ? area(g)[at + j] ==
                                   fuzz_disk_byte(disk, offset + j)
                             : true,
                         "A block has another content than the guest's "
                         "memory.");
        }
        offset += part;
        len -= part;
    }
}

static void check_answer(ScsiGuest *g, unsigned channel,
                         const VscStorageAnswer *answer)
{
    const StorSrb *srb = &answer->packet.srb;
    ScsiRequest *req = &g->requests[answer->trans_id - 1];

    fuzz_require(answer->trans_id && answer->trans_id <= g->sent &&
                     req->asked && req->channel == channel,
                 "The host answered what it was not asked.");
    fuzz_require(!req->answered, "The host answered a request twice.");
    fuzz_require(answer->type == VMBUS_PKT_COMP &&
                     answer->packet.header.operation == STOR_COMPLETE_IO &&
                     answer->len >= 48 && answer->len <= 64,
                 "The host sent an answer that is none.");
    req->answered = true;
    g->waiting--;
    if (req->lun == 0xff) {
        return;
    }
    fuzz_require(srb->data_transfer_length <= req->data_len,
                 "A request transferred more than it has room for.");
    fuzz_require(srb->sense_length <= STOR_MAX_SENSE &&
                     !srb->sense_length ==
                         !(srb->srb_status & STOR_SRB_AUTOSENSE_VALID),
                 "An answer's sense is none.");
    req->good = srb->srb_status == STOR_SRB_SUCCESS && !srb->scsi_status;
    if (g->alone == req && req->good) {
        compare_blocks(g, req, srb->data_transfer_length);
    }
}

void scsi_guest_take(ScsiGuest *g, unsigned channel, unsigned count)
{
    VscStorageAnswer answer;

    while (count-- && !g->spoiled && g->storage.chan[channel] &&
           vsc_storage_next(&g->storage, channel, &answer)) {
        check_answer(g, channel, &answer);
    }
}

void scsi_guest_expect_all(ScsiGuest *g)
{
    /* The rings hold fewer answers than there may be. */
    for (unsigned before = UINT_MAX; g->waiting && g->waiting < before;) {
        before = g->waiting;
        fuzz_machine_pump();
        for (unsigned i = 0; i < 2; i++) {
            scsi_guest_take(g, i, UINT_MAX);
        }
    }
    fuzz_require(!g->waiting || g->spoiled, "A request was not answered.");
}
