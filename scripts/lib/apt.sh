# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Packages and sources of Debian suites that this machine may not have in its
# own apt configuration.  Each suite gets a private apt configuration in the
# cache, passed with -o; the machine's own stays as it is.  The mirror is the
# one that the machine uses.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# bookworm or trixie; other systems are not supported.
host_suite() {
    # shellcheck disable=SC1091
    (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
}

# "URI KEYRING" of the machine's main archive of Debian.
find_mirror() {
    local suite uri release codename component origin signed info
    suite=$(host_suite)
    [[ $suite == bookworm || $suite == trixie ]] || return 1
    # Names are certain with the Release files, which are only there after
    # an apt-get update; images of containers come without.
    for info in yes no; do
        while IFS='|' read -r uri release codename component origin signed; do
            [[ $component == main ]] || continue
            if [[ $info == yes ]]; then
                [[ $origin == Debian && $codename == "$suite" ]] || continue
            else
                [[ $release == "$suite" || $release == stable ||
                    $release == oldstable ]] || continue
            fi
            [[ -r $signed ]] || signed=$KEYRING
            printf '%s %s\n' "$uri" "$signed"
            return 0
        done < <(list_indexes "$info")
    done
    return 1
}

list_indexes() { # RELEASE-INFO
    local option=()
    [[ $1 == yes ]] || option=(--no-release-info)
    # shellcheck disable=SC2016  # apt replaces these
    apt-get indextargets "${option[@]}" --format \
        '$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(SIGNED_BY)' \
        'Created-By: Packages'
}

# The options that make apt use the private configuration of $1.  Downloads
# must not depend on what is installed, which may be newer than the suite;
# "backports" is there to install from.
apt_options() {
    local root=$CACHE/apt/$1 status=/dev/null
    [[ $1 != backports ]] || status=/var/lib/dpkg/status
    APT_OPTIONS=(
        -o "Dir::Etc::SourceList=$root/sources.list"
        -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null
        -o Dir::Etc::PreferencesParts=/dev/null
        -o "Dir::State=$root/state"
        -o "Dir::State::Lists=$root/lists"
        -o "Dir::State::status=$status"
        -o Dir::State::extended_states=/var/lib/apt/extended_states
        -o "Dir::Cache=$root/cache"
        -o "APT::Sandbox::User=$(id -un)"
        -o APT::Architecture=amd64
        -o APT::Default-Release=
        -o Acquire::Languages=none
        -o Acquire::Retries=3
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -q
    )
}

# apt_setup NAME SOURCE...: write the private configuration NAME.  A SOURCE is
# "deb SUITE" or "deb-src SUITE".
apt_setup() {
    local name=$1 root=$CACHE/apt/$1 mirror keyring source suite
    shift
    read -r mirror keyring < <(find_mirror) ||
        die "the machine's apt configuration has no Debian archive of" \
            "$(host_suite); Debian 12 and 13 are supported"
    [[ -r $keyring ]] ||
        die "$keyring is missing; install debian-archive-keyring"
    mkdir -p "$root"/{lists/partial,state,cache/archives/partial}
    for source in "$@"; do
        suite=${source#* }
        printf '%s [arch=amd64 signed-by=%s] %s %s main\n' \
            "${source% *}" "$keyring" "$mirror" "$suite"
    done >"$root/sources.list.new"
    if ! cmp -s "$root/sources.list.new" "$root/sources.list"; then
        rm -f "$root/updated"
    fi
    mv "$root/sources.list.new" "$root/sources.list"
}

# apt_update NAME: get the index, unless it was got within the last day.
apt_update() {
    local name=$1 root=$CACHE/apt/$1
    if [[ -n $(find "$root/updated" -mmin -1440 2>/dev/null) ]]; then
        return 0
    fi
    apt_options "$name"
    step "apt-$name" "reading the index of Debian's $name" \
        apt-get "${APT_OPTIONS[@]}" -o APT::Update::Error-Mode=any update
    touch "$root/updated"
}

# A suite's packages and, for trixie, its sources.
suite_setup() {
    case $1 in
    bookworm) apt_setup bookworm "deb bookworm" ;;
    trixie) apt_setup trixie "deb trixie" "deb-src trixie" ;;
    *) die "unknown suite $1" ;;
    esac
    apt_update "$1"
}

# In the current directory: packages, checked against the signed index.  The
# index may be older than the mirror, so a failure is tried again with a new
# one.
download_packages() { # SUITE PACKAGE...
    local suite=$1
    shift
    apt_options "$suite"
    apt-get "${APT_OPTIONS[@]}" download "$@" && return 0
    apt-get "${APT_OPTIONS[@]}" update
    apt-get "${APT_OPTIONS[@]}" download "$@"
}

# The archives alone: a mirror may lack the files that describe them.
download_source() { # SUITE PACKAGE
    local suite=$1 get=(source --tar-only --download-only)
    shift
    apt_options "$suite"
    apt-get "${APT_OPTIONS[@]}" "${get[@]}" "$@" && return 0
    apt-get "${APT_OPTIONS[@]}" update
    apt-get "${APT_OPTIONS[@]}" "${get[@]}" "$@"
}
