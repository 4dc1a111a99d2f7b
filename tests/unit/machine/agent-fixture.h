/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An agent with a client and services that the test plays.
 */
#ifndef TEST_AGENT_FIXTURE_H
#define TEST_AGENT_FIXTURE_H

#include "hv-agent-commands.h"

typedef struct Case {
    HvAgent *agent;
    HvAgentCommands *commands;
    GString *out;        /* what the client has not read yet */
    unsigned wakes;      /* calls of wake() that were not followed yet */
    const char *missing; /* a type of device that the machine does not have */

    /* The services: what they will do, and what they were asked. */
    bool running;
    int64_t now_ms, wake_ms, wall_ns;
    const char *error; /* of the next request */
    unsigned shutdowns, syncs, freezes, thaws, lists, ip_gets;
    VMBusShutdownMode mode;
    uint32_t hold_ms, timeout_ms;
    char *mac; /* of the last ip_get */
    VMBusHeartbeatInfo heartbeat;
    VMBusTimesyncInfo timesync;
    VMBusVssInfo vss;
    /* The state of vss after a thaw; its default: thawed at once. */
    bool thaw_waits;
    VMBusKvpJobInfo *kvp; /* owned; NULL: forgotten */
    unsigned nics;
} Case;

Case *case_new(void);
void case_free(Case *c);
/* The client sends text, or bytes, and the agent does what it can. */
void case_send(Case *c, const char *text);
void case_send_bytes(Case *c, const void *bytes, size_t len);
/* Follows the calls of wake(). */
void case_settle(Case *c);
/* The next line for the client, which must be there; the caller frees it. */
char *case_line(Case *c);
/* It must be that JSON, in QEMU's order of members. */
void case_expect(Case *c, const char *json);
/* It must be an error with that class and sentence. */
void case_expect_error(Case *c, const char *class, const char *sentence);
void case_expect_silence(Case *c);
/* Sends a command without arguments. */
void case_command(Case *c, const char *name);
/* Time goes by, and the agent is called if it wanted to be. */
void case_pass(Case *c, int64_t ms);
/* The services have changed something. */
void case_poll(Case *c);

#define GENERIC   "GenericError"
#define NOT_FOUND "CommandNotFound"

#endif
