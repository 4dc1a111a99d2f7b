/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl timesync: does the guest get the time, and take it now. */
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "qmp.h"
#include "service.h"

#define DEFAULT_TIMEOUT 10

static void print_as_json(JsonObject *service)
{
    static const char *const members[] = {
        "state",   "message-version", "syncs",    "samples",
        "answers", "age-ms",          "offset-us"};
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        hvctl_copy(builder, members[i], service, members[i]);
    }
    json_builder_end_object(builder);
    hvctl_print_json(builder, false);
}

static void print_as_text(JsonObject *service)
{
    printf("%s, message version %s",
           hvctl_get_string(service, "state", "unknown"),
           hvctl_get_string(service, "message-version", "not agreed"));
    if (hvctl_has(service, "age-ms")) {
        printf(", the guest last set its clock %.1f s ago",
               hvctl_get_int(service, "age-ms", 0) / 1000.0);
    }
    if (hvctl_has(service, "offset-us")) {
        printf(", it is off by %+.6f s",
               hvctl_get_int(service, "offset-us", 0) / 1e6);
    }
    printf("\n");
}

static int show(const HvctlOptions *options, Qmp *qmp, GError **error)
{
    g_autoptr(JsonObject) info = qmp_query_vmbus(qmp, error);
    JsonObject *service = info ? service_find(info, "timesync") : NULL;
    const char *state;

    if (!info) {
        return HVCTL_BROKEN;
    }
    if (!service) {
        return service_fail(error, HVCTL_NO_VMBUS,
                            "The machine has no hv-timesync device.");
    }
    if (options->json) {
        print_as_json(service);
    } else {
        print_as_text(service);
    }
    state = hvctl_get_string(service, "state", "unknown");
    if (!g_strcmp0(state, "ready")) {
        return HVCTL_DONE;
    }
    if (!g_strcmp0(state, "closed")) {
        return service_fail(error, HVCTL_NOT_OPEN,
                            "The guest has not opened the time synchronization "
                            "service.");
    }
    return service_fail(
        error, HVCTL_NOT_READY,
        "The guest's time synchronization service is not ready.");
}

static int ask(Qmp *qmp, GError **error)
{
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;
    const char *class = NULL;

    /* An answer that came before we asked answers somebody else. */
    qmp_drop_events(qmp, "VMBUS_TIMESYNC_RESPONSE");
    result = qmp_execute(qmp, "vmbus-timesync", NULL, &class, &why);
    if (result) {
        return HVCTL_DONE;
    }
    if (!g_strcmp0(class, "CommandNotFound") ||
        !g_strcmp0(class, "DeviceNotFound")) {
        return service_fail(error, HVCTL_NO_VMBUS,
                            "The machine has no hv-timesync device.");
    }
    if (!g_strcmp0(class, "DeviceNotActive")) {
        return service_fail(error, HVCTL_NOT_OPEN,
                            "The guest has not opened the time synchronization "
                            "service, or it is not ready yet.");
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return HVCTL_BROKEN;
}

static int wait_answer(Qmp *qmp, GError **error)
{
    for (;;) {
        g_autoptr(GError) why = NULL;
        g_autoptr(JsonObject) event = qmp_next_event(qmp, &why);
        JsonObject *data = hvctl_get_object(event, "data");
        const char *result = hvctl_get_string(data, "result", "unknown");

        if (!event) {
            if (!qmp_ended(qmp) &&
                g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT)) {
                return service_fail(error, HVCTL_TIMEOUT,
                                    "The guest has not answered in time.");
            }
            g_propagate_error(error, g_steal_pointer(&why));
            return HVCTL_BROKEN;
        }
        if (g_strcmp0(hvctl_get_string(event, "event", ""),
                      "VMBUS_TIMESYNC_RESPONSE")) {
            continue;
        }
        if (!g_strcmp0(result, "accepted")) {
            return HVCTL_DONE;
        }
        if (!g_strcmp0(result, "gone")) {
            return service_fail(
                error, HVCTL_REFUSED,
                "The guest closed the service before it answered.");
        }
        g_set_error(error, HVCTL_ERROR, HVCTL_REFUSED,
                    "The guest refused with status 0x%08" PRIx64 ".",
                    hvctl_get_int(data, "status", 0));
        return HVCTL_REFUSED;
    }
}

static int sync_now(const HvctlOptions *options, Qmp *qmp, GError **error)
{
    int code = ask(qmp, error);

    if (code == HVCTL_DONE) {
        code = wait_answer(qmp, error);
    }
    if (code == HVCTL_DONE && options->json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "synced");
        json_builder_add_boolean_value(builder, TRUE);
        json_builder_end_object(builder);
        hvctl_print_json(builder, false);
    } else if (code == HVCTL_DONE) {
        printf("The guest took the host's time.\n");
    }
    return code;
}

int hvctl_timesync(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = qmp_open(options, timeout, error);

    if (!qmp) {
        return HVCTL_BROKEN;
    }
    return options->sync ? sync_now(options, qmp, error)
                         : show(options, qmp, error);
}
