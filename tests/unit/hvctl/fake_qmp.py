# SPDX-License-Identifier: GPL-2.0-or-later
"""A scripted QMP server, and a way to run hvctl against it."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading

HVCTL = os.environ.get("HVCTL", "hvctl")
LIMIT = 30

GREETING = {"QMP": {"version": {"qemu": {"micro": 13, "minor": 0, "major": 10}},
                    "capabilities": ["oob"]}}


class Peer:
    """The server's end of one connection; a test's script drives it."""

    def __init__(self, conn):
        self.conn = conn
        self.conn.settimeout(LIMIT)
        self.file = conn.makefile("rb")
        self.id = None
        self.seen = []

    def raw(self, data):
        self.conn.sendall(data)

    def send(self, message):
        self.raw(json.dumps(message).encode() + b"\r\n")

    def greet(self):
        self.send(GREETING)
        self.expect("qmp_capabilities")
        self.reply({})

    def expect(self, command):
        line = self.file.readline()
        if not line:
            raise EOFError(f"hvctl left before {command}")
        message = json.loads(line)
        assert message["execute"] == command, message
        self.id = message["id"]
        self.seen.append(message)
        return message.get("arguments")

    def answer(self, result):
        """The bytes of the answer to the last command."""
        return json.dumps({"return": result, "id": self.id}).encode() + b"\r\n"

    def reply(self, result):
        self.raw(self.answer(result))

    def error(self, kind, desc="because"):
        self.send({"error": {"class": kind, "desc": desc}, "id": self.id})

    def event(self, name, **data):
        self.send({"event": name, "data": data,
                   "timestamp": {"seconds": 1700000000,
                                 "microseconds": 123456}})

    def query(self, info):
        self.expect("query-vmbus")
        self.reply(info)

    def wait_closed(self):
        """Until hvctl leaves; anything but its leaving is a fault."""
        rest = self.file.read()
        assert not rest, rest


class Server:
    """Listens, and runs @script for the one client that comes."""

    def __init__(self, script, tcp=False):
        self.dir = tempfile.mkdtemp()
        if tcp:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = "tcp:127.0.0.1:%d" % self.listener.getsockname()[1]
        else:
            self.address = os.path.join(self.dir, "qmp")
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.address)
            self.listener.listen(1)
        self.listener.settimeout(LIMIT)
        self.script = script
        self.fault = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            conn, _ = self.listener.accept()
            with conn:
                peer = Peer(conn)
                try:
                    self.script(peer)
                finally:
                    peer.file.close()
        except Exception as fault:  # told by stop(), in the test's thread
            self.fault = fault

    def stop(self):
        self.thread.join(LIMIT)
        alive = self.thread.is_alive()
        self.listener.close()
        shutil.rmtree(self.dir)
        assert not alive, "the script has not ended"
        if self.fault:
            raise self.fault


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


def hvctl(*args, env=None):
    """Runs hvctl with @args; returns its exit code and output."""
    machines = ("HVCTL_QMP", "VIRSH_DEFAULT_CONNECT_URI",
                "LIBVIRT_DEFAULT_URI")
    environ = {k: v for k, v in os.environ.items() if k not in machines}
    environ["LC_ALL"] = "C.UTF-8"
    environ.update(env or {})
    done = subprocess.run([HVCTL, *args], env=environ, timeout=LIMIT,
                          stdin=subprocess.DEVNULL, capture_output=True)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def serve(script, *args, tcp=False):
    """Runs hvctl with @args against a server that runs @script."""
    server = Server(script, tcp)
    try:
        return hvctl("--qmp", server.address, *args)
    finally:
        server.stop()


def ring(**members):
    return {"size": 12288, "packets": 7, "bytes": 800, "signals-sent": 5,
            "signals-suppressed": 2, "full": 0, **members}


def channel(**members):
    return {"relid": 1, "connection-id": 65537, "subchannel": 0,
            "state": "open", "target-vp": 1, "signals-received": 9,
            "in": ring(), "out": ring(packets=8), "corruptions": 0, **members}


def service(**members):
    return {"sent": 14, "answered": 13, "refused": 0, **members}


def heartbeat(state="ok", application="healthy", **members):
    return {"qom-path": "/machine/peripheral/hb", "driver": "hv-heartbeat",
            "id": "hb",
            "class-id": "57164f39-9115-4e78-ab55-382f3bd5422d",
            "instance-id": "fd149e91-82e0-4a7d-afa6-2a4166cbd7c0",
            "channels": [channel()],
            "service": service(),
            "heartbeat": {"state": state, "application": application,
                          "framework-version": "3.0", "message-version": "3.0",
                          "sequence": 12, "sent": 13, "received": 12,
                          "age-ms": 1250, **members}}


def shutdown(state="ready"):
    return {"qom-path": "/machine/peripheral/sd", "driver": "hv-shutdown",
            "class-id": "0e0b6031-5213-4934-818b-38d90ced39db",
            "instance-id": "b6650ff7-33bc-4840-8048-e0676786f393",
            "channels": [channel(relid=2)],
            "service": service(sent=1, answered=1),
            "shutdown": {"state": state, "framework-version": "3.0",
                         "message-version": "3.2", "requests": 0}}


def timesync(state="ready", **members):
    return {"qom-path": "/machine/peripheral/ts", "driver": "hv-timesync",
            "class-id": "9527e630-d0ae-497b-adce-e80ab0175caf",
            "instance-id": "2dd1ce17-079e-403c-b352-a1921ee207ee",
            "channels": [channel(relid=3)],
            "service": service(),
            "timesync": {"state": state, "framework-version": "3.0",
                         "message-version": "4.0", "syncs": 2, "samples": 9,
                         "answers": 11, "age-ms": 2500, **members}}


def vss_info(state="idle", **members):
    """What query-vmbus-vss returns."""
    return {"state": state, "service": "ready", "framework-version": "3.0",
            "message-version": "5.0", "thaw-owed": state == "frozen",
            "job": 4, "freezes": 4, "thaws": 3, "thaws-refused": 1,
            "late-answers": 0, **members}


def vss(state="idle", **members):
    return {"qom-path": "/machine/peripheral/vss", "driver": "hv-vss",
            "class-id": "35fa2e29-ea23-4236-96ae-3a6ebacba440",
            "instance-id": "2450ee40-33bf-4fbd-892e-9fb06e9214cf",
            "channels": [channel(relid=4)],
            "service": service(),
            "vss": vss_info(state, **members)}


def kvp(state="ready", **members):
    return {"qom-path": "/machine/peripheral/kvp", "driver": "hv-kvp",
            "class-id": "a9a0f4e7-5a45-4d96-b827-8a841e8c03e6",
            "instance-id": "242ff919-07db-4180-9c2e-b86cb68c8c55",
            "channels": [channel(relid=5)],
            "service": service(),
            "kvp": {"state": state, "framework-version": "3.0",
                    "message-version": "4.0", "jobs": 1,
                    "answer-missing": False, "requests": 6, **members}}


def fcopy(state="ready", **members):
    return {"qom-path": "/machine/peripheral/fcopy", "driver": "hv-fcopy",
            "class-id": "34d14be3-dee4-41c8-9ae7-6b174977c192",
            "instance-id": "eb765408-105f-49b6-b4aa-c123b64d17d4",
            "channels": [channel(relid=6)],
            "service": service(),
            "fcopy": {"state": state, "framework-version": "3.0",
                      "message-version": "1.1", "copies": 2, "job": 2,
                      **members}}


def storage(**members):
    return {"id": "s0", "qom-path": "/machine/peripheral/s0",
            "driver": "hv-scsi",
            "class-id": "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f",
            "instance-id": "81cabce8-c0e9-5a26-9e45-fe47e4ee99fd",
            "channels": [channel(relid=7)],
            "storage": {"state": "ready", "version": "6.2", "requests": 70,
                        "completed": 67, "in-flight": 3, "refused": 0,
                        "enumerations": 1, **members}}


def vmbus(*devices, **members):
    return {"present": True, "connected": True, "version": "5.3",
            "max-version": "5.3", "target-vp": 0, "message-sint": 2,
            "gpadls": 2, "connects": 1, "messages-in": 20, "messages-out": 21,
            "messages-refused": 3, "devices": list(devices), **members}
