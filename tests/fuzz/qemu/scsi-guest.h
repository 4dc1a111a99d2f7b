/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that keeps account of its requests: each gets one answer, and only
 * the memory that it names for data from the unit changes.
 */
#ifndef SCSI_GUEST_H
#define SCSI_GUEST_H

#include "vsc-storage.h"
#include "fuzz-machine.h"
#include "scsi-commands.h"

#define SCSI_MAX_REQUESTS 1000 /* of one input */
#define SCSI_MAX_PIECES   132

typedef struct ScsiPiece {
    uint64_t gpa;
    uint32_t len;
} ScsiPiece;

typedef struct ScsiRequest {
    unsigned channel;
    bool asked, answered, good;
    uint8_t lun;
    uint8_t cdb[16];
    bool data_in; /* from the unit */
    uint32_t data_len, block_size;
    unsigned count;
    ScsiPiece pieces[SCSI_MAX_PIECES]; /* the first @data_len bytes */
} ScsiRequest;

typedef struct ScsiGuest {
    FuzzMachine *m;
    Vsc *vsc;
    VscStorage storage;
    /* The guest's rings are not what the protocol says: they are closed next,
     * and nobody reads them. */
    bool spoiled;
    bool begun;            /* something was sent since it was opened */
    ScsiRequest *requests; /* the transaction id is the index, plus one */
    unsigned sent, waiting;
    /* The request that was sent while there was none, if none came after. */
    ScsiRequest *alone;
    uint8_t *paint;   /* what the area should have */
    uint8_t *allowed; /* a byte for each of the area: it may be written to */
} ScsiGuest;

void scsi_guest_init(ScsiGuest *g, FuzzMachine *m);

/* Takes the bus's messages that have come, and forgets them. */
void scsi_guest_take_messages(ScsiGuest *g);
/* Connects and opens the adapter; what was before is gone. */
void scsi_guest_open(ScsiGuest *g);
/* Closes the adapter, politely or not; then nothing may come any more. */
void scsi_guest_close(ScsiGuest *g, bool polite);

/* Sends a command; false if there is no room. */
bool scsi_guest_send(ScsiGuest *g, FuzzInput *in, unsigned channel, uint8_t lun,
                     const ScsiCommand *cmd);
/* Sends STOR_RESET_*. */
void scsi_guest_send_reset(ScsiGuest *g, unsigned channel, uint32_t operation,
                           uint8_t lun);
/* Sends something else, perhaps malformed. */
void scsi_guest_send_odd(ScsiGuest *g, FuzzInput *in, unsigned channel);
/* Takes up to @count answers of a channel. */
void scsi_guest_take(ScsiGuest *g, unsigned channel, unsigned count);
/* All that can end has ended: so it has been answered. */
void scsi_guest_expect_all(ScsiGuest *g);
/* Has memory changed that should not have? */
void scsi_guest_check_memory(ScsiGuest *g);
/* Brings all of it back. */
void scsi_guest_paint(ScsiGuest *g);

#endif
