/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "fake-machine.h"

#define SYNIC                                                                  \
    (HV_FEATURE_BIT(HV_FEATURE_SYNIC) | HV_FEATURE_BIT(HV_FEATURE_VPINDEX))

static void test_raise(void)
{
    Fake *fake = fake_new(SYNIC);

    fake_wrmsr(fake, HVMSR_SCONTROL, 1);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3);
    g_assert_cmpint(hv_sint_raise(&fake->vps[0], 2), ==, 0);
    g_assert_cmpuint(fake->vectors[0][0xf3], ==, 1);
    g_assert_cmpuint(fake->vectors_total, ==, 1);
    /* Bits beyond the vector are kept, and do not get into it. */
    fake_wrmsr(fake, HVMSR_SINT0 + 3, 0xabcd000000f0cd21);
    g_assert_cmphex(fake_rdmsr(fake, HVMSR_SINT0 + 3), ==, 0xabcd000000f0cd21);
    g_assert_cmpint(hv_sint_raise(&fake->vps[0], 3), ==, 0);
    g_assert_cmpuint(fake->vectors[0][0x21], ==, 1);
    fake_free(fake);
}

static void test_not_raised(void)
{
    Fake *fake = fake_new(SYNIC);
    HvVp *vp = &fake->vps[0];

    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3);
    g_assert_cmpint(hv_sint_raise(vp, 2), ==, -ENXIO);
    fake_wrmsr(fake, HVMSR_SCONTROL, 1);
    g_assert_cmpint(hv_sint_raise(vp, 16), ==, -EINVAL);
    g_assert_cmpint(hv_sint_raise(vp, UINT_MAX), ==, -EINVAL);
    /* Masked from the start, and by the guest */
    g_assert_cmpint(hv_sint_raise(vp, 0), ==, -ENOENT);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3 | HVB_SINT_MASKED);
    g_assert_cmpint(hv_sint_raise(vp, 2), ==, -ENOENT);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3 | HVB_SINT_POLLING);
    g_assert_cmpint(hv_sint_raise(vp, 2), ==, 0);
    g_assert_cmpuint(fake->vectors_total, ==, 0);
    fake_free(fake);
}

static void test_vector_refused(void)
{
    Fake *fake = fake_new(SYNIC);
    unsigned i;

    for (i = 0; i < HV_ABI_SINT_COUNT; i++) {
        g_assert_cmphex(fake_rdmsr(fake, HVMSR_SINT0 + i), ==, 0x10000);
        g_assert_false(hv_msr_write(&fake->vps[0], HVMSR_SINT0 + i, 0));
        g_assert_false(hv_msr_write(&fake->vps[0], HVMSR_SINT0 + i, 0x0f));
        g_assert_cmphex(fake_rdmsr(fake, HVMSR_SINT0 + i), ==, 0x10000);
        /* Masked it may be anything, also the default. */
        fake_wrmsr(fake, HVMSR_SINT0 + i, 0x10000);
        fake_wrmsr(fake, HVMSR_SINT0 + i, 0x10003);
        fake_wrmsr(fake, HVMSR_SINT0 + i, 0x10);
    }
    fake_free(fake);
}

static void test_auto_eoi(void)
{
    Fake *fake = fake_new(SYNIC);
    HvVp *vp = &fake->vps[0];
    int v;

    for (v = 0; v < 256; v++) {
        g_assert_false(hv_sint_auto_eoi(vp, v));
    }
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3 | HVB_SINT_AUTO_EOI);
    for (v = 0; v < 256; v++) {
        g_assert_cmpint(hv_sint_auto_eoi(vp, v), ==, v == 0xf3);
    }
    g_assert_false(hv_sint_auto_eoi(&fake->vps[1], 0xf3));
    /* Two SINTs on one vector: it is enough that one has it. */
    fake_wrmsr(fake, HVMSR_SINT0 + 4, 0xf3 | HVB_SINT_AUTO_EOI);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0x33);
    g_assert_true(hv_sint_auto_eoi(vp, 0xf3));
    g_assert_false(hv_sint_auto_eoi(vp, 0x33));
    fake_wrmsr(fake, HVMSR_SINT0 + 4,
               0xf3 | HVB_SINT_AUTO_EOI | HVB_SINT_MASKED);
    g_assert_false(hv_sint_auto_eoi(vp, 0xf3));
    fake_wrmsr(fake, HVMSR_SINT0 + 4, 0xf3 | HVB_SINT_AUTO_EOI);
    hv_vp_reset(vp);
    g_assert_false(hv_sint_auto_eoi(vp, 0xf3));
    fake_free(fake);
}

/* What was raised with auto-EOI is ended so, even if the SINT is masked before
 * the processor takes it. */
static void test_auto_eoi_then_masked(void)
{
    const uint64_t on = 0xf3 | HVB_SINT_AUTO_EOI;
    Fake *fake = fake_new(SYNIC);
    HvVp *vp = &fake->vps[0];

    fake_wrmsr(fake, HVMSR_SCONTROL, 1);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, on);
    g_assert_cmpint(hv_sint_raise(vp, 2), ==, 0);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, on | HVB_SINT_MASKED);
    g_assert_false(hv_sint_auto_eoi(vp, 0xf2));
    g_assert_true(hv_sint_auto_eoi(vp, 0xf3));
    g_assert_false(hv_sint_auto_eoi(vp, 0xf3));
    /* An APIC that drops the interrupt has nothing to end. */
    fake_wrmsr(fake, HVMSR_SINT0 + 2, on);
    fake->apic_disabled = true;
    g_assert_cmpint(hv_sint_raise(vp, 2), ==, 0);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, on | HVB_SINT_MASKED);
    g_assert_false(hv_sint_auto_eoi(vp, 0xf3));
    /* Without auto-EOI, and with polling, nothing stays. */
    fake->apic_disabled = false;
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3);
    hv_sint_raise(vp, 2);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, on | HVB_SINT_POLLING);
    hv_sint_raise(vp, 2);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0x10000);
    g_assert_false(hv_sint_auto_eoi(vp, 0xf3));
    fake_free(fake);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sint/raise", test_raise);
    g_test_add_func("/sint/not-raised", test_not_raised);
    g_test_add_func("/sint/vector-refused", test_vector_refused);
    g_test_add_func("/sint/auto-eoi", test_auto_eoi);
    g_test_add_func("/sint/auto-eoi-then-masked", test_auto_eoi_then_masked);
    return g_test_run();
}
