/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What /sys tells about block devices, and what they stand on. */
#ifndef GUEST_AGENT_VSS_BLOCKDEV_H
#define GUEST_AGENT_VSS_BLOCKDEV_H

#include <stdbool.h>

/* Whether it is zram or another disk in memory. */
bool block_is_memory(const char *sysfs, unsigned major, unsigned minor);

/*
 * Call @found with the path of each file that the device stands on through
 * loop devices, directly or below device mapper, RAID or multipath.
 */
void block_backing_files(const char *sysfs, unsigned major, unsigned minor,
                         void (*found)(const char *path, void *opaque),
                         void *opaque);

#endif
