/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "record.h"

#define MAX_BYTES 65536
#define LAPSED    "lapsed\n"

/* A line for each file system: the superblock's device number. */
bool record_write(const char *path, const FreezeSet *set, Reason *reason)
{
    int fd =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0;

    for (size_t i = 0; set && i < set->count && ok; i++) {
        ok = dprintf(fd, "%u:%u\n", set->majors[i], set->minors[i]) > 0;
    }
    if (!ok) {
        reason_set(reason, "%s cannot be written: %s", path, strerror(errno));
    }
    close_fd(&fd);
    return ok;
}

/* A freeze that has begun since then has a record of its own. */
void record_lapse(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd >= 0 && lseek(fd, 0, SEEK_END) == 0 &&
        write(fd, LAPSED, strlen(LAPSED)) < 0) {
        unlink(path);
    }
    close_fd(&fd);
}

void record_end_lapse(const char *path)
{
    char *text = read_file(path, MAX_BYTES);

    if (text && !strcmp(text, LAPSED)) {
        unlink(path);
    }
    free(text);
}

void record_remove(const char *path)
{
    unlink(path);
}

static const PlanItem *find_item(const Plan *plan, unsigned major,
                                 unsigned minor)
{
    for (size_t i = 0; i < plan->freeze_count; i++) {
        if (plan->freeze[i].first->major == major &&
            plan->freeze[i].first->minor == minor) {
            return &plan->freeze[i];
        }
    }
    return NULL;
}

/* 1 if it was thawed, 0 if it was not frozen, -1 and a reason. */
static int thaw_item(const PlanItem *item, const AgentConfig *config,
                     const FsOps *ops, Reason *reason)
{
    int fd = -1, result = 1;

    for (size_t i = 0; i < item->place_count && fd < 0; i++) {
        fd = ops->open(item->places[i], config->proc);
    }
    if (fd < 0 || ops->thaw(fd) != 0) {
        result = fd >= 0 && errno == EINVAL ? 0 : -1;
        if (result < 0) {
            reason_set(reason, "%s cannot be thawed: %s", item->first->point,
                       strerror(errno));
        }
    }
    close_fd(&fd);
    return result;
}

Recovered record_recover(const AgentConfig *config, const FsOps *ops,
                         unsigned *thawed, Reason *reason)
{
    char *text = read_file(config->record, MAX_BYTES), *rest = text, *line;
    Plan plan;
    bool ok;

    *thawed = 0;
    if (!text) {
        return RECOVER_NOTHING;
    }
    if (!strcmp(text, LAPSED)) {
        free(text);
        return RECOVER_LAPSED;
    }
    ok = plan_make(&plan, config, reason);
    while (ok && (line = strsep(&rest, "\n"))) {
        const PlanItem *item = NULL;
        unsigned major, minor;

        if (sscanf(line, "%u:%u", &major, &minor) == 2) {
            item = find_item(&plan, major, minor);
        }
        if (item) {
            int result = thaw_item(item, config, ops, reason);

            ok = result >= 0;
            *thawed += result > 0;
        }
    }
    plan_free(&plan);
    free(text);
    return ok ? RECOVER_DONE : RECOVER_FAILED;
}
