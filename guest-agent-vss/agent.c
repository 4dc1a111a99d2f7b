/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "hooks.h"
#include "log.h"
#include "record.h"

/* The kernel answers a registration at once. */
#define HANDSHAKE_MS 5000

#define RETRY_THAW_MS 5000

#define STUCK_MS 2000

void agent_init(Agent *agent)
{
    agent->retry_ms = 1000;
    agent->device = -1;
    agent->stuck.count = 0;
    agent->set = NULL;
    agent->lapsed = false;
    agent->hooks_due = false;
    agent->record_failed = false;
    agent->open_error = 0;
}

static void run_thaw_hooks(Agent *agent)
{
    if (agent->hooks_due) {
        agent->hooks_due = false;
        hooks_after_thaw(agent->config, &agent->stuck, &agent->waiter);
        if (agent->lapsed) {
            record_lapse(agent->config->record);
        } else {
            record_remove(agent->config->record);
        }
    }
}

/* NULL: nothing is frozen, but thaw.d has to run. */
static void keep_record(Agent *agent, const FreezeSet *set)
{
    Reason reason;

    if (!record_write(agent->config->record, set, &reason) &&
        !agent->record_failed) {
        agent->record_failed = true;
        log_message(LOG_NOTICE, "There is no record of what is frozen: %s.",
                    reason.text);
    }
}

/* In the guard, which has thawed for an agent that died. */
static void on_orphaned(void *opaque)
{
    Agent *agent = opaque;

    agent->lapsed = true;
    keep_record(agent, NULL);
    log_message(LOG_ERR, "The agent died while file systems were frozen; its "
                         "guard has thawed them.");
    waiter_init(&agent->waiter);
    run_thaw_hooks(agent);
}

static void set_free(Agent *agent)
{
    freeze_set_free(agent->set);
    agent->set = NULL;
    keep_record(agent, NULL);
}

/* When nothing is frozen any more: what had to wait for that. */
static void finish(Agent *agent)
{
    if (!agent->set) {
        log_release();
        run_thaw_hooks(agent);
    }
}

/*
 * Thaw; true if everything was frozen until now.  What cannot be thawed is
 * tried again.
 */
static bool thaw(Agent *agent)
{
    Reason reason;
    bool ok = freeze_set_thaw(agent->set, &reason);

    if (!ok) {
        log_message(LOG_ERR, "The thaw is not as it should be: %s.",
                    reason.text);
    }
    if (freeze_set_stays(agent->set)) {
        agent->hold_until = now_ms() + RETRY_THAW_MS;
    } else {
        set_free(agent);
    }
    return ok;
}

/* Thaw without having been asked to by the host. */
static void thaw_early(Agent *agent, const char *why)
{
    if (agent->set) {
        thaw(agent);
        agent->lapsed = true;
        log_message(LOG_WARNING,
                    "File systems were thawed before the host "
                    "asked for it: %s.",
                    why);
    }
}

/* A child that is only slow to end must not cost a backup. */
static bool is_stuck(Agent *agent, int64_t deadline, Reason *reason)
{
    int64_t patience = now_ms() + STUCK_MS;

    while (stuck_any(&agent->stuck)) {
        if (now_ms() >= patience || now_ms() >= deadline) {
            reason_set(reason, "the kernel has not ended what an earlier "
                               "freeze began");
            return true;
        }
        usleep(5000);
    }
    return false;
}

static bool open_set(Agent *agent, int64_t deadline, Reason *reason)
{
    Plan plan;

    if (plan_make(&plan, agent->config, reason)) {
        agent->set =
            freeze_set_open(&plan, agent->ops, agent->config->proc,
                            &agent->stuck, &agent->waiter, deadline, reason);
    }
    plan_free(&plan);
    return agent->set;
}

/* Hooks, descriptors, the record, and only then the freeze. */
static bool freeze(Agent *agent, Reason *reason)
{
    int64_t deadline = now_ms() + agent->config->freeze_timeout * 1000ll;
    int64_t hold_ms = agent->config->hold_time * 1000ll;

    if (is_stuck(agent, deadline, reason)) {
        return false;
    }
    agent->lapsed = false;
    agent->hooks_due = true;
    keep_record(agent, NULL);
    if (!hooks_before_freeze(agent->config, &agent->stuck, &agent->waiter,
                             deadline, reason) ||
        !open_set(agent, deadline, reason)) {
        return false;
    }
    agent->set->orphaned = on_orphaned;
    agent->set->opaque = agent;
    keep_record(agent, agent->set);
    log_hold();
    if (!freeze_set_freeze(agent->set, &agent->waiter, deadline, hold_ms,
                           reason)) {
        set_free(agent);
        return false;
    }
    agent->hold_until = now_ms() + hold_ms;
    log_message(LOG_INFO, "Froze %zu file systems.", agent->set->count);
    return true;
}

static uint32_t on_freeze(Agent *agent)
{
    Reason reason;

    if (agent->set) {
        log_message(LOG_WARNING, "The host asked for a freeze while file "
                                 "systems were frozen; it was refused.");
        return HV_VSS_E_ALREADY_EXISTS;
    }
    if (!freeze(agent, &reason)) {
        log_message(LOG_ERR, "Nothing is frozen: %s.", reason.text);
        return HV_VSS_E_FAIL;
    }
    return HV_VSS_S_OK;
}

/* A failure tells the host that its copy may not be consistent. */
static uint32_t on_thaw(Agent *agent)
{
    bool lapsed = agent->lapsed;

    agent->lapsed = false;
    if (!agent->set) {
        if (lapsed) {
            record_end_lapse(agent->config->record);
        }
        return lapsed ? HV_VSS_E_NOT_HELD : HV_VSS_S_OK;
    }
    if (!thaw(agent)) {
        return agent->set ? HV_VSS_E_FAIL : HV_VSS_E_NOT_HELD;
    }
    log_message(LOG_INFO, "Thawed.");
    return HV_VSS_S_OK;
}

/* Whether a freeze could be tried; the kernel waits 30 s for the answer. */
static uint32_t on_hot_backup(Agent *agent)
{
    const AgentConfig *config = agent->config;
    HookList hooks;
    Reason reason;
    Plan plan;
    bool ok;

    ok = !is_stuck(agent, now_ms() + STUCK_MS, &reason);
    if (ok) {
        ok = hooks_list(&hooks, config->freeze_hooks, &reason);
    }
    if (ok) {
        hooks_free(&hooks);
        ok = plan_make(&plan, config, &reason);
        plan_free(&plan);
    }
    if (!ok) {
        log_message(LOG_ERR, "A freeze is not possible: %s.", reason.text);
        return HV_VSS_E_FAIL;
    }
    return HV_VSS_S_OK;
}

static const struct {
    uint8_t operation;
    uint32_t (*handle)(Agent *agent);
} requests[] = {
    {HV_VSS_HOT_BACKUP, on_hot_backup},
    {HV_VSS_FREEZE, on_freeze},
    {HV_VSS_THAW, on_thaw},
};

static uint32_t handle(Agent *agent, uint8_t operation)
{
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        if (requests[i].operation == operation) {
            return requests[i].handle(agent);
        }
    }
    log_message(LOG_WARNING, "The kernel asked for the unknown operation %u.",
                operation);
    return HV_VSS_E_INVALID_ARG;
}

/*
 * Read and answer one request; false if the device has to be opened again.
 *
 * The kernel refuses an answer when its own time for it is over (15 minutes
 * for a freeze, 30 s for the rest) and, at hibernation, for a THAW that it
 * made up.  The host never hears of such a freeze, so it is undone.
 */
static bool serve_request(Agent *agent)
{
    HvVssMsg msg;
    ssize_t n = read(agent->device, &msg, sizeof(msg));

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    if (n != sizeof(msg)) {
        return false;
    }
    msg.error = handle(agent, msg.operation);
    memset(msg.reserved + 3, 0, sizeof(msg.reserved) - 3);
    if (write(agent->device, &msg, sizeof(msg)) != sizeof(msg)) {
        log_message(LOG_NOTICE, "The kernel did not take an answer: %s.",
                    strerror(errno));
        thaw_early(agent, "the kernel did not take the answer");
        agent->lapsed = false;
        return false;
    }
    finish(agent);
    return true;
}

/* Whether to open it again later; it is logged once for each reason. */
static bool try_open(Agent *agent)
{
    const char *hint = "";

    agent->device = agent->open_device(agent->opaque);
    if (agent->device >= 0) {
        agent->open_error = 0;
        return true;
    }
    if (errno != agent->open_error) {
        agent->open_error = errno;
        if (errno == EBUSY) {
            hint = " (hv_vss_daemon must not run beside this agent)";
        }
        log_message(LOG_NOTICE, "Waiting for %s: %s%s.", agent->config->device,
                    strerror(agent->open_error), hint);
    }
    return false;
}

/* Register; the kernel says its version, or that it does not want us now. */
static bool shake_hands(Agent *agent)
{
    HvVssMsg msg = {.operation = HV_VSS_REGISTER1};
    int64_t deadline = now_ms() + HANDSHAKE_MS;
    WaitResult result = WAIT_CHILD;
    Waiter waiter = agent->waiter;
    ssize_t n;

    if (write(agent->device, &msg, sizeof(msg)) != sizeof(msg)) {
        log_message(LOG_NOTICE, "The kernel refuses the registration: %s.",
                    strerror(errno));
        return false;
    }
    waiter.device = -1;
    while (result == WAIT_CHILD) {
        result = waiter_wait(&waiter, agent->device, deadline, true);
    }
    agent->waiter.stop = waiter.stop;
    if (result != WAIT_FD) {
        return false;
    }
    /* The version, 4 bytes; anything else is left from before. */
    n = read(agent->device, &msg, sizeof(msg));
    if (n != sizeof(uint32_t)) {
        log_message(LOG_NOTICE, "The kernel's answer to the registration "
                                "makes no sense.");
        return false;
    }
    log_message(LOG_INFO, "Registered; the kernel's version is %u.",
                (unsigned)msg.error);
    return true;
}

/* What an agent before us left, which was killed with its guard. */
static void recover(Agent *agent)
{
    Reason reason;
    unsigned thawed;

    switch (record_recover(agent->config, agent->ops, &thawed, &reason)) {
    case RECOVER_NOTHING:
        return;
    case RECOVER_LAPSED:
        agent->lapsed = true;
        return;
    case RECOVER_FAILED:
        agent->lapsed = true;
        log_message(LOG_ERR,
                    "What an agent before left frozen is not thawed: "
                    "%s.",
                    reason.text);
        return;
    case RECOVER_DONE:
        break;
    }
    log_message(LOG_WARNING,
                "An agent before was killed; %u file systems "
                "that it left frozen are thawed.",
                thawed);
    agent->lapsed = true;
    keep_record(agent, NULL);
    agent->hooks_due = true;
    run_thaw_hooks(agent);
}

/* A dead guard is replaced: without one, nothing stays frozen. */
static void renew_guard(Agent *agent)
{
    Reason reason;

    log_message(LOG_WARNING, "The guard died; another one takes its place.");
    if (!freeze_set_new_guard(agent->set, &reason)) {
        thaw_early(agent, reason.text);
        finish(agent);
    }
}

/* Serve the open device until it has to be opened again. */
static void serve(Agent *agent)
{
    for (;;) {
        int guard = agent->set ? agent->set->guard_alive : -1;
        int64_t deadline = agent->set ? agent->hold_until : -1;

        agent->waiter.device = agent->device;
        switch (waiter_wait(&agent->waiter, guard, deadline, true)) {
        case WAIT_DEVICE:
            if (!serve_request(agent)) {
                thaw_early(agent, "the device is gone");
                return;
            }
            break;
        case WAIT_FD:
            renew_guard(agent);
            break;
        case WAIT_TIMEOUT:
            thaw_early(agent, "the hold time is over");
            finish(agent);
            break;
        case WAIT_CHILD:
            stuck_any(&agent->stuck);
            break;
        case WAIT_STOP:
            thaw_early(agent, "the agent was told to end");
            return;
        }
    }
}

void agent_run(Agent *agent)
{
    bool first = true;

    waiter_init(&agent->waiter);
    while (!agent->waiter.stop) {
        agent->waiter.device = -1;
        if (!first) {
            int64_t deadline = now_ms() + agent->retry_ms;

            while (waiter_wait(&agent->waiter, -1, deadline, true) ==
                   WAIT_CHILD) {
            }
            if (agent->waiter.stop) {
                break;
            }
        }
        first = false;
        if (!try_open(agent)) {
            continue;
        }
        /* Nobody else has the device, so what is recorded is nobody's. */
        if (!agent->set) {
            recover(agent);
        }
        if (shake_hands(agent)) {
            serve(agent);
        }
        /* First of all: the kernel waits for it before the device goes. */
        close_fd(&agent->device);
        finish(agent);
    }
    freeze_set_free(agent->set);
    agent->set = NULL;
    waiter_close(&agent->waiter);
}
