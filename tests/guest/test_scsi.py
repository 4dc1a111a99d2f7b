# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks on hv-scsi under Linux's own storvsc."""
import os
import subprocess
import uuid

import pytest

from guestlib.deadline import SCALE, until
from guestlib.qmp import QmpError
from guestlib.storage import (ADAPTER, MIB, OPTIONS, SCSI_CLASS, Load, adapter,
                              adapter_on, check_end, device, digest, disk,
                              guest_digest, image, node, units, unplug,
                              wait_units)
from guestlib.vmbus import sysfs_devices

# Kernels, the processors of their guests, and the adapter's IOThreads.
BOTH = pytest.mark.parametrize('kernel,cpus,threads',
                               [('6.1', 4, 0), ('6.1', 4, 2), ('6.12', 2, 1)])


def iothread_ticks(guest):
    """What each IOThread of the machine has used of a processor."""
    ticks = []
    for thread in guest.qmp.execute('query-iothreads'):
        with open(f'/proc/{guest.process.pid}/task/{thread["thread-id"]}/stat',
                  encoding='ascii') as file:
            fields = file.read().rpartition(')')[2].split()
        ticks.append(int(fields[11]) + int(fields[12]))
    return ticks


@BOTH
def test_disk(machine, folder, kernel, cpus, threads):
    """A disk with all of its properties; what is written is there."""
    path = image(folder / 'disk', 64 * MIB)
    noise = os.urandom(8 * MIB)
    with open(path, 'r+b') as file:
        file.write(noise)
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    **OPTIONS, extra=disk('d0', path, ',serial=SN42,product=ADISK,'
                               'ver=1.5,wwn=0x5000c50015ea71ac,'
                               'rotation_rate=1')).boot()
    wait_units(guest, ['0:0:0'])
    (unit,) = units(guest).values()
    assert unit == {'vendor': 'QEMU', 'model': 'ADISK', 'rev': '1.5',
                    'type': '0', 'block': 'sda'}
    block = '/sys/block/sda'
    assert guest.run(f'cat {block}/size').strip() == str(64 * MIB // 512)
    assert guest.run(f'cat {block}/queue/rotational').strip() == '0'
    assert guest.run(f'cat {block}/queue/max_hw_sectors_kb').strip() == '512'
    assert 'SN42' in guest.run(f'strings {block}/device/vpd_pg80')
    assert guest.run(f'cat {block}/device/wwid').strip() == \
        'naa.5000c50015ea71ac'
    (device,) = sysfs_devices(guest.run).values()
    assert device['class_id'] == SCSI_CLASS
    assert device['driver'] == 'hv_storvsc'
    assert guest.device('hv-scsi')['storage']['version'] == '6.2'
    channels = guest.device('hv-scsi')['channels']
    assert len(channels) == cpus
    assert {c['state'] for c in channels} == {'open'}

    assert guest_digest(guest, '/dev/sda', 8) == digest(path, 8 * MIB)
    # Sizes from a sector to more than a request can have.
    at = 8
    for block in '512', '4k', '64k', '128k', '1M', '4M':
        guest.run(f'dd if=/dev/urandom of=/tmp/x bs=4M count=1; '
                  f'dd if=/tmp/x of=/dev/sda bs={block} oflag=direct '
                  f'seek={at * MIB} oflag=seek_bytes conv=notrunc',
                  120 * SCALE)
        guest.run(f'dd if=/dev/sda of=/tmp/y bs={block} iflag=direct '
                  f'iflag=skip_bytes,count_bytes skip={at * MIB} '
                  f'count={4 * MIB} && cmp /tmp/x /tmp/y', 120 * SCALE)
        at += 4
    assert guest_digest(guest, '/dev/sda', at) == digest(path, at * MIB)
    # Each processor has a channel of its own.
    for cpu in range(cpus):
        guest.run(f'taskset {1 << cpu:x} dd if=/dev/sda of=/dev/null bs=4k '
                  'count=512 iflag=direct')
    assert len(iothread_ticks(guest)) == threads
    assert all(iothread_ticks(guest)), 'an IOThread had nothing to do'
    check_end(guest)


@BOTH
def test_file_system(machine, folder, kernel, cpus, threads):
    path = image(folder / 'disk', 128 * MIB)
    subprocess.run(['mke2fs', '-q', '-t', 'ext4', path], check=True,
                   env={'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    **OPTIONS, extra=disk('d0', path, ',discard_granularity=4096',
                               discard='unmap')).boot()
    wait_units(guest, ['0:0:0'])
    guest.run('mkdir -p /mnt && mount -t ext4 -o discard /dev/sda /mnt')
    guest.run('for i in 1 2 3 4; do (dd if=/dev/urandom of=/mnt/$i bs=64k '
              'count=200 conv=fsync 2>/dev/null) & done; wait; '
              'cd /mnt && sha256sum 1 2 3 4 >sums; sync; '
              'echo 3 >/proc/sys/vm/drop_caches; sha256sum -c sums',
              180 * SCALE)
    before = os.stat(path).st_blocks
    guest.run('rm /mnt/1 /mnt/2 /mnt/3; sync; fstrim /mnt; umount /mnt',
              120 * SCALE)
    # What was discarded has gone from the image.
    assert os.stat(path).st_blocks < before - 3 * 12 * 2048 // 2
    check_end(guest)
    guest.quit()
    checked = subprocess.run(['e2fsck', '-fn', path], text=True,
                             capture_output=True, env={
                                 'PATH': os.environ['PATH'] +
                                 ':/usr/sbin:/sbin'})
    assert checked.returncode == 0, checked.stdout


def test_addresses(machine, folder):
    """Units where Linux looks for them, the last ones too; without an
    address, one after the other on the first target."""
    extra = []
    for name, place in (('a', ''), ('b', ''), ('c', ',scsi-id=0,lun=9'),
                        ('d', ',scsi-id=1,lun=0'),
                        ('e', ',scsi-id=1,lun=254')):
        extra += disk(name, image(folder / name, MIB), place)
    guest = machine(devices=ADAPTER, **OPTIONS, extra=extra).boot()
    wait_units(guest, ['0:0:0', '0:0:1', '0:0:9', '0:1:0', '0:1:254'])
    check_end(guest)
    for place, words in ((',scsi-id=2,lun=0', 'bad scsi device id'),
                         (',scsi-id=0,lun=255', 'bad scsi device lun'),
                         (',channel=1', 'bad scsi channel')):
        other = machine(devices=ADAPTER, **OPTIONS,
                        extra=disk('x', folder / 'a', place))
        with pytest.raises(Exception, match=words):
            other.start()


def test_instance_ids(machine):
    """Each adapter has an id of its own, which is the same in each start."""
    adapters = ['-device', 'vmbus-bridge', '-device', 'hv-scsi,id=one',
                '-device', 'hv-scsi,id=two', '-device', 'hv-scsi', '-device',
                'hv-scsi,instanceid=12345678-1234-1234-1234-123456789abc']
    found = []
    for _ in range(2):
        guest = machine(devices=adapters, extra=['-S']).start()
        found.append([d['instance-id']
                      for d in guest.query_vmbus()['devices']])
        guest.quit()
    assert found[0] == found[1]
    assert len(set(found[0])) == 4
    assert found[0][3] == '12345678-1234-1234-1234-123456789abc'
    # So that it never changes: version 5 of RFC 4122.
    assert found[0][0] == str(uuid.uuid5(uuid.UUID(SCSI_CLASS), 'one'))


@BOTH
def test_fibre_channel(machine, folder, kernel, cpus, threads):
    """The guest takes the adapter for a port of fibre channel."""
    path = image(folder / 'd0', 8 * MIB)
    path.write_bytes(os.urandom(8 * MIB))
    words = [word.replace('hv-scsi', 'hv-fc') for word in adapter_on(threads)]
    words[-1] = words[-1].replace('"hv-fc"', '"hv-fc", "wwpn": '
                                  '5764824127192592385, "wwnn": '
                                  '5764824127192592386')
    words[-1] = words[-1].replace('hv-fc,', 'hv-fc,wwpn=0x5000c50015ea7001,'
                                  'wwnn=0x5000c50015ea7002,')
    guest = machine(kernel=kernel, cpus=cpus, devices=words, **OPTIONS,
                    extra=disk('d0', path)).boot()
    wait_units(guest, ['0:0:0'])
    host = '/sys/class/fc_host/host*'
    assert guest.run(f'cat {host}/port_name').strip() == '0x5000c50015ea7001'
    assert guest.run(f'cat {host}/node_name').strip() == '0x5000c50015ea7002'
    assert guest_digest(guest, '/dev/sda', 8) == digest(path)
    (device,) = sysfs_devices(guest.run).values()
    assert device['class_id'] == '2f9bcc4a-0069-4af3-b76b-6fd0be528cda'


@pytest.mark.parametrize('options', ['', ',wwpn=1', ',wwnn=1'])
def test_fibre_channel_needs_names(machine, options):
    guest = machine(devices=['-device', 'vmbus-bridge', '-device',
                             f'hv-fc{options}'])
    with pytest.raises(Exception, match='give wwpn and wwnn'):
        guest.start()


@pytest.mark.parametrize('options,words', [
    ('num-queues=65', 'num-queues is at most 64'),
    ('max-transfer=1000', 'max-transfer is a multiple of 4096'),
    ('max-transfer=16777216', 'max-transfer is a multiple of 4096'),
])
def test_bad_options(machine, options, words):
    guest = machine(devices=['-device', 'vmbus-bridge', '-device',
                             f'hv-scsi,{options}'])
    with pytest.raises(Exception, match=words):
        guest.start()


@BOTH
def test_cd(machine, folder, kernel, cpus, threads):
    paths = [image(folder / name, 2 * MIB) for name in ('one', 'two')]
    for path in paths:
        path.write_bytes(os.urandom(2 * MIB))
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    **OPTIONS, extra=[*node('cd0', paths[0], **{'read-only': True}),
                           *device('scsi-cd,bus=s0.0,drive=cd0,id=cd')])
    guest.boot()
    wait_units(guest, ['0:0:0'])
    assert [u['type'] for u in units(guest).values()] == ['5']
    read = 'dd if=/dev/sr0 bs=64k 2>/dev/null | sha256sum'
    assert guest.run(read).split()[0] == digest(paths[0])
    # Another medium.
    guest.qmp.execute('blockdev-add', {
        'driver': 'raw', 'node-name': 'cd1', 'read-only': True,
        'file': {'driver': 'file', 'filename': str(paths[1])}})
    guest.qmp.execute('blockdev-open-tray', {'id': 'cd', 'force': True})
    guest.qmp.execute('blockdev-remove-medium', {'id': 'cd'})
    guest.qmp.execute('blockdev-insert-medium', {'id': 'cd',
                                                 'node-name': 'cd1'})
    guest.qmp.execute('blockdev-close-tray', {'id': 'cd'})
    guest.run('for i in $(seq 50); do dd if=/dev/sr0 bs=64k count=1 '
              'of=/dev/null && exit 0; sleep 0.2; done; exit 1')
    assert guest.run(read).split()[0] == digest(paths[1])
    check_end(guest)


@BOTH
def test_plug_disks(machine, folder, kernel, cpus, threads):
    """Disks come and go while another one is at work."""
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    **OPTIONS, extra=disk('d0', image(folder / 'd0'))).boot()
    wait_units(guest, ['0:0:0'])
    load = Load(guest)
    for number in range(1, 4):
        path = image(folder / f'd{number}', 8 * MIB)
        path.write_bytes(os.urandom(8 * MIB))
        guest.qmp.execute('blockdev-add', {
            'driver': 'raw', 'node-name': f'd{number}',
            'file': {'driver': 'file', 'filename': str(path)}})
        guest.qmp.execute('device_add', {
            'driver': 'scsi-hd', 'bus': 's0.0', 'drive': f'd{number}',
            'id': f'disk-d{number}'})
        wait_units(guest, ['0:0:0', '0:0:1'])
        (name,) = [u['block'] for u in units(guest).values()
                   if u['block'] != 'sda']
        assert guest_digest(guest, f'/dev/{name}', 8) == digest(path)
        unplug(guest, f'disk-d{number}')
        wait_units(guest, ['0:0:0'])
        guest.qmp.execute('blockdev-del', {'node-name': f'd{number}'})
    load.wait_rounds(2)
    load.end()
    assert adapter(guest)['enumerations'] >= 6
    check_end(guest)


@BOTH
def test_plug_adapter(machine, folder, kernel, cpus, threads):
    """An adapter comes with a disk, and goes: first after its disk, at whose
    cache Linux is perhaps still at work, then with it."""
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    **OPTIONS, extra=disk('d0', image(folder / 'd0')) +
                    node('d1', image(folder / 'd1'))).boot()
    wait_units(guest, ['0:0:0'])
    load = Load(guest)
    for with_disk in False, True:
        guest.qmp.execute('device_add', {'driver': 'hv-scsi', 'id': 's1'})
        guest.qmp.execute('device_add', {'driver': 'scsi-hd', 'bus': 's1.0',
                                         'drive': 'd1', 'id': 'disk-d1'})
        wait_units(guest, ['0:0:0', '0:0:0'])
        (name,) = [u['block'] for u in units(guest).values()
                   if u['block'] != 'sda']
        second = Load(guest, f'/dev/{name}', 'b')
        second.wait_rounds(1)
        second.end()
        if not with_disk:
            unplug(guest, 'disk-d1')
        unplug(guest, 's1', 120 * SCALE)
        wait_units(guest, ['0:0:0'])
    guest.qmp.execute('blockdev-del', {'node-name': 'd1'})
    load.wait_rounds(2)
    load.end()
    check_end(guest)


@pytest.mark.parametrize('first', ['disk-d0', 's0'])
def test_unplug_under_load(machine, folder, first):
    """The disk that is at work goes, and then the adapter; or all at once."""
    guest = machine(cpus=2, devices=adapter_on(1), **OPTIONS,
                    extra=disk('d0', image(folder / 'd0'))).boot()
    wait_units(guest, ['0:0:0'])
    load = Load(guest)
    load.wait_rounds(1)
    if first != 's0':
        unplug(guest, first)
        wait_units(guest, [])
    unplug(guest, 's0', 120 * SCALE)
    assert guest.query_vmbus()['devices'] == []
    wait_units(guest, [])
    # No thread of the guest waits for what is gone; some always wait for a
    # moment.
    until(lambda: 'D' not in guest.run(
        'cat /proc/[0-9]*/stat | sed "s/.*) //" | cut -c1').split(),
        'nobody waits')


def test_unplug_without_driver(machine, folder):
    """Nobody has opened the adapter: it goes at once.  One that a guest does
    not let go of can be taken."""
    guest = machine(devices=ADAPTER, extra=disk('d0', image(folder / 'd0')),
                    **OPTIONS).start()
    unplug(guest, 's0')


def withdraw(guest, ident):
    """Whether the guest lets go of it or not."""
    start = len(guest.qmp.events)
    guest.qmp.execute('device_del', {'id': ident})
    try:
        guest.qmp.execute('vmbus-device-withdraw', {'id': ident})
    except QmpError as error:
        # It was quick.
        assert error.kind == 'DeviceNotFound'
    guest.qmp.wait_event('DEVICE_DELETED', start=start, device=ident)


def test_withdraw_adapter(machine, folder):
    guest = machine(devices=adapter_on(1), **OPTIONS,
                    extra=disk('d0', image(folder / 'd0'))).boot()
    wait_units(guest, ['0:0:0'])
    load = Load(guest)
    load.wait_rounds(1)
    withdraw(guest, 's0')
    guest.qmp.execute('blockdev-del', {'node-name': 'd0'})
    guest.run('true')


@BOTH
def test_reboot_and_reset(machine, folder, kernel, cpus, threads):
    """The guest starts anew while it writes; in each start its driver finds
    the adapter as if nothing had been."""
    guest = machine(kernel=kernel, cpus=cpus, devices=adapter_on(threads),
                    **OPTIONS, extra=['-action', 'panic=none'] +
                    disk('d0', image(folder / 'd0'))).boot()
    for how in 'reboot', 'system_reset', 'panic':
        wait_units(guest, ['0:0:0'])
        load = Load(guest)
        load.wait_rounds(1)
        mark = guest.console.mark()
        if how == 'system_reset':
            guest.qmp.execute('system_reset')
        elif how == 'reboot':
            guest.shell.send('/sbin/reboot')
        else:
            guest.shell.send('echo 1 >/proc/sys/kernel/panic; '
                             'echo c >/proc/sysrq-trigger')
        guest.wait_booted(mark)
    wait_units(guest, ['0:0:0'])
    load = Load(guest)
    load.wait_rounds(2)
    load.end()
    check_end(guest)


def test_lives_end_cleanly(machine, folder):
    """The same on a QEMU that finds what is used after it was freed: disks, the
    guest and the adapter end while IOThreads are at work for them."""
    guest = machine(cpus=4, devices=adapter_on(2), asan=True, **OPTIONS,
                    extra=disk('d0', image(folder / 'd0')) +
                    disk('d1', image(folder / 'd1'))).boot()
    wait_units(guest, ['0:0:0', '0:0:1'])
    Load(guest).wait_rounds(1)
    Load(guest, '/dev/sdb', 'b').wait_rounds(1)
    unplug(guest, 'disk-d1')
    mark = guest.console.mark()
    guest.qmp.execute('system_reset')
    guest.wait_booted(mark)
    wait_units(guest, ['0:0:0'])
    Load(guest).wait_rounds(1)
    withdraw(guest, 's0')
    guest.quit()


def test_errors(machine, folder):
    """A bad sector is an error of that sector alone."""
    path = image(folder / 'd0', 16 * MIB)
    bad = {'driver': 'blkdebug', 'node-name': 'bad',
           'inject-error': [{'event': 'none', 'iotype': 'read', 'errno': 5,
                             'sector': 8192}],
           'image': {'driver': 'file', 'filename': str(path)}}
    guest = machine(devices=ADAPTER, **OPTIONS, extra=[
        '-blockdev', str(bad).replace("'", '"'), '-device',
        'scsi-hd,bus=s0.0,drive=bad,rerror=report']).boot()
    wait_units(guest, ['0:0:0'])
    guest.run('dd if=/dev/sda of=/dev/null bs=4k count=1024 iflag=direct')
    code, text = guest.shell.call('dd if=/dev/sda of=/dev/null bs=4k '
                                  'skip=1024 count=1 iflag=direct')
    assert code != 0 and 'Input/output error' in text
    guest.run('dd if=/dev/sda of=/dev/null bs=4k skip=1025 count=100 '
              'iflag=direct')
    # The sense of the device has come through.
    assert 'Add. Sense: I/O process terminated' in guest.run('dmesg')
    check_end(guest)


def test_resize(machine, folder):
    """A disk grows while it is in use, and the guest hears of it."""
    guest = machine(devices=ADAPTER, **OPTIONS,
                    extra=disk('d0', image(folder / 'd0', 16 * MIB))).boot()
    wait_units(guest, ['0:0:0'])
    guest.qmp.execute('block_resize', {'node-name': 'd0', 'size': 32 * MIB})
    guest.run('for i in $(seq 100); do '
              f'[ $(cat /sys/block/sda/size) = {32 * MIB // 512} ] && exit 0; '
              'sleep 0.2; done; exit 1')
    guest.run('dd if=/dev/urandom of=/dev/sda bs=1M seek=31 count=1 '
              'oflag=direct')
    check_end(guest)


def test_write_protected(machine, folder):
    guest = machine(devices=ADAPTER, **OPTIONS, extra=disk(
        'd0', image(folder / 'd0', MIB), **{'read-only': True})).boot()
    wait_units(guest, ['0:0:0'])
    assert guest.run('cat /sys/block/sda/ro').strip() == '1'
    assert guest.shell.call(
        'dd if=/dev/zero of=/dev/sda bs=4k count=1')[0] != 0


def test_plug_refusals(machine, folder):
    guest = machine(devices=ADAPTER, extra=['-S'] + node(
        'd0', image(folder / 'd0', MIB)), **OPTIONS).start()
    with pytest.raises(QmpError, match='bad scsi device lun'):
        guest.qmp.execute('device_add', {
            'driver': 'scsi-hd', 'bus': 's0.0', 'drive': 'd0', 'lun': 255,
            'scsi-id': 0})
    with pytest.raises(QmpError, match='num-queues'):
        guest.qmp.execute('device_add', {'driver': 'hv-scsi',
                                         'num-queues': 100})
    assert len(guest.query_vmbus()['devices']) == 1
