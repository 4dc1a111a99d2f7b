# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with a disk, something that writes to it, and a backup daemon."""
import os
import shutil
import subprocess
import time

from guestlib.deadline import SCALE, until
from guestlib.paths import GUEST, program, vmbus_devices
from guestlib.qmp import moment

DISK_BYTES = 64 << 20
RECORD = 16
# How each daemon is started in the foreground.
DAEMONS = {'debian': 'hv_vss_daemon --no-daemon',
           'agent': 'hv-vss-agent --foreground'}
OPTIONS = {'initramfs': 'initramfs-backup'}


def missing(daemon):
    """Why that daemon cannot run, or None."""
    if daemon == 'agent' and not (GUEST / 'bin/hv-vss-agent').exists():
        return 'build/guest/bin/hv-vss-agent has not been built'
    return None


def devices():
    """Those of every machine, and the services that are tested here."""
    common = vmbus_devices()
    for name in 'hv-timesync', 'hv-vss':
        if name not in common:
            common += ['-device', name]
    return common


def make_disk(path):
    """With an empty file system; as a raw file."""
    with open(path, 'wb') as disk:
        disk.truncate(DISK_BYTES)
    code, text = tool('mkfs.ext4', '-q', '-F', str(path))
    assert code == 0, text


def make_image(path):
    """The same in a file that can hold snapshots of a machine."""
    make_disk(f'{path}.raw')
    subprocess.run([program('qemu-img'), 'convert', '-O', 'qcow2',
                    f'{path}.raw', path], check=True)


def drive(path, kind='raw'):
    """Options of a machine that has that disk."""
    return ['-blockdev', f'driver={kind},node-name=disk,file.driver=file,'
            f'file.filename={path}',
            '-device', 'virtio-blk-pci,drive=disk']


def wait_service(machine):
    """Until the guest's driver has the service, with a daemon or without."""
    machine.wait_vmbus('backup service ready', lambda info: any(
        d.get('vss', {}).get('service') == 'ready' for d in info['devices']))


def tool(*command):
    """A program of e2fsprogs; returns its exit code and all that it says."""
    done = subprocess.run(command, capture_output=True, text=True, env={
        **os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})
    return done.returncode, done.stdout + done.stderr


class Writer:
    """Of a guest in which write-sequence writes /data/log; it has run()."""

    def records(self):
        """How many have been written."""
        return int(self.run('stat -c %s /data/log 2>/dev/null || echo 0')) // \
            RECORD

    def wait_progress(self, timeout=60 * SCALE):
        """Until there are more."""
        before = self.records()
        until(lambda: self.records() != before, 'the writer writes', timeout)

    def stands_still(self, seconds=1.5):
        before = self.records()
        time.sleep(seconds)
        return self.records() == before


class Backup(Writer):
    """What is on the disk of a machine, and what becomes of it."""

    def __init__(self, make, daemon=None, image=False, **options):
        self.machine = make(devices=devices(), **OPTIONS, **options)
        self.folder = self.machine.folder
        self.disk = self.folder / 'disk'
        (make_image if image else make_disk)(self.disk)
        self.machine.command += drive(self.disk, 'qcow2' if image else 'raw')
        self.daemon = daemon

    def boot(self):
        self.machine.boot()
        self.machine.wait_ready()
        self.mount()
        if self.daemon:
            self.start_daemon()
        return self

    def mount(self):
        self.machine.run('mkdir -p /data && mount -t ext4 /dev/vda /data')

    def run(self, command, **options):
        return self.machine.run(command, **options)

    def start_daemon(self):
        """Returns when it has registered with the kernel."""
        before = self.registrations()
        self.run(f'{DAEMONS[self.daemon]} >/tmp/daemon.log 2>&1 & '
                 'echo $! >/tmp/daemon.pid')
        until(lambda: self.registrations() != before,
              lambda: self.run('cat /tmp/daemon.log'))

    def registrations(self):
        return int(self.run('dmesg | grep -c "VSS: userspace daemon" || true'))

    def kill_daemon(self, signal='KILL'):
        self.run(f'kill -{signal} $(cat /tmp/daemon.pid)')

    def start_writer(self):
        self.run('write-sequence /data/log >/tmp/writer.log 2>&1 & '
                 'echo $! >/tmp/writer.pid')
        self.wait_progress()

    def vss(self):
        return self.machine.qmp.execute('query-vmbus-vss')

    def wait_state(self, *states, timeout=60 * SCALE):
        deadline = time.monotonic() + timeout
        while True:
            info = self.vss()
            if info['state'] in states:
                return info
            assert time.monotonic() < deadline, info
            time.sleep(0.05)

    def changed(self, state, start=0, **data):
        """When the host's account came to a state, as time.time() has it; a
        loaded machine is slow to see it."""
        return moment(self.machine.qmp.wait_event(
            'VMBUS_VSS_CHANGE', start=start, state=state, **data))

    def freeze(self, hold_ms=60000, timeout_ms=60000):
        """Over QMP; returns the job's number."""
        job = self.machine.qmp.execute('vmbus-vss-freeze', {
            'hold-ms': hold_ms, 'timeout-ms': timeout_ms})['job']
        info = self.wait_state('frozen', 'failed', 'thawing')
        assert info['state'] == 'frozen', info
        return job

    def thaw(self):
        self.machine.qmp.execute('vmbus-vss-thaw')
        info = self.wait_state('idle', 'failed')
        assert info['state'] == 'idle', info

    # The disk, seen from the host.

    def copy(self):
        path = self.folder / f'copy-{time.monotonic_ns()}'
        shutil.copyfile(self.disk, path)
        return path


def needs_recovery(copy):
    code, text = tool('dumpe2fs', '-h', str(copy))
    assert code == 0, text
    return 'needs_recovery' in text


def assert_clean(copy):
    """fsck finds nothing to do, and no journal to replay."""
    assert not needs_recovery(copy)
    code, text = tool('e2fsck', '-f', '-n', str(copy))
    assert code == 0, text
    assert 'journal' not in text, text


def records_in(copy):
    """The numbers in the writer's file; each must be whole and in order."""
    dump = copy.with_name(copy.name + '.log')
    code, text = tool('debugfs', '-R', f'dump /log {dump}', str(copy))
    assert code == 0 and dump.exists(), text
    data = dump.read_bytes()
    assert len(data) % RECORD == 0
    for number in range(len(data) // RECORD):
        record = data[number * RECORD:(number + 1) * RECORD]
        assert record == b'%015d\n' % number, (number, record)
    return len(data) // RECORD
