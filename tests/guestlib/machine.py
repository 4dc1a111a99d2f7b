# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest in its QEMU."""
import base64
import itertools
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

from guestlib import sanitizer
from guestlib.deadline import SCALE, until
from guestlib.paths import GUEST, hv_cpu, hvctl, program, vmbus_devices
from guestlib.qmp import Qmp

BOOT_SECONDS = 240 * SCALE
BOOTED = r'guest: (\S+) up, Linux (\S+), (\d+) processors'
PANIC = 'Kernel panic - not syncing'


class MachineEnded(Exception):
    """QEMU ended while something was expected from its guest."""


class Console:
    """What a guest wrote to its serial console, kept in a file."""

    def __init__(self, path, alive):
        self.path = pathlib.Path(path)
        self.alive = alive

    def text(self):
        if not self.path.exists():
            return ''
        return self.path.read_bytes().decode(errors='replace').replace(
            '\r', '')

    def mark(self):
        """A place: wait_for(start=mark) looks at what comes after it."""
        return len(self.text())

    def tail(self, lines=60):
        """The last lines; all of a panic's, which may be some more."""
        rows = self.text().splitlines()
        first = max(len(rows) - lines, 0)
        for number in range(max(first - 120, 0), first):
            if PANIC in rows[number]:
                first = max(number - 10, 0)
                break
        return '\n'.join(rows[first:])

    def panicked(self):
        """Whether the kernel that came up last has ended in a panic."""
        text = self.text()
        booted = max((found.start() for found in re.finditer(BOOTED, text)),
                     default=-1)
        return text.rfind(PANIC) > booted

    def wait_for(self, pattern, timeout=BOOT_SECONDS, start=0):
        deadline = time.monotonic() + timeout
        ask = 0
        while True:
            # Of a domain, whether it is alive costs a process.
            ended = False
            if time.monotonic() >= ask:
                ended = not self.alive()
                ask = time.monotonic() + 0.5
            found = re.compile(pattern, re.M).search(self.text(), start)
            if found:
                return found
            if ended:
                raise MachineEnded(f'QEMU ended before "{pattern}"')
            if time.monotonic() > deadline:
                raise TimeoutError(f'no "{pattern}" within {timeout:.0f} s')
            time.sleep(0.05)


class GuestShell:
    """The command shell on a guest's second serial port."""

    def __init__(self, sock, console):
        self.sock, self.console = sock, console
        self.buffer = b''
        self.numbers = itertools.count(1)

    def line(self, deadline):
        while b'\n' not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError('the guest did not answer in time')
            self.sock.settimeout(min(left, 5))
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                if self.console and self.console.panicked():
                    raise MachineEnded('the kernel panicked') from None
                continue
            if not data:
                raise MachineEnded('QEMU ended during a command')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return line.decode(errors='replace').strip()

    def wait_ready(self, timeout=60 * SCALE):
        deadline = time.monotonic() + timeout
        while self.line(deadline) != 'shell ready':
            pass

    def send(self, command):
        number = f'c{next(self.numbers)}'
        payload = base64.b64encode(command.encode()).decode()
        self.sock.settimeout(30 * SCALE)
        self.sock.sendall(f'{number} {payload}\n'.encode())
        return number

    def call(self, command, timeout=60 * SCALE):
        """(exit code, output with errors) of a shell command."""
        number = self.send(command)
        deadline = time.monotonic() + timeout
        while self.line(deadline) != f'begin {number}':
            pass
        lines = []
        while True:
            line = self.line(deadline)
            if line.startswith(f'end {number} '):
                break
            lines.append(line)
        return (int(line.split()[2]),
                base64.b64decode(''.join(lines)).decode(errors='replace'))

    def run(self, command, timeout=60 * SCALE):
        """The output of a command that must succeed."""
        code, output = self.call(command, timeout)
        if code != 0:
            raise AssertionError(
                f'"{command}" in the guest: exit {code}\n{output}')
        return output


def heed_signals():
    """For preexec_fn: tests that were begun in the background have SIGINT
    ignored, and what they start would not end by it."""
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)


class Watch:
    """A program whose lines come in while it runs; ends with the block.

    Its errors are among the lines, unless they have a pipe of their own.
    """

    def __init__(self, command, stderr=subprocess.STDOUT, **options):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                        stderr=stderr, **options)
        self.lines = []
        self.buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        for pipe in self.process.stdout, self.process.stderr:
            if pipe:
                pipe.close()

    def find_line(self, text, timeout):
        """The next line with that text, lines before it are skipped; None if it
        does not come in time."""
        deadline = time.monotonic() + timeout
        while True:
            while b'\n' in self.buffer:
                line, self.buffer = self.buffer.split(b'\n', 1)
                self.lines.append(line.decode())
                if text in self.lines[-1]:
                    return self.lines[-1]
            left = deadline - time.monotonic()
            if not select.select([self.process.stdout], [], [],
                                 max(left, 0))[0]:
                return None
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                raise AssertionError(
                    f'ended before "{text}": {self.lines} {self.end()}')
            self.buffer += data

    def wait_line(self, text, timeout=60 * SCALE):
        line = self.find_line(text, timeout)
        assert line is not None, f'no line with "{text}": {self.lines}'
        return line

    def wait_lines(self, *texts):
        """A line with each, in whatever order they come."""
        left = list(texts)
        while left:
            line = self.wait_line('')
            left = [text for text in left if text not in line]

    def hear(self, cause, text):
        """The line that cause() brings about.  A program that has just begun
        does not listen yet: what comes then passes it by."""
        def heard():
            cause()
            return self.find_line(text, 1)
        return until(heard, lambda: f'"{text}" in {self.lines}')

    def end(self, timeout=60 * SCALE):
        """Its exit code, and what came on the pipe of its errors."""
        rest, errors = self.process.communicate(timeout=timeout)
        self.lines += (self.buffer + rest).decode().splitlines()
        self.buffer = b''
        return self.process.returncode, (errors or b'').decode()


class Machine:
    """A QEMU with a Linux guest that boots from memory.

    folder     for logs and sockets; its path must be short
    kernel     version of the guest's kernel
    devices    device arguments; default: bridge, heartbeat, shutdown
    initramfs  name of the initial file system in build/guest/VERSION
    asan       whether QEMU is the one with the address sanitizer
    """

    def __init__(self, folder, kernel='6.12', machine='q35', cpus=1,
                 accel='tcg', cpu=None, devices=None, append='',
                 initramfs='initramfs', memory=512, extra=(), qemu=None,
                 asan=False):
        self.folder = pathlib.Path(folder)
        self.process = None
        self.qmp = None
        self.sockets = []
        self.hvctl_socket = self.folder / 'qmp'
        self.stderr_path = self.folder / 'qemu.log'
        self.console = Console(self.folder / 'console.log', self.alive)
        self.environment = sanitizer.probed(self.folder) if asan else None
        if asan:
            qemu = sanitizer.program()
        guest = GUEST / kernel
        self.command = [
            qemu or program('qemu-system-x86_64'), '-name', 'guest',
            '-machine', machine, '-accel', accel,
            '-cpu', cpu or hv_cpu(accel), '-smp', str(cpus),
            '-m', str(memory), '-nodefaults', '-display', 'none',
            '-serial', f'file:{self.console.path}',
            '-qmp', f'unix:{self.hvctl_socket},server=on,wait=off',
            '-kernel', str(guest / 'vmlinuz'),
            '-initrd', str(guest / initramfs),
            '-append', f'console=ttyS0 {append}',
            *(vmbus_devices() if devices is None else devices), *extra]

    # Starting and ending.

    def start(self):
        qmp = self.connect_later()
        shell = self.connect_later()
        self.command += [
            '-chardev', f'socket,id=testqmp,fd={qmp.fileno()}',
            '-mon', 'chardev=testqmp,mode=control',
            '-chardev', f'socket,id=shell,fd={shell.fileno()}',
            '-serial', 'chardev:shell']
        with open(self.stderr_path, 'wb') as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, pass_fds=(qmp.fileno(), shell.fileno()),
                env=self.environment)
        qmp.close()
        shell.close()
        try:
            self.qmp = Qmp(self.sockets[0], 60 * SCALE)
        except (EOFError, ConnectionError) as error:
            self.wait_end()
            raise MachineEnded(self.stderr()) from error
        self.shell = GuestShell(self.sockets[1], self.console)
        return self

    def connect_later(self):
        ours, theirs = socket.socketpair()
        self.sockets.append(ours)
        return theirs

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_end(self, timeout=60 * SCALE):
        """QEMU's exit code."""
        return self.process.wait(timeout)

    def quit(self):
        """An end from outside, in which QEMU gives back all it has."""
        self.qmp.execute('quit')
        code = self.wait_end()
        assert code == 0, f'QEMU ended with {code}'
        self.close()

    def close(self):
        if self.alive():
            self.process.kill()
        if self.process:
            self.process.wait()
        for sock in self.sockets:
            sock.close()

    def stderr(self):
        if not self.stderr_path.exists():
            return ''
        return self.stderr_path.read_text(errors='replace').strip()

    def report(self):
        """What helps to understand a failure."""
        state = 'not started'
        if self.process:
            code = self.process.poll()
            state = 'running' if code is None else f'ended with exit {code}'
        events = self.qmp.events if self.qmp else []
        return '\n'.join([
            ' '.join(map(str, self.command)), f'QEMU: {state}',
            self.stderr(), *sanitizer.reports(self.folder),
            'Events: ' + ' '.join(e['event'] for e in events),
            'Console:', self.console.tail()])

    # The guest.

    def wait_booted(self, start=0, timeout=BOOT_SECONDS):
        found = self.console.wait_for(BOOTED, timeout, start)
        self.shell.wait_ready()
        return found

    def boot(self):
        self.start()
        self.wait_booted()
        return self

    def run(self, command, timeout=60 * SCALE):
        return self.shell.run(command, timeout)

    # VMBus.

    def query_vmbus(self):
        return self.qmp.execute('query-vmbus')

    def device(self, driver):
        for device in self.query_vmbus()['devices']:
            if device['driver'] == driver:
                return device
        raise AssertionError(f'query-vmbus knows no {driver}')

    def wait_vmbus(self, what, condition, timeout=60 * SCALE):
        """Until condition(query-vmbus) is true; returns the last answer."""
        deadline = time.monotonic() + timeout
        while True:
            info = self.query_vmbus()
            if condition(info):
                return info
            if time.monotonic() > deadline:
                raise AssertionError(f'never: {what}; query-vmbus: {info}')
            time.sleep(0.1)

    def wait_heartbeat(self, state, timeout=60 * SCALE):
        def reached(info):
            return any(d.get('heartbeat', {}).get('state') == state
                       for d in info['devices'])
        return self.wait_vmbus(f'heartbeat {state}', reached, timeout)

    def wait_ready(self):
        """Until the services are open and agreed upon."""
        def reached(info):
            return any(d.get('shutdown', {}).get('state') == 'ready'
                       for d in info['devices'])
        self.wait_heartbeat('ok')
        return self.wait_vmbus('shutdown service ready', reached)

    def hvctl(self, *arguments, timeout=120 * SCALE):
        if '--timeout' not in arguments:
            # Some verbs would give a guest that is slow no more than 10.
            arguments += '--timeout', f'{60 * SCALE:.0f}'
        return hvctl(*arguments, qmp=self.hvctl_socket, timeout=timeout)

    def watch_hvctl(self, *arguments):
        return Watch([program('hvctl'), '--qmp', str(self.hvctl_socket),
                      *arguments])
