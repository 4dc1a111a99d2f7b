/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus in a saved machine: for live migration, and for snapshots.
 *
 * The state names devices by their instance ids; the machine that loads it
 * has the same devices.  Relids and connection ids are those that the guest
 * knows, whatever the devices' order in the new machine.  The rings' contents
 * are guest memory and not in the state; guest memory is loaded first.
 */
#ifndef VMBUS_STATE_H
#define VMBUS_STATE_H

#include <glib.h>

#include "bus/bus.h"

/* No state is larger, and a larger one is refused; bytes. */
#define VMBUS_STATE_MAX (8u << 20)

/*
 * The machine stops: stops all channels, and shows the guest what devices have
 * put into rings without a flush, while its memory can still be marked dirty.
 * Requests that a device has under way may end after that; before the state is
 * saved they all have, and have flushed.  Until vmbus_bus_resume() no channel
 * is started.
 */
void vmbus_bus_quiesce(VmbusBus *bus);

/*
 * The state of @bus, whose machine has stopped.  @delivered: the message given
 * to post_message() is in its slot or was dropped for good, and only the call
 * of vmbus_bus_message_delivered() is still to come; otherwise the message is
 * part of the state.  The caller unrefs the array.  NULL with a static
 * sentence in *@err if the bus is not at rest, which is an error of the
 * caller.
 */
GByteArray *vmbus_bus_save(const VmbusBus *bus, bool delivered,
                           const char **err);

/*
 * Brings @bus, which is reset first, to a saved state.  No open(), close() or
 * signal() of a device is called: a device loads a state of its own, after
 * the bus.  The bus then does nothing by itself until vmbus_bus_resume().
 *
 * False with a sentence in *@err, which the caller frees, if @data is not a
 * state, or not one of this machine; the bus is then as after a reset.  Any
 * bytes may be given.
 */
bool vmbus_bus_load(VmbusBus *bus, const void *data, size_t len, char **err);

/*
 * The machine runs (again): starts the channels.  After a load this first sends
 * what was under way, and signals each open channel in both directions, as a
 * signal may have been lost on the way, and returns true; otherwise false.
 */
bool vmbus_bus_resume(VmbusBus *bus);

#endif
