/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Traffic on channels that the host runs in its IOThreads: the echo devices of
 * the machine, while this side moves, closes and breaks them.  With more than
 * one processor one writes packets and another one does the rest.
 */
#include "devices/echo-protocol.h"
#include "vmbus.h"

#define PAGES    8 /* of both rings */
#define PAYLOAD  64
#define TOTAL    (sizeof(VmbusPacketDescriptor) + PAYLOAD + 8)
#define MAX_ECHO 4
#define SOME     15 /* answers, after which traffic counts as such */

#define COM2_LSR       (0x2f8 + 5)
#define LSR_DATA_READY 0x01

static const VmbusGuid echo_class = ECHO_CLASS;
static struct vb_channel *echoes[MAX_ECHO];
static unsigned echo_count;

/* Packets that are on their way to a channel. */
struct flood {
    struct vb_channel *ch;
    volatile uint64_t sent;
    uint64_t want;
    bool breaks; /* the ring, after some answers */
    volatile bool stop;
    volatile uint64_t got;
};

static bool send_one(struct flood *f)
{
    volatile VmbusRingControl *out = f->ch->out;
    uint32_t size = f->ch->size;
    uint32_t used = (f->ch->out_write + size - out->read_index) % size;
    uint64_t data[PAYLOAD / 8] = {f->sent, ~f->sent};

    if (size - used <= TOTAL) {
        return false;
    }
    vb_send_inband(f->ch, data, sizeof(data));
    f->sent++;
    return true;
}

static void write_packets(void *arg)
{
    struct flood *f = arg;
    volatile VmbusRingControl *out = f->ch->out;

    while (!f->stop && f->sent < f->want) {
        if (f->breaks && f->got >= SOME) {
            out->write_index = 3;
            barrier();
            vb_signal(f->ch);
            return;
        }
        if (!send_one(f)) {
            cpu_relax();
        }
    }
}

static void start(struct flood *f, unsigned cpu)
{
    f->stop = false;
    if (cpu_count > 1) {
        run_on_start(cpu, write_packets, f);
    } else {
        for (unsigned i = 0; i < 20 && send_one(f); i++) {
        }
    }
}

static void stop(struct flood *f, unsigned cpu)
{
    f->stop = true;
    if (cpu_count > 1) {
        run_on_wait(cpu);
    }
}

/* The host may wait for it. */
static void give_room(struct flood *f)
{
    volatile VmbusRingControl *in = f->ch->in;
    uint32_t size = f->ch->size;
    uint32_t used = (in->write_index + size - in->read_index) % size;

    if (in->pending_send_size && size - used > in->pending_send_size) {
        vb_signal(f->ch);
    }
}

/* The next answer; false if it did not come or is not what was sent. */
static bool read_one(struct flood *f)
{
    uint64_t data[PAYLOAD / 8];

    if (vb_read(f->ch, data, sizeof(data), VB_TIMEOUT_US) != sizeof(data)) {
        print("# no answer to packet %lu of %lu\n", f->got, f->sent);
        return false;
    }
    if (data[0] != f->got || data[1] != ~f->got) {
        print("# packet %lu came instead of %lu\n", data[0], f->got);
        return false;
    }
    f->got++;
    give_room(f);
    return true;
}

/* @count packets, one after the other. */
static bool ping(struct vb_channel *ch, unsigned count)
{
    struct flood f = {.ch = ch, .want = count};

    while (f.got < count) {
        if (!send_one(&f) || !read_one(&f)) {
            return false;
        }
    }
    return true;
}

/* Reads until all is answered; one processor alone writes here, too. */
static bool read_all(struct flood *f, void (*meanwhile)(struct flood *f))
{
    while (f->got < f->want) {
        if (cpu_count == 1) {
            while (f->sent < f->want && send_one(f)) {
            }
        }
        if (!read_one(f)) {
            return false;
        }
        if (meanwhile) {
            meanwhile(f);
        }
    }
    return true;
}

static bool find_echoes(void)
{
    echo_count = 0;
    if (!vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL) ||
        !vb_request_offers()) {
        return false;
    }
    for (unsigned i = 0; i < vb.offer_count && echo_count < MAX_ECHO; i++) {
        if (vmbus_guid_equal(&vb.channels[i].offer.class_id, &echo_class)) {
            echoes[echo_count++] = &vb.channels[i];
        }
    }
    return echo_count;
}

static void check_pings(void)
{
    unsigned good = 0;

    for (unsigned i = 0; i < echo_count; i++) {
        good += vb_open(echoes[i], i % cpu_count, PAGES) &&
                ping(echoes[i], 500) && vb_close(echoes[i]);
    }
    tap(good == echo_count, "each echo device answers", "%u of %u", good,
        echo_count);
}

/* Has the channel's signal come?  Meanwhile another flag of the same word is
 * set and cleared, as the guest's side of another channel would. */
static bool signal_came(struct vb_channel *ch)
{
    uint64_t *word = &hv_vps[0].events->flags[vb.sint][0];
    const uint64_t other = 1ull << 63;

    __atomic_fetch_or(word, other, __ATOMIC_SEQ_CST);
    __atomic_fetch_and(word, ~other, __ATOMIC_SEQ_CST);
    return vb.signals[ch->offer.relid] != ch->signals_used;
}

/* The host sets a flag while this side changes others, on one processor, too:
 * its threads run beside that. */
static void check_flags(void)
{
    const unsigned count = 3000;
    unsigned good = 0;

    for (unsigned i = 0; i < echo_count; i++) {
        struct vb_channel *ch = echoes[i];
        struct flood f = {.ch = ch, .want = count};
        bool ok = vb_open(ch, 0, PAGES);

        while (ok && f.got < f.want) {
            ok = send_one(&f) && wait_for(signal_came(ch), VB_TIMEOUT_US) &&
                 read_one(&f);
            ch->signals_used = vb.signals[ch->offer.relid];
        }
        good += f.got;
        vb_close(ch);
    }
    tap(good == count * echo_count, "no flag is lost beside another one",
        "%u of %u came", good, count * echo_count);
}

/* All at once, as many writers as there are processors for them. */
static void check_together(void)
{
    struct flood f[MAX_ECHO] = {0};
    unsigned good = 0, writers = cpu_count - 1;

    for (unsigned i = 0; i < echo_count; i++) {
        f[i] = (struct flood){.ch = echoes[i], .want = 3000};
        if (!vb_open(echoes[i], 0, PAGES)) {
            return (void)tap(false, "all at once", "they do not open");
        }
    }
    for (unsigned i = 0; i < echo_count && i < writers; i++) {
        start(&f[i], 1 + i);
    }
    for (unsigned n = 0; n < f[0].want; n++) {
        for (unsigned i = 0; i < echo_count; i++) {
            if (i >= writers) {
                send_one(&f[i]);
            }
            good += read_one(&f[i]);
        }
    }
    for (unsigned i = 0; i < echo_count && i < writers; i++) {
        stop(&f[i], 1 + i);
    }
    for (unsigned i = 0; i < echo_count; i++) {
        vb_close(echoes[i]);
    }
    tap(good == 3000 * echo_count, "all at once", "%u of %u answers", good,
        3000 * echo_count);
}

static unsigned moves, moves_failed;

static void move(struct flood *f)
{
    VmbusMsg msg = {.modify_channel = {
                        .header.type = VMBUS_MSG_MODIFYCHANNEL,
                        .relid = f->ch->offer.relid,
                        .target_vp = moves % cpu_count,
                    }};

    if (f->got % 40) {
        return;
    }
    moves++;
    vb_post(&msg, sizeof(msg.modify_channel));
    if (!vb_expect(VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg) ||
        msg.modify_channel_response.status) {
        moves_failed++;
    }
}

static void check_moves(void)
{
    bool ok = true;

    moves = moves_failed = 0;
    for (unsigned i = 0; i < echo_count && ok; i++) {
        struct flood f = {.ch = echoes[i], .want = 4000};

        ok = vb_open(echoes[i], 0, PAGES);
        if (ok) {
            start(&f, 1);
            ok = read_all(&f, move);
            stop(&f, 1);
            ok = vb_close(echoes[i]) && ok;
        }
    }
    tap(ok && !moves_failed && moves >= 100 * echo_count,
        "a channel moves while it is at work", "%u moves, %u failed", moves,
        moves_failed);
}

/* Begins traffic and reads some of it; false if that fails. */
static bool begin(struct flood *f, struct vb_channel *ch, bool breaks)
{
    static unsigned target;

    *f = (struct flood){.ch = ch, .want = ~0ull, .breaks = breaks};
    if (!vb_open(ch, target++ % cpu_count, PAGES)) {
        return false;
    }
    start(f, 1);
    for (unsigned i = 0; i < SOME; i++) {
        if (!read_one(f)) {
            return false;
        }
    }
    return true;
}

static void check_closes(bool broken, const char *name)
{
    const unsigned rounds = 40;
    unsigned good = 0;

    for (unsigned i = 0; i < rounds; i++) {
        struct vb_channel *ch = echoes[i % echo_count];
        VmbusMsgRelid msg = {.header.type = VMBUS_MSG_CLOSECHANNEL,
                             .relid = ch->offer.relid};
        struct flood f;

        if (!begin(&f, ch, broken)) {
            break;
        }
        if (broken && cpu_count == 1) {
            write_packets(&f);
        }
        delay_us(i * 37 % 1000);
        /* The other processor goes on writing to what is the guest's again. */
        vb_post(&msg, sizeof(msg));
        ch->open = false;
        stop(&f, 1);
        good += vb_close(ch) && vb_open(ch, 0, PAGES) && ping(ch, 5) &&
                vb_close(ch);
    }
    tap(good == rounds, name, "%u of %u rounds", good, rounds);
}

/* Nobody closes it but the host; this side hears so by the silence. */
static void check_broken(void)
{
    struct vb_channel *ch = echoes[echo_count - 1];
    uint64_t data[PAYLOAD / 8];
    struct flood f;
    bool ok = begin(&f, ch, true);

    if (cpu_count == 1) {
        write_packets(&f);
    }
    stop(&f, 1);
    /* With room for all answers the host comes to what is wrong. */
    while (vb_read(ch, data, sizeof(data), 20000)) {
        give_room(&f);
    }
    tap(ok && vb_close(ch) && vb_open(ch, 0, PAGES) && ping(ch, 5) &&
            vb_close(ch),
        "a broken ring harms its opening alone", "traffic before it: %d", ok);
}

static void check_ends(bool unload, const char *name)
{
    const unsigned rounds = 15;
    unsigned good = 0;

    for (unsigned i = 0; i < rounds; i++) {
        struct flood f[MAX_ECHO];
        bool ok = true;

        for (unsigned j = 0; j < echo_count && ok; j++) {
            ok = begin(&f[j], echoes[j], false);
            /* One processor writes to one channel at a time. */
            stop(&f[j], 1);
        }
        start(&f[i % echo_count], 1);
        if (unload) {
            ok = vb_unload() && ok;
        } else {
            VmbusMsg reply;

            /* Not vb_contact(), which needs the other processors. */
            vb_post_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT,
                            VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID);
            ok = vb_expect(VMBUS_MSG_VERSION_RESPONSE, &reply) && ok;
        }
        stop(&f[i % echo_count], 1);
        ok = ok && find_echoes() && vb_open(echoes[0], 0, PAGES) &&
             ping(echoes[0], 5) && vb_close(echoes[0]);
        good += ok;
        if (!ok) {
            break;
        }
    }
    tap(good == rounds, name, "%u of %u rounds", good, rounds);
}

/* Has the host written to the second serial port? */
static bool host_said_go(void)
{
    return inb(COM2_LSR) & LSR_DATA_READY;
}

static void check_all(void)
{
    check_pings();
    check_flags();
    check_together();
    check_moves();
    check_closes(false, "a channel is closed while it is at work");
    check_closes(true, "a ring breaks and its channel is closed");
    check_broken();
    check_ends(true, "the bus is unloaded while channels are at work");
    check_ends(false, "another connection comes while channels are at work");
}

/* With "echo=hold" it goes on until the host says go, however fast it is. */
void test_echo(void)
{
    bool hold = option_has("echo", "hold");

    if (!hv_present() || !(cpuid(0x40000003).eax >> 2 & 1)) {
        tap_skip("echo", "the machine has no hv-synic");
        return;
    }
    vb_init();
    if (!find_echoes()) {
        tap_skip("echo", "the machine has no echo device");
        return;
    }
    do {
        check_all();
    } while (hold && !host_said_go());
    tap(vb_unload(), "and the end", "no answer");
}
