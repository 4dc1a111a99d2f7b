# SPDX-License-Identifier: GPL-2.0-or-later
"""virsh shutdown and reboot by way of VMBus's shutdown service.

The guests that boot Linux here do nothing when the power button is pressed.
"""
import re
import time

import pytest

from guestlib import testguest
from guestlib.deadline import until
from guestlib.domain import AGENT, Domain
from guestlib.libvirt import domain
from guestlib.machine import BOOTED

NOT_OPEN = 'The guest has not opened the shutdown service.'
AGENT_IN_THE_GUEST = f"""<controller type='virtio-serial'/>
<channel type='unix'>
  <target type='virtio' name='{AGENT}'/>
</channel>"""


def without_kernel(xml):
    """The machine ends in its firmware."""
    return re.sub('<(kernel|initrd|cmdline)>.*', '', xml)


class Guest(Domain):
    def __init__(self, session, xml, console=None):
        super().__init__(session, console=console)
        session.define(xml)
        self.virsh('start')

    def wait_service(self, start=0):
        """Until Linux runs and its shutdown service listens."""
        self.console.wait_for(BOOTED, start=start)
        self.wait(lambda: any(d.get('shutdown', {}).get('state') == 'ready'
                              for d in self.query_vmbus()['devices']),
                  'the service is ready')

    def restarts(self, *command):
        mark = self.console.mark()
        self.virsh(*command)
        self.console.wait_for('guest: restarting from user space', start=mark)
        self.wait_service(mark)

    def goes_off(self, *command):
        mark = self.console.mark()
        self.virsh(*command)
        self.wait_state('shut off')
        assert 'guest: ' in self.console.text()[mark:]


@pytest.fixture
def start(session):
    """start(xml) defines a domain and starts it; undone after."""
    def do(xml, console=None):
        return Guest(session, xml, console)
    yield do
    session.virsh('destroy', 'guest', check=False)
    session.virsh('undefine', 'guest', check=False)


def linux(session, *arguments, kernel='6.12', more=''):
    """(its XML, where its console is)"""
    console = session.folder / f'data/paravirt-{time.monotonic_ns()}'
    xml = domain(*arguments, kernel=kernel, console=console)
    return xml.replace('<devices>', more + '<devices>'), console


@pytest.mark.parametrize('kernel', ['6.1', '6.12'])
def test_reboot_and_shutdown(start, session, kernel):
    guest = start(*linux(session, kernel=kernel))
    guest.wait_service()
    guest.restarts('reboot', '--mode', 'paravirt')
    guest.goes_off('shutdown', '--mode', 'paravirt')


@pytest.mark.parametrize('kernel', ['6.1', '6.12'])
def test_no_mode_with_an_agent_that_does_not_run(start, session, kernel):
    """The shutdown service comes before the power button."""
    guest = start(*linux(session, '<vmbus/>' + AGENT_IN_THE_GUEST,
                         kernel=kernel))
    guest.wait_service()
    guest.restarts('reboot')
    guest.goes_off('shutdown')


def test_restart_instead_of_going_off(start, session):
    """What the domain's XML makes of a shutdown."""
    guest = start(*linux(session, more='<on_poweroff>restart</on_poweroff>'))
    guest.wait_service()
    guest.restarts('shutdown', '--mode', 'paravirt')


def test_goes_off_instead_of_restarting(start, session):
    guest = start(*linux(session, more='<on_reboot>destroy</on_reboot>'))
    guest.wait_service()
    guest.goes_off('reboot', '--mode', 'paravirt')


def test_no_vmbus(start):
    guest = start(without_kernel(domain(devices='')))
    for command in 'shutdown', 'reboot':
        assert 'the domain has no VMBus' in \
            guest.fails(command, '--mode', 'paravirt')


def test_service_is_off(start):
    guest = start(without_kernel(domain(
        devices="<vmbus><service name='shutdown' state='off'/></vmbus>")))
    for command in 'shutdown', 'reboot':
        assert "the domain's VMBus service 'shutdown' is off" in \
            guest.fails(command, '--mode', 'paravirt')


def test_guest_that_did_not_open_the_service(start):
    guest = start(without_kernel(domain()))
    for modes in 'paravirt', 'agent,paravirt':
        for command in 'shutdown', 'reboot':
            assert NOT_OPEN in guest.fails(command, '--mode', modes)
    assert 'not connected' in guest.fails('shutdown', '--mode', 'agent')
    guest.virsh('suspend')
    assert 'domain is not running' in \
        guest.fails('shutdown', '--mode', 'paravirt')


@pytest.mark.parametrize('modes', [(), ('--mode', 'paravirt,acpi')])
@pytest.mark.parametrize('command', ['shutdown', 'reboot'])
def test_power_button_comes_after_it(start, session, command, modes):
    guest = start(without_kernel(domain()))
    with session.watch('qemu-monitor-event', 'guest', '--event', 'POWERDOWN',
                       '--loop', '--timeout', '3600') as watch:
        watch.hear(lambda: guest.virsh(command, *modes), 'event POWERDOWN')


REFUSALS = [
    ('shutdown', 'the guest is not ready to shut down'),
    ('reboot', 'a user session in the guest is locked'),
    ('shutdown', 'the guest says that it is shutting down already'),
    ('shutdown', 'the guest does not support what was asked'),
    ('shutdown', 'the guest refused with status 0x80004005')]


def test_refusals(start, session):
    """Linux knows none of these, so it is another guest that refuses."""
    xml = re.sub('<initrd>.*', '', domain())
    xml = re.sub('<kernel>.*', f'<kernel>{testguest.build()}</kernel>', xml)
    xml = re.sub('<cmdline>.*', '<cmdline>shutdown</cmdline>', xml)
    guest = start(xml)

    def told(command):
        text = guest.fails(command, '--mode', 'paravirt')
        return NOT_OPEN not in text and text

    for command, sentence in REFUSALS:
        assert sentence in until(lambda: told(command), 'it is open')
    guest.virsh('reboot', '--mode', 'paravirt')
