/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the CPUID leaves and MSRs say, against the flags that the command line
 * names: hv=synic,time,... are the hv-* flags given to -cpu.  No hv= means
 * none was given.
 */
#include "hv.h"

#define EAX 0
#define EBX 1
#define EDX 3

/* Where a flag shows in leaf 0x40000003. */
static const struct {
    const char *flag;
    uint8_t reg, bit;
} feature_bits[] = {
    {"runtime", EAX, 0}, {"time", EAX, 1},           {"synic", EAX, 2},
    {"stimer", EAX, 3},  {"vapic", EAX, 4},          {"vpindex", EAX, 6},
    {"reset", EAX, 7},   {"time", EAX, 9},           {"frequencies", EAX, 11},
    {"synic", EBX, 4},   {"synic", EBX, 5},          {"frequencies", EDX, 8},
    {"crash", EDX, 10},  {"stimer-direct", EDX, 19},
};

static bool has(const char *flag)
{
    return option_has("hv", flag);
}

static void check_absent(void)
{
    struct cpuid r = cpuid(0x40000000);
    uint64_t val = 1;

    tap(!hv_present(), "no Hyper-V interface without flags",
        "leaf 0x40000001 is 0x%x", cpuid(0x40000001).eax);
    tap(r.ebx != 0x7263694d, "no Hyper-V vendor without flags",
        "leaf 0x40000000 says Microsoft");
    /* QEMU's TCG lets a guest read an unknown MSR as 0. */
    tap(rdmsr_safe(HV_MSR_GUEST_OS_ID, &val) && !val,
        "without flags the MSRs are unknown ones", "GUEST_OS_ID is 0x%lx", val);
}

static void check_vendor(void)
{
    struct cpuid r = cpuid(0x40000000);

    tap(r.eax >= 0x40000005, "leaves up to 0x40000005 at least",
        "the last one is 0x%x", r.eax);
    tap(r.ebx == 0x7263694d && r.ecx == 0x666f736f && r.edx == 0x76482074,
        "the vendor is Microsoft Hv", "0x%x 0x%x 0x%x", r.ebx, r.ecx, r.edx);
    tap(hv_present(), "the interface is Hv#1", "leaf 0x40000001 is 0x%x",
        cpuid(0x40000001).eax);
    tap(cpuid(1).ecx >> 31, "the hypervisor bit is set", "it is not");
}

static void check_features(void)
{
    struct cpuid r = cpuid(0x40000003);
    const uint32_t regs[] = {r.eax, r.ebx, r.ecx, r.edx};
    unsigned wrong = 0;

    for (unsigned i = 0; i < ARRAY_LEN(feature_bits); i++) {
        bool shown = regs[feature_bits[i].reg] >> feature_bits[i].bit & 1;

        if (shown != has(feature_bits[i].flag)) {
            print("# bit %u of register %u: %d, flag %s: %d\n",
                  feature_bits[i].bit, feature_bits[i].reg, shown,
                  feature_bits[i].flag, has(feature_bits[i].flag));
            wrong++;
        }
    }
    tap(!wrong, "features are shown if and only if their flag is given",
        "%u are not", wrong);
    tap(r.eax >> 5 & 1, "hypercalls are available", "bit 5 of eax is clear");
}

static void read_leaves(void *arg)
{
    struct cpuid *out = arg;

    for (unsigned i = 0; i < 6; i++) {
        out[i] = cpuid(0x40000000 + i);
    }
}

static void check_same_everywhere(void)
{
    static struct cpuid first[6], other[6];
    unsigned wrong = 0;

    read_leaves(first);
    for (unsigned i = 1; i < cpu_count; i++) {
        run_on(i, read_leaves, other);
        wrong += !!memcmp(first, other, sizeof(first));
    }
    tap(!wrong, "all processors show the same leaves", "%u differ", wrong);
}

void test_cpuid(void)
{
    if (!option("hv")) {
        check_absent();
        return;
    }
    check_vendor();
    check_features();
    check_same_everywhere();
}

enum { RW, RO };

/* Writes give back what was read, so they change nothing. */
static const struct {
    uint32_t msr;
    const char *flag;
    uint8_t access;
    const char *name;
} msrs[] = {
    {HV_MSR_VP_INDEX, "vpindex", RO, "VP_INDEX"},
    {HV_MSR_RESET, "reset", RW, "RESET"},
    {HV_MSR_VP_RUNTIME, "runtime", RO, "VP_RUNTIME"},
    {HV_MSR_TIME_REF, "time", RO, "TIME_REF_COUNT"},
    {HV_MSR_REFERENCE_TSC, "time", RW, "REFERENCE_TSC"},
    {HV_MSR_TSC_FREQ, "frequencies", RO, "TSC_FREQUENCY"},
    {HV_MSR_APIC_FREQ, "frequencies", RO, "APIC_FREQUENCY"},
    {HV_MSR_SCONTROL, "synic", RW, "SCONTROL"},
    {HV_MSR_SVERSION, "synic", RO, "SVERSION"},
    {HV_MSR_SIEFP, "synic", RW, "SIEFP"},
    {HV_MSR_SIMP, "synic", RW, "SIMP"},
    {HV_MSR_EOM, "synic", RW, "EOM"},
    {HV_MSR_SINT0, "synic", RW, "SINT0"},
    {HV_MSR_SINT0 + 15, "synic", RW, "SINT15"},
    {HV_MSR_STIMER0_CFG, "stimer", RW, "STIMER0_CONFIG"},
    {HV_MSR_STIMER0_COUNT + 6, "stimer", RW, "STIMER3_COUNT"},
    {HV_MSR_CRASH_P0, "crash", RW, "CRASH_P0"},
};

static void check_access(unsigned i)
{
    uint64_t val = 0;
    bool given = has(msrs[i].flag);
    bool readable = rdmsr_safe(msrs[i].msr, &val);
    bool writable = wrmsr_safe(msrs[i].msr, val);

    tap(readable == given && writable == (given && msrs[i].access == RW),
        msrs[i].name, "readable %d, writable %d, flag %s given %d", readable,
        writable, msrs[i].flag, given);
}

static void check_hypercall_msr(void)
{
    static uint8_t page[PAGE_SIZE] __attribute__((aligned(4096)));
    static const uint8_t zeros[PAGE_SIZE];
    uint64_t val;

    wrmsr(HV_MSR_GUEST_OS_ID, 0);
    wrmsr(HV_MSR_HYPERCALL, (uintptr_t)page | HV_ENABLE);
    tap(!(rdmsr(HV_MSR_HYPERCALL) & HV_ENABLE) &&
            !memcmp(page, zeros, PAGE_SIZE),
        "no hypercall page before GUEST_OS_ID is set", "HYPERCALL is 0x%lx",
        rdmsr(HV_MSR_HYPERCALL));
    wrmsr(HV_MSR_GUEST_OS_ID, 0x8200000012345678ull);
    tap_equal(rdmsr(HV_MSR_GUEST_OS_ID), 0x8200000012345678ull,
              "GUEST_OS_ID is kept");
    wrmsr(HV_MSR_HYPERCALL, (uintptr_t)page | HV_ENABLE);
    tap_equal(rdmsr(HV_MSR_HYPERCALL), (uintptr_t)page | HV_ENABLE,
              "HYPERCALL is kept");
    tap(memcmp(page, zeros, PAGE_SIZE), "the hypercall page has code",
        "it has zeros");
    wrmsr(HV_MSR_GUEST_OS_ID, 0);
    val = rdmsr(HV_MSR_HYPERCALL);
    tap(!(val & HV_ENABLE), "GUEST_OS_ID 0 turns the hypercall page off",
        "HYPERCALL is 0x%lx", val);
    hv_setup();
    tap_equal(hv_status(hv_hypercall(0x7fff, 0, 0)), HV_INVALID_CODE,
              "an unknown hypercall is refused");
}

static void check_vp_index(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        wrong += hv_rdmsr_on(i, HV_MSR_VP_INDEX) != i;
    }
    tap(!wrong, "VP_INDEX counts the processors", "%u are wrong", wrong);
}

void test_msr(void)
{
    uint64_t val;

    if (!option("hv")) {
        tap_skip("MSRs", "no hv= in the command line");
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(msrs); i++) {
        check_access(i);
    }
    tap(!rdmsr_safe(0x400000ff, &val) && !wrmsr_safe(0x400000ff, 0),
        "an MSR that Hyper-V has not faults", "it does not");
    check_hypercall_msr();
    if (has("vpindex")) {
        check_vp_index();
    }
}
