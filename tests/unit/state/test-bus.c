/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bus that is saved and loaded is the same bus. */
#include <stdlib.h>

#include "bus/state-format.h"
#include "bus/bus-internal.h"
#include "bus/gpadl-map.h"
#include "scenario.h"

static void assert_same_bytes(const GByteArray *a, const GByteArray *b)
{
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
}

/* Says where they differ, and not all of both. */
static void assert_same_text(const char *a, const char *b)
{
    g_auto(GStrv) x = g_strsplit(a, "\n", -1);
    g_auto(GStrv) y = g_strsplit(b, "\n", -1);

    for (guint i = 0; x[i] && y[i]; i++) {
        g_assert_cmpstr(x[i], ==, y[i]);
    }
    g_assert_cmpuint(strlen(a), ==, strlen(b));
}

/*
 * What the guest sees on a machine that it does not leave.  The devices get the
 * signal that they get after a move.
 */
static GString *stay(const Scenario *scenario)
{
    GString *log;
    Side side;

    side_prepare(&side, scenario);
    for (int i = 0; i < SIDE_CHANNELS; i++) {
        if (side.channels[i]) {
            vsc_machine_signal(side.machine, side.channels[i]->connection_id);
        }
    }
    log = side_go_on(&side);
    side_tear_down(&side);
    return log;
}

static void test_move(gconstpointer data)
{
    const Scenario *scenario = data;
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) again = NULL;
    GString *expected = stay(scenario), *seen;
    unsigned opened, closed, signalled;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    /* To save changes nothing. */
    again = side_save(&from);
    assert_same_bytes(blob, again);
    g_byte_array_unref(again);
    side_set_up(&to, true);
    side_move(&from, &to, scenario, blob);
    again = side_save(&to);
    assert_same_bytes(blob, again);
    opened = closed = signalled = 0;
    for (int i = 0; i < SIDE_DEVICES; i++) {
        opened += to.devices[i].opened;
        closed += to.devices[i].closed;
        signalled += to.devices[i].signalled;
    }
    g_assert_cmpuint(opened + closed + signalled, ==, 0);
    g_assert_cmpuint(to.machine->signals, ==, 0);
    vmbus_bus_resume(to.bus);
    g_assert_cmpstr(vmbus_bus_check(to.bus), ==, NULL);
    seen = side_go_on(&to);
    assert_same_text(seen->str, expected->str);
    g_string_free(seen, TRUE);
    g_string_free(expected, TRUE);
    side_tear_down(&from);
    side_tear_down(&to);
}

/* From machine to machine, with guest traffic in between. */
static void test_many_moves(void)
{
    const Scenario *scenario = NULL;
    Side sides[2];
    uint64_t sent = 0, got = 0;
    uint8_t buf[128];

    for (size_t i = 0; i < scenario_count; i++) {
        if (g_str_equal(scenarios[i].name, "open-idle")) {
            scenario = &scenarios[i];
        }
    }
    side_prepare(&sides[0], scenario);
    for (int i = 0; i < 200; i++) {
        Side *from = &sides[i % 2], *to = &sides[1 - i % 2];
        g_autoptr(GByteArray) blob = NULL;

        /* What is in the rings, and how far, is different each time. */
        for (int j = 0; j < i % 37; j++) {
            g_assert_true(vsc_send(from->channels[0], VMBUS_PKT_DATA_INBAND, 1,
                                   sent++, &sent, sizeof(sent)));
        }
        for (int j = 0; j < i % 29; j++) {
            VmbusPacketDescriptor desc;

            if (!vsc_receive(from->channels[0], buf, sizeof(buf))) {
                break;
            }
            memcpy(&desc, buf, sizeof(desc));
            g_assert_cmpuint(desc.trans_id, ==, got++);
        }
        blob = side_save(from);
        side_set_up(to, i % 3 == 0);
        side_move(from, to, scenario, blob);
        side_tear_down(from);
        vmbus_bus_resume(to->bus);
        while (sent - got > 40 &&
               vsc_receive(to->channels[0], buf, sizeof(buf))) {
            VmbusPacketDescriptor desc;

            memcpy(&desc, buf, sizeof(desc));
            g_assert_cmpuint(desc.trans_id, ==, got++);
        }
    }
    while (vsc_receive(sides[0].channels[0], buf, sizeof(buf))) {
        got++;
    }
    g_assert_cmpuint(sent, >, 2000);
    g_assert_cmpuint(got, ==, sent);
    side_tear_down(&sides[0]);
}

/* A message in the slot whose confirmation is still to come is not sent
 * again; one that is not there is. */
static void test_delivered(void)
{
    const char *err;
    g_autoptr(GByteArray) waiting = NULL;
    g_autoptr(GByteArray) delivered = NULL;
    VmbusBusInfo info;
    Side from, to;
    char *why;

    side_prepare(&from, &scenarios[3]);
    g_assert_cmpuint(from.machine->under_way.len, !=, 0);
    waiting = vmbus_bus_save(from.bus, false, &err);
    delivered = vmbus_bus_save(from.bus, true, &err);
    for (int i = 0; i < 2; i++) {
        GByteArray *blob = i ? delivered : waiting;
        unsigned messages = 0;
        VmbusMsg msg;
        uint32_t len;

        side_set_up(&to, false);
        g_assert_true(vmbus_bus_load(to.bus, blob->data, blob->len, &why));
        vmbus_bus_resume(to.bus);
        while (vsc_next(to.vsc, &msg, &len)) {
            messages++;
        }
        /* Three offers and their end, less what is in the old slot, and, if
         * so, what is under way. */
        g_assert_cmpuint(messages, ==, i ? 2 : 3);
        vmbus_bus_info(to.bus, &info);
        g_assert_cmpuint(info.messages_out, ==, 5);
        side_tear_down(&to);
    }
    side_tear_down(&from);
}

/* Before the machine runs the bus is silent, and a reset ends that. */
static void test_held(void)
{
    g_autoptr(GByteArray) blob = NULL;
    Side from, to;
    char *why;

    side_prepare(&from, &scenarios[5]);
    blob = side_save(&from);
    side_set_up(&to, true);
    g_assert_true(vmbus_bus_load(to.bus, blob->data, blob->len, &why));
    vmbus_bus_message_delivered(to.bus, 0);
    g_assert_cmpuint(to.machine->under_way.len, ==, 0);
    g_assert_cmpuint(to.machine->slots[0][2].len, ==, 0);
    vsc_machine_reset(to.machine);
    g_assert_cmpuint(to.machine->cancelled, ==, 0);
    vmbus_bus_resume(to.bus);
    g_assert_cmpuint(to.machine->slots[0][2].len, ==, 0);
    g_assert_true(vsc_connect(to.vsc, VMBUS_VERSION_5_3));
    g_assert_true(vsc_request_offers(to.vsc));
    g_assert_cmpuint(to.vsc->offers->len, ==, SIDE_DEVICES);
    /* No second time. */
    to.machine->signals = 0;
    vmbus_bus_resume(to.bus);
    g_assert_cmpuint(to.machine->signals, ==, 0);
    side_tear_down(&from);
    side_tear_down(&to);
}

/* Each open channel is signalled in both directions when the machine runs. */
static void test_signals(void)
{
    g_autoptr(GByteArray) blob = NULL;
    Side from, to;

    side_prepare(&from, &scenarios[8]);
    memset(from.machine->flags, 0, sizeof(from.machine->flags));
    blob = side_save(&from);
    side_set_up(&to, true);
    side_move(&from, &to, &scenarios[8], blob);
    vmbus_bus_resume(to.bus);
    g_assert_true(vsc_interrupted(to.channels[0]));
    /* Its interrupts are off. */
    g_assert_cmpuint(to.machine->signals, ==, 1);
    g_assert_cmpuint(to.devices[0].signalled, ==, 1);
    g_assert_cmpuint(to.devices[1].signalled, ==, 0);
    g_assert_cmpuint(to.devices[2].signalled, ==, 1);
    side_tear_down(&from);
    /* They were not opened here. */
    g_assert_cmpuint(to.devices[0].closed, ==, 0);
    side_tear_down(&to);
    g_assert_cmpuint(to.devices[0].closed + to.devices[2].closed, ==, 2);
}

/* A guest that writes to the host's index, or memory that was not carried
 * over, costs a channel and not the machine. */
static void test_index_differs(gconstpointer in_ring)
{
    g_autoptr(GByteArray) blob = NULL;
    VmbusRingControl *control;
    VmbusChannelInfo info;
    Side from, to;

    side_prepare(&from, &scenarios[9]);
    if (in_ring) {
        control = from.channels[0]->out.control;
        control->read_index ^= 8;
    } else {
        control = from.channels[0]->in.control;
        control->write_index ^= 8;
    }
    blob = side_save(&from);
    side_set_up(&to, true);
    side_move(&from, &to, &scenarios[9], blob);
    g_assert_cmpuint(to.devices[0].closed, ==, 0);
    vmbus_bus_resume(to.bus);
    g_assert_cmpuint(to.devices[0].closed, ==, 1);
    g_assert_cmpuint(to.machine->events[VMBUS_EVENT_CORRUPT], ==, 1);
    g_assert_cmpstr(to.machine->corrupt, ==,
                    in_ring
                        ? "The read index of the ring to the host is not the "
                          "host's."
                        : "The write index of the ring to the guest is not the "
                          "host's.");
    vmbus_channel_info(to.devices[0].chan, &info);
    g_assert_cmpint(info.state, ==, VMBUS_CHANNEL_CORRUPT);
    vmbus_channel_info(to.devices[2].chan, &info);
    g_assert_cmpint(info.state, ==, VMBUS_CHANNEL_OPEN);
    side_tear_down(&from);
    side_tear_down(&to);
}

static char *golden_path(const char *name)
{
    return g_strdup_printf("%s/%s.bin", g_getenv("STATE_GOLDEN"), name);
}

/* Does an item with @tag, inside one with @parent, hold items? */
static bool holds_items(int parent, int tag)
{
    return parent < 0 ? tag >= BUS_WAITING && tag <= BUS_GPADL
                      : parent == BUS_CHANNEL && tag == CHANNEL_RINGS;
}

/* A line for each number and each piece of bytes of a state. */
static void flatten(GString *out, const char *path, int parent,
                    const uint8_t *data, size_t len)
{
    unsigned number = 0;

    while (len) {
        VmbusBlobItemHead head;
        g_autofree char *place = NULL;

        g_assert_cmpuint(len, >=, sizeof(head));
        memcpy(&head, data, sizeof(head));
        data += sizeof(head);
        len -= sizeof(head);
        g_assert_cmpuint(len, >=, head.len);
        if (holds_items(parent, head.tag)) {
            place = g_strdup_printf("%s/%u#%u", path, head.tag, number++);
            flatten(out, place, head.tag, data, head.len);
        } else {
            g_string_append_printf(out, "%s/%u:", path, head.tag);
            for (uint32_t i = 0; i < head.len; i++) {
                g_string_append_printf(out, " %02x", data[i]);
            }
            g_string_append_c(out, '\n');
        }
        data += head.len;
        len -= head.len;
    }
}

/* Whatever stands in @old stands in @new, too. */
static void assert_contains(const uint8_t *new, size_t new_len,
                            const uint8_t *old, size_t old_len)
{
    const size_t head = sizeof(VmbusBlobHead);
    g_autoptr(GHashTable) lines = g_hash_table_new(g_str_hash, g_str_equal);
    GString *x = g_string_new(""), *y = g_string_new("");
    g_auto(GStrv) new_lines = NULL, old_lines = NULL;

    flatten(x, "", -1, new + head, new_len - head);
    flatten(y, "", -1, old + head, old_len - head);
    new_lines = g_strsplit(x->str, "\n", -1);
    old_lines = g_strsplit(y->str, "\n", -1);
    for (guint i = 0; new_lines[i]; i++) {
        g_hash_table_add(lines, new_lines[i]);
    }
    for (guint i = 0; old_lines[i]; i++) {
        if (!g_hash_table_contains(lines, old_lines[i])) {
            g_error("not in the new state: %s", old_lines[i]);
        }
    }
    g_assert_cmpuint(g_strv_length(old_lines), >, 11);
    g_string_free(x, TRUE);
    g_string_free(y, TRUE);
}

/*
 * The states that the first version saved are loaded by this one, and what
 * they said is still so.  With STATE_GOLDEN_WRITE set they are written
 * instead, which is done for a new scenario and never again.
 */
static void test_golden(gconstpointer data)
{
    const Scenario *scenario = data;
    g_autofree char *path = golden_path(scenario->name);
    g_autoptr(GByteArray) resaved = NULL;
    g_autofree char *golden = NULL;
    VmbusBusInfo info, wanted;
    Side from, to;
    char *why = NULL;
    gsize len;

    side_prepare(&from, scenario);
    if (g_getenv("STATE_GOLDEN_WRITE") &&
        !g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_autoptr(GByteArray) now = side_save(&from);

        g_assert_true(
            g_file_set_contents(path, (const char *)now->data, now->len, NULL));
    }
    g_assert_true(g_file_get_contents(path, &golden, &len, NULL));
    side_set_up(&to, true);
    side_withdraw(&to, scenario);
    vmbus_bus_load(to.bus, golden, len, &why);
    g_assert_cmpstr(why, ==, NULL);
    resaved = side_save(&to);
    assert_contains(resaved->data, resaved->len, (uint8_t *)golden, len);
    vmbus_bus_info(from.bus, &wanted);
    vmbus_bus_info(to.bus, &info);
    g_assert_cmpint(info.state, ==, wanted.state);
    g_assert_cmphex(info.version, ==, wanted.version);
    g_assert_cmpuint(info.gpadl_count, ==, wanted.gpadl_count);
    g_assert_cmpuint(info.messages_in, ==, wanted.messages_in);
    side_tear_down(&from);
    side_tear_down(&to);
}

/* Loads what may be anything, into a bus that has to survive it. */
static bool load_anything(Side *side, const void *data, size_t len)
{
    char *why = NULL;
    bool loaded = vmbus_bus_load(side->bus, data, len, &why);

    g_assert_cmpstr(vmbus_bus_check(side->bus), ==, NULL);
    g_assert_true(loaded == !why);
    if (loaded) {
        vmbus_bus_resume(side->bus);
        g_assert_cmpstr(vmbus_bus_check(side->bus), ==, NULL);
    } else {
        VmbusBusInfo info;

        g_assert_cmpuint(strlen(why), >, 10);
        vmbus_bus_info(side->bus, &info);
        g_assert_cmpint(info.state, ==, VMBUS_DISCONNECTED);
        g_assert_cmpuint(info.gpadl_count, ==, 0);
        g_assert_cmpuint(side->machine->mapped, ==, 0);
        g_assert_cmpuint(g_hash_table_size(side->machine->listeners), ==, 0);
    }
    g_free(why);
    memset(side->machine->slots, 0, sizeof(side->machine->slots));
    side->machine->under_way.len = 0;
    return loaded;
}

static void test_truncated(gconstpointer data)
{
    const Scenario *scenario = data;
    g_autoptr(GByteArray) blob = NULL;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    side_set_up(&to, true);
    side_withdraw(&to, scenario);
    for (guint len = 0; len < blob->len; len++) {
        /* Its own allocation, so that a read too far is found. */
        g_autofree uint8_t *part = g_memdup2(blob->data, len);

        load_anything(&to, part, len);
    }
    g_assert_true(load_anything(&to, blob->data, blob->len));
    side_tear_down(&from);
    side_tear_down(&to);
}

static void test_flipped(gconstpointer data)
{
    const Scenario *scenario = data;
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    g_autoptr(GByteArray) blob = NULL;
    unsigned loaded = 0, refused = 0;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    side_set_up(&to, true);
    side_withdraw(&to, scenario);
    for (int i = 0; i < 3000; i++) {
        g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
        int flips = g_rand_int_range(rand, 1, 4);

        while (flips--) {
            copy[g_rand_int_range(rand, 0, blob->len)] ^=
                1u << g_rand_int_range(rand, 0, 8);
        }
        if (load_anything(&to, copy, blob->len)) {
            loaded++;
        } else {
            refused++;
        }
    }
    /* Both must have happened, or the test has lost its way. */
    g_assert_cmpuint(loaded, >, 10);
    g_assert_cmpuint(refused, >, 1000);
    side_tear_down(&from);
    side_tear_down(&to);
}

static const Scenario *find_scenario(const char *name)
{
    for (size_t i = 0; i < scenario_count; i++) {
        if (g_str_equal(scenarios[i].name, name)) {
            return &scenarios[i];
        }
    }
    g_assert_not_reached();
}

/* Saves with @what broken; the load ends with @sentence. */
#define REFUSED(what, value, sentence)                                         \
    do {                                                                       \
        g_autoptr(GByteArray) blob = NULL;                                     \
        __typeof__(what) old = what;                                           \
        char *why = NULL;                                                      \
        Side to;                                                               \
                                                                               \
        what = value;                                                          \
        blob = side_save(&from);                                               \
        what = old;                                                            \
        side_set_up(&to, false);                                               \
        g_assert_false(vmbus_bus_load(to.bus, blob->data, blob->len, &why));   \
        g_assert_true(g_str_has_suffix(why, sentence));                        \
        g_free(why);                                                           \
        side_tear_down(&to);                                                   \
    } while (0)

static void test_features_refused(void)
{
    Side from;

    side_prepare(&from, find_scenario("features"));
    REFUSED(from.bus->features, 0x100 | VMBUS_FEATURE_PAUSE_RESUME,
            "The guest is connected with features that this bus does not "
            "have.");
    REFUSED(from.bus->features, 0,
            "The guest is connected with features that this bus does not "
            "have.");
    REFUSED(from.bus->channels[1]->signal_id, 16,
            "The connection id for a channel is out of range.");
    side_tear_down(&from);
}

static void test_subchannels_refused(void)
{
    Side from;

    /* Relids 4 and on are sub-channels of the first device. */
    side_prepare(&from, find_scenario("subchannels"));
    REFUSED(from.bus->channels[1]->state, VMBUS_CHANNEL_OFFERED,
            "The saved state has a sub-channel of no open channel.");
    REFUSED(from.bus->channels[5]->index, 1,
            "The saved state has a sub-channel twice.");
    side_tear_down(&from);
}

/*
 * A device that does not map its GPADL again has done with it, and the guest
 * gets the answer; one that does, has not.
 */
static void test_mapped_again(void)
{
    for (int again = 0; again < 2; again++) {
        g_autoptr(GByteArray) blob = NULL;
        VmbusGpadlMap *map;
        Side from, to;
        const char *why;
        uint32_t id, len;
        char *err = NULL;
        VmbusMsg msg;

        side_prepare(&from, find_scenario("offered"));
        id = vsc_create_gpadl(from.vsc, 1, 100, 2);
        map = vmbus_channel_map_gpadl(from.devices[0].chan, id, &why);
        vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
        msg.gpadl_teardown.relid = 1;
        msg.gpadl_teardown.gpadl = id;
        vsc_post(from.vsc, &msg, sizeof(msg.gpadl_teardown));
        blob = side_save(&from);
        vmbus_gpadl_unmap(map);

        side_set_up(&to, false);
        g_assert_true(vmbus_bus_load(to.bus, blob->data, blob->len, &err));
        map = again ? vmbus_channel_map_gpadl(to.devices[0].chan, id, &why)
                    : NULL;
        g_assert_true(again == !!map);
        vmbus_bus_resume(to.bus);
        g_assert_cmpstr(vmbus_bus_check(to.bus), ==, NULL);
        if (again) {
            g_assert_false(vsc_next(to.vsc, &msg, &len));
            vmbus_gpadl_unmap(map);
        }
        g_assert_true(vsc_expect(to.vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg, 12));
        g_assert_cmpuint(msg.gpadl_torndown.gpadl, ==, id);
        side_tear_down(&from);
        side_tear_down(&to);
    }
}

static void add(const char *what, const Scenario *scenario,
                GTestDataFunc function)
{
    g_autofree char *path =
        g_strdup_printf("/state/bus/%s/%s", what, scenario->name);

    g_test_add_data_func(path, scenario, function);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < scenario_count; i++) {
        add("move", &scenarios[i], test_move);
        add("golden", &scenarios[i], test_golden);
        add("truncated", &scenarios[i], test_truncated);
        add("flipped", &scenarios[i], test_flipped);
    }
    g_test_add_func("/state/bus/many-moves", test_many_moves);
    g_test_add_func("/state/bus/delivered", test_delivered);
    g_test_add_func("/state/bus/mapped-again", test_mapped_again);
    g_test_add_func("/state/bus/features-refused", test_features_refused);
    g_test_add_func("/state/bus/subchannels-refused", test_subchannels_refused);
    g_test_add_func("/state/bus/held", test_held);
    g_test_add_func("/state/bus/signals", test_signals);
    g_test_add_data_func("/state/bus/index/in", GINT_TO_POINTER(1),
                         test_index_differs);
    g_test_add_data_func("/state/bus/index/out", GINT_TO_POINTER(0),
                         test_index_differs);
    return g_test_run();
}
