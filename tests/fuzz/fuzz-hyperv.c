/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software Hyper-V interface: registers, hypercalls and timers, on a
 * clock that the input moves; and its saved state, on other machines.
 */
#include <errno.h>

#include "fake-machine.h"
#include "fuzz.h"
#include "kvm/hv-state.h"

#define TICKS_MAX (1u << 20) /* 100 ns that pass in one step */
#define RETRY_MAX 100000     /* 10 ms */

typedef struct MsrKind {
    uint32_t first, count;
} MsrKind;

static const MsrKind msrs[] = {
    {HVMSR_STIMER0_CONFIG, 8}, {HVMSR_GUEST_OS_ID, 4}, {HVMSR_SINT0, 16},
    {HVMSR_SCONTROL, 5},       {HVMSR_EOI, 4},         {HVMSR_VP_RUNTIME, 1},
    {HVMSR_TIME_REF_COUNT, 4}, {HVMSR_CRASH_P0, 9},
};

static uint32_t some_msr(FuzzInput *in)
{
    const MsrKind *kind = &msrs[fuzz_below(in, G_N_ELEMENTS(msrs))];

    if (fuzz_chance(in, 5)) {
        return HVMSR_FIRST +
               fuzz_number(in, 2) % (HVMSR_LAST - HVMSR_FIRST + 1);
    }
    return kind->first + fuzz_below(in, kind->count);
}

static uint64_t some_gpa(FuzzInput *in)
{
    return fuzz_value(in, 8, 0, FAKE_MEMORY / HV_ABI_PAGE_SIZE) *
           HV_ABI_PAGE_SIZE;
}

static uint64_t timer_config(FuzzInput *in)
{
    uint8_t bits = fuzz_u8(in);

    return (bits & 0xf) | (uint64_t)(bits >> 4 & 1) << 12 |
           fuzz_below(in, 256) << 4 | (uint64_t)fuzz_below(in, 16) << 16;
}

static uint64_t some_value(Fake *fake, FuzzInput *in, uint32_t msr)
{
    if (fuzz_chance(in, 15)) {
        return fuzz_value(in, 8, 0, 256);
    }
    if (msr >= HVMSR_STIMER0_CONFIG && msr <= HVMSR_STIMER3_COUNT) {
        return msr % 2 == 0
                   ? timer_config(in)
                   : (fuzz_u8(in) & 1 ? fake->now : 0) + fuzz_number(in, 2);
    }
    if (msr >= HVMSR_SINT0 && msr <= HVMSR_SINT15) {
        return fuzz_u8(in) | (uint64_t)(fuzz_u8(in) % 8) << 16;
    }
    return some_gpa(in) | (fuzz_u8(in) & 3);
}

static void access_msr(Fake *fake, FuzzInput *in)
{
    HvVp *vp = &fake->vps[fuzz_u8(in) % FAKE_VPS];
    uint32_t msr = some_msr(in);
    uint64_t value = 0;

    if (fuzz_chance(in, 30)) {
        hv_msr_read(vp, msr, &value);
    } else {
        hv_msr_write(vp, msr, some_value(fake, in, msr));
    }
}

static uint64_t some_control(FuzzInput *in)
{
    static const uint16_t codes[] = {
        HVCALL_FLUSH_SPACE,    HVCALL_FLUSH_LIST,     HVCALL_LONG_SPIN_WAIT,
        HVCALL_CLUSTER_IPI,    HVCALL_FLUSH_SPACE_EX, HVCALL_FLUSH_LIST_EX,
        HVCALL_CLUSTER_IPI_EX, HVCALL_MESSAGE_POST,   HVCALL_EVENT_SIGNAL,
    };
    uint64_t code = codes[fuzz_below(in, G_N_ELEMENTS(codes))];
    uint64_t fast = fuzz_u8(in) & 1 ? HVCALL_FAST : 0;
    uint64_t words = fuzz_value(in, 2, 0, 4) & HVCALL_VAR_MASK;
    uint64_t reps = fuzz_value(in, 2, 0, 4) & HVCALL_REP_MASK;
    uint64_t start = fuzz_value(in, 2, 0, 1) & HVCALL_REP_MASK;

    if (fuzz_chance(in, 5)) {
        return fuzz_number(in, 8);
    }
    return code | fast | words << HVCALL_VAR_SHIFT | reps << HVCALL_REPS_SHIFT |
           start << HVCALL_REP_START_SHIFT;
}

/* Fills the head of the input in guest memory, or in registers. */
static void some_input(FuzzInput *in, uint64_t *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        words[i] = fuzz_value(in, 8, 0, 16);
    }
}

static void hypercall(Fake *fake, FuzzInput *in)
{
    HvHypercallRegs regs = {
        .long_mode = !fuzz_chance(in, 25),
        .protected_mode = !fuzz_chance(in, 3),
        .cpl = fuzz_chance(in, 3) ? 3 : 0,
    };
    HvHypercallRegs before;
    uint64_t control = some_control(in);
    uint64_t gpa = some_gpa(in) + fuzz_value(in, 8, 0, 1);
    uint64_t input[12];

    some_input(in, input, fuzz_below(in, 8) + 1);
    if (control & HVCALL_FAST) {
        gpa = input[0];
        memcpy(regs.xmm, input, sizeof(input));
    } else if (gpa < FAKE_MEMORY - sizeof(input)) {
        memcpy(fake->memory + gpa, input, sizeof(input));
    }
    if (regs.long_mode) {
        regs.rcx = control;
        regs.rdx = gpa;
        regs.r8 = input[1];
    } else {
        regs.rdx = control >> 32;
        regs.rax = (uint32_t)control;
        regs.rbx = gpa >> 32;
        regs.rcx = (uint32_t)gpa;
        regs.rdi = input[1] >> 32;
        regs.rsi = (uint32_t)input[1];
    }
    before = regs;
    if (!hv_hypercall(&fake->vps[0], &regs)) {
        fuzz_require(!memcmp(&before, &regs, sizeof(regs)),
                     "A hypercall that is #UD has changed registers.");
    }
}

static bool next_timer(Fake *fake, uint64_t *due, unsigned *vp, unsigned *timer)
{
    *due = HV_TIME_NEVER;
    for (unsigned i = 0; i < FAKE_VPS * HV_ABI_STIMERS; i++) {
        uint64_t wish = fake->deadlines[i / HV_ABI_STIMERS][i % HV_ABI_STIMERS];

        if (wish < *due) {
            *due = wish;
            *vp = i / HV_ABI_STIMERS;
            *timer = i % HV_ABI_STIMERS;
        }
    }
    return *due != HV_TIME_NEVER;
}

/*
 * Calls each timer when its time has come.  After a load the reference time is
 * not that of the machine, and with a damaged state it can be anything.
 */
static void advance(Fake *fake, uint64_t ticks)
{
    uint64_t end = fake->now + ticks, due;
    unsigned vp, timer;

    for (unsigned i = 0; i < 10000 && next_timer(fake, &due, &vp, &timer);
         i++) {
        uint64_t time = hv_partition_time(&fake->partition);
        uint64_t wait = due > time ? due - time : 0;

        if (wait > end - fake->now) {
            break;
        }
        fake->now += wait;
        fake->deadlines[vp][timer] = HV_TIME_NEVER;
        hv_stimer_tick(&fake->vps[vp], timer);
    }
    fake->now = end;
}

static void pass_time(Fake *fake, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    if (how < 0xf8) {
        advance(fake, fuzz_number(in, 3) % TICKS_MAX);
        return;
    }
    /* A leap: each timer is called once, early or late. */
    fake->now += fuzz_number(in, 6);
    for (unsigned vp = 0; vp < FAKE_VPS; vp++) {
        for (unsigned i = 0; i <= HV_ABI_STIMERS; i++) {
            hv_stimer_tick(&fake->vps[vp], i);
        }
    }
}

static void check_timer(const Fake *fake, unsigned vp, unsigned timer)
{
    const HvStimerState *t = &fake->vps[vp].s.stimer[timer];
    uint64_t wish = fake->deadlines[vp][timer];

    if (!t->deadline && t->pending && wish != HV_TIME_NEVER) {
        HvPartition *partition = fake->vps[vp].partition;

        fuzz_require(wish <= hv_partition_time(partition) + RETRY_MAX,
                     "A message that waits is not tried again soon.");
    } else {
        fuzz_require(wish == (t->deadline ? t->deadline : HV_TIME_NEVER),
                     "A timer's deadline is not the one it wished for.");
    }
    fuzz_require(!t->deadline == !(t->config & HVB_STIMER_ENABLE && t->count),
                 "A timer runs that is not enabled, or does not and is.");
    fuzz_require(!t->pending || !(t->config & HVB_STIMER_DIRECT_MODE),
                 "A timer without messages has one that waits.");
}

static void check(Fake *fake)
{
    for (unsigned i = 0; i < FAKE_VPS; i++) {
        HvVp *vp = &fake->vps[i];

        for (unsigned t = 0; t < HV_ABI_STIMERS; t++) {
            check_timer(fake, i, t);
        }
        for (unsigned s = 0; s < HV_ABI_SINT_COUNT; s++) {
            uint64_t sint = vp->s.sint[s];

            if (!(sint & HVB_SINT_MASKED) && sint & HVB_SINT_AUTO_EOI) {
                fuzz_require(hv_sint_auto_eoi(vp, sint & HVB_SINT_VECTOR),
                             "A vector has lost its automatic EOI.");
            }
            fuzz_require(sint & HVB_SINT_MASKED ||
                             (sint & HVB_SINT_VECTOR) >= HV_ABI_FIRST_VECTOR,
                         "A SINT has the vector of an exception.");
        }
        fuzz_require(vp->s.vp_index == i, "A VP has another one's index.");
    }
}

typedef struct Saved {
    HvSavedPartition partition;
    HvSavedVp vps[FAKE_VPS];
} Saved;

static void save(Fake *fake, Saved *saved)
{
    memset(saved, 0, sizeof(*saved));
    hv_partition_save(&fake->partition, &saved->partition);
    for (unsigned i = 0; i < FAKE_VPS; i++) {
        hv_vp_save(&fake->vps[i], &saved->vps[i]);
    }
}

/* Changes a few numbers, or none; were any? */
static bool spoil(Saved *saved, FuzzInput *in)
{
    unsigned times = fuzz_u8(in) % 6;

    for (unsigned i = 0; i < times; i++) {
        uint32_t at = fuzz_number(in, 2) % (sizeof(*saved) / 4) * 4;
        unsigned bytes = 1u << fuzz_u8(in) % 4;
        uint64_t value = fuzz_value(in, bytes, 0, 16);

        bytes = MIN(bytes, sizeof(*saved) - at);
        memcpy((uint8_t *)saved + at, &value, bytes);
    }
    return times;
}

/* Everything or nothing is loaded by a machine; NULL, or why it was not. */
static const char *load(Fake *fake, const Saved *saved, uint32_t cut)
{
    const char *why = hv_partition_load(&fake->partition, &saved->partition,
                                        sizeof(saved->partition) - cut);

    for (unsigned i = 0; i < FAKE_VPS && !why; i++) {
        why = hv_vp_load(&fake->vps[i], &saved->vps[i], sizeof(saved->vps[i]));
    }
    return why;
}

/* On in another machine, whose clocks stand elsewhere; or not, if it will
 * not have us. */
static Fake *migrate(Fake *fake, FuzzInput *in)
{
    Fake *to = fake_new(fake->partition.config.features);
    Saved saved, again;
    const char *why;
    bool spoiled;

    save(fake, &saved);
    spoiled = spoil(&saved, in);
    to->now = fuzz_value(in, 8, fake->now, 1) % (1ull << 55);
    to->tsc_too_slow = fuzz_chance(in, 10);
    to->partition.config.spinlocks = fake->partition.config.spinlocks;
    memcpy(to->memory, fake->memory, sizeof(to->memory));
    why = load(to, &saved, fuzz_chance(in, 3) ? 1 : 0);
    if (why) {
        fuzz_require(strlen(why) > 10, "A state was refused without a reason.");
        fake_free(to);
        return fake;
    }
    save(to, &again);
    fuzz_require(spoiled || !memcmp(&saved.partition, &again.partition,
                                    sizeof(saved.partition)),
                 "A partition is another one after it was loaded.");
    for (unsigned i = 0; i < FAKE_VPS; i++) {
        fuzz_require(spoiled || !memcmp(&saved.vps[i], &again.vps[i],
                                        sizeof(saved.vps[i])),
                     "A VP is another one after it was loaded.");
    }
    fuzz_require(hv_partition_resume(&to->partition),
                 "A partition does not know that it was loaded.");
    for (unsigned i = 0; i < FAKE_VPS; i++) {
        hv_vp_resume(&to->vps[i]);
    }
    fake_free(fake);
    return to;
}

static void step(Fake **machine, FuzzInput *in)
{
    static const int statuses[] = {0, 0, -EAGAIN, -ENXIO};
    Fake *fake = *machine;
    HvVp *vp = &fake->vps[fuzz_u8(in) % FAKE_VPS];

    switch (fuzz_u8(in) % 34) {
    case 0 ... 13:
        access_msr(fake, in);
        break;
    case 14 ... 21:
        hypercall(fake, in);
        break;
    case 22 ... 26:
        pass_time(fake, in);
        break;
    case 27:
        fake->post_status = statuses[fuzz_u8(in) % G_N_ELEMENTS(statuses)];
        fake->hypercall_status = fuzz_u8(in);
        fake->apic_refuses = fuzz_u8(in) & 1;
        break;
    case 28:
        hv_sint_raise(vp, fuzz_value(in, 4, 0, HV_ABI_SINT_COUNT));
        break;
    case 29:
        hv_sint_auto_eoi(vp, fuzz_u8(in));
        break;
    case 30:
        hv_vp_reset(vp);
        break;
    case 32:
    case 33:
        *machine = migrate(fake, in);
        break;
    default:
        if (fuzz_chance(in, 20)) {
            hv_partition_reset(&fake->partition);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    uint64_t features = FAKE_ALL_FEATURES & ~fuzz_value(&in, 8, 0, 1);
    Fake *fake = fake_new(features);

    fake->tsc_too_slow = fuzz_chance(&in, 10);
    fake->partition.config.spinlocks = fuzz_value(&in, 4, 1, 2);
    while (!fuzz_end(&in)) {
        step(&fake, &in);
        check(fake);
    }
    fake_free(fake);
    return 0;
}
