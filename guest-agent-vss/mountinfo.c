/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mountinfo.h"

/* A table of 100,000 mounts has about this size. */
#define MAX_BYTES      (32u * 1024 * 1024)
#define MAX_NAMESPACES 4096

/* The kernel writes blanks, newlines and backslashes as \ooo. */
static void unescape(char *text)
{
    char *out = text;

    for (char *in = text; *in; in++) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' &&
            in[2] <= '7' && in[3] >= '0' && in[3] <= '7') {
            *out++ = (in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0');
            in += 3;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
}

/* Fields are separated by exactly one blank: the source may be empty. */
static char *next_field(char **rest)
{
    char *field = strsep(rest, " ");

    if (field) {
        unescape(field);
    }
    return field;
}

/*
 * id parent major:minor root point options [optional...] - type source super
 */
static bool parse_line(Mount *mount, char *line)
{
    char *rest = line, *field[6], *type, *source, *super, *optional;
    int end = 0;

    for (size_t i = 0; i < ARRAY_SIZE(field); i++) {
        field[i] = next_field(&rest);
        if (!field[i]) {
            return false;
        }
    }
    do {
        optional = next_field(&rest);
    } while (optional && strcmp(optional, "-") != 0);
    type = next_field(&rest);
    source = next_field(&rest);
    super = next_field(&rest);
    if (!super || field[4][0] != '/' ||
        sscanf(field[0], "%d%n", &mount->id, &end) != 1 || field[0][end] ||
        sscanf(field[2], "%u:%u%n", &mount->major, &mount->minor, &end) != 2 ||
        field[2][end]) {
        return false;
    }
    mount->root = xstrdup(field[3]);
    mount->point = xstrdup(field[4]);
    mount->type = xstrdup(type);
    mount->source = xstrdup(source);
    mount->super = xstrdup(super);
    return true;
}

bool mountinfo_parse(MountTable *table, char *text, int pid, Reason *reason)
{
    size_t room = table->count, number = 0;
    char *line;

    while ((line = strsep(&text, "\n"))) {
        number++;
        if (line[0] == '\0') {
            continue;
        }
        if (table->count == room) {
            room = room * 2 + 64;
            table->mounts =
                xrealloc(table->mounts, room, sizeof(*table->mounts));
        }
        memset(&table->mounts[table->count], 0, sizeof(*table->mounts));
        table->mounts[table->count].pid = pid;
        if (!parse_line(&table->mounts[table->count], line)) {
            return reason_set(reason, "line %zu makes no sense", number);
        }
        table->count++;
    }
    return true;
}

bool mountinfo_read(MountTable *table, const char *path, int pid,
                    Reason *reason)
{
    char *text = read_file(path, MAX_BYTES);
    Reason why;
    bool ok;

    if (!text) {
        return reason_set(reason, "%s cannot be read: %s", path,
                          strerror(errno));
    }
    ok = mountinfo_parse(table, text, pid, &why);
    free(text);
    return ok || reason_set(reason, "%s: %s", path, why.text);
}

typedef struct Namespaces {
    char **seen;
    size_t count;
} Namespaces;

/* Whether the namespace of @proc/@process is one not seen yet. */
static bool is_new(Namespaces *spaces, const char *proc, const char *process)
{
    char *path = xasprintf("%s/%s/ns/mnt", proc, process), name[64];
    ssize_t length = readlink(path, name, sizeof(name) - 1);

    free(path);
    if (length < 0) {
        return false; /* the process has ended */
    }
    name[length] = '\0';
    for (size_t i = 0; i < spaces->count; i++) {
        if (strcmp(spaces->seen[i], name) == 0) {
            return false;
        }
    }
    spaces->seen = xrealloc(spaces->seen, spaces->count + 1, sizeof(char *));
    spaces->seen[spaces->count++] = xstrdup(name);
    return true;
}

/* A process that ended in the meantime has nothing mounted any more. */
static bool read_namespace(MountTable *table, const char *proc,
                           const char *process, Reason *reason)
{
    char *path = xasprintf("%s/%s/mountinfo", proc, process);
    bool ok = mountinfo_read(table, path, atoi(process), reason);

    if (!ok && access(path, F_OK) != 0) {
        ok = true;
    }
    free(path);
    return ok;
}

bool mountinfo_read_namespaces(MountTable *table, const char *proc,
                               Reason *reason)
{
    Namespaces spaces = {0};
    DIR *dir = opendir(proc);
    struct dirent *entry;
    bool ok = true;

    if (!dir) {
        return reason_set(reason, "%s cannot be read: %s", proc,
                          strerror(errno));
    }
    is_new(&spaces, proc, "self");
    while (ok && (entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !is_new(&spaces, proc, entry->d_name)) {
            continue;
        }
        if (spaces.count > MAX_NAMESPACES) {
            ok = reason_set(reason, "there are more than %d mount namespaces",
                            MAX_NAMESPACES);
        } else {
            ok = read_namespace(table, proc, entry->d_name, reason);
        }
    }
    closedir(dir);
    for (size_t i = 0; i < spaces.count; i++) {
        free(spaces.seen[i]);
    }
    free(spaces.seen);
    return ok;
}

char *mount_option(const Mount *mount, const char *name)
{
    size_t length = strlen(name);
    const char *at = mount->super;

    while (at) {
        size_t option = strcspn(at, ",");

        if (option >= length && strncmp(at, name, length) == 0) {
            if (option == length) {
                return xstrdup("");
            }
            if (at[length] == '=') {
                return xasprintf("%.*s", (int)(option - length - 1),
                                 at + length + 1);
            }
        }
        at = at[option] ? at + option + 1 : NULL;
    }
    return NULL;
}

const Mount *mount_of_path(const MountTable *table, const char *path)
{
    const Mount *best = NULL;
    size_t best_length = 0;

    for (size_t i = 0; i < table->count; i++) {
        const Mount *mount = &table->mounts[i];
        size_t length = strlen(mount->point);

        if (strcmp(mount->point, "/") == 0) {
            length = 0;
        }
        /* Of two mounts on one folder, the later one covers the other. */
        if (mount->pid == 0 && strncmp(path, mount->point, length) == 0 &&
            (path[length] == '/' || path[length] == '\0') &&
            (!best || length >= best_length)) {
            best = mount;
            best_length = length;
        }
    }
    return best;
}

void mountinfo_free(MountTable *table)
{
    for (size_t i = 0; i < table->count; i++) {
        Mount *mount = &table->mounts[i];

        free(mount->root);
        free(mount->point);
        free(mount->type);
        free(mount->source);
        free(mount->super);
    }
    free(table->mounts);
    table->mounts = NULL;
    table->count = 0;
}
