# SPDX-License-Identifier: GPL-2.0-or-later
"""hvctl without a QMP server: its command line and host-check."""

import json
import os
import re
import shutil
import subprocess
import tempfile

import tap
from fake_qmp import hvctl
from hvctl_case import DONE, EXITS, NO_KVM, USAGE, Case

SOURCE = os.environ["HVCTL_SOURCE"]


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
                     ["snapshot-freeze", "--qmp", "/x", "--hold", "0"],
                     ["snapshot-freeze", "--qmp", "/x", "--hold", "nan"],
                     ["snapshot-freeze", "--qmp", "/x", "--hold", "86401"],
                     ["snapshot-freeze", "--qmp", "/x", "--timeout", "0"],
                     ["snapshot-freeze", "--qmp", "/x", "--timeout", "901"],
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
        self.assertEqual(sorted(manual), list(EXITS))
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
        script = ("virsh() { [[ $* == '-q -c x list --name' ]] && "
                  "printf '%%s\\n' web1 web2 mail; }; "
                  f"source {SOURCE}/hvctl.bash; COMP_WORDS=(%s); "
                  "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _hvctl; "
                  'echo "${COMPREPLY[@]}"')
        for words, want in (
                ("hvctl st", "status"), ("hvctl snap", "snapshot-freeze snapshot-thaw"),
                ("hvctl snapshot-freeze --h", "--help --hold"),
                ("hvctl timesync --s", "--sync"), ("hvctl h", "heartbeat host-check"),
                ("hvctl --qmp x heartbeat --w", "--watch"),
                ("hvctl shutdown --re", "--reboot"),
                ("hvctl shutdown --hi", "--hibernate"),
                ("hvctl kvp l", "list"), ("hvctl kvp list g", "guest"),
                ("hvctl -c x kvp vm l", "list"),
                ("hvctl -c x kvp vm list g", "guest"),
                ("hvctl kvp --connect=x vm list g", "guest"),
                ("hvctl --qmp x ip g", "get"),
                ("hvctl -c x status w", "web1 web2"),
                ("hvctl -c x copy m", "mail"),
                ("hvctl --qmp x status w", ""),
                ("hvctl -c x host-check w", ""),
                ("hvctl status --w", "")):
            with self.subTest(words):
                done = subprocess.run([bash, "--norc", "-c", script % words],
                                      capture_output=True, text=True)
                self.assertEqual(done.stdout.strip(), want, done.stderr)
                self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    tap.main()
