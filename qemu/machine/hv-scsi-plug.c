/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that come and go, and their adapter. */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/block-backend.h"
#include "hv-scsi.h"
#include "trace/trace-hw_vmbus.h"

/* Of the machine's time: how often a guest is looked at, and after how many
 * looks in which it asked for nothing it is taken to have let go. */
#define LOOK_MS     250
#define QUIET_LOOKS 12

void hv_scsi_disk_pre_plug(HotplugHandler *handler, DeviceState *dev,
                           Error **errp)
{
    SCSIDevice *disk = SCSI_DEVICE(dev);

    /* As on Hyper-V: units of one target, and not targets. */
    if (disk->id == -1) {
        disk->id = 0;
    }
    disk->hba_supports_iothread = true;
}

/* Other users of a disk may keep it where it is: it works all the same. */
static void move_disk(HvScsi *s, DeviceState *dev, AioContext *ctx)
{
    if (s->channels[0].ctx != qemu_get_aio_context()) {
        blk_set_aio_context(SCSI_DEVICE(dev)->conf.blk, ctx, NULL);
    }
}

void hv_scsi_disk_plug(HotplugHandler *handler, DeviceState *dev, Error **errp)
{
    HvScsi *s = HV_SCSI(handler);

    move_disk(s, dev, s->channels[0].ctx);
    storvsp_enumerate(s->vsp);
}

void hv_scsi_disk_unplug(HotplugHandler *handler, DeviceState *dev,
                         Error **errp)
{
    HvScsi *s = HV_SCSI(handler);

    /* No thread is about to give it a request. */
    hv_scsi_pause(s);
    qdev_simple_device_unplug_cb(handler, dev, errp);
    move_disk(s, dev, qemu_get_aio_context());
    storvsp_unpause(s->vsp);
    storvsp_enumerate(s->vsp);
}

/*
 * When its adapter is taken away, Linux's driver waits for ever for a request
 * that it has not sent yet; and when it lets go of a disk it flushes its cache.
 * So the disks go first: all of them are absent to the guest from now on, as
 * Linux finds out when it is asked to look.  The adapter is rescinded when the
 * guest has been quiet for a while, or has no driver for it.
 */

static void look(void *opaque)
{
    HvScsi *s = opaque;
    StorChannelInfo all;
    StorVspInfo info;

    hv_scsi_sum(s, &all);
    s->quiet_looks = all.requests == s->leaving_requests && !all.in_flight
                         ? s->quiet_looks + 1
                         : 0;
    s->leaving_requests = all.requests;
    storvsp_info(s->vsp, &info);
    trace_hv_scsi_leaving(all.requests, all.in_flight, s->quiet_looks);
    if (info.phase != STOR_READY || s->quiet_looks >= QUIET_LOOKS) {
        hv_device_request_unplug(VMBUS_DEVICE(s));
    } else {
        timer_mod(s->leave_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + LOOK_MS);
    }
}

void hv_scsi_leave(HvDevice *dev)
{
    HvScsi *s = HV_SCSI(dev);

    DEVICE(dev)->pending_deleted_event = true;
    if (s->leave_timer) {
        return;
    }
    qatomic_set(&s->leaving, true);
    storvsp_enumerate(s->vsp);
    s->quiet_looks = 0;
    s->leave_timer = timer_new_ms(QEMU_CLOCK_VIRTUAL, look, s);
    look(s);
}

void hv_scsi_stop_leaving(HvScsi *s)
{
    timer_free(s->leave_timer);
    s->leave_timer = NULL;
    s->leaving = false;
}
