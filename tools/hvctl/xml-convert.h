/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the conversion share. */
#ifndef HVCTL_XML_CONVERT_H
#define HVCTL_XML_CONVERT_H

#include "xml.h"

typedef struct HvctlXmlConversion {
    xmlDoc *doc;
    xmlNode *domain, *devices;
    xmlNode
        *record; /* what is told for the way back; not yet in the document */
    xmlNs *qemu;
    xmlNode *arguments, *overrides; /* for QEMU; not yet in the document */
    HvctlXmlBus bus;
    GPtrArray *warnings; /* of char * */
    GHashTable *ids;     /* instance ids that are taken */
    xmlNode *agent;      /* channel that has the agent's name, or NULL */
} HvctlXmlConversion;

/* For a device that libvirt calls by @alias; returns where the changes of its
 * properties go. */
xmlNode *hvctl_xml_override(HvctlXmlConversion *c, const char *alias);
/* @type is libvirt's: string, unsigned, or remove, which has no value. */
void hvctl_xml_property(HvctlXmlConversion *c, xmlNode *frontend,
                        const char *name, const char *type, const char *value);
/* Nothing is set for 0. */
void hvctl_xml_property_number(HvctlXmlConversion *c, xmlNode *frontend,
                               const char *name, unsigned value);

/*
 * Tells for the way back that the device with this alias stands for @original,
 * which is out of the document and taken over, or, if that is NULL, is new.
 */
void hvctl_xml_record_device(HvctlXmlConversion *c, const char *alias,
                             xmlNode *original);
/* Puts a copy in the place of @node, which is then out of the document. */
xmlNode *hvctl_xml_replace(HvctlXmlConversion *c, xmlNode *node);

/* The alias that the user gave, or NULL: libvirt takes no others. */
char *hvctl_xml_user_alias(const xmlNode *device);
/* Whether it is a channel whose target is of this type. */
bool hvctl_xml_is_channel(const xmlNode *device, const char *type);

/* Sets *@service to the service that stands in the place of a virtio serial
 * controller, or to -1. */
bool hvctl_xml_convert_agent(HvctlXmlConversion *c, int *service,
                             GError **error);

#endif
