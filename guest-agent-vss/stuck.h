/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Children that do not end: the kernel lets go of them when it can. */
#ifndef GUEST_AGENT_VSS_STUCK_H
#define GUEST_AGENT_VSS_STUCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct Stuck {
    pid_t pids[16];
    size_t count;
} Stuck;

/* Keep a child to be waited for later; 0 or less is nothing. */
void stuck_add(Stuck *stuck, pid_t pid);

/* Wait for those that ended; whether there is one that has not. */
bool stuck_any(Stuck *stuck);

/* Give a child @ms milliseconds to end by itself. */
void stuck_wait(Stuck *stuck, pid_t pid, int ms);

#endif
