/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/kvp.h"

#include <string.h>

#include "devices/ic-state.h"
#include "devices/kvp-wire.h"

typedef struct Job {
    VmbusKvpJob pub;
    char *key;
    uint64_t deadline_ns;
    KvpRequestBody body;
    bool asked;     /* the guest has the request */
    uint32_t index; /* of the item that is asked for */
    size_t bytes;   /* of keys and values */
} Job;

struct VmbusKvp {
    IcPort port;
    const VmbusKvpOps *ops;
    void *opaque;
    VmbusKvpState state;
    GQueue jobs;  /* Job *; the first has its turn */
    GQueue ended; /* Job *, the oldest first */
    uint64_t next_id, requests;
};

/*
 * Linux knows 1.0, 3.0 and 4.0; 5.0 is from OpenVMM.  The messages are the
 * same in all, but for IP settings.
 */
static const uint32_t kvp_versions[] = {
    IC_VERSION(1, 0),
    IC_VERSION(3, 0),
    IC_VERSION(4, 0),
    IC_VERSION(5, 0),
};

const VmbusOffer vmbus_kvp_offer = {
    .name = "kvp",
    .class_id = IC_KVP_CLASS,
    .instance_id = IC_KVP_INSTANCE,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
    .pipe = true,
};

const char *vmbus_kvp_state_name(VmbusKvpState state)
{
    static const char *const names[] = {
        [VMBUS_KVP_CLOSED] = "closed",
        [VMBUS_KVP_NEGOTIATING] = "negotiating",
        [VMBUS_KVP_READY] = "ready",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *vmbus_kvp_pool_name(VmbusKvpPool pool)
{
    static const char *const names[] = {
        [VMBUS_KVP_EXTERNAL] = "external",
        [VMBUS_KVP_GUEST] = "guest",
        [VMBUS_KVP_AUTO] = "auto",
        [VMBUS_KVP_AUTO_EXTERNAL] = "auto-external",
        [VMBUS_KVP_AUTO_INTERNAL] = "auto-internal",
    };

    return (unsigned)pool < G_N_ELEMENTS(names) ? names[pool] : "unknown";
}

static const char *const result_sentences[VMBUS_KVP_RESULTS] = {
    [VMBUS_KVP_OK] = "The guest did what was asked.",
    [VMBUS_KVP_NOT_OPEN] = "The guest has not opened the key-value service.",
    [VMBUS_KVP_NOT_READY] =
        "The guest has opened the key-value service, but not agreed to a "
        "version of it; a Linux guest does so when its KVP daemon runs.",
    [VMBUS_KVP_UNUSABLE] =
        "The guest's key-value service cannot be used: it agreed to no "
        "version, or its ring is no good.",
    [VMBUS_KVP_TOO_MANY_JOBS] =
        "Too many requests to the key-value service are waiting.",
    [VMBUS_KVP_BAD_REQUEST] = "The request lacks a part, or has no time limit.",
    [VMBUS_KVP_BAD_POOL] = "There is no such pool.",
    [VMBUS_KVP_NO_KEY] = "A key is needed.",
    [VMBUS_KVP_KEY_NOT_UTF8] = "The key is no valid UTF-8.",
    [VMBUS_KVP_KEY_TOO_LONG] =
        "The key is longer than 254 characters or 511 bytes.",
    [VMBUS_KVP_NO_VALUE] = "A value is needed.",
    [VMBUS_KVP_VALUE_TYPE] =
        "A value that is set is a text, or a number of 32 bits.",
    [VMBUS_KVP_VALUE_NOT_UTF8] = "The value is no valid UTF-8.",
    [VMBUS_KVP_VALUE_TOO_LONG] =
        "The value is longer than 1022 characters or 2047 bytes.",
    [VMBUS_KVP_NO_IP] =
        "The version of the key-value service that the guest agreed to has no "
        "IP settings.",
    [VMBUS_KVP_ADAPTER] =
        "The name of the adapter is missing, longer than 127 characters, or "
        "no valid UTF-8.",
    [VMBUS_KVP_ADDRESS] = "An address is neither IPv4 nor IPv6.",
    [VMBUS_KVP_SUBNET] =
        "A subnet is neither a mask nor the length of a prefix.",
    [VMBUS_KVP_SUBNETS] = "Each address needs one subnet.",
    [VMBUS_KVP_GATEWAY] = "The address of a gateway is neither IPv4 nor IPv6.",
    [VMBUS_KVP_DNS] = "The address of a name server is neither IPv4 nor IPv6.",
    [VMBUS_KVP_IP_TOO_LONG] =
        "The IP settings are longer than a message can hold.",
    [VMBUS_KVP_RING_TOO_SMALL] =
        "The guest's ring is too small for the request.",
    [VMBUS_KVP_GONE] =
        "The guest closed the key-value service before it answered.",
    [VMBUS_KVP_TIMEOUT] = "The guest did not answer in time.",
    [VMBUS_KVP_NEVER_SENT] =
        "The guest did not answer an earlier request in time for this one to "
        "be sent.",
    [VMBUS_KVP_NO_SUCH_KEY] = "The guest has no such key in this pool.",
    [VMBUS_KVP_NO_SUCH_ADAPTER] = "The guest has no such network adapter.",
    [VMBUS_KVP_NOT_SUPPORTED] = "The guest does not support what was asked.",
    [VMBUS_KVP_INVALID] = "The guest found the request invalid.",
    [VMBUS_KVP_NOT_CONNECTED] = "The guest says that the device is not "
                                "connected.",
    [VMBUS_KVP_FAILED] =
        "The guest failed; a Linux guest says so when its KVP daemon has "
        "failed or does not answer.",
    [VMBUS_KVP_BAD_ANSWER] = "The guest's answer is damaged.",
};

const char *vmbus_kvp_result_sentence(VmbusKvpResult result)
{
    return (unsigned)result < VMBUS_KVP_RESULTS
               ? result_sentences[result]
               : "The result of the request is unknown.";
}

void vmbus_kvp_info(const VmbusKvp *kvp, VmbusKvpInfo *info)
{
    const Job *first = g_queue_peek_head((GQueue *)&kvp->jobs);

    *info = (VmbusKvpInfo){
        .state = kvp->state,
        .framework_version = kvp->port.framework_version,
        .message_version = kvp->port.message_version,
        .jobs = kvp->jobs.length,
        .answer_missing = kvp->state == VMBUS_KVP_READY &&
                          kvp->port.in_flight && !(first && first->asked),
        .requests = kvp->requests,
    };
}

const IcPort *vmbus_kvp_port(const VmbusKvp *kvp)
{
    return &kvp->port;
}

/* Jobs */

static void job_free(gpointer data)
{
    Job *job = data;

    g_free(job->key);
    g_ptr_array_unref(job->pub.items);
    vmbus_kvp_ip_clear(&job->pub.ip);
    g_free(job);
}

static void arm(VmbusKvp *kvp)
{
    uint64_t first = UINT64_MAX;

    for (GList *link = kvp->jobs.head; link; link = link->next) {
        first = MIN(first, ((Job *)link->data)->deadline_ns);
    }
    kvp->ops->wake_at(kvp->opaque, first);
}

/* @job is valid until the engine is called again. */
static void end_job(VmbusKvp *kvp, Job *job, VmbusKvpResult result)
{
    g_queue_remove(&kvp->jobs, job);
    job->pub.state = VMBUS_KVP_ENDED;
    job->pub.result = result;
    job->asked = false;
    g_queue_push_tail(&kvp->ended, job);
    if (kvp->ended.length > VMBUS_KVP_KEPT) {
        job_free(g_queue_pop_head(&kvp->ended));
    }
    kvp->ops->ended(kvp->opaque, &job->pub);
}

static void end_all(VmbusKvp *kvp, VmbusKvpResult result)
{
    Job *job;

    while ((job = g_queue_peek_head(&kvp->jobs))) {
        end_job(kvp, job, result);
    }
    arm(kvp);
}

/*
 * Sends the first job's request, if the guest owes no answer.  The channel may
 * close in here, and then there are no jobs any more.
 */
static void pump(VmbusKvp *kvp)
{
    Job *job;

    while (kvp->state == VMBUS_KVP_READY && !kvp->port.in_flight &&
           !kvp->port.wants_room && (job = g_queue_peek_head(&kvp->jobs))) {
        job->pub.state = VMBUS_KVP_RUNNING;
        switch (ic_send(&kvp->port, &job->body, job->body.len, job->pub.id)) {
        case IC_SEND_OK:
            job->asked = true;
            kvp->requests++;
            break;
        case IC_SEND_TOO_LARGE:
            end_job(kvp, job, VMBUS_KVP_RING_TOO_SMALL);
            break;
        default: /* room() comes, or the jobs have ended */
            return;
        }
    }
}

static void set_state(VmbusKvp *kvp, VmbusKvpState state)
{
    if (kvp->state != state) {
        kvp->state = state;
        kvp->ops->changed(kvp->opaque, state);
    }
}

static void port_changed(void *opaque, IcState state)
{
    VmbusKvp *kvp = opaque;

    switch (state) {
    case IC_CLOSED:
        set_state(kvp, VMBUS_KVP_CLOSED);
        break;
    case IC_READY:
        set_state(kvp, VMBUS_KVP_READY);
        break;
    default: /* open, but no request can be sent now or for good */
        set_state(kvp, VMBUS_KVP_NEGOTIATING);
        break;
    }
    if (state != IC_READY) {
        end_all(kvp, VMBUS_KVP_GONE);
    }
}

static VmbusKvpResult result_of_status(uint32_t status)
{
    switch (status) {
    case IC_STATUS_OK:
        return VMBUS_KVP_OK;
    case KVP_STATUS_NO_MORE_ITEMS:
        return VMBUS_KVP_NO_SUCH_KEY;
    case KVP_STATUS_NO_ADAPTER:
        return VMBUS_KVP_NO_SUCH_ADAPTER;
    case IC_STATUS_NOT_SUPPORTED:
        return VMBUS_KVP_NOT_SUPPORTED;
    case KVP_STATUS_INVALID:
        return VMBUS_KVP_INVALID;
    case KVP_STATUS_NOT_CONNECTED:
        return VMBUS_KVP_NOT_CONNECTED;
    default:
        return VMBUS_KVP_FAILED;
    }
}

/* True if it was the last that @job takes. */
static bool take_item(Job *job, VmbusKvpItem *item)
{
    size_t bytes = strlen(item->key) + (item->text ? strlen(item->text) : 8);

    if (job->pub.operation == VMBUS_KVP_FIND && strcmp(item->key, job->key)) {
        vmbus_kvp_item_free(item);
        return false;
    }
    if (job->bytes + bytes > VMBUS_KVP_MAX_BYTES) {
        vmbus_kvp_item_free(item);
        job->pub.truncated = true;
        return true;
    }
    job->bytes += bytes;
    g_ptr_array_add(job->pub.items, item);
    return job->pub.operation == VMBUS_KVP_FIND;
}

/* An item of LIST or FIND.  One that is no good is left out, and counted. */
static const char *enumerated(VmbusKvp *kvp, Job *job, const IcAnswer *answer)
{
    bool find = job->pub.operation == VMBUS_KVP_FIND;
    VmbusKvpItem *item = NULL;
    const char *why = NULL;

    if (answer->status == KVP_STATUS_NO_MORE_ITEMS) {
        end_job(kvp, job, find ? VMBUS_KVP_NO_SUCH_KEY : VMBUS_KVP_OK);
        return NULL;
    }
    if (answer->status != IC_STATUS_OK) {
        end_job(kvp, job, result_of_status(answer->status));
        return NULL;
    }
    why = kvp_read_enumerated(answer->body, answer->body_len, &item);
    if (why) {
        job->pub.refusal = why;
        job->pub.skipped++;
    } else if (take_item(job, item)) {
        end_job(kvp, job, VMBUS_KVP_OK);
        return NULL;
    }
    job->index++;
    if (job->index == VMBUS_KVP_MAX_ITEMS) {
        job->pub.truncated = true;
        end_job(kvp, job, find ? VMBUS_KVP_NO_SUCH_KEY : VMBUS_KVP_OK);
    } else {
        kvp_put_index(&job->body, job->index);
    }
    return why;
}

/* The one answer of any other job. */
static const char *answered(VmbusKvp *kvp, Job *job, const IcAnswer *answer)
{
    VmbusKvpResult result = result_of_status(answer->status);
    VmbusKvpItem *item = NULL;
    const char *why = NULL;

    if (result == VMBUS_KVP_OK && job->pub.operation == VMBUS_KVP_GET) {
        why = kvp_read_got(answer->body, answer->body_len, job->key, &item);
        if (item) {
            g_ptr_array_add(job->pub.items, item);
        }
    } else if (result == VMBUS_KVP_OK &&
               job->pub.operation == VMBUS_KVP_GET_IP) {
        why = kvp_read_ip(answer->body, answer->body_len,
                          kvp->port.message_version, &job->pub.ip);
    }
    job->pub.refusal = why;
    end_job(kvp, job, why ? VMBUS_KVP_BAD_ANSWER : result);
    return why;
}

/* An answer to a job whose time was over is late, and that is no refusal. */
static const char *port_answered(void *opaque, const IcAnswer *answer)
{
    VmbusKvp *kvp = opaque;
    Job *job = g_queue_peek_head(&kvp->jobs);
    const char *why = NULL;

    if (job && job->asked && job->pub.id == answer->cookie) {
        job->asked = false;
        job->pub.status = answer->status;
        why = job->pub.operation <= VMBUS_KVP_FIND
                  ? enumerated(kvp, job, answer)
                  : answered(kvp, job, answer);
    }
    pump(kvp);
    arm(kvp);
    return why;
}

static void port_room(void *opaque)
{
    pump(opaque);
}

static const IcService kvp_service = {
    .message_type = IC_MESSAGE_KVP,
    .max_in_flight = 1,
    .version_count = G_N_ELEMENTS(kvp_versions),
    .versions = kvp_versions,
    .state_changed = port_changed,
    .answer = port_answered,
    .room = port_room,
};

void vmbus_kvp_tick(VmbusKvp *kvp)
{
    uint64_t now = kvp->ops->now_ns(kvp->opaque);
    GList *link = kvp->jobs.head;

    while (link) {
        Job *job = link->data;

        link = link->next;
        if (job->deadline_ns <= now) {
            end_job(kvp, job,
                    job->pub.state == VMBUS_KVP_RUNNING ? VMBUS_KVP_TIMEOUT
                                                        : VMBUS_KVP_NEVER_SENT);
        }
    }
    pump(kvp);
    arm(kvp);
}

static VmbusKvpResult validate_state(const VmbusKvp *kvp)
{
    switch (kvp->port.state) {
    case IC_CLOSED:
        return VMBUS_KVP_NOT_OPEN;
    case IC_NEGOTIATING:
        return VMBUS_KVP_NOT_READY;
    case IC_READY:
        return kvp->jobs.length < VMBUS_KVP_MAX_JOBS ? VMBUS_KVP_OK
                                                     : VMBUS_KVP_TOO_MANY_JOBS;
    default:
        return VMBUS_KVP_UNUSABLE;
    }
}

VmbusKvpResult vmbus_kvp_start(VmbusKvp *kvp, const VmbusKvpRequest *req,
                               uint64_t *id)
{
    uint64_t now = kvp->ops->now_ns(kvp->opaque);
    VmbusKvpResult result = validate_state(kvp);
    Job *job;

    if (result != VMBUS_KVP_OK) {
        return result;
    }
    job = g_new0(Job, 1);
    job->pub.items =
        g_ptr_array_new_with_free_func((GDestroyNotify)vmbus_kvp_item_free);
    result = kvp_put_request(&job->body, req, kvp->port.message_version);
    if (result != VMBUS_KVP_OK) {
        job_free(job);
        return result;
    }
    job->pub.id = *id = kvp->next_id++;
    job->pub.operation = req->operation;
    job->pub.pool = req->pool;
    job->key = g_strdup(req->key);
    job->deadline_ns = now + MIN(req->timeout_ns, UINT64_MAX - 1 - now);
    g_queue_push_tail(&kvp->jobs, job);
    pump(kvp);
    arm(kvp);
    return VMBUS_KVP_OK;
}

const VmbusKvpJob *vmbus_kvp_job(const VmbusKvp *kvp, uint64_t id)
{
    const GQueue *queues[] = {&kvp->jobs, &kvp->ended};

    for (size_t i = 0; i < G_N_ELEMENTS(queues); i++) {
        for (GList *link = queues[i]->head; link; link = link->next) {
            Job *job = link->data;

            if (job->pub.id == id) {
                return &job->pub;
            }
        }
    }
    return NULL;
}

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    ic_opened(&((VmbusKvp *)opaque)->port, chan);
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    ic_closed(&((VmbusKvp *)opaque)->port);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    ic_signalled(&((VmbusKvp *)opaque)->port);
}

const VmbusChannelOps vmbus_kvp_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

VmbusKvp *vmbus_kvp_new(const VmbusKvpOps *ops, void *opaque)
{
    VmbusKvp *kvp = g_new0(VmbusKvp, 1);

    kvp->ops = ops;
    kvp->opaque = opaque;
    kvp->next_id = 1;
    g_queue_init(&kvp->jobs);
    g_queue_init(&kvp->ended);
    ic_init(&kvp->port, &kvp_service, kvp);
    return kvp;
}

void vmbus_kvp_free(VmbusKvp *kvp)
{
    g_queue_clear_full(&kvp->jobs, job_free);
    g_queue_clear_full(&kvp->ended, job_free);
    g_free(kvp);
}

/* Saved state */

#define KVP_STATE_MAGIC   0x564b4d56u /* "VMKV" */
#define KVP_STATE_VERSION 1

typedef struct SavedKvp {
    uint64_t next_id, requests;
    bool has_port;
    IcPort *port; /* while loading */
    VmbusChannel *chan;
} SavedKvp;

static const VmbusBlobField kvp_fields[] = {
    VMBUS_BLOB_FIELD(1, SavedKvp, next_id, UINT64_MAX),
    VMBUS_BLOB_FIELD(2, SavedKvp, requests, UINT64_MAX),
};

/* A request that found no room is a job's, and stays behind with it. */
GByteArray *vmbus_kvp_save(const VmbusKvp *kvp)
{
    GByteArray *blob = vmbus_blob_new(KVP_STATE_MAGIC, KVP_STATE_VERSION);
    SavedKvp saved = {.next_id = kvp->next_id, .requests = kvp->requests};
    IcPort port = kvp->port;

    port.wants_room = false;
    vmbus_blob_put_fields(blob, kvp_fields, G_N_ELEMENTS(kvp_fields), &saved);
    ic_save(&port, blob);
    return blob;
}

static const char *saved_item(void *opaque, const VmbusBlobItem *item)
{
    SavedKvp *saved = opaque;

    if (item->tag != IC_STATE_PORT) {
        return vmbus_blob_unknown;
    }
    saved->has_port = true;
    return ic_load(saved->port, saved->chan, item);
}

const char *vmbus_kvp_load(VmbusKvp *kvp, VmbusChannel *chan, const void *data,
                           size_t len)
{
    const uint8_t *at = data;
    IcPort port = kvp->port;
    SavedKvp saved = {.port = &port, .chan = chan};
    const char *why;

    why = vmbus_blob_begin(&at, &len, KVP_STATE_MAGIC, KVP_STATE_VERSION);
    if (!why) {
        why = vmbus_blob_read(at, len, kvp_fields, G_N_ELEMENTS(kvp_fields),
                              &saved, saved_item, &saved);
    }
    if (why) {
        return why;
    }
    if (!saved.has_port || !saved.next_id || port.wants_room) {
        return "The saved key-value service does not agree with itself.";
    }
    kvp->port = port;
    kvp->state = port.state == IC_CLOSED  ? VMBUS_KVP_CLOSED
                 : port.state == IC_READY ? VMBUS_KVP_READY
                                          : VMBUS_KVP_NEGOTIATING;
    kvp->next_id = MAX(kvp->next_id, saved.next_id);
    kvp->requests = saved.requests;
    end_all(kvp, VMBUS_KVP_GONE);
    return NULL;
}
