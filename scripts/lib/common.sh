# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What every script needs: places, messages, steps with progress, locks.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck disable=SC2034
LIB=$TOP/scripts/lib
OUT=$TOP/build
LOGS=$OUT/log
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kvm-vmbus

# Exit codes of the scripts.
# shellcheck disable=SC2034  # used by the scripts that read this file
readonly EXIT_FAILED=1 EXIT_USAGE=2 EXIT_MISSING=3

# Debian's own tools: another python3 or meson that comes first in somebody's
# PATH lacks the modules that Debian's packages bring.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH LC_ALL=C.UTF-8

SCRIPT_NAME=${0##*/}
step_group=

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$SCRIPT_NAME" "$*" >&2; }

# die [-CODE] MESSAGE...
die() {
    local code=$EXIT_FAILED
    if [[ $1 =~ ^-[0-9]+$ ]]; then
        code=${1#-}
        shift
    fi
    warn "$@"
    exit "$code"
}

# A step runs in a process group of its own, so that nothing of it outlives
# the script when the script is interrupted.
end_step_group() {
    if [[ -n $step_group ]]; then
        kill -TERM -- "-$step_group" 2>/dev/null || true
        step_group=
    fi
}
set_traps() {
    trap end_step_group EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}
set_traps

elapsed() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# How far the log says the step is: ninja's [n/m], else its last line.
step_position() {
    local tail_of_log position
    tail_of_log=$(tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' || true)
    position=$(grep -o '^\[[0-9]*/[0-9]*\]' <<<"$tail_of_log" | tail -n 1) ||
        position=$(grep -v '^[[:space:]]*$' <<<"$tail_of_log" | tail -n 1) ||
        true
    printf '%.60s' "$position"
}

watch_step() { # PID WHAT LOG
    local pid=$1 what=$2 log=$3 start=$SECONDS said=$SECONDS pause=0.05
    while kill -0 "$pid" 2>/dev/null; do
        if [[ -t 1 ]]; then
            printf '\r\033[K  %s  %s  %s' "$what" \
                "$(elapsed $((SECONDS - start)))" "$(step_position "$log")"
        elif ((SECONDS - said >= 15)); then
            said=$SECONDS
            printf '  %s: %s  %s\n' "$what" \
                "$(elapsed $((SECONDS - start)))" "$(step_position "$log")"
        fi
        sleep "$pause"
        pause=0.3
    done
    if [[ -t 1 ]]; then
        printf '\r\033[K'
    fi
}

show_log_end() { # LOG [LINES]
    local log=$1 lines=${2:-40}
    {
        echo "--- the last lines of the log:"
        tail -n "$lines" "$log" | sed 's/^/    /'
        echo "--- whole log: $log"
    } >&2
}

# step NAME WHAT COMMAND...: run COMMAND with its output in a log, show that
# it goes on, and say how long it took.  Failure: the log's end, and exit 1.
step() {
    local name=$1 what=$2 log=$LOGS/$1.log start=$SECONDS rc=0 pid
    shift 2
    mkdir -p "$LOGS"
    : >"$log"
    set -m
    ( set -e; "$@" ) >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    step_group=$pid
    watch_step "$pid" "$what" "$log"
    wait "$pid" || rc=$?
    step_group=
    if ((rc != 0)); then
        show_log_end "$log"
        die "$what failed (exit $rc)"
    fi
    say "  $what: done in $(elapsed $((SECONDS - start)))"
}

# with_lock NAME FUNCTION ARG...: run FUNCTION while no other process of this
# cache holds the lock.  FUNCTION runs in a subshell.
with_lock() {
    local name=$1
    shift
    mkdir -p "$CACHE/locks"
    (
        if ! flock -n 9; then
            say "  waiting for another process that uses $name"
            flock 9
        fi
        set_traps # a subshell does not inherit them
        set -e
        "$@"
    ) 9>"$CACHE/locks/$name"
}

sha256() { sha256sum | cut -d' ' -f1; }

# install_if_changed FROM TO: in one piece, and only when the content differs,
# so that nothing that depends on it is made again for no reason.
install_if_changed() {
    local from=$1 to=$2
    if ! cmp -s "$from" "$to"; then
        mkdir -p "$(dirname "$to")"
        cp --preserve=mode "$from" "$to.new"
        mv -f "$to.new" "$to"
    fi
}

mkdir -p "$CACHE" || die "cannot make the cache directory $CACHE"
