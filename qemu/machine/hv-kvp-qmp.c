/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP commands and event of the key-value service. */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "qapi/qapi-types-common.h"
#include "qapi/util.h"
#include "hv-kvp.h"

#define DEFAULT_TIMEOUT_MS 10000

static const VMBusKvpPool qapi_pools[] = {
    [VMBUS_KVP_EXTERNAL] = VM_BUS_KVP_POOL_EXTERNAL,
    [VMBUS_KVP_GUEST] = VM_BUS_KVP_POOL_GUEST,
    [VMBUS_KVP_AUTO] = VM_BUS_KVP_POOL_AUTO,
    [VMBUS_KVP_AUTO_EXTERNAL] = VM_BUS_KVP_POOL_AUTO_EXTERNAL,
    [VMBUS_KVP_AUTO_INTERNAL] = VM_BUS_KVP_POOL_AUTO_INTERNAL,
};

static const VMBusKvpOperation qapi_operations[] = {
    [VMBUS_KVP_LIST] = VM_BUS_KVP_OPERATION_LIST,
    [VMBUS_KVP_FIND] = VM_BUS_KVP_OPERATION_FIND,
    [VMBUS_KVP_GET] = VM_BUS_KVP_OPERATION_GET,
    [VMBUS_KVP_SET] = VM_BUS_KVP_OPERATION_SET,
    [VMBUS_KVP_DELETE] = VM_BUS_KVP_OPERATION_DELETE,
    [VMBUS_KVP_GET_IP] = VM_BUS_KVP_OPERATION_GET_IP,
    [VMBUS_KVP_SET_IP] = VM_BUS_KVP_OPERATION_SET_IP,
};

static const VMBusKvpType qapi_types[] = {
    [VMBUS_KVP_STRING] = VM_BUS_KVP_TYPE_STRING,
    [VMBUS_KVP_U32] = VM_BUS_KVP_TYPE_U32,
    [VMBUS_KVP_U64] = VM_BUS_KVP_TYPE_U64,
};

static const VMBusKvpJobState qapi_job_states[] = {
    [VMBUS_KVP_WAITING] = VM_BUS_KVP_JOB_STATE_WAITING,
    [VMBUS_KVP_RUNNING] = VM_BUS_KVP_JOB_STATE_RUNNING,
    [VMBUS_KVP_ENDED] = VM_BUS_KVP_JOB_STATE_ENDED,
};

/* Of jobs that have ended; the others are errors of commands. */
static const VMBusKvpResult qapi_results[VMBUS_KVP_RESULTS] = {
    [VMBUS_KVP_OK] = VM_BUS_KVP_RESULT_OK,
    [VMBUS_KVP_RING_TOO_SMALL] = VM_BUS_KVP_RESULT_RING_TOO_SMALL,
    [VMBUS_KVP_GONE] = VM_BUS_KVP_RESULT_GONE,
    [VMBUS_KVP_TIMEOUT] = VM_BUS_KVP_RESULT_TIMEOUT,
    [VMBUS_KVP_NEVER_SENT] = VM_BUS_KVP_RESULT_NOT_SENT,
    [VMBUS_KVP_NO_SUCH_KEY] = VM_BUS_KVP_RESULT_NO_SUCH_KEY,
    [VMBUS_KVP_NO_SUCH_ADAPTER] = VM_BUS_KVP_RESULT_NO_SUCH_ADAPTER,
    [VMBUS_KVP_NOT_SUPPORTED] = VM_BUS_KVP_RESULT_NOT_SUPPORTED,
    [VMBUS_KVP_INVALID] = VM_BUS_KVP_RESULT_INVALID,
    [VMBUS_KVP_NOT_CONNECTED] = VM_BUS_KVP_RESULT_NOT_CONNECTED,
    [VMBUS_KVP_FAILED] = VM_BUS_KVP_RESULT_FAILED,
    [VMBUS_KVP_BAD_ANSWER] = VM_BUS_KVP_RESULT_DAMAGED,
};

/* The engine's pools and types stand in the order of the schema's. */
QEMU_BUILD_BUG_ON((int)VM_BUS_KVP_POOL_AUTO_INTERNAL !=
                  (int)VMBUS_KVP_AUTO_INTERNAL);
QEMU_BUILD_BUG_ON((int)VM_BUS_KVP_TYPE_U64 != (int)VMBUS_KVP_U64);

void hv_kvp_send_ended(const VmbusKvpJob *job)
{
    qapi_event_send_vmbus_kvp_ended(job->id, qapi_results[job->result]);
}

static VMBusJob *start(VmbusKvpRequest *req, bool has_timeout_ms,
                       uint32_t timeout_ms, Error **errp)
{
    VmbusKvp *engine = hv_kvp_find(errp);
    VmbusKvpResult result;
    VMBusJob *job;
    uint64_t id;

    if (!engine) {
        return NULL;
    }
    req->timeout_ns =
        (has_timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS) * (uint64_t)SCALE_MS;
    result = vmbus_kvp_start(engine, req, &id);
    if (result != VMBUS_KVP_OK) {
        error_set(errp,
                  result == VMBUS_KVP_NOT_OPEN ? ERROR_CLASS_DEVICE_NOT_ACTIVE
                                               : ERROR_CLASS_GENERIC_ERROR,
                  "%s", vmbus_kvp_result_sentence(result));
        return NULL;
    }
    job = g_new0(VMBusJob, 1);
    job->job = id;
    return job;
}

VMBusJob *qmp_vmbus_kvp_list(VMBusKvpPool pool, bool has_timeout_ms,
                             uint32_t timeout_ms, Error **errp)
{
    VmbusKvpRequest req = {
        .operation = VMBUS_KVP_LIST,
        .pool = (VmbusKvpPool)pool,
    };

    return start(&req, has_timeout_ms, timeout_ms, errp);
}

VMBusJob *qmp_vmbus_kvp_get(VMBusKvpPool pool, const char *key, bool has_direct,
                            bool direct, bool has_timeout_ms,
                            uint32_t timeout_ms, Error **errp)
{
    VmbusKvpRequest req = {
        .operation = has_direct && direct ? VMBUS_KVP_GET : VMBUS_KVP_FIND,
        .pool = (VmbusKvpPool)pool,
        .key = key,
    };

    return start(&req, has_timeout_ms, timeout_ms, errp);
}

VMBusJob *qmp_vmbus_kvp_set(VMBusKvpPool pool, const char *key,
                            const char *value, bool has_type, VMBusKvpType type,
                            bool has_timeout_ms, uint32_t timeout_ms,
                            Error **errp)
{
    VmbusKvpRequest req = {
        .operation = VMBUS_KVP_SET,
        .pool = (VmbusKvpPool)pool,
        .key = key,
        .type = has_type ? (VmbusKvpType)type : VMBUS_KVP_STRING,
        .text = value,
    };

    if (req.type != VMBUS_KVP_STRING &&
        qemu_strtou64(value, NULL, 10, &req.number) < 0) {
        error_setg(errp, "the value is no number in decimal");
        return NULL;
    }
    return start(&req, has_timeout_ms, timeout_ms, errp);
}

VMBusJob *qmp_vmbus_kvp_delete(VMBusKvpPool pool, const char *key,
                               bool has_timeout_ms, uint32_t timeout_ms,
                               Error **errp)
{
    VmbusKvpRequest req = {
        .operation = VMBUS_KVP_DELETE,
        .pool = (VmbusKvpPool)pool,
        .key = key,
    };

    return start(&req, has_timeout_ms, timeout_ms, errp);
}

VMBusJob *qmp_vmbus_ip_get(const char *adapter, bool has_timeout_ms,
                           uint32_t timeout_ms, Error **errp)
{
    VmbusKvpRequest req = {.operation = VMBUS_KVP_GET_IP, .key = adapter};

    return start(&req, has_timeout_ms, timeout_ms, errp);
}

static char **to_strv(const strList *list)
{
    GPtrArray *array = g_ptr_array_new();

    for (; list; list = list->next) {
        g_ptr_array_add(array, g_strdup(list->value));
    }
    g_ptr_array_add(array, NULL);
    return (char **)g_ptr_array_free(array, FALSE);
}

VMBusJob *qmp_vmbus_ip_set(const char *adapter, VMBusIpSettings *settings,
                           bool has_timeout_ms, uint32_t timeout_ms,
                           Error **errp)
{
    VmbusKvpIp ip = {
        .ipv4 = settings->ipv4,
        .ipv6 = settings->ipv6,
        .dhcp = settings->dhcp,
        .addresses = to_strv(settings->addresses),
        .subnets = to_strv(settings->subnets),
        .gateways = to_strv(settings->gateways),
        .dns = to_strv(settings->dns),
    };
    VmbusKvpRequest req = {
        .operation = VMBUS_KVP_SET_IP, .key = adapter, .ip = &ip};
    VMBusJob *job = start(&req, has_timeout_ms, timeout_ms, errp);

    vmbus_kvp_ip_clear(&ip);
    return job;
}

static strList *from_strv(char **strv)
{
    strList *list = NULL, **tail = &list;

    for (; strv && *strv; strv++) {
        QAPI_LIST_APPEND(tail, g_strdup(*strv));
    }
    return list;
}

static VMBusIpSettings *describe_ip(const VmbusKvpIp *ip)
{
    VMBusIpSettings *out = g_new0(VMBusIpSettings, 1);

    out->ipv4 = ip->ipv4;
    out->ipv6 = ip->ipv6;
    out->dhcp = ip->dhcp;
    out->addresses = from_strv(ip->addresses);
    out->subnets = from_strv(ip->subnets);
    out->gateways = from_strv(ip->gateways);
    out->dns = from_strv(ip->dns);
    return out;
}

static VMBusKvpItem *describe_item(const VmbusKvpItem *item)
{
    VMBusKvpItem *out = g_new0(VMBusKvpItem, 1);

    out->key = g_strdup(item->key);
    out->type = qapi_types[item->type];
    out->value = item->text ? g_strdup(item->text)
                            : g_strdup_printf("%" PRIu64, item->number);
    return out;
}

VMBusKvpJobInfo *qmp_query_vmbus_kvp(uint64_t id, Error **errp)
{
    VmbusKvp *engine = hv_kvp_find(errp);
    const VmbusKvpJob *job = engine ? vmbus_kvp_job(engine, id) : NULL;
    VMBusKvpJobInfo *out;
    VMBusKvpItemList **tail;

    if (!job) {
        if (engine) {
            error_setg(errp, "the key-value service has no job %" PRIu64, id);
        }
        return NULL;
    }
    out = g_new0(VMBusKvpJobInfo, 1);
    out->job = id;
    out->operation = qapi_operations[job->operation];
    out->has_pool = job->operation < VMBUS_KVP_GET_IP;
    out->pool = qapi_pools[job->pool];
    out->state = qapi_job_states[job->state];
    if (job->state == VMBUS_KVP_ENDED) {
        out->has_result = true;
        out->result = qapi_results[job->result];
        out->message = g_strdup(vmbus_kvp_result_sentence(job->result));
    }
    out->status = job->status;
    out->skipped = job->skipped;
    out->refusal = g_strdup(job->refusal);
    out->truncated = job->truncated;
    tail = &out->items;
    for (guint i = 0; i < job->items->len; i++) {
        QAPI_LIST_APPEND(tail, describe_item(job->items->pdata[i]));
    }
    if (job->ip.addresses) {
        out->ip = describe_ip(&job->ip);
    }
    return out;
}
