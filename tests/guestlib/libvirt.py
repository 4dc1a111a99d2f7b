# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt daemon of a session of its own, and domains for it."""
import contextlib
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from guestlib.deadline import SCALE, until
from guestlib.machine import Watch
from guestlib.paths import BUILD, GUEST, program

NOBODY = 65534
NAMESPACE = ('unshare', '--user', '--map-user=1000', '--map-group=1000')
LIBVIRT_BUILD = BUILD / 'libvirt'


class NoUser(Exception):
    """Nobody but root can be had here, and root has no session daemon."""


def _works(command):
    return subprocess.run(command, capture_output=True).returncode == 0


@functools.lru_cache(maxsize=None)
def namespace():
    """As other_user(), for what writes where only root can; () if there are
    no user namespaces here."""
    works = os.geteuid() == 0 and _works([*NAMESPACE, 'true'])
    return NAMESPACE if works else ()


@functools.lru_cache(maxsize=None)
def other_user():
    """What to put before a command so that it does not run as root.

    The user "nobody" where it can read everything that is needed, otherwise
    a user of a namespace, for whom root's files are its own.
    """
    if os.geteuid() != 0:
        return ()
    nobody = ('setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}',
              '--clear-groups')
    needed = [LIBVIRT_BUILD / 'src/virtqemud',
              *(path for path in GUEST.glob('*/vmlinuz'))]
    if all(_works([*nobody, 'test', '-r', str(path)]) for path in needed):
        return nobody
    if namespace():
        return NAMESPACE
    raise NoUser('libvirt needs a user who is not root, and neither can '
                 '"nobody" read the build nor is there a user namespace')


class Session:
    """A virtqemud that serves qemu:///session below a folder of its own."""

    def __init__(self):
        self.user = self.find_user()
        # The names of its sockets have little room.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='kvmvb-'))
        self.environment = self.prepare()
        self.log = open(self.folder / 'virtqemud.out', 'wb')
        self.start_daemon()

    def start_daemon(self):
        self.daemon = subprocess.Popen(
            [*self.command('virtqemud'),
             '--pid-file', str(self.folder / 'virtqemud.pid')],
            env=self.environment, cwd=self.folder, stdout=self.log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.wait()

    def find_user(self):
        return other_user()

    def command(self, name):
        """What runs one of libvirt's programs."""
        return [*self.user, program(name)]

    def prepare(self):
        folders = {'HOME': 'home', 'XDG_RUNTIME_DIR': 'run',
                   'XDG_CONFIG_HOME': 'cfg', 'XDG_CACHE_HOME': 'cache',
                   'XDG_DATA_HOME': 'data'}
        for name in folders.values():
            (self.folder / name).mkdir(mode=0o700)
        configuration = self.folder / 'cfg/libvirt'
        configuration.mkdir()
        (configuration / 'qemu.conf').write_text(
            'security_driver = "none"\nstdio_handler = "file"\n')
        if 'setpriv' in self.user:
            for path in [self.folder, *self.folder.rglob('*')]:
                os.chown(path, NOBODY, NOBODY)
        return {**os.environ, 'LC_ALL': 'C', 'LIBVIRT_AUTOSTART': '0',
                **{key: str(self.folder / name)
                   for key, name in folders.items()}}

    def wait(self):
        def serves():
            assert self.daemon.poll() is None, self.output()
            return self.virsh('uri', check=False).returncode == 0
        until(serves, self.output)

    def end_daemon(self, how='terminate'):
        getattr(self.daemon, how)()
        # It gives what goes on in it half a minute.
        self.daemon.wait(120 * SCALE)

    def output(self):
        return (self.folder / 'virtqemud.out').read_text(errors='replace')

    def virsh(self, *arguments, check=True, timeout=120):
        done = subprocess.run(
            [*self.command('virsh'), '-q', '-c', 'qemu:///session',
             *arguments], env=self.environment, cwd=self.folder, text=True,
            capture_output=True, timeout=timeout * SCALE,
            stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f'virsh {" ".join(arguments)}: '
                                 f'{done.stderr}\n{self.qemu_log()}')
        return done

    def hvctl_command(self, *arguments, uri='qemu:///session'):
        return [*self.user, program('hvctl'), '-c', uri, *map(str, arguments)]

    def hvctl(self, *arguments, timeout=120, **options):
        """hvctl by way of the daemon; as it ended."""
        return subprocess.run(
            self.hvctl_command(*arguments, **options), env=self.environment,
            cwd=self.folder, text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=timeout * SCALE)

    def watch(self, *arguments):
        """A virsh whose lines come in while it runs."""
        return Watch(['stdbuf', '-oL', *self.command('virsh'), '-q', '-c',
                      'qemu:///session', *arguments], env=self.environment,
                     cwd=self.folder, stdin=subprocess.DEVNULL)

    def qemu_log(self):
        logs = self.folder.glob('cache/libvirt/qemu/log/*.log')
        return '\n'.join(path.read_text(errors='replace')[-3000:]
                         for path in logs)

    def file(self, name, text):
        """What libvirt may read."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    def keep(self, path):
        """Give a file to the one whom QEMU runs as."""
        info = (self.folder / 'data').stat()
        os.chown(path, info.st_uid, info.st_gid)
        path.chmod(0o666)
        return path

    def define(self, xml, check=True):
        return self.virsh('define', '--validate', self.file('domain.xml', xml),
                          check=check)

    def refusal(self, xml):
        """Why a domain cannot be defined."""
        done = self.define(xml, check=False)
        assert done.returncode != 0, 'the domain was defined'
        return done.stderr

    def close(self):
        for name in self.virsh('list', '--name', check=False).stdout.split():
            self.virsh('destroy', name, check=False)
        self.end_daemon()
        self.log.close()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def serving(kind=Session, *arguments):
    """A session for as long as the block; where there can be none, the test is
    skipped."""
    try:
        one = kind(*arguments)
    except NoUser as why:
        pytest.skip(str(why))
    try:
        yield one
    finally:
        one.close()


def domain(devices='<vmbus/>', features='<acpi/>', name='guest',
           kernel='6.12', console=None, qmp=None, clock='',
           initramfs='initramfs', memory=512, top=''):
    """The XML of a domain that boots one of the tests' kernels."""
    serial = f"<serial type='file'><source path='{console}'/></serial>" \
        if console else ''
    monitor = f"""<qemu:commandline>
    <qemu:arg value='-qmp'/>
    <qemu:arg value='unix:{qmp},server=on,wait=off'/>
  </qemu:commandline>""" if qmp else ''
    return f"""<domain type='qemu'
    xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>5f1a3a52-2d7a-4d4b-8f8e-6a8f1f2d9c01</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>2</vcpu>
  {top}
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{GUEST / kernel / 'vmlinuz'}</kernel>
    <initrd>{GUEST / kernel / initramfs}</initrd>
    <cmdline>console=ttyS0 panic=-1</cmdline>
  </os>
  <features>{features}</features>
  <cpu mode='maximum'/>
  <clock offset='utc'>{clock}</clock>
  <devices>
    <emulator>{program('qemu-system-x86_64')}</emulator>
    {devices}
    {serial}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  {monitor}
</domain>
"""
