/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hooks: order, limits, and what a bad one may not do. */
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "agent-case.h"
#include "hooks.h"

typedef struct Case {
    char *folder;
    AgentConfig config;
    Stuck stuck;
    Waiter waiter;
    Reason reason;
} Case;

static void setup(Case *test, const void *data)
{
    memset(test, 0, sizeof(*test));
    test->folder = case_folder();
    case_config(&test->config, test->folder);
    test->config.hook_timeout = 1;
    waiter_init(&test->waiter);
    g_setenv("AGENT_CASE", test->folder, TRUE);
}

static void teardown(Case *test, const void *data)
{
    g_assert_false(stuck_any(&test->stuck));
    waiter_close(&test->waiter);
    config_free(&test->config);
    case_clean(test->folder);
}

/* A hook whose body can say $T for the test's folder. */
static void hook(Case *test, const char *name, const char *body)
{
    g_autofree char *text = g_strdup_printf("T=%s\n%s", test->folder, body);

    case_hook(test->folder, name, text);
}

static bool before(Case *test)
{
    return hooks_before_freeze(&test->config, &test->stuck, &test->waiter,
                               now_ms() + 20000, &test->reason);
}

static void after(Case *test)
{
    hooks_after_thaw(&test->config, &test->stuck, &test->waiter);
}

static void assert_text(Case *test, const char *file, const char *expected)
{
    g_autofree char *text = case_read(test->folder, file);

    g_assert_cmpstr(text, ==, expected);
}

static void assert_reason(Case *test, const char *part)
{
    if (!strstr(test->reason.text, part)) {
        g_error("\"%s\" is not in \"%s\"", part, test->reason.text);
    }
}

/* freeze.d by name, thaw.d backwards, and only what is a hook. */
static void test_order(Case *test, const void *data)
{
    g_autofree char *off = g_strdup_printf("%s/freeze.d/30-off", test->folder);

    hook(test, "freeze.d/20-b", "echo b $1 >>$T/ran");
    hook(test, "freeze.d/10-a", "echo a $1 >>$T/ran");
    hook(test, "freeze.d/30-off", "echo off >>$T/ran");
    g_assert_cmpint(g_chmod(off, 0644), ==, 0);
    hook(test, "freeze.d/.hidden", "echo hidden >>$T/ran");
    hook(test, "freeze.d/10-a~", "echo backup >>$T/ran");
    hook(test, "freeze.d/10-a.dpkg-old", "echo old >>$T/ran");
    hook(test, "freeze.d/10-a.rpmsave", "echo save >>$T/ran");
    hook(test, "freeze.d/sub/10-x", "echo sub >>$T/ran");
    hook(test, "thaw.d/10-a", "echo a $1 >>$T/ran");
    hook(test, "thaw.d/20-b", "echo b $1 >>$T/ran");
    g_assert_true(before(test));
    after(test);
    assert_text(test, "ran", "a freeze\nb freeze\nb thaw\na thaw\n");
}

static void test_no_folder(Case *test, const void *data)
{
    g_assert_true(before(test));
    after(test);
}

static void test_environment(Case *test, const void *data)
{
    hook(test, "freeze.d/10",
         "echo $HV_VSS_HOLD $HV_VSS_LIMIT $AGENT_CASE $(pwd) >$T/ran\n"
         "ls /proc/self/fd | wc -l >>$T/ran\n"
         "grep -c 'SigBlk:.*[^0\t]' /proc/self/status >>$T/ran\n"
         "true");
    g_assert_true(before(test));
    /* 0 to 2, and the folder that ls reads. */
    assert_text(test, "ran", "330 1 /\n4\n0\n");
}

static void test_fails(Case *test, const void *data)
{
    hook(test, "freeze.d/10", "echo no room; echo at all >&2; exit 3");
    hook(test, "freeze.d/20", "echo ran >>$T/ran");
    g_assert_false(before(test));
    assert_reason(test, "/freeze.d/10 failed with exit code 3: no room|at all");
    assert_text(test, "ran", "");
}

static void test_signal(Case *test, const void *data)
{
    hook(test, "freeze.d/10", "kill -SEGV $$");
    g_assert_false(before(test));
    assert_reason(test, "ended by signal 11");
}

static void test_cannot_run(Case *test, const void *data)
{
    g_autofree char *path = g_strdup_printf("%s/freeze.d/10", test->folder);

    case_write(test->folder, "freeze.d/10", "#!/nonexistent/shell\n");
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
    g_assert_false(before(test));
    assert_reason(test, "failed with exit code 127: it cannot be run: No such");
}

/* The limit holds, and what it started in its group goes with it. */
static void test_hangs(Case *test, const void *data)
{
    int64_t start = now_ms();
    g_autofree char *text = NULL;

    hook(test, "freeze.d/10", "echo first\nsleep 100 & echo $! >$T/pid\nwait");
    g_assert_false(before(test));
    assert_reason(test, "took too long (its limit is 1 s, and 45 s for the "
                        "whole freeze): first");
    g_assert_cmpint(now_ms() - start, <, 2500);
    text = case_read(test->folder, "pid");
    g_assert_cmpint(atoi(text), >, 1);
    case_wait(kill(atoi(text), 0) != 0, 2000);
}

static void test_ignores_sigterm(Case *test, const void *data)
{
    int64_t start = now_ms();

    hook(test, "freeze.d/10", "trap '' TERM\nwhile :; do sleep 0.1; done");
    g_assert_false(before(test));
    assert_reason(test, "took too long");
    g_assert_cmpint(now_ms() - start, <, 3500);
}

/* The whole freeze is over before the hook's own limit is. */
static void test_deadline(Case *test, const void *data)
{
    int64_t start = now_ms();

    test->config.hook_timeout = 100;
    hook(test, "freeze.d/10", "exec sleep 100");
    g_assert_false(hooks_before_freeze(&test->config, &test->stuck,
                                       &test->waiter, start + 300,
                                       &test->reason));
    assert_reason(test, "took too long");
    g_assert_cmpint(now_ms() - start, <, 1500);
}

/* One that holds a lock until the thaw stays, pipe and all. */
static void test_leaves_child(Case *test, const void *data)
{
    g_autofree char *text = NULL;
    int64_t start = now_ms();

    test->config.hook_timeout = 10;
    hook(test, "freeze.d/10", "sleep 60 & echo $! >$T/pid\necho done");
    g_assert_true(before(test));
    g_assert_cmpint(now_ms() - start, <, 5000);
    text = case_read(test->folder, "pid");
    g_assert_cmpint(kill(atoi(text), 0), ==, 0);
    g_assert_cmpint(kill(atoi(text), SIGKILL), ==, 0);
}

static void test_writes_much(Case *test, const void *data)
{
    test->config.hook_timeout = 20;
    hook(test, "freeze.d/10",
         "head -c 20000000 /dev/zero | tr '\\0' x; exit 1");
    g_assert_false(before(test));
    assert_reason(test, "failed with exit code 1: xxxx");
    g_assert_cmpuint(strlen(test->reason.text), <, 1000);
}

static void test_writes_for_ever(Case *test, const void *data)
{
    int64_t start = now_ms();

    hook(test, "freeze.d/10", "exec yes");
    g_assert_false(before(test));
    assert_reason(test, "took too long");
    g_assert_cmpint(now_ms() - start, <, 2500);
}

/* Its output can neither forge a line of the log nor command a terminal. */
static void test_output_is_tame(Case *test, const void *data)
{
    hook(test, "freeze.d/10", "printf 'a\\nb\\033[2Jc\\001\\n\\n'; exit 1");
    g_assert_false(before(test));
    assert_reason(test, "exit code 1: a|b [2Jc ");
    g_assert_null(strpbrk(test->reason.text, "\n\033\001"));
}

static void test_others_can_write(Case *test, const void *data)
{
    g_autofree char *path = g_strdup_printf("%s/freeze.d/10", test->folder);

    hook(test, "freeze.d/10", "echo ran >>$T/ran");
    g_assert_cmpint(g_chmod(path, 0775), ==, 0);
    g_assert_false(before(test));
    assert_reason(test, "/freeze.d/10 can be changed by others");
    assert_text(test, "ran", "");
}

static void test_other_owner(Case *test, const void *data)
{
    g_autofree char *path = g_strdup_printf("%s/freeze.d/10", test->folder);

    hook(test, "freeze.d/10", "echo ran >>$T/ran");
    if (chown(path, 12345, 0) != 0) {
        g_test_skip("only root can give a file to somebody else");
        return;
    }
    g_assert_false(before(test));
    assert_reason(test, "/freeze.d/10 belongs to another user");
    assert_text(test, "ran", "");
}

static void test_gone(Case *test, const void *data)
{
    g_autofree char *path = g_strdup_printf("%s/freeze.d", test->folder);
    g_autofree char *link = g_strdup_printf("%s/freeze.d/10", test->folder);

    g_assert_cmpint(g_mkdir(path, 0755), ==, 0);
    g_assert_cmpint(symlink("/nonexistent", link), ==, 0);
    g_assert_false(before(test));
    assert_reason(test, "/freeze.d/10 cannot be read: No such file");
}

static void test_too_many(Case *test, const void *data)
{
    for (int i = 0; i < 257; i++) {
        g_autofree char *name = g_strdup_printf("freeze.d/%d", i);

        hook(test, name, "");
    }
    g_assert_false(before(test));
    assert_reason(test, "/freeze.d has more than 256 hooks");
}

/* After a thaw each hook has its turn, whatever became of the others. */
static void test_thaw_goes_on(Case *test, const void *data)
{
    hook(test, "thaw.d/30", "exit 1");
    hook(test, "thaw.d/20", "sleep 100");
    hook(test, "thaw.d/10", "echo ran >>$T/ran");
    raise(SIGTERM);
    after(test);
    assert_text(test, "ran", "ran\n");
    g_assert_true(test->waiter.stop);
}

static void test_stop(Case *test, const void *data)
{
    hook(test, "freeze.d/10", "sleep 100");
    raise(SIGTERM);
    g_assert_false(before(test));
    assert_reason(test, "the agent was told to end");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Case *test, const void *data);
    } cases[] = {
        {"order", test_order},
        {"no-folder", test_no_folder},
        {"environment", test_environment},
        {"fails", test_fails},
        {"signal", test_signal},
        {"cannot-run", test_cannot_run},
        {"hangs", test_hangs},
        {"ignores-sigterm", test_ignores_sigterm},
        {"deadline", test_deadline},
        {"leaves-child", test_leaves_child},
        {"writes-much", test_writes_much},
        {"writes-for-ever", test_writes_for_ever},
        {"output-is-tame", test_output_is_tame},
        {"others-can-write", test_others_can_write},
        {"other-owner", test_other_owner},
        {"gone", test_gone},
        {"too-many", test_too_many},
        {"thaw-goes-on", test_thaw_goes_on},
        {"stop", test_stop},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name =
            g_strdup_printf("/agent/hooks/%s", cases[i].name);

        g_test_add(name, Case, NULL, setup, cases[i].run, teardown);
    }
    return g_test_run();
}
