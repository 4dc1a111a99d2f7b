/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-guest-agent: speaks the QEMU guest agent's protocol on a character device
 * and answers from the integration services, with nothing in the guest.
 *
 * It has no state in a migration stream: a command that is under way when the
 * machine stops gets an error, what a client has sent of the next one stays
 * with that client's connection, and a frozen guest is thawed by hv-vss.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-events-char.h"
#include "chardev/char-fe.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "system/runstate.h"
#include "hv-agent-services.h"
#include "hv-bridge.h"
#include "hv-service-events.h"
#include "trace/trace-hw_vmbus.h"

#define TYPE_HV_GUEST_AGENT "hv-guest-agent"
OBJECT_DECLARE_SIMPLE_TYPE(HvGuestAgent, HV_GUEST_AGENT)

struct HvGuestAgent {
    DeviceState parent_obj;

    CharBackend chr;
    uint32_t timeout, freeze_timeout, freeze_hold; /* seconds */

    HvAgent *agent;
    HvAgentServices services;
    HvAgentCommands *commands;
    QEMUTimer *timer;
    QEMUBH *bh;
    Notifier events;
    VMChangeStateEntry *runstate_entry;
    bool open; /* what clients and management were told */
    /* What the client has not read yet; it reads, or gets nothing new. */
    GByteArray *output;
    guint watch;
};

static void flush_output(HvGuestAgent *s);

static gboolean writable(void *do_not_use, GIOCondition cond, void *opaque)
{
    HvGuestAgent *s = opaque;

    s->watch = 0;
    flush_output(s);
    qemu_bh_schedule(s->bh);
    return G_SOURCE_REMOVE;
}

static void drop_watch(HvGuestAgent *s)
{
    if (s->watch) {
        g_source_remove(s->watch);
        s->watch = 0;
    }
}

/*
 * A write may end the connection, in this call.  Not called from within the
 * agent, which is told of that.
 */
static void flush_output(HvGuestAgent *s)
{
    if (s->watch) {
        return;
    }
    if (!qemu_chr_fe_backend_open(&s->chr)) {
        g_byte_array_set_size(s->output, 0);
    }
    if (s->output->len) {
        int done = qemu_chr_fe_write(&s->chr, s->output->data, s->output->len);

        /* Nothing is left of it if that was the end of the connection. */
        done = MIN(MAX(done, 0), s->output->len);
        g_byte_array_remove_range(s->output, 0, done);
    }
    if (s->output->len) {
        s->watch =
            qemu_chr_fe_add_watch(&s->chr, G_IO_OUT | G_IO_HUP, writable, s);
        if (!s->watch) {
            g_byte_array_set_size(s->output, 0);
        }
    }
    hv_agent_set_blocked(s->agent, s->output->len);
}

/* For HvAgentOps; the opaque pointer of the agent is that of the commands. */

static HvGuestAgent *device_of(void *opaque)
{
    return hv_agent_commands_opaque(opaque);
}

static void agent_send(void *opaque, const char *bytes, size_t len)
{
    HvGuestAgent *s = device_of(opaque);

    trace_hv_guest_agent_answer(len);
    g_byte_array_append(s->output, (const uint8_t *)bytes, len);
    qemu_bh_schedule(s->bh);
}

static void agent_wake(void *opaque)
{
    qemu_bh_schedule(device_of(opaque)->bh);
}

static void agent_abandon(void *opaque)
{
    hv_agent_commands_abandon(opaque);
}

static bool agent_has_device(void *opaque, const char *type)
{
    HvGuestAgent *s = device_of(opaque);

    return s->services.has_device(s, type);
}

static const HvAgentOps agent_ops = {
    .send = agent_send,
    .wake = agent_wake,
    .abandon = agent_abandon,
    .has_device = agent_has_device,
};

/* Clients see as "open" what the guest's end of a serial port would be. */
static void update_open(HvGuestAgent *s)
{
    bool open = !runstate_check(RUN_STATE_INMIGRATE) &&
                !runstate_check(RUN_STATE_FINISH_MIGRATE) &&
                !runstate_check(RUN_STATE_POSTMIGRATE) &&
                hv_agent_services_open();

    if (open == s->open) {
        return;
    }
    s->open = open;
    trace_hv_guest_agent_open(open);
    qemu_chr_fe_set_open(&s->chr, open);
    if (DEVICE(s)->id) {
        qapi_event_send_vserport_change(DEVICE(s)->id, open);
    }
}

/* All that happens, happens here: outside of the engines and the parser. */
static void work(void *opaque)
{
    HvGuestAgent *s = opaque;

    update_open(s);
    hv_agent_commands_poll(s->commands);
    flush_output(s);
    hv_agent_run(s->agent);
    flush_output(s);
    if (hv_agent_room(s->agent)) {
        qemu_chr_fe_accept_input(&s->chr);
    }
}

static void service_event(Notifier *notifier, void *data)
{
    HvGuestAgent *s = container_of(notifier, HvGuestAgent, events);
    const HvServiceEvent *event = data;

    if (event->kind == HV_SERVICE_SHUTDOWN_ANSWERED) {
        hv_agent_commands_shutdown_answered(s->commands, event->refusal);
    } else if (event->kind == HV_SERVICE_SYNCED) {
        hv_agent_commands_synced(s->commands, event->refusal);
    }
    qemu_bh_schedule(s->bh);
}

static void runstate_changed(void *opaque, bool running, RunState state)
{
    HvGuestAgent *s = opaque;

    if (!running) {
        hv_agent_commands_poll(s->commands);
        hv_agent_commands_cancel(s->commands, "the machine was stopped before "
                                              "the guest had answered");
    }
    update_open(s);
    qemu_bh_schedule(s->bh);
}

static void wake_at(void *opaque, int64_t when_ms)
{
    HvGuestAgent *s = opaque;

    if (when_ms == INT64_MAX) {
        timer_del(s->timer);
    } else {
        timer_mod(s->timer, when_ms);
    }
}

/* The character device */

static int can_read(void *opaque)
{
    return hv_agent_room(((HvGuestAgent *)opaque)->agent);
}

static void chr_read(void *opaque, const uint8_t *buf, int size)
{
    HvGuestAgent *s = opaque;

    trace_hv_guest_agent_input(size);
    hv_agent_input(s->agent, buf, MIN(size, hv_agent_room(s->agent)));
    flush_output(s);
}

static void chr_event(void *opaque, QEMUChrEvent event)
{
    HvGuestAgent *s = opaque;

    if (event != CHR_EVENT_OPENED && event != CHR_EVENT_CLOSED) {
        return;
    }
    trace_hv_guest_agent_client(event == CHR_EVENT_OPENED);
    drop_watch(s);
    g_byte_array_set_size(s->output, 0);
    hv_agent_disconnect(s->agent);
}

static int chr_change(void *opaque);

static void set_handlers(HvGuestAgent *s)
{
    qemu_chr_fe_set_handlers_full(&s->chr, can_read, chr_read, chr_event,
                                  chr_change, s, NULL, false, true);
}

/* chardev-change: another one, and so another client. */
static int chr_change(void *opaque)
{
    HvGuestAgent *s = opaque;

    chr_event(s, CHR_EVENT_CLOSED);
    set_handlers(s);
    qemu_chr_fe_set_open(&s->chr, s->open);
    return 0;
}

static bool check_properties(HvGuestAgent *s, Error **errp)
{
    if (!qemu_chr_fe_backend_connected(&s->chr)) {
        error_setg(errp, "hv-guest-agent needs the property chardev");
    } else if (!hv_bridge_find()) {
        error_setg(errp, "hv-guest-agent needs a vmbus-bridge, given before "
                         "it");
    } else if (!s->timeout || s->timeout > 600) {
        error_setg(errp, "timeout is given in seconds, from 1 to 600");
    } else if (!s->freeze_timeout || s->freeze_timeout > 900) {
        error_setg(errp, "freeze-timeout is given in seconds, from 1 to 900");
    } else if (!s->freeze_hold || s->freeze_hold > 86400) {
        error_setg(errp, "freeze-hold is given in seconds, from 1 to 86400");
    } else {
        return true;
    }
    return false;
}

static void agent_realize(DeviceState *dev, Error **errp)
{
    HvGuestAgent *s = HV_GUEST_AGENT(dev);
    HvAgentLimits limits = {
        .timeout_ms = s->timeout * 1000,
        .freeze_timeout_ms = s->freeze_timeout * 1000,
        .freeze_hold_ms = s->freeze_hold * 1000,
    };

    if (!check_properties(s, errp)) {
        return;
    }
    hv_agent_services_init(&s->services);
    s->services.wake_at = wake_at;
    s->timer = timer_new_ms(QEMU_CLOCK_REALTIME, work, s);
    s->bh = qemu_bh_new(work, s);
    s->output = g_byte_array_new();
    s->commands = hv_agent_commands_new(&s->services, s, &limits);
    s->agent = hv_agent_new(hv_agent_commands, &agent_ops, s->commands);
    s->events.notify = service_event;
    hv_service_events_add(&s->events);
    s->runstate_entry = qemu_add_vm_change_state_handler(runstate_changed, s);
    set_handlers(s);
}

static void agent_unrealize(DeviceState *dev)
{
    HvGuestAgent *s = HV_GUEST_AGENT(dev);

    drop_watch(s);
    qemu_chr_fe_deinit(&s->chr, false);
    qemu_del_vm_change_state_handler(s->runstate_entry);
    notifier_remove(&s->events);
    hv_agent_free(s->agent);
    hv_agent_commands_free(s->commands);
    g_byte_array_unref(s->output);
    qemu_bh_delete(s->bh);
    timer_free(s->timer);
}

static const Property agent_props[] = {
    DEFINE_PROP_CHR("chardev", HvGuestAgent, chr),
    DEFINE_PROP_UINT32("timeout", HvGuestAgent, timeout, 10),
    DEFINE_PROP_UINT32("freeze-timeout", HvGuestAgent, freeze_timeout, 60),
    DEFINE_PROP_UINT32("freeze-hold", HvGuestAgent, freeze_hold, 60),
};

static void agent_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "QEMU guest agent's protocol on Hyper-V integration services";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    dc->realize = agent_realize;
    dc->unrealize = agent_unrealize;
    dc->hotpluggable = false;
    device_class_set_props(dc, agent_props);
    object_class_property_set_description(
        klass, "chardev", "where clients connect, usually a socket");
    object_class_property_set_description(
        klass, "timeout", "seconds that the guest has for an answer");
    object_class_property_set_description(
        klass, "freeze-timeout",
        "seconds until the guest is frozen, or the command fails");
    object_class_property_set_description(
        klass, "freeze-hold",
        "seconds after which a frozen guest is thawed if no client does it; "
        "at most the freeze-limit of hv-vss");
}

static const TypeInfo agent_type_info = {
    .name = TYPE_HV_GUEST_AGENT,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(HvGuestAgent),
    .class_init = agent_class_init,
};

static void agent_register_types(void)
{
    type_register_static(&agent_type_info);
}

type_init(agent_register_types)
