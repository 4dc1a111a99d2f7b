/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus and its devices in a migration stream or a snapshot.  Guest memory,
 * and with it the rings and the SynIC's pages, is QEMU's matter; it has been
 * loaded before this.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "migration/qemu-file-types.h"
#include "bus/state.h"
#include "hv-vmstate.h"

int hv_state_put(QEMUFile *f, GByteArray *blob, const char *what,
                 const char *why)
{
    if (!blob) {
        error_report("%s can't be saved: %s", what, why);
        return -EINVAL;
    }
    qemu_put_be32(f, blob->len);
    qemu_put_buffer(f, blob->data, blob->len);
    g_byte_array_unref(blob);
    return 0;
}

uint8_t *hv_state_get(QEMUFile *f, uint32_t max, const char *what, size_t *len)
{
    uint32_t size = qemu_get_be32(f);
    g_autofree uint8_t *data = NULL;

    if (size == 0 || size > max) {
        error_report("the state of %s has a size that is out of range: %u",
                     what, size);
        return NULL;
    }
    data = g_try_malloc(size);
    if (!data || qemu_get_buffer(f, data, size) != size) {
        error_report("the state of %s is cut off", what);
        return NULL;
    }
    *len = size;
    return g_steal_pointer(&data);
}

static int put_bridge(QEMUFile *f, void *pv, size_t size,
                      const VMStateField *field, JSONWriter *vmdesc)
{
    HvBridge *bridge = pv;
    const char *why = NULL;
    GByteArray *blob = vmbus_bus_save(
        hv_bridge_bus(bridge), hv_bridge_message_delivered(bridge), &why);

    return hv_state_put(f, blob, "vmbus-bridge", why);
}

static int get_bridge(QEMUFile *f, void *pv, size_t size,
                      const VMStateField *field)
{
    g_autofree char *why = NULL;
    g_autofree uint8_t *data = NULL;
    size_t len;

    data = hv_state_get(f, VMBUS_STATE_MAX, "vmbus-bridge", &len);
    if (!data) {
        return -EINVAL;
    }
    if (!vmbus_bus_load(hv_bridge_bus(pv), data, len, &why)) {
        error_report("%s", why);
        return -EINVAL;
    }
    return 0;
}

static const VMStateInfo bridge_info = {
    .name = "vmbus-bridge state",
    .get = get_bridge,
    .put = put_bridge,
};

const VMStateDescription vmstate_hv_bridge = {
    .name = "vmbus-bridge",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]){HV_STATE_FIELD(bridge_info),
                                     VMSTATE_END_OF_LIST()},
};

void hv_bridge_vm_state_changed(void *opaque, bool running, RunState state)
{
    HvBridge *bridge = opaque;

    if (!running) {
        vmbus_bus_quiesce(hv_bridge_bus(bridge));
    } else if (vmbus_bus_resume(hv_bridge_bus(bridge))) {
        /* For a message whose interrupt was lost on the way. */
        hv_bridge_raise_message_sint(bridge);
    }
}

static int put_device(QEMUFile *f, void *pv, size_t size,
                      const VMStateField *field, JSONWriter *vmdesc)
{
    HvDevice *dev = pv;
    HvDeviceClass *hc = VMBUS_DEVICE_GET_CLASS(dev);

    return hv_state_put(f, hc->save(dev), object_get_typename(OBJECT(dev)),
                        "it has no state");
}

static int get_device(QEMUFile *f, void *pv, size_t size,
                      const VMStateField *field)
{
    HvDevice *dev = pv;
    HvDeviceClass *hc = VMBUS_DEVICE_GET_CLASS(dev);
    const char *type = object_get_typename(OBJECT(dev));
    g_autofree uint8_t *data = NULL;
    const char *why;
    size_t len;

    data = hv_state_get(f, HV_DEVICE_STATE_MAX, type, &len);
    if (!data) {
        return -EINVAL;
    }
    why = hc->load(dev, data, len);
    if (why) {
        error_report("%s: %s", type, why);
        return -EINVAL;
    }
    return 0;
}

static const VMStateInfo device_info = {
    .name = "vmbus device state",
    .get = get_device,
    .put = put_device,
};

const VMStateDescription vmstate_hv_device = {
    .name = "vmbus-dev",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]){HV_STATE_FIELD(device_info),
                                     VMSTATE_END_OF_LIST()},
};
