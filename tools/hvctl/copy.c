/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl copy: a file goes into the guest. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "service.h"

#define DEFAULT_TIMEOUT 60
/* QEMU ends each step in time; more than this beyond it is a hang. */
#define GRACE     5
#define BAR_WIDTH 40

typedef struct Copy {
    const HvctlOptions *options;
    Qmp *qmp;
    double timeout;
    int64_t job;
    int64_t begun; /* monotonic, in microseconds */
    bool bar;      /* it is drawn */
} Copy;

static JsonNode *job_argument(int64_t job)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "job");
    json_builder_add_int_value(builder, job);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

static JsonObject *execute(Copy *copy, const char *command, JsonNode *arguments,
                           GError **error)
{
    return service_execute(copy->qmp, "hv-fcopy", "file copy", command,
                           arguments, error);
}

/* The limit of one step begins anew with each sign of life. */
static void renew(Copy *copy)
{
    qmp_no_limit(copy->qmp);
    if (copy->timeout > 0) {
        qmp_limit(copy->qmp, copy->timeout + GRACE);
    }
}

static void draw(Copy *copy, uint64_t copied, uint64_t size)
{
    double seconds =
        (g_get_monotonic_time() - copy->begun) / (double)G_USEC_PER_SEC;
    double part = size ? (double)copied / size : 1;
    int full = (int)(part * BAR_WIDTH);
    char bar[BAR_WIDTH + 1];

    if (copy->options->json ||
        (!copy->options->progress && !isatty(STDERR_FILENO))) {
        return;
    }
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', CLAMP(full, 0, BAR_WIDTH));
    bar[BAR_WIDTH] = 0;
    fprintf(stderr, "\r[%s] %3d%%  %.1f of %.1f MiB", bar, (int)(part * 100),
            copied / 1048576.0, size / 1048576.0);
    if (seconds >= 1) {
        fprintf(stderr, "  %.1f MiB/s ", copied / 1048576.0 / seconds);
    }
    fflush(stderr);
    copy->bar = true;
}

static bool start(Copy *copy, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonObject) started = NULL;
    const HvctlOptions *options = copy->options;
    int fd = open(options->args[0], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool passed;

    if (fd < 0) {
        g_set_error(error, HVCTL_ERROR, HVCTL_FILE, "%s cannot be opened: %s.",
                    options->args[0], g_strerror(errno));
        return false;
    }
    passed = qmp_pass_fd(copy->qmp, "hvctl-copy", fd, error);
    close(fd);
    if (!passed) {
        return false;
    }
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "fd");
    json_builder_add_string_value(builder, "hvctl-copy");
    json_builder_set_member_name(builder, "path");
    json_builder_add_string_value(builder, options->args[1]);
    json_builder_set_member_name(builder, "overwrite");
    json_builder_add_boolean_value(builder, options->overwrite);
    json_builder_set_member_name(builder, "create-path");
    json_builder_add_boolean_value(builder, options->create_path);
    json_builder_set_member_name(builder, "step-timeout-ms");
    json_builder_add_int_value(builder, service_timeout_ms(copy->timeout));
    json_builder_end_object(builder);
    started = execute(copy, "vmbus-fcopy-start", json_builder_get_root(builder),
                      error);
    copy->job = started ? hvctl_get_int(started, "job", -1) : -1;
    return started;
}

/* Has begun a copy, or goes on with one, or ends it. */
static bool begin(Copy *copy, GError **error)
{
    const HvctlOptions *options = copy->options;
    g_autoptr(JsonObject) done = NULL;

    if (!options->resume && !options->cancel) {
        return start(copy, error);
    }
    copy->job = options->resume ? options->resume : options->cancel;
    done = execute(
        copy, options->resume ? "vmbus-fcopy-resume" : "vmbus-fcopy-cancel",
        job_argument(copy->job), error);
    return done;
}

/* Until the copy has stopped or ended. */
static bool wait_end(Copy *copy, GError **error)
{
    for (;;) {
        g_autoptr(JsonObject) event =
            service_wait(copy->qmp, "VMBUS_FCOPY_", copy->job, error);
        JsonObject *data;

        if (!event) {
            return false;
        }
        renew(copy);
        data = hvctl_get_object(event, "data");
        if (!g_strcmp0(hvctl_get_string(event, "event", ""),
                       "VMBUS_FCOPY_PROGRESS")) {
            draw(copy, hvctl_get_int(data, "copied", 0),
                 hvctl_get_int(data, "size", 0));
        } else if (hvctl_has(data, "result")) {
            return true;
        }
    }
}

static void print_done(const HvctlOptions *options, JsonObject *info)
{
    static const char *const members[] = {
        "job", "state", "path", "size", "copied", "sha256",
    };

    if (options->json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();

        json_builder_begin_object(builder);
        for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
            hvctl_copy(builder, members[i], info, members[i]);
        }
        json_builder_end_object(builder);
        hvctl_print_json(builder, true);
    } else if (options->cancel) {
        printf("The copy was cancelled.\n");
    } else {
        printf("%" PRId64 " bytes copied, SHA-256 %s\n",
               hvctl_get_int(info, "copied", 0),
               hvctl_get_string(info, "sha256", "unknown"));
    }
}

static int judge(const Copy *copy, JsonObject *info, GError **error)
{
    static const struct {
        const char *result;
        HvctlExit code;
    } table[] = {
        {"timeout", HVCTL_TIMEOUT},   {"exists", HVCTL_EXISTS},
        {"read-failed", HVCTL_FILE},  {"read-timeout", HVCTL_FILE},
        {"file-changed", HVCTL_FILE},
    };
    const char *state = hvctl_get_string(info, "state", "unknown");
    const char *result = hvctl_get_string(info, "result", "unknown");
    const char *message = hvctl_get_string(info, "message", "The copy failed.");
    HvctlExit code = HVCTL_REFUSED;

    if (!g_strcmp0(state, "done") ||
        (copy->options->cancel && !g_strcmp0(state, "cancelled"))) {
        return HVCTL_DONE;
    }
    if (!g_strcmp0(state, "stopped")) {
        g_set_error(error, HVCTL_ERROR, HVCTL_STOPPED,
                    "%s hvctl copy --resume %" PRId64
                    " goes on, for a minute from now.",
                    message, copy->job);
        return HVCTL_STOPPED;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (!g_strcmp0(result, table[i].result)) {
            code = table[i].code;
        }
    }
    return service_fail(error, code, message);
}

static bool check_usage(const HvctlOptions *options, GError **error)
{
    guint count = g_strv_length(options->args);
    bool by_job = options->resume || options->cancel;

    if (options->resume < 0 || options->cancel < 0 ||
        (options->resume && options->cancel) || count != (by_job ? 0 : 2)) {
        service_fail(error, HVCTL_USAGE,
                     "copy is followed by FILE GUEST-PATH, --resume JOB, or "
                     "--cancel JOB.");
        return false;
    }
    if (count && !g_utf8_validate(options->args[1], -1, NULL)) {
        service_fail(error, HVCTL_USAGE, "GUEST-PATH is no valid UTF-8.");
        return false;
    }
    return true;
}

int hvctl_copy_file(const HvctlOptions *options, GError **error)
{
    Copy copy = {
        .options = options,
        .timeout = options->timeout < 0 ? DEFAULT_TIMEOUT : options->timeout,
        .begun = g_get_monotonic_time(),
    };
    g_autoptr(JsonObject) info = NULL;
    g_autoptr(Qmp) qmp = NULL;
    bool ended;
    int code;

    if (!check_usage(options, error)) {
        return HVCTL_USAGE;
    }
    qmp = copy.qmp =
        qmp_open(options, copy.timeout > 0 ? copy.timeout + GRACE : 0, error);
    if (!qmp || !begin(&copy, error)) {
        return HVCTL_BROKEN;
    }
    ended = wait_end(&copy, error);
    if (ended) {
        info =
            execute(&copy, "query-vmbus-fcopy", job_argument(copy.job), error);
    }
    if (info && !g_strcmp0(hvctl_get_string(info, "state", ""), "done")) {
        draw(&copy, hvctl_get_int(info, "copied", 0),
             hvctl_get_int(info, "size", 0));
    }
    if (copy.bar) {
        fprintf(stderr, "\n");
    }
    if (!info) {
        return HVCTL_BROKEN;
    }
    code = judge(&copy, info, error);
    if (code == HVCTL_DONE) {
        print_done(options, info);
    }
    return code;
}
