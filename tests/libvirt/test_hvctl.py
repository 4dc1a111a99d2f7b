# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl --connect: each of its verbs through libvirt's daemon."""
import hashlib
import json
import os
import signal
import subprocess
import time

import pytest

from guestlib import backup, daemons, devices
from guestlib.agent import MAC, PREPARE
from guestlib.deadline import SCALE
from guestlib.domain import Domain
from guestlib.libvirt import domain
from guestlib.machine import Watch, heed_signals
from guestlib.paths import program

USAGE, UNREACHABLE, NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT, COMMAND, LOST, \
    NO_KEY, EXISTS, FINDINGS = 2, 3, 4, 5, 6, 7, 12, 13, 15, 16, 21
WRITER = '''mkdir -p /data && mount -t ext4 /dev/vda /data
write-sequence /data/log >/tmp/writer.log 2>&1 &
'''
# As ssh to another host: bytes pass, and no descriptors.
RELAY = """#!/usr/bin/python3
import os, socket, threading
sock = socket.socket(socket.AF_UNIX)
sock.connect('{}')
def pump(read, write):
    while data := read(65536):
        write(data)
    os._exit(0)
threading.Thread(target=pump, args=(
    sock.recv, lambda data: os.write(1, data))).start()
pump(lambda count: os.read(0, count), sock.sendall)
"""


def watch(session, *arguments):
    """Of an hvctl that goes on."""
    return Watch(session.hvctl_command(*arguments), env=session.environment,
                 cwd=session.folder, stderr=subprocess.PIPE,
                 stdin=subprocess.DEVNULL, preexec_fn=heed_signals)


def failed(done, code):
    """One sentence for people on the standard error, nothing else."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ''
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


class Guest(Domain):
    def __init__(self, session, kernel, initramfs, xml, start, name='guest',
                 uuid='9c01'):
        super().__init__(
            session, name, session.folder / f'data/console-{name}-{kernel}',
            session.folder / f'run/{name}-{kernel}')
        self.kernel, self.start = kernel, start
        session.define(domain(
            '<vmbus/>' + xml + devices.serial(self.console.path,
                                              self.shell_path),
            kernel=kernel, initramfs=initramfs,
            name=name).replace('9c01<', f'{uuid}<'))
        self.boot()

    def boot(self):
        self.virsh('start')
        self.connect()
        self.wait_booted()

    def wait_booted(self, mark=0):
        super().wait_booted(mark)
        self.run(PREPARE + self.start)
        self.wait(lambda: self.hvctl('heartbeat').returncode == 0 and
                  'negotiating' not in self.hvctl('status').stdout,
                  'the services are ready')

    def hvctl(self, verb, *arguments):
        return self.session.hvctl(verb, self.name, *arguments)

    def json(self, verb, *arguments):
        done = self.hvctl(verb, *arguments, '--json')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def watch(self, verb, *arguments):
        return watch(self.session, verb, self.name, *arguments)


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, session):
    """With a disk, something that writes to it, and its daemons."""
    disk = session.folder / f'data/disk-{request.param}'
    backup.make_disk(disk)
    session.keep(disk)
    one = Guest(session, request.param, 'initramfs-backup',
                devices.disk(disk, 'vda') + devices.NIC,
                WRITER + daemons.VSS + daemons.KVP)
    yield one
    one.end()


def test_status(guest):
    done = guest.hvctl('status')
    assert done.returncode == 0, done.stderr
    assert 'VMBus: version 5.3' in done.stdout
    found = {d['id']: d for d in guest.json('status')['devices']}
    assert found['vmbus0-heartbeat']['heartbeat']['state'] == 'ok'
    assert 'vmbus0-filecopy' in found
    by_uuid = guest.session.hvctl('status',
                                  '5f1a3a52-2d7a-4d4b-8f8e-6a8f1f2d9c01')
    assert by_uuid.returncode == 0, by_uuid.stderr


def test_environment(guest):
    environment = {**guest.session.environment,
                   'LIBVIRT_DEFAULT_URI': 'qemu:///session'}
    done = subprocess.run([*guest.session.user, program('hvctl'), 'heartbeat',
                           'guest'], env=environment, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('ok')


def test_domain_is_marked(guest):
    """libvirt tells that somebody gave commands to the monitor."""
    guest.hvctl('status')
    assert 'custom monitor' in guest.virsh('dominfo').stdout


def test_doctor(guest):
    guest.wait(lambda: guest.hvctl('doctor').returncode == 0,
               lambda: guest.hvctl('doctor').stdout)
    assert guest.hvctl('doctor').stdout.endswith('No problem was found.\n')
    guest.virsh('suspend')
    done = guest.hvctl('doctor')
    assert done.returncode == FINDINGS
    assert 'problem: machine: The machine is stopped (paused).' in done.stdout
    guest.virsh('resume')


def test_watch(guest):
    with guest.watch('heartbeat', '--watch') as watch:
        watch.wait_line('ok')
        guest.virsh('suspend')
        watch.wait_lines(' paused,', 'machine stopped')
        guest.virsh('resume')
        watch.wait_lines('machine runs', ' ok,')


def test_time(guest):
    guest.set_back()
    done = guest.hvctl('timesync', '--sync')
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The guest took the host's time.\n"
    guest.wait_time()
    assert guest.json('timesync')['state'] == 'ready'


def test_keys(guest):
    done = guest.hvctl('kvp', 'get', 'auto', 'OSName')
    assert (done.returncode, done.stdout) == (0, 'Test\n'), done.stderr
    assert guest.hvctl('kvp', 'set', 'external', 'key', 'a value').\
        returncode == 0
    assert 'key = a value\n' in guest.hvctl('kvp', 'list', 'external').stdout
    assert guest.hvctl('kvp', 'delete', 'external', 'key').returncode == 0


def test_addresses(guest):
    done = guest.hvctl('ip', 'get', MAC)
    assert done.returncode == 0, done.stderr
    assert 'Address: 192.0.2.7' in done.stdout


def test_freeze_and_thaw(guest):
    assert guest.json('snapshot-freeze', '--hold', '30')['state'] == 'frozen'
    assert guest.stands_still()
    assert guest.json('vss-status')['state'] == 'frozen'
    done = guest.hvctl('snapshot-thaw')
    assert (done.returncode, done.stdout) == (0, 'The guest is thawed.\n')
    guest.wait_progress()


def test_run(guest):
    """The hold is renewed over libvirt, too, and an exit code comes back."""
    done = guest.hvctl('snapshot-freeze', '--hold', '6', '--run', 'sleep 9')
    assert done.returncode == 0, done.stderr
    guest.wait_progress()
    failed(guest.hvctl('snapshot-freeze', '--run', 'exit 3'), COMMAND)
    guest.wait_progress()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run(guest, number):
    """The threads of libvirt's client take no signal from us."""
    mark = guest.session.folder / f'data/began-{number}'
    with guest.watch('snapshot-freeze', '--run',
                     f'touch {mark}; exec sleep 100') as one:
        guest.wait(lambda: mark.exists() or one.process.poll() is not None,
                   'it runs')
        one.process.send_signal(number)
        code, sentence = one.end()
    mark.unlink()
    assert code == COMMAND, sentence
    assert f'by signal {int(number)}' in sentence
    assert guest.json('vss-status')['state'] == 'idle'
    guest.wait_progress()


def test_libvirt_and_hvctl_share_a_freeze(guest):
    guest.virsh('domfsfreeze')
    failed(guest.hvctl('snapshot-freeze'), REFUSED)
    guest.virsh('domfsthaw')
    guest.wait_progress()


def test_refusals(guest):
    session = guest.session
    sentences = {failed(guest.hvctl('kvp', 'get', 'guest', 'nothing'), NO_KEY),
                 failed(session.hvctl('status', 'nobody'), UNREACHABLE),
                 failed(session.hvctl(
                     'status', 'guest',
                     uri='qemu:///session?socket=/nonexistent'), UNREACHABLE)}
    session.define(domain(name='asleep').replace('9c01<', '9c02<'))
    sentences.add(failed(session.hvctl('status', 'asleep'), UNREACHABLE))
    session.virsh('undefine', 'asleep')
    session.define(domain(devices='', name='bare').replace('9c01<', '9c03<'))
    session.virsh('start', 'bare')
    sentences.add(failed(session.hvctl('status', 'bare'), NO_VMBUS))
    sentences.add(failed(session.hvctl('shutdown', 'bare'), NO_VMBUS))
    session.virsh('destroy', 'bare')
    session.virsh('undefine', 'bare')
    assert len(sentences) == 5, sentences
    assert any('no domain nobody' in text for text in sentences)
    assert any('asleep is not running' in text for text in sentences)
    if guest.kernel == '6.12':
        assert 'not opened the file copy' in failed(
            guest.hvctl('copy', '/etc/hostname', '/tmp/x'), NOT_OPEN)
    assert any('of domain bare has no VMBus' in text for text in sentences)


def test_a_daemon_that_hangs(guest):
    """Time limits hold though libvirt's calls have none."""
    daemon = guest.session.daemon
    with guest.watch('heartbeat', '--watch') as watch:
        watch.wait_line('ok')
        daemon.send_signal(signal.SIGSTOP)
        try:
            start = time.monotonic()
            sentence = failed(guest.hvctl('status', '--timeout', '2'), TIMEOUT)
            assert 'did not answer in time' in sentence
            assert time.monotonic() - start < 20 * SCALE
            assert watch.process.poll() is None
        finally:
            daemon.send_signal(signal.SIGCONT)
        guest.virsh('suspend')
        watch.wait_line('machine stopped')
        guest.virsh('resume')


def test_lost_connection(guest):
    """Whatever waits ends with a sentence; the guest and its freeze go on."""
    session = guest.session
    guest.run('mv /sbin/poweroff /sbin/poweroff.real; '
              'printf "#!/bin/sh\\nexec sleep 1000\\n" >/sbin/poweroff; '
              'chmod +x /sbin/poweroff')
    with guest.watch('heartbeat', '--watch') as beats, guest.watch(
            'snapshot-freeze', '--hold', '6', '--run', 'sleep 1000') as freeze:
        beats.wait_line('ok')
        guest.wait(lambda: guest.json('vss-status')['state'] == 'frozen',
                   'it is frozen')
        session.end_daemon('kill')
        try:
            code, sentence = beats.end()
            assert code == UNREACHABLE, sentence
            assert 'closed the connection' in sentence
            code, sentence = freeze.end()
            assert code in (UNREACHABLE, LOST), sentence
            failed(guest.hvctl('status'), UNREACHABLE)
        finally:
            session.start_daemon()
    assert guest.state() == 'running'
    guest.wait_progress()
    with guest.watch('shutdown', '--wait') as stuck:
        guest.wait(lambda: any(
            d.get('shutdown', {}).get('state') == 'accepted'
            for d in guest.json('status')['devices']), 'the guest accepts')
        session.end_daemon('kill')
        try:
            code, sentence = stuck.end()
            assert code == UNREACHABLE, sentence
        finally:
            session.start_daemon()
    guest.run('mv /sbin/poweroff.real /sbin/poweroff')


def test_destroyed_while_waiting(guest):
    with guest.watch('heartbeat', '--watch') as watch:
        watch.wait_line('ok')
        guest.virsh('destroy')
        code, sentence = watch.end()
    assert code == UNREACHABLE
    assert sentence == 'hvctl: The domain guest was destroyed.\n'
    guest.boot()


def test_reboot_and_shutdown(guest):
    mark = guest.console.mark()
    done = guest.hvctl('shutdown', '--reboot', '--wait')
    assert (done.returncode, done.stdout) == \
        (0, 'The machine has restarted.\n'), done.stderr
    guest.wait_booted(mark)
    with guest.watch('heartbeat', '--watch') as watch:
        watch.wait_line('ok')
        done = guest.hvctl('shutdown', '--wait')
        assert (done.returncode, done.stdout) == \
            (0, 'The machine is off.\n'), done.stderr
        assert guest.state() == 'shut off'
        assert watch.end() == (0, '')
        assert sum('machine off' in line for line in watch.lines) == 1


@pytest.fixture(scope='module')
def copier(session):
    """With the daemon of file copy, and the last kernel that has a driver."""
    one = Guest(session, '6.1', 'initramfs-daemons', '',
                daemons.KVP + daemons.FCOPY, 'copier', '9c04')
    yield one
    one.end()


def test_copy(copier):
    data = os.urandom(3 * 1024 * 1024 + 4321)
    path = copier.session.folder / 'file'
    path.write_bytes(data)
    copier.session.keep(path)
    digest = hashlib.sha256(data).hexdigest()
    done = copier.hvctl('copy', '--progress', path, '/tmp/file')
    assert done.returncode == 0, done.stderr
    assert done.stdout == f'{len(data)} bytes copied, SHA-256 {digest}\n'
    assert '100%' in done.stderr
    assert copier.run('sha256sum /tmp/file').split()[0] == digest
    failed(copier.hvctl('copy', path, '/tmp/file'), EXISTS)


def test_copy_from_another_host(copier):
    session = copier.session
    relay = session.folder / 'relay'
    relay.write_text(RELAY.format(session.folder /
                                  'run/libvirt/virtqemud-sock'))
    relay.chmod(0o755)
    uri = f'qemu+ext:///session?command={relay}'
    done = session.hvctl('heartbeat', 'copier', uri=uri)
    assert done.returncode == 0, done.stderr
    assert 'has to run on the host' in failed(
        session.hvctl('copy', 'copier', '/etc/hostname', '/tmp/other',
              uri=uri), USAGE)
