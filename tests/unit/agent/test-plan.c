/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is frozen, in which order, and what is left out and why. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "agent-case.h"
#include "plan.h"

typedef struct Left {
    const char *point;
    const char *reason; /* a part of it */
} Left;

typedef struct Fixture {
    const char *name;
    const char *freeze; /* mount points in order, separated by | */
    Left left[10];
} Fixture;

static const Fixture fixtures[] = {
    {"btrfs",
     "/boot|/",
     {{"/boot/efi", "written out"},
      {"/tmp", "on no disk"},
      {"/proc", "on no disk"}}},
    {"bind",
     "/data|/srv|/",
     {{"/archive", "read-only"}, {"/empty", "on no disk"}}},
    {"docker",
     "/var/lib/docker|/",
     {{"/run/docker/netns/c2d6f0e1a9b8", "on no disk"},
      {"/var/lib/docker/overlay2/0f5c5b0d4b1f9f2f58b2e0c6a2b8f9f0f9b6f2cbb84"
       "b6e8d2fb2ce6e9a7d2a55/merged",
       "file system below it"}}},
    {"podman",
     "/boot|/home|/",
     {{"/home/joan/.local/share/containers/storage/overlay/5d2a/merged",
       "file system below it"},
      {"/home/joan/.local/share/containers/storage/fuse/9c/merged", "FUSE"}}},
    {"snap",
     "/",
     {{"/snap/core20/2105", "read-only"},
      {"/snap/lxd/24322", "read-only"},
      {"/boot/efi", "written out"},
      {"/run/snapd/ns/lxd.mnt", "on no disk"},
      {"/var/lib/lxcfs", "FUSE"}}},
    {"network",
     "/",
     {{"/mnt/nfs", "network"},
      {"/mnt/nfs3", "network"},
      {"/mnt/cifs", "network"},
      {"/net", "mount something"},
      {"/proc/sys/fs/binfmt_misc", "mount something"},
      {"/mnt/ceph", "network"},
      {"/mnt/gluster", "FUSE"},
      {"/mnt/host", "host's"},
      {"/mnt/virtiofs", "host's"}}},
    {"fuse",
     "/",
     {{"/mnt/ntfs", "FUSE"},
      {"/home/joan/remote", "FUSE"},
      {"/run/user/1000/doc", "FUSE"},
      {"/mnt/plain", "FUSE"},
      {"/sys/fs/fuse/connections", "on no disk"}}},
    {"zfs",
     "/mnt/zvol",
     {{"/", "ZFS cannot be frozen"},
      {"/home", "ZFS cannot be frozen"},
      {"/boot", "ZFS cannot be frozen"}}},
    {"zram", "/mnt/pmem|/", {{"/var/log", "memory"}, {"/mnt/ram", "memory"}}},
    {"multipath", "/mnt/pool|/raid|/oradata|/boot|/", {{NULL, NULL}}},
};

static char *fixture_path(const char *name)
{
    return g_test_build_filename(G_TEST_DIST, "mountinfo", name, NULL);
}

static void check_order(const Plan *plan, const char *expected)
{
    GString *order = g_string_new(NULL);

    for (size_t i = 0; i < plan->freeze_count; i++) {
        char *raw = plan_item_name(&plan->freeze[i]);

        g_string_append_printf(order, "%s%s", i ? "|" : "", raw);
        free(raw);
    }
    g_assert_cmpstr(order->str, ==, expected);
    g_string_free(order, TRUE);
}

static void check_left(const Plan *plan, const char *point, const char *reason)
{
    for (size_t i = 0; i < plan->leave_count; i++) {
        if (strcmp(plan->leave[i].first->point, point) == 0) {
            g_assert_nonnull(strstr(plan->leave[i].reason, reason));
            return;
        }
    }
    g_error("%s is not left out", point);
}

/* Block devices as /sys shows them: zram1 and ram0. */
static void make_memory_disks(const char *folder)
{
    case_write(folder, "sys/dev/block/251:1/uevent",
               "MAJOR=251\nMINOR=1\nDEVNAME=zram1\nDEVTYPE=disk\n");
    case_write(folder, "sys/dev/block/1:0/uevent",
               "MAJOR=1\nMINOR=0\nDEVNAME=ram0\nDEVTYPE=disk\n");
    case_write(folder, "sys/dev/block/259:0/uevent",
               "MAJOR=259\nMINOR=0\nDEVNAME=pmem0\nDEVTYPE=disk\n");
}

static void use_fixture(AgentConfig *config, const char *name)
{
    g_autofree char *path = fixture_path(name);

    free(config->mountinfo);
    config->mountinfo = xstrdup(path);
}

static void test_fixture(const void *data)
{
    const Fixture *fixture = data;
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    use_fixture(&config, fixture->name);
    make_memory_disks(folder);
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, fixture->freeze);
    for (size_t i = 0; i < G_N_ELEMENTS(fixture->left); i++) {
        if (fixture->left[i].point) {
            check_left(&plan, fixture->left[i].point, fixture->left[i].reason);
        }
    }
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

static void link_to(const char *folder, const char *target, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_cmpint(symlink(target, path), ==, 0);
}

/*
 * /images was mounted after what stands on the files in it: an image, an
 * encrypted one, and a partition of one.
 */
static void test_loop(void)
{
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    use_fixture(&config, "loop");
    case_write(folder, "sys/devices/loop3/loop/backing_file",
               "/images/disk.img\n");
    link_to(folder, "../../devices/loop3", "sys/dev/block/7:3");
    case_write(folder, "sys/devices/loop4/loop/backing_file",
               "/images/vault.img (deleted)\n");
    link_to(folder, "../../../loop4", "sys/devices/dm-0/slaves/loop4");
    link_to(folder, "../../devices/dm-0", "sys/dev/block/254:0");
    case_write(folder, "sys/devices/loop5/loop/backing_file",
               "/images/parts.img\n");
    case_write(folder, "sys/devices/loop5/loop5p1/partition", "1\n");
    link_to(folder, "../../devices/loop5/loop5p1", "sys/dev/block/259:1");
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, "/mnt/part|/mnt/crypt|/mnt/image|/images|/");
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

/* A loop device whose file is on an overlay is on its upper folder's disk. */
static void test_loop_on_overlay(void)
{
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    case_write(folder, "mountinfo",
               "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
               "2 1 7:0 / /inner rw - ext4 /dev/loop0 rw\n"
               "3 1 8:2 / /upper rw - ext4 /dev/sda2 rw\n"
               "4 1 0:40 / /merged rw - overlay overlay "
               "rw,lowerdir=/lower,upperdir=/upper/u,workdir=/upper/w\n");
    case_write(folder, "sys/dev/block/7:0/loop/backing_file", "/merged/i\n");
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, "/inner|/upper|/");
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

/* Two that claim to stand on each other: no endless loop, nothing lost. */
static void test_loop_circle(void)
{
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    case_write(folder, "mountinfo",
               "2 1 7:0 / /a rw - ext4 /dev/loop0 rw\n"
               "3 1 7:1 / /b rw - ext4 /dev/loop1 rw\n");
    case_write(folder, "sys/dev/block/7:0/loop/backing_file", "/b/i\n");
    case_write(folder, "sys/dev/block/7:1/loop/backing_file", "/a/i\n");
    link_to(folder, "..", "sys/dev/block/7:1/slaves/itself");
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, "/b|/a");
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

/* The volume of a container, which is in its mount namespace only. */
static void test_namespaces(void)
{
    g_autofree char *own = NULL, *theirs = NULL;
    g_autofree char *own_path = fixture_path("docker");
    g_autofree char *their_path = fixture_path("docker-container");
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    g_assert_true(g_file_get_contents(own_path, &own, NULL, NULL));
    g_assert_true(g_file_get_contents(their_path, &theirs, NULL, NULL));
    case_config(&config, folder);
    free(config.mountinfo);
    config.mountinfo = NULL;
    free(config.proc);
    config.proc = xasprintf("%s/proc", folder);
    case_write(folder, "proc/self/mountinfo", own);
    link_to(folder, "mnt:[1]", "proc/self/ns/mnt");
    case_write(folder, "proc/1/mountinfo", own);
    link_to(folder, "mnt:[1]", "proc/1/ns/mnt");
    case_write(folder, "proc/77/mountinfo", theirs);
    link_to(folder, "mnt:[2]", "proc/77/ns/mnt");
    link_to(folder, "mnt:[2]", "proc/78/ns/mnt");
    link_to(folder, "mnt:[3]", "proc/79/ns/mnt"); /* it ended just now */
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, "/var/lib/postgresql (as process 77 sees it)|"
                       "/var/lib/docker|/");
    /* The container's files of /var/lib/docker are that superblock. */
    g_assert_cmpuint(plan.freeze[1].place_count, ==, 3);
    g_assert_cmpint(plan.freeze[1].places[0]->pid, ==, 0);
    plan_free(&plan);

    config.namespaces = false;
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, "/var/lib/docker|/");
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

static void test_exclude(void)
{
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    use_fixture(&config, "bind");
    /* Any of its mount points names a file system. */
    g_assert_true(config_parse(&config, "exclude=/data-rw\n", &reason));
    g_assert_true(plan_make(&plan, &config, &reason));
    check_order(&plan, "/srv|/");
    check_left(&plan, "/data", "excluded by the configuration");
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

static void test_no_mountinfo(void)
{
    char *folder = case_folder();
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    g_assert_false(plan_make(&plan, &config, &reason));
    g_assert_nonnull(strstr(reason.text, "mountinfo cannot be read: No such"));
    plan_free(&plan);
    config_free(&config);
    case_clean(folder);
}

static void test_too_many(void)
{
    char *folder = case_folder();
    GString *text = g_string_new(NULL);
    AgentConfig config;
    Reason reason;
    Plan plan;

    case_config(&config, folder);
    for (int i = 0; i < 1025; i++) {
        g_string_append_printf(text, "%d 1 8:%d / /%d rw - ext4 /dev/x rw\n", i,
                               i, i);
    }
    case_write(folder, "mountinfo", text->str);
    g_assert_false(plan_make(&plan, &config, &reason));
    g_assert_cmpstr(reason.text, ==,
                    "there are 1025 file systems to freeze, and 1024 are the "
                    "most");
    plan_free(&plan);
    g_string_free(text, TRUE);
    config_free(&config);
    case_clean(folder);
}

static MountTable parse(const char *text)
{
    MountTable table = {0};
    g_autofree char *copy = g_strdup(text);
    Reason reason;

    g_assert_true(mountinfo_parse(&table, copy, 0, &reason));
    return table;
}

static void test_fields(void)
{
    MountTable table =
        parse("36 35 98:7 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - "
              "ext3 /dev/r\\134t rw,errors=continue,upperdir=/a\\040b\n"
              "37 35 0:9 / /e rw - tmpfs  rw\n");
    const Mount *mount = table.mounts;
    char *option;

    g_assert_cmpuint(table.count, ==, 2);
    g_assert_cmpint(mount->id, ==, 36);
    g_assert_cmpuint(mount->major, ==, 98);
    g_assert_cmpuint(mount->minor, ==, 7);
    g_assert_cmpstr(mount->root, ==, "/mnt1");
    g_assert_cmpstr(mount->point, ==, "/mnt 2");
    g_assert_cmpstr(mount->type, ==, "ext3");
    g_assert_cmpstr(mount->source, ==, "/dev/r\\t");
    option = mount_option(mount, "upperdir");
    g_assert_cmpstr(option, ==, "/a b");
    free(option);
    option = mount_option(mount, "rw");
    g_assert_cmpstr(option, ==, "");
    free(option);
    g_assert_null(mount_option(mount, "error"));
    g_assert_null(mount_option(mount, "ro"));
    g_assert_cmpstr(table.mounts[1].source, ==, "");
    mountinfo_free(&table);
}

static void test_bad_lines(void)
{
    static const char *const lines[] = {
        "36",
        "36 35 98:7 / /a rw",
        "36 35 98:7 / /a rw shared:1",
        "36 35 98:7 / /a rw - ext4",
        "36 35 98:7 / /a rw - ext4 /dev/a",
        "x 35 98:7 / /a rw - ext4 /dev/a rw",
        "36y 35 98:7 / /a rw - ext4 /dev/a rw",
        "36 35 98 / /a rw - ext4 /dev/a rw",
        "36 35 98:7z / /a rw - ext4 /dev/a rw",
        "36 35 98:7 / a rw - ext4 /dev/a rw",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *text =
            g_strdup_printf("1 0 8:1 / / rw - ext4 /dev/a rw\n%s\n", lines[i]);
        MountTable table = {0};
        Reason reason;

        g_assert_false(mountinfo_parse(&table, text, 0, &reason));
        g_assert_cmpstr(reason.text, ==, "line 2 makes no sense");
        mountinfo_free(&table);
    }
}

static void test_mount_of_path(void)
{
    MountTable table = parse("1 0 8:1 / / rw - ext4 a rw\n"
                             "2 1 8:2 / /srv rw - ext4 b rw\n"
                             "3 1 8:3 / /srv/www rw - ext4 c rw\n"
                             "4 1 8:4 / /srv rw - ext4 d rw\n");

    g_assert_cmpint(mount_of_path(&table, "/x")->id, ==, 1);
    g_assert_cmpint(mount_of_path(&table, "/srvx/y")->id, ==, 1);
    g_assert_cmpint(mount_of_path(&table, "/srv")->id, ==, 4);
    g_assert_cmpint(mount_of_path(&table, "/srv/www/a")->id, ==, 3);
    mountinfo_free(&table);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(fixtures); i++) {
        g_autofree char *name =
            g_strdup_printf("/agent/plan/%s", fixtures[i].name);

        g_test_add_data_func(name, &fixtures[i], test_fixture);
    }
    g_test_add_func("/agent/plan/loop", test_loop);
    g_test_add_func("/agent/plan/loop-on-overlay", test_loop_on_overlay);
    g_test_add_func("/agent/plan/loop-circle", test_loop_circle);
    g_test_add_func("/agent/plan/namespaces", test_namespaces);
    g_test_add_func("/agent/plan/exclude", test_exclude);
    g_test_add_func("/agent/plan/no-mountinfo", test_no_mountinfo);
    g_test_add_func("/agent/plan/too-many", test_too_many);
    g_test_add_func("/agent/mountinfo/fields", test_fields);
    g_test_add_func("/agent/mountinfo/bad-lines", test_bad_lines);
    g_test_add_func("/agent/mountinfo/mount-of-path", test_mount_of_path);
    return g_test_run();
}
