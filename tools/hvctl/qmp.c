/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "json.h"

/* QEMU's own limit; the parser behind us recurses. */
#define MAX_DEPTH 1024

struct Qmp {
    char *address;
    GSocketConnection *connection;
    int fd;
    GString *in;   /* what has come and is not taken yet */
    gsize scanned; /* so far the scanner has looked */
    int depth;     /* of brackets at that place */
    bool in_string, escaped;
    bool ended;
    bool limited;
    int64_t deadline; /* on g_get_monotonic_time() */
    int64_t next_id;
    GQueue events;
};

static bool out_of_time(Qmp *qmp, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_TIMEOUT,
                "QEMU at %s did not answer in time.", qmp->address);
    return false;
}

/* Milliseconds for poll(); never negative but for "no limit". */
static int time_left(const Qmp *qmp)
{
    int64_t left;

    if (!qmp->limited) {
        return -1;
    }
    left = qmp->deadline - g_get_monotonic_time();
    return left <= 0 ? 0 : (int)MIN((left + 999) / 1000, G_MAXINT);
}

static bool wait_for(Qmp *qmp, short events, GError **error)
{
    struct pollfd pollfd = {.fd = qmp->fd, .events = events};
    int n;

    do {
        n = poll(&pollfd, 1, time_left(qmp));
    } while (n < 0 && errno == EINTR);
    return n > 0 || out_of_time(qmp, error);
}

static bool ended(Qmp *qmp, GError **error)
{
    qmp->ended = true;
    g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                "QEMU at %s closed the connection.", qmp->address);
    return false;
}

static bool nonsense(Qmp *qmp, const char *what, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN,
                "What %s sent is not QMP: %s.", qmp->address, what);
    return false;
}

static bool receive_more(Qmp *qmp, GError **error)
{
    char buffer[65536];
    ssize_t n;

    if (!wait_for(qmp, POLLIN, error)) {
        return false;
    }
    n = recv(qmp->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        return ended(qmp, error);
    }
    g_string_append_len(qmp->in, buffer, n);
    return true;
}

/*
 * Finds the end of the first object in the buffer.  A monitor may be set to
 * write an object over several lines, so lines are not messages.  Returns 0
 * if the object is not complete, -1 if what is there is no object.
 */
static gssize scan(Qmp *qmp)
{
    while (qmp->scanned < qmp->in->len) {
        char c = qmp->in->str[qmp->scanned++];

        if (qmp->in_string) {
            if (qmp->escaped) {
                qmp->escaped = false;
            } else if (c == '\\') {
                qmp->escaped = true;
            } else if (c == '"') {
                qmp->in_string = false;
            }
        } else if (c == '{' || c == '[') {
            if (++qmp->depth > MAX_DEPTH) {
                return -1;
            }
        } else if (c == '}' || c == ']') {
            if (--qmp->depth <= 0) {
                return qmp->depth < 0 ? -1 : (gssize)qmp->scanned;
            }
        } else if (qmp->depth == 0 && !g_ascii_isspace(c)) {
            return -1;
        } else if (c == '"') {
            qmp->in_string = true;
        }
    }
    return 0;
}

/* The next message, complete; NULL with *@error. */
static JsonObject *receive(Qmp *qmp, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    gssize len;
    JsonNode *root;
    bool parsed;

    while ((len = scan(qmp)) == 0) {
        if (qmp->in->len > QMP_MAX_MESSAGE) {
            nonsense(qmp, "a message has no end", error);
            return NULL;
        }
        if (!receive_more(qmp, error)) {
            return NULL;
        }
    }
    if (len < 0) {
        nonsense(qmp, "there is text that is no JSON object", error);
        return NULL;
    }
    parsed = json_parser_load_from_data(parser, qmp->in->str, len, NULL);
    g_string_erase(qmp->in, 0, len);
    qmp->scanned = 0;
    root = parsed ? json_parser_get_root(parser) : NULL;
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        nonsense(qmp, "a message is not a JSON object", error);
        return NULL;
    }
    return json_node_dup_object(root);
}

/* With the descriptor @fd beside the first byte, unless it is -1. */
static ssize_t send_some(Qmp *qmp, const char *text, gsize len, int fd)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(char *)text, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control.space);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
    }
    return sendmsg(qmp->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool send_all(Qmp *qmp, const char *text, gsize len, int fd,
                     GError **error)
{
    while (len) {
        ssize_t n = send_some(qmp, text, len, fd);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return ended(qmp, error);
        }
        if (n < 0) {
            if (!wait_for(qmp, POLLOUT, error)) {
                return false;
            }
            continue;
        }
        fd = -1;
        text += n;
        len -= n;
    }
    return true;
}

static bool send_command(Qmp *qmp, const char *command, JsonNode *arguments,
                         int fd, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "execute");
    json_builder_add_string_value(builder, command);
    if (arguments) {
        json_builder_set_member_name(builder, "arguments");
        json_builder_add_value(builder, arguments);
    }
    json_builder_set_member_name(builder, "id");
    json_builder_add_int_value(builder, ++qmp->next_id);
    json_builder_end_object(builder);
    root = json_builder_get_root(builder);
    json_generator_set_root(generator, root);
    text = json_generator_to_data(generator, NULL);
    line = g_strconcat(text, "\r\n", NULL);
    return send_all(qmp, line, strlen(line), fd, error);
}

static JsonNode *execute(Qmp *qmp, const char *command, JsonNode *arguments,
                         int fd, const char **class, GError **error)
{
    if (class) {
        *class = NULL;
    }
    if (!send_command(qmp, command, arguments, fd, error)) {
        return NULL;
    }
    for (;;) {
        g_autoptr(JsonObject) message = receive(qmp, error);
        JsonObject *failure;

        if (!message) {
            return NULL;
        }
        if (hvctl_has(message, "event")) {
            g_queue_push_tail(&qmp->events, g_steal_pointer(&message));
            continue;
        }
        /* An answer to a command that QEMU could not read has no id. */
        if (hvctl_get_int(message, "id", qmp->next_id) != qmp->next_id) {
            continue;
        }
        if (hvctl_has(message, "return")) {
            return json_node_copy(json_object_get_member(message, "return"));
        }
        failure = hvctl_get_object(message, "error");
        if (!failure) {
            nonsense(qmp, "an answer is neither a result nor an error", error);
            return NULL;
        }
        if (class) {
            *class = g_intern_string(
                hvctl_get_string(failure, "class", "GenericError"));
        }
        g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN, "QEMU refused %s: %s",
                    command,
                    hvctl_get_string(failure, "desc", "no reason given"));
        return NULL;
    }
}

JsonNode *qmp_execute(Qmp *qmp, const char *command, JsonNode *arguments,
                      const char **class, GError **error)
{
    return execute(qmp, command, arguments, -1, class, error);
}

bool qmp_pass_fd(Qmp *qmp, const char *name, int fd, GError **error)
{
    GSocket *sock = g_socket_connection_get_socket(qmp->connection);
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) result = NULL;

    if (g_socket_get_family(sock) != G_SOCKET_FAMILY_UNIX) {
        g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                    "%s is no UNIX socket, and a file cannot be passed over "
                    "it.",
                    qmp->address);
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
    JsonObject *message = g_queue_pop_head(&qmp->events);

    while (!message) {
        message = receive(qmp, error);
        if (!message) {
            return NULL;
        }
        if (!hvctl_has(message, "event")) {
            g_clear_pointer(&message, json_object_unref);
        }
    }
    return message;
}

void qmp_drop_events(Qmp *qmp, const char *name)
{
    GList *link = qmp->events.head;

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

/* NULL with *@error if @address names no place. */
static GSocketConnectable *parse_address(const char *address, GError **error)
{
    g_autoptr(GError) why = NULL;
    GSocketConnectable *where;
    struct sockaddr_un sun;

    if (g_str_has_prefix(address, "tcp:")) {
        where = g_network_address_parse(address + 4, 0, &why);
        if (!where || !g_network_address_get_port(G_NETWORK_ADDRESS(where))) {
            g_clear_object(&where);
            g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                        "%s is not of the form tcp:HOST:PORT.", address);
        }
        return where;
    }
    if (g_str_has_prefix(address, "unix:")) {
        address += 5;
    }
    if (!*address || strlen(address) >= sizeof(sun.sun_path)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                    "The path of a socket has 1 to %zu bytes; this one has "
                    "%zu.",
                    sizeof(sun.sun_path) - 1, strlen(address));
        return NULL;
    }
    return G_SOCKET_CONNECTABLE(g_unix_socket_address_new(address));
}

static bool open_socket(Qmp *qmp, double timeout, GError **error)
{
    g_autoptr(GSocketConnectable) where = parse_address(qmp->address, error);
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GError) why = NULL;

    if (!where) {
        return false;
    }
    g_socket_client_set_enable_proxy(client, FALSE);
    if (timeout > 0) {
        g_socket_client_set_timeout(client,
                                    (guint)MIN(timeout + 1, G_MAXINT / 2));
    }
    qmp->connection = g_socket_client_connect(client, where, NULL, &why);
    if (!qmp->connection) {
        if (g_error_matches(why, G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
            return out_of_time(qmp, error);
        }
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "No QEMU answers at %s: %s.", qmp->address, why->message);
        return false;
    }
    qmp->fd = g_socket_get_fd(g_socket_connection_get_socket(qmp->connection));
    return true;
}

static bool negotiate(Qmp *qmp, GError **error)
{
    g_autoptr(JsonObject) greeting = NULL;
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;

    greeting = receive(qmp, &why);
    if (!greeting) {
        if (g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT)) {
            g_set_error(error, HVCTL_ERROR, HVCTL_TIMEOUT,
                        "QEMU at %s did not greet in time; a monitor serves "
                        "one client at a time, and another may be connected.",
                        qmp->address);
        } else {
            g_propagate_error(error, g_steal_pointer(&why));
        }
        return false;
    }
    if (!hvctl_get_object(greeting, "QMP")) {
        return nonsense(qmp, "the greeting is missing", error);
    }
    result = qmp_execute(qmp, "qmp_capabilities", NULL, NULL, error);
    return result != NULL;
}

Qmp *qmp_connect(const char *address, double timeout, GError **error)
{
    g_autoptr(Qmp) qmp = g_new0(Qmp, 1);

    qmp->address = g_strdup(address);
    qmp->in = g_string_new(NULL);
    qmp->fd = -1;
    g_queue_init(&qmp->events);
    if (timeout > 0) {
        qmp_limit(qmp, timeout);
    }
    if (!open_socket(qmp, timeout, error) || !negotiate(qmp, error)) {
        return NULL;
    }
    return g_steal_pointer(&qmp);
}

void qmp_free(Qmp *qmp)
{
    g_clear_object(&qmp->connection);
    g_queue_clear_full(&qmp->events, (GDestroyNotify)json_object_unref);
    g_string_free(qmp->in, TRUE);
    g_free(qmp->address);
    g_free(qmp);
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
                        "The QEMU at %s has no VMBus support.", qmp->address);
        } else {
            g_propagate_error(error, g_steal_pointer(&why));
        }
        return NULL;
    }
    info = JSON_NODE_HOLDS_OBJECT(result) ? json_node_get_object(result) : NULL;
    if (!info || !hvctl_has(info, "present") ||
        !hvctl_get_array(info, "devices")) {
        nonsense(qmp, "the answer to query-vmbus lacks members", error);
        return NULL;
    }
    if (!hvctl_get_bool(info, "present", false)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_NO_VMBUS,
                    "The machine at %s has no VMBus.", qmp->address);
        return NULL;
    }
    return json_object_ref(info);
}
