/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/gpadl-map.h"
#include "scenario.h"

void side_set_up(Side *side, bool reverse)
{
    *side = (Side){.machine = vsc_machine_new(512, true)};
    side->bus = side->machine->bus;
    side->vsc = vsc_new(side->machine);
    for (int i = 0; i < SIDE_DEVICES; i++) {
        int number = reverse ? SIDE_DEVICES - 1 - i : i;

        side->devices[number].echo = true;
        device_offer(&side->devices[number], side->bus, number + 1);
    }
}

void side_tear_down(Side *side)
{
    g_assert_cmpstr(vmbus_bus_check(side->bus), ==, NULL);
    for (int i = 0; i < SIDE_CHANNELS; i++) {
        if (side->channels[i]) {
            vsc_abandon(side->channels[i]);
        }
    }
    vsc_free(side->vsc);
    vsc_machine_free(side->machine);
    for (int i = 0; i < SIDE_DEVICES; i++) {
        device_free(&side->devices[i]);
    }
}

void side_prepare(Side *side, const Scenario *scenario)
{
    side_set_up(side, false);
    scenario->prepare(side);
    g_assert_cmpstr(vmbus_bus_check(side->bus), ==, NULL);
}

GByteArray *side_save(Side *side)
{
    const char *err = NULL;
    GByteArray *blob;

    vmbus_bus_quiesce(side->bus);
    blob = vmbus_bus_save(side->bus, false, &err);
    g_assert_cmpstr(err, ==, NULL);
    g_assert_nonnull(blob);
    return blob;
}

static void move_ring(VscRing *ring, Side *to, uint64_t gfn)
{
    uint32_t pages = ring->size / VMBUS_PAGE_SIZE + 1;

    for (uint32_t i = 0; i < pages; i++) {
        ring->pages[i] = vsc_machine_page(to->machine, gfn + i);
    }
    ring->control = (VmbusRingControl *)ring->pages[0];
}

static void move_guest(Side *from, Side *to)
{
    VscMachine *a = from->machine, *b = to->machine;

    memcpy(b->ram, a->ram, (size_t)a->page_count * VMBUS_PAGE_SIZE);
    b->pages_used = a->pages_used;
    memcpy(b->slots, a->slots, sizeof(b->slots));
    memcpy(b->flags, a->flags, sizeof(b->flags));
    vsc_free(to->vsc);
    to->vsc = from->vsc;
    to->vsc->machine = b;
    from->vsc = vsc_new(a);
    for (int i = 0; i < SIDE_CHANNELS; i++) {
        VscChannel *chan = from->channels[i];

        if (chan) {
            uint32_t out_pages = chan->out.size / VMBUS_PAGE_SIZE + 1;

            move_ring(&chan->out, to, chan->first_gfn);
            move_ring(&chan->in, to, chan->first_gfn + out_pages);
            to->channels[i] = chan;
            from->channels[i] = NULL;
        }
    }
}

void side_withdraw(Side *side, const Scenario *scenario)
{
    for (unsigned i = 0; i < scenario->withdrawn; i++) {
        Device *device = &side->devices[SIDE_DEVICES - 1 - i];

        vmbus_bus_withdraw(side->bus, device->chan);
        device->chan = NULL;
    }
}

void side_move(Side *from, Side *to, const Scenario *scenario, GByteArray *blob)
{
    char *err = NULL;

    side_withdraw(to, scenario);
    move_guest(from, to);
    vmbus_bus_load(to->bus, blob->data, blob->len, &err);
    g_assert_cmpstr(err, ==, NULL);
    g_assert_cmpstr(vmbus_bus_check(to->bus), ==, NULL);
    for (int i = 0; i < SIDE_DEVICES; i++) {
        if (to->devices[i].chan) {
            vmbus_channel_adopt_subchannels(to->devices[i].chan, &device_ops,
                                            &to->devices[i]);
        }
    }
}

/* What the guest does next */

static void note_message(GString *log, const VmbusMsg *msg, uint32_t len)
{
    g_string_append_printf(log, "message %u:", msg->header.type);
    for (uint32_t i = 0; i < len; i++) {
        g_string_append_printf(log, " %02x", msg->bytes[i]);
    }
    g_string_append_c(log, '\n');
}

static void take_messages(Side *side, GString *log)
{
    VmbusMsg msg;
    uint32_t len;

    while (vsc_next(side->vsc, &msg, &len)) {
        note_message(log, &msg, len);
    }
}

static void take_packets(Side *side, GString *log)
{
    uint8_t buf[512];
    uint32_t len;

    for (int i = 0; i < SIDE_CHANNELS; i++) {
        VscChannel *chan = side->channels[i];

        while (chan && (len = vsc_receive(chan, buf, sizeof(buf)))) {
            g_string_append_printf(log, "packet %d:", i);
            for (uint32_t j = 0; j < len; j++) {
                g_string_append_printf(log, " %02x", buf[j]);
            }
            g_string_append_c(log, '\n');
        }
    }
}

static void send_packets(Side *side, GString *log)
{
    static const char text[24] = "after the move";

    for (int i = 0; i < SIDE_CHANNELS; i++) {
        VscChannel *chan = side->channels[i];

        for (int j = 0; chan && j < 40; j++) {
            if (!vsc_send(chan, VMBUS_PKT_DATA_INBAND, 1, 1000 + j, text,
                          sizeof(text))) {
                g_string_append_printf(log, "full at %d\n", j);
                break;
            }
        }
    }
}

GString *side_go_on(Side *side)
{
    GString *log = g_string_new("");
    VmbusMsg msg;
    VmbusBusInfo info;

    take_messages(side, log);
    for (int round = 0; round < 20; round++) {
        take_packets(side, log);
        send_packets(side, log);
    }
    take_packets(side, log);
    vmbus_bus_info(side->bus, &info);
    if (info.state == VMBUS_CONNECTED) {
        vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
        vsc_post(side->vsc, &msg, sizeof(msg.header));
        take_messages(side, log);
    }
    vsc_head(&msg, VMBUS_MSG_UNLOAD);
    vsc_post(side->vsc, &msg, sizeof(msg.header));
    take_messages(side, log);
    vmbus_bus_info(side->bus, &info);
    g_string_append_printf(
        log, "in %lu out %lu refused %lu\n", (unsigned long)info.messages_in,
        (unsigned long)info.messages_out, (unsigned long)info.messages_refused);
    return log;
}

/* States of the bus */

static void connect(Side *side)
{
    g_assert_true(vsc_connect(side->vsc, VMBUS_VERSION_5_3));
}

static void offers(Side *side)
{
    connect(side);
    g_assert_true(vsc_request_offers(side->vsc));
}

static const VmbusMsgOffer *offer_of(Side *side, unsigned device)
{
    for (guint i = 0; i < side->vsc->offers->len; i++) {
        const VmbusMsgOffer *offer =
            &g_array_index(side->vsc->offers, VmbusMsgOffer, i);

        if (vmbus_guid_equal(&offer->instance_id,
                             &side->devices[device].offer.instance_id)) {
            return offer;
        }
    }
    g_assert_not_reached();
}

static void open_channels(Side *side)
{
    offers(side);
    side->channels[0] = vsc_open(side->vsc, offer_of(side, 0), 3, 4, 1);
    side->channels[1] =
        vsc_open(side->vsc, offer_of(side, 2), 2, 2, VMBUS_VP_NONE);
    g_assert_nonnull(side->channels[0]);
    g_assert_nonnull(side->channels[1]);
}

/* Interrupts go by bits in a page. */
static void old_version(Side *side)
{
    g_assert_true(vsc_connect(side->vsc, VMBUS_VERSION_1_1));
    g_assert_true(vsc_request_offers(side->vsc));
    side->channels[0] = vsc_open(side->vsc, offer_of(side, 0), 3, 4, 0);
    g_assert_nonnull(side->channels[0]);
}

static void nothing(Side *side)
{
}

static void contact_unread(Side *side)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_INITIATE_CONTACT);
    msg.initiate_contact.version = VMBUS_VERSION_5_2;
    msg.initiate_contact.msg_sint = side->vsc->sint;
    side->vsc->conn_id = VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
    vsc_post(side->vsc, &msg, sizeof(msg.initiate_contact));
    side->vsc->conn_id = VMBUS_MESSAGE_CONNECTION_ID;
}

static void offers_unread(Side *side)
{
    VmbusMsg msg;

    connect(side);
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    vsc_post(side->vsc, &msg, sizeof(msg.header));
}

/* The guest reads nothing; its messages fill the queue. */
static void flood(Side *side)
{
    VmbusMsg msg;

    offers_unread(side);
    for (int i = 0; i < 20; i++) {
        vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
        msg.gpadl_teardown.gpadl = i;
        vsc_post(side->vsc, &msg, sizeof(msg.gpadl_teardown) - i % 3);
    }
}

/* A reply is ready while another message is under way. */
static void reply_waits(Side *side)
{
    uint64_t gfns[2] = {20, 21};

    offers(side);
    vsc_post_gpadl(side->vsc, 1, 0x77, gfns, 2);
    vsc_post_gpadl(side->vsc, 2, 0x78, gfns, 2);
    vsc_post_gpadl(side->vsc, 3, 0x79, gfns, 2);
}

static void gpadl_begun(Side *side)
{
    uint64_t gfns[64];
    VmbusMsg msg;
    uint32_t len;

    offers(side);
    for (int i = 0; i < 64; i++) {
        gfns[i] = 100 + i;
    }
    vsc_post_gpadl(side->vsc, 2, 0x80, gfns, 64);
    g_assert_true(vsc_next(side->vsc, &msg, &len));
    vsc_head(&msg, VMBUS_MSG_GPADL_HEADER);
    msg.gpadl_header.relid = 1;
    msg.gpadl_header.gpadl = 0x81;
    msg.gpadl_header.rangecount = 2;
    msg.gpadl_header.range_buflen = 800;
    vsc_post(side->vsc, &msg, sizeof(msg.gpadl_header) + 64);
}

static void open_idle(Side *side)
{
    open_channels(side);
}

/* Packets wait in both directions; the host waits for room. */
static void open_busy(Side *side)
{
    static const char text[40] = "before the move";

    open_channels(side);
    for (int i = 0; i < 500; i++) {
        if (!vsc_send(side->channels[0], VMBUS_PKT_DATA_INBAND, 1, i, text,
                      sizeof(text))) {
            break;
        }
    }
    side->devices[2].quiet = true;
    for (int i = 0; i < 5; i++) {
        g_assert_true(vsc_send(side->channels[1], VMBUS_PKT_DATA_INBAND, 0, i,
                               text, sizeof(text)));
    }
    side->devices[2].quiet = false;
}

static void closed_again(Side *side)
{
    open_channels(side);
    vsc_close(side->channels[0]);
    side->channels[0] = NULL;
}

static void corrupt(Side *side)
{
    open_channels(side);
    side->channels[1]->out.control->write_index = 0x1234567;
    vsc_machine_signal(side->machine, side->channels[1]->connection_id);
    g_assert_cmpuint(side->machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    vsc_abandon(side->channels[1]);
    side->channels[1] = NULL;
}

static void tearing_down(Side *side)
{
    VmbusMsg msg;

    open_channels(side);
    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = side->channels[0]->relid;
    msg.gpadl_teardown.gpadl = side->channels[0]->gpadl;
    vsc_post(side->vsc, &msg, sizeof(msg.gpadl_teardown));
}

static void rescinded(Side *side)
{
    offers(side);
    vmbus_bus_withdraw(side->bus, side->devices[2].chan);
    side->devices[2].chan = NULL;
}

/* The messages of a withdrawal wait behind others. */
static void rescind_waits(Side *side)
{
    VmbusMsg msg;

    open_channels(side);
    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = side->channels[1]->relid;
    msg.gpadl_teardown.gpadl = side->channels[1]->gpadl;
    vsc_post(side->vsc, &msg, sizeof(msg.gpadl_teardown));
    flood(side);
    vmbus_bus_withdraw(side->bus, side->devices[2].chan);
    side->devices[2].chan = NULL;
    vsc_abandon(side->channels[1]);
    side->channels[1] = NULL;
}

/* A device waits for the guest to let go, which it does when it unloads. */
static void rescinding(Side *side)
{
    VmbusMsg msg;

    open_channels(side);
    vmbus_bus_rescind(side->bus, side->devices[2].chan);
    g_assert_true(
        vsc_expect(side->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    vsc_abandon(side->channels[1]);
    side->channels[1] = NULL;
}

/* One is open, one offered, and the offer of the last waits. */
static void subchannels(Side *side)
{
    const char *err;
    VmbusMsg msg;

    offers(side);
    side->channels[0] = vsc_open(side->vsc, offer_of(side, 0), 3, 4, 1);
    g_assert_true(vmbus_channel_offer_subchannels(
        side->devices[0].chan, 3, &device_ops, &side->devices[0], &err));
    g_assert_true(vsc_expect(side->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_true(vsc_expect(side->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    g_assert_true(vsc_expect(side->vsc, VMBUS_MSG_OFFERCHANNEL, &msg, 196));
    side->channels[1] = vsc_open(side->vsc, &msg.offer, 2, 2, 2);
    g_assert_nonnull(side->channels[1]);
    g_assert_true(vmbus_channel_offer_subchannels(
        side->devices[0].chan, 3, &device_ops, &side->devices[0], &err));
}

/* Answers to teardowns wait for a guest that does not read. */
static void torndown_waits(Side *side)
{
    VmbusGpadlMap *maps[4];
    uint32_t ids[4];
    const char *why;
    VmbusMsg msg;

    offers(side);
    for (unsigned i = 0; i < G_N_ELEMENTS(maps); i++) {
        ids[i] = vsc_create_gpadl(side->vsc, 1, 100 + i, 2);
        maps[i] = vmbus_channel_map_gpadl(side->devices[0].chan, ids[i], &why);
        g_assert_nonnull(maps[i]);
        vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
        msg.gpadl_teardown.relid = 1;
        msg.gpadl_teardown.gpadl = ids[i];
        vsc_post(side->vsc, &msg, sizeof(msg.gpadl_teardown));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(maps); i++) {
        vmbus_gpadl_unmap(maps[i]);
    }
}

/* The guest chose numbers, and wants no message just now. */
static void features(Side *side)
{
    VmbusMsg msg;

    side->vsc->asked = VMBUS_FEATURE_GUEST_SIGNAL | VMBUS_FEATURE_CLIENT_ID |
                       VMBUS_FEATURE_PAUSE_RESUME;
    memset(&side->vsc->client_id, 0x5a, sizeof(VmbusGuid));
    g_assert_true(vsc_connect(side->vsc, VMBUS_VERSION_6_0));
    g_assert_true(vsc_request_offers(side->vsc));
    side->channels[0] = vsc_open(side->vsc, offer_of(side, 0), 3, 4, 1);
    g_assert_nonnull(side->channels[0]);
    vsc_head(&msg, VMBUS_MSG_PAUSE);
    vsc_post(side->vsc, &msg, sizeof(msg.header));
    g_assert_true(vsc_expect(side->vsc, VMBUS_MSG_PAUSE_RESPONSE, &msg, 8));
}

/* One that outlives its connection, in this connection still. */
static void reserved(Side *side)
{
    static const char text[40] = "before the move";

    offers(side);
    side->devices[0].quiet = true;
    side->channels[0] =
        vsc_open_reserved(side->vsc, offer_of(side, 0), 3, 4, 2, 7);
    g_assert_nonnull(side->channels[0]);
    for (int i = 0; i < 5; i++) {
        g_assert_true(vsc_send(side->channels[0], VMBUS_PKT_DATA_INBAND, 0, i,
                               text, sizeof(text)));
    }
    side->devices[0].quiet = false;
}

static void reserved_outlives(Side *side)
{
    reserved(side);
    g_assert_true(vsc_unload(side->vsc));
}

/* The next connection has another channel, and a GPADL with the same id. */
static void reserved_again(Side *side)
{
    reserved_outlives(side);
    side->vsc->next_gpadl = side->channels[0]->gpadl;
    offers(side);
    side->channels[1] = vsc_open(side->vsc, offer_of(side, 2), 2, 2, 1);
    g_assert_nonnull(side->channels[1]);
}

/* Its ring was found corrupt, and its GPADL is all that is left. */
static void reserved_corrupt(Side *side)
{
    reserved_outlives(side);
    side->channels[0]->out.control->write_index = 3;
    vsc_machine_signal(side->machine, side->channels[0]->connection_id);
    g_assert_cmpuint(side->machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    vsc_abandon(side->channels[0]);
    side->channels[0] = NULL;
}

/* The guest waits to hear that it is closed, and then for its UNLOAD. */
static void reserved_answer(Side *side)
{
    VmbusMsg msg;

    reserved(side);
    vsc_head(&msg, VMBUS_MSG_MODIFYCHANNEL);
    vsc_post(side->vsc, &msg, sizeof(msg.modify_channel));
    vsc_head(&msg, VMBUS_MSG_CLOSE_RESERVED);
    msg.close_reserved.relid = side->channels[0]->relid;
    msg.close_reserved.target_sint = side->vsc->sint;
    vsc_post(side->vsc, &msg, sizeof(msg.close_reserved));
    vsc_head(&msg, VMBUS_MSG_UNLOAD);
    vsc_post(side->vsc, &msg, sizeof(msg.header));
    vsc_abandon(side->channels[0]);
    side->channels[0] = NULL;
}

const Scenario scenarios[] = {
    {"disconnected", nothing, 0},
    {"contact-unread", contact_unread, 0},
    {"connected", connect, 0},
    {"offers-unread", offers_unread, 0},
    {"offered", offers, 0},
    {"flood", flood, 0},
    {"reply-waits", reply_waits, 0},
    {"gpadl-begun", gpadl_begun, 0},
    {"open-idle", open_idle, 0},
    {"open-busy", open_busy, 0},
    {"closed-again", closed_again, 0},
    {"corrupt", corrupt, 0},
    {"tearing-down", tearing_down, 0},
    {"rescinded", rescinded, 1},
    {"rescind-waits", rescind_waits, 1},
    {"old-version", old_version, 0},
    {"features", features, 0},
    {"rescinding", rescinding, 0},
    {"subchannels", subchannels, 0},
    {"torndown-waits", torndown_waits, 0},
    {"reserved", reserved, 0},
    {"reserved-outlives", reserved_outlives, 0},
    {"reserved-again", reserved_again, 0},
    {"reserved-corrupt", reserved_corrupt, 0},
    {"reserved-answer", reserved_answer, 0},
};
const size_t scenario_count = G_N_ELEMENTS(scenarios);
