/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ic-fuzz.h"

typedef struct Heartbeat {
    IcFuzz ic;
    VmbusHeartbeat *hb;
    uint64_t now, wake;
    VmbusHeartbeatInfo told;
} Heartbeat;

static void changed(void *opaque, const VmbusHeartbeatInfo *info)
{
    ((Heartbeat *)opaque)->told = *info;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Heartbeat *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Heartbeat *)opaque)->now;
}

static const VmbusHeartbeatOps ops = {changed, wake_at, now_ns};

static void answer(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *header)
{
    IcHeartbeat beat;

    memcpy(&beat, body, sizeof(beat));
    beat.sequence += 1 - fuzz_value(in, 1, 0, 2);
    beat.application_state = fuzz_value(in, 4, 0, 5);
    memcpy(body, &beat, sizeof(beat));
}

static void pass_time(Heartbeat *h, FuzzInput *in)
{
    static const uint64_t steps[] = {
        0,
        1,
        IC_FUZZ_SECOND / 2,
        2 * IC_FUZZ_SECOND - 1,
        2 * IC_FUZZ_SECOND,
        6 * IC_FUZZ_SECOND,
        60 * IC_FUZZ_SECOND,
    };
    uint8_t how = fuzz_u8(in);

    if (how < 0x80 && h->wake != UINT64_MAX) {
        h->now = MAX(h->now, h->wake);
    } else if (how < 0xf0) {
        h->now += steps[how % G_N_ELEMENTS(steps)];
    } else {
        /* 146 years: beyond that the clock itself would wrap. */
        h->now = MIN(h->now + fuzz_number(in, 7), UINT64_MAX / 4);
    }
    vmbus_heartbeat_tick(h->hb);
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Heartbeat *h, FuzzInput *in)
{
    Heartbeat other = {.now = h->now, .wake = UINT64_MAX};
    VmbusHeartbeat *engine = vmbus_heartbeat_new(&ops, &other);
    g_autoptr(GByteArray) blob = vmbus_heartbeat_save(h->hb);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = NULL;

    if (h->ic.host) {
        why = vmbus_heartbeat_load(engine, h->ic.host, copy, blob->len);
        fuzz_require(spoiled || !why, why);
    }
    if (h->ic.host && !spoiled) {
        g_autoptr(GByteArray) again = vmbus_heartbeat_save(engine);

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    if (!why && h->ic.host) {
        ic_fuzz_check_port(&h->ic, vmbus_heartbeat_port(engine));
    }
    vmbus_heartbeat_free(engine);
}

static void check(Heartbeat *h)
{
    const IcPort *port = vmbus_heartbeat_port(h->hb);
    VmbusHeartbeatInfo info;

    ic_fuzz_check(&h->ic, port);
    vmbus_heartbeat_info(h->hb, &info);
    fuzz_require(info.received <= info.sent && info.sequence <= info.sent,
                 "More heartbeats were answered than asked for.");
    fuzz_require(info.last_ns <= MAX(h->now, 1),
                 "A heartbeat was answered in the future.");
    fuzz_require(info.state == VMBUS_HEARTBEAT_PAUSED || port->chan ||
                     info.state == VMBUS_HEARTBEAT_NO_CONTACT,
                 "A guest that has closed the service is in contact.");
    fuzz_require(info.state == h->told.state &&
                     info.application == h->told.application,
                 "A change of the heartbeat was not told.");
    fuzz_require(h->wake == UINT64_MAX ||
                     (port->chan && info.state != VMBUS_HEARTBEAT_PAUSED),
                 "A service that is closed or paused wants to be called.");
    fuzz_require(h->wake != UINT64_MAX || port->state != IC_READY ||
                     info.state == VMBUS_HEARTBEAT_PAUSED,
                 "A service that is ready does not want to be called.");
}

/* A guest that behaves gets a good state, whatever went before. */
static void recover(Heartbeat *h)
{
    FuzzInput none = {0};
    VmbusHeartbeatInfo info;

    vmbus_heartbeat_set_running(h->hb, true);
    ic_fuzz_reopen(&h->ic);
    for (unsigned i = 0; i < 3; i++) {
        ic_fuzz_answer_all(&h->ic, &none);
        h->now += 2 * IC_FUZZ_SECOND;
        vmbus_heartbeat_tick(h->hb);
    }
    vmbus_heartbeat_info(h->hb, &info);
    fuzz_require(info.state == VMBUS_HEARTBEAT_OK &&
                     info.last_ns >= h->now - 4 * IC_FUZZ_SECOND,
                 "The heartbeat of a good guest is not OK.");
    check(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Heartbeat h = {
        .ic = {.offer = &vmbus_heartbeat_offer,
               .ops = &vmbus_heartbeat_channel_ops,
               .answer = answer},
        .now = IC_FUZZ_SECOND,
        .wake = UINT64_MAX,
    };

    h.ic.engine = h.hb = vmbus_heartbeat_new(&ops, &h);
    ic_fuzz_start(&h.ic);
    while (!fuzz_end(&in)) {
        uint8_t what = fuzz_u8(&in) % 16;

        if (what < 10) {
            ic_fuzz_step(&h.ic, &in);
        } else if (what < 15) {
            pass_time(&h, &in);
        } else if (fuzz_chance(&in, 50)) {
            save_and_load(&h, &in);
        } else {
            vmbus_heartbeat_set_running(h.hb, fuzz_u8(&in) & 1);
        }
        check(&h);
    }
    recover(&h);
    ic_fuzz_end(&h.ic);
    vmbus_heartbeat_free(h.hb);
    return 0;
}
