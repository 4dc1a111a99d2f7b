/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "fake-machine.h"

#define CONFIG(n) (HVMSR_STIMER0_CONFIG + 2 * (n))
#define COUNT(n)  (HVMSR_STIMER0_CONFIG + 2 * (n) + 1)

#define VECTOR  0xed
#define DIRECT  (HVB_STIMER_DIRECT_MODE | (uint64_t)VECTOR << 4)
#define SINT    2
#define BY_SINT ((uint64_t)SINT << 16)
/* What hv-stimer.c allows at most: one expiration in 100 us */
#define FASTEST 1000

static Fake *fake;

static void setup(void)
{
    fake = fake_new(FAKE_ALL_FEATURES);
    /* Settles the rounding of the first reading. */
    hv_partition_time(&fake->partition);
}

static unsigned fired(void)
{
    return fake->vectors[0][VECTOR];
}

static uint64_t now(void)
{
    return hv_partition_time(&fake->partition);
}

static void test_one_shot(void)
{
    uint64_t when;

    setup();
    when = now() + 5000;
    fake_wrmsr(fake, COUNT(0), when);
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_ENABLE);
    g_assert_cmpuint(fake->deadlines[0][0], ==, when);
    fake_advance(fake, when - 1);
    g_assert_cmpuint(fired(), ==, 0);
    fake_advance(fake, when + 1);
    g_assert_cmpuint(fired(), ==, 1);
    /* It is disabled by that, and wants no more calls. */
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)), ==, DIRECT);
    g_assert_cmpuint(fake_rdmsr(fake, COUNT(0)), ==, when);
    g_assert_cmpuint(fake->deadlines[0][0], ==, HV_TIME_NEVER);
    hv_stimer_tick(&fake->vps[0], 0);
    g_assert_cmpuint(fired(), ==, 1);
    fake_free(fake);
}

/* As Linux uses it: every write of the count starts it again. */
static void test_auto_enable(void)
{
    int i;

    setup();
    fake_wrmsr(fake, CONFIG(0),
               DIRECT | HVB_STIMER_ENABLE | HVB_STIMER_AUTO_ENABLE);
    g_assert_cmpuint(fake->deadlines[0][0], ==, HV_TIME_NEVER);
    for (i = 1; i <= 10; i++) {
        fake_wrmsr(fake, COUNT(0), now() + 100);
        g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)) & 1, ==, 1);
        fake_advance(fake, now() + 101);
        g_assert_cmpuint(fired(), ==, i);
        g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)) & 1, ==, 0);
    }
    /* Without it, the count alone starts nothing. */
    fake_wrmsr(fake, CONFIG(1), DIRECT);
    fake_wrmsr(fake, COUNT(1), 1);
    g_assert_cmpuint(fired(), ==, 10);
    fake_free(fake);
}

static void test_moved(void)
{
    setup();
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), now() + 1000);
    fake_wrmsr(fake, COUNT(0), now() + 9000);
    fake_advance(fake, now() + 5000);
    g_assert_cmpuint(fired(), ==, 0);
    /* A count of 0 stops it, whatever auto-enable says. */
    fake_wrmsr(fake, COUNT(0), 0);
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)) & 1, ==, 0);
    g_assert_cmpuint(fake->deadlines[0][0], ==, HV_TIME_NEVER);
    fake_advance(fake, now() + 100000);
    g_assert_cmpuint(fired(), ==, 0);
    fake_free(fake);
}

static void test_past(void)
{
    setup();
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), 1);
    g_assert_cmpuint(fired(), ==, 1);
    fake_wrmsr(fake, COUNT(0), now());
    g_assert_cmpuint(fired(), ==, 2);
    g_assert_cmpuint(fake_advance(fake, now() + 1000000), ==, 0);
    g_assert_cmpuint(fired(), ==, 2);
    fake_free(fake);
}

static void test_far(void)
{
    static const uint64_t far[] = {UINT64_MAX, UINT64_MAX - 1, 1ull << 63,
                                   INT64_MAX};
    size_t i;

    setup();
    for (i = 0; i < G_N_ELEMENTS(far); i++) {
        fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_AUTO_ENABLE);
        fake_wrmsr(fake, COUNT(0), far[i]);
        g_assert_cmpuint(fake->deadlines[0][0], ==, far[i]);
        fake_wrmsr(fake, CONFIG(1),
                   DIRECT | HVB_STIMER_AUTO_ENABLE | HVB_STIMER_PERIODIC);
        fake_wrmsr(fake, COUNT(1), far[i]);
        g_assert_cmpuint(fake->deadlines[0][1], >=, far[i]);
        hv_stimer_tick(&fake->vps[0], 0);
        hv_stimer_tick(&fake->vps[0], 1);
    }
    g_assert_cmpuint(fired(), ==, 0);
    fake_free(fake);
}

/* The machine's timer may run ahead of the reference time. */
static void test_early_tick(void)
{
    uint64_t when;
    unsigned wishes;

    setup();
    when = now() + 100;
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), when);
    wishes = fake->wishes;
    fake->deadlines[0][0] = HV_TIME_NEVER;
    hv_stimer_tick(&fake->vps[0], 0);
    g_assert_cmpuint(fired(), ==, 0);
    g_assert_cmpuint(fake->wishes, ==, wishes + 1);
    g_assert_cmpuint(fake->deadlines[0][0], ==, when);
    /* No such timer */
    hv_stimer_tick(&fake->vps[0], HV_ABI_STIMERS);
    fake_free(fake);
}

static void test_periodic(void)
{
    uint64_t start;

    setup();
    start = now();
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_PERIODIC);
    fake_wrmsr(fake, COUNT(0), 10000);
    g_assert_cmpuint(fake->deadlines[0][0], ==, HV_TIME_NEVER);
    fake_wrmsr(fake, CONFIG(0),
               DIRECT | HVB_STIMER_PERIODIC | HVB_STIMER_ENABLE);
    /* The first period begins when it is enabled; no drift after that. */
    fake_advance(fake, start + 10 * 10000 + 5);
    g_assert_cmpuint(fired(), ==, 10);
    g_assert_cmpuint(fake->deadlines[0][0], ==, start + 11 * 10000);
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)) & 1, ==, 1);
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_PERIODIC);
    g_assert_cmpuint(fake_advance(fake, now() + 50000), ==, 0);
    fake_free(fake);
}

/* Late by many periods: one expiration, and the grid is kept. */
static void test_periodic_late(void)
{
    uint64_t start;

    setup();
    start = now();
    fake_wrmsr(fake, CONFIG(0),
               DIRECT | HVB_STIMER_PERIODIC | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), 10000);
    fake->now = start + 1000 * 10000 + 1234;
    fake->deadlines[0][0] = HV_TIME_NEVER;
    hv_stimer_tick(&fake->vps[0], 0);
    g_assert_cmpuint(fired(), ==, 1);
    g_assert_cmpuint(fake->deadlines[0][0], ==, start + 1001 * 10000);
    fake_free(fake);
}

static void test_no_storm(void)
{
    static const uint64_t periods[] = {1, 2, 7, 999};
    uint64_t length = 10000000; /* a second */
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(periods); i++) {
        setup();
        fake_wrmsr(fake, CONFIG(3),
                   DIRECT | HVB_STIMER_PERIODIC | HVB_STIMER_AUTO_ENABLE);
        fake_wrmsr(fake, COUNT(3), periods[i]);
        g_assert_cmpuint(fake_advance(fake, now() + length), <=,
                         length / FASTEST);
        g_assert_cmpuint(fired(), <=, length / FASTEST);
        /* It does run, though. */
        g_assert_cmpuint(fired(), >=, length / FASTEST / 2);
        g_assert_cmpuint(fake->deadlines[0][3], >, now());
        fake_free(fake);
    }
}

static void assert_message(unsigned timer, uint64_t expiration)
{
    HvTimerPayload payload;

    g_assert_cmphex(fake->message.type, ==, 0x80000010);
    g_assert_cmpuint(fake->message.payload_size, ==, 24);
    g_assert_cmpuint(fake->message.sender, ==, 0);
    memcpy(&payload, fake->message.payload, sizeof(payload));
    g_assert_cmpuint(payload.timer_index, ==, timer);
    g_assert_cmpuint(payload.reserved, ==, 0);
    g_assert_cmpuint(payload.expiration, ==, expiration);
    g_assert_cmpuint(payload.delivery, ==, now());
}

static void test_message(void)
{
    uint64_t when;

    setup();
    when = now() + 777;
    fake_wrmsr(fake, CONFIG(3), BY_SINT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(3), when);
    fake->now = when + 33;
    hv_stimer_tick(&fake->vps[0], 3);
    g_assert_cmpuint(fake->posts, ==, 1);
    g_assert_cmpuint(fake->post_sint, ==, SINT);
    assert_message(3, when);
    g_assert_cmpuint(fake->vectors_total, ==, 0);
    /* An EOM that nobody waits for posts nothing. */
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_free(fake);
}

/* The slot is full when the timer is due. */
static void arm_busy(uint64_t when)
{
    fake->post_status = -EAGAIN;
    fake_wrmsr(fake, CONFIG(0), BY_SINT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), when);
}

static void test_slot_busy(void)
{
    uint64_t when;

    setup();
    when = now() + 100;
    arm_busy(when);
    fake_advance(fake, when + 1);
    g_assert_cmpuint(fake->posts, ==, 1);
    /* Busy still, then free; the message says when it was due. */
    fake->now += 500;
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 2);
    fake->post_status = 0;
    fake->now += 500;
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 3);
    assert_message(0, when);
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 3);
    fake_free(fake);
}

/* It freed the slot, and did not see that it owes an EOM. */
static void test_busy_without_eom(void)
{
    const uint64_t retry = 100000;
    uint64_t when;

    setup();
    when = now() + 100;
    arm_busy(when);
    fake_advance(fake, when + retry - 1);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_advance(fake, when + 3 * retry);
    g_assert_cmpuint(fake->posts, ==, 4);
    fake->post_status = 0;
    fake_advance(fake, when + 4 * retry);
    g_assert_cmpuint(fake->posts, ==, 5);
    assert_message(0, when);
    fake_advance(fake, when + 100 * retry);
    g_assert_cmpuint(fake->posts, ==, 5);
    fake_free(fake);
}

static void test_busy_and_loaded(void)
{
    setup();
    arm_busy(1);
    /* The machine that it was saved on had the deadline. */
    fake->deadlines[0][0] = HV_TIME_NEVER;
    fake->post_status = 0;
    hv_stimers_rearm(&fake->vps[0]);
    fake_advance(fake, now() + 1000000);
    g_assert_cmpuint(fake->posts, ==, 2);
    fake_free(fake);
}

static void test_busy_and_reset(void)
{
    setup();
    arm_busy(1);
    hv_stimers_reset(&fake->vps[0]);
    g_assert_cmpuint(fake_advance(fake, now() + 1000000), ==, 0);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_free(fake);
}

/* A guest that starts the timer anew does not want the old message. */
static void test_busy_then_moved(void)
{
    setup();
    arm_busy(1);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake->post_status = 0;
    fake_wrmsr(fake, COUNT(0), now() + 1000);
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_advance(fake, now() + 1001);
    g_assert_cmpuint(fake->posts, ==, 2);
    fake_free(fake);
}

/* However long the guest leaves its slot full, one message waits. */
static void test_periodic_busy(void)
{
    uint64_t start;

    setup();
    start = now();
    fake->post_status = -EAGAIN;
    fake_wrmsr(fake, CONFIG(0),
               BY_SINT | HVB_STIMER_PERIODIC | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), 10000);
    fake_advance(fake, start + 100 * 10000 + 1);
    fake->post_status = 0;
    fake->posts = 0;
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 1);
    assert_message(0, start + 10000);
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_advance(fake, start + 101 * 10000);
    g_assert_cmpuint(fake->posts, ==, 2);
    assert_message(0, start + 101 * 10000);
    fake_free(fake);
}

/* A guest that gave its pages up wants nothing of a timer that ran before. */
static void test_page_off(void)
{
    uint64_t when;

    setup();
    when = now() + 5000;
    fake_wrmsr(fake, HVMSR_SIMP, 0x1000 | HVMSR_ENABLE);
    fake_wrmsr(fake, HVMSR_SCONTROL, HVMSR_ENABLE);
    fake_wrmsr(fake, CONFIG(0), BY_SINT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), when);
    fake_wrmsr(fake, HVMSR_SIMP, 0);
    fake->post_status = -ENXIO;
    fake_advance(fake, when + 1);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_wrmsr(fake, HVMSR_EOM, 0);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_free(fake);
}

/* As Linux that wakes up: the timer first, and its pages when it is over. */
static void test_page_comes_later(void)
{
    for (int on = 0; on < 2; on++) {
        uint64_t when;

        setup();
        when = now() + 5000;
        fake_wrmsr(fake, on ? HVMSR_SIMP : HVMSR_SCONTROL, HVMSR_ENABLE);
        fake->post_status = -ENXIO;
        fake_wrmsr(fake, CONFIG(0), BY_SINT | HVB_STIMER_AUTO_ENABLE);
        fake_wrmsr(fake, COUNT(0), when);
        fake_advance(fake, when + 1);
        g_assert_cmpuint(fake->posts, ==, 1);
        hv_stimers_retry(&fake->vps[0]);
        g_assert_cmpuint(fake->posts, ==, 2);
        fake->post_status = 0;
        hv_stimers_retry(&fake->vps[0]);
        g_assert_cmpuint(fake->posts, ==, 3);
        assert_message(0, when);
        hv_stimers_retry(&fake->vps[0]);
        g_assert_cmpuint(fake->posts, ==, 3);
        fake_free(fake);
    }
}

/* A timer that waits for its pages and is stopped has nothing to say. */
static void test_page_comes_too_late(void)
{
    setup();
    fake->post_status = -ENXIO;
    fake_wrmsr(fake, CONFIG(0), BY_SINT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), 1);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_wrmsr(fake, COUNT(0), 0);
    fake->post_status = 0;
    hv_stimers_retry(&fake->vps[0]);
    g_assert_cmpuint(fake->posts, ==, 1);
    fake_free(fake);
}

static void test_sint_zero(void)
{
    setup();
    fake_wrmsr(fake, COUNT(0), 1);
    fake_wrmsr(fake, CONFIG(0), HVB_STIMER_ENABLE);
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)), ==, 0);
    fake_wrmsr(fake, CONFIG(0), HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), 1);
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)), ==, HVB_STIMER_AUTO_ENABLE);
    g_assert_cmpuint(fake->posts, ==, 0);
    fake_free(fake);
}

static void test_direct_refused(void)
{
    fake =
        fake_new(FAKE_ALL_FEATURES & ~HV_FEATURE_BIT(HV_FEATURE_STIMER_DIRECT));
    g_assert_false(
        hv_msr_write(&fake->vps[0], CONFIG(0), DIRECT | HVB_STIMER_ENABLE));
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)), ==, 0);
    fake_wrmsr(fake, CONFIG(0), BY_SINT | HVB_STIMER_ENABLE);
    fake_free(fake);
}

/* Vectors of exceptions never reach the APIC. */
static void test_direct_low_vector(void)
{
    setup();
    fake_wrmsr(fake, CONFIG(0),
               HVB_STIMER_DIRECT_MODE | 15 << 4 | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), 1);
    g_assert_cmpuint(fake->vectors_total, ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)) & 1, ==, 0);
    fake_free(fake);
}

static void test_independent(void)
{
    uint64_t start;
    unsigned i;

    setup();
    start = now();
    for (i = 0; i < HV_ABI_STIMERS; i++) {
        fake_wrmsr(fake, CONFIG(i),
                   HVB_STIMER_DIRECT_MODE | (uint64_t)(0x40 + i) << 4 |
                       HVB_STIMER_AUTO_ENABLE);
        fake_wrmsr(fake, COUNT(i), start + 1000 * (i + 1));
    }
    for (i = 0; i < HV_ABI_STIMERS; i++) {
        g_assert_cmpuint(fake_rdmsr(fake, COUNT(i)), ==,
                         start + 1000 * (i + 1));
        fake_advance(fake, start + 1000 * (i + 1));
        g_assert_cmpuint(fake->vectors_total, ==, i + 1);
        g_assert_cmpuint(fake->vectors[0][0x40 + i], ==, 1);
    }
    fake_free(fake);
}

static void test_reset(void)
{
    setup();
    fake_wrmsr(fake, CONFIG(0), DIRECT | HVB_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, COUNT(0), now() + 1000);
    hv_vp_reset(&fake->vps[0]);
    g_assert_cmpuint(fake->deadlines[0][0], ==, HV_TIME_NEVER);
    g_assert_cmphex(fake_rdmsr(fake, CONFIG(0)), ==, 0);
    g_assert_cmphex(fake_rdmsr(fake, COUNT(0)), ==, 0);
    /* The machine's timer was under way already. */
    fake->now += 2000;
    hv_stimer_tick(&fake->vps[0], 0);
    g_assert_cmpuint(fake->vectors_total, ==, 0);
    fake_free(fake);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stimer/one-shot", test_one_shot);
    g_test_add_func("/stimer/auto-enable", test_auto_enable);
    g_test_add_func("/stimer/moved", test_moved);
    g_test_add_func("/stimer/past", test_past);
    g_test_add_func("/stimer/far", test_far);
    g_test_add_func("/stimer/early-tick", test_early_tick);
    g_test_add_func("/stimer/periodic", test_periodic);
    g_test_add_func("/stimer/periodic-late", test_periodic_late);
    g_test_add_func("/stimer/no-storm", test_no_storm);
    g_test_add_func("/stimer/message", test_message);
    g_test_add_func("/stimer/slot-busy", test_slot_busy);
    g_test_add_func("/stimer/busy-without-eom", test_busy_without_eom);
    g_test_add_func("/stimer/busy-and-loaded", test_busy_and_loaded);
    g_test_add_func("/stimer/busy-and-reset", test_busy_and_reset);
    g_test_add_func("/stimer/busy-then-moved", test_busy_then_moved);
    g_test_add_func("/stimer/periodic-busy", test_periodic_busy);
    g_test_add_func("/stimer/page-off", test_page_off);
    g_test_add_func("/stimer/page-comes-later", test_page_comes_later);
    g_test_add_func("/stimer/page-comes-too-late", test_page_comes_too_late);
    g_test_add_func("/stimer/sint-zero", test_sint_zero);
    g_test_add_func("/stimer/direct-refused", test_direct_refused);
    g_test_add_func("/stimer/direct-low-vector", test_direct_low_vector);
    g_test_add_func("/stimer/independent", test_independent);
    g_test_add_func("/stimer/reset", test_reset);
    return g_test_run();
}
