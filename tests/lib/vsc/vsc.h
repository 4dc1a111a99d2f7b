/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's side of VMBus, as Linux does it: connect, see the offers, open
 * channels, exchange packets.  Functions that wait for an answer find it at
 * once, because the bus answers before it returns.
 */
#ifndef VSC_H
#define VSC_H

#include "vsc-machine.h"
#include "vsc-ring.h"

typedef struct Vsc {
    VscMachine *machine;
    uint32_t vp; /* gets the messages */
    uint8_t sint;
    uint32_t version;       /* 0: not connected */
    uint32_t conn_id;       /* for messages */
    uint32_t asked;         /* features to ask a host of 6.0 for */
    uint32_t features;      /* that were agreed */
    VmbusGuid client_id;    /* if one of them is to have it */
    uint32_t next_gpadl;    /* id */
    uint64_t interrupt_gfn; /* before 2.4: the interrupt page */
    GArray *offers;         /* VmbusMsgOffer */
} Vsc;

typedef struct VscChannel {
    Vsc *vsc;
    uint32_t relid, connection_id, target_vp, openid;
    uint16_t event_flag;
    bool reserved;
    uint32_t gpadl;
    uint64_t first_gfn;
    uint32_t pages;
    VscRing out, in; /* as the guest sees them */
} VscChannel;

Vsc *vsc_new(VscMachine *machine);
void vsc_free(Vsc *vsc);

/* The header of a message. */
void vsc_head(VmbusMsg *msg, uint32_t type);
/* Posts a message to the connection in use. */
VmbusPostResult vsc_post(Vsc *vsc, const void *msg, uint32_t len);
/* Takes the next message.  False if there is none. */
bool vsc_next(Vsc *vsc, VmbusMsg *msg, uint32_t *len);
/* Takes the next message; true if it is of @type and at least @len long. */
bool vsc_expect(Vsc *vsc, uint32_t type, VmbusMsg *msg, uint32_t len);

/* Asks for one version; true if the host accepts it. */
bool vsc_connect(Vsc *vsc, uint32_t version);
/* Does the connection use the interrupt page? */
bool vsc_has_interrupt_page(const Vsc *vsc);
/* The bitmap of the host's half of it, or of the guest's. */
uint64_t *vsc_interrupt_bits(Vsc *vsc, bool to_host);
/* Asks for 5.3, then for less; the version that the host took, or 0. */
uint32_t vsc_negotiate(Vsc *vsc);
/* True if the host answered. */
bool vsc_unload(Vsc *vsc);

/* Fills @offers; false if the end of the offers did not come. */
bool vsc_request_offers(Vsc *vsc);
/* The offer of that kind of device, or NULL. */
const VmbusMsgOffer *vsc_find_offer(const Vsc *vsc, const VmbusGuid *class_id);

/* Posts a GPADL of one range; does not wait for the answer. */
void vsc_post_gpadl(Vsc *vsc, uint32_t relid, uint32_t gpadl,
                    const uint64_t *gfns, uint32_t count);
/* The same, with the answer; the id of the GPADL, or 0. */
uint32_t vsc_create_gpadl(Vsc *vsc, uint32_t relid, uint64_t first_gfn,
                          uint32_t count);
bool vsc_teardown_gpadl(Vsc *vsc, uint32_t relid, uint32_t gpadl);

/*
 * Opens a channel, with rings of so many pages each, the control page
 * included.  NULL if the host refused.  Freed by vsc_close().
 */
VscChannel *vsc_open(Vsc *vsc, const VmbusMsgOffer *offer, uint32_t out_pages,
                     uint32_t in_pages, uint32_t target_vp);
/*
 * The same for a reserved channel, which does not interrupt; the host's answer
 * comes to @sint of @vp.
 */
VscChannel *vsc_open_reserved(Vsc *vsc, const VmbusMsgOffer *offer,
                              uint32_t out_pages, uint32_t in_pages,
                              uint32_t vp, uint8_t sint);
/*
 * Closes it; true if the host's answer came to @sint of @vp.  The GPADL stays,
 * and so does @chan, which the caller frees by vsc_abandon().
 */
bool vsc_close_reserved(VscChannel *chan, uint32_t vp, uint8_t sint);
/* Closes a channel and takes its GPADL back. */
void vsc_close(VscChannel *chan);
/* Frees it and says nothing to the host, as when the guest has crashed. */
void vsc_abandon(VscChannel *chan);

/* Sends in-band data and signals the host if it must; false if full. */
bool vsc_send(VscChannel *chan, uint16_t type, uint16_t flags,
              uint64_t trans_id, const void *data, uint32_t len);
/* The next packet, descriptor first, or 0.  Ends the batch each time. */
uint32_t vsc_receive(VscChannel *chan, void *buf, uint32_t room);
/* Was the channel's flag set?  Clears it. */
bool vsc_interrupted(VscChannel *chan);

#endif
