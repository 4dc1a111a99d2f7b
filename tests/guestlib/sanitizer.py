# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU built with the address sanitizer, and what the sanitizer reports."""
import functools
import os
import re
import subprocess

from guestlib.paths import BUILD, TOP

PROGRAM = BUILD / 'bin-asan/qemu-system-x86_64'
SUPPRESSIONS = TOP / 'tests/guestlib/leaks-of-qemu'
# The exit code of a program that the sanitizer ends, or finds leaks in.
EXIT_CODE = 99


def program():
    if not PROGRAM.exists():
        raise FileNotFoundError(f'{PROGRAM} is missing; scripts/test builds it')
    return str(PROGRAM)


@functools.lru_cache(maxsize=None)
def heap_probe():
    """The library that tells how much a program has allocated."""
    path = BUILD / 'heap-probe.so'
    new = path.with_name(f'{path.name}.{os.getpid()}')
    subprocess.run(
        ['gcc', '-O2', '-Wall', '-Werror', '-shared', '-fPIC',
         '-fsanitize=address', '-o', new,
         TOP / 'tests/guestlib/heap-probe.c'], check=True)
    os.replace(new, path)
    return str(path)


def probed(folder):
    """environment(), and live_bytes() works."""
    env = environment(folder)
    env['ASAN_OPTIONS'] += ':verify_asan_link_order=0'
    os.mkfifo(folder / 'heap')
    return {**env, 'LD_PRELOAD': heap_probe(), 'HEAP_PROBE':
            str(folder / 'heap')}


def live_bytes(folder):
    """What the program has allocated and not freed."""
    return int((folder / 'heap').read_text())


def environment(folder):
    """For a program whose reports shall go to files in folder."""
    asan = {'log_path': folder / 'sanitizer', 'exitcode': EXIT_CODE,
            'detect_leaks': 1, 'malloc_context_size': 12}
    lsan = {'suppressions': SUPPRESSIONS, 'print_suppressions': 0}
    return {
        **os.environ,
        'ASAN_OPTIONS': ':'.join(f'{k}={v}' for k, v in asan.items()),
        'LSAN_OPTIONS': ':'.join(f'{k}={v}' for k, v in lsan.items()),
        # Each piece of memory by itself, with no cache of GLib's before it.
        'G_SLICE': 'always-malloc'}


def reports(folder):
    """The text of each report that was left in folder.  Warnings are none:
    there is one about coroutines, of which QEMU tells the sanitizer."""
    texts = [re.sub(r'^==\d+==WARNING: .*\n\n?', '',
                    path.read_text(errors='replace'), flags=re.M)
             for path in sorted(folder.glob('sanitizer.*'))]
    return [text for text in texts if text.strip()]
