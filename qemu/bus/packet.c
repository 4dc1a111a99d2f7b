/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/packet.h"

const char *vmbus_range_next(const uint8_t **list, size_t *len,
                             VmbusRange *range)
{
    VmbusGpaRange head;
    uint64_t pages;
    size_t size;

    if (*len < sizeof(head)) {
        return "A list of guest memory has fewer ranges than it claims.";
    }
    memcpy(&head, *list, sizeof(head));
    if (head.byte_count == 0) {
        return "A range of guest memory is empty.";
    }
    if (head.byte_offset >= VMBUS_PAGE_SIZE) {
        return "A range of guest memory begins behind its first page.";
    }
    /* 64 bits: the sum of two 32-bit numbers and a page cannot overflow. */
    pages =
        ((uint64_t)head.byte_offset + head.byte_count + VMBUS_PAGE_SIZE - 1) >>
        VMBUS_PAGE_SHIFT;
    if (pages > (*len - sizeof(head)) / sizeof(uint64_t)) {
        return "A range of guest memory lists too few pages.";
    }
    *range = (VmbusRange){
        .byte_count = head.byte_count,
        .byte_offset = head.byte_offset,
        .page_count = pages,
        .pages = *list + sizeof(head),
    };
    for (uint32_t i = 0; i < range->page_count; i++) {
        if (vmbus_range_page(range, i) > UINT64_MAX >> VMBUS_PAGE_SHIFT) {
            return "A page number of guest memory is out of range.";
        }
    }
    size = sizeof(head) + pages * sizeof(uint64_t);
    *list += size;
    *len -= size;
    return NULL;
}

static const char *check_gpa_direct(const VmbusPacket *pkt)
{
    size_t len = pkt->header_len - sizeof(VmbusPacketDescriptor);
    const uint8_t *list = pkt->header + sizeof(VmbusPacketDescriptor);
    VmbusGpaDirectHeader head;
    VmbusRange range;

    if (len < sizeof(head)) {
        return "A GPA-direct packet has no list of ranges.";
    }
    memcpy(&head, list, sizeof(head));
    list += sizeof(head);
    len -= sizeof(head);
    if (head.range_count == 0) {
        return "A GPA-direct packet's list of ranges is empty.";
    }
    /* Each range takes bytes of the packet, so the packet bounds the loop. */
    for (uint32_t i = 0; i < head.range_count; i++) {
        const char *why = vmbus_range_next(&list, &len, &range);

        if (why) {
            return why;
        }
    }
    return NULL;
}

static const char *check_xfer_pages(const VmbusPacket *pkt)
{
    size_t len = pkt->header_len - sizeof(VmbusPacketDescriptor);
    VmbusXferPageHeader head;

    if (len < sizeof(head)) {
        return "A transfer-page packet has no list of ranges.";
    }
    memcpy(&head, pkt->header + sizeof(VmbusPacketDescriptor), sizeof(head));
    if (head.range_count > (len - sizeof(head)) / sizeof(VmbusXferPageRange)) {
        return "A transfer-page packet has fewer ranges than it claims.";
    }
    return NULL;
}

const char *vmbus_packet_parse(const uint8_t *buf, uint32_t len,
                               VmbusPacket *pkt)
{
    VmbusPacketDescriptor desc;

    memcpy(&desc, buf, sizeof(desc));
    *pkt = (VmbusPacket){
        .type = desc.type,
        .flags = desc.flags,
        .trans_id = desc.trans_id,
        .header = buf,
        .header_len = desc.offset8 * 8u,
        .data = buf + desc.offset8 * 8u,
        .data_len = len - desc.offset8 * 8u,
    };
    if (desc.flags & ~VMBUS_PKT_FLAG_COMPLETION_REQUESTED) {
        return "A packet has unknown flags.";
    }
    switch (desc.type) {
    case VMBUS_PKT_DATA_INBAND:
    case VMBUS_PKT_COMP:
        return NULL;
    case VMBUS_PKT_DATA_GPA_DIRECT:
        return check_gpa_direct(pkt);
    case VMBUS_PKT_DATA_XFER_PAGES:
        return check_xfer_pages(pkt);
    default:
        return "A packet is of an unknown type.";
    }
}

void vmbus_packet_ranges(const VmbusPacket *pkt, VmbusRangeIter *iter)
{
    VmbusGpaDirectHeader head;
    size_t skip = sizeof(VmbusPacketDescriptor);

    memcpy(&head, pkt->header + skip, sizeof(head));
    skip += sizeof(head);
    *iter = (VmbusRangeIter){
        .list = pkt->header + skip,
        .len = pkt->header_len - skip,
        .left = head.range_count,
    };
}

bool vmbus_range_iter_next(VmbusRangeIter *iter, VmbusRange *range)
{
    if (iter->left == 0) {
        return false;
    }
    iter->left--;
    return !vmbus_range_next(&iter->list, &iter->len, range);
}
