/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two threads of a channel: how the bus brings the channel's to rest, and
 * what that one leaves to the bus's.
 */
#include "bus/bus-internal.h"
#include "bus/state.h"

void vmbus_channel_start(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;

    if (!chan->started && !bus->held && !bus->quiet) {
        chan->started = true;
        bus->ops->start(bus->opaque, chan->listener);
    }
}

void vmbus_channel_stop(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;

    if (chan->started) {
        bus->waits++;
        bus->ops->stop(bus->opaque, chan->listener);
        bus->waits--;
        chan->started = false;
    }
}

void vmbus_channel_kick(VmbusChannel *chan)
{
    /* Else the channel's thread may be reading it. */
    if (!chan->started) {
        chan->own_kick = true;
    }
    chan->bus->ops->kick(chan->bus->opaque, chan->listener);
}

void vmbus_channel_again(VmbusChannel *chan)
{
    if (vmbus_channel_is_open(chan)) {
        chan->own_kick = true;
        chan->bus->ops->kick(chan->bus->opaque, chan->listener);
    }
}

void vmbus_channel_call(const VmbusChannel *chan, void (*fn)(void *arg),
                        void *arg)
{
    VmbusBus *bus = chan->bus;

    bus->waits++;
    bus->ops->call(bus->opaque, chan->listener, fn, arg);
    bus->waits--;
}

static uint64_t load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

VmbusRingCounters vmbus_channel_counters(const VmbusRingCounters *counters)
{
    return (VmbusRingCounters){
        .packets = load(&counters->packets),
        .bytes = load(&counters->bytes),
        .signals_sent = load(&counters->signals_sent),
        .signals_suppressed = load(&counters->signals_suppressed),
        .full = load(&counters->full),
    };
}

static bool is_to_close(const VmbusChannel *chan)
{
    return chan && chan->state == VMBUS_CHANNEL_OPEN &&
           vmbus_channel_broken(chan);
}

void vmbus_channel_close_broken(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;

    if (bus->waits) {
        /* Perhaps for this very channel. */
        bus->close_broken = true;
    } else if (is_to_close(chan)) {
        vmbus_channel_close(chan, VMBUS_CHANNEL_CORRUPT);
        /* A GPADL may have waited for this to be torn down. */
        vmbus_bus_pump(bus);
    }
}

void vmbus_bus_close_broken(VmbusBus *bus)
{
    bus->close_broken = false;
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (is_to_close(bus->channels[i])) {
            vmbus_channel_close(bus->channels[i], VMBUS_CHANNEL_CORRUPT);
        }
    }
}

void *vmbus_channel_listener(const VmbusChannel *chan)
{
    return chan->listening ? chan->listener : NULL;
}

static void flush(void *arg)
{
    vmbus_channel_flush(arg);
}

void vmbus_bus_quiesce(VmbusBus *bus)
{
    bus->quiet = true;
    /* No message is handled before all are at rest. */
    bus->waits++;
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = bus->channels[i];

        if (chan && chan->state == VMBUS_CHANNEL_OPEN) {
            vmbus_channel_stop(chan);
            vmbus_channel_call(chan, flush, chan);
        }
    }
    bus->waits--;
    vmbus_bus_pump(bus);
}
