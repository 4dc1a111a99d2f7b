/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is in a ring now, for people who look for a fault. */
#ifndef VMBUS_DUMP_H
#define VMBUS_DUMP_H

#include "bus/channel.h"

/* A dump ends after so many packets. */
#define VMBUS_DUMP_PACKETS 256u
/* Of each packet so many bytes behind its descriptor are shown. */
#define VMBUS_DUMP_BYTES 64u

typedef enum VmbusDumpRing {
    VMBUS_DUMP_TO_HOST,
    VMBUS_DUMP_TO_GUEST,
} VmbusDumpRing;

/* The control page, and where the host is. */
typedef struct VmbusDumpControl {
    uint32_t size; /* data bytes */
    uint32_t write_index, read_index;
    uint32_t interrupt_mask, pending_send_size, feature_bits;
    /* The host's own index: next to read, or next to write. */
    uint32_t host_index;
    uint32_t first, end; /* the packets shown are between these */
} VmbusDumpControl;

typedef struct VmbusDumpPacket {
    uint32_t index; /* where it begins */
    uint16_t type, flags;
    uint32_t header_len, len; /* bytes, descriptor included, trailer not */
    uint64_t trans_id;
    uint32_t shown; /* bytes of @bytes */
    uint8_t bytes[VMBUS_DUMP_BYTES];
} VmbusDumpPacket;

/* One of the three is not NULL.  @sentence: why the dump ends early. */
typedef void VmbusDumpFn(void *opaque, const VmbusDumpControl *control,
                         const VmbusDumpPacket *packet, const char *sentence);

/*
 * Calls @emit for the control fields, then for each packet that was written and
 * not read, and at last with a sentence if there is more that cannot be shown.
 * Nothing is written, nor taken; a guest may change the ring meanwhile, which
 * only the dump suffers from.  On the bus's thread; @emit is called on the
 * channel's, for which the bus's waits.  Returns NULL, or a static sentence if
 * there is no ring.
 */
const char *vmbus_channel_dump(const VmbusChannel *chan, VmbusDumpRing which,
                               VmbusDumpFn *emit, void *opaque);

#endif
