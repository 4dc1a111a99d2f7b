/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every GPADL that the bus refuses. */
#include "bus/bus-internal.h"
#include "fixture.h"

static void header_refused(Fixture *fix, GpadlCase h, const char *sentence)
{
    unsigned before = fixture_info(fix).gpadl_count;
    VmbusMsg msg;

    fixture_refused(fix, &msg, gpadl_case_message(&msg, &h), sentence);
    fixture_created(fix, h.relid, h.id, 0x8000ffff);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, before);
}

#define BAD_HEADER(fix, sentence, ...)                                         \
    do {                                                                       \
        GpadlCase bad = gpadl_good;                                            \
        __VA_ARGS__;                                                           \
        header_refused(fix, bad, sentence);                                    \
    } while (0)

static void test_gpadl_header(Fixture *fix, gconstpointer data)
{
    fixture_connect(fix);
    BAD_HEADER(fix, "A GPADL is for a channel that the guest has not got.",
               bad.relid = 0);
    BAD_HEADER(fix, "A GPADL is for a channel that the guest has not got.",
               bad.relid = 2);
    BAD_HEADER(fix, "A GPADL is for a channel that the guest has not got.",
               bad.relid = 2048);
    BAD_HEADER(fix, "A GPADL is for a channel that the guest has not got.",
               bad.relid = 0xffffffff);
    BAD_HEADER(fix, "A GPADL's id is 0.", bad.id = 0);
    BAD_HEADER(fix, "The size of a GPADL's ranges is not a multiple of 8.",
               bad.buflen = 0);
    BAD_HEADER(fix, "The size of a GPADL's ranges is not a multiple of 8.",
               bad.buflen = 23);
    BAD_HEADER(fix, "The size of a GPADL's ranges is not a multiple of 8.",
               bad.buflen = 65535);
    BAD_HEADER(fix, "A GPADL has no ranges.", bad.rangecount = 0);
    BAD_HEADER(fix, "A GPADL has more ranges than its size can hold.",
               bad.rangecount = 2);
    BAD_HEADER(fix, "A GPADL has more ranges than its size can hold.",
               bad.rangecount = 65535);
    BAD_HEADER(fix, "A GPADL has more ranges than its size can hold.",
               bad.buflen = 8);
    fixture_still_works(fix);
}

static void test_gpadl_ranges(Fixture *fix, gconstpointer data)
{
    fixture_connect(fix);
    BAD_HEADER(fix, "A range of guest memory is empty.", bad.byte_count = 0);
    BAD_HEADER(fix, "A range of guest memory begins behind its first page.",
               bad.byte_offset = 4096);
    BAD_HEADER(fix, "A range of guest memory begins behind its first page.",
               bad.byte_offset = 0xffffffff);
    BAD_HEADER(fix, "A range of guest memory lists too few pages.",
               bad.byte_count = 0xfffff000);
    BAD_HEADER(fix, "A range of guest memory lists too few pages.",
               (bad.byte_count = 0xffffffff, bad.byte_offset = 4095));
    BAD_HEADER(fix, "A range of guest memory lists too few pages.",
               bad.byte_count = 2 * VMBUS_PAGE_SIZE + 1);
    BAD_HEADER(fix, "A range of guest memory lists too few pages.",
               bad.byte_offset = 1);
    BAD_HEADER(fix, "A page number of guest memory is out of range.",
               bad.pfn = 1ull << 52);
    BAD_HEADER(fix, "A page number of guest memory is out of range.",
               bad.pfn = UINT64_MAX);
    /* The second range is not there: 0 is no byte count. */
    BAD_HEADER(
        fix, "A range of guest memory is empty.",
        (bad.rangecount = 2, bad.buflen = 32, bad.pfns = 3, bad.pfn = 0));
    /* The first takes all that the second needs. */
    BAD_HEADER(fix, "A list of guest memory has fewer ranges than it claims.",
               (bad.rangecount = 2, bad.buflen = 32, bad.pfns = 3,
                bad.byte_count = 3 * VMBUS_PAGE_SIZE));
    fixture_still_works(fix);
}

static void test_gpadl_no_pages(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    fixture_connect(fix);
    gpadl_case_message(&msg, &gpadl_good);
    for (uint32_t len = 20; len < 28; len++) {
        fixture_refused(fix, &msg, len, "A message of a GPADL has no pages.");
        fixture_created(fix, 1, gpadl_good.id, 0x8000ffff);
    }
    fixture_still_works(fix);
}

static void test_gpadl_twice(Fixture *fix, gconstpointer data)
{
    GpadlCase part = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    fixture_post(fix, &msg, gpadl_case_message(&msg, &gpadl_good));
    fixture_created(fix, 1, gpadl_good.id, 0);
    BAD_HEADER(fix, "A GPADL's id is in use.", (void)bad);
    /* The same with one that is not complete; it survives. */
    part.id = 78;
    part.pfns = 1;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &part));
    fixture_silence(fix);
    BAD_HEADER(fix, "A GPADL's id is in use.", bad.id = 78);
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = 78;
    fixture_post(fix, &msg, sizeof(VmbusMsgGpadlBody) + 8);
    fixture_created(fix, 1, 78, 0);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, 77));
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, 78));
    fixture_still_works(fix);
}

static void test_gpadl_body(Fixture *fix, gconstpointer data)
{
    GpadlCase part = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = 77;
    fixture_refused(fix, &msg, sizeof(msg),
                    "More pages came for a GPADL that does not exist.");
    fixture_post(fix, &msg, gpadl_case_message(&msg, &gpadl_good));
    fixture_created(fix, 1, gpadl_good.id, 0);
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = 77;
    fixture_refused(fix, &msg, sizeof(msg),
                    "More pages came for a GPADL that is complete.");
    fixture_silence(fix);
    /* A body with nothing in it, or with bad pages, ends the GPADL. */
    for (int i = 0; i < 2; i++) {
        part.id = 80 + i;
        part.pfns = 1;
        fixture_post(fix, &msg, gpadl_case_message(&msg, &part));
        vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
        msg.gpadl_body.gpadl = part.id;
        memset(msg.bytes + sizeof(VmbusMsgGpadlBody), 0xff, 8);
        fixture_refused(fix, &msg, sizeof(VmbusMsgGpadlBody) + 7 + i,
                        i ? "A page number of guest memory is out of range."
                          : "A message of a GPADL has no pages.");
        fixture_created(fix, 1, part.id, 0x8000ffff);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
    }
    fixture_still_works(fix);
}

/* UEFI sends messages of full length, whatever it has to say. */
static void test_gpadl_excess(Fixture *fix, gconstpointer data)
{
    GpadlCase h = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    gpadl_case_message(&msg, &h);
    memset(msg.bytes + 20 + 24, 0xff, sizeof(msg) - 44);
    fixture_post(fix, &msg, sizeof(msg));
    fixture_created(fix, 1, h.id, 0);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, h.id));
    h.pfns = 1;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &h));
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = h.id;
    memset(msg.bytes + sizeof(VmbusMsgGpadlBody) + 8, 0xff, 200);
    fixture_post(fix, &msg, sizeof(msg));
    fixture_created(fix, 1, h.id, 0);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, h.id));
    fixture_still_works(fix);
}

static void test_gpadl_count(Fixture *fix, gconstpointer data)
{
    GpadlCase h = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    for (uint32_t i = 0; i < 4096; i++) {
        h.id = i + 1;
        vsc_post(fix->vsc, &msg, gpadl_case_message(&msg, &h));
        fixture_created(fix, 1, h.id, 0);
    }
    fixture_check(fix);
    BAD_HEADER(fix, "There are too many GPADLs.", bad.id = 5000);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, 9));
    fixture_still_works(fix);
}

static void test_gpadl_pages(Fixture *fix, gconstpointer data)
{
    GpadlCase h = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    /* Declared, not sent: that counts as well, and takes no memory. */
    h.buflen = 65528;
    h.byte_count = 8190 * VMBUS_PAGE_SIZE;
    for (uint32_t i = 0; i < 262144 / 8190; i++) {
        h.id = i + 1;
        fixture_post(fix, &msg, gpadl_case_message(&msg, &h));
        fixture_silence(fix);
    }
    /* 64 pages are left. */
    BAD_HEADER(fix, "The GPADLs have too many pages.",
               (bad.id = 5000, bad.buflen = 66 * 8));
    h = gpadl_good;
    h.id = 5001;
    h.buflen = 65 * 8;
    h.byte_count = 64 * VMBUS_PAGE_SIZE;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &h));
    fixture_silence(fix);
    BAD_HEADER(fix, "The GPADLs have too many pages.", bad.id = 5002);
    fixture_connect(fix);
    fixture_still_works(fix);
}

static void teardown_refused(Fixture *fix, uint32_t relid, uint32_t id,
                             const char *sentence)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_GPADL_TEARDOWN);
    msg.gpadl_teardown.relid = relid;
    msg.gpadl_teardown.gpadl = id;
    fixture_refused(fix, &msg, sizeof(msg.gpadl_teardown), sentence);
    fixture_silence(fix);
}

static void test_gpadl_teardown(Fixture *fix, gconstpointer data)
{
    GpadlCase part = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    teardown_refused(fix, 1, 77,
                     "The guest tore down a GPADL that does not exist.");
    fixture_post(fix, &msg, gpadl_case_message(&msg, &gpadl_good));
    fixture_created(fix, 1, gpadl_good.id, 0);
    teardown_refused(fix, 2, 77,
                     "The guest tore down a GPADL of another channel.");
    part.id = 78;
    part.pfns = 1;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &part));
    teardown_refused(fix, 1, 78,
                     "The guest tore down a GPADL that is not complete.");
    fixture_still_works(fix);
}

/* So many allocations succeed, then none. */
static unsigned allowed;

static void *failing_realloc(void *mem, size_t size)
{
    if (!allowed) {
        return NULL;
    }
    allowed--;
    return g_try_realloc(mem, size);
}

static void post_large(Fixture *fix)
{
    uint64_t gfns[1000] = {0};

    vsc_post_gpadl(fix->vsc, 1, 77, gfns, 1000);
}

/* No memory for the GPADL, for its first pages, for more of them. */
static void test_no_memory(Fixture *fix, gconstpointer data)
{
    static const char *const sentences[] = {
        "There is no memory for a GPADL.",
        "There is no memory for a GPADL's pages.",
        "There is no memory for a GPADL's pages.",
        "There is no memory for a GPADL's pages.",
    };
    VmbusMsg msg;

    fixture_connect(fix);
    fix->bus->gpadls.reallocate = failing_realloc;
    for (unsigned i = 0; i < G_N_ELEMENTS(sentences); i++) {
        GpadlCase large = gpadl_good;
        uint8_t body[VMBUS_MAX_MESSAGE] = {VMBUS_MSG_GPADL_BODY};
        unsigned bodies = 0;

        allowed = i;
        large.byte_count = 1000 * VMBUS_PAGE_SIZE;
        large.buflen = 8 + 8000;
        fix->machine->refused = NULL;
        fixture_post(fix, &msg, gpadl_case_message(&msg, &large));
        memcpy(body + 12, &large.id, 4);
        while (!fix->machine->refused) {
            fixture_post(fix, body, sizeof(body));
            g_assert_cmpuint(++bodies, <, 40);
        }
        g_assert_cmpstr(fix->machine->refused, ==, sentences[i]);
        fixture_created(fix, 1, large.id, 0x8000ffff);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 0);
        g_assert_cmpuint(fix->bus->gpadls.pages, ==, 0);
    }
    allowed = UINT_MAX;
    post_large(fix);
    fixture_created(fix, 1, 77, 0);
    fixture_still_works(fix);
}

/* Memory follows what came, not what was declared. */
static void test_memory_grows(Fixture *fix, gconstpointer data)
{
    GpadlCase large = gpadl_good;
    VmbusMsg msg;

    fixture_connect(fix);
    large.byte_count = 8190 * VMBUS_PAGE_SIZE;
    large.buflen = 65528;
    fixture_post(fix, &msg, gpadl_case_message(&msg, &large));
    g_assert_cmpuint(vmbus_gpadl_find(&fix->bus->gpadls, large.id)->room, <=,
                     32);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/gpadl/header", test_gpadl_header);
    FIXTURE_TEST("/gpadl/ranges", test_gpadl_ranges);
    FIXTURE_TEST("/gpadl/no-pages", test_gpadl_no_pages);
    FIXTURE_TEST("/gpadl/twice", test_gpadl_twice);
    FIXTURE_TEST("/gpadl/body", test_gpadl_body);
    FIXTURE_TEST("/gpadl/excess", test_gpadl_excess);
    FIXTURE_TEST("/gpadl/count", test_gpadl_count);
    FIXTURE_TEST("/gpadl/pages", test_gpadl_pages);
    FIXTURE_TEST("/gpadl/teardown", test_gpadl_teardown);
    FIXTURE_TEST("/gpadl/no-memory", test_no_memory);
    FIXTURE_TEST("/gpadl/memory-grows", test_memory_grows);
    return g_test_run();
}
