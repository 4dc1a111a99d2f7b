/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands ask of the services, and what they make of the answers. */
#include "qemu/osdep.h"
#include "agent-fixture.h"

#define EMPTY "{\"return\": {}}"

/* Heartbeat */

static void test_ping(void)
{
    Case *c = case_new();

    c->heartbeat.state = VM_BUS_HEARTBEAT_STATE_OK;
    case_command(c, "guest-ping");
    case_expect(c, EMPTY);
    c->heartbeat.state = VM_BUS_HEARTBEAT_STATE_NO_CONTACT;
    case_command(c, "guest-ping");
    case_expect_error(c, GENERIC, "the guest has not answered a heartbeat yet");
    c->heartbeat.state = VM_BUS_HEARTBEAT_STATE_LOST;
    case_command(c, "guest-ping");
    case_expect_error(c, GENERIC, "the guest has stopped to answer heartbeats");
    c->heartbeat.state = VM_BUS_HEARTBEAT_STATE_PAUSED;
    case_command(c, "guest-ping");
    case_expect_error(c, GENERIC, "the machine is stopped");
    case_free(c);
}

/* Shutdown */

static void send_shutdown(Case *c, const char *mode)
{
    g_autofree char *text = g_strdup_printf(
        "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"%s\"}}",
        mode);

    case_send(c, text);
}

/* The guest's consent is the answer: nobody has to wait for its end. */
static void consent(Case *c)
{
    g_assert_true(hv_agent_busy(c->agent));
    hv_agent_commands_shutdown_answered(c->commands, NULL);
    case_poll(c);
    case_expect(c, "{\"return\": {}}");
    g_assert_false(hv_agent_busy(c->agent));
    g_assert_cmpint(c->wake_ms, ==, INT64_MAX);
}

static void test_shutdown(void)
{
    static const struct {
        const char *mode;
        VMBusShutdownMode asked;
    } modes[] = {
        {"powerdown", VM_BUS_SHUTDOWN_MODE_POWERDOWN},
        {"halt", VM_BUS_SHUTDOWN_MODE_POWERDOWN},
        {"reboot", VM_BUS_SHUTDOWN_MODE_REBOOT},
    };
    Case *c = case_new();

    for (int i = 0; i < ARRAY_SIZE(modes); i++) {
        c->mode = VM_BUS_SHUTDOWN_MODE__MAX;
        send_shutdown(c, modes[i].mode);
        g_assert_cmpint(c->mode, ==, modes[i].asked);
        consent(c);
    }
    c->mode = VM_BUS_SHUTDOWN_MODE__MAX;
    case_command(c, "guest-shutdown");
    g_assert_cmpint(c->mode, ==, VM_BUS_SHUTDOWN_MODE_POWERDOWN);
    consent(c);
    g_assert_cmpuint(c->shutdowns, ==, 4);
    case_free(c);
}

static void test_suspend_disk(void)
{
    Case *c = case_new();

    case_command(c, "guest-suspend-disk");
    g_assert_cmpint(c->mode, ==, VM_BUS_SHUTDOWN_MODE_HIBERNATE);
    consent(c);
    case_command(c, "guest-suspend-disk");
    hv_agent_commands_shutdown_answered(c->commands, "It has no swap.");
    case_poll(c);
    case_expect_error(c, GENERIC, "It has no swap.");
    case_free(c);
}

static void test_shutdown_refused(void)
{
    Case *c = case_new();

    send_shutdown(c, "explode");
    case_expect_error(c, GENERIC,
                      "the mode 'explode' is none of powerdown, "
                      "reboot and halt");
    c->running = false;
    send_shutdown(c, "reboot");
    case_expect_error(c, GENERIC, "the machine is stopped");
    g_assert_cmpuint(c->shutdowns, ==, 0);
    c->running = true;
    c->error = "The service is not open.";
    send_shutdown(c, "reboot");
    case_expect_error(c, GENERIC, "The service is not open.");
    g_assert_cmpint(c->wake_ms, ==, INT64_MAX);
    c->error = NULL;
    send_shutdown(c, "reboot");
    hv_agent_commands_shutdown_answered(c->commands, "It is locked.");
    case_poll(c);
    case_expect_error(c, GENERIC, "It is locked.");
    send_shutdown(c, "reboot");
    case_pass(c, 9999);
    case_expect_silence(c);
    case_pass(c, 1);
    case_expect_error(c, GENERIC,
                      "the guest has not answered the request to "
                      "shut down in time; it may still follow it");
    /* And it does, when nobody waits. */
    hv_agent_commands_shutdown_answered(c->commands, NULL);
    case_poll(c);
    case_expect_silence(c);
    case_free(c);
}

/* Time */

static void test_get_time(void)
{
    Case *c = case_new();

    case_command(c, "guest-get-time");
    case_expect_error(c, GENERIC,
                      "the guest does not tell what its clock "
                      "shows: the time service has had no place for it since "
                      "version 4.0");
    c->timesync.has_offset_us = true;
    c->timesync.offset_us = -2500001;
    case_command(c, "guest-get-time");
    case_expect(c, "{\"return\": 1699999997499999000}");
    c->running = false;
    case_command(c, "guest-get-time");
    case_expect_error(c, GENERIC, "the machine is stopped");
    case_free(c);
}

static void send_time(Case *c, int64_t time)
{
    g_autofree char *text = g_strdup_printf(
        "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":%" PRId64 "}}",
        time);

    case_send(c, text);
}

static void test_set_time(void)
{
    static const int64_t away[] = {0, 1, 10000000000, -10000000000};
    Case *c = case_new();

    for (int i = 0; i < ARRAY_SIZE(away); i++) {
        send_time(c, c->wall_ns + away[i]);
        g_assert_cmpuint(c->syncs, ==, i + 1);
        hv_agent_commands_synced(c->commands, NULL);
        case_poll(c);
        case_expect(c, EMPTY);
    }
    case_command(c, "guest-set-time");
    hv_agent_commands_synced(c->commands, "It did not want to.");
    case_poll(c);
    case_expect_error(c, GENERIC, "It did not want to.");
    case_command(c, "guest-set-time");
    case_pass(c, 10000);
    case_expect_error(c, GENERIC,
                      "the guest has not answered the order to "
                      "set its clock in time");
    case_free(c);
}

static void test_set_time_refused(void)
{
    Case *c = case_new();

    send_time(c, c->wall_ns + 10000000001);
    case_expect_error(c, GENERIC,
                      "the time service can only give the guest "
                      "the host's time, and the time wanted is 10 s ahead of "
                      "it");
    send_time(c, c->wall_ns - 3600000000000);
    case_expect_error(c, GENERIC,
                      "the time service can only give the guest "
                      "the host's time, and the time wanted is 3600 s behind "
                      "it");
    send_time(c, INT64_MAX);
    case_expect_error(c, GENERIC,
                      "the time service can only give the guest "
                      "the host's time, and the time wanted is 7523372036 s "
                      "ahead of it");
    send_time(c, -1);
    case_expect_error(c, GENERIC, "the time is out of range");
    case_send(c, "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":"
                 "18446744073709551615}}");
    case_expect_error(c, GENERIC, "the time is out of range");
    c->error = "The service is not open.";
    case_command(c, "guest-set-time");
    case_expect_error(c, GENERIC, "The service is not open.");
    c->running = false;
    case_command(c, "guest-set-time");
    case_expect_error(c, GENERIC, "the machine is stopped");
    g_assert_cmpuint(c->syncs, ==, 1);
    case_free(c);
}

/* Backup */

static void freeze(Case *c)
{
    case_command(c, "guest-fsfreeze-freeze");
    case_expect_silence(c);
    c->vss.state = VM_BUS_VSS_STATE_FREEZING;
    case_poll(c);
    case_expect_silence(c);
    c->vss.state = VM_BUS_VSS_STATE_FROZEN;
    c->vss.thaw_owed = true;
    case_poll(c);
    case_expect(c, "{\"return\": 1}");
}

static void expect_status(Case *c, const char *status)
{
    g_autofree char *json = g_strdup_printf("{\"return\": \"%s\"}", status);

    case_command(c, "guest-fsfreeze-status");
    case_expect(c, json);
}

static void test_freeze(void)
{
    Case *c = case_new();

    expect_status(c, "thawed");
    freeze(c);
    g_assert_cmpuint(c->hold_ms, ==, 40000);
    g_assert_cmpuint(c->timeout_ms, ==, 30000);
    expect_status(c, "frozen");
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 1}");
    expect_status(c, "thawed");
    g_assert_cmpuint(c->thaws, ==, 1);
    /* Nothing to thaw. */
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 0}");
    g_assert_cmpuint(c->thaws, ==, 1);
    case_send(c, "{\"execute\":\"guest-fsfreeze-freeze-list\"}");
    c->vss.state = VM_BUS_VSS_STATE_FROZEN;
    case_poll(c);
    case_expect(c, "{\"return\": 1}");
    case_free(c);
}

static void test_freeze_refused(void)
{
    Case *c = case_new();

    c->error = "The service is not open.";
    case_command(c, "guest-fsfreeze-freeze");
    case_expect_error(c, GENERIC, "The service is not open.");
    case_send(c, "{\"execute\":\"guest-fsfreeze-freeze-list\","
                 "\"arguments\":{\"mountpoints\":[\"/\"]}}");
    case_expect_error(c, GENERIC,
                      "the backup service freezes all file "
                      "systems of the guest: leave the mount points out");
    c->error = NULL;
    /* The guest failed; it is thawed before that is told. */
    case_command(c, "guest-fsfreeze-freeze");
    c->vss.state = VM_BUS_VSS_STATE_THAWING;
    c->vss.thaw_owed = true;
    c->vss.message = (char *)"The guest refused.";
    case_poll(c);
    case_expect_silence(c);
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    c->vss.thaw_owed = false;
    case_poll(c);
    case_expect_error(c, GENERIC,
                      "the guest is not frozen: The guest "
                      "refused.");
    g_assert_cmpuint(c->thaws, ==, 0);
    /* Somebody else's comes after it. */
    case_command(c, "guest-fsfreeze-freeze");
    c->vss.job++;
    c->vss.state = VM_BUS_VSS_STATE_FROZEN;
    case_poll(c);
    case_expect_error(c, GENERIC,
                      "the guest is not frozen: another freeze "
                      "came after it");
    g_assert_cmpuint(c->thaws, ==, 0);
    case_free(c);
}

/* The service keeps the deadline; this one is for a thaw that never ends. */
static void test_freeze_late(void)
{
    Case *c = case_new();

    case_command(c, "guest-fsfreeze-freeze");
    c->vss.state = VM_BUS_VSS_STATE_THAWING;
    c->vss.thaw_owed = true;
    c->thaw_waits = true;
    case_pass(c, 44999);
    case_expect_silence(c);
    case_pass(c, 1);
    case_expect_error(c, GENERIC,
                      "the guest was not frozen in time, and has "
                      "not confirmed that it is thawed; the host goes on "
                      "asking it");
    g_assert_cmpuint(c->thaws, ==, 1);
    expect_status(c, "frozen");
    case_free(c);
}

/* Nobody would know of that freeze. */
static void test_freeze_abandoned(void)
{
    Case *c = case_new();

    case_command(c, "guest-fsfreeze-freeze");
    hv_agent_disconnect(c->agent);
    g_assert_cmpuint(c->thaws, ==, 1);
    expect_status(c, "thawed");
    /* But a freeze that was answered outlives its client. */
    freeze(c);
    hv_agent_disconnect(c->agent);
    g_assert_cmpuint(c->thaws, ==, 1);
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 1}");
    /* The machine is stopped before it is frozen. */
    case_command(c, "guest-fsfreeze-freeze");
    hv_agent_commands_cancel(c->commands, "Stopped.");
    case_expect_error(c, GENERIC, "Stopped.");
    g_assert_cmpuint(c->thaws, ==, 3);
    hv_agent_commands_cancel(c->commands, "Stopped.");
    case_expect_silence(c);
    case_free(c);
}

static void expect_early(Case *c, const char *why)
{
    g_autofree char *sentence = g_strdup_printf(
        "the guest did not stay frozen until now, and what was copied "
        "meanwhile may not be consistent: %s",
        why);

    case_command(c, "guest-fsfreeze-thaw");
    case_expect_error(c, GENERIC, sentence);
    case_expect_silence(c);
}

static void test_thawed_early(void)
{
    Case *c = case_new();

    freeze(c);
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    c->vss.thaw_owed = false;
    c->vss.message = (char *)"The hold time is over.";
    expect_early(c, "The hold time is over.");
    g_assert_cmpuint(c->thaws, ==, 0);
    /* It is told once. */
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 0}");
    /* Being thawed when the client comes. */
    freeze(c);
    c->vss.state = VM_BUS_VSS_STATE_THAWING;
    expect_early(c, "The hold time is over.");
    g_assert_cmpuint(c->thaws, ==, 1);
    /* Frozen again, by another. */
    freeze(c);
    c->vss.job++;
    expect_early(c, "another freeze came after it");
    g_assert_cmpuint(c->thaws, ==, 2);
    /* The guest says so when it is thawed. */
    freeze(c);
    c->thaw_waits = true;
    case_command(c, "guest-fsfreeze-thaw");
    case_expect_silence(c);
    c->thaw_waits = false;
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    c->vss.thaw_owed = false;
    c->vss.has_reason = true;
    c->vss.reason = VM_BUS_VSS_REASON_LAPSED;
    c->vss.message = (char *)"It had thawed before.";
    case_poll(c);
    case_expect_error(c, GENERIC,
                      "the guest did not stay frozen until now, and what was "
                      "copied meanwhile may not be consistent: It had thawed "
                      "before.");
    /* But not of an earlier one. */
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 0}");
    c->vss.has_reason = false;
    c->vss.message = (char *)"The hold time is over.";
    /* The next freeze has nothing to do with the last. */
    freeze(c);
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    freeze(c);
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 1}");
    /* Not even if it fails. */
    freeze(c);
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    c->vss.thaw_owed = false;
    case_command(c, "guest-fsfreeze-freeze");
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    case_poll(c);
    case_expect_error(c, GENERIC,
                      "the guest is not frozen: The hold time is over.");
    case_command(c, "guest-fsfreeze-thaw");
    case_expect(c, "{\"return\": 0}");
    case_free(c);
}

static void test_thaw_waits(void)
{
    Case *c = case_new();

    c->thaw_waits = true;
    freeze(c);
    case_command(c, "guest-fsfreeze-thaw");
    case_expect_silence(c);
    c->vss.state = VM_BUS_VSS_STATE_FAILED;
    case_poll(c);
    case_expect_silence(c);
    c->vss.state = VM_BUS_VSS_STATE_IDLE;
    c->vss.thaw_owed = false;
    case_poll(c);
    case_expect(c, "{\"return\": 1}");
    freeze(c);
    case_command(c, "guest-fsfreeze-thaw");
    case_pass(c, 10000);
    case_expect_error(c, GENERIC,
                      "the guest has not confirmed in time that "
                      "it is thawed; the host goes on asking it");
    /* The client asks again; that its freeze ended early would be wrong. */
    case_command(c, "guest-fsfreeze-thaw");
    c->vss.state = VM_BUS_VSS_STATE_IDLE;
    c->vss.thaw_owed = false;
    case_poll(c);
    case_expect(c, "{\"return\": 1}");
    freeze(c);
    c->error = "The machine is stopped.";
    case_command(c, "guest-fsfreeze-thaw");
    case_expect_error(c, GENERIC, "The machine is stopped.");
    case_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/ping", test_ping);
    g_test_add_func("/agent/shutdown", test_shutdown);
    g_test_add_func("/agent/suspend-disk", test_suspend_disk);
    g_test_add_func("/agent/shutdown-refused", test_shutdown_refused);
    g_test_add_func("/agent/get-time", test_get_time);
    g_test_add_func("/agent/set-time", test_set_time);
    g_test_add_func("/agent/set-time-refused", test_set_time_refused);
    g_test_add_func("/agent/freeze", test_freeze);
    g_test_add_func("/agent/freeze-refused", test_freeze_refused);
    g_test_add_func("/agent/freeze-late", test_freeze_late);
    g_test_add_func("/agent/freeze-abandoned", test_freeze_abandoned);
    g_test_add_func("/agent/thawed-early", test_thawed_early);
    g_test_add_func("/agent/thaw-waits", test_thaw_waits);
    return g_test_run();
}
