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
        .kept = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                      gpadl_free),
        .reallocate = default_realloc,
    };
}

void vmbus_gpadl_table_destroy(VmbusGpadlTable *table)
{
    g_hash_table_destroy(table->by_id);
    g_hash_table_destroy(table->kept);
}

VmbusGpadl *vmbus_gpadl_find(const VmbusGpadlTable *table, uint32_t id)
{
    return g_hash_table_lookup(table->by_id, GUINT_TO_POINTER(id));
}

static int64_t key_of(uint32_t relid, uint32_t id)
{
    return (int64_t)((uint64_t)relid << 32 | id);
}

VmbusGpadl *vmbus_gpadl_find_for(const VmbusGpadlTable *table, uint32_t relid,
                                 uint32_t id)
{
    int64_t key = key_of(relid, id);
    VmbusGpadl *gpadl = g_hash_table_lookup(table->kept, &key);

    return gpadl ? gpadl : vmbus_gpadl_find(table, id);
}

uint32_t vmbus_gpadl_count(const VmbusGpadlTable *table)
{
    return g_hash_table_size(table->by_id) + g_hash_table_size(table->kept);
}

GList *vmbus_gpadl_list(const VmbusGpadlTable *table)
{
    return g_list_concat(g_hash_table_get_values(table->by_id),
                         g_hash_table_get_values(table->kept));
}

/* Each range spends one word on its head. */
static uint32_t declared_pages(const VmbusGpadl *gpadl)
{
    return gpadl->declared - gpadl->range_count;
}

static const char *validate_begin(const VmbusGpadlTable *table, uint32_t relid,
                                  uint32_t id, uint16_t range_count,
                                  uint16_t buflen)
{
    if (id == 0) {
        return "A GPADL's id is 0.";
    }
    if (vmbus_gpadl_find_for(table, relid, id) || vmbus_gpadl_find(table, id)) {
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

    *why = validate_begin(table, relid, id, range_count, buflen);
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
        .key = key_of(relid, id),
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
    if (gpadl->kept) {
        g_hash_table_remove(table->kept, &gpadl->key);
    } else {
        g_hash_table_remove(table->by_id, GUINT_TO_POINTER(gpadl->id));
    }
}

void vmbus_gpadl_remove_all(VmbusGpadlTable *table, uint32_t relid)
{
    GList *list = vmbus_gpadl_list(table);

    for (GList *link = list; link; link = link->next) {
        VmbusGpadl *gpadl = link->data;

        if (relid == 0 || gpadl->relid == relid) {
            vmbus_gpadl_remove(table, gpadl);
        }
    }
    g_list_free(list);
}

void vmbus_gpadl_keep(VmbusGpadlTable *table, VmbusGpadl *gpadl)
{
    g_hash_table_steal(table->by_id, GUINT_TO_POINTER(gpadl->id));
    gpadl->kept = true;
    g_hash_table_insert(table->kept, &gpadl->key, gpadl);
}

void vmbus_gpadl_end_connection(VmbusGpadlTable *table,
                                bool (*outlives)(void *opaque, uint32_t relid),
                                void *opaque)
{
    GList *list = vmbus_gpadl_list(table);

    for (GList *link = list; link; link = link->next) {
        VmbusGpadl *gpadl = link->data;

        if (!gpadl->complete || gpadl->tearing_down ||
            !outlives(opaque, gpadl->relid)) {
            vmbus_gpadl_remove(table, gpadl);
        } else if (!gpadl->kept) {
            vmbus_gpadl_keep(table, gpadl);
        }
    }
    g_list_free(list);
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

static const char *check_gpadl(const VmbusGpadlTable *table,
                               const VmbusGpadl *gpadl)
{
    if (gpadl->kept ? g_hash_table_lookup(table->kept, &gpadl->key) != gpadl
                    : vmbus_gpadl_find(table, gpadl->id) != gpadl) {
        return "A GPADL stands under another one's id.";
    }
    if (gpadl->kept && gpadl->key != key_of(gpadl->relid, gpadl->id)) {
        return "A GPADL's key is not its own.";
    }
    if (gpadl->received > gpadl->room || gpadl->room > gpadl->declared) {
        return "A GPADL holds more pages than were declared.";
    }
    if (gpadl->complete != (gpadl->received == gpadl->declared)) {
        return "A GPADL's completeness is not that of its pages.";
    }
    if ((vmbus_gpadl_used(gpadl) || gpadl->tearing_down || gpadl->kept) &&
        !gpadl->complete) {
        return "A GPADL is in use and not complete.";
    }
    if (gpadl->removed) {
        return "A GPADL that was removed is in the table.";
    }
    if (gpadl->tearing_down && !vmbus_gpadl_used(gpadl) && !table->held) {
        return "A GPADL that nobody uses was not torn down.";
    }
    return NULL;
}

const char *vmbus_gpadl_table_check(const VmbusGpadlTable *table)
{
    GList *list = vmbus_gpadl_list(table);
    const char *why = NULL;
    uint64_t pages = 0;

    for (GList *link = list; link && !why; link = link->next) {
        pages += declared_pages(link->data);
        why = check_gpadl(table, link->data);
    }
    g_list_free(list);
    if (why) {
        return why;
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
