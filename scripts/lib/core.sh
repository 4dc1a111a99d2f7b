# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The project's own meson build: tools in build/meson, unit tests with the
# sanitizers in build/unit.

core_setup() { # DIR OPTION...
    local dir=$1
    shift
    set -- -Dlibvirt=enabled "$@"
    if [[ ! -e $dir/build.ninja ||
        $(cat "$dir/options" 2>/dev/null) != "$*" ]]; then
        rm -rf "$dir"
        meson setup "$dir" "$TOP" "$@"
        echo "$*" >"$dir/options"
    fi
}

core_compile() { # DIR OPTION...
    core_setup "$@"
    nice ninja -C "$1"
}

# The programs under tools/ and guest-agent-vss/, without the tests.
tools_compile() { # DIR
    local programs
    core_setup "$1"
    programs=$(ninja -C "$1" -t targets all |
        sed -nE 's,^((tools|guest-agent-vss)/[^:]*): c_LINKER$,\1,p')
    # shellcheck disable=SC2086  # one word each
    nice ninja -C "$1" ${programs:?the project has no tools}
}

# One build of a clone at a time.
core_lock() {
    printf 'clone-%s' "$(printf '%s' "$TOP" | sha256 | cut -c1-16)"
}

core_build_locked() {
    local program
    step tools-build "building the tools" tools_compile "$OUT/meson"
    for program in "$OUT"/meson/{tools/*,guest-agent-vss}/*; do
        if [[ -f $program && -x $program ]]; then
            install_if_changed "$program" "$OUT/bin/${program##*/}"
        fi
    done
}

core_build() {
    with_lock "$(core_lock)" core_build_locked
}

unit_build() {
    with_lock "$(core_lock)" step unit-build "building the unit tests" \
        core_compile "$OUT/unit" -Db_sanitize=address,undefined \
        -Db_lundef=false
}
