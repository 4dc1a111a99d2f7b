# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's own tests, ours among them, pass."""
import json
import subprocess

import pytest

from guestlib.libvirt import LIBVIRT_BUILD, namespace
from guestlib.machine import SCALE


def names():
    if not LIBVIRT_BUILD.exists():
        return []
    done = subprocess.run(['meson', 'introspect', '--tests', LIBVIRT_BUILD],
                          check=True, text=True, capture_output=True)
    return sorted(test['name'] for test in json.loads(done.stdout))


@pytest.fixture(scope='module')
def results():
    """{name: what meson says of the test}, from one run of all of them."""
    log = LIBVIRT_BUILD / 'meson-logs/testlog.json'
    log.unlink(missing_ok=True)
    # As root, some of the tests make folders in /run.
    subprocess.run([*namespace(), 'nice', 'meson', 'test', '--no-rebuild', '-C',
                    LIBVIRT_BUILD, '--timeout-multiplier', str(5 * SCALE)],
                   capture_output=True)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    # The name may be preceded by those of suites.
    return {test['name'].split(' / ')[-1]: test for test in found}


def test_libvirt_is_built():
    assert 'qemuxmlconftest' in names(), 'scripts/lib/build libvirt builds it'


@pytest.mark.parametrize('name', names())
def test_own(name, results):
    test = results[name]
    if test['result'] == 'SKIP':
        pytest.skip('it skips itself and says no more')
    # Upstream marks a test that is known to fail.
    assert test['result'] in ('OK', 'EXPECTEDFAIL'), \
        f"{test['result']}: {test.get('stdout', '')[-3000:]}" \
        f"{test.get('stderr', '')[-3000:]}"
