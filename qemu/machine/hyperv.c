/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's interface to the Hyper-V synthetic interrupt controller
 * (include/hw/hyperv/hyperv.h), for guests on KVM and on the software interface
 * alike: SINTs, messages and event flags.  With hyperv-synic.c and
 * hyperv-connections.c it stands in the place of QEMU's hw/hyperv/hyperv.c.
 *
 * Who may write a message slot: KVM's synthetic timers write slots from the
 * virtual CPU's thread, and Linux lets timers and VMBus share one SINT, so on
 * KVM a post runs in that thread.  The software timers run under the big QEMU
 * lock, and so do posts without KVM.
 *
 * Event flags are set by any thread, with or without the big lock, that holds a
 * route.  What it reads on its way is kept for it by RCU: the wire of the line
 * and, as its CPU can be unplugged, the SynIC.
 */
#include "qemu/osdep.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "system/kvm.h"
#include "hw/core/cpu.h"
#include "cpu.h"
#include "kvm/synic-pages.h"
#include "hyperv-internal.h"
#include "hv-soft.h"
#include "trace/trace-hw_vmbus.h"

/* KVM's end of a line. */
typedef struct SintWire {
    struct rcu_head rcu;
    SintLine *line;
    int gsi;
    EventNotifier set_notifier;
    EventNotifier ack_notifier; /* the guest wrote EOM or EOI */
} SintWire;

/*
 * What all routes to one SINT share.  KVM keeps one GSI for a SINT, the one
 * added last, and acknowledges that one only.
 */
struct SintLine {
    SynICState *synic; /* NULL once its CPU is unplugged; RCU */
    uint32_t sint;
    unsigned users;
    QLIST_HEAD(, HvSintRoute) routes;
    QEMUTimer *retry_timer; /* runs while a post waits for the slot */
    int64_t retry_ns;
    SintWire *wire;   /* on KVM, until its CPU is unplugged; RCU */
    QEMUBH *raise_bh; /* raises it in the software interface */
};

/* A message accepted by hyperv_post_msg() on its way into the slot. */
typedef enum PostState {
    POST_IDLE,
    POST_QUEUED,   /* work queued on the virtual CPU */
    POST_WAITING,  /* slot taken; waits for the guest's EOM or EOI */
    POST_FINISHED, /* callback scheduled */
} PostState;

struct HvSintRoute {
    QLIST_ENTRY(HvSintRoute) link;
    SintLine *line;
    unsigned refcount;

    HvSintMsgCb cb;
    void *cb_data;
    struct hyperv_message msg;
    PostState post_state;
    int post_status;
    bool post_cancelled;
};

/* Without the big lock; many calls before it runs are one. */
static void raise_bh(void *opaque)
{
    SintLine *line = opaque;

    if (line->synic) {
        hv_soft_set_sint(line->synic->cs, line->sint);
    }
}

static int raise_line(SintLine *line)
{
    SynICState *synic;
    SintWire *wire;

    RCU_READ_LOCK_GUARD();
    synic = qatomic_rcu_read(&line->synic);
    wire = qatomic_rcu_read(&line->wire);
    if (!synic) {
        return -ENXIO;
    }
    if (wire) {
        return event_notifier_set(&wire->set_notifier);
    }
    if (!hv_soft_enabled()) {
        return -ENOSYS;
    }
    if (bql_locked()) {
        return hv_soft_set_sint(synic->cs, line->sint);
    }
    qemu_bh_schedule(line->raise_bh);
    return 0;
}

int hyperv_sint_route_set_sint(HvSintRoute *route)
{
    return raise_line(route->line);
}

static void post_bh(void *opaque)
{
    HvSintRoute *route = opaque;
    bool cancelled = route->post_cancelled;

    route->post_state = POST_IDLE;
    route->post_cancelled = false;
    if (!cancelled) {
        route->cb(route->cb_data, route->post_status);
    }
    hyperv_sint_route_unref(route);
}

static void finish_post(HvSintRoute *route, int status)
{
    route->post_status = status;
    route->post_state = POST_FINISHED;
    aio_bh_schedule_oneshot(qemu_get_aio_context(), post_bh, route);
}

/* Fills the slot; does not raise the SINT. */
static int fill_slot(SynICState *synic, uint32_t sint,
                     const struct hyperv_message *msg)
{
    HvSlotResult ret;

    if (!synic->msg_page_addr) {
        return -ENXIO;
    }
    ret = hv_message_slot_post(hyperv_synic_msg_page(synic), sint,
                               (const void *)msg);
    if (ret == HV_SLOT_INVALID) {
        return -EINVAL;
    }
    memory_region_set_dirty(&synic->msg_page_mr, sint * sizeof(*msg),
                            sizeof(*msg));
    return ret == HV_SLOT_BUSY ? -EAGAIN : 0;
}

/*
 * EOM and EOI tell that a slot is free, but not always: KVM does not pass them
 * on with a split irqchip, and a Linux that crashes on one processor empties
 * the slots of all of them, and writes its own EOM only.  So a timer looks
 * again, too.
 */
static void arm_retry(SintLine *line)
{
    bool alone = kvm_enabled() && kvm_irqchip_is_split();
    int64_t first = alone ? SCALE_MS : 50 * SCALE_MS;
    int64_t longest = alone ? 20 * SCALE_MS : 500 * SCALE_MS;

    if (timer_pending(line->retry_timer)) {
        return;
    }
    line->retry_ns = line->retry_ns ? MIN(line->retry_ns * 2, longest) : first;
    timer_mod(line->retry_timer,
              qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + line->retry_ns);
}

static void do_post(CPUState *cs, run_on_cpu_data data)
{
    HvSintRoute *route = data.host_ptr;
    SintLine *line = route->line;
    int ret;

    if (route->post_state != POST_QUEUED) {
        return; /* the CPU was unplugged meanwhile */
    }
    if (route->post_cancelled) {
        finish_post(route, -ECANCELED);
        return;
    }
    ret = fill_slot(line->synic, line->sint, &route->msg);
    trace_hyperv_post(hyperv_vp_index(cs), line->sint, ret);
    if (ret == -EAGAIN) {
        route->post_state = POST_WAITING;
        arm_retry(line);
        return;
    }
    line->retry_ns = 0;
    if (!ret) {
        /* A guest that masks the SINT polls the slot, as Linux does when it
         * crashes: the message has arrived all the same. */
        hyperv_sint_route_set_sint(route);
    }
    finish_post(route, ret);
}

static void start_post(HvSintRoute *route)
{
    CPUState *cs = route->line->synic->cs;

    route->post_state = POST_QUEUED;
    if (kvm_enabled()) {
        async_run_on_cpu(cs, do_post, RUN_ON_CPU_HOST_PTR(route));
    } else {
        do_post(cs, RUN_ON_CPU_HOST_PTR(route));
    }
}

int hyperv_post_msg(HvSintRoute *route, struct hyperv_message *msg)
{
    if (!route->line->synic) {
        return -ENXIO;
    }
    if (route->post_state != POST_IDLE) {
        return -EAGAIN;
    }
    memcpy(&route->msg, msg, sizeof(*msg));
    hyperv_sint_route_ref(route);
    start_post(route);
    return 0;
}

void hyperv_cancel_msg(HvSintRoute *route)
{
    switch (route->post_state) {
    case POST_IDLE:
        break;
    case POST_WAITING:
        route->post_cancelled = true;
        finish_post(route, -ECANCELED);
        break;
    case POST_QUEUED:
    case POST_FINISHED:
        route->post_cancelled = true;
        break;
    }
}

bool hyperv_msg_is_done(const HvSintRoute *route)
{
    return route->post_state == POST_FINISHED && !route->post_cancelled;
}

/*
 * The slot may be free now.  Posts are retried here rather than by their
 * senders, so that a sender sees a busy slot as mere delay.
 */
static void retry_posts(SintLine *line)
{
    HvSintRoute *route, *next;

    QLIST_FOREACH_SAFE(route, &line->routes, link, next) {
        if (route->post_state == POST_WAITING) {
            start_post(route);
        }
    }
}

static void ack_handler(EventNotifier *notifier)
{
    event_notifier_test_and_clear(notifier);
    retry_posts(container_of(notifier, SintWire, ack_notifier)->line);
}

static bool has_waiting(SintLine *line)
{
    HvSintRoute *route;

    QLIST_FOREACH(route, &line->routes, link) {
        if (route->post_state == POST_WAITING) {
            return true;
        }
    }
    return false;
}

static void retry_timer(void *opaque)
{
    SintLine *line = opaque;

    if (line->synic && has_waiting(line)) {
        /* What fills the slot may be from a kernel that crashed, and its
         * interrupt lost with it: the new one has to be told to look. */
        raise_line(line);
        retry_posts(line);
    }
}

void hyperv_synic_slot_free(CPUState *cs)
{
    SynICState *synic = hyperv_synic_get(cs);
    int i;

    for (i = 0; synic && i < HV_SINT_COUNT; i++) {
        if (synic->lines[i]) {
            retry_posts(synic->lines[i]);
        }
    }
}

int hyperv_synic_deliver(CPUState *cs, uint32_t sint,
                         const struct hyperv_message *msg)
{
    SynICState *synic = hyperv_synic_get(cs);
    int ret;

    if (!synic || sint >= HV_SINT_COUNT) {
        return -ENXIO;
    }
    ret = fill_slot(synic, sint, msg);
    return ret ? ret : hv_soft_set_sint(cs, sint);
}

static bool event_page_on(SynICState *synic)
{
    return synic && qatomic_read(&synic->events_on);
}

static void event_page_dirty(SynICState *synic, uint32_t sint)
{
    memory_region_set_dirty(&synic->event_page_mr,
                            sint * sizeof(struct hyperv_event_flags),
                            sizeof(struct hyperv_event_flags));
}

int hyperv_set_event_flag(HvSintRoute *route, unsigned eventno)
{
    uint32_t sint = route->line->sint;
    SynICState *synic;

    if (eventno >= HV_EVENT_FLAGS_COUNT) {
        return -EINVAL;
    }
    RCU_READ_LOCK_GUARD();
    synic = qatomic_rcu_read(&route->line->synic);
    if (!event_page_on(synic)) {
        return -ENXIO;
    }
    if (!hv_event_flag_set(hyperv_synic_event_page(synic), sint, eventno)) {
        return 0;
    }
    event_page_dirty(synic, sint);
    return hyperv_sint_route_set_sint(route);
}

void hyperv_clear_event_flag(HvSintRoute *route, unsigned eventno)
{
    SynICState *synic = route->line->synic;

    if (eventno < HV_EVENT_FLAGS_COUNT && event_page_on(synic)) {
        hv_event_flag_clear(hyperv_synic_event_page(synic), route->line->sint,
                            eventno);
        event_page_dirty(synic, route->line->sint);
    }
}

static int add_kvm_route(uint32_t vcpu, uint32_t sint)
{
    struct kvm_irq_routing_entry kroute = {
        .type = KVM_IRQ_ROUTING_HV_SINT,
        .u.hv_sint = {.vcpu = vcpu, .sint = sint},
    };
    int virq;

    if (!kvm_gsi_routing_enabled()) {
        return -ENOSYS;
    }
    virq = kvm_irqchip_get_virq(kvm_state);
    if (virq < 0) {
        return virq;
    }
    kroute.gsi = virq;
    kvm_add_routing_entry(kvm_state, &kroute);
    kvm_irqchip_commit_routes(kvm_state);
    return virq;
}

static void free_wire(SintWire *wire)
{
    event_notifier_cleanup(&wire->ack_notifier);
    event_notifier_cleanup(&wire->set_notifier);
    g_free(wire);
}

/* NULL if the notifiers or a GSI can't be had. */
static SintWire *new_wire(SintLine *line)
{
    SintWire *wire = g_new0(SintWire, 1);

    wire->line = line;
    if (event_notifier_init(&wire->set_notifier, false)) {
        g_free(wire);
        return NULL;
    }
    if (event_notifier_init(&wire->ack_notifier, false)) {
        event_notifier_cleanup(&wire->set_notifier);
        g_free(wire);
        return NULL;
    }
    wire->gsi = add_kvm_route(hyperv_vp_index(line->synic->cs), line->sint);
    if (wire->gsi < 0) {
        free_wire(wire);
        return NULL;
    }
    return wire;
}

/* Gives @line its GSI and notifiers; the GSI is valid whether the guest has
 * its SynIC enabled yet or not. */
static bool connect_line(SintLine *line)
{
    SintWire *wire = new_wire(line);
    EventNotifier *ack;

    if (!wire) {
        return false;
    }
    /* With a split irqchip QEMU would wait for an EOI that it never sees. */
    ack = kvm_irqchip_is_split() ? NULL : &wire->ack_notifier;
    if (kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, &wire->set_notifier, ack,
                                           wire->gsi)) {
        kvm_irqchip_release_virq(kvm_state, wire->gsi);
        free_wire(wire);
        return false;
    }
    event_notifier_set_handler(&wire->ack_notifier, ack_handler);
    line->wire = wire;
    return true;
}

static void disconnect_line(SintLine *line)
{
    SintWire *wire = line->wire;

    if (!wire) {
        return;
    }
    qatomic_set(&line->wire, NULL);
    kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &wire->set_notifier,
                                          wire->gsi);
    kvm_irqchip_release_virq(kvm_state, wire->gsi);
    /* Or KVM goes on naming the GSI as the SINT's. */
    kvm_irqchip_commit_routes(kvm_state);
    event_notifier_set_handler(&wire->ack_notifier, NULL);
    call_rcu(wire, free_wire, rcu);
}

static SintLine *get_line(SynICState *synic, uint32_t sint)
{
    SintLine *line = synic->lines[sint];

    if (!line) {
        line = g_new0(SintLine, 1);
        line->synic = synic;
        line->sint = sint;
        QLIST_INIT(&line->routes);
        if (kvm_enabled() && !connect_line(line)) {
            g_free(line);
            return NULL;
        }
        line->retry_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, retry_timer, line);
        line->raise_bh = qemu_bh_new(raise_bh, line);
        synic->lines[sint] = line;
    }
    line->users++;
    return line;
}

static void put_line(SintLine *line)
{
    if (--line->users) {
        return;
    }
    if (line->synic) {
        line->synic->lines[line->sint] = NULL;
    }
    disconnect_line(line);
    timer_free(line->retry_timer);
    qemu_bh_delete(line->raise_bh);
    g_free(line);
}

/* The CPU goes away; routes stay until their owners drop them. */
void hyperv_sint_line_unplug(SintLine *line)
{
    HvSintRoute *route;

    disconnect_line(line);
    qatomic_set(&line->synic, NULL);
    QLIST_FOREACH(route, &line->routes, link) {
        if (route->post_state == POST_QUEUED ||
            route->post_state == POST_WAITING) {
            finish_post(route, -ENXIO);
        }
    }
}

HvSintRoute *hyperv_sint_route_new(uint32_t vp_index, uint32_t sint,
                                   HvSintMsgCb cb, void *cb_data)
{
    SynICState *synic = hyperv_synic_find(vp_index);
    HvSintRoute *route;
    SintLine *line;

    if (!synic || sint >= HV_SINT_COUNT) {
        return NULL;
    }
    line = get_line(synic, sint);
    if (!line) {
        return NULL;
    }
    route = g_new0(HvSintRoute, 1);
    route->line = line;
    route->refcount = 1;
    route->cb = cb;
    route->cb_data = cb_data;
    QLIST_INSERT_HEAD(&line->routes, route, link);
    return route;
}

void hyperv_sint_route_ref(HvSintRoute *route)
{
    route->refcount++;
}

void hyperv_sint_route_unref(HvSintRoute *route)
{
    if (!route || --route->refcount) {
        return;
    }
    QLIST_REMOVE(route, link);
    put_line(route->line);
    g_free(route);
}
