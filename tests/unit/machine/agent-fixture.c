/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-vmbus.h"
#include "qobject/qjson.h"
#include "agent-fixture.h"

static Case *of(void *opaque)
{
    return opaque;
}

static void fail_if_told(Case *c, Error **errp)
{
    if (c->error) {
        error_setg(errp, "%s", c->error);
    }
}

static bool fake_has_device(void *opaque, const char *type)
{
    return g_strcmp0(of(opaque)->missing, type);
}

static bool fake_running(void *opaque)
{
    return of(opaque)->running;
}

static int64_t fake_now_ms(void *opaque)
{
    return of(opaque)->now_ms;
}

static void fake_wake_at(void *opaque, int64_t when_ms)
{
    of(opaque)->wake_ms = when_ms;
}

static int64_t fake_wall_ns(void *opaque)
{
    return of(opaque)->wall_ns;
}

static void fake_shutdown(void *opaque, VMBusShutdownMode mode, Error **errp)
{
    of(opaque)->shutdowns++;
    of(opaque)->mode = mode;
    fail_if_told(opaque, errp);
}

static void fake_sync(void *opaque, Error **errp)
{
    of(opaque)->syncs++;
    fail_if_told(opaque, errp);
}

static uint64_t fake_freeze(void *opaque, uint32_t hold_ms, uint32_t timeout_ms,
                            Error **errp)
{
    Case *c = opaque;

    fail_if_told(c, errp);
    if (c->error) {
        return 0;
    }
    c->hold_ms = hold_ms;
    c->timeout_ms = timeout_ms;
    c->freezes++;
    c->vss.job++;
    c->vss.state = VM_BUS_VSS_STATE_CHECKING;
    return c->vss.job;
}

static void fake_thaw(void *opaque, Error **errp)
{
    Case *c = opaque;

    c->thaws++;
    c->vss.state =
        c->thaw_waits ? VM_BUS_VSS_STATE_THAWING : VM_BUS_VSS_STATE_IDLE;
    c->vss.thaw_owed = c->thaw_waits;
    fail_if_told(c, errp);
}

static uint64_t fake_kvp_list(void *opaque, uint32_t timeout_ms, Error **errp)
{
    of(opaque)->lists++;
    fail_if_told(opaque, errp);
    return 1;
}

static uint64_t fake_ip_get(void *opaque, const char *mac, uint32_t timeout_ms,
                            Error **errp)
{
    Case *c = opaque;

    c->ip_gets++;
    c->timeout_ms = timeout_ms;
    g_free(c->mac);
    c->mac = g_strdup(mac);
    fail_if_told(c, errp);
    return 1;
}

static VMBusHeartbeatInfo *fake_heartbeat(void *opaque)
{
    return QAPI_CLONE(VMBusHeartbeatInfo, &of(opaque)->heartbeat);
}

static VMBusTimesyncInfo *fake_timesync(void *opaque)
{
    return QAPI_CLONE(VMBusTimesyncInfo, &of(opaque)->timesync);
}

static VMBusVssInfo *fake_vss(void *opaque)
{
    return QAPI_CLONE(VMBusVssInfo, &of(opaque)->vss);
}

static VMBusKvpJobInfo *fake_kvp_job(void *opaque, uint64_t job)
{
    Case *c = opaque;

    return c->kvp ? QAPI_CLONE(VMBusKvpJobInfo, c->kvp) : NULL;
}

static GPtrArray *fake_nics(void *opaque)
{
    GPtrArray *nics =
        g_ptr_array_new_with_free_func((GDestroyNotify)hv_agent_nic_free);

    for (unsigned i = 0; i < of(opaque)->nics; i++) {
        HvAgentNic *nic = g_new0(HvAgentNic, 1);

        nic->name = g_strdup_printf("net:%u", i);
        nic->mac = g_strdup_printf("52:54:00:00:00:%02x", i);
        g_ptr_array_add(nics, nic);
    }
    return nics;
}

static const HvAgentServices services = {
    .has_device = fake_has_device,
    .running = fake_running,
    .now_ms = fake_now_ms,
    .wake_at = fake_wake_at,
    .wall_ns = fake_wall_ns,
    .shutdown = fake_shutdown,
    .sync = fake_sync,
    .freeze = fake_freeze,
    .thaw = fake_thaw,
    .kvp_list = fake_kvp_list,
    .ip_get = fake_ip_get,
    .heartbeat = fake_heartbeat,
    .timesync = fake_timesync,
    .vss = fake_vss,
    .kvp_job = fake_kvp_job,
    .nics = fake_nics,
};

static const HvAgentLimits limits = {
    .timeout_ms = 10000,
    .freeze_timeout_ms = 30000,
    .freeze_hold_ms = 40000,
};

static void take_answer(void *opaque, const char *bytes, size_t len)
{
    Case *c = hv_agent_commands_opaque(opaque);

    g_string_append_len(c->out, bytes, len);
}

static void take_wake(void *opaque)
{
    of(hv_agent_commands_opaque(opaque))->wakes++;
}

static void take_abandon(void *opaque)
{
    hv_agent_commands_abandon(opaque);
}

static bool take_has_device(void *opaque, const char *type)
{
    return fake_has_device(hv_agent_commands_opaque(opaque), type);
}

static const HvAgentOps ops = {
    .send = take_answer,
    .wake = take_wake,
    .abandon = take_abandon,
    .has_device = take_has_device,
};

Case *case_new(void)
{
    Case *c = g_new0(Case, 1);

    c->running = true;
    c->now_ms = 1000;
    c->wake_ms = INT64_MAX;
    c->wall_ns = INT64_C(1700000000) * 1000000000;
    c->out = g_string_new(NULL);
    c->commands = hv_agent_commands_new(&services, c, &limits);
    c->agent = hv_agent_new(hv_agent_commands, &ops, c->commands);
    return c;
}

void case_free(Case *c)
{
    hv_agent_free(c->agent);
    hv_agent_commands_free(c->commands);
    qapi_free_VMBusKvpJobInfo(c->kvp);
    g_string_free(c->out, true);
    g_free(c->mac);
    g_free(c);
}

void case_settle(Case *c)
{
    while (c->wakes) {
        c->wakes = 0;
        hv_agent_run(c->agent);
    }
}

void case_send_bytes(Case *c, const void *bytes, size_t len)
{
    const uint8_t *next = bytes;

    while (len) {
        size_t part = MIN(len, hv_agent_room(c->agent));

        g_assert_cmpuint(part, >, 0);
        hv_agent_input(c->agent, next, part);
        case_settle(c);
        next += part;
        len -= part;
    }
}

void case_send(Case *c, const char *text)
{
    case_send_bytes(c, text, strlen(text));
}

void case_command(Case *c, const char *name)
{
    g_autofree char *text = g_strdup_printf("{\"execute\":\"%s\"}\n", name);

    case_send(c, text);
}

char *case_line(Case *c)
{
    char *end = memchr(c->out->str, '\n', c->out->len);
    char *line;

    g_assert_nonnull(end);
    line = g_strndup(c->out->str, end - c->out->str);
    g_string_erase(c->out, 0, end + 1 - c->out->str);
    return line;
}

void case_expect(Case *c, const char *json)
{
    g_autofree char *line = case_line(c);

    g_assert_cmpstr(line, ==, json);
}

void case_expect_error(Case *c, const char *class, const char *sentence)
{
    g_autofree char *line = case_line(c);
    QDict *answer = qobject_to(QDict, qobject_from_json(line, &error_abort));
    QDict *error;

    g_assert_nonnull(answer);
    error = qdict_get_qdict(answer, "error");
    g_assert_nonnull(error);
    g_assert_cmpstr(qdict_get_str(error, "desc"), ==, sentence);
    g_assert_cmpstr(qdict_get_str(error, "class"), ==, class);
    g_assert_cmpuint(qdict_size(error), ==, 2);
    qobject_unref(answer);
}

void case_expect_silence(Case *c)
{
    g_assert_cmpstr(c->out->str, ==, "");
}

void case_poll(Case *c)
{
    hv_agent_commands_poll(c->commands);
    case_settle(c);
}

void case_pass(Case *c, int64_t ms)
{
    c->now_ms += ms;
    if (c->now_ms >= c->wake_ms) {
        c->wake_ms = INT64_MAX;
        case_poll(c);
    }
}
