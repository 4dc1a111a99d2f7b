/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that says anything in any order, of which much makes sense.  The
 * invariants of the bus hold after each step, and in the end it works.  The
 * seed is GLib's: --seed repeats a run.
 */
#include "fixture.h"

#define STEPS   200000
#define DEVICES 3

static uint32_t one_of(const uint32_t *values, size_t count)
{
    return values[g_test_rand_int_range(0, count)];
}

#define ONE_OF(...)                                                            \
    one_of((const uint32_t[]){__VA_ARGS__},                                    \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static uint32_t any_relid(void)
{
    return ONE_OF(1, 1, 1, 2, 2, 3, 4, 0, 5, 2047, 2048, 0xffffffff);
}

static uint32_t any_gpadl(void)
{
    return ONE_OF(1, 2, 3, 4, 5, 0, 0xffffffff);
}

static uint32_t any_vp(void)
{
    return ONE_OF(0, 0, 0, 1, 2, 3, 4, 0xffffffff);
}

static uint32_t make_gpadl_header(VmbusMsg *msg)
{
    GpadlCase h = gpadl_good;

    h.relid = any_relid();
    h.id = any_gpadl();
    h.pfns = ONE_OF(4, 4, 6, 26, 1, 2);
    h.buflen = 8 + 8 * ONE_OF(4, 4, 6, 26, 60, 8190);
    h.byte_count = h.buflen == 65528 ? 4096 : (h.buflen - 8) / 8 * 4096;
    h.rangecount = ONE_OF(1, 1, 1, 1, 1, 2, 0, 65535);
    h.pfn = ONE_OF(8, 16, 24, 2000);
    return gpadl_case_message(msg, &h);
}

static void make_open(VmbusMsg *msg)
{
    msg->open.relid = any_relid();
    msg->open.openid = 9;
    msg->open.gpadl = any_gpadl();
    msg->open.target_vp = any_vp();
    msg->open.downstream_offset = ONE_OF(2, 2, 2, 3, 13, 0, 4, 0xffffffff);
}

/* Fills @msg; returns its length. */
static uint32_t make_message(VmbusMsg *msg)
{
    uint32_t type = ONE_OF(3, 3, 5, 5, 5, 5, 7, 7, 8, 8, 8, 8, 9, 9, 11, 11, 13,
                           14, 16, 18, 19, 21, 22, 22, 0, 15, 25, 30);
    uint32_t len = sizeof(*msg);

    if (type == VMBUS_MSG_INITIATE_CONTACT || type == VMBUS_MSG_UNLOAD) {
        /* Rarely: these undo everything. */
        type = g_test_rand_int_range(0, 20) ? VMBUS_MSG_CLOSECHANNEL : type;
    }
    vsc_head(msg, type);
    switch (type) {
    case VMBUS_MSG_OPENCHANNEL:
        make_open(msg);
        break;
    case VMBUS_MSG_GPADL_HEADER:
        len = make_gpadl_header(msg);
        break;
    case VMBUS_MSG_GPADL_BODY:
        msg->gpadl_body.gpadl = any_gpadl();
        break;
    case VMBUS_MSG_INITIATE_CONTACT:
        msg->initiate_contact.version =
            ONE_OF(0x50003, 0x50003, 0x40001, 0x30000, 0x60000);
        msg->initiate_contact.target_vp = any_vp();
        msg->initiate_contact.msg_sint = ONE_OF(2, 2, 2, 5, 0, 16);
        break;
    default: /* relid, and then a GPADL or a processor */
        msg->gpadl_teardown.relid = any_relid();
        msg->gpadl_teardown.gpadl = any_gpadl();
        break;
    }
    return g_test_rand_int_range(0, 20)
               ? len
               : (uint32_t)g_test_rand_int_range(0, sizeof(*msg) + 1);
}

static void read_slots(VscMachine *machine)
{
    VmbusMsg msg;
    uint32_t len;

    for (uint32_t vp = 0; vp < VSC_MAX_VPS; vp++) {
        for (uint32_t sint = 0; sint < VMBUS_SINT_COUNT; sint++) {
            vsc_machine_take(machine, vp, sint, &msg, &len);
        }
    }
}

/* What a sane guest does up to the opening of a channel. */
static void open_sanely(Fixture *fix, uint32_t relid)
{
    uint64_t gfns[6];
    VmbusMsg msg;

    if (fixture_info(fix).state == VMBUS_DISCONNECTED) {
        read_slots(fix->machine);
        fix->vsc->conn_id = VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID;
        vsc_head(&msg, VMBUS_MSG_INITIATE_CONTACT);
        msg.initiate_contact.version = VMBUS_VERSION_5_3;
        msg.initiate_contact.msg_sint = 2;
        vsc_post(fix->vsc, &msg, sizeof(msg.initiate_contact));
        read_slots(fix->machine);
        vsc_head(&msg, VMBUS_MSG_REQUESTOFFERS);
        vsc_post(fix->vsc, &msg, sizeof(msg.header));
    }
    for (int i = 0; i < 10; i++) {
        read_slots(fix->machine);
    }
    for (uint32_t i = 0; i < G_N_ELEMENTS(gfns); i++) {
        gfns[i] = relid * 8 + i;
        memset(vsc_machine_page(fix->machine, gfns[i]), 0, 80);
    }
    fix->vsc->next_gpadl++;
    vsc_post_gpadl(fix->vsc, relid, fix->vsc->next_gpadl, gfns,
                   G_N_ELEMENTS(gfns));
    read_slots(fix->machine);
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = relid;
    msg.open.gpadl = fix->vsc->next_gpadl;
    msg.open.downstream_offset = 3;
    vsc_post(fix->vsc, &msg, sizeof(msg.open));
    read_slots(fix->machine);
}

/* A packet of zeros, or nonsense, or a wild index, in the rings' pages. */
static void scribble(VscMachine *machine)
{
    uint64_t gfn = ONE_OF(8, 16, 24) + ONE_OF(0, 0, 1, 1, 2, 3, 3, 4);
    uint32_t *page = (uint32_t *)vsc_machine_page(machine, gfn);

    page[ONE_OF(0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 16)] =
        ONE_OF(0, 0, 8, 24, 32, 64, 0x20006, 0x20009, 0x20002, 1, 0xffffffff);
}

static void plug(Fixture *fix, Device *device, uint32_t number)
{
    if (device->chan) {
        vmbus_bus_withdraw(fix->bus, device->chan);
        device->chan = NULL;
    } else {
        device_offer(device, fix->bus, number);
        device->echo = true;
    }
}

static void step(Fixture *fix, Device *devices, unsigned *taken)
{
    int what = g_test_rand_int_range(0, 1000);
    uint32_t i = g_test_rand_int_range(0, DEVICES);
    VmbusMsg msg;
    uint32_t len;

    if (what < 500) {
        len = make_message(&msg);
        *taken += vmbus_bus_post(fix->bus, ONE_OF(1, 1, 4), &msg, len) ==
                  VMBUS_POST_OK;
    } else if (what < 530) {
        open_sanely(fix, 1 + i);
    } else if (what < 750) {
        read_slots(fix->machine);
    } else if (what < 850) {
        scribble(fix->machine);
    } else if (what < 980) {
        vsc_machine_signal(fix->machine, 0x2001 + i);
    } else if (what < 996) {
        plug(fix, &devices[i], 100 + i);
    } else if (what < 999) {
        fix->machine->fail_map = !fix->machine->fail_map;
    } else {
        vsc_machine_reset(fix->machine);
    }
}

static void test_noise(Fixture *fix, gconstpointer data)
{
    Device devices[DEVICES] = {0};
    unsigned taken = 0;

    for (int i = 0; i < STEPS; i++) {
        step(fix, devices, &taken);
        fixture_check(fix);
    }
    /* Else the noise did not get anywhere. */
    g_assert_cmpuint(taken, >, STEPS / 20);
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CONNECTED], >, 10);
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CHANNEL_OPENED], >, 10);
    g_assert_cmpuint(fix->machine->events[VMBUS_EVENT_CORRUPT], >, 10);
    g_test_message("%u messages taken, %u channels opened, %u found corrupt",
                   taken, fix->machine->events[VMBUS_EVENT_CHANNEL_OPENED],
                   fix->machine->events[VMBUS_EVENT_CORRUPT]);
    vsc_machine_reset(fix->machine);
    fix->machine->fail_map = false;
    fixture_connect(fix);
    fixture_still_works(fix);
    for (int i = 0; i < DEVICES; i++) {
        g_assert_cmpuint(devices[i].opened, ==, devices[i].closed);
        if (devices[i].data) {
            device_free(&devices[i]);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/noise", test_noise);
    return g_test_run();
}
