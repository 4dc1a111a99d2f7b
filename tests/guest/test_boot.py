# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian kernel finds the bus and opens its services."""
import json
import re

import pytest

from guestlib import vmbus, vmbus_devices

# Every kernel with each number of processors and each machine type, and every
# number of processors with each machine type.
CONFIGURATIONS = [
    ('6.1', 1, 'pc'), ('6.1', 2, 'q35'), ('6.1', 8, 'pc'),
    ('6.12', 1, 'q35'), ('6.12', 2, 'pc'), ('6.12', 8, 'q35'),
]


@pytest.fixture(scope='module', params=CONFIGURATIONS,
                ids=lambda c: f'linux{c[0]}-{c[1]}vp-{c[2]}')
def guest(request, module_machine):
    kernel, cpus, kind = request.param
    one = module_machine(kernel=kernel, cpus=cpus, machine=kind)
    one.cpus = cpus
    one.boot()
    one.wait_ready()
    yield one
    one.close()


def test_all_processors_run(guest):
    found = guest.console.wait_for(r'guest: system up, .* (\d+) processors')
    assert int(found.group(1)) == guest.cpus


def test_log_names_hyper_v_and_the_version(guest):
    log = guest.run('dmesg')
    assert 'Hypervisor detected: Microsoft Hyper-V' in log
    assert 'hv_vmbus: Vmbus version:5.3' in log
    for bad in ('BUG:', 'WARNING:', 'Call Trace:', 'rcu_sched self-detected',
                'probe failed', 'Invalid icmsg', 'ratelimit'):
        assert bad not in log


def test_clocksource_is_the_reference_page(guest):
    assert guest.run('cat /sys/devices/system/clocksource/clocksource0/'
                     'current_clocksource').strip() == \
        'hyperv_clocksource_tsc_page'


def test_time_goes_on_at_the_right_pace(guest):
    """Against the emulated clock of the machine, which QEMU drives."""
    uptime = 'cut -d" " -f1 /proc/uptime; '
    out = guest.run(f'for i in 1 2; do {uptime}'
                    f'cat /sys/class/rtc/rtc0/since_epoch; {uptime}'
                    '[ $i = 2 ] || sleep 5; done').split()
    # On a loaded machine there is time between the looks at the clocks.
    least, most = float(out[3]) - float(out[2]), float(out[5]) - float(out[0])
    rtc = int(out[4]) - int(out[1])
    assert least - 2 < rtc < most + 2, \
        f'{least} to {most} s by the guest, {rtc} s by RTC'


def test_sysfs_shows_open_services(guest):
    devices = vmbus.sysfs_devices(guest.run)
    assert sorted(d['class_id'] for d in devices.values()) == \
        sorted(vmbus.CLASSES[d] for d in vmbus_devices() if d[:3] == 'hv-')
    for name, device in devices.items():
        assert device['device_id'] == name
        assert device['driver'] == 'hv_utils'
        assert int(device['state']) == vmbus.OPENED
        assert device['channels'] == device['id']


def test_query_vmbus_agrees_with_sysfs(guest):
    devices = vmbus.sysfs_devices(guest.run)
    info = guest.query_vmbus()
    assert info['present'] and info['connected']
    assert info['version'] == '5.3'
    assert info['connects'] == 1
    assert info['messages-refused'] == 0
    assert {d['instance-id'] for d in info['devices']} == set(devices)
    for device in info['devices']:
        sysfs = devices[device['instance-id']]
        assert device['class-id'] == sysfs['class_id']
        (channel,) = device['channels']
        assert channel['relid'] == int(sysfs['id'])
        assert channel['state'] == 'open'
        assert channel['target-vp'] < guest.cpus
        assert channel['corruptions'] == 0
        assert channel['in']['size'] > 0 and channel['out']['size'] > 0


def test_info_vmbus_tells_the_same(guest):
    text = guest.qmp.hmp('info vmbus')
    assert '5.3' in text
    for device in guest.query_vmbus()['devices']:
        assert device['driver'] in text
        assert device['instance-id'] in text


def test_heartbeat_beats(guest):
    guest.qmp.wait_event('VMBUS_HEARTBEAT_CHANGE', state='ok')
    before = guest.device('hv-heartbeat')['heartbeat']
    assert before['state'] == 'ok'
    assert re.fullmatch(r'\d+\.\d+', before['framework-version'])
    assert re.fullmatch(r'\d+\.\d+', before['message-version'])

    def later(info):
        (now,) = (d['heartbeat'] for d in info['devices'] if 'heartbeat' in d)
        return now['received'] >= before['received'] + 3 and \
            now['sequence'] > before['sequence'] and \
            now['received'] == now['sent']
    guest.wait_vmbus('three more heartbeats, and all are answered', later)


def test_services_count_their_packets(guest):
    """The agreement on versions is a request of each service, too."""
    heartbeat = guest.device('hv-heartbeat')
    assert heartbeat['service']['sent'] == heartbeat['heartbeat']['sent'] + 1
    assert guest.device('hv-shutdown')['service'] == \
        {'sent': 1, 'answered': 1, 'refused': 0}
    assert heartbeat['service']['refused'] == 0
    assert 'last-refusal' not in heartbeat['service']


def test_hvctl_status(guest):
    done = guest.hvctl('status')
    assert done.returncode == 0, done.stderr
    assert '5.3' in done.stdout
    assert 'hv-heartbeat' in done.stdout and 'hv-shutdown' in done.stdout
    done = guest.hvctl('status', '--json')
    assert done.returncode == 0, done.stderr
    assert '5.3' in json.dumps(json.loads(done.stdout))


def test_hvctl_heartbeat(guest):
    done = guest.hvctl('heartbeat')
    assert done.returncode == 0, done.stderr
    assert 'ok' in done.stdout.lower()
    done = guest.hvctl('heartbeat', '--json')
    assert done.returncode == 0, done.stderr
    assert 'ok' in json.dumps(json.loads(done.stdout))


def test_shutdown_ends_the_guest_in_order(guest):
    """Last: the machine is off afterwards."""
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0
    assert 'guest: powering off from user space' in guest.console.text()
    assert guest.stderr() == ''
