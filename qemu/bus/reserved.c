/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reserved channels: a guest that writes a crash dump or a hibernation file
 * opens its disk's channel so, and goes on using it after it has unloaded the
 * bus.  Such a channel never interrupts, and the answers about it go to a VP
 * and SINT that each request names.  The rules are those of OpenVMM's
 * vmbus_server; where that is silent because it drops a request, we answer if
 * the guest would otherwise wait.
 */
#include "bus/bus-internal.h"

static const char *validate_target(const VmbusBus *bus, uint32_t vp,
                                   uint32_t sint)
{
    if (sint == 0 || sint >= VMBUS_SINT_COUNT) {
        return "The synthetic interrupt for a reserved channel's answer is out "
               "of range.";
    }
    if (!bus->ops->vp_exists(bus->opaque, vp)) {
        return "The virtual processor for a reserved channel's answer does not "
               "exist.";
    }
    return NULL;
}

static void answer(VmbusBus *bus, uint32_t vp, uint32_t sint, VmbusMsg *msg,
                   uint32_t type, uint32_t len)
{
    vmbus_bus_reply(bus, vp, sint, msg, type, len);
    bus->reply.reserved = true;
}

static const char *open_channel(VmbusChannel *chan,
                                const VmbusMsgOpenReserved *msg)
{
    const VmbusMsgOpen open = {
        .relid = msg->relid,
        .gpadl = msg->gpadl,
        .target_vp = VMBUS_VP_NONE,
        .downstream_offset = msg->downstream_offset,
    };
    bool closed = chan->state == VMBUS_CHANNEL_OFFERED;
    const char *why;

    if (chan->index) {
        return "The guest opened a sub-channel as a reserved channel.";
    }
    /* A device that is signalled for packets from before knows it already. */
    chan->reserved = chan->reserved || closed;
    why = vmbus_channel_open(chan, &open, NULL);
    if (why && closed) {
        chan->reserved = false;
    }
    return why;
}

const char *vmbus_handle_open_reserved(VmbusBus *bus, const VmbusLetter *letter)
{
    const VmbusMsgOpenReserved *msg = &letter->msg.open_reserved;
    VmbusChannel *chan = vmbus_bus_find_channel(bus, msg->relid);
    const char *why = validate_target(bus, msg->target_vp, msg->target_sint);
    VmbusMsg reply = {.open_result = {.relid = msg->relid}};

    if (why) {
        /* Nobody would hear an answer. */
        return why;
    }
    why = chan ? open_channel(chan, msg)
               : "The guest opened a reserved channel that it has not got.";
    reply.open_result.status =
        why ? VMBUS_STATUS_UNSUCCESSFUL : VMBUS_STATUS_SUCCESS;
    answer(bus, msg->target_vp, msg->target_sint, &reply,
           VMBUS_MSG_OPENCHANNEL_RESULT, sizeof(reply.open_result));
    return why;
}

static const char *validate_close(const VmbusBus *bus, const VmbusChannel *chan,
                                  const VmbusMsgCloseReserved *msg)
{
    if (!chan) {
        return "The guest closed a reserved channel that it has not got.";
    }
    if (chan->state == VMBUS_CHANNEL_OFFERED) {
        return "The guest closed a reserved channel that is not open.";
    }
    if (!chan->reserved && chan->state != VMBUS_CHANNEL_RESCINDED) {
        return "The guest closed a channel as a reserved one, which it is not.";
    }
    return validate_target(bus, msg->target_vp, msg->target_sint);
}

/*
 * The guest of the connection may go on with the channel and its GPADLs, even
 * if they are from an earlier connection; it gets no second offer of it.
 */
static void close_channel(VmbusChannel *chan)
{
    VmbusBus *bus = chan->bus;
    bool has_it = !chan->outlived || bus->offers_requested;

    vmbus_channel_close(chan, VMBUS_CHANNEL_OFFERED);
    chan->state = has_it ? VMBUS_CHANNEL_OFFERED : VMBUS_CHANNEL_IDLE;
    chan->reserved = chan->outlived = false;
    if (bus->state == VMBUS_DISCONNECTED) {
        vmbus_gpadl_remove_all(&bus->gpadls, chan->relid);
    }
}

const char *vmbus_handle_close_reserved(VmbusBus *bus,
                                        const VmbusLetter *letter)
{
    const VmbusMsgCloseReserved *msg = &letter->msg.close_reserved;
    VmbusChannel *chan = vmbus_bus_find_channel(bus, msg->relid);
    const char *why = validate_close(bus, chan, msg);
    VmbusMsg reply = {.relid = {.relid = msg->relid}};

    if (why) {
        return why;
    }
    if (chan->reserved) {
        close_channel(chan);
    }
    answer(bus, msg->target_vp, msg->target_sint, &reply,
           VMBUS_MSG_CLOSE_RESERVED_RESPONSE, sizeof(reply.relid));
    return NULL;
}

bool vmbus_reserved_waits(const VmbusBus *bus)
{
    if ((bus->in_flight && bus->flying.reserved) ||
        (bus->reply.len && bus->reply.reserved)) {
        return true;
    }
    for (unsigned i = 0; i < bus->waiting_count; i++) {
        unsigned slot = (bus->waiting_head + i) % VMBUS_MAX_WAITING;
        uint32_t type = bus->waiting[slot].msg.header.type;

        if (type == VMBUS_MSG_OPEN_RESERVED ||
            type == VMBUS_MSG_CLOSE_RESERVED) {
            return true;
        }
    }
    return false;
}

/* Its GPADLs have outlived the connection with it, or go with the rest. */
static bool outlives(void *opaque, uint32_t relid)
{
    const VmbusBus *bus = opaque;

    return bus->channels[relid] && bus->channels[relid]->reserved;
}

void vmbus_reserved_end_connection(VmbusBus *bus)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i] && bus->channels[i]->reserved) {
            bus->channels[i]->outlived = true;
        }
    }
    vmbus_gpadl_end_connection(&bus->gpadls, outlives, bus);
}

void vmbus_reserved_forget(VmbusBus *bus)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        if (bus->channels[i]) {
            bus->channels[i]->reserved = bus->channels[i]->outlived = false;
        }
    }
}
