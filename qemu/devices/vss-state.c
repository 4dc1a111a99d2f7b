/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backup service in a saved machine, and its words for people. */
#include "devices/ic-state.h"
#include "devices/vss-internal.h"

const char *vmbus_vss_state_name(VmbusVssState state)
{
    static const char *const names[] = {
        [VMBUS_VSS_IDLE] = "idle",         [VMBUS_VSS_CHECKING] = "checking",
        [VMBUS_VSS_FREEZING] = "freezing", [VMBUS_VSS_FROZEN] = "frozen",
        [VMBUS_VSS_THAWING] = "thawing",   [VMBUS_VSS_FAILED] = "failed",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *vmbus_vss_reason_sentence(VmbusVssReason reason)
{
    static const char *const sentences[] = {
        [VMBUS_VSS_DISABLED] =
            "The guest has the backup service, but nothing in it takes part: "
            "its daemon does not run, or backups are disabled.",
        [VMBUS_VSS_NOT_PREPARED] =
            "The guest says that it is not ready for a backup yet.",
        [VMBUS_VSS_REFUSED] = "The guest could not freeze.",
        [VMBUS_VSS_TIMEOUT] = "The guest had not frozen in time.",
        [VMBUS_VSS_HOLD_OVER] =
            "The hold time was over, so the host thawed the guest.",
        [VMBUS_VSS_LIMIT] =
            "The guest was frozen for as long as the host allows, so it was "
            "thawed.",
        [VMBUS_VSS_CANCELLED] = "A thaw was asked for before it was frozen.",
        [VMBUS_VSS_THAWED] = "A thaw was asked for.",
        [VMBUS_VSS_SHUTDOWN] =
            "The guest was asked to shut down, and was thawed for it.",
        [VMBUS_VSS_MIGRATION] =
            "The machine migrates, and the guest was thawed for it.",
        [VMBUS_VSS_MOVED] =
            "The machine was saved during a freeze; where it went on it was "
            "thawed.",
        [VMBUS_VSS_GONE] = "The guest closed the backup service.",
        [VMBUS_VSS_RESET] = "The machine was reset.",
        [VMBUS_VSS_NOT_THAWED] =
            "The guest refused to thaw; no freeze is known of.",
        [VMBUS_VSS_LAPSED] =
            "The guest had thawed before it was asked to; what was copied "
            "meanwhile is not to be trusted.",
    };

    return (unsigned)reason < G_N_ELEMENTS(sentences) ? sentences[reason]
                                                      : NULL;
}

const char *vmbus_vss_result_sentence(VmbusVssResult result)
{
    static const char *const sentences[] = {
        [VMBUS_VSS_OK] = "The guest was asked.",
        [VMBUS_VSS_NOT_OPEN] = "The guest has not opened the backup service.",
        [VMBUS_VSS_NOT_READY] =
            "The guest's backup service is not ready yet: no version has been "
            "agreed.",
        [VMBUS_VSS_NOT_USABLE] =
            "The guest's backup service and the host's did not agree on a "
            "version, or the guest broke the protocol.",
        [VMBUS_VSS_STOPPED] =
            "The machine is stopped, so the guest can't freeze.",
        [VMBUS_VSS_BUSY] =
            "Another freeze is under way or in force; a thaw ends it.",
        [VMBUS_VSS_UNTHAWED] =
            "The guest has not confirmed yet that it thawed.",
        [VMBUS_VSS_UNANSWERED] =
            "The guest has not answered an earlier request yet.",
        [VMBUS_VSS_BAD_HOLD] = "The hold time or the time limit is zero or "
                               "longer than this host allows.",
        [VMBUS_VSS_NOT_FROZEN] = "That freeze is over.",
    };

    return (unsigned)result < G_N_ELEMENTS(sentences)
               ? sentences[result]
               : "The result of the request is unknown.";
}

#define VSS_STATE_MAGIC   0x53564d56u /* "VMVS" */
#define VSS_STATE_VERSION 1

typedef struct SavedVss {
    uint8_t state, reason;
    bool owed;
    uint64_t job;
    uint32_t last_status;
    uint64_t freezes, thaws, thaws_refused, late;
    IcPort *port; /* while loading */
    VmbusChannel *chan;
    bool has_port;
} SavedVss;

#define V(tag, member, max) VMBUS_BLOB_FIELD(tag, SavedVss, member, max)
static const VmbusBlobField vss_fields[] = {
    V(1, state, VMBUS_VSS_FAILED),
    V(2, reason, VMBUS_VSS_LAPSED),
    V(3, owed, 1),
    V(4, job, VSS_MAX_JOB),
    V(5, last_status, UINT32_MAX),
    V(6, freezes, UINT64_MAX),
    V(7, thaws, UINT64_MAX),
    V(8, thaws_refused, UINT64_MAX),
    V(9, late, UINT64_MAX),
};

GByteArray *vmbus_vss_save(const VmbusVss *vss)
{
    SavedVss saved = {
        .state = vss->state,
        .reason = vss->reason,
        .owed = vss->owed,
        .job = vss->job,
        .last_status = vss->last_status,
        .freezes = vss->freezes,
        .thaws = vss->thaws,
        .thaws_refused = vss->thaws_refused,
        .late = vss->late,
    };
    GByteArray *blob = vmbus_blob_new(VSS_STATE_MAGIC, VSS_STATE_VERSION);

    switch (vss->state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
    case VMBUS_VSS_FROZEN:
        saved.state = vss->owed ? VMBUS_VSS_THAWING : VMBUS_VSS_FAILED;
        saved.reason = VMBUS_VSS_MOVED;
        break;
    default:
        break;
    }
    vmbus_blob_put_fields(blob, vss_fields, G_N_ELEMENTS(vss_fields), &saved);
    ic_save(&vss->port, blob);
    return blob;
}

static const char *saved_item(void *opaque, const VmbusBlobItem *item)
{
    SavedVss *saved = opaque;

    if (item->tag != IC_STATE_PORT) {
        return vmbus_blob_unknown;
    }
    saved->has_port = true;
    return ic_load(saved->port, saved->chan, item);
}

/* Finds the operation that has no answer; false: nonsense. */
static bool find_operation(const SavedVss *saved, const IcPort *port,
                           uint8_t *operation)
{
    *operation = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(port->slot); i++) {
        uint64_t cookie = port->slot[i].cookie;
        uint8_t this = VSS_COOKIE_OPERATION(cookie);

        if (!port->slot[i].used ||
            port->slot[i].message_type != IC_MESSAGE_VSS) {
            continue;
        }
        if (*operation || VSS_COOKIE_JOB(cookie) > saved->job ||
            (this != IC_VSS_HOT_BACKUP && this != IC_VSS_FREEZE &&
             this != IC_VSS_THAW)) {
            return false;
        }
        *operation = this;
    }
    return true;
}

static bool agrees(const SavedVss *saved, const IcPort *port)
{
    bool ready = port->state == IC_READY;

    if (!saved->has_port || (saved->owed && !saved->job) ||
        (saved->owed && ready && saved->state != VMBUS_VSS_THAWING)) {
        return false;
    }
    switch (saved->state) {
    case VMBUS_VSS_IDLE:
        return saved->reason == VMBUS_VSS_NO_REASON && !saved->owed;
    case VMBUS_VSS_THAWING:
        return saved->reason != VMBUS_VSS_NO_REASON && ready;
    case VMBUS_VSS_FAILED:
        return saved->reason != VMBUS_VSS_NO_REASON;
    default:
        return false;
    }
}

const char *vmbus_vss_load(VmbusVss *vss, VmbusChannel *chan, const void *data,
                           size_t len)
{
    const uint8_t *at = data;
    IcPort port = vss->port;
    SavedVss saved = {.port = &port, .chan = chan};
    uint8_t operation;
    const char *why;

    why = vmbus_blob_begin(&at, &len, VSS_STATE_MAGIC, VSS_STATE_VERSION);
    if (!why) {
        why = vmbus_blob_read(at, len, vss_fields, G_N_ELEMENTS(vss_fields),
                              &saved, saved_item, &saved);
    }
    if (why) {
        return why;
    }
    if (!find_operation(&saved, &port, &operation) || !agrees(&saved, &port)) {
        return "The saved backup service does not agree with itself.";
    }
    vss->port = port;
    vss->state = saved.state;
    vss->reason = saved.reason;
    vss->owed = saved.owed;
    /* A port that is no longer read has requests that nobody waits for. */
    vss->in_flight = port.state == IC_READY ? operation : 0;
    vss->job = saved.job;
    vss->retry_ns = 0;
    vss->last_status = saved.last_status;
    vss->freezes = saved.freezes;
    vss->thaws = saved.thaws;
    vss->thaws_refused = saved.thaws_refused;
    vss->late = saved.late;
    vmbus_vss_schedule(vss);
    return NULL;
}
