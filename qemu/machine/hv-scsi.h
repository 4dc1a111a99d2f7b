/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-scsi: an adapter that speaks VMBus' storage protocol, with QEMU's SCSI
 * devices on it.  All runs in the main loop, under the big QEMU lock.
 */
#ifndef HW_VMBUS_HV_SCSI_H
#define HW_VMBUS_HV_SCSI_H

#include "hv-bridge.h"
#include "hw/scsi/scsi.h"
#include "devices/storvsp.h"

#define TYPE_HV_SCSI "hv-scsi"
OBJECT_DECLARE_SIMPLE_TYPE(HvScsi, HV_SCSI)

/* A channel whose turn comes in the main loop. */
typedef struct HvScsiTurn {
    HvScsi *scsi;
    unsigned index;
    QEMUBH *bh;
} HvScsiTurn;

struct HvScsi {
    HvDevice parent_obj;

    SCSIBus bus;
    StorVsp *vsp;
    uint16_t num_queues; /* 0: as many as virtual processors */
    uint32_t max_transfer;
    HvScsiTurn turns[STOR_MAX_CHANNELS];
    VMChangeStateEntry *runstate_entry;
    bool stopped; /* the machine; the service is paused */
};

/*
 * Linux asks each of 8 buses, 2 targets and 255 units; Hyper-V has its disks
 * on the first bus and target.
 */
#define HV_SCSI_MAX_TARGET 1
#define HV_SCSI_MAX_LUN    254

extern const SCSIBusInfo hv_scsi_bus_info;

/* For StorVspOps. */
void hv_scsi_submit(void *opaque, StorRequest *req);
void hv_scsi_cancel(void *opaque, StorRequest *req);

#endif
