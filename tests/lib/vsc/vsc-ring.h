/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ring as a guest uses it.  The rules are those of Linux 6.1's
 * drivers/hv/ring_buffer.c.
 */
#ifndef VSC_RING_H
#define VSC_RING_H

#include <stdbool.h>

#include "bus/vmbus-protocol.h"

typedef struct VscRing {
    uint8_t **pages; /* the control page first; owned */
    VmbusRingControl *control;
    uint32_t size;      /* data bytes */
    uint32_t next_read; /* our own index while we read a batch */
} VscRing;

/* @count pages; zeroes the indexes and says that we signal for room. */
void vsc_ring_init(VscRing *ring, uint8_t *const *pages, uint32_t count);
void vsc_ring_destroy(VscRing *ring);

/* Raw bytes of the data, with wrap-around. */
void vsc_ring_copy_in(VscRing *ring, uint32_t index, const void *buf,
                      uint32_t len);
void vsc_ring_copy_out(const VscRing *ring, uint32_t index, void *buf,
                       uint32_t len);
uint32_t vsc_ring_free(const VscRing *ring);

/*
 * Writes one packet; @head is the descriptor with what is of its type, @data
 * is padded to 8 bytes.  The descriptor's lengths are filled in.  False if
 * there is no room.  @signal: whether the host must be told.
 */
bool vsc_ring_write(VscRing *ring, const void *head, uint32_t head_len,
                    const void *data, uint32_t data_len, bool *signal);
/* Asks the host for a signal when more than @bytes are free; 0: no more. */
void vsc_ring_want_room(VscRing *ring, uint32_t bytes);

/*
 * Copies the next packet, descriptor first, to @buf.  Returns its length, or
 * 0 if there is none; a packet that is larger than @room is an error of the
 * caller, and so is one that is malformed: it aborts.
 */
uint32_t vsc_ring_read(VscRing *ring, void *buf, uint32_t room);
/* Ends a batch; true if the host waits for room and must be signalled. */
bool vsc_ring_read_done(VscRing *ring);
/* Masks or unmasks the host's signals; true if a packet is there. */
bool vsc_ring_mask(VscRing *ring, bool masked);

#endif
