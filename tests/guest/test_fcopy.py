# SPDX-License-Identifier: GPL-2.0-or-later
"""File copy with Debian's daemon in the guest.

Linux 6.12 has no driver for it any more, and Debian 13 no daemon: the service
stays closed there, and is refused with that.
"""
import hashlib
import json
import os
import re
import time

import pytest

from guestlib import daemons
from guestlib.deadline import SCALE, until
from guestlib.migration import migrate, receiver
from guestlib.qmp import QmpError, moment

DEVICES = ['-device', 'vmbus-bridge', '-device', 'hv-heartbeat',
           '-device', 'hv-shutdown', '-device', 'hv-fcopy']
NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT, EXISTS, STOPPED, FILE = \
    4, 5, 6, 7, 16, 17, 18
ENDED = ('done', 'failed', 'cancelled')


def service(info):
    return next(d['fcopy']['state'] for d in info['devices'] if 'fcopy' in d)


def start_daemon(guest):
    guest.run(daemons.FCOPY)


def boot(make, **options):
    guest = make(**{'kernel': '6.1', 'devices': DEVICES,
                    'initramfs': 'initramfs-daemons', **options}).boot()
    guest.wait_vmbus('file copy ready', lambda info: service(info) == 'ready')
    start_daemon(guest)
    return guest


@pytest.fixture(scope='module')
def guest(module_machine):
    return boot(module_machine)


@pytest.fixture(scope='module')
def large():
    """More than a block, and no multiple of a fragment."""
    return os.urandom(3 * 1024 * 1024 + 4321)


def write(folder, data):
    path = folder / 'file'
    path.write_bytes(data)
    return path


def sum_of(guest, path):
    return guest.run(f"sha256sum '{path}'").split()[0]


def begin(guest, file, path, **arguments):
    with open(file, 'rb') as handle:
        guest.qmp.execute('getfd', {'fdname': 'file'}, fd=handle.fileno())
    arguments = {name.replace('_', '-'): value
                 for name, value in arguments.items()}
    return guest.qmp.execute('vmbus-fcopy-start', {
        'fd': 'file', 'path': path, **arguments})['job']


def wait(guest, job, states=ENDED, timeout=120 * SCALE):
    deadline = time.monotonic() + timeout
    while True:
        info = guest.qmp.execute('query-vmbus-fcopy', {'job': job})
        if info['state'] in states:
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.1)


def wait_dropped(guest, path):
    """Until the daemon has removed what it had of a file."""
    until(lambda: guest.shell.call(f'[ -e {path} ]')[0], f'{path} is dropped')


@pytest.mark.parametrize('size', [0, 1, 6143, 6144, 6145, 262144, 262145])
def test_sizes(guest, folder, size):
    data = os.urandom(size)
    done = guest.hvctl('copy', write(folder, data), f'/tmp/size-{size}')
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(data).hexdigest()
    assert done.stdout == f'{size} bytes copied, SHA-256 {digest}\n'
    assert done.stderr == ''
    assert sum_of(guest, f'/tmp/size-{size}') == digest
    assert guest.run(f'stat -c %s /tmp/size-{size}').strip() == str(size)


def test_large_with_progress(guest, folder, large):
    data = large * 16  # 3 MiB are there before the bar is drawn twice
    done = guest.hvctl('copy', '--progress', write(folder, data), '/tmp/large')
    assert done.returncode == 0, done.stderr
    assert re.search(r'\[#{40}\] 100%', done.stderr)
    assert len(re.findall(r'^\[', done.stderr, re.M)) >= 2
    digest = hashlib.sha256(data).hexdigest()
    assert digest in done.stdout
    assert sum_of(guest, '/tmp/large') == digest
    guest.run('rm /tmp/large')


def test_json(guest, folder):
    done = guest.hvctl('--json', 'copy', write(folder, b'abc'), '/tmp/json')
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert info['state'] == 'done'
    assert (info['size'], info['copied']) == (3, 3)
    assert info['path'] == '/tmp/json'
    assert info['sha256'] == hashlib.sha256(b'abc').hexdigest()


def test_exists(guest, folder):
    guest.run('echo old >/tmp/exists')
    file = write(folder, b'new')
    done = guest.hvctl('copy', file, '/tmp/exists')
    assert done.returncode == EXISTS
    assert done.stderr == 'hvctl: The guest has such a file already.\n'
    assert guest.run('cat /tmp/exists') == 'old\n'
    done = guest.hvctl('copy', '--overwrite', file, '/tmp/exists')
    assert done.returncode == 0, done.stderr
    assert guest.run('cat /tmp/exists') == 'new'


def test_create_path(guest, folder):
    file = write(folder, b'data')
    path = '/tmp/new dir/ä€💤/deep/file'
    done = guest.hvctl('copy', file, path)
    assert done.returncode == REFUSED
    assert 'directory may be missing' in done.stderr
    assert guest.shell.call("[ -e '/tmp/new dir' ]")[0] == 1
    done = guest.hvctl('copy', '--create-path', file, path)
    assert done.returncode == 0, done.stderr
    assert guest.run(f"cat '{path}'") == 'data'


def test_destinations_that_are_refused(guest, folder):
    file = write(folder, b'data')
    copies = guest.device('hv-fcopy')['fcopy']['copies']
    for path in 'relative', '/tmp/', '/tmp/../etc/x', '/tmp/a\nb', \
            '/' + 'x' * 260, '/' + 'd' * 259 + '/x':
        done = guest.hvctl('copy', file, path)
        assert done.returncode == REFUSED, (path, done.stderr)
    assert guest.device('hv-fcopy')['fcopy']['copies'] == copies


def test_files_that_are_refused(guest, folder):
    done = guest.hvctl('copy', folder / 'none', '/tmp/x')
    assert done.returncode == FILE
    done = guest.hvctl('copy', folder, '/tmp/x')
    assert done.returncode == REFUSED
    assert 'no regular file' in done.stderr
    done = guest.hvctl('copy', '/dev/zero', '/tmp/x')
    assert 'no regular file' in done.stderr
    with pytest.raises(QmpError, match='not been found|not found'):
        guest.qmp.execute('vmbus-fcopy-start', {'fd': 'none', 'path': '/x'})


def test_file_that_changes(guest, folder, large):
    """While its copy goes on: the copy fails, and nothing is left."""
    file = write(folder, large * 16)
    job = begin(guest, file, '/tmp/changes')
    guest.qmp.wait_event('VMBUS_FCOPY_PROGRESS', job=job)
    with open(file, 'ab') as handle:
        handle.write(b'more')
    info = wait(guest, job)
    assert (info['state'], info['result']) == ('failed', 'file-changed')
    assert 'sha256' not in info
    wait_dropped(guest, '/tmp/changes')


def test_disk_full_and_resume(guest, folder, large):
    """The fragment that found no room is sent again when there is some.
    There is room for 192 fragments: of one that fits in part Linux does not
    say that the disk is full."""
    guest.run('mkdir /tmp/small && '
              'mount -t tmpfs -o size=1152k tmpfs /tmp/small')
    file = write(folder, large)
    done = guest.hvctl('copy', file, '/tmp/small/file')
    assert done.returncode == STOPPED
    job = int(re.search(r"disk is full\. hvctl copy --resume (\d+)",
                        done.stderr).group(1))
    info = wait(guest, job, ['stopped'])
    assert info['result'] == 'disk-full'
    assert info['copied'] == 192 * 6144
    done = guest.hvctl('copy', file, '/tmp/other')
    assert done.returncode == REFUSED
    assert 'Another file is being copied' in done.stderr
    guest.run('mount -o remount,size=8m /tmp/small')
    done = guest.hvctl('copy', '--resume', str(job))
    assert done.returncode == 0, done.stderr
    assert sum_of(guest, '/tmp/small/file') == \
        hashlib.sha256(large).hexdigest()
    assert guest.hvctl('copy', '--resume', str(job)).returncode == REFUSED


def test_write_fails_and_resume(guest, folder, large):
    """Of a fragment that fits in part nobody knows what became of it."""
    guest.run('mkdir /tmp/part && mount -t tmpfs -o size=1m tmpfs /tmp/part')
    job = begin(guest, write(folder, large), '/tmp/part/file')
    assert wait(guest, job, ['stopped'])['result'] == 'write-failed'
    guest.run('mount -o remount,size=8m /tmp/part')
    guest.qmp.execute('vmbus-fcopy-resume', {'job': job})
    info = wait(guest, job)
    assert info['state'] == 'done', info
    assert sum_of(guest, '/tmp/part/file') == info['sha256']


def test_disk_full_and_not_resumed(guest, folder, large):
    guest.run('mkdir /tmp/tiny && mount -t tmpfs -o size=1m tmpfs /tmp/tiny')
    job = begin(guest, write(folder, large), '/tmp/tiny/file', hold_ms=1000)
    info = wait(guest, job)
    assert (info['state'], info['result']) == ('failed', 'not-resumed')
    wait_dropped(guest, '/tmp/tiny/file')
    assert guest.run('ls /tmp/tiny') == ''


def test_cancel(guest, folder, large):
    job = begin(guest, write(folder, large * 16), '/tmp/cancel')
    guest.qmp.wait_event('VMBUS_FCOPY_PROGRESS', job=job)
    done = guest.hvctl('copy', '--cancel', str(job))
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'The copy was cancelled.\n'
    assert wait(guest, job)['result'] == 'cancelled'
    wait_dropped(guest, '/tmp/cancel')
    with pytest.raises(QmpError, match='ended'):
        guest.qmp.execute('vmbus-fcopy-cancel', {'job': job})
    with pytest.raises(QmpError, match='no such copy'):
        guest.qmp.execute('vmbus-fcopy-resume', {'job': job + 1})


def test_progress_events_are_few(guest, folder, large):
    guest.qmp.execute('query-vmbus')
    start, begun = len(guest.qmp.events), time.monotonic()
    job = begin(guest, write(folder, large * 2), '/tmp/few')
    info = wait(guest, job)
    assert info['state'] == 'done', info
    took = time.monotonic() - begun
    seen = [e['data'] for e in guest.qmp.events[start:]
            if e['event'] == 'VMBUS_FCOPY_PROGRESS']
    assert 1 <= len(seen) <= took * 4 + 1
    copied = [data['copied'] for data in seen]
    assert copied == sorted(copied)
    states = [e['data']['state'] for e in guest.qmp.events[start:]
              if e['event'] == 'VMBUS_FCOPY_CHANGE']
    assert states == ['copying', 'completing', 'done']


def test_daemon_that_does_not_answer(guest, folder, large):
    """The deadline holds; what comes later drops the file."""
    file = write(folder, large)
    guest.run('kill -STOP $(cat /tmp/fcopy.pid)')
    begun = time.time()
    job = begin(guest, file, '/tmp/stopped', step_timeout_ms=3000)
    info = wait(guest, job)
    assert info['result'] == 'timeout'
    ended = guest.qmp.wait_event('VMBUS_FCOPY_CHANGE', job=job, state='failed')
    assert 2.9 <= moment(ended) - begun < 3 + 2 * SCALE
    with pytest.raises(QmpError, match='earlier copy'):
        begin(guest, file, '/tmp/other')
    guest.run('kill -CONT $(cat /tmp/fcopy.pid)')

    def begun_again():
        try:
            return begin(guest, file, '/tmp/after')
        except QmpError:
            return None
    assert wait(guest, until(begun_again, 'another copy'))['state'] == 'done'
    wait_dropped(guest, '/tmp/stopped')


def test_daemon_that_dies_and_resume(guest, folder, large):
    """Another daemon never opened the file: it gets all of it."""
    file = write(folder, large * 16)
    job = begin(guest, file, '/tmp/dies')
    guest.qmp.wait_event('VMBUS_FCOPY_PROGRESS', job=job)
    # It dies with a request that its kernel has handed over.  While that does
    # so, Linux 6.1 (fcopy_send_data) forgets what has been reset, and then
    # neither takes another daemon nor reads another request.
    guest.run('p=$(cat /tmp/fcopy.pid); kill -STOP $p; sleep 1; '
              'kill -KILL $p; sleep 0.5')
    info = wait(guest, job, ['stopped'])
    assert info['result'] == 'write-failed'
    done = guest.hvctl('copy', file, '/tmp/no-daemon')
    assert done.returncode == REFUSED  # the other one is not over
    start_daemon(guest)
    guest.qmp.execute('vmbus-fcopy-resume', {'job': job})
    info = wait(guest, job)
    assert info['state'] == 'done', info
    assert sum_of(guest, '/tmp/dies') == info['sha256'] == \
        hashlib.sha256(large * 16).hexdigest()


def test_no_daemon(machine, folder):
    guest = machine(kernel='6.1', devices=DEVICES,
                    initramfs='initramfs-daemons').boot()
    guest.wait_vmbus('file copy ready', lambda info: service(info) == 'ready')
    done = guest.hvctl('copy', write(folder, b'data'), '/tmp/file')
    assert done.returncode == REFUSED
    assert 'daemon does not run' in done.stderr


def test_reset_during_a_copy(machine, folder, large):
    guest = boot(machine)
    job = begin(guest, write(folder, large * 16), '/tmp/file')
    guest.qmp.wait_event('VMBUS_FCOPY_PROGRESS', job=job)
    mark = guest.console.mark()
    guest.qmp.execute('system_reset')
    info = wait(guest, job)
    assert (info['state'], info['result']) == ('failed', 'gone')
    guest.wait_booted(mark)
    guest.wait_vmbus('file copy ready', lambda info: service(info) == 'ready')
    start_daemon(guest)
    done = guest.hvctl('copy', write(folder, b'data'), '/tmp/file')
    assert done.returncode == 0, done.stderr


def test_migration_during_a_copy(machine, folder, large):
    """The copy stays behind and is told; the guest drops the file."""
    guest = boot(machine)
    target = receiver(machine, kernel='6.1', devices=DEVICES,
                      initramfs='initramfs-daemons')
    job = begin(guest, write(folder, large * 16), '/tmp/moved',
                step_timeout_ms=5000)
    guest.qmp.wait_event('VMBUS_FCOPY_PROGRESS', job=job)
    migrate(guest, target)
    assert wait(guest, job)['state'] == 'failed'
    wait_dropped(target, '/tmp/moved')
    file = write(folder, large)
    job = begin(target, file, '/tmp/moved')
    assert wait(target, job)['state'] == 'done'
    assert sum_of(target, '/tmp/moved') == hashlib.sha256(large).hexdigest()


def unplug(guest):
    """Until the guest has let go of the device."""
    start = len(guest.qmp.events)
    guest.qmp.execute('device_del', {'id': 'fcopy'})
    guest.qmp.wait_event('DEVICE_DELETED', start=start, device='fcopy')


def plug(guest):
    guest.qmp.execute('device_add', {'driver': 'hv-fcopy', 'id': 'fcopy'})
    guest.wait_vmbus('file copy ready', lambda info: service(info) == 'ready')
    guest.run('kill $(cat /tmp/fcopy.pid) 2>/dev/null || true')
    start_daemon(guest)


def test_unplug_and_plug(machine, folder, large):
    """With nothing under way, and in the middle of a copy, which is told; the
    half of the file that is left can be copied over."""
    guest = boot(machine, devices=DEVICES[:-1] + ['hv-fcopy,id=fcopy'])
    file = write(folder, large * 16)
    digest = hashlib.sha256(large * 16).hexdigest()
    done = guest.hvctl('copy', file, '/tmp/first')
    assert done.returncode == 0, done.stderr
    unplug(guest)
    assert guest.shell.call('[ -e /dev/vmbus/hv_fcopy ]')[0] == 1
    done = guest.hvctl('copy', file, '/tmp/none')
    assert done.returncode == NO_VMBUS
    assert done.stderr == 'hvctl: The machine has no hv-fcopy device.\n'
    plug(guest)
    for number in range(2):
        start = len(guest.qmp.events)
        job = begin(guest, file, f'/tmp/half-{number}')
        guest.qmp.wait_event('VMBUS_FCOPY_PROGRESS', start=start, job=job)
        unplug(guest)
        ended = guest.qmp.wait_event('VMBUS_FCOPY_CHANGE', start=start,
                                     job=job, state='failed')
        assert ended['data']['result'] == 'gone'
        with pytest.raises(QmpError) as caught:
            guest.qmp.execute('query-vmbus-fcopy', {'job': job})
        assert caught.value.kind == 'DeviceNotFound'
        plug(guest)
    job = begin(guest, file, '/tmp/half-0', overwrite=True)
    info = wait(guest, job)
    assert info['state'] == 'done', info
    assert sum_of(guest, '/tmp/half-0') == info['sha256'] == digest


def test_linux_6_12_has_no_driver(machine, folder):
    guest = machine(kernel='6.12', devices=DEVICES,
                    initramfs='initramfs-daemons').boot()
    guest.wait_ready()
    assert guest.device('hv-fcopy')['fcopy']['state'] == 'closed'
    assert 'fcopy' not in guest.run('cat /lib/modules/hv_utils.ko | strings')
    done = guest.hvctl('copy', write(folder, b'data'), '/tmp/file')
    assert done.returncode == NOT_OPEN
    assert done.stderr == \
        'hvctl: The guest has not opened the file copy service.\n'
