/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * States that the first version saved.  With STATE_GOLDEN_WRITE set, one that
 * does not exist is written, which is done for a new case and never again.
 */
#ifndef STATE_GOLDEN_H
#define STATE_GOLDEN_H

#include <glib.h>

/* The bytes of the golden state NAME; @now is what this version would write. */
GByteArray *golden_read(const char *name, const void *now, gsize len);

#endif
