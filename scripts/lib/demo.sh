# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What scripts/demo runs: a guest, the domain around it, and a libvirt daemon
# of a session of its own, all below one folder.  It touches no libvirt of the
# system.

# build/guest/VERSION/initramfs-demo: a disk and a network adapter, and
# Debian's daemons for Hyper-V guests.
demo_guest() { # VERSION
    local program arguments=("${STORAGE_MODULES[@]}"
        --module virtio_pci --module virtio_net
        --tree "/usr/libexec/hypervkvpd=$TOP/scripts/guest/hypervkvpd"
        --file "/sbin/demo-services=$TOP/scripts/guest/demo/services"
        --file "/sbin/demo-dhcp=$TOP/scripts/guest/demo/dhcp")
    package_files "$(host_suite)" hyperv-daemons
    for program in hv_vss_daemon hv_kvp_daemon; do
        arguments+=(--program
            "/sbin/$program=$PACKAGE_DIR/usr/sbin/$program")
    done
    guest_image "$1" initramfs-demo "guest of the demo" "${arguments[@]}"
}

demo_domain() { # KERNEL ACCEL CPUS FOLDER
    local type=qemu cpu=maximum hidden=
    if [[ $2 == kvm ]]; then
        type=kvm cpu=host-passthrough
        # A Linux guest that sees both takes KVM's own interface.
        hidden="<kvm><hidden state='on'/></kvm>"
    fi
    cat <<END
<domain type='$type'>
  <name>demo</name>
  <memory unit='MiB'>512</memory>
  <vcpu>$3</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$OUT/guest/$1/vmlinuz</kernel>
    <initrd>$OUT/guest/$1/initramfs-demo</initrd>
    <cmdline>console=ttyS0 panic=-1 guest.run=demo-services</cmdline>
  </os>
  <features><acpi/>$hidden</features>
  <cpu mode='$cpu'/>
  <devices>
    <emulator>$OUT/bin/qemu-system-x86_64</emulator>
    <vmbus/>
    <controller type='scsi' model='vmbus'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='$4/disk.raw'/>
      <target dev='sda' bus='scsi'/>
    </disk>
    <interface type='user'>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='file'><source path='$4/serial.log'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
END
}

# May a user to whom COMMAND... changes run this?
demo_user_works() { # ACCEL COMMAND...
    local accel=$1 path
    shift
    for path in "$OUT/bin/qemu-system-x86_64" "$OUT/bin/hvctl" \
        "$OUT/libvirt/src/virtqemud" "$OUT/guest/"*/vmlinuz; do
        "$@" test -r "$path" 2>/dev/null || return
    done
    [[ $accel != kvm ]] ||
        "$@" test -r /dev/kvm -a -w /dev/kvm 2>/dev/null
}

# Sets DEMO_USER to what comes before a command that is not to run as root,
# who has no session daemon: the user "nobody", or one of a namespace, for
# whom root's files are its own.
demo_find_user() { # ACCEL
    DEMO_USER=()
    ((EUID == 0)) || return 0
    DEMO_USER=(setpriv --reuid=65534 --regid=65534
        "--groups=65534$(stat -c ,%g /dev/kvm 2>/dev/null || true)")
    demo_user_works "$1" "${DEMO_USER[@]}" && return
    DEMO_USER=(unshare --user --map-user=1000 --map-group=1000)
    demo_user_works "$1" "${DEMO_USER[@]}" && return
    die "libvirt's daemon of a session cannot run as root, and here neither" \
        "the user \"nobody\" can read the build, nor is there a user" \
        "namespace; run scripts/demo as an ordinary user"
}

# Sets DEMO_DIR, whose path is short because sockets are below it.
demo_folder() {
    local where=${TMPDIR:-/tmp} name
    ((${#where} < 30)) || where=/tmp
    DEMO_DIR=$(mktemp -d "$where/kvm-vmbus-demo.XXXXXX")
    for name in home run cfg/libvirt cache data; do
        mkdir -p "$DEMO_DIR/$name"
    done
    chmod 700 "$DEMO_DIR/run"
    printf '%s\n' 'security_driver = "none"' 'stdio_handler = "file"' \
        >"$DEMO_DIR/cfg/libvirt/qemu.conf"
    DEMO_ENV=(env HOME="$DEMO_DIR/home" XDG_RUNTIME_DIR="$DEMO_DIR/run"
        XDG_CONFIG_HOME="$DEMO_DIR/cfg" XDG_CACHE_HOME="$DEMO_DIR/cache"
        XDG_DATA_HOME="$DEMO_DIR/data" LIBVIRT_AUTOSTART=0)
}

# As the user of the demo.
demo_run() { (cd "$DEMO_DIR" && exec "${DEMO_ENV[@]}" "${DEMO_USER[@]}" "$@"); }
demo_virsh() {
    demo_run "$OUT/bin/virsh" -c qemu:///session "$@" </dev/null
}
demo_hvctl() {
    demo_run "$OUT/bin/hvctl" -c qemu:///session "$@" </dev/null
}

demo_disk() {
    truncate -s 16M "$DEMO_DIR/disk.raw"
    mke2fs -q -t ext4 -F "$DEMO_DIR/disk.raw"
}

# Sets DEMO_DAEMON, whose signals are ours: it is to outlive an interrupt at
# the terminal until it is told to end.
demo_start_daemon() {
    if [[ ${DEMO_USER[0]:-} == setpriv ]]; then
        chown -R 65534:65534 "$DEMO_DIR"
    fi
    (cd "$DEMO_DIR" && exec setsid "${DEMO_ENV[@]}" "${DEMO_USER[@]}" \
        "$OUT/bin/virtqemud" --pid-file "$DEMO_DIR/virtqemud.pid") \
        >"$LOGS/demo-virtqemud.log" 2>&1 </dev/null &
    DEMO_DAEMON=$!
}

# The process of the domain, or nothing.
demo_qemu() {
    local pid
    pid=$(cat "$DEMO_DIR"/run/libvirt/qemu/run/demo.pid 2>/dev/null) || return 0
    if grep -qs "$DEMO_DIR" "/proc/$pid/cmdline"; then
        echo "$pid"
    fi
}

demo_end_process() { # PID
    local try
    for try in TERM TERM TERM KILL; do
        kill "-$try" "$1" 2>/dev/null || return 0
        for _ in {1..10}; do
            kill -0 "$1" 2>/dev/null || return 0
            sleep 0.1
        done
    done
}

# Whatever there is of it, in whatever state.
demo_clean_up() {
    local qemu
    [[ -n ${DEMO_DIR:-} ]] || return 0
    qemu=$(demo_qemu)
    [[ -z $qemu ]] || demo_end_process "$qemu"
    if [[ -n ${DEMO_DAEMON:-} ]]; then
        kill "$DEMO_DAEMON" 2>/dev/null || true
        wait "$DEMO_DAEMON" 2>/dev/null || true
    fi
    # The daemon may have been starting it.
    qemu=$(demo_qemu)
    [[ -z $qemu ]] || demo_end_process "$qemu"
    cp "$DEMO_DIR/serial.log" "$LOGS/demo-serial.log" 2>/dev/null || true
    cp "$DEMO_DIR/cache/libvirt/qemu/log/demo.log" "$LOGS/demo-qemu.log" \
        2>/dev/null || true
    rm -rf "$DEMO_DIR"
    DEMO_DIR=
}
