# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl shutdown against a scripted QMP server: the orders of events."""

import json
import time

import tap
from fake_qmp import heartbeat, hvctl, serve, shutdown, vmbus
from hvctl_case import (DONE, IN_PROGRESS, LOCKED, NOT_OPEN, NOT_READY,
                        REFUSED, TIMEOUT, UNREACHABLE, USAGE, Case)

RESPONSE = "VMBUS_SHUTDOWN_RESPONSE"


class Asking(Case):
    def shutdown(self, after, *args, state="ready"):
        """hvctl shutdown; @after gets the peer when the command was read."""
        arguments = {}

        def script(peer):
            peer.greet()
            peer.query(vmbus(heartbeat(), shutdown(state)))
            arguments.update(peer.expect("vmbus-shutdown"))
            after(peer)
        result = serve(script, "shutdown", *args)
        self.arguments = arguments
        return result

    @staticmethod
    def accept(peer, mode="powerdown"):
        peer.reply({})
        peer.event(RESPONSE, mode=mode, result="accepted", status=0)


class Shutdown(Asking):
    def test_accepted(self):
        def after(peer):
            self.accept(peer)
            peer.wait_closed()
        result = self.shutdown(after)
        self.check(result, DONE)
        self.assertEqual(self.arguments, {"mode": "powerdown", "force": False})
        self.assertEqual(result.out,
                         "The guest accepted the request and is at it.\n")

    def test_arguments(self):
        result = self.shutdown(lambda peer: self.accept(peer, "reboot"),
                               "--reboot", "--force", "--message", "Grüße")
        self.check(result, DONE)
        self.assertEqual(self.arguments, {"mode": "reboot", "force": True,
                                          "message": "Grüße"})

    def test_json(self):
        result = self.shutdown(self.accept, "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {
            "mode": "powerdown", "accepted": True, "done": False,
            "message": "The guest accepted the request and is at it."})

    def test_event_before_reply(self):
        def after(peer):
            peer.event(RESPONSE, mode="powerdown", result="accepted", status=0)
            peer.reply({})
            peer.wait_closed()
        self.check(self.shutdown(after), DONE)

    def test_older_response(self):
        """An answer from before the request is not its answer."""
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus")
            peer.event(RESPONSE, mode="powerdown", result="failed", status=1)
            peer.reply(vmbus(shutdown()))
            peer.expect("vmbus-shutdown")
            self.accept(peer)
            peer.wait_closed()
        self.check(serve(script, "shutdown"), DONE)

    def test_response_of_other_mode(self):
        def after(peer):
            peer.reply({})
            peer.event(RESPONSE, mode="reboot", result="failed", status=1)
            self.accept(peer)
        self.check(self.shutdown(after), DONE)

    def test_refusals(self):
        for result, code, sentence in (
                ("not-ready", NOT_READY, "not ready"),
                ("in-progress", IN_PROGRESS, "shutting down already"),
                ("locked", LOCKED, "locked"),
                ("not-supported", REFUSED, "does not support"),
                ("failed", REFUSED, "refused with status 0x80004005."),
                ("gone", REFUSED, "closed the service before it answered"),
                ("sulking", REFUSED, "status 0x80004005")):
            with self.subTest(result):
                def after(peer):
                    peer.reply({})
                    peer.event(RESPONSE, mode="powerdown", result=result,
                               status=0x80004005)
                    peer.wait_closed()
                self.check(self.shutdown(after), code, sentence)

    def test_qemu_refuses(self):
        for state, code in (("ready", REFUSED), ("requested", IN_PROGRESS),
                            ("accepted", IN_PROGRESS)):
            result = self.shutdown(
                lambda peer: peer.error("GenericError", "That is why."),
                state=state)
            self.check(result, code, "That is why.")

    def test_hibernate(self):
        result = self.shutdown(lambda peer: self.accept(peer, "hibernate"),
                               "--hibernate", "--json")
        self.check(result, DONE)
        self.assertEqual(self.arguments, {"mode": "hibernate", "force": False})
        self.assertEqual(json.loads(result.out), {
            "mode": "hibernate", "accepted": True, "done": False,
            "message": "The guest accepted the request and is at it."})

    def test_hibernate_refused(self):
        def after(peer):
            peer.reply({})
            peer.event(RESPONSE, mode="hibernate", result="failed",
                       status=0x80004005)
            peer.wait_closed()
        self.check(self.shutdown(after, "--hibernate"), REFUSED,
                   "refused to hibernate, with status 0x80004005; the machine "
                   "may have no ACPI state S4.")

    def test_hibernate_or_reboot(self):
        result = hvctl("--qmp", "/x", "shutdown", "--reboot", "--hibernate")
        self.check(result, USAGE, "exclude each other")

    def test_not_open(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(shutdown("closed")))
            peer.wait_closed()
        self.check(serve(script, "shutdown"), NOT_OPEN,
                   "has not opened the shutdown service")
        result = self.shutdown(lambda peer: peer.error("DeviceNotActive"))
        self.check(result, NOT_OPEN, "has not opened the shutdown service")

    def test_negotiating(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(shutdown("negotiating")))
            peer.wait_closed()
        self.check(serve(script, "shutdown"), NOT_OPEN,
                   "not agreed to a version")

    def test_timeouts(self):
        def silent(peer):
            peer.wait_closed()

        def unanswered(peer):
            peer.reply({})
            peer.wait_closed()

        def accepted(peer):
            self.accept(peer)
            peer.wait_closed()

        def restarting(peer):
            self.accept(peer, "reboot")
            peer.wait_closed()

        def hibernating(peer):
            self.accept(peer, "hibernate")
            peer.event("SUSPEND_DISK")
            peer.wait_closed()
        for after, args, sentence in (
                (silent, [], "did not answer in time"),
                (unanswered, [], "The guest has not answered in time."),
                (accepted, ["--wait"],
                 "accepted, but has not gone off in time"),
                (restarting, ["--wait", "--reboot"],
                 "accepted, but has not restarted in time"),
                (hibernating, ["--wait", "--hibernate"],
                 "accepted, but has not hibernated in time")):
            with self.subTest(sentence):
                result = self.shutdown(after, "--timeout", "1", *args)
                self.check(result, TIMEOUT, sentence)

    def test_qemu_ends_unanswered(self):
        for after in lambda peer: None, lambda peer: peer.reply({}):
            for args in [], ["--wait"]:
                self.check(self.shutdown(after, *args), UNREACHABLE,
                           "closed the connection")


class Wait(Asking):
    """shutdown --wait: acknowledged is not done."""

    def wait(self, after, *args, accept=True):
        mode = ("reboot" if "--reboot" in args else
                "hibernate" if "--hibernate" in args else "powerdown")

        def script(peer):
            if accept:
                self.accept(peer, mode)
            after(peer)
        return self.shutdown(script, "--wait", *args)

    def test_off(self):
        def after(peer):
            time.sleep(0.3)
            peer.event("POWERDOWN")
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        start = time.monotonic()
        result = self.wait(after)
        self.check(result, DONE)
        self.assertEqual(result.out, "The machine is off.\n")
        self.assertGreater(time.monotonic() - start, 0.3)

    def test_off_json(self):
        result = self.wait(
            lambda peer: peer.event("SHUTDOWN", guest=True,
                                    reason="guest-shutdown"), "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {
            "mode": "powerdown", "accepted": True, "done": True,
            "message": "The machine is off."})

    def test_off_before_reply(self):
        """All at once, and the end before the answer."""
        def after(peer):
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event(RESPONSE, mode="powerdown", result="accepted", status=0)
            peer.reply({})
        self.check(self.wait(after, accept=False), DONE)

    def test_end_without_event(self):
        result = self.wait(lambda peer: None)
        self.check(result, DONE)
        self.assertIn("QEMU has ended", result.out)

    def test_no_shutdown(self):
        """-no-shutdown: QEMU stays, stopped, and the socket stays open."""
        def after(peer):
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event("STOP")
            peer.expect("query-status")
            peer.reply({"running": False, "status": "shutdown"})
            peer.wait_closed()
        result = self.wait(after)
        self.check(result, DONE)
        self.assertEqual(result.out, "The machine is off.\n")

    def test_stays_after_shutdown(self):
        """No STOP and no end: off all the same, after a moment."""
        def after(peer):
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.wait_closed()
        self.check(self.wait(after, "--timeout", "1"), DONE)

    def test_status_query_cut(self):
        def after(peer):
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event("STOP")
            peer.expect("query-status")
        self.check(self.wait(after), DONE)

    def test_status_query_unanswered(self):
        def after(peer):
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event("STOP")
            peer.expect("query-status")
            peer.wait_closed()
        self.check(self.wait(after, "--timeout", "1"), DONE)

    def test_stop_alone(self):
        """A machine that is merely paused is not off."""
        def after(peer):
            peer.event("STOP")
            peer.wait_closed()
        self.check(self.wait(after, "--timeout", "1"), TIMEOUT,
                   "has not gone off in time")

    def test_ended_after_it(self):
        """As libvirt does, by a signal, to a QEMU whose machine is off."""
        def after(peer):
            self.accept(peer)
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event("SHUTDOWN", guest=False, reason="host-signal")
        result = self.shutdown(after, "--wait")
        self.check(result, DONE)
        self.assertEqual(result.out, "The machine is off.\n")

    def test_started_anew(self):
        """As libvirt does with on_poweroff set to restart."""
        def after(peer):
            self.accept(peer)
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event("RESET", guest=False, reason="host-qmp-system-reset")
            peer.wait_closed()
        result = self.shutdown(after, "--wait")
        self.check(result, DONE)
        self.assertIn("started anew", result.out)

    def test_restarted(self):
        def after(peer):
            peer.event("RESET", guest=True, reason="guest-reset")
            peer.wait_closed()
        result = self.wait(after, "--reboot")
        self.check(result, DONE)
        self.assertEqual(result.out, "The machine has restarted.\n")

    def test_no_reboot(self):
        result = self.wait(
            lambda peer: peer.event("SHUTDOWN", guest=True,
                                    reason="guest-reset"), "--reboot")
        self.check(result, DONE)
        self.assertIn("-no-reboot", result.out)

    def test_reboot_cut(self):
        """An end of QEMU is no restart."""
        self.check(self.wait(lambda peer: None, "--reboot"), UNREACHABLE,
                   "closed the connection")

    def test_hibernated(self):
        def after(peer):
            peer.event("SUSPEND_DISK")
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        result = self.wait(after, "--hibernate")
        self.check(result, DONE)
        self.assertEqual(result.out, "The guest hibernates.\n")

    def test_hibernated_without_a_word(self):
        result = self.wait(lambda peer: peer.event("SUSPEND_DISK"),
                           "--hibernate")
        self.check(result, DONE)
        self.check(self.wait(lambda peer: None, "--hibernate"), UNREACHABLE,
                   "closed the connection")

    def test_something_else(self):
        off = {"guest": True, "reason": "guest-shutdown"}
        for event, data, args, sentence in (
                ("RESET", {"guest": True, "reason": "guest-reset"}, [],
                 "restarted instead of powering off"),
                ("SHUTDOWN", {"guest": True, "reason": "guest-reset"}, [],
                 "restarted instead of powering off"),
                ("SHUTDOWN", off, ["--reboot"],
                 "powered off instead of restarting"),
                ("SHUTDOWN", off, ["--hibernate"],
                 "without entering ACPI state S4"),
                ("RESET", {"guest": True, "reason": "guest-reset"},
                 ["--hibernate"], "restarted instead of hibernating"),
                ("SHUTDOWN", {"guest": True, "reason": "guest-panic"}, [],
                 "panicked"),
                ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}, [],
                 "ended from outside (host-qmp-quit)"),
                ("RESET",
                 {"guest": False, "reason": "host-qmp-system-reset"},
                 ["--reboot"], "reset from outside")):
            with self.subTest(event=event, data=data, args=args):
                result = self.wait(lambda peer: peer.event(event, **data),
                                   *args)
                self.check(result, REFUSED, sentence)

    def gone(self, peer, mode):
        peer.reply({})
        peer.event(RESPONSE, mode=mode, result="gone", status=0)

    def test_gone_then_restarted(self):
        def after(peer):
            self.gone(peer, "reboot")
            peer.event("RESET", guest=True, reason="guest-reset")
            peer.wait_closed()
        self.check(self.wait(after, "--reboot", accept=False), DONE)

    def test_gone_then_off(self):
        def after(peer):
            self.gone(peer, "powerdown")
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        self.check(self.wait(after, accept=False), DONE)

    def test_gone_for_good(self):
        def after(peer):
            self.gone(peer, "powerdown")
            peer.wait_closed()
        self.check(self.wait(after, "--timeout", "1", accept=False),
                   REFUSED, "closed the service before it answered")


if __name__ == "__main__":
    tap.main()
