#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Put our sources and patches into a QEMU source tree.

usage: qemu-tree.py all|build-only PROJECT TREE

The tree is brought to: as released, with qemu/patches/ applied and our
folders in it.  "build-only" takes no more than the first patch, which makes
the released source build, and none of our sources.
"""
import pathlib
import sys

import sourcetree

# Folder of the project -> place in QEMU's tree.
FOLDERS = {
    'kvm': 'hw/vmbus/kvm',
    'qemu/bus': 'hw/vmbus/bus',
    'qemu/configs': 'configs/devices/x86_64-softmmu',
    'qemu/devices': 'hw/vmbus/devices',
    'qemu/machine': 'hw/vmbus/machine',
    'qemu/machine/include': 'include',
    'qemu/qapi': 'qapi',
    'tests/fuzz/qemu': 'hw/vmbus/fuzz',
    'tests/lib/vsc': 'hw/vmbus/fuzz/vsc',
    'tests/unit/machine': 'tests/vmbus',
}
# The same of single files.
FILES = {f'tests/fuzz/{name}': f'hw/vmbus/fuzz/{name}'
         for name in ('fuzz.c', 'fuzz.h', 'replay.c')}
# These describe the whole of hw/vmbus to QEMU's build.
TOP_FILES = ('meson.build', 'Kconfig', 'trace-events')


def our_files(project):
    """Yield (path in the tree, content)."""
    for folder, place in FOLDERS.items():
        base = project / folder
        for path in sourcetree.files_below(base):
            rel = path.relative_to(base)
            if folder == 'qemu/machine':
                if rel.parts[0] == 'include':
                    continue
                if str(rel) in TOP_FILES:
                    yield f'hw/vmbus/{rel}', path.read_bytes()
                    continue
            yield f'{place}/{rel}', path.read_bytes()
    for path, place in FILES.items():
        yield place, (project / path).read_bytes()


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ('all', 'build-only'):
        sys.exit(__doc__)
    project, root = map(pathlib.Path, sys.argv[2:])
    patches = sorted((project / 'qemu/patches').glob('*.patch'))
    tree = sourcetree.Tree(root)
    if sys.argv[1] == 'build-only':
        wanted = tree.patched(patches[:1])
    else:
        wanted = tree.patched(patches)
        wanted.update(our_files(project))
    tree.bring_to(wanted)


if __name__ == '__main__':
    main()
