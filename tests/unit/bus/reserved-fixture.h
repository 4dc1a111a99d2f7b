/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of reserved channels share. */
#ifndef RESERVED_FIXTURE_H
#define RESERVED_FIXTURE_H

#include "fixture.h"

/* Where the answers go; the connection's are on VP 0 and SINT 2. */
#define RESERVED_VP   3
#define RESERVED_SINT 5

/* Connects, and opens the fixture's device; it echoes. */
VscChannel *reserved_open(Fixture *fix);
/* A packet comes back.  The guest polls: nothing interrupts it. */
void reserved_echo(Fixture *fix, VscChannel *chan);
/* The device is open, or it is not; and so says the machine. */
void reserved_assert_open(Fixture *fix, bool open);
/* Closes and frees it; the answer comes to @sint of @vp. */
void reserved_close(Fixture *fix, VscChannel *chan, uint32_t vp, uint8_t sint);
/* A message that opens a channel with rings of 3 pages and the rest. */
void reserved_put_open(Fixture *fix, VmbusMsg *msg, uint32_t relid,
                       uint32_t gpadl);
/* Posts it; it is refused with @sentence, and the guest is told. */
void reserved_open_refused(Fixture *fix, const VmbusMsg *open,
                           const char *sentence);

#endif
