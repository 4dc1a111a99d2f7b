# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of hvctl have in common."""

import unittest

# Exit codes.
(DONE, BROKEN, USAGE, UNREACHABLE, NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT,
 NOT_OK, NO_KVM, DISABLED, NOT_READY, COMMAND, LOST, NOT_THAWED, NO_KEY,
 EXISTS, STOPPED, FILE, LOCKED, IN_PROGRESS, FINDINGS) = range(22)
EXITS = range(22)


class Case(unittest.TestCase):
    maxDiff = None

    def check(self, result, code, sentence=None):
        self.assertEqual(result.code, code, result.err + result.out)
        if sentence is None:
            self.assertEqual(result.err, "")
        else:
            self.assertIn(sentence, result.err)
            self.assertEqual(result.err.count("\n"), 1, result.err)
