/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

uint64_t fuzz_edge(FuzzInput *in)
{
    static const uint64_t edges[] = {
        0,          1,          2,          7,
        8,          15,         16,         17,
        239,        240,        241,        2047,
        2048,       4095,       4096,       4097,
        0x7fff,     0x8000,     0xfff8,     0xffff,
        0x10000,    0x7fffffff, 0x80000000, 0xfffff000,
        0xfffffff8, 0xffffffff, 1ull << 32, 1ull << 52,
        INT64_MAX,  1ull << 63, UINT64_MAX, UINT64_MAX - 4095,
    };

    return edges[fuzz_below(in, G_N_ELEMENTS(edges))];
}

uint64_t fuzz_value(FuzzInput *in, unsigned bytes, uint64_t base,
                    uint32_t count)
{
    uint64_t mask = bytes < 8 ? (1ull << (8 * bytes)) - 1 : UINT64_MAX;
    uint8_t how = fuzz_u8(in);

    if (how < 0xc0 && count <= 0xc0) {
        return (base + how % count) & mask;
    } else if (how < 0xc0) {
        return (base + fuzz_below(in, count)) & mask;
    }
    return (how < 0xe8 ? fuzz_edge(in) : fuzz_number(in, bytes)) & mask;
}

void fuzz_found(const char *sentence)
{
    fprintf(stderr, "FOUND: %s\n", sentence);
    abort();
}
