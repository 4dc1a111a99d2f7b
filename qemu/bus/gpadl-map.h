/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory that a device was given by the id of a GPADL: a network card's
 * buffers, for example.  The guest can write to it at any time.
 */
#ifndef VMBUS_GPADL_MAP_H
#define VMBUS_GPADL_MAP_H

#include "bus/channel.h"

typedef struct VmbusGpadlMap VmbusGpadlMap;

/*
 * Maps GPADL @id, which the guest made for @chan.  NULL with a static sentence
 * in *@why if there is none, it is being torn down, or it is not in memory.  It
 * can be mapped more than once.
 *
 * While it is mapped, the guest's teardown waits for its answer.  The map
 * outlives the channel's close and the connection, so that what is under way
 * can end; but what is then read and written is no concern of any guest, and a
 * device unmaps soon.  All maps end before the bus does.  After a saved state
 * was loaded, a device maps its GPADLs again before the bus resumes.
 *
 * Map and unmap on the bus's thread, and unmap when no other uses the map any
 * more; the rest on any thread.
 */
VmbusGpadlMap *vmbus_channel_map_gpadl(VmbusChannel *chan, uint32_t id,
                                       const char **why);
void vmbus_gpadl_unmap(VmbusGpadlMap *map);

uint32_t vmbus_gpadl_map_id(const VmbusGpadlMap *map);
/* At least 1. */
uint32_t vmbus_gpadl_map_ranges(const VmbusGpadlMap *map);
/* Bytes of range @range; 0 if there is none. */
uint32_t vmbus_gpadl_map_size(const VmbusGpadlMap *map, uint32_t range);

/*
 * Copies @len bytes at @offset of a range; false, and nothing is copied, if
 * they are not all in it.  What is read is private then.
 */
bool vmbus_gpadl_map_read(const VmbusGpadlMap *map, uint32_t range,
                          uint32_t offset, void *buf, uint32_t len);
bool vmbus_gpadl_map_write(VmbusGpadlMap *map, uint32_t range, uint32_t offset,
                           const void *buf, uint32_t len);

#endif
