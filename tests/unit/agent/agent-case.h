/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the agent have in common. */
#ifndef TESTS_UNIT_AGENT_CASE_H
#define TESTS_UNIT_AGENT_CASE_H

#include <glib.h>

#include "config.h"

/* A new empty folder; case_clean() removes it and all in it. */
char *case_folder(void);
void case_clean(char *folder);

/* Write @text to @folder/@name; @name may have folders in it. */
void case_write(const char *folder, const char *name, const char *text);

/* A hook: a shell script @folder/@name with @body. */
void case_hook(const char *folder, const char *name, const char *body);

/* The text of @folder/@name, or "" if there is no such file. */
char *case_read(const char *folder, const char *name);

/* A configuration of which all files are in @folder. */
void case_config(AgentConfig *config, const char *folder);

/* Wait until @condition holds, at most @ms. */
#define case_wait(condition, ms)                                               \
    do {                                                                       \
        int64_t end_ = now_ms() + (ms);                                        \
        while (!(condition) && now_ms() < end_) {                              \
            g_usleep(5000);                                                    \
        }                                                                      \
        g_assert_true(condition);                                              \
    } while (0)

#endif
