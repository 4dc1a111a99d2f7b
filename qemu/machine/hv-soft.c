/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine beneath the software Hyper-V interface (../kvm/): QEMU's
 * clocks, timers, guest memory, APICs and TLBs.
 *
 * The interface's state is under the big QEMU lock; only the reference
 * counter is read without it.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/cputlb.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/i386/apic.h"
#include "hw/i386/apic_internal.h"
#include "hw/i386/apic-msidef.h"
#include "hw/pci/msi.h"
#include "hw/qdev-core.h"
#include "migration/blocker.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "kvm/hv-hypercall.h"
#include "kvm/hv-vp.h"
#include "hyperv-synic.h"
#include "hv-soft.h"

/*
 * The hypercall page begins with "out %eax, $HYPERCALL_PORT; ret", and the
 * port's handler reads the CPU's registers.  No device of pc or q35 has this
 * port, and the firmware and the guests leave it alone.
 */
#define HYPERCALL_PORT 0xe6

/* The APIC emulation counts bus clocks of a nanosecond. */
#define APIC_HZ 1000000000

/* More pages than that are flushed sooner all at once. */
#define FLUSH_PAGES_MAX 64

/* Calibration needs that much time between its samples, in ns. */
#define CALIBRATION_MIN (10 * SCALE_MS)

#define TYPE_HV_SOFT_VP "hyperv-soft-vp"
OBJECT_DECLARE_SIMPLE_TYPE(HvSoftVp, HV_SOFT_VP)

typedef struct HvSoftTimer {
    HvSoftVp *vp;
    unsigned index;
    QEMUTimer *timer;
} HvSoftTimer;

/* A child of its CPU. */
struct HvSoftVp {
    DeviceState parent_obj;

    X86CPU *cpu;
    HvVp vp;
    HvSoftTimer timers[HV_ABI_STIMERS];
};

static struct HvSoft {
    HvPartition partition;
    HvSoftVp **vps; /* by CPU index */
    unsigned vps_len;
    HvClockSample start; /* when the machine last began to run */
    MemoryRegion port;
    Error *migration_blocker;
} soft;

bool hv_soft_on;

QEMU_BUILD_BUG_ON(HV_FEATURE_RELAXED != HYPERV_FEAT_RELAXED);
QEMU_BUILD_BUG_ON(HV_FEATURE_SYNIC != HYPERV_FEAT_SYNIC);
QEMU_BUILD_BUG_ON(HV_FEATURE_EVMCS != HYPERV_FEAT_EVMCS);
QEMU_BUILD_BUG_ON(HV_FEATURE_SYNDBG != HYPERV_FEAT_SYNDBG);
QEMU_BUILD_BUG_ON(HV_FEATURE_TLBFLUSH_DIRECT != HYPERV_FEAT_TLBFLUSH_DIRECT);
QEMU_BUILD_BUG_ON(HV_SPINLOCKS_NEVER != HYPERV_SPINLOCK_NEVER_NOTIFY);
QEMU_BUILD_BUG_ON(sizeof(HvMessage) != sizeof(struct hyperv_message));
QEMU_BUILD_BUG_ON(sizeof(HvPostMessageInput) !=
                  sizeof(struct hyperv_post_message_input));

static HvSoftVp *find_vp(CPUState *cs)
{
    return cs && cs->cpu_index >= 0 && cs->cpu_index < soft.vps_len
               ? soft.vps[cs->cpu_index]
               : NULL;
}

static HvSoftVp *soft_vp(HvVp *vp)
{
    return vp->opaque;
}

/* Clocks */

static uint64_t op_read_tsc(void *opaque)
{
    return cpus_get_elapsed_ticks();
}

static uint64_t op_read_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

/* Both clocks at one moment: the tightest of a few tries. */
static HvClockSample take_sample(void)
{
    HvClockSample best = {0};
    uint64_t best_gap = UINT64_MAX;
    int i;

    for (i = 0; i < 32; i++) {
        uint64_t before = op_read_tsc(NULL);
        uint64_t ns = op_read_ns(NULL);
        uint64_t gap = op_read_tsc(NULL) - before;

        if (gap < best_gap) {
            best_gap = gap;
            best = (HvClockSample){.tsc = before + gap / 2, .ns = ns};
        }
    }
    return best;
}

static void op_clock_samples(void *opaque, HvClockSample *first,
                             HvClockSample *last)
{
    if (icount_enabled()) {
        /* The TSC is the virtual clock in nanoseconds. */
        *first = (HvClockSample){0};
        *last = (HvClockSample){.tsc = NANOSECONDS_PER_SECOND,
                                .ns = NANOSECONDS_PER_SECOND};
        return;
    }
    *first = soft.start;
    while (runstate_is_running() &&
           op_read_ns(NULL) - first->ns < CALIBRATION_MIN) {
        g_usleep(1000);
    }
    *last = take_sample();
}

/* The two clocks start one after the other, so samples must not span a
 * stop. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    if (running && !soft.partition.clock_ready && !icount_enabled()) {
        soft.start = take_sample();
    }
}

static uint64_t op_vp_runtime(void *opaque, HvVp *vp)
{
    struct timespec ts;

    /* Only the VP itself asks, so this is its thread. */
    if (!qemu_tcg_mttcg_enabled() ||
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts)) {
        return op_read_ns(NULL) / 100;
    }
    return ts.tv_sec * HV_CLOCK_HZ + ts.tv_nsec / 100;
}

static void stimer_expired(void *opaque)
{
    HvSoftTimer *t = opaque;

    hv_stimer_tick(&t->vp->vp, t->index);
}

static void op_set_deadline(void *opaque, HvVp *vp, unsigned timer,
                            uint64_t deadline)
{
    QEMUTimer *t = soft_vp(vp)->timers[timer].timer;
    int64_t ns = op_read_ns(NULL);
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

static bool op_read_guest(void *opaque, uint64_t gpa, void *buf, uint32_t len)
{
    return is_ram(gpa, len, false) &&
           address_space_read(&address_space_memory, gpa,
                              MEMTXATTRS_UNSPECIFIED, buf, len) == MEMTX_OK;
}

static bool op_write_guest(void *opaque, uint64_t gpa, const void *buf,
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

static void op_assert_vector(void *opaque, HvVp *vp, uint8_t vector)
{
    DeviceState *dev = soft_vp(vp)->cpu->apic_state;
    APICCommonState *apic;
    MSIMessage msi;
    uint32_t dest;

    if (!dev) {
        return;
    }
    apic = APIC_COMMON(dev);
    dest = is_x2apic_mode(dev) ? apic->initial_apic_id : apic->id;
    /* Bits above the eighth stand in the upper half of the address. */
    msi.address = (uint64_t)(dest & ~0xffu) << 32 | APIC_DEFAULT_ADDRESS |
                  (dest & 0xff) << MSI_ADDR_DEST_ID_SHIFT;
    msi.data = vector;
    APIC_COMMON_GET_CLASS(apic)->send_msi(&msi);
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

static bool op_apic_read(void *opaque, HvVp *vp, HvApicRegister reg,
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

static bool op_apic_write(void *opaque, HvVp *vp, HvApicRegister reg,
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

/* SynIC */

static int op_post_message(void *opaque, HvVp *vp, unsigned sint,
                           const HvMessage *msg)
{
    return hyperv_synic_deliver(CPU(soft_vp(vp)->cpu), sint,
                                (const struct hyperv_message *)msg);
}

static void op_slot_free(void *opaque, HvVp *vp)
{
    hyperv_synic_slot_free(CPU(soft_vp(vp)->cpu));
}

static hwaddr page_address(uint64_t value)
{
    return value & HVMSR_ENABLE ? value & HV_ABI_PAGE_MASK : 0;
}

static void update_synic(CPUState *cs, run_on_cpu_data data)
{
    HvSoftVp *svp = find_vp(cs);

    BQL_LOCK_GUARD();
    if (svp) {
        hyperv_synic_update(cs, svp->vp.s.scontrol & HVMSR_ENABLE,
                            page_address(svp->vp.s.simp),
                            page_address(svp->vp.s.siefp));
    }
}

/* The pages are moved while no CPU runs, before this one runs on. */
static void op_synic_changed(void *opaque, HvVp *vp)
{
    CPUState *cs = CPU(soft_vp(vp)->cpu);

    async_safe_run_on_cpu(cs, update_synic, RUN_ON_CPU_NULL);
    cpu_exit(cs);
}

int hv_soft_set_sint(CPUState *cs, uint32_t sint)
{
    HvSoftVp *svp = find_vp(cs);

    return svp ? hv_sint_raise(&svp->vp, sint) : -ENXIO;
}

bool hv_soft_is_auto_eoi(X86CPU *cpu, int vector)
{
    HvSoftVp *svp = find_vp(CPU(cpu));

    return svp && hv_sint_auto_eoi(&svp->vp, vector);
}

/* MSRs */

static void op_guest_crashed(void *opaque, HvVp *vp,
                             const uint64_t params[HV_ABI_CRASH_PARAMS])
{
    CPUState *cs = CPU(soft_vp(vp)->cpu);

    memcpy(soft_vp(vp)->cpu->env.msr_hv_crash_params, params,
           sizeof(soft_vp(vp)->cpu->env.msr_hv_crash_params));
    qemu_system_guest_panicked(cpu_get_crash_info(cs));
}

static void op_reset_system(void *opaque, HvVp *vp)
{
    qemu_system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
}

/* The CPU's own fields show what the guest set, as they do on KVM. */
static void mirror_state(HvSoftVp *svp)
{
    const HvPartitionState *p = &soft.partition.s;
    const HvVpState *s = &svp->vp.s;
    CPUX86State *env = &svp->cpu->env;
    int i;

    if (CPU(svp->cpu) == first_cpu) {
        env->msr_hv_guest_os_id = p->guest_os_id;
        env->msr_hv_hypercall = p->hypercall;
        env->msr_hv_tsc = p->reference_tsc;
        env->msr_hv_reenlightenment_control = p->reenlightenment;
        env->msr_hv_tsc_emulation_control = p->tsc_emu_control;
        env->msr_hv_tsc_emulation_status = p->tsc_emu_status;
    }
    env->msr_hv_vapic = s->assist_page;
    env->msr_hv_synic_control = s->scontrol;
    env->msr_hv_synic_evt_page = s->siefp;
    env->msr_hv_synic_msg_page = s->simp;
    memcpy(env->msr_hv_synic_sint, s->sint, sizeof(s->sint));
    for (i = 0; i < HV_ABI_STIMERS; i++) {
        env->msr_hv_stimer_config[i] = s->stimer[i].config;
        env->msr_hv_stimer_count[i] = s->stimer[i].count;
    }
}

static bool is_ours(uint32_t msr)
{
    return hv_soft_on && msr >= HVMSR_FIRST && msr <= HVMSR_LAST;
}

int hv_soft_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *val)
{
    HvSoftVp *svp = find_vp(CPU(cpu));

    if (!is_ours(msr) || !svp) {
        return 0;
    }
    if (msr == HVMSR_TIME_REF_COUNT &&
        qatomic_load_acquire(&soft.partition.clock_ready)) {
        return hv_msr_read(&svp->vp, msr, val) ? 0 : -1;
    }
    BQL_LOCK_GUARD();
    return hv_msr_read(&svp->vp, msr, val) ? 0 : -1;
}

int hv_soft_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t val)
{
    HvSoftVp *svp = find_vp(CPU(cpu));

    if (!is_ours(msr) || !svp) {
        return 0;
    }
    BQL_LOCK_GUARD();
    if (!hv_msr_write(&svp->vp, msr, val)) {
        return -1;
    }
    if (msr < HVMSR_EOI || msr > HVMSR_TPR) {
        mirror_state(svp);
    }
    return 0;
}

/* Hypercalls */

static uint16_t op_hypercall_post(void *opaque, HvVp *vp,
                                  const HvPostMessageInput *in)
{
    return hyperv_post_message_input(
        (const struct hyperv_post_message_input *)in);
}

static uint16_t op_hypercall_signal(void *opaque, HvVp *vp, uint32_t connection,
                                    uint16_t flag)
{
    return hyperv_signal_connection(connection, flag);
}

static void op_send_ipi(void *opaque, HvVp *vp, const HvVpSet *set,
                        uint8_t vector)
{
    unsigned i;

    BQL_LOCK_GUARD();
    for (i = 0; i < soft.vps_len; i++) {
        if (soft.vps[i] && hv_vp_set_has(set, i)) {
            op_assert_vector(opaque, &soft.vps[i]->vp, vector);
        }
    }
}

static void op_spin_wait(void *opaque, HvVp *vp)
{
    bool locked = bql_locked();

    if (!qemu_tcg_mttcg_enabled()) {
        /* All VPs share one thread: it is the next one's turn. */
        cpu_exit(CPU(soft_vp(vp)->cpu));
        return;
    }
    if (locked) {
        bql_unlock();
    }
    sched_yield();
    if (locked) {
        bql_lock();
    }
}

/* A flush on its way to several CPUs. */
typedef struct FlushWork {
    int refs;
    unsigned count; /* 0: everything */
    uint64_t ranges[];
} FlushWork;

static void flush_now(CPUState *cs, const uint64_t *ranges, unsigned count)
{
    unsigned i;
    uint64_t page;

    if (!count) {
        tlb_flush(cs);
        return;
    }
    for (i = 0; i < count; i++) {
        for (page = 0; page <= (ranges[i] & 0xfff); page++) {
            tlb_flush_page(cs, (ranges[i] & HV_ABI_PAGE_MASK) + page * 4096);
        }
    }
}

static void flush_work(CPUState *cs, run_on_cpu_data data)
{
    FlushWork *work = data.host_ptr;

    flush_now(cs, work->ranges, work->count);
    if (qatomic_fetch_dec(&work->refs) == 1) {
        g_free(work);
    }
}

static void flush_done(CPUState *cs, run_on_cpu_data data)
{
}

static bool is_short(const uint64_t *ranges, unsigned count)
{
    uint64_t pages = 0;
    unsigned i;

    for (i = 0; i < count && pages <= FLUSH_PAGES_MAX; i++) {
        pages += (ranges[i] & 0xfff) + 1;
    }
    return pages <= FLUSH_PAGES_MAX;
}

static void op_flush_tlb(void *opaque, HvVp *vp, const HvVpSet *set,
                         const uint64_t *ranges, unsigned count)
{
    CPUState *self = CPU(soft_vp(vp)->cpu);
    FlushWork *work;
    CPUState *cs;
    bool remote = false;

    if (!is_short(ranges, count)) {
        count = 0;
    }
    work = g_malloc(sizeof(*work) + count * sizeof(*ranges));
    work->refs = 1;
    work->count = count;
    if (count) {
        memcpy(work->ranges, ranges, count * sizeof(*ranges));
    }
    WITH_RCU_READ_LOCK_GUARD() {
        CPU_FOREACH(cs) {
            if (cs == self || !hv_vp_set_has(set, cs->cpu_index)) {
                continue;
            }
            qatomic_inc(&work->refs);
            async_run_on_cpu(cs, flush_work, RUN_ON_CPU_HOST_PTR(work));
            remote = true;
        }
    }
    if (hv_vp_set_has(set, self->cpu_index)) {
        flush_now(self, work->ranges, count);
    }
    if (qatomic_fetch_dec(&work->refs) == 1) {
        g_free(work);
    }
    if (remote) {
        /*
         * Safe work runs when no CPU executes guest code, and each does its
         * queued flush before it does so again; this CPU does not go on
         * before.
         */
        async_safe_run_on_cpu(self, flush_done, RUN_ON_CPU_NULL);
        cpu_exit(self);
    }
}

static void load_regs(const CPUX86State *env, HvHypercallRegs *regs)
{
    int i;

    regs->long_mode = env->hflags & HF_CS64_MASK;
    regs->protected_mode = env->cr[0] & CR0_PE_MASK;
    regs->cpl = env->hflags & HF_CPL_MASK;
    regs->rax = env->regs[R_EAX];
    regs->rbx = env->regs[R_EBX];
    regs->rcx = env->regs[R_ECX];
    regs->rdx = env->regs[R_EDX];
    regs->rsi = env->regs[R_ESI];
    regs->rdi = env->regs[R_EDI];
    regs->r8 = 0;
#ifdef TARGET_X86_64
    regs->r8 = env->regs[8];
#endif
    for (i = 0; i < 6; i++) {
        regs->xmm[i * 2] = env->xmm_regs[i].ZMM_Q(0);
        regs->xmm[i * 2 + 1] = env->xmm_regs[i].ZMM_Q(1);
    }
}

static uint64_t port_read(void *opaque, hwaddr addr, unsigned size)
{
    return UINT64_MAX;
}

static void port_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    HvSoftVp *svp = find_vp(current_cpu);
    HvHypercallRegs regs;
    CPUX86State *env;

    /* A monitor or a test may write to the port, too. */
    if (!svp || size != 4 ||
        !(qatomic_read(&soft.partition.s.hypercall) & HVMSR_ENABLE)) {
        return;
    }
    env = &svp->cpu->env;
    if (env->hflags & HF_GUEST_MASK) {
        /* A nested guest's registers are its hypervisor's matter. */
        return;
    }
    load_regs(env, &regs);
    if (!hv_hypercall(&svp->vp, &regs)) {
        /* #UD by specification, but an I/O handler cannot raise it. */
        env->regs[R_EAX] = HVST_ACCESS_DENIED;
        return;
    }
    env->regs[R_EAX] = regs.rax;
    env->regs[R_EDX] = regs.rdx;
}

static const MemoryRegionOps port_ops = {
    .read = port_read,
    .write = port_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 4},
    .impl = {.min_access_size = 1, .max_access_size = 4},
};

static const HvOps soft_ops = {
    .read_tsc = op_read_tsc,
    .read_ns = op_read_ns,
    .clock_samples = op_clock_samples,
    .read_guest = op_read_guest,
    .write_guest = op_write_guest,
    .set_deadline = op_set_deadline,
    .assert_vector = op_assert_vector,
    .post_message = op_post_message,
    .slot_free = op_slot_free,
    .synic_changed = op_synic_changed,
    .apic_read = op_apic_read,
    .apic_write = op_apic_write,
    .vp_runtime = op_vp_runtime,
    .guest_crashed = op_guest_crashed,
    .reset_system = op_reset_system,
    .hypercall_post = op_hypercall_post,
    .hypercall_signal = op_hypercall_signal,
    .flush_tlb = op_flush_tlb,
    .send_ipi = op_send_ipi,
    .spin_wait = op_spin_wait,
};

/* Start and end of it all */

static void make_config(X86CPU *cpu, HvConfig *c)
{
    memset(c, 0, sizeof(*c));
    c->features = cpu->hyperv_features;
    c->spinlocks = cpu->hyperv_spinlock_attempts;
    c->passthrough = cpu->hyperv_passthrough;
    c->no_core_sharing = cpu->hyperv_no_nonarch_cs == ON_OFF_AUTO_ON;
    memcpy(c->vendor, cpu->hyperv_vendor_id, sizeof(c->vendor));
    memcpy(c->interface, cpu->hyperv_interface_id, sizeof(c->interface));
    c->version[0] = cpu->hyperv_ver_id_build;
    c->version[1] =
        (uint32_t)cpu->hyperv_ver_id_major << 16 | cpu->hyperv_ver_id_minor;
    c->version[2] = cpu->hyperv_ver_id_sp;
    c->version[3] = (uint32_t)cpu->hyperv_ver_id_sb << 24 |
                    (cpu->hyperv_ver_id_sn & 0xffffff);
    c->limits[0] = cpu->hv_max_vps;
    memcpy(c->limits + 1, cpu->hyperv_limits, sizeof(cpu->hyperv_limits));
}

static bool start_partition(const HvConfig *config, Error **errp)
{
    static const uint8_t code[] = {0xe7, HYPERCALL_PORT, 0xc3};
    MachineState *ms = MACHINE(qdev_get_machine());

    error_setg(&soft.migration_blocker,
               "Hyper-V features (hv-* flags) without KVM do not migrate");
    if (migrate_add_blocker(&soft.migration_blocker, errp) < 0) {
        return false;
    }
    hv_partition_init(&soft.partition, config, &soft_ops, &soft);
    soft.partition.apic_hz = APIC_HZ;
    memcpy(soft.partition.hypercall_code, code, sizeof(code));
    soft.partition.hypercall_code_len = sizeof(code);
    soft.vps_len = ms->smp.max_cpus;
    soft.vps = g_new0(HvSoftVp *, soft.vps_len);
    memory_region_init_io(&soft.port, NULL, &port_ops, &soft,
                          "hyperv-hypercall", 1);
    memory_region_add_subregion(get_system_io(), HYPERCALL_PORT, &soft.port);
    qemu_add_vm_change_state_handler(vm_state_changed, NULL);
    hv_soft_on = true;
    return true;
}

static bool check_config(X86CPU *cpu, const HvConfig *config, Error **errp)
{
    const uint64_t needs_apic = HV_FEATURE_BIT(HV_FEATURE_SYNIC) |
                                HV_FEATURE_BIT(HV_FEATURE_VAPIC) |
                                HV_FEATURE_BIT(HV_FEATURE_IPI);
    bool has_apic = cpu->env.features[FEAT_1_EDX] & CPUID_APIC;
    char why[160];
    int i;

    if (!tcg_enabled() && !qtest_enabled()) {
        error_setg(errp, "hv-* flags need the KVM or the TCG accelerator");
        return false;
    }
    if (!hv_config_check(config, why, sizeof(why))) {
        error_setg(errp, "%s", why);
        return false;
    }
    for (i = 0; i < HV_FEATURE_COUNT && !has_apic; i++) {
        if (config->features & needs_apic & HV_FEATURE_BIT(i)) {
            error_setg(errp, "%s needs a CPU with an APIC",
                       hv_feature_table[i].flag);
            return false;
        }
    }
    if (hv_soft_on ? memcmp(config, &soft.partition.config, sizeof(*config))
                   : first_cpu != NULL) {
        error_setg(errp, "all CPUs must have the same hv-* flags");
        return false;
    }
    return true;
}

bool hv_soft_check(X86CPU *cpu, Error **errp)
{
    HvConfig config;

    make_config(cpu, &config);
    if (kvm_enabled() || (!hv_config_enabled(&config) && !hv_soft_on)) {
        return true;
    }
    return check_config(cpu, &config, errp) &&
           (hv_soft_on || start_partition(&config, errp));
}

void hv_soft_realize(X86CPU *cpu)
{
    const HvConfig *config = &soft.partition.config;
    CPUState *cs = CPU(cpu);
    HvSoftVp *svp;

    if (!hv_soft_on || cs->cpu_index >= soft.vps_len) {
        return;
    }
    svp = HV_SOFT_VP(object_new(TYPE_HV_SOFT_VP));
    svp->cpu = cpu;
    object_property_add_child(OBJECT(cpu), "hyperv-soft-vp", OBJECT(svp));
    object_unref(OBJECT(svp));
    qdev_realize(DEVICE(svp), NULL, &error_abort);
    if (hv_config_has(config, HV_FEATURE_SYNIC)) {
        hyperv_synic_add(cs);
    }
    if (hv_config_has(config, HV_FEATURE_STIMER) &&
        hv_config_has(config, HV_FEATURE_VAPIC) &&
        hv_config_has(config, HV_FEATURE_RUNTIME)) {
        hyperv_set_vmbus_recommended_features_enabled();
    }
}

void hv_soft_unrealize(X86CPU *cpu)
{
    HvSoftVp *svp = find_vp(CPU(cpu));

    /* The SynIC is the CPU's on KVM, too. */
    hyperv_synic_remove(CPU(cpu));
    if (svp) {
        object_unparent(OBJECT(svp));
    }
}

void hv_soft_reset(X86CPU *cpu)
{
    HvSoftVp *svp = find_vp(CPU(cpu));

    if (!svp) {
        return;
    }
    if (CPU(cpu) == first_cpu) {
        hv_partition_reset(&soft.partition);
    }
    hv_vp_reset(&svp->vp);
    hyperv_synic_reset(CPU(cpu));
    mirror_state(svp);
}

bool hv_soft_cpuid(uint32_t leaf, uint32_t *eax, uint32_t *ebx, uint32_t *ecx,
                   uint32_t *edx)
{
    uint32_t out[4];

    if (!hv_soft_on || !hv_config_cpuid(&soft.partition.config, leaf, out)) {
        return false;
    }
    *eax = out[HV_REG_EAX];
    *ebx = out[HV_REG_EBX];
    *ecx = out[HV_REG_ECX];
    *edx = out[HV_REG_EDX];
    return true;
}

static void vp_realize(DeviceState *dev, Error **errp)
{
    HvSoftVp *svp = HV_SOFT_VP(dev);
    CPUState *cs = CPU(svp->cpu);
    int i;

    for (i = 0; i < HV_ABI_STIMERS; i++) {
        HvSoftTimer *t = &svp->timers[i];

        t->vp = svp;
        t->index = i;
        t->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, stimer_expired, t);
    }
    hv_vp_init(&svp->vp, &soft.partition, hyperv_vp_index(cs), svp);
    soft.vps[cs->cpu_index] = svp;
}

static void vp_unrealize(DeviceState *dev)
{
    HvSoftVp *svp = HV_SOFT_VP(dev);
    int i;

    for (i = 0; i < soft.vps_len; i++) {
        if (soft.vps[i] == svp) {
            soft.vps[i] = NULL;
        }
    }
    for (i = 0; i < HV_ABI_STIMERS; i++) {
        timer_free(svp->timers[i].timer);
    }
}

static void vp_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->realize = vp_realize;
    dc->unrealize = vp_unrealize;
    /* Reason: belongs to its CPU */
    dc->user_creatable = false;
}

static const TypeInfo vp_type_info = {
    .name = TYPE_HV_SOFT_VP,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(HvSoftVp),
    .class_init = vp_class_init,
};

static void hv_soft_register_types(void)
{
    type_register_static(&vp_type_info);
}

type_init(hv_soft_register_types)
