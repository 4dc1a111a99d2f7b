/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hvctl shutdown: asks the guest, waits for its answer and, with --wait, for
 * what it promised: acknowledged is not done.
 */
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "qmp.h"
#include "service.h"

#define DEFAULT_TIMEOUT 60
/*
 * After SHUTDOWN, QEMU ends or (-no-shutdown) stops at once; after the guest
 * has closed the service, RESET or SHUTDOWN follows at once.  More than a
 * moment means that it does not come.
 */
#define GRACE 5

typedef struct Shutdown {
    Qmp *qmp;
    const HvctlOptions *options;
    bool in_progress; /* was a request under way before ours? */
    bool answered;    /* the guest answered, or is seen to act */
    bool gone;        /* the guest closed the service without an answer */
    bool hibernated;  /* SUSPEND_DISK */
    bool off;         /* the machine is off: SHUTDOWN */
    bool restarted;   /* RESET by the guest */
    const char *how;  /* for people: what happened in the end */
} Shutdown;

/* As QMP calls it. */
static const char *mode_name(const HvctlOptions *options)
{
    return options->reboot      ? "reboot"
           : options->hibernate ? "hibernate"
                                : "powerdown";
}

static bool fail(GError **error, HvctlExit code, const char *sentence)
{
    g_set_error_literal(error, HVCTL_ERROR, code, sentence);
    return false;
}

/* Is the service there, and has the guest opened it? */
static bool check_service(Shutdown *s, GError **error)
{
    g_autoptr(JsonObject) info = qmp_query_vmbus(s->qmp, error);
    JsonObject *service;
    const char *state;

    if (!info) {
        return false;
    }
    service = service_find(info, "shutdown");
    if (!service) {
        return fail(error, HVCTL_NO_VMBUS,
                    "The machine has no hv-shutdown device.");
    }
    state = hvctl_get_string(service, "state", "unknown");
    if (!g_strcmp0(state, "closed")) {
        return fail(error, HVCTL_NOT_OPEN,
                    "The guest has not opened the shutdown service.");
    }
    if (!g_strcmp0(state, "negotiating")) {
        return fail(error, HVCTL_NOT_OPEN,
                    "The guest has opened the shutdown service, but not "
                    "agreed to a version of it.");
    }
    s->in_progress =
        !g_strcmp0(state, "requested") || !g_strcmp0(state, "accepted");
    return true;
}

static bool ask(Shutdown *s, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;
    const char *class = NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "mode");
    json_builder_add_string_value(builder, mode_name(s->options));
    json_builder_set_member_name(builder, "force");
    json_builder_add_boolean_value(builder, s->options->force);
    if (s->options->message) {
        json_builder_set_member_name(builder, "message");
        json_builder_add_string_value(builder, s->options->message);
    }
    json_builder_end_object(builder);

    /* An answer that came before we asked answers somebody else. */
    qmp_drop_events(s->qmp, "VMBUS_SHUTDOWN_RESPONSE");
    result = qmp_execute(s->qmp, "vmbus-shutdown",
                         json_builder_get_root(builder), &class, &why);
    if (result) {
        return true;
    }
    if (!g_strcmp0(class, "DeviceNotFound")) {
        return fail(error, HVCTL_NO_VMBUS,
                    "The machine has no hv-shutdown device.");
    }
    if (!g_strcmp0(class, "DeviceNotActive")) {
        return fail(error, HVCTL_NOT_OPEN,
                    "The guest has not opened the shutdown service.");
    }
    if (class) {
        return fail(error, s->in_progress ? HVCTL_IN_PROGRESS : HVCTL_REFUSED,
                    why->message);
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return false;
}

static bool handle_response(Shutdown *s, JsonObject *data, GError **error)
{
    static const struct {
        const char *result;
        HvctlExit code;
        const char *sentence;
    } refusals[] = {
        {"not-ready", HVCTL_NOT_READY, "The guest is not ready to shut down."},
        {"in-progress", HVCTL_IN_PROGRESS,
         "The guest says that it is shutting down already."},
        {"locked", HVCTL_LOCKED,
         "A user session in the guest is locked; --force may do."},
        {"not-supported", HVCTL_REFUSED,
         "The guest does not support what was asked."},
    };
    const char *result = hvctl_get_string(data, "result", "unknown");
    const char *mode = mode_name(s->options);

    if (s->answered || g_strcmp0(hvctl_get_string(data, "mode", mode), mode)) {
        return true;
    }
    if (!g_strcmp0(result, "accepted")) {
        s->answered = true;
        return true;
    }
    /* It may have acted too fast to answer: what follows shows it. */
    if (!g_strcmp0(result, "gone")) {
        s->gone = true;
        if (s->options->wait) {
            s->answered = true;
            qmp_limit(s->qmp, GRACE);
            return true;
        }
        return fail(error, HVCTL_REFUSED,
                    "The guest closed the service before it answered.");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        if (!g_strcmp0(result, refusals[i].result)) {
            return fail(error, refusals[i].code, refusals[i].sentence);
        }
    }
    g_set_error(error, HVCTL_ERROR, HVCTL_REFUSED,
                s->options->hibernate
                    ? "The guest refused to hibernate, with status 0x%08" PRIx64
                      "; the machine may have no ACPI state S4."
                    : "The guest refused with status 0x%08" PRIx64 ".",
                hvctl_get_int(data, "status", 0));
    return false;
}

static const char *restarted_instead(const Shutdown *s)
{
    return s->options->hibernate
               ? "The guest restarted instead of hibernating."
               : "The guest restarted instead of powering off.";
}

/* The machine went off: was it what was asked? */
static bool handle_off(Shutdown *s, JsonObject *data, GError **error)
{
    const char *reason = hvctl_get_string(data, "reason", "unknown");

    /* libvirt ends a QEMU whose machine is off, which makes it say so again. */
    if (s->off && s->how) {
        return true;
    }
    s->off = true;
    if (!g_strcmp0(reason, "guest-panic")) {
        return fail(error, HVCTL_REFUSED,
                    "The guest panicked instead of shutting down.");
    }
    if (!hvctl_get_bool(data, "guest", false)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_REFUSED,
                    "The machine was ended from outside (%s) before the guest "
                    "had shut down.",
                    reason);
        return false;
    }
    /* With -no-reboot, QEMU goes off where the guest restarts. */
    if (s->options->reboot != !g_strcmp0(reason, "guest-reset")) {
        return fail(error, HVCTL_REFUSED,
                    s->options->reboot
                        ? "The guest powered off instead of restarting."
                        : restarted_instead(s));
    }
    if (s->options->hibernate && !s->hibernated) {
        return fail(error, HVCTL_REFUSED,
                    "The guest powered off without entering ACPI state S4: it "
                    "may not have hibernated.");
    }
    s->answered = true;
    s->how = s->options->reboot
                 ? "The guest restarted, and QEMU goes off (-no-reboot)."
             : s->options->hibernate ? "The guest hibernates."
                                     : "The machine is off.";
    qmp_limit(s->qmp, GRACE);
    return true;
}

static bool handle_reset(Shutdown *s, JsonObject *data, GError **error)
{
    if (s->off) {
        s->restarted = true;
        s->how = "The guest powered off, and the machine was started anew.";
        return true;
    }
    if (!hvctl_get_bool(data, "guest", false)) {
        return fail(error, HVCTL_REFUSED,
                    "The machine was reset from outside before the guest had "
                    "shut down.");
    }
    if (!s->options->reboot) {
        return fail(error, HVCTL_REFUSED, restarted_instead(s));
    }
    s->answered = true;
    s->restarted = true;
    s->how = "The machine has restarted.";
    return true;
}

/*
 * QEMU stopped after it went off: with -no-shutdown that is the end, unless
 * somebody gave it that option who ends it or starts the machine anew now.
 */
static bool handle_stop(Shutdown *s, bool *done, GError **error)
{
    g_autoptr(JsonNode) result = NULL;
    JsonObject *status;

    if (qmp_is_managed(s->qmp)) {
        return true;
    }
    result = qmp_execute(s->qmp, "query-status", NULL, NULL, error);
    if (!result) {
        return false;
    }
    status =
        JSON_NODE_HOLDS_OBJECT(result) ? json_node_get_object(result) : NULL;
    *done = !g_strcmp0(hvctl_get_string(status, "status", NULL), "shutdown");
    return true;
}

/* The connection or the time ended: what does that make of the request? */
static bool conclude(Shutdown *s, GError *why, GError **error)
{
    bool ended = qmp_ended(s->qmp);

    if (s->off && s->how) {
        return true;
    }
    /* A QEMU that leaves without a word is off all the same. */
    if (ended && s->answered && s->options->wait && !s->options->reboot &&
        s->options->hibernate == s->hibernated) {
        s->how = "QEMU has ended, so the machine is off.";
        return true;
    }
    if (s->gone) {
        return fail(error, HVCTL_REFUSED,
                    "The guest closed the service before it answered.");
    }
    if (!ended && g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT)) {
        return fail(error, HVCTL_TIMEOUT,
                    !s->answered ? "The guest has not answered in time."
                    : s->options->reboot
                        ? "The guest accepted, but has not restarted in time."
                    : s->options->hibernate
                        ? "The guest accepted, but has not hibernated in time."
                        : "The guest accepted, but has not gone off in time.");
    }
    g_propagate_error(error, g_error_copy(why));
    return false;
}

static bool handle_event(Shutdown *s, JsonObject *event, bool *done,
                         GError **error)
{
    const char *name = hvctl_get_string(event, "event", "");
    JsonObject *data = hvctl_get_object(event, "data");

    if (!g_strcmp0(name, "VMBUS_SHUTDOWN_RESPONSE")) {
        return handle_response(s, data, error);
    }
    if (!g_strcmp0(name, "SUSPEND_DISK")) {
        s->hibernated = true;
        return true;
    }
    if (!g_strcmp0(name, "SHUTDOWN")) {
        return handle_off(s, data, error);
    }
    if (!g_strcmp0(name, "RESET")) {
        return handle_reset(s, data, error);
    }
    if (!g_strcmp0(name, "STOP") && s->off) {
        return handle_stop(s, done, error);
    }
    return true;
}

static bool follow(Shutdown *s, GError **error)
{
    bool done = false;

    while (!done && !s->restarted && (!s->answered || s->options->wait)) {
        g_autoptr(GError) why = NULL;
        g_autoptr(JsonObject) event = qmp_next_event(s->qmp, &why);

        if (event && handle_event(s, event, &done, &why)) {
            continue;
        }
        if (g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT) ||
            g_error_matches(why, HVCTL_ERROR, HVCTL_UNREACHABLE)) {
            return conclude(s, why, error);
        }
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    return true;
}

static void report(const Shutdown *s)
{
    const char *what =
        s->how ? s->how : "The guest accepted the request and is at it.";

    if (s->options->json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "mode");
        json_builder_add_string_value(builder, mode_name(s->options));
        json_builder_set_member_name(builder, "accepted");
        json_builder_add_boolean_value(builder, TRUE);
        json_builder_set_member_name(builder, "done");
        json_builder_add_boolean_value(builder, s->how != NULL);
        json_builder_set_member_name(builder, "message");
        json_builder_add_string_value(builder, what);
        json_builder_end_object(builder);
        hvctl_print_json(builder, false);
    } else {
        printf("%s\n", what);
        fflush(stdout);
    }
}

int hvctl_shutdown(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = NULL;
    Shutdown s = {.options = options};

    if (options->reboot && options->hibernate) {
        fail(error, HVCTL_USAGE,
             "--reboot and --hibernate exclude each other.");
        return HVCTL_USAGE;
    }
    qmp = s.qmp = qmp_open(options, timeout, error);
    if (!qmp || !check_service(&s, error) || !ask(&s, error) ||
        !follow(&s, error)) {
        return HVCTL_BROKEN;
    }
    report(&s);
    return HVCTL_DONE;
}
