/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "freeze-set.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* How long the guard lets the agent be the first to thaw. */
#define GUARD_GRACE_MS 500

/* For a process that is about to end by itself. */
#define END_MS 500

static size_t shared_size(const FreezeSet *set)
{
    return sizeof(*set->shared) + set->count * sizeof(set->shared->fs[0]);
}

/*
 * So that the kernel never waits for a frozen file system when it finds memory
 * for us.  Linux before 5.6 does not have it.
 */
static void never_wait_for_files(bool on)
{
    prctl(PR_SET_IO_FLUSHER, on, 0, 0, 0);
}

void freeze_set_child(FreezeSet *set, const char *name, const int *keep,
                      size_t keep_count)
{
    size_t total = keep_count + set->count + set->flush_count;
    int *fds = xcalloc(total, sizeof(*fds));

    prctl(PR_SET_NAME, name, 0, 0, 0);
    memcpy(fds, keep, keep_count * sizeof(*fds));
    memcpy(fds + keep_count, set->fds, set->count * sizeof(*fds));
    memcpy(fds + keep_count + set->count, set->flush_fds,
           set->flush_count * sizeof(*fds));
    /* The device above all: the kernel waits until nobody has it open. */
    close_others(3, fds, total);
    free(fds);
    mlockall(MCL_CURRENT | MCL_FUTURE);
    never_wait_for_files(true);
}

/* FITHAW can fail in passing, and nobody else will try again. */
static void thaw_now(FreezeSet *set, size_t i)
{
    SharedFs *fs = &set->shared->fs[i];
    FsState state = FS_STAYS;

    atomic_store(&fs->state, FS_THAWING);
    for (int attempt = 0; attempt < 3 && state == FS_STAYS; attempt++) {
        if (attempt > 0) {
            usleep(20000);
        }
        if (set->ops->thaw(set->fds[i]) == 0) {
            atomic_store(&fs->error, 0);
            state = FS_THAWED;
        } else {
            atomic_store(&fs->error, errno);
            /* EINVAL: somebody else thawed it. */
            state = errno == EINVAL ? FS_THAWED : FS_STAYS;
        }
    }
    atomic_store(&fs->state, state);
}

void freeze_set_sweep(FreezeSet *set, bool agent_gone, bool freezer_gone)
{
    for (size_t i = set->count; i-- > 0;) {
        _Atomic uint32_t *now = &set->shared->fs[i].state;
        uint32_t state = FS_FROZEN, stays = FS_STAYS;

        if (atomic_compare_exchange_strong(now, &state, FS_THAWING) ||
            atomic_compare_exchange_strong(now, &stays, FS_THAWING) ||
            (agent_gone && state == FS_THAWING) ||
            (freezer_gone && state == FS_FREEZING)) {
            thaw_now(set, i);
        }
    }
}

bool freeze_set_stays(const FreezeSet *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (atomic_load(&set->shared->fs[i].state) == FS_STAYS) {
            return true;
        }
    }
    return false;
}

/*
 * Everything is written out first, so that the time in which the guest stands
 * still is short.
 */
void freezer_run(FreezeSet *set, int end)
{
    SharedState *shared = set->shared;

    freeze_set_child(set, "hv-vss-freezer", &end, 1);
    for (size_t i = 0; i < set->flush_count; i++) {
        set->ops->flush(set->flush_fds[i]);
    }
    for (size_t i = 0; i < set->count && !atomic_load(&shared->cancel); i++) {
        set->ops->flush(set->fds[i]);
    }
    for (size_t i = 0; i < set->count && !atomic_load(&shared->cancel); i++) {
        SharedFs *fs = &shared->fs[i];

        atomic_store(&fs->state, FS_FREEZING);
        if (set->ops->freeze(set->fds[i]) != 0) {
            atomic_store(&fs->error, errno);
            atomic_store(&fs->state, FS_FAILED);
            _exit(1);
        }
        atomic_store(&fs->state, FS_FROZEN);
        /* Nobody who cancelled before that store has seen it as frozen. */
        if (atomic_load(&shared->cancel)) {
            freeze_set_sweep(set, false, false);
        }
    }
    _exit(0);
}

static bool start_guard(FreezeSet *set, int64_t deadline, Reason *reason)
{
    int kick[2], alive[2];
    Waiter waiter = {.signals = -1, .device = -1};
    char ready;

    if (pipe2(kick, O_CLOEXEC) != 0) {
        return reason_set(reason, "there is no guard: %s", strerror(errno));
    }
    if (pipe2(alive, O_CLOEXEC) != 0) {
        close(kick[0]);
        close(kick[1]);
        return reason_set(reason, "there is no guard: %s", strerror(errno));
    }
    set->guard = fork();
    if (set->guard == 0) {
        guard_run(set, kick[0], alive[1]);
    }
    close(kick[0]);
    close(alive[1]);
    set->guard_kick = kick[1];
    set->guard_alive = alive[0];
    return (set->guard > 0 &&
            waiter_wait(&waiter, alive[0], deadline, false) == WAIT_FD &&
            read(alive[0], &ready, 1) == 1) ||
           reason_set(reason, "the guard does not start");
}

static bool start_freezer(FreezeSet *set, int write_end, Reason *reason)
{
    set->freezer = fork();
    if (set->freezer == 0) {
        freezer_run(set, write_end);
    }
    return set->freezer > 0 ||
           reason_set(reason, "no child can be started: %s", strerror(errno));
}

/* Until the freezer ends, which it does after the last one or a failure. */
static bool wait_for_freezer(FreezeSet *set, Waiter *waiter, int64_t deadline,
                             Reason *reason)
{
    const char *name = "a file system";

    for (;;) {
        switch (waiter_wait(waiter, set->freezer_end, deadline, true)) {
        case WAIT_FD:
            return true;
        case WAIT_CHILD:
            break;
        case WAIT_DEVICE:
            return reason_set(reason, "the host or the kernel broke it off");
        case WAIT_STOP:
            return reason_set(reason, "the agent was told to end");
        case WAIT_TIMEOUT:
            for (size_t i = 0; i < set->count; i++) {
                if (atomic_load(&set->shared->fs[i].state) < FS_FAILED) {
                    name = set->names[i];
                    break;
                }
            }
            return reason_set(reason, "%s could not be frozen in time", name);
        }
    }
}

static const char *freeze_error(int error)
{
    switch (error) {
    case EBUSY:
        return "another program has frozen it already";
    case EOPNOTSUPP:
    case ENOTTY:
        return "its type cannot be frozen; name it with \"exclude\" in the "
               "configuration";
    default:
        return strerror(error);
    }
}

static bool all_frozen(const FreezeSet *set, Reason *reason)
{
    for (size_t i = 0; i < set->count; i++) {
        const SharedFs *fs = &set->shared->fs[i];

        switch (atomic_load(&fs->state)) {
        case FS_FROZEN:
            break;
        case FS_FAILED:
            return reason_set(reason, "%s cannot be frozen: %s", set->names[i],
                              freeze_error(atomic_load(&fs->error)));
        default:
            return reason_set(reason,
                              "%s was not frozen: the child that "
                              "freezes died, or time was over",
                              set->names[i]);
        }
    }
    return true;
}

static void set_guard_deadline(FreezeSet *set, int64_t deadline)
{
    atomic_store(&set->shared->deadline, deadline);
    if (set->guard_kick >= 0 && write(set->guard_kick, "", 1) < 0) {
        return; /* it is dead, as we are about to notice */
    }
}

bool freeze_set_freeze(FreezeSet *set, Waiter *waiter, int64_t deadline,
                       int64_t hold_ms, Reason *reason)
{
    Reason after;
    int end[2];
    bool ok;

    if (pipe2(end, O_CLOEXEC) != 0) {
        return reason_set(reason, "no pipe: %s", strerror(errno));
    }
    set->freezer_end = end[0];
    atomic_store(&set->shared->deadline, deadline + END_MS);
    ok = start_guard(set, deadline, reason) &&
         start_freezer(set, end[1], reason);
    close(end[1]);
    ok = ok && wait_for_freezer(set, waiter, deadline, reason) &&
         all_frozen(set, reason);
    if (!ok) {
        if (!freeze_set_thaw(set, &after)) {
            Reason first = *reason;

            reason_set(reason, "%.500s; and %.500s", first.text, after.text);
        }
        return false;
    }
    set_guard_deadline(set, now_ms() + hold_ms + GUARD_GRACE_MS);
    never_wait_for_files(true);
    return true;
}

bool freeze_set_new_guard(FreezeSet *set, Reason *reason)
{
    close_fd(&set->guard_kick);
    close_fd(&set->guard_alive);
    stuck_wait(set->stuck, set->guard, END_MS);
    set->guard = 0;
    return start_guard(set, now_ms() + END_MS, reason);
}

/* Whether the freezer ends by @deadline. */
static bool freezer_ends(const FreezeSet *set, int64_t deadline)
{
    Waiter waiter = {.signals = -1, .device = -1};

    return set->freezer <= 0 ||
           waiter_wait(&waiter, set->freezer_end, deadline, false) == WAIT_FD;
}

/* What the thaw found that was not as it should be. */
static bool all_thawed(const FreezeSet *set, const uint32_t *before,
                       Reason *reason)
{
    for (size_t i = 0; i < set->count; i++) {
        uint32_t state = atomic_load(&set->shared->fs[i].state);
        int error = atomic_load(&set->shared->fs[i].error);

        if (state == FS_STAYS) {
            return reason_set(reason, "%s cannot be thawed: %s", set->names[i],
                              strerror(error));
        }
        if (state == FS_FREEZING) {
            return reason_set(reason,
                              "the kernel has not ended freezing %s; "
                              "it is thawed when it has",
                              set->names[i]);
        }
        if (before[i] == FS_THAWED || (state == FS_THAWED && error == EINVAL)) {
            return reason_set(reason, "%s was thawed before", set->names[i]);
        }
    }
    return true;
}

bool freeze_set_thaw(FreezeSet *set, Reason *reason)
{
    uint32_t *before = xcalloc(set->count, sizeof(*before));
    bool gone, ok;

    for (size_t i = 0; i < set->count; i++) {
        before[i] = atomic_load(&set->shared->fs[i].state);
    }
    /* Should we get stuck with one, the guard thaws the others. */
    set_guard_deadline(set, now_ms() + END_MS);
    atomic_store(&set->shared->cancel, true);
    freeze_set_sweep(set, false, false);
    gone = freezer_ends(set, now_ms() + END_MS);
    freeze_set_sweep(set, false, gone);
    never_wait_for_files(false);
    ok = all_thawed(set, before, reason);
    free(before);
    return ok;
}

void freeze_set_free(FreezeSet *set)
{
    if (!set) {
        return;
    }
    if (set->shared && set->shared != MAP_FAILED) {
        atomic_store(&set->shared->finished, true);
    }
    close_fd(&set->guard_kick);
    stuck_wait(set->stuck, set->freezer, END_MS);
    stuck_wait(set->stuck, set->guard, END_MS);
    close_fd(&set->guard_alive);
    close_fd(&set->freezer_end);
    for (size_t i = 0; i < set->count; i++) {
        close_fd(&set->fds[i]);
        free(set->names[i]);
    }
    for (size_t i = 0; i < set->flush_count; i++) {
        close_fd(&set->flush_fds[i]);
    }
    free(set->fds);
    free(set->names);
    free(set->majors);
    free(set->minors);
    free(set->flush_fds);
    if (set->shared && set->shared != MAP_FAILED) {
        munmap(set->shared, shared_size(set));
    }
    free(set);
}
