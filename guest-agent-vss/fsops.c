/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsops.h"
#include "util.h"

/* The mount that a descriptor is on; -1 if it cannot be told. */
static int mount_id_of(int fd, const char *proc)
{
    char *path = xasprintf("%s/self/fdinfo/%d", proc, fd);
    char *text = read_file(path, 65536), *at;
    int id = -1;

    if (text && (at = strstr(text, "mnt_id:"))) {
        id = atoi(at + strlen("mnt_id:"));
    }
    free(text);
    free(path);
    return id;
}

/*
 * Only folders and files: opening a device node would do something to the
 * device.  The other checks are for mounts that hide this one, and for
 * containers that move things about under our feet.
 */
static int open_checked(int place, const Mount *mount, const char *proc)
{
    struct stat status;
    char *path;
    int fd;

    if (fstat(place, &status) != 0) {
        return -1;
    }
    if (mount_id_of(place, proc) != mount->id) {
        errno = ESTALE;
        return -1;
    }
    if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    path = xasprintf("%s/self/fd/%d", proc, place);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    free(path);
    return fd;
}

static int linux_open(const Mount *mount, const char *proc)
{
    char *path = mount->pid
                     ? xasprintf("%s/%d/root%s", proc, mount->pid, mount->point)
                     : xstrdup(mount->point);
    int place = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd, error;

    free(path);
    if (place < 0) {
        return -1;
    }
    fd = open_checked(place, mount, proc);
    error = errno;
    close(place);
    errno = error;
    return fd;
}

static int linux_flush(int fd)
{
    return syncfs(fd);
}

static int linux_freeze(int fd)
{
    return ioctl(fd, FIFREEZE, 0);
}

static int linux_thaw(int fd)
{
    return ioctl(fd, FITHAW, 0);
}

const FsOps fs_ops_linux = {
    .open = linux_open,
    .flush = linux_flush,
    .freeze = linux_freeze,
    .thaw = linux_thaw,
};
