/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Software Hyper-V interface (../kvm/) of QEMU's virtual CPUs: what QEMU's
 * hooks call, MSRs, SynIC, start and end.
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
#include "hw/boards.h"
#include "hw/qdev-core.h"
#include "system/cpus.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "hyperv-synic.h"
#include "hv-soft-internal.h"
#include "hv-soft-state.h"
#include "hv-soft.h"

/* The APIC emulation counts bus clocks of a nanosecond. */
#define APIC_HZ 1000000000

HvSoft hv_soft;
bool hv_soft_on;

QEMU_BUILD_BUG_ON(HV_FEATURE_RELAXED != HYPERV_FEAT_RELAXED);
QEMU_BUILD_BUG_ON(HV_FEATURE_SYNIC != HYPERV_FEAT_SYNIC);
QEMU_BUILD_BUG_ON(HV_FEATURE_EVMCS != HYPERV_FEAT_EVMCS);
QEMU_BUILD_BUG_ON(HV_FEATURE_SYNDBG != HYPERV_FEAT_SYNDBG);
QEMU_BUILD_BUG_ON(HV_FEATURE_TLBFLUSH_DIRECT != HYPERV_FEAT_TLBFLUSH_DIRECT);
QEMU_BUILD_BUG_ON(HV_SPINLOCKS_NEVER != HYPERV_SPINLOCK_NEVER_NOTIFY);
QEMU_BUILD_BUG_ON(sizeof(HvMessage) != sizeof(struct hyperv_message));

HvSoftVp *hv_soft_find_vp(CPUState *cs)
{
    return cs && cs->cpu_index >= 0 && cs->cpu_index < hv_soft.vps_len
               ? hv_soft.vps[cs->cpu_index]
               : NULL;
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

void hv_soft_update_synic(HvSoftVp *svp)
{
    const HvVpState *s = &svp->vp.s;

    hyperv_synic_update(CPU(svp->cpu), s->scontrol & HVMSR_ENABLE,
                        page_address(s->simp), page_address(s->siefp));
}

static void update_synic(CPUState *cs, run_on_cpu_data data)
{
    HvSoftVp *svp = hv_soft_find_vp(cs);

    BQL_LOCK_GUARD();
    if (svp) {
        hv_soft_update_synic(svp);
        hv_stimers_retry(&svp->vp);
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
    HvSoftVp *svp = hv_soft_find_vp(cs);

    return svp ? hv_sint_raise(&svp->vp, sint) : -ENXIO;
}

bool hv_soft_is_auto_eoi(X86CPU *cpu, int vector)
{
    HvSoftVp *svp = hv_soft_find_vp(CPU(cpu));

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
    const HvPartitionState *p = &hv_soft.partition.s;
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
    HvSoftVp *svp = hv_soft_find_vp(CPU(cpu));

    if (!is_ours(msr) || !svp) {
        return 0;
    }
    if (msr == HVMSR_TIME_REF_COUNT &&
        qatomic_load_acquire(&hv_soft.partition.clock_ready)) {
        return hv_msr_read(&svp->vp, msr, val) ? 0 : -1;
    }
    BQL_LOCK_GUARD();
    return hv_msr_read(&svp->vp, msr, val) ? 0 : -1;
}

int hv_soft_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t val)
{
    HvSoftVp *svp = hv_soft_find_vp(CPU(cpu));

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

static const HvOps soft_ops = {
    .read_tsc = hv_soft_read_tsc,
    .read_ns = hv_soft_read_ns,
    .clock_samples = hv_soft_clock_samples,
    .read_guest = hv_soft_read_guest,
    .write_guest = hv_soft_write_guest,
    .set_deadline = hv_soft_set_deadline,
    .assert_vector = hv_soft_assert_vector,
    .post_message = op_post_message,
    .slot_free = op_slot_free,
    .synic_changed = op_synic_changed,
    .apic_read = hv_soft_apic_read,
    .apic_write = hv_soft_apic_write,
    .vp_runtime = hv_soft_vp_runtime,
    .guest_crashed = op_guest_crashed,
    .reset_system = op_reset_system,
    .hypercall_post = hv_soft_hypercall_post,
    .hypercall_signal = hv_soft_hypercall_signal,
    .flush_tlb = hv_soft_flush_tlb,
    .send_ipi = hv_soft_send_ipi,
    .spin_wait = hv_soft_spin_wait,
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

static void start_partition(const HvConfig *config)
{
    MachineState *ms = MACHINE(qdev_get_machine());

    hv_partition_init(&hv_soft.partition, config, &soft_ops, &hv_soft);
    hv_soft.partition.apic_hz = APIC_HZ;
    hv_soft.vps_len = ms->smp.max_cpus;
    hv_soft.vps = g_new0(HvSoftVp *, hv_soft.vps_len);
    hv_soft.host = hv_soft_host_sample();
    hv_soft_add_port(&hv_soft.partition);
    hv_soft_state_register();
    qemu_add_vm_change_state_handler(hv_soft_vm_state_changed, NULL);
    hv_soft_on = true;
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
    if (hv_soft_on ? memcmp(config, &hv_soft.partition.config, sizeof(*config))
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
    if (!check_config(cpu, &config, errp)) {
        return false;
    }
    if (!hv_soft_on) {
        start_partition(&config);
    }
    return true;
}

void hv_soft_realize(X86CPU *cpu)
{
    const HvConfig *config = &hv_soft.partition.config;
    CPUState *cs = CPU(cpu);
    HvSoftVp *svp;

    if (!hv_soft_on || cs->cpu_index >= hv_soft.vps_len) {
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
    HvSoftVp *svp = hv_soft_find_vp(CPU(cpu));

    /* The SynIC is the CPU's on KVM, too. */
    hyperv_synic_remove(CPU(cpu));
    if (svp) {
        object_unparent(OBJECT(svp));
    }
}

void hv_soft_reset(X86CPU *cpu)
{
    HvSoftVp *svp = hv_soft_find_vp(CPU(cpu));

    if (!svp) {
        return;
    }
    if (CPU(cpu) == first_cpu) {
        hv_partition_reset(&hv_soft.partition);
    }
    hv_vp_reset(&svp->vp);
    hyperv_synic_reset(CPU(cpu));
    mirror_state(svp);
}

bool hv_soft_cpuid(uint32_t leaf, uint32_t *eax, uint32_t *ebx, uint32_t *ecx,
                   uint32_t *edx)
{
    uint32_t out[4];

    if (!hv_soft_on || !hv_config_cpuid(&hv_soft.partition.config, leaf, out)) {
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
        t->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, hv_soft_stimer_expired, t);
    }
    hv_vp_init(&svp->vp, &hv_soft.partition, hyperv_vp_index(cs), svp);
    hv_soft.vps[cs->cpu_index] = svp;
    hv_soft_state_register_vp(svp);
}

static void vp_unrealize(DeviceState *dev)
{
    HvSoftVp *svp = HV_SOFT_VP(dev);
    int i;

    hv_soft_state_unregister_vp(svp);
    for (i = 0; i < hv_soft.vps_len; i++) {
        if (hv_soft.vps[i] == svp) {
            hv_soft.vps[i] = NULL;
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
