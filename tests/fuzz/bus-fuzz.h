/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real bus on the fake machine, with devices that do what channel.h allows
 * and a guest that does what it likes.
 */
#ifndef BUS_FUZZ_H
#define BUS_FUZZ_H

#include "bus/bus-internal.h"
#include "bus/gpadl-map.h"
#include "fuzz.h"
#include "vsc.h"

#define FUZZ_DEVICES 4
#define FUZZ_PAGES   48 /* of guest memory */

/* What a device does when it is called; FuzzDevice.habits. */
enum {
    FUZZ_REFUSE_OPEN = 1 << 0,
    FUZZ_RECEIVE_IN_OPEN = 1 << 1,
    FUZZ_SEND_IN_OPEN = 1 << 2,
    FUZZ_IGNORE_SIGNAL = 1 << 3,
    FUZZ_TAKE_ONE = 1 << 4,
    FUZZ_ECHO = 1 << 5,
    FUZZ_USE_IN_CLOSE = 1 << 6,
};

typedef struct FuzzDevice {
    VmbusOffer offer;
    VmbusChannel *chan; /* NULL: not offered */
    bool leaving;       /* rescinded, and the guest has not let go */
    unsigned opens, closes, packets;
    unsigned subchannels; /* that are open */
    VmbusGpadlMap *map;   /* or NULL */
    uint8_t habits;
} FuzzDevice;

typedef struct FuzzBus {
    VscMachine *machine;
    VmbusBus *bus;
    Vsc *vsc;            /* for a guest that behaves */
    FuzzDevice *devices; /* FUZZ_DEVICES of them */
} FuzzBus;

typedef void FuzzStepFn(FuzzBus *f, FuzzInput *in);

typedef struct FuzzStep {
    FuzzStepFn *run;
    unsigned weight;
} FuzzStep;

FuzzBus *fuzz_bus_new(bool scattered);
/*
 * Goes on (0) from nothing, (1) from a connection, (2, 3) from one with an open
 * channel, (4, 5) the same with all features, or from (6) a connection with a
 * reserved channel or (7) what such a one has left.
 */
void fuzz_bus_begin(FuzzBus *f, unsigned how);
/* After a load: gives the devices their sub-channels. */
void fuzz_bus_adopt(FuzzBus *f);
/* A machine without devices, with the hooks for failures. */
VscMachine *fuzz_machine_new(bool scattered);
void fuzz_bus_offer(FuzzBus *f, unsigned device);
void fuzz_bus_withdraw(FuzzBus *f, unsigned device);
/* Runs steps of @steps, each as often as its weight, until the input ends. */
void fuzz_bus_run(FuzzBus *f, FuzzInput *in, const FuzzStep *steps,
                  unsigned count);
/* What must hold between two steps. */
void fuzz_bus_check(FuzzBus *f);
/* A GPADL of @device's channel, if there is one; or NULL. */
const VmbusGpadl *fuzz_gpadl_of(const FuzzBus *f, const FuzzDevice *device);
/* Does anything fail now that should not? */
bool fuzz_bus_failing(const FuzzBus *f);
/* The devices let go of all GPADLs. */
void fuzz_bus_unmap(FuzzBus *f);
/* Ends every failure that was injected. */
void fuzz_bus_heal(FuzzBus *f);
/* The guest takes all messages that wait for it. */
void fuzz_bus_drain(FuzzBus *f);
/*
 * Whatever went before: a guest that behaves connects, sees every offer, opens
 * a device and exchanges a packet with it.  Then frees all; leaks are found.
 */
void fuzz_bus_finish(FuzzBus *f);

/* Spoils a saved state, or leaves it as it is and returns false. */
bool fuzz_spoil(GByteArray *blob, FuzzInput *in);

/* Looks at all that a packet has; it must lie in private memory. */
void fuzz_look_at(const VmbusPacket *pkt);

/* Steps of use to more than one target. */
FuzzStepFn fuzz_step_post;     /* a message, of any kind */
FuzzStepFn fuzz_step_opening;  /* a GPADL, and a channel opened with it */
FuzzStepFn fuzz_step_teardown; /* ... of a GPADL that there is */
FuzzStepFn fuzz_step_take;     /* the guest reads a slot and says EOM */
FuzzStepFn fuzz_step_lost;     /* the message under way fails for good */
FuzzStepFn fuzz_step_signal;   /* the guest signals a channel */
FuzzStepFn fuzz_step_bits;     /* ... by the interrupt page */
FuzzStepFn fuzz_step_scribble; /* the guest writes to its memory */
FuzzStepFn fuzz_step_packet;   /* ... a packet, where a ring may be */
FuzzStepFn fuzz_step_send;     /* a device sends */
FuzzStepFn fuzz_step_receive;  /* a device receives */
FuzzStepFn fuzz_step_habits;   /* a device changes its habits */
FuzzStepFn fuzz_step_plug;     /* a device comes or goes */
FuzzStepFn fuzz_step_subs;     /* a device offers sub-channels */
FuzzStepFn fuzz_step_map;      /* a device uses a GPADL, or lets it go */
FuzzStepFn fuzz_step_reset;    /* machine reset */
FuzzStepFn fuzz_step_limit;    /* another highest version */
FuzzStepFn fuzz_step_migrate;  /* on in another machine, if it takes us */
FuzzStepFn fuzz_step_inject;   /* mapping, memory ... fail from now on */

#endif
