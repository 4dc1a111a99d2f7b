/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hypercalls of the software Hyper-V interface: the way in, and TLB flushes
 * and interrupts to other CPUs.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/cputlb.h"
#include "exec/memory.h"
#include "system/tcg.h"
#include "kvm/hv-hypercall.h"
#include "hyperv-synic.h"
#include "hv-soft-internal.h"

/*
 * The hypercall page begins with "out %eax, $HYPERCALL_PORT; ret", and the
 * port's handler reads the CPU's registers.  No device of pc or q35 has this
 * port, and the firmware and the guests leave it alone.
 */
#define HYPERCALL_PORT 0xe6

/* More pages than that are flushed sooner all at once. */
#define FLUSH_PAGES_MAX 64

QEMU_BUILD_BUG_ON(sizeof(HvPostMessageInput) !=
                  sizeof(struct hyperv_post_message_input));

uint16_t hv_soft_hypercall_post(void *opaque, HvVp *vp,
                                const HvPostMessageInput *in)
{
    return hyperv_post_message_input(
        (const struct hyperv_post_message_input *)in);
}

uint16_t hv_soft_hypercall_signal(void *opaque, HvVp *vp, uint32_t connection,
                                  uint16_t flag)
{
    return hyperv_signal_connection(connection, flag);
}

void hv_soft_send_ipi(void *opaque, HvVp *vp, const HvVpSet *set,
                      uint8_t vector)
{
    unsigned i;

    BQL_LOCK_GUARD();
    for (i = 0; i < hv_soft.vps_len; i++) {
        if (hv_soft.vps[i] && hv_vp_set_has(set, i)) {
            hv_soft_assert_vector(opaque, &hv_soft.vps[i]->vp, vector);
        }
    }
}

void hv_soft_spin_wait(void *opaque, HvVp *vp)
{
    bool locked = bql_locked();

    if (!tcg_enabled() || !qemu_tcg_mttcg_enabled()) {
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

void hv_soft_flush_tlb(void *opaque, HvVp *vp, const HvVpSet *set,
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
    HvSoftVp *svp = hv_soft_find_vp(current_cpu);
    HvHypercallRegs regs;
    CPUX86State *env;

    /* A monitor or a test may write to the port, too. */
    if (!svp || size != 4 ||
        !(qatomic_read(&hv_soft.partition.s.hypercall) & HVMSR_ENABLE)) {
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

void hv_soft_add_port(HvPartition *partition)
{
    static const uint8_t code[] = {0xe7, HYPERCALL_PORT, 0xc3};

    memcpy(partition->hypercall_code, code, sizeof(code));
    partition->hypercall_code_len = sizeof(code);
    memory_region_init_io(&hv_soft.port, NULL, &port_ops, NULL,
                          "hyperv-hypercall", 1);
    memory_region_add_subregion(get_system_io(), HYPERCALL_PORT, &hv_soft.port);
}
