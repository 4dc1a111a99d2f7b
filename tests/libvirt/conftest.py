# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's daemon for the tests of a file."""
import pytest

from guestlib.libvirt import NoUser, Session


@pytest.fixture(scope='module')
def session():
    try:
        one = Session()
    except NoUser as why:
        pytest.skip(str(why))
    yield one
    one.close()
