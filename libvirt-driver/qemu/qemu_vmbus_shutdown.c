/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_shutdown.c: shutting a guest down by way of its shutdown service
 */

#include <config.h>

#include "qemu_vmbus_shutdown.h"
#include "qemu_vmbus_monitor.h"
#include "qemu_domain.h"
#include "viralloc.h"
#include "virerror.h"
#include "virjson.h"
#include "virlog.h"
#include "virtime.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("qemu.qemu_vmbus_shutdown");

/* Milliseconds.  Drivers answer before they act, so at once. */
#define QEMU_VMBUS_SHUTDOWN_TIMEOUT (10 * 1000)

VIR_ENUM_DECL(qemuVMBusShutdownResult);
VIR_ENUM_IMPL(qemuVMBusShutdownResult,
              QEMU_VMBUS_SHUTDOWN_LAST,
              "accepted",
              "not-ready",
              "in-progress",
              "locked",
              "not-supported",
              "failed",
              "gone",
);

/* The same methods have the same bits in both calls. */
G_STATIC_ASSERT((int)VIR_DOMAIN_SHUTDOWN_PARAVIRT == (int)VIR_DOMAIN_REBOOT_PARAVIRT);
G_STATIC_ASSERT((int)VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN == (int)VIR_DOMAIN_REBOOT_ACPI_POWER_BTN);


/**
 * qemuVMBusHandleEvent:
 * @vm: domain, locked
 * @name: of an event of QEMU's
 * @details: its data as JSON, or NULL
 *
 * Tell who waits what the guest answered.
 */
void
qemuVMBusHandleEvent(virDomainObj *vm,
                     const char *name,
                     const char *details)
{
    qemuVMBusShutdownState *state = &QEMU_DOMAIN_PRIVATE(vm)->vmbusShutdown;
    g_autoptr(virJSONValue) data = NULL;
    const char *result;

    if (STRNEQ(name, "VMBUS_SHUTDOWN_RESPONSE") ||
        !details || !(data = virJSONValueFromString(details)))
        return;

    result = virJSONValueObjectGetString(data, "result");
    state->result = result ? qemuVMBusShutdownResultTypeFromString(result) : -1;
    state->status = 0;
    ignore_value(virJSONValueObjectGetNumberUint(data, "status", &state->status));
    state->answers++;
    virDomainObjBroadcast(vm);
}


static char *
qemuVMBusShutdownRefusal(const qemuVMBusShutdownState *state)
{
    switch (state->result) {
    case QEMU_VMBUS_SHUTDOWN_NOT_READY:
        return g_strdup(_("the guest is not ready to shut down"));
    case QEMU_VMBUS_SHUTDOWN_IN_PROGRESS:
        return g_strdup(_("the guest says that it is shutting down already"));
    case QEMU_VMBUS_SHUTDOWN_LOCKED:
        return g_strdup(_("a user session in the guest is locked"));
    case QEMU_VMBUS_SHUTDOWN_NOT_SUPPORTED:
        return g_strdup(_("the guest does not support what was asked"));
    case QEMU_VMBUS_SHUTDOWN_GONE:
        return g_strdup(_("the guest closed its shutdown service before it answered"));
    case QEMU_VMBUS_SHUTDOWN_FAILED:
    default:
        return g_strdup_printf(_("the guest refused with status 0x%1$08x"),
                               state->status);
    }
}


/* The next three return 0 if the guest does what was asked, 1 if it does not,
 * with the reason in @why, -1 with an error reported. */
static int
qemuVMBusShutdownWait(virDomainObj *vm,
                      unsigned int seen,
                      char **why)
{
    qemuVMBusShutdownState *state = &QEMU_DOMAIN_PRIVATE(vm)->vmbusShutdown;
    unsigned long long deadline;

    if (virTimeMillisNow(&deadline) < 0)
        return -1;
    deadline += QEMU_VMBUS_SHUTDOWN_TIMEOUT;

    while (state->answers == seen) {
        int rc;

        /* It may be off before the event is looked at. */
        if (!virDomainObjIsActive(vm))
            return 0;

        if ((rc = virDomainObjWaitUntil(vm, deadline)) < 0)
            return -1;

        if (rc > 0) {
            *why = g_strdup_printf(_("the guest has not answered within %1$d seconds"),
                                   QEMU_VMBUS_SHUTDOWN_TIMEOUT / 1000);
            return 1;
        }
    }

    if (state->result == QEMU_VMBUS_SHUTDOWN_ACCEPTED)
        return 0;

    *why = qemuVMBusShutdownRefusal(state);
    return 1;
}


static int
qemuVMBusShutdownAsk(virDomainObj *vm,
                     bool restart,
                     char **why)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    int rc;

    if (virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING) {
        *why = g_strdup(_("domain is not running"));
        return 1;
    }

    if (!vm->def->vmbus) {
        *why = g_strdup(_("the domain has no VMBus, and 'paravirt' is VMBus's shutdown service"));
        return 1;
    }

    if (vm->def->vmbus->services[VIR_DOMAIN_VMBUS_SERVICE_SHUTDOWN] != VIR_TRISTATE_SWITCH_ON) {
        *why = g_strdup(_("the domain's VMBus service 'shutdown' is off"));
        return 1;
    }

    qemuDomainSetFakeReboot(vm, false);
    qemuDomainObjEnterMonitor(vm);
    rc = qemuVMBusMonitorShutdown(priv->mon, restart, why);
    qemuDomainObjExitMonitor(vm);
    return rc;
}


/* The guest may take its time, or never answer, so the job is not held until
 * it does. */
static int
qemuVMBusShutdownAskAndWait(virDomainObj *vm,
                            bool restart,
                            char **why)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    unsigned int seen;
    int rc;

    if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0)
        return -1;

    seen = priv->vmbusShutdown.answers;
    rc = qemuVMBusShutdownAsk(vm, restart, why);
    virDomainObjEndJob(vm);

    return rc == 0 ? qemuVMBusShutdownWait(vm, seen, why) : rc;
}


/**
 * qemuVMBusShutdown:
 * @vm: domain, locked; unlocked meanwhile
 * @flags: ways to shut it down, as in virDomainShutdownFlags(); 0 for any
 * @restart: the guest is to restart, not to power off
 *
 * Ask the guest by way of its shutdown service, if @flags allow that.
 *
 * Returns 0 if the guest accepted, -1 otherwise.  Then an error is reported,
 * unless ACPI is to be tried next.
 */
int
qemuVMBusShutdown(virDomainObj *vm,
                  unsigned int flags,
                  bool restart)
{
    g_autofree char *why = NULL;
    int rc;

    if (flags ? !(flags & VIR_DOMAIN_SHUTDOWN_PARAVIRT) : !vm->def->vmbus)
        return -1;

    if ((rc = qemuVMBusShutdownAskAndWait(vm, restart, &why)) <= 0)
        return rc;

    if (!flags || (flags & VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)) {
        VIR_INFO("Domain '%s' is asked by ACPI next: %s", vm->def->name, why);
        return -1;
    }

    virReportError(VIR_ERR_OPERATION_FAILED, "%s", why);
    return -1;
}
