/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"
#include "log.h"

#define PATIENCE_MS 10000

static FakeFiles *files;

/* The descriptor of a file system is a file that holds its number. */
static int fake_open(const Mount *mount, const char *proc)
{
    int index = mount->minor, fd;

    usleep(files->fs[index].open_ms * 1000);
    if (files->fs[index].open_error) {
        errno = files->fs[index].open_error;
        return -1;
    }
    fd = memfd_create("fs", MFD_CLOEXEC);
    g_assert_cmpint(pwrite(fd, &index, sizeof(index), 0), ==, sizeof(index));
    return fd;
}

static int index_of(int fd)
{
    int index = -1;

    g_assert_cmpint(pread(fd, &index, sizeof(index), 0), ==, sizeof(index));
    return index;
}

static void event(char what, int index)
{
    unsigned at = atomic_fetch_add(&files->events, 2);

    g_assert_cmpuint(at, <, sizeof(files->event) - 2);
    files->event[at] = what;
    files->event[at + 1] = '0' + index;
}

static int fake_flush(int fd)
{
    files->fs[index_of(fd)].flushes++;
    return 0;
}

static int fake_freeze(int fd)
{
    int index = index_of(fd);
    FakeFs *fs = &files->fs[index];

    /* As in the kernel, no signal ends this. */
    for (int64_t end = now_ms() + fs->freeze_ms; now_ms() < end;) {
        usleep(1000);
    }
    if (fs->freeze_error || atomic_exchange(&fs->frozen, true)) {
        event('f', index);
        errno = fs->freeze_error ? fs->freeze_error : EBUSY;
        return -1;
    }
    event('F', index);
    return 0;
}

static int fake_thaw(int fd)
{
    int index = index_of(fd);
    FakeFs *fs = &files->fs[index];

    if (fs->thaw_errors != 0) {
        fs->thaw_errors--;
        event('t', index);
        errno = fs->thaw_error;
        return -1;
    }
    if (!atomic_exchange(&fs->frozen, false)) {
        event('t', index);
        errno = EINVAL;
        return -1;
    }
    event('T', index);
    return 0;
}

static const FsOps fake_ops = {fake_open, fake_flush, fake_freeze, fake_thaw};

static struct sockaddr_un device_address(const AgentConfig *config)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_assert_cmpuint(strlen(config->device), <, sizeof(address.sun_path));
    strcpy(address.sun_path, config->device);
    return address;
}

static int open_device(void *opaque)
{
    struct sockaddr_un address = device_address(opaque);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

void fake_setup(Fake *fake, const void *data)
{
    memset(fake, 0, sizeof(*fake));
    fake->folder = case_folder();
    fake->listener = fake->kernel = -1;
    fake->ops = &fake_ops;
    case_config(&fake->config, fake->folder);
    fake->config.freeze_timeout = 5;
    fake->config.hold_time = 60;
    case_write(fake->folder, "mountinfo",
               "10 1 8:0 / /0 rw - ext4 /dev/sda rw\n"
               "11 10 8:1 / /1 rw - ext4 /dev/sdb rw\n"
               "12 10 8:2 / /2 rw - xfs /dev/sdc rw\n"
               "13 12 8:3 / /3 rw - ext4 /dev/sdd rw\n"
               "14 10 0:9 / /run rw - tmpfs tmpfs rw\n");
    files = mmap(NULL, sizeof(*files), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(files != MAP_FAILED);
    fake->files = files;
}

void fake_device(Fake *fake, bool there)
{
    struct sockaddr_un address = device_address(&fake->config);

    close_fd(&fake->listener);
    unlink(fake->config.device);
    if (there) {
        fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        g_assert_cmpint(
            bind(fake->listener, (struct sockaddr *)&address, sizeof(address)),
            ==, 0);
        g_assert_cmpint(listen(fake->listener, 1), ==, 0);
    }
}

static void run_agent(Fake *fake)
{
    g_autofree char *path = g_strdup_printf("%s/log", fake->folder);
    Agent agent = {.config = &fake->config,
                   .ops = fake->ops,
                   .open_device = open_device,
                   .opaque = &fake->config};
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    /* A failed test must leave nothing behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(log, STDERR_FILENO);
    close_others(3, NULL, 0);
    agent_init(&agent);
    agent.retry_ms = 50;
    agent_run(&agent);
    _exit(0);
}

void fake_start(Fake *fake)
{
    fake->agent = fork();
    g_assert_cmpint(fake->agent, >=, 0);
    if (fake->agent == 0) {
        run_agent(fake);
    }
}

static void wait_for(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    g_assert_cmpint(poll(&poller, 1, PATIENCE_MS), ==, 1);
}

void fake_accept(Fake *fake)
{
    close_fd(&fake->kernel);
    wait_for(fake->listener);
    fake->kernel = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(fake->kernel, >=, 0);
}

void fake_register(Fake *fake)
{
    uint32_t version = HV_VSS_REGISTER1;
    HvVssMsg msg;

    fake_accept(fake);
    wait_for(fake->kernel);
    g_assert_cmpint(recv(fake->kernel, &msg, sizeof(msg), MSG_TRUNC), ==,
                    sizeof(msg));
    g_assert_cmpuint(msg.operation, ==, HV_VSS_REGISTER1);
    g_assert_cmpint(send(fake->kernel, &version, sizeof(version), 0), ==,
                    sizeof(version));
}

void fake_begin(Fake *fake)
{
    fake_device(fake, true);
    fake_start(fake);
    fake_register(fake);
}

void fake_send(Fake *fake, uint8_t operation)
{
    HvVssMsg msg = {.operation = operation};

    g_assert_cmpint(send(fake->kernel, &msg, sizeof(msg), MSG_NOSIGNAL), ==,
                    sizeof(msg));
}

uint32_t fake_answer(Fake *fake)
{
    HvVssMsg msg;

    wait_for(fake->kernel);
    g_assert_cmpint(recv(fake->kernel, &msg, sizeof(msg), MSG_TRUNC), ==,
                    sizeof(msg));
    return msg.error;
}

uint32_t fake_request(Fake *fake, uint8_t operation)
{
    fake_send(fake, operation);
    return fake_answer(fake);
}

void fake_wait_closed(Fake *fake)
{
    char byte[64];

    wait_for(fake->kernel);
    while (recv(fake->kernel, byte, sizeof(byte), 0) > 0) {
        wait_for(fake->kernel);
    }
    close_fd(&fake->kernel);
}

void fake_kill(Fake *fake, int signal)
{
    int status;

    g_assert_cmpint(kill(fake->agent, signal), ==, 0);
    g_assert_cmpint(waitpid(fake->agent, &status, 0), ==, fake->agent);
    if (signal == SIGTERM) {
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    fake->agent = 0;
}

bool fake_lapsed(const Fake *fake)
{
    g_autofree char *record = case_read(fake->folder, "record");

    return !strcmp(record, "lapsed\n");
}

void fake_wait_guard(Fake *fake)
{
    case_wait(fake_lapsed(fake), 3000);
}

/* Of /proc/PID/stat: pid (name) state ppid */
pid_t fake_child(const Fake *fake, const char *name)
{
    GDir *dir = g_dir_open("/proc", 0, NULL);
    const char *entry;
    pid_t found = 0;

    while (!found && (entry = g_dir_read_name(dir))) {
        g_autofree char *path = g_strdup_printf("/proc/%s/stat", entry);
        g_autofree char *text = NULL;
        char comm[32], state;
        int pid, parent;

        if (g_ascii_isdigit(entry[0]) &&
            g_file_get_contents(path, &text, NULL, NULL) &&
            sscanf(text, "%d (%31[^)]) %c %d", &pid, comm, &state, &parent) ==
                4 &&
            parent == fake->agent && strcmp(comm, name) == 0 && state != 'Z') {
            found = pid;
        }
    }
    g_dir_close(dir);
    return found;
}

bool fake_all_frozen(const Fake *fake)
{
    for (int i = 0; i < FAKE_FS; i++) {
        if (!atomic_load(&fake->files->fs[i].frozen)) {
            return false;
        }
    }
    return true;
}

bool fake_none_frozen(const Fake *fake)
{
    for (int i = 0; i < FAKE_FS; i++) {
        if (atomic_load(&fake->files->fs[i].frozen)) {
            return false;
        }
    }
    return true;
}

void fake_assert_events(Fake *fake, const char *expected)
{
    g_assert_cmpstr(fake->files->event, ==, expected);
}

bool fake_log_has(const Fake *fake, const char *text)
{
    g_autofree char *log = case_read(fake->folder, "log");

    return strstr(log, text);
}

void fake_assert_log(const Fake *fake, const char *text)
{
    g_autofree char *log = NULL;

    for (int64_t end = now_ms() + 5000; now_ms() < end; g_usleep(5000)) {
        if (fake_log_has(fake, text)) {
            return;
        }
    }
    log = case_read(fake->folder, "log");
    g_error("\"%s\" is not in the log:\n%s", text, log);
}

void fake_teardown(Fake *fake, const void *data)
{
    if (fake->agent > 0) {
        fake_kill(fake, SIGTERM);
    }
    close_fd(&fake->kernel);
    close_fd(&fake->listener);
    config_free(&fake->config);
    munmap(fake->files, sizeof(*fake->files));
    case_clean(fake->folder);
}
