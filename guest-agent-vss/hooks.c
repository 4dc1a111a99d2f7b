/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hooks.h"
#include "log.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define MAX_HOOKS  256
#define MAX_OUTPUT 1000    /* bytes of a hook's output that are kept */
#define MAX_DRAIN  1048576 /* bytes that are read after its end */
#define END_MS     1000    /* from SIGTERM to SIGKILL, and after that */

typedef struct Hook {
    const char *path;
    pid_t pid;
    int output;
    char text[MAX_OUTPUT + 1];
    size_t length;
    int status; /* as from waitpid() */
} Hook;

/* Backups of editors and what package managers leave are no hooks. */
static bool is_hook_name(const char *name)
{
    static const char *const endings[] = {"~",         ".bak",      ".rpmnew",
                                          ".rpmsave",  ".dpkg-new", ".dpkg-old",
                                          ".dpkg-dist"};
    size_t length = strlen(name);

    if (name[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        size_t ending = strlen(endings[i]);

        if (length >= ending &&
            strcmp(name + length - ending, endings[i]) == 0) {
            return false;
        }
    }
    return true;
}

/*
 * Sets *@runs to false for what is not executable, which is how a hook is
 * switched off.  A hook that others could have written is not run, and as
 * the backup would then miss what it does, nothing is frozen either.
 */
static bool check_hook(const char *path, bool *runs, Reason *reason)
{
    struct stat status;

    *runs = false;
    if (stat(path, &status) != 0) {
        return reason_set(reason, "the hook %s cannot be read: %s", path,
                          strerror(errno));
    }
    if (!S_ISREG(status.st_mode) || !(status.st_mode & S_IXUSR)) {
        return true;
    }
    if (status.st_uid != 0 && status.st_uid != geteuid()) {
        return reason_set(reason, "the hook %s belongs to another user", path);
    }
    if (status.st_mode & (S_IWGRP | S_IWOTH)) {
        return reason_set(reason, "the hook %s can be changed by others", path);
    }
    *runs = true;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool add_hook(HookList *list, const char *dir, const char *name,
                     Reason *reason)
{
    char *path;
    bool runs;

    if (!is_hook_name(name)) {
        return true;
    }
    path = xasprintf("%s/%s", dir, name);
    if (!check_hook(path, &runs, reason)) {
        free(path);
        return false;
    }
    if (!runs) {
        free(path);
        return true;
    }
    if (list->count == MAX_HOOKS) {
        free(path);
        return reason_set(reason, "%s has more than %d hooks", dir, MAX_HOOKS);
    }
    list->paths = xrealloc(list->paths, list->count + 1, sizeof(char *));
    list->paths[list->count++] = path;
    return true;
}

bool hooks_list(HookList *list, const char *dir, Reason *reason)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    bool ok = true;

    list->paths = NULL;
    list->count = 0;
    if (!folder) {
        return errno == ENOENT || reason_set(reason, "%s cannot be read: %s",
                                             dir, strerror(errno));
    }
    while (ok && (entry = readdir(folder))) {
        ok = add_hook(list, dir, entry->d_name, reason);
    }
    closedir(folder);
    if (!ok) {
        hooks_free(list);
    } else if (list->count > 0) {
        qsort(list->paths, list->count, sizeof(char *), compare_names);
    }
    return ok;
}

void hooks_free(HookList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->paths[i]);
    }
    free(list->paths);
    list->paths = NULL;
    list->count = 0;
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, text, strlen(text)) < 0) {
            /* It is only an adjustment. */
        }
        close(fd);
    }
}

static void exec_hook(const char *path, const char *word,
                      const AgentConfig *config, int output)
{
    char *hold = xasprintf("HV_VSS_HOLD=%u", config->hold_time);
    char *limit = xasprintf("HV_VSS_LIMIT=%u", config->hook_timeout);
    char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
                           "/usr/bin:/sbin:/bin",
                           "LANG=C.UTF-8", hold, limit, NULL};
    char *arguments[] = {(char *)path, (char *)word, NULL};
    int null = open("/dev/null", O_RDONLY);

    setsid();
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close_others(3, NULL, 0);
    prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
    /* With the agent, the limit of its time would go. */
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    write_text("/proc/self/oom_score_adj", "0");
    if (chdir("/") == 0) {
        waiter_reset_signals();
        execve(path, arguments, environment);
    }
    dprintf(STDERR_FILENO, "it cannot be run: %s", strerror(errno));
    _exit(127);
}

static bool start_hook(Hook *hook, const char *word, const AgentConfig *config,
                       Reason *reason)
{
    int output[2];

    if (pipe2(output, O_CLOEXEC | O_NONBLOCK) != 0) {
        return reason_set(reason, "no pipe: %s", strerror(errno));
    }
    /* The hook itself may block when it writes. */
    fcntl(output[1], F_SETFL, 0);
    hook->pid = fork();
    if (hook->pid == 0) {
        exec_hook(hook->path, word, config, output[1]);
    }
    close(output[1]);
    hook->output = output[0];
    if (hook->pid < 0) {
        close_fd(&hook->output);
        return reason_set(reason, "no child can be started: %s",
                          strerror(errno));
    }
    return true;
}

/* False at the end of the output. */
static bool take_output(Hook *hook, size_t max)
{
    char bytes[4096];
    size_t total = 0;

    while (total < max) {
        ssize_t n = read(hook->output, bytes, sizeof(bytes));
        size_t room = MAX_OUTPUT - hook->length;

        if (n <= 0) {
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        }
        total += n;
        room = (size_t)n < room ? (size_t)n : room;
        memcpy(hook->text + hook->length, bytes, room);
        hook->length += room;
    }
    return true;
}

static bool has_ended(Hook *hook)
{
    return waitpid(hook->pid, &hook->status, WNOHANG) == hook->pid;
}

/*
 * A hook may leave a process behind that holds the pipe (one that keeps a
 * lock until the thaw), so its end is the end of the hook, not of the pipe.
 * Returns WAIT_CHILD when it has ended.
 */
static WaitResult wait_for_hook(Hook *hook, Waiter *waiter, int64_t deadline,
                                bool stoppable)
{
    while (!has_ended(hook)) {
        WaitResult result =
            waiter_wait(waiter, hook->output, deadline, stoppable);

        if (result == WAIT_FD) {
            /* Much output must not hide that time is over. */
            if (now_ms() >= deadline) {
                return WAIT_TIMEOUT;
            }
            if (!take_output(hook, sizeof(hook->text))) {
                close_fd(&hook->output);
            }
        } else if (result != WAIT_CHILD) {
            return result;
        }
    }
    if (hook->output >= 0) {
        take_output(hook, MAX_DRAIN);
    }
    return WAIT_CHILD;
}

static bool ends_in(Hook *hook, int ms)
{
    int64_t deadline = now_ms() + ms;

    while (!has_ended(hook)) {
        if (now_ms() >= deadline) {
            return false;
        }
        usleep(2000);
    }
    return true;
}

/* All that it started, as far as it stayed in the hook's process group. */
static void end_hook(Hook *hook, Stuck *stuck)
{
    kill(-hook->pid, SIGTERM);
    if (!ends_in(hook, END_MS)) {
        kill(-hook->pid, SIGKILL);
        if (!ends_in(hook, END_MS)) {
            stuck_add(stuck, hook->pid);
        }
    }
    kill(-hook->pid, SIGKILL);
}

/* On one line, without what a terminal might take for commands. */
static void clean_output(Hook *hook)
{
    while (hook->length > 0 && hook->text[hook->length - 1] == '\n') {
        hook->length--;
    }
    hook->text[hook->length] = '\0';
    for (size_t i = 0; i < hook->length; i++) {
        if (hook->text[i] == '\n') {
            hook->text[i] = '|';
        } else if ((unsigned char)hook->text[i] < ' ' ||
                   hook->text[i] == 0x7f) {
            hook->text[i] = ' ';
        }
    }
}

static bool judge_hook(Hook *hook, WaitResult result, const AgentConfig *config,
                       Reason *reason)
{
    const char *colon = hook->length > 0 ? ": " : "";

    switch (result) {
    case WAIT_DEVICE:
        return reason_set(reason, "the host or the kernel broke it off");
    case WAIT_STOP:
        return reason_set(reason, "the agent was told to end");
    case WAIT_TIMEOUT:
        return reason_set(reason,
                          "the hook %.300s took too long (its limit "
                          "is %u s, and %u s for the whole freeze)%s%.400s",
                          hook->path, config->hook_timeout,
                          config->freeze_timeout, colon, hook->text);
    default:
        break;
    }
    if (WIFSIGNALED(hook->status)) {
        return reason_set(reason, "the hook %.300s ended by signal %d%s%.600s",
                          hook->path, WTERMSIG(hook->status), colon,
                          hook->text);
    }
    if (WEXITSTATUS(hook->status) != 0) {
        return reason_set(reason,
                          "the hook %.300s failed with exit code "
                          "%d%s%.600s",
                          hook->path, WEXITSTATUS(hook->status), colon,
                          hook->text);
    }
    return true;
}

/* Without a deadline, nothing but the hook's own limit ends it. */
static bool run_hook(const char *path, const char *word,
                     const AgentConfig *config, Stuck *stuck, Waiter *waiter,
                     int64_t deadline, Reason *reason)
{
    Hook hook = {.path = path, .output = -1};
    int64_t limit = now_ms() + config->hook_timeout * 1000ll;
    WaitResult result;

    if (!start_hook(&hook, word, config, reason)) {
        return false;
    }
    if (deadline >= 0 && deadline < limit) {
        limit = deadline;
    }
    result = wait_for_hook(&hook, waiter, limit, deadline >= 0);
    if (result != WAIT_CHILD) {
        end_hook(&hook, stuck);
    }
    close_fd(&hook.output);
    clean_output(&hook);
    if (!judge_hook(&hook, result, config, reason)) {
        return false;
    }
    if (hook.length > 0) {
        log_message(LOG_INFO, "hook %s: %s", path, hook.text);
    }
    return true;
}

bool hooks_before_freeze(const AgentConfig *config, Stuck *stuck,
                         Waiter *waiter, int64_t deadline, Reason *reason)
{
    HookList list;
    bool ok = true;

    if (!hooks_list(&list, config->freeze_hooks, reason)) {
        return false;
    }
    for (size_t i = 0; i < list.count && ok; i++) {
        ok = run_hook(list.paths[i], "freeze", config, stuck, waiter, deadline,
                      reason);
    }
    hooks_free(&list);
    return ok;
}

/* Whatever else happens, they run: they undo what freeze.d did. */
void hooks_after_thaw(const AgentConfig *config, Stuck *stuck, Waiter *waiter)
{
    Waiter alone = {.signals = waiter->signals, .device = -1};
    HookList list;
    Reason reason;

    if (!hooks_list(&list, config->thaw_hooks, &reason)) {
        log_message(LOG_ERR, "No thaw hook runs: %s.", reason.text);
        return;
    }
    for (size_t i = list.count; i-- > 0;) {
        if (!run_hook(list.paths[i], "thaw", config, stuck, &alone, -1,
                      &reason)) {
            log_message(LOG_ERR, "After the thaw, %s.", reason.text);
        }
    }
    waiter->stop |= alone.stop;
    hooks_free(&list);
}
