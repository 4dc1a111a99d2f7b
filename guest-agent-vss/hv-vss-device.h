/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes over /dev/vmbus/hv_vss between Linux and its freezing daemon
 * (the kernel's include/uapi/linux/hyperv.h and drivers/hv/hv_snapshot.c).
 *
 * The kernel passes only the first 12 bytes of the host's message on, and
 * serves one request at a time.
 */
#ifndef GUEST_AGENT_VSS_DEVICE_H
#define GUEST_AGENT_VSS_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#define HV_VSS_DEVICE "/dev/vmbus/hv_vss"

enum {
    HV_VSS_HOT_BACKUP = 2,
    HV_VSS_FREEZE = 5,
    HV_VSS_THAW = 6,
    /* Registers, and asks the kernel for its own version (4 bytes). */
    HV_VSS_REGISTER1 = 129,
};

/*
 * An answer has its error in the place of the operation.  So the low byte of
 * an error must not be 128 or 129, which the kernel takes for a registration.
 */
typedef struct HvVssMsg {
    union {
        struct {
            uint8_t operation;
            uint8_t reserved[7];
        };
        uint32_t error;
    };
    uint32_t flags;
} __attribute__((packed)) HvVssMsg;

_Static_assert(sizeof(HvVssMsg) == 12, "message of hv_vss");
_Static_assert(offsetof(HvVssMsg, error) == 0, "error of hv_vss");
_Static_assert(offsetof(HvVssMsg, flags) == 8, "flags of hv_vss");

/* Statuses that reach the host as they are. */
#define HV_VSS_S_OK             0x00000000u
#define HV_VSS_E_FAIL           0x80004005u
#define HV_VSS_E_INVALID_ARG    0x80070057u
#define HV_VSS_E_ALREADY_EXISTS 0x80070050u
/* VSS_E_HOLD_WRITES_TIMEOUT of Windows: it was not frozen to the end. */
#define HV_VSS_E_NOT_HELD 0x80042314u

#endif
