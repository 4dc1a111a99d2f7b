/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shutdown service of a guest that refuses, in each way that there is, and
 * then accepts.  Linux knows none of these refusals.  With "shutdown=old" it
 * agrees to a version without hibernation.
 */
#include "vmbus.h"

#define PATIENCE_US 60000000

struct message {
    IcPipeHeader pipe;
    IcHeader header;
    union {
        struct {
            IcNegotiate head;
            IcWireVersion version[VB_MAX_VERSIONS];
        } negotiate;
        IcShutdown shutdown;
    };
};

static struct message message;

/* In the order of the host's requests. */
static const struct {
    const char *name;
    uint32_t status;
    uint32_t flags; /* that are expected */
} answers[] = {
    {"not ready", IC_STATUS_NOT_READY, 0},
    {"locked", IC_STATUS_MACHINE_LOCKED, IC_SHUTDOWN_RESTART},
    {"in progress", IC_STATUS_SHUTDOWN_IN_PROGRESS, 0},
    {"not supported", IC_STATUS_NOT_SUPPORTED, IC_SHUTDOWN_FORCE},
    {"failed", IC_STATUS_FAIL, 0},
    {"accepted", IC_STATUS_OK, IC_SHUTDOWN_RESTART | IC_SHUTDOWN_FORCE},
};

/* The next message of @type is in message; false if another came, or none. */
static bool next(struct vb_channel *ch, unsigned type)
{
    uint32_t least = sizeof(message.pipe) + sizeof(message.header);

    return vb_read(ch, &message, sizeof(message), PATIENCE_US) >= least &&
           message.header.message_type == type;
}

static void answer(struct vb_channel *ch, uint32_t status)
{
    IcHeader *header = &message.header;

    header->flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    header->status = status;
    message.pipe.size = sizeof(*header) + header->message_size;
    vb_send_inband(ch, &message, sizeof(message.pipe) + message.pipe.size);
}

void test_shutdown(void)
{
    static const VmbusGuid class_id = IC_SHUTDOWN_CLASS;
    const volatile VmbusRingControl *out;
    struct vb_channel *ch;

    vb_init();
    if (!vb_contact(VMBUS_VERSION(5, 3), 0, 2, NULL) || !vb_request_offers() ||
        !(ch = vb_find(&class_id)) || !vb_open(ch, 0, 6)) {
        tap(false, "shutdown", "the channel was not opened");
        return;
    }
    if (!tap(next(ch, IC_MESSAGE_NEGOTIATE), "versions are offered", "none")) {
        return;
    }
    vb_choose_versions(&message.header, &message.negotiate.head,
                       option_has("shutdown", "old"));
    answer(ch, IC_STATUS_OK);
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        if (!tap(next(ch, IC_MESSAGE_SHUTDOWN), answers[i].name,
                 "no request came")) {
            return;
        }
        tap_equal(message.shutdown.flags, answers[i].flags, "its flags");
        answer(ch, answers[i].status);
    }
    /* A message to the host may overtake a packet. */
    out = ch->out;
    tap(wait_for(out->read_index == ch->out_write, PATIENCE_US),
        "the host has read all answers", "it has not");
    tap(vb_unload(), "and the end", "no answer");
}
