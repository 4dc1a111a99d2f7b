# SPDX-License-Identifier: GPL-2.0-or-later
"""VMBus on real KVM, anywhere: QEMU emulates a machine with AMD's
virtualization, whose Linux runs our QEMU with its own KVM."""
import json
import re

import pytest

from guestlib import daemons
from guestlib.deadline import SCALE, until
from guestlib.fio import VERIFY, job_file
from guestlib.nested import OUTER, InnerMachine
from guestlib.reservations import (CONFLICT, EXCLUSIVE_ACCESS, UNIT_ATTENTION,
                                   WRITE_EXCLUSIVE, Initiator,
                                   make_shared_unit)
from guestlib.storage import MIB

K = 1024


HELPER = 'qemu-pr-helper -k /tmp/pr-helper'
# Disks on an adapter with an IOThread, and on one in the main loop: images,
# and units of the outer machine, one of which has a helper for reservations.
DISKS = """
-object iothread,id=io0
-device hv-scsi,id=s0,iothread=io0
-device hv-scsi,id=s1
-drive if=none,id=d0,format=raw,file={folder}/disk
-drive if=none,id=d1,format=raw,file={folder}/disk1
-object pr-manager-helper,id=helper,path=/tmp/pr-helper
-blockdev driver=host_device,node-name=u0,filename={units[0]}
-blockdev driver=host_device,node-name=u1,filename={units[1]},pr-manager=helper
-device scsi-hd,bus=s0.0,drive=d0,scsi-id=0,lun=0
-device scsi-hd,bus=s1.0,drive=d1,scsi-id=1,lun=0
-device scsi-block,bus=s0.0,drive=u0,scsi-id=0,lun=1,werror=stop,rerror=stop
-device scsi-block,bus=s1.0,drive=u1,scsi-id=1,lun=1,werror=stop,rerror=stop
"""
# Place: adapter and target.
PLACES = {'iothread': 0, 'main-loop': 1}


@pytest.fixture(scope='module')
def outer(module_machine):
    one = module_machine(**OUTER).boot()
    one.units = make_shared_unit(one, 3)
    start_helper(one)
    return one


def start_helper(outer):
    """Returns when it listens."""
    outer.run(f'{HELPER} >/tmp/pr-helper.log 2>&1 &\n' +
              daemons.wait('grep -q "00010000 .*/tmp/pr-helper$" '
                           '/proc/net/unix'), timeout=120 * SCALE)


@pytest.fixture(scope='module', params=[('6.12', 'q35', 1), ('6.1', 'pc', 2)],
                ids=lambda c: f'linux{c[0]}-{c[1]}-{c[2]}vp')
def inner(request, outer):
    kernel, kind, cpus = request.param
    folder = f'/tmp/{kernel}-{kind}'
    outer.run(f'mkdir {folder} && truncate -s 16M {folder}/disk '
              f'{folder}/disk1')
    one = InnerMachine(
        outer, kernel, kind, cpus, folder, initramfs='initramfs-nested',
        extra=DISKS.format(folder=folder, units=outer.units).split())
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
    until(lambda: abs(clock_error(inner)) < 10, 'the clock is right')


def test_freeze_and_thaw(inner):
    inner.shell.run(daemons.VSS)
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
''' + daemons.KVP)
    inner.until(f'hvctl --qmp {inner.qmp} status | '
                'grep -q "Keys and values: ready"', 'daemon', 120 * SCALE)
    code, output = inner.hvctl('kvp get auto OSName')
    assert (code, output.strip()) == (0, 'Test'), output
    code, output = inner.hvctl('kvp set external key value')
    assert code == 0, output
    code, output = inner.hvctl('kvp get external key')
    assert (code, output.strip()) == (0, 'value'), output


def unit_path(inner, target, lun):
    """Of a unit in the guest."""
    return inner.run(f"""
until set -- /sys/class/scsi_device/*:0:{target}:{lun}/device/block/*
    [ -b /dev/${{1##*/}} ]; do sleep 0.1; done
echo /dev/${{1##*/}}""").strip()


def digests(inner, place='iothread'):
    """Of a disk's 16 MiB, in the guest and in its host."""
    target = PLACES[place]
    guest = inner.run(f'md5sum {unit_path(inner, target, 0)}')
    host = inner.outer.run(f'md5sum {inner.folder}/disk{target or ""}')
    return guest.split()[0], host.split()[0]


def check_adapters(inner):
    """Each processor has a channel on each, at which all went well."""
    code, output = inner.hvctl('status --json')
    assert code == 0, output
    adapters = [d for d in json.loads(output)['devices']
                if d['driver'] == 'hv-scsi']
    assert len(adapters) == len(PLACES)
    for adapter in adapters:
        assert adapter['storage']['refused'] == 0
        assert len(adapter['channels']) == inner.cpus
        for channel in adapter['channels']:
            assert channel['state'] == 'open'
            assert channel['corruptions'] == 0
            assert channel['signals-received']


def run_fio(inner, jobs):
    """{job: (error, bytes read, bytes written)}; fio's report in JSON would be
    long for this serial port."""
    inner.run(f"cat >/tmp/fio.job <<'END'\n{job_file(jobs, {})}END")
    output = inner.run('fio --minimal --terse-version=3 /tmp/fio.job '
                       '>/tmp/fio.out || exit 1; '
                       "grep '^3;' /tmp/fio.out | cut -d ';' -f 3,5,6,47",
                       timeout=600 * SCALE)
    done = {}
    for line in output.splitlines():
        name, *numbers = line.split(';')
        error, read, written = map(int, numbers)
        done[name] = error, read * K, written * K
    return done


def test_fio(inner):
    """What fio wrote is there, in requests of all sizes and at all depths, on
    both adapters at once and from each processor."""
    jobs = {}
    for place, target in PLACES.items():
        path, at = unit_path(inner, target, 0), 0
        for way, block, depth, size in (
                ('randwrite', 512, 32, 64 * K), ('write', 4 * K, 1, 64 * K),
                ('randwrite', 4 * K, 256, MIB), ('randwrite', 64 * K, 8, MIB),
                ('write', MIB, 2, 4 * MIB), ('randwrite', 4 * MIB, 1, 4 * MIB)):
            jobs[f'{place}-{way}-{block}'] = {
                'filename': path, 'rw': way, 'bs': block, 'iodepth': depth,
                'offset': at, 'size': size, 'cpus_allowed':
                len(jobs) % inner.cpus, **VERIFY}
            at += size
    done = run_fio(inner, jobs)
    for name, options in jobs.items():
        assert done[name] == (0, options['size'], options['size'])
    for place in PLACES:
        guest, host = digests(inner, place)
        assert guest == host
    check_adapters(inner)


@pytest.mark.parametrize('place', PLACES)
def test_reservations(inner, outer, place):
    """A guest's reservations are those of the host's unit, where another
    initiator meets them: directly, and through the helper."""
    guest = Initiator(inner.shell, unit_path(inner, PLACES[place], 1))
    other = Initiator(outer.shell, outer.units[2])
    mine, theirs = 0x1234abcd, 0xbeef
    assert guest.keys() == []
    guest.out('register', new=mine)
    other.out('register', new=theirs)
    assert guest.keys() == other.keys() == sorted([mine, theirs])
    assert guest.holder() is None
    guest.out('reserve', mine, kind=WRITE_EXCLUSIVE)
    assert guest.holder() == other.holder() == (mine, 'Write Exclusive')
    assert other.reads() and not other.writes()
    other.out('reserve', theirs, kind=WRITE_EXCLUSIVE, expected=CONFLICT)
    assert run_fio(inner, {'owner': {
        'filename': guest.path, 'rw': 'randwrite', 'bs': '16k', 'iodepth': 16,
        'size': MIB, **VERIFY}}) == {'owner': (0, MIB, MIB)}
    assert guest.digest() == other.digest()

    # The other takes it; the guest is told, and does not stop.
    other.out('preempt', theirs, mine, WRITE_EXCLUSIVE)
    guest.persist('--in --read-keys', UNIT_ATTENTION)
    assert guest.keys() == [theirs]
    assert guest.reads() and not guest.writes()
    # The host says, as Hyper-V does, that the request failed and why.  Linux
    # makes a conflict of that; sg_persist does not.
    guest.out('reserve', mine, kind=WRITE_EXCLUSIVE)
    assert guest.holder() == (theirs, 'Write Exclusive')
    assert int(inner.run('dmesg | grep -c "reservation conflict"')) >= 2

    # And the guest takes it back, for itself alone.
    guest.out('register-ignore', new=mine)
    guest.out('preempt', mine, theirs, EXCLUSIVE_ACCESS)
    assert guest.holder() == (mine, 'Exclusive Access')
    other.persist('--in --read-keys', UNIT_ATTENTION)
    assert not other.reads() and not other.writes()
    assert guest.writes()
    guest.out('release', mine, kind=EXCLUSIVE_ACCESS)
    guest.out('register', mine, 0)
    assert guest.keys() == other.keys() == []
    assert other.writes()
    assert guest.digest() == other.digest()
    check_adapters(inner)


def test_helper_ends(inner, outer):
    """A disk goes on without the helper; what the helper is needed for fails,
    and works again when it is back."""
    guest = Initiator(inner.shell, unit_path(inner, 1, 1))
    direct = Initiator(inner.shell, unit_path(inner, 0, 1))
    outer.run('kill $(pidof qemu-pr-helper); '
              'while pidof qemu-pr-helper; do sleep 0.1; done')
    code, output = inner.shell.call(
        f'sg_persist --out --register --param-sark=1 {guest.path}')
    assert code != 0, output
    assert direct.keys() == []
    assert guest.writes()
    start_helper(outer)
    guest.out('register', new=1)
    assert direct.keys() == [1]
    guest.out('register', 1, 0)
    check_adapters(inner)


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
