# SPDX-License-Identifier: GPL-2.0-or-later
"""Every protocol version carries the services; boot tests do 5.3."""
import pytest

from guestlib import vmbus


@pytest.mark.parametrize('kernel,version', [
    ('6.12', '3.0'), ('6.1', '4.0'), ('6.12', '4.1'), ('6.1', '5.0'),
    ('6.12', '5.1'), ('6.1', '5.2')])
def test_lower_version(machine, kernel, version):
    guest = machine(kernel=kernel, devices=[
        '-device', f'vmbus-bridge,max-version={version}',
        '-device', 'hv-heartbeat', '-device', 'hv-shutdown'])
    guest.boot()
    guest.wait_ready()
    assert f'hv_vmbus: Vmbus version:{version}' in guest.run('dmesg')
    info = guest.query_vmbus()
    assert info['version'] == info['max-version'] == version
    for device in vmbus.sysfs_devices(guest.run).values():
        assert int(device['state']) == vmbus.OPENED
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0
