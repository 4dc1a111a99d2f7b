/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent and the kernel's device, which goes and comes back. */
#include <glib.h>
#include <string.h>
#include <sys/socket.h>

#include "fake.h"

/* Rescinded: the agent closes, waits, and registers again. */
static void test_device_goes(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    fake_device(fake, false);
    close_fd(&fake->kernel);
    case_wait(fake_none_frozen(fake), 2000);
    fake_assert_log(fake, "the device is gone");
    fake_assert_log(fake, "Waiting for ");
    fake_device(fake, true);
    fake_register(fake);
    g_assert_cmphex(THAW(), ==, HV_VSS_E_NOT_HELD);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
}

static void test_device_goes_while_freezing(Fake *fake, const void *data)
{
    fake->files->fs[1].freeze_ms = 500;
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake->files->events == 4, 3000);
    close_fd(&fake->kernel);
    fake_register(fake);
    g_assert_true(fake_none_frozen(fake));
    fake_assert_log(fake,
                    "Nothing is frozen: the host or the kernel broke it off");
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

/* Hibernation: the kernel makes up a THAW and takes no answer. */
static void test_hibernation(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    shutdown(fake->kernel, SHUT_RD);
    fake_send(fake, HV_VSS_THAW);
    case_wait(fake_none_frozen(fake), 2000);
    fake_register(fake);
    fake_assert_log(fake, "The kernel did not take an answer");
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

static void test_hibernation_while_freezing(Fake *fake, const void *data)
{
    fake->files->fs[1].freeze_ms = 500;
    fake_begin(fake);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake->files->events == 4, 3000);
    shutdown(fake->kernel, SHUT_RD);
    fake_send(fake, HV_VSS_THAW);
    case_wait(fake_none_frozen(fake), 3000);
    fake_register(fake);
    g_assert_true(fake_none_frozen(fake));
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
}

/* The kernel's own time was over, so the host was told of a failure. */
static void test_answer_too_late(Fake *fake, const void *data)
{
    fake_begin(fake);
    shutdown(fake->kernel, SHUT_RD);
    fake_send(fake, HV_VSS_FREEZE);
    case_wait(fake->files->events == 16, 3000);
    fake_register(fake);
    fake_assert_events(fake, "F3F2F1F0T0T1T2T3");
    fake_assert_log(fake, "The kernel did not take an answer");
    g_assert_cmphex(THAW(), ==, HV_VSS_S_OK);
}

static void test_short_message(Fake *fake, const void *data)
{
    fake_begin(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
    g_assert_cmpint(send(fake->kernel, "12345", 5, 0), ==, 5);
    fake_register(fake);
    g_assert_true(fake_none_frozen(fake));
}

static void test_no_device(Fake *fake, const void *data)
{
    fake_start(fake);
    fake_assert_log(fake, "Waiting for ");
    g_usleep(300000);
    g_autofree char *log = case_read(fake->folder, "log");
    /* Once, not at each attempt. */
    g_assert_null(strstr(strstr(log, "Waiting for ") + 1, "Waiting for "));
    fake_device(fake, true);
    fake_register(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

/* A message from before comes instead of the version. */
static void test_bad_handshake(Fake *fake, const void *data)
{
    fake_device(fake, true);
    fake_start(fake);
    fake_accept(fake);
    fake_send(fake, HV_VSS_THAW);
    fake_wait_closed(fake);
    fake_assert_log(fake, "answer to the registration makes no sense");
    fake_register(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

static void test_refused_handshake(Fake *fake, const void *data)
{
    fake_device(fake, true);
    fake_start(fake);
    fake_accept(fake);
    fake_accept(fake); /* the first one is closed at once */
    fake_register(fake);
    g_assert_cmphex(FREEZE(), ==, HV_VSS_S_OK);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Fake *fake, const void *data);
    } cases[] = {
        {"device-goes", test_device_goes},
        {"device-goes-while-freezing", test_device_goes_while_freezing},
        {"hibernation", test_hibernation},
        {"hibernation-while-freezing", test_hibernation_while_freezing},
        {"answer-too-late", test_answer_too_late},
        {"short-message", test_short_message},
        {"no-device", test_no_device},
        {"bad-handshake", test_bad_handshake},
        {"refused-handshake", test_refused_handshake},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name =
            g_strdup_printf("/agent/device/%s", cases[i].name);

        g_test_add(name, Fake, NULL, fake_setup, cases[i].run, fake_teardown);
    }
    return g_test_run();
}
