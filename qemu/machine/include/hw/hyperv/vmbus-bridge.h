/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMBus root bridge, as QEMU's machines and ACPI tables know it.  This
 * file stands in the place of QEMU's own of the same name.
 */
#ifndef HW_HYPERV_VMBUS_BRIDGE_H
#define HW_HYPERV_VMBUS_BRIDGE_H

#include "hw/sysbus.h"
#include "qom/object.h"

#define TYPE_VMBUS_BRIDGE "vmbus-bridge"

typedef struct VMBusBridge VMBusBridge;
DECLARE_INSTANCE_CHECKER(VMBusBridge, VMBUS_BRIDGE, TYPE_VMBUS_BRIDGE)

/* The part that ACPI reads; struct HvBridge begins with it. */
struct VMBusBridge {
    SysBusDevice parent_obj;

    uint8_t irq;
};

static inline VMBusBridge *vmbus_bridge_find(void)
{
    return VMBUS_BRIDGE(object_resolve_path_type("", TYPE_VMBUS_BRIDGE, NULL));
}

#endif
