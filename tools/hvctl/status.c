/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl status: the bus, its devices and their channels. */
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "qmp.h"

#define DEFAULT_TIMEOUT 10

/*
 * The shape of --json is this program's own and documented in hvctl.1: each
 * table lists the members of one object, which are null if QEMU left them out.
 */
static const char *const bus_members[] = {
    "connected", "version",  "max-version", "target-vp",    "message-sint",
    "gpadls",    "connects", "messages-in", "messages-out", "messages-refused",
};
static const char *const device_members[] = {
    "id", "qom-path", "driver", "class-id", "instance-id",
};
static const char *const channel_members[] = {
    "relid",     "connection-id",    "subchannel",  "state",
    "target-vp", "signals-received", "corruptions", "corruption",
};
static const char *const ring_members[] = {
    "size", "packets", "bytes", "signals-sent", "signals-suppressed", "full",
};
static const char *const service_members[] = {
    "sent",
    "answered",
    "refused",
    "last-refusal",
};
static const char *const heartbeat_members[] = {
    "state",    "application", "framework-version", "message-version",
    "sequence", "sent",        "received",          "age-ms",
};
static const char *const shutdown_members[] = {
    "state",
    "framework-version",
    "message-version",
    "requests",
};
static const char *const timesync_members[] = {
    "state",   "framework-version", "message-version", "syncs",
    "samples", "answers",           "age-ms",          "offset-us",
};
static const char *const vss_members[] = {
    "state",         "reason",          "message",
    "service",       "thaw-owed",       "framework-version",
    "job",           "message-version", "left-ms",
    "frozen-ms",     "freezes",         "thaws",
    "thaws-refused", "late-answers",
};

static const char *const kvp_members[] = {
    "state", "framework-version", "message-version",
    "jobs",  "answer-missing",    "requests",
};
static const char *const fcopy_members[] = {
    "state", "framework-version", "message-version", "copies", "job",
};
static const char *const storage_members[] = {
    "state",     "version", "requests",     "completed",
    "in-flight", "refused", "last-refusal", "enumerations",
};

/* What a device has beside its channels, if QEMU tells it. */
static const struct {
    const char *name;
    const char *const *members;
    size_t count;
} device_parts[] = {
    {"service", service_members, G_N_ELEMENTS(service_members)},
    {"heartbeat", heartbeat_members, G_N_ELEMENTS(heartbeat_members)},
    {"shutdown", shutdown_members, G_N_ELEMENTS(shutdown_members)},
    {"timesync", timesync_members, G_N_ELEMENTS(timesync_members)},
    {"vss", vss_members, G_N_ELEMENTS(vss_members)},
    {"kvp", kvp_members, G_N_ELEMENTS(kvp_members)},
    {"fcopy", fcopy_members, G_N_ELEMENTS(fcopy_members)},
    {"storage", storage_members, G_N_ELEMENTS(storage_members)},
};

#define COPY(builder, from, members)                                           \
    copy_members(builder, from, members, G_N_ELEMENTS(members))

static void copy_members(JsonBuilder *builder, JsonObject *from,
                         const char *const *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hvctl_copy(builder, members[i], from, members[i]);
    }
}

static void add_ring(JsonBuilder *builder, JsonObject *channel,
                     const char *name)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_object(builder);
    COPY(builder, hvctl_get_object(channel, name), ring_members);
    json_builder_end_object(builder);
}

static void add_device(JsonBuilder *builder, JsonObject *device)
{
    JsonArray *channels = hvctl_get_array(device, "channels");
    JsonObject *channel;

    json_builder_begin_object(builder);
    COPY(builder, device, device_members);
    json_builder_set_member_name(builder, "channels");
    json_builder_begin_array(builder);
    for (unsigned i = 0; (channel = hvctl_array_object(channels, i)); i++) {
        json_builder_begin_object(builder);
        COPY(builder, channel, channel_members);
        add_ring(builder, channel, "in");
        add_ring(builder, channel, "out");
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    for (size_t i = 0; i < G_N_ELEMENTS(device_parts); i++) {
        JsonObject *part = hvctl_get_object(device, device_parts[i].name);

        if (part) {
            json_builder_set_member_name(builder, device_parts[i].name);
            json_builder_begin_object(builder);
            copy_members(builder, part, device_parts[i].members,
                         device_parts[i].count);
            json_builder_end_object(builder);
        }
    }
    json_builder_end_object(builder);
}

static void print_as_json(JsonObject *info)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    JsonArray *devices = hvctl_get_array(info, "devices");
    JsonObject *device;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "bus");
    json_builder_begin_object(builder);
    COPY(builder, info, bus_members);
    json_builder_end_object(builder);
    json_builder_set_member_name(builder, "devices");
    json_builder_begin_array(builder);
    for (unsigned i = 0; (device = hvctl_array_object(devices, i)); i++) {
        add_device(builder, device);
    }
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    hvctl_print_json(builder, true);
}

static void print_bus(JsonObject *info)
{
    if (hvctl_get_bool(info, "connected", false)) {
        printf("VMBus: version %s, messages to VP %" PRId64 " SINT %" PRId64
               "\n",
               hvctl_get_string(info, "version", "unknown"),
               hvctl_get_int(info, "target-vp", 0),
               hvctl_get_int(info, "message-sint", 0));
    } else {
        printf("VMBus: no guest connected (up to version %s)\n",
               hvctl_get_string(info, "max-version", "unknown"));
    }
    printf("Messages: %" PRId64 " in, %" PRId64 " out, %" PRId64
           " refused; connected %" PRId64 " times; %" PRId64 " GPADLs\n",
           hvctl_get_int(info, "messages-in", 0),
           hvctl_get_int(info, "messages-out", 0),
           hvctl_get_int(info, "messages-refused", 0),
           hvctl_get_int(info, "connects", 0),
           hvctl_get_int(info, "gpadls", 0));
}

static void print_ring(JsonObject *channel, const char *name)
{
    JsonObject *ring = hvctl_get_object(channel, name);

    printf(" %8" PRId64 " %8" PRId64, hvctl_get_int(ring, "size", 0),
           hvctl_get_int(ring, "packets", 0));
}

static void print_channel(JsonObject *device, JsonObject *channel)
{
    g_autofree char *vp = g_strdup("-");
    const char *corruption = hvctl_get_string(channel, "corruption", NULL);

    if (hvctl_has(channel, "target-vp")) {
        g_free(vp);
        vp =
            g_strdup_printf("%" PRId64, hvctl_get_int(channel, "target-vp", 0));
    }
    printf("%-16s %5" PRId64 " %3" PRId64 " %-9s %4s",
           hvctl_get_string(device, "driver", "unknown"),
           hvctl_get_int(channel, "relid", 0),
           hvctl_get_int(channel, "subchannel", 0),
           hvctl_get_string(channel, "state", "unknown"), vp);
    print_ring(channel, "in");
    print_ring(channel, "out");
    printf(
        " %8" PRId64 " %8" PRId64 "\n",
        hvctl_get_int(channel, "signals-received", 0),
        hvctl_get_int(hvctl_get_object(channel, "out"), "signals-sent", 0) +
            hvctl_get_int(hvctl_get_object(channel, "in"), "signals-sent", 0));
    if (corruption) {
        printf("    corrupt %" PRId64 " times; the last time: %s\n",
               hvctl_get_int(channel, "corruptions", 0), corruption);
    }
}

static void print_services(JsonObject *device)
{
    JsonObject *heartbeat = hvctl_get_object(device, "heartbeat");
    JsonObject *shutdown = hvctl_get_object(device, "shutdown");
    JsonObject *timesync = hvctl_get_object(device, "timesync");
    JsonObject *vss = hvctl_get_object(device, "vss");
    /* Services that do nothing until they are told to. */
    static const struct {
        const char *name, *title;
    } waiting[] = {{"kvp", "Keys and values"}, {"fcopy", "File copy"}};

    if (heartbeat) {
        printf("Heartbeat: %s, applications %s, sequence %" PRId64,
               hvctl_get_string(heartbeat, "state", "unknown"),
               hvctl_get_string(heartbeat, "application", "unknown"),
               hvctl_get_int(heartbeat, "sequence", 0));
        if (hvctl_has(heartbeat, "age-ms")) {
            printf(", %.1f s old",
                   hvctl_get_int(heartbeat, "age-ms", 0) / 1000.0);
        }
        printf("\n");
    }
    if (shutdown) {
        printf("Shutdown: %s, message version %s\n",
               hvctl_get_string(shutdown, "state", "unknown"),
               hvctl_get_string(shutdown, "message-version", "not agreed yet"));
    }
    if (timesync) {
        printf("Time: %s, message version %s\n",
               hvctl_get_string(timesync, "state", "unknown"),
               hvctl_get_string(timesync, "message-version", "not agreed yet"));
    }
    if (vss) {
        printf("Backup: %s, service %s, message version %s\n",
               hvctl_get_string(vss, "state", "unknown"),
               hvctl_get_string(vss, "service", "unknown"),
               hvctl_get_string(vss, "message-version", "not agreed yet"));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        JsonObject *part = hvctl_get_object(device, waiting[i].name);

        if (part) {
            printf("%s: %s, message version %s\n", waiting[i].title,
                   hvctl_get_string(part, "state", "unknown"),
                   hvctl_get_string(part, "message-version", "not agreed yet"));
        }
    }
}

static void print_adapter(JsonObject *device)
{
    JsonObject *storage = hvctl_get_object(device, "storage");
    const char *driver = hvctl_get_string(device, "driver", "unknown");
    int64_t refused = hvctl_get_int(storage, "refused", 0);
    const char *why = hvctl_get_string(storage, "last-refusal", NULL);

    if (!storage) {
        return;
    }
    printf("Disks of %s: %s, version %s, %" PRId64 " requests, %" PRId64
           " under way",
           hvctl_get_string(device, "id", driver),
           hvctl_get_string(storage, "state", "unknown"),
           hvctl_get_string(storage, "version", "not agreed yet"),
           hvctl_get_int(storage, "requests", 0),
           hvctl_get_int(storage, "in-flight", 0));
    if (refused) {
        printf(", %" PRId64 " packets refused%s%s", refused,
               why ? "; the last time: " : "", why ? why : "");
    }
    printf("\n");
}

/* What was refused is told only if there was something. */
static void print_refusals(JsonObject *device)
{
    JsonObject *service = hvctl_get_object(device, "service");
    const char *why = hvctl_get_string(service, "last-refusal", NULL);

    if (hvctl_get_int(service, "refused", 0) == 0) {
        return;
    }
    printf("%s: %" PRId64 " requests sent, %" PRId64 " answered, %" PRId64
           " packets refused%s%s\n",
           hvctl_get_string(device, "driver", "unknown"),
           hvctl_get_int(service, "sent", 0),
           hvctl_get_int(service, "answered", 0),
           hvctl_get_int(service, "refused", 0), why ? "; the last time: " : "",
           why ? why : "");
}

static void print_as_text(JsonObject *info)
{
    JsonArray *devices = hvctl_get_array(info, "devices");
    JsonObject *device, *channel;

    print_bus(info);
    if (hvctl_array_object(devices, 0)) {
        printf("\n%-16s %5s %3s %-9s %4s %8s %8s %8s %8s %8s %8s\n", "DEVICE",
               "RELID", "SUB", "STATE", "VP", "IN", "PACKETS", "OUT", "PACKETS",
               "SIG-IN", "SIG-OUT");
    }
    for (unsigned i = 0; (device = hvctl_array_object(devices, i)); i++) {
        JsonArray *channels = hvctl_get_array(device, "channels");

        for (unsigned j = 0; (channel = hvctl_array_object(channels, j)); j++) {
            print_channel(device, channel);
        }
    }
    printf("\n");
    for (unsigned i = 0; (device = hvctl_array_object(devices, i)); i++) {
        print_services(device);
        print_adapter(device);
        print_refusals(device);
    }
    fflush(stdout);
}

int hvctl_status(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = qmp_open(options, timeout, error);
    g_autoptr(JsonObject) info = qmp ? qmp_query_vmbus(qmp, error) : NULL;

    if (!info) {
        return HVCTL_BROKEN;
    }
    if (options->json) {
        print_as_json(info);
    } else {
        print_as_text(info);
    }
    return HVCTL_DONE;
}
