# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl against a scripted QMP server: sentences, exit codes, event orders."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import tap
from fake_qmp import (GREETING, HVCTL, LIMIT, Server, heartbeat, hvctl, serve,
                      shutdown, vmbus)

SOURCE = os.environ["HVCTL_SOURCE"]
RESPONSE = "VMBUS_SHUTDOWN_RESPONSE"

(DONE, BROKEN, USAGE, UNREACHABLE, NO_VMBUS, NOT_OPEN, REFUSED, TIMEOUT,
 NOT_OK, NO_KVM) = range(10)


class Case(unittest.TestCase):
    maxDiff = None

    def check(self, result, code, sentence=None):
        self.assertEqual(result.code, code, result.err + result.out)
        if sentence is None:
            self.assertEqual(result.err, "")
        else:
            self.assertIn(sentence, result.err)
            self.assertEqual(result.err.count("\n"), 1, result.err)


class Reach(Case):
    """Getting to the server, or not."""

    def test_no_socket(self):
        result = hvctl("status", "--qmp", "/nonexistent/qmp")
        self.check(result, UNREACHABLE, "No QEMU answers at /nonexistent/qmp")

    def test_dead_socket(self):
        with tempfile.TemporaryDirectory() as where:
            path = os.path.join(where, "qmp")
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(path)
                dead.listen(1)
            result = hvctl("heartbeat", "--qmp", path)
        self.check(result, UNREACHABLE, "Connection refused")

    def test_tcp(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(heartbeat()))
        self.check(serve(script, "heartbeat", tcp=True), DONE)

    def test_tcp_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        result = hvctl("status", "--qmp", f"tcp:127.0.0.1:{port}")
        self.check(result, UNREACHABLE, "No QEMU answers")

    def test_tcp_malformed(self):
        for address in "tcp:", "tcp:localhost", "tcp:localhost:x":
            with self.subTest(address):
                self.check(hvctl("status", "--qmp", address), USAGE,
                           "tcp:HOST:PORT")

    def test_long_path(self):
        result = hvctl("status", "--qmp", "/" + "x" * 200)
        self.check(result, USAGE, "1 to 107 bytes; this one has 201")

    def test_unix_prefix(self):
        result = hvctl("status", "--qmp", "unix:/nonexistent/qmp")
        self.check(result, UNREACHABLE, "No such file")

    def test_environment(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(heartbeat()))
        server = Server(script)
        try:
            result = hvctl("heartbeat", env={"HVCTL_QMP": server.address})
        finally:
            server.stop()
        self.check(result, DONE)

    def test_no_address(self):
        for command in "status", "heartbeat", "shutdown":
            with self.subTest(command):
                self.check(hvctl(command), USAGE, "give --qmp")

    def test_never_greets(self):
        result = serve(lambda peer: peer.wait_closed(),
                       "status", "--timeout", "1")
        self.check(result, TIMEOUT, "one client at a time")

    def test_never_negotiates(self):
        def script(peer):
            peer.send(GREETING)
            peer.expect("qmp_capabilities")
            peer.wait_closed()
        result = serve(script, "status", "--timeout", "1")
        self.check(result, TIMEOUT, "did not answer in time")

    def test_never_answers(self):
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus")
            for _ in range(100):  # events are no answer
                peer.event("RTC_CHANGE", offset=1)
            peer.wait_closed()
        for command in "status", "heartbeat", "shutdown":
            with self.subTest(command):
                start = time.monotonic()
                result = serve(script, command, "--timeout", "1")
                self.check(result, TIMEOUT, "did not answer in time")
                self.assertLess(time.monotonic() - start, 20)

    def test_closed_at_once(self):
        result = serve(lambda peer: None, "status")
        self.check(result, UNREACHABLE, "closed the connection")

    def test_closed_after_greeting(self):
        result = serve(lambda peer: peer.send(GREETING), "status")
        self.check(result, UNREACHABLE, "closed the connection")

    def test_closed_in_a_message(self):
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus")
            peer.raw(peer.answer(vmbus())[:40])
        self.check(serve(script, "status"), UNREACHABLE,
                   "closed the connection")


class Messages(Case):
    """How QMP's bytes come in."""

    def serve_bytes(self, make):
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus")
            for part in make(peer):
                peer.raw(part)
                time.sleep(0.0005)
        return serve(script, "heartbeat")

    def test_byte_by_byte(self):
        def make(peer):
            # hvctl leaves at the last bracket; nobody reads a line's end.
            data = peer.answer(vmbus(heartbeat())).strip()
            return [data[i:i + 1] for i in range(len(data))]
        self.check(self.serve_bytes(make), DONE)

    def test_pretty(self):
        def make(peer):
            message = json.loads(peer.answer(vmbus(heartbeat())))
            return [json.dumps(message, indent=4).encode() + b"\r\n"]
        self.check(self.serve_bytes(make), DONE)

    def test_many_in_one(self):
        def make(peer):
            event = b'{"event": "POWERDOWN", "data": {}}\r\n'
            return [event * 50 + peer.answer(vmbus(heartbeat())) + event]
        self.check(self.serve_bytes(make), DONE)

    def test_no_newline_between(self):
        def make(peer):
            return [b'{"event":"A"}{"event":"B"}' +
                    peer.answer(vmbus(heartbeat()))]
        self.check(self.serve_bytes(make), DONE)

    def test_brackets_in_strings(self):
        def make(peer):
            return [b'{"event": "}]\\"{[\\\\", "data": {"x": "\\u007d}"}}\n' +
                    peer.answer(vmbus(heartbeat()))]
        self.check(self.serve_bytes(make), DONE)

    def test_large(self):
        def make(peer):
            devices = [heartbeat()] + [shutdown()] * 600
            data = peer.answer(vmbus(*devices))
            self.assertGreater(len(data), 3 * 65536)
            return [data]
        self.check(self.serve_bytes(make), DONE)

    def test_foreign_answer(self):
        def make(peer):
            return [b'{"return": {}, "id": 99999}\n' +
                    peer.answer(vmbus(heartbeat()))]
        self.check(self.serve_bytes(make), DONE)

    def test_nonsense(self):
        for name, data, sentence in (
                ("text", b"hello", "no JSON object"),
                ("closing", b"}", "no JSON object"),
                ("broken", b'{"return": }\n', "not a JSON object"),
                ("mixed", b'{"return": ]\n}', "not a JSON object"),
                ("array", b"[1, 2]\n", "not a JSON object"),
                ("deep", b'{"x":' + b"[" * 2000, "no JSON object"),
                ("neither", b'{"x": 1}\n', "neither a result nor an error")):
            with self.subTest(name):
                result = self.serve_bytes(lambda peer: [data])
                self.check(result, BROKEN, sentence)

    def test_endless(self):
        def script(peer):
            peer.raw(b'{"QMP": "')
            try:
                for _ in range(40):
                    peer.raw(b"x" * (1 << 20))
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.check(serve(script, "status"), BROKEN, "a message has no end")

    def test_greeting_missing(self):
        self.check(serve(lambda peer: peer.send({"hello": 1}), "status"),
                   BROKEN, "the greeting is missing")

    def test_capabilities_refused(self):
        def script(peer):
            peer.send(GREETING)
            peer.expect("qmp_capabilities")
            peer.error("GenericError", "not today")
        self.check(serve(script, "status"), BROKEN, "not today")

    def test_answer_lacks_members(self):
        for info in ({}, {"present": True}, {"devices": []}, [], 3, None,
                     {"present": True, "devices": {}}):
            with self.subTest(info):
                def script(peer):
                    peer.greet()
                    peer.query(info)
                self.check(serve(script, "status"), BROKEN, "lacks members")

    def test_wrong_types(self):
        """Members of other types are as if missing; nothing crashes."""
        bad = [None, 1, "x", [], [[]], {}, True]
        for value in bad:
            device = {key: value for key in heartbeat()}
            device["heartbeat"] = {"state": value, "age-ms": value}
            device["service"] = {"refused": value, "last-refusal": value}
            device["channels"] = [{"in": value, "relid": value}, value]
            info = {key: value for key in vmbus()}
            info.update(present=True, devices=[device, value])
            for args in (["status"], ["status", "--json"], ["heartbeat"]):
                with self.subTest(value=value, args=args):
                    def script(peer):
                        peer.greet()
                        peer.query(info)
                    result = serve(script, *args)
                    want = BROKEN if args == ["heartbeat"] else DONE
                    self.assertEqual(result.code, want, result.err)
                    self.assertNotIn("CRITICAL", result.err)


class NoVmbus(Case):
    def test_three_sentences(self):
        """Dead socket, no VMBus, service not opened: all different."""
        def old(peer):
            peer.greet()
            peer.expect("query-vmbus")
            peer.error("CommandNotFound")

        def without(peer):
            peer.greet()
            peer.query(vmbus(present=False))

        def no_device(peer):
            peer.greet()
            peer.query(vmbus())

        for command in "status", "heartbeat", "shutdown":
            with self.subTest(command):
                self.check(serve(old, command), NO_VMBUS,
                           "has no VMBus support")
                self.check(serve(without, command), NO_VMBUS,
                           "has no VMBus.")
        self.check(serve(no_device, "heartbeat"), NO_VMBUS,
                   "no hv-heartbeat device")
        self.check(serve(no_device, "shutdown"), NO_VMBUS,
                   "no hv-shutdown device")

    def test_device_goes_away(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(shutdown()))
            peer.expect("vmbus-shutdown")
            peer.error("DeviceNotFound")
        self.check(serve(script, "shutdown"), NO_VMBUS,
                   "no hv-shutdown device")


class Status(Case):
    def status(self, info, *args):
        def script(peer):
            peer.greet()
            peer.query(info)
        result = serve(script, "status", *args)
        self.check(result, DONE)
        return result.out

    def test_text(self):
        out = self.status(vmbus(heartbeat(), shutdown()))
        self.assertEqual(out, """\
VMBus: version 5.3, messages to VP 0 SINT 2
Messages: 20 in, 21 out, 3 refused; connected 1 times; 2 GPADLs

DEVICE           RELID SUB STATE       VP       IN  PACKETS      OUT  PACKETS   SIG-IN  SIG-OUT
hv-heartbeat         1   0 open         1    12288        7    12288        8        9       10
hv-shutdown          2   0 open         1    12288        7    12288        8        9       10

Heartbeat: ok, applications healthy, sequence 12, 1.2 s old
Shutdown: ready, message version 3.2
""")

    def test_not_connected(self):
        info = vmbus(connected=False, **{"max-version": "5.3"})
        del info["version"]
        out = self.status(info)
        self.assertIn("no guest connected (up to version 5.3)", out)

    def test_closed_channel(self):
        device = shutdown("closed")
        channel = device["channels"][0]
        channel["state"] = "offered"
        del channel["target-vp"], device["shutdown"]["message-version"]
        out = self.status(vmbus(device))
        self.assertRegex(out, r"hv-shutdown +2 +0 offered +- ")
        self.assertIn("message version not agreed yet", out)

    def test_corrupt(self):
        device = shutdown()
        device["channels"][0].update(state="corrupt", corruptions=2,
                                     corruption="write index out of range")
        out = self.status(vmbus(device))
        self.assertIn("corrupt 2 times; the last time: write index out of "
                      "range", out)

    def test_refusals(self):
        device = shutdown()
        device["service"].update(refused=3, **{
            "last-refusal": "the guest sent a message that is not an answer"})
        out = self.status(vmbus(heartbeat(), device))
        self.assertEqual(out.splitlines()[-1],
                         "hv-shutdown: 1 requests sent, 1 answered, 3 packets "
                         "refused; the last time: the guest sent a message "
                         "that is not an answer")
        self.assertNotIn("hv-heartbeat:", out)
        del device["service"]["last-refusal"]
        out = self.status(vmbus(heartbeat(), device))
        self.assertEqual(out.splitlines()[-1],
                         "hv-shutdown: 1 requests sent, 1 answered, 3 packets "
                         "refused")

    def test_json(self):
        info = vmbus(heartbeat(), shutdown())
        out = json.loads(self.status(info, "--json"))
        self.assertEqual(set(out), {"bus", "devices"})
        bus = {k: v for k, v in info.items() if k not in ("present", "devices")}
        self.assertEqual(out["bus"], bus)
        for device in info["devices"]:
            device["channels"][0]["corruption"] = None
            device["service"]["last-refusal"] = None
        info["devices"][1]["id"] = None
        self.assertEqual(out["devices"], info["devices"])

    def test_json_documented(self):
        """The man page names each member."""
        with open(os.path.join(SOURCE, "hvctl.1")) as page:
            text = page.read().replace("\\-", "-")
        text = text[text.index(".SH JSON"):text.index(".SH EXAMPLES")]
        words = set(re.findall(r"[a-z][a-z-]*", text))

        def names(value):
            if isinstance(value, dict):
                for key, inner in value.items():
                    yield key
                    yield from names(inner)
            elif isinstance(value, list):
                for inner in value:
                    yield from names(inner)
        out = json.loads(self.status(vmbus(heartbeat(), shutdown()), "--json"))
        self.assertEqual(set(names(out)) - words, set())
        self.assertGreater(len(set(names(out))), 30)


class Heartbeat(Case):
    def heartbeat(self, device, *args):
        def script(peer):
            peer.greet()
            peer.query(vmbus(shutdown(), device))
        return serve(script, "heartbeat", *args)

    def test_ok(self):
        result = self.heartbeat(heartbeat())
        self.check(result, DONE)
        self.assertEqual(result.out,
                         "ok, applications healthy, last answer 1.2 s ago\n")

    def test_json(self):
        result = self.heartbeat(heartbeat(), "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out),
                         {"state": "ok", "application": "healthy",
                          "sequence": 12, "age-ms": 1250})

    def test_states(self):
        for state, code, sentence in (
                ("no-contact", NOT_OPEN, "has not opened the heartbeat"),
                ("lost", NOT_OK, "stopped answering"),
                ("paused", NOT_OK, "The machine is paused"),
                ("dancing", BROKEN, "unknown state")):
            with self.subTest(state):
                result = self.heartbeat(heartbeat(state, "unknown"))
                self.check(result, code, sentence)
                self.assertTrue(result.out.startswith(state + ","))

    def test_json_error(self):
        result = self.heartbeat(heartbeat("lost"), "--json")
        self.assertEqual(result.code, NOT_OK)
        self.assertEqual(json.loads(result.out)["state"], "lost")
        self.assertEqual(json.loads(result.err),
                         {"error": "The guest has stopped answering "
                                   "heartbeats.", "exit": NOT_OK})


class Watch(Case):
    STAMP = "2023-11-14T22:13:20.123Z"

    def watch(self, more, *args):
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus")
            # An event that overtakes the answer must not be lost.
            peer.event("VMBUS_HEARTBEAT_CHANGE", state="lost",
                       application="unknown")
            peer.reply(vmbus(heartbeat()))
            more(peer)
        return serve(script, "heartbeat", "--watch", *args)

    def test_lines(self):
        def more(peer):
            peer.event("RTC_CHANGE", offset=1)
            peer.event("STOP")
            peer.event("VMBUS_HEARTBEAT_CHANGE", state="paused",
                       application="critical")
            peer.event("RESUME")
            peer.event("RESET", guest=True, reason="guest-reset")
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        result = self.watch(more)
        self.check(result, DONE)
        self.assertEqual(result.out.splitlines(), [
            "ok, applications healthy, last answer 1.2 s ago",
            f"{self.STAMP} lost, applications unknown",
            f"{self.STAMP} machine stopped",
            f"{self.STAMP} paused, applications critical",
            f"{self.STAMP} machine runs",
            f"{self.STAMP} machine reset",
            f"{self.STAMP} machine off"])

    def test_json(self):
        result = self.watch(
            lambda peer: peer.event("SHUTDOWN", guest=True, reason="x"),
            "--json")
        self.check(result, DONE)
        self.assertEqual([json.loads(line) for line in result.out.splitlines()],
                         [{"state": "ok", "application": "healthy",
                           "sequence": 12, "age-ms": 1250},
                          {"time": self.STAMP, "event": "heartbeat",
                           "state": "lost", "application": "unknown"},
                          {"time": self.STAMP, "event": "machine off"}])

    def test_connection_lost(self):
        result = self.watch(lambda peer: None)
        self.check(result, UNREACHABLE, "closed the connection")

    def test_runs_again_then_lost(self):
        def more(peer):  # -no-shutdown, then system_reset and cont
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            peer.event("RESET", guest=False, reason="host-qmp-system-reset")
        self.check(self.watch(more), UNREACHABLE, "closed the connection")

    def test_outlives_timeout(self):
        def more(peer):
            time.sleep(1.5)
            peer.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        result = self.watch(more, "--timeout", "1")
        self.check(result, DONE)
        self.assertIn("machine off", result.out)

    def test_interrupted(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(heartbeat()))
            peer.wait_closed()
        server = Server(script)
        try:
            with subprocess.Popen(
                    [HVCTL, "--qmp", server.address, "heartbeat", "--watch"],
                    stdout=subprocess.PIPE) as child:
                self.assertTrue(child.stdout.readline().startswith(b"ok,"))
                child.send_signal(signal.SIGINT)
                self.assertEqual(child.wait(LIMIT), -signal.SIGINT)
        finally:
            server.stop()


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
        for result, sentence in (
                ("not-ready", "not ready"),
                ("in-progress", "shutting down already"),
                ("locked", "locked"),
                ("not-supported", "does not support"),
                ("failed", "status 0x80004005"),
                ("gone", "closed the service before it answered"),
                ("sulking", "status 0x80004005")):
            with self.subTest(result):
                def after(peer):
                    peer.reply({})
                    peer.event(RESPONSE, mode="powerdown", result=result,
                               status=0x80004005)
                    peer.wait_closed()
                self.check(self.shutdown(after), REFUSED, sentence)

    def test_qemu_refuses(self):
        result = self.shutdown(
            lambda peer: peer.error("GenericError", "A shutdown is in "
                                    "progress already"))
        self.check(result, REFUSED, "A shutdown is in progress already")

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
        for after, args, sentence in (
                (silent, [], "did not answer in time"),
                (unanswered, [], "The guest has not answered in time."),
                (accepted, ["--wait"],
                 "accepted, but has not gone off in time"),
                (restarting, ["--wait", "--reboot"],
                 "accepted, but has not restarted in time")):
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
        mode = "reboot" if "--reboot" in args else "powerdown"

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

    def test_something_else(self):
        off = {"guest": True, "reason": "guest-shutdown"}
        for event, data, args, sentence in (
                ("RESET", {"guest": True, "reason": "guest-reset"}, [],
                 "restarted instead of powering off"),
                ("SHUTDOWN", {"guest": True, "reason": "guest-reset"}, [],
                 "restarted instead of powering off"),
                ("SHUTDOWN", off, ["--reboot"],
                 "powered off instead of restarting"),
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


class HostCheck(Case):
    def test_no_device(self):
        result = hvctl("host-check", "--device", "/nonexistent/kvm")
        self.check(result, NO_KVM)
        self.assertRegex(result.out, r"\Atcg: /nonexistent/kvm does not exist")

    def test_not_kvm(self):
        result = hvctl("host-check", "--device", "/dev/null")
        self.check(result, NO_KVM)
        self.assertEqual(result.out, "tcg: /dev/null is not KVM.\n")

    def test_no_permission(self):
        if os.getuid() == 0:
            self.skipTest("root may open everything")
        with tempfile.NamedTemporaryFile() as device:
            os.chmod(device.name, 0)
            result = hvctl("host-check", "--device", device.name)
        self.check(result, NO_KVM)
        self.assertIn("You may not open", result.out)

    def test_json(self):
        result = hvctl("host-check", "--json", "--device", "/dev/null")
        self.check(result, NO_KVM)
        self.assertEqual(json.loads(result.out),
                         {"accelerator": "tcg", "capabilities": [],
                          "reason": "/dev/null is not KVM."})

    def test_this_host(self):
        """Whatever it is: exit code, verdict and capabilities agree."""
        result = hvctl("host-check")
        last = result.out.splitlines()[-1]
        self.check(result, DONE if last.startswith("kvm: ") else NO_KVM)
        self.assertRegex(last, r"\A(kvm|tcg): .*\.\Z")
        if last.startswith("kvm: "):
            self.assertNotIn("no, but needed", result.out)


class Usage(Case):
    def test_mistakes(self):
        for args in (["frobnicate"], [], ["status", "extra"],
                     ["status", "--watch"], ["--bogus"],
                     ["status", "--qmp"], ["heartbeat", "--timeout", "x"],
                     ["status", "--qmp", "/x", "--timeout", "-2"],
                     ["status", "--qmp", "/x", "--timeout", "nan"],
                     ["status", "--qmp", "/x", "--timeout", "inf"],
                     ["status", "--qmp", ""]):
            with self.subTest(args):
                self.check(hvctl(*args), USAGE, "hvctl: ")

    def test_version(self):
        result = hvctl("--version")
        self.check(result, DONE)
        self.assertRegex(result.out, r"\Ahvctl \d+\.\d+")

    def commands(self):
        block = hvctl("--help").out.split("Commands:\n")[1].split("\n\n")[0]
        return [line.split()[0] for line in block.splitlines()]

    @staticmethod
    def exits(text):
        block = text.split("Exit codes:\n")[1].strip("\n")
        return {int(code): meaning for code, meaning in
                (line.split(None, 1) for line in block.splitlines())}

    def test_exit_table(self):
        """The man page, --help and the constants of this test agree."""
        with open(os.path.join(SOURCE, "hvctl.1")) as page:
            text = page.read()
        section = text.split(".SH EXIT STATUS\n")[1].split(".SH ")[0]
        manual = {int(code): meaning for code, meaning in
                  re.findall(r"\.TP\n\.B (\d+)\n(.*)\n", section)}
        self.assertEqual(manual, self.exits(hvctl("--help").out))
        self.assertEqual(sorted(manual), list(range(NO_KVM + 1)))
        for command in self.commands():
            result = hvctl(command, "--help")
            self.check(result, DONE)
            self.assertEqual(self.exits(result.out), manual)

    def test_options_documented(self):
        """Each option stands in the man page and in the completion."""
        with open(os.path.join(SOURCE, "hvctl.1")) as page:
            manual = page.read().replace("\\-", "-")
        with open(os.path.join(SOURCE, "hvctl.bash")) as script:
            completion = script.read()
        names = set()
        for args in [["--help"]] + [[c, "--help"] for c in self.commands()]:
            names |= set(re.findall(r"--[a-z]+", hvctl(*args).out))
        self.assertGreater(len(names), 9)
        for name in names:
            self.assertIn(name, manual)
            self.assertIn(name, completion)
        for command in self.commands():
            self.assertIn(command, manual)
            self.assertIn(command, completion)

    def test_completion(self):
        bash = shutil.which("bash")
        if not bash:
            self.skipTest("no bash")
        script = (f"source {SOURCE}/hvctl.bash; COMP_WORDS=(%s); "
                  "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _hvctl; "
                  'echo "${COMPREPLY[@]}"')
        for words, want in (
                ("hvctl st", "status"), ("hvctl h", "heartbeat host-check"),
                ("hvctl --qmp x heartbeat --w", "--watch"),
                ("hvctl shutdown --re", "--reboot"),
                ("hvctl status --w", "")):
            with self.subTest(words):
                done = subprocess.run([bash, "--norc", "-c", script % words],
                                      capture_output=True, text=True)
                self.assertEqual(done.stdout.strip(), want, done.stderr)
                self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    tap.main()
