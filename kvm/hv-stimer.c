/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Synthetic timers (TLFS 12.5).  A periodic timer that comes late skips the
 * periods that it missed; it never fires more often than every MIN_INTERVAL,
 * and at most one message of a timer waits for its slot.
 */
#include <errno.h>
#include <string.h>

#include "kvm/hv-vp.h"

/*
 * 100 µs.  A guest may ask for a period of 100 ns; that would keep the host
 * busy with nothing else.
 */
#define MIN_INTERVAL 1000

/*
 * 10 ms, after which a message that found its slot full is tried once more.
 * EOM comes earlier, but not always: a Linux with one processor leaves the lock
 * out of the instruction that frees the slot (vmbus_signal_eom), and so may
 * read the pending flag before the slot is seen to be free.  There the timer's
 * processor would sleep for ever.
 */
#define RETRY_INTERVAL 100000

static void wish(HvVp *vp, unsigned timer, uint64_t deadline)
{
    HvPartition *partition = vp->partition;

    partition->ops->set_deadline(partition->opaque, vp, timer, deadline);
}

static bool can_run(const HvStimerState *t)
{
    return t->config & HVB_STIMER_DIRECT_MODE ||
           HVB_STIMER_SINT(t->config) != 0;
}

/*
 * The first point after @now on the grid of @period through @base, and not
 * nearer than MIN_INTERVAL; HV_TIME_NEVER if there is none.
 */
static uint64_t next_period(uint64_t base, uint64_t period, uint64_t now)
{
    uint64_t earliest, missed, next;

    if (__builtin_add_overflow(now, MIN_INTERVAL, &earliest) ||
        __builtin_add_overflow(base, period, &next)) {
        return HV_TIME_NEVER;
    }
    if (next >= earliest) {
        return next;
    }
    missed = (earliest - next) / period + ((earliest - next) % period != 0);
    if (__builtin_mul_overflow(missed, period, &missed) ||
        __builtin_add_overflow(next, missed, &next)) {
        return HV_TIME_NEVER;
    }
    return next;
}

static int send_message(HvVp *vp, unsigned timer)
{
    HvPartition *partition = vp->partition;
    HvStimerState *t = &vp->s.stimer[timer];
    HvTimerPayload payload = {
        .timer_index = timer,
        .expiration = t->expiration,
        .delivery = hv_partition_time(partition),
    };
    HvMessage msg = {
        .type = HVMSG_TIMER_EXPIRED_TYPE,
        .payload_size = sizeof(payload),
    };

    memcpy(msg.payload, &payload, sizeof(payload));
    return partition->ops->post_message(partition->opaque, vp,
                                        HVB_STIMER_SINT(t->config), &msg);
}

/* When to look after a timer that has no deadline: a periodic one that runs
 * comes back by itself. */
static void look_again(HvVp *vp, unsigned timer, bool busy)
{
    if (!vp->s.stimer[timer].deadline) {
        wish(vp, timer,
             busy ? hv_partition_time(vp->partition) + RETRY_INTERVAL
                  : HV_TIME_NEVER);
    }
}

static void notify(HvVp *vp, unsigned timer)
{
    HvPartition *partition = vp->partition;
    HvStimerState *t = &vp->s.stimer[timer];
    uint8_t vector = HVB_STIMER_VECTOR(t->config);
    int result = 0;

    if (!(t->config & HVB_STIMER_DIRECT_MODE)) {
        result = send_message(vp, timer);
        /*
         * With the message page off the tick is lost, as on Hyper-V; but not
         * that of a timer which was started like that.  Linux that wakes up
         * from hibernation starts its timer first and its SynIC later, and
         * waits for that tick for ever.
         */
        t->pending =
            result == -EAGAIN || (result && vp->early_timers & 1u << timer);
    } else if (vector >= HV_ABI_FIRST_VECTOR) {
        partition->ops->assert_vector(partition->opaque, vp, vector);
    }
    look_again(vp, timer, result == -EAGAIN);
}

static void expire(HvVp *vp, unsigned timer, uint64_t now)
{
    HvStimerState *t = &vp->s.stimer[timer];

    /* While a message waits, it keeps the time of its own expiration. */
    if (!t->pending) {
        t->expiration = t->deadline;
    }
    if (t->config & HVB_STIMER_PERIODIC) {
        t->deadline = next_period(t->deadline, t->count, now);
        wish(vp, timer, t->deadline);
    } else {
        t->deadline = 0;
        t->config &= ~HVB_STIMER_ENABLE;
    }
    notify(vp, timer);
}

/* Starts or stops the timer by what its registers say now. */
static void restart(HvVp *vp, unsigned timer)
{
    HvStimerState *t = &vp->s.stimer[timer];
    uint64_t now;

    t->pending = 0;
    t->expiration = 0;
    t->deadline = 0;
    vp->early_timers &= ~(1u << timer);
    if (!(vp->s.scontrol & HVMSR_ENABLE) || !(vp->s.simp & HVMSR_ENABLE)) {
        vp->early_timers |= 1u << timer;
    }
    if (!(t->config & HVB_STIMER_ENABLE) || !t->count) {
        wish(vp, timer, HV_TIME_NEVER);
        return;
    }
    now = hv_partition_time(vp->partition);
    if (t->config & HVB_STIMER_PERIODIC) {
        t->deadline = next_period(now, t->count, now);
        wish(vp, timer, t->deadline);
        return;
    }
    t->deadline = t->count;
    if (now >= t->deadline) {
        expire(vp, timer, now);
    } else {
        wish(vp, timer, t->deadline);
    }
}

bool hv_stimer_write_config(HvVp *vp, unsigned timer, uint64_t value)
{
    HvStimerState *t = &vp->s.stimer[timer];

    if (value & HVB_STIMER_DIRECT_MODE &&
        !hv_config_has(&vp->partition->config, HV_FEATURE_STIMER_DIRECT)) {
        return false;
    }
    t->config = value;
    if (!can_run(t)) {
        t->config &= ~HVB_STIMER_ENABLE;
    }
    restart(vp, timer);
    return true;
}

void hv_stimer_write_count(HvVp *vp, unsigned timer, uint64_t value)
{
    HvStimerState *t = &vp->s.stimer[timer];

    t->count = value;
    if (!value) {
        t->config &= ~HVB_STIMER_ENABLE;
    } else if (t->config & HVB_STIMER_AUTO_ENABLE && can_run(t)) {
        t->config |= HVB_STIMER_ENABLE;
    }
    restart(vp, timer);
}

void hv_stimer_tick(HvVp *vp, unsigned timer)
{
    HvStimerState *t;
    uint64_t now;

    if (timer >= HV_ABI_STIMERS) {
        return;
    }
    t = &vp->s.stimer[timer];
    if (!t->deadline) {
        if (t->pending) {
            notify(vp, timer);
        }
        return;
    }
    now = hv_partition_time(vp->partition);
    if (now < t->deadline) {
        /* The machine's clock ran ahead of the reference time. */
        wish(vp, timer, t->deadline);
    } else {
        expire(vp, timer, now);
    }
}

void hv_stimers_retry(HvVp *vp)
{
    unsigned i;

    for (i = 0; i < HV_ABI_STIMERS; i++) {
        if (vp->s.stimer[i].pending) {
            notify(vp, i);
        }
    }
}

void hv_stimers_rearm(HvVp *vp)
{
    unsigned i;

    for (i = 0; i < HV_ABI_STIMERS; i++) {
        if (vp->s.stimer[i].deadline) {
            wish(vp, i, vp->s.stimer[i].deadline);
        } else if (vp->s.stimer[i].pending) {
            look_again(vp, i, true);
        }
    }
}

void hv_stimers_reset(HvVp *vp)
{
    unsigned i;

    for (i = 0; i < HV_ABI_STIMERS; i++) {
        if (vp->s.stimer[i].deadline || vp->s.stimer[i].pending) {
            wish(vp, i, HV_TIME_NEVER);
        }
        memset(&vp->s.stimer[i], 0, sizeof(vp->s.stimer[i]));
    }
    vp->early_timers = 0;
}
