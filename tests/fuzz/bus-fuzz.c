/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sanitizer/asan_interface.h>

#include "bus-fuzz.h"

VmbusRingResult __real_vmbus_channel_receive(VmbusChannel *chan,
                                             VmbusPacket *pkt);
VmbusRingResult __wrap_vmbus_channel_receive(VmbusChannel *chan,
                                             VmbusPacket *pkt);

/*
 * Stands before the real function (by the linker's option --wrap): the
 * channel's buffer ends where the packet does, so that a device that reads
 * behind it is found.
 */
VmbusRingResult __wrap_vmbus_channel_receive(VmbusChannel *chan,
                                             VmbusPacket *pkt)
{
    VmbusRingResult result;

    if (chan->packet) {
        ASAN_UNPOISON_MEMORY_REGION(chan->packet, VMBUS_MAX_PACKET_SIZE);
    }
    result = __real_vmbus_channel_receive(chan, pkt);
    if (result == VMBUS_RING_OK) {
        uint32_t len = pkt->header_len + pkt->data_len;

        ASAN_POISON_MEMORY_REGION(chan->packet + len,
                                  VMBUS_MAX_PACKET_SIZE - len);
    }
    return result;
}

/* The bus's hook has no argument of its own. */
static bool fail_alloc;

static void *allocate(void *mem, size_t size)
{
    /* The largest GPADL that a message can declare is 64 KiB. */
    fuzz_require(size <= 65536, "The bus asked for too much memory.");
    return fail_alloc ? NULL : g_try_realloc(mem, size);
}

void fuzz_look_at(const VmbusPacket *pkt)
{
    VmbusRangeIter iter;
    VmbusRange range;
    uint8_t sum = 0;

    fuzz_require(pkt->header_len % 8 == 0 && pkt->data_len % 8 == 0,
                 "A packet's length is not a multiple of 8.");
    fuzz_require(pkt->header_len >= sizeof(VmbusPacketDescriptor) &&
                     pkt->header_len + pkt->data_len <= VMBUS_MAX_PACKET_SIZE,
                 "A packet's length is out of range.");
    for (uint32_t i = 0; i < pkt->header_len; i++) {
        sum += pkt->header[i];
    }
    for (uint32_t i = 0; i < pkt->data_len; i++) {
        sum += pkt->data[i];
    }
    if (pkt->type == VMBUS_PKT_DATA_GPA_DIRECT) {
        vmbus_packet_ranges(pkt, &iter);
        while (vmbus_range_iter_next(&iter, &range)) {
            fuzz_require(range.page_count > 0, "A range has no pages.");
            for (uint32_t i = 0; i < range.page_count; i++) {
                sum += vmbus_range_page(&range, i);
            }
        }
        fuzz_require(iter.left == 0, "A packet that was checked lacks ranges.");
    }
    *(volatile uint8_t *)&sum = sum;
}

static void send_some(VmbusChannel *chan, uint64_t trans_id, const void *data,
                      uint32_t len)
{
    struct iovec iov = {(void *)data, len};

    vmbus_channel_send(chan, VMBUS_PKT_COMP, 0, trans_id, &iov, 1);
}

static void receive_some(FuzzDevice *device, VmbusChannel *chan)
{
    VmbusPacket pkt;

    while (vmbus_channel_receive(chan, &pkt) == VMBUS_RING_OK) {
        device->packets++;
        fuzz_look_at(&pkt);
        if (device->habits & FUZZ_ECHO) {
            send_some(chan, pkt.trans_id, pkt.data, pkt.data_len);
        }
        if (device->habits & FUZZ_TAKE_ONE) {
            break;
        }
    }
    vmbus_channel_flush(chan);
}

/* What open() of any channel does; may it be open? */
static bool greet(FuzzDevice *device, VmbusChannel *chan)
{
    if (device->habits & FUZZ_RECEIVE_IN_OPEN) {
        receive_some(device, chan);
    }
    if (device->habits & FUZZ_SEND_IN_OPEN) {
        send_some(chan, 1, "hello", 5);
        vmbus_channel_flush(chan);
    }
    return !(device->habits & FUZZ_REFUSE_OPEN);
}

static void part(FuzzDevice *device, VmbusChannel *chan)
{
    if (device->habits & FUZZ_USE_IN_CLOSE) {
        send_some(chan, 2, "bye", 3);
        receive_some(device, chan);
    }
}

static bool device_open(VmbusChannel *chan, void *opaque)
{
    FuzzDevice *device = opaque;

    if (!greet(device, chan)) {
        return false;
    }
    device->opens++;
    return true;
}

static void device_close(VmbusChannel *chan, void *opaque)
{
    FuzzDevice *device = opaque;

    device->closes++;
    fuzz_require(device->subchannels == 0,
                 "A channel was closed before its sub-channels.");
    part(device, chan);
}

static void device_signal(VmbusChannel *chan, void *opaque)
{
    FuzzDevice *device = opaque;

    if (!(device->habits & FUZZ_IGNORE_SIGNAL)) {
        receive_some(device, chan);
    }
}

static void device_released(VmbusChannel *chan, void *opaque)
{
    FuzzDevice *device = opaque;

    fuzz_require(device->leaving && chan == device->chan,
                 "A device was released that did not leave.");
    device->leaving = false;
    device->chan = NULL;
}

static const VmbusChannelOps device_ops = {
    .open = device_open,
    .close = device_close,
    .signal = device_signal,
    .released = device_released,
};

static bool sub_open(VmbusChannel *chan, void *opaque)
{
    FuzzDevice *device = opaque;

    fuzz_require(vmbus_channel_index(chan), "A sub-channel has no index.");
    if (!greet(device, chan)) {
        return false;
    }
    device->subchannels++;
    return true;
}

static void sub_close(VmbusChannel *chan, void *opaque)
{
    FuzzDevice *device = opaque;

    fuzz_require(device->subchannels > 0, "A sub-channel was closed twice.");
    device->subchannels--;
    part(device, chan);
}

static const VmbusChannelOps sub_ops = {
    .open = sub_open,
    .close = sub_close,
    .signal = device_signal,
};

void fuzz_step_subs(FuzzBus *f, FuzzInput *in)
{
    FuzzDevice *device = &f->devices[fuzz_below(in, FUZZ_DEVICES)];
    uint16_t count = fuzz_value(in, 2, 1, 3);
    const char *err = NULL;

    /* Each one costs a look at all, so that thousands take too long here. */
    if (device->chan && (count < 8 || count > 2040)) {
        bool done = vmbus_channel_offer_subchannels(device->chan, count,
                                                    &sub_ops, device, &err);

        fuzz_require(done == !err, "Sub-channels failed without a sentence.");
    }
}

void fuzz_bus_adopt(FuzzBus *f)
{
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        FuzzDevice *device = &f->devices[i];

        if (device->chan) {
            vmbus_channel_adopt_subchannels(device->chan, &sub_ops, device);
        }
    }
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VmbusChannel *chan = f->bus->channels[i];

        if (chan && chan->primary && chan->state == VMBUS_CHANNEL_OPEN) {
            ((FuzzDevice *)chan->opaque)->subchannels++;
        }
    }
}

const VmbusGpadl *fuzz_gpadl_of(const FuzzBus *f, const FuzzDevice *device)
{
    GList *list = vmbus_gpadl_list(&f->bus->gpadls);
    const VmbusGpadl *found = NULL;

    for (GList *link = list; link; link = link->next) {
        const VmbusGpadl *gpadl = link->data;

        if (device->chan && gpadl->relid == device->chan->relid) {
            found = gpadl;
        }
    }
    g_list_free(list);
    return found;
}

static void use_map(FuzzDevice *device, FuzzInput *in)
{
    static uint8_t buf[65536];
    uint32_t range = fuzz_value(in, 4, 0, 2);
    uint32_t at = fuzz_value(in, 4, 0, 8192);
    uint32_t len = fuzz_value(in, 4, 0, 64);
    uint32_t size = vmbus_gpadl_map_size(device->map, range);
    bool fits = range < vmbus_gpadl_map_ranges(device->map) && at <= size &&
                len <= size - at;

    if (fits && len > sizeof(buf)) {
        return;
    }
    fuzz_require(
        vmbus_gpadl_map_read(device->map, range, at, buf, len) == fits &&
            vmbus_gpadl_map_write(device->map, range, at, buf, len) == fits,
        "A part of a GPADL can be used that it has not, or the reverse.");
}

void fuzz_step_map(FuzzBus *f, FuzzInput *in)
{
    FuzzDevice *device = &f->devices[fuzz_below(in, FUZZ_DEVICES)];
    const VmbusGpadl *gpadl = fuzz_gpadl_of(f, device);
    uint32_t id = fuzz_value(in, 4, gpadl ? gpadl->id : 1, 1);
    const char *err = NULL;

    if (device->map && fuzz_chance(in, 40)) {
        vmbus_gpadl_unmap(device->map);
        device->map = NULL;
    } else if (device->map) {
        use_map(device, in);
    } else if (device->chan) {
        device->map = vmbus_channel_map_gpadl(device->chan, id, &err);
        fuzz_require(!device->map == !!err,
                     "A GPADL was not mapped, without a sentence.");
        fuzz_require(!device->map || vmbus_gpadl_map_id(device->map) == id,
                     "A GPADL was mapped that was not asked for.");
    }
}

void fuzz_bus_offer(FuzzBus *f, unsigned number)
{
    FuzzDevice *device = &f->devices[number];
    const char *err = NULL;

    device->offer = (VmbusOffer){
        .name = "fuzz",
        .class_id = VMBUS_GUID(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
        .instance_id = VMBUS_GUID(number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
        .pipe = number % 2,
    };
    device->opens = device->closes = 0;
    device->chan =
        vmbus_bus_offer(f->bus, &device->offer, &device_ops, device, &err);
    /* Ghosts take relids too, but not this many. */
    fuzz_require(device->chan || err, "An offer failed without a sentence.");
}

void fuzz_bus_withdraw(FuzzBus *f, unsigned number)
{
    FuzzDevice *device = &f->devices[number];
    VmbusChannel *chan = device->chan;

    /* close() is called in it, and may still use the channel. */
    vmbus_bus_withdraw(f->bus, chan);
    device->chan = NULL;
    device->leaving = false;
    fuzz_require(device->opens == device->closes,
                 "A device was withdrawn and not closed.");
}

VscMachine *fuzz_machine_new(bool scattered)
{
    VscMachine *machine = vsc_machine_new(FUZZ_PAGES, scattered);

    machine->bus->gpadls.reallocate = allocate;
    return machine;
}

FuzzBus *fuzz_bus_new(bool scattered)
{
    FuzzBus *f = g_new0(FuzzBus, 1);

    fail_alloc = false;
    f->machine = fuzz_machine_new(scattered);
    f->bus = f->machine->bus;
    f->devices = g_new0(FuzzDevice, FUZZ_DEVICES);
    f->vsc = vsc_new(f->machine);
    fuzz_bus_offer(f, 0);
    fuzz_bus_offer(f, 1);
    return f;
}

void fuzz_bus_check(FuzzBus *f)
{
    const char *why = vmbus_bus_check(f->bus);
    unsigned open_count = 0, routed = 0, subs_open = 0, maps = 0;
    bool page = f->bus->interrupt_page;

    fuzz_require(!why, why);
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        const VmbusChannel *chan = f->bus->channels[i];

        if (chan && chan->state == VMBUS_CHANNEL_OPEN) {
            open_count++;
            routed += chan->target_vp != VMBUS_VP_NONE;
            subs_open += chan->primary != NULL;
        }
    }
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        const FuzzDevice *device = &f->devices[i];
        bool open = device->chan && device->chan->state == VMBUS_CHANNEL_OPEN;

        maps += device->map != NULL;
        subs_open -= device->subchannels;
        fuzz_require(device->opens - device->closes == open,
                     "A device was not told that its channel opened or "
                     "closed.");
    }
    fuzz_require(
        subs_open == 0,
        "A device was not told of a sub-channel's opening or closing.");
    fuzz_require(f->machine->mapped == open_count + page + maps,
                 "The mappings are not those of the open channels.");
    fuzz_require(!f->machine->shared_conn_id == !page,
                 "The interrupt page has no listener, or a listener no page.");
    fuzz_require(f->machine->routes == routed,
                 "The routes are not those of the open channels.");
    fuzz_require(g_hash_table_size(f->machine->listeners) == open_count,
                 "The listeners are not those of the open channels.");
    fuzz_require(!f->machine->under_way.len == !f->bus->in_flight,
                 "Bus and machine disagree about a message under way.");
}

void fuzz_bus_begin(FuzzBus *f, unsigned how)
{
    static const uint32_t versions[] = {
        VMBUS_VERSION_1_1, VMBUS_VERSION_5_3, VMBUS_VERSION_4_1,
        VMBUS_VERSION_6_0, VMBUS_VERSION_6_0, VMBUS_VERSION_5_2,
        VMBUS_VERSION_4_0,
    };
    const VmbusMsgOffer *offer;
    VscChannel *chan;

    if (how == 0) {
        return;
    }
    f->vsc->next_gpadl = 1; /* an id that the steps use */
    f->vsc->asked = UINT32_MAX;
    fuzz_require(vsc_connect(f->vsc, versions[how - 1]) &&
                     vsc_request_offers(f->vsc),
                 "A good guest could not connect.");
    if (how == 1 || how == 4) {
        return;
    }
    offer = &g_array_index(f->vsc->offers, VmbusMsgOffer, 0);
    chan = how < 6 ? vsc_open(f->vsc, offer, 3, 3, 1)
                   : vsc_open_reserved(f->vsc, offer, 3, 3, 1, 5);
    fuzz_require(chan, "A good guest could not open a channel.");
    vsc_abandon(chan);
    if (how == 7) {
        fuzz_require(vsc_unload(f->vsc), "A good guest could not unload.");
    }
}

void fuzz_bus_run(FuzzBus *f, FuzzInput *in, const FuzzStep *steps,
                  unsigned count)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < count; i++) {
        sum += steps[i].weight;
    }
    while (!fuzz_end(in)) {
        unsigned choice = fuzz_u8(in) % sum, i = 0;

        while (choice >= steps[i].weight) {
            choice -= steps[i++].weight;
        }
        steps[i].run(f, in);
        fuzz_bus_check(f);
    }
}

bool fuzz_bus_failing(const FuzzBus *f)
{
    const VscMachine *machine = f->machine;

    return fail_alloc || machine->fail_map || machine->fail_prepare ||
           machine->fail_listen || machine->fail_post;
}

void fuzz_bus_heal(FuzzBus *f)
{
    VscMachine *machine = f->machine;

    fail_alloc = false;
    machine->fail_map = machine->fail_prepare = machine->fail_listen = false;
    machine->fail_post = 0;
}

void fuzz_bus_drain(FuzzBus *f)
{
    unsigned taken, passes = 0;
    VmbusMsg msg;
    uint32_t len;

    do {
        taken = 0;
        for (uint32_t vp = 0; vp < VSC_MAX_VPS; vp++) {
            for (uint32_t sint = 0; sint < VMBUS_SINT_COUNT; sint++) {
                taken += vsc_machine_take(f->machine, vp, sint, &msg, &len);
            }
        }
        fuzz_require(passes++ < 1000, "The bus never stops to send.");
    } while (taken);
    fuzz_require(!f->bus->in_flight, "A message is under way for ever.");
}

static FuzzDevice *device_of(FuzzBus *f, const VmbusMsgOffer *offer)
{
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        if (f->devices[i].chan &&
            vmbus_guid_equal(&f->devices[i].offer.instance_id,
                             &offer->instance_id)) {
            return &f->devices[i];
        }
    }
    fuzz_found("The guest was offered a device that does not exist.");
}

/* Closes what is left of earlier connections. */
static void close_reserved(FuzzBus *f)
{
    for (uint32_t i = 1; i < VMBUS_RELID_COUNT; i++) {
        VscChannel chan = {.vsc = f->vsc, .relid = i};

        if (f->bus->channels[i] && f->bus->channels[i]->reserved) {
            fuzz_require(vsc_close_reserved(&chan, 2, 9),
                         "A good guest could not close a reserved channel.");
        }
    }
    fuzz_bus_check(f);
}

static void behave(FuzzBus *f)
{
    static const uint32_t versions[] = {VMBUS_VERSION_5_3, VMBUS_VERSION_2_4,
                                        VMBUS_VERSION_0_13};
    uint32_t version = versions[f->bus->connects % G_N_ELEMENTS(versions)];
    static const char text[16] = "are you there?";
    const VmbusMsgOffer *offer;
    unsigned offered = 0;
    VscChannel *chan;
    uint8_t buf[64];

    fuzz_require(vsc_connect(f->vsc, version),
                 "A good guest could not connect.");
    close_reserved(f);
    fuzz_require(vsc_request_offers(f->vsc),
                 "A good guest did not get the offers.");
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        offered += f->devices[i].chan != NULL;
        f->devices[i].habits = FUZZ_ECHO;
    }
    fuzz_require(f->vsc->offers->len == offered,
                 "A good guest got too many offers, or too few.");
    if (!offered) {
        return;
    }
    offer = &g_array_index(f->vsc->offers, VmbusMsgOffer, 0);
    device_of(f, offer)->packets = 0;
    chan = vsc_open(f->vsc, offer, 2, 2, 0);
    fuzz_require(chan, "A good guest could not open a channel.");
    fuzz_bus_check(f);
    fuzz_require(
        vsc_send(chan, VMBUS_PKT_DATA_INBAND, 1, 77, text, sizeof(text)) &&
            vsc_interrupted(chan),
        "A good guest got no answer.");
    fuzz_require(
        vsc_receive(chan, buf, sizeof(buf)) ==
                sizeof(VmbusPacketDescriptor) + sizeof(text) &&
            !memcmp(buf + sizeof(VmbusPacketDescriptor), text, sizeof(text)),
        "A good guest got a wrong answer.");
    vsc_close(chan);
    fuzz_bus_check(f);
}

void fuzz_bus_unmap(FuzzBus *f)
{
    for (unsigned i = 0; i < FUZZ_DEVICES; i++) {
        if (f->devices[i].map) {
            vmbus_gpadl_unmap(f->devices[i].map);
            f->devices[i].map = NULL;
        }
    }
}

void fuzz_bus_finish(FuzzBus *f)
{
    fuzz_bus_heal(f);
    vmbus_bus_set_max_version(f->bus, UINT32_MAX);
    fuzz_bus_drain(f);
    f->vsc->next_gpadl = 0x12345678; /* none that is left of before */
    vsc_machine_reset_ram(f->machine);
    memset(f->machine->flags, 0, sizeof(f->machine->flags));
    behave(f);
    fuzz_bus_drain(f);
    fuzz_bus_unmap(f);
    vsc_free(f->vsc);
    vsc_machine_free(f->machine);
    g_free(f->devices);
    g_free(f);
}

void fuzz_step_inject(FuzzBus *f, FuzzInput *in)
{
    VscMachine *machine = f->machine;
    uint8_t what = fuzz_u8(in);

    fail_alloc = what & 1;
    machine->fail_map = what & 2;
    machine->fail_prepare = what & 4;
    machine->fail_listen = what & 8;
    machine->fail_post = what & 16 ? -EIO : 0;
}
