/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Synthetic timers.  Times are in 100 ns.  A busy host makes ticks late, and a
 * late periodic timer skips, so a rate has no lower bound here: ticks must go
 * on, and each must be due at a multiple of the period.  A timer that fires
 * too early or too often is wrong on any host.
 */
#include "hv.h"

#define TIMER_SINT   4
#define TIMER_VECTOR 0x70
#define MS           10000ull
#define LATE_US      10000000

#define CONFIG(t) (HV_MSR_STIMER0_CFG + 2 * (t))
#define COUNT(t)  (HV_MSR_STIMER0_COUNT + 2 * (t))

#define BY_MESSAGE HV_STIMER_SINT(TIMER_SINT)

static struct {
    volatile unsigned count;
    unsigned wrong;
    bool hold;       /* leave messages in their slot */
    uint64_t period; /* if set: what expirations are apart, or a multiple */
    struct hv_timer_payload last;
} seen[HV_TIMERS];

static void take_message(struct cpu *cpu, uint8_t vector)
{
    struct hv_message *msg = &hv_vps[cpu->id].messages[TIMER_SINT];
    struct hv_timer_payload p;

    if (msg->type == HV_MSG_NONE || seen[0].hold) {
        return;
    }
    memcpy(&p, msg->payload, sizeof(p));
    if (msg->type != HV_MSG_TIMER_EXPIRED || msg->payload_size != sizeof(p) ||
        p.index >= HV_TIMERS) {
        seen[0].wrong++;
    } else {
        seen[p.index].wrong +=
            p.delivery < p.expiration || hv_time() < p.expiration;
        if (seen[p.index].period && seen[p.index].count) {
            uint64_t apart = p.expiration - seen[p.index].last.expiration;

            seen[p.index].wrong += !apart || apart % seen[p.index].period;
        }
        seen[p.index].last = p;
        seen[p.index].count++;
    }
    hv_free_slot(cpu->id, TIMER_SINT);
}

static void take_direct(struct cpu *cpu, uint8_t vector)
{
    seen[vector - TIMER_VECTOR - 1].count++;
}

static void forget(void)
{
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        memset((void *)&seen[t], 0, sizeof(seen[t]));
    }
}

/* All that follows runs on the processor under test. */

static void check_one_shot(unsigned t)
{
    uint64_t when;

    forget();
    wrmsr(CONFIG(t), 0);
    wrmsr(COUNT(t), when = hv_time() + 5 * MS);
    wrmsr(CONFIG(t), HV_STIMER_ENABLE | BY_MESSAGE);
    tap(wait_for(seen[t].count, LATE_US) && !seen[t].wrong &&
            seen[t].last.index == t && seen[t].last.expiration == when,
        "a one-shot timer expires at its time",
        "%u messages, expiration %lu, asked %lu", seen[t].count,
        seen[t].last.expiration, when);
    delay_us(10000);
    tap(seen[t].count == 1 && !(rdmsr(CONFIG(t)) & HV_STIMER_ENABLE),
        "and once, and is disabled then", "%u messages, config 0x%lx",
        seen[t].count, rdmsr(CONFIG(t)));
}

/* Tried again if a busy host let the time pass before the stop. */
static void check_stop(void)
{
    uint64_t when, stopped;
    unsigned tries = 0;

    do {
        forget();
        wrmsr(COUNT(0), when = hv_time() + 50 * MS);
        wrmsr(CONFIG(0), HV_STIMER_ENABLE | BY_MESSAGE);
        wrmsr(COUNT(0), 0);
        stopped = hv_time();
    } while (stopped >= when && ++tries < 20);
    wait_for(hv_time() > when + 20 * MS, LATE_US);
    tap(!seen[0].count && !(rdmsr(CONFIG(0)) & HV_STIMER_ENABLE),
        "a count of 0 stops a timer", "%u messages, config 0x%lx",
        seen[0].count, rdmsr(CONFIG(0)));
}

static void check_past_and_zero(void)
{
    forget();
    wrmsr(COUNT(0), 1);
    wrmsr(CONFIG(0), HV_STIMER_ENABLE | BY_MESSAGE);
    tap(wait_for(seen[0].count == 1, LATE_US),
        "a time that is past expires at once", "%u messages", seen[0].count);
    wrmsr(COUNT(0), 0);
    wrmsr(CONFIG(0), HV_STIMER_ENABLE | BY_MESSAGE);
    delay_us(10000);
    tap(seen[0].count == 1, "a count of 0 is no time", "%u messages",
        seen[0].count);
    check_stop();
}

static void check_auto_enable(void)
{
    forget();
    wrmsr(COUNT(1), 0);
    wrmsr(CONFIG(1), HV_STIMER_AUTO_ENABLE | BY_MESSAGE);
    wrmsr(COUNT(1), hv_time() + 2 * MS);
    tap(wait_for(seen[1].count == 1, LATE_US),
        "auto-enable starts a timer when its count is set", "%u messages",
        seen[1].count);
    wrmsr(CONFIG(1), 0);
    wrmsr(COUNT(1), 0);
    wrmsr(CONFIG(1), HV_STIMER_ENABLE | HV_STIMER_SINT(0));
    tap(!(rdmsr(CONFIG(1)) & HV_STIMER_ENABLE),
        "a timer without SINT can't be enabled", "config 0x%lx",
        rdmsr(CONFIG(1)));
    wrmsr(CONFIG(1), 0);
}

#define PERIOD (2 * MS)
#define TICKS  100

static void check_periodic(unsigned t, uint64_t config, const char *name)
{
    uint64_t start, passed;
    unsigned count, most;

    forget();
    seen[t].period = PERIOD;
    wrmsr(CONFIG(t), 0);
    start = hv_time();
    wrmsr(COUNT(t), PERIOD);
    wrmsr(CONFIG(t), HV_STIMER_ENABLE | HV_STIMER_PERIODIC | config);
    wait_for(seen[t].count >= TICKS, 20000000);
    wrmsr(CONFIG(t), 0);
    passed = hv_time() - start;
    count = seen[t].count;
    most = passed / PERIOD + 1;
    tap(count >= TICKS && count <= most && !seen[t].wrong, name,
        "%u ticks in %lu00 ns, at most %u; %u wrong", count, passed, most,
        seen[t].wrong);
    delay_us(20000);
    /* One may have been under way when the timer was stopped. */
    tap(seen[t].count <= count + 1, "and stops when it is disabled",
        "%u more ticks", seen[t].count - count);
}

/* Four timers expire at once for one slot; each must get its turn. */
static void check_busy_slot(void)
{
    struct hv_message *msg = &hv_vps[this_cpu()->id].messages[TIMER_SINT];
    uint64_t when;
    unsigned all = 0;

    forget();
    seen[0].hold = true;
    when = hv_time() + 5 * MS;
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        wrmsr(CONFIG(t), 0);
        wrmsr(COUNT(t), when);
        wrmsr(CONFIG(t), HV_STIMER_ENABLE | BY_MESSAGE);
    }
    tap(wait_for(msg->type == HV_MSG_TIMER_EXPIRED &&
                     msg->flags & HV_MSG_PENDING,
                 LATE_US),
        "a timer that finds its slot taken says so", "type 0x%x, flags %u",
        msg->type, msg->flags);
    delay_us(10000);
    seen[0].hold = false;
    __asm__ volatile("cli");
    take_message(this_cpu(), TIMER_VECTOR);
    __asm__ volatile("sti");
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        all += wait_for(seen[t].count, LATE_US);
    }
    tap(all == HV_TIMERS && !seen[0].wrong, "and comes after EOM",
        "%u of %u timers came", all, HV_TIMERS);
}

static void check_direct(void)
{
    struct hv_message *msg = &hv_vps[this_cpu()->id].messages[TIMER_SINT];

    if (!(cpuid(0x40000003).edx >> 19 & 1)) {
        tap(!wrmsr_safe(CONFIG(0),
                        HV_STIMER_DIRECT | HV_STIMER_VECTOR(TIMER_VECTOR + 1)),
            "direct mode faults if the machine has it not", "it does not");
        return;
    }
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        uint8_t vector = TIMER_VECTOR + 1 + t;

        irq_set(vector, take_direct, true);
        forget();
        wrmsr(COUNT(t), hv_time() + 2 * MS);
        wrmsr(CONFIG(t),
              HV_STIMER_ENABLE | HV_STIMER_DIRECT | HV_STIMER_VECTOR(vector));
        tap(wait_for(seen[t].count == 1, LATE_US) && msg->type == HV_MSG_NONE,
            "a direct timer interrupts, and sends no message",
            "%u interrupts, type 0x%x", seen[t].count, msg->type);
        check_periodic(t, HV_STIMER_DIRECT | HV_STIMER_VECTOR(vector),
                       "a direct periodic timer keeps its rate");
    }
}

static void check_this_cpu(void *arg)
{
    hv_set_sint(this_cpu()->id, TIMER_SINT, TIMER_VECTOR);
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        check_one_shot(t);
    }
    check_past_and_zero();
    check_auto_enable();
    check_periodic(0, BY_MESSAGE, "a periodic timer keeps its rate");
    check_periodic(3, BY_MESSAGE | HV_STIMER_LAZY,
                   "a lazy periodic timer keeps its rate");
    check_busy_slot();
    check_direct();
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        wrmsr(CONFIG(t), 0);
    }
}

void test_stimer(void)
{
    if (!hv_present() || !(cpuid(0x40000003).eax >> 3 & 1)) {
        tap_skip("synthetic timers", "the machine has no hv-stimer");
        return;
    }
    hv_setup();
    irq_set(TIMER_VECTOR, take_message, true);
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_synic_on(cpu);
    }
    /* The first and the last: the others are no different. */
    for (unsigned cpu = 0; cpu < cpu_count; cpu += cpu_count - 1) {
        print("# processor %u\n", cpu);
        run_on(cpu, check_this_cpu, NULL);
        if (cpu_count == 1) {
            break;
        }
    }
}
