/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two rings of a channel, over pages that the guest can write at any time.
 *
 * Our own index is kept in private memory and only published; the guest's is
 * read once a use and checked.  A ring knows bytes and descriptors, not what
 * they mean.  One thread at a time uses a ring.
 */
#ifndef VMBUS_RING_H
#define VMBUS_RING_H

#include "bus/bus.h"
#include "bus/vmbus-protocol.h"

typedef void VmbusRingDirtyFn(void *opaque, VmbusMapping *mapping,
                              uint64_t offset, uint32_t len);

/* Pages of a mapping that are one ring. */
typedef struct VmbusRingMem {
    VmbusMapping *mapping;
    uint32_t first_page; /* the control page */
    uint32_t size;       /* data bytes: any multiple of a page */
    uint8_t *linear;     /* the data, if it is contiguous here; else NULL */
    VmbusRingControl *control;
    VmbusRingDirtyFn *dirty; /* told what the host wrote; may be NULL */
    void *dirty_opaque;
} VmbusRingMem;

/* Whether a commit published anything, and whether the guest must know. */
typedef enum VmbusRingCommit {
    VMBUS_COMMIT_NOTHING,
    VMBUS_COMMIT_QUIET,
    VMBUS_COMMIT_SIGNAL,
} VmbusRingCommit;

/* Guest to host. */
typedef struct VmbusRingIn {
    VmbusRingMem mem;
    uint32_t read;       /* next byte to take */
    uint32_t published;  /* how far the guest knows that we have read */
    uint32_t write_seen; /* the guest's index as last read and checked */
    bool masked;         /* there is no need of signals now */
    bool polled;         /* nor any, as somebody keeps looking */
} VmbusRingIn;

/* Host to guest. */
typedef struct VmbusRingOut {
    VmbusRingMem mem;
    uint32_t write;     /* next byte to fill */
    uint32_t published; /* how far the guest knows that we have written */
    uint32_t read_seen; /* the guest's index as last read and checked */
    uint32_t pending;   /* what stands in pending_send_size */
} VmbusRingOut;

/*
 * @pages pages of @mapping from @first_page on are a ring: one of control and
 * at least one of data.
 */
void vmbus_ring_mem_init(VmbusRingMem *mem, VmbusMapping *mapping,
                         uint32_t first_page, uint32_t pages,
                         VmbusRingDirtyFn *dirty, void *dirty_opaque);

/* Arithmetic of indexes, which are valid; @by is not more than the size. */
bool vmbus_ring_index_valid(const VmbusRingMem *mem, uint32_t index);
uint32_t vmbus_ring_advance(const VmbusRingMem *mem, uint32_t index,
                            uint32_t by);
/* Bytes from @from on to @to, going up. */
uint32_t vmbus_ring_distance(const VmbusRingMem *mem, uint32_t from,
                             uint32_t to);
/* Copies bytes of the data, whatever they are. */
void vmbus_ring_peek(const VmbusRingMem *mem, uint32_t index, void *buf,
                     uint32_t len);
/*
 * NULL, or what is wrong with a copied descriptor, if @avail bytes of the ring
 * begin with it and a packet may have @room bytes.
 */
const char *vmbus_ring_check_packet(const VmbusPacketDescriptor *desc,
                                    uint32_t avail, uint32_t room);

/*
 * Takes over a ring as the guest left it (Linux and Windows zero the indexes
 * first).  Returns NULL, or a sentence if an index is out of range.
 */
const char *vmbus_ring_in_init(VmbusRingIn *ring, const VmbusRingMem *mem);
const char *vmbus_ring_out_init(VmbusRingOut *ring, const VmbusRingMem *mem);

/*
 * Copies the next packet, descriptor first, to @buf, which has room for @room
 * bytes (at least a descriptor), and its length to @len.  Every byte is read
 * from the guest's memory once.  Lengths and offsets in the copied descriptor
 * have been checked.  VMBUS_RING_OK, VMBUS_RING_EMPTY, or VMBUS_RING_CORRUPT
 * with a sentence in @why.
 */
VmbusRingResult vmbus_ring_in_take(VmbusRingIn *ring, void *buf, uint32_t room,
                                   uint32_t *len, const char **why);
/* Tells the guest how far we have read. */
VmbusRingCommit vmbus_ring_in_commit(VmbusRingIn *ring);
/*
 * Asks the guest not to signal new packets, or to signal them again; it signals
 * while the ring is neither masked nor polled.
 */
void vmbus_ring_in_mask(VmbusRingIn *ring, bool masked);
void vmbus_ring_in_set_polled(VmbusRingIn *ring, bool polled);
/* A quick look: is the ring not empty, or corrupt? */
bool vmbus_ring_in_ready(const VmbusRingIn *ring);
/* VMBUS_RING_OK if there is a packet to take, with a fresh look if need be. */
VmbusRingResult vmbus_ring_in_poll(VmbusRingIn *ring, const char **why);

/*
 * Is there room for @total bytes (packet and trailer)?  VMBUS_RING_OK,
 * VMBUS_RING_FULL, VMBUS_RING_TOO_LARGE or VMBUS_RING_CORRUPT.
 */
VmbusRingResult vmbus_ring_out_room(VmbusRingOut *ring, uint32_t total,
                                    const char **why);
/*
 * As vmbus_ring_out_room(), but VMBUS_RING_FULL means that the guest has been
 * asked to signal when there is room.  All that was written must have been
 * committed: a guest computes its free space from what it knows.
 */
VmbusRingResult vmbus_ring_out_wait(VmbusRingOut *ring, uint32_t total,
                                    const char **why);
/*
 * Writes a packet for which vmbus_ring_out_room() or _wait() said OK.  @iov
 * holds all that follows the descriptor; zeros pad it to @desc's length.
 */
void vmbus_ring_out_put(VmbusRingOut *ring, const VmbusPacketDescriptor *desc,
                        const struct iovec *iov, int iovcnt);
/* Shows the guest what was written. */
VmbusRingCommit vmbus_ring_out_commit(VmbusRingOut *ring);

/*
 * The ring's private part was loaded from a saved state: writes again what of
 * the control page is the host's.  NULL, or a sentence if the index that the
 * host published is not the one that stands there.
 */
const char *vmbus_ring_in_resume(VmbusRingIn *ring);
const char *vmbus_ring_out_resume(VmbusRingOut *ring);

/* Debug: NULL, or a sentence that says what our own state has wrong. */
const char *vmbus_ring_in_check(const VmbusRingIn *ring);
const char *vmbus_ring_out_check(const VmbusRingOut *ring);

#endif
