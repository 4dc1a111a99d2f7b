/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets whose descriptor is in order, and whose rest is not. */
#include "bus/packet.h"
#include "fuzz.h"

#define WORDS 128

static uint32_t put_ranges(FuzzInput *in, uint64_t *words, uint32_t at)
{
    uint32_t ranges = fuzz_value(in, 1, 1, 4) % 16;
    uint64_t head = fuzz_value(in, 4, 0, 1) | fuzz_value(in, 4, ranges, 1)
                                                  << 32;

    words[at++] = head;
    for (uint32_t i = 0; i < ranges && at < WORDS - 20; i++) {
        uint32_t pages = fuzz_value(in, 1, 1, 4) % 16;
        uint64_t bytes =
            fuzz_value(in, 4, (uint64_t)pages * VMBUS_PAGE_SIZE - 512, 512);
        uint64_t offset = fuzz_value(in, 4, 0, 192);

        words[at++] = bytes | offset << 32;
        for (uint32_t j = 0; j < pages; j++) {
            words[at++] = fuzz_value(in, 8, 0, 100);
        }
    }
    return at;
}

static void check_ranges(const VmbusPacket *pkt)
{
    VmbusGpaDirectHeader head;
    VmbusRangeIter iter;
    VmbusRange range;
    uint32_t count = 0;
    uint64_t sum = 0;

    memcpy(&head, pkt->header + sizeof(VmbusPacketDescriptor), sizeof(head));
    vmbus_packet_ranges(pkt, &iter);
    while (vmbus_range_iter_next(&iter, &range)) {
        count++;
        fuzz_require(range.byte_count && range.byte_offset < VMBUS_PAGE_SIZE,
                     "A range that was checked is empty or misplaced.");
        fuzz_require((uint64_t)range.byte_offset + range.byte_count <=
                         (uint64_t)range.page_count * VMBUS_PAGE_SIZE,
                     "A range that was checked lacks pages.");
        for (uint32_t i = 0; i < range.page_count; i++) {
            sum += vmbus_range_page(&range, i);
            fuzz_require(vmbus_range_page(&range, i) <= UINT64_MAX >>
                             VMBUS_PAGE_SHIFT,
                         "A page that was checked is out of range.");
        }
    }
    fuzz_require(count == head.range_count,
                 "A packet that was checked lacks ranges.");
    *(volatile uint64_t *)&sum = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    uint64_t words[WORDS] = {0};
    VmbusPacketDescriptor desc = {
        .type = fuzz_value(&in, 2, VMBUS_PKT_DATA_INBAND, 6),
        .flags = fuzz_value(&in, 2, 0, 2),
    };
    uint32_t at = sizeof(desc) / 8, header, payload;
    VmbusPacket pkt;
    uint8_t *buf;

    if (fuzz_chance(&in, 80)) {
        at = put_ranges(&in, words, at);
    } else {
        uint32_t more = fuzz_below(&in, 32);

        fuzz_copy(&in, words + at, more * 8);
        at += more;
    }
    /* What vmbus_ring_in_take() lets through. */
    header = fuzz_value(&in, 2, at, 1);
    desc.offset8 = CLAMP(header, sizeof(desc) / 8, WORDS);
    payload = fuzz_value(&in, 2, 0, 4);
    desc.len8 = MIN(desc.offset8 + payload, WORDS);
    memcpy(words, &desc, sizeof(desc));
    buf = g_memdup2(words, desc.len8 * 8u);
    if (!vmbus_packet_parse(buf, desc.len8 * 8u, &pkt)) {
        fuzz_require(pkt.header_len + pkt.data_len == desc.len8 * 8u &&
                         pkt.header == buf && pkt.data == buf + pkt.header_len,
                     "A packet is not where its descriptor says.");
        if (pkt.type == VMBUS_PKT_DATA_GPA_DIRECT) {
            check_ranges(&pkt);
        }
    }
    g_free(buf);
    return 0;
}
