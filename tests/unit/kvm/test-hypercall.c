/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "fake-machine.h"

#define BIT(f)   HV_FEATURE_BIT(HV_FEATURE_##f)
#define REPS(n)  ((uint64_t)(n) << HVCALL_REPS_SHIFT)
#define START(n) ((uint64_t)(n) << HVCALL_REP_START_SHIFT)
#define VAR(n)   ((uint64_t)(n) << HVCALL_VAR_SHIFT)

static Fake *fake;

static void setup(uint64_t features)
{
    fake = fake_new(features);
    fake->partition.config.spinlocks = 0xfff;
    fake_wrmsr(fake, HVMSR_GUEST_OS_ID, 1);
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0xf001);
}

static HvHypercallRegs regs_of(uint64_t control, uint64_t a, uint64_t b)
{
    return (HvHypercallRegs){.long_mode = true,
                             .protected_mode = true,
                             .rcx = control,
                             .rdx = a,
                             .r8 = b,
                             .rax = 0x1122334455667788};
}

/* The whole result of a 64-bit call. */
static uint64_t call(uint64_t control, uint64_t a, uint64_t b)
{
    HvHypercallRegs regs = regs_of(control, a, b), before = regs;

    g_assert_true(hv_hypercall(&fake->vps[0], &regs));
    before.rax = regs.rax;
    /* Nothing else changes. */
    g_assert_cmpmem(&regs, sizeof(regs), &before, sizeof(before));
    return regs.rax;
}

static void put(uint64_t gpa, const void *data, size_t len)
{
    memcpy(fake->memory + gpa, data, len);
}

static void test_not_allowed(void)
{
    HvHypercallRegs regs, before;

    setup(FAKE_ALL_FEATURES);
    regs = regs_of(HVCALL_EVENT_SIGNAL | HVCALL_FAST, 5, 0);
    regs.cpl = 3;
    before = regs;
    g_assert_false(hv_hypercall(&fake->vps[0], &regs));
    regs.cpl = 0;
    regs.protected_mode = false;
    g_assert_false(hv_hypercall(&fake->vps[0], &regs));
    regs.protected_mode = true;
    fake_wrmsr(fake, HVMSR_HYPERCALL, 0xf000);
    g_assert_false(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmphex(regs.rax, ==, before.rax);
    g_assert_cmpuint(fake->hypercall_signals, ==, 0);
    fake_free(fake);
}

static void test_unknown_code(void)
{
    static const uint16_t known[] = {0x02, 0x03, 0x08, 0x0b, 0x13,
                                     0x14, 0x15, 0x5c, 0x5d};
    uint32_t code;
    size_t i;

    setup(FAKE_ALL_FEATURES);
    for (code = 0; code <= 0xffff; code++) {
        for (i = 0; i < G_N_ELEMENTS(known) && known[i] != code; i++) {
        }
        if (i == G_N_ELEMENTS(known)) {
            g_assert_cmphex(call(code, 0, 0), ==, HVST_INVALID_CODE);
        }
    }
    fake_free(fake);
}

static void test_access(void)
{
    static const uint64_t calls[] = {
        HVCALL_EVENT_SIGNAL | HVCALL_FAST,
        HVCALL_MESSAGE_POST,
        HVCALL_CLUSTER_IPI | HVCALL_FAST,
        HVCALL_CLUSTER_IPI_EX,
        HVCALL_FLUSH_SPACE,
        HVCALL_FLUSH_LIST | REPS(1),
        HVCALL_FLUSH_SPACE_EX,
        HVCALL_FLUSH_LIST_EX | REPS(1),
        HVCALL_LONG_SPIN_WAIT | HVCALL_FAST,
    };
    size_t i;

    setup(BIT(RELAXED));
    fake->partition.config.spinlocks = HV_SPINLOCKS_NEVER;
    for (i = 0; i < G_N_ELEMENTS(calls); i++) {
        g_assert_cmphex(call(calls[i], 0, 0), ==, HVST_ACCESS_DENIED);
    }
    g_assert_cmpuint(fake->reads, ==, 0);
    fake_free(fake);
}

static void test_control(void)
{
    static const uint64_t bad[] = {
        1ull << 27, 1ull << 31, 1ull << 44, 1ull << 47, 1ull << 60,
        1ull << 63, REPS(1),    START(1),   VAR(1),     VAR(0x3ff),
    };
    size_t i;

    setup(FAKE_ALL_FEATURES);
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_cmphex(call(HVCALL_EVENT_SIGNAL | HVCALL_FAST | bad[i], 5, 0),
                        ==, HVST_INVALID_INPUT);
    }
    /* Rep calls want a count, and a start below it. */
    g_assert_cmphex(call(HVCALL_FLUSH_LIST, 0, 0), ==, HVST_INVALID_INPUT);
    g_assert_cmphex(call(HVCALL_FLUSH_LIST | REPS(2) | START(2), 0, 0), ==,
                    HVST_INVALID_INPUT);
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE | REPS(1), 0, 0), ==,
                    HVST_INVALID_INPUT);
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE_EX | VAR(65), 0, 0), ==,
                    HVST_INVALID_INPUT);
    g_assert_cmpuint(fake->reads, ==, 0);
    fake_free(fake);
}

static void test_input_place(void)
{
    setup(FAKE_ALL_FEATURES);
    /* Not aligned; over the page's end; not RAM; beyond all addresses */
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL, 0x1004, 0), ==,
                    HVST_INVALID_ALIGNMENT);
    g_assert_cmphex(call(HVCALL_MESSAGE_POST, 0x1f08, 0), ==,
                    HVST_INVALID_ALIGNMENT);
    g_assert_cmpuint(fake->reads, ==, 0);
    g_assert_cmphex(call(HVCALL_MESSAGE_POST, FAKE_MEMORY, 0), ==,
                    HVST_INVALID_ALIGNMENT);
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL, UINT64_MAX - 7, 0), ==,
                    HVST_INVALID_ALIGNMENT);
    /* The longest list there can be does not fit a page. */
    g_assert_cmphex(
        call(HVCALL_FLUSH_LIST_EX | REPS(4095) | VAR(64), 0x1000, 0), ==,
        HVST_INVALID_ALIGNMENT);
    g_assert_cmpuint(fake->flushes, ==, 0);
    fake_free(fake);
}

static HvPostMessageInput good_post(void)
{
    HvPostMessageInput in = {
        .connection_id = 1, .type = 1, .payload_size = 240};

    memset(in.payload, 0x77, sizeof(in.payload));
    return in;
}

static void test_post(void)
{
    HvPostMessageInput in = good_post();

    setup(FAKE_ALL_FEATURES);
    put(0x1f00, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_MESSAGE_POST, 0x1f00, 0), ==, 0);
    g_assert_cmpmem(&fake->post_input, sizeof(in), &in, sizeof(in));
    /* The input was read once. */
    g_assert_cmpuint(fake->reads, ==, 1);
    fake->hypercall_status = HVST_INSUFFICIENT_BUFFERS;
    g_assert_cmphex(call(HVCALL_MESSAGE_POST, 0x1f00, 0), ==,
                    HVST_INSUFFICIENT_BUFFERS);
    fake_free(fake);
}

static void assert_post_refused(const HvPostMessageInput *in, uint16_t status)
{
    put(0x1000, in, sizeof(*in));
    g_assert_cmphex(call(HVCALL_MESSAGE_POST, 0x1000, 0), ==, status);
    g_assert_cmpuint(fake->hypercall_posts, ==, 0);
}

static void test_post_refused(void)
{
    HvPostMessageInput in;

    setup(FAKE_ALL_FEATURES);
    in = good_post();
    in.payload_size = 241;
    assert_post_refused(&in, HVST_INVALID_PARAMETER);
    in.payload_size = 0xffffffff;
    assert_post_refused(&in, HVST_INVALID_PARAMETER);
    in = good_post();
    in.type = 0;
    assert_post_refused(&in, HVST_INVALID_PARAMETER);
    in.type = HVMSG_TIMER_EXPIRED_TYPE;
    assert_post_refused(&in, HVST_INVALID_PARAMETER);
    in = good_post();
    in.reserved = 1;
    assert_post_refused(&in, HVST_INVALID_PARAMETER);
    in = good_post();
    in.connection_id = 0xffffffff;
    assert_post_refused(&in, HVST_INVALID_CONNECTION_ID);
    /* 256 bytes do not fit the registers. */
    g_assert_cmphex(call(HVCALL_MESSAGE_POST | HVCALL_FAST, 1, 1), ==,
                    HVST_INVALID_INPUT);
    fake_free(fake);
}

static void test_signal(void)
{
    HvSignalEventInput in = {.connection_id = 0x10003, .flag = 7};
    uint64_t word;

    setup(FAKE_ALL_FEATURES);
    memcpy(&word, &in, sizeof(word));
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL | HVCALL_FAST, word, 0), ==, 0);
    g_assert_cmphex(fake->signal_connection, ==, 0x10003);
    g_assert_cmpuint(fake->signal_flag, ==, 7);
    g_assert_cmpuint(fake->reads, ==, 0);

    in.flag = 9;
    put(0x1ff8, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL, 0x1ff8, 0), ==, 0);
    g_assert_cmpuint(fake->signal_flag, ==, 9);
    g_assert_cmpuint(fake->reads, ==, 1);
    fake->hypercall_status = HVST_INVALID_CONNECTION_ID;
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL | HVCALL_FAST, 4, 0), ==,
                    HVST_INVALID_CONNECTION_ID);
    fake_free(fake);
}

static void test_signal_refused(void)
{
    setup(FAKE_ALL_FEATURES);
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL | HVCALL_FAST, 1ull << 48, 0), ==,
                    HVST_INVALID_INPUT);
    g_assert_cmphex(call(HVCALL_EVENT_SIGNAL | HVCALL_FAST, 0xffffffff, 0), ==,
                    HVST_INVALID_CONNECTION_ID);
    g_assert_cmpuint(fake->hypercall_signals, ==, 0);
    fake_free(fake);
}

/* Registers of a 32-bit caller, and of compatibility mode. */
static void test_32_bit(void)
{
    HvHypercallRegs regs = {
        .protected_mode = true,
        .rax = 0xdead0000ffffffff,
        .rdx = 0xdead000000000000,
        .rbx = 0xdead000000000005,
        .rcx = 0xdead000000010003,
        .rsi = 0,
        .rdi = 0,
    };

    setup(FAKE_ALL_FEATURES);
    regs.rax = 0xdead000000000000 | HVCALL_EVENT_SIGNAL | HVCALL_FAST;
    g_assert_true(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmphex(regs.rax, ==, 0);
    g_assert_cmphex(regs.rdx, ==, 0);
    g_assert_cmphex(fake->signal_connection, ==, 0x10003);
    g_assert_cmpuint(fake->signal_flag, ==, 5);

    /* The high half of the result is in EDX. */
    regs.rax = HVCALL_FLUSH_LIST;
    regs.rdx = 3;
    regs.rbx = 0;
    regs.rcx = 0x1000;
    g_assert_true(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmphex(regs.rax, ==, 0);
    g_assert_cmphex(regs.rdx, ==, 3);
    g_assert_cmpuint(fake->range_count, ==, 3);
    fake_free(fake);
}

static void test_flush_space(void)
{
    HvFlushInput in = {.address_space = 0x1234, .processor_mask = 0x21};

    setup(FAKE_ALL_FEATURES);
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE, 0x1000, 0), ==, 0);
    g_assert_cmpuint(fake->range_count, ==, 0);
    g_assert_false(fake->set.all);
    g_assert_true(hv_vp_set_has(&fake->set, 0));
    g_assert_true(hv_vp_set_has(&fake->set, 5));
    g_assert_false(hv_vp_set_has(&fake->set, 1));
    g_assert_false(hv_vp_set_has(&fake->set, 64));
    g_assert_false(hv_vp_set_has(&fake->set, UINT32_MAX));

    in.flags = HVB_FLUSH_ALL_VPS | HVB_FLUSH_NON_GLOBAL;
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE, 0x1000, 0), ==, 0);
    g_assert_true(fake->set.all);
    in = (HvFlushInput){0};
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE, 0x1000, 0), ==, 0);
    g_assert_true(fake->set.all);
    in.flags = 0x10;
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE, 0x1000, 0), ==,
                    HVST_INVALID_PARAMETER);
    g_assert_cmpuint(fake->flushes, ==, 3);
    fake_free(fake);
}

static void test_flush_list(void)
{
    struct {
        HvFlushInput head;
        uint64_t ranges[3];
    } in = {{.processor_mask = 3}, {0x1000, 0x5003, 0x9fff}};

    setup(FAKE_ALL_FEATURES);
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_LIST | REPS(3), 0x1000, 0), ==, REPS(3));
    g_assert_cmpuint(fake->range_count, ==, 3);
    g_assert_cmpmem(fake->ranges, 24, in.ranges, 24);
    /* What was done already is not done again. */
    g_assert_cmphex(call(HVCALL_FLUSH_LIST | REPS(3) | START(2), 0x1000, 0), ==,
                    REPS(3));
    g_assert_cmpuint(fake->range_count, ==, 1);
    g_assert_cmphex(fake->ranges[0], ==, 0x9fff);
    fake_free(fake);
}

static void test_flush_extended_ranges(void)
{
    struct {
        HvFlushInput head;
        uint64_t range;
    } in = {{.processor_mask = 1, .flags = HVB_FLUSH_EXT_RANGES}, 0x800};

    setup(FAKE_ALL_FEATURES);
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_LIST | REPS(1), 0x1000, 0), ==, REPS(1));
    g_assert_cmpuint(fake->flushes, ==, 1);
    g_assert_cmpuint(fake->range_count, ==, 0);
    fake_free(fake);
    setup(FAKE_ALL_FEATURES & ~BIT(TLBFLUSH_EXT));
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_LIST | REPS(1), 0x1000, 0), ==,
                    HVST_INVALID_PARAMETER);
    fake_free(fake);
}

static void test_flush_ex(void)
{
    struct {
        HvFlushExInput head;
        uint64_t banks[2];
        uint64_t range;
    } in = {{.set_banks = 1 | 1ull << 63}, {2, 1ull << 63}, 0x7000};

    setup(FAKE_ALL_FEATURES);
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_LIST_EX | VAR(2) | REPS(1), 0x1000, 0),
                    ==, REPS(1));
    g_assert_false(fake->set.all);
    g_assert_true(hv_vp_set_has(&fake->set, 1));
    g_assert_true(hv_vp_set_has(&fake->set, 4095));
    g_assert_false(hv_vp_set_has(&fake->set, 0));
    g_assert_false(hv_vp_set_has(&fake->set, 65));
    g_assert_cmphex(fake->ranges[0], ==, 0x7000);

    in.head.set_format = HV_ABI_SET_ALL;
    in.head.set_banks = 0;
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE_EX, 0x1000, 0), ==, 0);
    g_assert_true(fake->set.all);
    fake_free(fake);
}

static void test_set_refused(void)
{
    HvFlushExInput in = {.set_banks = 7};

    setup(FAKE_ALL_FEATURES);
    put(0x1000, &in, sizeof(in));
    /* Fewer or more banks than announced */
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE_EX | VAR(2), 0x1000, 0), ==,
                    HVST_INVALID_INPUT);
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE_EX | VAR(4), 0x1000, 0), ==,
                    HVST_INVALID_INPUT);
    in.set_format = 2;
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_FLUSH_SPACE_EX | VAR(3), 0x1000, 0), ==,
                    HVST_INVALID_PARAMETER);
    g_assert_cmpuint(fake->flushes, ==, 0);
    fake_free(fake);
}

static void test_ipi(void)
{
    HvIpiInput in = {.vector = 0xfb, .processor_mask = 6};

    setup(FAKE_ALL_FEATURES);
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI | HVCALL_FAST, 0xec, 5), ==, 0);
    g_assert_cmphex(fake->ipi_vector, ==, 0xec);
    g_assert_cmphex(fake->set.banks[0], ==, 5);
    g_assert_false(fake->set.all);
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI, 0x1000, 0), ==, 0);
    g_assert_cmphex(fake->ipi_vector, ==, 0xfb);
    g_assert_cmphex(fake->set.banks[0], ==, 6);
    /* An empty mask is nobody here. */
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI | HVCALL_FAST, 0xec, 0), ==, 0);
    g_assert_false(fake->set.all);
    fake_free(fake);
}

static void test_ipi_ex(void)
{
    struct {
        HvIpiExInput head;
        uint64_t bank;
    } in = {{.vector = 0x20, .set_banks = 2}, 1};

    setup(FAKE_ALL_FEATURES);
    put(0x1000, &in, sizeof(in));
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI_EX | VAR(1), 0x1000, 0), ==, 0);
    g_assert_true(hv_vp_set_has(&fake->set, 64));
    g_assert_false(hv_vp_set_has(&fake->set, 0));
    fake_free(fake);
}

static void test_ipi_refused(void)
{
    static const uint64_t words[] = {1ull << 32, 1ull << 40, 1ull << 56};
    size_t i;

    setup(FAKE_ALL_FEATURES);
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI | HVCALL_FAST, 0x0f, 1), ==,
                    HVST_INVALID_PARAMETER);
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI | HVCALL_FAST, 0x100, 1), ==,
                    HVST_INVALID_PARAMETER);
    g_assert_cmphex(call(HVCALL_CLUSTER_IPI | HVCALL_FAST, 0xffffffff, 1), ==,
                    HVST_INVALID_PARAMETER);
    /* Another trust level, and reserved bytes */
    for (i = 0; i < G_N_ELEMENTS(words); i++) {
        g_assert_cmphex(
            call(HVCALL_CLUSTER_IPI | HVCALL_FAST, words[i] | 0x20, 1), ==,
            HVST_INVALID_INPUT);
    }
    g_assert_cmpuint(fake->ipis, ==, 0);
    fake_free(fake);
}

static void test_xmm(void)
{
    HvHypercallRegs regs =
        regs_of(HVCALL_FLUSH_LIST | HVCALL_FAST | REPS(2), 0, 0);
    HvHypercallRegs ex =
        regs_of(HVCALL_CLUSTER_IPI_EX | HVCALL_FAST | VAR(1), 0x30, 0);

    setup(FAKE_ALL_FEATURES);
    regs.xmm[0] = 3;
    regs.xmm[1] = 0x4000;
    regs.xmm[2] = 0x6000;
    g_assert_true(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmphex(regs.rax, ==, REPS(2));
    g_assert_cmphex(fake->set.banks[0], ==, 3);
    g_assert_cmphex(fake->ranges[0], ==, 0x4000);
    g_assert_cmphex(fake->ranges[1], ==, 0x6000);
    ex.xmm[0] = 1;
    ex.xmm[1] = 0xf0;
    g_assert_true(hv_hypercall(&fake->vps[0], &ex));
    g_assert_cmphex(ex.rax, ==, 0);
    g_assert_cmphex(fake->set.banks[0], ==, 0xf0);
    g_assert_cmphex(fake->ipi_vector, ==, 0x30);
    g_assert_cmpuint(fake->reads, ==, 0);
    /* 112 bytes are all there is: 24 and eleven ranges. */
    regs.rcx = HVCALL_FLUSH_LIST | HVCALL_FAST | REPS(11);
    g_assert_true(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmphex(regs.rax, ==, REPS(11));
    regs.rcx = HVCALL_FLUSH_LIST | HVCALL_FAST | REPS(12);
    g_assert_true(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmphex(regs.rax, ==, HVST_INVALID_INPUT);
    fake_free(fake);

    setup(FAKE_ALL_FEATURES & ~BIT(XMM_INPUT));
    regs.rcx = HVCALL_FLUSH_LIST | HVCALL_FAST | REPS(2);
    g_assert_false(hv_hypercall(&fake->vps[0], &regs));
    g_assert_cmpuint(fake->flushes, ==, 0);
    fake_free(fake);
}

static void test_spin_wait(void)
{
    setup(FAKE_ALL_FEATURES);
    g_assert_cmphex(call(HVCALL_LONG_SPIN_WAIT | HVCALL_FAST, 0, 0), ==, 0);
    g_assert_cmpuint(fake->spin_waits, ==, 1);
    fake->partition.config.spinlocks = 0;
    g_assert_cmphex(call(HVCALL_LONG_SPIN_WAIT | HVCALL_FAST, 0, 0), ==,
                    HVST_ACCESS_DENIED);
    fake_free(fake);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hypercall/not-allowed", test_not_allowed);
    g_test_add_func("/hypercall/unknown-code", test_unknown_code);
    g_test_add_func("/hypercall/access", test_access);
    g_test_add_func("/hypercall/control", test_control);
    g_test_add_func("/hypercall/input-place", test_input_place);
    g_test_add_func("/hypercall/post", test_post);
    g_test_add_func("/hypercall/post-refused", test_post_refused);
    g_test_add_func("/hypercall/signal", test_signal);
    g_test_add_func("/hypercall/signal-refused", test_signal_refused);
    g_test_add_func("/hypercall/32-bit", test_32_bit);
    g_test_add_func("/hypercall/flush-space", test_flush_space);
    g_test_add_func("/hypercall/flush-list", test_flush_list);
    g_test_add_func("/hypercall/flush-extended-ranges",
                    test_flush_extended_ranges);
    g_test_add_func("/hypercall/flush-ex", test_flush_ex);
    g_test_add_func("/hypercall/set-refused", test_set_refused);
    g_test_add_func("/hypercall/ipi", test_ipi);
    g_test_add_func("/hypercall/ipi-ex", test_ipi_ex);
    g_test_add_func("/hypercall/ipi-refused", test_ipi_refused);
    g_test_add_func("/hypercall/xmm", test_xmm);
    g_test_add_func("/hypercall/spin-wait", test_spin_wait);
    return g_test_run();
}
