# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are, and the command line that the scripts share with us."""
import functools
import os
import pathlib
import subprocess

from guestlib.deadline import SCALE

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / 'build'
BIN = pathlib.Path(os.environ.get('KVM_VMBUS_BIN', BUILD / 'bin'))
GUEST = BUILD / 'guest'


def program(name):
    path = BIN / name
    if not path.exists():
        raise FileNotFoundError(f'{path} is missing; scripts/test builds it')
    return str(path)


@functools.lru_cache(maxsize=None)
def _machine_sh(*arguments):
    script = TOP / 'scripts/lib/machine.sh'
    return subprocess.run(['bash', script, *arguments], check=True, text=True,
                          capture_output=True).stdout.strip()


def hv_cpu(accel='tcg', without=(), extra=''):
    """The -cpu of a machine with VMBus, without some of its flags."""
    flags = _machine_sh('cpu', accel).split(',')
    for flag in without:
        flags.remove(flag)
    return ','.join(flags) + extra


def vmbus_devices():
    return _machine_sh('devices').split()


def hvctl(*arguments, timeout=120 * SCALE, qmp=None):
    """Run hvctl to its end; returns a CompletedProcess with text."""
    command = [program('hvctl')]
    if qmp is not None:
        command += ['--qmp', str(qmp)]
    return subprocess.run(command + list(arguments), text=True,
                          capture_output=True, timeout=timeout)
