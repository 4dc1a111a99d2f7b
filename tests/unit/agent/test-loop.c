/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent on real file systems: ext4 on a loop device, and another one on a
 * file in that, mounted in a mount namespace of the test.  No file system of
 * the machine is touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"

#define LOOP_MAJOR 7

typedef struct Case {
    Fake fake;
    char *outer, *inner; /* mount points */
    pid_t writer;
    const char *missing; /* why the test cannot be run */
} Case;

static bool run(const char *format, ...) G_GNUC_PRINTF(1, 2);

static bool run(const char *format, ...)
{
    g_autofree char *command = NULL, *errors = NULL;
    va_list args;
    int status;

    va_start(args, format);
    command = g_strdup_vprintf(format, args);
    va_end(args);
    const char *arguments[] = {"/bin/sh", "-c", command, NULL};
    g_assert_true(g_spawn_sync(NULL, (char **)arguments, NULL,
                               G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                               &errors, &status, NULL));
    if (status != 0) {
        g_test_message("%s: %s", command, errors);
    }
    return status == 0;
}

/* An ext4 in @image, mounted on @point; never anything but a loop device. */
static bool mount_image(const char *image, const char *point, unsigned mb)
{
    struct stat status;

    g_assert_cmpint(mkdir(point, 0755), ==, 0);
    if (!run("truncate -s %uM %s && mkfs.ext4 -q -F %s && "
             "mount -o loop,noatime %s %s",
             mb, image, image, image, point)) {
        return false;
    }
    g_assert_cmpint(stat(point, &status), ==, 0);
    g_assert_cmpuint(major(status.st_dev), ==, LOOP_MAJOR);
    return true;
}

/* The agent sees these two, and nothing else. */
static void write_mountinfo(Case *test)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GString *ours = g_string_new(NULL);

    g_assert_true(
        g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (strstr(*line, test->fake.folder)) {
            g_assert_nonnull(strstr(*line, " 7:"));
            g_string_append_printf(ours, "%s\n", *line);
        }
    }
    case_write(test->fake.folder, "mountinfo", ours->str);
    g_string_free(ours, TRUE);
}

static const char *make_file_systems(Case *test)
{
    const char *folder = test->fake.folder;
    g_autofree char *outer = g_strdup_printf("%s/outer.img", folder);
    g_autofree char *inner = g_strdup_printf("%s/outer/inner.img", folder);

    if (geteuid() != 0) {
        return "only root can mount";
    }
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return "there can be no mount namespace here";
    }
    if (!mount_image(outer, test->outer, 64)) {
        return "no ext4 on a loop device can be made here";
    }
    return mount_image(inner, test->inner, 16) ? NULL
                                               : "there is one loop device "
                                                 "only";
}

/* Appends numbers for ever, each one on disk before the next. */
static void start_writer(Case *test)
{
    g_autofree char *path = g_strdup_printf("%s/sequence", test->inner);

    test->writer = fork();
    if (test->writer == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

        for (unsigned i = 0;; i++) {
            dprintf(fd, "%08u\n", i);
            fsync(fd);
            usleep(1000);
        }
    }
}

static void setup(Case *test, const void *data)
{
    memset(test, 0, sizeof(*test));
    fake_setup(&test->fake, NULL);
    test->fake.ops = &fs_ops_linux;
    test->fake.config.hold_time = 20;
    test->outer = g_strdup_printf("%s/outer", test->fake.folder);
    test->inner = g_strdup_printf("%s/inner", test->fake.folder);
    test->missing = make_file_systems(test);
    if (!test->missing) {
        free(test->fake.config.sysfs);
        test->fake.config.sysfs = xstrdup("/sys");
        write_mountinfo(test);
        start_writer(test);
    }
}

static void teardown(Case *test, const void *data)
{
    if (test->writer > 0) {
        g_assert_cmpint(kill(test->writer, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(test->writer, NULL, 0), ==, test->writer);
    }
    umount(test->inner);
    umount(test->outer);
    g_free(test->inner);
    g_free(test->outer);
    fake_teardown(&test->fake, NULL);
}

static off_t written(Case *test)
{
    g_autofree char *path = g_strdup_printf("%s/sequence", test->inner);
    struct stat status;

    return stat(path, &status) == 0 ? status.st_size : 0;
}

static bool skipped(Case *test)
{
    if (test->missing) {
        g_test_skip(test->missing);
        return true;
    }
    case_wait(written(test) > 100, 5000);
    return false;
}

static void assert_stands_still(Case *test)
{
    off_t size;

    g_usleep(20000);
    size = written(test);
    g_usleep(500000);
    g_assert_cmpint(written(test), ==, size);
}

static void assert_goes_on(Case *test)
{
    off_t size = written(test);

    case_wait(written(test) > size, 3000);
}

static bool needs_recovery(const char *image)
{
    g_assert_true(run("dumpe2fs -h %s >%s.head 2>/dev/null && "
                      "grep -q '^Filesystem features:' %s.head",
                      image, image, image));
    return run("grep -q needs_recovery %s.head", image);
}

/* The journal is empty, so that a copy needs no recovery. */
static void assert_clean(const char *image)
{
    g_assert_true(run("e2fsck -fn %s", image));
    g_assert_false(needs_recovery(image));
}

static char *copy_disk(Case *test)
{
    const char *folder = test->fake.folder;

    g_assert_true(run("cp --sparse=always %s/outer.img %s/outer.img.copy",
                      folder, folder));
    return g_strdup_printf("%s/outer.img.copy", folder);
}

/*
 * The copy of the disk, made while frozen, is clean, and so is the disk in
 * it; the second file system's writes of its own freeze are on the first.
 */
static void check_copy(Case *test)
{
    const char *folder = test->fake.folder;
    g_autofree char *outer = g_strdup_printf("%s/outer.img.copy", folder);
    g_autofree char *inner = g_strdup_printf("%s/inner.img.copy", folder);
    g_autofree char *sequence = NULL;
    size_t length;

    assert_clean(outer);
    g_assert_true(run("debugfs -R 'dump /inner.img %s' %s", inner, outer));
    assert_clean(inner);
    g_assert_true(
        run("debugfs -R 'dump /sequence %s/sequence' %s", folder, inner));
    sequence = case_read(folder, "sequence");
    length = strlen(sequence);
    g_assert_cmpuint(length, >, 100);
    g_assert_cmpuint(length % 9, ==, 0);
    g_assert_cmpint(atoi(sequence + length - 9), ==, length / 9 - 1);
}

static void test_freeze(Case *test, const void *data)
{
    g_autofree char *copy = NULL;
    Fake *fake = &test->fake;

    if (skipped(test)) {
        return;
    }
    /* What the test looks for is there to be found. */
    copy = copy_disk(test);
    g_assert_true(needs_recovery(copy));
    fake_begin(fake);
    for (int i = 0; i < 3; i++) {
        assert_goes_on(test);
        g_assert_cmphex(fake_request(fake, HV_VSS_FREEZE), ==, HV_VSS_S_OK);
        assert_stands_still(test);
        g_assert_true(run("cp --sparse=always %s/outer.img %s/outer.img.copy",
                          fake->folder, fake->folder));
        g_assert_cmphex(fake_request(fake, HV_VSS_THAW), ==, HV_VSS_S_OK);
        assert_goes_on(test);
        check_copy(test);
    }
}

static void test_killed(Case *test, const void *data)
{
    Fake *fake = &test->fake;

    if (skipped(test)) {
        return;
    }
    fake_begin(fake);
    g_assert_cmphex(fake_request(fake, HV_VSS_FREEZE), ==, HV_VSS_S_OK);
    assert_stands_still(test);
    fake_kill(fake, SIGKILL);
    assert_goes_on(test);
    fake_wait_guard(fake);
}

/*
 * The lower one is frozen by somebody else: writing the upper one out hangs in
 * the kernel, and the answer comes all the same.  The lower one stays as it
 * was found.
 */
static void test_frozen_by_another(Case *test, const void *data)
{
    Fake *fake = &test->fake;
    uint32_t answer;
    int64_t start;
    bool stays;

    if (skipped(test)) {
        return;
    }
    fake->config.freeze_timeout = 2;
    fake_begin(fake);
    g_assert_true(run("fsfreeze --freeze %s", test->outer));
    start = now_ms();
    answer = fake_request(fake, HV_VSS_FREEZE);
    /* Nothing that fails may leave it frozen, so look at that afterwards. */
    stays = run("fsfreeze --unfreeze %s", test->outer);
    g_assert_cmphex(answer, ==, HV_VSS_E_FAIL);
    g_assert_true(stays);
    g_assert_cmpint(now_ms() - start, <, 8000);
    assert_goes_on(test);
}

/*
 * A PostgreSQL with the hook for it: a copy starts, and has every row that a
 * client was told is committed.
 */
static void test_postgresql(Case *test, const void *data)
{
    Fake *fake = &test->fake;
    const char *folder = fake->folder;
    g_autofree char *image = g_strdup_printf("%s/pg.img", folder);
    g_autofree char *image_copy = g_strdup_printf("%s/pg.img.copy", folder);
    g_autofree char *point = g_strdup_printf("%s/pg", folder);
    g_autofree char *script =
        g_test_build_filename(G_TEST_DIST, "postgresql.sh", NULL);
    bool right;

    if (skipped(test)) {
        return;
    }
    if (!run("ls /usr/lib/postgresql/*/bin/initdb && id postgres && "
             "test -d /run/postgresql && which runuser")) {
        g_test_skip("no PostgreSQL is installed");
        return;
    }
    g_assert_true(mount_image(image, point, 256));
    write_mountinfo(test);
    fake->config.hook_timeout = 8;
    fake->config.freeze_timeout = 9;
    g_assert_true(run("for d in freeze.d thaw.d; do mkdir %s/$d && "
                      "install -m 755 %s/$d/50-postgresql %s/$d; done",
                      folder, g_getenv("AGENT_HOOKS"), folder));
    g_assert_true(run("sh %s up %s", script, folder));
    fake_begin(fake);
    g_assert_cmphex(fake_request(fake, HV_VSS_FREEZE), ==, HV_VSS_S_OK);
    g_usleep(300000);
    g_assert_true(run("cp %s/noted %s/noted.copy && "
                      "cp --sparse=always %s/pg.img %s/pg.img.copy",
                      folder, folder, folder, folder));
    g_assert_cmphex(fake_request(fake, HV_VSS_THAW), ==, HV_VSS_S_OK);
    assert_clean(image_copy);
    right = run("sh %s check %s", script, folder);
    g_assert_true(run("sh %s down %s", script, folder));
    g_assert_true(right);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/agent/loop/freeze", Case, NULL, setup, test_freeze, teardown);
    g_test_add("/agent/loop/killed", Case, NULL, setup, test_killed, teardown);
    g_test_add("/agent/loop/frozen-by-another", Case, NULL, setup,
               test_frozen_by_another, teardown);
    g_test_add("/agent/loop/postgresql", Case, NULL, setup, test_postgresql,
               teardown);
    return g_test_run();
}
