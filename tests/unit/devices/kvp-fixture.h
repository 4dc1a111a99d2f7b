/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The key-value service on a fake channel, with a clock that the test moves. */
#ifndef KVP_FIXTURE_H
#define KVP_FIXTURE_H

#include "devices/ic.h"
#include "devices/kvp-wire.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)

typedef struct KvpFixture {
    VmbusChannel chan;
    VmbusKvp *kvp;
    VmbusKvpState state;
    uint64_t now, wake;
    unsigned ends;
    uint64_t last_id;
    VmbusKvpResult result;
} KvpFixture;

void kvp_setup(KvpFixture *f, const void *data);
/* With a guest that has agreed on the versions. */
void kvp_setup_ready(KvpFixture *f, const void *data);
void kvp_teardown(KvpFixture *f, const void *data);
void kvp_open_ready(KvpFixture *f);

/* Of the guest's own pool, with a value as text; its job ends after 10 s. */
VmbusKvpRequest kvp_request(VmbusKvpOperation operation);
/* Starts it, which must succeed; the id of its job. */
uint64_t kvp_start(KvpFixture *f, VmbusKvpOperation operation);

/* Looks at the next request without taking it. */
KvpWireMessage kvp_peek(KvpFixture *f);
/* Answers the next request with @body, as long as the request; NULL: with the
 * request itself. */
void kvp_answer(KvpFixture *f, uint32_t status, const void *body);
/* An item as a guest's list has it. */
KvpWireMessage kvp_item(const char *key, const char *value);
void kvp_answer_item(KvpFixture *f, const char *key, const char *value);

#endif
