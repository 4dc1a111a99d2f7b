/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engines on the real bus, against a guest that does what Linux's hv_util
 * does with the packets that it finds in its rings.
 */
#include "devices/ic.h"
#include "vsc.h"

#define SECOND UINT64_C(1000000000)

typedef struct Guest {
    VscChannel *chan;
    uint32_t versions[4]; /* of messages, highest first */
    unsigned negotiated, beats, shutdowns;
    uint32_t flags;  /* of the last shutdown */
    uint32_t status; /* what it answers */
} Guest;

typedef struct Fixture {
    VscMachine *machine;
    Vsc *vsc;
    VmbusHeartbeat *hb;
    VmbusShutdown *sd;
    VmbusChannel *hb_chan, *sd_chan;
    Guest hb_guest, sd_guest;
    uint64_t now, wake;
    unsigned answers;
    VmbusShutdownResult result;
} Fixture;

static void hb_changed(void *opaque, const VmbusHeartbeatInfo *info)
{
}

static void hb_wake_at(void *opaque, uint64_t when_ns)
{
    ((Fixture *)opaque)->wake = when_ns;
}

static uint64_t hb_now_ns(void *opaque)
{
    return ((Fixture *)opaque)->now;
}

static void sd_answered(void *opaque, VmbusShutdownMode mode,
                        VmbusShutdownResult result, uint32_t status)
{
    Fixture *f = opaque;

    f->answers++;
    f->result = result;
}

static void sd_changed(void *opaque, VmbusShutdownState state)
{
}

static const VmbusHeartbeatOps hb_ops = {hb_changed, hb_wake_at, hb_now_ns};
static const VmbusShutdownOps sd_ops = {sd_answered, sd_changed};

static void setup(Fixture *f, gconstpointer data)
{
    const char *err = NULL;

    f->now = SECOND;
    f->machine = vsc_machine_new(1024, false);
    f->vsc = vsc_new(f->machine);
    f->hb = vmbus_heartbeat_new(&hb_ops, f);
    f->sd = vmbus_shutdown_new(&sd_ops, f);
    f->hb_chan = vmbus_bus_offer(f->machine->bus, &vmbus_heartbeat_offer,
                                 &vmbus_heartbeat_channel_ops, f->hb, &err);
    g_assert_nonnull(f->hb_chan);
    f->sd_chan = vmbus_bus_offer(f->machine->bus, &vmbus_shutdown_offer,
                                 &vmbus_shutdown_channel_ops, f->sd, &err);
    g_assert_nonnull(f->sd_chan);
    f->hb_guest.versions[0] = IC_VERSION(3, 0);
    f->sd_guest.versions[0] = IC_VERSION(3, 2);
    g_assert_cmphex(vsc_negotiate(f->vsc), !=, 0);
    g_assert_true(vsc_request_offers(f->vsc));
}

static void close_guest(Guest *guest)
{
    if (guest->chan) {
        vsc_close(guest->chan);
        guest->chan = NULL;
    }
}

static void teardown(Fixture *f, gconstpointer data)
{
    close_guest(&f->hb_guest);
    close_guest(&f->sd_guest);
    g_assert_null(vmbus_bus_check(f->machine->bus));
    vmbus_bus_withdraw(f->machine->bus, f->hb_chan);
    vmbus_bus_withdraw(f->machine->bus, f->sd_chan);
    vsc_free(f->vsc);
    vsc_machine_free(f->machine);
    vmbus_heartbeat_free(f->hb);
    vmbus_shutdown_free(f->sd);
}

static void open_guest(Fixture *f, Guest *guest, const VmbusOffer *kind,
                       uint32_t pages)
{
    const VmbusMsgOffer *offer = vsc_find_offer(f->vsc, &kind->class_id);

    g_assert_nonnull(offer);
    guest->chan = vsc_open(f->vsc, offer, pages, pages, 0);
    g_assert_nonnull(guest->chan);
}

/* Linux's vmbus_prep_negotiate_resp(), in its effect. */
static void negotiate(Guest *guest, uint8_t *body, IcHeader *header)
{
    uint16_t counts[2], words[4] = {0};
    const uint8_t *offered = body + sizeof(IcNegotiate);
    uint16_t good = 0;

    memcpy(counts, body, sizeof(counts));
    g_assert_cmpuint(counts[0], ==, 2);
    for (int i = 0; i < 4 && guest->versions[i] && !good; i++) {
        for (int j = 0; j < counts[1] && !good; j++) {
            memcpy(words, offered + 4 * (counts[0] + j), 4);
            good = IC_VERSION(words[0], words[1]) == guest->versions[i];
        }
    }
    memcpy(words + 2, words, 4);
    words[0] = 3;
    words[1] = 0;
    counts[0] = counts[1] = good;
    memcpy(body, counts, sizeof(counts));
    memcpy(body + sizeof(IcNegotiate), words, sizeof(words));
    header->message_size = 16;
    guest->negotiated++;
}

static void beat(Guest *guest, uint8_t *body)
{
    uint64_t sequence;

    memcpy(&sequence, body, 8);
    sequence++;
    memcpy(body, &sequence, 8);
    guest->beats++;
}

/* What the drivers do when interrupted: read all, answer in place. */
static void run_guest(Guest *guest)
{
    uint8_t packet[4096];
    uint32_t len;

    while ((len = vsc_receive(guest->chan, packet, sizeof(packet)))) {
        VmbusPacketDescriptor desc;
        uint8_t *pipe = packet + sizeof(desc);
        uint8_t *body = pipe + sizeof(IcPipeHeader) + sizeof(IcHeader);
        IcHeader header;

        memcpy(&desc, packet, sizeof(desc));
        g_assert_cmpuint(desc.type, ==, VMBUS_PKT_DATA_INBAND);
        g_assert_cmpuint(len, >, body - packet);
        memcpy(&header, pipe + sizeof(IcPipeHeader), sizeof(header));
        switch (header.message_type) {
        case IC_MESSAGE_NEGOTIATE:
            negotiate(guest, body, &header);
            break;
        case IC_MESSAGE_HEARTBEAT:
            beat(guest, body);
            break;
        case IC_MESSAGE_SHUTDOWN:
            /* Linux wants the whole structure. */
            g_assert_cmpuint(len, >=, sizeof(desc) + 28 + 12 + 2048);
            memcpy(&guest->flags, body + 8, 4);
            header.status = guest->status;
            guest->shutdowns++;
            break;
        default:
            g_assert_not_reached();
        }
        header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
        memcpy(pipe + sizeof(IcPipeHeader), &header, sizeof(header));
        g_assert_true(vsc_send(guest->chan, VMBUS_PKT_DATA_INBAND, 0,
                               desc.trans_id, pipe, len - sizeof(desc)));
    }
}

static void pass(Fixture *f, uint64_t ns)
{
    uint64_t end = f->now + ns;

    while (f->wake <= end) {
        f->now = MAX(f->now, f->wake);
        vmbus_heartbeat_tick(f->hb);
    }
    f->now = end;
}

static VmbusHeartbeatInfo beat_info(Fixture *f)
{
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_info(f->hb, &info);
    return info;
}

static VmbusShutdownState shutdown_state(Fixture *f)
{
    VmbusShutdownInfo info;

    vmbus_shutdown_info(f->sd, &info);
    return info.state;
}

static VmbusShutdownResult ask(Fixture *f, VmbusShutdownMode mode)
{
    VmbusShutdownRequest req = {.mode = mode};

    return vmbus_shutdown_request(f->sd, &req);
}

static void test_offers(Fixture *f, gconstpointer data)
{
    static const uint8_t mode[8] = {4};
    const VmbusMsgOffer *offer =
        vsc_find_offer(f->vsc, &vmbus_heartbeat_offer.class_id);

    g_assert_nonnull(offer);
    g_assert_cmpuint(offer->flags, ==,
                     VMBUS_OFFER_ENUMERATE_INTERFACE | VMBUS_OFFER_NAMED_PIPE);
    g_assert_cmpmem(offer->user_defined, 8, mode, 8);
    g_assert_nonnull(vsc_find_offer(f->vsc, &vmbus_shutdown_offer.class_id));
}

static void test_life(Fixture *f, gconstpointer data)
{
    open_guest(f, &f->hb_guest, &vmbus_heartbeat_offer, 4);
    open_guest(f, &f->sd_guest, &vmbus_shutdown_offer, 4);
    g_assert_true(vsc_interrupted(f->hb_guest.chan));
    run_guest(&f->hb_guest);
    run_guest(&f->sd_guest);
    g_assert_cmpuint(f->hb_guest.negotiated, ==, 1);
    g_assert_cmphex(beat_info(f).message_version, ==, IC_VERSION(3, 0));
    g_assert_cmpint(beat_info(f).state, ==, VMBUS_HEARTBEAT_OK);
    for (int i = 0; i < 1000; i++) {
        pass(f, 2 * SECOND);
        g_assert_true(vsc_interrupted(f->hb_guest.chan));
        run_guest(&f->hb_guest);
    }
    g_assert_cmpint(beat_info(f).state, ==, VMBUS_HEARTBEAT_OK);
    g_assert_cmpuint(beat_info(f).received, ==, 1001);
    g_assert_cmpuint(beat_info(f).refused, ==, 0);

    g_assert_cmpint(shutdown_state(f), ==, VMBUS_SHUTDOWN_READY);
    g_assert_cmpint(ask(f, VMBUS_SHUTDOWN_REBOOT), ==, VMBUS_SHUTDOWN_OK);
    g_assert_true(vsc_interrupted(f->sd_guest.chan));
    run_guest(&f->sd_guest);
    g_assert_cmpuint(f->sd_guest.flags, ==, IC_SHUTDOWN_RESTART);
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmpint(f->result, ==, VMBUS_SHUTDOWN_OK);
    g_assert_true(vsc_unload(f->vsc));
    g_assert_cmpint(shutdown_state(f), ==, VMBUS_SHUTDOWN_CLOSED);
    g_assert_cmpint(beat_info(f).state, ==, VMBUS_HEARTBEAT_NO_CONTACT);
    g_assert_cmpuint(f->answers, ==, 1);
    vsc_abandon(f->hb_guest.chan);
    vsc_abandon(f->sd_guest.chan);
    f->hb_guest.chan = f->sd_guest.chan = NULL;
}

static void test_incompatible(Fixture *f, gconstpointer data)
{
    f->sd_guest.versions[0] = IC_VERSION(9, 9);
    open_guest(f, &f->sd_guest, &vmbus_shutdown_offer, 4);
    run_guest(&f->sd_guest);
    g_assert_cmpint(vmbus_shutdown_port(f->sd)->state, ==, IC_INCOMPATIBLE);
    g_assert_cmpint(ask(f, VMBUS_SHUTDOWN_REBOOT), ==,
                    VMBUS_SHUTDOWN_NOT_READY);
}

/* The smallest ring that there is fills up while the guest hangs. */
static void test_hang(Fixture *f, gconstpointer data)
{
    VmbusChannelInfo info;

    open_guest(f, &f->hb_guest, &vmbus_heartbeat_offer, 2);
    run_guest(&f->hb_guest);
    pass(f, 3600 * SECOND);
    g_assert_cmpint(beat_info(f).state, ==, VMBUS_HEARTBEAT_LOST);
    vmbus_channel_info(f->hb_chan, &info);
    g_assert_cmpuint(info.out.full, >, 0);
    run_guest(&f->hb_guest);
    g_assert_cmpint(beat_info(f).state, ==, VMBUS_HEARTBEAT_OK);
    for (int i = 0; i < 100; i++) {
        pass(f, 2 * SECOND);
        run_guest(&f->hb_guest);
        g_assert_cmpint(beat_info(f).state, ==, VMBUS_HEARTBEAT_OK);
    }
    g_assert_cmpuint(beat_info(f).refused, ==, 0);
    g_assert_cmpuint(beat_info(f).received, ==, f->hb_guest.beats);
}

/* A guest that breaks its ring loses the channel, and opens it again. */
static void test_corrupt(Fixture *f, gconstpointer data)
{
    open_guest(f, &f->sd_guest, &vmbus_shutdown_offer, 4);
    run_guest(&f->sd_guest);
    g_assert_cmpint(ask(f, VMBUS_SHUTDOWN_POWEROFF), ==, VMBUS_SHUTDOWN_OK);
    f->sd_guest.chan->out.control->write_index = 0xfffffff8;
    vsc_machine_signal(f->machine, f->sd_guest.chan->connection_id);
    g_assert_cmpuint(f->answers, ==, 1);
    g_assert_cmpint(f->result, ==, VMBUS_SHUTDOWN_GONE);
    g_assert_cmpint(shutdown_state(f), ==, VMBUS_SHUTDOWN_CLOSED);
    close_guest(&f->sd_guest);
    open_guest(f, &f->sd_guest, &vmbus_shutdown_offer, 4);
    run_guest(&f->sd_guest);
    g_assert_cmpint(shutdown_state(f), ==, VMBUS_SHUTDOWN_READY);
}

static void test_reset(Fixture *f, gconstpointer data)
{
    open_guest(f, &f->sd_guest, &vmbus_shutdown_offer, 4);
    run_guest(&f->sd_guest);
    g_assert_cmpint(ask(f, VMBUS_SHUTDOWN_POWEROFF), ==, VMBUS_SHUTDOWN_OK);
    vsc_machine_reset(f->machine);
    g_assert_cmpint(f->result, ==, VMBUS_SHUTDOWN_GONE);
    g_assert_cmpint(ask(f, VMBUS_SHUTDOWN_POWEROFF), ==,
                    VMBUS_SHUTDOWN_NOT_OPEN);
    vsc_abandon(f->sd_guest.chan);
    f->sd_guest.chan = NULL;
}

/* Packets and ring contents of every kind; neither engine may mind. */
static void test_random(Fixture *f, gconstpointer data)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(50);
    unsigned opens = 0;

    for (int i = 0; i < 100000; i++) {
        Guest *guest = g_rand_boolean(rand) ? &f->hb_guest : &f->sd_guest;
        uint8_t noise[200];

        if (f->machine->pages_used + 6 > f->machine->page_count) {
            close_guest(&f->hb_guest);
            close_guest(&f->sd_guest);
            vsc_machine_reset_ram(f->machine);
        }
        if (!guest->chan) {
            opens++;
            open_guest(f, guest,
                       guest == &f->hb_guest ? &vmbus_heartbeat_offer
                                             : &vmbus_shutdown_offer,
                       3);
        }
        for (size_t j = 0; j < sizeof(noise); j++) {
            noise[j] = g_rand_int_range(rand, 0, j < 40 ? 6 : 256);
        }
        switch (g_rand_int_range(rand, 0, 128)) {
        case 0:
            close_guest(guest);
            break;
        case 1 ... 2:
            memset(guest->chan->out.control, g_rand_int(rand), 64);
            vsc_machine_signal(f->machine, guest->chan->connection_id);
            close_guest(guest);
            break;
        case 3 ... 20:
            pass(f, SECOND);
            break;
        case 21 ... 30:
            ask(f, g_rand_int_range(rand, 0, 4));
            break;
        case 31 ... 60: {
            uint8_t packet[4096];

            while (vsc_receive(guest->chan, packet, sizeof(packet))) {
            }
            break;
        }
        default:
            /* The bus itself takes other types apart, and may close. */
            vsc_send(guest->chan,
                     g_rand_int_range(rand, 0, 64)
                         ? VMBUS_PKT_DATA_INBAND
                         : g_rand_int_range(rand, 5, 13),
                     0, g_rand_int(rand), noise,
                     g_rand_int_range(rand, 0, sizeof(noise)));
            break;
        }
        g_assert_null(vmbus_bus_check(f->machine->bus));
    }
    /* The noise must have got as far as it is meant to. */
    g_assert_cmpuint(opens, >, 100);
    g_assert_cmpuint(vmbus_heartbeat_port(f->hb)->refused, >, 1000);
    g_assert_cmpuint(vmbus_shutdown_port(f->sd)->refused, >, 1000);
    g_assert_cmpuint(f->machine->events[VMBUS_EVENT_CORRUPT], >, 100);
}

#define ADD(path, fn)                                                          \
    g_test_add("/on-bus/" path, Fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("offers", test_offers);
    ADD("life", test_life);
    ADD("incompatible", test_incompatible);
    ADD("hang", test_hang);
    ADD("corrupt", test_corrupt);
    ADD("reset", test_reset);
    ADD("random", test_random);
    return g_test_run();
}
