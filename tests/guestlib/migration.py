# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving a guest: between two QEMUs, and through a snapshot."""
import time

from guestlib.machine import SCALE

MOVE_SECONDS = 120 * SCALE


def wait_status(machine, timeout=MOVE_SECONDS):
    """Until the migration has ended well, as this side sees it."""
    deadline = time.monotonic() + timeout
    while True:
        info = machine.qmp.execute('query-migrate')
        status = info.get('status')
        if status == 'completed':
            return info
        if status in ('failed', 'cancelled'):
            raise AssertionError(f'migration {status}: {info}')
        if time.monotonic() > deadline:
            raise TimeoutError(f'migration not completed: {info}')
        time.sleep(0.05)


def receiver(make, **options):
    """A machine that waits for a guest."""
    extra = list(options.pop('extra', ())) + ['-incoming', 'defer']
    return make(extra=extra, **options).start()


def begin(source, target, capabilities=()):
    """With a return path, as libvirt does it: the guest leaves its machine
    only when the other one has it."""
    uri = f'unix:{target.folder}/migration'
    for machine in source, target:
        machine.qmp.execute('migrate-set-capabilities', {
            'capabilities': [{'capability': name, 'state': True} for name in
                             ('events', 'return-path', *capabilities)]})
    target.qmp.execute('migrate-incoming', {'uri': uri})
    source.qmp.execute('migrate', {'uri': uri})


def migrate(source, target, capabilities=()):
    """Moves the running guest of one machine to another that waits for it.
    The first one is left in place, with no guest."""
    begin(source, target, capabilities)
    wait_status(source)
    wait_status(target)
    target.qmp.wait_event('RESUME')


def run_job(machine, command, timeout=MOVE_SECONDS, **arguments):
    """A QMP job to its end."""
    name = f'{command}-{time.monotonic_ns()}'
    machine.qmp.execute(command, {'job-id': name, **arguments})
    deadline = time.monotonic() + timeout
    while True:
        job = next(j for j in machine.qmp.execute('query-jobs')
                   if j['id'] == name)
        if job['status'] == 'concluded':
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f'{command} takes too long: {job}')
        time.sleep(0.05)
    machine.qmp.execute('job-dismiss', {'id': name})
    if 'error' in job:
        raise AssertionError(f'{command}: {job["error"]}')
