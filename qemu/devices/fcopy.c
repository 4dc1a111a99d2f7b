/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/fcopy.h"

#include <string.h>

#include "devices/fcopy-protocol.h"
#include "devices/ic-state.h"

typedef struct Copy {
    VmbusFcopyCopy pub;
    VmbusFcopyRequest req; /* its path is pub.path */
    FcopyWireStart start;
    uint64_t deadline_ns;   /* of the step, or of being resumed */
    bool reading;           /* the file is being read */
    bool restart;           /* begin when the guest has dropped the file */
    VmbusFcopyResult final; /* how it ends when the guest has dropped it */
    GChecksum *sum;         /* of what the guest has written */
} Copy;

typedef union Message {
    FcopyWireHeader header;
    FcopyWireStart start;
    FcopyWireWrite write;
} Message;

struct VmbusFcopy {
    IcPort port;
    const VmbusFcopyOps *ops;
    void *opaque;
    VmbusFcopyService service;
    Copy *copy;      /* that has not ended, or NULL */
    GQueue ended;    /* Copy *, the oldest first */
    Message message; /* to be sent, or sent last */
    uint16_t message_len;
    bool pending;    /* the message waits to be sent */
    uint64_t asked;  /* copy whose answer is waited for; 0: none */
    bool guest_open; /* the guest may have a file open */
    uint64_t next_id, copies;
};

/* The only version of Windows and Linux. */
static const uint32_t fcopy_versions[] = {
    IC_VERSION(1, 1),
};

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

/* The end of a copy */

static void copy_free(gpointer data)
{
    Copy *copy = data;

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

static void set_state(VmbusFcopy *fc, VmbusFcopyState state)
{
    if (fc->copy->pub.state != state) {
        fc->copy->pub.state = state;
        fc->ops->changed(fc->opaque, &fc->copy->pub);
    }
}

static void end_copy(VmbusFcopy *fc, VmbusFcopyResult result)
{
    Copy *copy = fc->copy;

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
        copy_free(g_queue_pop_head(&fc->ended));
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
            end_copy(fc, VMBUS_FCOPY_RING_TOO_SMALL);
        }
        break;
    default: /* room() comes, or the copy has ended */
        break;
    }
}

/* Sends what stands in the message. */
static void ask(VmbusFcopy *fc, FcopyWireOperation operation, uint16_t len)
{
    fc->message.header.operation = GUINT32_TO_LE(operation);
    fc->message_len = len;
    fc->pending = true;
    if (fc->copy) {
        set_deadline(fc, fc->copy->req.step_ns);
    }
    pump(fc);
}

static void ask_start(VmbusFcopy *fc)
{
    Copy *copy = fc->copy;

    copy->restart = false;
    copy->pub.copied = 0;
    g_checksum_reset(copy->sum);
    fc->message.start = copy->start;
    set_state(fc, VMBUS_FCOPY_STARTING);
    ask(fc, FCOPY_OP_START, sizeof(fc->message.start));
}

static void ask_short(VmbusFcopy *fc, FcopyWireOperation operation)
{
    memset(&fc->message, 0, sizeof(fc->message));
    ask(fc, operation, sizeof(fc->message.header));
}

/* Has the guest drop a file whose copy has ended without it. */
static void clean_up(VmbusFcopy *fc)
{
    if (!fc->copy && fc->guest_open && !fc->pending && !fc->port.in_flight) {
        ask_short(fc, FCOPY_OP_CANCEL);
    }
}

/* Has the guest drop the file, if it may have one, before the copy ends. */
static void give_up(VmbusFcopy *fc, VmbusFcopyResult result)
{
    fc->copy->reading = false;
    fc->copy->final = result;
    if (!fc->guest_open) {
        end_copy(fc, result);
        return;
    }
    fc->copy->restart = false;
    set_state(fc, VMBUS_FCOPY_CANCELLING);
    ask_short(fc, FCOPY_OP_CANCEL);
}

static uint32_t fragment_len(const Copy *copy)
{
    return MIN(copy->pub.size - copy->pub.copied, FCOPY_FRAGMENT);
}

static void next_step(VmbusFcopy *fc)
{
    Copy *copy = fc->copy;

    if (copy->pub.copied == copy->pub.size) {
        set_state(fc, VMBUS_FCOPY_COMPLETING);
        ask_short(fc, FCOPY_OP_COMPLETE);
        return;
    }
    set_state(fc, VMBUS_FCOPY_COPYING);
    copy->reading = true;
    set_deadline(fc, copy->req.step_ns);
    fc->ops->read(fc->opaque, copy->pub.id, copy->pub.copied,
                  fragment_len(copy));
}

void vmbus_fcopy_data(VmbusFcopy *fc, uint64_t id, uint64_t offset,
                      const void *data, uint32_t len)
{
    Copy *copy = fc->copy;

    if (!copy || copy->pub.id != id || !copy->reading ||
        offset != copy->pub.copied) {
        return;
    }
    copy->reading = false;
    if (len != fragment_len(copy)) {
        give_up(fc, VMBUS_FCOPY_FILE_CHANGED);
        return;
    }
    /* Always whole: Linux takes as much whatever the size says. */
    memset(&fc->message, 0, sizeof(fc->message));
    fc->message.write.offset = GUINT64_TO_LE(offset);
    fc->message.write.size = GUINT32_TO_LE(len);
    memcpy(fc->message.write.data, data, len);
    ask(fc, FCOPY_OP_WRITE, sizeof(fc->message.write));
}

void vmbus_fcopy_read_failed(VmbusFcopy *fc, uint64_t id, VmbusFcopyResult why)
{
    if (fc->copy && fc->copy->pub.id == id && fc->copy->reading) {
        give_up(fc, why);
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
    Copy *copy = fc->copy;
    uint32_t len = fragment_len(copy);

    copy->pub.result = result_of_status(status, VMBUS_FCOPY_WRITE_FAILED);
    if (copy->pub.result != VMBUS_FCOPY_OK) {
        set_deadline(fc, copy->req.hold_ns);
        set_state(fc, VMBUS_FCOPY_STOPPED);
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
    Copy *copy = fc->copy;
    VmbusFcopyResult result;

    switch (copy->pub.state) {
    case VMBUS_FCOPY_STARTING:
        result = result_of_status(status, VMBUS_FCOPY_START_FAILED);
        fc->guest_open = result == VMBUS_FCOPY_OK;
        if (result == VMBUS_FCOPY_OK) {
            next_step(fc);
        } else {
            end_copy(fc, result);
        }
        break;
    case VMBUS_FCOPY_COPYING:
        written(fc, status);
        break;
    case VMBUS_FCOPY_COMPLETING:
        fc->guest_open = false;
        end_copy(fc, result_of_status(status, VMBUS_FCOPY_COMPLETE_FAILED));
        break;
    case VMBUS_FCOPY_CANCELLING:
        if (fc->pending) { /* the cancellation waited for this answer */
            break;
        }
        if (copy->restart) {
            ask_start(fc);
        } else {
            end_copy(fc, copy->final);
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
        end_copy(fc, VMBUS_FCOPY_GONE);
    }
}

static const IcService fcopy_service = {
    .message_type = IC_MESSAGE_GUEST_INTERFACE,
    .max_in_flight = 1,
    .version_count = G_N_ELEMENTS(fcopy_versions),
    .versions = fcopy_versions,
    .state_changed = port_changed,
    .answer = port_answered,
    .room = port_room,
};

/* What is asked of the service */

void vmbus_fcopy_tick(VmbusFcopy *fc)
{
    Copy *copy = fc->copy;

    if (!copy) {
        clean_up(fc);
        return;
    }
    if (fc->ops->now_ns(fc->opaque) < copy->deadline_ns) {
        return;
    }
    if (copy->reading) {
        give_up(fc, VMBUS_FCOPY_READ_TIMEOUT);
    } else if (copy->pub.state == VMBUS_FCOPY_STOPPED) {
        give_up(fc, VMBUS_FCOPY_NOT_RESUMED);
    } else if (copy->pub.state == VMBUS_FCOPY_CANCELLING && !copy->restart) {
        end_copy(fc, copy->final);
    } else {
        end_copy(fc, VMBUS_FCOPY_TIMEOUT);
    }
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
    Copy *copy;

    if (result == VMBUS_FCOPY_OK && !req->step_ns) {
        result = VMBUS_FCOPY_BAD_REQUEST;
    }
    if (result == VMBUS_FCOPY_OK) {
        result = put_start(&start, req);
    }
    if (result != VMBUS_FCOPY_OK) {
        return result;
    }
    copy = g_new0(Copy, 1);
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
        ask_short(fc, FCOPY_OP_CANCEL);
    } else {
        ask_start(fc);
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
        give_up(fc, VMBUS_FCOPY_WAS_CANCELLED);
    } else if (fc->copy->restart) { /* it goes on with this cancellation */
        fc->copy->restart = false;
        fc->copy->final = VMBUS_FCOPY_WAS_CANCELLED;
    }
    return VMBUS_FCOPY_OK;
}

VmbusFcopyResult vmbus_fcopy_resume(VmbusFcopy *fc, uint64_t id)
{
    VmbusFcopyResult result = check_id(fc, id);
    Copy *copy = fc->copy;

    if (result != VMBUS_FCOPY_OK) {
        return result;
    }
    if (copy->pub.state != VMBUS_FCOPY_STOPPED) {
        return VMBUS_FCOPY_NOT_STOPPED;
    }
    if (copy->pub.result == VMBUS_FCOPY_DISK_FULL) {
        /* The message still is the fragment that failed. */
        copy->pub.result = VMBUS_FCOPY_OK;
        set_state(fc, VMBUS_FCOPY_COPYING);
        ask(fc, FCOPY_OP_WRITE, sizeof(fc->message.write));
        return VMBUS_FCOPY_OK;
    }
    /*
     * What is there now was written by this copy.  It is not cancelled first: a
     * Linux daemon that never opened a file closes its own device then.
     */
    copy->start.flags |= GUINT32_TO_LE(FCOPY_OVERWRITE);
    ask_start(fc);
    return VMBUS_FCOPY_OK;
}

const VmbusFcopyCopy *vmbus_fcopy_copy(const VmbusFcopy *fc, uint64_t id)
{
    if (fc->copy && fc->copy->pub.id == id) {
        return &fc->copy->pub;
    }
    for (GList *link = fc->ended.head; link; link = link->next) {
        Copy *copy = link->data;

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
    ic_init(&fc->port, &fcopy_service, fc);
    return fc;
}

void vmbus_fcopy_free(VmbusFcopy *fc)
{
    if (fc->copy) {
        copy_free(fc->copy);
    }
    g_queue_clear_full(&fc->ended, copy_free);
    g_free(fc);
}

/* Saved state */

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
        end_copy(fc, VMBUS_FCOPY_GONE);
    }
    fc->guest_open = saved.guest_open;
    return NULL;
}
