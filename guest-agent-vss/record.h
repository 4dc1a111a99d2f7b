/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file in memory (/run) that tells what is frozen, for the case that agent
 * and guard are killed together.  It is written before the first freeze and
 * removed after the last thaw.
 */
#ifndef GUEST_AGENT_VSS_RECORD_H
#define GUEST_AGENT_VSS_RECORD_H

#include "freeze-set.h"

/* False and a reason; a freeze is possible all the same. */
bool record_write(const char *path, const FreezeSet *set, Reason *reason);

void record_remove(const char *path);

/*
 * Thaw what the record names, and remove it.  Returns how many file systems
 * were thawed; 0 also if there is no record.  False in *@ok and a reason if
 * one cannot be.
 */
unsigned record_recover(const AgentConfig *config, const FsOps *ops, bool *ok,
                        Reason *reason);

#endif
