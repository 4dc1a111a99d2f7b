/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved states of the bus, its devices and the Hyper-V interface in QEMU's
 * migration stream: each is one field, a 32-bit size and that many bytes, which
 * the code that made them can read.
 */
#ifndef HW_VMBUS_HV_VMSTATE_H
#define HW_VMBUS_HV_VMSTATE_H

#include "hv-bridge.h"
#include "migration/vmstate.h"
#include "system/runstate.h"

extern const VMStateDescription vmstate_hv_bridge;
/* Of any HvDevice; HvDeviceClass.save and .load know its contents. */
extern const VMStateDescription vmstate_hv_device;

/* For qdev_add_vm_change_state_handler(); @opaque is the HvBridge. */
void hv_bridge_vm_state_changed(void *opaque, bool running, RunState state);

/*
 * For put() and get() of a VMStateInfo.  @what names the thing in an error
 * message.  hv_state_put() takes over @blob; it is NULL if the state can't be
 * had, for the reason in @why.  hv_state_get() returns NULL after an error was
 * reported.
 */
int hv_state_put(QEMUFile *f, GByteArray *blob, const char *what,
                 const char *why);
uint8_t *hv_state_get(QEMUFile *f, uint32_t max, const char *what, size_t *len);

/* A structure with this one field; its VMStateInfo's functions
 * get the structure. */
#define HV_STATE_FIELD(info_)                                                  \
    {                                                                          \
        .name = "state", .info = &(info_), .flags = VMS_SINGLE, .offset = 0,   \
        .size = 1                                                              \
    }

#endif
