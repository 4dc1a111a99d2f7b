/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl kvp and ip: keys and values, and IP settings, of the guest. */
#include <stdio.h>

#include "json.h"
#include "service.h"

#define DEFAULT_TIMEOUT 10
/* QEMU ends a job in time; more than this beyond it is a hang. */
#define GRACE 5

typedef struct Request {
    const char *command;
    JsonBuilder *arguments; /* inside its object */
} Request;

static void add(Request *r, const char *name, const char *value)
{
    json_builder_set_member_name(r->arguments, name);
    json_builder_add_string_value(r->arguments, value);
}

static void begin(Request *r, const char *command)
{
    r->command = command;
    r->arguments = json_builder_new();
    json_builder_begin_object(r->arguments);
}

/* What a result that is not ok means for the exit code. */
static int judge(JsonObject *job, GError **error)
{
    static const struct {
        const char *result;
        HvctlExit code;
    } table[] = {
        {"timeout", HVCTL_TIMEOUT},
        {"not-sent", HVCTL_TIMEOUT},
        {"no-such-key", HVCTL_NO_KEY},
    };
    const char *result = hvctl_get_string(job, "result", "unknown");
    const char *refusal = hvctl_get_string(job, "refusal", NULL);
    HvctlExit code = HVCTL_REFUSED;

    if (!g_strcmp0(result, "ok")) {
        return HVCTL_DONE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (!g_strcmp0(result, table[i].result)) {
            code = table[i].code;
        }
    }
    g_set_error(error, HVCTL_ERROR, code, "%s%s%s%s",
                hvctl_get_string(job, "message", "The guest failed."),
                refusal ? " It says: " : "", refusal ? refusal : "",
                refusal ? "." : "");
    return code;
}

/* Runs the request to its end; the job, which the caller unrefs, or NULL. */
static JsonObject *run(const HvctlOptions *options, Request *r, GError **error)
{
    double timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout;
    g_autoptr(JsonBuilder) arguments = r->arguments;
    g_autoptr(JsonObject) started = NULL;
    g_autoptr(JsonObject) event = NULL;
    g_autoptr(JsonBuilder) query = json_builder_new();
    g_autoptr(Qmp) qmp = NULL;
    int64_t job;

    json_builder_set_member_name(arguments, "timeout-ms");
    json_builder_add_int_value(arguments, service_timeout_ms(timeout));
    json_builder_end_object(arguments);
    qmp = qmp_open(options, timeout > 0 ? timeout + GRACE : 0, error);
    if (!qmp) {
        return NULL;
    }
    started = service_execute(qmp, "hv-kvp", "key-value", r->command,
                              json_builder_get_root(arguments), error);
    if (!started) {
        return NULL;
    }
    job = hvctl_get_int(started, "job", -1);
    event = service_wait(qmp, "VMBUS_KVP_ENDED", job, error);
    if (!event) {
        return NULL;
    }
    json_builder_begin_object(query);
    json_builder_set_member_name(query, "job");
    json_builder_add_int_value(query, job);
    json_builder_end_object(query);
    return service_execute(qmp, "hv-kvp", "key-value", "query-vmbus-kvp",
                           json_builder_get_root(query), error);
}

/* Items that were left out are no success that nobody hears of. */
static void warn(JsonObject *job)
{
    int64_t skipped = hvctl_get_int(job, "skipped", 0);

    if (skipped) {
        fprintf(stderr, "hvctl: %d damaged items were left out: %s.\n",
                (int)skipped, hvctl_get_string(job, "refusal", "unknown"));
    }
    if (hvctl_get_bool(job, "truncated", false)) {
        fprintf(stderr, "hvctl: The guest has more items than are taken.\n");
    }
}

static void print_items(JsonObject *job, bool keys)
{
    JsonArray *items = hvctl_get_array(job, "items");
    JsonObject *item;

    for (unsigned i = 0; (item = hvctl_array_object(items, i)); i++) {
        if (keys) {
            service_print_text(hvctl_get_string(item, "key", ""));
            printf(" = ");
        }
        service_print_text(hvctl_get_string(item, "value", ""));
        printf("\n");
    }
}

static void print_items_json(JsonObject *job)
{
    static const char *const members[] = {"key", "type", "value"};
    g_autoptr(JsonBuilder) builder = json_builder_new();
    JsonArray *items = hvctl_get_array(job, "items");
    JsonObject *item;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "items");
    json_builder_begin_array(builder);
    for (unsigned i = 0; (item = hvctl_array_object(items, i)); i++) {
        json_builder_begin_object(builder);
        for (size_t j = 0; j < G_N_ELEMENTS(members); j++) {
            hvctl_copy(builder, members[j], item, members[j]);
        }
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    hvctl_copy(builder, "skipped", job, "skipped");
    hvctl_copy(builder, "truncated", job, "truncated");
    json_builder_end_object(builder);
    hvctl_print_json(builder, true);
}

static const struct {
    const char *verb, *command;
    int arguments; /* the pool among them */
} kvp_verbs[] = {
    {"list", "vmbus-kvp-list", 1},
    {"get", "vmbus-kvp-get", 2},
    {"set", "vmbus-kvp-set", 3},
    {"delete", "vmbus-kvp-delete", 2},
};

static bool make_kvp_request(const HvctlOptions *options, Request *r,
                             GError **error)
{
    static const char *const pools[] = {
        "external", "guest", "auto", "auto-external", "auto-internal", NULL};
    char **args = options->args;
    size_t i = 0;

    while (i < G_N_ELEMENTS(kvp_verbs) &&
           g_strcmp0(args[0], kvp_verbs[i].verb)) {
        i++;
    }
    if (i == G_N_ELEMENTS(kvp_verbs) ||
        (int)g_strv_length(args) != kvp_verbs[i].arguments + 1) {
        service_fail(error, HVCTL_USAGE,
                     "kvp is followed by list POOL, get POOL KEY, set POOL KEY "
                     "VALUE, or delete POOL KEY.");
        return false;
    }
    if (!g_strv_contains(pools, args[1])) {
        service_fail(error, HVCTL_USAGE,
                     "The pools are external, guest, auto, auto-external, "
                     "auto-internal.");
        return false;
    }
    begin(r, kvp_verbs[i].command);
    add(r, "pool", args[1]);
    if (args[2]) {
        add(r, "key", args[2]);
    }
    if (kvp_verbs[i].arguments == 3) {
        add(r, "value", args[3]);
        add(r, "type", options->number ? "u32" : "string");
    }
    if (options->direct && !g_strcmp0(args[0], "get")) {
        json_builder_set_member_name(r->arguments, "direct");
        json_builder_add_boolean_value(r->arguments, true);
    }
    return true;
}

int hvctl_kvp(const HvctlOptions *options, GError **error)
{
    g_autoptr(JsonObject) job = NULL;
    Request request;
    int code;

    if (!make_kvp_request(options, &request, error)) {
        return HVCTL_USAGE;
    }
    job = run(options, &request, error);
    if (!job) {
        return HVCTL_BROKEN;
    }
    code = judge(job, error);
    if (code != HVCTL_DONE) {
        return code;
    }
    if (options->json) {
        print_items_json(job);
    } else {
        print_items(job, !g_strcmp0(options->args[0], "list"));
        warn(job);
    }
    return HVCTL_DONE;
}

/* IP settings */

static const char *const ip_lists[] = {"addresses", "subnets", "gateways",
                                       "dns"};

static void add_list(JsonBuilder *builder, const char *name, char **list,
                     char *(*change)(const char *))
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (; list && *list; list++) {
        g_autofree char *text = change(*list);

        json_builder_add_string_value(builder, text);
    }
    json_builder_end_array(builder);
}

/* The two sides of ADDRESS/SUBNET; QEMU finds what is wrong with them. */
static char *before_slash(const char *text)
{
    return g_strndup(text, strcspn(text, "/"));
}

static char *after_slash(const char *text)
{
    text += strcspn(text, "/");
    return g_strdup(*text ? text + 1 : "");
}

static char *same(const char *text)
{
    return g_strdup(text);
}

static bool any_with(char **list, char sign)
{
    for (; list && *list; list++) {
        if (strchr(*list, sign)) {
            return true;
        }
    }
    return false;
}

static void add_settings(JsonBuilder *builder, const HvctlOptions *options)
{
    bool six = any_with(options->addresses, ':');
    bool four = any_with(options->addresses, '.');

    json_builder_set_member_name(builder, "settings");
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "ipv4");
    json_builder_add_boolean_value(builder, four || !six);
    json_builder_set_member_name(builder, "ipv6");
    json_builder_add_boolean_value(builder, six);
    json_builder_set_member_name(builder, "dhcp");
    json_builder_add_boolean_value(builder, options->dhcp);
    add_list(builder, "addresses", options->addresses, before_slash);
    add_list(builder, "subnets", options->addresses, after_slash);
    add_list(builder, "gateways", options->gateways, same);
    add_list(builder, "dns", options->dns, same);
    json_builder_end_object(builder);
}

static bool make_ip_request(const HvctlOptions *options, Request *r,
                            GError **error)
{
    char **args = options->args;
    bool set = !g_strcmp0(args[0], "set");

    if (g_strv_length(args) != 2 || (!set && g_strcmp0(args[0], "get"))) {
        service_fail(error, HVCTL_USAGE,
                     "ip is followed by get ADAPTER or set ADAPTER.");
        return false;
    }
    if (set && !options->dhcp && !options->addresses) {
        service_fail(error, HVCTL_USAGE,
                     "ip set needs --dhcp or --address ADDRESS/SUBNET.");
        return false;
    }
    begin(r, set ? "vmbus-ip-set" : "vmbus-ip-get");
    add(r, "adapter", args[1]);
    if (set) {
        add_settings(r->arguments, options);
    }
    return true;
}

static void print_list(JsonObject *ip, const char *title, const char *name,
                       const char *with)
{
    JsonArray *list = hvctl_get_array(ip, name);
    JsonArray *other = with ? hvctl_get_array(ip, with) : NULL;
    unsigned count = list ? json_array_get_length(list) : 0;

    for (unsigned i = 0; i < count; i++) {
        const char *text = json_array_get_string_element(list, i);

        printf("%s: ", title);
        service_print_text(text ? text : "");
        if (other && i < json_array_get_length(other)) {
            const char *subnet = json_array_get_string_element(other, i);

            /* Linux gives the length of a prefix with the slash. */
            printf("/");
            service_print_text(subnet ? subnet + (*subnet == '/') : "");
        }
        printf("\n");
    }
}

static void print_ip(JsonObject *ip, bool json)
{
    if (json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        hvctl_copy(builder, "ipv4", ip, "ipv4");
        hvctl_copy(builder, "ipv6", ip, "ipv6");
        hvctl_copy(builder, "dhcp", ip, "dhcp");
        for (size_t i = 0; i < G_N_ELEMENTS(ip_lists); i++) {
            hvctl_copy(builder, ip_lists[i], ip, ip_lists[i]);
        }
        json_builder_end_object(builder);
        hvctl_print_json(builder, true);
        return;
    }
    printf("DHCP: %s\n", hvctl_get_bool(ip, "dhcp", false) ? "yes" : "no");
    print_list(ip, "Address", "addresses", "subnets");
    print_list(ip, "Gateway", "gateways", NULL);
    print_list(ip, "DNS", "dns", NULL);
}

int hvctl_ip(const HvctlOptions *options, GError **error)
{
    g_autoptr(JsonObject) job = NULL;
    JsonObject *ip;
    Request request;
    int code;

    if (!make_ip_request(options, &request, error)) {
        return HVCTL_USAGE;
    }
    job = run(options, &request, error);
    if (!job) {
        return HVCTL_BROKEN;
    }
    code = judge(job, error);
    ip = hvctl_get_object(job, "ip");
    if (code == HVCTL_DONE && ip) {
        print_ip(ip, options->json);
    } else if (code == HVCTL_DONE && options->json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        json_builder_end_object(builder);
        hvctl_print_json(builder, true);
    }
    return code;
}
