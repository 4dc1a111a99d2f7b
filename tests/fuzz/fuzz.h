/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets share.  A target reads its input as a program: a byte
 * says what to do next, the bytes after it say how.  Nearly right things are
 * more likely than noise, because noise is refused at the first look.  An
 * input that ends gives zeros, so every input is valid.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct FuzzInput {
    const uint8_t *at;
    size_t left;
} FuzzInput;

/* The entry of libFuzzer; one in each target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline bool fuzz_end(const FuzzInput *in)
{
    return in->left == 0;
}

static inline uint8_t fuzz_u8(FuzzInput *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

/* A little-endian number of @bytes (1 to 8) bytes. */
static inline uint64_t fuzz_number(FuzzInput *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)fuzz_u8(in) << (8 * i);
    }
    return value;
}

/* 0 to @limit - 1. */
static inline uint32_t fuzz_below(FuzzInput *in, uint32_t limit)
{
    return (limit > 256 ? fuzz_number(in, 2) : fuzz_u8(in)) % limit;
}

/* True in about @percent of the cases; an input's end says false. */
static inline bool fuzz_chance(FuzzInput *in, unsigned percent)
{
    return fuzz_u8(in) > 255 - percent * 255 / 100;
}

static inline void fuzz_copy(FuzzInput *in, void *buf, size_t len)
{
    size_t part = MIN(len, in->left);

    if (part) {
        memcpy(buf, in->at, part);
        in->at += part;
        in->left -= part;
    }
    memset((uint8_t *)buf + part, 0, len - part);
}

/* A number of the kind that checks get wrong: 0, all ones, a sign bit ... */
uint64_t fuzz_edge(FuzzInput *in);

/*
 * A number of @bytes bytes: mostly @base plus less than @count, sometimes an
 * edge, sometimes noise.
 */
uint64_t fuzz_value(FuzzInput *in, unsigned bytes, uint64_t base,
                    uint32_t count);

/* Ends the process with @sentence: the fuzzer has found something. */
void fuzz_found(const char *sentence) G_GNUC_NORETURN;

static inline void fuzz_require(bool good, const char *sentence)
{
    if (!good) {
        fuzz_found(sentence);
    }
}

#endif
