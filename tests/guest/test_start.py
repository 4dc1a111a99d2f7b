# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that must not start, and machines that have no Hyper-V."""
import pytest

from guestlib import MachineEnded, hv_cpu

BRIDGE = ['-device', 'vmbus-bridge']
HEARTBEAT = ['-device', 'hv-heartbeat']
SHUTDOWN = ['-device', 'hv-shutdown']


def refusal(machine, **options):
    """The one sentence with which QEMU refuses to start."""
    guest = machine(**options)
    with pytest.raises(MachineEnded):
        guest.start()
    assert guest.wait_end() == 1
    lines = guest.stderr().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize('cpu,flag', [
    ('max', 'hv-synic'),
    (hv_cpu(without=['hv-synic', 'hv-stimer']), 'hv-synic')],
    ids=['no-flag', 'no-synic'])
def test_bridge_names_the_flag_that_is_missing(machine, cpu, flag):
    assert flag in refusal(machine, cpu=cpu, devices=BRIDGE)


@pytest.mark.parametrize('missing,dependent', [
    ('hv-vpindex', 'hv-synic'), ('hv-synic', 'hv-stimer'),
    ('hv-time', 'hv-stimer')])
def test_flag_names_the_flag_that_it_needs(machine, missing, dependent):
    cpu = hv_cpu(without=[missing])
    if missing == 'hv-vpindex':
        cpu = cpu.replace(',hv-stimer', '')
    sentence = refusal(machine, cpu=cpu, devices=[])
    assert missing in sentence and dependent in sentence


def test_second_bridge(machine):
    assert 'vmbus-bridge' in refusal(machine, devices=BRIDGE + BRIDGE)


def test_device_without_a_bridge(machine):
    assert 'vmbus' in refusal(machine, devices=HEARTBEAT).lower()


@pytest.mark.parametrize('device', [HEARTBEAT, SHUTDOWN], ids=lambda d: d[1])
def test_second_service(machine, device):
    """The guest knows a service by its class alone."""
    assert device[1] in refusal(machine, devices=BRIDGE + device + device)


@pytest.mark.parametrize('version', ['2.0', '9.9', '5', 'x', ''])
def test_version_that_is_none(machine, version):
    bridge = ['-device', f'vmbus-bridge,max-version={version}']
    assert 'version' in refusal(machine, devices=bridge).lower()


@pytest.mark.parametrize('kernel,kind', [('6.1', 'pc'), ('6.12', 'q35')])
def test_without_flags_there_is_no_hyper_v(machine, kernel, kind):
    guest = machine(kernel=kernel, machine=kind, cpu='max', devices=[],
                    append='guest.skip=hv_vmbus,hv_utils').boot()
    assert 'Hyper-V' not in guest.run('dmesg')
    code, output = guest.shell.call('insmod /lib/modules/hv_vmbus.ko')
    assert code != 0 and 'No such device' in output
    info = guest.query_vmbus()
    assert info['present'] is False and info['devices'] == []


def test_flags_without_a_bridge(machine):
    """Hyper-V is there, the bus is not."""
    guest = machine(devices=[], append='guest.skip=hv_vmbus,hv_utils').boot()
    assert 'Hypervisor detected: Microsoft Hyper-V' in guest.run('dmesg')
    assert guest.query_vmbus()['present'] is False
