/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Harm through VMBus messages. */
#include "hostile.h"

static const uint32_t lengths[] = {0,  1,  4,  7,  8,   11,  12,  15,
                                   16, 20, 39, 40, 147, 148, 239, 240};

static void all_types_and_lengths(void)
{
    VmbusMsg msg;

    for (uint32_t type = 0; type < 40; type++) {
        for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
            for (unsigned fill = 0; fill < 3; fill++) {
                memset(&msg, fill == 1 ? 0xff : 0, sizeof(msg));
                for (unsigned b = 0; fill == 2 && b < sizeof(msg); b++) {
                    msg.bytes[b] = hostile_random() & 3;
                }
                msg.header.type = type < 36 ? type : 0u - type;
                vb_post(&msg, lengths[i]);
                vb_drain();
            }
        }
    }
}

static void types_connected(void)
{
    hostile_connect();
    all_types_and_lengths();
}

static void types_unconnected(void)
{
    hostile_connect();
    vb_unload();
    all_types_and_lengths();
}

/* Each must be answered, and refused. */
static void bad_contacts(void)
{
    static const struct {
        uint32_t version, vp;
        uint8_t sint;
    } bad[] = {
        {VMBUS_VERSION_5_3, 0xffffffff, 2}, {VMBUS_VERSION_5_3, 1000, 2},
        {VMBUS_VERSION_5_3, MAX_CPUS, 2},   {VMBUS_VERSION_5_3, 0x80000000, 2},
        {VMBUS_VERSION_4_0, 0xffffffff, 2}, {VMBUS_VERSION_3_0, 1000, 2},
        {VMBUS_VERSION_5_3, 0, 16},         {VMBUS_VERSION_5_3, 0, 255},
        {VMBUS_VERSION_5_3, 1000, 255},     {0xffffffff, 0xffffffff, 2},
    };
    unsigned silent = 0, accepted = 0;
    VmbusMsg msg;

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        vb_post_contact(bad[i].version, bad[i].vp, bad[i].sint,
                        bad[i].version >= VMBUS_VERSION_5_0
                            ? VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID
                            : VMBUS_MESSAGE_CONNECTION_ID);
        if (!vb_expect(VMBUS_MSG_VERSION_RESPONSE, &msg)) {
            print("# contact %u: no answer\n", i);
            silent++;
        } else if (msg.version_response.supported &&
                   !msg.version_response.connection_state) {
            print("# contact %u: accepted\n", i);
            accepted++;
        }
    }
    tap(!silent && !accepted, "bad contacts are answered and refused",
        "%u had no answer, %u were accepted", silent, accepted);
}

struct bad_gpadl {
    uint16_t buflen, count;
    uint32_t byte_count, byte_offset;
    uint32_t len; /* bytes after the header */
};

static void post_gpadl(uint32_t relid, uint32_t id, const struct bad_gpadl *g)
{
    VmbusMsg msg = {.gpadl_header = {
                        .header.type = VMBUS_MSG_GPADL_HEADER,
                        .relid = relid,
                        .gpadl = id,
                        .range_buflen = g->buflen,
                        .rangecount = g->count,
                    }};
    VmbusGpaRange range = {g->byte_count, g->byte_offset};
    uint32_t at = sizeof(VmbusMsgGpadlHeader);

    memset(msg.bytes + at, 0xff, sizeof(msg) - at);
    memcpy(msg.bytes + at, &range, sizeof(range));
    vb_post(&msg, at + g->len);
}

/* True if the host answered, and refused. */
static bool gpadl_refused(uint32_t relid, uint32_t id,
                          const struct bad_gpadl *g)
{
    VmbusMsg msg;

    post_gpadl(relid, id, g);
    return vb_expect(VMBUS_MSG_GPADL_CREATED, &msg) &&
           msg.gpadl_created.gpadl == id && msg.gpadl_created.status;
}

static void bad_gpadl_headers(void)
{
    static const struct bad_gpadl bad[] = {
        {0, 1, 0xfffff000, 0, 16},       {4, 1, 0xfffff000, 0, 16},
        {7, 1, 0xfffff000, 0, 16},       {8, 1, 0xfffff000, 0, 8},
        {8, 1, 0xfffff000, 0, 16},       {16, 1, 0xfffff000, 0, 16},
        {16, 1, 0xffffffff, 0, 16},      {16, 1, 0x1000, 0xfffff000, 16},
        {16, 1, 0x1000, 0xffffffff, 16}, {16, 1, 0x1000, 1, 16},
        {16, 0, 0x1000, 0, 16},          {16, 2, 0x1000, 0, 16},
        {16, 0xffff, 0x1000, 0, 16},     {0xffff, 1, 0x1000, 0, 16},
        {0xffff, 0xffff, 0x1000, 0, 16}, {17, 1, 0x1000, 0, 16},
        {16, 1, 0x2000, 0, 16},          {16, 1, 0, 0, 16},
    };
    static const struct bad_gpadl good = {16, 1, 0x1000, 0, 16};
    struct vb_channel *hb = hostile_connect();
    unsigned wrong = 0;

    if (!hb) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        if (!gpadl_refused(hb->offer.relid, vb_new_gpadl(), &bad[i])) {
            print("# GPADL %u was not refused\n", i);
            wrong++;
        }
    }
    wrong += !gpadl_refused(0, vb_new_gpadl(), &good);
    wrong += !gpadl_refused(0xffffffff, vb_new_gpadl(), &good);
    wrong += !gpadl_refused(1999, vb_new_gpadl(), &good);
    wrong += !gpadl_refused(hb->offer.relid, 0, &good);
    tap(!wrong, "bad GPADLs are answered and refused", "%u were not", wrong);
}

static void post_body(uint32_t id, uint32_t number, uint32_t len)
{
    VmbusMsg msg = {.gpadl_body = {
                        .header.type = VMBUS_MSG_GPADL_BODY,
                        .msgnumber = number,
                        .gpadl = id,
                    }};

    memset(msg.bytes + sizeof(VmbusMsgGpadlBody), 0xff,
           sizeof(msg) - sizeof(VmbusMsgGpadlBody));
    vb_post(&msg, sizeof(VmbusMsgGpadlBody) + len);
}

static void bad_gpadl_bodies(void)
{
    static const struct bad_gpadl large = {8 + 8 * 100, 1, 100 * 4096, 0, 16};
    struct vb_channel *hb = hostile_connect();
    uint32_t id;
    VmbusMsg msg;

    if (!hb || !vb_prepare_rings(hb, 64)) {
        return;
    }
    for (unsigned i = 0; i < 40; i++) {
        post_body(hb->gpadl, i, i % 2 ? 224 : 8); /* complete already */
        post_body(0xffffffff, i, 8);
        post_body(0, 0xffffffff, 0);
    }
    id = vb_new_gpadl();
    post_gpadl(hb->offer.relid, id, &large);
    post_body(id, 1, 0);
    post_body(id, 0xffffffff, 4);
    for (unsigned i = 0; i < 10; i++) {
        post_body(id, i, 224);
    }
    vb_drain();
    vb_gpadl_teardown(hb->offer.relid, hb->gpadl);
    for (unsigned i = 0; i < 3; i++) {
        msg.gpadl_teardown = (VmbusMsgGpadlTeardown){
            .header.type = VMBUS_MSG_GPADL_TEARDOWN,
            .relid = i == 1 ? 0xffffffff : hb->offer.relid,
            .gpadl = i == 2 ? id : hb->gpadl,
        };
        vb_post(&msg, sizeof(msg.gpadl_teardown));
    }
    hb->gpadl = 0;
    vb_drain();
}

/* GPADLs that are begun and never finished must not pile up for ever. */
static void gpadl_flood(void)
{
    static const struct bad_gpadl begun = {0xfff8, 1, 8190 * 4096u, 0, 220};
    struct vb_channel *hb = hostile_connect();
    unsigned refused = 0;
    VmbusMsg msg;

    for (unsigned i = 0; hb && i < 20000 && !refused; i++) {
        post_gpadl(hb->offer.relid, vb_new_gpadl(), &begun);
        while (vb_receive(&msg, 0)) {
            refused += msg.header.type == VMBUS_MSG_GPADL_CREATED &&
                       msg.gpadl_created.status;
        }
    }
    tap(refused, "the host does not take GPADLs without end",
        "20000 of 8190 pages each were taken");
}

static void bad_opens(void)
{
    static const uint32_t offsets[] = {
        0, 1, 7, 8, 9, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
    };
    struct vb_channel *hb = hostile_connect();
    unsigned accepted = 0;
    uint32_t gpadl;

    if (!hb || !vb_prepare_rings(hb, 8)) {
        return;
    }
    gpadl = hb->gpadl;
    for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
        if (!vb_open_raw(hb, gpadl, 0, offsets[i])) {
            print("# ring offset 0x%x was accepted\n", offsets[i]);
            accepted++;
        }
    }
    accepted += !vb_open_raw(hb, 0, 0, 4);
    accepted += !vb_open_raw(hb, gpadl + 1000, 0, 4);
    accepted += !vb_open_raw(hb, 0xffffffff, 0, 4);
    accepted += !vb_open_raw(hb, gpadl, 1000, 4);
    accepted += !vb_open_raw(hb, gpadl, MAX_CPUS, 4);
    accepted += !vb_open_raw(hb, gpadl, 0xfffffffe, 4);
    tap(!accepted, "bad opens are answered and refused", "%u were accepted",
        accepted);
    tap(!vb_open_raw(hb, gpadl, 0, 4) && vb_open_raw(hb, gpadl, 0, 4),
        "a good one opens, and not twice", "it is otherwise");
    vb_close(hb);
    tap(vb_prepare_rings(hb, 8) &&
            !vb_open_raw(hb, hb->gpadl, VMBUS_VP_NONE, 4),
        "a channel without interrupts is legal", "it was refused");
    vb_close(hb);
}

/* Relids that there are not, and messages for channels in another state. */
static void bad_relids(void)
{
    static const uint32_t types[] = {
        VMBUS_MSG_CLOSECHANNEL,
        VMBUS_MSG_RELID_RELEASED,
        VMBUS_MSG_MODIFYCHANNEL,
        VMBUS_MSG_GPADL_TEARDOWN,
    };
    static const uint32_t relids[] = {
        0, 1, 2, 3, 2047, 2048, 0x10000, 0x7fffffff, 0xffffffff};
    struct vb_channel *hb = hostile_connect();
    VmbusMsg msg;

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned t = 0; t < ARRAY_LEN(types); t++) {
            for (unsigned i = 0; i < ARRAY_LEN(relids); i++) {
                memset(&msg, 0xff, sizeof(msg));
                msg.modify_channel = (VmbusMsgModifyChannel){
                    .header.type = types[t],
                    .relid = relids[i],
                    .target_vp = i,
                };
                vb_post(&msg, sizeof(msg.modify_channel));
                vb_drain();
            }
        }
        if (hb && !round) {
            vb_open(hb, 0, 8);
        }
    }
}

/* A guest that asks and never listens. */
static void flood_without_eom(void)
{
    VmbusMsg msg;
    unsigned taken = 0;

    hostile_connect();
    vb.hold = true;
    memset(&msg, 0xff, sizeof(msg));
    msg.header.type = VMBUS_MSG_OPENCHANNEL;
    while (taken < 10000 &&
           vb_post_to(vb.conn_id, &msg, 148, 0) == HV_SUCCESS) {
        taken++;
    }
    tap(taken < 10000, "a host whose answers nobody takes says that it is busy",
        "it took %u messages", taken);
    vb_release();
    tap(wait_for(vb_post_to(vb.conn_id, &msg, 148, 0) == HV_SUCCESS,
                 VB_TIMEOUT_US),
        "and goes on when somebody does", "it is busy still");
    delay_us(20000);
    vb_drain();
}

static volatile bool stop;
static struct hv_post_message shared_input __attribute__((aligned(4096)));

static void change_input(void *arg)
{
    static const uint32_t sizes[] = {8, 241, 0xffffffff, 40, 0x10000, 240};

    for (unsigned i = 0; !stop; i++) {
        shared_input.payload_size = sizes[i % ARRAY_LEN(sizes)];
        shared_input.payload[0] = i % 40;
        __asm__ volatile("" ::: "memory");
    }
}

/* The input changes between the host's check and the host's use. */
static void changing_input(void)
{
    uint64_t end = time_us() + 1000000;

    hostile_connect();
    stop = false;
    shared_input.connection_id = vb.conn_id;
    shared_input.message_type = HV_MSG_VMBUS;
    run_on_start(1, change_input, NULL);
    while (time_us() < end) {
        hv_hypercall(HV_CALL_POST_MESSAGE, (uintptr_t)&shared_input, 0);
        vb_drain();
    }
    stop = true;
    run_on_wait(1);
    vb_drain();
}

/* Random legal-looking messages from every processor at once. */
static void post_at_random(void *arg)
{
    static const uint8_t lens[] = {40, 8, 148, 12, 60, 16, 16, 12};
    static const uint8_t types[] = {
        VMBUS_MSG_INITIATE_CONTACT, VMBUS_MSG_REQUESTOFFERS,
        VMBUS_MSG_OPENCHANNEL,      VMBUS_MSG_CLOSECHANNEL,
        VMBUS_MSG_GPADL_HEADER,     VMBUS_MSG_GPADL_TEARDOWN,
        VMBUS_MSG_MODIFYCHANNEL,    VMBUS_MSG_UNLOAD,
    };
    uint64_t end = time_us() + 1000000;

    while (time_us() < end) {
        unsigned which = hostile_random() % ARRAY_LEN(types);
        VmbusMsg msg;

        memset(&msg, 0, sizeof(msg));
        for (unsigned i = 0; i < lens[which] / 4; i++) {
            uint32_t v = hostile_random() % 5;

            memcpy(msg.bytes + 4 * i, &v, 4);
        }
        msg.header.type = types[which];
        if (which == 0) {
            msg.initiate_contact.version = VMBUS_VERSION_5_3;
            msg.initiate_contact.monitor_page1 = 0;
            msg.initiate_contact.monitor_page2 = 0;
        }
        vb_post_to(1 + hostile_random() % 2 * 3, &msg, lens[which], 0);
        hv_signal(0x2000 + hostile_random() % 8);
    }
}

static void all_at_random(void)
{
    hostile_connect();
    run_on_others_start(post_at_random, NULL);
    post_at_random(NULL);
    run_on_others_wait();
    delay_us(20000);
    vb_drain();
}

static const struct hostile_batch batches[] = {
    {"all types and lengths, connected", types_connected, 1},
    {"all types and lengths, not connected", types_unconnected, 1},
    {"contacts for what there is not", bad_contacts, 1},
    {"GPADL headers with impossible ranges", bad_gpadl_headers, 1},
    {"GPADL bodies too many", bad_gpadl_bodies, 1},
    {"GPADLs without end", gpadl_flood, 1},
    {"channels opened wrongly", bad_opens, 1},
    {"messages for other relids", bad_relids, 1},
    {"messages without end and nobody who listens", flood_without_eom, 1},
    {"input that changes while it is read", changing_input, 2},
    {"messages of all processors at random", all_at_random, 1},
};

void hostile_messages(void)
{
    hostile_run(batches, ARRAY_LEN(batches));
}
