/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of libvirt.c where hvctl is built without libvirt. */
#include "transport.h"

Qmp *libvirt_connect(const char *uri, const char *domain, double timeout,
                     GError **error)
{
    g_set_error_literal(error, HVCTL_ERROR, HVCTL_USAGE,
                        "This hvctl was built without libvirt.");
    return NULL;
}
