# SPDX-License-Identifier: GPL-2.0-or-later
"""VMBus as a Linux guest shows it in sysfs."""
HEARTBEAT = '57164f39-9115-4e78-ab55-382f3bd5422d'
SHUTDOWN = '0e0b6031-5213-4934-818b-38d90ced39db'
TIMESYNC = '9527e630-d0ae-497b-adce-e80ab0175caf'
VSS = '35fa2e29-ea23-4236-96ae-3a6ebacba440'
KVP = 'a9a0f4e7-5a45-4d96-b827-8a841e8c03e6'
# The kinds of the devices of every machine, by their drivers in QEMU.
CLASSES = {'hv-heartbeat': HEARTBEAT, 'hv-shutdown': SHUTDOWN,
           'hv-timesync': TIMESYNC, 'hv-vss': VSS, 'hv-kvp': KVP}

# Linux's number for a channel that is open.
OPENED = 3


def sysfs_devices(run):
    """{instance GUID: {attribute: text}} of the guest that run() reaches."""
    output = run('cd /sys/bus/vmbus/devices && for d in *; do '
                 '[ -e $d ] || continue; '
                 'for a in class_id device_id state id; do '
                 # One may go while we look.
                 'echo "$d $a $(cat $d/$a 2>/dev/null)"; done; '
                 'driver=$(readlink $d/driver); '
                 'echo "$d driver ${driver##*/}"; '
                 'echo "$d channels $(ls $d/channels 2>/dev/null | xargs)"; '
                 'done')
    devices = {}
    for line in output.splitlines():
        name, attribute, value = line.split(' ', 2)
        devices.setdefault(name, {})[attribute] = value.strip('{}')
    return devices
