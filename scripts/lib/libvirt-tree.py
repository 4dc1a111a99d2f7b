#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Put our sources and patches into a libvirt source tree.

usage: libvirt-tree.py PROJECT TREE

The tree is brought to: as released, with libvirt-driver/patches/ applied and
our folders in it.
"""
import pathlib
import sys

import sourcetree

# Folder of the project -> place in libvirt's tree.
FOLDERS = {
    'libvirt-driver/conf': 'src/conf',
    'libvirt-driver/qemu': 'src/qemu',
    'libvirt-driver/tests': 'tests',
    'schemas': 'src/conf/schemas',
}


def our_files(project):
    """Yield (path in the tree, content)."""
    for folder, place in FOLDERS.items():
        base = project / folder
        for path in sourcetree.files_below(base):
            yield f'{place}/{path.relative_to(base)}', path.read_bytes()


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    project, root = map(pathlib.Path, sys.argv[1:])
    patches = sorted((project / 'libvirt-driver/patches').glob('*.patch'))
    tree = sourcetree.Tree(root)
    wanted = tree.patched(patches)
    wanted.update(our_files(project))
    tree.bring_to(wanted)


if __name__ == '__main__':
    main()
