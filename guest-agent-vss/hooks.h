/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The administrator's programs, run before a freeze and after a thaw. */
#ifndef GUEST_AGENT_VSS_HOOKS_H
#define GUEST_AGENT_VSS_HOOKS_H

#include "config.h"
#include "stuck.h"
#include "waiter.h"

typedef struct HookList {
    char **paths;
    size_t count;
} HookList;

/*
 * The hooks of a folder in the order of their names; none if there is no such
 * folder.  False and a reason if one is not safe to run.
 */
bool hooks_list(HookList *list, const char *dir, Reason *reason);

void hooks_free(HookList *list);

/*
 * Run freeze.d, each hook with its time limit and all by @deadline.  False
 * and a reason at the first one that fails, or if @waiter has something else.
 */
bool hooks_before_freeze(const AgentConfig *config, Stuck *stuck,
                         Waiter *waiter, int64_t deadline, Reason *reason);

/*
 * Run thaw.d, in the opposite order of names.  A failure is logged, and the
 * next one runs.
 */
void hooks_after_thaw(const AgentConfig *config, Stuck *stuck, Waiter *waiter);

#endif
