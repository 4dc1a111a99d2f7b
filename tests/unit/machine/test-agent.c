/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The protocol: what comes in, and what goes out. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "agent-fixture.h"

static void test_sync(void)
{
    Case *c = case_new();

    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":42}}\n");
    case_expect(c, "{\"return\": 42}");
    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":-1}}");
    case_expect(c, "{\"return\": -1}");
    case_send(c, "{\"execute\":\"guest-sync\","
                 "\"arguments\":{\"id\":18446744073709551615}}");
    case_expect(c, "{\"return\": 18446744073709551615}");
    case_expect_silence(c);
    case_free(c);
}

static void test_sync_delimited(void)
{
    Case *c = case_new();

    case_send(c, "{\"execute\":\"guest-sync-delimited\","
                 "\"arguments\":{\"id\":7}}\n");
    case_expect(c, "\xff{\"return\": 7}");
    /* It is for that one answer, and not for an error. */
    case_send(c, "{\"execute\":\"guest-sync-delimited\"}\n");
    case_expect_error(c, GENERIC,
                      "guest-sync-delimited needs the argument "
                      "'id'");
    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":8}}\n");
    case_expect(c, "{\"return\": 8}");
    case_free(c);
}

/* name -> "enabled success-response" of guest-info. */
static char *info_of(Case *c, const char *name)
{
    g_autofree char *line = NULL;
    const QListEntry *entry;
    char *found = NULL;
    QDict *answer, *info;

    case_command(c, "guest-info");
    line = case_line(c);
    answer = qobject_to(QDict, qobject_from_json(line, &error_abort));
    info = qdict_get_qdict(answer, "return");
    g_assert_nonnull(qdict_get_str(info, "version"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "supported_commands"), entry) {
        QDict *one = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(one, "name"), name)) {
            g_assert_null(found);
            found = g_strdup_printf("%d %d", qdict_get_bool(one, "enabled"),
                                    qdict_get_bool(one, "success-response"));
        }
    }
    qobject_unref(answer);
    return found;
}

static void test_info(void)
{
    static const char *const expected[][2] = {
        {"guest-sync", "1 1"},
        {"guest-sync-delimited", "1 1"},
        {"guest-info", "1 1"},
        {"guest-ping", "1 1"},
        {"guest-shutdown", "1 1"},
        {"guest-suspend-disk", "1 1"},
        {"guest-get-time", "1 1"},
        {"guest-set-time", "1 1"},
        {"guest-fsfreeze-freeze", "0 1"},
        {"guest-fsfreeze-freeze-list", "0 1"},
        {"guest-fsfreeze-status", "0 1"},
        {"guest-fsfreeze-thaw", "0 1"},
        {"guest-get-osinfo", "1 1"},
        {"guest-get-host-name", "1 1"},
        {"guest-network-get-interfaces", "1 1"},
        {"guest-exec", NULL},
    };
    Case *c = case_new();

    c->missing = "hv-vss";
    for (int i = 0; i < ARRAY_SIZE(expected); i++) {
        g_autofree char *found = info_of(c, expected[i][0]);

        g_assert_cmpstr(found, ==, expected[i][1]);
    }
    case_free(c);
}

static void test_refusals(void)
{
    static const char *const refusals[][2] = {
        {"[]", "a command must be a JSON object"},
        {"\"guest-ping\"", "a command must be a JSON object"},
        {"5 ", "a command must be a JSON object"},
        {"null ", "a command must be a JSON object"},
        {"{}", "a command needs the member 'execute'"},
        {"{\"arguments\":{}}", "a command needs the member 'execute'"},
        {"{\"execute\":5}", "'execute' must be a string"},
        {"{\"execute\":null}", "'execute' must be a string"},
        {"{\"execute\":\"guest-ping\",\"arguments\":[]}",
         "'arguments' must be an object"},
        {"{\"execute\":\"guest-ping\",\"control\":1}",
         "a command has no member 'control'"},
        {"{\"execute\":\"guest-ping\",\"arguments\":{\"a\":1}}",
         "guest-ping has no argument 'a'"},
        {"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1,\"a\":1}}",
         "guest-sync has no argument 'a'"},
        {"{\"execute\":\"guest-sync\"}", "guest-sync needs the argument 'id'"},
        {"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":\"1\"}}",
         "the argument 'id' of guest-sync must be an integer"},
        {"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1.5}}",
         "the argument 'id' of guest-sync must be an integer"},
        {"{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":1}}",
         "the argument 'mode' of guest-shutdown must be a string"},
        {"{\"execute\":\"guest-fsfreeze-freeze-list\","
         "\"arguments\":{\"mountpoints\":\"/\"}}",
         "the argument 'mountpoints' of guest-fsfreeze-freeze-list must be a "
         "list of strings"},
        {"{\"execute\":\"guest-fsfreeze-freeze-list\","
         "\"arguments\":{\"mountpoints\":[\"/\",1]}}",
         "the argument 'mountpoints' of guest-fsfreeze-freeze-list must be a "
         "list of strings"},
    };
    Case *c = case_new();

    for (int i = 0; i < ARRAY_SIZE(refusals); i++) {
        case_send(c, refusals[i][0]);
        case_expect_error(c, GENERIC, refusals[i][1]);
        case_expect_silence(c);
    }
    case_free(c);
}

static void test_not_found(void)
{
    Case *c = case_new();

    case_command(c, "guest-exec");
    case_expect_error(c, NOT_FOUND, "this agent has no command 'guest-exec'");
    c->missing = "hv-heartbeat";
    case_command(c, "guest-ping");
    case_expect_error(c, NOT_FOUND,
                      "guest-ping is disabled: the machine has "
                      "no hv-heartbeat device");
    case_free(c);
}

static void test_id(void)
{
    Case *c = case_new();

    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1},"
                 "\"id\":[\"x\"]}");
    case_expect(c, "{\"return\": 1, \"id\": [\"x\"]}");
    case_send(c, "{\"execute\":\"guest-nothing\",\"id\":2}");
    case_expect(c, "{\"id\": 2, \"error\": {\"class\": \"CommandNotFound\", "
                   "\"desc\": \"this agent has no command 'guest-nothing'\"}}");
    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":3}}");
    case_expect(c, "{\"return\": 3}");
    case_free(c);
}

static void test_bad_json(void)
{
    Case *c = case_new();

    case_send(c, "junk!{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1}}");
    g_free(case_line(c));
    g_assert_nonnull(strstr(c->out->str, "{\"return\": 1}\n"));
    g_string_truncate(c->out, 0);
    case_send(c, "{\"execute\" \"guest-ping\"}\n");
    case_expect_error(c, GENERIC, "JSON parse error, missing : in object pair");
    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":2}}");
    case_expect(c, "{\"return\": 2}");
    case_expect_silence(c);
    case_free(c);
}

/* What is before it is dropped, and without an answer. */
static void test_sentinel(void)
{
    static const char *const halves[] = {
        "", "{", "{\"execute\":\"gue", "[[[[", "\"", "12", "{\"a\":\"\\",
    };
    Case *c = case_new();

    for (int i = 0; i < ARRAY_SIZE(halves); i++) {
        case_send(c, halves[i]);
        case_send(c, "\xff{\"execute\":\"guest-sync\","
                     "\"arguments\":{\"id\":9}}");
        case_expect(c, "{\"return\": 9}");
        case_expect_silence(c);
    }
    case_free(c);
}

static void test_half_a_command(void)
{
    Case *c = case_new();

    case_send(c, "{\"execute\":\"guest-sync\",\"argu");
    hv_agent_disconnect(c->agent);
    case_expect_silence(c);
    case_send(c, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":3}}");
    case_expect(c, "{\"return\": 3}");
    case_free(c);
}

static void expect_too_long(Case *c)
{
    case_expect_error(c, GENERIC,
                      "a command may have 65536 bytes; what "
                      "follows is skipped until the end of a line");
}

static void test_giant(void)
{
    static const char *const starts[] = {"{\"execute\":\"", "\"", "1",
                                         "[1,1,1,{\"a\":["};
    Case *c = case_new();
    char part[1024];

    memset(part, '1', sizeof(part));
    for (int i = 0; i < ARRAY_SIZE(starts); i++) {
        case_send(c, starts[i]);
        for (int n = 0; n < HV_AGENT_MAX_COMMAND / 1024 * 40; n++) {
            case_send_bytes(c, part, sizeof(part));
        }
        expect_too_long(c);
        case_expect_silence(c);
        case_send(c, "\"}]}]\n{\"execute\":\"guest-sync\","
                     "\"arguments\":{\"id\":4}}");
        case_expect(c, "{\"return\": 4}");
        case_expect_silence(c);
    }
    /* The other way out. */
    case_send(c, "[1");
    for (int n = 0; n < HV_AGENT_MAX_COMMAND / 4; n++) {
        case_send(c, ",1,1,1");
    }
    expect_too_long(c);
    case_send(c, "\xff{\"execute\":\"guest-sync\",\"arguments\":{\"id\":5}}");
    case_expect(c, "{\"return\": 5}");
    case_free(c);
}

/* A command of exactly @len bytes. */
static void send_long(Case *c, unsigned len)
{
    g_autoptr(GString) text = g_string_new(
        "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1},\"id\":\"");

    while (text->len < len - 2) {
        g_string_append_c(text, 'a');
    }
    g_string_append(text, "\"}");
    case_send(c, text->str);
}

static void test_longest(void)
{
    Case *c = case_new();

    send_long(c, HV_AGENT_MAX_COMMAND);
    g_assert_true(
        g_str_has_prefix(c->out->str, "{\"return\": 1, \"id\": \"aa"));
    g_string_truncate(c->out, 0);
    send_long(c, HV_AGENT_MAX_COMMAND + 1);
    expect_too_long(c);
    case_expect_silence(c);
    case_free(c);
}

static void test_white_space(void)
{
    Case *c = case_new();

    for (int n = 0; n < HV_AGENT_MAX_COMMAND / 16; n++) {
        case_send(c, "\n \t\r\n           \n        \n");
    }
    case_expect_silence(c);
    case_send(c, "{ \"execute\" :\n\"guest-sync\" , \"arguments\"\n:"
                 "{\"id\":6} }");
    case_expect(c, "{\"return\": 6}");
    case_free(c);
}

static void test_nesting(void)
{
    Case *c = case_new();

    for (int n = 0; n < 1025; n++) {
        case_send(c, "[");
    }
    case_expect_error(c, GENERIC, "JSON nesting depth limit exceeded");
    case_expect_silence(c);
    case_send(c, "\xff{\"execute\":\"guest-sync\",\"arguments\":{\"id\":6}}");
    case_expect(c, "{\"return\": 6}");
    case_free(c);
}

static void test_one_at_a_time(void)
{
    Case *c = case_new();

    g_assert_cmpuint(hv_agent_room(c->agent), ==, HV_AGENT_MAX_INPUT);
    case_send(c, "{\"execute\":\"guest-set-time\"}{\"execute\":\"guest-sync\","
                 "\"arguments\":{\"id\":1}}{\"execute\":\"guest-set-time\"}");
    g_assert_true(hv_agent_busy(c->agent));
    g_assert_cmpuint(hv_agent_room(c->agent), ==, 0);
    g_assert_cmpuint(c->syncs, ==, 1);
    case_expect_silence(c);
    hv_agent_commands_synced(c->commands, NULL);
    case_poll(c);
    case_expect(c, "{\"return\": {}}");
    case_expect(c, "{\"return\": 1}");
    g_assert_cmpuint(c->syncs, ==, 2);
    case_expect_silence(c);
    hv_agent_commands_synced(c->commands, NULL);
    case_poll(c);
    case_expect(c, "{\"return\": {}}");
    g_assert_cmpuint(hv_agent_room(c->agent), ==, HV_AGENT_MAX_INPUT);
    case_free(c);
}

static unsigned lines(const Case *c)
{
    unsigned count = 0;

    for (const char *s = c->out->str; *s; s++) {
        count += *s == '\n';
    }
    return count;
}

static void test_turns(void)
{
    static const char *const floods[] = {
        "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1}}",
        "{}",
        "}",
        "1}",
        "[]",
    };

    for (int i = 0; i < ARRAY_SIZE(floods); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        Case *c = case_new();
        unsigned turns = 1;

        while (text->len + strlen(floods[i]) <= HV_AGENT_MAX_INPUT) {
            g_string_append(text, floods[i]);
        }
        hv_agent_input(c->agent, text->str, text->len);
        g_assert_cmpuint(lines(c), <=, HV_AGENT_MAX_TURN + 1);
        while (!hv_agent_room(c->agent)) {
            unsigned before = lines(c);

            g_assert_cmpuint(c->wakes, >, 0);
            c->wakes = 0;
            hv_agent_run(c->agent);
            turns++;
            g_assert_cmpuint(lines(c) - before, <=, HV_AGENT_MAX_TURN + 1);
        }
        g_assert_cmpuint(turns, >, 2);
        g_assert_cmpuint(lines(c), >=, text->len / strlen(floods[i]));
        case_free(c);
    }
}

static void test_client_that_does_not_read(void)
{
    Case *c = case_new();

    hv_agent_set_blocked(c->agent, true);
    g_assert_cmpuint(hv_agent_room(c->agent), ==, 0);
    hv_agent_set_blocked(c->agent, false);
    hv_agent_input(c->agent, "{\"execute\":\"guest-set-time\"}{}", 30);
    hv_agent_set_blocked(c->agent, true);
    hv_agent_commands_synced(c->commands, NULL);
    case_poll(c);
    case_expect(c, "{\"return\": {}}");
    case_expect_silence(c);
    hv_agent_set_blocked(c->agent, false);
    case_settle(c);
    case_expect_error(c, GENERIC, "a command needs the member 'execute'");
    case_free(c);
}

static void test_client_that_goes_away(void)
{
    Case *c = case_new();

    case_send(c, "{\"execute\":\"guest-set-time\"}{\"execute\":");
    hv_agent_disconnect(c->agent);
    g_assert_false(hv_agent_busy(c->agent));
    g_assert_cmpint(c->wake_ms, ==, INT64_MAX);
    hv_agent_commands_synced(c->commands, NULL);
    case_poll(c);
    case_expect_silence(c);
    case_command(c, "guest-set-time");
    case_expect_silence(c);
    hv_agent_commands_synced(c->commands, "No.");
    case_poll(c);
    case_expect_error(c, GENERIC, "No.");
    case_free(c);
}

static void test_end_during_a_command(void)
{
    Case *c = case_new();

    case_send(c, "{\"execute\":\"guest-set-time\",\"id\":{}}{\"execute\":");
    case_free(c);
}

static void test_byte_by_byte(void)
{
    static const char text[] =
        "\n{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1}}\r\n"
        "x\xff[1,2]{\"execute\":\"guest-sync\",\"arguments\":{\"id\":2}}";
    Case *whole = case_new(), *bytes = case_new();

    case_send(whole, text);
    for (const char *s = text; *s; s++) {
        case_send_bytes(bytes, s, 1);
    }
    g_assert_cmpstr(whole->out->str, ==, bytes->out->str);
    g_assert_cmpuint(lines(whole), ==, 3);
    case_free(whole);
    case_free(bytes);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/sync", test_sync);
    g_test_add_func("/agent/sync-delimited", test_sync_delimited);
    g_test_add_func("/agent/info", test_info);
    g_test_add_func("/agent/refusals", test_refusals);
    g_test_add_func("/agent/not-found", test_not_found);
    g_test_add_func("/agent/id", test_id);
    g_test_add_func("/agent/bad-json", test_bad_json);
    g_test_add_func("/agent/sentinel", test_sentinel);
    g_test_add_func("/agent/half-a-command", test_half_a_command);
    g_test_add_func("/agent/giant", test_giant);
    g_test_add_func("/agent/longest", test_longest);
    g_test_add_func("/agent/white-space", test_white_space);
    g_test_add_func("/agent/nesting", test_nesting);
    g_test_add_func("/agent/one-at-a-time", test_one_at_a_time);
    g_test_add_func("/agent/turns", test_turns);
    g_test_add_func("/agent/does-not-read", test_client_that_does_not_read);
    g_test_add_func("/agent/goes-away", test_client_that_goes_away);
    g_test_add_func("/agent/end-during-command", test_end_during_a_command);
    g_test_add_func("/agent/byte-by-byte", test_byte_by_byte);
    return g_test_run();
}
