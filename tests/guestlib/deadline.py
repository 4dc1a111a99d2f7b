# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for what may come late: a loaded machine is slow, and a deadline only
has to end what hangs."""
import os
import time

SCALE = float(os.environ.get('KVM_VMBUS_TIMEOUT_SCALE', '1'))


def until(condition, what, timeout=60 * SCALE, pause=0.1):
    """Until condition() is true; returns what it returned.  what is for the
    failure: words, or a function that gives them."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, \
            f'never: {what() if callable(what) else what}'
        time.sleep(pause)
    return result
