/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage service: a SCSI adapter that a guest's storvsc drives.
 *
 * The guest's requests are copied, checked and handed to the machine with the
 * guest memory that they name; the machine completes them in any order.
 * Nothing here touches that memory or a disk, waits, or keeps time.
 *
 * Threads: a device has a primary channel and, if the guest asks, more.  The
 * calls of one channel come from one thread at a time (its thread); different
 * channels may have different threads.  Channels share the adapter's
 * configuration, which does not change, and two numbers that only the primary
 * channel writes and all read atomically: the protocol's phase and version.
 * new, free, save and load are called while no channel's thread is at work, and
 * the calls of storvsp_channel_ops are those of the channel's thread: a machine
 * with threads passes the bus's open() and close() on to it.
 */
#ifndef VMBUS_STORVSP_H
#define VMBUS_STORVSP_H

#include <glib.h>

#include "bus/channel.h"
#include "devices/storvsp-protocol.h"

typedef struct StorVsp StorVsp;
typedef struct StorChannel StorChannel;

/* Channels of one device, the primary one included. */
#define STOR_MAX_CHANNELS 64
/*
 * Requests of one channel that are not answered yet, and pieces of guest
 * memory that they name.  A channel beyond that is not read until answers have
 * gone out: the guest's ring holds its requests meanwhile.  Linux has some 350
 * in a ring.  One request more may exceed the second number.
 */
#define STOR_MAX_REQUESTS 1024
#define STOR_MAX_SEGMENTS 65536

/* A piece of guest memory. */
typedef struct StorSegment {
    uint64_t gpa; /* guest physical address, bytes */
    uint32_t len; /* bytes, never 0 */
} StorSegment;

/* A request that the machine has; all but @machine is to be read only. */
typedef struct StorRequest {
    StorChannel *channel;
    uint64_t id; /* tells the requests of a channel apart */
    uint8_t path, target, lun;
    uint8_t cdb_length; /* 1 to STOR_MAX_CDB */
    uint8_t cdb[STOR_MAX_CDB];
    uint8_t data_in;   /* STOR_DATA_*; NONE if @data_len is 0 */
    uint32_t data_len; /* bytes to transfer: the segments' sum */
    uint32_t segment_count;
    const StorSegment *segments;
    void *machine; /* the machine's own; NULL at first */
} StorRequest;

/* How a request ended. */
typedef struct StorResult {
    uint8_t srb_status;   /* STOR_SRB_*, without flags */
    uint8_t scsi_status;  /* of the device; 0: good */
    uint8_t sense_length; /* 0: none */
    uint8_t sense[STOR_MAX_SENSE];
    uint32_t transferred; /* bytes */
} StorResult;

typedef enum StorResetKind {
    STOR_RESET_ONE_LUN,
    STOR_RESET_ALL, /* of the adapter, which has one bus */
} StorResetKind;

typedef struct StorReset {
    StorResetKind kind;
    uint8_t path, target, lun; /* for STOR_RESET_ONE_LUN */
} StorReset;

/* What the service needs from the machine; on the thread of the channel. */
typedef struct StorVspOps {
    /*
     * Begin @req; storvsp_complete() ends it, perhaps in this call.  The
     * request and its segments stay until then.
     */
    void (*submit)(void *opaque, StorRequest *req);
    /*
     * End @req soon: the channel closes.  storvsp_complete() is called for it,
     * perhaps in this call, and guest memory is left alone from then on.
     */
    void (*cancel)(void *opaque, StorRequest *req);
    /*
     * Reset devices: their requests end as STOR_SRB_ABORTED, on all channels.
     * Then storvsp_reset_done() is called with @channel, perhaps in this call;
     * meanwhile the channel is not read.
     */
    void (*reset)(void *opaque, StorChannel *channel, const StorReset *reset);
    /*
     * Offer @count more channels on the bus's thread: with storvsp_channel_ops,
     * or calls that go on to those.  Then storvsp_subchannels_offered() is
     * called with @channel, perhaps in this call; meanwhile the channel is not
     * read.
     */
    void (*offer_subchannels)(void *opaque, StorChannel *channel,
                              uint16_t count);
    /*
     * Call storvsp_run() for @channel soon, not in this call, on its thread.
     * Comes from the thread of any channel, or of storvsp_enumerate() and
     * storvsp_unpause(); one call answers all wishes before it.
     */
    void (*run_later)(void *opaque, StorChannel *channel);
    /*
     * The service is about to submit or complete requests, and has done so;
     * for a machine that begins them together.  Either may be NULL.
     */
    void (*begin_batch)(void *opaque);
    void (*end_batch)(void *opaque);
    /* A packet was refused; @sentence is for people.  May be NULL. */
    void (*refused)(void *opaque, StorChannel *channel, const char *sentence);
} StorVspOps;

typedef struct StorVspConfig {
    bool fc; /* answers FCHBA_DATA */
    StorFcNames names;
    uint16_t max_subchannels;    /* less than STOR_MAX_CHANNELS */
    uint32_t max_transfer_bytes; /* of one request; whole pages */
} StorVspConfig;

/* The largest max_transfer_bytes: its pages must fit in a packet. */
#define STOR_MAX_TRANSFER (8u << 20)

/*
 * For vmbus_bus_offer() with an instance id; the opaque pointer is the StorVsp,
 * for sub-channels, too.  The machine has called storvsp_cancel() before
 * close(), unless its cancel() ends requests at once.
 */
extern const VmbusOffer storvsp_scsi_offer;
extern const VmbusOffer storvsp_fc_offer;
extern const VmbusChannelOps storvsp_channel_ops;

StorVsp *storvsp_new(const StorVspConfig *config, const StorVspOps *ops,
                     void *opaque);
/* The channels are closed, or were loaded and have not run. */
void storvsp_free(StorVsp *vsp);

/*
 * Ends a request, which is no more.  On the thread of its channel.  The guest
 * sees the answer after storvsp_flush(), or when its ring has room.
 */
void storvsp_complete(StorRequest *req, const StorResult *result);
/* Shows the guest the answers, and signals it if need be. */
void storvsp_flush(StorChannel *channel);
/*
 * The channel is about to close: nothing is read any more, and each request is
 * cancelled.  The machine closes it when all have ended.  On its thread.
 */
void storvsp_cancel(StorChannel *channel);
/* The reset that the channel waits for is done; on its thread. */
void storvsp_reset_done(StorChannel *channel);
/*
 * The sub-channels that the channel waits for are offered; or none is, and
 * @why says why: a static sentence.  On its thread.
 */
void storvsp_subchannels_offered(StorChannel *channel, const char *why);
/* After run_later(). */
void storvsp_run(StorChannel *channel);
/*
 * While a device is paused, nothing is read from the guest and nothing is
 * submitted or reset; what the machine completes is answered.  Pauses are
 * counted.  Any thread, while no channel opens or closes.
 */
void storvsp_pause(StorVsp *vsp);
void storvsp_unpause(StorVsp *vsp);
/*
 * Devices came or went: the guest looks which.  Any thread, while no channel
 * opens or closes.
 */
void storvsp_enumerate(StorVsp *vsp);

/* Result for a command that a device refuses; fixed-format sense. */
void storvsp_check_condition(StorResult *result, uint8_t srb_status,
                             uint8_t key, uint8_t asc, uint8_t ascq);
/*
 * The answer to a command for a unit that is not there.  Guests find out by
 * INQUIRY and REPORT LUNS, whose data goes to @data (at most
 * STOR_ABSENT_DATA bytes; result->transferred says how many).  All else is
 * STOR_SRB_INVALID_LUN, on which Linux lets go of its device.
 */
#define STOR_ABSENT_DATA 36
void storvsp_answer_absent(const StorRequest *req, uint8_t *data,
                           StorResult *result);

/* Channel @index, or NULL if it is closed. */
StorChannel *storvsp_channel(StorVsp *vsp, unsigned index);
unsigned storvsp_channel_index(const StorChannel *channel);
/* The unfinished request @id of the channel, or NULL. */
StorRequest *storvsp_find(StorChannel *channel, uint64_t id);

typedef enum StorPhase {
    STOR_CLOSED,
    STOR_OPEN,      /* nothing said yet */
    STOR_BEGUN,     /* the guest may ask for versions */
    STOR_VERSIONED, /* a version is agreed */
    STOR_DESCRIBED, /* the guest knows the adapter's properties */
    STOR_READY,     /* initialization has ended */
} StorPhase;

typedef struct StorChannelInfo {
    unsigned in_flight;           /* requests without an answer */
    uint64_t requests, completed; /* of all times */
    uint64_t refused;
    const char *last_refusal; /* static sentence, or NULL */
} StorChannelInfo;

typedef struct StorVspInfo {
    StorPhase phase;
    uint16_t version;      /* STOR_VERSION_*; 0 before it is agreed */
    unsigned channels;     /* open ones */
    uint64_t enumerations; /* ENUMERATE_BUS sent */
} StorVspInfo;

void storvsp_info(StorVsp *vsp, StorVspInfo *info);
void storvsp_channel_info(StorChannel *channel, StorChannelInfo *info);
const char *storvsp_phase_name(StorPhase phase);

/*
 * The service in a saved machine; requests are in it.  No sub-channels are
 * being offered.  The caller unrefs the array.
 */
GByteArray *storvsp_save(const StorVsp *vsp);
/*
 * Brings @vsp to a saved state; @chan is its primary channel, which the bus has
 * loaded with its sub-channels.  NULL, or a static sentence; any bytes may be
 * given.  Then the machine adopts the sub-channels, finds the requests that it
 * saved itself and sets their @machine; the others are submitted when the
 * channel next runs.
 */
const char *storvsp_load(StorVsp *vsp, VmbusChannel *chan, const void *data,
                         size_t len);

#endif
