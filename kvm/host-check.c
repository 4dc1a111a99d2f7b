/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kvm/host-check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*
 * What QEMU's Hyper-V code asks of KVM: target/i386/kvm/kvm.c for the CPU
 * flags, hw/hyperv/hyperv.c for the connections.
 */
static const HvHostCap caps[HV_HOST_CAPS] = {
    {"KVM_CAP_HYPERV", "Hyper-V hypercalls and MSRs", true, KVM_CAP_HYPERV, 0},
    {"KVM_CAP_HYPERV_SYNIC2", "messages and event flags (SynIC)", true,
     KVM_CAP_HYPERV_SYNIC2, 0},
    {"KVM_CAP_HYPERV_VP_INDEX", "indexes of virtual processors", true,
     KVM_CAP_HYPERV_VP_INDEX, 0},
    {"KVM_CAP_HYPERV_EVENTFD", "the guest's signals without an exit to QEMU",
     false, KVM_CAP_HYPERV_EVENTFD, 0},
    {"KVM_CAP_HYPERV_TIME", "reference time", true, KVM_CAP_HYPERV_TIME, 0},
    {"KVM_CAP_SYS_HYPERV_CPUID", "Hyper-V features before a CPU is made", false,
     KVM_CAP_SYS_HYPERV_CPUID, 0},
};

static const HvHostOps libc_ops = {open, ioctl, close};

static void conclude(HvHostCheck *check, HvHostVerdict verdict,
                     const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void conclude(HvHostCheck *check, HvHostVerdict verdict,
                     const char *format, ...)
{
    va_list args;

    check->verdict = verdict;
    va_start(args, format);
    vsnprintf(check->reason, sizeof(check->reason), format, args);
    va_end(args);
}

static void could_not_open(HvHostCheck *check, const char *path, int error)
{
    switch (error) {
    case ENOENT:
        conclude(check, HV_HOST_NO_DEVICE,
                 "%s does not exist: the kernel has no KVM, or the CPU no "
                 "virtualization.",
                 path);
        break;
    case ENODEV:
    case ENXIO:
        conclude(check, HV_HOST_NO_DEVICE,
                 "%s has no driver behind it: KVM is not loaded, or the CPU "
                 "has no virtualization.",
                 path);
        break;
    case EACCES:
    case EPERM:
        conclude(check, HV_HOST_NO_PERMISSION,
                 "You may not open %s; its group is usually kvm.", path);
        break;
    default:
        conclude(check, HV_HOST_NO_OPEN, "%s cannot be opened: %s.", path,
                 strerror(error));
        break;
    }
}

/* Some sandboxes pass the device through and refuse all that it is for. */
static bool makes_vm(HvHostCheck *check, const char *path, int fd,
                     const HvHostOps *ops)
{
    int vm = ops->ioctl(fd, KVM_CREATE_VM, 0);

    if (vm < 0) {
        conclude(check, HV_HOST_NO_VM, "%s makes no virtual machine: %s.", path,
                 strerror(errno));
        return false;
    }
    ops->close(vm);
    return true;
}

static void ask(HvHostCheck *check, const char *path, int fd,
                const HvHostOps *ops)
{
    int version = ops->ioctl(fd, KVM_GET_API_VERSION, 0);
    const HvHostCap *missing = NULL;
    unsigned offered = 0;

    if (version < 0) {
        conclude(check, HV_HOST_NOT_KVM, "%s is not KVM.", path);
        return;
    }
    if (version != KVM_API_VERSION) {
        conclude(check, HV_HOST_NOT_KVM,
                 "%s speaks version %d of KVM's interface, not %d.", path,
                 version, KVM_API_VERSION);
        return;
    }
    check->asked = true;
    for (unsigned i = 0; i < HV_HOST_CAPS; i++) {
        HvHostCap *cap = &check->cap[i];

        cap->value = ops->ioctl(fd, KVM_CHECK_EXTENSION, cap->cap);
        offered += cap->value > 0;
        if (cap->required && cap->value <= 0 && !missing) {
            missing = cap;
        }
    }
    if (!offered) {
        conclude(check, HV_HOST_LACKS,
                 "%s offers no Hyper-V capability at all.", path);
    } else if (missing) {
        conclude(check, HV_HOST_LACKS, "%s lacks %s: %s.", path, missing->name,
                 missing->use);
    } else if (makes_vm(check, path, fd, ops)) {
        conclude(check, HV_HOST_OK, "%s offers all that VMBus needs.", path);
    }
}

void hv_host_check(HvHostCheck *check, const char *path, const HvHostOps *ops)
{
    int fd;

    if (!ops) {
        ops = &libc_ops;
    }
    memset(check, 0, sizeof(*check));
    memcpy(check->cap, caps, sizeof(caps));
    fd = ops->open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        could_not_open(check, path, errno);
        return;
    }
    ask(check, path, fd, ops);
    ops->close(fd);
}
