/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-machine.h"

static HvClock calibrated(uint64_t tsc_hz)
{
    HvClockSample first = {0}, last = {.tsc = tsc_hz, .ns = 1000000000};
    HvClock clock;

    g_assert_true(hv_clock_calibrate(&clock, &first, &last));
    return clock;
}

static void test_rate(void)
{
    static const uint64_t rates[] = {10000001, 24000000, 1000000000, 2596136000,
                                     5700000000ull};
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(rates); i++) {
        HvClock clock = calibrated(rates[i]);
        uint64_t hour = hv_clock_read(&clock, 3600 * rates[i]);

        g_assert_cmpuint(clock.tsc_hz, ==, rates[i]);
        g_assert_cmpuint(hour, <=, 3600 * HV_CLOCK_HZ);
        g_assert_cmpuint(hour, >=, 3600 * HV_CLOCK_HZ - 10);
    }
}

/* The later sample is hit exactly, wherever the clocks began. */
static void test_offset(void)
{
    HvClockSample first = {.tsc = 5000000000ull, .ns = 7};
    HvClockSample last = {.tsc = 8000000000ull, .ns = 1000000007};
    HvClock clock;

    g_assert_true(hv_clock_calibrate(&clock, &first, &last));
    g_assert_cmpint(clock.offset, <, 0);
    g_assert_cmpuint(hv_clock_read(&clock, last.tsc), ==, 10000000);
    g_assert_cmpuint(hv_clock_read(&clock, last.tsc + 3000000000ull), <=,
                     20000000);
    g_assert_cmpuint(hv_clock_read(&clock, last.tsc + 3000000000ull), >=,
                     19999999);
}

static void test_monotonic(void)
{
    HvClock clock = calibrated(2596136123);
    uint64_t tsc, step, last;
    int i;

    /* Every tick over a while, at the ends of the range too */
    static const uint64_t starts[] = {0, 1ull << 32, 1ull << 62,
                                      UINT64_MAX - 100000};
    for (i = 0; i < (int)G_N_ELEMENTS(starts); i++) {
        last = hv_clock_read(&clock, starts[i]);
        for (step = 1; step < 100000; step++) {
            uint64_t now = hv_clock_read(&clock, starts[i] + step);

            g_assert_cmpint((int64_t)(now - last), >=, 0);
            g_assert_cmpint((int64_t)(now - last), <=, 1);
            last = now;
        }
    }
    /* Wide steps over everything */
    last = hv_clock_read(&clock, 0);
    for (tsc = 0; tsc < UINT64_MAX - (1ull << 49); tsc += 1ull << 49) {
        uint64_t now = hv_clock_read(&clock, tsc);

        g_assert_cmpint((int64_t)(now - last), >=, 0);
        last = now;
    }
}

static void test_refused(void)
{
    HvClockSample zero = {0};
    HvClockSample second = {.tsc = 2000000000, .ns = 1000000000};
    HvClockSample slow = {.tsc = 10000000, .ns = 1000000000};
    HvClockSample back = {.tsc = 3000000000u, .ns = 999};
    HvClockSample stands = {.tsc = 2000000000, .ns = 2000000000};
    HvClock clock;

    g_assert_false(hv_clock_calibrate(&clock, &second, &second));
    g_assert_false(clock.valid);
    g_assert_false(hv_clock_calibrate(&clock, &second, &zero));
    g_assert_false(hv_clock_calibrate(&clock, &second, &back));
    g_assert_false(hv_clock_calibrate(&clock, &second, &stands));
    g_assert_false(clock.valid);
    g_assert_cmpuint(clock.tsc_hz, ==, 0);
    /* 10 MHz: the scale would be 2^64; the frequency is known though. */
    g_assert_false(hv_clock_calibrate(&clock, &zero, &slow));
    g_assert_false(clock.valid);
    g_assert_cmpuint(clock.tsc_hz, ==, 10000000);
}

static void test_wide_samples(void)
{
    HvClockSample first = {0};
    HvClockSample last = {.tsc = UINT64_MAX, .ns = UINT64_MAX / 2};
    HvClock clock;

    g_assert_true(hv_clock_calibrate(&clock, &first, &last));
    g_assert_cmpuint(clock.tsc_hz, ==, 2000000000);
    g_assert_cmpuint(hv_clock_read(&clock, UINT64_MAX), ==,
                     UINT64_MAX / 2 / 100);
    /* A TSC so fast that a tick is nothing. */
    last.ns = 1;
    g_assert_false(hv_clock_calibrate(&clock, &first, &last));
}

/* One calibration serves all, at the first use. */
static void test_partition(void)
{
    Fake *fake = fake_new(FAKE_ALL_FEATURES);
    uint64_t before;

    g_assert_cmpuint(fake->samples, ==, 0);
    before = hv_partition_time(&fake->partition);
    g_assert_cmpuint(before, >=, 999);
    g_assert_cmpuint(before, <=, 1000);
    fake->now += 50;
    g_assert_cmpuint(hv_partition_time(&fake->partition) - before, ==, 50);
    g_assert_cmpuint(fake->samples, ==, 1);
    fake_free(fake);
}

static void test_partition_slow_tsc(void)
{
    Fake *fake = fake_new(FAKE_ALL_FEATURES);

    fake->tsc_too_slow = true;
    g_assert_cmpuint(hv_partition_time(&fake->partition), ==, 1000);
    fake->now = 12345;
    g_assert_cmpuint(hv_partition_time(&fake->partition), ==, 12345);
    g_assert_cmpuint(fake->samples, ==, 1);
    fake_free(fake);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/rate", test_rate);
    g_test_add_func("/clock/offset", test_offset);
    g_test_add_func("/clock/monotonic", test_monotonic);
    g_test_add_func("/clock/refused", test_refused);
    g_test_add_func("/clock/wide-samples", test_wide_samples);
    g_test_add_func("/clock/partition", test_partition);
    g_test_add_func("/clock/partition-slow-tsc", test_partition_slow_tsc);
    return g_test_run();
}
