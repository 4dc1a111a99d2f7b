/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmbus_conf.h: VMBus in the domain XML: the <vmbus> element and addresses
 * of type 'vmbus'
 */

#pragma once

#include "internal.h"
#include "virbuffer.h"
#include "virenum.h"
#include "viruuid.h"
#include "virxml.h"

/* The integration services.  A guest knows each by an instance id that is
 * fixed, so they have no address. */
typedef enum {
    VIR_DOMAIN_VMBUS_SERVICE_HEARTBEAT = 0,
    VIR_DOMAIN_VMBUS_SERVICE_SHUTDOWN,
    VIR_DOMAIN_VMBUS_SERVICE_TIMESYNC,
    VIR_DOMAIN_VMBUS_SERVICE_VSS,
    VIR_DOMAIN_VMBUS_SERVICE_KVP,
    VIR_DOMAIN_VMBUS_SERVICE_FILECOPY,

    VIR_DOMAIN_VMBUS_SERVICE_LAST
} virDomainVMBusService;

VIR_ENUM_DECL(virDomainVMBusService);

/* In seconds: for how long a guest may stay frozen at most. */
#define VIR_DOMAIN_VMBUS_VSS_HOLD_MAX 86400

typedef struct _virDomainVMBusDef virDomainVMBusDef;
struct _virDomainVMBusDef {
    virTristateSwitch services[VIR_DOMAIN_VMBUS_SERVICE_LAST];
    unsigned int vssHold; /* seconds; 0: the hypervisor's default */
};

typedef struct _virDomainDeviceVMBusAddress virDomainDeviceVMBusAddress;
struct _virDomainDeviceVMBusAddress {
    /* All zero: not assigned yet. */
    unsigned char instanceid[VIR_UUID_BUFLEN];
};

virDomainVMBusDef *virDomainVMBusDefNew(void);
void virDomainVMBusDefFree(virDomainVMBusDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomainVMBusDef, virDomainVMBusDefFree);

int virDomainVMBusDefParse(xmlXPathContextPtr ctxt,
                           virDomainVMBusDef **def);
void virDomainVMBusDefFormat(virBuffer *buf,
                             const virDomainVMBusDef *def);
bool virDomainVMBusDefCheckABIStability(const virDomainVMBusDef *src,
                                        const virDomainVMBusDef *dst);

bool virDomainDeviceVMBusAddressIsEmpty(const virDomainDeviceVMBusAddress *addr);
bool virDomainDeviceVMBusAddressIsEqual(const virDomainDeviceVMBusAddress *a,
                                        const virDomainDeviceVMBusAddress *b);
int virDomainDeviceVMBusAddressParseXML(xmlNodePtr node,
                                        virDomainDeviceVMBusAddress *addr);
void virDomainDeviceVMBusAddressFormat(virBuffer *attrBuf,
                                       const virDomainDeviceVMBusAddress *addr);
bool virDomainDeviceVMBusAddressCheckABIStability(const virDomainDeviceVMBusAddress *src,
                                                  const virDomainDeviceVMBusAddress *dst);
