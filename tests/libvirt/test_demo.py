# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/demo: what it shows, and that it leaves nothing behind."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from guestlib.deadline import SCALE, until
from guestlib.libvirt import namespace
from guestlib.machine import heed_signals
from guestlib.paths import TOP

USAGE = 2
# What somebody who works with libvirt may have set, and must not matter.
SETTINGS = {'LIBVIRT_DEFAULT_URI': 'test:///default',
            'VIRSH_DEFAULT_CONNECT_URI': 'test:///default',
            'HVCTL_QMP': '/nonexistent'}


def command(*arguments):
    return [str(TOP / 'scripts/demo'), '--no-install', *arguments]


@pytest.mark.parametrize('arguments', [
    ['--kernel', '5.4'], ['--kernel'], ['--accel', 'xen'], ['--cpus', '0'],
    ['--qemu-source', '/nonexistent'], ['--libvirt-source', '/nonexistent'],
    ['--frobnicate']], ids=' '.join)
def test_wrong_usage(arguments):
    done = subprocess.run(command(*arguments), text=True, capture_output=True,
                          timeout=60 * SCALE)
    assert done.returncode == USAGE, done.stderr
    assert done.stdout == ''
    assert len(done.stderr.splitlines()) == 1


class Demo:
    """A run whose temporary files are in a folder of its own."""

    def __init__(self, *arguments, before=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='kvmvb-'))
        self.folder.chmod(0o777)
        self.log = self.folder.with_suffix('.log')
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [*before, *command('--accel', 'tcg', *arguments)],
                env={**os.environ, **SETTINGS, 'TMPDIR': str(self.folder)},
                stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=heed_signals)

    def text(self):
        return self.log.read_text(errors='replace')

    def wait_for(self, part):
        def there():
            assert self.process.poll() is None, self.text()
            return part in self.text()
        until(there, self.text, 600 * SCALE)

    def processes(self):
        """Whatever runs with a path in our folder."""
        for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
            try:
                words = path.read_bytes().replace(b'\0', b' ').decode()
            except OSError:
                continue
            if f'{self.folder}/' in words:
                yield int(path.parent.name), words

    def end(self, timeout=900):
        """Its exit code; nothing of it is left."""
        try:
            code = self.process.wait(timeout * SCALE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60 * SCALE)
            raise AssertionError(self.text()) from None
        # One that was killed needs a moment to go.
        until(lambda: not list(self.processes()),
              lambda: list(self.processes()), 10 * SCALE)
        assert list(self.folder.iterdir()) == []
        self.folder.rmdir()
        return code


@pytest.fixture
def demo():
    demos = []

    def do(*arguments, **options):
        demos.append(Demo(*arguments, **options))
        return demos[-1]
    yield do
    for one in demos:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGTERM)
            one.process.wait(60 * SCALE)
        one.log.unlink()
        shutil.rmtree(one.folder, ignore_errors=True)


def ordinary_user():
    """Somebody who is not root, and whose files the build's are."""
    if os.geteuid() != 0:
        return ()
    if not namespace():
        pytest.skip('no user namespace, and so no user but root here')
    return namespace()


@pytest.mark.parametrize('kernel, who', [('6.12', tuple),
                                         ('6.1', ordinary_user)],
                         ids=['6.12', '6.1-ordinary-user'])
def test_whole_run(demo, kernel, who):
    one = demo('--kernel', kernel, '--cpus', '1', before=who())
    assert one.end() == 0, one.text()
    text = one.text()
    assert f"Booting Debian's Linux {kernel} on VMBus with 1 process" in text
    for part in ("Domain 'demo' defined", "Domain 'demo' started",
                 'Hypervisor detected: Microsoft Hyper-V',
                 'VMBus: version 5.3', 'Froze 1 filesystem(s)',
                 'in 2 s while it is frozen: 0\n', 'Thawed 1 filesystem(s)',
                 'demo.example', 'kvm-vmbus demo', '10.0.2.15/24',
                 "Domain 'demo' is being shutdown", 'shut off (shutdown)'):
        assert part in text, text
    for device in ('heartbeat', 'shutdown', 'timesync', 'vss', 'kvp', 'scsi'):
        assert re.search(rf'^ *hv-{device} +\d+ +0 open ', text, re.M), text
    for when in 'before the freeze', 'after the thaw':
        assert int(re.search(rf'in 1 s {when}: (\d+)', text)[1]) > 0, text
    assert re.search(r'^    ok, ', text, re.M), text
    log = (TOP / 'build/log/demo-serial.log').read_text(errors='replace')
    assert 'guest: powering off from user space' in log


def started(demo):
    one = demo()
    one.wait_for("Domain 'demo' started")
    return one


def test_interrupted(demo):
    """As by Ctrl-C: all processes of the terminal's job get it."""
    one = started(demo)
    assert list(one.processes())
    os.killpg(one.process.pid, signal.SIGINT)
    assert one.end(120) == 130, one.text()


def dies(demo, program, who):
    one = started(demo)
    for pid, words in one.processes():
        if program in words.split()[0]:
            os.kill(pid, signal.SIGKILL)
    assert one.end(120) == 1
    assert f'{who} ended while waiting for' in one.text()


def test_qemu_dies(demo):
    dies(demo, 'qemu-system', 'QEMU')


def test_daemon_dies(demo):
    dies(demo, 'virtqemud', "libvirt's daemon")
