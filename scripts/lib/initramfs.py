#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write an initial file system for a Linux guest.

The archive is the same for the same input, and not compressed: QEMU loads it
faster than an emulated processor unpacks it.  Kernel modules are put flat
into /lib/modules, unpacked, with /lib/modules/order saying in which order
they load.
"""
import argparse
import lzma
import os
import pathlib
import re
import subprocess
import sys

S_IFDIR, S_IFREG, S_IFLNK = 0o040000, 0o100000, 0o120000


class Archive:
    """A cpio archive in the "newc" format, sorted, owned by root."""

    def __init__(self):
        self.entries = {}

    def add(self, path, mode, content=b''):
        path = path.strip('/')
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.add(parent, S_IFDIR | 0o755)
        self.entries[path] = (mode, content)

    def directory(self, path):
        self.add(path, S_IFDIR | 0o755)

    def file(self, path, content, mode=0o644):
        self.add(path, S_IFREG | mode, content)

    def link(self, path, target):
        self.add(path, S_IFLNK | 0o777, target.encode())

    def dump(self):
        out = bytearray()
        entries = sorted(self.entries.items())
        entries.append(('TRAILER!!!', (0, b'')))
        for number, (path, (mode, content)) in enumerate(entries):
            name = path.encode() + b'\0'
            fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0,
                      len(name), 0)
            out += b'070701' + b''.join(b'%08X' % f for f in fields)
            out += name
            out += bytes(-len(out) % 4)
            out += content
            out += bytes(-len(out) % 4)
        out += bytes(-len(out) % 512)
        return bytes(out)


class Modules:
    """The modules of a kernel, by name."""

    def __init__(self, root):
        self.paths = {}
        for path in pathlib.Path(root).rglob('*.ko*'):
            name = path.name.split('.')[0].replace('-', '_')
            self.paths[name] = path
        builtin = pathlib.Path(root).parent / 'modules.builtin'
        self.builtin = {
            pathlib.Path(line).name.split('.')[0].replace('-', '_')
            for line in builtin.read_text().splitlines()}

    def content(self, name):
        data = self.paths[name].read_bytes()
        return lzma.decompress(data) if data[:6] == b'\xfd7zXZ\0' else data

    def add_to(self, archive, names):
        """With what they depend on; returns them, dependencies first."""
        order = []

        def visit(name):
            if name in order or name in self.builtin:
                return
            if name not in self.paths:
                sys.exit(f'the kernel has no module {name}')
            data = self.content(name)
            found = re.search(rb'\0depends=([^\0]*)\0', data)
            for needed in found.group(1).decode().split(',') if found else ():
                if needed:
                    visit(needed.replace('-', '_'))
            order.append(name)
            archive.file(f'lib/modules/{name}.ko', data)

        for name in names:
            visit(name.replace('-', '_'))
        return order


def libraries(program, root=None, stubs=None):
    """(path in the guest, file) of the libraries that a program loads; those
    below root are there without it, those of stubs in /lib."""
    env = dict(os.environ)
    folders = [str(stubs)] if stubs else []
    if root:
        folders += sorted({str(path.parent) for path in root.rglob('*.so*')})
    if folders:
        env['LD_LIBRARY_PATH'] = ':'.join(folders)
    out = subprocess.run(['ldd', program], capture_output=True, text=True,
                         check=True, env=env).stdout
    if 'not found' in out:
        sys.exit(f'{program} lacks libraries:\n{out}')
    for line in out.splitlines():
        found = re.search(r'(/\S+) \(0x', line)
        if found:
            path = pathlib.Path(found.group(1))
            where = path
            if stubs and path.is_relative_to(stubs):
                where = pathlib.Path('/lib') / path.name
            elif root and path.is_relative_to(root):
                where = path.relative_to(root)
            yield str(where), os.path.realpath(path)


def pair(text):
    guest, sep, host = text.partition('=')
    if not sep or not guest.startswith('/'):
        raise argparse.ArgumentTypeError(f'"{text}" is not /PATH=FILE')
    return guest, host


def add_tree(archive, guest, host):
    for path in sorted(pathlib.Path(host).rglob('*')):
        rel = f'{guest}/{path.relative_to(host)}'
        if path.is_file():
            archive.file(rel, path.read_bytes(), path.stat().st_mode & 0o777)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', required=True)
    parser.add_argument('--busybox', help='with a link for each applet')
    parser.add_argument('--modules-from', metavar='DIR')
    parser.add_argument('--module', action='append', default=[])
    parser.add_argument('--spare-module', action='append', default=[],
                        help='is there, but is not loaded at boot')
    parser.add_argument('--file', action='append', type=pair, default=[])
    parser.add_argument('--tree', action='append', type=pair, default=[],
                        help='the files of a directory')
    parser.add_argument('--program', action='append', type=pair, default=[],
                        help='with its shared libraries')
    parser.add_argument('--libraries-from', type=pathlib.Path, metavar='DIR',
                        help='look for these first below DIR, a root file '
                             'system')
    parser.add_argument('--stubs', type=pathlib.Path, metavar='DIR',
                        help='libraries that take the place of others')
    args = parser.parse_args()

    archive = Archive()
    for path in ('dev', 'proc', 'sys', 'tmp'):
        archive.directory(path)
    if args.busybox:
        archive.file('bin/busybox', pathlib.Path(args.busybox).read_bytes(),
                     0o755)
        applets = subprocess.run([args.busybox, '--list'], check=True,
                                 capture_output=True, text=True).stdout
        for applet in applets.split():
            if applet != 'busybox':
                archive.link(f'bin/{applet}', 'busybox')
    if args.modules_from:
        modules = Modules(args.modules_from)
        modules.add_to(archive, args.spare_module)
        order = modules.add_to(archive, args.module)
        archive.file('lib/modules/order',
                     ''.join(f'{name}\n' for name in order).encode())
    for guest, host in args.program:
        archive.file(guest, pathlib.Path(host).read_bytes(), 0o755)
        for where, library in libraries(host, args.libraries_from,
                                        args.stubs):
            archive.file(where, pathlib.Path(library).read_bytes(), 0o755)
    for guest, host in args.file:
        path = pathlib.Path(host)
        archive.file(guest, path.read_bytes(), path.stat().st_mode & 0o777)
    for guest, host in args.tree:
        add_tree(archive, guest, host)

    data = archive.dump()
    output = pathlib.Path(args.output)
    if not output.exists() or output.read_bytes() != data:
        new = output.with_name(output.name + '.new')
        new.write_bytes(data)
        os.replace(new, output)


if __name__ == '__main__':
    main()
