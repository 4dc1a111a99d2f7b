/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reference counter and the reference TSC page. */
#include "hv.h"

#define ALTERNATIONS 100000
#define SMP_READS    5000

static struct hv_tsc_page page_a __attribute__((aligned(4096)));
static struct hv_tsc_page page_b __attribute__((aligned(4096)));

/* In 1/1000 of what it should be, by the ACPI timer. */
static unsigned rate_per_mille(uint64_t (*read)(void), uint64_t hz)
{
    uint32_t passed;
    uint64_t ticks = ticks_by_pm_timer(read, PM_TIMER_HZ / 4, &passed);

    return ticks * 1000 / (hz / 1000 * passed / (PM_TIMER_HZ / 1000));
}

static uint64_t read_page(void)
{
    return hv_tsc_page_time(&page_a);
}

static void check_rates(void)
{
    unsigned rate = rate_per_mille(hv_time, 10000000);

    tap(rate > 980 && rate < 1020, "the counter runs at 10 MHz",
        "it runs at %u/1000 of that", rate);
    rate = rate_per_mille(read_page, 10000000);
    tap(rate > 980 && rate < 1020, "the TSC page runs at 10 MHz",
        "it runs at %u/1000 of that", rate);
    if (cpuid(0x40000003).eax >> 11 & 1) {
        rate = rate_per_mille(rdtsc, rdmsr(HV_MSR_TSC_FREQ));
        tap(rate > 980 && rate < 1020, "TSC_FREQUENCY is that of the TSC",
            "it runs at %u/1000 of it", rate);
    }
}

static void check_alternation(void)
{
    uint64_t last = 0, worst = 0;
    unsigned back = 0;

    for (unsigned i = 0; i < ALTERNATIONS; i++) {
        uint64_t now = i % 2 ? hv_time() : hv_tsc_page_time(&page_a);

        if (now < last) {
            back++;
            worst = last - now > worst ? last - now : worst;
        } else {
            last = now;
        }
    }
    tap(!back, "counter and TSC page never go backwards across the two",
        "%u of %u reads did, at worst by %lu00 ns", back, ALTERNATIONS, worst);
}

static struct {
    volatile uint32_t lock;
    uint64_t last;
    unsigned back;
} shared;

static void read_in_turn(void *arg)
{
    for (unsigned i = 0; i < SMP_READS; i++) {
        uint64_t now;

        while (__atomic_exchange_n(&shared.lock, 1, __ATOMIC_ACQUIRE)) {
            cpu_relax();
        }
        now = i % 2 ? hv_time() : hv_tsc_page_time(&page_a);
        shared.back += now < shared.last;
        shared.last = now;
        __atomic_store_n(&shared.lock, 0, __ATOMIC_RELEASE);
    }
}

static void check_across_processors(void)
{
    run_on_others_start(read_in_turn, NULL);
    read_in_turn(NULL);
    run_on_others_wait();
    tap(!shared.back, "time never goes backwards across processors",
        "%u reads did", shared.back);
}

static void check_page(void)
{
    uint32_t first;

    wrmsr(HV_MSR_REFERENCE_TSC, (uintptr_t)&page_a | HV_ENABLE);
    tap_equal(rdmsr(HV_MSR_REFERENCE_TSC), (uintptr_t)&page_a | HV_ENABLE,
              "REFERENCE_TSC is kept");
    first = page_a.sequence;
    tap(first && first != UINT32_MAX && page_a.scale,
        "the TSC page is valid when it is enabled",
        "sequence 0x%x, scale 0x%lx", first, page_a.scale);
    wrmsr(HV_MSR_REFERENCE_TSC, 0);
    wrmsr(HV_MSR_REFERENCE_TSC, (uintptr_t)&page_b | HV_ENABLE);
    tap(page_b.sequence && page_b.scale == page_a.scale &&
            page_b.offset == page_a.offset,
        "the page is as good elsewhere", "sequence 0x%x, scale 0x%lx",
        page_b.sequence, page_b.scale);
    wrmsr(HV_MSR_REFERENCE_TSC, (uintptr_t)&page_a | HV_ENABLE);
}

static void check_runtime(void)
{
    uint64_t start = rdmsr(HV_MSR_VP_RUNTIME), time = hv_time(), run;

    delay_us(50000);
    run = rdmsr(HV_MSR_VP_RUNTIME) - start;
    time = hv_time() - time;
    /* A busy host may have given this processor less than all the time. */
    tap(run > 0 && run <= time + time / 10,
        "VP_RUNTIME grows, and not faster than time", "%lu00 ns of %lu00 ns",
        run, time);
}

void test_clock(void)
{
    uint32_t features = hv_present() ? cpuid(0x40000003).eax : 0;

    if (!(features >> 1 & 1)) {
        tap_skip("clocks", "the machine has no hv-time");
        return;
    }
    check_page();
    check_rates();
    check_alternation();
    check_across_processors();
    if (features & 1) {
        check_runtime();
    }
}
