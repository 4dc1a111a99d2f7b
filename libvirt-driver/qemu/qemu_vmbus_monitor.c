/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_monitor.c: what is said to QEMU's monitor about VMBus
 */

#include <config.h>

#include "qemu_vmbus_monitor.h"
#include "qemu_monitor_json.h"
#include "viralloc.h"
#include "virerror.h"
#include "virjson.h"

#define VIR_FROM_THIS VIR_FROM_QEMU


/**
 * qemuVMBusMonitorShutdown:
 * @mon: monitor of a running domain, entered
 * @restart: the guest is to restart, not to power off
 * @refusal: filled with QEMU's sentence if it refuses; to be freed
 *
 * Ask the guest by way of its shutdown service.  What it answers comes later,
 * as the event VMBUS_SHUTDOWN_RESPONSE.
 *
 * Returns 0 if it was asked, 1 if QEMU refuses, -1 with an error reported.
 */
int
qemuVMBusMonitorShutdown(qemuMonitor *mon,
                         bool restart,
                         char **refusal)
{
    g_autoptr(virJSONValue) arguments = NULL;
    g_autoptr(virJSONValue) cmd = NULL;
    g_autoptr(virJSONValue) reply = NULL;
    g_autofree char *cmdstr = NULL;
    g_autofree char *replystr = NULL;
    virJSONValue *error;

    if (virJSONValueObjectAdd(&arguments,
                              "s:mode", restart ? "reboot" : "powerdown",
                              NULL) < 0 ||
        virJSONValueObjectAdd(&cmd,
                              "s:execute", "vmbus-shutdown",
                              "a:arguments", &arguments,
                              NULL) < 0 ||
        !(cmdstr = virJSONValueToString(cmd, false)))
        return -1;

    if (qemuMonitorArbitraryCommand(mon, cmdstr, -1, &replystr, false) < 0 ||
        !(reply = virJSONValueFromString(replystr)))
        return -1;

    if (virJSONValueObjectHasKey(reply, "return"))
        return 0;

    error = virJSONValueObjectGetObject(reply, "error");
    *refusal = g_strdup(error ? virJSONValueObjectGetString(error, "desc") : NULL);
    if (*refusal)
        return 1;

    virReportError(VIR_ERR_INTERNAL_ERROR,
                   _("QEMU's answer to 'vmbus-shutdown' makes no sense: %1$s"),
                   replystr);
    return -1;
}


/**
 * qemuVMBusMonitorGetFlag:
 * @mon: monitor of a running domain, entered
 * @path: of an object in QEMU
 * @name: of a property that is on or off
 * @value: filled with it
 *
 * Returns 0 on success, -1 with an error reported.
 */
int
qemuVMBusMonitorGetFlag(qemuMonitor *mon,
                        const char *path,
                        const char *name,
                        bool *value)
{
    qemuMonitorJSONObjectProperty property = {
        .type = QEMU_MONITOR_OBJECT_PROPERTY_BOOLEAN,
    };

    if (qemuMonitorJSONGetObjectProperty(mon, path, name, &property) < 0)
        return -1;

    *value = property.val.b;
    return 0;
}
