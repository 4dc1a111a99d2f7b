/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For a source file that works on memory shared with the guest: included
 * before it, fuzz_touch() is called ahead of each of the file's accesses, and
 * may change the memory as a second processor would.
 */
#ifndef FUZZ_TOUCH_H
#define FUZZ_TOUCH_H

#include <glib.h>
#include <string.h>

void fuzz_touch(void);

static inline void *fuzz_touch_copy(void *to, const void *from, size_t len)
{
    fuzz_touch();
    return memcpy(to, from, len);
}

#define memcpy(to, from, len) fuzz_touch_copy(to, from, len)
/* A macro is not expanded again inside of itself. */
#define __atomic_load_n(p, order) (fuzz_touch(), __atomic_load_n(p, order))
#define __atomic_store_n(p, value, order)                                      \
    (fuzz_touch(), __atomic_store_n(p, value, order))
#define __atomic_fetch_or(p, value, order)                                     \
    (fuzz_touch(), __atomic_fetch_or(p, value, order))
#define __atomic_compare_exchange_n(p, old, value, weak, good, bad)            \
    (fuzz_touch(), __atomic_compare_exchange_n(p, old, value, weak, good, bad))

#endif
