/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/shutdown.h"

#include <glib.h>

#include "devices/ic-state.h"

struct VmbusShutdown {
    IcPort port;
    const VmbusShutdownOps *ops;
    void *opaque;
    VmbusShutdownState state;
    VmbusShutdownMode mode; /* of the request under way */
    IcShutdown body;        /* the request, for when there is room */
    uint64_t requests;
    uint32_t last_status;
};

static const uint32_t shutdown_versions[] = {
    IC_VERSION(1, 0),
    IC_VERSION(3, 0),
    IC_VERSION(3, 1),
    IC_VERSION(3, 2),
};

/*
 * What each mode needs.  Restart has no version of its own: OpenVMM sends it
 * at any, and a guest that does not know the flag (Linux before 5.6) answers
 * with an error.  Linux took up hibernation together with version 3.2.
 */
static const struct {
    uint32_t flags;
    uint32_t min_version;
} modes[] = {
    [VMBUS_SHUTDOWN_POWEROFF] = {0, IC_VERSION(1, 0)},
    [VMBUS_SHUTDOWN_REBOOT] = {IC_SHUTDOWN_RESTART, IC_VERSION(1, 0)},
    [VMBUS_SHUTDOWN_HIBERNATE] = {IC_SHUTDOWN_HIBERNATE, IC_VERSION(3, 2)},
};

const VmbusOffer vmbus_shutdown_offer = {
    .name = "shutdown",
    .class_id = IC_SHUTDOWN_CLASS,
    .instance_id = IC_SHUTDOWN_INSTANCE,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
    .pipe = true,
};

const char *vmbus_shutdown_state_name(VmbusShutdownState state)
{
    static const char *const names[] = {
        [VMBUS_SHUTDOWN_CLOSED] = "closed",
        [VMBUS_SHUTDOWN_NEGOTIATING] = "negotiating",
        [VMBUS_SHUTDOWN_READY] = "ready",
        [VMBUS_SHUTDOWN_REQUESTED] = "requested",
        [VMBUS_SHUTDOWN_ACCEPTED] = "accepted",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *vmbus_shutdown_result_sentence(VmbusShutdownResult result)
{
    static const char *const sentences[] = {
        [VMBUS_SHUTDOWN_OK] = "The guest accepted the request.",
        [VMBUS_SHUTDOWN_NOT_OPEN] =
            "The guest has not opened the shutdown service.",
        [VMBUS_SHUTDOWN_NOT_READY] =
            "The guest's shutdown service is not ready yet.",
        [VMBUS_SHUTDOWN_IN_PROGRESS] =
            "A shutdown is in progress already; a forced request asks a "
            "guest again that accepted one and did not end.",
        [VMBUS_SHUTDOWN_LOCKED] = "A user session in the guest is locked.",
        [VMBUS_SHUTDOWN_TOO_OLD] =
            "The version of the shutdown service that the guest agreed to "
            "cannot hibernate it.",
        [VMBUS_SHUTDOWN_NOT_SUPPORTED] =
            "The guest does not support what was asked.",
        [VMBUS_SHUTDOWN_FAILED] = "The guest refused the request.",
        [VMBUS_SHUTDOWN_GONE] =
            "The guest closed the shutdown service before it answered.",
    };

    return (unsigned)result < G_N_ELEMENTS(sentences)
               ? sentences[result]
               : "The result of the request is unknown.";
}

void vmbus_shutdown_info(const VmbusShutdown *sd, VmbusShutdownInfo *info)
{
    *info = (VmbusShutdownInfo){
        .state = sd->state,
        .framework_version = sd->port.framework_version,
        .message_version = sd->port.message_version,
        .requests = sd->requests,
        .last_status = sd->last_status,
    };
}

const IcPort *vmbus_shutdown_port(const VmbusShutdown *sd)
{
    return &sd->port;
}

static void set_state(VmbusShutdown *sd, VmbusShutdownState state)
{
    if (sd->state != state) {
        sd->state = state;
        sd->ops->changed(sd->opaque, state);
    }
}

/* Ends the request under way, if there is one, without an answer. */
static void leave(VmbusShutdown *sd, VmbusShutdownState state)
{
    bool asked = sd->state == VMBUS_SHUTDOWN_REQUESTED;

    set_state(sd, state);
    if (asked) {
        sd->ops->answered(sd->opaque, sd->mode, VMBUS_SHUTDOWN_GONE, 0);
    }
}

static void port_changed(void *opaque, IcState state)
{
    VmbusShutdown *sd = opaque;

    switch (state) {
    case IC_CLOSED:
        leave(sd, VMBUS_SHUTDOWN_CLOSED);
        break;
    case IC_READY:
        leave(sd, VMBUS_SHUTDOWN_READY);
        break;
    default: /* open, but no request can be sent now or for good */
        leave(sd, VMBUS_SHUTDOWN_NEGOTIATING);
        break;
    }
}

static VmbusShutdownResult result_of_status(uint32_t status)
{
    switch (status) {
    case IC_STATUS_OK:
        return VMBUS_SHUTDOWN_OK;
    case IC_STATUS_NOT_READY:
        return VMBUS_SHUTDOWN_NOT_READY;
    case IC_STATUS_SHUTDOWN_IN_PROGRESS:
        return VMBUS_SHUTDOWN_IN_PROGRESS;
    case IC_STATUS_MACHINE_LOCKED:
        return VMBUS_SHUTDOWN_LOCKED;
    case IC_STATUS_NOT_SUPPORTED:
        return VMBUS_SHUTDOWN_NOT_SUPPORTED;
    default:
        return VMBUS_SHUTDOWN_FAILED;
    }
}

static const char *port_answered(void *opaque, const IcAnswer *answer)
{
    VmbusShutdown *sd = opaque;
    VmbusShutdownResult result = result_of_status(answer->status);

    sd->last_status = answer->status;
    set_state(sd, result == VMBUS_SHUTDOWN_OK ? VMBUS_SHUTDOWN_ACCEPTED
                                              : VMBUS_SHUTDOWN_READY);
    sd->ops->answered(sd->opaque, sd->mode, result, answer->status);
    return NULL;
}

/* Only a request that found the ring full asks for this. */
static void port_room(void *opaque)
{
    VmbusShutdown *sd = opaque;

    ic_send(&sd->port, &sd->body, sizeof(sd->body), 0);
}

static const IcService shutdown_service = {
    .message_type = IC_MESSAGE_SHUTDOWN,
    .max_in_flight = 1,
    .version_count = G_N_ELEMENTS(shutdown_versions),
    .versions = shutdown_versions,
    .state_changed = port_changed,
    .answer = port_answered,
    .room = port_room,
};

/* As much of @message as fits, with a final NUL and no half character. */
static void put_text(IcShutdown *body, const char *message)
{
    /* More UTF-8 than this can't fit: a unit of UTF-16 takes at most 3. */
    size_t len = strnlen(message, 3 * IC_SHUTDOWN_TEXT_UNITS);
    g_autofree char *valid = g_utf8_make_valid(message, len);
    g_autofree gunichar2 *text = NULL;
    glong units = 0;

    text = g_utf8_to_utf16(valid, -1, NULL, &units, NULL);
    if (!text) {
        return;
    }
    units = MIN(units, IC_SHUTDOWN_TEXT_UNITS - 1);
    if (units > 0 && (text[units - 1] & 0xfc00) == 0xd800) {
        units--;
    }
    for (glong i = 0; i < units; i++) {
        body->text[i] = GUINT16_TO_LE(text[i]);
    }
}

static void put_request(IcShutdown *body, const VmbusShutdownRequest *req)
{
    uint32_t reason = req->reason ? req->reason : IC_SHUTDOWN_REASON_PLANNED;
    uint32_t flags = modes[req->mode].flags;

    if (req->force) {
        flags |= IC_SHUTDOWN_FORCE;
    }
    memset(body, 0, sizeof(*body));
    body->reason = GUINT32_TO_LE(reason);
    body->timeout_secs = GUINT32_TO_LE(req->timeout_secs);
    body->flags = GUINT32_TO_LE(flags);
    if (req->message) {
        put_text(body, req->message);
    }
}

/*
 * A guest that accepted and never goes down can be asked again, but only by
 * force: to most callers "in progress" is the true answer, and there is no
 * clock here to tell slow from never (updates may take an hour).  A request
 * that has no answer yet is not repeated even then; it would be the second
 * in a queue whose first is not read.
 */
static VmbusShutdownResult validate_request(const VmbusShutdown *sd,
                                            const VmbusShutdownRequest *req)
{
    switch (sd->state) {
    case VMBUS_SHUTDOWN_CLOSED:
        return VMBUS_SHUTDOWN_NOT_OPEN;
    case VMBUS_SHUTDOWN_NEGOTIATING:
        return VMBUS_SHUTDOWN_NOT_READY;
    case VMBUS_SHUTDOWN_REQUESTED:
        return VMBUS_SHUTDOWN_IN_PROGRESS;
    case VMBUS_SHUTDOWN_ACCEPTED:
        if (!req->force) {
            return VMBUS_SHUTDOWN_IN_PROGRESS;
        }
        break;
    case VMBUS_SHUTDOWN_READY:
        break;
    }
    if ((unsigned)req->mode >= G_N_ELEMENTS(modes)) {
        return VMBUS_SHUTDOWN_NOT_SUPPORTED;
    }
    if (sd->port.message_version < modes[req->mode].min_version) {
        return VMBUS_SHUTDOWN_TOO_OLD;
    }
    return VMBUS_SHUTDOWN_OK;
}

VmbusShutdownResult vmbus_shutdown_request(VmbusShutdown *sd,
                                           const VmbusShutdownRequest *req)
{
    VmbusShutdownResult result = validate_request(sd, req);

    if (result != VMBUS_SHUTDOWN_OK) {
        return result;
    }
    put_request(&sd->body, req);
    switch (ic_send(&sd->port, &sd->body, sizeof(sd->body), 0)) {
    case IC_SEND_OK:
        break;
    case IC_SEND_FULL:
        break; /* port_room() sends it */
    case IC_SEND_TOO_LARGE:
        return VMBUS_SHUTDOWN_FAILED;
    case IC_SEND_LIMIT:
        return VMBUS_SHUTDOWN_IN_PROGRESS;
    case IC_SEND_NOT_READY:
        return VMBUS_SHUTDOWN_NOT_OPEN;
    }
    sd->mode = req->mode;
    sd->requests++;
    set_state(sd, VMBUS_SHUTDOWN_REQUESTED);
    return VMBUS_SHUTDOWN_OK;
}

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    VmbusShutdown *sd = opaque;

    ic_opened(&sd->port, chan);
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    VmbusShutdown *sd = opaque;

    ic_closed(&sd->port);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    VmbusShutdown *sd = opaque;

    ic_signalled(&sd->port);
}

const VmbusChannelOps vmbus_shutdown_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

VmbusShutdown *vmbus_shutdown_new(const VmbusShutdownOps *ops, void *opaque)
{
    VmbusShutdown *sd = g_new0(VmbusShutdown, 1);

    sd->ops = ops;
    sd->opaque = opaque;
    ic_init(&sd->port, &shutdown_service, sd);
    return sd;
}

void vmbus_shutdown_free(VmbusShutdown *sd)
{
    g_free(sd);
}

/* Saved state */

#define SHUTDOWN_STATE_MAGIC   0x44534d56u /* "VMSD" */
#define SHUTDOWN_STATE_VERSION 1

enum {
    SHUTDOWN_BODY = IC_STATE_OWN, /* the request that found no room */
};

typedef struct SavedShutdown {
    uint8_t state, mode;
    uint64_t requests;
    uint32_t last_status;
    IcShutdown body;
    bool has_body, has_port;
    IcPort *port; /* while loading */
    VmbusChannel *chan;
} SavedShutdown;

#define S(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedShutdown, member, max)
static const VmbusBlobField shutdown_fields[] = {
    S(1, state, VMBUS_SHUTDOWN_ACCEPTED),
    S(2, mode, VMBUS_SHUTDOWN_HIBERNATE),
    S(3, requests, UINT64_MAX),
    S(4, last_status, UINT32_MAX),
};

GByteArray *vmbus_shutdown_save(const VmbusShutdown *sd)
{
    SavedShutdown saved = {
        .state = sd->state,
        .mode = sd->mode,
        .requests = sd->requests,
        .last_status = sd->last_status,
    };
    GByteArray *blob =
        vmbus_blob_new(SHUTDOWN_STATE_MAGIC, SHUTDOWN_STATE_VERSION);

    vmbus_blob_put_fields(blob, shutdown_fields, G_N_ELEMENTS(shutdown_fields),
                          &saved);
    ic_save(&sd->port, blob);
    if (sd->port.wants_room) {
        vmbus_blob_put(blob, SHUTDOWN_BODY, &sd->body, sizeof(sd->body));
    }
    return blob;
}

static const char *saved_item(void *opaque, const VmbusBlobItem *item)
{
    SavedShutdown *saved = opaque;

    switch (item->tag) {
    case IC_STATE_PORT:
        saved->has_port = true;
        return ic_load(saved->port, saved->chan, item);
    case SHUTDOWN_BODY:
        if (item->len != sizeof(saved->body)) {
            return "The saved shutdown has a request of a wrong size.";
        }
        memcpy(&saved->body, item->data, sizeof(saved->body));
        saved->has_body = true;
        return NULL;
    default:
        return vmbus_blob_unknown;
    }
}

static bool state_fits(const SavedShutdown *saved, const IcPort *port)
{
    switch (port->state) {
    case IC_CLOSED:
        return saved->state == VMBUS_SHUTDOWN_CLOSED;
    case IC_READY:
        return saved->state >= VMBUS_SHUTDOWN_READY;
    default:
        return saved->state == VMBUS_SHUTDOWN_NEGOTIATING;
    }
}

const char *vmbus_shutdown_load(VmbusShutdown *sd, VmbusChannel *chan,
                                const void *data, size_t len)
{
    const uint8_t *at = data;
    IcPort port = sd->port;
    SavedShutdown saved = {.port = &port, .chan = chan};
    const char *why;

    why = vmbus_blob_begin(&at, &len, SHUTDOWN_STATE_MAGIC,
                           SHUTDOWN_STATE_VERSION);
    if (!why) {
        why = vmbus_blob_read(at, len, shutdown_fields,
                              G_N_ELEMENTS(shutdown_fields), &saved, saved_item,
                              &saved);
    }
    if (why) {
        return why;
    }
    if (!saved.has_port || saved.has_body != port.wants_room ||
        !state_fits(&saved, &port)) {
        return "The saved shutdown service does not agree with itself.";
    }
    sd->port = port;
    sd->state = saved.state;
    sd->mode = saved.mode;
    sd->requests = saved.requests;
    sd->last_status = saved.last_status;
    sd->body = saved.body;
    return NULL;
}
