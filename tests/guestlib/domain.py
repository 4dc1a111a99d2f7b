# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain of libvirt, and a shell in its guest."""
import json
import socket
import time
import xml.etree.ElementTree as ET

from guestlib.backup import Writer
from guestlib.deadline import SCALE, until
from guestlib.machine import BOOTED, Console, GuestShell

AGENT = 'org.qemu.guest_agent.0'


class Domain(Writer):
    """A domain that a session has defined, by its name.

    console  file that its first serial port is written to
    shell    socket of its second one, on which the guest has a shell
    """

    def __init__(self, session, name='guest', console=None, shell=None):
        self.session, self.name = session, name
        self.console = console and Console(
            console, lambda: self.state() == 'running')
        self.shell_path = shell
        self.shell = None

    # libvirt.

    def virsh(self, command, *arguments, check=True, timeout=240):
        return self.session.virsh(command, self.name, *map(str, arguments),
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

    def agent(self):
        """<target> of the channel that QEMU's guest agent would have."""
        return self.root().find(f"./devices/channel/target[@name='{AGENT}']")

    def wait_agent(self):
        """Until libvirt has the agent connected."""
        self.wait(lambda: self.agent().get('state') == 'connected', 'agent')

    def qmp(self, command, **arguments):
        answer = json.loads(self.virsh('qemu-monitor-command', json.dumps(
            {'execute': command, 'arguments': arguments})).stdout)
        return answer['return']

    def query_vmbus(self):
        return self.qmp('query-vmbus')

    def hear_vmbus(self, watch):
        """Until a virsh tells of the bus's events; returns the first one.  It
        is of a service that may not be ready yet."""
        return watch.hear(lambda: self.virsh(
            'qemu-monitor-command', '{"execute": "vmbus-timesync"}'),
            'VMBUS_TIMESYNC_RESPONSE')

    def end(self):
        self.close()
        self.virsh('destroy', check=False)
        if self.name in self.session.virsh('list', '--all',
                                           '--name').stdout.split():
            self.virsh('undefine', '--managed-save', '--snapshots-metadata')

    # The guest.

    def connect(self):
        """To the shell of a domain that has just begun to run."""
        self.close()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.shell_path))
        self.shell = GuestShell(self.sock, self.console)

    def close(self):
        if self.shell:
            self.sock.close()
            self.shell = None

    def wait_booted(self, mark=0):
        self.console.wait_for(BOOTED, start=mark)
        self.shell.wait_ready()

    def run(self, command, timeout=60 * SCALE):
        return self.shell.run(command, timeout)

    def wait(self, condition, what, timeout=60 * SCALE):
        until(condition, lambda: '\n'.join([
            what() if callable(what) else what, self.session.qemu_log(),
            self.console.tail(30) if self.console else '']), timeout)

    def behind(self):
        """Seconds that the guest's clock is behind the host's; up to one is
        lost in rounding."""
        return time.time() - int(self.run('date +%s'))

    def set_back(self):
        """Its clock, by an hour."""
        self.run('date -s "$(date -d @$(($(date +%s) - 3600)) '
                 '"+%Y-%m-%d %H:%M:%S")"')
        assert self.behind() > 3500

    def wait_time(self):
        """Until its clock is right."""
        self.wait(lambda: -5 < self.behind() < 2.5, 'the time is right')
