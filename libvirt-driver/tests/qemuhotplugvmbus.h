/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemuhotplugvmbus.h: the cases of qemuhotplugtest that deal with VMBus
 */

#pragma once

/* Add our devices to what the recorded emulator has. */
static void
testQemuHotplugVMBusCaps(virQEMUCaps *qemuCaps)
{
    const virQEMUCapsFlags flags[] = {
        QEMU_CAPS_QUERY_VMBUS,
        QEMU_CAPS_DEVICE_HV_HEARTBEAT,
        QEMU_CAPS_DEVICE_HV_SHUTDOWN,
        QEMU_CAPS_DEVICE_HV_TIMESYNC,
        QEMU_CAPS_DEVICE_HV_VSS,
        QEMU_CAPS_DEVICE_HV_KVP,
        QEMU_CAPS_DEVICE_HV_FCOPY,
        QEMU_CAPS_DEVICE_HV_SCSI,
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(flags); i++)
        virQEMUCapsSet(qemuCaps, flags[i]);
}

#define DO_TEST_VMBUS_ALL \
    do { \
        DO_TEST_ATTACH("x86_64", "vmbus-live", "disk-scsi", false, true, \
                       "blockdev-add", QMP_OK, \
                       "device_add", QMP_OK, \
                       "query-block", QMP_EMPTY_ARRAY); \
        DO_TEST_DETACH("x86_64", "vmbus-live", "controller-vmbus-busy", \
                       true, true, NULL); \
        DO_TEST_DETACH("x86_64", "vmbus-live", "disk-scsi", true, true, \
                       "device_del", QMP_OK); \
        DO_TEST_DETACH("x86_64", "vmbus-live", "disk-scsi", false, false, \
                       "device_del", QMP_DEVICE_DELETED("scsi0-0-0-5") QMP_OK, \
                       "blockdev-del", QMP_OK); \
        DO_TEST_ATTACH("x86_64", "vmbus-live", "controller-vmbus", false, true, \
                       "device_add", QMP_OK); \
        DO_TEST_DETACH("x86_64", "vmbus-live", "controller-vmbus", true, true, \
                       "device_del", QMP_OK); \
        DO_TEST_DETACH("x86_64", "vmbus-live", "controller-vmbus", false, false, \
                       "device_del", QMP_DEVICE_DELETED("scsi1") QMP_OK); \
        DO_TEST_ATTACH("x86_64", "vmbus-live", "disk-scsi-second-controller", \
                       false, false, \
                       "device_add", QMP_OK, \
                       "blockdev-add", QMP_OK, \
                       "device_add", QMP_OK, \
                       "query-block", QMP_EMPTY_ARRAY); \
        DO_TEST_ATTACH("x86_64", "vmbus-live", "controller-vmbus-duplicate", \
                       true, false, NULL); \
        DO_TEST_ATTACH("x86_64", "base-live", "controller-vmbus", \
                       true, false, NULL); \
    } while (0)
