/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages of guest RAM that stay mapped, for rings and buffers.
 */
#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "guest-mem.h"

#define VMBUS_PAGE_SIZE 4096

typedef struct GuestPage {
    MemoryRegion *mr; /* referenced */
    hwaddr offset;    /* of the page in @mr */
} GuestPage;

typedef struct GuestMapping {
    VmbusMapping m; /* m.page_count counts the pages mapped so far */
    GuestPage *page;
} GuestMapping;

static bool map_page(GuestMapping *gm, uint64_t gfn)
{
    MemoryRegionSection sec;
    uint32_t i = gm->m.page_count;

    if (gfn > UINT64_MAX / VMBUS_PAGE_SIZE) {
        return false;
    }
    sec = memory_region_find(get_system_memory(), gfn * VMBUS_PAGE_SIZE,
                             VMBUS_PAGE_SIZE);
    if (!sec.mr) {
        return false;
    }
    if (int128_get64(sec.size) < VMBUS_PAGE_SIZE ||
        !memory_region_is_ram(sec.mr) || sec.readonly ||
        memory_region_is_rom(sec.mr) || memory_region_is_ram_device(sec.mr)) {
        memory_region_unref(sec.mr);
        return false;
    }
    gm->page[i].mr = sec.mr;
    gm->page[i].offset = sec.offset_within_region;
    gm->m.pages[i] =
        (uint8_t *)memory_region_get_ram_ptr(sec.mr) + sec.offset_within_region;
    gm->m.page_count++;
    return true;
}

VmbusMapping *guest_mem_map(const uint64_t *gfns, uint32_t count)
{
    GuestMapping *gm = g_new0(GuestMapping, 1);

    gm->page = g_try_new(GuestPage, count);
    gm->m.pages = g_try_new(uint8_t *, count);
    if (!gm->page || !gm->m.pages) {
        goto fail;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!map_page(gm, gfns[i])) {
            goto fail;
        }
    }
    return &gm->m;
fail:
    guest_mem_unmap(&gm->m);
    return NULL;
}

void guest_mem_unmap(VmbusMapping *mapping)
{
    GuestMapping *gm = container_of(mapping, GuestMapping, m);

    for (uint32_t i = 0; i < gm->m.page_count; i++) {
        memory_region_unref(gm->page[i].mr);
    }
    g_free(gm->page);
    g_free(gm->m.pages);
    g_free(gm);
}

bool guest_mem_is_ram(uint64_t gpa, uint64_t len, bool write)
{
    RCU_READ_LOCK_GUARD();

    while (len) {
        hwaddr offset, part = len;
        MemoryRegion *mr =
            address_space_translate(&address_space_memory, gpa, &offset, &part,
                                    write, MEMTXATTRS_UNSPECIFIED);

        if (!part || memory_region_is_ram_device(mr) ||
            !memory_access_is_direct(mr, write, MEMTXATTRS_UNSPECIFIED)) {
            return false;
        }
        gpa += part;
        len -= part;
    }
    return true;
}

void guest_mem_mark_dirty(VmbusMapping *mapping, uint64_t offset, uint32_t len)
{
    GuestMapping *gm = container_of(mapping, GuestMapping, m);

    while (len) {
        uint64_t index = offset / VMBUS_PAGE_SIZE;
        uint32_t in_page = offset % VMBUS_PAGE_SIZE;
        uint32_t n = MIN(len, VMBUS_PAGE_SIZE - in_page);

        if (index >= gm->m.page_count) {
            return;
        }
        memory_region_set_dirty(gm->page[index].mr,
                                gm->page[index].offset + in_page, n);
        offset += n;
        len -= n;
    }
}
