/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemumonitorjsonvmbus.h: the cases of qemumonitorjsontest that deal with
 * VMBus
 */

#pragma once

#include "qemu/qemu_vmbus_monitor.h"

typedef struct {
    const char *name;
    bool restart;
    const char *mode;
    const char *reply;
    int result;
    const char *refusal;
    virDomainXMLOption *xmlopt;
    GHashTable *schema;
} testVMBusShutdownData;

static int
testVMBusShutdown(const void *opaque)
{
    const testVMBusShutdownData *data = opaque;
    g_autoptr(qemuMonitorTest) test = NULL;
    g_autofree char *command = NULL;
    g_autofree char *refusal = NULL;
    int rc;

    command = g_strdup_printf("{\"execute\":\"vmbus-shutdown\","
                              "\"arguments\":{\"mode\":\"%s\"},"
                              "\"id\":\"libvirt-1\"}", data->mode);

    if (!(test = qemuMonitorTestNewSchema(data->xmlopt, data->schema)) ||
        qemuMonitorTestAddItemVerbatim(test, command, NULL, data->reply) < 0)
        return -1;

    rc = qemuVMBusMonitorShutdown(qemuMonitorTestGetMonitor(test),
                                  data->restart, &refusal);
    if (rc != data->result) {
        VIR_TEST_VERBOSE("result %d, expected %d", rc, data->result);
        return -1;
    }

    return virTestCompareToString(NULLSTR(data->refusal), NULLSTR(refusal));
}

/* Commands are checked against the schema of our QEMU. */
static int
testVMBusMonitor(virDomainXMLOption *xmlopt)
{
    g_autoptr(GHashTable) schema = NULL;
    testVMBusShutdownData cases[] = {
        { .name = "power off", .mode = "powerdown",
          .reply = "{\"return\":{}}" },
        { .name = "restart", .restart = true, .mode = "reboot",
          .reply = "{\"return\":{}}" },
        { .name = "service not opened", .mode = "powerdown",
          .reply = "{\"error\":{\"class\":\"DeviceNotActive\",\"desc\":\"Not open.\"}}",
          .result = 1, .refusal = "Not open." },
        { .name = "error without a sentence", .mode = "powerdown",
          .reply = "{\"error\":{\"class\":\"GenericError\"}}",
          .result = -1 },
        { .name = "neither result nor error", .mode = "powerdown",
          .reply = "{}", .result = -1 },
    };
    int ret = 0;
    size_t i;

    if (!(schema = testQEMUSchemaLoad(TEST_QEMU_CAPS_PATH "/caps_10.0.0_x86_64+vmbus.replies")))
        return -1;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *label = g_strdup_printf("VMBus shutdown: %s", cases[i].name);

        cases[i].xmlopt = xmlopt;
        cases[i].schema = schema;
        if (virTestRun(label, testVMBusShutdown, &cases[i]) < 0)
            ret = -1;
    }

    return ret;
}
