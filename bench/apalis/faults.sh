#!/usr/bin/env bash
# Faults of apalis' own Postgres store, so that anyone can see them again: why Safelight has a backend of its own (decision 0001).
# DATABASE_URL: an empty database. APALIS: the path of bench-apalis, which `./dev bench build` makes.
# Usage: bash bench/apalis/faults.sh [test ...]; results on stdout. Kills only processes it started, by pid.
set -uo pipefail
A="${APALIS:?path of bench-apalis}"; W=$(mktemp -d)
q() { psql -qAtX "$DATABASE_URL" -c "$1"; }
states() { q "select string_agg(status||'='||c, ' ' order by status) from (select status||case when lock_by is null then '' else '@'||lock_by end as status, count(*) c from apalis.jobs group by 1) x"; }
ms() { date +%s%3N; }

kill9_other() { # worker a dies with 10 jobs claimed; worker b (another name) runs on. hb 1 s, missed 5
  $A clean; $A bulk n=10 b=10 >/dev/null
  $A work name=a batch=10 conc=5 mode=both sleep_ms=60000 hb_ms=1000 missed=5 secs=60 >$W/a.log 2>&1 & local p=$!
  sleep 2; kill -9 $p; local t=$(ms); echo "at kill: $(states)"
  $A work name=b batch=10 conc=10 mode=both sleep_ms=10 hb_ms=1000 missed=5 secs=15 >$W/b.log 2>&1
  awk -v t=$t '/ start /{n++; if(!f)f=$1-t; l=$1-t} END{print "restarted by b:", n+0, "first after ms", f, "last after ms", l}' $W/b.log
  echo "end: $(states) attempts: $(q 'select min(attempts)||chr(45)||max(attempts) from apalis.jobs')"
}
kill9_same() { # same, but the restarted worker has the same name (a StatefulSet, a fixed name in the code)
  $A clean; $A bulk n=10 b=10 >/dev/null
  $A work name=a batch=10 conc=5 mode=both sleep_ms=60000 hb_ms=1000 missed=5 secs=60 >$W/a.log 2>&1 & local p=$!
  sleep 2; kill -9 $p; local t=$(ms); echo "at kill: $(states)"
  $A work name=a batch=10 conc=10 mode=both sleep_ms=10 hb_ms=1000 missed=5 secs=30 >$W/b.log 2>&1
  awk -v t=$t '/ start /{n++} END{print "restarted by the new a within 30 s:", n+0}' $W/b.log; grep ended $W/b.log
  echo "end: $(states)"
}
starve() { # buffered tasks: 30 jobs of 1 s, batch 30, conc 1, hb 1 s, missed 5: does the live worker keep its heartbeat?
  $A clean; $A bulk n=30 b=30 >/dev/null
  $A work name=a batch=30 conc=1 mode=both sleep_ms=1000 hb_ms=1000 missed=5 secs=25 >$W/a.log 2>&1 & local p=$!
  sleep 1; $A work name=b batch=30 conc=1 mode=both sleep_ms=1000 hb_ms=1000 missed=5 secs=25 >$W/b.log 2>&1 & local p2=$!
  sleep 5; echo "after 6 s: a finished $(grep -c ' end ' $W/a.log) jobs; rows: $(states); a last seen $(q "select round(extract(epoch from now()-last_seen)::numeric,1) from apalis.workers where id like 'a-%'") s ago"
  wait $p $p2
  cat $W/a.log $W/b.log | awk '/ start /{c[$3]++} END{for(i in c){n++; if(c[i]>1)d++}; print "jobs started:", n, "started twice or more by live workers:", d+0}'
  echo "end: $(states)"
}
retry() { # one job that always fails, max_attempts 25 (the default)
  $A clean; $A bulk n=1 b=1 >/dev/null
  $A work name=a batch=10 conc=5 mode=both interval_ms=100 fail=1 hb_ms=1000 missed=5 secs=6 >$W/a.log 2>&1
  awk '/ start /{n++; if(!f)f=$1; l=$1} END{print "attempts:", n, "all within ms:", l-f}' $W/a.log; echo "end: $(states) attempts $(q 'select attempts from apalis.jobs')"
}
stop_inflight() { # graceful ctx.stop() in the middle of a drain: what stays claimed?
  local tot=0 n=0
  for i in 1 2 3 4 5 6 7 8; do $A clean; $A bulk n=20000 b=5000 >/dev/null
    $A work name=s$i batch=100 conc=100 mode=both verbose=0 secs=10 stop_after_ms=$((300+37*i)) >$W/s.log 2>&1
    echo "run $i: $(states) | $(grep -E 'ended' $W/s.log | cut -c1-160)"; done
}
pg_restart() { # needs PGRESTART, a command that restarts the server
  $A clean; $A work name=a batch=10 conc=5 mode=both hb_ms=1000 missed=5 secs=20 >$W/a.log 2>&1 & local p=$!
  sleep 2; eval "$PGRESTART" >/dev/null 2>&1; sleep 1; $A bulk n=20 b=10 >/dev/null; sleep 8; kill $p 2>/dev/null; wait $p 2>/dev/null
  grep -E "ended" $W/a.log | cut -c1-300; echo "end: $(states)"
}
nopoll() { # PostgresStorage::new without any strategy (the README's first example): idle latency
  $A clean; timeout 100 $A idle n=3 gap_ms=3000 mode=none hb_ms=10000 limit=40
}
sched() {
  for m in notify both; do $A clean; timeout 60 $A sched n=40 after_ms=2500 mode=$m interval_ms=100 limit=20; done
}
for t in "${@:-kill9_other kill9_same starve retry stop_inflight nopoll sched}"; do for u in $t; do echo "== $u"; $u; done; done
rm -rf "$W"
