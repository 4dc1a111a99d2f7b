/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/fcopy-protocol.h"
#include "devices/fcopy.h"
#include "ic-fuzz.h"

typedef struct Fcopy {
    IcFuzz ic;
    VmbusFcopy *fc;
    uint64_t now, wake, last, copied;
    unsigned started, ended;
    bool slow; /* reads are given by a step of their own */
    uint64_t read_id, read_offset;
    uint32_t read_len; /* 0: none is under way */
    VmbusFcopyState state;
} Fcopy;

static const uint8_t content[FCOPY_FRAGMENT];

static void give(Fcopy *f)
{
    uint32_t len = f->read_len;

    f->read_len = 0;
    vmbus_fcopy_data(f->fc, f->read_id, f->read_offset, content, len);
}

static void read_file(void *opaque, uint64_t id, uint64_t offset, uint32_t len)
{
    Fcopy *f = opaque;

    fuzz_require(len > 0 && len <= FCOPY_FRAGMENT,
                 "A fragment has a size out of range.");
    f->read_id = id;
    f->read_offset = offset;
    f->read_len = len;
    if (!f->slow) {
        give(f);
    }
}

static void progress(void *opaque, const VmbusFcopyCopy *copy)
{
    Fcopy *f = opaque;

    fuzz_require(copy->copied > f->copied && copy->copied <= copy->size,
                 "A copy makes no progress, or too much.");
    f->copied = copy->copied;
}

static void changed(void *opaque, const VmbusFcopyCopy *copy)
{
    Fcopy *f = opaque;

    f->state = copy->state;
    f->ended += vmbus_fcopy_state_ended(copy->state);
    if (copy->state == VMBUS_FCOPY_STARTING) {
        f->copied = 0;
    }
    fuzz_require((copy->state == VMBUS_FCOPY_DONE) == (copy->sha256 != NULL),
                 "A copy that is done has no digest, or another has one.");
    fuzz_require(copy->state != VMBUS_FCOPY_DONE || copy->copied == copy->size,
                 "A copy is done before its end.");
}

static void wake_at(void *opaque, uint64_t when_ns)
{
    ((Fcopy *)opaque)->wake = when_ns;
}

static uint64_t now_ns(void *opaque)
{
    return ((Fcopy *)opaque)->now;
}

static const VmbusFcopyOps ops = {read_file, progress, changed, wake_at,
                                  now_ns};

static void answer(FuzzInput *in, const IcHeader *request, uint8_t *body,
                   IcHeader *header)
{
    static const uint32_t statuses[] = {
        IC_STATUS_OK,        IC_STATUS_OK,   IC_STATUS_OK,
        IC_STATUS_OK,        IC_STATUS_FAIL, FCOPY_STATUS_DISK_FULL,
        FCOPY_STATUS_EXISTS, IC_STATUS_OK,
    };

    header->status = statuses[fuzz_below(in, G_N_ELEMENTS(statuses))];
}

static VmbusFcopyResult start(Fcopy *f, const VmbusFcopyRequest *req)
{
    uint64_t id = 0;
    VmbusFcopyResult result;

    result = vmbus_fcopy_start(f->fc, req, &id);
    fuzz_require(vmbus_fcopy_result_sentence(result),
                 "A result has no sentence.");
    if (result == VMBUS_FCOPY_OK) {
        f->started++;
        f->last = id;
        f->copied = 0;
    }
    return result;
}

static void request(Fcopy *f, FuzzInput *in)
{
    char path[80] = "/";
    VmbusFcopyRequest req = {
        .path = path,
        .size = fuzz_value(in, 8, 0, 20000),
        .overwrite = fuzz_u8(in) & 1,
        .create_path = fuzz_u8(in) & 1,
        .step_ns = fuzz_below(in, 40) * IC_FUZZ_SECOND / 2,
        .hold_ns = fuzz_below(in, 40) * IC_FUZZ_SECOND / 2,
    };
    uint32_t len = fuzz_below(in, sizeof(path) - 1);

    fuzz_copy(in, path + !fuzz_chance(in, 10), len);
    path[len + 1] = 0;
    if (fuzz_chance(in, 50)) {
        req.path = "/a/file";
    }
    start(f, &req);
}

static void control(Fcopy *f, FuzzInput *in)
{
    uint64_t id = f->last + fuzz_value(in, 8, 0, 1);

    switch (fuzz_u8(in) % 6) {
    case 0:
        vmbus_fcopy_cancel(f->fc, id);
        break;
    case 1 ... 2:
        vmbus_fcopy_resume(f->fc, id);
        break;
    case 3:
        f->slow = fuzz_u8(in) & 1;
        break;
    case 4:
        if (f->read_len) {
            give(f);
        }
        break;
    default:
        vmbus_fcopy_read_failed(f->fc, id, VMBUS_FCOPY_READ_FAILED);
        break;
    }
}

static void pass_time(Fcopy *f, FuzzInput *in)
{
    if (fuzz_u8(in) < 0x80 && f->wake != UINT64_MAX) {
        f->now = MAX(f->now, f->wake);
    } else {
        f->now += fuzz_below(in, 8) * IC_FUZZ_SECOND / 2;
    }
    vmbus_fcopy_tick(f->fc);
}

/* Another engine takes the state over, spoiled or not. */
static void save_and_load(Fcopy *f, FuzzInput *in)
{
    Fcopy other = {.now = f->now, .wake = UINT64_MAX};
    VmbusFcopy *engine = vmbus_fcopy_new(&ops, &other);
    g_autoptr(GByteArray) blob = vmbus_fcopy_save(f->fc);
    bool spoiled = fuzz_spoil(blob, in);
    g_autofree uint8_t *copy = g_memdup2(blob->data, blob->len);
    const char *why = NULL;

    if (f->ic.host) {
        why = vmbus_fcopy_load(engine, f->ic.host, copy, blob->len);
        fuzz_require(spoiled || !why, why);
    }
    if (f->ic.host && !spoiled) {
        g_autoptr(GByteArray) again = vmbus_fcopy_save(engine);

        fuzz_require(again->len == blob->len &&
                         !memcmp(again->data, blob->data, blob->len),
                     "A state is another one after it was loaded.");
    }
    if (!why && f->ic.host) {
        ic_fuzz_check_port(&f->ic, vmbus_fcopy_port(engine));
    }
    vmbus_fcopy_free(engine);
}

static void check(Fcopy *f)
{
    const IcPort *port = vmbus_fcopy_port(f->fc);
    VmbusFcopyInfo info;

    ic_fuzz_check(&f->ic, port);
    vmbus_fcopy_info(f->fc, &info);
    fuzz_require(f->started - f->ended == (info.copy != NULL),
                 "A copy did not end once.");
    fuzz_require(!info.copy == (f->wake == UINT64_MAX),
                 "A copy has no timer, or there is one without a copy.");
    fuzz_require(info.service == VMBUS_FCOPY_SERVICE_READY || !info.copy,
                 "A copy goes on in a service that is not ready.");
    fuzz_require(port->state != IC_READY || port->in_flight <= 1,
                 "The guest has two requests.");
}

/* A guest that behaves gets its file, whatever went before. */
static void recover(Fcopy *f)
{
    const VmbusFcopyRequest req = {
        .path = "/a/file", .size = 7000, .step_ns = IC_FUZZ_SECOND};
    FuzzInput none = {0};

    ic_fuzz_reopen(&f->ic);
    check(f);
    ic_fuzz_answer_all(&f->ic, &none);
    check(f);
    f->slow = false;
    fuzz_require(start(f, &req) == VMBUS_FCOPY_OK,
                 "A good guest was not asked.");
    ic_fuzz_answer_all(&f->ic, &none);
    check(f);
    fuzz_require(f->started == f->ended && f->state == VMBUS_FCOPY_DONE,
                 "A good guest did not get its file.");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Fcopy f = {
        .ic = {.offer = &vmbus_fcopy_offer,
               .ops = &vmbus_fcopy_channel_ops,
               .answer = answer},
        .now = IC_FUZZ_SECOND,
        .wake = UINT64_MAX,
    };

    f.ic.engine = f.fc = vmbus_fcopy_new(&ops, &f);
    ic_fuzz_start(&f.ic);
    while (!fuzz_end(&in)) {
        uint8_t what = fuzz_u8(&in) % 16;

        if (what < 9) {
            ic_fuzz_step(&f.ic, &in);
        } else if (what < 11) {
            request(&f, &in);
        } else if (what < 13) {
            control(&f, &in);
        } else if (what < 15) {
            pass_time(&f, &in);
        } else {
            save_and_load(&f, &in);
        }
        check(&f);
    }
    recover(&f);
    ic_fuzz_end(&f.ic);
    vmbus_fcopy_free(f.fc);
    return 0;
}
