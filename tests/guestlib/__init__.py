# SPDX-License-Identifier: GPL-2.0-or-later
"""Start guests, watch them, talk to them and to their QEMU."""
from guestlib.machine import Console, GuestShell, Machine, MachineEnded
from guestlib.paths import BIN, GUEST, hv_cpu, hvctl, program, vmbus_devices
from guestlib.qmp import Qmp, QmpError

__all__ = ['BIN', 'Console', 'GUEST', 'GuestShell', 'Machine',
           'MachineEnded', 'Qmp', 'QmpError', 'hv_cpu', 'hvctl', 'program',
           'vmbus_devices']
