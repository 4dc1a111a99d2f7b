# SPDX-License-Identifier: GPL-2.0-or-later
"""Many disks and many channels.

KVM_VMBUS_STORAGE=full has 16 channels, which takes 16 processors, and asks
both kernels for all.
"""
import json

import pytest

from guestlib.fio import VERIFY, run_fio
from guestlib.machine import SCALE
from guestlib.storage import (FULL, MIB, adapter_on, check_end, device, digest,
                              disk, fio_options, guest_digest, image, units,
                              wait_units)

KERNELS = ['6.1', '6.12'] if FULL else ['6.12']


@pytest.mark.parametrize('kernel', KERNELS)
def test_many_disks(machine, kernel):
    """256 of them: all that one target has, and one on the other target."""
    extra, places = [], []
    for number in range(256):
        target, lun = divmod(number, 255)
        places.append(f'0:{target}:{lun}')
        extra += ['-blockdev', json.dumps({
            'driver': 'null-co', 'node-name': f'd{number}',
            'size': MIB * (1 + number), 'read-zeroes': True}),
            *device(f'scsi-hd,bus=s0.0,drive=d{number},scsi-id={target},'
                    f'lun={lun},serial=SN{number:04}')]
    guest = machine(kernel=kernel, cpus=2, devices=adapter_on(1), extra=extra,
                    **fio_options()).boot()
    wait_units(guest, places, 240 * SCALE)
    found = units(guest)
    assert len({unit['block'] for unit in found.values()}) == 256
    # Each is the one that belongs there.
    text = guest.run('cd /sys/class/scsi_device && for d in *; do echo $d '
                     '$(cat $d/device/block/*/size) '
                     '$(strings $d/device/vpd_pg80); done', 120 * SCALE)
    for line in text.splitlines():
        name, size, serial = line.split()
        _, _, target, lun = map(int, name.split(':'))
        number = target * 255 + lun
        assert (int(size), serial) == (
            (1 + number) * MIB // 512, f'SN{number:04}')
    assert len(text.splitlines()) == 256
    # All at once.
    guest.run('for d in /dev/sd*; do dd if=$d of=/dev/null bs=64k count=4 '
              'iflag=direct 2>/dev/null & done; wait', 240 * SCALE)
    check_end(guest)


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('cpus,queues,expected', [(8, 16, 8), (4, 3, 3)] + (
    [(2, 1, 1), (16, 16, 16)] if FULL else []))
def test_channels(machine, folder, kernel, cpus, queues, expected):
    """Linux opens a channel for each processor, up to what there is; and each
    processor's work goes through one of them."""
    path = image(folder / 'd0')
    guest = machine(
        kernel=kernel, cpus=cpus, extra=disk('d0', path),
        devices=adapter_on(min(queues, 2), **{'num-queues': queues}),
        **fio_options(1024)).boot()
    wait_units(guest, ['0:0:0'])
    channels = guest.device('hv-scsi')['channels']
    assert len(channels) == expected
    assert {c['state'] for c in channels} == {'open'}
    before = [c['in']['packets'] for c in channels]
    run_fio(guest, {f'job{cpu}': {
        'filename': '/dev/sda', 'rw': 'randwrite', 'bs': '16k', 'iodepth': 8,
        'offset': f'{cpu * 2}m', 'size': '2m', 'cpus_allowed': cpu, **VERIFY}
        for cpu in range(cpus)}, timeout=600 * SCALE)
    channels = guest.device('hv-scsi')['channels']
    for old, channel in zip(before, channels):
        assert channel['in']['packets'] > old, channels
    check_end(guest)
    assert guest_digest(guest, '/dev/sda', 2 * cpus) == \
        digest(path, 2 * cpus * MIB)
