# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts with a libvirt daemon each, and a guest that lives on one of them."""
import contextlib
import json
import os
import socket
import subprocess
import time
import uuid
import xml.etree.ElementTree as ET

from guestlib.fio import Fio, load_job
from guestlib.libvirt import Session, domain
from guestlib.machine import BOOTED, SCALE, Console, GuestShell, Watch
from guestlib.paths import program
from guestlib.storage import MIB, host_disks

AGENT = 'org.qemu.guest_agent.0'
# Processors and IOThreads as in the tests of disks without libvirt.
THREADS = {'6.1': 2, '6.12': 1}


class Host(Session):
    """A daemon that takes itself for one on a machine of its own, and that
    can go and come back."""

    def prepare(self):
        environment = super().prepare()
        self.uuid = str(uuid.uuid4())
        path = self.folder / 'cfg/libvirt/virtqemud.conf'
        path.write_text(f'host_uuid = "{self.uuid}"\n')
        path.chmod(0o644)
        return environment

    @property
    def uri(self):
        """As the daemon of another host knows it."""
        return ('qemu+unix:///session?socket='
                f'{self.folder}/run/libvirt/virtqemud-sock')

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait(30)

    def stop_daemon(self):
        self.daemon.terminate()
        self.daemon.wait(30)

    def watch(self, *arguments):
        """A virsh whose lines come in while it runs."""
        return Watch(['stdbuf', '-oL', *self.command('virsh'), '-q', '-c',
                      'qemu:///session', *arguments], env=self.environment,
                     cwd=self.folder, stdin=subprocess.DEVNULL)

    def keep(self, path):
        """Give a file to the one whom QEMU runs as."""
        info = (self.folder / 'data').stat()
        os.chown(path, info.st_uid, info.st_gid)
        path.chmod(0o666)
        return path

    def image(self, name, size=64 * MIB, kind='raw'):
        """A new image, empty."""
        path = self.folder / f'data/{name}'
        subprocess.run([program('qemu-img'), 'create', '-q', '-f', kind, path,
                        str(size)], check=True)
        return self.keep(path)

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return str(path)


def disk_xml(path, target, unit, kind='raw', controller=0, inside='',
             device='disk'):
    return f"""<disk type='file' device='{device}'>
  <driver name='qemu' type='{kind}'/>
  <source file='{path}'/>
  <target dev='{target}' bus='scsi'/>
  {inside}
  <address type='drive' controller='{controller}' bus='0' target='0'
           unit='{unit}'/>
</disk>"""


def controller_xml(index, driver=''):
    return (f"<controller type='scsi' index='{index}' model='vmbus'>{driver}"
            '</controller>')


def with_iothreads(kernel):
    """<iothreads> and the controller that uses them."""
    count = THREADS[kernel]
    if count == 1:
        driver = "<driver iothread='1'/>"
    else:
        entries = ''.join(f"<iothread id='{number + 1}'/>"
                          for number in range(count))
        driver = f'<driver><iothreads>{entries}</iothreads></driver>'
    return f'<iothreads>{count}</iothreads>', controller_xml(0, driver)


# A file system on a disk, that it can be frozen, and what writes to it.
START = '''
set -e
mkdir -p /data
mount -t ext4 {} /data
hv_vss_daemon --no-daemon >/tmp/vss.log 2>&1 &
write-sequence /data/log >/tmp/writer.log 2>&1 &
'''


class Guest:
    """A domain that runs on a host, and a shell in its guest.

    devices is what it has beside the bus, the controller, its console and its
    shell.  self.host is where it is now.
    """

    def __init__(self, host, kernel, devices, name='guest'):
        self.host, self.kernel, self.name = host, kernel, name
        self.devices = devices
        self.shell = None

    def xml(self, host, devices=None, vmbus='<vmbus/>'):
        """Its definition for a host: each has sockets of its own."""
        top, controller = with_iothreads(self.kernel)
        serial = f"""
<serial type='file'><source path='{self.path(host, 'console')}'/></serial>
<serial type='unix'>
  <source mode='bind' path='{self.path(host, 'shell')}'/>
</serial>"""
        return domain(vmbus + controller + (devices or self.devices) + serial,
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

    def wait_booted(self, mark=0):
        self.console.wait_for(BOOTED, start=mark)
        self.shell.wait_ready()

    def connect(self):
        """To the console and the shell of its host, where it runs since a
        moment ago."""
        self.close()
        self.console = Console(self.path(self.host, 'console'),
                               lambda: self.state() == 'running')
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path(self.host, 'shell')))
        self.shell = GuestShell(self.sock)

    def close(self):
        if self.shell:
            self.sock.close()
            self.shell = None

    def end(self):
        self.close()
        self.virsh('destroy', check=False)
        self.virsh('undefine', '--managed-save', '--snapshots-metadata',
                   check=False)

    # libvirt.

    def virsh(self, command, *arguments, check=True, timeout=240):
        return self.host.virsh(command, self.name, *map(str, arguments),
                               check=check, timeout=timeout)

    def fails(self, command, *arguments):
        """What virsh says of something that cannot be done."""
        done = self.virsh(command, *arguments, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def state(self):
        return self.virsh('domstate').stdout.strip()

    def wait_state(self, state, timeout=120 * SCALE):
        self.wait(lambda: self.state() == state, f'state {state}', timeout)

    def root(self, *options):
        """Its XML, parsed."""
        return ET.fromstring(self.virsh('dumpxml', *options).stdout)

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

    def channel_state(self):
        target = self.root().find(f"./devices/channel/target[@name='{AGENT}']")
        return target.get('state')

    def qmp(self, command, **arguments):
        answer = json.loads(self.virsh('qemu-monitor-command', json.dumps(
            {'execute': command, 'arguments': arguments})).stdout)
        return answer['return']

    def query_vmbus(self):
        return self.qmp('query-vmbus')

    def device(self, driver, ident=None):
        for device in self.query_vmbus()['devices']:
            if device['driver'] == driver and ident in (None, device['id']):
                return device
        raise AssertionError(f'query-vmbus knows no {driver} {ident}')

    def has_device(self, ident):
        return any(d['id'] == ident for d in self.query_vmbus()['devices'])

    # The guest.

    def run(self, command, timeout=60 * SCALE):
        return self.shell.run(command, timeout)

    def wait(self, condition, what, timeout=60 * SCALE):
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, \
                f'never: {what}\n{self.console.tail(30)}'
            time.sleep(0.1)

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
        self.wait(lambda: host_disks(self) - before, 'a new disk')
        (name,) = host_disks(self) - before
        self.wait(lambda: self.shell.call(f'[ -b /dev/{name} ]')[0] == 0,
                  f'/dev/{name}')
        return f'/dev/{name}'

    def wait_gone(self, path):
        self.wait(lambda: os.path.basename(path) not in host_disks(self),
                  f'{path} gone')

    def wait_healthy(self):
        """The heartbeat, the agent's channel and the agent itself."""
        self.wait(lambda: self.device('hv-heartbeat')['heartbeat']['state'] ==
                  'ok', 'heartbeat')
        self.wait(lambda: self.channel_state() == 'connected', 'agent')
        self.virsh('qemu-agent-command', '{"execute":"guest-ping"}')

    def behind(self):
        """Seconds that the guest's clock is behind the host's; up to one is
        lost in rounding."""
        return time.time() - int(self.run('date +%s'))

    def life(self):
        """What stays the same for as long as the guest lives."""
        return (self.run('cat /proc/sys/kernel/random/boot_id'),
                self.offered(), self.instance_ids(), self.aliases(),
                host_disks(self))

    def move(self, to, *options, xml=None):
        """To another host, where it has other sockets and the same disks."""
        begin = self.migration(to, *options, xml=xml)
        self.virsh(*begin)
        self.host = to
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

    def records(self):
        return int(self.run('stat -c %s /data/log'))

    def check_frozen(self):
        """The writer stands still."""
        before, info = self.records(), self.qmp('query-vmbus-vss')
        time.sleep(1.5)
        assert self.records() == before, (
            before, self.records(), info, self.qmp('query-vmbus-vss'),
            self.run('cat /tmp/vss.log /proc/mounts; dmesg | tail -n 20; '
                     'ps | grep -v "]$"; '
                     'cat /proc/$(pidof write-sequence)/stack'))

    def wait_progress(self):
        before = self.records()
        self.wait(lambda: self.records() != before, 'the writer writes')

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
