/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

bool reason_set(Reason *reason, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reason->text, sizeof(reason->text), format, args);
    va_end(args);
    return false;
}

static void *checked(void *memory)
{
    static const char message[] = "hv-vss-agent: out of memory\n";

    if (!memory) {
        if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0) {
            _exit(1);
        }
        _exit(1);
    }
    return memory;
}

void *xcalloc(size_t count, size_t size)
{
    return checked(calloc(count ? count : 1, size));
}

void *xrealloc(void *old, size_t count, size_t size)
{
    return checked(reallocarray(old, count ? count : 1, size));
}

char *xstrdup(const char *text)
{
    return checked(strdup(text));
}

char *xasprintf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int length;

    va_start(args, format);
    length = vasprintf(&text, format, args);
    va_end(args);
    return checked(length < 0 ? NULL : text);
}

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Files of /proc and /sys tell no size, so read until the end. */
char *read_file(const char *path, size_t max)
{
    size_t length = 0, room = 4096;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text;
    ssize_t n;

    if (fd < 0) {
        return NULL;
    }
    text = xrealloc(NULL, room + 1, 1);
    while ((n = read(fd, text + length, room - length)) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 || length + n > max) {
            int error = n < 0 ? errno : EFBIG;

            free(text);
            close(fd);
            errno = error;
            return NULL;
        }
        length += n;
        if (length == room) {
            room *= 2;
            text = xrealloc(text, room + 1, 1);
        }
    }
    close(fd);
    text[length] = '\0';
    return text;
}

static void close_range_of(unsigned first, unsigned last)
{
    struct rlimit limit;

    if (first > last) {
        return;
    }
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, last, 0) == 0) {
        return;
    }
#endif
    /* Linux before 5.9 */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && last > limit.rlim_cur) {
        last = limit.rlim_cur;
    }
    for (unsigned fd = first; fd <= last; fd++) {
        close(fd);
    }
}

static int compare_fds(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

void close_others(int from, const int *keep, size_t count)
{
    int *sorted = xcalloc(count, sizeof(*sorted));
    unsigned next = from;

    if (count > 0) {
        memcpy(sorted, keep, count * sizeof(*sorted));
        qsort(sorted, count, sizeof(*sorted), compare_fds);
    }
    for (size_t i = 0; i < count; i++) {
        if (sorted[i] >= (int)next) {
            if (sorted[i] > (int)next) {
                close_range_of(next, sorted[i] - 1);
            }
            next = sorted[i] + 1;
        }
    }
    close_range_of(next, ~0u);
    free(sorted);
}

void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}
