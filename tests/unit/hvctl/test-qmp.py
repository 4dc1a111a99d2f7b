# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl against a scripted QMP server: getting there, and what comes back."""

import json
import os
import socket
import tempfile
import time

import tap
from fake_qmp import (GREETING, Server, heartbeat, hvctl, serve, shutdown,
                      vmbus)
from hvctl_case import (BROKEN, DONE, NO_VMBUS, TIMEOUT, UNREACHABLE, USAGE,
                        Case)


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


if __name__ == "__main__":
    tap.main()
