/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Our channel: the host's end as QEMU runs it, the guest's end as Linux does
 * it.  An end with nothing to do sleeps until it is signalled.
 */
#include "bus/bus-internal.h"
#include "ring-bench.h"
#include "vsc.h"

#define PAGES (RING_BYTES / VMBUS_PAGE_SIZE + 1)

typedef struct Pair {
    VscMachine *machine;
    Vsc *vsc;
    VmbusMachineOps ops;
    VmbusChannel *host;
    VscChannel *guest;
    Run *run;
    Bell *to_guest, *to_host;
    bool ended; /* the host has received the last packet */
} Pair;

static bool host_open(VmbusChannel *chan, void *opaque)
{
    return true;
}

static void host_close(VmbusChannel *chan, void *opaque)
{
}

/* What a device does: take all that is there. */
static void host_signal(VmbusChannel *chan, void *opaque)
{
    Pair *pair = opaque;
    VmbusPacket pkt;

    while (!pair->ended && vmbus_channel_receive(chan, &pkt) == VMBUS_RING_OK) {
        pair->ended = !run_take(pair->run, (const uint64_t *)pkt.data);
    }
}

static const VmbusChannelOps host_ops = {
    .open = host_open, .close = host_close, .signal = host_signal};

/* The fake machine notes each dirty byte; that is no part of a ring. */
static void no_dirty(void *opaque, VmbusMapping *mapping, uint64_t offset,
                     uint32_t len)
{
}

static void interrupt(void *opaque)
{
    bell_ring(((Pair *)opaque)->to_guest);
}

static Pair *set_up(Run *run)
{
    static const VmbusOffer offer = {
        .name = "bench", .class_id = {{1}}, .instance_id = {{1}}};
    Pair *pair = g_new0(Pair, 1);
    const char *err;

    pair->run = run;
    pair->machine = vsc_machine_new(3 * PAGES, false);
    pair->ops = *pair->machine->bus->ops;
    pair->ops.mark_dirty = no_dirty;
    pair->machine->bus->ops = &pair->ops;
    pair->vsc = vsc_new(pair->machine);
    pair->host =
        vmbus_bus_offer(pair->machine->bus, &offer, &host_ops, pair, &err);
    g_assert_nonnull(pair->host);
    g_assert_true(vsc_connect(pair->vsc, VMBUS_VERSION_5_3));
    g_assert_true(vsc_request_offers(pair->vsc));
    pair->guest =
        vsc_open(pair->vsc, &g_array_index(pair->vsc->offers, VmbusMsgOffer, 0),
                 PAGES, PAGES, 0);
    g_assert_nonnull(pair->guest);
    pair->machine->interrupt = interrupt;
    pair->machine->interrupt_opaque = pair;
    return pair;
}

static void *set_up_to_guest(Run *run)
{
    Pair *pair = set_up(run);

    pair->to_guest = &run->to_receiver;
    pair->to_host = &run->to_sender;
    return pair;
}

static void *set_up_to_host(Run *run)
{
    Pair *pair = set_up(run);

    pair->to_guest = &run->to_sender;
    pair->to_host = &run->to_receiver;
    return pair;
}

static void tear_down(Run *run)
{
    Pair *pair = run->opaque;

    pair->machine->interrupt = NULL;
    vsc_close(pair->guest);
    g_assert_null(vmbus_bus_check(pair->machine->bus));
    vsc_free(pair->vsc);
    vsc_machine_free(pair->machine);
    g_free(pair);
}

/* Host to guest */

static void host_put(Pair *pair, const uint64_t *data, uint32_t len)
{
    struct iovec iov = {(void *)data, len};
    VmbusRingResult result;

    while ((result = vmbus_channel_send(pair->host, VMBUS_PKT_DATA_INBAND, 0, 0,
                                        &iov, 1)) == VMBUS_RING_FULL) {
        bell_wait(pair->to_host);
    }
    g_assert_cmpint(result, ==, VMBUS_RING_OK);
}

static void host_sends(Run *run)
{
    Pair *pair = run->opaque;
    uint64_t data[MAX_SIZE / 8] = {0}, number = 0;

    while (!run_stopped(run)) {
        uint32_t bytes = 0;

        for (uint32_t i = 0; i < run->batch && bytes < RING_BYTES / 4; i++) {
            data[0] = number++;
            host_put(pair, data, run->size);
            bytes += run->size;
        }
        vmbus_channel_flush(pair->host);
    }
    data[0] = END;
    host_put(pair, data, run->size);
    vmbus_channel_flush(pair->host);
}

/* Looks for packets for a while with signals off, as Linux's drivers do. */
static bool poll_ring(VscRing *ring)
{
    for (unsigned i = 0; i < LOOKS; i++) {
        if (vsc_ring_mask(ring, true)) {
            return true;
        }
        __builtin_ia32_pause();
    }
    return false;
}

static void guest_receives(Run *run)
{
    Pair *pair = run->opaque;
    VscRing *ring = &pair->guest->in;
    uint64_t buf[(MAX_SIZE + sizeof(VmbusPacketDescriptor)) / 8];
    uint32_t count = 0, bytes = 0, len;

    for (;;) {
        if ((len = vsc_ring_read(ring, buf, sizeof(buf)))) {
            bool more = run_take(run, buf + 2);

            /* Not the whole ring: the host would have to wait for us. */
            bytes += len;
            if (++count >= run->batch || bytes > RING_BYTES / 4 || !more) {
                count = bytes = 0;
                if (vsc_ring_read_done(ring)) {
                    bell_ring(pair->to_host);
                }
            }
            if (!more) {
                return;
            }
            continue;
        }
        if (count) {
            count = bytes = 0;
            if (vsc_ring_read_done(ring)) {
                bell_ring(pair->to_host);
            }
        }
        if (!poll_ring(ring) && !vsc_ring_mask(ring, false)) {
            bell_wait(pair->to_guest);
        }
        vsc_ring_mask(ring, true);
    }
}

/* Guest to host */

static void guest_put(Pair *pair, const uint64_t *data, uint32_t len)
{
    VmbusPacketDescriptor desc = {.type = VMBUS_PKT_DATA_INBAND};
    uint32_t total = sizeof(desc) + len + sizeof(VmbusPacketTrailer);
    VscRing *ring = &pair->guest->out;
    bool signal;

    while (!vsc_ring_write(ring, &desc, sizeof(desc), data, len, &signal)) {
        vsc_ring_want_room(ring, MAX(total, RING_BYTES / 4));
        if (vsc_ring_free(ring) <= total) {
            bell_wait(pair->to_guest);
        }
        vsc_ring_want_room(ring, 0);
    }
    if (signal) {
        bell_ring(pair->to_host);
    }
}

static void guest_sends(Run *run)
{
    Pair *pair = run->opaque;
    uint64_t data[MAX_SIZE / 8] = {0}, number = 0;

    while (!run_stopped(run)) {
        data[0] = number++;
        guest_put(pair, data, run->size);
    }
    data[0] = END;
    guest_put(pair, data, run->size);
}

static void host_receives(Run *run)
{
    Pair *pair = run->opaque;

    while (!pair->ended) {
        bell_wait(pair->to_host);
        vmbus_channel_signalled(pair->host);
    }
}

const Column column_host_to_guest = {
    "host-to-guest", true,           true,     set_up_to_guest,
    host_sends,      guest_receives, tear_down};

/* Linux commits every packet by itself, so there is nothing to batch. */
const Column column_guest_to_host = {
    "guest-to-host", false,         true,     set_up_to_host,
    guest_sends,     host_receives, tear_down};
