/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMBus of a machine: its bridge, and what its devices have in common.
 */
#ifndef HW_VMBUS_HV_BRIDGE_H
#define HW_VMBUS_HV_BRIDGE_H

#include "hw/hyperv/vmbus-bridge.h"
#include "hw/qdev-core.h"
#include "qapi/qapi-types-vmbus.h"
#include "qemu/uuid.h"
#include "bus/bus.h"

#define TYPE_VMBUS        "vmbus"
#define TYPE_VMBUS_DEVICE "vmbus-dev"

typedef struct HvBridge HvBridge;
typedef struct HvDevice HvDevice;
typedef struct HvDeviceClass HvDeviceClass;
struct IcPort;

DECLARE_OBJ_CHECKERS(HvDevice, HvDeviceClass, VMBUS_DEVICE, TYPE_VMBUS_DEVICE)

struct HvDevice {
    DeviceState parent_obj;

    QemuUUID instanceid;
    VmbusChannelOps ops; /* its class's, and the end of a rescind */
    VmbusChannel *chan;  /* its primary channel; NULL before realize, and when
                          * the guest has let go of an unplugged device */
};

struct HvDeviceClass {
    DeviceClass parent_class;

    const VmbusOffer *offer;
    const VmbusChannelOps *channel_ops;
    /*
     * Guests know the device by the offer's instance id alone.  Of other
     * devices there may be several: each has the property instanceid, or an
     * id that is made of its name.
     */
    bool fixed_instanceid;
    /* Makes the engine; its result is the opaque pointer of channel_ops. */
    void *(*create)(HvDevice *dev, Error **errp);
    /*
     * device_del: calls hv_device_request_unplug(), at once or when the guest
     * is ready for it.  NULL: at once.
     */
    void (*unplug_request)(HvDevice *dev);
    /* Frees the engine; its channel is gone. */
    void (*destroy)(HvDevice *dev);
    /* The engine's state, which the caller unrefs; and back: NULL, or a static
     * sentence.  Any bytes may be given. */
    GByteArray *(*save)(HvDevice *dev);
    const char *(*load)(HvDevice *dev, const void *data, size_t len);
    /* Adds what is special to this kind of device. */
    void (*describe)(HvDevice *dev, VMBusDeviceInfo *info);
};

/*
 * Largest state of a device in a migration stream, in bytes: that of a storage
 * adapter whose disks have stopped with errors, and each of whose channels has
 * a ring of large requests.
 */
#define HV_DEVICE_STATE_MAX (64u << 20)

/* The machine's bridge, or NULL. */
HvBridge *hv_bridge_find(void);
/* The bus itself; the big QEMU lock guards it. */
VmbusBus *hv_bridge_bus(HvBridge *bridge);
/* The bridge whose bus @dev is on. */
HvBridge *hv_device_bridge(HvDevice *dev);
/* The device with the primary channel @chan, or NULL. */
HvDevice *hv_bridge_find_device(HvBridge *bridge, const VmbusChannel *chan);
/*
 * The device of @type, of which a machine has at most one, such as
 * "hv-shutdown"; NULL with *@errp, of the class DeviceNotFound.
 */
HvDevice *hv_device_find(const char *type, Error **errp);
/*
 * Rescinds the device, which is unplugged when the guest lets go
 * of it; that may be never.
 */
void hv_device_request_unplug(HvDevice *dev);
/*
 * Of the message that the bus gave to the bridge: it is in its slot, or was
 * dropped for good, and the bus has not been told yet.
 */
bool hv_bridge_message_delivered(HvBridge *bridge);
/* Interrupts the processor that gets the bus's messages, if there is one. */
void hv_bridge_raise_message_sint(HvBridge *bridge);
/* The property max-version, as "5.3". */
const char *hv_bridge_max_version(HvBridge *bridge);

/* Converts between QEMU's UUIDs and a GUID's order on the wire. */
VmbusGuid hv_guid_from_uuid(QemuUUID uuid);
QemuUUID hv_uuid_from_guid(const VmbusGuid *guid);

/* Adds what @port has counted to the description of its device. */
void hv_describe_service(VMBusDeviceInfo *info, const struct IcPort *port);

/* "5.3" for 5 << 16 | 3; NULL for 0.  The caller frees it. */
char *hv_version_string(uint32_t version);

#endif
