/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hvctl snapshot-freeze --run: a command while the guest is frozen.  The hold
 * is renewed while it runs; whatever happens to it or to us, the guest is
 * thawed: by us, or by the host when the hold is over.
 */
#include "vss.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service.h"

/* What a single call to QEMU may take while the guest is frozen. */
#define CALL_TIMEOUT 5
/* What the guest may take to thaw, and a command to end when told so. */
#define THAW_TIMEOUT 30
#define KILL_TIMEOUT 5

typedef struct Run {
    Qmp *qmp;
    int64_t job;
    int64_t renew_usec;
    sigset_t old_mask;
    int signals;     /* signalfd */
    pid_t child;     /* 0: has ended */
    int status;      /* of wait() */
    int signal;      /* that we got; 0: none */
    bool lost;       /* the guest was thawed under the command */
    int64_t kill_at; /* monotonic, usec; 0: it has not been told to end */
} Run;

/* From here on signals are read, and do not end us.  One that nohup(1), say,
 * has made us ignore stays ignored: to read it we would have to block it. */
static bool catch_signals(Run *run, GError **error)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < G_N_ELEMENTS(ending); i++) {
        sigaction(ending[i], NULL, &action);
        if (action.sa_handler != SIG_IGN) {
            sigaddset(&set, ending[i]);
        }
    }
    sigprocmask(SIG_BLOCK, &set, &run->old_mask);
    run->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (run->signals < 0) {
        g_set_error(error, HVCTL_ERROR, HVCTL_COMMAND,
                    "The command can't be run: %s.", g_strerror(errno));
        return false;
    }
    return true;
}

static bool start(Run *run, const char *command, GError **error)
{
    pid_t parent = getpid();

    fflush(stdout);
    run->child = fork();
    if (run->child < 0) {
        run->child = 0;
        g_set_error(error, HVCTL_ERROR, HVCTL_COMMAND,
                    "The command can't be run: %s.", g_strerror(errno));
        return false;
    }
    if (!run->child) {
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, &run->old_mask, NULL);
        /* A copy of a disk that is not frozen is worth nothing. */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() == parent) {
            execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        }
        _exit(127);
    }
    setpgid(run->child, run->child);
    return true;
}

static void tell_to_end(Run *run, int number)
{
    if (run->child && !run->kill_at) {
        kill(-run->child, number);
        run->kill_at = g_get_monotonic_time() + KILL_TIMEOUT * G_USEC_PER_SEC;
    }
}

static void read_signals(Run *run)
{
    struct signalfd_siginfo info;

    while (read(run->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGCHLD) {
            run->signal = (int)info.ssi_signo;
            tell_to_end(run, run->signal);
        }
    }
    if (run->child && waitpid(run->child, &run->status, WNOHANG) > 0) {
        run->child = 0;
    }
}

static bool renew(Run *run)
{
    qmp_no_limit(run->qmp);
    qmp_limit(run->qmp, CALL_TIMEOUT);
    /* The events of a long run are nobody's. */
    qmp_drop_events(run->qmp, NULL);
    return vss_renew(run->qmp, run->job, NULL);
}

static void follow(Run *run)
{
    int64_t next = g_get_monotonic_time() + run->renew_usec;

    while (run->child) {
        struct pollfd pollfd = {.fd = run->signals, .events = POLLIN};
        int64_t now = g_get_monotonic_time();
        int64_t until = run->lost ? now + G_USEC_PER_SEC : next;

        if (run->kill_at) {
            until = MIN(until, run->kill_at);
        }
        poll(&pollfd, 1, (int)(MAX(until - now, 0) / 1000) + 1);
        read_signals(run);
        now = g_get_monotonic_time();
        if (run->child && run->kill_at && now >= run->kill_at) {
            kill(-run->child, SIGKILL);
            run->kill_at = now + G_USEC_PER_SEC;
        }
        if (run->child && !run->lost && now >= next) {
            run->lost = !renew(run);
            next = now + run->renew_usec;
        }
        if (run->lost) {
            tell_to_end(run, SIGTERM);
        }
    }
    /* Was it frozen to the end? */
    run->lost = run->lost || !renew(run);
}

static void report(const HvctlOptions *options)
{
    if (options->json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "state");
        json_builder_add_string_value(builder, "thawed");
        json_builder_set_member_name(builder, "command");
        json_builder_add_int_value(builder, 0);
        json_builder_end_object(builder);
        hvctl_print_json(builder, false);
    } else {
        printf("The command has run while the guest was frozen; it is thawed "
               "again.\n");
    }
}

/* The command has ended, and the guest was thawed with @thaw. */
static int judge(const Run *run, int thaw, GError *why, GError **error)
{
    if (thaw == HVCTL_NOT_THAWED) {
        g_propagate_error(error, g_error_copy(why));
        return thaw;
    }
    if (run->lost) {
        return service_fail(error, HVCTL_LOST,
                            "The freeze did not last until the command ended: "
                            "what the command made is not to be trusted.");
    }
    if (thaw != HVCTL_DONE) {
        g_propagate_error(error, g_error_copy(why));
        return thaw;
    }
    if (WIFSIGNALED(run->status)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_COMMAND,
                    "The command was ended by signal %d; the guest is thawed.",
                    WTERMSIG(run->status));
        return HVCTL_COMMAND;
    }
    if (WEXITSTATUS(run->status)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_COMMAND,
                    "The command ended with exit %d; the guest is thawed.",
                    WEXITSTATUS(run->status));
        return HVCTL_COMMAND;
    }
    return HVCTL_DONE;
}

static int thaw(Run *run, GError **error)
{
    qmp_no_limit(run->qmp);
    qmp_limit(run->qmp, THAW_TIMEOUT);
    return vss_thaw(run->qmp, error);
}

int vss_run(const HvctlOptions *options, Qmp *qmp, double hold, double timeout,
            GError **error)
{
    Run run = {.qmp = qmp,
               .signals = -1,
               .renew_usec = (int64_t)(hold / 3 * G_USEC_PER_SEC)};
    g_autoptr(GError) why = NULL;
    int code = vss_freeze(qmp, hold, timeout, &run.job, error);

    if (code != HVCTL_DONE) {
        return code;
    }
    if (!catch_signals(&run, error) || !start(&run, options->run, error)) {
        thaw(&run, NULL);
        return HVCTL_COMMAND;
    }
    follow(&run);
    code = thaw(&run, &why);
    code = judge(&run, code, why, error);
    if (code == HVCTL_DONE) {
        report(options);
    }
    close(run.signals);
    return code;
}
