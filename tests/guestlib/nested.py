# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with real KVM that QEMU emulates, and machines in it."""
import base64

from guestlib.machine import SCALE
from guestlib.paths import hv_cpu, vmbus_devices

# Options of the outer machine.
OUTER = {'kernel': '6.12', 'initramfs': 'initramfs-kvm', 'cpus': 2,
         'cpu': 'EPYC,+svm,+npt', 'devices': [], 'memory': 2048}
INNER_BOOT_SECONDS = 600 * SCALE


class InnerShell:
    """The command shell of an inner machine, on its second serial port."""

    def __init__(self, inner):
        self.inner, self.calls = inner, 0

    def call(self, command, timeout=120 * SCALE):
        """(exit code, output with errors) of a command."""
        self.calls += 1
        name = f'c{self.calls}'
        outer, folder = self.inner.outer, self.inner.folder
        payload = base64.b64encode(command.encode()).decode()
        outer.run(f'echo "{name} {payload}" >{folder}/shell.in')
        self.inner.until(f'grep -q "^end {name} " {folder}/shell.log',
                         f'end of "{command}"', timeout, pause=0.1)
        log = outer.run(f"sed -n '/^begin {name}\\r*$/,$p' "
                        f'{folder}/shell.log').replace('\r', '')
        lines, end = log.split(f'begin {name}\n')[1].split(f'end {name} ')
        output = base64.b64decode(lines).decode(errors='replace')
        return int(end.split()[0]), output

    def run(self, command, timeout=120 * SCALE):
        """The output of a command that must succeed."""
        code, output = self.call(command, timeout)
        assert code == 0, f'"{command}": exit {code}\n{output}'
        return output


class InnerMachine:
    """Our QEMU with KVM inside the outer machine."""

    def __init__(self, outer, kernel, kind, cpus, folder, extra=(),
                 initramfs='initramfs'):
        self.outer = outer
        self.log = f'{folder}/console.log'
        self.qmp = f'{folder}/qmp'
        self.folder = folder
        # What is written to a pipe goes to QEMU's monitor, or the shell.
        for pipe, log in ('mon', 'mon.log'), ('shell', 'shell.log'):
            outer.run(f'mkdir -p {folder} && mkfifo {folder}/{pipe}.in '
                      f'{folder}/{pipe}.out && '
                      f'(cat {folder}/{pipe}.out >{folder}/{log} &)')
        self.shell = InnerShell(self)
        command = [
            'qemu-system-x86_64', '-machine', kind, '-accel', 'kvm',
            '-cpu', hv_cpu('kvm'), '-smp', str(cpus), '-m', '512',
            '-nodefaults', '-display', 'none', '-serial', f'file:{self.log}',
            '-serial', f'pipe:{folder}/shell',
            '-qmp', f'unix:{self.qmp},server=on,wait=off',
            '-kernel', f'/guest/{kernel}/vmlinuz',
            '-initrd', f'/guest/{kernel}/{initramfs}',
            '-append', '"console=ttyS0"', *vmbus_devices(),
            '-monitor', f'pipe:{folder}/mon', *extra]
        outer.run(f'({" ".join(command)} >{folder}/qemu.log 2>&1; '
                  f'echo $? >{folder}/exit) >/dev/null 2>&1 &')

    def text(self):
        return self.outer.run(f'cat {self.log}').replace('\r', '')

    def run(self, command, timeout=120 * SCALE):
        return self.shell.run(command, timeout)

    def until(self, condition, what, timeout, pause=0.5):
        """Wait in the outer machine until a command succeeds there."""
        code, _ = self.outer.shell.call(
            f'end=$(($(cut -d. -f1 /proc/uptime) + {timeout:.0f})); '
            f'until {condition}; do '
            f'[ -e {self.folder}/exit ] && exit 2; '
            '[ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 1; '
            f'sleep {pause}; done', timeout=timeout * 2 + 60)
        if code:
            qemu = self.outer.run(f'cat {self.folder}/qemu.log')
            raise AssertionError(
                f'no {what}: {"time is over" if code == 1 else "QEMU ended"}'
                f'\n{qemu}\n{self.text()[-4000:]}')

    def count(self, text):
        return self.text().count(text)

    def wait_count(self, text, number, timeout=INNER_BOOT_SECONDS):
        self.until(f'[ $(grep -c "{text}" {self.log}) -ge {number} ]',
                   f'"{text}" (number {number})', timeout)

    def hvctl(self, arguments, timeout=300 * SCALE):
        if '--timeout' not in arguments:
            # Some verbs would give a guest that is slow no more than 10.
            arguments += f' --timeout {60 * SCALE:.0f}'
        return self.outer.shell.call(f'hvctl --qmp {self.qmp} {arguments}',
                                     timeout)

    def wait_heartbeat(self):
        self.until(f'hvctl --qmp {self.qmp} heartbeat >/dev/null 2>&1',
                   'heartbeat', 120 * SCALE)

    def wait_exit(self):
        code, output = self.outer.shell.call(
            f'for i in $(seq 1200); do '
            f'[ -e {self.folder}/exit ] && cat {self.folder}/exit && exit 0; '
            'sleep 0.1; done; exit 1', timeout=300 * SCALE)
        assert code == 0, 'the inner QEMU did not end'
        return int(output)

    def monitor(self, line):
        self.outer.run(f'echo "{line}" >{self.folder}/mon.in')
