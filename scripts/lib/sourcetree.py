# SPDX-License-Identifier: GPL-2.0-or-later
"""A source tree of somebody else's with our patches and files in it.

Only files whose content changes are written, so that an incremental build
stays one; files that went away from the project go from the tree, and files
that a patch no longer changes get their first content back.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

STATE = '.kvm-vmbus'


def files_below(base):
    """The files below a folder, without what editors and Python leave."""
    for path in sorted(base.rglob('*')):
        rel = path.relative_to(base)
        hidden = any(part.startswith('.') for part in rel.parts)
        if path.is_file() and not hidden and path.suffix != '.pyc':
            yield path


def touched_by(patch):
    """The files that a patch changes, makes or removes."""
    files = set()
    for line in patch.read_text().splitlines():
        if line.startswith(('--- a/', '+++ b/')):
            files.add(line[6:].split('\t')[0])
    return files


class Tree:
    def __init__(self, root):
        self.root = root
        self.originals = root / STATE / 'originals'
        self.list = root / STATE / 'files'
        self.changed = set()
        if self.list.exists():
            self.changed = set(self.list.read_text().splitlines())

    def original(self, rel):
        """The released content of a file; None: it is not in the release."""
        path = (self.originals if rel in self.changed else self.root) / rel
        return path.read_bytes() if path.exists() else None

    def patched(self, patches):
        """{path: content, or None if removed} after the patches."""
        files = set().union(*(touched_by(p) for p in patches))
        with tempfile.TemporaryDirectory() as name:
            scratch = pathlib.Path(name)
            for rel in files:
                content = self.original(rel)
                if content is not None:
                    write(scratch / rel, content)
            for patch in patches:
                print(f'applying {patch.name}', flush=True)
                done = subprocess.run(
                    ['patch', '-p1', '-F0', '-N', '-s', '-E',
                     '--no-backup-if-mismatch', '-d', scratch, '-i', patch])
                if done.returncode:
                    sys.exit(f'{patch.name} does not apply')
            return {rel: (scratch / rel).read_bytes()
                    if (scratch / rel).exists() else None for rel in files}

    def bring_to(self, wanted):
        """Make the tree the released one changed by wanted."""
        for rel in set(wanted) - self.changed:
            content = self.original(rel)
            if content is not None:
                write(self.originals / rel, content)
        restore = {rel: self.original(rel)
                   for rel in self.changed - set(wanted)}
        # The list is complete at every moment: an interrupted run leaves
        # nothing in the tree that the next one does not know of.
        self.save_list(self.changed | set(wanted))
        for rel, content in {**restore, **wanted}.items():
            self.put(rel, content)
        for rel in restore:
            (self.originals / rel).unlink(missing_ok=True)
        self.save_list(set(wanted))

    def put(self, rel, content):
        path = self.root / rel
        old = path.read_bytes() if path.exists() else None
        if old == content:
            return
        if content is None:
            print(f'removing {rel}')
            path.unlink()
        else:
            print(f'writing {rel}')
            write(path, content)

    def save_list(self, names):
        write(self.list, ''.join(f'{n}\n' for n in sorted(names)).encode())


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + '.kvm-vmbus-new')
    new.write_bytes(content)
    if path.exists():
        new.chmod(path.stat().st_mode)
    os.replace(new, path)
