/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all ways to a QEMU's monitor share. */
#include "json.h"
#include "transport.h"

void qmp_init(Qmp *qmp, const QmpTransport *transport, char *where,
              double timeout)
{
    qmp->transport = transport;
    qmp->where = where;
    g_queue_init(&qmp->events);
    if (timeout > 0) {
        qmp_limit(qmp, timeout);
    }
}

void qmp_free(Qmp *qmp)
{
    g_queue_clear_full(&qmp->events, (GDestroyNotify)json_object_unref);
    g_clear_pointer(&qmp->where, g_free);
    qmp->transport->close(qmp);
}

Qmp *qmp_open(const HvctlOptions *options, double timeout, GError **error)
{
    return options->domain ? libvirt_connect(options->connect, options->domain,
                                             timeout, error)
                           : qmp_connect(options->qmp, timeout, error);
}

void qmp_out_of_time(const Qmp *qmp, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_TIMEOUT,
                "QEMU %s did not answer in time.", qmp->where);
}

void qmp_nonsense(const Qmp *qmp, const char *what, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN,
                "What QEMU %s sent is not QMP: %s.", qmp->where, what);
}

void qmp_no_limit(Qmp *qmp)
{
    qmp->limited = false;
}

void qmp_limit(Qmp *qmp, double timeout)
{
    int64_t deadline =
        g_get_monotonic_time() + (int64_t)(timeout * G_USEC_PER_SEC);

    if (!qmp->limited || deadline < qmp->deadline) {
        qmp->limited = true;
        qmp->deadline = deadline;
    }
}

char *qmp_command_text(const char *command, JsonNode *arguments, int64_t id)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) root = NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "execute");
    json_builder_add_string_value(builder, command);
    if (arguments) {
        json_builder_set_member_name(builder, "arguments");
        json_builder_add_value(builder, arguments);
    }
    if (id) {
        json_builder_set_member_name(builder, "id");
        json_builder_add_int_value(builder, id);
    }
    json_builder_end_object(builder);
    root = json_builder_get_root(builder);
    json_generator_set_root(generator, root);
    return json_generator_to_data(generator, NULL);
}

static JsonNode *execute(Qmp *qmp, const char *command, JsonNode *arguments,
                         int fd, const char **class, GError **error)
{
    g_autoptr(JsonObject) answer = NULL;
    JsonObject *failure;

    if (class) {
        *class = NULL;
    }
    answer = qmp->transport->command(qmp, command, arguments, fd, error);
    if (!answer) {
        return NULL;
    }
    if (hvctl_has(answer, "return")) {
        return json_node_copy(json_object_get_member(answer, "return"));
    }
    failure = hvctl_get_object(answer, "error");
    if (!failure) {
        qmp_nonsense(qmp, "an answer is neither a result nor an error", error);
        return NULL;
    }
    if (class) {
        *class =
            g_intern_string(hvctl_get_string(failure, "class", "GenericError"));
    }
    g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN, "QEMU refused %s: %s",
                command, hvctl_get_string(failure, "desc", "no reason given"));
    return NULL;
}

JsonNode *qmp_execute(Qmp *qmp, const char *command, JsonNode *arguments,
                      const char **class, GError **error)
{
    return execute(qmp, command, arguments, -1, class, error);
}

bool qmp_pass_fd(Qmp *qmp, const char *name, int fd, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) result = NULL;

    if (qmp->transport->can_pass_fd &&
        !qmp->transport->can_pass_fd(qmp, error)) {
        return false;
    }
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "fdname");
    json_builder_add_string_value(builder, name);
    json_builder_end_object(builder);
    result =
        execute(qmp, "getfd", json_builder_get_root(builder), fd, NULL, error);
    return result;
}

JsonObject *qmp_next_event(Qmp *qmp, GError **error)
{
    JsonObject *event = g_queue_pop_head(&qmp->events);

    return event ? event : qmp->transport->next_event(qmp, error);
}

void qmp_drop_events(Qmp *qmp, const char *name)
{
    GList *link;

    if (qmp->transport->collect) {
        qmp->transport->collect(qmp);
    }
    link = qmp->events.head;
    while (link) {
        GList *next = link->next;
        JsonObject *event = link->data;

        if (!name || !g_strcmp0(hvctl_get_string(event, "event", NULL), name)) {
            json_object_unref(event);
            g_queue_delete_link(&qmp->events, link);
        }
        link = next;
    }
}

bool qmp_ended(const Qmp *qmp)
{
    return qmp->ended;
}

bool qmp_is_managed(const Qmp *qmp)
{
    return qmp->transport->managed;
}

JsonObject *qmp_query_vmbus(Qmp *qmp, GError **error)
{
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;
    const char *class = NULL;
    JsonObject *info;

    result = qmp_execute(qmp, "query-vmbus", NULL, &class, &why);
    if (!result) {
        if (!g_strcmp0(class, "CommandNotFound")) {
            g_set_error(error, HVCTL_ERROR, HVCTL_NO_VMBUS,
                        "The QEMU %s has no VMBus support.", qmp->where);
        } else {
            g_propagate_error(error, g_steal_pointer(&why));
        }
        return NULL;
    }
    info = JSON_NODE_HOLDS_OBJECT(result) ? json_node_get_object(result) : NULL;
    if (!info || !hvctl_has(info, "present") ||
        !hvctl_get_array(info, "devices")) {
        qmp_nonsense(qmp, "the answer to query-vmbus lacks members", error);
        return NULL;
    }
    if (!hvctl_get_bool(info, "present", false)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NO_VMBUS,
                    "The machine %s has no VMBus.", qmp->where);
        return NULL;
    }
    return json_object_ref(info);
}
