/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv.h"

/* A made-up open source operating system (TLFS 2.4.4.2): bit 63 set. */
#define GUEST_OS_ID 0x8200000000000000ull

struct hv_vp hv_vps[MAX_CPUS];

static uint8_t hypercall_page[PAGE_SIZE] __attribute__((aligned(4096)));
static struct hv_post_message post_input[MAX_CPUS]
    __attribute__((aligned(4096)));

bool hv_present(void)
{
    return cpuid(0x40000001).eax == 0x31237648; /* "Hv#1" */
}

void hv_setup(void)
{
    wrmsr(HV_MSR_GUEST_OS_ID, GUEST_OS_ID);
    wrmsr(HV_MSR_HYPERCALL, (uintptr_t)hypercall_page | HV_ENABLE);
}

uint64_t hv_hypercall(uint64_t control, uint64_t in, uint64_t out)
{
    register uint64_t r8 __asm__("r8") = out;
    uint64_t result = ~0ull;

    __asm__ volatile("call *%[page]"
                     : "=a"(result), "+c"(control), "+d"(in), "+r"(r8)
                     : [page] "r"((uintptr_t)hypercall_page)
                     : "cc", "memory", "r9", "r10", "r11");
    return result;
}

uint16_t hv_post(uint32_t conn_id, uint32_t type, const void *payload,
                 uint32_t len)
{
    struct hv_post_message *in = &post_input[this_cpu()->id];

    memset(in, 0, sizeof(*in));
    in->connection_id = conn_id;
    in->message_type = type;
    in->payload_size = len;
    memcpy(in->payload, payload, len);
    return hv_status(hv_hypercall(HV_CALL_POST_MESSAGE, (uintptr_t)in, 0));
}

uint16_t hv_signal(uint32_t conn_id)
{
    return hv_status(
        hv_hypercall(HV_CALL_SIGNAL_EVENT | HV_CALL_FAST, conn_id, 0));
}

struct remote_msr {
    uint32_t msr;
    uint64_t val;
};

static void do_wrmsr(void *arg)
{
    struct remote_msr *m = arg;

    wrmsr(m->msr, m->val);
}

static void do_rdmsr(void *arg)
{
    struct remote_msr *m = arg;

    m->val = rdmsr(m->msr);
}

void hv_wrmsr_on(unsigned cpu, uint32_t msr, uint64_t val)
{
    struct remote_msr m = {msr, val};

    run_on(cpu, do_wrmsr, &m);
}

uint64_t hv_rdmsr_on(unsigned cpu, uint32_t msr)
{
    struct remote_msr m = {msr, 0};

    run_on(cpu, do_rdmsr, &m);
    return m.val;
}

static void synic_on(void *arg)
{
    struct hv_vp *vp = arg;

    wrmsr(HV_MSR_SIMP, (uintptr_t)vp->messages | HV_ENABLE);
    wrmsr(HV_MSR_SIEFP, (uintptr_t)vp->events | HV_ENABLE);
    for (unsigned i = 0; i < HV_SINTS; i++) {
        wrmsr(HV_MSR_SINT0 + i, HV_SINT_MASKED | 0x20);
    }
    wrmsr(HV_MSR_SCONTROL, HV_ENABLE);
}

static void synic_off(void *arg)
{
    for (unsigned i = 0; i < HV_SINTS; i++) {
        wrmsr(HV_MSR_SINT0 + i, HV_SINT_MASKED | 0x20);
    }
    wrmsr(HV_MSR_SCONTROL, 0);
    wrmsr(HV_MSR_SIEFP, 0);
    wrmsr(HV_MSR_SIMP, 0);
}

void hv_synic_on(unsigned cpu)
{
    struct hv_vp *vp = &hv_vps[cpu];

    if (!vp->messages) {
        vp->messages = alloc_pages(1);
        vp->events = alloc_pages(1);
    }
    run_on(cpu, synic_on, vp);
}

void hv_synic_off(unsigned cpu)
{
    run_on(cpu, synic_off, NULL);
}

void hv_set_sint(unsigned cpu, unsigned sint, uint64_t val)
{
    hv_wrmsr_on(cpu, HV_MSR_SINT0 + sint, val);
}

bool hv_free_slot(unsigned cpu, unsigned sint)
{
    struct hv_message *msg = &hv_vps[cpu].messages[sint];

    msg->type = HV_MSG_NONE;
    barrier();
    if (!(msg->flags & HV_MSG_PENDING)) {
        return false;
    }
    wrmsr(HV_MSR_EOM, 0);
    return true;
}

uint64_t hv_tsc_page_time(const struct hv_tsc_page *page)
{
    uint32_t sequence;
    uint64_t scale, tsc;
    int64_t offset;

    do {
        sequence = page->sequence;
        __asm__ volatile("" ::: "memory");
        scale = page->scale;
        offset = page->offset;
        tsc = rdtsc();
        __asm__ volatile("" ::: "memory");
    } while (page->sequence != sequence);
    if (!sequence) {
        return hv_time();
    }
    return (uint64_t)((unsigned __int128)tsc * scale >> 64) + offset;
}
