# SPDX-License-Identifier: GPL-2.0-or-later
"""VMBus on real KVM, anywhere: QEMU emulates a machine with AMD's
virtualization, whose Linux runs our QEMU with its own KVM."""
import json
import re

import pytest

from guestlib import hv_cpu, vmbus_devices
from guestlib.machine import SCALE

OUTER_KERNEL = '6.12'
INNER_BOOT_SECONDS = 600 * SCALE
# hvctl host-check: KVM cannot carry VMBus.
NO_KVM = 9


class InnerMachine:
    """Our QEMU with KVM inside the outer machine."""

    def __init__(self, outer, kernel, kind, cpus, folder):
        self.outer = outer
        self.log = f'{folder}/console.log'
        self.qmp = f'{folder}/qmp'
        self.folder = folder
        outer.run(f'mkdir -p {folder}')
        command = [
            'qemu-system-x86_64', '-machine', kind, '-accel', 'kvm',
            '-cpu', hv_cpu('kvm'), '-smp', str(cpus), '-m', '512',
            '-nodefaults', '-display', 'none', '-serial', f'file:{self.log}',
            '-qmp', f'unix:{self.qmp},server=on,wait=off',
            '-kernel', f'/guest/{kernel}/vmlinuz',
            '-initrd', f'/guest/{kernel}/initramfs',
            '-append', '"console=ttyS0"', *vmbus_devices()]
        outer.run(f'({" ".join(command)} >{folder}/qemu.log 2>&1; '
                  f'echo $? >{folder}/exit) >/dev/null 2>&1 &')

    def text(self):
        return self.outer.run(f'cat {self.log}').replace('\r', '')

    def until(self, condition, what, timeout):
        """Wait in the outer machine until a command succeeds there."""
        code, _ = self.outer.shell.call(
            f'end=$(($(cut -d. -f1 /proc/uptime) + {timeout:.0f})); '
            f'until {condition}; do '
            f'[ -e {self.folder}/exit ] && exit 2; '
            '[ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 1; '
            'sleep 0.5; done', timeout=timeout * 2 + 60)
        if code:
            qemu = self.outer.run(f'cat {self.folder}/qemu.log')
            raise AssertionError(
                f'no {what}: {"time is over" if code == 1 else "QEMU ended"}'
                f'\n{qemu}\n{self.text()[-4000:]}')

    def count(self, text):
        return self.text().count(text)

    def wait_count(self, text, number, timeout=INNER_BOOT_SECONDS):
        self.until(f'[ $(grep -c "{text}" {self.log}) -ge {number} ]',
                   f'"{text}" (number {number})', timeout)

    def hvctl(self, arguments, timeout=300 * SCALE):
        return self.outer.shell.call(f'hvctl --qmp {self.qmp} {arguments}',
                                     timeout)

    def wait_heartbeat(self):
        self.until(f'hvctl --qmp {self.qmp} heartbeat >/dev/null 2>&1',
                   'heartbeat', 120 * SCALE)

    def wait_exit(self):
        code, output = self.outer.shell.call(
            f'for i in $(seq 600); do '
            f'[ -e {self.folder}/exit ] && cat {self.folder}/exit && exit 0; '
            'sleep 0.1; done; exit 1', timeout=180 * SCALE)
        assert code == 0, 'the inner QEMU did not end'
        return int(output)


@pytest.fixture(scope='module')
def outer(module_machine):
    return module_machine(
        kernel=OUTER_KERNEL, initramfs='initramfs-kvm', cpus=2,
        cpu='EPYC,+svm,+npt', devices=[], memory=2048).boot()


@pytest.fixture(scope='module', params=[('6.12', 'q35', 1), ('6.1', 'pc', 2)],
                ids=lambda c: f'linux{c[0]}-{c[1]}-{c[2]}vp')
def inner(request, outer):
    kernel, kind, cpus = request.param
    one = InnerMachine(outer, kernel, kind, cpus, f'/tmp/{kernel}-{kind}')
    one.cpus = cpus
    one.wait_count('^guest: system up', 1)
    one.wait_heartbeat()
    yield one
    outer.run('kill $(pidof qemu-system-x86_64) 2>/dev/null || true')
    one.wait_exit()


def test_outer_machine_has_real_kvm(outer):
    outer.run('[ -c /dev/kvm ] && grep -qw svm /proc/cpuinfo')
    code, output = outer.shell.call('hvctl host-check')
    assert code == 0, output


def test_guest_log(inner):
    log = inner.text()
    assert 'Hypervisor detected: Microsoft Hyper-V' in log
    assert 'hv_vmbus: Vmbus version:5.3' in log
    assert f', {inner.cpus} processors' in log
    switched = re.findall(r'Switched to clocksource (\S+)', log)
    assert switched[-1] == 'hyperv_clocksource_tsc_page'


def test_query_vmbus(inner):
    code, output = inner.hvctl('status --json')
    assert code == 0, output
    text = json.dumps(json.loads(output))
    for word in ('5.3', 'hv-heartbeat', 'hv-shutdown', 'open'):
        assert word in text


def test_heartbeat(inner):
    code, output = inner.hvctl('heartbeat')
    assert code == 0, output


def test_restart(inner):
    code, output = inner.hvctl('shutdown --reboot --wait --timeout 200')
    assert code == 0, output
    inner.wait_count('^guest: system up', 2)
    assert inner.count('guest: restarting from user space') == 1
    inner.wait_heartbeat()


def test_shutdown(inner):
    """Last: the machine is off afterwards."""
    code, output = inner.hvctl('shutdown --wait --timeout 200')
    assert code == 0, output
    assert inner.wait_exit() == 0
    assert inner.count('guest: powering off from user space') == 1
