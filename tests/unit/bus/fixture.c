/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fixture.h"

static bool device_open(VmbusChannel *chan, void *opaque)
{
    Device *device = opaque;

    if (device->refuse) {
        return false;
    }
    device->opened++;
    if (device->hook) {
        device->chan = chan;
        device->hook(device);
    }
    return true;
}

static void device_close(VmbusChannel *chan, void *opaque)
{
    Device *device = opaque;

    device->closed++;
    if (device->hook) {
        device->hook(device);
    }
}

static void take(Device *device, VmbusChannel *chan, const VmbusPacket *pkt)
{
    struct iovec iov = {(void *)pkt->data, pkt->data_len};

    device->packets++;
    device->type = pkt->type;
    device->flags = pkt->flags;
    device->trans_id = pkt->trans_id;
    g_byte_array_set_size(device->data, 0);
    g_byte_array_append(device->data, pkt->data, pkt->data_len);
    if (device->echo) {
        device->result =
            vmbus_channel_send(chan, VMBUS_PKT_COMP, 0, pkt->trans_id, &iov, 1);
    }
}

static void device_signal(VmbusChannel *chan, void *opaque)
{
    Device *device = opaque;
    VmbusPacket pkt;

    device->signalled++;
    if (device->signal_hook) {
        device->signal_hook(device);
        return;
    }
    if (device->quiet) {
        return;
    }
    while ((device->result = vmbus_channel_receive(chan, &pkt)) ==
           VMBUS_RING_OK) {
        take(device, chan, &pkt);
    }
    if (device->echo) {
        vmbus_channel_flush(chan);
    }
}

static void device_released(VmbusChannel *chan, void *opaque)
{
    Device *device = opaque;

    g_assert_true(chan == device->chan);
    device->released++;
    if (device->release_hook) {
        device->release_hook(device);
    }
    device->chan = NULL;
}

const VmbusChannelOps device_ops = {
    .open = device_open,
    .close = device_close,
    .signal = device_signal,
    .released = device_released,
};

void device_offer(Device *device, VmbusBus *bus, uint32_t number)
{
    const char *err = "unset";

    device->offer = (VmbusOffer){
        .name = "test",
        .class_id =
            VMBUS_GUID(0x11111111, 0x2222, 0x3333, 4, 5, 6, 7, 8, 9, 10, 11),
        .instance_id = VMBUS_GUID(number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
        .mmio_megabytes = 7,
    };
    if (!device->data) {
        device->data = g_byte_array_new();
    }
    device->chan =
        vmbus_bus_offer(bus, &device->offer, &device_ops, device, &err);
    g_assert_nonnull(device->chan);
    g_assert_null(err);
    g_assert_true(vmbus_channel_opaque(device->chan) == device);
}

void device_free(Device *device)
{
    g_byte_array_free(device->data, TRUE);
    device->data = NULL;
}

void fixture_set_up(Fixture *fix, gconstpointer scattered)
{
    fix->machine = vsc_machine_new(1024, scattered);
    fix->bus = fix->machine->bus;
    fix->vsc = vsc_new(fix->machine);
    device_offer(&fix->device, fix->bus, 1);
}

void fixture_tear_down(Fixture *fix, gconstpointer unused)
{
    fixture_check(fix);
    vsc_free(fix->vsc);
    vsc_machine_free(fix->machine); /* says if anything was left */
    g_assert_cmpuint(fix->device.opened, ==, fix->device.closed);
    device_free(&fix->device);
}

void fixture_check(Fixture *fix)
{
    g_assert_cmpstr(vmbus_bus_check(fix->bus), ==, NULL);
}

void fixture_silence(Fixture *fix)
{
    for (uint32_t vp = 0; vp < VSC_MAX_VPS; vp++) {
        for (uint32_t sint = 0; sint < VMBUS_SINT_COUNT; sint++) {
            g_assert_cmpuint(fix->machine->slots[vp][sint].len, ==, 0);
        }
    }
}

void fixture_connect(Fixture *fix)
{
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_check(fix);
    fixture_silence(fix);
}

const VmbusMsgOffer *fixture_offer(Fixture *fix)
{
    const VmbusMsgOffer *offer =
        vsc_find_offer(fix->vsc, &fix->device.offer.class_id);

    g_assert_nonnull(offer);
    return offer;
}

VscChannel *fixture_open(Fixture *fix, uint32_t pages)
{
    VscChannel *chan;

    fixture_connect(fix);
    chan = vsc_open(fix->vsc, fixture_offer(fix), pages, pages, 1);
    g_assert_nonnull(chan);
    fixture_check(fix);
    fixture_silence(fix);
    return chan;
}

VmbusChannelInfo fixture_channel(Fixture *fix)
{
    VmbusChannelInfo info;

    vmbus_channel_info(fix->device.chan, &info);
    return info;
}

VmbusBusInfo fixture_info(Fixture *fix)
{
    VmbusBusInfo info;

    vmbus_bus_info(fix->bus, &info);
    return info;
}

void fixture_post(Fixture *fix, const void *msg, uint32_t len)
{
    g_assert_cmpint(vsc_post(fix->vsc, msg, len), ==, VMBUS_POST_OK);
    fixture_check(fix);
}

void fixture_refused(Fixture *fix, const void *msg, uint32_t len,
                     const char *sentence)
{
    uint64_t before = fixture_info(fix).messages_refused;
    unsigned events = fix->machine->events[VMBUS_EVENT_REFUSED];

    fix->machine->refused = NULL;
    fixture_post(fix, msg, len);
    g_assert_cmpstr(fix->machine->refused, ==, sentence);
    g_assert_cmpuint(fixture_info(fix).messages_refused, ==, before + 1);
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_REFUSED], ==, events + 1);
}

void fixture_still_works(Fixture *fix)
{
    static const char text[16] = "are you there?";
    bool echo = fix->device.echo;
    VscChannel *chan;
    uint8_t buf[64];

    fixture_silence(fix);
    vsc_machine_reset_ram(fix->machine);
    fix->device.echo = true;
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    g_assert_nonnull(chan);
    g_assert_true(
        vsc_send(chan, VMBUS_PKT_DATA_INBAND, 1, 77, text, sizeof(text)));
    g_assert_true(vsc_interrupted(chan));
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==,
                     sizeof(VmbusPacketDescriptor) + sizeof(text));
    g_assert_cmpmem(buf + sizeof(VmbusPacketDescriptor), sizeof(text), text,
                    sizeof(text));
    vsc_close(chan);
    fix->device.echo = echo;
    fixture_check(fix);
    fixture_silence(fix);
}

const GpadlCase gpadl_good = {.relid = 1,
                              .id = 77,
                              .rangecount = 1,
                              .buflen = 24,
                              .byte_count = 2 * VMBUS_PAGE_SIZE,
                              .pfns = 2,
                              .pfn = 5};

uint32_t gpadl_case_message(VmbusMsg *msg, const GpadlCase *h)
{
    uint8_t *at = msg->bytes + sizeof(VmbusMsgGpadlHeader);

    vsc_head(msg, VMBUS_MSG_GPADL_HEADER);
    msg->gpadl_header.relid = h->relid;
    msg->gpadl_header.gpadl = h->id;
    msg->gpadl_header.rangecount = h->rangecount;
    msg->gpadl_header.range_buflen = h->buflen;
    memcpy(at, &h->byte_count, 4);
    memcpy(at + 4, &h->byte_offset, 4);
    at += 8;
    for (uint32_t i = 0; i < h->pfns; i++, at += 8) {
        memcpy(at, &h->pfn, 8);
    }
    return at - msg->bytes;
}

void fixture_created(Fixture *fix, uint32_t relid, uint32_t id, uint32_t status)
{
    VmbusMsg msg;

    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_CREATED, &msg,
                             sizeof(msg.gpadl_created)));
    g_assert_cmpuint(msg.gpadl_created.relid, ==, relid);
    g_assert_cmpuint(msg.gpadl_created.gpadl, ==, id);
    g_assert_cmphex(msg.gpadl_created.status, ==, status);
    fixture_silence(fix);
}

void fixture_open_refused(Fixture *fix, const VmbusMsgOpen *open,
                          const char *sentence)
{
    VmbusMsg msg;

    fixture_refused(fix, open, sizeof(*open), sentence);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_OPENCHANNEL_RESULT, &msg,
                             sizeof(msg.open_result)));
    g_assert_cmpuint(msg.open_result.relid, ==, open->relid);
    g_assert_cmpuint(msg.open_result.openid, ==, open->openid);
    g_assert_cmphex(msg.open_result.status, ==, 0x8000ffff);
    fixture_silence(fix);
    g_assert_cmpuint(g_hash_table_size(fix->machine->listeners), ==,
                     fix->device.opened - fix->device.closed);
}

VmbusMsgOpen fixture_open_message(Fixture *fix)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 1;
    msg.open.openid = 0x1234;
    msg.open.gpadl = vsc_create_gpadl(fix->vsc, 1, 10, 6);
    msg.open.downstream_offset = 3;
    g_assert_cmpuint(msg.open.gpadl, !=, 0);
    return msg.open;
}
