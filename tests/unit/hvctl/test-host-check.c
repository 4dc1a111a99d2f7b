/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What hvctl host-check concludes from what a host answers. */
#include <errno.h>
#include <glib.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>

#include "kvm/host-check.h"

/* The host under test. */
static struct {
    int open_errno; /* 0: opens */
    int version;
    int vm_errno;
    unsigned offered; /* bit i: capability i of the check */
    int fds;          /* open descriptors */
} host;

static HvHostCheck check;

static int fake_open(const char *path, int flags, ...)
{
    g_assert_cmpstr(path, ==, "/dev/kvm");
    if (host.open_errno) {
        errno = host.open_errno;
        return -1;
    }
    host.fds++;
    return 100;
}

static int fake_close(int fd)
{
    g_assert_cmpint(host.fds, >, 0);
    host.fds--;
    return 0;
}

static int cap_value(int cap)
{
    for (unsigned i = 0; i < HV_HOST_CAPS; i++) {
        if (check.cap[i].cap == cap) {
            return host.offered >> i & 1;
        }
    }
    g_assert_not_reached();
}

static int fake_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    int cap;

    g_assert_cmpint(fd, ==, 100);
    switch (request) {
    case KVM_GET_API_VERSION:
        errno = ENOTTY;
        return host.version;
    case KVM_CHECK_EXTENSION:
        va_start(args, request);
        cap = va_arg(args, int);
        va_end(args);
        return cap_value(cap);
    case KVM_CREATE_VM:
        if (host.vm_errno) {
            errno = host.vm_errno;
            return -1;
        }
        host.fds++;
        return 101;
    default:
        g_assert_not_reached();
    }
}

static const HvHostOps ops = {fake_open, fake_ioctl, fake_close};

static void ask(int open_errno, int version, int vm_errno, unsigned offered)
{
    host.open_errno = open_errno;
    host.version = version;
    host.vm_errno = vm_errno;
    host.offered = offered;
    host.fds = 0;
    hv_host_check(&check, "/dev/kvm", &ops);
    g_assert_cmpint(host.fds, ==, 0);
    g_assert_cmpuint(strlen(check.reason), >, 0);
}

#define ALL ((1u << HV_HOST_CAPS) - 1)

static void test_ok(void)
{
    ask(0, 12, 0, ALL);
    g_assert_cmpint(check.verdict, ==, HV_HOST_OK);
    g_assert_true(check.asked);
}

static void test_not_opened(void)
{
    static const struct {
        int error;
        HvHostVerdict verdict;
        const char *word;
    } table[] = {
        {ENOENT, HV_HOST_NO_DEVICE, "does not exist"},
        {ENODEV, HV_HOST_NO_DEVICE, "no driver"},
        {ENXIO, HV_HOST_NO_DEVICE, "no driver"},
        {EACCES, HV_HOST_NO_PERMISSION, "may not open"},
        {EPERM, HV_HOST_NO_PERMISSION, "may not open"},
        {EMFILE, HV_HOST_NO_OPEN, "cannot be opened"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        ask(table[i].error, 12, 0, ALL);
        g_assert_cmpint(check.verdict, ==, table[i].verdict);
        g_assert_nonnull(strstr(check.reason, table[i].word));
        g_assert_false(check.asked);
    }
}

static void test_not_kvm(void)
{
    ask(0, -1, 0, ALL);
    g_assert_cmpint(check.verdict, ==, HV_HOST_NOT_KVM);
    g_assert_nonnull(strstr(check.reason, "is not KVM"));
    ask(0, 11, 0, ALL);
    g_assert_cmpint(check.verdict, ==, HV_HOST_NOT_KVM);
    g_assert_nonnull(strstr(check.reason, "version 11"));
}

static void test_no_vm(void)
{
    ask(0, 12, EPERM, ALL);
    g_assert_cmpint(check.verdict, ==, HV_HOST_NO_VM);
    g_assert_nonnull(strstr(check.reason, "makes no virtual machine"));
}

static void test_lacks(void)
{
    ask(0, 12, 0, 0);
    g_assert_cmpint(check.verdict, ==, HV_HOST_LACKS);
    g_assert_nonnull(strstr(check.reason, "no Hyper-V capability at all"));
    for (unsigned i = 0; i < HV_HOST_CAPS; i++) {
        ask(0, 12, 0, ALL & ~(1u << i));
        g_assert_cmpint(check.verdict, ==,
                        check.cap[i].required ? HV_HOST_LACKS : HV_HOST_OK);
        g_assert_cmpint(check.cap[i].value, ==, 0);
        if (check.cap[i].required) {
            g_assert_nonnull(strstr(check.reason, check.cap[i].name));
        }
    }
}

/* The four without which the SynIC of KVM is not usable. */
static void test_required(void)
{
    static const int required[] = {KVM_CAP_HYPERV, KVM_CAP_HYPERV_SYNIC2,
                                   KVM_CAP_HYPERV_VP_INDEX,
                                   KVM_CAP_HYPERV_TIME};
    unsigned count = 0;

    ask(0, 12, 0, ALL);
    for (unsigned i = 0; i < HV_HOST_CAPS; i++) {
        count += check.cap[i].required;
        for (size_t j = 0; j < G_N_ELEMENTS(required); j++) {
            if (check.cap[i].cap == required[j]) {
                g_assert_true(check.cap[i].required);
            }
        }
    }
    g_assert_cmpuint(count, ==, G_N_ELEMENTS(required));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host-check/ok", test_ok);
    g_test_add_func("/host-check/not-opened", test_not_opened);
    g_test_add_func("/host-check/not-kvm", test_not_kvm);
    g_test_add_func("/host-check/no-vm", test_no_vm);
    g_test_add_func("/host-check/lacks", test_lacks);
    g_test_add_func("/host-check/required", test_required);
    return g_test_run();
}
