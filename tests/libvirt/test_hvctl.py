# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl --connect: each of its verbs through libvirt's daemon."""
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from guestlib import Console, backup
from guestlib.agent import MAC, PREPARE
from guestlib.libvirt import domain
from guestlib.machine import BOOTED, SCALE, GuestShell
from guestlib.paths import program

USAGE, UNREACHABLE, NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT, COMMAND, LOST, \
    NO_KEY, EXISTS = 2, 3, 4, 5, 6, 7, 12, 13, 15, 16
SERIAL = """<serial type='file'><source path='{console}'/></serial>
<serial type='unix'><source mode='bind' path='{shell}'/></serial>"""
DISK = """<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/>
  <source file='{disk}'/>
  <target dev='vda' bus='virtio'/>
</disk>"""
VSS = '''mkdir -p /data && mount -t ext4 /dev/vda /data
write-sequence /data/log >/tmp/writer.log 2>&1 &
hv_vss_daemon --no-daemon >/tmp/vss.log 2>&1 &
'''
KVP = 'hv_kvp_daemon -n >/tmp/kvp.log 2>&1 &\n'
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
FCOPY = 'hv_fcopy_daemon -n >/tmp/fcopy.log 2>&1 &\n'


class Hvctl:
    """A running hvctl whose lines come in."""

    def __init__(self, session, arguments):
        self.process = subprocess.Popen(
            command(session, *arguments), env=session.environment, text=True,
            cwd=session.folder, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.lines = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip('\n'))

    def wait_line(self, part, timeout=60 * SCALE):
        deadline = time.monotonic() + timeout
        while not any(part in line for line in self.lines):
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def end(self, timeout=60 * SCALE):
        """Its exit code, and what it said on the standard error."""
        try:
            code = self.process.wait(timeout)
        finally:
            self.close()
        with self.process.stderr:
            return code, self.process.stderr.read()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


def command(session, *arguments, uri='qemu:///session'):
    return [*session.user, program('hvctl'), '-c', uri, *map(str, arguments)]


def hvctl(session, *arguments, timeout=120, **options):
    return subprocess.run(
        command(session, *arguments, **options), env=session.environment,
        cwd=session.folder, text=True, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=timeout * SCALE)


def failed(done, code):
    """One sentence for people on the standard error, nothing else."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ''
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


class Guest:
    """A running domain, and a shell in its guest."""

    def __init__(self, session, kernel, initramfs, devices, start,
                 name='guest', uuid='9c01'):
        self.session, self.kernel, self.start = session, kernel, start
        self.name = name
        console = session.folder / f'data/console-{name}-{kernel}'
        shell = session.folder / f'run/{name}-{kernel}'
        session.define(domain(
            '<vmbus/>' + devices + SERIAL.format(console=console, shell=shell),
            kernel=kernel, initramfs=initramfs,
            name=name).replace('9c01<', f'{uuid}<'))
        self.path = shell
        self.console = Console(console, lambda: self.state() == 'running')
        self.boot()

    def boot(self):
        self.virsh('start')
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        self.shell = GuestShell(sock)
        self.wait_booted(0)

    def wait_booted(self, mark):
        self.console.wait_for(BOOTED, start=mark)
        self.shell.wait_ready()
        self.shell.run(PREPARE + self.start)
        deadline = time.monotonic() + 60 * SCALE
        while self.hvctl('heartbeat').returncode != 0 or \
                'negotiating' in self.hvctl('status').stdout:
            assert time.monotonic() < deadline, self.hvctl('status').stdout
            time.sleep(0.2)

    def virsh(self, verb, *arguments, check=True):
        return self.session.virsh(verb, self.name, *arguments, check=check)

    def state(self):
        return self.virsh('domstate').stdout.strip()

    def hvctl(self, verb, *arguments):
        return hvctl(self.session, verb, self.name, *arguments)

    def json(self, verb, *arguments):
        done = self.hvctl(verb, *arguments, '--json')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def watch(self, verb, *arguments):
        one = Hvctl(self.session, [verb, self.name, *arguments])
        try:
            yield one
        finally:
            one.close()

    def records(self):
        return int(self.shell.run('stat -c %s /data/log'))

    def stands_still(self):
        before = self.records()
        time.sleep(1.5)
        return self.records() == before

    def wait_progress(self):
        before, deadline = self.records(), time.monotonic() + 30 * SCALE
        while self.records() == before:
            assert time.monotonic() < deadline, 'the writer hangs'
            time.sleep(0.1)

    def end(self):
        self.virsh('destroy', check=False)
        self.virsh('undefine')


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request, session):
    """With a disk, something that writes to it, and its daemons."""
    disk = session.folder / f'data/disk-{request.param}'
    backup.make_disk(disk)
    disk.chmod(0o666)
    info = (session.folder / 'data').stat()
    os.chown(disk, info.st_uid, info.st_gid)
    one = Guest(session, request.param, 'initramfs-backup',
                DISK.format(disk=disk) + f"""<interface type='user'>
                <mac address='{MAC}'/><model type='virtio'/>
                <rom enabled='no'/></interface>""", VSS + KVP)
    yield one
    one.end()


def test_status(guest):
    done = guest.hvctl('status')
    assert done.returncode == 0, done.stderr
    assert 'VMBus: version 5.3' in done.stdout
    devices = {d['id']: d for d in guest.json('status')['devices']}
    assert devices['vmbus0-heartbeat']['heartbeat']['state'] == 'ok'
    assert 'vmbus0-filecopy' in devices
    by_uuid = hvctl(guest.session, 'status',
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


def test_watch(guest):
    with guest.watch('heartbeat', '--watch') as watch:
        watch.wait_line('ok')
        guest.virsh('suspend')
        watch.wait_line('machine stopped')
        watch.wait_line('paused')
        guest.virsh('resume')
        watch.wait_line('machine runs')
        watch.wait_line(' ok,')


def test_time(guest):
    guest.shell.run('date -s "$(date -d @$(($(date +%s) - 3600)) '
                    '"+%Y-%m-%d %H:%M:%S")"')
    done = guest.hvctl('timesync', '--sync')
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The guest took the host's time.\n"
    assert abs(int(guest.shell.run('date +%s')) - time.time()) < 5
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
    done = guest.hvctl('snapshot-freeze', '--hold', '3', '--run', 'sleep 8')
    assert done.returncode == 0, done.stderr
    guest.wait_progress()
    failed(guest.hvctl('snapshot-freeze', '--run', 'exit 3'), COMMAND)
    guest.wait_progress()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run(guest, number):
    """The threads of libvirt's client take no signal from us."""
    mark = guest.session.folder / f'data/began-{number}'
    one = Hvctl(guest.session, ['snapshot-freeze', 'guest', '--run',
                                f'touch {mark}; exec sleep 100'])
    deadline = time.monotonic() + 30 * SCALE
    while not mark.exists():
        assert one.process.poll() is None, one.end()
        assert time.monotonic() < deadline
        time.sleep(0.05)
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
                 failed(hvctl(session, 'status', 'nobody'), UNREACHABLE),
                 failed(hvctl(session, 'status', 'guest',
                              uri='qemu:///session?socket=/nonexistent'),
                        UNREACHABLE)}
    session.define(domain(name='asleep').replace('9c01<', '9c02<'))
    sentences.add(failed(hvctl(session, 'status', 'asleep'), UNREACHABLE))
    session.virsh('undefine', 'asleep')
    session.define(domain(devices='', name='bare').replace('9c01<', '9c03<'))
    session.virsh('start', 'bare')
    sentences.add(failed(hvctl(session, 'status', 'bare'), NO_VMBUS))
    sentences.add(failed(hvctl(session, 'shutdown', 'bare'), NO_VMBUS))
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


def kill_daemon(session):
    session.daemon.kill()
    session.daemon.wait()


def test_lost_connection(guest):
    """Whatever waits ends with a sentence; the guest and its freeze go on."""
    session = guest.session
    guest.shell.run('mv /sbin/poweroff /sbin/poweroff.real; '
                    'printf "#!/bin/sh\\nexec sleep 1000\\n" >/sbin/poweroff; '
                    'chmod +x /sbin/poweroff')
    waiting = [Hvctl(session, arguments) for arguments in (
        ['heartbeat', 'guest', '--watch'],
        ['snapshot-freeze', 'guest', '--hold', '6', '--run', 'sleep 1000'])]
    waiting[0].wait_line('ok')
    deadline = time.monotonic() + 30 * SCALE
    while guest.json('vss-status')['state'] != 'frozen':
        assert time.monotonic() < deadline
    kill_daemon(session)
    try:
        code, sentence = waiting[0].end()
        assert code == UNREACHABLE, sentence
        assert 'closed the connection' in sentence
        code, sentence = waiting[1].end()
        assert code in (UNREACHABLE, LOST), sentence
        failed(guest.hvctl('status'), UNREACHABLE)
    finally:
        session.start_daemon()
    assert guest.state() == 'running'
    time.sleep(7)
    guest.wait_progress()
    stuck = Hvctl(session, ['shutdown', 'guest', '--wait'])
    deadline = time.monotonic() + 30 * SCALE
    while next(d['shutdown']['state'] for d in
               guest.json('status')['devices'] if 'shutdown' in d) != \
            'accepted':
        assert time.monotonic() < deadline
    kill_daemon(session)
    try:
        code, sentence = stuck.end()
        assert code == UNREACHABLE, sentence
    finally:
        session.start_daemon()
    guest.shell.run('mv /sbin/poweroff.real /sbin/poweroff')


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
    one = Guest(session, '6.1', 'initramfs-daemons', '', KVP + FCOPY,
                'copier', '9c04')
    yield one
    one.end()


def test_copy(copier):
    data = os.urandom(3 * 1024 * 1024 + 4321)
    path = copier.session.folder / 'file'
    path.write_bytes(data)
    path.chmod(0o644)
    digest = hashlib.sha256(data).hexdigest()
    done = copier.hvctl('copy', '--progress', path, '/tmp/file')
    assert done.returncode == 0, done.stderr
    assert done.stdout == f'{len(data)} bytes copied, SHA-256 {digest}\n'
    assert '100%' in done.stderr
    assert copier.shell.run('sha256sum /tmp/file').split()[0] == digest
    failed(copier.hvctl('copy', path, '/tmp/file'), EXISTS)


def test_copy_from_another_host(copier):
    session = copier.session
    relay = session.folder / 'relay'
    relay.write_text(RELAY.format(session.folder /
                                  'run/libvirt/virtqemud-sock'))
    relay.chmod(0o755)
    uri = f'qemu+ext:///session?command={relay}'
    done = hvctl(session, 'heartbeat', 'copier', uri=uri)
    assert done.returncode == 0, done.stderr
    assert 'has to run on the host' in failed(
        hvctl(session, 'copy', 'copier', '/etc/hostname', '/tmp/other',
              uri=uri), USAGE)
