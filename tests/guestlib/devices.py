# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's XML of devices."""
from guestlib.agent import MAC

NIC = f"""<interface type='user'>
  <mac address='{MAC}'/>
  <model type='virtio'/>
  <rom enabled='no'/>
</interface>"""


def serial(console, shell):
    """The two ports of a guest: a file, and the socket of its shell."""
    return f"""<serial type='file'><source path='{console}'/></serial>
<serial type='unix'><source mode='bind' path='{shell}'/></serial>"""


def disk(path, target, unit=None, kind='raw', controller=0, inside='',
         device='disk'):
    """The target's name tells the bus; unit is for SCSI."""
    bus = 'virtio' if target.startswith('vd') else 'scsi'
    address = '' if unit is None else (
        f"<address type='drive' controller='{controller}' bus='0' target='0' "
        f"unit='{unit}'/>")
    return f"""<disk type='file' device='{device}'>
  <driver name='qemu' type='{kind}'/>
  <source file='{path}'/>
  <target dev='{target}' bus='{bus}'/>
  {inside}
  {address}
</disk>"""


def controller(index, driver=''):
    start = f"<controller type='scsi' index='{index}' model='vmbus'"
    return f'{start}>{driver}</controller>' if driver else f'{start}/>'
