/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checker of invariants, which the other tests rely on, finds faults. */
#include "bus/bus-internal.h"
#include "fixture.h"

/* Breaks @what for a moment. */
#define BREAK(fix, what, value, sentence)                                      \
    do {                                                                       \
        __typeof__(what) old = what;                                           \
        what = value;                                                          \
        g_assert_cmpstr(vmbus_bus_check((fix)->bus), ==, sentence);            \
        what = old;                                                            \
        fixture_check(fix);                                                    \
    } while (0)

static void test_closed(Fixture *fix, gconstpointer data)
{
    VmbusChannel *chan = fix->device.chan;

    BREAK(fix, chan->listening, true,
          "A channel that is not open holds what an open one does.");
    BREAK(fix, chan->target_vp, 0,
          "A channel that is not open has a processor.");
    BREAK(fix, chan->relid, 2, "A channel stands under another one's relid.");
    BREAK(fix, chan->state, VMBUS_CHANNEL_OFFERED,
          "A channel is offered and nobody is connected.");
    BREAK(fix, chan->ops, NULL, "A channel's device and state disagree.");
    BREAK(fix, chan->primary, chan,
          "A sub-channel has outlived its primary channel.");
}

static void test_open(Fixture *fix, gconstpointer data)
{
    VscChannel *guest = fixture_open(fix, 2);
    VmbusChannel *chan = fix->device.chan;

    BREAK(fix, chan->listening, false, "An open channel lacks what it needs.");
    BREAK(fix, chan->target_vp, VMBUS_VP_NONE,
          "A channel's route and processor disagree.");
    BREAK(fix, chan->gpadl->relid, 7,
          "An open channel has the GPADL of another.");
    BREAK(fix, chan->mapping->page_count, 3,
          "A channel's rings are not those of its mapping.");
    BREAK(fix, chan->in.read, 12,
          "An index kept for the ring to the host is out of range.");
    BREAK(fix, chan->out.write, 4096,
          "An index kept for the ring to the guest is out of range.");
    BREAK(fix, chan->out.pending, 4096,
          "The host waits for more room than the ring has.");
    vsc_close(guest);
}

static void test_messages(Fixture *fix, gconstpointer data)
{
    VmbusChannel *chan = fix->device.chan;
    VmbusBus *bus = fix->bus;

    fixture_connect(fix);
    BREAK(fix, chan->to_send, VMBUS_SEND_TORNDOWN,
          "A channel has GPADLs to answer for, and no message.");
    BREAK(fix, bus->senders.length, 1,
          "The list of channels that have messages is wrong.");
    BREAK(fix, chan->to_send, VMBUS_SEND_OFFER,
          "A channel is to be offered twice.");
    BREAK(fix, bus->features, 1,
          "The bus has features that its version has not.");
    BREAK(fix, bus->version, VMBUS_VERSION_1_1,
          "The interrupt page and the version disagree.");
    BREAK(fix, chan->to_send, VMBUS_SEND_RESCIND,
          "A channel that was not withdrawn is to be rescinded.");
    BREAK(fix, bus->waiting_count, VMBUS_MAX_WAITING + 1,
          "The queue of the guest's messages is broken.");
    BREAK(fix, bus->waiting_count, 1, "A message waits for nothing.");
    BREAK(fix, bus->reply.len, 8, "A message waits for nothing.");
    BREAK(fix, bus->send_alloffers, true, "A message waits for nothing.");
    BREAK(fix, bus->restart, true, "A new connection waits for an old one.");
    BREAK(fix, bus->version, 0, "The bus is connected without a version.");
    /* In the middle of its work the bus may have messages waiting. */
    bus->pumping = true;
    BREAK(fix, bus->waiting_count, 1, NULL);
    bus->pumping = false;
    vsc_unload(fix->vsc);
    BREAK(fix, bus->offers_requested, true,
          "Something of a connection has outlived it.");
}

static void test_gpadls(Fixture *fix, gconstpointer data)
{
    VmbusGpadlTable *table = &fix->bus->gpadls;
    VmbusGpadl *gpadl;
    uint32_t id;

    fixture_connect(fix);
    id = vsc_create_gpadl(fix->vsc, 1, 0, 8);
    gpadl = vmbus_gpadl_find(table, id);
    BREAK(fix, gpadl->id, id + 1, "A GPADL stands under another one's id.");
    BREAK(fix, gpadl->room, 10, "A GPADL holds more pages than were declared.");
    BREAK(fix, gpadl->complete, false,
          "A GPADL's completeness is not that of its pages.");
    BREAK(fix, gpadl->in_use, true, "A GPADL is in use by no channel.");
    BREAK(fix, gpadl->tearing_down, true,
          "A GPADL that nobody uses was not torn down.");
    BREAK(fix, gpadl->removed, true,
          "A GPADL that was removed is in the table.");
    BREAK(fix, table->pages, 9, "The pages of the GPADLs are miscounted.");
}

/* Things that need two fields to be wrong. */
static void test_gpadls_more(Fixture *fix, gconstpointer data)
{
    VmbusGpadlTable *table = &fix->bus->gpadls;
    GpadlCase part = gpadl_good;
    VmbusGpadl *gpadl;
    VmbusMsg msg;

    fixture_connect(fix);
    part.pfns = 1;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &part));
    gpadl = vmbus_gpadl_find(table, part.id);
    BREAK(fix, gpadl->in_use, true, "A GPADL is in use and not complete.");
    gpadl->declared += VMBUS_GPADL_MAX_PAGES;
    table->pages += VMBUS_GPADL_MAX_PAGES;
    g_assert_cmpstr(vmbus_bus_check(fix->bus), ==,
                    "There are more GPADLs than are allowed.");
    gpadl->declared -= VMBUS_GPADL_MAX_PAGES;
    table->pages -= VMBUS_GPADL_MAX_PAGES;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/check/closed", test_closed);
    FIXTURE_TEST("/check/open", test_open);
    FIXTURE_TEST("/check/messages", test_messages);
    FIXTURE_TEST("/check/gpadls", test_gpadls);
    FIXTURE_TEST("/check/gpadls-more", test_gpadls_more);
    return g_test_run();
}
