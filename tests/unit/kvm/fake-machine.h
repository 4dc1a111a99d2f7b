/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine for the software Hyper-V interface: a clock that stands until it
 * is moved, a little memory, and notes of every op called.
 */
#ifndef TESTS_KVM_FAKE_MACHINE_H
#define TESTS_KVM_FAKE_MACHINE_H

#include <glib.h>

#include "kvm/hv-hypercall.h"
#include "kvm/hv-vp.h"

#define FAKE_VPS    2
#define FAKE_MEMORY (16 * HV_ABI_PAGE_SIZE)
/* Ticks of the fake TSC in 100 ns */
#define FAKE_TSC_PER_UNIT 200

/* Every flag that the software has. */
#define FAKE_ALL_FEATURES                                                      \
    (((1ull << HV_FEATURE_COUNT) - 1) &                                        \
     ~(HV_FEATURE_BIT(HV_FEATURE_EVMCS) | HV_FEATURE_BIT(HV_FEATURE_SYNDBG) |  \
       HV_FEATURE_BIT(HV_FEATURE_MSR_BITMAP) |                                 \
       HV_FEATURE_BIT(HV_FEATURE_TLBFLUSH_DIRECT)))

typedef struct Fake {
    HvPartition partition;
    HvVp vps[FAKE_VPS];
    uint8_t memory[FAKE_MEMORY];
    uint64_t now;      /* 100 ns; both clocks follow it */
    bool tsc_too_slow; /* no scale exists */
    unsigned samples;  /* calls of clock_samples */

    unsigned reads; /* calls of read_guest */
    GArray *writes; /* FakeWrite */
    uint64_t deadlines[FAKE_VPS][HV_ABI_STIMERS];
    unsigned wishes; /* calls of set_deadline */
    unsigned vectors[FAKE_VPS][256];
    unsigned vectors_total;
    int post_status; /* what post_message answers */
    unsigned posts;  /* calls of post_message */
    unsigned post_sint;
    HvMessage message; /* the last one accepted */
    unsigned slots_freed, synic_changes, resets, crashes;
    uint64_t crash[HV_ABI_CRASH_PARAMS];
    uint64_t apic[3]; /* by HvApicRegister */
    bool apic_refuses;
    bool apic_disabled;
    unsigned spin_waits;

    uint16_t hypercall_status;
    unsigned hypercall_posts, hypercall_signals, flushes, ipis;
    HvPostMessageInput post_input;
    uint32_t signal_connection;
    uint16_t signal_flag;
    HvVpSet set;
    uint64_t ranges[512];
    unsigned range_count;
    uint8_t ipi_vector;
} Fake;

typedef struct FakeWrite {
    uint64_t gpa;
    uint32_t len;
} FakeWrite;

/* A machine whose partition has @features; free with fake_free(). */
Fake *fake_new(uint64_t features);
void fake_free(Fake *fake);
/* Moves the clock to @now and calls the timers whose time has come, each at
 * its own deadline.  Returns the number of calls. */
unsigned fake_advance(Fake *fake, uint64_t now);

/* wrmsr and rdmsr that must succeed. */
void fake_wrmsr(Fake *fake, uint32_t msr, uint64_t value);
uint64_t fake_rdmsr(Fake *fake, uint32_t msr);

#endif
