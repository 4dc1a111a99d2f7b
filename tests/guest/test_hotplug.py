# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that come and go under a running guest."""
import pytest

from guestlib import vmbus_devices
from guestlib.deadline import until
from guestlib.migration import begin, receiver, wait_status
from guestlib.qmp import QmpError
from guestlib.vmbus import HEARTBEAT, SHUTDOWN, sysfs_devices

BRIDGE = ['-device', 'vmbus-bridge']
HEARTBEAT_DEVICE = ['-device', 'hv-heartbeat,id=hb']


def drivers(guest):
    return [device['driver'] for device in guest.query_vmbus()['devices']]


def plug(guest, driver='hv-shutdown', name='sd'):
    guest.qmp.execute('device_add', {'driver': driver, 'id': name})


def unplug(guest, name='sd'):
    """device_del until QEMU says that the device is gone."""
    start = len(guest.qmp.events)
    guest.qmp.execute('device_del', {'id': name})
    guest.qmp.wait_event('DEVICE_DELETED', start=start, device=name)


def wait_shutdown(guest, state='ready'):
    guest.wait_vmbus(f'shutdown {state}', lambda info: any(
        d.get('shutdown', {}).get('state') == state for d in info['devices']))


def classes(guest):
    """Kinds of the devices that the guest has now."""
    return [d['class_id'] for d in sysfs_devices(guest.run).values()]


def wait_without(guest, kind):
    until(lambda: kind not in classes(guest), f'the guest lets {kind} go')


@pytest.mark.parametrize('kernel,cpus', [('6.1', 2), ('6.12', 1)])
def test_add_and_remove(machine, kernel, cpus):
    guest = machine(kernel=kernel, cpus=cpus,
                    devices=BRIDGE + HEARTBEAT_DEVICE).boot()
    guest.wait_heartbeat('ok')
    for _ in range(3):
        plug(guest)
        wait_shutdown(guest)
        assert SHUTDOWN in classes(guest)
        unplug(guest)
        assert drivers(guest) == ['hv-heartbeat']
        assert guest.query_vmbus()['withdrawn'] == []
        wait_without(guest, SHUTDOWN)
    assert guest.hvctl('heartbeat').returncode == 0
    # A device from the command line goes as well, and comes back.
    unplug(guest, 'hb')
    wait_without(guest, HEARTBEAT)
    plug(guest, 'hv-heartbeat', 'hb')
    guest.wait_heartbeat('ok')
    plug(guest)
    wait_shutdown(guest)
    assert guest.query_vmbus()['messages-refused'] == 0
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0


def test_remove_before_a_guest_came(machine):
    guest = machine(devices=BRIDGE + HEARTBEAT_DEVICE, extra=['-S']).start()
    unplug(guest, 'hb')
    assert drivers(guest) == []
    plug(guest)
    guest.qmp.execute('cont')
    guest.wait_booted()
    wait_shutdown(guest)
    assert classes(guest) == [SHUTDOWN]


def test_guest_that_does_not_let_go(machine):
    """A guest that is stopped lets nothing go; force takes the device, and
    the guest finishes when it goes on."""
    guest = machine(cpus=2, devices=BRIDGE + HEARTBEAT_DEVICE).boot()
    plug(guest)
    wait_shutdown(guest)
    with pytest.raises(QmpError, match='device_del first'):
        guest.qmp.execute('vmbus-device-withdraw', {'id': 'sd'})
    guest.qmp.execute('stop')
    start = len(guest.qmp.events)
    guest.qmp.execute('device_del', {'id': 'sd'})
    with pytest.raises(QmpError, match='already in the process of unplug'):
        guest.qmp.execute('device_del', {'id': 'sd'})
    states = {d['driver']: d['channels'][0]['state']
              for d in guest.query_vmbus()['devices']}
    assert states == {'hv-heartbeat': 'open', 'hv-shutdown': 'rescinded'}
    assert guest.qmp.find_event('DEVICE_DELETED', start) is None
    guest.qmp.execute('vmbus-device-withdraw', {'id': 'sd'})
    guest.qmp.wait_event('DEVICE_DELETED', start=start, device='sd')
    info = guest.query_vmbus()
    assert drivers(guest) == ['hv-heartbeat']
    assert [c['state'] for c in info['withdrawn']] == ['rescinded']
    assert 'kept by the guest' in guest.qmp.hmp('info vmbus')
    # The same instance waits until the guest has forgotten the first one.
    plug(guest)
    guest.qmp.execute('cont')
    guest.wait_vmbus('the guest has let go',
                     lambda info: info['withdrawn'] == [])
    wait_shutdown(guest)
    unplug(guest)


def test_reset_ends_an_unplug(machine):
    guest = machine(devices=BRIDGE + HEARTBEAT_DEVICE).boot()
    plug(guest)
    wait_shutdown(guest)
    guest.qmp.execute('stop')
    start, mark = len(guest.qmp.events), guest.console.mark()
    guest.qmp.execute('device_del', {'id': 'sd'})
    guest.qmp.execute('system_reset')
    guest.qmp.execute('cont')
    guest.qmp.wait_event('DEVICE_DELETED', start=start, device='sd')
    guest.wait_booted(mark)
    guest.wait_heartbeat('ok')
    assert drivers(guest) == ['hv-heartbeat']
    assert guest.query_vmbus()['withdrawn'] == []


def test_move_during_an_unplug(machine):
    """The machine that the guest moves to has the device, too, and hears that
    the guest lets go of it."""
    guest = machine(devices=BRIDGE + HEARTBEAT_DEVICE).boot()
    plug(guest)
    wait_shutdown(guest)
    guest.qmp.execute('stop')
    guest.qmp.execute('device_del', {'id': 'sd'})
    target = receiver(machine, devices=BRIDGE + HEARTBEAT_DEVICE +
                      ['-device', 'hv-shutdown,id=sd'])
    begin(guest, target)
    wait_status(guest)
    wait_status(target)
    assert target.device('hv-shutdown')['channels'][0]['state'] == 'rescinded'
    target.qmp.execute('cont')
    target.qmp.wait_event('DEVICE_DELETED', device='sd')
    target.wait_heartbeat('ok')
    assert drivers(target) == ['hv-heartbeat']
    assert target.query_vmbus()['withdrawn'] == []


def test_refusals(machine):
    guest = machine(devices=BRIDGE + HEARTBEAT_DEVICE, extra=['-S']).start()
    with pytest.raises(QmpError, match='has this instance id'):
        plug(guest, 'hv-heartbeat', 'hb2')
    with pytest.raises(QmpError, match="no device with the id 'x'") as error:
        guest.qmp.execute('vmbus-device-withdraw', {'id': 'x'})
    assert error.value.kind == 'DeviceNotFound'
    assert drivers(guest) == ['hv-heartbeat']


def test_dump_ring(machine):
    guest = machine(devices=vmbus_devices()).boot()
    guest.wait_ready()
    channel = guest.device('hv-shutdown')['channels'][0]
    where = {'relid': channel['relid'], 'ring': 'out'}
    dump = guest.qmp.execute('vmbus-dump-ring', where)
    assert dump['size'] == channel['out']['size']
    assert dump['write-index'] == dump['read-index'] == dump['host-index']
    assert dump['packets'] == []
    assert 'incomplete' not in dump
    guest.qmp.execute('stop')
    guest.qmp.execute('vmbus-shutdown', {'message': 'To be seen.'})
    dump = guest.qmp.execute('vmbus-dump-ring', where)
    packet, = dump['packets']
    assert packet['type'] == 'data-inband'
    assert packet['index'] == dump['read-index'] != dump['write-index']
    # The pipe's header says that it is data, and how many bytes.
    assert packet['data'].startswith('01000000')
    with pytest.raises(QmpError, match='no channel 4000'):
        guest.qmp.execute('vmbus-dump-ring', {'relid': 4000, 'ring': 'in'})
    start = len(guest.qmp.events)
    guest.qmp.execute('system_reset')
    guest.qmp.wait_event('RESET', start=start)
    with pytest.raises(QmpError, match='it has no rings'):
        guest.qmp.execute('vmbus-dump-ring', where)
