/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the software Hyper-V interface in QEMU share: hv-soft.c
 * (QEMU's hooks, MSRs, SynIC), hv-soft-machine.c (clocks, memory, APICs) and
 * hv-soft-hypercall.c.  The functions are ops of HvOps, which says what they
 * do; the big QEMU lock is held, except where HvOps allows any thread.
 */
#ifndef HW_VMBUS_HV_SOFT_INTERNAL_H
#define HW_VMBUS_HV_SOFT_INTERNAL_H

#include "cpu.h"
#include "exec/memory.h"
#include "hw/qdev-core.h"
#include "system/runstate.h"
#include "kvm/hv-vp.h"

#define TYPE_HV_SOFT_VP "hyperv-soft-vp"
OBJECT_DECLARE_SIMPLE_TYPE(HvSoftVp, HV_SOFT_VP)

typedef struct HvSoftTimer {
    HvSoftVp *vp;
    unsigned index;
    QEMUTimer *timer;
} HvSoftTimer;

/* A child of its CPU. */
struct HvSoftVp {
    DeviceState parent_obj;

    X86CPU *cpu;
    HvVp vp;
    HvSoftTimer timers[HV_ABI_STIMERS];
};

typedef struct HvSoft {
    HvPartition partition;
    HvSoftVp **vps; /* by CPU index */
    unsigned vps_len;
    HvClockSample start; /* when the machine last began to run */
    MemoryRegion port;
    HvClockSample host; /* the host's clocks when the partition began */
} HvSoft;

/* There is one partition. */
extern HvSoft hv_soft;

static inline HvSoftVp *soft_vp(HvVp *vp)
{
    return vp->opaque;
}

/* Puts the pages of its SynIC where its registers say; no CPU runs. */
void hv_soft_update_synic(HvSoftVp *svp);

/* NULL: the CPU has no such interface. */
HvSoftVp *hv_soft_find_vp(CPUState *cs);

/* hv-soft-machine.c */
uint64_t hv_soft_read_tsc(void *opaque);
uint64_t hv_soft_read_ns(void *opaque);
void hv_soft_clock_samples(void *opaque, HvClockSample *first,
                           HvClockSample *last);
uint64_t hv_soft_vp_runtime(void *opaque, HvVp *vp);
void hv_soft_set_deadline(void *opaque, HvVp *vp, unsigned timer,
                          uint64_t deadline);
bool hv_soft_read_guest(void *opaque, uint64_t gpa, void *buf, uint32_t len);
bool hv_soft_write_guest(void *opaque, uint64_t gpa, const void *buf,
                         uint32_t len);
bool hv_soft_assert_vector(void *opaque, HvVp *vp, uint8_t vector);
bool hv_soft_apic_read(void *opaque, HvVp *vp, HvApicRegister reg,
                       uint64_t *value);
bool hv_soft_apic_write(void *opaque, HvVp *vp, HvApicRegister reg,
                        uint64_t value);
/* The host's TSC and monotonic clock, at one moment. */
HvClockSample hv_soft_host_sample(void);
/* For qemu_add_vm_change_state_handler(). */
void hv_soft_vm_state_changed(void *opaque, bool running, RunState state);
/* For the timers of a HvSoftVp; @opaque is its HvSoftTimer. */
void hv_soft_stimer_expired(void *opaque);

/* hv-soft-hypercall.c */
uint16_t hv_soft_hypercall_post(void *opaque, HvVp *vp,
                                const HvPostMessageInput *in);
uint16_t hv_soft_hypercall_signal(void *opaque, HvVp *vp, uint32_t connection,
                                  uint16_t flag);
void hv_soft_send_ipi(void *opaque, HvVp *vp, const HvVpSet *set,
                      uint8_t vector);
void hv_soft_spin_wait(void *opaque, HvVp *vp);
void hv_soft_flush_tlb(void *opaque, HvVp *vp, const HvVpSet *set,
                       const uint64_t *ranges, unsigned count);
/* Lets the guest make hypercalls: code for its page, and the port beneath. */
void hv_soft_add_port(HvPartition *partition);

#endif
