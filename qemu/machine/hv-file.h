/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file of the host that is read in QEMU's thread pool, a block at a time, of
 * which the pieces are cut that are asked for.  Main loop only.
 */
#ifndef HW_VMBUS_HV_FILE_H
#define HW_VMBUS_HV_FILE_H

#include <sys/stat.h>

#include "qom/object.h"

typedef struct HvFileBlock HvFileBlock;

typedef struct HvFile {
    int fd; /* the pool's threads read it */
    unsigned refs;
    struct stat st; /* when it was taken over */
} HvFile;

typedef struct HvFileOps {
    void (*done)(Object *owner, uint64_t id, uint64_t offset, const void *data,
                 uint32_t len);
    /* @changed: the file is not the one that it was; else an error. */
    void (*failed)(Object *owner, uint64_t id, bool changed);
} HvFileOps;

typedef struct HvFileReader {
    Object *owner; /* who embeds this; referenced while a block is read */
    const HvFileOps *ops;
    HvFile *file;         /* or NULL */
    HvFileBlock *reading; /* under way */
    HvFileBlock *block;   /* read */
    unsigned abandoned;   /* reads under way of files that were let go of */
} HvFileReader;

/* Takes the descriptor @name over from the monitor.  NULL with *@errp. */
HvFile *hv_file_get(const char *name, Error **errp);
void hv_file_unref(HvFile *file);
/*
 * Reads @len bytes at @offset of the reader's file, of which there is one, and
 * less than a block's; its ops tell of that, with @id, now or later.
 */
void hv_file_read(HvFileReader *reader, uint64_t id, uint64_t offset,
                  uint32_t len);
/* Lets go of the file; a read under way goes on, and is not told of. */
void hv_file_let_go(HvFileReader *reader);

#endif
