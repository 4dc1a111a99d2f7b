/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which file systems are frozen, in which order, and which are not. */
#ifndef GUEST_AGENT_VSS_PLAN_H
#define GUEST_AGENT_VSS_PLAN_H

#include "config.h"
#include "mountinfo.h"

/* A superblock; it may be mounted in many places. */
typedef struct PlanItem {
    const Mount *first;   /* the mount that names it */
    const Mount **places; /* where to open it, the best one first */
    size_t place_count;
    const char *reason; /* why it is left out; NULL: it is frozen */
    bool flush;         /* it cannot be frozen, but written out */
} PlanItem;

typedef struct Plan {
    MountTable table;
    PlanItem *freeze; /* in the order of freezing */
    size_t freeze_count;
    PlanItem *leave;
    size_t leave_count;
} Plan;

/*
 * Look at what is mounted now.  Reads /proc and /sys only, or what stands for
 * them in @config.  Free it with plan_free(), also after a failure.
 */
bool plan_make(Plan *plan, const AgentConfig *config, Reason *reason);

/* How messages call it; to be freed. */
char *plan_item_name(const PlanItem *item);

void plan_free(Plan *plan);

#endif
