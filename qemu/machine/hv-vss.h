/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_VMBUS_HV_VSS_H
#define HW_VMBUS_HV_VSS_H

#include "migration/misc.h"
#include "system/runstate.h"
#include "devices/vss.h"
#include "hv-bridge.h"

#define TYPE_HV_VSS "hv-vss"
OBJECT_DECLARE_SIMPLE_TYPE(HvVss, HV_VSS)

struct HvVss {
    HvDevice parent_obj;

    uint32_t freeze_limit; /* seconds */
    VmbusVss *engine;
    QEMUTimer *timer;
    VMChangeStateEntry *runstate_entry;
    NotifierWithReturn migration_notifier;
    Notifier powerdown_notifier;
    Error *unplug_blocker; /* NULL: it may be unplugged */
};

/* The machine's hv-vss, or NULL with *@errp. */
HvVss *hv_vss_find(Error **errp);
/* The guest is to shut down: thaws it if it is frozen, or about to be. */
void hv_vss_thaw_for_shutdown(void);
/* What query-vmbus-vss tells; the caller frees it. */
VMBusVssInfo *hv_vss_describe(HvVss *vss);
/* Tells the clients of QMP of a new state. */
void hv_vss_send_change(const VmbusVssInfo *info);

#endif
