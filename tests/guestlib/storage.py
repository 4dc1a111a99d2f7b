# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with disks on hv-scsi, and something that writes to them and reads
back what it wrote."""
import contextlib
import hashlib
import itertools
import json
import os
import re
import time

import pytest

from guestlib.deadline import SCALE, until

MIB = 1 << 20
OPTIONS = {'initramfs': 'initramfs-storage'}
# The long forms of the tests of storage.
FULL = {'short': False, 'full': True}[
    os.environ.get('KVM_VMBUS_STORAGE', 'short')]
# Kernels, the processors of their guests, and the adapter's IOThreads.
GUESTS = [('6.1', 4, 2), ('6.12', 2, 1)]
if FULL:
    GUESTS += [('6.1', 4, 0), ('6.12', 2, 0)]
GUEST_IDS = [f'{kernel}-{threads}' for kernel, _, threads in GUESTS]


def shared_guests(name):
    """Of a fixture that makes one guest for many tests: pytest-xdist leaves
    them together (--dist loadgroup)."""
    return [pytest.param(guest, id=ident,
                         marks=pytest.mark.xdist_group(f'{name}-{ident}'))
            for guest, ident in zip(GUESTS, GUEST_IDS)]


ADAPTER = ['-device', 'vmbus-bridge', '-device', 'hv-scsi,id=s0']


def adapter_on(threads, **options):
    """An adapter whose channels have as many IOThreads; 0: the main loop."""
    names = [f'io{i}' for i in range(threads)]
    words = {'driver': 'hv-scsi', 'id': 's0', **options}
    if threads == 1:
        words['iothread'] = names[0]
    elif threads:
        words['iothread-vq-mapping'] = [{'iothread': n} for n in names]
    objects = [word for n in names for word in ('-object', f'iothread,id={n}')]
    return ['-device', 'vmbus-bridge', *objects, '-device', json.dumps(words)]


SCSI_CLASS = 'ba6163d9-04a1-4d29-b605-72e2ffb1dc7f'

# Writes 1 MiB of noise to ever another place of a disk, and reads it again,
# in blocks of many sizes; /tmp/rounds has the number of rounds that were
# right.
LOAD = '''
disk=$1 name=$2 round=0
dd if=/dev/urandom of=/tmp/noise-$name bs=1M count=1 2>/dev/null
echo 0 >/tmp/rounds-$name
while [ -e /tmp/load-$name ]; do
    for block in 4 64 512; do
        count=$((1024 / block))
        at=$((round % 16 * count))
        dd if=/tmp/noise-$name of=$disk bs=${block}k count=$count seek=$at \
            oflag=direct conv=notrunc 2>/tmp/error-$name || exit 1
        dd if=$disk of=/tmp/back-$name bs=${block}k count=$count skip=$at \
            iflag=direct 2>/tmp/error-$name || exit 2
        cmp /tmp/noise-$name /tmp/back-$name || exit 3
        round=$((round + 1))
        echo $round >/tmp/rounds-$name
    done
done
echo well >/tmp/ended-$name
'''


def node(name, path, driver='raw', **more):
    """-blockdev of an image."""
    text = {'driver': driver, 'node-name': name,
            'file': {'driver': 'file', 'filename': str(path)}, **more}
    return ['-blockdev', json.dumps(text)]


def device(text):
    """-device in JSON: QEMU makes those after all others, and in their order;
    an adapter with a list of IOThreads can be told in no other way."""
    driver, *pairs = text.split(',')
    words = {'driver': driver}
    for pair in pairs:
        name, value = pair.split('=', 1)
        words[name] = int(value, 0) if re.fullmatch(
            r'(0x[0-9a-f]+|\d+)', value) else value
    return ['-device', json.dumps(words)]


def disk(name, path, options='', **more):
    """A disk on the adapter s0."""
    return [*node(name, path, **more),
            *device(f'scsi-hd,bus=s0.0,drive={name},id=disk-{name}{options}')]


def image(path, size=64 * MIB):
    with open(path, 'wb') as file:
        file.truncate(size)
    return path


def fio_options(memory=768):
    """Of a machine whose guest has fio."""
    return {'initramfs': 'initramfs-fio', 'memory': memory}


numbers = itertools.count()


def host_disks(guest):
    """Names of the guest's disks, such as "sda"."""
    return set(guest.run('cd /sys/block && ls -d sd* 2>/dev/null; true')
               .split())


def new_disk(guest, before):
    """The device, /dev/sdX, of the disk that the guest did not have before."""
    (name,) = until(lambda: host_disks(guest) - before, 'a new disk')
    path = f'/dev/{name}'
    until(lambda: guest.shell.call(f'[ -b {path} ]')[0] == 0, path)
    return path


def add_node(guest, path, name, top=None, **options):
    """A node of a raw image; top: of a filter on it."""
    node_of = {'driver': 'raw', 'file': {
        'driver': 'file', 'filename': str(path)}, **options}
    if top:
        under = 'image' if top['driver'] == 'blkdebug' else 'file'
        node_of = {**top, under: node_of}
    guest.qmp.execute('blockdev-add', {'node-name': name, **node_of})


def unplug(guest, ident, timeout=60 * SCALE):
    start = len(guest.qmp.events)
    guest.qmp.execute('device_del', {'id': ident})
    guest.qmp.wait_event('DEVICE_DELETED', timeout, start, device=ident)


@contextlib.contextmanager
def plugged(guest, path, top=None, node=None, **options):
    """Its device in the guest, /dev/sdX; it goes with the block.  options are
    the disk's properties, node the node's."""
    name = f'hot{next(numbers)}'
    add_node(guest, path, name, top, **(node or {}))
    before = host_disks(guest)
    guest.qmp.execute('device_add', {
        'driver': 'scsi-hd', 'bus': 's0.0', 'drive': name, 'id': f'd-{name}',
        **options})
    disk_path = new_disk(guest, before)
    yield disk_path
    unplug(guest, f'd-{name}')
    until(lambda: os.path.basename(disk_path) not in host_disks(guest),
          f'the guest lets {disk_path} go')
    guest.qmp.execute('blockdev-del', {'node-name': name})


class Throttle:
    """A limit that plugged(top=throttle.node) puts a disk behind, with the
    block; limits are those of QEMU's throttle-group."""

    node = {'driver': 'throttle', 'throttle-group': 'slow'}

    def __init__(self, guest, **limits):
        self.qmp = guest.qmp
        self.limits = limits

    def __enter__(self):
        self.qmp.execute('object-add', {
            'qom-type': 'throttle-group', 'id': 'slow', 'limits': self.limits})
        return self

    def __exit__(self, kind, *rest):
        if kind is None:
            self.qmp.execute('object-del', {'id': 'slow'})

    def set(self, **limits):
        self.qmp.execute('qom-set', {'path': '/objects/slow',
                                     'property': 'limits', 'value': limits})


def digest(path, size=None):
    """Of the first bytes of a file."""
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read(size)).hexdigest()


def guest_digest(guest, disk_path, mib, timeout=120 * SCALE):
    """The same in a guest, not from its cache."""
    return guest.run(f'dd if={disk_path} bs=1M count={mib} iflag=direct '
                     '2>/dev/null | sha256sum', timeout).split()[0]


def units(guest):
    """{H:C:T:L: {attribute: text}} of the guest's SCSI devices."""
    output = guest.run(
        'cd /sys/class/scsi_device 2>/dev/null && for d in *; do '
        '[ -e $d/device ] || continue; '
        'for a in vendor model rev type; do '
        'echo "$d|$a|$(cat $d/device/$a)"; done; '
        'echo "$d|block|$(ls $d/device/block 2>/dev/null)"; done; true')
    found = {}
    for line in output.splitlines():
        if line.count('|') == 2:  # one may go while we look
            name, attribute, value = line.split('|')
            found.setdefault(name, {})[attribute] = value.strip()
    return found


def wait_units(guest, names, timeout=60 * SCALE):
    """Until the guest has these units, without the number of the host."""
    def complete():
        found = units(guest)
        have[:] = sorted(name.split(':', 1)[1] for name in found)
        # sysfs has a disk before /dev has it.
        blocks = [unit.get('block') for unit in found.values()]
        return have == sorted(names) and all(blocks) and guest.shell.call(
            f'for b in {" ".join(blocks)}; do [ -b /dev/$b ] || exit 1; '
            'done')[0] == 0

    have = []
    until(complete, lambda: f'the guest has {names}: {have}', timeout)


def adapter(guest):
    return guest.device('hv-scsi')['storage']


def check_end(guest):
    """Nothing was refused, lost or left behind."""
    storage = until(lambda: (now := adapter(guest))['in-flight'] == 0 and now,
                    lambda: adapter(guest))
    assert storage['state'] == 'ready'
    assert storage['refused'] == 0, storage
    assert storage['requests'] == storage['completed']
    for channel in guest.device('hv-scsi')['channels']:
        assert channel['corruptions'] == 0
    assert guest.query_vmbus()['messages-refused'] == 0


class Load:
    """LOAD in a guest."""

    def __init__(self, guest, path='/dev/sda', name='a'):
        self.guest, self.name = guest, name
        guest.run(f"cat >/tmp/load.sh <<'END'\n{LOAD}\nEND")
        guest.run(f'rm -f /tmp/ended-{name}; touch /tmp/load-{name}; '
                  f'(sh /tmp/load.sh {path} {name} '
                  f'>/tmp/output-{name} 2>&1; '
                  f'echo $? >>/tmp/ended-{name}) >/dev/null 2>&1 &')

    def rounds(self):
        text = self.guest.run(f'cat /tmp/rounds-{self.name} 2>/dev/null; true')
        return int(text or 0)

    def wait_rounds(self, more, timeout=120 * SCALE):
        """Until it has done that many rounds more."""
        begin = self.rounds()
        until(lambda: self.rounds() >= begin + more,
              lambda: self.guest.shell.call(f'cat /tmp/ended-{self.name}')[1],
              timeout, pause=0.2)

    def end(self, timeout=120 * SCALE):
        """Ends it; all was right."""
        name = self.name
        self.guest.run(f'rm /tmp/load-{name}')
        deadline = time.monotonic() + timeout
        while True:
            code, text = self.guest.shell.call(f'cat /tmp/ended-{name}')
            if code == 0 and text.split()[-1:] == ['0']:
                return
            assert code != 0 or len(text.split()) < 1 or \
                text.split()[0] == 'well', self.guest.run(
                    f'cat /tmp/ended-{name} /tmp/output-{name} '
                    f'/tmp/error-{name}')
            assert time.monotonic() < deadline, 'the load does not end'
            time.sleep(0.2)
