/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/heartbeat.h"

#include <glib.h>

#include "devices/ic-state.h"

/* Hyper-V's period; Linux says so at its handler. */
#define HEARTBEAT_PERIOD_NS (2 * UINT64_C(1000000000))
/*
 * Three periods without an answer are a loss: one late answer is a busy
 * guest, and a guest that pauses its virtual CPUs for longer than that is
 * what this service is there to report.
 */
#define HEARTBEAT_LOST_NS (3 * HEARTBEAT_PERIOD_NS)
/*
 * Two minutes' worth.  A guest that hangs for longer finds these in its ring
 * when it comes back, and its first answer makes it OK again.
 */
#define HEARTBEAT_MAX_IN_FLIGHT 64

struct VmbusHeartbeat {
    IcPort port;
    const VmbusHeartbeatOps *ops;
    void *opaque;
    bool running;
    VmbusHeartbeatState contact; /* state, apart from PAUSED */
    VmbusApplicationState application;
    uint64_t next_sequence;
    uint64_t received;
    uint64_t sequence; /* last one answered */
    uint64_t last_ns;  /* last answer; 0: never */
    uint64_t since_ns; /* last answer of this opening, or the opening */
    uint64_t next_ns;  /* when to ask next */
};

static const uint32_t heartbeat_versions[] = {
    IC_VERSION(1, 0),
    IC_VERSION(3, 0),
};

const VmbusOffer vmbus_heartbeat_offer = {
    .name = "heartbeat",
    .class_id = IC_HEARTBEAT_CLASS,
    .instance_id = IC_HEARTBEAT_INSTANCE,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
    .pipe = true,
};

const char *vmbus_heartbeat_state_name(VmbusHeartbeatState state)
{
    static const char *const names[] = {
        [VMBUS_HEARTBEAT_NO_CONTACT] = "no-contact",
        [VMBUS_HEARTBEAT_OK] = "ok",
        [VMBUS_HEARTBEAT_LOST] = "lost",
        [VMBUS_HEARTBEAT_PAUSED] = "paused",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *vmbus_application_state_name(VmbusApplicationState state)
{
    static const char *const names[] = {
        [VMBUS_APPLICATION_UNKNOWN] = "unknown",
        [VMBUS_APPLICATION_HEALTHY] = "healthy",
        [VMBUS_APPLICATION_CRITICAL] = "critical",
        [VMBUS_APPLICATION_STOPPED] = "stopped",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

void vmbus_heartbeat_info(const VmbusHeartbeat *hb, VmbusHeartbeatInfo *info)
{
    *info = (VmbusHeartbeatInfo){
        .state = hb->running ? hb->contact : VMBUS_HEARTBEAT_PAUSED,
        .application = hb->application,
        .framework_version = hb->port.framework_version,
        .message_version = hb->port.message_version,
        .sequence = hb->sequence,
        .sent = hb->next_sequence - 1,
        .received = hb->received,
        .refused = hb->port.refused,
        .last_ns = hb->last_ns,
    };
}

const IcPort *vmbus_heartbeat_port(const VmbusHeartbeat *hb)
{
    return &hb->port;
}

static void tell(VmbusHeartbeat *hb)
{
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_info(hb, &info);
    hb->ops->changed(hb->opaque, &info);
}

static void set_contact(VmbusHeartbeat *hb, VmbusHeartbeatState contact,
                        VmbusApplicationState application)
{
    bool changed = hb->contact != contact || hb->application != application;

    hb->contact = contact;
    hb->application = application;
    if (changed) {
        tell(hb);
    }
}

/* Asks for the next call: to send, or to find the guest lost. */
static void schedule(VmbusHeartbeat *hb)
{
    uint64_t when = UINT64_MAX;

    if (hb->running && hb->port.state != IC_CLOSED) {
        if (hb->port.state == IC_READY) {
            when = hb->next_ns;
        }
        if (hb->contact != VMBUS_HEARTBEAT_LOST) {
            when = MIN(when, hb->since_ns + HEARTBEAT_LOST_NS);
        }
    }
    hb->ops->wake_at(hb->opaque, when);
}

/*
 * A full ring, or too many requests in flight, means that the guest does not
 * read: the next period, or room, is another occasion.
 */
static void ask(VmbusHeartbeat *hb, uint64_t now)
{
    IcHeartbeat body = {.sequence = GUINT64_TO_LE(hb->next_sequence)};

    hb->next_ns = now + HEARTBEAT_PERIOD_NS;
    if (ic_send(&hb->port, &body, sizeof(body), hb->next_sequence) ==
        IC_SEND_OK) {
        hb->next_sequence++;
    }
}

static void state_changed(void *opaque, IcState state)
{
    VmbusHeartbeat *hb = opaque;
    uint64_t now = hb->ops->now_ns(hb->opaque);

    switch (state) {
    case IC_NEGOTIATING:
        hb->since_ns = now;
        break;
    case IC_READY:
        if (hb->running) {
            ask(hb, now);
        } else {
            hb->next_ns = now;
        }
        break;
    case IC_CLOSED:
        set_contact(hb, VMBUS_HEARTBEAT_NO_CONTACT, VMBUS_APPLICATION_UNKNOWN);
        break;
    default: /* no answer will come: the time limit finds that */
        break;
    }
    schedule(hb);
}

/* Linux returns the zeros of the request: unknown. */
static VmbusApplicationState application_state(const VmbusHeartbeat *hb,
                                               const IcAnswer *answer)
{
    IcHeartbeat body;

    if (IC_VERSION_MAJOR(hb->port.message_version) < 3 ||
        answer->body_len < offsetof(IcHeartbeat, reserved)) {
        return VMBUS_APPLICATION_UNKNOWN;
    }
    memcpy(&body, answer->body, offsetof(IcHeartbeat, reserved));
    switch (GUINT32_FROM_LE(body.application_state)) {
    case IC_APPLICATION_HEALTHY:
        return VMBUS_APPLICATION_HEALTHY;
    case IC_APPLICATION_CRITICAL:
        return VMBUS_APPLICATION_CRITICAL;
    case IC_APPLICATION_STOPPED:
        return VMBUS_APPLICATION_STOPPED;
    default:
        return VMBUS_APPLICATION_UNKNOWN;
    }
}

/*
 * Linux answers with the request's sequence number plus one.  Nothing but
 * its practice demands that, so the request's own number will do, too.
 */
static const char *answered(void *opaque, const IcAnswer *answer)
{
    VmbusHeartbeat *hb = opaque;
    uint64_t sequence;

    if (answer->status != IC_STATUS_OK) {
        return "the guest answered a heartbeat with an error";
    }
    memcpy(&sequence, answer->body, sizeof(sequence));
    sequence = GUINT64_FROM_LE(sequence);
    if (sequence != answer->cookie && sequence != answer->cookie + 1) {
        return "the guest answered a heartbeat with a wrong sequence number";
    }
    hb->received++;
    hb->sequence = answer->cookie;
    hb->since_ns = hb->ops->now_ns(hb->opaque);
    hb->last_ns = MAX(hb->since_ns, 1);
    set_contact(hb, VMBUS_HEARTBEAT_OK, application_state(hb, answer));
    schedule(hb);
    return NULL;
}

static void room(void *opaque)
{
    VmbusHeartbeat *hb = opaque;

    if (hb->running) {
        ask(hb, hb->ops->now_ns(hb->opaque));
        schedule(hb);
    }
}

static const IcService heartbeat_service = {
    .message_type = IC_MESSAGE_HEARTBEAT,
    .min_body = IC_HEARTBEAT_MIN_SIZE,
    .max_in_flight = HEARTBEAT_MAX_IN_FLIGHT,
    .version_count = G_N_ELEMENTS(heartbeat_versions),
    .versions = heartbeat_versions,
    .state_changed = state_changed,
    .answer = answered,
    .room = room,
};

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    VmbusHeartbeat *hb = opaque;

    ic_opened(&hb->port, chan);
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    VmbusHeartbeat *hb = opaque;

    ic_closed(&hb->port);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    VmbusHeartbeat *hb = opaque;

    ic_signalled(&hb->port);
}

const VmbusChannelOps vmbus_heartbeat_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

VmbusHeartbeat *vmbus_heartbeat_new(const VmbusHeartbeatOps *ops, void *opaque)
{
    VmbusHeartbeat *hb = g_new0(VmbusHeartbeat, 1);

    hb->ops = ops;
    hb->opaque = opaque;
    hb->running = true;
    hb->next_sequence = 1;
    ic_init(&hb->port, &heartbeat_service, hb);
    return hb;
}

void vmbus_heartbeat_free(VmbusHeartbeat *hb)
{
    g_free(hb);
}

void vmbus_heartbeat_tick(VmbusHeartbeat *hb)
{
    uint64_t now = hb->ops->now_ns(hb->opaque);

    if (!hb->running || hb->port.state == IC_CLOSED) {
        return;
    }
    if (hb->port.state == IC_READY && now >= hb->next_ns) {
        ask(hb, now);
    }
    /* The channel may have closed in the call. */
    if (hb->port.state != IC_CLOSED && hb->contact != VMBUS_HEARTBEAT_LOST &&
        now - hb->since_ns >= HEARTBEAT_LOST_NS) {
        set_contact(hb, VMBUS_HEARTBEAT_LOST, hb->application);
    }
    schedule(hb);
}

void vmbus_heartbeat_set_running(VmbusHeartbeat *hb, bool running)
{
    if (hb->running != running) {
        hb->running = running;
        tell(hb);
        schedule(hb);
    }
}

/* Saved state */

#define HEARTBEAT_STATE_MAGIC   0x42484d56u /* "VMHB" */
#define HEARTBEAT_STATE_VERSION 1

typedef struct SavedHeartbeat {
    uint8_t contact, application;
    uint64_t next_sequence, received, sequence;
    bool has_last;
    uint64_t last_age, since_age, next_in; /* ns */
    IcPort *port;                          /* while loading */
    VmbusChannel *chan;
    bool has_port;
} SavedHeartbeat;

#define H(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedHeartbeat, member, max)
static const VmbusBlobField heartbeat_fields[] = {
    H(1, contact, VMBUS_HEARTBEAT_LOST),
    H(2, application, VMBUS_APPLICATION_STOPPED),
    H(3, next_sequence, UINT64_MAX),
    H(4, received, UINT64_MAX),
    H(5, sequence, UINT64_MAX),
    H(6, has_last, 1),
    H(7, last_age, UINT64_MAX),
    H(8, since_age, UINT64_MAX),
    H(9, next_in, HEARTBEAT_PERIOD_NS),
};

GByteArray *vmbus_heartbeat_save(const VmbusHeartbeat *hb)
{
    uint64_t now = hb->ops->now_ns(hb->opaque);
    SavedHeartbeat saved = {
        .contact = hb->contact,
        .application = hb->application,
        .next_sequence = hb->next_sequence,
        .received = hb->received,
        .sequence = hb->sequence,
        .has_last = hb->last_ns != 0,
        .last_age = hb->last_ns ? ic_time_between(hb->last_ns, now) : 0,
        .since_age = ic_time_between(hb->since_ns, now),
        .next_in = MIN(ic_time_between(now, hb->next_ns), HEARTBEAT_PERIOD_NS),
    };
    GByteArray *blob =
        vmbus_blob_new(HEARTBEAT_STATE_MAGIC, HEARTBEAT_STATE_VERSION);

    vmbus_blob_put_fields(blob, heartbeat_fields,
                          G_N_ELEMENTS(heartbeat_fields), &saved);
    ic_save(&hb->port, blob);
    return blob;
}

static const char *saved_item(void *opaque, const VmbusBlobItem *item)
{
    SavedHeartbeat *saved = opaque;

    if (item->tag != IC_STATE_PORT) {
        return vmbus_blob_unknown;
    }
    saved->has_port = true;
    return ic_load(saved->port, saved->chan, item);
}

const char *vmbus_heartbeat_load(VmbusHeartbeat *hb, VmbusChannel *chan,
                                 const void *data, size_t len)
{
    uint64_t now = hb->ops->now_ns(hb->opaque);
    const uint8_t *at = data;
    IcPort port = hb->port;
    SavedHeartbeat saved = {.port = &port, .chan = chan};
    const char *why;

    why = vmbus_blob_begin(&at, &len, HEARTBEAT_STATE_MAGIC,
                           HEARTBEAT_STATE_VERSION);
    if (!why) {
        why = vmbus_blob_read(at, len, heartbeat_fields,
                              G_N_ELEMENTS(heartbeat_fields), &saved,
                              saved_item, &saved);
    }
    if (why) {
        return why;
    }
    if (!saved.has_port || !saved.next_sequence ||
        (port.state == IC_CLOSED &&
         saved.contact != VMBUS_HEARTBEAT_NO_CONTACT)) {
        return "The saved heartbeat does not agree with itself.";
    }
    hb->port = port;
    hb->contact = saved.contact;
    hb->application = saved.application;
    hb->next_sequence = saved.next_sequence;
    hb->received = saved.received;
    hb->sequence = saved.sequence;
    /* 0 means that no answer ever came. */
    hb->last_ns =
        saved.has_last ? MAX(ic_time_between(saved.last_age, now), 1) : 0;
    hb->since_ns = ic_time_between(saved.since_age, now);
    hb->next_ns = now + saved.next_in;
    schedule(hb);
    return NULL;
}
