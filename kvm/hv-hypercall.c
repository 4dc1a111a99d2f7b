/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "kvm/hv-hypercall.h"

/* RDX, R8 and six XMM registers */
#define FAST_INPUT 112
/* RDX and R8 */
#define FAST_INPUT_PLAIN 16

typedef struct Call {
    HvVp *vp;
    uint32_t var_words; /* words of 8 bytes after the fixed head */
    uint32_t reps, rep_start;
    /* The whole input; nothing of it is read from the guest again. */
    uint64_t input[HV_ABI_PAGE_SIZE / 8];
} Call;

typedef struct CallInfo {
    uint16_t code;
    uint16_t head; /* bytes of the fixed head, a multiple of 8 */
    bool var;      /* may have a variable head */
    bool rep;      /* has a list of 8-byte elements */
    /* May the partition make it? */
    bool (*allowed)(const HvPartition *partition);
    uint16_t (*run)(Call *call);
} CallInfo;

static bool may_spin_wait(const HvPartition *p)
{
    return p->config.spinlocks && p->config.spinlocks != HV_SPINLOCKS_NEVER;
}

static bool may_post(const HvPartition *p)
{
    return p->features[HV_REG_EBX] & HVB_POST_MESSAGES;
}

static bool may_signal(const HvPartition *p)
{
    return p->features[HV_REG_EBX] & HVB_SIGNAL_EVENTS;
}

static bool may_flush(const HvPartition *p)
{
    return hv_config_has(&p->config, HV_FEATURE_TLBFLUSH);
}

static bool may_send_ipi(const HvPartition *p)
{
    return hv_config_has(&p->config, HV_FEATURE_IPI);
}

static uint16_t run_spin_wait(Call *call)
{
    HvPartition *p = call->vp->partition;

    p->ops->spin_wait(p->opaque, call->vp);
    return HVST_SUCCESS;
}

static uint16_t run_post(Call *call)
{
    HvPartition *p = call->vp->partition;
    HvPostMessageInput in;

    memcpy(&in, call->input, sizeof(in));
    if (in.reserved || !in.type || in.type & HVMSG_HYPERVISOR ||
        in.payload_size > HV_ABI_PAYLOAD) {
        return HVST_INVALID_PARAMETER;
    }
    if (in.connection_id & ~HV_ABI_CONNECTION_MASK) {
        return HVST_INVALID_CONNECTION_ID;
    }
    return p->ops->hypercall_post(p->opaque, call->vp, &in);
}

static uint16_t run_signal(Call *call)
{
    HvPartition *p = call->vp->partition;
    HvSignalEventInput in;

    memcpy(&in, call->input, sizeof(in));
    if (in.reserved) {
        return HVST_INVALID_INPUT;
    }
    if (in.connection_id & ~HV_ABI_CONNECTION_MASK) {
        return HVST_INVALID_CONNECTION_ID;
    }
    return p->ops->hypercall_signal(p->opaque, call->vp, in.connection_id,
                                    in.flag);
}

/*
 * The banks that @mask names follow each other from word @first of the
 * input; there are as many as the caller announced.
 */
static uint16_t sparse_set(const Call *call, uint32_t first, uint64_t format,
                           uint64_t mask, HvVpSet *set)
{
    uint32_t bank;

    if (call->var_words != (uint32_t)__builtin_popcountll(mask)) {
        return HVST_INVALID_INPUT;
    }
    if (format > HV_ABI_SET_ALL) {
        return HVST_INVALID_PARAMETER;
    }
    memset(set, 0, sizeof(*set));
    set->all = format == HV_ABI_SET_ALL;
    for (bank = 0; bank < HV_ABI_SET_BANKS; bank++) {
        if (mask >> bank & 1) {
            set->banks[bank] = call->input[first++];
        }
    }
    return HVST_SUCCESS;
}

static uint16_t flush(Call *call, uint64_t flags, const HvVpSet *set,
                      uint32_t head_words)
{
    HvPartition *p = call->vp->partition;
    const uint64_t *ranges = call->input + head_words + call->var_words;
    uint64_t known =
        HVB_FLUSH_ALL_VPS | HVB_FLUSH_ALL_SPACES | HVB_FLUSH_NON_GLOBAL;

    if (hv_config_has(&p->config, HV_FEATURE_TLBFLUSH_EXT)) {
        known |= HVB_FLUSH_EXT_RANGES;
    }
    if (flags & ~known) {
        return HVST_INVALID_PARAMETER;
    }
    if (flags & HVB_FLUSH_EXT_RANGES) {
        /* Ranges of large pages: all is quicker than page by page. */
        p->ops->flush_tlb(p->opaque, call->vp, set, NULL, 0);
    } else {
        p->ops->flush_tlb(p->opaque, call->vp, set, ranges + call->rep_start,
                          call->reps - call->rep_start);
    }
    return HVST_SUCCESS;
}

static uint16_t run_flush(Call *call)
{
    HvVpSet set = {0};
    HvFlushInput in;

    memcpy(&in, call->input, sizeof(in));
    set.banks[0] = in.processor_mask;
    /* Windows Server 2012 passes an empty mask and means all. */
    set.all = in.flags & HVB_FLUSH_ALL_VPS || !in.processor_mask;
    return flush(call, in.flags, &set, sizeof(in) / 8);
}

static uint16_t run_flush_ex(Call *call)
{
    HvFlushExInput in;
    uint16_t status;
    HvVpSet set;

    memcpy(&in, call->input, sizeof(in));
    status =
        sparse_set(call, sizeof(in) / 8, in.set_format, in.set_banks, &set);
    if (status != HVST_SUCCESS) {
        return status;
    }
    set.all |= !!(in.flags & HVB_FLUSH_ALL_VPS);
    return flush(call, in.flags, &set, sizeof(in) / 8);
}

static uint16_t send_ipi(Call *call, const HvIpiInput *in, const HvVpSet *set)
{
    HvPartition *p = call->vp->partition;

    if (in->target_vtl || in->reserved[0] || in->reserved[1] ||
        in->reserved[2]) {
        return HVST_INVALID_INPUT;
    }
    if (in->vector < HV_ABI_FIRST_VECTOR || in->vector > 0xff) {
        return HVST_INVALID_PARAMETER;
    }
    p->ops->send_ipi(p->opaque, call->vp, set, (uint8_t)in->vector);
    return HVST_SUCCESS;
}

static uint16_t run_ipi(Call *call)
{
    HvVpSet set = {0};
    HvIpiInput in;

    memcpy(&in, call->input, sizeof(in));
    set.banks[0] = in.processor_mask;
    return send_ipi(call, &in, &set);
}

static uint16_t run_ipi_ex(Call *call)
{
    HvIpiExInput in;
    HvIpiInput head;
    uint16_t status;
    HvVpSet set;

    memcpy(&in, call->input, sizeof(in));
    memcpy(&head, call->input, sizeof(head));
    status =
        sparse_set(call, sizeof(in) / 8, in.set_format, in.set_banks, &set);
    return status != HVST_SUCCESS ? status : send_ipi(call, &head, &set);
}

static const CallInfo call_table[] = {
    {HVCALL_EVENT_SIGNAL, sizeof(HvSignalEventInput), false, false, may_signal,
     run_signal},
    {HVCALL_MESSAGE_POST, sizeof(HvPostMessageInput), false, false, may_post,
     run_post},
    {HVCALL_CLUSTER_IPI, sizeof(HvIpiInput), false, false, may_send_ipi,
     run_ipi},
    {HVCALL_CLUSTER_IPI_EX, sizeof(HvIpiExInput), true, false, may_send_ipi,
     run_ipi_ex},
    {HVCALL_FLUSH_SPACE, sizeof(HvFlushInput), false, false, may_flush,
     run_flush},
    {HVCALL_FLUSH_LIST, sizeof(HvFlushInput), false, true, may_flush,
     run_flush},
    {HVCALL_FLUSH_SPACE_EX, sizeof(HvFlushExInput), true, false, may_flush,
     run_flush_ex},
    {HVCALL_FLUSH_LIST_EX, sizeof(HvFlushExInput), true, true, may_flush,
     run_flush_ex},
    {HVCALL_LONG_SPIN_WAIT, 8, false, false, may_spin_wait, run_spin_wait},
};

static const CallInfo *find_call(uint16_t code)
{
    size_t i;

    for (i = 0; i < sizeof(call_table) / sizeof(call_table[0]); i++) {
        if (call_table[i].code == code) {
            return &call_table[i];
        }
    }
    return NULL;
}

/* HVST_SUCCESS, or why the input value is wrong for @info. */
static uint16_t check_control(const CallInfo *info, Call *call,
                              uint64_t control)
{
    call->var_words = control >> HVCALL_VAR_SHIFT & HVCALL_VAR_MASK;
    call->reps = control >> HVCALL_REPS_SHIFT & HVCALL_REP_MASK;
    call->rep_start = control >> HVCALL_REP_START_SHIFT & HVCALL_REP_MASK;
    if (control & HVCALL_RESERVED) {
        return HVST_INVALID_INPUT;
    }
    if (call->var_words > (info->var ? HV_ABI_SET_BANKS : 0)) {
        return HVST_INVALID_INPUT;
    }
    if (info->rep ? call->rep_start >= call->reps
                  : call->reps || call->rep_start) {
        return HVST_INVALID_INPUT;
    }
    return HVST_SUCCESS;
}

static uint16_t copy_input(Call *call, uint64_t gpa, uint32_t len)
{
    HvPartition *p = call->vp->partition;

    if (gpa % 8 || gpa % HV_ABI_PAGE_SIZE + len > HV_ABI_PAGE_SIZE ||
        !p->ops->read_guest(p->opaque, gpa, call->input, len)) {
        return HVST_INVALID_ALIGNMENT;
    }
    return HVST_SUCCESS;
}

static uint64_t pair(uint64_t high, uint64_t low)
{
    return high << 32 | (uint32_t)low;
}

/*
 * Gathers the input and runs the call.  False: #UD, as fast input in XMM
 * registers is not offered.
 */
static bool dispatch(HvVp *vp, const HvHypercallRegs *regs, uint64_t control,
                     const uint64_t params[2], uint64_t *result)
{
    const CallInfo *info = find_call((uint16_t)control);
    Call call;
    uint32_t len;

    call.vp = vp;
    if (!info) {
        *result = HVST_INVALID_CODE;
        return true;
    }
    if (!info->allowed(vp->partition)) {
        *result = HVST_ACCESS_DENIED;
        return true;
    }
    *result = check_control(info, &call, control);
    if (*result != HVST_SUCCESS) {
        return true;
    }
    len = info->head + 8 * (call.var_words + call.reps);
    if (!(control & HVCALL_FAST)) {
        *result = copy_input(&call, params[0], len);
    } else if (len > FAST_INPUT) {
        *result = HVST_INVALID_INPUT;
    } else if (len > FAST_INPUT_PLAIN &&
               !hv_config_has(&vp->partition->config, HV_FEATURE_XMM_INPUT)) {
        return false;
    } else {
        memcpy(call.input, params, FAST_INPUT_PLAIN);
        memcpy(call.input + 2, regs->xmm, sizeof(regs->xmm));
    }
    if (*result == HVST_SUCCESS) {
        *result = info->run(&call);
        if (*result == HVST_SUCCESS) {
            *result |= (uint64_t)call.reps << HVCALL_REPS_SHIFT;
        }
    }
    return true;
}

bool hv_hypercall(HvVp *vp, HvHypercallRegs *regs)
{
    uint64_t control, result, params[2];

    if (!(__atomic_load_n(&vp->partition->s.hypercall, __ATOMIC_RELAXED) &
          HVMSR_ENABLE) ||
        regs->cpl != 0 || !regs->protected_mode) {
        return false;
    }
    if (regs->long_mode) {
        control = regs->rcx;
        params[0] = regs->rdx;
        params[1] = regs->r8;
    } else {
        control = pair(regs->rdx, regs->rax);
        params[0] = pair(regs->rbx, regs->rcx);
        params[1] = pair(regs->rdi, regs->rsi);
    }
    if (!dispatch(vp, regs, control, params, &result)) {
        return false;
    }
    if (regs->long_mode) {
        regs->rax = result;
    } else {
        regs->rax = (uint32_t)result;
        regs->rdx = result >> 32;
    }
    return true;
}
