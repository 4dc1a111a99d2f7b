/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process that thaws when the agent is dead or late. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "freeze-set.h"
#include "log.h"

typedef struct Guard {
    FreezeSet *set;
    int agent;   /* its end is the agent's end; -1 after that */
    int freezer; /* the same for the freezer */
    bool late;   /* the deadline is over, and its thaw done */
} Guard;

/* The pipe's end, or only a byte that wakes us up. */
static bool has_ended(int fd)
{
    char bytes[64];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

static int timeout_of(const Guard *guard)
{
    int64_t left;

    if (guard->late || guard->agent < 0) {
        return -1;
    }
    left = atomic_load(&guard->set->shared->deadline) - now_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void watch(Guard *guard)
{
    struct pollfd fds[] = {{.fd = guard->agent, .events = POLLIN},
                           {.fd = guard->freezer, .events = POLLIN}};

    if (poll(fds, ARRAY_SIZE(fds), timeout_of(guard)) < 0) {
        return;
    }
    if (fds[0].revents && has_ended(guard->agent)) {
        guard->agent = -1;
    }
    if (fds[1].revents && has_ended(guard->freezer)) {
        guard->freezer = -1;
    }
}

static bool deadline_over(const Guard *guard)
{
    return now_ms() >= atomic_load(&guard->set->shared->deadline);
}

void guard_run(FreezeSet *set, int agent, int alive)
{
    Guard guard = {.set = set, .agent = agent, .freezer = set->freezer_end};
    SharedState *shared = set->shared;
    int keep[] = {agent, alive, set->freezer_end};

    log_forget(); /* what is kept there is the agent's to write */
    freeze_set_child(set, "hv-vss-guard", keep, ARRAY_SIZE(keep));
    if (write(alive, "", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        bool gone = guard.agent < 0;

        if (gone || (!guard.late && deadline_over(&guard))) {
            atomic_store(&shared->cancel, true);
            guard.late = true;
        }
        if (guard.late) {
            freeze_set_sweep(set, gone, guard.freezer < 0);
        }
        /* Whatever the freezer was about to do has been undone. */
        if (gone && guard.freezer < 0) {
            break;
        }
        watch(&guard);
    }
    if (!atomic_load(&shared->finished) && set->orphaned) {
        set->orphaned(set->opaque);
    }
    _exit(0);
}
