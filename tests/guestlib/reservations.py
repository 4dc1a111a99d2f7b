# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent reservations: a unit that several initiators see, made by Linux's
own SCSI target, and what an initiator does with it."""
import re

# Of the unit, in MiB.
SIZE = 4
# sg_persist's exit codes.
UNIT_ATTENTION, INVALID, CONFLICT = 6, 9, 24
WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS = 1, 3


def make_shared_unit(machine, count):
    """Paths, in a Linux machine, of a unit of that many initiators; each path
    is an initiator of its own."""
    machine.run(f"""
mkdir -p /var/target/pr # where the target keeps what is to survive
mount -t configfs none /sys/kernel/config
cd /sys/kernel/config/target
unit=core/rd_mcp_0/shared
mkdir -p $unit
echo rd_pages={SIZE * 256} >$unit/control
echo shared >$unit/wwn/vpd_unit_serial
echo 1 >$unit/enable
for n in $(seq {count}); do
    target=loopback/naa.600140500000000$n/tpgt_1
    mkdir -p $target/lun/lun_0
    echo naa.600140510000000$n >$target/nexus
    ln -s $PWD/$unit $target/lun/lun_0/port
done
for i in $(seq 100); do
    set -- /sys/class/scsi_disk/*/device/block/*/size
    [ -e "$1" ] && [ $# = {count} ] && exit
    sleep 0.1
done
exit 1
""")
    return ['/dev/' + name for name in machine.run(
        'cd /sys/class/scsi_disk && for d in *; do '
        'ls $d/device/block; done').split()]


class Initiator:
    """An initiator of a unit: what has run() and call(), and a path there."""

    def __init__(self, shell, path):
        self.shell, self.path = shell, path

    def persist(self, words, expected=0):
        """The output of sg_persist, which ends with that code."""
        code, output = self.shell.call(
            f'sg_persist --no-inquiry {words} {self.path}')
        assert code == expected, f'"{words}": exit {code}\n{output}'
        return output

    def out(self, words, key=None, new=None, kind=None, expected=0):
        for name, value in ('rk', key), ('sark', new):
            if value is not None:
                words += f' --param-{name}={value:x}'
        if kind:
            words += f' --prout-type={kind}'
        return self.persist(f'--out --{words}', expected)

    def keys(self):
        found = re.findall(r'^ *0x([0-9a-f]+)$',
                           self.persist('--in --read-keys'), re.M)
        return sorted(int(key, 16) for key in found)

    def holder(self):
        """(key, kind) of the reservation, or None."""
        text = self.persist('--in --read-reservation')
        found = re.search(r'Key=0x([0-9a-f]+)\s.*type: (.*)$', text,
                          re.M | re.S)
        return found and (int(found.group(1), 16), found.group(2).strip())

    def writes(self):
        """Whether it can write; if not, the reservation is why."""
        return self._transfer(f'if=/dev/urandom of={self.path} bs=4k count=1 '
                              'oflag=direct conv=notrunc')

    def reads(self):
        return self._transfer(f'if={self.path} of=/dev/null bs=4k count=1 '
                              'iflag=direct')

    def _transfer(self, words):
        code, output = self.shell.call(f'dd {words}')
        # Linux's name for EBADE, which is a conflict alone.
        assert code == 0 or 'Invalid exchange' in output, output
        return code == 0

    def digest(self):
        return self.shell.run(f'dd if={self.path} bs=1M count={SIZE} '
                              'iflag=direct 2>/dev/null | md5sum').split()[0]
