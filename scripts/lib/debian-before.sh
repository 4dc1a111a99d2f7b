# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Before PostgreSQL is installed, which makes a cluster: every page of it has a
# checksum, so that none can be torn unnoticed.
mkdir -p "$1/etc/postgresql-common/createcluster.d"
echo "initdb_options = '--data-checksums'" \
    >"$1/etc/postgresql-common/createcluster.d/test.conf"
