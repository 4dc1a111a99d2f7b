/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backup (VSS): the host asks the guest to bring its file systems to rest,
 * and to go on.
 *
 * A freeze is a job: first the guest is asked whether it can take part, then
 * to freeze, both within a deadline; then it stays frozen until somebody
 * thaws it or its hold time is over, whichever is first.  Once a freeze has
 * been sent, a thaw is owed to the guest, and it is sent again until the guest
 * confirms it or was reset.
 *
 * One request is in flight at a time: Linux has room for one, and a second one
 * in the ring may lie there unseen.
 */
#ifndef VMBUS_VSS_H
#define VMBUS_VSS_H

#include <glib.h>

#include "bus/channel.h"

typedef struct VmbusVss VmbusVss;

typedef enum VmbusVssState {
    VMBUS_VSS_IDLE,
    VMBUS_VSS_CHECKING, /* asked whether the guest can take part */
    VMBUS_VSS_FREEZING,
    VMBUS_VSS_FROZEN,
    VMBUS_VSS_THAWING, /* a thaw is wanted, and not confirmed yet */
    VMBUS_VSS_FAILED,  /* not frozen, and not as somebody wanted it */
} VmbusVssState;

/* Why the last freeze ended, or is ending. */
typedef enum VmbusVssReason {
    VMBUS_VSS_NO_REASON,
    VMBUS_VSS_DISABLED,     /* the guest answered the check with an error */
    VMBUS_VSS_NOT_PREPARED, /* it answered that it is not ready */
    VMBUS_VSS_REFUSED,      /* the guest did not freeze */
    VMBUS_VSS_TIMEOUT,      /* not frozen by the deadline */
    VMBUS_VSS_HOLD_OVER,    /* nobody renewed the hold in time */
    VMBUS_VSS_LIMIT,        /* frozen for as long as this host allows */
    VMBUS_VSS_CANCELLED,    /* thawed while it was checking or freezing */
    VMBUS_VSS_THAWED,       /* thawed on request */
    VMBUS_VSS_SHUTDOWN,     /* thawed because the guest is to shut down */
    VMBUS_VSS_MIGRATION,    /* thawed because the machine moves */
    VMBUS_VSS_MOVED,        /* it was saved, and goes on from there */
    VMBUS_VSS_GONE,         /* the guest closed the service */
    VMBUS_VSS_RESET,        /* the machine was reset */
    VMBUS_VSS_NOT_THAWED,   /* nothing was owed, and a thaw was refused */
    VMBUS_VSS_LAPSED,       /* the guest thawed before it was asked to */
} VmbusVssReason;

typedef enum VmbusVssService {
    VMBUS_VSS_CLOSED,
    VMBUS_VSS_NEGOTIATING,
    VMBUS_VSS_READY,
    VMBUS_VSS_UNUSABLE, /* open, and will not become ready */
} VmbusVssService;

typedef enum VmbusVssResult {
    VMBUS_VSS_OK,
    VMBUS_VSS_NOT_OPEN,   /* the service is not open in the guest */
    VMBUS_VSS_NOT_READY,  /* open, versions not agreed yet */
    VMBUS_VSS_NOT_USABLE, /* open, versions will not be agreed */
    VMBUS_VSS_STOPPED,    /* the machine is stopped */
    VMBUS_VSS_BUSY,       /* another freeze is under way or in force */
    VMBUS_VSS_UNTHAWED,   /* the thaw of an earlier one is not confirmed */
    VMBUS_VSS_UNANSWERED, /* an earlier request has no answer yet */
    VMBUS_VSS_BAD_HOLD,   /* hold or timeout is out of range */
    VMBUS_VSS_NOT_FROZEN, /* of vmbus_vss_renew(): that freeze is over */
} VmbusVssResult;

typedef struct VmbusVssInfo {
    VmbusVssState state;
    VmbusVssReason reason;
    VmbusVssService service;
    uint32_t framework_version, message_version; /* 0 before agreed */
    uint64_t job;         /* the last freeze; 0: there was none */
    uint64_t frozen_ns;   /* how long it is frozen */
    uint64_t left_ns;     /* CHECKING, FREEZING: to the deadline; FROZEN: to
                           * the end of the hold */
    uint32_t last_status; /* HRESULT of the last answer */
    uint64_t freezes;     /* that came to FROZEN */
    uint64_t thaws;       /* that the guest confirmed */
    uint64_t thaws_refused;
    uint64_t late; /* answers to what nobody waited for any more */
} VmbusVssInfo;

typedef struct VmbusVssOps {
    /* The state or its reason changed. */
    void (*changed)(void *opaque, const VmbusVssInfo *info);
    /* Call vmbus_vss_tick() at @when_ns; replaces an earlier wish.
     * UINT64_MAX: no call wanted. */
    void (*wake_at)(void *opaque, uint64_t when_ns);
    /* Nanoseconds on a clock of the host that never stands. */
    uint64_t (*now_ns)(void *opaque);
} VmbusVssOps;

#define VMBUS_VSS_MAX_TIMEOUT_NS (900 * UINT64_C(1000000000))

/* For vmbus_bus_offer(); its opaque pointer is the VmbusVss. */
extern const VmbusOffer vmbus_vss_offer;
extern const VmbusChannelOps vmbus_vss_channel_ops;

/* @limit_ns: no freeze lasts longer, however often it is renewed. */
VmbusVss *vmbus_vss_new(const VmbusVssOps *ops, void *opaque,
                        uint64_t limit_ns);
void vmbus_vss_free(VmbusVss *vss);
/*
 * Begins a freeze, which is FROZEN or over within @timeout_ns and thawed
 * @hold_ns after that, unless it is renewed.  VMBUS_VSS_OK: begun, and *@job
 * names it.  Anything else: nothing was sent.
 */
VmbusVssResult vmbus_vss_freeze(VmbusVss *vss, uint64_t hold_ns,
                                uint64_t timeout_ns, uint64_t *job);
/*
 * Lets the freeze @job go on for another @hold_ns from now; 0: as much as it
 * was begun with.  *@granted_ns is less if the limit is nearer.
 */
VmbusVssResult vmbus_vss_renew(VmbusVss *vss, uint64_t job, uint64_t hold_ns,
                               uint64_t *granted_ns);
/*
 * Ends whatever is under way, and thaws the guest; in any state, also if
 * nothing is known to be frozen.  VMBUS_VSS_OK: nothing is left to be done, or
 * a thaw is under way.  Otherwise the guest can't be reached now; a thaw that
 * is owed follows when it can.
 */
VmbusVssResult vmbus_vss_thaw(VmbusVss *vss, VmbusVssReason reason);
/* Has a freeze been sent that no confirmed thaw followed? */
bool vmbus_vss_owes_thaw(const VmbusVss *vss);
/* The time asked for by wake_at() has come; early calls are harmless. */
void vmbus_vss_tick(VmbusVss *vss);
/* The machine stopped or runs again: nothing is sent while it is stopped, but
 * deadlines pass. */
void vmbus_vss_set_running(VmbusVss *vss, bool running);
/* The machine was reset, and its channels closed: nothing is frozen in it. */
void vmbus_vss_reset(VmbusVss *vss);
void vmbus_vss_info(const VmbusVss *vss, VmbusVssInfo *info);
/*
 * The service in a saved machine.  The caller unrefs the array.  A freeze that
 * is not over becomes one that is being thawed: its holder stays behind.
 */
GByteArray *vmbus_vss_save(const VmbusVss *vss);
/*
 * Brings @vss to a saved state; @chan is its channel, which the bus has loaded.
 * A thaw that is owed is sent when the machine runs.  No op but wake_at() is
 * called.  NULL, or a static sentence; any bytes may be given.
 */
const char *vmbus_vss_load(VmbusVss *vss, VmbusChannel *chan, const void *data,
                           size_t len);
const char *vmbus_vss_state_name(VmbusVssState state);
/* One sentence for people each; NULL for VMBUS_VSS_NO_REASON. */
const char *vmbus_vss_reason_sentence(VmbusVssReason reason);
const char *vmbus_vss_result_sentence(VmbusVssResult result);

#endif
