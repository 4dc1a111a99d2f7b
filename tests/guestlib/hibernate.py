# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Linux guest does when its host asks it to hibernate: it leaves that to
its user space, by an event of the device."""

# Run for each event of a device, which it has in its environment.  Linux keeps
# none for those who come later: this waits until somebody listens.
LISTEN = '''
printf '#!/bin/sh\n[ "$EVENT" = hibernate ] || exit 0\n%s\n' '{action}' \
    >/tmp/event && chmod +x /tmp/event
uevent /tmp/event >/dev/null 2>&1 &
until awk '$2 == 15 && $4 != "00000000" {{ found = 1 }}
           END {{ exit !found }}' /proc/net/netlink; do
    sleep 0.1
done
'''


def listen(guest, action):
    """Has the guest run @action, words of a shell, when it is asked."""
    guest.run(LISTEN.format(action=action))
