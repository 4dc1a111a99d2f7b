/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/gpadl.h"

#define WORD ((uint32_t)sizeof(uint64_t))

/* Room for what a header message can carry, so that most need one block. */
#define FIRST_ROOM 32u

static void gpadl_free(gpointer data)
{
    VmbusGpadl *gpadl = data;

    if (gpadl->maps) {
        gpadl->removed = true;
        return;
    }
    g_free(gpadl->words);
    g_free(gpadl);
}

static void *default_realloc(void *mem, size_t size)
{
    return g_try_realloc(mem, size);
}

void vmbus_gpadl_table_init(VmbusGpadlTable *table)
{
    *table = (VmbusGpadlTable){
        .by_id = g_hash_table_new_full(NULL, NULL, NULL, gpadl_free),
        .reallocate = default_realloc,
    };
}

void vmbus_gpadl_table_destroy(VmbusGpadlTable *table)
{
    g_hash_table_destroy(table->by_id);
}

VmbusGpadl *vmbus_gpadl_find(const VmbusGpadlTable *table, uint32_t id)
{
    return g_hash_table_lookup(table->by_id, GUINT_TO_POINTER(id));
}

uint32_t vmbus_gpadl_count(const VmbusGpadlTable *table)
{
    return g_hash_table_size(table->by_id);
}

/* Each range spends one word on its head. */
static uint32_t declared_pages(const VmbusGpadl *gpadl)
{
    return gpadl->declared - gpadl->range_count;
}

static const char *validate_begin(const VmbusGpadlTable *table, uint32_t id,
                                  uint16_t range_count, uint16_t buflen)
{
    if (id == 0) {
        return "A GPADL's id is 0.";
    }
    if (vmbus_gpadl_find(table, id)) {
        return "A GPADL's id is in use.";
    }
    if (buflen == 0 || buflen % WORD) {
        return "The size of a GPADL's ranges is not a multiple of 8.";
    }
    if (range_count == 0) {
        return "A GPADL has no ranges.";
    }
    if (range_count > buflen / (2 * WORD)) {
        return "A GPADL has more ranges than its size can hold.";
    }
    if (vmbus_gpadl_count(table) >= VMBUS_GPADL_MAX_COUNT) {
        return "There are too many GPADLs.";
    }
    if (buflen / WORD - range_count > VMBUS_GPADL_MAX_PAGES - table->pages) {
        return "The GPADLs have too many pages.";
    }
    return NULL;
}

VmbusGpadl *vmbus_gpadl_begin(VmbusGpadlTable *table, uint32_t relid,
                              uint32_t id, uint16_t range_count,
                              uint16_t buflen, const char **why)
{
    VmbusGpadl *gpadl;

    *why = validate_begin(table, id, range_count, buflen);
    if (*why) {
        return NULL;
    }
    gpadl = table->reallocate(NULL, sizeof(*gpadl));
    if (!gpadl) {
        *why = "There is no memory for a GPADL.";
        return NULL;
    }
    *gpadl = (VmbusGpadl){
        .id = id,
        .relid = relid,
        .range_count = range_count,
        .declared = buflen / WORD,
    };
    table->pages += declared_pages(gpadl);
    g_hash_table_insert(table->by_id, GUINT_TO_POINTER(id), gpadl);
    return gpadl;
}

static bool make_room(VmbusGpadlTable *table, VmbusGpadl *gpadl, uint32_t words)
{
    uint32_t room = MAX(gpadl->room, FIRST_ROOM);
    uint64_t *mem;

    if (words <= gpadl->room) {
        return true;
    }
    while (room < words) {
        room *= 2;
    }
    room = MIN(room, gpadl->declared);
    mem = table->reallocate(gpadl->words, (size_t)room * WORD);
    if (!mem) {
        return false;
    }
    gpadl->words = mem;
    gpadl->room = room;
    return true;
}

static const char *validate_ranges(const VmbusGpadl *gpadl)
{
    const uint8_t *list = (const uint8_t *)gpadl->words;
    size_t len = (size_t)gpadl->declared * WORD;
    VmbusRange range;

    /* What follows the last range is of no use, and real hosts ignore it. */
    for (uint16_t i = 0; i < gpadl->range_count; i++) {
        const char *why = vmbus_range_next(&list, &len, &range);

        if (why) {
            return why;
        }
    }
    return NULL;
}

const char *vmbus_gpadl_append(VmbusGpadlTable *table, VmbusGpadl *gpadl,
                               const void *data, size_t len)
{
    /*
     * UEFI's driver always sends messages of full length, so that the last
     * one may carry more than was declared.
     */
    uint32_t words = MIN(len / WORD, gpadl->declared - gpadl->received);

    if (words == 0) {
        return "A message of a GPADL has no pages.";
    }
    if (!make_room(table, gpadl, gpadl->received + words)) {
        return "There is no memory for a GPADL's pages.";
    }
    memcpy(gpadl->words + gpadl->received, data, (size_t)words * WORD);
    gpadl->received += words;
    if (gpadl->received == gpadl->declared) {
        gpadl->complete = true;
        return validate_ranges(gpadl);
    }
    return NULL;
}

void vmbus_gpadl_remove(VmbusGpadlTable *table, VmbusGpadl *gpadl)
{
    table->pages -= declared_pages(gpadl);
    g_hash_table_remove(table->by_id, GUINT_TO_POINTER(gpadl->id));
}

void vmbus_gpadl_remove_all(VmbusGpadlTable *table, uint32_t relid)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, table->by_id);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VmbusGpadl *gpadl = value;

        if (relid == 0 || gpadl->relid == relid) {
            table->pages -= declared_pages(gpadl);
            g_hash_table_iter_remove(&iter);
        }
    }
}

void vmbus_gpadl_unuse(VmbusGpadl *gpadl)
{
    gpadl->maps--;
    if (gpadl->removed) {
        gpadl_free(gpadl);
    }
}

const uint64_t *vmbus_gpadl_ring_pages(const VmbusGpadl *gpadl, uint32_t *count,
                                       const char **why)
{
    VmbusGpaRange head;

    if (!gpadl->complete) {
        *why = "The GPADL of the rings is not complete.";
        return NULL;
    }
    if (gpadl->range_count != 1) {
        *why = "The GPADL of the rings has more than one range.";
        return NULL;
    }
    memcpy(&head, gpadl->words, sizeof(head));
    if (head.byte_offset || head.byte_count % VMBUS_PAGE_SIZE) {
        *why = "The GPADL of the rings is not one of whole pages.";
        return NULL;
    }
    *count = head.byte_count / VMBUS_PAGE_SIZE;
    return gpadl->words + 1;
}

const char *vmbus_gpadl_table_check(const VmbusGpadlTable *table)
{
    GHashTableIter iter;
    gpointer key, value;
    uint64_t pages = 0;

    g_hash_table_iter_init(&iter, table->by_id);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const VmbusGpadl *gpadl = value;

        pages += declared_pages(gpadl);
        if (GPOINTER_TO_UINT(key) != gpadl->id) {
            return "A GPADL stands under another one's id.";
        }
        if (gpadl->received > gpadl->room || gpadl->room > gpadl->declared) {
            return "A GPADL holds more pages than were declared.";
        }
        if (gpadl->complete != (gpadl->received == gpadl->declared)) {
            return "A GPADL's completeness is not that of its pages.";
        }
        if ((vmbus_gpadl_used(gpadl) || gpadl->tearing_down) &&
            !gpadl->complete) {
            return "A GPADL is in use and not complete.";
        }
        if (gpadl->removed) {
            return "A GPADL that was removed is in the table.";
        }
        if (gpadl->tearing_down && !vmbus_gpadl_used(gpadl) && !table->held) {
            return "A GPADL that nobody uses was not torn down.";
        }
    }
    if (pages != table->pages) {
        return "The pages of the GPADLs are miscounted.";
    }
    if (pages > VMBUS_GPADL_MAX_PAGES ||
        vmbus_gpadl_count(table) > VMBUS_GPADL_MAX_COUNT) {
        return "There are more GPADLs than are allowed.";
    }
    return NULL;
}
