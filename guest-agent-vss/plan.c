/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "blockdev.h"
#include "plan.h"

/* More file systems than any guest has: a bound for our memory. */
#define MAX_FREEZE 1024

static const struct {
    const char *type;
    const char *reason;
    bool flush;
} left_out[] = {
    {"9p", "its disk is the host's", false},
    {"virtiofs", "its disk is the host's", false},
    {"vboxsf", "its disk is the host's", false},
    {"afs", "a network file system", false},
    {"ceph", "a network file system", false},
    {"cifs", "a network file system", false},
    {"coda", "a network file system", false},
    {"lustre", "a network file system", false},
    {"ncpfs", "a network file system", false},
    {"nfs", "a network file system", false},
    {"nfs4", "a network file system", false},
    {"orangefs", "a network file system", false},
    {"smb3", "a network file system", false},
    {"smbfs", "a network file system", false},
    {"autofs", "looking at it would mount something", false},
    {"fuse", "FUSE: a program of the guest serves it", false},
    {"fuseblk", "FUSE: a program of the guest serves it", false},
    {"overlay", "the file system below it that it writes to is frozen", false},
    {"aufs", "the file system below it that it writes to is frozen", false},
    {"ecryptfs", "the file system below it is frozen", false},
    {"zfs", "ZFS cannot be frozen; its pool is consistent on disk", true},
    {"vfat", "vfat cannot be frozen; it is written out before", true},
    {"msdos", "msdos cannot be frozen; it is written out before", true},
    {"exfat", "exfat cannot be frozen; it is written out before", true},
    {"ntfs3", "ntfs3 cannot be frozen; it is written out before", true},
    {"udf", "udf cannot be frozen; it is written out before", true},
    {"hfs", "hfs cannot be frozen; it is written out before", true},
    {"hfsplus", "hfsplus cannot be frozen; it is written out before", true},
    {"minix", "minix cannot be frozen; it is written out before", true},
    {"ubifs", "ubifs cannot be frozen; it is written out before", true},
};

/* File systems on disks of which the superblock has no device number. */
static bool spans_devices(const char *type)
{
    return strcmp(type, "btrfs") == 0 || strcmp(type, "bcachefs") == 0;
}

static bool is_excluded(const AgentConfig *config, const PlanItem *item)
{
    for (size_t i = 0; i < item->place_count; i++) {
        for (size_t j = 0; j < config->exclude_count; j++) {
            if (item->places[i]->pid == 0 &&
                strcmp(item->places[i]->point, config->exclude[j]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool is_read_only(const Mount *mount)
{
    char *ro = mount_option(mount, "ro");

    free(ro);
    return ro;
}

static void judge(PlanItem *item, const AgentConfig *config)
{
    const Mount *mount = item->first;

    item->reason = NULL;
    if (is_excluded(config, item)) {
        item->reason = "excluded by the configuration";
        return;
    }
    if (is_read_only(mount)) {
        item->reason = "read-only";
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(left_out); i++) {
        if (strcmp(mount->type, left_out[i].type) == 0) {
            item->reason = left_out[i].reason;
            item->flush = left_out[i].flush;
            return;
        }
    }
    if (strncmp(mount->type, "fuse.", 5) == 0) {
        item->reason = "FUSE: a program of the guest serves it";
    } else if (mount->major == 0 && !spans_devices(mount->type)) {
        item->reason = "it is on no disk";
    } else if (block_is_memory(config->sysfs, mount->major, mount->minor)) {
        item->reason = "its disk is memory";
    }
}

static bool same_superblock(const Mount *a, const Mount *b)
{
    return a->major == b->major && a->minor == b->minor;
}

static void add_place(PlanItem *item, const Mount *mount)
{
    item->places =
        xrealloc(item->places, item->place_count + 1, sizeof(*item->places));
    item->places[item->place_count++] = mount;
}

/*
 * Places in our own namespace first, and of those the ones with the root of
 * the file system: the others may be single files, and are more apt to go
 * away.
 */
static int place_rank(const Mount *mount)
{
    return (mount->pid != 0) * 2 + (strcmp(mount->root, "/") != 0);
}

static void sort_places(PlanItem *item)
{
    const Mount **sorted = xcalloc(item->place_count, sizeof(*sorted));
    size_t at = 0;

    for (int rank = 0; rank < 4; rank++) {
        for (size_t i = 0; i < item->place_count; i++) {
            if (place_rank(item->places[i]) == rank) {
                sorted[at++] = item->places[i];
            }
        }
    }
    free(item->places);
    item->places = sorted;
}

/* All superblocks in the order in which they were mounted first. */
static PlanItem *collect(const MountTable *table, size_t *count)
{
    PlanItem *items = xcalloc(table->count, sizeof(*items));

    *count = 0;
    for (size_t i = 0; i < table->count; i++) {
        const Mount *mount = &table->mounts[i];
        size_t at = 0;

        while (at < *count && !same_superblock(items[at].first, mount)) {
            at++;
        }
        if (at == *count) {
            items[(*count)++].first = mount;
        }
        add_place(&items[at], mount);
    }
    return items;
}

typedef struct Backing {
    const Plan *plan;
    bool *below; /* for each file system of the plan: it is stood on */
} Backing;

/* A file on an overlay is in the overlay's upper folder. */
static void mark_backing(const char *path, void *opaque)
{
    Backing *backing = opaque;
    const Plan *plan = backing->plan;
    const Mount *mount = mount_of_path(&plan->table, path);

    if (mount && strcmp(mount->type, "overlay") == 0) {
        char *upper = mount_option(mount, "upperdir");

        mount = upper ? mount_of_path(&plan->table, upper) : NULL;
        free(upper);
    }
    for (size_t i = 0; mount && i < plan->freeze_count; i++) {
        if (same_superblock(mount, plan->freeze[i].first)) {
            backing->below[i] = true;
        }
    }
}

/* The first one left that nothing left stands on. */
static size_t pick_next(const bool *below, const bool *done, size_t n)
{
    size_t left = n;

    for (size_t j = n; j-- > 0;) {
        bool ready = !done[j];

        for (size_t i = 0; i < n && ready; i++) {
            ready = i == j || done[i] || !below[i * n + j];
        }
        left = ready ? j : left;
    }
    /* A circle cannot be; if it is, the order of mounting decides. */
    for (size_t j = 0; left == n; j++) {
        left = done[j] ? n : j;
    }
    return left;
}

/*
 * Freezing a file system writes to what it stands on.  The reverse order of
 * mounting has that right nearly always; not when the lower one was moved, or
 * is known from another namespace only.
 */
static void sort_by_backing(Plan *plan, const AgentConfig *config)
{
    size_t n = plan->freeze_count;
    bool *below = xcalloc(n * n, sizeof(*below));
    bool *done = xcalloc(n, sizeof(*done));
    PlanItem *sorted = xcalloc(n, sizeof(*sorted));

    for (size_t i = 0; i < n; i++) {
        const Mount *mount = plan->freeze[i].first;
        Backing backing = {plan, &below[i * n]};

        if (mount->major != 0) {
            block_backing_files(config->sysfs, mount->major, mount->minor,
                                mark_backing, &backing);
        }
    }
    for (size_t placed = 0; placed < n; placed++) {
        size_t next = pick_next(below, done, n);

        done[next] = true;
        sorted[placed] = plan->freeze[next];
    }
    free(plan->freeze);
    plan->freeze = sorted;
    free(below);
    free(done);
}

static bool read_mounts(Plan *plan, const AgentConfig *config, Reason *reason)
{
    if (config->mountinfo) {
        return mountinfo_read(&plan->table, config->mountinfo, 0, reason);
    } else {
        char *path = xasprintf("%s/self/mountinfo", config->proc);
        bool ok = mountinfo_read(&plan->table, path, 0, reason);

        free(path);
        if (!ok) {
            return false;
        }
    }
    return !config->namespaces ||
           mountinfo_read_namespaces(&plan->table, config->proc, reason);
}

bool plan_make(Plan *plan, const AgentConfig *config, Reason *reason)
{
    PlanItem *items;
    size_t count;

    memset(plan, 0, sizeof(*plan));
    if (!read_mounts(plan, config, reason)) {
        return false;
    }
    items = collect(&plan->table, &count);
    plan->freeze = xcalloc(count, sizeof(*plan->freeze));
    plan->leave = xcalloc(count, sizeof(*plan->leave));
    for (size_t i = 0; i < count; i++) {
        PlanItem *item = &items[count - 1 - i];

        sort_places(item);
        item->first = item->places[0];
        judge(item, config);
        if (item->reason) {
            plan->leave[plan->leave_count++] = *item;
        } else {
            plan->freeze[plan->freeze_count++] = *item;
        }
    }
    free(items);
    if (plan->freeze_count > MAX_FREEZE) {
        return reason_set(reason,
                          "there are %zu file systems to freeze, and "
                          "%d are the most",
                          plan->freeze_count, MAX_FREEZE);
    }
    sort_by_backing(plan, config);
    return true;
}

char *plan_item_name(const PlanItem *item)
{
    const Mount *mount = item->first;

    if (mount->pid == 0) {
        return xstrdup(mount->point);
    }
    return xasprintf("%s (as process %d sees it)", mount->point, mount->pid);
}

void plan_free(Plan *plan)
{
    for (size_t i = 0; i < plan->freeze_count; i++) {
        free(plan->freeze[i].places);
    }
    for (size_t i = 0; i < plan->leave_count; i++) {
        free(plan->leave[i].places);
    }
    free(plan->freeze);
    free(plan->leave);
    mountinfo_free(&plan->table);
    memset(plan, 0, sizeof(*plan));
}
