/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages.  While file systems are frozen nothing is written anywhere: a
 * log on a frozen disk would block its daemon, and that daemon us.
 */
#ifndef GUEST_AGENT_VSS_LOG_H
#define GUEST_AGENT_VSS_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* Until it is called messages go to standard error, as with false. */
void log_open(bool to_syslog);

/* @priority: LOG_ERR, LOG_WARNING, LOG_NOTICE or LOG_INFO. */
void log_message(int priority, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* From now on only keep messages, at most 32 KiB of them. */
void log_hold(void);

/* Write what was kept, and say how much was dropped. */
void log_release(void);

/* In a child: what was kept, and the way to syslog, are the parent's. */
void log_forget(void);

#endif
