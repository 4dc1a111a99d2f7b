/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks in memory whose requests end when, and as, a fuzz target wants: a block
 * driver of QEMU's, "fuzz-disk".  All in the main loop's thread.
 */
#ifndef FUZZ_DISK_H
#define FUZZ_DISK_H

#include "qemu/queue.h"

/* Bytes of a disk that are kept; what lies behind them reads as zeros, and can
 * be written to with zeros only. */
#define FUZZ_DISK_STORE (1u << 20)

typedef struct FuzzDisk {
    int64_t size; /* bytes, as the machine sees it */
    uint8_t *data;
    uint64_t dirty_end; /* of @data: nothing behind it was written to */
    int fail;           /* an errno, for @fail_count requests from now on */
    unsigned fail_count;
    unsigned drained;
} FuzzDisk;

/* A node of that name, which lasts as long as the process. */
void fuzz_disk_new(FuzzDisk *disk, const char *name, int64_t size,
                   bool read_only);
/* As it was when it was new. */
void fuzz_disk_restore(FuzzDisk *disk);
/* What the disk has at @offset. */
uint8_t fuzz_disk_byte(const FuzzDisk *disk, uint64_t offset);

/* From now on requests to all disks wait, or not. */
void fuzz_disks_hold(bool hold);
/* Lets one of them that wait go on; false if there is none. */
bool fuzz_disks_release(unsigned which);

#endif
