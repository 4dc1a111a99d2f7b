# SPDX-License-Identifier: GPL-2.0-or-later
"""VMBus on real KVM, anywhere: QEMU emulates a machine with AMD's
virtualization, whose Linux runs our QEMU with its own KVM."""
import json
import re

import pytest

from guestlib.nested import OUTER, InnerMachine

# hvctl host-check: KVM cannot carry VMBus.
NO_KVM = 9


@pytest.fixture(scope='module')
def outer(module_machine):
    return module_machine(**OUTER).boot()


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
