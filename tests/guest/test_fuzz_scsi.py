# SPDX-License-Identifier: GPL-2.0-or-later
"""The inputs kept for hv-scsi with QEMU's SCSI layer (docs/fuzzing.md)."""
import subprocess

from guestlib import sanitizer
from guestlib.paths import BUILD, TOP

FUZZ = TOP / 'tests/fuzz'


def test_inputs_kept(folder):
    """They are run in QEMU with the address sanitizer, without a fuzzer."""
    paths = [FUZZ / 'corpus/scsi.hex', FUZZ / 'regressions/scsi']
    done = subprocess.run([BUILD / 'bin-asan/replay-scsi', *paths],
                          capture_output=True, text=True, timeout=300,
                          env=sanitizer.environment(folder))
    reports = sanitizer.reports(folder)
    assert done.returncode == 0, (done.stdout, done.stderr, reports)
    assert done.stdout.count('\nok ') == len(paths), done.stdout
    assert 'ok 1 scsi.hex: 0 inputs' not in done.stdout
