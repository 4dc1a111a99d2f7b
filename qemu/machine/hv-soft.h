/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Software Hyper-V interface of x86 virtual CPUs (../kvm/) in QEMU: what the
 * hooks in QEMU's own files call.  It is on if a CPU has a hv-* flag and the
 * accelerator is not KVM; otherwise each function does nothing.
 */
#ifndef HW_VMBUS_HV_SOFT_H
#define HW_VMBUS_HV_SOFT_H

#include "cpu.h"
#ifndef CONFIG_USER_ONLY
#include CONFIG_DEVICES
#endif

#ifdef CONFIG_HV_VMBUS

extern bool hv_soft_on;

/* True once a CPU has the software interface. */
static inline bool hv_soft_enabled(void)
{
    return hv_soft_on;
}

/*
 * Checks the hv-* flags of @cpu before anything of it exists that a refusal
 * would leave behind.  False: refused, and @errp says why.
 */
bool hv_soft_check(X86CPU *cpu, Error **errp);

/* Gives @cpu, which passed hv_soft_check() and has its APIC, the interface. */
void hv_soft_realize(X86CPU *cpu);

/* @cpu is being unplugged, and its thread has ended. */
void hv_soft_unrealize(X86CPU *cpu);

/* Machine reset of @cpu; devices that use its SynIC have been reset. */
void hv_soft_reset(X86CPU *cpu);

/* CPUID leaf @leaf in the hypervisor's range; false: not ours. */
bool hv_soft_cpuid(uint32_t leaf, uint32_t *eax, uint32_t *ebx, uint32_t *ecx,
                   uint32_t *edx);

/*
 * rdmsr and wrmsr of any MSR that TCG does not know, in the CPU's thread
 * without the big lock.  Negative: #GP.  An MSR that is not ours is left
 * alone.
 */
int hv_soft_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *val);
int hv_soft_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t val);

bool hv_soft_is_auto_eoi(X86CPU *cpu, int vector);

/* Must @vector, just accepted by @cpu's APIC, not be held in service? */
static inline bool hv_soft_auto_eoi(X86CPU *cpu, int vector)
{
    return hv_soft_on && hv_soft_is_auto_eoi(cpu, vector);
}

/* Raises SINT @sint; big lock held.  0 or a negative errno. */
int hv_soft_set_sint(CPUState *cs, uint32_t sint);

#else

static inline bool hv_soft_enabled(void)
{
    return false;
}

static inline bool hv_soft_check(X86CPU *cpu, Error **errp)
{
    return true;
}

static inline void hv_soft_realize(X86CPU *cpu)
{
}

static inline void hv_soft_unrealize(X86CPU *cpu)
{
}

static inline void hv_soft_reset(X86CPU *cpu)
{
}

static inline bool hv_soft_cpuid(uint32_t leaf, uint32_t *eax, uint32_t *ebx,
                                 uint32_t *ecx, uint32_t *edx)
{
    return false;
}

static inline int hv_soft_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *val)
{
    return 0;
}

static inline int hv_soft_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t val)
{
    return 0;
}

static inline bool hv_soft_auto_eoi(X86CPU *cpu, int vector)
{
    return false;
}

#endif
#endif
