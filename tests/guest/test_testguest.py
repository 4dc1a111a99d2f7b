# SPDX-License-Identifier: GPL-2.0-or-later
"""The Hyper-V interface and VMBus, tested from inside by a bare-metal guest.

kvm/testguest prints TAP; what it says is "not ok" fails the test here, and so
does a test point that it skips: each machine has what its group needs.
"""
import concurrent.futures
import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from guestlib import (Qmp, QmpError, hv_cpu, hvctl, sanitizer, testguest,
                      vmbus_devices)
from guestlib.machine import SCALE
from guestlib.paths import program
from guestlib.storage import MIB
from guestlib.storage import image as image_file

PASSED = 0x10 << 1 | 1
SECONDS = 300 * SCALE
# The guest has 128 MiB; the rest is QEMU's own, its translations above all.
MOST_MEMORY_KIB = 700 * 1024
TESTDEV = ['-device', 'hyperv-testdev']
DIRECT = ',hv-stimer-direct'
ECHO_INSTANCE = 'c0ffee00-0000-0000-0000-00000000000'
# One device in the main loop, and two with an IOThread each.
ECHO = ['-object', 'iothread,id=io0', '-object', 'iothread,id=io1',
        '-device', 'vmbus-bridge', '-device', 'hv-echo',
        '-device', f'hv-echo,id=echo0,iothread=io0,instanceid={ECHO_INSTANCE}0',
        '-device', f'hv-echo,id=echo1,iothread=io1,instanceid={ECHO_INSTANCE}1']
TRACE = ['-trace', 'hv_echo', '-msg', 'timestamp=on']
STOPS = 30


@pytest.fixture(scope='module')
def image():
    return testguest.build()


def flags_of(cpu):
    """The list that the guest compares its machine with."""
    flags = [f[3:] for f in cpu.split(',') if f.startswith('hv-')]
    return f' hv={",".join(flags)}' if flags else ''


def wait_end(process, seconds):
    """(exit code, most memory in KiB), or None if it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss
        time.sleep(0.02)
    process.kill()
    process.wait()
    return None


class Onlooker(threading.Thread):
    """Asks QEMU for all it knows of its bus, again and again to its end."""

    def __init__(self, sock):
        super().__init__()
        self.sock = sock
        self.answers = []
        self.fault = None
        self.start()

    def run(self):
        try:
            qmp = Qmp(self.sock, SECONDS)
            while True:
                self.answers.append(qmp.execute('query-vmbus'))
                qmp.hmp('info vmbus')
                time.sleep(0.02)
        except (EOFError, ConnectionError):
            pass  # QEMU has ended
        except (TimeoutError, QmpError) as fault:
            self.fault = fault
        finally:
            self.sock.close()

    def seen(self, condition):
        """Was it ever so with some device or channel?"""
        return any(condition(each) for answer in self.answers
                   for device in answer['devices']
                   for each in (device, *device['channels']))


class Run:
    """One run of the guest, to its end.

    asan    whether QEMU is the one with the address sanitizer
    onlook  whether to ask QEMU meanwhile; its answers are in onlooker
    """

    def __init__(self, folder, image, groups, cpu, cpus, machine='q35',
                 devices=(), asan=False, onlook=False):
        self.command = [
            sanitizer.program() if asan else program('qemu-system-x86_64'),
            '-machine', machine,
            '-accel', 'tcg', '-cpu', cpu, '-smp', str(cpus), '-m', '128',
            '-nodefaults', '-display', 'none', '-no-reboot',
            '-serial', f'file:{folder}/serial',
            '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
            '-kernel', str(image), '-append', groups + flags_of(cpu),
            *devices]
        environment = sanitizer.environment(folder) if asan else None
        with open(folder / 'stderr', 'wb') as log:
            self.start(log, environment, onlook)
        self.stderr = (folder / 'stderr').read_text(errors='replace')
        serial = folder / 'serial'
        self.output = serial.read_text(errors='replace').replace(
            '\r', '') if serial.exists() else ''
        self.reports = sanitizer.reports(folder)

    def start(self, log, environment, onlook):
        fds = []
        self.onlooker = None
        if onlook:
            ours, theirs = socket.socketpair()
            fds.append(theirs.fileno())
            self.command += ['-chardev', f'socket,id=qmp,fd={fds[0]}',
                             '-mon', 'chardev=qmp,mode=control']
        process = subprocess.Popen(
            self.command, stderr=log, stdout=log, stdin=subprocess.DEVNULL,
            pass_fds=fds, env=environment)
        if onlook:
            theirs.close()
            self.onlooker = Onlooker(ours)
        self.ended = wait_end(process, SECONDS)
        if onlook:
            self.onlooker.join()

    def complaints(self):
        """All that is not as it should be."""
        lines = self.output.splitlines()
        found = [line for line in lines
                 if line.startswith(('not ok', 'Bail out!'))
                 or '# SKIP' in line]
        points = [line for line in lines if re.match(r'(not )?ok \d', line)]
        if not points:
            found.append('the guest tested nothing')
        if not lines or lines[-1] != f'1..{len(points)}':
            found.append('the guest did not come to its end')
        if self.ended is None:
            found.append(f'QEMU did not end within {SECONDS:.0f} s')
        elif self.ended[0] != PASSED:
            found.append(f'QEMU ended with {self.ended[0]}, not {PASSED}')
        if self.onlooker and self.onlooker.fault:
            found.append(f'QMP: {self.onlooker.fault}')
        return found + self.reports

    def check(self):
        found = self.complaints()
        assert not found, '\n'.join(
            found + ['', ' '.join(map(str, self.command)), self.stderr,
                     *self.output.splitlines()[-60:]])


@pytest.fixture
def run(folder, image):
    def start(groups, **options):
        return Run(folder, image, groups, **options)
    return start


@pytest.mark.parametrize('cpus', [1, 3])
def test_no_flags(run, cpus):
    """Without hv-* flags there is no trace of Hyper-V."""
    run('cpuid', cpu='max', cpus=cpus).check()


@pytest.mark.parametrize('flags', [
    'hv-relaxed', 'hv-time', 'hv-vpindex,hv-time', 'hv-vpindex,hv-synic',
    'hv-runtime,hv-frequencies', 'hv-crash,hv-reset',
    'hv-vpindex,hv-synic,hv-time,hv-stimer'])
def test_some_flags(run, flags):
    """A flag brings its own CPUID bits and MSRs, and no others."""
    run('cpuid msr', cpu=f'max,{flags}', cpus=2).check()


@pytest.mark.parametrize('cpus', [1, 2, 8])
def test_registers_and_clock(run, cpus):
    run('cpuid msr clock', cpu=hv_cpu(extra=DIRECT), cpus=cpus).check()


@pytest.mark.parametrize('machine,cpus', [
    ('pc', 1), ('q35', 2), ('q35', 8)])
def test_synic(run, machine, cpus):
    run('synic', cpu=hv_cpu(), cpus=cpus, machine=machine,
        devices=TESTDEV).check()


@pytest.mark.parametrize('extra', ['', DIRECT], ids=['messages', 'direct'])
@pytest.mark.parametrize('cpus', [1, 2, 8])
def test_stimer(run, cpus, extra):
    run('stimer', cpu=hv_cpu(extra=extra), cpus=cpus).check()


@pytest.mark.parametrize('machine,cpus', [
    ('pc', 1), ('q35', 2), ('q35', 8)])
def test_vmbus(run, machine, cpus):
    run('vmbus', cpu=hv_cpu(), cpus=cpus, machine=machine,
        devices=['-device', 'vmbus-bridge', '-device', 'hv-heartbeat',
                 '-device', 'hv-shutdown']).check()


def test_global_interrupt_flag(run):
    """What a hypervisor in an emulated machine relies on."""
    run('gif', cpu='max,+svm', cpus=2).check()


HOSTILE = pytest.mark.parametrize('machine,cpus', [
    ('pc', 1), ('q35', 2), ('q35', 8)])
GOOD_AFTERWARDS = 'a second, well-behaved connection works afterwards'


def run_hostile(run, machine, cpus, **options):
    done = run('hostile', cpu=hv_cpu(extra=DIRECT), cpus=cpus,
               machine=machine, devices=vmbus_devices(), **options)
    done.check()
    # The last of all that the guest tried.
    last = [line for line in done.output.splitlines() if line.startswith('ok')]
    assert last[-1] == f'ok {len(last)} - {GOOD_AFTERWARDS}'
    assert len(done.stderr.splitlines()) < 20, done.stderr
    return done


@HOSTILE
def test_hostile(run, machine, cpus):
    """No report of the sanitizer, no leak, and QEMU tells what went on."""
    done = run_hostile(run, machine, cpus, asan=True, onlook=True)
    look = done.onlooker
    assert len(look.answers) > 20
    assert look.seen(lambda one: one.get('service', {}).get('last-refusal'))
    assert look.seen(lambda one: one.get('corruption'))
    assert look.answers[-1]['messages-refused'] > 100


@HOSTILE
def test_hostile_takes_no_memory(run, machine, cpus):
    """Nor does the log grow with what the guest sends."""
    assert run_hostile(run, machine, cpus).ended[1] < MOST_MEMORY_KIB


REFUSALS = [
    ([], 11, 'The guest is not ready to shut down.'),
    (['--reboot'], 19, 'A user session in the guest is locked; --force may '
     'do.'),
    ([], 20, 'The guest says that it is shutting down already.'),
    (['--force'], 6, 'The guest does not support what was asked.'),
    ([], 6, 'The guest refused with status 0x80004005.')]
TOO_OLD = ('QEMU refused vmbus-shutdown: The version of the shutdown service '
           'that the guest agreed to cannot hibernate it.')


def test_shutdown_refusals(run, folder):
    """Each reaches hvctl as an exit code and a sentence of its own."""
    def shutdown(*arguments):
        return hvctl('shutdown', *arguments, qmp=folder / 'qmp')

    def is_open():
        return (folder / 'qmp').exists() and '"ready"' in \
            hvctl('status', '--json', qmp=folder / 'qmp').stdout

    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = pool.submit(
            run, 'shutdown=old', cpu=hv_cpu(), cpus=1,
            devices=['-device', 'vmbus-bridge', '-device', 'hv-shutdown',
                     '-qmp', f'unix:{folder}/qmp,server=on,wait=off'])
        deadline = time.monotonic() + SECONDS
        while not is_open():
            assert time.monotonic() < deadline and not done.done(), \
                done.done() and done.result().complaints()
            time.sleep(0.1)
        told = shutdown('--hibernate')
        assert (told.returncode, told.stderr) == (6, f'hvctl: {TOO_OLD}\n')
        for arguments, code, sentence in REFUSALS:
            told = shutdown(*arguments)
            assert (told.returncode, told.stderr) == \
                (code, f'hvctl: {sentence}\n')
        told = shutdown('--reboot', '--force')
        assert told.returncode == 0, told.stderr
        done.result().check()


def corruptions(answer):
    return sum(channel['corruptions'] for device in answer['devices']
               for channel in device['channels'])


@pytest.mark.parametrize('machine,cpus', [('pc', 1), ('q35', 2), ('q35', 8)])
def test_echo(run, machine, cpus):
    """Channels in IOThreads: each device answers from the thread that it was
    given, while the guest moves, closes and breaks the channels."""
    done = run('echo', cpu=hv_cpu(), cpus=cpus, machine=machine,
               devices=ECHO + TRACE, onlook=True)
    done.check()
    threads = set(re.findall(r'^(\d+)@.*hv_echo', done.stderr, re.M))
    assert len(threads) == 3, threads
    assert corruptions(done.onlooker.answers[-1]) > 1


@pytest.mark.parametrize('cpus', [1, 4])
def test_echo_sanitizer(run, cpus):
    """The same on a QEMU that finds what is used after it was freed."""
    run('echo', cpu=hv_cpu(), cpus=cpus, devices=ECHO, asan=True,
        onlook=True).check()


def storage_devices(folder, threads):
    """An adapter with what the group "storage" takes to be there."""
    words = ['-device', 'vmbus-bridge']
    adapter = {'driver': 'hv-scsi', 'id': 's0'}
    if threads:
        words += ['-object', 'iothread,id=io0']
        adapter['iothread'] = 'io0'
    words += ['-device', json.dumps(adapter)]
    slow = {'driver': 'throttle', 'throttle-group': 'slow', 'file': {
        'driver': 'null-co', 'size': MIB, 'read-zeroes': True}}
    words += ['-object', 'throttle-group,id=slow,x-iops-total=1']
    for lun, kind in enumerate(('scsi-hd', 'scsi-cd', 'scsi-hd')):
        node = {'driver': 'file', 'read-only': kind == 'scsi-cd',
                'filename': str(image_file(folder / f'disk{lun}', 8 * MIB))}
        words += ['-blockdev', json.dumps(
            {**(node if lun < 2 else slow), 'node-name': f'd{lun}'}),
            '-device', json.dumps({'driver': kind, 'bus': 's0.0', 'lun': lun,
                                   'drive': f'd{lun}'})]
    return words


@pytest.mark.parametrize('cpus,threads', [(1, 0), (2, 1)])
def test_storage(run, folder, cpus, threads):
    """Commands, memory and packets made up at random, with QEMU's disks behind
    the adapter: each request is answered, and the sanitizer finds nothing."""
    done = run('storage', cpu=hv_cpu(), cpus=cpus, asan=True, onlook=True,
               devices=storage_devices(folder, threads))
    done.check()
    assert len(done.stderr.splitlines()) < 20, done.stderr
    look = done.onlooker
    assert look.seen(lambda one: one.get('storage', {}).get('refused', 0) > 100)
    assert look.seen(lambda one: one.get('corruption'))


class Side:
    """A machine that is stopped and moved in the middle of the tests."""

    def __init__(self, folder, name, image, cpus, *options):
        ours, theirs = socket.socketpair()
        self.go, go = socket.socketpair()
        self.serial = folder / f'serial-{name}'
        self.stderr = folder / f'stderr-{name}'
        with open(self.stderr, 'wb') as log:
            self.process = subprocess.Popen(
                [program('qemu-system-x86_64'), '-machine', 'q35',
                 '-accel', 'tcg', '-cpu', hv_cpu(), '-smp', str(cpus),
                 '-m', '128', '-nodefaults', '-display', 'none',
                 '-no-reboot', '-serial', f'file:{self.serial}',
                 '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
                 '-chardev', f'socket,id=go,fd={go.fileno()}',
                 '-serial', 'chardev:go',
                 '-kernel', str(image), '-append', 'echo=hold',
                 '-chardev', f'socket,id=qmp,fd={theirs.fileno()}',
                 '-mon', 'chardev=qmp,mode=control', *ECHO, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno(), go.fileno()])
        theirs.close()
        go.close()
        self.qmp = Qmp(ours, SECONDS)

    def output(self):
        return self.serial.read_text(errors='replace').replace('\r', '')

    def wait_for(self, text):
        deadline = time.monotonic() + SECONDS
        while text not in self.output():
            assert time.monotonic() < deadline, self.output()
            assert self.process.poll() is None, self.stderr.read_text()
            time.sleep(0.02)

    def wait_migration(self):
        deadline = time.monotonic() + SECONDS
        while True:
            status = self.qmp.execute('query-migrate').get('status')
            if status == 'completed':
                return
            assert status != 'failed', self.stderr.read_text()
            assert time.monotonic() < deadline, status
            time.sleep(0.02)

    def end(self):
        self.go.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.mark.parametrize('cpus', [1, 4])
def test_echo_stop_and_move(folder, image, cpus):
    """Channels come to rest for a stop and a saved state, and go on."""
    state = f'file:{folder}/state'
    sides = [Side(folder, 'from', image, cpus)]
    try:
        source = sides[0]
        source.wait_for('ok 1 ')
        for _ in range(STOPS):
            source.qmp.execute('stop')
            source.qmp.execute('cont')
            time.sleep(0.02)
        source.qmp.execute('migrate', {'uri': state})
        source.wait_migration()
        first = source.output()
        sides.append(Side(folder, 'to', image, cpus, '-incoming', 'defer'))
        target = sides[1]
        target.qmp.execute('migrate-incoming', {'uri': state})
        target.wait_for('ok ')
        target.go.sendall(b'!')
        ended = wait_end(target.process, SECONDS)
        points = first + target.output()
        assert ended and ended[0] == PASSED, \
            points + target.stderr.read_text()
        assert 'not ok' not in points and '# SKIP' not in points, points
        count = int(points.rstrip().rpartition('1..')[2])
        rounds = points.count(' - each echo device answers')
        # Whole ones, and the end.
        assert rounds and (count - 1) % rounds == 0, points
        assert points.count('ok ') == count, points
    finally:
        for side in sides:
            side.end()


@pytest.mark.parametrize('body,sentence', [
    ('free(p); return *(char *)p;', 'heap-use-after-free'),
    ('p = NULL; return 0;', 'detected memory leaks')])
def test_what_the_sanitizer_finds(folder, body, sentence):
    """A program with a fault leaves a report, and its exit code tells."""
    (folder / 'bad.c').write_text(
        '#include <stdlib.h>\n'
        f'int main(void) {{ void *volatile p = malloc(9); {body} }}\n')
    subprocess.run(['gcc', '-fsanitize=address', '-o', folder / 'bad',
                    folder / 'bad.c'], check=True)
    done = subprocess.run([folder / 'bad'],
                          env=sanitizer.environment(folder))
    assert done.returncode == sanitizer.EXIT_CODE
    report, = sanitizer.reports(folder)
    assert sentence in report


def test_what_fails_is_seen(run):
    """The guest and this file notice a machine that is not as it says."""
    done = run('cpuid hv=relaxed,synic', cpu='max,hv-relaxed', cpus=1)
    assert any('features are shown' in line for line in done.complaints())
    done = run('nothing-of-that-name', cpu='max', cpus=1)
    assert any('Bail out!' in line for line in done.complaints())
    done = run('vmbus', cpu='max', cpus=1)
    assert any('# SKIP' in line for line in done.complaints())
