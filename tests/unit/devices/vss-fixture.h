/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backup service on a fake channel, with a clock that the test moves. */
#ifndef VSS_FIXTURE_H
#define VSS_FIXTURE_H

#include "devices/ic.h"
#include "devices/vss.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)
#define HOLD   (10 * SECOND)
#define LIMIT  (60 * SECOND)

typedef struct VssFixture {
    VmbusChannel chan;
    VmbusVss *vss;
    uint64_t now, wake, job;
    unsigned changes;
    VmbusVssInfo last; /* as it was told */
} VssFixture;

void vss_setup(VssFixture *f, const void *data);
/* With a guest that has agreed on the versions. */
void vss_setup_ready(VssFixture *f, const void *data);
void vss_teardown(VssFixture *f, const void *data);
void vss_open_ready(VssFixture *f);
VmbusVssInfo vss_info(VssFixture *f);
/* State and reason are these, and so they were told. */
void vss_assert_state(VssFixture *f, VmbusVssState state,
                      VmbusVssReason reason);

/* Lets time pass; ticks exactly when the engine asked for it. */
void vss_run_until(VssFixture *f, uint64_t until);
void vss_pass(VssFixture *f, uint64_t ns);

/* The next request, which must be @operation, with nothing behind it. */
void vss_pop(VssFixture *f, uint8_t operation, FakeMessage *msg);
void vss_answer_to(VssFixture *f, FakeMessage *msg, uint32_t status);
void vss_answer(VssFixture *f, uint8_t operation, uint32_t status);

/* Asks for a freeze: hold time HOLD, 30 s to freeze. */
VmbusVssResult vss_freeze(VssFixture *f);
/* With a guest that freezes. */
void vss_freeze_all(VssFixture *f);

#endif
