/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus, two channels and the guest on threads of their own: while the guest
 * and the channels exchange packets, the bus opens, moves, stops, saves,
 * rescinds, resets and closes them, and rings turn out to be corrupt.  Run
 * under the thread sanitizer, too.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/dump.h"
#include "bus/state.h"
#include "workers.h"

#define WATCHDOG    150 /* seconds */
#define ROUNDS      150
#define CHANNELS    2
#define TURN        16 /* packets that a device takes in one turn */
#define QUEUE       64 /* that it has under way */
#define DATA        100
#define RING_PAGES  2
#define GUEST_FLAGS 64
#define UNDER_WAY   40 /* packets that a guest waits for: more than a ring's */

static Workers *all;
static Doorbell interrupts[GUEST_FLAGS]; /* by event flag */

static void interrupt(uint16_t flag)
{
    g_assert_cmpuint(flag, <, GUEST_FLAGS);
    doorbell_ring(&interrupts[flag]);
}

/* The host's device: sends each packet back, later. */

typedef struct Echo {
    Worker *worker;
    VmbusOffer offer;
    VmbusChannel *chan;
    /* Of the bus's thread. */
    unsigned opened, closed, released;
    /* Set by the bus's thread, read by all. */
    bool open;
    bool in_signal;
    /* Of the channel's thread: transaction ids to be answered. */
    uint64_t queue[QUEUE];
    unsigned count;
} Echo;

static bool echo_open(VmbusChannel *chan, void *opaque)
{
    Echo *echo = opaque;

    g_assert_false(echo->open);
    echo->opened++;
    __atomic_store_n(&echo->open, true, __ATOMIC_RELEASE);
    return true;
}

/* What is under way forgets the channel. */
static void drop_queue(void *arg)
{
    ((Echo *)arg)->count = 0;
}

static void echo_close(VmbusChannel *chan, void *opaque)
{
    Echo *echo = opaque;

    g_assert_true(echo->open);
    g_assert_false(__atomic_load_n(&echo->in_signal, __ATOMIC_ACQUIRE));
    worker_call(echo->worker, drop_queue, echo);
    echo->closed++;
    __atomic_store_n(&echo->open, false, __ATOMIC_RELEASE);
}

static void answer(void *opaque)
{
    Echo *echo = opaque;
    uint8_t data[DATA];
    struct iovec iov = {data, sizeof(data)};
    unsigned done = 0;

    for (; done < echo->count; done++) {
        g_assert_true(__atomic_load_n(&echo->open, __ATOMIC_ACQUIRE));
        memset(data, echo->queue[done], sizeof(data));
        if (vmbus_channel_send(echo->chan, VMBUS_PKT_COMP, 0, echo->queue[done],
                               &iov, 1) != VMBUS_RING_OK) {
            break;
        }
    }
    if (done) {
        vmbus_channel_flush(echo->chan);
        echo->count -= done;
        memmove(echo->queue, echo->queue + done,
                echo->count * sizeof(echo->queue[0]));
    }
}

/* By turns at once and as a request that is done later. */
static void echo_signal(VmbusChannel *chan, void *opaque)
{
    Echo *echo = opaque;
    VmbusPacket pkt;

    g_assert_true(__atomic_load_n(&echo->open, __ATOMIC_ACQUIRE));
    g_assert_false(
        __atomic_exchange_n(&echo->in_signal, true, __ATOMIC_ACQ_REL));
    g_assert_true(pthread_equal(pthread_self(), echo->worker->thread));
    echo->chan = chan;
    answer(echo);
    for (int i = 0; i < TURN && echo->count < QUEUE; i++) {
        if (vmbus_channel_receive(chan, &pkt) != VMBUS_RING_OK) {
            break;
        }
        echo->queue[echo->count++] = pkt.trans_id;
        if (i == TURN - 1) {
            vmbus_channel_again(chan);
        }
    }
    if (echo->count % 2) {
        answer(echo);
    } else if (echo->count) {
        worker_finish(echo->worker);
    }
    __atomic_store_n(&echo->in_signal, false, __ATOMIC_RELEASE);
}

static void echo_released(VmbusChannel *chan, void *opaque)
{
    ((Echo *)opaque)->released++;
}

static const VmbusChannelOps echo_ops = {
    .open = echo_open,
    .close = echo_close,
    .signal = echo_signal,
    .released = echo_released,
};

/* Of all channels that this worker has. */
static Echo echoes[CHANNELS];

static void finish(void *opaque)
{
    for (int i = 0; i < CHANNELS; i++) {
        if (echoes[i].worker == opaque && echoes[i].count) {
            answer(&echoes[i]);
        }
    }
}

/* For the bus's thread: nothing is under way then. */
static void come_to_rest(void *opaque)
{
    worker_forget(opaque);
    finish(opaque);
}

static Worker *choose(VmbusChannel *chan)
{
    return ((Echo *)vmbus_channel_opaque(chan))->worker;
}

static VmbusChannel *offer(VmbusBus *bus, Echo *echo, uint32_t number)
{
    const char *err;
    VmbusChannel *chan;

    echo->offer = (VmbusOffer){
        .name = "echo",
        .class_id = VMBUS_GUID(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
        .instance_id = VMBUS_GUID(number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    };
    chan = vmbus_bus_offer(bus, &echo->offer, &echo_ops, echo, &err);
    g_assert_nonnull(chan);
    return chan;
}

/* The guest's end of one opening, with a thread for its traffic. */

typedef struct Guest {
    pthread_t thread;
    VscChannel *chan; /* the rings are the thread's */
    uint16_t flag;
    uint32_t conn_id;
    bool stop;
    bool evil;     /* breaks the ring after some packets */
    uint64_t want; /* packets; then it ends */
    uint64_t sent, got;
} Guest;

static bool stopped(Guest *guest)
{
    return __atomic_load_n(&guest->stop, __ATOMIC_ACQUIRE);
}

static bool guest_sends(Guest *guest)
{
    VmbusPacketDescriptor desc = {.type = VMBUS_PKT_DATA_INBAND};
    uint8_t data[DATA] = {0};
    bool any = false, signal;

    while (guest->sent < guest->want && guest->sent - guest->got < UNDER_WAY) {
        desc.trans_id = guest->sent;
        if (!vsc_ring_write(&guest->chan->out, &desc, sizeof(desc), data,
                            sizeof(data), &signal)) {
            break;
        }
        guest->sent++;
        any = true;
        if (signal) {
            workers_signal(all, guest->conn_id);
        }
    }
    return any;
}

static bool guest_receives(Guest *guest)
{
    struct {
        VmbusPacketDescriptor desc;
        uint8_t data[(DATA + 7) / 8 * 8];
    } pkt;
    bool any = false;

    while (vsc_ring_read(&guest->chan->in, &pkt, sizeof(pkt))) {
        g_assert_cmpuint(pkt.desc.type, ==, VMBUS_PKT_COMP);
        g_assert_cmpuint(pkt.desc.trans_id, ==, guest->got);
        g_assert_cmpuint(pkt.data[DATA - 1], ==, (uint8_t)guest->got);
        guest->got++;
        any = true;
    }
    if (any && vsc_ring_read_done(&guest->chan->in)) {
        workers_signal(all, guest->conn_id);
    }
    return any;
}

static void *guest_run(void *opaque)
{
    const uint32_t room = 16 + (DATA + 7) / 8 * 8 + 8;
    Guest *guest = opaque;
    VscRing *out = &guest->chan->out;

    while (!stopped(guest) && guest->got < guest->want) {
        if (guest_sends(guest) | guest_receives(guest)) {
            continue;
        }
        if (guest->evil && guest->got > 20) {
            __atomic_store_n(&out->control->write_index, 13, __ATOMIC_RELEASE);
            workers_signal(all, guest->conn_id);
            break;
        }
        if (guest->sent < guest->want && guest->sent - guest->got < UNDER_WAY) {
            vsc_ring_want_room(out, room);
            if (vsc_ring_free(out) > room) {
                vsc_ring_want_room(out, 0);
                continue;
            }
        }
        doorbell_wait(&interrupts[guest->flag]);
        vsc_ring_want_room(out, 0);
    }
    return NULL;
}

static void guest_start(Guest *guest, Vsc *vsc, const VmbusMsgOffer *msg,
                        uint32_t vp, uint64_t want, bool evil)
{
    VscChannel *chan = vsc_open(vsc, msg, RING_PAGES, RING_PAGES, vp);

    g_assert_nonnull(chan);
    *guest = (Guest){.chan = chan,
                     .flag = chan->event_flag,
                     .conn_id = chan->connection_id,
                     .evil = evil,
                     .want = want};
    g_assert_cmpint(pthread_create(&guest->thread, NULL, guest_run, guest), ==,
                    0);
}

static void guest_end(Guest *guest)
{
    __atomic_store_n(&guest->stop, true, __ATOMIC_RELEASE);
    doorbell_ring(&interrupts[guest->flag]);
    pthread_join(guest->thread, NULL);
}

/* The bus's thread. */

typedef struct Rig {
    VscMachine *machine;
    VmbusBus *bus;
    Vsc *vsc;
    GRand *rand;
    Guest guests[CHANNELS];
    unsigned evil, finished;
} Rig;

static bool chance(Rig *rig, int of)
{
    return g_rand_int_range(rig->rand, 0, of) == 0;
}

static void check(Rig *rig)
{
    workers_poll(all);
    g_assert_cmpstr(vmbus_bus_check(rig->bus), ==, NULL);
}

static const VmbusMsgOffer *offer_of(Rig *rig, int i)
{
    for (guint j = 0; j < rig->vsc->offers->len; j++) {
        const VmbusMsgOffer *msg =
            &g_array_index(rig->vsc->offers, VmbusMsgOffer, j);

        if (vmbus_guid_equal(&msg->instance_id, &echoes[i].offer.instance_id)) {
            return msg;
        }
    }
    g_assert_not_reached();
}

static void connect(Rig *rig)
{
    g_assert_true(vsc_connect(rig->vsc, VMBUS_VERSION_5_3));
    g_assert_true(vsc_request_offers(rig->vsc));
}

static void modify(Rig *rig, const Guest *guest)
{
    VmbusMsg msg;

    vsc_head(&msg, VMBUS_MSG_MODIFYCHANNEL);
    msg.modify_channel.relid = guest->chan->relid;
    msg.modify_channel.target_vp = g_rand_int_range(rig->rand, 0, VSC_MAX_VPS);
    vsc_post(rig->vsc, &msg, sizeof(msg.modify_channel));
    g_assert_true(vsc_expect(rig->vsc, VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg,
                             sizeof(msg.modify_channel_response)));
    /* A ring that was found corrupt meanwhile has no interrupt to move. */
    g_assert_true(guest->evil || !msg.modify_channel_response.status);
}

static void stop_and_save(Rig *rig)
{
    g_autoptr(GByteArray) blob = NULL;
    const char *err = NULL;

    vmbus_bus_quiesce(rig->bus);
    /* As the machine ends requests before it saves anything. */
    for (int i = 0; i < CHANNELS; i++) {
        worker_call(echoes[i].worker, come_to_rest, echoes[i].worker);
    }
    blob = vmbus_bus_save(rig->bus, false, &err);
    g_assert_cmpstr(err, ==, NULL);
    g_assert_cmpstr(vmbus_bus_check(rig->bus), ==, NULL);
    vmbus_bus_resume(rig->bus);
}

static void count_lines(void *opaque, const VmbusDumpControl *control,
                        const VmbusDumpPacket *packet, const char *sentence)
{
    ++*(unsigned *)opaque;
}

static void look(Rig *rig, VmbusChannel *chan)
{
    VmbusChannelInfo before, after;
    unsigned lines = 0;

    vmbus_channel_info(chan, &before);
    vmbus_channel_dump(chan, VMBUS_DUMP_TO_HOST, count_lines, &lines);
    vmbus_channel_info(chan, &after);
    g_assert_cmpuint(after.in.packets, >=, before.in.packets);
    g_assert_cmpuint(after.out.bytes, >=, before.out.bytes);
    g_assert_cmpuint(after.signals_received, >=, before.signals_received);
}

/* While there is traffic. */
static void meddle(Rig *rig, VmbusChannel *const *chans)
{
    for (int n = g_rand_int_range(rig->rand, 0, 8); n > 0; n--) {
        int i = g_rand_int_range(rig->rand, 0, CHANNELS);

        switch (g_rand_int_range(rig->rand, 0, 5)) {
        case 0:
        case 1:
            modify(rig, &rig->guests[i]);
            break;
        case 2:
            stop_and_save(rig);
            break;
        case 3:
            look(rig, chans[i]);
            break;
        default:
            g_usleep(g_rand_int_range(rig->rand, 0, 300));
        }
        check(rig);
    }
}

static void post_relid(Rig *rig, uint32_t type, uint32_t relid)
{
    VmbusMsg msg;

    vsc_head(&msg, type);
    msg.relid.relid = relid;
    g_assert_cmpint(vsc_post(rig->vsc, &msg, sizeof(msg.relid)), ==,
                    VMBUS_POST_OK);
}

static void end_by_close(Rig *rig)
{
    for (int i = 0; i < CHANNELS; i++) {
        VscChannel *chan = rig->guests[i].chan;

        post_relid(rig, VMBUS_MSG_CLOSECHANNEL, chan->relid);
        check(rig);
        guest_end(&rig->guests[i]);
        g_assert_true(vsc_teardown_gpadl(rig->vsc, chan->relid, chan->gpadl));
    }
}

/* All of them come back at the end of it. */
static void end_by_rescind(Rig *rig, VmbusChannel **chans)
{
    VmbusMsg msg;
    uint32_t len;

    for (int i = 0; i < CHANNELS; i++) {
        uint32_t relid = rig->guests[i].chan->relid;

        vmbus_bus_rescind(rig->bus, chans[i]);
        check(rig);
        guest_end(&rig->guests[i]);
        g_assert_true(vsc_expect(rig->vsc, VMBUS_MSG_RESCIND_CHANNELOFFER, &msg,
                                 sizeof(msg.relid)));
        post_relid(rig, VMBUS_MSG_CLOSECHANNEL, relid);
        post_relid(rig, VMBUS_MSG_RELID_RELEASED, relid);
    }
    for (int i = 0; i < CHANNELS; i++) {
        g_assert_cmpuint(echoes[i].opened, ==, echoes[i].closed);
        chans[i] = offer(rig->bus, &echoes[i], i + 1);
    }
    while (vsc_next(rig->vsc, &msg, &len)) {
    }
    connect(rig);
}

static void end_all(Rig *rig)
{
    for (int i = 0; i < CHANNELS; i++) {
        guest_end(&rig->guests[i]);
    }
}

static void end_round(Rig *rig, VmbusChannel **chans)
{
    VmbusMsg msg;
    uint32_t len;

    switch (g_rand_int_range(rig->rand, 0, 6)) {
    case 0:
        vsc_machine_reset(rig->machine);
        check(rig);
        end_all(rig);
        connect(rig);
        break;
    case 1:
        g_assert_true(vsc_unload(rig->vsc));
        check(rig);
        end_all(rig);
        connect(rig);
        break;
    case 2: /* a kernel that crashed */
        connect(rig);
        check(rig);
        end_all(rig);
        break;
    case 3:
        end_by_rescind(rig, chans);
        break;
    default:
        end_by_close(rig);
    }
    while (vsc_next(rig->vsc, &msg, &len)) {
    }
}

/* The guests go on to their end, which they reach only if no wake-up is lost;
 * a corrupt ring is noticed by the bus. */
static void let_finish(Rig *rig, VmbusChannel *const *chans)
{
    for (int i = 0; i < CHANNELS; i++) {
        Guest *guest = &rig->guests[i];

        pthread_join(guest->thread, NULL);
        while (guest->evil && vmbus_channel_listener(chans[i])) {
            workers_poll(all);
        }
        if (!guest->evil) {
            g_assert_cmpuint(guest->got, ==, guest->want);
            rig->finished++;
        }
        /* For whoever ends the round. */
        guest->want = 0;
        g_assert_cmpint(pthread_create(&guest->thread, NULL, guest_run, guest),
                        ==, 0);
    }
}

static void play(Rig *rig, VmbusChannel **chans)
{
    bool finish_all = chance(rig, 3);

    vsc_machine_reset_ram(rig->machine);
    for (int i = 0; i < CHANNELS; i++) {
        bool evil = chance(rig, 3);

        guest_start(&rig->guests[i], rig->vsc, offer_of(rig, i),
                    g_rand_int_range(rig->rand, 0, VSC_MAX_VPS),
                    finish_all && !evil ? 2000 : 1000000, evil);
        rig->evil += evil;
    }
    meddle(rig, chans);
    if (finish_all) {
        let_finish(rig, chans);
    }
    end_round(rig, chans);
    check(rig);
    for (int i = 0; i < CHANNELS; i++) {
        g_assert_cmpuint(echoes[i].opened, ==, echoes[i].closed);
        g_assert_null(vmbus_channel_listener(chans[i]));
        vsc_abandon(rig->guests[i].chan);
    }
}

/* One worker for each channel, or one for both. */
static void test_all(gconstpointer data)
{
    int workers = GPOINTER_TO_INT(data);
    Rig rig = {.machine = vsc_machine_new(64, true),
               .rand = g_rand_new_with_seed(workers)};
    Worker *worker[CHANNELS];
    VmbusChannel *chans[CHANNELS];

    rig.bus = rig.machine->bus;
    rig.vsc = vsc_new(rig.machine);
    all = workers_new(rig.machine);
    all->interrupt = interrupt;
    all->choose = choose;
    memset(echoes, 0, sizeof(echoes));
    for (int i = 0; i < CHANNELS; i++) {
        worker[i] = i < workers ? worker_new(all) : worker[0];
        worker[i]->finish = finish;
        worker[i]->finish_opaque = worker[i];
        echoes[i].worker = worker[i];
        chans[i] = offer(rig.bus, &echoes[i], i + 1);
    }
    connect(&rig);
    for (int i = 0; i < ROUNDS; i++) {
        play(&rig, chans);
    }
    g_test_message("%u rounds ended in good order, %u rings were broken, "
                   "%u of them found",
                   rig.finished, rig.evil,
                   rig.machine->events[VMBUS_EVENT_CORRUPT]);
    g_assert_cmpuint(rig.finished, >, 0);
    g_assert_cmpuint(rig.machine->events[VMBUS_EVENT_CORRUPT], >, 0);
    g_assert_cmpuint(rig.machine->events[VMBUS_EVENT_CORRUPT], <=, rig.evil);
    vsc_free(rig.vsc);
    vsc_machine_free(rig.machine);
    for (int i = 0; i < workers; i++) {
        worker_free(worker[i]);
    }
    workers_free(all);
    g_rand_free(rig.rand);
}

static void watchdog(int number)
{
    static const char why[] =
        "Bail out! A wake-up was lost, or two threads wait for each other.\n";

    if (write(STDOUT_FILENO, why, sizeof(why) - 1) < 0) {
        _exit(3);
    }
    abort();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGALRM, watchdog);
    alarm(WATCHDOG);
    for (int i = 0; i < GUEST_FLAGS; i++) {
        doorbell_init(&interrupts[i]);
    }
    g_test_add_data_func("/threads/one-worker", GINT_TO_POINTER(1), test_all);
    g_test_add_data_func("/threads/two-workers", GINT_TO_POINTER(2), test_all);
    return g_test_run();
}
