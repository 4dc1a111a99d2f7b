/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemuxmlconfvmbus.h: the cases of qemuxmlconftest that deal with VMBus
 */

#pragma once

/* The emulator of the recorded capabilities with our devices added. */
#define VMBUS_CAPS_BUS \
    QEMU_CAPS_QUERY_VMBUS, \
    QEMU_CAPS_DEVICE_HV_HEARTBEAT, \
    QEMU_CAPS_DEVICE_HV_SHUTDOWN, \
    QEMU_CAPS_DEVICE_HV_TIMESYNC, \
    QEMU_CAPS_DEVICE_HV_VSS, \
    QEMU_CAPS_DEVICE_HV_FCOPY

#define DO_TEST_VMBUS_CAPS(name, arch, flags, ...) \
    DO_TEST_CAPS_ARCH_LATEST_FULL(name, arch, \
                                  ARG_FLAGS, flags, \
                                  ARG_QEMU_CAPS, __VA_ARGS__, QEMU_CAPS_LAST)

#define DO_TEST_VMBUS_FLAGS(name, arch, flags) \
    DO_TEST_VMBUS_CAPS(name, arch, flags, VMBUS_CAPS_BUS, \
                       QEMU_CAPS_DEVICE_HV_KVP, \
                       QEMU_CAPS_DEVICE_HV_SCSI, \
                       QEMU_CAPS_HV_SCSI_IOTHREAD, \
                       QEMU_CAPS_DEVICE_HV_GUEST_AGENT)

#define DO_TEST_VMBUS(name) \
    DO_TEST_VMBUS_FLAGS(name, "x86_64", 0)

#define DO_TEST_VMBUS_REFUSED(name) \
    DO_TEST_VMBUS_FLAGS(name, "x86_64", FLAG_EXPECT_PARSE_ERROR)

/* As a definition that is new. */
#define DO_TEST_VMBUS_NEW(name, ...) \
    DO_TEST_CAPS_ARCH_LATEST_FULL(name, "x86_64", \
                                  ARG_PARSEFLAGS, VIR_DOMAIN_DEF_PARSE_ABI_UPDATE, \
                                  ARG_QEMU_CAPS, VMBUS_CAPS_BUS, \
                                  QEMU_CAPS_DEVICE_HV_KVP, __VA_ARGS__)

#define DO_TEST_VMBUS_ALL \
    do { \
        DO_TEST_VMBUS("vmbus-minimal"); \
        DO_TEST_VMBUS("vmbus-services"); \
        DO_TEST_VMBUS("vmbus-passthrough"); \
        DO_TEST_VMBUS("vmbus-scsi"); \
        DO_TEST_VMBUS("vmbus-scsi-instanceid-taken"); \
        DO_TEST_VMBUS("vmbus-scsi-iothreads"); \
        DO_TEST_VMBUS_REFUSED("vmbus-two-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-service-unknown-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-service-twice"); \
        DO_TEST_VMBUS_REFUSED("vmbus-hold-zero-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-hold-high-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-hold-elsewhere-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-machine"); \
        DO_TEST_VMBUS_FLAGS("vmbus-arch", "aarch64", FLAG_EXPECT_PARSE_ERROR); \
        DO_TEST_VMBUS_FLAGS("vmbus-scsi-arch", "aarch64", FLAG_EXPECT_PARSE_ERROR); \
        DO_TEST_VMBUS_REFUSED("vmbus-no-acpi"); \
        DO_TEST_VMBUS_REFUSED("vmbus-vpindex-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-synic-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-stimer-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-relaxed-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-vapic-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-runtime-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-time-off"); \
        DO_TEST_VMBUS_REFUSED("vmbus-instanceid-duplicate"); \
        DO_TEST_VMBUS_REFUSED("vmbus-instanceid-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-instanceid-zero"); \
        DO_TEST_VMBUS_REFUSED("vmbus-address-elsewhere"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-pci-address"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-target-high"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-unit-high"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-cmd-per-lun"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-max-sectors"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-ioeventfd"); \
        DO_TEST_VMBUS_REFUSED("vmbus-scsi-iothread-unknown"); \
        DO_TEST_VMBUS("vmbus-agent"); \
        DO_TEST_VMBUS("vmbus-agent-alone"); \
        DO_TEST_VMBUS_NEW("vmbus-agent-default", \
                          QEMU_CAPS_DEVICE_HV_GUEST_AGENT, QEMU_CAPS_LAST); \
        DO_TEST_VMBUS_NEW("vmbus-agent-default-lacking", QEMU_CAPS_LAST); \
        DO_TEST_VMBUS_NEW("vmbus-agent-other", \
                          QEMU_CAPS_DEVICE_HV_GUEST_AGENT, QEMU_CAPS_LAST); \
        DO_TEST_VMBUS_REFUSED("vmbus-agent-twice"); \
        DO_TEST_VMBUS_REFUSED("vmbus-agent-and-other"); \
        DO_TEST_VMBUS_REFUSED("vmbus-agent-name-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-agent-no-name-invalid"); \
        DO_TEST_VMBUS_REFUSED("vmbus-agent-address"); \
        DO_TEST_VMBUS_CAPS("vmbus-agent-lacking", "x86_64", \
                           FLAG_EXPECT_PARSE_ERROR, VMBUS_CAPS_BUS, \
                           QEMU_CAPS_DEVICE_HV_KVP); \
        DO_TEST_CAPS_LATEST_PARSE_ERROR("vmbus-lacking"); \
        DO_TEST_VMBUS_CAPS("vmbus-service-lacking", "x86_64", \
                           FLAG_EXPECT_PARSE_ERROR, VMBUS_CAPS_BUS); \
        DO_TEST_VMBUS_CAPS("vmbus-scsi-lacking", "x86_64", \
                           FLAG_EXPECT_PARSE_ERROR, VMBUS_CAPS_BUS, \
                           QEMU_CAPS_DEVICE_HV_KVP); \
        DO_TEST_VMBUS_CAPS("vmbus-scsi-iothread-lacking", "x86_64", \
                           FLAG_EXPECT_PARSE_ERROR, VMBUS_CAPS_BUS, \
                           QEMU_CAPS_DEVICE_HV_KVP, \
                           QEMU_CAPS_DEVICE_HV_SCSI); \
    } while (0)
