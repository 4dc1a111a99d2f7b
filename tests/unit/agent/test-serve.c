/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent against a kernel and file systems that are made up. */
#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake.h"

static void test_order(Fake *fake, const void *data)
{
    g_autofree char *before = NULL, *during = NULL, *record = NULL;

    fake_begin(fake);
    fake_assert_log(fake, "the kernel's version is 129");
    before = case_read(fake->folder, "log");
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "F3F2F1F0");
    for (int i = 0; i < FAKE_FS; i++) {
        g_assert_cmpint(fake->files->fs[i].flushes, ==, 1);
    }
    record = case_read(fake->folder, "record");
    g_assert_cmpstr(record, ==, "8:3\n8:2\n8:1\n8:0\n");
    /* Not a word while frozen. */
    during = case_read(fake->folder, "log");
    g_assert_cmpstr(during, ==, before);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    fake_assert_log(fake, "Froze 4 file systems.");
    fake_assert_log(fake, "Thawed.");
    case_wait(!g_file_test(fake->config.record, G_FILE_TEST_EXISTS), 1000);
}

/* Everything frozen so far is thawed, and nothing else is touched. */
static void test_one_fails(Fake *fake, const void *data)
{
    fake->files->fs[1].freeze_error = EIO;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    fake_assert_events(fake, "F3F2f1T2T3");
    fake_assert_log(fake,
                    "Nothing is frozen: /1 cannot be frozen: Input/output");
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake->files->fs[1].freeze_error = 0;
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_true(fake_all_frozen(fake));
}

static void test_frozen_by_another(Fake *fake, const void *data)
{
    fake->files->fs[0].frozen = true;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    fake_assert_events(fake, "F3F2F1f0T1T2T3");
    fake_assert_log(fake, "/0 cannot be frozen: another program has frozen it");
    g_assert_true(fake->files->fs[0].frozen);
}

static void test_unsupported(Fake *fake, const void *data)
{
    fake->files->fs[2].freeze_error = EOPNOTSUPP;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    fake_assert_log(fake,
                    "/2 cannot be frozen: its type cannot be frozen; name it "
                    "with \"exclude\"");
    g_assert_true(fake_none_frozen(fake));
}

static void test_cannot_open(Fake *fake, const void *data)
{
    fake->files->fs[2].open_error = ESTALE;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    fake_assert_log(fake, "/2 cannot be opened: another mount hides it");
    fake_assert_events(fake, "");
}

static void test_open_hangs(Fake *fake, const void *data)
{
    int64_t start = now_ms();

    fake->files->fs[1].open_ms = 60000;
    fake->config.freeze_timeout = 1;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    g_assert_cmpint(now_ms() - start, <, 3000);
    fake_assert_log(fake, "Nothing is frozen: opening /1 took too long");
    fake_assert_events(fake, "");
}

static void test_opener_dies(Fake *fake, const void *data)
{
    fake->files->fs[3].open_ms = 60000;
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake_child(fake, "hv-vss-opener"), 3000);
    g_assert_cmpint(kill(fake_child(fake, "hv-vss-opener"), SIGKILL), ==, 0);
    g_assert_cmphex(fake_answer(fake), ==, HV_VSS_E_FAIL);
    fake_assert_log(fake, "the child that opens file systems died");
}

static void test_thaw_without_freeze(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "");
}

static void test_second_freeze(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_ALREADY_EXISTS);
    g_assert_true(fake_all_frozen(fake));
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    fake_assert_log(fake, "it was refused");
}

static void test_hot_backup(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(fake_request(fake, HV_VSS_HOT_BACKUP), ==, HV_VSS_S_OK);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(fake_request(fake, HV_VSS_HOT_BACKUP), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    unlink(fake->config.mountinfo);
    g_assert_cmphex(fake_request(fake, HV_VSS_HOT_BACKUP), ==, HV_VSS_E_FAIL);
    fake_assert_log(fake, "A freeze is not possible: ");
}

static void test_unknown(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(fake_request(fake, 99), ==, HV_VSS_E_INVALID_ARG);
    fake_assert_log(fake, "unknown operation 99");
}

static void test_nothing_to_freeze(Fake *fake, const void *data)
{
    case_write(fake->folder, "mountinfo", "1 0 0:2 / / rw - rootfs none rw\n");
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "");
}

/* Only once: the host then knows. */
static void test_hold_time(Fake *fake, const void *data)
{
    int64_t start;

    fake->config.hold_time = 1;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    start = now_ms();
    case_wait(fake_none_frozen(fake), 3000);
    g_assert_cmpint(now_ms() - start, >, 900);
    fake_assert_log(fake,
                    "before the host asked for it: the hold time is over");
    g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
}

/* An agent that cannot run at all: the guard is in time. */
static void test_hold_time_stopped(Fake *fake, const void *data)
{
    fake->config.hold_time = 1;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmpint(kill(fake->agent, SIGSTOP), ==, 0);
    case_wait(fake_none_frozen(fake), 3000);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    g_assert_cmpint(kill(fake->agent, SIGCONT), ==, 0);
    fake_assert_log(fake, "/3 was thawed before");
    g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

/* The answer comes in time; what the kernel froze at last is thawed. */
static void test_freeze_hangs(Fake *fake, const void *data)
{
    int64_t start;

    fake->config.freeze_timeout = 1;
    fake->files->fs[2].freeze_ms = 10000;
    fake_begin(fake);
    start = now_ms();
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    g_assert_cmpint(now_ms() - start, <, 3500);
    g_assert_true(fake_none_frozen(fake));
    fake_assert_events(fake, "F3T3");
    fake_assert_log(fake,
                    "/2 could not be frozen in time; and the kernel has not "
                    "ended freezing /2");
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    fake_assert_log(fake, "has not ended what an earlier freeze began");
    g_assert_cmphex(fake_request(fake, HV_VSS_HOT_BACKUP), ==, HV_VSS_E_FAIL);
    case_wait(fake->files->events == 8, 12000);
    fake_assert_events(fake, "F3T3F2T2");
    fake->files->fs[2].freeze_ms = 0;
    case_wait(!fake_child(fake, "hv-vss-guard"), 2000);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_true(fake_all_frozen(fake));
}

static void test_killed(Fake *fake, const void *data)
{
    int64_t start;

    case_hook(fake->folder, "thaw.d/10", "echo ran >$(dirname $0)/../ran");
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    start = now_ms();
    fake_kill(fake, SIGKILL);
    case_wait(fake_none_frozen(fake), 2000);
    g_assert_cmpint(now_ms() - start, <, 1000);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    fake_assert_log(fake, "its guard has thawed them");
    fake_wait_guard(fake);
    for (int i = 0; i < 400; i++) {
        g_autofree char *ran = case_read(fake->folder, "ran");

        if (strcmp(ran, "ran\n") == 0) {
            return;
        }
        g_usleep(5000);
    }
    g_error("the thaw hook did not run");
}

/* In the middle of it; also the one that is just being frozen. */
static void test_killed_while_freezing(Fake *fake, const void *data)
{
    fake->files->fs[1].freeze_ms = 1000;
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake->files->events == 4, 3000);
    fake_kill(fake, SIGKILL);
    case_wait(fake->files->events == 12, 5000);
    fake_assert_events(fake, "F3F2T2T3F1T1");
    g_assert_true(fake_none_frozen(fake));
    fake_assert_log(fake, "its guard has thawed them");
    fake_wait_guard(fake);
}

static void test_freezer_killed(Fake *fake, const void *data)
{
    fake->files->fs[1].freeze_ms = 1000;
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake->files->events == 4, 3000);
    g_assert_cmpint(kill(fake_child(fake, "hv-vss-freezer"), SIGKILL), ==, 0);
    g_assert_cmphex(fake_answer(fake), ==, HV_VSS_E_FAIL);
    g_assert_true(fake_none_frozen(fake));
    fake_assert_log(fake, "/1 was not frozen: the child that freezes died");
}

/* Another one takes its place, and does its work. */
static void test_guard_killed(Fake *fake, const void *data)
{
    pid_t guard;

    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    guard = fake_child(fake, "hv-vss-guard");
    g_assert_cmpint(guard, >, 0);
    g_assert_cmpint(kill(guard, SIGKILL), ==, 0);
    case_wait(fake_child(fake, "hv-vss-guard") > 0 &&
                  fake_child(fake, "hv-vss-guard") != guard,
              3000);
    g_assert_true(fake_all_frozen(fake));
    fake_kill(fake, SIGKILL);
    case_wait(fake_none_frozen(fake), 2000);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    fake_wait_guard(fake);
}

/* Not even the guard is left: the next agent has the record. */
static void test_all_killed(Fake *fake, const void *data)
{
    pid_t guard;

    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    guard = fake_child(fake, "hv-vss-guard");
    g_assert_cmpint(kill(guard, SIGSTOP), ==, 0);
    fake_kill(fake, SIGKILL);
    g_assert_cmpint(kill(guard, SIGKILL), ==, 0);
    g_assert_true(fake_all_frozen(fake));
    fake->files->fs[1].frozen = false; /* an administrator did that */
    fake_start(fake);
    fake_register(fake);
    g_assert_true(fake_none_frozen(fake));
    fake_assert_log(fake,
                    "killed; 3 file systems that it left frozen are thawed");
    g_assert_true(fake_lapsed(fake));
    g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    g_assert_false(g_file_test(fake->config.record, G_FILE_TEST_EXISTS));
}

/* Killed before there was a guard: the next agent undoes what hooks did. */
static void test_killed_in_hook(Fake *fake, const void *data)
{
    g_autofree char *ran = NULL, *on = NULL;

    case_hook(fake->folder, "freeze.d/10",
              "echo >$(dirname $0)/../on; "
              "exec sleep 60");
    case_hook(fake->folder, "thaw.d/10", "echo ran >$(dirname $0)/../ran");
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    on = g_strdup_printf("%s/on", fake->folder);
    case_wait(g_file_test(on, G_FILE_TEST_EXISTS), 3000);
    fake_kill(fake, SIGKILL);
    fake_start(fake);
    fake_register(fake);
    fake_assert_log(fake,
                    "killed; 0 file systems that it left frozen are thawed");
    ran = case_read(fake->folder, "ran");
    g_assert_cmpstr(ran, ==, "ran\n");
    g_assert_true(fake_lapsed(fake));
    g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    g_assert_false(g_file_test(fake->config.record, G_FILE_TEST_EXISTS));
}

/* Without a place for the record there is a freeze all the same. */
static void test_no_record(Fake *fake, const void *data)
{
    g_autofree char *log = NULL;

    free(fake->config.record);
    fake->config.record = xstrdup("/nonexistent/record");
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_log(fake,
                    "There is no record of what is frozen: /nonexistent/");
    fake_assert_log(fake, "Thawed.");
    log = case_read(fake->folder, "log");
    g_assert_null(
        strstr(strstr(log, "There is no record") + 1, "There is no record"));
}

/* What is not in the record was frozen by somebody else. */
static void test_recovers_its_own(Fake *fake, const void *data)
{
    case_write(fake->folder, "record", "8:2\n8:77\nnonsense\n");
    fake->files->fs[1].frozen = true;
    fake->files->fs[2].frozen = true;
    fake_begin(fake);
    fake_assert_log(fake, "1 file systems that it left frozen are thawed");
    g_assert_true(fake->files->fs[1].frozen);
    g_assert_false(fake->files->fs[2].frozen);
}

static void test_recovery_fails(Fake *fake, const void *data)
{
    case_write(fake->folder, "record", "8:2\n");
    fake->files->fs[2].frozen = true;
    fake->files->fs[2].thaw_error = EIO;
    fake->files->fs[2].thaw_errors = -1;
    fake_begin(fake);
    fake_assert_log(fake,
                    "left frozen is not thawed: /2 cannot be thawed: Input/");
    g_assert_true(g_file_test(fake->config.record, G_FILE_TEST_EXISTS));
}

static void test_terminated(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    fake_kill(fake, SIGTERM);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    fake_assert_log(fake, "the agent was told to end");
}

/*
 * A host whose freeze ended with its agent hears that from the next agent, even
 * if there is yet another one before it asks for the thaw.
 */
static void test_next_agent_tells(Fake *fake, const void *data)
{
    fake_begin(fake);
    for (int i = 0; i < 2; i++) {
        g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
        fake_kill(fake, i ? SIGTERM : SIGKILL);
        fake_wait_guard(fake);
        for (int agents = 0; agents < 2; agents++) {
            fake_start(fake);
            fake_register(fake);
            if (!agents) {
                fake_kill(fake, SIGKILL);
            }
        }
        g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
        g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    }
}

/* It does not concern the next freeze. */
static void test_lapse_of_an_earlier_freeze(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    fake_kill(fake, SIGKILL);
    fake_wait_guard(fake);
    fake_start(fake);
    fake_register(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_false(fake_lapsed(fake));
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    case_wait(!g_file_test(fake->config.record, G_FILE_TEST_EXISTS), 1000);
}

static void test_terminated_while_freezing(Fake *fake, const void *data)
{
    fake->files->fs[2].freeze_ms = 300;
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake->files->events == 2, 3000);
    fake_kill(fake, SIGTERM);
    g_assert_true(fake_none_frozen(fake));
    fake_assert_log(fake, "Nothing is frozen: the agent was told to end");
}

static void test_thawed_by_another(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    fake->files->fs[1].frozen = false;
    g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
    fake_assert_events(fake, "F3F2F1F0T0t1T2T3");
    fake_assert_log(fake, "/1 was thawed before");
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
}

/* In passing, which the host need not know. */
static void test_thaw_fails_once(Fake *fake, const void *data)
{
    fake->files->fs[1].thaw_error = EIO;
    fake->files->fs[1].thaw_errors = 1;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    fake_assert_events(fake, "F3F2F1F0T0t1T1T2T3");
}

/* The others are thawed, and each THAW tries again. */
static void test_thaw_fails(Fake *fake, const void *data)
{
    fake->files->fs[1].thaw_error = EIO;
    fake->files->fs[1].thaw_errors = -1;
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_E_FAIL);
    g_assert_true(fake->files->fs[1].frozen);
    g_assert_false(fake->files->fs[2].frozen);
    g_assert_false(fake->files->fs[3].frozen);
    fake->files->fs[1].thaw_errors = 0;
    THAW();
    g_assert_true(fake_none_frozen(fake));
    fake_assert_log(fake, "/1 cannot be thawed: Input/output error");
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

static void test_hook_fails(Fake *fake, const void *data)
{
    case_hook(fake->folder, "freeze.d/10", "echo the database says no; exit 1");
    case_hook(fake->folder, "thaw.d/10", "echo thaw hook ran");
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_E_FAIL);
    fake_assert_events(fake, "");
    fake_assert_log(fake, "failed with exit code 1: the database says no");
    fake_assert_log(fake, "thaw.d/10: thaw hook ran");
}

/* Hooks run while nothing is frozen. */
static void test_hooks(Fake *fake, const void *data)
{
    g_autofree char *order = NULL;

    case_hook(fake->folder, "freeze.d/10",
              "cd $(dirname $0)/..; test ! -s record && echo freeze >>ran");
    case_hook(fake->folder, "thaw.d/10",
              "cd $(dirname $0)/..; test ! -s record && echo thaw >>ran");
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    order = case_read(fake->folder, "ran");
    g_assert_cmpstr(order, ==, "freeze\n");
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
    g_assert_cmphex(fake_request(fake, HV_VSS_HOT_BACKUP), ==, HV_VSS_S_OK);
    g_free(order);
    order = case_read(fake->folder, "ran");
    g_assert_cmpstr(order, ==, "freeze\nthaw\n");
}

static void test_hook_hangs_and_device_goes(Fake *fake, const void *data)
{
    fake->config.hook_timeout = 60;
    case_hook(fake->folder, "freeze.d/10",
              "echo >$(dirname $0)/../on; "
              "exec sleep 60");
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    g_autofree char *on = g_strdup_printf("%s/on", fake->folder);
    case_wait(g_file_test(on, G_FILE_TEST_EXISTS), 3000);
    close_fd(&fake->kernel);
    fake_register(fake);
    fake_assert_events(fake, "");
}

static unsigned count_fds(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", pid);
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(dir)) {
        count++;
    }
    g_dir_close(dir);
    return count;
}

/* Nothing is left behind: no descriptor, no process. */
static void test_again_and_again(Fake *fake, const void *data)
{
    unsigned fds = 0;

    fake_begin(fake);
    for (int i = 0; i < 100; i++) {
        g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
        g_assert_true(fake_all_frozen(fake));
        g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
        g_assert_true(fake_none_frozen(fake));
        if (i == 0) {
            fds = count_fds(fake->agent);
        }
        fake->files->events = 0;
    }
    g_assert_cmpuint(count_fds(fake->agent), ==, fds);
    g_assert_cmpint(fake_child(fake, "hv-vss-guard"), ==, 0);
    g_assert_cmpint(fake_child(fake, "hv-vss-freezer"), ==, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Fake *fake, const void *data);
    } cases[] = {
        {"order", test_order},
        {"one-fails", test_one_fails},
        {"frozen-by-another", test_frozen_by_another},
        {"unsupported", test_unsupported},
        {"cannot-open", test_cannot_open},
        {"open-hangs", test_open_hangs},
        {"opener-dies", test_opener_dies},
        {"thaw-without-freeze", test_thaw_without_freeze},
        {"second-freeze", test_second_freeze},
        {"hot-backup", test_hot_backup},
        {"unknown", test_unknown},
        {"nothing-to-freeze", test_nothing_to_freeze},
        {"hold-time", test_hold_time},
        {"hold-time-stopped", test_hold_time_stopped},
        {"freeze-hangs", test_freeze_hangs},
        {"killed", test_killed},
        {"killed-while-freezing", test_killed_while_freezing},
        {"freezer-killed", test_freezer_killed},
        {"guard-killed", test_guard_killed},
        {"all-killed", test_all_killed},
        {"killed-in-hook", test_killed_in_hook},
        {"no-record", test_no_record},
        {"recovers-its-own", test_recovers_its_own},
        {"recovery-fails", test_recovery_fails},
        {"terminated", test_terminated},
        {"terminated-while-freezing", test_terminated_while_freezing},
        {"next-agent-tells", test_next_agent_tells},
        {"lapse-of-an-earlier-freeze", test_lapse_of_an_earlier_freeze},
        {"thawed-by-another", test_thawed_by_another},
        {"thaw-fails-once", test_thaw_fails_once},
        {"thaw-fails", test_thaw_fails},
        {"hook-fails", test_hook_fails},
        {"hooks", test_hooks},
        {"hook-hangs-and-device-goes", test_hook_hangs_and_device_goes},
        {"again-and-again", test_again_and_again},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name =
            g_strdup_printf("/agent/serve/%s", cases[i].name);

        g_test_add(name, Fake, NULL, fake_setup, cases[i].run, fake_teardown);
    }
    return g_test_run();
}
