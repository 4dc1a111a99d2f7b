# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains with VMBus in a daemon, with our QEMU beneath it."""
import concurrent.futures
import json
import time
import xml.etree.ElementTree as ET

import pytest

from guestlib import Console, hvctl
from guestlib.libvirt import domain
from guestlib.machine import SCALE
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


CONTROLLER = "<controller type='scsi' index='{}' model='vmbus'/>"
DISK = """<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/>
  <source file='{}'/>
  <target dev='{}' bus='scsi'/>
</disk>"""


def image(session, name):
    path = session.folder / f'data/{name}'
    path.write_bytes(bytes(8 << 20))
    path.chmod(0o666)
    return path


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, session):
    """A running domain with a disk: its console and a QMP socket."""
    console = session.folder / f'data/console-{request.param}'
    qmp = session.folder / f'run/qmp-{request.param}'
    session.define(domain(
        '<vmbus/>' + CONTROLLER.format(0) +
        DISK.format(image(session, 'first'), 'sda'),
        kernel=request.param, console=console, qmp=qmp,
        initramfs='initramfs-storage'))
    session.virsh('start', 'guest')
    one = Console(console, lambda: session.virsh(
        'domstate', 'guest').stdout.strip() == 'running')
    one.wait_for('^guest: system up')
    yield one, qmp
    session.virsh('destroy', 'guest')
    assert session.virsh('domstate', 'guest').stdout.strip() == 'shut off'
    session.virsh('undefine', 'guest')


def query(session):
    """{QEMU's id: device} of query-vmbus, through libvirt."""
    answer = json.loads(session.virsh(
        'qemu-monitor-command', 'guest',
        '{"execute": "query-vmbus"}').stdout)['return']
    return {device['id']: device for device in answer['devices']}


def instance_ids(session):
    """{alias: instance id} of the running domain's XML."""
    root = ET.fromstring(session.virsh('dumpxml', 'guest').stdout)
    return {device.find('alias').get('name'): address.get('instanceid')
            for device in root.find('devices')
            if (address := device.find("address[@type='vmbus']")) is not None}


def test_guest_connects(guest):
    console, _ = guest
    console.wait_for(r'hv_vmbus: Vmbus version:5\.3')


def test_heartbeat(guest):
    _, qmp = guest
    done = hvctl('heartbeat', qmp=qmp)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('ok')


def test_monitor_command_shows_the_services(guest, session):
    devices = query(session)
    assert set(devices) >= {f'vmbus0-{name}' for name in SERVICES}
    assert devices['vmbus0-heartbeat']['class-id'] == HEARTBEAT


def test_controller_has_the_id_of_the_xml(guest, session):
    console, _ = guest
    console.wait_for(r'\[sda\] Attached SCSI disk')
    assert query(session)['scsi0']['instance-id'] == \
        instance_ids(session)['scsi0']


def test_plug_and_unplug(guest, session):
    """A controller and a disk on it, while the guest runs."""
    console, _ = guest
    for name, xml in (('controller', CONTROLLER.format(1)),
                      ('disk', DISK.format(image(session, 'second'), 'sdb')
                       .replace('</disk>', "<address type='drive' "
                                "controller='1' bus='0' target='0' unit='0'/>"
                                '</disk>'))):
        path = session.folder / f'{name}.xml'
        path.write_text(xml)
        path.chmod(0o644)
        session.virsh('attach-device', 'guest', str(path), '--live')
    assert query(session)['scsi1']['instance-id'] == \
        instance_ids(session)['scsi1']
    console.wait_for(r'\[sdb\] Attached SCSI disk')
    session.virsh('detach-disk', 'guest', 'sdb', '--live')
    # Linux does not survive the loss of an adapter that it sees disks on.
    console.wait_for(r'\[sdb\] Synchronizing SCSI cache')
    time.sleep(1)
    session.virsh('detach-device', 'guest',
                  str(session.folder / 'controller.xml'), '--live')
    deadline = time.monotonic() + 60 * SCALE
    while 'scsi1' in query(session):
        assert time.monotonic() < deadline, 'the controller is still there'
        time.sleep(0.2)
    assert 'scsi1' not in instance_ids(session)


def test_statistics(guest, session):
    """Those of a disk are there as with any controller."""
    fields = dict(line.split()[1:3] for line in session.virsh(
        'domblkstat', 'guest', 'sda').stdout.splitlines() if line.strip())
    assert int(fields['rd_req']) > 0
    assert int(fields['rd_bytes']) > 0
    text = session.virsh('domstats', 'guest', '--block').stdout
    assert 'block.0.name=sda' in text
    assert f"block.0.rd.reqs={fields['rd_req']}" in text


def test_events_of_the_bus(guest, session):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        seen = pool.submit(session.virsh, 'qemu-monitor-event', 'guest',
                           '--event', 'VMBUS_TIMESYNC_RESPONSE', '--timeout',
                           str(int(30 * SCALE)))
        time.sleep(1)
        session.virsh('qemu-monitor-command', 'guest',
                      '{"execute": "vmbus-timesync"}')
        assert '"result":"accepted"' in seen.result().stdout
