/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is done to a file system; tests put their own in its place. */
#ifndef GUEST_AGENT_VSS_FSOPS_H
#define GUEST_AGENT_VSS_FSOPS_H

#include "mountinfo.h"

/* Each returns -1 and sets errno if it fails. */
typedef struct FsOps {
    /* A descriptor of anything on the file system; @proc is /proc. */
    int (*open)(const Mount *mount, const char *proc);
    int (*flush)(int fd);
    /* EBUSY: somebody else froze it. */
    int (*freeze)(int fd);
    /* EINVAL: it is not frozen. */
    int (*thaw)(int fd);
} FsOps;

extern const FsOps fs_ops_linux;

#endif
