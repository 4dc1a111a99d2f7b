/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent's commands need, from the services of this machine. */
#ifndef HW_VMBUS_HV_AGENT_SERVICES_H
#define HW_VMBUS_HV_AGENT_SERVICES_H

#include "hv-agent-commands.h"

/*
 * Sets all members but wake_at().  They take any opaque pointer, and those of
 * a device that the machine does not have must not be called.
 */
void hv_agent_services_init(HvAgentServices *services);
/* Has the guest opened one of the services, and agreed to a version? */
bool hv_agent_services_open(void);

#endif
