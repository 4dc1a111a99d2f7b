#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write libraries that take the place of others which a program is linked to
and never calls in our use.

They have the names and versions that the program's loader asks for; a call of
one of them ends the program.  So a program for many kinds of storage, with 90
megabytes of libraries, needs but a few for the one kind that a test has.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import tempfile


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          capture_output=True).stdout


def needed(program):
    return re.findall(r'\(NEEDED\).*\[(.*)\]', output('readelf', '-d', program))


def symbols(path, *options):
    """{name: version or ''}"""
    found = {}
    for line in output('nm', '-D', '--no-weak', *options, path).splitlines():
        name, _, version = line.split()[-1].partition('@')
        found.setdefault(name, version.lstrip('@'))
    return found


def find(name, root):
    for path in sorted(root.rglob(name)):
        return path
    raise SystemExit(f'{root} has no {name}')


def write(name, names, output_dir):
    """A library with {version: names}; '' are those without a version."""
    functions = sorted(set().union(*names.values()))
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / 'stub.c'
        source.write_text(''.join(
            f'void {function}(void)\n{{\n    __builtin_trap();\n}}\n'
            for function in functions))
        script = pathlib.Path(folder) / 'stub.map'
        script.write_text(''.join(
            f'{version} {{\n    {"; ".join(sorted(names[version]))};\n}};\n'
            for version in sorted(names) if version))
        options = [f'-Wl,--version-script={script}'] if any(names) else []
        subprocess.run(
            ['gcc', '-shared', '-fPIC', '-fno-builtin', '-nostdlib', '-s',
             f'-Wl,-soname,{name}', *options, '-o', output_dir / name, source],
            check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', type=pathlib.Path, required=True)
    parser.add_argument('--libraries-from', type=pathlib.Path, required=True,
                        metavar='DIR', help='where the real ones are')
    parser.add_argument('--keep', action='append', default=[],
                        metavar='NAME', help='a library that is called')
    parser.add_argument('program', type=pathlib.Path)
    args = parser.parse_args()

    shutil.rmtree(args.output, ignore_errors=True)
    args.output.mkdir(parents=True)
    wanted = symbols(args.program, '--undefined-only')
    for name in needed(args.program):
        if name.split('.')[0] in args.keep:
            continue
        names = {}
        for symbol in symbols(find(name, args.libraries_from),
                              '--defined-only'):
            if symbol in wanted:
                names.setdefault(wanted[symbol], set()).add(symbol)
        write(name, names, args.output)


if __name__ == '__main__':
    main()
