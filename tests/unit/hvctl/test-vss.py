# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl vss-status, snapshot-freeze and snapshot-thaw."""

import json

import tap
from fake_qmp import serve, vss_info
from hvctl_case import (BROKEN, DISABLED, DONE, LOST, NO_VMBUS, NOT_OPEN,
                        NOT_READY, NOT_THAWED, REFUSED, TIMEOUT, UNREACHABLE,
                        Case)

CHANGE = "VMBUS_VSS_CHANGE"


class Status(Case):
    def status(self, info, *args):
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus-vss")
            peer.reply(info)
        return serve(script, "vss-status", *args)

    def test_idle(self):
        result = self.status(vss_info())
        self.check(result, DONE)
        self.assertEqual(result.out,
                         "idle\nFreezes: 4; thaws: 3, refused 1\n")

    def test_frozen(self):
        result = self.status(vss_info("frozen", **{"left-ms": 7500,
                                                   "frozen-ms": 2500}))
        self.check(result, DONE)
        self.assertIn("frozen for 2.5 s, thaws by itself in 7.5 s",
                      result.out)

    def test_reason(self):
        result = self.status(vss_info("failed", reason="timeout",
                                      message="The guest was late."))
        self.check(result, DONE)
        self.assertIn("failed: The guest was late.\n", result.out)

    def test_service(self):
        for service, code in (("closed", NOT_OPEN), ("negotiating", NOT_READY),
                              ("unusable", REFUSED)):
            with self.subTest(service):
                result = self.status(vss_info(service=service))
                self.check(result, code, "backup service")
                self.assertIn("idle", result.out)

    def test_json(self):
        result = self.status(vss_info("frozen", **{"left-ms": 1}), "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {
            "state": "frozen", "reason": None, "message": None,
            "service": "ready", "thaw-owed": True, "job": 4, "left-ms": 1,
            "frozen-ms": None, "freezes": 4, "thaws": 3, "thaws-refused": 1,
            "late-answers": 0})

    def test_no_device(self):
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus-vss")
            peer.error("DeviceNotFound")
        self.check(serve(script, "vss-status"), NO_VMBUS, "no hv-vss")

    def test_nonsense(self):
        self.check(self.status([1]), BROKEN, "no object")


class Freeze(Case):
    def freeze(self, script, *args, info=None):
        arguments = []

        def whole(peer):
            peer.greet()
            peer.expect("query-vmbus-vss")
            peer.reply(info or vss_info())
            if script:
                arguments.append(peer.expect("vmbus-vss-freeze"))
                script(peer)
        result = serve(whole, "snapshot-freeze", *args)
        self.arguments = arguments
        return result

    @staticmethod
    def changes(*changes):
        def script(peer):
            peer.reply({"job": 5})
            for state, reason in changes:
                more = {"reason": reason} if reason else {}
                peer.event(CHANGE, state=state, job=5, **more)
        return script

    def test_frozen(self):
        result = self.freeze(self.changes(("checking", None),
                                          ("freezing", None),
                                          ("frozen", None)))
        self.check(result, DONE)
        self.assertEqual(result.out,
                         "The guest is frozen; it thaws by itself in 10 s.\n")
        self.assertEqual(self.arguments,
                         [{"hold-ms": 10000, "timeout-ms": 60000}])

    def test_times(self):
        result = self.freeze(self.changes(("frozen", None)), "--hold", "2.5",
                             "--timeout", "7")
        self.check(result, DONE)
        self.assertIn("in 2.5 s", result.out)
        self.assertEqual(self.arguments,
                         [{"hold-ms": 2500, "timeout-ms": 7000}])

    def test_json(self):
        result = self.freeze(self.changes(("frozen", None)), "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out),
                         {"state": "frozen", "job": 5, "hold": 10.0})

    def test_event_before_the_answer(self):
        def script(peer):
            peer.event(CHANGE, state="checking", job=5)
            self.changes(("frozen", None))(peer)
        self.check(self.freeze(script), DONE)

    def test_other_jobs(self):
        """What happened to another freeze says nothing of ours."""
        def script(peer):
            peer.event(CHANGE, state="failed", job=4, reason="timeout")
            peer.reply({"job": 5})
            peer.event(CHANGE, state="frozen", job=4)
            peer.event(CHANGE, state="failed", job=5, reason="refused")
        self.check(self.freeze(script), REFUSED, "could not freeze")

    def test_reasons(self):
        sentences = set()
        for reason, code in (("disabled", DISABLED), ("not-ready", NOT_READY),
                             ("refused", REFUSED), ("timeout", TIMEOUT),
                             ("cancelled", REFUSED), ("shutdown", REFUSED),
                             ("migration", REFUSED), ("gone", REFUSED),
                             ("reset", REFUSED), ("something", REFUSED)):
            for state in "thawing", "failed":
                with self.subTest(reason):
                    result = self.freeze(self.changes((state, reason)))
                    self.check(result, code, "hvctl: ")
                    sentences.add(result.err)
        self.assertEqual(len(sentences), 10)

    def test_three_errors(self):
        """No service, not ready, disabled: three codes, three sentences."""
        results = [self.freeze(None, info=vss_info(service="closed")),
                   self.freeze(None, info=vss_info(service="negotiating")),
                   self.freeze(self.changes(("failed", "disabled")))]
        self.assertEqual([r.code for r in results],
                         [NOT_OPEN, NOT_READY, DISABLED])
        self.assertEqual(len({r.err for r in results}), 3)

    def test_errors(self):
        for kind, code in (("DeviceNotFound", NO_VMBUS),
                           ("CommandNotFound", NO_VMBUS),
                           ("DeviceNotActive", NOT_OPEN),
                           ("GenericError", REFUSED)):
            with self.subTest(kind):
                result = self.freeze(lambda peer: peer.error(kind, "so what"))
                self.check(result, code, "hvctl: ")
                self.assertEqual("so what" in result.err, code == REFUSED)

    def test_silence(self):
        def script(peer):
            peer.reply({"job": 5})
            peer.wait_closed()
        self.check(self.freeze(script, "--timeout", "0.1"), TIMEOUT,
                   "has not told in time")

    def test_qemu_ends(self):
        self.check(self.freeze(lambda peer: peer.reply({"job": 5})),
                   UNREACHABLE, "closed the connection")

    def test_nonsense(self):
        self.check(self.freeze(lambda peer: peer.reply({})), BROKEN, "no job")


class Thaw(Case):
    def thaw(self, script, *args, before=None):
        def whole(peer):
            peer.greet()
            peer.expect("query-vmbus-vss")
            peer.reply(before or vss_info("frozen"))
            peer.expect("vmbus-vss-thaw")
            script(peer)
        return serve(whole, "snapshot-thaw", *args)

    @staticmethod
    def changes(*changes):
        def script(peer):
            peer.reply({})
            for state, reason in changes:
                more = {"reason": reason} if reason else {}
                peer.event(CHANGE, state=state, job=5, **more)
        return script

    def test_thawed(self):
        result = self.thaw(self.changes(("thawing", "thawed"), ("idle", None)))
        self.check(result, DONE)
        self.assertEqual(result.out, "The guest is thawed.\n")

    def test_json(self):
        result = self.thaw(self.changes(("idle", None)), "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {"state": "thawed"})

    def test_thawed_for_another_reason(self):
        for reason in ("hold-over", "limit", "shutdown", "migration", "moved",
                       "reset"):
            with self.subTest(reason):
                self.check(self.thaw(self.changes(("failed", reason))), LOST,
                           f"had ended before ({reason})")

    def test_too_late(self):
        """The host has thawed by itself, and the copy is worth nothing."""
        thawed = self.changes(("thawing", "thawed"), ("idle", None))
        self.check(self.thaw(thawed, before=vss_info("failed",
                                                     reason="hold-over")),
                   LOST, "had ended before (hold-over)")
        for reason in "refused", "timeout", "disabled":
            self.check(self.thaw(thawed, before=vss_info("failed",
                                                         reason=reason)), DONE)

    def test_before_the_answer(self):
        def script(peer):
            peer.event(CHANGE, state="failed", job=5, reason="cancelled")
            peer.reply({})
        self.check(self.thaw(script), DONE)

    def test_refused(self):
        self.check(self.thaw(self.changes(("failed", "not-thawed"))), REFUSED,
                   "refused to thaw")

    def test_gone(self):
        self.check(self.thaw(self.changes(("failed", "gone"))), NOT_THAWED,
                   "when it is back")

    def test_lapsed(self):
        self.check(self.thaw(self.changes(("thawing", "thawed"),
                                          ("failed", "lapsed"))), LOST,
                   "not to be trusted")

    def test_not_confirmed(self):
        def script(peer):
            self.changes(("thawing", "thawed"))(peer)
            peer.wait_closed()
        self.check(self.thaw(script, "--timeout", "1"), NOT_THAWED,
                   "goes on asking")

    def test_errors(self):
        for kind, code in (("DeviceNotFound", NO_VMBUS),
                           ("DeviceNotActive", NOT_OPEN),
                           ("GenericError", REFUSED)):
            with self.subTest(kind):
                self.check(self.thaw(lambda peer: peer.error(kind)), code,
                           "hvctl: ")


if __name__ == "__main__":
    tap.main()
