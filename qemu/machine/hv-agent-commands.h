/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of the QEMU guest agent that the integration services can
 * answer, on an interface that hides which QEMU they are in.
 */
#ifndef HW_VMBUS_HV_AGENT_COMMANDS_H
#define HW_VMBUS_HV_AGENT_COMMANDS_H

#include "qapi/qapi-types-vmbus.h"
#include "hv-agent.h"

typedef struct HvAgentCommands HvAgentCommands;

/* A network adapter that the host gave to the guest. */
typedef struct HvAgentNic {
    char *name;
    char *mac; /* "52:54:00:12:34:56" */
} HvAgentNic;

/* What the commands need; those with @errp set it if they fail. */
typedef struct HvAgentServices {
    bool (*has_device)(void *opaque, const char *type);
    /* Does the machine run? */
    bool (*running)(void *opaque);
    /* Milliseconds on a clock that goes on while the machine is stopped. */
    int64_t (*now_ms)(void *opaque);
    /* Call hv_agent_commands_poll() at @when_ms; replaces an earlier wish. */
    void (*wake_at)(void *opaque, int64_t when_ms);
    /* The host's clock, in nanoseconds since 1970, UTC. */
    int64_t (*wall_ns)(void *opaque);

    /* hv_agent_commands_shutdown_answered() follows, unless it fails. */
    void (*shutdown)(void *opaque, VMBusShutdownMode mode, Error **errp);
    /* hv_agent_commands_synced() follows, unless it fails. */
    void (*sync)(void *opaque, Error **errp);
    /* Begins a freeze; returns its number. */
    uint64_t (*freeze)(void *opaque, uint32_t hold_ms, uint32_t timeout_ms,
                       Error **errp);
    void (*thaw)(void *opaque, Error **errp);
    /* Begins to read the pool "auto", or the settings of an adapter. */
    uint64_t (*kvp_list)(void *opaque, uint32_t timeout_ms, Error **errp);
    uint64_t (*ip_get)(void *opaque, const char *mac, uint32_t timeout_ms,
                       Error **errp);

    /* The caller frees what they return; never NULL. */
    VMBusHeartbeatInfo *(*heartbeat)(void *opaque);
    VMBusTimesyncInfo *(*timesync)(void *opaque);
    VMBusVssInfo *(*vss)(void *opaque);
    /* NULL: there is no such job any more. */
    VMBusKvpJobInfo *(*kvp_job)(void *opaque, uint64_t job);
    /* HvAgentNic *, for hv_agent_nic_free(). */
    GPtrArray *(*nics)(void *opaque);
} HvAgentServices;

typedef struct HvAgentLimits {
    uint32_t timeout_ms;        /* for the guest's answer */
    uint32_t freeze_timeout_ms; /* for a freeze */
    uint32_t freeze_hold_ms;    /* how long a freeze lasts at most */
} HvAgentLimits;

/* How far from the host's clock a time may be that a client wants to set. */
#define HV_AGENT_TIME_SLACK_NS (10 * INT64_C(1000000000))

/* For hv_agent_new(); the opaque pointer is the HvAgentCommands. */
extern const HvAgentCommand hv_agent_commands[];

HvAgentCommands *hv_agent_commands_new(const HvAgentServices *services,
                                       void *opaque,
                                       const HvAgentLimits *limits);
void hv_agent_commands_free(HvAgentCommands *commands);
/* As given to hv_agent_commands_new(). */
void *hv_agent_commands_opaque(HvAgentCommands *commands);
/* Something may have happened: a job went on, or a deadline is over. */
void hv_agent_commands_poll(HvAgentCommands *commands);
/* The guest's answer: NULL for yes, or a sentence, which is copied. */
void hv_agent_commands_shutdown_answered(HvAgentCommands *commands,
                                         const char *refusal);
void hv_agent_commands_synced(HvAgentCommands *commands, const char *refusal);
/*
 * The command under way is answered with that sentence.  No guest stays frozen
 * without its client knowing of it.
 */
void hv_agent_commands_cancel(HvAgentCommands *commands, const char *why);
/* For HvAgentOps: nobody waits for the answer any more. */
void hv_agent_commands_abandon(HvAgentCommands *commands);

void hv_agent_nic_free(HvAgentNic *nic);

#endif
