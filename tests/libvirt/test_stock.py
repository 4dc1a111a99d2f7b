# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains with VMBus in a libvirt that knows nothing of it: Debian's."""
import hashlib
import json
import os
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

from guestlib import daemons, devices
from guestlib.agent import PREPARE
from guestlib.domain import AGENT
from guestlib.libvirt import domain, serving
from guestlib.stock import (Guest, StockSession, convert, image,
                            wait_heartbeat, why_not)

VERSIONS = {'bookworm': '9.0.0', 'trixie': '11.3.0'}
QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'
CONTENT = os.urandom(1 << 20)
DEVICES = """<vmbus><service name='vss' state='on' hold='40'/></vmbus>
<controller type='scsi' index='0' model='vmbus'/>
<controller type='scsi' index='1' model='vmbus'>
  <driver queues='2' iothread='1'/>
  <address type='vmbus' instanceid='c4ae5bd1-dbf0-4b61-a9d3-2a48ab6b0b77'/>
</controller>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"""


def native(session, **options):
    """The XML of a domain as a libvirt with VMBus takes it."""
    xml = domain(
        DEVICES + devices.disk(session.folder / 'data/first', 'sda') +
        devices.NIC + devices.serial(session.folder / 'data/console',
                                     session.folder / 'run/shell'), **options)
    return xml.replace('<vcpu>', '<iothreads>1</iothreads><vcpu>')


@pytest.fixture(scope='module', params=list(VERSIONS))
def stock(request):
    reason = why_not(request.param)
    if reason:
        pytest.skip(reason)
    with serving(StockSession, request.param) as one:
        yield one


@pytest.fixture
def define(stock):
    """define(xml) gives the definition as libvirt has it; undone after."""
    def do(xml):
        stock.define(xml)
        return stock.virsh('dumpxml', 'guest').stdout
    yield do
    stock.virsh('undefine', 'guest', check=False)


def in_ours(session, xml):
    """The definition as our libvirt has it."""
    session.define(xml)
    try:
        return session.virsh('dumpxml', 'guest').stdout
    finally:
        session.virsh('undefine', 'guest')


def slots(text):
    """The PCI devices of a definition and where they are."""
    return sorted((device.tag, tuple(sorted(address.items())))
                  for device in ET.fromstring(text).find('devices')
                  for address in device.findall("address[@type='pci']"))


def test_the_daemon_is_debians(stock):
    for program in ('virtqemud', 'virsh'):
        version = subprocess.run([*stock.command(program), '--version'],
                                 capture_output=True, text=True).stdout
        assert version.split()[-1] == VERSIONS[stock.suite]
    assert 'failed to validate' in stock.refusal(domain())


def test_machine_is_the_same(stock, session, define):
    """PCI slots and instance ids are those of a libvirt with VMBus."""
    xml = native(stock)
    ours = in_ours(session, xml)
    theirs = define(convert(xml, stock.folder))
    assert slots(theirs) == slots(ours)
    assert slots(ours)
    ids = [address.get('instanceid') for address in
           ET.fromstring(ours).findall(".//address[@type='vmbus']")]
    assert [p.get('value') for p in ET.fromstring(theirs).findall(
        f".//{QEMU}property[@name='instanceid']")] == ids
    assert len(ids) == 2


@pytest.mark.parametrize('devices', [
    '<vmbus/>', "<controller type='scsi' model='vmbus'/>",
    "<vmbus/><channel type='spicevmc'><target type='virtio'/></channel>"
    "<graphics type='spice'/>",
    "<vmbus/><channel type='unix'><target type='virtio' "
    f"name='{AGENT}'/></channel>", None])
def test_way_back(stock, session, define, devices):
    """A domain that went through Debian's libvirt and back."""
    xml = domain(devices) if devices else native(stock)
    if 'spice' in xml and 'spice' not in stock.virsh(
            'domcapabilities', '--emulatorbin',
            ET.fromstring(xml).find('devices/emulator').text).stdout:
        xml = xml.replace("<graphics type='spice'/>", '')
        xml = xml.replace("type='spicevmc'", "type='unix'")
        xml = xml.replace("<target type='virtio'/>",
                          "<target type='virtio' name='other'/>")
    back = convert(define(convert(xml, stock.folder)), stock.folder,
                   '--native')
    assert in_ours(session, back) == in_ours(session, xml)


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, stock):
    image(stock, 'first', CONTENT)
    stock.define(convert(native(stock, kernel=request.param,
                                initramfs='initramfs-domain',
                                qmp=stock.folder / 'run/qmp'),
                         stock.folder))
    try:
        one = Guest(stock)
        one.run(PREPARE + daemons.VSS + daemons.KVP)
        yield one
    finally:
        stock.virsh('destroy', 'guest', check=False)
        stock.virsh('undefine', 'guest', check=False)


def test_heartbeat(guest):
    wait_heartbeat(guest.session.folder / 'run/qmp')


def test_devices_are_on_vmbus(guest):
    found = guest.query_vmbus()['devices']
    vss = next(d['qom-path'] for d in found if d['driver'] == 'hv-vss')
    assert guest.qmp('qom-get', path=vss, property='freeze-limit') == 40
    assert sorted(device['driver'] for device in found) == sorted(
        ['hv-heartbeat', 'hv-shutdown', 'hv-timesync', 'hv-vss', 'hv-kvp',
         'hv-fcopy', 'hv-scsi', 'hv-scsi'])
    # Those of the interface and of the random numbers.
    assert len(guest.run('ls /sys/bus/virtio/devices').split()) == 2


def test_disk(guest):
    assert guest.run('head -c 1048576 /dev/sda | sha256sum').split()[0] == \
        hashlib.sha256(CONTENT).hexdigest()
    guest.run('echo written by the guest | '
              'dd of=/dev/sda bs=512 seek=4096 conv=sync,fsync')
    path = guest.session.folder / 'data/first'
    assert path.read_bytes()[4096 * 512:].startswith(b'written by the guest')


def test_plug_and_unplug(guest):
    session = guest.session
    guest.virsh('attach-device', session.file('disk.xml', devices.disk(
        image(session, 'second', CONTENT[::-1]), 'sdb', 3, controller=1)),
        '--live')
    guest.console.wait_for(r'\[sdb\] Attached SCSI disk')
    assert guest.run('head -c 1048576 /dev/sdb | sha256sum').split()[0] == \
        hashlib.sha256(CONTENT[::-1]).hexdigest()
    guest.virsh('detach-disk', 'sdb', '--live')
    guest.wait(lambda: 'sdb' not in guest.virsh('domblklist').stdout,
               'the disk is still there')
    guest.wait(lambda: 'sdb' not in guest.run('cat /proc/partitions'),
               'the guest still has the disk')


def wait_agent(guest):
    guest.wait(lambda: guest.virsh('domhostname', '--source', 'agent',
                                   check=False).returncode == 0,
               'the agent does not know the name')


def test_agent(guest):
    wait_agent(guest)
    assert guest.virsh('domhostname', '--source',
                       'agent').stdout.strip() == 'guest.example'
    info = guest.virsh('guestinfo', '--os').stdout
    assert guest.run('uname -r').strip() in info
    answer = json.loads(guest.virsh('qemu-agent-command',
                                    '{"execute":"guest-ping"}').stdout)
    assert answer == {'return': {}}


def test_time(guest):
    guest.set_back()
    guest.virsh('domtime', '--now')
    guest.wait_time()


def test_freeze_and_thaw(guest):
    guest.run('/sbin/mke2fs -q -t ext4 /dev/sda 4096 && mkdir -p /data && '
              'mount -t ext4 /dev/sda /data')
    guest.wait(lambda: guest.virsh('domfsfreeze',
                                   check=False).returncode == 0,
               'the guest does not freeze')
    guest.run('(touch /data/file && touch /tmp/done) >/dev/null 2>&1 &')
    time.sleep(1.5)
    guest.run('test ! -e /tmp/done')
    guest.virsh('domfsthaw')
    guest.wait(lambda: guest.shell.call('test -e /tmp/done')[0] == 0,
               'the guest did not thaw')
    guest.run('umount /data')


def test_save_and_restore(guest):
    mark = guest.run('echo here >/tmp/mark && cat /tmp/mark')
    path = guest.session.folder / 'data/saved'
    guest.close()
    guest.virsh('save', str(path))
    assert guest.state() == 'shut off'
    guest.session.virsh('restore', str(path))
    guest.connect()
    assert guest.run('cat /tmp/mark') == mark
    test_heartbeat(guest)
    wait_agent(guest)


def test_shutdown(guest):
    guest.virsh('shutdown', '--mode', 'agent')
    guest.wait_state('shut off')
