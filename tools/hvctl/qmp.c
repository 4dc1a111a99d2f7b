/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transport.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "json.h"

/* QEMU's own limit; the parser behind us recurses. */
#define MAX_DEPTH 1024

typedef struct Socket {
    Qmp qmp;
    char *address;
    GSocketConnection *connection;
    int fd;
    GString *in;   /* what has come and is not taken yet */
    gsize scanned; /* so far the scanner has looked */
    int depth;     /* of brackets at that place */
    bool in_string, escaped;
    int64_t next_id;
} Socket;

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

static bool wait_for(Socket *s, short events, GError **error)
{
    struct pollfd pollfd = {.fd = s->fd, .events = events};
    int n;

    do {
        n = poll(&pollfd, 1, time_left(&s->qmp));
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        qmp_out_of_time(&s->qmp, error);
    }
    return n > 0;
}

static bool ended(Socket *s, GError **error)
{
    s->qmp.ended = true;
    g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                "QEMU at %s closed the connection.", s->address);
    return false;
}

static bool receive_more(Socket *s, GError **error)
{
    char buffer[65536];
    ssize_t n;

    if (!wait_for(s, POLLIN, error)) {
        return false;
    }
    n = recv(s->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        return ended(s, error);
    }
    g_string_append_len(s->in, buffer, n);
    return true;
}

/*
 * Finds the end of the first object in the buffer.  A monitor may be set to
 * write an object over several lines, so lines are not messages.  Returns 0
 * if the object is not complete, -1 if what is there is no object.
 */
static gssize scan(Socket *s)
{
    while (s->scanned < s->in->len) {
        char c = s->in->str[s->scanned++];

        if (s->in_string) {
            if (s->escaped) {
                s->escaped = false;
            } else if (c == '\\') {
                s->escaped = true;
            } else if (c == '"') {
                s->in_string = false;
            }
        } else if (c == '{' || c == '[') {
            if (++s->depth > MAX_DEPTH) {
                return -1;
            }
        } else if (c == '}' || c == ']') {
            if (--s->depth <= 0) {
                return s->depth < 0 ? -1 : (gssize)s->scanned;
            }
        } else if (s->depth == 0 && !g_ascii_isspace(c)) {
            return -1;
        } else if (c == '"') {
            s->in_string = true;
        }
    }
    return 0;
}

/* The next message, complete; NULL with *@error. */
static JsonObject *receive(Socket *s, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    gssize len;
    JsonNode *root;
    bool parsed;

    while ((len = scan(s)) == 0) {
        if (s->in->len > QMP_MAX_MESSAGE) {
            qmp_nonsense(&s->qmp, "a message has no end", error);
            return NULL;
        }
        if (!receive_more(s, error)) {
            return NULL;
        }
    }
    if (len < 0) {
        qmp_nonsense(&s->qmp, "there is text that is no JSON object", error);
        return NULL;
    }
    parsed = json_parser_load_from_data(parser, s->in->str, len, NULL);
    g_string_erase(s->in, 0, len);
    s->scanned = 0;
    root = parsed ? json_parser_get_root(parser) : NULL;
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        qmp_nonsense(&s->qmp, "a message is not a JSON object", error);
        return NULL;
    }
    return json_node_dup_object(root);
}

/* With the descriptor @fd beside the first byte, unless it is -1. */
static ssize_t send_some(Socket *s, const char *text, gsize len, int fd)
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
    return sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool send_all(Socket *s, const char *text, gsize len, int fd,
                     GError **error)
{
    while (len) {
        ssize_t n = send_some(s, text, len, fd);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return ended(s, error);
        }
        if (n < 0) {
            if (!wait_for(s, POLLOUT, error)) {
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

static bool send_command(Socket *s, const char *command, JsonNode *arguments,
                         int fd, GError **error)
{
    g_autofree char *text = qmp_command_text(command, arguments, ++s->next_id);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);

    return send_all(s, line, strlen(line), fd, error);
}

static JsonObject *command(Qmp *qmp, const char *name, JsonNode *arguments,
                           int fd, GError **error)
{
    Socket *s = (Socket *)qmp;

    if (!send_command(s, name, arguments, fd, error)) {
        return NULL;
    }
    for (;;) {
        g_autoptr(JsonObject) message = receive(s, error);

        if (!message) {
            return NULL;
        }
        if (hvctl_has(message, "event")) {
            g_queue_push_tail(&qmp->events, g_steal_pointer(&message));
            continue;
        }
        /* An answer to a command that QEMU could not read has no id. */
        if (hvctl_get_int(message, "id", s->next_id) == s->next_id) {
            return g_steal_pointer(&message);
        }
    }
}

static bool can_pass_fd(Qmp *qmp, GError **error)
{
    Socket *s = (Socket *)qmp;
    GSocket *sock = g_socket_connection_get_socket(s->connection);

    if (g_socket_get_family(sock) != G_SOCKET_FAMILY_UNIX) {
        g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                    "%s is no UNIX socket, and a file cannot be passed over "
                    "it.",
                    s->address);
        return false;
    }
    return true;
}

static JsonObject *next_event(Qmp *qmp, GError **error)
{
    for (;;) {
        JsonObject *message = receive((Socket *)qmp, error);

        if (!message || hvctl_has(message, "event")) {
            return message;
        }
        json_object_unref(message);
    }
}

static void close_socket(Qmp *qmp)
{
    Socket *s = (Socket *)qmp;

    g_clear_object(&s->connection);
    g_string_free(s->in, TRUE);
    g_free(s->address);
    g_free(s);
}

static const QmpTransport transport = {
    .command = command,
    .next_event = next_event,
    .can_pass_fd = can_pass_fd,
    .close = close_socket,
};

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

static bool open_socket(Socket *s, double timeout, GError **error)
{
    g_autoptr(GSocketConnectable) where = parse_address(s->address, error);
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
    s->connection = g_socket_client_connect(client, where, NULL, &why);
    if (!s->connection) {
        if (g_error_matches(why, G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
            qmp_out_of_time(&s->qmp, error);
            return false;
        }
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "No QEMU answers at %s: %s.", s->address, why->message);
        return false;
    }
    s->fd = g_socket_get_fd(g_socket_connection_get_socket(s->connection));
    return true;
}

static bool negotiate(Socket *s, GError **error)
{
    g_autoptr(JsonObject) greeting = NULL;
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GError) why = NULL;

    greeting = receive(s, &why);
    if (!greeting) {
        if (g_error_matches(why, HVCTL_ERROR, HVCTL_TIMEOUT)) {
            g_set_error(error, HVCTL_ERROR, HVCTL_TIMEOUT,
                        "QEMU at %s did not greet in time; a monitor serves "
                        "one client at a time, and another may be connected.",
                        s->address);
        } else {
            g_propagate_error(error, g_steal_pointer(&why));
        }
        return false;
    }
    if (!hvctl_get_object(greeting, "QMP")) {
        qmp_nonsense(&s->qmp, "the greeting is missing", error);
        return false;
    }
    result = qmp_execute(&s->qmp, "qmp_capabilities", NULL, NULL, error);
    return result != NULL;
}

Qmp *qmp_connect(const char *address, double timeout, GError **error)
{
    Socket *s = g_new0(Socket, 1);
    g_autoptr(Qmp) qmp = &s->qmp;

    qmp_init(qmp, &transport, g_strdup_printf("at %s", address), timeout);
    s->address = g_strdup(address);
    s->in = g_string_new(NULL);
    s->fd = -1;
    if (!open_socket(s, timeout, error) || !negotiate(s, error)) {
        return NULL;
    }
    return g_steal_pointer(&qmp);
}
