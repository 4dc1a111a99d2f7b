/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "hv-vss-device.h"

#define MAX_BYTES   65536
#define MAX_EXCLUDE 1024

typedef enum KeyKind { KEY_PATH, KEY_SECONDS, KEY_BOOL, KEY_PATHS } KeyKind;

/* The kernel gives up a freeze after 15 minutes, so nothing may be longer. */
static const struct {
    const char *name;
    KeyKind kind;
    size_t offset;
    unsigned min, max;
} keys[] = {
    {"device", KEY_PATH, offsetof(AgentConfig, device), 0, 0},
    {"freeze-hooks", KEY_PATH, offsetof(AgentConfig, freeze_hooks), 0, 0},
    {"thaw-hooks", KEY_PATH, offsetof(AgentConfig, thaw_hooks), 0, 0},
    {"record", KEY_PATH, offsetof(AgentConfig, record), 0, 0},
    {"hook-timeout", KEY_SECONDS, offsetof(AgentConfig, hook_timeout), 1, 600},
    {"freeze-timeout", KEY_SECONDS, offsetof(AgentConfig, freeze_timeout), 1,
     840},
    {"hold-time", KEY_SECONDS, offsetof(AgentConfig, hold_time), 1, 3600},
    {"namespaces", KEY_BOOL, offsetof(AgentConfig, namespaces), 0, 0},
    {"exclude", KEY_PATHS, 0, 0, 0},
};

void config_init(AgentConfig *config)
{
    memset(config, 0, sizeof(*config));
    config->device = xstrdup(HV_VSS_DEVICE);
    config->freeze_hooks = xstrdup("/etc/hv-vss-agent/freeze.d");
    config->thaw_hooks = xstrdup("/etc/hv-vss-agent/thaw.d");
    config->record = xstrdup("/run/hv-vss-agent.frozen");
    config->hook_timeout = 10;
    config->freeze_timeout = 45;
    config->hold_time = 330;
    config->namespaces = true;
    config->proc = xstrdup("/proc");
    config->sysfs = xstrdup("/sys");
}

static bool set_path(char **path, const char *value, Reason *reason)
{
    if (value[0] != '/') {
        return reason_set(reason, "\"%s\" is no absolute path", value);
    }
    free(*path);
    *path = xstrdup(value);
    return true;
}

static bool set_seconds(unsigned *seconds, const char *value, unsigned min,
                        unsigned max, Reason *reason)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(value, &end, 10);
    if (errno || *end || value[0] < '0' || value[0] > '9' || number < min ||
        number > max) {
        return reason_set(reason,
                          "\"%s\" is no number of seconds from %u to "
                          "%u",
                          value, min, max);
    }
    *seconds = number;
    return true;
}

static bool set_bool(bool *flag, const char *value, Reason *reason)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        return reason_set(reason, "\"%s\" is neither yes nor no", value);
    }
    *flag = value[0] == 'y';
    return true;
}

static bool add_exclude(AgentConfig *config, const char *value, Reason *reason)
{
    char *path = NULL;

    if (config->exclude_count == MAX_EXCLUDE) {
        return reason_set(reason, "more than %d excluded mount points",
                          MAX_EXCLUDE);
    }
    if (!set_path(&path, value, reason)) {
        return false;
    }
    config->exclude = xrealloc(config->exclude, config->exclude_count + 1,
                               sizeof(*config->exclude));
    config->exclude[config->exclude_count++] = path;
    return true;
}

static bool set_key(AgentConfig *config, const char *name, const char *value,
                    Reason *reason)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        void *field = (char *)config + keys[i].offset;

        if (strcmp(name, keys[i].name) != 0) {
            continue;
        }
        switch (keys[i].kind) {
        case KEY_PATH:
            return set_path(field, value, reason);
        case KEY_SECONDS:
            return set_seconds(field, value, keys[i].min, keys[i].max, reason);
        case KEY_BOOL:
            return set_bool(field, value, reason);
        case KEY_PATHS:
            return add_exclude(config, value, reason);
        }
    }
    return reason_set(reason, "there is no key \"%s\"", name);
}

static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    for (length = strlen(text); length > 0 && strchr(" \t\r", text[length - 1]);
         length--) {
        text[length - 1] = '\0';
    }
    return text;
}

bool config_parse(AgentConfig *config, const char *text, Reason *reason)
{
    char *copy = xstrdup(text), *rest = copy, *line;
    unsigned number = 0;
    Reason why = {""};
    bool ok = true;

    while (ok && (line = strsep(&rest, "\n"))) {
        char *value;

        number++;
        line = trim(line);
        if (line[0] == '\0' || line[0] == '#') {
            continue;
        }
        value = strchr(line, '=');
        if (!value) {
            ok =
                reason_set(&why, "\"%s\" is not of the form KEY = VALUE", line);
        } else {
            *value = '\0';
            ok = set_key(config, trim(line), trim(value + 1), &why);
        }
    }
    free(copy);
    return ok || reason_set(reason, "line %u: %s", number, why.text);
}

bool config_read(AgentConfig *config, const char *path, bool required,
                 Reason *reason)
{
    char *text = read_file(path, MAX_BYTES);
    Reason why = {""};
    bool ok;

    if (!text) {
        return (errno == ENOENT && !required) ||
               reason_set(reason, "%s cannot be read: %s", path,
                          strerror(errno));
    }
    ok = config_parse(config, text, &why);
    free(text);
    return ok || reason_set(reason, "%s, %s", path, why.text);
}

void config_free(AgentConfig *config)
{
    for (size_t i = 0; i < config->exclude_count; i++) {
        free(config->exclude[i]);
    }
    free(config->exclude);
    free(config->device);
    free(config->freeze_hooks);
    free(config->thaw_hooks);
    free(config->record);
    free(config->mountinfo);
    free(config->proc);
    free(config->sysfs);
}
