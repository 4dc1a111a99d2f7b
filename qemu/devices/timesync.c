/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/timesync.h"

#include <glib.h>

#include "devices/ic-state.h"

/* Hyper-V's period of samples, and OpenVMM's. */
#define SAMPLE_PERIOD_NS (5 * UINT64_C(1000000000))

/*
 * One sample and one sync: a guest that does not answer gets no more samples,
 * which would be stale when it reads them, but can always be given one order.
 */
#define MAX_IN_FLIGHT 2

/* What a request was; its cookie. */
#define COOKIE_SYNC  1
#define COOKIE_ASKED 2
#define COOKIE_MAX   (COOKIE_SYNC | COOKIE_ASKED)

struct VmbusTimesync {
    IcPort port;
    const VmbusTimesyncOps *ops;
    void *opaque;
    bool running;
    bool sync_due; /* a sync waits to be sent */
    bool asked;    /* by vmbus_timesync_sync() */
    /* A sync has no answer yet; and it was asked for. */
    bool sync_in_flight, flight_asked;
    uint64_t syncs, samples, answers;
    uint64_t last_sync_ns; /* last answer to a sync; 0: never */
    uint64_t next_ns;      /* when to send a sample */
    bool has_offset;
    int64_t offset;
};

static const uint32_t timesync_versions[] = {
    IC_VERSION(1, 0),
    IC_VERSION(3, 0),
    IC_VERSION(4, 0),
};

const VmbusOffer vmbus_timesync_offer = {
    .name = "timesync",
    .class_id = IC_TIMESYNC_CLASS,
    .instance_id = IC_TIMESYNC_INSTANCE,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
    .pipe = true,
};

const char *vmbus_timesync_state_name(VmbusTimesyncState state)
{
    static const char *const names[] = {
        [VMBUS_TIMESYNC_CLOSED] = "closed",
        [VMBUS_TIMESYNC_NEGOTIATING] = "negotiating",
        [VMBUS_TIMESYNC_READY] = "ready",
        [VMBUS_TIMESYNC_UNUSABLE] = "unusable",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *vmbus_timesync_result_sentence(VmbusTimesyncResult result)
{
    static const char *const sentences[] = {
        [VMBUS_TIMESYNC_OK] = "The guest took the time.",
        [VMBUS_TIMESYNC_NOT_OPEN] =
            "The guest has not opened the time synchronization service.",
        [VMBUS_TIMESYNC_NOT_READY] =
            "The guest's time synchronization service is not ready yet.",
        [VMBUS_TIMESYNC_NOT_USABLE] =
            "The guest's time synchronization service and the host's did not "
            "agree on a version, or the guest broke the protocol.",
        [VMBUS_TIMESYNC_REFUSED] = "The guest refused to take the time.",
        [VMBUS_TIMESYNC_GONE] =
            "The guest closed the time synchronization service before it "
            "answered.",
    };

    return (unsigned)result < G_N_ELEMENTS(sentences)
               ? sentences[result]
               : "The result of the synchronization is unknown.";
}

static VmbusTimesyncState state_of(const VmbusTimesync *ts)
{
    switch (ts->port.state) {
    case IC_CLOSED:
        return VMBUS_TIMESYNC_CLOSED;
    case IC_NEGOTIATING:
        return VMBUS_TIMESYNC_NEGOTIATING;
    case IC_READY:
        return VMBUS_TIMESYNC_READY;
    default:
        return VMBUS_TIMESYNC_UNUSABLE;
    }
}

void vmbus_timesync_info(const VmbusTimesync *ts, VmbusTimesyncInfo *info)
{
    *info = (VmbusTimesyncInfo){
        .state = state_of(ts),
        .framework_version = ts->port.framework_version,
        .message_version = ts->port.message_version,
        .syncs = ts->syncs,
        .samples = ts->samples,
        .answers = ts->answers,
        .last_sync_ns = ts->last_sync_ns,
        .has_offset = ts->has_offset,
        .offset = ts->offset,
    };
}

const IcPort *vmbus_timesync_port(const VmbusTimesync *ts)
{
    return &ts->port;
}

static void schedule(VmbusTimesync *ts)
{
    bool wanted =
        ts->running && ts->port.state == IC_READY && !ts->port.in_flight;

    ts->ops->wake_at(ts->opaque, wanted ? ts->next_ns : UINT64_MAX);
}

/*
 * The clocks are read for each message, and a message that finds no room is
 * made anew later: a time that has waited is wrong.
 */
static IcSendResult send_time(VmbusTimesync *ts, uint8_t flags, uint64_t cookie)
{
    VmbusTimesyncClocks clocks = {0};

    ts->ops->clocks(ts->opaque, &clocks);
    if (IC_VERSION_MAJOR(ts->port.message_version) >= 4) {
        IcTimesyncRef body = {
            .parent_time = GUINT64_TO_LE(clocks.wall),
            .reference_time = GUINT64_TO_LE(clocks.reference),
            .flags = flags,
        };

        return ic_send(&ts->port, &body, sizeof(body), cookie);
    } else {
        IcTimesync body = {
            .parent_time = GUINT64_TO_LE(clocks.wall),
            .flags = flags,
        };

        return ic_send(&ts->port, &body, sizeof(body), cookie);
    }
}

static void send_sync(VmbusTimesync *ts)
{
    uint64_t cookie = COOKIE_SYNC | (ts->asked ? COOKIE_ASKED : 0);

    if (send_time(ts, IC_TIMESYNC_SYNC, cookie) == IC_SEND_OK) {
        ts->sync_due = false;
        ts->flight_asked = ts->asked;
        ts->asked = false;
        ts->sync_in_flight = true;
        ts->syncs++;
        ts->next_ns = ts->ops->now_ns(ts->opaque) + SAMPLE_PERIOD_NS;
    }
}

/* Full, or the channel closed: the next period is another occasion. */
static void send_sample(VmbusTimesync *ts, uint64_t now)
{
    ts->next_ns = now + SAMPLE_PERIOD_NS;
    if (send_time(ts, IC_TIMESYNC_SAMPLE, 0) == IC_SEND_OK) {
        ts->samples++;
    }
}

/* Sends what is due, and asks for the next call. */
static void run(VmbusTimesync *ts)
{
    if (ts->running && ts->port.state == IC_READY) {
        uint64_t now = ts->ops->now_ns(ts->opaque);

        if (ts->sync_due && !ts->sync_in_flight) {
            send_sync(ts);
        } else if (!ts->port.in_flight && now >= ts->next_ns) {
            send_sample(ts, now);
        }
    }
    schedule(ts);
}

static void state_changed(void *opaque, IcState state)
{
    VmbusTimesync *ts = opaque;
    bool asked = ts->asked || (ts->sync_in_flight && ts->flight_asked);

    ts->ops->changed(ts->opaque, state_of(ts));
    switch (state) {
    case IC_NEGOTIATING:
        ts->sync_due = true;
        break;
    case IC_READY:
        run(ts);
        break;
    default: /* closed, or no answer will come */
        ts->sync_due = false;
        ts->asked = false;
        ts->sync_in_flight = false;
        ts->has_offset = false;
        if (asked) {
            ts->ops->synced(ts->opaque, true, VMBUS_TIMESYNC_GONE, 0);
        }
        schedule(ts);
        break;
    }
}

/*
 * Versions before 4 have a field for the guest's clock.  Zero is what we sent:
 * a guest that says nothing.
 */
static void read_offset(VmbusTimesync *ts, const IcAnswer *answer)
{
    VmbusTimesyncClocks clocks = {0};
    IcTimesync body;
    uint64_t child;

    if (IC_VERSION_MAJOR(ts->port.message_version) >= 4 ||
        answer->body_len < offsetof(IcTimesync, flags)) {
        return;
    }
    memcpy(&body, answer->body, offsetof(IcTimesync, flags));
    child = GUINT64_FROM_LE(body.child_time);
    if (!child || !ts->running) {
        return;
    }
    ts->ops->clocks(ts->opaque, &clocks);
    ts->offset = (int64_t)(child - clocks.wall);
    ts->has_offset = true;
}

static const char *answered(void *opaque, const IcAnswer *answer)
{
    VmbusTimesync *ts = opaque;
    bool good = answer->status == IC_STATUS_OK;

    ts->answers++;
    if (good) {
        read_offset(ts, answer);
    }
    if (answer->cookie & COOKIE_SYNC) {
        ts->sync_in_flight = false;
        if (good) {
            ts->last_sync_ns = MAX(ts->ops->now_ns(ts->opaque), 1);
        }
        ts->ops->synced(ts->opaque, answer->cookie & COOKIE_ASKED,
                        good ? VMBUS_TIMESYNC_OK : VMBUS_TIMESYNC_REFUSED,
                        answer->status);
    }
    run(ts);
    return good ? NULL : "the guest answered a time message with an error";
}

static void room(void *opaque)
{
    run(opaque);
}

/* The second one leaves out what needs the reference counter. */
static const IcService services[] = {
    {
        .message_type = IC_MESSAGE_TIMESYNC,
        .max_in_flight = MAX_IN_FLIGHT,
        .version_count = G_N_ELEMENTS(timesync_versions),
        .versions = timesync_versions,
        .state_changed = state_changed,
        .answer = answered,
        .room = room,
    },
    {
        .message_type = IC_MESSAGE_TIMESYNC,
        .max_in_flight = MAX_IN_FLIGHT,
        .version_count = G_N_ELEMENTS(timesync_versions) - 1,
        .versions = timesync_versions,
        .state_changed = state_changed,
        .answer = answered,
        .room = room,
    },
};

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    VmbusTimesync *ts = opaque;

    ic_opened(&ts->port, chan);
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    VmbusTimesync *ts = opaque;

    ic_closed(&ts->port);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    VmbusTimesync *ts = opaque;

    ic_signalled(&ts->port);
}

const VmbusChannelOps vmbus_timesync_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

VmbusTimesync *vmbus_timesync_new(const VmbusTimesyncOps *ops, void *opaque,
                                  bool has_reference)
{
    VmbusTimesync *ts = g_new0(VmbusTimesync, 1);

    ts->ops = ops;
    ts->opaque = opaque;
    ts->running = true;
    ic_init(&ts->port, &services[has_reference ? 0 : 1], ts);
    return ts;
}

void vmbus_timesync_free(VmbusTimesync *ts)
{
    g_free(ts);
}

VmbusTimesyncResult vmbus_timesync_sync(VmbusTimesync *ts)
{
    switch (state_of(ts)) {
    case VMBUS_TIMESYNC_CLOSED:
        return VMBUS_TIMESYNC_NOT_OPEN;
    case VMBUS_TIMESYNC_NEGOTIATING:
        return VMBUS_TIMESYNC_NOT_READY;
    case VMBUS_TIMESYNC_UNUSABLE:
        return VMBUS_TIMESYNC_NOT_USABLE;
    case VMBUS_TIMESYNC_READY:
        break;
    }
    ts->sync_due = true;
    ts->asked = true;
    run(ts);
    return VMBUS_TIMESYNC_OK;
}

void vmbus_timesync_tick(VmbusTimesync *ts)
{
    run(ts);
}

void vmbus_timesync_set_running(VmbusTimesync *ts, bool running)
{
    if (ts->running == running) {
        return;
    }
    ts->running = running;
    /* A service that is being opened has its first sync to come anyway. */
    if (running && ts->port.state == IC_READY) {
        ts->sync_due = true;
    }
    run(ts);
}

/* Saved state */

#define TIMESYNC_STATE_MAGIC   0x53544d56u /* "VMTS" */
#define TIMESYNC_STATE_VERSION 1

typedef struct SavedTimesync {
    bool sync_due, asked;
    uint64_t syncs, samples, answers;
    bool has_last, has_offset;
    uint64_t last_age; /* ns */
    uint64_t offset;
    IcPort *port; /* while loading */
    VmbusChannel *chan;
    bool has_port;
} SavedTimesync;

#define T(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedTimesync, member, max)
static const VmbusBlobField timesync_fields[] = {
    T(1, sync_due, 1),          T(2, asked, 1),
    T(3, syncs, UINT64_MAX),    T(4, samples, UINT64_MAX),
    T(5, answers, UINT64_MAX),  T(6, has_last, 1),
    T(7, last_age, UINT64_MAX), T(8, has_offset, 1),
    T(9, offset, UINT64_MAX),
};

/* A saved machine has stood still, so a service that is ready owes a sync. */
GByteArray *vmbus_timesync_save(const VmbusTimesync *ts)
{
    uint64_t now = ts->ops->now_ns(ts->opaque);
    SavedTimesync saved = {
        .sync_due = ts->sync_due || ts->port.state == IC_READY,
        .asked = ts->asked,
        .syncs = ts->syncs,
        .samples = ts->samples,
        .answers = ts->answers,
        .has_last = ts->last_sync_ns != 0,
        .last_age =
            ts->last_sync_ns ? ic_time_between(ts->last_sync_ns, now) : 0,
        .has_offset = ts->has_offset,
        .offset = ts->offset,
    };
    GByteArray *blob =
        vmbus_blob_new(TIMESYNC_STATE_MAGIC, TIMESYNC_STATE_VERSION);

    vmbus_blob_put_fields(blob, timesync_fields, G_N_ELEMENTS(timesync_fields),
                          &saved);
    ic_save(&ts->port, blob);
    return blob;
}

static const char *saved_item(void *opaque, const VmbusBlobItem *item)
{
    SavedTimesync *saved = opaque;

    if (item->tag != IC_STATE_PORT) {
        return vmbus_blob_unknown;
    }
    saved->has_port = true;
    return ic_load(saved->port, saved->chan, item);
}

/* Finds the sync among the requests without an answer; false: nonsense. */
static bool find_sync(const IcPort *port, uint64_t *cookie)
{
    unsigned syncs = 0;

    *cookie = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(port->slot); i++) {
        if (!port->slot[i].used ||
            port->slot[i].message_type != IC_MESSAGE_TIMESYNC) {
            continue;
        }
        if (port->slot[i].cookie > COOKIE_MAX ||
            port->slot[i].cookie == COOKIE_ASKED) {
            return false;
        }
        if (port->slot[i].cookie & COOKIE_SYNC) {
            *cookie = port->slot[i].cookie;
            syncs++;
        }
    }
    return port->in_flight <= MAX_IN_FLIGHT && syncs <= 1;
}

static bool agrees(const SavedTimesync *saved, const IcPort *port)
{
    bool open = port->state == IC_READY || port->state == IC_NEGOTIATING;

    return saved->has_port && saved->sync_due == open &&
           (!saved->asked || port->state == IC_READY) &&
           (!saved->has_offset || open);
}

const char *vmbus_timesync_load(VmbusTimesync *ts, VmbusChannel *chan,
                                const void *data, size_t len)
{
    uint64_t now = ts->ops->now_ns(ts->opaque);
    const uint8_t *at = data;
    IcPort port = ts->port;
    SavedTimesync saved = {.port = &port, .chan = chan};
    uint64_t cookie;
    const char *why;

    why = vmbus_blob_begin(&at, &len, TIMESYNC_STATE_MAGIC,
                           TIMESYNC_STATE_VERSION);
    if (!why) {
        why = vmbus_blob_read(at, len, timesync_fields,
                              G_N_ELEMENTS(timesync_fields), &saved, saved_item,
                              &saved);
    }
    if (why) {
        return why;
    }
    if (!find_sync(&port, &cookie) || !agrees(&saved, &port)) {
        return "The saved time synchronization does not agree with itself.";
    }
    ts->port = port;
    ts->sync_due = saved.sync_due;
    ts->asked = saved.asked;
    /* A port that is no longer read has requests that nobody waits for. */
    ts->sync_in_flight = port.state == IC_READY && cookie;
    ts->flight_asked = cookie & COOKIE_ASKED;
    ts->syncs = saved.syncs;
    ts->samples = saved.samples;
    ts->answers = saved.answers;
    /* 0 means that no answer ever came. */
    ts->last_sync_ns =
        saved.has_last ? MAX(ic_time_between(saved.last_age, now), 1) : 0;
    ts->next_ns = now;
    ts->has_offset = saved.has_offset;
    ts->offset = (int64_t)saved.offset;
    schedule(ts);
    return NULL;
}
