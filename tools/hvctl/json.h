/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members of JSON objects that came from outside: a member that is missing or
 * of another type is what the caller says it is then, never a crash.
 */
#ifndef HVCTL_JSON_H
#define HVCTL_JSON_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Borrowed; NULL if @object is NULL or has no such member of that type. */
JsonObject *hvctl_get_object(JsonObject *object, const char *name);
JsonArray *hvctl_get_array(JsonObject *object, const char *name);
const char *hvctl_get_string(JsonObject *object, const char *name,
                             const char *otherwise);
int64_t hvctl_get_int(JsonObject *object, const char *name, int64_t otherwise);
bool hvctl_get_bool(JsonObject *object, const char *name, bool otherwise);
bool hvctl_has(JsonObject *object, const char *name);
/* The object at @index, or NULL. */
JsonObject *hvctl_array_object(JsonArray *array, unsigned index);

/* Copies a member of @from to @builder as @as, null if it is missing. */
void hvctl_copy(JsonBuilder *builder, const char *as, JsonObject *from,
                const char *name);

#endif
