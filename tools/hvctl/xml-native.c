/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Back from a domain that hvctl_xml_to_stock() made. */
#include <string.h>

#include "xml.h"

/* The device that libvirt calls by @alias, or NULL: somebody removed it. */
static xmlNode *find_device(const xmlNode *devices, const char *alias)
{
    xmlNode *node = hvctl_xml_first(devices, NULL, NULL);

    for (; node; node = hvctl_xml_next(node, NULL, NULL)) {
        g_autofree char *index = NULL, *name = NULL;

        if (hvctl_xml_find(node, "alias", "name", alias)) {
            return node;
        }
        if (!hvctl_xml_is(node, NULL, "controller") ||
            !hvctl_xml_has(node, "type", "scsi")) {
            continue;
        }
        /* A domain that does not run has no aliases but the user's. */
        index = hvctl_xml_get(node, "index");
        name = g_strdup_printf("scsi%s", index ? index : "");
        if (!strcmp(alias, name)) {
            return node;
        }
    }
    return NULL;
}

/* What was there instead comes back, if the device is still there. */
static void restore_device(xmlDoc *doc, const xmlNode *devices,
                           const xmlNode *recorded)
{
    const xmlNode *original = hvctl_xml_first(recorded, NULL, NULL);
    g_autofree char *alias = hvctl_xml_get(recorded, "alias");
    xmlNode *stock = alias ? find_device(devices, alias) : NULL;

    if (!stock) {
        return;
    }
    if (original) {
        xmlAddPrevSibling(stock, xmlDocCopyNode((xmlNode *)original, doc, 1));
    }
    hvctl_xml_drop(stock);
}

static bool is_ours(const xmlNode *device, const char *alias)
{
    const xmlNode *frontend =
        hvctl_xml_first(device, HVCTL_XML_QEMU_NS, "frontend");
    const xmlNode *property =
        hvctl_xml_first(frontend, HVCTL_XML_QEMU_NS, "property");

    /* The user may change other properties of the device. */
    return hvctl_xml_has(device, "alias", alias) && property &&
           hvctl_xml_has(property, "name", "driver");
}

static void drop_override(const xmlNode *domain, const char *alias)
{
    xmlNode *overrides = hvctl_xml_first(domain, HVCTL_XML_QEMU_NS, "override");
    xmlNode *device = hvctl_xml_first(overrides, HVCTL_XML_QEMU_NS, "device");
    xmlNode *next;

    for (; device; device = next) {
        next = hvctl_xml_next(device, HVCTL_XML_QEMU_NS, "device");
        if (is_ours(device, alias)) {
            hvctl_xml_drop(device);
        }
    }
    if (overrides) {
        hvctl_xml_drop_empty(overrides);
    }
}

/* Whether @argument is what makes the bridge or a service. */
static bool makes_bus(const xmlNode *argument)
{
    g_autofree char *value = hvctl_xml_get(argument, "value");

    if (!value) {
        return false;
    }
    if (!strcmp(value, "vmbus-bridge,id=" HVCTL_XML_BRIDGE)) {
        return true;
    }
    for (int i = 0; i < HVCTL_XML_SERVICES; i++) {
        g_autofree char *start =
            g_strdup_printf("%s,id=%s-%s,", hvctl_xml_services[i].driver,
                            HVCTL_XML_BRIDGE, hvctl_xml_services[i].name);

        if (g_str_has_prefix(value, start)) {
            return true;
        }
    }
    return false;
}

static void drop_arguments(const xmlNode *domain)
{
    xmlNode *commandline =
        hvctl_xml_first(domain, HVCTL_XML_QEMU_NS, "commandline");
    xmlNode *option = hvctl_xml_first(commandline, HVCTL_XML_QEMU_NS, "arg");
    xmlNode *next;

    for (; option; option = next) {
        xmlNode *argument = hvctl_xml_next(option, HVCTL_XML_QEMU_NS, "arg");

        next = argument;
        if (argument && hvctl_xml_has(option, "value", "-device") &&
            makes_bus(argument)) {
            next = hvctl_xml_next(argument, HVCTL_XML_QEMU_NS, "arg");
            hvctl_xml_drop(option);
            hvctl_xml_drop(argument);
        }
    }
    if (commandline) {
        hvctl_xml_drop_empty(commandline);
    }
}

static void restore_bus(xmlDoc *doc, xmlNode *devices, const xmlNode *record)
{
    const xmlNode *bus = hvctl_xml_first(record, HVCTL_XML_OWN_NS, "bus");
    const xmlNode *vmbus = hvctl_xml_first(bus, NULL, "vmbus");
    unsigned position = 0;
    xmlNode *node;

    if (!vmbus) {
        return;
    }
    if (!hvctl_xml_number(bus, "position", &position, NULL)) {
        position = 0;
    }
    for (node = devices->children; node && position > 0; position--) {
        node = node->next;
    }
    if (node) {
        xmlAddPrevSibling(node, xmlDocCopyNode((xmlNode *)vmbus, doc, 1));
    } else {
        xmlAddChild(devices, xmlDocCopyNode((xmlNode *)vmbus, doc, 1));
    }
}

/* If the domain had not declared it, and nothing uses it any more. */
static void drop_namespace(xmlNode *domain)
{
    xmlNs **link = &domain->nsDef, *found;

    if (hvctl_xml_first(domain, HVCTL_XML_QEMU_NS, NULL)) {
        return;
    }
    while (*link && strcmp((const char *)(*link)->href, HVCTL_XML_QEMU_NS)) {
        link = &(*link)->next;
    }
    found = *link;
    if (found) {
        *link = found->next;
        found->next = NULL;
        xmlFreeNs(found);
    }
}

static void restore(xmlDoc *doc, xmlNode *domain, xmlNode *devices,
                    xmlNode *record)
{
    xmlNode *metadata = record->parent;
    bool declared = !hvctl_xml_was_added(record, "namespace");
    bool described = !hvctl_xml_was_added(record, "metadata");
    const xmlNode *device = hvctl_xml_first(record, HVCTL_XML_OWN_NS, "device");

    drop_arguments(domain);
    for (; device;
         device = hvctl_xml_next(device, HVCTL_XML_OWN_NS, "device")) {
        g_autofree char *alias = hvctl_xml_get(device, "alias");

        restore_device(doc, devices, device);
        if (alias) {
            drop_override(domain, alias);
        }
    }
    restore_bus(doc, devices, record);
    hvctl_xml_undo_enlighten(domain, record);
    hvctl_xml_drop(record);
    if (!described) {
        hvctl_xml_drop_empty(metadata);
    }
    if (!declared) {
        drop_namespace(domain);
    }
}

bool hvctl_xml_to_native(xmlDoc *doc, GError **error)
{
    xmlNode *domain = xmlDocGetRootElement(doc);
    xmlNode *metadata, *devices, *record;

    if (!hvctl_xml_is(domain, NULL, "domain")) {
        return hvctl_xml_fail(error, "the text is <%s>, not a <domain>.",
                              (const char *)domain->name);
    }
    metadata = hvctl_xml_first(domain, NULL, "metadata");
    devices = hvctl_xml_first(domain, NULL, "devices");
    record = hvctl_xml_first(metadata, HVCTL_XML_OWN_NS, "stock");
    if (!record || !devices) {
        return hvctl_xml_fail(error,
                              "the domain was not made by 'hvctl xml --stock': "
                              "its <metadata> does not tell what from.");
    }
    if (hvctl_xml_first(devices, NULL, "vmbus")) {
        return hvctl_xml_fail(error, "the domain has a <vmbus> beside what it "
                                     "was converted from.");
    }
    restore(doc, domain, devices, record);
    return true;
}
