/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bare-metal guest that tests the Hyper-V interface and VMBus from inside.
 * It is loaded as a multiboot kernel, takes the name of a group of tests from
 * its command line, prints TAP to the first serial port, and ends through
 * isa-debug-exit.
 *
 * No libc: what there is, is here.  All memory below 4 GiB is mapped one to
 * one, so pointers are guest physical addresses.
 */
#ifndef TESTGUEST_H
#define TESTGUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE    4096u
#define MAX_CPUS     8
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Values for isa-debug-exit; QEMU ends with value * 2 + 1. */
#define EXIT_PASSED 0x10
#define EXIT_FAILED 0x11

/* --- lib.c: text, TAP, memory --- */

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strncmp(const char *a, const char *b, size_t n);

/* %s %c %d %u %x with width, zero padding, and l; nothing else. */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * One test point.  @fmt says what was seen, and is shown if @pass is false.
 * Returns @pass.
 */
bool tap(bool pass, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A test point for a two-number comparison. */
bool tap_equal(uint64_t got, uint64_t want, const char *name);
void tap_skip(const char *name, const char *why);
/* Prints the plan and ends the machine. */
void tap_end(void) __attribute__((noreturn));
/* Something went wrong that leaves no way to go on. */
void bail_out(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* Zeroed pages, one after the other; never given back. */
void *alloc_pages(unsigned count);
/* First address behind RAM below 4 GiB, from the loader. */
extern uint64_t ram_end;

/* Looks for "name" or "name=value" in the command line; the value is cut off
 * at a blank.  Returns NULL if it is not there. */
const char *option(const char *name);
/* Is @word in the list "a,b,c" that option @name has? */
bool option_has(const char *name, const char *word);

/* --- cpu.c: processors, interrupts, time --- */

struct cpu {
    struct cpu *self;
    uint32_t id; /* APIC id, and our index */
    void *volatile work_arg;
    void (*volatile work)(void *arg);
    bool online;
    bool catching;
    uint8_t fault_vector;
    void *catch_buf[5];
    volatile uint32_t irqs[256]; /* how often each vector came */
};

extern struct cpu cpus[MAX_CPUS];
extern unsigned cpu_count;

static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;

    __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

typedef void irq_fn(struct cpu *cpu, uint8_t vector);
/* @fn runs on each interrupt of @vector; @eoi: our end of interrupt follows. */
void irq_set(uint8_t vector, irq_fn *fn, bool eoi);
/* True if the local APIC of this processor has @vector in service. */
bool apic_in_service(uint8_t vector);
void apic_eoi(void);
/* @low is the lower half of the APIC's command; a vector alone interrupts. */
void send_ipi(uint32_t id, uint32_t low);

void cpu_init(void);
/* Runs @fn on processor @id and waits; on the caller's own directly. */
void run_on(unsigned id, void (*fn)(void *arg), void *arg);
void run_on_start(unsigned id, void (*fn)(void *arg), void *arg);
void run_on_wait(unsigned id);
/* The same for all processors but 0, which is the caller. */
void run_on_others_start(void (*fn)(void *arg), void *arg);
void run_on_others_wait(void);
/* Runs @fn; false if it ended in an exception, whose vector is then in
 * this_cpu()->fault_vector. */
bool try_call(void (*fn)(void *arg), void *arg);
/* Calls @fn in ring 3 (processor 0 only); returns the exception's vector. */
uint8_t call_in_ring3(void (*fn)(void));
/* May ring 3 use ports (0 to 0x33f)?  At first it may not. */
void ring3_ports(bool open);

uint64_t time_us(void);
void delay_us(uint64_t us);
/* The ACPI timer, 24 bits at 3579545 Hz: a clock that is not Hyper-V's. */
uint32_t pm_timer(void);
#define PM_TIMER_HZ   3579545u
#define PM_TIMER_MASK 0xffffff
/* How far a clock goes while the ACPI timer makes @span ticks or more; it makes
 * *@passed. */
uint64_t ticks_by_pm_timer(uint64_t (*read)(void), uint32_t span,
                           uint32_t *passed);

/* Waits until @cond is true, at most @us microseconds; gives @cond's value. */
#define wait_for(cond, us)                                                     \
    ({                                                                         \
        uint64_t deadline_ = time_us() + (us);                                 \
        bool ok_;                                                              \
        while (!(ok_ = !!(cond)) && time_us() < deadline_) {                   \
            cpu_relax();                                                       \
        }                                                                      \
        ok_;                                                                   \
    })

static inline void cpu_relax(void)
{
    __asm__ volatile("pause" ::: "memory");
}

static inline void barrier(void)
{
    __asm__ volatile("mfence" ::: "memory");
}

static inline void outb(uint16_t port, uint8_t val)
{
    __asm__ volatile("outb %0, %1" : : "a"(val), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t val)
{
    __asm__ volatile("outw %0, %1" : : "a"(val), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t val)
{
    __asm__ volatile("outl %0, %1" : : "a"(val), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t val;

    __asm__ volatile("inb %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t val;

    __asm__ volatile("inl %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t val)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32))
                     : "memory");
}

/* False: the access raised an exception. */
bool rdmsr_safe(uint32_t msr, uint64_t *val);
bool wrmsr_safe(uint32_t msr, uint64_t val);

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(0));
    return r;
}

/* --- the groups of tests --- */

void test_cpuid(void);
void test_msr(void);
void test_clock(void);
void test_synic(void);
void test_stimer(void);
void test_vmbus(void);
void test_hostile(void);
void test_echo(void);
void test_shutdown(void);
void test_storage(void);
void test_gif(void);

#endif
