# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of QMP that keeps the events."""
import json
import socket
import time

from guestlib.deadline import SCALE


def moment(event):
    """When QEMU emitted an event, as time.time() has it."""
    stamp = event['timestamp']
    return stamp['seconds'] + stamp['microseconds'] / 1e6


class QmpError(Exception):
    def __init__(self, error):
        super().__init__(error['desc'])
        self.kind = error['class']


class Qmp:
    """Over a connected socket.  Events stay in self.events, in order."""

    def __init__(self, sock, timeout=60 * SCALE):
        self.sock = sock
        self.buffer = b''
        self.events = []
        self.read(time.monotonic() + timeout)  # the greeting
        self.execute('qmp_capabilities')

    def read(self, deadline):
        """One message, or None at the deadline; EOFError at the end."""
        while b'\n' not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            if not data:
                raise EOFError('QEMU closed its QMP socket')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        message = json.loads(line)
        if 'event' in message:
            self.events.append(message)
        return message

    def execute(self, command, arguments=None, timeout=60 * SCALE,
                fd=None):
        """The result of a command, with which a descriptor may go."""
        request = {'execute': command}
        if arguments:
            request['arguments'] = arguments
        self.sock.settimeout(timeout)
        data = json.dumps(request).encode() + b'\n'
        if fd is not None:
            sent = socket.send_fds(self.sock, [data], [fd])
            data = data[sent:]
        self.sock.sendall(data)
        deadline = time.monotonic() + timeout
        while True:
            message = self.read(deadline)
            if message is None:
                raise TimeoutError(f'no answer to {command}')
            if 'return' in message:
                return message['return']
            if 'error' in message:
                raise QmpError(message['error'])

    def hmp(self, line):
        return self.execute('human-monitor-command', {'command-line': line})

    def find_event(self, name, start=0, **data):
        for event in self.events[start:]:
            if event['event'] == name and \
                    data.items() <= event.get('data', {}).items():
                return event
        return None

    def wait_event(self, name, timeout=60 * SCALE, start=0, **data):
        """The first event of that name, and with that data, from number
        start of self.events on; it may have come already."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.find_event(name, start, **data)
            if event:
                return event
            if self.read(deadline) is None and \
                    time.monotonic() >= deadline:
                seen = [e['event'] for e in self.events[start:]]
                raise TimeoutError(f'no event {name} {data}; events: {seen}')
