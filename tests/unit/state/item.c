/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "item.h"

#include "bus/blob.h"

uint8_t *item_find(uint8_t *data, size_t len, uint16_t tag, uint32_t *size)
{
    while (len) {
        VmbusBlobItemHead head;

        memcpy(&head, data, sizeof(head));
        if (head.tag == tag) {
            *size = head.len;
            return data + sizeof(head);
        }
        data += sizeof(head) + head.len;
        len -= sizeof(head) + head.len;
    }
    g_assert_not_reached();
}
