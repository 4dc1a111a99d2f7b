/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests between the storage service and QEMU's SCSI devices.  Data goes
 * from and to the guest's pages without a copy where the device allows it.
 */
#include "qemu/osdep.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "block/aio-wait.h"
#include "exec/address-spaces.h"
#include "migration/qemu-file-types.h"
#include "scsi/constants.h"
#include "system/dma.h"
#include "guest-mem.h"
#include "hv-scsi.h"
#include "trace/trace-hw_vmbus.h"

/* SCSIRequest.hba_private and StorRequest.machine, until one of them ends. */
typedef struct HvScsiRequest {
    StorRequest *req;
    SCSIRequest *sreq; /* referenced */
    QEMUSGList sg;
} HvScsiRequest;

static void flush(void *channel)
{
    storvsp_flush(channel);
}

static void complete(HvScsi *s, StorRequest *req, const StorResult *result)
{
    StorChannel *channel = req->channel;
    unsigned index = storvsp_channel_index(channel);

    trace_hv_scsi_complete(index, req->id, result->srb_status,
                           result->scsi_status, result->transferred);
    storvsp_complete(req, result);
    if (qatomic_read(&s->channels[index].closing)) {
        aio_wait_kick();
    } else {
        /* Of requests that end together the guest hears once. */
        defer_call(flush, channel);
    }
}

/* The adapter of a SCSI device's bus. */
static HvScsi *adapter(const SCSIBus *bus)
{
    return container_of(bus, HvScsi, bus);
}

static HvScsiRequest *attach(StorRequest *req, SCSIRequest *sreq)
{
    HvScsiRequest *hr = g_new0(HvScsiRequest, 1);
    DeviceState *dev = sreq->bus->qbus.parent;
    uint64_t left = MIN(req->data_len, sreq->cmd.xfer);

    hr->req = req;
    hr->sreq = scsi_req_ref(sreq);
    qemu_sglist_init(&hr->sg, dev, req->segment_count, &address_space_memory);
    for (uint32_t i = 0; i < req->segment_count && left; i++) {
        uint64_t len = MIN(req->segments[i].len, left);

        qemu_sglist_add(&hr->sg, req->segments[i].gpa, len);
        left -= len;
    }
    req->machine = hr;
    return hr;
}

/* Ends it for the guest; QEMU may still hold @sreq. */
static void finish(SCSIRequest *sreq, const StorResult *result)
{
    HvScsiRequest *hr = sreq->hba_private;
    StorRequest *req = hr->req;

    sreq->hba_private = NULL;
    qemu_sglist_destroy(&hr->sg);
    g_free(hr);
    complete(adapter(sreq->bus), req, result);
    scsi_req_unref(sreq);
}

static void abort_request(SCSIRequest *sreq)
{
    const StorResult aborted = {.srb_status = STOR_SRB_ABORTED};

    if (sreq->hba_private) {
        finish(sreq, &aborted);
    }
}

/* From the guest */

static void answer_absent(HvScsi *s, StorRequest *req)
{
    uint8_t data[STOR_ABSENT_DATA];
    StorResult result;
    uint32_t done = 0;

    storvsp_answer_absent(req, data, &result);
    for (uint32_t i = 0; done < result.transferred; i++) {
        uint32_t len = MIN(req->segments[i].len, result.transferred - done);

        dma_memory_write(&address_space_memory, req->segments[i].gpa,
                         data + done, len, MEMTXATTRS_UNSPECIFIED);
        done += len;
    }
    complete(s, req, &result);
}

static bool memory_is_good(const StorRequest *req)
{
    for (uint32_t i = 0; i < req->segment_count; i++) {
        if (!guest_mem_is_ram(req->segments[i].gpa, req->segments[i].len,
                              req->data_in == STOR_DATA_IN)) {
            return false;
        }
    }
    return true;
}

/* Does the command transfer what the request has room for, that way? */
static bool transfer_is_good(const StorRequest *req, const SCSICommand *cmd)
{
    switch (cmd->mode) {
    case SCSI_XFER_FROM_DEV:
        return req->data_in == STOR_DATA_IN && cmd->xfer <= req->data_len;
    case SCSI_XFER_TO_DEV:
        return req->data_in == STOR_DATA_OUT && cmd->xfer <= req->data_len;
    default:
        return true;
    }
}

static void refuse(HvScsi *s, StorRequest *req, uint8_t srb_status)
{
    const SCSISense sense = SENSE_CODE(INVALID_FIELD);
    StorResult result;

    storvsp_check_condition(&result, srb_status, sense.key, sense.asc,
                            sense.ascq);
    complete(s, req, &result);
}

static void submit_to(HvScsi *s, SCSIDevice *dev, StorRequest *req)
{
    SCSIRequest *sreq =
        scsi_req_new(dev, req->id, req->lun, req->cdb, req->cdb_length, NULL);

    if (!transfer_is_good(req, &sreq->cmd)) {
        scsi_req_unref(sreq);
        refuse(s, req, STOR_SRB_DATA_OVERRUN);
        return;
    }
    sreq->hba_private = attach(req, sreq);
    if (scsi_req_enqueue(sreq)) {
        scsi_req_continue(sreq);
    }
    scsi_req_unref(sreq);
}

void hv_scsi_submit(void *opaque, StorRequest *req)
{
    HvScsi *s = opaque;
    SCSIDevice *dev = NULL;

    trace_hv_scsi_submit(storvsp_channel_index(req->channel), req->id,
                         req->target, req->lun, req->cdb[0], req->data_len);
    if (!memory_is_good(req)) {
        refuse(s, req, STOR_SRB_INVALID_REQUEST);
        return;
    }
    if (!qatomic_read(&s->leaving)) {
        dev = scsi_device_get(&s->bus, req->path, req->target, req->lun);
    }
    /* Any unit of a target tells which there are; nothing else does. */
    if (!dev || (dev->lun != req->lun && req->cdb[0] != REPORT_LUNS)) {
        answer_absent(s, req);
    } else {
        submit_to(s, dev, req);
    }
    if (dev) {
        object_unref(OBJECT(dev));
    }
}

void hv_scsi_cancel(void *opaque, StorRequest *req)
{
    const StorResult aborted = {.srb_status = STOR_SRB_ABORTED};
    HvScsiRequest *hr = req->machine;

    if (!hr) { /* loaded, and not begun yet */
        complete(opaque, req, &aborted);
    } else if (!hr->sreq->io_canceled) {
        scsi_req_cancel_async(hr->sreq, NULL);
    }
}

/* From the device */

static void request_complete(SCSIRequest *sreq, size_t residual)
{
    HvScsiRequest *hr = sreq->hba_private;
    StorResult result = {.srb_status = STOR_SRB_SUCCESS,
                         .scsi_status = sreq->status};
    uint8_t sense[SCSI_SENSE_BUF_SIZE];

    if (!hr) {
        return;
    }
    if (sreq->status == GOOD) {
        result.transferred = sreq->cmd.xfer - MIN(residual, sreq->cmd.xfer);
    } else {
        int len = scsi_req_get_sense(sreq, sense, sizeof(sense));

        result.sense_length = MIN(len, STOR_MAX_SENSE);
        memcpy(result.sense, sense, result.sense_length);
    }
    finish(sreq, &result);
}

static void request_failed(SCSIRequest *sreq)
{
    StorResult result = {.srb_status = STOR_SRB_ERROR};

    switch (sreq->host_status) {
    case SCSI_HOST_NO_LUN:
        result.srb_status = STOR_SRB_INVALID_LUN;
        break;
    case SCSI_HOST_BUSY:
        result.srb_status = STOR_SRB_BUSY;
        break;
    case SCSI_HOST_ABORTED:
    case SCSI_HOST_RESET:
    case SCSI_HOST_TIME_OUT:
        result.srb_status = STOR_SRB_ABORTED;
        break;
    case SCSI_HOST_RESERVATION_ERROR:
        result.scsi_status = RESERVATION_CONFLICT;
        break;
    default:
        break;
    }
    if (sreq->hba_private) {
        finish(sreq, &result);
    }
}

static QEMUSGList *request_sg_list(SCSIRequest *sreq)
{
    HvScsiRequest *hr = sreq->hba_private;

    return hr ? &hr->sg : NULL;
}

/* Only for a request without memory, which a damaged state may have made. */
static void transfer_data(SCSIRequest *sreq, uint32_t len)
{
    scsi_req_cancel(sreq);
}

static void bus_changed(SCSIBus *bus, SCSIDevice *dev, SCSISense sense)
{
    /* Linux asks each unit whether it is ready, and then hears. */
    storvsp_enumerate(adapter(bus)->vsp);
}

static void drained_begin(SCSIBus *bus)
{
    storvsp_pause(adapter(bus)->vsp);
}

static void drained_end(SCSIBus *bus)
{
    storvsp_unpause(adapter(bus)->vsp);
}

/* Migration: the service has the request, the SCSI device its progress. */

static void save_request(QEMUFile *f, SCSIRequest *sreq)
{
    HvScsiRequest *hr = sreq->hba_private;

    qemu_put_be32(f, storvsp_channel_index(hr->req->channel));
    qemu_put_be64(f, hr->req->id);
}

static void *load_request(QEMUFile *f, SCSIRequest *sreq)
{
    HvScsi *s = adapter(sreq->bus);
    StorChannel *channel = storvsp_channel(s->vsp, qemu_get_be32(f));
    uint64_t id = qemu_get_be64(f);
    StorRequest *req = channel ? storvsp_find(channel, id) : NULL;

    if (!req || req->machine || !transfer_is_good(req, &sreq->cmd) ||
        memcmp(sreq->cmd.buf, req->cdb, sreq->cmd.len) ||
        !memory_is_good(req)) {
        error_report("hv-scsi: the saved state of a disk has a request that "
                     "the adapter's does not have");
        return NULL;
    }
    /* QEMU would go on with it in the main loop. */
    sreq->ctx = s->channels[storvsp_channel_index(channel)].ctx;
    return attach(req, sreq);
}

const SCSIBusInfo hv_scsi_bus_info = {
    .tcq = true,
    .max_channel = 0,
    .max_target = HV_SCSI_MAX_TARGET,
    .max_lun = HV_SCSI_MAX_LUN,
    .transfer_data = transfer_data,
    .complete = request_complete,
    .fail = request_failed,
    .cancel = abort_request,
    .change = bus_changed,
    .get_sg_list = request_sg_list,
    .save_request = save_request,
    .load_request = load_request,
    .drained_begin = drained_begin,
    .drained_end = drained_end,
};
