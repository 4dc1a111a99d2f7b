# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl against real machines: each way of failing has its exit code."""
import socket
import time

import pytest

from guestlib import hvctl
from guestlib.deadline import SCALE

UNREACHABLE, NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT = 3, 4, 5, 6, 7
FINDINGS = 21
COMMANDS = [('status',), ('heartbeat',), ('shutdown',),
            ('shutdown', '--wait'), ('doctor',)]


def failed(done, code):
    """One sentence for people on the standard error, nothing else."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ''
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_socket_that_is_not_there(folder, command):
    failed(hvctl(*command, qmp=folder / 'none'), UNREACHABLE)


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_socket_that_nobody_serves(folder, command):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / 'dead'))
    failed(hvctl(*command, qmp=folder / 'dead'), UNREACHABLE)


@pytest.fixture(scope='module')
def bare(module_machine):
    return module_machine(cpu='max', devices=[],
                          append='guest.skip=hv_vmbus,hv_utils').boot()


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_machine_without_vmbus(bare, command):
    failed(bare.hvctl(*command), NO_VMBUS)


@pytest.fixture(scope='module')
def unwilling(module_machine):
    return module_machine(append='guest.skip=hv_utils').boot()


def test_guest_that_has_not_opened_the_services(unwilling):
    failed(unwilling.hvctl('shutdown', '--wait'), NOT_OPEN)
    failed(unwilling.hvctl('shutdown', '--reboot'), NOT_OPEN)
    done = unwilling.hvctl('heartbeat')
    assert done.returncode == NOT_OPEN
    done = unwilling.hvctl('status')
    assert done.returncode == 0
    assert '5.3' in done.stdout


def test_doctor(machine):
    """A machine in good health, and one with disks that its guest may lose."""
    well = machine().boot()
    well.wait_ready()
    done = well.hvctl('doctor')
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == 'No problem was found.'
    well.qmp.execute('device_add', {'driver': 'hv-scsi', 'id': 'disks'})
    # The guest has no driver for it.
    done = well.hvctl('doctor')
    assert done.returncode == FINDINGS
    assert 'problem: processor: The processor has svm' in done.stdout
    assert "driver has not set up the adapter disks (closed)" in done.stdout
    assert done.stdout.count('problem: ') == 2, done.stdout


def test_doctor_of_a_guest_that_has_not_opened_the_services(unwilling):
    done = unwilling.hvctl('doctor')
    assert done.returncode == FINDINGS
    for name in 'heartbeat', 'shutdown':
        assert f'problem: {name}: The guest has not opened' in done.stdout


def test_the_three_failures_have_three_sentences(folder, bare, unwilling):
    sentences = {hvctl('shutdown', qmp=folder / 'none').stderr,
                 bare.hvctl('shutdown').stderr,
                 unwilling.hvctl('shutdown').stderr}
    assert len(sentences) == 3


def test_accepted_is_not_done(machine):
    """A guest that accepts, and then does not go off."""
    guest = machine().boot()
    guest.wait_ready()
    guest.run('printf "#!/bin/sh\\nexec sleep 1000\\n" >/sbin/poweroff')
    start = time.monotonic()
    failed(guest.hvctl('shutdown', '--wait', '--timeout', '8'), TIMEOUT)
    assert 7 < time.monotonic() - start < 60 * SCALE
    assert guest.run('echo alive').strip() == 'alive'
    response = guest.qmp.wait_event('VMBUS_SHUTDOWN_RESPONSE')
    assert response['data']['result'] == 'accepted'


def test_watch_tells_changes(machine):
    guest = machine().boot()
    guest.wait_ready()
    with guest.watch_hvctl('heartbeat', '--watch') as watch:
        watch.wait_line('ok')
        guest.qmp.execute('stop')
        watch.wait_line('paused')
        guest.qmp.execute('cont')
        watch.wait_line('ok')
