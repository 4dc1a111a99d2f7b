/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File copy: the steps of a copy, and what the guest answers. */
#include "devices/fcopy-internal.h"

#include <string.h>

/* The only version of Windows and Linux. */
static const uint32_t fcopy_versions[] = {
    IC_VERSION(1, 1),
};

/* The end of a copy */

void vmbus_fcopy_free_copy(gpointer data)
{
    FcopyCopy *copy = data;

    g_checksum_free(copy->sum);
    g_free(copy->pub.path);
    g_free(copy->pub.sha256);
    g_free(copy);
}

static void arm(VmbusFcopy *fc)
{
    fc->ops->wake_at(fc->opaque, fc->copy ? fc->copy->deadline_ns : UINT64_MAX);
}

static void set_deadline(VmbusFcopy *fc, uint64_t wait_ns)
{
    uint64_t now = fc->ops->now_ns(fc->opaque);

    fc->copy->deadline_ns = now + MIN(wait_ns, UINT64_MAX - 1 - now);
    arm(fc);
}

void vmbus_fcopy_set_state(VmbusFcopy *fc, VmbusFcopyState state)
{
    if (fc->copy->pub.state != state) {
        fc->copy->pub.state = state;
        fc->ops->changed(fc->opaque, &fc->copy->pub);
    }
}

void vmbus_fcopy_end(VmbusFcopy *fc, VmbusFcopyResult result)
{
    FcopyCopy *copy = fc->copy;

    if (result == VMBUS_FCOPY_OK) {
        copy->pub.sha256 = g_strdup(g_checksum_get_string(copy->sum));
    }
    fc->copy = NULL;
    fc->pending = false;
    fc->asked = 0;
    arm(fc);
    copy->pub.result = result;
    copy->pub.state = result == VMBUS_FCOPY_OK ? VMBUS_FCOPY_DONE
                      : result == VMBUS_FCOPY_WAS_CANCELLED
                          ? VMBUS_FCOPY_CANCELLED
                          : VMBUS_FCOPY_FAILED;
    g_queue_push_tail(&fc->ended, copy);
    if (fc->ended.length > VMBUS_FCOPY_KEPT) {
        vmbus_fcopy_free_copy(g_queue_pop_head(&fc->ended));
    }
    fc->ops->changed(fc->opaque, &copy->pub);
}

/* Asking the guest */

/*
 * Sends the message, if there is one and the guest owes no answer.  The channel
 * may close in here, and then there is no copy any more.
 */
static void pump(VmbusFcopy *fc)
{
    uint64_t id = fc->copy ? fc->copy->pub.id : 0;

    if (!fc->pending || fc->service != VMBUS_FCOPY_SERVICE_READY ||
        fc->port.in_flight || fc->port.wants_room) {
        return;
    }
    switch (ic_send(&fc->port, &fc->message, fc->message_len, id)) {
    case IC_SEND_OK:
        fc->pending = false;
        fc->asked = id;
        if (fc->message.header.operation == GUINT32_TO_LE(FCOPY_OP_START)) {
            fc->guest_open = true;
        } else if (fc->message.header.operation ==
                   GUINT32_TO_LE(FCOPY_OP_CANCEL)) {
            fc->guest_open = false;
        }
        break;
    case IC_SEND_TOO_LARGE:
        fc->pending = false;
        fc->guest_open = false; /* there is no telling it either */
        if (fc->copy) {
            vmbus_fcopy_end(fc, VMBUS_FCOPY_RING_TOO_SMALL);
        }
        break;
    default: /* room() comes, or the copy has ended */
        break;
    }
}

void vmbus_fcopy_ask(VmbusFcopy *fc, FcopyWireOperation operation, uint16_t len)
{
    fc->message.header.operation = GUINT32_TO_LE(operation);
    fc->message_len = len;
    fc->pending = true;
    if (fc->copy) {
        set_deadline(fc, fc->copy->req.step_ns);
    }
    pump(fc);
}

void vmbus_fcopy_ask_start(VmbusFcopy *fc)
{
    FcopyCopy *copy = fc->copy;

    copy->restart = false;
    copy->pub.copied = 0;
    g_checksum_reset(copy->sum);
    fc->message.start = copy->start;
    vmbus_fcopy_set_state(fc, VMBUS_FCOPY_STARTING);
    vmbus_fcopy_ask(fc, FCOPY_OP_START, sizeof(fc->message.start));
}

void vmbus_fcopy_ask_short(VmbusFcopy *fc, FcopyWireOperation operation)
{
    memset(&fc->message, 0, sizeof(fc->message));
    vmbus_fcopy_ask(fc, operation, sizeof(fc->message.header));
}

/* Has the guest drop a file whose copy has ended without it. */
static void clean_up(VmbusFcopy *fc)
{
    if (!fc->copy && fc->guest_open && !fc->pending && !fc->port.in_flight) {
        vmbus_fcopy_ask_short(fc, FCOPY_OP_CANCEL);
    }
}

void vmbus_fcopy_give_up(VmbusFcopy *fc, VmbusFcopyResult result)
{
    fc->copy->reading = false;
    fc->copy->final = result;
    if (!fc->guest_open) {
        vmbus_fcopy_end(fc, result);
        return;
    }
    fc->copy->restart = false;
    vmbus_fcopy_set_state(fc, VMBUS_FCOPY_CANCELLING);
    vmbus_fcopy_ask_short(fc, FCOPY_OP_CANCEL);
}

static uint32_t fragment_len(const FcopyCopy *copy)
{
    return MIN(copy->pub.size - copy->pub.copied, FCOPY_FRAGMENT);
}

static void next_step(VmbusFcopy *fc)
{
    FcopyCopy *copy = fc->copy;

    if (copy->pub.copied == copy->pub.size) {
        vmbus_fcopy_set_state(fc, VMBUS_FCOPY_COMPLETING);
        vmbus_fcopy_ask_short(fc, FCOPY_OP_COMPLETE);
        return;
    }
    vmbus_fcopy_set_state(fc, VMBUS_FCOPY_COPYING);
    copy->reading = true;
    set_deadline(fc, copy->req.step_ns);
    fc->ops->read(fc->opaque, copy->pub.id, copy->pub.copied,
                  fragment_len(copy));
}

void vmbus_fcopy_data(VmbusFcopy *fc, uint64_t id, uint64_t offset,
                      const void *data, uint32_t len)
{
    FcopyCopy *copy = fc->copy;

    if (!copy || copy->pub.id != id || !copy->reading ||
        offset != copy->pub.copied) {
        return;
    }
    copy->reading = false;
    if (len != fragment_len(copy)) {
        vmbus_fcopy_give_up(fc, VMBUS_FCOPY_FILE_CHANGED);
        return;
    }
    /* Always whole: Linux takes as much whatever the size says. */
    memset(&fc->message, 0, sizeof(fc->message));
    fc->message.write.offset = GUINT64_TO_LE(offset);
    fc->message.write.size = GUINT32_TO_LE(len);
    memcpy(fc->message.write.data, data, len);
    vmbus_fcopy_ask(fc, FCOPY_OP_WRITE, sizeof(fc->message.write));
}

void vmbus_fcopy_read_failed(VmbusFcopy *fc, uint64_t id, VmbusFcopyResult why)
{
    if (fc->copy && fc->copy->pub.id == id && fc->copy->reading) {
        vmbus_fcopy_give_up(fc, why);
    }
}

/* The guest's answers */

static VmbusFcopyResult result_of_status(uint32_t status,
                                         VmbusFcopyResult other)
{
    switch (status) {
    case IC_STATUS_OK:
        return VMBUS_FCOPY_OK;
    case FCOPY_STATUS_EXISTS:
        return VMBUS_FCOPY_EXISTS;
    case FCOPY_STATUS_DISK_FULL:
        return VMBUS_FCOPY_DISK_FULL;
    case FCOPY_STATUS_INVALID:
        return VMBUS_FCOPY_INVALID;
    case IC_STATUS_NOT_SUPPORTED:
        return VMBUS_FCOPY_NOT_SUPPORTED;
    default:
        return other;
    }
}

static void written(VmbusFcopy *fc, uint32_t status)
{
    FcopyCopy *copy = fc->copy;
    uint32_t len = fragment_len(copy);

    copy->pub.result = result_of_status(status, VMBUS_FCOPY_WRITE_FAILED);
    if (copy->pub.result != VMBUS_FCOPY_OK) {
        set_deadline(fc, copy->req.hold_ns);
        vmbus_fcopy_set_state(fc, VMBUS_FCOPY_STOPPED);
        return;
    }
    g_checksum_update(copy->sum, fc->message.write.data, len);
    copy->pub.copied += len;
    fc->ops->progress(fc->opaque, &copy->pub);
    next_step(fc);
}

/* The answer to the last message that was sent for the copy. */
static void answered(VmbusFcopy *fc, uint32_t status)
{
    FcopyCopy *copy = fc->copy;
    VmbusFcopyResult result;

    switch (copy->pub.state) {
    case VMBUS_FCOPY_STARTING:
        result = result_of_status(status, VMBUS_FCOPY_START_FAILED);
        fc->guest_open = result == VMBUS_FCOPY_OK;
        if (result == VMBUS_FCOPY_OK) {
            next_step(fc);
        } else {
            vmbus_fcopy_end(fc, result);
        }
        break;
    case VMBUS_FCOPY_COPYING:
        written(fc, status);
        break;
    case VMBUS_FCOPY_COMPLETING:
        fc->guest_open = false;
        vmbus_fcopy_end(fc,
                        result_of_status(status, VMBUS_FCOPY_COMPLETE_FAILED));
        break;
    case VMBUS_FCOPY_CANCELLING:
        if (fc->pending) { /* the cancellation waited for this answer */
            break;
        }
        if (copy->restart) {
            vmbus_fcopy_ask_start(fc);
        } else {
            vmbus_fcopy_end(fc, copy->final);
        }
        break;
    default:
        break;
    }
}

static const char *port_answered(void *opaque, const IcAnswer *answer)
{
    VmbusFcopy *fc = opaque;

    if (fc->copy && fc->asked == fc->copy->pub.id &&
        answer->cookie == fc->asked) {
        fc->asked = 0;
        fc->copy->pub.status = answer->status;
        answered(fc, answer->status);
    }
    /* Else it is late, or tells that a file was dropped. */
    pump(fc);
    clean_up(fc);
    return NULL;
}

static void port_room(void *opaque)
{
    pump(opaque);
    clean_up(opaque);
}

static void port_changed(void *opaque, IcState state)
{
    VmbusFcopy *fc = opaque;

    fc->service = state == IC_CLOSED  ? VMBUS_FCOPY_SERVICE_CLOSED
                  : state == IC_READY ? VMBUS_FCOPY_SERVICE_READY
                                      : VMBUS_FCOPY_SERVICE_NEGOTIATING;
    fc->guest_open = false;
    fc->pending = false;
    if (fc->copy) {
        vmbus_fcopy_end(fc, VMBUS_FCOPY_GONE);
    }
}

const IcService vmbus_fcopy_ic_service = {
    .message_type = IC_MESSAGE_GUEST_INTERFACE,
    .max_in_flight = 1,
    .version_count = G_N_ELEMENTS(fcopy_versions),
    .versions = fcopy_versions,
    .state_changed = port_changed,
    .answer = port_answered,
    .room = port_room,
};

void vmbus_fcopy_tick(VmbusFcopy *fc)
{
    FcopyCopy *copy = fc->copy;

    if (!copy) {
        clean_up(fc);
        return;
    }
    if (fc->ops->now_ns(fc->opaque) < copy->deadline_ns) {
        return;
    }
    if (copy->reading) {
        vmbus_fcopy_give_up(fc, VMBUS_FCOPY_READ_TIMEOUT);
    } else if (copy->pub.state == VMBUS_FCOPY_STOPPED) {
        vmbus_fcopy_give_up(fc, VMBUS_FCOPY_NOT_RESUMED);
    } else if (copy->pub.state == VMBUS_FCOPY_CANCELLING && !copy->restart) {
        vmbus_fcopy_end(fc, copy->final);
    } else {
        vmbus_fcopy_end(fc, VMBUS_FCOPY_TIMEOUT);
    }
}
