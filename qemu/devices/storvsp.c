/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/vmbus-protocol.h"
#include "devices/storvsp-internal.h"

#include <string.h>

/*
 * Packets that are read in a turn.  A guest that sends without end would
 * otherwise keep the host's thread for itself.
 */
#define STOR_TURN 512

const VmbusOffer storvsp_scsi_offer = {
    .name = "scsi",
    .class_id = STOR_SCSI_CLASS,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
};

const VmbusOffer storvsp_fc_offer = {
    .name = "fibre channel",
    .class_id = STOR_FC_CLASS,
    .flags = VMBUS_OFFER_ENUMERATE_INTERFACE,
};

const char *storvsp_phase_name(StorPhase phase)
{
    static const char *const names[] = {
        [STOR_CLOSED] = "closed",       [STOR_OPEN] = "open",
        [STOR_BEGUN] = "begun",         [STOR_VERSIONED] = "versioned",
        [STOR_DESCRIBED] = "described", [STOR_READY] = "ready",
    };

    return (unsigned)phase < G_N_ELEMENTS(names) ? names[phase] : "unknown";
}

/* What each operation of the guest needs. */
typedef struct StorOperationRule {
    uint8_t phases; /* bits of StorPhase; 0: the guest never sends it */
    uint8_t min_body;
    bool any_channel; /* not the primary one alone */
    uint16_t min_version;
    StorHandler *handler;
} StorOperationRule;

#define IN(phase) (1u << (phase))
static const StorOperationRule rules[STOR_OPERATION_COUNT] = {
    [STOR_BEGIN_INITIALIZATION] = {.phases = IN(STOR_OPEN),
                                   .handler = stor_begin_initialization},
    [STOR_QUERY_PROTOCOL_VERSION] = {.phases = IN(STOR_BEGUN),
                                     .min_body = sizeof(StorVersion),
                                     .handler = stor_query_version},
    [STOR_QUERY_PROPERTIES] = {.phases = IN(STOR_VERSIONED),
                               .handler = stor_query_properties},
    [STOR_FCHBA_DATA] = {.phases = IN(STOR_DESCRIBED) | IN(STOR_READY),
                         .handler = stor_fchba_data},
    /* Linux asks when initialization has ended; OpenVMM's tests before. */
    [STOR_CREATE_SUB_CHANNELS] = {.phases = IN(STOR_DESCRIBED) | IN(STOR_READY),
                                  .min_body = sizeof(uint16_t),
                                  .min_version = STOR_VERSION_5_1,
                                  .handler = stor_create_subchannels},
    [STOR_END_INITIALIZATION] = {.phases = IN(STOR_DESCRIBED),
                                 .handler = stor_end_initialization},
    [STOR_EXECUTE_SRB] = {.phases = IN(STOR_READY),
                          .min_body = STOR_SRB_SIZE_4_2,
                          .any_channel = true,
                          .handler = stor_execute_srb},
    [STOR_RESET_LUN] = {.phases = IN(STOR_READY),
                        .min_body = offsetof(StorSrb, cdb_length),
                        .any_channel = true,
                        .handler = stor_reset_lun},
    [STOR_RESET_ADAPTER] = {.phases = IN(STOR_READY),
                            .any_channel = true,
                            .handler = stor_reset_all},
    [STOR_RESET_BUS] = {.phases = IN(STOR_READY),
                        .any_channel = true,
                        .handler = stor_reset_all},
};

bool stor_version_known(uint16_t version)
{
    return version == STOR_VERSION_4_2 || version == STOR_VERSION_5_1 ||
           version == STOR_VERSION_6_0 || version == STOR_VERSION_6_2;
}

uint32_t stor_packet_size(const StorVsp *vsp)
{
    return g_atomic_int_get(&vsp->version) < STOR_VERSION_5_1
               ? STOR_PACKET_SIZE_4_2
               : sizeof(StorPacket);
}

/* Sending */

bool stor_send(StorChannel *ch, uint16_t type, const StorAnswer *answer)
{
    struct iovec iov = {(void *)&answer->packet, answer->len};

    if (!ch->chan) {
        return false;
    }
    switch (vmbus_channel_send(ch->chan, type, 0, answer->trans_id, &iov, 1)) {
    case VMBUS_RING_OK:
        ch->unflushed = true;
        return true;
    case VMBUS_RING_FULL:
        return false;
    default: /* the channel is closed: nobody waits for it */
        return true;
    }
}

/*
 * Not before the first request: Linux 6.1's storvsc_probe() makes the queue for
 * the work after initialization, and dies of an ENUMERATE_BUS in between.
 */
static bool send_enumerate(StorChannel *ch)
{
    StorVsp *vsp = ch->vsp;
    StorAnswer answer = {.len = stor_packet_size(vsp)};

    if (ch->index || stor_phase(vsp) != STOR_READY ||
        !g_atomic_int_get(&vsp->asked) ||
        !g_atomic_int_compare_and_exchange(&vsp->enumerate, 1, 0)) {
        return true;
    }
    answer.packet.header.operation = STOR_ENUMERATE_BUS;
    if (!stor_send(ch, VMBUS_PKT_DATA_INBAND, &answer)) {
        g_atomic_int_set(&vsp->enumerate, 1);
        return false;
    }
    stor_count(&vsp->enumerations);
    return true;
}

static bool send_done(StorChannel *ch)
{
    StorItem *item;

    while ((item = g_queue_peek_head(&ch->done))) {
        g_queue_unlink(&ch->done, &item->link);
        if (!stor_send(ch, VMBUS_PKT_COMP, &item->answer)) {
            g_queue_push_head_link(&ch->done, &item->link);
            return false;
        }
        stor_item_free(item);
    }
    return true;
}

bool stor_send_waiting(StorChannel *ch)
{
    if (!send_done(ch)) {
        return false;
    }
    if (ch->reply_waits) {
        ch->reply_waits = false;
        if (!stor_send(ch, VMBUS_PKT_COMP, &ch->reply)) {
            ch->reply_waits = true;
            return false;
        }
    }
    return send_enumerate(ch);
}

static void reply(StorChannel *ch, const StorAnswer *answer)
{
    if (!stor_send_waiting(ch) || !stor_send(ch, VMBUS_PKT_COMP, answer)) {
        ch->reply = *answer;
        ch->reply_waits = ch->open;
    }
}

void stor_reply_now(StorChannel *ch)
{
    ch->reply_waits = true;
    stor_send_waiting(ch);
    stor_wake(ch);
}

void storvsp_flush(StorChannel *ch)
{
    /* One flush does at the end of a run. */
    if (ch->unflushed && ch->chan && !ch->running) {
        ch->unflushed = false;
        vmbus_channel_flush(ch->chan);
    }
}

/* Resets */

static const char *begin_reset(StorChannel *ch, StorCall *call,
                               StorResetKind kind)
{
    ch->reset = (StorReset){kind, call->in.srb.path, call->in.srb.target,
                            call->in.srb.lun};
    ch->reply = call->out;
    ch->resetting = true;
    ch->reset_submitted = true;
    call->later = true;
    ch->vsp->ops->reset(ch->vsp->opaque, ch, &ch->reset);
    return NULL;
}

const char *stor_reset_lun(StorChannel *ch, StorCall *call)
{
    return begin_reset(ch, call, STOR_RESET_ONE_LUN);
}

const char *stor_reset_all(StorChannel *ch, StorCall *call)
{
    return begin_reset(ch, call, STOR_RESET_ALL);
}

void storvsp_reset_done(StorChannel *ch)
{
    if (ch->resetting) {
        ch->resetting = false;
        stor_reply_now(ch);
    }
}

/* Packets of the guest */

void stor_refused(StorChannel *ch, const char *why)
{
    stor_count(&ch->refused);
    g_atomic_pointer_set(&ch->last_refusal, why);
    if (ch->vsp->ops->refused) {
        ch->vsp->ops->refused(ch->vsp->opaque, ch, why);
    }
}

/* Why the guest may not send @call now; the answer's status is set. */
static const char *validate(const StorChannel *ch, StorCall *call)
{
    uint32_t operation = call->in.header.operation;
    uint32_t *status = &call->out.packet.header.status;
    const StorOperationRule *rule;

    *status = STOR_STATUS_INVALID_PARAMETER;
    if (call->pkt->data_len < sizeof(StorHeader)) {
        return "A storage packet is shorter than its header.";
    }
    *status = STOR_STATUS_INVALID_DEVICE_REQUEST;
    if (operation >= STOR_OPERATION_COUNT || !operation) {
        return "A storage packet has an unknown operation.";
    }
    rule = &rules[operation];
    if (!rule->phases) {
        return "The guest sent a storage packet that only the host sends.";
    }
    if (ch->index && !rule->any_channel) {
        return "The guest sent a storage packet on a sub-channel that is for "
               "the primary channel.";
    }
    *status = STOR_STATUS_INVALID_DEVICE_STATE;
    if (!(rule->phases & IN(stor_phase(ch->vsp)))) {
        return "A storage packet is out of the order of initialization.";
    }
    *status = STOR_STATUS_INVALID_DEVICE_REQUEST;
    if (g_atomic_int_get(&ch->vsp->version) < rule->min_version) {
        return "A storage packet needs a later version of the protocol.";
    }
    *status = STOR_STATUS_INVALID_PARAMETER;
    if (call->pkt->data_len < sizeof(StorHeader) + rule->min_body) {
        return "A storage packet is too short for its operation.";
    }
    *status = STOR_STATUS_SUCCESS;
    return NULL;
}

/* Packets that can't be answered. */
static const char *unanswerable(const VmbusPacket *pkt)
{
    if (pkt->type != VMBUS_PKT_DATA_INBAND &&
        pkt->type != VMBUS_PKT_DATA_GPA_DIRECT) {
        return "A storage packet is of a type that has no answer.";
    }
    if (!(pkt->flags & VMBUS_PKT_FLAG_COMPLETION_REQUESTED)) {
        return "A storage packet does not ask for an answer.";
    }
    return NULL;
}

static void handle_packet(StorChannel *ch, const VmbusPacket *pkt)
{
    uint32_t len = MIN(pkt->data_len, sizeof(StorPacket));
    StorCall call = {
        .pkt = pkt,
        .out.trans_id = pkt->trans_id,
        /* As long as the question: Windows and Linux check that. */
        .out.len = MAX(len, STOR_PACKET_SIZE_4_2),
        .out.packet.header.operation = STOR_COMPLETE_IO,
    };
    const char *why = unanswerable(pkt);

    if (why) {
        stor_refused(ch, why);
        return;
    }
    memcpy(&call.in, pkt->data, len);
    why = validate(ch, &call);
    if (!why) {
        why = rules[call.in.header.operation].handler(ch, &call);
    } else if (call.in.header.operation == STOR_EXECUTE_SRB) {
        stor_refuse_srb(&call);
    }
    if (why) {
        stor_refused(ch, why);
    }
    if (!call.later) {
        reply(ch, &call.out);
    }
}

static bool may_read(StorChannel *ch)
{
    if (!ch->chan || ch->closing) {
        return false;
    }
    if (g_atomic_int_get(&ch->vsp->pauses) || ch->reply_waits ||
        ch->resetting || ch->offering ||
        stor_unanswered(ch) >= STOR_MAX_REQUESTS ||
        ch->segments >= STOR_MAX_SEGMENTS) {
        ch->stalled = true;
        vmbus_channel_hold(ch->chan);
        return false;
    }
    return true;
}

void stor_wake(StorChannel *ch)
{
    if (ch->stalled && stor_unanswered(ch) <= STOR_MAX_REQUESTS / 4 * 3 &&
        ch->segments <= STOR_MAX_SEGMENTS / 4 * 3) {
        ch->stalled = false;
        ch->vsp->ops->run_later(ch->vsp->opaque, ch);
    }
}

static void restart_loaded(StorChannel *ch)
{
    if (g_atomic_int_get(&ch->vsp->pauses)) {
        return;
    }
    if (ch->resubmit) {
        ch->resubmit = false;
        stor_resubmit(ch);
    }
    if (ch->resetting && !ch->reset_submitted) {
        ch->reset_submitted = true;
        ch->vsp->ops->reset(ch->vsp->opaque, ch, &ch->reset);
    }
}

void storvsp_run(StorChannel *ch)
{
    VmbusPacket pkt;
    unsigned turn = 0;

    /* The machine may run its loop in submit() or reset(). */
    if (ch->running) {
        ch->stalled = true;
        return;
    }
    ch->running = true;
    ch->stalled = false;
    if (ch->vsp->ops->begin_batch) {
        ch->vsp->ops->begin_batch(ch->vsp->opaque);
    }
    restart_loaded(ch);
    stor_send_waiting(ch);
    while (may_read(ch)) {
        if (turn++ == STOR_TURN) {
            ch->vsp->ops->run_later(ch->vsp->opaque, ch);
            break;
        }
        if (vmbus_channel_receive(ch->chan, &pkt) != VMBUS_RING_OK) {
            break;
        }
        handle_packet(ch, &pkt);
    }
    /* For what was wished while a packet was handled. */
    stor_send_waiting(ch);
    if (ch->vsp->ops->end_batch) {
        ch->vsp->ops->end_batch(ch->vsp->opaque);
    }
    ch->running = false;
    storvsp_flush(ch);
}

/* The channel's calls */

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    StorVsp *vsp = opaque;
    unsigned index = vmbus_channel_index(chan);
    StorChannel *ch;

    if (index >= STOR_MAX_CHANNELS || vsp->channels[index].open) {
        return false;
    }
    ch = &vsp->channels[index];
    ch->chan = chan;
    ch->open = true;
    if (!index) {
        vsp->subchannels = 0;
        g_atomic_int_set(&vsp->version, 0);
        g_atomic_int_set(&vsp->asked, 0);
        g_atomic_int_set(&vsp->phase, STOR_OPEN);
    }
    return true;
}

static void channel_close(VmbusChannel *chan, void *opaque)
{
    StorVsp *vsp = opaque;
    StorChannel *ch = &vsp->channels[vmbus_channel_index(chan)];

    storvsp_cancel(ch);
    ch->open = ch->closing = false;
    ch->chan = NULL;
    ch->unflushed = ch->stalled = ch->resubmit = false;
    ch->reply_waits = ch->resetting = ch->offering = false;
    if (!ch->index) {
        vsp->subchannels = 0;
        g_atomic_int_set(&vsp->phase, STOR_CLOSED);
        g_atomic_int_set(&vsp->version, 0);
    }
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    StorVsp *vsp = opaque;
    StorChannel *ch = &vsp->channels[vmbus_channel_index(chan)];

    if (ch->open) {
        storvsp_run(ch);
    }
}

const VmbusChannelOps storvsp_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

/* The machine's calls */

StorVsp *storvsp_new(const StorVspConfig *config, const StorVspOps *ops,
                     void *opaque)
{
    StorVsp *vsp = g_new0(StorVsp, 1);

    vsp->config = *config;
    vsp->ops = ops;
    vsp->opaque = opaque;
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        vsp->channels[i].vsp = vsp;
        vsp->channels[i].index = i;
        g_queue_init(&vsp->channels[i].in_flight);
        g_queue_init(&vsp->channels[i].done);
    }
    return vsp;
}

void storvsp_free(StorVsp *vsp)
{
    /* What was loaded and never ran. */
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        stor_forget_items(&vsp->channels[i]);
    }
    g_free(vsp);
}

static void run_all_later(StorVsp *vsp)
{
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        if (vsp->channels[i].open) {
            vsp->ops->run_later(vsp->opaque, &vsp->channels[i]);
        }
    }
}

void storvsp_pause(StorVsp *vsp)
{
    g_atomic_int_inc(&vsp->pauses);
}

void storvsp_unpause(StorVsp *vsp)
{
    if (g_atomic_int_dec_and_test(&vsp->pauses)) {
        run_all_later(vsp);
    }
}

void storvsp_enumerate(StorVsp *vsp)
{
    if (stor_phase(vsp) == STOR_READY) {
        g_atomic_int_set(&vsp->enumerate, 1);
        vsp->ops->run_later(vsp->opaque, &vsp->channels[0]);
    }
}

StorChannel *storvsp_channel(StorVsp *vsp, unsigned index)
{
    return index < STOR_MAX_CHANNELS && vsp->channels[index].open
               ? &vsp->channels[index]
               : NULL;
}

unsigned storvsp_channel_index(const StorChannel *ch)
{
    return ch->index;
}

void storvsp_info(StorVsp *vsp, StorVspInfo *info)
{
    *info = (StorVspInfo){
        .phase = stor_phase(vsp),
        .version = g_atomic_int_get(&vsp->version),
        .enumerations = __atomic_load_n(&vsp->enumerations, __ATOMIC_RELAXED),
    };
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        info->channels += vsp->channels[i].open;
    }
}

void storvsp_channel_info(StorChannel *ch, StorChannelInfo *info)
{
    *info = (StorChannelInfo){
        .in_flight = __atomic_load_n(&ch->unanswered, __ATOMIC_RELAXED),
        .requests = __atomic_load_n(&ch->requests, __ATOMIC_RELAXED),
        .completed = __atomic_load_n(&ch->completed, __ATOMIC_RELAXED),
        .refused = __atomic_load_n(&ch->refused, __ATOMIC_RELAXED),
        .last_refusal = g_atomic_pointer_get(&ch->last_refusal),
    };
}
