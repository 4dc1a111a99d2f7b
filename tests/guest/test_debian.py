# SPDX-License-Identifier: GPL-2.0-or-later
"""Backups of Debian with systemd and PostgreSQL, whose disks are on hv-scsi.

The agent is installed as its document says, and nothing starts it but its udev
rule.  The database and its log are on two file systems, copied one after the
other, so that only a freeze of both makes them fit together.
"""
import re
import time

import pytest

from guestlib import backup, storage
from guestlib.debian import DISKS, HOOK_STATE, Debian, copy_disks, log_position
from guestlib.machine import BOOT_SECONDS, SCALE
from guestlib.vmbus import sysfs_devices

REFUSED, LOST = 6, 13
AGENT = 'hv-vss-agent'
HOOKS = '/etc/hv-vss-agent'
# Those of a kernel share a machine, so they run one after the other.
KERNELS = [
    pytest.param(kernel, marks=pytest.mark.xdist_group(f'debian-{kernel}'))
    for kernel in ('6.1', '6.12')]
# Seconds within which a writer goes on after a thaw that nobody asked for: many
# less than its freeze may last.
AT_ONCE = 40 * SCALE


@pytest.fixture(scope='module', params=KERNELS)
def guest(request, module_machine):
    """One machine for all of the tests, each of which leaves it as it was."""
    one = Debian(module_machine, request.param).boot()
    # It is there by itself; now for what a slow machine needs.
    one.wait_serving()
    one.run(f"cat >>{HOOKS}/agent.conf <<'END'\n"
            'hook-timeout = 60\nfreeze-timeout = 120\nEND\n'
            f'chmod +x {HOOKS}/*.d/50-postgresql; systemctl restart {AGENT}')
    one.wait_serving()
    one.start_writer()
    return one


def hvctl(guest, *arguments, code=0):
    done = guest.machine.hvctl(*arguments)
    assert done.returncode == code, \
        done.stdout + done.stderr + guest.journal()
    return done


def freeze(guest, code=0):
    return hvctl(guest, 'snapshot-freeze', '--hold', '60', '--timeout', '120',
                 code=code)


def thaw(guest, code=0):
    done = hvctl(guest, 'snapshot-thaw', '--timeout', '60', code=code)
    guest.wait_progress()
    guest.wait(f'test ! -e {HOOK_STATE}')
    return done


def assert_whole(guest, last):
    """Its database has the rows 1 to last, and no other."""
    count, least, most, torn = guest.psql(
        'SELECT count(*), min(number), max(number), count(*) FILTER '
        '(WHERE filling <> repeat(md5(number::text), 16)) FROM entry'
    ).split('|')
    assert (int(least), int(torn)) == (1, 0)
    assert int(count) == int(most)
    assert int(most) in last
    guest.psql("SELECT bt_index_check('entry_pkey', true)")


def test_system(guest):
    """It is up, from a disk on hv-scsi, and udev has started the agent."""
    run = guest.run
    assert run('systemctl is-system-running --wait',
               timeout=BOOT_SECONDS).strip() == 'running'
    assert guest.unit('ActiveState') == 'active'
    # Nobody has enabled it.
    assert guest.unit('UnitFileState') == 'disabled'
    assert 'hv_vss.device' in guest.unit('WantedBy')
    (adapter,) = (name for name, device in sysfs_devices(run).items()
                  if device['driver'] == 'hv_storvsc')
    root = run('readlink -f /sys/dev/block/$(mountpoint -d /)')
    data = run('readlink -f /sys/dev/block/$(mountpoint -d '
               '/var/lib/postgresql)')
    assert root != data
    assert adapter in root and adapter in data
    shown = run(f'{AGENT} --check')
    assert re.search(r'Frozen.*:\n +/var/lib/postgresql .*\n +/ .*\n\n', shown)
    assert f'{HOOKS}/freeze.d/50-postgresql' in shown
    assert f'{HOOKS}/thaw.d/50-postgresql' in shown


def test_copy_of_a_frozen_database(guest, machine, folder):
    before = log_position(guest.psql('SELECT pg_current_wal_insert_lsn()'))
    freeze(guest)
    assert guest.run(f'cat {HOOK_STATE}') == '5432 postgres\n'
    assert guest.stands_still(1)
    rows = guest.records()
    copy_disks(guest.folder, folder, ['root'])
    assert guest.stands_still(3)
    copy_disks(guest.folder, folder, ['data'])
    assert guest.records() == rows
    thaw(guest)
    for name in DISKS:
        backup.assert_clean(folder / f'{name}.img')

    guest.machine.qmp.execute('stop')
    copy = Debian(machine, guest.kernel, folder).boot()
    # One may have been about to be confirmed.
    assert_whole(copy, (rows, rows + 1))
    log = copy.run('cat /var/log/postgresql/postgresql-*-main.log')
    recovery = log[log.rindex('automatic recovery in progress'):]
    # From the checkpoint of the hook, and not from one before.
    start = re.search(r'redo starts at (\S+)', recovery)
    if start:
        assert log_position(start.group(1)) >= before, recovery
    else:
        assert 'redo is not required' in recovery
    assert 'recovery complete' not in copy.machine.console.text()
    copy.psql('DELETE FROM entry WHERE number = 1')
    storage_end(copy)
    copy.machine.close()
    guest.machine.qmp.execute('cont')
    guest.wait_progress()


def storage_end(guest):
    """hv-scsi lost and refused nothing."""
    info = storage.adapter(guest.machine)
    assert info['state'] == 'ready'
    assert info['refused'] == 0


def test_hook_that_fails(guest):
    """There is no freeze; the guest's log names the hook, and what the other
    one did is undone."""
    hook = f'{HOOKS}/freeze.d/70-shop'
    guest.run(f"cat >{hook} <<'END'\n#!/bin/sh\n"
              'echo the shop is open; exit 3\nEND\nchmod +x ' + hook)
    freezes = guest.vss()['freezes']
    failed = freeze(guest, code=REFUSED)
    assert 'could not freeze; its log may say why' in failed.stderr
    guest.wait_progress()
    guest.wait(f'test ! -e {HOOK_STATE}')
    guest.wait_journal(f'Nothing is frozen: the hook {hook} failed with exit '
                       'code 3: the shop is open')
    assert guest.vss()['freezes'] == freezes
    guest.run(f'rm {hook}')
    freeze(guest)
    thaw(guest)


@pytest.mark.parametrize('whom', ['agent', 'agent and guard'])
def test_killed_while_frozen(guest, whom):
    """The guard thaws, or what systemd runs when the service has ended; the
    service is back soon, and freezes again."""
    agent = guest.unit('MainPID')
    kill = f'kill -KILL {agent}' if whom == 'agent' else \
        f'systemctl kill --signal=KILL {AGENT}'
    freeze(guest)
    start = time.monotonic()
    guest.run(kill)
    guest.wait_progress(AT_ONCE)
    assert time.monotonic() - start < AT_ONCE
    guest.wait(f'test "$(systemctl show -P MainPID {AGENT})" -gt 0 && '
               f'test "$(systemctl show -P MainPID {AGENT})" != {agent}')
    guest.wait(f'test ! -e {HOOK_STATE}')
    guest.wait_serving()
    # The host does not take what was copied since then for a good copy.
    thaw(guest, code=LOST)
    assert guest.vss()['reason'] == 'lapsed'
    assert_whole(guest, range(1, 1 << 31))
    freeze(guest)
    assert guest.stands_still(1)
    thaw(guest)


def test_service_comes_and_goes(guest):
    """The unit ends with the device and starts with it."""
    qmp = guest.machine.qmp
    qmp.execute('device_del', {'id': 'vss'})
    qmp.wait_event('DEVICE_DELETED', device='vss')
    guest.wait(f'systemctl is-active {AGENT} | grep -qx inactive')
    qmp.execute('device_add', {'driver': 'hv-vss', 'id': 'vss'})
    guest.wait(f'systemctl is-active {AGENT}')
    guest.wait_serving()
    freeze(guest)
    assert guest.stands_still(1)
    thaw(guest)
    storage_end(guest)
