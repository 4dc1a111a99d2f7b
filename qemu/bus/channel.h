/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel as its device (VSP) sees it: packets in, packets out.
 *
 * A guest can open a channel so that it stays open when its connection ends.
 * To the device it is as any other, but that the guest hears no signal of it.
 *
 * Threads: the bus's thread calls open(), close() and released().  Between
 * open() and close() the channel belongs to its own thread, if the machine
 * gives it one: that thread calls signal(), and it alone calls
 * vmbus_channel_receive(), _send(), _flush(), _hold(), _again() and
 * _is_open(), in
 * signal() or by itself, when a request of the device is done.  In open(),
 * which comes before all that, the bus's thread may call them; in close() it
 * may once nothing of the device runs on the other any more.  The rest of the
 * bus is for the bus's thread, except where it says "any thread".  A device
 * that needs it while its channel's thread is at work, to offer sub-channels
 * for example, leaves that to the bus's thread and does not wait: the bus's
 * thread may be waiting for the channel's.
 */
#ifndef VMBUS_CHANNEL_H
#define VMBUS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "bus/guid.h"

typedef struct VmbusChannel VmbusChannel;

/* What a device offers; copied by vmbus_bus_offer(). */
typedef struct VmbusOffer {
    const char *name;      /* for people and traces: "heartbeat" */
    VmbusGuid class_id;    /* interface type: what driver binds */
    VmbusGuid instance_id; /* which device; stable over starts */
    uint16_t flags;        /* VMBUS_OFFER_* of vmbus-protocol.h */
    uint16_t mmio_megabytes;
    bool pipe; /* message pipe: user_defined begins with its mode */
    uint8_t user_defined[116];
} VmbusOffer;

typedef struct VmbusChannelOps {
    /*
     * The guest opened the channel; its rings are mapped and usable.  False
     * refuses: the guest's OPENCHANNEL gets a failure status.
     */
    bool (*open)(VmbusChannel *chan, void *opaque);
    /*
     * The channel is going away: closed by the guest, reset, rescinded, or
     * its ring was found corrupt.  The rings are unusable after this returns.
     * Called exactly once for each open that returned true, and never within
     * another function of the channel.
     *
     * signal() has returned and is not called any more.  Requests that the
     * device has under way on the channel's thread can go on using the channel
     * until this returns; the device ends them, or sees to it that they forget
     * the channel, before it does.
     */
    void (*close)(VmbusChannel *chan, void *opaque);
    /* The guest signalled: packets, or room for packets, may be there. */
    void (*signal)(VmbusChannel *chan, void *opaque);
    /*
     * The end of vmbus_bus_rescind(): the guest has let go of the channel, or
     * has gone, or never had it.  @chan is no more when this returns;
     * vmbus_bus_withdraw() for it does nothing in here.  May be NULL.
     */
    void (*released)(VmbusChannel *chan, void *opaque);
} VmbusChannelOps;

/* One packet taken from the guest, in memory that the guest cannot touch. */
typedef struct VmbusPacket {
    uint16_t type;  /* VMBUS_PKT_* of vmbus-protocol.h */
    uint16_t flags; /* VMBUS_PKT_FLAG_* */
    uint64_t trans_id;
    const uint8_t *header; /* whole packet, descriptor first */
    uint32_t header_len;   /* descriptor and type-specific header, bytes */
    const uint8_t *data;   /* payload; padded to 8 bytes on the wire */
    uint32_t data_len;     /* bytes, a multiple of 8 */
} VmbusPacket;

typedef enum VmbusRingResult {
    VMBUS_RING_OK,
    VMBUS_RING_EMPTY,     /* nothing to take */
    VMBUS_RING_FULL,      /* no room now; signal() comes when there is */
    VMBUS_RING_CORRUPT,   /* the guest broke the ring: close() follows */
    VMBUS_RING_TOO_LARGE, /* packet can never fit this ring */
    VMBUS_RING_CLOSED,    /* the channel is not open */
} VmbusRingResult;

/*
 * Largest packet, with its descriptor, that vmbus_channel_receive() takes:
 * 16 KiB in a message pipe, as storage and sockets have, and room for headers
 * and lists of ranges.
 */
#define VMBUS_MAX_PACKET_SIZE 20480

/*
 * Takes the next packet from the guest into a buffer of the channel's own.
 * *@pkt is valid until the next call.  On VMBUS_RING_EMPTY what was taken is
 * published to the guest (and the guest signalled, if it waits for room).
 * After VMBUS_RING_CORRUPT, here or from vmbus_channel_send(), the channel is
 * not open any more, nothing more is read from or written to its rings, and
 * close() is called soon, but not in this call.
 */
VmbusRingResult vmbus_channel_receive(VmbusChannel *chan, VmbusPacket *pkt);

/*
 * Puts one packet into the ring to the guest without publishing it.  @iov is
 * the payload (after the descriptor); it is padded to 8 bytes with zeros.
 * VMBUS_RING_FULL leaves the ring as it was and asks the guest to signal when
 * there is room.
 */
VmbusRingResult vmbus_channel_send(VmbusChannel *chan, uint16_t type,
                                   uint16_t flags, uint64_t trans_id,
                                   const struct iovec *iov, int iovcnt);

/*
 * Publishes what vmbus_channel_send() put in, and before that what was taken;
 * signals the guest if it must.
 */
void vmbus_channel_flush(VmbusChannel *chan);

/*
 * In signal(), which then returns: it is called again when others that its
 * thread serves have had their turn.  A device does so after a number of
 * packets, as a guest can write without end, and who wants to stop the channel
 * waits for signal().
 */
void vmbus_channel_again(VmbusChannel *chan);

/*
 * The device can't take packets now: the guest need not signal any, and nobody
 * looks for them.  The next vmbus_channel_receive() ends that.
 */
void vmbus_channel_hold(VmbusChannel *chan);

/*
 * Offers @count more channels of the device, which the guest uses beside
 * @primary; their indexes go on from 1 or from the highest there is.  Guests
 * expect them only after they asked for them by the device's protocol, and all
 * are gone when @primary closes: each is closed, if it is open, and forgotten
 * (without released()) before @primary's own close() is called.  False with a
 * sentence in *@err (static), and none is offered, if @primary is not open, is
 * being opened or closed, outlives the guest's connection (the guest has
 * reserved it), or the bus has no room.
 */
bool vmbus_channel_offer_subchannels(VmbusChannel *primary, uint16_t count,
                                     const VmbusChannelOps *ops, void *opaque,
                                     const char **err);
/*
 * After the bus has loaded a saved state and before it resumes: gives
 * @primary's sub-channels their device, which until then ignores their signals.
 */
void vmbus_channel_adopt_subchannels(VmbusChannel *primary,
                                     const VmbusChannelOps *ops, void *opaque);
/* The sub-channel @index of @primary, or NULL. */
VmbusChannel *vmbus_channel_subchannel(const VmbusChannel *primary,
                                       uint16_t index);
/* 0 for a primary channel. */
uint16_t vmbus_channel_index(const VmbusChannel *chan);

/* True from open() on until close() returns, or the ring was found corrupt. */
bool vmbus_channel_is_open(const VmbusChannel *chan);

/* The opaque pointer given to vmbus_bus_offer(). */
void *vmbus_channel_opaque(const VmbusChannel *chan);

#endif
