# SPDX-License-Identifier: GPL-2.0-or-later
import contextlib
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from guestlib import Machine, sanitizer  # noqa: E402

machines = []


def leave(number, frame):
    """Let the blocks that end machines run."""
    pytest.exit('ended by a signal', returncode=128 + number)


signal.signal(signal.SIGTERM, leave)


@contextlib.contextmanager
def machine_maker():
    """make(kernel=..., ...) makes a Machine; all of them end with the block.

    Their folders have short paths: the name of a socket has little room.
    """
    mine = []

    def make(**options):
        folder = pathlib.Path(tempfile.mkdtemp(prefix='kvm-vmbus-'))
        mine.append(Machine(folder, **options))
        machines.append(mine[-1])
        return mine[-1]

    reports = []
    try:
        yield make
    finally:
        for one in mine:
            one.close()
            reports += sanitizer.reports(one.folder)
            machines.remove(one)
            shutil.rmtree(one.folder)
    assert not reports, '\n'.join(reports)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix='kvm-vmbus-') as name:
        yield pathlib.Path(name)


@pytest.fixture
def machine():
    """Makes machines that end with the test."""
    with machine_maker() as make:
        yield make


@pytest.fixture(scope='module')
def module_machine():
    """Makes machines that end with the file's tests."""
    with machine_maker() as make:
        yield make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for number, machine in enumerate(machines):
            report.sections.append((f'machine {number}', machine.report()))
