/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vsc-storage.h"

bool vsc_storage_open(VscStorage *s, Vsc *vsc, const VmbusMsgOffer *offer,
                      uint32_t pages)
{
    *s = (VscStorage){.vsc = vsc, .packet_len = sizeof(StorPacket)};
    s->chan[0] = vsc_open(vsc, offer, pages, pages, 0);
    return s->chan[0];
}

/* The host takes sub-channels back when the primary one is closed. */
static void let_go(Vsc *vsc)
{
    VmbusMsg msg, answer;
    uint32_t len;

    while (vsc_next(vsc, &msg, &len)) {
        if (msg.header.type == VMBUS_MSG_RESCIND_CHANNELOFFER) {
            vsc_head(&answer, VMBUS_MSG_RELID_RELEASED);
            answer.relid.relid = msg.relid.relid;
            vsc_post(vsc, &answer, sizeof(answer.relid));
        }
    }
}

void vsc_storage_close(VscStorage *s)
{
    VscChannel *primary = s->chan[0];
    VmbusMsg msg;

    /* Sub-channels first, as Linux does. */
    for (unsigned i = G_N_ELEMENTS(s->chan); i-- > 1;) {
        if (s->chan[i]) {
            vsc_close(s->chan[i]);
            s->chan[i] = NULL;
        }
    }
    if (primary) {
        let_go(s->vsc);
        vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
        msg.relid.relid = primary->relid;
        vsc_post(s->vsc, &msg, sizeof(msg.relid));
        let_go(s->vsc);
        vsc_teardown_gpadl(s->vsc, primary->relid, primary->gpadl);
        vsc_abandon(primary);
        s->chan[0] = NULL;
    }
}

void vsc_storage_abandon(VscStorage *s)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(s->chan); i++) {
        if (s->chan[i]) {
            vsc_abandon(s->chan[i]);
            s->chan[i] = NULL;
        }
    }
}

bool vsc_storage_send(VscStorage *s, unsigned channel, uint64_t trans_id,
                      const StorPacket *packet)
{
    return vsc_send(s->chan[channel], VMBUS_PKT_DATA_INBAND,
                    VMBUS_PKT_FLAG_COMPLETION_REQUESTED, trans_id, packet,
                    s->packet_len);
}

bool vsc_storage_next(VscStorage *s, unsigned channel, VscStorageAnswer *answer)
{
    uint8_t buf[256];
    uint32_t len;

    while ((len = vsc_receive(s->chan[channel], buf, sizeof(buf)))) {
        VmbusPacketDescriptor desc;

        memcpy(&desc, buf, sizeof(desc));
        memset(answer, 0, sizeof(*answer));
        answer->trans_id = desc.trans_id;
        answer->type = desc.type;
        answer->len = len - sizeof(desc);
        memcpy(&answer->packet, buf + sizeof(desc),
               MIN(answer->len, sizeof(answer->packet)));
        if (desc.type != VMBUS_PKT_DATA_INBAND) {
            return true;
        }
        if (answer->packet.header.operation == STOR_ENUMERATE_BUS &&
            !desc.trans_id) {
            s->enumerations++;
        }
    }
    return false;
}

bool vsc_storage_call(VscStorage *s, StorPacket *packet)
{
    VscStorageAnswer answer;

    packet->header.flags = 1;
    if (!vsc_storage_send(s, 0, VSC_STORAGE_INIT, packet) ||
        !vsc_storage_next(s, 0, &answer) ||
        answer.trans_id != VSC_STORAGE_INIT || answer.type != VMBUS_PKT_COMP ||
        answer.len < s->packet_len) {
        return false;
    }
    *packet = answer.packet;
    return packet->header.operation == STOR_COMPLETE_IO;
}

uint32_t vsc_storage_simple(VscStorage *s, uint32_t operation)
{
    StorPacket packet = {.header.operation = operation};

    return vsc_storage_call(s, &packet) ? packet.header.status : UINT32_MAX;
}

static bool agree(VscStorage *s, uint16_t highest)
{
    static const uint16_t versions[] = {STOR_VERSION_6_2, STOR_VERSION_6_0,
                                        STOR_VERSION_5_1, STOR_VERSION_4_2};

    for (unsigned i = 0; i < G_N_ELEMENTS(versions); i++) {
        StorPacket packet = {.header.operation = STOR_QUERY_PROTOCOL_VERSION,
                             .version.major_minor = versions[i]};

        if (versions[i] > highest) {
            continue;
        }
        if (!vsc_storage_call(s, &packet)) {
            return false;
        }
        if (!packet.header.status) {
            s->version = versions[i];
            return true;
        }
    }
    return false;
}

bool vsc_storage_initialize(VscStorage *s, uint16_t highest, bool fc)
{
    StorPacket packet = {.header.operation = STOR_QUERY_PROPERTIES};

    if (vsc_storage_simple(s, STOR_BEGIN_INITIALIZATION) ||
        !agree(s, highest) || !vsc_storage_call(s, &packet) ||
        packet.header.status) {
        return false;
    }
    s->properties = packet.properties;
    if (fc) {
        packet = (StorPacket){.header.operation = STOR_FCHBA_DATA};
        if (!vsc_storage_call(s, &packet) || packet.header.status) {
            return false;
        }
        s->names = packet.fc;
    }
    return !vsc_storage_simple(s, STOR_END_INITIALIZATION);
}

bool vsc_storage_create_subchannels(VscStorage *s, uint16_t count,
                                    uint32_t pages)
{
    StorPacket packet = {.header.operation = STOR_CREATE_SUB_CHANNELS,
                         .subchannel_count = count};
    VmbusMsg offers[64];

    if (!vsc_storage_call(s, &packet) || packet.header.status) {
        return false;
    }
    for (unsigned i = 1; i <= count; i++) {
        if (!vsc_expect(s->vsc, VMBUS_MSG_OFFERCHANNEL, &offers[i],
                        sizeof(offers[i].offer)) ||
            offers[i].offer.subchannel_index != i) {
            return false;
        }
    }
    for (unsigned i = 1; i <= count; i++) {
        s->chan[i] =
            vsc_open(s->vsc, &offers[i].offer, pages, pages, i % VSC_MAX_VPS);
        if (!s->chan[i]) {
            return false;
        }
    }
    return true;
}

void vsc_storage_srb(const VscStorage *s, StorPacket *packet, uint8_t lun,
                     const uint8_t *cdb, uint8_t cdb_len, uint8_t data_in,
                     uint32_t data_len)
{
    *packet = (StorPacket){
        .header = {.operation = STOR_EXECUTE_SRB, .flags = 1},
        .srb = {.length = s->packet_len - sizeof(StorHeader),
                .lun = lun,
                .cdb_length = cdb_len,
                .sense_length = STOR_MAX_SENSE,
                .data_in = data_in,
                .data_transfer_length = data_len},
    };
    memcpy(packet->srb.cdb, cdb, cdb_len);
}

bool vsc_storage_send_range(VscStorage *s, unsigned channel, uint64_t trans_id,
                            const StorPacket *packet, const uint64_t *gfns,
                            uint32_t offset, uint32_t len)
{
    struct {
        VmbusPacketDescriptor desc;
        VmbusGpaDirectHeader direct;
        VmbusGpaRange range;
        uint64_t pages[2100];
    } head = {
        .desc = {.type = VMBUS_PKT_DATA_GPA_DIRECT,
                 .flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
                 .trans_id = trans_id},
        .direct.range_count = 1,
        .range = {len, offset},
    };
    uint32_t count = (offset + len + VMBUS_PAGE_SIZE - 1) / VMBUS_PAGE_SIZE;
    VscChannel *chan = s->chan[channel];
    bool signal;

    memcpy(head.pages, gfns, count * sizeof(*gfns));
    if (!vsc_ring_write(&chan->out, &head,
                        offsetof(typeof(head), pages) + count * sizeof(*gfns),
                        packet, s->packet_len, &signal)) {
        return false;
    }
    if (signal) {
        vsc_machine_signal(s->vsc->machine, chan->connection_id);
    }
    return true;
}
