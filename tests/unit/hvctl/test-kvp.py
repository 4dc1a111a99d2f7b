# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl kvp and ip."""

import json

import tap
from fake_qmp import hvctl, serve
from hvctl_case import (BROKEN, DONE, NO_KEY, NO_VMBUS, NOT_OPEN, REFUSED,
                        TIMEOUT, UNREACHABLE, USAGE, Case)

ENDED = "VMBUS_KVP_ENDED"


def item(key, value, kind="string"):
    return {"key": key, "type": kind, "value": value}


def job(result="ok", items=(), **members):
    return {"job": 7, "operation": "list", "state": "ended",
            "result": result, "message": f"It was {result}.", "status": 0,
            "items": list(items), "skipped": 0, "truncated": False, **members}


class Kvp(Case):
    def run_job(self, command, info, *args):
        """hvctl with @args, which sends @command; its arguments."""
        seen = {}

        def script(peer):
            peer.greet()
            seen.update(peer.expect(command))
            peer.event(ENDED, job=6, result="failed")
            peer.reply({"job": 7})
            peer.event("VMBUS_HEARTBEAT_CHANGE", state="ok",
                       application="healthy")
            peer.event(ENDED, job=7, result=info["result"])
            self.assertEqual(peer.expect("query-vmbus-kvp"), {"job": 7})
            peer.reply(info)
            peer.wait_closed()
        return serve(script, *args), seen

    def test_list(self):
        items = [item("OSName", "Linux"), item("n", "42", "u32"),
                 item("empty", "")]
        result, sent = self.run_job("vmbus-kvp-list", job(items=items),
                                    "kvp", "list", "auto")
        self.check(result, DONE)
        self.assertEqual(result.out, "OSName = Linux\nn = 42\nempty = \n")
        self.assertEqual(sent, {"pool": "auto", "timeout-ms": 10000})

    def test_terminal_is_safe(self):
        items = [item("a\x1b[2J", "b\nc\u202e\\\x9b\u00e4")]
        result, _ = self.run_job("vmbus-kvp-list", job(items=items),
                                 "kvp", "list", "guest")
        self.assertEqual(
            result.out,
            "a\\u001b[2J = b\\u000ac\\u202e\\\\\\u009b\u00e4\n")

    def test_list_json(self):
        items = [item("a", "\x1b"), item("n", "42", "u64")]
        result, _ = self.run_job("vmbus-kvp-list", job(items=items, skipped=2),
                                 "--json", "kvp", "list", "guest")
        self.check(result, DONE)
        self.assertEqual(json.loads(result.out), {
            "items": items, "skipped": 2, "truncated": False})

    def test_warnings(self):
        info = job(items=[item("a", "b")], skipped=2, refusal="a key is bad",
                   truncated=True)
        result, _ = self.run_job("vmbus-kvp-list", info, "kvp", "list", "auto")
        self.assertEqual(result.code, DONE)
        self.assertEqual(result.err.splitlines(), [
            "hvctl: 2 damaged items were left out: a key is bad.",
            "hvctl: The guest has more items than are taken."])

    def test_get(self):
        result, sent = self.run_job(
            "vmbus-kvp-get", job(items=[item("k", "v")]),
            "--timeout", "2.5", "kvp", "get", "external", "k")
        self.check(result, DONE)
        self.assertEqual(result.out, "v\n")
        self.assertEqual(sent, {"pool": "external", "key": "k",
                                "timeout-ms": 2500})
        _, sent = self.run_job(
            "vmbus-kvp-get", job(items=[item("k", "v")]),
            "kvp", "get", "--direct", "external", "k")
        self.assertIs(sent["direct"], True)

    def test_set(self):
        result, sent = self.run_job("vmbus-kvp-set", job(), "kvp", "set",
                                    "external", "k", "--", "-v\u00e4")
        self.check(result, DONE)
        self.assertEqual(result.out, "")
        self.assertEqual(sent, {"pool": "external", "key": "k", "type":
                                "string", "value": "-v\u00e4",
                                "timeout-ms": 10000})
        _, sent = self.run_job("vmbus-kvp-set", job(), "kvp", "set",
                               "external", "k", "7", "--number")
        self.assertEqual(sent["type"], "u32")

    def test_delete(self):
        result, sent = self.run_job("vmbus-kvp-delete", job(), "kvp",
                                    "delete", "guest", "k")
        self.check(result, DONE)
        self.assertEqual(sent["key"], "k")

    def test_results(self):
        for name, code in (("no-such-key", NO_KEY), ("timeout", TIMEOUT),
                           ("not-sent", TIMEOUT), ("gone", REFUSED),
                           ("failed", REFUSED), ("new-one", REFUSED)):
            with self.subTest(name):
                result, _ = self.run_job("vmbus-kvp-get", job(name), "kvp",
                                         "get", "guest", "k")
                self.check(result, code, f"It was {name}.")
        result, _ = self.run_job(
            "vmbus-kvp-get", job("damaged", refusal="the key is odd"),
            "kvp", "get", "guest", "k")
        self.check(result, REFUSED, "It says: the key is odd.")

    def test_no_time_limit(self):
        _, sent = self.run_job("vmbus-kvp-list", job(), "--timeout", "0",
                               "kvp", "list", "auto")
        self.assertEqual(sent["timeout-ms"], 4294967295)

    def test_errors(self):
        for kind, code in (("DeviceNotFound", NO_VMBUS),
                           ("CommandNotFound", NO_VMBUS),
                           ("DeviceNotActive", NOT_OPEN),
                           ("GenericError", REFUSED)):
            def script(peer):
                peer.greet()
                peer.expect("vmbus-kvp-list")
                peer.error(kind, "the daemon is missing")
            with self.subTest(kind):
                result = serve(script, "kvp", "list", "auto")
                self.check(result, code, {
                    NO_VMBUS: "hv-kvp", NOT_OPEN: "not opened",
                    REFUSED: "the daemon is missing"}[code])

    def test_nonsense(self):
        def script(peer):
            peer.greet()
            peer.expect("vmbus-kvp-list")
            peer.reply([])
        self.check(serve(script, "kvp", "list", "auto"), BROKEN, "no object")

    def test_qemu_leaves(self):
        def script(peer):
            peer.greet()
            peer.expect("vmbus-kvp-list")
            peer.reply({"job": 7})
        self.check(serve(script, "kvp", "list", "auto"), UNREACHABLE,
                   "closed")

    def test_usage(self):
        for args in (["kvp"], ["kvp", "list"], ["kvp", "list", "a", "b"],
                     ["kvp", "get", "auto"], ["kvp", "set", "auto", "k"],
                     ["kvp", "frob", "auto"], ["kvp", "list", "nowhere"],
                     ["ip"], ["ip", "get"], ["ip", "frob", "x"],
                     ["ip", "get", "x", "y"], ["ip", "set", "x"]):
            with self.subTest(args=args):
                self.check(hvctl("--qmp", "/nonexistent", *args), USAGE, "")

    IP = {"ipv4": True, "ipv6": False, "dhcp": False,
          "addresses": ["192.0.2.7", "fe80::1"],
          "subnets": ["255.255.255.0", "/64"],
          "gateways": ["192.0.2.1"], "dns": []}

    def test_ip_get(self):
        result, sent = self.run_job("vmbus-ip-get", job(ip=self.IP),
                                    "ip", "get", "52:54:00:00:00:01")
        self.check(result, DONE)
        self.assertEqual(result.out, "DHCP: no\n"
                         "Address: 192.0.2.7/255.255.255.0\n"
                         "Address: fe80::1/64\nGateway: 192.0.2.1\n")
        self.assertEqual(sent, {"adapter": "52:54:00:00:00:01",
                                "timeout-ms": 10000})
        result, _ = self.run_job("vmbus-ip-get", job(ip=self.IP), "--json",
                                 "ip", "get", "x")
        self.assertEqual(json.loads(result.out), self.IP)

    def test_ip_set(self):
        result, sent = self.run_job(
            "vmbus-ip-set", job(), "ip", "set", "{id}",
            "--address", "192.0.2.7/24", "--address", "fe80::1/64",
            "--gateway", "192.0.2.1", "--dns", "192.0.2.2",
            "--dns", "192.0.2.3")
        self.check(result, DONE)
        self.assertEqual(sent["settings"], {
            "ipv4": True, "ipv6": True, "dhcp": False,
            "addresses": ["192.0.2.7", "fe80::1"], "subnets": ["24", "64"],
            "gateways": ["192.0.2.1"], "dns": ["192.0.2.2", "192.0.2.3"]})
        result, sent = self.run_job("vmbus-ip-set", job(), "--json", "ip",
                                    "set", "{id}", "--dhcp")
        self.assertEqual(json.loads(result.out), {})
        self.assertEqual(sent["settings"], {
            "ipv4": True, "ipv6": False, "dhcp": True, "addresses": [],
            "subnets": [], "gateways": [], "dns": []})

    def test_ip_fails(self):
        result, _ = self.run_job("vmbus-ip-get", job("no-such-adapter"),
                                 "ip", "get", "x")
        self.check(result, REFUSED, "no-such-adapter")


if __name__ == "__main__":
    tap.main()
