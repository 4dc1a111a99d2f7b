/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "block/aio-wait.h"
#include "hv-listen.h"
#include "hyperv-synic.h"

struct HvListener {
    struct rcu_head rcu;
    EventNotifier notifier; /* the guest, or hv_listener_kick(), sets it */
    VmbusBus *bus;
    VmbusChannel *chan; /* NULL: for the interrupt page */
    uint32_t conn_id;
    AioContext *ctx; /* of an IOThread; NULL: the main loop */
    bool started;
    QEMUBH *close_bh; /* in the main loop */
};

static void listener_ready(EventNotifier *notifier)
{
    HvListener *listener = container_of(notifier, HvListener, notifier);

    if (event_notifier_test_and_clear(notifier)) {
        if (listener->chan) {
            vmbus_channel_signalled(listener->chan);
        } else {
            vmbus_bus_interrupt_page_signalled(listener->bus);
        }
    }
}

/* An IOThread that is busy looks for packets before it sleeps. */
static bool listener_poll(void *opaque)
{
    HvListener *listener =
        container_of((EventNotifier *)opaque, HvListener, notifier);

    return vmbus_channel_has_packet(listener->chan);
}

static void listener_poll_ready(EventNotifier *notifier)
{
    vmbus_channel_polled(container_of(notifier, HvListener, notifier)->chan);
}

static void listener_poll_begin(EventNotifier *notifier)
{
    vmbus_channel_set_polled(container_of(notifier, HvListener, notifier)->chan,
                             true);
}

/* QEMU looks once more after it. */
static void listener_poll_end(EventNotifier *notifier)
{
    vmbus_channel_set_polled(container_of(notifier, HvListener, notifier)->chan,
                             false);
}

static void close_bh(void *opaque)
{
    /* Ends the listener, and this BH with it. */
    vmbus_channel_close_broken(((HvListener *)opaque)->chan);
}

static void release(HvListener *listener)
{
    event_notifier_cleanup(&listener->notifier);
    g_free(listener);
}

HvListener *hv_listener_new(VmbusBus *bus, VmbusChannel *chan, uint32_t conn_id)
{
    HvListener *listener = g_new0(HvListener, 1);

    listener->bus = bus;
    listener->chan = chan;
    listener->conn_id = conn_id;
    if (event_notifier_init(&listener->notifier, false)) {
        g_free(listener);
        return NULL;
    }
    if (hyperv_set_event_flag_handler(conn_id, &listener->notifier)) {
        release(listener);
        return NULL;
    }
    listener->close_bh = qemu_bh_new(close_bh, listener);
    return listener;
}

void hv_listener_free(HvListener *listener)
{
    hyperv_set_event_flag_handler(listener->conn_id, NULL);
    qemu_bh_delete(listener->close_bh);
    /* A virtual CPU may be about to set the notifier. */
    call_rcu(listener, release, rcu);
}

void hv_listener_start(HvListener *listener)
{
    listener->started = true;
    if (listener->ctx) {
        aio_set_event_notifier(listener->ctx, &listener->notifier,
                               listener_ready, listener_poll,
                               listener_poll_ready);
        aio_set_event_notifier_poll(listener->ctx, &listener->notifier,
                                    listener_poll_begin, listener_poll_end);
    } else {
        event_notifier_set_handler(&listener->notifier, listener_ready);
    }
}

/* In the IOThread, whose handlers do not run now. */
static void detach_bh(void *opaque)
{
    HvListener *listener = opaque;

    aio_set_event_notifier(listener->ctx, &listener->notifier, NULL, NULL,
                           NULL);
    /* QEMU does not call what it no longer has. */
    listener_poll_end(&listener->notifier);
    if (listener_poll(&listener->notifier)) {
        event_notifier_set(&listener->notifier);
    }
}

void hv_listener_stop(HvListener *listener)
{
    if (listener->ctx) {
        aio_wait_bh_oneshot(listener->ctx, detach_bh, listener);
    } else {
        event_notifier_set_handler(&listener->notifier, NULL);
    }
    listener->started = false;
}

void hv_listener_kick(HvListener *listener)
{
    event_notifier_set(&listener->notifier);
}

void hv_listener_call(HvListener *listener, void (*fn)(void *arg), void *arg)
{
    if (listener->ctx) {
        aio_wait_bh_oneshot(listener->ctx, fn, arg);
    } else {
        fn(arg);
    }
}

void hv_listener_defer_close(HvListener *listener)
{
    qemu_bh_schedule(listener->close_bh);
}

void hv_channel_set_aio_context(VmbusChannel *chan, AioContext *ctx)
{
    HvListener *listener = vmbus_channel_listener(chan);

    g_assert(listener && !listener->started);
    listener->ctx = ctx == qemu_get_aio_context() ? NULL : ctx;
}

AioContext *hv_channel_aio_context(const VmbusChannel *chan)
{
    HvListener *listener = vmbus_channel_listener(chan);

    return listener && listener->ctx ? listener->ctx : qemu_get_aio_context();
}
