/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An IcPort on a fake channel, with a service of the tests' own. */
#ifndef IC_FIXTURE_H
#define IC_FIXTURE_H

#include "devices/ic.h"
#include "fake-channel.h"

#define IC_FIXTURE_TYPE      IC_MESSAGE_TIMESYNC
#define IC_FIXTURE_IN_FLIGHT 4

typedef struct IcFixture {
    VmbusChannel chan;
    IcPort port;
    unsigned changes, answers, rooms;
    IcState last_state;
    IcAnswer last;
    uint8_t last_body[64];
    const char *refuse_with;
    uint32_t chain; /* requests still to be sent from answer() */
} IcFixture;

/* For g_test_add(): closed; opened, versions offered; versions agreed. */
void ic_fixture_init(IcFixture *f, const void *data);
void ic_fixture_open(IcFixture *f, const void *data);
void ic_fixture_ready(IcFixture *f, const void *data);
void ic_fixture_clear(IcFixture *f, const void *data);

/* That was refused, so often, and nothing else was. */
void ic_assert_refused(const IcFixture *f, IcRefusal refusal, uint64_t count);

#endif
