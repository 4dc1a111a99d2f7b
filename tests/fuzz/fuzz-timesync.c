/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ic-fuzz.h"

typedef struct Timesync {
    IcFuzz ic;
    VmbusTimesync *ts;
    uint64_t now, wake;
    bool has_reference, running;
    VmbusTimesyncState told;
    unsigned orders; /* at most so many answers are due, in two groups */
    bool pending;    /* one was given since the last answer */
    VmbusTimesyncResult result;
} Timesync;

static void changed(void *opaque, VmbusTimesyncState state)
{
    ((Timesync *)opaque)->told = state;
}

static void synced(void *opaque, bool asked, VmbusTimesyncResult result,
                   uint32_t status)
{
    Timesync *t = opaque;

    t->result = result;
    if (asked) {
        fuzz_require(t->orders, "An order was answered that nobody gave.");
        t->orders = result == VMBUS_TIMESYNC_GONE ? 0 : t->orders - 1;
        t->pending = false;
    }
    fuzz_require(vmbus_timesync_result_sentence(result),
                 "A result has no sentence.");
}

static void clocks(void *opaque, VmbusTimesyncClocks *out)
{
    Timesync *t = opaque;

    fuzz_require(t->running, "A clock was read while the machine stood.");
    out->wall = IC_TIME_UNIX_EPOCH + t->now / 100;
    out->reference = t->now / 100;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Timesync *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Timesync *)opaque)->now;
}

static const VmbusTimesyncOps ops = {changed, synced, clocks, wake_at, now_ns};

static void answer(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *header)
{
    uint64_t child = fuzz_chance(in, 50) ? 0 : fuzz_number(in, 8);

    if (request->message_size == sizeof(IcTimesync)) {
        memcpy(body + offsetof(IcTimesync, child_time), &child, sizeof(child));
    }
    header->status = fuzz_chance(in, 5) ? IC_STATUS_FAIL : IC_STATUS_OK;
}

static void pass_time(Timesync *t, FuzzInput *in)
{
    uint8_t how = fuzz_u8(in);

    if (how < 0x80 && t->wake != UINT64_MAX) {
        t->now = MAX(t->now, t->wake);
    } else if (how < 0xf0) {
        t->now += how % 8 * IC_FUZZ_SECOND;
    } else {
        t->now = MIN(t->now + fuzz_number(in, 7), UINT64_MAX / 4);
    }
    vmbus_timesync_tick(t->ts);
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Timesync *t, FuzzInput *in)
{
    Timesync other = {.now = t->now, .running = true, .orders = 2};
    VmbusTimesync *engine = vmbus_timesync_new(&ops, &other, t->has_reference);
    g_autoptr(GByteArray) blob = vmbus_timesync_save(t->ts);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = NULL;

    if (t->ic.host) {
        why = vmbus_timesync_load(engine, t->ic.host, copy, blob->len);
        fuzz_require(spoiled || !why, why);
    }
    if (t->ic.host && !spoiled) {
        g_autoptr(GByteArray) again = vmbus_timesync_save(engine);

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    if (!why && t->ic.host) {
        ic_fuzz_check_port(&t->ic, vmbus_timesync_port(engine));
    }
    vmbus_timesync_free(engine);
}

static void check(Timesync *t)
{
    const IcPort *port = vmbus_timesync_port(t->ts);
    VmbusTimesyncInfo info;

    ic_fuzz_check(&t->ic, port);
    vmbus_timesync_info(t->ts, &info);
    fuzz_require(info.state == t->told,
                 "A change of the time service was not told.");
    fuzz_require(!port->chan == (info.state == VMBUS_TIMESYNC_CLOSED),
                 "The time service's channel and state disagree.");
    fuzz_require(info.answers <= info.syncs + info.samples,
                 "More times were answered than sent.");
    fuzz_require(t->wake == UINT64_MAX ||
                     (t->running && info.state == VMBUS_TIMESYNC_READY),
                 "A time service that is not ready wants to be called.");
    fuzz_require(t->wake != UINT64_MAX || !t->running || port->in_flight ||
                     info.state != VMBUS_TIMESYNC_READY,
                 "A time service that is ready does not want to be called.");
    fuzz_require(info.state == VMBUS_TIMESYNC_READY || !t->pending,
                 "An order has no end.");
}

static void order(Timesync *t)
{
    unsigned orders = t->orders;
    bool pending = t->pending;

    /* One in flight has one answer, and all that wait have one. */
    t->orders = MIN(orders + 1, 2);
    t->pending = true;
    if (vmbus_timesync_sync(t->ts) != VMBUS_TIMESYNC_OK) {
        t->orders = orders;
        t->pending = pending;
    }
}

/* Whatever went before, a guest that behaves takes the time. */
static void recover(Timesync *t)
{
    FuzzInput none = {0};

    t->running = true;
    vmbus_timesync_set_running(t->ts, true);
    ic_fuzz_reopen(&t->ic);
    ic_fuzz_answer_all(&t->ic, &none);
    t->result = VMBUS_TIMESYNC_GONE;
    order(t);
    ic_fuzz_answer_all(&t->ic, &none);
    fuzz_require(t->result == VMBUS_TIMESYNC_OK && !t->pending,
                 "The answer of a good guest was not heard.");
    check(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Timesync t = {
        .ic = {.offer = &vmbus_timesync_offer,
               .ops = &vmbus_timesync_channel_ops,
               .answer = answer},
        .now = IC_FUZZ_SECOND,
        .wake = UINT64_MAX,
        .running = true,
    };

    t.has_reference = !fuzz_chance(&in, 10);
    t.ic.engine = t.ts = vmbus_timesync_new(&ops, &t, t.has_reference);
    ic_fuzz_start(&t.ic);
    while (!fuzz_end(&in)) {
        uint8_t what = fuzz_u8(&in) % 16;

        if (what < 10) {
            ic_fuzz_step(&t.ic, &in);
        } else if (what < 13) {
            pass_time(&t, &in);
        } else if (what == 13) {
            order(&t);
        } else if (what == 14) {
            save_and_load(&t, &in);
        } else {
            t.running = fuzz_u8(&in) & 1;
            vmbus_timesync_set_running(t.ts, t.running);
        }
        check(&t);
    }
    recover(&t);
    ic_fuzz_end(&t.ic);
    vmbus_timesync_free(t.ts);
    return 0;
}
