/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "block/block_int.h"
#include "hw/boards.h"
#include "hw/scsi/scsi.h"
#include "monitor/qdev.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "system/system.h"
#include "hv-scsi.h"
#include "hyperv-internal.h"
#include "fuzz.h"
#include "fuzz-machine.h"

static HvBridge *bridge;
static HvScsi *adapter;
static SCSIDevice *units[FUZZ_LUNS]; /* NULL: unplugged */
static bool cd_touched;              /* it remembers it beyond a reset */

/* What the units have beside an id, a LUN and a drive. */
static const struct {
    const char *type;
    int64_t size;
    bool read_only;
    const char *options[4][2];
} kinds[FUZZ_LUNS] = {
    {"scsi-hd", 1 << 20, false, {{"serial", "fuzz"}, {"rotation_rate", "1"}}},
    {"scsi-hd", 1 << 19, true, {{"dpofua", "on"}, {"wwn", "0x5000"}}},
    [FUZZ_LUN_CD] = {"scsi-cd", 1 << 19, true, {}},
    [FUZZ_LUN_STOP] = {"scsi-hd",
                       1 << 20,
                       false,
                       {{"logical_block_size", "4096"},
                        {"physical_block_size", "4096"},
                        {"werror", "stop"},
                        {"rerror", "stop"}}},
    [FUZZ_LUN_LIMITED] = {"scsi-hd", 1 << 20, false, {}},
    [FUZZ_LUN_HUGE] = {"scsi-hd", 8ll << 40, false, {{"removable", "on"}}},
};

/* The guest's side of what tests/lib/vsc wants of a machine */

uint8_t *vsc_machine_page(VscMachine *machine, uint64_t gfn)
{
    return machine->ram + gfn * VMBUS_PAGE_SIZE;
}

uint64_t vsc_machine_alloc(VscMachine *machine, uint32_t count)
{
    uint64_t first = FUZZ_RING_GFN + machine->pages_used;

    fuzz_require(count <= FUZZ_RINGS - machine->pages_used,
                 "The target has too few pages for rings.");
    machine->pages_used += count;
    return first;
}

void vsc_machine_reset_ram(VscMachine *machine)
{
    memset(vsc_machine_page(machine, FUZZ_RING_GFN), 0,
           FUZZ_RINGS * VMBUS_PAGE_SIZE);
    machine->pages_used = 0;
}

bool vsc_machine_take(VscMachine *machine, uint32_t vp, uint8_t sint,
                      VmbusMsg *msg, uint32_t *len)
{
    struct hyperv_message_page *page =
        hyperv_synic_msg_page(hyperv_synic_find(vp));
    struct hyperv_message *slot = &page->slot[sint];

    if (slot->header.message_type == HV_MESSAGE_NONE) {
        return false;
    }
    memset(msg, 0, sizeof(*msg));
    *len = slot->header.payload_size;
    memcpy(msg, slot->payload, MIN(*len, sizeof(*msg)));
    slot->header.message_type = HV_MESSAGE_NONE;
    hyperv_synic_slot_free(qemu_get_cpu(vp));
    fuzz_machine_pump();
    return true;
}

bool vsc_machine_signal(VscMachine *machine, uint32_t conn_id)
{
    bool heard = hyperv_signal_connection(conn_id, 0) == HV_STATUS_SUCCESS;

    fuzz_machine_pump();
    return heard;
}

void vsc_machine_call_ends(VscMachine *machine)
{
    fuzz_machine_pump();
}

bool vsc_machine_take_flag(VscMachine *machine, uint32_t vp, uint8_t sint,
                           uint16_t flag)
{
    uint8_t *page = hyperv_synic_event_page(hyperv_synic_find(vp));
    uint8_t *byte = page + sint * (HV_EVENT_FLAGS_COUNT / 8) + flag / 8;
    bool set = *byte >> (flag % 8) & 1;

    *byte &= ~(1u << (flag % 8));
    return set;
}

/* Start */

static void start_qemu(void)
{
    /* The firmware does not run either. */
    static const uint8_t rom[65536];
    g_autofree char *bios = NULL;
    int fd = g_file_open_tmp("fuzz-bios-XXXXXX", &bios, NULL);
    const char *args[] = {
        "fuzz-scsi",
        "-accel",
        "qtest",
        "-machine",
        "pc,pit=off,hpet=off",
        "-m",
        "16",
        "-smp",
        "4",
        "-cpu",
        "qemu64,hv-vpindex,hv-synic,hv-time,hv-stimer,hv-vapic,hv-runtime",
        "-bios",
        bios,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-serial",
        "none",
        "-monitor",
        "none",
        "-global",
        "apic.vapic=off",
        "-device",
        "vmbus-bridge",
        "-device",
        "hv-scsi,id=s,num-queues=2",
        NULL,
    };

    fuzz_require(fd >= 0 && write(fd, rom, sizeof(rom)) == sizeof(rom),
                 "The firmware's file could not be written.");
    close(fd);
    qemu_init(G_N_ELEMENTS(args) - 1, (char **)args);
    unlink(bios);
}

/* As they are without QEMU: the fuzzer has a timer. */
static void restore_signals(void)
{
    sigset_t set;

    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void place_synic_pages(void)
{
    for (unsigned i = 0; i < VSC_MAX_VPS; i++) {
        uint64_t gfn = FUZZ_SYNIC_GFN + 2 * i;

        hyperv_synic_update(qemu_get_cpu(i), true, gfn * VMBUS_PAGE_SIZE,
                            (gfn + 1) * VMBUS_PAGE_SIZE);
    }
}

FuzzMachine *fuzz_machine_start(void)
{
    FuzzMachine *m = g_new0(FuzzMachine, 1);

    start_qemu();
    restore_signals();
    place_synic_pages();
    bridge = hv_bridge_find();
    adapter = HV_SCSI(object_resolve_path_type("", TYPE_HV_SCSI, NULL));
    m->vsc.page_count = FUZZ_RAM_PAGES;
    m->vsc.vp_count = VSC_MAX_VPS;
    m->vsc.bus = hv_bridge_bus(bridge);
    m->vsc.ram = memory_region_get_ram_ptr(current_machine->ram);
    for (unsigned i = 0; i < FUZZ_LUNS; i++) {
        char name[] = {'d', '0' + i, 0};

        fuzz_disk_new(&m->disks[i], name, kinds[i].size, kinds[i].read_only);
        fuzz_machine_plug(m, i, true);
    }
    fuzz_machine_pump();
    return m;
}

/* Time */

void fuzz_machine_pump(void)
{
    /* What comes after so many turns makes work for itself. */
    for (unsigned i = 0; i < 1000; i++) {
        main_loop_wait(true);
        if (!g_main_context_pending(NULL)) {
            return;
        }
    }
    fuzz_found("The main loop does not come to rest.");
}

void fuzz_machine_sleep(unsigned ms)
{
    qemu_clock_advance_virtual_time(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                    ms * (int64_t)SCALE_MS);
    fuzz_machine_pump();
}

void fuzz_machine_run(bool run)
{
    if (run) {
        vm_start();
    } else {
        vm_stop(RUN_STATE_PAUSED);
    }
    fuzz_machine_pump();
}

/* The units */

static void limit(BlockBackend *blk)
{
    ThrottleConfig config;

    throttle_config_init(&config);
    config.buckets[THROTTLE_OPS_TOTAL].avg = 100;
    blk_io_limits_enable(blk, "limit");
    blk_set_io_limits(blk, &config);
}

static void plug(unsigned lun)
{
    char name[] = {'d', '0' + lun, 0};
    char number[] = {'0' + lun, 0};
    QDict *options = qdict_new();
    DeviceState *dev;

    qdict_put_str(options, "driver", kinds[lun].type);
    qdict_put_str(options, "id", name);
    qdict_put_str(options, "bus", "s.0");
    qdict_put_str(options, "drive", name);
    qdict_put_str(options, "lun", number);
    for (unsigned i = 0; i < 4 && kinds[lun].options[i][0]; i++) {
        qdict_put_str(options, kinds[lun].options[i][0],
                      kinds[lun].options[i][1]);
    }
    dev = qdev_device_add_from_qdict(options, false, &error_abort);
    qobject_unref(options);
    units[lun] = SCSI_DEVICE(dev);
    object_unref(OBJECT(dev));
    if (lun == FUZZ_LUN_LIMITED) {
        limit(units[lun]->conf.blk);
    }
}

void fuzz_machine_plug(FuzzMachine *m, unsigned lun, bool is_in)
{
    if (is_in && !units[lun]) {
        /* The one before it lets go of its disk by RCU. */
        drain_call_rcu();
        plug(lun);
    } else if (!is_in && units[lun]) {
        qdev_unplug(DEVICE(units[lun]), &error_abort);
        units[lun] = NULL;
    } else {
        return;
    }
    fuzz_machine_pump();
}

void fuzz_machine_load_cd(bool load)
{
    cd_touched = true;
    if (units[FUZZ_LUN_CD]) {
        blk_dev_change_media_cb(units[FUZZ_LUN_CD]->conf.blk, load, NULL);
    }
    fuzz_machine_pump();
}

void fuzz_machine_resize(unsigned lun, int64_t size)
{
    BlockDriverState *bs;
    BlockBackend *blk;

    if (!units[lun] || !blk_bs(units[lun]->conf.blk)) {
        return;
    }
    bs = blk_bs(units[lun]->conf.blk);
    blk = blk_new_with_bs(bs, BLK_PERM_RESIZE, BLK_PERM_ALL, &error_abort);
    bdrv_drained_begin(bs);
    blk_truncate(blk, size, false, PREALLOC_MODE_OFF, 0, NULL);
    bdrv_drained_end(bs);
    blk_unref(blk);
    fuzz_machine_pump();
}

uint32_t fuzz_machine_block_size(unsigned lun)
{
    return lun < FUZZ_LUNS && units[lun] ? units[lun]->blocksize : 0;
}

void fuzz_machine_forget_attention(void)
{
    for (unsigned i = 0; i < FUZZ_LUNS; i++) {
        if (units[i]) {
            units[i]->unit_attention = SENSE_CODE(NO_SENSE);
        }
    }
    adapter->bus.unit_attention = SENSE_CODE(NO_SENSE);
}

/* Back to the beginning */

void fuzz_machine_reset(FuzzMachine *m)
{
    device_cold_reset(DEVICE(bridge));
    for (unsigned i = 0; i < VSC_MAX_VPS; i++) {
        SynICState *synic = hyperv_synic_find(i);

        memset(hyperv_synic_msg_page(synic), 0, VMBUS_PAGE_SIZE);
        memset(hyperv_synic_event_page(synic), 0, VMBUS_PAGE_SIZE);
    }
    fuzz_machine_pump();
}

void fuzz_machine_restore(FuzzMachine *m)
{
    if (cd_touched) {
        fuzz_machine_plug(m, FUZZ_LUN_CD, false);
        cd_touched = false;
    }
    for (unsigned i = 0; i < FUZZ_LUNS; i++) {
        BlockBackend *blk;

        fuzz_machine_plug(m, i, true);
        blk = units[i]->conf.blk;
        if (m->disks[i].size != kinds[i].size) {
            fuzz_machine_resize(i, kinds[i].size);
        }
        blk_set_enable_write_cache(blk, true);
        blk_iostatus_reset(blk);
        units[i]->blocksize = units[i]->conf.logical_block_size;
        fuzz_disk_restore(&m->disks[i]);
    }
    /* Limits forget what was done. */
    fuzz_machine_sleep(10 * 1000);
    fuzz_machine_reset(m);
}

const char *fuzz_machine_check_idle(void)
{
    for (unsigned i = 0; i < FUZZ_LUNS; i++) {
        if (units[i] && !QTAILQ_EMPTY(&units[i]->requests)) {
            return "A disk has a request, and the adapter is closed.";
        }
    }
    return NULL;
}
