# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The command line of a machine with VMBus, in one place.  The tests call it
# as a program: machine.sh cpu ACCEL | devices

HV_FLAGS=hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,hv-synic,hv-stimer
HV_FLAGS+=,hv-frequencies,hv-reset,hv-crash

machine_cpu() { # tcg|kvm
    # A Linux guest that sees both takes KVM's own interface.
    if [[ $1 == kvm ]]; then
        echo "host,kvm=off,$HV_FLAGS"
    else
        echo "max,$HV_FLAGS"
    fi
}

machine_devices() {
    local device
    # Without hv-fcopy, which domains of libvirt have unless they turn it off:
    # Linux has no driver for it any more, and the tests of it add it.
    for device in vmbus-bridge hv-heartbeat hv-shutdown hv-timesync hv-vss \
        hv-kvp; do
        printf -- '-device %s ' "$device"
    done
    echo
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    case ${1:-} in
    cpu) machine_cpu "${2:-tcg}" ;;
    devices) machine_devices ;;
    *)
        echo "usage: machine.sh cpu ACCEL | devices" >&2
        exit 2
        ;;
    esac
fi
