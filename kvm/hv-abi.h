/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers and layouts of the Hyper-V interface of a virtual processor, from
 * the Hypervisor Top Level Functional Specification (TLFS) 6.0b.
 *
 * The prefixes (HVMSR_, HVLEAF_, HVB_, HVCALL_, HVST_, HVMSG_) and the struct
 * names differ from those of QEMU's and Linux's headers, so that this file
 * can stand beside either.  Everything is little-endian on the wire; so must
 * be the host.
 */
#ifndef KVM_HV_ABI_H
#define KVM_HV_ABI_H

#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "pages shared with the guest are little-endian");

#define HV_ABI_PAGE_SIZE  4096u
#define HV_ABI_PAGE_MASK  (~(uint64_t)0xfff)
#define HV_ABI_SINT_COUNT 16
#define HV_ABI_STIMERS    4
#define HV_ABI_FLAGS      2048 /* event flags of one SINT */
#define HV_ABI_PAYLOAD    240  /* bytes of a message */
/* Vectors below belong to exceptions; an APIC refuses them. */
#define HV_ABI_FIRST_VECTOR 16

/* CPUID leaves (TLFS 2.4) */
#define HVLEAF_VENDOR      0x40000000u
#define HVLEAF_INTERFACE   0x40000001u
#define HVLEAF_VERSION     0x40000002u
#define HVLEAF_FEATURES    0x40000003u
#define HVLEAF_ENLIGHTENED 0x40000004u
#define HVLEAF_LIMITS      0x40000005u
#define HVLEAF_HARDWARE    0x40000006u
#define HVLEAF_NESTED      0x4000000au
#define HVLEAF_LAST        0x400000ffu

/* HVLEAF_FEATURES, EAX: what the partition may touch */
#define HVB_VP_RUNTIME       (1u << 0)
#define HVB_TIME_REF_COUNT   (1u << 1)
#define HVB_SYNIC            (1u << 2)
#define HVB_STIMER           (1u << 3)
#define HVB_APIC_ACCESS      (1u << 4)
#define HVB_HYPERCALL        (1u << 5)
#define HVB_VP_INDEX         (1u << 6)
#define HVB_RESET            (1u << 7)
#define HVB_REFERENCE_TSC    (1u << 9)
#define HVB_FREQUENCY_ACCESS (1u << 11)
#define HVB_REENLIGHTENMENT  (1u << 13)
/* HVLEAF_FEATURES, EBX */
#define HVB_POST_MESSAGES (1u << 4)
#define HVB_SIGNAL_EVENTS (1u << 5)
/* HVLEAF_FEATURES, EDX */
#define HVB_DYNAMIC_VPS      (1u << 3)
#define HVB_XMM_INPUT        (1u << 4)
#define HVB_FREQUENCY_MSRS   (1u << 8)
#define HVB_CRASH_MSRS       (1u << 10)
#define HVB_SYNDBG           (1u << 11)
#define HVB_EXT_FLUSH_RANGES (1u << 14)
#define HVB_STIMER_DIRECT    (1u << 19)
/* HVLEAF_ENLIGHTENED, EAX: what the hypervisor recommends */
#define HVB_USE_TLB_FLUSH   (1u << 2)
#define HVB_USE_APIC_MSRS   (1u << 3)
#define HVB_RELAXED_TIMING  (1u << 5)
#define HVB_NO_AUTO_EOI     (1u << 9)
#define HVB_USE_CLUSTER_IPI (1u << 10)
#define HVB_USE_EX_MASKS    (1u << 11)
#define HVB_USE_EVMCS       (1u << 14)
#define HVB_NO_CORE_SHARING (1u << 18)
/* HVLEAF_NESTED, EAX */
#define HVB_NESTED_FLUSH      (1u << 17)
#define HVB_NESTED_MSR_BITMAP (1u << 19)

/* Model-specific registers */
#define HVMSR_FIRST           0x40000000u
#define HVMSR_LAST            0x400001ffu
#define HVMSR_GUEST_OS_ID     0x40000000u
#define HVMSR_HYPERCALL       0x40000001u
#define HVMSR_VP_INDEX        0x40000002u
#define HVMSR_RESET           0x40000003u
#define HVMSR_VP_RUNTIME      0x40000010u
#define HVMSR_TIME_REF_COUNT  0x40000020u
#define HVMSR_REFERENCE_TSC   0x40000021u
#define HVMSR_TSC_FREQUENCY   0x40000022u
#define HVMSR_APIC_FREQUENCY  0x40000023u
#define HVMSR_EOI             0x40000070u
#define HVMSR_ICR             0x40000071u
#define HVMSR_TPR             0x40000072u
#define HVMSR_ASSIST_PAGE     0x40000073u
#define HVMSR_SCONTROL        0x40000080u
#define HVMSR_SVERSION        0x40000081u
#define HVMSR_SIEFP           0x40000082u
#define HVMSR_SIMP            0x40000083u
#define HVMSR_EOM             0x40000084u
#define HVMSR_SINT0           0x40000090u
#define HVMSR_SINT15          0x4000009fu
#define HVMSR_STIMER0_CONFIG  0x400000b0u /* then its count, next timer */
#define HVMSR_STIMER3_COUNT   0x400000b7u
#define HVMSR_CRASH_P0        0x40000100u
#define HVMSR_CRASH_P4        0x40000104u
#define HVMSR_CRASH_CTL       0x40000105u
#define HVMSR_REENLIGHTENMENT 0x40000106u
#define HVMSR_TSC_EMU_CONTROL 0x40000107u
#define HVMSR_TSC_EMU_STATUS  0x40000108u

/* Bit 0 of HYPERCALL, REFERENCE_TSC, ASSIST_PAGE, SIMP, SIEFP, SCONTROL */
#define HVMSR_ENABLE           1ull
#define HVMSR_HYPERCALL_LOCKED 2ull
#define HVMSR_CRASH_NOTIFY     (1ull << 63)
#define HV_ABI_CRASH_PARAMS    5
#define HV_ABI_SYNIC_VERSION   1

/* SINTx (TLFS 11.8.4) */
#define HVB_SINT_VECTOR   0xffull
#define HVB_SINT_MASKED   (1ull << 16)
#define HVB_SINT_AUTO_EOI (1ull << 17)
#define HVB_SINT_POLLING  (1ull << 18)

/* STIMERx_CONFIG (TLFS 12.5) */
#define HVB_STIMER_ENABLE         (1ull << 0)
#define HVB_STIMER_PERIODIC       (1ull << 1)
#define HVB_STIMER_LAZY           (1ull << 2)
#define HVB_STIMER_AUTO_ENABLE    (1ull << 3)
#define HVB_STIMER_DIRECT_MODE    (1ull << 12)
#define HVB_STIMER_VECTOR(config) ((uint8_t)((config) >> 4))
#define HVB_STIMER_SINT(config)   ((unsigned)((config) >> 16) & 0xf)

/* Hypercall codes */
#define HVCALL_FLUSH_SPACE    0x0002
#define HVCALL_FLUSH_LIST     0x0003
#define HVCALL_LONG_SPIN_WAIT 0x0008
#define HVCALL_CLUSTER_IPI    0x000b
#define HVCALL_FLUSH_SPACE_EX 0x0013
#define HVCALL_FLUSH_LIST_EX  0x0014
#define HVCALL_CLUSTER_IPI_EX 0x0015
#define HVCALL_MESSAGE_POST   0x005c
#define HVCALL_EVENT_SIGNAL   0x005d

/* Hypercall input value (TLFS 3.7) */
#define HVCALL_FAST            (1ull << 16)
#define HVCALL_VAR_SHIFT       17 /* 10 bits, in units of 8 bytes */
#define HVCALL_VAR_MASK        0x3ffu
#define HVCALL_REPS_SHIFT      32 /* 12 bits; also where reps done stand */
#define HVCALL_REP_START_SHIFT 48 /* 12 bits */
#define HVCALL_REP_MASK        0xfffu
#define HVCALL_RESERVED        ((0x1full << 27) | (0xfull << 44) | (0xfull << 60))

/* Hypercall status */
#define HVST_SUCCESS               0
#define HVST_INVALID_CODE          2
#define HVST_INVALID_INPUT         3
#define HVST_INVALID_ALIGNMENT     4
#define HVST_INVALID_PARAMETER     5
#define HVST_ACCESS_DENIED         6
#define HVST_INVALID_PORT_ID       17
#define HVST_INVALID_CONNECTION_ID 18
#define HVST_INSUFFICIENT_BUFFERS  19

/* HvFlushFlags */
#define HVB_FLUSH_ALL_VPS    (1ull << 0)
#define HVB_FLUSH_ALL_SPACES (1ull << 1)
#define HVB_FLUSH_NON_GLOBAL (1ull << 2)
#define HVB_FLUSH_EXT_RANGES (1ull << 3)

/* HV_VP_SET.Format */
#define HV_ABI_SET_SPARSE_4K 0
#define HV_ABI_SET_ALL       1
#define HV_ABI_SET_BANKS     64 /* of 64 VPs each */

/* Message types */
#define HVMSG_NONE_TYPE          0u
#define HVMSG_TIMER_EXPIRED_TYPE 0x80000010u
/* Set in a type by the hypervisor only, never by a guest */
#define HVMSG_HYPERVISOR   0x80000000u
#define HVMSG_FLAG_PENDING 1u

/* Connection ids have 24 bits */
#define HV_ABI_CONNECTION_MASK 0x00ffffffu

typedef struct HvMessage {
    uint32_t type;
    uint8_t payload_size;
    uint8_t flags;
    uint8_t reserved[2];
    uint64_t sender; /* port, or 0 */
    uint8_t payload[HV_ABI_PAYLOAD];
} HvMessage;

_Static_assert(sizeof(HvMessage) == 256, "message slot");
_Static_assert(offsetof(HvMessage, flags) == 5, "message flags");
_Static_assert(offsetof(HvMessage, payload) == 16, "message payload");
_Static_assert(sizeof(HvMessage) * HV_ABI_SINT_COUNT == HV_ABI_PAGE_SIZE,
               "message page");
_Static_assert(HV_ABI_FLAGS / 8 * HV_ABI_SINT_COUNT == HV_ABI_PAGE_SIZE,
               "event page");

typedef struct HvTimerPayload {
    uint32_t timer_index;
    uint32_t reserved;
    uint64_t expiration; /* reference time, 100 ns */
    uint64_t delivery;
} HvTimerPayload;

_Static_assert(sizeof(HvTimerPayload) == 24, "timer message payload");

typedef struct HvTscPage {
    uint32_t sequence; /* 0: not usable now, read the counter MSR */
    uint32_t reserved;
    uint64_t scale;
    int64_t offset;
} HvTscPage;

_Static_assert(sizeof(HvTscPage) == 24, "head of the reference TSC page");

typedef struct HvPostMessageInput {
    uint32_t connection_id;
    uint32_t reserved;
    uint32_t type;
    uint32_t payload_size;
    uint8_t payload[HV_ABI_PAYLOAD];
} HvPostMessageInput;

_Static_assert(sizeof(HvPostMessageInput) == 256, "post message input");

typedef struct HvSignalEventInput {
    uint32_t connection_id;
    uint16_t flag;
    uint16_t reserved;
} HvSignalEventInput;

_Static_assert(sizeof(HvSignalEventInput) == 8, "signal event input");

/* Head of FLUSH_SPACE and FLUSH_LIST */
typedef struct HvFlushInput {
    uint64_t address_space;
    uint64_t flags;
    uint64_t processor_mask;
} HvFlushInput;

_Static_assert(sizeof(HvFlushInput) == 24, "flush input");

/* Head of FLUSH_SPACE_EX and FLUSH_LIST_EX; the set's banks follow */
typedef struct HvFlushExInput {
    uint64_t address_space;
    uint64_t flags;
    uint64_t set_format;
    uint64_t set_banks;
} HvFlushExInput;

_Static_assert(sizeof(HvFlushExInput) == 32, "extended flush input");

typedef struct HvIpiInput {
    uint32_t vector;
    uint8_t target_vtl;
    uint8_t reserved[3];
    uint64_t processor_mask;
} HvIpiInput;

_Static_assert(sizeof(HvIpiInput) == 16, "IPI input");

/* The set's banks follow */
typedef struct HvIpiExInput {
    uint32_t vector;
    uint8_t target_vtl;
    uint8_t reserved[3];
    uint64_t set_format;
    uint64_t set_banks;
} HvIpiExInput;

_Static_assert(sizeof(HvIpiExInput) == 24, "extended IPI input");

#endif
