/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vsc.h"

Vsc *vsc_new(VscMachine *machine)
{
    Vsc *vsc = g_new0(Vsc, 1);

    vsc->machine = machine;
    vsc->sint = VMBUS_MESSAGE_SINT;
    vsc->conn_id = VMBUS_MESSAGE_CONNECTION_ID;
    vsc->next_gpadl = 0xe1e10; /* where Linux begins */
    /* vsc_machine_alloc() begins at the other end. */
    vsc->interrupt_gfn = machine->page_count - 1;
    vsc->offers = g_array_new(FALSE, FALSE, sizeof(VmbusMsgOffer));
    return vsc;
}

void vsc_free(Vsc *vsc)
{
    g_array_free(vsc->offers, TRUE);
    g_free(vsc);
}

void vsc_head(VmbusMsg *msg, uint32_t type)
{
    memset(msg, 0, sizeof(*msg));
    msg->header.type = type;
}

VmbusPostResult vsc_post(Vsc *vsc, const void *msg, uint32_t len)
{
    VmbusPostResult result =
        vmbus_bus_post(vsc->machine->bus, vsc->conn_id, msg, len);

    vsc_machine_call_ends(vsc->machine);
    return result;
}

bool vsc_next(Vsc *vsc, VmbusMsg *msg, uint32_t *len)
{
    return vsc_machine_take(vsc->machine, vsc->vp, vsc->sint, msg, len);
}

bool vsc_expect(Vsc *vsc, uint32_t type, VmbusMsg *msg, uint32_t len)
{
    uint32_t got;

    return vsc_next(vsc, msg, &got) && msg->header.type == type && got >= len;
}

bool vsc_has_interrupt_page(const Vsc *vsc)
{
    return vsc->version && vsc->version < VMBUS_VERSION_2_4;
}

uint64_t *vsc_interrupt_bits(Vsc *vsc, bool to_host)
{
    uint8_t *page = vsc_machine_page(vsc->machine, vsc->interrupt_gfn);

    return (uint64_t *)(page + (to_host ? VMBUS_PAGE_SIZE / 2 : 0));
}

bool vsc_connect(Vsc *vsc, uint32_t version)
{
    VmbusMsgInitiateContact *contact;
    uint32_t len = sizeof(*contact);
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_INITIATE_CONTACT);
    contact = &msg.initiate_contact;
    contact->version = version;
    contact->target_vp = vsc->vp;
    vsc->version = 0;
    vsc->conn_id = VMBUS_MESSAGE_CONNECTION_ID;
    if (version < VMBUS_VERSION_5_0) {
        contact->interrupt_page = vsc->interrupt_gfn << VMBUS_PAGE_SHIFT;
    } else {
        contact->msg_sint = vsc->sint;
        vsc->conn_id = VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
    }
    if (version >= VMBUS_VERSION_6_0) {
        contact->feature_flags = vsc->asked;
        msg.initiate_contact2.client_id = vsc->client_id;
        len = sizeof(msg.initiate_contact2);
    }
    vsc->features = 0;
    if (vsc_post(vsc, contact, len) != VMBUS_POST_OK ||
        !vsc_expect(vsc, VMBUS_MSG_VERSION_RESPONSE, &msg,
                    sizeof(msg.version_response)) ||
        !msg.version_response.supported ||
        msg.version_response.connection_state) {
        return false;
    }
    vsc->version = version;
    if (version >= VMBUS_VERSION_6_0) {
        vsc->features = msg.version_response2.features;
    }
    if (version >= VMBUS_VERSION_5_0) {
        vsc->conn_id = msg.version_response.connection_id;
    }
    return true;
}

uint32_t vsc_negotiate(Vsc *vsc)
{
    static const uint32_t versions[] = {
        VMBUS_VERSION_5_3,  VMBUS_VERSION_5_2, VMBUS_VERSION_5_1,
        VMBUS_VERSION_5_0,  VMBUS_VERSION_4_1, VMBUS_VERSION_4_0,
        VMBUS_VERSION_3_0,  VMBUS_VERSION_2_4, VMBUS_VERSION_1_1,
        VMBUS_VERSION_0_13,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        if (vsc_connect(vsc, versions[i])) {
            return versions[i];
        }
    }
    return 0;
}

bool vsc_unload(Vsc *vsc)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_UNLOAD);
    vsc_post(vsc, &msg, sizeof(msg.header));
    vsc->version = 0;
    return vsc_expect(vsc, VMBUS_MSG_UNLOAD_RESPONSE, &msg, sizeof(msg.header));
}

/* A test that connects by itself leaves the version 0; it is a later one. */
static bool knows_connection_ids(const Vsc *vsc)
{
    return vsc->version == 0 || vsc->version >= VMBUS_VERSION_1_1;
}

static uint32_t offer_size(const Vsc *vsc)
{
    return knows_connection_ids(vsc)
               ? sizeof(VmbusMsgOffer)
               : offsetof(VmbusMsgOffer, dedicated_interrupt);
}

bool vsc_request_offers(Vsc *vsc)
{
    VmbusMsg msg;
    uint32_t len;

    g_array_set_size(vsc->offers, 0);
    vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
    vsc_post(vsc, &msg, sizeof(msg.header));
    while (vsc_next(vsc, &msg, &len)) {
        if (msg.header.type == VMBUS_MSG_ALLOFFERS_DELIVERED) {
            return true;
        }
        if (msg.header.type != VMBUS_MSG_OFFERCHANNEL ||
            len != offer_size(vsc)) {
            return false;
        }
        g_array_append_val(vsc->offers, msg.offer);
    }
    return false;
}

const VmbusMsgOffer *vsc_find_offer(const Vsc *vsc, const VmbusGuid *class_id)
{
    for (guint i = 0; i < vsc->offers->len; i++) {
        const VmbusMsgOffer *offer =
            &g_array_index(vsc->offers, VmbusMsgOffer, i);

        if (vmbus_guid_equal(&offer->class_id, class_id)) {
            return offer;
        }
    }
    return NULL;
}

void vsc_post_gpadl(Vsc *vsc, uint32_t relid, uint32_t gpadl,
                    const uint64_t *gfns, uint32_t count)
{
    VmbusGpaRange range = {.byte_count = count * VMBUS_PAGE_SIZE};
    uint32_t at = sizeof(VmbusMsgGpadlHeader) + sizeof(range);
    uint32_t part = MIN(count, (VMBUS_MAX_MESSAGE - at) / 8);
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_GPADL_HEADER);
    msg.gpadl_header.relid = relid;
    msg.gpadl_header.gpadl = gpadl;
    msg.gpadl_header.rangecount = 1;
    msg.gpadl_header.range_buflen = sizeof(range) + count * 8;
    memcpy(msg.bytes + sizeof(VmbusMsgGpadlHeader), &range, sizeof(range));
    memcpy(msg.bytes + at, gfns, part * 8);
    vsc_post(vsc, &msg, at + part * 8);
    for (uint32_t done = part; done < count; done += part) {
        at = sizeof(VmbusMsgGpadlBody);
        part = MIN(count - done, (VMBUS_MAX_MESSAGE - at) / 8);
        vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
        msg.gpadl_body.gpadl = gpadl;
        memcpy(msg.bytes + at, gfns + done, part * 8);
        vsc_post(vsc, &msg, at + part * 8);
    }
}

uint32_t vsc_create_gpadl(Vsc *vsc, uint32_t relid, uint64_t first_gfn,
                          uint32_t count)
{
    uint64_t *gfns = g_new(uint64_t, count);
    uint32_t id = vsc->next_gpadl++;
    VmbusMsg msg;

    for (uint32_t i = 0; i < count; i++) {
        gfns[i] = first_gfn + i;
    }
    vsc_post_gpadl(vsc, relid, id, gfns, count);
    g_free(gfns);
    if (!vsc_expect(vsc, VMBUS_MSG_GPADL_CREATED, &msg,
                    sizeof(msg.gpadl_created)) ||
        msg.gpadl_created.relid != relid || msg.gpadl_created.gpadl != id ||
        msg.gpadl_created.status) {
        return 0;
    }
    return id;
}

bool vsc_teardown_gpadl(Vsc *vsc, uint32_t relid, uint32_t gpadl)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = relid;
    msg.gpadl_teardown.gpadl = gpadl;
    vsc_post(vsc, &msg, sizeof(msg.gpadl_teardown));
    return vsc_expect(vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg,
                      sizeof(msg.gpadl_torndown)) &&
           msg.gpadl_torndown.gpadl == gpadl;
}

static void init_rings(VscChannel *chan, uint32_t out_pages)
{
    uint8_t **pages = g_new(uint8_t *, chan->pages);

    for (uint32_t i = 0; i < chan->pages; i++) {
        pages[i] = vsc_machine_page(chan->vsc->machine, chan->first_gfn + i);
    }
    vsc_ring_init(&chan->out, pages, out_pages);
    vsc_ring_init(&chan->in, pages + out_pages, chan->pages - out_pages);
    g_free(pages);
}

/* A channel with its rings, and a GPADL of them. */
static VscChannel *new_channel(Vsc *vsc, const VmbusMsgOffer *offer,
                               uint32_t out_pages, uint32_t in_pages,
                               uint32_t target_vp)
{
    VscChannel *chan = g_new0(VscChannel, 1);

    chan->vsc = vsc;
    chan->relid = chan->openid = offer->relid;
    chan->connection_id = offer->connection_id;
    chan->target_vp = target_vp;
    chan->pages = out_pages + in_pages;
    chan->first_gfn = vsc_machine_alloc(vsc->machine, chan->pages);
    init_rings(chan, out_pages);
    chan->gpadl =
        vsc_create_gpadl(vsc, chan->relid, chan->first_gfn, chan->pages);
    chan->event_flag = chan->relid;
    return chan;
}

VscChannel *vsc_open(Vsc *vsc, const VmbusMsgOffer *offer, uint32_t out_pages,
                     uint32_t in_pages, uint32_t target_vp)
{
    VscChannel *chan = new_channel(vsc, offer, out_pages, in_pages, target_vp);
    VmbusMsg msg;
    uint32_t len = sizeof(msg.open);

    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    if (vsc->features & VMBUS_FEATURE_GUEST_SIGNAL) {
        chan->event_flag = 2047 - chan->relid;
        chan->connection_id = 0xabc000 + chan->relid;
        msg.open2.event_flag = chan->event_flag;
        msg.open2.connection_id = chan->connection_id;
        len = sizeof(msg.open2);
    }
    msg.open.relid = chan->relid;
    msg.open.openid = chan->openid;
    msg.open.gpadl = chan->gpadl;
    msg.open.target_vp = target_vp;
    msg.open.downstream_offset = out_pages;
    vsc_post(vsc, &msg, len);
    if (!vsc_expect(vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg,
                    sizeof(msg.open_result)) ||
        msg.open_result.relid != chan->relid ||
        msg.open_result.openid != chan->openid || msg.open_result.status) {
        vsc_teardown_gpadl(vsc, chan->relid, chan->gpadl);
        vsc_abandon(chan);
        return NULL;
    }
    return chan;
}

VscChannel *vsc_open_reserved(Vsc *vsc, const VmbusMsgOffer *offer,
                              uint32_t out_pages, uint32_t in_pages,
                              uint32_t vp, uint8_t sint)
{
    VscChannel *chan =
        new_channel(vsc, offer, out_pages, in_pages, VMBUS_VP_NONE);
    VmbusMsg msg;
    uint32_t len;

    chan->reserved = true;
    vsc_head(&msg, VMBUS_MSG_OPEN_RESERVED);
    msg.open_reserved.relid = chan->relid;
    msg.open_reserved.target_vp = vp;
    msg.open_reserved.target_sint = sint;
    msg.open_reserved.gpadl = chan->gpadl;
    msg.open_reserved.downstream_offset = out_pages;
    vsc_post(vsc, &msg, sizeof(msg.open_reserved));
    if (!vsc_machine_take(vsc->machine, vp, sint, &msg, &len) ||
        msg.header.type != VMBUS_MSG_OPENCHANNEL_RESULT ||
        len != sizeof(msg.open_result) ||
        msg.open_result.relid != chan->relid || msg.open_result.openid ||
        msg.open_result.status) {
        vsc_teardown_gpadl(vsc, chan->relid, chan->gpadl);
        vsc_abandon(chan);
        return NULL;
    }
    return chan;
}

bool vsc_close_reserved(VscChannel *chan, uint32_t vp, uint8_t sint)
{
    VmbusMsg msg;
    uint32_t len;

    vsc_head(&msg, VMBUS_MSG_CLOSE_RESERVED);
    msg.close_reserved.relid = chan->relid;
    msg.close_reserved.target_vp = vp;
    msg.close_reserved.target_sint = sint;
    vsc_post(chan->vsc, &msg, sizeof(msg.close_reserved));
    return vsc_machine_take(chan->vsc->machine, vp, sint, &msg, &len) &&
           msg.header.type == VMBUS_MSG_CLOSE_RESERVED_RESPONSE &&
           len == sizeof(msg.relid) && msg.relid.relid == chan->relid;
}

void vsc_abandon(VscChannel *chan)
{
    vsc_ring_destroy(&chan->out);
    vsc_ring_destroy(&chan->in);
    g_free(chan);
}

void vsc_close(VscChannel *chan)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = chan->relid;
    vsc_post(chan->vsc, &msg, sizeof(msg.relid));
    vsc_teardown_gpadl(chan->vsc, chan->relid, chan->gpadl);
    vsc_abandon(chan);
}

static void signal_host(VscChannel *chan)
{
    Vsc *vsc = chan->vsc;

    /* One that outlived its connection is signalled as it was in there. */
    if (chan->reserved || knows_connection_ids(vsc)) {
        vsc_machine_signal(vsc->machine, chan->connection_id);
        return;
    }
    __atomic_fetch_or(&vsc_interrupt_bits(vsc, true)[chan->relid / 64],
                      1ull << (chan->relid % 64), __ATOMIC_SEQ_CST);
    vsc_machine_signal(vsc->machine, VMBUS_EVENT_CONNECTION_ID);
}

bool vsc_send(VscChannel *chan, uint16_t type, uint16_t flags,
              uint64_t trans_id, const void *data, uint32_t len)
{
    VmbusPacketDescriptor desc = {
        .type = type, .flags = flags, .trans_id = trans_id};
    bool signal;

    if (!vsc_ring_write(&chan->out, &desc, sizeof(desc), data, len, &signal)) {
        return false;
    }
    if (signal) {
        signal_host(chan);
    }
    return true;
}

uint32_t vsc_receive(VscChannel *chan, void *buf, uint32_t room)
{
    uint32_t len = vsc_ring_read(&chan->in, buf, room);

    if (len && vsc_ring_read_done(&chan->in)) {
        signal_host(chan);
    }
    return len;
}

bool vsc_interrupted(VscChannel *chan)
{
    Vsc *vsc = chan->vsc;
    uint64_t bit = 1ull << (chan->relid % 64);
    uint64_t *word;

    if (!vsc_has_interrupt_page(vsc)) {
        return vsc_machine_take_flag(vsc->machine, chan->target_vp, vsc->sint,
                                     chan->event_flag);
    }
    if (!vsc_machine_take_flag(vsc->machine, 0, vsc->sint, 0)) {
        return false;
    }
    word = &vsc_interrupt_bits(vsc, false)[chan->relid / 64];
    return __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST) & bit;
}
