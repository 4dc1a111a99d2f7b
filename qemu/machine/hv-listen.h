/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread of a channel in QEMU: the main loop's, under the big QEMU lock, or
 * that of an IOThread, without it.
 */
#ifndef HW_VMBUS_HV_LISTEN_H
#define HW_VMBUS_HV_LISTEN_H

#include "block/aio.h"
#include "bus/bus.h"

/*
 * The channel runs in @ctx from now on: its signal() is called there, and the
 * device uses the channel there alone (channel.h says what is for which
 * thread).  A device calls it in its channel's open(), and for each channel
 * that is open when it has loaded its state; without, the channel runs in the
 * main loop.  The IOThread of @ctx stays until the channel is closed: the
 * device holds a reference.
 *
 * What runs in an IOThread never takes the big QEMU lock: the main loop waits
 * for the IOThread with the lock held.  And signal() does not poll @ctx.
 */
void hv_channel_set_aio_context(VmbusChannel *chan, AioContext *ctx);
/* Where the channel runs; the main loop's context if it is not open. */
AioContext *hv_channel_aio_context(const VmbusChannel *chan);

/*
 * For the bridge, which has the operations of VmbusMachineOps by these names;
 * under the big QEMU lock, but for hv_listener_defer_close().
 */
typedef struct HvListener HvListener;

/* @chan: NULL for the interrupt page.  NULL if @conn_id can't be had. */
HvListener *hv_listener_new(VmbusBus *bus, VmbusChannel *chan,
                            uint32_t conn_id);
void hv_listener_free(HvListener *listener);
void hv_listener_start(HvListener *listener);
void hv_listener_stop(HvListener *listener);
void hv_listener_kick(HvListener *listener);
void hv_listener_call(HvListener *listener, void (*fn)(void *arg), void *arg);
void hv_listener_defer_close(HvListener *listener);

#endif
