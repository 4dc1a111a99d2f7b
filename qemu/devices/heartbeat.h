/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heartbeat: the host asks every two seconds, the guest answers.
 */
#ifndef VMBUS_HEARTBEAT_H
#define VMBUS_HEARTBEAT_H

#include <glib.h>

#include "bus/channel.h"

typedef struct VmbusHeartbeat VmbusHeartbeat;

typedef enum VmbusHeartbeatState {
    VMBUS_HEARTBEAT_NO_CONTACT, /* the guest has not opened the service */
    VMBUS_HEARTBEAT_OK,
    VMBUS_HEARTBEAT_LOST,   /* open, but answers stopped coming */
    VMBUS_HEARTBEAT_PAUSED, /* the machine is stopped; nothing is asked */
} VmbusHeartbeatState;

/* What the guest says of its applications (message version 3). */
typedef enum VmbusApplicationState {
    VMBUS_APPLICATION_UNKNOWN,
    VMBUS_APPLICATION_HEALTHY,
    VMBUS_APPLICATION_CRITICAL,
    VMBUS_APPLICATION_STOPPED,
} VmbusApplicationState;

typedef struct VmbusHeartbeatInfo {
    VmbusHeartbeatState state;
    VmbusApplicationState application;
    uint32_t framework_version, message_version; /* 0 before they are agreed */
    uint64_t sequence; /* last one that the guest answered */
    uint64_t sent, received, refused;
    uint64_t last_ns; /* when the last answer came; 0: never */
} VmbusHeartbeatInfo;

typedef struct VmbusHeartbeatOps {
    /* The state or the application state changed. */
    void (*changed)(void *opaque, const VmbusHeartbeatInfo *info);
    /* Call vmbus_heartbeat_tick() at @when_ns; replaces an earlier wish.
     * UINT64_MAX: no call wanted. */
    void (*wake_at)(void *opaque, uint64_t when_ns);
    /* Nanoseconds on a clock that stands while the machine is stopped. */
    uint64_t (*now_ns)(void *opaque);
} VmbusHeartbeatOps;

/* For vmbus_bus_offer(); its opaque pointer is the VmbusHeartbeat. */
extern const VmbusOffer vmbus_heartbeat_offer;
extern const VmbusChannelOps vmbus_heartbeat_channel_ops;

VmbusHeartbeat *vmbus_heartbeat_new(const VmbusHeartbeatOps *ops, void *opaque);
void vmbus_heartbeat_free(VmbusHeartbeat *hb);
/* The time asked for by wake_at() has come; early calls are harmless. */
void vmbus_heartbeat_tick(VmbusHeartbeat *hb);
/* The machine stopped or runs again. */
void vmbus_heartbeat_set_running(VmbusHeartbeat *hb, bool running);
void vmbus_heartbeat_info(const VmbusHeartbeat *hb, VmbusHeartbeatInfo *info);
/*
 * The service in a saved machine.  The caller unrefs the array.  Times are kept
 * as distances from now_ns(), whose clock may be another one in the machine
 * that loads them.
 */
GByteArray *vmbus_heartbeat_save(const VmbusHeartbeat *hb);
/*
 * Brings @hb to a saved state; @chan is its channel, which the bus has loaded.
 * Whether the machine runs is not part of the state.  changed() is not called.
 * NULL, or a static sentence; any bytes may be given.
 */
const char *vmbus_heartbeat_load(VmbusHeartbeat *hb, VmbusChannel *chan,
                                 const void *data, size_t len);
const char *vmbus_heartbeat_state_name(VmbusHeartbeatState state);
const char *vmbus_application_state_name(VmbusApplicationState state);

#endif
