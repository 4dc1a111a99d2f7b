# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration with real KVM, nested as in test_nested.py.  The Hyper-V
registers are the kernel's here, and QEMU itself carries them over."""
import json
import os

import pytest

from guestlib.deadline import SCALE, until
from guestlib.nested import OUTER, InnerMachine

MOVES = int(os.environ.get('KVM_VMBUS_KVM_MIGRATIONS', '2'))


@pytest.fixture(scope='module')
def outer(module_machine):
    return module_machine(**OUTER).boot()


def status(inner):
    code, output = inner.hvctl('status --json')
    assert code == 0, output
    return output


def sequence(inner):
    """Number of the last heartbeat that the guest answered; False if it has
    missed some since."""
    code, output = inner.hvctl('heartbeat --json')
    return code == 0 and json.loads(output)['sequence']


def move(outer, source, number, **options):
    folder = f'/tmp/move-{number}'
    outer.run(f'mkdir -p {folder}')
    target = InnerMachine(outer, folder=f'{folder}/to', **options,
                          extra=['-incoming', f'unix:{folder}/stream'])
    target.until(f'[ -S {folder}/stream ]', 'listening', 60 * SCALE)
    source.monitor(f'migrate -d unix:{folder}/stream')
    target.until(f"hvctl --qmp {target.qmp} heartbeat >/dev/null 2>&1",
                 'heartbeat after the move', 120 * SCALE)
    source.monitor('quit')
    assert source.wait_exit() == 0
    assert outer.run(f'cat {target.folder}/qemu.log').strip() == ''
    return target


@pytest.mark.parametrize('kernel,kind,cpus', [
    ('6.12', 'q35', 2), ('6.1', 'pc', 1)])
def test_there_and_back(outer, kernel, kind, cpus):
    options = {'kernel': kernel, 'kind': kind, 'cpus': cpus}
    inner = InnerMachine(outer, folder=f'/tmp/first-{kernel}', **options)
    inner.wait_count('^guest: system up', 1)
    inner.wait_heartbeat()
    for number in range(MOVES):
        inner = move(outer, inner, f'{kernel}-{number}', **options)
        before = until(lambda: sequence(inner), 'heartbeat')
        until(lambda: sequence(inner) >= before + 2, 'more of them')
        assert 'open' in status(inner)
    # The kernel's timers and clock are right if it can boot again.
    code, output = inner.hvctl('shutdown --reboot --wait --timeout 200')
    assert code == 0, output
    inner.wait_count('^guest: system up', 1)
    inner.wait_heartbeat()
    code, output = inner.hvctl('shutdown --wait --timeout 200')
    assert code == 0, output
    assert inner.wait_exit() == 0
