/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus.c: VMBus in the QEMU driver
 */

#include <config.h>

#include "qemu_vmbus.h"
#include "qemu_vmbus_agent.h"
#include "qemu_command.h"
#include "qemu_domain.h"
#include "viralloc.h"
#include "virerror.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

#define QEMU_VMBUS_BRIDGE_ALIAS "vmbus0"

typedef struct {
    const char *driver;
    virQEMUCapsFlags cap;
} qemuVMBusServiceInfo;

/* In the order of virDomainVMBusService. */
static const qemuVMBusServiceInfo qemuVMBusServices[] = {
    { "hv-heartbeat", QEMU_CAPS_DEVICE_HV_HEARTBEAT },
    { "hv-shutdown", QEMU_CAPS_DEVICE_HV_SHUTDOWN },
    { "hv-timesync", QEMU_CAPS_DEVICE_HV_TIMESYNC },
    { "hv-vss", QEMU_CAPS_DEVICE_HV_VSS },
    { "hv-kvp", QEMU_CAPS_DEVICE_HV_KVP },
    { "hv-fcopy", QEMU_CAPS_DEVICE_HV_FCOPY },
};
G_STATIC_ASSERT(G_N_ELEMENTS(qemuVMBusServices) == VIR_DOMAIN_VMBUS_SERVICE_LAST);

/* Without the first two a guest can have no VMBus at all; Windows starts its
 * driver only with the others. */
static const virDomainHyperv qemuVMBusEnlightenments[] = {
    VIR_DOMAIN_HYPERV_VPINDEX,
    VIR_DOMAIN_HYPERV_SYNIC,
    VIR_DOMAIN_HYPERV_STIMER,
    VIR_DOMAIN_HYPERV_RELAXED,
    VIR_DOMAIN_HYPERV_VAPIC,
    VIR_DOMAIN_HYPERV_RUNTIME,
};


static int
qemuVMBusFindDevice(virDomainDef *def G_GNUC_UNUSED,
                    virDomainDeviceDef *dev,
                    virDomainDeviceInfo *info G_GNUC_UNUSED,
                    void *opaque)
{
    bool *found = opaque;

    *found |= !!qemuVMBusDeviceKind(dev);
    return 0;
}


static virDomainTimerDef *
qemuVMBusFindClock(const virDomainDef *def)
{
    size_t i;

    for (i = 0; i < def->clock.ntimers; i++) {
        if (def->clock.timers[i]->name == VIR_DOMAIN_TIMER_NAME_HYPERVCLOCK)
            return def->clock.timers[i];
    }

    return NULL;
}


/* Turn on the enlightenments that the definition says nothing about. */
static void
qemuVMBusAddEnlightenments(virDomainDef *def)
{
    virDomainTimerDef *timer;
    size_t i;

    /* This mode turns on whatever the host has. */
    if (def->features[VIR_DOMAIN_FEATURE_HYPERV] == VIR_DOMAIN_HYPERV_MODE_PASSTHROUGH)
        return;

    def->features[VIR_DOMAIN_FEATURE_HYPERV] = VIR_DOMAIN_HYPERV_MODE_CUSTOM;
    for (i = 0; i < G_N_ELEMENTS(qemuVMBusEnlightenments); i++) {
        int *feature = &def->hyperv_features[qemuVMBusEnlightenments[i]];

        if (*feature == VIR_TRISTATE_SWITCH_ABSENT)
            *feature = VIR_TRISTATE_SWITCH_ON;
    }

    if (!(timer = qemuVMBusFindClock(def))) {
        timer = g_new0(virDomainTimerDef, 1);
        timer->name = VIR_DOMAIN_TIMER_NAME_HYPERVCLOCK;
        VIR_APPEND_ELEMENT(def->clock.timers, def->clock.ntimers, timer);
        timer = qemuVMBusFindClock(def);
    }
    if (timer->present == VIR_TRISTATE_BOOL_ABSENT)
        timer->present = VIR_TRISTATE_BOOL_YES;
}


static bool
qemuVMBusIsNeeded(virDomainDef *def)
{
    bool found = qemuVMBusHasAgent(def);

    ignore_value(virDomainDeviceInfoIterate(def, qemuVMBusFindDevice, &found));
    return found;
}


/**
 * qemuVMBusDefPostParse:
 * @def: domain definition
 * @qemuCaps: what its emulator is able to do, or NULL
 * @xmlopt: how parts of a definition are made
 * @parseFlags: virDomainDefParseFlags
 *
 * Complete what a definition leaves open: the bus itself if a device needs
 * it, its services, the enlightenments without which no guest uses it, and, in
 * a definition that is new, the agent's channel.
 *
 * Returns 0, or -1 with an error reported; what cannot work is refused by
 * qemuVMBusValidate().
 */
int
qemuVMBusDefPostParse(virDomainDef *def,
                      virQEMUCaps *qemuCaps,
                      virDomainXMLOption *xmlopt,
                      unsigned int parseFlags)
{
    size_t i;

    if (!def->vmbus) {
        bool found = qemuVMBusIsNeeded(def);

        if (!found)
            return 0;

        def->vmbus = virDomainVMBusDefNew();
    }

    for (i = 0; i < VIR_DOMAIN_VMBUS_SERVICE_LAST; i++) {
        if (def->vmbus->services[i] == VIR_TRISTATE_SWITCH_ABSENT)
            def->vmbus->services[i] = VIR_TRISTATE_SWITCH_ON;
    }

    if (ARCH_IS_X86(def->os.arch))
        qemuVMBusAddEnlightenments(def);

    if (parseFlags & VIR_DOMAIN_DEF_PARSE_ABI_UPDATE)
        return qemuVMBusAddAgent(def, qemuCaps, xmlopt);

    return 0;
}


static int
qemuVMBusValidateMachine(const virDomainDef *def)
{
    if (!ARCH_IS_X86(def->os.arch)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("VMBus is part of x86 machines only, not of architecture '%1$s'"),
                       virArchToString(def->os.arch));
        return -1;
    }

    if (!qemuDomainIsQ35(def) && !qemuDomainIsI440FX(def)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("machine type '%1$s' has no VMBus; use 'q35' or 'pc'"),
                       def->os.machine);
        return -1;
    }

    if (def->features[VIR_DOMAIN_FEATURE_ACPI] != VIR_TRISTATE_SWITCH_ON) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("VMBus needs the feature <acpi/>: a guest finds the bus by ACPI"));
        return -1;
    }

    return 0;
}


static int
qemuVMBusValidateServices(const virDomainDef *def,
                          virQEMUCaps *qemuCaps)
{
    size_t i;

    if (!virQEMUCapsGet(qemuCaps, QEMU_CAPS_QUERY_VMBUS)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("QEMU '%1$s' has no VMBus"), def->emulator);
        return -1;
    }

    for (i = 0; i < VIR_DOMAIN_VMBUS_SERVICE_LAST; i++) {
        if (def->vmbus->services[i] != VIR_TRISTATE_SWITCH_ON ||
            virQEMUCapsGet(qemuCaps, qemuVMBusServices[i].cap))
            continue;

        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("QEMU '%1$s' lacks VMBus service '%2$s'; turn the service off"),
                       def->emulator, virDomainVMBusServiceTypeToString(i));
        return -1;
    }

    return 0;
}


static int
qemuVMBusValidateEnlightenments(const virDomainDef *def)
{
    const virDomainTimerDef *timer;
    size_t i;

    if (def->features[VIR_DOMAIN_FEATURE_HYPERV] == VIR_DOMAIN_HYPERV_MODE_PASSTHROUGH)
        return 0;

    for (i = 0; i < G_N_ELEMENTS(qemuVMBusEnlightenments); i++) {
        if (def->hyperv_features[qemuVMBusEnlightenments[i]] == VIR_TRISTATE_SWITCH_ON)
            continue;

        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("VMBus needs the hyperv feature '%1$s', which is off"),
                       virDomainHypervTypeToString(qemuVMBusEnlightenments[i]));
        return -1;
    }

    timer = qemuVMBusFindClock(def);
    if (!timer || timer->present != VIR_TRISTATE_BOOL_YES) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("VMBus needs the timer 'hypervclock', which is off"));
        return -1;
    }

    return 0;
}


/**
 * qemuVMBusValidate:
 * @def: domain definition, which may have no VMBus
 * @qemuCaps: what its emulator is able to do
 *
 * Returns 0 if the domain can have what it asks for, -1 with an error
 * reported.
 */
int
qemuVMBusValidate(const virDomainDef *def,
                  virQEMUCaps *qemuCaps)
{
    if (!def->vmbus)
        return 0;

    if (qemuVMBusValidateMachine(def) < 0 ||
        qemuVMBusValidateServices(def, qemuCaps) < 0 ||
        qemuVMBusValidateEnlightenments(def) < 0 ||
        qemuVMBusValidateAgents(def, qemuCaps) < 0)
        return -1;

    return qemuVMBusValidateAddresses(def);
}


static int
qemuVMBusBuildServiceCommandLine(virCommand *cmd,
                                 const virDomainDef *def,
                                 virDomainVMBusService service,
                                 virQEMUCaps *qemuCaps)
{
    g_autoptr(virJSONValue) props = NULL;
    g_autofree char *alias = NULL;
    unsigned int hold = 0;

    alias = g_strdup_printf("%s-%s", QEMU_VMBUS_BRIDGE_ALIAS,
                            virDomainVMBusServiceTypeToString(service));
    if (service == VIR_DOMAIN_VMBUS_SERVICE_VSS)
        hold = def->vmbus->vssHold;

    if (virJSONValueObjectAdd(&props,
                              "s:driver", qemuVMBusServices[service].driver,
                              "s:id", alias,
                              "s:bus", QEMU_VMBUS_NAME,
                              "p:freeze-limit", hold,
                              NULL) < 0)
        return -1;

    return qemuBuildDeviceCommandlineFromJSON(cmd, props, def, qemuCaps);
}


/**
 * qemuVMBusBuildCommandLine:
 * @cmd: command line so far
 * @def: domain definition, which may have no VMBus
 * @qemuCaps: what the emulator is able to do
 *
 * Add the bridge and the services.  The bridge has to come before all devices
 * on its bus.
 *
 * Returns 0 on success, -1 with an error reported.
 */
int
qemuVMBusBuildCommandLine(virCommand *cmd,
                          const virDomainDef *def,
                          virQEMUCaps *qemuCaps)
{
    g_autoptr(virJSONValue) props = NULL;
    size_t i;

    if (!def->vmbus)
        return 0;

    if (virJSONValueObjectAdd(&props,
                              "s:driver", "vmbus-bridge",
                              "s:id", QEMU_VMBUS_BRIDGE_ALIAS,
                              NULL) < 0 ||
        qemuBuildDeviceCommandlineFromJSON(cmd, props, def, qemuCaps) < 0)
        return -1;

    for (i = 0; i < VIR_DOMAIN_VMBUS_SERVICE_LAST; i++) {
        if (def->vmbus->services[i] == VIR_TRISTATE_SWITCH_ON &&
            qemuVMBusBuildServiceCommandLine(cmd, def, i, qemuCaps) < 0)
            return -1;
    }

    return 0;
}


/* Nothing is said about VMBus for machines and emulators that lack it. */
void
qemuVMBusFillDomainCaps(virQEMUCaps *qemuCaps,
                        virDomainCaps *domCaps)
{
    virDomainCapsDeviceVMBus *vmbus = &domCaps->vmbus;
    size_t i;

    if (!virQEMUCapsGet(qemuCaps, QEMU_CAPS_QUERY_VMBUS) ||
        (!qemuDomainMachineIsQ35(domCaps->machine, domCaps->arch) &&
         !qemuDomainMachineIsI440FX(domCaps->machine, domCaps->arch)))
        return;

    vmbus->supported = VIR_TRISTATE_BOOL_YES;
    vmbus->service.report = true;
    for (i = 0; i < VIR_DOMAIN_VMBUS_SERVICE_LAST; i++) {
        if (virQEMUCapsGet(qemuCaps, qemuVMBusServices[i].cap))
            VIR_DOMAIN_CAPS_ENUM_SET(vmbus->service, i);
    }
}
