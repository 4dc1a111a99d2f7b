# SPDX-License-Identifier: GPL-2.0-or-later
"""virsh's verbs that need an agent, with no agent in the guest."""
import json
import os
import socket
import time
import xml.etree.ElementTree as ET

import pytest

from guestlib import Console, backup
from guestlib.agent import MAC, PREPARE
from guestlib.libvirt import domain
from guestlib.machine import BOOTED, SCALE, GuestShell

AGENT = 'org.qemu.guest_agent.0'
DEVICES = f"""<vmbus/>
<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/>
  <source file='{{disk}}'/>
  <target dev='vda' bus='virtio'/>
</disk>
<interface type='user'>
  <mac address='{MAC}'/>
  <model type='virtio'/>
  <rom enabled='no'/>
</interface>
<serial type='file'><source path='{{console}}'/></serial>
<serial type='unix'><source mode='bind' path='{{shell}}'/></serial>"""
START = '''
mkdir -p /data && mount -t ext4 /dev/vda /data
hv_vss_daemon --no-daemon >/tmp/vss.log 2>&1 &
hv_kvp_daemon -n >/tmp/kvp.log 2>&1 &
write-sequence /data/log >/tmp/writer.log 2>&1 &
'''


class Guest:
    """A running domain, and a shell in its guest."""

    def __init__(self, session, kernel):
        self.session = session
        self.disk = session.folder / f'data/disk-{kernel}'
        backup.make_disk(self.disk)
        self.disk.chmod(0o666)
        os.chown(self.disk, *self.owner())
        console = session.folder / f'data/console-{kernel}'
        shell = session.folder / f'run/shell-{kernel}'
        session.define(domain(
            DEVICES.format(disk=self.disk, console=console, shell=shell),
            kernel=kernel, initramfs='initramfs-backup'))
        self.virsh('start')
        self.console = Console(console, lambda: self.state() == 'running')
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(shell))
        self.shell = GuestShell(sock)
        self.wait_booted()

    def owner(self):
        info = (self.session.folder / 'data').stat()
        return info.st_uid, info.st_gid

    def virsh(self, command, *arguments, check=True):
        return self.session.virsh(command, 'guest', *arguments, check=check)

    def fails(self, command, *arguments):
        done = self.virsh(command, *arguments, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def state(self):
        return self.virsh('domstate').stdout.strip()

    def wait_booted(self, start=0):
        self.console.wait_for(BOOTED, start=start)
        self.shell.wait_ready()
        self.run(PREPARE + START)
        self.wait_agent('connected')
        deadline = time.monotonic() + 60 * SCALE
        while self.virsh('domhostname', '--source', 'agent',
                         check=False).returncode != 0:
            assert time.monotonic() < deadline, self.run('cat /tmp/*.log')
            time.sleep(0.5)

    def run(self, command):
        return self.shell.run(command)

    def channel(self):
        root = ET.fromstring(self.virsh('dumpxml').stdout)
        return root.find(f"./devices/channel/target[@name='{AGENT}']")

    def wait_agent(self, state):
        deadline = time.monotonic() + 60 * SCALE
        while self.channel().get('state') != state:
            assert time.monotonic() < deadline, self.session.qemu_log()
            time.sleep(0.1)

    def records(self):
        return int(self.run('stat -c %s /data/log 2>/dev/null || echo 0'))

    def stands_still(self):
        before = self.records()
        time.sleep(1.5)
        return self.records() == before

    def wait_progress(self):
        before, deadline = self.records(), time.monotonic() + 30 * SCALE
        while self.records() == before:
            assert time.monotonic() < deadline, 'the writer hangs'
            time.sleep(0.1)


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, session):
    one = Guest(session, request.param)
    yield one
    one.virsh('destroy', check=False)
    one.virsh('undefine', '--snapshots-metadata')


def test_the_channel_is_added(guest):
    target = guest.channel()
    assert target.get('type') == 'vmbus'
    assert target.get('state') == 'connected'


def test_any_command(guest):
    answer = json.loads(guest.virsh('qemu-agent-command',
                                    '{"execute":"guest-ping"}').stdout)
    assert answer == {'return': {}}


def test_host_name(guest):
    assert guest.virsh('domhostname', '--source', 'agent').stdout.strip() == \
        'guest.example'


def test_guest_info(guest):
    for arguments in [('--os', '--hostname', '--interface')], [()]:
        info = dict(line.split(':', 1) for line in guest.virsh(
            'guestinfo', *arguments[0]).stdout.splitlines() if ':' in line)
        info = {key.strip(): value.strip() for key, value in info.items()}
        assert info['os.name'] == 'Test'
        assert info['os.version-id'] == '7.5'
        assert info['os.kernel-release'] == guest.run('uname -r').strip()
        assert info['hostname'] == 'guest.example'
        assert info['if.0.name'] == 'net0'
        assert info['if.0.hwaddr'] == MAC
    assert 'has no command' in guest.fails('guestinfo', '--user')


def test_addresses(guest):
    text = guest.virsh('domifaddr', '--source', 'agent').stdout
    assert any({'net0', MAC, 'ipv4', '192.0.2.7/24'} <= set(line.split())
               for line in text.splitlines()), text


def set_back(guest):
    guest.run('date -s "$(date -d @$(($(date +%s) - 3600)) '
              '"+%Y-%m-%d %H:%M:%S")"')
    assert behind(guest) > 3500


def behind(guest):
    return time.time() - int(guest.run('date +%s'))


@pytest.mark.parametrize('how', ['--now', '--sync'])
def test_time(guest, how):
    set_back(guest)
    guest.virsh('domtime', how)
    assert abs(behind(guest)) < 5


def test_times_that_cannot_be(guest):
    assert 'only give the guest the host' in guest.fails('domtime', '--time',
                                                         '1000000000')
    assert 'does not tell what its clock shows' in guest.fails('domtime')


def test_freeze_and_thaw(guest):
    guest.virsh('domfsfreeze')
    assert guest.stands_still()
    assert 'Another freeze' in guest.fails('domfsfreeze')
    guest.virsh('domfsthaw')
    guest.wait_progress()
    guest.virsh('domfsthaw')
    assert 'leave the mount points out' in guest.fails('domfsfreeze', '/data')


def test_thaw_of_a_guest_that_is_thawed(guest):
    """A copy that may not be consistent is not called good."""
    guest.virsh('domfsfreeze')
    guest.virsh('qemu-monitor-command', '{"execute": "vmbus-vss-thaw"}')
    guest.wait_progress()
    assert 'did not stay frozen' in guest.fails('domfsthaw')


def test_snapshot(guest):
    """What the guest had written is in the first image, and whole."""
    overlay = guest.disk.with_name(f'{guest.disk.name}.overlay')
    guest.virsh('snapshot-create-as', '--disk-only', '--quiesce',
                '--name', 'one', '--diskspec', f'vda,file={overlay}')
    guest.wait_progress()
    backup.assert_clean(guest.disk)
    assert backup.records_in(guest.disk) > 0


def test_reboot_and_shutdown(guest):
    mark = guest.console.mark()
    guest.virsh('reboot', '--mode', 'agent')
    guest.wait_booted(mark)
    assert guest.channel().get('state') == 'connected'
    guest.virsh('shutdown', '--mode', 'agent')
    deadline = time.monotonic() + 60 * SCALE
    while guest.state() != 'shut off':
        assert time.monotonic() < deadline
        time.sleep(0.2)
