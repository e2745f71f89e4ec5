#!/usr/bin/env bash
# The Procfile as a host's own program reads it, not by us: `honcho run` for the release, `honcho start` for the three processes with the
# host's port and a file of variables, and one SIGTERM for all. procfile.sh PROGRAM HONCHO, with DATABASE_URL of an empty database.
#
# Never: leaves a process or a file behind, or waits without a bound.
set -euo pipefail
program=$(realpath "$1")
honcho=$(realpath "$2")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
die() { printf '%s\n' "$*" >&2; cat "$work"/*.log >&2; exit 1; }

# What a build leaves in the path, and the project's files where the host lays them.
mkdir "$work/bin"
ln -s "$program" "$work/bin/safelight"
ln -s "$root/models" "$work/models"
cp "$root/Procfile" "$work/"
cd "$work"
export PATH=$work/bin:$PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# The host's variables: those of the stand-ins, and our own.
"$program" sandbox --intake "http://127.0.0.1:$port" --log error >settings 2>sandbox.log &
started+=($!)
for _ in $(seq 100); do ! grep -q SENTRY_DSN settings || break; sleep 0.1; done
cat >>settings <<TEXT
DATABASE_URL=$DATABASE_URL
SAFELIGHT_MASTER_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
SAFELIGHT_PUBLIC_URL=http://127.0.0.1:$port
CRON_SECRET=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
TEXT
unset DATABASE_URL SAFELIGHT_LISTEN

# The release has to be over before the others begin: that is the host's word for it.
timeout 60 "$honcho" --env settings run sh -c "$(sed -n 's/^release: //p' Procfile)" >release.log 2>&1 || die "The release failed."
PORT=$port "$honcho" --env settings --no-colour start web worker cron >processes.log 2>&1 &
host=$!
started+=($host)
asks() { "$honcho" --env settings run safelight "$@" --json; }
is() { python3 -c 'import json, sys; said = json.load(sys.stdin); sys.exit(not eval(sys.argv[1]))' "$1" 2>/dev/null; }
reached() {
    local what=$1 until=$((SECONDS + 60))
    shift
    until "$@"; do
        kill -0 "$host" 2>/dev/null || die "The host's processes ended before: $what."
        [ $SECONDS -lt $until ] || die "Not within a minute: $what."
        sleep 0.1
    done
}
web() {
    python3 - "http://127.0.0.1:$port$2" "$1" 2>/dev/null <<'ASK'
import os, sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method=sys.argv[2], headers={"authorization": "Bearer " + os.environ.get("SECRET", "")}))
ASK
}
reached "an answer at the host's port" web GET /ready

# One thing that takes all three: the host's web asks, a worker does, and the cron has looked at the schedule.
SECRET=$(sed -n 's/^CRON_SECRET=//p' settings) web POST /sweeps/retention || die "The intake took no sweep."
swept() { asks jobs list --kind sweep_retention --state done | is 'len(said["jobs"]) >= 1'; }
ticked() { asks schedule list | is 'any(row["last_tick"] for row in said["schedules"])'; }
reached "a sweep that a worker did" swept
reached "a look of the cron at the schedule" ticked

kill -TERM "$host"
for _ in $(seq 400); do kill -0 "$host" 2>/dev/null || break; sleep 0.1; done
! kill -0 "$host" 2>/dev/null || die "The processes are there forty seconds after SIGTERM."
wait "$host" || true
! grep -q SIGKILL processes.log || die "The host had to kill."
# The host starts them by a shell, which a signal for all ends first: they themselves say good-bye and let go of the port.
gone() { asks queue workers | is 'said["workers"] == []' && ! web GET /ready; }
for _ in $(seq 40); do ! gone || break; sleep 0.1; done
gone || die "Somebody of them is still there."
echo "The Procfile: released, served, worked, ticked, and ended by one SIGTERM." >&2
