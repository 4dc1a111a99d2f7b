/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Partition and virtual processors in a saved machine: flat structures, by
 * version.  A later version adds at the end.
 *
 * The reference time goes on where it stood.  What a tick of the TSC is worth
 * is measured anew, as the next host may have another TSC.
 */
#ifndef KVM_HV_STATE_H
#define KVM_HV_STATE_H

#include <stddef.h>

#include "kvm/hv-vp.h"

typedef struct HvSavedPartition {
    HvPartitionState s; /* begins with the version */
    uint64_t features;  /* HV_FEATURE_BIT(); those of the loading machine */
    uint64_t clock_ready;
    /* Three clocks at one moment, if clock_ready. */
    uint64_t time; /* reference time, 100 ns */
    uint64_t tsc;
    uint64_t ns; /* HvOps.read_ns */
} HvSavedPartition;
_Static_assert(sizeof(HvSavedPartition) == 136, "saved partition, version 1");

typedef struct HvSavedVp {
    HvVpState s;      /* begins with the version */
    uint64_t runtime; /* 100 ns */
} HvSavedVp;
_Static_assert(sizeof(HvSavedVp) == sizeof(HvVpState) + 8,
               "saved VP, version 1");

/* The machine has stopped. */
void hv_partition_save(HvPartition *partition, HvSavedPartition *out);
void hv_vp_save(HvVp *vp, HvSavedVp *out);

/*
 * Bring a partition or a VP, which has been reset, to a saved state; any bytes
 * may be given.  NULL, or a static sentence; nothing has changed then.  No op
 * is called but set_deadline, read_ns and vp_runtime: the machine calls
 * hv_partition_resume(), and itself does what it does in synic_changed.
 */
const char *hv_partition_load(HvPartition *partition, const void *data,
                              size_t len);
const char *hv_vp_load(HvVp *vp, const void *data, size_t len);

/*
 * The machine is about to run.  After a load this fits the clock, shows the
 * guest the new one, and must be followed by hv_vp_resume() of each VP, which
 * starts the timers; otherwise it does nothing.  True: there was a load.
 */
bool hv_partition_resume(HvPartition *partition);
void hv_vp_resume(HvVp *vp);

#endif
