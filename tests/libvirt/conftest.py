# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's daemon for the tests of a file."""
import pathlib

import pytest

from guestlib.libvirt import serving


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups then
def pytest_collection_modifyitems(items):
    """With pytest-xdist, the tests of a file that share a guest go to one
    worker (--dist loadgroup); so do those that share a daemon alone."""
    for item in items:
        if item.get_closest_marker('xdist_group') or \
                item.path.parent != pathlib.Path(__file__).parent:
            continue
        values = item.callspec.params.values() if hasattr(
            item, 'callspec') else ()
        kernel = [value for value in values if value in ('6.1', '6.12')]
        item.add_marker(pytest.mark.xdist_group(
            '-'.join([item.path.stem, *kernel])))


@pytest.fixture(scope='module')
def session():
    with serving() as one:
        yield one
