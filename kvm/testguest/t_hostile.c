/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Harm through the Hyper-V interface: MSRs, pages, timers, hypercalls. */
#include "hostile.h"

#define RING3_DONE_VECTOR 0x81

const uint64_t hostile_addresses[] = {
    0,                  /* where the interrupt vectors of old are */
    0x000a0000,         /* VGA, or nothing */
    0x000f0000,         /* ROM */
    0xe0000000,         /* hole for PCI */
    0xfec00000,         /* I/O APIC */
    0xfee00000,         /* local APIC */
    0xfffff000,         /* ROM */
    0x0000008000000000, /* beyond RAM */
    0x0000fffffffff000, /* beyond any processor's address space */
    0xfffffffffffff000,
};
const unsigned hostile_address_count = ARRAY_LEN(hostile_addresses);

bool hostile_is_ram(uint64_t addr)
{
    volatile uint32_t *word = (volatile uint32_t *)(uintptr_t)addr;
    const uint32_t pattern = 0x5aa5c33c;
    uint32_t before;
    bool kept;

    if (addr >> 32) {
        return false;
    }
    before = *word;
    *word = pattern;
    kept = *word == pattern;
    *word = before;
    return kept;
}

uint32_t hostile_random(void)
{
    static uint32_t seeds[MAX_CPUS];
    uint32_t *x = &seeds[this_cpu()->id];

    if (!*x) {
        *x = 0x9e3779b9 + this_cpu()->id;
    }
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void good_again(const char *name)
{
    const char *why;

    vb.hold = false;
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_synic_off(cpu);
        hv_synic_on(cpu);
    }
    hv_setup();
    vb.conn_id = VMBUS_MESSAGE_CONNECTION_ID;
    vb_listen(0, VMBUS_MESSAGE_SINT);
    why = vb_round_trip(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT);
    tap(!why, name, "afterwards %s", why ? why : "");
}

void hostile_run(const struct hostile_batch *batches, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (cpu_count < batches[i].min_cpus) {
            continue;
        }
        print("# %s\n", batches[i].name);
        batches[i].run();
        good_again(batches[i].name);
    }
}

struct vb_channel *hostile_connect(void)
{
    struct vb_channel *hb = NULL;

    if (vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL) &&
        vb_request_offers()) {
        hb = vb_heartbeat();
    }
    if (!hb) {
        tap(false, "connection for a batch", "it failed");
    }
    return hb;
}

/* The host sends to pages that are nowhere. */
static void odd_synic_pages(void)
{
    for (unsigned i = 0; i < hostile_address_count; i++) {
        for (unsigned which = 0; which < 3; which++) {
            struct vb_channel *hb = hostile_connect();
            uint64_t at = hostile_addresses[i] | HV_ENABLE;

            if (hb && vb_open(hb, 0, 8)) {
                vb_heartbeats(hb, 1);
            }
            if (which != 1) {
                wrmsr_safe(HV_MSR_SIMP, at);
            }
            if (which != 0) {
                wrmsr_safe(HV_MSR_SIEFP, at);
            }
            if (hb) {
                vb_signal(hb);
            }
            vb_post_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT,
                            VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID);
            delay_us(2000);
            wrmsr(HV_MSR_EOM, 0);
            hv_synic_off(0);
            hv_synic_on(0);
            vb_listen(0, VMBUS_MESSAGE_SINT);
        }
    }
}

/* Both pages, and those of all processors, in one place. */
static void shared_synic_pages(void)
{
    uint64_t at = (uintptr_t)alloc_pages(1) | HV_ENABLE;
    struct vb_channel *hb = hostile_connect();

    if (hb && vb_open(hb, 0, 8)) {
        vb_heartbeats(hb, 1);
    }
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_wrmsr_on(cpu, HV_MSR_SIMP, at);
        hv_wrmsr_on(cpu, HV_MSR_SIEFP, at);
    }
    if (hb) {
        vb_signal(hb);
    }
    for (unsigned i = 0; i < 50; i++) {
        vb_post_contact(VMBUS_VERSION_5_3, i % cpu_count, VMBUS_MESSAGE_SINT,
                        VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID);
        wrmsr(HV_MSR_EOM, 0);
    }
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_wrmsr_on(cpu, HV_MSR_SIMP, 0);
        hv_wrmsr_on(cpu, HV_MSR_SIEFP, 0);
    }
}

/* The message page moves, and goes, while messages wait for its slot. */
static void moving_message_page(void)
{
    VmbusMsgHeader request = {.type = VMBUS_MSG_REQUESTOFFERS};
    uint64_t other = (uintptr_t)alloc_pages(1) | HV_ENABLE;
    uint64_t own = (uintptr_t)hv_vps[0].messages | HV_ENABLE;

    for (unsigned i = 0; i < 20; i++) {
        vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL);
        vb.hold = true;
        vb_post(&request, sizeof(request));
        delay_us(500);
        wrmsr(HV_MSR_SIMP, i % 2 ? other : 0);
        wrmsr(HV_MSR_EOM, 0);
        delay_us(500);
        if (i % 4 > 1) {
            wrmsr(HV_MSR_SCONTROL, 0);
            wrmsr(HV_MSR_EOM, 0);
            wrmsr(HV_MSR_SCONTROL, HV_ENABLE);
        }
        wrmsr(HV_MSR_SIMP, own);
        memset(hv_vps[0].messages, 0, PAGE_SIZE);
        wrmsr(HV_MSR_EOM, 0);
        vb_release();
        vb_drain();
    }
}

static void odd_sints(void)
{
    unsigned accepted = 0, kept = 0;
    uint64_t val;

    for (unsigned vector = 0; vector < 16; vector++) {
        accepted += wrmsr_safe(HV_MSR_SINT0 + 6, vector);
        kept += wrmsr_safe(HV_MSR_SINT0 + 6, vector | HV_SINT_MASKED);
    }
    tap(!accepted && kept == 16,
        "vectors below 16 fault, unless they are masked",
        "%u unmasked were accepted, %u masked", accepted, kept);
    for (unsigned i = 0; i < 64; i++) {
        wrmsr_safe(HV_MSR_SINT0 + i % HV_SINTS,
                   1ull << i | HV_SINT_MASKED | 0x20);
        wrmsr_safe(HV_MSR_SCONTROL, 1ull << i | HV_ENABLE);
        wrmsr_safe(HV_MSR_EOM, 1ull << i);
    }
    for (uint32_t msr = 0x40000000; msr < 0x40000200; msr++) {
        rdmsr_safe(msr, &val);
    }
}

#define CONFIG(t) (HV_MSR_STIMER0_CFG + 2 * (t))
#define COUNT(t)  (HV_MSR_STIMER0_COUNT + 2 * (t))

static void stop_timers(void *arg)
{
    for (unsigned t = 0; t < HV_TIMERS; t++) {
        wrmsr_safe(CONFIG(t), 0);
        wrmsr_safe(COUNT(t), 0);
    }
}

/* As many ticks as can be had, on all timers of this processor. */
static void start_timers(void *arg)
{
    const uint64_t *count = arg;

    for (unsigned t = 0; t < HV_TIMERS; t++) {
        uint64_t how = t % 2 ? HV_STIMER_SINT(8 + t)
                             : HV_STIMER_DIRECT | HV_STIMER_VECTOR(0xa0 + t);

        wrmsr_safe(CONFIG(t), 0);
        wrmsr_safe(COUNT(t), *count);
        wrmsr_safe(CONFIG(t), how | HV_STIMER_ENABLE | HV_STIMER_PERIODIC);
    }
}

static void absurd_timers(void)
{
    static const uint64_t counts[] = {
        1, 2, 7, 1ull << 62, 1ull << 63, ~0ull - 1, ~0ull,
    };

    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
            run_on(cpu, start_timers, (void *)&counts[i]);
        }
        delay_us(100000);
        for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
            run_on(cpu, stop_timers, NULL);
        }
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        wrmsr_safe(COUNT(1), hv_time() + 1000);
        /* Vectors below 32 would look like exceptions, so no direct mode. */
        wrmsr_safe(CONFIG(1),
                   (1ull << bit | HV_STIMER_SINT(9) | 1) & ~HV_STIMER_DIRECT);
        delay_us(200);
    }
    wrmsr_safe(CONFIG(2), 0);
    for (unsigned vector = 0; vector < 16; vector++) {
        wrmsr_safe(COUNT(2), 1);
        wrmsr_safe(CONFIG(2), HV_STIMER_ENABLE | HV_STIMER_DIRECT |
                                  HV_STIMER_VECTOR(vector));
    }
    stop_timers(NULL);
}

static uint64_t odd_result;
static uint32_t ring3_connection;

static void call_unknown(void *arg)
{
    odd_result = hv_hypercall(HV_CALL_SIGNAL_EVENT | HV_CALL_FAST, 0xffffff, 0);
}

static void odd_hypercall_pages(void)
{
    bool answered, ran;

    for (unsigned i = 0; i < hostile_address_count; i++) {
        wrmsr_safe(HV_MSR_HYPERCALL, hostile_addresses[i] | HV_ENABLE);
    }
    for (unsigned bit = 2; bit < 64; bit++) {
        /* Bit 1 would lock it; low addresses are our own code. */
        if (bit >= 32) {
            wrmsr_safe(HV_MSR_HYPERCALL, 1ull << bit | HV_ENABLE);
        }
    }
    hv_setup();
    call_unknown(NULL);
    answered = hv_status(odd_result) == HV_INVALID_CONNECTION_ID;
    wrmsr(HV_MSR_HYPERCALL, 0);
    /* What is beneath the page may fault, or do nothing and return. */
    ran = try_call(call_unknown, NULL);
    tap(answered && (!ran || hv_status(odd_result) != HV_INVALID_CONNECTION_ID),
        "no hypercall while its page is off", "it ended with status 0x%lx",
        odd_result);
    hv_setup();
}

static void call_from_ring3(void)
{
    odd_result =
        hv_hypercall(HV_CALL_SIGNAL_EVENT | HV_CALL_FAST, ring3_connection, 0);
    __asm__ volatile("int %0" : : "i"(RING3_DONE_VECTOR));
}

/*
 * TLFS 3.5: #UD.  The software interface calls by an I/O port, so a system
 * that bars its programs from ports gets #GP, and one that does not gets a
 * refusal in place of the fault.
 */
static void hypercalls_from_ring3(void)
{
    struct vb_channel *hb = hostile_connect();
    uint8_t vector = call_in_ring3(call_from_ring3);

    tap(vector == 6 || vector == 13, "a hypercall from ring 3 faults",
        "vector %u", vector);
    ring3_connection = hb ? hb->offer.connection_id : 0;
    ring3_ports(true);
    vector = call_in_ring3(call_from_ring3);
    tap(vector == 6 || hv_status(odd_result) == HV_ACCESS_DENIED,
        "or is refused, if ring 3 may use ports", "vector %u, status 0x%lx",
        vector, odd_result);
    ring3_ports(false);
}

static void odd_hypercalls(void)
{
    uint64_t inputs[] = {
        0,
        1,
        8,
        ram_end - 128,
        ram_end - 8,
        ram_end,
        0xfee00000,
        0xfffffffffffffff8,
        0x7ffffffffffffff8,
        0xffff0000,
    };
    uint8_t *page = alloc_pages(2);

    for (unsigned i = 0; i < 2 * PAGE_SIZE; i++) {
        page[i] = hostile_random();
    }
    for (unsigned code = 0; code < 0x120; code++) {
        /* Not the ones that interrupt processors: any vector might come. */
        if (code == 0x0b || code == 0x15) {
            continue;
        }
        for (unsigned i = 0; i < ARRAY_LEN(inputs); i++) {
            hv_hypercall(code, inputs[i], inputs[i]);
            hv_hypercall(code, (uintptr_t)page + PAGE_SIZE - 8 * i, 0);
            hv_hypercall(code | (uint64_t)hostile_random() << 32,
                         (uintptr_t)page, (uintptr_t)page);
            hv_hypercall(code | 1ull << (17 + i), (uintptr_t)page, 0);
        }
    }
}

static const struct hostile_batch batches[] = {
    {"SynIC pages at odd addresses", odd_synic_pages, 1},
    {"SynIC pages all in one place", shared_synic_pages, 1},
    {"message page moves while messages wait", moving_message_page, 1},
    {"odd values for SINTs and SynIC registers", odd_sints, 1},
    {"timers with absurd periods", absurd_timers, 1},
    {"hypercall page at odd addresses", odd_hypercall_pages, 1},
    {"hypercalls from ring 3", hypercalls_from_ring3, 1},
    {"odd hypercalls", odd_hypercalls, 1},
};

void test_hostile(void)
{
    if (!hv_present() || !(cpuid(0x40000003).eax >> 2 & 1)) {
        tap_skip("hostile", "the machine has no hv-synic");
        return;
    }
    vb_init();
    good_again("a good connection to begin with");
    hostile_run(batches, ARRAY_LEN(batches));
    hostile_messages();
    hostile_rings();
    good_again("a second, well-behaved connection works afterwards");
}
