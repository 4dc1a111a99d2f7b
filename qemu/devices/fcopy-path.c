/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a file goes in the guest.  A path is refused here if a guest would
 * refuse it, cut it short, or take it to another place than it says.
 */
#include <string.h>

#include "devices/fcopy-protocol.h"
#include "devices/fcopy.h"

/* Linux cuts at so many bytes of UTF-8, Windows at so many units. */
#define MAX_BYTES (FCOPY_MAX_PATH - 1)

static bool is_windows(const char *path)
{
    return g_ascii_isalpha(path[0]) && path[1] == ':' &&
           (path[2] == '\\' || path[2] == '/');
}

/* Control characters; and what Windows has no files with. */
static bool has_bad_character(const char *path, bool windows)
{
    const char *rest = windows ? path + 2 : path;

    for (const char *c = path; *c; c = g_utf8_next_char(c)) {
        if (g_unichar_iscntrl(g_utf8_get_char(c))) {
            return true;
        }
    }
    return windows && strpbrk(rest, "<>:\"|?*");
}

static bool has_dots(const char *path, const char *separators)
{
    g_auto(GStrv) parts = g_strsplit_set(path, separators, -1);

    return g_strv_contains((const char *const *)parts, ".") ||
           g_strv_contains((const char *const *)parts, "..");
}

VmbusFcopyResult vmbus_fcopy_split_path(const char *path, char **directory,
                                        char **name)
{
    bool windows;
    const char *separators, *last;

    if (!path || !*path) {
        return VMBUS_FCOPY_PATH_NO_NAME;
    }
    if (strnlen(path, 2 * MAX_BYTES + 1) > 2 * MAX_BYTES) {
        return VMBUS_FCOPY_DIRECTORY_TOO_LONG;
    }
    if (!g_utf8_validate(path, -1, NULL)) {
        return VMBUS_FCOPY_PATH_NOT_UTF8;
    }
    windows = is_windows(path);
    if (!windows && *path != '/') {
        return VMBUS_FCOPY_PATH_RELATIVE;
    }
    if (has_bad_character(path, windows)) {
        return VMBUS_FCOPY_PATH_CHARACTER;
    }
    separators = windows ? "\\/" : "/";
    if (has_dots(path, separators)) {
        return VMBUS_FCOPY_PATH_DOTS;
    }
    last = strrchr(path, '/');
    if (windows && (!last || (strrchr(path, '\\') > last))) {
        last = strrchr(path, '\\');
    }
    if (!last[1]) {
        return VMBUS_FCOPY_PATH_NO_NAME;
    }
    if (last + 1 - path > MAX_BYTES) {
        return VMBUS_FCOPY_DIRECTORY_TOO_LONG;
    }
    if (strlen(last + 1) > MAX_BYTES) {
        return VMBUS_FCOPY_NAME_TOO_LONG;
    }
    *directory = g_strndup(path, last + 1 - path);
    *name = g_strdup(last + 1);
    return VMBUS_FCOPY_OK;
}
