/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/vss.h"

#include <glib.h>

#include "devices/ic-state.h"
#include "devices/vss-internal.h"

/*
 * How long after a refused thaw it is sent again.  A guest whose daemon died
 * refuses until there is a new one.
 */
#define RETRY_NS UINT64_C(1000000000)

/* Linux and FreeBSD know no other, and no text about another is public. */
static const uint32_t vss_versions[] = {
    IC_VERSION(5, 0),
};

const VmbusOffer vmbus_vss_offer = {
    .name = "vss",
    .class_id = IC_VSS_CLASS,
    .instance_id = IC_VSS_INSTANCE,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
    .pipe = true,
};

static VmbusVssService service_of(const VmbusVss *vss)
{
    switch (vss->port.state) {
    case IC_CLOSED:
        return VMBUS_VSS_CLOSED;
    case IC_NEGOTIATING:
        return VMBUS_VSS_NEGOTIATING;
    case IC_READY:
        return VMBUS_VSS_READY;
    default:
        return VMBUS_VSS_UNUSABLE;
    }
}

void vmbus_vss_info(const VmbusVss *vss, VmbusVssInfo *info)
{
    uint64_t now = vss->ops->now_ns(vss->opaque);

    *info = (VmbusVssInfo){
        .state = vss->state,
        .reason = vss->reason,
        .service = service_of(vss),
        .framework_version = vss->port.framework_version,
        .message_version = vss->port.message_version,
        .job = vss->job,
        .last_status = vss->last_status,
        .freezes = vss->freezes,
        .thaws = vss->thaws,
        .thaws_refused = vss->thaws_refused,
        .late = vss->late,
    };
    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
        info->left_ns = ic_time_between(now, vss->deadline_ns);
        break;
    case VMBUS_VSS_FROZEN:
        info->left_ns = ic_time_between(now, vss->hold_until_ns);
        info->frozen_ns = ic_time_between(vss->frozen_at_ns, now);
        break;
    default:
        break;
    }
}

const IcPort *vmbus_vss_port(const VmbusVss *vss)
{
    return &vss->port;
}

bool vmbus_vss_owes_thaw(const VmbusVss *vss)
{
    return vss->owed;
}

void vmbus_vss_schedule(VmbusVss *vss)
{
    uint64_t when = UINT64_MAX;

    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
        when = vss->deadline_ns;
        break;
    case VMBUS_VSS_FROZEN:
        when = vss->hold_until_ns;
        break;
    case VMBUS_VSS_THAWING:
        /* In a full ring there is nothing to be done until there is room. */
        if (!vss->in_flight && !vss->port.wants_room && vss->running) {
            when = vss->retry_ns;
        }
        break;
    default:
        break;
    }
    vss->ops->wake_at(vss->opaque, when);
}

static void set_state(VmbusVss *vss, VmbusVssState state, VmbusVssReason reason)
{
    VmbusVssInfo info;

    if (vss->state == state && vss->reason == reason) {
        return;
    }
    vss->state = state;
    vss->reason = reason;
    vmbus_vss_info(vss, &info);
    vss->ops->changed(vss->opaque, &info);
}

/* What the state wants to be sent, or 0. */
static uint8_t wanted(const VmbusVss *vss)
{
    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
        return IC_VSS_HOT_BACKUP;
    case VMBUS_VSS_FREEZING:
        return IC_VSS_FREEZE;
    case VMBUS_VSS_THAWING:
        return vss->ops->now_ns(vss->opaque) >= vss->retry_ns ? IC_VSS_THAW : 0;
    default:
        return 0;
    }
}

/*
 * Sends what the state wants, if it can be sent now: another request without
 * an answer, a full ring, and a stopped machine make it wait.  A freeze that
 * has been sent is owed a thaw, whatever the answer.
 */
static void pump(VmbusVss *vss)
{
    uint8_t operation = wanted(vss);
    IcVss body = {.operation = operation};

    if (operation && !vss->in_flight && vss->running &&
        ic_send(&vss->port, &body, sizeof(body),
                VSS_COOKIE(vss->job, operation)) == IC_SEND_OK) {
        vss->in_flight = operation;
        vss->owed |= operation == IC_VSS_FREEZE;
    }
    vmbus_vss_schedule(vss);
}

/* Ends the job; what was sent of it is undone. */
static void end(VmbusVss *vss, VmbusVssReason reason)
{
    if (!vss->owed) {
        set_state(vss, VMBUS_VSS_FAILED, reason);
    } else {
        vss->retry_ns = 0;
        set_state(vss, VMBUS_VSS_THAWING, reason);
    }
    pump(vss);
}

/* Of the service, not of the job: no request can be sent any more. */
static void lose(VmbusVss *vss)
{
    vss->in_flight = 0;
    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
    case VMBUS_VSS_FROZEN:
        set_state(vss, VMBUS_VSS_FAILED, VMBUS_VSS_GONE);
        break;
    case VMBUS_VSS_THAWING:
        /* Why it was to be thawed says more than that it could not be. */
        set_state(vss, VMBUS_VSS_FAILED,
                  vss->reason == VMBUS_VSS_THAWED ? VMBUS_VSS_GONE
                                                  : vss->reason);
        break;
    default:
        break;
    }
    vmbus_vss_schedule(vss);
}

static void port_changed(void *opaque, IcState state)
{
    VmbusVss *vss = opaque;

    switch (state) {
    case IC_NEGOTIATING:
        break;
    case IC_READY:
        /* The guest closed the service while frozen, and is still there. */
        if (vss->owed) {
            end(vss, vss->reason);
        }
        break;
    default:
        lose(vss);
        break;
    }
}

static void checked(VmbusVss *vss, uint32_t status)
{
    if (status == IC_STATUS_OK) {
        set_state(vss, VMBUS_VSS_FREEZING, VMBUS_VSS_NO_REASON);
        pump(vss);
    } else {
        /* Linux answers FAIL while no daemon has registered. */
        end(vss, status == IC_STATUS_NOT_READY ? VMBUS_VSS_NOT_PREPARED
                                               : VMBUS_VSS_DISABLED);
    }
}

/*
 * A guest that says that it failed to freeze is thawed, too: Linux says so
 * when its daemon dies, and then nobody knows what it had frozen by then.
 */
static void frozen(VmbusVss *vss, uint32_t status)
{
    uint64_t now = vss->ops->now_ns(vss->opaque);

    if (status != IC_STATUS_OK) {
        end(vss, VMBUS_VSS_REFUSED);
        return;
    }
    vss->frozen_at_ns = now;
    vss->hold_until_ns = now + MIN(vss->hold_ns, vss->limit_ns);
    vss->freezes++;
    set_state(vss, VMBUS_VSS_FROZEN, VMBUS_VSS_NO_REASON);
    vmbus_vss_schedule(vss);
}

/*
 * A guest that thawed before says so once, and there is nothing to repeat; who
 * asked for this thaw has to hear of it.
 */
static void thawed(VmbusVss *vss, uint32_t status)
{
    if (status == IC_STATUS_OK || status == IC_STATUS_NOT_HELD) {
        vss->owed = false;
        vss->thaws++;
        if (vss->reason == VMBUS_VSS_THAWED && status == IC_STATUS_NOT_HELD) {
            set_state(vss, VMBUS_VSS_FAILED, VMBUS_VSS_LAPSED);
        } else if (vss->reason == VMBUS_VSS_THAWED) {
            set_state(vss, VMBUS_VSS_IDLE, VMBUS_VSS_NO_REASON);
        } else {
            set_state(vss, VMBUS_VSS_FAILED, vss->reason);
        }
    } else {
        vss->thaws_refused++;
        vss->retry_ns = vss->ops->now_ns(vss->opaque) + RETRY_NS;
        if (!vss->owed) {
            set_state(vss, VMBUS_VSS_FAILED, VMBUS_VSS_NOT_THAWED);
        }
    }
    vmbus_vss_schedule(vss);
}

/*
 * An answer counts only for the state of the job that asked; any other is
 * late, and only makes room for the next request.
 */
static const char *port_answered(void *opaque, const IcAnswer *answer)
{
    VmbusVss *vss = opaque;
    bool current = VSS_COOKIE_JOB(answer->cookie) == vss->job;
    uint8_t operation = VSS_COOKIE_OPERATION(answer->cookie);

    vss->in_flight = 0;
    vss->last_status = answer->status;
    if (operation == IC_VSS_HOT_BACKUP && current &&
        vss->state == VMBUS_VSS_CHECKING) {
        checked(vss, answer->status);
    } else if (operation == IC_VSS_FREEZE && current &&
               vss->state == VMBUS_VSS_FREEZING) {
        frozen(vss, answer->status);
    } else if (operation == IC_VSS_THAW && vss->state == VMBUS_VSS_THAWING) {
        thawed(vss, answer->status);
    } else {
        vss->late++;
        pump(vss);
    }
    return NULL;
}

static void port_room(void *opaque)
{
    pump(opaque);
}

const IcService vmbus_vss_service = {
    .message_type = IC_MESSAGE_VSS,
    .max_in_flight = 1,
    .version_count = G_N_ELEMENTS(vss_versions),
    .versions = vss_versions,
    .state_changed = port_changed,
    .answer = port_answered,
    .room = port_room,
};

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    VmbusVss *vss = opaque;

    ic_opened(&vss->port, chan);
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    VmbusVss *vss = opaque;

    ic_closed(&vss->port);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    VmbusVss *vss = opaque;

    ic_signalled(&vss->port);
}

const VmbusChannelOps vmbus_vss_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

VmbusVss *vmbus_vss_new(const VmbusVssOps *ops, void *opaque, uint64_t limit_ns)
{
    VmbusVss *vss = g_new0(VmbusVss, 1);

    vss->ops = ops;
    vss->opaque = opaque;
    vss->limit_ns = limit_ns;
    vss->running = true;
    ic_init(&vss->port, &vmbus_vss_service, vss);
    return vss;
}

void vmbus_vss_free(VmbusVss *vss)
{
    g_free(vss);
}

static VmbusVssResult reachable(const VmbusVss *vss)
{
    switch (service_of(vss)) {
    case VMBUS_VSS_CLOSED:
        return VMBUS_VSS_NOT_OPEN;
    case VMBUS_VSS_NEGOTIATING:
        return VMBUS_VSS_NOT_READY;
    case VMBUS_VSS_UNUSABLE:
        return VMBUS_VSS_NOT_USABLE;
    default:
        return VMBUS_VSS_OK;
    }
}

static VmbusVssResult validate_freeze(const VmbusVss *vss, uint64_t hold_ns,
                                      uint64_t timeout_ns)
{
    VmbusVssResult result = reachable(vss);

    if (result != VMBUS_VSS_OK) {
        return result;
    }
    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
    case VMBUS_VSS_FROZEN:
        return VMBUS_VSS_BUSY;
    case VMBUS_VSS_THAWING:
        return VMBUS_VSS_UNTHAWED;
    default:
        break;
    }
    if (vss->in_flight) {
        return VMBUS_VSS_UNANSWERED;
    }
    if (!vss->running) {
        return VMBUS_VSS_STOPPED;
    }
    if (!hold_ns || hold_ns > vss->limit_ns || !timeout_ns ||
        timeout_ns > VMBUS_VSS_MAX_TIMEOUT_NS) {
        return VMBUS_VSS_BAD_HOLD;
    }
    return VMBUS_VSS_OK;
}

VmbusVssResult vmbus_vss_freeze(VmbusVss *vss, uint64_t hold_ns,
                                uint64_t timeout_ns, uint64_t *job)
{
    VmbusVssResult result = validate_freeze(vss, hold_ns, timeout_ns);

    if (result != VMBUS_VSS_OK) {
        return result;
    }
    *job = ++vss->job;
    vss->hold_ns = hold_ns;
    vss->deadline_ns = vss->ops->now_ns(vss->opaque) + timeout_ns;
    set_state(vss, VMBUS_VSS_CHECKING, VMBUS_VSS_NO_REASON);
    pump(vss);
    return VMBUS_VSS_OK;
}

VmbusVssResult vmbus_vss_renew(VmbusVss *vss, uint64_t job, uint64_t hold_ns,
                               uint64_t *granted_ns)
{
    uint64_t now = vss->ops->now_ns(vss->opaque);
    uint64_t end_ns = vss->frozen_at_ns + vss->limit_ns;

    if (vss->state != VMBUS_VSS_FROZEN || job != vss->job ||
        now >= vss->hold_until_ns) {
        return VMBUS_VSS_NOT_FROZEN;
    }
    if (!hold_ns) {
        hold_ns = vss->hold_ns;
    }
    if (hold_ns > vss->limit_ns) {
        return VMBUS_VSS_BAD_HOLD;
    }
    vss->hold_until_ns = MIN(now + hold_ns, end_ns);
    *granted_ns = ic_time_between(now, vss->hold_until_ns);
    vmbus_vss_schedule(vss);
    return VMBUS_VSS_OK;
}

VmbusVssResult vmbus_vss_thaw(VmbusVss *vss, VmbusVssReason reason)
{
    VmbusVssResult result = reachable(vss);

    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
        end(vss, reason == VMBUS_VSS_THAWED ? VMBUS_VSS_CANCELLED : reason);
        break;
    case VMBUS_VSS_FROZEN:
        end(vss, reason);
        break;
    case VMBUS_VSS_THAWING:
        vss->retry_ns = 0;
        pump(vss);
        break;
    default:
        /* A guest may be frozen without our knowing; but not all is worth
         * asking it, and an answer that is due comes first. */
        if (result == VMBUS_VSS_OK && reason == VMBUS_VSS_THAWED) {
            vss->retry_ns = 0;
            set_state(vss, VMBUS_VSS_THAWING, reason);
            pump(vss);
        }
        break;
    }
    return result;
}

void vmbus_vss_tick(VmbusVss *vss)
{
    uint64_t now = vss->ops->now_ns(vss->opaque);

    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
        if (now >= vss->deadline_ns) {
            end(vss, VMBUS_VSS_TIMEOUT);
            return;
        }
        break;
    case VMBUS_VSS_FROZEN:
        if (now >= vss->hold_until_ns) {
            end(vss, now - vss->frozen_at_ns >= vss->limit_ns
                         ? VMBUS_VSS_LIMIT
                         : VMBUS_VSS_HOLD_OVER);
            return;
        }
        break;
    default:
        break;
    }
    pump(vss);
}

void vmbus_vss_set_running(VmbusVss *vss, bool running)
{
    vss->running = running;
    pump(vss);
}

void vmbus_vss_reset(VmbusVss *vss)
{
    bool lost =
        vss->owed || vss->state == VMBUS_VSS_THAWING ||
        (vss->state == VMBUS_VSS_FAILED && vss->reason == VMBUS_VSS_GONE);

    vss->owed = false;
    if (lost) {
        set_state(vss, VMBUS_VSS_FAILED, VMBUS_VSS_RESET);
    }
    vmbus_vss_schedule(vss);
}
