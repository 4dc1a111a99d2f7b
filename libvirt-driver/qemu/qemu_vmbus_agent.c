/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_agent.c: channels on which QEMU speaks the guest agent's protocol
 */

#include <config.h>

#include "qemu_vmbus_agent.h"
#include "viralloc.h"
#include "virerror.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

#define QEMU_VMBUS_AGENT_NAME "org.qemu.guest_agent.0"


static bool
qemuVMBusIsAgent(const virDomainChrDef *channel)
{
    return channel->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VMBUS;
}


/* Channels of the guest agent, on VMBus or not. */
static size_t
qemuVMBusCountAgents(const virDomainDef *def)
{
    size_t n = 0;
    size_t i;

    for (i = 0; i < def->nchannels; i++) {
        const virDomainChrDef *channel = def->channels[i];

        if (channel->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VIRTIO ||
            qemuVMBusIsAgent(channel))
            n += STREQ_NULLABLE(channel->target.name, QEMU_VMBUS_AGENT_NAME);
    }

    return n;
}


bool
qemuVMBusHasAgent(const virDomainDef *def)
{
    size_t i;

    for (i = 0; i < def->nchannels; i++) {
        if (qemuVMBusIsAgent(def->channels[i]))
            return true;
    }

    return false;
}


/**
 * qemuVMBusAddAgent:
 * @def: domain definition that has a VMBus
 * @qemuCaps: what its emulator is able to do, or NULL
 * @xmlopt: how parts of a definition are made
 *
 * The agent's verbs are to work with nothing installed in the guest, so a
 * domain that has no channel for an agent gets one.
 *
 * Returns 0, or -1 with an error reported.
 */
int
qemuVMBusAddAgent(virDomainDef *def,
                  virQEMUCaps *qemuCaps,
                  virDomainXMLOption *xmlopt)
{
    virDomainChrDef *channel;

    if (!qemuCaps || qemuVMBusCountAgents(def) > 0 ||
        !virQEMUCapsGet(qemuCaps, QEMU_CAPS_DEVICE_HV_GUEST_AGENT))
        return 0;

    if (!(channel = virDomainChrDefNew(xmlopt)))
        return -1;

    channel->deviceType = VIR_DOMAIN_CHR_DEVICE_TYPE_CHANNEL;
    channel->targetType = VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VMBUS;
    channel->target.name = g_strdup(QEMU_VMBUS_AGENT_NAME);
    channel->source->type = VIR_DOMAIN_CHR_TYPE_UNIX;
    channel->source->data.nix.listen = true;
    VIR_APPEND_ELEMENT(def->channels, def->nchannels, channel);
    return 0;
}


static int
qemuVMBusValidateAgent(const virDomainDef *def,
                       const virDomainChrDef *channel,
                       virQEMUCaps *qemuCaps)
{
    if (!virQEMUCapsGet(qemuCaps, QEMU_CAPS_DEVICE_HV_GUEST_AGENT)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("QEMU '%1$s' has no guest agent on VMBus"),
                       def->emulator);
        return -1;
    }

    if (STRNEQ_NULLABLE(channel->target.name, QEMU_VMBUS_AGENT_NAME)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("a channel of type 'vmbus' must have the name '%1$s'"),
                       QEMU_VMBUS_AGENT_NAME);
        return -1;
    }

    if (channel->info.type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("a channel of type 'vmbus' has no address"));
        return -1;
    }

    return 0;
}


/* Returns 0 if the channels of the domain can be, -1 with an error reported. */
int
qemuVMBusValidateAgents(const virDomainDef *def,
                        virQEMUCaps *qemuCaps)
{
    size_t i;

    for (i = 0; i < def->nchannels; i++) {
        if (qemuVMBusIsAgent(def->channels[i]) &&
            qemuVMBusValidateAgent(def, def->channels[i], qemuCaps) < 0)
            return -1;
    }

    if (qemuVMBusHasAgent(def) && qemuVMBusCountAgents(def) > 1) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("a domain with a channel of type 'vmbus' cannot have another one with the name '%1$s'"),
                       QEMU_VMBUS_AGENT_NAME);
        return -1;
    }

    return 0;
}


/* A freeze lasts as long as the domain allows; clients of the agent cannot
 * say for how long they want it. */
virJSONValue *
qemuVMBusBuildAgentProps(const virDomainDef *def,
                         const virDomainChrDef *chr)
{
    g_autoptr(virJSONValue) props = NULL;
    g_autofree char *chardev = g_strdup_printf("char%s", chr->info.alias);

    if (virJSONValueObjectAdd(&props,
                              "s:driver", "hv-guest-agent",
                              "s:chardev", chardev,
                              "s:id", chr->info.alias,
                              "p:freeze-hold", def->vmbus->vssHold,
                              NULL) < 0)
        return NULL;

    return g_steal_pointer(&props);
}
