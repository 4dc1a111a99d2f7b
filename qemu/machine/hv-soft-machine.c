/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks, timers, guest memory and APICs for the software Hyper-V interface.
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/i386/apic.h"
#include "hw/i386/apic_internal.h"
#include "hw/i386/apic-msidef.h"
#include "hw/pci/msi.h"
#include "system/cpu-timers.h"
#include "system/runstate.h"
#include "system/tcg.h"
#include "hv-soft-internal.h"
#include "hv-soft-state.h"

/* Calibration needs that much time between its samples, in ns. */
#define CALIBRATION_MIN (10 * SCALE_MS)

uint64_t hv_soft_read_tsc(void *opaque)
{
    return cpus_get_elapsed_ticks();
}

uint64_t hv_soft_read_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static uint64_t host_tsc(void *opaque)
{
    return cpu_get_host_ticks();
}

static uint64_t host_ns(void *opaque)
{
    return get_clock();
}

/* Both clocks at one moment: the tightest of a few tries. */
static HvClockSample sample(uint64_t (*read_tsc)(void *),
                            uint64_t (*read_ns)(void *))
{
    HvClockSample best = {0};
    uint64_t best_gap = UINT64_MAX;
    int i;

    for (i = 0; i < 32; i++) {
        uint64_t before = read_tsc(NULL);
        uint64_t ns = read_ns(NULL);
        uint64_t gap = read_tsc(NULL) - before;

        if (gap < best_gap) {
            best_gap = gap;
            best = (HvClockSample){.tsc = before + gap / 2, .ns = ns};
        }
    }
    return best;
}

static HvClockSample take_sample(void)
{
    return sample(hv_soft_read_tsc, hv_soft_read_ns);
}

HvClockSample hv_soft_host_sample(void)
{
    return sample(host_tsc, host_ns);
}

void hv_soft_clock_samples(void *opaque, HvClockSample *first,
                           HvClockSample *last)
{
    if (icount_enabled()) {
        /* The TSC is the virtual clock in nanoseconds. */
        *first = (HvClockSample){0};
        *last = (HvClockSample){.tsc = NANOSECONDS_PER_SECOND,
                                .ns = NANOSECONDS_PER_SECOND};
        return;
    }
    if (hv_soft.partition.restored) {
        /*
         * The guest's clocks stand or have just begun to run, but they have
         * the pace of the host's.
         */
        *first = hv_soft.host;
        while (host_ns(NULL) - first->ns < CALIBRATION_MIN) {
            g_usleep(1000);
        }
        *last = hv_soft_host_sample();
        return;
    }
    *first = hv_soft.start;
    while (runstate_is_running() &&
           hv_soft_read_ns(NULL) - first->ns < CALIBRATION_MIN) {
        g_usleep(1000);
    }
    *last = take_sample();
}

/* The two clocks start one after the other, so samples must not span a
 * stop. */
void hv_soft_vm_state_changed(void *opaque, bool running, RunState state)
{
    if (running && !hv_soft.partition.clock_ready && !icount_enabled()) {
        hv_soft.start = take_sample();
    }
    if (running) {
        hv_soft_state_resume();
    }
}

uint64_t hv_soft_vp_runtime(void *opaque, HvVp *vp)
{
    CPUState *cs = CPU(soft_vp(vp)->cpu);
    struct timespec ts;
    clockid_t clock;

    if (!tcg_enabled() || !qemu_tcg_mttcg_enabled() || !cs->thread ||
        pthread_getcpuclockid(cs->thread->thread, &clock) ||
        clock_gettime(clock, &ts)) {
        return hv_soft_read_ns(NULL) / 100;
    }
    return ts.tv_sec * HV_CLOCK_HZ + ts.tv_nsec / 100;
}

void hv_soft_stimer_expired(void *opaque)
{
    HvSoftTimer *t = opaque;

    hv_stimer_tick(&t->vp->vp, t->index);
}

void hv_soft_set_deadline(void *opaque, HvVp *vp, unsigned timer,
                          uint64_t deadline)
{
    QEMUTimer *t = soft_vp(vp)->timers[timer].timer;
    int64_t ns = hv_soft_read_ns(NULL);
    uint64_t now, left;

    if (deadline == HV_TIME_NEVER) {
        timer_del(t);
        return;
    }
    now = hv_partition_time(vp->partition);
    left = deadline > now ? deadline - now : 0;
    /* Centuries away: a tick that comes early asks again. */
    left = MIN(left, (uint64_t)INT64_MAX / 400);
    timer_mod_ns(t, ns + left * 100);
}

/* Guest memory */

static bool is_ram(uint64_t gpa, uint32_t len, bool write)
{
    MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;
    hwaddr xlat, left = len;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, gpa, &xlat, &left,
                                 write, attrs);
    return left >= len && memory_access_is_direct(mr, write, attrs);
}

bool hv_soft_read_guest(void *opaque, uint64_t gpa, void *buf, uint32_t len)
{
    return is_ram(gpa, len, false) &&
           address_space_read(&address_space_memory, gpa,
                              MEMTXATTRS_UNSPECIFIED, buf, len) == MEMTX_OK;
}

bool hv_soft_write_guest(void *opaque, uint64_t gpa, const void *buf,
                         uint32_t len)
{
    bool ok = is_ram(gpa, len, true) &&
              address_space_write(&address_space_memory, gpa,
                                  MEMTXATTRS_UNSPECIFIED, buf, len) == MEMTX_OK;

    /* Another VP must see writes in their order. */
    smp_mb();
    return ok;
}

/* Interrupts */

bool hv_soft_assert_vector(void *opaque, HvVp *vp, uint8_t vector)
{
    DeviceState *dev = soft_vp(vp)->cpu->apic_state;
    APICCommonState *apic;
    MSIMessage msi;
    uint32_t dest;

    if (!dev) {
        return false;
    }
    apic = APIC_COMMON(dev);
    dest = is_x2apic_mode(dev) ? apic->initial_apic_id : apic->id;
    /* Bits above the eighth stand in the upper half of the address. */
    msi.address = (uint64_t)(dest & ~0xffu) << 32 | APIC_DEFAULT_ADDRESS |
                  (dest & 0xff) << MSI_ADDR_DEST_ID_SHIFT;
    msi.data = vector;
    APIC_COMMON_GET_CLASS(apic)->send_msi(&msi);
    return apic->spurious_vec & APIC_SV_ENABLE;
}

static bool apic_get(HvSoftVp *svp, int index, uint64_t *value)
{
    if (is_x2apic_mode(svp->cpu->apic_state)) {
        return apic_msr_read(index, value) >= 0;
    }
    *value = address_space_ldl(&address_space_memory,
                               APIC_DEFAULT_ADDRESS + index * 16,
                               MEMTXATTRS_UNSPECIFIED, NULL);
    return true;
}

static bool apic_set(HvSoftVp *svp, int index, uint64_t value)
{
    if (is_x2apic_mode(svp->cpu->apic_state)) {
        return apic_msr_write(index, value) >= 0;
    }
    address_space_stl(&address_space_memory, APIC_DEFAULT_ADDRESS + index * 16,
                      value, MEMTXATTRS_UNSPECIFIED, NULL);
    return true;
}

enum { APIC_INDEX_TPR = 0x08, APIC_INDEX_EOI = 0x0b, APIC_INDEX_ICR = 0x30 };

bool hv_soft_apic_read(void *opaque, HvVp *vp, HvApicRegister reg,
                       uint64_t *value)
{
    HvSoftVp *svp = soft_vp(vp);
    uint64_t high;

    if (reg == HV_APIC_TPR) {
        return apic_get(svp, APIC_INDEX_TPR, value);
    }
    if (!apic_get(svp, APIC_INDEX_ICR, value) ||
        !apic_get(svp, APIC_INDEX_ICR + 1, &high)) {
        return false;
    }
    *value = high << 32 | (uint32_t)*value;
    return true;
}

bool hv_soft_apic_write(void *opaque, HvVp *vp, HvApicRegister reg,
                        uint64_t value)
{
    HvSoftVp *svp = soft_vp(vp);

    switch (reg) {
    case HV_APIC_EOI:
        return apic_set(svp, APIC_INDEX_EOI, 0);
    case HV_APIC_TPR:
        return apic_set(svp, APIC_INDEX_TPR, (uint8_t)value);
    default:
        if (!is_x2apic_mode(svp->cpu->apic_state)) {
            apic_set(svp, APIC_INDEX_ICR + 1, value >> 32);
        }
        return apic_set(svp, APIC_INDEX_ICR, value);
    }
}
