/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ic-fuzz.h"

#define LIMIT (60 * IC_FUZZ_SECOND)

typedef struct Vss {
    IcFuzz ic;
    VmbusVss *vss;
    uint64_t now, wake, job;
    uint64_t deadline;   /* of the freeze, if it has not been told of */
    uint64_t hold_until; /* while it is frozen */
    uint64_t frozen_at, hold;
    VmbusVssInfo told;
} Vss;

static void changed(void *opaque, const VmbusVssInfo *info)
{
    Vss *v = opaque;

    fuzz_require(info->state != v->told.state || info->reason != v->told.reason,
                 "A change was told that was none.");
    fuzz_require(info->state != VMBUS_VSS_FROZEN ||
                     v->told.state == VMBUS_VSS_FREEZING,
                 "A guest froze that was not asked to.");
    fuzz_require((info->reason != VMBUS_VSS_NO_REASON) ==
                     (info->state == VMBUS_VSS_THAWING ||
                      info->state == VMBUS_VSS_FAILED),
                 "A state lacks its reason, or has one too many.");
    if (info->state == VMBUS_VSS_FROZEN) {
        v->frozen_at = v->now;
        v->hold_until = v->now + MIN(v->hold, LIMIT);
    }
    v->told = *info;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Vss *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Vss *)opaque)->now;
}

static const VmbusVssOps ops = {changed, wake_at, now_ns};

static void answer(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *header)
{
    static const uint32_t statuses[] = {
        IC_STATUS_OK,       IC_STATUS_OK,        IC_STATUS_OK,
        IC_STATUS_FAIL,     IC_STATUS_NOT_READY, IC_STATUS_NOT_SUPPORTED,
        IC_STATUS_NOT_HELD,
    };

    header->status = statuses[fuzz_below(in, G_N_ELEMENTS(statuses))];
}

static void pass_time(Vss *v, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    if (how < 0x80 && v->wake != UINT64_MAX) {
        v->now = MAX(v->now, v->wake);
    } else if (how < 0xf0) {
        v->now += how % 8 * IC_FUZZ_SECOND;
    } else {
        v->now = MIN(v->now + fuzz_number(in, 7), UINT64_MAX / 4);
    }
    vmbus_vss_tick(v->vss);
}

static VmbusVssResult freeze(Vss *v, uint64_t hold, uint64_t timeout)
{
    uint64_t was = v->hold, job = 0;
    VmbusVssResult result;

    v->hold = hold;
    result = vmbus_vss_freeze(v->vss, hold, timeout, &job);
    fuzz_require(vmbus_vss_result_sentence(result),
                 "A result has no sentence.");
    if (result == VMBUS_VSS_OK) {
        fuzz_require(job > v->job, "A job has a number that was used.");
        v->job = job;
        v->deadline = v->now + timeout;
    } else {
        v->hold = was;
    }
    return result;
}

static void renew(Vss *v, FuzzInput *in)
{
    uint64_t hold = fuzz_chance(in, 50) ? 0 : fuzz_below(in, 80);
    uint64_t job = v->job + fuzz_value(in, 8, 0, 2);
    uint64_t granted = 0;

    hold *= IC_FUZZ_SECOND;
    if (vmbus_vss_renew(v->vss, job, hold, &granted) == VMBUS_VSS_OK) {
        fuzz_require(job == v->job && v->told.state == VMBUS_VSS_FROZEN &&
                         granted <= MAX(hold, v->hold) &&
                         v->now + granted <= v->frozen_at + LIMIT,
                     "More was granted than there is.");
        v->hold_until = v->now + granted;
    }
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Vss *v, FuzzInput *in)
{
    Vss other = {.now = v->now, .wake = UINT64_MAX};
    VmbusVss *engine = vmbus_vss_new(&ops, &other, LIMIT);
    g_autoptr(GByteArray) blob = vmbus_vss_save(v->vss);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = NULL;

    if (v->ic.host) {
        why = vmbus_vss_load(engine, v->ic.host, copy, blob->len);
        fuzz_require(spoiled || !why, why);
    }
    if (v->ic.host && !spoiled) {
        g_autoptr(GByteArray) again = vmbus_vss_save(engine);
        VmbusVssInfo info;

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
        vmbus_vss_info(engine, &info);
        fuzz_require(vmbus_vss_owes_thaw(engine) ==
                             vmbus_vss_owes_thaw(v->vss) &&
                         info.state != VMBUS_VSS_FROZEN,
                     "A freeze survived the loading of a state.");
    }
    if (!why && v->ic.host) {
        ic_fuzz_check_port(&v->ic, vmbus_vss_port(engine));
    }
    vmbus_vss_free(engine);
}

static void check(Vss *v)
{
    const IcPort *port = vmbus_vss_port(v->vss);
    VmbusVssInfo info;

    ic_fuzz_check(&v->ic, port);
    vmbus_vss_info(v->vss, &info);
    fuzz_require(info.state == v->told.state && info.reason == v->told.reason,
                 "A change of the backup's state was not told.");
    fuzz_require(info.service == VMBUS_VSS_READY ||
                     info.state == VMBUS_VSS_IDLE ||
                     info.state == VMBUS_VSS_FAILED,
                 "A job goes on in a service that is not ready.");
    switch (info.state) {
    case VMBUS_VSS_CHECKING:
    case VMBUS_VSS_FREEZING:
        fuzz_require(v->wake == v->deadline, "A deadline has no timer.");
        break;
    case VMBUS_VSS_FROZEN:
        fuzz_require(v->wake == v->hold_until, "A hold has no timer.");
        fuzz_require(vmbus_vss_owes_thaw(v->vss),
                     "A frozen guest is owed no thaw.");
        break;
    case VMBUS_VSS_IDLE:
        fuzz_require(!vmbus_vss_owes_thaw(v->vss),
                     "An idle service owes a thaw.");
        break;
    default:
        break;
    }
    fuzz_require(info.thaws <= port->answered && info.freezes <= info.job,
                 "The backup's counters do not agree.");
}

/* Whatever went before, a guest that behaves freezes and thaws. */
static void recover(Vss *v)
{
    FuzzInput none = {0};

    vmbus_vss_set_running(v->vss, true);
    ic_fuzz_reopen(&v->ic);
    ic_fuzz_answer_all(&v->ic, &none);
    check(v);
    fuzz_require(!vmbus_vss_owes_thaw(v->vss),
                 "A good guest that is back was not thawed.");
    fuzz_require(freeze(v, 10 * IC_FUZZ_SECOND, IC_FUZZ_SECOND) == VMBUS_VSS_OK,
                 "A good guest was not asked to freeze.");
    ic_fuzz_answer_all(&v->ic, &none);
    fuzz_require(v->told.state == VMBUS_VSS_FROZEN,
                 "A good guest did not freeze.");
    check(v);
    v->now = v->wake;
    vmbus_vss_tick(v->vss);
    ic_fuzz_answer_all(&v->ic, &none);
    fuzz_require(!vmbus_vss_owes_thaw(v->vss) &&
                     v->told.reason == VMBUS_VSS_HOLD_OVER,
                 "A good guest was not thawed.");
    check(v);
}

static void step(Vss *v, FuzzInput *in)
{
    switch (fuzz_u8(in) % 16) {
    case 0 ... 7:
        ic_fuzz_step(&v->ic, in);
        break;
    case 8 ... 9:
        pass_time(v, in);
        break;
    case 10 ... 11:
        freeze(v, fuzz_below(in, 70) * IC_FUZZ_SECOND,
               fuzz_below(in, 100) * 10 * IC_FUZZ_SECOND);
        break;
    case 12:
        vmbus_vss_thaw(v->vss, fuzz_chance(in, 70) ? VMBUS_VSS_THAWED
                                                   : VMBUS_VSS_MIGRATION);
        break;
    case 13:
        renew(v, in);
        break;
    case 14:
        save_and_load(v, in);
        break;
    default:
        if (fuzz_chance(in, 30) && !vmbus_vss_port(v->vss)->chan) {
            vmbus_vss_reset(v->vss);
        } else {
            vmbus_vss_set_running(v->vss, fuzz_u8(in) & 3);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Vss v = {
        .ic = {.offer = &vmbus_vss_offer,
               .ops = &vmbus_vss_channel_ops,
               .answer = answer},
        .now = IC_FUZZ_SECOND,
        .wake = UINT64_MAX,
    };

    v.ic.engine = v.vss = vmbus_vss_new(&ops, &v, LIMIT);
    ic_fuzz_start(&v.ic);
    while (!fuzz_end(&in)) {
        step(&v, &in);
        check(&v);
    }
    recover(&v);
    ic_fuzz_end(&v.ic);
    vmbus_vss_free(v.vss);
    return 0;
}
