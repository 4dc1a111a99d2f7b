# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Linux guest does with disks on hv-scsi: fio with verification,
partitions and file systems, discard, write cache, throttling.

KVM_VMBUS_STORAGE=full selects the long form: fio in all sizes and depths.
"""
import contextlib
import os
import struct
import subprocess
import time

import pytest

from guestlib.fio import VERIFY, Fio, load_job, run_fio
from guestlib.paths import program
from guestlib.reservations import INVALID, WRITE_EXCLUSIVE, Initiator
from guestlib.storage import (FULL, MIB, Throttle, adapter, adapter_on,
                              check_end, digest, fio_options, guest_digest,
                              image, plugged, shared_guests)

K = 1024


@pytest.fixture(scope='module', params=shared_guests('scsi-io'))
def guest(request, module_machine):
    kernel, cpus, threads = request.param
    return module_machine(kernel=kernel, cpus=cpus,
                          devices=adapter_on(threads),
                          **fio_options(2560 if FULL else 768)).boot()


def short_jobs():
    """(way, block size, depth, bytes): each size, each way, and depths from 1
    to 256."""
    return [('randwrite', 512, 256, MIB), ('write', 512, 1, 128 * K),
            ('randwrite', 4 * K, 32, 2 * MIB), ('write', 4 * K, 256, 2 * MIB),
            ('randwrite', 64 * K, 1, 2 * MIB), ('write', 64 * K, 8, 2 * MIB),
            ('randwrite', 512 * K, 16, 8 * MIB),
            ('write', MIB, 4, 8 * MIB), ('randwrite', 4 * MIB, 4, 16 * MIB),
            ('write', 4 * MIB, 1, 8 * MIB)]


def all_jobs():
    for block in (512, 4 * K, 16 * K, 64 * K, 128 * K, 512 * K, MIB, 4 * MIB):
        for depth in (1, 4, 16, 64, 256):
            for way in ('randwrite', 'write'):
                # A round of what is under way at once, at least.
                yield way, block, depth, block * max(16, depth)


def test_verify(guest, folder):
    """Each byte is read back as it was written, and is in the image."""
    jobs, at = {}, 0
    for number, (way, block, depth, size) in enumerate(
            all_jobs() if FULL else short_jobs()):
        jobs[f'{way}-{block}-{depth}'] = {
            'rw': way, 'bs': block, 'iodepth': depth, 'offset': at,
            'size': size, **VERIFY}
        if number % 2 == 0 or block * depth >= 128 * MIB:  # else two at once
            jobs[f'{way}-{block}-{depth}']['stonewall'] = 1
        at += size
    path = image(folder / 'disk', at)
    with plugged(guest, path) as disk:
        before = adapter(guest)['completed']
        done = run_fio(guest, jobs, filename=disk, timeout=3600)
        for name, options in jobs.items():
            size = options['size']
            assert done[name]['write']['io_bytes'] == size
            assert done[name]['read']['io_bytes'] == size
        assert adapter(guest)['completed'] - before > sum(
            2 * options['size'] // max(options['bs'], 512 * K)
            for options in jobs.values())
        length = 64 if FULL else 8
        assert guest_digest(guest, disk, length, 1200) == \
            digest(path, length * MIB)
    check_end(guest)


def test_signals(guest, folder):
    """Requests that end together cost the guest one interrupt."""
    with plugged(guest, image(folder / 'disk', 16 * MIB)) as disk:
        def counts():
            channels = guest.device('hv-scsi')['channels']
            return (adapter(guest)['completed'],
                    sum(c['out']['signals-sent'] for c in channels),
                    sum(c['signals-received'] for c in channels))
        before = counts()
        run_fio(guest, {'deep': {'filename': disk, 'rw': 'randread',
                                 'bs': '4k', 'iodepth': 64, 'size': '16m',
                                 'iodepth_batch': 16,
                                 'iodepth_batch_complete_min': 16}})
        done, sent, received = (
            new - old for new, old in zip(counts(), before))
    assert done > 3500  # some are merged
    assert sent <= done / 2, (sent, done)
    assert received <= done / 2, (received, done)
    check_end(guest)


def test_mixed_sizes(guest, folder):
    """Requests of all sizes at once, reads among the writes, on a disk with
    sectors of 4 KiB."""
    path = image(folder / 'disk', 64 * MIB)
    with plugged(guest, path, logical_block_size=4096,
                 physical_block_size=4096, rotation_rate=7200) as disk:
        queue = f'/sys/block/{os.path.basename(disk)}/queue'
        assert guest.run(f'cat {queue}/logical_block_size').strip() == '4096'
        assert guest.run(f'cat {queue}/rotational').strip() == '1'
        run_fio(guest, {'mixed': {
            'filename': disk, 'rw': 'randrw', 'bsrange': '4k-4m',
            'blockalign': '4k', 'iodepth': 32, 'size': '64m',
            'io_size': f'{512 if FULL else 32}m', 'verify_backlog': 16,
            **VERIFY}})
    check_end(guest)


# 300 MiB are the least that xfs takes.
DOS = 'label: dos\nsize=310MiB, type=83\nsize=40MiB, type=83\n'
GPT = 'label: gpt\nsize=40MiB, name=one\nsize=310MiB, name=two\n'


def make_partitions(guest, disk, table, sizes):
    """And the guest finds those sizes, in MiB."""
    guest.run(f"printf '{table}' | sfdisk -q {disk}")
    name = os.path.basename(disk)
    for number, size in enumerate(sizes, 1):
        part = f'/sys/block/{name}/{name}{number}/size'
        guest.run(f'for i in $(seq 100); do [ "$(cat {part})" = '
                  f'{size * MIB // 512} ] && exit 0; sleep 0.1; done; exit 1')


def test_file_systems(guest, folder):
    """Partitions with ext4 and xfs, on which fio verifies files."""
    path = image(folder / 'disk', 360 * MIB)
    with plugged(guest, path, discard_granularity=4096) as disk:
        make_partitions(guest, disk, DOS, (310, 40))
        make_partitions(guest, disk, GPT, (40, 310))
        parts = {'ext4': f'{disk}1', 'xfs': f'{disk}2'}
        guest.run(f'/sbin/mke2fs -q -t ext4 {parts["ext4"]} && '
                  f'mkfs.xfs -q -f {parts["xfs"]}', 180)
        for kind, part in parts.items():
            guest.run(f'mkdir -p /mnt/{kind} && mount -t {kind} {part} '
                      f'/mnt/{kind}')
        run_fio(guest, {kind: {
            'directory': f'/mnt/{kind}', 'size': '12m', 'rw': 'randwrite',
            'bsrange': '4k-1m', 'blockalign': '4k', 'iodepth': 16, **VERIFY}
            for kind in parts})
        sums = guest.run('cd /mnt && sha256sum ext4/ext4* xfs/xfs*')
        guest.run('umount /mnt/ext4 /mnt/xfs', 120)
        guest.run(f'/sbin/e2fsck -fn {parts["ext4"]} && '
                  f'xfs_repair -n {parts["xfs"]}', 180)
        for kind, part in parts.items():
            guest.run(f'mount -t {kind} -o ro {part} /mnt/{kind}')
        assert guest.run('cd /mnt && sha256sum ext4/ext4* xfs/xfs*') == sums
        guest.run('umount /mnt/ext4 /mnt/xfs')
    check_end(guest)


def test_discard(guest, folder):
    """What the guest discards has gone from the image, and is zeros."""
    path = image(folder / 'disk', 24 * MIB)
    path.write_bytes(os.urandom(24 * MIB))
    full = os.stat(path).st_blocks * 512
    with plugged(guest, path, node={'discard': 'unmap'},
                 discard_granularity=4096) as disk:
        queue = f'/sys/block/{os.path.basename(disk)}/queue'
        assert guest.run(f'cat {queue}/discard_granularity').strip() == '4096'
        assert int(guest.run(f'cat {queue}/discard_max_bytes')) > 0
        guest.run(f'blkdiscard -o {4 * MIB} -l {12 * MIB} {disk}', 120)
        assert os.stat(path).st_blocks * 512 <= full - 11 * MIB
        expected = path.read_bytes()
        assert expected[4 * MIB:16 * MIB] == bytes(12 * MIB)
        assert guest_digest(guest, disk, 24) == digest(path)
        # While others write, too.
        run_fio(guest, {
            'writes': {'rw': 'randwrite', 'bs': '64k', 'iodepth': 16,
                       'size': '8m', **VERIFY},
            'trims': {'rw': 'randtrim', 'bs': '64k', 'iodepth': 4,
                      'ioengine': 'sync', 'offset': '16m', 'size': '8m'},
        }, filename=disk)
        assert guest_digest(guest, disk, 24) == digest(path)
        assert path.read_bytes()[16 * MIB:] == bytes(8 * MIB)
    check_end(guest)


FLUSH, FUA, DISCARD = 1, 2, 4


def read_log(path):
    """[(sector, sectors, flags)] of QEMU's blklogwrites."""
    data = path.read_bytes()
    magic, version, count, size = struct.unpack_from('<QQQI', data)
    assert (magic, version) == (0x6a736677736872, 1)
    at, entries = size, []
    for _ in range(count):
        sector, sectors, flags, length = struct.unpack_from('<QQQQ', data, at)
        entries.append((sector, sectors, flags))
        at += size + (0 if flags & DISCARD else sectors * size)
    return entries


@contextlib.contextmanager
def logged(guest, folder, name, **options):
    """A disk, and what was written to it."""
    log = image(folder / f'{name}-log', 0)
    path = image(folder / name, 16 * MIB)
    with plugged(guest, path, top={'driver': 'blklogwrites',
                                   'log': {'driver': 'file',
                                           'filename': str(log)}},
                 **options) as disk:
        entries = []
        yield disk, entries
    entries += read_log(log)


def guest_flushes(guest, disk):
    """How often the guest has asked for a flush by itself."""
    return int(guest.run(f'cat /sys/block/{os.path.basename(disk)}/stat'
                         ).split()[15])


@pytest.mark.parametrize('kind,cache,flushes', [
    ('back', 'write back', True), ('fua', 'write back', False),
    ('through', 'write through', False), ('lazy', 'write back', False)])
def test_write_cache(guest, folder, kind, cache, flushes):
    """A guest that wants its data on stable storage gets it there: by
    flushes, by forced unit access, or because there is no cache.  Who does
    not want it gets none."""
    options = {'fua': {'dpofua': True},
               'through': {'write-cache': 'off'}}.get(kind, {})
    with logged(guest, folder, kind, **options) as (disk, entries):
        queue = f'/sys/block/{os.path.basename(disk)}/queue'
        assert guest.run(f'cat {queue}/write_cache').strip() == cache
        assert guest.run(f'cat {queue}/fua').strip() == \
            ('1' if kind == 'fua' else '0')
        before = guest_flushes(guest, disk)
        run_fio(guest, {'sync': {
            'filename': disk, 'rw': 'write', 'bs': '4k', 'size': '32k',
            'sync': 'none' if kind == 'lazy' else 'dsync'}})
        asked = guest_flushes(guest, disk) - before
    writes = [n for n, (sector, sectors, flags) in enumerate(entries)
              if sectors == 8 and sector < 64 and not flags & DISCARD]
    assert len(writes) == 8, entries
    # A forced write is one with a flush after it for an image that can do
    # nothing better.  The first of these goes straight to what is below the
    # log: QEMU counts a write only when all of it is done.
    flushed = [entries[n][2] & FUA or entries[n + 1][2] & FLUSH
               for n in writes[1:-1]]
    if kind == 'lazy':
        assert not any(flushed), entries
        assert asked == 0
    else:
        assert all(flushed), entries
        assert (asked >= 8) == flushes, asked
    check_end(guest)


def test_cache_switched(guest, folder):
    """The guest turns the cache off and on, by MODE SELECT."""
    with plugged(guest, image(folder / 'disk', MIB)) as disk:
        name = os.path.basename(disk)
        types = f'/sys/block/{name}/device/scsi_disk/*/cache_type'
        for wanted in 'write through', 'write back':
            guest.run(f'echo "{wanted}" >$(echo {types})')
            assert guest.run(f'cat {types}').strip() == wanted
            guest.run(f'echo 1 >/sys/block/{name}/device/rescan; '
                      f'dd if=/dev/urandom of={disk} bs=4k count=1')
            assert guest.run(f'cat {types}').strip() == wanted
    check_end(guest)


@pytest.mark.parametrize('name', ['qcow2', 'vhdx', 'vpc', 'vmdk', 'vdi'])
def test_formats(guest, folder, name):
    """Images that grow, those of other hypervisors among them: what the guest
    wrote is there for whoever reads the file."""
    path, raw = folder / f'disk.{name}', folder / 'raw'
    subprocess.run([program('qemu-img'), 'create', '-q', '-f', name, path,
                    '32M'], check=True)
    with plugged(guest, path, node={'driver': name}) as disk:
        run_fio(guest, {'fill': {
            'filename': disk, 'rw': 'randwrite', 'bsrange': '512-256k',
            'iodepth': 16, 'size': '8m', **VERIFY}})
        seen = guest_digest(guest, disk, 32)
    subprocess.run([program('qemu-img'), 'convert', '-f', name, '-O', 'raw',
                    path, raw], check=True)
    assert seen == digest(raw, 32 * MIB)
    assert path.stat().st_size > 8 * MIB
    check_end(guest)


def test_resize_at_work(guest, folder):
    """A disk grows while fio writes to it, and what is new can be used."""
    path = image(folder / 'disk', 16 * MIB)
    with plugged(guest, path) as disk:
        load = Fio(guest, {'load': load_job(disk, '16m')}, 'load')
        node, = (block['inserted']['node-name']
                 for block in guest.qmp.execute('query-block')
                 if block.get('inserted', {}).get('file') == str(path))
        sectors = f'/sys/block/{os.path.basename(disk)}/size'
        for size in 24 * MIB, 32 * MIB:
            guest.qmp.execute('block_resize', {'node-name': node,
                                               'size': size})
            guest.run(f'for i in $(seq 100); do [ $(cat {sectors}) = '
                      f'{size // 512} ] && exit 0; sleep 0.2; done; exit 1')
            run_fio(guest, {'new': {
                'filename': disk, 'rw': 'randwrite', 'bs': '16k',
                'iodepth': 16, 'offset': size - 8 * MIB, 'size': '8m',
                **VERIFY}})
        load.stop()
        assert guest_digest(guest, disk, 32) == digest(path, 32 * MIB)
    check_end(guest)


def test_reservations_of_an_emulated_disk(guest, folder):
    """It has none, and says so."""
    with plugged(guest, image(folder / 'disk', MIB)) as disk:
        unit = Initiator(guest.shell, disk)
        unit.persist('--in --read-keys', INVALID)
        unit.out('register', new=1, expected=INVALID)
        unit.out('reserve', 1, kind=WRITE_EXCLUSIVE, expected=INVALID)
        assert unit.writes() and unit.reads()
    check_end(guest)


def test_throttle(guest, folder):
    """A limit on the host is what the guest gets, no more and hardly less."""
    limit = 200
    limits = {'iops-total': limit, 'iops-total-max': limit}
    path = image(folder / 'disk', 16 * MIB)
    with Throttle(guest, **limits) as throttle, plugged(
            guest, path, top=throttle.node) as disk:
        start = time.monotonic()
        run_fio(guest, {'slow': {
            'filename': disk, 'rw': 'randwrite', 'bs': '4k', 'iodepth': 64,
            'size': '1600k', **VERIFY}})
        elapsed = time.monotonic() - start
    # 400 writes and 400 reads; the limit lets some pass at first.
    assert elapsed > (800 - 2 * limit) / limit, elapsed
    check_end(guest)
