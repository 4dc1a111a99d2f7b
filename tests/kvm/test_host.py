# SPDX-License-Identifier: GPL-2.0-or-later
"""VMBus on this machine's own KVM, where it has one that can carry it."""
import pytest

from guestlib import hvctl


@pytest.fixture(scope='module', autouse=True)
def host_kvm():
    done = hvctl('host-check')
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        pytest.skip(f'hvctl host-check: {said[-1] if said else "nothing"}')


@pytest.mark.parametrize('kernel,cpus,kind', [
    ('6.1', 1, 'pc'), ('6.12', 2, 'q35')])
def test_boot_heartbeat_shutdown(machine, kernel, cpus, kind):
    guest = machine(kernel=kernel, cpus=cpus, machine=kind,
                    accel='kvm').boot()
    guest.wait_ready()
    log = guest.run('dmesg')
    assert 'Hypervisor detected: Microsoft Hyper-V' in log
    assert 'hv_vmbus: Vmbus version:5.3' in log
    assert guest.hvctl('heartbeat').returncode == 0
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0
