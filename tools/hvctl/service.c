/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "service.h"

#include <stdio.h>

#include "json.h"

int service_fail(GError **error, HvctlExit code, const char *sentence)
{
    g_set_error_literal(error, HVCTL_ERROR, code, sentence);
    return code;
}

JsonObject *service_find(JsonObject *info, const char *name)
{
    JsonArray *devices = hvctl_get_array(info, "devices");
    JsonObject *device;

    for (unsigned i = 0; (device = hvctl_array_object(devices, i)); i++) {
        JsonObject *service = hvctl_get_object(device, name);

        if (service) {
            return service;
        }
    }
    return NULL;
}

JsonObject *service_execute(Qmp *qmp, const char *device, const char *service,
                            const char *command, JsonNode *arguments,
                            GError **error)
{
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;
    const char *class = NULL;

    result = qmp_execute(qmp, command, arguments, &class, &why);
    if (result && JSON_NODE_HOLDS_OBJECT(result)) {
        return json_object_ref(json_node_get_object(result));
    }
    if (result) {
        g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN,
                    "QEMU's answer to %s is no object.", command);
    } else if (!g_strcmp0(class, "CommandNotFound") ||
               !g_strcmp0(class, "DeviceNotFound")) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NO_VMBUS,
                    "The machine has no %s device.", device);
    } else if (!g_strcmp0(class, "DeviceNotActive")) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NOT_OPEN,
                    "The guest has not opened the %s service.", service);
    } else {
        if (class) {
            why->code = HVCTL_REFUSED;
        }
        g_propagate_error(error, g_steal_pointer(&why));
    }
    return NULL;
}

JsonObject *service_wait(Qmp *qmp, const char *name, int64_t job,
                         GError **error)
{
    for (;;) {
        g_autoptr(JsonObject) event = qmp_next_event(qmp, error);
        JsonObject *data;

        if (!event) {
            return NULL;
        }
        data = hvctl_get_object(event, "data");
        if (g_str_has_prefix(hvctl_get_string(event, "event", ""), name) &&
            hvctl_get_int(data, "job", -1) == job) {
            return g_steal_pointer(&event);
        }
    }
}

int64_t service_timeout_ms(double seconds)
{
    double ms = seconds * 1000;

    return ms <= 0 || ms > G_MAXUINT32 ? G_MAXUINT32 : MAX((int64_t)ms, 1);
}

void service_print_text(const char *text)
{
    for (; *text; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);

        /* Of format characters, some turn the direction of text. */
        if (c == '\\') {
            fputs("\\\\", stdout);
        } else if (g_unichar_iscntrl(c) ||
                   g_unichar_type(c) == G_UNICODE_FORMAT) {
            printf("\\u%04x", c);
        } else {
            fwrite(text, 1, g_utf8_next_char(text) - text, stdout);
        }
    }
}
