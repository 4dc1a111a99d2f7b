# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt warns of storage on VMBus beside virtualization extensions."""
import re

import pytest

from guestlib import devices
from guestlib.libvirt import domain

CONTROLLER = devices.controller(0)
FINDINGS = 21
TAINT = 'storage on VMBus, which a guest with a hypervisor of its own loses'


def machine(xml, cpu):
    """Without a kernel: it ends in its firmware.  The processor "maximum"
    has SVM, also under TCG."""
    xml = re.sub('<(kernel|initrd|cmdline)>.*', '', domain(xml))
    assert "<cpu mode='maximum'/>" in xml
    return xml.replace("<cpu mode='maximum'/>", cpu)


MAXIMUM = "<cpu mode='maximum'/>"
NO_SVM = "<cpu mode='maximum'><feature policy='disable' name='svm'/></cpu>"


@pytest.fixture
def start(session):
    def do(xml):
        session.define(xml)
        session.virsh('start', 'guest')
    yield do
    session.virsh('destroy', 'guest', check=False)
    session.virsh('undefine', 'guest', check=False)


def messages(session):
    return session.virsh('dominfo', 'guest').stdout


def doctor_warns(session):
    """Does hvctl find the same?  It always finds that no guest is there."""
    done = session.hvctl('doctor', 'guest')
    assert done.returncode == FINDINGS, done.stderr
    assert 'No guest is connected to the bus.' in done.stdout
    return 'The processor has svm and the machine has storage on VMBus' in \
        done.stdout


def test_storage_and_svm(session, start):
    start(machine('<vmbus/>' + CONTROLLER, MAXIMUM))
    assert TAINT in messages(session)
    assert 'is tainted: vmbus-nested' in session.qemu_log()
    assert "storage on VMBus and a processor with 'svm'" in session.output()
    assert doctor_warns(session)


@pytest.mark.parametrize('devices, cpu', [
    ('<vmbus/>', MAXIMUM), ('<vmbus/>' + CONTROLLER, NO_SVM)])
def test_one_of_them(session, start, devices, cpu):
    start(machine(devices, cpu))
    assert TAINT not in messages(session)
    assert not doctor_warns(session)


@pytest.mark.parametrize('cpu, warns', [(MAXIMUM, True), (NO_SVM, False)])
def test_storage_is_plugged_in(session, start, cpu, warns):
    start(machine('<vmbus/>', cpu))
    session.virsh('attach-device', 'guest',
                  session.file('controller.xml', CONTROLLER), '--live')
    assert (TAINT in messages(session)) == warns
    assert doctor_warns(session) == warns
