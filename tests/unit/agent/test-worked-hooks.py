# SPDX-License-Identifier: GPL-2.0-or-later
"""The hooks for databases, with programs in the place of the databases'."""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HOOKS = pathlib.Path(os.environ['AGENT_HOOKS'])

# A client that does what it reads, until the end of its input.
MYSQL = r'''#!/bin/sh
echo start "$@" >>"$T/log"
while read -r line; do
    echo "$line" >>"$T/log"
    case $line in
    FLUSH*) [ ! -e "$T/refuse" ] || { echo 'Access denied'; exit 1; } ;;
    SELECT*) [ ! -e "$T/hang" ] || sleep 100; echo locked ;;
    esac
done
echo end >>"$T/log"
'''
IS_UP = '#!/bin/sh\ntest ! -e "$T/down"\n'
PG_LSCLUSTERS = r'''#!/bin/sh
echo '15 main 5432 online postgres /var/lib/postgresql/15/main /log'
echo '15 old 5433 down postgres /var/lib/postgresql/15/old /log'
echo '16 standby 5434 online,recovery joan /var/lib/postgresql/16/s /log'
'''
RUNUSER = '#!/bin/sh\necho "$@" >>"$T/log"\nshift 3\nexec "$@"\n'
PSQL = '''#!/bin/sh
case " $* " in
*" $(cat "$T/broken" 2>/dev/null) "*) echo 'psql: refused' >&2; exit 2 ;;
esac
'''


class Case:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.programs = self.folder / 'bin'
        self.programs.mkdir()
        for name, text in {'mysql': MYSQL, 'mysqladmin': IS_UP,
                           'pg_lsclusters': PG_LSCLUSTERS, 'psql': PSQL,
                           'pg_isready': IS_UP,
                           'runuser': RUNUSER}.items():
            self.program(name, text)
        self.environment = {
            'PATH': f'{self.programs}:/usr/bin:/bin', 'T': folder,
            'HV_VSS_HOLD': '20', 'HV_VSS_LIMIT': '5',
            'HV_VSS_MYSQL_STATE': f'{folder}/mysql',
            'HV_VSS_POSTGRESQL_STATE': f'{folder}/postgresql'}

    def program(self, name, text):
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, name, timeout=10):
        word = name.split('.')[0]
        done = subprocess.run(
            ['/bin/sh', str(HOOKS / name), word], env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, timeout=timeout)
        return done.returncode, done.stdout

    def log(self):
        path = self.folder / 'log'
        return path.read_text().splitlines() if path.exists() else []

    def touch(self, name, text=''):
        (self.folder / name).write_text(text)


def mysql_lock_lasts_until_the_thaw(case):
    assert case.run('freeze.d/50-mysql') == (0, '')
    locked = ['start --batch --skip-column-names --unbuffered',
              'SET SESSION lock_wait_timeout = 5;',
              'FLUSH TABLES WITH READ LOCK;', "SELECT 'locked';"]
    time.sleep(0.5)
    assert case.log() == locked
    assert case.run('thaw.d/50-mysql') == (0, '')
    assert case.log() == locked + ['end']
    assert not (case.folder / 'mysql').exists()


def mysql_that_refuses_fails_the_freeze(case):
    case.touch('refuse')
    code, output = case.run('freeze.d/50-mysql')
    assert code == 1 and 'Access denied' in output
    code, output = case.run('thaw.d/50-mysql')
    assert code == 1 and 'the lock was lost' in output


def mysql_lock_that_was_lost_is_told(case):
    assert case.run('freeze.d/50-mysql') == (0, '')
    client = int((case.folder / 'mysql/client').read_text())
    os.kill(client, 9)
    for _ in range(100):
        if not pathlib.Path(f'/proc/{client}').exists() or \
                'Z' in pathlib.Path(f'/proc/{client}/stat').read_text():
            break
        time.sleep(0.01)
    code, output = case.run('thaw.d/50-mysql', timeout=10)
    assert code == 1 and 'the lock was lost before the thaw' in output


def mysql_that_does_not_run_needs_nothing(case):
    case.touch('down')
    assert case.run('freeze.d/50-mysql') == (0, '')
    assert case.run('thaw.d/50-mysql') == (0, '')
    assert case.log() == []


def postgresql_has_its_checkpoints(case):
    assert case.run('freeze.d/50-postgresql') == (0, '')
    options = '-X -q -w -d postgres -p'
    assert case.log() == [
        f'-u postgres -- psql {options} 5432 -v ON_ERROR_STOP=1 -c CHECKPOINT',
        f'-u joan -- psql {options} 5434 -v ON_ERROR_STOP=1 -c CHECKPOINT']
    assert case.run('thaw.d/50-postgresql') == (0, '')
    assert case.log()[2:] == [
        f'-u postgres -- psql {options} 5432 -c SELECT 1',
        f'-u joan -- psql {options} 5434 -c SELECT 1']
    assert not (case.folder / 'postgresql').exists()


def postgresql_that_debian_does_not_know(case):
    case.program('pg_lsclusters', '#!/bin/sh\n')
    assert case.run('freeze.d/50-postgresql') == (0, '')
    assert case.log() == ['-u postgres -- psql -X -q -w -d postgres -p 5432 '
                          '-v ON_ERROR_STOP=1 -c CHECKPOINT']
    case.touch('down')
    assert case.run('freeze.d/50-postgresql') == (0, '')
    assert len(case.log()) == 1


def postgresql_without_checkpoint_fails_the_freeze(case):
    case.touch('broken', '5434')
    code, output = case.run('freeze.d/50-postgresql')
    assert code == 1
    assert 'no checkpoint of the cluster on port 5434' in output
    assert '5432' not in output


def postgresql_that_stopped_is_told(case):
    assert case.run('freeze.d/50-postgresql') == (0, '')
    case.touch('broken', '5432')
    code, output = case.run('thaw.d/50-postgresql')
    assert code == 1 and 'port 5432 does not answer' in output


def no_database_at_all(case):
    case.environment['PATH'] = '/nonexistent'
    for name in ('freeze.d/50-mysql', 'thaw.d/50-mysql',
                 'freeze.d/50-postgresql', 'thaw.d/50-postgresql'):
        assert case.run(name) == (0, '')


TESTS = [mysql_lock_lasts_until_the_thaw, mysql_that_refuses_fails_the_freeze,
         mysql_lock_that_was_lost_is_told,
         mysql_that_does_not_run_needs_nothing, postgresql_has_its_checkpoints,
         postgresql_that_debian_does_not_know,
         postgresql_without_checkpoint_fails_the_freeze,
         postgresql_that_stopped_is_told, no_database_at_all]


def main():
    failed = False
    print(f'1..{len(TESTS)}')
    for number, test in enumerate(TESTS, 1):
        name = f'{number} {test.__name__}'
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(Case(folder))
                print(f'ok {name}')
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed = True
                print(f'# {error!r}\nnot ok {name}')
        sys.stdout.flush()
    return failed


sys.exit(main())
