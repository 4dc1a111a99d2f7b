/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl xml where libvirt's and libxml2's headers were not. */
#include "hvctl.h"

int hvctl_xml(const HvctlOptions *options, GError **error)
{
    g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                "this hvctl was built without libvirt, so it has no xml.");
    return HVCTL_USAGE;
}
