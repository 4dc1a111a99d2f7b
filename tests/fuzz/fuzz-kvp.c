/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/kvp-wire.h"
#include "devices/kvp.h"
#include "ic-fuzz.h"

typedef struct Kvp {
    IcFuzz ic;
    VmbusKvp *kvp;
    uint64_t now, wake, last;
    unsigned started, ended;
    VmbusKvpState told;
    VmbusKvpResult result;
} Kvp;

/* What came from a guest is text now. */
static void require_text(const char *text)
{
    fuzz_require(text && g_utf8_validate(text, -1, NULL),
                 "A text of the guest is no UTF-8.");
}

static void require_list(char **list)
{
    for (; list && *list; list++) {
        require_text(*list);
    }
}

static void ended(void *opaque, const VmbusKvpJob *job)
{
    Kvp *k = opaque;

    k->ended++;
    k->last = job->id;
    k->result = job->result;
    fuzz_require(job->items->len <= VMBUS_KVP_MAX_ITEMS,
                 "A job has more items than it may.");
    for (guint i = 0; i < job->items->len; i++) {
        const VmbusKvpItem *item = job->items->pdata[i];

        require_text(item->key);
        if (item->type == VMBUS_KVP_STRING) {
            require_text(item->text);
        }
    }
    require_list(job->ip.addresses);
    require_list(job->ip.subnets);
    require_list(job->ip.gateways);
    require_list(job->ip.dns);
    fuzz_require(!job->refusal ==
                     (job->result != VMBUS_KVP_BAD_ANSWER && !job->skipped),
                 "A refusal is not told, or there is none.");
}

static void changed(void *opaque, VmbusKvpState state)
{
    ((Kvp *)opaque)->told = state;
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Kvp *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Kvp *)opaque)->now;
}

static const VmbusKvpOps ops = {ended, changed, wake_at, now_ns};

static void put_item(FuzzInput *in, KvpWireValue *out)
{
    static const uint8_t types[] = {
        KVP_TYPE_STRING, KVP_TYPE_STRING, KVP_TYPE_EXPAND_STRING,
        KVP_TYPE_U32,    KVP_TYPE_U64,    KVP_TYPE_LINUX_U64,
    };
    uint32_t key = fuzz_below(in, 6), value = fuzz_below(in, 6);

    memset(out, 0, sizeof(*out));
    out->type = types[fuzz_below(in, sizeof(types))];
    fuzz_copy(in, out->key, key * 2);
    fuzz_copy(in, out->value, value * 2);
    out->key_size = fuzz_value(in, 4, key * 2 + 2, 1);
    out->value_size = out->type == KVP_TYPE_U32             ? 4
                      : out->type <= KVP_TYPE_EXPAND_STRING ? value * 2 + 2
                                                            : 8;
    if (fuzz_chance(in, 10)) {
        out->value_size = fuzz_value(in, 4, value * 2, 4);
    }
}

static void put_ip(FuzzInput *in, uint8_t *body)
{
    for (unsigned i = fuzz_below(in, 8); i > 0; i--) {
        uint32_t at = fuzz_value(in, 2, 0, 300) % sizeof(KvpWireIpText);

        body[at] = fuzz_u8(in);
    }
}

static void answer(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *header)
{
    static const uint32_t statuses[] = {
        IC_STATUS_OK, IC_STATUS_OK,   KVP_STATUS_NO_MORE_ITEMS,
        IC_STATUS_OK, IC_STATUS_OK,   KVP_STATUS_NO_ADAPTER,
        IC_STATUS_OK, IC_STATUS_FAIL,
    };
    KvpWireMessage *wire = (KvpWireMessage *)body;

    header->status = statuses[fuzz_below(in, G_N_ELEMENTS(statuses))];
    switch (wire->header.operation) {
    case KVP_OP_ENUMERATE:
        put_item(in, &wire->enumerate.item);
        break;
    case KVP_OP_GET:
        put_item(in, &wire->item);
        break;
    case KVP_OP_GET_IP:
        put_ip(in, body);
        break;
    default:
        break;
    }
}

static VmbusKvpResult start(Kvp *k, const VmbusKvpRequest *req)
{
    uint64_t id = 0;
    VmbusKvpResult result = vmbus_kvp_start(k->kvp, req, &id);

    fuzz_require(vmbus_kvp_result_sentence(result),
                 "A result has no sentence.");
    k->started += result == VMBUS_KVP_OK;
    fuzz_require(!id == (result != VMBUS_KVP_OK),
                 "A job has no number, or nothing has one.");
    return result;
}

static void request(Kvp *k, FuzzInput *in)
{
    static char *lists[][3] = {
        {NULL},
        {"10.0.0.7", NULL},
        {"10.0.0.7", "fd00::7", NULL},
        {"24", NULL},
        {"255.255.0.0", "64", NULL},
        {"300.0.0.1", NULL},
    };
    char key[40], text[2100];
    VmbusKvpIp ip = {
        .ipv4 = fuzz_u8(in) & 1,
        .ipv6 = fuzz_u8(in) & 1,
        .addresses = lists[fuzz_below(in, 3)],
        .subnets = lists[fuzz_below(in, 6)],
        .gateways = lists[fuzz_below(in, 6)],
    };
    VmbusKvpRequest req = {
        .operation = fuzz_value(in, 4, 0, VMBUS_KVP_OPERATIONS),
        .pool = fuzz_value(in, 4, 0, VMBUS_KVP_POOLS),
        .key = fuzz_chance(in, 10) ? NULL : key,
        .type = fuzz_value(in, 4, 0, 3),
        .text = fuzz_chance(in, 10) ? NULL : text,
        .number = fuzz_value(in, 8, 0, 10),
        .ip = fuzz_chance(in, 10) ? NULL : &ip,
        .timeout_ns = fuzz_below(in, 40) * IC_FUZZ_SECOND / 2,
    };
    uint32_t len = fuzz_below(in, sizeof(key));

    memset(key, 0, sizeof(key));
    fuzz_copy(in, key, len);
    len = fuzz_value(in, 2, 0, 20) % sizeof(text);
    memset(text, 'x', len);
    text[len] = 0;
    start(k, &req);
}

static void pass_time(Kvp *k, FuzzInput *in)
{
    if (fuzz_u8(in) < 0x80 && k->wake != UINT64_MAX) {
        k->now = MAX(k->now, k->wake);
    } else {
        k->now += fuzz_below(in, 8) * IC_FUZZ_SECOND / 2;
    }
    vmbus_kvp_tick(k->kvp);
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Kvp *k, FuzzInput *in)
{
    Kvp other = {.now = k->now, .wake = UINT64_MAX};
    VmbusKvp *engine = vmbus_kvp_new(&ops, &other);
    g_autoptr(GByteArray) blob = vmbus_kvp_save(k->kvp);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = NULL;

    if (k->ic.host) {
        why = vmbus_kvp_load(engine, k->ic.host, copy, blob->len);
        fuzz_require(spoiled || !why, why);
    }
    if (k->ic.host && !spoiled) {
        g_autoptr(GByteArray) again = vmbus_kvp_save(engine);

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    if (!why && k->ic.host) {
        ic_fuzz_check_port(&k->ic, vmbus_kvp_port(engine));
    }
    vmbus_kvp_free(engine);
}

static void check(Kvp *k)
{
    const IcPort *port = vmbus_kvp_port(k->kvp);
    VmbusKvpInfo info;

    ic_fuzz_check(&k->ic, port);
    vmbus_kvp_info(k->kvp, &info);
    fuzz_require(info.state == k->told,
                 "A change of the service's state was not told.");
    fuzz_require(k->started - k->ended == info.jobs, "A job did not end once.");
    fuzz_require(!info.jobs == (k->wake == UINT64_MAX),
                 "A job has no timer, or there is one without a job.");
    fuzz_require(info.state == VMBUS_KVP_READY || !info.jobs,
                 "A job goes on in a service that is not ready.");
    fuzz_require(port->state != IC_READY || port->in_flight <= 1,
                 "The guest has two requests.");
}

/* A guest that behaves lists its pool, whatever went before. */
static void recover(Kvp *k)
{
    const VmbusKvpRequest req = {.operation = VMBUS_KVP_DELETE,
                                 .key = "key",
                                 .timeout_ns = IC_FUZZ_SECOND};
    FuzzInput none = {0};

    ic_fuzz_reopen(&k->ic);
    check(k);
    ic_fuzz_answer_all(&k->ic, &none);
    check(k);
    fuzz_require(start(k, &req) == VMBUS_KVP_OK, "A good guest was not asked.");
    ic_fuzz_answer_all(&k->ic, &none);
    check(k);
    fuzz_require(k->started == k->ended && k->result == VMBUS_KVP_OK,
                 "The answer of a good guest was not heard.");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Kvp k = {
        .ic = {.offer = &vmbus_kvp_offer,
               .ops = &vmbus_kvp_channel_ops,
               .answer = answer},
        .now = IC_FUZZ_SECOND,
        .wake = UINT64_MAX,
    };

    k.ic.engine = k.kvp = vmbus_kvp_new(&ops, &k);
    ic_fuzz_start(&k.ic);
    while (!fuzz_end(&in)) {
        uint8_t what = fuzz_u8(&in) % 16;

        if (what < 9) {
            ic_fuzz_step(&k.ic, &in);
        } else if (what < 13) {
            request(&k, &in);
        } else if (what < 15) {
            pass_time(&k, &in);
        } else {
            save_and_load(&k, &in);
        }
        check(&k);
    }
    recover(&k);
    ic_fuzz_end(&k.ic);
    vmbus_kvp_free(k.kvp);
    return 0;
}
