/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every message that the bus refuses, and that it works on afterwards. */
#include "fixture.h"

static void test_short(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint32_t type, len;
    } least[] = {
        {VMBUS_MSG_OPENCHANNEL, 148},     {VMBUS_MSG_CLOSECHANNEL, 12},
        {VMBUS_MSG_GPADL_HEADER, 20},     {VMBUS_MSG_GPADL_BODY, 16},
        {VMBUS_MSG_GPADL_TEARDOWN, 16},   {VMBUS_MSG_RELID_RELEASED, 12},
        {VMBUS_MSG_INITIATE_CONTACT, 40}, {VMBUS_MSG_TL_CONNECT_REQUEST, 40},
        {VMBUS_MSG_MODIFYCHANNEL, 16},
    };
    VmbusMsg msg;

    fixture_connect(fix);
    for (uint32_t len = 0; len < 8; len++) {
        vsc_head(&msg, VMBUS_MSG_UNLOAD);
        fixture_refused(fix, &msg, len, "The guest sent less than a message.");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(least); i++) {
        for (uint32_t len = 8; len < least[i].len; len++) {
            vsc_head(&msg, least[i].type);
            fixture_refused(
                fix, &msg, len,
                "The guest sent a message that is too short for its type.");
        }
    }
    fixture_still_works(fix);
}

static void test_unknown_type(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {0, 30, 0x80000005, 0xffffffff};
    VmbusMsg msg;

    for (int connected = 0; connected < 2; connected++) {
        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
            vsc_head(&msg, types[i]);
            fixture_refused(fix, &msg, sizeof(msg),
                            "The guest sent a message of an unknown type.");
        }
        fixture_connect(fix);
    }
    fixture_still_works(fix);
}

static void test_from_host(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {1,  2,  4,  6,  10, 12, 15,
                                     17, 20, 23, 24, 26, 28};
    VmbusMsg msg;

    for (int connected = 0; connected < 2; connected++) {
        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
            vsc_head(&msg, types[i]);
            fixture_refused(fix, &msg, sizeof(msg),
                            "The guest sent a message that only hosts do.");
            fixture_refused(fix, &msg, sizeof(msg.header),
                            "The guest sent a message that only hosts do.");
        }
        fixture_connect(fix);
    }
    fixture_still_works(fix);
}

static void test_too_early(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {3, 5, 7, 8, 9, 11, 13, 16, 18, 21, 22};
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        vsc_head(&msg, types[i]);
        fixture_refused(fix, &msg, sizeof(msg),
                        "The guest sent a message before it was connected.");
    }
    fixture_silence(fix);
    fixture_connect(fix);
    fixture_still_works(fix);
}

static void test_later_version(Fixture *fix, gconstpointer data)
{
    static const struct {
        uint32_t version, type;
    } cases[] = {
        {VMBUS_VERSION_3_0, VMBUS_MSG_OPEN_RESERVED},
        {VMBUS_VERSION_3_0, VMBUS_MSG_TL_CONNECT_REQUEST},
        {VMBUS_VERSION_4_0, VMBUS_MSG_MODIFYCHANNEL},
        {VMBUS_VERSION_5_3, VMBUS_MSG_MODIFY_CONNECTION},
        {VMBUS_VERSION_5_3, VMBUS_MSG_PAUSE},
        {VMBUS_VERSION_5_3, VMBUS_MSG_RESUME},
    };
    VmbusMsg msg;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(vsc_connect(fix->vsc, cases[i].version));
        g_assert_true(vsc_request_offers(fix->vsc));
        vsc_head(&msg, cases[i].type);
        fixture_refused(fix, &msg, sizeof(msg),
                        "The guest sent a message of a later version.");
        fixture_still_works(fix);
    }
}

static void test_reserved_channels(Fixture *fix, gconstpointer data)
{
    static const uint32_t types[] = {VMBUS_MSG_OPEN_RESERVED,
                                     VMBUS_MSG_CLOSE_RESERVED};
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_CLOSE_RESERVED); /* needs no connection */
    fixture_refused(fix, &msg, sizeof(msg),
                    "The bus has no reserved channels.");
    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        vsc_head(&msg, types[i]);
        fixture_refused(fix, &msg, sizeof(msg),
                        "The bus has no reserved channels.");
    }
    fixture_still_works(fix);
}

static void test_tl_connect(Fixture *fix, gconstpointer data)
{
    static const char sentence[] =
        "No service of the host listens for the guest's socket.";
    VmbusMsg msg, reply;

    vsc_head(&msg, VMBUS_MSG_TL_CONNECT_REQUEST);
    memset(&msg.tl_connect_request.endpoint_id, 0x11, 16);
    memset(&msg.tl_connect_request.service_id, 0x22, 16);
    fixture_connect(fix);
    fixture_refused(fix, &msg, sizeof(msg.tl_connect_request), sentence);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_TL_CONNECT_RESULT, &reply,
                             sizeof(reply.tl_connect_result)));
    g_assert_cmphex(reply.tl_connect_result.status, ==, 0xc0000236);
    g_assert_cmpmem(&reply.tl_connect_result.endpoint_id, 32,
                    &msg.tl_connect_request.endpoint_id, 32);
    fixture_still_works(fix);
    /* 4.0 has the request, and no result. */
    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_4_0));
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_refused(fix, &msg, sizeof(msg.tl_connect_request), sentence);
    fixture_still_works(fix);
}

typedef struct Header {
    uint32_t relid, id;
    uint16_t rangecount, buflen;
    uint32_t byte_count, byte_offset;
    uint32_t pfns; /* in this message */
    uint64_t pfn;  /* each of them */
} Header;

static const Header good = {.relid = 1,
                            .id = 77,
                            .rangecount = 1,
                            .buflen = 24,
                            .byte_count = 2 * VMBUS_PAGE_SIZE,
                            .pfns = 2,
                            .pfn = 5};

static uint32_t make_header(VmbusMsg *msg, const Header *h)
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

static void expect_created(Fixture *fix, uint32_t relid, uint32_t id,
                           uint32_t status)
{
    VmbusMsg msg;

    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_GPADL_CREATED, &msg,
                             sizeof(msg.gpadl_created)));
    g_assert_cmpuint(msg.gpadl_created.relid, ==, relid);
    g_assert_cmpuint(msg.gpadl_created.gpadl, ==, id);
    g_assert_cmphex(msg.gpadl_created.status, ==, status);
    fixture_silence(fix);
}

static void header_refused(Fixture *fix, Header h, const char *sentence)
{
    unsigned before = fixture_info(fix).gpadl_count;
    VmbusMsg msg;

    fixture_refused(fix, &msg, make_header(&msg, &h), sentence);
    expect_created(fix, h.relid, h.id, 0x8000ffff);
    g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, before);
}

#define BAD_HEADER(fix, sentence, ...)                                         \
    do {                                                                       \
        Header bad = good;                                                     \
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
    make_header(&msg, &good);
    for (uint32_t len = 20; len < 28; len++) {
        fixture_refused(fix, &msg, len, "A message of a GPADL has no pages.");
        expect_created(fix, 1, good.id, 0x8000ffff);
    }
    fixture_still_works(fix);
}

static void test_gpadl_twice(Fixture *fix, gconstpointer data)
{
    Header part = good;
    VmbusMsg msg;

    fixture_connect(fix);
    fixture_post(fix, &msg, make_header(&msg, &good));
    expect_created(fix, 1, good.id, 0);
    BAD_HEADER(fix, "A GPADL's id is in use.", (void)bad);
    /* The same with one that is not complete; it survives. */
    part.id = 78;
    part.pfns = 1;
    fixture_post(fix, &msg, make_header(&msg, &part));
    fixture_silence(fix);
    BAD_HEADER(fix, "A GPADL's id is in use.", bad.id = 78);
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = 78;
    fixture_post(fix, &msg, sizeof(VmbusMsgGpadlBody) + 8);
    expect_created(fix, 1, 78, 0);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, 77));
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, 78));
    fixture_still_works(fix);
}

static void test_gpadl_body(Fixture *fix, gconstpointer data)
{
    Header part = good;
    VmbusMsg msg;

    fixture_connect(fix);
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = 77;
    fixture_refused(fix, &msg, sizeof(msg),
                    "More pages came for a GPADL that does not exist.");
    fixture_post(fix, &msg, make_header(&msg, &good));
    expect_created(fix, 1, good.id, 0);
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = 77;
    fixture_refused(fix, &msg, sizeof(msg),
                    "More pages came for a GPADL that is complete.");
    fixture_silence(fix);
    /* A body with nothing in it, or with bad pages, ends the GPADL. */
    for (int i = 0; i < 2; i++) {
        part.id = 80 + i;
        part.pfns = 1;
        fixture_post(fix, &msg, make_header(&msg, &part));
        vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
        msg.gpadl_body.gpadl = part.id;
        memset(msg.bytes + sizeof(VmbusMsgGpadlBody), 0xff, 8);
        fixture_refused(fix, &msg, sizeof(VmbusMsgGpadlBody) + 7 + i,
                        i ? "A page number of guest memory is out of range."
                          : "A message of a GPADL has no pages.");
        expect_created(fix, 1, part.id, 0x8000ffff);
        g_assert_cmpuint(fixture_info(fix).gpadl_count, ==, 1);
    }
    fixture_still_works(fix);
}

/* UEFI sends messages of full length, whatever it has to say. */
static void test_gpadl_excess(Fixture *fix, gconstpointer data)
{
    Header h = good;
    VmbusMsg msg;

    fixture_connect(fix);
    make_header(&msg, &h);
    memset(msg.bytes + 20 + 24, 0xff, sizeof(msg) - 44);
    fixture_post(fix, &msg, sizeof(msg));
    expect_created(fix, 1, h.id, 0);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, h.id));
    h.pfns = 1;
    fixture_post(fix, &msg, make_header(&msg, &h));
    vsc_head(&msg, VMBUS_MSG_GPADL_BODY);
    msg.gpadl_body.gpadl = h.id;
    memset(msg.bytes + sizeof(VmbusMsgGpadlBody) + 8, 0xff, 200);
    fixture_post(fix, &msg, sizeof(msg));
    expect_created(fix, 1, h.id, 0);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, h.id));
    fixture_still_works(fix);
}

static void test_gpadl_count(Fixture *fix, gconstpointer data)
{
    Header h = good;
    VmbusMsg msg;

    fixture_connect(fix);
    for (uint32_t i = 0; i < 4096; i++) {
        h.id = i + 1;
        vsc_post(fix->vsc, &msg, make_header(&msg, &h));
        expect_created(fix, 1, h.id, 0);
    }
    fixture_check(fix);
    BAD_HEADER(fix, "There are too many GPADLs.", bad.id = 5000);
    g_assert_true(vsc_teardown_gpadl(fix->vsc, 1, 9));
    fixture_still_works(fix);
}

static void test_gpadl_pages(Fixture *fix, gconstpointer data)
{
    Header h = good;
    VmbusMsg msg;

    fixture_connect(fix);
    /* Declared, not sent: that counts as well, and takes no memory. */
    h.buflen = 65528;
    h.byte_count = 8190 * VMBUS_PAGE_SIZE;
    for (uint32_t i = 0; i < 262144 / 8190; i++) {
        h.id = i + 1;
        fixture_post(fix, &msg, make_header(&msg, &h));
        fixture_silence(fix);
    }
    /* 64 pages are left. */
    BAD_HEADER(fix, "The GPADLs have too many pages.",
               (bad.id = 5000, bad.buflen = 66 * 8));
    h = good;
    h.id = 5001;
    h.buflen = 65 * 8;
    h.byte_count = 64 * VMBUS_PAGE_SIZE;
    fixture_post(fix, &msg, make_header(&msg, &h));
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
    Header part = good;
    VmbusMsg msg;

    fixture_connect(fix);
    teardown_refused(fix, 1, 77,
                     "The guest tore down a GPADL that does not exist.");
    fixture_post(fix, &msg, make_header(&msg, &good));
    expect_created(fix, 1, good.id, 0);
    teardown_refused(fix, 2, 77,
                     "The guest tore down a GPADL of another channel.");
    part.id = 78;
    part.pfns = 1;
    fixture_post(fix, &msg, make_header(&msg, &part));
    teardown_refused(fix, 1, 78,
                     "The guest tore down a GPADL that is not complete.");
    fixture_still_works(fix);
}

static void open_refused(Fixture *fix, const VmbusMsgOpen *open,
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

/* A message that would open the channel, and its GPADL of 6 pages. */
static VmbusMsgOpen make_open(Fixture *fix)
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

static void test_open_unknown(Fixture *fix, gconstpointer data)
{
    static const uint32_t relids[] = {0, 2, 2047, 2048, 0xffffffff};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = make_open(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(relids); i++) {
        open.relid = relids[i];
        open_refused(fix, &open,
                     "The guest opened a channel that it has not got.");
    }
    fixture_still_works(fix);
}

/* Known to us, and not offered in this connection. */
static void test_open_unoffered(Fixture *fix, gconstpointer data)
{
    VmbusMsg msg;

    g_assert_true(vsc_connect(fix->vsc, VMBUS_VERSION_5_3));
    vsc_head(&msg, VMBUS_MSG_OPENCHANNEL);
    msg.open.relid = 1;
    open_refused(fix, &msg.open,
                 "The guest opened a channel that it has not got.");
    g_assert_true(vsc_request_offers(fix->vsc));
    fixture_still_works(fix);
}

static void test_open_offset(Fixture *fix, gconstpointer data)
{
    static const uint32_t offsets[] = {0, 1,          5,          6,
                                       7, 0x7fffffff, 0xfffffffe, 0xffffffff};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = make_open(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        open.downstream_offset = offsets[i];
        open_refused(fix, &open,
                     "The offset of the ring to the guest is out of range.");
    }
    /* Too small for two rings, at any offset. */
    open.gpadl = vsc_create_gpadl(fix->vsc, 1, 20, 3);
    for (uint32_t i = 0; i < 5; i++) {
        open.downstream_offset = i;
        open_refused(fix, &open,
                     "The offset of the ring to the guest is out of range.");
    }
    fixture_still_works(fix);
}

static void test_open_target_vp(Fixture *fix, gconstpointer data)
{
    static const uint32_t vps[] = {VSC_MAX_VPS, 0x80000000, 0xfffffffe};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = make_open(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(vps); i++) {
        open.target_vp = vps[i];
        open_refused(fix, &open,
                     "The virtual processor for a channel does not exist.");
    }
    fixture_still_works(fix);
}

static void test_open_gpadl(Fixture *fix, gconstpointer data)
{
    Header h = good;
    Device other = {0};
    VmbusMsgOpen open;
    VmbusMsg msg;

    device_offer(&other, fix->bus, 2);
    fixture_connect(fix);
    open = make_open(fix);
    open.gpadl++;
    open_refused(fix, &open, "The GPADL of the rings does not exist.");
    open.gpadl = 0;
    open_refused(fix, &open, "The GPADL of the rings does not exist.");
    open.gpadl = vsc_create_gpadl(fix->vsc, 2, 10, 6);
    open_refused(fix, &open,
                 "The GPADL of the rings belongs to another channel.");

    h.pfns = 1;
    fixture_post(fix, &msg, make_header(&msg, &h));
    open.gpadl = h.id;
    open_refused(fix, &open, "The GPADL of the rings is not complete.");

    h = good; /* two ranges: one page each */
    h.id = 78;
    h.rangecount = 2;
    h.buflen = 32;
    h.byte_count = 8;
    h.pfns = 3;
    h.pfn = 8;
    fixture_post(fix, &msg, make_header(&msg, &h));
    expect_created(fix, 1, h.id, 0);
    open.gpadl = h.id;
    open_refused(fix, &open, "The GPADL of the rings has more than one range.");

    h = good;
    for (int i = 0; i < 2; i++) {
        h.id = 79 + i;
        h.byte_offset = i ? 8 : 0;
        h.byte_count = VMBUS_PAGE_SIZE + (i ? 0 : 8);
        fixture_post(fix, &msg, make_header(&msg, &h));
        expect_created(fix, 1, h.id, 0);
        open.gpadl = h.id;
        open_refused(fix, &open,
                     "The GPADL of the rings is not one of whole pages.");
    }
    fixture_still_works(fix);
    device_free(&other);
}

static void test_open_twice(Fixture *fix, gconstpointer data)
{
    VscChannel *chan = fixture_open(fix, 2);
    VmbusMsgOpen open = make_open(fix);
    VmbusMsg msg;

    open_refused(fix, &open,
                 "The guest opened a channel that it has not closed.");
    /* Not even if the host has closed it. */
    chan->out.control->write_index = 4;
    vsc_machine_signal(fix->machine, chan->connection_id);
    g_assert_cmpint(fixture_channel(fix).state, ==, VMBUS_CHANNEL_CORRUPT);
    open_refused(fix, &open,
                 "The guest opened a channel that it has not closed.");
    vsc_head(&msg, VMBUS_MSG_RELID_RELEASED);
    msg.relid.relid = 1;
    fixture_refused(fix, &msg, sizeof(msg.relid),
                    "The guest released a channel that it has not closed.");
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_open_indexes(Fixture *fix, gconstpointer data)
{
    static const char *const sentences[] = {
        "The write index of the ring to the host is out of range.",
        "The read index of the ring to the host is out of range.",
        "The write index of the ring to the guest is out of range.",
        "The read index of the ring to the guest is out of range.",
    };
    static const uint32_t bad[] = {4, 2 * VMBUS_PAGE_SIZE, 0xfffffff8};
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = make_open(fix);
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t *page = vsc_machine_page(fix->machine, 10 + i / 2 * 3);
        uint32_t *index = (uint32_t *)page + i % 2;

        for (size_t j = 0; j < G_N_ELEMENTS(bad); j++) {
            *index = bad[j];
            open_refused(fix, &open, sentences[i]);
            *index = 0;
        }
    }
    fixture_still_works(fix);
}

static void test_open_machine(Fixture *fix, gconstpointer data)
{
    VmbusMsgOpen open;

    fixture_connect(fix);
    open = make_open(fix);
    fix->machine->fail_map = true;
    open_refused(fix, &open, "The rings are not in the guest's memory.");
    fix->machine->fail_map = false;
    fix->machine->fail_prepare = true;
    open_refused(fix, &open,
                 "The machine cannot signal the channel's processor.");
    fix->machine->fail_prepare = false;
    fix->machine->fail_listen = true;
    open_refused(fix, &open,
                 "The machine cannot listen for the channel's signals.");
    fix->machine->fail_listen = false;
    fix->device.refuse = true;
    open_refused(fix, &open, "The device refused to open the channel.");
    fix->device.refuse = false;
    /* Pages that are no RAM. */
    open.gpadl = vsc_create_gpadl(fix->vsc, 1, 1020, 6);
    open_refused(fix, &open, "The rings are not in the guest's memory.");
    g_assert_cmpuint(fix->machine->mapped, ==, 0);
    g_assert_cmpuint(fix->machine->routes, ==, 0);
    fixture_still_works(fix);
}

static void receive_in_open(Device *device)
{
    VmbusPacket pkt;

    device->result = vmbus_channel_receive(device->chan, &pkt);
    device->hook = NULL;
}

/* The device finds the ring corrupt in its open(). */
static void test_open_corrupt(Fixture *fix, gconstpointer data)
{
    VmbusMsgOpen open;
    uint32_t *index;

    fixture_connect(fix);
    open = make_open(fix);
    index = (uint32_t *)vsc_machine_page(fix->machine, 10);
    *index = 8; /* a packet cannot be that small */
    fix->device.hook = receive_in_open;
    open_refused(fix, &open,
                 "The rings were corrupt when the channel was opened.");
    g_assert_cmpint(fix->device.result, ==, VMBUS_RING_CORRUPT);
    g_assert_cmpuint(fix->device.opened, ==, 1);
    g_assert_cmpuint(fix->device.closed, ==, 1);
    *index = 0;
    fixture_still_works(fix);
}

static void relid_refused(Fixture *fix, uint32_t type, uint32_t relid,
                          const char *sentence)
{
    VmbusMsg msg;

    vsc_head(&msg, type);
    msg.relid.relid = relid;
    fixture_refused(fix, &msg, sizeof(msg.relid), sentence);
    fixture_silence(fix);
}

static void test_close(Fixture *fix, gconstpointer data)
{
    static const uint32_t relids[] = {0, 2, 2048, 0xffffffff};

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(relids); i++) {
        relid_refused(fix, VMBUS_MSG_CLOSECHANNEL, relids[i],
                      "The guest closed a channel that it has not got.");
    }
    relid_refused(fix, VMBUS_MSG_CLOSECHANNEL, 1,
                  "The guest closed a channel that is not open.");
    fixture_still_works(fix);
}

static void test_release(Fixture *fix, gconstpointer data)
{
    static const uint32_t relids[] = {0, 2, 2048, 0xffffffff};
    VscChannel *chan;

    fixture_connect(fix);
    for (size_t i = 0; i < G_N_ELEMENTS(relids); i++) {
        relid_refused(fix, VMBUS_MSG_RELID_RELEASED, relids[i],
                      "The guest released a channel that it has not got.");
    }
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 0);
    relid_refused(fix, VMBUS_MSG_RELID_RELEASED, 1,
                  "The guest released a channel that it has not closed.");
    vsc_close(chan);
    fixture_still_works(fix);
}

static void modify_refused(Fixture *fix, uint32_t relid, uint32_t vp,
                           const char *sentence)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_MODIFYCHANNEL);
    msg.modify_channel.relid = relid;
    msg.modify_channel.target_vp = vp;
    fixture_refused(fix, &msg, sizeof(msg.modify_channel), sentence);
    g_assert_true(vsc_expect(fix->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg,
                             sizeof(msg.modify_channel_response)));
    g_assert_cmpuint(msg.modify_channel_response.relid, ==, relid);
    g_assert_cmphex(msg.modify_channel_response.status, ==, 0x8000ffff);
    fixture_silence(fix);
}

static void test_modify(Fixture *fix, gconstpointer data)
{
    static const uint32_t vps[] = {VSC_MAX_VPS, 0x80000000, 0xffffffff};
    VscChannel *chan;

    fixture_connect(fix);
    modify_refused(fix, 9, 0,
                   "The guest modified a channel that it has not got.");
    modify_refused(fix, 0xffffffff, 0,
                   "The guest modified a channel that it has not got.");
    modify_refused(fix, 1, 0, "The guest modified a channel that is not open.");
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, VMBUS_VP_NONE);
    modify_refused(fix, 1, 0,
                   "The guest modified a channel that has interrupts off.");
    vsc_close(chan);
    chan = vsc_open(fix->vsc, fixture_offer(fix), 2, 2, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(vps); i++) {
        modify_refused(fix, 1, vps[i],
                       "The virtual processor for a channel does not exist.");
    }
    fix->machine->fail_prepare = true;
    modify_refused(fix, 1, 0,
                   "The machine cannot signal the channel's processor.");
    fix->machine->fail_prepare = false;
    g_assert_cmpuint(fixture_channel(fix).target_vp, ==, 1);
    g_assert_cmpuint(fix->machine->routes, ==, 1);
    vsc_close(chan);
    fixture_still_works(fix);
}

static void test_rescinded(Fixture *fix, gconstpointer data)
{
    VmbusMsgOpen open;
    Device other = {0};
    VmbusMsg msg;

    device_offer(&other, fix->bus, 2);
    fixture_connect(fix);
    vmbus_bus_withdraw(fix->bus, other.chan);
    g_assert_true(
        vsc_expect(fix->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg, 12));
    open = make_open(fix);
    open.relid = 2;
    open_refused(fix, &open, "The guest opened a channel that was withdrawn.");
    modify_refused(fix, 2, 0,
                   "The guest modified a channel that was withdrawn.");
    fixture_still_works(fix);
    device_free(&other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    FIXTURE_TEST("/refusals/short", test_short);
    FIXTURE_TEST("/refusals/unknown-type", test_unknown_type);
    FIXTURE_TEST("/refusals/from-host", test_from_host);
    FIXTURE_TEST("/refusals/too-early", test_too_early);
    FIXTURE_TEST("/refusals/later-version", test_later_version);
    FIXTURE_TEST("/refusals/reserved-channels", test_reserved_channels);
    FIXTURE_TEST("/refusals/tl-connect", test_tl_connect);
    FIXTURE_TEST("/refusals/gpadl/header", test_gpadl_header);
    FIXTURE_TEST("/refusals/gpadl/ranges", test_gpadl_ranges);
    FIXTURE_TEST("/refusals/gpadl/no-pages", test_gpadl_no_pages);
    FIXTURE_TEST("/refusals/gpadl/twice", test_gpadl_twice);
    FIXTURE_TEST("/refusals/gpadl/body", test_gpadl_body);
    FIXTURE_TEST("/refusals/gpadl/excess", test_gpadl_excess);
    FIXTURE_TEST("/refusals/gpadl/count", test_gpadl_count);
    FIXTURE_TEST("/refusals/gpadl/pages", test_gpadl_pages);
    FIXTURE_TEST("/refusals/gpadl/teardown", test_gpadl_teardown);
    FIXTURE_TEST("/refusals/open/unknown", test_open_unknown);
    FIXTURE_TEST("/refusals/open/unoffered", test_open_unoffered);
    FIXTURE_TEST("/refusals/open/offset", test_open_offset);
    FIXTURE_TEST("/refusals/open/target-vp", test_open_target_vp);
    FIXTURE_TEST("/refusals/open/gpadl", test_open_gpadl);
    FIXTURE_TEST("/refusals/open/twice", test_open_twice);
    FIXTURE_TEST("/refusals/open/indexes", test_open_indexes);
    FIXTURE_TEST("/refusals/open/machine", test_open_machine);
    FIXTURE_TEST("/refusals/open/corrupt", test_open_corrupt);
    FIXTURE_TEST("/refusals/close", test_close);
    FIXTURE_TEST("/refusals/release", test_release);
    FIXTURE_TEST("/refusals/modify", test_modify);
    FIXTURE_TEST("/refusals/rescinded", test_rescinded);
    return g_test_run();
}
