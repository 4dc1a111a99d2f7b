/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vsc-machine.h"

typedef struct VscRoute {
    VscMachine *machine;
    uint32_t vp;
    uint8_t sint;
} VscRoute;

static bool op_vp_exists(void *opaque, uint32_t vp)
{
    VscMachine *machine = opaque;

    return vp < machine->vp_count;
}

static void fill_slot(VscMachine *machine, uint32_t vp, uint8_t sint,
                      const void *payload, uint32_t len)
{
    VscSlot *slot = &machine->slots[vp][sint];

    memcpy(&slot->msg, payload, len);
    slot->len = len;
}

static int op_post_message(void *opaque, uint32_t vp, uint8_t sint,
                           const void *payload, uint32_t len)
{
    VscMachine *machine = opaque;

    if (machine->fail_post) {
        return machine->fail_post;
    }
    if (vp >= machine->vp_count) {
        return -ENXIO;
    }
    g_assert_cmpuint(machine->under_way.len, ==, 0);
    if (machine->slots[vp][sint].len) {
        memcpy(&machine->under_way.msg, payload, len);
        machine->under_way.len = len;
        machine->under_way_vp = vp;
        machine->under_way_sint = sint;
        return 0;
    }
    fill_slot(machine, vp, sint, payload, len);
    vmbus_bus_message_delivered(machine->bus, 0);
    return 0;
}

static void op_cancel_message(void *opaque)
{
    VscMachine *machine = opaque;

    machine->under_way.len = 0;
    machine->cancelled++;
}

static bool op_prepare_signal(void *opaque, VmbusChannel *chan, uint32_t vp,
                              uint8_t sint, void **route)
{
    VscMachine *machine = opaque;
    VscRoute *r;

    if (machine->fail_prepare || vp >= machine->vp_count) {
        return false;
    }
    r = g_new(VscRoute, 1);
    *r = (VscRoute){.machine = machine, .vp = vp, .sint = sint};
    *route = r;
    machine->routes++;
    return true;
}

static void op_release_signal(void *opaque, VmbusChannel *chan, void *route)
{
    VscMachine *machine = opaque;

    machine->routes--;
    g_free(route);
}

static void op_signal(void *opaque, void *route, uint16_t flag)
{
    VscMachine *machine = opaque;
    VscRoute *r = route;

    machine->signals++;
    machine->flags[r->vp][r->sint][flag / 64] |= 1ull << (flag % 64);
    if (machine->interrupt) {
        machine->interrupt(machine->interrupt_opaque);
    }
}

static bool op_listen(void *opaque, VmbusChannel *chan, uint32_t conn_id,
                      void **handle)
{
    VscMachine *machine = opaque;
    VscListener *listener;

    if (machine->fail_listen ||
        g_hash_table_contains(machine->listeners, GUINT_TO_POINTER(conn_id))) {
        return false;
    }
    listener = g_new(VscListener, 1);
    *listener =
        (VscListener){.machine = machine, .chan = chan, .conn_id = conn_id};
    g_hash_table_insert(machine->listeners, GUINT_TO_POINTER(conn_id),
                        listener);
    *handle = listener;
    return true;
}

static void op_unlisten(void *opaque, void *handle)
{
    VscMachine *machine = opaque;
    VscListener *listener = handle;

    g_assert_false(listener->started);
    g_assert_true(g_hash_table_remove(machine->listeners,
                                      GUINT_TO_POINTER(listener->conn_id)));
    g_free(listener);
}

/* A device may withdraw its channel when it is signalled. */
static void wake(VscMachine *machine, VscListener *listener)
{
    gpointer key = GUINT_TO_POINTER(listener->conn_id);

    listener->signalled = true;
    while (listener && listener->started && !listener->waking &&
           listener->signalled) {
        listener->signalled = false;
        listener->waking = true;
        vmbus_channel_signalled(listener->chan);
        listener = g_hash_table_lookup(machine->listeners, key);
        if (listener) {
            listener->waking = false;
        }
    }
}

static void op_start(void *opaque, void *handle)
{
    VscListener *listener = handle;

    g_assert_false(listener->started);
    listener->started = true;
    if (listener->signalled) {
        wake(opaque, listener);
    }
}

static void op_stop(void *opaque, void *handle)
{
    VscListener *listener = handle;

    g_assert_true(listener->started);
    listener->started = false;
}

static void op_kick(void *opaque, void *handle)
{
    wake(opaque, handle);
}

static void op_call(void *opaque, void *handle, void (*fn)(void *arg),
                    void *arg)
{
    fn(arg);
}

static void op_defer_close(void *opaque, void *handle)
{
    VscListener *listener = handle;

    g_assert_false(listener->broken);
    listener->broken = true;
}

static bool op_listen_shared(void *opaque, uint32_t conn_id)
{
    VscMachine *machine = opaque;

    g_assert_cmpuint(machine->shared_conn_id, ==, 0);
    if (machine->fail_listen) {
        return false;
    }
    machine->shared_conn_id = conn_id;
    return true;
}

static void op_unlisten_shared(void *opaque, uint32_t conn_id)
{
    VscMachine *machine = opaque;

    g_assert_cmpuint(machine->shared_conn_id, ==, conn_id);
    machine->shared_conn_id = 0;
}

static VmbusMapping *op_map(void *opaque, const uint64_t *gfns, uint32_t count)
{
    VscMachine *machine = opaque;
    VmbusMapping *mapping;

    if (machine->fail_map) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (gfns[i] >= machine->page_count) {
            return NULL;
        }
    }
    mapping = g_new(VmbusMapping, 1);
    mapping->page_count = count;
    mapping->pages = g_new(uint8_t *, count);
    for (uint32_t i = 0; i < count; i++) {
        mapping->pages[i] = vsc_machine_page(machine, gfns[i]);
    }
    machine->mapped++;
    return mapping;
}

static void op_unmap(void *opaque, VmbusMapping *mapping)
{
    VscMachine *machine = opaque;

    machine->mapped--;
    g_free(mapping->pages);
    g_free(mapping);
}

static void op_mark_dirty(void *opaque, VmbusMapping *mapping, uint64_t offset,
                          uint32_t len)
{
    VscMachine *machine = opaque;

    for (uint64_t i = offset; i < offset + len; i++) {
        const uint8_t *page = mapping->pages[i / VMBUS_PAGE_SIZE];

        machine->dirty[page - machine->ram + i % VMBUS_PAGE_SIZE] = 1;
    }
}

static void op_event(void *opaque, const VmbusEvent *event)
{
    VscMachine *machine = opaque;

    machine->events[event->kind]++;
    if (event->kind == VMBUS_EVENT_REFUSED) {
        machine->refused = event->sentence;
    } else if (event->kind == VMBUS_EVENT_CORRUPT) {
        machine->corrupt = event->sentence;
    }
    if (machine->log) {
        g_string_append_printf(machine->log, "%d %s 0x%x %s\n", event->kind,
                               event->name, event->id, event->sentence);
    }
}

static const VmbusMachineOps machine_ops = {
    .vp_exists = op_vp_exists,
    .post_message = op_post_message,
    .cancel_message = op_cancel_message,
    .prepare_signal = op_prepare_signal,
    .release_signal = op_release_signal,
    .signal = op_signal,
    .listen = op_listen,
    .unlisten = op_unlisten,
    .start = op_start,
    .stop = op_stop,
    .kick = op_kick,
    .call = op_call,
    .defer_close = op_defer_close,
    .listen_shared = op_listen_shared,
    .unlisten_shared = op_unlisten_shared,
    .map = op_map,
    .unmap = op_unmap,
    .mark_dirty = op_mark_dirty,
    .event = op_event,
};

VscMachine *vsc_machine_new(uint32_t pages, bool scattered)
{
    VscMachine *machine = g_new0(VscMachine, 1);

    machine->page_count = pages;
    machine->scattered = scattered;
    machine->vp_count = VSC_MAX_VPS;
    machine->ram = g_malloc0((size_t)pages * VMBUS_PAGE_SIZE);
    machine->dirty = g_malloc0((size_t)pages * VMBUS_PAGE_SIZE);
    machine->listeners = g_hash_table_new(NULL, NULL);
    machine->ops = machine_ops;
    machine->bus = vmbus_bus_new(&machine->ops, machine);
    return machine;
}

void vsc_machine_free(VscMachine *machine)
{
    vmbus_bus_free(machine->bus);
    g_assert_cmpuint(machine->mapped, ==, 0);
    g_assert_cmpuint(machine->routes, ==, 0);
    g_assert_cmpuint(machine->shared_conn_id, ==, 0);
    g_assert_cmpuint(g_hash_table_size(machine->listeners), ==, 0);
    g_hash_table_destroy(machine->listeners);
    if (machine->log) {
        g_string_free(machine->log, TRUE);
    }
    g_free(machine->dirty);
    g_free(machine->ram);
    g_free(machine);
}

uint64_t vsc_machine_alloc(VscMachine *machine, uint32_t count)
{
    uint64_t first = machine->pages_used;

    g_assert_cmpuint(count, <=, machine->page_count - machine->pages_used);
    machine->pages_used += count;
    return first;
}

void vsc_machine_reset_ram(VscMachine *machine)
{
    memset(machine->ram, 0, (size_t)machine->page_count * VMBUS_PAGE_SIZE);
    machine->pages_used = 0;
}

uint8_t *vsc_machine_page(VscMachine *machine, uint64_t gfn)
{
    /* Backwards: no two pages that follow each other do so on the host. */
    uint64_t frame = machine->scattered ? machine->page_count - 1 - gfn : gfn;

    return machine->ram + frame * VMBUS_PAGE_SIZE;
}

bool vsc_machine_take(VscMachine *machine, uint32_t vp, uint8_t sint,
                      VmbusMsg *msg, uint32_t *len)
{
    VscSlot *slot = &machine->slots[vp][sint];

    if (!slot->len) {
        return false;
    }
    memset(msg, 0, sizeof(*msg));
    memcpy(msg, &slot->msg, slot->len);
    *len = slot->len;
    slot->len = 0;
    if (machine->under_way.len && machine->under_way_vp == vp &&
        machine->under_way_sint == sint) {
        fill_slot(machine, vp, sint, &machine->under_way.msg,
                  machine->under_way.len);
        machine->under_way.len = 0;
        vmbus_bus_message_delivered(machine->bus, 0);
        vsc_machine_call_ends(machine);
    }
    return true;
}

bool vsc_machine_take_flag(VscMachine *machine, uint32_t vp, uint8_t sint,
                           uint16_t flag)
{
    uint64_t *word = &machine->flags[vp][sint][flag / 64];
    uint64_t bit = 1ull << (flag % 64);
    bool set = *word & bit;

    *word &= ~bit;
    return set;
}

static VscListener *find_broken(VscMachine *machine)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, machine->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (((VscListener *)value)->broken) {
            return value;
        }
    }
    return NULL;
}

void vsc_machine_settle(VscMachine *machine)
{
    VscListener *listener;

    while ((listener = find_broken(machine))) {
        listener->broken = false;
        vmbus_channel_close_broken(listener->chan);
    }
}

void vsc_machine_call_ends(VscMachine *machine)
{
    if (!machine->hold_broken) {
        vsc_machine_settle(machine);
    }
}

bool vsc_machine_signal(VscMachine *machine, uint32_t conn_id)
{
    VscListener *listener =
        g_hash_table_lookup(machine->listeners, GUINT_TO_POINTER(conn_id));
    bool heard = listener;

    if (conn_id && conn_id == machine->shared_conn_id) {
        vmbus_bus_interrupt_page_signalled(machine->bus);
        heard = true;
    } else if (listener) {
        wake(machine, listener);
    }
    vsc_machine_call_ends(machine);
    return heard;
}

void vsc_machine_reset(VscMachine *machine)
{
    vmbus_bus_reset(machine->bus);
    memset(machine->slots, 0, sizeof(machine->slots));
    memset(machine->flags, 0, sizeof(machine->flags));
}
