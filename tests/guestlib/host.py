# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts with a libvirt daemon each, and a guest that lives on one of them."""
import contextlib
import os
import subprocess
import uuid

from guestlib import daemons, devices
from guestlib.deadline import SCALE
from guestlib.domain import Domain
from guestlib.fio import Fio, load_job
from guestlib.libvirt import Session, domain
from guestlib.machine import Console
from guestlib.paths import program
from guestlib.storage import MIB, host_disks, new_disk

# Processors and IOThreads as in the tests of disks without libvirt.
THREADS = {'6.1': 2, '6.12': 1}


class Host(Session):
    """A daemon that takes itself for one on a machine of its own."""

    def prepare(self):
        environment = super().prepare()
        self.uuid = str(uuid.uuid4())
        self.file('cfg/libvirt/virtqemud.conf',
                  f'host_uuid = "{self.uuid}"\n')
        return environment

    @property
    def uri(self):
        """As the daemon of another host knows it."""
        return ('qemu+unix:///session?socket='
                f'{self.folder}/run/libvirt/virtqemud-sock')

    def image(self, name, size=64 * MIB, kind='raw'):
        """A new image, empty."""
        path = self.folder / f'data/{name}'
        subprocess.run([program('qemu-img'), 'create', '-q', '-f', kind, path,
                        str(size)], check=True)
        return self.keep(path)


def with_iothreads(kernel):
    """<iothreads> and the controller that uses them."""
    count = THREADS[kernel]
    if count == 1:
        driver = "<driver iothread='1'/>"
    else:
        entries = ''.join(f"<iothread id='{number + 1}'/>"
                          for number in range(count))
        driver = f'<driver><iothreads>{entries}</iothreads></driver>'
    return f'<iothreads>{count}</iothreads>', devices.controller(0, driver)


# A file system on a disk, that it can be frozen, and what writes to it.
START = '''
set -e
mkdir -p /data
mount -t ext4 {} /data
write-sequence /data/log >/tmp/writer.log 2>&1 &
''' + daemons.VSS


class Guest(Domain):
    """A domain that runs on a host, and may go to another one.

    devices is what it has beside the bus, the controller, its console and its
    shell.  self.host is where it is now.
    """

    def __init__(self, host, kernel, devices, name='guest'):
        super().__init__(host, name)
        self.kernel, self.devices = kernel, devices

    @property
    def host(self):
        return self.session

    def xml(self, host):
        """Its definition for a host: each has sockets of its own."""
        top, controller = with_iothreads(self.kernel)
        serial = devices.serial(self.path(host, 'console'),
                                self.path(host, 'shell'))
        return domain('<vmbus/>' + controller + self.devices + serial,
                      name=self.name, kernel=self.kernel, top=top,
                      initramfs='initramfs-domain')

    def path(self, host, what):
        return host.folder / f'run/{what}-{self.name}'

    def boot(self):
        self.host.define(self.xml(self.host))
        self.virsh('start')
        self.connect()
        self.wait_booted()
        return self

    def boot_with_writer(self):
        """The same; unit 1 has a file system."""
        self.boot()
        self.run(START.format(self.disk(1)))
        self.wait_healthy()
        return self

    def connect(self):
        """To the console and the shell of its host, where it runs since a
        moment ago."""
        self.console = Console(self.path(self.host, 'console'),
                               lambda: self.state() == 'running')
        self.shell_path = self.path(self.host, 'shell')
        super().connect()

    # libvirt.

    @contextlib.contextmanager
    def events(self):
        """A virsh that tells of libvirt's events."""
        with self.host.watch('event', self.name, '--all', '--loop',
                             '--timeout', '3600') as watch:
            watch.hear(lambda: self.virsh('desc', '--live', '--new-desc',
                                          'heard'), 'metadata-change')
            yield watch

    @contextlib.contextmanager
    def vmbus_events(self):
        """A virsh that tells of QEMU's events of the bus."""
        with self.host.watch('qemu-monitor-event', self.name, '--event',
                             '^VMBUS_', '--regex', '--loop', '--timeout',
                             '3600') as watch:
            self.hear_vmbus(watch)
            yield watch

    def targets(self, *options):
        """The names that libvirt has for its disks."""
        return [t.get('dev') for t in
                self.root(*options).findall('./devices/disk/target')]

    def aliases(self):
        # Of what is not there, libvirt does not keep it.
        return sorted(device.find('alias').get('name') for device in
                      self.root().find('devices')
                      if device.find('alias') is not None and
                      device.get('model') != 'none')

    def instance_ids(self, *options):
        """{kind and number: instance id} of its XML."""
        return {f"{device.get('type')}{device.get('index')}":
                address.get('instanceid')
                for device in self.root(*options).find('devices')
                if (address := device.find("address[@type='vmbus']"))
                is not None}

    def device(self, driver, ident=None):
        for device in self.query_vmbus()['devices']:
            if device['driver'] == driver and ident in (None, device['id']):
                return device
        raise AssertionError(f'query-vmbus knows no {driver} {ident}')

    def has_device(self, ident):
        return any(d['id'] == ident for d in self.query_vmbus()['devices'])

    # The guest.

    def offered(self):
        """The instance ids of the devices that the guest has on VMBus."""
        return sorted(self.run('ls /sys/bus/vmbus/devices').split())

    def disk(self, unit):
        """The device of a unit of its first controller.  Linux gives names
        in any order."""
        find = f'ls /sys/bus/scsi/devices/[0-9]*:0:0:{unit}/block'
        self.wait(lambda: self.shell.call(find)[0] == 0, f'unit {unit}')
        path = f'/dev/{self.run(find).strip()}'
        self.wait(lambda: self.shell.call(f'[ -b {path} ]')[0] == 0, path)
        return path

    def wait_disk(self, before):
        """The device of the disk that the guest did not have before."""
        return new_disk(self, before)

    def wait_gone(self, path):
        self.wait(lambda: os.path.basename(path) not in host_disks(self),
                  f'{path} gone')

    def wait_healthy(self):
        """The heartbeat, the agent's channel and the agent itself."""
        self.wait(lambda: self.device('hv-heartbeat')['heartbeat']['state'] ==
                  'ok', 'heartbeat')
        self.wait_agent()
        self.virsh('qemu-agent-command', '{"execute":"guest-ping"}')

    def life(self):
        """What stays the same for as long as the guest lives."""
        return (self.run('cat /proc/sys/kernel/random/boot_id'),
                self.offered(), self.instance_ids(), self.aliases(),
                host_disks(self))

    def move(self, to, *options, xml=None):
        """To another host, where it has other sockets and the same disks."""
        begin = self.migration(to, *options, xml=xml)
        self.virsh(*begin)
        self.session = to
        self.connect()

    def migration(self, to, *options, xml=None):
        """virsh's arguments for it."""
        path = to.file('target.xml', xml or self.target_xml(to))
        # libvirt cannot know that both hosts have the disk.
        return ['migrate', to.uri, '--live', '--unsafe', '--xml', path,
                *options]

    def target_xml(self, to):
        text = self.virsh('dumpxml', '--migratable').stdout
        return text.replace(f'{self.host.folder}/run/', f'{to.folder}/run/')

    # What writes to its file system.

    def check_frozen(self):
        """The writer stands still."""
        info = self.qmp('query-vmbus-vss')
        assert self.stands_still(), (
            self.records(), info, self.qmp('query-vmbus-vss'),
            self.run('cat /tmp/vss.log /proc/mounts; dmesg | tail -n 20; '
                     'ps | grep -v "]$"; '
                     'cat /proc/$(pidof write-sequence)/stack'))

    # Its disks.

    def wait_unplugged(self, target):
        self.wait(lambda: target not in self.targets(),
                  f'libvirt lets {target} go')

    def adapter(self, ident='scsi0'):
        return self.device('hv-scsi', ident)['storage']

    def wait_more(self, requests=100, ident='scsi0'):
        """Until it has done that many more requests."""
        begin = self.adapter(ident)['completed']
        self.wait(lambda: self.adapter(ident)['completed'] >=
                  begin + requests, 'I/O', 120 * SCALE)

    def check_adapter(self, ident='scsi0'):
        """Nothing was refused, lost or left behind."""
        def quiet():
            seen[:] = [self.device('hv-scsi', ident)]
            return seen[0]['storage']['in-flight'] == 0

        seen = []
        self.wait(quiet, 'no request in flight')
        storage = seen[0]['storage']
        assert storage['state'] == 'ready'
        assert storage['refused'] == 0, storage
        assert storage['requests'] == storage['completed'], storage
        assert all(c['corruptions'] == 0 for c in seen[0]['channels'])
        assert self.query_vmbus()['messages-refused'] == 0

    @contextlib.contextmanager
    def busy(self, path, name='load', **options):
        """fio writes to a disk and verifies; all of it was right."""
        load = Fio(self, {'load': load_job(path, **options)}, name)
        self.wait_more()
        yield load
        self.wait_more()
        load.stop()
