/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's interface to the Hyper-V synthetic interrupt controller and to
 * connections (include/hw/hyperv/hyperv.h), for guests on KVM and on the
 * software interface alike.  It stands in the place of the corresponding part
 * of QEMU's hw/hyperv/hyperv.c.
 *
 * Who may write a message slot: KVM's synthetic timers write slots from the
 * virtual CPU's thread, and Linux lets timers and VMBus share one SINT, so on
 * KVM a post runs in that thread.  The software timers run under the big QEMU
 * lock, and so do posts without KVM.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/queue.h"
#include "qemu/xxhash.h"
#include "qemu/qht.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "system/kvm.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "migration/vmstate.h"
#include "cpu.h"
#include "kvm/synic-pages.h"
#include "hyperv-synic.h"
#include "hv-soft.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_SYNIC "hyperv-synic"
OBJECT_DECLARE_SIMPLE_TYPE(SynICState, SYNIC)

typedef struct SintLine SintLine;

struct SynICState {
    DeviceState parent_obj;

    CPUState *cs;
    bool sctl_enabled;
    hwaddr msg_page_addr;   /* 0: off */
    hwaddr event_page_addr; /* 0: off */
    MemoryRegion msg_page_mr;
    MemoryRegion event_page_mr;
    SintLine *lines[HV_SINT_COUNT]; /* NULL while a SINT has no route */
};

/*
 * What all routes to one SINT share.  KVM keeps one GSI for a SINT, the one
 * added last, and acknowledges that one only.
 */
struct SintLine {
    SynICState *synic; /* NULL once its CPU is unplugged */
    uint32_t sint;
    unsigned users;
    QLIST_HEAD(, HvSintRoute) routes;
    QEMUTimer *retry_timer; /* runs while a post waits for the slot */
    int64_t retry_ns;

    /* KVM only */
    int gsi; /* -1: none */
    EventNotifier set_notifier;
    EventNotifier ack_notifier; /* the guest wrote EOM or EOI */
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

static bool synic_enabled;

bool hyperv_is_synic_enabled(void)
{
    return synic_enabled;
}

static SynICState *get_synic(CPUState *cs)
{
    Object *obj = object_resolve_path_component(OBJECT(cs), "synic");

    return obj ? SYNIC(obj) : NULL;
}

static SynICState *find_synic(uint32_t vp_index)
{
    CPUState *cs = vp_index <= INT_MAX ? qemu_get_cpu(vp_index) : NULL;

    return cs && hyperv_vp_index(cs) == vp_index ? get_synic(cs) : NULL;
}

bool hyperv_synic_exists(uint32_t vp_index)
{
    return find_synic(vp_index);
}

/*
 * Highest guest physical address that can be mapped, plus one.  KVM refuses a
 * memory slot beyond what the host's CPU can address, and QEMU aborts then.
 */
static hwaddr address_limit(CPUState *cs)
{
    uint32_t bits = X86_CPU(cs)->phys_bits;

    if (kvm_enabled()) {
        uint32_t eax, ebx, ecx, edx;

        host_cpuid(0x80000000, 0, &eax, &ebx, &ecx, &edx);
        if (eax >= 0x80000008) {
            host_cpuid(0x80000008, 0, &eax, &ebx, &ecx, &edx);
            bits = MIN(bits, eax & 0xff);
        }
    }
    return (hwaddr)1 << MIN(bits, 52);
}

static void move_page(MemoryRegion *mr, hwaddr *cur, hwaddr addr)
{
    if (*cur == addr) {
        return;
    }
    if (*cur) {
        memory_region_del_subregion(get_system_memory(), mr);
    }
    if (addr) {
        memory_region_add_subregion_overlap(get_system_memory(), addr, mr, 1);
    }
    *cur = addr;
}

static void synic_update(SynICState *synic, bool sctl_enable,
                         hwaddr msg_page_addr, hwaddr event_page_addr)
{
    synic->sctl_enabled = sctl_enable;
    move_page(&synic->msg_page_mr, &synic->msg_page_addr, msg_page_addr);
    move_page(&synic->event_page_mr, &synic->event_page_addr,
              event_page_addr);
}

void hyperv_synic_update(CPUState *cs, bool enable, hwaddr msg_page_addr,
                         hwaddr event_page_addr)
{
    SynICState *synic = get_synic(cs);

    hwaddr limit = address_limit(cs);

    if (synic) {
        synic_update(synic, enable,
                     msg_page_addr < limit ? msg_page_addr : 0,
                     event_page_addr < limit ? event_page_addr : 0);
    }
}

static void *msg_page(SynICState *synic)
{
    return memory_region_get_ram_ptr(&synic->msg_page_mr);
}

static void *event_page(SynICState *synic)
{
    return memory_region_get_ram_ptr(&synic->event_page_mr);
}

static void unplug_line(SintLine *line);

static void synic_realize(DeviceState *dev, Error **errp)
{
    SynICState *synic = SYNIC(dev);
    uint32_t vp_index = hyperv_vp_index(synic->cs);
    g_autofree char *msg_name = NULL;
    g_autofree char *event_name = NULL;

    /* The names are part of the migration stream: they name RAM blocks. */
    msg_name = g_strdup_printf("synic-%u-msg-page", vp_index);
    event_name = g_strdup_printf("synic-%u-event-page", vp_index);
    if (!memory_region_init_ram(&synic->msg_page_mr, OBJECT(dev), msg_name,
                                sizeof(struct hyperv_message_page), errp)) {
        return;
    }
    memory_region_init_ram(&synic->event_page_mr, OBJECT(dev), event_name,
                           sizeof(struct hyperv_event_flags_page), errp);
}

static void synic_reset(DeviceState *dev)
{
    SynICState *synic = SYNIC(dev);

    memset(msg_page(synic), 0, sizeof(struct hyperv_message_page));
    memset(event_page(synic), 0, sizeof(struct hyperv_event_flags_page));
    synic_update(synic, false, 0, 0);
}

static void remove_page(DeviceState *dev, MemoryRegion *mr)
{
    vmstate_unregister_ram(mr, dev);
    object_unparent(OBJECT(mr));
}

static void synic_unrealize(DeviceState *dev)
{
    SynICState *synic = SYNIC(dev);
    int i;

    synic_update(synic, false, 0, 0);
    for (i = 0; i < HV_SINT_COUNT; i++) {
        if (synic->lines[i]) {
            unplug_line(synic->lines[i]);
            synic->lines[i] = NULL;
        }
    }
    remove_page(dev, &synic->msg_page_mr);
    remove_page(dev, &synic->event_page_mr);
}

static void synic_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->realize = synic_realize;
    dc->unrealize = synic_unrealize;
    device_class_set_legacy_reset(dc, synic_reset);
    dc->user_creatable = false;
}

static const TypeInfo synic_type_info = {
    .name = TYPE_SYNIC,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(SynICState),
    .class_init = synic_class_init,
};

static void synic_register_types(void)
{
    type_register_static(&synic_type_info);
}

type_init(synic_register_types)

void hyperv_synic_add(CPUState *cs)
{
    Object *obj = object_new(TYPE_SYNIC);

    SYNIC(obj)->cs = cs;
    object_property_add_child(OBJECT(cs), "synic", obj);
    object_unref(obj);
    qdev_realize(DEVICE(obj), NULL, &error_abort);
    synic_enabled = true;
}

void hyperv_synic_remove(CPUState *cs)
{
    SynICState *synic = get_synic(cs);

    if (synic) {
        object_unparent(OBJECT(synic));
    }
}

void hyperv_synic_reset(CPUState *cs)
{
    SynICState *synic = get_synic(cs);

    if (synic) {
        device_cold_reset(DEVICE(synic));
    }
}

typedef struct SetSint {
    CPUState *cs; /* referenced */
    uint32_t sint;
} SetSint;

static void set_sint_bh(void *opaque)
{
    g_autofree SetSint *s = opaque;

    hv_soft_set_sint(s->cs, s->sint);
    object_unref(OBJECT(s->cs));
}

static int raise_line(SintLine *line)
{
    SetSint *s;

    if (!line->synic) {
        return -ENXIO;
    }
    if (line->gsi >= 0) {
        return event_notifier_set(&line->set_notifier);
    }
    if (!hv_soft_enabled()) {
        return -ENOSYS;
    }
    if (bql_locked()) {
        return hv_soft_set_sint(line->synic->cs, line->sint);
    }
    s = g_new(SetSint, 1);
    *s = (SetSint) { line->synic->cs, line->sint };
    object_ref(OBJECT(s->cs));
    aio_bh_schedule_oneshot(qemu_get_aio_context(), set_sint_bh, s);
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
    ret = hv_message_slot_post(msg_page(synic), sint, (const void *)msg);
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
    retry_posts(container_of(notifier, SintLine, ack_notifier));
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
    SynICState *synic = get_synic(cs);
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
    SynICState *synic = get_synic(cs);
    int ret;

    if (!synic || sint >= HV_SINT_COUNT) {
        return -ENXIO;
    }
    ret = fill_slot(synic, sint, msg);
    return ret ? ret : hv_soft_set_sint(cs, sint);
}

static bool event_page_on(SynICState *synic)
{
    return synic && synic->sctl_enabled && synic->event_page_addr;
}

static void event_page_dirty(SynICState *synic, uint32_t sint)
{
    memory_region_set_dirty(&synic->event_page_mr,
                            sint * sizeof(struct hyperv_event_flags),
                            sizeof(struct hyperv_event_flags));
}

int hyperv_set_event_flag(HvSintRoute *route, unsigned eventno)
{
    SynICState *synic = route->line->synic;
    uint32_t sint = route->line->sint;

    if (eventno >= HV_EVENT_FLAGS_COUNT) {
        return -EINVAL;
    }
    if (!event_page_on(synic)) {
        return -ENXIO;
    }
    if (!hv_event_flag_set(event_page(synic), sint, eventno)) {
        return 0;
    }
    event_page_dirty(synic, sint);
    return hyperv_sint_route_set_sint(route);
}

void hyperv_clear_event_flag(HvSintRoute *route, unsigned eventno)
{
    SynICState *synic = route->line->synic;

    if (eventno < HV_EVENT_FLAGS_COUNT && event_page_on(synic)) {
        hv_event_flag_clear(event_page(synic), route->line->sint, eventno);
        event_page_dirty(synic, route->line->sint);
    }
}

static int add_kvm_route(uint32_t vcpu, uint32_t sint)
{
    struct kvm_irq_routing_entry kroute = {
        .type = KVM_IRQ_ROUTING_HV_SINT,
        .u.hv_sint = { .vcpu = vcpu, .sint = sint },
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

/* Gives @line its GSI and notifiers; the GSI is valid whether the guest has
 * its SynIC enabled yet or not. */
static int connect_line(SintLine *line)
{
    /* With a split irqchip QEMU would wait for an EOI that it never sees. */
    EventNotifier *ack = kvm_irqchip_is_split() ? NULL : &line->ack_notifier;
    int r;

    r = event_notifier_init(&line->set_notifier, false);
    if (r) {
        return r;
    }
    r = event_notifier_init(&line->ack_notifier, false);
    if (r) {
        goto err_set;
    }
    r = add_kvm_route(hyperv_vp_index(line->synic->cs), line->sint);
    if (r < 0) {
        goto err_ack;
    }
    line->gsi = r;
    r = kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, &line->set_notifier, ack,
                                           line->gsi);
    if (r) {
        goto err_gsi;
    }
    event_notifier_set_handler(&line->ack_notifier, ack_handler);
    return 0;
err_gsi:
    kvm_irqchip_release_virq(kvm_state, line->gsi);
    line->gsi = -1;
err_ack:
    event_notifier_cleanup(&line->ack_notifier);
err_set:
    event_notifier_cleanup(&line->set_notifier);
    return r;
}

static void disconnect_line(SintLine *line)
{
    if (line->gsi < 0) {
        return;
    }
    kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &line->set_notifier,
                                          line->gsi);
    kvm_irqchip_release_virq(kvm_state, line->gsi);
    /* Or KVM goes on naming the GSI as the SINT's. */
    kvm_irqchip_commit_routes(kvm_state);
    line->gsi = -1;
    event_notifier_set_handler(&line->ack_notifier, NULL);
    event_notifier_cleanup(&line->ack_notifier);
    event_notifier_cleanup(&line->set_notifier);
}

static SintLine *get_line(SynICState *synic, uint32_t sint)
{
    SintLine *line = synic->lines[sint];

    if (!line) {
        line = g_new0(SintLine, 1);
        line->synic = synic;
        line->sint = sint;
        line->gsi = -1;
        QLIST_INIT(&line->routes);
        if (kvm_enabled() && connect_line(line)) {
            g_free(line);
            return NULL;
        }
        line->retry_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, retry_timer,
                                         line);
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
    g_free(line);
}

/* The CPU goes away; routes stay until their owners drop them. */
static void unplug_line(SintLine *line)
{
    HvSintRoute *route;

    disconnect_line(line);
    line->synic = NULL;
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
    SynICState *synic = find_synic(vp_index);
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

/*
 * Connections: a guest posts messages to, and signals, connection ids.  Both
 * tables are read without a lock by virtual CPUs, and changed under the big
 * QEMU lock.
 */
typedef struct Connection {
    struct rcu_head rcu;
    uint32_t conn_id;
    HvMsgHandler handler; /* of a message connection */
    void *data;
    EventNotifier *notifier; /* of an event connection */
} Connection;

static struct qht msg_connections;
static struct qht event_connections;

static bool connection_cmp(const void *a, const void *b)
{
    return ((const Connection *)a)->conn_id == ((const Connection *)b)->conn_id;
}

static bool connection_is(const void *obj, const void *conn_id)
{
    return ((const Connection *)obj)->conn_id == *(const uint32_t *)conn_id;
}

static void __attribute__((constructor)) connections_init(void)
{
    qht_init(&msg_connections, connection_cmp, 8, QHT_MODE_AUTO_RESIZE);
    qht_init(&event_connections, connection_cmp, 64, QHT_MODE_AUTO_RESIZE);
}

static Connection *find_connection(struct qht *table, uint32_t conn_id)
{
    return qht_lookup_custom(table, &conn_id, qemu_xxhash2(conn_id),
                             connection_is);
}

static int add_connection(struct qht *table, const Connection *template)
{
    Connection *conn = g_memdup2(template, sizeof(*template));

    if (!qht_insert(table, conn, qemu_xxhash2(conn->conn_id), NULL)) {
        g_free(conn);
        return -EEXIST;
    }
    return 0;
}

static int remove_connection(struct qht *table, uint32_t conn_id)
{
    Connection *conn;

    RCU_READ_LOCK_GUARD();
    conn = find_connection(table, conn_id);
    if (!conn || !qht_remove(table, conn, qemu_xxhash2(conn_id))) {
        return -ENOENT;
    }
    g_free_rcu(conn, rcu);
    return 0;
}

int hyperv_set_msg_handler(uint32_t conn_id, HvMsgHandler handler, void *data)
{
    Connection conn = {
        .conn_id = conn_id, .handler = handler, .data = data,
    };

    return handler ? add_connection(&msg_connections, &conn) :
                     remove_connection(&msg_connections, conn_id);
}

uint16_t hyperv_post_message_input(const struct hyperv_post_message_input *in)
{
    uint32_t conn_id = in->connection_id & HV_CONNECTION_ID_MASK;
    Connection *conn;

    if (in->payload_size > sizeof(in->payload)) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    /* A posted message is handled under the big lock, so that handlers, and
     * whoever removes them, need no lock of their own. */
    BQL_LOCK_GUARD();
    RCU_READ_LOCK_GUARD();
    conn = find_connection(&msg_connections, conn_id);
    return conn ? conn->handler(in, conn->data) :
                  HV_STATUS_INVALID_CONNECTION_ID;
}

uint16_t hyperv_hcall_post_message(uint64_t param, bool fast)
{
    struct hyperv_post_message_input in;

    if (fast) {
        return HV_STATUS_INVALID_HYPERCALL_CODE;
    }
    if (param & 7) {
        return HV_STATUS_INVALID_ALIGNMENT;
    }
    /* One copy, taken before anything is looked at: the guest can go on
     * writing the original. */
    if (address_space_read(&address_space_memory, param,
                           MEMTXATTRS_UNSPECIFIED, &in,
                           sizeof(in)) != MEMTX_OK) {
        return HV_STATUS_INSUFFICIENT_MEMORY;
    }
    return hyperv_post_message_input(&in);
}

static bool kvm_takes_signals(void)
{
    static bool warned;

    if (!kvm_enabled()) {
        return false;
    }
    if (kvm_check_extension(kvm_state, KVM_CAP_HYPERV_EVENTFD)) {
        return true;
    }
    if (!warned) {
        warn_report("This kernel's KVM cannot signal Hyper-V connections by "
                    "eventfd (Linux 4.17 can); each signal of the guest "
                    "costs an exit to QEMU");
        warned = true;
    }
    return false;
}

int hyperv_set_event_flag_handler(uint32_t conn_id, EventNotifier *notifier)
{
    Connection conn = { .conn_id = conn_id, .notifier = notifier };

    if (kvm_takes_signals()) {
        struct kvm_hyperv_eventfd hvevfd = {
            .conn_id = conn_id,
            .fd = notifier ? event_notifier_get_fd(notifier) : -1,
            .flags = notifier ? 0 : KVM_HYPERV_EVENTFD_DEASSIGN,
        };

        return kvm_vm_ioctl(kvm_state, KVM_HYPERV_EVENTFD, &hvevfd);
    }
    return notifier ? add_connection(&event_connections, &conn) :
                      remove_connection(&event_connections, conn_id);
}

uint16_t hyperv_signal_connection(uint32_t conn_id, uint16_t flag)
{
    Connection *conn;

    /* A connection of ours has one flag; TLFS 11.7 lets a port have more. */
    if (flag) {
        return HV_STATUS_INVALID_PORT_ID;
    }
    if (conn_id & ~HV_CONNECTION_ID_MASK) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    RCU_READ_LOCK_GUARD();
    conn = find_connection(&event_connections, conn_id);
    if (!conn) {
        return HV_STATUS_INVALID_CONNECTION_ID;
    }
    event_notifier_set(conn->notifier);
    return HV_STATUS_SUCCESS;
}

uint16_t hyperv_hcall_signal_event(uint64_t param, bool fast)
{
    if (!fast) {
        hwaddr addr = param;

        if (addr & 7) {
            return HV_STATUS_INVALID_ALIGNMENT;
        }
        param = ldq_phys(&address_space_memory, addr);
    }
    if (param >> 48) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    return hyperv_signal_connection(param, param >> 32);
}
