# SPDX-License-Identifier: GPL-2.0-or-later
"""virsh's verbs that need an agent, with no agent in the guest."""
import json

import pytest

from guestlib import backup, daemons, devices
from guestlib.agent import MAC, PREPARE
from guestlib.domain import Domain
from guestlib.libvirt import domain

START = '''
mkdir -p /data && mount -t ext4 /dev/vda /data
write-sequence /data/log >/tmp/writer.log 2>&1 &
''' + daemons.VSS + daemons.KVP


class Guest(Domain):
    def __init__(self, session, kernel):
        super().__init__(session,
                         console=session.folder / f'data/console-{kernel}',
                         shell=session.folder / f'run/shell-{kernel}')
        self.disk = session.folder / f'data/disk-{kernel}'
        backup.make_disk(self.disk)
        session.keep(self.disk)
        session.define(domain(
            '<vmbus/>' + devices.disk(self.disk, 'vda') + devices.NIC +
            devices.serial(self.console.path, self.shell_path),
            kernel=kernel, initramfs='initramfs-backup'))
        self.virsh('start')
        self.connect()
        self.wait_booted()

    def wait_booted(self, mark=0):
        super().wait_booted(mark)
        self.run(PREPARE + START)
        self.wait_agent()
        self.wait(lambda: self.virsh('domhostname', '--source', 'agent',
                                     check=False).returncode == 0, 'its name')


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, session):
    one = Guest(session, request.param)
    yield one
    one.end()


def test_the_channel_is_added(guest):
    target = guest.agent()
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


@pytest.mark.parametrize('how', ['--now', '--sync'])
def test_time(guest, how):
    guest.set_back()
    guest.virsh('domtime', how)
    guest.wait_time()


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
    assert guest.agent().get('state') == 'connected'
    guest.virsh('shutdown', '--mode', 'agent')
    guest.wait_state('shut off')
