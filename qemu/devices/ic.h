/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all integration services have in common: versions are agreed when the
 * guest opens the channel; then the host sends requests, and the guest
 * answers each.  A service embeds an IcPort and hands it the channel's calls.
 *
 * Nothing here waits or keeps time.  A request that is not answered stays in
 * flight until the channel closes; how long is too long is the service's
 * matter.  All calls come from the thread that runs the channel.
 */
#ifndef VMBUS_IC_H
#define VMBUS_IC_H

#include "bus/channel.h"
#include "devices/heartbeat.h"
#include "devices/ic-protocol.h"
#include "devices/shutdown.h"
#include "devices/timesync.h"
#include "devices/vss.h"

typedef enum IcState {
    IC_CLOSED,
    IC_NEGOTIATING,  /* versions offered, no answer yet */
    IC_READY,        /* versions agreed */
    IC_INCOMPATIBLE, /* the guest knows none of the versions offered */
    IC_UNUSABLE, /* the guest's choice of versions, or its ring, is no good */
    IC_MUTED,    /* the guest flooded the ring; it is no longer read */
} IcState;

/* Why a packet of the guest was dropped. */
typedef enum IcRefusal {
    IC_REFUSED_PACKET_TYPE,
    IC_REFUSED_PACKET_SIZE,
    IC_REFUSED_NO_PIPE_HEADER,
    IC_REFUSED_PIPE_TYPE,
    IC_REFUSED_PIPE_SIZE,
    IC_REFUSED_NO_HEADER,
    IC_REFUSED_BODY_SIZE,
    IC_REFUSED_FLAGS,
    IC_REFUSED_NOT_ASKED,
    IC_REFUSED_OTHER_TYPE,
    IC_REFUSED_SHORT_BODY,
    IC_REFUSED_NEGOTIATE_STATUS,
    IC_REFUSED_NEGOTIATE_SHORT,
    IC_REFUSED_NEGOTIATE_COUNTS,
    IC_REFUSED_FRAMEWORK_VERSION,
    IC_REFUSED_MESSAGE_VERSION,
    IC_REFUSED_NOTHING_IN_COMMON,
    IC_REFUSED_BY_SERVICE, /* its sentence is the service's own */
    IC_REFUSED_RING_TOO_SMALL,
    IC_REFUSED_FLOOD,
    IC_REFUSAL_COUNT,
} IcRefusal;

/* An answer to a request of this service. */
typedef struct IcAnswer {
    uint64_t cookie; /* given with the request */
    uint32_t status; /* HRESULT */
    const uint8_t *body;
    uint32_t body_len; /* at least the service's min_body on IC_STATUS_OK */
} IcAnswer;

typedef struct IcService {
    uint16_t message_type; /* IcMessageType */
    uint16_t min_body;     /* shortest body of an answer that says OK */
    uint8_t max_in_flight; /* at most IC_MAX_IN_FLIGHT */
    uint8_t version_count;
    const uint32_t *versions; /* IC_VERSION(), lowest first */
    /* The state changed; in IC_READY the versions are set. */
    void (*state_changed)(void *opaque, IcState state);
    /* An answer; returns NULL, or a static sentence that refuses it. */
    const char *(*answer)(void *opaque, const IcAnswer *answer);
    /* After IC_SEND_FULL: there may be room now. */
    void (*room)(void *opaque);
} IcService;

/* Half of what a transaction id can tell apart, so that one is soon found. */
#define IC_MAX_IN_FLIGHT 128
/*
 * Refused packets in one turn of reading after which a channel is muted.  A
 * guest has at most IC_MAX_IN_FLIGHT answers to give; one that goes on and on
 * would keep the host's thread for itself.
 */
#define IC_MAX_REFUSED 1024

typedef struct IcPort {
    const IcService *service;
    void *opaque;
    VmbusChannel *chan; /* NULL while closed */
    IcState state;
    uint32_t framework_version, message_version; /* 0 before agreed */
    bool negotiate_unsent, wants_room;
    uint8_t next_id;
    uint16_t in_flight;
    struct {
        bool used;
        uint16_t message_type;
        uint64_t cookie;
    } slot[256]; /* by transaction id */
    uint64_t sent, answered, refused;
    uint64_t refusals[IC_REFUSAL_COUNT];
    const char *last_refusal; /* static sentence, or NULL */
} IcPort;

typedef enum IcSendResult {
    IC_SEND_OK,
    IC_SEND_FULL,      /* no room in the ring; room() will be called */
    IC_SEND_LIMIT,     /* max_in_flight requests are unanswered */
    IC_SEND_TOO_LARGE, /* will never fit the guest's ring */
    IC_SEND_NOT_READY, /* closed (now, perhaps), or no versions agreed */
} IcSendResult;

/* @service and @opaque outlive the port. */
void ic_init(IcPort *port, const IcService *service, void *opaque);
/* For VmbusChannelOps: the channel opened; offers the versions to the guest. */
void ic_opened(IcPort *port, VmbusChannel *chan);
void ic_closed(IcPort *port);
void ic_signalled(IcPort *port);
/*
 * Sends a request of @len bytes.  @cookie comes back with its answer.
 * The channel may close in this call (a corrupt ring): state_changed() is
 * then called in it.
 */
IcSendResult ic_send(IcPort *port, const void *body, uint16_t len,
                     uint64_t cookie);

/* Are the port's versions two of those that it offers? */
bool ic_versions_offered(const IcPort *port);
/* Sentence for people; NULL for IC_REFUSED_BY_SERVICE. */
const char *ic_refusal_sentence(IcRefusal refusal);
const char *ic_state_name(IcState state);

/* The ports of the services, for their counters and sentences; read only. */
const IcPort *vmbus_heartbeat_port(const VmbusHeartbeat *hb);
const IcPort *vmbus_shutdown_port(const VmbusShutdown *sd);
const IcPort *vmbus_timesync_port(const VmbusTimesync *ts);
const IcPort *vmbus_vss_port(const VmbusVss *vss);

#endif
