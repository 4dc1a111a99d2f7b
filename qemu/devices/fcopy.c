/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/fcopy.h"

#include <string.h>

#include "devices/fcopy-internal.h"

const VmbusOffer vmbus_fcopy_offer = {
    .name = "fcopy",
    .class_id = IC_FCOPY_CLASS,
    .instance_id = IC_FCOPY_INSTANCE,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
    .pipe = true,
};

void vmbus_fcopy_info(const VmbusFcopy *fc, VmbusFcopyInfo *info)
{
    *info = (VmbusFcopyInfo){
        .service = fc->service,
        .framework_version = fc->port.framework_version,
        .message_version = fc->port.message_version,
        .copies = fc->copies,
        .copy = fc->copy ? &fc->copy->pub : NULL,
    };
}

const IcPort *vmbus_fcopy_port(const VmbusFcopy *fc)
{
    return &fc->port;
}

static VmbusFcopyResult validate_state(const VmbusFcopy *fc)
{
    switch (fc->port.state) {
    case IC_CLOSED:
        return VMBUS_FCOPY_NOT_OPEN;
    case IC_NEGOTIATING:
        return VMBUS_FCOPY_NOT_READY;
    case IC_READY:
        break;
    default:
        return VMBUS_FCOPY_UNUSABLE;
    }
    if (fc->copy) {
        return VMBUS_FCOPY_BUSY;
    }
    /* Room that is waited for is room for the end of an earlier copy. */
    return fc->port.in_flight || fc->pending || fc->port.wants_room
               ? VMBUS_FCOPY_ANSWER_MISSING
               : VMBUS_FCOPY_OK;
}

static void put_text(uint8_t *wire, const char *text)
{
    g_autofree gunichar2 *wide = NULL;
    glong count = 0;

    wide = g_utf8_to_utf16(text, -1, NULL, &count, NULL);
    for (glong i = 0; wide && i < MIN(count, FCOPY_MAX_PATH - 1); i++) {
        wide[i] = GUINT16_TO_LE(wide[i]);
        memcpy(wire + 2 * i, &wide[i], 2);
    }
}

static VmbusFcopyResult put_start(FcopyWireStart *start,
                                  const VmbusFcopyRequest *req)
{
    g_autofree char *directory = NULL;
    g_autofree char *name = NULL;
    VmbusFcopyResult result;
    uint32_t flags = (req->overwrite ? FCOPY_OVERWRITE : 0) |
                     (req->create_path ? FCOPY_CREATE_PATH : 0);

    result = vmbus_fcopy_split_path(req->path, &directory, &name);
    if (result != VMBUS_FCOPY_OK) {
        return result;
    }
    memset(start, 0, sizeof(*start));
    put_text((uint8_t *)start + offsetof(FcopyWireStart, name), name);
    put_text((uint8_t *)start + offsetof(FcopyWireStart, directory), directory);
    start->flags = GUINT32_TO_LE(flags);
    start->size = GUINT64_TO_LE(req->size);
    return VMBUS_FCOPY_OK;
}

VmbusFcopyResult vmbus_fcopy_start(VmbusFcopy *fc, const VmbusFcopyRequest *req,
                                   uint64_t *id)
{
    VmbusFcopyResult result = validate_state(fc);
    FcopyWireStart start;
    FcopyCopy *copy;

    if (result == VMBUS_FCOPY_OK && !req->step_ns) {
        result = VMBUS_FCOPY_BAD_REQUEST;
    }
    if (result == VMBUS_FCOPY_OK) {
        result = put_start(&start, req);
    }
    if (result != VMBUS_FCOPY_OK) {
        return result;
    }
    copy = g_new0(FcopyCopy, 1);
    copy->pub.id = *id = fc->next_id++;
    copy->pub.path = g_strdup(req->path);
    copy->pub.size = req->size;
    copy->req = *req;
    copy->req.path = copy->pub.path;
    copy->start = start;
    copy->sum = g_checksum_new(G_CHECKSUM_SHA256);
    fc->copy = copy;
    fc->copies++;
    if (fc->guest_open) { /* of a copy that stayed behind */
        copy->restart = true;
        copy->pub.state = VMBUS_FCOPY_CANCELLING;
        vmbus_fcopy_ask_short(fc, FCOPY_OP_CANCEL);
    } else {
        vmbus_fcopy_ask_start(fc);
    }
    return VMBUS_FCOPY_OK;
}

static VmbusFcopyResult check_id(const VmbusFcopy *fc, uint64_t id)
{
    if (fc->copy && fc->copy->pub.id == id) {
        return VMBUS_FCOPY_OK;
    }
    return vmbus_fcopy_copy(fc, id) ? VMBUS_FCOPY_ENDED
                                    : VMBUS_FCOPY_NO_SUCH_COPY;
}

VmbusFcopyResult vmbus_fcopy_cancel(VmbusFcopy *fc, uint64_t id)
{
    VmbusFcopyResult result = check_id(fc, id);

    if (result != VMBUS_FCOPY_OK) {
        return result;
    }
    if (fc->copy->pub.state == VMBUS_FCOPY_COMPLETING) {
        return VMBUS_FCOPY_TOO_LATE;
    }
    if (fc->copy->pub.state != VMBUS_FCOPY_CANCELLING) {
        vmbus_fcopy_give_up(fc, VMBUS_FCOPY_WAS_CANCELLED);
    } else if (fc->copy->restart) { /* it goes on with this cancellation */
        fc->copy->restart = false;
        fc->copy->final = VMBUS_FCOPY_WAS_CANCELLED;
    }
    return VMBUS_FCOPY_OK;
}

VmbusFcopyResult vmbus_fcopy_resume(VmbusFcopy *fc, uint64_t id)
{
    VmbusFcopyResult result = check_id(fc, id);
    FcopyCopy *copy = fc->copy;

    if (result != VMBUS_FCOPY_OK) {
        return result;
    }
    if (copy->pub.state != VMBUS_FCOPY_STOPPED) {
        return VMBUS_FCOPY_NOT_STOPPED;
    }
    if (copy->pub.result == VMBUS_FCOPY_DISK_FULL) {
        /* The message still is the fragment that failed. */
        copy->pub.result = VMBUS_FCOPY_OK;
        vmbus_fcopy_set_state(fc, VMBUS_FCOPY_COPYING);
        vmbus_fcopy_ask(fc, FCOPY_OP_WRITE, sizeof(fc->message.write));
        return VMBUS_FCOPY_OK;
    }
    /*
     * What is there now was written by this copy.  It is not cancelled first: a
     * Linux daemon that never opened a file closes its own device then.
     */
    copy->start.flags |= GUINT32_TO_LE(FCOPY_OVERWRITE);
    vmbus_fcopy_ask_start(fc);
    return VMBUS_FCOPY_OK;
}

const VmbusFcopyCopy *vmbus_fcopy_copy(const VmbusFcopy *fc, uint64_t id)
{
    if (fc->copy && fc->copy->pub.id == id) {
        return &fc->copy->pub;
    }
    for (GList *link = fc->ended.head; link; link = link->next) {
        FcopyCopy *copy = link->data;

        if (copy->pub.id == id) {
            return &copy->pub;
        }
    }
    return NULL;
}

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    ic_opened(&((VmbusFcopy *)opaque)->port, chan);
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    ic_closed(&((VmbusFcopy *)opaque)->port);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    ic_signalled(&((VmbusFcopy *)opaque)->port);
}

const VmbusChannelOps vmbus_fcopy_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

VmbusFcopy *vmbus_fcopy_new(const VmbusFcopyOps *ops, void *opaque)
{
    VmbusFcopy *fc = g_new0(VmbusFcopy, 1);

    fc->ops = ops;
    fc->opaque = opaque;
    fc->next_id = 1;
    g_queue_init(&fc->ended);
    ic_init(&fc->port, &vmbus_fcopy_ic_service, fc);
    return fc;
}

void vmbus_fcopy_free(VmbusFcopy *fc)
{
    if (fc->copy) {
        vmbus_fcopy_free_copy(fc->copy);
    }
    g_queue_clear_full(&fc->ended, vmbus_fcopy_free_copy);
    g_free(fc);
}
