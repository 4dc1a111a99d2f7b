/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

#define APIC_BASE    0xfee00000u
#define APIC_ID      0x20
#define APIC_TPR     0x80
#define APIC_EOI     0xb0
#define APIC_SVR     0xf0
#define APIC_ISR     0x100
#define APIC_ICR_LOW 0x300
#define APIC_ICR_HI  0x310

#define ICR_INIT    0x4500
#define ICR_STARTUP 0x4600

#define SPURIOUS_VECTOR 0xff
#define WAKE_VECTOR     0xf0
#define RING3_DONE      0x81

#define TRAMPOLINE 0x8000
#define STACK_SIZE 0x4000

#define MSR_GS_BASE 0xc0000101

#define FW_CFG_SELECTOR 0x510
#define FW_CFG_DATA     0x511
#define FW_CFG_NB_CPUS  5

#define PM_TIMER_PORT 0x608

struct idt_entry {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct idt_entry) == 16, "IDT entry");

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    uint64_t base;
};

struct __attribute__((packed)) tss {
    uint32_t reserved;
    uint64_t rsp[3];
    uint8_t unused[74];
    uint16_t io_map; /* offset of the map of ports for ring 3 */
};
_Static_assert(sizeof(struct tss) == 104, "TSS");

struct regs {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx,
        rax, vector, error, rip, cs, rflags, rsp, ss;
};

struct cpu cpus[MAX_CPUS];
unsigned cpu_count;

extern uint8_t isr_stubs[], trampoline[], trampoline_end[], stacks[];
extern uint64_t gdt_tss[2];
extern struct table_pointer gdt_pointer;
void enter_ring3(void (*fn)(void), uint64_t stack);
void isr_handler(struct regs *regs);
void ap_main(uint32_t id);

static struct idt_entry idt[256];
static struct {
    irq_fn *fn;
    bool no_eoi;
} irq_table[256];
static struct tss tss;
static uint64_t tsc_per_ms;

static volatile uint32_t *apic_reg(uint32_t reg)
{
    return (volatile uint32_t *)(uintptr_t)(APIC_BASE + reg);
}

void apic_eoi(void)
{
    *apic_reg(APIC_EOI) = 0;
}

bool apic_in_service(uint8_t vector)
{
    return *apic_reg(APIC_ISR + vector / 32 * 16) >> (vector % 32) & 1;
}

void send_ipi(uint32_t id, uint32_t low)
{
    *apic_reg(APIC_ICR_HI) = id << 24;
    *apic_reg(APIC_ICR_LOW) = low;
}

void irq_set(uint8_t vector, irq_fn *fn, bool eoi)
{
    irq_table[vector].fn = fn;
    irq_table[vector].no_eoi = !eoi;
    barrier();
}

static void handle_fault(struct cpu *cpu, struct regs *regs)
{
    uint64_t cr2;

    if (cpu->catching) {
        cpu->catching = false;
        cpu->fault_vector = regs->vector;
        __builtin_longjmp(cpu->catch_buf, 1);
    }
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    bail_out("exception %lu, error 0x%lx, at 0x%lx on processor %u, "
             "cr2 0x%lx, rsp 0x%lx",
             regs->vector, regs->error, regs->rip, cpu->id, cr2, regs->rsp);
}

void isr_handler(struct regs *regs)
{
    struct cpu *cpu = this_cpu();
    uint8_t vector = regs->vector;

    if (vector < 32 || vector == RING3_DONE) {
        handle_fault(cpu, regs);
        return;
    }
    if (irq_table[vector].fn) {
        irq_table[vector].fn(cpu, vector);
    }
    /* Last, for whoever waits for this and then looks at what @fn noted. */
    cpu->irqs[vector]++;
    if (vector != SPURIOUS_VECTOR && !irq_table[vector].no_eoi) {
        apic_eoi();
    }
}

/* Not inlined, so that what it keeps in registers is saved around it. */
__attribute__((noinline)) bool try_call(void (*fn)(void *arg), void *arg)
{
    struct cpu *cpu = this_cpu();

    if (__builtin_setjmp(cpu->catch_buf)) {
        __asm__ volatile("sti");
        return false;
    }
    cpu->catching = true;
    fn(arg);
    this_cpu()->catching = false;
    return true;
}

static void do_ring3(void *fn)
{
    static uint8_t stack[4096] __attribute__((aligned(16)));

    enter_ring3(fn, (uintptr_t)stack + sizeof(stack));
}

uint8_t call_in_ring3(void (*fn)(void))
{
    static uint8_t stack[8192] __attribute__((aligned(16)));

    tss.rsp[0] = (uintptr_t)stack + sizeof(stack);
    try_call(do_ring3, fn);
    return this_cpu()->fault_vector;
}

struct msr_access {
    uint32_t msr;
    uint64_t val;
};

static void do_rdmsr(void *arg)
{
    struct msr_access *a = arg;

    a->val = rdmsr(a->msr);
}

static void do_wrmsr(void *arg)
{
    struct msr_access *a = arg;

    wrmsr(a->msr, a->val);
}

bool rdmsr_safe(uint32_t msr, uint64_t *val)
{
    struct msr_access a = {.msr = msr};

    if (!try_call(do_rdmsr, &a)) {
        return false;
    }
    *val = a.val;
    return true;
}

bool wrmsr_safe(uint32_t msr, uint64_t val)
{
    struct msr_access a = {.msr = msr, .val = val};

    return try_call(do_wrmsr, &a);
}

static void fill_idt(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t addr = (uintptr_t)isr_stubs + i * 16;

        idt[i] = (struct idt_entry){
            .offset_low = addr,
            .selector = 0x10,
            .type = i == RING3_DONE ? 0xee : 0x8e,
            .offset_mid = addr >> 16,
            .offset_high = addr >> 32,
        };
    }
}

static void setup_this_cpu(uint32_t id)
{
    struct table_pointer p = {sizeof(idt) - 1, (uintptr_t)idt};

    cpus[id].self = &cpus[id];
    cpus[id].id = id;
    wrmsr(MSR_GS_BASE, (uintptr_t)&cpus[id]);
    __asm__ volatile("lgdt %0" : : "m"(gdt_pointer));
    __asm__ volatile("lidt %0" : : "m"(p));
    *apic_reg(APIC_TPR) = 0;
    *apic_reg(APIC_SVR) = 0x100 | SPURIOUS_VECTOR;
}

/* The map is there, but beyond the segment unless ring 3 may have ports. */
void ring3_ports(bool open)
{
    tss.io_map = open ? 0 : sizeof(tss);
}

/* Only processor 0 has a task segment: it is the one that goes to ring 3. */
static void setup_tss(void)
{
    uint64_t base = (uintptr_t)&tss;

    ring3_ports(false);
    gdt_tss[0] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
                 (base >> 24 & 0xff) << 56;
    gdt_tss[1] = base >> 32;
    __asm__ volatile("ltr %w0" : : "r"(0x30));
}

/* Sleeps between calls, so that idle processors cost the host nothing. */
void ap_main(uint32_t id)
{
    struct cpu *cpu = &cpus[id];

    setup_this_cpu(id);
    __atomic_store_n(&cpu->online, true, __ATOMIC_SEQ_CST);
    for (;;) {
        __asm__ volatile("cli");
        if (cpu->work) {
            __asm__ volatile("sti");
            cpu->work(cpu->work_arg);
            barrier();
            cpu->work = NULL;
        } else {
            __asm__ volatile("sti; hlt" ::: "memory");
        }
    }
}

void run_on_start(unsigned id, void (*fn)(void *arg), void *arg)
{
    cpus[id].work_arg = arg;
    barrier();
    cpus[id].work = fn;
    barrier();
    send_ipi(id, WAKE_VECTOR);
}

void run_on_wait(unsigned id)
{
    if (!wait_for(!cpus[id].work, 60000000)) {
        bail_out("processor %u did not finish in a minute", id);
    }
}

void run_on_others_start(void (*fn)(void *arg), void *arg)
{
    for (unsigned id = 1; id < cpu_count; id++) {
        run_on_start(id, fn, arg);
    }
}

void run_on_others_wait(void)
{
    for (unsigned id = 1; id < cpu_count; id++) {
        run_on_wait(id);
    }
}

void run_on(unsigned id, void (*fn)(void *arg), void *arg)
{
    if (id == this_cpu()->id) {
        fn(arg);
        return;
    }
    run_on_start(id, fn, arg);
    run_on_wait(id);
}

uint32_t pm_timer(void)
{
    return inl(PM_TIMER_PORT) & PM_TIMER_MASK;
}

/* A clock and the ACPI timer at one moment.  A host that is busy may let this
 * processor wait between the two, but not each time. */
static uint64_t read_both(uint64_t (*read)(void), uint32_t *pm)
{
    uint64_t value;
    uint32_t before;

    for (unsigned i = 0; i < 1000; i++) {
        before = pm_timer();
        value = read();
        *pm = pm_timer();
        if (((*pm - before) & PM_TIMER_MASK) < PM_TIMER_HZ / 1000) {
            break;
        }
    }
    return value;
}

uint64_t ticks_by_pm_timer(uint64_t (*read)(void), uint32_t span,
                           uint32_t *passed)
{
    uint32_t pm, end;
    uint64_t start = read_both(read, &pm), ticks;

    while (((pm_timer() - pm) & PM_TIMER_MASK) < span) {
        cpu_relax();
    }
    ticks = read_both(read, &end) - start;
    *passed = (end - pm) & PM_TIMER_MASK;
    return ticks;
}

static void calibrate(void)
{
    uint32_t passed;
    uint64_t ticks = ticks_by_pm_timer(rdtsc, PM_TIMER_HZ / 20, &passed);

    tsc_per_ms = ticks * (PM_TIMER_HZ / 1000) / passed;
}

uint64_t time_us(void)
{
    uint64_t t = rdtsc();

    return t / tsc_per_ms * 1000 + t % tsc_per_ms * 1000 / tsc_per_ms;
}

void delay_us(uint64_t us)
{
    uint64_t end = time_us() + us;

    while (time_us() < end) {
        cpu_relax();
    }
}

static void start_aps(void)
{
    memcpy((void *)(uintptr_t)TRAMPOLINE, trampoline,
           trampoline_end - trampoline);
    for (unsigned id = 1; id < cpu_count; id++) {
        send_ipi(id, ICR_INIT);
        delay_us(1000);
        send_ipi(id, ICR_STARTUP | TRAMPOLINE >> 12);
        delay_us(200);
        send_ipi(id, ICR_STARTUP | TRAMPOLINE >> 12);
        if (!wait_for(cpus[id].online, 5000000)) {
            bail_out("processor %u does not start", id);
        }
    }
}

void cpu_init(void)
{
    outb(0x21, 0xff); /* no interrupts of the old controllers */
    outb(0xa1, 0xff);
    fill_idt();
    setup_this_cpu(0);
    setup_tss();
    calibrate();
    outw(FW_CFG_SELECTOR, FW_CFG_NB_CPUS);
    cpu_count = inb(FW_CFG_DATA);
    if (cpu_count < 1 || cpu_count > MAX_CPUS) {
        bail_out("%u processors; 1 to %u will do", cpu_count, MAX_CPUS);
    }
    start_aps();
    __asm__ volatile("sti");
}
