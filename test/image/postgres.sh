#!/bin/sh
# The entry point of the stand-in for the image `postgres`: what deploy/compose.yaml uses of the real one.
set -eu
: "${POSTGRES_PASSWORD:?}" "${POSTGRES_USER:?}" "${POSTGRES_DB:?}"
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
if [ ! -e "$data/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  "$bin/initdb" -D "$data" -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
  # As the real one: a server on the socket alone, which ends before the one that stays.
  "$bin/pg_ctl" -D "$data" -o "-c listen_addresses=''" --wait start
  PGPASSWORD=$POSTGRES_PASSWORD "$bin/createdb" -h /var/run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
  "$bin/pg_ctl" -D "$data" --wait stop
fi
exec "$bin/postgres" -D "$data" -c listen_addresses='*'
