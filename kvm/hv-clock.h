/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The partition's reference time: 100 ns units since the partition began, a
 * linear function of the guest's TSC (TLFS 12.1 to 12.4).  The counter MSR,
 * the TSC page and the timers all go through hv_clock_read(), so they agree
 * to the last unit.
 */
#ifndef KVM_HV_CLOCK_H
#define KVM_HV_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define HV_CLOCK_HZ 10000000ull

typedef struct HvClock {
    uint64_t scale;  /* 100 ns units of one TSC tick, times 2^64 */
    int64_t offset;  /* 100 ns units */
    uint64_t tsc_hz; /* 0: not calibrated */
    bool valid;      /* scale and offset can be used */
} HvClock;

/* The guest's TSC, and the time since start, read at the same moment. */
typedef struct HvClockSample {
    uint64_t tsc;
    uint64_t ns;
} HvClockSample;

/*
 * Fits the clock to two samples, @first the earlier; exact at @last.  False,
 * with the clock not valid: the samples go backwards or coincide, or the TSC
 * is not faster than the reference clock (the scale would not fit).
 */
bool hv_clock_calibrate(HvClock *clock, const HvClockSample *first,
                        const HvClockSample *last);

/* Moves a clock, if it is valid, so that it reads @time at @tsc. */
void hv_clock_anchor(HvClock *clock, uint64_t tsc, uint64_t time);

/* Reference time at @tsc; @clock must be valid.  Wraps like the guest's. */
uint64_t hv_clock_read(const HvClock *clock, uint64_t tsc);

#endif
