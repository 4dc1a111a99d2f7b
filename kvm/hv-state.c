/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "kvm/hv-state.h"

void hv_partition_save(HvPartition *partition, HvSavedPartition *out)
{
    if (partition->restored) {
        /* It never ran here: the clocks are still those of before. */
        *out = (HvSavedPartition){
            .clock_ready = partition->saved_clock_ready,
            .time = partition->saved_time,
            .tsc = partition->saved_tsc,
            .ns = partition->saved_ns,
        };
    } else if (partition->clock_ready) {
        *out = (HvSavedPartition){
            .clock_ready = 1,
            .time = hv_partition_time(partition),
            .tsc = partition->ops->read_tsc(partition->opaque),
            .ns = partition->ops->read_ns(partition->opaque),
        };
    } else {
        *out = (HvSavedPartition){0};
    }
    out->s = partition->s;
    out->features = partition->config.features;
}

const char *hv_partition_load(HvPartition *partition, const void *data,
                              size_t len)
{
    HvSavedPartition saved;

    if (len != sizeof(saved)) {
        return "The saved Hyper-V partition has another size.";
    }
    memcpy(&saved, data, sizeof(saved));
    if (saved.s.version != HV_STATE_VERSION) {
        return "The saved Hyper-V partition is of another version.";
    }
    if (saved.features != partition->config.features) {
        return "The saved machine has other hv-* flags than this one.";
    }
    if (saved.clock_ready > 1) {
        return "The saved Hyper-V partition has a damaged clock.";
    }
    partition->s = saved.s;
    partition->restored = true;
    partition->saved_clock_ready = saved.clock_ready;
    partition->saved_time = saved.time;
    partition->saved_tsc = saved.tsc;
    partition->saved_ns = saved.ns;
    return NULL;
}

bool hv_partition_resume(HvPartition *partition)
{
    HvClock *clock = &partition->clock;

    if (!partition->restored) {
        return false;
    }
    if (partition->saved_clock_ready) {
        if (!clock->valid) {
            HvClockSample first, last;

            partition->ops->clock_samples(partition->opaque, &first, &last);
            hv_clock_calibrate(clock, &first, &last);
        }
        hv_clock_anchor(clock, partition->saved_tsc, partition->saved_time);
        partition->ns_offset =
            partition->saved_time - partition->saved_ns / 100;
    }
    partition->restored = false;
    __atomic_store_n(&partition->clock_ready, partition->saved_clock_ready,
                     __ATOMIC_RELEASE);
    if (partition->s.reference_tsc & HVMSR_ENABLE) {
        hv_tsc_page_write(partition);
    }
    return true;
}

void hv_vp_save(HvVp *vp, HvSavedVp *out)
{
    *out = (HvSavedVp){
        .s = vp->s,
        .runtime = hv_vp_runtime(vp),
    };
}

static const char *validate_timer(const HvVp *vp, const HvStimerState *t)
{
    bool on = t->config & HVB_STIMER_ENABLE && t->count;
    bool direct = t->config & HVB_STIMER_DIRECT_MODE;

    if (t->config & HVB_STIMER_DIRECT_MODE &&
        !hv_config_has(&vp->partition->config, HV_FEATURE_STIMER_DIRECT)) {
        return "The saved virtual processor has a timer without its flag.";
    }
    if (t->deadline && !on) {
        return "The saved virtual processor has a timer that runs and is off.";
    }
    if (!t->deadline && on) {
        return "The saved virtual processor has a timer that is on and does "
               "not run.";
    }
    if (on && !direct && HVB_STIMER_SINT(t->config) == 0) {
        return "The saved virtual processor has a timer that tells nobody.";
    }
    if (t->pending > 1 || (t->pending && direct)) {
        return "The saved virtual processor has a damaged timer.";
    }
    return NULL;
}

static const char *validate_vp(const HvVp *vp, const HvVpState *s)
{
    if (s->version != HV_STATE_VERSION) {
        return "The saved virtual processor is of another version.";
    }
    if (s->vp_index != vp->s.vp_index) {
        return "The saved virtual processor is another one.";
    }
    for (unsigned i = 0; i < HV_ABI_SINT_COUNT; i++) {
        if (!(s->sint[i] & HVB_SINT_MASKED) &&
            (s->sint[i] & HVB_SINT_VECTOR) < HV_ABI_FIRST_VECTOR) {
            return "The saved virtual processor has an interrupt whose vector "
                   "is out of range.";
        }
    }
    for (unsigned i = 0; i < HV_ABI_STIMERS; i++) {
        const char *why = validate_timer(vp, &s->stimer[i]);

        if (why) {
            return why;
        }
    }
    return NULL;
}

const char *hv_vp_load(HvVp *vp, const void *data, size_t len)
{
    HvSavedVp saved;
    const char *why;

    if (len != sizeof(saved)) {
        return "The saved virtual processor has another size.";
    }
    memcpy(&saved, data, sizeof(saved));
    why = validate_vp(vp, &saved.s);
    if (why) {
        return why;
    }
    hv_stimers_reset(vp);
    vp->s = saved.s;
    hv_sint_refresh(vp);
    vp->runtime_offset = 0;
    vp->runtime_offset = saved.runtime - hv_vp_runtime(vp);
    return NULL;
}

void hv_vp_resume(HvVp *vp)
{
    hv_stimers_rearm(vp);
}
