# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration and snapshots.  The machines run on one host, one after the
other; the guest must not find a difference, apart from the time that passed.

KVM_VMBUS_MIGRATIONS is the number of moves in a row (default 4).
"""
import os
import re
import subprocess
import time

import pytest

from guestlib import hv_cpu, vmbus_devices
from guestlib.machine import BOOTED, SCALE
from guestlib.migration import begin, migrate, receiver, run_job
from guestlib.paths import program

MOVES = int(os.environ.get('KVM_VMBUS_MIGRATIONS', '4'))

# The kernel's own clock in nanoseconds, again and again, for as long as the
# file is there.
CLOCK_LOOP = ('touch /tmp/clock-runs; (while [ -e /tmp/clock-runs ]; do '
              'grep "^now at" /proc/timer_list; done) >/tmp/clock 2>&1 &')


def complaints(guest, pattern):
    return [line for line in guest.run('dmesg').splitlines()
            if re.search(pattern, line, re.I)]


def start_clock(guest):
    guest.run(CLOCK_LOOP)


def check_clock(guest, longest):
    """Time never went back, and never stood or jumped for longer than that
    many seconds."""
    guest.run('rm /tmp/clock-runs; sleep 0.2')
    times = [int(t) for t in
             re.findall(r'now at (\d+) nsecs', guest.run('cat /tmp/clock'))]
    assert len(times) > 100
    steps = [b - a for a, b in zip(times, times[1:])]
    assert min(steps) > 0
    assert max(steps) < longest * 1e9
    source = guest.run('cat /sys/devices/system/clocksource/clocksource0/'
                       'current_clocksource').strip()
    assert source == 'hyperv_clocksource_tsc_page'
    assert complaints(guest, 'timekeeping|skew|rcu.*stall|lockup|hung') == []


def channels(info):
    return [c for d in info['devices'] for c in d['channels']]


def check_bus(guest, refused=0):
    """Nothing of the bus was lost or doubled on the way here."""
    info = guest.query_vmbus()
    assert info['messages-refused'] == refused
    for channel in channels(info):
        assert channel['state'] == 'open'
        assert channel['corruptions'] == 0
    beat = guest.device('hv-heartbeat')['heartbeat']
    assert beat['sent'] - beat['received'] <= 1
    assert complaints(guest, 'hv_.*(error|fail|timeout|warn)|oops:|bug:') == []


def wait_beats(guest, number=2):
    """So many answers that came after now."""
    before = guest.device('hv-heartbeat')['heartbeat']['received']
    guest.wait_vmbus('heartbeats', lambda info: any(
        d['heartbeat']['received'] >= before + number
        for d in info['devices'] if 'heartbeat' in d), timeout=20 * SCALE)


def move(make, source, capabilities=(), **options):
    """The machine that has the guest now; the old one is gone."""
    target = receiver(make, **options)
    migrate(source, target, capabilities=capabilities)
    source.close()
    assert errors(target) == []
    return target


def errors(guest):
    """What QEMU said, apart from warnings at its start."""
    return [line for line in guest.stderr().splitlines()
            if 'warning: ' not in line]


def shut_down(guest, said=()):
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0
    assert errors(guest) == list(said)


@pytest.mark.parametrize('kernel,kind,cpus', [
    ('6.1', 'pc', 2), ('6.12', 'q35', 1), ('6.12', 'q35', 2)])
def test_there_and_back(machine, kernel, kind, cpus):
    options = {'kernel': kernel, 'machine': kind, 'cpus': cpus}
    guest = machine(**options).boot()
    guest.wait_ready()
    start_clock(guest)
    for _ in range(MOVES):
        before = guest.device('hv-heartbeat')['heartbeat']['sequence']
        guest = move(machine, guest, **options)
        guest.wait_heartbeat('ok', timeout=10 * SCALE)
        wait_beats(guest)
        beat = guest.device('hv-heartbeat')['heartbeat']
        assert before + 2 <= beat['sequence'] <= before + 60
        check_bus(guest)
    assert guest.query_vmbus()['connects'] == 1
    check_clock(guest, 30 * SCALE)
    shut_down(guest)


def test_other_order_of_devices(machine):
    """The guest's channel numbers go with the guest."""
    devices = vmbus_devices()
    pairs = [devices[i:i + 2] for i in range(0, len(devices), 2)]
    mixed = sum([pairs[0]] + pairs[:0:-1], [])
    assert mixed != devices
    guest = machine().boot()
    guest.wait_ready()
    before = guest.query_vmbus()
    guest = move(machine, guest, devices=mixed)
    after = guest.query_vmbus()
    for device in before['devices']:
        other = next(d for d in after['devices']
                     if d['driver'] == device['driver'])
        assert [c['relid'] for c in other['channels']] == \
            [c['relid'] for c in device['channels']]
    wait_beats(guest)
    check_bus(guest)
    shut_down(guest)


@pytest.mark.parametrize('kernel,cpus', [('6.1', 1), ('6.12', 2)])
def test_moves_in_the_middle_of_a_boot(machine, kernel, cpus):
    """As often as there is time for, while drivers find their devices."""
    options = {'kernel': kernel, 'cpus': cpus}
    guest = machine(**options).start()
    guest.console.wait_for('Hypervisor detected')
    text = ''
    moves = 0
    while not re.search(BOOTED, text, re.M):
        target = receiver(machine, **options)
        migrate(guest, target)
        text += guest.console.text()
        guest.close()
        guest = target
        moves += 1
        text += guest.console.text()
        # The guest has to get on between the moves.
        time.sleep(0.05)
    assert moves >= 3
    deadline = time.monotonic() + 60 * SCALE
    while True:
        try:
            guest.shell.call('true', timeout=5)
            break
        except TimeoutError:
            assert time.monotonic() < deadline
    guest.wait_ready()
    check_bus(guest)
    assert 'Vmbus version:5.3' in guest.run('dmesg')
    shut_down(guest)


@pytest.mark.parametrize('what', ['hv_utils', 'hv_vmbus'])
def test_moves_while_channels_come_and_go(machine, what):
    """Each move finds the bus in another state: GPADLs and channels being
    made, messages on their way."""
    both = what == 'hv_vmbus'
    # Linux calls a function that is gone when a timer's message comes while
    # hv_vmbus is removed, so it gets its timer from elsewhere.
    options = {'kernel': '6.12', 'cpus': 2,
               'cpu': hv_cpu(without=['hv-stimer'] if both else [])}
    guest = machine(**options).boot()
    guest.wait_ready()
    guest.run('touch /tmp/goes-on; (while [ -e /tmp/goes-on ]; do '
              f'rmmod hv_utils || echo bad; '
              f'{"rmmod hv_vmbus || echo bad; " if both else ""}'
              f'{"insmod /lib/modules/hv_vmbus.ko || echo bad; " if both else ""}'
              'insmod /lib/modules/hv_utils.ko || echo bad; echo round; '
              'done) >/tmp/rounds 2>&1 &')
    states = set()
    for _ in range(MOVES * 2):
        guest = move(machine, guest, **options)
        info = guest.query_vmbus()
        states.add((info['connected'], info['gpadls'],
                    *(c['state'] for c in channels(info))))
    guest.run('rm /tmp/goes-on; while ! grep -q . /tmp/rounds; do '
              'sleep 0.1; done; sleep 1; jobs')
    rounds = guest.run('cat /tmp/rounds')
    assert 'bad' not in rounds
    assert rounds.count('round') >= 2
    guest.wait_ready()
    wait_beats(guest)
    assert guest.query_vmbus()['messages-refused'] == 0
    shut_down(guest)


def test_through_a_file(machine, folder):
    """Guest time stands while the guest is a file."""
    guest = machine(cpus=2).boot()
    guest.wait_ready()
    start_clock(guest)
    path = folder / 'guest'
    guest.qmp.execute('migrate', {'uri': f'file:{path}'})
    guest.qmp.wait_event('STOP')
    deadline = time.monotonic() + 120 * SCALE
    while guest.qmp.execute('query-migrate')['status'] != 'completed':
        assert time.monotonic() < deadline
        time.sleep(0.1)
    guest.close()
    time.sleep(8)
    other = receiver(machine, cpus=2)
    other.qmp.execute('migrate-incoming', {'uri': f'file:{path}'})
    other.qmp.wait_event('RESUME', timeout=120 * SCALE)
    # The last answer is old by the guest's time only.
    age = other.device('hv-heartbeat')['heartbeat']['age-ms']
    assert age < 6000
    other.wait_heartbeat('ok', timeout=5 * SCALE)
    wait_beats(other)
    check_bus(other)
    check_clock(other, 6 * SCALE)
    shut_down(other)


@pytest.fixture
def disk(folder):
    path = folder / 'disk.qcow2'
    subprocess.run([program('qemu-img'), 'create', '-q', '-f', 'qcow2', path,
                    '1G'], check=True)
    return ['-blockdev', f'driver=qcow2,node-name=disk,file.driver=file,'
            f'file.filename={path}']


def snapshot(machine, verb):
    run_job(machine, f'snapshot-{verb}', tag='one', vmstate='disk',
            devices=['disk'])


@pytest.mark.parametrize('kernel,cpus', [('6.1', 1), ('6.12', 2)])
def test_snapshots(machine, disk, kernel, cpus):
    """Back to the same moment, again and again: in the same process, where
    the bus has gone on since, and in a new one."""
    options = {'kernel': kernel, 'cpus': cpus, 'extra': disk}
    guest = machine(**options).boot()
    guest.wait_ready()
    wait_beats(guest, 1)
    snapshot(guest, 'save')
    saved = guest.device('hv-heartbeat')['heartbeat']['sequence']
    wait_beats(guest)
    for _ in range(2):
        guest.run('touch /tmp/later')
        guest.qmp.execute('stop')
        snapshot(guest, 'load')
        guest.qmp.execute('cont')
        guest.shell.buffer = b''
        assert guest.shell.call('[ -e /tmp/later ]')[0] == 1
        guest.wait_heartbeat('ok', timeout=10 * SCALE)
        wait_beats(guest)
        check_bus(guest)
    # The services are closed when the old state comes back.
    guest.run('rmmod hv_utils')
    guest.wait_heartbeat('no-contact')
    guest.qmp.execute('stop')
    snapshot(guest, 'load')
    guest.qmp.execute('cont')
    guest.wait_heartbeat('ok', timeout=10 * SCALE)
    wait_beats(guest)
    check_bus(guest)
    guest.close()
    other = machine(**{**options, 'extra': [*disk, '-S']}).start()
    snapshot(other, 'load')
    beat = other.device('hv-heartbeat')['heartbeat']
    assert beat['state'] == 'paused'
    assert abs(beat['sequence'] - saved) <= 1
    other.qmp.execute('cont')
    other.wait_heartbeat('ok', timeout=10 * SCALE)
    wait_beats(other)
    check_bus(other)
    shut_down(other)


@pytest.mark.parametrize('devices,sentence', [
    (['-device', 'vmbus-bridge', '-device', 'hv-heartbeat'],
     'has a device that this one has not'),
    (['-device', 'vmbus-bridge,max-version=4.0', '-device', 'hv-heartbeat',
      '-device', 'hv-shutdown'], 'version that this bus does not accept')],
    ids=['device-missing', 'version'])
def test_machine_that_does_not_fit(machine, devices, sentence):
    """It refuses with a sentence, and the guest stays where it is."""
    guest = machine().boot()
    guest.wait_ready()
    target = receiver(machine, devices=devices)
    begin(guest, target)
    assert target.wait_end() == 1
    assert sentence in target.stderr()
    deadline = time.monotonic() + 60 * SCALE
    while guest.qmp.execute('query-migrate')['status'] != 'failed':
        assert time.monotonic() < deadline
        time.sleep(0.1)
    guest.wait_heartbeat('ok')
    wait_beats(guest)
    check_bus(guest)
    shut_down(guest, ['qemu-system-x86_64: Sibling indicated error 1'])
