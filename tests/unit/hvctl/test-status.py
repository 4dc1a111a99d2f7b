# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl status and hvctl heartbeat against a scripted QMP server."""

import json
import os
import re
import signal
import subprocess
import time

import tap
from fake_qmp import (HVCTL, LIMIT, Server, fcopy, heartbeat, kvp, serve,
                      shutdown, storage, timesync, vmbus, vss)
from hvctl_case import BROKEN, DONE, NOT_OK, NOT_OPEN, UNREACHABLE, Case

SOURCE = os.environ["HVCTL_SOURCE"]


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

    def test_more_services(self):
        out = self.status(vmbus(timesync(), vss("frozen"), kvp(), fcopy()))
        self.assertEqual(out.splitlines()[-4:],
                         ["Time: ready, message version 4.0",
                          "Backup: frozen, service ready, message version 5.0",
                          "Keys and values: ready, message version 4.0",
                          "File copy: ready, message version 1.1"])

    def test_storage(self):
        line = "Disks of s0: ready, version 6.2, 70 requests, 3 under way"
        out = self.status(vmbus(storage()))
        self.assertEqual(out.splitlines()[-1], line)
        out = self.status(vmbus(storage(refused=2)))
        self.assertEqual(out.splitlines()[-1], f"{line}, 2 packets refused")
        device = storage(refused=2, **{"last-refusal": "A packet is short."})
        del device["id"], device["storage"]["version"]
        out = self.status(vmbus(device))
        self.assertEqual(out.splitlines()[-1],
                         "Disks of hv-scsi: ready, version not agreed yet, 70 "
                         "requests, 3 under way, 2 packets refused; the last "
                         "time: A packet is short.")

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
        info = vmbus(heartbeat(), shutdown(), timesync(), vss("frozen"),
                     kvp(), fcopy())
        adapter = storage(**{"last-refusal": "A packet is short."})
        adapter["channels"][0]["corruption"] = None
        out = json.loads(self.status(vmbus(adapter), "--json"))
        self.assertEqual(out["devices"], [adapter])
        out = json.loads(self.status(info, "--json"))
        self.assertEqual(set(out), {"bus", "devices"})
        bus = {k: v for k, v in info.items() if k not in ("present", "devices")}
        self.assertEqual(out["bus"], bus)
        for device in info["devices"]:
            device["channels"][0]["corruption"] = None
            device["service"]["last-refusal"] = None
        for device in info["devices"][1:]:
            device["id"] = None
        info["devices"][2]["timesync"]["offset-us"] = None
        info["devices"][3]["vss"].update({
            "reason": None, "message": None, "left-ms": None,
            "frozen-ms": None})
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
        out = json.loads(self.status(
            vmbus(heartbeat(), shutdown(), timesync(), vss(), kvp(), fcopy(),
                  storage()), "--json"))
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
            peer.event("SHUTDOWN", guest=False, reason="host-signal")
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


if __name__ == "__main__":
    tap.main()
