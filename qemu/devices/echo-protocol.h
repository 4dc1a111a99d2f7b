/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The echo device, which is for tests: each packet comes back as its
 * completion, with the same transaction id and payload.
 */
#ifndef VMBUS_ECHO_PROTOCOL_H
#define VMBUS_ECHO_PROTOCOL_H

#include "bus/guid.h"

/* Made up here: no guest has a driver for it. */
#define ECHO_CLASS                                                             \
    VMBUS_GUID(0x1c5a9f60, 0x7b1e, 0x4e0b, 0x9a, 0x37, 0x63, 0x0d, 0x52, 0xe8, \
               0xb4, 0xf1)
/* Of the first one; others are given theirs. */
#define ECHO_INSTANCE                                                          \
    VMBUS_GUID(0x8f40d3b2, 0x25c6, 0x4d19, 0xb0, 0x5e, 0x1a, 0x97, 0xcc, 0x04, \
               0x6e, 0x38)

#endif
