/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "kvm/hv-vp.h"

void hv_sint_refresh(HvVp *vp)
{
    uint64_t vectors[4] = {0};
    unsigned i;

    for (i = 0; i < HV_ABI_SINT_COUNT; i++) {
        uint64_t sint = vp->s.sint[i];
        uint8_t vector = sint & HVB_SINT_VECTOR;

        if (!(sint & HVB_SINT_MASKED) && (sint & HVB_SINT_AUTO_EOI)) {
            vectors[vector / 64] |= 1ull << (vector % 64);
        }
    }
    memcpy(vp->auto_eoi, vectors, sizeof(vectors));
}

void hv_sint_write(HvVp *vp, unsigned sint, uint64_t value)
{
    vp->s.sint[sint] = value;
    hv_sint_refresh(vp);
}

int hv_sint_raise(HvVp *vp, unsigned sint)
{
    HvPartition *partition = vp->partition;
    uint64_t value;
    uint8_t vector;

    if (sint >= HV_ABI_SINT_COUNT) {
        return -EINVAL;
    }
    if (!(vp->s.scontrol & HVMSR_ENABLE)) {
        return -ENXIO;
    }
    value = vp->s.sint[sint];
    if (value & HVB_SINT_MASKED) {
        return -ENOENT;
    }
    vector = value & HVB_SINT_VECTOR;
    if (!(value & HVB_SINT_POLLING) &&
        partition->ops->assert_vector(partition->opaque, vp, vector) &&
        value & HVB_SINT_AUTO_EOI) {
        vp->s.auto_eoi_raised[vector / 64] |= 1ull << (vector % 64);
    }
    return 0;
}

bool hv_sint_auto_eoi(HvVp *vp, uint8_t vector)
{
    uint64_t bit = 1ull << (vector % 64);
    bool raised = vp->s.auto_eoi_raised[vector / 64] & bit;

    vp->s.auto_eoi_raised[vector / 64] &= ~bit;
    return raised || vp->auto_eoi[vector / 64] & bit;
}
