/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software Hyper-V interface in a migration stream or a snapshot.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/core/cpu.h"
#include "kvm/hv-state.h"
#include "hv-soft-internal.h"
#include "hv-soft-state.h"
#include "hv-vmstate.h"

/* The kvm folder's states are flat. */
static GByteArray *flat(const void *data, size_t len)
{
    return g_byte_array_append(g_byte_array_new(), data, len);
}

static int put_partition(QEMUFile *f, void *pv, size_t size,
                         const VMStateField *field, JSONWriter *vmdesc)
{
    HvSavedPartition saved;

    hv_partition_save(&hv_soft.partition, &saved);
    return hv_state_put(f, flat(&saved, sizeof(saved)), "hv-* flags", NULL);
}

static int get_partition(QEMUFile *f, void *pv, size_t size,
                         const VMStateField *field)
{
    g_autofree uint8_t *data = NULL;
    const char *why;
    size_t len;

    data = hv_state_get(f, HV_DEVICE_STATE_MAX, "hv-* flags", &len);
    if (!data) {
        return -EINVAL;
    }
    why = hv_partition_load(&hv_soft.partition, data, len);
    if (why) {
        error_report("%s", why);
        return -EINVAL;
    }
    return 0;
}

static int put_vp(QEMUFile *f, void *pv, size_t size, const VMStateField *field,
                  JSONWriter *vmdesc)
{
    HvSavedVp saved;

    hv_vp_save(&((HvSoftVp *)pv)->vp, &saved);
    return hv_state_put(f, flat(&saved, sizeof(saved)), "hv-* flags", NULL);
}

static int get_vp(QEMUFile *f, void *pv, size_t size, const VMStateField *field)
{
    HvSoftVp *svp = pv;
    g_autofree uint8_t *data = NULL;
    const char *why;
    size_t len;

    data = hv_state_get(f, HV_DEVICE_STATE_MAX, "hv-* flags", &len);
    if (!data) {
        return -EINVAL;
    }
    why = hv_vp_load(&svp->vp, data, len);
    if (why) {
        error_report("CPU %d: %s", CPU(svp->cpu)->cpu_index, why);
        return -EINVAL;
    }
    hv_soft_update_synic(svp);
    return 0;
}

static const VMStateInfo partition_info = {
    .name = "Hyper-V partition",
    .get = get_partition,
    .put = put_partition,
};

static const VMStateInfo vp_info = {
    .name = "Hyper-V virtual processor",
    .get = get_vp,
    .put = put_vp,
};

static const VMStateDescription vmstate_partition = {
    .name = "hyperv-soft-partition",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]){HV_STATE_FIELD(partition_info),
                                     VMSTATE_END_OF_LIST()},
};

static const VMStateDescription vmstate_vp = {
    .name = "hyperv-soft-vp",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields =
        (const VMStateField[]){HV_STATE_FIELD(vp_info), VMSTATE_END_OF_LIST()},
};

void hv_soft_state_register(void)
{
    vmstate_register(NULL, 0, &vmstate_partition, &hv_soft.partition);
}

void hv_soft_state_register_vp(HvSoftVp *svp)
{
    vmstate_register(NULL, CPU(svp->cpu)->cpu_index, &vmstate_vp, svp);
}

void hv_soft_state_unregister_vp(HvSoftVp *svp)
{
    vmstate_unregister(NULL, &vmstate_vp, svp);
}

void hv_soft_state_resume(void)
{
    unsigned i;

    if (!hv_partition_resume(&hv_soft.partition)) {
        return;
    }
    for (i = 0; i < hv_soft.vps_len; i++) {
        if (hv_soft.vps[i]) {
            hv_vp_resume(&hv_soft.vps[i]->vp);
        }
    }
}
