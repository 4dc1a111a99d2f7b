/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each thing that a saved state of the bus may have wrong, and its sentence. */
#include <stdlib.h>

#include "bus/state-format.h"
#include "scenario.h"

/* A state taken apart. */
typedef struct Node {
    uint16_t tag;
    GByteArray *bytes; /* of one that holds none */
    GPtrArray *items;  /* Node, owned; or NULL */
} Node;

typedef enum Change {
    SET,       /* the number becomes @value */
    DROP,      /* the item goes */
    REPEAT,    /* the item comes twice, or @value times more */
    RESIZE,    /* its bytes are cut or filled up to @value */
    TAG,       /* its tag becomes @value */
    WORD,      /* the 32 bits at byte 0 become @value */
    SAME_AS_1, /* the bytes become those of the item of the second channel */
} Change;

typedef struct Case {
    const char *scenario;
    Change change;
    const char *path; /* tag, or tag.number; of outer items first */
    uint64_t value;
    const char *sentence;
} Case;

#define OUT_OF_RANGE "The saved state has a number that is out of range."
#define NO_PARTS     "The saved state has parts of a connection, and none."
#define DAMAGED_LIST "The saved state has a list of messages that is damaged."

static const Case cases[] = {
    /* The frame. */
    {"connected", DROP, "2", 0, "The saved state lacks a number."},
    {"connected", REPEAT, "2", 1, "The saved state has a number twice."},
    {"connected", RESIZE, "2", 4,
     "The saved state has a number that is not of 8 bytes."},
    {"connected", TAG, "2", 999,
     "The saved state has a part that this version does not know."},
    {"open-idle", TAG, "35/36", 999,
     "The saved state has a part that this version does not know."},
    {"connected", SET, "1", 2, OUT_OF_RANGE},
    {"connected", SET, "4", 16, OUT_OF_RANGE},
    {"open-idle", SET, "35/36/7", 2, OUT_OF_RANGE},
    /* The connection. */
    {"disconnected", SET, "2", VMBUS_VERSION_5_3, NO_PARTS},
    {"disconnected", SET, "5", 1, NO_PARTS},
    {"disconnected", SET, "6", 1, NO_PARTS},
    {"disconnected", SET, "11", 5, NO_PARTS},
    {"gpadl-begun", SET, "1", VMBUS_DISCONNECTED, NO_PARTS},
    {"connected", SET, "2", VMBUS_VERSION(7, 0),
     "The guest is connected with a version that this bus does not accept."},
    {"connected", SET, "11", 5,
     "The saved state has an interrupt page, or none, in spite of its "
     "version."},
    {"old-version", SET, "11", 0,
     "The saved state has an interrupt page, or none, in spite of its "
     "version."},
    {"old-version", SET, "11", 1 << 20,
     "The interrupt page is not in the guest's memory."},
    {"connected", SET, "4", 0,
     "The synthetic interrupt for messages is out of range."},
    {"connected", SET, "3", 4,
     "The virtual processor for messages does not exist."},
    {"connected", SET, "3", 0xffffffff,
     "The virtual processor for messages does not exist."},
    /* Messages. */
    {"flood", RESIZE, "32/32", 241,
     "The saved state has a message that is too long."},
    {"flood", REPEAT, "32", 16,
     "The saved state has too many messages of the guest."},
    {"offers-unread", RESIZE, "34/32", 7,
     "The saved state has a message that is too short."},
    {"offers-unread", REPEAT, "34", 1, "The saved state has a message twice."},
    {"offers-unread", SET, "34/3", 16, OUT_OF_RANGE},
    {"flood", RESIZE, "37", 6, DAMAGED_LIST},
    {"flood", RESIZE, "37", 10000, DAMAGED_LIST},
    {"flood", REPEAT, "37", 1, DAMAGED_LIST},
    {"flood", RESIZE, "37", 0,
     "The saved state has a list of messages that does not fit the channels."},
    {"connected", RESIZE, "37", 4,
     "The saved state has a message of no "
     "channel."},
    /* Channels. */
    {"offered", DROP, "35/32", 0,
     "The saved state has a channel of no "
     "device."},
    {"offered", DROP, "35/33", 0,
     "The saved state has a channel of no "
     "device."},
    {"offered", RESIZE, "35/32", 15,
     "The saved state has an id that is not of 16 bytes, or twice."},
    {"offered", REPEAT, "35/33", 1,
     "The saved state has an id that is not of 16 bytes, or twice."},
    {"offered", WORD, "35/32", 77,
     "The saved machine has a device that this one has not."},
    {"offered", WORD, "35/33", 77,
     "The saved machine has a device that this one has not."},
    {"offered", DROP, "35", 0,
     "This machine has a device that the saved one has not."},
    {"offered", SAME_AS_1, "35/32", 0, "The saved state has a device twice."},
    {"offered", SET, "35/1", 1,
     "The saved state has a sub-channel of no open channel."},
    {"offered", SET, "35/2", 0,
     "The saved state has a channel whose ids are out of range."},
    {"offered", SET, "35/2", 2048, OUT_OF_RANGE},
    {"offered", SET, "35/3", 1,
     "The saved state has a channel whose ids are out of range."},
    {"offered", SAME_AS_1, "35/2", 0,
     "The saved state has two channels with the same id."},
    {"offered", SAME_AS_1, "35/3", 0,
     "The saved state has two channels with the same id."},
    {"offered", SET, "35/4", VMBUS_CHANNEL_OPEN,
     "The saved state has rings without an open channel, or the reverse."},
    {"open-idle", SET, "35/4", VMBUS_CHANNEL_OFFERED,
     "The saved state has rings without an open channel, or the reverse."},
    {"open-idle", REPEAT, "35/36", 1,
     "The saved state has the rings of a channel twice."},
    {"disconnected", SET, "35/4", VMBUS_CHANNEL_OFFERED,
     "The saved state has a channel in use and no connection."},
    {"disconnected", SET, "35/5", VMBUS_SEND_OFFER,
     "The saved state has a channel in use and no connection."},
    {"offered", SET, "35/5", VMBUS_SEND_OFFER,
     "The saved state has a channel whose messages do not fit it."},
    {"offered", SET, "35/5", VMBUS_SEND_RESCIND,
     "The saved state has a channel whose messages do not fit it."},
    {"offered", SET, "35/5", 8, OUT_OF_RANGE},
    {"offered", REPEAT, "35", 2100, "The saved state has too many channels."},
    /* GPADLs. */
    {"gpadl-begun", SET, "36/2", 3000, OUT_OF_RANGE},
    {"gpadl-begun", SET, "36/2", 9,
     "A GPADL is for a channel that the guest has not got."},
    {"gpadl-begun", SET, "36/1", 0, "A GPADL's id is 0."},
    {"gpadl-begun", REPEAT, "36", 1, "A GPADL's id is in use."},
    {"gpadl-begun", SET, "36/3", 0, "A GPADL has no ranges."},
    {"gpadl-begun", SET, "36/3", 60,
     "A GPADL has more ranges than its size can hold."},
    {"gpadl-begun", SET, "36/4", 0,
     "A GPADL has more pages than were declared."},
    {"gpadl-begun", SET, "36/4", 8192, OUT_OF_RANGE},
    {"gpadl-begun", RESIZE, "36/32", 12,
     "The saved state has a GPADL whose pages are damaged."},
    {"gpadl-begun", REPEAT, "36/32", 1,
     "The saved state has a GPADL whose pages are damaged."},
    {"gpadl-begun", RESIZE, "36/32", 0, "A message of a GPADL has no pages."},
    {"gpadl-begun", DROP, "36/32", 0, "A message of a GPADL has no pages."},
    {"gpadl-begun", REPEAT, "36", 4100, "The saved state has too many GPADLs."},
    {"gpadl-begun", SET, "36.1/5", 1, "A GPADL is in use and not complete."},
    {"torndown-waits", RESIZE, "35/37", 3,
     "The saved state has a list of GPADLs that is damaged."},
    {"torndown-waits", RESIZE, "35/37", 4 * 4096,
     "The saved state has a list of GPADLs that is damaged."},
    /* Features, and devices that leave. */
    {"features", SET, "12", 0x40,
     "The guest is connected with features that this bus does not have."},
    {"open-idle", SET, "12", 1,
     "The guest is connected with features that this bus does not have."},
    {"open-idle", SET, "13", 1,
     "The guest is connected with features that this bus does not have."},
    {"disconnected", SET, "13", 1,
     "The saved state has parts of a connection, and none."},
    {"features", RESIZE, "38", 15,
     "The saved state has an id that is not of 16 bytes, or twice."},
    {"features", SET, "35/36/11", 16,
     "The connection id for a channel is out of range."},
    {"rescinding", SET, "35/19", 1,
     "The saved state has a device that leaves, and stays."},
    /* The device that leaves in the state stays in this machine. */
    {"rescinding", SET, "35/36/4", 4, "A ring's index is out of range."},
    {"rescinding", SET, "36/1", 0, "A GPADL's id is 0."},
    /* Reserved channels. */
    {"reserved", SET, "35/20", 2, OUT_OF_RANGE},
    {"reserved", SET, "35/36/2", 0,
     "The saved state has a reserved channel with interrupts."},
    {"offered", SET, "35/20", 1,
     "The saved state has a reserved channel that cannot be one."},
    {"subchannels", SET, "35.4/20", 1,
     "The saved state has a reserved channel that cannot be one."},
    {"reserved-again", SET, "35/20", 0,
     "The saved state has a channel that outlived its connection and is not "
     "reserved."},
    {"reserved-outlives", SET, "35/21", 0,
     "The saved state has a channel in use and no connection."},
    {"disconnected", SET, "35/20", 1,
     "The saved state has a channel in use and no connection."},
    {"reserved-outlives", SET, "36/6", 0, NO_PARTS},
    {"gpadl-begun", SET, "36.1/6", 1, "A GPADL was kept and is not complete."},
    {"reserved-outlives", REPEAT, "36", 1, "A GPADL's id is in use."},
    {"reserved-corrupt", SET, "36/2", 2,
     "A GPADL has outlived its connection, and its channel not."},
    {"reserved-corrupt", SET, "36/2", 9,
     "A GPADL is for a channel that the guest has not got."},
    {"reserved-answer", SET, "34/4", 2, OUT_OF_RANGE},
    /* Rings. */
    {"open-idle", SET, "35/36/1", 9, "The GPADL of the rings does not exist."},
    {"open-idle", SET, "35/36/2", 4,
     "The virtual processor for a channel does not exist."},
    {"open-idle", SET, "35/36/3", 1,
     "The offset of the ring to the guest is out of range."},
    {"open-idle", SET, "35/36/3", 0xffffffff,
     "The offset of the ring to the guest is out of range."},
    {"open-idle", SET, "35/36/4", 4, "A ring's index is out of range."},
    {"open-idle", SET, "35/36/4", 2 * 4096, "A ring's index is out of range."},
    {"open-idle", SET, "35/36/5", 0xfffffff8,
     "A ring's index is out of range."},
    {"open-idle", SET, "35/36/6", 1, "A ring's index is out of range."},
    {"open-idle", SET, "35/36/8", 3 * 4096, "A ring's index is out of range."},
    {"open-idle", SET, "35/36/9", 2, "A ring's index is out of range."},
    {"open-idle", SET, "35/36/10", 3 * 4096, "A ring's index is out of range."},
};

static bool holds_items(int parent, int tag)
{
    return parent < 0 ? tag >= BUS_WAITING && tag <= BUS_GPADL
                      : parent == BUS_CHANNEL && tag == CHANNEL_RINGS;
}

static void node_free(gpointer data)
{
    Node *node = data;

    g_byte_array_unref(node->bytes);
    if (node->items) {
        g_ptr_array_unref(node->items);
    }
    g_free(node);
}

static GPtrArray *take_apart(int parent, const uint8_t *data, size_t len)
{
    GPtrArray *items = g_ptr_array_new_with_free_func(node_free);

    while (len) {
        Node *node = g_new0(Node, 1);
        VmbusBlobItemHead head;

        memcpy(&head, data, sizeof(head));
        data += sizeof(head);
        node->tag = head.tag;
        node->bytes = g_byte_array_new();
        if (holds_items(parent, head.tag)) {
            node->items = take_apart(head.tag, data, head.len);
        } else {
            g_byte_array_append(node->bytes, data, head.len);
        }
        data += head.len;
        len -= sizeof(head) + head.len;
        g_ptr_array_add(items, node);
    }
    return items;
}

static void put_together(GByteArray *blob, const GPtrArray *items)
{
    for (guint i = 0; i < items->len; i++) {
        const Node *node = items->pdata[i];

        if (node->items) {
            guint place = vmbus_blob_open(blob, node->tag);

            put_together(blob, node->items);
            vmbus_blob_close(blob, place);
        } else {
            vmbus_blob_put(blob, node->tag, node->bytes->data,
                           node->bytes->len);
        }
    }
}

/* The index of the item that a part of a path names, as in "35.1". */
static guint find(const GPtrArray *items, const char *part)
{
    g_auto(GStrv) words = g_strsplit(part, ".", 2);
    int tag = atoi(words[0]), number = words[1] ? atoi(words[1]) : 0;

    for (guint i = 0; i < items->len; i++) {
        const Node *node = items->pdata[i];

        if (node->tag == tag && number-- == 0) {
            return i;
        }
    }
    g_error("no item %s", part);
}

static GPtrArray *parent_of(GPtrArray *items, char **parts)
{
    for (; parts[1]; parts++) {
        const Node *node = items->pdata[find(items, parts[0])];

        items = node->items;
        g_assert_nonnull(items);
    }
    return items;
}

static Node *copy_of(const Node *node)
{
    g_autoptr(GByteArray) blob = g_byte_array_new();
    Node *copy = g_new0(Node, 1);

    copy->tag = node->tag;
    copy->bytes = g_byte_array_new();
    g_byte_array_append(copy->bytes, node->bytes->data, node->bytes->len);
    if (node->items) {
        put_together(blob, node->items);
        copy->items = take_apart(node->tag, blob->data, blob->len);
    }
    return copy;
}

static void change(GPtrArray *top, const Case *c)
{
    g_auto(GStrv) parts = g_strsplit(c->path, "/", -1);
    GPtrArray *items = parent_of(top, parts);
    char *last = parts[g_strv_length(parts) - 1];
    guint index = find(items, last), old_len;
    Node *node = items->pdata[index];
    const Node *other;

    switch (c->change) {
    case SET:
        g_assert_cmpuint(node->bytes->len, ==, 8);
        memcpy(node->bytes->data, &c->value, 8);
        break;
    case WORD:
        memcpy(node->bytes->data, &c->value, 4);
        break;
    case DROP:
        g_ptr_array_remove_index(items, index);
        break;
    case REPEAT:
        for (uint64_t i = 0; i < c->value; i++) {
            g_ptr_array_insert(items, index, copy_of(node));
        }
        break;
    case RESIZE:
        old_len = node->bytes->len;
        g_byte_array_set_size(node->bytes, c->value);
        if (c->value > old_len) {
            memset(node->bytes->data + old_len, 0, c->value - old_len);
        }
        break;
    case TAG:
        node->tag = c->value;
        break;
    case SAME_AS_1:
        other = top->pdata[find(top, "35.1")];
        other = other->items->pdata[find(other->items, last)];
        memcpy(node->bytes->data, other->bytes->data, node->bytes->len);
        break;
    }
}

static const Scenario *find_scenario(const char *name)
{
    for (size_t i = 0; i < scenario_count; i++) {
        if (g_str_equal(scenarios[i].name, name)) {
            return &scenarios[i];
        }
    }
    g_error("no scenario %s", name);
}

static void assert_refused(Side *side, const void *data, size_t len,
                           const char *sentence)
{
    char *why = NULL;
    VmbusBusInfo info;

    g_assert_false(vmbus_bus_load(side->bus, data, len, &why));
    if (!g_str_has_suffix(why, sentence)) {
        g_assert_cmpstr(why, ==, sentence);
    }
    g_assert_true(g_str_has_prefix(why, "VMBus"));
    g_free(why);
    g_assert_cmpstr(vmbus_bus_check(side->bus), ==, NULL);
    vmbus_bus_info(side->bus, &info);
    g_assert_cmpint(info.state, ==, VMBUS_DISCONNECTED);
    g_assert_cmpuint(side->machine->mapped, ==, 0);
    g_assert_cmpuint(side->machine->routes, ==, 0);
    for (int i = 0; i < SIDE_DEVICES; i++) {
        g_assert_cmpuint(side->devices[i].opened, ==, 0);
        g_assert_cmpuint(side->devices[i].closed, ==, 0);
        g_assert_cmpuint(side->devices[i].released, ==, 0);
    }
    /* A guest can begin anew. */
    g_assert_true(vsc_connect(side->vsc, VMBUS_VERSION_5_3));
    g_assert_true(vsc_request_offers(side->vsc));
    g_assert_cmpuint(side->vsc->offers->len, ==, SIDE_DEVICES);
}

static void test_refused(gconstpointer data)
{
    const Case *c = data;
    const size_t head = sizeof(VmbusBlobHead);
    const Scenario *scenario = find_scenario(c->scenario);
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) changed = NULL;
    GPtrArray *items;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    items = take_apart(-1, blob->data + head, blob->len - head);
    changed = vmbus_blob_new(STATE_MAGIC, STATE_VERSION);
    put_together(changed, items);
    g_assert_cmpmem(changed->data, changed->len, blob->data, blob->len);
    change(items, c);
    g_byte_array_set_size(changed, head);
    put_together(changed, items);
    side_set_up(&to, false);
    assert_refused(&to, changed->data, changed->len, c->sentence);
    g_ptr_array_unref(items);
    side_tear_down(&from);
    side_tear_down(&to);
}

/* What cannot be said as a change of an item. */
static void test_frame(void)
{
    static uint8_t large[VMBUS_STATE_MAX + 1];
    g_autoptr(GByteArray) blob = vmbus_blob_new(STATE_MAGIC, STATE_VERSION);
    VmbusBlobHead *head = (VmbusBlobHead *)blob->data;
    VmbusBlobItemHead item = {.tag = 1, .len = 100};
    Side side;

    side_set_up(&side, false);
    assert_refused(&side, large, sizeof(large),
                   "The saved state is too large.");
    assert_refused(&side, large, 7,
                   "The saved state is shorter than its "
                   "head.");
    assert_refused(&side, large, sizeof(large) - 1,
                   "The saved state is of another kind.");
    assert_refused(&side, blob->data, blob->len,
                   "The saved state lacks a number.");
    head->version = STATE_VERSION + 1;
    assert_refused(&side, blob->data, blob->len,
                   "The saved state is of a later version than this one.");
    head->version = STATE_VERSION;
    g_byte_array_append(blob, (const uint8_t *)&item, sizeof(item));
    assert_refused(&side, blob->data, blob->len - 1,
                   "The saved state ends inside an item.");
    assert_refused(&side, blob->data, blob->len,
                   "The saved state has an item that is longer than the rest.");
    blob->data[sizeof(*head) + 2] = 1;
    assert_refused(&side, blob->data, blob->len,
                   "The saved state is damaged: an item's head is not zero.");
    side_tear_down(&side);
}

/* An item that a later version adds and that may be skipped, is. */
static void test_optional(void)
{
    const Scenario *scenario = find_scenario("offered");
    g_autoptr(GByteArray) blob = NULL;
    char *why = NULL;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    vmbus_blob_put(blob, 999 | VMBUS_BLOB_OPTIONAL, "later", 5);
    side_set_up(&to, true);
    g_assert_true(vmbus_bus_load(to.bus, blob->data, blob->len, &why));
    side_tear_down(&from);
    side_tear_down(&to);
}

/* A channel has the connection id that another one would get. */
static void test_connection_ids(void)
{
    const Scenario *scenario = find_scenario("offered");
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) again = NULL;
    uint32_t id = 0x2000 + SIDE_DEVICES + 1;
    VmbusChannelInfo first, fresh;
    Device more = {0};
    char *why = NULL;
    Side from, to;

    side_prepare(&from, scenario);
    from.bus->channels[1]->connection_id = id;
    blob = side_save(&from);
    side_set_up(&to, false);
    g_assert_true(vmbus_bus_load(to.bus, blob->data, blob->len, &why));
    vmbus_bus_resume(to.bus);
    device_offer(&more, to.bus, 9);
    vmbus_channel_info(to.bus->channels[1], &first);
    vmbus_channel_info(more.chan, &fresh);
    g_assert_cmphex(first.connection_id, ==, id);
    g_assert_cmpuint(fresh.relid, ==, SIDE_DEVICES + 1);
    g_assert_cmphex(fresh.connection_id, ==, id + VMBUS_RELID_COUNT);
    g_assert_cmpstr(vmbus_bus_check(to.bus), ==, NULL);
    again = side_save(&to);
    g_assert_true(vmbus_bus_load(to.bus, again->data, again->len, &why));
    side_tear_down(&from);
    side_tear_down(&to);
    device_free(&more);
}

/* The machine beneath has not what the state needs. */
static void test_machine_fails(void)
{
    const Scenario *scenario = find_scenario("open-idle");
    g_autoptr(GByteArray) blob = NULL;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    side_set_up(&to, true);
    to.machine->fail_map = true;
    assert_refused(&to, blob->data, blob->len,
                   "The rings are not in the guest's memory.");
    to.machine->fail_map = false;
    to.machine->fail_prepare = true;
    assert_refused(&to, blob->data, blob->len,
                   "The machine cannot signal the channel's processor.");
    to.machine->fail_prepare = false;
    to.machine->fail_listen = true;
    assert_refused(&to, blob->data, blob->len,
                   "The machine cannot listen for the channel's signals.");
    to.machine->fail_listen = false;
    side_tear_down(&from);
    side_tear_down(&to);
}

/* The name of the device stands in the sentence. */
static void test_names(void)
{
    const Scenario *scenario = find_scenario("offered");
    g_autoptr(GByteArray) blob = NULL;
    g_autofree char *why = NULL;
    Side from, to;

    side_prepare(&from, scenario);
    blob = side_save(&from);
    side_set_up(&to, false);
    vmbus_bus_withdraw(to.bus, to.devices[1].chan);
    g_assert_false(vmbus_bus_load(to.bus, blob->data, blob->len, &why));
    g_assert_cmpstr(why, ==,
                    "VMBus device 00000002-0000-0000-0000-000000000001 (test): "
                    "The saved machine has a device that this one has not.");
    side_tear_down(&from);
    side_tear_down(&to);
}

/* What the caller of save must have seen to. */
static void test_save(void)
{
    static const char text[8] = "text";
    struct iovec iov = {(void *)text, sizeof(text)};
    const char *err = NULL;
    GByteArray *blob;
    Side side;

    side_prepare(&side, find_scenario("open-idle"));
    g_assert_cmpint(vmbus_channel_send(side.devices[0].chan,
                                       VMBUS_PKT_DATA_INBAND, 0, 0, &iov, 1),
                    ==, VMBUS_RING_OK);
    g_assert_null(vmbus_bus_save(side.bus, false, &err));
    g_assert_cmpstr(err, ==, "The bus is saved while a channel is at work.");
    vmbus_bus_quiesce(side.bus);
    /* A request that ends after that, and does not flush. */
    g_assert_cmpint(vmbus_channel_send(side.devices[0].chan,
                                       VMBUS_PKT_DATA_INBAND, 0, 0, &iov, 1),
                    ==, VMBUS_RING_OK);
    g_assert_null(vmbus_bus_save(side.bus, false, &err));
    g_assert_cmpstr(err, ==,
                    "The bus is saved with packets that were not published.");
    vmbus_bus_quiesce(side.bus);
    blob = vmbus_bus_save(side.bus, false, &err);
    g_assert_nonnull(blob);
    g_byte_array_unref(blob);
    side_tear_down(&side);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/state/refused/%zu/%s", i, cases[i].scenario);

        g_test_add_data_func(path, &cases[i], test_refused);
    }
    g_test_add_func("/state/refused/frame", test_frame);
    g_test_add_func("/state/connection-ids", test_connection_ids);
    g_test_add_func("/state/refused/machine", test_machine_fails);
    g_test_add_func("/state/refused/names", test_names);
    g_test_add_func("/state/refused/save", test_save);
    g_test_add_func("/state/optional", test_optional);
    return g_test_run();
}
