# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of the QEMU guest agent's protocol, and a machine that has one."""
import json
import socket
import time

from guestlib.backup import OPTIONS, Backup, devices, drive
from guestlib.machine import SCALE

MAC = '52:54:00:aa:bb:cc'
PREPARE = f'''
mkdir -p /var/lib /etc
printf 'NAME=Test\\nVERSION_ID="7.5"\\nID=test\\n' >/etc/os-release
hostname guest.example
echo 127.0.0.1 guest.example >/etc/hosts
insmod /lib/modules/dummy.ko
ip link set dummy0 address {MAC.upper()}
ip addr add 192.0.2.7/24 dev dummy0
ip link set dummy0 up
'''


class AgentError(Exception):
    def __init__(self, error):
        super().__init__(error['desc'])
        self.kind = error['class']


class Client:
    def __init__(self, path, timeout=60 * SCALE):
        self.sock = socket.socket(socket.AF_UNIX)
        # Waits while others are in the queue, which one with a timeout
        # does not.
        self.sock.connect(str(path))
        self.sock.settimeout(timeout)
        self.buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        while b'\n' not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError('QEMU closed the agent\'s socket')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return line

    def answer(self):
        message = json.loads(self.line())
        if 'error' in message:
            raise AgentError(message['error'])
        return message['return']

    def begin(self, command, **arguments):
        request = {'execute': command}
        if arguments:
            request['arguments'] = arguments
        self.send(json.dumps(request).encode() + b'\n')

    def call(self, command, **arguments):
        self.begin(command, **arguments)
        return self.answer()

    def sync(self, number=77):
        """As after a connection: nothing of others is in the way."""
        self.send(b'\xff')
        self.begin('guest-sync-delimited', id=number)
        while not (line := self.line()).startswith(b'\xff'):
            pass
        assert json.loads(line[1:]) == {'return': number}

    def silent(self, seconds=1):
        """Nothing comes."""
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1)
        except TimeoutError:
            data = b''
        self.sock.settimeout(60 * SCALE)
        return data == b'' and not self.buffer


def options(folder, **properties):
    """Of a machine that has an agent, as libvirt names its parts."""
    more = ''.join(f',{name.replace("_", "-")}={value}'
                   for name, value in properties.items())
    return ['-chardev', f'socket,id=charchannel0,path={folder}/agent,'
            'server=on,wait=off',
            '-device',
            f'hv-guest-agent,id=channel0,chardev=charchannel0{more}']


def adapter():
    """That the machine has; the guest's driver is another one."""
    return ['-netdev', 'user,id=hostnet0', '-device',
            f'virtio-net-pci,id=net0,netdev=hostnet0,mac={MAC},romfile=']


def is_open(machine):
    return next(c['frontend-open'] for c in machine.qmp.execute(
        'query-chardev') if c['label'] == 'charchannel0')


def wait_port(machine, is_open_now, start=0):
    return machine.qmp.wait_event('VSERPORT_CHANGE', 120 * SCALE, start,
                                  id='channel0', open=is_open_now)


class AgentGuest(Backup):
    """A guest with a disk, something that writes to it, and both daemons."""

    def __init__(self, make, kernel='6.12', **properties):
        super().__init__(make, 'debian', kernel=kernel)
        self.kernel, self.properties = kernel, properties
        self.add_agent(self.machine)

    def add_agent(self, machine):
        machine.command += options(machine.folder, **self.properties)
        machine.command += adapter()

    def receiver(self, make):
        """A machine that waits for this guest."""
        target = make(devices=devices(), kernel=self.kernel, **OPTIONS,
                      extra=[*drive(self.disk), '-incoming', 'defer'])
        self.add_agent(target)
        return target.start()

    def boot(self):
        super().boot()
        self.run(PREPARE)
        self.start_kvp()
        self.start_writer()
        return self

    def start_kvp(self):
        self.run('hv_kvp_daemon -n >/tmp/kvp.log 2>&1 & '
                 'echo $! >/tmp/kvp.pid')
        self.machine.wait_vmbus('KVP ready', lambda info: any(
            d.get('kvp', {}).get('state') == 'ready'
            for d in info['devices']))

    def client(self):
        return Client(self.folder / 'agent')

    def clock_behind(self):
        """Seconds that the guest's clock is behind the host's."""
        return time.time() - int(self.run('date +%s'))
