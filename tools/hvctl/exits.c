/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hvctl.h"

const HvctlExitInfo hvctl_exits[] = {
    {HVCTL_DONE, "done"},
    {HVCTL_BROKEN, "QEMU answered with an unexpected error or with nonsense"},
    {HVCTL_USAGE, "the command line is wrong"},
    {HVCTL_UNREACHABLE, "the machine cannot be reached, or QEMU left"},
    {HVCTL_NO_VMBUS, "the machine has no VMBus, or not the device"},
    {HVCTL_NOT_OPEN, "the guest has not opened the service"},
    {HVCTL_REFUSED, "the guest refused, or did something else"},
    {HVCTL_TIMEOUT, "the time was over"},
    {HVCTL_NOT_OK, "the heartbeat is not ok"},
    {HVCTL_NO_KVM, "this host's KVM cannot carry VMBus; use TCG"},
    {HVCTL_DISABLED, "the guest has the service, but nothing in it takes part"},
    {HVCTL_NOT_READY, "the guest's service is not ready"},
    {HVCTL_COMMAND, "the command given with --run failed"},
    {HVCTL_LOST, "the freeze ended before the thaw, or the command of --run"},
    {HVCTL_NOT_THAWED, "the guest has not confirmed that it thawed"},
    {HVCTL_NO_KEY, "the guest has no such key"},
    {HVCTL_EXISTS, "the guest has such a file already"},
    {HVCTL_STOPPED, "the copy stopped, and can be resumed"},
    {HVCTL_FILE, "the file cannot be read, copied or converted"},
    {HVCTL_LOCKED, "a user session in the guest is locked"},
    {HVCTL_IN_PROGRESS, "the guest is shutting down already"},
    {HVCTL_FINDINGS, "doctor found a problem"},
};

const unsigned hvctl_exit_count = G_N_ELEMENTS(hvctl_exits);

GQuark hvctl_error_quark(void)
{
    return g_quark_from_static_string("hvctl");
}
