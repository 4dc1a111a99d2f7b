/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine, a guest, and a device that says what happens to it. */
#ifndef BUS_FIXTURE_H
#define BUS_FIXTURE_H

#include "vsc.h"

typedef struct Device {
    VmbusOffer offer;
    VmbusChannel *chan; /* NULL: not offered */
    unsigned opened, closed, signalled, released;
    bool refuse; /* open() returns false */
    bool quiet;  /* signal() does not receive */
    bool echo;   /* signal() sends back what it receives */
    /* What signal() received last, and how often. */
    unsigned packets;
    uint16_t type, flags;
    uint64_t trans_id;
    GByteArray *data;
    VmbusRingResult result; /* of the last receive, send or open */
    /* Called by open() and close(), if set. */
    void (*hook)(struct Device *device);
    /* Called by signal() in place of what it does, if set. */
    void (*signal_hook)(struct Device *device);
    VmbusBus *bus; /* for these */
    /* Called by released(), if set. */
    void (*release_hook)(struct Device *device);
} Device;

typedef struct Fixture {
    VscMachine *machine;
    VmbusBus *bus;
    Vsc *vsc;
    Device device;
} Fixture;

/* 1024 pages of memory; one device, which is offered but not connected to. */
void fixture_set_up(Fixture *fix, gconstpointer scattered);
/* Checks that nothing leaked. */
void fixture_tear_down(Fixture *fix, gconstpointer unused);

/* A device with instance @number; offers it. */
void device_offer(Device *device, VmbusBus *bus, uint32_t number);
void device_free(Device *device);
extern const VmbusChannelOps device_ops;

/* Connects with 5.3 and takes the offers. */
void fixture_connect(Fixture *fix);
/* The offer of the fixture's device. */
const VmbusMsgOffer *fixture_offer(Fixture *fix);
/* The same, and opens the device with rings of @pages each. */
VscChannel *fixture_open(Fixture *fix, uint32_t pages);
VmbusChannelInfo fixture_channel(Fixture *fix);
VmbusBusInfo fixture_info(Fixture *fix);

/* The invariants of the bus hold. */
void fixture_check(Fixture *fix);
/* Posts, checks the invariants, and expects no message back. */
void fixture_post(Fixture *fix, const void *msg, uint32_t len);
/* Posts what the bus shall refuse with @sentence. */
void fixture_refused(Fixture *fix, const void *msg, uint32_t len,
                     const char *sentence);
/* No message waits for the guest. */
void fixture_silence(Fixture *fix);
/*
 * After whatever was refused: the device opens, echoes a packet and closes.
 * The guest must be connected and have the offers, the channel be closed.
 */
void fixture_still_works(Fixture *fix);

/* A message GPADL_HEADER with one range head, good or not. */
typedef struct GpadlCase {
    uint32_t relid, id;
    uint16_t rangecount, buflen;
    uint32_t byte_count, byte_offset;
    uint32_t pfns; /* in this message */
    uint64_t pfn;  /* each of them */
} GpadlCase;

/* Two whole pages, all in one message; for the fixture's device. */
extern const GpadlCase gpadl_good;
/* Makes the message; returns its length. */
uint32_t gpadl_case_message(VmbusMsg *msg, const GpadlCase *h);
/* The next message is a GPADL_CREATED of that kind, and the last one. */
void fixture_created(Fixture *fix, uint32_t relid, uint32_t id,
                     uint32_t status);
/* A message that would open the channel, and its GPADL of 6 pages. */
VmbusMsgOpen fixture_open_message(Fixture *fix);
/* Posts it; it is refused with @sentence and the protocol's answer. */
void fixture_open_refused(Fixture *fix, const VmbusMsgOpen *open,
                          const char *sentence);

#define FIXTURE_TEST(path, fn)                                                 \
    g_test_add(path, Fixture, GINT_TO_POINTER(FALSE), fixture_set_up, fn,      \
               fixture_tear_down)

#endif
