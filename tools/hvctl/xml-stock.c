/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain with VMBus made one for a libvirt without it. */
#include <string.h>

#include "xml-convert.h"

#define MAX_CONTROLLERS 256

static void add_argument(HvctlXmlConversion *c, const char *value)
{
    hvctl_xml_add(c->arguments, c->qemu, "arg", "value", value, NULL);
}

xmlNode *hvctl_xml_override(HvctlXmlConversion *c, const char *alias)
{
    xmlNode *device =
        hvctl_xml_add(c->overrides, c->qemu, "device", "alias", alias, NULL);

    return hvctl_xml_add(device, c->qemu, "frontend", NULL);
}

void hvctl_xml_property(HvctlXmlConversion *c, xmlNode *frontend,
                        const char *name, const char *type, const char *value)
{
    xmlNode *property =
        hvctl_xml_add(frontend, c->qemu, "property", "name", name, NULL);

    hvctl_xml_set(property, "type", type);
    if (value) {
        hvctl_xml_set(property, "value", value);
    }
}

void hvctl_xml_property_number(HvctlXmlConversion *c, xmlNode *frontend,
                               const char *name, unsigned value)
{
    g_autofree char *text = g_strdup_printf("%u", value);

    if (value > 0) {
        hvctl_xml_property(c, frontend, name, "unsigned", text);
    }
}

void hvctl_xml_record_device(HvctlXmlConversion *c, const char *alias,
                             xmlNode *original)
{
    xmlNode *device =
        hvctl_xml_add(c->record, c->record->ns, "device", "alias", alias, NULL);

    if (original) {
        xmlAddChild(device, original);
    }
}

xmlNode *hvctl_xml_replace(HvctlXmlConversion *c, xmlNode *node)
{
    xmlNode *copy = xmlDocCopyNode(node, c->doc, 1);

    xmlReplaceNode(node, copy);
    return copy;
}

char *hvctl_xml_user_alias(const xmlNode *device)
{
    g_autofree char *name = NULL;
    const xmlNode *alias = hvctl_xml_first(device, NULL, "alias");

    name = alias ? hvctl_xml_get(alias, "name") : NULL;
    return name && g_str_has_prefix(name, HVCTL_XML_ALIAS)
               ? g_steal_pointer(&name)
               : NULL;
}

static bool is_scsi(const xmlNode *device)
{
    return hvctl_xml_is(device, NULL, "controller") &&
           hvctl_xml_has(device, "type", "scsi") &&
           hvctl_xml_has(device, "model", "vmbus");
}

bool hvctl_xml_is_channel(const xmlNode *device, const char *type)
{
    return hvctl_xml_is(device, NULL, "channel") &&
           hvctl_xml_find(device, "target", "type", type);
}

static bool is_on_vmbus(const xmlNode *device)
{
    return hvctl_xml_has(device, "model", "vmbus") ||
           hvctl_xml_has(device, "bus", "vmbus") ||
           hvctl_xml_find(device, "model", "type", "vmbus") ||
           hvctl_xml_find(device, "address", "type", "vmbus");
}

/*
 * Instance ids that the definition gives.  Also refuses devices that cannot be
 * carried over.
 */
static bool look_at_device(HvctlXmlConversion *c, xmlNode *device,
                           unsigned *found, GError **error)
{
    g_autofree char *text = NULL, *id = NULL;
    const xmlNode *address;

    if (hvctl_xml_is_channel(device, HVCTL_XML_BUS)) {
        ++*found;
        return true;
    }
    if (!is_scsi(device)) {
        return !is_on_vmbus(device) ||
               hvctl_xml_fail(error,
                              "<%s> on VMBus cannot be carried over to a "
                              "libvirt without VMBus.",
                              (const char *)device->name);
    }
    ++*found;
    address = hvctl_xml_first(device, NULL, "address");
    text = address ? hvctl_xml_get(address, "type") : NULL;
    if (text && strcmp(text, "vmbus") != 0) {
        return hvctl_xml_fail(error,
                              "a controller of model 'vmbus' needs an address "
                              "of type 'vmbus', not '%s'.",
                              text);
    }
    g_free(text);
    text = address ? hvctl_xml_get(address, "instanceid") : NULL;
    if (!text) {
        return true;
    }
    id = hvctl_xml_uuid(text);
    if (!id) {
        return hvctl_xml_fail(error, "VMBus instance id '%s' is not a UUID.",
                              text);
    }
    if (!g_hash_table_add(c->ids, g_strdup(id))) {
        return hvctl_xml_fail(
            error, "VMBus instance id %s is given to more than one device.",
            id);
    }
    return true;
}

/* Finds the bus; *@vmbus is NULL if a device brings it. */
static bool look_at_devices(HvctlXmlConversion *c, xmlNode **vmbus,
                            GError **error)
{
    unsigned found = 0;

    *vmbus = hvctl_xml_first(c->devices, NULL, "vmbus");
    if (*vmbus && hvctl_xml_next(*vmbus, NULL, "vmbus")) {
        return hvctl_xml_fail(error, "a domain can have only one <vmbus>.");
    }
    for (xmlNode *device = hvctl_xml_first(c->devices, NULL, NULL); device;
         device = hvctl_xml_next(device, NULL, NULL)) {
        if (!look_at_device(c, device, &found, error)) {
            return false;
        }
    }
    return *vmbus || found > 0 ||
           hvctl_xml_fail(error, "the domain has no <vmbus>.");
}

static bool check_machine(const HvctlXmlConversion *c, GError **error)
{
    const xmlNode *os = hvctl_xml_first(c->domain, NULL, "os");
    const xmlNode *type = hvctl_xml_first(os, NULL, "type");
    g_autofree char *machine = type ? hvctl_xml_get(type, "machine") : NULL;
    g_autofree char *arch = type ? hvctl_xml_get(type, "arch") : NULL;

    if (arch && strcmp(arch, "x86_64") != 0 && strcmp(arch, "i686") != 0) {
        return hvctl_xml_fail(error,
                              "VMBus is part of x86 machines only, not of "
                              "architecture '%s'.",
                              arch);
    }
    if (machine && strcmp(machine, "q35") != 0 &&
        !g_str_has_prefix(machine, "pc")) {
        return hvctl_xml_fail(
            error, "machine type '%s' has no VMBus; use 'q35' or 'pc'.",
            machine);
    }
    return true;
}

/* The domain's UUID, made if it has none; NULL with *@error set. */
static char *domain_uuid(HvctlXmlConversion *c, GError **error)
{
    xmlNode *node = hvctl_xml_first(c->domain, NULL, "uuid");
    g_autofree char *uuid = NULL;
    xmlChar *text;

    if (!node) {
        uuid = g_uuid_string_random();
        xmlNodeSetContent(hvctl_xml_add(c->domain, NULL, "uuid", NULL),
                          (const xmlChar *)uuid);
        g_ptr_array_add(c->warnings,
                        g_strdup("the domain has no <uuid>, so it gets one: "
                                 "instance ids are made from it."));
        return g_steal_pointer(&uuid);
    }
    text = xmlNodeGetContent(node);
    uuid = hvctl_xml_uuid((const char *)text);
    if (!uuid) {
        hvctl_xml_fail(error, "<uuid> is not a UUID: '%s'.",
                       (const char *)text);
    }
    xmlFree(text);
    return g_steal_pointer(&uuid);
}

/* The lowest index that no SCSI controller has, as libvirt takes it. */
static unsigned free_index(const HvctlXmlConversion *c)
{
    bool used[MAX_CONTROLLERS] = {false};
    unsigned index = 0;

    for (const xmlNode *node = hvctl_xml_first(c->devices, NULL, "controller");
         node; node = hvctl_xml_next(node, NULL, "controller")) {
        if (hvctl_xml_has(node, "type", "scsi") &&
            hvctl_xml_number(node, "index", &index, NULL) &&
            index < MAX_CONTROLLERS) {
            used[index] = true;
        }
    }
    for (index = 0; index < MAX_CONTROLLERS && used[index]; index++) {
    }
    return index;
}

static bool give_index(HvctlXmlConversion *c, xmlNode *controller,
                       unsigned *index, GError **error)
{
    g_autofree char *text = NULL;

    if (!hvctl_xml_given(controller, "index")) {
        *index = free_index(c);
        text = g_strdup_printf("%u", *index);
        hvctl_xml_set(controller, "index", text);
        return true;
    }
    return hvctl_xml_number(controller, "index", index, error);
}

/* What <driver> says goes to QEMU's device: for virtio it means other things
 * and has other names. */
static bool convert_driver(HvctlXmlConversion *c, const xmlNode *controller,
                           xmlNode *frontend, GError **error)
{
    const xmlNode *driver = hvctl_xml_first(controller, NULL, "driver");
    const char *name;
    unsigned value;

    for (const xmlAttr *attribute = driver ? driver->properties : NULL;
         attribute; attribute = attribute->next) {
        name = (const char *)attribute->name;
        if (strcmp(name, "queues") != 0 && strcmp(name, "iothread") != 0) {
            return hvctl_xml_fail(
                error, "'%s' is not supported by a VMBus controller.", name);
        }
        if (!hvctl_xml_number(driver, name, &value, error)) {
            return false;
        }
        if (!strcmp(name, "queues")) {
            hvctl_xml_property_number(c, frontend, "num-queues", value);
        } else if (value > 0) {
            g_autofree char *thread = g_strdup_printf("iothread%u", value);

            hvctl_xml_property(c, frontend, "iothread", "string", thread);
        }
    }
    if (hvctl_xml_first(driver, NULL, "iothreads")) {
        g_ptr_array_add(
            c->warnings,
            g_strdup("a controller cannot share its channels out to several "
                     "IOThreads: <iothreads> of its <driver> is left out."));
    }
    return true;
}

static char *instance_id(HvctlXmlConversion *c, const xmlNode *controller,
                         const char *uuid, unsigned index)
{
    const xmlNode *address = hvctl_xml_first(controller, NULL, "address");
    g_autofree char *given =
        address ? hvctl_xml_get(address, "instanceid") : NULL;
    unsigned attempt = 0;
    char *id;

    if (given) {
        return hvctl_xml_uuid(given);
    }
    id = hvctl_xml_instance_id(uuid, "scsi", index, attempt);
    while (!g_hash_table_add(c->ids, g_strdup(id))) {
        g_free(id);
        id = hvctl_xml_instance_id(uuid, "scsi", index, ++attempt);
    }
    return id;
}

static bool convert_scsi(HvctlXmlConversion *c, xmlNode *original,
                         const char *uuid, GError **error)
{
    xmlNode *stock = hvctl_xml_replace(c, original), *frontend;
    g_autofree char *alias = hvctl_xml_user_alias(stock);
    g_autofree char *id = NULL;
    unsigned index = 0;
    bool done = give_index(c, stock, &index, error);

    if (!alias) {
        /* As libvirt names it, and so a controller on VMBus. */
        alias = g_strdup_printf("scsi%u", index);
        hvctl_xml_drop_all(stock, "alias");
    }
    hvctl_xml_record_device(c, alias, original);
    if (!done) {
        return false;
    }
    id = instance_id(c, stock, uuid, index);
    frontend = hvctl_xml_override(c, alias);
    hvctl_xml_property(c, frontend, "driver", "string", "hv-scsi");
    hvctl_xml_property(c, frontend, "bus", "string", HVCTL_XML_BUS);
    hvctl_xml_property(c, frontend, "instanceid", "string", id);
    if (!convert_driver(c, stock, frontend, error)) {
        return false;
    }
    hvctl_xml_set(stock, "model", "virtio-scsi");
    hvctl_xml_drop_all(stock, "driver");
    hvctl_xml_drop_all(stock, "address");
    hvctl_xml_add(stock, NULL, "address", "type", "virtio-mmio", NULL);
    return true;
}

static bool convert_controllers(HvctlXmlConversion *c, GError **error)
{
    g_autofree char *uuid = NULL;
    xmlNode *node = hvctl_xml_first(c->devices, NULL, "controller"), *next;

    for (; node; node = next) {
        next = hvctl_xml_next(node, NULL, "controller");
        if (!is_scsi(node)) {
            continue;
        }
        if (!uuid && !(uuid = domain_uuid(c, error))) {
            return false;
        }
        if (!convert_scsi(c, node, uuid, error)) {
            return false;
        }
    }
    return true;
}

/* QEMU makes devices whose arguments are not JSON before the others, so the bus
 * is there when controllers of libvirt's look for it. */
static void add_bus(HvctlXmlConversion *c, int except)
{
    add_argument(c, "-device");
    add_argument(c, "vmbus-bridge,id=" HVCTL_XML_BRIDGE);
    for (int i = 0; i < HVCTL_XML_SERVICES; i++) {
        const HvctlXmlService *service = &hvctl_xml_services[i];
        g_autofree char *limit = NULL, *text = NULL;

        if (i == except || !c->bus.on[i]) {
            continue;
        }
        if (!strcmp(service->name, "vss") && c->bus.hold > 0) {
            limit = g_strdup_printf(",freeze-limit=%u", c->bus.hold);
        }
        text = g_strdup_printf("%s,id=%s-%s,bus=%s%s", service->driver,
                               HVCTL_XML_BRIDGE, service->name, HVCTL_XML_BUS,
                               limit ? limit : "");
        add_argument(c, "-device");
        add_argument(c, text);
    }
}

static bool declare_namespace(HvctlXmlConversion *c, GError **error)
{
    c->qemu = xmlSearchNsByHref(c->doc, c->domain,
                                (const xmlChar *)HVCTL_XML_QEMU_NS);
    if (c->qemu && c->qemu->prefix) {
        return true;
    }
    c->qemu = xmlNewNs(c->domain, (const xmlChar *)HVCTL_XML_QEMU_NS,
                       (const xmlChar *)"qemu");
    hvctl_xml_added(c->record, "namespace");
    return c->qemu ||
           hvctl_xml_fail(error, "the prefix 'qemu' is another namespace's.");
}

/* What goes to QEMU comes first in elements that the domain may have already:
 * the user's own arguments may want the bus. */
static void merge(HvctlXmlConversion *c, xmlNode *ours)
{
    xmlNode *theirs =
        hvctl_xml_first(c->domain, HVCTL_XML_QEMU_NS, (const char *)ours->name);
    xmlNode *node, *before;

    if (!theirs) {
        xmlAddChild(c->domain, ours);
        return;
    }
    before = theirs->children;
    while ((node = ours->children)) {
        xmlUnlinkNode(node);
        if (before) {
            xmlAddPrevSibling(before, node);
        } else {
            xmlAddChild(theirs, node);
        }
    }
    xmlFreeNode(ours);
}

/* Where <vmbus> stands among its siblings. */
static void record_bus(HvctlXmlConversion *c, xmlNode *vmbus)
{
    g_autofree char *text = NULL;
    xmlNode *bus = hvctl_xml_add(c->record, c->record->ns, "bus", NULL);
    unsigned position = 0;

    if (!vmbus) {
        return;
    }
    for (const xmlNode *node = vmbus->prev; node; node = node->prev) {
        position++;
    }
    text = g_strdup_printf("%u", position);
    hvctl_xml_set(bus, "position", text);
    xmlUnlinkNode(vmbus);
    xmlAddChild(bus, vmbus);
}

static bool convert(HvctlXmlConversion *c, GError **error)
{
    xmlNode *vmbus;
    int service;

    if (!look_at_devices(c, &vmbus, error) || !check_machine(c, error) ||
        !hvctl_xml_read_bus(vmbus, &c->bus, error) ||
        !hvctl_xml_enlighten(c->domain, c->record, error) ||
        !declare_namespace(c, error)) {
        return false;
    }
    xmlSetNs(c->arguments, c->qemu);
    xmlSetNs(c->overrides, c->qemu);
    record_bus(c, vmbus);
    if (!convert_controllers(c, error) ||
        !hvctl_xml_convert_agent(c, &service, error)) {
        return false;
    }
    add_bus(c, service);
    if (!hvctl_xml_first(c->devices, NULL, "emulator")) {
        g_ptr_array_add(c->warnings,
                        g_strdup("the domain has no <emulator>: libvirt takes "
                                 "a QEMU without these devices."));
    }
    return true;
}

static void finish(HvctlXmlConversion *c)
{
    bool made;
    xmlNode *metadata = hvctl_xml_ensure(c->domain, "metadata", &made);

    if (made) {
        hvctl_xml_added(c->record, "metadata");
    }
    xmlAddChild(metadata, c->record);
    merge(c, c->arguments);
    if (c->overrides->children) {
        merge(c, c->overrides);
    } else {
        xmlFreeNode(c->overrides);
    }
}

static bool open_domain(HvctlXmlConversion *c, GError **error)
{
    const xmlNode *metadata;

    c->domain = xmlDocGetRootElement(c->doc);
    if (!hvctl_xml_is(c->domain, NULL, "domain")) {
        return hvctl_xml_fail(error, "the text is <%s>, not a <domain>.",
                              (const char *)c->domain->name);
    }
    metadata = hvctl_xml_first(c->domain, NULL, "metadata");
    if (hvctl_xml_first(metadata, HVCTL_XML_OWN_NS, "stock")) {
        return hvctl_xml_fail(error,
                              "the domain is converted already: its <metadata> "
                              "holds what it was made from.");
    }
    c->devices = hvctl_xml_first(c->domain, NULL, "devices");
    return c->devices || hvctl_xml_fail(error, "the domain has no <vmbus>.");
}

bool hvctl_xml_to_stock(xmlDoc *doc, GPtrArray *warnings, GError **error)
{
    HvctlXmlConversion c = {.doc = doc, .warnings = warnings};
    xmlNs *own;
    bool done;

    if (!open_domain(&c, error)) {
        return false;
    }
    c.record = xmlNewDocNode(doc, NULL, (const xmlChar *)"stock", NULL);
    own = xmlNewNs(c.record, (const xmlChar *)HVCTL_XML_OWN_NS,
                   (const xmlChar *)"vmbus");
    xmlSetNs(c.record, own);
    c.arguments =
        xmlNewDocNode(doc, NULL, (const xmlChar *)"commandline", NULL);
    c.overrides = xmlNewDocNode(doc, NULL, (const xmlChar *)"override", NULL);
    c.ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    done = convert(&c, error);
    if (done) {
        finish(&c);
    } else {
        xmlFreeNode(c.record);
        xmlFreeNode(c.arguments);
        xmlFreeNode(c.overrides);
    }
    g_hash_table_unref(c.ids);
    return done;
}
