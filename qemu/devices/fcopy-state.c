/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File copy in a saved machine. */
#include "devices/fcopy-internal.h"

#include "devices/ic-state.h"

#define FCOPY_STATE_MAGIC   0x43464d56u /* "VMFC" */
#define FCOPY_STATE_VERSION 1

typedef struct SavedFcopy {
    uint64_t next_id, copies;
    uint8_t guest_open;
    bool has_port;
    IcPort *port; /* while loading */
    VmbusChannel *chan;
} SavedFcopy;

static const VmbusBlobField fcopy_fields[] = {
    VMBUS_BLOB_FIELD(1, SavedFcopy, next_id, UINT64_MAX),
    VMBUS_BLOB_FIELD(2, SavedFcopy, copies, UINT64_MAX),
    VMBUS_BLOB_FIELD(3, SavedFcopy, guest_open, 1),
};

/* A message that found no room is the copy's, and stays behind with it. */
GByteArray *vmbus_fcopy_save(const VmbusFcopy *fc)
{
    GByteArray *blob = vmbus_blob_new(FCOPY_STATE_MAGIC, FCOPY_STATE_VERSION);
    SavedFcopy saved = {
        .next_id = fc->next_id,
        .copies = fc->copies,
        .guest_open = fc->guest_open,
    };
    IcPort port = fc->port;

    port.wants_room = false;
    vmbus_blob_put_fields(blob, fcopy_fields, G_N_ELEMENTS(fcopy_fields),
                          &saved);
    ic_save(&port, blob);
    return blob;
}

static const char *saved_item(void *opaque, const VmbusBlobItem *item)
{
    SavedFcopy *saved = opaque;

    if (item->tag != IC_STATE_PORT) {
        return vmbus_blob_unknown;
    }
    saved->has_port = true;
    return ic_load(saved->port, saved->chan, item);
}

const char *vmbus_fcopy_load(VmbusFcopy *fc, VmbusChannel *chan,
                             const void *data, size_t len)
{
    const uint8_t *at = data;
    IcPort port = fc->port;
    SavedFcopy saved = {.port = &port, .chan = chan};
    const char *why;

    why = vmbus_blob_begin(&at, &len, FCOPY_STATE_MAGIC, FCOPY_STATE_VERSION);
    if (!why) {
        why = vmbus_blob_read(at, len, fcopy_fields, G_N_ELEMENTS(fcopy_fields),
                              &saved, saved_item, &saved);
    }
    if (why) {
        return why;
    }
    if (!saved.has_port || !saved.next_id || port.wants_room ||
        (saved.guest_open && port.state != IC_READY)) {
        return "The saved file copy service does not agree with itself.";
    }
    fc->port = port;
    fc->service = port.state == IC_CLOSED  ? VMBUS_FCOPY_SERVICE_CLOSED
                  : port.state == IC_READY ? VMBUS_FCOPY_SERVICE_READY
                                           : VMBUS_FCOPY_SERVICE_NEGOTIATING;
    fc->next_id = MAX(fc->next_id, saved.next_id);
    fc->copies = saved.copies;
    fc->pending = false;
    if (fc->copy) {
        vmbus_fcopy_end(fc, VMBUS_FCOPY_GONE);
    }
    fc->guest_open = saved.guest_open;
    return NULL;
}
