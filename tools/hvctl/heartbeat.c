/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl heartbeat: is the guest alive, and when does that change? */
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "qmp.h"
#include "service.h"

#define DEFAULT_TIMEOUT 10

static void print_as_json(JsonObject *heartbeat)
{
    static const char *const members[] = {"state", "application", "sequence",
                                          "age-ms"};
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        hvctl_copy(builder, members[i], heartbeat, members[i]);
    }
    json_builder_end_object(builder);
    hvctl_print_json(builder, false);
}

static void print_now(JsonObject *heartbeat, bool json)
{
    if (json) {
        print_as_json(heartbeat);
        return;
    }
    printf("%s, applications %s",
           hvctl_get_string(heartbeat, "state", "unknown"),
           hvctl_get_string(heartbeat, "application", "unknown"));
    if (hvctl_has(heartbeat, "age-ms")) {
        printf(", last answer %.1f s ago",
               hvctl_get_int(heartbeat, "age-ms", 0) / 1000.0);
    }
    printf("\n");
    fflush(stdout);
}

static int judge(JsonObject *heartbeat, GError **error)
{
    const char *state = hvctl_get_string(heartbeat, "state", "unknown");

    if (!g_strcmp0(state, "ok")) {
        return HVCTL_DONE;
    }
    if (!g_strcmp0(state, "no-contact")) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NOT_OPEN,
                    "The guest has not opened the heartbeat service.");
    } else if (!g_strcmp0(state, "lost")) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NOT_OK,
                    "The guest has stopped answering heartbeats.");
    } else if (!g_strcmp0(state, "paused")) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NOT_OK,
                    "The machine is paused, so no heartbeat is asked for.");
    } else {
        g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN,
                    "QEMU gave an unknown state of the heartbeat.");
    }
    return HVCTL_NOT_OK;
}

static char *event_time(JsonObject *event)
{
    JsonObject *stamp = hvctl_get_object(event, "timestamp");
    int64_t seconds = hvctl_get_int(stamp, "seconds", 0);
    int64_t usec = hvctl_get_int(stamp, "microseconds", 0);
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    g_autofree char *day = NULL;

    if (!time) {
        return g_strdup("-");
    }
    day = g_date_time_format(time, "%Y-%m-%dT%H:%M:%S");
    return g_strdup_printf("%s.%03dZ", day, (int)CLAMP(usec / 1000, 0, 999));
}

/* What a line of --watch says of @event, or NULL if it says nothing. */
static const char *event_word(const char *name)
{
    static const struct {
        const char *event, *word;
    } table[] = {
        {"STOP", "machine stopped"},
        {"RESUME", "machine runs"},
        {"RESET", "machine reset"},
        {"SHUTDOWN", "machine off"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (!g_strcmp0(table[i].event, name)) {
            return table[i].word;
        }
    }
    return NULL;
}

static void print_event(JsonObject *event, bool json)
{
    const char *name = hvctl_get_string(event, "event", "");
    JsonObject *data = hvctl_get_object(event, "data");
    bool beat = !g_strcmp0(name, "VMBUS_HEARTBEAT_CHANGE");
    const char *word = event_word(name);
    g_autofree char *time = NULL;

    if (!beat && !word) {
        return;
    }
    time = event_time(event);
    if (json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "time");
        json_builder_add_string_value(builder, time);
        json_builder_set_member_name(builder, "event");
        json_builder_add_string_value(builder, beat ? "heartbeat" : word);
        if (beat) {
            hvctl_copy(builder, "state", data, "state");
            hvctl_copy(builder, "application", data, "application");
        }
        json_builder_end_object(builder);
        hvctl_print_json(builder, false);
    } else if (beat) {
        printf("%s %s, applications %s\n", time,
               hvctl_get_string(data, "state", "unknown"),
               hvctl_get_string(data, "application", "unknown"));
    } else {
        printf("%s %s\n", time, word);
    }
    fflush(stdout);
}

/* Ends with the connection: done if the machine had gone off before. */
static int watch(Qmp *qmp, bool json, GError **error)
{
    bool off = false;

    qmp_no_limit(qmp);
    for (;;) {
        g_autoptr(GError) why = NULL;
        g_autoptr(JsonObject) event = qmp_next_event(qmp, &why);
        const char *name = hvctl_get_string(event, "event", "");

        if (!event) {
            if (off && qmp_ended(qmp)) {
                return HVCTL_DONE;
            }
            g_propagate_error(error, g_steal_pointer(&why));
            return HVCTL_BROKEN;
        }
        if (!g_strcmp0(name, "SHUTDOWN")) {
            /* Once more from a QEMU that is ended after it. */
            if (off) {
                continue;
            }
            off = true;
        } else if (!g_strcmp0(name, "RESET") || !g_strcmp0(name, "RESUME")) {
            off = false;
        }
        print_event(event, json);
    }
}

int hvctl_heartbeat(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = qmp_open(options, timeout, error);
    g_autoptr(JsonObject) info = qmp ? qmp_query_vmbus(qmp, error) : NULL;
    JsonObject *heartbeat;

    if (!info) {
        return HVCTL_BROKEN;
    }
    heartbeat = service_find(info, "heartbeat");
    if (!heartbeat) {
        return service_fail(error, HVCTL_NO_VMBUS,
                            "The machine has no hv-heartbeat device.");
    }
    print_now(heartbeat, options->json);
    if (options->watch) {
        return watch(qmp, options->json, error);
    }
    return judge(heartbeat, error);
}
