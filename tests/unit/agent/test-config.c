/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration file of the agent. */
#include <glib.h>
#include <sys/wait.h>

#include "agent-case.h"

static void test_defaults(void)
{
    AgentConfig config;
    Reason reason;

    config_init(&config);
    g_assert_true(config_read(&config, "/nonexistent/conf", false, &reason));
    g_assert_cmpstr(config.device, ==, "/dev/vmbus/hv_vss");
    g_assert_cmpuint(config.hook_timeout, ==, 10);
    g_assert_cmpuint(config.freeze_timeout, ==, 45);
    g_assert_cmpuint(config.hold_time, ==, 330);
    g_assert_true(config.namespaces);
    config_free(&config);
}

static void test_all_keys(void)
{
    AgentConfig config;
    Reason reason;

    config_init(&config);
    g_assert_true(config_parse(&config,
                               "# comment\n\n"
                               "device = /dev/x\n"
                               "  freeze-hooks=/f \r\n"
                               "thaw-hooks\t=\t/t\n"
                               "record = /r\n"
                               "hook-timeout = 600\n"
                               "freeze-timeout = 1\n"
                               "hold-time = 3600\n"
                               "namespaces = no\n"
                               "exclude = /a = b\n"
                               "exclude = /c",
                               &reason));
    g_assert_cmpstr(config.device, ==, "/dev/x");
    g_assert_cmpstr(config.freeze_hooks, ==, "/f");
    g_assert_cmpstr(config.thaw_hooks, ==, "/t");
    g_assert_cmpstr(config.record, ==, "/r");
    g_assert_cmpuint(config.hook_timeout, ==, 600);
    g_assert_cmpuint(config.freeze_timeout, ==, 1);
    g_assert_cmpuint(config.hold_time, ==, 3600);
    g_assert_false(config.namespaces);
    g_assert_cmpuint(config.exclude_count, ==, 2);
    g_assert_cmpstr(config.exclude[0], ==, "/a = b");
    g_assert_cmpstr(config.exclude[1], ==, "/c");
    config_free(&config);
}

static void test_refusals(void)
{
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"colour = red", "line 1: there is no key \"colour\""},
        {"\n\nhold-time", "line 3: \"hold-time\" is not of the form KEY = "
                          "VALUE"},
        {"hold-time =", "line 1: \"\" is no number of seconds from 1 to 3600"},
        {"hold-time = 0",
         "line 1: \"0\" is no number of seconds from 1 to 3600"},
        {"hold-time = 3601",
         "line 1: \"3601\" is no number of seconds from 1 to 3600"},
        {"hold-time = -1",
         "line 1: \"-1\" is no number of seconds from 1 to 3600"},
        {"hold-time = 5s",
         "line 1: \"5s\" is no number of seconds from 1 to 3600"},
        {"hold-time = 99999999999999999999",
         "line 1: \"99999999999999999999\" is no number of seconds from 1 to "
         "3600"},
        {"freeze-timeout = 841",
         "line 1: \"841\" is no number of seconds from 1 to 840"},
        {"hook-timeout = 601",
         "line 1: \"601\" is no number of seconds from 1 to 600"},
        {"namespaces = maybe", "line 1: \"maybe\" is neither yes nor no"},
        {"exclude = tmp", "line 1: \"tmp\" is no absolute path"},
        {"device =", "line 1: \"\" is no absolute path"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        AgentConfig config;
        Reason reason;

        config_init(&config);
        g_assert_false(config_parse(&config, cases[i].text, &reason));
        g_assert_cmpstr(reason.text, ==, cases[i].reason);
        config_free(&config);
    }
}

static void test_too_many_excludes(void)
{
    GString *text = g_string_new(NULL);
    AgentConfig config;
    Reason reason;

    for (int i = 0; i < 1025; i++) {
        g_string_append(text, "exclude = /x\n");
    }
    config_init(&config);
    g_assert_false(config_parse(&config, text->str, &reason));
    g_assert_cmpstr(reason.text, ==,
                    "line 1025: more than 1024 excluded mount points");
    config_free(&config);
    g_string_free(text, TRUE);
}

/* Exit 2 and one sentence, whatever is wrong. */
static void test_program(void)
{
    char *folder = case_folder();
    g_autofree char *file = g_strdup_printf("%s/agent.conf", folder);
    g_autofree char *missing = g_strdup_printf("%s/none", folder);
    const struct {
        const char *argument, *expected;
    } cases[] = {
        {file, "agent.conf, line 2: there is no key \"freeze\"\n"},
        {missing, "none cannot be read: No such file or directory\n"},
    };

    case_write(folder, "agent.conf", "hold-time = 10\nfreeze = yes\n");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *arguments[] = {g_getenv("VSS_AGENT"), "--config",
                                   cases[i].argument, "--check", NULL};
        g_autofree char *errors = NULL;
        int status;

        g_assert_true(g_spawn_sync(NULL, (char **)arguments, NULL, 0, NULL,
                                   NULL, NULL, &errors, &status, NULL));
        g_assert_cmpint(WEXITSTATUS(status), ==, 2);
        g_assert_true(g_str_has_suffix(errors, cases[i].expected));
        g_assert_true(g_str_has_prefix(errors, "hv-vss-agent: "));
    }
    case_clean(folder);
}

/* All of what --check says about a machine. */
static void test_check(void)
{
    static const char expected[] =
        "Frozen, in this order, and thawed in the opposite one:\n"
        "  /data                    ext4     /dev/sdc1\n"
        "  /srv                     xfs      /dev/sdb1\n"
        "  /                        ext4     /dev/sda1\n"
        "\n"
        "Left out:\n"
        "  /empty                   tmpfs    it is on no disk\n"
        "  /archive                 ext4     read-only\n"
        "  /proc                    proc     it is on no disk\n"
        "  /sys                     sysfs    it is on no disk\n"
        "\n"
        "Hooks before the freeze:\n"
        "  %s/freeze.d/10-a\n"
        "  %s/freeze.d/20-b\n"
        "\n"
        "Hooks after the thaw:\n"
        "  %s/thaw.d/20-b\n"
        "  %s/thaw.d/10-a\n";
    char *folder = case_folder();
    g_autofree char *mounts =
        g_test_build_filename(G_TEST_DIST, "mountinfo", "bind", NULL);
    g_autofree char *file = g_strdup_printf("%s/agent.conf", folder);
    g_autofree char *text = g_strdup_printf(
        "freeze-hooks = %s/freeze.d\nthaw-hooks = %s/thaw.d\n", folder, folder);
    g_autofree char *all =
        g_strdup_printf(expected, folder, folder, folder, folder);
    g_autofree char *output = NULL;
    const char *arguments[] = {g_getenv("VSS_AGENT"),
                               "--config",
                               file,
                               "--check",
                               "--mountinfo",
                               mounts,
                               "--sysfs",
                               folder,
                               NULL};
    int status;

    case_write(folder, "agent.conf", text);
    case_hook(folder, "freeze.d/10-a", "");
    case_hook(folder, "freeze.d/20-b", "");
    case_hook(folder, "thaw.d/10-a", "");
    case_hook(folder, "thaw.d/20-b", "");
    g_assert_true(g_spawn_sync(NULL, (char **)arguments, NULL, 0, NULL, NULL,
                               &output, NULL, &status, NULL));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    g_assert_cmpstr(output, ==, all);
    case_clean(folder);
}

/* Exit 2 for what cannot be meant. */
static void test_usage(void)
{
    static const char *const bad[][3] = {
        {"--colour"}, {"word"}, {"--config"}, {"--mountinfo", "/dev/null"}};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        const char *arguments[] = {g_getenv("VSS_AGENT"), bad[i][0], bad[i][1],
                                   NULL};
        int status;

        g_assert_true(g_spawn_sync(NULL, (char **)arguments, NULL,
                                   G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL,
                                   NULL, &status, NULL));
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 2);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/config/defaults", test_defaults);
    g_test_add_func("/agent/config/all-keys", test_all_keys);
    g_test_add_func("/agent/config/refusals", test_refusals);
    g_test_add_func("/agent/config/too-many-excludes", test_too_many_excludes);
    g_test_add_func("/agent/config/program", test_program);
    g_test_add_func("/agent/config/check", test_check);
    g_test_add_func("/agent/config/usage", test_usage);
    return g_test_run();
}
