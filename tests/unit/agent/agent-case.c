/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent-case.h"

char *case_folder(void)
{
    char *folder = g_dir_make_tmp("agent-XXXXXX", NULL);

    g_assert_nonnull(folder);
    return folder;
}

/* A process of the test may be at work there: removing, or adding. */
static void remove_tree(const char *path)
{
    GDir *dir;
    const char *name;

    do {
        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK) &&
            (dir = g_dir_open(path, 0, NULL))) {
            while ((name = g_dir_read_name(dir))) {
                g_autofree char *inner = g_build_filename(path, name, NULL);

                remove_tree(inner);
            }
            g_dir_close(dir);
        }
    } while (g_remove(path) != 0 && errno == ENOTEMPTY);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

void case_clean(char *folder)
{
    remove_tree(folder);
    g_free(folder);
}

void case_write(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

void case_hook(const char *folder, const char *name, const char *body)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = g_strdup_printf("#!/bin/sh\n%s\n", body);

    case_write(folder, name, text);
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
}

char *case_read(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

static void set_path(char **field, const char *folder, const char *name)
{
    free(*field);
    *field = xasprintf("%s/%s", folder, name);
}

void case_config(AgentConfig *config, const char *folder)
{
    config_init(config);
    set_path(&config->device, folder, "device");
    set_path(&config->freeze_hooks, folder, "freeze.d");
    set_path(&config->thaw_hooks, folder, "thaw.d");
    set_path(&config->record, folder, "record");
    set_path(&config->mountinfo, folder, "mountinfo");
    set_path(&config->sysfs, folder, "sys");
}
