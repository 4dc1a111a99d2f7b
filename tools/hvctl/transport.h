/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways to a QEMU's monitor beneath qmp.h: its socket (qmp.c), and libvirt
 * (libvirt.c).  client.c has what they share.
 */
#ifndef HVCTL_TRANSPORT_H
#define HVCTL_TRANSPORT_H

#include "qmp.h"

typedef struct QmpTransport {
    /*
     * Runs a command, with the descriptor @fd beside it unless that is -1.
     * @arguments may be NULL; it is taken.  Returns the answer, which the
     * caller unrefs, or NULL with *@error.  Events that come meanwhile are put
     * into the queue.
     */
    JsonObject *(*command)(Qmp *qmp, const char *command, JsonNode *arguments,
                           int fd, GError **error);
    /* Waits for an event that is not in the queue; as qmp_next_event(). */
    JsonObject *(*next_event)(Qmp *qmp, GError **error);
    /* Puts what has come already into the queue; NULL: that is done. */
    void (*collect)(Qmp *qmp);
    /* Can it pass a descriptor?  False with *@error.  NULL: command() tells. */
    bool (*can_pass_fd)(Qmp *qmp, GError **error);
    /* Frees all but what qmp_init() has made. */
    void (*close)(Qmp *qmp);
    /* See qmp_is_managed(). */
    bool managed;
} QmpTransport;

/* The first member of what a transport allocates. */
struct Qmp {
    const QmpTransport *transport;
    char *where; /* for people, after "QEMU": "at PATH", "of domain NAME" */
    bool ended;
    bool limited;
    int64_t deadline; /* on g_get_monotonic_time() */
    GQueue events;
};

/* @where is taken.  All ends @timeout seconds from now; 0: no limit. */
void qmp_init(Qmp *qmp, const QmpTransport *transport, char *where,
              double timeout);
/* A command as QEMU reads it; @arguments is taken.  @id 0: it has none. */
char *qmp_command_text(const char *command, JsonNode *arguments, int64_t id);
/* These set *@error. */
void qmp_out_of_time(const Qmp *qmp, GError **error);
void qmp_nonsense(const Qmp *qmp, const char *what, GError **error);

/*
 * Opens a way to the QEMU of @domain, a name or UUID, through the libvirt at
 * @uri ("": its default).  As qmp_connect().
 */
Qmp *libvirt_connect(const char *uri, const char *domain, double timeout,
                     GError **error);

#endif
