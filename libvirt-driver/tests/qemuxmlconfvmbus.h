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

#define VMBUS_SCSI(id) \
    "<controller type='scsi' index='0' model='vmbus'>" \
    "<address type='vmbus' instanceid='" id "'/>" \
    "</controller>"
#define VMBUS_ID_1 "c4ae5bd1-dbf0-4b61-a9d3-2a48ab6b0b77"
#define VMBUS_ID_2 "c4ae5bd1-dbf0-4b61-a9d3-2a48ab6b0b78"

typedef struct {
    const char *name;
    const char *src; /* what is in <devices> */
    const char *dst;
    const char *refusal; /* part of the message; NULL: the guest sees no change */
    virDomainXMLOption *xmlopt;
    virQEMUCaps *qemuCaps;
} testVMBusABIData;

/* With what VMBus brings along, so that the bus alone makes the difference. */
static virDomainDef *
testVMBusABIParse(const testVMBusABIData *data,
                  const char *devices)
{
    g_autofree char *xml = NULL;

    xml = g_strdup_printf("<domain type='kvm'><name>guest</name>"
                          "<uuid>1ccfd97d-5eb4-478a-bbe6-88d254c16db7</uuid>"
                          "<memory>524288</memory>"
                          "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
                          "<features><acpi/><hyperv mode='custom'>"
                          "<relaxed state='on'/><vapic state='on'/>"
                          "<vpindex state='on'/><runtime state='on'/>"
                          "<synic state='on'/><stimer state='on'/>"
                          "</hyperv></features>"
                          "<clock offset='utc'>"
                          "<timer name='hypervclock' present='yes'/></clock>"
                          "<devices>"
                          "<emulator>/usr/bin/qemu-system-x86_64</emulator>%s"
                          "</devices></domain>", devices);

    return virDomainDefParseString(xml, data->xmlopt, data->qemuCaps,
                                   VIR_DOMAIN_DEF_PARSE_INACTIVE |
                                   VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
}

static int
testVMBusABI(const void *opaque)
{
    const testVMBusABIData *data = opaque;
    g_autoptr(virDomainDef) src = testVMBusABIParse(data, data->src);
    g_autoptr(virDomainDef) dst = testVMBusABIParse(data, data->dst);

    if (!src || !dst)
        return -1;

    virResetLastError();
    if (virDomainDefCheckABIStability(src, dst, data->xmlopt) == !data->refusal &&
        (!data->refusal || strstr(virGetLastErrorMessage(), data->refusal)))
        return 0;

    VIR_TEST_VERBOSE("message '%s', expected '%s'",
                     virGetLastErrorMessage(), NULLSTR(data->refusal));
    return -1;
}

/* What a guest sees stays the same over a migration and a restart. */
static int
testVMBusABIAll(virDomainXMLOption *xmlopt)
{
    testVMBusABIData cases[] = {
        { .name = "the same",
          .src = "<vmbus><service name='kvp'/></vmbus>" VMBUS_SCSI(VMBUS_ID_1),
          .dst = "<vmbus><service name='kvp'/></vmbus>" VMBUS_SCSI(VMBUS_ID_1) },
        { .name = "hold",
          .src = "<vmbus><service name='vss' hold='10'/></vmbus>",
          .dst = "<vmbus><service name='vss' hold='20'/></vmbus>" },
        { .name = "no bus", .src = "<vmbus/>", .dst = "",
          .refusal = "differ in having a VMBus" },
        { .name = "another bus", .src = "", .dst = "<vmbus/>",
          .refusal = "differ in having a VMBus" },
        { .name = "service",
          .src = "<vmbus><service name='kvp'/></vmbus>",
          .dst = "<vmbus><service name='kvp' state='off'/></vmbus>",
          .refusal = "VMBus service 'kvp' is 'off' and does not match source 'on'" },
        { .name = "instance id",
          .src = "<vmbus/>" VMBUS_SCSI(VMBUS_ID_1),
          .dst = "<vmbus/>" VMBUS_SCSI(VMBUS_ID_2),
          .refusal = "instance id " VMBUS_ID_2 " does not match source " VMBUS_ID_1 },
        { .name = "controller",
          .src = "<vmbus/>" VMBUS_SCSI(VMBUS_ID_1),
          .dst = "<vmbus/><controller type='scsi' index='0' model='virtio-scsi'/>",
          .refusal = "does not match source" },
    };
    g_autoptr(virQEMUCaps) qemuCaps = NULL;
    int ret = 0;
    size_t i;

    if (!(qemuCaps = qemuTestParseCapabilitiesArch(VIR_ARCH_X86_64, TEST_QEMU_CAPS_PATH "/caps_10.0.0_x86_64+vmbus.xml")))
        return -1;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *label = g_strdup_printf("VMBus ABI: %s", cases[i].name);

        cases[i].xmlopt = xmlopt;
        cases[i].qemuCaps = qemuCaps;
        if (virTestRun(label, testVMBusABI, &cases[i]) < 0)
            ret = -1;
    }

    return ret;
}

#define DO_TEST_VMBUS_ALL \
    do { \
        if (testVMBusABIAll(driver.xmlopt) < 0) \
            ret = -1; \
        DO_TEST_VMBUS("vmbus-minimal"); \
        DO_TEST_VMBUS("vmbus-services"); \
        DO_TEST_VMBUS("vmbus-passthrough"); \
        DO_TEST_VMBUS("vmbus-scsi"); \
        DO_TEST_VMBUS("vmbus-scsi-instanceid-taken"); \
        DO_TEST_VMBUS("vmbus-scsi-iothreads"); \
        DO_TEST_VMBUS("vmbus-scsi-boot"); \
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
