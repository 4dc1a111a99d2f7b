/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IP settings in the messages of the key-value service. */
#include <arpa/inet.h>
#include <string.h>

#include "devices/ic-protocol.h"
#include "devices/kvp-wire.h"

/* Windows Server 2012 brought IP settings, with this version. */
#define IP_VERSION IC_VERSION(4, 0)
/* From here on as numbers (OpenVMM). */
#define IP_BINARY_VERSION IC_VERSION(5, 0)

void vmbus_kvp_ip_clear(VmbusKvpIp *ip)
{
    g_strfreev(ip->addresses);
    g_strfreev(ip->subnets);
    g_strfreev(ip->gateways);
    g_strfreev(ip->dns);
    memset(ip, 0, sizeof(*ip));
}

static guint list_length(char **list)
{
    return list ? g_strv_length(list) : 0;
}

/* The family of an address, whose bytes are in @out; 0 if it is none. */
static int parse_address(const char *text, uint8_t out[16])
{
    if (inet_pton(AF_INET, text, out) == 1) {
        return AF_INET;
    }
    return inet_pton(AF_INET6, text, out) == 1 ? AF_INET6 : 0;
}

static bool addresses_valid(char **list)
{
    uint8_t bytes[16];

    for (guint i = 0; i < list_length(list); i++) {
        if (!parse_address(list[i], bytes)) {
            return false;
        }
    }
    return true;
}

/* The length of a prefix, as "24" or "/24"; -1 if it is none. */
static int parse_prefix(const char *text, unsigned max)
{
    guint64 length;

    text += *text == '/';
    return g_ascii_string_to_unsigned(text, 10, 0, max, &length, NULL)
               ? (int)length
               : -1;
}

/* A mask whose ones all stand before its zeros, or a prefix, as a mask. */
static bool parse_mask(const char *text, uint8_t out[4])
{
    int prefix = parse_prefix(text, 32);
    uint32_t mask;

    if (prefix >= 0) {
        mask = prefix ? UINT32_MAX << (32 - prefix) : 0;
    } else if (inet_pton(AF_INET, text, &mask) == 1) {
        mask = GUINT32_FROM_BE(mask);
        if (~mask & (~mask + 1)) {
            return false;
        }
    } else {
        return false;
    }
    mask = GUINT32_TO_BE(mask);
    memcpy(out, &mask, sizeof(mask));
    return true;
}

static VmbusKvpResult validate_ip(const VmbusKvpIp *ip)
{
    guint count = list_length(ip->addresses);
    uint8_t bytes[16];

    if (!addresses_valid(ip->addresses)) {
        return VMBUS_KVP_ADDRESS;
    }
    if (list_length(ip->subnets) != count) {
        return VMBUS_KVP_SUBNETS;
    }
    for (guint i = 0; i < count; i++) {
        bool good = parse_address(ip->addresses[i], bytes) == AF_INET
                        ? parse_mask(ip->subnets[i], bytes)
                        : parse_prefix(ip->subnets[i], 128) >= 0;

        if (!good) {
            return VMBUS_KVP_SUBNET;
        }
    }
    if (!addresses_valid(ip->gateways)) {
        return VMBUS_KVP_GATEWAY;
    }
    return addresses_valid(ip->dns) ? VMBUS_KVP_OK : VMBUS_KVP_DNS;
}

static bool put_list(void *wire, size_t units, char **list)
{
    g_autofree char *text = list ? g_strjoinv(";", list) : g_strdup("");

    return kvp_put_text(wire, units, text) >= 0;
}

static uint8_t family_of(const VmbusKvpIp *ip)
{
    return (ip->ipv4 ? KVP_FAMILY_IPV4 : 0) | (ip->ipv6 ? KVP_FAMILY_IPV6 : 0);
}

/* Each list has its own field at its own place; @wire is unaligned. */
static VmbusKvpResult put_ip_text(KvpWireIpText *wire, const VmbusKvpIp *ip)
{
    uint8_t *base = (uint8_t *)wire;

    wire->family = family_of(ip);
    wire->dhcp = ip->dhcp;
    return put_list(base + offsetof(KvpWireIpText, addresses),
                    KVP_IP_LIST_UNITS, ip->addresses) &&
                   put_list(base + offsetof(KvpWireIpText, subnets),
                            KVP_IP_LIST_UNITS, ip->subnets) &&
                   put_list(base + offsetof(KvpWireIpText, gateways),
                            KVP_IP_GATEWAY_UNITS, ip->gateways) &&
                   put_list(base + offsetof(KvpWireIpText, dns),
                            KVP_IP_LIST_UNITS, ip->dns)
               ? VMBUS_KVP_OK
               : VMBUS_KVP_IP_TOO_LONG;
}

/* Sorts @list by family into two arrays; false if one is full. */
static bool put_numbers(char **list, uint8_t (*out4)[4], uint8_t (*out6)[16],
                        unsigned max, uint32_t count[2])
{
    count[0] = count[1] = 0;
    for (guint i = 0; i < list_length(list); i++) {
        uint8_t bytes[16];
        bool six = parse_address(list[i], bytes) == AF_INET6;

        if (count[six] == max) {
            return false;
        }
        if (six) {
            memcpy(out6[count[six]++], bytes, 16);
        } else {
            memcpy(out4[count[six]++], bytes, 4);
        }
    }
    return true;
}

static void put_subnets(KvpWireIpBinary *wire, const VmbusKvpIp *ip)
{
    unsigned four = 0, six = 0;
    uint8_t bytes[16];

    for (guint i = 0; i < list_length(ip->addresses); i++) {
        if (parse_address(ip->addresses[i], bytes) == AF_INET) {
            parse_mask(ip->subnets[i], wire->subnet4[four++]);
        } else {
            wire->subnet6[six++] =
                GUINT32_TO_LE(parse_prefix(ip->subnets[i], 128));
        }
    }
}

static VmbusKvpResult put_ip_binary(KvpWireIpBinary *wire, const VmbusKvpIp *ip)
{
    uint32_t addresses[2], gateways[2], dns[2];

    wire->family = family_of(ip);
    wire->dhcp = ip->dhcp;
    if (!put_numbers(ip->addresses, wire->address4, wire->address6,
                     KVP_IP_MAX_ADDRESSES, addresses) ||
        !put_numbers(ip->gateways, wire->gateway4, wire->gateway6,
                     KVP_IP_MAX_GATEWAYS, gateways) ||
        !put_numbers(ip->dns, wire->dns4, wire->dns6, KVP_IP_MAX_ADDRESSES,
                     dns)) {
        return VMBUS_KVP_IP_TOO_LONG;
    }
    put_subnets(wire, ip);
    wire->address4_count = GUINT32_TO_LE(addresses[0]);
    wire->address6_count = GUINT32_TO_LE(addresses[1]);
    wire->gateway4_count = GUINT32_TO_LE(gateways[0]);
    wire->gateway6_count = GUINT32_TO_LE(gateways[1]);
    wire->dns4_count = GUINT32_TO_LE(dns[0]);
    wire->dns6_count = GUINT32_TO_LE(dns[1]);
    return VMBUS_KVP_OK;
}

/*
 * Linux looks for a MAC address in capitals to get settings, and for the
 * device's instance id, in braces, to set them.
 */
static char *adapter_name(const char *name)
{
    return g_regex_match_simple("^([0-9a-f]{2}:){5}[0-9a-f]{2}$", name,
                                G_REGEX_CASELESS, 0)
               ? g_ascii_strup(name, -1)
               : g_strdup(name);
}

static bool put_adapter(void *wire, const char *name)
{
    g_autofree char *adapter = NULL;

    if (!name || !*name ||
        strnlen(name, KVP_IP_ADAPTER_UNITS) == KVP_IP_ADAPTER_UNITS) {
        return false;
    }
    adapter = adapter_name(name);
    return kvp_put_text(wire, KVP_IP_ADAPTER_UNITS, adapter) >= 0;
}

VmbusKvpResult kvp_put_ip_request(KvpRequestBody *body,
                                  const VmbusKvpRequest *req, uint32_t version)
{
    static const VmbusKvpIp any = {.ipv4 = true, .ipv6 = true};
    bool set = req->operation == VMBUS_KVP_SET_IP;
    bool binary = version >= IP_BINARY_VERSION;
    const VmbusKvpIp *ip = set ? req->ip : &any;
    VmbusKvpResult result;

    if (version < IP_VERSION) {
        return VMBUS_KVP_NO_IP;
    }
    if (!ip || (!ip->ipv4 && !ip->ipv6)) {
        return VMBUS_KVP_BAD_REQUEST;
    }
    if (!put_adapter((uint8_t *)body + (binary
                                            ? offsetof(KvpWireIpBinary, adapter)
                                            : offsetof(KvpWireIpText, adapter)),
                     req->key)) {
        return VMBUS_KVP_ADAPTER;
    }
    result = validate_ip(ip);
    if (result != VMBUS_KVP_OK) {
        return result;
    }
    body->message.header.operation = set ? KVP_OP_SET_IP : KVP_OP_GET_IP;
    body->message.header.pool = VMBUS_KVP_GUEST; /* as OpenVMM */
    /* The longest of the service's messages, whatever the form (OpenVMM). */
    body->len = sizeof(KvpWireIpText);
    return binary ? put_ip_binary(&body->ip_binary, ip)
                  : put_ip_text(&body->ip_text, ip);
}

/* A text that ends inside its field, cut at semicolons, without empty parts. */
static const char *read_list(const void *wire, size_t units, char ***list)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) parts = NULL;
    g_autoptr(GPtrArray) kept = g_ptr_array_new();
    size_t count = 0;

    while (count < units && (((const uint8_t *)wire)[2 * count] ||
                             ((const uint8_t *)wire)[2 * count + 1])) {
        count++;
    }
    if (count == units) {
        return kvp_refusal_sentence(KVP_REFUSED_IP_TERMINATOR);
    }
    text = kvp_get_text(wire, count);
    if (!text) {
        return kvp_refusal_sentence(KVP_REFUSED_IP_TEXT);
    }
    parts = g_strsplit(text, ";", -1);
    for (char **part = parts; *part; part++) {
        g_strstrip(*part);
        if (**part) {
            g_ptr_array_add(kept, g_strdup(*part));
        }
    }
    g_ptr_array_add(kept, NULL);
    *list = (char **)g_ptr_array_free(g_steal_pointer(&kept), FALSE);
    return NULL;
}

static void read_family(VmbusKvpIp *ip, uint8_t family, uint8_t dhcp)
{
    ip->ipv4 = family & KVP_FAMILY_IPV4;
    ip->ipv6 = family & KVP_FAMILY_IPV6;
    ip->dhcp = dhcp;
}

static const char *read_ip_text(const uint8_t *body, VmbusKvpIp *ip)
{
    const struct {
        size_t at, units;
        char ***list;
    } fields[] = {
        {offsetof(KvpWireIpText, addresses), KVP_IP_LIST_UNITS, &ip->addresses},
        {offsetof(KvpWireIpText, subnets), KVP_IP_LIST_UNITS, &ip->subnets},
        {offsetof(KvpWireIpText, gateways), KVP_IP_GATEWAY_UNITS,
         &ip->gateways},
        {offsetof(KvpWireIpText, dns), KVP_IP_LIST_UNITS, &ip->dns},
    };
    const char *why = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(fields) && !why; i++) {
        why = read_list(body + fields[i].at, fields[i].units, fields[i].list);
    }
    read_family(ip, body[offsetof(KvpWireIpText, family)],
                body[offsetof(KvpWireIpText, dhcp)]);
    return why;
}

static void add_number(GPtrArray *list, int family, const uint8_t *bytes)
{
    char text[INET6_ADDRSTRLEN];

    g_ptr_array_add(list,
                    g_strdup(inet_ntop(family, bytes, text, sizeof(text))));
}

static char **read_numbers(const uint8_t (*four)[4], uint32_t count4,
                           const uint8_t (*six)[16], uint32_t count6)
{
    GPtrArray *list = g_ptr_array_new();

    for (uint32_t i = 0; i < count4; i++) {
        add_number(list, AF_INET, four[i]);
    }
    for (uint32_t i = 0; i < count6; i++) {
        add_number(list, AF_INET6, six[i]);
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

static char **read_subnets(const KvpWireIpBinary *wire, uint32_t count4,
                           uint32_t count6)
{
    GPtrArray *list = g_ptr_array_new();

    for (uint32_t i = 0; i < count4; i++) {
        add_number(list, AF_INET, wire->subnet4[i]);
    }
    for (uint32_t i = 0; i < count6; i++) {
        g_ptr_array_add(
            list, g_strdup_printf("%u", GUINT32_FROM_LE(wire->subnet6[i])));
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

static const char *read_ip_binary(const uint8_t *body, VmbusKvpIp *ip)
{
    g_autofree KvpWireIpBinary *wire = g_memdup2(body, sizeof(*wire));
    uint32_t address4 = GUINT32_FROM_LE(wire->address4_count);
    uint32_t address6 = GUINT32_FROM_LE(wire->address6_count);
    uint32_t gateway4 = GUINT32_FROM_LE(wire->gateway4_count);
    uint32_t gateway6 = GUINT32_FROM_LE(wire->gateway6_count);
    uint32_t dns4 = GUINT32_FROM_LE(wire->dns4_count);
    uint32_t dns6 = GUINT32_FROM_LE(wire->dns6_count);

    if (MAX(MAX(address4, address6), MAX(dns4, dns6)) > KVP_IP_MAX_ADDRESSES ||
        MAX(gateway4, gateway6) > KVP_IP_MAX_GATEWAYS) {
        return kvp_refusal_sentence(KVP_REFUSED_IP_COUNT);
    }
    for (uint32_t i = 0; i < address6; i++) {
        if (GUINT32_FROM_LE(wire->subnet6[i]) > 128) {
            return kvp_refusal_sentence(KVP_REFUSED_IP_PREFIX);
        }
    }
    ip->addresses =
        read_numbers(wire->address4, address4, wire->address6, address6);
    ip->subnets = read_subnets(wire, address4, address6);
    ip->gateways =
        read_numbers(wire->gateway4, gateway4, wire->gateway6, gateway6);
    ip->dns = read_numbers(wire->dns4, dns4, wire->dns6, dns6);
    read_family(ip, wire->family, wire->dhcp);
    return NULL;
}

const char *kvp_read_ip(const uint8_t *body, uint32_t len, uint32_t version,
                        VmbusKvpIp *ip)
{
    bool binary = version >= IP_BINARY_VERSION;
    const char *why;

    memset(ip, 0, sizeof(*ip));
    if (len < (binary ? sizeof(KvpWireIpBinary) : sizeof(KvpWireIpText))) {
        return kvp_refusal_sentence(KVP_REFUSED_IP_SHORT);
    }
    why = binary ? read_ip_binary(body, ip) : read_ip_text(body, ip);
    if (why) {
        vmbus_kvp_ip_clear(ip);
    }
    return why;
}
