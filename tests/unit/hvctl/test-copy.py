# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl copy."""

import json
import os
import socket
import tempfile

import tap
from fake_qmp import hvctl, serve
from hvctl_case import (DONE, EXISTS, FILE, NO_VMBUS, NOT_OPEN, REFUSED,
                        STOPPED, TIMEOUT, UNREACHABLE, USAGE, Case)


def copy(state="done", result="ok", **members):
    return {"job": 3, "state": state, "path": "/tmp/x", "size": 2097152,
            "copied": 2097152, "result": result, "status": 0,
            "message": f"It was {result}.", **members}


class Copy(Case):
    def setUp(self):
        self.file = tempfile.NamedTemporaryFile()
        self.file.write(b"the contents")
        self.file.flush()

    def tearDown(self):
        self.file.close()

    def take_file(self, peer):
        """getfd, with its descriptor; what the file has."""
        data, fds, _, _ = socket.recv_fds(peer.conn, 65536, 2)
        message = json.loads(data)
        self.assertEqual(message["execute"], "getfd")
        peer.id = message["id"]
        self.assertEqual(len(fds), 1)
        with os.fdopen(fds[0], "rb") as file:
            content = file.read()
        peer.reply({})
        return message["arguments"]["fdname"], content

    def copy(self, info, *args):
        sent = {}

        def script(peer):
            peer.greet()
            name, content = self.take_file(peer)
            self.assertEqual(content, b"the contents")
            sent.update(peer.expect("vmbus-fcopy-start"))
            self.assertEqual(sent["fd"], name)
            peer.event("VMBUS_FCOPY_CHANGE", job=2, state="done", copied=0,
                       result="ok")
            peer.reply({"job": 3})
            peer.event("VMBUS_FCOPY_CHANGE", job=3, state="copying", copied=0)
            peer.event("VMBUS_FCOPY_PROGRESS", job=3, copied=1048576,
                       size=2097152)
            peer.event("VMBUS_FCOPY_CHANGE", job=3, state=info["state"],
                       copied=0, result=info["result"])
            self.assertEqual(peer.expect("query-vmbus-fcopy"), {"job": 3})
            peer.reply(info)
            peer.wait_closed()
        return serve(script, "copy", self.file.name, "/tmp/x", *args), sent

    def test_done(self):
        result, sent = self.copy(copy(sha256="abcd"))
        self.check(result, DONE)
        self.assertEqual(result.out, "2097152 bytes copied, SHA-256 abcd\n")
        del sent["fd"]
        self.assertEqual(sent, {"path": "/tmp/x", "overwrite": False,
                                "create-path": False,
                                "step-timeout-ms": 60000})

    def test_options(self):
        _, sent = self.copy(copy(), "--overwrite", "--create-path",
                            "--timeout", "5")
        self.assertTrue(sent["overwrite"] and sent["create-path"])
        self.assertEqual(sent["step-timeout-ms"], 5000)

    def test_progress(self):
        result, _ = self.copy(copy(), "--progress")
        self.assertEqual(result.code, DONE)
        bars = result.err.split("\r")
        self.assertEqual(bars[0], "")
        self.assertEqual(bars[1], "[" + "#" * 20 + "." * 20 +
                         "]  50%  1.0 of 2.0 MiB")
        self.assertTrue(bars[2].startswith("[" + "#" * 40 + "] 100%"))
        self.assertTrue(result.err.endswith("\n"))

    def test_json(self):
        result, _ = self.copy(copy(sha256="abcd"), "--json", "--progress")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {
            "job": 3, "state": "done", "path": "/tmp/x", "size": 2097152,
            "copied": 2097152, "sha256": "abcd"})

    def test_failures(self):
        for name, code in (("exists", EXISTS), ("timeout", TIMEOUT),
                           ("read-failed", FILE), ("read-timeout", FILE),
                           ("file-changed", FILE), ("gone", REFUSED),
                           ("start-failed", REFUSED), ("new", REFUSED)):
            with self.subTest(name):
                result, _ = self.copy(copy("failed", name))
                self.check(result, code, f"It was {name}.")

    def test_stopped(self):
        result, _ = self.copy(copy("stopped", "disk-full"))
        self.check(result, STOPPED, "hvctl copy --resume 3")

    def by_job(self, command, option, info):
        def script(peer):
            peer.greet()
            self.assertEqual(peer.expect(command), {"job": 3})
            peer.reply({})
            peer.event("VMBUS_FCOPY_CHANGE", job=3, state=info["state"],
                       copied=0, result=info["result"])
            peer.expect("query-vmbus-fcopy")
            peer.reply(info)
        return serve(script, "copy", option, "3")

    def test_resume(self):
        result = self.by_job("vmbus-fcopy-resume", "--resume",
                             copy(sha256="ef"))
        self.check(result, DONE)
        self.assertIn("SHA-256 ef", result.out)

    def test_cancel(self):
        result = self.by_job("vmbus-fcopy-cancel", "--cancel",
                             copy("cancelled", "cancelled"))
        self.check(result, DONE)
        self.assertEqual(result.out, "The copy was cancelled.\n")
        result = self.by_job("vmbus-fcopy-resume", "--resume",
                             copy("cancelled", "cancelled"))
        self.check(result, REFUSED, "It was cancelled.")

    def test_errors(self):
        for kind, code, text in (
                ("DeviceNotFound", NO_VMBUS, "hv-fcopy"),
                ("DeviceNotActive", NOT_OPEN, "file copy service"),
                ("GenericError", REFUSED, "because")):
            def script(peer):
                peer.greet()
                self.take_file(peer)
                peer.expect("vmbus-fcopy-start")
                peer.error(kind)
            with self.subTest(kind):
                self.check(serve(script, "copy", self.file.name, "/x"), code,
                           text)

    def test_no_file(self):
        def script(peer):
            peer.greet()
            peer.wait_closed()
        self.check(serve(script, "copy", "/nonexistent/file", "/x"), FILE,
                   "cannot be opened")

    def test_tcp(self):
        def script(peer):
            peer.greet()
            peer.wait_closed()
        self.check(serve(script, "copy", self.file.name, "/x", tcp=True),
                   USAGE, "no UNIX socket")

    def test_qemu_leaves(self):
        def script(peer):
            peer.greet()
            self.take_file(peer)
            peer.expect("vmbus-fcopy-start")
            peer.reply({"job": 3})
        self.check(serve(script, "copy", self.file.name, "/x"), UNREACHABLE,
                   "closed")

    def test_usage(self):
        for args in ([], ["file"], ["a", "/b", "c"], ["--resume", "1", "a"],
                     ["--resume", "1", "--cancel", "1"], ["--resume", "-1"],
                     ["--resume", "x"]):
            with self.subTest(args=args):
                self.check(hvctl("--qmp", "/nonexistent", "copy", *args),
                           USAGE, "")


if __name__ == "__main__":
    tap.main()
