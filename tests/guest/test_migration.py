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

from guestlib import daemons, hv_cpu, vmbus_devices
from guestlib.deadline import SCALE, until
from guestlib.machine import BOOTED
from guestlib.migration import (begin, migrate, receiver, run_job,
                                wait_status)
from guestlib.paths import program
from guestlib.qmp import moment

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
    guest.run(daemons.wait('[ $(grep -c "^now at" /tmp/clock) -gt 100 ]', 120) +
              'rm /tmp/clock-runs; sleep 0.2', timeout=240 * SCALE)
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

    def answered(now):
        (beat,) = (d['heartbeat'] for d in now['devices'] if 'heartbeat' in d)
        return beat['sent'] - beat['received'] <= 1
    guest.wait_vmbus('each heartbeat is answered', answered)
    assert complaints(guest, 'hv_.*(error|fail|timeout|warn)|oops:|bug:') == []


def wait_beats(guest, number=2):
    """So many answers that came after now."""
    before = guest.device('hv-heartbeat')['heartbeat']['received']
    guest.wait_vmbus('heartbeats', lambda info: any(
        d['heartbeat']['received'] >= before + number
        for d in info['devices'] if 'heartbeat' in d))


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


def shut_down(guest, said=None):
    """said: what each line of its QEMU has to match; None: there is none."""
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0
    lines = errors(guest)
    assert bool(lines) == bool(said), lines
    assert all(re.fullmatch(said, line) for line in lines), lines


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
        guest.wait_heartbeat('ok')
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

    def answers():
        try:
            return guest.shell.call('true', timeout=5)
        except TimeoutError:
            return None
    until(answers, 'the shell answers', 120 * SCALE)
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
              'done; echo over) >/tmp/rounds 2>&1 &')
    states = set()
    for _ in range(MOVES * 2):
        guest = move(machine, guest, **options)
        info = guest.query_vmbus()
        states.add((info['connected'], info['gpadls'],
                    *(c['state'] for c in channels(info))))
    guest.run('rm /tmp/goes-on\n' + daemons.wait('grep -q over /tmp/rounds'),
              timeout=120 * SCALE)
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
    stopped = moment(guest.qmp.wait_event('STOP'))
    wait_status(guest)
    guest.close()
    time.sleep(8)
    other = receiver(machine, cpus=2)
    other.qmp.execute('migrate-incoming', {'uri': f'file:{path}'})
    resumed = moment(other.qmp.wait_event('RESUME', timeout=120 * SCALE))
    # The last answer is old by the guest's time only.
    age = other.device('hv-heartbeat')['heartbeat']['age-ms']
    assert age < (resumed - stopped) * 1000
    other.wait_heartbeat('ok')
    wait_beats(other)
    check_bus(other)
    check_clock(other, resumed - stopped)
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
    before = guest.device('hv-heartbeat')['heartbeat']['sequence']
    snapshot(guest, 'save')
    after = guest.device('hv-heartbeat')['heartbeat']['sequence']
    wait_beats(guest)
    for _ in range(2):
        guest.run('touch /tmp/later')
        guest.qmp.execute('stop')
        snapshot(guest, 'load')
        guest.qmp.execute('cont')
        guest.shell.buffer = b''
        assert guest.shell.call('[ -e /tmp/later ]')[0] == 1
        guest.wait_heartbeat('ok')
        wait_beats(guest)
        check_bus(guest)
    # The services are closed when the old state comes back.
    guest.run('rmmod hv_utils')
    guest.wait_heartbeat('no-contact')
    guest.qmp.execute('stop')
    snapshot(guest, 'load')
    guest.qmp.execute('cont')
    guest.wait_heartbeat('ok')
    wait_beats(guest)
    check_bus(guest)
    guest.close()
    other = machine(**{**options, 'extra': [*disk, '-S']}).start()
    snapshot(other, 'load')
    beat = other.device('hv-heartbeat')['heartbeat']
    assert beat['state'] == 'paused'
    assert before <= beat['sequence'] <= after
    other.qmp.execute('cont')
    other.wait_heartbeat('ok')
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
    until(lambda: guest.qmp.execute('query-migrate')['status'] == 'failed',
          'the move has failed')
    guest.wait_heartbeat('ok')
    wait_beats(guest)
    check_bus(guest)
    # What it tells, or that it has gone.
    shut_down(guest, 'qemu-system-x86_64: (Sibling indicated error 1|'
              'Unable to (write to|read from) socket.*|Channel error.*)')
