# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl xml: domains for libvirt without VMBus, and the way back."""

import os
import re
import tempfile
import xml.etree.ElementTree as ET

import tap
from fake_qmp import hvctl
from hvctl_case import DONE, FILE, USAGE, Case

UUID = "5f1a3a52-2d7a-4d4b-8f8e-6a8f1f2d9c01"
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
AGENT = "org.qemu.guest_agent.0"
ENLIGHTENMENTS = ["relaxed", "vapic", "vpindex", "runtime", "synic", "stimer"]
CONTROLLER = "<controller type='scsi' index='0' model='vmbus'/>"
CHANNEL = f"""<channel type='unix'>
  <target type='vmbus' name='{AGENT}'/>
</channel>"""


def domain(devices="<vmbus/>", features="<acpi/>", head="", tail="",
           uuid=f"<uuid>{UUID}</uuid>",
           os_type="<type arch='x86_64' machine='q35'>hvm</type>"):
    return f"""<domain type='kvm'{head}>
  <name>g</name>
  {uuid}
  <os>{os_type}</os>
  <features>{features}</features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
  </devices>
  {tail}
</domain>
"""


def canonical(text):
    return ET.canonicalize(text, strip_text=True, with_comments=True)


class Xml(Case):
    @staticmethod
    def run_xml(text, how):
        if isinstance(text, str):
            text = text.encode()
        with tempfile.NamedTemporaryFile(suffix=".xml") as file:
            file.write(text)
            file.flush()
            return hvctl("xml", how, file.name)

    def convert(self, text, how="--stock", warnings=""):
        result = self.run_xml(text, how)
        self.assertEqual(result.code, DONE, result.err)
        self.assertEqual(result.err, warnings)
        return result.out

    def stock(self, *args, warnings="", **kwargs):
        return ET.fromstring(self.convert(domain(*args, **kwargs),
                                          warnings=warnings))

    def refuse(self, text, sentence, how="--stock", code=FILE):
        result = self.run_xml(text, how)
        self.check(result, code, sentence)
        self.assertEqual(result.out, "")

    @staticmethod
    def arguments(root):
        return [arg.get("value") for arg in
                root.findall(f"{QEMU}commandline/{QEMU}arg")]

    @staticmethod
    def override(root, alias):
        """{property: value, None if it is removed}"""
        found = root.findall(f"{QEMU}override/{QEMU}device[@alias='{alias}']"
                             f"/{QEMU}frontend/{QEMU}property")
        return {p.get("name"): None if p.get("type") == "remove" else
                p.get("value") for p in found}


class Stock(Xml):
    def test_bus(self):
        root = self.stock("<vmbus><service name='vss' hold='70'/>"
                          "<service name='kvp' state='off'/></vmbus>")
        self.assertEqual(root.findall("devices/vmbus"), [])
        self.assertEqual(self.arguments(root), [
            "-device", "vmbus-bridge,id=vmbus0",
            "-device", "hv-shutdown,id=vmbus0-shutdown,bus=vmbus",
            "-device", "hv-timesync,id=vmbus0-timesync,bus=vmbus",
            "-device", "hv-vss,id=vmbus0-vss,bus=vmbus,freeze-limit=70",
            "-device", "hv-fcopy,id=vmbus0-filecopy,bus=vmbus"])
        # In the place of the controller that the agent's channel needs.
        self.assertEqual(self.override(root, "ua-vmbus0-heartbeat"), {
            "driver": "hv-heartbeat", "bus": "vmbus", "max_ports": None})
        self.assertEqual(self.override(root, "ua-vmbus-agent"), {
            "driver": "hv-guest-agent", "bus": None, "nr": None,
            "name": None, "freeze-hold": "70"})

    def test_service_of_the_serial_controller(self):
        off = "".join(f"<service name='{name}' state='off'/>" for name in
                      ["heartbeat", "shutdown", "timesync"])
        root = self.stock(f"<vmbus>{off}<service name='vss' hold='9'/>"
                          "</vmbus>")
        self.assertEqual(self.override(root, "ua-vmbus0-vss"), {
            "driver": "hv-vss", "bus": "vmbus", "max_ports": None,
            "freeze-limit": "9"})
        self.assertNotIn("vss", " ".join(self.arguments(root)))

    def test_enlightenments(self):
        root = self.stock(features="<acpi/><hyperv><synic state='on'/>"
                                   "</hyperv>")
        states = {e.tag: e.get("state") for e in root.find("features/hyperv")}
        self.assertEqual(states, dict.fromkeys(ENLIGHTENMENTS, "on"))
        timer = root.find("clock/timer")
        self.assertEqual(timer.attrib,
                         {"name": "hypervclock", "present": "yes"})

    def test_passthrough(self):
        root = self.stock(features="<acpi/><hyperv mode='passthrough'/>")
        self.assertEqual(len(root.find("features/hyperv")), 0)
        self.assertIsNone(root.find("clock"))

    def test_controller(self):
        root = self.stock("<controller type='scsi' index='2' model='vmbus'>"
                          "<driver queues='4' iothread='3'/></controller>")
        controller = root.find("devices/controller[@type='scsi']")
        self.assertEqual(controller.attrib, {
            "type": "scsi", "index": "2", "model": "virtio-scsi"})
        self.assertEqual([(e.tag, e.attrib) for e in controller],
                         [("address", {"type": "virtio-mmio"})])
        self.assertEqual(self.override(root, "scsi2"), {
            "driver": "hv-scsi", "bus": "vmbus", "num-queues": "4",
            "iothread": "iothread3",
            # The first 16 bytes of the SHA-256 of "vmbus UUID scsi 2 0",
            # with version and variant.
            "instanceid": "e913d300-9bdd-8066-b916-b4af70f961f7"})

    def test_instance_id_of_the_xml(self):
        own = "C4AE5BD1-DBF0-4B61-A9D3-2A48AB6B0B77"
        root = self.stock("<controller type='scsi' index='0' model='vmbus'>"
                          "<alias name='ua-mine'/><address type='vmbus' "
                          f"instanceid='{own}'/></controller>")
        self.assertEqual(self.override(root, "ua-mine")["instanceid"],
                         own.lower())

    def test_instance_id_that_is_taken(self):
        first = self.override(self.stock(CONTROLLER), "scsi0")["instanceid"]
        root = self.stock("<controller type='scsi' index='1' model='vmbus'>"
                          f"<address type='vmbus' instanceid='{first}'/>"
                          "</controller>" + CONTROLLER)
        self.assertEqual(self.override(root, "scsi1")["instanceid"], first)
        self.assertNotEqual(self.override(root, "scsi0")["instanceid"], first)

    def test_index_that_is_left_out(self):
        """The lowest one that is free, as libvirt does it."""
        root = self.stock("<controller type='scsi' model='vmbus'/>"
                          "<controller type='scsi' index='0' "
                          "model='virtio-scsi'/>"
                          "<controller type='scsi' model='vmbus'/>")
        self.assertEqual([c.get("index") for c in root.findall(
            "devices/controller[@type='scsi']")], ["1", "0", "2"])
        self.assertEqual(self.override(root, "scsi0"), {})
        self.assertEqual(self.override(root, "scsi2")["driver"], "hv-scsi")

    def test_channel(self):
        for devices in ("<vmbus/>", CHANNEL):
            root = self.stock(devices)
            channel = root.find("devices/channel")
            self.assertEqual(channel.get("type"), "unix")
            self.assertEqual(channel.find("target").attrib,
                             {"type": "virtio", "name": AGENT})
            self.assertEqual(channel.find("address").get("port"), "1")
            serial = root.find("devices/controller[@type='virtio-serial']")
            self.assertEqual(serial.get("ports"), "2")
            self.assertEqual(serial.find("address").get("type"),
                             "virtio-mmio")

    def test_agent_in_the_guest(self):
        root = self.stock("<vmbus/>" + CHANNEL.replace("'vmbus'", "'virtio'"))
        self.assertEqual(len(root.findall("devices/channel")), 1)
        self.assertIsNone(root.find("devices/controller"))
        self.assertIsNone(root.find(f"{QEMU}override"))
        self.assertIn("hv-heartbeat", " ".join(self.arguments(root)))

    def test_other_serial_devices(self):
        """Then there is a controller anyway, and it is left alone."""
        for other in ("<channel type='spicevmc'/>",
                      "<console type='pty'><target type='virtio'/></console>",
                      "<channel type='pty'><target type='virtio'/></channel>",
                      "<controller type='virtio-serial' index='0'/>"):
            with self.subTest(other):
                root = self.stock("<vmbus/>" + other)
                self.assertEqual(root.findall("devices//address"), [])
                self.assertEqual(len(self.override(root, "ua-vmbus-agent")),
                                 4)
                self.assertIn("hv-heartbeat", " ".join(self.arguments(root)))

    def test_arguments_of_the_domain(self):
        root = self.stock(
            head=" xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'",
            tail="<q:commandline><q:arg value='-device'/>"
                 "<q:arg value='hv-echo,bus=vmbus'/></q:commandline>")
        self.assertEqual(len(root.findall(f"{QEMU}commandline")), 1)
        self.assertEqual(self.arguments(root)[1], "vmbus-bridge,id=vmbus0")
        self.assertEqual(self.arguments(root)[-1], "hv-echo,bus=vmbus")

    def test_warnings(self):
        text = domain().replace("<emulator>/usr/bin/qemu-system-x86_64"
                                "</emulator>", "")
        self.convert(text, warnings="hvctl: the domain has no <emulator>: "
                     "libvirt takes a QEMU without these devices.\n")
        root = self.stock(
            CONTROLLER, uuid="",
            warnings="hvctl: the domain has no <uuid>, so it gets one: "
                     "instance ids are made from it.\n")
        self.assertRegex(root.findtext("uuid"), r"\A[0-9a-f-]{36}\Z")
        self.stock("<controller type='scsi' model='vmbus'><driver><iothreads>"
                   "<iothread id='1'/></iothreads></driver></controller>",
                   warnings="hvctl: a controller cannot share its channels "
                   "out to several IOThreads: <iothreads> of its <driver> is "
                   "left out.\n")
        off = "".join(f"<service name='{name}' state='off'/>" for name in
                      ["heartbeat", "shutdown", "timesync", "vss", "kvp",
                       "filecopy"])
        root = self.stock(f"<vmbus>{off}</vmbus>",
                          warnings="hvctl: with all services off the guest "
                          "sees a virtio serial controller.\n")
        self.assertEqual(len(self.arguments(root)), 2)


class Back(Xml):
    def check_way_back(self, text):
        stock = self.convert(text)
        self.assertNotEqual(canonical(stock), canonical(text))
        self.assertEqual(canonical(self.convert(stock, "--native")),
                         canonical(text))

    def test_devices(self):
        for devices in ("<vmbus/>", CONTROLLER, CHANNEL,
                        "<vmbus><service name='kvp'/></vmbus><!-- x -->",
                        CONTROLLER + "<vmbus/>" + CHANNEL +
                        "<rng model='virtio'/>",
                        "<vmbus/><channel type='spicevmc'/>",
                        "<vmbus/>" + CHANNEL.replace("'vmbus'", "'virtio'")):
            with self.subTest(devices):
                self.check_way_back(domain(devices))

    def test_enlightenments(self):
        for features, tail in (
                ("<acpi/><hyperv/>", "<clock offset='utc'/>"),
                ("<acpi/><hyperv mode='custom'><synic state='on'/>"
                 "<vendor_id state='on' value='x'/></hyperv>",
                 "<clock offset='localtime'><timer name='rtc'/>"
                 "<timer name='hypervclock'/></clock>"),
                ("<acpi/><hyperv mode='passthrough'/>", "")):
            with self.subTest((features, tail)):
                self.check_way_back(domain(features=features, tail=tail))

    def test_metadata_of_others(self):
        self.check_way_back(domain(
            tail="<metadata><a:b xmlns:a='urn:a'>text</a:b></metadata>"))

    def test_arguments_of_the_domain(self):
        self.check_way_back(domain(
            CONTROLLER,
            head=" xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'",
            tail="<qemu:commandline><qemu:arg value='-device'/><qemu:arg "
                 "value='hv-echo,id=vmbus0-x,bus=vmbus'/></qemu:commandline>"
                 "<qemu:override><qemu:device alias='scsi0'><qemu:frontend>"
                 "<qemu:property name='max-transfer' type='unsigned' "
                 "value='65536'/></qemu:frontend></qemu:device>"
                 "</qemu:override>"))

    def test_declaration_that_nobody_uses(self):
        self.check_way_back(domain(
            head=" xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"))

    def test_device_that_was_removed(self):
        stock = ET.fromstring(self.convert(domain(CONTROLLER)))
        devices = stock.find("devices")
        devices.remove(devices.find("controller[@type='scsi']"))
        native = self.convert(ET.tostring(stock), "--native")
        self.assertEqual(ET.fromstring(native).findall("devices/controller"),
                         [])

    def test_running_domain(self):
        """Its aliases, and what libvirt has made of the rest."""
        stock = self.convert(domain(CONTROLLER))
        stock = stock.replace('<address type="virtio-mmio"/>',
                              '<alias name="scsi0"/>'
                              '<address type="virtio-mmio"/>', 1)
        native = ET.fromstring(self.convert(stock, "--native"))
        self.assertEqual([c.get("model") for c in
                          native.findall("devices/controller")], ["vmbus"])

    def test_refusals(self):
        self.refuse(domain(), "was not made by 'hvctl xml --stock'",
                    "--native")
        self.refuse("<pool/>", "the text is <pool>, not a <domain>.",
                    "--native")
        stock = self.convert(domain())
        self.refuse(stock.replace("<emulator>", "<vmbus/><emulator>"),
                    "the domain has a <vmbus> beside what it was converted "
                    "from.", "--native")


class Refusals(Xml):
    def test_text(self):
        self.refuse("", "the text is not well-formed XML: line 1: ")
        self.refuse("<domain>\n<a></b></domain>",
                    "the text is not well-formed XML: line 2: ")
        self.refuse(b"<domain>\xff</domain>", "not well-formed XML")
        self.refuse("<domain>" * 1000, "not well-formed XML")
        self.refuse("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>",
                    "a domain has no document type declaration.")
        self.refuse(" " * (10 << 20) + domain(),
                    "a domain's XML has at most 10485760 bytes.")
        self.refuse("<pool/>", "the text is <pool>, not a <domain>.")

    def test_no_vmbus(self):
        self.refuse(domain(""), "the domain has no <vmbus>.")
        self.refuse("<domain/>", "the domain has no <vmbus>.")

    def test_converted_already(self):
        self.refuse(self.convert(domain()), "the domain is converted already")

    def test_bus(self):
        self.refuse(domain("<vmbus/><vmbus/>"),
                    "a domain can have only one <vmbus>.")
        for service, sentence in (
                ("<service/>", "a <service> of <vmbus> has no name."),
                ("<service name='x'/>", "there is no VMBus service 'x'."),
                ("<service name='kvp'/><service name='kvp'/>",
                 "VMBus service 'kvp' is given more than once."),
                ("<service name='kvp' state='yes'/>",
                 "VMBus service 'kvp' can be 'on' or 'off', not 'yes'."),
                ("<service name='kvp' hold='5'/>",
                 "VMBus service 'kvp' has no setting 'hold'; only 'vss'"),
                ("<service name='vss' hold='0'/>",
                 "for 1 to 86400 seconds, not 0."),
                ("<service name='vss' hold='86401'/>",
                 "for 1 to 86400 seconds, not 86401."),
                ("<service name='vss' hold='-1'/>",
                 "<service hold='-1'> is not a number.")):
            with self.subTest(service):
                self.refuse(domain(f"<vmbus>{service}</vmbus>"), sentence)

    def test_machine(self):
        self.refuse(domain(os_type="<type arch='aarch64'>hvm</type>"),
                    "not of architecture 'aarch64'.")
        self.refuse(domain(os_type="<type machine='microvm'>hvm</type>"),
                    "machine type 'microvm' has no VMBus; use 'q35' or 'pc'.")
        self.refuse(domain(features=""), "VMBus needs the feature <acpi/>")

    def test_enlightenments(self):
        for name in ENLIGHTENMENTS:
            self.refuse(domain(features=f"<acpi/><hyperv><{name} "
                                        "state='off'/></hyperv>"),
                        f"VMBus needs the hyperv feature '{name}', which is "
                        "off.")
        self.refuse(domain(tail="<clock offset='utc'><timer "
                                "name='hypervclock' present='no'/></clock>"),
                    "VMBus needs the timer 'hypervclock', which is off.")

    def test_controllers(self):
        for content, sentence in (
                ("<address type='pci'/>",
                 "needs an address of type 'vmbus', not 'pci'."),
                ("<address type='vmbus' instanceid='1'/>",
                 "VMBus instance id '1' is not a UUID."),
                ("<address type='vmbus' instanceid='" + "0" * 32 + "'/>",
                 "is not a UUID."),
                ("<driver max_sectors='9'/>",
                 "'max_sectors' is not supported by a VMBus controller."),
                ("<driver queues='x'/>",
                 "<driver queues='x'> is not a number.")):
            with self.subTest(content):
                self.refuse(domain("<controller type='scsi' model='vmbus'>"
                                   f"{content}</controller>"), sentence)
        one = (f"<controller type='scsi' model='vmbus'><address type='vmbus' "
               f"instanceid='{UUID}'/></controller>")
        self.refuse(domain(one + one),
                    f"VMBus instance id {UUID} is given to more than one "
                    "device.")
        self.refuse(domain(CONTROLLER.replace("'0'", "'x'")),
                    "<controller index='x'> is not a number.")
        self.refuse(domain(CONTROLLER, uuid="<uuid>1</uuid>"),
                    "<uuid> is not a UUID: '1'.")

    def test_channels(self):
        self.refuse(domain(CHANNEL.replace(AGENT, "x")),
                    f"a channel of type 'vmbus' must have the name '{AGENT}'.")
        for other in ("'vmbus'", "'virtio'"):
            self.refuse(domain(CHANNEL + CHANNEL.replace("'vmbus'", other)),
                        "a domain with a channel of type 'vmbus' cannot have "
                        f"another one with the name '{AGENT}'.")

    def test_devices_that_cannot_be_carried_over(self):
        for device in ("<interface type='user'><model type='vmbus'/>"
                       "</interface>", "<memballoon model='vmbus'/>",
                       "<input type='mouse' bus='vmbus'/>",
                       "<video><model type='vmbus'/></video>",
                       "<vsock model='vmbus'/>",
                       "<rng><address type='vmbus'/></rng>"):
            with self.subTest(device):
                name = re.match(r"<\w+", device).group(0)
                self.refuse(domain("<vmbus/>" + device),
                            f"{name}> on VMBus cannot be carried over to a "
                            "libvirt without VMBus.")

    def test_prefix(self):
        self.refuse(domain(head=" xmlns:qemu='urn:x'"),
                    "the prefix 'qemu' is another namespace's.")


class Command(Xml):
    def test_usage(self):
        for args in ((), ("--stock",), ("/dev/null",),
                     ("--stock", "--native", "/dev/null"),
                     ("--stock", "a", "b")):
            with self.subTest(args):
                self.check(hvctl("xml", *args), USAGE,
                           "xml takes --stock or --native, and a file.")

    def test_file(self):
        self.check(hvctl("xml", "--stock", "/nonexistent/x"), FILE,
                   "/nonexistent/x cannot be opened: ")
        self.check(hvctl("xml", "--stock", os.path.dirname(__file__)), FILE,
                   "the domain's XML cannot be read")

    def test_standard_input(self):
        """It is empty here."""
        self.check(hvctl("xml", "--stock", "-"), FILE, "not well-formed XML")


if __name__ == "__main__":
    tap.main()
