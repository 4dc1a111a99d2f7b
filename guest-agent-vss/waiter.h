/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wait for one thing, and notice the others that end the waiting. */
#ifndef GUEST_AGENT_VSS_WAITER_H
#define GUEST_AGENT_VSS_WAITER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Waiter {
    int signals; /* signalfd */
    int device;  /* hv_vss, or -1: do not look at it */
    bool stop;   /* SIGTERM or SIGINT came; stays */
} Waiter;

typedef enum WaitResult {
    WAIT_FD,      /* the descriptor has something, or its other end left */
    WAIT_CHILD,   /* a child ended */
    WAIT_DEVICE,  /* the device has something, or is gone */
    WAIT_STOP,    /* the program is to end */
    WAIT_TIMEOUT, /* the deadline is over */
} WaitResult;

/* Blocks SIGTERM, SIGINT and SIGCHLD and ignores SIGPIPE and SIGHUP. */
void waiter_init(Waiter *waiter);

void waiter_close(Waiter *waiter);

/* Before an exec: signals as a program expects them. */
void waiter_reset_signals(void);

/*
 * Wait for @fd (-1: none) until @deadline (now_ms(); negative: for ever).
 * A stop that came earlier counts only if @stoppable.
 */
WaitResult waiter_wait(Waiter *waiter, int fd, int64_t deadline,
                       bool stoppable);

#endif
