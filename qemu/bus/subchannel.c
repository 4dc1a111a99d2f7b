/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * More channels of a device, which come and go while its primary channel is
 * open.  Linux' vmbus_close() closes them before the primary one, and lets them
 * go when it hears of their rescind.
 */
#include "bus/bus-internal.h"

/* Ops of a sub-channel that was loaded and not adopted. */

static bool nobody_open(VmbusChannel *chan, void *opaque)
{
    return false;
}

static void nobody_hears(VmbusChannel *chan, void *opaque)
{
}

static const VmbusChannelOps nobody = {
    .open = nobody_open,
    .close = nobody_hears,
    .signal = nobody_hears,
};

VmbusChannel *vmbus_subchannel_add(VmbusChannel *primary, uint16_t index,
                                   uint32_t relid)
{
    VmbusChannel *chan = vmbus_bus_add(primary->bus, &primary->offer, relid);

    chan->primary = primary;
    chan->index = index;
    chan->ops = &nobody;
    return chan;
}

/* The highest index of a sub-channel of @primary, or 0. */
static uint16_t last_index(const VmbusChannel *primary)
{
    uint16_t index = 0;

    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        const VmbusChannel *chan = primary->bus->channels[i];

        if (chan && chan->primary == primary) {
            index = MAX(index, chan->index);
        }
    }
    return index;
}

static const char *validate_subchannels(const VmbusChannel *primary,
                                        uint16_t count)
{
    uint32_t relid = 0;

    if (primary->index) {
        return "A sub-channel cannot have sub-channels.";
    }
    if (!vmbus_channel_is_open(primary) || primary->opening ||
        primary->closing) {
        return "Sub-channels are for a channel that is open.";
    }
    if (primary->reserved) {
        return "Sub-channels are not for a channel that the guest reserved.";
    }
    if (count > UINT16_MAX - last_index(primary)) {
        return "The bus has no room for the sub-channels.";
    }
    for (uint16_t i = 0; i < count; i++) {
        relid = vmbus_bus_free_relid(primary->bus, relid + 1);
        if (!relid) {
            return "The bus has no room for the sub-channels.";
        }
    }
    return NULL;
}

bool vmbus_channel_offer_subchannels(VmbusChannel *primary, uint16_t count,
                                     const VmbusChannelOps *ops, void *opaque,
                                     const char **err)
{
    VmbusBus *bus = primary->bus;
    uint16_t index = last_index(primary);
    uint32_t relid = 0;

    *err = validate_subchannels(primary, count);
    if (*err) {
        return false;
    }
    for (uint16_t i = 0; i < count; i++) {
        VmbusChannel *chan;

        relid = vmbus_bus_free_relid(bus, relid + 1);
        chan = vmbus_subchannel_add(primary, ++index, relid);
        chan->ops = ops;
        chan->opaque = opaque;
        vmbus_bus_offer_channel(chan);
    }
    vmbus_bus_pump(bus);
    return true;
}

void vmbus_channel_adopt_subchannels(VmbusChannel *primary,
                                     const VmbusChannelOps *ops, void *opaque)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = primary->bus->channels[i];

        if (chan && chan->primary == primary) {
            chan->ops = ops;
            chan->opaque = opaque;
        }
    }
}

VmbusChannel *vmbus_channel_subchannel(const VmbusChannel *primary,
                                       uint16_t index)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = primary->bus->channels[i];

        if (chan && chan->primary == primary && chan->index == index) {
            return chan;
        }
    }
    return NULL;
}

/* Whoever closes the primary channel pumps. */
void vmbus_subchannels_drop(VmbusChannel *primary)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = primary->bus->channels[i];

        if (chan && chan->primary == primary) {
            vmbus_bus_drop(chan);
        }
    }
}

uint16_t vmbus_channel_index(const VmbusChannel *chan)
{
    return chan->index;
}

VmbusChannel *vmbus_channel_primary(VmbusChannel *chan)
{
    return chan->index ? chan->primary : chan;
}
