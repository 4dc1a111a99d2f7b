# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that are asked to hibernate.  Linux hands that to its user space, by
an event of the device; what acts on it is a rule of udev, or this test."""
import pytest

from guestlib.hibernate import listen
from guestlib.machine import SCALE
from guestlib.paths import hv_cpu, vmbus_devices

KERNELS = ['6.1', '6.12']
REFUSED, IN_PROGRESS = 6, 20
SWAP_BYTES = 512 << 20
DISABLE = {'q35': 'ICH9-LPC.disable_s4=1', 'pc': 'PIIX4_PM.disable_s4=1'}
RECORD = 'echo "$ACTION $SUBSYSTEM $DEVPATH" >>/tmp/asked'


def response(guest):
    return guest.qmp.wait_event('VMBUS_SHUTDOWN_RESPONSE')['data']


@pytest.mark.parametrize('kernel', KERNELS)
def test_user_space_is_asked(machine, kernel):
    """It does nothing here, and can then be shut down, by force."""
    guest = machine(kernel=kernel).boot()
    guest.wait_ready()
    listen(guest, RECORD)
    done = guest.hvctl('shutdown', '--hibernate')
    assert done.returncode == 0, done.stderr
    assert response(guest) == {'mode': 'hibernate', 'result': 'accepted',
                               'status': 0}
    guest.run('until [ -s /tmp/asked ]; do sleep 0.1; done')
    action, subsystem, path = guest.run('cat /tmp/asked').split()
    assert (action, subsystem) == ('change', 'vmbus')
    assert 'b6650ff7-33bc-4840-8048-e0676786f393' in path
    done = guest.hvctl('shutdown')
    assert done.returncode == IN_PROGRESS
    assert 'in progress already' in done.stderr
    done = guest.hvctl('shutdown', '--force', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0


@pytest.mark.parametrize('kernel,kind', [('6.1', 'q35'), ('6.12', 'pc')])
def test_machine_without_s4(machine, kernel, kind):
    guest = machine(kernel=kernel, machine=kind,
                    extra=['-global', DISABLE[kind]]).boot()
    guest.wait_ready()
    listen(guest, RECORD)
    done = guest.hvctl('shutdown', '--hibernate')
    assert done.returncode == REFUSED
    assert done.stderr == (
        'hvctl: The guest refused to hibernate, with status 0x80004005; the '
        'machine may have no ACPI state S4.\n')
    assert response(guest) == {'mode': 'hibernate', 'result': 'failed',
                               'status': 0x80004005}
    assert guest.shell.call('[ -e /tmp/asked ]')[0] == 1
    # It is as ready as before.
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0


def with_swap(make, kernel, cpus, flag, disk):
    return make(kernel=kernel, initramfs='initramfs-backup', cpus=cpus,
                cpu=hv_cpu(extra=flag), devices=vmbus_devices(), extra=[
                    '-blockdev', 'driver=raw,node-name=disk,'
                    f'file.driver=file,file.filename={disk}',
                    '-device', 'virtio-blk-pci,drive=disk']).boot()


@pytest.mark.parametrize('kernel,cpus,flag', [
    ('6.1', 1, ''), ('6.12', 2, ',hv-stimer-direct')])
def test_hibernate_and_go_on(machine, folder, kernel, cpus, flag):
    """A new machine loads the memory of the old one, and the services go on
    there; once more, as VMBus is then in the state of a resumed guest.  One
    of the two has its timers by messages, which come with the SynIC."""
    disk = folder / 'swap'
    with open(disk, 'wb') as file:
        file.truncate(SWAP_BYTES)
    guest = with_swap(machine, kernel, cpus, flag, disk)
    guest.wait_ready()
    guest.run('mkswap /dev/vda && swapon /dev/vda')
    token = guest.run('cat /proc/sys/kernel/random/uuid >/tmp/token; '
                      'cat /tmp/token')
    listen(guest, 'echo disk >/sys/power/state')
    for times in 1, 2:
        done = guest.hvctl('shutdown', '--hibernate', '--wait',
                           '--timeout', str(120 * SCALE),
                           timeout=180 * SCALE)
        assert done.returncode == 0, done.stderr
        assert done.stdout == 'The guest hibernates.\n'
        assert guest.wait_end() == 0
        guest = with_swap(machine, kernel, cpus, flag, disk)
        guest.wait_ready()
        assert guest.shell.call('[ -e /tmp/token ]')[0] == 1
        guest.shell.send('cat /sys/block/vda/dev >/sys/power/resume')
        guest.console.wait_for('hibernation exit')
        assert guest.run('cat /tmp/token') == token
        guest.wait_ready()
    done = guest.hvctl('shutdown', '--wait')
    assert done.returncode == 0, done.stderr
    assert guest.wait_end() == 0
