/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "workers.h"

void doorbell_init(Doorbell *bell)
{
    pthread_mutex_init(&bell->lock, NULL);
    pthread_cond_init(&bell->cond, NULL);
    bell->rung = 0;
}

void doorbell_ring(Doorbell *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->rung++;
    pthread_cond_signal(&bell->cond);
    pthread_mutex_unlock(&bell->lock);
}

void doorbell_wait(Doorbell *bell)
{
    pthread_mutex_lock(&bell->lock);
    while (!bell->rung) {
        pthread_cond_wait(&bell->cond, &bell->lock);
    }
    bell->rung = 0;
    pthread_mutex_unlock(&bell->lock);
}

static void lock(Workers *all)
{
    pthread_mutex_lock(&all->lock);
}

static void unlock(Workers *all)
{
    pthread_mutex_unlock(&all->lock);
}

static void changed(Workers *all)
{
    pthread_cond_broadcast(&all->cond);
}

static WorkerListener *next_signal(Worker *worker)
{
    for (int i = 0; i < WORKERS_MAX_LISTENERS; i++) {
        WorkerListener *listener = worker->all->listeners[i];

        if (listener && listener->worker == worker && listener->started &&
            listener->signalled) {
            return listener;
        }
    }
    return NULL;
}

/* Does one thing, with the lock let go meanwhile; false if there is none. */
static bool work(Worker *worker)
{
    Workers *all = worker->all;
    WorkerListener *listener = next_signal(worker);
    WorkerCall *call = worker->call;

    if (call) {
        unlock(all);
        call->fn(call->arg);
        lock(all);
        worker->call = NULL;
        call->done = true;
    } else if (worker->finishing) {
        worker->finishing = false;
        unlock(all);
        worker->finish(worker->finish_opaque);
        lock(all);
    } else if (listener) {
        listener->signalled = false;
        worker->busy = listener;
        unlock(all);
        vmbus_channel_signalled(listener->chan);
        lock(all);
        worker->busy = NULL;
    } else {
        return false;
    }
    changed(all);
    return true;
}

static void *run(void *opaque)
{
    Worker *worker = opaque;
    Workers *all = worker->all;

    lock(all);
    while (!worker->ending) {
        if (!work(worker)) {
            pthread_cond_wait(&all->cond, &all->lock);
        }
    }
    unlock(all);
    return NULL;
}

/* The bus's thread waits; other events come meanwhile. */
static void begin_wait(Workers *all)
{
    workers_poll(all);
    lock(all);
}

void worker_call(Worker *worker, void (*fn)(void *arg), void *arg)
{
    Workers *all = worker->all;
    WorkerCall call = {.fn = fn, .arg = arg};

    begin_wait(all);
    g_assert_null(worker->call);
    worker->call = &call;
    changed(all);
    while (!call.done) {
        pthread_cond_wait(&all->cond, &all->lock);
    }
    unlock(all);
}

void worker_finish(Worker *worker)
{
    lock(worker->all);
    worker->finishing = true;
    changed(worker->all);
    unlock(worker->all);
}

void worker_forget(Worker *worker)
{
    lock(worker->all);
    worker->finishing = false;
    unlock(worker->all);
}

static bool op_listen(void *opaque, VmbusChannel *chan, uint32_t conn_id,
                      void **handle)
{
    VscMachine *machine = opaque;
    Workers *all = machine->interrupt_opaque;
    WorkerListener *listener = g_new0(WorkerListener, 1);
    int i = 0;

    listener->chan = chan;
    listener->conn_id = conn_id;
    lock(all);
    listener->worker = all->choose(chan);
    while (all->listeners[i]) {
        g_assert_cmpint(++i, <, WORKERS_MAX_LISTENERS);
    }
    all->listeners[i] = listener;
    unlock(all);
    *handle = listener;
    return true;
}

static void op_unlisten(void *opaque, void *handle)
{
    WorkerListener *listener = handle;
    Workers *all = listener->worker->all;

    lock(all);
    g_assert_false(listener->started);
    g_assert_true(listener->worker->busy != listener);
    for (int i = 0; i < WORKERS_MAX_LISTENERS; i++) {
        if (all->listeners[i] == listener) {
            all->listeners[i] = NULL;
        }
    }
    unlock(all);
    g_free(listener);
}

static void op_start(void *opaque, void *handle)
{
    WorkerListener *listener = handle;
    Workers *all = listener->worker->all;

    lock(all);
    listener->started = true;
    changed(all);
    unlock(all);
}

static void op_stop(void *opaque, void *handle)
{
    WorkerListener *listener = handle;
    Workers *all = listener->worker->all;

    begin_wait(all);
    listener->started = false;
    while (listener->worker->busy == listener) {
        pthread_cond_wait(&all->cond, &all->lock);
    }
    unlock(all);
}

static void op_kick(void *opaque, void *handle)
{
    WorkerListener *listener = handle;
    Workers *all = listener->worker->all;

    lock(all);
    listener->signalled = true;
    changed(all);
    unlock(all);
}

static void op_call(void *opaque, void *handle, void (*fn)(void *arg),
                    void *arg)
{
    worker_call(((WorkerListener *)handle)->worker, fn, arg);
}

static void op_defer_close(void *opaque, void *handle)
{
    WorkerListener *listener = handle;
    Workers *all = listener->worker->all;

    lock(all);
    g_assert_false(listener->broken);
    listener->broken = true;
    unlock(all);
}

static void op_signal(void *opaque, void *route, uint16_t flag)
{
    VscMachine *machine = opaque;
    Workers *all = machine->interrupt_opaque;

    /* The sanitizers look whether the route is there. */
    g_assert_cmpuint(*(uint32_t *)route, <, VSC_MAX_VPS);
    all->interrupt(flag);
}

static bool op_prepare_signal(void *opaque, VmbusChannel *chan, uint32_t vp,
                              uint8_t sint, void **route)
{
    uint32_t *r = g_new(uint32_t, 1);

    *r = vp;
    *route = r;
    return vp < VSC_MAX_VPS;
}

static void op_release_signal(void *opaque, VmbusChannel *chan, void *route)
{
    *(uint32_t *)route = UINT32_MAX;
    g_free(route);
}

/* The machine's own notes each byte, which only one thread may do. */
static void op_mark_dirty(void *opaque, VmbusMapping *mapping, uint64_t offset,
                          uint32_t len)
{
    g_assert_cmpuint(offset + len, <=,
                     (uint64_t)mapping->page_count * VMBUS_PAGE_SIZE);
}

Workers *workers_new(VscMachine *machine)
{
    Workers *all = g_new0(Workers, 1);

    all->machine = machine;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->cond, NULL);
    machine->interrupt_opaque = all;
    machine->ops.listen = op_listen;
    machine->ops.unlisten = op_unlisten;
    machine->ops.start = op_start;
    machine->ops.stop = op_stop;
    machine->ops.kick = op_kick;
    machine->ops.call = op_call;
    machine->ops.defer_close = op_defer_close;
    machine->ops.signal = op_signal;
    machine->ops.prepare_signal = op_prepare_signal;
    machine->ops.release_signal = op_release_signal;
    machine->ops.mark_dirty = op_mark_dirty;
    return all;
}

void workers_free(Workers *all)
{
    for (int i = 0; i < WORKERS_MAX_LISTENERS; i++) {
        g_assert_null(all->listeners[i]);
    }
    pthread_cond_destroy(&all->cond);
    pthread_mutex_destroy(&all->lock);
    g_free(all);
}

Worker *worker_new(Workers *all)
{
    Worker *worker = g_new0(Worker, 1);

    worker->all = all;
    g_assert_cmpint(pthread_create(&worker->thread, NULL, run, worker), ==, 0);
    return worker;
}

void worker_free(Worker *worker)
{
    Workers *all = worker->all;

    lock(all);
    worker->ending = true;
    changed(all);
    unlock(all);
    pthread_join(worker->thread, NULL);
    g_free(worker);
}

bool workers_signal(Workers *all, uint32_t conn_id)
{
    bool heard = false;

    lock(all);
    for (int i = 0; i < WORKERS_MAX_LISTENERS; i++) {
        if (all->listeners[i] && all->listeners[i]->conn_id == conn_id) {
            all->listeners[i]->signalled = true;
            heard = true;
        }
    }
    changed(all);
    unlock(all);
    return heard;
}

void workers_poll(Workers *all)
{
    for (;;) {
        VmbusChannel *chan = NULL;

        lock(all);
        for (int i = 0; i < WORKERS_MAX_LISTENERS && !chan; i++) {
            if (all->listeners[i] && all->listeners[i]->broken) {
                all->listeners[i]->broken = false;
                chan = all->listeners[i]->chan;
            }
        }
        unlock(all);
        if (!chan) {
            return;
        }
        vmbus_channel_close_broken(chan);
    }
}
