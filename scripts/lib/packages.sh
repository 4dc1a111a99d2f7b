# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian packages that the scripts need on the machine.

PACKAGES=(
    # to build
    gcc libc6-dev ninja-build meson pkg-config patch xz-utils
    python3 python3-venv libglib2.0-dev libjson-glib-dev libpixman-1-dev
    libslirp-dev libaio-dev libvirt-dev libxml2-dev zlib1g-dev
    # to run: firmware that is no part of QEMU's source archive
    seabios qemu-system-data
    # to test
    python3-pytest python3-pytest-xdist e2fsprogs mmdebstrap fakeroot uidmap
)

# What scripts/fuzz needs, and nothing else does.
# shellcheck disable=SC2034
FUZZ_PACKAGES=(
    clang libclang-rt-dev llvm
    gcc libc6-dev ninja-build meson pkg-config python3 libglib2.0-dev
    libjson-glib-dev
    # for QEMU
    patch python3-venv xz-utils zlib1g-dev
)

# What libvirt needs beside, and nothing else does.
# shellcheck disable=SC2034
LIBVIRT_PACKAGES=(
    gettext libgnutls28-dev libjson-c-dev libnl-3-dev libnl-route-3-dev
    libreadline-dev libtirpc-dev libxml2-dev libxml2-utils perl rpcsvc-proto
    xsltproc
)

# QEMU 10 wants this version; Debian 12 has it among its backports.
MESON_VERSION=1.5

installed_version() { # PACKAGE
    # shellcheck disable=SC2016  # dpkg-query replaces these
    { dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null ||
        true; } | sed -n '/^installed /{s///p;q}'
}

missing_packages() {
    local package version
    for package in "${PACKAGES[@]}"; do
        version=$(installed_version "$package")
        if [[ -z $version ]]; then
            echo "$package"
        elif [[ $package == meson ]] &&
            dpkg --compare-versions "$version" lt "$MESON_VERSION"; then
            echo "$package"
        fi
    done
}

check_system() {
    local suite
    suite=$(host_suite)
    [[ $suite == bookworm || $suite == trixie ]] ||
        die -"$EXIT_MISSING" "this is not Debian 12 or 13; the packages are" \
            "taken from there"
    [[ $(dpkg --print-architecture) == amd64 ]] ||
        die -"$EXIT_MISSING" "this machine is not amd64"
}

# Make apt-get run as root, and tell so before a password is asked for.
become_root() {
    AS_ROOT=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            die -"$EXIT_MISSING" "packages are missing and sudo is not" \
                "installed; run as root: apt-get install $*"
        say "They are installed with sudo apt-get, which may ask for your" \
            "password."
        sudo -v || die -"$EXIT_MISSING" "sudo refused; run as root:" \
            "apt-get install $*"
        AS_ROOT=(sudo -n)
    fi
}

apt_as_root() {
    "${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o DPkg::Lock::Timeout=300 "$@"
}

# On Debian 12 meson comes from the backports suite, through a private apt
# configuration of this suite and its backports.
install_meson() {
    if [[ $(host_suite) == trixie ]]; then
        step install-meson "installing meson" \
            apt_as_root install -y --no-install-recommends meson
        return
    fi
    apt_setup backports "deb bookworm" "deb bookworm-backports"
    apt_update backports
    apt_options backports
    step install-meson "installing meson from bookworm-backports" \
        apt_as_root "${APT_OPTIONS[@]}" install -y --no-install-recommends \
        meson/bookworm-backports
}

# ensure_packages INSTALL: with INSTALL=no, only name what is missing.
ensure_packages() {
    local list missing package others=()
    check_system
    say "Packages needed: ${PACKAGES[*]}"
    list=$(missing_packages)
    read -ra missing <<<"${list//$'\n'/ }"
    if ((${#missing[@]} == 0)); then
        say "  all of them are installed"
        return
    fi
    say "Missing: ${missing[*]}"
    if [[ $1 == no ]]; then
        if [[ " ${missing[*]} " == *" meson "* ]]; then
            say "(meson must be at least $MESON_VERSION; Debian 12 has it in" \
                "bookworm-backports)"
        fi
        die -"$EXIT_MISSING" "these packages are not installed: ${missing[*]}"
    fi
    become_root "${missing[@]}"
    for package in "${missing[@]}"; do
        [[ $package == meson ]] || others+=("$package")
    done
    step apt-update "reading the machine's package index" apt_as_root update
    if ((${#others[@]} > 0)); then
        step install-packages "installing ${#others[@]} packages" \
            apt_as_root install -y --no-install-recommends "${others[@]}"
    fi
    if [[ " ${missing[*]} " == *" meson "* ]]; then
        install_meson
    fi
}
