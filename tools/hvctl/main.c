/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl: the administrator's view of a machine's VMBus. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hvctl.h"

static HvctlOptions options = {.timeout = -1, .hold = -1};
static gboolean opt_json, opt_version, opt_watch, opt_reboot, opt_hibernate,
    opt_force, opt_wait, opt_sync, opt_direct, opt_number, opt_dhcp,
    opt_overwrite, opt_create_path, opt_progress, opt_stock, opt_native;

static const GOptionEntry common_entries[] = {
    {"qmp", 0, 0, G_OPTION_ARG_FILENAME, &options.qmp,
     "QMP socket: a path, or tcp:HOST:PORT (default: $HVCTL_QMP)", "PATH"},
    {"connect", 'c', 0, G_OPTION_ARG_STRING, &options.connect,
     "Through the libvirt at URI; the domain follows the command", "URI"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON", NULL},
    {"timeout", 0, 0, G_OPTION_ARG_DOUBLE, &options.timeout,
     "Give up after S seconds; 0: never (default: 10; shutdown, "
     "snapshot-freeze and copy 60)",
     "S"},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry main_entries[] = {
    {"version", 0, 0, G_OPTION_ARG_NONE, &opt_version, "Print the version",
     NULL},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry no_entries[] = {G_OPTION_ENTRY_NULL};

static const GOptionEntry heartbeat_entries[] = {
    {"watch", 0, 0, G_OPTION_ARG_NONE, &opt_watch,
     "Print a line for each change until interrupted", NULL},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry shutdown_entries[] = {
    {"reboot", 0, 0, G_OPTION_ARG_NONE, &opt_reboot,
     "Restart instead of powering off", NULL},
    {"hibernate", 0, 0, G_OPTION_ARG_NONE, &opt_hibernate,
     "Write the memory to a disk before powering off", NULL},
    {"force", 0, 0, G_OPTION_ARG_NONE, &opt_force,
     "Let no application prevent it; ask again a guest that accepted", NULL},
    {"wait", 0, 0, G_OPTION_ARG_NONE, &opt_wait,
     "Wait until the machine is off or has restarted", NULL},
    {"message", 0, 0, G_OPTION_ARG_STRING, &options.message,
     "Text that the guest may show or log", "TEXT"},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry host_check_entries[] = {
    {"device", 0, 0, G_OPTION_ARG_FILENAME, &options.device,
     "Ask this device (default: /dev/kvm)", "PATH"},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry timesync_entries[] = {
    {"sync", 0, 0, G_OPTION_ARG_NONE, &opt_sync,
     "Order the guest to set its clock, and wait until it has", NULL},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry freeze_entries[] = {
    {"hold", 0, 0, G_OPTION_ARG_DOUBLE, &options.hold,
     "Thaw by itself after S seconds (default: 10)", "S"},
    {"run", 0, 0, G_OPTION_ARG_STRING, &options.run,
     "Run this in a shell while the guest is frozen, and thaw", "COMMAND"},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry kvp_entries[] = {
    {"direct", 0, 0, G_OPTION_ARG_NONE, &opt_direct,
     "get: ask the guest for the key, and do not list the pool", NULL},
    {"number", 0, 0, G_OPTION_ARG_NONE, &opt_number,
     "set: the value is a number of 32 bits", NULL},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry ip_entries[] = {
    {"dhcp", 0, 0, G_OPTION_ARG_NONE, &opt_dhcp, "set: use DHCP", NULL},
    {"address", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.addresses,
     "set: an address with its mask or prefix; may be given again",
     "ADDRESS/SUBNET"},
    {"gateway", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.gateways,
     "set: a default gateway; may be given again", "ADDRESS"},
    {"dns", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.dns,
     "set: a name server; may be given again", "ADDRESS"},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry copy_entries[] = {
    {"overwrite", 0, 0, G_OPTION_ARG_NONE, &opt_overwrite,
     "Overwrite a file that is there", NULL},
    {"create-path", 0, 0, G_OPTION_ARG_NONE, &opt_create_path,
     "Create directories that are missing", NULL},
    {"progress", 0, 0, G_OPTION_ARG_NONE, &opt_progress,
     "Draw the progress bar even if nobody is at a terminal", NULL},
    {"resume", 0, 0, G_OPTION_ARG_INT64, &options.resume,
     "Go on with a copy that stopped", "JOB"},
    {"cancel", 0, 0, G_OPTION_ARG_INT64, &options.cancel, "Cancel a copy",
     "JOB"},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry xml_entries[] = {
    {"stock", 0, 0, G_OPTION_ARG_NONE, &opt_stock,
     "Convert for a libvirt that knows nothing of VMBus", NULL},
    {"native", 0, 0, G_OPTION_ARG_NONE, &opt_native, "Convert back", NULL},
    G_OPTION_ENTRY_NULL,
};

static const struct {
    const char *name;
    const char *summary;
    HvctlCommand *run;
    bool needs_machine;
    const GOptionEntry *entries;
    const char *arguments; /* NULL: it takes none */
} commands[] = {
    {"status", "Show the bus, its devices and their channels.", hvctl_status,
     true, no_entries, NULL},
    {"heartbeat", "Show whether the guest answers heartbeats.", hvctl_heartbeat,
     true, heartbeat_entries, NULL},
    {"shutdown", "Ask the guest to power off, to restart or to hibernate.",
     hvctl_shutdown, true, shutdown_entries, NULL},
    {"timesync", "Show whether the guest gets the time, or set its clock.",
     hvctl_timesync, true, timesync_entries, NULL},
    {"snapshot-freeze", "Freeze the guest's file systems for a backup.",
     hvctl_snapshot_freeze, true, freeze_entries, NULL},
    {"snapshot-thaw", "Thaw the guest's file systems.", hvctl_snapshot_thaw,
     true, no_entries, NULL},
    {"vss-status", "Show whether the guest is frozen, and why not.",
     hvctl_vss_status, true, no_entries, NULL},
    {"kvp", "List, get, set and delete keys and values of the guest.",
     hvctl_kvp, true, kvp_entries, "list|get|set|delete POOL [KEY [VALUE]]"},
    {"ip", "Get and change IP settings of the guest.", hvctl_ip, true,
     ip_entries, "get|set ADAPTER"},
    {"copy", "Copy a file into the guest.", hvctl_copy_file, true, copy_entries,
     "FILE GUEST-PATH"},
    {"doctor", "Look for what is wrong, and say what to do.", hvctl_doctor,
     true, no_entries, NULL},
    {"host-check", "Show whether this host's KVM can carry VMBus.",
     hvctl_host_check, false, host_check_entries, NULL},
    {"xml", "Convert a domain for libvirt without VMBus, or back.", hvctl_xml,
     false, xml_entries, "FILE"},
};

static void append_exits(GString *text)
{
    g_string_append(text, "Exit codes:\n");
    for (unsigned i = 0; i < hvctl_exit_count; i++) {
        g_string_append_printf(text, "  %-3d %s\n", hvctl_exits[i].code,
                               hvctl_exits[i].meaning);
    }
}

static GOptionContext *main_context(void)
{
    GOptionContext *context = g_option_context_new("COMMAND [OPTION...]");
    g_autoptr(GString) text = g_string_new("Commands:\n");

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_string_append_printf(text, "  %-15s %s\n", commands[i].name,
                               commands[i].summary);
    }
    g_string_append(text, "\n'hvctl COMMAND --help' explains a command.\n\n");
    append_exits(text);
    g_option_context_set_summary(context,
                                 "Looks at a virtual machine's VMBus and "
                                 "controls its guest over it.");
    g_option_context_set_description(context, text->str);
    g_option_context_add_main_entries(context, common_entries, NULL);
    g_option_context_add_main_entries(context, main_entries, NULL);
    /* What follows the command is the command's. */
    g_option_context_set_strict_posix(context, TRUE);
    return context;
}

static GOptionContext *command_context(size_t index)
{
    g_autofree char *arguments = g_strconcat(
        commands[index].needs_machine ? "[DOMAIN] " : "",
        commands[index].arguments ? commands[index].arguments : "", NULL);
    GOptionContext *context = g_option_context_new(g_strchomp(arguments));
    g_autoptr(GString) text = g_string_new(NULL);

    append_exits(text);
    g_option_context_set_summary(context, commands[index].summary);
    g_option_context_set_description(context, text->str);
    g_option_context_add_main_entries(context, common_entries, NULL);
    g_option_context_add_main_entries(context, commands[index].entries, NULL);
    return context;
}

static int complain(const GError *error)
{
    if (opt_json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();
        g_autoptr(JsonGenerator) generator = json_generator_new();
        g_autoptr(JsonNode) root = NULL;
        g_autofree char *text = NULL;

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "error");
        json_builder_add_string_value(builder, error->message);
        json_builder_set_member_name(builder, "exit");
        json_builder_add_int_value(builder, error->code);
        json_builder_end_object(builder);
        root = json_builder_get_root(builder);
        json_generator_set_root(generator, root);
        text = json_generator_to_data(generator, NULL);
        fprintf(stderr, "%s\n", text);
    } else {
        fprintf(stderr, "hvctl: %s\n", error->message);
    }
    return error->code;
}

static int usage(const char *format, const char *what)
{
    g_autoptr(GError) error = NULL;

    error = g_error_new(HVCTL_ERROR, HVCTL_USAGE, format, what);
    return complain(error);
}

static bool parse(GOptionContext *context, int *argc, char ***argv, int *code)
{
    g_autoptr(GOptionContext) owned = context;
    g_autoptr(GError) why = NULL;

    if (g_option_context_parse(owned, argc, argv, &why)) {
        return true;
    }
    *code = usage("%s.", why->message);
    return false;
}

/* GLib leaves it there if what follows begins with a dash. */
static void drop_separator(char **argv)
{
    while (*argv && strcmp(*argv, "--") != 0) {
        argv++;
    }
    for (; *argv; argv++) {
        argv[0] = argv[1];
    }
}

/*
 * Which machine?  By its socket, or a domain, the first argument then; what
 * is given on the command line is before what the environment has, and what
 * it has for us before what it has for users of libvirt.
 */
static int find_machine(const char *command)
{
    static const char *const uris[] = {"VIRSH_DEFAULT_CONNECT_URI",
                                       "LIBVIRT_DEFAULT_URI"};
    const char *qmp = g_getenv("HVCTL_QMP");

    if (options.qmp && options.connect) {
        return usage("%s: a machine is given with --qmp or with --connect.",
                     command);
    }
    if (!options.qmp && !options.connect && qmp && *qmp) {
        options.qmp = g_strdup(qmp);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++) {
        const char *uri = g_getenv(uris[i]);

        if (!options.qmp && !options.connect && uri && *uri) {
            options.connect = g_strdup(uri);
        }
    }
    if (!options.connect && (!options.qmp || !*options.qmp)) {
        return usage("%s needs a machine: give --qmp, or --connect and a "
                     "domain, or set HVCTL_QMP.",
                     command);
    }
    if (options.connect) {
        options.domain = options.args[0];
        if (!options.domain || !*options.domain) {
            return usage("%s needs the name of a domain.", command);
        }
        options.args++;
    }
    return HVCTL_DONE;
}

/* After the command's own options are read. */
static int run(size_t index)
{
    g_autoptr(GError) error = NULL;
    int code;

    options.json = opt_json;
    options.watch = opt_watch;
    options.reboot = opt_reboot;
    options.hibernate = opt_hibernate;
    options.force = opt_force;
    options.wait = opt_wait;
    options.sync = opt_sync;
    options.direct = opt_direct;
    options.number = opt_number;
    options.dhcp = opt_dhcp;
    options.overwrite = opt_overwrite;
    options.create_path = opt_create_path;
    options.progress = opt_progress;
    options.stock = opt_stock;
    options.native = opt_native;
    /* -1 is what stands there if none was given. */
    if (!isfinite(options.timeout) || options.timeout > 1e9 ||
        (options.timeout < 0 && options.timeout != -1)) {
        return usage("%s is given as seconds, from 0 to 1000000000.",
                     "--timeout");
    }
    code = commands[index].needs_machine ? find_machine(commands[index].name)
                                         : HVCTL_DONE;
    if (code != HVCTL_DONE) {
        return code;
    }
    if (!commands[index].arguments && options.args[0]) {
        return usage("unexpected argument %s.", options.args[0]);
    }
    code = commands[index].run(&options, &error);
    return error ? complain(error) : code;
}

int main(int argc, char **argv)
{
    int code;

    setlocale(LC_ALL, "");
    g_set_prgname("hvctl");
    if (!parse(main_context(), &argc, &argv, &code)) {
        return code;
    }
    if (opt_version) {
        printf("hvctl %s\n", HVCTL_VERSION);
        return HVCTL_DONE;
    }
    if (argc < 2) {
        return usage("%s: hvctl --help lists the commands.",
                     "no command is given");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (g_strcmp0(argv[1], commands[i].name)) {
            continue;
        }
        g_autofree char *name = g_strdup_printf("hvctl %s", argv[1]);

        /* The help names the program by this. */
        g_set_prgname(name);
        argc--;
        argv++;
        if (!parse(command_context(i), &argc, &argv, &code)) {
            return code;
        }
        drop_separator(argv);
        options.args = argv + 1;
        return run(i);
    }
    return usage("unknown command %s; hvctl --help lists the commands.",
                 argv[1]);
}
