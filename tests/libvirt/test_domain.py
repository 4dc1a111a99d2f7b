# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains with VMBus in a daemon, with our QEMU beneath it."""
import xml.etree.ElementTree as ET

import pytest

from guestlib import devices, hvctl
from guestlib.domain import Domain
from guestlib.libvirt import domain
from guestlib.stock import image, wait_heartbeat
from guestlib.vmbus import HEARTBEAT

SERVICES = ['heartbeat', 'shutdown', 'timesync', 'vss', 'kvp', 'filecopy']
ENLIGHTENMENTS = ['relaxed', 'vapic', 'vpindex', 'runtime', 'synic', 'stimer']


@pytest.fixture
def define(session):
    """define(xml) gives the definition as libvirt has it; undone after."""
    def do(xml):
        session.define(xml)
        return ET.fromstring(session.virsh('dumpxml', 'guest').stdout)
    yield do
    session.virsh('undefine', 'guest', check=False)


def test_definition_is_completed(define):
    root = define(domain())
    services = {s.get('name'): s.get('state')
                for s in root.findall('./devices/vmbus/service')}
    assert services == dict.fromkeys(SERVICES, 'on')
    hyperv = root.find('./features/hyperv')
    assert sorted(e.tag for e in hyperv if e.get('state') == 'on') == \
        sorted(ENLIGHTENMENTS)
    timer = root.find("./clock/timer[@name='hypervclock']")
    assert timer.get('present') == 'yes'


def test_definition_is_the_same_after_a_second_round(define, session):
    define(domain())
    first = session.virsh('dumpxml', 'guest').stdout
    define(first)
    assert session.virsh('dumpxml', 'guest').stdout == first


@pytest.mark.parametrize('xml, sentence', [
    (dict(features="<acpi/><hyperv><synic state='off'/></hyperv>"),
     "VMBus needs the hyperv feature 'synic', which is off"),
    (dict(clock="<timer name='hypervclock' present='no'/>"),
     "VMBus needs the timer 'hypervclock', which is off"),
    (dict(features='<apic/>'), 'VMBus needs the feature <acpi/>'),
    (dict(devices="<vmbus><service name='kvp'/>"
                  "<service name='kvp'/></vmbus>"),
     "VMBus service 'kvp' is given more than once"),
])
def test_refused(session, xml, sentence):
    assert sentence in session.refusal(domain(**xml))


def test_schema_refuses_a_second_bus(session):
    assert 'XML document failed to validate' in \
        session.refusal(domain(devices='<vmbus/><vmbus/>'))


def test_domain_capabilities_list_the_services(session):
    root = ET.fromstring(session.virsh(
        'domcapabilities', '--virttype', 'qemu', '--machine', 'q35',
        '--emulatorbin', domain_emulator()).stdout)
    vmbus = root.find('./devices/vmbus')
    assert vmbus.get('supported') == 'yes'
    assert [v.text for v in
            vmbus.findall("./enum[@name='service']/value")] == SERVICES


def domain_emulator():
    return ET.fromstring(domain()).find('./devices/emulator').text


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, session):
    """A running domain with a disk, and a QMP socket."""
    one = Domain(session,
                 console=session.folder / f'data/console-{request.param}',
                 shell=session.folder / f'run/shell-{request.param}')
    one.qmp_path = session.folder / f'run/qmp-{request.param}'
    session.define(domain(
        '<vmbus/>' + devices.controller(0) +
        devices.disk(image(session, 'first'), 'sda') +
        devices.serial(one.console.path, one.shell_path),
        kernel=request.param, qmp=one.qmp_path,
        initramfs='initramfs-storage'))
    one.virsh('start')
    one.connect()
    one.wait_booted()
    yield one
    one.virsh('destroy')
    assert one.state() == 'shut off'
    one.virsh('undefine')


def query(guest):
    """{QEMU's id: device} of query-vmbus, through libvirt."""
    return {device['id']: device
            for device in guest.query_vmbus()['devices']}


def instance_ids(guest):
    """{alias: instance id} of the running domain's XML."""
    return {device.find('alias').get('name'): address.get('instanceid')
            for device in guest.root().find('devices')
            if (address := device.find("address[@type='vmbus']")) is not None}


def test_guest_connects(guest):
    guest.console.wait_for(r'hv_vmbus: Vmbus version:5\.3')


def test_heartbeat(guest):
    wait_heartbeat(guest.qmp_path)
    done = hvctl('heartbeat', qmp=guest.qmp_path)
    assert done.returncode == 0, done.stderr


def test_monitor_command_shows_the_services(guest):
    found = query(guest)
    assert set(found) >= {f'vmbus0-{name}' for name in SERVICES}
    assert found['vmbus0-heartbeat']['class-id'] == HEARTBEAT


def test_controller_has_the_id_of_the_xml(guest):
    guest.console.wait_for(r'\[sda\] Attached SCSI disk')
    assert query(guest)['scsi0']['instance-id'] == \
        instance_ids(guest)['scsi0']


def test_plug_and_unplug(guest):
    """A controller and a disk on it, while the guest runs."""
    session = guest.session
    xml = session.file('controller.xml', devices.controller(1))
    guest.virsh('attach-device', xml, '--live')
    guest.virsh('attach-device', session.file('disk.xml', devices.disk(
        image(session, 'second'), 'sdb', 0, controller=1)), '--live')
    assert query(guest)['scsi1']['instance-id'] == \
        instance_ids(guest)['scsi1']
    guest.console.wait_for(r'\[sdb\] Attached SCSI disk')
    guest.virsh('detach-disk', 'sdb', '--live')
    guest.console.wait_for(r'\[sdb\] Synchronizing SCSI cache')
    # Linux does not survive the loss of an adapter that it sees disks on.
    guest.wait(lambda: guest.run('ls /sys/class/scsi_device | wc -l').strip()
               == '1', 'the guest lets the disk go')
    guest.wait(lambda: 'sdb' not in guest.virsh('domblklist').stdout,
               'libvirt lets the disk go')
    guest.virsh('detach-device', xml, '--live')
    guest.wait(lambda: 'scsi1' not in query(guest), 'no controller')
    guest.wait(lambda: 'scsi1' not in instance_ids(guest), 'no scsi1')


def test_statistics(guest):
    """Those of a disk are there as with any controller."""
    guest.console.wait_for(r'\[sda\] Attached SCSI disk')
    fields = dict(line.split()[1:3] for line in guest.virsh(
        'domblkstat', 'sda').stdout.splitlines() if line.strip())
    assert int(fields['rd_req']) > 0
    assert int(fields['rd_bytes']) > 0
    text = guest.virsh('domstats', '--block').stdout
    assert 'block.0.name=sda' in text
    assert f"block.0.rd.reqs={fields['rd_req']}" in text


def test_events_of_the_bus(guest):
    with guest.session.watch('qemu-monitor-event', 'guest', '--event',
                             'VMBUS_TIMESYNC_RESPONSE', '--loop', '--timeout',
                             '3600') as watch:
        assert '"result":"accepted"' in guest.hear_vmbus(watch)
