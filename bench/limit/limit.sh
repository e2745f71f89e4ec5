#!/usr/bin/env bash
# What this Postgres can do at most, by pgbench: the same work as plain SQL, with no queue around it. One JSON line a point.
# DATABASE_URL: an empty database. SECONDS_A_POINT: how long each is measured (4).
set -euo pipefail
seconds=${SECONDS_A_POINT:-4}
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT

sql() { psql -qAtX "$DATABASE_URL" -v ON_ERROR_STOP=1 "$@"; }
fresh() {
    sql -c "set client_min_messages = error" -c "drop schema if exists lim cascade" -c "create schema lim" \
        -c "create table lim.jobs (id bigint generated always as identity primary key, queue text not null, payload jsonb not null,
            state smallint not null default 0, priority int not null default 0, run_at timestamptz not null default now(), lock_by text)" \
        -c "create index on lim.jobs (queue, priority, run_at, id) where state = 0"
}
ready() {
    fresh
    sql -c "insert into lim.jobs (queue, payload) select 'q', '{\"i\":1,\"t\":0}' from generate_series(1, $1)" -c "vacuum analyze lim.jobs" -c checkpoint
}
point() { # name, script, clients, rows a transaction
    local tps
    tps=$(pgbench -n -M prepared -c "$3" -j 2 -T "$seconds" -f "$scripts/$2.sql" "$DATABASE_URL" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')
    awk -v t="$tps" -v k="$4" -v n="$1" -v c="$3" 'BEGIN{printf "{\"test\":\"%s\",\"clients\":%s,\"per_s\":%.0f}\n",n,c,t*k}'
}

cat >"$scripts/insert1.sql" <<'S'
insert into lim.jobs (queue, payload) values ('q', '{"i":123456,"t":1700000000000000}');
S
cat >"$scripts/insert1_notify.sql" <<'S'
with i as (insert into lim.jobs (queue, payload) values ('q', '{"i":123456,"t":1700000000000000}') returning id) select pg_notify('lim', id::text) from i;
S
cat >"$scripts/insert1000.sql" <<'S'
insert into lim.jobs (queue, payload) select 'q', '{"i":123456,"t":1700000000000000}' from generate_series(1, 1000);
S
cat >"$scripts/fetch_delete.sql" <<'S'
with c as (select id from lim.jobs where state = 0 and queue = 'q' and run_at <= now() order by priority, run_at, id for update skip locked limit 1000), u as (update lim.jobs j set state = 1, lock_by = 'w' from c where j.id = c.id returning j.id, j.payload) select array_agg(id) as ids, count(payload) as n from u \gset
delete from lim.jobs where id = any(:ids::bigint[]);
S
sed 's/^delete.*/update lim.jobs set state = 2 where id = any(:ids::bigint[]);/' "$scripts/fetch_delete.sql" >"$scripts/fetch_update.sql"

for clients in 16 32; do fresh; point insert1 insert1 $clients 1; done
fresh; point insert1+notify insert1_notify 16 1
fresh; point insert1000 insert1000 1 1000
ready 1000000; point fetch1000+update1000 fetch_update 1 1000
ready 1500000; point fetch1000+delete1000 fetch_delete 2 1000
sql -c "set client_min_messages = error" -c "drop schema lim cascade"
