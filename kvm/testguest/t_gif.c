/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The global interrupt flag of AMD's virtualization, by which a hypervisor
 * such as Linux's KVM holds all interrupts back.  In QEMU it is one flag among
 * others of a processor, and loads of FPU state on another processor change
 * one of those.
 */
#include "guest.h"

#define MSR_EFER           0xc0000080
#define EFER_SVME          0x1000
#define CPUID_AMD_FEATURES 0x80000001
#define CPUID_ECX_SVM      0x4

#define HELD_VECTOR    0x61
#define ROUNDS         50000
#define LOOKS          30
#define PATIENCE_US    20000000
#define FPU_STATE_SIZE 28

static volatile bool stop;

static void load_fpu_state(void *arg)
{
    uint8_t state[FPU_STATE_SIZE] __attribute__((aligned(16)));

    __asm__ volatile("fninit; fnstenv %0" : "=m"(state));
    while (!stop) {
        __asm__ volatile("fldenv %0" : : "m"(state));
    }
}

/* Did the interrupt wait for the flag, and come then? */
static bool hold_one(struct cpu *cpu)
{
    uint32_t before = cpu->irqs[HELD_VECTOR];
    bool held = true;

    __asm__ volatile("clgi" ::: "memory");
    send_ipi(cpu->id, HELD_VECTOR);
    for (unsigned i = 0; i < LOOKS; i++) {
        held &= cpu->irqs[HELD_VECTOR] == before;
    }
    __asm__ volatile("stgi" ::: "memory");
    return wait_for(cpu->irqs[HELD_VECTOR] == before + 1, PATIENCE_US) && held;
}

void test_gif(void)
{
    struct cpu *cpu = this_cpu();
    unsigned round;

    if (!(cpuid(CPUID_AMD_FEATURES).ecx & CPUID_ECX_SVM) || cpu_count < 2) {
        tap_skip("interrupts are held back", "no SVM, or one processor");
        return;
    }
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    irq_set(HELD_VECTOR, NULL, true);
    run_on_others_start(load_fpu_state, NULL);
    for (round = 0; round < ROUNDS && hold_one(cpu); round++) {
    }
    stop = true;
    run_on_others_wait();
    tap(round == ROUNDS, "interrupts are held back until the flag is set",
        "lost in round %u of %u", round, ROUNDS);
}
