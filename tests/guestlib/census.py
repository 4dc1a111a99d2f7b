# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of what a QEMU and its bus hold, to find what leaks.

Two censuses are compared when the machine is in the same state twice, with
all that may leak done in between, many times.
"""
import collections
import os
import re

from guestlib import sanitizer


def qom_objects(qmp, path='/', into=None):
    """{type: number} of the objects below a path."""
    into = collections.Counter() if into is None else into
    for prop in qmp.execute('qom-list', {'path': path}):
        child = re.fullmatch('child<(.*)>', prop['type'])
        if child:
            into[child.group(1)] += 1
            qom_objects(qmp, f'{path.rstrip("/")}/{prop["name"]}', into)
    return into


def open_files(machine):
    """{kind: number} of the descriptors of a machine's QEMU."""
    found = collections.Counter()
    folder = f'/proc/{machine.process.pid}/fd'
    for number in os.listdir(folder):
        try:
            name = os.readlink(f'{folder}/{number}')
        except FileNotFoundError:
            continue  # closed meanwhile
        # A name of this machine alone, and the sanitizer's with its number.
        name = re.sub(f'{machine.folder}/([a-z]*).*', r'its \1', name)
        found[re.sub(r':\[\d+\]$', '', name)] += 1
    return found


def bus_objects(info):
    """{what: number} of query-vmbus."""
    found = collections.Counter(
        f'channel {c["state"]}' for d in info['devices']
        for c in d['channels'])
    found.update({'devices': len(info['devices']), 'gpadls': info['gpadls'],
                  'withdrawn': len(info.get('withdrawn', []))})
    return +found


def channels(counts):
    return sum(number for what, number in counts.items()
               if what.startswith('channel '))


class Census:
    """Of a machine whose QEMU has the address sanitizer."""

    def __init__(self, machine):
        self.counts = {'object': qom_objects(machine.qmp),
                       'file': open_files(machine),
                       'bus': bus_objects(machine.query_vmbus())}
        self.bytes = sanitizer.live_bytes(machine.folder)

    def __str__(self):
        return ', '.join([
            f'{sum(self.counts["object"].values())} QOM objects',
            f'{sum(self.counts["file"].values())} descriptors',
            f'{self.counts["bus"]["gpadls"]} GPADLs',
            f'{channels(self.counts["bus"])} channels',
            f'{self.bytes / 1024:.0f} KiB allocated'])

    def changes(self, before):
        """Each number that is not what it was, as a line."""
        return [f'{what} {name}: {old[name]} before, {new[name]} now'
                for what, new in self.counts.items()
                for old in [before.counts[what]]
                for name in sorted(new | old) if new[name] != old[name]]
