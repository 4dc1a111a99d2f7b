# SPDX-License-Identifier: GPL-2.0-or-later
"""The same again and again: nothing is lost and nothing leaks.

QEMU has the address sanitizer.  What it holds is counted when the first rounds
are over, and at the end; and each QEMU comes to an orderly end, at which the
sanitizer looks for memory that was lost.

KVM_VMBUS_SOAK=full selects the long form: 50 restarts, 20 moves, 200 devices
added and removed.
"""
import os
import re
import time

import pytest

from guestlib.census import Census
from guestlib.machine import SCALE
from guestlib.migration import MOVE_SECONDS, begin, receiver, wait_status
from guestlib.qmp import QmpError

FORM = os.environ.get('KVM_VMBUS_SOAK', 'short')
FULL = {'short': False, 'full': True}[FORM]
RESTARTS = 50 if FULL else 4
MOVES = 20 if FULL else 3
PLUGS = 200 if FULL else 10

# A bounded cache of translations: it is memory, too, and grows with whatever
# the guest runs.
ACCEL = 'tcg,tb-size=32'

SYSFS = '/sys/bus/vmbus/devices'
COMPLAINTS = re.compile(r'hv_.*(error|fail|timeout|warn)|oops:|bug:', re.I)


def settled(machine, before):
    """The census when it agrees with that of before, or at last."""
    deadline = time.monotonic() + 60 * SCALE
    while True:
        now = Census(machine)
        if not now.changes(before) or time.monotonic() > deadline:
            return now
        time.sleep(0.2)


def check(machine, before, rounds, most_kib, what):
    """Nothing grew; tells the figures."""
    now = settled(machine, before)
    grown = (now.bytes - before.bytes) / 1024
    print(f'{what}: {rounds} rounds\n  before: {before}\n  after:  {now}')
    assert now.changes(before) == []
    assert grown < most_kib, f'{grown:.0f} KiB in {rounds} rounds'
    info = machine.query_vmbus()
    assert info['messages-refused'] == 0
    for device in info['devices']:
        assert device.get('service', {'refused': 0})['refused'] == 0
    assert [line for line in machine.run('dmesg').splitlines()
            if COMPLAINTS.search(line)] == []


def shut_down(machine, *options):
    """In order, so that QEMU gives back what it has."""
    done = machine.hvctl('shutdown', '--wait', *options)
    assert done.returncode == 0, done.stderr
    assert machine.wait_end(120 * SCALE) == 0


def test_restarts(machine):
    """By the guest and from outside, which tells the bus nothing."""
    guest = machine(cpus=2, accel=ACCEL, asan=True).boot()
    guest.wait_ready()
    before, warm = None, 2
    for number in range(warm + RESTARTS):
        if number == warm:
            before = Census(guest)
        mark = guest.console.mark()
        if number % 2:
            guest.qmp.execute('system_reset')
        else:
            guest.shell.send('busybox reboot -f')
        guest.wait_booted(mark)
        guest.wait_ready()
    assert guest.query_vmbus()['connects'] == 1 + warm + RESTARTS
    check(guest, before, RESTARTS, 8192, 'restarts')
    shut_down(guest)


def ask_in_vain(machine, asked):
    """One more request to shut down, which the guest accepts and ignores."""
    try:
        machine.qmp.execute('vmbus-shutdown', {'force': True})
        asked.append(machine)
    except QmpError as error:
        if 'in progress' not in str(error):
            raise


def move(make, source, asked, **options):
    """To a new machine, with traffic on the bus all the time; ends the old
    machine in order."""
    target = receiver(make, **options)
    begin(source, target)
    deadline = time.monotonic() + MOVE_SECONDS
    while source.qmp.execute('query-migrate').get('status') != 'completed':
        ask_in_vain(source, asked)
        source.query_vmbus()
        assert time.monotonic() < deadline, 'migration not completed'
        time.sleep(0.02)
    wait_status(target)
    target.qmp.wait_event('RESUME', timeout=MOVE_SECONDS)
    source.quit()
    return target


def service(machine, driver):
    return machine.device(driver)['service']


def wait_answered(machine):
    """Until no request to shut down is without its answer."""
    def answered(info):
        return any(d['service']['sent'] == d['service']['answered']
                   for d in info['devices'] if d['driver'] == 'hv-shutdown')
    machine.wait_vmbus('all requests answered', answered)


def test_moves(machine):
    options = {'cpus': 2, 'accel': ACCEL, 'asan': True,
               'append': 'log_buf_len=8M'}
    guest = machine(**options).boot()
    guest.wait_ready()
    guest.run('mv /sbin/poweroff /sbin/poweroff-then; '
              'printf "#!/bin/sh\\nexit 0\\n" >/sbin/poweroff; '
              'chmod +x /sbin/poweroff')
    before, warm, asked = None, 1, []
    for number in range(warm + MOVES):
        beats = guest.device('hv-heartbeat')['heartbeat']['received']
        guest = move(machine, guest, asked, **options)
        guest.wait_vmbus('heartbeats', lambda info, beats=beats: any(
            d['heartbeat']['received'] >= beats + 2
            for d in info['devices'] if 'heartbeat' in d))
        guest.wait_heartbeat('ok')
        wait_answered(guest)
        if number + 1 == warm:
            before = Census(guest)
    # Each request came to the guest once, and so did each answer.
    requests = guest.device('hv-shutdown')['shutdown']['requests']
    assert service(guest, 'hv-shutdown')['answered'] == requests + 1
    heard = guest.run('dmesg').count('graceful shutdown initiated')
    print(f'{requests} requests to shut down, {heard} heard')
    assert heard == requests > 5 * MOVES
    assert guest.query_vmbus()['connects'] == 1
    check(guest, before, MOVES, 4096, 'moves')
    guest.run('mv /sbin/poweroff-then /sbin/poweroff')
    shut_down(guest, '--force')


def wait_in_guest(guest, condition):
    code, _ = guest.shell.call(
        f'n=0; until {condition}; do n=$((n + 1)); [ $n -lt 1200 ] || exit 1; '
        'sleep 0.05; done', timeout=120 * SCALE)
    assert code == 0, f'never in the guest: {condition}'


def plug(guest, driver, name):
    """Until the guest's driver has it and its channel is open."""
    guest.qmp.execute('device_add', {'driver': driver, 'id': name})
    device = f'{SYSFS}/{guest.device(driver)["instance-id"]}'
    wait_in_guest(guest, f'[ "$(basename $(readlink {device}/driver))" = '
                  f'hv_utils ] && [ "$(cat {device}/state)" = 3 ]')


def unplug(guest, driver, name):
    """Until the guest has forgotten it, and QEMU, too."""
    device = f'{SYSFS}/{guest.device(driver)["instance-id"]}'
    assert guest.shell.call(f'[ -e {device} ]')[0] == 0
    start = len(guest.qmp.events)
    guest.qmp.execute('device_del', {'id': name})
    guest.qmp.wait_event('DEVICE_DELETED', timeout=120 * SCALE, start=start,
                         device=name)
    wait_in_guest(guest, f'[ ! -e {device} ]')


@pytest.mark.parametrize('kernel', ['6.1', '6.12'])
def test_devices_come_and_go(machine, kernel):
    devices = ['-device', 'vmbus-bridge', '-device', 'hv-heartbeat,id=hb']
    guest = machine(kernel=kernel, cpus=2, accel=ACCEL, devices=devices,
                    asan=True).boot()
    guest.wait_heartbeat('ok')
    # QEMU's account of the guest's code takes a megabyte within the first ten
    # rounds, so the short form can't be as strict as the long one.
    before, warm = None, 50 if FULL else 5
    for number in range(warm + PLUGS):
        if number == warm:
            before = Census(guest)
        plug(guest, 'hv-shutdown', 'sd')
        if number % 5 == 4:
            unplug(guest, 'hv-heartbeat', 'hb')
            plug(guest, 'hv-heartbeat', 'hb')
        unplug(guest, 'hv-shutdown', 'sd')
    guest.wait_heartbeat('ok')
    assert guest.hvctl('heartbeat').returncode == 0
    check(guest, before, PLUGS, 512 if FULL else 4096,
          f'devices added and removed, {kernel}')
    plug(guest, 'hv-shutdown', 'sd')
    shut_down(guest)
