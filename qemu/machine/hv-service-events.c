/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "hv-service-events.h"

static NotifierList listeners = NOTIFIER_LIST_INITIALIZER(listeners);

void hv_service_events_add(Notifier *notifier)
{
    notifier_list_add(&listeners, notifier);
}

static void notify(HvServiceEventKind kind, const char *refusal)
{
    HvServiceEvent event = {.kind = kind, .refusal = refusal};

    notifier_list_notify(&listeners, &event);
}

void hv_service_changed(void)
{
    notify(HV_SERVICE_CHANGED, NULL);
}

void hv_service_shutdown_answered(const char *refusal)
{
    notify(HV_SERVICE_SHUTDOWN_ANSWERED, refusal);
}

void hv_service_synced(const char *refusal)
{
    notify(HV_SERVICE_SYNCED, refusal);
}
