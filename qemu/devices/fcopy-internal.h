/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What fcopy.c (what is asked of the service), fcopy-steps.c (what is asked of
 * the guest) and fcopy-state.c share.
 */
#ifndef VMBUS_FCOPY_INTERNAL_H
#define VMBUS_FCOPY_INTERNAL_H

#include "devices/fcopy-protocol.h"
#include "devices/fcopy.h"
#include "devices/ic.h"

typedef struct FcopyCopy {
    VmbusFcopyCopy pub;
    VmbusFcopyRequest req; /* its path is pub.path */
    FcopyWireStart start;
    uint64_t deadline_ns;   /* of the step, or of being resumed */
    bool reading;           /* the file is being read */
    bool restart;           /* begin when the guest has dropped the file */
    VmbusFcopyResult final; /* how it ends when the guest has dropped it */
    GChecksum *sum;         /* of what the guest has written */
} FcopyCopy;

typedef union FcopyMessage {
    FcopyWireHeader header;
    FcopyWireStart start;
    FcopyWireWrite write;
} FcopyMessage;

struct VmbusFcopy {
    IcPort port;
    const VmbusFcopyOps *ops;
    void *opaque;
    VmbusFcopyService service;
    FcopyCopy *copy;      /* that has not ended, or NULL */
    GQueue ended;         /* FcopyCopy *, the oldest first */
    FcopyMessage message; /* to be sent, or sent last */
    uint16_t message_len;
    bool pending;    /* the message waits to be sent */
    uint64_t asked;  /* copy whose answer is waited for; 0: none */
    bool guest_open; /* the guest may have a file open */
    uint64_t next_id, copies;
};

extern const IcService vmbus_fcopy_ic_service;

/* @copy is an FcopyCopy *. */
void vmbus_fcopy_free_copy(gpointer copy);
/* Of the copy that has not ended; there must be one. */
void vmbus_fcopy_set_state(VmbusFcopy *fc, VmbusFcopyState state);
/* Ends it, at once. */
void vmbus_fcopy_end(VmbusFcopy *fc, VmbusFcopyResult result);
/* Has the guest drop the file, if it may have one, before the copy ends. */
void vmbus_fcopy_give_up(VmbusFcopy *fc, VmbusFcopyResult result);
/*
 * Sends what stands in fc->message, as @operation of @len bytes, now or when
 * the guest owes no answer.  The channel may close in here and in the next
 * two, and then there is no copy any more.
 */
void vmbus_fcopy_ask(VmbusFcopy *fc, FcopyWireOperation operation,
                     uint16_t len);
/* The same for an operation that is nothing but its header. */
void vmbus_fcopy_ask_short(VmbusFcopy *fc, FcopyWireOperation operation);
/* Begins the copy, or begins it anew. */
void vmbus_fcopy_ask_start(VmbusFcopy *fc);

#endif
