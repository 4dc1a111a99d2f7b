/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things that every part of the agent needs. */
#ifndef GUEST_AGENT_VSS_UTIL_H
#define GUEST_AGENT_VSS_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Why something failed: one sentence without its full stop. */
typedef struct Reason {
    char text[1024];
} Reason;

/* Always returns false, so that a check can be "return reason_set(...)". */
bool reason_set(Reason *reason, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* These end the program when there is no memory: the watchdog then thaws. */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t count, size_t size);
char *xstrdup(const char *text);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t now_ms(void);

/*
 * The whole of a file and a 0 byte behind it, to be freed; NULL and errno if
 * it cannot be read or is longer than @max bytes.
 */
char *read_file(const char *path, size_t max);

/* Close every descriptor from @from on but the @count ones in @keep. */
void close_others(int from, const int *keep, size_t count);

/* Close *@fd unless it is -1, and make it -1. */
void close_fd(int *fd);

#endif
