/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One open channel.  While the guest is honest, packets must arrive in order
 * and unchanged, and nobody may sleep for want of a signal.  When it is not,
 * it writes what it likes, also between two accesses of the host.
 */
#include "bus-fuzz.h"

#define MAX_CHANGES 8
#define MAX_DATA    2048

/* A write of the guest, as so many accesses of the host from now on. */
typedef struct Change {
    unsigned countdown; /* 0: done */
    uint8_t *at;
    uint32_t value;
} Change;

typedef struct Rings {
    FuzzBus *f;
    VscChannel *chan; /* NULL: closed */
    FuzzDevice *device;
    bool honest;
    uint64_t sent, received;            /* guest to host */
    uint64_t host_sent, guest_received; /* host to guest */
    bool device_asleep;                 /* the last receive said empty */
    bool device_waits;                  /* the last send said full */
    Change changes[MAX_CHANGES];
} Rings;

static Rings rings;

/* Of the ring code, by touch.h. */
void fuzz_touch(void);

void fuzz_touch(void)
{
    for (unsigned i = 0; i < MAX_CHANGES; i++) {
        Change *change = &rings.changes[i];

        if (change->countdown && --change->countdown == 0) {
            memcpy(change->at, &change->value, sizeof(change->value));
        }
    }
}

static uint8_t pattern(uint64_t number, uint32_t i)
{
    return number * 31 + i;
}

static void make_data(uint8_t *data, uint64_t number, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        data[i] = pattern(number, i);
    }
}

static void check_data(const uint8_t *data, uint64_t number, uint32_t len)
{
    uint32_t real;

    /* Its first bytes say how long it was before it was padded. */
    if (len < sizeof(real)) {
        return;
    }
    memcpy(&real, data, sizeof(real));
    fuzz_require(real <= len && len - real < 8, "A packet's length changed.");
    for (uint32_t i = sizeof(real); i < len; i++) {
        fuzz_require(data[i] == (i < real ? pattern(number, i) : 0),
                     "A packet's data changed.");
    }
}

static uint32_t make_payload(FuzzInput *in, uint8_t *data, uint64_t number)
{
    uint32_t len = 4 + fuzz_value(in, 2, 0, 100) % (MAX_DATA - 4);

    make_data(data, number, len);
    memcpy(data, &len, sizeof(len));
    return len;
}

static void receive_all(void)
{
    VmbusRingResult result;
    VmbusPacket pkt;

    while ((result = vmbus_channel_receive(rings.device->chan, &pkt)) ==
           VMBUS_RING_OK) {
        fuzz_look_at(&pkt);
        if (rings.honest) {
            fuzz_require(pkt.trans_id == rings.received,
                         "A packet was lost, or came twice.");
            check_data(pkt.data, pkt.trans_id, pkt.data_len);
            rings.received++;
        }
    }
    fuzz_require(!rings.honest || result == VMBUS_RING_EMPTY,
                 "The ring of an honest guest was found corrupt.");
    rings.device_asleep = result == VMBUS_RING_EMPTY;
    fuzz_require(!rings.honest || rings.sent == rings.received,
                 "A packet was left in the ring.");
}

static void write_packet(FuzzBus *f, FuzzInput *in)
{
    static const uint16_t types[] = {VMBUS_PKT_DATA_INBAND, VMBUS_PKT_COMP,
                                     VMBUS_PKT_DATA_GPA_DIRECT};
    struct {
        VmbusPacketDescriptor desc;
        VmbusGpaDirectHeader head;
        VmbusGpaRange range;
        uint64_t page;
    } packet = {
        .desc = {.type = types[fuzz_below(in, G_N_ELEMENTS(types))],
                 .trans_id = rings.sent},
        .head.range_count = 1,
        .range.byte_count = 100,
        .page = 5,
    };
    uint32_t head_len = packet.desc.type == VMBUS_PKT_DATA_GPA_DIRECT
                            ? sizeof(packet)
                            : sizeof(packet.desc);
    uint8_t data[MAX_DATA];
    uint32_t len = make_payload(in, data, rings.sent);
    bool signal, write_signal = fuzz_chance(in, 80);

    if (!rings.chan ||
        (!rings.honest &&
         (rings.chan->out.control->write_index >= rings.chan->out.size ||
          rings.chan->out.control->read_index >= rings.chan->out.size))) {
        return;
    }
    if (!vsc_ring_write(&rings.chan->out, &packet, head_len, data, len,
                        &signal)) {
        return;
    }
    rings.sent++;
    fuzz_require(!rings.honest || !rings.device_asleep || signal,
                 "The host sleeps and does not want to be woken.");
    rings.device_asleep = false;
    /* A guest may signal too often. */
    if (signal || !write_signal) {
        vsc_machine_signal(f->machine, rings.chan->connection_id);
    }
}

static void signal_host(FuzzBus *f, FuzzInput *in)
{
    if (rings.chan) {
        vsc_machine_signal(f->machine, rings.chan->connection_id);
    }
}

static void device_receives(FuzzBus *f, FuzzInput *in)
{
    if (rings.chan) {
        receive_all();
    }
}

static void flush(void)
{
    bool empty, signalled, any;

    if (!rings.honest || !rings.chan) {
        vmbus_channel_flush(rings.device->chan);
        return;
    }
    empty = rings.chan->in.control->read_index ==
            rings.chan->in.control->write_index;
    vsc_interrupted(rings.chan);
    vmbus_channel_flush(rings.device->chan);
    any = rings.chan->in.control->read_index !=
          rings.chan->in.control->write_index;
    signalled = vsc_interrupted(rings.chan);
    fuzz_require(!(empty && any) || signalled,
                 "The guest sleeps and was not woken.");
}

static void device_sends(FuzzBus *f, FuzzInput *in)
{
    uint8_t data[MAX_DATA];
    uint32_t len = make_payload(in, data, rings.host_sent);
    uint32_t cut = fuzz_value(in, 2, 0, 64) % (len + 1);
    struct iovec iov[] = {{data, cut}, {data + cut, len - cut}};
    bool at_once = fuzz_chance(in, 60);
    VmbusRingResult result;

    if (!rings.chan) {
        return;
    }
    result = vmbus_channel_send(rings.device->chan, VMBUS_PKT_COMP, 0,
                                rings.host_sent, iov, G_N_ELEMENTS(iov));
    rings.host_sent += result == VMBUS_RING_OK;
    rings.device_waits = result == VMBUS_RING_FULL;
    fuzz_require(!rings.honest || result != VMBUS_RING_CORRUPT,
                 "The ring of an honest guest was found corrupt.");
    if (at_once) {
        flush();
    }
}

static void device_flushes(FuzzBus *f, FuzzInput *in)
{
    flush();
}

static void guest_reads(FuzzBus *f, FuzzInput *in)
{
    VmbusPacketDescriptor desc;
    uint8_t buf[MAX_DATA + sizeof(desc)];
    bool signal = false;
    uint32_t len;

    if (!rings.chan) {
        return;
    }
    if (!rings.honest) {
        VmbusRingControl *control = rings.chan->in.control;

        control->read_index = control->write_index;
        signal_host(f, in);
        return;
    }
    while ((len = vsc_ring_read(&rings.chan->in, buf, sizeof(buf)))) {
        memcpy(&desc, buf, sizeof(desc));
        fuzz_require(desc.trans_id == rings.guest_received,
                     "A packet of the host was lost, or came twice.");
        check_data(buf + sizeof(desc), desc.trans_id, len - sizeof(desc));
        rings.guest_received++;
        signal |= vsc_ring_read_done(&rings.chan->in);
    }
    /* What was not flushed does not count: only a full ring must wake us. */
    fuzz_require(!rings.device_waits || signal,
                 "The host waits for room and does not want to be woken.");
    rings.device_waits = false;
    if (signal) {
        signal_host(f, in);
    }
}

static void go_wild(void)
{
    rings.honest = false;
}

static uint8_t *control_field(FuzzInput *in)
{
    static const uint16_t fields[] = {0, 4, 8, 12, 64};
    uint8_t how = fuzz_u8(in);
    VscRing *ring = how & 1 ? &rings.chan->in : &rings.chan->out;

    return (uint8_t *)ring->control + fields[how / 2 % G_N_ELEMENTS(fields)];
}

/* A field of the next packet's descriptor, or what is near it. */
static uint8_t *packet_field(FuzzInput *in)
{
    VscRing *ring = &rings.chan->out;
    uint32_t index = ring->control->read_index;

    index = (index % ring->size + fuzz_below(in, 24) * 2) & ~1u;
    if (index % VMBUS_PAGE_SIZE > VMBUS_PAGE_SIZE - 4) {
        index = 0;
    }
    return ring->pages[1 + index % ring->size / VMBUS_PAGE_SIZE] +
           index % VMBUS_PAGE_SIZE;
}

static uint8_t *some_field(FuzzInput *in)
{
    return fuzz_chance(in, 50) ? packet_field(in) : control_field(in);
}

static uint32_t some_value(FuzzInput *in)
{
    uint32_t value = fuzz_value(in, 4, 0, 128);

    return fuzz_chance(in, 60) ? value * 8 : value;
}

static void change_now(FuzzBus *f, FuzzInput *in)
{
    if (rings.chan) {
        uint8_t *at = some_field(in);
        uint32_t value = some_value(in);

        go_wild();
        memcpy(at, &value, sizeof(value));
    }
}

static void change_later(FuzzBus *f, FuzzInput *in)
{
    Change *change = &rings.changes[fuzz_below(in, MAX_CHANGES)];

    if (rings.chan) {
        go_wild();
        change->countdown = 1 + fuzz_below(in, 40);
        change->at = some_field(in);
        change->value = some_value(in);
    }
}

/* The descriptor changes while the host is at this very packet. */
static void attack(FuzzBus *f, FuzzInput *in)
{
    VmbusRingIn *host = &rings.device->chan->in;
    uint32_t index;

    if (!rings.chan || !vmbus_channel_is_open(rings.device->chan)) {
        return;
    }
    go_wild();
    write_packet(f, in);
    if (!rings.chan || !vmbus_channel_is_open(rings.device->chan)) {
        return;
    }
    index = host->read + fuzz_below(in, 4) * 2;
    if (host->read + 8 <= rings.chan->out.size &&
        index % VMBUS_PAGE_SIZE <= VMBUS_PAGE_SIZE - 4) {
        rings.changes[0] = (Change){
            .countdown = 1 + fuzz_below(in, 8),
            .at = rings.chan->out.pages[1 + index / VMBUS_PAGE_SIZE] +
                  index % VMBUS_PAGE_SIZE,
            .value = some_value(in),
        };
    }
    receive_all();
}

/* Takes packets out of a ring as it is, and puts a descriptor in. */
static void write_descriptor(FuzzBus *f, FuzzInput *in)
{
    VmbusPacketDescriptor desc = {
        .type = fuzz_value(in, 2, VMBUS_PKT_DATA_INBAND, 6),
        .offset8 = fuzz_value(in, 2, 2, 3),
        .len8 = fuzz_value(in, 2, 2, 64),
        .flags = fuzz_value(in, 2, 0, 2),
    };
    VscRing *ring;
    uint32_t at, step;

    if (!rings.chan) {
        return;
    }
    go_wild();
    ring = &rings.chan->out;
    at = ring->control->write_index % ring->size & ~7u;
    vsc_ring_copy_in(ring, at, &desc, sizeof(desc));
    step = fuzz_value(in, 2, desc.len8 * 8 + 8, 1) & ~7u;
    ring->control->write_index = (at + step) % ring->size;
}

static void open_rings(FuzzBus *f, uint32_t out_pages, uint32_t in_pages)
{
    vsc_machine_reset_ram(f->machine);
    rings = (Rings){
        .f = f,
        .device = &f->devices[0],
        .honest = true,
    };
    f->devices[0].habits = FUZZ_IGNORE_SIGNAL;
    rings.chan =
        vsc_open(f->vsc, &g_array_index(f->vsc->offers, VmbusMsgOffer, 0),
                 out_pages, in_pages, 0);
    fuzz_require(rings.chan, "An open channel could not be opened.");
}

static void close_rings(void)
{
    if (rings.chan) {
        memset(rings.changes, 0, sizeof(rings.changes));
        vsc_close(rings.chan);
        rings.chan = NULL;
    }
}

static void reopen(FuzzBus *f, FuzzInput *in)
{
    uint32_t out_pages = 2 + fuzz_below(in, 4);
    uint32_t in_pages = 2 + fuzz_below(in, 4);

    close_rings();
    fuzz_bus_drain(f);
    open_rings(f, out_pages, in_pages);
}

static void hear(FuzzBus *f, FuzzInput *in)
{
    if (rings.chan) {
        f->devices[0].habits ^= FUZZ_IGNORE_SIGNAL;
        f->devices[0].habits |= FUZZ_ECHO;
        go_wild();
    }
}

static const FuzzStep steps[] = {
    {write_packet, 12},
    {device_receives, 8},
    {device_sends, 12},
    {device_flushes, 3},
    {guest_reads, 8},
    {signal_host, 2},
    {change_now, 3},
    {change_later, 8},
    {write_descriptor, 4},
    {reopen, 2},
    {hear, 1},
    {attack, 6},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    FuzzBus *f = fuzz_bus_new(fuzz_u8(&in) & 1);

    memset(&rings, 0, sizeof(rings));
    fuzz_require(vsc_connect(f->vsc, VMBUS_VERSION_5_3) &&
                     vsc_request_offers(f->vsc),
                 "A good guest could not connect.");
    reopen(f, &in);
    fuzz_bus_run(f, &in, steps, G_N_ELEMENTS(steps));
    close_rings();
    fuzz_bus_finish(f);
    return 0;
}
