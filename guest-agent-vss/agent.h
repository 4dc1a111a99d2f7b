/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent: requests of the host, over the kernel's device. */
#ifndef GUEST_AGENT_VSS_AGENT_H
#define GUEST_AGENT_VSS_AGENT_H

#include "freeze-set.h"
#include "hv-vss-device.h"

typedef struct Agent {
    const AgentConfig *config;
    const FsOps *ops;
    /* Returns a descriptor of the device, or -1 and errno. */
    int (*open_device)(void *opaque);
    void *opaque;
    int retry_ms; /* between attempts to open the device */

    Waiter waiter;
    int device;
    Stuck stuck;
    FreezeSet *set;     /* what is frozen; NULL: nothing */
    int64_t hold_until; /* in now_ms() */
    bool lapsed;        /* it was thawed before the host asked for it */
    bool hooks_due;     /* thaw.d has yet to run */
    bool record_failed; /* that was logged */
    int open_error;     /* the last one that was logged */
} Agent;

/* Set what has a default; the caller sets the first four. */
void agent_init(Agent *agent);

/*
 * Serve the device until SIGTERM or SIGINT; then nothing is frozen.
 * Waits for a device that is not there, and again for one that goes.
 */
void agent_run(Agent *agent);

#endif
