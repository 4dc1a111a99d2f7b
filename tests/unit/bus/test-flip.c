/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that flips an index of an empty ring between right and wrong, as
 * fast as it can.  Each look must say EMPTY or CORRUPT; it must never deliver
 * a packet, as there is none.
 */
#include <glib.h>
#include <pthread.h>

#include "bus/bus-internal.h"

#define LOOKS   100000 /* of either kind; wrong code delivers far sooner */
#define SECONDS 3
#define PAGES   4

typedef struct Flip {
    uint8_t *pages[PAGES];
    VmbusMapping mapping;
    VmbusBus *bus;
    VmbusChannel *chan;
    int stop;
} Flip;

static void machine_event(void *opaque, const VmbusEvent *event)
{
}

static void machine_mark_dirty(void *opaque, VmbusMapping *mapping,
                               uint64_t offset, uint32_t len)
{
}

static void machine_unmap(void *opaque, VmbusMapping *mapping)
{
}

static void machine_defer_close(void *opaque, void *listener)
{
}

static const VmbusMachineOps machine = {
    .defer_close = machine_defer_close,
    .event = machine_event,
    .mark_dirty = machine_mark_dirty,
    .unmap = machine_unmap,
};

static bool device_open(VmbusChannel *chan, void *opaque)
{
    return true;
}

static void device_done(VmbusChannel *chan, void *opaque)
{
}

static const VmbusChannelOps device = {
    .open = device_open,
    .close = device_done,
    .signal = device_done,
};

/* Opens the channel without the guest's messages, which would take far longer
 * than what is tested. */
static bool reopen(Flip *f)
{
    VmbusChannel *chan = f->chan;
    VmbusRingMem mem;

    vmbus_ring_mem_init(&mem, &f->mapping, 0, 2, NULL, NULL);
    if (vmbus_ring_in_init(&chan->in, &mem)) {
        return false;
    }
    vmbus_ring_mem_init(&mem, &f->mapping, 2, 2, NULL, NULL);
    g_assert_null(vmbus_ring_out_init(&chan->out, &mem));
    chan->state = VMBUS_CHANNEL_OPEN;
    chan->broken = false;
    chan->mapping = &f->mapping;
    return true;
}

static void *guest(void *opaque)
{
    Flip *f = opaque;
    VmbusRingControl *control = (VmbusRingControl *)f->pages[0];

    while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
        __atomic_store_n(&control->write_index, 4, __ATOMIC_RELAXED);
        __atomic_store_n(&control->write_index, 0, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_write_index(void)
{
    unsigned empty = 0, corrupt = 0, delivered = 0;
    uint8_t *ram = g_malloc0(PAGES * VMBUS_PAGE_SIZE);
    VmbusOffer offer = {.name = "flip"};
    const char *err;
    pthread_t thread;
    gint64 end;
    Flip f = {.bus = vmbus_bus_new(&machine, NULL)};

    for (unsigned i = 0; i < PAGES; i++) {
        f.pages[i] = ram + i * VMBUS_PAGE_SIZE;
    }
    f.mapping = (VmbusMapping){.page_count = PAGES, .pages = f.pages};
    f.chan = vmbus_bus_offer(f.bus, &offer, &device, NULL, &err);
    f.chan->packet = g_malloc(VMBUS_MAX_PACKET_SIZE);
    g_assert_cmpint(pthread_create(&thread, NULL, guest, &f), ==, 0);

    end = g_get_monotonic_time() + SECONDS * G_USEC_PER_SEC;
    while (MIN(empty, corrupt) < LOOKS && !delivered &&
           g_get_monotonic_time() < end) {
        VmbusPacket pkt = {0};

        if (!reopen(&f)) {
            continue;
        }
        switch (vmbus_channel_receive(f.chan, &pkt)) {
        case VMBUS_RING_EMPTY:
            empty++;
            break;
        case VMBUS_RING_CORRUPT:
            corrupt++;
            break;
        default:
            delivered++;
        }
    }
    __atomic_store_n(&f.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    g_assert_cmpuint(delivered, ==, 0);
    if (!empty || !corrupt) {
        g_test_skip("the two threads never ran at the same time");
    }

    f.chan->broken = false;
    f.chan->state = VMBUS_CHANNEL_IDLE;
    f.chan->mapping = NULL;
    vmbus_bus_free(f.bus);
    g_free(ram);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flip/write-index", test_write_index);
    return g_test_run();
}
