/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "freeze-set.h"

/* One for each file system: a descriptor goes with it, or an error. */
typedef struct Opened {
    uint32_t index;
    int32_t error;
} Opened;

static void send_opened(int socket, uint32_t index, int fd, int error)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    Opened opened = {index, error};
    struct iovec vector = {&opened, sizeof(opened)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *header = &control.align;

        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    }
    if (sendmsg(socket, &message, 0) < 0) {
        _exit(1);
    }
}

static void open_item(int socket, uint32_t index, const PlanItem *item,
                      const FsOps *ops, const char *proc)
{
    int fd = -1, error = 0;

    for (size_t i = 0; i < item->place_count && fd < 0; i++) {
        fd = ops->open(item->places[i], proc);
        if (fd < 0 && error == 0) {
            error = errno;
        }
    }
    send_opened(socket, index, fd, fd < 0 ? error : 0);
    close_fd(&fd);
}

/* What cannot be frozen but flushed comes after what is frozen. */
static void opener_run(int socket, const Plan *plan, const FsOps *ops,
                       const char *proc)
{
    uint32_t index = 0;

    prctl(PR_SET_NAME, "hv-vss-opener", 0, 0, 0);
    close_others(3, &socket, 1);
    for (size_t i = 0; i < plan->freeze_count; i++) {
        open_item(socket, index++, &plan->freeze[i], ops, proc);
    }
    for (size_t i = 0; i < plan->leave_count; i++) {
        if (plan->leave[i].flush) {
            open_item(socket, index++, &plan->leave[i], ops, proc);
        }
    }
    _exit(0);
}

/* False when the opener has died. */
static bool receive_opened(int socket, Opened *opened, int *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {opened, sizeof(*opened)};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header;

    *fd = -1;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof(*opened)) {
        return false;
    }
    header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(header), sizeof(*fd));
    }
    return true;
}

static const char *open_error(int error)
{
    switch (error) {
    case 0:
        return "no descriptor came (too many open files?)";
    case ESTALE:
        return "another mount hides it";
    default:
        return strerror(error);
    }
}

static bool take_opened(FreezeSet *set, size_t expected, int socket,
                        Reason *reason)
{
    Opened opened;
    int fd;

    if (!receive_opened(socket, &opened, &fd) || opened.index != expected) {
        close_fd(&fd);
        return reason_set(reason, "the child that opens file systems died");
    }
    if (expected >= set->count) {
        /* It is only flushed, so no harm is done without it. */
        if (fd >= 0) {
            set->flush_fds[set->flush_count++] = fd;
        }
        return true;
    }
    set->fds[expected] = fd;
    return fd >= 0 ||
           reason_set(reason, "%s cannot be opened: %s", set->names[expected],
                      open_error(opened.error));
}

static bool receive_all(FreezeSet *set, size_t total, int socket,
                        Waiter *waiter, int64_t deadline, Reason *reason)
{
    for (size_t i = 0; i < total;) {
        const char *name =
            i < set->count ? set->names[i] : "what is only written out";

        switch (waiter_wait(waiter, socket, deadline, true)) {
        case WAIT_FD:
            if (!take_opened(set, i, socket, reason)) {
                return false;
            }
            i++;
            break;
        case WAIT_CHILD:
            break;
        case WAIT_TIMEOUT:
            return reason_set(reason, "opening %s took too long", name);
        case WAIT_DEVICE:
            return reason_set(reason, "the host or the kernel broke it off");
        case WAIT_STOP:
            return reason_set(reason, "the agent was told to end");
        }
    }
    return true;
}

static FreezeSet *set_new(const Plan *plan, const FsOps *ops, Stuck *stuck)
{
    FreezeSet *set = xcalloc(1, sizeof(*set));
    size_t n = plan->freeze_count;

    set->ops = ops;
    set->stuck = stuck;
    set->count = n;
    set->fds = xcalloc(n, sizeof(*set->fds));
    set->names = xcalloc(n, sizeof(*set->names));
    set->majors = xcalloc(n, sizeof(*set->majors));
    set->minors = xcalloc(n, sizeof(*set->minors));
    set->flush_fds = xcalloc(plan->leave_count, sizeof(*set->flush_fds));
    for (size_t i = 0; i < n; i++) {
        set->fds[i] = -1;
        set->names[i] = plan_item_name(&plan->freeze[i]);
        set->majors[i] = plan->freeze[i].first->major;
        set->minors[i] = plan->freeze[i].first->minor;
    }
    set->freezer_end = set->guard_alive = set->guard_kick = -1;
    return set;
}

FreezeSet *freeze_set_open(const Plan *plan, const FsOps *ops, const char *proc,
                           Stuck *stuck, Waiter *waiter, int64_t deadline,
                           Reason *reason)
{
    FreezeSet *set = set_new(plan, ops, stuck);
    size_t total = set->count;
    int ends[2];
    pid_t pid;
    bool ok;

    for (size_t i = 0; i < plan->leave_count; i++) {
        total += plan->leave[i].flush;
    }
    set->shared = mmap(
        NULL, sizeof(*set->shared) + set->count * sizeof(set->shared->fs[0]),
        PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (set->shared == MAP_FAILED ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        reason_set(reason, "there is no memory: %s", strerror(errno));
        freeze_set_free(set);
        return NULL;
    }
    pid = fork();
    if (pid == 0) {
        opener_run(ends[1], plan, ops, proc);
    }
    close(ends[1]);
    ok = pid > 0 ? receive_all(set, total, ends[0], waiter, deadline, reason)
                 : reason_set(reason, "no child can be started: %s",
                              strerror(errno));
    close(ends[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        stuck_wait(stuck, pid, 500);
    }
    if (!ok) {
        freeze_set_free(set);
        return NULL;
    }
    return set;
}
