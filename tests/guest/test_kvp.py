# SPDX-License-Identifier: GPL-2.0-or-later
"""Key-value exchange with Debian's daemon in the guest."""
import time

import pytest

from guestlib.deadline import SCALE
from guestlib.migration import migrate, receiver
from guestlib.qmp import QmpError, moment

DEVICES = ['-device', 'vmbus-bridge', '-device', 'hv-heartbeat',
           '-device', 'hv-shutdown', '-device', 'hv-kvp']
KERNELS = ['6.1', '6.12']
MAC = '52:54:00:aa:bb:cc'
ADAPTER = '{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
# What the daemon finds out about its system.
PREPARE = '''
mkdir -p /var/lib /etc
printf 'NAME=Test\\nVERSION_ID="7.5"\\nID=test\\n' >/etc/os-release
hostname guest.example
echo 127.0.0.1 guest.example >/etc/hosts
insmod /lib/modules/dummy.ko
ip link set dummy0 address 52:54:00:AA:BB:CC
ip addr add 192.0.2.7/24 dev dummy0
ip link set dummy0 up
'''
# For the daemon alone, a network adapter of VMBus.
FAKE_ADAPTER = f'''
mkdir -p /tmp/net/eth9/device
echo '{ADAPTER}' >/tmp/net/eth9/device/device_id
echo 00:15:5d:00:00:09 >/tmp/net/eth9/address
mount -o bind /tmp/net /sys/class/net
'''


def kvp_state(info):
    return next(d['kvp']['state'] for d in info['devices'] if 'kvp' in d)


def start_daemon(guest):
    guest.run('hv_kvp_daemon -n >/tmp/daemon.log 2>&1 & echo $! >/run/kvp.pid')
    guest.wait_vmbus('KVP ready', lambda info: kvp_state(info) == 'ready')
    # Not before: it would ask the server for the system's name.
    guest.run('echo nameserver 192.0.2.53 >/etc/resolv.conf')


def boot(make, kernel, **options):
    guest = make(kernel=kernel, devices=DEVICES,
                 initramfs='initramfs-daemons', **options).boot()
    guest.run(PREPARE)
    return guest


def finish(guest, job, timeout=90 * SCALE, start=0):
    event = guest.qmp.wait_event('VMBUS_KVP_ENDED', timeout, start, job=job)
    info = guest.qmp.execute('query-vmbus-kvp', {'job': job})
    assert info['state'] == 'ended'
    assert info['result'] == event['data']['result']
    return info


def ask(guest, command, **arguments):
    arguments = {name.replace('_', '-'): value
                 for name, value in arguments.items()}
    arguments.setdefault('timeout-ms', int(60000 * SCALE))
    start = len(guest.qmp.events)
    job = guest.qmp.execute(command, arguments)['job']
    return finish(guest, job, start=start)


def items(guest, pool):
    info = ask(guest, 'vmbus-kvp-list', pool=pool)
    assert info['result'] == 'ok', info
    assert (info['skipped'], info['truncated']) == (0, False)
    return {item['key']: item['value'] for item in info['items']}


@pytest.fixture(scope='module', params=KERNELS)
def guest(request, module_machine):
    guest = boot(module_machine, request.param)
    start_daemon(guest)
    return guest


def test_versions(guest):
    kvp = guest.device('hv-kvp')['kvp']
    assert kvp['framework-version'] == '3.0'
    assert kvp['message-version'] == '4.0'


def test_what_the_guest_says_of_itself(guest):
    found = items(guest, 'auto')
    assert found['FullyQualifiedDomainName'] == 'guest.example'
    assert found['OSName'] == 'Test'
    assert found['OSMajorVersion'] == '7.5'
    assert guest.run('uname -r').strip().startswith(found['OSBuildNumber'])
    assert '192.0.2.7' in found['NetworkAddressIPv4'].split(';')
    assert 'fe80:' in found['NetworkAddressIPv6']
    assert found['ProcessorArchitecture'] == 'x86_64'
    one = ask(guest, 'vmbus-kvp-get', pool='auto', key='OSName')
    assert one['items'] == [{'key': 'OSName', 'type': 'string',
                             'value': 'Test'}]


@pytest.mark.parametrize('pool,number', [
    ('external', 0), ('guest', 1), ('auto-external', 3), ('auto-internal', 4)])
def test_pool(guest, pool, number):
    """What is set stands in the daemon's file, and comes back."""
    before = items(guest, pool)
    value = 'Grüße, 世界 💤 ' + 'v' * 900
    for key in 'first', 'key ä€💤', 'last':
        info = ask(guest, 'vmbus-kvp-set', pool=pool, key=key,
                   value=value + key)
        assert info['result'] == 'ok', info
    found = items(guest, pool)
    assert found == {**before, 'first': value + 'first',
                     'key ä€💤': value + 'key ä€💤', 'last': value + 'last'}
    stored = guest.run(f'cat /var/lib/hyperv/.kvp_pool_{number}')
    assert value + 'first' in stored
    one = ask(guest, 'vmbus-kvp-get', pool=pool, key='key ä€💤')
    assert one['items'][0]['value'] == value + 'key ä€💤'
    info = ask(guest, 'vmbus-kvp-set', pool=pool, key='first', value='')
    assert items(guest, pool)['first'] == ''
    for key in 'first', 'key ä€💤', 'last':
        info = ask(guest, 'vmbus-kvp-delete', pool=pool, key=key)
        assert info['result'] == 'ok', info
    assert items(guest, pool) == before
    for command in 'vmbus-kvp-delete', 'vmbus-kvp-get':
        info = ask(guest, command, pool=pool, key='first')
        assert info['result'] == 'no-such-key', info


def test_guest_writes_for_the_host(guest):
    """As programs in a Linux guest do it: a record of 512 and 2048 bytes."""
    guest.run("(printf 'from-guest'; head -c 502 /dev/zero; printf 'hello'; "
              'head -c 2043 /dev/zero) >/var/lib/hyperv/.kvp_pool_1')
    assert items(guest, 'guest')['from-guest'] == 'hello'


def test_number(guest):
    info = ask(guest, 'vmbus-kvp-set', pool='external', key='number',
               value='4294967295', type='u32')
    assert info['result'] == 'ok'
    assert items(guest, 'external')['number'] == '4294967295'


def test_longest_that_can_be_set(guest):
    key, value = 'k' * 254, 'v' * 1022
    ask(guest, 'vmbus-kvp-set', pool='external', key=key, value=value)
    assert items(guest, 'external')[key] == value
    key, value = '€' * 170, '€' * 682
    ask(guest, 'vmbus-kvp-set', pool='external', key=key, value=value)
    assert items(guest, 'external')[key] == value
    for bad in {'key': 'k' * 255}, {'value': 'v' * 1023}, {'key': ''}, \
            {'value': '1', 'type': 'u64'}, {'value': '1x', 'type': 'u32'}:
        with pytest.raises(QmpError):
            guest.qmp.execute('vmbus-kvp-set', {
                'pool': 'external', 'key': 'k', 'value': 'v', **bad})


def test_get_of_linux_is_empty(guest):
    """Why "get" lists the pool.  A guest where this fails is a better one."""
    ask(guest, 'vmbus-kvp-set', pool='external', key='get', value='12345678')
    info = ask(guest, 'vmbus-kvp-get', pool='external', key='get', direct=True)
    assert [i['value'] for i in info['items']] == ['']
    info = ask(guest, 'vmbus-kvp-get', pool='external', key='get')
    assert [i['value'] for i in info['items']] == ['12345678']


def test_many_items(guest):
    guest.run("i=0; while [ $i -lt 300 ]; do printf key$i >/tmp/k; "
              "truncate -s 512 /tmp/k; printf value$i >/tmp/v; "
              "truncate -s 2048 /tmp/v; cat /tmp/k /tmp/v; "
              'i=$((i + 1)); done >/var/lib/hyperv/.kvp_pool_1')
    found = items(guest, 'guest')
    assert found == {f'key{i}': f'value{i}' for i in range(300)}


def test_jobs_at_once(guest):
    jobs = [guest.qmp.execute('vmbus-kvp-set', {
        'pool': 'external', 'key': f'at-once-{i}', 'value': str(i)})['job']
        for i in range(8)]
    for job in jobs:
        assert finish(guest, job)['result'] == 'ok'
    found = items(guest, 'external')
    assert all(found[f'at-once-{i}'] == str(i) for i in range(8))


def test_ip_get(guest):
    info = ask(guest, 'vmbus-ip-get', adapter=MAC)
    assert info['result'] == 'ok', info
    ip = info['ip']
    assert ip['ipv4'] and not ip['dhcp']
    place = ip['addresses'].index('192.0.2.7')
    assert ip['subnets'][place] == '255.255.255.0'
    assert ip['dns'] == ['192.0.2.53']
    guest.run('touch /run/dhcp-dummy0')
    assert ask(guest, 'vmbus-ip-get', adapter=MAC.upper())['ip']['dhcp']
    info = ask(guest, 'vmbus-ip-get', adapter='00:00:00:00:00:01')
    assert info['result'] == 'failed', info


def test_ip_set(machine):
    """Linux looks for the VMBus adapter with that id; the daemon is shown
    one, and writes its configuration for a script."""
    guest = boot(machine, '6.1')
    guest.run(FAKE_ADAPTER)
    start_daemon(guest)
    settings = {'ipv4': True, 'ipv6': True, 'dhcp': False,
                'addresses': ['192.0.2.9', '2001:db8::9'],
                'subnets': ['255.255.255.0', '64'],
                'gateways': ['192.0.2.1'], 'dns': ['192.0.2.2', '192.0.2.3']}
    info = ask(guest, 'vmbus-ip-set', adapter=ADAPTER, settings=settings)
    assert info['result'] == 'ok', info
    written = guest.run('cat /run/ifcfg').splitlines()
    for line in ('DEVICE=eth9', 'IPADDR0=192.0.2.9',
                 'NETMASK0=255.255.255.0', 'GATEWAY=192.0.2.1',
                 'IPV6ADDR=2001:0db8:0000:0000:0000:0000:0000:0009',
                 'IPV6NETMASK=64', 'DNS1=192.0.2.2', 'DNS2=192.0.2.3',
                 'BOOTPROTO=none'):
        assert line in written, written
    dhcp = {**settings, 'dhcp': True, 'addresses': [], 'subnets': []}
    info = ask(guest, 'vmbus-ip-set', adapter=ADAPTER, settings=dhcp)
    assert info['result'] == 'ok', info
    assert 'BOOTPROTO=dhcp' in guest.run('cat /run/ifcfg').splitlines()
    info = ask(guest, 'vmbus-ip-set', adapter='{no-such}', settings=settings)
    assert info['result'] == 'no-such-adapter', info
    for bad in {'addresses': ['192.0.2.256', '::1']}, {'subnets': ['24']}, \
            {'dns': ['name']}, {'ipv4': False, 'ipv6': False}:
        with pytest.raises(QmpError):
            guest.qmp.execute('vmbus-ip-set', {
                'adapter': ADAPTER, 'settings': {**settings, **bad}})


def test_refusals_before_the_daemon_runs(machine):
    """Not there, not opened, not agreed: three errors."""
    guest = boot(machine, '6.12', append='guest.skip=hv_utils')
    with pytest.raises(QmpError) as caught:
        guest.qmp.execute('vmbus-kvp-list', {'pool': 'auto'})
    assert caught.value.kind == 'DeviceNotActive'
    guest.run('insmod /lib/modules/hv_utils.ko')
    guest.wait_vmbus('KVP opened',
                     lambda info: kvp_state(info) == 'negotiating')
    with pytest.raises(QmpError) as caught:
        guest.qmp.execute('vmbus-kvp-list', {'pool': 'auto'})
    assert caught.value.kind == 'GenericError'
    assert 'daemon' in str(caught.value)
    start_daemon(guest)
    assert items(guest, 'auto')
    with pytest.raises(QmpError, match='no job'):
        guest.qmp.execute('query-vmbus-kvp', {'job': 999})


@pytest.mark.parametrize('kernel', KERNELS)
def test_daemon_that_does_not_answer(machine, kernel):
    """The deadline holds, and all goes on when the daemon does."""
    guest = boot(machine, kernel)
    start_daemon(guest)
    guest.run('kill -STOP $(cat /run/kvp.pid)')
    begun = time.time()
    first = guest.qmp.execute('vmbus-kvp-list', {
        'pool': 'auto', 'timeout-ms': 3000})['job']
    second = guest.qmp.execute('vmbus-kvp-set', {
        'pool': 'external', 'key': 'k', 'value': 'v',
        'timeout-ms': 4000})['job']
    assert finish(guest, first)['result'] == 'timeout'
    assert guest.device('hv-kvp')['kvp']['answer-missing']
    assert finish(guest, second)['result'] == 'not-sent'
    for job, limit in (first, 3), (second, 4):
        ended = guest.qmp.find_event('VMBUS_KVP_ENDED', job=job)
        assert limit - 0.1 <= moment(ended) - begun < limit + 2 * SCALE
    guest.run('kill -CONT $(cat /run/kvp.pid)')
    assert ask(guest, 'vmbus-kvp-get', pool='auto',
               key='OSName')['result'] == 'ok'
    assert items(guest, 'external') == {}


def test_daemon_that_dies(machine):
    """Linux says so when it knows; then it waits for another daemon."""
    guest = boot(machine, '6.12')
    start_daemon(guest)
    guest.run('kill -STOP $(cat /run/kvp.pid)')
    job = guest.qmp.execute('vmbus-kvp-list', {
        'pool': 'auto', 'timeout-ms': 60000})['job']
    guest.run('kill -KILL $(cat /run/kvp.pid)')
    assert finish(guest, job)['result'] == 'failed'
    job = guest.qmp.execute('vmbus-kvp-list', {
        'pool': 'auto', 'timeout-ms': 60000})['job']
    start_daemon(guest)
    assert finish(guest, job)['result'] == 'ok'


def test_reset_with_a_job(machine):
    guest = boot(machine, '6.12')
    start_daemon(guest)
    guest.run('kill -STOP $(cat /run/kvp.pid)')
    job = guest.qmp.execute('vmbus-kvp-list', {
        'pool': 'auto', 'timeout-ms': 60000})['job']
    mark = guest.console.mark()
    guest.qmp.execute('system_reset')
    assert finish(guest, job)['result'] == 'gone'
    guest.wait_booted(mark)
    guest.run(PREPARE)
    start_daemon(guest)
    assert items(guest, 'auto')


@pytest.mark.parametrize('kernel', KERNELS)
def test_migration(machine, kernel):
    """A job stays behind, and is answered there; its late answer harms
    nothing where the guest is."""
    guest = boot(machine, kernel)
    start_daemon(guest)
    ask(guest, 'vmbus-kvp-set', pool='external', key='k', value='v')
    guest.run('kill -STOP $(cat /run/kvp.pid)')
    job = guest.qmp.execute('vmbus-kvp-list', {
        'pool': 'auto', 'timeout-ms': 10000})['job']
    target = receiver(machine, kernel=kernel, devices=DEVICES,
                      initramfs='initramfs-daemons')
    migrate(guest, target)
    assert finish(guest, job)['result'] in ('timeout', 'gone')
    target.shell = guest.shell
    assert target.device('hv-kvp')['kvp']['answer-missing']
    later = target.qmp.execute('vmbus-kvp-list', {
        'pool': 'external', 'timeout-ms': 60000})['job']
    assert later > job
    # The guest's second serial port leads to the target now.
    target.shell.sock = target.sockets[1]
    target.run('kill -CONT $(cat /run/kvp.pid)')
    info = finish(target, later)
    assert info['items'] == [{'key': 'k', 'type': 'string', 'value': 'v'}]


def test_device_is_unplugged_and_plugged(machine):
    guest = make_unpluggable(machine)
    start_daemon(guest)
    assert items(guest, 'auto')
    guest.qmp.execute('device_del', {'id': 'kvp'})
    guest.qmp.wait_event('DEVICE_DELETED', device='kvp')
    with pytest.raises(QmpError) as caught:
        guest.qmp.execute('vmbus-kvp-list', {'pool': 'auto'})
    assert caught.value.kind == 'DeviceNotFound'
    guest.run('kill $(cat /run/kvp.pid) 2>/dev/null || true')
    guest.qmp.execute('device_add', {'driver': 'hv-kvp', 'id': 'kvp2'})
    guest.wait_vmbus('KVP opened',
                     lambda info: kvp_state(info) == 'negotiating')
    start_daemon(guest)
    assert items(guest, 'auto')


def make_unpluggable(machine):
    guest = machine(kernel='6.12', initramfs='initramfs-daemons',
                    devices=DEVICES[:-1] + ['hv-kvp,id=kvp']).boot()
    guest.run(PREPARE)
    return guest
