/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "fake-machine.h"

#define BIT(f) HV_FEATURE_BIT(HV_FEATURE_##f)

static void assert_no_read(Fake *fake, uint32_t msr)
{
    uint64_t value;

    g_assert_false(hv_msr_read(&fake->vps[0], msr, &value));
}

static void assert_no_write(Fake *fake, uint32_t msr, uint64_t value)
{
    g_assert_false(hv_msr_write(&fake->vps[0], msr, value));
}

/* Without its feature an MSR does not exist; with it, it does. */
static void test_gates(void)
{
    static const struct {
        uint64_t feature;
        uint32_t first, last;
        bool readable;
    } gates[] = {
        {BIT(VPINDEX), 0x40000002, 0x40000002, true},
        {BIT(RESET), 0x40000003, 0x40000003, true},
        {BIT(RUNTIME), 0x40000010, 0x40000010, true},
        {BIT(TIME), 0x40000020, 0x40000021, true},
        {BIT(FREQUENCIES), 0x40000022, 0x40000023, true},
        {BIT(VAPIC), 0x40000070, 0x40000070, false},
        {BIT(VAPIC), 0x40000071, 0x40000073, true},
        {BIT(SYNIC), 0x40000080, 0x40000084, true},
        {BIT(SYNIC), 0x40000090, 0x4000009f, true},
        {BIT(STIMER), 0x400000b0, 0x400000b7, true},
        {BIT(CRASH), 0x40000100, 0x40000105, true},
        {BIT(REENLIGHTENMENT), 0x40000106, 0x40000108, true},
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(gates); i++) {
        Fake *without = fake_new(FAKE_ALL_FEATURES & ~gates[i].feature);
        Fake *with = fake_new(gates[i].feature);
        uint64_t value;
        uint32_t msr;

        for (msr = gates[i].first; msr <= gates[i].last; msr++) {
            assert_no_read(without, msr);
            assert_no_write(without, msr, 0x10000);
            g_assert_cmpint(hv_msr_read(&with->vps[0], msr, &value), ==,
                            gates[i].readable);
        }
        fake_free(without);
        fake_free(with);
    }
}

static void test_unknown(void)
{
    static const uint32_t unknown[] = {
        0x40000004, 0x4000000f, 0x40000011, 0x40000024, 0x4000006f,
        0x40000074, 0x40000085, 0x4000008f, 0x400000a0, 0x400000b8,
        0x400000f1, 0x400000ff, 0x40000109, 0x40000118, 0x400001ff,
    };
    Fake *fake = fake_new(FAKE_ALL_FEATURES);
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(unknown); i++) {
        assert_no_read(fake, unknown[i]);
        assert_no_write(fake, unknown[i], 0);
    }
    fake_free(fake);
}

static void test_read_only(void)
{
    static const uint32_t read_only[] = {
        HVMSR_VP_INDEX,      HVMSR_VP_RUNTIME,     HVMSR_TIME_REF_COUNT,
        HVMSR_TSC_FREQUENCY, HVMSR_APIC_FREQUENCY, HVMSR_SVERSION,
    };
    Fake *fake = fake_new(FAKE_ALL_FEATURES);
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(read_only); i++) {
        assert_no_write(fake, read_only[i], 0);
        fake_rdmsr(fake, read_only[i]);
    }
    g_assert_cmpuint(fake->synic_changes, ==, 0);
    assert_no_read(fake, HVMSR_EOI);
    fake_free(fake);
}

static void test_values(void)
{
    Fake *fake = fake_new(FAKE_ALL_FEATURES);
    uint64_t value = 0;

    g_assert_true(hv_msr_read(&fake->vps[1], HVMSR_VP_INDEX, &value));
    g_assert_cmpuint(value, ==, 1);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_VP_RUNTIME), ==, 500);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_TSC_FREQUENCY), ==, 2000000000);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_APIC_FREQUENCY), ==, 1000000000);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_SVERSION), ==, 1);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_EOM), ==, 0);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_TIME_REF_COUNT), ==,
                     hv_partition_time(&fake->partition));
    fake_free(fake);
}

static void test_hypercall_page(void)
{
    Fake *fake = fake_new(BIT(RELAXED));

    /* Nothing happens before the guest gave its identity. */
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0x2001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_HYPERCALL), ==, 0);
    g_assert_cmpuint(fake->writes->len, ==, 0);

    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 0x8100000000000000);
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0x2001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_HYPERCALL), ==, 0x2001);
    g_assert_cmpmem(fake->memory + 0x2000, 4, "\xe7\xe6\xc3", 4);

    /* Where there is no RAM: #GP, and the register stays. */
    assert_no_write(fake, HVMSR_HYPERCALL, (1ull << 40) | 1);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_HYPERCALL), ==, 0x2001);

    /* Taking the identity back disables the page. */
    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 0);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_HYPERCALL), ==, 0x2000);
    fake_free(fake);
}

static void test_hypercall_locked(void)
{
    Fake *fake = fake_new(BIT(RELAXED));

    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 1);
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0x3003);
    assert_no_write(fake, HVMSR_HYPERCALL, 0x2001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_HYPERCALL), ==, 0x3003);
    hv_partition_reset(&fake->partition);
    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 1);
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0x2001);
    fake_free(fake);
}

static HvTscPage tsc_page(Fake *fake, uint64_t gpa)
{
    HvTscPage page;

    memcpy(&page, fake->memory + gpa, sizeof(page));
    return page;
}

static void test_tsc_page(void)
{
    Fake *fake = fake_new(BIT(TIME));
    const FakeWrite *writes;
    HvClock seen = {0};
    HvTscPage page;
    int i;

    memset(fake->memory + 0x1000, 0xff, HV_ABI_PAGE_SIZE);
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x1001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_REFERENCE_TSC), ==, 0x1001);
    page = tsc_page(fake, 0x1000);
    g_assert_cmpuint(page.sequence, ==, 1);
    g_assert_cmpuint(page.reserved, ==, 0);

    /* The sequence goes to 0 first, and is written last and alone. */
    writes = (const FakeWrite *)fake->writes->data;
    g_assert_cmpuint(fake->writes->len, ==, 3);
    g_assert_cmphex(writes[0].gpa, ==, 0x1000);
    g_assert_cmphex(writes[1].gpa, ==, 0x1008);
    g_assert_cmphex(writes[2].gpa, ==, 0x1000);
    g_assert_cmpuint(writes[2].len, ==, 4);

    /* The guest's sum gives what the counter says, over years. */
    seen.scale = page.scale;
    seen.offset = page.offset;
    for (i = 0; i < 50; i++) {
        fake->now = fake->now * 2 + 1;
        g_assert_cmpuint(hv_clock_read(&seen, fake->now * FAKE_TSC_PER_UNIT),
                         ==, fake_rdmsr(fake, HVMSR_TIME_REF_COUNT));
    }
    fake_free(fake);
}

static void test_tsc_page_sequence(void)
{
    Fake *fake = fake_new(BIT(TIME));

    fake->partition.s.tsc_sequence = UINT32_MAX - 2;
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x1001);
    g_assert_cmphex(tsc_page(fake, 0x1000).sequence, ==, UINT32_MAX - 1);
    /* Neither all ones nor 0 is ever a valid sequence. */
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x1001);
    g_assert_cmphex(tsc_page(fake, 0x1000).sequence, ==, 1);
    /* A reset does not make the next page look like this one. */
    hv_partition_reset(&fake->partition);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_REFERENCE_TSC), ==, 0);
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x2001);
    g_assert_cmphex(tsc_page(fake, 0x2000).sequence, ==, 2);
    fake_free(fake);
}

static void test_tsc_page_unusable(void)
{
    Fake *fake = fake_new(BIT(TIME));

    fake->tsc_too_slow = true;
    memset(fake->memory + 0x1000, 0xff, HV_ABI_PAGE_SIZE);
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x1001);
    g_assert_cmpuint(tsc_page(fake, 0x1000).sequence, ==, 0);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_TIME_REF_COUNT), ==, 1000);
    fake_free(fake);

    /* A page that is not RAM, and one that is disabled, do no harm. */
    fake = fake_new(BIT(TIME));
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, (1ull << 50) | 1);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_REFERENCE_TSC), ==,
                    (1ull << 50) | 1);
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x1000);
    g_assert_cmpuint(fake->writes->len, ==, 0);
    fake_free(fake);
}

static void test_apic(void)
{
    Fake *fake = fake_new(BIT(VAPIC));

    fake->apic[HV_APIC_EOI] = 1;
    fake_wrmsr(fake, HVMSR_EOI, 0);
    g_assert_cmphex(fake->apic[HV_APIC_EOI], ==, 0);
    fake_wrmsr(fake, HVMSR_ICR, 0x02000000000000f1);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_ICR), ==, 0x02000000000000f1);
    fake_wrmsr(fake, HVMSR_TPR, 0x20);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_TPR), ==, 0x20);
    /* What the APIC refuses is #GP. */
    fake->apic_refuses = true;
    assert_no_write(fake, HVMSR_EOI, 0);
    assert_no_write(fake, HVMSR_ICR, 0);
    assert_no_read(fake, HVMSR_TPR);
    fake_free(fake);
}

static void test_assist_page(void)
{
    Fake *fake = fake_new(BIT(VAPIC));

    memset(fake->memory + 0x1000, 0xff, HV_ABI_PAGE_SIZE);
    fake_wrmsr(fake, HVMSR_ASSIST_PAGE, 0x1001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_ASSIST_PAGE), ==, 0x1001);
    /* "No EOI needed" is off; the rest is the guest's. */
    g_assert_cmpmem(fake->memory + 0x1000, 5, "\0\0\0\0\xff", 5);
    assert_no_write(fake, HVMSR_ASSIST_PAGE, (1ull << 40) | 1);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_ASSIST_PAGE), ==, 0x1001);
    fake_wrmsr(fake, HVMSR_ASSIST_PAGE, 1ull << 40);
    fake_free(fake);
}

static void test_synic(void)
{
    Fake *fake = fake_new(BIT(SYNIC) | BIT(VPINDEX));

    fake_wrmsr(fake, HVMSR_SIMP, 0x3001);
    fake_wrmsr(fake, HVMSR_SIEFP, 0x4001);
    fake_wrmsr(fake, HVMSR_SCONTROL, 1);
    g_assert_cmpuint(fake->synic_changes, ==, 3);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_SIMP), ==, 0x3001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_SIEFP), ==, 0x4001);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_SCONTROL), ==, 1);
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->slots_freed, ==, 1);
    fake_free(fake);
}

static void test_crash(void)
{
    Fake *fake = fake_new(BIT(CRASH));
    unsigned i;

    for (i = 0; i < HV_ABI_CRASH_PARAMS; i++) {
        fake_wrmsr(fake, HVMSR_CRASH_P0 + i, 100 + i);
        g_assert_cmpuint(fake_rdmsr(fake, HVMSR_CRASH_P0 + i), ==, 100 + i);
    }
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_CRASH_CTL), ==, 1ull << 63);
    fake_wrmsr(fake, HVMSR_CRASH_CTL, 1);
    g_assert_cmpuint(fake->crashes, ==, 0);
    fake_wrmsr(fake, HVMSR_CRASH_CTL, 1ull << 63);
    g_assert_cmpuint(fake->crashes, ==, 1);
    g_assert_cmpuint(fake->crash[0], ==, 100);
    g_assert_cmpuint(fake->crash[4], ==, 104);
    fake_free(fake);
}

static void test_reset_msr(void)
{
    Fake *fake = fake_new(BIT(RESET));

    fake_wrmsr(fake, HVMSR_RESET, 0);
    fake_wrmsr(fake, HVMSR_RESET, 2);
    g_assert_cmpuint(fake->resets, ==, 0);
    fake_wrmsr(fake, HVMSR_RESET, 1);
    g_assert_cmpuint(fake->resets, ==, 1);
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_RESET), ==, 0);
    fake_free(fake);
}

static void test_reenlightenment(void)
{
    Fake *fake = fake_new(BIT(REENLIGHTENMENT));

    fake_wrmsr(fake, HVMSR_REENLIGHTENMENT, 0x100ee);
    fake_wrmsr(fake, HVMSR_TSC_EMU_CONTROL, 1);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_REENLIGHTENMENT), ==, 0x100ee);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_TSC_EMU_CONTROL), ==, 1);
    fake_wrmsr(fake, HVMSR_TSC_EMU_STATUS, 0);
    assert_no_write(fake, HVMSR_TSC_EMU_STATUS, 1);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_TSC_EMU_STATUS), ==, 0);
    fake_free(fake);
}

static void test_reset(void)
{
    Fake *fake = fake_new(FAKE_ALL_FEATURES);
    uint64_t before;

    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 1);
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0x1001);
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, 0x2001);
    fake_wrmsr(fake, HVMSR_ASSIST_PAGE, 0x3001);
    fake_wrmsr(fake, HVMSR_SIMP, 0x4001);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3);
    fake_wrmsr(fake, HVMSR_CRASH_P0, 1);
    before = fake_rdmsr(fake, HVMSR_TIME_REF_COUNT);
    hv_partition_reset(&fake->partition);
    hv_vp_reset(&fake->vps[0]);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_GUEST_OS_ID), ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_HYPERCALL), ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_REFERENCE_TSC), ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_ASSIST_PAGE), ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_SIMP), ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_SINT0 + 2), ==, HVB_SINT_MASKED);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_CRASH_P0), ==, 0);
    /* Time runs on, calibrated as before. */
    fake->now += 5;
    g_assert_cmpuint(fake_rdmsr(fake, HVMSR_TIME_REF_COUNT), ==, before + 5);
    g_assert_cmpuint(fake->samples, ==, 1);
    fake_free(fake);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/msr/gates", test_gates);
    g_test_add_func("/msr/unknown", test_unknown);
    g_test_add_func("/msr/read-only", test_read_only);
    g_test_add_func("/msr/values", test_values);
    g_test_add_func("/msr/hypercall/page", test_hypercall_page);
    g_test_add_func("/msr/hypercall/locked", test_hypercall_locked);
    g_test_add_func("/msr/tsc-page/values", test_tsc_page);
    g_test_add_func("/msr/tsc-page/sequence", test_tsc_page_sequence);
    g_test_add_func("/msr/tsc-page/unusable", test_tsc_page_unusable);
    g_test_add_func("/msr/apic", test_apic);
    g_test_add_func("/msr/assist-page", test_assist_page);
    g_test_add_func("/msr/synic", test_synic);
    g_test_add_func("/msr/crash", test_crash);
    g_test_add_func("/msr/reset", test_reset_msr);
    g_test_add_func("/msr/reenlightenment", test_reenlightenment);
    g_test_add_func("/msr/after-reset", test_reset);
    return g_test_run();
}
