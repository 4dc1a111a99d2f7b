/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's commands on the key-value service. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qobject/qlist.h"
#include "hv-agent-internal.h"

/* The service ends its jobs itself; this is for the turn in between. */
#define GRACE_MS 1000

#define LATE "the guest has not answered the key-value service in time"

void hv_agent_nic_free(HvAgentNic *nic)
{
    g_free(nic->name);
    g_free(nic->mac);
    g_free(nic);
}

void hv_agent_kvp_forget(HvAgentCommands *c)
{
    g_clear_pointer(&c->nics, g_ptr_array_unref);
    qobject_unref(c->interfaces);
    c->interfaces = NULL;
}

/* The job under way once it has ended; or NULL, and perhaps it is answered. */
static VMBusKvpJobInfo *ended_job(HvAgentCommands *c)
{
    VMBusKvpJobInfo *info = c->services->kvp_job(c->opaque, c->job);
    Error *err = NULL;

    if (!info) {
        error_setg(&err, "the key-value service has forgotten the request");
        hv_agent_wait_fail(c, err);
        return NULL;
    }
    if (info->state != VM_BUS_KVP_JOB_STATE_ENDED) {
        qapi_free_VMBusKvpJobInfo(info);
        return NULL;
    }
    return info;
}

static bool check_result(HvAgentCommands *c, const VMBusKvpJobInfo *info)
{
    Error *err = NULL;

    if (info->result == VM_BUS_KVP_RESULT_OK) {
        return true;
    }
    error_setg(&err, "%s", info->message);
    hv_agent_wait_fail(c, err);
    return false;
}

static const char *value_of(const VMBusKvpJobInfo *info, const char *key)
{
    for (const VMBusKvpItemList *item = info->items; item; item = item->next) {
        if (!strcmp(item->value->key, key) && *item->value->value) {
            return item->value->value;
        }
    }
    return NULL;
}

static void start_list(HvAgent *agent, HvAgentCommands *c,
                       void (*poll)(HvAgentCommands *c))
{
    Error *err = NULL;

    if (!hv_agent_need_running(c, agent)) {
        return;
    }
    hv_agent_wait(c, agent, poll, c->limits.timeout_ms + GRACE_MS, LATE);
    c->job = c->services->kvp_list(c->opaque, c->limits.timeout_ms, &err);
    if (err) {
        hv_agent_wait_fail(c, err);
    } else {
        poll(c);
    }
}

/* Operating system */

static void put(QDict *out, const char *name, const char *value)
{
    if (value) {
        qdict_put_str(out, name, value);
    }
}

/* In Windows, the numbers of its processor architectures (winnt.h). */
static const char *machine_name(const char *architecture)
{
    if (!g_strcmp0(architecture, "9")) {
        return "x86_64";
    }
    return !g_strcmp0(architecture, "0") ? "i686" : architecture;
}

/*
 * Linux's daemon gives uname's release as the build number, and NAME and
 * VERSION_ID of os-release.  Windows gives its edition as the name.
 */
static QDict *describe_os(const VMBusKvpJobInfo *info)
{
    const char *name = value_of(info, "OSName");
    bool windows = name && strstr(name, "Windows");
    QDict *out = qdict_new();

    put(out, "machine", machine_name(value_of(info, "ProcessorArchitecture")));
    put(out, "kernel-release", value_of(info, "OSBuildNumber"));
    if (windows) {
        put(out, "kernel-version", value_of(info, "OSVersion"));
        put(out, "id", "mswindows");
        put(out, "name", "Microsoft Windows");
        put(out, "pretty-name", name);
        put(out, "variant", strstr(name, "Server") ? "server" : "client");
    } else {
        put(out, "name", name);
        put(out, "version-id", value_of(info, "OSMajorVersion"));
    }
    return out;
}

static void poll_osinfo(HvAgentCommands *c)
{
    g_autoptr(VMBusKvpJobInfo) info = ended_job(c);

    if (info && check_result(c, info)) {
        hv_agent_wait_return(c, QOBJECT(describe_os(info)));
    }
}

void hv_agent_start_osinfo(HvAgent *agent, void *opaque, const QDict *args)
{
    start_list(agent, opaque, poll_osinfo);
}

/* Name */

static void poll_host_name(HvAgentCommands *c)
{
    g_autoptr(VMBusKvpJobInfo) info = ended_job(c);
    const char *name;
    Error *err = NULL;
    QDict *out;

    if (!info || !check_result(c, info)) {
        return;
    }
    name = value_of(info, "FullyQualifiedDomainName");
    if (!name) {
        error_setg(&err, "the guest does not tell its name");
        hv_agent_wait_fail(c, err);
        return;
    }
    out = qdict_new();
    put(out, "host-name", name);
    hv_agent_wait_return(c, QOBJECT(out));
}

void hv_agent_start_host_name(HvAgent *agent, void *opaque, const QDict *args)
{
    start_list(agent, opaque, poll_host_name);
}

/* Network interfaces */

/*
 * The length of the prefix in "/64", "64" or "255.255.255.0".  The protocol
 * has to have one: without a mask the address stands for itself.
 */
static int64_t prefix_of(const char *subnet, bool ipv6)
{
    int64_t most = ipv6 ? 128 : 32, length;
    struct in_addr mask;

    if (!subnet) {
        return most;
    }
    subnet += *subnet == '/';
    if (qemu_strtoi64(subnet, NULL, 10, &length) == 0) {
        return length >= 0 && length <= most ? length : most;
    }
    if (!ipv6 && inet_pton(AF_INET, subnet, &mask) == 1) {
        return ctpop32(mask.s_addr);
    }
    return most;
}

static QList *describe_addresses(const VMBusIpSettings *ip)
{
    const strList *subnet = ip->subnets;
    QList *out = qlist_new();

    for (const strList *address = ip->addresses; address;
         address = address->next) {
        bool ipv6 = strchr(address->value, ':');
        QDict *one = qdict_new();

        put(one, "ip-address", address->value);
        put(one, "ip-address-type", ipv6 ? "ipv6" : "ipv4");
        qdict_put_int(one, "prefix",
                      prefix_of(subnet ? subnet->value : NULL, ipv6));
        qlist_append(out, one);
        subnet = subnet ? subnet->next : NULL;
    }
    return out;
}

/* Clients take a name with a colon for the alias of another interface. */
static void add_interface(HvAgentCommands *c, const VMBusIpSettings *ip)
{
    const HvAgentNic *nic = c->nics->pdata[0];
    g_autofree char *name = g_strdelimit(g_strdup(nic->name), ":", '-');
    QDict *out = qdict_new();

    put(out, "name", name);
    put(out, "hardware-address", nic->mac);
    if (ip) {
        qdict_put(out, "ip-addresses", describe_addresses(ip));
    }
    qlist_append(c->interfaces, out);
    g_ptr_array_remove_index(c->nics, 0);
}

/* What a guest answers that has no driver for the adapter. */
static bool has_no_adapter(VMBusKvpResult result)
{
    return result == VM_BUS_KVP_RESULT_NO_SUCH_ADAPTER ||
           result == VM_BUS_KVP_RESULT_NOT_CONNECTED ||
           result == VM_BUS_KVP_RESULT_FAILED;
}

static void ask_next(HvAgentCommands *c)
{
    int64_t left = c->deadline_ms - GRACE_MS - c->services->now_ms(c->opaque);
    const HvAgentNic *nic;
    Error *err = NULL;

    if (!c->nics->len) {
        hv_agent_wait_return(c, QOBJECT(qobject_ref(c->interfaces)));
        return;
    }
    nic = c->nics->pdata[0];
    c->job = c->services->ip_get(c->opaque, nic->mac, MAX(left, 1), &err);
    if (err) {
        hv_agent_wait_fail(c, err);
    }
}

/* An interface a turn; the next turn comes with the end of its job. */
static void poll_interfaces(HvAgentCommands *c)
{
    g_autoptr(VMBusKvpJobInfo) info = ended_job(c);

    if (!info) {
        return;
    }
    if (has_no_adapter(info->result)) {
        add_interface(c, NULL);
    } else if (check_result(c, info)) {
        add_interface(c, info->ip);
    } else {
        return;
    }
    ask_next(c);
}

void hv_agent_start_interfaces(HvAgent *agent, void *opaque, const QDict *args)
{
    HvAgentCommands *c = opaque;

    if (!hv_agent_need_running(c, agent)) {
        return;
    }
    hv_agent_wait(c, agent, poll_interfaces, c->limits.timeout_ms + GRACE_MS,
                  LATE);
    c->nics = c->services->nics(c->opaque);
    c->interfaces = qlist_new();
    ask_next(c);
}
