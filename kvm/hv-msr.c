/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Hyper-V MSRs: one table, MSR -> feature, reader, writer.  What is
 * refused is what Linux's KVM refuses with its CPUID enforcement on.
 */
#include <stddef.h>

#include "kvm/hv-vp.h"

typedef bool (*MsrRead)(HvVp *vp, uint32_t msr, uint64_t *value);
typedef bool (*MsrWrite)(HvVp *vp, uint32_t msr, uint64_t value);

static bool read_os_id(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = vp->partition->s.guest_os_id;
    return true;
}

static bool write_os_id(HvVp *vp, uint32_t msr, uint64_t value)
{
    HvPartitionState *s = &vp->partition->s;

    s->guest_os_id = value;
    if (!value) {
        s->hypercall &= ~HVMSR_ENABLE;
    }
    return true;
}

static bool read_hypercall(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = vp->partition->s.hypercall;
    return true;
}

static bool write_hypercall(HvVp *vp, uint32_t msr, uint64_t value)
{
    HvPartition *p = vp->partition;

    if (p->s.hypercall & HVMSR_HYPERCALL_LOCKED) {
        return false;
    }
    if (!p->s.guest_os_id) {
        /* The register stays as it is until the guest said who it is. */
        return true;
    }
    if (value & HVMSR_ENABLE &&
        !p->ops->write_guest(p->opaque, value & HV_ABI_PAGE_MASK,
                             p->hypercall_code, p->hypercall_code_len)) {
        return false;
    }
    p->s.hypercall = value;
    return true;
}

static bool read_vp_index(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = vp->s.vp_index;
    return true;
}

static bool read_zero(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = 0;
    return true;
}

static bool write_reset(HvVp *vp, uint32_t msr, uint64_t value)
{
    if (value == 1) {
        vp->partition->ops->reset_system(vp->partition->opaque, vp);
    }
    return true;
}

static bool read_runtime(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = hv_vp_runtime(vp);
    return true;
}

static bool read_time(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = hv_partition_time(vp->partition);
    return true;
}

static bool read_reference_tsc(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = vp->partition->s.reference_tsc;
    return true;
}

/*
 * Sequence 0 goes first and the new sequence last, so that a guest on another
 * VP never combines old and new values.  A page that is not RAM is the
 * guest's matter: it reads what it reads there.
 */
void hv_tsc_page_write(HvPartition *p)
{
    uint64_t gpa = p->s.reference_tsc & HV_ABI_PAGE_MASK;
    HvTscPage page = {0};
    const uint32_t head = sizeof(page.sequence) + sizeof(page.reserved);

    if (!p->ops->write_guest(p->opaque, gpa, &page, head)) {
        return;
    }
    hv_partition_time(p);
    if (!p->clock.valid) {
        return;
    }
    page.scale = p->clock.scale;
    page.offset = p->clock.offset;
    p->ops->write_guest(p->opaque, gpa + head, (uint8_t *)&page + head,
                        sizeof(page) - head);
    /* 0 and all ones have a meaning of their own. */
    p->s.tsc_sequence++;
    if (!p->s.tsc_sequence || p->s.tsc_sequence == UINT32_MAX) {
        p->s.tsc_sequence = 1;
    }
    page.sequence = p->s.tsc_sequence;
    p->ops->write_guest(p->opaque, gpa, &page.sequence, sizeof(page.sequence));
}

static bool write_reference_tsc(HvVp *vp, uint32_t msr, uint64_t value)
{
    HvPartition *p = vp->partition;

    p->s.reference_tsc = value;
    if (value & HVMSR_ENABLE) {
        hv_tsc_page_write(p);
    }
    return true;
}

static bool read_frequency(HvVp *vp, uint32_t msr, uint64_t *value)
{
    hv_partition_time(vp->partition);
    *value = msr == HVMSR_TSC_FREQUENCY ? vp->partition->clock.tsc_hz
                                        : vp->partition->apic_hz;
    return true;
}

static bool read_apic(HvVp *vp, uint32_t msr, uint64_t *value)
{
    return vp->partition->ops->apic_read(
        vp->partition->opaque, vp, msr == HVMSR_ICR ? HV_APIC_ICR : HV_APIC_TPR,
        value);
}

static bool write_apic(HvVp *vp, uint32_t msr, uint64_t value)
{
    HvApicRegister reg = msr == HVMSR_EOI   ? HV_APIC_EOI
                         : msr == HVMSR_ICR ? HV_APIC_ICR
                                            : HV_APIC_TPR;

    return vp->partition->ops->apic_write(vp->partition->opaque, vp, reg,
                                          value);
}

static bool read_assist(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = vp->s.assist_page;
    return true;
}

static bool write_assist(HvVp *vp, uint32_t msr, uint64_t value)
{
    HvPartition *p = vp->partition;
    const uint32_t no_eoi_needed = 0;

    /* The first field only: the rest may hold what the guest put there. */
    if (value & HVMSR_ENABLE &&
        !p->ops->write_guest(p->opaque, value & HV_ABI_PAGE_MASK,
                             &no_eoi_needed, sizeof(no_eoi_needed))) {
        return false;
    }
    vp->s.assist_page = value;
    return true;
}

static bool read_synic(HvVp *vp, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case HVMSR_SCONTROL:
        *value = vp->s.scontrol;
        return true;
    case HVMSR_SVERSION:
        *value = HV_ABI_SYNIC_VERSION;
        return true;
    case HVMSR_SIEFP:
        *value = vp->s.siefp;
        return true;
    default:
        *value = vp->s.simp;
        return true;
    }
}

static bool write_synic(HvVp *vp, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case HVMSR_SCONTROL:
        vp->s.scontrol = value;
        break;
    case HVMSR_SVERSION:
        return false;
    case HVMSR_SIEFP:
        vp->s.siefp = value;
        break;
    default:
        vp->s.simp = value;
        break;
    }
    vp->partition->ops->synic_changed(vp->partition->opaque, vp);
    return true;
}

static bool write_eom(HvVp *vp, uint32_t msr, uint64_t value)
{
    hv_stimers_retry(vp);
    vp->partition->ops->slot_free(vp->partition->opaque, vp);
    return true;
}

static bool read_sint(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = vp->s.sint[msr - HVMSR_SINT0];
    return true;
}

static bool write_sint(HvVp *vp, uint32_t msr, uint64_t value)
{
    if (!(value & HVB_SINT_MASKED) &&
        (value & HVB_SINT_VECTOR) < HV_ABI_FIRST_VECTOR) {
        return false;
    }
    hv_sint_write(vp, msr - HVMSR_SINT0, value);
    return true;
}

static bool read_stimer(HvVp *vp, uint32_t msr, uint64_t *value)
{
    uint32_t i = msr - HVMSR_STIMER0_CONFIG;

    *value = i % 2 ? vp->s.stimer[i / 2].count : vp->s.stimer[i / 2].config;
    return true;
}

static bool write_stimer(HvVp *vp, uint32_t msr, uint64_t value)
{
    uint32_t i = msr - HVMSR_STIMER0_CONFIG;

    if (i % 2 == 0) {
        return hv_stimer_write_config(vp, i / 2, value);
    }
    hv_stimer_write_count(vp, i / 2, value);
    return true;
}

static bool read_crash(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = msr == HVMSR_CRASH_CTL
                 ? HVMSR_CRASH_NOTIFY
                 : vp->partition->s.crash[msr - HVMSR_CRASH_P0];
    return true;
}

static bool write_crash(HvVp *vp, uint32_t msr, uint64_t value)
{
    HvPartition *p = vp->partition;

    if (msr != HVMSR_CRASH_CTL) {
        p->s.crash[msr - HVMSR_CRASH_P0] = value;
    } else if (value & HVMSR_CRASH_NOTIFY) {
        p->ops->guest_crashed(p->opaque, vp, p->s.crash);
    }
    return true;
}

static uint64_t *reenlightenment(HvVp *vp, uint32_t msr)
{
    HvPartitionState *s = &vp->partition->s;

    return msr == HVMSR_REENLIGHTENMENT   ? &s->reenlightenment
           : msr == HVMSR_TSC_EMU_CONTROL ? &s->tsc_emu_control
                                          : &s->tsc_emu_status;
}

static bool read_reenlightenment(HvVp *vp, uint32_t msr, uint64_t *value)
{
    *value = *reenlightenment(vp, msr);
    return true;
}

static bool write_reenlightenment(HvVp *vp, uint32_t msr, uint64_t value)
{
    /* The guest may only say that it is done with emulation. */
    if (msr == HVMSR_TSC_EMU_STATUS && value) {
        return false;
    }
    *reenlightenment(vp, msr) = value;
    return true;
}

#define ANY_FEATURE -1

/* Hot ones first. */
static const struct MsrRange {
    uint32_t first, last;
    int feature;    /* HvFeature, or ANY_FEATURE */
    MsrRead read;   /* NULL: write only */
    MsrWrite write; /* NULL: read only */
} msr_table[] = {
    {HVMSR_STIMER0_CONFIG, HVMSR_STIMER3_COUNT, HV_FEATURE_STIMER, read_stimer,
     write_stimer},
    {HVMSR_EOI, HVMSR_EOI, HV_FEATURE_VAPIC, NULL, write_apic},
    {HVMSR_ICR, HVMSR_TPR, HV_FEATURE_VAPIC, read_apic, write_apic},
    {HVMSR_TIME_REF_COUNT, HVMSR_TIME_REF_COUNT, HV_FEATURE_TIME, read_time,
     NULL},
    {HVMSR_EOM, HVMSR_EOM, HV_FEATURE_SYNIC, read_zero, write_eom},
    {HVMSR_GUEST_OS_ID, HVMSR_GUEST_OS_ID, ANY_FEATURE, read_os_id,
     write_os_id},
    {HVMSR_HYPERCALL, HVMSR_HYPERCALL, ANY_FEATURE, read_hypercall,
     write_hypercall},
    {HVMSR_VP_INDEX, HVMSR_VP_INDEX, HV_FEATURE_VPINDEX, read_vp_index, NULL},
    {HVMSR_RESET, HVMSR_RESET, HV_FEATURE_RESET, read_zero, write_reset},
    {HVMSR_VP_RUNTIME, HVMSR_VP_RUNTIME, HV_FEATURE_RUNTIME, read_runtime,
     NULL},
    {HVMSR_REFERENCE_TSC, HVMSR_REFERENCE_TSC, HV_FEATURE_TIME,
     read_reference_tsc, write_reference_tsc},
    {HVMSR_TSC_FREQUENCY, HVMSR_APIC_FREQUENCY, HV_FEATURE_FREQUENCIES,
     read_frequency, NULL},
    {HVMSR_ASSIST_PAGE, HVMSR_ASSIST_PAGE, HV_FEATURE_VAPIC, read_assist,
     write_assist},
    {HVMSR_SCONTROL, HVMSR_SIMP, HV_FEATURE_SYNIC, read_synic, write_synic},
    {HVMSR_SINT0, HVMSR_SINT15, HV_FEATURE_SYNIC, read_sint, write_sint},
    {HVMSR_CRASH_P0, HVMSR_CRASH_CTL, HV_FEATURE_CRASH, read_crash,
     write_crash},
    {HVMSR_REENLIGHTENMENT, HVMSR_TSC_EMU_STATUS, HV_FEATURE_REENLIGHTENMENT,
     read_reenlightenment, write_reenlightenment},
};

static const struct MsrRange *find_msr(const HvVp *vp, uint32_t msr)
{
    size_t i;

    for (i = 0; i < sizeof(msr_table) / sizeof(msr_table[0]); i++) {
        const struct MsrRange *range = &msr_table[i];

        if (msr >= range->first && msr <= range->last) {
            return range->feature == ANY_FEATURE ||
                           hv_config_has(&vp->partition->config, range->feature)
                       ? range
                       : NULL;
        }
    }
    return NULL;
}

bool hv_msr_read(HvVp *vp, uint32_t msr, uint64_t *value)
{
    const struct MsrRange *range = find_msr(vp, msr);

    return range && range->read && range->read(vp, msr, value);
}

bool hv_msr_write(HvVp *vp, uint32_t msr, uint64_t value)
{
    const struct MsrRange *range = find_msr(vp, msr);

    return range && range->write && range->write(vp, msr, value);
}
