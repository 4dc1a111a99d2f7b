/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands for backups share. */
#ifndef HVCTL_VSS_H
#define HVCTL_VSS_H

#include "qmp.h"

#define VSS_DEFAULT_HOLD    10
#define VSS_DEFAULT_TIMEOUT 60

/* Freezes the guest; HVCTL_DONE, with *@job, or an exit code with *@error. */
int vss_freeze(Qmp *qmp, double hold, double timeout, int64_t *job,
               GError **error);
/* Thaws it, and waits for that as long as @qmp allows. */
int vss_thaw(Qmp *qmp, GError **error);
/* Prolongs a freeze by its hold time; false: it is over, or QEMU is gone. */
bool vss_renew(Qmp *qmp, int64_t job, GError **error);
/* Freezes, runs options->run, and thaws whatever happens. */
int vss_run(const HvctlOptions *options, Qmp *qmp, double hold, double timeout,
            GError **error);

#endif
