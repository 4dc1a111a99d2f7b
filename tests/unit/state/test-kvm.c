/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A partition that is saved and loaded, on a host whose TSC is another. */
#include <errno.h>

#include "fake-machine.h"
#include "kvm/hv-state.h"

#define TSC_PAGE 0x3000u
#define SECOND   10000000ull

/* The machine that loads: its TSC goes on from that of the first one. */
static struct {
    Fake *fake;
    uint64_t tsc, since; /* TSC and its @now when the machine was loaded */
    uint64_t per_unit;   /* ticks in 100 ns; 0: too slow for a scale */
} there;

static HvOps there_ops;

static uint64_t there_tsc(void *opaque)
{
    return there.tsc + (there.fake->now - there.since) * there.per_unit;
}

static void there_samples(void *opaque, HvClockSample *first,
                          HvClockSample *last)
{
    there.fake->samples++;
    *first = (HvClockSample){.tsc = 1000, .ns = 500};
    *last = (HvClockSample){
        .tsc = 1000 + there.per_unit * SECOND,
        .ns = 500 + 1000000000,
    };
}

static void prepare_there(uint64_t features, uint64_t now, uint64_t per_unit)
{
    there.fake = fake_new(features);
    there.fake->now = now;
    there.since = now;
    there.per_unit = per_unit;
    there_ops = *there.fake->partition.ops;
    there_ops.read_tsc = there_tsc;
    there_ops.clock_samples = there_samples;
    there.fake->partition.ops = &there_ops;
}

static void move(Fake *from)
{
    HvSavedPartition p;

    hv_partition_save(&from->partition, &p);
    there.tsc = p.tsc;
    g_assert_null(hv_partition_load(&there.fake->partition, &p, sizeof(p)));
    for (int i = 0; i < FAKE_VPS; i++) {
        HvSavedVp vp;

        hv_vp_save(&from->vps[i], &vp);
        g_assert_null(hv_vp_load(&there.fake->vps[i], &vp, sizeof(vp)));
    }
}

static void resume(void)
{
    g_assert_true(hv_partition_resume(&there.fake->partition));
    for (int i = 0; i < FAKE_VPS; i++) {
        hv_vp_resume(&there.fake->vps[i]);
    }
    g_assert_false(hv_partition_resume(&there.fake->partition));
}

/* What a guest computes from its TSC page. */
static uint64_t page_time(Fake *fake, uint64_t tsc)
{
    HvTscPage page;
    HvClock clock = {.valid = true};

    memcpy(&page, fake->memory + TSC_PAGE, sizeof(page));
    g_assert_cmpuint(page.sequence, !=, 0);
    clock.scale = page.scale;
    clock.offset = page.offset;
    return hv_clock_read(&clock, tsc);
}

static void test_clock(gconstpointer data)
{
    uint64_t per_unit = GPOINTER_TO_UINT(data);
    Fake *here = fake_new(FAKE_ALL_FEATURES);
    HvTscPage before, after;
    uint64_t saved;

    fake_wrmsr(here, HVMSR_REFERENCE_TSC, TSC_PAGE | 1);
    here->now = 50 * SECOND;
    saved = fake_rdmsr(here, HVMSR_TIME_REF_COUNT);
    /* Another host, which has been up for a time of its own. */
    prepare_there(FAKE_ALL_FEATURES, 7 * SECOND, per_unit);
    memcpy(there.fake->memory, here->memory, sizeof(here->memory));
    move(here);
    /* Nothing of the guest's is touched before the machine runs. */
    g_assert_cmpmem(there.fake->memory, sizeof(here->memory), here->memory,
                    sizeof(here->memory));
    resume();
    g_assert_cmpuint(fake_rdmsr(there.fake, HVMSR_TIME_REF_COUNT), ==, saved);
    g_assert_cmpuint(page_time(there.fake, there_tsc(NULL)), ==, saved);
    memcpy(&before, here->memory + TSC_PAGE, sizeof(before));
    memcpy(&after, there.fake->memory + TSC_PAGE, sizeof(after));
    g_assert_cmpuint(after.sequence, ==, before.sequence + 1);
    there.fake->now += 100 * SECOND;
    g_assert_cmpuint(fake_rdmsr(there.fake, HVMSR_TIME_REF_COUNT), >=,
                     saved + 100 * SECOND - 100);
    g_assert_cmpuint(fake_rdmsr(there.fake, HVMSR_TIME_REF_COUNT), <=,
                     saved + 100 * SECOND + 100);
    g_assert_cmpuint(page_time(there.fake, there_tsc(NULL)), ==,
                     fake_rdmsr(there.fake, HVMSR_TIME_REF_COUNT));
    g_assert_cmpuint(fake_rdmsr(there.fake, HVMSR_TSC_FREQUENCY), ==,
                     per_unit * SECOND);
    fake_free(there.fake);
    fake_free(here);
}

/* On either side there may be no scale; time goes on all the same. */
static void test_no_scale(gconstpointer data)
{
    bool slow_here = GPOINTER_TO_UINT(data);
    Fake *here = fake_new(FAKE_ALL_FEATURES);
    uint64_t saved;

    here->tsc_too_slow = slow_here;
    here->now = 50 * SECOND;
    saved = fake_rdmsr(here, HVMSR_TIME_REF_COUNT);
    prepare_there(FAKE_ALL_FEATURES, 7 * SECOND, slow_here ? 300 : 0);
    move(here);
    resume();
    g_assert_cmpint(there.fake->partition.clock.valid, ==, slow_here);
    g_assert_cmpuint(fake_rdmsr(there.fake, HVMSR_TIME_REF_COUNT), ==,
                     slow_here ? saved : saved + 7 * SECOND - 50 * SECOND);
    fake_free(there.fake);
    fake_free(here);
}

/* A guest that never asked for the time begins where the clock is. */
static void test_not_ready(void)
{
    Fake *here = fake_new(FAKE_ALL_FEATURES);

    prepare_there(FAKE_ALL_FEATURES, 7 * SECOND, 300);
    move(here);
    resume();
    g_assert_cmpuint(there.fake->samples, ==, 0);
    g_assert_false(there.fake->partition.clock_ready);
    fake_free(there.fake);
    fake_free(here);
}

/* Saved again before it ran, a machine is what it was. */
static void test_saved_twice(void)
{
    Fake *here = fake_new(FAKE_ALL_FEATURES);
    HvSavedPartition a, b;

    here->now = 50 * SECOND;
    fake_rdmsr(here, HVMSR_TIME_REF_COUNT);
    hv_partition_save(&here->partition, &a);
    prepare_there(FAKE_ALL_FEATURES, 7 * SECOND, 300);
    move(here);
    there.fake->now += 3 * SECOND;
    hv_partition_save(&there.fake->partition, &b);
    g_assert_cmpmem(&a, sizeof(a), &b, sizeof(b));
    fake_free(there.fake);
    fake_free(here);
}

static void test_timers(void)
{
    Fake *here = fake_new(FAKE_ALL_FEATURES);
    uint64_t now;

    fake_wrmsr(here, HVMSR_STIMER0_CONFIG, 2 << 16 | HVB_STIMER_ENABLE);
    now = fake_rdmsr(here, HVMSR_TIME_REF_COUNT);
    fake_wrmsr(here, HVMSR_STIMER0_CONFIG + 1, now + 5000);
    fake_wrmsr(here, HVMSR_STIMER0_CONFIG,
               2 << 16 | HVB_STIMER_ENABLE | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(here, HVMSR_STIMER0_CONFIG + 2,
               2 << 16 | HVB_STIMER_PERIODIC | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(here, HVMSR_STIMER0_CONFIG + 3, 20000);
    g_assert_cmpuint(here->deadlines[0][0], ==, now + 5000);
    g_assert_cmpuint(here->deadlines[0][1], ==, now + 20000);
    prepare_there(FAKE_ALL_FEATURES, here->now, FAKE_TSC_PER_UNIT);
    move(here);
    g_assert_cmpuint(there.fake->deadlines[0][0], ==, HV_TIME_NEVER);
    resume();
    g_assert_cmpuint(there.fake->deadlines[0][0], ==, now + 5000);
    g_assert_cmpuint(there.fake->deadlines[0][1], ==, now + 20000);
    g_assert_cmpuint(there.fake->deadlines[0][2], ==, HV_TIME_NEVER);
    fake_advance(there.fake, there.fake->now + 5100);
    g_assert_cmpuint(there.fake->posts, ==, 1);
    g_assert_cmpuint(there.fake->post_sint, ==, 2);
    fake_free(there.fake);
    fake_free(here);
}

/* A message that found its slot taken waits on in the other machine. */
static void test_pending(void)
{
    Fake *here = fake_new(FAKE_ALL_FEATURES);

    here->post_status = -EAGAIN;
    fake_wrmsr(here, HVMSR_STIMER0_CONFIG, 2 << 16 | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(here, HVMSR_STIMER0_CONFIG + 1, 1);
    g_assert_cmpuint(here->vps[0].s.stimer[0].pending, ==, 1);
    prepare_there(FAKE_ALL_FEATURES, here->now, FAKE_TSC_PER_UNIT);
    move(here);
    resume();
    g_assert_cmpuint(there.fake->posts, ==, 0);
    fake_wrmsr(there.fake, HVMSR_EOM, 0);
    g_assert_cmpuint(there.fake->posts, ==, 1);
    g_assert_cmpuint(there.fake->vps[0].s.stimer[0].pending, ==, 0);
    fake_free(there.fake);
    fake_free(here);
}

static void test_registers(void)
{
    static const uint32_t msrs[] = {
        HVMSR_GUEST_OS_ID, HVMSR_HYPERCALL,  HVMSR_ASSIST_PAGE,
        HVMSR_SCONTROL,    HVMSR_SIEFP,      HVMSR_SIMP,
        HVMSR_SINT0 + 2,   HVMSR_CRASH_P0,   HVMSR_REENLIGHTENMENT,
        HVMSR_VP_INDEX,    HVMSR_VP_RUNTIME,
    };
    Fake *here = fake_new(FAKE_ALL_FEATURES);

    fake_wrmsr(here, HVMSR_GUEST_OS_ID, 0x8100000000060100ull);
    fake_wrmsr(here, HVMSR_HYPERCALL, 0x1001);
    fake_wrmsr(here, HVMSR_ASSIST_PAGE, 0x2001);
    fake_wrmsr(here, HVMSR_SCONTROL, 1);
    fake_wrmsr(here, HVMSR_SIEFP, 0x4001);
    fake_wrmsr(here, HVMSR_SIMP, 0x5001);
    fake_wrmsr(here, HVMSR_SINT0 + 2, 0xf3 | HVB_SINT_AUTO_EOI);
    fake_wrmsr(here, HVMSR_CRASH_P0, 77);
    fake_wrmsr(here, HVMSR_REENLIGHTENMENT, 0x1ee);
    hv_sint_raise(&here->vps[0], 2);
    fake_wrmsr(here, HVMSR_SINT0 + 2, 0x10000);
    here->now = 50 * SECOND;
    prepare_there(FAKE_ALL_FEATURES, 7 * SECOND, 300);
    move(here);
    resume();
    for (size_t i = 0; i < G_N_ELEMENTS(msrs); i++) {
        g_assert_cmphex(fake_rdmsr(there.fake, msrs[i]), ==,
                        fake_rdmsr(here, msrs[i]));
    }
    g_assert_true(hv_sint_auto_eoi(&there.fake->vps[0], 0xf3));
    g_assert_cmpuint(there.fake->crashes + there.fake->resets, ==, 0);
    fake_free(there.fake);
    fake_free(here);
}

static void refuse_partition(const HvSavedPartition *saved, size_t len,
                             const char *sentence)
{
    HvPartitionState before = there.fake->partition.s;

    g_assert_cmpstr(hv_partition_load(&there.fake->partition, saved, len), ==,
                    sentence);
    g_assert_false(there.fake->partition.restored);
    g_assert_cmpmem(&before, sizeof(before), &there.fake->partition.s,
                    sizeof(before));
}

static void test_partition_refused(void)
{
    HvSavedPartition good, bad;

    prepare_there(FAKE_ALL_FEATURES, 0, 300);
    hv_partition_save(&there.fake->partition, &good);
    refuse_partition(&good, sizeof(good) - 1,
                     "The saved Hyper-V partition has another size.");
    refuse_partition(&good, 0, "The saved Hyper-V partition has another size.");
    bad = good;
    bad.s.version = 2;
    refuse_partition(&bad, sizeof(bad),
                     "The saved Hyper-V partition is of another version.");
    bad = good;
    bad.features ^= 1;
    refuse_partition(&bad, sizeof(bad),
                     "The saved machine has other hv-* flags than this one.");
    bad = good;
    bad.clock_ready = 2;
    refuse_partition(&bad, sizeof(bad),
                     "The saved Hyper-V partition has a damaged clock.");
    fake_free(there.fake);
}

static void refuse_vp(const HvSavedVp *saved, size_t len, const char *sentence)
{
    HvVpState before = there.fake->vps[1].s;

    g_assert_cmpstr(hv_vp_load(&there.fake->vps[1], saved, len), ==, sentence);
    g_assert_cmpmem(&before, sizeof(before), &there.fake->vps[1].s,
                    sizeof(before));
}

static void test_vp_refused(void)
{
    HvSavedVp good, bad;

    prepare_there(FAKE_ALL_FEATURES & ~HV_FEATURE_BIT(HV_FEATURE_STIMER_DIRECT),
                  0, 300);
    hv_vp_save(&there.fake->vps[1], &good);
    refuse_vp(&good, sizeof(good) + 1,
              "The saved virtual processor has another size.");
    bad = good;
    bad.s.version = 0;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor is of another version.");
    bad = good;
    bad.s.vp_index = 0;
    refuse_vp(&bad, sizeof(bad), "The saved virtual processor is another one.");
    bad = good;
    bad.s.sint[5] = 3;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor has an interrupt whose vector is "
              "out of range.");
    bad = good;
    bad.s.stimer[1].config = HVB_STIMER_DIRECT_MODE;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor has a timer without its flag.");
    bad = good;
    bad.s.stimer[1].deadline = 5;
    bad.s.stimer[1].config = HVB_STIMER_ENABLE | HVB_STIMER_PERIODIC;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor has a timer that runs and is off.");
    bad = good;
    bad.s.stimer[1].count = 5;
    bad.s.stimer[1].config = HVB_STIMER_ENABLE | 2 << 16;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor has a timer that is on and does not "
              "run.");
    bad.s.stimer[1].deadline = 5;
    bad.s.stimer[1].config = HVB_STIMER_ENABLE;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor has a timer that tells nobody.");
    bad = good;
    bad.s.stimer[1].pending = 2;
    refuse_vp(&bad, sizeof(bad),
              "The saved virtual processor has a damaged timer.");
    fake_free(there.fake);
}

/* Whatever the bytes are: refused, or a machine that runs. */
static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    unsigned loaded = 0, refused = 0;

    for (int i = 0; i < 20000; i++) {
        HvSavedPartition p;
        HvSavedVp vp;
        uint8_t *bytes = i % 2 ? (uint8_t *)&p : (uint8_t *)&vp;
        size_t len = i % 2 ? sizeof(p) : sizeof(vp);
        int flips = g_rand_int_range(rand, 1, 6);

        prepare_there(FAKE_ALL_FEATURES, 7 * SECOND, 300);
        hv_partition_save(&there.fake->partition, &p);
        hv_vp_save(&there.fake->vps[0], &vp);
        p.clock_ready = 1;
        while (flips--) {
            bytes[g_rand_int_range(rand, 4, len)] ^=
                1u << g_rand_int_range(rand, 0, 8);
        }
        if (hv_partition_load(&there.fake->partition, &p, sizeof(p)) ||
            hv_vp_load(&there.fake->vps[0], &vp, sizeof(vp))) {
            refused++;
        } else {
            loaded++;
            resume();
            for (int j = 0; j < 3; j++) {
                there.fake->now += SECOND;
                for (int t = 0; t < HV_ABI_STIMERS; t++) {
                    hv_stimer_tick(&there.fake->vps[0], t);
                }
            }
        }
        fake_free(there.fake);
    }
    g_assert_cmpuint(loaded, >, 1000);
    g_assert_cmpuint(refused, >, 1000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/state/kvm/clock/same",
                         GUINT_TO_POINTER(FAKE_TSC_PER_UNIT), test_clock);
    g_test_add_data_func("/state/kvm/clock/faster", GUINT_TO_POINTER(477),
                         test_clock);
    g_test_add_data_func("/state/kvm/clock/slower", GUINT_TO_POINTER(11),
                         test_clock);
    g_test_add_data_func("/state/kvm/no-scale/here", GUINT_TO_POINTER(1),
                         test_no_scale);
    g_test_add_data_func("/state/kvm/no-scale/there", GUINT_TO_POINTER(0),
                         test_no_scale);
    g_test_add_func("/state/kvm/not-ready", test_not_ready);
    g_test_add_func("/state/kvm/saved-twice", test_saved_twice);
    g_test_add_func("/state/kvm/timers", test_timers);
    g_test_add_func("/state/kvm/pending", test_pending);
    g_test_add_func("/state/kvm/registers", test_registers);
    g_test_add_func("/state/kvm/refused/partition", test_partition_refused);
    g_test_add_func("/state/kvm/refused/vp", test_vp_refused);
    g_test_add_func("/state/kvm/noise", test_noise);
    return g_test_run();
}
