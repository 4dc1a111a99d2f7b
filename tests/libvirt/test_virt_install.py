# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virt-install makes domains with VMBus: the commands of
docs/virt-install.md."""
import subprocess
import xml.etree.ElementTree as ET

import pytest

from guestlib import BIN, GUEST, Console, program
from guestlib.libvirt import Session, serving
from guestlib.machine import BOOTED, SCALE
from guestlib.paths import TOP
from guestlib.stock import enter, image, wait_heartbeat, why_not

DOCUMENT = TOP / 'docs/virt-install.md'


class OurSession(Session):
    """virt-install wants the daemon to find a QEMU by itself."""

    def prepare(self):
        environment = super().prepare()
        return {**environment, 'PATH': f'{BIN}:{environment["PATH"]}'}


@pytest.fixture(scope='module')
def session():
    reason = why_not('virt-install')
    if reason:
        pytest.skip(reason)
    with serving(OurSession) as one:
        yield one


def documented():
    """The options about VMBus that the document shows."""
    block = DOCUMENT.read_text().split('```sh\n')[1].split('```')[0]
    words = block.replace('\\\n', ' ')
    start = words.index('--xml')
    return [part.strip().strip("'") for part in
            words[start:].split('--xml') if part.strip() and
            '/emulator=' not in part]


def virt_install(session, *options):
    socket = session.folder / 'run/libvirt/virtqemud-sock'
    command = [
        *enter('virt-install'), '/usr/bin/python3', '/usr/bin/virt-install',
        '--connect', f'qemu+unix:///session?socket={socket}',
        '--name', 'installed', '--virt-type', 'qemu', '--machine', 'q35',
        '--memory', '512', '--vcpus', '2', '--cpu', 'mode=maximum',
        '--osinfo', 'detect=off,require=off', '--graphics', 'none',
        '--network', 'none', '--noautoconsole',
        '--controller', 'usb,model=none', '--memballoon', 'none',
        '--install', f"kernel={GUEST / '6.12/vmlinuz'},"
                     f"initrd={GUEST / '6.12/initramfs-storage'},"
                     'kernel_args_overwrite=yes,'
                     'kernel_args=console=ttyS0 panic=-1', *options]
    return subprocess.run(command, env=session.environment, text=True,
                          cwd=session.folder, capture_output=True,
                          timeout=240 * SCALE, stdin=subprocess.DEVNULL)


def disk_on_vmbus(path):
    """As XML: for --disk, virt-install wants libvirt's storage daemon."""
    values = {'@type': 'file', '@device': 'disk', 'driver/@name': 'qemu',
              'driver/@type': 'raw', 'source/@file': path,
              'target/@dev': 'sda', 'target/@bus': 'scsi'}
    return ['--disk', 'none', *(
        word for name, value in values.items()
        for word in ('--xml', f'./devices/disk/{name}={value}'))]


@pytest.fixture
def installed(session):
    console = session.folder / 'data/installed'
    qmp = session.folder / 'run/installed-qmp'
    disk = image(session, 'installed-disk')
    options = [word for path in documented() for word in ('--xml', path)]
    done = virt_install(
        session, '--serial', f'file,path={console}',
        *disk_on_vmbus(disk),
        '--xml', f"./devices/emulator={program('qemu-system-x86_64')}",
        f'--qemu-commandline=-qmp unix:{qmp},server=on,wait=off',
        *options)
    try:
        assert done.returncode == 0, done.stderr + done.stdout
        yield console, qmp
    finally:
        session.virsh('destroy', 'installed', check=False)
        session.virsh('undefine', 'installed', check=False)


def test_domain_of_the_document(session, installed):
    console, qmp = installed
    root = ET.fromstring(session.virsh('dumpxml', 'installed').stdout)
    states = {service.get('name'): service.get('state') for service in
              root.findall('devices/vmbus/service')}
    assert states == {'heartbeat': 'on', 'shutdown': 'on', 'timesync': 'on',
                      'vss': 'on', 'kvp': 'on', 'filecopy': 'off'}
    assert root.find("devices/controller[@type='scsi']").get('model') == \
        'vmbus'
    one = Console(console, lambda: session.virsh(
        'domstate', 'installed').stdout.strip() == 'running')
    one.wait_for(BOOTED)
    one.wait_for(r'\[sda\] Attached SCSI disk')
    wait_heartbeat(qmp)


def test_refusal_is_shown(session):
    done = virt_install(session, '--disk', 'none', '--xml',
                        "xpath.create=./devices/vmbus",
                        '--xml', './devices/vmbus/service/@name=x',
                        '--xml', "./devices/emulator="
                        f"{program('qemu-system-x86_64')}")
    assert done.returncode != 0
    assert "there is no VMBus service 'x'" in done.stderr
