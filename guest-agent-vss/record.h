/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file in memory (/run) for the agent that comes after one that was killed.
 * It is there from before the first hook of freeze.d until after the last one
 * of thaw.d, and tells what may be frozen.  It stays if the thaw was not asked
 * for by the host, which has to hear of that from whoever gets its THAW.
 */
#ifndef GUEST_AGENT_VSS_RECORD_H
#define GUEST_AGENT_VSS_RECORD_H

#include "freeze-set.h"

/*
 * Write what is to be frozen; NULL: nothing is.  False and a reason; a freeze
 * is possible all the same.
 */
bool record_write(const char *path, const FreezeSet *set, Reason *reason);

/*
 * Where nothing is frozen: write that the last freeze ended before the host
 * asked for it; and that the host knows it.
 */
void record_lapse(const char *path);
void record_end_lapse(const char *path);

void record_remove(const char *path);

typedef enum Recovered {
    RECOVER_NOTHING, /* there is no record */
    RECOVER_LAPSED,  /* nothing is left but to tell the host of the lapse */
    RECOVER_DONE,    /* nothing is frozen; thaw.d has to run */
    RECOVER_FAILED,  /* something cannot be thawed */
} Recovered;

/*
 * Thaw what the record names; *@thawed says how many file systems that were.
 * Give a reason if it fails.  The record stays.
 */
Recovered record_recover(const AgentConfig *config, const FsOps *ops,
                         unsigned *thawed, Reason *reason);

#endif
