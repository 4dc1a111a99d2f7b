/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ic-fuzz.h"

typedef struct Message {
    IcPipeHeader pipe;
    IcHeader header;
    uint8_t body[7500];
} __attribute__((packed)) Message;

static void offer(IcFuzz *f)
{
    const char *err = NULL;

    f->host =
        vmbus_bus_offer(f->machine->bus, f->offer, f->ops, f->engine, &err);
    fuzz_require(f->host, "The bus refused a device.");
}

static void take_all(IcFuzz *f)
{
    VmbusMsg msg;
    uint32_t len;

    while (vsc_next(f->vsc, &msg, &len)) {
    }
}

static void connect(IcFuzz *f)
{
    take_all(f);
    fuzz_require(vsc_connect(f->vsc, VMBUS_VERSION_5_3) &&
                     vsc_request_offers(f->vsc),
                 "A good guest could not connect.");
}

void ic_fuzz_start(IcFuzz *f)
{
    f->machine = vsc_machine_new(FUZZ_PAGES, false);
    f->vsc = vsc_new(f->machine);
    offer(f);
    connect(f);
}

static void open_rings(IcFuzz *f, uint32_t out_pages, uint32_t in_pages)
{
    const VmbusMsgOffer *found;

    take_all(f);
    if (!f->host) {
        offer(f);
    }
    /* A withdrawn device comes back when the guest has let the old one go. */
    connect(f);
    found = vsc_find_offer(f->vsc, &f->offer->class_id);
    fuzz_require(found, "A device was not offered.");
    vsc_machine_reset_ram(f->machine);
    f->guest = vsc_open(f->vsc, found, out_pages, in_pages, 0);
    fuzz_require(f->guest, "A good guest could not open a channel.");
    f->request_len = 0;
}

static void close_rings(IcFuzz *f, bool abandon)
{
    take_all(f);
    if (!f->guest) {
        return;
    }
    if (abandon) {
        vsc_abandon(f->guest);
        connect(f);
    } else {
        vsc_close(f->guest);
    }
    f->guest = NULL;
}

void ic_fuzz_reopen(IcFuzz *f)
{
    close_rings(f, false);
    open_rings(f, 6, 6);
}

static bool read_request(IcFuzz *f, Message *msg)
{
    uint32_t len = vsc_receive(f->guest, f->request, sizeof(f->request));
    const uint32_t head = sizeof(VmbusPacketDescriptor);

    memset(msg, 0, sizeof(*msg));
    if (!len) {
        return false;
    }
    fuzz_require(len >= head + sizeof(msg->pipe) + sizeof(msg->header),
                 "The host sent less than a message.");
    memcpy(msg, f->request + head, MIN(len - head, sizeof(*msg)));
    fuzz_require(
        msg->pipe.type == IC_PIPE_DATA &&
            msg->pipe.size <= len - head - sizeof(msg->pipe) &&
            msg->header.message_size == msg->pipe.size - sizeof(msg->header) &&
            msg->header.flags == (IC_FLAG_TRANSACTION | IC_FLAG_REQUEST),
        "The host sent a message that is not in order.");
    return true;
}

/* Chooses the first or another version of those that were offered. */
static void negotiate(FuzzInput *in, Message *msg)
{
    IcNegotiate head;
    IcWireVersion choice[2];
    const uint8_t *offered = msg->body + sizeof(head);

    memcpy(&head, msg->body, sizeof(head));
    memcpy(&choice[0], offered + 4 * (fuzz_u8(in) % head.framework_count), 4);
    memcpy(&choice[1],
           offered +
               4 * (head.framework_count + (head.message_count - 1 -
                                            fuzz_u8(in) % head.message_count)),
           4);
    head.framework_count = head.message_count = 1;
    memcpy(msg->body, &head, sizeof(head));
    memcpy(msg->body + sizeof(head), choice, sizeof(choice));
    msg->header.message_size = sizeof(head) + sizeof(choice);
}

static void good_answer(IcFuzz *f, FuzzInput *in, Message *msg)
{
    IcHeader request = msg->header;

    msg->header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    if (request.message_type == IC_MESSAGE_NEGOTIATE) {
        negotiate(in, msg);
    } else {
        f->answer(in, &request, msg->body, &msg->header);
    }
}

static void spoil(FuzzInput *in, Message *msg)
{
    uint8_t *bytes = (uint8_t *)msg;
    uint32_t at;

    switch (fuzz_u8(in) % 8) {
    case 0:
        msg->pipe.size = fuzz_value(in, 4, 0, 64);
        break;
    case 1:
        msg->pipe.type = fuzz_value(in, 4, 0, 3);
        break;
    case 2:
        msg->header.message_size = fuzz_value(in, 2, 0, 32);
        break;
    case 3:
        msg->header.message_type = fuzz_value(in, 2, 0, 8);
        break;
    case 4:
        msg->header.transaction_id = fuzz_u8(in);
        break;
    case 5:
        msg->header.flags = fuzz_u8(in);
        break;
    case 6:
        msg->header.status = fuzz_value(in, 4, 0, 2);
        break;
    default:
        at = fuzz_below(in, 80);
        bytes[at] = fuzz_u8(in);
        break;
    }
}

static void write_message(IcFuzz *f, FuzzInput *in, const Message *msg,
                          uint32_t len)
{
    uint16_t type =
        fuzz_chance(in, 5) ? fuzz_value(in, 2, 6, 6) : VMBUS_PKT_DATA_INBAND;
    VmbusPacketDescriptor desc = {.type = type};
    bool signal;

    if (vsc_ring_write(&f->guest->out, &desc, sizeof(desc), msg, len,
                       &signal) &&
        signal) {
        vsc_machine_signal(f->machine, f->guest->connection_id);
    }
}

static void answer(IcFuzz *f, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);
    Message msg;
    uint32_t len;

    if (!f->guest || !read_request(f, &msg)) {
        return;
    }
    good_answer(f, in, &msg);
    len = MIN(sizeof(msg.pipe) + msg.pipe.size, sizeof(msg));
    for (unsigned i = how % 8; i > 5; i--) {
        spoil(in, &msg);
    }
    if (how >= 0xf0) {
        len = fuzz_below(in, len + 1);
    }
    write_message(f, in, &msg, len);
    if (how >= 0xe0 && how < 0xf0) { /* and once more */
        write_message(f, in, &msg, len);
    }
}

static void garbage(IcFuzz *f, FuzzInput *in)
{
    Message msg = {
        .pipe = {IC_PIPE_DATA, fuzz_value(in, 4, sizeof(IcHeader), 40)},
        .header = {.message_type = fuzz_value(in, 2, 0, 8),
                   .message_size = fuzz_value(in, 2, 0, 32),
                   .transaction_id = fuzz_u8(in),
                   .flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE},
    };

    if (f->guest) {
        fuzz_copy(in, msg.body, fuzz_below(in, 32));
        write_message(f, in, &msg, fuzz_value(in, 2, 28, 60) % sizeof(msg));
    }
}

static void flood(IcFuzz *f, FuzzInput *in)
{
    VmbusPacketDescriptor desc = {.type = VMBUS_PKT_DATA_INBAND};
    uint32_t count = fuzz_below(in, 64) * 32;
    bool signal;

    if (!f->guest) {
        return;
    }
    while (count-- && vsc_ring_write(&f->guest->out, &desc, sizeof(desc), NULL,
                                     0, &signal)) {
    }
    vsc_machine_signal(f->machine, f->guest->connection_id);
}

/* The guest breaks a ring: its channel closes. */
static void corrupt(IcFuzz *f, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    if (f->guest) {
        VscRing *ring = how & 1 ? &f->guest->in : &f->guest->out;
        uint32_t *index =
            how & 2 ? &ring->control->read_index : &ring->control->write_index;

        *index = fuzz_value(in, 4, 0, 64) * (how & 4 ? 1 : 8);
        vsc_machine_signal(f->machine, f->guest->connection_id);
        close_rings(f, how & 8);
    }
}

void ic_fuzz_step(IcFuzz *f, FuzzInput *in)
{
    uint8_t what = fuzz_u8(in) % 32;

    switch (what) {
    case 0 ... 17:
        answer(f, in);
        break;
    case 18 ... 20:
        garbage(f, in);
        break;
    case 21:
        flood(f, in);
        break;
    case 22:
        corrupt(f, in);
        break;
    case 23:
    case 24:
        close_rings(f, fuzz_u8(in) & 1);
        break;
    case 25:
        if (f->host) {
            vmbus_bus_withdraw(f->machine->bus, f->host);
            f->host = NULL;
            close_rings(f, false);
        }
        break;
    case 26:
        vsc_machine_reset(f->machine);
        close_rings(f, true);
        connect(f);
        break;
    default:
        if (!f->guest) {
            uint32_t out_pages = 2 + fuzz_below(in, 8);

            open_rings(f, out_pages, 2 + fuzz_below(in, 8));
        } else {
            vsc_machine_signal(f->machine, f->guest->connection_id);
        }
        break;
    }
}

void ic_fuzz_answer_all(IcFuzz *f, FuzzInput *in)
{
    Message msg;

    while (read_request(f, &msg)) {
        good_answer(f, in, &msg);
        write_message(f, in, &msg, sizeof(msg.pipe) + msg.pipe.size);
    }
}

void ic_fuzz_check_port(const IcFuzz *f, const IcPort *port)
{
    unsigned used = 0;

    fuzz_require(!port->chan == (port->state == IC_CLOSED),
                 "A service's channel and state disagree.");
    fuzz_require(!port->chan ||
                     (port->chan == f->host && vmbus_channel_is_open(f->host)),
                 "A service uses a channel that is closed.");
    for (unsigned i = 0; i < G_N_ELEMENTS(port->slot); i++) {
        used += port->slot[i].used;
    }
    fuzz_require(used == port->in_flight,
                 "A service's requests in flight are miscounted.");
    /* The negotiation is not counted against the limit. */
    fuzz_require(used <= port->service->max_in_flight + 1u,
                 "A service has too many requests in flight.");
    fuzz_require((port->state == IC_READY || port->state == IC_MUTED) ||
                     !port->message_version,
                 "A service has versions and is not ready.");
}

void ic_fuzz_check(const IcFuzz *f, const IcPort *port)
{
    const char *why = vmbus_bus_check(f->machine->bus);
    uint64_t sum = 0;

    fuzz_require(!why, why);
    ic_fuzz_check_port(f, port);
    for (unsigned i = 0; i < IC_REFUSAL_COUNT; i++) {
        sum += port->refusals[i];
    }
    fuzz_require(sum == port->refused && !port->refused == !port->last_refusal,
                 "A service's refusals are miscounted.");
}

void ic_fuzz_end(IcFuzz *f)
{
    close_rings(f, false);
    if (f->host) {
        vmbus_bus_withdraw(f->machine->bus, f->host);
    }
    take_all(f);
    vsc_free(f->vsc);
    vsc_machine_free(f->machine);
}
