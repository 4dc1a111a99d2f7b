/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Domains for a libvirt that knows nothing of VMBus.
 *
 * It can be told to change properties of what it puts on QEMU's command line
 * (<qemu:override>, since 8.2), the name of the device among them.  So a
 * controller on VMBus is written down as one of virtio, the agent's channel
 * as a virtio port, and both become VMBus devices on the command line; disks
 * and the agent's verbs then work as always.  The address type virtio-mmio
 * keeps libvirt from giving them a PCI slot.  The bridge and the services are
 * arguments of their own.
 *
 * <metadata> holds what was replaced, so that the way back is exact.
 */
#ifndef HVCTL_XML_H
#define HVCTL_XML_H

#include "xml-dom.h"

#define HVCTL_XML_QEMU_NS "http://libvirt.org/schemas/domain/qemu/1.0"
/* Of the element <stock> in <metadata>: what stock and native agree upon. */
#define HVCTL_XML_OWN_NS "urn:kvm-vmbus:stock:1.0"

#define HVCTL_XML_BRIDGE "vmbus0" /* its id; services are vmbus0-NAME */
#define HVCTL_XML_BUS    "vmbus"
/* libvirt leaves aliases that begin with this to the user. */
#define HVCTL_XML_ALIAS       "ua-"
#define HVCTL_XML_AGENT_ALIAS "ua-vmbus-agent"
#define HVCTL_XML_AGENT_NAME  "org.qemu.guest_agent.0"

enum { HVCTL_XML_SERVICES = 6 };

typedef struct HvctlXmlService {
    const char *name, *driver;
} HvctlXmlService;

extern const HvctlXmlService hvctl_xml_services[HVCTL_XML_SERVICES];

typedef struct HvctlXmlBus {
    bool on[HVCTL_XML_SERVICES];
    unsigned hold; /* of vss, in seconds; 0: none given */
} HvctlXmlBus;

/* @vmbus may be NULL: a bus that a device brought with it. */
bool hvctl_xml_read_bus(const xmlNode *vmbus, HvctlXmlBus *bus, GError **error);

/*
 * What a machine with VMBus needs: refused if it is off; turned on if nothing
 * is said, and then told in @record, if not NULL, for the way back.
 */
bool hvctl_xml_enlighten(xmlNode *domain, xmlNode *record, GError **error);
void hvctl_xml_undo_enlighten(xmlNode *domain, const xmlNode *record);
/* An element <added name=> in @record, and whether there is one. */
void hvctl_xml_added(xmlNode *record, const char *name);
bool hvctl_xml_was_added(const xmlNode *record, const char *name);

/* UUID in the form of RFC 9562, or NULL; free with g_free. */
char *hvctl_xml_uuid(const char *text);
/*
 * The instance id that libvirt with VMBus computes for a device of this kind
 * and index in the domain, the @attempt-th one if others have it already; free
 * with g_free.
 */
char *hvctl_xml_instance_id(const char *domain_uuid, const char *kind,
                            unsigned index, unsigned attempt);

/*
 * Both change @doc.  False with *@error set, and then @doc is of no use.
 * @warnings: sentences are appended
 */
bool hvctl_xml_to_stock(xmlDoc *doc, GPtrArray *warnings, GError **error);
bool hvctl_xml_to_native(xmlDoc *doc, GError **error);

#endif
