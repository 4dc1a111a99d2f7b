/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu_vmbus_nested.c: a warning of storage that a guest's own hypervisor
 * takes away
 */

#include <config.h>

#include "qemu_vmbus_nested.h"
#include "qemu_vmbus_monitor.h"
#include "qemu_vmbus_scsi.h"
#include "qemu_domain.h"
#include "virerror.h"
#include "virlog.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("qemu.qemu_vmbus_nested");


static bool
qemuVMBusHasStorage(const virDomainDef *def)
{
    size_t i;

    for (i = 0; i < def->ncontrollers; i++) {
        if (qemuVMBusIsSCSI(def->controllers[i]))
            return true;
    }

    return false;
}


/* Only QEMU knows what a model of a processor comes to. */
static bool
qemuVMBusHasExtension(virDomainObj *vm,
                      virDomainAsyncJob asyncJob,
                      const char *extension)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    virDomainVcpuDef *vcpu = virDomainDefGetVcpu(vm->def, 0);
    const char *path = vcpu ? QEMU_DOMAIN_VCPU_PRIVATE(vcpu)->qomPath : NULL;
    bool has = false;
    int rc;

    if (!path || qemuDomainObjEnterMonitorAsync(vm, asyncJob) < 0)
        return false;

    rc = qemuVMBusMonitorGetFlag(priv->mon, path, extension, &has);
    qemuDomainObjExitMonitor(vm);

    if (rc < 0)
        virResetLastError();
    return has;
}


/**
 * qemuVMBusWarnNested:
 * @vm: running domain, locked, with a job; unlocked meanwhile
 * @asyncJob: the job if it is an asynchronous one
 *
 * Taint a domain that has storage on VMBus and a processor with VMX or SVM.
 * A guest that uses them starts its own hypervisor beneath what runs already,
 * Windows with Hyper-V or with security based on virtualization: that
 * hypervisor has a SynIC of its own, by which the host cannot be reached.
 */
void
qemuVMBusWarnNested(virDomainObj *vm,
                    virDomainAsyncJob asyncJob)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    const char *extensions[] = { "vmx", "svm" };
    size_t i;

    if (!virDomainObjIsActive(vm) || !qemuVMBusHasStorage(vm->def))
        return;

    for (i = 0; i < G_N_ELEMENTS(extensions); i++) {
        if (!qemuVMBusHasExtension(vm, asyncJob, extensions[i]))
            continue;

        VIR_WARN("Domain '%s' has storage on VMBus and a processor with '%s': "
                 "if the guest starts a hypervisor of its own, it loses the storage",
                 vm->def->name, extensions[i]);
        qemuDomainObjTaint(priv->driver, vm, VIR_DOMAIN_TAINT_VMBUS_NESTED, NULL);
        return;
    }
}
