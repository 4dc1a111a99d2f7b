/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "kvm/hv-vp.h"

void hv_partition_init(HvPartition *partition, const HvConfig *config,
                       const HvOps *ops, void *opaque)
{
    memset(partition, 0, sizeof(*partition));
    /* Padding included: configurations are compared as memory. */
    memcpy(&partition->config, config, sizeof(*config));
    partition->ops = ops;
    partition->opaque = opaque;
    partition->s.version = HV_STATE_VERSION;
    hv_config_cpuid(config, HVLEAF_FEATURES, partition->features);
}

void hv_partition_reset(HvPartition *partition)
{
    uint32_t sequence = partition->s.tsc_sequence;

    memset(&partition->s, 0, sizeof(partition->s));
    partition->s.version = HV_STATE_VERSION;
    /* The next page must not look like the last one of before. */
    partition->s.tsc_sequence = sequence;
}

void hv_vp_init(HvVp *vp, HvPartition *partition, uint32_t vp_index,
                void *opaque)
{
    memset(vp, 0, sizeof(*vp));
    vp->partition = partition;
    vp->opaque = opaque;
    vp->s.vp_index = vp_index;
    hv_vp_reset(vp);
}

void hv_vp_reset(HvVp *vp)
{
    uint32_t vp_index = vp->s.vp_index;
    unsigned i;

    hv_stimers_reset(vp);
    memset(&vp->s, 0, sizeof(vp->s));
    vp->s.version = HV_STATE_VERSION;
    vp->s.vp_index = vp_index;
    for (i = 0; i < HV_ABI_SINT_COUNT; i++) {
        vp->s.sint[i] = HVB_SINT_MASKED;
    }
    hv_sint_refresh(vp);
}

uint64_t hv_vp_runtime(HvVp *vp)
{
    return vp->partition->ops->vp_runtime(vp->partition->opaque, vp) +
           vp->runtime_offset;
}

uint64_t hv_partition_time(HvPartition *partition)
{
    if (!__atomic_load_n(&partition->clock_ready, __ATOMIC_ACQUIRE)) {
        HvClockSample first, last;

        partition->ops->clock_samples(partition->opaque, &first, &last);
        hv_clock_calibrate(&partition->clock, &first, &last);
        __atomic_store_n(&partition->clock_ready, true, __ATOMIC_RELEASE);
    }
    if (!partition->clock.valid) {
        return partition->ops->read_ns(partition->opaque) / 100 +
               partition->ns_offset;
    }
    return hv_clock_read(&partition->clock,
                         partition->ops->read_tsc(partition->opaque));
}
