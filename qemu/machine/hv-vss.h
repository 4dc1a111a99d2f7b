/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_VMBUS_HV_VSS_H
#define HW_VMBUS_HV_VSS_H

/* The guest is to shut down: thaws it if it is frozen, or about to be. */
void hv_vss_thaw_for_shutdown(void);

#endif
