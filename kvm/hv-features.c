/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "kvm/hv-abi.h"
#include "kvm/hv-features.h"

#define NEEDS(f) HV_FEATURE_BIT(HV_FEATURE_##f)

/* The same bits as on KVM: QEMU's kvm_hyperv_properties[] (QEMU 10.0). */
const HvFeatureInfo hv_feature_table[HV_FEATURE_COUNT] = {
    [HV_FEATURE_RELAXED] =
        {
            .flag = "hv-relaxed",
            .software = true,
            .cpuid = {{HVLEAF_ENLIGHTENED, HV_REG_EAX, HVB_RELAXED_TIMING}},
        },
    [HV_FEATURE_VAPIC] =
        {
            .flag = "hv-vapic",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_APIC_ACCESS}},
        },
    [HV_FEATURE_TIME] =
        {
            .flag = "hv-time",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX,
                       HVB_TIME_REF_COUNT | HVB_REFERENCE_TSC}},
        },
    [HV_FEATURE_CRASH] =
        {
            .flag = "hv-crash",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EDX, HVB_CRASH_MSRS}},
        },
    [HV_FEATURE_RESET] =
        {
            .flag = "hv-reset",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_RESET}},
        },
    [HV_FEATURE_VPINDEX] =
        {
            .flag = "hv-vpindex",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_VP_INDEX}},
        },
    [HV_FEATURE_RUNTIME] =
        {
            .flag = "hv-runtime",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_VP_RUNTIME}},
        },
    [HV_FEATURE_SYNIC] =
        {
            .flag = "hv-synic",
            .software = true,
            .needs = NEEDS(VPINDEX),
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_SYNIC},
                      {HVLEAF_FEATURES, HV_REG_EBX,
                       HVB_POST_MESSAGES | HVB_SIGNAL_EVENTS}},
        },
    [HV_FEATURE_STIMER] =
        {
            .flag = "hv-stimer",
            .software = true,
            .needs = NEEDS(SYNIC) | NEEDS(TIME),
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_STIMER}},
        },
    [HV_FEATURE_FREQUENCIES] =
        {
            .flag = "hv-frequencies",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_FREQUENCY_ACCESS},
                      {HVLEAF_FEATURES, HV_REG_EDX, HVB_FREQUENCY_MSRS}},
        },
    [HV_FEATURE_REENLIGHTENMENT] =
        {
            .flag = "hv-reenlightenment",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EAX, HVB_REENLIGHTENMENT}},
        },
    [HV_FEATURE_TLBFLUSH] =
        {
            .flag = "hv-tlbflush",
            .software = true,
            .needs = NEEDS(VPINDEX),
            .cpuid = {{HVLEAF_ENLIGHTENED, HV_REG_EAX,
                       HVB_USE_TLB_FLUSH | HVB_USE_EX_MASKS}},
        },
    [HV_FEATURE_EVMCS] =
        {
            .flag = "hv-evmcs",
            .needs = NEEDS(VAPIC),
            .cpuid = {{HVLEAF_ENLIGHTENED, HV_REG_EAX, HVB_USE_EVMCS}},
        },
    [HV_FEATURE_IPI] =
        {
            .flag = "hv-ipi",
            .software = true,
            .needs = NEEDS(VPINDEX),
            .cpuid = {{HVLEAF_ENLIGHTENED, HV_REG_EAX,
                       HVB_USE_CLUSTER_IPI | HVB_USE_EX_MASKS}},
        },
    [HV_FEATURE_STIMER_DIRECT] =
        {
            .flag = "hv-stimer-direct",
            .software = true,
            .needs = NEEDS(STIMER),
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EDX, HVB_STIMER_DIRECT}},
        },
    [HV_FEATURE_AVIC] =
        {
            .flag = "hv-avic",
            .software = true,
            .cpuid = {{HVLEAF_ENLIGHTENED, HV_REG_EAX, HVB_NO_AUTO_EOI}},
        },
    [HV_FEATURE_SYNDBG] =
        {
            .flag = "hv-syndbg",
            .needs = NEEDS(SYNIC) | NEEDS(RELAXED),
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EDX, HVB_SYNDBG}},
        },
    [HV_FEATURE_MSR_BITMAP] =
        {
            .flag = "hv-emsr-bitmap",
            .cpuid = {{HVLEAF_NESTED, HV_REG_EAX, HVB_NESTED_MSR_BITMAP}},
        },
    [HV_FEATURE_XMM_INPUT] =
        {
            .flag = "hv-xmm-input",
            .software = true,
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EDX, HVB_XMM_INPUT}},
        },
    [HV_FEATURE_TLBFLUSH_EXT] =
        {
            .flag = "hv-tlbflush-ext",
            .software = true,
            .needs = NEEDS(TLBFLUSH),
            .cpuid = {{HVLEAF_FEATURES, HV_REG_EDX, HVB_EXT_FLUSH_RANGES}},
        },
    [HV_FEATURE_TLBFLUSH_DIRECT] =
        {
            .flag = "hv-tlbflush-direct",
            .needs = NEEDS(VAPIC),
            .cpuid = {{HVLEAF_NESTED, HV_REG_EAX, HVB_NESTED_FLUSH}},
        },
};

bool hv_config_enabled(const HvConfig *config)
{
    return config->features || config->passthrough ||
           config->spinlocks != HV_SPINLOCKS_NEVER;
}

/* "hv-stimer needs hv-synic and hv-time" */
static void say_missing(const HvFeatureInfo *info, uint64_t missing, char *why,
                        size_t size)
{
    const char *word = " needs ";
    char text[128];
    size_t len;
    int f;

    len = (size_t)snprintf(text, sizeof(text), "%s", info->flag);
    for (f = 0; f < HV_FEATURE_COUNT; f++) {
        if (missing & HV_FEATURE_BIT(f)) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
                                    word, hv_feature_table[f].flag);
            word = " and ";
        }
    }
    snprintf(why, size, "%s", text);
}

bool hv_config_check(const HvConfig *config, char *why, size_t size)
{
    int f;

    if (config->passthrough) {
        snprintf(why, size, "hv-passthrough is available with KVM only");
        return false;
    }
    if (config->features >> HV_FEATURE_COUNT) {
        snprintf(why, size, "an hv-* flag is unknown to this version");
        return false;
    }
    for (f = 0; f < HV_FEATURE_COUNT; f++) {
        const HvFeatureInfo *info = &hv_feature_table[f];
        uint64_t missing = info->needs & ~config->features;

        if (!hv_config_has(config, f)) {
            continue;
        }
        if (!info->software) {
            snprintf(why, size, "%s is available with KVM only", info->flag);
            return false;
        }
        if (missing) {
            say_missing(info, missing, why, size);
            return false;
        }
    }
    return true;
}

/* The bits that the enabled features show in @leaf. */
static void collect_bits(const HvConfig *config, uint32_t leaf, uint32_t out[4])
{
    unsigned f, i;

    for (f = 0; f < HV_FEATURE_COUNT; f++) {
        const HvFeatureInfo *info = &hv_feature_table[f];

        for (i = 0; hv_config_has(config, f) && i < 2; i++) {
            if (info->cpuid[i].leaf == leaf) {
                out[info->cpuid[i].reg] |= info->cpuid[i].bits;
            }
        }
    }
}

static uint32_t last_leaf(const HvConfig *config)
{
    uint32_t nested[4] = {0};

    collect_bits(config, HVLEAF_NESTED, nested);
    return nested[HV_REG_EAX] ? HVLEAF_NESTED : HVLEAF_LIMITS;
}

bool hv_config_cpuid(const HvConfig *config, uint32_t leaf, uint32_t out[4])
{
    memset(out, 0, 4 * sizeof(out[0]));
    if (leaf < HVLEAF_VENDOR || leaf > HVLEAF_LAST) {
        return false;
    }
    collect_bits(config, leaf, out);
    switch (leaf) {
    case HVLEAF_VENDOR:
        out[HV_REG_EAX] = last_leaf(config);
        memcpy(out + 1, config->vendor, sizeof(config->vendor));
        break;
    case HVLEAF_INTERFACE:
        memcpy(out, config->interface, sizeof(config->interface));
        break;
    case HVLEAF_VERSION:
        memcpy(out, config->version, sizeof(config->version));
        break;
    case HVLEAF_FEATURES:
        /* Hypercalls come with any flag, as on KVM. */
        out[HV_REG_EAX] |= HVB_HYPERCALL;
        /* Windows plugs CPUs only if it sees this. */
        out[HV_REG_EDX] |= HVB_DYNAMIC_VPS;
        break;
    case HVLEAF_ENLIGHTENED:
        if (hv_config_has(config, HV_FEATURE_VAPIC) &&
            !hv_config_has(config, HV_FEATURE_AVIC)) {
            out[HV_REG_EAX] |= HVB_USE_APIC_MSRS;
        }
        if (config->no_core_sharing) {
            out[HV_REG_EAX] |= HVB_NO_CORE_SHARING;
        }
        out[HV_REG_EBX] = config->spinlocks;
        break;
    case HVLEAF_LIMITS:
        memcpy(out, config->limits, sizeof(config->limits));
        break;
    }
    return true;
}
