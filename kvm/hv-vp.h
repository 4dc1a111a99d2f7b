/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hyper-V interface of a partition and its virtual processors, in software.
 *
 * No thread, clock or guest memory is inside: the machine passes them in as
 * HvOps.  Except where a function says so, the machine calls in with one
 * lock held, the same for the whole partition, and all ops are called with
 * that lock held.
 */
#ifndef KVM_HV_VP_H
#define KVM_HV_VP_H

#include <stdbool.h>
#include <stdint.h>

#include "kvm/hv-abi.h"
#include "kvm/hv-clock.h"
#include "kvm/hv-features.h"
#include "kvm/synic-pages.h"

typedef struct HvVp HvVp;
typedef struct HvPartition HvPartition;

#define HV_TIME_NEVER UINT64_MAX

/* A set of VP indexes below 4096. */
typedef struct HvVpSet {
    bool all; /* every VP; banks do not matter */
    uint64_t banks[HV_ABI_SET_BANKS];
} HvVpSet;

static inline bool hv_vp_set_has(const HvVpSet *set, uint32_t vp_index)
{
    return set->all || (vp_index / 64 < HV_ABI_SET_BANKS &&
                        (set->banks[vp_index / 64] >> (vp_index % 64) & 1));
}

/* APIC registers that have an MSR of their own (TLFS 10.2.1). */
typedef enum HvApicRegister {
    HV_APIC_EOI, /* write only */
    HV_APIC_ICR, /* destination in the high half */
    HV_APIC_TPR,
} HvApicRegister;

/* What a partition needs from the machine. */
typedef struct HvOps {
    /* The guest's TSC now.  Any thread. */
    uint64_t (*read_tsc)(void *opaque);
    /* Nanoseconds since start on the clock that stands with the machine.
     * Any thread. */
    uint64_t (*read_ns)(void *opaque);
    /* Two samples to calibrate by, as far apart as can be. */
    void (*clock_samples)(void *opaque, HvClockSample *first,
                          HvClockSample *last);
    /* Guest RAM; false if part of the range is none. */
    bool (*read_guest)(void *opaque, uint64_t gpa, void *buf, uint32_t len);
    bool (*write_guest)(void *opaque, uint64_t gpa, const void *buf,
                        uint32_t len);
    /* Call hv_stimer_tick() when the reference time reaches @deadline; it
     * replaces the timer's earlier wish.  HV_TIME_NEVER: no call wanted. */
    void (*set_deadline)(void *opaque, HvVp *vp, unsigned timer,
                         uint64_t deadline);
    /* Edge interrupt to the VP's APIC; false: software has disabled that. */
    bool (*assert_vector)(void *opaque, HvVp *vp, uint8_t vector);
    /* Puts a message into the slot of @sint and raises the SINT: 0, -EAGAIN
     * (slot busy, pending flag set) or another error (page off). */
    int (*post_message)(void *opaque, HvVp *vp, unsigned sint,
                        const HvMessage *msg);
    /* The guest wrote EOM: a slot that was busy may be free. */
    void (*slot_free)(void *opaque, HvVp *vp);
    /* SCONTROL, SIMP or SIEFP changed. */
    void (*synic_changed)(void *opaque, HvVp *vp);
    /* False: #GP. */
    bool (*apic_read)(void *opaque, HvVp *vp, HvApicRegister reg,
                      uint64_t *value);
    bool (*apic_write)(void *opaque, HvVp *vp, HvApicRegister reg,
                       uint64_t value);
    /* 100 ns that the VP has run. */
    uint64_t (*vp_runtime)(void *opaque, HvVp *vp);
    void (*guest_crashed)(void *opaque, HvVp *vp,
                          const uint64_t params[HV_ABI_CRASH_PARAMS]);
    void (*reset_system)(void *opaque, HvVp *vp);

    /* Hypercalls; called without the lock.  The first two return HVST_*. */
    uint16_t (*hypercall_post)(void *opaque, HvVp *vp,
                               const HvPostMessageInput *in);
    uint16_t (*hypercall_signal)(void *opaque, HvVp *vp, uint32_t connection,
                                 uint16_t flag);
    /* Each range is a page address with the number of further pages in its
     * low 12 bits; @count 0 flushes everything.  Complete before the guest
     * runs on. */
    void (*flush_tlb)(void *opaque, HvVp *vp, const HvVpSet *set,
                      const uint64_t *ranges, unsigned count);
    void (*send_ipi)(void *opaque, HvVp *vp, const HvVpSet *set,
                     uint8_t vector);
    void (*spin_wait)(void *opaque, HvVp *vp);
} HvOps;

typedef struct HvStimerState {
    uint64_t config;     /* STIMERx_CONFIG */
    uint64_t count;      /* STIMERx_COUNT */
    uint64_t deadline;   /* reference time; 0: not running */
    uint64_t expiration; /* of the message that waits for its slot */
    uint64_t pending;    /* 1: a message waits */
} HvStimerState;

#define HV_STATE_VERSION 1

/* Whatever survives of a VP in a saved machine; flat, fixed sizes. */
typedef struct HvVpState {
    uint32_t version;
    uint32_t vp_index;
    uint64_t assist_page;
    uint64_t scontrol;
    uint64_t siefp;
    uint64_t simp;
    uint64_t sint[HV_ABI_SINT_COUNT];
    HvStimerState stimer[HV_ABI_STIMERS];
    uint64_t auto_eoi_raised[4]; /* vectors, until the processor takes them */
} HvVpState;

_Static_assert(sizeof(HvVpState) == 40 + 128 + 4 * 40 + 32, "flat VP state");

/* The same of a partition. */
typedef struct HvPartitionState {
    uint32_t version;
    uint32_t tsc_sequence; /* last one that the TSC page showed */
    uint64_t guest_os_id;
    uint64_t hypercall;
    uint64_t reference_tsc;
    uint64_t crash[HV_ABI_CRASH_PARAMS];
    uint64_t reenlightenment;
    uint64_t tsc_emu_control;
    uint64_t tsc_emu_status;
} HvPartitionState;

_Static_assert(sizeof(HvPartitionState) == 96, "flat partition state");

#define HV_HYPERCALL_CODE_MAX 16

struct HvPartition {
    HvPartitionState s;
    HvConfig config;
    uint32_t features[4]; /* CPUID leaf HVLEAF_FEATURES */
    const HvOps *ops;
    void *opaque;
    HvClock clock;
    bool clock_ready;   /* calibrated, or found impossible */
    uint64_t ns_offset; /* 100 ns; reference time without a valid clock is this
                         * and the time since start */
    /* Loaded from a saved state and not resumed yet; see hv-state.h. */
    bool restored, saved_clock_ready;
    uint64_t saved_time, saved_tsc, saved_ns;
    uint64_t apic_hz;
    /* What the hypercall page begins with; the machine's way to trap. */
    uint8_t hypercall_code[HV_HYPERCALL_CODE_MAX];
    uint32_t hypercall_code_len;
};

struct HvVp {
    HvVpState s;
    HvPartition *partition;
    void *opaque;            /* the machine's */
    uint64_t auto_eoi[4];    /* vectors of unmasked SINTs with auto-EOI */
    uint64_t runtime_offset; /* 100 ns on machines before this one */
    uint8_t early_timers;    /* started while there was no message page */
};

/* @config has passed hv_config_check(). */
void hv_partition_init(HvPartition *partition, const HvConfig *config,
                       const HvOps *ops, void *opaque);
/* Machine reset.  Reference time runs on, as on Hyper-V. */
void hv_partition_reset(HvPartition *partition);
void hv_vp_init(HvVp *vp, HvPartition *partition, uint32_t vp_index,
                void *opaque);
/* Reset of a VP (not INIT): SynIC and timers off, no op but set_deadline. */
void hv_vp_reset(HvVp *vp);

/*
 * Reference time now, 100 ns.  Calibrates at the first call; once
 * @partition->clock_ready is seen true it needs no lock.
 */
uint64_t hv_partition_time(HvPartition *partition);

/* rdmsr, wrmsr; false: #GP.  @msr within HVMSR_FIRST and HVMSR_LAST. */
bool hv_msr_read(HvVp *vp, uint32_t msr, uint64_t *value);
bool hv_msr_write(HvVp *vp, uint32_t msr, uint64_t value);

/*
 * Raises @sint.  0, also if the guest polls it; -EINVAL: no such SINT;
 * -ENXIO: the SynIC is off; -ENOENT: masked.
 */
int hv_sint_raise(HvVp *vp, unsigned sint);
/*
 * The processor takes the interrupt @vector: must it not be held in service?
 * One that a SINT raised with auto-EOI keeps it when the SINT is masked before
 * the interrupt is taken.  A Linux that crashes leaves such an interrupt to
 * its crash kernel, which would never end it.
 */
bool hv_sint_auto_eoi(HvVp *vp, uint8_t vector);

/* The deadline has come; early calls are harmless. */
void hv_stimer_tick(HvVp *vp, unsigned timer);

/* 100 ns that the VP has run, on all machines. */
uint64_t hv_vp_runtime(HvVp *vp);
/* Fills the reference TSC page, which is on, with a new sequence. */
void hv_tsc_page_write(HvPartition *partition);
/* Asks for the deadlines of all timers that run. */
void hv_stimers_rearm(HvVp *vp);
/* There may be room for messages of timers: EOM, or the pages are there. */
void hv_stimers_retry(HvVp *vp);

/* For the tables of hv-msr.c. */
void hv_sint_write(HvVp *vp, unsigned sint, uint64_t value);
void hv_sint_refresh(HvVp *vp);
bool hv_stimer_write_config(HvVp *vp, unsigned timer, uint64_t value);
void hv_stimer_write_count(HvVp *vp, unsigned timer, uint64_t value);
void hv_stimers_reset(HvVp *vp);

#endif
