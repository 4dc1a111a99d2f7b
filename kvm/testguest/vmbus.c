/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmbus.h"

#define QUEUE_SIZE 64 /* messages that nobody has asked for yet */

struct vb vb;

static struct {
    VmbusMsg msg[QUEUE_SIZE];
    volatile unsigned head, tail;
} queue;

static uint8_t monitor_pages[2][PAGE_SIZE] __attribute__((aligned(4096)));

/* One message for each interrupt, as Linux does: the host must raise the SINT
 * again for the next one. */
static void take_message(struct cpu *cpu)
{
    struct hv_message *msg = &hv_vps[cpu->id].messages[vb.sint];
    unsigned next = (queue.head + 1) % QUEUE_SIZE;

    if (vb.hold || cpu->id != vb.target_vp || msg->type == HV_MSG_NONE) {
        return;
    }
    if (next != queue.tail) {
        memset(&queue.msg[queue.head], 0, sizeof(VmbusMsg));
        memcpy(&queue.msg[queue.head], msg->payload, msg->payload_size);
        barrier();
        queue.head = next;
    }
    vb.messages++;
    hv_free_slot(cpu->id, vb.sint);
}

static void take_signals(struct cpu *cpu)
{
    uint64_t *word = hv_vps[cpu->id].events->flags[vb.sint];

    for (unsigned i = 0; i < 32; i++) {
        uint64_t bits;

        if (!word[i]) {
            continue;
        }
        bits = __atomic_exchange_n(&word[i], 0, __ATOMIC_SEQ_CST);
        while (bits) {
            /* A channel that moves may have it on two processors. */
            __atomic_fetch_add(&vb.signals[i * 64 + __builtin_ctzll(bits)], 1,
                               __ATOMIC_SEQ_CST);
            bits &= bits - 1;
            vb.signals_on[cpu->id]++;
        }
    }
}

static void take_by_hand(void *arg)
{
    __asm__ volatile("cli");
    take_message(this_cpu());
    take_signals(this_cpu());
    __asm__ volatile("sti");
}

void vb_release(void)
{
    vb.hold = false;
    run_on(vb.target_vp, take_by_hand, NULL);
}

static void vb_interrupt(struct cpu *cpu, uint8_t vector)
{
    take_message(cpu);
    take_signals(cpu);
}

void vb_init(void)
{
    hv_setup();
    irq_set(VB_VECTOR, vb_interrupt, false);
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_synic_on(cpu);
    }
    vb.conn_id = VMBUS_MESSAGE_CONNECTION_ID;
    vb_listen(0, VMBUS_MESSAGE_SINT);
}

/*
 * Channels may interrupt any processor, so the SINT is open on all.  What came
 * while it was masked had no interrupt and gets none now.
 */
void vb_listen(unsigned target, unsigned sint)
{
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        if (sint != vb.sint) {
            hv_set_sint(cpu, vb.sint, HV_SINT_MASKED | VB_VECTOR);
        }
    }
    vb.target_vp = target;
    vb.sint = sint;
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        hv_set_sint(cpu, sint, VB_VECTOR | HV_SINT_AUTO_EOI);
        run_on(cpu, take_by_hand, NULL);
    }
}

uint16_t vb_post_to(uint32_t conn, const void *msg, uint32_t len, uint64_t us)
{
    uint64_t end = time_us() + us;
    uint16_t status;

    do {
        status = hv_post(conn, HV_MSG_VMBUS, msg, len);
    } while (status == HV_INSUFFICIENT_BUFFERS && time_us() < end);
    return status;
}

uint16_t vb_post(const void *msg, uint32_t len)
{
    return vb_post_to(vb.conn_id, msg, len, VB_TIMEOUT_US);
}

bool vb_receive(VmbusMsg *msg, uint64_t us)
{
    if (!wait_for(queue.head != queue.tail, us)) {
        return false;
    }
    memcpy(msg, &queue.msg[queue.tail], sizeof(*msg));
    barrier();
    queue.tail = (queue.tail + 1) % QUEUE_SIZE;
    return true;
}

bool vb_expect(uint32_t type, VmbusMsg *msg)
{
    while (vb_receive(msg, VB_TIMEOUT_US)) {
        if (msg->header.type == type) {
            return true;
        }
        print("# message %u came instead of %u\n", msg->header.type, type);
        vb.unexpected++;
    }
    print("# message %u did not come\n", type);
    return false;
}

void vb_drain(void)
{
    queue.tail = queue.head;
}

void vb_post_contact(uint32_t version, uint32_t target_vp, unsigned sint,
                     uint32_t conn)
{
    VmbusMsgInitiateContact msg = {
        .header.type = VMBUS_MSG_INITIATE_CONTACT,
        .version = version,
        .target_vp = target_vp,
        .monitor_page1 = (uintptr_t)monitor_pages[0],
        .monitor_page2 = (uintptr_t)monitor_pages[1],
    };

    if (version >= VMBUS_VERSION_5_0) {
        msg.msg_sint = sint;
    }
    vb_post_to(conn, &msg, sizeof(msg), VB_TIMEOUT_US);
}

bool vb_contact(uint32_t version, uint32_t target_vp, unsigned sint,
                VmbusMsgVersionResponse *response)
{
    bool later = version >= VMBUS_VERSION_5_0;
    VmbusMsg msg;

    vb_listen(target_vp, sint);
    vb_drain();
    vb_post_contact(version, target_vp, sint,
                    later ? VMBUS_MULTICLIENT_MESSAGE_CONNECTION_ID
                          : VMBUS_MESSAGE_CONNECTION_ID);
    if (!vb_expect(VMBUS_MSG_VERSION_RESPONSE, &msg)) {
        return false;
    }
    if (response) {
        *response = msg.version_response;
    }
    if (!msg.version_response.supported ||
        msg.version_response.connection_state) {
        return false;
    }
    vb.version = version;
    vb.conn_id = later ? msg.version_response.connection_id
                       : VMBUS_MESSAGE_CONNECTION_ID;
    /* What was open before is the business of whoever opened it. */
    vb.offer_count = 0;
    return true;
}

bool vb_request_offers(void)
{
    VmbusMsgHeader request = {.type = VMBUS_MSG_REQUESTOFFERS};
    VmbusMsg msg;

    vb.offer_count = 0;
    vb_post(&request, sizeof(request));
    while (vb_receive(&msg, VB_TIMEOUT_US)) {
        if (msg.header.type == VMBUS_MSG_ALLOFFERS_DELIVERED) {
            return true;
        }
        if (msg.header.type != VMBUS_MSG_OFFERCHANNEL) {
            vb.unexpected++;
        } else if (vb.offer_count < VB_MAX_OFFERS) {
            struct vb_channel *ch = &vb.channels[vb.offer_count++];
            uint8_t *memory = ch->memory;
            unsigned pages = ch->pages;

            memset(ch, 0, sizeof(*ch));
            ch->memory = memory;
            ch->pages = pages;
            ch->offer = msg.offer;
        }
    }
    return false;
}

struct vb_channel *vb_find(const VmbusGuid *class_id)
{
    for (unsigned i = 0; i < vb.offer_count; i++) {
        if (vmbus_guid_equal(&vb.channels[i].offer.class_id, class_id)) {
            return &vb.channels[i];
        }
    }
    return NULL;
}

bool vb_unload(void)
{
    VmbusMsgHeader msg = {.type = VMBUS_MSG_UNLOAD};
    VmbusMsg reply;

    vb_post(&msg, sizeof(msg));
    return vb_expect(VMBUS_MSG_UNLOAD_RESPONSE, &reply);
}
