/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mounted: /proc/PID/mountinfo (proc(5)) of one or more namespaces. */
#ifndef GUEST_AGENT_VSS_MOUNTINFO_H
#define GUEST_AGENT_VSS_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>

#include "util.h"

typedef struct Mount {
    int id;
    unsigned major, minor; /* of the superblock: what is frozen */
    char *root;            /* the folder of it that is mounted */
    char *point;
    char *type;
    char *source;
    char *super; /* options of the superblock */
    int pid;     /* 0: our own namespace; else a process in that of it */
} Mount;

typedef struct MountTable {
    Mount *mounts; /* in the order in which they were mounted */
    size_t count;
} MountTable;

/* Append the mounts in @text, which it changes; false and a reason. */
bool mountinfo_parse(MountTable *table, char *text, int pid, Reason *reason);

/* Append the mounts in a file; false and a reason. */
bool mountinfo_read(MountTable *table, const char *path, int pid,
                    Reason *reason);

/*
 * Append the mounts of every other mount namespace that has a process, as
 * @proc (/proc) tells; those of containers, for example.
 */
bool mountinfo_read_namespaces(MountTable *table, const char *proc,
                               Reason *reason);

/* The value of an option of the superblock, to be freed; NULL if not set. */
char *mount_option(const Mount *mount, const char *name);

/*
 * The mount of our own namespace that @path is on; NULL if there is none.
 * It looks at the text alone: no file system is touched.
 */
const Mount *mount_of_path(const MountTable *table, const char *path);

void mountinfo_free(MountTable *table);

#endif
