/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmbus_conf.c: VMBus in the domain XML: the <vmbus> element and addresses
 * of type 'vmbus'
 */

#include <config.h>

#include "vmbus_conf.h"
#include "viralloc.h"
#include "virerror.h"

#define VIR_FROM_THIS VIR_FROM_DOMAIN

VIR_ENUM_IMPL(virDomainVMBusService,
              VIR_DOMAIN_VMBUS_SERVICE_LAST,
              "heartbeat",
              "shutdown",
              "timesync",
              "vss",
              "kvp",
              "filecopy",
);


virDomainVMBusDef *
virDomainVMBusDefNew(void)
{
    return g_new0(virDomainVMBusDef, 1);
}


void
virDomainVMBusDefFree(virDomainVMBusDef *def)
{
    g_free(def);
}


/* 'hold' is a setting of vss alone. */
static int
virDomainVMBusServiceParseHold(xmlNodePtr node,
                               virDomainVMBusService service,
                               virDomainVMBusDef *def)
{
    unsigned int hold = 0;
    int rc;

    if ((rc = virXMLPropUInt(node, "hold", 10, VIR_XML_PROP_NONE, &hold)) <= 0)
        return rc;

    if (service != VIR_DOMAIN_VMBUS_SERVICE_VSS) {
        virReportError(VIR_ERR_XML_ERROR,
                       _("VMBus service '%1$s' has no setting 'hold'; only 'vss' has it"),
                       virDomainVMBusServiceTypeToString(service));
        return -1;
    }

    if (hold == 0 || hold > VIR_DOMAIN_VMBUS_VSS_HOLD_MAX) {
        virReportError(VIR_ERR_XML_ERROR,
                       _("VMBus service 'vss' can hold a guest frozen for 1 to %1$u seconds, not %2$u"),
                       VIR_DOMAIN_VMBUS_VSS_HOLD_MAX, hold);
        return -1;
    }

    def->vssHold = hold;
    return 0;
}


static int
virDomainVMBusServiceParseXML(xmlNodePtr node,
                              virDomainVMBusDef *def)
{
    g_autofree char *name = NULL;
    virTristateSwitch state;
    int service;
    int rc;

    if (!(name = virXMLPropStringRequired(node, "name")))
        return -1;

    if ((service = virDomainVMBusServiceTypeFromString(name)) < 0) {
        virReportError(VIR_ERR_XML_ERROR,
                       _("there is no VMBus service '%1$s'"), name);
        return -1;
    }

    if (def->services[service] != VIR_TRISTATE_SWITCH_ABSENT) {
        virReportError(VIR_ERR_XML_ERROR,
                       _("VMBus service '%1$s' is given more than once"), name);
        return -1;
    }

    if ((rc = virXMLPropTristateSwitch(node, "state", VIR_XML_PROP_NONE, &state)) < 0)
        return -1;

    def->services[service] = rc == 0 ? VIR_TRISTATE_SWITCH_ON : state;

    return virDomainVMBusServiceParseHold(node, service, def);
}


/**
 * virDomainVMBusDefParse:
 * @ctxt: context whose node is <domain>
 * @def: filled with the definition, or NULL if the domain has no <vmbus>
 *
 * Returns 0 on success, -1 with an error reported.
 */
int
virDomainVMBusDefParse(xmlXPathContextPtr ctxt,
                       virDomainVMBusDef **def)
{
    g_autoptr(virDomainVMBusDef) vmbus = NULL;
    g_autofree xmlNodePtr *nodes = NULL;
    g_autofree xmlNodePtr *services = NULL;
    ssize_t nservices;
    ssize_t i;
    int n;

    VIR_XPATH_NODE_AUTORESTORE(ctxt)

    *def = NULL;

    if ((n = virXPathNodeSet("./devices/vmbus", ctxt, &nodes)) <= 0)
        return n;

    if (n > 1) {
        virReportError(VIR_ERR_XML_ERROR, "%s",
                       _("a domain can have only one <vmbus>"));
        return -1;
    }

    ctxt->node = nodes[0];
    if ((nservices = virXPathNodeSet("./service", ctxt, &services)) < 0)
        return -1;

    vmbus = virDomainVMBusDefNew();
    for (i = 0; i < nservices; i++) {
        if (virDomainVMBusServiceParseXML(services[i], vmbus) < 0)
            return -1;
    }

    *def = g_steal_pointer(&vmbus);
    return 0;
}


/* Formats nothing for a domain without <vmbus>. */
void
virDomainVMBusDefFormat(virBuffer *buf,
                        const virDomainVMBusDef *def)
{
    g_auto(virBuffer) childBuf = VIR_BUFFER_INIT_CHILD(buf);
    size_t i;

    if (!def)
        return;

    for (i = 0; i < VIR_DOMAIN_VMBUS_SERVICE_LAST; i++) {
        if (def->services[i] == VIR_TRISTATE_SWITCH_ABSENT)
            continue;

        virBufferAsprintf(&childBuf, "<service name='%s' state='%s'",
                          virDomainVMBusServiceTypeToString(i),
                          virTristateSwitchTypeToString(def->services[i]));
        if (i == VIR_DOMAIN_VMBUS_SERVICE_VSS && def->vssHold > 0)
            virBufferAsprintf(&childBuf, " hold='%u'", def->vssHold);
        virBufferAddLit(&childBuf, "/>\n");
    }

    virXMLFormatElementEmpty(buf, "vmbus", NULL, &childBuf);
}


/**
 * virDomainVMBusDefCheckABIStability:
 * @src: the bus of a running or saved domain, or NULL
 * @dst: the bus of the definition that it is to go on with, or NULL
 *
 * A guest sees which services it is offered.  For how long it may stay frozen
 * is the host's business, so that may differ.
 */
bool
virDomainVMBusDefCheckABIStability(const virDomainVMBusDef *src,
                                   const virDomainVMBusDef *dst)
{
    size_t i;

    if (!src != !dst) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("Target domain and source differ in having a VMBus"));
        return false;
    }

    if (!src)
        return true;

    for (i = 0; i < VIR_DOMAIN_VMBUS_SERVICE_LAST; i++) {
        if (src->services[i] == dst->services[i])
            continue;

        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("Target VMBus service '%1$s' is '%2$s' and does not match source '%3$s'"),
                       virDomainVMBusServiceTypeToString(i),
                       NULLSTR(virTristateSwitchTypeToString(dst->services[i])),
                       NULLSTR(virTristateSwitchTypeToString(src->services[i])));
        return false;
    }

    return true;
}


bool
virDomainDeviceVMBusAddressIsEmpty(const virDomainDeviceVMBusAddress *addr)
{
    const unsigned char zero[VIR_UUID_BUFLEN] = { 0 };

    return memcmp(addr->instanceid, zero, VIR_UUID_BUFLEN) == 0;
}


bool
virDomainDeviceVMBusAddressIsEqual(const virDomainDeviceVMBusAddress *a,
                                   const virDomainDeviceVMBusAddress *b)
{
    return memcmp(a->instanceid, b->instanceid, VIR_UUID_BUFLEN) == 0;
}


int
virDomainDeviceVMBusAddressParseXML(xmlNodePtr node,
                                    virDomainDeviceVMBusAddress *addr)
{
    g_autofree char *id = virXMLPropString(node, "instanceid");

    memset(addr, 0, sizeof(*addr));

    if (!id)
        return 0;

    if (virUUIDParse(id, addr->instanceid) < 0 ||
        virDomainDeviceVMBusAddressIsEmpty(addr)) {
        virReportError(VIR_ERR_XML_ERROR,
                       _("VMBus instance id '%1$s' is not a UUID"), id);
        return -1;
    }

    return 0;
}


void
virDomainDeviceVMBusAddressFormat(virBuffer *attrBuf,
                                  const virDomainDeviceVMBusAddress *addr)
{
    char id[VIR_UUID_STRING_BUFLEN];

    if (virDomainDeviceVMBusAddressIsEmpty(addr))
        return;

    virBufferAsprintf(attrBuf, " instanceid='%s'",
                      virUUIDFormat(addr->instanceid, id));
}


bool
virDomainDeviceVMBusAddressCheckABIStability(const virDomainDeviceVMBusAddress *src,
                                             const virDomainDeviceVMBusAddress *dst)
{
    char srcid[VIR_UUID_STRING_BUFLEN];
    char dstid[VIR_UUID_STRING_BUFLEN];

    if (virDomainDeviceVMBusAddressIsEqual(src, dst))
        return true;

    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("Target device VMBus instance id %1$s does not match source %2$s"),
                   virUUIDFormat(dst->instanceid, dstid),
                   virUUIDFormat(src->instanceid, srcid));
    return false;
}
