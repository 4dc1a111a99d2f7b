/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup service in a saved machine: what is frozen is thawed where it is
 * loaded, and nowhere does a freeze survive unnoticed.
 */
#include "devices/ic-state.h"
#include "golden.h"
#include "item.h"
#include "vss-fixture.h"

/* The states: what the guest and the host have done until then. */

static void closed(VssFixture *f)
{
}

static void asking(VssFixture *f)
{
    fake_open(&f->chan);
}

static void idle(VssFixture *f)
{
    vss_open_ready(f);
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
}

static void checking(VssFixture *f)
{
    idle(f);
    vss_freeze(f);
}

static void unsent(VssFixture *f)
{
    idle(f);
    vss_freeze(f);
    f->chan.send_result = VMBUS_RING_FULL;
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
}

static void freezing(VssFixture *f)
{
    checking(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
}

static void frozen(VssFixture *f)
{
    freezing(f);
    vss_answer(f, IC_VSS_FREEZE, IC_STATUS_OK);
}

static void thawing(VssFixture *f)
{
    frozen(f);
    vss_pass(f, HOLD);
}

static void refusing(VssFixture *f)
{
    thawing(f);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_FAIL);
}

static void owing(VssFixture *f)
{
    frozen(f);
    fake_close(&f->chan);
}

static void disabled(VssFixture *f)
{
    checking(f);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_FAIL);
}

static void muted(VssFixture *f)
{
    freezing(f);
    for (int i = 0; i <= IC_MAX_REFUSED; i++) {
        fake_push(&f->chan, VMBUS_PKT_DATA_INBAND, "x", 1);
    }
    fake_signal(&f->chan);
}

/* What comes next, on the machine that loaded the state. */

static void can_freeze(VssFixture *f)
{
    g_assert_false(vmbus_vss_owes_thaw(f->vss));
    vss_freeze_all(f);
    vmbus_vss_thaw(f->vss, VMBUS_VSS_THAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
}

static void opens(VssFixture *f)
{
    if (f->chan.open) {
        fake_close(&f->chan);
    }
    vss_open_ready(f);
    can_freeze(f);
}

static void job_is_over(VssFixture *f)
{
    g_assert_cmpint(vss_info(f).state, ==, VMBUS_VSS_FAILED);
    g_assert_cmpint(vss_info(f).reason, ==, VMBUS_VSS_MOVED);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_UNANSWERED);
    vss_answer(f, IC_VSS_HOT_BACKUP, IC_STATUS_OK);
    g_assert_cmpint(vss_info(f).state, ==, VMBUS_VSS_FAILED);
    can_freeze(f);
}

static void job_was_not_sent(VssFixture *f)
{
    g_assert_cmpint(vss_info(f).state, ==, VMBUS_VSS_FAILED);
    can_freeze(f);
}

/* The answer to the freeze comes here, and then the thaw is sent. */
static void freeze_is_answered(VssFixture *f)
{
    g_assert_cmpint(vss_info(f).state, ==, VMBUS_VSS_THAWING);
    g_assert_cmpint(vss_info(f).reason, ==, VMBUS_VSS_MOVED);
    g_assert_true(vmbus_vss_owes_thaw(f->vss));
    vss_answer(f, IC_VSS_FREEZE, IC_STATUS_OK);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    g_assert_cmpint(f->last.state, ==, VMBUS_VSS_FAILED);
    g_assert_cmpint(f->last.reason, ==, VMBUS_VSS_MOVED);
    can_freeze(f);
}

static void is_thawed(VssFixture *f)
{
    g_assert_cmpint(vss_info(f).state, ==, VMBUS_VSS_THAWING);
    g_assert_cmpint(vss_freeze(f), ==, VMBUS_VSS_UNTHAWED);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    g_assert_cmpint(f->last.state, ==, VMBUS_VSS_FAILED);
    can_freeze(f);
}

static void is_thawed_when_back(VssFixture *f)
{
    if (f->chan.open) {
        fake_close(&f->chan);
    }
    g_assert_true(vmbus_vss_owes_thaw(f->vss));
    vss_open_ready(f);
    vss_answer(f, IC_VSS_THAW, IC_STATUS_OK);
    can_freeze(f);
}

typedef struct Case {
    const char *name;
    void (*prepare)(VssFixture *f);
    void (*goes_on)(VssFixture *f);
} Case;

static const Case cases[] = {
    {"vss-closed", closed, opens},
    {"vss-asking", asking, opens},
    {"vss-idle", idle, can_freeze},
    {"vss-checking", checking, job_is_over},
    {"vss-unsent", unsent, job_was_not_sent},
    {"vss-freezing", freezing, freeze_is_answered},
    {"vss-frozen", frozen, is_thawed},
    {"vss-thawing", thawing, is_thawed},
    {"vss-refusing", refusing, is_thawed},
    {"vss-owing", owing, is_thawed_when_back},
    {"vss-disabled", disabled, can_freeze},
    {"vss-muted", muted, is_thawed_when_back},
};

static const char *load(VssFixture *f, const void *data, size_t len)
{
    return vmbus_vss_load(f->vss, &f->chan, data, len);
}

/* As the first version saved it, and as this one does. */
static void test_golden(gconstpointer data)
{
    const Case *c = data;
    g_autoptr(GByteArray) now = NULL;
    g_autoptr(GByteArray) golden = NULL;
    g_autoptr(GByteArray) again = NULL;
    VssFixture here = {0}, there = {0};

    vss_setup(&here, NULL);
    c->prepare(&here);
    now = vmbus_vss_save(here.vss);
    golden = golden_read(c->name, now->data, now->len);
    g_assert_cmpmem(now->data, now->len, golden->data, golden->len);

    vss_setup(&there, NULL);
    there.now = 7 * SECOND; /* another machine's clock */
    vmbus_vss_set_running(there.vss, false);
    fake_take_over(&there.chan, &here.chan);
    g_assert_cmpstr(load(&there, golden->data, golden->len), ==, NULL);
    g_assert_cmpuint(there.changes, ==, 0);
    again = vmbus_vss_save(there.vss);
    g_assert_cmpmem(again->data, again->len, golden->data, golden->len);
    g_assert_cmpuint(fake_pending(&there.chan), ==,
                     (c->prepare == asking || c->prepare == checking ||
                      c->prepare == freezing || c->prepare == thawing ||
                      c->prepare == muted));
    vmbus_vss_set_running(there.vss, true);
    there.last = vss_info(&there);
    c->goes_on(&there);
    vss_teardown(&here, NULL);
    vss_teardown(&there, NULL);
}

/* Refusals */

typedef struct Damage {
    void (*prepare)(VssFixture *f);
    uint16_t tag; /* of a number of the service */
    uint64_t value;
    bool cookie; /* of the first request instead */
} Damage;

static const Damage damages[] = {
    {idle, 1, VMBUS_VSS_FROZEN, false},
    {idle, 1, VMBUS_VSS_CHECKING, false},
    {idle, 1, VMBUS_VSS_FAILED, false},          /* for no reason */
    {idle, 1, VMBUS_VSS_THAWING, false},         /* for no reason */
    {idle, 2, VMBUS_VSS_TIMEOUT, false},         /* idle for a reason */
    {idle, 3, true, false},                      /* idle, and owes a thaw */
    {frozen, 1, VMBUS_VSS_FAILED, false},        /* owes, and does not thaw */
    {frozen, 2, VMBUS_VSS_NO_REASON, false},     /* thaws for no reason */
    {frozen, 4, 0, false},                       /* owes, and never froze */
    {owing, 1, VMBUS_VSS_THAWING, false},        /* thaws what is closed */
    {freezing, 0, 2 << 8 | 99, true},            /* no such request */
    {freezing, 0, 3 << 8 | IC_VSS_FREEZE, true}, /* of a later job */
    {freezing, 4, 1, false},                     /* the same, seen from there */
};

static void test_damaged(gconstpointer data)
{
    const Damage *damage = data;
    g_autoptr(GByteArray) blob = NULL;
    g_autoptr(GByteArray) before = NULL;
    g_autoptr(GByteArray) after = NULL;
    VssFixture here = {0}, there = {0};
    uint32_t size;
    uint8_t *at;

    vss_setup(&here, NULL);
    damage->prepare(&here);
    blob = vmbus_vss_save(here.vss);
    at = blob->data + sizeof(VmbusBlobHead);
    size = blob->len - sizeof(VmbusBlobHead);
    if (damage->cookie) {
        at = item_find(at, size, IC_STATE_PORT, &size);
        at = item_find(at, size, 32, &size) + 8;
    } else {
        at = item_find(at, size, damage->tag, &size);
    }
    memcpy(at, &damage->value, sizeof(damage->value));
    vss_setup(&there, NULL);
    there.chan.open = here.chan.open;
    before = vmbus_vss_save(there.vss);
    g_assert_cmpstr(load(&there, blob->data, blob->len), ==,
                    "The saved backup service does not agree with itself.");
    after = vmbus_vss_save(there.vss);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);
    vss_teardown(&here, NULL);
    vss_teardown(&there, NULL);
}

static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(12);
    g_autoptr(GByteArray) blob = NULL;
    unsigned loaded = 0, refused = 0;
    VssFixture here = {0};

    vss_setup(&here, NULL);
    freezing(&here);
    blob = vmbus_vss_save(here.vss);
    for (guint i = 0; i < 5000 + blob->len; i++) {
        bool cut = i < blob->len;
        guint len = cut ? i : blob->len;
        g_autofree uint8_t *copy = g_memdup2(blob->data, len);
        int flips = cut ? 0 : g_rand_int_range(rand, 1, 4);
        VssFixture there = {0};

        while (flips--) {
            copy[g_rand_int_range(rand, 0, len)] ^=
                1u << g_rand_int_range(rand, 0, 8);
        }
        vss_setup(&there, NULL);
        there.chan.open = true;
        if (load(&there, copy, len)) {
            refused++;
        } else {
            loaded++;
            vss_pass(&there, 100 * SECOND);
            fake_push_garbage(&there.chan, rand);
            fake_signal(&there.chan);
            if (there.chan.open) {
                fake_close(&there.chan);
            }
        }
        vss_teardown(&there, NULL);
    }
    g_assert_cmpuint(loaded, >, 100);
    g_assert_cmpuint(refused, >, 1000);
    vss_teardown(&here, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/state/golden/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_golden);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strdup_printf("/state/vss/damaged/%zu", i);

        g_test_add_data_func(path, &damages[i], test_damaged);
    }
    g_test_add_func("/state/vss/noise", test_noise);
    return g_test_run();
}
