/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's monitor through libvirt: its driver for QEMU passes commands and
 * events on (libvirt-qemu.h), on this machine or another.
 *
 * libvirt's calls have no time limit, so each runs in a thread of its own,
 * which is left behind when the time is over.  libvirt-events.c has one more,
 * for libvirt's event loop.  All of them leave signals to the main thread.
 */
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "libvirt-events.h"
#include "transport.h"

/* For taking leave. */
#define CLOSE_SECONDS 2

typedef struct Call Call;
struct Call {
    void (*run)(Call *call); /* in its thread */
    GMutex lock;
    GCond news;
    bool done;
    /* What it is given. */
    char *uri, *name, *text;
    int fd; /* -1: none; owned */
    Inbox *inbox;
    /* What it has opened, or is given. */
    virConnectPtr connection;
    virDomainPtr domain;
    /* What it returns. */
    char *result;
    char *why; /* libvirt's sentence if it failed, or NULL */
    int code;  /* with it, a virErrorNumber */
    bool inactive;
};

typedef struct Libvirt {
    Qmp qmp;
    char *uri, *name; /* for people */
    Inbox *inbox;
    Call *opened;
    bool behind; /* a call was left behind */
} Libvirt;

static void clear_call(void *data)
{
    Call *call = data;

    if (call->domain) {
        virDomainFree(call->domain);
    }
    if (call->connection) {
        virConnectClose(call->connection);
    }
    if (call->fd >= 0) {
        close(call->fd);
    }
    g_clear_pointer(&call->inbox, inbox_unref);
    g_free(call->uri);
    g_free(call->name);
    g_free(call->text);
    /* libvirt's result, which it allocates as we do. */
    free(call->result);
    g_free(call->why);
    g_mutex_clear(&call->lock);
    g_cond_clear(&call->news);
}

static void drop_call(Call *call)
{
    g_atomic_rc_box_release_full(call, clear_call);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Call, drop_call)

static Call *new_call(void (*run)(Call *call))
{
    Call *call = g_atomic_rc_box_new0(Call);

    call->run = run;
    call->fd = -1;
    g_mutex_init(&call->lock);
    g_cond_init(&call->news);
    return call;
}

static void *run_call(void *data)
{
    Call *call = data;

    call->run(call);
    g_mutex_lock(&call->lock);
    call->done = true;
    g_cond_signal(&call->news);
    g_mutex_unlock(&call->lock);
    drop_call(call);
    return NULL;
}

/* False when the time was over first; then the call is left behind. */
static bool wait_call(const Qmp *qmp, Call *call)
{
    bool done;

    g_thread_unref(libvirt_start_thread("libvirt-call", run_call,
                                        g_atomic_rc_box_acquire(call)));
    g_mutex_lock(&call->lock);
    while (!call->done) {
        if (!qmp->limited) {
            g_cond_wait(&call->news, &call->lock);
        } else if (!g_cond_wait_until(&call->news, &call->lock,
                                      qmp->deadline)) {
            break;
        }
    }
    done = call->done;
    g_mutex_unlock(&call->lock);
    return done;
}

/* libvirt's sentence in one line, and without a full stop. */
static void note_error(Call *call)
{
    const virError *error = virGetLastError();

    call->code = error ? error->code : VIR_ERR_INTERNAL_ERROR;
    call->why = g_strdup(error && error->message ? error->message
                                                 : "it does not say why");
    g_strdelimit(call->why, "\r\n", ' ');
    g_strchomp(call->why);
    if (g_str_has_suffix(call->why, ".")) {
        call->why[strlen(call->why) - 1] = 0;
    }
}

/* In the thread of a call */

static bool find_domain(Call *call)
{
    call->domain = virDomainLookupByName(call->connection, call->name);
    if (!call->domain && g_uuid_string_is_valid(call->name)) {
        call->domain =
            virDomainLookupByUUIDString(call->connection, call->name);
    }
    return call->domain != NULL;
}

static void run_open(Call *call)
{
    int active;

    call->connection = virConnectOpenAuth(*call->uri ? call->uri : NULL,
                                          virConnectAuthPtrDefault, 0);
    if (!call->connection || !find_domain(call)) {
        note_error(call);
        return;
    }
    active = virDomainIsActive(call->domain);
    call->inactive = active == 0;
    if (active < 0 ||
        (active > 0 &&
         !inbox_subscribe(call->inbox, call->connection, call->domain))) {
        note_error(call);
    }
}

static void run_command(Call *call)
{
    int done;

    if (call->fd < 0) {
        done = virDomainQemuMonitorCommand(call->domain, call->text,
                                           &call->result, 0);
    } else {
        done = virDomainQemuMonitorCommandWithFiles(call->domain, call->text, 1,
                                                    &call->fd, NULL, NULL,
                                                    &call->result, 0);
    }
    if (done < 0) {
        note_error(call);
        call->inactive = virDomainIsActive(call->domain) == 0;
    }
}

static void run_close(Call *call)
{
    inbox_unsubscribe(call->inbox, call->connection);
    if (call->domain) {
        virDomainFree(g_steal_pointer(&call->domain));
    }
    virConnectClose(g_steal_pointer(&call->connection));
}

/* In the main thread */

static void out_of_time(const Libvirt *l, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_TIMEOUT,
                "libvirt at %s did not answer in time.", l->uri);
}

/* What has ended?  True, with *@error, if something has. */
static bool judge_end(Libvirt *l, GError **error)
{
    InboxEnd end = inbox_end(l->inbox);

    l->qmp.ended = end.off;
    if (end.stopped) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE, "The domain %s %s.",
                    l->name, end.stopped);
    } else if (end.lost) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE, "libvirt at %s %s.",
                    l->uri, end.lost);
    }
    return end.stopped || end.lost;
}

static bool cannot_pass(const Libvirt *l, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                "A file cannot be passed over the connection to %s: hvctl has "
                "to run on the host of the domain.",
                l->uri);
    return false;
}

/* Some versions of libvirt try, and lose the connection by it. */
static bool can_pass_fd(Qmp *qmp, GError **error)
{
    Libvirt *l = (Libvirt *)qmp;
    const char *uri = l->opened->uri, *path, *transport;

    if (!*uri && g_getenv("LIBVIRT_DEFAULT_URI")) {
        uri = g_getenv("LIBVIRT_DEFAULT_URI");
    }
    path = strstr(uri, "://");
    if (!path) {
        return true;
    }
    transport = memchr(uri, '+', path - uri);
    if ((transport && !g_str_has_prefix(transport, "+unix:")) ||
        (path[3] && !strchr("/?#", path[3]))) {
        return cannot_pass(l, error);
    }
    return true;
}

/* QEMU's own refusals are no failure of libvirt's; this is about the rest. */
static void judge_command(Libvirt *l, const Call *call, const char *name,
                          GError **error)
{
    if (call->inactive || call->code == VIR_ERR_INTERNAL_ERROR ||
        call->code == VIR_ERR_OPERATION_FAILED) {
        inbox_wait_end(l->inbox);
    }
    if (judge_end(l, error)) {
        return;
    }
    if (call->inactive) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "The domain %s does not run any more.", l->name);
    } else if (virConnectIsAlive(call->connection) != 1) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "The connection to libvirt at %s was lost: %s.", l->uri,
                    call->why);
    } else if (call->code == VIR_ERR_OPERATION_TIMEOUT) {
        g_set_error(error, HVCTL_ERROR, HVCTL_TIMEOUT,
                    "libvirt has not got at the domain %s in time: %s.",
                    l->name, call->why);
    } else if (call->code == VIR_ERR_ARGUMENT_UNSUPPORTED && call->fd >= 0) {
        cannot_pass(l, error);
    } else {
        g_set_error(error, HVCTL_ERROR, HVCTL_BROKEN, "libvirt refused %s: %s.",
                    name, call->why);
    }
}

static JsonObject *command(Qmp *qmp, const char *name, JsonNode *arguments,
                           int fd, GError **error)
{
    Libvirt *l = (Libvirt *)qmp;
    g_autoptr(Call) call = new_call(run_command);
    g_autoptr(JsonNode) answer = NULL;

    call->text = qmp_command_text(name, arguments, 0);
    call->connection = l->opened->connection;
    virConnectRef(call->connection);
    call->domain = l->opened->domain;
    virDomainRef(call->domain);
    if (fd >= 0) {
        call->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
    if (!wait_call(qmp, call)) {
        l->behind = true;
        out_of_time(l, error);
        return NULL;
    }
    if (call->why) {
        judge_command(l, call, name, error);
        return NULL;
    }
    answer = json_from_string(call->result, NULL);
    if (!answer || !JSON_NODE_HOLDS_OBJECT(answer)) {
        qmp_nonsense(qmp, "an answer is not a JSON object", error);
        return NULL;
    }
    return json_node_dup_object(answer);
}

static JsonObject *next_event(Qmp *qmp, GError **error)
{
    Libvirt *l = (Libvirt *)qmp;
    JsonObject *event = inbox_next(l->inbox, qmp);

    if (!event && !judge_end(l, error)) {
        qmp_out_of_time(qmp, error);
    }
    return event;
}

static void collect(Qmp *qmp)
{
    inbox_collect(((Libvirt *)qmp)->inbox, &qmp->events);
}

/* What a call that was left behind may use is left to it. */
static void close_libvirt(Qmp *qmp)
{
    Libvirt *l = (Libvirt *)qmp;

    if (!l->behind && l->opened->connection) {
        qmp_no_limit(qmp);
        qmp_limit(qmp, CLOSE_SECONDS);
        l->opened->run = run_close;
        l->opened->done = false;
        l->behind = !wait_call(qmp, l->opened);
    }
    if (!l->behind) {
        inbox_unref(l->inbox);
    }
    drop_call(l->opened);
    g_free(l->uri);
    g_free(l->name);
    g_free(l);
}

static const QmpTransport transport = {
    .command = command,
    .next_event = next_event,
    .collect = collect,
    .can_pass_fd = can_pass_fd,
    .close = close_libvirt,
    .managed = true,
};

static bool judge_open(const Libvirt *l, const Call *call, GError **error)
{
    if (call->inactive) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "The domain %s is not running.", l->name);
    } else if (!call->why) {
        return true;
    } else if (!call->connection) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "libvirt at %s cannot be reached: %s.", l->uri, call->why);
    } else if (call->code == VIR_ERR_NO_DOMAIN) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "libvirt at %s has no domain %s.", l->uri, l->name);
    } else if (call->code == VIR_ERR_NO_SUPPORT) {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "libvirt at %s has no QEMU to pass commands to.", l->uri);
    } else {
        g_set_error(error, HVCTL_ERROR, HVCTL_UNREACHABLE,
                    "libvirt at %s says: %s.", l->uri, call->why);
    }
    return false;
}

Qmp *libvirt_connect(const char *uri, const char *domain, double timeout,
                     GError **error)
{
    Libvirt *l = g_new0(Libvirt, 1);
    g_autoptr(Qmp) qmp = &l->qmp;

    qmp_init(qmp, &transport, g_strdup_printf("of domain %s", domain), timeout);
    l->uri = g_strdup(*uri ? uri : "its default URI");
    l->name = g_strdup(domain);
    l->inbox = inbox_new();
    l->opened = new_call(run_open);
    l->opened->uri = g_strdup(uri);
    l->opened->name = g_strdup(domain);
    l->opened->inbox = inbox_ref(l->inbox);
    if (!libvirt_start_events(error)) {
        return NULL;
    }
    if (!wait_call(qmp, l->opened)) {
        l->behind = true;
        out_of_time(l, error);
        return NULL;
    }
    return judge_open(l, l->opened, error) ? g_steal_pointer(&qmp) : NULL;
}
