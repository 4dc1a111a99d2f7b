/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of the guest in any order, while devices come and go. */
#include "bus-fuzz.h"

static const FuzzStep steps[] = {
    {fuzz_step_post, 24},    {fuzz_step_take, 10},   {fuzz_step_lost, 1},
    {fuzz_step_signal, 3},   {fuzz_step_packet, 3},  {fuzz_step_scribble, 2},
    {fuzz_step_send, 2},     {fuzz_step_receive, 1}, {fuzz_step_habits, 2},
    {fuzz_step_plug, 4},     {fuzz_step_reset, 1},   {fuzz_step_limit, 1},
    {fuzz_step_inject, 2},   {fuzz_step_bits, 2},    {fuzz_step_migrate, 1},
    {fuzz_step_subs, 2},     {fuzz_step_map, 3},     {fuzz_step_opening, 6},
    {fuzz_step_teardown, 3},
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
