# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests: Debian's kernels and an initial file system of busybox, in
# build/guest/VERSION/{vmlinuz,initramfs}.

GUEST_VERSIONS=(6.1 6.12)

# What a guest on VMBus loads; msr lets tests act on the SynIC.
GUEST_MODULES=(--module hv_vmbus --module hv_utils --spare-module msr)

kernel_suite() { # VERSION
    case $1 in
    6.1) echo bookworm ;;
    6.12) echo trixie ;;
    *) die -"$EXIT_USAGE" "there is no kernel $1; there are 6.1 and 6.12" ;;
    esac
}

# package_files SUITE PACKAGE: obtain a package, without installing it, and
# set PACKAGE_DIR to where it is unpacked.
package_files() {
    local suite=$1 package=$2 current=$CACHE/packages/$1-$2
    if [[ ! -e $current || ! -d $CACHE/packages/$(<"$current") ]]; then
        suite_setup "$suite"
        with_lock "package-$package" step "package-$suite-$package" \
            "downloading $package of $suite" unpack_package "$suite" "$package"
    fi
    # shellcheck disable=SC2034  # read by the callers
    PACKAGE_DIR=$CACHE/packages/$(<"$current")
}

# The kernel is a dependency of linux-image-amd64, under a name of its own.
real_package() { # SUITE PACKAGE
    if [[ $2 == linux-image-amd64 ]]; then
        apt_options "$1"
        apt-cache "${APT_OPTIONS[@]}" show "$2" |
            sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1
    else
        echo "$2"
    fi
}

unpack_package() { # SUITE PACKAGE
    local suite=$1 package=$2 dir=$CACHE/packages name deb new
    new=$dir/new-$suite-$package
    rm -rf "$new"
    mkdir -p "$new/root"
    cd "$new" || return
    name=$(real_package "$suite" "$package")
    [[ -n $name ]]
    download_packages "$suite" "$name"
    deb=$(ls ./*.deb)
    dpkg-deb --fsys-tarfile "$deb" | tar -C root --no-same-owner -xf - \
        --exclude='./usr/share/doc*' --exclude='*/drivers/gpu/*' \
        --exclude='*/sound/*' --exclude='*/drivers/media/*' \
        --exclude='*/drivers/net/wireless/*'
    name=$(basename "$deb" .deb)
    rm -rf "${dir:?}/$name"
    mv root "$dir/$name"
    echo "$name" >current
    mv current "$dir/$suite-$package"
    cd "$dir" || return
    rm -rf "$new"
}

# guest_kernel VERSION: sets KERNEL_IMAGE and KERNEL_MODULES.
guest_kernel() {
    local suite
    suite=$(kernel_suite "$1")
    package_files "$suite" linux-image-amd64
    KERNEL_IMAGE=$(echo "$PACKAGE_DIR"/boot/vmlinuz-*)
    KERNEL_MODULES=$(echo "$PACKAGE_DIR"/{usr/,}lib/modules/"$1"*/kernel |
        tr ' ' '\n' | grep -v '\*' | head -n 1)
    [[ -f $KERNEL_IMAGE && -d $KERNEL_MODULES ]] ||
        die "the kernel package of $suite has no kernel $1"
}

# A static busybox runs under every kernel, so one serves all.
guest_busybox() {
    package_files "$(host_suite)" busybox-static
    BUSYBOX=$PACKAGE_DIR/bin/busybox
    [[ -x $BUSYBOX ]] || BUSYBOX=$PACKAGE_DIR/usr/bin/busybox
}

guest_scripts() {
    printf '%s\n' --busybox "$BUSYBOX" --file "/init=$TOP/scripts/guest/init" \
        --tree "/sbin=$TOP/scripts/guest/sbin"
}

guest_initramfs() { # VERSION OUTPUT ARGUMENT...
    local version=$1 output=$2 arguments
    shift 2
    [[ -n ${BUSYBOX:-} ]] || guest_busybox
    mapfile -t arguments < <(guest_scripts)
    /usr/bin/python3 "$LIB/initramfs.py" --output "$output" \
        --modules-from "$KERNEL_MODULES" "${arguments[@]}" "$@"
}

# guest_image VERSION NAME WHAT ARGUMENT...: a guest's modules and more, in
# build/guest/VERSION/NAME.
guest_image() {
    local version=$1 name=$2 what=$3
    shift 3
    guest_kernel "$version"
    step "guest-$version-$name" "$what for Linux $version" \
        guest_initramfs "$version" "$OUT/guest/$version/$name" \
        "${GUEST_MODULES[@]}" "$@"
}

# guests_prepare VERSION...
guests_prepare() {
    local version
    guest_busybox
    for version in "$@"; do
        guest_kernel "$version"
        mkdir -p "$OUT/guest/$version"
        ln -sfn "$KERNEL_IMAGE" "$OUT/guest/$version/vmlinuz"
        guest_image "$version" initramfs "initial file system"
    done
}

# What several images have is made for the first of them.
declare -A GUEST_PARTS
first_use() { # PART
    [[ -z ${GUEST_PARTS[$1]:-} ]] && GUEST_PARTS[$1]=made
}

# guest_program NAME WHAT SOURCE...: a program of ours for guests, in
# build/guest/bin: static, because an initial file system has no C library.
guest_program() {
    local name=$1 what=$2
    shift 2
    first_use "$name" || return 0
    mkdir -p "$OUT/guest/bin"
    step "$name" "$what" gcc -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Werror \
        -static -s -o "$OUT/guest/bin/$name" "$@"
}

# tool_packages PACKAGE...: obtain programs and the libraries they need, without
# installing them, and set TOOLS_DIR to the root where they are unpacked.
tool_packages() {
    local suite
    suite=$(host_suite)
    TOOLS_DIR=$CACHE/packages/$suite-tools-$(printf '%s\n' "$@" | sha256)
    if [[ ! -d $TOOLS_DIR ]]; then
        suite_setup "$suite"
        with_lock package-tools step package-tools "downloading $*" \
            unpack_tools "$suite" "$TOOLS_DIR" "$@"
    fi
}

# What apt would install on a machine that has nothing.  The C library is the
# machine's own: it has to fit its loader.
library_packages() { # SUITE PACKAGE...
    apt_options "$1"
    shift
    apt-get "${APT_OPTIONS[@]}" --simulate --no-install-recommends \
        install "$@" | sed -n 's/^Inst \(lib[^ ]*\|zlib1g\) .*/\1/p' |
        grep -vE '^lib(c6|gcc-s1|perl.*|python.*)$'
}

unpack_tools() { # SUITE DIR PACKAGE...
    local suite=$1 dir=$2 new=$2.new deb packages
    shift 2
    [[ ! -d $dir ]] || return 0 # another process was faster
    rm -rf "$new"
    mkdir -p "$new/root"
    cd "$new" || return
    packages=$(library_packages "$suite" "$@")
    mapfile -t packages <<<"$packages"
    download_packages "$suite" "$@" "${packages[@]}"
    for deb in ./*.deb; do
        dpkg-deb --fsys-tarfile "$deb" |
            tar -C root --no-same-owner -xf - --exclude='./usr/share'
    done
    mv root "$dir"
    cd "$CACHE" || return
    rm -rf "$new"
}

STORAGE_MODULES=(--module sd_mod --module sr_mod --module ext4
    --module crc32c_generic --module hv_storvsc)
# Another file system, and the drivers of other adapters.
FIO_MODULES=(--module xfs --module virtio_pci --module virtio_blk
    --module virtio_scsi --module ahci)

# STORAGE_TOOLS: arguments for fio, what makes and checks file systems, and
# reservations; or for some of these programs alone.  Debian's fio can do much
# that needs large libraries, and none of it is used.
storage_tools() { # [PROGRAM...]
    local program stubs=$OUT/guest/stubs
    (($# > 0)) || set -- fio mke2fs e2fsck mkfs.xfs xfs_repair sfdisk eject \
        sg_persist sg_reset
    tool_packages fio e2fsprogs xfsprogs fdisk eject sg3-utils
    if first_use stubs; then
        step fio-stubs "stubs of libraries that fio does not use" \
            /usr/bin/python3 "$LIB/stubs.py" --output "$stubs" \
            --libraries-from "$TOOLS_DIR" --keep libc --keep libm \
            --keep libaio --keep libz --keep libnuma \
            "$TOOLS_DIR/usr/bin/fio"
    fi
    STORAGE_TOOLS=(--libraries-from "$TOOLS_DIR" --stubs "$stubs")
    for program in "$@"; do
        STORAGE_TOOLS+=(--program "/sbin/$program=$(find_tool "$program")")
    done
}

find_tool() { # PROGRAM
    local dir
    for dir in usr/bin usr/sbin bin sbin; do
        if [[ -x $TOOLS_DIR/$dir/$1 ]]; then
            echo "$TOOLS_DIR/$dir/$1"
            return
        fi
    done
    die "the packages of $(host_suite) have no $1"
}

# With the storage driver, disks and CDs, and the file systems of tests, in
# build/guest/VERSION/initramfs-storage; and in initramfs-fio with fio, what
# makes and checks file systems, and the drivers of other adapters.
storage_prepare() { # VERSION...
    local version
    storage_tools
    for version in "$@"; do
        guest_image "$version" initramfs-storage "disks" \
            "${STORAGE_MODULES[@]}"
        guest_image "$version" initramfs-fio "disks and fio" \
            "${STORAGE_MODULES[@]}" "${FIO_MODULES[@]}" "${STORAGE_TOOLS[@]}"
    done
}

# For a guest that catches its own crash, in
# build/guest/VERSION/initramfs-crash: the initial file system once more, with
# a crash kernel and what loads it.
crash_prepare() { # VERSION...
    local version
    guest_program crash-load "program that loads a crash kernel" \
        "$TOP/scripts/guest/crash-load.c"
    for version in "$@"; do
        guest_kernel "$version"
        guest_image "$version" initramfs-crash "crash kernel" \
            --file "/sbin/crash-load=$OUT/guest/bin/crash-load" \
            --file "/crash/vmlinuz=$KERNEL_IMAGE" \
            --file "/crash/initramfs=$OUT/guest/$version/initramfs"
    done
}

# What writes while a backup is made, Debian's daemons and our own: sets
# BACKUP_TOOLS.
backup_tools() {
    guest_program hv-vss-agent "backup agent for guests" \
        "$TOP"/guest-agent-vss/*.c
    guest_program write-sequence "program that writes while a backup is made" \
        "$TOP/scripts/guest/write-sequence.c"
    package_files "$(host_suite)" hyperv-daemons
    BACKUP_TOOLS=(--module virtio_pci --module virtio_blk --module ext4
        --module crc32c_generic --spare-module dummy
        --program "/sbin/hv_vss_daemon=$PACKAGE_DIR/usr/sbin/hv_vss_daemon"
        --program "/sbin/hv_kvp_daemon=$PACKAGE_DIR/usr/sbin/hv_kvp_daemon"
        --tree "/usr/libexec/hypervkvpd=$TOP/scripts/guest/hypervkvpd"
        --file "/bin/write-sequence=$OUT/guest/bin/write-sequence"
        --file "/sbin/hv-vss-agent=$OUT/guest/bin/hv-vss-agent")
}

# For backups, in build/guest/VERSION/initramfs-backup: a file system on a
# disk, and the above.
backup_prepare() { # VERSION...
    local version
    backup_tools
    for version in "$@"; do
        guest_image "$version" initramfs-backup "disk and backup" \
            "${BACKUP_TOOLS[@]}"
    done
}

# For domains of libvirt, in build/guest/VERSION/initramfs-domain: what tests
# of disks have and what tests of backups have.
domains_prepare() { # VERSION...
    local version
    storage_tools
    backup_tools
    for version in "$@"; do
        guest_image "$version" initramfs-domain "disks, fio and backup" \
            "${STORAGE_MODULES[@]}" "${FIO_MODULES[@]}" \
            "${STORAGE_TOOLS[@]}" "${BACKUP_TOOLS[@]}"
    done
}

# With Debian's daemons for Hyper-V guests, in
# build/guest/VERSION/initramfs-daemons; and with disks and fio, too, in
# initramfs-nested.  The daemons of bookworm run everywhere, and no later
# package has one for file copy.
daemons_prepare() { # VERSION...
    local version program arguments=()
    package_files bookworm hyperv-daemons
    for program in hv_kvp_daemon hv_fcopy_daemon hv_vss_daemon; do
        arguments+=(--program
            "/sbin/$program=$PACKAGE_DIR/usr/sbin/$program")
    done
    arguments+=(--spare-module dummy
        --tree "/usr/libexec/hypervkvpd=$TOP/scripts/guest/hypervkvpd")
    storage_tools fio sg_persist
    for version in "$@"; do
        guest_image "$version" initramfs-daemons "Hyper-V daemons" \
            "${arguments[@]}"
        guest_image "$version" initramfs-nested "daemons and disks" \
            "${arguments[@]}" "${STORAGE_MODULES[@]}" "${FIO_MODULES[@]}" \
            "${STORAGE_TOOLS[@]}"
    done
}

# A machine with KVM in it, for the tests on real KVM: QEMU emulates it, and
# inside it runs QEMU once more.  Its disks with reservations are those of
# Linux's SCSI target.
NESTED_KERNELS=(6.12)

nested_prepare() {
    local version dir program firmware file arguments=()
    daemons_prepare "${GUEST_VERSIONS[@]}"
    # libvirt's libraries are large, and no libvirt is there.
    for program in qemu-system-x86_64 qemu-pr-helper hvctl-without-libvirt; do
        if [[ ! -x $OUT/bin/$program ]]; then
            die "build/bin/$program is missing"
        fi
        mkdir -p "$OUT/guest/bin"
        strip -o "$OUT/guest/bin/$program" "$OUT/bin/$program"
        arguments+=(--program
            "/bin/${program%-without-libvirt}=$OUT/guest/bin/$program")
    done
    for firmware in seabios/bios-256k.bin qemu/kvmvapic.bin \
        qemu/linuxboot_dma.bin; do
        file=/usr/share/$firmware
        [[ -f $file ]] || die "$file is missing; install seabios and" \
            "qemu-system-data"
        arguments+=(--file "$file=$file")
    done
    for version in "${GUEST_VERSIONS[@]}"; do
        dir=$OUT/guest/$version
        arguments+=(--file "/guest/$version/vmlinuz=$dir/vmlinuz"
            --file "/guest/$version/initramfs=$dir/initramfs"
            --file "/guest/$version/initramfs-nested=$dir/initramfs-nested")
    done
    for version in "${NESTED_KERNELS[@]}"; do
        guest_kernel "$version"
        dir=$OUT/guest/$version
        step "nested-$version" "machine with KVM, Linux $version" \
            guest_initramfs "$version" "$dir/initramfs-kvm" \
            --module kvm-amd --module sd_mod --module tcm_loop \
            "${arguments[@]}" "${STORAGE_TOOLS[@]}"
    done
}
