/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-kvp: the key-value service, with its QMP commands and event.
 *
 * Time limits are on QEMU_CLOCK_REALTIME: a caller gets an answer while the
 * machine is stopped, too.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/qapi-events-vmbus.h"
#include "qapi/qapi-types-common.h"
#include "qapi/util.h"
#include "devices/ic.h"
#include "devices/kvp.h"
#include "hv-bridge.h"
#include "hv-service-events.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_KVP "hv-kvp"
OBJECT_DECLARE_SIMPLE_TYPE(HvKvp, HV_KVP)

struct HvKvp {
    HvDevice parent_obj;

    VmbusKvp *engine;
    QEMUTimer *timer;
};

#define DEFAULT_TIMEOUT_MS 10000

static const VMBusServiceState qapi_states[] = {
    [VMBUS_KVP_CLOSED] = VM_BUS_SERVICE_STATE_CLOSED,
    [VMBUS_KVP_NEGOTIATING] = VM_BUS_SERVICE_STATE_NEGOTIATING,
    [VMBUS_KVP_READY] = VM_BUS_SERVICE_STATE_READY,
};

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

static void kvp_ended(void *opaque, const VmbusKvpJob *job)
{
    trace_hv_kvp_ended(job->id, vmbus_kvp_result_sentence(job->result),
                       job->status);
    qapi_event_send_vmbus_kvp_ended(job->id, qapi_results[job->result]);
    hv_service_changed();
}

static void kvp_changed(void *opaque, VmbusKvpState state)
{
    trace_hv_kvp_change(vmbus_kvp_state_name(state));
    hv_service_changed();
}

static void kvp_wake_at(void *opaque, uint64_t when_ns)
{
    HvKvp *kvp = opaque;

    if (when_ns > INT64_MAX) {
        timer_del(kvp->timer);
    } else {
        timer_mod_ns(kvp->timer, when_ns);
    }
}

static uint64_t kvp_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static const VmbusKvpOps kvp_ops = {
    .ended = kvp_ended,
    .changed = kvp_changed,
    .wake_at = kvp_wake_at,
    .now_ns = kvp_now_ns,
};

static void kvp_timer(void *opaque)
{
    vmbus_kvp_tick(((HvKvp *)opaque)->engine);
}

static void *kvp_create(HvDevice *dev, Error **errp)
{
    HvKvp *kvp = HV_KVP(dev);

    kvp->timer = timer_new_ns(QEMU_CLOCK_REALTIME, kvp_timer, kvp);
    kvp->engine = vmbus_kvp_new(&kvp_ops, kvp);
    return kvp->engine;
}

static void kvp_destroy(HvDevice *dev)
{
    HvKvp *kvp = HV_KVP(dev);

    vmbus_kvp_free(kvp->engine);
    timer_free(kvp->timer);
}

static GByteArray *kvp_save(HvDevice *dev)
{
    return vmbus_kvp_save(HV_KVP(dev)->engine);
}

static const char *kvp_load(HvDevice *dev, const void *data, size_t len)
{
    return vmbus_kvp_load(HV_KVP(dev)->engine, dev->chan, data, len);
}

static void kvp_describe(HvDevice *dev, VMBusDeviceInfo *info)
{
    VMBusKvpInfo *out = g_new0(VMBusKvpInfo, 1);
    VmbusKvpInfo kvp;

    vmbus_kvp_info(HV_KVP(dev)->engine, &kvp);
    out->state = qapi_states[kvp.state];
    out->framework_version = hv_version_string(kvp.framework_version);
    out->message_version = hv_version_string(kvp.message_version);
    out->jobs = kvp.jobs;
    out->answer_missing = kvp.answer_missing;
    out->requests = kvp.requests;
    info->kvp = out;
    hv_describe_service(info, vmbus_kvp_port(HV_KVP(dev)->engine));
}

/* QMP */

static HvKvp *find(Error **errp)
{
    Object *obj = object_resolve_path_type("", TYPE_HV_KVP, NULL);

    if (!obj || !DEVICE(obj)->realized) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "the machine has no hv-kvp device");
        return NULL;
    }
    return HV_KVP(obj);
}

static VMBusJob *start(VmbusKvpRequest *req, bool has_timeout_ms,
                       uint32_t timeout_ms, Error **errp)
{
    HvKvp *kvp = find(errp);
    VmbusKvpResult result;
    VMBusJob *job;
    uint64_t id;

    if (!kvp) {
        return NULL;
    }
    req->timeout_ns = (has_timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS) *
                      (uint64_t)SCALE_MS;
    result = vmbus_kvp_start(kvp->engine, req, &id);
    if (result != VMBUS_KVP_OK) {
        error_set(errp,
                  result == VMBUS_KVP_NOT_OPEN ? ERROR_CLASS_DEVICE_NOT_ACTIVE :
                                                 ERROR_CLASS_GENERIC_ERROR,
                  "%s", vmbus_kvp_result_sentence(result));
        return NULL;
    }
    job = g_new0(VMBusJob, 1);
    job->job = id;
    return job;
}

/* The engine's pools stand in the order of the schema's. */
QEMU_BUILD_BUG_ON((int)VM_BUS_KVP_POOL_AUTO_INTERNAL !=
                  (int)VMBUS_KVP_AUTO_INTERNAL);
QEMU_BUILD_BUG_ON((int)VM_BUS_KVP_TYPE_U64 != (int)VMBUS_KVP_U64);

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
    out->value = item->text ? g_strdup(item->text) :
                              g_strdup_printf("%" PRIu64, item->number);
    return out;
}

VMBusKvpJobInfo *qmp_query_vmbus_kvp(uint64_t id, Error **errp)
{
    HvKvp *kvp = find(errp);
    const VmbusKvpJob *job = kvp ? vmbus_kvp_job(kvp->engine, id) : NULL;
    VMBusKvpJobInfo *out;
    VMBusKvpItemList **tail;

    if (!job) {
        if (kvp) {
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

static void kvp_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    HvDeviceClass *hc = VMBUS_DEVICE_CLASS(klass);

    dc->desc = "Hyper-V key-value service (data exchange)";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    hc->offer = &vmbus_kvp_offer;
    hc->channel_ops = &vmbus_kvp_channel_ops;
    hc->fixed_instanceid = true;
    hc->create = kvp_create;
    hc->destroy = kvp_destroy;
    hc->save = kvp_save;
    hc->load = kvp_load;
    hc->describe = kvp_describe;
}

static const TypeInfo kvp_type_info = {
    .name = TYPE_HV_KVP,
    .parent = TYPE_VMBUS_DEVICE,
    .instance_size = sizeof(HvKvp),
    .class_init = kvp_class_init,
};

static void kvp_register_types(void)
{
    type_register_static(&kvp_type_info);
}

type_init(kvp_register_types)
