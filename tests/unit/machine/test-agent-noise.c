/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients that send anything, in pieces of any size, while the services do
 * anything.  Each answer must be one, and there must be an end of waiting.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "agent-fixture.h"

static const char *const pieces[] = {
    "{\"execute\":\"guest-ping\"}",
    "{\"execute\":\"guest-info\"}\n",
    "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":5}}",
    "{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":6}}",
    "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"reboot\"}}",
    "{\"execute\":\"guest-suspend-disk\"}",
    "{\"execute\":\"guest-get-time\"}",
    "{\"execute\":\"guest-set-time\"}",
    "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":1}}",
    "{\"execute\":\"guest-fsfreeze-freeze\"}",
    "{\"execute\":\"guest-fsfreeze-freeze-list\"}",
    "{\"execute\":\"guest-fsfreeze-thaw\"}",
    "{\"execute\":\"guest-fsfreeze-status\"}",
    "{\"execute\":\"guest-get-osinfo\"}",
    "{\"execute\":\"guest-get-host-name\"}",
    "{\"execute\":\"guest-network-get-interfaces\"}",
    "{\"execute\":",
    "\"id\":",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\\",
    "\xff",
    "\xfe",
    "\xc3",
    "1",
    "-",
    "1e",
    "true",
    "nul",
    " ",
    "\n",
    "x",
    "%s",
    "'guest-ping'",
};

static void add_piece(GString *out, GRand *rand)
{
    const char *piece = pieces[g_rand_int_range(rand, 0, ARRAY_SIZE(pieces))];
    size_t start = out->len;

    if (!g_rand_int_range(rand, 0, 40)) {
        g_string_append_c(out, 0);
    }
    g_string_append(out, piece);
    if (!g_rand_int_range(rand, 0, 4)) {
        size_t at = g_rand_int_range(rand, start, out->len);

        out->str[at] = g_rand_int_range(rand, 0, 256);
    }
    if (!g_rand_int_range(rand, 0, 4)) {
        g_string_truncate(out, g_rand_int_range(rand, start, out->len + 1));
    }
}

static void check_answers(Case *c)
{
    while (c->out->len) {
        g_autofree char *line = case_line(c);
        char *json = line + (*(uint8_t *)line == 0xff);
        QObject *answer = qobject_from_json(json, NULL);
        QDict *dict = qobject_to(QDict, answer);

        g_assert_nonnull(dict);
        g_assert_true(qdict_haskey(dict, "return") !=
                      qdict_haskey(dict, "error"));
        qobject_unref(answer);
    }
}

static void change_job(Case *c, GRand *rand)
{
    qapi_free_VMBusKvpJobInfo(c->kvp);
    c->kvp = NULL;
    if (g_rand_int_range(rand, 0, 8)) {
        c->kvp = g_new0(VMBusKvpJobInfo, 1);
        c->kvp->state = g_rand_int_range(rand, 0, VM_BUS_KVP_JOB_STATE__MAX);
        c->kvp->has_result = c->kvp->state == VM_BUS_KVP_JOB_STATE_ENDED;
        c->kvp->result = g_rand_int_range(rand, 0, VM_BUS_KVP_RESULT__MAX);
        c->kvp->message = g_strdup("Whatever.");
    }
}

static void change_something(Case *c, GRand *rand)
{
    switch (g_rand_int_range(rand, 0, 10)) {
    case 0:
        c->heartbeat.state =
            g_rand_int_range(rand, 0, VM_BUS_HEARTBEAT_STATE__MAX);
        break;
    case 1:
        c->vss.state = g_rand_int_range(rand, 0, VM_BUS_VSS_STATE__MAX);
        c->vss.thaw_owed = g_rand_boolean(rand);
        break;
    case 2:
        change_job(c, rand);
        break;
    case 3:
        c->error = g_rand_boolean(rand) ? "No." : NULL;
        break;
    case 4:
        hv_agent_commands_synced(c->commands,
                                 g_rand_boolean(rand) ? "No." : NULL);
        break;
    case 5:
        hv_agent_commands_shutdown_answered(
            c->commands, g_rand_boolean(rand) ? "No." : NULL);
        break;
    case 6:
        case_pass(c, g_rand_int_range(rand, 0, 20000));
        break;
    case 7:
        c->running = g_rand_int_range(rand, 0, 8);
        c->nics = g_rand_int_range(rand, 0, 3);
        break;
    case 8:
        hv_agent_set_blocked(c->agent, g_rand_boolean(rand));
        break;
    default:
        if (!g_rand_int_range(rand, 0, 10)) {
            hv_agent_disconnect(c->agent);
        }
    }
    case_poll(c);
}

/* After its longest deadline a command is over, whatever has happened. */
static void check_end(Case *c)
{
    hv_agent_set_blocked(c->agent, false);
    for (int i = 0; i < HV_AGENT_MAX_INPUT && !hv_agent_room(c->agent); i++) {
        case_settle(c);
        case_pass(c, 50000);
    }
    g_assert_cmpuint(hv_agent_room(c->agent), >, 0);
    check_answers(c);
    hv_agent_disconnect(c->agent);
    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1}}");
    case_expect(c, "{\"return\": 1}");
}

static void test_noise(void)
{
    unsigned rounds = g_test_quick() ? 3000 : 300000;
    GRand *rand = g_rand_new_with_seed(20);

    for (unsigned i = 0; i < rounds; i++) {
        Case *c = case_new();

        c->thaw_waits = g_rand_boolean(rand);
        for (int step = g_rand_int_range(rand, 1, 40); step; step--) {
            g_autoptr(GString) text = g_string_new(NULL);

            add_piece(text, rand);
            if (text->len <= hv_agent_room(c->agent)) {
                hv_agent_input(c->agent, text->str, text->len);
            }
            change_something(c, rand);
            check_answers(c);
        }
        check_end(c);
        case_free(c);
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/noise", test_noise);
    return g_test_run();
}
