/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition and VPs as the first version saved them. */
#include <errno.h>

#include "fake-machine.h"
#include "golden.h"
#include "kvm/hv-state.h"

#define TSC_PAGE 0x3000u
#define SECOND   10000000ull

/* By name, and not as "all there are": their numbers are in the state. */
#define FEATURES                                                               \
    (HV_FEATURE_BIT(HV_FEATURE_RELAXED) | HV_FEATURE_BIT(HV_FEATURE_TIME) |    \
     HV_FEATURE_BIT(HV_FEATURE_CRASH) | HV_FEATURE_BIT(HV_FEATURE_VPINDEX) |   \
     HV_FEATURE_BIT(HV_FEATURE_RUNTIME) | HV_FEATURE_BIT(HV_FEATURE_SYNIC) |   \
     HV_FEATURE_BIT(HV_FEATURE_STIMER) | HV_FEATURE_BIT(HV_FEATURE_VAPIC) |    \
     HV_FEATURE_BIT(HV_FEATURE_STIMER_DIRECT) |                                \
     HV_FEATURE_BIT(HV_FEATURE_REENLIGHTENMENT) |                              \
     HV_FEATURE_BIT(HV_FEATURE_FREQUENCIES) |                                  \
     HV_FEATURE_BIT(HV_FEATURE_TLBFLUSH_EXT))

/* No guest has run yet. */
static void fresh(Fake *fake)
{
}

/* All registers, timers of each kind, and an interrupt that was not taken. */
static void used(Fake *fake)
{
    uint64_t now;

    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 0x8100000000060100ull);
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0x1001);
    fake_wrmsr(fake, HVMSR_REFERENCE_TSC, TSC_PAGE | 1);
    fake_wrmsr(fake, HVMSR_ASSIST_PAGE, 0x2001);
    fake_wrmsr(fake, HVMSR_SCONTROL, 1);
    fake_wrmsr(fake, HVMSR_SIEFP, 0x4001);
    fake_wrmsr(fake, HVMSR_SIMP, 0x5001);
    fake_wrmsr(fake, HVMSR_SINT0 + 2, 0xf3 | HVB_SINT_AUTO_EOI);
    fake_wrmsr(fake, HVMSR_SINT0 + 4, 0x51);
    fake_wrmsr(fake, HVMSR_REENLIGHTENMENT, 0x1ee);
    for (uint32_t i = 0; i < HV_ABI_CRASH_PARAMS; i++) {
        fake_wrmsr(fake, HVMSR_CRASH_P0 + i, 0x1111 * (i + 1));
    }
    fake->now = 50 * SECOND;
    now = fake_rdmsr(fake, HVMSR_TIME_REF_COUNT);
    hv_sint_raise(&fake->vps[0], 2);
    /* One shot, period, direct, and one whose message found no room. */
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG, 2 << 16 | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 1, now + 5000);
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 2,
               4 << 16 | HVB_STIMER_PERIODIC | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 3, 20000);
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 4,
               HVB_STIMER_DIRECT_MODE | 0x60 << 4 | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 5, now + 7000);
    fake->post_status = -EAGAIN;
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 6,
               2 << 16 | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, HVMSR_STIMER0_CONFIG + 7, 1);
}

typedef struct Case {
    const char *name;
    void (*prepare)(Fake *fake);
} Case;

static const Case cases[] = {
    {"fresh", fresh},
    {"used", used},
};

/* Flat structures: all of the old one stands where it was. */
static void assert_begins(const void *now, gsize len, const GByteArray *golden)
{
    g_assert_cmpuint(len, >=, golden->len);
    g_assert_cmpmem(now, golden->len, golden->data, golden->len);
}

static void test_partition(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *name = g_strdup_printf("hv-partition-%s", c->name);
    g_autoptr(GByteArray) golden = NULL;
    Fake *here = fake_new(FEATURES), *there = fake_new(FEATURES);
    HvSavedPartition saved;

    c->prepare(here);
    hv_partition_save(&here->partition, &saved);
    golden = golden_read(name, &saved, sizeof(saved));
    assert_begins(&saved, sizeof(saved), golden);
    there->now = 50 * SECOND;
    g_assert_cmpstr(
        hv_partition_load(&there->partition, golden->data, golden->len), ==,
        NULL);
    memset(&saved, 0, sizeof(saved));
    hv_partition_save(&there->partition, &saved);
    assert_begins(&saved, sizeof(saved), golden);
    /* The clock goes on where it stood, and the guest sees that it moved. */
    g_assert_true(hv_partition_resume(&there->partition));
    if (c->prepare == used) {
        HvTscPage page;

        g_assert_cmpuint(fake_rdmsr(there, HVMSR_TIME_REF_COUNT), ==,
                         50 * SECOND);
        memcpy(&page, there->memory + TSC_PAGE, sizeof(page));
        g_assert_cmpuint(page.sequence, ==, saved.s.tsc_sequence + 1);
        g_assert_cmphex(fake_rdmsr(there, HVMSR_HYPERCALL), ==, 0x1001);
        g_assert_cmphex(fake_rdmsr(there, HVMSR_CRASH_P0 + 4), ==, 0x5555);
    }
    fake_free(here);
    fake_free(there);
}

static void test_vp(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *name = g_strdup_printf("hv-vp-%s", c->name);
    g_autoptr(GByteArray) golden = NULL;
    Fake *here = fake_new(FEATURES), *there = fake_new(FEATURES);
    HvSavedVp saved;

    c->prepare(here);
    hv_vp_save(&here->vps[0], &saved);
    golden = golden_read(name, &saved, sizeof(saved));
    assert_begins(&saved, sizeof(saved), golden);
    g_assert_cmpstr(hv_vp_load(&there->vps[0], golden->data, golden->len), ==,
                    NULL);
    memset(&saved, 0, sizeof(saved));
    hv_vp_save(&there->vps[0], &saved);
    assert_begins(&saved, sizeof(saved), golden);
    there->now = 50 * SECOND;
    hv_vp_resume(&there->vps[0]);
    if (c->prepare == used) {
        g_assert_cmpuint(there->deadlines[0][0], ==, 50 * SECOND + 5000);
        g_assert_cmpuint(there->deadlines[0][1], ==, 50 * SECOND + 20000);
        g_assert_cmpuint(there->deadlines[0][2], ==, 50 * SECOND + 7000);
        g_assert_cmphex(fake_rdmsr(there, HVMSR_SINT0 + 4), ==, 0x51);
        /* The message that waited, and the interrupt that ends by itself. */
        fake_wrmsr(there, HVMSR_EOM, 0);
        g_assert_cmpuint(there->posts, ==, 1);
        fake_wrmsr(there, HVMSR_SINT0 + 2, 0x10000);
        g_assert_true(hv_sint_auto_eoi(&there->vps[0], 0xf3));
        g_assert_false(hv_sint_auto_eoi(&there->vps[0], 0xf3));
    }
    fake_free(here);
    fake_free(there);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *partition =
            g_strdup_printf("/state/golden/partition/%s", cases[i].name);
        g_autofree char *vp =
            g_strdup_printf("/state/golden/vp/%s", cases[i].name);

        g_test_add_data_func(partition, &cases[i], test_partition);
        g_test_add_data_func(vp, &cases[i], test_vp);
    }
    return g_test_run();
}
