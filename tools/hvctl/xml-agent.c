/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's channel: a port of virtio to libvirt, on VMBus to QEMU. */
#include <string.h>

#include "xml-convert.h"

/*
 * Finds the agent's channel.  Like libvirt with VMBus, refuses two of them, and
 * a channel on VMBus for anything else.
 */
static bool find_agent(HvctlXmlConversion *c, GError **error)
{
    for (xmlNode *node = hvctl_xml_first(c->devices, NULL, "channel"); node;
         node = hvctl_xml_next(node, NULL, "channel")) {
        bool vmbus = hvctl_xml_is_channel(node, HVCTL_XML_BUS);
        bool named =
            hvctl_xml_find(node, "target", "name", HVCTL_XML_AGENT_NAME);

        if (vmbus && !named) {
            return hvctl_xml_fail(
                error, "a channel of type 'vmbus' must have the name '%s'.",
                HVCTL_XML_AGENT_NAME);
        }
        if (!named || (!vmbus && !hvctl_xml_is_channel(node, "virtio"))) {
            continue;
        }
        if (c->agent &&
            (vmbus || hvctl_xml_is_channel(c->agent, HVCTL_XML_BUS))) {
            return hvctl_xml_fail(error,
                                  "a domain with a channel of type 'vmbus' "
                                  "cannot have another one with the name '%s'.",
                                  HVCTL_XML_AGENT_NAME);
        }
        c->agent = node;
    }
    return true;
}

/* Whether there is a virtio serial controller, or libvirt will add one, for
 * other devices than the agent's channel. */
static bool has_virtio_serial(const HvctlXmlConversion *c)
{
    for (const xmlNode *node = hvctl_xml_first(c->devices, NULL, NULL); node;
         node = hvctl_xml_next(node, NULL, NULL)) {
        if (hvctl_xml_is(node, NULL, "controller") &&
            hvctl_xml_has(node, "type", "virtio-serial")) {
            return true;
        }
        if (node != c->agent &&
            (hvctl_xml_is(node, NULL, "channel") ||
             hvctl_xml_is(node, NULL, "console")) &&
            (hvctl_xml_has(node, "type", "spicevmc") ||
             hvctl_xml_find(node, "target", "type", "virtio"))) {
            return true;
        }
    }
    return false;
}

static void set_service_limits(HvctlXmlConversion *c, xmlNode *frontend,
                               int service)
{
    if (!strcmp(hvctl_xml_services[service].name, "vss")) {
        hvctl_xml_property_number(c, frontend, "freeze-limit", c->bus.hold);
    }
}

/*
 * libvirt wants a controller for the agent's channel.  So that the guest does
 * not see one it becomes one of the services, and has no room for channels
 * that would be real.  Returns which service that is, or -1.
 */
static int add_serial_controller(HvctlXmlConversion *c)
{
    g_autofree char *alias = NULL;
    xmlNode *controller, *frontend;
    int service = 0;

    while (service < HVCTL_XML_SERVICES && !c->bus.on[service]) {
        service++;
    }
    if (service == HVCTL_XML_SERVICES) {
        g_ptr_array_add(c->warnings,
                        g_strdup("with all services off the guest sees a "
                                 "virtio serial controller."));
        return -1;
    }
    alias = g_strdup_printf("%s%s-%s", HVCTL_XML_ALIAS, HVCTL_XML_BRIDGE,
                            hvctl_xml_services[service].name);
    controller =
        hvctl_xml_add(c->devices, NULL, "controller", "type", "virtio-serial",
                      "index", "0", "ports", "2", NULL);
    hvctl_xml_add(controller, NULL, "alias", "name", alias, NULL);
    hvctl_xml_add(controller, NULL, "address", "type", "virtio-mmio", NULL);
    hvctl_xml_record_device(c, alias, NULL);
    frontend = hvctl_xml_override(c, alias);
    hvctl_xml_property(c, frontend, "driver", "string",
                       hvctl_xml_services[service].driver);
    hvctl_xml_property(c, frontend, "bus", "string", HVCTL_XML_BUS);
    hvctl_xml_property(c, frontend, "max_ports", "remove", NULL);
    set_service_limits(c, frontend, service);
    return service;
}

/* The channel as libvirt knows it; told for the way back. */
static xmlNode *stock_channel(HvctlXmlConversion *c, const char *alias)
{
    xmlNode *original = c->agent, *channel, *target;

    if (original) {
        channel = hvctl_xml_replace(c, original);
        c->agent = channel;
        hvctl_xml_drop_all(channel, "alias");
        hvctl_xml_drop_all(channel, "address");
    } else {
        channel =
            hvctl_xml_add(c->devices, NULL, "channel", "type", "unix", NULL);
        hvctl_xml_add(channel, NULL, "target", "name", HVCTL_XML_AGENT_NAME,
                      NULL);
    }
    hvctl_xml_record_device(c, alias, original);
    target = hvctl_xml_first(channel, NULL, "target");
    hvctl_xml_set(target, "type", "virtio");
    hvctl_xml_unset(target, "state"); /* of a domain that runs */
    hvctl_xml_add(channel, NULL, "alias", "name", alias, NULL);
    return channel;
}

bool hvctl_xml_convert_agent(HvctlXmlConversion *c, int *service,
                             GError **error)
{
    g_autofree char *alias = NULL;
    xmlNode *channel, *frontend;

    *service = -1;
    if (!find_agent(c, error)) {
        return false;
    }
    /* An agent in the guest takes its place. */
    if (c->agent && !hvctl_xml_is_channel(c->agent, HVCTL_XML_BUS)) {
        return true;
    }
    if (!has_virtio_serial(c)) {
        *service = add_serial_controller(c);
    }
    alias = c->agent ? hvctl_xml_user_alias(c->agent) : NULL;
    if (!alias) {
        alias = g_strdup(HVCTL_XML_AGENT_ALIAS);
    }
    channel = stock_channel(c, alias);
    if (*service >= 0) {
        hvctl_xml_add(channel, NULL, "address", "type", "virtio-serial",
                      "controller", "0", "bus", "0", "port", "1", NULL);
    }
    frontend = hvctl_xml_override(c, alias);
    hvctl_xml_property(c, frontend, "driver", "string", "hv-guest-agent");
    hvctl_xml_property(c, frontend, "bus", "remove", NULL);
    hvctl_xml_property(c, frontend, "nr", "remove", NULL);
    hvctl_xml_property(c, frontend, "name", "remove", NULL);
    hvctl_xml_property_number(c, frontend, "freeze-hold", c->bus.hold);
    return true;
}
