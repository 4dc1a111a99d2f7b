# SPDX-License-Identifier: GPL-2.0-or-later
"""Restarts, resets, crashes, and a guest that stops answering."""
import pytest

from guestlib import hv_cpu, vmbus_devices

CRASH_ARGUMENTS = ('console=ttyS0 guest.role=crash-kernel reset_devices '
                   'nr_cpus=1 irqpoll')


def events(guest):
    """The number of events so far; stands for "from now on"."""
    guest.query_vmbus()
    return len(guest.qmp.events)


def again_ok(guest, connects):
    """The guest has connected for the connects'th time, and all is well."""
    guest.wait_ready()
    info = guest.query_vmbus()
    assert info['connects'] == connects
    assert info['messages-refused'] == 0
    assert len(info['devices']) == \
        sum(device.startswith('hv-') for device in vmbus_devices())


@pytest.mark.parametrize('kernel,kind', [('6.1', 'q35'), ('6.12', 'pc')])
def test_shutdown_reboot_restarts(machine, kernel, kind):
    guest = machine(kernel=kernel, machine=kind, cpus=2).boot()
    guest.wait_ready()
    mark = guest.console.mark()
    done = guest.hvctl('shutdown', '--reboot', '--wait')
    assert done.returncode == 0, done.stderr
    guest.wait_booted(mark)
    assert 'guest: restarting from user space' in guest.console.text()
    response = guest.qmp.wait_event('VMBUS_SHUTDOWN_RESPONSE')
    assert response['data'] == {'mode': 'reboot', 'result': 'accepted',
                                'status': 0}
    again_ok(guest, 2)


@pytest.mark.parametrize('kernel', ['6.1', '6.12'])
def test_guest_restarts_by_itself(machine, kernel):
    guest = machine(kernel=kernel).boot()
    guest.wait_ready()
    for connects in 2, 3:
        start, mark = events(guest), guest.console.mark()
        guest.shell.send('/sbin/reboot')
        guest.qmp.wait_event('RESET', start=start, guest=True)
        guest.wait_booted(mark)
        again_ok(guest, connects)


@pytest.mark.parametrize('kernel', ['6.1', '6.12'])
def test_system_reset_again_and_again(machine, kernel):
    guest = machine(kernel=kernel, cpus=2).boot()
    guest.wait_ready()
    for _ in range(3):
        start, mark = events(guest), guest.console.mark()
        guest.qmp.execute('system_reset')
        guest.qmp.wait_event('VMBUS_HEARTBEAT_CHANGE', start=start,
                             state='no-contact')
        guest.wait_booted(mark)
        guest.wait_ready()
    assert guest.query_vmbus()['connected']


def test_resets_in_the_middle_of_a_boot(machine):
    """Whatever the guest is doing, connecting included."""
    guest = machine(cpus=2).start()
    place = 0
    for pattern in ('Hypervisor detected', 'Vmbus version',
                    'Registering HyperV Utility Driver'):
        guest.console.wait_for(pattern, start=place)
        mark = guest.console.mark()
        guest.qmp.execute('system_reset')
        place = guest.console.wait_for('Linux version', start=mark).end()
    guest.wait_booted(place)
    guest.wait_ready()


@pytest.mark.parametrize('kernel,cpus,reports', [
    ('6.1', 1, True), ('6.12', 2, True), ('6.1', 2, False),
    ('6.12', 1, False)])
def test_crash_kernel_reconnects(machine, kernel, cpus, reports):
    """The machine is not reset: the kernel that runs after the panic finds
    the bus as the first one left it.  With hv-crash a guest reports its panic
    first, and QEMU goes on only because it is told to."""
    cpu = hv_cpu(without=[] if reports else ['hv-crash'])
    guest = machine(kernel=kernel, cpus=cpus, cpu=cpu, memory=768,
                    append='crashkernel=192M', extra=['-action', 'panic=none'],
                    initramfs='initramfs-crash').boot()
    guest.wait_ready()
    guest.run('crash-load /crash/vmlinuz /crash/initramfs '
              f'"{CRASH_ARGUMENTS}"')
    start, mark = events(guest), guest.console.mark()
    guest.shell.send('echo c >/proc/sysrq-trigger')
    found = guest.wait_booted(mark)
    assert found.group(1) == 'crash-kernel'
    events(guest)
    assert guest.qmp.find_event('RESET', start) is None
    panicked = guest.qmp.find_event('GUEST_PANICKED', start)
    assert (panicked is not None) == reports
    if reports:
        assert panicked['data']['info']['type'] == 'hyper-v'
    again_ok(guest, 2)
    assert int(guest.run('stat -c %s /proc/vmcore')) > 100 << 20
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0


def test_services_leave_and_come_back(machine):
    guest = machine().boot()
    guest.wait_ready()
    for _ in range(3):
        guest.run('rmmod hv_utils')
        guest.wait_heartbeat('no-contact')
        assert guest.query_vmbus()['connected']
        done = guest.hvctl('heartbeat')
        assert done.returncode == 5, done.stdout + done.stderr
        guest.run('insmod /lib/modules/hv_utils.ko')
        guest.wait_ready()


@pytest.mark.parametrize('kernel', ['6.1', '6.12'])
def test_new_contact_without_an_unload(machine, kernel):
    """Linux closes its channels but sends no UNLOAD when hv_vmbus is removed,
    so its next contact comes on a connection that is still there.

    One processor, because of Linux: hv_stimer_global_cleanup() frees the
    clock event devices as soon as each processor has let go of its own, and a
    tick that is pending on the last one then calls through what was freed."""
    guest = machine(kernel=kernel, cpus=1).boot()
    guest.wait_ready()
    for connects in 2, 3, 4:
        guest.run('rmmod hv_utils && rmmod hv_vmbus')
        info = guest.wait_heartbeat('no-contact')
        assert info['gpadls'] == 0
        assert info['connected']
        guest.run('insmod /lib/modules/hv_vmbus.ko && '
                  'insmod /lib/modules/hv_utils.ko')
        again_ok(guest, connects)


def test_heartbeat_pauses_with_the_machine(machine):
    guest = machine().boot()
    guest.wait_ready()
    guest.qmp.execute('stop')
    guest.qmp.wait_event('VMBUS_HEARTBEAT_CHANGE', state='paused')
    done = guest.hvctl('heartbeat')
    assert done.returncode == 8, done.stdout + done.stderr
    assert 'paused' in done.stdout + done.stderr
    start = events(guest)
    guest.qmp.execute('cont')
    guest.qmp.wait_event('VMBUS_HEARTBEAT_CHANGE', start=start, state='ok')
    guest.wait_heartbeat('ok')


def test_heartbeat_is_lost_when_the_guest_is_deaf(machine):
    """Switching off the SynIC of its processor makes a guest deaf.  Its
    timers must not depend on the SynIC, or it could not do it in peace."""
    cpu = hv_cpu(without=['hv-stimer'])
    guest = machine(cpu=cpu).boot()
    guest.wait_ready()
    guest.run('insmod /lib/modules/msr.ko allow_writes=on')
    # SCONTROL, MSR 0x40000080: written at that offset, in units of 8 bytes.
    guest.run('head -c 8 /dev/zero | '
              'dd of=/dev/cpu/0/msr bs=8 count=1 seek=134217744')
    guest.qmp.wait_event('VMBUS_HEARTBEAT_CHANGE', state='lost', timeout=120)
    done = guest.hvctl('heartbeat')
    assert done.returncode == 8, done.stdout + done.stderr
    assert guest.run('echo alive').strip() == 'alive'
    mark = guest.console.mark()
    guest.qmp.execute('system_reset')
    guest.wait_booted(mark)
    guest.wait_ready()
