/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hvctl doctor: what is commonly wrong with a machine's VMBus, and what to do.
 *
 * A problem keeps something from working; a note tells of what may be as it
 * is meant to be.
 */
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "qmp.h"

#define DEFAULT_TIMEOUT 10

typedef enum Level { NOTE, PROBLEM } Level;

static const char *const levels[] = {[NOTE] = "note", [PROBLEM] = "problem"};

typedef struct Finding {
    Level level;
    const char *about; /* which part of the machine */
    char *what;        /* a sentence */
    const char *advice;
} Finding;

typedef struct Doctor {
    Qmp *qmp;
    JsonObject *info; /* of query-vmbus */
    char *cpu;        /* path of the first processor; NULL: there is none */
    GArray *findings; /* of Finding */
    unsigned problems;
} Doctor;

static const struct {
    const char *flag;
    const char *without;
} enlightenments[] = {
    {"hv-vpindex", "no guest can use the bus"},
    {"hv-synic", "no guest can use the bus"},
    {"hv-stimer", "Windows does not start its driver of the bus"},
    {"hv-relaxed", "Windows does not start its driver of the bus"},
    {"hv-vapic", "Windows does not start its driver of the bus"},
    {"hv-time", "Windows does not start its driver of the bus"},
    {"hv-runtime", "Windows does not start its driver of the bus"},
};

static const struct {
    const char *name;   /* of the member in query-vmbus */
    const char *device; /* what has it */
    const char *state;  /* the member of it that tells whether it is open */
    Level closed;       /* how bad it is if it is not */
    const char *advice; /* if it is not open, or has agreed to nothing */
} services[] = {
    {"heartbeat", "hv-heartbeat", "state", PROBLEM,
     "Linux: load hv_utils; Windows: start the service vmicheartbeat."},
    {"shutdown", "hv-shutdown", "state", PROBLEM,
     "Linux: load hv_utils; Windows: start the service vmicshutdown."},
    {"timesync", "hv-timesync", "state", PROBLEM,
     "Linux: load hv_utils; Windows: start the service vmictimesync."},
    {"vss", "hv-vss", "service", NOTE,
     "Linux: load hv_utils and start hv_vss_daemon or hv-vss-agent; Windows: "
     "start the service vmicvss."},
    {"kvp", "hv-kvp", "state", NOTE,
     "Linux: load hv_utils and start hv_kvp_daemon; Windows: start the "
     "service vmickvpexchange."},
    {"fcopy", "hv-fcopy", "state", NOTE,
     "Linux up to 6.9: load hv_utils and start hv_fcopy_daemon; Windows: "
     "start the service vmicguestinterface."},
};

G_GNUC_PRINTF(5, 6)
static void found(Doctor *d, Level level, const char *about, const char *advice,
                  const char *format, ...)
{
    Finding finding = {.level = level, .about = about, .advice = advice};
    va_list args;

    va_start(args, format);
    finding.what = g_strdup_vprintf(format, args);
    va_end(args);
    g_array_append_val(d->findings, finding);
    d->problems += level == PROBLEM;
}

static void clear_finding(void *finding)
{
    g_free(((Finding *)finding)->what);
}

static const char *device_name(JsonObject *device)
{
    return hvctl_get_string(device, "id",
                            hvctl_get_string(device, "driver", "unknown"));
}

/*
 * A property of the first processor.  False with *@error if QEMU was not
 * reached; *@value stays as it is if there is no such property.
 */
static bool get_flag(Doctor *d, const char *name, bool *value, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;
    const char *class = NULL;

    if (!d->cpu) {
        return true;
    }
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "path");
    json_builder_add_string_value(builder, d->cpu);
    json_builder_set_member_name(builder, "property");
    json_builder_add_string_value(builder, name);
    json_builder_end_object(builder);
    result = qmp_execute(d->qmp, "qom-get", json_builder_get_root(builder),
                         &class, &why);
    if (!result && !class) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    if (result && JSON_NODE_HOLDS_VALUE(result) &&
        json_node_get_value_type(result) == G_TYPE_BOOLEAN) {
        *value = json_node_get_boolean(result);
    }
    return true;
}

static bool find_processor(Doctor *d, GError **error)
{
    g_autoptr(JsonNode) result =
        qmp_execute(d->qmp, "query-cpus-fast", NULL, NULL, error);
    JsonObject *first;

    if (!result) {
        return false;
    }
    if (JSON_NODE_HOLDS_ARRAY(result)) {
        first = hvctl_array_object(json_node_get_array(result), 0);
        d->cpu = g_strdup(hvctl_get_string(first, "qom-path", NULL));
    }
    return true;
}

/* The result of a command that has an object; NULL with *@error. */
static JsonObject *ask(Doctor *d, const char *command, GError **error)
{
    g_autoptr(JsonNode) result =
        qmp_execute(d->qmp, command, NULL, NULL, error);

    if (!result) {
        return NULL;
    }
    return JSON_NODE_HOLDS_OBJECT(result) ? json_node_dup_object(result)
                                          : json_object_new();
}

static bool check_machine(Doctor *d, GError **error)
{
    g_autoptr(JsonObject) status = ask(d, "query-status", error);

    if (!status) {
        return false;
    }
    if (!hvctl_get_bool(status, "running", true)) {
        found(d, PROBLEM, "machine", "Resume it.",
              "The machine is stopped (%s).",
              hvctl_get_string(status, "status", "unknown"));
    }
    return true;
}

static bool check_enlightenments(Doctor *d, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(enlightenments); i++) {
        bool on = true;

        if (!get_flag(d, enlightenments[i].flag, &on, error)) {
            return false;
        }
        if (!on) {
            found(d, PROBLEM, "processor",
                  "Add it to -cpu; libvirt does that for <vmbus/>.",
                  "The processor lacks %s, and without it %s.",
                  enlightenments[i].flag, enlightenments[i].without);
        }
    }
    return true;
}

static bool has_storage(Doctor *d)
{
    JsonArray *devices = hvctl_get_array(d->info, "devices");
    JsonObject *device;

    for (unsigned i = 0; (device = hvctl_array_object(devices, i)); i++) {
        if (hvctl_has(device, "storage")) {
            return true;
        }
    }
    return false;
}

/*
 * A guest's own hypervisor puts a SynIC of its own before the host's, and the
 * partition that had the disks is cut off from them.
 */
static bool check_nested(Doctor *d, GError **error)
{
    static const char *const extensions[] = {"vmx", "svm"};

    for (size_t i = 0; has_storage(d) && i < G_N_ELEMENTS(extensions); i++) {
        bool on = false;

        if (!get_flag(d, extensions[i], &on, error)) {
            return false;
        }
        if (on) {
            found(d, PROBLEM, "processor",
                  "Turn it off in -cpu or the domain's <cpu>, or keep "
                  "Hyper-V, and security based on virtualization, off in the "
                  "guest.",
                  "The processor has %s and the machine has storage on VMBus, "
                  "which a guest loses if it starts a hypervisor of its own.",
                  extensions[i]);
        }
    }
    return true;
}

/* Why may there be no guest on the bus? */
static bool check_connection(Doctor *d, GError **error)
{
    g_autoptr(JsonObject) kvm = NULL;
    bool shown = false;

    if (hvctl_get_bool(d->info, "connected", false)) {
        return true;
    }
    found(d, PROBLEM, "bus",
          "If it is not starting still: Linux needs the driver hv_vmbus, and "
          "the machine needs ACPI.",
          "No guest is connected to the bus.");
    kvm = ask(d, "query-kvm", error);
    if (!kvm) {
        return false;
    }
    if (!hvctl_get_bool(kvm, "enabled", false)) {
        return true;
    }
    if (!get_flag(d, "kvm", &shown, error)) {
        return false;
    }
    if (shown) {
        found(d, PROBLEM, "processor",
              "Add kvm=off to -cpu, or <kvm><hidden state='on'/></kvm> to the "
              "domain's <features>.",
              "The processor shows KVM's own interface, which Linux prefers "
              "to that of Hyper-V.");
    }
    return true;
}

static void check_service(Doctor *d, size_t i, JsonObject *part)
{
    const char *state = hvctl_get_string(part, services[i].state, "unknown");

    if (!g_strcmp0(state, "closed") || !g_strcmp0(state, "no-contact")) {
        found(d, services[i].closed, services[i].name, services[i].advice,
              "The guest has not opened %s.", services[i].device);
    } else if (!g_strcmp0(state, "negotiating")) {
        found(d, services[i].closed, services[i].name, services[i].advice,
              "The guest has opened %s, but not agreed to a version of it.",
              services[i].device);
    } else if (!g_strcmp0(state, "unusable")) {
        found(d, PROBLEM, services[i].name,
              "hvctl status tells what was refused; load the driver anew.",
              "%s is open, but no version was agreed or the guest broke the "
              "protocol.",
              services[i].device);
    } else if (!g_strcmp0(state, "lost")) {
        found(d, PROBLEM, services[i].name,
              "Look at its console; a guest that hangs can be reset.",
              "The guest has stopped answering heartbeats.");
    }
}

static void check_backup(Doctor *d, JsonObject *vss)
{
    const char *state = hvctl_get_string(vss, "state", "unknown");

    if (!g_strcmp0(state, "failed")) {
        found(d, PROBLEM, "vss",
              "Freeze it again; in the guest, the log of its backup service "
              "tells more.",
              "The last freeze did not end as it was meant to: %s",
              hvctl_get_string(vss, "message", "the reason is not known."));
    } else if (!g_strcmp0(state, "frozen")) {
        found(d, NOTE, "vss", "hvctl snapshot-thaw ends that.",
              "The guest's file systems have been frozen for %.1f s.",
              hvctl_get_int(vss, "frozen-ms", 0) / 1000.0);
    }
    if (!g_strcmp0(state, "failed") &&
        hvctl_get_bool(vss, "thaw-owed", false)) {
        found(d, PROBLEM, "vss", "Try hvctl snapshot-thaw.",
              "The guest may be frozen still.");
    }
}

static void check_application(Doctor *d, JsonObject *heartbeat)
{
    const char *application =
        hvctl_get_string(heartbeat, "application", "unknown");

    if (!g_strcmp0(application, "critical") ||
        !g_strcmp0(application, "stopped")) {
        found(d, PROBLEM, "heartbeat", "Look into the guest.",
              "The guest says of its applications: %s.", application);
    }
}

static void check_channels(Doctor *d, JsonObject *device)
{
    JsonArray *channels = hvctl_get_array(device, "channels");
    JsonObject *channel;

    for (unsigned i = 0; (channel = hvctl_array_object(channels, i)); i++) {
        const char *state = hvctl_get_string(channel, "state", "unknown");

        if (!g_strcmp0(state, "corrupt")) {
            found(d, PROBLEM, "channel",
                  "Load the guest's driver anew, or restart the guest.",
                  "The guest broke the ring of channel %" PRId64 " of %s: %s",
                  hvctl_get_int(channel, "relid", 0), device_name(device),
                  hvctl_get_string(channel, "corruption",
                                   "the reason is not known."));
        } else if (!g_strcmp0(state, "rescinded")) {
            found(d, NOTE, "channel",
                  "It waits for the guest; vmbus-device-withdraw does not.",
                  "%s was unplugged, and the guest has not let go of it.",
                  device_name(device));
        }
    }
}

static void check_storage(Doctor *d, JsonObject *device, JsonObject *storage)
{
    const char *state = hvctl_get_string(storage, "state", "unknown");
    const char *why = hvctl_get_string(storage, "last-refusal", NULL);

    if (g_strcmp0(state, "ready") != 0) {
        found(d, PROBLEM, "storage",
              "Linux: the driver hv_storvsc has to be in the initial file "
              "system that boots from it.",
              "The guest's driver has not set up the adapter %s (%s).",
              device_name(device), state);
    }
    if (hvctl_get_int(storage, "refused", 0) > 0) {
        found(d, PROBLEM, "storage",
              "If it goes on, it is a fault of the guest's driver or ours.",
              "%" PRId64 " packets to the adapter %s were refused%s%s",
              hvctl_get_int(storage, "refused", 0), device_name(device),
              why ? "; the last time: " : ".", why ? why : "");
    }
}

/* Without a guest on the bus, all of this is as one expects. */
static void check_devices(Doctor *d)
{
    JsonArray *devices = hvctl_get_array(d->info, "devices");
    bool there[G_N_ELEMENTS(services)] = {false};
    JsonObject *device, *part;

    for (unsigned i = 0; (device = hvctl_array_object(devices, i)); i++) {
        check_channels(d, device);
        for (size_t s = 0; s < G_N_ELEMENTS(services); s++) {
            if ((part = hvctl_get_object(device, services[s].name))) {
                there[s] = true;
                check_service(d, s, part);
            }
        }
        if ((part = hvctl_get_object(device, "heartbeat"))) {
            check_application(d, part);
        }
        if ((part = hvctl_get_object(device, "vss"))) {
            check_backup(d, part);
        }
        if ((part = hvctl_get_object(device, "storage"))) {
            check_storage(d, device, part);
        }
    }
    for (size_t s = 0; s < G_N_ELEMENTS(services); s++) {
        if (!there[s]) {
            found(d, NOTE, services[s].name,
                  "Give it to QEMU with -device, or turn the service on in "
                  "the domain's <vmbus>.",
                  "The machine has no %s.", services[s].device);
        }
    }
}

static bool examine(Doctor *d, GError **error)
{
    if (!check_machine(d, error) || !find_processor(d, error) ||
        !check_enlightenments(d, error) || !check_nested(d, error) ||
        !check_connection(d, error)) {
        return false;
    }
    if (hvctl_get_bool(d->info, "connected", false)) {
        check_devices(d);
    }
    return true;
}

static void print_as_json(const Doctor *d)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "problems");
    json_builder_add_int_value(builder, d->problems);
    json_builder_set_member_name(builder, "findings");
    json_builder_begin_array(builder);
    for (unsigned i = 0; i < d->findings->len; i++) {
        const Finding *finding = &g_array_index(d->findings, Finding, i);

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "level");
        json_builder_add_string_value(builder, levels[finding->level]);
        json_builder_set_member_name(builder, "about");
        json_builder_add_string_value(builder, finding->about);
        json_builder_set_member_name(builder, "finding");
        json_builder_add_string_value(builder, finding->what);
        json_builder_set_member_name(builder, "advice");
        json_builder_add_string_value(builder, finding->advice);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    hvctl_print_json(builder, true);
}

static void print_as_text(const Doctor *d)
{
    for (unsigned i = 0; i < d->findings->len; i++) {
        const Finding *finding = &g_array_index(d->findings, Finding, i);

        printf("%s: %s: %s %s\n", levels[finding->level], finding->about,
               finding->what, finding->advice);
    }
    if (d->problems == 0) {
        printf("No problem was found.\n");
    }
    fflush(stdout);
}

int hvctl_doctor(const HvctlOptions *options, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(Qmp) qmp = qmp_open(options, timeout, error);
    g_autoptr(JsonObject) info = qmp ? qmp_query_vmbus(qmp, error) : NULL;
    g_autoptr(GArray) findings = g_array_new(FALSE, FALSE, sizeof(Finding));
    Doctor d = {.qmp = qmp, .info = info, .findings = findings};
    bool done;

    g_array_set_clear_func(findings, clear_finding);
    done = info && examine(&d, error);
    g_free(d.cpu);
    if (!done) {
        return HVCTL_BROKEN;
    }
    if (options->json) {
        print_as_json(&d);
    } else {
        print_as_text(&d);
    }
    return d.problems ? HVCTL_FINDINGS : HVCTL_DONE;
}
