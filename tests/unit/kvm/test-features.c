/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "fake-machine.h"

#define BIT(f) HV_FEATURE_BIT(HV_FEATURE_##f)

static HvConfig config_of(uint64_t features)
{
    return (HvConfig){.features = features, .spinlocks = HV_SPINLOCKS_NEVER};
}

/* The flags whose sentence a refusal is to be. */
static void assert_refused(uint64_t features, const char *sentence)
{
    HvConfig config = config_of(features);
    char why[160] = "";

    g_assert_false(hv_config_check(&config, why, sizeof(why)));
    g_assert_cmpstr(why, ==, sentence);
}

static void test_enabled(void)
{
    HvConfig config = config_of(0);

    g_assert_false(hv_config_enabled(&config));
    config.spinlocks = 0x1fff;
    g_assert_true(hv_config_enabled(&config));
    config = config_of(BIT(RELAXED));
    g_assert_true(hv_config_enabled(&config));
    config = config_of(0);
    config.passthrough = true;
    g_assert_true(hv_config_enabled(&config));
}

static void test_all_accepted(void)
{
    HvConfig config = config_of(FAKE_ALL_FEATURES);
    char why[160] = "";

    g_assert_true(hv_config_check(&config, why, sizeof(why)));
    g_assert_cmpstr(why, ==, "");
}

static void test_not_in_software(void)
{
    HvConfig config = config_of(0);
    char why[160];

    assert_refused(BIT(EVMCS) | BIT(VAPIC),
                   "hv-evmcs is available with KVM only");
    assert_refused(BIT(MSR_BITMAP),
                   "hv-emsr-bitmap is available with KVM only");
    assert_refused(BIT(TLBFLUSH_DIRECT) | BIT(VAPIC),
                   "hv-tlbflush-direct is available with KVM only");
    assert_refused(FAKE_ALL_FEATURES | BIT(SYNDBG),
                   "hv-syndbg is available with KVM only");
    config.passthrough = true;
    g_assert_false(hv_config_check(&config, why, sizeof(why)));
    g_assert_cmpstr(why, ==, "hv-passthrough is available with KVM only");
}

static void test_unknown_flag(void)
{
    assert_refused(1ull << HV_FEATURE_COUNT,
                   "an hv-* flag is unknown to this version");
}

static void test_dependencies(void)
{
    assert_refused(BIT(SYNIC), "hv-synic needs hv-vpindex");
    assert_refused(BIT(STIMER), "hv-stimer needs hv-time and hv-synic");
    assert_refused(BIT(STIMER) | BIT(TIME), "hv-stimer needs hv-synic");
    assert_refused(BIT(STIMER_DIRECT), "hv-stimer-direct needs hv-stimer");
    assert_refused(BIT(TLBFLUSH), "hv-tlbflush needs hv-vpindex");
    assert_refused(BIT(IPI), "hv-ipi needs hv-vpindex");
    assert_refused(BIT(TLBFLUSH_EXT), "hv-tlbflush-ext needs hv-tlbflush");
}

static void test_short_buffer(void)
{
    HvConfig config = config_of(BIT(STIMER));
    char why[10];

    memset(why, 'x', sizeof(why));
    g_assert_false(hv_config_check(&config, why, sizeof(why)));
    g_assert_cmpstr(why, ==, "hv-stimer");
}

/*
 * What each flag alone adds to the leaves, in the numbers of QEMU's
 * target/i386/kvm/hyperv-proto.h.
 */
static const struct {
    HvFeature feature;
    const char *flag;
    uint32_t leaf, reg, bits;
} shown[] = {
    {HV_FEATURE_RELAXED, "hv-relaxed", 0x40000004, 0, 0x20},
    {HV_FEATURE_VAPIC, "hv-vapic", 0x40000003, 0, 0x10},
    {HV_FEATURE_TIME, "hv-time", 0x40000003, 0, 0x202},
    {HV_FEATURE_CRASH, "hv-crash", 0x40000003, 3, 0x400},
    {HV_FEATURE_RESET, "hv-reset", 0x40000003, 0, 0x80},
    {HV_FEATURE_VPINDEX, "hv-vpindex", 0x40000003, 0, 0x40},
    {HV_FEATURE_RUNTIME, "hv-runtime", 0x40000003, 0, 0x1},
    {HV_FEATURE_SYNIC, "hv-synic", 0x40000003, 0, 0x4},
    {HV_FEATURE_STIMER, "hv-stimer", 0x40000003, 0, 0x8},
    {HV_FEATURE_FREQUENCIES, "hv-frequencies", 0x40000003, 0, 0x800},
    {HV_FEATURE_REENLIGHTENMENT, "hv-reenlightenment", 0x40000003, 0, 0x2000},
    {HV_FEATURE_TLBFLUSH, "hv-tlbflush", 0x40000004, 0, 0x804},
    {HV_FEATURE_EVMCS, "hv-evmcs", 0x40000004, 0, 0x4000},
    {HV_FEATURE_IPI, "hv-ipi", 0x40000004, 0, 0xc00},
    {HV_FEATURE_STIMER_DIRECT, "hv-stimer-direct", 0x40000003, 3, 0x80000},
    {HV_FEATURE_AVIC, "hv-avic", 0x40000004, 0, 0x200},
    {HV_FEATURE_SYNDBG, "hv-syndbg", 0x40000003, 3, 0x800},
    {HV_FEATURE_MSR_BITMAP, "hv-emsr-bitmap", 0x4000000a, 0, 0x80000},
    {HV_FEATURE_XMM_INPUT, "hv-xmm-input", 0x40000003, 3, 0x10},
    {HV_FEATURE_TLBFLUSH_EXT, "hv-tlbflush-ext", 0x40000003, 3, 0x4000},
    {HV_FEATURE_TLBFLUSH_DIRECT, "hv-tlbflush-direct", 0x4000000a, 0, 0x20000},
};

static void test_bits(void)
{
    HvConfig none = config_of(0);
    size_t i;

    g_assert_cmpuint(G_N_ELEMENTS(shown), ==, HV_FEATURE_COUNT);
    for (i = 0; i < G_N_ELEMENTS(shown); i++) {
        HvConfig config = config_of(HV_FEATURE_BIT(shown[i].feature));
        uint32_t with[4], without[4];

        g_assert_cmpstr(hv_feature_table[shown[i].feature].flag, ==,
                        shown[i].flag);
        g_assert_true(hv_config_cpuid(&config, shown[i].leaf, with));
        g_assert_true(hv_config_cpuid(&none, shown[i].leaf, without));
        g_assert_cmphex(without[shown[i].reg] & shown[i].bits, ==, 0);
        if (shown[i].feature == HV_FEATURE_VAPIC) {
            g_assert_cmphex(with[0], ==, without[0] | 0x10);
        }
        g_assert_cmphex(with[shown[i].reg], ==,
                        without[shown[i].reg] | shown[i].bits);
    }
}

static void test_second_bits(void)
{
    HvConfig config = config_of(BIT(SYNIC) | BIT(FREQUENCIES));
    uint32_t out[4];

    hv_config_cpuid(&config, 0x40000003, out);
    g_assert_cmphex(out[1], ==, 0x30);
    g_assert_cmphex(out[3], ==, 0x108);
    /* Always there */
    config = config_of(BIT(RELAXED));
    hv_config_cpuid(&config, 0x40000003, out);
    g_assert_cmphex(out[0], ==, 0x20);
    g_assert_cmphex(out[1], ==, 0);
    g_assert_cmphex(out[3], ==, 0x8);
}

static void test_recommendations(void)
{
    HvConfig config = config_of(BIT(VAPIC));
    uint32_t out[4];

    config.spinlocks = 0x1fff;
    hv_config_cpuid(&config, 0x40000004, out);
    g_assert_cmphex(out[0], ==, 0x8);
    g_assert_cmphex(out[1], ==, 0x1fff);
    config = config_of(BIT(VAPIC) | BIT(AVIC));
    config.no_core_sharing = true;
    hv_config_cpuid(&config, 0x40000004, out);
    g_assert_cmphex(out[0], ==, 0x40200);
    g_assert_cmphex(out[1], ==, 0xffffffff);
}

static void test_identity(void)
{
    HvConfig config = config_of(BIT(RELAXED));
    uint32_t out[4];

    memcpy(config.vendor, "Microsoft Hv", 12);
    config.interface[0] = 0x31237648;
    config.version[0] = 14393;
    config.version[1] = 10 << 16;
    config.version[2] = 3;
    config.version[3] = 4u << 24 | 5;
    config.limits[0] = 240;
    config.limits[1] = 64;
    hv_config_cpuid(&config, 0x40000000, out);
    g_assert_cmphex(out[0], ==, 0x40000005);
    g_assert_cmpmem(out + 1, 12, "Microsoft Hv", 12);
    hv_config_cpuid(&config, 0x40000001, out);
    g_assert_cmphex(out[0], ==, 0x31237648);
    hv_config_cpuid(&config, 0x40000002, out);
    g_assert_cmpuint(out[0], ==, 14393);
    g_assert_cmphex(out[1], ==, 0xa0000);
    g_assert_cmphex(out[2], ==, 3);
    g_assert_cmphex(out[3], ==, 0x04000005);
    hv_config_cpuid(&config, 0x40000005, out);
    g_assert_cmpuint(out[0], ==, 240);
    g_assert_cmpuint(out[1], ==, 64);
    /* Not described: all zero */
    hv_config_cpuid(&config, 0x40000006, out);
    g_assert_cmphex(out[0] | out[1] | out[2] | out[3], ==, 0);
}

static void test_range(void)
{
    HvConfig config = config_of(BIT(MSR_BITMAP));
    uint32_t out[4];

    g_assert_false(hv_config_cpuid(&config, 0x3fffffff, out));
    g_assert_false(hv_config_cpuid(&config, 0x40000100, out));
    g_assert_false(hv_config_cpuid(&config, 0xffffffff, out));
    g_assert_true(hv_config_cpuid(&config, 0x400000ff, out));
    /* A nested feature makes its leaf the last one. */
    hv_config_cpuid(&config, 0x40000000, out);
    g_assert_cmphex(out[0], ==, 0x4000000a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/features/enabled", test_enabled);
    g_test_add_func("/features/all-accepted", test_all_accepted);
    g_test_add_func("/features/refused/not-in-software", test_not_in_software);
    g_test_add_func("/features/refused/unknown", test_unknown_flag);
    g_test_add_func("/features/refused/dependencies", test_dependencies);
    g_test_add_func("/features/refused/short-buffer", test_short_buffer);
    g_test_add_func("/features/cpuid/bits", test_bits);
    g_test_add_func("/features/cpuid/second-bits", test_second_bits);
    g_test_add_func("/features/cpuid/recommendations", test_recommendations);
    g_test_add_func("/features/cpuid/identity", test_identity);
    g_test_add_func("/features/cpuid/range", test_range);
    return g_test_run();
}
