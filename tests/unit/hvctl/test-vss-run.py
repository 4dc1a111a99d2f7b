# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl snapshot-freeze --run: whatever happens, the guest is thawed."""

import json
import os
import signal
import subprocess
import tempfile
import time

import tap
from fake_qmp import HVCTL, LIMIT, Server, serve, vss_info
from hvctl_case import COMMAND, DISABLED, DONE, LOST, NOT_THAWED, Case

CHANGE = "VMBUS_VSS_CHANGE"


class Guest:
    """A guest that freezes; @end tells what a thaw does to it."""

    def __init__(self, renewals=1000, end="idle"):
        self.renewals = renewals  # so many are granted
        self.end = end
        self.renewed = self.thawed = 0

    def __call__(self, peer):
        peer.greet()
        peer.expect("query-vmbus-vss")
        peer.reply(vss_info())
        peer.expect("vmbus-vss-freeze")
        peer.reply({"job": 5})
        peer.event(CHANGE, state="frozen", job=5)
        while True:
            line = peer.file.readline()
            if not line:
                return
            message = json.loads(line)
            peer.id = message["id"]
            getattr(self, message["execute"].replace("-", "_"))(peer, message)

    def vmbus_vss_renew(self, peer, message):
        assert message["arguments"] == {"job": 5}, message
        self.renewed += 1
        if self.renewed > self.renewals:
            peer.error("GenericError", "That freeze is over.")
        else:
            peer.reply({"hold-ms": 10000})

    def vmbus_vss_thaw(self, peer, message):
        self.thawed += 1
        peer.reply({})
        peer.event(CHANGE, state="thawing", job=5, reason="thawed")
        if self.end == "idle":
            peer.event(CHANGE, state="idle", job=5)
        else:
            peer.event(CHANGE, state="failed", job=5, reason=self.end)


class Run(Case):
    def run_with(self, guest, command, *args):
        return serve(guest, "snapshot-freeze", "--run", command, *args)

    def test_good(self):
        guest = Guest()
        with tempfile.NamedTemporaryFile() as file:
            result = self.run_with(guest, f"echo was here >{file.name}")
            self.assertEqual(file.read(), b"was here\n")
        self.check(result, DONE)
        self.assertIn("while the guest was frozen", result.out)
        self.assertEqual((guest.renewed, guest.thawed), (1, 1))

    def test_json(self):
        result = self.run_with(Guest(), "true", "--json")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out),
                         {"state": "thawed", "command": 0})

    def test_renewed_while_it_runs(self):
        guest = Guest()
        result = self.run_with(guest, "sleep 1.5", "--hold", "0.6")
        self.check(result, DONE)
        self.assertGreaterEqual(guest.renewed, 4)
        self.assertEqual(guest.thawed, 1)

    def test_command_fails(self):
        guest = Guest()
        self.check(self.run_with(guest, "exit 3"), COMMAND, "exit 3")
        self.assertEqual(guest.thawed, 1)

    def test_command_dies(self):
        guest = Guest()
        self.check(self.run_with(guest, "kill -9 $$"), COMMAND, "signal 9")
        self.assertEqual(guest.thawed, 1)

    def test_no_such_command(self):
        guest = Guest()
        result = self.run_with(guest, "/nonexistent/program 2>&-")
        self.check(result, COMMAND, "exit 127")
        self.assertEqual(guest.thawed, 1)

    def test_freeze_is_lost(self):
        """The command is ended at once; and a thaw is asked for anyway."""
        guest = Guest(renewals=1)
        start = time.monotonic()
        self.check(self.run_with(guest, "sleep 1000", "--hold", "0.6"), LOST,
                   "not to be trusted")
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(guest.thawed, 1)

    def test_freeze_is_lost_at_the_end(self):
        """A command that ended well on a guest that was not frozen."""
        guest = Guest(renewals=0)
        self.check(self.run_with(guest, "true"), LOST, "not to be trusted")
        self.assertEqual(guest.thawed, 1)

    def test_command_that_ignores_signals(self):
        guest = Guest(renewals=0)
        start = time.monotonic()
        result = self.run_with(guest, "trap '' TERM; while :; do sleep 1; "
                               "done", "--hold", "0.3")
        self.check(result, LOST, "not to be trusted")
        self.assertLess(time.monotonic() - start, 25)

    def test_not_thawed(self):
        guest = Guest(end="gone")
        self.check(self.run_with(guest, "exit 1"), NOT_THAWED,
                   "closed the backup service")

    def test_not_frozen(self):
        """Then the command does not run."""
        def script(peer):
            peer.greet()
            peer.expect("query-vmbus-vss")
            peer.reply(vss_info())
            peer.expect("vmbus-vss-freeze")
            peer.reply({"job": 5})
            peer.event(CHANGE, state="failed", job=5, reason="disabled")
            peer.wait_closed()
        with tempfile.TemporaryDirectory() as where:
            mark = os.path.join(where, "mark")
            result = serve(script, "snapshot-freeze", "--run", f"touch {mark}")
            self.check(result, DISABLED, "takes part")
            self.assertFalse(os.path.exists(mark))

    def interrupt(self, number, guest, ignored=(), command="sleep 1000"):
        """Sends a signal while the command runs; returns code and text."""
        def prepare():
            # Whoever runs the tests may ignore some.
            for each in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
                signal.signal(each, signal.SIG_IGN if each in ignored
                              else signal.SIG_DFL)
        server = Server(guest)
        with tempfile.TemporaryDirectory() as where:
            mark = os.path.join(where, "mark")
            child = subprocess.Popen(
                [HVCTL, "--qmp", server.address, "snapshot-freeze", "--run",
                 f"echo $$ >{mark}; exec {command}"],
                stderr=subprocess.PIPE, preexec_fn=prepare)
            try:
                end = time.monotonic() + LIMIT
                while not (os.path.exists(mark) and os.path.getsize(mark)):
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.02)
                with open(mark) as file:
                    pid = int(file.read())
                child.send_signal(number)
                _, err = child.communicate(timeout=LIMIT)
            finally:
                child.kill()
                child.wait()
                server.stop()
        return child.returncode, err.decode(), pid

    def gone(self, pid):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return True
            except OSError:
                return True
            time.sleep(0.02)
        return False

    def test_interrupted(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            with self.subTest(number):
                guest = Guest()
                code, err, pid = self.interrupt(number, guest)
                self.assertEqual(code, COMMAND, err)
                self.assertIn(f"by signal {int(number)}", err)
                self.assertEqual(guest.thawed, 1)
                self.assertTrue(self.gone(pid))

    def test_ignored_signal(self):
        """As under nohup, which wants the command to come to its end."""
        guest = Guest()
        code, err, _ = self.interrupt(signal.SIGHUP, guest,
                                      ignored=[signal.SIGHUP],
                                      command="sleep 7")
        self.assertEqual(code, DONE, err)
        self.assertEqual(guest.thawed, 1)

    def test_killed(self):
        """Nobody thaws but the host; the command goes with us."""
        guest = Guest()
        code, _, pid = self.interrupt(signal.SIGKILL, guest)
        self.assertEqual(code, -signal.SIGKILL)
        self.assertEqual(guest.thawed, 0)
        self.assertTrue(self.gone(pid))


if __name__ == "__main__":
    tap.main()
