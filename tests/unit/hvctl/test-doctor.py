# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl doctor: each thing that it looks for."""

import json

import tap
from fake_qmp import (channel, fcopy, heartbeat, kvp, serve, shutdown, storage,
                      timesync, vmbus, vss)
from hvctl_case import BROKEN, DONE, FINDINGS, NO_VMBUS, UNREACHABLE, Case

CPU = "/machine/unattached/device[0]"
ENLIGHTENMENTS = ["hv-vpindex", "hv-synic", "hv-stimer", "hv-relaxed",
                  "hv-vapic", "hv-time", "hv-runtime"]
HEALTHY = "No problem was found.\n"
# As fake_qmp has them: one of each.
SERVICES = [heartbeat, shutdown, timesync, vss, kvp, fcopy]


def devices(*more, **replaced):
    """One of each service; replaced by name, or left out for None."""
    made = [replaced.get(make.__name__, make()) for make in SERVICES]
    return [one for one in made if one] + list(more)


def machine(info, off=(), on=(), status="running", kvm=None, nested=False):
    """What QEMU answers; flags that are off, and others that are on."""
    def flag(peer, name, value):
        arguments = peer.expect("qom-get")
        assert arguments == {"path": CPU, "property": name}, arguments
        if value is None:
            peer.error("GenericError", "no such property")
        else:
            peer.reply(value)

    def script(peer):
        peer.greet()
        peer.query(info)
        peer.expect("query-status")
        peer.reply({"running": status == "running", "status": status})
        peer.expect("query-cpus-fast")
        peer.reply([{"cpu-index": 0, "qom-path": CPU}])
        for name in ENLIGHTENMENTS:
            flag(peer, name, name not in off)
        if nested:
            for name in "vmx", "svm":
                flag(peer, name, name in on)
        if kvm is not None:
            peer.expect("query-kvm")
            peer.reply({"enabled": kvm, "present": True})
        if kvm:
            flag(peer, "kvm", "kvm" in on)
    return script


class Doctor(Case):
    def diagnose(self, *found, **options):
        """Lines that begin with these and no others are what is printed."""
        info = options.pop("info", None) or vmbus(*devices())
        result = serve(machine(info, **options), "doctor")
        problem = any(line.startswith("problem") for line in found)
        self.check(result, FINDINGS if problem else DONE)
        lines = result.out.splitlines(keepends=True)
        if not problem:
            self.assertEqual(lines.pop(), HEALTHY)
        self.assertEqual(len(lines), len(found), result.out)
        for line, begin in zip(lines, found):
            self.assertTrue(line.startswith(begin), f"{line}, not {begin}")
            # What was found, and what to do.
            self.assertRegex(line, r"\A(problem|note): \S+: .*\S\.? .*\.\n\Z")

    def test_healthy(self):
        self.diagnose()
        self.diagnose(info=vmbus(*devices(storage())), nested=True)

    def test_stopped(self):
        self.diagnose("problem: machine: The machine is stopped (paused).",
                      status="paused")

    def test_enlightenments(self):
        for name in ENLIGHTENMENTS:
            with self.subTest(name):
                self.diagnose(f"problem: processor: The processor lacks "
                              f"{name}, and without it ", off=[name])

    def test_nested(self):
        for name in "vmx", "svm":
            with self.subTest(name):
                self.diagnose(f"problem: processor: The processor has {name} "
                              "and the machine has storage on VMBus",
                              info=vmbus(*devices(storage())), nested=True,
                              on=[name])

    def test_not_connected(self):
        bus = "problem: bus: No guest is connected to the bus."
        # What its services are like then says nothing.
        info = vmbus(shutdown("closed"), connected=False)
        self.diagnose(bus, info=info, kvm=False)
        self.diagnose(bus, info=info, kvm=True)
        self.diagnose(bus, "problem: processor: The processor shows KVM's own "
                      "interface", info=info, kvm=True, on=["kvm"])

    def test_services_that_are_not_open(self):
        for make, state, level in (
                (heartbeat, "no-contact", "problem"),
                (shutdown, "closed", "problem"),
                (timesync, "closed", "problem"),
                (kvp, "closed", "note"), (fcopy, "closed", "note")):
            with self.subTest(make.__name__):
                one = make(state)
                self.diagnose(f"{level}: {make.__name__}: The guest has not "
                              f"opened {one['driver']}.",
                              info=vmbus(*devices(**{make.__name__: one})))
        self.diagnose("note: vss: The guest has not opened hv-vss.",
                      info=vmbus(*devices(vss=vss(service="closed"))))

    def test_services_that_agreed_to_nothing(self):
        self.diagnose("note: kvp: The guest has opened hv-kvp, but not agreed",
                      info=vmbus(*devices(kvp=kvp("negotiating"))))
        self.diagnose("problem: timesync: hv-timesync is open, but no version",
                      info=vmbus(*devices(timesync=timesync("unusable"))))

    def test_services_that_are_not_there(self):
        for make in SERVICES:
            name = make.__name__
            with self.subTest(name):
                self.diagnose(f"note: {name}: The machine has no hv-{name}.",
                              info=vmbus(*devices(**{name: None})))

    def test_heartbeat(self):
        self.diagnose("problem: heartbeat: The guest has stopped answering",
                      info=vmbus(*devices(heartbeat=heartbeat("lost"))))
        for state in "critical", "stopped":
            self.diagnose("problem: heartbeat: The guest says of its "
                          f"applications: {state}.", info=vmbus(*devices(
                              heartbeat=heartbeat(application=state))))

    def test_backup(self):
        failed = vss("failed", message="It is not ready.")
        failure = "problem: vss: The last freeze did not end as it was " \
                  "meant to: It is not ready."
        self.diagnose(failure, info=vmbus(*devices(vss=failed)))
        failed["vss"]["thaw-owed"] = True
        self.diagnose(failure, "problem: vss: The guest may be frozen still.",
                      info=vmbus(*devices(vss=failed)))
        self.diagnose("note: vss: The guest's file systems have been frozen "
                      "for 2.5 s.", info=vmbus(*devices(
                          vss=vss("frozen", **{"frozen-ms": 2500}))))

    def test_channels(self):
        one = heartbeat()
        one["channels"] = [channel(state="corrupt", corruption="An index.")]
        self.diagnose("problem: channel: The guest broke the ring of channel "
                      "1 of hb: An index.", info=vmbus(*devices(heartbeat=one)))
        one["channels"] = [channel(state="rescinded")]
        self.diagnose("note: channel: hb was unplugged, and the guest",
                      info=vmbus(*devices(heartbeat=one)))

    def test_storage(self):
        self.diagnose("problem: storage: The guest's driver has not set up "
                      "the adapter s0 (closed).", nested=True,
                      info=vmbus(*devices(storage(state="closed"))))
        self.diagnose("problem: storage: 2 packets to the adapter s0 were "
                      "refused; the last time: Too short.", nested=True,
                      info=vmbus(*devices(storage(
                          refused=2, **{"last-refusal": "Too short."}))))

    def test_json(self):
        result = serve(machine(vmbus(*devices(kvp=kvp("closed"))),
                               off=["hv-stimer"]), "doctor", "--json")
        self.check(result, FINDINGS)
        answer = json.loads(result.out)
        self.assertEqual(answer["problems"], 1)
        self.assertEqual([(one["level"], one["about"])
                          for one in answer["findings"]],
                         [("problem", "processor"), ("note", "kvp")])
        for one in answer["findings"]:
            self.assertEqual(set(one), {"level", "about", "finding", "advice"})

    def test_properties_that_qemu_does_not_have(self):
        """Nothing is said of what is not known."""
        def script(peer):
            peer.greet()
            peer.query(vmbus(*devices()))
            peer.expect("query-status")
            peer.reply({"running": True, "status": "running"})
            peer.expect("query-cpus-fast")
            peer.reply([{"qom-path": CPU}])
            for number, _ in enumerate(ENLIGHTENMENTS):
                peer.expect("qom-get")
                if number % 2:
                    peer.reply("nonsense")
                else:
                    peer.error("GenericError")
        result = serve(script, "doctor")
        self.check(result, DONE)
        self.assertEqual(result.out, HEALTHY)

    def test_no_processor(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus(*devices()))
            peer.expect("query-status")
            peer.reply({})
            peer.expect("query-cpus-fast")
            peer.reply([])
        self.check(serve(script, "doctor"), DONE)

    def test_no_vmbus(self):
        def script(peer):
            peer.greet()
            peer.query({"present": False, "connected": False, "devices": []})
        self.check(serve(script, "doctor"), NO_VMBUS, "VMBus")

    def test_qemu_leaves(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus())
            peer.expect("query-status")
            peer.reply({"running": True})
            peer.expect("query-cpus-fast")
            peer.reply([{"qom-path": CPU}])
            peer.expect("qom-get")
        self.check(serve(script, "doctor"), UNREACHABLE, "")

    def test_qemu_refuses(self):
        def script(peer):
            peer.greet()
            peer.query(vmbus())
            peer.expect("query-status")
            peer.error("GenericError")
        self.check(serve(script, "doctor"), BROKEN, "because")


if __name__ == "__main__":
    tap.main()
