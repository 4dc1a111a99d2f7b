/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/bus-internal.h"
#include "bus/gpadl-map.h"

typedef struct MapRange {
    uint32_t byte_count;
    uint32_t byte_offset; /* in the first page */
    uint32_t first_page;  /* of the mapping */
} MapRange;

struct VmbusGpadlMap {
    VmbusBus *bus;
    VmbusGpadl *gpadl;
    VmbusMapping *mapping;
    uint32_t range_count;
    MapRange *ranges;
};

void vmbus_gpadl_tear_down(VmbusChannel *chan, VmbusGpadl *gpadl)
{
    if (!chan->torndown) {
        chan->torndown = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    }
    g_array_append_val(chan->torndown, gpadl->id);
    vmbus_gpadl_remove(&chan->bus->gpadls, gpadl);
    vmbus_bus_send_later(chan, VMBUS_SEND_TORNDOWN);
}

void vmbus_gpadls_tear_down_unused(VmbusBus *bus)
{
    GList *list = vmbus_gpadl_list(&bus->gpadls);

    for (GList *link = list; link; link = link->next) {
        VmbusGpadl *gpadl = link->data;

        if (gpadl->tearing_down && !vmbus_gpadl_used(gpadl)) {
            vmbus_gpadl_tear_down(bus->channels[gpadl->relid], gpadl);
        }
    }
    g_list_free(list);
}

static const char *validate_map(const VmbusChannel *chan,
                                const VmbusGpadl *gpadl)
{
    if (!gpadl) {
        return "The GPADL for a device does not exist.";
    }
    if (gpadl->relid != chan->relid) {
        return "The GPADL for a device belongs to another channel.";
    }
    if (!gpadl->complete) {
        return "The GPADL for a device is not complete.";
    }
    if (gpadl->tearing_down && !chan->bus->gpadls.held) {
        return "The GPADL for a device is being torn down.";
    }
    return NULL;
}

/* Fills the map's ranges, and @gfns with the pages of all; returns how many.
 * The ranges were checked when the GPADL was complete. */
static uint32_t collect(VmbusGpadlMap *map, uint64_t *gfns)
{
    const VmbusGpadl *gpadl = map->gpadl;
    const uint8_t *list = (const uint8_t *)gpadl->words;
    size_t len = (size_t)gpadl->declared * sizeof(uint64_t);
    uint32_t pages = 0;
    VmbusRange range;

    for (uint32_t i = 0; i < map->range_count; i++) {
        vmbus_range_next(&list, &len, &range);
        map->ranges[i] = (MapRange){
            .byte_count = range.byte_count,
            .byte_offset = range.byte_offset,
            .first_page = pages,
        };
        for (uint32_t j = 0; j < range.page_count; j++) {
            gfns[pages++] = vmbus_range_page(&range, j);
        }
    }
    return pages;
}

static void free_map(VmbusGpadlMap *map)
{
    g_free(map->ranges);
    g_free(map);
}

VmbusGpadlMap *vmbus_channel_map_gpadl(VmbusChannel *chan, uint32_t id,
                                       const char **why)
{
    VmbusBus *bus = chan->bus;
    VmbusGpadl *gpadl = vmbus_gpadl_find_for(&bus->gpadls, chan->relid, id);
    VmbusGpadlMap *map;
    uint64_t *gfns;

    *why = validate_map(chan, gpadl);
    if (*why) {
        return NULL;
    }
    map = g_new(VmbusGpadlMap, 1);
    *map = (VmbusGpadlMap){
        .bus = bus, .gpadl = gpadl, .range_count = gpadl->range_count};
    /* Both are bounded by the GPADL, which says its size in 16 bits. */
    map->ranges =
        bus->gpadls.reallocate(NULL, gpadl->range_count * sizeof(*map->ranges));
    gfns = bus->gpadls.reallocate(NULL, gpadl->declared * sizeof(*gfns));
    if (map->ranges && gfns) {
        uint32_t pages = collect(map, gfns);

        map->mapping = bus->ops->map(bus->opaque, gfns, pages);
        if (!map->mapping) {
            *why = "The GPADL for a device is not in the guest's memory.";
        }
    } else {
        *why = "There is no memory to map a GPADL.";
    }
    g_free(gfns);
    if (*why) {
        free_map(map);
        return NULL;
    }
    gpadl->maps++;
    return map;
}

void vmbus_gpadl_unmap(VmbusGpadlMap *map)
{
    VmbusGpadl *gpadl = map->gpadl;
    VmbusBus *bus = map->bus;
    bool removed = gpadl->removed;

    bus->ops->unmap(bus->opaque, map->mapping);
    free_map(map);
    vmbus_gpadl_unuse(gpadl);
    if (!removed && gpadl->tearing_down && !vmbus_gpadl_used(gpadl)) {
        vmbus_gpadl_tear_down(bus->channels[gpadl->relid], gpadl);
        vmbus_bus_pump(bus);
    }
}

uint32_t vmbus_gpadl_map_id(const VmbusGpadlMap *map)
{
    return map->gpadl->id;
}

uint32_t vmbus_gpadl_map_ranges(const VmbusGpadlMap *map)
{
    return map->range_count;
}

uint32_t vmbus_gpadl_map_size(const VmbusGpadlMap *map, uint32_t range)
{
    return range < map->range_count ? map->ranges[range].byte_count : 0;
}

static bool in_range(const VmbusGpadlMap *map, uint32_t range, uint32_t offset,
                     uint32_t len)
{
    uint32_t size = vmbus_gpadl_map_size(map, range);

    return range < map->range_count && offset <= size && len <= size - offset;
}

/* The byte at @offset of a range, and in @run how many follow in its page. */
static uint8_t *byte_at(const VmbusGpadlMap *map, const MapRange *range,
                        uint32_t offset, uint32_t *run, uint64_t *place)
{
    uint64_t at = (uint64_t)range->byte_offset + offset;

    *place = (uint64_t)range->first_page * VMBUS_PAGE_SIZE + at;
    *run = VMBUS_PAGE_SIZE - at % VMBUS_PAGE_SIZE;
    return map->mapping->pages[*place / VMBUS_PAGE_SIZE] + at % VMBUS_PAGE_SIZE;
}

bool vmbus_gpadl_map_read(const VmbusGpadlMap *map, uint32_t range,
                          uint32_t offset, void *buf, uint32_t len)
{
    uint8_t *to = buf;

    if (!in_range(map, range, offset, len)) {
        return false;
    }
    while (len) {
        uint32_t run;
        uint64_t place;
        const uint8_t *from =
            byte_at(map, &map->ranges[range], offset, &run, &place);

        run = MIN(run, len);
        memcpy(to, from, run);
        to += run;
        offset += run;
        len -= run;
    }
    return true;
}

bool vmbus_gpadl_map_write(VmbusGpadlMap *map, uint32_t range, uint32_t offset,
                           const void *buf, uint32_t len)
{
    const uint8_t *from = buf;
    VmbusBus *bus = map->bus;

    if (!in_range(map, range, offset, len)) {
        return false;
    }
    while (len) {
        uint32_t run;
        uint64_t place;
        uint8_t *to = byte_at(map, &map->ranges[range], offset, &run, &place);

        run = MIN(run, len);
        memcpy(to, from, run);
        bus->ops->mark_dirty(bus->opaque, map->mapping, place, run);
        from += run;
        offset += run;
        len -= run;
    }
    return true;
}
