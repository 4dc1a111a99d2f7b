/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_VMBUS_HV_REFERENCE_H
#define HW_VMBUS_HV_REFERENCE_H

/* Does the guest have a reference counter?  (CPU flag hv-time) */
bool hv_reference_exists(void);
/*
 * The counter now, in units of 100 ns; to be called while the machine runs,
 * with the big QEMU lock held, and only if it exists.
 */
uint64_t hv_reference_time(void);

#endif
