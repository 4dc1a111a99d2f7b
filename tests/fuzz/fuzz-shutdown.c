/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ic-fuzz.h"

typedef struct Shutdown {
    IcFuzz ic;
    VmbusShutdown *sd;
    unsigned requests, answers;
    VmbusShutdownState told;
    VmbusShutdownResult result;
} Shutdown;

static void answered(void *opaque, VmbusShutdownMode mode,
                     VmbusShutdownResult result, uint32_t status)
{
    Shutdown *s = opaque;

    s->answers++;
    s->result = result;
    fuzz_require(s->answers <= s->requests + 1,
                 "A request was answered that nobody made.");
}

static void changed(void *opaque, VmbusShutdownState state)
{
    ((Shutdown *)opaque)->told = state;
}

static const VmbusShutdownOps ops = {answered, changed};

static void answer(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *header)
{
    static const uint32_t statuses[] = {
        IC_STATUS_OK,
        IC_STATUS_FAIL,
        IC_STATUS_NOT_READY,
        IC_STATUS_NOT_SUPPORTED,
        IC_STATUS_SHUTDOWN_IN_PROGRESS,
        IC_STATUS_MACHINE_LOCKED,
    };

    header->status = statuses[fuzz_below(in, G_N_ELEMENTS(statuses))];
}

static VmbusShutdownResult ask(Shutdown *s, const VmbusShutdownRequest *req)
{
    VmbusShutdownResult result = vmbus_shutdown_request(s->sd, req);

    s->requests += result == VMBUS_SHUTDOWN_OK;
    fuzz_require(vmbus_shutdown_result_sentence(result),
                 "A result has no sentence.");
    return result;
}

static void request(Shutdown *s, FuzzInput *in)
{
    char text[3000];
    uint32_t len = fuzz_value(in, 2, 0, 40) % sizeof(text);
    VmbusShutdownRequest req = {
        .mode = fuzz_value(in, 4, 0, 4),
        .force = fuzz_u8(in) & 1,
        .reason = fuzz_value(in, 4, 0, 1),
        .timeout_secs = fuzz_value(in, 4, 0, 100),
        .message = len ? text : NULL,
    };

    fuzz_copy(in, text, MIN(len, 40));
    if (len > 40) { /* the same again, so that inputs stay short */
        for (uint32_t i = 40; i < len; i++) {
            text[i] = text[i - 40];
        }
    }
    text[len] = 0;
    ask(s, &req);
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Shutdown *s, FuzzInput *in)
{
    Shutdown other = {.requests = UINT32_MAX - 1};
    VmbusShutdown *engine = vmbus_shutdown_new(&ops, &other);
    g_autoptr(GByteArray) blob = vmbus_shutdown_save(s->sd);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = NULL;

    if (s->ic.host) {
        why = vmbus_shutdown_load(engine, s->ic.host, copy, blob->len);
        fuzz_require(spoiled || !why, why);
    }
    if (s->ic.host && !spoiled) {
        g_autoptr(GByteArray) again = vmbus_shutdown_save(engine);

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    if (!why && s->ic.host) {
        ic_fuzz_check_port(&s->ic, vmbus_shutdown_port(engine));
    }
    vmbus_shutdown_free(engine);
}

static void check(Shutdown *s)
{
    VmbusShutdownInfo info;

    ic_fuzz_check(&s->ic, vmbus_shutdown_port(s->sd));
    vmbus_shutdown_info(s->sd, &info);
    fuzz_require(info.state == s->told,
                 "A change of the shutdown's state was not told.");
    fuzz_require(info.requests == s->requests,
                 "The shutdown's requests are miscounted.");
    fuzz_require(s->requests - s->answers ==
                     (info.state == VMBUS_SHUTDOWN_REQUESTED),
                 "A request was not answered once.");
    fuzz_require(!vmbus_shutdown_port(s->sd)->chan ==
                     (info.state == VMBUS_SHUTDOWN_CLOSED),
                 "The shutdown's channel and state disagree.");
}

/* A guest that behaves can be shut down, whatever went before. */
static void recover(Shutdown *s)
{
    const VmbusShutdownRequest req = {.mode = VMBUS_SHUTDOWN_REBOOT};
    FuzzInput none = {0};

    ic_fuzz_reopen(&s->ic);
    check(s);
    ic_fuzz_answer_all(&s->ic, &none);
    check(s);
    fuzz_require(ask(s, &req) == VMBUS_SHUTDOWN_OK,
                 "A good guest was not asked.");
    check(s);
    s->result = VMBUS_SHUTDOWN_GONE;
    ic_fuzz_answer_all(&s->ic, &none);
    check(s);
    fuzz_require(s->result == VMBUS_SHUTDOWN_OK,
                 "The answer of a good guest was not heard.");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Shutdown s = {
        .ic = {.offer = &vmbus_shutdown_offer,
               .ops = &vmbus_shutdown_channel_ops,
               .answer = answer},
    };

    s.ic.engine = s.sd = vmbus_shutdown_new(&ops, &s);
    ic_fuzz_start(&s.ic);
    while (!fuzz_end(&in)) {
        uint8_t what = fuzz_u8(&in) % 16;

        if (what < 11) {
            ic_fuzz_step(&s.ic, &in);
        } else if (what == 15) {
            save_and_load(&s, &in);
        } else {
            request(&s, &in);
        }
        check(&s);
    }
    recover(&s);
    ic_fuzz_end(&s.ic);
    vmbus_shutdown_free(s.sd);
    return 0;
}
