/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_scsi.c: SCSI controllers on VMBus
 */

#include <config.h>

#include "qemu_vmbus_scsi.h"
#include "viralloc.h"
#include "virerror.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

/* What storvsc of Linux looks for and Windows sees: two targets, and 255
 * logical units of each. */
#define QEMU_VMBUS_SCSI_MAX_TARGET 1
#define QEMU_VMBUS_SCSI_MAX_LUN 254


bool
qemuVMBusIsSCSI(const virDomainControllerDef *controller)
{
    return controller->type == VIR_DOMAIN_CONTROLLER_TYPE_SCSI &&
        controller->model == VIR_DOMAIN_CONTROLLER_MODEL_SCSI_VMBUS;
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
