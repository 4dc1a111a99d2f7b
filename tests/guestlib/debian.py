# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian with systemd and PostgreSQL on hv-scsi, and its backup agent as an
administrator installs it."""
import subprocess

from guestlib import backup, storage
from guestlib.deadline import SCALE, until
from guestlib.paths import GUEST

DISKS = 'root', 'data'
# The file of the hooks of PostgreSQL: there from the first to the last.
HOOK_STATE = '/run/hv-vss-agent.postgresql'
# Rows with numbers from 1, each in a transaction of its own.  psql prints a
# number when the server has confirmed its commit; /run is memory, so that
# neither the numbers nor who writes them down is frozen.
WRITER = r'''
mkfifo /run/statements
runuser -u postgres -- psql -X -q -A -t -v ON_ERROR_STOP=1 \
    </run/statements >/run/committed 2>/run/writer.log &
exec awk 'BEGIN {
    for (number = 1; ; number++) {
        printf "INSERT INTO entry VALUES (%d, repeat(md5(%d::text), 16))" \
            " RETURNING number;\n", number, number
    }
}' >/run/statements
'''
TABLE = '''
CREATE EXTENSION amcheck;
CREATE TABLE entry (number integer PRIMARY KEY, filling text);
'''


def log_position(text):
    """The number behind PostgreSQL's name of a place in its log."""
    high, low = text.strip().split('/')
    return int(high, 16) << 32 | int(low, 16)


def copy_disks(folder, target, names=DISKS):
    for name in names:
        subprocess.run(['cp', '--sparse=always', folder / f'{name}.img',
                        target / f'{name}.img'], check=True)


class Debian(backup.Backup):
    """A machine whose disks are copies of the images, or of other disks."""

    def __init__(self, make, kernel, disks=None):
        devices = backup.devices()
        devices[devices.index('hv-vss')] = 'hv-vss,id=vss'
        self.machine = make(
            kernel=kernel, cpus=2, initramfs='initramfs-debian',
            append='guest.root=root systemd.show_status=no '
            'systemd.mask=getty.target',
            devices=[*devices, '-device', 'hv-scsi,id=s0'])
        self.kernel = kernel
        self.folder = self.machine.folder
        self.daemon = 'agent'
        disks = disks or GUEST / kernel / 'debian'
        if not disks.exists():
            raise FileNotFoundError(f'{disks} is missing; scripts/test makes '
                                    'it')
        copy_disks(disks, self.folder)
        for name in DISKS:
            self.machine.command += storage.disk(
                name, self.folder / f'{name}.img')

    def boot(self):
        self.machine.boot()
        self.wait("systemctl is-active 'postgresql@*-main.service'")
        return self

    def wait(self, command, timeout=120 * SCALE):
        """Until a command succeeds in the guest; returns its output."""
        def done():
            last[:] = self.machine.shell.call(command)
            return last[0] == 0

        last = []
        until(done, lambda: f'{command}: {last[1]}', timeout, pause=0.3)
        return last[1]

    def psql(self, statement):
        """What the database answers to SQL."""
        return self.run('runuser -u postgres -- psql -X -q -A -t '
                        f"-v ON_ERROR_STOP=1 <<'END'\n{statement}\nEND").strip()

    def start_writer(self):
        self.psql(TABLE)
        self.run(f"cat >/run/writer <<'END'\n{WRITER}\nEND\n"
                 ': >/run/committed; sh /run/writer >/dev/null 2>&1 &')
        self.wait_progress()

    def records(self):
        """How many commits the database has confirmed."""
        return int(self.run('wc -l </run/committed'))

    def unit(self, attribute, name='hv-vss-agent'):
        return self.run(
            f'systemctl show --property={attribute} --value {name}').strip()

    def journal(self):
        """What the agent's unit has logged last."""
        return self.run('journalctl --quiet --lines=30 --unit=hv-vss-agent')

    def wait_journal(self, text):
        """Until the agent's unit has logged that."""
        self.wait('journalctl --quiet --output=cat --unit=hv-vss-agent | '
                  f"grep -F '{text}'")

    def wait_serving(self):
        """Until the agent has registered, and the host can ask it."""
        self.wait('journalctl --quiet --output=cat --unit=hv-vss-agent '
                  '"_PID=$(systemctl show -P MainPID hv-vss-agent)" | '
                  'grep -F Registered')
        backup.wait_service(self.machine)
