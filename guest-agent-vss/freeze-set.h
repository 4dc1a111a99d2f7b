/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file systems of one freeze, from the first descriptor to the thaw.
 *
 * Three processes hold the descriptors.  The freezer freezes, one file system
 * after the other, and may get stuck in the kernel with it.  The agent thaws.
 * The guard thaws when the agent is dead or its time is over.  What is frozen
 * stands in memory that they share, so that whoever is left thaws that, and
 * nothing else.
 */
#ifndef GUEST_AGENT_VSS_FREEZE_SET_H
#define GUEST_AGENT_VSS_FREEZE_SET_H

#include <stdatomic.h>
#include <sys/types.h>

#include "fsops.h"
#include "plan.h"
#include "stuck.h"
#include "waiter.h"

typedef enum FsState {
    FS_IDLE,
    FS_FREEZING, /* the freezer is in the kernel with it */
    FS_FAILED,   /* it could not be frozen */
    FS_FROZEN,
    FS_THAWING,
    FS_THAWED,
    FS_STAYS, /* it could not be thawed */
} FsState;

typedef struct SharedFs {
    _Atomic uint32_t state; /* FsState */
    _Atomic int32_t error;  /* errno of what failed */
} SharedFs;

typedef struct SharedState {
    _Atomic int64_t deadline; /* when the guard thaws, in now_ms() */
    _Atomic bool cancel;      /* freeze nothing more; thaw what was */
    _Atomic bool finished;    /* the agent has thawed everything */
    SharedFs fs[];
} SharedState;

typedef struct FreezeSet {
    const FsOps *ops;
    size_t count; /* file systems to freeze, in that order */
    int *fds;
    char **names;
    unsigned *majors, *minors;
    size_t flush_count; /* to write out only */
    int *flush_fds;

    SharedState *shared;
    Stuck *stuck;

    pid_t freezer;
    int freezer_end; /* its end is the freezer's end */
    pid_t guard;
    int guard_alive; /* its end is the guard's end */
    int guard_kick;  /* its end tells the guard that we ended */

    /* The guard calls it when it has thawed for a dead agent. */
    void (*orphaned)(void *opaque);
    void *opaque;
} FreezeSet;

/*
 * Open all file systems of @plan, in a child, because a path may lead through
 * a network file system that does not answer.  NULL and a reason if one
 * cannot be opened, at @deadline, or if @waiter has something else.
 */
FreezeSet *freeze_set_open(const Plan *plan, const FsOps *ops, const char *proc,
                           Stuck *stuck, Waiter *waiter, int64_t deadline,
                           Reason *reason);

/*
 * Freeze all of them by @deadline, for @hold_ms.  If one fails, everything is
 * thawed again, and the reason has its name.
 */
bool freeze_set_freeze(FreezeSet *set, Waiter *waiter, int64_t deadline,
                       int64_t hold_ms, Reason *reason);

/*
 * Thaw in the opposite order.  False and a reason if one was not frozen any
 * more, or cannot be thawed.
 */
bool freeze_set_thaw(FreezeSet *set, Reason *reason);

/* Whether a file system could not be thawed; another thaw tries again. */
bool freeze_set_stays(const FreezeSet *set);

/* The guard is dead: have another.  False: it cannot be. */
bool freeze_set_new_guard(FreezeSet *set, Reason *reason);

void freeze_set_free(FreezeSet *set);

/* For the parts of it: */

/* Thaw what is frozen; of a dead agent or freezer, also what it was doing. */
void freeze_set_sweep(FreezeSet *set, bool agent_gone, bool freezer_gone);

/* What the freezer and the guard are; they do not return. */
void freezer_run(FreezeSet *set, int end) __attribute__((noreturn));
void guard_run(FreezeSet *set, int agent, int alive) __attribute__((noreturn));

/*
 * At the beginning of such a process: a name, memory that stays, and no
 * descriptor but those of the file systems and @keep.
 */
void freeze_set_child(FreezeSet *set, const char *name, const int *keep,
                      size_t keep_count);

#endif
