/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* A message in the store: its priority, its text, a 0 byte. */
static char store[32 * 1024];
static size_t stored;
static unsigned dropped;
static bool held, use_syslog, to_journal;

void log_open(bool to_syslog)
{
    use_syslog = to_syslog;
    to_journal = getenv("JOURNAL_STREAM");
    if (to_syslog) {
        openlog("hv-vss-agent", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    }
}

static void put(int priority, const char *text)
{
    if (use_syslog) {
        syslog(priority, "%s", text);
    } else if (to_journal) {
        /* This is how systemd learns of the priority. */
        fprintf(stderr, "<%d>%s\n", priority, text);
    } else {
        fprintf(stderr, "hv-vss-agent: %s\n", text);
    }
}

void log_message(int priority, const char *format, ...)
{
    char text[1400];
    size_t length;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!held) {
        put(priority, text);
        return;
    }
    length = strlen(text) + 1;
    if (1 + length > sizeof(store) - stored) {
        dropped++;
        return;
    }
    store[stored++] = priority;
    memcpy(store + stored, text, length);
    stored += length;
}

void log_hold(void)
{
    held = true;
}

static void empty_store(void)
{
    held = false;
    stored = 0;
    dropped = 0;
}

void log_forget(void)
{
    empty_store();
    if (use_syslog) {
        /* The parent's socket is not ours; this opens one when needed. */
        closelog();
        openlog("hv-vss-agent", LOG_PID, LOG_DAEMON);
    }
}

void log_release(void)
{
    size_t end = stored;

    held = false;
    for (size_t at = 0; at < end; at += 1 + strlen(store + at + 1) + 1) {
        put(store[at], store + at + 1);
    }
    if (dropped > 0) {
        log_message(LOG_WARNING, "%u messages of that time did not fit",
                    dropped);
    }
    empty_store();
}
