/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/bus-internal.h"

/*
 * Channels' connection ids stand apart from those of messages (1 to 16), and
 * look like Hyper-V's: the SINT in bits 12 and up, the relid below.
 */
#define CHANNEL_CONNECTION_ID(relid) (VMBUS_MESSAGE_SINT << 12 | (relid))

void vmbus_bus_event(VmbusBus *bus, VmbusEventKind kind, const char *name,
                     uint32_t id, const char *sentence)
{
    VmbusEvent event = {
        .kind = kind, .name = name, .id = id, .sentence = sentence};

    bus->ops->event(bus->opaque, &event);
}

void vmbus_bus_refuse(VmbusBus *bus, const char *name, uint32_t id,
                      const char *sentence)
{
    bus->messages_refused++;
    vmbus_bus_event(bus, VMBUS_EVENT_REFUSED, name, id, sentence);
}

VmbusBus *vmbus_bus_new(const VmbusMachineOps *ops, void *opaque)
{
    VmbusBus *bus = g_new0(VmbusBus, 1);

    bus->ops = ops;
    bus->opaque = opaque;
    bus->max_version = UINT32_MAX;
    bus->sint = VMBUS_MESSAGE_SINT;
    g_queue_init(&bus->senders);
    vmbus_gpadl_table_init(&bus->gpadls);
    return bus;
}

void vmbus_bus_set_max_version(VmbusBus *bus, uint32_t version)
{
    bus->max_version = version;
}

void vmbus_bus_forget_channel(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;

    if (chan->to_send) {
        g_queue_unlink(&bus->senders, &chan->link);
    }
    bus->channels[chan->relid] = NULL;
    if (chan->torndown) {
        g_array_free(chan->torndown, TRUE);
    }
    g_free((char *)chan->offer.name);
    g_free(chan->packet);
    g_free(chan);
}

/* The guest has no part in a channel any more that was rescinded. */
static void channel_release(VmbusChannel *chan)
{
    const VmbusChannelOps *ops = chan->ops;

    chan->releasing = true;
    if (ops && ops->released) {
        ops->released(chan, chan->opaque);
    }
    vmbus_bus_forget_channel(chan);
}

static void forget_messages(VmbusBus *bus)
{
    GList *link;

    if (bus->in_flight) {
        bus->in_flight = false;
        if (!bus->held) {
            bus->ops->cancel_message(bus->opaque);
        }
    }
    bus->reply.len = 0;
    bus->send_alloffers = false;
    while ((link = g_queue_pop_head_link(&bus->senders))) {
        VmbusChannel *chan = link->data;

        chan->to_send = 0;
        if (chan->torndown) {
            g_array_set_size(chan->torndown, 0);
        }
    }
}

void vmbus_bus_disconnect(VmbusBus *bus)
{
    uint32_t version = bus->version;

    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = bus->channels[i];

        if (!chan) {
            continue;
        }
        if (chan->state == VMBUS_CHANNEL_RESCINDED) {
            channel_release(chan);
            continue;
        }
        if (!chan->reserved) {
            vmbus_channel_close(chan, VMBUS_CHANNEL_IDLE);
            chan->state = VMBUS_CHANNEL_IDLE;
        }
    }
    vmbus_reserved_end_connection(bus);
    vmbus_interrupt_page_detach(bus);
    forget_messages(bus);
    bus->offers_requested = false;
    bus->version = 0;
    bus->features = 0;
    bus->client_id = (VmbusGuid){{0}};
    bus->paused = false;
    bus->target_vp = 0;
    bus->sint = VMBUS_MESSAGE_SINT;
    if (bus->state == VMBUS_CONNECTED) {
        bus->state = VMBUS_DISCONNECTED;
        vmbus_bus_event(bus, VMBUS_EVENT_DISCONNECTED, "", version, "");
    }
}

void vmbus_bus_reset(VmbusBus *bus)
{
    bus->waiting_count = 0;
    bus->restart = false;
    vmbus_reserved_forget(bus);
    vmbus_bus_disconnect(bus);
    bus->close_broken = false;
    bus->held = false;
    bus->gpadls.held = false;
}

void vmbus_bus_free(VmbusBus *bus)
{
    vmbus_bus_reset(bus);
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i]) {
            vmbus_bus_forget_channel(bus->channels[i]);
        }
    }
    vmbus_gpadl_table_destroy(&bus->gpadls);
    g_free(bus);
}

/* Messages to the guest */

void vmbus_bus_reply(VmbusBus *bus, uint32_t vp, uint8_t sint, VmbusMsg *msg,
                     uint32_t type, uint32_t len)
{
    msg->header = (VmbusMsgHeader){.type = type};
    bus->reply = (VmbusLetter){.vp = vp, .sint = sint, .len = len};
    memcpy(&bus->reply.msg, msg, len);
}

void vmbus_bus_answer(VmbusBus *bus, VmbusMsg *msg, uint32_t type, uint32_t len)
{
    vmbus_bus_reply(bus, bus->target_vp, bus->sint, msg, type, len);
}

void vmbus_bus_send_later(VmbusChannel *chan, unsigned what)
{
    if (!chan->to_send) {
        chan->link = (GList){.data = chan};
        g_queue_push_tail_link(&chan->bus->senders, &chan->link);
    }
    chan->to_send |= what;
}

static void make_offer(VmbusChannel *chan, VmbusLetter *letter)
{
    const VmbusOffer *offer = &chan->offer;
    VmbusMsgOffer *msg = &letter->msg.offer;
    uint8_t *user = msg->user_defined;

    *msg = (VmbusMsgOffer){
        .header.type = VMBUS_MSG_OFFERCHANNEL,
        .class_id = offer->class_id,
        .instance_id = offer->instance_id,
        .flags = offer->flags,
        .mmio_megabytes = offer->mmio_megabytes,
        .relid = chan->relid,
        .subchannel_index = chan->index,
        .monitor_id = 0xff, /* none: no monitor_allocated either */
        .dedicated_interrupt = 1,
        .connection_id = chan->connection_id,
    };
    if (offer->pipe) {
        uint32_t mode = VMBUS_PIPE_MESSAGE;

        msg->flags |= VMBUS_OFFER_NAMED_PIPE;
        memcpy(user, &mode, sizeof(mode));
        user += sizeof(mode);
    }
    memcpy(user, offer->user_defined, sizeof(offer->user_defined));
    /* The fields after monitor_allocated came with 1.1. */
    letter->len = chan->bus->version >= VMBUS_VERSION_1_1
                      ? sizeof(*msg)
                      : offsetof(VmbusMsgOffer, dedicated_interrupt);
}

static void make_relid_message(VmbusChannel *chan, VmbusLetter *letter,
                               uint32_t type)
{
    letter->msg.relid =
        (VmbusMsgRelid){.header.type = type, .relid = chan->relid};
    letter->len = sizeof(VmbusMsgRelid);
}

static void make_channel_message(VmbusChannel *chan, VmbusLetter *letter)
{
    if (chan->to_send & VMBUS_SEND_OFFER) {
        chan->to_send &= ~VMBUS_SEND_OFFER;
        chan->state = VMBUS_CHANNEL_OFFERED;
        make_offer(chan, letter);
    } else if (chan->to_send & VMBUS_SEND_TORNDOWN) {
        letter->msg.gpadl_torndown = (VmbusMsgGpadlTorndown){
            .header.type = VMBUS_MSG_GPADL_TORNDOWN,
            .gpadl = g_array_index(chan->torndown, uint32_t, 0),
        };
        g_array_remove_index(chan->torndown, 0);
        if (chan->torndown->len == 0) {
            chan->to_send &= ~VMBUS_SEND_TORNDOWN;
        }
        letter->len = sizeof(VmbusMsgGpadlTorndown);
    } else {
        chan->to_send &= ~VMBUS_SEND_RESCIND;
        make_relid_message(chan, letter, VMBUS_MSG_RESCIND_CHANNELOFFER);
    }
    if (!chan->to_send) {
        g_queue_unlink(&chan->bus->senders, &chan->link);
    }
}

/* False if there is nothing to send. */
static bool next_letter(VmbusBus *bus, VmbusLetter *letter)
{
    if (bus->reply.len) {
        *letter = bus->reply;
        bus->reply.len = 0;
        return true;
    }
    if (bus->paused) {
        return false;
    }
    *letter = (VmbusLetter){.vp = bus->target_vp, .sint = bus->sint};
    if (bus->senders.head) {
        make_channel_message(bus->senders.head->data, letter);
        return true;
    }
    if (bus->send_alloffers) {
        bus->send_alloffers = false;
        letter->msg.header =
            (VmbusMsgHeader){.type = VMBUS_MSG_ALLOFFERS_DELIVERED};
        letter->len = sizeof(VmbusMsgHeader);
        return true;
    }
    return false;
}

void vmbus_bus_send_letter(VmbusBus *bus, const VmbusLetter *letter)
{
    const char *name = vmbus_message_name(letter->msg.header.type);
    int ret;

    vmbus_bus_event(bus, VMBUS_EVENT_MESSAGE_OUT, name, letter->msg.header.type,
                    "");
    bus->in_flight = true;
    bus->flying = *letter;
    ret = bus->ops->post_message(bus->opaque, letter->vp, letter->sint,
                                 &letter->msg, letter->len);
    if (ret < 0) {
        bus->in_flight = false;
        vmbus_bus_refuse(bus, name, letter->msg.header.type,
                         "The machine did not take a message for the guest.");
    }
}

/*
 * Does what can be done: sends messages one after the other, and handles the
 * guest's only while none of ours waits, so that a guest that does not listen
 * cannot make us store more.
 */
void vmbus_bus_pump(VmbusBus *bus)
{
    VmbusLetter letter;

    if (bus->pumping || bus->held || bus->waits) {
        return;
    }
    bus->pumping = true;
    for (;;) {
        if (bus->close_broken) {
            vmbus_bus_close_broken(bus);
        } else if (bus->restart) {
            bus->restart = false;
            forget_messages(bus);
        } else if (bus->in_flight) {
            break;
        } else if (next_letter(bus, &letter)) {
            vmbus_bus_send_letter(bus, &letter);
        } else if (bus->waiting_count) {
            letter = bus->waiting[bus->waiting_head];
            bus->waiting_head = (bus->waiting_head + 1) % VMBUS_MAX_WAITING;
            bus->waiting_count--;
            vmbus_message_handle(bus, &letter);
        } else {
            break;
        }
    }
    bus->pumping = false;
}

void vmbus_bus_message_delivered(VmbusBus *bus, int status)
{
    if (!bus->in_flight || bus->held) {
        return;
    }
    bus->in_flight = false;
    if (status < 0) {
        vmbus_bus_refuse(bus, "", 0, "A message did not reach the guest.");
    } else {
        bus->messages_out++;
    }
    vmbus_bus_pump(bus);
}

VmbusPostResult vmbus_bus_post(VmbusBus *bus, uint32_t conn_id,
                               const void *payload, uint32_t len)
{
    VmbusLetter letter = {.conn_id = conn_id, .len = len};
    unsigned slot;

    if ((conn_id != VMBUS_MESSAGE_CONNECTION_ID &&
         conn_id != VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID) ||
        len > VMBUS_MAX_MESSAGE) {
        return VMBUS_POST_INVALID;
    }
    memcpy(&letter.msg, payload, len);
    if (vmbus_message_restarts(bus, &letter)) {
        /* The slot that a reply waits for may belong to a dead kernel. */
        bus->waiting_count = 0;
        bus->restart = true;
    }
    if (bus->waiting_count == VMBUS_MAX_WAITING) {
        return VMBUS_POST_BUSY;
    }
    slot = (bus->waiting_head + bus->waiting_count) % VMBUS_MAX_WAITING;
    bus->waiting[slot] = letter;
    bus->waiting_count++;
    vmbus_bus_pump(bus);
    return VMBUS_POST_OK;
}

/* Offers */

/* Does the guest still hold a withdrawn channel of the same device? */
static bool ghost_exists(const VmbusBus *bus, const VmbusChannel *chan)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        const VmbusChannel *other = bus->channels[i];

        if (other && other->state == VMBUS_CHANNEL_RESCINDED &&
            other->index == chan->index &&
            vmbus_guid_equal(&other->offer.instance_id,
                             &chan->offer.instance_id)) {
            return true;
        }
    }
    return false;
}

void vmbus_bus_offer_channel(VmbusChannel *chan)
{
    /* Linux takes the second offer of an instance for a hibernation's end. */
    if (chan->bus->offers_requested && chan->state == VMBUS_CHANNEL_IDLE &&
        !ghost_exists(chan->bus, chan)) {
        vmbus_bus_send_later(chan, VMBUS_SEND_OFFER);
    }
}

void vmbus_bus_send_offers(VmbusBus *bus)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i] && bus->channels[i]->state == VMBUS_CHANNEL_IDLE) {
            vmbus_bus_send_later(bus->channels[i], VMBUS_SEND_OFFER);
        }
    }
}

VmbusChannel *vmbus_bus_find_channel(VmbusBus *bus, uint32_t relid)
{
    VmbusChannel *chan =
        relid < VMBUS_RELID_COUNT ? bus->channels[relid] : NULL;

    return chan && chan->state != VMBUS_CHANNEL_IDLE ? chan : NULL;
}

void vmbus_bus_release(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;
    VmbusGuid instance = chan->offer.instance_id;

    vmbus_gpadl_remove_all(&bus->gpadls, chan->relid);
    if (chan->state != VMBUS_CHANNEL_RESCINDED) {
        chan->state = VMBUS_CHANNEL_IDLE;
        return;
    }
    channel_release(chan);
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i] &&
            vmbus_guid_equal(&bus->channels[i]->offer.instance_id, &instance)) {
            vmbus_bus_offer_channel(bus->channels[i]);
        }
    }
}

uint32_t vmbus_bus_free_relid(const VmbusBus *bus, uint32_t from)
{
    for (uint32_t i = from; i < VMBUS_RELID_COUNT; i++) {
        if (!bus->channels[i]) {
            return i;
        }
    }
    return 0;
}

static const char *validate_offer(const VmbusBus *bus, const VmbusOffer *offer)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        const VmbusChannel *chan = bus->channels[i];

        if (chan && chan->state != VMBUS_CHANNEL_RESCINDED &&
            vmbus_guid_equal(&chan->offer.instance_id, &offer->instance_id)) {
            return "Another device has this instance id.";
        }
    }
    return vmbus_bus_free_relid(bus, 1)
               ? NULL
               : "The bus has no room for another channel.";
}

/*
 * That of the relid, unless a saved state has given it to another channel. Ends
 * soon, as there are more ids than channels.
 */
static uint32_t free_connection_id(const VmbusBus *bus, uint32_t relid)
{
    uint32_t id = CHANNEL_CONNECTION_ID(relid);

    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i] && bus->channels[i]->connection_id == id) {
            id += VMBUS_RELID_COUNT;
            i = 0;
        }
    }
    return id;
}

VmbusChannel *vmbus_bus_add(VmbusBus *bus, const VmbusOffer *offer,
                            uint32_t relid)
{
    VmbusChannel *chan = g_new0(VmbusChannel, 1);

    chan->bus = bus;
    chan->offer = *offer;
    chan->offer.name = g_strdup(offer->name ? offer->name : "");
    chan->relid = relid;
    chan->connection_id = free_connection_id(bus, relid);
    chan->target_vp = VMBUS_VP_NONE;
    bus->channels[relid] = chan;
    return chan;
}

VmbusChannel *vmbus_bus_offer(VmbusBus *bus, const VmbusOffer *offer,
                              const VmbusChannelOps *ops, void *opaque,
                              const char **err)
{
    VmbusChannel *chan;

    *err = validate_offer(bus, offer);
    if (*err) {
        return NULL;
    }
    chan = vmbus_bus_add(bus, offer, vmbus_bus_free_relid(bus, 1));
    chan->ops = ops;
    chan->opaque = opaque;
    vmbus_bus_offer_channel(chan);
    vmbus_bus_pump(bus);
    return chan;
}

/*
 * The device leaves.  A guest that was not offered the channel in its
 * connection, but in one before, does not hear of it.
 */
static void end_reservation(VmbusChannel *chan)
{
    if (chan->outlived) {
        vmbus_channel_close(chan, VMBUS_CHANNEL_IDLE);
        chan->state = VMBUS_CHANNEL_IDLE;
    }
    chan->reserved = chan->outlived = false;
    if (chan->state == VMBUS_CHANNEL_IDLE &&
        g_hash_table_size(chan->bus->gpadls.kept)) {
        vmbus_gpadl_remove_all(&chan->bus->gpadls, chan->relid);
    }
}

void vmbus_bus_rescind(VmbusBus *bus, VmbusChannel *chan)
{
    if (chan->state == VMBUS_CHANNEL_RESCINDED || chan->releasing) {
        return;
    }
    end_reservation(chan);
    if (chan->state == VMBUS_CHANNEL_IDLE) {
        channel_release(chan);
        return;
    }
    vmbus_channel_close(chan, VMBUS_CHANNEL_RESCINDED);
    chan->state = VMBUS_CHANNEL_RESCINDED;
    chan->primary = NULL;
    vmbus_bus_send_later(chan, VMBUS_SEND_RESCIND);
    vmbus_bus_pump(bus);
}

void vmbus_bus_drop(VmbusChannel *chan)
{
    if (chan->releasing) {
        return;
    }
    end_reservation(chan);
    if (chan->state == VMBUS_CHANNEL_IDLE) {
        vmbus_bus_forget_channel(chan);
        return;
    }
    if (chan->state != VMBUS_CHANNEL_RESCINDED) {
        vmbus_channel_close(chan, VMBUS_CHANNEL_RESCINDED);
        chan->state = VMBUS_CHANNEL_RESCINDED;
        vmbus_bus_send_later(chan, VMBUS_SEND_RESCIND);
    }
    chan->primary = NULL;
    chan->ops = NULL;
    chan->opaque = NULL;
}

void vmbus_bus_withdraw(VmbusBus *bus, VmbusChannel *chan)
{
    vmbus_bus_drop(chan);
    vmbus_bus_pump(bus);
}

/* What can be seen from outside */

void vmbus_bus_info(const VmbusBus *bus, VmbusBusInfo *info)
{
    *info = (VmbusBusInfo){
        .state = bus->state,
        .version = bus->version,
        .target_vp = bus->target_vp,
        .message_sint = bus->sint,
        .interrupt_page = bus->interrupt_page,
        .features = bus->features,
        .client_id = bus->client_id,
        .paused = bus->paused,
        .gpadl_count = vmbus_gpadl_count(&bus->gpadls),
        .messages_in = bus->messages_in,
        .messages_out = bus->messages_out,
        .messages_refused = bus->messages_refused,
        .connects = bus->connects,
    };
}

void vmbus_bus_foreach(const VmbusBus *bus,
                       void (*fn)(VmbusChannel *chan, void *opaque),
                       void *opaque)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i]) {
            fn(bus->channels[i], opaque);
        }
    }
}
