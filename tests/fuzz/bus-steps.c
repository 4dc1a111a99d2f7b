/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's and the devices' steps.  A new message is one more line in
 * @shapes.
 */
#include <errno.h>

#include "bus-fuzz.h"

#define RELIDS    8 /* devices and sub-channels */
#define GPADL_IDS 4

typedef enum FieldKind {
    FIELD_RELID,
    FIELD_GPADL,
    FIELD_VP,
    FIELD_VERSION,
    FIELD_SINT,
    FIELD_PLACE, /* of the second ring, in pages */
    FIELD_SMALL, /* 0 to 15: an openid, a flag */
    FIELD_FEATURES,
    FIELD_CONNECTION, /* a channel's own, or one that the guest may choose */
    FIELD_RAW,        /* mostly 0 */
} FieldKind;

typedef struct Field {
    uint16_t offset, size;
    FieldKind kind;
} Field;

/* Fills what follows the fixed part; returns the message's length. */
typedef uint32_t TailFn(FuzzInput *in, VmbusMsg *msg, uint32_t len);

typedef struct Shape {
    VmbusMessageType type;
    uint16_t len;
    TailFn *tail; /* or NULL */
    unsigned field_count;
    Field fields[7];
} Shape;

static const uint32_t versions[] = {
    VMBUS_VERSION_5_3, VMBUS_VERSION_5_2,  VMBUS_VERSION_5_1, VMBUS_VERSION_5_0,
    VMBUS_VERSION_4_1, VMBUS_VERSION_4_0,  VMBUS_VERSION_3_0, VMBUS_VERSION_2_4,
    VMBUS_VERSION_1_1, VMBUS_VERSION_0_13, VMBUS_VERSION_6_0,
};

static uint64_t field_value(FuzzInput *in, const Field *field)
{
    static const struct {
        uint64_t base;
        uint32_t count;
    } likely[] = {
        [FIELD_RELID] = {1, RELIDS},   [FIELD_GPADL] = {1, GPADL_IDS},
        [FIELD_VP] = {0, VSC_MAX_VPS}, [FIELD_SINT] = {1, VMBUS_SINT_COUNT - 1},
        [FIELD_PLACE] = {2, 4},        [FIELD_SMALL] = {0, 16},
        [FIELD_FEATURES] = {0, 64},    [FIELD_CONNECTION] = {0x2001, RELIDS},
        [FIELD_RAW] = {0, 1},
    };

    if (field->kind == FIELD_VERSION && fuzz_chance(in, 80)) {
        return versions[fuzz_below(in, G_N_ELEMENTS(versions))];
    } else if (field->kind == FIELD_VERSION) {
        return fuzz_value(in, field->size, VMBUS_VERSION_5_0, 8);
    }
    return fuzz_value(in, field->size, likely[field->kind].base,
                      likely[field->kind].count);
}

static uint32_t put_word(VmbusMsg *msg, uint32_t len, uint64_t word)
{
    if (len + sizeof(word) > sizeof(*msg)) {
        return len;
    }
    memcpy(msg->bytes + len, &word, sizeof(word));
    return len + sizeof(word);
}

/* A few page numbers, mostly of pages that follow each other. */
static uint32_t put_pages(FuzzInput *in, VmbusMsg *msg, uint32_t len,
                          uint32_t count)
{
    uint64_t first = fuzz_value(in, 8, 0, FUZZ_PAGES);

    for (uint32_t i = 0; i < count; i++) {
        len = put_word(msg, len, first + i);
    }
    return len;
}

/* Old guests give a page where newer ones say how messages shall come. */
static uint32_t contact_tail(FuzzInput *in, VmbusMsg *msg, uint32_t len)
{
    VmbusMsgInitiateContact *contact = &msg->initiate_contact;

    if (contact->version < VMBUS_VERSION_5_0) {
        contact->interrupt_page = fuzz_value(in, 8, 0, FUZZ_PAGES)
                                  << VMBUS_PAGE_SHIFT;
        contact->interrupt_page |= fuzz_value(in, 2, 0, 1);
    }
    return len;
}

/*
 * Ranges whose page counts are right for their sizes, in most cases; and a
 * declared size that may be more than this message has: bodies follow.
 */
static uint32_t gpadl_header_tail(FuzzInput *in, VmbusMsg *msg, uint32_t len)
{
    uint32_t ranges = 1 + fuzz_value(in, 1, 0, 2) % 8;
    uint32_t words = 0;

    for (uint32_t i = 0; i < ranges; i++) {
        uint32_t pages = 1 + fuzz_value(in, 1, 3, 16) % 64;
        VmbusGpaRange head = {
            .byte_count = fuzz_value(in, 4, pages * VMBUS_PAGE_SIZE, 1),
            .byte_offset = fuzz_value(in, 4, 0, 1),
        };
        uint64_t word;

        memcpy(&word, &head, sizeof(word));
        len = put_word(msg, len, word);
        len = put_pages(in, msg, len, pages);
        words += 1 + pages;
    }
    msg->gpadl_header.rangecount = fuzz_value(in, 2, ranges, 1);
    msg->gpadl_header.range_buflen = fuzz_value(in, 2, words * 8, 1);
    return len;
}

static uint32_t gpadl_body_tail(FuzzInput *in, VmbusMsg *msg, uint32_t len)
{
    return put_pages(in, msg, len, 1 + fuzz_below(in, 28));
}

/* The longer form of a guest that chooses how it is signalled. */
static uint32_t open_tail(FuzzInput *in, VmbusMsg *msg, uint32_t len)
{
    return fuzz_u8(in) < 200 ? len : offsetof(VmbusMsgOpen2, connection_id);
}

#define F(type, name, kind)                                                    \
    {                                                                          \
        offsetof(type, name), sizeof(((type *)0)->name), kind                  \
    }

/* clang-format off */
static const Shape shapes[] = {
    {VMBUS_MSG_INITIATE_CONTACT,
     sizeof(VmbusMsgInitiateContact2),
     contact_tail,
     6,
     {F(VmbusMsgInitiateContact, version, FIELD_VERSION),
      F(VmbusMsgInitiateContact, target_vp, FIELD_VP),
      F(VmbusMsgInitiateContact, msg_sint, FIELD_SINT),
      F(VmbusMsgInitiateContact, feature_flags, FIELD_FEATURES),
      F(VmbusMsgInitiateContact, monitor_page1, FIELD_RAW),
      F(VmbusMsgInitiateContact, monitor_page2, FIELD_RAW)}},
    {VMBUS_MSG_REQUESTOFFERS, sizeof(VmbusMsgHeader), NULL, 0, {{0}}},
    {VMBUS_MSG_UNLOAD, sizeof(VmbusMsgHeader), NULL, 0, {{0}}},
    {VMBUS_MSG_GPADL_HEADER,
     sizeof(VmbusMsgGpadlHeader),
     gpadl_header_tail,
     2,
     {F(VmbusMsgGpadlHeader, relid, FIELD_RELID),
      F(VmbusMsgGpadlHeader, gpadl, FIELD_GPADL)}},
    {VMBUS_MSG_GPADL_BODY,
     sizeof(VmbusMsgGpadlBody),
     gpadl_body_tail,
     2,
     {F(VmbusMsgGpadlBody, msgnumber, FIELD_SMALL),
      F(VmbusMsgGpadlBody, gpadl, FIELD_GPADL)}},
    {VMBUS_MSG_GPADL_TEARDOWN,
     sizeof(VmbusMsgGpadlTeardown),
     NULL,
     2,
     {F(VmbusMsgGpadlTeardown, relid, FIELD_RELID),
      F(VmbusMsgGpadlTeardown, gpadl, FIELD_GPADL)}},
    {VMBUS_MSG_OPENCHANNEL,
     sizeof(VmbusMsgOpen2),
     open_tail,
     7,
     {F(VmbusMsgOpen, relid, FIELD_RELID), F(VmbusMsgOpen, openid, FIELD_SMALL),
      F(VmbusMsgOpen, gpadl, FIELD_GPADL), F(VmbusMsgOpen, target_vp, FIELD_VP),
      F(VmbusMsgOpen, downstream_offset, FIELD_PLACE),
      F(VmbusMsgOpen2, connection_id, FIELD_CONNECTION),
      F(VmbusMsgOpen2, event_flag, FIELD_SMALL)}},
    {VMBUS_MSG_OPEN_RESERVED,
     sizeof(VmbusMsgOpenReserved),
     NULL,
     5,
     {F(VmbusMsgOpenReserved, relid, FIELD_RELID),
      F(VmbusMsgOpenReserved, target_vp, FIELD_VP),
      F(VmbusMsgOpenReserved, target_sint, FIELD_SINT),
      F(VmbusMsgOpenReserved, gpadl, FIELD_GPADL),
      F(VmbusMsgOpenReserved, downstream_offset, FIELD_PLACE)}},
    {VMBUS_MSG_CLOSE_RESERVED,
     sizeof(VmbusMsgCloseReserved),
     NULL,
     3,
     {F(VmbusMsgCloseReserved, relid, FIELD_RELID),
      F(VmbusMsgCloseReserved, target_vp, FIELD_VP),
      F(VmbusMsgCloseReserved, target_sint, FIELD_SINT)}},
    {VMBUS_MSG_MODIFY_CONNECTION,
     sizeof(VmbusMsgModifyConnection),
     NULL,
     2,
     {F(VmbusMsgModifyConnection, monitor_page1, FIELD_RAW),
      F(VmbusMsgModifyConnection, monitor_page2, FIELD_RAW)}},
    {VMBUS_MSG_PAUSE, sizeof(VmbusMsgHeader), NULL, 0, {{0}}},
    {VMBUS_MSG_RESUME, sizeof(VmbusMsgHeader), NULL, 0, {{0}}},
    {VMBUS_MSG_CLOSECHANNEL,
     sizeof(VmbusMsgRelid),
     NULL,
     1,
     {F(VmbusMsgRelid, relid, FIELD_RELID)}},
    {VMBUS_MSG_RELID_RELEASED,
     sizeof(VmbusMsgRelid),
     NULL,
     1,
     {F(VmbusMsgRelid, relid, FIELD_RELID)}},
    {VMBUS_MSG_MODIFYCHANNEL,
     sizeof(VmbusMsgModifyChannel),
     NULL,
     2,
     {F(VmbusMsgModifyChannel, relid, FIELD_RELID),
      F(VmbusMsgModifyChannel, target_vp, FIELD_VP)}},
    {VMBUS_MSG_TL_CONNECT_REQUEST,
     sizeof(VmbusMsgTlConnectRequest),
     NULL,
     0,
     {{0}}},
};
/* clang-format on */

static uint32_t make_message(FuzzInput *in, VmbusMsg *msg)
{
    uint8_t choice = fuzz_u8(in);
    const Shape *shape = &shapes[choice % G_N_ELEMENTS(shapes)];
    uint32_t len;

    memset(msg, 0, sizeof(*msg));
    if (choice >= 240) {
        len = fuzz_value(in, 1, sizeof(VmbusMsgHeader), 200);
        msg->header.type = fuzz_value(in, 4, 0, VMBUS_MSG_COUNT);
        if (len > sizeof(msg->header)) {
            fuzz_copy(in, msg->bytes + sizeof(msg->header),
                      MIN(len, sizeof(*msg)) - sizeof(msg->header));
        }
        return len;
    }
    msg->header.type = shape->type;
    for (unsigned i = 0; i < shape->field_count; i++) {
        uint64_t value = field_value(in, &shape->fields[i]);

        memcpy(msg->bytes + shape->fields[i].offset, &value,
               shape->fields[i].size);
    }
    len = shape->len;
    if (shape->tail) {
        len = shape->tail(in, msg, len);
    }
    return fuzz_chance(in, 6) ? fuzz_value(in, 1, 0, 192) : len;
}

void fuzz_step_post(FuzzBus *f, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);
    uint32_t conn_id = how < 180   ? VMBUS_MESSAGE_CONNECTION_ID
                       : how < 240 ? VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID
                                   : fuzz_value(in, 4, 0, 6);
    VmbusMsg msg;
    uint32_t len = make_message(in, &msg);
    /* Of exactly its size, so that a read behind its end is seen. */
    uint8_t *copy = g_malloc0(MAX(len, 1));

    memcpy(copy, &msg, MIN(len, sizeof(msg)));
    vmbus_bus_post(f->bus, conn_id, copy, len);
    g_free(copy);
}

static void post(FuzzBus *f, const VmbusMsg *msg, uint32_t len)
{
    vmbus_bus_post(f->bus, VMBUS_MESSAGE_CONNECTION_ID, msg, len);
}

/* One of those that there are, or NULL. */
static const VmbusGpadl *some_gpadl(const FuzzBus *f, FuzzInput *in)
{
    GList *list = vmbus_gpadl_list(&f->bus->gpadls);
    const VmbusGpadl *gpadl =
        list ? g_list_nth_data(list, fuzz_u8(in) % g_list_length(list)) : NULL;

    g_list_free(list);
    return gpadl;
}

/*
 * An opening that is right but for one thing or two, which messages of any kind
 * in any order are too seldom.
 */
void fuzz_step_opening(FuzzBus *f, FuzzInput *in)
{
    uint32_t relid = fuzz_value(in, 4, 1, RELIDS);
    uint32_t pages = fuzz_value(in, 1, 6, 3) % 20;
    uint32_t first = fuzz_below(in, FUZZ_PAGES - 8);
    uint32_t id = f->vsc->next_gpadl++;
    uint64_t gfns[20];
    VmbusMsg msg;

    for (uint32_t i = 0; i < G_N_ELEMENTS(gfns); i++) {
        gfns[i] = first + i;
    }
    fuzz_bus_drain(f);
    /* In most cases rings that hold nothing. */
    for (uint32_t i = 0; i < 6 && !fuzz_chance(in, 5); i++) {
        memset(vsc_machine_page(f->machine, first + i), 0,
               sizeof(VmbusRingControl));
    }
    vsc_post_gpadl(f->vsc, relid, id, gfns, pages);
    fuzz_bus_drain(f);
    if (fuzz_chance(in, 40)) {
        vsc_head(&msg, VMBUS_MSG_OPEN_RESERVED);
        msg.open_reserved.relid = relid;
        msg.open_reserved.target_sint = 1 + fuzz_u8(in) % 15;
        msg.open_reserved.gpadl = id;
        msg.open_reserved.downstream_offset = fuzz_value(in, 4, 3, 1);
        post(f, &msg, sizeof(msg.open_reserved));
        return;
    }
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = relid;
    msg.open.gpadl = id;
    msg.open.target_vp =
        fuzz_chance(in, 20) ? VMBUS_VP_NONE : fuzz_value(in, 4, 0, 2);
    msg.open.downstream_offset = fuzz_value(in, 4, 3, 1);
    msg.open2.connection_id = fuzz_value(in, 4, 0x5000 + relid, 2);
    msg.open2.event_flag = fuzz_value(in, 2, 100, 3);
    post(f, &msg, sizeof(msg.open2));
}

void fuzz_step_teardown(FuzzBus *f, FuzzInput *in)
{
    const VmbusGpadl *gpadl = some_gpadl(f, in);
    VmbusMsg msg;

    if (gpadl) {
        vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
        msg.gpadl_teardown.relid = gpadl->relid;
        msg.gpadl_teardown.gpadl = gpadl->id;
        post(f, &msg, sizeof(msg.gpadl_teardown));
    }
}

void fuzz_step_take(FuzzBus *f, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);
    VmbusMsg msg;
    uint32_t len;

    if (how < 0xa0) {
        fuzz_bus_drain(f);
        return;
    }
    vsc_machine_take(f->machine, how % VSC_MAX_VPS,
                     how < 0xd0 ? VMBUS_MESSAGE_SINT
                                : fuzz_below(in, VMBUS_SINT_COUNT),
                     &msg, &len);
}

void fuzz_step_lost(FuzzBus *f, FuzzInput *in)
{
    if (f->machine->under_way.len) {
        f->machine->under_way.len = 0;
        vmbus_bus_message_delivered(f->bus, -EIO);
    }
}

void fuzz_step_signal(FuzzBus *f, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);
    GHashTable *listeners = f->machine->listeners;
    GList *keys;

    if (how >= 240 || g_hash_table_size(listeners) == 0) {
        vsc_machine_signal(f->machine, fuzz_number(in, 4));
        return;
    }
    keys = g_hash_table_get_keys(listeners);
    vsc_machine_signal(f->machine, GPOINTER_TO_UINT(g_list_nth_data(
                                       keys, how % g_list_length(keys))));
    g_list_free(keys);
}

void fuzz_step_bits(FuzzBus *f, FuzzInput *in)
{
    uint8_t *page = vsc_machine_page(f->machine, f->bus->interrupt_gfn);

    page[VMBUS_PAGE_SIZE / 2 + fuzz_value(in, 2, 0, 1) % 2048] = fuzz_u8(in);
    vsc_machine_signal(f->machine, VMBUS_EVENT_CONNECTION_ID);
}

void fuzz_step_scribble(FuzzBus *f, FuzzInput *in)
{
    static const uint16_t control[] = {0, 4, 8, 12, 64};
    uint8_t *page = vsc_machine_page(f->machine, fuzz_below(in, FUZZ_PAGES));
    uint8_t how = fuzz_u8(in);
    uint32_t value;

    if (how < 0xe0) {
        value = fuzz_value(in, 4, 0, 128) * (how & 1 ? 8 : 1);
        memcpy(page + control[how % G_N_ELEMENTS(control)], &value, 4);
    } else {
        uint32_t at = fuzz_below(in, VMBUS_PAGE_SIZE);

        fuzz_copy(in, page + at, MIN(how & 31u, VMBUS_PAGE_SIZE - at));
    }
}

/* The ring in pages @gfn (control) and the one after it. */
void fuzz_step_packet(FuzzBus *f, FuzzInput *in)
{
    uint32_t gfn = fuzz_below(in, FUZZ_PAGES - 1);
    VmbusRingControl *control = (void *)vsc_machine_page(f->machine, gfn);
    uint8_t *data = vsc_machine_page(f->machine, gfn + 1);
    uint32_t at = control->write_index % VMBUS_PAGE_SIZE & ~7u;
    VmbusPacketDescriptor desc = {
        .type = fuzz_value(in, 2, VMBUS_PKT_DATA_INBAND, 6),
        .offset8 = fuzz_value(in, 2, 2, 2),
        .len8 = fuzz_value(in, 2, 2, 32),
        .flags = fuzz_value(in, 2, 0, 2),
        .trans_id = fuzz_u8(in),
    };
    uint32_t room = VMBUS_PAGE_SIZE - at;

    memcpy(data + at, &desc, MIN(sizeof(desc), room));
    if (room > sizeof(desc)) {
        fuzz_copy(in, data + at + sizeof(desc),
                  MIN(room - sizeof(desc), fuzz_below(in, 64)));
    }
    control->write_index = at + desc.len8 * 8u + 8;
}

static FuzzDevice *some_device(FuzzBus *f, FuzzInput *in)
{
    FuzzDevice *device = &f->devices[fuzz_below(in, FUZZ_DEVICES)];

    return device->chan ? device : NULL;
}

void fuzz_step_send(FuzzBus *f, FuzzInput *in)
{
    static const uint8_t zeros[VMBUS_MAX_PACKET_SIZE];
    FuzzDevice *device = some_device(f, in);
    struct iovec iov[2] = {
        {(void *)zeros, fuzz_value(in, 2, 0, 64) % sizeof(zeros)},
        {(void *)zeros, fuzz_value(in, 2, 0, 64) % sizeof(zeros)},
    };

    if (device) {
        vmbus_channel_send(device->chan, VMBUS_PKT_DATA_INBAND, 0, 0, iov,
                           G_N_ELEMENTS(iov));
        if (fuzz_chance(in, 50)) {
            vmbus_channel_flush(device->chan);
        }
    }
}

void fuzz_step_receive(FuzzBus *f, FuzzInput *in)
{
    FuzzDevice *device = some_device(f, in);
    VmbusPacket pkt;

    if (device && vmbus_channel_receive(device->chan, &pkt) == VMBUS_RING_OK) {
        fuzz_look_at(&pkt);
    }
}

void fuzz_step_habits(FuzzBus *f, FuzzInput *in)
{
    f->devices[fuzz_below(in, FUZZ_DEVICES)].habits = fuzz_u8(in);
}

void fuzz_step_plug(FuzzBus *f, FuzzInput *in)
{
    unsigned number = fuzz_below(in, FUZZ_DEVICES);

    FuzzDevice *device = &f->devices[number];

    if (device->chan && fuzz_chance(in, 50)) {
        device->leaving = true;
        vmbus_bus_rescind(f->bus, device->chan);
        fuzz_require(device->opens == device->closes,
                     "A device was rescinded and not closed.");
    } else if (device->chan) {
        fuzz_bus_withdraw(f, number);
    } else {
        fuzz_bus_offer(f, number);
    }
}

void fuzz_step_reset(FuzzBus *f, FuzzInput *in)
{
    vsc_machine_reset(f->machine);
}

void fuzz_step_limit(FuzzBus *f, FuzzInput *in)
{
    vmbus_bus_set_max_version(f->bus, fuzz_value(in, 4, VMBUS_VERSION_5_0, 4));
}
