/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl vss-status, snapshot-freeze, snapshot-thaw. */
#include "vss.h"

#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "service.h"

#define DEFAULT_TIMEOUT 10
/* The host ends a freeze in time; more than this beyond it is a hang. */
#define GRACE 5

static JsonObject *execute(Qmp *qmp, const char *command, JsonNode *arguments,
                           GError **error)
{
    return service_execute(qmp, "hv-vss", "backup", command, arguments, error);
}

static int judge_service(JsonObject *info, GError **error)
{
    static const struct {
        const char *service;
        HvctlExit code;
        const char *sentence;
    } table[] = {
        {"closed", HVCTL_NOT_OPEN,
         "The guest has not opened the backup service."},
        {"negotiating", HVCTL_NOT_READY,
         "The guest's backup service is not ready yet."},
        {"unusable", HVCTL_REFUSED,
         "The guest's backup service and the host's did not agree on a "
         "version, or the guest broke the protocol."},
    };
    const char *service = hvctl_get_string(info, "service", "unknown");

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (!g_strcmp0(service, table[i].service)) {
            return service_fail(error, table[i].code, table[i].sentence);
        }
    }
    return HVCTL_DONE;
}

static void print_status_json(JsonObject *info)
{
    static const char *const members[] = {
        "state",     "reason", "message",       "service",
        "thaw-owed", "job",    "left-ms",       "frozen-ms",
        "freezes",   "thaws",  "thaws-refused", "late-answers",
    };
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        hvctl_copy(builder, members[i], info, members[i]);
    }
    json_builder_end_object(builder);
    hvctl_print_json(builder, false);
}

static void print_status(JsonObject *info)
{
    const char *state = hvctl_get_string(info, "state", "unknown");
    const char *message = hvctl_get_string(info, "message", NULL);

    printf("%s", state);
    if (!g_strcmp0(state, "frozen")) {
        printf(" for %.1f s, thaws by itself in %.1f s",
               hvctl_get_int(info, "frozen-ms", 0) / 1000.0,
               hvctl_get_int(info, "left-ms", 0) / 1000.0);
    } else if (hvctl_has(info, "left-ms")) {
        printf(", for at most %.1f s more",
               hvctl_get_int(info, "left-ms", 0) / 1000.0);
    }
    if (message) {
        printf(": %s", message);
    }
    printf("\nFreezes: %" PRId64 "; thaws: %" PRId64 ", refused %" PRId64 "\n",
           hvctl_get_int(info, "freezes", 0), hvctl_get_int(info, "thaws", 0),
           hvctl_get_int(info, "thaws-refused", 0));
}

int hvctl_vss_status(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = qmp_open(options, timeout, error);
    g_autoptr(JsonObject) info =
        qmp ? execute(qmp, "query-vmbus-vss", NULL, error) : NULL;

    if (!info) {
        return HVCTL_BROKEN;
    }
    if (options->json) {
        print_status_json(info);
    } else {
        print_status(info);
    }
    fflush(stdout);
    return judge_service(info, error);
}

/* Why the freeze @data tells of is not to be. */
static int judge_reason(JsonObject *data, GError **error)
{
    static const struct {
        const char *reason;
        HvctlExit code;
        const char *sentence;
    } table[] = {
        {"disabled", HVCTL_DISABLED,
         "The guest has the backup service, but nothing in it takes part: its "
         "daemon does not run, or backups are disabled."},
        {"not-ready", HVCTL_NOT_READY,
         "The guest says that it is not ready for a backup yet."},
        {"refused", HVCTL_REFUSED,
         "The guest could not freeze; its log may say why."},
        {"timeout", HVCTL_TIMEOUT,
         "The guest had not frozen in time, and is being thawed."},
        {"cancelled", HVCTL_REFUSED,
         "Somebody else asked for a thaw before the guest was frozen."},
        {"shutdown", HVCTL_REFUSED,
         "The guest was asked to shut down before it was frozen."},
        {"migration", HVCTL_REFUSED,
         "The machine began to migrate before the guest was frozen."},
        {"gone", HVCTL_REFUSED,
         "The guest closed the backup service before it was frozen."},
        {"reset", HVCTL_REFUSED,
         "The machine was reset before the guest was frozen."},
    };
    const char *reason = hvctl_get_string(data, "reason", "unknown");

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (!g_strcmp0(reason, table[i].reason)) {
            return service_fail(error, table[i].code, table[i].sentence);
        }
    }
    g_set_error(error, HVCTL_ERROR, HVCTL_REFUSED,
                "The guest was not frozen (%s).", reason);
    return HVCTL_REFUSED;
}

/*
 * The next change of the service.  Returns its data, which @event owns, or
 * NULL with *@error.
 */
static JsonObject *next_change(Qmp *qmp, JsonObject **event, GError **error)
{
    for (;;) {
        *event = qmp_next_event(qmp, error);
        if (!*event) {
            return NULL;
        }
        if (!g_strcmp0(hvctl_get_string(*event, "event", ""),
                       "VMBUS_VSS_CHANGE") &&
            hvctl_get_object(*event, "data")) {
            return hvctl_get_object(*event, "data");
        }
        g_clear_pointer(event, json_object_unref);
    }
}

static JsonNode *freeze_arguments(double hold, double timeout)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "hold-ms");
    json_builder_add_int_value(builder, (int64_t)(hold * 1000));
    json_builder_set_member_name(builder, "timeout-ms");
    json_builder_add_int_value(builder, (int64_t)(timeout * 1000));
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

static int wait_frozen(Qmp *qmp, int64_t job, GError **error)
{
    for (;;) {
        g_autoptr(JsonObject) event = NULL;
        g_autoptr(GError) why = NULL;
        JsonObject *data = next_change(qmp, &event, &why);
        const char *state = hvctl_get_string(data, "state", "unknown");

        if (!data) {
            if (!qmp_ended(qmp) &&
                g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT)) {
                return service_fail(
                    error, HVCTL_TIMEOUT,
                    "QEMU has not told in time whether the guest "
                    "is frozen.");
            }
            g_propagate_error(error, g_steal_pointer(&why));
            return HVCTL_BROKEN;
        }
        if (hvctl_get_int(data, "job", -1) != job) {
            continue;
        }
        if (!g_strcmp0(state, "frozen")) {
            return HVCTL_DONE;
        }
        if (!g_strcmp0(state, "thawing") || !g_strcmp0(state, "failed")) {
            return judge_reason(data, error);
        }
    }
}

int vss_freeze(Qmp *qmp, double hold, double timeout, int64_t *job,
               GError **error)
{
    g_autoptr(JsonObject) info = execute(qmp, "query-vmbus-vss", NULL, error);
    g_autoptr(JsonObject) started = NULL;
    int code;

    if (!info) {
        return HVCTL_BROKEN;
    }
    code = judge_service(info, error);
    if (code != HVCTL_DONE) {
        return code;
    }
    started = execute(qmp, "vmbus-vss-freeze", freeze_arguments(hold, timeout),
                      error);
    if (!started) {
        return HVCTL_REFUSED;
    }
    *job = hvctl_get_int(started, "job", -1);
    if (*job < 0) {
        return service_fail(error, HVCTL_BROKEN,
                            "QEMU's answer to vmbus-vss-freeze has no job.");
    }
    return wait_frozen(qmp, *job, error);
}

bool vss_renew(Qmp *qmp, int64_t job, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) result = NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "job");
    json_builder_add_int_value(builder, job);
    json_builder_end_object(builder);
    result = qmp_execute(qmp, "vmbus-vss-renew", json_builder_get_root(builder),
                         NULL, error);
    return result != NULL;
}

/* Does a freeze end for that reason though nobody asked for its thaw? */
static bool is_early(const char *reason)
{
    static const char *const early[] = {"hold-over", "limit", "shutdown",
                                        "migration", "moved", "reset",
                                        "gone",      NULL};

    return g_strv_contains(early, reason);
}

static int fail_early(const char *reason, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_LOST,
                "The guest is thawed, but the freeze had ended before (%s): "
                "what was copied meanwhile is not to be trusted.",
                reason);
    return HVCTL_LOST;
}

static int wait_thawed(Qmp *qmp, GError **error)
{
    for (;;) {
        g_autoptr(JsonObject) event = NULL;
        g_autoptr(GError) why = NULL;
        JsonObject *data = next_change(qmp, &event, &why);
        const char *state = hvctl_get_string(data, "state", "unknown");
        const char *reason = hvctl_get_string(data, "reason", "");

        if (!data) {
            if (!qmp_ended(qmp) &&
                g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT)) {
                return service_fail(
                    error, HVCTL_NOT_THAWED,
                    "The guest has not confirmed in time that it "
                    "thawed; the host goes on asking it.");
            }
            g_propagate_error(error, g_steal_pointer(&why));
            return HVCTL_BROKEN;
        }
        if (!g_strcmp0(state, "idle")) {
            return HVCTL_DONE;
        }
        if (g_strcmp0(state, "failed")) {
            continue;
        }
        if (!g_strcmp0(reason, "not-thawed")) {
            return service_fail(error, HVCTL_REFUSED,
                                "The guest refused to thaw; QEMU knows of no "
                                "freeze.");
        }
        if (!g_strcmp0(reason, "lapsed")) {
            return service_fail(error, HVCTL_LOST,
                                "The guest is thawed, but it had thawed "
                                "before: what was copied meanwhile is not to "
                                "be trusted.");
        }
        if (!g_strcmp0(reason, "gone")) {
            return service_fail(error, HVCTL_NOT_THAWED,
                                "The guest closed the backup service before it "
                                "thawed; the host thaws it when it is back.");
        }
        return is_early(reason) ? fail_early(reason, error) : HVCTL_DONE;
    }
}

int vss_thaw(Qmp *qmp, GError **error)
{
    g_autoptr(JsonObject) result = NULL;

    /* What happened before we asked is no answer to it. */
    qmp_drop_events(qmp, "VMBUS_VSS_CHANGE");
    result = execute(qmp, "vmbus-vss-thaw", NULL, error);
    if (!result) {
        return HVCTL_REFUSED;
    }
    return wait_thawed(qmp, error);
}

static void print_result(const HvctlOptions *options, const char *state,
                         int64_t job, double hold)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    if (!options->json && job) {
        printf("The guest is frozen; it thaws by itself in %g s.\n", hold);
    } else if (!options->json) {
        printf("The guest is thawed.\n");
    } else {
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "state");
        json_builder_add_string_value(builder, state);
        if (job) {
            json_builder_set_member_name(builder, "job");
            json_builder_add_int_value(builder, job);
            json_builder_set_member_name(builder, "hold");
            json_builder_add_double_value(builder, hold);
        }
        json_builder_end_object(builder);
        hvctl_print_json(builder, false);
    }
}

static int check_times(double hold, double timeout, GError **error)
{
    if (!(hold >= 0.001 && hold <= 86400)) {
        return service_fail(error, HVCTL_USAGE,
                            "--hold is given as seconds, from 0.001 to 86400.");
    }
    if (!(timeout >= 0.001 && timeout <= 900)) {
        return service_fail(error, HVCTL_USAGE,
                            "--timeout of a freeze is given as seconds, from "
                            "0.001 to 900.");
    }
    return HVCTL_DONE;
}

int hvctl_snapshot_freeze(const HvctlOptions *options, GError **error)
{
    double timeout =
        options->timeout < 0 ? VSS_DEFAULT_TIMEOUT : options->timeout;
    double hold = options->hold < 0 ? VSS_DEFAULT_HOLD : options->hold;
    int code = check_times(hold, timeout, error);
    g_autoptr(Qmp) qmp = NULL;
    int64_t job;

    if (code != HVCTL_DONE) {
        return code;
    }
    qmp = qmp_open(options, timeout + GRACE, error);
    if (!qmp) {
        return HVCTL_BROKEN;
    }
    if (options->run) {
        return vss_run(options, qmp, hold, timeout, error);
    }
    code = vss_freeze(qmp, hold, timeout, &job, error);
    if (code == HVCTL_DONE) {
        print_result(options, "frozen", job, hold);
    }
    return code;
}

int hvctl_snapshot_thaw(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = qmp_open(options, timeout, error);
    g_autoptr(JsonObject) before =
        qmp ? execute(qmp, "query-vmbus-vss", NULL, error) : NULL;
    const char *reason;
    int code;

    if (!before) {
        return HVCTL_BROKEN;
    }
    reason = hvctl_get_string(before, "reason", "");
    code = vss_thaw(qmp, error);
    /* The last freeze, whose thaw somebody thinks this is. */
    if (code == HVCTL_DONE && is_early(reason)) {
        return fail_early(reason, error);
    }
    if (code == HVCTL_DONE) {
        print_result(options, "thawed", 0, 0);
    }
    return code;
}
