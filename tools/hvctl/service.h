/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands for the guest's services share. */
#ifndef HVCTL_SERVICE_H
#define HVCTL_SERVICE_H

#include "qmp.h"

/* Sets *@error, and returns @code. */
int service_fail(GError **error, HvctlExit code, const char *sentence);
/*
 * What query-vmbus, whose answer is @info, tells of a service, by the name of
 * its member; NULL if no device has it.  Borrowed.
 */
JsonObject *service_find(JsonObject *info, const char *name);
/*
 * Runs a command of @device, such as "hv-kvp"; @service names what it has for
 * people.  Returns the answer, an object that the caller unrefs, or NULL with
 * *@error.
 */
JsonObject *service_execute(Qmp *qmp, const char *device, const char *service,
                            const char *command, JsonNode *arguments,
                            GError **error);
/*
 * The next event @name that is about @job, with what it has; the caller
 * unrefs it.  NULL with *@error.
 */
JsonObject *service_wait(Qmp *qmp, const char *name, int64_t job,
                         GError **error);
/* A time limit as QMP takes it; 0, for none, is 49 days. */
int64_t service_timeout_ms(double seconds);
/* Text of a guest: a terminal is not to obey what it says. */
void service_print_text(const char *text);

#endif
