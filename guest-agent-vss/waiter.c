/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "util.h"
#include "waiter.h"

void waiter_init(Waiter *waiter)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    waiter->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    waiter->device = -1;
    waiter->stop = false;
}

void waiter_close(Waiter *waiter)
{
    close_fd(&waiter->signals);
}

void waiter_reset_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
}

/* Returns whether a child ended. */
static bool take_signals(Waiter *waiter)
{
    struct signalfd_siginfo info;
    bool child = false;

    while (read(waiter->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            child = true;
        } else {
            waiter->stop = true;
        }
    }
    return child;
}

static int poll_timeout(int64_t deadline)
{
    int64_t left;

    if (deadline < 0) {
        return -1;
    }
    left = deadline - now_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

WaitResult waiter_wait(Waiter *waiter, int fd, int64_t deadline, bool stoppable)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = waiter->signals, .events = POLLIN},
            {.fd = waiter->device, .events = POLLIN},
            {.fd = fd, .events = POLLIN},
        };
        int n;

        if (waiter->stop && stoppable) {
            return WAIT_STOP;
        }
        n = poll(fds, ARRAY_SIZE(fds), poll_timeout(deadline));
        if (n == 0) {
            return WAIT_TIMEOUT;
        }
        if (n < 0) {
            continue; /* EINTR, or ENOMEM that will pass */
        }
        if (fds[1].revents) {
            return WAIT_DEVICE;
        }
        if (fds[2].revents) {
            return WAIT_FD;
        }
        if (take_signals(waiter)) {
            return WAIT_CHILD;
        }
    }
}
