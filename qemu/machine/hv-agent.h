/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol of the QEMU guest agent, from the agent's end: JSON commands
 * come in, one answer each goes out.  The commands themselves are a table that
 * the caller gives.
 *
 * One command at a time: what a client sends during a command is looked at
 * after its answer.  What a client can make this keep is bounded by
 * HV_AGENT_MAX_COMMAND, HV_AGENT_MAX_INPUT and one answer.
 *
 * No function here blocks or has a clock; all are called by one thread.
 * The facts are those of qga/qapi-schema.json of QEMU 10.0.
 */
#ifndef HW_VMBUS_HV_AGENT_H
#define HW_VMBUS_HV_AGENT_H

#include "qobject/qdict.h"

typedef struct HvAgent HvAgent;

typedef enum HvAgentType {
    HV_AGENT_NO_ARGUMENT,
    HV_AGENT_INT,
    HV_AGENT_STRING,
    HV_AGENT_STRINGS, /* a list of them */
} HvAgentType;

/* No command that is known here has more than one argument. */
typedef struct HvAgentArgument {
    const char *name;
    HvAgentType type;
    bool optional;
} HvAgentArgument;

typedef struct HvAgentCommand {
    const char *name;
    HvAgentArgument argument;
    /* A type of device without which the command is disabled; or NULL. */
    const char *needs;
    /*
     * Begins the command.  @args was checked and is not NULL.  One call of
     * hv_agent_return() or hv_agent_fail() follows, in this call or later.
     */
    void (*start)(HvAgent *agent, void *opaque, const QDict *args);
} HvAgentCommand;

/* None of them may call the agent. */
typedef struct HvAgentOps {
    /* Takes all of @len bytes for the client. */
    void (*send)(void *opaque, const char *bytes, size_t len);
    /* Call hv_agent_run() soon, but not in this call. */
    void (*wake)(void *opaque);
    /* The command that has begun needs no answer any more: its client is
     * gone.  hv_agent_return() or hv_agent_fail() is not called for it. */
    void (*abandon)(void *opaque);
    /* Has the machine a device of that type? */
    bool (*has_device)(void *opaque, const char *type);
} HvAgentOps;

/* Bytes of one command.  The longest that means something has some hundred. */
#define HV_AGENT_MAX_COMMAND 65536
/* Bytes that are taken while a command is under way; more are refused. */
#define HV_AGENT_MAX_INPUT 4096
/* Commands, and errors, in one call of hv_agent_run(). */
#define HV_AGENT_MAX_TURN 16

/* @commands ends with an entry without a name, and outlives the agent. */
HvAgent *hv_agent_new(const HvAgentCommand *commands, const HvAgentOps *ops,
                      void *opaque);
/* A command that is under way is abandoned. */
void hv_agent_free(HvAgent *agent);
/* How many bytes hv_agent_input() takes now: 0, or HV_AGENT_MAX_INPUT. */
size_t hv_agent_room(const HvAgent *agent);
/* The client sent @len bytes, at most what there is room for. */
void hv_agent_input(HvAgent *agent, const void *bytes, size_t len);
/* Goes on with what the client sent. */
void hv_agent_run(HvAgent *agent);
/* The client does not read: no command begins until it does. */
void hv_agent_set_blocked(HvAgent *agent, bool blocked);
/* The client is another one, or gone: nothing is left of the last one. */
void hv_agent_disconnect(HvAgent *agent);
/* Is a command under way? */
bool hv_agent_busy(const HvAgent *agent);
/* The command's result, which is taken over; NULL: an empty object. */
void hv_agent_return(HvAgent *agent, QObject *value);
/* The command failed; takes @err over. */
void hv_agent_fail(HvAgent *agent, Error *err);

#endif
