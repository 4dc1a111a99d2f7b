/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus-fuzz.h"
#include "bus/state.h"

bool fuzz_spoil(GByteArray *blob, FuzzInput *in)
{
    unsigned times = fuzz_u8(in) % 8;

    for (unsigned i = 0; i < times && blob->len; i++) {
        uint8_t how = fuzz_u8(in);
        uint32_t at = fuzz_number(in, 2) % blob->len;
        unsigned bytes = 1u << how / 64;
        uint64_t value;

        if (how % 64 < 52) {
            value = fuzz_value(in, bytes, 0, 16);
            memcpy(blob->data + at, &value, MIN(bytes, blob->len - at));
        } else if (how % 64 < 56) {
            g_byte_array_set_size(blob, at);
        } else if (how % 64 < 60) {
            g_byte_array_remove_range(blob, at, MIN(bytes * 8, blob->len - at));
        } else {
            uint8_t byte = blob->data[at];

            g_byte_array_append(blob, &byte, 1);
        }
    }
    return times;
}

/* The same guest, in the same place, on another machine. */
static void move_guest(FuzzBus *f, VscMachine *to)
{
    VscMachine *from = f->machine;

    memcpy(to->ram, from->ram, (size_t)from->page_count * VMBUS_PAGE_SIZE);
    to->pages_used = from->pages_used;
    memcpy(to->slots, from->slots, sizeof(to->slots));
    memcpy(to->flags, from->flags, sizeof(to->flags));
    to->fail_map = from->fail_map;
    to->fail_prepare = from->fail_prepare;
    to->fail_listen = from->fail_listen;
    to->fail_post = from->fail_post;
    f->vsc->machine = to;
    f->machine = to;
    f->bus = to->bus;
}

/* The devices of the new machine, where the bus has just been loaded. */
static void adopt_devices(FuzzBus *f, bool loaded)
{
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        FuzzDevice *device = &f->devices[i];

        if (device->chan) {
            device->opens = device->chan->state == VMBUS_CHANNEL_OPEN;
            device->leaving = device->chan->state == VMBUS_CHANNEL_RESCINDED;
            fuzz_require(loaded || (!device->opens && !device->leaving),
                         "A state was refused, and part of it was taken.");
        }
    }
}

/* Some devices map what they had mapped; the others have done with it. */
static void map_again(FuzzBus *f, const FuzzDevice *old, uint8_t which)
{
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        FuzzDevice *device = &f->devices[i];
        const char *err;

        if (old[i].map && device->chan && which >> i & 1) {
            device->map = vmbus_channel_map_gpadl(
                device->chan, vmbus_gpadl_map_id(old[i].map), &err);
        }
    }
}

static void load(FuzzBus *f, const GByteArray *blob, bool must,
                 const FuzzDevice *old, uint8_t which)
{
    /* Of exactly its size, so that a read behind its end is seen. */
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    g_autoptr(GByteArray) again = NULL;
    g_autofree char *sentence = NULL;
    bool loaded = vmbus_bus_load(f->bus, copy, blob->len, &sentence);
    const char *why = vmbus_bus_check(f->bus), *err = NULL;

    fuzz_require(!why, why);
    fuzz_require(loaded || sentence, "A state was refused without a sentence.");
    fuzz_require(loaded || !must, sentence);
    adopt_devices(f, loaded);
    if (must) {
        again = vmbus_bus_save(f->bus, false, &err);
        fuzz_require(again && again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    if (loaded) {
        fuzz_bus_adopt(f);
        map_again(f, old, which);
    }
    vmbus_bus_resume(f->bus);
}

void fuzz_step_migrate(FuzzBus *f, FuzzInput *in)
{
    VscMachine *old_machine = f->machine;
    FuzzDevice *old = f->devices;
    g_autoptr(GByteArray) blob = NULL;
    const char *err = NULL;
    bool must;

    vmbus_bus_quiesce(f->bus);
    blob = vmbus_bus_save(f->bus, false, &err);
    fuzz_require(blob, "A bus at rest could not be saved.");
    must = !fuzz_spoil(blob, in) && !fuzz_bus_failing(f);
    move_guest(f, fuzz_machine_new(fuzz_u8(in) & 1));
    f->devices = g_new0(FuzzDevice, FUZZ_DEVICES);
    for (unsigned i = FUZZ_DEVICES; i-- > 0;) {
        if (old[i].chan) {
            fuzz_bus_offer(f, i);
            f->devices[i].habits = old[i].habits;
        }
    }
    load(f, blob, must, old, fuzz_u8(in));
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        if (old[i].map) {
            vmbus_gpadl_unmap(old[i].map);
        }
    }
    vsc_machine_free(old_machine);
    g_free(old);
}
