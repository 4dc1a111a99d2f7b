/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a host's KVM offers what VMBus needs from it.  Unlike the rest of
 * this folder it does I/O: it opens the device and asks it.
 */
#ifndef KVM_HOST_CHECK_H
#define KVM_HOST_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#define HV_HOST_KVM_DEVICE "/dev/kvm"

typedef enum HvHostVerdict {
    HV_HOST_OK,            /* VMBus works with KVM here */
    HV_HOST_NO_DEVICE,     /* there is no such device */
    HV_HOST_NO_PERMISSION, /* the caller may not open it */
    HV_HOST_NO_OPEN,       /* it cannot be opened for another reason */
    HV_HOST_NOT_KVM,       /* it is not KVM, or not the API of today */
    HV_HOST_NO_VM,         /* it makes no virtual machines */
    HV_HOST_LACKS,         /* a capability that VMBus needs is missing */
} HvHostVerdict;

typedef struct HvHostCap {
    const char *name; /* KVM_CAP_... */
    const char *use;  /* what VMBus needs it for, for people */
    bool required;
    int cap;   /* its number */
    int value; /* what KVM answered; <= 0: not offered */
} HvHostCap;

#define HV_HOST_CAPS 6

typedef struct HvHostCheck {
    HvHostVerdict verdict;
    char reason[256]; /* one sentence */
    bool asked;       /* cap[].value is valid */
    HvHostCap cap[HV_HOST_CAPS];
} HvHostCheck;

/* How the host is asked; a test puts its own in place. */
typedef struct HvHostOps {
    int (*open)(const char *path, int flags, ...);
    int (*ioctl)(int fd, unsigned long request, ...);
    int (*close)(int fd);
} HvHostOps;

/* Asks @path (usually HV_HOST_KVM_DEVICE); @ops NULL: the C library's. */
void hv_host_check(HvHostCheck *check, const char *path, const HvHostOps *ops);

#endif
