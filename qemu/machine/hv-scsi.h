/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-scsi: an adapter that speaks VMBus' storage protocol, with QEMU's SCSI
 * devices on it.
 *
 * Each channel has a thread: an IOThread, or the main loop's under the big QEMU
 * lock.  All calls of the service for a channel come from there.  What only the
 * main loop may do, resets and offers of sub-channels, it does when the
 * channel's thread has asked it to, while the channel is not read.
 */
#ifndef HW_VMBUS_HV_SCSI_H
#define HW_VMBUS_HV_SCSI_H

#include "hv-bridge.h"
#include "hw/hotplug.h"
#include "hw/scsi/scsi.h"
#include "qapi/qapi-types-virtio.h"
#include "system/iothread.h"
#include "devices/storvsp.h"

#define TYPE_HV_SCSI "hv-scsi"
/* The same as a fibre channel adapter, with wwpn and wwnn. */
#define TYPE_HV_FC "hv-fc"
OBJECT_DECLARE_SIMPLE_TYPE(HvScsi, HV_SCSI)

/* What a channel waits for. */
typedef enum HvScsiWork {
    HV_SCSI_NO_WORK,
    HV_SCSI_RESET,
    HV_SCSI_OFFER_SUBCHANNELS,
} HvScsiWork;

typedef struct HvScsiChannel {
    HvScsi *scsi;
    unsigned index;
    AioContext *ctx; /* its thread's; the same while the device exists */
    QEMUBH *turn_bh; /* in @ctx */
    QEMUBH *work_bh; /* in the main loop */
    bool closing;    /* atomic: somebody waits for its requests */

    /* The channel's thread writes it, and the main loop answers. */
    HvScsiWork work;
    StorReset reset;
    uint16_t count;
    const char *why; /* no sub-channels were offered; or NULL */
    bool work_done;  /* atomic */
} HvScsiChannel;

struct HvScsi {
    HvDevice parent_obj;

    SCSIBus bus;
    StorVsp *vsp;
    uint16_t num_queues; /* 0: as many as virtual processors */
    uint32_t max_transfer;
    uint64_t wwpn, wwnn; /* of a fibre channel adapter */
    IOThread *iothread;
    IOThreadVirtQueueMappingList *iothread_mapping;
    HvScsiChannel channels[STOR_MAX_CHANNELS];
    VMChangeStateEntry *runstate_entry;
    bool stopped; /* the machine; the service is paused */

    bool leaving; /* atomic: an unplug was asked for, and no disk is shown */
    QEMUTimer *leave_timer; /* NULL: it was not */
    uint64_t leaving_requests;
    unsigned quiet_looks;
};

/*
 * Linux asks each of 8 buses, 2 targets and 255 units; Hyper-V has its disks
 * on the first bus and target.
 */
#define HV_SCSI_MAX_TARGET 1
#define HV_SCSI_MAX_LUN    254

extern const SCSIBusInfo hv_scsi_bus_info;

/* hv-scsi-request.c, for StorVspOps. */
void hv_scsi_submit(void *opaque, StorRequest *req);
void hv_scsi_cancel(void *opaque, StorRequest *req);

/* hv-scsi-plug.c; in the main loop. */
void hv_scsi_disk_pre_plug(HotplugHandler *handler, DeviceState *dev,
                           Error **errp);
void hv_scsi_disk_plug(HotplugHandler *handler, DeviceState *dev, Error **errp);
void hv_scsi_disk_unplug(HotplugHandler *handler, DeviceState *dev,
                         Error **errp);
/* The adapter's own unplug. */
void hv_scsi_leave(HvDevice *dev);
void hv_scsi_stop_leaving(HvScsi *s);

/* hv-scsi-channel.c; in the main loop, but for those of StorVspOps. */

/* The opaque pointer is the HvScsi. */
extern const VmbusChannelOps hv_scsi_channel_ops;
/* Gives each of @count channels its thread; false with an error. */
bool hv_scsi_channels_init(HvScsi *s, unsigned count, Error **errp);
/* The channels are closed. */
void hv_scsi_channels_cleanup(HvScsi *s);
/* The service has loaded its state. */
void hv_scsi_channels_loaded(HvScsi *s);
/* What all open channels have counted, and the first one's last refusal. */
void hv_scsi_sum(HvScsi *s, StorChannelInfo *sum);
/* As storvsp_pause(), and no channel is at work when it returns. */
void hv_scsi_pause(HvScsi *s);
/* After hv_scsi_pause(): does what the channels wait for. */
void hv_scsi_finish_work(HvScsi *s);

void hv_scsi_reset(void *opaque, StorChannel *channel, const StorReset *reset);
void hv_scsi_offer_subchannels(void *opaque, StorChannel *channel,
                               uint16_t count);
void hv_scsi_run_later(void *opaque, StorChannel *channel);

#endif
