/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest may answer to the key-value service, and what is refused. */
#include "devices/ic-protocol.h"
#include "devices/kvp-wire.h"

#define V4     IC_VERSION(4, 0)
#define V5     IC_VERSION(5, 0)
#define SECOND UINT64_C(1000000000)

static KvpWireMessage good_item(void)
{
    KvpWireMessage wire = {0};
    KvpWireValue *out = &wire.enumerate.item;

    out->type = GUINT32_TO_LE(KVP_TYPE_STRING);
    out->key_size = GUINT32_TO_LE(8);
    kvp_put_text(out->key, 256, "key");
    out->value_size = GUINT32_TO_LE(12);
    kvp_put_text(out->value, 1024, "value");
    return wire;
}

/* An allocation of exactly @len bytes: overreads are found. */
static const char *read_item(const KvpWireMessage *wire, uint32_t len,
                             VmbusKvpItem **item)
{
    g_autofree uint8_t *copy = g_memdup2(wire, len);

    return kvp_read_enumerated(copy, len, item);
}

static void test_item(void)
{
    KvpWireMessage wire = good_item();
    VmbusKvpItem *item;

    g_assert_null(read_item(&wire, sizeof(wire), &item));
    g_assert_cmpstr(item->key, ==, "key");
    g_assert_cmpint(item->type, ==, VMBUS_KVP_STRING);
    g_assert_cmpstr(item->text, ==, "value");
    vmbus_kvp_item_free(item);

    wire.enumerate.item.type = GUINT32_TO_LE(KVP_TYPE_EXPAND_STRING);
    wire.enumerate.item.key_size = GUINT32_TO_LE(2);
    memset(wire.enumerate.item.key, 0, 8);
    g_assert_null(read_item(&wire, sizeof(wire), &item));
    g_assert_cmpstr(item->key, ==, "");
    vmbus_kvp_item_free(item);
    vmbus_kvp_item_free(NULL);
}

static void test_longest(void)
{
    KvpWireMessage wire = good_item();
    VmbusKvpItem *item;

    wire.enumerate.item.key_size = GUINT32_TO_LE(512);
    wire.enumerate.item.value_size = GUINT32_TO_LE(2048);
    memset(wire.enumerate.item.key, 0x4e, 510);
    memset(wire.enumerate.item.value, 0x4e, 2046);
    g_assert_null(read_item(&wire, sizeof(wire), &item));
    g_assert_cmpint(g_utf8_strlen(item->key, -1), ==, 255);
    g_assert_cmpint(g_utf8_strlen(item->text, -1), ==, 1023);
    vmbus_kvp_item_free(item);
}

static void test_numbers(void)
{
    static const struct {
        uint32_t type, size;
        VmbusKvpType expected;
        uint64_t number;
    } table[] = {
        {4, 4, VMBUS_KVP_U32, 0x04030201},
        {8, 8, VMBUS_KVP_U64, UINT64_C(0x0807060504030201)},
        {11, 8, VMBUS_KVP_U64, UINT64_C(0x0807060504030201)},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        KvpWireMessage wire = good_item();
        VmbusKvpItem *item;

        wire.enumerate.item.type = GUINT32_TO_LE(table[i].type);
        wire.enumerate.item.value_size = GUINT32_TO_LE(table[i].size);
        memcpy(wire.enumerate.item.value, "\1\2\3\4\5\6\7\10", 8);
        g_assert_null(read_item(&wire, sizeof(wire), &item));
        g_assert_cmpint(item->type, ==, table[i].expected);
        g_assert_cmphex(item->number, ==, table[i].number);
        g_assert_null(item->text);
        vmbus_kvp_item_free(item);
        wire.enumerate.item.value_size = GUINT32_TO_LE(table[i].size - 1);
        g_assert_cmpstr(read_item(&wire, sizeof(wire), &item), ==,
                        "the guest's item has a number of a wrong size");
        g_assert_null(item);
    }
}

typedef struct Damage {
    const char *sentence;
    uint16_t at;
    uint8_t len;
    uint8_t bytes[8];
} Damage;

/* At 8 the type, at 12 and 16 the sizes, at 20 the key, at 532 the value. */
static const Damage damages[] = {
    {"the guest's item has a key whose size is out of range", 12, 4, {0}},
    {"the guest's item has a key whose size is out of range", 12, 4, {1}},
    {"the guest's item has a key whose size is out of range", 12, 4, {2, 2}},
    {"the guest's item has a key whose size is out of range",
     12,
     4,
     {8, 0, 0, 0x80}},
    {"the guest's item has a key of an odd number of bytes", 12, 4, {7}},
    {"the guest's item has a key without an end", 12, 4, {6}},
    {"the guest's item has a key that is no UTF-16", 22, 2, {0, 0xd8}},
    {"the guest's item has a key that is no UTF-16", 22, 2, {0, 0xdc}},
    {"the guest's item has a key that is no UTF-16", 22, 2, {0, 0}},
    {"the guest's item has a value of an unknown type", 8, 4, {3}},
    {"the guest's item has a value whose size is out of range", 16, 4, {0}},
    {"the guest's item has a value whose size is out of range", 16, 4, {2, 8}},
    {"the guest's item has a value of an odd number of bytes", 16, 4, {11}},
    {"the guest's item has a value without an end", 16, 4, {10}},
    {"the guest's item has a value that is no UTF-16", 536, 2, {0, 0xdb}},
    {"the guest's item has a value that is no UTF-16", 540, 4, {0, 0xd8, 0}},
};

static void test_damaged(gconstpointer data)
{
    const Damage *damage = data;
    KvpWireMessage wire = good_item();
    VmbusKvpItem *item;

    memcpy((uint8_t *)&wire + damage->at, damage->bytes, damage->len);
    g_assert_cmpstr(read_item(&wire, sizeof(wire), &item), ==,
                    damage->sentence);
    g_assert_null(item);
}

static void test_short(void)
{
    KvpWireMessage wire = good_item();
    VmbusKvpItem *item;

    for (uint32_t len = 0; len < sizeof(wire); len += 43) {
        g_assert_cmpstr(read_item(&wire, len, &item), ==,
                        "the guest's answer is too short for an item");
    }
    g_assert_cmpstr(kvp_read_got((uint8_t *)&wire, 2575, "k", &item), ==,
                    "the guest's answer is too short for an item");
}

static void test_sentences(void)
{
    for (int i = 0; i < KVP_REFUSAL_COUNT; i++) {
        g_assert_nonnull(kvp_refusal_sentence(i));
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(kvp_refusal_sentence(i), !=,
                            kvp_refusal_sentence(j));
        }
    }
    g_assert_null(kvp_refusal_sentence(KVP_REFUSAL_COUNT));
}

/* IP settings */

static char *one[] = {"10.0.0.7", NULL};
static char *mask[] = {"255.255.255.0", NULL};

static VmbusKvpResult put_ip(KvpRequestBody *body, const VmbusKvpIp *ip,
                             const char *adapter, uint32_t version)
{
    VmbusKvpRequest req = {
        .operation = VMBUS_KVP_SET_IP,
        .key = adapter,
        .ip = ip,
        .timeout_ns = SECOND,
    };

    return kvp_put_request(body, &req, version);
}

static void test_ip_refusals(void)
{
    static char *bad[] = {"10.0.0.256", NULL};
    static char *bad_mask[] = {"255.0.255.0", NULL};
    static char *six[] = {"fe80::1", NULL};
    static char *long_prefix[] = {"129", NULL};
    const VmbusKvpIp good = {.ipv4 = true, .addresses = one, .subnets = mask};
    g_autofree char *name = g_strnfill(128, 'a');
    KvpRequestBody body;
    VmbusKvpIp ip;

#define REFUSE(member, value, expected)                                        \
    do {                                                                       \
        ip = good;                                                             \
        ip.member = (value);                                                   \
        g_assert_cmpint(put_ip(&body, &ip, "a", V4), ==, expected);            \
        g_assert_cmpint(put_ip(&body, &ip, "a", V5), ==, expected);            \
    } while (0)
    g_assert_cmpint(put_ip(&body, &good, "a", V4), ==, VMBUS_KVP_OK);
    g_assert_cmpint(put_ip(&body, &good, "a", V5), ==, VMBUS_KVP_OK);
    g_assert_cmpint(put_ip(&body, &good, "a", IC_VERSION(3, 0)), ==,
                    VMBUS_KVP_NO_IP);
    g_assert_cmpint(put_ip(&body, NULL, "a", V4), ==, VMBUS_KVP_BAD_REQUEST);
    g_assert_cmpint(put_ip(&body, &good, NULL, V4), ==, VMBUS_KVP_ADAPTER);
    g_assert_cmpint(put_ip(&body, &good, "", V4), ==, VMBUS_KVP_ADAPTER);
    g_assert_cmpint(put_ip(&body, &good, "\xff", V4), ==, VMBUS_KVP_ADAPTER);
    g_assert_cmpint(put_ip(&body, &good, name, V5), ==, VMBUS_KVP_ADAPTER);
    REFUSE(ipv4, false, VMBUS_KVP_BAD_REQUEST);
    REFUSE(addresses, bad, VMBUS_KVP_ADDRESS);
    REFUSE(addresses, NULL, VMBUS_KVP_SUBNETS);
    REFUSE(subnets, NULL, VMBUS_KVP_SUBNETS);
    REFUSE(subnets, bad, VMBUS_KVP_SUBNET);
    REFUSE(subnets, bad_mask, VMBUS_KVP_SUBNET);
    REFUSE(gateways, bad, VMBUS_KVP_GATEWAY);
    REFUSE(dns, bad, VMBUS_KVP_DNS);
    ip = (VmbusKvpIp){.ipv6 = true, .addresses = six, .subnets = long_prefix};
    g_assert_cmpint(put_ip(&body, &ip, "a", V4), ==, VMBUS_KVP_SUBNET);
}

static char **repeat(const char *text, unsigned count)
{
    char **list = g_new0(char *, count + 1);

    for (unsigned i = 0; i < count; i++) {
        list[i] = g_strdup(text);
    }
    return list;
}

static void test_ip_too_long(void)
{
    static const struct {
        unsigned addresses, gateways, dns;
        VmbusKvpResult v4, v5;
    } table[] = {
        {63, 5, 63, VMBUS_KVP_OK, VMBUS_KVP_OK},
        {64, 0, 0, VMBUS_KVP_OK, VMBUS_KVP_OK},
        {65, 0, 0, VMBUS_KVP_IP_TOO_LONG, VMBUS_KVP_IP_TOO_LONG},
        {0, 6, 0, VMBUS_KVP_OK, VMBUS_KVP_IP_TOO_LONG},
        {0, 33, 0, VMBUS_KVP_IP_TOO_LONG, VMBUS_KVP_IP_TOO_LONG},
        {0, 0, 65, VMBUS_KVP_IP_TOO_LONG, VMBUS_KVP_IP_TOO_LONG},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        VmbusKvpIp ip = {
            .ipv4 = true,
            .addresses = repeat("192.168.100.100", table[i].addresses),
            .subnets = repeat("24", table[i].addresses),
            .gateways = repeat("192.168.100.100", table[i].gateways),
            .dns = repeat("192.168.100.100", table[i].dns),
        };
        KvpRequestBody body;

        g_assert_cmpint(put_ip(&body, &ip, "a", V4), ==, table[i].v4);
        g_assert_cmpint(put_ip(&body, &ip, "a", V5), ==, table[i].v5);
        vmbus_kvp_ip_clear(&ip);
    }
}

static char *addresses[] = {"10.0.0.7", "fd00::7", NULL};
static char *subnets[] = {"255.255.0.0", "64", NULL};
static char *gateways[] = {"10.0.0.1", "fe80::1", NULL};
static char *servers[] = {"10.0.0.2", "fd00::2", NULL};

static void assert_list(char **list, char **expected)
{
    g_assert_true(list && g_strv_equal((const char *const *)list,
                                       (const char *const *)expected));
}

/* What is put is read again, in both forms. */
static void test_ip_round_trip(gconstpointer data)
{
    uint32_t version = GPOINTER_TO_UINT(data);
    VmbusKvpIp ip = {
        .ipv4 = true,
        .ipv6 = true,
        .dhcp = true,
        .addresses = addresses,
        .subnets = subnets,
        .gateways = gateways,
        .dns = servers,
    };
    KvpRequestBody body;
    VmbusKvpIp read;

    g_assert_cmpint(put_ip(&body, &ip, "aa:bb:cc:dd:ee:0f", version), ==,
                    VMBUS_KVP_OK);
    g_assert_cmpuint(body.len, ==, 7428);
    g_assert_cmpuint(body.message.header.operation, ==, 5);
    /* Linux looks for capitals. */
    g_assert_cmpmem((uint8_t *)&body + (version == V5 ? 28 : 2), 10,
                    "A\0A\0:\0B\0B\0", 10);
    g_assert_null(kvp_read_ip((uint8_t *)&body, body.len, version, &read));
    g_assert_true(read.ipv4 && read.ipv6 && read.dhcp);
    assert_list(read.addresses, addresses);
    assert_list(read.subnets, subnets);
    assert_list(read.gateways, gateways);
    assert_list(read.dns, servers);
    vmbus_kvp_ip_clear(&read);
}

static void test_ip_binary_layout(void)
{
    VmbusKvpIp ip = {.ipv4 = true,
                     .ipv6 = true,
                     .addresses = addresses,
                     .subnets = subnets,
                     .gateways = gateways};
    KvpRequestBody body;
    const uint8_t *wire = (uint8_t *)&body;

    g_assert_cmpint(put_ip(&body, &ip, "a", V5), ==, VMBUS_KVP_OK);
    g_assert_cmpmem(wire + 4, 24,
                    "\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 24);
    g_assert_cmpuint(wire[284], ==, 3);
    g_assert_cmpmem(wire + 288, 4, "\12\0\0\7", 4);
    g_assert_cmpmem(wire + 1568, 4, "\xff\xff\0\0", 4);
    g_assert_cmpmem(wire + 1824, 4, "\x40\0\0\0", 4);
    g_assert_cmpmem(wire + 2080, 4, "\12\0\0\1", 4);
}

/* As Linux answers: semicolons after each, too, and prefixes with a slash. */
static void test_ip_text_lists(void)
{
    static char *expected[] = {"10.0.0.7", "fd00::7", NULL};
    static char *none[] = {NULL};
    g_autofree KvpWireIpText *wire = g_new0(KvpWireIpText, 1);
    VmbusKvpIp ip;

    kvp_put_text((uint8_t *)wire + offsetof(KvpWireIpText, addresses), 1024,
                 ";10.0.0.7; fd00::7;");
    g_assert_null(kvp_read_ip((uint8_t *)wire, sizeof(*wire), V4, &ip));
    assert_list(ip.addresses, expected);
    assert_list(ip.dns, none);
    g_assert_false(ip.ipv4 || ip.ipv6 || ip.dhcp);
    vmbus_kvp_ip_clear(&ip);
}

static void test_ip_damaged(void)
{
    g_autofree KvpWireIpText *text = g_new0(KvpWireIpText, 1);
    g_autofree KvpWireIpBinary *binary = g_new0(KvpWireIpBinary, 1);
    static const uint8_t counts[] = {4, 8, 12, 16, 20, 24};
    VmbusKvpIp ip;

    memset((uint8_t *)text + offsetof(KvpWireIpText, gateways), 'a', 1024);
    g_assert_cmpstr(kvp_read_ip((uint8_t *)text, sizeof(*text), V4, &ip), ==,
                    "the guest's IP settings have a text without an end");
    memset((uint8_t *)text + offsetof(KvpWireIpText, gateways), 0, 1024);
    memset((uint8_t *)text + offsetof(KvpWireIpText, dns), 0xd8, 2);
    g_assert_cmpstr(kvp_read_ip((uint8_t *)text, sizeof(*text), V4, &ip), ==,
                    "the guest's IP settings have a text that is no UTF-16");
    g_assert_null(ip.addresses);
    g_assert_cmpstr(kvp_read_ip((uint8_t *)text, sizeof(*text) - 1, V4, &ip),
                    ==, "the guest's answer is too short for IP settings");
    g_assert_cmpstr(kvp_read_ip((uint8_t *)binary, 3715, V5, &ip), ==,
                    "the guest's answer is too short for IP settings");
    for (size_t i = 0; i < sizeof(counts); i++) {
        ((uint8_t *)binary)[counts[i]] = 65;
        g_assert_cmpstr(
            kvp_read_ip((uint8_t *)binary, sizeof(*binary), V5, &ip), ==,
            "the guest's IP settings have more addresses than a message "
            "holds");
        ((uint8_t *)binary)[counts[i]] = 0;
    }
    binary->address6_count = GUINT32_TO_LE(1);
    binary->subnet6[0] = GUINT32_TO_LE(129);
    g_assert_cmpstr(kvp_read_ip((uint8_t *)binary, sizeof(*binary), V5, &ip),
                    ==,
                    "the guest's IP settings have a prefix longer than an "
                    "address");
}

static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autofree uint8_t *bytes = g_malloc0(sizeof(KvpWireIpText));
    unsigned good = 0;

    for (int i = 0; i < 20000; i++) {
        KvpWireMessage wire = good_item();
        VmbusKvpItem *item;
        VmbusKvpIp ip;

        for (int j = 0; j < 3; j++) {
            ((uint8_t *)&wire)[g_rand_int_range(rand, 0, 30)] ^=
                1 << g_rand_int_range(rand, 0, 8);
            bytes[g_rand_int_range(rand, 0, sizeof(KvpWireIpText))] =
                g_rand_int(rand);
        }
        if (!read_item(&wire, sizeof(wire), &item)) {
            g_assert_true(g_utf8_validate(item->key, -1, NULL));
            g_assert_true(!item->text || g_utf8_validate(item->text, -1, NULL));
            good++;
        }
        vmbus_kvp_item_free(item);
        kvp_read_ip(bytes, sizeof(KvpWireIpText), i % 2 ? V4 : V5, &ip);
        vmbus_kvp_ip_clear(&ip);
    }
    g_assert_cmpuint(good, >, 100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvp-wire/item", test_item);
    g_test_add_func("/kvp-wire/longest", test_longest);
    g_test_add_func("/kvp-wire/numbers", test_numbers);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strdup_printf("/kvp-wire/damaged/%zu", i);

        g_test_add_data_func(path, &damages[i], test_damaged);
    }
    g_test_add_func("/kvp-wire/short", test_short);
    g_test_add_func("/kvp-wire/sentences", test_sentences);
    g_test_add_func("/kvp-wire/ip/refusals", test_ip_refusals);
    g_test_add_func("/kvp-wire/ip/too-long", test_ip_too_long);
    g_test_add_data_func("/kvp-wire/ip/round-trip/text", GUINT_TO_POINTER(V4),
                         test_ip_round_trip);
    g_test_add_data_func("/kvp-wire/ip/round-trip/binary", GUINT_TO_POINTER(V5),
                         test_ip_round_trip);
    g_test_add_func("/kvp-wire/ip/binary-layout", test_ip_binary_layout);
    g_test_add_func("/kvp-wire/ip/text-lists", test_ip_text_lists);
    g_test_add_func("/kvp-wire/ip/damaged", test_ip_damaged);
    g_test_add_func("/kvp-wire/noise", test_noise);
    return g_test_run();
}
