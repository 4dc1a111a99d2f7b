/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "bus/guid.h"

char *vmbus_guid_format(const VmbusGuid *guid, char *out)
{
    const uint8_t *b = guid->b;

    snprintf(out, VMBUS_GUID_STRLEN + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
    return out;
}
