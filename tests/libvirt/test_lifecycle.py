# SPDX-License-Identifier: GPL-2.0-or-later
"""What virsh does to a domain with disks on VMBus while its guest writes to
them and verifies: they come and go, it is saved and goes on, its daemon dies
and comes back.

The tests of a kernel share one guest and follow each other.
"""
import json
import time

import pytest

from guestlib import backup, devices
from guestlib.fio import VERIFY, Fio, load_job, run_fio
from guestlib.host import Guest, Host
from guestlib.libvirt import serving
from guestlib.storage import MIB, digest, guest_digest, host_disks

CHECKED = {'rw': 'randwrite', 'bs': '16k', 'iodepth': 16, 'size': '8m',
           **VERIFY}


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request):
    with serving(Host) as host:
        first, second = host.image('first'), host.folder / 'data/second'
        backup.make_disk(second)
        one = Guest(host, request.param, devices.disk(
            first, 'sda', 0, inside="<boot order='1'/>") +
            devices.disk(host.keep(second), 'sdb', 1))
        try:
            yield one.boot_with_writer()
        finally:
            one.end()


def test_boot_order(guest):
    """QEMU has got the order, and the firmware a path to the disk."""
    disks = [device for device in guest.qmp('qom-list',
                                            path='/machine/peripheral')
             if device['type'] == 'child<scsi-hd>']
    assert len(disks) == 2
    orders = {guest.qmp('qom-get', path=f"/machine/peripheral/{d['name']}",
                        property='bootindex') for d in disks}
    assert orders == {1, -1}


def test_disk_comes_and_goes(guest):
    """One disk is at work all the time; another one comes, goes at work, and
    its place is free again."""
    host = guest.host
    with guest.busy(guest.disk(0)), guest.events() as events:
        path, before = host.image('plugged'), host_disks(guest)
        guest.virsh('attach-disk', path, 'sdc', '--targetbus', 'scsi',
                    '--sourcetype', 'file', '--subdriver', 'raw',
                    '--serial', 'ONE', '--live')
        disk = guest.wait_disk(before)
        run_fio(guest, {'checked': {'filename': disk, **CHECKED}}, 'checked')
        assert guest_digest(guest, disk, 8) == digest(path, 8 * MIB)
        at_work = Fio(guest, {'load': load_job(disk)}, 'at-work')
        guest.wait(lambda: int(guest.run(
            f'cat /sys/block/{disk[5:]}/stat').split()[4]) > 700, 'writes')
        (address,) = [d.find('address') for d in
                      guest.root().findall('./devices/disk')
                      if d.find('target').get('dev') == 'sdc']
        assert (address.get('controller'), address.get('unit')) == ('0', '2')
        guest.virsh('detach-disk', 'sdc', '--live')
        events.wait_line("'device-removed' for domain 'guest': scsi0-0-0-2")
        guest.wait_unplugged('sdc')
        guest.wait_gone(disk)
        assert at_work.wait() != 0
        for _ in range(2):
            again, before = host.image('again'), host_disks(guest)
            xml = host.file('disk.xml', devices.disk(again, 'sdc', 2))
            guest.virsh('attach-device', xml, '--live')
            taken = host.file('taken.xml', devices.disk(path, 'sdx', 2))
            assert 'already contains a disk with that address' in \
                guest.fails('attach-device', taken, '--live')
            disk = guest.wait_disk(before)
            run_fio(guest, {'checked': {'filename': disk, **CHECKED}},
                    'checked')
            assert guest_digest(guest, disk, 8) == digest(again, 8 * MIB)
            guest.virsh('detach-device', xml, '--live')
            guest.wait_unplugged('sdc')
            guest.wait_gone(disk)
    guest.check_adapter()


def test_controller_comes_and_goes(guest):
    """With its disk, live and in the definition; not while it has the disk."""
    host = guest.host
    xml = host.file('controller.xml', devices.controller(
        1, "<driver iothread='1'/>"))
    with guest.busy(guest.disk(0)):
        guest.virsh('attach-device', xml, '--live', '--config')
        ids = guest.instance_ids()
        assert ids == guest.instance_ids('--inactive')
        assert len(set(ids.values())) == 2
        assert guest.device('hv-scsi', 'scsi1')['instance-id'] == ids['scsi1']
        guest.wait(lambda: ids['scsi1'] in guest.offered(),
                   'the guest has the controller')
        assert 'already' in guest.fails('attach-device', xml, '--live')
        path, before = host.image('other'), host_disks(guest)
        guest.virsh('attach-disk', path, 'sdd', '--targetbus', 'scsi',
                    '--address', 'scsi:1.0.7', '--live')
        disk = guest.wait_disk(before)
        with guest.busy(disk, 'other'):
            guest.wait_more(ident='scsi1')
            assert 'device is busy' in guest.fails('detach-device', xml,
                                                   '--live')
            assert 'scsi1' in guest.instance_ids()
        guest.virsh('detach-disk', 'sdd', '--live')
        guest.wait_unplugged('sdd')
        guest.wait_gone(disk)
        guest.check_adapter('scsi1')
        guest.virsh('detach-device', xml, '--live', '--config')
        guest.wait(lambda: not guest.has_device('scsi1'), 'no controller')
        guest.wait(lambda: 'scsi1' not in guest.instance_ids(), 'no scsi1')
        assert 'scsi1' not in guest.instance_ids('--inactive')
        guest.wait(lambda: ids['scsi1'] not in guest.offered(),
                   'the guest lets the controller go')
        # A disk brings its controller.
        before = host_disks(guest)
        guest.virsh('attach-disk', path, 'sdd', '--targetbus', 'scsi',
                    '--address', 'scsi:1.0.0', '--live')
        assert guest.instance_ids() == ids
        disk = guest.wait_disk(before)
        assert guest_digest(guest, disk, 8) == digest(path, 8 * MIB)
        guest.virsh('detach-disk', 'sdd', '--live')
        guest.wait_unplugged('sdd')
        guest.wait_gone(disk)
        guest.virsh('detach-device', xml, '--live')
        guest.wait(lambda: not guest.has_device('scsi1'), 'no controller')


def go_on(guest, before):
    """After it was saved: the same guest, at work, with the right time."""
    guest.connect()
    guest.wait_time()
    guest.wait_healthy()
    guest.wait_more()
    guest.wait_progress()
    assert guest.life() == before


def test_save_and_restore(guest):
    host = guest.host
    path = host.folder / 'data/saved'
    before = guest.life()
    with guest.busy(guest.disk(0)):
        guest.virsh('save', path)
        assert guest.state() == 'shut off'
        time.sleep(4)
        changed = host.virsh('save-image-dumpxml', str(path)).stdout.replace(
            "name='kvp' state='on'", "name='kvp' state='off'")
        refused = host.virsh('restore', str(path), '--xml',
                             host.file('changed.xml', changed), check=False)
        assert "Target VMBus service 'kvp' is 'off'" in refused.stderr
        host.virsh('restore', str(path))
        go_on(guest, before)
    guest.check_adapter()


def test_managed_save_while_frozen(guest):
    """The guest is thawed where it goes on, and who froze it is told."""
    before = guest.life()
    with guest.busy(guest.disk(0)):
        guest.virsh('domfsfreeze')
        guest.check_frozen()
        guest.virsh('managedsave')
        assert guest.state() == 'shut off'
        guest.virsh('start')
        go_on(guest, before)
        guest.virsh('domfsfreeze')
        guest.virsh('domfsthaw')
        guest.wait_progress()
    guest.check_adapter()


def test_daemon_restarts(guest):
    """It finds the domain as it left it, also a frozen one."""
    host = guest.host
    before = guest.life()
    with guest.busy(guest.disk(0)):
        guest.virsh('domfsfreeze')
        host.end_daemon('kill')
        host.start_daemon()
        assert guest.state() == 'running'
        guest.wait_healthy()
        guest.check_frozen()
        guest.virsh('domfsthaw')
        guest.wait_progress()
        assert guest.life() == before
        path, disks = host.image('after'), host_disks(guest)
        guest.virsh('attach-disk', path, 'sdc', '--targetbus', 'scsi',
                    '--live')
        # In order this time, and while a disk is to go.
        disk = guest.wait_disk(disks)
        run_fio(guest, {'checked': {'filename': disk, **CHECKED}}, 'checked')
        host.end_daemon()
        host.start_daemon()
        assert 'sdc' in guest.targets()
        guest.virsh('detach-disk', 'sdc', '--live')
        guest.wait_unplugged('sdc')
        guest.wait_gone(disk)
        guest.virsh('domtime', '--sync')
    guest.check_adapter()


def test_events_and_end(guest):
    """Of the heartbeat, of the agent, and the answer to a shutdown."""
    driver = '/sys/bus/vmbus/drivers/hv_utils'
    with guest.vmbus_events() as monitor, guest.events() as agent:
        names = guest.run(f'cd {driver} && ls -d *-*-*-*').split()
        for way, state, connection in (
                ('unbind', 'no-contact', 'disconnected'),
                ('bind', 'ok', 'connected')):
            for name in names:
                guest.run(f'echo {name} >{driver}/{way}')
            line = monitor.wait_line('VMBUS_HEARTBEAT_CHANGE')
            assert f'"state":"{state}"' in line, line
            assert connection in agent.wait_line('agent-lifecycle')
        guest.wait_healthy()
        guest.virsh('shutdown', '--mode', 'agent')
        line = monitor.wait_line('VMBUS_SHUTDOWN_RESPONSE')
        answer = json.loads(line[line.index('{'):])
        assert answer['result'] == 'accepted', line
        guest.wait_state('shut off')
