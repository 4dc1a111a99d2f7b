/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The partition's reference time as the host reads it: the counter that the
 * guest has in HV_X64_MSR_TIME_REF_COUNT and in the TSC page.
 */
#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "kvm/hv-vp.h"
#include "system/kvm.h"
#include "cpu.h"
#include "hv-reference.h"
#include "hv-soft.h"
#include "hv-soft-internal.h"

#ifdef CONFIG_KVM
#include <linux/kvm.h>
#endif

bool hv_reference_exists(void)
{
    return first_cpu &&
           hyperv_feat_enabled(X86_CPU(first_cpu), HYPERV_FEAT_TIME);
}

uint64_t hv_reference_time(void)
{
#ifdef CONFIG_KVM
    if (kvm_enabled()) {
        struct kvm_clock_data data = {0};

        /* KVM makes the counter and the TSC page out of this clock. */
        return kvm_vm_ioctl(kvm_state, KVM_GET_CLOCK, &data) ? 0
                                                             : data.clock / 100;
    }
#endif
    return hv_partition_time(&hv_soft.partition);
}
