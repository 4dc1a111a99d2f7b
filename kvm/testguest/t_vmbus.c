/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMBus as a well-behaved guest uses it, on a machine with vmbus-bridge,
 * hv-heartbeat and hv-shutdown.
 */
#include "devices/ic-protocol.h"
#include "vmbus.h"

static const uint32_t versions[] = {
    VMBUS_VERSION_2_4, VMBUS_VERSION_3_0, VMBUS_VERSION_4_0, VMBUS_VERSION_4_1,
    VMBUS_VERSION_5_0, VMBUS_VERSION_5_1, VMBUS_VERSION_5_2, VMBUS_VERSION_5_3,
};

static const VmbusGuid shutdown_class = IC_SHUTDOWN_CLASS;

static bool round_trip(uint32_t version, uint32_t vp, unsigned sint,
                       const char *name)
{
    const char *why = vb_round_trip(version, vp, sint);

    return tap(!why, name, "version %u.%u, processor %u, SINT %u: %s",
               version >> 16, version & 0xffff, vp, sint, why ? why : "");
}

static void check_versions(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(versions); i++) {
        print("# version %u.%u\n", versions[i] >> 16, versions[i] & 0xffff);
        round_trip(versions[i], 0, VMBUS_MESSAGE_SINT,
                   "connect, offers, heartbeat, close, unload");
    }
}

static void check_unknown_versions(void)
{
    static const uint32_t unknown[] = {
        0,
        VMBUS_VERSION(1, 0),
        VMBUS_VERSION(3, 1),
        VMBUS_VERSION(4, 2),
        VMBUS_VERSION(5, 9),
        VMBUS_VERSION(7, 0),
        0x7fffffff,
        0xffffffff,
    };
    unsigned wrong = 0;

    for (unsigned i = 0; i < ARRAY_LEN(unknown); i++) {
        VmbusMsgVersionResponse r = {.supported = 0xff};

        if (vb_contact(unknown[i], 0, VMBUS_MESSAGE_SINT, &r) || r.supported) {
            print("# version 0x%x: supported %u\n", unknown[i], r.supported);
            wrong++;
        }
    }
    tap(!wrong, "versions that there are not are refused", "%u were not",
        wrong);
}

static void check_offers(void)
{
    struct vb_channel *hb;

    if (!tap(vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL) &&
                 vb_request_offers(),
             "offers come", "they do not")) {
        return;
    }
    hb = vb_heartbeat();
    tap(vb.offer_count == 2 && hb && vb_find(&shutdown_class),
        "heartbeat and shutdown are offered", "%u offers, heartbeat %d",
        vb.offer_count, !!hb);
    tap(hb && hb->offer.relid && hb->offer.relid < VMBUS_RELID_COUNT &&
            hb->offer.connection_id && !hb->offer.subchannel_index,
        "an offer has a relid and a connection", "relid %u, connection 0x%x",
        hb ? hb->offer.relid : 0, hb ? hb->offer.connection_id : 0);
    tap(vb_unload(), "unload with nothing open", "no answer");
}

/* Rings of 64 pages want GPADL_BODY messages, and wrap after a while. */
static void check_large_ring_and_wrap(void)
{
    struct vb_channel *hb;
    unsigned i;

    vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL);
    vb_request_offers();
    hb = vb_heartbeat();
    tap(hb && vb_open(hb, 0, 64) && vb_heartbeats(hb, 1) && vb_close(hb),
        "a ring of several GPADL messages", "it does not work");
    /* The smallest rings: a page of control and a page of data each. */
    tap(hb && vb_open(hb, 0, 4) && vb_heartbeats(hb, 1), "the smallest ring",
        "it does not work");
    for (i = 0; hb && i < 200; i++) {
        uint8_t junk[40] = {9}; /* no answer: refused, and no harm */
        volatile VmbusRingControl *out = hb->out;

        vb_send_inband(hb, junk, sizeof(junk));
        if (!wait_for(out->read_index == hb->out_write, VB_TIMEOUT_US)) {
            break;
        }
    }
    tap(i == 200, "the ring to the host wraps", "after %u packets", i);
    tap(hb && vb_close(hb) && vb_unload(), "and closes", "it does not");
}

static void check_reconnect(uint32_t vp, const char *name)
{
    const char *why = NULL;
    struct vb_channel *hb, *sd;
    uint32_t old_gpadl;
    VmbusMsg msg;

    vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL);
    vb_request_offers();
    hb = vb_heartbeat();
    sd = vb_find(&shutdown_class);
    if (!hb || !sd || !vb_open(hb, 0, 8) || !vb_open(sd, 0, 8) ||
        !vb_heartbeats(hb, 1)) {
        tap(false, name, "the first connection failed");
        return;
    }
    old_gpadl = hb->gpadl;
    /* What a kernel does that comes up after a crash. */
    if (!vb_contact(VMBUS_VERSION_5_3, vp, VMBUS_MESSAGE_SINT, NULL)) {
        why = "the host refused the second contact";
    } else if (!vb_request_offers() || vb.offer_count != 2) {
        why = "the offers did not come again";
    } else if (hb = vb_heartbeat(), !hb || !vb_open(hb, vp, 8)) {
        why = "the channel did not open again";
    } else if (!vb_heartbeats(hb, 2)) {
        why = "heartbeats do not flow again";
    }
    tap(!why, name, "%s", why ? why : "");
    msg.gpadl_teardown = (VmbusMsgGpadlTeardown){
        .header.type = VMBUS_MSG_GPADL_TEARDOWN,
        .relid = hb ? hb->offer.relid : 0,
        .gpadl = old_gpadl,
    };
    vb_post(&msg, sizeof(msg.gpadl_teardown));
    tap(!vb_receive(&msg, 50000), "GPADLs of the dead kernel are gone",
        "message %u came", msg.header.type);
    tap(hb && vb_close(hb) && vb_unload(), "and the new one ends well",
        "it does not");
}

/* The dead kernel had a message in its slot that it will never free. */
static void check_reconnect_busy(void)
{
    VmbusMsgHeader request = {.type = VMBUS_MSG_REQUESTOFFERS};
    unsigned other = cpu_count - 1;
    VmbusMsgVersionResponse r = {0};
    unsigned unexpected = vb.unexpected;
    bool ok;

    vb_contact(VMBUS_VERSION_5_3, other, VMBUS_MESSAGE_SINT, NULL);
    vb.hold = true;
    vb_post(&request, sizeof(request));
    wait_for(hv_vps[other].messages[VMBUS_MESSAGE_SINT].flags & HV_MSG_PENDING,
             VB_TIMEOUT_US);
    /* A new kernel begins with new pages. */
    hv_synic_off(other);
    hv_synic_on(other);
    vb.hold = false;
    ok = vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, &r);
    tap(ok && vb_request_offers() && vb.offer_count == 2 && vb_unload(),
        "reconnect while messages wait for a slot that nobody frees",
        "connected %d, %u offers", ok, vb.offer_count);
    /* With one processor the dead kernel's messages arrive after all. */
    vb.unexpected = unexpected;
}

static void check_targets(void)
{
    unsigned last = cpu_count - 1;
    struct vb_channel *hb;
    uint32_t before;

    for (unsigned cpu = 1; cpu < cpu_count; cpu++) {
        round_trip(VMBUS_VERSION_5_3, cpu, VMBUS_MESSAGE_SINT,
                   "messages to another processor");
    }
    /* Messages on 0 and the channel elsewhere. */
    vb_contact(VMBUS_VERSION_4_1, 0, VMBUS_MESSAGE_SINT, NULL);
    vb_request_offers();
    hb = vb_heartbeat();
    before = vb.signals_on[last];
    tap(hb && vb_open(hb, last, 8) && vb_heartbeats(hb, 2) &&
            vb.signals_on[last] > before,
        "a channel interrupts the processor it was opened for",
        "%u interrupts there", vb.signals_on[last] - before);
    vb_unload();
}

static void check_modify(void)
{
    unsigned last = cpu_count - 1;
    VmbusMsg msg;
    struct vb_channel *hb;
    uint32_t before;
    bool answered;

    vb_contact(VMBUS_VERSION_5_3, 0, VMBUS_MESSAGE_SINT, NULL);
    vb_request_offers();
    hb = vb_heartbeat();
    if (!hb || !vb_open(hb, 0, 8) || !vb_heartbeats(hb, 1)) {
        tap(false, "a channel moves to another processor", "it did not open");
        return;
    }
    msg.modify_channel = (VmbusMsgModifyChannel){
        .header.type = VMBUS_MSG_MODIFYCHANNEL,
        .relid = hb->offer.relid,
        .target_vp = last,
    };
    vb_post(&msg, sizeof(msg.modify_channel));
    answered = vb_expect(VMBUS_MSG_MODIFYCHANNEL_RESPONSE, &msg) &&
               !msg.modify_channel_response.status;
    before = vb.signals_on[last];
    tap(answered && vb_heartbeats(hb, 1) && vb.signals_on[last] > before,
        "a channel moves to another processor", "answered %d, %u interrupts",
        answered, vb.signals_on[last] - before);
    vb_unload();
}

static void check_sints(void)
{
    static const uint8_t sints[] = {1, 5, 15};

    for (unsigned i = 0; i < ARRAY_LEN(sints); i++) {
        round_trip(VMBUS_VERSION_5_1, 0, sints[i],
                   "messages and signals on another SINT");
        round_trip(VMBUS_VERSION_5_3, cpu_count - 1, sints[i],
                   "messages and signals on another SINT");
    }
    vb_listen(0, VMBUS_MESSAGE_SINT);
}

void test_vmbus(void)
{
    if (!hv_present() || !(cpuid(0x40000003).eax >> 2 & 1)) {
        tap_skip("VMBus", "the machine has no hv-synic");
        return;
    }
    vb_init();
    check_versions();
    check_unknown_versions();
    check_offers();
    check_large_ring_and_wrap();
    check_reconnect(0, "a second contact with channels open");
    check_reconnect(cpu_count - 1, "a second contact from another processor");
    check_reconnect_busy();
    check_targets();
    check_modify();
    check_sints();
    tap(!vb.unexpected, "no message came that was not due", "%u did",
        vb.unexpected);
}
