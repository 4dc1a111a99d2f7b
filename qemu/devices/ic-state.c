/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/ic-state.h"

enum {
    PORT_SLOTS = 32, /* IcSavedSlot each */
    PORT_REFUSALS,   /* 64-bit counters by IcRefusal */
};

/* A request that has no answer yet. */
typedef struct IcSavedSlot {
    uint8_t id;
    uint8_t reserved;
    uint16_t message_type;
    uint32_t reserved2;
    uint64_t cookie;
} IcSavedSlot;
_Static_assert(sizeof(IcSavedSlot) == 16, "saved slot");

#define P(tag, member, max) VMBUS_BLOB_FIELD(tag, IcPort, member, max)
static const VmbusBlobField port_fields[] = {
    P(1, state, IC_MUTED),
    P(2, framework_version, UINT32_MAX),
    P(3, message_version, UINT32_MAX),
    P(4, negotiate_unsent, 1),
    P(5, wants_room, 1),
    P(6, next_id, UINT8_MAX),
    P(7, sent, UINT64_MAX),
    P(8, answered, UINT64_MAX),
    P(9, refused, UINT64_MAX),
};

void ic_save(const IcPort *port, GByteArray *blob)
{
    guint place = vmbus_blob_open(blob, IC_STATE_PORT);
    guint slots;

    vmbus_blob_put_fields(blob, port_fields, G_N_ELEMENTS(port_fields), port);
    vmbus_blob_put(blob, PORT_REFUSALS, port->refusals, sizeof(port->refusals));
    slots = vmbus_blob_open(blob, PORT_SLOTS);
    for (unsigned i = 0; i < G_N_ELEMENTS(port->slot); i++) {
        IcSavedSlot saved = {
            .id = i,
            .message_type = port->slot[i].message_type,
            .cookie = port->slot[i].cookie,
        };

        if (port->slot[i].used) {
            g_byte_array_append(blob, (const guint8 *)&saved, sizeof(saved));
        }
    }
    vmbus_blob_close(blob, slots);
    vmbus_blob_close(blob, place);
}

static const char *load_slots(IcPort *port, const VmbusBlobItem *item)
{
    size_t count = item->len / sizeof(IcSavedSlot);

    if (item->len % sizeof(IcSavedSlot) || port->in_flight) {
        return "The saved service has a list of requests that is damaged.";
    }
    /* The negotiation is one more. */
    if (count > port->service->max_in_flight + 1u) {
        return "The saved service has too many requests without an answer.";
    }
    for (size_t i = 0; i < count; i++) {
        IcSavedSlot saved;

        memcpy(&saved, item->data + i * sizeof(saved), sizeof(saved));
        if (port->slot[saved.id].used) {
            return "The saved service has two requests with one id.";
        }
        if (saved.message_type != IC_MESSAGE_NEGOTIATE &&
            saved.message_type != port->service->message_type) {
            return "The saved service has a request of another service.";
        }
        port->slot[saved.id].used = true;
        port->slot[saved.id].message_type = saved.message_type;
        port->slot[saved.id].cookie = saved.cookie;
        port->in_flight++;
    }
    return NULL;
}

static const char *port_item(void *opaque, const VmbusBlobItem *item)
{
    IcPort *port = opaque;

    switch (item->tag) {
    case PORT_SLOTS:
        return load_slots(port, item);
    case PORT_REFUSALS:
        /* A version may know more reasons, or fewer. */
        if (item->len % sizeof(uint64_t)) {
            return "The saved service has counters that are damaged.";
        }
        memcpy(port->refusals, item->data,
               MIN(item->len, sizeof(port->refusals)));
        return NULL;
    default:
        return vmbus_blob_unknown;
    }
}

static const char *validate(const IcPort *port, const VmbusChannel *chan)
{
    bool closed = port->state == IC_CLOSED;

    if (closed == vmbus_channel_is_open(chan)) {
        return "The saved service is open and its channel is not, or the "
               "reverse.";
    }
    if (closed &&
        (port->in_flight || port->framework_version || port->message_version ||
         port->negotiate_unsent || port->wants_room)) {
        return "The saved service is closed and has parts of an open one.";
    }
    if ((port->framework_version || port->message_version) &&
        port->state != IC_READY && port->state != IC_MUTED) {
        return "The saved service has versions that it has not agreed on.";
    }
    if (!ic_versions_offered(port) &&
        (port->framework_version || port->message_version ||
         port->state == IC_READY)) {
        return "The saved service has agreed on versions that were not "
               "offered.";
    }
    return NULL;
}

const char *ic_load(IcPort *port, VmbusChannel *chan, const VmbusBlobItem *item)
{
    IcPort loaded;
    const char *why;

    ic_init(&loaded, port->service, port->opaque);
    why =
        vmbus_blob_read(item->data, item->len, port_fields,
                        G_N_ELEMENTS(port_fields), &loaded, port_item, &loaded);
    if (!why) {
        why = validate(&loaded, chan);
    }
    if (!why) {
        loaded.chan = loaded.state == IC_CLOSED ? NULL : chan;
        *port = loaded;
    }
    return why;
}
