/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The copying of files on a fake channel: a file in memory, a guest that keeps
 * what it is sent, and a clock that the test moves. */
#ifndef FCOPY_FIXTURE_H
#define FCOPY_FIXTURE_H

#include "devices/fcopy-protocol.h"
#include "devices/fcopy.h"
#include "devices/ic.h"
#include "fake-channel.h"

#define SECOND UINT64_C(1000000000)

typedef struct FcopyFixture {
    VmbusChannel chan;
    VmbusFcopy *fc;
    uint64_t now, wake;
    GString *file;
    bool hold_reads; /* the file is slow */
    uint64_t read_offset;
    uint32_t read_len;
    unsigned reads, progresses, changes, ends;
    VmbusFcopyState state;
    VmbusFcopyResult result;
    GByteArray *guest; /* the file in the guest */
} FcopyFixture;

/* With a file of 20000 bytes. */
void fcopy_setup(FcopyFixture *f, const void *data);
/* With a guest that has agreed on the versions. */
void fcopy_setup_ready(FcopyFixture *f, const void *data);
void fcopy_teardown(FcopyFixture *f, const void *data);
void fcopy_open_ready(FcopyFixture *f);

/* For a copy of the file: 10 s for each step, 30 s to resume it. */
VmbusFcopyRequest fcopy_request(const FcopyFixture *f);
/* Starts it, which must succeed; its id. */
uint64_t fcopy_start(FcopyFixture *f);
VmbusFcopyResult fcopy_try_start(FcopyFixture *f);
/* Hands over what was asked of the file last. */
void fcopy_give(FcopyFixture *f, uint64_t id);

/* What is asked of the guest next; -1: nothing. */
int fcopy_next_operation(FcopyFixture *f);
/* Answers as Linux's driver does; keeps what is written. */
void fcopy_answer(FcopyFixture *f, uint32_t status);
/* Answers @operation, which must be next, with nothing behind it. */
void fcopy_expect(FcopyFixture *f, FcopyWireOperation operation,
                  uint32_t status);
/* Answers until nothing is asked; the copy, borrowed. */
const VmbusFcopyCopy *fcopy_finish(FcopyFixture *f, uint64_t id);
/* Finishes it, and compares the guest's file with the host's. */
void fcopy_assert_copied(FcopyFixture *f, uint64_t id);

#endif
