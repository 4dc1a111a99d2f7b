/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libvirt.c hears of a domain and of its connection without asking: the
 * thread of libvirt's event loop puts it into an inbox, and the main thread
 * waits at it.
 */
#ifndef HVCTL_LIBVIRT_EVENTS_H
#define HVCTL_LIBVIRT_EVENTS_H

#include <libvirt/libvirt.h>

#include "transport.h"

/* Counted: libvirt, and calls that were left behind, hold it too. */
typedef struct Inbox Inbox;

/* What has ended, and how, in static text for people; NULL: it has not. */
typedef struct InboxEnd {
    const char *lost;    /* the connection: "libvirt at URI ..." */
    const char *stopped; /* the domain: "The domain NAME ..." */
    bool off;            /* its machine went off */
} InboxEnd;

/*
 * A thread that leaves signals to the main thread, which may wait for them;
 * the caller unrefs it.
 */
GThread *libvirt_start_thread(const char *name, GThreadFunc run, void *data);

/*
 * Starts the event loop, once in a process and before any connection is
 * opened; in the main thread.  False with *@error.
 */
bool libvirt_start_events(GError **error);

/* An empty one, with one reference. */
Inbox *inbox_new(void);
Inbox *inbox_ref(Inbox *inbox);
void inbox_unref(Inbox *inbox);

/*
 * Has @inbox filled with what happens to @domain and @connection, and ends
 * that.  Both may wait for the other side, so they are for the thread of a
 * call, one at a time.  @inbox has to live until it is unsubscribed, and that
 * is due even after false, of which virGetLastError() tells why.
 */
bool inbox_subscribe(Inbox *inbox, virConnectPtr connection,
                     virDomainPtr domain);
void inbox_unsubscribe(Inbox *inbox, virConnectPtr connection);

/*
 * The rest is for the main thread.
 *
 * Waits for an event as long as @qmp allows; the caller unrefs it.  NULL:
 * something has ended, or else the time is over.
 */
JsonObject *inbox_next(Inbox *inbox, const Qmp *qmp);
/* Moves what has come already to the end of @events. */
void inbox_collect(Inbox *inbox, GQueue *events);
InboxEnd inbox_end(Inbox *inbox);
/* Until something has ended, but for no more than a second. */
void inbox_wait_end(Inbox *inbox);

#endif
