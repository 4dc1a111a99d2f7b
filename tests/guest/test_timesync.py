# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's clock."""
import json
import subprocess
import time

import pytest

from guestlib import backup, program
from guestlib.deadline import until
from guestlib.migration import migrate, receiver, run_job

KERNELS = ['6.1', '6.12']
HOUR = 3600
TIMEOUT = 7


def options(kernel='6.12', **more):
    return {'kernel': kernel, 'devices': backup.devices(), **more}


def guest_clock(guest):
    """How far the guest's clock is ahead of ours, in seconds.  The second
    of its clock began between the two times that we look at ours."""
    before = time.time()
    at = int(guest.run('date +%s'))
    after = time.time()
    return at - (before + after) / 2


def is_right(guest):
    """As far as can be seen: the answer of a loaded machine takes a while."""
    before = time.time()
    at = int(guest.run('date +%s'))
    return before - 1.5 < at < time.time() + 1.5


def set_wrong(guest, seconds=HOUR):
    guest.run(f'date -s @$(($(date +%s) + {seconds}))')
    assert abs(guest_clock(guest) - seconds) < 5


def wait_right(guest):
    """Nothing sets the clock later if it was not set at once."""
    until(lambda: is_right(guest), lambda: guest_clock(guest))


def timesync(guest):
    return guest.device('hv-timesync')['timesync']


def ready(guest):
    guest.wait_ready()
    return guest.wait_vmbus('time is synchronized', lambda info: any(
        d.get('timesync', {}).get('answers', 0) for d in info['devices']))


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('off', [HOUR, -HOUR])
def test_wrong_by_an_hour(machine, kernel, off):
    guest = machine(**options(kernel)).boot()
    ready(guest)
    assert timesync(guest)['message-version'] == '4.0'
    set_wrong(guest, off)
    done = guest.hvctl('timesync', '--sync')
    assert done.returncode == 0, done.stderr
    wait_right(guest)


def test_samples_do_not_set_the_clock(machine):
    """A wrong clock stays wrong while only samples come; without this the
    test above could not fail."""
    guest = machine(**options()).boot()
    ready(guest)
    set_wrong(guest)
    before = timesync(guest)
    guest.wait_vmbus('two samples', lambda info: any(
        d.get('timesync', {}).get('samples', 0) >= before['samples'] + 2
        for d in info['devices']))
    assert timesync(guest)['syncs'] == before['syncs']
    assert abs(guest_clock(guest) - HOUR) < 5


@pytest.mark.parametrize('kernel', KERNELS)
def test_after_boot(machine, kernel):
    """The machine's own clock is wrong, and the first sync mends that."""
    guest = machine(**options(kernel), extra=[
        '-rtc', 'base=2001-02-03T04:05:06']).boot()
    ready(guest)
    wait_right(guest)


@pytest.mark.parametrize('kernel', KERNELS)
def test_after_a_stop(machine, kernel):
    guest = machine(**options(kernel)).boot()
    ready(guest)
    guest.qmp.execute('stop')
    time.sleep(8)
    guest.qmp.execute('cont')
    wait_right(guest)


def test_stop_without_the_service(machine):
    """What the test above would find if nothing were done."""
    guest = machine().boot()
    guest.wait_ready()
    if 'hv-timesync' in guest.command:
        guest.run('rmmod hv_utils')
    guest.qmp.execute('stop')
    time.sleep(8)
    guest.qmp.execute('cont')
    time.sleep(1)
    assert guest_clock(guest) < -4


def test_after_migration(machine):
    source = machine(**options()).boot()
    ready(source)
    set_wrong(source)
    target = receiver(machine, **options())
    migrate(source, target)
    wait_right(target)
    assert timesync(target)['syncs'] == 2


def test_after_loadvm(machine, folder):
    image = folder / 'state.qcow2'
    subprocess.run([program('qemu-img'), 'create', '-q', '-f', 'qcow2', image,
                    '1G'], check=True)
    guest = machine(**options(), extra=[
        '-blockdev', 'driver=qcow2,node-name=vm,file.driver=file,'
        f'file.filename={image}'])
    guest.boot()
    ready(guest)
    run_job(guest, 'snapshot-save', tag='one', vmstate='vm', devices=['vm'])
    time.sleep(8)
    run_job(guest, 'snapshot-load', tag='one', vmstate='vm', devices=['vm'])
    guest.qmp.execute('cont')
    wait_right(guest)


def test_hvctl_shows_the_state(machine):
    guest = machine(**options()).boot()
    ready(guest)
    done = guest.hvctl('timesync', '--json')
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown['state'] == 'ready'
    assert shown['syncs'] >= 1
    # Linux has no answer to that.
    assert shown['offset-us'] is None
    guest.qmp.execute('stop')
    done = guest.hvctl('timesync', '--sync', '--timeout', '2')
    assert done.returncode == TIMEOUT
    guest.qmp.execute('cont')
    event = guest.qmp.wait_event('VMBUS_TIMESYNC_RESPONSE')
    assert event['data'] == {'result': 'accepted', 'status': 0}
