/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GPADLs, channels and rings; and the guest's side of the heartbeat. */
#include "devices/ic-protocol.h"
#include "vmbus.h"

#define RING_PAGES 8

uint32_t vb_new_gpadl(void)
{
    static uint32_t last = 0xe1e10;

    return ++last;
}

bool vb_gpadl_create(uint32_t relid, uint32_t gpadl, const uint64_t *pfns,
                     unsigned pages)
{
    VmbusMsg msg = {.gpadl_header = {
                        .header.type = VMBUS_MSG_GPADL_HEADER,
                        .relid = relid,
                        .gpadl = gpadl,
                        .range_buflen = 8 + 8 * pages,
                        .rangecount = 1,
                    }};
    VmbusGpaRange range = {.byte_count = pages * PAGE_SIZE};
    unsigned at = sizeof(msg.gpadl_header), number = 0;

    memcpy(msg.bytes + at, &range, sizeof(range));
    at += sizeof(range);
    for (unsigned i = 0; i < pages; i++) {
        if (at + 8 > sizeof(msg)) {
            vb_post(&msg, at);
            memset(&msg, 0, sizeof(msg));
            msg.gpadl_body.header.type = VMBUS_MSG_GPADL_BODY;
            msg.gpadl_body.msgnumber = ++number;
            msg.gpadl_body.gpadl = gpadl;
            at = sizeof(msg.gpadl_body);
        }
        memcpy(msg.bytes + at, &pfns[i], 8);
        at += 8;
    }
    vb_post(&msg, at);
    return vb_expect(VMBUS_MSG_GPADL_CREATED, &msg) &&
           msg.gpadl_created.gpadl == gpadl &&
           msg.gpadl_created.relid == relid && !msg.gpadl_created.status;
}

bool vb_gpadl_teardown(uint32_t relid, uint32_t gpadl)
{
    VmbusMsgGpadlTeardown msg = {
        .header.type = VMBUS_MSG_GPADL_TEARDOWN,
        .relid = relid,
        .gpadl = gpadl,
    };
    VmbusMsg reply;

    vb_post(&msg, sizeof(msg));
    return vb_expect(VMBUS_MSG_GPADL_TORNDOWN, &reply) &&
           reply.gpadl_torndown.gpadl == gpadl;
}

bool vb_prepare_rings(struct vb_channel *ch, unsigned pages)
{
    static uint64_t pfns[1024];

    if (!ch->memory || ch->pages < pages) {
        ch->memory = alloc_pages(pages);
    }
    memset(ch->memory, 0, pages * PAGE_SIZE);
    ch->pages = pages;
    ch->offset = pages / 2;
    ch->size = (pages / 2 - 1) * PAGE_SIZE;
    ch->out = (VmbusRingControl *)ch->memory;
    ch->in = (VmbusRingControl *)(ch->memory + ch->offset * PAGE_SIZE);
    ch->out_write = 0;
    ch->in_read = 0;
    for (unsigned i = 0; i < pages; i++) {
        pfns[i] = ((uintptr_t)ch->memory >> VMBUS_PAGE_SHIFT) + i;
    }
    ch->gpadl = vb_new_gpadl();
    if (!vb_gpadl_create(ch->offer.relid, ch->gpadl, pfns, pages)) {
        ch->gpadl = 0;
    }
    return ch->gpadl;
}

uint32_t vb_open_raw(struct vb_channel *ch, uint32_t gpadl, uint32_t target_vp,
                     uint32_t offset)
{
    VmbusMsgOpen msg = {
        .header.type = VMBUS_MSG_OPENCHANNEL,
        .relid = ch->offer.relid,
        .openid = 0x77000000 + ch->offer.relid,
        .gpadl = gpadl,
        .target_vp = target_vp,
        .downstream_offset = offset,
    };
    VmbusMsg reply;

    ch->signals_used = vb.signals[ch->offer.relid];
    vb_post(&msg, sizeof(msg));
    if (!vb_expect(VMBUS_MSG_OPENCHANNEL_RESULT, &reply)) {
        return ~0u;
    }
    if (reply.open_result.relid != msg.relid ||
        reply.open_result.openid != msg.openid) {
        print("# the result of an open is for another one\n");
        return ~0u;
    }
    if (!reply.open_result.status) {
        ch->open = true;
        ch->target_vp = target_vp;
    }
    return reply.open_result.status;
}

bool vb_open(struct vb_channel *ch, uint32_t target_vp, unsigned pages)
{
    return vb_prepare_rings(ch, pages) &&
           !vb_open_raw(ch, ch->gpadl, target_vp, ch->offset);
}

bool vb_close(struct vb_channel *ch)
{
    VmbusMsgRelid msg = {
        .header.type = VMBUS_MSG_CLOSECHANNEL,
        .relid = ch->offer.relid,
    };
    bool ok = true;

    if (ch->open) {
        vb_post(&msg, sizeof(msg));
        ch->open = false;
    }
    if (ch->gpadl) {
        ok = vb_gpadl_teardown(ch->offer.relid, ch->gpadl);
        ch->gpadl = 0;
    }
    return ok;
}

static void ring_write(struct vb_channel *ch, const void *data, uint32_t len)
{
    uint8_t *ring = (uint8_t *)ch->out + PAGE_SIZE;
    const uint8_t *from = data;

    while (len--) {
        ring[ch->out_write] = *from++;
        ch->out_write = (ch->out_write + 1) % ch->size;
    }
}

void vb_signal(struct vb_channel *ch)
{
    hv_signal(ch->offer.connection_id);
}

void vb_send(struct vb_channel *ch, const VmbusPacketDescriptor *desc,
             const void *data, uint32_t len)
{
    static const uint8_t zeros[8];
    volatile VmbusRingControl *control = ch->out;
    uint32_t start = ch->out_write;
    VmbusPacketTrailer trailer = {.start = start};

    ring_write(ch, desc, sizeof(*desc));
    ring_write(ch, data, len);
    ring_write(ch, zeros, -len % 8);
    ring_write(ch, &trailer, sizeof(trailer));
    barrier();
    control->write_index = ch->out_write;
    barrier();
    /* Linux' rule: the host was at the end, so it may sleep. */
    if (!control->interrupt_mask && control->read_index == start) {
        vb_signal(ch);
    }
}

void vb_send_inband(struct vb_channel *ch, const void *data, uint32_t len)
{
    VmbusPacketDescriptor desc = {
        .type = VMBUS_PKT_DATA_INBAND,
        .offset8 = sizeof(desc) / 8,
        .len8 = (sizeof(desc) + len + 7) / 8,
    };

    vb_send(ch, &desc, data, len);
}

static void ring_read(struct vb_channel *ch, void *buf, uint32_t len)
{
    const uint8_t *ring = (const uint8_t *)ch->in + PAGE_SIZE;
    uint8_t *to = buf;

    while (len--) {
        *to++ = ring[ch->in_read];
        ch->in_read = (ch->in_read + 1) % ch->size;
    }
}

static bool wait_for_packet(struct vb_channel *ch, uint64_t us)
{
    volatile VmbusRingControl *control = ch->in;
    volatile uint32_t *signals = &vb.signals[ch->offer.relid];

    /* The ring was looked at empty before we sleep, so a signal is due. */
    while (control->write_index == ch->in_read) {
        if (!wait_for(*signals != ch->signals_used, us)) {
            if (control->write_index != ch->in_read) {
                print("# a packet came without an interrupt\n");
            }
            return false;
        }
        ch->signals_used = *signals;
        barrier();
    }
    return true;
}

uint32_t vb_read_packet(struct vb_channel *ch, VmbusPacketDescriptor *desc,
                        void *buf, uint32_t room, uint64_t us)
{
    static uint8_t skipped[65536 * 8];
    volatile VmbusRingControl *control = ch->in;
    uint64_t trailer;
    uint32_t len;

    if (!wait_for_packet(ch, us)) {
        return 0;
    }
    ring_read(ch, desc, sizeof(*desc));
    ring_read(ch, skipped, (desc->offset8 * 8u) - sizeof(*desc));
    len = (desc->len8 - desc->offset8) * 8u;
    ring_read(ch, skipped, len);
    memcpy(buf, skipped, len < room ? len : room);
    ring_read(ch, &trailer, sizeof(trailer));
    barrier();
    control->read_index = ch->in_read;
    barrier();
    return len < room ? len : room;
}

uint32_t vb_read(struct vb_channel *ch, void *buf, uint32_t room, uint64_t us)
{
    VmbusPacketDescriptor desc;

    return vb_read_packet(ch, &desc, buf, room, us);
}

struct vb_channel *vb_heartbeat(void)
{
    static const VmbusGuid class_id = IC_HEARTBEAT_CLASS;

    return vb_find(&class_id);
}

struct ic_message {
    IcPipeHeader pipe;
    IcHeader header;
    union {
        struct {
            IcNegotiate head;
            IcWireVersion version[VB_MAX_VERSIONS];
        } negotiate;
        /* IcHeartbeat, whose alignment would not do here */
        struct {
            uint32_t sequence_low, sequence_high;
            uint32_t application_state, reserved;
        } heartbeat;
    };
};
_Static_assert(offsetof(struct ic_message, negotiate) == 28, "no gap");

void vb_choose_versions(IcHeader *header, IcNegotiate *head, unsigned older)
{
    IcWireVersion *v = (IcWireVersion *)(head + 1);
    unsigned all = head->framework_count + head->message_count;

    if (all > VB_MAX_VERSIONS || !head->framework_count ||
        head->message_count <= older) {
        return;
    }
    v[0] = v[head->framework_count - 1];
    v[1] = v[all - 1 - older];
    head->framework_count = 1;
    head->message_count = 1;
    header->message_size = sizeof(*head) + 2 * sizeof(*v);
}

bool vb_heartbeats(struct vb_channel *ch, unsigned count)
{
    struct ic_message m;

    while (count) {
        uint32_t len = vb_read(ch, &m, sizeof(m), VB_TIMEOUT_US);

        if (len < sizeof(m.pipe) + sizeof(m.header)) {
            return false;
        }
        if (m.header.message_type == IC_MESSAGE_NEGOTIATE) {
            vb_choose_versions(&m.header, &m.negotiate.head, 0);
        } else if (m.header.message_type == IC_MESSAGE_HEARTBEAT) {
            m.heartbeat.sequence_high += !++m.heartbeat.sequence_low;
            m.heartbeat.application_state = IC_APPLICATION_HEALTHY;
            count--;
        } else {
            print("# a packet of type %u on the heartbeat channel\n",
                  m.header.message_type);
            return false;
        }
        m.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
        m.header.status = 0;
        m.pipe.size = sizeof(m.header) + m.header.message_size;
        vb_send_inband(ch, &m, sizeof(m.pipe) + m.pipe.size);
    }
    return true;
}

const char *vb_round_trip(uint32_t version, uint32_t target_vp, unsigned sint)
{
    struct vb_channel *ch;

    if (!vb_contact(version, target_vp, sint, NULL)) {
        return "the host refused the connection";
    }
    if (!vb_request_offers()) {
        return "the offers did not come";
    }
    ch = vb_heartbeat();
    if (!ch) {
        return "no heartbeat channel was offered";
    }
    if (!vb_open(ch, target_vp, RING_PAGES)) {
        return "the channel was not opened";
    }
    if (!vb_heartbeats(ch, 1)) {
        return "no heartbeat came";
    }
    if (!vb_close(ch)) {
        return "the GPADL was not torn down";
    }
    if (!vb_unload()) {
        return "UNLOAD was not answered";
    }
    return NULL;
}
