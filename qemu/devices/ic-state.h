/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the integration services have in common in a saved machine; see
 * bus/blob.h for the frame.
 */
#ifndef VMBUS_IC_STATE_H
#define VMBUS_IC_STATE_H

#include "bus/blob.h"
#include "devices/ic.h"

/* The item of a service's state that holds its port. */
#define IC_STATE_PORT 32
/* Items of a service's own begin here. */
#define IC_STATE_OWN 40

/* Largest state of any service, in bytes. */
#define IC_STATE_MAX 16384u

/* Adds the item of the port to the state of a service. */
void ic_save(const IcPort *port, GByteArray *blob);
/*
 * Brings a port to what @item has; @chan is the service's channel, open or not
 * as the bus's state had it.  state_changed() is not called.  NULL, or a static
 * sentence; the port is then as it was.
 */
const char *ic_load(IcPort *port, VmbusChannel *chan,
                    const VmbusBlobItem *item);

/* What passes from @from to @to; 0 if that is not later. */
static inline uint64_t ic_time_between(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

#endif
