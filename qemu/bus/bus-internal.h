/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the bus share.
 *
 * A channel that is started has a thread of its own, which uses of all this the
 * rings, the packet, the route, the ops and the interrupt page without a lock:
 * the bus's thread changes those only while the channel is stopped and its
 * device has closed it, or in vmbus_channel_call().  In the other direction go
 * the counters and @broken, which one thread writes and both read: atomically.
 */
#ifndef VMBUS_BUS_INTERNAL_H
#define VMBUS_BUS_INTERNAL_H

#include <glib.h>

#include "bus/gpadl.h"
#include "bus/ring.h"

/* Messages of the guest that may wait while replies are under way. */
#define VMBUS_MAX_WAITING 16

/* A message that a channel still has to send; made when its turn comes. */
enum {
    VMBUS_SEND_OFFER = 1 << 0,
    VMBUS_SEND_TORNDOWN = 1 << 1, /* of the ids in torndown */
    VMBUS_SEND_RESCIND = 1 << 2,
};

struct VmbusChannel {
    VmbusBus *bus;
    VmbusOffer offer; /* name is ours */
    const VmbusChannelOps *ops;
    void *opaque;
    VmbusChannel *primary; /* of a sub-channel that was not withdrawn */
    uint16_t index;        /* of a sub-channel; else 0 */
    VmbusChannelState state;
    uint32_t relid;
    uint32_t connection_id; /* as offered */

    /* While open, and while being opened or closed. */
    VmbusGpadl *gpadl;
    VmbusMapping *mapping;
    uint32_t signal_id;     /* connection id that the guest signals */
    uint16_t event_flag;    /* by which the guest is signalled */
    bool routed, listening; /* prepare_signal() and listen() were done */
    void *route, *listener; /* what they made */
    bool started;           /* its own thread may be at work */
    bool own_kick;          /* the first signal after start() is ours */
    uint32_t target_vp;
    VmbusRingIn in;
    VmbusRingOut out;
    bool opening;    /* the device's open() is running */
    bool releasing;  /* the device's released() is running */
    bool closing;    /* the device's close() is running */
    bool broken;     /* corrupt: no more packets; atomic */
    bool told;       /* that it is; of this opening */
    bool reserved;   /* opened so, or corrupt after that; see reserved.c */
    bool outlived;   /* ... in a connection that has ended */
    uint8_t *packet; /* VMBUS_MAX_PACKET_SIZE bytes, kept when closed */

    unsigned to_send; /* VMBUS_SEND_* */
    GArray *torndown; /* uint32_t, at most VMBUS_GPADL_MAX_COUNT; or NULL */
    GList link;       /* of the bus's @senders while to_send is not 0 */

    /* Written by the channel's thread, or before it starts; atomic. */
    uint64_t signals_received;
    VmbusRingCounters in_counters, out_counters;
    uint64_t corruptions;
    const char *corruption;

    const char *fault; /* of a loaded one: closes the channel on resume */
    bool old_fault;    /* it was found and counted before the save */
};

/* A message of the guest, or one for it. */
typedef struct VmbusLetter {
    uint32_t conn_id; /* of the guest's */
    uint32_t vp;      /* of one for the guest */
    uint8_t sint;
    uint32_t len;  /* 0: none */
    bool reserved; /* an answer about a reserved channel */
    VmbusMsg msg;
} VmbusLetter;

struct VmbusBus {
    const VmbusMachineOps *ops;
    void *opaque;
    uint32_t max_version;

    VmbusConnectionState state;
    uint32_t version, target_vp;
    uint8_t sint;
    bool offers_requested; /* in this connection */
    bool send_alloffers;   /* when no channel has a message to send */

    /* From 6.0 on; else 0, and no id. */
    uint32_t features; /* VMBUS_FEATURE_*, agreed */
    VmbusGuid client_id;
    bool paused; /* by the guest: it gets no message */

    /* Up to 1.1: bits that say whose interrupt it is; else NULL and 0. */
    VmbusMapping *interrupt_page;
    uint64_t interrupt_gfn;

    VmbusChannel *channels[VMBUS_RELID_COUNT]; /* by relid */
    VmbusGpadlTable gpadls;

    VmbusLetter waiting[VMBUS_MAX_WAITING]; /* from the guest, a ring */
    unsigned waiting_head, waiting_count;
    VmbusLetter reply;  /* the one reply to the message last handled */
    GQueue senders;     /* channels that have something to send */
    bool in_flight;     /* the machine has a message of ours */
    VmbusLetter flying; /* that message, while in_flight */
    bool pumping;
    unsigned waits;    /* the bus waits for a channel's thread, so deep */
    bool close_broken; /* as soon as it does not wait any more */
    bool quiet;        /* the machine has stopped: no channel is started */
    bool held;    /* loaded from a saved state; the machine does not run yet */
    bool restart; /* a waiting message makes all that is under way moot */

    uint64_t messages_in, messages_out, messages_refused, connects;
};

/* bus.c */
void vmbus_bus_event(VmbusBus *bus, VmbusEventKind kind, const char *name,
                     uint32_t id, const char *sentence);
/* Counts a message refused or dropped, and says why. */
void vmbus_bus_refuse(VmbusBus *bus, const char *name, uint32_t id,
                      const char *sentence);
/* Sends the reply to the message being handled: one at most. */
void vmbus_bus_reply(VmbusBus *bus, uint32_t vp, uint8_t sint, VmbusMsg *msg,
                     uint32_t type, uint32_t len);
/* The same, to the connection's VP and SINT. */
void vmbus_bus_answer(VmbusBus *bus, VmbusMsg *msg, uint32_t type,
                      uint32_t len);
/* The channel has a message (VMBUS_SEND_*) for the guest. */
void vmbus_bus_send_later(VmbusChannel *chan, unsigned what);
/* Hands one message to the machine. */
void vmbus_bus_send_letter(VmbusBus *bus, const VmbusLetter *letter);
/* Sends what is to be sent, if the machine is free to take it. */
void vmbus_bus_pump(VmbusBus *bus);
/* The channel that the guest knows by @relid, or NULL. */
VmbusChannel *vmbus_bus_find_channel(VmbusBus *bus, uint32_t relid);
/*
 * Closes all channels but reserved ones and forgets all that belongs to the
 * connection.
 */
void vmbus_bus_disconnect(VmbusBus *bus);
/* Offers each channel that can be offered now, if the guest has asked. */
void vmbus_bus_send_offers(VmbusBus *bus);
/* A channel with copies of @offer and its name, under a relid that is free. */
VmbusChannel *vmbus_bus_add(VmbusBus *bus, const VmbusOffer *offer,
                            uint32_t relid);
/* Offers it if the guest has asked for offers and can take it. */
void vmbus_bus_offer_channel(VmbusChannel *chan);
/* The lowest relid that is free from @from on, or 0. */
uint32_t vmbus_bus_free_relid(const VmbusBus *bus, uint32_t from);
/* As vmbus_bus_withdraw(), and leaves it to the caller to pump. */
void vmbus_bus_drop(VmbusChannel *chan);
void vmbus_bus_forget_channel(VmbusChannel *chan);
/* The guest has let go of a channel's relid. */
void vmbus_bus_release(VmbusChannel *chan);

/*
 * Handles a message of the guest: @letter has zeros behind what was sent, and
 * its real length.  Returns NULL, or a sentence if the message was refused;
 * if the protocol has an error reply, it has been sent.
 */
typedef const char *VmbusHandler(VmbusBus *bus, const VmbusLetter *letter);

/* contact.c */
VmbusHandler vmbus_handle_initiate_contact;
/* The features that a guest of @version can have. */
uint32_t vmbus_version_features(uint32_t version);
VmbusHandler vmbus_handle_unload;
VmbusHandler vmbus_handle_modify_connection;
VmbusHandler vmbus_handle_pause;
VmbusHandler vmbus_handle_resume;

/* reserved.c */
VmbusHandler vmbus_handle_open_reserved;
VmbusHandler vmbus_handle_close_reserved;
/* Is an answer about a reserved channel under way, or its question? */
bool vmbus_reserved_waits(const VmbusBus *bus);
/* Leaves reserved channels and their GPADLs of what the connection had. */
void vmbus_reserved_end_connection(VmbusBus *bus);
/* Nothing is reserved any more: what ends now, ends for all. */
void vmbus_reserved_forget(VmbusBus *bus);

/* interrupt-page.c */
/* Maps and listens, for a version that needs it; NULL, or why it can't be. */
const char *vmbus_interrupt_page_attach(VmbusBus *bus, uint64_t address);
void vmbus_interrupt_page_detach(VmbusBus *bus);
/* Marks channel @relid in the host's half; any thread. */
void vmbus_interrupt_page_set(VmbusBus *bus, uint32_t relid);

/* gpadl-map.c */
/* Answers the guest's teardown of a GPADL that nobody uses any more. */
void vmbus_gpadl_tear_down(VmbusChannel *chan, VmbusGpadl *gpadl);
/* The same for what devices have not mapped again after a load. */
void vmbus_gpadls_tear_down_unused(VmbusBus *bus);

/* subchannel.c */
/* A sub-channel whose device is not known yet. */
VmbusChannel *vmbus_subchannel_add(VmbusChannel *primary, uint16_t index,
                                   uint32_t relid);
void vmbus_subchannels_drop(VmbusChannel *primary);

/*
 * thread.c; for an open channel.  What waits for the channel's thread holds
 * back messages and the end of broken channels meanwhile, so its caller pumps.
 */
static inline bool vmbus_channel_broken(const VmbusChannel *chan)
{
    return __atomic_load_n(&chan->broken, __ATOMIC_ACQUIRE);
}
/* Starts it, unless the bus is held or the machine has stopped. */
void vmbus_channel_start(VmbusChannel *chan);
/* Stops it, if it is started. */
void vmbus_channel_stop(VmbusChannel *chan);
/* Has signal() called soon, or when it is started. */
void vmbus_channel_kick(VmbusChannel *chan);
/* Calls @fn while the channel's thread is in no function of the channel. */
void vmbus_channel_call(const VmbusChannel *chan, void (*fn)(void *arg),
                        void *arg);
/* For the pump: closes those that came up while the bus waited. */
void vmbus_bus_close_broken(VmbusBus *bus);
/* Of a channel that may be at work. */
VmbusRingCounters vmbus_channel_counters(const VmbusRingCounters *counters);

/* messages.c */
const char *vmbus_message_name(uint32_t type);
/* Does this message end all that went before it? */
bool vmbus_message_restarts(const VmbusBus *bus, const VmbusLetter *letter);
void vmbus_message_handle(VmbusBus *bus, const VmbusLetter *letter);

/* channel.c */
/*
 * Opens the channel as the guest asked; NULL, or a sentence why not.  @msg2 is
 * the same message if the guest chooses how to signal, else NULL.
 */
const char *vmbus_channel_open(VmbusChannel *chan, const VmbusMsgOpen *msg,
                               const VmbusMsgOpen2 *msg2);
/* What begins anew with each opening. */
void vmbus_channel_opened(VmbusChannel *chan);
/*
 * Closes the channel if it is open; @next is its state after that.  The caller
 * pumps.
 */
void vmbus_channel_close(VmbusChannel *chan, VmbusChannelState next);
/*
 * The parts of opening, in this order: whether it can be opened, with the pages
 * of its rings; the memory of the rings, which is
 * @count @pages of @gpadl; the rings in it, that to the guest from page @offset
 * on; signals in both directions.  NULL, or a sentence; what was done until
 * then, vmbus_channel_detach() undoes.
 */
const char *vmbus_channel_validate_open(const VmbusChannel *chan,
                                        const VmbusMsgOpen *msg,
                                        const uint64_t **pages,
                                        uint32_t *count);
const char *vmbus_channel_map(VmbusChannel *chan, VmbusGpadl *gpadl,
                              const uint64_t *pages, uint32_t count);
/* Takes the numbers of @msg, or the host's own; before the last part. */
const char *vmbus_channel_choose_signals(VmbusChannel *chan,
                                         const VmbusMsgOpen2 *msg);
void vmbus_channel_ring_memory(VmbusChannel *chan, uint32_t offset,
                               VmbusRingMem *in, VmbusRingMem *out);
const char *vmbus_channel_route(VmbusChannel *chan, uint32_t vp);
void vmbus_channel_detach(VmbusChannel *chan);
/* Interrupts the guest, if the channel's interrupts are on. */
void vmbus_channel_notify_guest(VmbusChannel *chan);
/* Notes that the ring is corrupt; @why is static, or NULL if it was noted
 * before.  The caller sees to it that the channel is closed. */
void vmbus_channel_break(VmbusChannel *chan, const char *why);
/* Moves the channel's interrupt; NULL, or a sentence why not. */
const char *vmbus_channel_retarget(VmbusChannel *chan, uint32_t vp);

#endif
