# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks on hv-scsi that fail, and guests that fail while they use them.

KVM_VMBUS_STORAGE=full does all of it more often, and on both kernels.
"""
import os

import pytest

from guestlib.deadline import SCALE, until
from guestlib.fio import VERIFY, Fio, load_job, run_fio
from guestlib.storage import (FULL, GUESTS, GUEST_IDS, MIB, Throttle,
                              adapter, adapter_on, add_node, check_end, disk,
                              fio_options, guest_digest, host_disks, image,
                              new_disk, plugged, shared_guests, unplug,
                              wait_units)

ROUNDS = 10 if FULL else 2
SECTOR = 512


@pytest.fixture(scope='module', params=shared_guests('scsi-faults'))
def guest(request, module_machine):
    kernel, cpus, threads = request.param
    return module_machine(kernel=kernel, cpus=cpus,
                          devices=adapter_on(threads),
                          **fio_options()).boot()


def wait_work(guest, device, requests, timeout=60 * SCALE):
    """Until the guest has written so often to a device since it is there."""
    stat = f'cat /sys/block/{os.path.basename(device)}/stat'
    until(lambda: int(guest.run(stat).split()[4]) >= requests,
          'the guest does I/O', timeout, pause=0.05)


def errors_at(*places, errno=5, **options):
    """A filter: error at these (read or write, sector, how often)."""
    return {'driver': 'blkdebug', 'inject-error': [
        {'event': 'none', 'iotype': way, 'errno': errno, **options,
         **({} if sector is None else {'sector': sector})}
        for way, sector in places]}


def test_errors_under_load(guest, folder):
    """Bad sectors are errors of those who touch them, and of nobody else."""
    path = image(folder / 'disk')
    bad = 32 * MIB // SECTOR
    top = errors_at(('write', bad), ('read', bad + 256))
    start = len(guest.qmp.events)
    with plugged(guest, path, top=top, rerror='report',
                 werror='report') as disk:
        area = {'filename': disk, 'offset': '32m', 'size': '1m', 'bs': '4k',
                'iodepth': 16, 'continue_on_error': 'io', 'loops': ROUNDS}
        done = Fio(guest, {
            'good': {'filename': disk, 'rw': 'randwrite', 'bs': '16k',
                     'iodepth': 32, 'size': '16m', 'loops': ROUNDS, **VERIFY},
            'writes': {'rw': 'randwrite', **area},
            'reads': {'rw': 'randread', **area}}).results()
        assert done['good']['error'] == 0
        assert done['good'].get('total_err', 0) == 0
        assert done['good']['read']['io_bytes'] == 16 * MIB * ROUNDS
        # Each round meets each bad sector once.
        for name in 'writes', 'reads':
            assert done[name]['total_err'] == ROUNDS, done[name]
            assert done[name]['first_error'] == 5
        assert 'Add. Sense: I/O process terminated' in guest.run('dmesg')
        # Who wrote elsewhere is not harmed.
        run_fio(guest, {'after': {'filename': disk, 'rw': 'write',
                                  'bs': '64k', 'size': '16m', **VERIFY}})
    # QEMU tells of errors that stop nothing once a second.
    event = guest.qmp.wait_event('BLOCK_IO_ERROR', 30 * SCALE, start,
                                 action='report')
    assert not event['data'].get('nospace')
    check_end(guest)


def test_flush_error(guest, folder):
    """Data that is not on stable storage is not called so."""
    with plugged(guest, image(folder / 'disk'), top=errors_at(
            ('flush', None))) as disk:
        code, text = guest.shell.call(
            f'dd if=/dev/zero of={disk} bs=4k count=1 conv=fsync')
        assert code != 0 and 'Input/output error' in text
        guest.run(f'dd if=/dev/zero of={disk} bs=4k count=1 oflag=direct')
    check_end(guest)


def test_no_space(guest, folder):
    """The host's disk is full: the machine stops, room is made, and the
    guest goes on and never hears of it."""
    path = image(folder / 'disk')
    top = errors_at(*[('write', 16 * MIB // SECTOR * number // ROUNDS)
                      for number in range(ROUNDS)], errno=28, once=True)
    with plugged(guest, path, top=top, werror='stop', rerror='stop') as disk:
        guest.run('dmesg -c >/dev/null')
        start = len(guest.qmp.events)
        fio = Fio(guest, {'load': {
            'filename': disk, 'rw': 'randwrite', 'bsrange': '4k-64k',
            'blockalign': '4k', 'iodepth': 32, 'size': '16m', **VERIFY}})
        # Each place is hit once, several perhaps before the machine stops.
        stops = hits = 0
        while hits < ROUNDS:
            guest.qmp.wait_event('STOP', 120 * SCALE, start)
            assert guest.qmp.execute('query-status')['status'] == 'io-error'
            errors = [e['data'] for e in guest.qmp.events[start:]
                      if e['event'] == 'BLOCK_IO_ERROR']
            assert errors
            for error in errors:
                assert error['action'] == 'stop' and error['nospace']
                assert error['operation'] == 'write'
            hits += len(errors)
            stops += 1
            # Others end meanwhile; these wait.
            assert adapter(guest)['in-flight'] > 0
            start = len(guest.qmp.events)
            guest.qmp.execute('cont')
            guest.qmp.wait_event('RESUME', 30 * SCALE, start)
        assert 1 <= stops <= hits == ROUNDS
        fio.result()
        assert 'error' not in guest.run('dmesg').lower()
    check_end(guest)


def test_stopped_and_let_go(guest, folder):
    """A machine that stopped at an error goes on without the disk."""
    path = image(folder / 'disk')
    name = 'stuck'
    add_node(guest, path, name, errors_at(('write', None), errno=28))
    before = host_disks(guest)
    guest.qmp.execute('device_add', {
        'driver': 'scsi-hd', 'bus': 's0.0', 'drive': name, 'id': 'd-stuck',
        'werror': 'stop'})
    disk = new_disk(guest, before)
    start = len(guest.qmp.events)
    guest.run(f'(sleep 1; dd if=/dev/zero of={disk} bs=4k count=1 '
              'oflag=direct; echo $? >/tmp/dd-end) >/dev/null 2>&1 &')
    guest.qmp.wait_event('STOP', 60 * SCALE, start)
    unplug(guest, 'd-stuck')
    guest.qmp.execute('blockdev-del', {'node-name': name})
    guest.qmp.execute('cont')
    guest.run('for i in $(seq 300); do [ -e /tmp/dd-end ] && '
              'exec test $(cat /tmp/dd-end) != 0; sleep 0.1; done; exit 1')
    # Only then is the place free for another disk.
    wait_units(guest, [])
    check_end(guest)


def test_unplug_at_work(guest, folder):
    """A disk goes while fio keeps it busy, and another one stays at work."""
    path = image(folder / 'stays')
    with plugged(guest, path) as stays:
        load = Fio(guest, {'load': load_job(stays)}, 'load')
        for number in range(ROUNDS):
            gone = image(folder / f'gone{number}')
            with plugged(guest, gone) as disk:
                busy = Fio(guest, {'busy': {
                    'filename': disk, 'rw': 'randwrite', 'bs': '4k',
                    'iodepth': 256, 'size': '32m', 'time_based': 1,
                    'runtime': 3600}}, 'busy')
                wait_work(guest, disk, 500)
            # Its requests have all come to an end.
            assert busy.wait() != 0
        load.stop()
    check_end(guest)


def test_resets_at_work(guest, folder):
    """The guest resets the bus again and again: what was under way is done
    once more, and nobody hears of an error.

    The disk is slow meanwhile, or the guest may hang: Linux counts a request
    after it has sent it (storvsc_do_io), and a reset waits for ever if one
    was answered in between (storvsc_wait_to_drain).
    """
    with Throttle(guest) as throttle, plugged(
            guest, image(folder / 'disk'), top=throttle.node) as disk:
        load = Fio(guest, {'load': load_job(disk)}, 'load')
        # Each makes Linux wait for ten seconds.
        for number in range(ROUNDS // 2):
            wait_work(guest, disk, 200 * (number + 1))
            throttle.set(**{'iops-total': 20})
            until(lambda: adapter(guest)['in-flight'] >= 16,
                  'requests under way')
            guest.run(f'sg_reset --host {disk}')
            throttle.set(**{'iops-total': 0})
        load.stop()
    check_end(guest)


def test_eject(guest, folder):
    """A guest locks the tray while it has the CD mounted, and opens it when
    it likes."""
    path = image(folder / 'cd', 4 * MIB)
    path.write_bytes(os.urandom(4 * MIB))
    guest.qmp.execute('blockdev-add', {
        'driver': 'raw', 'node-name': 'cd0', 'read-only': True,
        'file': {'driver': 'file', 'filename': str(path)}})
    guest.qmp.execute('device_add', {
        'driver': 'scsi-cd', 'bus': 's0.0', 'drive': 'cd0', 'id': 'cd'})
    guest.run('for i in $(seq 100); do [ -b /dev/sr0 ] && exit 0; '
              'sleep 0.1; done; exit 1')
    assert guest_digest(guest, '/dev/sr0', 4)
    start = len(guest.qmp.events)
    guest.run('echo 0 >/proc/sys/dev/cdrom/autoclose; eject /dev/sr0')
    event = guest.qmp.wait_event('DEVICE_TRAY_MOVED', 30 * SCALE, start)
    assert event['data']['tray-open'] and event['data']['id'] == 'cd'
    assert guest.shell.call('dd if=/dev/sr0 of=/dev/null bs=2k count=1')[0]
    guest.run('eject -t /dev/sr0')
    guest.run('for i in $(seq 50); do dd if=/dev/sr0 bs=2k count=1 '
              'of=/dev/null && exit 0; sleep 0.2; done; exit 1')
    unplug(guest, 'cd')
    guest.qmp.execute('blockdev-del', {'node-name': 'cd0'})
    check_end(guest)


@pytest.mark.parametrize('kernel,cpus,threads', GUESTS, ids=GUEST_IDS)
def test_crash_at_work(machine, folder, kernel, cpus, threads):
    """The guest crashes, is reset or restarts with its queues full.  What it
    had written before is there in its next life."""
    size = 16 * MIB
    written = {'filename': '/dev/sda', 'rw': 'randwrite', 'bs': '16k',
               'iodepth': 32, 'size': size, 'randseed': 7, **VERIFY}
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    extra=['-action', 'panic=none'] +
                    disk('d0', image(folder / 'd0')), **fio_options()).boot()
    wait_units(guest, ['0:0:0'])
    run_fio(guest, {'written': {**written, 'end_fsync': 1}})
    for how in ('panic', 'system_reset', 'reboot')[:None if FULL else 1]:
        Fio(guest, {'busy': {
            'filename': '/dev/sda', 'rw': 'randwrite', 'bsrange': '4k-512k',
            'blockalign': '4k', 'iodepth': 256, 'offset': size,
            'size': '32m', 'time_based': 1, 'runtime': 3600}})
        wait_work(guest, 'sda', 1500)
        mark = guest.console.mark()
        if how == 'panic':
            guest.shell.send('echo 1 >/proc/sys/kernel/panic; '
                             'echo c >/proc/sysrq-trigger')
        elif how == 'reboot':
            guest.shell.send('busybox reboot -f')
        else:
            guest.qmp.execute('system_reset')
        guest.wait_booted(mark)
        wait_units(guest, ['0:0:0'])
        run_fio(guest, {'written': {**written, 'verify_only': 1}})
    check_end(guest)
