#!/usr/bin/env bash
# Measures Safelight beside its peers, interleaved, on one Postgres. `./dev bench` builds Safelight, starts the Postgres and calls
# this; README.md says how to read it.
#
# Never: touches a database that it did not make, or writes into the documents after a run that was not a whole one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
# shellcheck source=systems.sh
. "$here/systems.sh"

usage() {
    cat <<'TEXT'
bench/run.sh [build] [--quick] [--reps N] [--systems "a b"] [--tests "bulk drain single idle load busy"] [--no-scale] [--no-docs]

build       only build and install the peers
--quick     one short repetition, for a look; changes no document
--reps      repetitions, interleaved: every system once in each (3)
--systems   which ones; all of them by default, the ones whose tools are missing are left out and named
--no-scale  without the long part: ten million archived jobs, two workers, two databases
--no-docs   print the tables only
DATABASE_URL: a server on which databases named bench_* are made and dropped. QUIET, WAIT: see README.md.
TEXT
}

only_build=0 quick=0 reps=3 systems=$all_systems tests="bulk drain single idle load busy" scale=1 docs=1
while [ $# -gt 0 ]; do
    case $1 in
        build) only_build=1 ;;
        --quick) quick=1; reps=1; docs=0; scale=0 ;;
        --reps) reps=$2; shift ;;
        --systems) systems=$2; shift ;;
        --tests) tests=$2; shift ;;
        --no-scale) scale=0 ;;
        --no-docs) docs=0 ;;
        -h | --help) usage; exit ;;
        *) usage >&2; die "bench/run.sh does not know '$1'." ;;
    esac
    shift
done

there=''
for system in $systems; do
    if build_system "$system"; then there="$there $system"; else say "$system is left out: its tools are not on this machine."; fi
done
[ $only_build = 0 ] || exit 0
[ -n "$there" ] || die "Nothing to measure."
: "${DATABASE_URL:?set it, or use ./dev bench, which starts a private Postgres}"
command -v psql >/dev/null || die "psql is needed (Debian: apt-get install postgresql-client)."

mkdir -p "$cache"
results=$cache/results.jsonl
: >"$results"
server=${DATABASE_URL%/*}
spinners=''
calm() { for pid in $spinners; do kill "$pid" 2>/dev/null || true; done; spinners=''; }
trap calm EXIT

sql() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }

# Share of all processor time that somebody used during one second.
busy_share() {
    local before after
    before=$(awk '/^cpu /{print $2+$3+$4+$7+$8, $5+$6}' /proc/stat); sleep 1
    after=$(awk '/^cpu /{print $2+$3+$4+$7+$8, $5+$6}' /proc/stat)
    awk -v a="$before" -v b="$after" 'BEGIN{split(a,x," ");split(b,y," ");u=y[1]-x[1];i=y[2]-x[2];printf "%.2f",u/(u+i+1e-9)}'
}

# Until others use less than QUIET of the machine, or WAIT seconds are over; what it was is part of the result.
busy=0
wait_until_quiet() {
    local waited=0
    while busy=$(busy_share); awk -v b="$busy" -v q="${QUIET:-0.15}" 'BEGIN{exit !(b>q)}' && [ $waited -lt "${WAIT:-60}" ]; do
        sleep 1; waited=$((waited + 2))
    done
}

# JSON lines of an adapter become lines of the results, with what the line cannot know.
keep() { # system, test
    local line
    while IFS= read -r line; do
        case $line in
            '{'*) printf '{"system":"%s","as":"%s","busy_before":%s,%s\n' "$1" "$2" "$busy" "${line#\{}" | tee -a "$results" ;;
        esac
    done
}

call() { (cd "$folder" && env "${environment[@]}" timeout 180 "${command[@]}" "$@" 2>>"$cache/errors.log"); }

# spin: both cores are kept busy by something else, at the same priority.
spin() {
    local core
    for core in $(seq "$(nproc)"); do sh -c 'while :; do :; done' & spinners="$spinners $!"; done
}

# wanted SYSTEM TEST: does it make sense for it?
wanted() {
    case $1/$2 in
        safelight-sql/single) return 0 ;;
        safelight-sql/*) return 1 ;;
        safelight-apart/idle | safelight-apart/load | safelight-apart/busy) return 0 ;;
        safelight-apart/*) return 1 ;;
        */bulk) [ $bulk = 1 ] ;;
    esac
}

measure() { # system: one repetition of every test, in a database of its own
    local system=$1 test count=600 seconds=15
    adapter "$system"
    [ $quick = 0 ] || { jobs=$((jobs / 5)); singles=$((singles / 5)); count=100; seconds=4; }
    export DATABASE_URL=$server/bench_peers
    sql "$server/postgres" -c "drop database if exists bench_peers with (force)" -c "create database bench_peers" 2>/dev/null
    call setup "${on_setup[@]}" >/dev/null || { say "$system could not be set up: see $cache/errors.log"; return 0; }
    for test in $tests; do
        wanted "$system" "$test" || continue
        call clean >/dev/null || true
        case $test in
            bulk) words=(bulk n=$jobs b=1000) ;;
            drain)
                words=(drain "${drain[@]}")
                call bulk n=$jobs b=1000 >/dev/null || true
                sql "$DATABASE_URL" -c checkpoint ;;
            single) words=(single n=$singles p=16 "${single[@]}") ;;
            idle) words=(idle n=$count gap_ms=20 "${latency[@]}") ;;
            load | busy) words=(load rate=200 secs=$seconds "${latency[@]}") ;;
        esac
        wait_until_quiet
        [ "$test" != busy ] || spin
        call "${words[@]}" | keep "$system" "$test" || say "$system: $test failed, see $cache/errors.log"
        calm
    done
    sql "$server/postgres" -c "drop database if exists bench_peers with (force)" 2>/dev/null
}

limits() {
    export DATABASE_URL=$server/bench_limit
    sql "$server/postgres" -c "drop database if exists bench_limit with (force)" -c "create database bench_limit" 2>/dev/null
    wait_until_quiet
    SECONDS_A_POINT=$([ $quick = 1 ] && echo 1 || echo 4) bash "$here/limit/limit.sh" | keep limit limit
    sql "$server/postgres" -c "drop database if exists bench_limit with (force)" 2>/dev/null
}

# What docs/scale.md rests on: a long history, two workers on one queue, two queue databases on one machine.
beyond() {
    adapter safelight
    local try=0 each=100000
    for database in bench_a bench_b; do
        sql "$server/postgres" -c "drop database if exists $database with (force)" -c "create database $database" 2>/dev/null
        DATABASE_URL=$server/$database call setup >/dev/null
    done
    while [ $try -lt "$reps" ]; do
        try=$((try + 1))
        export DATABASE_URL=$server/bench_a
        call clean; call bulk n=$((2 * each)) b=1000 >/dev/null; wait_until_quiet
        call drain conc=1000 | keep safelight one-worker
        call clean; call bulk n=$((2 * each)) b=1000 >/dev/null; wait_until_quiet
        { call drain conc=1000 & call drain conc=1000; wait; } | keep safelight two-workers
        for database in bench_a bench_b; do
            export DATABASE_URL=$server/$database
            call clean; call bulk n=$each b=1000 >/dev/null
        done
        wait_until_quiet
        { DATABASE_URL=$server/bench_a call drain conc=1000 & DATABASE_URL=$server/bench_b call drain conc=1000; wait; } | keep safelight two-databases
    done
    sql "$server/postgres" -c "drop database bench_b with (force)"
    wait_until_quiet
    (DATABASE_URL=$server/bench_a "$ours" bench scale 2>>"$cache/errors.log") | keep safelight scale
    sql "$server/postgres" -c "drop database bench_a with (force)"
}

machine() {
    local model memory version
    model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    memory=$(awk '/^MemTotal/{printf "%.0f", $2/1048576}' /proc/meminfo)
    version=$(sql "$server/postgres" -c "show server_version")
    printf '{"system":"machine","cores":%s,"model":"%s","memory_gb":%s,"postgres":"%s","shared_buffers":"%s","reps":%s,"date":"%s","commit":"%s"}\n' \
        "$(nproc)" "$model" "$memory" "$version" "$(sql "$server/postgres" -c "show shared_buffers")" "$reps" "$(date -u +%F)" \
        "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)" | tee -a "$results"
}

machine
for rep in $(seq "$reps"); do
    say "Repetition $rep of $reps ..."
    for system in $there; do
        if [ "$system" = limit ]; then limits; else measure "$system"; fi
    done
done
[ $scale = 0 ] || { say "A long history ..."; beyond; }

if [ $docs = 1 ]; then
    cp "$results" "$here/results.jsonl"
    python3 "$here/report.py" "$here/results.jsonl" "$root/docs/benchmarks.md" "$root/docs/scale.md"
else
    python3 "$here/report.py" "$results"
fi
