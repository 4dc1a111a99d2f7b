/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time synchronization: the host tells the guest what time it is.  A sync is
 * an order to set the clock; it follows the opening of the service, each
 * resumption of the machine, and each request.  Samples in between are a hint
 * that the guest may use (Linux offers them as a PTP clock).
 */
#ifndef VMBUS_TIMESYNC_H
#define VMBUS_TIMESYNC_H

#include <glib.h>

#include "bus/channel.h"

typedef struct VmbusTimesync VmbusTimesync;

typedef enum VmbusTimesyncState {
    VMBUS_TIMESYNC_CLOSED, /* the guest has not opened the service */
    VMBUS_TIMESYNC_NEGOTIATING,
    VMBUS_TIMESYNC_READY,
    VMBUS_TIMESYNC_UNUSABLE, /* open, and will not become ready */
} VmbusTimesyncState;

/* How vmbus_timesync_sync() or the guest answered. */
typedef enum VmbusTimesyncResult {
    VMBUS_TIMESYNC_OK,
    VMBUS_TIMESYNC_NOT_OPEN,   /* the service is not open in the guest */
    VMBUS_TIMESYNC_NOT_READY,  /* open, versions not agreed yet */
    VMBUS_TIMESYNC_NOT_USABLE, /* open, versions will not be agreed */
    VMBUS_TIMESYNC_REFUSED,    /* the guest answered with an error */
    VMBUS_TIMESYNC_GONE,       /* the channel closed before an answer */
} VmbusTimesyncResult;

/* Two clocks at one moment. */
typedef struct VmbusTimesyncClocks {
    uint64_t wall;      /* 100 ns since 1601, UTC */
    uint64_t reference; /* the partition's reference time, 100 ns */
} VmbusTimesyncClocks;

typedef struct VmbusTimesyncInfo {
    VmbusTimesyncState state;
    uint32_t framework_version, message_version; /* 0 before agreed */
    uint64_t syncs, samples;                     /* sent */
    uint64_t answers;
    uint64_t last_sync_ns; /* when a sync was answered last; 0: never */
    /* The guest's clock minus the host's at the last answer, 100 ns.  Version
     * 4 has no place for it, and Linux does not fill it in. */
    bool has_offset;
    int64_t offset;
} VmbusTimesyncInfo;

typedef struct VmbusTimesyncOps {
    /* The state changed. */
    void (*changed)(void *opaque, VmbusTimesyncState state);
    /* The guest's answer to a sync; @status is its HRESULT.  @asked: it
     * answers vmbus_timesync_sync(), perhaps several calls of it. */
    void (*synced)(void *opaque, bool asked, VmbusTimesyncResult result,
                   uint32_t status);
    /* Reads both clocks; called while the machine runs. */
    void (*clocks)(void *opaque, VmbusTimesyncClocks *clocks);
    /* Call vmbus_timesync_tick() at @when_ns; replaces an earlier wish.
     * UINT64_MAX: no call wanted. */
    void (*wake_at)(void *opaque, uint64_t when_ns);
    /* Nanoseconds on a clock that stands while the machine is stopped. */
    uint64_t (*now_ns)(void *opaque);
} VmbusTimesyncOps;

/* For vmbus_bus_offer(); its opaque pointer is the VmbusTimesync. */
extern const VmbusOffer vmbus_timesync_offer;
extern const VmbusChannelOps vmbus_timesync_channel_ops;

/*
 * @has_reference: the partition has a reference counter.  Without one the
 * versions that need it are not offered to the guest.
 */
VmbusTimesync *vmbus_timesync_new(const VmbusTimesyncOps *ops, void *opaque,
                                  bool has_reference);
void vmbus_timesync_free(VmbusTimesync *ts);
/*
 * Orders the guest to set its clock.  VMBUS_TIMESYNC_OK: synced() will be
 * called once for this and other calls that wait; while the machine is stopped
 * the order waits, too.  Anything else: nothing is sent.
 */
VmbusTimesyncResult vmbus_timesync_sync(VmbusTimesync *ts);
/* The time asked for by wake_at() has come; early calls are harmless. */
void vmbus_timesync_tick(VmbusTimesync *ts);
/* The machine stopped or runs again; a sync follows a stop. */
void vmbus_timesync_set_running(VmbusTimesync *ts, bool running);
void vmbus_timesync_info(const VmbusTimesync *ts, VmbusTimesyncInfo *info);
/* The service in a saved machine.  The caller unrefs the array. */
GByteArray *vmbus_timesync_save(const VmbusTimesync *ts);
/*
 * Brings @ts to a saved state; @chan is its channel, which the bus has loaded.
 * A sync follows when the machine runs.  No op but wake_at() is called.
 * NULL, or a static sentence; any bytes may be given.
 */
const char *vmbus_timesync_load(VmbusTimesync *ts, VmbusChannel *chan,
                                const void *data, size_t len);
const char *vmbus_timesync_state_name(VmbusTimesyncState state);
/* One sentence for people. */
const char *vmbus_timesync_result_sentence(VmbusTimesyncResult result);

#endif
