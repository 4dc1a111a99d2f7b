/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interrupt page of versions 0.13 and 1.1: a bitmap of channels in each
 * half of a page of the guest, the host's first.  Whoever sets a bit in its
 * half then signals the other by one event that all channels share.
 */
#include "bus/bus-internal.h"

/* Each half has a bit for every relid, and more that nobody uses. */
#define HALF       (VMBUS_PAGE_SIZE / 2)
#define HALF_WORDS (HALF / sizeof(uint64_t))

const char *vmbus_interrupt_page_attach(VmbusBus *bus, uint64_t address)
{
    uint64_t gfn = address >> VMBUS_PAGE_SHIFT;

    if (!bus->ops->listen_shared) {
        return "The machine has no interrupts for so old a version.";
    }
    if (address == 0 || address % VMBUS_PAGE_SIZE) {
        return "The interrupt page is not at the address of a page.";
    }
    bus->interrupt_page = bus->ops->map(bus->opaque, &gfn, 1);
    if (!bus->interrupt_page) {
        return "The interrupt page is not in the guest's memory.";
    }
    if (!bus->ops->listen_shared(bus->opaque, VMBUS_EVENT_CONNECTION_ID)) {
        bus->ops->unmap(bus->opaque, bus->interrupt_page);
        bus->interrupt_page = NULL;
        return "The machine cannot listen for the interrupt page's signals.";
    }
    bus->interrupt_gfn = gfn;
    return NULL;
}

void vmbus_interrupt_page_detach(VmbusBus *bus)
{
    if (bus->interrupt_page) {
        bus->ops->unlisten_shared(bus->opaque, VMBUS_EVENT_CONNECTION_ID);
        bus->ops->unmap(bus->opaque, bus->interrupt_page);
        bus->interrupt_page = NULL;
        bus->interrupt_gfn = 0;
    }
}

void vmbus_interrupt_page_set(VmbusBus *bus, uint32_t relid)
{
    VmbusMapping *page = bus->interrupt_page;
    uint64_t *words = (uint64_t *)page->pages[0];
    uint32_t word = relid / 64;

    __atomic_fetch_or(&words[word], 1ull << (relid % 64), __ATOMIC_SEQ_CST);
    bus->ops->mark_dirty(bus->opaque, page, word * sizeof(uint64_t),
                         sizeof(uint64_t));
}

/* Moves the guest's bits to @taken, which has room for HALF_WORDS. */
static void take_bits(VmbusBus *bus, uint64_t *taken)
{
    VmbusMapping *page = bus->interrupt_page;
    uint64_t *words = (uint64_t *)(page->pages[0] + HALF);

    for (uint32_t i = 0; i < HALF_WORDS; i++) {
        /* Most words are 0 always; reading is cheaper than exchanging. */
        taken[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
        if (taken[i]) {
            taken[i] = __atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST);
            bus->ops->mark_dirty(bus->opaque, page, HALF + i * sizeof(uint64_t),
                                 sizeof(uint64_t));
        }
    }
}

void vmbus_bus_interrupt_page_signalled(VmbusBus *bus)
{
    uint64_t taken[HALF_WORDS];

    if (!bus->interrupt_page) {
        return;
    }
    /* A channel's device may end the connection, and the page with it. */
    take_bits(bus, taken);
    for (uint32_t relid = 1; relid < VMBUS_RELID_COUNT; relid++) {
        VmbusChannel *chan = bus->channels[relid];

        if (chan && chan->listening &&
            (taken[relid / 64] & 1ull << (relid % 64))) {
            bus->ops->kick(bus->opaque, chan->listener);
        }
    }
}
