# SPDX-License-Identifier: GPL-2.0-or-later
"""fio in a guest: it writes, and reads back what it wrote."""
import base64
import gzip
import json
import time

from guestlib.machine import SCALE

# libaio in the place of a process for each request; a wrong byte ends all.
COMMON = {'ioengine': 'libaio', 'direct': 1, 'thread': 1, 'group_reporting': 0,
          'verify_fatal': 1, 'randrepeat': 0, 'allrandrepeat': 0}
VERIFY = {'verify': 'crc32c', 'do_verify': 1}
# A signal ended it.
STOPPED = 128


def job_file(jobs, common):
    lines = []
    for name, options in {'global': {**COMMON, **common}, **jobs}.items():
        lines.append(f'[{name}]')
        if options.get('filename', '').startswith('/dev/'):
            # A disk that has gone is no file to be made.
            options = {**options, 'allow_file_create': 0}
        lines += [f'{key}={value}' for key, value in options.items()]
    return '\n'.join(lines) + '\n'


class Fio:
    """fio in the background; jobs are {name: {option: value}}."""

    def __init__(self, guest, jobs, name='fio', **common):
        self.guest = guest
        self.path = f'/tmp/{name}'
        path = self.path
        guest.run(f"cat >{path}.job <<'END'\n{job_file(jobs, common)}END\n"
                  f'rm -f {path}.end {path}.json {path}.pid')
        guest.run(f'(fio --eta=never --output-format=json '
                  f'--output={path}.json {path}.job >{path}.log 2>&1 & '
                  f'echo $! >{path}.pid; wait $!; '
                  f'echo $? >{path}.end) >/dev/null 2>&1 &\n'
                  f'until [ -s {path}.pid ]; do sleep 0.1; done')

    def ended(self):
        """fio's exit code, or None while it runs."""
        text = self.guest.run(f'cat {self.path}.end 2>/dev/null; true')
        return int(text) if text.strip() else None

    def output(self):
        return self.guest.shell.call(
            f'cat {self.path}.log; head -c 8000 {self.path}.json')[1]

    def wait(self, timeout=300 * SCALE):
        deadline = time.monotonic() + timeout
        while True:
            code = self.ended()
            if code is not None:
                return code
            assert time.monotonic() < deadline, \
                f'fio does not end: {self.output()}'
            time.sleep(0.3)

    def stop(self):
        """Ends what would go on; it has been right until then."""
        self.guest.run(f'kill -INT $(cat {self.path}.pid)')
        return self.result(codes=(0, STOPPED))

    def results(self, codes=(0,), timeout=300 * SCALE):
        """{job: what fio says of it}, when it has ended."""
        code = self.wait(timeout)
        assert code in codes, f'fio: exit {code}\n{self.output()}'
        # A serial port is slow, and this is long.
        text = gzip.decompress(base64.b64decode(self.guest.run(
            f'gzip -c {self.path}.json | base64'))).decode()
        # Notes may stand before it.
        return {job['jobname']: job for job in
                json.loads(text[text.index('{'):])['jobs']}

    def result(self, codes=(0,), timeout=300 * SCALE):
        """The same, and no job met an error."""
        jobs = self.results(codes, timeout)
        for job in jobs.values():
            assert (job['error'], job.get('total_err', 0)) == (0, 0), job
            done = sum(job[way]['total_ios'] for way in
                       ('read', 'write', 'trim'))
            assert done > 0, job
        return jobs


def run_fio(guest, jobs, name='fio', timeout=300 * SCALE, **common):
    """To its end, and all was right."""
    return Fio(guest, jobs, name, **common).result(timeout=timeout)


def load_job(disk, size='32m', depth=32, block='512-64k', **options):
    """Writes at random places, each 32nd time looks at what was written, and
    goes on until it is stopped."""
    return {'filename': disk, 'rw': 'randwrite', 'bsrange': block,
            'blockalign': '4k', 'iodepth': depth, 'size': size,
            'time_based': 1, 'runtime': 3600, 'verify_backlog': 32,
            **VERIFY, **options}
