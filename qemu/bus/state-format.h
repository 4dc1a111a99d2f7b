/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands in a saved state of the bus; see blob.h for the frame.  Tags
 * are never given a new meaning: states of all versions can be loaded.  What
 * is added later gets a new tag, and its field is optional.
 */
#ifndef VMBUS_STATE_FORMAT_H
#define VMBUS_STATE_FORMAT_H

#include "bus/blob.h"
#include "bus/bus-internal.h"

#define STATE_MAGIC   0x53424d56u /* "VMBS" */
#define STATE_VERSION 1

/* Items of the bus, beside its numbers. */
enum {
    BUS_WAITING = 32, /* a letter of the guest; oldest first */
    BUS_REPLY,        /* a letter for the guest, not given to the machine */
    BUS_FLYING,       /* one that was, and is not in its slot */
    BUS_CHANNEL,
    BUS_GPADL,
    BUS_SENDERS,   /* 32-bit relids of channels with messages, in their order */
    BUS_CLIENT_ID, /* 16 bytes; or missing */
};

/* Items of a letter, a channel and a GPADL. */
enum {
    LETTER_MESSAGE = 32, /* bytes */
    CHANNEL_INSTANCE = 32,
    CHANNEL_CLASS,
    CHANNEL_NAME,       /* text, for people */
    CHANNEL_CORRUPTION, /* text: why its ring was last found corrupt */
    CHANNEL_RINGS,      /* of an open channel */
    CHANNEL_TORNDOWN,   /* 32-bit ids of GPADLs to answer for, but the first */
    GPADL_WORDS = 32,   /* what came, 8 bytes each */
};

typedef struct SavedBus {
    uint32_t state, version, target_vp;
    uint8_t sint;
    bool offers_requested, send_alloffers;
    uint64_t messages_in, messages_out, messages_refused, connects;
    uint64_t interrupt_gfn; /* page of versions before 2.4; else 0 */
    uint32_t features;      /* from 6.0 on */
    bool paused;
    VmbusGuid client_id;
    bool has_client_id;
} SavedBus;

typedef struct SavedRings {
    uint32_t gpadl, target_vp;
    uint32_t downstream_offset; /* pages */
    uint32_t in_read, in_published, in_write_seen;
    bool in_masked;
    uint32_t out_write, out_read_seen, out_pending;
    uint32_t signal_id, event_flag; /* if the guest chose them */
    bool broken;                    /* found corrupt, and not closed yet */
} SavedRings;

typedef struct SavedChannel {
    VmbusGuid instance, class_id;
    bool has_instance, has_class, has_rings;
    const char *name, *corruption; /* interned, or NULL */
    uint32_t subchannel;           /* 0: the primary channel */
    uint32_t relid, connection_id, state;
    uint32_t to_send, torndown_gpadl;
    uint64_t signals_received, corruptions;
    VmbusRingCounters in, out;
    SavedRings rings;
    const uint8_t *torndown; /* not aligned; after the first */
    uint32_t torndown_count;
    bool rescinding; /* rescinded, and its device waits for the release */
    bool reserved, outlived;
    VmbusChannel *chan; /* while loading: which of ours it is */
} SavedChannel;

typedef struct SavedGpadl {
    uint32_t id, relid;
    uint32_t range_count, declared;
    bool tearing_down, kept;
    const uint8_t *words; /* not aligned */
    uint32_t received;
} SavedGpadl;

/* All of a state, while it is loaded. */
typedef struct StateLoader {
    VmbusBus *bus;
    SavedBus saved;
    GArray *channels; /* SavedChannel */
    GArray *gpadls;   /* SavedGpadl */
    GArray *senders;  /* uint32_t */
    VmbusLetter waiting[VMBUS_MAX_WAITING];
    unsigned waiting_count;
    VmbusLetter reply, flying; /* len 0: none */
    bool has_senders;
    const SavedChannel *guilty; /* that a sentence speaks of, or NULL */
    const VmbusChannel *extra;  /* of ours, likewise */
} StateLoader;

/* Fills what is zero and empty; NULL, or a static sentence. */
const char *vmbus_state_read(StateLoader *loader, const uint8_t *data,
                             size_t len);

/* Ghosts do not count: nothing is left of them but their relids. */
bool vmbus_state_is_subchannel(const SavedChannel *saved);
/* The open channel that a sub-channel belongs to, or NULL. */
SavedChannel *vmbus_state_find_primary(const StateLoader *loader,
                                       const SavedChannel *saved);

/*
 * Brings the bus to a state that fits this machine; NULL, or a static sentence.
 * After one, vmbus_state_undo() brings it to that after a reset.
 */
const char *vmbus_state_apply(StateLoader *loader);
void vmbus_state_undo(VmbusBus *bus);

enum {
    STATE_FIELDS_BUS,
    STATE_FIELDS_LETTER,
    STATE_FIELDS_CHANNEL,
    STATE_FIELDS_RINGS,
    STATE_FIELDS_GPADL,
    STATE_FIELDS_COUNT
};

typedef struct StateFields {
    const VmbusBlobField *fields;
    size_t count;
} StateFields;

/* By STATE_FIELDS_*; of SavedBus, VmbusLetter, SavedChannel, SavedRings and
 * SavedGpadl. */
extern const StateFields vmbus_state_fields[STATE_FIELDS_COUNT];

#endif
