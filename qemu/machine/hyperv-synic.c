/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The message and event pages of a virtual CPU's synthetic interrupt
 * controller, laid over the guest's memory where the guest wants them.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/core/cpu.h"
#include "migration/vmstate.h"
#include "system/kvm.h"
#include "cpu.h"
#include "hyperv-internal.h"

static bool synic_enabled;

bool hyperv_is_synic_enabled(void)
{
    return synic_enabled;
}

SynICState *hyperv_synic_get(CPUState *cs)
{
    Object *obj = object_resolve_path_component(OBJECT(cs), "synic");

    return obj ? SYNIC(obj) : NULL;
}

SynICState *hyperv_synic_find(uint32_t vp_index)
{
    CPUState *cs = vp_index <= INT_MAX ? qemu_get_cpu(vp_index) : NULL;

    return cs && hyperv_vp_index(cs) == vp_index ? hyperv_synic_get(cs) : NULL;
}

bool hyperv_synic_exists(uint32_t vp_index)
{
    return hyperv_synic_find(vp_index);
}

/*
 * Highest guest physical address that can be mapped, plus one.  KVM refuses a
 * memory slot beyond what the host's CPU can address, and QEMU aborts then.
 */
static hwaddr address_limit(CPUState *cs)
{
    uint32_t bits = X86_CPU(cs)->phys_bits;

    if (kvm_enabled()) {
        uint32_t eax, ebx, ecx, edx;

        host_cpuid(0x80000000, 0, &eax, &ebx, &ecx, &edx);
        if (eax >= 0x80000008) {
            host_cpuid(0x80000008, 0, &eax, &ebx, &ecx, &edx);
            bits = MIN(bits, eax & 0xff);
        }
    }
    return (hwaddr)1 << MIN(bits, 52);
}

static void move_page(MemoryRegion *mr, hwaddr *cur, hwaddr addr)
{
    if (*cur == addr) {
        return;
    }
    if (*cur) {
        memory_region_del_subregion(get_system_memory(), mr);
    }
    if (addr) {
        memory_region_add_subregion_overlap(get_system_memory(), addr, mr, 1);
    }
    *cur = addr;
}

static void synic_update(SynICState *synic, bool sctl_enable,
                         hwaddr msg_page_addr, hwaddr event_page_addr)
{
    synic->sctl_enabled = sctl_enable;
    move_page(&synic->msg_page_mr, &synic->msg_page_addr, msg_page_addr);
    move_page(&synic->event_page_mr, &synic->event_page_addr, event_page_addr);
    qatomic_set(&synic->events_on, sctl_enable && event_page_addr);
}

void hyperv_synic_update(CPUState *cs, bool enable, hwaddr msg_page_addr,
                         hwaddr event_page_addr)
{
    SynICState *synic = hyperv_synic_get(cs);
    hwaddr limit = address_limit(cs);

    if (synic) {
        synic_update(synic, enable, msg_page_addr < limit ? msg_page_addr : 0,
                     event_page_addr < limit ? event_page_addr : 0);
    }
}

void *hyperv_synic_msg_page(SynICState *synic)
{
    return memory_region_get_ram_ptr(&synic->msg_page_mr);
}

void *hyperv_synic_event_page(SynICState *synic)
{
    return memory_region_get_ram_ptr(&synic->event_page_mr);
}

static void synic_realize(DeviceState *dev, Error **errp)
{
    SynICState *synic = SYNIC(dev);
    uint32_t vp_index = hyperv_vp_index(synic->cs);
    g_autofree char *msg_name = NULL;
    g_autofree char *event_name = NULL;

    /* The names are part of the migration stream: they name RAM blocks. */
    msg_name = g_strdup_printf("synic-%u-msg-page", vp_index);
    event_name = g_strdup_printf("synic-%u-event-page", vp_index);
    if (!memory_region_init_ram(&synic->msg_page_mr, OBJECT(dev), msg_name,
                                sizeof(struct hyperv_message_page), errp)) {
        return;
    }
    memory_region_init_ram(&synic->event_page_mr, OBJECT(dev), event_name,
                           sizeof(struct hyperv_event_flags_page), errp);
}

static void synic_reset(DeviceState *dev)
{
    SynICState *synic = SYNIC(dev);

    memset(hyperv_synic_msg_page(synic), 0, sizeof(struct hyperv_message_page));
    memset(hyperv_synic_event_page(synic), 0,
           sizeof(struct hyperv_event_flags_page));
    synic_update(synic, false, 0, 0);
}

static void remove_page(DeviceState *dev, MemoryRegion *mr)
{
    vmstate_unregister_ram(mr, dev);
    object_unparent(OBJECT(mr));
}

typedef struct OldSynic {
    struct rcu_head rcu;
    SynICState *synic; /* referenced */
} OldSynic;

static void put_synic(OldSynic *old)
{
    object_unref(OBJECT(old->synic));
    g_free(old);
}

/* Whoever set an event flag just now may still be reading it. */
static void keep_for_readers(SynICState *synic)
{
    OldSynic *old = g_new(OldSynic, 1);

    old->synic = synic;
    object_ref(OBJECT(synic));
    call_rcu(old, put_synic, rcu);
}

static void synic_unrealize(DeviceState *dev)
{
    SynICState *synic = SYNIC(dev);
    int i;

    synic_update(synic, false, 0, 0);
    for (i = 0; i < HV_SINT_COUNT; i++) {
        if (synic->lines[i]) {
            hyperv_sint_line_unplug(synic->lines[i]);
            synic->lines[i] = NULL;
        }
    }
    remove_page(dev, &synic->msg_page_mr);
    remove_page(dev, &synic->event_page_mr);
    keep_for_readers(synic);
}

static void synic_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->realize = synic_realize;
    dc->unrealize = synic_unrealize;
    device_class_set_legacy_reset(dc, synic_reset);
    dc->user_creatable = false;
}

static const TypeInfo synic_type_info = {
    .name = TYPE_SYNIC,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(SynICState),
    .class_init = synic_class_init,
};

static void synic_register_types(void)
{
    type_register_static(&synic_type_info);
}

type_init(synic_register_types)

void hyperv_synic_add(CPUState *cs)
{
    Object *obj = object_new(TYPE_SYNIC);

    SYNIC(obj)->cs = cs;
    object_property_add_child(OBJECT(cs), "synic", obj);
    object_unref(obj);
    qdev_realize(DEVICE(obj), NULL, &error_abort);
    synic_enabled = true;
}

void hyperv_synic_remove(CPUState *cs)
{
    SynICState *synic = hyperv_synic_get(cs);

    if (synic) {
        object_unparent(OBJECT(synic));
    }
}

void hyperv_synic_reset(CPUState *cs)
{
    SynICState *synic = hyperv_synic_get(cs);

    if (synic) {
        device_cold_reset(DEVICE(synic));
    }
}
