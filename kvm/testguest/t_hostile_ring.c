/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Harm through the rings of an open channel. */
#include "devices/ic-protocol.h"
#include "hostile.h"

#define PAGES 8

/* A channel that is open and has agreed on versions; or NULL. */
static struct vb_channel *open_heartbeat(void)
{
    struct vb_channel *hb = hostile_connect();

    if (hb && (!vb_open(hb, 0, PAGES) || !vb_heartbeats(hb, 1))) {
        tap(false, "a channel for a batch", "it does not open");
        return NULL;
    }
    return hb;
}

/* The channel may be corrupt by now; the guest closes and opens it anew. */
static bool reopen(struct vb_channel *hb)
{
    return vb_close(hb) && vb_open(hb, 0, PAGES) && vb_heartbeats(hb, 1);
}

static void rings_outside_ram(void)
{
    struct vb_channel *hb = hostile_connect();
    unsigned accepted = 0;

    for (unsigned i = 0; hb && i < hostile_address_count; i++) {
        bool ram = hostile_is_ram(hostile_addresses[i]);

        for (unsigned bad = 0; !ram && bad < PAGES; bad++) {
            uint32_t id = vb_new_gpadl();
            uint64_t pfns[PAGES];

            for (unsigned p = 0; p < PAGES; p++) {
                pfns[p] = (p == bad ? hostile_addresses[i]
                                    : (uintptr_t)hb->memory + p * PAGE_SIZE) >>
                          VMBUS_PAGE_SHIFT;
            }
            if (vb_gpadl_create(hb->offer.relid, id, pfns, PAGES)) {
                if (!vb_open_raw(hb, id, 0, PAGES / 2)) {
                    print("# page %u at 0x%lx was accepted\n", bad,
                          hostile_addresses[i]);
                    accepted++;
                }
                hb->gpadl = id;
                vb_close(hb);
            }
        }
    }
    tap(hb && !accepted, "rings that are not RAM are refused",
        "%u were accepted", accepted);
}

static void rings_of_page_numbers(void)
{
    static const uint64_t odd[] = {
        ~0ull, 1ull << 63, 1ull << 52, (1ull << 52) - 1, 0xffffffff, 1ull << 32,
    };
    struct vb_channel *hb = hostile_connect();
    unsigned accepted = 0;

    for (unsigned i = 0; hb && i < ARRAY_LEN(odd); i++) {
        uint32_t id = vb_new_gpadl();
        uint64_t pfns[PAGES];

        for (unsigned p = 0; p < PAGES; p++) {
            pfns[p] = odd[i] - p;
        }
        if (vb_gpadl_create(hb->offer.relid, id, pfns, PAGES)) {
            accepted += !vb_open_raw(hb, id, 0, PAGES / 2);
            hb->gpadl = id;
            vb_close(hb);
        }
    }
    tap(hb && !accepted, "page numbers out of any range are refused",
        "%u were accepted", accepted);
}

/* One page many times over, and pages that are somebody else's. */
static void rings_that_overlap(void)
{
    struct vb_channel *hb = hostile_connect();
    uint64_t bases[4];

    if (!hb) {
        return;
    }
    if (!vb_prepare_rings(hb, PAGES)) {
        return;
    }
    vb_close(hb);
    bases[0] = (uintptr_t)hb->memory;
    bases[1] = (uintptr_t)hv_vps[0].messages;
    bases[2] = (uintptr_t)hv_vps[0].events;
    bases[3] = 0;
    for (unsigned i = 0; i < ARRAY_LEN(bases); i++) {
        uint32_t id = vb_new_gpadl();
        uint64_t pfns[PAGES];

        for (unsigned p = 0; p < PAGES; p++) {
            pfns[p] = bases[i] >> VMBUS_PAGE_SHIFT;
        }
        memset(hb->memory, 0, PAGE_SIZE);
        if (vb_gpadl_create(hb->offer.relid, id, pfns, PAGES)) {
            vb_open_raw(hb, id, 0, PAGES / 2);
            for (unsigned s = 0; s < 20; s++) {
                vb_signal(hb);
            }
            hb->gpadl = id;
            hv_synic_off(0); /* takes the page away from under the ring */
            vb_signal(hb);
            delay_us(1000);
            hv_synic_on(0);
            vb_listen(0, VMBUS_MESSAGE_SINT);
        }
        hb = hostile_connect();
        if (!hb) {
            return;
        }
    }
}

static void bad_indexes(void)
{
    static const uint32_t odd[] = {
        1,
        4,
        8,
        12,
        3 * PAGE_SIZE - 4,
        3 * PAGE_SIZE,
        3 * PAGE_SIZE + 8,
        0x7ffffff8,
        0x80000000,
        0xfffffff8,
        0xffffffff,
    };
    struct vb_channel *hb = open_heartbeat();
    unsigned lost = 0;

    for (unsigned i = 0; hb && i < ARRAY_LEN(odd); i++) {
        volatile VmbusRingControl *out = hb->out, *in = hb->in;

        out->write_index = odd[i];
        vb_signal(hb);
        delay_us(2000);
        lost += !reopen(hb);
        out->read_index = odd[i];
        vb_signal(hb);
        in->write_index = odd[i];
        vb_signal(hb);
        lost += !reopen(hb);
        in->read_index = odd[i];
        in->interrupt_mask = odd[i];
        out->pending_send_size = odd[i];
        out->feature_bits = odd[i];
        vb_signal(hb);
        delay_us(2000);
        lost += !reopen(hb);
    }
    /* Indexes that are wrong when the channel is opened. */
    for (unsigned i = 0; hb && i < 4 * ARRAY_LEN(odd); i++) {
        uint32_t value = odd[i / 4];

        lost += !vb_close(hb) || !vb_prepare_rings(hb, PAGES);
        *(i % 4 == 0   ? &hb->out->write_index
          : i % 4 == 1 ? &hb->out->read_index
          : i % 4 == 2 ? &hb->in->write_index
                       : &hb->in->read_index) = value;
        vb_open_raw(hb, hb->gpadl, 0, hb->offset);
        vb_signal(hb);
    }
    lost += !hb || !reopen(hb);
    tap(!lost, "a channel with broken indexes can be closed and opened again",
        "%u could not", lost);
}

static void bad_packets(void)
{
    static const uint16_t numbers[] = {0, 1, 2, 3, 5, 100, 0x5fc, 0xffff};
    static const uint16_t types[] = {0, 6, 7, 8, 9, 10, 11, 0x7fff, 0xffff};
    struct vb_channel *hb = open_heartbeat();
    uint8_t payload[24];
    unsigned lost = 0;

    memset(payload, 0xff, sizeof(payload));
    for (unsigned i = 0; hb && i < ARRAY_LEN(types) * 64; i++) {
        VmbusPacketDescriptor desc = {
            .type = types[i / 64],
            .offset8 = numbers[i / 8 % 8],
            .len8 = numbers[i % 8],
            .flags = i % 3,
            .trans_id = ~0ull,
        };

        vb_send(hb, &desc, payload, sizeof(payload));
        vb_signal(hb);
        if (!vb_close(hb) || !vb_open(hb, 0, PAGES)) {
            print("# type %u, offset %u, length %u\n", desc.type, desc.offset8,
                  desc.len8);
            lost++;
            break;
        }
    }
    tap(hb && !lost, "a channel with broken packets can be opened again",
        "it can't");
}

/* Packets whose header counts ranges that are not there. */
static void bad_ranges(void)
{
    static const uint32_t counts[] = {
        0, 1, 2, 0xffff, 0x10000001, 0x7fffffff, 0x80000001, 0xffffffff};
    struct vb_channel *hb = open_heartbeat();
    unsigned lost = 0;

    for (unsigned i = 0; hb && i < 2 * ARRAY_LEN(counts); i++) {
        struct {
            uint32_t first, count, byte_count, byte_offset;
            uint64_t pfn;
        } body = {i, counts[i / 2], 0xffffffff, 0xffffffff, ~0ull};
        VmbusPacketDescriptor desc = {
            .type =
                i % 2 ? VMBUS_PKT_DATA_GPA_DIRECT : VMBUS_PKT_DATA_XFER_PAGES,
            .offset8 = 5,
            .len8 = 5,
        };

        vb_send(hb, &desc, &body, sizeof(body));
        vb_signal(hb);
        lost += !vb_close(hb) || !vb_open(hb, 0, PAGES);
    }
    tap(hb && !lost, "a channel with false ranges can be opened again",
        "%u times it could not", lost);
}

/* Answers that no driver gives, well packed. */
static void bad_answers(void)
{
    struct vb_channel *hb = open_heartbeat();
    unsigned lost = 0;

    for (unsigned i = 0; hb && i < 500; i++) {
        struct {
            IcPipeHeader pipe;
            IcHeader header;
            uint32_t body[4];
        } m;
        volatile VmbusRingControl *out = hb->out;

        for (unsigned w = 0; w < sizeof(m) / 4; w++) {
            uint32_t v = hostile_random() >> (hostile_random() % 32);

            memcpy((uint8_t *)&m + 4 * w, &v, 4);
        }
        if (i % 4) {
            m.pipe.type = IC_PIPE_DATA;
            m.pipe.size = i % 8 == 1 ? 0xffffffff : sizeof(m) - 8;
        }
        if (i % 3) {
            m.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
            m.header.transaction_id = i % 5;
            m.header.message_type = i % 2;
        }
        vb_send_inband(hb, &m, sizeof(m));
        if (i % 50 == 49) {
            lost += !reopen(hb);
        } else if (!wait_for(out->read_index == hb->out_write, 20000)) {
            /* Muted or closed by now; both are a host's good right. */
            lost += !reopen(hb);
        }
    }
    tap(hb && !lost, "a service with false answers can be opened again",
        "%u times it could not", lost);
}

static volatile bool stop;

static void scribble(void *arg)
{
    uint32_t *words = arg;

    while (!stop) {
        uint32_t r = hostile_random();

        /* The control pages most often, where it hurts. */
        if (r & 1) {
            words[(r >> 1 & 1 ? PAGES / 2 * PAGE_SIZE / 4 : 0) +
                  (r >> 2) % 17] = (r >> 8) % (4 * PAGE_SIZE) & ~7u;
        } else {
            words[(r >> 1) % (PAGES * PAGE_SIZE / 4)] = r >> (r & 31);
        }
    }
}

/* Everything in the rings changes while the host reads it. */
static void changing_rings(void)
{
    struct vb_channel *hb;
    uint64_t end = time_us() + 1500000;
    unsigned opened = 0;

    stop = false;
    hb = hostile_connect();
    if (!hb || !vb_prepare_rings(hb, PAGES)) {
        return;
    }
    run_on_start(1, scribble, hb->memory);
    while (time_us() < end) {
        opened += !vb_open_raw(hb, hb->gpadl, 0, hb->offset);
        for (unsigned i = 0; i < 50; i++) {
            vb_signal(hb);
        }
        vb_close(hb);
        if (!vb_prepare_rings(hb, PAGES)) {
            break;
        }
    }
    stop = true;
    run_on_wait(1);
    print("# opened %u times\n", opened);
}

static void signal_flood(void)
{
    struct vb_channel *hb = open_heartbeat();

    for (unsigned i = 0; hb && i < 50000; i++) {
        hv_signal(i % 2 ? hb->offer.connection_id : hostile_random() & 0x3fff);
    }
    tap(hb && vb_heartbeats(hb, 1), "signals without end do no harm",
        "heartbeats stopped");
}

static const struct hostile_batch batches[] = {
    {"rings outside of RAM", rings_outside_ram, 1},
    {"rings of impossible pages", rings_of_page_numbers, 1},
    {"rings that overlap with themselves and others", rings_that_overlap, 1},
    {"ring indexes out of range", bad_indexes, 1},
    {"packets with false lengths", bad_packets, 1},
    {"packets with false ranges", bad_ranges, 1},
    {"answers that make no sense", bad_answers, 1},
    {"rings that change while they are read", changing_rings, 2},
    {"signals without end", signal_flood, 1},
};

void hostile_rings(void)
{
    hostile_run(batches, ARRAY_LEN(batches));
}
