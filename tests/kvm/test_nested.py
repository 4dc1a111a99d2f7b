# SPDX-License-Identifier: GPL-2.0-or-later
"""VMBus on real KVM, anywhere: QEMU emulates a machine with AMD's
virtualization, whose Linux runs our QEMU with its own KVM."""
import json
import re

import pytest

from guestlib.machine import SCALE
from guestlib.nested import OUTER, InnerMachine

# hvctl host-check: KVM cannot carry VMBus.
NO_KVM = 9


@pytest.fixture(scope='module')
def outer(module_machine):
    return module_machine(**OUTER).boot()


@pytest.fixture(scope='module', params=[('6.12', 'q35', 1), ('6.1', 'pc', 2)],
                ids=lambda c: f'linux{c[0]}-{c[1]}-{c[2]}vp')
def inner(request, outer):
    kernel, kind, cpus = request.param
    folder = f'/tmp/{kernel}-{kind}'
    outer.run(f'mkdir {folder} && truncate -s 64M {folder}/disk')
    one = InnerMachine(
        outer, kernel, kind, cpus, folder, initramfs='initramfs-nested',
        extra=['-object', 'iothread,id=io0', '-device', 'hv-scsi,id=s0,'
               'iothread=io0', '-drive', f'if=none,id=d0,file={folder}/disk,'
               'format=raw', '-device', 'scsi-hd,bus=s0.0,drive=d0'])
    one.cpus = cpus
    one.wait_count('^guest: system up', 1)
    one.wait_heartbeat()
    yield one
    outer.run('kill $(pidof qemu-system-x86_64) 2>/dev/null || true')
    one.wait_exit()


def test_outer_machine_has_real_kvm(outer):
    outer.run('[ -c /dev/kvm ] && grep -qw svm /proc/cpuinfo')
    code, output = outer.shell.call('hvctl host-check')
    assert code == 0, output


def test_guest_log(inner):
    log = inner.text()
    assert 'Hypervisor detected: Microsoft Hyper-V' in log
    assert 'hv_vmbus: Vmbus version:5.3' in log
    assert f', {inner.cpus} processors' in log
    switched = re.findall(r'Switched to clocksource (\S+)', log)
    assert switched[-1] == 'hyperv_clocksource_tsc_page'


def test_query_vmbus(inner):
    code, output = inner.hvctl('status --json')
    assert code == 0, output
    text = json.dumps(json.loads(output))
    for word in ('5.3', 'hv-heartbeat', 'hv-shutdown', 'open'):
        assert word in text


def test_heartbeat(inner):
    code, output = inner.hvctl('heartbeat')
    assert code == 0, output


def clock_error(inner):
    """How far the guest's clock is ahead of its host's, in seconds."""
    guest = int(inner.shell.run('date +%s'))
    return guest - int(inner.outer.run('date +%s'))


def test_timesync(inner):
    """The guest adds what passed of its reference time to the host's time, so
    a reference time that is not KVM's would be seen as a wrong clock."""
    assert abs(clock_error(inner)) < 10
    inner.shell.run('date -s @$(($(date +%s) + 3600))')
    assert clock_error(inner) > 3000
    code, output = inner.hvctl('timesync --sync')
    assert code == 0, output
    # Two looks at a clock take a few seconds here.
    assert abs(clock_error(inner)) < 10


def test_freeze_and_thaw(inner):
    inner.shell.run('hv_vss_daemon --no-daemon >/tmp/vss.log 2>&1 & sleep 2')
    code, output = inner.hvctl('snapshot-freeze --hold 60 --json')
    assert code == 0, output
    assert json.loads(output)['state'] == 'frozen'
    code, output = inner.hvctl('vss-status --json')
    assert code == 0, output
    assert json.loads(output)['state'] == 'frozen'
    code, output = inner.hvctl('snapshot-thaw')
    assert code == 0, output
    code, output = inner.hvctl('vss-status --json')
    info = json.loads(output)
    assert (info['state'], info['freezes'], info['thaws']) == ('idle', 1, 1)
    assert not info['thaw-owed']


def test_keys_and_values(inner):
    inner.shell.run('''
mkdir -p /var/lib /etc
printf 'NAME=Test\\nVERSION_ID="7.5"\\nID=test\\n' >/etc/os-release
hv_kvp_daemon -n >/tmp/kvp.log 2>&1 & sleep 2
''')
    code, output = inner.hvctl('kvp get auto OSName')
    assert (code, output.strip()) == (0, 'Test'), output
    code, output = inner.hvctl('kvp set external key value')
    assert code == 0, output
    code, output = inner.hvctl('kvp get external key')
    assert (code, output.strip()) == (0, 'value'), output


def digests(inner):
    """Of the disk's 64 MiB, in the guest and in its host."""
    guest = inner.shell.run('until [ -b /dev/sda ]; do sleep 0.1; done; '
                            'sha256sum /dev/sda')
    host = inner.outer.run(f'sha256sum {inner.folder}/disk')
    return guest.split()[0], host.split()[0]


def test_disk_in_an_iothread(inner):
    """What several writers wrote at once, in requests of many sizes, is there;
    each processor has a channel, whose signals go to the IOThread."""
    inner.shell.run('until [ -b /dev/sda ]; do sleep 0.1; done')
    inner.shell.run("""
dd if=/dev/urandom of=/tmp/x bs=1M count=2 2>/dev/null
for job in 0 1 2 3; do
    (for size in 512 4096 65536 1048576; do
        count=$((2097152 / size < 256 ? 2097152 / size : 256))
        at=$((job * 16777216 / size))
        dd if=/tmp/x of=/dev/sda bs=$size oflag=direct seek=$at \
            count=$count conv=notrunc || exit 1
        dd if=/dev/sda of=/tmp/y$job bs=$size iflag=direct skip=$at \
            count=$count || exit 1
        cmp -n $((count * size)) /tmp/x /tmp/y$job || exit 1
    done 2>/dev/null && echo done >>/tmp/jobs) &
    jobs="$jobs $!"
done
wait $jobs
[ "$(grep -c done /tmp/jobs)" = 4 ]
""", timeout=600 * SCALE)
    guest, host = digests(inner)
    assert guest == host
    code, output = inner.hvctl('status --json')
    assert code == 0, output
    adapter, = (d for d in json.loads(output)['devices']
                if d['driver'] == 'hv-scsi')
    assert adapter['storage']['refused'] == 0
    assert len(adapter['channels']) == inner.cpus
    assert all(c['signals-received'] for c in adapter['channels'])


def test_restart(inner):
    code, output = inner.hvctl('shutdown --reboot --wait --timeout 200')
    assert code == 0, output
    inner.wait_count('^guest: system up', 2)
    assert inner.count('guest: restarting from user space') == 1
    inner.wait_heartbeat()
    guest, host = digests(inner)
    assert guest == host


def test_shutdown(inner):
    """Last: the machine is off afterwards."""
    code, output = inner.hvctl('shutdown --wait --timeout 200')
    assert code == 0, output
    assert inner.wait_exit() == 0
    assert inner.count('guest: powering off from user space') == 1
