# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU: obtain the source, put ours in, build.  Flavours:
#   vmbus  what the project delivers, in build/bin
#   plain  the released QEMU, changed only as far as it must be to build;
#          the yardstick of benchmarks, in build/bin-plain
#   asan   vmbus with the address sanitizer, for the tests, in build/bin-asan;
#          it holds no more than they need and is optimized less, both to
#          build fast
#   fuzz   what scripts/fuzz runs, by clang, in build/bin-fuzz

QEMU_VERSION=10.0

qemu_programs() { # FLAVOUR
    if [[ $1 == fuzz ]]; then
        echo fuzz-scsi
        return
    fi
    echo qemu-system-x86_64
    if [[ $1 == asan ]]; then
        printf 'tests/vmbus/%s\n' test-agent test-agent-commands \
            test-agent-kvp test-agent-noise
        echo replay-scsi
    else
        echo qemu-img
    fi
    # For reservations of disks that QEMU itself may not make.
    [[ $1 != vmbus ]] || echo qemu-pr-helper
}

qemu_output() { # FLAVOUR
    if [[ $1 == vmbus ]]; then
        printf '%s' "$OUT/bin"
    else
        printf '%s' "$OUT/bin-$1"
    fi
}

qemu_configure_options() { # FLAVOUR
    local features=(--enable-tools --enable-slirp --enable-linux-aio
        --enable-vnc --enable-pixman --enable-tpm --enable-vhdx --enable-vpc
        --enable-vmdk --enable-vdi)
    if [[ $1 == asan ]]; then
        features=(--disable-tools --without-default-devices
            --with-devices-x86_64=vmbus-asan --enable-trace-backends=nop
            --enable-asan -Doptimization=1
            "--extra-cflags=-g1 -fno-omit-frame-pointer")
    fi
    if [[ $1 == fuzz ]]; then
        # Requests need no CPU that runs: TCG would be a third of the build.
        features=(--cc=clang --cxx=clang++ --host-cc=clang --disable-tools
            --without-default-devices --with-devices-x86_64=vmbus-fuzz
            --enable-trace-backends=nop --disable-tcg
            --enable-fuzzing --enable-asan --enable-ubsan -Doptimization=1
            "--extra-cflags=-g1 -fno-sanitize-coverage=trace-cmp")
    fi
    printf '%s\n' --python=/usr/bin/python3 --target-list=x86_64-softmmu \
        --without-default-features --enable-system --enable-tcg --enable-kvm \
        "${features[@]}" --disable-download --disable-docs \
        --disable-install-blobs --disable-werror \
        --firmwarepath=/usr/share/qemu:/usr/share/seabios
}

# The released source as an archive, checked by apt against the signed index:
# sets QEMU_ARCHIVE and QEMU_SOURCE_KEY.
qemu_archive() {
    local current=$CACHE/sources/qemu/current
    if [[ ! -e $current ]]; then
        suite_setup trixie
        with_lock qemu-archive step qemu-download \
            "downloading the source of QEMU" qemu_download
    fi
    read -r QEMU_ARCHIVE QEMU_SOURCE_KEY <"$current"
    QEMU_ARCHIVE=$CACHE/sources/qemu/$QEMU_ARCHIVE
}

qemu_download() {
    local dir=$CACHE/sources/qemu archive
    mkdir -p "$dir"
    rm -rf "$dir/new"
    mkdir "$dir/new"
    cd "$dir/new" || return
    download_source trixie qemu
    archive=$(ls qemu_"$QEMU_VERSION".*.orig.tar.xz) ||
        { echo "Debian's trixie has no QEMU $QEMU_VERSION"; return 1; }
    mv "$archive" "$dir/"
    printf '%s %s\n' "$archive" "$(sha256 <"$dir/$archive")" >current
    mv current "$dir/current"
    rm -rf "$dir/new"
}

# Take QEMU's source from a tree instead of the archive.
qemu_use_source() { # DIR
    [[ -f $1/VERSION && -x $1/configure ]] ||
        die -"$EXIT_USAGE" "\"$1\" is not a source tree of QEMU"
    [[ $(<"$1/VERSION") == "$QEMU_VERSION".* ]] ||
        warn "$1 is QEMU $(<"$1/VERSION"); the patches are made for" \
            "$QEMU_VERSION"
    QEMU_SOURCE_DIR=$(cd "$1" && pwd)
}

# A tree that somebody gave: its content is the key.
qemu_tree_key() { # DIR
    (cd "$1" && find . -name .git -prune -o -path './roms/*/*' -prune \
        -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256)
}

# QEMU's firmware sources are two thirds of the archive and not needed.
qemu_unpack() { # DEST
    local dest=$1
    rm -rf "$dest.new"
    mkdir -p "$dest.new"
    if [[ -n ${QEMU_SOURCE_DIR:-} ]]; then
        tar -C "$QEMU_SOURCE_DIR" --exclude=./.git --exclude='./roms/*/*' \
            -cf - . | tar -C "$dest.new" -xf -
    else
        tar -C "$dest.new" --strip-components=1 --exclude='*/roms/*/*' \
            -xf "$QEMU_ARCHIVE"
    fi
    mv "$dest.new" "$dest"
}

qemu_put_ours_in() { # FLAVOUR TREE
    local what=all
    [[ $1 == plain ]] && what="build-only"
    /usr/bin/python3 "$LIB/qemu-tree.py" "$what" "$TOP" "$2"
}

qemu_configure() { # FLAVOUR TREE BUILD
    local options
    mapfile -t options < <(qemu_configure_options "$1")
    rm -rf "$3"
    mkdir -p "$3"
    cd "$3" || return
    "$2/configure" "${options[@]}"
    touch configured
}

qemu_build_locked() { # FLAVOUR DIR
    local flavour=$1 dir=$2 build=$2/build program programs
    mapfile -t programs < <(qemu_programs "$flavour")
    if [[ ! -d $dir/source ]]; then
        step "qemu-$flavour-unpack" "unpacking QEMU" qemu_unpack "$dir/source"
    fi
    step "qemu-$flavour-sources" "putting our sources into QEMU" \
        qemu_put_ours_in "$flavour" "$dir/source"
    if [[ ! -e $build/configured ]]; then
        step "qemu-$flavour-configure" "configuring QEMU" \
            qemu_configure "$flavour" "$dir/source" "$build"
    fi
    step "qemu-$flavour-build" "building QEMU ($flavour)" \
        nice ninja -C "$build" "${programs[@]}"
    for program in "${programs[@]}"; do
        install_if_changed "$build/$program" \
            "$(qemu_output "$flavour")/${program##*/}"
    done
}

qemu_compiler() { # FLAVOUR
    if [[ $1 == fuzz ]]; then
        clang -dumpversion
    else
        gcc -dumpfullversion
    fi
}

# qemu_build [FLAVOUR]; QEMU_SOURCE_DIR names a tree to use instead of the
# released source.  Our own sources and patches are not part of the key: they
# are brought up to date in the tree, and ninja builds what changed.
qemu_build() {
    local flavour=${1:-vmbus} key
    if [[ -n ${QEMU_SOURCE_DIR:-} ]]; then
        QEMU_SOURCE_KEY=$(qemu_tree_key "$QEMU_SOURCE_DIR")
    else
        qemu_archive
    fi
    key=$(printf '%s\n' "$QEMU_SOURCE_KEY" "$flavour" \
        "$(qemu_configure_options "$flavour")" "$(qemu_compiler "$flavour")" \
        "$(meson --version)" "$(host_suite)" | sha256)
    key=$flavour-${key:0:16}
    mkdir -p "$CACHE/qemu/$key"
    with_lock "qemu-$key" qemu_build_locked "$flavour" "$CACHE/qemu/$key"
}
