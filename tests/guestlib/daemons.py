# SPDX-License-Identifier: GPL-2.0-or-later
"""Words for a guest's shell that start Debian's daemons for VMBus."""


def wait(condition, seconds=60):
    """Until a command succeeds; exit code 1 if it never does."""
    return (f'n=0; until {condition}; do n=$((n + 1)); '
            f'[ $n -lt {seconds * 10} ] || exit 1; sleep 0.1; done\n')


# Each ends when the daemon has registered with the kernel, but that for keys
# and values: query-vmbus tells when that one serves.
VSS = 'hv_vss_daemon --no-daemon >/tmp/vss.log 2>&1 &\n' + \
    wait('dmesg | grep -q "VSS: userspace daemon"')
KVP = 'hv_kvp_daemon -n >/tmp/kvp.log 2>&1 & echo $! >/tmp/kvp.pid\n'
FCOPY = ('hv_fcopy_daemon -n >/tmp/fcopy.log 2>&1 &\n'
         'echo $! >/tmp/fcopy.pid\n' +
         wait('grep -q hvt_op_read /proc/$(cat /tmp/fcopy.pid)/stack'))
