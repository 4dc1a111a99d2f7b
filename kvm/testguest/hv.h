/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Hyper-V interface as the specification (TLFS 6.0b) gives it to guests.
 *
 * The numbers stand here a second time on purpose: this guest would not
 * notice a wrong one in kvm/hv-abi.h if it took them from there.
 */
#ifndef TESTGUEST_HV_H
#define TESTGUEST_HV_H

#include "guest.h"

#define HV_MSR_GUEST_OS_ID   0x40000000
#define HV_MSR_HYPERCALL     0x40000001
#define HV_MSR_VP_INDEX      0x40000002
#define HV_MSR_RESET         0x40000003
#define HV_MSR_VP_RUNTIME    0x40000010
#define HV_MSR_TIME_REF      0x40000020
#define HV_MSR_REFERENCE_TSC 0x40000021
#define HV_MSR_TSC_FREQ      0x40000022
#define HV_MSR_APIC_FREQ     0x40000023
#define HV_MSR_SCONTROL      0x40000080
#define HV_MSR_SVERSION      0x40000081
#define HV_MSR_SIEFP         0x40000082
#define HV_MSR_SIMP          0x40000083
#define HV_MSR_EOM           0x40000084
#define HV_MSR_SINT0         0x40000090
#define HV_MSR_STIMER0_CFG   0x400000b0
#define HV_MSR_STIMER0_COUNT 0x400000b1
#define HV_MSR_CRASH_P0      0x40000100
#define HV_MSR_CRASH_CTL     0x40000105

#define HV_SINTS  16
#define HV_TIMERS 4

#define HV_ENABLE 1ull /* bit 0 of HYPERCALL, SIMP, SIEFP, SCONTROL ... */

#define HV_SINT_MASKED   (1ull << 16)
#define HV_SINT_AUTO_EOI (1ull << 17)
#define HV_SINT_POLLING  (1ull << 18)

#define HV_STIMER_ENABLE      (1ull << 0)
#define HV_STIMER_PERIODIC    (1ull << 1)
#define HV_STIMER_LAZY        (1ull << 2)
#define HV_STIMER_AUTO_ENABLE (1ull << 3)
#define HV_STIMER_VECTOR(v)   ((uint64_t)(v) << 4)
#define HV_STIMER_DIRECT      (1ull << 12)
#define HV_STIMER_SINT(s)     ((uint64_t)(s) << 16)

#define HV_CALL_POST_MESSAGE 0x5c
#define HV_CALL_SIGNAL_EVENT 0x5d
#define HV_CALL_FAST         (1ull << 16)
#define HV_CALL_REP_COUNT(n) ((uint64_t)(n) << 32)

#define HV_SUCCESS               0
#define HV_INVALID_CODE          2
#define HV_INVALID_INPUT         3
#define HV_INVALID_ALIGNMENT     4
#define HV_INVALID_PARAMETER     5
#define HV_ACCESS_DENIED         6
#define HV_INSUFFICIENT_MEMORY   0x0b
#define HV_INVALID_PORT_ID       0x11
#define HV_INVALID_CONNECTION_ID 0x12
#define HV_INSUFFICIENT_BUFFERS  0x13

#define HV_MSG_NONE          0
#define HV_MSG_VMBUS         1
#define HV_MSG_TIMER_EXPIRED 0x80000010u

#define HV_MSG_PENDING     1 /* in hv_message.flags */
#define HV_MSG_PAYLOAD_MAX 240

struct hv_message {
    volatile uint32_t type;
    uint8_t payload_size;
    volatile uint8_t flags;
    uint16_t reserved;
    uint64_t origin;
    uint8_t payload[HV_MSG_PAYLOAD_MAX];
};
_Static_assert(sizeof(struct hv_message) == 256, "message");

struct hv_timer_payload {
    uint32_t index;
    uint32_t reserved;
    uint64_t expiration;
    uint64_t delivery;
};
_Static_assert(sizeof(struct hv_timer_payload) == 24, "timer payload");

struct hv_post_message {
    uint32_t connection_id;
    uint32_t reserved;
    uint32_t message_type;
    volatile uint32_t payload_size;
    uint8_t payload[HV_MSG_PAYLOAD_MAX];
};
_Static_assert(sizeof(struct hv_post_message) == 256, "POST_MESSAGE input");

struct hv_signal_event {
    uint32_t connection_id;
    uint16_t flag;
    uint16_t reserved;
};
_Static_assert(sizeof(struct hv_signal_event) == 8, "SIGNAL_EVENT input");

/* 2048 flags for each of 16 SINTs. */
struct hv_event_page {
    uint64_t flags[HV_SINTS][32];
};
_Static_assert(sizeof(struct hv_event_page) == PAGE_SIZE, "event page");

struct hv_tsc_page {
    volatile uint32_t sequence;
    uint32_t reserved;
    volatile uint64_t scale;
    volatile int64_t offset;
};

/* The synthetic interrupt controller of one virtual processor. */
struct hv_vp {
    struct hv_message *messages; /* HV_SINTS of them */
    struct hv_event_page *events;
};

extern struct hv_vp hv_vps[MAX_CPUS];

/* Is there a Hyper-V interface at all? */
bool hv_present(void);
/* GUEST_OS_ID and the hypercall page; once for the machine. */
void hv_setup(void);
/* Makes a hypercall; gives the whole result value. */
uint64_t hv_hypercall(uint64_t control, uint64_t in, uint64_t out);
/* The status part of a result. */
static inline uint16_t hv_status(uint64_t result)
{
    return result & 0xffff;
}

/* POST_MESSAGE with a well-formed input; gives the status. */
uint16_t hv_post(uint32_t conn_id, uint32_t type, const void *payload,
                 uint32_t len);
/* SIGNAL_EVENT by registers; gives the status. */
uint16_t hv_signal(uint32_t conn_id);

/*
 * Gives @cpu its pages and turns its SynIC on.  All SINTs stay masked.  The
 * pages are overlays, so what was in them when they were on before is back.
 */
void hv_synic_on(unsigned cpu);
void hv_synic_off(unsigned cpu);
void hv_set_sint(unsigned cpu, unsigned sint, uint64_t val);
/* An MSR of another processor. */
void hv_wrmsr_on(unsigned cpu, uint32_t msr, uint64_t val);
uint64_t hv_rdmsr_on(unsigned cpu, uint32_t msr);
/* Frees a slot as the specification wants it; @cpu is who runs this.
 * Returns true if there was a reason to write EOM. */
bool hv_free_slot(unsigned cpu, unsigned sint);

/* Reference time in 100 ns, from the counter MSR and from a TSC page. */
static inline uint64_t hv_time(void)
{
    return rdmsr(HV_MSR_TIME_REF);
}

uint64_t hv_tsc_page_time(const struct hv_tsc_page *page);

#endif
