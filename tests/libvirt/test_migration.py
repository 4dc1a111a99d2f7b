# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration between two daemons, of a guest that writes to its disks and
verifies.

The daemons run on one machine, and take themselves for two hosts.  The tests
of a kernel share one guest and follow each other.
"""
import re
import subprocess

import pytest

from guestlib import backup, devices
from guestlib.deadline import SCALE
from guestlib.host import Guest, Host
from guestlib.libvirt import serving
from guestlib.paths import program
from guestlib.storage import digest, guest_digest, host_disks

ANOTHER = '0b5f0f2e-4f57-4f4b-8f4b-64f1a4a3b0c1'


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def pair(request):
    """The guest, and both hosts; it is on the first one."""
    with serving(Host) as home, serving(Host) as there:
        first, second = home.image('first'), home.folder / 'data/second'
        backup.make_disk(second)
        guest = Guest(home, request.param, devices.disk(first, 'sda', 0) +
                      devices.disk(home.keep(second), 'sdb', 1))
        try:
            guest.boot_with_writer()
            yield guest, [home, there]
        finally:
            guest.end()


def other(guest, hosts):
    return hosts[1 - hosts.index(guest.host)]


def over_socket(host):
    return ['--migrateuri', f'unix://{host.folder}/run/move']


def without_vmbus(host):
    """An emulator that libvirt takes for one without our VMBus, on that host
    alone."""
    path = host.folder / 'old-qemu'
    path.write_text(f'#!/bin/sh\nexec {program("qemu-system-x86_64")} "$@"\n')
    path.chmod(0o755)
    known = set(host.folder.rglob('capabilities/*.xml'))
    host.virsh('domcapabilities', '--virttype', 'qemu', '--machine', 'q35',
               '--emulatorbin', str(path))
    (cache,) = set(host.folder.rglob('capabilities/*.xml')) - known
    text, count = re.subn(r" *<flag name='query-vmbus'/>\n", '',
                          cache.read_text())
    assert count == 1
    host.end_daemon()
    cache.write_text(text)
    host.start_daemon()
    return path


def test_refused(pair):
    """Where the guest would find another bus it does not go."""
    guest, hosts = pair
    to = other(guest, hosts)
    xml = guest.target_xml(to)
    ((name, instance),) = guest.instance_ids().items()
    assert name == 'scsi0'
    old = without_vmbus(to)
    emulator = program('qemu-system-x86_64')
    with guest.busy(guest.disk(0)):
        for change, sentence in (
                ((instance, ANOTHER),
                 'does not match source'),
                (("name='kvp' state='on'", "name='kvp' state='off'"),
                 "Target VMBus service 'kvp' is 'off' and does not match"),
                ((f'<emulator>{emulator}', f'<emulator>{old}'),
                 f"QEMU '{old}' has no VMBus")):
            assert change[0] in xml
            text = guest.fails(*guest.migration(
                to, *over_socket(to), xml=xml.replace(*change)))
            assert sentence in text
            assert guest.state() == 'running'
            assert to.virsh('list', '--all', '--name').stdout.strip() == ''
        guest.wait_healthy()


def test_moves(pair):
    """There, with a disk and a controller that were plugged, and back through
    the daemons."""
    guest, hosts = pair
    home, to = hosts
    before = host_disks(guest)
    guest.virsh('attach-device', home.file(
        'controller.xml', devices.controller(1)), '--live')
    guest.virsh('attach-disk', home.image('third'), 'sdc', '--targetbus',
                'scsi', '--address', 'scsi:1.0.3', '--live')
    disk = guest.wait_disk(before)
    life = guest.life()
    with guest.busy(guest.disk(0)), guest.busy(disk, 'third'):
        guest.move(to, *over_socket(to), '--persistent', '--undefinesource')
        assert guest.name not in home.virsh('list', '--all', '--name').stdout
        assert guest.name in to.virsh('list', '--persistent', '--name').stdout
        check_arrival(guest, life)
        guest.move(home, '--p2p', '--migrateuri', 'tcp://127.0.0.1')
        assert to.virsh('domstate', guest.name).stdout.strip() == 'shut off'
        assert guest.name in home.virsh('list', '--transient',
                                        '--name').stdout
        check_arrival(guest, life)
        guest.wait_more(ident='scsi1')
    to.virsh('undefine', guest.name)
    guest.check_adapter('scsi1')
    guest.virsh('detach-disk', 'sdc', '--live')
    guest.wait_unplugged('sdc')
    guest.wait_gone(disk)


def check_arrival(guest, life):
    guest.wait_time()
    guest.wait_healthy()
    guest.wait_more()
    guest.wait_progress()
    assert guest.life() == life
    assert guest.device('hv-scsi', 'scsi0')['instance-id'] == \
        guest.instance_ids()['scsi0']
    guest.virsh('domfsfreeze')
    guest.virsh('domfsthaw')
    guest.wait_progress()


def test_aborted_while_frozen(pair):
    """The beginning of a move thaws the guest, and whoever froze it is
    told; the guest stays."""
    guest, hosts = pair
    to = other(guest, hosts)
    with guest.busy(guest.disk(0)):
        guest.virsh('domfsfreeze')
        guest.check_frozen()
        home = guest.host
        moving = subprocess.Popen(
            [*home.command('virsh'), '-q', '-c', 'qemu:///session',
             *guest_first(guest.migration(to, *over_socket(to),
                                          '--bandwidth', '1'), guest)],
            env=home.environment, cwd=home.folder, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL, text=True)
        guest.wait_progress()
        guest.wait(lambda: 'Unbounded' in guest.virsh('domjobinfo').stdout,
                   'the move has begun')
        guest.virsh('domjobabort')
        error = moving.communicate(timeout=120 * SCALE)[1]
        assert moving.returncode != 0
        assert 'canceled by client' in error
        assert 'did not stay frozen' in guest.fails('domfsthaw')
        guest.wait_healthy()
    guest.check_adapter()


def guest_first(words, guest):
    return [words[0], guest.name, *map(str, words[1:])]


def test_moves_frozen(pair):
    """It arrives thawed."""
    guest, hosts = pair
    life = guest.life()
    with guest.busy(guest.disk(0)):
        guest.virsh('domfsfreeze')
        guest.check_frozen()
        to = other(guest, hosts)
        guest.move(to, *over_socket(to))
        check_arrival(guest, life)
    guest.check_adapter()


def test_moves_with_its_disks(pair):
    """Both disks are copied while the guest writes to them."""
    guest, hosts = pair
    to = other(guest, hosts)
    life = guest.life()
    xml = guest.target_xml(to)
    copies = [to.image('first-copy'), to.image('second-copy')]
    for name, copy in zip(('first', 'second'), copies):
        xml = re.sub(rf"[^']*/data/{name}'", f"{copy}'", xml)
    with guest.busy(guest.disk(0)):
        guest.move(to, *over_socket(to), '--copy-storage-all', '--disks-uri',
                   f'unix://{to.folder}/run/disks', xml=xml)
        left = digest(hosts[0].folder / 'data/first')
        check_arrival(guest, life)
    guest.check_adapter()
    assert guest_digest(guest, guest.disk(0), 64) == digest(copies[0])
    assert digest(hosts[0].folder / 'data/first') == left != digest(copies[0])
    # A file system that is whole.
    guest.run('killall write-sequence; for i in $(seq 100); do '
              'umount /data 2>/dev/null && exit 0; sleep 0.2; done; exit 1')
    backup.assert_clean(copies[1])
    assert backup.records_in(copies[1]) > 0
