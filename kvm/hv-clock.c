/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kvm/hv-clock.h"

__extension__ typedef unsigned __int128 Wide;

static uint64_t multiply_high(uint64_t a, uint64_t b)
{
    return (uint64_t)(((Wide)a * b) >> 64);
}

bool hv_clock_calibrate(HvClock *clock, const HvClockSample *first,
                        const HvClockSample *last)
{
    uint64_t ticks = last->tsc - first->tsc;
    uint64_t ns = last->ns - first->ns;
    Wide scale;

    clock->valid = false;
    clock->tsc_hz = 0;
    if (last->tsc <= first->tsc || last->ns <= first->ns) {
        return false;
    }
    clock->tsc_hz = (uint64_t)((Wide)ticks * 1000000000u / ns);
    scale = ((Wide)ns << 64) / ((Wide)ticks * 100);
    if (scale >> 64 || !scale) {
        return false;
    }
    clock->scale = (uint64_t)scale;
    clock->offset =
        (int64_t)(last->ns / 100 - multiply_high(last->tsc, clock->scale));
    clock->valid = true;
    return true;
}

void hv_clock_anchor(HvClock *clock, uint64_t tsc, uint64_t time)
{
    if (clock->valid) {
        clock->offset = (int64_t)(time - multiply_high(tsc, clock->scale));
    }
}

uint64_t hv_clock_read(const HvClock *clock, uint64_t tsc)
{
    return multiply_high(tsc, clock->scale) + (uint64_t)clock->offset;
}
