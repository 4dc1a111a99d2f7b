/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ic-fixture.h"

static void state_changed(void *opaque, IcState state)
{
    IcFixture *f = opaque;

    f->changes++;
    f->last_state = state;
}

static const char *answer(void *opaque, const IcAnswer *got)
{
    IcFixture *f = opaque;

    f->answers++;
    f->last = *got;
    memcpy(f->last_body, got->body, MIN(got->body_len, sizeof(f->last_body)));
    if (f->chain) {
        f->chain--;
        ic_send(&f->port, "next", 4, f->chain);
    }
    return f->refuse_with;
}

static void room(void *opaque)
{
    IcFixture *f = opaque;

    f->rooms++;
}

static const uint32_t versions[] = {
    IC_VERSION(1, 0),
    IC_VERSION(3, 0),
    IC_VERSION(4, 0),
};

static const IcService service = {
    .message_type = IC_FIXTURE_TYPE,
    .min_body = 4,
    .max_in_flight = IC_FIXTURE_IN_FLIGHT,
    .version_count = G_N_ELEMENTS(versions),
    .versions = versions,
    .state_changed = state_changed,
    .answer = answer,
    .room = room,
};

static bool chan_open(VmbusChannel *chan, void *opaque)
{
    ic_opened(&((IcFixture *)opaque)->port, chan);
    return true;
}

static void chan_close(VmbusChannel *chan, void *opaque)
{
    ic_closed(&((IcFixture *)opaque)->port);
}

static void chan_signal(VmbusChannel *chan, void *opaque)
{
    ic_signalled(&((IcFixture *)opaque)->port);
}

static const VmbusChannelOps chan_ops = {
    .open = chan_open, .close = chan_close, .signal = chan_signal};

void ic_fixture_init(IcFixture *f, const void *data)
{
    fake_init(&f->chan, &chan_ops, f);
    ic_init(&f->port, &service, f);
}

void ic_fixture_open(IcFixture *f, const void *data)
{
    ic_fixture_init(f, data);
    fake_open(&f->chan);
}

void ic_fixture_ready(IcFixture *f, const void *data)
{
    ic_fixture_open(f, data);
    fake_negotiate(&f->chan, IC_VERSION(3, 0), IC_VERSION(4, 0));
    g_assert_cmpint(f->port.state, ==, IC_READY);
}

void ic_fixture_clear(IcFixture *f, const void *data)
{
    fake_clear(&f->chan);
}

void ic_assert_refused(const IcFixture *f, IcRefusal refusal, uint64_t count)
{
    g_assert_cmpuint(f->port.refusals[refusal], ==, count);
    g_assert_cmpuint(f->port.refused, ==, count);
    g_assert_cmpstr(f->port.last_refusal, ==, ic_refusal_sentence(refusal));
}
