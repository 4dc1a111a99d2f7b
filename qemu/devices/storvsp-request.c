/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SCSI requests: from a packet of the guest to the answer in its ring. */
#include "bus/packet.h"
#include "devices/storvsp-internal.h"

#include <string.h>

/* Guest physical addresses have at most 52 bits. */
#define MAX_GUEST_PAGE (UINT64_C(1) << 40)

/* Sense keys and codes of SPC. */
#define SENSE_FIXED           0x70
#define SENSE_FIXED_LENGTH    18
#define SENSE_ILLEGAL_REQUEST 5
#define ASC_INVALID_FIELD     0x24

#define SCSI_CHECK_CONDITION 0x02
#define SCSI_BUSY            0x08
#define SCSI_TASK_SET_FULL   0x28

#define SCSI_INQUIRY     0x12
#define SCSI_REPORT_LUNS 0xa0

void storvsp_check_condition(StorResult *result, uint8_t srb_status,
                             uint8_t key, uint8_t asc, uint8_t ascq)
{
    *result = (StorResult){
        .srb_status = srb_status,
        .scsi_status = SCSI_CHECK_CONDITION,
        .sense_length = SENSE_FIXED_LENGTH,
        .sense = {[0] = SENSE_FIXED,
                  [2] = key,
                  [7] = SENSE_FIXED_LENGTH - 8,
                  [12] = asc,
                  [13] = ascq},
    };
}

/* Answers */

static uint32_t nt_status(uint8_t srb_status)
{
    switch (srb_status) {
    case STOR_SRB_SUCCESS:
        return STOR_STATUS_SUCCESS;
    case STOR_SRB_BUSY:
        return STOR_STATUS_DEVICE_BUSY;
    case STOR_SRB_INVALID_LUN:
        return STOR_STATUS_DEVICE_DOES_NOT_EXIST;
    case STOR_SRB_DATA_OVERRUN:
        return STOR_STATUS_BUFFER_OVERFLOW;
    case STOR_SRB_ABORTED:
        return STOR_STATUS_CANCELLED;
    default:
        return STOR_STATUS_IO_DEVICE_ERROR;
    }
}

/*
 * Linux goes by the SRB status alone, and by the sense if that says that there
 * is one; it fails a request that has neither.
 */
static void fill_answer(StorAnswer *answer, const StorSrb *srb,
                        const StorResult *result, bool autosense)
{
    uint32_t max_sense =
        answer->len < sizeof(StorPacket) ? STOR_MAX_SENSE_4_2 : STOR_MAX_SENSE;
    StorSrb *out = &answer->packet.srb;

    answer->packet.header = (StorHeader){
        .operation = STOR_COMPLETE_IO,
        .status = nt_status(result->srb_status),
    };
    *out = *srb;
    memset(out->sense, 0, sizeof(out->sense));
    out->srb_status = result->srb_status;
    out->scsi_status = result->scsi_status;
    out->data_transfer_length = result->transferred;
    out->sense_length = 0;
    if (result->sense_length && autosense) {
        out->srb_status |= STOR_SRB_AUTOSENSE_VALID;
        out->sense_length =
            MIN(MIN(result->sense_length, max_sense), sizeof(result->sense));
        memcpy(out->sense, result->sense, out->sense_length);
    }
}

void stor_refuse_srb(StorCall *call)
{
    uint32_t status = call->out.packet.header.status;
    StorResult result;

    storvsp_check_condition(&result, STOR_SRB_INVALID_REQUEST,
                            SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
    fill_answer(&call->out, &call->in.srb, &result, true);
    call->out.packet.header.status = status;
}

/* Checking */

static const char *validate_srb(const StorChannel *ch, const StorSrb *srb)
{
    if (srb->cdb_length == 0) {
        return "A SCSI request has no command.";
    }
    if (srb->cdb_length > STOR_MAX_CDB) {
        return "A SCSI request has a command that is too long.";
    }
    if (srb->data_transfer_length > ch->vsp->config.max_transfer_bytes) {
        return "A SCSI request transfers more than the adapter can.";
    }
    if (srb->data_transfer_length && srb->data_in != STOR_DATA_IN &&
        srb->data_in != STOR_DATA_OUT) {
        return "A SCSI request transfers data in no direction.";
    }
    return NULL;
}

/* Counts the pages that the first @len bytes of the packet's ranges are on. */
static const char *validate_ranges(const VmbusPacket *pkt, uint32_t len,
                                   uint32_t *page_count)
{
    VmbusRangeIter iter;
    VmbusRange range;
    uint64_t bytes = 0;

    *page_count = 0;
    if (!len) {
        return NULL;
    }
    if (pkt->type != VMBUS_PKT_DATA_GPA_DIRECT) {
        return "A SCSI request transfers data and names no memory.";
    }
    /* The packet's length bounds both loops. */
    vmbus_packet_ranges(pkt, &iter);
    while (vmbus_range_iter_next(&iter, &range)) {
        bytes += range.byte_count;
        *page_count += range.page_count;
        for (uint32_t i = 0; i < range.page_count; i++) {
            if (vmbus_range_page(&range, i) >= MAX_GUEST_PAGE) {
                return "A SCSI request names memory beyond 52 bits.";
            }
        }
    }
    if (bytes < len) {
        return "A SCSI request names less memory than it transfers.";
    }
    return NULL;
}

static void add_segment(StorItem *item, uint64_t gpa, uint32_t len)
{
    StorSegment *last = item->segments + item->pub.segment_count - 1;

    if (item->pub.segment_count && last->gpa + last->len == gpa) {
        last->len += len;
    } else {
        item->segments[item->pub.segment_count++] = (StorSegment){gpa, len};
    }
}

/* Neighbours become one segment. */
static void copy_segments(StorItem *item, const VmbusPacket *pkt)
{
    uint32_t left = item->pub.data_len;
    VmbusRangeIter iter;
    VmbusRange range;

    if (!left) {
        return;
    }
    vmbus_packet_ranges(pkt, &iter);
    while (left && vmbus_range_iter_next(&iter, &range)) {
        uint32_t offset = range.byte_offset;
        uint32_t in_range = MIN(range.byte_count, left);

        left -= in_range;
        for (uint32_t i = 0; in_range; i++) {
            uint32_t len = MIN(VMBUS_PAGE_SIZE - offset, in_range);

            add_segment(item,
                        vmbus_range_page(&range, i) * VMBUS_PAGE_SIZE + offset,
                        len);
            in_range -= len;
            offset = 0;
        }
    }
}

/* Requests */

StorItem *stor_item_new(StorChannel *ch, uint32_t segments)
{
    StorItem *item =
        g_malloc(sizeof(StorItem) + segments * sizeof(StorSegment));

    memset(item, 0, sizeof(*item));
    item->link.data = item;
    item->pub.channel = ch;
    item->pub.segments = item->segments;
    return item;
}

void stor_item_queue(StorItem *item, GQueue *queue)
{
    g_queue_push_tail_link(queue, &item->link);
    stor_note_unanswered(item->pub.channel);
}

void stor_item_free(StorItem *item)
{
    StorChannel *ch = item->pub.channel;

    ch->segments -= item->pub.segment_count;
    stor_note_unanswered(ch);
    g_free(item);
}

static StorItem *make_item(StorChannel *ch, StorCall *call, uint32_t pages)
{
    const StorSrb *srb = &call->in.srb;
    StorItem *item = stor_item_new(ch, pages);

    item->trans_id = call->pkt->trans_id;
    item->answer_len = call->out.len;
    item->srb = *srb;
    item->pub.id = ch->next_id++;
    item->pub.path = srb->path;
    item->pub.target = srb->target;
    item->pub.lun = srb->lun;
    item->pub.cdb_length = srb->cdb_length;
    memcpy(item->pub.cdb, srb->cdb, srb->cdb_length);
    item->pub.data_len = srb->data_transfer_length;
    item->pub.data_in =
        srb->data_transfer_length ? srb->data_in : STOR_DATA_NONE;
    copy_segments(item, call->pkt);
    return item;
}

/* The guest looks at its units: from now on it can be told to look again. */
static void note_asked(StorVsp *vsp)
{
    if (!g_atomic_int_get(&vsp->asked)) {
        g_atomic_int_set(&vsp->asked, 1);
        if (g_atomic_int_get(&vsp->enumerate)) {
            vsp->ops->run_later(vsp->opaque, &vsp->channels[0]);
        }
    }
}

const char *stor_execute_srb(StorChannel *ch, StorCall *call)
{
    const char *why = validate_srb(ch, &call->in.srb);
    uint32_t pages = 0;
    StorItem *item;

    if (!why) {
        why = validate_ranges(call->pkt, call->in.srb.data_transfer_length,
                              &pages);
    }
    if (why) {
        call->out.packet.header.status = STOR_STATUS_INVALID_PARAMETER;
        stor_refuse_srb(call);
        return why;
    }
    note_asked(ch->vsp);
    item = make_item(ch, call, pages);
    call->later = true;
    stor_count(&ch->requests);
    ch->segments += item->pub.segment_count;
    stor_item_queue(item, &ch->in_flight);
    ch->vsp->ops->submit(ch->vsp->opaque, &item->pub);
    return NULL;
}

/* What a device's status means for the SRB, unless the machine said so. */
static uint8_t srb_status(const StorResult *result)
{
    if (result->srb_status != STOR_SRB_SUCCESS) {
        return result->srb_status & STOR_SRB_STATUS_MASK;
    }
    switch (result->scsi_status) {
    case 0:
        return STOR_SRB_SUCCESS;
    case SCSI_BUSY:
    case SCSI_TASK_SET_FULL:
        return STOR_SRB_BUSY;
    default:
        return STOR_SRB_ERROR;
    }
}

void storvsp_complete(StorRequest *req, const StorResult *result)
{
    StorItem *item = (StorItem *)req;
    StorChannel *ch = req->channel;
    StorResult full = *result;

    g_queue_unlink(&ch->in_flight, &item->link);
    stor_count(&ch->completed);
    if (ch->closing) {
        stor_item_free(item);
        return;
    }
    full.srb_status = srb_status(result);
    full.transferred = MIN(result->transferred, req->data_len);
    item->answer.trans_id = item->trans_id;
    item->answer.len = item->answer_len;
    fill_answer(&item->answer, &item->srb, &full,
                !(item->srb.srb_flags & STOR_SRB_FLAG_DISABLE_AUTOSENSE));
    stor_item_queue(item, &ch->done);
    stor_send_waiting(ch);
    stor_wake(ch);
}

StorRequest *storvsp_find(StorChannel *ch, uint64_t id)
{
    for (GList *l = ch->in_flight.head; l; l = l->next) {
        StorItem *item = l->data;

        if (item->pub.id == id) {
            return &item->pub;
        }
    }
    return NULL;
}

void stor_resubmit(StorChannel *ch)
{
    /* Those submitted may end at once, and others with them. */
    for (;;) {
        GList *l = ch->in_flight.head;

        while (l && (((StorItem *)l->data)->pub.machine ||
                     ((StorItem *)l->data)->submitted)) {
            l = l->next;
        }
        if (!l) {
            return;
        }
        ((StorItem *)l->data)->submitted = true;
        ch->vsp->ops->submit(ch->vsp->opaque, &((StorItem *)l->data)->pub);
    }
}

void storvsp_cancel(StorChannel *ch)
{
    StorItem *item;

    ch->closing = true;
    while ((item = g_queue_peek_head(&ch->done))) {
        g_queue_unlink(&ch->done, &item->link);
        stor_item_free(item);
    }
    /* Those that do not end at once go to the back. */
    while ((item = g_queue_peek_head(&ch->in_flight)) && !item->cancelled) {
        item->cancelled = true;
        g_queue_unlink(&ch->in_flight, &item->link);
        g_queue_push_tail_link(&ch->in_flight, &item->link);
        ch->vsp->ops->cancel(ch->vsp->opaque, &item->pub);
    }
}

void stor_forget_items(StorChannel *ch)
{
    GQueue *queues[] = {&ch->in_flight, &ch->done};

    for (unsigned i = 0; i < G_N_ELEMENTS(queues); i++) {
        GList *l;

        while ((l = g_queue_pop_head_link(queues[i]))) {
            g_free(l->data);
        }
    }
    ch->segments = 0;
    stor_note_unanswered(ch);
}

/* Units that are not there */

/*
 * A guest that looks for units takes an error of INQUIRY for a success (Linux
 * 6.1 does), so the data must say that there is none: qualifier 3, type 1fh.
 * REPORT LUNS gives an empty list, and spares the guest 255 questions.
 */
void storvsp_answer_absent(const StorRequest *req, uint8_t *data,
                           StorResult *result)
{
    uint32_t len = 0;

    memset(data, 0, STOR_ABSENT_DATA);
    *result = (StorResult){.srb_status = STOR_SRB_SUCCESS};
    if (req->cdb[0] == SCSI_REPORT_LUNS) {
        len = 8;
    } else if (req->cdb[0] == SCSI_INQUIRY && !(req->cdb[1] & 1)) {
        data[0] = 0x7f;
        data[2] = 5; /* SPC-3 */
        data[3] = 2; /* format of this data */
        data[4] = STOR_ABSENT_DATA - 5;
        len = STOR_ABSENT_DATA;
    } else if (req->cdb[0] == SCSI_INQUIRY) {
        storvsp_check_condition(result, STOR_SRB_INVALID_REQUEST,
                                SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
        return;
    } else {
        result->srb_status = STOR_SRB_INVALID_LUN;
        return;
    }
    if (req->data_in == STOR_DATA_IN) {
        result->transferred = MIN(len, req->data_len);
    }
}
