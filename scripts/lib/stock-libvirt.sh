# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's own libvirt and virt-install, for the tests, without installing them:
# build/stock/NAME/enter COMMAND... runs a command where /usr has them as well.
# Nothing outside of that command sees them, and the C library that a suite's
# programs need is their own.

# What apt would install on a machine that has nothing.
stock_packages() { # SUITE PATTERN PACKAGE...
    local suite=$1 pattern=$2
    shift 2
    apt_options "$suite"
    apt-get "${APT_OPTIONS[@]}" --simulate --no-install-recommends \
        install "$@" | sed -nE 's/^Inst ([^ ]*) .*/\1/p' |
        grep -xE "$pattern"
}

# The packages' files in one tree.  A package may have files in /lib or in
# /usr/lib; they are the same place.
stock_unpack() { # DIR PACKAGE-FILE...
    local dir=$1 name deb
    shift
    mkdir -p "$dir"/usr/{bin,sbin,lib,lib64}
    for name in bin sbin lib lib64; do
        ln -s "usr/$name" "$dir/$name"
    done
    for deb in "$@"; do
        dpkg-deb --fsys-tarfile "$deb" |
            tar -C "$dir" --no-same-owner --keep-directory-symlink -xf - \
                --exclude='./usr/share/doc*' --exclude='./usr/share/man*' \
                --exclude='./usr/share/locale*' --exclude='./var/*' \
                --exclude='./dev/*'
    done
}

stock_download() { # SUITE DIR PATTERN PACKAGE...
    local suite=$1 dir=$2 pattern=$3 new=$2.new packages
    shift 3
    [[ ! -d $dir ]] || return 0 # another process was faster
    rm -rf "$new"
    mkdir -p "$new/deb"
    packages=$(stock_packages "$suite" "$pattern" "$@")
    mapfile -t packages <<<"$packages"
    cd "$new/deb" || return
    download_packages "$suite" "${packages[@]}"
    cd .. || return
    stock_unpack "$new/root" deb/*.deb
    mv root "$dir"
    cd "$CACHE" || return
    rm -rf "$new"
}

# Sets STOCK_DIR to where the packages of a suite, and what they need of those
# whose names match, are unpacked.
stock_tree() { # SUITE NAME PATTERN PACKAGE...
    local suite=$1 name=$2
    STOCK_DIR=$CACHE/packages/$suite-$name-$(printf '%s\n' "$@" | sha256)
    if [[ ! -d $STOCK_DIR ]]; then
        suite_setup "$suite"
        shift 2
        with_lock "package-$suite-$name" step "package-$suite-$name" \
            "downloading $name of $suite" \
            stock_download "$suite" "$STOCK_DIR" "$@"
    fi
}

# A program of a tree that runs with the tree's own loader and libraries.
stock_starter() { # TREE PROGRAM OUTPUT
    mkdir -p "$(dirname "$3")"
    printf '%s\n' '#!/bin/sh' \
        "exec '$1/usr/lib64/ld-linux-x86-64.so.2' --library-path \\" \
        "    '$1/usr/lib/x86_64-linux-gnu' --argv0 '$2' '$1$2' \"\$@\"" >"$3"
    chmod +x "$3"
}

# In a user namespace, because only there may everybody mount; the command
# then runs as a user other than root, since root has no session daemon.
stock_enter() { # OUTPUT LAYER
    cat >"$1" <<END
#!/bin/sh
exec unshare --user --map-root-user --mount sh -c '
    mount -t overlay overlay -o "lowerdir=\$0:/usr" /usr &&
        exec unshare --user --map-user=1000 --map-group=1000 "\$@"
' '$2' "\$@"
END
    chmod +x "$1"
}

stock_layer() { # SUITE DIR
    local suite=$1 layer=$2/usr program daemon=/usr/sbin/virtqemud
    stock_tree "$suite" libvirt \
        '(lib|zlib1g).*' libvirt-daemon libvirt-daemon-driver-qemu \
        libvirt-clients
    mkdir -p "$layer"/{share,lib/x86_64-linux-gnu}
    cp -r "$STOCK_DIR/usr/share/libvirt" "$layer/share/"
    cp -r "$STOCK_DIR/usr/lib/x86_64-linux-gnu/libvirt" \
        "$layer/lib/x86_64-linux-gnu/"
    # Debian 12 has the one daemon for everything.
    [[ -x $STOCK_DIR$daemon ]] || daemon=/usr/sbin/libvirtd
    for program in "$daemon" /usr/bin/virsh \
        /usr/lib/libvirt/libvirt_iohelper; do
        [[ -x $STOCK_DIR$program ]] ||
            die "the packages of $suite have no $program"
        stock_starter "$STOCK_DIR" "$program" "$2$program"
    done
    ln -s "${daemon##*/}" "$layer/sbin/stock-libvirt-daemon"
}

# stock_libvirt_prepare SUITE...
stock_libvirt_prepare() {
    local suite dir
    for suite in "$@"; do
        dir=$OUT/stock/$suite
        rm -rf "$dir.new"
        stock_layer "$suite" "$dir.new"
        stock_enter "$dir.new/enter" "$dir/usr"
        rm -rf "$dir"
        mv "$dir.new" "$dir"
    done
}

# What the machine lacks of virt-install, which its own Python runs; in
# build/stock/virt-install.
virt_install_prepare() {
    local dir=$OUT/stock/virt-install file
    stock_tree "$(host_suite)" virt-install \
        '(lib|gir1|python3-|osinfo-db|virtinst).*' virtinst
    rm -rf "$dir.new"
    mkdir -p "$dir.new/usr"
    cd "$STOCK_DIR/usr" || return
    find lib/python3/dist-packages lib/x86_64-linux-gnu bin/virt-* \
        share/virt-manager share/osinfo share/libvirt ! -type d |
        while read -r file; do
            [[ -e /usr/$file ]] || printf '%s\0' "$file"
        done | xargs -0 cp -a --parents -t "$dir.new/usr"
    stock_enter "$dir.new/enter" "$dir/usr"
    rm -rf "$dir"
    mv "$dir.new" "$dir"
}
