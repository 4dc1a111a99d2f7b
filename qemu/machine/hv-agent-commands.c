/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's commands on heartbeat, shutdown, time and backup. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "hv-agent-internal.h"

/* What an engine with a deadline of its own gets on top of it. */
#define GRACE_MS 5000

/* Waiting */

static void forget(HvAgentCommands *c)
{
    c->agent = NULL;
    c->poll = NULL;
    c->freezing = false;
    c->answered = false;
    g_clear_pointer(&c->refusal, g_free);
    g_clear_pointer(&c->thawed_early, g_free);
    hv_agent_kvp_forget(c);
    c->services->wake_at(c->opaque, INT64_MAX);
}

void hv_agent_wait(HvAgentCommands *c, HvAgent *agent,
                   void (*poll)(HvAgentCommands *c), uint32_t timeout_ms,
                   const char *late)
{
    c->agent = agent;
    c->poll = poll;
    c->late = late;
    c->deadline_ms = c->services->now_ms(c->opaque) + timeout_ms;
    c->services->wake_at(c->opaque, c->deadline_ms);
}

void hv_agent_wait_return(HvAgentCommands *c, QObject *value)
{
    HvAgent *agent = c->agent;

    forget(c);
    hv_agent_return(agent, value);
}

void hv_agent_wait_fail(HvAgentCommands *c, Error *err)
{
    HvAgent *agent = c->agent;

    forget(c);
    hv_agent_fail(agent, err);
}

static void fail_now(HvAgent *agent, const char *sentence)
{
    Error *err = NULL;

    error_setg(&err, "%s", sentence);
    hv_agent_fail(agent, err);
}

bool hv_agent_need_running(HvAgentCommands *c, HvAgent *agent)
{
    if (c->services->running(c->opaque)) {
        return true;
    }
    fail_now(agent, "the machine is stopped");
    return false;
}

/* A guest that is about to freeze would do so behind everybody's back. */
static void undo_freeze(HvAgentCommands *c)
{
    if (c->freezing) {
        c->services->thaw(c->opaque, NULL);
    }
}

void hv_agent_commands_cancel(HvAgentCommands *c, const char *why)
{
    Error *err = NULL;

    if (c->poll) {
        undo_freeze(c);
        error_setg(&err, "%s", why);
        hv_agent_wait_fail(c, err);
    }
}

void hv_agent_commands_abandon(HvAgentCommands *c)
{
    if (c->poll) {
        undo_freeze(c);
        forget(c);
    }
}

void hv_agent_commands_poll(HvAgentCommands *c)
{
    if (c->poll) {
        c->poll(c);
    }
    if (c->poll && c->services->now_ms(c->opaque) >= c->deadline_ms) {
        hv_agent_commands_cancel(c, c->late);
    }
}

/* Heartbeat */

static void start_ping(HvAgent *agent, void *opaque, const QDict *args)
{
    static const char *const sentences[] = {
        [VM_BUS_HEARTBEAT_STATE_NO_CONTACT] =
            "the guest has not answered a heartbeat yet",
        [VM_BUS_HEARTBEAT_STATE_LOST] =
            "the guest has stopped to answer heartbeats",
        [VM_BUS_HEARTBEAT_STATE_PAUSED] = "the machine is stopped",
    };
    HvAgentCommands *c = opaque;
    g_autoptr(VMBusHeartbeatInfo) info = c->services->heartbeat(c->opaque);

    if (info->state == VM_BUS_HEARTBEAT_STATE_OK) {
        hv_agent_return(agent, NULL);
    } else {
        fail_now(agent, sentences[info->state]);
    }
}

/* What the guest answers to a request to shut down, and to a sync */

static void poll_answered(HvAgentCommands *c)
{
    Error *err = NULL;

    if (!c->answered) {
        return;
    }
    if (c->refusal) {
        error_setg(&err, "%s", c->refusal);
        hv_agent_wait_fail(c, err);
    } else {
        hv_agent_wait_return(c, NULL);
    }
}

static void answered(HvAgentCommands *c, const char *refusal)
{
    if (c->poll == poll_answered) {
        c->answered = true;
        g_free(c->refusal);
        c->refusal = g_strdup(refusal);
    }
}

void hv_agent_commands_shutdown_answered(HvAgentCommands *c,
                                         const char *refusal)
{
    answered(c, refusal);
}

void hv_agent_commands_synced(HvAgentCommands *c, const char *refusal)
{
    answered(c, refusal);
}

/*
 * The guest's consent is returned, where qemu-ga returns nothing: libvirt
 * takes the end of a QEMU that it hears of too soon for a failure ("End of
 * file from agent socket"), and waits for ever for a guest that consented and
 * then could not hibernate.
 */
static void request_shutdown(HvAgent *agent, HvAgentCommands *c,
                             VMBusShutdownMode mode)
{
    Error *err = NULL;

    if (!hv_agent_need_running(c, agent)) {
        return;
    }
    hv_agent_wait(c, agent, poll_answered, c->limits.timeout_ms,
                  "the guest has not answered the request to shut down in "
                  "time; it may still follow it");
    c->services->shutdown(c->opaque, mode, &err);
    if (err) {
        hv_agent_wait_fail(c, err);
    }
}

/* A virtual machine that halts has no reason to keep its power on. */
static void start_shutdown(HvAgent *agent, void *opaque, const QDict *args)
{
    const char *mode = qdict_get_try_str(args, "mode") ?: "powerdown";
    Error *err = NULL;

    if (!strcmp(mode, "powerdown") || !strcmp(mode, "halt")) {
        request_shutdown(agent, opaque, VM_BUS_SHUTDOWN_MODE_POWERDOWN);
    } else if (!strcmp(mode, "reboot")) {
        request_shutdown(agent, opaque, VM_BUS_SHUTDOWN_MODE_REBOOT);
    } else {
        error_setg(&err, "the mode '%s' is none of powerdown, reboot and halt",
                   mode);
        hv_agent_fail(agent, err);
    }
}

static void start_suspend_disk(HvAgent *agent, void *opaque, const QDict *args)
{
    request_shutdown(agent, opaque, VM_BUS_SHUTDOWN_MODE_HIBERNATE);
}

/* Time */

static void start_get_time(HvAgent *agent, void *opaque, const QDict *args)
{
    HvAgentCommands *c = opaque;
    g_autoptr(VMBusTimesyncInfo) info = NULL;

    if (!hv_agent_need_running(c, agent)) {
        return;
    }
    info = c->services->timesync(c->opaque);
    if (!info->has_offset_us) {
        fail_now(agent,
                 "the guest does not tell what its clock shows: the "
                 "time service has had no place for it since version 4.0");
        return;
    }
    hv_agent_return(agent,
                    QOBJECT(qnum_from_int(c->services->wall_ns(c->opaque) +
                                          info->offset_us * 1000)));
}

static void start_set_time(HvAgent *agent, void *opaque, const QDict *args)
{
    HvAgentCommands *c = opaque;
    int64_t now = c->services->wall_ns(c->opaque);
    int64_t time, ahead;
    Error *err = NULL;

    if (!hv_agent_need_running(c, agent)) {
        return;
    }
    if (qdict_haskey(args, "time")) {
        if (!qnum_get_try_int(qobject_to(QNum, qdict_get(args, "time")),
                              &time) ||
            time < 0) {
            fail_now(agent, "the time is out of range");
            return;
        }
        ahead = time - now;
        if (ahead > HV_AGENT_TIME_SLACK_NS || ahead < -HV_AGENT_TIME_SLACK_NS) {
            error_setg(&err,
                       "the time service can only give the guest the "
                       "host's time, and the time wanted is %" PRId64
                       " s %s it",
                       (ahead < 0 ? -ahead : ahead) / 1000000000,
                       ahead < 0 ? "behind" : "ahead of");
            hv_agent_fail(agent, err);
            return;
        }
    }
    hv_agent_wait(c, agent, poll_answered, c->limits.timeout_ms,
                  "the guest has not answered the order to set its clock in "
                  "time");
    c->services->sync(c->opaque, &err);
    if (err) {
        hv_agent_wait_fail(c, err);
    }
}

/* Backup */

static bool at_rest(const VMBusVssInfo *info)
{
    return !info->thaw_owed && (info->state == VM_BUS_VSS_STATE_IDLE ||
                                info->state == VM_BUS_VSS_STATE_FAILED);
}

static void poll_freeze(HvAgentCommands *c)
{
    g_autoptr(VMBusVssInfo) info = c->services->vss(c->opaque);
    bool ours = info->job == c->job;
    Error *err = NULL;

    if (ours && info->state == VM_BUS_VSS_STATE_FROZEN) {
        c->frozen_job = c->job;
        /*
         * The service freezes all that can be frozen, and does not say how
         * many that are.  A client that gets 0 does not thaw.
         */
        hv_agent_wait_return(c, QOBJECT(qnum_from_int(1)));
    } else if (!ours || at_rest(info)) {
        error_setg(&err, "the guest is not frozen: %s",
                   ours && info->message ? info->message
                                         : "another freeze came after it");
        c->freezing = false;
        hv_agent_wait_fail(c, err);
    }
}

static void start_freeze(HvAgent *agent, void *opaque, const QDict *args)
{
    HvAgentCommands *c = opaque;
    Error *err = NULL;
    uint64_t job;

    job = c->services->freeze(c->opaque, c->limits.freeze_hold_ms,
                              c->limits.freeze_timeout_ms, &err);
    if (err) {
        hv_agent_fail(agent, err);
        return;
    }
    c->job = job;
    c->freezing = true;
    c->frozen_job = 0;
    /* The deadline is the service's own; then a failed one is thawed. */
    hv_agent_wait(c, agent, poll_freeze,
                  c->limits.freeze_timeout_ms + c->limits.timeout_ms + GRACE_MS,
                  "the guest was not frozen in time, and has not confirmed "
                  "that it is thawed; the host goes on asking it");
    poll_freeze(c);
}

static void start_freeze_list(HvAgent *agent, void *opaque, const QDict *args)
{
    if (qdict_haskey(args, "mountpoints")) {
        fail_now(agent, "the backup service freezes all file systems of the "
                        "guest: leave the mount points out");
    } else {
        start_freeze(agent, opaque, args);
    }
}

static void start_status(HvAgent *agent, void *opaque, const QDict *args)
{
    HvAgentCommands *c = opaque;
    g_autoptr(VMBusVssInfo) info = c->services->vss(c->opaque);
    bool frozen = info->state == VM_BUS_VSS_STATE_FROZEN || info->thaw_owed;

    hv_agent_return(agent,
                    QOBJECT(qstring_from_str(frozen ? "frozen" : "thawed")));
}

static void answer_thaw(HvAgentCommands *c)
{
    Error *err = NULL;

    if (c->thawed_early) {
        error_setg(&err,
                   "the guest did not stay frozen until now, and what "
                   "was copied meanwhile may not be consistent: %s",
                   c->thawed_early);
        hv_agent_wait_fail(c, err);
    } else {
        hv_agent_wait_return(c, QOBJECT(qnum_from_int(c->thawed)));
    }
}

static void poll_thaw(HvAgentCommands *c)
{
    g_autoptr(VMBusVssInfo) info = c->services->vss(c->opaque);

    if (!at_rest(info)) {
        return;
    }
    /* Only the guest knew of it, until it was asked to thaw. */
    if (!c->thawed_early && info->has_reason &&
        info->reason == VM_BUS_VSS_REASON_LAPSED) {
        c->thawed_early = g_strdup(info->message);
    }
    answer_thaw(c);
}

/*
 * A client that thaws a guest whose freeze is over already must not take its
 * copy for a good one; qemu-ga in Windows fails then, too.
 */
static char *thawed_early(HvAgentCommands *c, const VMBusVssInfo *info)
{
    if (!c->frozen_job || (info->job == c->frozen_job &&
                           info->state == VM_BUS_VSS_STATE_FROZEN)) {
        return NULL;
    }
    return g_strdup(info->job == c->frozen_job && info->message
                        ? info->message
                        : "another freeze came after it");
}

static void start_thaw(HvAgent *agent, void *opaque, const QDict *args)
{
    HvAgentCommands *c = opaque;
    g_autoptr(VMBusVssInfo) info = c->services->vss(c->opaque);
    Error *err = NULL;

    hv_agent_wait(c, agent, poll_thaw, c->limits.timeout_ms,
                  "the guest has not confirmed in time that it is thawed; the "
                  "host goes on asking it");
    c->thawed_early = thawed_early(c, info);
    c->thawed = !at_rest(info);
    c->frozen_job = 0;
    if (at_rest(info)) {
        answer_thaw(c);
        return;
    }
    c->services->thaw(c->opaque, &err);
    if (err) {
        hv_agent_wait_fail(c, err);
    } else {
        poll_thaw(c);
    }
}

const HvAgentCommand hv_agent_commands[] = {
    {"guest-ping", .needs = "hv-heartbeat", .start = start_ping},
    {"guest-shutdown",
     {"mode", HV_AGENT_STRING, true},
     .needs = "hv-shutdown",
     .start = start_shutdown},
    {"guest-suspend-disk", .needs = "hv-shutdown", .start = start_suspend_disk},
    {"guest-get-time", .needs = "hv-timesync", .start = start_get_time},
    {"guest-set-time",
     {"time", HV_AGENT_INT, true},
     .needs = "hv-timesync",
     .start = start_set_time},
    {"guest-fsfreeze-freeze", .needs = "hv-vss", .start = start_freeze},
    {"guest-fsfreeze-freeze-list",
     {"mountpoints", HV_AGENT_STRINGS, true},
     .needs = "hv-vss",
     .start = start_freeze_list},
    {"guest-fsfreeze-status", .needs = "hv-vss", .start = start_status},
    {"guest-fsfreeze-thaw", .needs = "hv-vss", .start = start_thaw},
    {"guest-get-osinfo", .needs = "hv-kvp", .start = hv_agent_start_osinfo},
    {"guest-get-host-name", .needs = "hv-kvp",
     .start = hv_agent_start_host_name},
    {"guest-network-get-interfaces", .needs = "hv-kvp",
     .start = hv_agent_start_interfaces},
    {},
};

HvAgentCommands *hv_agent_commands_new(const HvAgentServices *services,
                                       void *opaque,
                                       const HvAgentLimits *limits)
{
    HvAgentCommands *c = g_new0(HvAgentCommands, 1);

    c->services = services;
    c->opaque = opaque;
    c->limits = *limits;
    return c;
}

void *hv_agent_commands_opaque(HvAgentCommands *c)
{
    return c->opaque;
}

void hv_agent_commands_free(HvAgentCommands *c)
{
    hv_agent_commands_abandon(c);
    g_free(c);
}
