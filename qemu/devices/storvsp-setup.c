/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest and the service agree on before the first request. */
#include "devices/storvsp-internal.h"

const char *stor_begin_initialization(StorChannel *ch, StorCall *call)
{
    g_atomic_int_set(&ch->vsp->phase, STOR_BEGUN);
    return NULL;
}

const char *stor_query_version(StorChannel *ch, StorCall *call)
{
    uint16_t version = call->in.version.major_minor;

    call->out.packet.version.major_minor = version;
    if (!stor_version_known(version)) {
        call->out.packet.header.status = STOR_STATUS_REVISION_MISMATCH;
        return "The guest asked for a version of the storage protocol that "
               "is not known.";
    }
    g_atomic_int_set(&ch->vsp->version, version);
    g_atomic_int_set(&ch->vsp->phase, STOR_VERSIONED);
    return NULL;
}

const char *stor_query_properties(StorChannel *ch, StorCall *call)
{
    StorVsp *vsp = ch->vsp;

    call->out.packet.properties.max_transfer_bytes =
        vsp->config.max_transfer_bytes;
    if (g_atomic_int_get(&vsp->version) >= STOR_VERSION_5_1) {
        call->out.packet.properties.max_subchannels =
            vsp->config.max_subchannels;
        call->out.packet.properties.flags = STOR_PROPERTY_MULTI_CHANNEL;
    }
    g_atomic_int_set(&vsp->phase, STOR_DESCRIBED);
    return NULL;
}

const char *stor_fchba_data(StorChannel *ch, StorCall *call)
{
    if (!ch->vsp->config.fc) {
        call->out.packet.header.status = STOR_STATUS_INVALID_DEVICE_REQUEST;
        return "The guest asked an adapter for names that only fibre channel "
               "has.";
    }
    call->out.packet.fc = ch->vsp->config.names;
    return NULL;
}

const char *stor_create_subchannels(StorChannel *ch, StorCall *call)
{
    StorVsp *vsp = ch->vsp;
    uint16_t count = call->in.subchannel_count;
    const char *why = NULL;

    if (vsp->subchannels) {
        why = "The guest asked for sub-channels a second time.";
    } else if (count > vsp->config.max_subchannels) {
        why = "The guest asked for more sub-channels than there are.";
    }
    if (why) {
        call->out.packet.header.status = STOR_STATUS_INVALID_PARAMETER;
        return why;
    }
    if (count) {
        vsp->subchannels = count;
        ch->reply = call->out;
        ch->offering = true;
        call->later = true;
        vsp->ops->offer_subchannels(vsp->opaque, ch, count);
    }
    return NULL;
}

void storvsp_subchannels_offered(StorChannel *ch, const char *why)
{
    if (!ch->offering) {
        return;
    }
    ch->offering = false;
    if (why) {
        ch->vsp->subchannels = 0;
        ch->reply.packet.header.status = STOR_STATUS_DEVICE_BUSY;
        stor_refused(ch, why);
    }
    stor_reply_now(ch);
}

const char *stor_end_initialization(StorChannel *ch, StorCall *call)
{
    /* The guest will look at all units by itself. */
    g_atomic_int_set(&ch->vsp->enumerate, 0);
    g_atomic_int_set(&ch->vsp->phase, STOR_READY);
    return NULL;
}
