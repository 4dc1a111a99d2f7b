/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv-vss-agent: freezes and thaws this machine's file systems for the host. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent.h"
#include "hooks.h"
#include "log.h"
#include "record.h"

#ifndef AGENT_VERSION
#define AGENT_VERSION "unknown"
#endif

enum { EXIT_DONE, EXIT_BROKEN, EXIT_USAGE };

typedef struct Options {
    const char *config;
    bool foreground, check, recover;
} Options;

static const char usage[] =
    "usage: hv-vss-agent [OPTION...]\n"
    "\n"
    "Freezes and thaws the file systems of a Linux guest when its host asks\n"
    "for it over VMBus (the service VSS).\n"
    "\n"
    "  -f, --foreground      do not become a daemon; messages go to standard\n"
    "                        error\n"
    "  -c, --config FILE     configuration (default:\n"
    "                        " AGENT_CONFIG_FILE ")\n"
    "      --check           show what would be frozen, in that order, and "
    "what\n"
    "                        is left out and why; freeze nothing\n"
    "      --recover         thaw what an agent that was killed left frozen\n"
    "      --mountinfo FILE  with --check: take mounts from FILE\n"
    "      --sysfs DIR       with --check: take block devices from DIR\n"
    "      --version         show the version\n"
    "  -h, --help            this text\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n";

static int fail(int code, const char *text)
{
    fprintf(stderr, "hv-vss-agent: %s\n", text);
    return code;
}

static bool hooks_print(const char *what, const char *dir, bool reverse)
{
    HookList list;
    Reason reason;

    if (!hooks_list(&list, dir, &reason)) {
        printf("\nNo freeze is possible: %s.\n", reason.text);
        return false;
    }
    if (list.count > 0) {
        printf("\n%s:\n", what);
    }
    for (size_t i = 0; i < list.count; i++) {
        printf("  %s\n", list.paths[reverse ? list.count - 1 - i : i]);
    }
    hooks_free(&list);
    return true;
}

static int check(const AgentConfig *config)
{
    Reason reason;
    Plan plan;
    bool ok;

    if (!plan_make(&plan, config, &reason)) {
        plan_free(&plan);
        return fail(EXIT_BROKEN, reason.text);
    }
    printf("Frozen, in this order, and thawed in the opposite one:\n");
    for (size_t i = 0; i < plan.freeze_count; i++) {
        const Mount *mount = plan.freeze[i].first;
        char *name = plan_item_name(&plan.freeze[i]);

        printf("  %-24s %-8s %s\n", name, mount->type, mount->source);
        free(name);
    }
    if (plan.freeze_count == 0) {
        printf("  nothing\n");
    }
    printf("\nLeft out:\n");
    for (size_t i = 0; i < plan.leave_count; i++) {
        char *name = plan_item_name(&plan.leave[i]);

        printf("  %-24s %-8s %s\n", name, plan.leave[i].first->type,
               plan.leave[i].reason);
        free(name);
    }
    plan_free(&plan);
    ok = hooks_print("Hooks before the freeze", config->freeze_hooks, false);
    ok &= hooks_print("Hooks after the thaw", config->thaw_hooks, true);
    return ok ? EXIT_DONE : EXIT_BROKEN;
}

static int recover(const AgentConfig *config)
{
    Stuck stuck = {.count = 0};
    Waiter waiter;
    Reason reason;
    unsigned thawed;

    switch (record_recover(config, &fs_ops_linux, &thawed, &reason)) {
    case RECOVER_NOTHING:
    case RECOVER_LAPSED:
        return EXIT_DONE;
    case RECOVER_FAILED:
        return fail(EXIT_BROKEN, reason.text);
    case RECOVER_DONE:
        break;
    }
    printf("Thawed %u file systems.\n", thawed);
    record_write(config->record, NULL, &reason);
    waiter_init(&waiter);
    hooks_after_thaw(config, &stuck, &waiter);
    waiter_close(&waiter);
    record_lapse(config->record);
    return EXIT_DONE;
}

static int open_device(void *opaque)
{
    const AgentConfig *config = opaque;

    return open(config->device, O_RDWR | O_CLOEXEC);
}

/* While the root is frozen, nothing of us may have to be read from it. */
static void prepare_process(void)
{
    struct rlimit limit;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "-1000", 5) != 5) {
        log_message(LOG_NOTICE,
                    "The kernel may kill the agent when memory is "
                    "short: %s.",
                    strerror(errno));
    }
    close_fd(&fd);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        log_message(LOG_WARNING, "The agent is not locked into memory: %s.",
                    strerror(errno));
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve(AgentConfig *config, bool foreground)
{
    Agent agent = {.config = config,
                   .ops = &fs_ops_linux,
                   .open_device = open_device,
                   .opaque = config};

    if (!foreground && daemon(0, 0) != 0) {
        return fail(EXIT_BROKEN, strerror(errno));
    }
    if (chdir("/") != 0) {
        return fail(EXIT_BROKEN, strerror(errno));
    }
    log_open(!foreground);
    prepare_process();
    agent_init(&agent);
    agent_run(&agent);
    return EXIT_DONE;
}

static void replace(char **text, const char *with)
{
    free(*text);
    *text = xstrdup(with);
}

/* -1: go on; else the exit code. */
static int parse_options(Options *options, AgentConfig *config, int argc,
                         char **argv)
{
    enum { CHECK = 256, RECOVER, MOUNTINFO, SYSFS, VERSION };
    static const struct option longs[] = {
        {"foreground", no_argument, NULL, 'f'},
        {"no-daemon", no_argument, NULL, 'n'}, /* of hv_vss_daemon */
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, CHECK},
        {"recover", no_argument, NULL, RECOVER},
        {"mountinfo", required_argument, NULL, MOUNTINFO},
        {"sysfs", required_argument, NULL, SYSFS},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "fnc:h", longs, NULL)) != -1) {
        switch (option) {
        case 'f':
        case 'n':
            options->foreground = true;
            break;
        case 'c':
            options->config = optarg;
            break;
        case CHECK:
            options->check = true;
            break;
        case RECOVER:
            options->recover = true;
            break;
        case MOUNTINFO:
            replace(&config->mountinfo, optarg);
            break;
        case SYSFS:
            replace(&config->sysfs, optarg);
            break;
        case VERSION:
            puts("hv-vss-agent " AGENT_VERSION);
            return EXIT_DONE;
        case 'h':
            fputs(usage, stdout);
            return EXIT_DONE;
        default:
            return fail(EXIT_USAGE, "see hv-vss-agent --help");
        }
    }
    return optind < argc ? fail(EXIT_USAGE, "there are no arguments, only "
                                            "options; see --help")
                         : -1;
}

static int run(AgentConfig *config, int argc, char **argv)
{
    Options options = {0};
    Reason reason;
    int code = parse_options(&options, config, argc, argv);

    if (code >= 0) {
        return code;
    }
    if (!options.check && config->mountinfo) {
        return fail(EXIT_USAGE, "--mountinfo goes with --check only");
    }
    if (!config_read(config,
                     options.config ? options.config : AGENT_CONFIG_FILE,
                     options.config, &reason)) {
        return fail(EXIT_USAGE, reason.text);
    }
    if (options.check) {
        return check(config);
    }
    if (options.recover) {
        return recover(config);
    }
    return serve(config, options.foreground);
}

int main(int argc, char **argv)
{
    AgentConfig config;
    int code;

    config_init(&config);
    code = run(&config, argc, argv);
    config_free(&config);
    return code;
}
