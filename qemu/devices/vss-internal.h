/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vss.c and vss-state.c share. */
#ifndef VMBUS_VSS_INTERNAL_H
#define VMBUS_VSS_INTERNAL_H

#include "devices/ic.h"
#include "devices/vss.h"

/* A request's cookie: which job asked for what. */
#define VSS_COOKIE(job, operation)   ((job) << 8 | (operation))
#define VSS_COOKIE_JOB(cookie)       ((cookie) >> 8)
#define VSS_COOKIE_OPERATION(cookie) ((uint8_t)(cookie))
#define VSS_MAX_JOB                  (UINT64_MAX >> 8)

struct VmbusVss {
    IcPort port;
    const VmbusVssOps *ops;
    void *opaque;
    uint64_t limit_ns;
    bool running;
    VmbusVssState state;
    VmbusVssReason reason;
    /* A freeze was sent, and no thaw has been confirmed since. */
    bool owed;
    uint8_t in_flight; /* IcVssOperation without an answer; 0: none */
    uint64_t job;
    uint64_t hold_ns;
    uint64_t deadline_ns;   /* CHECKING and FREEZING end here */
    uint64_t frozen_at_ns;  /* FROZEN since */
    uint64_t hold_until_ns; /* FROZEN ends here */
    uint64_t retry_ns;      /* THAWING: not before this is a thaw sent */
    uint32_t last_status;
    uint64_t freezes, thaws, thaws_refused, late;
};

extern const IcService vmbus_vss_service;

/* Asks for the next call of vmbus_vss_tick(). */
void vmbus_vss_schedule(VmbusVss *vss);

#endif
