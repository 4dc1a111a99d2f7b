/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib.h>

#include "bus/ring.h"

#define TRAILER ((uint32_t)sizeof(VmbusPacketTrailer))

static uint32_t load_acquire(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store_release(uint32_t *p, uint32_t value)
{
    __atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static void full_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool vmbus_ring_index_valid(const VmbusRingMem *mem, uint32_t index)
{
    return index < mem->size && index % 8 == 0;
}

uint32_t vmbus_ring_advance(const VmbusRingMem *mem, uint32_t index,
                            uint32_t by)
{
    uint32_t left = mem->size - index;

    return by < left ? index + by : by - left;
}

/* Bytes from @from on to @to, going up. */
uint32_t vmbus_ring_distance(const VmbusRingMem *mem, uint32_t from,
                             uint32_t to)
{
    return to >= from ? to - from : mem->size - from + to;
}

/*
 * Bytes that are not in use.  As Linux and Windows count it an empty ring has
 * its whole size free, so a packet fits only where more than its size is.
 */
static uint32_t free_bytes(const VmbusRingMem *mem, uint32_t write,
                           uint32_t read)
{
    return mem->size - vmbus_ring_distance(mem, read, write);
}

/* The data byte at @index, and in @run how many follow it in host memory. */
static uint8_t *data_at(const VmbusRingMem *mem, uint32_t index, uint32_t *run)
{
    if (mem->linear) {
        *run = mem->size - index;
        return mem->linear + index;
    }
    *run = VMBUS_PAGE_SIZE - index % VMBUS_PAGE_SIZE;
    return mem->mapping->pages[mem->first_page + 1 + index / VMBUS_PAGE_SIZE] +
           index % VMBUS_PAGE_SIZE;
}

void vmbus_ring_peek(const VmbusRingMem *mem, uint32_t index, void *buf,
                     uint32_t len)
{
    uint8_t *to = buf;

    while (len) {
        uint32_t run;
        const uint8_t *from = data_at(mem, index, &run);

        run = MIN(run, len);
        memcpy(to, from, run);
        to += run;
        len -= run;
        index = vmbus_ring_advance(mem, index, run);
    }
}

/* Returns the index after what was written. */
static uint32_t copy_into(const VmbusRingMem *mem, uint32_t index,
                          const void *buf, size_t len)
{
    const uint8_t *from = buf;

    while (len) {
        uint32_t run;
        uint8_t *to = data_at(mem, index, &run);

        run = MIN(run, len);
        memcpy(to, from, run);
        from += run;
        len -= run;
        index = vmbus_ring_advance(mem, index, run);
    }
    return index;
}

static void dirty_control(const VmbusRingMem *mem)
{
    if (mem->dirty) {
        mem->dirty(mem->dirty_opaque, mem->mapping,
                   (uint64_t)mem->first_page * VMBUS_PAGE_SIZE,
                   sizeof(VmbusRingControl));
    }
}

static void dirty_data(const VmbusRingMem *mem, uint32_t from, uint32_t to)
{
    uint64_t base = (uint64_t)(mem->first_page + 1) * VMBUS_PAGE_SIZE;

    if (!mem->dirty) {
        return;
    }
    if (to > from) {
        mem->dirty(mem->dirty_opaque, mem->mapping, base + from, to - from);
        return;
    }
    mem->dirty(mem->dirty_opaque, mem->mapping, base + from, mem->size - from);
    if (to) {
        mem->dirty(mem->dirty_opaque, mem->mapping, base, to);
    }
}

void vmbus_ring_mem_init(VmbusRingMem *mem, VmbusMapping *mapping,
                         uint32_t first_page, uint32_t pages,
                         VmbusRingDirtyFn *dirty, void *dirty_opaque)
{
    uint8_t **page = &mapping->pages[first_page];

    *mem = (VmbusRingMem){
        .mapping = mapping,
        .first_page = first_page,
        .size = (pages - 1) * VMBUS_PAGE_SIZE,
        .linear = page[1],
        .control = (VmbusRingControl *)page[0],
        .dirty = dirty,
        .dirty_opaque = dirty_opaque,
    };
    for (uint32_t i = 2; i < pages; i++) {
        if (page[i] != page[i - 1] + VMBUS_PAGE_SIZE) {
            mem->linear = NULL;
            break;
        }
    }
}

const char *vmbus_ring_in_init(VmbusRingIn *ring, const VmbusRingMem *mem)
{
    uint32_t read = load_acquire(&mem->control->read_index);
    uint32_t write = load_acquire(&mem->control->write_index);

    if (!vmbus_ring_index_valid(mem, read)) {
        return "The read index of the ring to the host is out of range.";
    }
    if (!vmbus_ring_index_valid(mem, write)) {
        return "The write index of the ring to the host is out of range.";
    }
    *ring = (VmbusRingIn){
        .mem = *mem,
        .read = read,
        .published = read,
        .write_seen = write,
    };
    store_release(&mem->control->interrupt_mask, 0);
    dirty_control(mem);
    return NULL;
}

const char *vmbus_ring_out_init(VmbusRingOut *ring, const VmbusRingMem *mem)
{
    uint32_t read = load_acquire(&mem->control->read_index);
    uint32_t write = load_acquire(&mem->control->write_index);

    if (!vmbus_ring_index_valid(mem, read)) {
        return "The read index of the ring to the guest is out of range.";
    }
    if (!vmbus_ring_index_valid(mem, write)) {
        return "The write index of the ring to the guest is out of range.";
    }
    *ring = (VmbusRingOut){
        .mem = *mem,
        .write = write,
        .published = write,
        .read_seen = read,
    };
    store_release(&mem->control->pending_send_size, 0);
    store_release(&mem->control->feature_bits,
                  VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
    dirty_control(mem);
    return NULL;
}

bool vmbus_ring_in_ready(const VmbusRingIn *ring)
{
    return load_acquire(&ring->mem.control->write_index) != ring->read;
}

VmbusRingResult vmbus_ring_in_poll(VmbusRingIn *ring, const char **why)
{
    uint32_t write;

    if (ring->read != ring->write_seen) {
        return VMBUS_RING_OK;
    }
    write = load_acquire(&ring->mem.control->write_index);
    if (!vmbus_ring_index_valid(&ring->mem, write)) {
        *why = "The write index of the ring to the host is out of range.";
        return VMBUS_RING_CORRUPT;
    }
    ring->write_seen = write;
    return write == ring->read ? VMBUS_RING_EMPTY : VMBUS_RING_OK;
}

const char *vmbus_ring_check_packet(const VmbusPacketDescriptor *desc,
                                    uint32_t avail, uint32_t room)
{
    if (desc->offset8 * 8 < sizeof(*desc)) {
        return "A packet's payload begins inside its descriptor.";
    }
    if (desc->len8 < desc->offset8) {
        return "A packet's payload begins behind its end.";
    }
    if (desc->len8 * 8u + TRAILER > avail) {
        return "A packet reaches beyond what the guest has written.";
    }
    if (desc->len8 * 8u > room) {
        return "A packet is larger than the host takes.";
    }
    return NULL;
}

VmbusRingResult vmbus_ring_in_take(VmbusRingIn *ring, void *buf, uint32_t room,
                                   uint32_t *len, const char **why)
{
    VmbusRingResult result = vmbus_ring_in_poll(ring, why);
    VmbusPacketDescriptor *desc = buf;
    uint32_t avail;

    if (result != VMBUS_RING_OK) {
        return result;
    }
    avail = vmbus_ring_distance(&ring->mem, ring->read, ring->write_seen);
    if (avail < sizeof(*desc) + TRAILER) {
        *why = "The ring holds less than the smallest packet.";
        return VMBUS_RING_CORRUPT;
    }
    vmbus_ring_peek(&ring->mem, ring->read, desc, sizeof(*desc));
    *why = vmbus_ring_check_packet(desc, avail, room);
    if (*why) {
        return VMBUS_RING_CORRUPT;
    }
    *len = desc->len8 * 8u;
    vmbus_ring_peek(&ring->mem,
                    vmbus_ring_advance(&ring->mem, ring->read, sizeof(*desc)),
                    desc + 1, *len - sizeof(*desc));
    ring->read = vmbus_ring_advance(&ring->mem, ring->read, *len + TRAILER);
    return VMBUS_RING_OK;
}

/*
 * The rule is that of Linux' hv_pkt_iter_close(): signal if this commit takes
 * the free space from "not more than pending" to "more than pending".
 */
VmbusRingCommit vmbus_ring_in_commit(VmbusRingIn *ring)
{
    VmbusRingControl *control = ring->mem.control;
    uint32_t taken, pending, write, now_free;

    if (ring->read == ring->published) {
        return VMBUS_COMMIT_NOTHING;
    }
    taken = vmbus_ring_distance(&ring->mem, ring->published, ring->read);
    ring->published = ring->read;
    store_release(&control->read_index, ring->read);
    dirty_control(&ring->mem);

    /* A guest without the feature polls, and expects no signal for room. */
    if (!(load_acquire(&control->feature_bits) &
          VMBUS_RING_FEATURE_PENDING_SEND_SIZE)) {
        return VMBUS_COMMIT_QUIET;
    }
    /* The guest must see our index before we look whether it waits. */
    full_barrier();
    pending = load_acquire(&control->pending_send_size);
    if (!pending) {
        return VMBUS_COMMIT_QUIET;
    }
    write = load_acquire(&control->write_index);
    if (!vmbus_ring_index_valid(&ring->mem, write)) {
        return VMBUS_COMMIT_QUIET; /* the next read says that it is corrupt */
    }
    now_free = free_bytes(&ring->mem, write, ring->read);
    if (now_free <= pending ||
        (now_free > taken && now_free - taken > pending)) {
        return VMBUS_COMMIT_QUIET;
    }
    return VMBUS_COMMIT_SIGNAL;
}

static void set_masks(VmbusRingIn *ring, bool masked, bool polled)
{
    bool old = ring->masked || ring->polled;
    bool new = masked || polled;

    ring->masked = masked;
    ring->polled = polled;
    if (old == new) {
        return;
    }
    store_release(&ring->mem.control->interrupt_mask, new);
    if (!new) {
        /* This must be seen before the caller looks for more packets. */
        full_barrier();
        dirty_control(&ring->mem);
    }
}

void vmbus_ring_in_mask(VmbusRingIn *ring, bool masked)
{
    set_masks(ring, masked, ring->polled);
}

void vmbus_ring_in_set_polled(VmbusRingIn *ring, bool polled)
{
    set_masks(ring, ring->masked, polled);
}

static bool fits(const VmbusRingOut *ring, uint32_t total)
{
    return free_bytes(&ring->mem, ring->write, ring->read_seen) > total;
}

static VmbusRingResult look_for_room(VmbusRingOut *ring, uint32_t total,
                                     const char **why)
{
    uint32_t read = load_acquire(&ring->mem.control->read_index);

    if (!vmbus_ring_index_valid(&ring->mem, read)) {
        *why = "The read index of the ring to the guest is out of range.";
        return VMBUS_RING_CORRUPT;
    }
    ring->read_seen = read;
    return fits(ring, total) ? VMBUS_RING_OK : VMBUS_RING_FULL;
}

VmbusRingResult vmbus_ring_out_room(VmbusRingOut *ring, uint32_t total,
                                    const char **why)
{
    if (total >= ring->mem.size) {
        return VMBUS_RING_TOO_LARGE;
    }
    if (fits(ring, total)) {
        return VMBUS_RING_OK;
    }
    return look_for_room(ring, total, why);
}

static void set_pending(VmbusRingOut *ring, uint32_t pending)
{
    ring->pending = pending;
    store_release(&ring->mem.control->pending_send_size, pending);
}

VmbusRingResult vmbus_ring_out_wait(VmbusRingOut *ring, uint32_t total,
                                    const char **why)
{
    VmbusRingResult result;

    /*
     * Not less than a quarter of the ring: a guest that reads one packet after
     * the other would wake us for each, only to find the ring full again.
     */
    set_pending(ring, MAX(total, ring->mem.size / 4));
    /* The guest must see our wish before we look for the last time. */
    full_barrier();
    dirty_control(&ring->mem);
    result = look_for_room(ring, total, why);
    if (result == VMBUS_RING_OK) {
        set_pending(ring, 0);
    }
    return result;
}

void vmbus_ring_out_put(VmbusRingOut *ring, const VmbusPacketDescriptor *desc,
                        const struct iovec *iov, int iovcnt)
{
    static const uint64_t zeros;
    VmbusPacketTrailer trailer = {.start = ring->write};
    size_t left = desc->len8 * 8u - sizeof(*desc);
    uint32_t at = copy_into(&ring->mem, ring->write, desc, sizeof(*desc));

    if (ring->pending) {
        set_pending(ring, 0);
    }
    for (int i = 0; i < iovcnt; i++) {
        at = copy_into(&ring->mem, at, iov[i].iov_base, iov[i].iov_len);
        left -= iov[i].iov_len;
    }
    at = copy_into(&ring->mem, at, &zeros, left);
    ring->write = copy_into(&ring->mem, at, &trailer, sizeof(trailer));
}

/* The rule is that of Linux' hv_signal_on_write(). */
VmbusRingCommit vmbus_ring_out_commit(VmbusRingOut *ring)
{
    VmbusRingControl *control = ring->mem.control;
    uint32_t old = ring->published;

    if (ring->write == old) {
        return VMBUS_COMMIT_NOTHING;
    }
    ring->published = ring->write;
    store_release(&control->write_index, ring->write);
    dirty_data(&ring->mem, old, ring->write);
    dirty_control(&ring->mem);

    /* The guest unmasks, then looks at our index; we do the reverse. */
    full_barrier();
    if (load_acquire(&control->interrupt_mask)) {
        return VMBUS_COMMIT_QUIET;
    }
    return load_acquire(&control->read_index) == old ? VMBUS_COMMIT_SIGNAL
                                                     : VMBUS_COMMIT_QUIET;
}

const char *vmbus_ring_in_resume(VmbusRingIn *ring)
{
    VmbusRingControl *control = ring->mem.control;

    if (load_acquire(&control->read_index) != ring->published) {
        return "The read index of the ring to the host is not the host's.";
    }
    store_release(&control->interrupt_mask, ring->masked);
    dirty_control(&ring->mem);
    return NULL;
}

const char *vmbus_ring_out_resume(VmbusRingOut *ring)
{
    VmbusRingControl *control = ring->mem.control;

    if (load_acquire(&control->write_index) != ring->published) {
        return "The write index of the ring to the guest is not the host's.";
    }
    store_release(&control->pending_send_size, ring->pending);
    store_release(&control->feature_bits, VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
    dirty_control(&ring->mem);
    return NULL;
}

const char *vmbus_ring_in_check(const VmbusRingIn *ring)
{
    if (!vmbus_ring_index_valid(&ring->mem, ring->read) ||
        !vmbus_ring_index_valid(&ring->mem, ring->published) ||
        !vmbus_ring_index_valid(&ring->mem, ring->write_seen)) {
        return "An index kept for the ring to the host is out of range.";
    }
    return NULL;
}

const char *vmbus_ring_out_check(const VmbusRingOut *ring)
{
    if (!vmbus_ring_index_valid(&ring->mem, ring->write) ||
        !vmbus_ring_index_valid(&ring->mem, ring->published) ||
        !vmbus_ring_index_valid(&ring->mem, ring->read_seen)) {
        return "An index kept for the ring to the guest is out of range.";
    }
    if (ring->pending >= ring->mem.size) {
        return "The host waits for more room than the ring has.";
    }
    return NULL;
}
