/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shutdown: the host asks the guest to power off, restart or hibernate.
 */
#ifndef VMBUS_SHUTDOWN_H
#define VMBUS_SHUTDOWN_H

#include <glib.h>

#include "bus/channel.h"

typedef struct VmbusShutdown VmbusShutdown;

typedef enum VmbusShutdownMode {
    VMBUS_SHUTDOWN_POWEROFF,
    VMBUS_SHUTDOWN_REBOOT,
    VMBUS_SHUTDOWN_HIBERNATE,
} VmbusShutdownMode;

typedef enum VmbusShutdownState {
    VMBUS_SHUTDOWN_CLOSED, /* the guest has not opened the service */
    VMBUS_SHUTDOWN_NEGOTIATING,
    VMBUS_SHUTDOWN_READY,
    VMBUS_SHUTDOWN_REQUESTED, /* asked; no answer yet */
    VMBUS_SHUTDOWN_ACCEPTED,  /* the guest said yes and is at it */
} VmbusShutdownState;

/* How vmbus_shutdown_request() or the guest answered. */
typedef enum VmbusShutdownResult {
    VMBUS_SHUTDOWN_OK,
    VMBUS_SHUTDOWN_NOT_OPEN,  /* the service is not open in the guest */
    VMBUS_SHUTDOWN_NOT_READY, /* open, versions not agreed yet; or the
                               * guest said ERROR_NOT_READY */
    VMBUS_SHUTDOWN_IN_PROGRESS,
    VMBUS_SHUTDOWN_LOCKED,        /* the guest: a user session is locked */
    VMBUS_SHUTDOWN_TOO_OLD,       /* the agreed version has no such mode */
    VMBUS_SHUTDOWN_NOT_SUPPORTED, /* the guest said so */
    VMBUS_SHUTDOWN_FAILED,        /* any other status of the guest */
    VMBUS_SHUTDOWN_GONE,          /* the channel closed before an answer */
} VmbusShutdownResult;

typedef struct VmbusShutdownRequest {
    VmbusShutdownMode mode;
    bool force;
    uint32_t reason;       /* Windows' SHTDN_REASON_*; 0: planned */
    uint32_t timeout_secs; /* what the guest may take; 0: its default */
    const char *message;   /* UTF-8, or NULL; cut to fit */
} VmbusShutdownRequest;

typedef struct VmbusShutdownInfo {
    VmbusShutdownState state;
    uint32_t framework_version, message_version;
    uint64_t requests;
    uint32_t last_status; /* HRESULT of the guest's last answer */
} VmbusShutdownInfo;

typedef struct VmbusShutdownOps {
    /* The guest's answer to a request; @status is its HRESULT. */
    void (*answered)(void *opaque, VmbusShutdownMode mode,
                     VmbusShutdownResult result, uint32_t status);
    /* The state changed. */
    void (*changed)(void *opaque, VmbusShutdownState state);
} VmbusShutdownOps;

/* For vmbus_bus_offer(); its opaque pointer is the VmbusShutdown. */
extern const VmbusOffer vmbus_shutdown_offer;
extern const VmbusChannelOps vmbus_shutdown_channel_ops;

VmbusShutdown *vmbus_shutdown_new(const VmbusShutdownOps *ops, void *opaque);
void vmbus_shutdown_free(VmbusShutdown *sd);
/*
 * Asks the guest.  VMBUS_SHUTDOWN_OK: sent, answered() will be called once.
 * Anything else: nothing was sent.
 */
VmbusShutdownResult vmbus_shutdown_request(VmbusShutdown *sd,
                                           const VmbusShutdownRequest *req);
void vmbus_shutdown_info(const VmbusShutdown *sd, VmbusShutdownInfo *info);
/* The service in a saved machine.  The caller unrefs the array. */
GByteArray *vmbus_shutdown_save(const VmbusShutdown *sd);
/*
 * Brings @sd to a saved state; @chan is its channel, which the bus has loaded.
 * No op is called; the answer to a request that was under way is told when it
 * comes.  NULL, or a static sentence; any bytes may be given.
 */
const char *vmbus_shutdown_load(VmbusShutdown *sd, VmbusChannel *chan,
                                const void *data, size_t len);
const char *vmbus_shutdown_state_name(VmbusShutdownState state);
/* One sentence for people. */
const char *vmbus_shutdown_result_sentence(VmbusShutdownResult result);

#endif
