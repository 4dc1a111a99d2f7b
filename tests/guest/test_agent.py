# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU guest agent's commands, with no such agent in the guest."""
import random
import subprocess
import time

import pytest

from guestlib import backup, sanitizer
from guestlib.agent import (MAC, AgentError, AgentGuest, Client, is_open,
                            options, wait_port)
from guestlib.deadline import SCALE, until
from guestlib.hibernate import listen
from guestlib.machine import MachineEnded
from guestlib.migration import migrate
from guestlib.paths import BUILD, vmbus_devices

KERNELS = ['6.1', '6.12']
EARLY = 'did not stay frozen'
HOLD, SLACK = 6, 2


@pytest.fixture(scope='module', params=KERNELS)
def guest(request, module_machine):
    return AgentGuest(module_machine, kernel=request.param).boot()


@pytest.fixture
def client(guest):
    with guest.client() as one:
        one.sync()
        yield one


def refused(client, text, command, kind='GenericError', **arguments):
    with pytest.raises(AgentError, match=text) as caught:
        client.call(command, **arguments)
    assert caught.value.kind == kind


@pytest.mark.parametrize('name', ['test-agent', 'test-agent-commands',
                                  'test-agent-kvp', 'test-agent-noise'])
def test_units(name, folder):
    """The protocol without a machine, with the address sanitizer."""
    done = subprocess.run([BUILD / 'bin-asan' / name, '--tap'],
                          capture_output=True, text=True,
                          env=sanitizer.environment(folder))
    reports = sanitizer.reports(folder)
    assert done.returncode == 0, (done.stdout, done.stderr, reports)
    count = int(done.stdout.split('1..', 1)[1].split()[0])
    assert count > 0 and done.stdout.count('\nok ') == count, done.stdout


def test_open(guest):
    """What libvirt looks at: the event, and query-chardev."""
    wait_port(guest.machine, True)
    assert is_open(guest.machine)


def test_sync(guest):
    with guest.client() as client:
        client.begin('guest-sync', id=2**40)
        assert client.line() == b'{"return": %d}' % 2**40
        client.begin('guest-sync-delimited', id=5)
        assert client.line() == b'\xff{"return": 5}'


def test_ping_and_info(client):
    assert client.call('guest-ping') == {}
    info = client.call('guest-info')
    commands = {c['name']: c for c in info['supported_commands']}
    assert all(c['enabled'] for c in commands.values())
    assert all(c['success-response'] for c in commands.values())
    for name in commands:
        if name not in ('guest-shutdown', 'guest-suspend-disk'):
            client.send(b'{"execute":"%s","arguments":{"x":1}}' %
                        name.encode())
            with pytest.raises(AgentError, match='has no argument'):
                client.answer()


def test_os_and_name(guest, client):
    info = client.call('guest-get-osinfo')
    assert info == {'name': 'Test', 'version-id': '7.5', 'machine': 'x86_64',
                    'kernel-release': guest.run('uname -r').strip()}
    assert client.call('guest-get-host-name') == {'host-name': 'guest.example'}


def test_interfaces(client):
    one, = client.call('guest-network-get-interfaces')
    assert one['name'] == 'net0'
    assert one['hardware-address'] == MAC
    assert {'ip-address': '192.0.2.7', 'ip-address-type': 'ipv4',
            'prefix': 24} in one['ip-addresses']
    assert any(a['ip-address'].startswith('fe80:') and a['prefix'] == 64
               for a in one['ip-addresses'])


def test_interface_that_the_guest_does_not_have(guest, client):
    guest.run('ip link set dummy0 address 52:54:00:00:00:01')
    one, = client.call('guest-network-get-interfaces')
    assert one == {'name': 'net0', 'hardware-address': MAC}
    guest.run(f'ip link set dummy0 address {MAC}')


def test_time(guest, client):
    for arguments in {}, {'time': time.time_ns()}:
        guest.run('date -s "$(date -d @$(($(date +%s) - 3600)) '
                  '"+%Y-%m-%d %H:%M:%S")"')
        assert guest.clock_behind() > 3500
        assert client.call('guest-set-time', **arguments) == {}
        assert abs(guest.clock_behind()) < 5
    refused(client, 'only give the guest the host', 'guest-set-time',
            time=time.time_ns() - 3600 * 10**9)
    assert abs(guest.clock_behind()) < 5
    refused(client, 'does not tell what its clock shows', 'guest-get-time')


def test_freeze(guest, client):
    assert client.call('guest-fsfreeze-status') == 'thawed'
    assert client.call('guest-fsfreeze-freeze') == 1
    assert client.call('guest-fsfreeze-status') == 'frozen'
    before = guest.records()
    refused(client, 'Another freeze', 'guest-fsfreeze-freeze')
    assert guest.stands_still()
    copy = guest.copy()
    assert client.call('guest-fsfreeze-thaw') == 1
    assert client.call('guest-fsfreeze-status') == 'thawed'
    guest.wait_progress()
    backup.assert_clean(copy)
    assert backup.records_in(copy) == before
    assert client.call('guest-fsfreeze-thaw') == 0
    assert client.call('guest-fsfreeze-freeze-list') == 1
    assert client.call('guest-fsfreeze-thaw') == 1
    refused(client, 'leave the mount points out', 'guest-fsfreeze-freeze-list',
            mountpoints=['/data'])
    guest.wait_progress()


def test_bad_input(client):
    client.send(b'}{"execute": "guest-ping" "x"}\n')
    for _ in range(2):
        with pytest.raises(AgentError, match='JSON'):
            client.answer()
    client.sync()
    refused(client, 'no command', 'guest-exec', kind='CommandNotFound')
    client.send(b'{"execute":"guest-ping","arguments"')
    client.sync(5)
    client.send(b'{"execute":"' + b'x' * 200000 + b'"}\n')
    with pytest.raises(AgentError, match='may have 65536 bytes'):
        client.answer()
    assert client.call('guest-ping') == {}


def test_one_client_after_another(guest):
    """Nothing of the first one is left for the second."""
    for rest in b'', b'{"execute":"guest-pi', b'[[[["', b'\xff', b'{}{}{}':
        with guest.client() as client:
            assert client.call('guest-sync', id=1) == 1
            client.send(rest)
        with guest.client() as client:
            assert client.call('guest-sync', id=2) == 2
            assert client.call('guest-ping') == {}


def begin_osinfo(guest, client):
    """Until the guest has been asked for something."""
    def asked():
        return guest.machine.device('hv-kvp')['service']['sent']

    before = asked()
    client.begin('guest-get-osinfo')
    until(lambda: asked() > before, 'the guest is asked')


def test_client_dies_with_a_command_under_way(guest):
    """What it waited for is not told to the next one."""
    guest.run('kill -STOP $(cat /tmp/kvp.pid)')
    with guest.client() as client:
        begin_osinfo(guest, client)
    with guest.client() as client:
        assert client.call('guest-sync', id=3) == 3
        guest.run('kill -CONT $(cat /tmp/kvp.pid)')
        assert client.silent(2)
        assert client.call('guest-get-osinfo')['name'] == 'Test'


def test_client_dies_while_frozen(guest):
    """As libvirt's daemon when it is started anew: its freeze goes on."""
    with guest.client() as client:
        assert client.call('guest-fsfreeze-freeze') == 1
    assert guest.stands_still()
    with guest.client() as client:
        client.sync()
        assert client.call('guest-fsfreeze-status') == 'frozen'
        assert client.call('guest-fsfreeze-thaw') == 1
    guest.wait_progress()


def test_client_dies_while_the_guest_freezes(guest):
    """Nobody knows of that freeze, so it does not last."""
    guest.run('kill -STOP $(cat /tmp/daemon.pid)')
    with guest.client() as client:
        client.begin('guest-fsfreeze-freeze')
        guest.wait_state('checking', 'freezing')
    guest.run('kill -CONT $(cat /tmp/daemon.pid)')
    info = guest.wait_state('idle', 'failed')
    assert not info['thaw-owed'] and info['reason'] == 'cancelled', info
    guest.wait_progress()


def test_stopped_machine(guest, client):
    guest.run('kill -STOP $(cat /tmp/kvp.pid)')
    begin_osinfo(guest, client)
    guest.machine.qmp.execute('stop')
    with pytest.raises(AgentError, match='stopped before the guest had'):
        client.answer()
    for command in ('guest-ping', 'guest-get-osinfo', 'guest-set-time',
                    'guest-shutdown', 'guest-fsfreeze-freeze'):
        refused(client, 'stopped', command)
    assert client.call('guest-sync', id=4) == 4
    guest.machine.qmp.execute('cont')
    guest.run('kill -CONT $(cat /tmp/kvp.pid)')
    guest.machine.wait_heartbeat('ok')
    assert client.call('guest-ping') == {}


def test_deadlines_and_hold(machine):
    guest = AgentGuest(machine, timeout=2, freeze_timeout=10,
                       freeze_hold=HOLD).boot()
    with guest.client() as client:
        # A hold that nobody renews.
        assert client.call('guest-fsfreeze-freeze') == 1
        client.close()
        assert guest.stands_still()
        guest.wait_progress()
        held = guest.changed('thawing') - guest.changed('frozen')
        assert HOLD - 0.5 < held < HOLD + SLACK
    with guest.client() as client:
        refused(client, EARLY, 'guest-fsfreeze-thaw')
        assert client.call('guest-fsfreeze-thaw') == 0
        # Daemons that do not answer.
        guest.run('kill -STOP $(cat /tmp/kvp.pid) $(cat /tmp/daemon.pid)')
        for command in ('guest-get-osinfo', 'guest-get-host-name',
                        'guest-network-get-interfaces',
                        'guest-fsfreeze-freeze'):
            start = time.monotonic()
            with pytest.raises(AgentError):
                client.call(command)
            assert time.monotonic() - start < 30 * SCALE
            assert client.call('guest-sync', id=1) == 1
        guest.run('kill -CONT $(cat /tmp/kvp.pid) $(cat /tmp/daemon.pid)')
        guest.wait_state('failed', 'idle')
        guest.wait_progress()


@pytest.mark.parametrize('kernel', KERNELS)
def test_reboot_and_shutdown(machine, kernel):
    guest = AgentGuest(machine, kernel=kernel).boot()
    one = guest.machine
    with guest.client() as client:
        client.sync()
        mark, start = one.console.mark(), len(one.qmp.events)
        assert client.call('guest-shutdown', mode='reboot') == {}
        wait_port(one, False, start)
        assert not is_open(one)
        refused(client, 'not answered a heartbeat', 'guest-ping')
        one.wait_booted(mark)
        wait_port(one, True, start)
        one.wait_heartbeat('ok')
        assert client.call('guest-ping') == {}
        assert client.call('guest-shutdown') == {}
        with pytest.raises(EOFError):
            client.line()
    assert one.wait_end() == 0


def test_halt(machine):
    guest = AgentGuest(machine).boot()
    with guest.client() as client:
        assert client.call('guest-shutdown', mode='halt') == {}
        with pytest.raises(EOFError):
            client.line()
    assert guest.machine.wait_end() == 0


def test_reset_while_frozen(machine):
    guest = AgentGuest(machine).boot()
    one = guest.machine
    with guest.client() as client:
        assert client.call('guest-fsfreeze-freeze') == 1
        mark, start = one.console.mark(), len(one.qmp.events)
        one.qmp.execute('system_reset')
        wait_port(one, False, start)
        refused(client, EARLY, 'guest-fsfreeze-thaw')
        assert client.call('guest-fsfreeze-thaw') == 0
        one.wait_booted(mark)
        wait_port(one, True, start)


def test_migration(machine):
    """The client of the machine that is left gets its answer; the guest is
    not left frozen, and has an agent where it is."""
    guest = AgentGuest(machine).boot()
    source = guest.machine
    target = guest.receiver(machine)
    assert not is_open(target)
    with guest.client() as client:
        assert client.call('guest-fsfreeze-freeze') == 1
        start = len(source.qmp.events)
        migrate(source, target)
        wait_port(source, False, start)
        refused(client, EARLY, 'guest-fsfreeze-thaw')
        refused(client, 'stopped', 'guest-get-osinfo')
    wait_port(target, True)
    guest.machine = target
    guest.wait_progress()
    with Client(target.folder / 'agent') as client:
        assert client.call('guest-fsfreeze-thaw') == 0
        target.wait_heartbeat('ok')
        assert client.call('guest-ping') == {}
        assert client.call('guest-get-osinfo')['name'] == 'Test'
        assert client.call('guest-fsfreeze-freeze') == 1
        assert client.call('guest-fsfreeze-thaw') == 1


def test_suspend_disk(machine):
    one = machine(devices=vmbus_devices())
    one.command += options(one.folder)
    one.boot()
    one.wait_ready()
    listen(one, 'echo asked >/tmp/asked')
    with Client(one.folder / 'agent') as client:
        assert client.call('guest-suspend-disk') == {}
        one.run('until [ -s /tmp/asked ]; do sleep 0.1; done')
        one.wait_heartbeat('ok')
        assert client.call('guest-ping') == {}


def test_suspend_disk_of_a_machine_without_it(machine):
    one = machine(devices=vmbus_devices(),
                  extra=['-global', 'ICH9-LPC.disable_s4=1'])
    one.command += options(one.folder)
    one.boot()
    one.wait_ready()
    with Client(one.folder / 'agent') as client:
        refused(client, 'guest refused the request', 'guest-suspend-disk')


def bad_machine(make, *arguments, bridge=True):
    devices = vmbus_devices() if bridge else []
    one = make(devices=[*devices, *arguments])
    with pytest.raises(MachineEnded) as caught:
        one.start()
    return str(caught.value)


def test_refused_properties(machine):
    null = ['-chardev', 'null,id=c']
    assert 'needs the property chardev' in bad_machine(
        machine, '-device', 'hv-guest-agent')
    assert 'needs a vmbus-bridge' in bad_machine(
        machine, *null, '-device', 'hv-guest-agent,chardev=c', bridge=False)
    for name, most in ('timeout', 600), ('freeze-timeout', 900), \
            ('freeze-hold', 86400):
        for value in 0, most + 1:
            assert f'{name} is given in seconds, from 1 to {most}' in \
                bad_machine(machine, *null, '-device',
                            f'hv-guest-agent,chardev=c,{name}={value}')


def test_hold_beyond_the_limit(machine):
    guest = AgentGuest(machine, freeze_hold=301).boot()
    with guest.client() as client:
        refused(client, 'hold', 'guest-fsfreeze-freeze')
    guest.wait_progress()


def sanitized(make):
    """One that only shows what a client can do to QEMU."""
    one = make(asan=True, devices=vmbus_devices(),
               initramfs='initramfs-daemons')
    one.command += options(one.folder)
    one.boot()
    one.wait_ready()
    return one


def works(one):
    with Client(one.folder / 'agent') as client:
        assert client.call('guest-sync', id=9) == 9
        assert client.call('guest-ping') == {}


def test_missing_services(machine):
    one = machine(devices=['-device', 'vmbus-bridge', '-device',
                           'hv-heartbeat'], asan=True)
    one.command += options(one.folder)
    one.start()
    with Client(one.folder / 'agent') as client:
        info = client.call('guest-info')
        assert {c['name'] for c in info['supported_commands']
                if c['enabled']} == {'guest-sync', 'guest-sync-delimited',
                                     'guest-info', 'guest-ping'}
        refused(client, 'the machine has no hv-vss device',
                'guest-fsfreeze-freeze', kind='CommandNotFound')
        refused(client, 'has not answered a heartbeat yet', 'guest-ping')
    assert not is_open(one)
    one.quit()


FLOODS = [
    b'{"execute":"guest-info"}\n', b'}', b'[', b'"', b'x', b' ', b'\xff',
    b'{"execute":"guest-sync","arguments":{"id":1}}', b'{"execute":"' +
    b'y' * 70000 + b'"}\n']


@pytest.fixture(scope='module')
def sanitized_machine(module_machine):
    return sanitized(module_machine)


@pytest.mark.parametrize('flood', FLOODS, ids=[repr(f[:20]) for f in FLOODS])
def test_client_that_never_reads(sanitized_machine, flood):
    one = sanitized_machine
    before = sanitizer.live_bytes(one.folder)
    with Client(one.folder / 'agent', timeout=1) as client:
        data = flood * (1 + (1 << 20) // len(flood))
        try:
            for _ in range(4):
                client.send(data)
        except TimeoutError:
            pass
        start = time.monotonic()
        one.qmp.execute('query-status')
        assert time.monotonic() - start < 20 * SCALE
        assert sanitizer.live_bytes(one.folder) - before < 2 << 20
    works(one)


def test_noise(sanitized_machine):
    """A client that reads, and sends anything."""
    rand = random.Random(1)
    pieces = [*FLOODS[:-1], b'{"execute":', b'"guest-ping"', b'}', b'\\u',
              b'{"execute":"guest-get-osinfo"}',
              b'{"execute":"guest-set-time"}']
    for _ in range(20):
        with Client(sanitized_machine.folder / 'agent') as client:
            client.sock.setblocking(False)
            for _ in range(300):
                data = bytearray(rand.choice(pieces))
                if rand.random() < 0.3:
                    data[rand.randrange(len(data))] = rand.randrange(256)
                try:
                    client.sock.send(data)
                    client.sock.recv(65536)
                except BlockingIOError:
                    pass
            client.sock.setblocking(True)
            client.sock.settimeout(60 * SCALE)
            client.sync(rand.randrange(1 << 40))
    works(sanitized_machine)


def test_clients_that_come_and_go(sanitized_machine):
    for number in range(200):
        client = Client(sanitized_machine.folder / 'agent')
        if number % 2:
            client.begin('guest-info')
        client.close()
    works(sanitized_machine)
