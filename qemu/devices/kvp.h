/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Key-value service (data exchange): reads and writes the pools of keys and
 * values that host and guest share, and the guest's IP settings.
 *
 * Each command is a job with a time limit, and every job ends with a result:
 * at the latest when its time is over or the channel closes.  The guest gets
 * one request at a time; other jobs wait.  No job is part of a saved state.
 */
#ifndef VMBUS_KVP_H
#define VMBUS_KVP_H

#include <glib.h>

#include "bus/channel.h"

typedef struct VmbusKvp VmbusKvp;
struct IcPort;

/* As on the wire. */
typedef enum VmbusKvpPool {
    VMBUS_KVP_EXTERNAL,      /* the host's, for the guest to read */
    VMBUS_KVP_GUEST,         /* the guest's, for the host to read */
    VMBUS_KVP_AUTO,          /* what the guest says of itself: its intrinsics */
    VMBUS_KVP_AUTO_EXTERNAL, /* what the host says of itself */
    VMBUS_KVP_AUTO_INTERNAL,
    VMBUS_KVP_POOLS,
} VmbusKvpPool;

typedef enum VmbusKvpOperation {
    VMBUS_KVP_LIST, /* all items of a pool, with ENUMERATE */
    /*
     * One item, with ENUMERATE: GET of Linux returns an empty value, and knows
     * nothing of the pool "auto" (6.1, 6.12).
     */
    VMBUS_KVP_FIND,
    VMBUS_KVP_GET, /* one item, with GET */
    VMBUS_KVP_SET,
    VMBUS_KVP_DELETE,
    VMBUS_KVP_GET_IP,
    VMBUS_KVP_SET_IP,
    VMBUS_KVP_OPERATIONS,
} VmbusKvpOperation;

typedef enum VmbusKvpType {
    VMBUS_KVP_STRING,
    VMBUS_KVP_U32,
    VMBUS_KVP_U64, /* read only: Windows and Linux disagree on its number */
} VmbusKvpType;

typedef struct VmbusKvpItem {
    char *key; /* UTF-8, never NULL */
    VmbusKvpType type;
    char *text; /* UTF-8; NULL if the value is a number */
    uint64_t number;
} VmbusKvpItem;

/* IP settings of one adapter.  The lists end with NULL, or are NULL. */
typedef struct VmbusKvpIp {
    bool ipv4, ipv6; /* which of them the settings are about */
    bool dhcp;
    char **addresses, **subnets; /* in parallel */
    char **gateways, **dns;
} VmbusKvpIp;

/* What vmbus_kvp_start() returns, and how a job ended. */
typedef enum VmbusKvpResult {
    VMBUS_KVP_OK,
    /* Not started: */
    VMBUS_KVP_NOT_OPEN,
    VMBUS_KVP_NOT_READY,
    VMBUS_KVP_UNUSABLE, /* no version in common, or a ring that is no good */
    VMBUS_KVP_TOO_MANY_JOBS,
    VMBUS_KVP_BAD_REQUEST,
    VMBUS_KVP_BAD_POOL,
    VMBUS_KVP_NO_KEY,
    VMBUS_KVP_KEY_NOT_UTF8,
    VMBUS_KVP_KEY_TOO_LONG,
    VMBUS_KVP_NO_VALUE,
    VMBUS_KVP_VALUE_TYPE,
    VMBUS_KVP_VALUE_NOT_UTF8,
    VMBUS_KVP_VALUE_TOO_LONG,
    VMBUS_KVP_NO_IP,   /* the agreed version has none */
    VMBUS_KVP_ADAPTER, /* the name of the adapter is no good */
    VMBUS_KVP_ADDRESS, /* an address of the settings is no good */
    VMBUS_KVP_SUBNET,
    VMBUS_KVP_SUBNETS, /* not as many as addresses */
    VMBUS_KVP_GATEWAY,
    VMBUS_KVP_DNS,
    VMBUS_KVP_IP_TOO_LONG, /* the settings do not fit a message */
    /* Ended: */
    VMBUS_KVP_RING_TOO_SMALL,
    VMBUS_KVP_GONE,       /* the channel closed */
    VMBUS_KVP_TIMEOUT,    /* asked, and not answered in time */
    VMBUS_KVP_NEVER_SENT, /* its time went by while another was not answered */
    VMBUS_KVP_NO_SUCH_KEY,
    VMBUS_KVP_NO_SUCH_ADAPTER,
    VMBUS_KVP_NOT_SUPPORTED,
    VMBUS_KVP_INVALID,       /* the guest found the request invalid */
    VMBUS_KVP_NOT_CONNECTED, /* the guest: device not connected */
    VMBUS_KVP_FAILED,        /* any other status of the guest */
    VMBUS_KVP_BAD_ANSWER,    /* VmbusKvpJob.refusal says what was wrong */
    VMBUS_KVP_RESULTS,
} VmbusKvpResult;

typedef struct VmbusKvpRequest {
    VmbusKvpOperation operation;
    VmbusKvpPool pool;    /* but for IP settings */
    const char *key;      /* FIND, GET, SET, DELETE; or the adapter */
    VmbusKvpType type;    /* SET: a string or U32 */
    const char *text;     /* SET of a string */
    uint64_t number;      /* SET of a number */
    const VmbusKvpIp *ip; /* SET_IP */
    uint64_t timeout_ns;  /* from now on; not 0 */
} VmbusKvpRequest;

typedef enum VmbusKvpJobState {
    VMBUS_KVP_WAITING, /* for its turn */
    VMBUS_KVP_RUNNING, /* the guest is asked */
    VMBUS_KVP_ENDED,
} VmbusKvpJobState;

/* A job as it stands.  Valid until the engine is called again. */
typedef struct VmbusKvpJob {
    uint64_t id; /* from 1 on */
    VmbusKvpOperation operation;
    VmbusKvpPool pool;
    VmbusKvpJobState state;
    VmbusKvpResult result; /* once ended */
    uint32_t status;       /* HRESULT of the guest's last answer */
    const char *refusal;   /* of the last answer that was no good; or NULL */
    unsigned skipped;      /* items of a list that were no good */
    bool truncated;        /* there are more items than are taken */
    GPtrArray *items;      /* VmbusKvpItem *; LIST, FIND and GET */
    VmbusKvpIp ip;         /* GET_IP */
} VmbusKvpJob;

/* A job takes so many items, and so many bytes of keys and values. */
#define VMBUS_KVP_MAX_ITEMS 4096
#define VMBUS_KVP_MAX_BYTES (2u << 20)
/* Jobs at a time, and ended ones that are kept. */
#define VMBUS_KVP_MAX_JOBS 16
#define VMBUS_KVP_KEPT     8

typedef enum VmbusKvpState {
    VMBUS_KVP_CLOSED, /* the guest has not opened the service */
    VMBUS_KVP_NEGOTIATING,
    VMBUS_KVP_READY,
} VmbusKvpState;

typedef struct VmbusKvpInfo {
    VmbusKvpState state;
    uint32_t framework_version, message_version; /* 0 before agreed */
    unsigned jobs;                               /* waiting or running */
    bool answer_missing;                         /* the guest owes an answer */
    uint64_t requests;                           /* sent to the guest */
} VmbusKvpInfo;

typedef struct VmbusKvpOps {
    /* A job ended; it is kept for a while, see vmbus_kvp_job(). */
    void (*ended)(void *opaque, const VmbusKvpJob *job);
    void (*changed)(void *opaque, VmbusKvpState state);
    /* Call vmbus_kvp_tick() at @when_ns; replaces an earlier wish.
     * UINT64_MAX: no call wanted. */
    void (*wake_at)(void *opaque, uint64_t when_ns);
    /* Nanoseconds on a clock that goes on while the machine is stopped. */
    uint64_t (*now_ns)(void *opaque);
} VmbusKvpOps;

/* For vmbus_bus_offer(); its opaque pointer is the VmbusKvp. */
extern const VmbusOffer vmbus_kvp_offer;
extern const VmbusChannelOps vmbus_kvp_channel_ops;

VmbusKvp *vmbus_kvp_new(const VmbusKvpOps *ops, void *opaque);
/* Jobs that have not ended are forgotten. */
void vmbus_kvp_free(VmbusKvp *kvp);
/* The time asked for by wake_at() has come; early calls are harmless. */
void vmbus_kvp_tick(VmbusKvp *kvp);
/*
 * Begins a job.  VMBUS_KVP_OK: its id is in *@id, and ended() will be called
 * once, perhaps in this call.  Anything else: there is no job.
 */
VmbusKvpResult vmbus_kvp_start(VmbusKvp *kvp, const VmbusKvpRequest *req,
                               uint64_t *id);
/* A job that has not ended, or is one of the last VMBUS_KVP_KEPT; or NULL. */
const VmbusKvpJob *vmbus_kvp_job(const VmbusKvp *kvp, uint64_t id);
void vmbus_kvp_info(const VmbusKvp *kvp, VmbusKvpInfo *info);
/* Its port (devices/ic.h), for counters and sentences; read only. */
const struct IcPort *vmbus_kvp_port(const VmbusKvp *kvp);

/*
 * The service in a saved machine, without its jobs: who asked is not there any
 * more.  The caller unrefs the array.
 */
GByteArray *vmbus_kvp_save(const VmbusKvp *kvp);
/*
 * Brings @kvp to a saved state; @chan is its channel, which the bus has loaded.
 * Jobs that it has end as VMBUS_KVP_GONE.  changed() is not called.
 * NULL, or a static sentence, and then nothing has changed; any bytes may be
 * given.
 */
const char *vmbus_kvp_load(VmbusKvp *kvp, VmbusChannel *chan, const void *data,
                           size_t len);

const char *vmbus_kvp_state_name(VmbusKvpState state);
/* "external", "guest", "auto", "auto-external", "auto-internal". */
const char *vmbus_kvp_pool_name(VmbusKvpPool pool);
/* One sentence for people. */
const char *vmbus_kvp_result_sentence(VmbusKvpResult result);

void vmbus_kvp_item_free(VmbusKvpItem *item);
void vmbus_kvp_ip_clear(VmbusKvpIp *ip);

#endif
