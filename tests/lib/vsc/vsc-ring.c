/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib.h>

#include "vsc-ring.h"

static uint32_t load(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t value)
{
    __atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static void full_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void vsc_ring_init(VscRing *ring, uint8_t *const *pages, uint32_t count)
{
    ring->pages = g_new(uint8_t *, count);
    memcpy(ring->pages, pages, count * sizeof(*pages));
    ring->control = (VmbusRingControl *)pages[0];
    ring->size = (count - 1) * VMBUS_PAGE_SIZE;
    ring->next_read = 0;
    store(&ring->control->read_index, 0);
    store(&ring->control->write_index, 0);
    store(&ring->control->feature_bits, VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
}

void vsc_ring_destroy(VscRing *ring)
{
    g_free(ring->pages);
    ring->pages = NULL;
}

static uint8_t *data_at(const VscRing *ring, uint32_t index)
{
    return ring->pages[1 + index / VMBUS_PAGE_SIZE] + index % VMBUS_PAGE_SIZE;
}

void vsc_ring_copy_in(VscRing *ring, uint32_t index, const void *buf,
                      uint32_t len)
{
    const uint8_t *from = buf;

    while (len) {
        uint32_t run = MIN(VMBUS_PAGE_SIZE - index % VMBUS_PAGE_SIZE, len);

        memcpy(data_at(ring, index), from, run);
        from += run;
        len -= run;
        index = (index + run) % ring->size;
    }
}

void vsc_ring_copy_out(const VscRing *ring, uint32_t index, void *buf,
                       uint32_t len)
{
    uint8_t *to = buf;

    while (len) {
        uint32_t run = MIN(VMBUS_PAGE_SIZE - index % VMBUS_PAGE_SIZE, len);

        memcpy(to, data_at(ring, index), run);
        to += run;
        len -= run;
        index = (index + run) % ring->size;
    }
}

static uint32_t free_between(const VscRing *ring, uint32_t write, uint32_t read)
{
    return write >= read ? ring->size - (write - read) : read - write;
}

uint32_t vsc_ring_free(const VscRing *ring)
{
    return free_between(ring, load(&ring->control->write_index),
                        load(&ring->control->read_index));
}

bool vsc_ring_write(VscRing *ring, const void *head, uint32_t head_len,
                    const void *data, uint32_t data_len, bool *signal)
{
    static const uint64_t zeros;
    uint32_t old = ring->control->write_index;
    uint32_t padded = (head_len + data_len + 7) & ~7u;
    VmbusPacketTrailer trailer = {.start = old};
    VmbusPacketDescriptor desc;
    uint32_t at = old;

    if (vsc_ring_free(ring) <= padded + sizeof(trailer)) {
        return false;
    }
    memcpy(&desc, head, sizeof(desc));
    desc.offset8 = head_len / 8;
    desc.len8 = padded / 8;
    vsc_ring_copy_in(ring, at, &desc, sizeof(desc));
    at = (at + sizeof(desc)) % ring->size;
    vsc_ring_copy_in(ring, at, (const uint8_t *)head + sizeof(desc),
                     head_len - sizeof(desc));
    at = (at + head_len - sizeof(desc)) % ring->size;
    vsc_ring_copy_in(ring, at, data, data_len);
    at = (at + data_len) % ring->size;
    vsc_ring_copy_in(ring, at, &zeros, padded - head_len - data_len);
    at = (old + padded) % ring->size;
    vsc_ring_copy_in(ring, at, &trailer, sizeof(trailer));
    store(&ring->control->write_index, (at + sizeof(trailer)) % ring->size);
    full_barrier();
    *signal = !load(&ring->control->interrupt_mask) &&
              load(&ring->control->read_index) == old;
    return true;
}

void vsc_ring_want_room(VscRing *ring, uint32_t bytes)
{
    store(&ring->control->pending_send_size, bytes);
    full_barrier();
}

uint32_t vsc_ring_read(VscRing *ring, void *buf, uint32_t room)
{
    uint32_t write = load(&ring->control->write_index);
    uint32_t avail = ring->size - free_between(ring, write, ring->next_read);
    VmbusPacketDescriptor desc;
    VmbusPacketTrailer trailer;
    uint32_t len, end;

    if (avail == 0) {
        return 0;
    }
    g_assert_cmpuint(avail, >=, sizeof(desc) + sizeof(trailer));
    vsc_ring_copy_out(ring, ring->next_read, &desc, sizeof(desc));
    len = desc.len8 * 8u;
    g_assert_cmpuint(len, >=, desc.offset8 * 8u);
    g_assert_cmpuint(desc.offset8 * 8u, >=, sizeof(desc));
    g_assert_cmpuint(len + sizeof(trailer), <=, avail);
    g_assert_cmpuint(len, <=, room);
    vsc_ring_copy_out(ring, ring->next_read, buf, len);
    end = (ring->next_read + len) % ring->size;
    vsc_ring_copy_out(ring, end, &trailer, sizeof(trailer));
    g_assert_cmpuint(trailer.reserved, ==, 0);
    g_assert_cmpuint(trailer.start, ==, ring->next_read);
    ring->next_read = (end + sizeof(trailer)) % ring->size;
    return len;
}

bool vsc_ring_read_done(VscRing *ring)
{
    uint32_t start = ring->control->read_index;
    uint32_t taken, pending, now_free;

    taken = ring->next_read >= start ? ring->next_read - start
                                     : ring->size - start + ring->next_read;
    store(&ring->control->read_index, ring->next_read);
    if (!(load(&ring->control->feature_bits) &
          VMBUS_RING_FEATURE_PENDING_SEND_SIZE)) {
        return false;
    }
    full_barrier();
    pending = load(&ring->control->pending_send_size);
    if (!pending) {
        return false;
    }
    now_free =
        free_between(ring, load(&ring->control->write_index), ring->next_read);
    return now_free - taken <= pending && now_free > pending;
}

bool vsc_ring_mask(VscRing *ring, bool masked)
{
    store(&ring->control->interrupt_mask, masked);
    full_barrier();
    return load(&ring->control->write_index) != ring->next_read;
}
