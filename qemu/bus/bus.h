/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's end of a VMBus connection: it takes the guest's messages, and
 * calls the machine beneath it to answer.  No thread, clock or descriptor is
 * inside.
 *
 * Threads: the bus has one, from which all calls come that are not said to come
 * from others; it may be a lock that several threads take in turn.  An open
 * channel may have another, its own, for what channel.h names; several channels
 * may share one.  The machine chooses it and keeps the two apart by start(),
 * stop() and call(), so that a packet needs no lock.
 */
#ifndef VMBUS_BUS_H
#define VMBUS_BUS_H

#include "bus/channel.h"

typedef struct VmbusBus VmbusBus;
struct VmbusEvent;

/*
 * Host pointers to pages of guest memory.  The machine allocates it (usually
 * as the head of a larger structure) and frees it in unmap().
 */
typedef struct VmbusMapping {
    uint32_t page_count; /* pages of 4096 bytes */
    uint8_t **pages;     /* one host pointer a page */
} VmbusMapping;

/*
 * What the bus needs from the machine; all are called on the bus's thread,
 * unless they say otherwise.  Where one waits for a channel's thread, other
 * events of the bus's thread may be handled meanwhile, but no message of the
 * guest be posted.
 */
typedef struct VmbusMachineOps {
    /* Is there a virtual processor with this VP index? */
    bool (*vp_exists)(void *opaque, uint32_t vp_index);
    /*
     * Deliver a message to @sint of @vp.  The bus calls it with one message
     * at a time; the machine answers each accepted one with one call of
     * vmbus_bus_message_delivered(), later or at once, in this call too.
     * Returns 0 or a negative errno (the message is then dropped).
     * A busy slot is the machine's matter: it waits and tries again.
     */
    int (*post_message)(void *opaque, uint32_t vp, uint8_t sint,
                        const void *payload, uint32_t len);
    /* The connection moved or ended: forget the message under way, if any;
     * no vmbus_bus_message_delivered() follows for it. */
    void (*cancel_message)(void *opaque);
    /* Prepare to signal event flags of (@vp, @sint); false if it can't be.
     * The bus pairs every prepare with a release. */
    bool (*prepare_signal)(void *opaque, VmbusChannel *chan, uint32_t vp,
                           uint8_t sint, void **route);
    void (*release_signal)(void *opaque, VmbusChannel *chan, void *route);
    /*
     * Set event flag @flag and raise the SINT; on the channel's thread, or on
     * the bus's.  The route is not released meanwhile.
     */
    void (*signal)(void *opaque, void *route, uint16_t flag);
    /*
     * Take the guest's signals of @conn_id for @chan; false if that can't be.
     * None is lost from now on, but vmbus_channel_signalled() is not called
     * for them before start().  *@listener stands for the channel from here to
     * unlisten(), which comes when it is stopped.
     */
    bool (*listen)(void *opaque, VmbusChannel *chan, uint32_t conn_id,
                   void **listener);
    void (*unlisten)(void *opaque, void *listener);
    /*
     * Call vmbus_channel_signalled() on the channel's thread whenever the guest
     * has signalled; one call may stand for several signals.
     */
    void (*start)(void *opaque, void *listener);
    /*
     * Returns when no such call is under way (but for the one that it is called
     * in, if the two threads are one) and none comes before the next start().
     * Signals that come until then are kept for it.
     */
    void (*stop)(void *opaque, void *listener);
    /*
     * As if the guest had signalled; on the channel's thread, or on the bus's.
     * A call that it is made in ends before the one that it asks for.
     */
    void (*kick)(void *opaque, void *listener);
    /*
     * Call @fn on the channel's thread, when it is in no function of the
     * channel, and return when it is done; started or not.
     */
    void (*call)(void *opaque, void *listener, void (*fn)(void *arg),
                 void *arg);
    /*
     * Call vmbus_channel_close_broken() on the bus's thread soon, not in this
     * call.  On the channel's thread, or on the bus's; at most once between
     * listen() and unlisten(), after which it is of no use any more.
     */
    void (*defer_close)(void *opaque, void *listener);
    /*
     * Call vmbus_bus_interrupt_page_signalled() when the guest signals
     * @conn_id.  Both may be NULL: the bus then refuses versions before 2.4.
     */
    bool (*listen_shared)(void *opaque, uint32_t conn_id);
    void (*unlisten_shared)(void *opaque, uint32_t conn_id);
    /* Map guest pages of RAM for reading and writing; NULL if one is not. */
    VmbusMapping *(*map)(void *opaque, const uint64_t *gfns, uint32_t count);
    void (*unmap)(void *opaque, VmbusMapping *mapping);
    /*
     * The host wrote @len bytes from byte @offset of @mapping; any thread, and
     * for one mapping several at a time.
     */
    void (*mark_dirty)(void *opaque, VmbusMapping *mapping, uint64_t offset,
                       uint32_t len);
    /* Something for the trace or the log.  @sentence is for people. */
    void (*event)(void *opaque, const struct VmbusEvent *event);
} VmbusMachineOps;

typedef enum VmbusEventKind {
    VMBUS_EVENT_CONNECTED,    /* version negotiated */
    VMBUS_EVENT_DISCONNECTED, /* unload, reset or a new INITIATE_CONTACT */
    VMBUS_EVENT_MESSAGE_IN,   /* a message of the guest, by name */
    VMBUS_EVENT_MESSAGE_OUT,  /* a message to the guest, by name */
    VMBUS_EVENT_CHANNEL_OPENED,
    VMBUS_EVENT_CHANNEL_CLOSED,
    VMBUS_EVENT_REFUSED, /* a request refused, or a message dropped */
    VMBUS_EVENT_CORRUPT, /* a ring found corrupt */
} VmbusEventKind;

typedef struct VmbusEvent {
    VmbusEventKind kind;
    const char *name;     /* message or device, or "" */
    uint32_t id;          /* relid, GPADL or version, as the kind has it */
    const char *sentence; /* why, for REFUSED and CORRUPT; else "" */
} VmbusEvent;

VmbusBus *vmbus_bus_new(const VmbusMachineOps *ops, void *opaque);
/*
 * All devices are closed and withdrawn first; no message is sent.  Those that
 * are being rescinded are released.
 */
void vmbus_bus_free(VmbusBus *bus);

/* True if the bus can speak @version, major << 16 | minor. */
bool vmbus_version_known(uint32_t version);
/* Highest version that the bus accepts, major << 16 | minor; default: all. */
void vmbus_bus_set_max_version(VmbusBus *bus, uint32_t version);

/*
 * Offers a device; to a connected guest at once, otherwise when it asks.
 * Returns NULL with a sentence in *@err (static) if the instance id is taken
 * or no relid is free.
 */
VmbusChannel *vmbus_bus_offer(VmbusBus *bus, const VmbusOffer *offer,
                              const VmbusChannelOps *ops, void *opaque,
                              const char **err);
/*
 * Takes a device from the guest: closes the channel, asks the guest to let go
 * of it, and calls the device's released() when it has, which may be in this
 * call.  Linux lets go when its driver's remove() is done; a guest may never.
 * A second call does nothing.  Not to be called from the channel's own open()
 * or close().
 */
void vmbus_bus_rescind(VmbusBus *bus, VmbusChannel *chan);
/*
 * Closes the channel and forgets its device at once; released() is not called
 * any more.  The guest, if connected, gets a rescind, unless it has had one;
 * until it lets go the relid stays taken.  Not to be called from the channel's
 * own open() or close().
 */
void vmbus_bus_withdraw(VmbusBus *bus, VmbusChannel *chan);

typedef enum VmbusPostResult {
    VMBUS_POST_OK,
    VMBUS_POST_BUSY, /* queue full: INSUFFICIENT_BUFFERS, the guest retries */
    VMBUS_POST_INVALID,
} VmbusPostResult;

/*
 * A message of the guest arrived on connection @conn_id.  @payload is a copy
 * that the guest cannot touch.  It is handled before this returns, unless
 * replies are waiting; then it is queued, up to 16 deep.
 */
VmbusPostResult vmbus_bus_post(VmbusBus *bus, uint32_t conn_id,
                               const void *payload, uint32_t len);
/* The message given to post_message() is in the slot (or failed for good). */
void vmbus_bus_message_delivered(VmbusBus *bus, int status);
/* The guest signalled the channel's connection id; on the channel's thread. */
void vmbus_channel_signalled(VmbusChannel *chan);
/*
 * For a machine that looks itself, between start() and stop() and on the
 * channel's thread: has the guest written a packet for which the device waits,
 * and the same as vmbus_channel_signalled() when it has.
 */
bool vmbus_channel_has_packet(const VmbusChannel *chan);
void vmbus_channel_polled(VmbusChannel *chan);
/*
 * The machine looks all the time from now on, and the guest need not signal;
 * or no longer, and looks once more after that.
 */
void vmbus_channel_set_polled(VmbusChannel *chan, bool polled);
/*
 * What defer_close() asks for: closes the channel if its ring is corrupt, and
 * otherwise, as it may have been closed meanwhile, does nothing.
 */
void vmbus_channel_close_broken(VmbusChannel *chan);
/* What listen() made for an open channel, else NULL. */
void *vmbus_channel_listener(const VmbusChannel *chan);
/* The guest signalled the connection id given to listen_shared(). */
void vmbus_bus_interrupt_page_signalled(VmbusBus *bus);
/* Machine reset: as if no guest had ever been; offers stay. */
void vmbus_bus_reset(VmbusBus *bus);

typedef enum VmbusConnectionState {
    VMBUS_DISCONNECTED,
    VMBUS_CONNECTED,
} VmbusConnectionState;

typedef enum VmbusChannelState {
    VMBUS_CHANNEL_IDLE, /* not offered to a guest yet */
    VMBUS_CHANNEL_OFFERED,
    VMBUS_CHANNEL_OPEN,
    VMBUS_CHANNEL_CORRUPT,   /* closed by us, or about to be; the guest has not
                              * closed it yet */
    VMBUS_CHANNEL_RESCINDED, /* the guest has not let go yet */
} VmbusChannelState;

typedef struct VmbusBusInfo {
    VmbusConnectionState state;
    uint32_t version; /* major << 16 | minor; 0 while disconnected */
    uint32_t target_vp;
    uint8_t message_sint;
    bool
        interrupt_page; /* the version's channels have no events of their own */
    uint32_t features;  /* VMBUS_FEATURE_*, agreed from 6.0 on */
    VmbusGuid client_id; /* which driver the guest says it is; or zeros */
    bool paused;         /* the guest wants no message for a while */
    uint32_t gpadl_count;
    uint64_t messages_in, messages_out, messages_refused;
    uint64_t connects; /* how often a version was agreed */
} VmbusBusInfo;

typedef struct VmbusRingCounters {
    uint64_t packets, bytes;
    uint64_t signals_sent;       /* to the guest */
    uint64_t signals_suppressed; /* commits that needed none */
    uint64_t full;               /* sends that found no room */
} VmbusRingCounters;

typedef struct VmbusChannelInfo {
    VmbusOffer offer;
    uint16_t subchannel_index; /* 0: the device's primary channel */
    VmbusChannelState state;
    bool reserved; /* the guest keeps it when its connection ends */
    uint32_t relid;
    uint32_t connection_id;     /* that the guest signals */
    uint32_t target_vp;         /* VMBUS_VP_NONE: interrupts off */
    uint32_t in_size, out_size; /* data bytes of the rings; 0 if closed */
    uint64_t signals_received;  /* from the guest */
    VmbusRingCounters in, out;  /* guest to host, host to guest */
    uint64_t corruptions;
    const char *corruption; /* why, the last one; or NULL */
} VmbusChannelInfo;

void vmbus_bus_info(const VmbusBus *bus, VmbusBusInfo *info);
/* The counters of a channel that is at work are each right, but not all of one
 * moment. */
void vmbus_channel_info(const VmbusChannel *chan, VmbusChannelInfo *info);
/*
 * The channel that a device's sub-channel belongs to; a primary channel is its
 * own.  NULL for a sub-channel that was withdrawn.
 */
VmbusChannel *vmbus_channel_primary(VmbusChannel *chan);
/*
 * Calls @fn for each channel in relid order.  Among them are rescinded ones
 * that the guest has not let go yet; those that were withdrawn have no device:
 * their opaque pointer is NULL.
 */
void vmbus_bus_foreach(const VmbusBus *bus,
                       void (*fn)(VmbusChannel *chan, void *opaque),
                       void *opaque);

/*
 * In debug and fuzz builds: NULL, or a sentence that says what is broken.  It
 * waits for the channels' threads.
 */
const char *vmbus_bus_check(VmbusBus *bus);

#endif
