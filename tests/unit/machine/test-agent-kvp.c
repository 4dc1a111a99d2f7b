/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands on the key-value service. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "agent-fixture.h"

static void add_item(Case *c, const char *key, const char *value)
{
    VMBusKvpItem *item = g_new0(VMBusKvpItem, 1);

    item->key = g_strdup(key);
    item->value = g_strdup(value);
    QAPI_LIST_PREPEND(c->kvp->items, item);
}

static void new_job(Case *c)
{
    qapi_free_VMBusKvpJobInfo(c->kvp);
    c->kvp = g_new0(VMBusKvpJobInfo, 1);
    c->kvp->state = VM_BUS_KVP_JOB_STATE_RUNNING;
}

static void end_job(Case *c, VMBusKvpResult result, const char *message)
{
    c->kvp->state = VM_BUS_KVP_JOB_STATE_ENDED;
    c->kvp->has_result = true;
    c->kvp->result = result;
    g_free(c->kvp->message);
    c->kvp->message = g_strdup(message);
}

/* The answer's member "return", of which the caller has a reference. */
static QDict *returned(Case *c)
{
    g_autofree char *line = case_line(c);
    QDict *answer = qobject_to(QDict, qobject_from_json(line, &error_abort));
    QDict *value = qobject_ref(qdict_get_qdict(answer, "return"));

    qobject_unref(answer);
    g_assert_nonnull(value);
    return value;
}

static void expect_members(Case *c, const char *const (*members)[2], int count)
{
    QDict *value = returned(c);

    for (int i = 0; i < count; i++) {
        g_assert_cmpstr(qdict_get_try_str(value, members[i][0]), ==,
                        members[i][1]);
    }
    g_assert_cmpuint(qdict_size(value), ==, count);
    qobject_unref(value);
}

static void test_osinfo_linux(void)
{
    static const char *const expected[][2] = {
        {"name", "Debian GNU/Linux"},
        {"version-id", "12"},
        {"kernel-release", "6.1.0-50-amd64"},
        {"machine", "x86_64"},
    };
    Case *c = case_new();

    new_job(c);
    case_command(c, "guest-get-osinfo");
    case_expect_silence(c);
    add_item(c, "OSName", "Debian GNU/Linux");
    add_item(c, "OSMajorVersion", "12");
    add_item(c, "OSMinorVersion", "");
    add_item(c, "OSVersion", "6.1.0");
    add_item(c, "OSBuildNumber", "6.1.0-50-amd64");
    add_item(c, "ProcessorArchitecture", "x86_64");
    end_job(c, VM_BUS_KVP_RESULT_OK, "");
    case_poll(c);
    expect_members(c, expected, ARRAY_SIZE(expected));
    case_free(c);
}

static void test_osinfo_windows(void)
{
    static const char *const expected[][2] = {
        {"id", "mswindows"},
        {"name", "Microsoft Windows"},
        {"pretty-name", "Windows Server 2022 Datacenter"},
        {"variant", "server"},
        {"kernel-release", "20348"},
        {"kernel-version", "10.0.20348"},
        {"machine", "x86_64"},
    };
    Case *c = case_new();

    new_job(c);
    add_item(c, "OSName", "Windows Server 2022 Datacenter");
    add_item(c, "OSMajorVersion", "10");
    add_item(c, "OSVersion", "10.0.20348");
    add_item(c, "OSBuildNumber", "20348");
    add_item(c, "ProcessorArchitecture", "9");
    end_job(c, VM_BUS_KVP_RESULT_OK, "");
    case_command(c, "guest-get-osinfo");
    expect_members(c, expected, ARRAY_SIZE(expected));
    case_free(c);
}

static void test_host_name(void)
{
    Case *c = case_new();

    new_job(c);
    end_job(c, VM_BUS_KVP_RESULT_OK, "");
    case_command(c, "guest-get-host-name");
    case_expect_error(c, GENERIC, "the guest does not tell its name");
    add_item(c, "FullyQualifiedDomainName", "guest.example");
    case_command(c, "guest-get-host-name");
    case_expect(c, "{\"return\": {\"host-name\": \"guest.example\"}}");
    case_free(c);
}

static void test_kvp_refused(void)
{
    static const char *const names[] = {"guest-get-osinfo",
                                        "guest-get-host-name",
                                        "guest-network-get-interfaces"};
    Case *c = case_new();

    c->nics = 1;
    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        c->running = false;
        case_command(c, names[i]);
        case_expect_error(c, GENERIC, "the machine is stopped");
        c->running = true;
        c->error = "The service is not open.";
        case_command(c, names[i]);
        case_expect_error(c, GENERIC, "The service is not open.");
        c->error = NULL;
        new_job(c);
        case_command(c, names[i]);
        end_job(c, VM_BUS_KVP_RESULT_TIMEOUT, "Not answered.");
        case_poll(c);
        case_expect_error(c, GENERIC, "Not answered.");
        new_job(c);
        case_command(c, names[i]);
        case_pass(c, 10999);
        case_expect_silence(c);
        case_pass(c, 1);
        case_expect_error(c, GENERIC,
                          "the guest has not answered the "
                          "key-value service in time");
        case_command(c, names[i]);
        case_expect_silence(c);
        qapi_free_VMBusKvpJobInfo(c->kvp);
        c->kvp = NULL;
        case_poll(c);
        case_expect_error(c, GENERIC,
                          "the key-value service has forgotten "
                          "the request");
    }
    case_free(c);
}

static void give_addresses(Case *c, const char *const (*pairs)[2], int count)
{
    strList **address, **subnet;

    qapi_free_VMBusIpSettings(c->kvp->ip);
    c->kvp->ip = g_new0(VMBusIpSettings, 1);
    address = &c->kvp->ip->addresses;
    subnet = &c->kvp->ip->subnets;
    for (int i = 0; i < count; i++) {
        QAPI_LIST_APPEND(address, g_strdup(pairs[i][0]));
        if (pairs[i][1]) {
            QAPI_LIST_APPEND(subnet, g_strdup(pairs[i][1]));
        }
    }
}

/* Addresses and prefixes of the first interface, as "a/1 b/2". */
static char *addresses_of(const QList *list)
{
    QDict *nic = qobject_to(QDict, qlist_peek((QList *)list));
    g_autoptr(GString) text = g_string_new(NULL);
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(nic, "ip-addresses"), entry) {
        QDict *one = qobject_to(QDict, qlist_entry_obj(entry));

        g_string_append_printf(
            text, "%s%s/%" PRId64 " %s", text->len ? " " : "",
            qdict_get_str(one, "ip-address"), qdict_get_int(one, "prefix"),
            qdict_get_str(one, "ip-address-type"));
    }
    return g_strdup(text->str);
}

static QList *returned_list(Case *c)
{
    g_autofree char *line = case_line(c);
    QDict *answer = qobject_to(QDict, qobject_from_json(line, &error_abort));
    QList *value = qobject_ref(qdict_get_qlist(answer, "return"));

    qobject_unref(answer);
    g_assert_nonnull(value);
    return value;
}

static void test_addresses(void)
{
    static const char *const pairs[][2] = {
        {"192.0.2.7", "255.255.255.0"},
        {"192.0.2.8", "/30"},
        {"192.0.2.13", "255.255.240.0"},
        {"fe80::1", "/64"},
        {"2001:db8::1", "48"},
        {"192.0.2.9", "nothing"},
        {"2001:db8::2", "255.255.0.0"},
        {"192.0.2.10", "33"},
        {"192.0.2.11", "-1"},
        {"192.0.2.12", NULL},
        {"2001:db8::3", NULL},
    };
    g_autofree char *text = NULL;
    Case *c = case_new();
    QList *list;

    c->nics = 1;
    new_job(c);
    give_addresses(c, pairs, ARRAY_SIZE(pairs));
    case_command(c, "guest-network-get-interfaces");
    g_assert_cmpstr(c->mac, ==, "52:54:00:00:00:00");
    g_assert_cmpuint(c->timeout_ms, ==, 10000);
    end_job(c, VM_BUS_KVP_RESULT_OK, "");
    case_poll(c);
    list = returned_list(c);
    text = addresses_of(list);
    g_assert_cmpstr(text, ==,
                    "192.0.2.7/24 ipv4 192.0.2.8/30 ipv4 192.0.2.13/20 ipv4 "
                    "fe80::1/64 ipv6 "
                    "2001:db8::1/48 ipv6 192.0.2.9/32 ipv4 "
                    "2001:db8::2/128 ipv6 192.0.2.10/32 ipv4 "
                    "192.0.2.11/32 ipv4 192.0.2.12/32 ipv4 "
                    "2001:db8::3/128 ipv6");
    qobject_unref(list);
    case_free(c);
}

/* One after the other; one that the guest does not have has no addresses. */
static void test_interfaces(void)
{
    static const char *const pairs[][2] = {{"192.0.2.7", "24"}};
    const QListEntry *entry;
    Case *c = case_new();
    QList *list;
    int i = 0;

    case_command(c, "guest-network-get-interfaces");
    case_expect(c, "{\"return\": []}");
    g_assert_cmpuint(c->ip_gets, ==, 0);
    c->nics = 3;
    new_job(c);
    case_command(c, "guest-network-get-interfaces");
    give_addresses(c, pairs, 1);
    end_job(c, VM_BUS_KVP_RESULT_OK, "");
    c->now_ms += 4000;
    case_poll(c);
    g_assert_cmpstr(c->mac, ==, "52:54:00:00:00:01");
    g_assert_cmpuint(c->timeout_ms, ==, 6000);
    end_job(c, VM_BUS_KVP_RESULT_FAILED, "Failed.");
    c->now_ms += 6500;
    case_poll(c);
    g_assert_cmpstr(c->mac, ==, "52:54:00:00:00:02");
    g_assert_cmpuint(c->timeout_ms, ==, 1);
    end_job(c, VM_BUS_KVP_RESULT_NO_SUCH_ADAPTER, "No.");
    case_expect_silence(c);
    case_poll(c);
    list = returned_list(c);
    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *nic = qobject_to(QDict, qlist_entry_obj(entry));
        g_autofree char *name = g_strdup_printf("net-%d", i);
        g_autofree char *mac = g_strdup_printf("52:54:00:00:00:%02x", i);

        g_assert_cmpstr(qdict_get_str(nic, "name"), ==, name);
        g_assert_cmpstr(qdict_get_str(nic, "hardware-address"), ==, mac);
        g_assert_cmpint(qdict_haskey(nic, "ip-addresses"), ==, i == 0);
        i++;
    }
    g_assert_cmpint(i, ==, 3);
    qobject_unref(list);
    case_free(c);
}

static void test_interfaces_abandoned(void)
{
    Case *c = case_new();

    c->nics = 2;
    new_job(c);
    case_command(c, "guest-network-get-interfaces");
    hv_agent_disconnect(c->agent);
    end_job(c, VM_BUS_KVP_RESULT_GONE, "Gone.");
    case_poll(c);
    case_expect_silence(c);
    g_assert_cmpuint(c->ip_gets, ==, 1);
    case_command(c, "guest-network-get-interfaces");
    case_poll(c);
    case_expect_error(c, GENERIC, "Gone.");
    case_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/osinfo-linux", test_osinfo_linux);
    g_test_add_func("/agent/osinfo-windows", test_osinfo_windows);
    g_test_add_func("/agent/host-name", test_host_name);
    g_test_add_func("/agent/kvp-refused", test_kvp_refused);
    g_test_add_func("/agent/addresses", test_addresses);
    g_test_add_func("/agent/interfaces", test_interfaces);
    g_test_add_func("/agent/interfaces-abandoned", test_interfaces_abandoned);
    return g_test_run();
}
