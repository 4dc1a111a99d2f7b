# SPDX-License-Identifier: GPL-2.0-or-later
"""The domains of examples/, in libvirt with VMBus and as Debian's takes them."""
import json
import subprocess
import xml.etree.ElementTree as ET

import pytest

from guestlib import GUEST, Console, hvctl, program
from guestlib.machine import BOOTED
from guestlib.paths import BUILD, TOP
from guestlib.stock import image, wait_heartbeat

EXAMPLES = sorted((TOP / 'examples').glob('*.xml'))
SCHEMA = (BUILD / 'libvirt').resolve().parent / \
    'source/src/conf/schemas/domain.rng'


def read(path):
    """Without KVM and with our QEMU, as a test can have it."""
    root = ET.parse(path).getroot()
    root.set('type', 'qemu')
    root.find('devices/emulator').text = program('qemu-system-x86_64')
    root.find('cpu').set('mode', 'maximum')
    hyperv = root.find('features/hyperv')
    for feature in hyperv if hyperv is not None else ():
        assert feature.get('state') == 'on'
    return root


def has_tpm(session):
    root = ET.fromstring(session.virsh(
        'domcapabilities', '--virttype', 'qemu', '--machine', 'q35',
        '--emulatorbin', program('qemu-system-x86_64')).stdout)
    # Which versions there are is known from swtpm.
    return any(value.text == '2.0' for value in root.findall(
        "devices/tpm/enum[@name='backendVersion']/value"))


@pytest.fixture(scope='module')
def firmware(session):
    """libvirt looks for firmware that fits; nothing here runs it."""
    folder = session.folder / 'cfg/qemu/firmware'
    folder.mkdir(parents=True, exist_ok=True)
    code = session.folder / 'data/code.fd'
    code.write_bytes(bytes(1 << 20))
    for name, features in (('60-plain', ['acpi-s3']),
                           ('50-secure', ['acpi-s3', 'requires-smm',
                                          'secure-boot', 'enrolled-keys'])):
        (folder / f'{name}.json').write_text(json.dumps({
            'description': name, 'interface-types': ['uefi'],
            'mapping': {'device': 'flash', 'mode': 'split',
                        'executable': {'filename': str(code),
                                       'format': 'raw'},
                        'nvram-template': {'filename': str(code),
                                           'format': 'raw'}},
            'targets': [{'architecture': 'x86_64',
                         'machines': ['pc-q35-*']}],
            'features': features, 'tags': []}))
    for path in (session.folder / 'cfg/qemu').rglob('*'):
        path.chmod(0o755)
    (session.folder / 'cfg/qemu').chmod(0o755)


def test_there_are_four():
    assert [path.stem for path in EXAMPLES] == \
        ['linux', 'minimal', 'windows-11', 'windows-server']


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_schema(path):
    done = subprocess.run(['xmllint', '--noout', '--relaxng', SCHEMA, path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_definition(session, firmware, path):
    root = read(path)
    tpm = root.find('devices/tpm')
    if tpm is not None and not has_tpm(session):
        # That much it says of this host; the rest can be defined.
        assert 'TPM' in session.refusal(ET.tostring(root, encoding='unicode'))
        root.find('devices').remove(tpm)
    session.define(ET.tostring(root, encoding='unicode'))
    try:
        defined = ET.fromstring(session.virsh(
            'dumpxml', root.findtext('name')).stdout)
        assert len(defined.findall('devices/vmbus')) == 1
        assert defined.find("devices/channel/target[@type='vmbus']") is not \
            None
        assert len(defined.findall(
            "devices/controller/address[@type='vmbus']")) == len(
            root.findall("devices/controller[@model='vmbus']"))
    finally:
        session.virsh('undefine', '--nvram', root.findtext('name'))


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_conversion(path):
    """All of them can be carried over; only the ids are new."""
    done = hvctl('xml', '--stock', str(path))
    assert done.returncode == 0, done.stderr
    disks = ET.parse(path).getroot().find("devices/controller[@model='vmbus']")
    assert ('has no <uuid>' in done.stderr) == (disks is not None)


def boot(session, root):
    """With a kernel that its firmware does not have to look for."""
    console = session.folder / f"data/{root.findtext('name')}"
    qmp = session.folder / f"run/{root.findtext('name')}"
    os_ = root.find('os')
    for boot_device in os_.findall('boot'):
        os_.remove(boot_device)
    for name, value in (('kernel', GUEST / '6.12/vmlinuz'),
                        ('initrd', GUEST / '6.12/initramfs-storage'),
                        ('cmdline', 'console=ttyS0 panic=-1')):
        ET.SubElement(os_, name).text = str(value)
    root.find('memory').text = '512'
    root.find('memory').set('unit', 'MiB')
    for disk in root.findall('devices/disk'):
        source = disk.find('source')
        disk.find('driver').set('type', 'raw')
        path = image(session, source.get('file').rsplit('/', 1)[1])
        source.set('file', str(path))
    devices = root.find('devices')
    devices.remove(devices.find('console'))
    for interface in devices.findall('interface'):
        # The machine of the test need not have what boots from networks.
        ET.SubElement(interface, 'rom', enabled='no')
    serial = ET.SubElement(devices, 'serial', type='file')
    ET.SubElement(serial, 'source', path=str(console))
    qemu = 'http://libvirt.org/schemas/domain/qemu/1.0'
    command = ET.SubElement(root, f'{{{qemu}}}commandline')
    for value in ('-qmp', f'unix:{qmp},server=on,wait=off'):
        ET.SubElement(command, f'{{{qemu}}}arg', value=value)
    session.define(ET.tostring(root, encoding='unicode'))
    return console, qmp


@pytest.mark.parametrize('name', ['minimal', 'linux'])
def test_start(session, name):
    console, qmp = boot(session, read(TOP / f'examples/{name}.xml'))
    try:
        session.virsh('start', name)
        one = Console(console, lambda: session.virsh(
            'domstate', name).stdout.strip() == 'running')
        one.wait_for(BOOTED)
        wait_heartbeat(qmp)
    finally:
        session.virsh('destroy', name, check=False)
        session.virsh('undefine', name)
