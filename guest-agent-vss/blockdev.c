/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev.h"
#include "util.h"

#define MAX_TEXT  65536
#define MAX_DEPTH 8 /* as many stacked devices as anybody has, and more */

static bool starts_with_number(const char *name, const char *start)
{
    size_t length = strlen(start);

    return strncmp(name, start, length) == 0 &&
           isdigit((unsigned char)name[length]);
}

bool block_is_memory(const char *sysfs, unsigned major, unsigned minor)
{
    char *path = xasprintf("%s/dev/block/%u:%u/uevent", sysfs, major, minor);
    char *text = read_file(path, MAX_TEXT), *name;
    bool memory = false;

    if (text && (name = strstr(text, "DEVNAME="))) {
        name += strlen("DEVNAME=");
        memory =
            starts_with_number(name, "zram") || starts_with_number(name, "ram");
    }
    free(text);
    free(path);
    return memory;
}

/* The path in @dir/loop/backing_file; a partition's is one folder above. */
static char *backing_file(const char *dir)
{
    static const char *const places[] = {"loop", "../loop"};
    char *text = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(places) && !text; i++) {
        char *path = xasprintf("%s/%s/backing_file", dir, places[i]);

        text = read_file(path, MAX_TEXT);
        free(path);
    }
    if (text) {
        text[strcspn(text, "\n")] = '\0';
    }
    return text;
}

static void look_at(const char *dir, int depth,
                    void (*found)(const char *path, void *opaque), void *opaque)
{
    char *file = backing_file(dir), *below = xasprintf("%s/slaves", dir);
    DIR *slaves = opendir(below);
    struct dirent *entry;

    if (file) {
        found(file, opaque);
        free(file);
    }
    while (slaves && depth < MAX_DEPTH && (entry = readdir(slaves))) {
        if (entry->d_name[0] != '.') {
            char *slave = xasprintf("%s/%s", below, entry->d_name);

            look_at(slave, depth + 1, found, opaque);
            free(slave);
        }
    }
    if (slaves) {
        closedir(slaves);
    }
    free(below);
}

void block_backing_files(const char *sysfs, unsigned major, unsigned minor,
                         void (*found)(const char *path, void *opaque),
                         void *opaque)
{
    char *dir = xasprintf("%s/dev/block/%u:%u", sysfs, major, minor);

    look_at(dir, 0, found, opaque);
    free(dir);
}
