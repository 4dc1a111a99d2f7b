/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all VMBus devices have in common: an instance id, and a channel
 * offered while the device is realized.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "hw/hotplug.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/sysbus.h"
#include "hv-bridge.h"
#include "hv-vmstate.h"

VmbusGuid hv_guid_from_uuid(QemuUUID uuid)
{
    VmbusGuid guid;

    uuid = qemu_uuid_bswap(uuid);
    memcpy(&guid, &uuid, sizeof(guid));
    return guid;
}

QemuUUID hv_uuid_from_guid(const VmbusGuid *guid)
{
    QemuUUID uuid;

    memcpy(&uuid, guid, sizeof(uuid));
    return qemu_uuid_bswap(uuid);
}

char *hv_version_string(uint32_t version)
{
    return version ? g_strdup_printf("%u.%u", version >> 16, version & 0xffff)
                   : NULL;
}

HvDevice *hv_device_find(const char *type, Error **errp)
{
    Object *obj = object_resolve_path_type("", type, NULL);

    if (!obj || !DEVICE(obj)->realized) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "the machine has no %s device", type);
        return NULL;
    }
    return VMBUS_DEVICE(obj);
}

static void finish_unplug(void *opaque)
{
    DeviceState *dev = opaque;
    HotplugHandler *handler = qdev_get_hotplug_handler(dev);

    if (dev->realized) {
        hotplug_handler_unplug(handler, dev, &error_abort);
        object_unparent(OBJECT(dev));
    }
    object_unref(OBJECT(dev));
}

/*
 * The guest has let go of the device; or a machine that it moved to meanwhile
 * hears so, and nobody has asked for the unplug there.
 */
static void channel_released(VmbusChannel *chan, void *engine)
{
    HvDevice *hv = hv_bridge_find_device(hv_bridge_find(), chan);

    hv->chan = NULL;
    DEVICE(hv)->pending_deleted_event = true;
    /* The bus is at work on the message that ended it. */
    object_ref(OBJECT(hv));
    aio_bh_schedule_oneshot(qemu_get_aio_context(), finish_unplug, hv);
}

void hv_device_request_unplug(HvDevice *hv)
{
    DEVICE(hv)->pending_deleted_event = true;
    if (hv->chan) {
        vmbus_bus_rescind(hv_bridge_bus(hv_device_bridge(hv)), hv->chan);
    }
}

void qmp_vmbus_device_withdraw(const char *id, Error **errp)
{
    DeviceState *dev = qdev_find_recursive(sysbus_get_default(), id);
    HvDevice *hv;

    if (!dev || !object_dynamic_cast(OBJECT(dev), TYPE_VMBUS_DEVICE)) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "the VMBus has no device with the id '%s'", id);
        return;
    }
    hv = VMBUS_DEVICE(dev);
    if (!dev->pending_deleted_event) {
        error_setg(errp,
                   "'%s' is in use: ask the guest for it with "
                   "device_del first",
                   id);
        return;
    }
    if (hv->chan) {
        vmbus_bus_withdraw(hv_bridge_bus(hv_device_bridge(hv)), hv->chan);
        hv->chan = NULL;
        hotplug_handler_unplug(qdev_get_hotplug_handler(dev), dev,
                               &error_abort);
        object_unparent(OBJECT(dev));
    }
}

/*
 * A guest knows a device by its instance id, so it must be the same in each
 * start, and in a machine that the guest moves to.  It is made as RFC 4122 says
 * for names (version 5): of the kind of device, and the device's id; or, if it
 * has none, its path in the QOM tree, which depends on the order of devices
 * that have no id.
 */
static QemuUUID generate_instanceid(HvDevice *hv)
{
    DeviceState *dev = DEVICE(hv);
    const VmbusGuid *kind = &VMBUS_DEVICE_GET_CLASS(hv)->offer->class_id;
    g_autofree char *path = object_get_canonical_path(OBJECT(dev));
    const char *name = dev->id ?: path;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    QemuUUID space = hv_uuid_from_guid(kind), uuid;
    uint8_t digest[20];
    gsize len = sizeof(digest);

    g_checksum_update(sum, space.data, sizeof(space.data));
    g_checksum_update(sum, (const guchar *)name, strlen(name));
    g_checksum_get_digest(sum, digest, &len);
    memcpy(uuid.data, digest, sizeof(uuid.data));
    uuid.data[6] = (uuid.data[6] & 0x0f) | 0x50;
    uuid.data[8] = (uuid.data[8] & 0x3f) | 0x80;
    return uuid;
}

static void hv_device_realize(DeviceState *dev, Error **errp)
{
    HvDevice *hv = VMBUS_DEVICE(dev);
    HvDeviceClass *hc = VMBUS_DEVICE_GET_CLASS(hv);
    HvBridge *bridge = hv_device_bridge(hv);
    VmbusOffer offer = *hc->offer;
    const char *why;
    void *engine;

    if (!hc->fixed_instanceid && qemu_uuid_is_null(&hv->instanceid)) {
        hv->instanceid = generate_instanceid(hv);
    }
    offer.instance_id = hv_guid_from_uuid(hv->instanceid);
    if (hc->fixed_instanceid &&
        !vmbus_guid_equal(&offer.instance_id, &hc->offer->instance_id)) {
        error_setg(errp,
                   "the instanceid of %s is fixed by its protocol: "
                   "leave the property out",
                   object_get_typename(OBJECT(dev)));
        return;
    }
    engine = hc->create(hv, errp);
    if (!engine) {
        return;
    }
    hv->ops = *hc->channel_ops;
    hv->ops.released = channel_released;
    hv->chan =
        vmbus_bus_offer(hv_bridge_bus(bridge), &offer, &hv->ops, engine, &why);
    if (!hv->chan) {
        error_setg(errp, "%s: %s", object_get_typename(OBJECT(dev)), why);
        hc->destroy(hv);
    }
}

static void hv_device_unrealize(DeviceState *dev)
{
    HvDevice *hv = VMBUS_DEVICE(dev);

    if (hv->chan) {
        vmbus_bus_withdraw(hv_bridge_bus(hv_device_bridge(hv)), hv->chan);
        hv->chan = NULL;
    }
    VMBUS_DEVICE_GET_CLASS(hv)->destroy(hv);
}

static void hv_device_init(Object *obj)
{
    HvDevice *hv = VMBUS_DEVICE(obj);

    hv->instanceid =
        hv_uuid_from_guid(&VMBUS_DEVICE_GET_CLASS(hv)->offer->instance_id);
}

static const Property hv_device_props[] = {
    DEFINE_PROP_UUID_NODEFAULT("instanceid", HvDevice, instanceid),
};

static void hv_device_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->bus_type = TYPE_VMBUS;
    dc->realize = hv_device_realize;
    dc->unrealize = hv_device_unrealize;
    dc->vmsd = &vmstate_hv_device;
    device_class_set_props(dc, hv_device_props);
}

static const TypeInfo hv_device_type_info = {
    .name = TYPE_VMBUS_DEVICE,
    .parent = TYPE_DEVICE,
    .abstract = true,
    .instance_size = sizeof(HvDevice),
    .instance_init = hv_device_init,
    .class_size = sizeof(HvDeviceClass),
    .class_init = hv_device_class_init,
};

static void hv_device_register_types(void)
{
    type_register_static(&hv_device_type_info);
}

type_init(hv_device_register_types)
