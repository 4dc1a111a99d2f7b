/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's side of VMBus, as small as tests need it: one connection, its
 * messages taken by interrupt as Linux does, and channels with rings.
 */
#ifndef TESTGUEST_VMBUS_H
#define TESTGUEST_VMBUS_H

#include "bus/vmbus-protocol.h"
#include "devices/ic-protocol.h"
#include "hv.h"

#define VB_VECTOR     0x90
#define VB_TIMEOUT_US 5000000
#define VB_MAX_OFFERS 16
/* Of a service, that a buffer for its messages has room for. */
#define VB_MAX_VERSIONS 32

struct vb_channel {
    VmbusMsgOffer offer;
    uint32_t gpadl; /* 0: none */
    uint32_t target_vp;
    bool open;
    unsigned pages;  /* of both rings */
    unsigned offset; /* in pages, of the ring from the host */
    uint8_t *memory;
    VmbusRingControl *out, *in;
    uint32_t size; /* data bytes of each ring */
    uint32_t out_write, in_read;
    uint32_t signals_used; /* interrupts that were waited for */
};

/* The connection; what arrives is written by the interrupt handler. */
struct vb {
    uint32_t version, target_vp;
    uint8_t sint;
    uint32_t conn_id;   /* where messages are posted */
    volatile bool hold; /* leave messages in their slot */
    volatile uint32_t signals[VMBUS_RELID_COUNT];
    volatile uint32_t signals_on[MAX_CPUS];
    volatile unsigned messages; /* taken so far */
    unsigned unexpected;
    unsigned offer_count;
    struct vb_channel channels[VB_MAX_OFFERS];
};

extern struct vb vb;

/* All processors' SynICs, and the interrupt; once. */
void vb_init(void);
/* Ends vb.hold: takes the message whose interrupt is long gone. */
void vb_release(void);
/* Where messages and event flags are expected from now on. */
void vb_listen(unsigned cpu, unsigned sint);

/* Posts a message to @conn; waits while the host has no buffers, @us long.
 * Gives the last status. */
uint16_t vb_post_to(uint32_t conn, const void *msg, uint32_t len, uint64_t us);
/* The same on the connection, with the usual patience. */
uint16_t vb_post(const void *msg, uint32_t len);
/* The next message, if one comes in time. */
bool vb_receive(VmbusMsg *msg, uint64_t us);
/* The next message of @type; others are counted as unexpected. */
bool vb_expect(uint32_t type, VmbusMsg *msg);
/* Forgets messages that came. */
void vb_drain(void);

/* INITIATE_CONTACT; true if the host took the version and the request. */
bool vb_contact(uint32_t version, uint32_t target_vp, unsigned sint,
                VmbusMsgVersionResponse *response);
/* With monitor pages and a connection of choice. */
void vb_post_contact(uint32_t version, uint32_t target_vp, unsigned sint,
                     uint32_t conn);
/* REQUESTOFFERS; true if ALLOFFERS_DELIVERED came. */
bool vb_request_offers(void);
struct vb_channel *vb_find(const VmbusGuid *class_id);
bool vb_unload(void);

/* Makes a GPADL of @pages pages; false if the host refused it. */
bool vb_gpadl_create(uint32_t relid, uint32_t gpadl, const uint64_t *pfns,
                     unsigned pages);
bool vb_gpadl_teardown(uint32_t relid, uint32_t gpadl);
/* An id that was not used yet. */
uint32_t vb_new_gpadl(void);

/* Fresh rings of @pages pages together, a GPADL for them, and OPENCHANNEL. */
bool vb_open(struct vb_channel *ch, uint32_t target_vp, unsigned pages);
/* Only the memory and the GPADL, or only OPENCHANNEL; gives its status. */
bool vb_prepare_rings(struct vb_channel *ch, unsigned pages);
uint32_t vb_open_raw(struct vb_channel *ch, uint32_t gpadl, uint32_t target_vp,
                     uint32_t offset);
/* CLOSECHANNEL and the end of its GPADL. */
bool vb_close(struct vb_channel *ch);

/* Puts a packet into the ring and signals if the host wants that. */
void vb_send(struct vb_channel *ch, const VmbusPacketDescriptor *desc,
             const void *data, uint32_t len);
void vb_send_inband(struct vb_channel *ch, const void *data, uint32_t len);
void vb_signal(struct vb_channel *ch);
/* The payload of the next packet; 0 if none came in time.  Waits for the
 * interrupt, unless the packet is there already. */
uint32_t vb_read(struct vb_channel *ch, void *buf, uint32_t room, uint64_t us);
/* The same, with the packet's descriptor. */
uint32_t vb_read_packet(struct vb_channel *ch, VmbusPacketDescriptor *desc,
                        void *buf, uint32_t room, uint64_t us);

/* --- services --- */

/*
 * Makes the host's offer of versions, of which there are at most
 * VB_MAX_VERSIONS, into an answer: the highest of each, or one that is @older
 * for the messages.  They come in rising order.
 */
void vb_choose_versions(IcHeader *header, IcNegotiate *head, unsigned older);

/* --- heartbeat --- */

struct vb_channel *vb_heartbeat(void);
/* Answers the negotiation and @count heartbeats; true if they came. */
bool vb_heartbeats(struct vb_channel *ch, unsigned count);

/*
 * Connects, opens the heartbeat channel on @target_vp, answers one heartbeat,
 * closes and unloads.  Returns NULL, or what failed.
 */
const char *vb_round_trip(uint32_t version, uint32_t target_vp, unsigned sint);

#endif
