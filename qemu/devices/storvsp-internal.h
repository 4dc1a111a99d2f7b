/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the storage service share. */
#ifndef VMBUS_STORVSP_INTERNAL_H
#define VMBUS_STORVSP_INTERNAL_H

#include "devices/storvsp.h"

/* A packet for the guest, and what it answers. */
typedef struct StorAnswer {
    uint64_t trans_id;
    uint32_t len; /* bytes of the packet */
    StorPacket packet;
} StorAnswer;

/* A request, until its answer is in the guest's ring. */
typedef struct StorItem {
    StorRequest pub;
    GList link; /* in StorChannel.in_flight or .done */
    uint64_t trans_id;
    uint32_t answer_len;
    bool submitted;    /* again, after a load */
    bool cancelled;    /* the machine was told; the channel is closing */
    StorSrb srb;       /* of the guest */
    StorAnswer answer; /* once it is done */
    StorSegment segments[];
} StorItem;

struct StorChannel {
    StorVsp *vsp;
    unsigned index;
    bool open, closing;
    VmbusChannel *chan; /* NULL: closed */

    bool running; /* storvsp_run() is at work */
    bool stalled; /* not read to the end: continue when answers are out */
    bool unflushed;
    bool resubmit;    /* loaded requests may not have been submitted */
    bool reply_waits; /* in @reply, for room in the ring */
    bool offering;    /* sub-channels; @reply answers when it is done */
    bool resetting;   /* likewise */
    StorReset reset;
    bool reset_submitted;
    StorAnswer reply;

    GQueue in_flight;  /* the machine has them */
    GQueue done;       /* their answers wait for room in the ring */
    uint32_t segments; /* of both */
    uint64_t next_id;

    /* Atomic; the channel's thread writes them. */
    unsigned unanswered;
    uint64_t requests, completed, refused;
    const char *last_refusal;
};

struct StorVsp {
    StorVspConfig config;
    const StorVspOps *ops;
    void *opaque;
    gint pauses;           /* atomic */
    gint enumerate;        /* atomic: ENUMERATE_BUS is to be sent */
    gint asked;            /* atomic: a SCSI request came since it opened */
    gint phase;            /* atomic; the primary channel writes it */
    gint version;          /* likewise; 0 before it is agreed */
    uint16_t subchannels;  /* that the guest was offered, or soon is */
    uint64_t enumerations; /* atomic, likewise */
    StorChannel channels[STOR_MAX_CHANNELS];
};

/* One packet of the guest, copied, and the answer to it. */
typedef struct StorCall {
    const VmbusPacket *pkt;
    StorPacket in; /* zeros behind what the guest sent */
    StorAnswer out;
    bool later; /* the handler answers by itself */
} StorCall;

/* Fills @call->out.packet; NULL, or a sentence for a refusal. */
typedef const char *StorHandler(StorChannel *ch, StorCall *call);

/* storvsp-setup.c */
StorHandler stor_begin_initialization;
StorHandler stor_query_version;
StorHandler stor_query_properties;
StorHandler stor_fchba_data;
StorHandler stor_create_subchannels;
StorHandler stor_end_initialization;
/* storvsp.c */
StorHandler stor_reset_lun;
StorHandler stor_reset_all;
/* storvsp-request.c */
StorHandler stor_execute_srb;
/* The SRB's part of an answer that refuses it. */
void stor_refuse_srb(StorCall *call);

/* Bytes of a packet that the host sends by itself. */
uint32_t stor_packet_size(const StorVsp *vsp);
bool stor_version_known(uint16_t version);
static inline StorPhase stor_phase(const StorVsp *vsp)
{
    return g_atomic_int_get(&vsp->phase);
}

static inline unsigned stor_unanswered(const StorChannel *ch)
{
    return ch->in_flight.length + ch->done.length;
}

static inline void stor_note_unanswered(StorChannel *ch)
{
    __atomic_store_n(&ch->unanswered, stor_unanswered(ch), __ATOMIC_RELAXED);
}

/* A counter that one thread writes and others read. */
static inline void stor_count(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* Puts a packet into the ring.  False: there is no room now. */
bool stor_send(StorChannel *ch, uint16_t type, const StorAnswer *answer);
/* Sends what waits for room; false if some still does. */
bool stor_send_waiting(StorChannel *ch);
/* Answers with @ch->reply, at once or when there is room. */
void stor_reply_now(StorChannel *ch);
/* Counts a refusal, and tells the machine. */
void stor_refused(StorChannel *ch, const char *why);
/* The channel is not read to the end, and now it could be. */
void stor_wake(StorChannel *ch);
/* Submits loaded requests that the machine does not have. */
void stor_resubmit(StorChannel *ch);
/* Frees all that the machine does not have. */
void stor_forget_items(StorChannel *ch);
/* An item with room for that many segments; not in a queue yet. */
StorItem *stor_item_new(StorChannel *ch, uint32_t segments);
void stor_item_queue(StorItem *item, GQueue *queue);
/* @item is in no queue. */
void stor_item_free(StorItem *item);

#endif
