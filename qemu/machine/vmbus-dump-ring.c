/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmbus-dump-ring: the packets that wait in a ring, for people who look for a
 * fault.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vmbus.h"
#include "qapi/util.h"
#include "bus/dump.h"
#include "bus/vmbus-protocol.h"
#include "hv-bridge.h"

typedef struct Dump {
    VMBusRingDump *out;
    VMBusPacketDumpList **tail;
} Dump;

static char *type_name(uint16_t type)
{
    static const char *const names[] = {
        [VMBUS_PKT_DATA_INBAND] = "data-inband",
        [VMBUS_PKT_DATA_XFER_PAGES] = "data-transfer-pages",
        [VMBUS_PKT_DATA_GPADL] = "data-gpadl",
        [VMBUS_PKT_DATA_GPA_DIRECT] = "data-gpa-direct",
        [VMBUS_PKT_CANCEL_REQUEST] = "cancel-request",
        [VMBUS_PKT_COMP] = "completion",
    };

    return type < ARRAY_SIZE(names) && names[type]
               ? g_strdup(names[type])
               : g_strdup_printf("%u", type);
}

static void dump_control(VMBusRingDump *out, const VmbusDumpControl *control)
{
    out->size = control->size;
    out->write_index = control->write_index;
    out->read_index = control->read_index;
    out->host_index = control->host_index;
    out->interrupt_mask = control->interrupt_mask;
    out->pending_send_size = control->pending_send_size;
    out->feature_bits = control->feature_bits;
}

static VMBusPacketDump *dump_packet(const VmbusDumpPacket *packet)
{
    VMBusPacketDump *out = g_new0(VMBusPacketDump, 1);
    GString *hex = g_string_new(NULL);

    for (uint32_t i = 0; i < packet->shown; i++) {
        g_string_append_printf(hex, "%02x", packet->bytes[i]);
    }
    out->index = packet->index;
    out->type = type_name(packet->type);
    out->flags = packet->flags;
    out->header_size = packet->header_len;
    out->size = packet->len;
    out->transaction_id = packet->trans_id;
    out->data = g_string_free(hex, false);
    return out;
}

static void emit(void *opaque, const VmbusDumpControl *control,
                 const VmbusDumpPacket *packet, const char *sentence)
{
    Dump *dump = opaque;

    if (control) {
        dump_control(dump->out, control);
    } else if (packet) {
        QAPI_LIST_APPEND(dump->tail, dump_packet(packet));
    } else {
        dump->out->incomplete = g_strdup(sentence);
    }
}

typedef struct Search {
    uint32_t relid;
    VmbusChannel *found;
} Search;

static void match(VmbusChannel *chan, void *opaque)
{
    Search *search = opaque;
    VmbusChannelInfo info;

    vmbus_channel_info(chan, &info);
    if (info.relid == search->relid) {
        search->found = chan;
    }
}

VMBusRingDump *qmp_vmbus_dump_ring(uint32_t relid, VMBusRing ring, Error **errp)
{
    g_autoptr(VMBusRingDump) out = g_new0(VMBusRingDump, 1);
    HvBridge *bridge = hv_bridge_find();
    Search search = {.relid = relid};
    Dump dump = {out, &out->packets};
    const char *why;

    if (bridge) {
        vmbus_bus_foreach(hv_bridge_bus(bridge), match, &search);
    }
    if (!search.found) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "the VMBus has no channel %u; query-vmbus shows those that "
                  "it has",
                  relid);
        return NULL;
    }
    why = vmbus_channel_dump(search.found,
                             ring == VM_BUS_RING_IN ? VMBUS_DUMP_TO_HOST
                                                    : VMBUS_DUMP_TO_GUEST,
                             emit, &dump);
    if (why) {
        error_setg(errp, "%s", why);
        return NULL;
    }
    return g_steal_pointer(&out);
}
