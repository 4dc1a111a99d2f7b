/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bus that is saved, spoiled and loaded again and again. */
#include "bus-fuzz.h"

static const FuzzStep steps[] = {
    {fuzz_step_migrate, 12}, {fuzz_step_post, 16},    {fuzz_step_take, 4},
    {fuzz_step_signal, 2},   {fuzz_step_packet, 2},   {fuzz_step_scribble, 1},
    {fuzz_step_send, 2},     {fuzz_step_habits, 1},   {fuzz_step_plug, 3},
    {fuzz_step_inject, 1},   {fuzz_step_subs, 2},     {fuzz_step_map, 2},
    {fuzz_step_opening, 4},  {fuzz_step_teardown, 2},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    uint8_t how = fuzz_u8(&in);
    FuzzBus *f = fuzz_bus_new(how & 1);

    fuzz_bus_begin(f, how >> 1 & 7);
    fuzz_bus_run(f, &in, steps, G_N_ELEMENTS(steps));
    fuzz_bus_finish(f);
    return 0;
}
