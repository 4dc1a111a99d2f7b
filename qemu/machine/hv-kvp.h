/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_VMBUS_HV_KVP_H
#define HW_VMBUS_HV_KVP_H

#include "devices/kvp.h"

/* The engine of the machine's hv-kvp, or NULL with *@errp. */
VmbusKvp *hv_kvp_find(Error **errp);
/* Tells the clients of QMP that @job has ended. */
void hv_kvp_send_ended(const VmbusKvpJob *job);

#endif
