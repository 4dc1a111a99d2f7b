/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/ic.h"

#include <glib.h>

#include "bus/vmbus-protocol.h"

/* Lowest first, as Hyper-V and OpenVMM send them. */
static const uint32_t framework_versions[] = {
    IC_VERSION(1, 0),
    IC_VERSION(3, 0),
};

#define IC_MAX_VERSIONS 16

static const char *const refusal_sentences[IC_REFUSAL_COUNT] = {
    [IC_REFUSED_PACKET_TYPE] =
        "the guest sent a packet that is not in-band data",
    [IC_REFUSED_PACKET_SIZE] =
        "the guest sent a packet larger than any of the service's messages",
    [IC_REFUSED_NO_PIPE_HEADER] =
        "the guest sent a packet too short for a pipe header",
    [IC_REFUSED_PIPE_TYPE] =
        "the guest sent a pipe packet that carries no data",
    [IC_REFUSED_PIPE_SIZE] =
        "the guest's pipe header claims more bytes than its packet has",
    [IC_REFUSED_NO_HEADER] =
        "the guest sent a message too short for its header",
    [IC_REFUSED_BODY_SIZE] =
        "the guest's message header claims more bytes than the message has",
    [IC_REFUSED_FLAGS] = "the guest sent a message that is not an answer",
    [IC_REFUSED_NOT_ASKED] =
        "the guest answered a request that is not waiting for an answer",
    [IC_REFUSED_OTHER_TYPE] =
        "the guest's answer is of another type than the request",
    [IC_REFUSED_SHORT_BODY] =
        "the guest's answer is too short for its message type",
    [IC_REFUSED_NEGOTIATE_STATUS] =
        "the guest answered the version negotiation with an error",
    [IC_REFUSED_NEGOTIATE_SHORT] =
        "the guest's answer to the version negotiation is too short",
    [IC_REFUSED_NEGOTIATE_COUNTS] =
        "the guest did not choose exactly one framework version and one "
        "message version",
    [IC_REFUSED_FRAMEWORK_VERSION] =
        "the guest chose a framework version that was not offered",
    [IC_REFUSED_MESSAGE_VERSION] =
        "the guest chose a message version that was not offered",
    [IC_REFUSED_NOTHING_IN_COMMON] =
        "the guest knows none of the versions offered",
    [IC_REFUSED_RING_TOO_SMALL] =
        "the guest's ring is too small for the service's messages",
    [IC_REFUSED_FLOOD] =
        "the guest flooded the service with packets that were not asked for",
};

const char *ic_refusal_sentence(IcRefusal refusal)
{
    return (unsigned)refusal < IC_REFUSAL_COUNT ? refusal_sentences[refusal]
                                                : NULL;
}

const char *ic_state_name(IcState state)
{
    static const char *const names[] = {
        [IC_CLOSED] = "closed",     [IC_NEGOTIATING] = "negotiating",
        [IC_READY] = "ready",       [IC_INCOMPATIBLE] = "incompatible",
        [IC_UNUSABLE] = "unusable", [IC_MUTED] = "muted",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

static void set_state(IcPort *port, IcState state)
{
    if (port->state != state) {
        port->state = state;
        port->service->state_changed(port->opaque, state);
    }
}

static void refuse_with(IcPort *port, IcRefusal refusal, const char *sentence)
{
    port->refused++;
    port->refusals[refusal]++;
    port->last_refusal = sentence;
}

static void refuse(IcPort *port, IcRefusal refusal)
{
    refuse_with(port, refusal, refusal_sentences[refusal]);
}

static IcWireVersion to_wire(uint32_t version)
{
    return (IcWireVersion){
        .major = GUINT16_TO_LE(IC_VERSION_MAJOR(version)),
        .minor = GUINT16_TO_LE(IC_VERSION_MINOR(version)),
    };
}

static uint32_t from_wire(IcWireVersion version)
{
    return IC_VERSION(GUINT16_FROM_LE(version.major),
                      GUINT16_FROM_LE(version.minor));
}

static bool offered(uint32_t version, const uint32_t *versions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (versions[i] == version) {
            return true;
        }
    }
    return false;
}

bool ic_versions_offered(const IcPort *port)
{
    return offered(port->framework_version, framework_versions,
                   G_N_ELEMENTS(framework_versions)) &&
           offered(port->message_version, port->service->versions,
                   port->service->version_count);
}

/* Ends because max_in_flight is below the number of ids. */
static uint8_t free_id(IcPort *port)
{
    while (port->slot[port->next_id].used) {
        port->next_id++;
    }
    return port->next_id++;
}

static IcSendResult send_message(IcPort *port, uint16_t type, const void *body,
                                 uint16_t len, uint64_t cookie)
{
    uint8_t id = free_id(port);
    IcPipeHeader pipe = {
        .type = GUINT32_TO_LE(IC_PIPE_DATA),
        .size = GUINT32_TO_LE(sizeof(IcHeader) + len),
    };
    IcHeader header = {
        .framework_version = to_wire(port->framework_version),
        .message_type = GUINT16_TO_LE(type),
        .message_version = to_wire(port->message_version),
        .message_size = GUINT16_TO_LE(len),
        .transaction_id = id,
        .flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
    };
    struct iovec iov[] = {
        {&pipe, sizeof(pipe)},
        {&header, sizeof(header)},
        {(void *)body, len},
    };

    switch (vmbus_channel_send(port->chan, VMBUS_PKT_DATA_INBAND, 0, 0, iov,
                               G_N_ELEMENTS(iov))) {
    case VMBUS_RING_OK:
        break;
    case VMBUS_RING_FULL:
        return IC_SEND_FULL;
    case VMBUS_RING_TOO_LARGE:
        return IC_SEND_TOO_LARGE;
    default: /* closed, by this very call if the ring is corrupt */
        return IC_SEND_NOT_READY;
    }

    port->slot[id].used = true;
    port->slot[id].message_type = type;
    port->slot[id].cookie = cookie;
    port->in_flight++;
    port->sent++;
    vmbus_channel_flush(port->chan);
    return IC_SEND_OK;
}

/*
 * Linux answers when its driver is loaded; services with a daemon (KVP, VSS,
 * file copy) may take a minute.  So there is no time limit here, and the
 * question is not repeated: it stays in the ring until it is read.
 */
static void negotiate(IcPort *port)
{
    const IcService *service = port->service;
    struct {
        IcNegotiate head;
        IcWireVersion
            version[G_N_ELEMENTS(framework_versions) + IC_MAX_VERSIONS];
    } body = {0};
    size_t count = 0;
    IcSendResult result;

    body.head.framework_count = GUINT16_TO_LE(G_N_ELEMENTS(framework_versions));
    body.head.message_count = GUINT16_TO_LE(service->version_count);
    for (size_t i = 0; i < G_N_ELEMENTS(framework_versions); i++) {
        body.version[count++] = to_wire(framework_versions[i]);
    }
    for (size_t i = 0; i < service->version_count; i++) {
        body.version[count++] = to_wire(service->versions[i]);
    }
    result =
        send_message(port, IC_MESSAGE_NEGOTIATE, &body,
                     sizeof(body.head) + count * sizeof(body.version[0]), 0);
    port->negotiate_unsent = result == IC_SEND_FULL;
    if (result == IC_SEND_TOO_LARGE) {
        refuse(port, IC_REFUSED_RING_TOO_SMALL);
        set_state(port, IC_UNUSABLE);
    }
}

void ic_init(IcPort *port, const IcService *service, void *opaque)
{
    g_assert(service->version_count <= IC_MAX_VERSIONS);
    g_assert(service->max_in_flight <= IC_MAX_IN_FLIGHT);
    memset(port, 0, sizeof(*port));
    port->service = service;
    port->opaque = opaque;
}

/* Forgets what belongs to one opening; the counters stay. */
static void forget(IcPort *port)
{
    port->framework_version = 0;
    port->message_version = 0;
    port->negotiate_unsent = false;
    port->wants_room = false;
    port->next_id = 0;
    port->in_flight = 0;
    memset(port->slot, 0, sizeof(port->slot));
}

void ic_opened(IcPort *port, VmbusChannel *chan)
{
    forget(port);
    port->chan = chan;
    set_state(port, IC_NEGOTIATING);
    negotiate(port);
}

void ic_closed(IcPort *port)
{
    port->chan = NULL;
    forget(port);
    set_state(port, IC_CLOSED);
}

IcSendResult ic_send(IcPort *port, const void *body, uint16_t len,
                     uint64_t cookie)
{
    IcSendResult result;

    if (port->state != IC_READY) {
        return IC_SEND_NOT_READY;
    }
    if (port->in_flight >= port->service->max_in_flight) {
        return IC_SEND_LIMIT;
    }
    result = send_message(port, port->service->message_type, body, len, cookie);
    if (result == IC_SEND_FULL) {
        port->wants_room = true;
    }
    return result;
}

/*
 * Linux answers in a packet as long as the request, longer than its chosen
 * pair needs, and leaves one version of its own in each place when it finds
 * nothing in common.
 */
static void handle_negotiated(IcPort *port, uint32_t status,
                              const uint8_t *body, uint32_t len)
{
    const IcService *service = port->service;
    IcNegotiate head;
    IcWireVersion choice[2];
    uint32_t framework, message;
    IcRefusal refusal;

    if (status != IC_STATUS_OK) {
        refusal = IC_REFUSED_NEGOTIATE_STATUS;
        goto bad;
    }
    if (len < sizeof(head)) {
        refusal = IC_REFUSED_NEGOTIATE_SHORT;
        goto bad;
    }
    memcpy(&head, body, sizeof(head));
    if (!head.framework_count && !head.message_count) {
        refuse(port, IC_REFUSED_NOTHING_IN_COMMON);
        set_state(port, IC_INCOMPATIBLE);
        return;
    }
    if (GUINT16_FROM_LE(head.framework_count) != 1 ||
        GUINT16_FROM_LE(head.message_count) != 1) {
        refusal = IC_REFUSED_NEGOTIATE_COUNTS;
        goto bad;
    }
    if (len < sizeof(head) + sizeof(choice)) {
        refusal = IC_REFUSED_NEGOTIATE_SHORT;
        goto bad;
    }
    memcpy(choice, body + sizeof(head), sizeof(choice));
    framework = from_wire(choice[0]);
    message = from_wire(choice[1]);
    if (!offered(framework, framework_versions,
                 G_N_ELEMENTS(framework_versions))) {
        refusal = IC_REFUSED_FRAMEWORK_VERSION;
        goto bad;
    }
    if (!offered(message, service->versions, service->version_count)) {
        refusal = IC_REFUSED_MESSAGE_VERSION;
        goto bad;
    }
    port->framework_version = framework;
    port->message_version = message;
    port->answered++;
    set_state(port, IC_READY);
    return;

bad:
    refuse(port, refusal);
    set_state(port, IC_UNUSABLE);
}

/* Finds the message in @pkt; false with *@refusal if there is none. */
static bool parse(const VmbusPacket *pkt, IcHeader *header,
                  const uint8_t **body, IcRefusal *refusal)
{
    IcPipeHeader pipe;
    uint32_t size;

    if (pkt->type != VMBUS_PKT_DATA_INBAND) {
        *refusal = IC_REFUSED_PACKET_TYPE;
        return false;
    }
    if (pkt->data_len < sizeof(pipe)) {
        *refusal = IC_REFUSED_NO_PIPE_HEADER;
        return false;
    }
    memcpy(&pipe, pkt->data, sizeof(pipe));
    if (GUINT32_FROM_LE(pipe.type) != IC_PIPE_DATA) {
        *refusal = IC_REFUSED_PIPE_TYPE;
        return false;
    }
    size = GUINT32_FROM_LE(pipe.size);
    if (size > pkt->data_len - sizeof(pipe)) {
        *refusal = IC_REFUSED_PIPE_SIZE;
        return false;
    }
    if (size > IC_MAX_MESSAGE_SIZE) {
        *refusal = IC_REFUSED_PACKET_SIZE;
        return false;
    }
    if (size < sizeof(*header)) {
        *refusal = IC_REFUSED_NO_HEADER;
        return false;
    }
    memcpy(header, pkt->data + sizeof(pipe), sizeof(*header));
    if (GUINT16_FROM_LE(header->message_size) > size - sizeof(*header)) {
        *refusal = IC_REFUSED_BODY_SIZE;
        return false;
    }
    *body = pkt->data + sizeof(pipe) + sizeof(*header);
    return true;
}

/*
 * The answer's versions are not compared with the agreed ones: Linux returns
 * what it was sent, but nothing asks that of a guest.
 */
static bool validate(const IcPort *port, const IcHeader *header,
                     IcRefusal *refusal)
{
    uint8_t answer = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    uint8_t id = header->transaction_id;

    if ((header->flags & (answer | IC_FLAG_REQUEST)) != answer) {
        *refusal = IC_REFUSED_FLAGS;
        return false;
    }
    if (!port->slot[id].used) {
        *refusal = IC_REFUSED_NOT_ASKED;
        return false;
    }
    if (GUINT16_FROM_LE(header->message_type) != port->slot[id].message_type) {
        *refusal = IC_REFUSED_OTHER_TYPE;
        return false;
    }
    /* An error says all it has to say in the header. */
    if (port->slot[id].message_type == port->service->message_type &&
        GUINT32_FROM_LE(header->status) == IC_STATUS_OK &&
        GUINT16_FROM_LE(header->message_size) < port->service->min_body) {
        *refusal = IC_REFUSED_SHORT_BODY;
        return false;
    }
    return true;
}

/* False: the packet was refused. */
static bool handle_packet(IcPort *port, const VmbusPacket *pkt)
{
    IcHeader header;
    const uint8_t *body;
    IcRefusal refusal;
    IcAnswer answer;
    const char *sentence;
    uint64_t refused = port->refused;

    if (!parse(pkt, &header, &body, &refusal) ||
        !validate(port, &header, &refusal)) {
        refuse(port, refusal);
        return false;
    }

    port->slot[header.transaction_id].used = false;
    port->in_flight--;
    answer = (IcAnswer){
        .cookie = port->slot[header.transaction_id].cookie,
        .status = GUINT32_FROM_LE(header.status),
        .body = body,
        .body_len = GUINT16_FROM_LE(header.message_size),
    };
    if (GUINT16_FROM_LE(header.message_type) == IC_MESSAGE_NEGOTIATE) {
        handle_negotiated(port, answer.status, answer.body, answer.body_len);
        return port->refused == refused;
    }
    port->answered++;
    sentence = port->service->answer(port->opaque, &answer);
    if (sentence) {
        refuse_with(port, IC_REFUSED_BY_SERVICE, sentence);
        return false;
    }
    return true;
}

/*
 * Reads until the ring is empty.  The service may send, and the channel may
 * close, in each turn.  Answers are as many as requests, and a service bounds
 * those; refused packets are bounded here.
 */
static void drain(IcPort *port)
{
    unsigned refused = 0;
    VmbusPacket pkt;

    while (port->chan && port->state != IC_MUTED) {
        VmbusRingResult result = vmbus_channel_receive(port->chan, &pkt);

        if (result == VMBUS_RING_OK) {
            refused += !handle_packet(port, &pkt);
        } else if (result == VMBUS_RING_TOO_LARGE) {
            refuse(port, IC_REFUSED_PACKET_SIZE);
            refused++;
        } else {
            return;
        }
        if (port->chan && refused > IC_MAX_REFUSED) {
            refuse(port, IC_REFUSED_FLOOD);
            set_state(port, IC_MUTED);
        }
    }
}

void ic_signalled(IcPort *port)
{
    if (!port->chan || port->state == IC_MUTED) {
        return;
    }
    if (port->negotiate_unsent) {
        negotiate(port);
    }
    drain(port);
    if (port->state == IC_READY && port->wants_room) {
        port->wants_room = false;
        port->service->room(port->opaque);
    }
}
