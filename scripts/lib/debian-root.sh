# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian itself, with systemd and PostgreSQL, on the disks of a guest: in
# build/guest/VERSION/debian/{root,data}.img, with the kernel's initial file
# system initramfs-debian that starts it.  The images come from the packages
# alone and are kept; what is of this project is put onto the root at each
# start.

DEBIAN_PACKAGES=systemd,systemd-sysv,udev,postgresql

# What no test looks at; LLVM alone is a third of it all.
DEBIAN_LEFT_OUT=(
    '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*'
    '/usr/share/i18n/*' '/usr/share/info/*' '/usr/share/common-licenses/*'
    '/usr/lib/x86_64-linux-gnu/libLLVM*' '/usr/lib/postgresql/*/lib/bitcode/*'
    '/usr/lib/udev/hwdb.*'
)

debian_mode() {
    if ((EUID == 0)); then
        echo root
    elif unshare --user --map-root-user --map-auto true 2>/dev/null; then
        echo unshare
    else
        die "Debian's root file system cannot be made: run as root once, or" \
            "give $(id -un) a range in /etc/subuid and /etc/subgid, and" \
            "allow user namespaces"
    fi
}

# The machine's proxy for packages, if it has one.
debian_proxy() {
    local proxy
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    if [[ -n ${proxy:-} ]]; then
        export http_proxy=$proxy
    fi
}

# Runs outside of the new root, which is $1: first, before PostgreSQL makes its
# cluster, and at the end.
debian_hook() { # FILE
    cat "$LIB/$1"
}

debian_tar() { # SUITE FILE
    local suite=$1 options=() pattern mode
    mode=$(debian_mode)
    for pattern in "${DEBIAN_LEFT_OUT[@]}"; do
        options+=("--dpkgopt=path-exclude=$pattern")
    done
    debian_proxy
    mmdebstrap --mode="$mode" --format=tar --variant=essential \
        --dpkgopt=force-unsafe-io --include="$DEBIAN_PACKAGES" "${options[@]}" \
        --essential-hook="$(debian_hook debian-before.sh)" \
        --customize-hook="$(debian_hook debian-after.sh)" \
        "$suite" "$2" - < <(grep '^deb ' "$CACHE/apt/$suite/sources.list")
}

# The file systems from that, with their owners, which only root could give to
# files.  The database has a disk of its own, its log (WAL) is on the root.
debian_disks() { # TAR
    local make='mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0'
    echo "making file systems"
    # shellcheck disable=SC2016  # the inner shell replaces it
    fakeroot -- sh -euc '
        mkdir tree
        tar -C tree --exclude="./dev/*" -xf "$1"
        '"$make"' -L data -d tree/var/lib/postgresql data.img 256M
        rm -rf tree/var/lib/postgresql/*
        '"$make"' -L root -d tree root.img 1G
        rm -rf tree' sh "$1"
}

debian_make() { # SUITE DIR
    local new=$2.new
    if [[ -d $2 ]]; then
        return
    fi
    rm -rf "$new"
    mkdir -p "$new"
    cd "$new" || return
    debian_tar "$1" root.tar
    debian_disks root.tar
    rm root.tar
    mv "$new" "$2"
}

# All that the images depend on but their packages.
debian_recipe() {
    declare -p DEBIAN_PACKAGES DEBIAN_LEFT_OUT
    declare -f debian_tar debian_disks
    cat "$LIB"/debian-{before,after}.sh
}

# debian_image SUITE: sets DEBIAN_IMAGE to the folder of the images.
debian_image() {
    local suite=$1 key
    key=$(debian_recipe | sha256 | cut -c1-16)
    DEBIAN_IMAGE=$CACHE/debian/$suite-$key
    if [[ ! -d $DEBIAN_IMAGE ]]; then
        suite_setup "$suite"
        with_lock "debian-$suite" step "debian-$suite" \
            "Debian $suite with PostgreSQL" debian_make "$suite" \
            "$DEBIAN_IMAGE"
    fi
}

# The backup agent as "meson install" puts it into a system, static as it has
# to run in all of them.
debian_agent() { # DIR
    local build=$OUT/guest/agent
    if [[ ! -e $build/build.ninja ]]; then
        meson setup "$build" "$TOP" -Dc_link_args=-static
    fi
    nice ninja -C "$build" guest-agent-vss/hv-vss-agent
    rm -rf "$1"
    meson install -C "$build" --no-rebuild --tags vss-agent --destdir "$1"
}

# debian_prepare VERSION...
debian_prepare() {
    local version agent=$OUT/guest/agent-tree
    local shell=/install/usr/local/sbin/guest-shell
    guest_busybox
    step debian-agent "backup agent for Debian" debian_agent "$agent"
    for version in "$@"; do
        mkdir -p "$OUT/guest/$version"
        debian_image "$(kernel_suite "$version")"
        ln -sfn "$DEBIAN_IMAGE" "$OUT/guest/$version/debian"
        guest_image "$version" initramfs-debian "start of Debian" \
            "${STORAGE_MODULES[@]}" --tree "/install=$agent" \
            --tree "/install=$TOP/scripts/guest/debian" \
            --file "$shell=$TOP/scripts/guest/sbin/guest-shell"
    done
}
