/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Items of a saved state, for tests that damage them. */
#ifndef STATE_ITEM_H
#define STATE_ITEM_H

#include <glib.h>
#include <stdint.h>

/*
 * The value of the first item with @tag in @len bytes of items, and its *@size;
 * items in other items are not looked at.  Fails if there is none.
 */
uint8_t *item_find(uint8_t *data, size_t len, uint16_t tag, uint32_t *size);

#endif
