/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stuck.h"
#include "util.h"

static bool has_ended(pid_t pid)
{
    pid_t result = waitpid(pid, NULL, WNOHANG);

    return result == pid || (result < 0 && errno == ECHILD);
}

void stuck_add(Stuck *stuck, pid_t pid)
{
    /* With one of them no freeze begins, so there are never many. */
    if (pid > 0 && stuck->count < ARRAY_SIZE(stuck->pids)) {
        stuck->pids[stuck->count++] = pid;
    }
}

bool stuck_any(Stuck *stuck)
{
    size_t left = 0;

    for (size_t i = 0; i < stuck->count; i++) {
        if (!has_ended(stuck->pids[i])) {
            stuck->pids[left++] = stuck->pids[i];
        }
    }
    stuck->count = left;
    return left > 0;
}

void stuck_wait(Stuck *stuck, pid_t pid, int ms)
{
    int64_t deadline = now_ms() + ms;

    if (pid <= 0) {
        return;
    }
    while (!has_ended(pid)) {
        if (now_ms() >= deadline) {
            stuck_add(stuck, pid);
            return;
        }
        usleep(2000);
    }
}
