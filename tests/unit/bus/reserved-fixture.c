/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reserved-fixture.h"

VscChannel *reserved_open(Fixture *fix)
{
    VscChannel *chan;

    fixture_connect(fix);
    fix->device.echo = true;
    chan = vsc_open_reserved(fix->vsc, fixture_offer(fix), 2, 2, RESERVED_VP,
                             RESERVED_SINT);
    g_assert_nonnull(chan);
    fixture_check(fix);
    fixture_silence(fix);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_OPEN);
    return chan;
}

/* The guest polls: a reserved channel never interrupts. */
void reserved_echo(Fixture *fix, VscChannel *chan)
{
    static const char text[16] = "a crash dump ...";
    unsigned signals = fix->machine->signals;
    uint8_t buf[64];

    g_assert_true(
        vsc_send(chan, VMBUS_PKT_DATA_INBAND, 1, 9, text, sizeof(text)));
    g_assert_cmpuint(vsc_receive(chan, buf, sizeof(buf)), ==,
                     sizeof(VmbusPacketDescriptor) + sizeof(text));
    g_assert_cmpmem(buf + sizeof(VmbusPacketDescriptor), sizeof(text), text,
                    sizeof(text));
    g_assert_cmpuint(fix->machine->signals, ==, signals);
    fixture_check(fix);
}

void reserved_assert_open(Fixture *fix, bool open)
{
    g_assert_cmpuint(fix->device.opened - fix->device.closed, ==, open);
    g_assert_cmpuint(fix->machine->mapped, ==, open);
    g_assert_cmpuint(fix->machine->routes, ==, 0);
    g_assert_cmpuint(g_hash_table_size(fix->machine->listeners), ==, open);
    fixture_check(fix);
}

void reserved_close(Fixture *fix, VscChannel *chan, uint32_t vp, uint8_t sint)
{
    fix->machine->refused = NULL;
    g_assert_true(vsc_close_reserved(chan, vp, sint));
    g_assert_null(fix->machine->refused);
    reserved_assert_open(fix, false);
    fixture_silence(fix);
    vsc_abandon(chan);
}

void reserved_put_open(Fixture *fix, VmbusMsg *msg, uint32_t relid,
                       uint32_t gpadl)
{
    vsc_head(msg, VMBUS_MSG_OPEN_RESERVED);
    msg->open_reserved.relid = relid;
    msg->open_reserved.target_vp = RESERVED_VP;
    msg->open_reserved.target_sint = RESERVED_SINT;
    msg->open_reserved.gpadl = gpadl;
    msg->open_reserved.downstream_offset = 3;
}

void reserved_open_refused(Fixture *fix, const VmbusMsg *open,
                           const char *sentence)
{
    static const uint8_t refused[8] = {0, 0, 0, 0, 0xff, 0xff, 0, 0x80};
    VmbusMsg msg;
    uint32_t len;

    fixture_refused(fix, open, sizeof(open->open_reserved), sentence);
    g_assert_true(
        vsc_machine_take(fix->machine, RESERVED_VP, RESERVED_SINT, &msg, &len));
    g_assert_cmpuint(len, ==, 20);
    g_assert_cmpuint(msg.header.type, ==, VMBUS_MSG_OPENCHANNEL_RESULT);
    g_assert_cmpuint(msg.open_result.relid, ==, open->open_reserved.relid);
    g_assert_cmpmem(&msg.open_result.openid, 8, refused, 8);
    fixture_silence(fix);
}
