#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sum up the results of the tiers.

usage: results.py DIR TIER...

DIR holds TIER.xml (JUnit), TIER.exit (the runner's exit code), and for tests
that speak TAP their output as TIER.log.  Prints
what failed and what was skipped and why, a line for each tier, and at the end
"N passed, N failed, N skipped".  Exit 1 if anything failed.  A runner that
failed although none of its tests did, or that left no result, counts as one
failure.
"""
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree as ET


def outcome(case):
    for kind in ('failure', 'error'):
        if case.find(kind) is not None:
            return 'failed', ''
    skipped = case.find('skipped')
    if skipped is not None:
        why = skipped.get('message') or (skipped.text or '').strip()
        return 'skipped', why
    return 'passed', ''


def tap_reasons(path):
    """{test: why it was skipped} of a TAP log; meson's JUnit leaves it out."""
    if not path.exists():
        return {}
    log = path.read_text(errors='replace')
    return dict(re.findall(r'^ok (.*?) # SKIP (.+)$', log, re.M))


def read_tier(folder, tier):
    counts = collections.Counter()
    reasons = tap_reasons(folder / f'{tier}.log')
    try:
        root = ET.parse(folder / f'{tier}.xml').getroot()
    except (OSError, ET.ParseError) as error:
        print(f'{tier}: FAILED: no result was left: {error}')
        return collections.Counter(failed=1)
    for case in root.iter('testcase'):
        kind, why = outcome(case)
        counts[kind] += 1
        name = '/'.join(filter(None, (case.get('classname'),
                                      case.get('name'))))
        if kind == 'failed':
            print(f'{tier}: FAILED: {name}')
        elif kind == 'skipped':
            why = why or reasons.get(case.get('name'), 'no reason given')
            print(f'{tier}: skipped: {name}: {why}')
    code = int((folder / f'{tier}.exit').read_text())
    if code and not counts['failed']:
        print(f'{tier}: FAILED: the runner ended with exit {code}')
        counts['failed'] += 1
    if not counts:
        print(f'{tier}: FAILED: it holds no test')
        counts['failed'] += 1
    return counts


def line(counts):
    return ', '.join(f'{counts[kind]} {kind}'
                     for kind in ('passed', 'failed', 'skipped'))


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    total = collections.Counter()
    summary = []
    for tier in sys.argv[2:]:
        counts = read_tier(folder, tier)
        total += counts
        summary.append(f'{tier}: {line(counts)}')
    print('\n'.join(summary))
    print(line(total))
    sys.exit(1 if total['failed'] else 0)


if __name__ == '__main__':
    main()
