/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-scsi with QEMU's own SCSI layer behind it: requests of a guest to disks of
 * all kinds, which end in any order, fail, stop the machine, are reset, come
 * and go.
 */
#include "qemu/osdep.h"
#include "devices/storvsp.h"
#include "scsi-guest.h"

typedef struct Scsi {
    FuzzMachine *m;
    ScsiGuest guest;
    bool holding, stopped;
} Scsi;

static void reopen(Scsi *s, bool polite)
{
    scsi_guest_close(&s->guest, polite);
    scsi_guest_open(&s->guest);
    s->holding = false;
}

static void go(Scsi *s)
{
    if (s->stopped) {
        fuzz_machine_run(true);
        s->stopped = false;
    }
}

/* What waits for its answers, which no others may come between, can go on. */
static bool is_quiet(const Scsi *s)
{
    return !s->guest.spoiled && !s->guest.waiting && !s->stopped;
}

/* For what waits for a disk. */
static void let_go(Scsi *s)
{
    fuzz_disks_hold(false);
    s->holding = false;
}

static void initialize(Scsi *s, FuzzInput *in)
{
    static const uint16_t versions[] = {STOR_VERSION_6_2, STOR_VERSION_6_0,
                                        STOR_VERSION_5_1, STOR_VERSION_4_2};
    uint16_t version = versions[fuzz_chance(in, 20) ? fuzz_u8(in) % 4 : 0];
    VscStorage *storage = &s->guest.storage;

    if (is_quiet(s)) {
        storage->packet_len = version == STOR_VERSION_4_2 ? 48 : 64;
        fuzz_require(vsc_storage_initialize(storage, version, false) ||
                         s->guest.begun,
                     "A good guest could not initialize its adapter.");
        s->guest.begun = true;
    }
}

static unsigned channel(FuzzInput *in)
{
    return fuzz_chance(in, 20);
}

static uint8_t unit(FuzzInput *in)
{
    uint8_t which = fuzz_u8(in);

    return which < 0xf8 ? which % FUZZ_LUNS : which;
}

static void request(Scsi *s, FuzzInput *in, unsigned count)
{
    unsigned ch = channel(in);

    while (count--) {
        uint8_t lun = unit(in);
        ScsiCommand cmd;

        scsi_make_command(in, fuzz_machine_block_size(lun), &cmd);
        scsi_guest_send(&s->guest, in, ch, lun, &cmd);
        if (fuzz_end(in)) {
            break;
        }
    }
    fuzz_machine_pump();
    if (!fuzz_chance(in, 10)) {
        scsi_guest_take(&s->guest, ch, UINT_MAX);
    }
}

static void odd(Scsi *s, FuzzInput *in)
{
    scsi_guest_send_odd(&s->guest, in, channel(in));
    fuzz_machine_pump();
}

static void hold(Scsi *s, FuzzInput *in)
{
    s->holding = !s->holding;
    fuzz_disks_hold(s->holding);
    fuzz_machine_pump();
}

static void release(Scsi *s, FuzzInput *in)
{
    fuzz_disks_release(fuzz_u8(in));
    fuzz_machine_pump();
}

static void fail(Scsi *s, FuzzInput *in)
{
    static const int errors[] = {EIO,   ENOSPC, EINVAL,  ENOMEDIUM,
                                 EBUSY, EBADE,  ENOTSUP, EAGAIN};
    FuzzDisk *disk = &s->m->disks[fuzz_u8(in) % FUZZ_LUNS];

    disk->fail = errors[fuzz_below(in, G_N_ELEMENTS(errors))];
    disk->fail_count = 1 + fuzz_below(in, 4);
}

static void reset(Scsi *s, FuzzInput *in)
{
    static const uint32_t kinds[] = {STOR_RESET_LUN, STOR_RESET_BUS,
                                     STOR_RESET_ADAPTER};
    unsigned which = fuzz_u8(in) % G_N_ELEMENTS(kinds);

    scsi_guest_send_reset(&s->guest, channel(in), kinds[which], unit(in));
    fuzz_machine_pump();
}

static void subchannels(Scsi *s, FuzzInput *in)
{
    if (!s->guest.storage.chan[1] && is_quiet(s)) {
        scsi_guest_take_messages(&s->guest);
        vsc_storage_create_subchannels(&s->guest.storage, 1, 6);
    }
}

/* The host reads what no guest writes, and closes the channel. */
static void corrupt(Scsi *s, FuzzInput *in)
{
    VscChannel *chan = s->guest.storage.chan[channel(in)];
    uint8_t how = fuzz_u8(in);
    VscRing *ring;

    if (!chan) {
        return;
    }
    ring = how & 1 ? &chan->in : &chan->out;
    *(how & 2 ? &ring->control->read_index : &ring->control->write_index) =
        fuzz_value(in, 4, 0, 64) * 8;
    s->guest.spoiled = true;
    vsc_machine_signal(&s->m->vsc, chan->connection_id);
    if (how & 4) {
        reopen(s, how & 8);
        initialize(s, in);
    }
}

static void close_and_open(Scsi *s, FuzzInput *in)
{
    reopen(s, !fuzz_chance(in, 50));
    if (!fuzz_chance(in, 10)) {
        initialize(s, in);
    }
}

/* As a reset button does, with requests under way. */
static void machine_reset(Scsi *s, FuzzInput *in)
{
    fuzz_machine_reset(s->m);
    s->guest.spoiled = true;
    reopen(s, false);
    initialize(s, in);
}

static void stop_or_go(Scsi *s, FuzzInput *in)
{
    if (s->stopped) {
        go(s);
    } else {
        /* A machine that stops flushes its disks, and waits for it. */
        let_go(s);
        fuzz_machine_run(false);
        s->stopped = true;
    }
}

static void sleep_ms(Scsi *s, FuzzInput *in)
{
    fuzz_machine_sleep(1 + fuzz_below(in, 50));
}

static void plug(Scsi *s, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    if (how & 0x80) {
        /* A disk that comes is read, and the machine waits for it. */
        let_go(s);
        s->m->disks[how % FUZZ_LUNS].fail_count = 0;
    }
    fuzz_machine_plug(s->m, how % FUZZ_LUNS, how & 0x80);
}

static void medium(Scsi *s, FuzzInput *in)
{
    fuzz_machine_load_cd(fuzz_chance(in, 60));
}

static void resize(Scsi *s, FuzzInput *in)
{
    unsigned lun = fuzz_u8(in) & 1 ? FUZZ_LUN_HUGE : 0;

    fuzz_machine_resize(lun, fuzz_value(in, 8, 0, 2048) << 9 & INT64_MAX >> 2);
}

static void take(Scsi *s, FuzzInput *in)
{
    scsi_guest_take(&s->guest, channel(in), fuzz_u8(in));
    fuzz_machine_pump();
}

static void step(Scsi *s, FuzzInput *in)
{
    static void (*const steps[])(Scsi *, FuzzInput *) = {
        odd,         hold,     hold,           release,
        release,     release,  fail,           reset,
        subchannels, corrupt,  close_and_open, machine_reset,
        stop_or_go,  sleep_ms, plug,           medium,
        resize,      take,     initialize,     reset,
    };
    uint8_t which = fuzz_u8(in);

    if (which >= 6 * G_N_ELEMENTS(steps)) {
        request(s, in, which < 0xe0 ? 1 : 1 + which % 8);
    } else {
        steps[which % G_N_ELEMENTS(steps)](s, in);
    }
}

static void check(Scsi *s)
{
    const char *why = vmbus_bus_check(s->m->vsc.bus);

    fuzz_require(!why, why);
    scsi_guest_check_memory(&s->guest);
}

/* Whatever went before, each unit serves a guest that behaves. */
static void good_guest(Scsi *s)
{
    ScsiGuest *g = &s->guest;
    FuzzInput none = {NULL, 0};

    fuzz_machine_forget_attention();
    scsi_guest_open(g);
    initialize(s, &none);
    for (uint8_t lun = 0; lun < FUZZ_LUNS; lun++) {
        const ScsiCommand read = {.cdb = {0x28, [8] = 1},
                                  .length = 10,
                                  .data_in = STOR_DATA_IN,
                                  .data_len = fuzz_machine_block_size(lun)};

        fuzz_require(scsi_guest_send(g, &none, 0, lun, &read),
                     "A good guest could not send a request.");
        fuzz_machine_pump();
        scsi_guest_take(g, 0, 1);
        fuzz_require(!g->waiting && g->requests[g->sent - 1].good,
                     "A good guest could not read a block.");
    }
    scsi_guest_close(g, true);
}

static Scsi *start(void)
{
    Scsi *s = g_new0(Scsi, 1);

    s->m = fuzz_machine_start();
    scsi_guest_init(&s->guest, s->m);
    scsi_guest_open(&s->guest);
    scsi_guest_close(&s->guest, true);
    fuzz_machine_restore(s->m);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Scsi *s;
    FuzzInput in = {data, size};
    bool to_the_end = fuzz_u8(&in) < 0xa0;

    if (!s) {
        s = start();
    }
    if (!fuzz_chance(&in, 10)) {
        fuzz_machine_forget_attention();
    }
    scsi_guest_open(&s->guest);
    if (!fuzz_chance(&in, 5)) {
        initialize(s, &in);
    }
    for (unsigned i = 0; i < 200 && !fuzz_end(&in); i++) {
        step(s, &in);
        check(s);
    }
    if (to_the_end) {
        go(s);
        fuzz_disks_hold(false);
        fuzz_machine_run(false);
        fuzz_machine_run(true);
        fuzz_machine_sleep(20 * 1000);
        scsi_guest_expect_all(&s->guest);
    }
    scsi_guest_close(&s->guest, false);
    go(s);
    s->holding = false;
    fuzz_machine_restore(s->m);
    good_guest(s);
    return 0;
}
