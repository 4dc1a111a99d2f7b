# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl timesync."""

import json

import tap
from fake_qmp import heartbeat, serve, timesync, vmbus
from hvctl_case import (BROKEN, DONE, NO_VMBUS, NOT_OPEN, NOT_READY, REFUSED,
                        TIMEOUT, UNREACHABLE, Case)

RESPONSE = "VMBUS_TIMESYNC_RESPONSE"


class Show(Case):
    def show(self, *devices, args=()):
        def script(peer):
            peer.greet()
            peer.query(vmbus(*devices))
        return serve(script, "timesync", *args)

    def test_ready(self):
        result = self.show(heartbeat(), timesync())
        self.check(result, DONE)
        self.assertEqual(result.out, "ready, message version 4.0, the guest "
                         "last set its clock 2.5 s ago\n")

    def test_offset(self):
        result = self.show(timesync(**{"offset-us": -1500000}))
        self.check(result, DONE)
        self.assertIn("it is off by -1.500000 s", result.out)

    def test_not_open(self):
        self.check(self.show(timesync("closed")), NOT_OPEN, "not opened")

    def test_not_ready(self):
        for state in "negotiating", "unusable":
            with self.subTest(state):
                self.check(self.show(timesync(state)), NOT_READY,
                           "is not ready")

    def test_no_device(self):
        self.check(self.show(heartbeat()), NO_VMBUS, "no hv-timesync")

    def test_json(self):
        result = self.show(timesync(), args=["--json"])
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out),
                         {"state": "ready", "message-version": "4.0",
                          "syncs": 2, "samples": 9, "answers": 11,
                          "age-ms": 2500, "offset-us": None})


class Sync(Case):
    def sync(self, script, *args):
        def whole(peer):
            peer.greet()
            peer.expect("vmbus-timesync")
            script(peer)
        return serve(whole, "timesync", "--sync", *args)

    def test_accepted(self):
        def script(peer):
            peer.reply({})
            peer.event("RTC_CHANGE", offset=0)
            peer.event(RESPONSE, result="accepted", status=0)
        result = self.sync(script)
        self.check(result, DONE)
        self.assertEqual(result.out, "The guest took the host's time.\n")

    def test_json(self):
        def script(peer):
            peer.reply({})
            peer.event(RESPONSE, result="accepted", status=0)
        result = self.sync(script, "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {"synced": True})

    def test_answer_to_somebody_else(self):
        """One that was there before we asked."""
        def script(peer):
            peer.greet()
            peer.expect("vmbus-timesync")
            peer.reply({})
            peer.event(RESPONSE, result="failed", status=5)

        def early(peer):
            peer.send({"QMP": {"version": {}, "capabilities": []}})
            peer.expect("qmp_capabilities")
            peer.event(RESPONSE, result="accepted", status=0)
            peer.reply({})
            peer.expect("vmbus-timesync")
            peer.reply({})
            peer.event(RESPONSE, result="failed", status=5)
        for one in script, early:
            with self.subTest(one.__name__):
                self.check(serve(one, "timesync", "--sync"), REFUSED,
                           "status 0x00000005")

    def test_gone(self):
        def script(peer):
            peer.reply({})
            peer.event(RESPONSE, result="gone", status=0)
        self.check(self.sync(script), REFUSED, "closed the service")

    def test_errors(self):
        for kind, code in (("DeviceNotFound", NO_VMBUS),
                           ("CommandNotFound", NO_VMBUS),
                           ("DeviceNotActive", NOT_OPEN),
                           ("GenericError", BROKEN)):
            with self.subTest(kind):
                self.check(self.sync(lambda peer: peer.error(kind)), code,
                           "hvctl: ")

    def test_silence(self):
        def script(peer):
            peer.reply({})
            peer.wait_closed()
        self.check(self.sync(script, "--timeout", "1"), TIMEOUT,
                   "has not answered in time")

    def test_qemu_ends(self):
        self.check(self.sync(lambda peer: peer.reply({})), UNREACHABLE,
                   "closed the connection")


if __name__ == "__main__":
    tap.main()
