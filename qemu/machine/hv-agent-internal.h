/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the agent's commands share. */
#ifndef HW_VMBUS_HV_AGENT_INTERNAL_H
#define HW_VMBUS_HV_AGENT_INTERNAL_H

#include "hv-agent-commands.h"

struct HvAgentCommands {
    const HvAgentServices *services;
    void *opaque;
    HvAgentLimits limits;

    /* The command that waits for the guest; all NULL if there is none. */
    HvAgent *agent;
    /* Looks whether it is done, and answers. */
    void (*poll)(HvAgentCommands *c);
    int64_t deadline_ms;
    const char *late; /* what is said when the deadline is over */
    uint64_t job;     /* of the backup or the key-value service */
    bool freezing;

    /* Thawing: what is returned, or the error. */
    int thawed;
    char *thawed_early;

    /* Shutdown and time: what the guest said, perhaps in the request. */
    bool answered;
    char *refusal;

    /* A freeze that a client was told of, and has not thawed; 0: none. */
    uint64_t frozen_job;

    /* Network interfaces: those still to be asked for, and the result. */
    GPtrArray *nics;
    QList *interfaces;
};

/*
 * The command waits, for at most @timeout_ms; @late is static.  Call it before
 * what may be answered at once.
 */
void hv_agent_wait(HvAgentCommands *c, HvAgent *agent,
                   void (*poll)(HvAgentCommands *c), uint32_t timeout_ms,
                   const char *late);
/* Answers the command that waits; take @value and @err over. */
void hv_agent_wait_return(HvAgentCommands *c, QObject *value);
void hv_agent_wait_fail(HvAgentCommands *c, Error *err);
/* Fails a command that needs a running guest, or returns true. */
bool hv_agent_need_running(HvAgentCommands *c, HvAgent *agent);

/* hv-agent-kvp.c */
void hv_agent_start_osinfo(HvAgent *agent, void *opaque, const QDict *args);
void hv_agent_start_host_name(HvAgent *agent, void *opaque, const QDict *args);
void hv_agent_start_interfaces(HvAgent *agent, void *opaque, const QDict *args);
void hv_agent_kvp_forget(HvAgentCommands *c);

#endif
