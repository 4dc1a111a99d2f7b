/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GPADLs: lists of guest memory that the guest describes once, in one message
 * or more, and then names by a number.
 */
#ifndef VMBUS_GPADL_H
#define VMBUS_GPADL_H

#include <glib.h>

#include "bus/packet.h"

/* What one connection may describe; a page is 4096 bytes. */
#define VMBUS_GPADL_MAX_COUNT 4096u
#define VMBUS_GPADL_MAX_PAGES 262144u

typedef struct VmbusGpadl {
    uint32_t id, relid;
    uint16_t range_count;
    uint32_t declared; /* 8-byte words of all ranges */
    uint32_t received; /* words that have come */
    uint32_t room;     /* words that @words has room for */
    uint64_t *words;   /* per range a VmbusGpaRange, then its page numbers */
    bool complete;     /* all came, and the ranges are valid */
    bool in_use;       /* a channel has its rings there */
    uint32_t maps;     /* how often a device has it mapped */
    bool removed;      /* not in the table; freed with the last map */
    bool tearing_down; /* the guest wants it gone; answered when unused */
    bool kept;         /* of an earlier connection; see @kept of the table */
    int64_t key;       /* in there */
} VmbusGpadl;

/* As g_try_realloc(): NULL if there is no memory, and @mem is as it was. */
typedef void *VmbusReallocFn(void *mem, size_t size);

typedef struct VmbusGpadlTable {
    GHashTable *by_id; /* id -> VmbusGpadl, owned */
    /*
     * Those of channels that outlived their connection, owned.  The next one
     * does not know of them and may use the same ids, so here relid and id
     * together are the key.
     */
    GHashTable *kept;
    uint32_t pages; /* declared by all of them */
    bool held;      /* loaded: devices have not mapped theirs again */
    VmbusReallocFn *reallocate;
} VmbusGpadlTable;

void vmbus_gpadl_table_init(VmbusGpadlTable *table);
void vmbus_gpadl_table_destroy(VmbusGpadlTable *table);

static inline bool vmbus_gpadl_used(const VmbusGpadl *gpadl)
{
    return gpadl->in_use || gpadl->maps;
}

VmbusGpadl *vmbus_gpadl_find(const VmbusGpadlTable *table, uint32_t id);
/*
 * What channel @relid means by @id; one of an earlier connection, if it has
 * that.  It may be another channel's, or NULL.
 */
VmbusGpadl *vmbus_gpadl_find_for(const VmbusGpadlTable *table, uint32_t relid,
                                 uint32_t id);
uint32_t vmbus_gpadl_count(const VmbusGpadlTable *table);

/*
 * Begins a GPADL of @range_count ranges in @buflen bytes.  Returns NULL with
 * a sentence in *@why if that can't be.
 */
VmbusGpadl *vmbus_gpadl_begin(VmbusGpadlTable *table, uint32_t relid,
                              uint32_t id, uint16_t range_count,
                              uint16_t buflen, const char **why);
/*
 * Adds the @len bytes at @data, which need no alignment, to a GPADL that is not
 * complete, and checks the ranges when all have come.  Returns NULL, or a
 * sentence; then the caller removes the GPADL.  Memory grows with what comes,
 * not with what was declared.
 */
const char *vmbus_gpadl_append(VmbusGpadlTable *table, VmbusGpadl *gpadl,
                               const void *data, size_t len);
/* Frees it, or leaves that to the last map; it must not have rings. */
void vmbus_gpadl_remove(VmbusGpadlTable *table, VmbusGpadl *gpadl);
/* Removes what channel @relid has, or all if it is 0. */
void vmbus_gpadl_remove_all(VmbusGpadlTable *table, uint32_t relid);
/* Moves a GPADL, which is complete, to those that outlive the connection. */
void vmbus_gpadl_keep(VmbusGpadlTable *table, VmbusGpadl *gpadl);
/*
 * The connection ends: keeps what is complete and not being torn down of the
 * channels for which @outlives is true, and removes the rest.
 */
void vmbus_gpadl_end_connection(VmbusGpadlTable *table,
                                bool (*outlives)(void *opaque, uint32_t relid),
                                void *opaque);
/* All of them, in no order; the caller frees the list. */
GList *vmbus_gpadl_list(const VmbusGpadlTable *table);

/*
 * The page numbers of a GPADL that can hold rings: complete, one range, whole
 * pages.  Returns NULL with a sentence in *@why if it can't.
 */
const uint64_t *vmbus_gpadl_ring_pages(const VmbusGpadl *gpadl, uint32_t *count,
                                       const char **why);

/* A device has unmapped it once more. */
void vmbus_gpadl_unuse(VmbusGpadl *gpadl);

/* Debug: NULL, or a sentence that says what is broken. */
const char *vmbus_gpadl_table_check(const VmbusGpadlTable *table);

#endif
