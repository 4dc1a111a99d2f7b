/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP commands and event of the backup service. */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "migration/misc.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "hv-vss.h"

#define DEFAULT_HOLD_MS    10000
#define DEFAULT_TIMEOUT_MS 60000

static const VMBusVssState qapi_states[] = {
    [VMBUS_VSS_IDLE] = VM_BUS_VSS_STATE_IDLE,
    [VMBUS_VSS_CHECKING] = VM_BUS_VSS_STATE_CHECKING,
    [VMBUS_VSS_FREEZING] = VM_BUS_VSS_STATE_FREEZING,
    [VMBUS_VSS_FROZEN] = VM_BUS_VSS_STATE_FROZEN,
    [VMBUS_VSS_THAWING] = VM_BUS_VSS_STATE_THAWING,
    [VMBUS_VSS_FAILED] = VM_BUS_VSS_STATE_FAILED,
};

/* VMBUS_VSS_NO_REASON has none. */
static const VMBusVssReason qapi_reasons[] = {
    [VMBUS_VSS_DISABLED] = VM_BUS_VSS_REASON_DISABLED,
    [VMBUS_VSS_NOT_PREPARED] = VM_BUS_VSS_REASON_NOT_READY,
    [VMBUS_VSS_REFUSED] = VM_BUS_VSS_REASON_REFUSED,
    [VMBUS_VSS_TIMEOUT] = VM_BUS_VSS_REASON_TIMEOUT,
    [VMBUS_VSS_HOLD_OVER] = VM_BUS_VSS_REASON_HOLD_OVER,
    [VMBUS_VSS_LIMIT] = VM_BUS_VSS_REASON_LIMIT,
    [VMBUS_VSS_CANCELLED] = VM_BUS_VSS_REASON_CANCELLED,
    [VMBUS_VSS_THAWED] = VM_BUS_VSS_REASON_THAWED,
    [VMBUS_VSS_SHUTDOWN] = VM_BUS_VSS_REASON_SHUTDOWN,
    [VMBUS_VSS_MIGRATION] = VM_BUS_VSS_REASON_MIGRATION,
    [VMBUS_VSS_MOVED] = VM_BUS_VSS_REASON_MOVED,
    [VMBUS_VSS_GONE] = VM_BUS_VSS_REASON_GONE,
    [VMBUS_VSS_RESET] = VM_BUS_VSS_REASON_RESET,
    [VMBUS_VSS_NOT_THAWED] = VM_BUS_VSS_REASON_NOT_THAWED,
    [VMBUS_VSS_LAPSED] = VM_BUS_VSS_REASON_LAPSED,
};

static const VMBusVssService qapi_services[] = {
    [VMBUS_VSS_CLOSED] = VM_BUS_VSS_SERVICE_CLOSED,
    [VMBUS_VSS_NEGOTIATING] = VM_BUS_VSS_SERVICE_NEGOTIATING,
    [VMBUS_VSS_READY] = VM_BUS_VSS_SERVICE_READY,
    [VMBUS_VSS_UNUSABLE] = VM_BUS_VSS_SERVICE_UNUSABLE,
};

void hv_vss_send_change(const VmbusVssInfo *info)
{
    qapi_event_send_vmbus_vss_change(qapi_states[info->state], info->job,
                                     info->reason != VMBUS_VSS_NO_REASON,
                                     qapi_reasons[info->reason]);
}

VMBusVssInfo *hv_vss_describe(HvVss *vss)
{
    VMBusVssInfo *out = g_new0(VMBusVssInfo, 1);
    VmbusVssInfo v;

    vmbus_vss_info(vss->engine, &v);
    out->state = qapi_states[v.state];
    out->service = qapi_services[v.service];
    out->framework_version = hv_version_string(v.framework_version);
    out->message_version = hv_version_string(v.message_version);
    out->thaw_owed = vmbus_vss_owes_thaw(vss->engine);
    out->job = v.job;
    out->freezes = v.freezes;
    out->thaws = v.thaws;
    out->thaws_refused = v.thaws_refused;
    out->late_answers = v.late;
    if (v.reason != VMBUS_VSS_NO_REASON) {
        out->has_reason = true;
        out->reason = qapi_reasons[v.reason];
        out->message = g_strdup(vmbus_vss_reason_sentence(v.reason));
    }
    if (v.state == VMBUS_VSS_CHECKING || v.state == VMBUS_VSS_FREEZING ||
        v.state == VMBUS_VSS_FROZEN) {
        out->has_left_ms = true;
        out->left_ms = v.left_ns / SCALE_MS;
    }
    if (v.state == VMBUS_VSS_FROZEN) {
        out->has_frozen_ms = true;
        out->frozen_ms = v.frozen_ns / SCALE_MS;
    }
    return out;
}

static void complain(VmbusVssResult result, Error **errp)
{
    error_set(errp,
              result == VMBUS_VSS_NOT_OPEN ? ERROR_CLASS_DEVICE_NOT_ACTIVE
                                           : ERROR_CLASS_GENERIC_ERROR,
              "%s", vmbus_vss_result_sentence(result));
}

VMBusVssInfo *qmp_query_vmbus_vss(Error **errp)
{
    HvVss *vss = hv_vss_find(errp);

    return vss ? hv_vss_describe(vss) : NULL;
}

VMBusVssJob *qmp_vmbus_vss_freeze(bool has_hold_ms, uint32_t hold_ms,
                                  bool has_timeout_ms, uint32_t timeout_ms,
                                  Error **errp)
{
    HvVss *vss = hv_vss_find(errp);
    VmbusVssResult result;
    VMBusVssJob *job;
    uint64_t id;

    if (!vss) {
        return NULL;
    }
    if (migration_is_running()) {
        error_setg(errp, "the machine is being migrated; freeze it when it "
                         "has arrived");
        return NULL;
    }
    if (!has_hold_ms) {
        hold_ms = MIN(DEFAULT_HOLD_MS, vss->freeze_limit * 1000ULL);
    }
    if (!has_timeout_ms) {
        timeout_ms = DEFAULT_TIMEOUT_MS;
    }
    result = vmbus_vss_freeze(vss->engine, (uint64_t)hold_ms * SCALE_MS,
                              (uint64_t)timeout_ms * SCALE_MS, &id);
    if (result != VMBUS_VSS_OK) {
        complain(result, errp);
        return NULL;
    }
    job = g_new0(VMBusVssJob, 1);
    job->job = id;
    return job;
}

VMBusVssHold *qmp_vmbus_vss_renew(uint64_t job, bool has_hold_ms,
                                  uint32_t hold_ms, Error **errp)
{
    HvVss *vss = hv_vss_find(errp);
    VmbusVssResult result;
    VMBusVssHold *hold;
    uint64_t granted;

    if (!vss) {
        return NULL;
    }
    if (has_hold_ms && !hold_ms) {
        complain(VMBUS_VSS_BAD_HOLD, errp);
        return NULL;
    }
    result = vmbus_vss_renew(vss->engine, job,
                             has_hold_ms ? (uint64_t)hold_ms * SCALE_MS : 0,
                             &granted);
    if (result != VMBUS_VSS_OK) {
        complain(result, errp);
        return NULL;
    }
    hold = g_new0(VMBusVssHold, 1);
    hold->hold_ms = granted / SCALE_MS;
    return hold;
}

void qmp_vmbus_vss_thaw(Error **errp)
{
    HvVss *vss = hv_vss_find(errp);
    VmbusVssResult result;

    if (!vss) {
        return;
    }
    result = vmbus_vss_thaw(vss->engine, VMBUS_VSS_THAWED);
    if (result != VMBUS_VSS_OK) {
        complain(result, errp);
    }
}
