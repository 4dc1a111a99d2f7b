/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's side of storage, as Linux 6.1's storvsc_drv.c does it.
 */
#ifndef VSC_STORAGE_H
#define VSC_STORAGE_H

#include "devices/storvsp-protocol.h"
#include "vsc.h"

/* Transaction ids that Linux does not use for requests. */
#define VSC_STORAGE_INIT  UINT64_MAX
#define VSC_STORAGE_RESET (UINT64_MAX - 1)

typedef struct VscStorage {
    Vsc *vsc;
    VscChannel *chan[64]; /* the primary one first; NULL: not open */
    uint32_t packet_len;  /* of what it sends: 64, or 48 for 4.2 */
    uint16_t version;     /* agreed */
    StorProperties properties;
    StorFcNames names;
    unsigned enumerations; /* ENUMERATE_BUS of the host */
} VscStorage;

/* An answer of the host. */
typedef struct VscStorageAnswer {
    uint64_t trans_id;
    uint16_t type; /* VMBUS_PKT_* */
    uint32_t len;
    StorPacket packet;
} VscStorageAnswer;

/* Opens the primary channel; false if the host refuses. */
bool vsc_storage_open(VscStorage *s, Vsc *vsc, const VmbusMsgOffer *offer,
                      uint32_t pages);
/* Closes all channels. */
void vsc_storage_close(VscStorage *s);
/* Forgets them, as a guest does that has crashed. */
void vsc_storage_abandon(VscStorage *s);

/* Sends @packet, asking for an answer; false if the ring is full. */
bool vsc_storage_send(VscStorage *s, unsigned channel, uint64_t trans_id,
                      const StorPacket *packet);
/*
 * The next answer on a channel, or false.  What the host sends by itself is
 * counted, and skipped.
 */
bool vsc_storage_next(VscStorage *s, unsigned channel,
                      VscStorageAnswer *answer);
/* Sends @packet on the primary channel and waits for the answer to it, which
 * replaces it.  False if there is none; its status is not looked at. */
bool vsc_storage_call(VscStorage *s, StorPacket *packet);
/* The same for an operation without a body; its status, or UINT32_MAX. */
uint32_t vsc_storage_simple(VscStorage *s, uint32_t operation);
/*
 * Initialization as Linux does it, from version @highest down.  False if a
 * step fails.
 */
bool vsc_storage_initialize(VscStorage *s, uint16_t highest, bool fc);
/* Asks for sub-channels and opens them; false if one of that fails. */
bool vsc_storage_create_subchannels(VscStorage *s, uint16_t count,
                                    uint32_t pages);

/* What Linux makes of a command; the caller sets what differs. */
void vsc_storage_srb(const VscStorage *s, StorPacket *packet, uint8_t lun,
                     const uint8_t *cdb, uint8_t cdb_len, uint8_t data_in,
                     uint32_t data_len);
/*
 * Sends @packet with one range of @len bytes from @offset of the first page on.
 * False if the ring is full.
 */
bool vsc_storage_send_range(VscStorage *s, unsigned channel, uint64_t trans_id,
                            const StorPacket *packet, const uint64_t *gfns,
                            uint32_t offset, uint32_t len);

#endif
