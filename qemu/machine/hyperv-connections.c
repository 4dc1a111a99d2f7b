/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections (include/hw/hyperv/hyperv.h): a guest posts messages to, and
 * signals, connection ids.  Both tables are read without a lock by virtual
 * CPUs, and changed under the big QEMU lock.
 */
#include "qemu/osdep.h"
#include "qemu/event_notifier.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/qht.h"
#include "qemu/rcu.h"
#include "qemu/xxhash.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "system/kvm.h"
#include "cpu.h"
#include "hyperv-synic.h"
#include "hv-soft.h"
#include "trace/trace-hw_vmbus.h"

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
        .conn_id = conn_id,
        .handler = handler,
        .data = data,
    };

    return handler ? add_connection(&msg_connections, &conn)
                   : remove_connection(&msg_connections, conn_id);
}

uint16_t hyperv_post_message_input(const struct hyperv_post_message_input *in)
{
    uint32_t conn_id = in->connection_id & HV_CONNECTION_ID_MASK;
    HvMsgHandler handler = NULL;
    void *data = NULL;

    if (in->payload_size > sizeof(in->payload)) {
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    }
    /* A posted message is handled under the big lock, so that handlers, and
     * whoever removes them, need no lock of their own. */
    BQL_LOCK_GUARD();
    WITH_RCU_READ_LOCK_GUARD() {
        Connection *conn = find_connection(&msg_connections, conn_id);

        if (conn) {
            handler = conn->handler;
            data = conn->data;
        }
    }
    /* It may wait for IOThreads: not as a reader of RCU. */
    return handler ? handler(in, data) : HV_STATUS_INVALID_CONNECTION_ID;
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
    if (address_space_read(&address_space_memory, param, MEMTXATTRS_UNSPECIFIED,
                           &in, sizeof(in)) != MEMTX_OK) {
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
    Connection conn = {.conn_id = conn_id, .notifier = notifier};

    if (kvm_takes_signals()) {
        struct kvm_hyperv_eventfd hvevfd = {
            .conn_id = conn_id,
            .fd = notifier ? event_notifier_get_fd(notifier) : -1,
            .flags = notifier ? 0 : KVM_HYPERV_EVENTFD_DEASSIGN,
        };

        return kvm_vm_ioctl(kvm_state, KVM_HYPERV_EVENTFD, &hvevfd);
    }
    return notifier ? add_connection(&event_connections, &conn)
                    : remove_connection(&event_connections, conn_id);
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
