#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A PostgreSQL on a disk of its own, for the test of its hook:
#   postgresql.sh up FOLDER      start it on FOLDER/pg, and a client that
#                                commits numbers and notes which ones
#   postgresql.sh check FOLDER   start a copy from FOLDER/pg.img.copy: it has
#                                every number of FOLDER/noted
#   postgresql.sh down FOLDER    stop all of it
# The caller has a mount namespace of its own.
set -eu
folder=$2
programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | tail -n 1)
sockets=/run/postgresql

as_postgres() {
    runuser -u postgres -- "$@" </dev/null >>"$folder/pg.log" 2>&1
}

server() { # ACTION DATA [PORT]
    as_postgres "$programs/pg_ctl" -w -D "$2" -l "$2.log" -m immediate \
        -o "-p ${3:-0} -k $sockets -c listen_addresses=" "$1"
}

ask() { # PORT SQL
    runuser -u postgres -- psql -X -At -h $sockets -p "$1" -d postgres \
        -c "$2" </dev/null
}

case $1 in
up)
    chmod 755 "$folder"
    mount -t tmpfs tmpfs $sockets
    [ ! -d /etc/postgresql ] || mount -t tmpfs tmpfs /etc/postgresql
    mkdir "$folder/pg/data" "$folder/pg-note"
    chown postgres $sockets "$folder/pg" "$folder/pg/data" "$folder/pg-note"
    chmod 700 "$folder/pg/data"
    touch "$folder/pg.log"
    as_postgres "$programs/initdb" -N -D "$folder/pg/data"
    server start "$folder/pg/data" 5432
    ask 5432 'CREATE TABLE numbers (n int)' >/dev/null
    (
        n=0
        while [ -d "$folder/pg-note" ]; do
            n=$((n + 1))
            ask 5432 "INSERT INTO numbers VALUES ($n)" >/dev/null
            echo $n >>"$folder/noted"
        done
    ) </dev/null >>"$folder/pg.log" 2>&1 &
    while [ ! -s "$folder/noted" ]; do sleep 0.1; done
    ;;
check)
    noted=$(tail -n 1 "$folder/noted.copy")
    mkdir "$folder/pg-copy"
    mount -o loop "$folder/pg.img.copy" "$folder/pg-copy"
    chown postgres "$folder/pg-copy"
    rm -f "$folder/pg-copy/data/postmaster.pid"
    server start "$folder/pg-copy/data" 5433
    found=$(ask 5433 'SELECT count(DISTINCT n) FROM numbers')
    # One more may have been committed that the client had not noted yet.
    [ "$noted" -gt 0 ] && [ "$found" -ge "$noted" ] &&
        [ "$found" -le $((noted + 1)) ]
    ;;
down)
    rm -rf "$folder/pg-note"
    server stop "$folder/pg-copy/data" || true
    server stop "$folder/pg/data" || true
    umount "$folder/pg-copy" || true
    umount "$folder/pg"
    ;;
esac
