/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory in the hands of a device. */
#include "bus/bus-internal.h"
#include "bus/gpadl-map.h"
#include "fixture.h"

#define ID 0x99

static VmbusGpadlMap *map_ok(Fixture *fix, uint32_t id)
{
    const char *why = "unset";
    VmbusGpadlMap *map = vmbus_channel_map_gpadl(fix->device.chan, id, &why);

    g_assert_cmpstr(why, ==, NULL);
    g_assert_nonnull(map);
    fixture_check(fix);
    return map;
}

static void map_refused(Fixture *fix, uint32_t id, const char *sentence)
{
    unsigned mapped = fix->machine->mapped;
    const char *why = NULL;

    g_assert_null(vmbus_channel_map_gpadl(fix->device.chan, id, &why));
    g_assert_cmpstr(why, ==, sentence);
    g_assert_cmpuint(fix->machine->mapped, ==, mapped);
    fixture_check(fix);
}

static void unmap(Fixture *fix, VmbusGpadlMap *map)
{
    vmbus_gpadl_unmap(map);
    fixture_check(fix);
}

static void post_teardown(Fixture *fix, uint32_t id)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = 1;
    msg.gpadl_teardown.gpadl = id;
    fixture_post(fix, &msg, sizeof(msg.gpadl_teardown));
}

static void expect_torndown(Fixture *fix, uint32_t id)
{
    VmbusMsg msg;

    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_TORNDOWN, &msg, 12));
    g_assert_cmpuint(msg.gpadl_torndown.gpadl, ==, id);
}

/* Three ranges: an odd one over two pages, a whole page, a few bytes. */
static void create_ranges(Fixture *fix)
{
    static const uint64_t words[] = {
        (uint64_t)4000 << 32 | 200,
        50,
        40, /* offset 4000, 200 bytes */
        4096,
        60, /* one page */
        (uint64_t)8 << 32 | 5,
        61, /* offset 8, 5 bytes */
    };
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_GPADL_HEADER);
    msg.gpadl_header.relid = 1;
    msg.gpadl_header.gpadl = ID;
    msg.gpadl_header.rangecount = 3;
    msg.gpadl_header.range_buflen = sizeof(words);
    memcpy(msg.bytes + sizeof(msg.gpadl_header), words, sizeof(words));
    fixture_post(fix, &msg, sizeof(msg.gpadl_header) + sizeof(words));
    fixture_created(fix, 1, ID, 0);
}

static void test_ranges(Fixture *fix, gconstpointer data)
{
    uint8_t buf[256], *page50, *page40;
    VmbusGpadlMap *map;

    fixture_connect(fix);
    create_ranges(fix);
    map = map_ok(fix, ID);
    g_assert_cmpuint(vmbus_gpadl_map_id(map), ==, ID);
    g_assert_cmpuint(vmbus_gpadl_map_ranges(map), ==, 3);
    g_assert_cmpuint(vmbus_gpadl_map_size(map, 0), ==, 200);
    g_assert_cmpuint(vmbus_gpadl_map_size(map, 1), ==, 4096);
    g_assert_cmpuint(vmbus_gpadl_map_size(map, 2), ==, 5);
    g_assert_cmpuint(vmbus_gpadl_map_size(map, 3), ==, 0);

    page50 = vsc_machine_page(fix->machine, 50);
    page40 = vsc_machine_page(fix->machine, 40);
    for (unsigned i = 0; i < 200; i++) {
        buf[i] = i + 1;
    }
    g_assert_true(vmbus_gpadl_map_write(map, 0, 0, buf, 200));
    g_assert_cmpmem(page50 + 4000, 96, buf, 96);
    g_assert_cmpmem(page40, 104, buf + 96, 104);
    g_assert_cmpuint(page50[3999], ==, 0);
    g_assert_cmpuint(page40[104], ==, 0);
    /* All that was written is marked dirty, and nothing else. */
    g_assert_cmpuint(fix->machine->dirty[page50 + 3999 - fix->machine->ram], ==,
                     0);
    for (unsigned i = 0; i < 96; i++) {
        g_assert_cmpuint(
            fix->machine->dirty[page50 + 4000 + i - fix->machine->ram], ==, 1);
    }
    g_assert_cmpuint(fix->machine->dirty[page40 + 103 - fix->machine->ram], ==,
                     1);
    g_assert_cmpuint(fix->machine->dirty[page40 + 104 - fix->machine->ram], ==,
                     0);

    memset(buf, 0, sizeof(buf));
    g_assert_true(vmbus_gpadl_map_read(map, 0, 90, buf, 20));
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpuint(buf[i], ==, 91 + i);
    }
    unmap(fix, map);
    post_teardown(fix, ID);
    expect_torndown(fix, ID);
}

static void test_bounds(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint32_t range, offset, len;
        bool ok;
    } cases[] = {
        {0, 0, 200, true},         {0, 200, 0, true},
        {0, 0, 201, false},        {0, 200, 1, false},
        {0, 201, 0, false},        {0, 0xffffffff, 2, false},
        {0, 2, 0xffffffff, false}, {1, 4095, 1, true},
        {1, 4095, 2, false},       {2, 0, 5, true},
        {2, 0, 6, false},          {3, 0, 0, false},
        {0xffffffff, 0, 1, false},
    };
    g_autofree uint8_t *buf = g_malloc0(4096);
    VmbusGpadlMap *map;

    fixture_connect(fix);
    create_ranges(fix);
    map = map_ok(fix, ID);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(vmbus_gpadl_map_read(map, cases[i].range, cases[i].offset,
                                           buf, cases[i].len) == cases[i].ok);
        g_assert_true(vmbus_gpadl_map_write(map, cases[i].range,
                                            cases[i].offset, buf,
                                            cases[i].len) == cases[i].ok);
    }
    unmap(fix, map);
}

/* The guest's teardown is answered when the last user has done. */
static void test_teardown(Fixture *fix, gconstpointer data)
{
    VmbusGpadlMap *first, *second;
    VmbusMsg msg;

    fixture_connect(fix);
    create_ranges(fix);
    first = map_ok(fix, ID);
    second = map_ok(fix, ID);
    post_teardown(fix, ID);
    g_assert_null(fix->machine->refused);
    fixture_silence(fix);
    map_refused(fix, ID, "The GPADL for a device is being torn down.");
    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = 1;
    msg.gpadl_teardown.gpadl = ID;
    fixture_refused(fix, &msg, sizeof(msg.gpadl_teardown),
                    "The guest tore down a GPADL twice.");
    unmap(fix, first);
    fixture_silence(fix);
    unmap(fix, second);
    expect_torndown(fix, ID);
    fixture_silence(fix);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
    fixture_still_works(fix);
}

/* Several wait, and all get their answers, in order. */
static void test_many_teardowns(Fixture *fix, gconstpointer data)
{
    VmbusGpadlMap *maps[5];
    uint32_t ids[5];

    fixture_connect(fix);
    for (unsigned i = 0; i < G_N_ELEMENTS(maps); i++) {
        ids[i] = vsc_create_gpadl(fix->vsc, 1, 20 + i, 3);
        maps[i] = map_ok(fix, ids[i]);
        post_teardown(fix, ids[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(maps); i++) {
        unmap(fix, maps[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(maps); i++) {
        expect_torndown(fix, ids[i]);
        fixture_check(fix);
    }
    fixture_silence(fix);
}

/* Rings and a map in one GPADL: both must be done with it. */
static void test_rings_too(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusGpadlMap *map = map_ok(fix, chan->gpadl);
    VmbusMsg msg;

    post_teardown(fix, chan->gpadl);
    vsc_head(&msg, VMBUS_MSG_CLOSECHANNEL);
    msg.relid.relid = 1;
    fixture_post(fix, &msg, sizeof(msg.relid));
    fixture_silence(fix);
    /* Not for new rings, however. */
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 1;
    msg.open.gpadl = chan->gpadl;
    msg.open.downstream_offset = 2;
    fixture_open_refused(fix, &msg.open,
                         "The GPADL of the rings is being torn down.");
    unmap(fix, map);
    expect_torndown(fix, chan->gpadl);
    vsc_abandon(chan);
    fixture_still_works(fix);
}

/* The connection ends, the device has not done: no answer, and no leak. */
static void test_outlives(Fixture *fix, gconstpointer data)
{
    for (int how = 0; how < 4; how++) {
        VmbusGpadlMap *map;
        uint8_t byte = 7;
        VmbusMsg msg;

        fixture_connect(fix);
        create_ranges(fix);
        map = map_ok(fix, ID);
        if (how & 1) {
            post_teardown(fix, ID);
        }
        if (how < 2) {
            vsc_machine_reset(fix->machine);
        } else {
            vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
            msg.relid.relid = 1;
            fixture_post(fix, &msg, sizeof(msg.relid));
        }
        fixture_check(fix);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
        g_assert_cmpuint(fix->machine->mapped, ==, 1);
        /* A new guest takes the same id. */
        fixture_connect(fix);
        create_ranges(fix);
        g_assert_true(vmbus_gpadl_map_write(map, 1, 0, &byte, 1));
        g_assert_cmpuint(vmbus_gpadl_map_id(map), ==, ID);
        unmap(fix, map);
        g_assert_cmpuint(fix->machine->mapped, ==, 0);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
        fixture_silence(fix);
    }
    fixture_still_works(fix);
}

static unsigned left;

/* Fails when @left allocations were made. */
static void *few(void *mem, size_t size)
{
    return left-- ? g_try_realloc(mem, size) : NULL;
}

static void test_refused(Fixture *fix, gconstpointer data)
{
    Device other = {0};
    GpadlCase part = gpadl_good;
    VmbusReallocFn *real = fix->bus->gpadls.reallocate;
    uint32_t id;
    VmbusMsg msg;

    device_offer(&other, fix->bus, 2);
    fixture_connect(fix);
    map_refused(fix, 0, "The GPADL for a device does not exist.");
    map_refused(fix, 0xffffffff, "The GPADL for a device does not exist.");
    id = vsc_create_gpadl(fix->vsc, 2, 5, 1);
    map_refused(fix, id, "The GPADL for a device belongs to another channel.");
    part.pfns = 1;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &part));
    map_refused(fix, part.id, "The GPADL for a device is not complete.");
    id = vsc_create_gpadl(fix->vsc, 1, 1023, 2);
    map_refused(fix, id,
                "The GPADL for a device is not in the guest's memory.");
    create_ranges(fix);
    fix->bus->gpadls.reallocate = few;
    for (unsigned i = 0; i < 2; i++) {
        left = i;
        map_refused(fix, ID, "There is no memory to map a GPADL.");
    }
    left = 2;
    unmap(fix, map_ok(fix, ID));
    fix->bus->gpadls.reallocate = real;
    device_free(&other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/gpadl-map/ranges", test_ranges);
    g_test_add("/gpadl-map/ranges/scattered", Fixture, GINT_TO_POINTER(TRUE),
               fixture_set_up, test_ranges, fixture_tear_down);
    FIXTURE_TEST("/gpadl-map/bounds", test_bounds);
    FIXTURE_TEST("/gpadl-map/teardown", test_teardown);
    FIXTURE_TEST("/gpadl-map/many-teardowns", test_many_teardowns);
    FIXTURE_TEST("/gpadl-map/rings-too", test_rings_too);
    FIXTURE_TEST("/gpadl-map/outlives", test_outlives);
    FIXTURE_TEST("/gpadl-map/refused", test_refused);
    return g_test_run();
}
