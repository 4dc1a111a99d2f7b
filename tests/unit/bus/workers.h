/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VscMachine whose channels have threads of their own: workers, each with a
 * loop that serves signals, calls of the bus's thread, and a device's requests.
 * The thread that makes it is the bus's.
 *
 * Locks are not GLib's, which the thread sanitizer does not understand.
 */
#ifndef BUS_WORKERS_H
#define BUS_WORKERS_H

#include <pthread.h>

#include "vsc.h"

#define WORKERS_MAX_LISTENERS 8

/* A line that another thread raises. */
typedef struct Doorbell {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned rung;
} Doorbell;

void doorbell_init(Doorbell *bell);
void doorbell_ring(Doorbell *bell);
void doorbell_wait(Doorbell *bell);

struct Worker;

typedef struct WorkerListener {
    struct Worker *worker;
    VmbusChannel *chan;
    uint32_t conn_id;
    bool started, signalled, broken;
} WorkerListener;

typedef struct WorkerCall {
    void (*fn)(void *arg);
    void *arg;
    bool done;
} WorkerCall;

typedef struct Worker {
    struct Workers *all;
    pthread_t thread;
    bool ending;
    WorkerListener *busy; /* whose signal() runs */
    WorkerCall *call;     /* of the bus's thread, or NULL */
    /* A device's request that is done; the device asks by worker_finish(). */
    void (*finish)(void *opaque);
    void *finish_opaque;
    bool finishing;
} Worker;

/* One lock for all of it: what it guards is short. */
typedef struct Workers {
    VscMachine *machine;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    WorkerListener *listeners[WORKERS_MAX_LISTENERS];
    Worker *(*choose)(VmbusChannel *chan); /* which one a channel gets */
    /* The guest's interrupt handler; any thread. */
    void (*interrupt)(uint16_t flag);
} Workers;

/* Takes over the machine's operations. */
Workers *workers_new(VscMachine *machine);
void workers_free(Workers *all);
Worker *worker_new(Workers *all);
/* When none of its channels is open. */
void worker_free(Worker *worker);

/* The guest's hypercall; any thread.  False if nobody listens. */
bool workers_signal(Workers *all, uint32_t conn_id);
/* Other events of the bus's thread: closes what was found corrupt. */
void workers_poll(Workers *all);
/* Runs @fn on the worker and waits; on the bus's thread. */
void worker_call(Worker *worker, void (*fn)(void *arg), void *arg);
/* Has the worker call its @finish soon; any thread. */
void worker_finish(Worker *worker);
/* Forgets that it was asked to. */
void worker_forget(Worker *worker);

#endif
