/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a packet in private memory says, checked; and the lists of guest
 * memory that it may carry.
 */
#ifndef VMBUS_PACKET_H
#define VMBUS_PACKET_H

#include "bus/channel.h"
#include "bus/vmbus-protocol.h"

/* One range of guest memory out of a list; the pages stay in the list. */
typedef struct VmbusRange {
    uint32_t byte_count;  /* never 0 */
    uint32_t byte_offset; /* in the first page; less than a page */
    uint32_t page_count;
    const uint8_t *pages; /* page_count page numbers, little-endian; they may
                           * not be aligned: read them by vmbus_range_page() */
} VmbusRange;

/* Number of the @i-th page of guest memory. */
static inline uint64_t vmbus_range_page(const VmbusRange *range, uint32_t i)
{
    uint64_t page;

    memcpy(&page, range->pages + (size_t)i * sizeof(page), sizeof(page));
    return page;
}

/*
 * Reads the range at the head of the @len bytes at @list, and moves both past
 * it.  Returns NULL, or a sentence that says what is wrong with the range.
 */
const char *vmbus_range_next(const uint8_t **list, size_t *len,
                             VmbusRange *range);

/*
 * Reads the @len bytes at @buf, whose descriptor vmbus_ring_in_take() has
 * checked, as a packet.  A list of ranges in it is checked to its end.
 * Returns NULL, or a sentence that says why the packet is corrupt.
 */
const char *vmbus_packet_parse(const uint8_t *buf, uint32_t len,
                               VmbusPacket *pkt);

/* Walks over the ranges of a packet of type VMBUS_PKT_DATA_GPA_DIRECT. */
typedef struct VmbusRangeIter {
    const uint8_t *list;
    size_t len;
    uint32_t left;
} VmbusRangeIter;

void vmbus_packet_ranges(const VmbusPacket *pkt, VmbusRangeIter *iter);
/* False at the end. */
bool vmbus_range_iter_next(VmbusRangeIter *iter, VmbusRange *range);

#endif
