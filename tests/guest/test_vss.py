# SPDX-License-Identifier: GPL-2.0-or-later
"""Backups of a running guest, with Debian's daemon and with our own."""
import json
import signal
import socket
import subprocess
import time

import pytest

from guestlib import QmpError, backup, program
from guestlib.backup import Backup
from guestlib.deadline import SCALE, until
from guestlib.machine import Watch
from guestlib.migration import migrate, receiver, run_job, wait_status

NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT = 4, 5, 6, 7
DISABLED, COMMAND, LOST = 10, 12, 13
KERNELS = ['6.1', '6.12']
# Seconds of a hold in which there is time to look, and what may pass after its
# end until the host thaws.
HOLD = 6
SLACK = 2


@pytest.fixture(params=['debian', 'agent'])
def daemon(request):
    why = backup.missing(request.param)
    if why:
        pytest.skip(why)
    return request.param


@pytest.fixture(params=KERNELS)
def guest(request, machine, daemon):
    one = Backup(machine, daemon, kernel=request.param).boot()
    one.start_writer()
    return one


@pytest.fixture
def one_guest(machine, daemon):
    """For what does not depend on the kernel."""
    one = Backup(machine, daemon).boot()
    one.start_writer()
    return one


def hvctl(guest, *arguments, code=0):
    done = guest.machine.hvctl(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def thawed_after(guest, since, hold):
    """The writer goes on, as the host thaws within the hold time and the
    slack."""
    guest.wait_progress()
    assert guest.changed('thawing') - since <= hold + SLACK


def test_copy_of_a_frozen_disk(guest):
    hvctl(guest, 'snapshot-freeze', '--hold', '60')
    before = guest.records()
    assert guest.stands_still()
    copy = guest.copy()
    assert guest.stands_still()
    hvctl(guest, 'snapshot-thaw')
    guest.wait_progress()
    backup.assert_clean(copy)
    assert backup.records_in(copy) == before
    assert guest.vss()['freezes'] == 1
    assert guest.vss()['thaws'] == 1


def test_copy_of_a_disk_that_is_not_frozen(one_guest):
    """It needs recovery: what the test above looks for can be found."""
    assert backup.needs_recovery(one_guest.copy())


def test_again_and_again(one_guest):
    for _ in range(20):
        one_guest.freeze()
        copy = one_guest.copy()
        one_guest.thaw()
        one_guest.wait_progress()
        backup.assert_clean(copy)
        copy.unlink()
    assert one_guest.vss()['freezes'] == 20
    assert one_guest.vss()['late-answers'] == 0


def test_freeze_during_heavy_writes(guest):
    for number in range(3):
        guest.run(f'(while :; do dd if=/dev/zero of=/data/big{number} bs=64k '
                  'count=80; done) >/dev/null 2>&1 &')
    time.sleep(2)
    for _ in range(3):
        guest.freeze()
        assert guest.stands_still()
        copy = guest.copy()
        guest.thaw()
        guest.wait_progress()
        backup.assert_clean(copy)
        backup.records_in(copy)
        copy.unlink()
        time.sleep(1)


def test_hold_time_passes(guest):
    guest.freeze(hold_ms=HOLD * 1000)
    assert guest.stands_still()
    start = guest.changed('frozen')
    thawed_after(guest, start, HOLD)
    assert guest.changed('thawing') - start > HOLD - 0.5
    info = guest.wait_state('failed')
    assert info['reason'] == 'hold-over'
    # Whoever wanted to thaw it hears that, once.
    late = hvctl(guest, 'snapshot-thaw', code=LOST)
    assert '(hold-over)' in late.stderr
    hvctl(guest, 'snapshot-thaw')
    assert not info['thaw-owed']


def test_qmp_client_dies(guest):
    """Whoever froze the guest is gone, with all his connections."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(guest.machine.hvctl_socket))
    client.sendall(b'{"execute": "qmp_capabilities"}'
                   b'{"execute": "vmbus-vss-freeze",'
                   b' "arguments": {"hold-ms": %d}}' % (HOLD * 1000))
    guest.wait_state('frozen')
    client.close()
    assert guest.stands_still()
    thawed_after(guest, guest.changed('frozen'), HOLD)


def test_hvctl_dies(one_guest):
    """Killed while it renews the hold again and again."""
    guest = one_guest
    command = [program('hvctl'), '--qmp', str(guest.machine.hvctl_socket),
               'snapshot-freeze', '--hold', str(HOLD), '--run', 'sleep 1000']
    with Watch(command) as watch:
        guest.wait_state('frozen')
        time.sleep(HOLD + 3)
        assert guest.vss()['state'] == 'frozen'
        watch.process.send_signal(signal.SIGKILL)
        thawed_after(guest, time.time(), HOLD)


def test_daemon_killed_while_frozen(guest):
    """Nobody in the guest can thaw it but a new daemon: Debian's service is
    started again at once, and thaws when the hold is over.  Our own has
    somebody who thaws for it, of which the host knows nothing."""
    hold = HOLD if guest.daemon == 'debian' else 200
    guest.freeze(hold_ms=hold * 1000)
    guest.kill_daemon()
    if guest.daemon == 'debian':
        time.sleep(1)
        guest.start_daemon()
        thawed_after(guest, guest.changed('frozen'), hold)
    else:
        guest.wait_progress()
        assert guest.vss()['state'] == 'frozen'
        guest.start_daemon()
        hvctl(guest, 'snapshot-thaw', code=LOST)
    guest.wait_state('failed')
    guest.freeze()
    guest.thaw()


def test_daemon_comes_back_late(machine):
    """A thaw that was refused is repeated until somebody is there."""
    guest = Backup(machine, 'debian').boot()
    guest.start_writer()
    guest.freeze(hold_ms=HOLD * 1000)
    guest.kill_daemon()
    until(lambda: guest.vss()['thaws-refused'] >= 2, guest.vss)
    assert guest.stands_still()
    info = guest.vss()
    assert info['state'] == 'thawing'
    assert info['thaw-owed']
    with pytest.raises(QmpError, match='has not confirmed'):
        guest.machine.qmp.execute('vmbus-vss-freeze')
    guest.start_daemon()
    guest.wait_progress()
    guest.wait_state('failed')


def test_reset_while_frozen(guest):
    guest.freeze()
    machine, mark = guest.machine, guest.machine.console.mark()
    machine.qmp.execute('system_reset')
    info = guest.wait_state('failed')
    assert info['reason'] == 'reset'
    assert not info['thaw-owed']
    machine.wait_booted(mark)
    machine.wait_ready()
    guest.mount()
    guest.start_daemon()
    assert guest.vss()['thaws'] == 0
    guest.start_writer()
    guest.freeze()
    copy = guest.copy()
    guest.thaw()
    backup.assert_clean(copy)


def test_guest_restarts_while_frozen(guest):
    """At once, as after a crash; it has no time to say good-bye."""
    guest.freeze()
    machine, mark = guest.machine, guest.machine.console.mark()
    machine.shell.send('echo b >/proc/sysrq-trigger')
    machine.wait_booted(mark)
    machine.wait_ready()
    info = guest.vss()
    assert (info['state'], info['reason']) == ('failed', 'reset')
    guest.mount()
    guest.start_daemon()
    guest.freeze()
    guest.thaw()


def test_shutdown_while_frozen(guest):
    guest.freeze()
    done = guest.machine.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.machine.wait_end() == 0


def test_two_freezes(one_guest):
    guest = one_guest
    first = guest.freeze()
    failed = hvctl(guest, 'snapshot-freeze', code=REFUSED)
    assert 'Another freeze' in failed.stderr
    info = guest.vss()
    assert (info['state'], info['job']) == ('frozen', first)
    guest.thaw()
    second = guest.freeze()
    assert second == first + 1
    guest.thaw()


def test_thaw_without_a_freeze(one_guest):
    hvctl(one_guest, 'snapshot-thaw')
    one_guest.wait_progress()
    assert one_guest.vss()['state'] == 'idle'
    assert one_guest.vss()['freezes'] == 0


def test_thaw_by_somebody_else(one_guest):
    guest = one_guest
    job = guest.freeze()
    guest.thaw()
    guest.wait_progress()
    with pytest.raises(QmpError, match='is over'):
        guest.machine.qmp.execute('vmbus-vss-renew', {'job': job})


def test_guest_that_does_not_answer(one_guest):
    """The deadline holds to within a second, for which the host has to be
    there in time; and a freeze that comes too late is undone."""
    guest = one_guest
    guest.kill_daemon('STOP')
    hvctl(guest, 'snapshot-freeze', '--timeout', '3', code=TIMEOUT)
    took = guest.changed('failed') - guest.changed('checking')
    assert 2.5 < took < 4
    with pytest.raises(QmpError, match='has not answered'):
        guest.machine.qmp.execute('vmbus-vss-freeze')
    guest.kill_daemon('CONT')
    guest.wait_progress()
    until(lambda: guest.vss()['late-answers'], guest.vss)
    guest.freeze()
    guest.thaw()


def test_hold_passes_while_the_machine_is_stopped(one_guest):
    """On the host's clock, so that a caller's time is his own."""
    guest = one_guest
    guest.freeze(hold_ms=HOLD * 1000)
    guest.machine.qmp.execute('stop')
    guest.changed('thawing')
    assert guest.vss()['state'] == 'thawing'
    with pytest.raises(QmpError, match='has not confirmed'):
        guest.machine.qmp.execute('vmbus-vss-freeze')
    guest.machine.qmp.execute('cont')
    guest.wait_progress()
    guest.wait_state('failed')


def test_stopped_machine_does_not_freeze(one_guest):
    one_guest.machine.qmp.execute('stop')
    with pytest.raises(QmpError, match='is stopped'):
        one_guest.machine.qmp.execute('vmbus-vss-freeze')
    one_guest.machine.qmp.execute('cont')


def test_run(one_guest, folder):
    guest = one_guest
    copy = folder / 'copy'
    hvctl(guest, 'snapshot-freeze', '--hold', str(HOLD), '--run',
          f'sleep {HOLD + 3} && cp {guest.disk} {copy}')
    backup.assert_clean(copy)
    backup.records_in(copy)
    guest.wait_progress()
    failed = hvctl(guest, 'snapshot-freeze', '--run', 'exit 9', code=COMMAND)
    assert 'exit 9' in failed.stderr
    guest.wait_progress()


def test_run_is_told_of_a_thaw(one_guest):
    guest = one_guest
    command = [program('hvctl'), '--qmp', str(guest.machine.hvctl_socket),
               'snapshot-freeze', '--hold', str(HOLD), '--run', 'sleep 1000']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    guest.wait_state('frozen')
    guest.machine.qmp.execute('vmbus-vss-thaw')
    guest.wait_progress()
    _, text = process.communicate(timeout=60 * SCALE)
    assert process.returncode == LOST, text


def test_freeze_limit(machine):
    """However often it is renewed."""
    guest = Backup(machine, 'debian')
    place = guest.machine.command.index('hv-vss')
    guest.machine.command[place] = 'hv-vss,freeze-limit=4'
    guest.boot()
    guest.start_writer()
    with pytest.raises(QmpError, match='longer than this host allows'):
        guest.machine.qmp.execute('vmbus-vss-freeze', {'hold-ms': 4001})
    failed = hvctl(guest, 'snapshot-freeze', '--hold', '2', '--run',
                   'sleep 1000', code=LOST)
    assert 'not to be trusted' in failed.stderr
    guest.wait_progress()


# A machine that moves, and a device that leaves.

def receiver_for(machine, guest):
    return receiver(machine, devices=backup.devices(), **backup.OPTIONS,
                    extra=backup.drive(guest.disk))


def test_migration_while_frozen(one_guest, machine):
    """The guest is thawed when the migration begins, or at the latest where
    it arrives; nobody waits for the end of the hold."""
    guest = one_guest
    guest.freeze(hold_ms=200000)
    target = receiver_for(machine, guest)
    migrate(guest.machine, target)
    guest.machine = target
    guest.wait_progress()
    info = guest.wait_state('failed')
    assert info['reason'] in ('migration', 'moved')
    assert not info['thaw-owed']
    guest.freeze()
    guest.thaw()


def test_migration_of_a_stopped_frozen_machine(one_guest, machine):
    """It has no time to thaw before it moves."""
    guest = one_guest
    guest.freeze(hold_ms=200000)
    guest.machine.qmp.execute('stop')
    target = receiver_for(machine, guest)
    source = guest.machine
    source.qmp.execute('migrate-set-capabilities', {'capabilities': [
        {'capability': 'events', 'state': True}]})
    uri = f'unix:{target.folder}/migration'
    target.qmp.execute('migrate-incoming', {'uri': uri})
    source.qmp.execute('migrate', {'uri': uri})
    wait_status(source)
    # Before that, it would not be told to go on.
    wait_status(target)
    guest.machine = target
    info = guest.wait_state('thawing')
    assert info['reason'] == 'migration'
    assert info['thaw-owed']
    target.qmp.execute('cont')
    guest.wait_progress()
    guest.wait_state('failed')


def test_no_freeze_during_a_migration(one_guest, machine):
    guest = one_guest
    source = guest.machine
    target = receiver_for(machine, guest)
    source.qmp.execute('migrate-set-parameters', {'max-bandwidth': 1000})
    uri = f'unix:{target.folder}/migration'
    target.qmp.execute('migrate-incoming', {'uri': uri})
    source.qmp.execute('migrate', {'uri': uri})
    with pytest.raises(QmpError, match='being migrated'):
        source.qmp.execute('vmbus-vss-freeze')
    source.qmp.execute('migrate_cancel')


def test_snapshot_of_a_frozen_machine(machine):
    """What was saved frozen thaws at once where it is loaded, while the
    machine that was saved stays frozen."""
    guest = Backup(machine, 'debian', image=True).boot()
    guest.start_writer()
    guest.freeze(hold_ms=200000)
    names = {'tag': 'one', 'vmstate': 'disk', 'devices': ['disk']}
    run_job(guest.machine, 'snapshot-save', **names)
    assert guest.vss()['state'] == 'frozen'
    assert guest.stands_still()
    guest.thaw()
    guest.wait_progress()
    # Stopped, it has no time to thaw before somebody looks.
    guest.machine.qmp.execute('stop')
    run_job(guest.machine, 'snapshot-load', **names)
    info = guest.vss()
    assert (info['state'], info['reason']) == ('thawing', 'moved')
    guest.machine.qmp.execute('cont')
    guest.wait_progress()
    guest.wait_state('failed')
    guest.freeze()
    guest.thaw()


def test_device_of_a_frozen_guest_stays(machine):
    guest = Backup(machine, 'debian')
    place = guest.machine.command.index('hv-vss')
    guest.machine.command[place] = 'hv-vss,id=vss'
    guest.boot()
    guest.start_writer()
    guest.freeze()
    qmp = guest.machine.qmp
    with pytest.raises(QmpError, match='thaw it first'):
        qmp.execute('device_del', {'id': 'vss'})
    guest.thaw()
    # Linux waits for the daemon to close the device.
    guest.kill_daemon()
    qmp.execute('device_del', {'id': 'vss'})
    qmp.wait_event('DEVICE_DELETED', device='vss')
    assert guest.machine.hvctl('vss-status').returncode == NO_VMBUS
    qmp.execute('device_add', {'driver': 'hv-vss', 'id': 'vss'})
    backup.wait_service(guest.machine)
    guest.start_daemon()
    guest.freeze()
    assert guest.stands_still()
    guest.thaw()


def test_power_button_thaws(one_guest):
    """system_powerdown; what the guest then does is its own matter."""
    guest = one_guest
    guest.freeze()
    guest.machine.qmp.execute('system_powerdown')
    guest.wait_progress()
    info = guest.wait_state('failed')
    assert info['reason'] == 'shutdown'


# A guest that cannot take part.

def test_three_errors(machine):
    """No service, nobody who serves it, and a machine with no such device."""
    guest = machine(devices=backup.devices(), **backup.OPTIONS,
                    append='guest.skip=hv_utils').boot()
    closed = guest.hvctl('snapshot-freeze')
    assert closed.returncode == NOT_OPEN, closed.stderr
    assert guest.hvctl('vss-status').returncode == NOT_OPEN
    assert guest.hvctl('snapshot-thaw').returncode == NOT_OPEN
    guest.run('insmod /lib/modules/hv_utils.ko')
    backup.wait_service(guest)
    disabled = guest.hvctl('snapshot-freeze')
    assert disabled.returncode == DISABLED, disabled.stderr
    assert closed.stderr != disabled.stderr
    shown = json.loads(guest.hvctl('vss-status', '--json').stdout)
    assert (shown['state'], shown['reason']) == ('failed', 'disabled')


def test_service_leaves_while_frozen(machine):
    """Its driver is removed under the daemon's feet, and comes back."""
    guest = Backup(machine, 'debian').boot()
    guest.start_writer()
    guest.freeze()
    guest.kill_daemon()
    guest.run('rmmod hv_utils')
    info = guest.wait_state('failed')
    assert (info['reason'], info['thaw-owed']) == ('gone', True)
    guest.run('insmod /lib/modules/hv_utils.ko')
    guest.start_daemon()
    guest.wait_progress()
    info = guest.wait_state('failed')
    assert not info['thaw-owed']
