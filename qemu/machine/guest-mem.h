/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_VMBUS_GUEST_MEM_H
#define HW_VMBUS_GUEST_MEM_H

#include "bus/bus.h"

/*
 * Maps @count guest pages for reading and writing until guest_mem_unmap().
 * Returns NULL if one of them is not ordinary writable RAM.  Takes and holds
 * a reference to the memory regions.  Big QEMU lock or RCU read lock held.
 */
VmbusMapping *guest_mem_map(const uint64_t *gfns, uint32_t count);
void guest_mem_unmap(VmbusMapping *mapping);

/*
 * Are the @len bytes at guest physical address @gpa RAM, which the host may
 * write if @write?  Any thread.
 */
bool guest_mem_is_ram(uint64_t gpa, uint64_t len, bool write);

/* Tells migration that the host wrote @len bytes at byte @offset. */
void guest_mem_mark_dirty(VmbusMapping *mapping, uint64_t offset, uint32_t len);

#endif
