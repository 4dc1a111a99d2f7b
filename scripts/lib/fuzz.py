#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the fuzz targets, or measure what their inputs cover.

usage: fuzz.py run BUILD TARGET... [--seconds S] [--jobs N] [--seed N]
                             [--junit FILE]
       fuzz.py skip BUILD TARGET... --why SENTENCE --junit FILE
       fuzz.py seeds BUILD TARGET...
       fuzz.py coverage BUILD TARGET...

BUILD is a meson build folder.  The inputs of a target come from
tests/fuzz/corpus/TARGET.hex and tests/fuzz/regressions/TARGET, and what was
found worth keeping stays in BUILD/corpus/TARGET.  Exit 1 on a finding.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
FUZZ = TOP / 'tests/fuzz'
MAX_LEN = 768  # bytes of an input; enough for some 100 steps
SEED_BYTES = 8192  # of a target's seeds in the tree
FOLDERS = ('qemu/bus', 'qemu/devices', 'kvm')
# Targets that are a whole QEMU: their program, which scripts/lib/qemu.sh
# builds, and how its sources are named here.  To look for lost memory after
# each input would take most of the time: it is done once, at the end.
IN_QEMU = {'scsi': TOP / 'build/bin-fuzz/fuzz-scsi'}
PLACES = {'hw/vmbus/devices/': 'qemu/devices/',
          'hw/vmbus/machine/': 'qemu/machine/'}
# Beyond these something is unbounded.
LIMITS = ('-timeout=20', '-rss_limit_mb=1500', '-malloc_limit_mb=64')
ENV = dict(os.environ, ASAN_OPTIONS='detect_leaks=1',
           UBSAN_OPTIONS='print_stacktrace=1:halt_on_error=1',
           G_SLICE='always-malloc')


def read_seeds(target):
    lines = (FUZZ / 'corpus' / f'{target}.hex').read_text().splitlines()
    return [bytes.fromhex(line) for line in lines
            if line and not line.startswith('#')]


def folders(build, target):
    """The working corpus, then the inputs of the tree."""
    work = build / 'corpus' / target
    seeds = build / 'seeds' / target
    for folder in (work, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    for old in seeds.iterdir():
        old.unlink()
    for i, seed in enumerate(read_seeds(target)):
        (seeds / f'{i:03}').write_bytes(seed)
    return [work, seeds, FUZZ / 'regressions' / target]


def fuzzer(build, target):
    return IN_QEMU.get(target, build / 'tests/fuzz' / f'fuzz-{target}')


def limits(target):
    return (*LIMITS, '-detect_leaks=0') if target in IN_QEMU else LIMITS


def fuzz(build, target, seconds, seed):
    """Summary line, and what was found or None."""
    findings = build / 'findings' / target
    findings.mkdir(parents=True, exist_ok=True)
    log = build / 'logs' / f'fuzz-{target}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = ['nice', fuzzer(build, target), f'-max_total_time={seconds}',
               f'-seed={seed}', f'-max_len={MAX_LEN}', '-len_control=20',
               '-print_final_stats=1', *limits(target),
               f'-artifact_prefix={findings}/', *folders(build, target)]
    with log.open('wb') as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=ENV)
        # On a busy machine the time of a clock says little.
        status, usage = os.wait4(process.pid, 0)[1:]
    code = process.returncode = os.waitstatus_to_exitcode(status)
    spent = usage.ru_utime + usage.ru_stime
    text = log.read_text(errors='replace')
    runs = re.search(r'number_of_executed_units: (\d+)', text)
    last = re.findall(r'cov: (\d+) ft: (\d+) corp: (\d+)', text)
    cover, features, corpus = last[-1] if last else ('0', '0', '0')
    new = sorted(set(findings.iterdir()) - before)
    count = int(runs.group(1)) if runs else 0
    line = (f'{target}: {count} executions in {spent:.0f} s of CPU, '
            f'{cover} edges, {features} features, {corpus} inputs kept, ')
    if code == 0 and count and not new:
        return line + 'no finding', None
    why = [found for found in text.splitlines()
           if re.search(r'^FOUND: |runtime error:|ERROR: ', found)]
    why = why[0] if why else f'the fuzzer ended with exit {code}'
    where = ''.join(f'\n  input: {path}' for path in new)
    return (line + f'{max(len(new), 1)} finding(s)',
            f'{why}{where}\n  log: {log}')


def run(args):
    failed = False
    suite = ET.Element('testsuite', name='fuzz')
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = pool.map(
            lambda target: fuzz(args.build, target, args.seconds, args.seed),
            args.target)
        for target, (line, finding) in zip(args.target, results):
            print(line, flush=True)
            case = ET.SubElement(suite, 'testcase', classname='fuzz',
                                 name=target)
            if finding:
                failed = True
                print('  ' + finding, flush=True)
                ET.SubElement(case, 'failure').text = finding
    if args.junit:
        ET.ElementTree(suite).write(args.junit)
    return failed


def skip(args):
    """A result that says why the targets cannot run here."""
    suite = ET.Element('testsuite', name='fuzz')
    for target in args.target:
        case = ET.SubElement(suite, 'testcase', classname='fuzz', name=target)
        ET.SubElement(case, 'skipped', message=args.why)
    ET.ElementTree(suite).write(args.junit)


def seeds(args):
    """Keep a small set of inputs in the tree that reaches every edge."""
    for target in args.target:
        with tempfile.TemporaryDirectory() as merged:
            subprocess.run([fuzzer(args.build, target), '-merge=1',
                            '-use_counters=0', *limits(target), merged,
                            *folders(args.build, target)],
                           env=ENV, check=True, stderr=subprocess.DEVNULL)
            found = sorted((path.read_bytes()
                            for path in pathlib.Path(merged).iterdir()),
                           key=lambda data: (len(data), data))
        kept, size = [], 0
        for data in found:
            if size + len(data) <= SEED_BYTES:
                kept.append(data)
                size += len(data)
        text = '# SPDX-License-Identifier: GPL-2.0-or-later\n'
        text += ''.join(data.hex() + '\n' for data in kept if data)
        (FUZZ / 'corpus' / f'{target}.hex').write_text(text)
        print(f'{target}: {len(kept)} of {len(found)} inputs, {size} bytes')


def replay(args, target, profile, paths):
    env = dict(ENV, LLVM_PROFILE_FILE=str(profile))
    subprocess.run([args.build / 'tests/fuzz' / f'replay-{target}', *paths],
                   env=env, check=True, stdout=subprocess.DEVNULL)


def lines_of(args, profiles):
    """{file: (covered, all)} of the folders that count."""
    merged = args.build / 'merged.profdata'
    subprocess.run(['llvm-profdata', 'merge', '-sparse', *profiles,
                    '-o', merged], check=True)
    programs = [args.build / 'tests/fuzz' / f'replay-{target}'
                for target in args.target]
    objects = [programs[0]]
    for program in programs[1:]:
        objects += ['-object', program]
    out = subprocess.run(['llvm-cov', 'export', '-format=lcov',
                          f'-instr-profile={merged}', *objects],
                         check=True, capture_output=True, text=True)
    counts, path = {}, None
    for line in out.stdout.splitlines():
        if line.startswith('SF:'):
            path = os.path.relpath(os.path.realpath(line[3:]), TOP)
        elif line.startswith('DA:'):
            number, count = line[3:].split(',')[:2]
            counts.setdefault(path, {}).setdefault(int(number), 0)
            counts[path][int(number)] += int(count)
    return {path: (sum(count > 0 for count in lines.values()), len(lines))
            for path, lines in counts.items()
            if path.startswith(FOLDERS) and path.endswith('.c')}


def percent(pair):
    return f'{pair[0]}/{pair[1]} ({100 * pair[0] / pair[1]:.1f} %)'


def add_up(files, prefix):
    found = [pair for path, pair in files.items() if path.startswith(prefix)]
    return (sum(pair[0] for pair in found), sum(pair[1] for pair in found))


def reached(args, target, paths):
    """{file: functions reached, all of them, edges reached, all of them}."""
    out = subprocess.run([fuzzer(args.build, target), '-runs=0',
                          '-print_coverage=1', *limits(target), *paths],
                         env=ENV, check=True, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True, errors='replace')
    counts = {}
    for without, done, total, path in re.findall(
            r'(UN)?COVERED_FUNC: hits: \d+ edges: (\d+)/(\d+) \S+ '
            r'(\S+?\.c):\d+$', out.stderr, re.MULTILINE):
        path = path.rpartition('/source/')[2]
        for theirs, ours in PLACES.items():
            if path.startswith(theirs):
                path = ours + path[len(theirs):]
        counts.setdefault(path, [0, 0, 0, 0])
        for i, number in enumerate((not without, 1, int(done), int(total))):
            counts[path][i] += number
    return counts


def coverage_in_qemu(args, target):
    """QEMU is built once, and not for lines."""
    paths = folders(args.build.parent / 'fuzz', target)
    small = reached(args, target, paths[1:])
    large = reached(args, target, paths)
    print('| functions and edges of | by the seeds in the tree '
          '| by all inputs kept |')
    print('| --- | --- | --- |')
    for path, counts in sorted(large.items()):
        print(f'| {path} | ' + ' | '.join(
            f'{percent(pairs[:2])}, {percent(pairs[2:])}'
            for pairs in (small.get(path, [0, counts[1], 0, counts[3]]),
                          counts)) + ' |')


def coverage(args):
    """Lines that the inputs of the tree run, and with the working corpus."""
    for target in set(args.target) & set(IN_QEMU):
        coverage_in_qemu(args, target)
        args.target.remove(target)
    if not args.target:
        return
    profiles = args.build / 'profiles'
    profiles.mkdir(exist_ok=True)
    columns, small, large = [], [], []
    for target in args.target:
        tree = [FUZZ / 'corpus' / f'{target}.hex',
                FUZZ / 'regressions' / target]
        small.append(profiles / f'{target}-tree.profraw')
        replay(args, target, small[-1], tree)
        work = args.corpus / target
        if work.is_dir() and any(work.iterdir()):
            large.append(profiles / f'{target}-work.profraw')
            replay(args, target, large[-1], [work])
    columns.append(lines_of(args, small))
    columns.append(lines_of(args, small + large) if large else columns[0])
    print('| lines of | by the seeds in the tree | by all inputs kept |')
    print('| --- | --- | --- |')
    for folder in FOLDERS:
        print(f'| **{folder}** | ' + ' | '.join(
            percent(add_up(column, folder)) for column in columns) + ' |')
        for path in sorted(columns[0]):
            if path.startswith(folder):
                print(f'| {path} | ' + ' | '.join(
                    percent(column[path]) for column in columns) + ' |')


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('what', choices=('run', 'skip', 'seeds', 'coverage'))
    parser.add_argument('build', type=pathlib.Path)
    parser.add_argument('target', nargs='+')
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--jobs', type=int, default=1)
    # 0: the fuzzer takes one from the clock.
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--junit', type=pathlib.Path)
    parser.add_argument('--corpus', type=pathlib.Path)
    parser.add_argument('--why')
    args = parser.parse_args()
    args.build = args.build.resolve()
    sys.exit(1 if globals()[args.what](args) else 0)


if __name__ == '__main__':
    main()
