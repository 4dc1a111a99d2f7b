# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP of a machine that runs inside another one."""
import itertools
import json

from guestlib.machine import SCALE


class InnerQmp:
    """A monitor on a pipe; options are for the inner QEMU's command line, and
    connect() is for when it runs."""

    def __init__(self, outer, folder):
        self.outer = outer
        self.pipe = f'{folder}/qmp-pipe'
        self.numbers = itertools.count(1)
        outer.run(f'mkdir -p {folder} && mkfifo {self.pipe}.in '
                  f'{self.pipe}.out && '
                  f'(cat {self.pipe}.out >{self.pipe}.log &)')
        self.options = ['-qmp', f'pipe:{self.pipe}']

    def connect(self):
        self.execute('qmp_capabilities')

    def batch(self, commands, then='true', timeout=120 * SCALE):
        """What (command, arguments) return, each, and what the outer machine's
        shell says to @then right after the last answer."""
        names = [f'i{next(self.numbers)}i' for _ in commands]
        lines = [json.dumps({'execute': command, 'arguments': arguments,
                             'id': name})
                 for name, (command, arguments) in zip(names, commands)]
        seconds = int(timeout)
        words = '\n'.join(lines)
        output = self.outer.run(
            f"cat >{self.pipe}.in <<'END'\n{words}\nEND\n"
            f'for i in $(seq {50 * seconds}); do '
            f'grep -q {names[-1]} {self.pipe}.log && break; '
            f'sleep 0.02; done\n{then}\necho answers\n'
            f"grep -E '{'|'.join(names)}' {self.pipe}.log",
            timeout=2 * timeout)
        said, answers = output.split('answers\n', 1)
        found = {answer['id']: answer
                 for answer in map(json.loads, answers.splitlines())}
        for name, (command, _) in zip(names, commands):
            assert 'return' in found.get(name, {}), \
                f'{command}: {found.get(name, "no answer")}'
        return [found[name]['return'] for name in names], said

    def execute(self, command, arguments=None):
        return self.batch([(command, arguments or {})])[0][0]
