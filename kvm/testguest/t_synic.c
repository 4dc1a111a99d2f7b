/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The synthetic interrupt controller, messages and events, with QEMU's
 * hyperv-testdev as the other side: it echoes what is posted or signalled.
 * That device ends QEMU on what it does not expect (a full payload of 240
 * bytes, a post to a VP whose page is off), so such things are not sent to it.
 */
#include "hv.h"

#define TESTDEV_PORT 0x3000

enum {
    ROUTE_CREATE = 1,
    ROUTE_DESTROY,
    ROUTE_SET_SINT,
    MSG_CONN_CREATE,
    MSG_CONN_DESTROY,
    EVT_CONN_CREATE,
    EVT_CONN_DESTROY,
};

#define VECTOR_BASE 0x40
#define MSG_SINT    2
#define MSG_VECTOR  0x60
#define MSG_CONN    0x20 /* plus the processor */
#define EVT_SINT    3
#define EVT_VECTOR  0x61
#define EVT_CONN    0x40 /* plus the processor */

#define IRQ_TIMEOUT_US 10000000

static volatile bool in_service[MAX_CPUS][256];

static void testdev(unsigned what, unsigned cpu, unsigned sint, unsigned conn)
{
    outl(TESTDEV_PORT, conn << 24 | what << 16 | cpu << 8 | sint);
}

static void note_irq(struct cpu *cpu, uint8_t vector)
{
    in_service[cpu->id][vector] = apic_in_service(vector);
}

static void check_defaults(void)
{
    unsigned wrong = 0;

    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        wrong += hv_rdmsr_on(cpu, HV_MSR_SVERSION) != 1;
        wrong += hv_rdmsr_on(cpu, HV_MSR_SCONTROL) & HV_ENABLE;
        wrong += hv_rdmsr_on(cpu, HV_MSR_SIMP) & HV_ENABLE;
        wrong += hv_rdmsr_on(cpu, HV_MSR_SIEFP) & HV_ENABLE;
        for (unsigned i = 0; i < HV_SINTS; i++) {
            wrong += !(hv_rdmsr_on(cpu, HV_MSR_SINT0 + i) & HV_SINT_MASKED);
        }
    }
    tap(!wrong, "after reset all is off and masked", "%u values are wrong",
        wrong);
}

/* One SINT of one processor; gives the number of things that were wrong. */
static unsigned try_sint(unsigned cpu, unsigned sint)
{
    bool auto_eoi = sint % 2;
    uint8_t vector = VECTOR_BASE + sint;
    unsigned wrong = 0;

    irq_set(vector, note_irq, !auto_eoi);
    testdev(ROUTE_CREATE, cpu, sint, 0);
    hv_set_sint(cpu, sint, vector | (auto_eoi ? HV_SINT_AUTO_EOI : 0));
    for (unsigned round = 0; round < 2; round++) {
        uint32_t before = cpus[cpu].irqs[vector];

        testdev(ROUTE_SET_SINT, cpu, sint, 0);
        if (!wait_for(cpus[cpu].irqs[vector] != before, IRQ_TIMEOUT_US)) {
            print("# processor %u, SINT %u: no interrupt\n", cpu, sint);
            wrong++;
        } else if (in_service[cpu][vector] == auto_eoi) {
            print("# processor %u, SINT %u: in service %d\n", cpu, sint,
                  in_service[cpu][vector]);
            wrong++;
        }
    }
    hv_set_sint(cpu, sint, vector | HV_SINT_MASKED);
    testdev(ROUTE_DESTROY, cpu, sint, 0);
    for (unsigned i = 0; i < cpu_count; i++) {
        wrong += cpus[i].irqs[vector] != (i == cpu ? 2 : 0);
        cpus[i].irqs[vector] = 0;
    }
    return wrong;
}

static void check_sints(void)
{
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        unsigned wrong = 0;

        for (unsigned sint = 0; sint < HV_SINTS; sint++) {
            wrong += try_sint(cpu, sint);
        }
        tap(!wrong, "all SINTs, with and without automatic EOI",
            "%u faults on processor %u", wrong, cpu);
    }
}

/* No interrupt while masked or polled, and none kept for later. */
static void check_quiet(uint64_t how, const char *name)
{
    unsigned cpu = cpu_count - 1;
    volatile uint32_t *irqs = &cpus[cpu].irqs[VECTOR_BASE];
    uint32_t before = *irqs;
    bool quiet;

    irq_set(VECTOR_BASE, note_irq, true);
    testdev(ROUTE_CREATE, cpu, 1, 0);
    hv_set_sint(cpu, 1, VECTOR_BASE | how);
    testdev(ROUTE_SET_SINT, cpu, 1, 0);
    delay_us(20000);
    quiet = *irqs == before;
    hv_set_sint(cpu, 1, VECTOR_BASE);
    delay_us(20000);
    quiet = quiet && *irqs == before;
    testdev(ROUTE_SET_SINT, cpu, 1, 0);
    tap(quiet && wait_for(*irqs == before + 1, IRQ_TIMEOUT_US), name,
        "quiet %d, %u interrupts", quiet, *irqs - before);
    hv_set_sint(cpu, 1, HV_SINT_MASKED | VECTOR_BASE);
    testdev(ROUTE_DESTROY, cpu, 1, 0);
}

static void fill_payload(uint8_t *payload, unsigned len, uint8_t seed)
{
    for (unsigned i = 0; i < len; i++) {
        payload[i] = seed + i * 7;
    }
}

/* Is this message in the slot, complete? */
static bool slot_holds(unsigned cpu, uint32_t type, unsigned len, uint8_t seed)
{
    struct hv_message *msg = &hv_vps[cpu].messages[MSG_SINT];
    uint8_t want[HV_MSG_PAYLOAD_MAX];

    fill_payload(want, len, seed);
    return wait_for(msg->type == type, IRQ_TIMEOUT_US) &&
           msg->payload_size == len && !memcmp(msg->payload, want, len);
}

static uint16_t post(unsigned cpu, uint32_t type, unsigned len, uint8_t seed)
{
    uint8_t payload[HV_MSG_PAYLOAD_MAX];

    fill_payload(payload, len, seed);
    return hv_post(MSG_CONN + cpu, type, payload, len);
}

struct slot_freed {
    unsigned cpu;
    bool eom;
};

static void free_slot(void *arg)
{
    struct slot_freed *f = arg;

    f->eom = hv_free_slot(f->cpu, MSG_SINT);
}

static bool free_slot_on(unsigned cpu)
{
    struct slot_freed f = {.cpu = cpu};

    run_on(cpu, free_slot, &f);
    return f.eom;
}

/*
 * As a Linux leaves it that crashes on another processor: it empties the slot,
 * and its EOM goes to its own.  And a kernel that comes after it may have lost
 * the interrupt of a message that is in its way.
 */
static void check_freed_without_eom(unsigned cpu)
{
    struct hv_message *msg = &hv_vps[cpu].messages[MSG_SINT];
    volatile uint32_t *irqs = &cpus[cpu].irqs[MSG_VECTOR];
    uint16_t first, second;
    uint32_t before = *irqs;
    bool again;

    wait_for((first = post(cpu, 5, 8, 6)) != HV_INSUFFICIENT_BUFFERS,
             IRQ_TIMEOUT_US);
    wait_for((second = post(cpu, 6, 8, 7)) != HV_INSUFFICIENT_BUFFERS,
             IRQ_TIMEOUT_US);
    wait_for(msg->flags & HV_MSG_PENDING, IRQ_TIMEOUT_US);
    again = wait_for(*irqs - before >= 2, IRQ_TIMEOUT_US);
    tap(!first && !second && again && slot_holds(cpu, 5, 8, 6),
        "a message that is not taken gets one more interrupt",
        "status 0x%x and 0x%x, type 0x%x", first, second, msg->type);
    __atomic_store_n(&msg->type, HV_MSG_NONE, __ATOMIC_RELEASE);
    tap(slot_holds(cpu, 6, 8, 7),
        "a slot that is emptied without EOM is found free",
        "type 0x%x, flags %u", msg->type, msg->flags);
    free_slot_on(cpu);
}

static void check_messages(unsigned cpu)
{
    struct hv_message *msg = &hv_vps[cpu].messages[MSG_SINT];
    volatile uint32_t *irqs = &cpus[cpu].irqs[MSG_VECTOR];
    uint32_t before = *irqs;
    uint16_t busy;
    bool pending;

    irq_set(MSG_VECTOR, NULL, true);
    hv_set_sint(cpu, MSG_SINT, MSG_VECTOR);
    testdev(MSG_CONN_CREATE, cpu, MSG_SINT, MSG_CONN + cpu);
    tap_equal(post(cpu, 1, 239, 3), HV_SUCCESS, "a message is posted");
    tap(slot_holds(cpu, 1, 239, 3) &&
            wait_for(*irqs == before + 1, IRQ_TIMEOUT_US),
        "the message and its interrupt arrive",
        "type 0x%x, size %u, %u interrupts", msg->type, msg->payload_size,
        *irqs - before);
    /* The device may not know yet that its first message has arrived. */
    wait_for((busy = post(cpu, 2, 8, 4)) != HV_INSUFFICIENT_BUFFERS,
             IRQ_TIMEOUT_US);
    tap_equal(busy, HV_SUCCESS, "one more is accepted while the slot is taken");
    pending = wait_for(msg->flags & HV_MSG_PENDING, IRQ_TIMEOUT_US);
    busy = post(cpu, 3, 8, 5);
    tap(pending && busy == HV_INSUFFICIENT_BUFFERS &&
            slot_holds(cpu, 1, 239, 3),
        "the slot is untouched and says that a message waits",
        "flags %u, status 0x%x", msg->flags, busy);
    tap(free_slot_on(cpu) && slot_holds(cpu, 2, 8, 4) &&
            wait_for(*irqs == before + 2, IRQ_TIMEOUT_US),
        "EOM brings the message that waited",
        "type 0x%x, flags %u, %u interrupts", msg->type, msg->flags,
        *irqs - before);
    tap(!free_slot_on(cpu), "no message waits now", "flags %u", msg->flags);
    wait_for((busy = post(cpu, 4, 0, 0)) != HV_INSUFFICIENT_BUFFERS,
             IRQ_TIMEOUT_US);
    tap(busy == HV_SUCCESS && slot_holds(cpu, 4, 0, 0),
        "an empty message is a message", "status 0x%x, type 0x%x", busy,
        msg->type);
    free_slot_on(cpu);
    check_freed_without_eom(cpu);
    testdev(MSG_CONN_DESTROY, cpu, MSG_SINT, MSG_CONN + cpu);
    tap_equal(post(cpu, 1, 8, 0), HV_INVALID_CONNECTION_ID,
              "a connection that is gone is refused");
    hv_set_sint(cpu, MSG_SINT, HV_SINT_MASKED | MSG_VECTOR);
}

/* Every processor posts to the next one, all at the same time. */
#define STORM_MESSAGES 200

static unsigned storm_taken[MAX_CPUS];
static unsigned storm_wrong;

static void take_storm(struct cpu *cpu, uint8_t vector)
{
    struct hv_message *msg = &hv_vps[cpu->id].messages[MSG_SINT];
    uint32_t count;

    if (msg->type == HV_MSG_NONE) {
        return;
    }
    memcpy(&count, msg->payload, sizeof(count));
    if (count != storm_taken[cpu->id]) {
        storm_wrong++;
    }
    storm_taken[cpu->id]++;
    hv_free_slot(cpu->id, MSG_SINT);
}

static void send_storm(void *arg)
{
    unsigned to = (this_cpu()->id + 1) % cpu_count;
    uint64_t end = time_us() + 40000000;

    for (uint32_t i = 0; i < STORM_MESSAGES && time_us() < end;) {
        uint16_t status = hv_post(MSG_CONN + to, 1, &i, sizeof(i));

        if (status == HV_SUCCESS) {
            i++;
        } else if (status == HV_INSUFFICIENT_BUFFERS) {
            delay_us(50); /* as guests do; the receiver wants to run, too */
        } else {
            storm_wrong++;
            return;
        }
    }
}

static void check_storm(void)
{
    unsigned missing = 0;

    irq_set(MSG_VECTOR, take_storm, true);
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_set_sint(cpu, MSG_SINT, MSG_VECTOR);
        testdev(MSG_CONN_CREATE, cpu, MSG_SINT, MSG_CONN + cpu);
    }
    run_on_others_start(send_storm, NULL);
    send_storm(NULL);
    run_on_others_wait();
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        wait_for(storm_taken[cpu] == STORM_MESSAGES, IRQ_TIMEOUT_US);
        missing += STORM_MESSAGES - storm_taken[cpu];
        testdev(MSG_CONN_DESTROY, cpu, MSG_SINT, MSG_CONN + cpu);
        hv_set_sint(cpu, MSG_SINT, HV_SINT_MASKED | MSG_VECTOR);
    }
    tap(!missing && !storm_wrong,
        "messages of all processors at once arrive once and in order",
        "%u missing, %u wrong", missing, storm_wrong);
}

static bool take_flag(unsigned cpu, unsigned flag)
{
    uint64_t bit = 1ull << (flag % 64);
    uint64_t *word = &hv_vps[cpu].events->flags[EVT_SINT][flag / 64];

    return __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST) & bit;
}

static void check_events(unsigned cpu)
{
    struct hv_signal_event in __attribute__((aligned(8))) = {
        .connection_id = EVT_CONN + cpu,
    };
    volatile uint32_t *irqs = &cpus[cpu].irqs[EVT_VECTOR];
    unsigned flag = EVT_CONN + cpu;
    uint32_t before = *irqs;

    irq_set(EVT_VECTOR, NULL, false);
    hv_set_sint(cpu, EVT_SINT, EVT_VECTOR | HV_SINT_AUTO_EOI);
    testdev(EVT_CONN_CREATE, cpu, EVT_SINT, flag);
    tap_equal(hv_signal(flag), HV_SUCCESS, "an event is signalled");
    tap(wait_for(*irqs == before + 1, IRQ_TIMEOUT_US) && take_flag(cpu, flag),
        "its flag and its interrupt arrive", "%u interrupts", *irqs - before);
    tap_equal(hv_status(hv_hypercall(HV_CALL_SIGNAL_EVENT, (uintptr_t)&in, 0)),
              HV_SUCCESS, "an event is signalled by input in memory");
    tap(wait_for(*irqs == before + 2, IRQ_TIMEOUT_US) && take_flag(cpu, flag),
        "its flag and its interrupt arrive too", "%u interrupts",
        *irqs - before);
    testdev(EVT_CONN_DESTROY, cpu, EVT_SINT, flag);
    tap_equal(hv_signal(flag), HV_INVALID_CONNECTION_ID,
              "an event connection that is gone is refused");
    hv_set_sint(cpu, EVT_SINT, HV_SINT_MASKED | EVT_VECTOR);
}

/* Both are in use: by the specification, and by KVM with QEMU above it. */
static void refused(uint16_t status, uint16_t tlfs, uint16_t kvm,
                    const char *name)
{
    tap(status == tlfs || status == kvm, name, "status 0x%x, not 0x%x", status,
        tlfs);
}

static void check_refusals(void)
{
    static struct hv_post_message in __attribute__((aligned(4096)));
    uint64_t at = (uintptr_t)&in;
    uint64_t post_call = HV_CALL_POST_MESSAGE;

    in.connection_id = MSG_CONN;
    in.message_type = 1;
    testdev(MSG_CONN_CREATE, 0, MSG_SINT, MSG_CONN);
    refused(hv_post(0xffffff, 1, &in, 8), HV_INVALID_CONNECTION_ID,
            HV_INVALID_CONNECTION_ID, "post to a connection that is not there");
    refused(hv_status(hv_hypercall(post_call, at + 4, 0)), HV_INVALID_ALIGNMENT,
            HV_INVALID_ALIGNMENT, "post from an unaligned input");
    in.payload_size = 241;
    refused(hv_status(hv_hypercall(post_call, at, 0)), HV_INVALID_PARAMETER,
            HV_INVALID_INPUT, "post of a payload of 241 bytes");
    in.payload_size = 0xffffffff;
    refused(hv_status(hv_hypercall(post_call, at, 0)), HV_INVALID_PARAMETER,
            HV_INVALID_INPUT, "post of a payload of 4 GiB");
    in.payload_size = 8;
    refused(hv_status(hv_hypercall(post_call | 1ull << 27, at, 0)),
            HV_INVALID_INPUT, HV_INVALID_INPUT, "post with reserved bits");
    refused(hv_status(hv_hypercall(post_call | HV_CALL_REP_COUNT(1), at, 0)),
            HV_INVALID_INPUT, HV_INVALID_INPUT, "post with a repeat count");
    refused(hv_status(hv_hypercall(post_call | HV_CALL_FAST, at, 0)),
            HV_INVALID_INPUT, HV_INVALID_CODE, "post with input in registers");
    refused(hv_status(hv_hypercall(post_call, ~0xfffull, 0)),
            HV_INVALID_ALIGNMENT, HV_INSUFFICIENT_MEMORY,
            "post from beyond all memory");
    refused(hv_signal(0xffffff), HV_INVALID_CONNECTION_ID,
            HV_INVALID_CONNECTION_ID, "signal of what is not there");
    refused(hv_status(hv_hypercall(HV_CALL_SIGNAL_EVENT, at + 1, 0)),
            HV_INVALID_ALIGNMENT, HV_INVALID_ALIGNMENT,
            "signal from an unaligned input");
    refused(hv_status(hv_hypercall(HV_CALL_SIGNAL_EVENT | HV_CALL_FAST,
                                   MSG_CONN | 1ull << 60, 0)),
            HV_INVALID_INPUT, HV_INVALID_INPUT, "signal with reserved bits");
    tap(hv_vps[0].messages[MSG_SINT].type == HV_MSG_NONE,
        "no refused message arrives", "type 0x%x is there",
        hv_vps[0].messages[MSG_SINT].type);
    testdev(MSG_CONN_DESTROY, 0, MSG_SINT, MSG_CONN);
}

/* The pages lie over the guest's own, which come back when they are off. */
static void check_overlays(void)
{
    uint8_t *page = alloc_pages(1);
    bool covered, back;

    memset(page, 0xa5, PAGE_SIZE);
    wrmsr(HV_MSR_SIMP, (uintptr_t)page | HV_ENABLE);
    covered = page[0] == 0 && page[4095] == 0;
    wrmsr(HV_MSR_SIMP, 0);
    back = page[0] == 0xa5 && page[4095] == 0xa5;
    tap(covered && back, "the message page lies over the guest's page",
        "covered %d, came back %d", covered, back);
}

void test_synic(void)
{
    if (!hv_present() || !(cpuid(0x40000003).eax >> 2 & 1)) {
        tap_skip("SynIC", "the machine has no hv-synic");
        return;
    }
    hv_setup();
    check_defaults();
    check_overlays();
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_synic_on(cpu);
    }
    check_sints();
    check_quiet(HV_SINT_MASKED, "a masked SINT is quiet");
    check_quiet(HV_SINT_POLLING, "a polled SINT is quiet");
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        print("# processor %u\n", cpu);
        check_messages(cpu);
        check_events(cpu);
    }
    check_storm();
    check_refusals();
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_synic_off(cpu);
    }
}
