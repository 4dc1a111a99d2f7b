# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with disks on hv-scsi move, are saved and go back, and their disks
move to other images, while fio writes and verifies.

KVM_VMBUS_STORAGE=full does all of it more often.
"""
import json
import subprocess

import pytest

from guestlib.fio import VERIFY, Fio, load_job
from guestlib.deadline import SCALE, until
from guestlib.migration import migrate, receiver, run_job, wait_status
from guestlib.paths import program
from guestlib.storage import (FULL, GUESTS, GUEST_IDS, MIB, adapter,
                              adapter_on, check_end, device, digest, disk,
                              fio_options, guest_digest, image, node,
                              wait_units)

MOVES = 10 if FULL else 2
ROUNDS = 10 if FULL else 1
BOTH = pytest.mark.parametrize('kernel,cpus,threads', GUESTS, ids=GUEST_IDS)


def wait_more(guest, requests=300, timeout=120 * SCALE):
    """Until it has done that many more requests."""
    begin = adapter(guest)['completed']
    until(lambda: adapter(guest)['completed'] >= begin + requests,
          'the guest does I/O', timeout, pause=0.05)


@BOTH
def test_moves(machine, folder, kernel, cpus, threads):
    path = image(folder / 'd0')
    options = {'kernel': kernel, 'cpus': cpus, 'devices': adapter_on(threads),
               'extra': disk('d0', path), **fio_options(512)}
    guest = machine(**options).boot()
    wait_units(guest, ['0:0:0'])
    load = Fio(guest, {
        'random': load_job('/dev/sda'),
        'one': load_job('/dev/sda', '8m', 1, '4k-4k', offset='32m')})
    wait_more(guest)
    for _ in range(MOVES):
        target = receiver(machine, **options)
        migrate(guest, target)
        guest.close()
        target.shell.buffer = b''
        guest, load.guest = target, target
        wait_more(guest)
    load.stop()
    check_end(guest)
    assert guest_digest(guest, '/dev/sda', 40) == digest(path, 40 * MIB)
    assert 'I/O error' not in guest.run('dmesg')


@BOTH
def test_move_with_waiting_requests(machine, folder, kernel, cpus, threads):
    """The host's disk is full and the machine stands; it moves to where
    there is room, and the requests that waited are done there."""
    path = image(folder / 'd0')
    full = {'driver': 'blkdebug', 'node-name': 'd0', 'inject-error': [
        {'event': 'none', 'iotype': 'write', 'errno': 28,
         'sector': 8 * MIB // 512}],
        'image': {'driver': 'file', 'filename': str(path)}}
    unit = device('scsi-hd,bus=s0.0,drive=d0,id=disk-d0,werror=stop')
    options = {'kernel': kernel, 'cpus': cpus, 'devices': adapter_on(threads),
               **fio_options(512)}
    guest = machine(extra=['-blockdev', json.dumps(full), *unit],
                    **options).boot()
    wait_units(guest, ['0:0:0'])
    load = Fio(guest, {'all': {
        'filename': '/dev/sda', 'rw': 'randwrite', 'bs': '16k',
        'iodepth': 64, 'size': '16m', **VERIFY}})
    guest.qmp.wait_event('STOP', 120 * SCALE)
    waiting = adapter(guest)['in-flight']
    assert waiting > 0
    target = receiver(machine, extra=node('d0', path) + unit, **options)
    # A machine that stood stands on the other side, too.
    guest.qmp.execute('migrate-set-capabilities', {'capabilities': [
        {'capability': 'events', 'state': True}]})
    uri = f'unix:{target.folder}/migration'
    target.qmp.execute('migrate-incoming', {'uri': uri})
    guest.qmp.execute('migrate', {'uri': uri})
    wait_status(guest)
    wait_status(target)
    assert adapter(target)['in-flight'] == waiting
    guest.close()
    target.qmp.execute('cont')
    load.guest = target
    load.result()
    check_end(target)
    assert guest_digest(target, '/dev/sda', 16) == digest(path, 16 * MIB)
    assert 'I/O error' not in target.run('dmesg')


@BOTH
def test_snapshots(machine, folder, kernel, cpus, threads):
    """Memory and disk are saved under load; the guest goes back to that
    moment again and again, and finds on the disk what it remembers."""
    path = folder / 'd0'
    subprocess.run([program('qemu-img'), 'create', '-q', '-f', 'qcow2', path,
                    '64M'], check=True)
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    extra=disk('d0', path, driver='qcow2'),
                    **fio_options(512)).boot()
    wait_units(guest, ['0:0:0'])
    load = Fio(guest, {'load': load_job('/dev/sda', '16m')})
    wait_more(guest)
    names = {'tag': 'one', 'vmstate': 'd0', 'devices': ['d0']}
    run_job(guest, 'snapshot-save', **names)
    for _ in range(ROUNDS):
        wait_more(guest)
        run_job(guest, 'snapshot-load', **names)
        guest.qmp.execute('cont')
        # The guest's answers of another time are in the way.
        guest.shell.buffer = b''
        wait_more(guest)
    load.stop()
    check_end(guest)
    assert 'I/O error' not in guest.run('dmesg')
    guest.quit()
    subprocess.run([program('qemu-img'), 'check', '-q', path], check=True)


@BOTH
def test_disk_moves(machine, folder, kernel, cpus, threads):
    """The disk gets another image while the guest writes; afterwards the new
    image has all, and the old one is left alone."""
    path = image(folder / 'd0')
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    extra=disk('d0', path), **fio_options(512)).boot()
    wait_units(guest, ['0:0:0'])
    load = Fio(guest, {'load': load_job('/dev/sda', '48m')})
    wait_more(guest)
    current = 'd0'
    for number in range(ROUNDS):
        new_path, new = image(folder / f'new{number}'), f'new{number}'
        guest.qmp.execute('blockdev-add', {
            'driver': 'raw', 'node-name': new,
            'file': {'driver': 'file', 'filename': str(new_path)}})
        start = len(guest.qmp.events)
        guest.qmp.execute('blockdev-mirror', {
            'job-id': 'move', 'device': current, 'target': new,
            'sync': 'full',
            'copy-mode': 'write-blocking' if number % 2 else 'background'})
        guest.qmp.wait_event('BLOCK_JOB_READY', 120 * SCALE, start)
        wait_more(guest)
        guest.qmp.execute('block-job-complete', {'device': 'move'})
        done = guest.qmp.wait_event('BLOCK_JOB_COMPLETED', 120 * SCALE, start)
        assert 'error' not in done['data'], done
        guest.qmp.execute('blockdev-del', {'node-name': current})
        left = digest(path)
        old, path, current = path, new_path, new
        wait_more(guest)
        assert digest(old) == left
    load.stop()
    check_end(guest)
    assert guest_digest(guest, '/dev/sda', 64) == digest(path)
