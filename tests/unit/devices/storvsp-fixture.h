/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage service on the real bus, with a machine that keeps requests
 * until the test ends them, and a guest.
 */
#ifndef STORVSP_FIXTURE_H
#define STORVSP_FIXTURE_H

#include "devices/storvsp.h"
#include "vsc-storage.h"

#define PAGES       4096
#define RING_PAGES  17
#define SUBCHANNELS 3

typedef struct Adapter {
    StorVsp *vsp;
    VmbusChannel *chan;
    GPtrArray *taken;  /* StorRequest that the machine has, oldest first */
    bool at_once;      /* requests end in submit(), with @result */
    bool hold_resets;  /* reset_done() is the test's */
    bool hold_offers;  /* storvsp_subchannels_offered() likewise */
    bool hold_cancels; /* the end of cancelled requests likewise */
    StorResult result;
    StorReset reset; /* the last one */
    unsigned submitted, cancelled, batches, resets, runs, refused;
    bool later[STOR_MAX_CHANNELS]; /* storvsp_run() was wished for */
    const char *sentence;          /* of the last refusal */
    void (*on_refusal)(void *opaque);
    void *on_refusal_opaque;
} Adapter;

typedef struct Fixture {
    VscMachine *machine;
    Vsc *vsc;
    Adapter adapter;
    VscStorage guest;
} Fixture;

/* @data: NULL for SCSI, else fibre channel. */
void fixture_setup(Fixture *f, gconstpointer data);
void fixture_teardown(Fixture *f, gconstpointer data);
/* The guest opens the adapter; with @ready, it initializes it, too. */
void fixture_open(Fixture *f, bool ready);
/* Fulfils the wishes of run_later(). */
void fixture_run(Fixture *f);
/* Checks the bus, and that requests are counted right. */
void fixture_check(Fixture *f);

void adapter_new(Adapter *a, bool fc);
/* Ends the oldest request that the machine has. */
void adapter_finish(Adapter *a, const StorResult *result);

/* A READ(10) or WRITE(10) of @len bytes, in pages of the guest's own. */
bool fixture_io(Fixture *f, unsigned channel, uint64_t id, uint8_t data_in,
                uint32_t len);
/* The answer to the request @id of channel @channel. */
StorSrb fixture_answer(Fixture *f, unsigned channel, uint64_t id);
/* No answer is there. */
void fixture_silent(Fixture *f, unsigned channel);

extern const StorResult result_good;

#define ADD(path, fn)                                                          \
    g_test_add("/storvsp/" path, Fixture, NULL, fixture_setup, fn,             \
               fixture_teardown)

#endif
