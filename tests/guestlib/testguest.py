# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare-metal guest of kvm/testguest."""
import fcntl
import subprocess

from guestlib.paths import BUILD, TOP


def build():
    """Its image, for QEMU's -kernel."""
    folder = BUILD / 'testguest'
    commands = [['meson', 'compile', '-C', folder]]
    # One at a time: pytest-xdist has several workers.
    with open(BUILD / 'testguest.lock', 'wb') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / 'build.ninja').exists():
            commands.insert(0, ['meson', 'setup', folder,
                                TOP / 'kvm/testguest'])
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder / 'testguest.bin'
