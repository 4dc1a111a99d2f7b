/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software Hyper-V interface in a migration stream or a snapshot.  All
 * functions want the big QEMU lock.
 */
#ifndef HW_VMBUS_HV_SOFT_STATE_H
#define HW_VMBUS_HV_SOFT_STATE_H

#include "hv-soft-internal.h"

void hv_soft_state_register(void);
void hv_soft_state_register_vp(HvSoftVp *svp);
void hv_soft_state_unregister_vp(HvSoftVp *svp);
/* The machine is about to run: sets clocks and timers going after a load. */
void hv_soft_state_resume(void);

#endif
