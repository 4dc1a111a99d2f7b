/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <stdio.h>

#include "hvctl.h"

static JsonNode *get(JsonObject *object, const char *name)
{
    return object ? json_object_get_member(object, name) : NULL;
}

JsonObject *hvctl_get_object(JsonObject *object, const char *name)
{
    JsonNode *node = get(object, name);

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node)
                                                : NULL;
}

JsonArray *hvctl_get_array(JsonObject *object, const char *name)
{
    JsonNode *node = get(object, name);

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node)
                                               : NULL;
}

static JsonNode *get_value(JsonObject *object, const char *name, GType type)
{
    JsonNode *node = get(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) &&
                   json_node_get_value_type(node) == type
               ? node
               : NULL;
}

const char *hvctl_get_string(JsonObject *object, const char *name,
                             const char *otherwise)
{
    JsonNode *node = get_value(object, name, G_TYPE_STRING);

    return node ? json_node_get_string(node) : otherwise;
}

int64_t hvctl_get_int(JsonObject *object, const char *name, int64_t otherwise)
{
    JsonNode *node = get_value(object, name, G_TYPE_INT64);

    return node ? json_node_get_int(node) : otherwise;
}

bool hvctl_get_bool(JsonObject *object, const char *name, bool otherwise)
{
    JsonNode *node = get_value(object, name, G_TYPE_BOOLEAN);

    return node ? json_node_get_boolean(node) : otherwise;
}

bool hvctl_has(JsonObject *object, const char *name)
{
    return get(object, name) != NULL;
}

JsonObject *hvctl_array_object(JsonArray *array, unsigned index)
{
    JsonNode *node;

    if (!array || index >= json_array_get_length(array)) {
        return NULL;
    }
    node = json_array_get_element(array, index);
    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

void hvctl_copy(JsonBuilder *builder, const char *as, JsonObject *from,
                const char *name)
{
    JsonNode *node = get(from, name);

    json_builder_set_member_name(builder, as);
    if (node && !JSON_NODE_HOLDS_NULL(node)) {
        json_builder_add_value(builder, json_node_copy(node));
    } else {
        json_builder_add_null_value(builder);
    }
}

void hvctl_print_json(JsonBuilder *builder, bool indented)
{
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    g_autofree char *text = NULL;

    json_generator_set_root(generator, root);
    json_generator_set_pretty(generator, indented);
    text = json_generator_to_data(generator, NULL);
    printf("%s\n", text);
    fflush(stdout);
}
