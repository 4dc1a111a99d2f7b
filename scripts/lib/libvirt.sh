# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# libvirt: obtain the source, put ours in, build.  Its programs run where they
# are built; build/bin has small scripts that start them.

LIBVIRT_VERSION=11.3.0

# The QEMU driver, and those of the other drivers that need no library of
# their own: libvirt's tests cover more with them.
libvirt_configure_options() {
    printf '%s\n' --buildtype=debugoptimized --warnlevel=2 \
        -Dauto_features=disabled -Djson_c=enabled -Dlibnl=enabled \
        -Dreadline=enabled -Ddriver_remote=enabled \
        -Ddriver_libvirtd=enabled -Ddriver_qemu=enabled \
        -Ddriver_test=enabled -Ddriver_lxc=enabled -Ddriver_vmware=enabled \
        -Dtests=enabled -Dexpensive_tests=disabled \
        -Dgit_werror=disabled -Ddocs=disabled -Dno_git=true
}

# The released source as an archive, checked by apt against the signed index:
# sets LIBVIRT_ARCHIVE and LIBVIRT_SOURCE_KEY.
libvirt_archive() {
    local current=$CACHE/sources/libvirt/current
    if [[ ! -e $current ]]; then
        suite_setup trixie
        with_lock libvirt-archive step libvirt-download \
            "downloading the source of libvirt" libvirt_download
    fi
    read -r LIBVIRT_ARCHIVE LIBVIRT_SOURCE_KEY <"$current"
    LIBVIRT_ARCHIVE=$CACHE/sources/libvirt/$LIBVIRT_ARCHIVE
}

libvirt_download() {
    local dir=$CACHE/sources/libvirt archive
    mkdir -p "$dir"
    rm -rf "$dir/new"
    mkdir "$dir/new"
    cd "$dir/new" || return
    download_source trixie libvirt
    archive=$(ls libvirt_"$LIBVIRT_VERSION".orig.tar.xz) ||
        { echo "Debian's trixie has no libvirt $LIBVIRT_VERSION"; return 1; }
    mv "$archive" "$dir/"
    printf '%s %s\n' "$archive" "$(sha256 <"$dir/$archive")" >current
    mv current "$dir/current"
    rm -rf "$dir/new"
}

# Take libvirt's source from a tree instead of the archive.
libvirt_use_source() { # DIR
    [[ -f $1/libvirt.spec.in && -f $1/src/libvirt.c ]] ||
        die -"$EXIT_USAGE" "\"$1\" is not a source tree of libvirt"
    grep -q "version: '$LIBVIRT_VERSION'" "$1/meson.build" ||
        warn "$1 is another version of libvirt; the patches are made for" \
            "$LIBVIRT_VERSION"
    LIBVIRT_SOURCE_DIR=$(cd "$1" && pwd)
}

libvirt_unpack() { # DEST
    local dest=$1
    rm -rf "$dest.new"
    mkdir -p "$dest.new"
    if [[ -n ${LIBVIRT_SOURCE_DIR:-} ]]; then
        tar -C "$LIBVIRT_SOURCE_DIR" --exclude=./.git -cf - . |
            tar -C "$dest.new" --no-same-owner -xf -
    else
        tar -C "$dest.new" --strip-components=1 --no-same-owner \
            -xf "$LIBVIRT_ARCHIVE"
    fi
    mv "$dest.new" "$dest"
}

libvirt_configure() { # TREE BUILD
    local options
    mapfile -t options < <(libvirt_configure_options)
    rm -rf "$2"
    meson setup "${options[@]}" "$2" "$1"
    touch "$2/configured"
}

# A script that starts a program where it was built: there it finds its
# libraries, drivers and schemas.
libvirt_starter() { # PROGRAM OUTPUT
    local new=$2.new
    mkdir -p "$(dirname "$2")"
    printf '%s\n' '#!/bin/sh' "LIBVIRT_DIR_OVERRIDE=1 exec '$1' \"\$@\"" \
        >"$new"
    chmod +x "$new"
    mv -f "$new" "$2"
}

# What a daemon needs that runs domains, and virsh.
LIBVIRT_DAEMON=(src/virtqemud src/libvirt_driver_qemu.so src/libvirt_iohelper
    tools/virsh)

libvirt_build_locked() { # DIR WHAT
    local dir=$1 build=$1/build targets=()
    [[ $2 != daemon ]] || targets=("${LIBVIRT_DAEMON[@]}")
    if [[ ! -d $dir/source ]]; then
        step libvirt-unpack "unpacking libvirt" libvirt_unpack "$dir/source"
    fi
    step libvirt-sources "putting our sources into libvirt" \
        /usr/bin/python3 "$LIB/libvirt-tree.py" "$TOP" "$dir/source"
    if [[ ! -e $build/configured ]]; then
        step libvirt-configure "configuring libvirt" \
            libvirt_configure "$dir/source" "$build"
    fi
    step libvirt-build "building libvirt" nice ninja -C "$build" \
        "${targets[@]}"
    libvirt_starter "$build/tools/virsh" "$OUT/bin/virsh"
    libvirt_starter "$build/src/virtqemud" "$OUT/bin/virtqemud"
}

# All of it, with its tests, or the daemon alone.  LIBVIRT_SOURCE_DIR names a
# tree to use instead of the released source.  Sets LIBVIRT_DIR, which holds
# source and build.
libvirt_build() { # [daemon]
    local key
    if [[ -n ${LIBVIRT_SOURCE_DIR:-} ]]; then
        LIBVIRT_SOURCE_KEY=$(qemu_tree_key "$LIBVIRT_SOURCE_DIR")
    else
        libvirt_archive
    fi
    key=$(printf '%s\n' "$LIBVIRT_SOURCE_KEY" \
        "$(libvirt_configure_options)" "$(gcc -dumpfullversion)" \
        "$(meson --version)" "$(host_suite)" | sha256)
    LIBVIRT_DIR=$CACHE/libvirt/${key:0:16}
    mkdir -p "$LIBVIRT_DIR"
    with_lock "libvirt-${key:0:16}" libvirt_build_locked "$LIBVIRT_DIR" \
        "${1:-all}"
    ln -sfn "$LIBVIRT_DIR/build" "$OUT/libvirt"
}
