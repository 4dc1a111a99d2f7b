/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "block/thread-pool.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "hv-file.h"

#define BLOCK_SIZE (256 * KiB)

/* A block of a file that is being read, or was. */
struct HvFileBlock {
    HvFileReader *reader; /* its owner is referenced while it is read */
    HvFile *file;
    uint64_t id;
    uint64_t offset;
    uint32_t len;
    ssize_t got; /* -1: an error */
    bool changed;
    uint32_t wanted; /* bytes that were asked for */
    uint8_t data[BLOCK_SIZE];
};

HvFile *hv_file_get(const char *name, Error **errp)
{
    int fd = monitor_get_fd(monitor_cur(), name, errp);
    HvFile *file;

    if (fd < 0) {
        return NULL;
    }
    file = g_new0(HvFile, 1);
    file->fd = fd;
    file->refs = 1;
    if (fstat(fd, &file->st) < 0) {
        error_setg_errno(errp, errno, "descriptor '%s'", name);
    } else if (!S_ISREG(file->st.st_mode)) {
        error_setg(errp, "descriptor '%s' is of no regular file", name);
    } else {
        return file;
    }
    hv_file_unref(file);
    return NULL;
}

void hv_file_unref(HvFile *file)
{
    if (--file->refs == 0) {
        close(file->fd);
        g_free(file);
    }
}

static void block_free(HvFileBlock *block)
{
    if (block) {
        hv_file_unref(block->file);
        g_free(block);
    }
}

void hv_file_let_go(HvFileReader *reader)
{
    g_clear_pointer(&reader->block, block_free);
    if (reader->reading) {
        reader->reading = NULL;
        reader->abandoned++;
    }
    g_clear_pointer(&reader->file, hv_file_unref);
}

/* Gives what was asked for, out of a block that has it. */
static void give(HvFileReader *reader, uint64_t id, uint64_t offset,
                 uint32_t len)
{
    const HvFileBlock *block = reader->block;
    uint64_t skip = offset - block->offset;

    if (block->got < 0) {
        reader->ops->failed(reader->owner, id, false);
    } else if (block->changed || block->got < skip + len) {
        reader->ops->failed(reader->owner, id, true);
    } else {
        reader->ops->done(reader->owner, id, offset, block->data + skip, len);
    }
}

/* In a thread of the pool: only the block, and its file's descriptor. */
static int read_block(void *opaque)
{
    HvFileBlock *block = opaque;
    const struct stat *was = &block->file->st;
    struct stat now;
    ssize_t n = 0;

    block->got = 0;
    while (block->got < block->len) {
        n = RETRY_ON_EINTR(pread(block->file->fd, block->data + block->got,
                                 block->len - block->got,
                                 block->offset + block->got));
        if (n <= 0) {
            break;
        }
        block->got += n;
    }
    if (n < 0) {
        block->got = -1;
    }
    block->changed = fstat(block->file->fd, &now) < 0 ||
                     now.st_size != was->st_size ||
                     now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
                     now.st_mtim.tv_nsec != was->st_mtim.tv_nsec;
    return 0;
}

static void block_read(void *opaque, int ret)
{
    HvFileBlock *block = opaque;
    HvFileReader *reader = block->reader;
    Object *owner = reader->owner;

    if (reader->reading == block) {
        reader->reading = NULL;
        reader->block = block;
        give(reader, block->id, block->offset, block->wanted);
    } else {
        reader->abandoned--;
        block_free(block);
    }
    object_unref(owner);
}

void hv_file_read(HvFileReader *reader, uint64_t id, uint64_t offset,
                  uint32_t len)
{
    HvFileBlock *block = reader->block;

    if (block && offset >= block->offset &&
        offset + len <= block->offset + block->len) {
        give(reader, id, offset, len);
        return;
    }
    g_clear_pointer(&reader->block, block_free);
    block = g_new(HvFileBlock, 1);
    block->reader = reader;
    object_ref(reader->owner);
    block->file = reader->file;
    block->file->refs++;
    block->id = id;
    block->offset = offset;
    block->len = MIN(BLOCK_SIZE, reader->file->st.st_size - offset);
    block->wanted = len;
    reader->reading = block;
    thread_pool_submit_aio(read_block, block, block_read, block);
}
