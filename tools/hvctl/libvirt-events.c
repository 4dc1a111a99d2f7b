/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-events.h"

#include <json-glib/json-glib.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <signal.h>

/* virsh's: a host that is silent for 30 s is gone. */
#define KEEPALIVE_INTERVAL 5
#define KEEPALIVE_COUNT    6
/* For news of what made a command fail. */
#define NEWS_SECONDS 1

/* What has happened, told by the thread of the event loop. */
struct Inbox {
    GMutex lock;
    GCond news;
    GQueue events;
    InboxEnd end;
    /* Of callbacks; -1: none.  For threads of calls, so not under the lock. */
    int monitor_id, life_id;
};

GThread *libvirt_start_thread(const char *name, GThreadFunc run, void *data)
{
    sigset_t all, old;
    GThread *thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread = g_thread_new(name, run, data);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return thread;
}

static void *run_events(void *data)
{
    while (virEventRunDefaultImpl() == 0) {
    }
    return NULL;
}

static void ignore_error(void *opaque, virErrorPtr error)
{
}

bool libvirt_start_events(GError **error)
{
    static bool started;

    if (!started) {
        virSetErrorFunc(NULL, ignore_error);
        if (virEventRegisterDefaultImpl() < 0) {
            g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN,
                        "libvirt's event loop cannot be had: %s.",
                        virGetLastErrorMessage());
            return false;
        }
        g_thread_unref(
            libvirt_start_thread("libvirt-events", run_events, NULL));
        started = true;
    }
    return true;
}

static void clear_inbox(void *data)
{
    Inbox *inbox = data;

    g_queue_clear_full(&inbox->events, (GDestroyNotify)json_object_unref);
    g_mutex_clear(&inbox->lock);
    g_cond_clear(&inbox->news);
}

Inbox *inbox_new(void)
{
    Inbox *inbox = g_atomic_rc_box_new0(Inbox);

    g_mutex_init(&inbox->lock);
    g_cond_init(&inbox->news);
    g_queue_init(&inbox->events);
    inbox->monitor_id = inbox->life_id = -1;
    return inbox;
}

Inbox *inbox_ref(Inbox *inbox)
{
    return g_atomic_rc_box_acquire(inbox);
}

void inbox_unref(Inbox *inbox)
{
    g_atomic_rc_box_release_full(inbox, clear_inbox);
}

/* What libvirt is given to drop what it holds with a callback. */
static void drop_inbox(void *inbox)
{
    inbox_unref(inbox);
}

static void on_monitor_event(virConnectPtr connection, virDomainPtr domain,
                             const char *name, long long seconds,
                             unsigned int microseconds, const char *details,
                             void *opaque)
{
    Inbox *inbox = opaque;
    g_autoptr(JsonNode) data = details ? json_from_string(details, NULL) : NULL;
    JsonObject *event = json_object_new();
    JsonObject *stamp = json_object_new();

    json_object_set_string_member(event, "event", name);
    if (data) {
        json_object_set_member(event, "data", g_steal_pointer(&data));
    }
    json_object_set_int_member(stamp, "seconds", seconds);
    json_object_set_int_member(stamp, "microseconds", microseconds);
    json_object_set_object_member(event, "timestamp", stamp);

    g_mutex_lock(&inbox->lock);
    g_queue_push_tail(&inbox->events, event);
    g_cond_signal(&inbox->news);
    g_mutex_unlock(&inbox->lock);
}

static int on_life_event(virConnectPtr connection, virDomainPtr domain,
                         int event, int detail, void *opaque)
{
    static const struct {
        int detail;
        const char *how;
    } table[] = {
        {VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, "went off"},
        {VIR_DOMAIN_EVENT_STOPPED_DESTROYED, "was destroyed"},
        {VIR_DOMAIN_EVENT_STOPPED_CRASHED, "crashed"},
        {VIR_DOMAIN_EVENT_STOPPED_MIGRATED, "was migrated to another host"},
        {VIR_DOMAIN_EVENT_STOPPED_SAVED, "was saved"},
        {VIR_DOMAIN_EVENT_STOPPED_FAILED, "failed"},
        {VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT, "was set back to a snapshot"},
    };
    Inbox *inbox = opaque;

    if (event != VIR_DOMAIN_EVENT_STOPPED) {
        return 0;
    }
    g_mutex_lock(&inbox->lock);
    inbox->end.stopped = "ended";
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (table[i].detail == detail) {
            inbox->end.stopped = table[i].how;
        }
    }
    inbox->end.off = detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN;
    g_cond_signal(&inbox->news);
    g_mutex_unlock(&inbox->lock);
    return 0;
}

static void on_close(virConnectPtr connection, int reason, void *opaque)
{
    Inbox *inbox = opaque;

    g_mutex_lock(&inbox->lock);
    inbox->end.lost = reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE
                          ? "does not answer any more"
                          : "closed the connection";
    g_cond_signal(&inbox->news);
    g_mutex_unlock(&inbox->lock);
}

bool inbox_subscribe(Inbox *inbox, virConnectPtr connection,
                     virDomainPtr domain)
{
    /* A driver without these does not need them. */
    virConnectSetKeepAlive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT);
    /* Some drivers never free what they are given with it. */
    virConnectRegisterCloseCallback(connection, on_close, inbox, NULL);
    inbox->monitor_id = virConnectDomainQemuMonitorEventRegister(
        connection, domain, NULL, on_monitor_event, inbox_ref(inbox),
        drop_inbox, 0);
    if (inbox->monitor_id < 0) {
        inbox_unref(inbox);
        return false;
    }
    inbox->life_id = virConnectDomainEventRegisterAny(
        connection, domain, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        VIR_DOMAIN_EVENT_CALLBACK(on_life_event), inbox_ref(inbox), drop_inbox);
    if (inbox->life_id < 0) {
        inbox_unref(inbox);
        return false;
    }
    return true;
}

void inbox_unsubscribe(Inbox *inbox, virConnectPtr connection)
{
    virConnectUnregisterCloseCallback(connection, on_close);
    if (inbox->monitor_id >= 0) {
        virConnectDomainQemuMonitorEventDeregister(connection,
                                                   inbox->monitor_id);
    }
    if (inbox->life_id >= 0) {
        virConnectDomainEventDeregisterAny(connection, inbox->life_id);
    }
}

JsonObject *inbox_next(Inbox *inbox, const Qmp *qmp)
{
    bool late = false;
    JsonObject *event;

    g_mutex_lock(&inbox->lock);
    while (!(event = g_queue_pop_head(&inbox->events)) && !inbox->end.stopped &&
           !inbox->end.lost && !late) {
        if (qmp->limited) {
            late =
                !g_cond_wait_until(&inbox->news, &inbox->lock, qmp->deadline);
        } else {
            g_cond_wait(&inbox->news, &inbox->lock);
        }
    }
    g_mutex_unlock(&inbox->lock);
    return event;
}

void inbox_collect(Inbox *inbox, GQueue *events)
{
    JsonObject *event;

    g_mutex_lock(&inbox->lock);
    while ((event = g_queue_pop_head(&inbox->events))) {
        g_queue_push_tail(events, event);
    }
    g_mutex_unlock(&inbox->lock);
}

InboxEnd inbox_end(Inbox *inbox)
{
    InboxEnd end;

    g_mutex_lock(&inbox->lock);
    end = inbox->end;
    g_mutex_unlock(&inbox->lock);
    return end;
}

void inbox_wait_end(Inbox *inbox)
{
    int64_t end = g_get_monotonic_time() + NEWS_SECONDS * G_USEC_PER_SEC;

    g_mutex_lock(&inbox->lock);
    while (!inbox->end.stopped && !inbox->end.lost &&
           g_cond_wait_until(&inbox->news, &inbox->lock, end)) {
    }
    g_mutex_unlock(&inbox->lock);
}
