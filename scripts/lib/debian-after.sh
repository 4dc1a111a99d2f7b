# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What an administrator sets on a machine like this.
set -eu
root=$1
echo debian >"$root/etc/hostname"
echo 'LABEL=data /var/lib/postgresql ext4 defaults 0 0' >"$root/etc/fstab"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"

# The log of the database on another disk than its data.
cluster=$(echo "$root"/var/lib/postgresql/*/main)
wal=/var/lib/postgresql-wal
chroot "$root" install -d -o postgres -g postgres -m 700 "$wal"
mv "$cluster/pg_wal" "$root$wal/pg_wal"
chroot "$root" ln -s "$wal/pg_wal" "${cluster#"$root"}/pg_wal"
chroot "$root" chown -h postgres:postgres "${cluster#"$root"}/pg_wal"
# LLVM is not there, and the machine that made the cluster is another one.
cat >"$(echo "$root"/etc/postgresql/*/main/conf.d)/test.conf" <<'END'
jit = off
dynamic_shared_memory_type = posix
END

# The serial port shows what the kernel says, and nobody logs in there.
ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
# Nothing is left to do for a first start.
touch "$root/etc/.updated" "$root/var/.updated"
