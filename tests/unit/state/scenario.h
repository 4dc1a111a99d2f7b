/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest and two machines.  A scenario brings the first machine's bus to some
 * state; the guest then goes on there, or moves to the second machine and
 * goes on there, and must not find a difference.
 */
#ifndef STATE_SCENARIO_H
#define STATE_SCENARIO_H

#include "bus/state.h"
#include "fixture.h"

#define SIDE_DEVICES  3
#define SIDE_CHANNELS 2

typedef struct Side {
    VscMachine *machine;
    VmbusBus *bus;
    Vsc *vsc;
    Device devices[SIDE_DEVICES];
    VscChannel *channels[SIDE_CHANNELS]; /* open in the guest, or NULL */
} Side;

typedef struct Scenario {
    const char *name;
    void (*prepare)(Side *side);
    /* Number of devices withdrawn before the state is saved. */
    unsigned withdrawn;
} Scenario;

extern const Scenario scenarios[];
extern const size_t scenario_count;

/* Offers the devices, from the last to the first if @reverse. */
void side_set_up(Side *side, bool reverse);
void side_tear_down(Side *side);
/* side_set_up(), prepare(). */
void side_prepare(Side *side, const Scenario *scenario);
/* The bus's state; asserts that it can be had. */
GByteArray *side_save(Side *side);
/*
 * Moves guest and memory from @from to @to, which was set up and has lost the
 * devices that the scenario withdrew, and loads @blob there.  @from is left
 * with no guest.
 */
void side_move(Side *from, Side *to, const Scenario *scenario,
               GByteArray *blob);
/* Withdraws what the scenario withdraws, from a side without a guest. */
void side_withdraw(Side *side, const Scenario *scenario);
/*
 * The guest takes all its messages, closes and opens and echoes, and unloads.
 * What it saw, line by line.
 */
GString *side_go_on(Side *side);

#endif
