/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hv-* CPU flags: what each shows in CPUID, what it needs, and whether
 * the software implementation has it.
 */
#ifndef KVM_HV_FEATURES_H
#define KVM_HV_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are those of QEMU's HYPERV_FEAT_*: bits of one mask. */
typedef enum HvFeature {
    HV_FEATURE_RELAXED,
    HV_FEATURE_VAPIC,
    HV_FEATURE_TIME,
    HV_FEATURE_CRASH,
    HV_FEATURE_RESET,
    HV_FEATURE_VPINDEX,
    HV_FEATURE_RUNTIME,
    HV_FEATURE_SYNIC,
    HV_FEATURE_STIMER,
    HV_FEATURE_FREQUENCIES,
    HV_FEATURE_REENLIGHTENMENT,
    HV_FEATURE_TLBFLUSH,
    HV_FEATURE_EVMCS,
    HV_FEATURE_IPI,
    HV_FEATURE_STIMER_DIRECT,
    HV_FEATURE_AVIC,
    HV_FEATURE_SYNDBG,
    HV_FEATURE_MSR_BITMAP,
    HV_FEATURE_XMM_INPUT,
    HV_FEATURE_TLBFLUSH_EXT,
    HV_FEATURE_TLBFLUSH_DIRECT,
    HV_FEATURE_COUNT,
} HvFeature;

#define HV_FEATURE_BIT(feature) (1ull << (feature))

enum { HV_REG_EAX, HV_REG_EBX, HV_REG_ECX, HV_REG_EDX };

typedef struct HvFeatureInfo {
    const char *flag; /* "hv-relaxed" */
    struct {
        uint32_t leaf; /* 0: none */
        uint8_t reg;   /* HV_REG_* */
        uint32_t bits;
    } cpuid[2];
    uint64_t needs; /* HV_FEATURE_BIT() of other features */
    bool software;
} HvFeatureInfo;

extern const HvFeatureInfo hv_feature_table[HV_FEATURE_COUNT];

#define HV_SPINLOCKS_NEVER 0xffffffffu

/* What the user asked for; all VPs of a partition have the same. */
typedef struct HvConfig {
    uint64_t features;    /* HV_FEATURE_BIT() */
    uint32_t spinlocks;   /* attempts before the guest notifies us */
    bool passthrough;     /* hv-passthrough */
    bool no_core_sharing; /* hv-no-nonarch-coresharing=on */
    uint32_t vendor[3];   /* EBX, ECX, EDX of the first leaf */
    uint32_t interface[4];
    uint32_t version[4]; /* EAX to EDX of HVLEAF_VERSION */
    uint32_t limits[4];  /* EAX to EDX of HVLEAF_LIMITS */
} HvConfig;

static inline bool hv_config_has(const HvConfig *config, HvFeature feature)
{
    return config->features & HV_FEATURE_BIT(feature);
}

/* Is any flag given, so that the guest is to see a hypervisor? */
bool hv_config_enabled(const HvConfig *config);

/*
 * Can the software implementation give what is asked for?  If not, false, and
 * one sentence that names the flag in @why (cut to @size bytes with its NUL).
 */
bool hv_config_check(const HvConfig *config, char *why, size_t size);

/*
 * EAX to EDX of CPUID leaf @leaf in @out.  False: the leaf is outside the
 * hypervisor's range (0x40000000 to 0x400000ff).
 */
bool hv_config_cpuid(const HvConfig *config, uint32_t leaf, uint32_t out[4]);

#endif
