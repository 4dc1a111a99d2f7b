/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a connection begins and ends. */
#include "bus/bus-internal.h"

static const uint32_t versions[] = {
    VMBUS_VERSION_0_13, VMBUS_VERSION_1_1, VMBUS_VERSION_2_4, VMBUS_VERSION_3_0,
    VMBUS_VERSION_4_0,  VMBUS_VERSION_4_1, VMBUS_VERSION_5_0, VMBUS_VERSION_5_1,
    VMBUS_VERSION_5_2,  VMBUS_VERSION_5_3, VMBUS_VERSION_6_0,
};

/*
 * What a host has that shares all memory with its guest.  Interrupts can be
 * redirected only by a host within the guest, to another of its trust levels;
 * confidential and pinned memory is theirs as well.
 */
#define FEATURES                                                               \
    (VMBUS_FEATURE_GUEST_SIGNAL | VMBUS_FEATURE_MODIFY_CONNECTION |            \
     VMBUS_FEATURE_CLIENT_ID | VMBUS_FEATURE_PAUSE_RESUME)

bool vmbus_version_known(uint32_t version)
{
    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        if (versions[i] == version) {
            return true;
        }
    }
    return false;
}

uint32_t vmbus_version_features(uint32_t version)
{
    return version >= VMBUS_VERSION_6_0 ? FEATURES : 0;
}

/* What a guest asked for in INITIATE_CONTACT, and where it gets the answer. */
typedef struct Contact {
    const VmbusMsgInitiateContact *msg;
    uint32_t version;
    uint32_t features; /* asked for, and there */
    VmbusGuid client_id;
    uint32_t vp;
    uint8_t sint;
    uint32_t reply_vp;
    uint8_t reply_sint;
} Contact;

static bool sint_valid(uint8_t sint)
{
    return sint > 0 && sint < VMBUS_SINT_COUNT;
}

static Contact read_contact(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMsgInitiateContact *msg = &letter->msg.initiate_contact;
    bool multiclient =
        letter->conn_id == VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
    Contact c = {
        .msg = msg,
        .version = msg->version,
        /* Older hosts answered on VP 0 only, and older guests rely on that. */
        .vp = msg->version >= VMBUS_VERSION_3_0 ? msg->target_vp : 0,
        .sint = msg->version >= VMBUS_VERSION_5_0 && multiclient
                    ? msg->msg_sint
                    : VMBUS_MESSAGE_SINT,
    };

    if (c.version >= VMBUS_VERSION_6_0) {
        c.features = msg->feature_flags & FEATURES;
    }
    if (c.features & VMBUS_FEATURE_CLIENT_ID) {
        c.client_id = letter->msg.initiate_contact2.client_id;
    }
    /* The guest may at least be listening on its boot processor. */
    c.reply_vp = bus->ops->vp_exists(bus->opaque, c.vp) ? c.vp : 0;
    c.reply_sint = sint_valid(c.sint) ? c.sint : VMBUS_MESSAGE_SINT;
    return c;
}

/*
 * Guests before 5.0 take from the answer only the part that they know.  The
 * longer answer is for those who asked for a version that has it.
 */
static void answer_contact(VmbusBus *bus, const Contact *c, bool supported,
                           uint8_t connection_state)
{
    VmbusMsg msg = {.version_response = {
                        .supported = supported,
                        .connection_state = connection_state,
                    }};
    uint32_t len = sizeof(msg.version_response);

    if (supported && c->version >= VMBUS_VERSION_6_0) {
        msg.version_response2.features = c->features;
        len = sizeof(msg.version_response2);
    }
    if (supported && connection_state == VMBUS_CONNECT_SUCCESSFUL) {
        msg.version_response.connection_id = c->version >= VMBUS_VERSION_5_0
                                                 ? VMBUS_MESSAGE_CONNECTION_ID
                                                 : c->version;
    }
    vmbus_bus_reply(bus, c->reply_vp, c->reply_sint, &msg,
                    VMBUS_MSG_VERSION_RESPONSE, len);
}

/* Is the guest to try another version? */
static const char *validate_version(const VmbusBus *bus, const Contact *c,
                                    uint32_t len)
{
    if (!vmbus_version_known(c->version) || c->version > bus->max_version) {
        return "The guest asked for a version that the bus does not accept.";
    }
    if (!sint_valid(c->sint)) {
        return "The synthetic interrupt for messages is out of range.";
    }
    if ((c->features & VMBUS_FEATURE_CLIENT_ID) &&
        len < sizeof(VmbusMsgInitiateContact2)) {
        return "The guest says that it has a client id, and sends none.";
    }
    return NULL;
}

/*
 * Guests with monitor pages signal through them only the channels whose offer
 * has a monitor id, which none of ours has.  So what they hold is not read.
 */
static const char *validate_monitor_pages(uint64_t page1, uint64_t page2)
{
    return !page1 == !page2
               ? NULL
               : "The guest gave one monitor page, not two or none.";
}

/* The version is good; is the rest? */
static const char *validate_contact(const VmbusBus *bus, const Contact *c)
{
    if (!bus->ops->vp_exists(bus->opaque, c->vp)) {
        return "The virtual processor for messages does not exist.";
    }
    return validate_monitor_pages(c->msg->monitor_page1, c->msg->monitor_page2);
}

const char *vmbus_handle_initiate_contact(VmbusBus *bus,
                                          const VmbusLetter *letter)
{
    Contact c = read_contact(bus, letter);
    const char *why;

    /* A kernel that came up after a crash says no UNLOAD for the dead one. */
    vmbus_bus_disconnect(bus);
    why = validate_version(bus, &c, letter->len);
    if (why) {
        answer_contact(bus, &c, false, 0);
        return why;
    }
    why = validate_contact(bus, &c);
    if (!why && c.version < VMBUS_VERSION_2_4) {
        why = vmbus_interrupt_page_attach(bus, c.msg->interrupt_page);
    }
    if (why) {
        /* Guests before 2.4 know of no other failure than the version's. */
        answer_contact(
            bus, &c, c.version >= VMBUS_VERSION_2_4,
            c.version >= VMBUS_VERSION_2_4 ? VMBUS_CONNECT_FAILED_UNKNOWN : 0);
        return why;
    }
    bus->state = VMBUS_CONNECTED;
    bus->version = c.version;
    bus->features = c.features;
    bus->client_id = c.client_id;
    bus->target_vp = c.vp;
    bus->sint = c.sint;
    bus->connects++;
    answer_contact(bus, &c, true, VMBUS_CONNECT_SUCCESSFUL);
    vmbus_bus_event(bus, VMBUS_EVENT_CONNECTED, "", c.version, "");
    return NULL;
}

const char *vmbus_handle_unload(VmbusBus *bus, const VmbusLetter *letter)
{
    uint32_t vp = bus->target_vp;
    uint8_t sint = bus->sint;
    VmbusMsg msg = {0};

    vmbus_bus_disconnect(bus);
    vmbus_bus_reply(bus, vp, sint, &msg, VMBUS_MSG_UNLOAD_RESPONSE,
                    sizeof(msg.header));
    return NULL;
}

const char *vmbus_handle_modify_connection(VmbusBus *bus,
                                           const VmbusLetter *letter)
{
    const VmbusMsgModifyConnection *msg = &letter->msg.modify_connection;
    const char *why =
        validate_monitor_pages(msg->monitor_page1, msg->monitor_page2);
    VmbusMsg reply = {0};

    reply.modify_connection_response.connection_state =
        why ? VMBUS_CONNECT_FAILED_UNKNOWN : VMBUS_CONNECT_SUCCESSFUL;
    vmbus_bus_answer(bus, &reply, VMBUS_MSG_MODIFY_CONNECTION_RESPONSE,
                     sizeof(reply.modify_connection_response));
    return why;
}

/*
 * The reply is the last message until the guest resumes or leaves.  What the
 * channels have to say waits; it takes no memory that grows.
 */
const char *vmbus_handle_pause(VmbusBus *bus, const VmbusLetter *letter)
{
    VmbusMsg reply = {0};

    vmbus_bus_answer(bus, &reply, VMBUS_MSG_PAUSE_RESPONSE,
                     sizeof(reply.header));
    bus->paused = true;
    return NULL;
}

const char *vmbus_handle_resume(VmbusBus *bus, const VmbusLetter *letter)
{
    bus->paused = false;
    return NULL;
}
