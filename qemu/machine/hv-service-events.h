/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens in the integration services, for other parts of QEMU.  Called
 * in the middle of an engine's work: a listener must not call back.
 */
#ifndef HW_VMBUS_HV_SERVICE_EVENTS_H
#define HW_VMBUS_HV_SERVICE_EVENTS_H

#include "qemu/notify.h"

typedef enum HvServiceEventKind {
    HV_SERVICE_CHANGED, /* some state of some service */
    HV_SERVICE_SHUTDOWN_ANSWERED,
    HV_SERVICE_SYNCED,
} HvServiceEventKind;

/* What the notifiers get. */
typedef struct HvServiceEvent {
    HvServiceEventKind kind;
    const char *refusal; /* why the guest did not obey; or NULL */
} HvServiceEvent;

/* notifier_remove() ends it. */
void hv_service_events_add(Notifier *notifier);
void hv_service_changed(void);
void hv_service_shutdown_answered(const char *refusal);
void hv_service_synced(const char *refusal);

#endif
