/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_address.c: which devices are on VMBus, and their instance ids
 */

#include <config.h>

#include "qemu_vmbus_address.h"
#include "qemu_vmbus_scsi.h"
#include "viralloc.h"
#include "vircrypto.h"
#include "virerror.h"
#include "viruuid.h"

#define VIR_FROM_THIS VIR_FROM_QEMU


/* A word for the kind of a device on VMBus, or NULL for other devices. */
const char *
qemuVMBusDeviceKind(const virDomainDeviceDef *dev)
{
    if (dev->type == VIR_DOMAIN_DEVICE_CONTROLLER &&
        qemuVMBusIsSCSI(dev->data.controller))
        return "scsi";

    return NULL;
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
 * qemuVMBusValidateAddresses:
 * @def: domain definition
 *
 * Returns 0 if no two devices have the same instance id, -1 with an error
 * reported.
 */
int
qemuVMBusValidateAddresses(const virDomainDef *def)
{
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
