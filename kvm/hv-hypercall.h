/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hypercalls (TLFS 3): a register set in, a register set out.
 */
#ifndef KVM_HV_HYPERCALL_H
#define KVM_HV_HYPERCALL_H

#include "kvm/hv-vp.h"

typedef struct HvHypercallRegs {
    bool long_mode; /* EFER.LMA and CS.L: 64-bit register convention */
    bool protected_mode;
    uint8_t cpl;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, r8;
    uint64_t xmm[12]; /* XMM0 to XMM5, low half first */
} HvHypercallRegs;

/*
 * Dispatches the hypercall that @regs ask for, and puts the result into RAX,
 * or EDX:EAX.  False: the caller may not make hypercalls at all (disabled by
 * the HYPERCALL MSR, not at ring 0, real mode, XMM input not offered), which
 * is #UD on Hyper-V; @regs are unchanged.
 *
 * Reads the partition's settings only, so it needs no lock; it changes
 * nothing but through ops.  Guest memory is read once.
 */
bool hv_hypercall(HvVp *vp, HvHypercallRegs *regs);

#endif
