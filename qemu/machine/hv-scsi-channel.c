/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The channels of an adapter, and their threads. */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "block/aio-wait.h"
#include "hw/resettable.h"
#include "hw/virtio/iothread-vq-mapping.h"
#include "qapi/error.h"
#include "system/block-backend.h"
#include "hv-listen.h"
#include "hv-scsi.h"
#include "trace/trace-hw_vmbus.h"

static HvScsiChannel *channel_of(HvScsi *s, const StorChannel *channel)
{
    return &s->channels[storvsp_channel_index(channel)];
}

static bool in_main_loop(const HvScsiChannel *c)
{
    return c->ctx == qemu_get_aio_context();
}

/* Calls @fn on the channel's thread, and waits for it. */
static void call(HvScsiChannel *c, QEMUBHFunc *fn, void *arg)
{
    if (in_main_loop(c)) {
        fn(arg);
    } else {
        aio_wait_bh_oneshot(c->ctx, fn, arg);
    }
}

/* On the channel's thread */

static void take_turn(void *opaque)
{
    HvScsiChannel *c = opaque;
    StorChannel *channel = storvsp_channel(c->scsi->vsp, c->index);
    HvScsiWork work = c->work;

    if (!channel) {
        return;
    }
    if (qatomic_load_acquire(&c->work_done)) {
        c->work_done = false;
        c->work = HV_SCSI_NO_WORK;
        if (work == HV_SCSI_RESET) {
            storvsp_reset_done(channel);
        } else {
            storvsp_subchannels_offered(channel, c->why);
        }
    }
    storvsp_run(channel);
}

void hv_scsi_run_later(void *opaque, StorChannel *channel)
{
    qemu_bh_schedule(channel_of(opaque, channel)->turn_bh);
}

void hv_scsi_reset(void *opaque, StorChannel *channel, const StorReset *reset)
{
    HvScsiChannel *c = channel_of(opaque, channel);

    c->work = HV_SCSI_RESET;
    c->reset = *reset;
    qemu_bh_schedule(c->work_bh);
}

void hv_scsi_offer_subchannels(void *opaque, StorChannel *channel,
                               uint16_t count)
{
    HvScsiChannel *c = channel_of(opaque, channel);

    c->work = HV_SCSI_OFFER_SUBCHANNELS;
    c->count = count;
    qemu_bh_schedule(c->work_bh);
}

/* In the main loop, for a channel */

static void reset_units(HvScsi *s, const StorReset *reset)
{
    SCSIDevice *dev;

    trace_hv_scsi_reset(reset->kind == STOR_RESET_ALL, reset->target,
                        reset->lun);
    if (reset->kind == STOR_RESET_ALL) {
        bus_cold_reset(BUS(&s->bus));
        return;
    }
    dev = scsi_device_get(&s->bus, reset->path, reset->target, reset->lun);
    if (dev && dev->lun == reset->lun) {
        device_cold_reset(DEVICE(dev));
    }
    if (dev) {
        object_unref(OBJECT(dev));
    }
}

static void do_work(void *opaque)
{
    HvScsiChannel *c = opaque;
    HvScsi *s = c->scsi;

    c->why = NULL;
    if (c->work == HV_SCSI_RESET) {
        reset_units(s, &c->reset);
    } else if (c->work == HV_SCSI_OFFER_SUBCHANNELS) {
        vmbus_channel_offer_subchannels(VMBUS_DEVICE(s)->chan, c->count,
                                        &hv_scsi_channel_ops, s, &c->why);
    }
    /* A reset waits for requests; a broken ring is closed meanwhile. */
    if (c->work != HV_SCSI_NO_WORK) {
        qatomic_store_release(&c->work_done, true);
        qemu_bh_schedule(c->turn_bh);
    }
}

/* The bus's calls */

typedef struct Opening {
    HvScsi *scsi;
    VmbusChannel *chan;
    bool accepted;
} Opening;

static void open_channel(void *opaque)
{
    Opening *o = opaque;

    o->accepted = storvsp_channel_ops.open(o->chan, o->scsi->vsp);
}

static bool channel_open(VmbusChannel *chan, void *opaque)
{
    HvScsi *s = opaque;
    unsigned index = vmbus_channel_index(chan);
    Opening o = {s, chan, false};

    if (index >= STOR_MAX_CHANNELS || !s->channels[index].ctx) {
        return false;
    }
    hv_channel_set_aio_context(chan, s->channels[index].ctx);
    call(&s->channels[index], open_channel, &o);
    return o.accepted;
}

static void cancel_requests(void *opaque)
{
    HvScsiChannel *c = opaque;

    qatomic_set(&c->closing, true);
    storvsp_cancel(storvsp_channel(c->scsi->vsp, c->index));
}

static bool has_requests(HvScsiChannel *c)
{
    StorChannelInfo info;

    storvsp_channel_info(storvsp_channel(c->scsi->vsp, c->index), &info);
    return info.in_flight;
}

/*
 * A request that a limit of its disk holds back cannot be cancelled, but goes
 * on at once when the disk is drained.
 */
static void drain_disks(HvScsi *s)
{
    g_autoptr(GPtrArray) disks =
        g_ptr_array_new_with_free_func((GDestroyNotify)blk_unref);
    BusChild *child;

    QTAILQ_FOREACH(child, &BUS(&s->bus)->children, sibling) {
        BlockBackend *blk = SCSI_DEVICE(child->child)->conf.blk;

        if (blk) {
            blk_ref(blk);
            g_ptr_array_add(disks, blk);
        }
    }
    for (unsigned i = 0; i < disks->len; i++) {
        blk_drain(disks->pdata[i]);
    }
}

static void close_channel(void *opaque)
{
    Opening *o = opaque;
    HvScsiChannel *c = &o->scsi->channels[vmbus_channel_index(o->chan)];

    c->work = HV_SCSI_NO_WORK;
    c->work_done = false;
    qatomic_set(&c->closing, false);
    storvsp_channel_ops.close(o->chan, o->scsi->vsp);
}

/*
 * When it returns, the guest may use the memory of its requests for other
 * things; so this waits until disks leave it alone.
 */
static void channel_close(VmbusChannel *chan, void *opaque)
{
    HvScsi *s = opaque;
    HvScsiChannel *c = &s->channels[vmbus_channel_index(chan)];
    Opening o = {s, chan, false};

    call(c, cancel_requests, c);
    if (has_requests(c)) {
        drain_disks(s);
    }
    AIO_WAIT_WHILE_UNLOCKED(NULL, has_requests(c));
    qemu_bh_cancel(c->work_bh);
    call(c, close_channel, &o);
}

static void channel_signal(VmbusChannel *chan, void *opaque)
{
    storvsp_channel_ops.signal(chan, ((HvScsi *)opaque)->vsp);
}

const VmbusChannelOps hv_scsi_channel_ops = {
    .open = channel_open,
    .close = channel_close,
    .signal = channel_signal,
};

/* The device's calls */

static bool choose_threads(HvScsi *s, AioContext **ctx, unsigned count,
                           Error **errp)
{
    if (s->iothread && s->iothread_mapping) {
        error_setg(errp, "iothread and iothread-vq-mapping are two ways to say "
                         "the same: give one of them");
        return false;
    }
    if (s->iothread_mapping) {
        return iothread_vq_mapping_apply(s->iothread_mapping, ctx, count, errp);
    }
    if (s->iothread) {
        object_ref(OBJECT(s->iothread));
    }
    for (unsigned i = 0; i < count; i++) {
        ctx[i] = s->iothread ? iothread_get_aio_context(s->iothread)
                             : qemu_get_aio_context();
    }
    return true;
}

bool hv_scsi_channels_init(HvScsi *s, unsigned count, Error **errp)
{
    AioContext *ctx[STOR_MAX_CHANNELS] = {0};

    if (!choose_threads(s, ctx, count, errp)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        HvScsiChannel *c = &s->channels[i];

        *c = (HvScsiChannel){.scsi = s, .index = i, .ctx = ctx[i]};
        c->turn_bh = aio_bh_new(c->ctx, take_turn, c);
        c->work_bh = qemu_bh_new(do_work, c);
    }
    return true;
}

static void nothing(void *opaque)
{
}

void hv_scsi_channels_cleanup(HvScsi *s)
{
    for (unsigned i = 0; i < STOR_MAX_CHANNELS && s->channels[i].ctx; i++) {
        HvScsiChannel *c = &s->channels[i];

        qemu_bh_delete(c->work_bh);
        qemu_bh_delete(c->turn_bh);
        /* It may be taking a turn. */
        call(c, nothing, NULL);
        c->ctx = NULL;
    }
    if (s->iothread_mapping) {
        iothread_vq_mapping_cleanup(s->iothread_mapping);
    }
    if (s->iothread) {
        object_unref(OBJECT(s->iothread));
    }
}

void hv_scsi_channels_loaded(HvScsi *s)
{
    VmbusChannel *primary = VMBUS_DEVICE(s)->chan;

    if (!vmbus_channel_is_open(primary)) {
        return;
    }
    vmbus_channel_adopt_subchannels(primary, &hv_scsi_channel_ops, s);
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        if (storvsp_channel(s->vsp, i)) {
            hv_channel_set_aio_context(i ? vmbus_channel_subchannel(primary, i)
                                         : primary,
                                       s->channels[i].ctx);
        }
    }
}

void hv_scsi_sum(HvScsi *s, StorChannelInfo *sum)
{
    *sum = (StorChannelInfo){0};
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        StorChannel *channel = storvsp_channel(s->vsp, i);
        StorChannelInfo one;

        if (channel) {
            storvsp_channel_info(channel, &one);
            sum->in_flight += one.in_flight;
            sum->requests += one.requests;
            sum->completed += one.completed;
            sum->refused += one.refused;
            if (!sum->last_refusal) {
                sum->last_refusal = one.last_refusal;
            }
        }
    }
}

void hv_scsi_pause(HvScsi *s)
{
    storvsp_pause(s->vsp);
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        if (storvsp_channel(s->vsp, i)) {
            call(&s->channels[i], nothing, NULL);
        }
    }
}

void hv_scsi_finish_work(HvScsi *s)
{
    for (unsigned i = 0; i < STOR_MAX_CHANNELS; i++) {
        HvScsiChannel *c = &s->channels[i];

        if (!storvsp_channel(s->vsp, i)) {
            continue;
        }
        if (c->work != HV_SCSI_NO_WORK && !qatomic_read(&c->work_done)) {
            qemu_bh_cancel(c->work_bh);
            do_work(c);
        }
        call(c, take_turn, c);
    }
}
