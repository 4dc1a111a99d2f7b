/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration file of the agent. */
#ifndef GUEST_AGENT_VSS_CONFIG_H
#define GUEST_AGENT_VSS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "util.h"

#define AGENT_CONFIG_FILE "/etc/hv-vss-agent/agent.conf"

typedef struct AgentConfig {
    /* Keys of the file. */
    char *device;
    char *freeze_hooks; /* folders */
    char *thaw_hooks;
    unsigned hook_timeout;   /* seconds, for each hook */
    unsigned freeze_timeout; /* seconds, from the request to the answer */
    unsigned hold_time;      /* seconds that file systems stay frozen */
    bool namespaces;         /* look into other mount namespaces */
    char **exclude;          /* mount points */
    size_t exclude_count;
    char *record; /* file in memory that tells what is frozen */

    /* From the command line, for tests and to look at other machines. */
    char *mountinfo; /* NULL: of @proc/self and, with @namespaces, others */
    char *proc;
    char *sysfs;
} AgentConfig;

void config_init(AgentConfig *config);

/* Add what @text says; false and a reason that names the line. */
bool config_parse(AgentConfig *config, const char *text, Reason *reason);

/* Add a file; one that is not there is an error only if @required. */
bool config_read(AgentConfig *config, const char *path, bool required,
                 Reason *reason);

void config_free(AgentConfig *config);

#endif
