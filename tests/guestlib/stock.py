# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own libvirt, as scripts/lib/stock-libvirt.sh prepares it."""
import functools
import json
import os
import socket
import subprocess
import time

from guestlib import Console
from guestlib.libvirt import Session
from guestlib.machine import BOOTED, SCALE, GuestShell
from guestlib.paths import BUILD, hvctl

STOCK = BUILD / 'stock'
PROGRAMS = {'virtqemud': 'stock-libvirt-daemon'}


@functools.lru_cache(maxsize=None)
def why_not(suite):
    """Why Debian's programs of a suite cannot run here, or None."""
    enter = STOCK / suite / 'enter'
    if not enter.exists():
        return f'{enter} is missing; scripts/test makes it'
    done = subprocess.run([enter, 'true'], capture_output=True, text=True)
    if done.returncode != 0:
        return f'no namespace with the packages of {suite}: {done.stderr}'
    return None


def enter(suite):
    """What to put before a command so that it has a suite's programs."""
    return (str(STOCK / suite / 'enter'),)


class StockSession(Session):
    """A daemon of Debian's libvirt; the emulator is ours."""

    def __init__(self, suite):
        self.suite = suite
        super().__init__()

    def find_user(self):
        return enter(self.suite)

    def command(self, name):
        return [*self.user, PROGRAMS.get(name, name)]


def convert(xml, folder, how='--stock'):
    """What hvctl makes of a domain."""
    path = folder / 'convert.xml'
    path.write_text(xml)
    done = hvctl('xml', how, str(path))
    assert done.returncode == 0, done.stderr
    assert done.stderr == '', done.stderr
    return done.stdout


def wait_heartbeat(qmp):
    """Until hvctl says that the guest is alive."""
    deadline = time.monotonic() + 60 * SCALE
    done = hvctl('heartbeat', qmp=qmp)
    while done.returncode != 0:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.2)
        done = hvctl('heartbeat', qmp=qmp)
    assert done.stdout.startswith('ok')


class Guest:
    """A domain of any session that runs; it has a shell and a disk sda."""

    def __init__(self, session, name='guest'):
        self.session = session
        self.name = name
        self.console = Console(session.folder / 'data/console',
                               lambda: self.state() == 'running')
        self.virsh('start')
        self.connect()
        self.console.wait_for(BOOTED)
        self.shell.wait_ready()

    def connect(self):
        """To a shell of a domain that has just begun to run."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.session.folder / 'run/shell'))
        self.shell = GuestShell(self.sock)

    def virsh(self, command, *arguments, check=True):
        return self.session.virsh(command, self.name, *arguments, check=check)

    def state(self):
        return self.virsh('domstate').stdout.strip()

    def run(self, command):
        return self.shell.run(command)

    def monitor(self, command, **arguments):
        """What a command of QMP returns."""
        request = json.dumps({'execute': command, 'arguments': arguments})
        return json.loads(self.virsh('qemu-monitor-command',
                                     request).stdout)['return']

    def wait(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds * SCALE
        while not condition():
            assert time.monotonic() < deadline, \
                f'{what}\n{self.session.qemu_log()}'
            time.sleep(0.2)


def image(session, name, content=b''):
    """A file of 8 MiB for a disk, which the guest's QEMU may write."""
    path = session.folder / f'data/{name}'
    path.write_bytes(content.ljust(8 << 20, b'\0'))
    folder = path.parent.stat()
    os.chown(path, folder.st_uid, folder.st_gid)
    return path
