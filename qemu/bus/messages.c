/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's messages.  A handler returns NULL, or a sentence if it refused;
 * if the protocol has an error reply, the handler has sent it.
 */
#include "bus/bus-internal.h"

typedef struct VmbusMessageKind {
    const char *name;
    VmbusHandler *handle; /* NULL: refused, for the reason in @refusal */
    const char *refusal;
    uint32_t min_version;
    uint32_t feature; /* VMBUS_FEATURE_*, that must have been agreed; or 0 */
    uint16_t min_len;
    uint16_t id_offset; /* of the id that an event shows; 0: none */
    bool disconnected;  /* allowed without a connection */
} VmbusMessageKind;

static const char *handle_request_offers(VmbusBus *bus,
                                         const VmbusLetter *letter)
{
    if (bus->offers_requested) {
        return "The offers have been delivered already.";
    }
    bus->offers_requested = true;
    bus->send_alloffers = true;
    vmbus_bus_send_offers(bus);
    return NULL;
}

static void send_gpadl_created(VmbusBus *bus, uint32_t relid, uint32_t gpadl,
                               const char *why)
{
    VmbusMsg msg = {
        .gpadl_created = {
            .relid = relid,
            .gpadl = gpadl,
            .status = why ? VMBUS_STATUS_UNSUCCESSFUL : VMBUS_STATUS_SUCCESS,
        }};

    vmbus_bus_answer(bus, &msg, VMBUS_MSG_GPADL_CREATED,
                     sizeof(msg.gpadl_created));
}

/* Adds @data; answers when that was the last of it, or on failure. */
static const char *gpadl_add(VmbusBus *bus, VmbusGpadl *gpadl, const void *data,
                             size_t len)
{
    const char *why = vmbus_gpadl_append(&bus->gpadls, gpadl, data, len);

    if (why || gpadl->complete) {
        send_gpadl_created(bus, gpadl->relid, gpadl->id, why);
    }
    if (why) {
        vmbus_gpadl_remove(&bus->gpadls, gpadl);
    }
    return why;
}

static const char *handle_gpadl_header(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMsgGpadlHeader *msg = &letter->msg.gpadl_header;
    const VmbusChannel *chan = vmbus_bus_find_channel(bus, msg->relid);
    const char *why = "A GPADL is for a channel that the guest has not got.";
    VmbusGpadl *gpadl = NULL;

    if (chan && chan->reserved) {
        /* A body names no channel, so ids would have to be told apart. */
        why = "A GPADL is for a channel that the guest has reserved.";
    } else if (chan) {
        gpadl = vmbus_gpadl_begin(&bus->gpadls, msg->relid, msg->gpadl,
                                  msg->rangecount, msg->range_buflen, &why);
    }
    if (!gpadl) {
        send_gpadl_created(bus, msg->relid, msg->gpadl, why);
        return why;
    }
    return gpadl_add(bus, gpadl, letter->msg.bytes + sizeof(*msg),
                     letter->len - sizeof(*msg));
}

static const char *handle_gpadl_body(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMsgGpadlBody *msg = &letter->msg.gpadl_body;
    VmbusGpadl *gpadl = vmbus_gpadl_find(&bus->gpadls, msg->gpadl);

    /* No reply: it would need a relid, which this message has not. */
    if (!gpadl) {
        return "More pages came for a GPADL that does not exist.";
    }
    if (gpadl->complete) {
        return "More pages came for a GPADL that is complete.";
    }
    return gpadl_add(bus, gpadl, letter->msg.bytes + sizeof(*msg),
                     letter->len - sizeof(*msg));
}

static const char *handle_gpadl_teardown(VmbusBus *bus,
                                         const VmbusLetter *letter)
{
    const VmbusMsgGpadlTeardown *msg = &letter->msg.gpadl_teardown;
    const VmbusChannel *chan = vmbus_bus_find_channel(bus, msg->relid);
    VmbusGpadl *gpadl =
        vmbus_gpadl_find_for(&bus->gpadls, msg->relid, msg->gpadl);
    VmbusMsg reply = {.gpadl_torndown = {.gpadl = msg->gpadl}};

    /* The protocol has no reply that says no. */
    if (!gpadl) {
        return "The guest tore down a GPADL that does not exist.";
    }
    if (gpadl->relid != msg->relid) {
        return "The guest tore down a GPADL of another channel.";
    }
    if (chan && chan->reserved) {
        return "The guest tore down a GPADL of a reserved channel.";
    }
    if (!gpadl->complete) {
        return "The guest tore down a GPADL that is not complete.";
    }
    if (gpadl->tearing_down) {
        return "The guest tore down a GPADL twice.";
    }
    if (vmbus_gpadl_used(gpadl)) {
        /* Answered when the channel is closed, or the device has done with
         * it, as real hosts do. */
        gpadl->tearing_down = true;
        return NULL;
    }
    vmbus_gpadl_remove(&bus->gpadls, gpadl);
    vmbus_bus_answer(bus, &reply, VMBUS_MSG_GPADL_TORNDOWN,
                     sizeof(reply.gpadl_torndown));
    return NULL;
}

static const char *handle_open(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMsgOpen *msg = &letter->msg.open;
    VmbusChannel *chan = vmbus_bus_find_channel(bus, msg->relid);
    VmbusMsg reply = {
        .open_result = {.relid = msg->relid, .openid = msg->openid}};
    const char *why = "The guest opened a channel that it has not got.";

    if (!(bus->features & VMBUS_FEATURE_GUEST_SIGNAL)) {
        if (chan) {
            why = vmbus_channel_open(chan, msg, NULL);
        }
    } else if (letter->len < sizeof(VmbusMsgOpen2)) {
        why = "The guest opened a channel and did not say how to signal it.";
    } else if (chan) {
        why = vmbus_channel_open(chan, msg, &letter->msg.open2);
    }
    reply.open_result.status =
        why ? VMBUS_STATUS_UNSUCCESSFUL : VMBUS_STATUS_SUCCESS;
    vmbus_bus_answer(bus, &reply, VMBUS_MSG_OPENCHANNEL_RESULT,
                     sizeof(reply.open_result));
    return why;
}

static const char *handle_close(VmbusBus *bus, const VmbusLetter *letter)
{
    VmbusChannel *chan = vmbus_bus_find_channel(bus, letter->msg.relid.relid);

    if (!chan) {
        return "The guest closed a channel that it has not got.";
    }
    if (chan->reserved) {
        return "The guest closed a reserved channel as if it were another.";
    }
    switch (chan->state) {
    case VMBUS_CHANNEL_OPEN:
        vmbus_channel_close(chan, VMBUS_CHANNEL_OFFERED);
        return NULL;
    case VMBUS_CHANNEL_CORRUPT:
        chan->state = VMBUS_CHANNEL_OFFERED;
        return NULL;
    case VMBUS_CHANNEL_RESCINDED:
        /* Linux closes a channel after it has heard of the rescind. */
        return NULL;
    default:
        return "The guest closed a channel that is not open.";
    }
}

static const char *handle_relid_released(VmbusBus *bus,
                                         const VmbusLetter *letter)
{
    VmbusChannel *chan = vmbus_bus_find_channel(bus, letter->msg.relid.relid);

    if (!chan) {
        return "The guest released a channel that it has not got.";
    }
    if (chan->state == VMBUS_CHANNEL_OPEN ||
        chan->state == VMBUS_CHANNEL_CORRUPT) {
        return "The guest released a channel that it has not closed.";
    }
    vmbus_bus_release(chan);
    return NULL;
}

static const char *handle_modify_channel(VmbusBus *bus,
                                         const VmbusLetter *letter)
{
    const VmbusMsgModifyChannel *msg = &letter->msg.modify_channel;
    VmbusChannel *chan = vmbus_bus_find_channel(bus, msg->relid);
    const char *why = "The guest modified a channel that it has not got.";

    if (chan && chan->reserved) {
        why = "The guest modified a reserved channel.";
    } else if (chan) {
        why = vmbus_channel_retarget(chan, msg->target_vp);
    }
    if (bus->version >= VMBUS_VERSION_5_3) {
        VmbusMsg reply = {.modify_channel_response = {
                              .relid = msg->relid,
                              .status = why ? VMBUS_STATUS_UNSUCCESSFUL
                                            : VMBUS_STATUS_SUCCESS,
                          }};

        vmbus_bus_answer(bus, &reply, VMBUS_MSG_MODIFYCHANNEL_RESPONSE,
                         sizeof(reply.modify_channel_response));
    }
    return why;
}

static const char *handle_tl_connect(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMsgTlConnectRequest *msg = &letter->msg.tl_connect_request;

    /* Guests before 4.1 do not know the reply. */
    if (bus->version >= VMBUS_VERSION_4_1) {
        VmbusMsg reply = {.tl_connect_result = {
                              .endpoint_id = msg->endpoint_id,
                              .service_id = msg->service_id,
                              /* Windows shows its user an error by this. */
                              .status = VMBUS_STATUS_CONNECTION_REFUSED,
                          }};

        vmbus_bus_answer(bus, &reply, VMBUS_MSG_TL_CONNECT_RESULT,
                         sizeof(reply.tl_connect_result));
    }
    return "No service of the host listens for the guest's socket.";
}

static const char from_host[] = "The guest sent a message that only hosts do.";
static const char later_version[] =
    "The guest sent a message of a later version.";

#define RELID_AT offsetof(VmbusMsgRelid, relid)

static const VmbusMessageKind kinds[VMBUS_MSG_COUNT] = {
    [VMBUS_MSG_OFFERCHANNEL] = {"OFFERCHANNEL", .refusal = from_host},
    [VMBUS_MSG_RESCIND_CHANNELOFFER] = {"RESCIND_CHANNELOFFER",
                                        .refusal = from_host},
    [VMBUS_MSG_REQUESTOFFERS] = {"REQUESTOFFERS", handle_request_offers,
                                 .min_len = sizeof(VmbusMsgHeader)},
    [VMBUS_MSG_ALLOFFERS_DELIVERED] = {"ALLOFFERS_DELIVERED",
                                       .refusal = from_host},
    [VMBUS_MSG_OPENCHANNEL] = {"OPENCHANNEL", handle_open,
                               .min_len = sizeof(VmbusMsgOpen),
                               .id_offset = RELID_AT},
    [VMBUS_MSG_OPENCHANNEL_RESULT] = {"OPENCHANNEL_RESULT",
                                      .refusal = from_host},
    [VMBUS_MSG_CLOSECHANNEL] = {"CLOSECHANNEL", handle_close,
                                .min_len = sizeof(VmbusMsgRelid),
                                .id_offset = RELID_AT},
    [VMBUS_MSG_GPADL_HEADER] = {"GPADL_HEADER", handle_gpadl_header,
                                .min_len = sizeof(VmbusMsgGpadlHeader),
                                .id_offset =
                                    offsetof(VmbusMsgGpadlHeader, gpadl)},
    [VMBUS_MSG_GPADL_BODY] = {"GPADL_BODY", handle_gpadl_body,
                              .min_len = sizeof(VmbusMsgGpadlBody),
                              .id_offset = offsetof(VmbusMsgGpadlBody, gpadl)},
    [VMBUS_MSG_GPADL_CREATED] = {"GPADL_CREATED", .refusal = from_host},
    [VMBUS_MSG_GPADL_TEARDOWN] = {"GPADL_TEARDOWN", handle_gpadl_teardown,
                                  .min_len = sizeof(VmbusMsgGpadlTeardown),
                                  .id_offset =
                                      offsetof(VmbusMsgGpadlTeardown, gpadl)},
    [VMBUS_MSG_GPADL_TORNDOWN] = {"GPADL_TORNDOWN", .refusal = from_host},
    [VMBUS_MSG_RELID_RELEASED] = {"RELID_RELEASED", handle_relid_released,
                                  .min_len = sizeof(VmbusMsgRelid),
                                  .id_offset = RELID_AT},
    [VMBUS_MSG_INITIATE_CONTACT] = {"INITIATE_CONTACT",
                                    vmbus_handle_initiate_contact,
                                    .min_len = sizeof(VmbusMsgInitiateContact),
                                    .id_offset = offsetof(
                                        VmbusMsgInitiateContact, version),
                                    .disconnected = true},
    [VMBUS_MSG_VERSION_RESPONSE] = {"VERSION_RESPONSE", .refusal = from_host},
    [VMBUS_MSG_UNLOAD] = {"UNLOAD", vmbus_handle_unload,
                          .min_len = sizeof(VmbusMsgHeader)},
    [VMBUS_MSG_UNLOAD_RESPONSE] = {"UNLOAD_RESPONSE", .refusal = from_host},
    [VMBUS_MSG_OPEN_RESERVED] = {"OPEN_RESERVED", vmbus_handle_open_reserved,
                                 .min_version = VMBUS_VERSION_4_0,
                                 .min_len = sizeof(VmbusMsgOpenReserved),
                                 .id_offset = RELID_AT},
    [VMBUS_MSG_CLOSE_RESERVED] = {"CLOSE_RESERVED", vmbus_handle_close_reserved,
                                  .min_len = sizeof(VmbusMsgCloseReserved),
                                  .id_offset = RELID_AT, .disconnected = true},
    [VMBUS_MSG_CLOSE_RESERVED_RESPONSE] = {"CLOSE_RESERVED_RESPONSE",
                                           .refusal = from_host},
    [VMBUS_MSG_TL_CONNECT_REQUEST] = {"TL_CONNECT_REQUEST", handle_tl_connect,
                                      .min_version = VMBUS_VERSION_4_0,
                                      .min_len =
                                          sizeof(VmbusMsgTlConnectRequest)},
    [VMBUS_MSG_MODIFYCHANNEL] = {"MODIFYCHANNEL", handle_modify_channel,
                                 .min_version = VMBUS_VERSION_4_1,
                                 .min_len = sizeof(VmbusMsgModifyChannel),
                                 .id_offset = RELID_AT},
    [VMBUS_MSG_TL_CONNECT_RESULT] = {"TL_CONNECT_RESULT", .refusal = from_host},
    [VMBUS_MSG_MODIFYCHANNEL_RESPONSE] = {"MODIFYCHANNEL_RESPONSE",
                                          .refusal = from_host},
    [VMBUS_MSG_MODIFY_CONNECTION] = {"MODIFY_CONNECTION",
                                     vmbus_handle_modify_connection,
                                     .min_version = VMBUS_VERSION_6_0,
                                     .feature = VMBUS_FEATURE_MODIFY_CONNECTION,
                                     .min_len =
                                         sizeof(VmbusMsgModifyConnection)},
    [VMBUS_MSG_MODIFY_CONNECTION_RESPONSE] = {"MODIFY_CONNECTION_RESPONSE",
                                              .refusal = from_host},
    [VMBUS_MSG_PAUSE] = {"PAUSE", vmbus_handle_pause,
                         .min_version = VMBUS_VERSION_6_0,
                         .feature = VMBUS_FEATURE_PAUSE_RESUME,
                         .min_len = sizeof(VmbusMsgHeader)},
    [VMBUS_MSG_PAUSE_RESPONSE] = {"PAUSE_RESPONSE", .refusal = from_host},
    [VMBUS_MSG_RESUME] = {"RESUME", vmbus_handle_resume,
                          .min_version = VMBUS_VERSION_6_0,
                          .feature = VMBUS_FEATURE_PAUSE_RESUME,
                          .min_len = sizeof(VmbusMsgHeader)},
};

static const VmbusMessageKind *find_kind(uint32_t type)
{
    return type < VMBUS_MSG_COUNT && kinds[type].name ? &kinds[type] : NULL;
}

const char *vmbus_message_name(uint32_t type)
{
    const VmbusMessageKind *kind = find_kind(type);

    return kind ? kind->name : "";
}

bool vmbus_message_restarts(const VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMessageKind *kind = find_kind(letter->msg.header.type);

    if (letter->len < sizeof(VmbusMsgHeader) || !kind ||
        letter->len < kind->min_len) {
        return false;
    }
    if (kind->handle == vmbus_handle_initiate_contact) {
        return true;
    }
    /* One that waits for a reserved channel is alive, and reads its slots. */
    return kind->handle == vmbus_handle_unload &&
           bus->state == VMBUS_CONNECTED && !vmbus_reserved_waits(bus);
}

static const char *validate_message(const VmbusBus *bus,
                                    const VmbusLetter *letter,
                                    const VmbusMessageKind *kind)
{
    if (!kind) {
        return "The guest sent a message of an unknown type.";
    }
    if (kind->refusal == from_host) {
        return from_host;
    }
    if (letter->len < kind->min_len) {
        return "The guest sent a message that is too short for its type.";
    }
    if (bus->state != VMBUS_CONNECTED && !kind->disconnected) {
        return "The guest sent a message before it was connected.";
    }
    if (bus->state == VMBUS_CONNECTED && bus->version < kind->min_version) {
        return later_version;
    }
    if (kind->feature & ~bus->features) {
        return "The guest sent a message of a feature that it did not ask for.";
    }
    if (bus->paused && kind->handle != vmbus_handle_resume &&
        kind->handle != vmbus_handle_unload &&
        kind->handle != vmbus_handle_initiate_contact) {
        return "The guest sent a message while it had paused the bus.";
    }
    return kind->refusal;
}

void vmbus_message_handle(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMessageKind *kind;
    const char *why;
    uint32_t id = 0;

    bus->messages_in++;
    if (letter->len < sizeof(VmbusMsgHeader)) {
        vmbus_bus_refuse(bus, "", 0, "The guest sent less than a message.");
        return;
    }
    kind = find_kind(letter->msg.header.type);
    if (kind && kind->id_offset) {
        memcpy(&id, letter->msg.bytes + kind->id_offset, sizeof(id));
    }
    vmbus_bus_event(bus, VMBUS_EVENT_MESSAGE_IN, kind ? kind->name : "", id,
                    "");
    why = validate_message(bus, letter, kind);
    if (!why) {
        why = kind->handle(bus, letter);
    }
    if (why) {
        vmbus_bus_refuse(bus, kind ? kind->name : "",
                         kind ? id : letter->msg.header.type, why);
    }
}
