# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl --connect as far as it goes without a daemon: what it refuses."""

import os
import shutil
import socket
import tempfile
import threading
import time

import tap
from fake_qmp import hvctl
from hvctl_case import TIMEOUT, UNREACHABLE, USAGE, Case

WITH_LIBVIRT = os.environ["HVCTL_LIBVIRT"] == "yes"
# libvirt's driver for tests, within the client: one domain, which runs.
TEST = "test:///default"
TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
NO_QEMU = "has no QEMU to pass commands to"
OFF = """<node><domain type='test' xmlns:test='{}'>
  <name>asleep</name>
  <memory>65536</memory>
  <os><type>hvm</type></os>
  <test:runstate>5</test:runstate>
</domain></node>
""".format("http://libvirt.org/schemas/domain/test/1.0")


def connect(*args, uri=TEST, env=None):
    return hvctl("-c", uri, *args,
                 env={"LIBVIRT_AUTOSTART": "0", **(env or {})})


class Usage(Case):
    def test_mistakes(self):
        for args, sentence in (
                (["-c", TEST, "status"], "needs the name of a domain"),
                (["-c", TEST, "status", ""], "needs the name of a domain"),
                (["-c", TEST, "--qmp", "/x", "status", "test"], "with --qmp "
                 "or with --connect"),
                (["-c", TEST, "status", "test", "more"], "unexpected argument "
                 "more"),
                (["-c", TEST, "kvp", "list", "test", "auto"], "kvp is "
                 "followed by"),
                (["status", "test"], "needs a machine")):
            with self.subTest(args):
                self.check(hvctl(*args), USAGE, sentence)

    def test_host_check_needs_no_domain(self):
        result = hvctl("-c", TEST, "host-check", "--device", "/dev/null")
        self.assertEqual(result.out, "tcg: /dev/null is not KVM.\n")


class Without(Case):
    def test_built_without(self):
        self.check(connect("status", "test"), USAGE, "built without libvirt")


class Connection(Case):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def test_no_such_domain(self):
        for name in "nobody", TEST_UUID.replace("6", "7"):
            self.check(connect("status", name), UNREACHABLE,
                       f"libvirt at {TEST} has no domain {name}.")

    def test_name_and_uuid(self):
        for name in "test", TEST_UUID:
            for command in (["status"], ["heartbeat", "--watch"],
                            ["shutdown", "--wait"], ["timesync", "--sync"],
                            ["snapshot-freeze"], ["snapshot-thaw"],
                            ["vss-status"]):
                with self.subTest(name=name, command=command):
                    self.check(connect(*command, name), UNREACHABLE, NO_QEMU)

    def test_the_domain_is_the_first_argument(self):
        for args in (["kvp", "test", "get", "auto", "OSName"],
                     ["ip", "test", "get", "eth0"],
                     ["copy", "test", "/dev/null", "/tmp/x"],
                     ["copy", "--cancel", "3", "test"],
                     ["status", "--", "test"]):
            with self.subTest(args):
                self.check(connect(*args), UNREACHABLE, NO_QEMU)

    def test_not_running(self):
        path = os.path.join(self.dir, "node.xml")
        with open(path, "w") as node:
            node.write(OFF)
        self.check(connect("heartbeat", "asleep", uri=f"test://{path}"),
                   UNREACHABLE, "The domain asleep is not running.")

    def test_environment(self):
        """hvctl's own variable, virsh's, and libvirt's, in that order."""
        nowhere = "test:///nonexistent"
        for env, sentence in (
                ({"LIBVIRT_DEFAULT_URI": TEST}, NO_QEMU),
                ({"LIBVIRT_DEFAULT_URI": nowhere,
                  "VIRSH_DEFAULT_CONNECT_URI": TEST}, NO_QEMU),
                ({"VIRSH_DEFAULT_CONNECT_URI": TEST,
                  "HVCTL_QMP": "/nonexistent/qmp"}, "unexpected argument")):
            with self.subTest(env):
                result = hvctl("status", "test", env=env)
                self.assertIn(sentence, result.err)
        result = connect("status", "test", env={"HVCTL_QMP": "/nonexistent"})
        self.check(result, UNREACHABLE, NO_QEMU)

    def test_default_uri(self):
        result = connect("status", "test", uri="",
                         env={"LIBVIRT_DEFAULT_URI": TEST})
        self.check(result, UNREACHABLE, "libvirt at its default URI " + NO_QEMU)

    def test_nobody_listens(self):
        path = os.path.join(self.dir, "dead")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
        for what, why in ((path, "Connection refused"),
                          (path + "2", "No such file")):
            result = connect("status", "test",
                             uri=f"qemu:///session?socket={what}")
            self.check(result, UNREACHABLE, "cannot be reached: Failed to")
            self.assertIn(why, result.err)

    def serve(self, talk):
        """A socket, for whose client talk(connection) runs."""
        path = os.path.join(self.dir, "server")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        self.addCleanup(listener.close)

        def run():
            connection = listener.accept()[0]
            with connection:
                talk(connection)
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return f"qemu:///session?socket={path}"

    def test_silence(self):
        """Time limits hold though libvirt's calls have none."""
        def talk(connection):
            connection.settimeout(20)
            while connection.recv(4096):
                pass
        start = time.monotonic()
        self.check(connect("status", "test", "--timeout", "0.5",
                           uri=self.serve(talk)), TIMEOUT,
                   "did not answer in time")
        self.assertLess(time.monotonic() - start, 10)

    def test_closed_at_once(self):
        self.check(connect("status", "test",
                           uri=self.serve(lambda connection: None)),
                   UNREACHABLE, "cannot be reached: ")

    def test_nonsense(self):
        self.check(connect("status", "test", uri=self.serve(
            lambda connection: connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n"
                                                  * 100))),
                   UNREACHABLE, "cannot be reached: ")

    def test_json(self):
        result = connect("--json", "status", "nobody")
        self.assertEqual(result.code, UNREACHABLE)
        self.assertIn('"exit":3', result.err)


if __name__ == "__main__":
    if WITH_LIBVIRT:
        del Without
    else:
        del Connection
    tap.main()
