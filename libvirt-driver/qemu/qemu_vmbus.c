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
#include "vircrypto.h"
#include "virerror.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

/* The bus of a vmbus-bridge has this name whatever the bridge's id is. */
#define QEMU_VMBUS_NAME "vmbus"
#define QEMU_VMBUS_BRIDGE_ALIAS "vmbus0"

/* What storvsc of Linux looks for and Windows sees: two targets, and 255
 * logical units of each. */
#define QEMU_VMBUS_SCSI_MAX_TARGET 1
#define QEMU_VMBUS_SCSI_MAX_LUN 254

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


static bool
qemuVMBusIsSCSI(const virDomainControllerDef *controller)
{
    return controller->type == VIR_DOMAIN_CONTROLLER_TYPE_SCSI &&
        controller->model == VIR_DOMAIN_CONTROLLER_MODEL_SCSI_VMBUS;
}


/* A word for the kind of a device on VMBus, or NULL for other devices. */
static const char *
qemuVMBusDeviceKind(const virDomainDeviceDef *dev)
{
    if (dev->type == VIR_DOMAIN_DEVICE_CONTROLLER &&
        qemuVMBusIsSCSI(dev->data.controller))
        return "scsi";

    return NULL;
}


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


typedef struct {
    const virDomainDeviceInfo *info;
    bool used;
} qemuVMBusAddressSearch;


static int
qemuVMBusAddressIsUsedCb(virDomainDef *def G_GNUC_UNUSED,
                         virDomainDeviceDef *dev G_GNUC_UNUSED,
                         virDomainDeviceInfo *info,
                         void *opaque)
{
    qemuVMBusAddressSearch *search = opaque;

    if (info != search->info &&
        info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VMBUS &&
        virDomainDeviceVMBusAddressIsEqual(&info->addr.vmbus,
                                           &search->info->addr.vmbus))
        search->used = true;

    return 0;
}


/* Whether a device other than the one of @info has the same instance id. */
static bool
qemuVMBusAddressIsUsed(virDomainDef *def,
                       const virDomainDeviceInfo *info)
{
    qemuVMBusAddressSearch search = { .info = info };

    ignore_value(virDomainDeviceInfoIterate(def, qemuVMBusAddressIsUsedCb, &search));
    return search.used;
}


/* What tells a device from the others of its kind for as long as it is part
 * of the domain. */
static unsigned int
qemuVMBusDeviceIndex(const virDomainDeviceDef *dev)
{
    if (dev->type == VIR_DOMAIN_DEVICE_CONTROLLER)
        return dev->data.controller->idx;

    return 0;
}


/* A guest knows a device by its instance id, so the id is computed from what
 * stays the same if the same XML is defined again.  It is a UUID of version 8
 * (RFC 9562): the beginning of a SHA-256. */
static int
qemuVMBusMakeInstanceID(const virDomainDef *def,
                        const virDomainDeviceDef *dev,
                        unsigned int attempt,
                        unsigned char *instanceid)
{
    unsigned char digest[VIR_CRYPTO_HASH_SIZE_SHA256];
    char domuuid[VIR_UUID_STRING_BUFLEN];
    g_autofree char *text = NULL;

    virUUIDFormat(def->uuid, domuuid);
    text = g_strdup_printf("vmbus %s %s %u %u", domuuid,
                           qemuVMBusDeviceKind(dev),
                           qemuVMBusDeviceIndex(dev), attempt);

    if (virCryptoHashBuf(VIR_CRYPTO_HASH_SHA256, text, digest) < 0)
        return -1;

    memcpy(instanceid, digest, VIR_UUID_BUFLEN);
    instanceid[6] = (instanceid[6] & 0x0f) | 0x80;
    instanceid[8] = (instanceid[8] & 0x3f) | 0x80;
    return 0;
}


static int
qemuVMBusAssignAddress(virDomainDef *def,
                       virDomainDeviceDef *dev,
                       virDomainDeviceInfo *info)
{
    unsigned int attempt = 0;

    /* An address of another type is refused by qemuVMBusValidateSCSI(). */
    if (!qemuVMBusDeviceKind(dev) ||
        (info->type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE &&
         info->type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VMBUS))
        return 0;

    info->type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VMBUS;
    if (!virDomainDeviceVMBusAddressIsEmpty(&info->addr.vmbus))
        return 0;

    do {
        if (qemuVMBusMakeInstanceID(def, dev, attempt++,
                                    info->addr.vmbus.instanceid) < 0)
            return -1;
    } while (qemuVMBusAddressIsUsed(def, info));

    return 0;
}


static int
qemuVMBusAssignAddressCb(virDomainDef *def,
                         virDomainDeviceDef *dev,
                         virDomainDeviceInfo *info,
                         void *opaque G_GNUC_UNUSED)
{
    return qemuVMBusAssignAddress(def, dev, info);
}


/**
 * qemuVMBusAssignAddresses:
 * @def: domain definition
 *
 * Give every device on VMBus an instance id, unless it has one.  To be called
 * before addresses of other types are assigned: those go to devices that have
 * none.
 *
 * Returns 0 on success, -1 with an error reported.
 */
int
qemuVMBusAssignAddresses(virDomainDef *def)
{
    return virDomainDeviceInfoIterate(def, qemuVMBusAssignAddressCb, NULL);
}


/**
 * qemuVMBusEnsureAddress:
 * @def: definition of a running domain
 * @dev: device that is about to be plugged in
 *
 * Returns 0 on success or if @dev is no device on VMBus, -1 with an error
 * reported.
 */
int
qemuVMBusEnsureAddress(virDomainDef *def,
                       virDomainDeviceDef *dev)
{
    virDomainDeviceInfo *info = virDomainDeviceGetInfo(dev);

    if (!qemuVMBusDeviceKind(dev))
        return 0;

    if (!def->vmbus) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s",
                       _("the domain was started without <vmbus>, so a VMBus device cannot be plugged in"));
        return -1;
    }

    if (qemuVMBusAssignAddress(def, dev, info) < 0)
        return -1;

    if (qemuVMBusAddressIsUsed(def, info)) {
        char id[VIR_UUID_STRING_BUFLEN];

        virReportError(VIR_ERR_XML_ERROR,
                       _("VMBus instance id %1$s is in use by another device"),
                       virUUIDFormat(info->addr.vmbus.instanceid, id));
        return -1;
    }

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


static int
qemuVMBusValidateAddressCb(virDomainDef *def,
                           virDomainDeviceDef *dev G_GNUC_UNUSED,
                           virDomainDeviceInfo *info,
                           void *opaque G_GNUC_UNUSED)
{
    char id[VIR_UUID_STRING_BUFLEN];

    if (info->type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VMBUS ||
        !qemuVMBusAddressIsUsed(def, info))
        return 0;

    virReportError(VIR_ERR_XML_ERROR,
                   _("VMBus instance id %1$s is given to more than one device"),
                   virUUIDFormat(info->addr.vmbus.instanceid, id));
    return -1;
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

    /* Iterating does not change the definition. */
    return virDomainDeviceInfoIterate((virDomainDef *)def,
                                      qemuVMBusValidateAddressCb, NULL);
}


/**
 * qemuVMBusValidateAddress:
 * @dev: device with an address of type 'vmbus'
 *
 * Returns 0 if the device may have it, -1 with an error reported.
 */
int
qemuVMBusValidateAddress(const virDomainDeviceDef *dev)
{
    if (qemuVMBusDeviceKind(dev))
        return 0;

    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("a device of type '%1$s' has an address of type 'vmbus' but is not on VMBus"),
                   virDomainDeviceTypeToString(dev->type));
    return -1;
}


/* @info is the address of a disk on a VMBus controller. */
int
qemuVMBusValidateDriveAddress(const virDomainDeviceInfo *info)
{
    if (info->addr.drive.target > QEMU_VMBUS_SCSI_MAX_TARGET) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("target %1$u is too high for a VMBus controller, which has targets 0 to %2$u"),
                       info->addr.drive.target, QEMU_VMBUS_SCSI_MAX_TARGET);
        return -1;
    }

    if (info->addr.drive.unit > QEMU_VMBUS_SCSI_MAX_LUN) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("unit %1$u is too high for a VMBus controller, which has units 0 to %2$u"),
                       info->addr.drive.unit, QEMU_VMBUS_SCSI_MAX_LUN);
        return -1;
    }

    return 0;
}


/* The settings of <driver> that a VMBus controller has: queues, iothread,
 * iothreads. */
static int
qemuVMBusValidateSCSIDriver(const virDomainControllerDef *controller,
                            const virDomainDef *def,
                            virQEMUCaps *qemuCaps)
{
    const char *unknown = NULL;

    if (controller->cmd_per_lun)
        unknown = "cmd_per_lun";
    else if (controller->max_sectors)
        unknown = "max_sectors";
    else if (controller->ioeventfd)
        unknown = "ioeventfd";

    if (unknown) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("'%1$s' is not supported by a VMBus controller"), unknown);
        return -1;
    }

    if (controller->iothread == 0 && !controller->iothreads)
        return 0;

    if (!virQEMUCapsGet(qemuCaps, QEMU_CAPS_HV_SCSI_IOTHREAD)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("VMBus controllers of QEMU '%1$s' do not run in an IOThread"),
                       def->emulator);
        return -1;
    }

    if (controller->iothread > 0 &&
        !virDomainIOThreadIDFind(def, controller->iothread)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("controller iothread '%1$u' not defined in iothreadid"),
                       controller->iothread);
        return -1;
    }

    return 0;
}


/**
 * qemuVMBusValidateSCSI:
 * @controller: SCSI controller of model 'vmbus'
 * @def: domain that it is part of or plugged into
 * @qemuCaps: what the emulator is able to do
 *
 * Returns 0 on success, -1 with an error reported.
 */
int
qemuVMBusValidateSCSI(const virDomainControllerDef *controller,
                      const virDomainDef *def,
                      virQEMUCaps *qemuCaps)
{
    if (!virQEMUCapsGet(qemuCaps, QEMU_CAPS_DEVICE_HV_SCSI)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("QEMU '%1$s' has no SCSI controller on VMBus"),
                       def->emulator);
        return -1;
    }

    if (controller->info.type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE &&
        controller->info.type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VMBUS) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("a controller of model 'vmbus' needs an address of type 'vmbus', not '%1$s'"),
                       virDomainDeviceAddressTypeToString(controller->info.type));
        return -1;
    }

    return qemuVMBusValidateSCSIDriver(controller, def, qemuCaps);
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


/* @info is an address of type 'vmbus'. */
int
qemuVMBusBuildAddressProps(virJSONValue *props,
                           const virDomainDeviceInfo *info)
{
    char id[VIR_UUID_STRING_BUFLEN];

    return virJSONValueObjectAdd(&props,
                                 "s:bus", QEMU_VMBUS_NAME,
                                 "s:instanceid",
                                 virUUIDFormat(info->addr.vmbus.instanceid, id),
                                 NULL);
}


/* Properties of a SCSI controller of model 'vmbus', without its address.
 * @mapping: its IOThreads, or a pointer to NULL; taken over */
virJSONValue *
qemuVMBusBuildSCSIProps(const virDomainControllerDef *controller,
                        virJSONValue **mapping)
{
    g_autoptr(virJSONValue) props = NULL;
    g_autofree char *iothread = NULL;

    if (controller->iothread > 0)
        iothread = g_strdup_printf("iothread%u", controller->iothread);

    if (virJSONValueObjectAdd(&props,
                              "s:driver", "hv-scsi",
                              "S:iothread", iothread,
                              "s:id", controller->info.alias,
                              "p:num-queues", controller->queues,
                              "A:iothread-vq-mapping", mapping,
                              NULL) < 0)
        return NULL;

    return g_steal_pointer(&props);
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
