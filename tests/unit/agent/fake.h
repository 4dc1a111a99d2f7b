/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An agent in a process of its own, with file systems and a kernel that are
 * made up.  The file systems are in shared memory, so that every process of
 * the agent acts on the same ones.
 */
#ifndef TESTS_UNIT_AGENT_FAKE_H
#define TESTS_UNIT_AGENT_FAKE_H

#include <stdatomic.h>

#include "agent-case.h"
#include "agent.h"

#define FAKE_FS 4

typedef struct FakeFs {
    /* What shall happen. */
    int freeze_error, freeze_ms; /* errno; time that the kernel takes */
    int thaw_error, thaw_errors; /* errno; how many times, -1: always */
    int open_error, open_ms;
    /* What did happen. */
    _Atomic bool frozen;
    _Atomic int flushes;
} FakeFs;

typedef struct FakeFiles {
    FakeFs fs[FAKE_FS];
    _Atomic unsigned events;
    char event[4096]; /* F0 f0: frozen, freezing failed; T0 t0: thawed */
} FakeFiles;

typedef struct Fake {
    char *folder;
    AgentConfig config;
    const FsOps *ops;
    FakeFiles *files; /* shared */
    pid_t agent;
    int listener; /* stands for the device; -1: there is none */
    int kernel;   /* the kernel's end of the open device */
} Fake;

/* File systems /0 to /3, mounted in this order, and a configuration. */
void fake_setup(Fake *fake, const void *data);
void fake_teardown(Fake *fake, const void *data);

/* Make the device appear, or disappear. */
void fake_device(Fake *fake, bool there);

/* Start the agent; its messages go to "log". */
void fake_start(Fake *fake);

/* Let it open the device; then also register. */
void fake_accept(Fake *fake);
void fake_register(Fake *fake);

/* Device, agent, registration. */
void fake_begin(Fake *fake);

/* A request, its answer, and both. */
void fake_send(Fake *fake, uint8_t operation);
uint32_t fake_answer(Fake *fake);
uint32_t fake_request(Fake *fake, uint8_t operation);

/* The agent has closed the device; so does the kernel. */
void fake_wait_closed(Fake *fake);

void fake_kill(Fake *fake, int signal);

/* Does the record say that the freeze ended before the host asked for it? */
bool fake_lapsed(const Fake *fake);

/* Wait until the guard of an agent that was killed has nothing left to do. */
void fake_wait_guard(Fake *fake);

/* The child of the agent of that name; 0: none. */
pid_t fake_child(const Fake *fake, const char *name);

bool fake_all_frozen(const Fake *fake);
bool fake_none_frozen(const Fake *fake);

void fake_assert_events(Fake *fake, const char *expected);
bool fake_log_has(const Fake *fake, const char *text);

/* It is there, or comes soon. */
void fake_assert_log(const Fake *fake, const char *text);

#define FREEZE() fake_request(fake, HV_VSS_FREEZE)
#define THAW()   fake_request(fake, HV_VSS_THAW)

#endif
