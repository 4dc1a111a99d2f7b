# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of a domain's disks and of its memory while its guest writes to them
and verifies, and what else virsh does to disks.

The tests of a kernel share one guest and follow each other.
"""
import subprocess
import time

import pytest

from guestlib import backup, devices
from guestlib.deadline import SCALE
from guestlib.fio import run_fio
from guestlib.host import THREADS, Guest, Host
from guestlib.libvirt import serving
from guestlib.paths import program
from guestlib.storage import (ADAPTER, MIB, device, digest, fio_options,
                              guest_digest, node, units, wait_units)

# xfs and what writes to it, beside ext4 on sdb.
START = '''
set -e
mkfs.xfs -q {0}
mkdir -p /xfs
mount -t xfs {0} /xfs
write-sequence /xfs/log >/tmp/writer2.log 2>&1 &
until [ -s /xfs/log ]; do sleep 0.1; done
'''


@pytest.fixture(scope='module', params=['6.1', '6.12'])
def guest(request):
    with serving(Host) as host:
        backup.make_image(host.folder / 'data/second')
        cd = host.image('cd', 2 * MIB)
        cd.write_bytes(b'one' * (2 * MIB // 3))
        one = Guest(host, request.param, ''.join([
            devices.disk(host.image('first', kind='qcow2'), 'sda', 0, 'qcow2'),
            devices.disk(host.keep(host.folder / 'data/second'), 'sdb', 1,
                         'qcow2'),
            devices.disk(host.image('third', 320 * MIB, 'qcow2'), 'sdc', 2,
                         'qcow2'),
            devices.disk(cd, 'sdd', 3, device='cdrom',
                         inside='<readonly/>')]))
        try:
            one.boot_with_writer()
            one.run(START.format(one.disk(2)))
            yield one
        finally:
            one.end()


def qemu_img(*arguments):
    return subprocess.run([program('qemu-img'), *map(str, arguments)],
                          check=True, text=True, capture_output=True).stdout


def source(guest, target):
    """The image that a disk is written to."""
    for disk in guest.root().findall('./devices/disk'):
        if disk.find('target').get('dev') == target:
            return disk.find('source').get('file')
    raise AssertionError(f'no disk {target}')


def count(guest, path):
    return int(guest.run(f'stat -c %s {path}')) // backup.RECORD


SEQUENCE = """awk '{ if ($0 != sprintf("%015d", NR - 1)) exit 1 }
    END { print NR }' """


def check_copies(machine, kernel, copies, least):
    """Another guest mounts the copies: both have what was written before
    them, whole and in order, and no more than a file system is to have."""
    other = machine(kernel=kernel, devices=ADAPTER, **fio_options(512), extra=[
        word for unit, path in enumerate(copies) for word in
        node(f'copy{unit}', path) +
        device(f'scsi-hd,bus=s0.0,drive=copy{unit},lun={unit}')]).boot()
    wait_units(other, ['0:0:0', '0:0:1'])
    ext4, xfs = (unit['block'] for _, unit in sorted(units(other).items()))
    other.run(f'set -e; mkdir -p /ext4 /xfs; mount -t ext4 /dev/{ext4} /ext4; '
              f'mount -t xfs /dev/{xfs} /xfs')
    messages = other.run('dmesg')
    assert f'EXT4-fs ({ext4}): mounted filesystem' in messages
    assert f'EXT4-fs ({ext4}): recovery complete' not in messages
    for place, before in zip(('/ext4', '/xfs'), least):
        assert int(other.run(f'{SEQUENCE} {place}/log')) >= before
        other.run(f'cd {place} && sha256sum -c sums')
    other.run(f'umount /ext4 /xfs; xfs_repair -n /dev/{xfs}', 120 * SCALE)
    other.close()


def test_quiesced_snapshot(guest, machine, tmp_path):
    """The images that the guest does not write to any more are a copy of all
    its disks at one moment at which nothing was under way."""
    host = guest.host
    for place in '/data', '/xfs':
        guest.run(f'cd {place} && for i in 1 2 3 4; do dd if=/dev/urandom '
                  'of=file$i bs=64k count=8 2>/dev/null; done; '
                  'sha256sum file* >sums; sync')
    bases = {name: source(guest, name) for name in ('sda', 'sdb', 'sdc')}
    with guest.busy(guest.disk(0), size='16m'):
        least = count(guest, '/data/log'), count(guest, '/xfs/log')
        guest.virsh('snapshot-create-as', 'two', '--disk-only', '--quiesce',
                    '--diskspec', f'sda,file={host.folder}/data/sda.two',
                    '--diskspec', f'sdb,file={host.folder}/data/sdb.two',
                    '--diskspec', f'sdc,file={host.folder}/data/sdc.two')
        guest.wait_progress()
        most = count(guest, '/data/log'), count(guest, '/xfs/log')
        for name in bases:
            assert source(guest, name).endswith(f'{name}.two')
        copies = [tmp_path / 'ext4', tmp_path / 'xfs']
        for name, copy in zip(('sdb', 'sdc'), copies):
            qemu_img('convert', '-U', '-O', 'raw', bases[name], copy)
        backup.assert_clean(copies[0])
        assert least[0] <= backup.records_in(copies[0]) <= most[0]
    other = '6.1' if guest.kernel == '6.12' else '6.12'
    check_copies(machine, other, copies, least)


def test_commit(guest):
    """What was written since goes into the images of before."""
    with guest.busy(guest.disk(0), size='16m'):
        for name in 'sda', 'sdb', 'sdc':
            top = source(guest, name)
            guest.virsh('blockcommit', name, '--active', '--wait', '--pivot')
            assert source(guest, name) != top
            assert 'backing file' not in qemu_img('info', '-U',
                                                  source(guest, name))
        guest.wait_progress()
    guest.virsh('snapshot-delete', 'two', '--metadata')
    guest.check_adapter()


def test_snapshot_with_memory(guest):
    """The guest goes back to what it was, with its memory, and its disks are
    those that it remembers."""
    life = guest.life()
    with guest.busy(guest.disk(0), size='16m'):
        guest.run('echo >/tmp/before')
        guest.virsh('snapshot-create-as', 'memory')
        guest.run('echo >/tmp/after; echo >/data/after; sync')
        guest.wait_more()
        guest.wait_progress()
        for _ in range(2):
            guest.virsh('snapshot-revert', 'memory')
            guest.connect()
            guest.wait_time()
            guest.run('[ -e /tmp/before -a ! -e /tmp/after -a '
                      '! -e /data/after ]')
            guest.wait_healthy()
            guest.wait_more()
            guest.wait_progress()
            assert guest.life() == life
        guest.virsh('snapshot-delete', 'memory')
    guest.virsh('domfsfreeze')
    guest.virsh('domfsthaw')
    guest.check_adapter()


def test_copy(guest):
    """To another image, which has all of it; and one that is given up."""
    host = guest.host
    old = source(guest, 'sda')
    with guest.busy(guest.disk(0), size='16m'):
        for options in ['--transient-job'], ['--transient-job',
                                             '--synchronous-writes']:
            guest.virsh('blockcopy', 'sda', '--dest', host.folder /
                        'data/copy', '--format', 'qcow2', '--wait', *options)
            assert 'Block Copy: [' in guest.virsh('blockjob', 'sda',
                                                  '--info').stderr
            guest.wait_more()
            guest.virsh('blockjob', 'sda', '--abort')
            assert source(guest, 'sda') == old
            (host.folder / 'data/copy').unlink()
        guest.virsh('blockcopy', 'sda', '--dest', host.folder / 'data/copy',
                    '--format', 'qcow2', '--transient-job', '--wait',
                    '--pivot')
        assert source(guest, 'sda').endswith('/copy')
        left = digest(old)
        guest.wait_more()
    assert digest(old) == left
    guest.check_adapter()
    guest.run('dd if=/dev/null of=%s '
              'conv=fsync,notrunc 2>/dev/null' % guest.disk(0))
    raw = host.folder / 'data/raw'
    qemu_img('convert', '-U', '-O', 'raw', source(guest, 'sda'), raw)
    assert guest_digest(guest, guest.disk(0), 16) == digest(raw, 16 * MIB)


def iothreads(guest):
    """{number: processors}"""
    return dict(line.split() for line in
                guest.virsh('iothreadinfo').stdout.splitlines())


def test_iothreads(guest):
    before = iothreads(guest)
    assert len(before) == THREADS[guest.kernel]
    with guest.busy(guest.disk(0), size='16m'):
        guest.virsh('iothreadadd', 7)
        guest.virsh('iothreadpin', 7, 0)
        guest.virsh('iothreadpin', 1, 0)
        assert iothreads(guest) == {**before, '1': '0', '7': '0'}
        assert 'is being used by controller' in guest.fails('iothreaddel', 1)
        guest.virsh('iothreaddel', 7)
        guest.wait_more()


def rates(guest):
    """Of the first disk, as domblkstat has them."""
    return {line.split()[1]: int(line.split()[2]) for line in
            guest.virsh('domblkstat', 'sda').stdout.splitlines()}


def test_statistics_and_limits(guest):
    with guest.busy(guest.disk(0), size='16m'):
        before = rates(guest)
        guest.wait_more()
        after = rates(guest)
        for name in 'wr_req', 'wr_bytes', 'rd_req', 'rd_bytes':
            assert after[name] > before[name]
        stats = dict(line.strip().split('=', 1) for line in guest.virsh(
            'domstats', '--block').stdout.splitlines() if '=' in line)
        assert stats['block.count'] == '4'
        assert stats['block.0.name'] == 'sda'
        assert int(stats['block.0.wr.reqs']) >= after['wr_req']
        guest.virsh('blkdeviotune', 'sda', '--total-iops-sec', 20, '--live')
        rates(guest)
        guest.run('sleep 1')
        start, before = time.monotonic(), rates(guest)
        guest.run('sleep 4')
        after, took = rates(guest), time.monotonic() - start
        done = sum(after[n] - before[n] for n in ('wr_req', 'rd_req'))
        assert 20 <= done <= 45 * took, (done, took)
        guest.virsh('blkdeviotune', 'sda', '--total-iops-sec', 0, '--live')
        guest.wait_more()
    guest.check_adapter()


def test_resize(guest):
    with guest.busy(guest.disk(0), size='16m'):
        guest.virsh('blockresize', 'sda', '96M')
        disk = guest.disk(0)
        guest.wait(lambda: int(guest.run(f'cat /sys/block/{disk[5:]}/size')) ==
                   96 * MIB // 512, 'the guest hears of it')
        run_fio(guest, {'new': {
            'filename': disk, 'rw': 'randwrite', 'bs': '16k',
            'offset': '88m', 'size': '8m', 'verify': 'crc32c'}}, 'new')
        assert 'Capacity:       100663296' in guest.virsh('domblkinfo',
                                                          'sda').stdout


def first_bytes(guest):
    return guest.shell.call('dd if=/dev/sr0 bs=2k count=1 2>/dev/null | '
                            'head -c 3')[1]


def test_media(guest):
    """Another CD, none, and one that the guest keeps until it lets go."""
    host = guest.host
    two = host.image('two', 2 * MIB)
    two.write_bytes(b'two' * (2 * MIB // 3))
    with guest.busy(guest.disk(0), size='16m'):
        guest.run('echo 0 >/proc/sys/dev/cdrom/autoclose; '
                  'echo 0 >/proc/sys/dev/cdrom/lock')
        assert first_bytes(guest) == 'one'
        guest.virsh('change-media', 'sdd', two, '--update', '--live')
        guest.wait(lambda: first_bytes(guest) == 'two', 'the other CD')
        guest.virsh('change-media', 'sdd', '--eject', '--live')
        guest.wait(lambda: first_bytes(guest) == '', 'no CD')
        guest.virsh('change-media', 'sdd', host.folder / 'data/cd',
                    '--insert', '--live')
        guest.wait(lambda: first_bytes(guest) == 'one', 'the first CD')
