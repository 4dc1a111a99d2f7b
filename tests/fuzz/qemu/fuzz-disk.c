/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "block/block_int.h"
#include "fuzz-disk.h"

typedef struct Held {
    Coroutine *co;
    FuzzDisk *disk;
    QTAILQ_ENTRY(Held) link;
} Held;

typedef struct DiskState {
    FuzzDisk *disk;
} DiskState;

static QTAILQ_HEAD(, Held) all_held = QTAILQ_HEAD_INITIALIZER(all_held);
static bool holding;
/* For disk_open(), whose options can't hold a pointer. */
static FuzzDisk *being_opened;

static uint8_t pristine(uint64_t offset)
{
    return offset * 7 + (offset >> 9) * 13 + 1;
}

uint8_t fuzz_disk_byte(const FuzzDisk *disk, uint64_t offset)
{
    return offset < FUZZ_DISK_STORE ? disk->data[offset] : 0;
}

void fuzz_disk_restore(FuzzDisk *disk)
{
    for (uint64_t i = 0; i < disk->dirty_end; i++) {
        disk->data[i] = pristine(i);
    }
    disk->dirty_end = 0;
    disk->fail_count = 0;
}

/* Waiting */

static void go_on(Held *held)
{
    QTAILQ_REMOVE(&all_held, held, link);
    aio_co_wake(held->co);
}

bool fuzz_disks_release(unsigned which)
{
    unsigned count = 0;
    Held *held;

    QTAILQ_FOREACH(held, &all_held, link) {
        count++;
    }
    if (!count) {
        return false;
    }
    which %= count;
    QTAILQ_FOREACH(held, &all_held, link) {
        if (!which--) {
            break;
        }
    }
    go_on(held);
    return true;
}

void fuzz_disks_hold(bool hold)
{
    holding = hold;
    while (!hold && fuzz_disks_release(0)) {
    }
}

/* The machine waits for all requests of the disk. */
static void drain_begin(BlockDriverState *bs)
{
    FuzzDisk *disk = ((DiskState *)bs->opaque)->disk;
    Held *held, *next;

    disk->drained++;
    QTAILQ_FOREACH_SAFE(held, &all_held, link, next)
    {
        if (held->disk == disk) {
            go_on(held);
        }
    }
}

static void drain_end(BlockDriverState *bs)
{
    ((DiskState *)bs->opaque)->disk->drained--;
}

/* 0, or a negative errno. */
static int coroutine_fn begin(BlockDriverState *bs)
{
    FuzzDisk *disk = ((DiskState *)bs->opaque)->disk;
    Held held = {.co = qemu_coroutine_self(), .disk = disk};

    if (holding && !disk->drained) {
        QTAILQ_INSERT_TAIL(&all_held, &held, link);
        qemu_coroutine_yield();
    }
    if (disk->fail_count) {
        disk->fail_count--;
        return -disk->fail;
    }
    return 0;
}

/* Requests */

static FuzzDisk *stored(BlockDriverState *bs, int64_t offset, int64_t *bytes)
{
    int64_t left = (int64_t)FUZZ_DISK_STORE - offset;

    *bytes = MAX(MIN(*bytes, left), 0);
    return ((DiskState *)bs->opaque)->disk;
}

static void written(FuzzDisk *disk, int64_t offset, int64_t bytes)
{
    if (bytes) {
        disk->dirty_end = MAX(disk->dirty_end, offset + bytes);
    }
}

static int coroutine_fn co_preadv(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes, QEMUIOVector *qiov,
                                  BdrvRequestFlags flags)
{
    int64_t part = bytes;
    FuzzDisk *disk = stored(bs, offset, &part);
    int ret = begin(bs);

    if (!ret) {
        if (part) {
            qemu_iovec_from_buf(qiov, 0, disk->data + offset, part);
        }
        qemu_iovec_memset(qiov, part, 0, bytes - part);
    }
    return ret;
}

static int coroutine_fn co_pwritev(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   BdrvRequestFlags flags)
{
    int64_t part = bytes;
    FuzzDisk *disk = stored(bs, offset, &part);
    int ret = begin(bs);

    if (ret) {
        return ret;
    }
    if (part) {
        qemu_iovec_to_buf(qiov, 0, disk->data + offset, part);
        written(disk, offset, part);
    }
    /* Or a WRITE SAME of terabytes would go on and on. */
    return part < bytes ? -EIO : 0;
}

static int coroutine_fn co_zero(BlockDriverState *bs, int64_t offset,
                                int64_t bytes)
{
    FuzzDisk *disk = stored(bs, offset, &bytes);
    int ret = begin(bs);

    if (!ret && bytes) {
        memset(disk->data + offset, 0, bytes);
        written(disk, offset, bytes);
    }
    return ret;
}

static int coroutine_fn co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes, BdrvRequestFlags flags)
{
    return co_zero(bs, offset, bytes);
}

static int coroutine_fn co_flush(BlockDriverState *bs)
{
    return begin(bs);
}

static int64_t coroutine_fn co_getlength(BlockDriverState *bs)
{
    return ((DiskState *)bs->opaque)->disk->size;
}

static int coroutine_fn co_truncate(BlockDriverState *bs, int64_t offset,
                                    bool exact, PreallocMode prealloc,
                                    BdrvRequestFlags flags, Error **errp)
{
    ((DiskState *)bs->opaque)->disk->size = offset;
    return 0;
}

/* The driver */

static int disk_open(BlockDriverState *bs, QDict *options, int flags,
                     Error **errp)
{
    ((DiskState *)bs->opaque)->disk = being_opened;
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_FUA;
    return 0;
}

static BlockDriver driver = {
    .format_name = "fuzz-disk",
    .protocol_name = "fuzz-disk",
    .instance_size = sizeof(DiskState),
    .bdrv_open = disk_open,
    .bdrv_co_getlength = co_getlength,
    .bdrv_co_truncate = co_truncate,
    .bdrv_co_preadv = co_preadv,
    .bdrv_co_pwritev = co_pwritev,
    .bdrv_co_pwrite_zeroes = co_pwrite_zeroes,
    .bdrv_co_pdiscard = co_zero,
    .bdrv_co_flush_to_disk = co_flush,
    .bdrv_drain_begin = drain_begin,
    .bdrv_drain_end = drain_end,
};

static void register_driver(void)
{
    bdrv_register(&driver);
}

block_init(register_driver);

void fuzz_disk_new(FuzzDisk *disk, const char *name, int64_t size,
                   bool read_only)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", driver.format_name);
    qdict_put_str(options, "node-name", name);
    qdict_put_str(options, BDRV_OPT_READ_ONLY, read_only ? "on" : "off");
    qdict_put_str(options, BDRV_OPT_DISCARD, "unmap");
    disk->size = size;
    disk->data = g_malloc(FUZZ_DISK_STORE);
    disk->dirty_end = FUZZ_DISK_STORE;
    fuzz_disk_restore(disk);
    being_opened = disk;
    bdrv_open(NULL, NULL, options, read_only ? 0 : BDRV_O_RDWR | BDRV_O_UNMAP,
              &error_abort);
}
