/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of QEMU's monitor protocol: commands, and a queue of the events
 * that come in between.  All waiting ends at the deadline.
 */
#ifndef HVCTL_QMP_H
#define HVCTL_QMP_H

#include <gio/gio.h>

#include "hvctl.h"

typedef struct Qmp Qmp;

/* More than this in one message is not QMP. */
#define QMP_MAX_MESSAGE (16 * 1024 * 1024)

/*
 * Opens a way to the machine that the options name, through its socket or
 * through libvirt.  All that is done with the result ends @timeout seconds
 * from now (0: no limit).  Returns NULL with *@error.
 */
Qmp *qmp_open(const HvctlOptions *options, double timeout, GError **error);
/* The same to @address, a path or tcp:HOST:PORT. */
Qmp *qmp_connect(const char *address, double timeout, GError **error);
void qmp_free(Qmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qmp, qmp_free)

/* A new time limit, @timeout seconds from now; it never moves the end back. */
void qmp_limit(Qmp *qmp, double timeout);
/* No time limit from now on. */
void qmp_no_limit(Qmp *qmp);

/*
 * Runs a command.  @arguments may be NULL; it is taken.  Returns its "return"
 * (the caller's), or NULL with *@error; if QEMU answered with an error,
 * *@class (interned) is its class, otherwise NULL.
 */
JsonNode *qmp_execute(Qmp *qmp, const char *command, JsonNode *arguments,
                      const char **class, GError **error);

/*
 * Gives QEMU a descriptor, under a @name for commands; the caller closes its
 * own.  False with *@error, for one if QEMU is on another machine.
 */
bool qmp_pass_fd(Qmp *qmp, const char *name, int fd, GError **error);

/*
 * Next event, from the queue or from QEMU; the caller unrefs it.  NULL with
 * *@error when time is over, the connection ended or QEMU did: in the last
 * case qmp_ended() is true.
 */
JsonObject *qmp_next_event(Qmp *qmp, GError **error);
/* Drops the events that have come and are named @name; NULL: all. */
void qmp_drop_events(Qmp *qmp, const char *name);
/* QEMU has ended, as it does after its machine went off. */
bool qmp_ended(const Qmp *qmp);
/* Does somebody end QEMU when its machine is off? */
bool qmp_is_managed(const Qmp *qmp);

/* The result of query-vmbus, or NULL with *@error; unref it. */
JsonObject *qmp_query_vmbus(Qmp *qmp, GError **error);

#endif
