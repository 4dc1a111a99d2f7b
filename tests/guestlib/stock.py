# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own libvirt, as scripts/lib/stock-libvirt.sh prepares it."""
import functools
import subprocess

from guestlib.deadline import until
from guestlib.domain import Domain
from guestlib.libvirt import Session
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
    def alive():
        done[:] = [hvctl('heartbeat', qmp=qmp)]
        return done[0].returncode == 0

    done = []
    until(alive, lambda: done[0].stdout + done[0].stderr)
    assert done[0].stdout.startswith('ok')


class Guest(Domain):
    """A domain of any session that runs; it has a shell and a disk sda."""

    def __init__(self, session):
        super().__init__(session, console=session.folder / 'data/console',
                         shell=session.folder / 'run/shell')
        self.virsh('start')
        self.connect()
        self.wait_booted()
        self.console.wait_for(r'\[sda\] Attached SCSI disk')


def image(session, name, content=b''):
    """A file of 8 MiB for a disk, which the guest's QEMU may write."""
    path = session.folder / f'data/{name}'
    path.write_bytes(content.ljust(8 << 20, b'\0'))
    return session.keep(path)
